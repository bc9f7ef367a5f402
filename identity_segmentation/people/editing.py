"""Corrections to the people on file: photos that are somebody else's, look-alikes who are two, two galleries in one.

What is said here survives the next build from the data set: a photo that is taken from a person is remembered as not
theirs, and one that is given to a person counts as added by hand.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from pathlib import PurePath

import numpy as np

from ..errors import GalleryMismatch, InputError
from ..types import USED_VERDICTS
from .gallery import Gallery
from .person import NOT_THEIRS, Person, Reference, checked_colour, name_key, normal_name

_LEAST_DIGITS = 8  # of a hash that stands for a photo
_SAME_FACE = 0.9  # similarity from which two faces of one picture are one face, as in enrolment
_Known = dict[str, list[tuple[str, np.ndarray]]]  # SHA-256 of a photo -> (id, embedding) of those known by it


def find_photos(gallery: Gallery, name: str, given: Sequence[str]) -> list[str]:
    """The hashes of a person's reference photos that somebody means.

    Args:
        gallery: the people on file.
        name: whose photos.
        given: each a source as `Reference.source` has it, a file name, or the beginning of a SHA-256 (8 digits).

    Raises:
        UnknownPerson: nobody is called so.
        InputError: a photo is not among theirs, or could be several of them.
    """
    person, found = gallery.find(name), []
    for text in given:
        exact = [one.sha256 for one in person.references if one.source == text]
        loose = [
            one.sha256
            for one in person.references
            if PurePath(one.source).name == PurePath(text).name
            or (len(text) >= _LEAST_DIGITS and one.sha256.startswith(text.lower()))
        ]
        meant = list(dict.fromkeys(exact or loose))
        if len(meant) != 1:
            theirs = ", ".join(f"{one.source} ({one.sha256[:_LEAST_DIGITS]})" for one in person.references)
            if meant:
                raise InputError(f"{text!r} could be {len(meant)} photos of {person.name}; theirs are: {theirs}")
            raise InputError(f"{text!r} is no photo of {person.name}; theirs are: {theirs}")
        found.append(meant[0])
    return found


def move_photos(gallery: Gallery, name: str, photos: Collection[str], to: str) -> Gallery:
    """Some of a person's photos are somebody else's.

    Args:
        gallery: the people on file.
        name: under whom they are filed.
        photos: their SHA-256.
        to: whose they are: somebody on file, or a new name.

    Raises:
        UnknownPerson: nobody is called `name`.
        InputError: the person would have no photo left, or `to` is the same person.
    """
    owner = gallery.find(name)
    chosen, vectors = _chosen(gallery, owner, photos)
    if to in gallery and gallery.find(to).id == owner.id:
        raise InputError(f"{to!r} is {owner.name}, under whom these photos are filed already")
    smaller = _less(gallery, owner, photos)
    label = smaller.find(to).name if to in smaller else normal_name(to)
    target = smaller.find(label) if label in smaller else None
    there = {one.sha256 for one in target.references} if target else set()
    folders = target.folders if target else ()
    smaller, back = _given_back(smaller, folders, {one.sha256 for one in chosen})
    new = [i for i, one in enumerate(chosen) if one.sha256 not in there]
    if not new:
        return smaller
    sources = [replace(chosen[i], by_hand=chosen[i].sha256 not in back, note="") for i in new]
    return smaller.with_person(label, vectors[new], sources)


def remove_photos(gallery: Gallery, name: str, photos: Collection[str]) -> Gallery:
    """Take photos away from a person; save with `purge`, so that no older generation holds them.

    Args:
        gallery: the people on file.
        name: whose they are.
        photos: their SHA-256.

    Raises:
        UnknownPerson: nobody is called so.
        InputError: the person would have no photo left.
    """
    owner = gallery.find(name)
    _chosen(gallery, owner, photos)
    return _less(gallery, owner, photos)


def _chosen(gallery: Gallery, owner: Person, photos: Collection[str]) -> tuple[list[Reference], np.ndarray]:
    """The references meant, and float32 (n, D)."""
    mine = [i for i, one in enumerate(owner.references) if one.sha256 in set(photos)]
    if not mine:
        raise InputError(f"none of these photos is filed under {owner.name} any more")
    if len(mine) == len(owner.references):
        if len(mine) == 1:
            raise InputError(f"this is the only photo of {owner.name}; rename, merge or delete the person instead")
        raise InputError(f"these are all the photos of {owner.name}; rename, merge or delete the person instead")
    return [owner.references[i] for i in mine], gallery.person_references(gallery.people.index(owner))[mine]


def _less(gallery: Gallery, owner: Person, photos: Collection[str]) -> Gallery:
    """The gallery without these references of a person; those of the data set are remembered as not theirs."""
    people, blocks, gone = [], [], set()
    for index, person in enumerate(gallery.people):
        keep = [i for i, one in enumerate(person.references) if person.id != owner.id or one.sha256 not in photos]
        if person.id == owner.id:
            gone = {(one.source, one.sha256) for one in person.references if one.sha256 in photos and not one.by_hand}
            person = replace(person, references=tuple(person.references[i] for i in keep))
        people.append(person)
        blocks.append(gallery.person_references(index)[keep])
    said = tuple(
        row | {"verdict": NOT_THEIRS, "detail": "said to be somebody else's", "again": False}
        if (row["source"], row["sha256"]) in gone
        else row
        for row in gallery.photos
    )
    return replace(gallery.with_everyone(people, blocks), photos=said)


def _given_back(gallery: Gallery, folders: Collection[str], photos: set[str]) -> tuple[Gallery, set[str]]:
    """Take back that photos of these folders are not theirs; the hashes of those of which it had been said."""
    back = {
        row["sha256"]
        for row in gallery.photos
        if row["verdict"] == NOT_THEIRS and row["folder"] in folders and row["sha256"] in photos
    }
    said = tuple(
        row | {"verdict": USED_VERDICTS[0], "detail": ""} if row["sha256"] in back and row["folder"] in folders else row
        for row in gallery.photos
    )
    return replace(gallery, photos=said), back


def tell_apart(gallery: Gallery, name: str, other: str) -> Gallery:
    """Two people look like one and are two; nobody is asked again. Deleting either forgets it.

    Args:
        gallery: the people on file.
        name, other: the two.

    Raises:
        UnknownPerson: one of them is not on file.
        InputError: they are one person on file.
    """
    first, second = gallery.find(name), gallery.find(other)
    if first.id == second.id:
        raise InputError(f"{name!r} and {other!r} are one person on file")
    one, two = sorted((first.id, second.id))
    return replace(gallery, apart=tuple(dict.fromkeys([*gallery.apart, (one, two)])))


def unite(gallery: Gallery, other: Gallery) -> tuple[Gallery, list[str]]:
    """Take everybody of another gallery in; who is on both sides under one name is one person.

    Whoever comes in counts as added by hand: the folders of another data set are not here.

    Args:
        gallery: the people on file, who keep their names and colours.
        other: a gallery of the same face engine.

    Returns:
        The united gallery, and a sentence on everything that could not be taken as it was.

    Raises:
        GalleryMismatch: the two are of different engines.
    """
    if (gallery.engine_id, gallery.model_hash) != (other.engine_id, other.model_hash):
        raise GalleryMismatch(
            f"the gallery to take in is of the face engine {other.engine_id!r} ({other.model_hash}), and this one of "
            f"{gallery.engine_id!r} ({gallery.model_hash}); their numbers do not mix. Build one from the photos"
        )
    said: list[str] = []
    joined: dict[str, str] = {}  # id here -> the name that joined them
    known: _Known = {}
    for person, vector, reference in _references(gallery):
        known.setdefault(reference.sha256, []).append((person.id, vector))
    for index, person in enumerate(other.people):
        names = (person.name, *person.aliases)
        here = {gallery.find(name).id: gallery.find(name).name for name in names if name in gallery}
        if len(here) > 1:
            both = " and ".join(here.values())
            said.append(f"{person.name} of the import answers to names of {both}, who are two people here; left out")
            continue
        match = next(iter(here), None)
        if match in joined:
            said.append(f"{joined[match]} and {person.name} of the import are one person here: {here[match]}")
        gallery, more = _with_other(gallery, person, other.person_references(index), here.get(match or ""), known)
        said += more
        if match is not None:
            joined.setdefault(match, person.name)
    return gallery, said


def _with_other(
    gallery: Gallery, person: Person, vectors: np.ndarray, called: str | None, known: _Known
) -> tuple[Gallery, list[str]]:
    """The gallery with a person of another one; `called` is the name of who they are here."""
    said: list[str] = []
    label = called or person.name
    own = gallery.find(label) if called else None
    there = {one.sha256 for one in own.references} if own else set()
    new = []
    for row, reference in enumerate(person.references):
        if reference.sha256 in there:
            continue
        seen = (one for one, vector in known.get(reference.sha256, ()) if float(vectors[row] @ vector) > _SAME_FACE)
        holder = next((one.name for key in seen for one in gallery.people if one.id == key and one != own), None)
        if holder is None:
            new.append(row)
        else:
            said.append(f"{reference.source} is {holder} here and {person.name} in the import; it stays {holder}'s")
    references = [replace(person.references[row], by_hand=True) for row in new]
    if own is None:
        if not new:
            return gallery, [*said, f"{person.name} of the import has no photo of their own; left out"]
        gallery = _newcomer(gallery, person, references, vectors[new])
    elif new:
        gallery = gallery.with_person(label, vectors[new], references)
    own = gallery.find(label)
    mine = {name_key(name) for name in (own.name, *own.aliases)}
    aliases = [name for name in (person.name, *person.aliases) if name_key(name) not in mine]
    return (gallery.with_aliases(label, [*own.aliases, *aliases]) if aliases else gallery), said


def _newcomer(gallery: Gallery, person: Person, references: list[Reference], vectors: np.ndarray) -> Gallery:
    taken = [one.colour for one in gallery.people]
    colour = None if person.colour in taken else checked_colour(person.colour, ())
    gallery = gallery.with_person(person.name, vectors, references, person.aliases, colour)
    if any(one.id == person.id for one in gallery.people[:-1]):
        return gallery
    return replace(gallery, people=(*gallery.people[:-1], replace(gallery.people[-1], id=person.id)))


def _references(gallery: Gallery) -> Iterator[tuple[Person, np.ndarray, Reference]]:
    """Whose, float32 (D,), and where from, of every reference."""
    rows = iter(gallery.references)
    return ((person, next(rows), reference) for person in gallery.people for reference in person.references)

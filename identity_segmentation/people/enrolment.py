"""Folders of reference photos -> a gallery: which photo is whose, and why another is left out. (Notebook section 2.)

Every photo gets a verdict. A second build looks only at new and changed photos. What was said by hand - names, aliases,
merges, photos - is kept.
"""

from __future__ import annotations

import hashlib
import logging
import os
import time
import tomllib
import unicodedata
import uuid
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from ..engines.protocols import FaceEngine
from ..errors import GalleryError, InputError
from ..files import shown_path
from ..images import list_photos
from ..kinds import left_out, look_through
from ..types import USED_VERDICTS, BuildReport, PhotoVerdict
from .check import remarks
from .gallery import Gallery
from .person import NOT_THEIRS, Person, Reference, checked_colour, name_key, normal_name
from .photos import Photo, face_of, faces_of, judge, load_photo, look, same_picture, vector_of

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Member:
    """One entry of members.toml: which folder is whom."""

    folder: str
    name: str
    aliases: tuple[str, ...] = ()
    colour: str | None = None


def read_members(dataset: str | os.PathLike) -> dict[str, Member]:
    """`members.toml` of a data set: folder -> `Member`. Absent file: an empty dict.

    Raises:
        InputError: the file is not what it should be; the message names the entry.
    """
    path = Path(dataset) / "members.toml"
    if not path.is_file():
        return {}
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not TOML ({error})") from error
    shape = (
        f"{path}: expected [[member]] tables with folder, name and, if wanted, aliases (a list) and colour (#RRGGBB)"
    )
    entries = content.pop("member", [])
    if content or not isinstance(entries, list):
        raise InputError(f"{shape}; got {', '.join(content) or 'member'!r} at the top")
    members: dict[str, Member] = {}
    for entry in entries:
        aliases = entry.get("aliases", []) if isinstance(entry, dict) else []
        known = isinstance(entry, dict) and entry.keys() <= {"folder", "name", "aliases", "colour"}
        texts = [entry.get("folder"), entry.get("name"), *aliases] if known and isinstance(aliases, list) else [None]
        if not all(isinstance(text, str) for text in texts):
            raise InputError(f"{shape}; got {entry!r}")
        folder = unicodedata.normalize("NFC", entry["folder"])
        if folder in members:
            raise InputError(f"{path}: the folder {folder!r} has two entries; keep one")
        colour = None if entry.get("colour") is None else checked_colour(entry["colour"], ())
        names = tuple(normal_name(alias) for alias in aliases)
        members[folder] = Member(folder, normal_name(entry["name"]), names, colour)
    return members


def build_embeddings_db(
    folder: str | os.PathLike,
    face_engine: FaceEngine,
    gallery: str | os.PathLike | None = None,
    progress: Callable[[int, int, str], None] | None = None,
    keep_outliers: bool = False,
    anew: bool = False,
    thumbnails: bool = True,
) -> Gallery:
    """Build the gallery from a folder of photos: one sub-folder per person.

    Names, aliases and colours come from the folder's ``members.toml``; a sub-folder it does not mention is a
    person of that name. Every photo gets a verdict (`Gallery.report.table()`): a photo with several faces gives the one
    nearest the person's other photos; duplicates, outliers and unreadable photos are left out;
    a photo found under two people is used for neither.

    Args:
        folder: the data set.
        face_engine: who looks at the faces.
        gallery: folder to keep the result in. A gallery already there is updated: only new and changed photos are
            looked at, people added by hand stay, people whose sub-folder is gone are purged. None: in memory only.
        progress: called with (photos done, photos in all, person).
        keep_outliers: use photos that look like somebody else's, in this build; their verdict is "kept".
        anew: look at every photo again, with this engine, whichever engine the gallery there was built with. Ids,
            names, aliases, colours and merges stay; embeddings that were added by hand cannot, and are named.
        thumbnails: keep a small picture of each face with its embedding. False = keep none, and drop those there are.

    Returns:
        The gallery; `.report` has the verdicts, and notes on the people (`check.remarks`).

    Raises:
        InputError: no such folder, no sub-folders with photos, or no face in any photo.
        GalleryMismatch: the gallery there belongs to another engine, and `anew` was not asked for.
        GalleryError: `anew`, and somebody's photos are gone, so that they would be lost.
        GalleryLocked: another build is under way.
    """
    folder = Path(folder)
    found = _people_folders(folder)

    def build(old: Gallery) -> Gallery:
        notes = _folders_gone(old, {key for key, _, _ in found})
        if anew:
            old, lost = _without_embeddings(old, face_engine, folder, _grouped(found, old))
            notes += lost
        else:
            old.check_engine(face_engine)
        built = _build(folder, _grouped(found, old), face_engine, old, progress, keep_outliers, thumbnails)
        if anew:
            _nobody_lost(old, built)
        return replace(built, report=replace(built.report, notes=tuple(notes) + built.report.notes))

    nobody = Gallery.empty(face_engine)
    # Pictures of people that are no longer wanted are not kept in an older generation.
    purge = False if anew else None if thumbnails else True
    return build(nobody) if gallery is None else Gallery.edit(gallery, build, nobody, purge)[1]


def _nobody_lost(old: Gallery, built: Gallery) -> None:
    """Raise `GalleryError` if somebody is no longer on file."""
    kept = {person.id for person in built.people}
    lost = [person.name for person in old.people if person.id not in kept]
    if lost:
        raise GalleryError(
            f"building anew would lose {', '.join(lost)}: no photo of theirs can be used. Nothing was written; give "
            f"better photos, or delete them first: idseg people remove NAME\n{built.report.table()}"
        )


def _folders_gone(old: Gallery, folders: set[str]) -> list[str]:
    """A note on everybody of whose several folders some are gone; whoever has none left is said elsewhere."""
    notes = []
    for person in old.people:
        gone = [name for name in person.folders if name not in folders]
        if gone and len(gone) < len(person.folders):
            notes.append(f"{person.name}: the folder {', '.join(map(repr, gone))} is gone, and its photos with it")
    return notes


def _without_embeddings(
    old: Gallery, engine: FaceEngine, dataset: Path, groups: Sequence[_Group]
) -> tuple[Gallery, list[str]]:
    """The people of a gallery without what an engine said of them, to be built anew; and what is lost by it.

    Raises:
        GalleryError: somebody has no photos in the data set.
    """
    found = {group.earlier.id for group in groups if group.earlier}
    gone = [person.name for person in old.people if person.id not in found]
    if gone:
        raise GalleryError(
            f"the photos of {', '.join(gone)} are not in {dataset}, so building anew would lose them. Put their photos "
            f"in a folder of their own there ({dataset}/{gone[0]}/1.jpg), or delete them: idseg people remove NAME"
        )
    notes = []
    for person in old.people:
        by_hand = [reference.source for reference in person.references if reference.by_hand]
        if by_hand:
            notes.append(f"{person.name}: added by hand and not carried over, add them again: {', '.join(by_hand)}")
    people = [replace(person, references=()) for person in old.people]
    empty = np.zeros((0, engine.dim), np.float32)
    said = tuple(row for row in old.photos if row["verdict"] == NOT_THEIRS)
    nobody = replace(Gallery.empty(engine), folder=old.folder, photos=said, apart=old.apart)
    return nobody.with_everyone(people, [empty] * len(people)), notes


def _people_folders(folder: Path) -> list[tuple[str, Member | None, list[Path]]]:
    """(sub-folder's name in NFC, its entry in members.toml, its photos) for every sub-folder that has photos."""
    if not folder.is_dir():
        raise InputError(
            f"{folder} is not there; expected a folder with one sub-folder of photos per person "
            f"({folder}/Jang_Wonyoung/1.jpg)"
        )
    members = read_members(folder)
    found = []
    for entry in sorted(folder.iterdir()):
        if entry.is_dir() and not entry.name.startswith("."):
            key = unicodedata.normalize("NFC", shown_path(entry.name))  # as the photos' paths say it
            photos, others = look_through(entry)
            if others:
                logger.warning("%s: %s", entry, left_out(others))
            if photos:
                found.append((key, members.get(key), photos))
            if any(p.is_dir() and list_photos(p) for p in entry.iterdir() if not p.name.startswith(".")):
                logger.warning("%s has photos in folders of its own, which are not looked at", entry)
    loose = len(list_photos(folder))
    if loose:
        logger.warning("%d photo(s) lie directly in %s and are nobody's; put them in a person's folder", loose, folder)
    for name in members.keys() - {key for key, _, _ in found}:
        logger.info("%s names the folder %r, which is not there or has no photos", folder / "members.toml", name)
    if not found:
        raise InputError(
            f"no photos in {folder}; put some of each person in a sub-folder of their own "
            f"({folder}/Jang_Wonyoung/1.jpg)"
        )
    return found


def people_waiting(dataset: str | os.PathLike) -> list[tuple[str, int]]:
    """(name, photos) of everyone whose photos lie in a data set, built or not; nobody if there is no such folder.

    Raises:
        InputError: `members.toml` is not what it should be.
    """
    members = read_members(dataset)
    found: dict[str, int] = {}
    for entry in sorted(Path(dataset).iterdir()) if Path(dataset).is_dir() else []:
        if entry.is_dir() and not entry.name.startswith("."):
            key = unicodedata.normalize("NFC", shown_path(entry.name))
            name = members[key].name if key in members else normal_name(key)
            found[name] = found.get(name, 0) + len(list_photos(entry))
    return [(name, photos) for name, photos in found.items() if photos]


@dataclass
class _Group:
    """One person's folders in a build: several if they were merged by hand or members.toml names them alike."""

    earlier: Person | None = None
    folders: list[str] = field(default_factory=list)
    members: list[Member | None] = field(default_factory=list)
    paths: list[Path] = field(default_factory=list)

    @property
    def name(self) -> str:
        """What members.toml says, or what was said by hand, or the folder's name."""
        stated = next((m.name for m in self.members if m), None)
        by_hand = self.earlier.hand_name if self.earlier else None
        return stated or by_hand or normal_name(self.folders[0])

    @property
    def aliases(self) -> tuple[str, ...]:
        spellings: list[str] = []
        for folder, member in zip(self.folders, self.members, strict=True):
            spellings += [member.name, *member.aliases] if member else []
            if len(self.folders) > 1 and not member:
                spellings.append(normal_name(folder))
        spellings += self.earlier.hand_aliases if self.earlier else ()
        unique: dict[str, str] = {}
        for spelling in spellings:
            unique.setdefault(name_key(spelling), spelling)
        unique.pop(name_key(self.name), None)
        return tuple(unique.values())

    @property
    def colour(self) -> str | None:
        stated = next((m.colour for m in self.members if m and m.colour), None)
        return stated or (self.earlier.colour if self.earlier else None)


def _grouped(found: list[tuple[str, Member | None, list[Path]]], old: Gallery) -> list[_Group]:
    """Bring the folders of one person together, and find who they were in the last build.

    Folders belong together if the data set gives them one name, or if they were merged by hand. A group is an
    earlier person by its folders; one without any may be somebody added by hand who answers to the name.

    Raises:
        GalleryError: two people would answer to one name. Said before a single photo is looked at.
    """
    groups: dict[str, _Group] = {}
    key_of: dict[str, str] = {}
    people = list(old.people)
    for folder, member, paths in found:
        merged = next((p for p in people if folder in p.hand_folders), None)
        sibling = next((key_of[f] for f in (merged.hand_folders if merged else ()) if f in key_of), None)
        key = sibling or name_key(member.name if member else normal_name(folder))
        key_of[folder] = key
        group = groups.setdefault(key, _Group())
        group.folders.append(folder)
        group.members.append(member)
        group.paths += paths
    claimed: set[str] = set()
    for group in groups.values():
        shared = [(len(set(p.folders) & set(group.folders)), p) for p in people if p.id not in claimed]
        overlap, person = max(shared, key=lambda pair: pair[0], default=(0, None))
        if overlap and person is not None:
            group.earlier = person
            claimed.add(person.id)
    for group in groups.values():
        if group.earlier is None:
            spellings = {name_key(n) for n in (group.name, *group.aliases)}
            by_hand = (p for p in people if not p.folders and p.id not in claimed)
            group.earlier = next((p for p in by_hand if {name_key(n) for n in (p.name, *p.aliases)} & spellings), None)
            if group.earlier:
                claimed.add(group.earlier.id)
    _check_names(groups.values(), [p for p in people if not p.folders and p.id not in claimed])
    return list(groups.values())


def _check_names(groups: Iterable[_Group], others: Iterable[Person]) -> None:
    owners: dict[str, tuple[str, str]] = {}
    rows = [(g.name, g.aliases, f"the folder {', '.join(g.folders)}") for g in groups]
    rows += [(p.name, p.aliases, "added by hand") for p in others]
    for name, aliases, origin in rows:
        for spelling in (name, *aliases):
            other = owners.setdefault(name_key(spelling), (name, origin))
            if other != (name, origin):
                raise GalleryError(
                    f"{spelling!r} would name both {other[0]!r} ({other[1]}) and {name!r} ({origin}); change one of "
                    "them in members.toml, rename a person (idseg people rename), or merge the two (idseg people merge)"
                )


def _build(
    folder: Path, groups: list[_Group], engine: FaceEngine, old: Gallery,
    progress: Callable[[int, int, str], None] | None, keep_outliers: bool, thumbnails: bool,
) -> Gallery:  # fmt: skip
    started = time.perf_counter()
    known = _known_photos(old, thumbnails)
    unchanged = _unchanged_groups(folder, groups, old, keep_outliers, thumbnails)
    total, done = sum(len(group.paths) for group in groups), 0
    judged: list[tuple[_Group, list[Photo]]] = []
    with ThreadPoolExecutor(1) as reader:  # the next photo is decoded while this one is looked at
        for group, kept in zip(groups, unchanged, strict=True):
            photos = kept or []
            waiting = [reader.submit(load_photo, path, folder, known) for path in (group.paths[:2] if not kept else [])]
            try:
                while waiting:
                    photo, image = waiting.pop(0).result()
                    ahead = len(photos) + 2
                    if ahead < len(group.paths):
                        waiting.append(reader.submit(load_photo, group.paths[ahead], folder, known))
                    if image is not None:
                        look(photo, image, engine, thumbnails)
                    photos.append(photo)
                    if progress:
                        progress(done + len(photos), total, group.name)
            finally:
                for load in waiting:
                    load.cancel()
            done += len(group.paths)
            if not kept:
                judge(photos, engine, keep_outliers)
            judged.append((group, photos))
    _find_conflicts(judged)
    if not thumbnails:
        old = without_thumbnails(old)
        for photo in (photo for _, photos in judged for photo in photos):
            photo.thumbnail = b""
    built = _assemble(judged, engine, old, time.perf_counter() - started)
    faces = faces_of([photo for _, photos in judged for photo in photos])
    return replace(built, report=replace(built.report, folder=folder.absolute(), faces=faces))


def without_thumbnails(gallery: Gallery) -> Gallery:
    """The gallery without pictures of anybody.

    Args:
        gallery: the people on file.
    """
    people = (
        replace(person, references=tuple(replace(one, thumbnail=b"") for one in person.references))
        for person in gallery.people
    )
    return replace(gallery, people=tuple(people))


def _unchanged_groups(
    folder: Path, groups: list[_Group], old: Gallery, keep_outliers: bool, thumbnails: bool
) -> list[list[Photo] | None]:
    """For each group its photos as the last build left them, if not a byte of any has changed; else None.

    Verdicts that depend on more than the photos themselves (conflicts; what could not be read; outliers, where they
    are now to be kept or no longer) are never taken over.
    """
    open_verdicts = ("conflict", "unreadable", "outlier" if keep_outliers else "kept")
    embeddings = _embeddings(old, thumbnails)
    rows: dict[str, dict[str, dict]] = {}
    for row in old.photos:
        rows.setdefault(row["folder"], {})[row["source"]] = row
    result: list[list[Photo] | None] = []
    for group in groups:
        before = {source: row for name in group.folders for source, row in rows.get(name, {}).items()}
        same_folders = group.earlier is not None and set(group.folders) == set(group.earlier.folders)
        result.append(_unchanged(folder, group.paths, before, embeddings, open_verdicts) if same_folders else None)
    return result


def _unchanged(
    folder: Path,
    paths: list[Path],
    before: dict[str, dict],
    embeddings: dict[tuple[str, str], tuple[Reference, np.ndarray]],
    open_verdicts: Sequence[str],
) -> list[Photo] | None:
    if {shown_path(path.relative_to(folder)) for path in paths} != before.keys():
        return None
    photos = []
    for path in paths:
        row = before[shown_path(path.relative_to(folder))]
        key = (row["source"], row["sha256"])
        used = row["verdict"] in USED_VERDICTS
        if row["verdict"] in open_verdicts or row["again"] or (used and key not in embeddings):
            return None
        try:
            if hashlib.sha256(path.read_bytes()).hexdigest() != row["sha256"]:
                return None
        except OSError:
            return None
        reference, vector = embeddings[key] if used else (None, None)
        picture_hash = reference.picture_hash if reference else 0
        thumbnail, face = (reference.thumbnail, reference.face) if reference else (b"", None)
        photos.append(
            Photo(
                *key, picture_hash, [], vector, row["verdict"], row["detail"], reused=True, face=face,
                thumbnail=thumbnail,
            )
        )  # fmt: skip
    return photos


def _embeddings(gallery: Gallery, thumbnails: bool) -> dict[tuple[str, str], tuple[Reference, np.ndarray]]:
    """(source, sha256) -> reference and embedding, of everything that came from the data set. Where thumbnails are
    wanted, what has none yet is left out, to be looked at again."""
    return {
        (reference.source, reference.sha256): (reference, vector)
        for index, person in enumerate(gallery.people)
        for reference, vector in zip(person.references, gallery.person_references(index), strict=True)
        if not reference.by_hand and (reference.thumbnail or not thumbnails)
    }


def _known_photos(old: Gallery, thumbnails: bool) -> dict[tuple[str, str], Photo]:
    """(source, sha256) -> the photo as the last build left it. Photos with several faces are looked at again: which
    face is the person's depends on their other photos, and the other faces were not kept."""
    embeddings, known = _embeddings(old, thumbnails), {}
    for row in old.photos:
        key = (row["source"], row["sha256"])
        if row["verdict"] == "used" and key in embeddings:
            reference, vector = embeddings[key]
            known[key] = Photo(
                *key, reference.picture_hash, embedding=vector, reused=True, face=reference.face,
                thumbnail=reference.thumbnail,
            )  # fmt: skip
        elif row["verdict"] == "no_face":
            known[key] = Photo(*key, verdict="no_face", reused=True)
        elif row["verdict"] == NOT_THEIRS:
            known[key] = Photo(*key, verdict=NOT_THEIRS, detail=row["detail"], reused=True)
    return known


def _find_conflicts(judged: list[tuple[_Group, list[Photo]]]) -> None:
    """The same face of the same picture under two names is evidence for neither - unless the other photos of one of
    the two have already shown that it is not theirs."""
    used = [(g, p) for g, photos in judged for p in photos if p.verdict in USED_VERDICTS]
    for group, photo in [(g, p) for g, p in used if p.verdict == "kept"]:
        theirs = ((g, p) for g, p in used if g is not group and p.verdict != "kept" and same_picture(photo, p))
        if any(float(vector_of(photo) @ vector_of(p)) > 0.9 for _, p in theirs):
            # Asked for or not: it is theirs, and they keep it. The next lines say whose it is.
            photo.verdict, photo.detail = "outlier", photo.detail.replace("; kept as asked", "; somebody else?")
    used = [(g, p) for g, p in used if p.verdict in USED_VERDICTS]
    for group, photo in ((g, p) for g, photos in judged for p in photos if p.verdict == "outlier" and not p.reused):
        for other, twin in used:
            if other is not group and same_picture(photo, twin):
                photo.detail += f" It is also filed under {other.name} ({twin.source})."
                photo.names_others = True
    for i, (group, photo) in enumerate(used):
        for other, twin in used[i + 1 :]:
            if other is group or not same_picture(photo, twin):
                continue
            if float(vector_of(photo) @ vector_of(twin)) < 0.9:
                continue  # one group picture, two people, each with their own face
            photo.verdict = twin.verdict = "conflict"
            photo.names_others = twin.names_others = True
            photo.detail = f"the same face is filed under {other.name} ({twin.source}); used for neither"
            twin.detail = f"the same face is filed under {group.name} ({photo.source}); used for neither"


def _assemble(judged: list[tuple[_Group, list[Photo]]], engine: FaceEngine, old: Gallery, seconds: float) -> Gallery:
    """Photos with verdicts -> a gallery: people keep their id, and what was added to them by hand."""
    notes: list[str] = []
    people: list[Person] = []
    blocks: list[np.ndarray] = []
    for group, photos in judged:
        earlier = group.earlier
        if earlier and earlier.hand_name and name_key(earlier.hand_name) != name_key(group.name):
            notes.append(f"{earlier.hand_name} is called {group.name}, as members.toml says")
        references, vectors = _references(photos, earlier, old)
        if earlier and not references:
            references, vectors = _of_unreadable(photos, earlier, old)
            if references:
                notes.append(f"{group.name}: no photo can be read now; what the last build saw is kept")
        if not references:
            notes.append(f"{group.name}: no usable photo, not in the gallery")
            continue
        taken = [p.colour for p in people] + [g.colour for g, _ in judged if g.colour]
        people.append(
            Person(
                earlier.id if earlier else uuid.uuid4().hex, group.name, group.aliases,
                checked_colour(group.colour, taken), tuple(group.folders), tuple(references),
                earlier.hand_name if earlier else None, earlier.hand_aliases if earlier else (),
                earlier.hand_folders if earlier else (),
            )
        )  # fmt: skip
        blocks.append(np.stack(vectors))
    placed = {p.id for p in people} | {g.earlier.id for g, _ in judged if g.earlier}
    for index, person in enumerate(old.people):
        if person.id in placed:
            continue
        by_hand = [i for i, r in enumerate(person.references) if r.by_hand]
        if person.folders:
            gone = ", ".join(map(repr, person.folders))
            kept = "; the photos added by hand stay" if by_hand else ", removed from the gallery"
            notes.append(f"{person.name}: the folder {gone} is gone{kept}")
        if by_hand:
            people.append(replace(person, folders=(), references=tuple(person.references[i] for i in by_hand)))
            blocks.append(old.person_references(index)[by_hand])
    every = [(group.name, photo) for group, photos in judged for photo in photos]
    verdicts = tuple(PhotoVerdict(name, p.source, p.verdict, p.detail) for name, p in every)
    if not people:
        raise InputError("no usable face in any photo; nothing was written.\n" + BuildReport(verdicts).table())
    reused = sum(photo.reused for _, photo in every)
    built = replace(Gallery.empty(engine), apart=old.apart).with_everyone(people, blocks)
    notes += [remark.text for remark in remarks(built, engine)]
    report = BuildReport(verdicts, len(every) - reused, reused, seconds, tuple(notes))
    return replace(built, photos=tuple(_stored(photo) for _, photo in every), report=report)


def _references(photos: list[Photo], earlier: Person | None, old: Gallery) -> tuple[list[Reference], list[np.ndarray]]:
    """What a person is known by: their photos that were used, and those that were added by hand."""
    used = [p for p in photos if p.embedding is not None and p.verdict in USED_VERDICTS]
    references = [
        Reference(
            p.source, p.sha256, p.picture_hash, p.detail if p.verdict == "several_faces" else "", face=face_of(p),
            thumbnail=p.thumbnail,
        )
        for p in used
    ]  # fmt: skip
    vectors = [p.embedding for p in used if p.embedding is not None]
    if earlier:
        theirs = old.person_references(old.people.index(earlier))
        for reference, vector in zip(earlier.references, theirs, strict=True):
            hand = Photo(reference.source, reference.sha256, reference.picture_hash, embedding=vector)
            if reference.by_hand and not any(same_picture(hand, p) for p in used):
                references.append(reference)
                vectors.append(vector)
    return references, vectors


def _of_unreadable(photos: list[Photo], earlier: Person, old: Gallery) -> tuple[list[Reference], list[np.ndarray]]:
    """What an earlier build saw in photos that cannot be read now: a broken copy, a drive that is away."""
    broken = {photo.source for photo in photos if photo.verdict == "unreadable"}
    theirs = zip(earlier.references, old.person_references(old.people.index(earlier)), strict=True)
    kept = [(reference, vector) for reference, vector in theirs if reference.source in broken]
    return [reference for reference, _ in kept], [vector for _, vector in kept]


def _stored(photo: Photo) -> dict:
    """A photo's verdict as the gallery keeps it, by which a later build knows the photo."""
    return {
        "folder": unicodedata.normalize("NFC", photo.source.split("/")[0]), "source": photo.source,
        "sha256": photo.sha256, "verdict": photo.verdict, "detail": "" if photo.names_others else photo.detail,
        "again": photo.names_others,
    }  # fmt: skip

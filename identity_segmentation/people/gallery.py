"""Folders of reference photos -> the people on file: names, embeddings, where each came from. (Notebook section 2.)

On disk a gallery is a folder of immutable generations: ``gen-000007.json`` (who, from what, by which engine) beside
``gen-000007.safetensors`` (the embeddings, and a thumbnail of each face), and ``CURRENT``, which names the live one and
is replaced in one step. A broken generation is passed over for the last good one; nothing is ever unpickled. Faces are
biometric data: the folder is readable by its owner alone.
"""

from __future__ import annotations

import contextlib
import difflib
import hashlib
import json
import logging
import os
import re
import shlex
import time
import uuid
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path

import numpy as np

from ..engines.protocols import FaceEngine
from ..errors import (
    GalleryCorrupt,
    GalleryError,
    GalleryLocked,
    GalleryMismatch,
    InputError,
    OutputError,
    UnknownPerson,
)
from ..files import atomic_write, held
from ..settings import Settings
from ..types import BuildReport, unit
from . import thumbnails
from .person import Person, Reference, checked_colour, name_key, normal_name, person_row, reference_of

logger = logging.getLogger(__name__)

SCHEMA_VERSION = 2
# How a face is scored against a person with several references: cosine to their mean, the mean of the best three
# cosines to single references, or the average of the two, which measures best (docs/figures.md, "Scoring").
SCORINGS = ("mean", "best", "blend")
_BEST_OF = 3
_SHORTLIST = 50  # people per face that are scored reference by reference in a large gallery
EXHAUSTIVE = 2000  # people up to which everyone is
_KEPT_GENERATIONS = 2
_MOST_ROWS, _FACES_SHOWN = 36, 3  # people that a card shows, and faces of each


@dataclass(frozen=True, eq=False)
class Gallery:
    """The people on file. A change gives a new gallery; `save` puts it on disk.

    Attributes:
        engine_id, model_hash: of the face engine whose embeddings these are.
        people: in a stable order.
        references: float32 (N, D), unit length, person by person in the order of `people`.
        photos: verdict on every photo of the last build.
        report: of the build that made this gallery; empty if none did.
        folder: where it was loaded from or saved to.
        apart: pairs of ids of people who look like one person and were said to be two.
    """

    engine_id: str
    model_hash: str
    people: tuple[Person, ...] = ()
    references: np.ndarray = field(default_factory=lambda: np.zeros((0, 0), np.float32))
    photos: tuple[dict, ...] = ()
    report: BuildReport = field(default_factory=BuildReport)
    folder: Path | None = None
    apart: tuple[tuple[str, str], ...] = ()
    # Worked out from the rest: each person's mean, first row of references, names as keys.
    means: np.ndarray = field(init=False, repr=False)
    _starts: np.ndarray = field(init=False, repr=False)
    _keys: dict[str, int] = field(init=False, repr=False)

    def __post_init__(self):
        counts = [len(p.references) for p in self.people]
        if sum(counts) != len(self.references):
            raise GalleryError(f"{sum(counts)} references are listed, {len(self.references)} embeddings are there")
        starts = np.concatenate([[0], np.cumsum(counts)]).astype(int)
        dim = self.references.shape[1] if self.references.ndim == 2 else 0
        means = [
            unit(self.references[a:b].mean(axis=0)) if b > a else np.zeros(dim, np.float32) for a, b in pairwise(starts)
        ]
        object.__setattr__(self, "_starts", starts)
        object.__setattr__(self, "means", np.stack(means) if means else np.zeros((0, dim), np.float32))
        keys: dict[str, int] = {}
        for index, person in enumerate(self.people):
            for alias in (person.name, *person.aliases):
                other = keys.setdefault(name_key(alias), index)
                if other != index:
                    raise GalleryError(
                        f"{alias!r} would name both {self.people[other].name!r} and {person.name!r}; "
                        "give one of them another name or alias"
                    )
        object.__setattr__(self, "_keys", keys)

    @classmethod
    def empty(cls, engine: FaceEngine) -> Gallery:
        """A gallery of nobody yet, for an engine's embeddings."""
        return cls(engine.id, engine.model_hash, references=np.zeros((0, engine.dim), np.float32))

    # ---- looking people up

    def __len__(self) -> int:
        return len(self.people)

    def __contains__(self, name: str) -> bool:
        return name_key(name) in self._keys

    @property
    def names(self) -> list[str]:
        return [person.name for person in self.people]

    def find(self, name: str) -> Person:
        """The person who answers to a name or alias, in any case, spacing or Unicode form.

        Raises:
            UnknownPerson: nobody does; the message has the nearest names.
        """
        index = self._keys.get(name_key(name))
        if index is not None:
            return self.people[index]
        spellings = {name_key(a): a for p in self.people for a in (p.name, *p.aliases)}
        close = [spellings[k] for k in difflib.get_close_matches(name_key(name), spellings, n=3, cutoff=0.5)]
        if close:
            hint = "did you mean " + " or ".join(repr(c) for c in close) + "?"
        elif self.people:
            shown = ", ".join(self.names[:20]) + (" ..." if len(self.people) > 20 else "")
            hint = f"the gallery has: {shown}"
        else:
            hint = "the gallery is empty; put photos in Dataset/<name>/ and run: idseg people build"
        raise UnknownPerson(f"nobody called {name!r} is in the gallery; {hint}")

    def person_references(self, index: int) -> np.ndarray:
        """float32 (n, D): the single references of person number `index`."""
        return self.references[self._starts[index] : self._starts[index + 1]]

    def are_apart(self, first: int, second: int) -> bool:
        """Were the people of these two indices said to be two, though they look like one?"""
        one, other = self.people[first].id, self.people[second].id
        return (one, other) in self.apart or (other, one) in self.apart

    def portrait(self, index: int) -> bytes:
        """The thumbnail of person number `index` that is most like them: nearest their mean; empty if there is none."""
        shown = [i for i, one in enumerate(self.people[index].references) if one.thumbnail]
        if not shown:
            return b""
        near = self.person_references(index)[shown] @ self.means[index]
        return self.people[index].references[shown[int(near.argmax())]].thumbnail

    @property
    def owners(self) -> np.ndarray:
        """int (N,): for every reference the index of its person."""
        return np.repeat(np.arange(len(self)), [len(person.references) for person in self.people])

    def check_engine(self, engine: FaceEngine) -> None:
        """Raise `GalleryMismatch` unless the gallery was built with this engine and model."""
        if (self.engine_id, self.model_hash) != (engine.id, engine.model_hash):
            if self.engine_id == engine.id:
                differ = f"the same engine with another model ({self.model_hash}, now {engine.model_hash})"
            else:
                differ = f"the face engine {self.engine_id!r}, and {engine.id!r} is in use"
            where = f" --gallery {shlex.quote(str(self.folder))}" if self.folder else ""
            other = self.engine_id.split("/")[0]
            use = "Build" if self.engine_id == engine.id else f"Use --face-engine {other}, or build"
            command = f"idseg people build --anew --face-engine {engine.id.split('/')[0]}{where}"
            raise GalleryMismatch(
                f"this gallery was built with {differ}; their numbers do not mix. {use} it anew from its photos "
                f"(names, aliases and merges stay): {command}"
            )

    # ---- showing

    def __repr__(self) -> str:  # without embeddings, which a saved notebook would hold
        return f"<Gallery of {len(self)} people by {self.engine_id}: {', '.join(self.names[:20])}>"

    def _repr_html_(self) -> str:
        from .. import cards

        shown = self.people[:_MOST_ROWS]
        each = max(1, min(_FACES_SHOWN, _MOST_ROWS // max(1, len(shown))))
        rows = [
            (
                cards.several(cards.face(self._thumbnail(r), r.source) for r in person.references[:each]),
                cards.named(person.name, person.colour), ", ".join(person.aliases), len(person.references),
                ", ".join(person.folders) or "added by hand",
            )
            for person in shown
        ]  # fmt: skip
        left = len(self) - len(rows)
        said = (f"and {left} more" if left else "", f"engine {self.engine_id}", f"kept in {self.folder or 'memory'}")
        heads = ("", "name", "also", "photos", "from")
        return cards.card(f"{len(self)} people on file", cards.table(heads, rows), cards.lines(said))

    def _thumbnail(self, reference: Reference) -> bytes | None:
        """The face of a reference: out of its photo where that is still the same, or as it is kept."""
        from .. import cards

        folder = Path(Settings.from_env().dataset) if self.report.folder is None else self.report.folder
        seen = cards.face_in(str(folder / reference.source), reference.face, reference.sha256)
        return seen or (cards.kept_face(reference.thumbnail) if reference.thumbnail else None)

    # ---- comparing

    def similarity(self, embeddings: np.ndarray, scoring: str = "blend") -> np.ndarray:
        """Score faces against everyone: float32 (F, P), cosines in -1..1.

        Args:
            embeddings: (F, D), unit length.
            scoring: one of `SCORINGS`. In a gallery of more than 2,000 people only each face's 50
                nearest by mean are scored reference by reference; nobody else can win.
        """
        if scoring not in SCORINGS:
            raise InputError(f"unknown scoring {scoring!r}; expected {', '.join(SCORINGS)}")
        embeddings = np.asarray(embeddings, np.float32).reshape(-1, self.means.shape[1] or 1)
        scores = embeddings @ self.means.T if len(self) else np.zeros((len(embeddings), 0), np.float32)
        if scoring == "mean" or not scores.size:
            return scores
        shortlist = None
        columns = np.arange(len(self))
        if len(self) > EXHAUSTIVE:
            shortlist = np.argpartition(-scores, _SHORTLIST, axis=1)[:, :_SHORTLIST]
            columns = np.unique(shortlist)
        exact = np.full(scores.shape, np.nan, np.float32)
        for person in columns.tolist():
            rows = slice(None) if shortlist is None else np.flatnonzero((shortlist == person).any(axis=1))
            best = _best(embeddings[rows], self.person_references(person))
            exact[rows, person] = best if scoring == "best" else (scores[rows, person] + best) / 2
        # A mean alone is on another scale: whoever is not on a face's shortlist stays below those who are.
        floor = np.nanmin(exact, axis=1, keepdims=True)
        return np.where(np.isnan(exact), np.minimum(scores, floor), exact)

    def search(self, embeddings: np.ndarray, k: int = 5) -> list[list[tuple[str, float]]]:
        """The `k` most similar people for each embedding: [(name, similarity), ...], best first."""
        scores = self.similarity(embeddings)
        k = min(k, len(self))
        found = []
        for row in scores:
            top = np.argpartition(-row, k - 1)[:k] if 0 < k < len(row) else np.arange(len(row))
            top = top[np.argsort(-row[top], kind="stable")]
            found.append([(self.people[i].name, float(row[i])) for i in top])
        return found

    # ---- changing (each returns a new gallery)

    def with_person(
        self,
        name: str,
        embeddings: np.ndarray,
        sources: Sequence[Reference],
        aliases: Iterable[str] = (),
        colour: str | None = None,
    ) -> Gallery:
        """Add a person, or add references to the one who already has that very name.

        Args:
            name: display name.
            embeddings: float32 (n, D).
            sources: where each came from, n of them.
            aliases: other names of a new person.
            colour: "#RRGGBB" of a new person; None = one that nobody has.
        """
        name = normal_name(name)
        existing = [i for i, p in enumerate(self.people) if name_key(p.name) == name_key(name)]
        people = list(self.people)
        blocks = [self.person_references(i) for i in range(len(people))]
        embeddings = unit(np.asarray(embeddings, np.float32).reshape(len(sources), -1))
        if existing:
            i = existing[0]
            people[i] = replace(people[i], references=people[i].references + tuple(sources))
            blocks[i] = np.concatenate([blocks[i], embeddings])
        else:
            people.append(
                Person(
                    uuid.uuid4().hex, name, tuple(normal_name(a) for a in aliases),
                    checked_colour(colour, [p.colour for p in people]), (), tuple(sources),
                )
            )  # fmt: skip
            blocks.append(embeddings)
        return self.with_everyone(people, blocks)

    def without(self, name: str) -> Gallery:
        """Everyone but this person; their photo verdicts go too. `save` afterwards purges older generations."""
        gone = self.find(name)
        kept = [i for i, p in enumerate(self.people) if p.id != gone.id]
        smaller = self.with_everyone([self.people[i] for i in kept], [self.person_references(i) for i in kept])
        photos = tuple(p for p in self.photos if p["folder"] not in gone.folders)
        return replace(smaller, photos=photos, report=BuildReport())

    def renamed(self, name: str, new_name: str) -> Gallery:
        """The person under a new display name; the old one is dropped unless it is an alias."""
        person = self.find(name)
        name = normal_name(new_name)
        others = tuple(alias for alias in person.aliases if name_key(alias) != name_key(name))
        return self._with_people(replace(person, name=name, hand_name=name, aliases=others))

    def with_aliases(self, name: str, aliases: Iterable[str]) -> Gallery:
        """The person's aliases replaced."""
        person = self.find(name)
        unique = {name_key(a): normal_name(a) for a in aliases}
        unique.pop(name_key(person.name), None)
        names = tuple(unique.values())
        return self._with_people(replace(person, aliases=names, hand_aliases=names))

    def with_colour(self, name: str, colour: str) -> Gallery:
        """The person's colour replaced; `colour` is "#RRGGBB"."""
        return self._with_people(replace(self.find(name), colour=checked_colour(colour, ())))

    def merged(self, keep: str, other: str) -> Gallery:
        """`other`'s references and names become `keep`'s; of a photo that both have, `keep`'s reference stays."""
        first, second = self.find(keep), self.find(other)
        if first.id == second.id:
            raise InputError(f"{keep!r} and {other!r} are already the same person")
        i, j = self.people.index(first), self.people.index(second)
        own = {reference.sha256 for reference in first.references}
        new = [k for k, reference in enumerate(second.references) if reference.sha256 not in own]
        joined = replace(
            first,
            aliases=(*first.aliases, second.name, *second.aliases),
            folders=first.folders + second.folders,
            hand_aliases=(*first.hand_aliases, second.name, *second.hand_aliases),
            hand_folders=tuple(
                dict.fromkeys(first.folders + second.folders + first.hand_folders + second.hand_folders)
            ),
            references=first.references + tuple(second.references[k] for k in new),
        )
        block = np.concatenate([self.person_references(i), self.person_references(j)[new]])
        rest = [k for k in range(len(self)) if k != j]
        return self.with_everyone(
            [joined if k == i else self.people[k] for k in rest],
            [block if k == i else self.person_references(k) for k in rest],
        )

    def _with_people(self, changed: Person) -> Gallery:
        return replace(self, people=tuple(changed if p.id == changed.id else p for p in self.people))

    def with_everyone(self, people: Sequence[Person], blocks: Sequence[np.ndarray]) -> Gallery:
        """The gallery with these people instead, and float32 (n, D) references of each."""
        dim = self.references.shape[1] if self.references.ndim == 2 and self.references.size else 0
        stacked = np.concatenate(blocks) if blocks else np.zeros((0, dim), np.float32)
        there = {person.id for person in people}
        apart = tuple(pair for pair in self.apart if there.issuperset(pair))
        return replace(self, people=tuple(people), references=np.ascontiguousarray(stacked, np.float32), apart=apart)

    # ---- disk

    def save(self, folder: str | os.PathLike, purge: bool = False) -> Gallery:
        """Write a new generation and make it the live one, in one step.

        Args:
            folder: the gallery's folder; made, readable by its owner alone, if need be.
            purge: remove every older generation (what deleting a person needs); otherwise one is kept.

        Raises:
            OutputError: the folder cannot be written; the gallery on disk is as it was.
        """
        from safetensors.numpy import save as to_safetensors

        folder = Path(folder)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            # A folder of the user's own that was there before keeps its mode; the files are private in any case.
            if os.name == "posix" and {p.name for p in folder.iterdir()} <= {".lock"}:
                folder.chmod(0o700)
        except OSError as error:
            raise OutputError(f"{folder}: the gallery cannot be written there ({error.strerror})") from error
        number = max([0, *(n for n, _ in _generations(folder))]) + 1
        stem = f"gen-{number:06d}"
        pictures = [reference.thumbnail for person in self.people for reference in person.references]
        tensors = to_safetensors({"references": np.ascontiguousarray(self.references), **thumbnails.packed(pictures)})
        manifest = {
            "schema_version": SCHEMA_VERSION,
            "engine": {"id": self.engine_id, "model_hash": self.model_hash, "dim": int(self.references.shape[1])},
            "tensors_sha256": hashlib.sha256(tensors).hexdigest(),
            "people": [person_row(person) for person in self.people],
            "photos": list(self.photos),
            "apart": [list(pair) for pair in self.apart],
        }
        text = json.dumps(manifest, ensure_ascii=False, indent=1).encode()
        pointer = {"generation": stem, "manifest_sha256": hashlib.sha256(text).hexdigest()}
        for name, data in (
            (f"{stem}.safetensors", tensors),
            (f"{stem}.json", text),
            ("CURRENT", json.dumps(pointer).encode()),
        ):
            with atomic_write(folder / name, private=True) as file:
                file.write(data)
        for old, _ in _generations(folder)[1 if purge else _KEPT_GENERATIONS :]:
            for suffix in (".json", ".safetensors"):
                (folder / f"gen-{old:06d}{suffix}").unlink(missing_ok=True)
        if purge:
            for leftover in folder.glob(".writing-*.part"):  # of a run that was killed
                leftover.unlink(missing_ok=True)
        return replace(self, folder=folder)

    @classmethod
    def edit(
        cls,
        folder: str | os.PathLike,
        change: Callable[[Gallery], Gallery],
        begin: Gallery | None = None,
        purge: bool | None = None,
    ) -> tuple[Gallery, Gallery]:
        """Load, change and save a gallery under its lock: the one way in which one on disk is edited.

        Args:
            folder: the gallery's folder.
            change: gives the new gallery for the one on disk.
            begin: what to begin with where there is none on disk yet; None = that is an error.
            purge: remove every older generation; None = if somebody is no longer on file, so that nothing of them
                is left.

        Returns:
            The gallery before and after.

        Raises:
            GalleryError: there is no gallery here; `GalleryLocked`, another process is writing it.
            OutputError: it cannot be written; what is on disk stays as it is.
        """
        if begin is None:
            cls.load(folder)  # fails here if there is none: taking the lock would make the folder
        with locked(folder):
            before = cls.load(folder) if begin is None or exists(folder) else begin
            after = change(before)
            gone = {person.id for person in before.people} - {person.id for person in after.people}
            return before, replace(after.save(folder, bool(gone) if purge is None else purge), report=after.report)

    @classmethod
    def load(cls, folder: str | os.PathLike) -> Gallery:
        """Read the live generation; a damaged one is passed over for the last good one, with a warning.

        Raises:
            GalleryError: there is no gallery here.
            GalleryCorrupt: there is, but no generation of it is intact.
        """
        folder = Path(folder)
        for attempt in range(5):
            try:
                return cls._load(folder)
            except GalleryCorrupt:
                # A save may have replaced the generation between our looking and our reading.
                if attempt == 4:
                    raise
                time.sleep(0.05)
        raise AssertionError("unreachable")

    @classmethod
    def _load(cls, folder: Path) -> Gallery:
        stems = [stem for _, stem in _generations(folder)]
        if not stems:
            raise GalleryError(
                f"no gallery in {folder}; put photos in Dataset/<name>/ and run: idseg people build --gallery {folder}"
            )
        pointer = {}
        with contextlib.suppress(OSError, ValueError):
            pointer = json.loads((folder / "CURRENT").read_bytes())
        live = pointer.get("generation") if isinstance(pointer, dict) else None
        if live in stems:
            stems.remove(live)
            stems.insert(0, live)
        faults = []
        for stem in stems:
            try:
                gallery = cls._read(folder, stem, pointer.get("manifest_sha256") if stem == live else None)
            except (OSError, ValueError, KeyError, TypeError, GalleryError) as error:
                faults.append(f"{stem}: {error}")
                continue
            if faults:
                logger.warning(
                    "the gallery in %s was damaged (%s); its last good generation %s is used. "
                    "Rebuild to be sure: idseg people build --gallery %s",
                    folder, "; ".join(faults), stem, folder,
                )  # fmt: skip
            return gallery
        raise GalleryCorrupt(
            f"the gallery in {folder} is damaged ({'; '.join(faults)}). Its photos are untouched: move {folder} away "
            f"and rebuild it with: idseg people build --gallery {folder}"
        )

    @classmethod
    def _read(cls, folder: Path, stem: str, manifest_sha256: str | None) -> Gallery:
        from safetensors import SafetensorError
        from safetensors.numpy import load as from_safetensors

        text = (folder / f"{stem}.json").read_bytes()
        if manifest_sha256 and hashlib.sha256(text).hexdigest() != manifest_sha256:
            raise ValueError("its manifest does not match its hash")
        manifest = json.loads(text)
        if manifest["schema_version"] > SCHEMA_VERSION:
            raise GalleryError(
                f"written by a newer version (schema {manifest['schema_version']}); upgrade this package"
            )
        data = (folder / f"{stem}.safetensors").read_bytes()
        if hashlib.sha256(data).hexdigest() != manifest["tensors_sha256"]:
            raise ValueError("its embeddings do not match their hash")
        try:
            tensors = from_safetensors(data)
        except SafetensorError as error:
            raise ValueError(str(error)) from error
        references = tensors["references"]
        pictures = iter(thumbnails.unpacked(tensors, len(references)))
        people = tuple(
            Person(
                **{**row, "aliases": tuple(row["aliases"]), "folders": tuple(row["folders"]),
                   "hand_aliases": tuple(row["hand_aliases"]), "hand_folders": tuple(row["hand_folders"]),
                   "references": tuple(reference_of(one, next(pictures, b"")) for one in row["references"])}
            )
            for row in manifest["people"]
        )  # fmt: skip
        engine = manifest["engine"]
        return cls(
            engine["id"], engine["model_hash"], people, references.astype(np.float32, copy=False),
            tuple(manifest["photos"]), BuildReport(), folder,
            tuple((str(one), str(other)) for one, other in manifest.get("apart", ())),
        )  # fmt: skip


def _best(embeddings: np.ndarray, references: np.ndarray) -> np.ndarray:
    """Mean of each face's best three cosines to single references: (F,)."""
    return np.sort(embeddings @ references.T, axis=1)[:, -_BEST_OF:].mean(axis=1)


def blended(embeddings: np.ndarray, references: np.ndarray, scoring: str = "blend") -> np.ndarray:
    """Score faces against one person's references as `Gallery.similarity` does.

    Args:
        embeddings: float32 (F, D), unit length.
        references: float32 (n, D), unit length, n >= 1.
        scoring: one of `SCORINGS`.

    Returns:
        float32 (F,).
    """
    mean = embeddings @ unit(references.mean(axis=0))
    if scoring == "mean":
        return mean
    best = _best(embeddings, references)
    return best if scoring == "best" else (mean + best) / 2


def _generations(folder: Path) -> list[tuple[int, str]]:
    """(number, stem) of the generations in a folder, newest first; other files are nobody's business."""
    found = [re.fullmatch(r"gen-(\d{6,})", p.stem) for p in folder.glob("gen-*.json")]
    return sorted(((int(m[1]), m[0]) for m in found if m), reverse=True)


def exists(folder: str | os.PathLike) -> bool:
    """Is there a gallery in this folder, whole or damaged?"""
    return any(Path(folder).glob("gen-*.json"))


def locked(folder: str | os.PathLike) -> contextlib.AbstractContextManager[None]:
    """Hold a gallery's lock; a second writer fails at once rather than waiting unseen.

    Raises:
        GalleryLocked: somebody else holds it.
        OutputError: the folder cannot be written to.
    """
    busy = f"another process is writing the gallery in {folder}; try again when it is done"
    return held(Path(folder) / ".lock", 0.0, busy, GalleryLocked)


def open_gallery(folder: str | os.PathLike, engine: FaceEngine) -> Gallery:
    """Load a gallery for use with an engine; raises as `Gallery.load` and `Gallery.check_engine`."""
    gallery = Gallery.load(folder)
    gallery.check_engine(engine)
    return gallery

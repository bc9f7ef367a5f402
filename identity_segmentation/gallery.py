"""Folders of reference photos -> the people on file: names, embeddings, where each came from. (Notebook section 2.)

On disk a gallery is a folder of immutable generations: ``gen-000007.json`` (who, from what, by which engine) beside
``gen-000007.safetensors`` (the embeddings), and ``CURRENT``, which names the live one and is replaced in one step. A
broken generation is passed over for the last good one; nothing is ever unpickled. Faces are biometric data: the folder
is readable by its owner alone.
"""

from __future__ import annotations

import contextlib
import difflib
import hashlib
import json
import logging
import os
import re
import time
import tomllib
import unicodedata
import uuid
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np

from .engines.protocols import FaceEngine
from .errors import (
    GalleryCorrupt,
    GalleryError,
    GalleryLocked,
    GalleryMismatch,
    ImageError,
    InputError,
    OutputError,
    UnknownPerson,
)
from .files import atomic_write, held, shown_path
from .images import decode_image, list_photos, shrink_to
from .types import BuildReport, Face, PhotoVerdict, unit

logger = logging.getLogger(__name__)

SCHEMA_VERSION = 1
# How a face is scored against a person with several references: cosine to their mean, the mean of the best three
# cosines to single references, or the average of the two, which measures best (docs/figures.md, "Scoring").
SCORINGS = ("mean", "best", "blend")
_BEST_OF = 3
_SHORTLIST = 50  # people per face that are scored reference by reference in a large gallery
_EXHAUSTIVE = 2000  # people up to which everyone is
# The look-alike level: what all but 2 % of the gallery's own impostors stay below.
_LEVEL_QUANTILE = 0.98
_LEVEL_SAMPLE, _LEVEL_SAMPLE_LARGE = 1500, 200  # references that play impostor; fewer against very many people
_REFERENCE_SIDE = 1600  # reference photos are shrunk to this; their faces are large
_KEPT_GENERATIONS = 2
# Distinct at a glance, and in print (Okabe and Ito's palette for colour-blind readers, and two more).
PALETTE = ("#E69F00", "#56B4E9", "#009E73", "#F0E442", "#0072B2", "#D55E00", "#CC79A7", "#8A5FD6", "#7F9F3F")


@dataclass(frozen=True)
class Reference:
    """Where one embedding came from. `source` is relative to the data set's folder; for a photo added by
    hand, its file name."""

    source: str
    sha256: str
    look: int  # 64-bit difference hash of the picture: finds re-encoded and resized copies
    note: str = ""
    by_hand: bool = False


@dataclass(frozen=True)
class Person:
    """One person: a stable id, a display name, other names they answer to, a colour, and their references.

    `folders` are the data set's folders they were built from: none for a person added by hand, several for people who
    were merged or whose folders `members.toml` gives one name. The fields `hand_...` keep what was said by hand, apart
    from what the data set says: a name, further names, and folders that were merged.
    """

    id: str
    name: str
    aliases: tuple[str, ...] = ()
    colour: str = PALETTE[0]
    folders: tuple[str, ...] = ()
    references: tuple[Reference, ...] = ()
    hand_name: str | None = None
    hand_aliases: tuple[str, ...] = ()
    hand_folders: tuple[str, ...] = ()

    @property
    def colour_bgr(self) -> tuple[int, int, int]:
        return int(self.colour[5:7], 16), int(self.colour[3:5], 16), int(self.colour[1:3], 16)


def normal_name(name: str) -> str:
    """A name as it is stored: NFC, no control or invisible characters, single spaces.

    Raises:
        InputError: nothing is left, or it is longer than 100 characters.
    """
    text = unicodedata.normalize("NFC", name)
    # Zero-width joiners matter in some scripts' shaping; the rest of Cc and Cf only hides differences.
    text = "".join(c for c in text if unicodedata.category(c) not in ("Cc", "Cf", "Cs") or c in "\u200c\u200d")
    text = " ".join(text.split())
    if not name_key(text) or len(text) > 100:
        raise InputError(f"expected a name of 1 to 100 visible characters, got {name[:120]!r}")
    return text


def name_key(name: str) -> str:
    """What two spellings of one name have in common: NFKC, no case, no spaces, no joiners."""
    text = unicodedata.normalize("NFKC", name).casefold()
    return "".join(c for c in text if not c.isspace() and unicodedata.category(c) not in ("Cc", "Cf"))


@dataclass(frozen=True, eq=False)
class Gallery:
    """The people on file. A change gives a new gallery; `save` puts it on disk.

    Attributes:
        engine_id, model_hash: of the face engine whose embeddings these are.
        people: in a stable order.
        references: float32 (N, D), unit length, person by person in the order of `people`.
        photos: verdict on every photo of the last build.
        report: of the build that made this gallery, if one did.
        folder: where it was loaded from or saved to.
    """

    engine_id: str
    model_hash: str
    people: tuple[Person, ...] = ()
    references: np.ndarray = field(default_factory=lambda: np.zeros((0, 0), np.float32))
    photos: tuple[dict, ...] = ()
    report: BuildReport | None = None
    folder: Path | None = None

    def __post_init__(self):
        counts = [len(p.references) for p in self.people]
        if sum(counts) != len(self.references):
            raise GalleryError(f"{sum(counts)} references are listed, {len(self.references)} embeddings are there")
        starts = np.concatenate([[0], np.cumsum(counts)]).astype(int)
        means = [unit(self.references[a:b].mean(axis=0)) for a, b in pairwise(starts)]
        dim = self.references.shape[1] if self.references.ndim == 2 else 0
        object.__setattr__(self, "_starts", starts)
        object.__setattr__(self, "means", np.stack(means) if means else np.zeros((0, dim), np.float32))
        object.__setattr__(self, "_levels", {})
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

    def check_engine(self, engine: FaceEngine) -> None:
        """Raise `GalleryMismatch` unless the gallery was built with this engine and model."""
        if (self.engine_id, self.model_hash) != (engine.id, engine.model_hash):
            if self.engine_id == engine.id:
                differ = f"the same engine with another model ({self.model_hash}, now {engine.model_hash})"
            else:
                differ = f"the face engine {self.engine_id!r}, and {engine.id!r} is in use"
            raise GalleryMismatch(
                f"this gallery was built with {differ}; their numbers do not mix. Use --face-engine "
                f"{self.engine_id.split('/')[0]}, or rebuild with: "
                f"idseg people build --face-engine {engine.id.split('/')[0]} --gallery ANOTHER_FOLDER"
            )

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
        columns = range(len(self))
        if len(self) > _EXHAUSTIVE:
            shortlist = np.argpartition(-scores, _SHORTLIST, axis=1)[:, :_SHORTLIST]
            columns = np.unique(shortlist)
        exact = np.full(scores.shape, np.nan, np.float32)
        for person in columns:
            rows = slice(None) if shortlist is None else np.flatnonzero((shortlist == person).any(axis=1))
            cosines = embeddings[rows] @ self.person_references(person).T
            best = np.sort(cosines, axis=1)[:, -_BEST_OF:].mean(axis=1)
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

    def look_alike_level(self, scoring: str = "blend") -> float:
        """How much evidence (similarity + margin) an impostor reaches in this gallery; -inf if too few to tell.

        Every reference in turn plays a stranger to all the other people; 98 % of those impostors stay
        below the returned value. In a gallery of look-alikes it is high, so a face must say more
        to be given a name. Needs three people and ten references.
        """
        if scoring not in self._levels:
            self._levels[scoring] = self._measure_level(scoring)
        return self._levels[scoring]

    def _measure_level(self, scoring: str) -> float:
        if len(self) < 3 or len(self.references) < 10:
            return float("-inf")
        rows = np.arange(len(self.references))
        most = _LEVEL_SAMPLE if len(self) <= _EXHAUSTIVE else _LEVEL_SAMPLE_LARGE
        if len(rows) > most:
            rows = np.sort(np.random.default_rng(0).choice(rows, most, replace=False))
        scores = self.similarity(self.references[rows], scoring)
        owners = np.searchsorted(self._starts, rows, side="right") - 1
        scores[np.arange(len(rows)), owners] = -np.inf
        top = np.sort(scores, axis=1)[:, -2:]
        return float(np.quantile(2 * top[:, 1] - top[:, 0], _LEVEL_QUANTILE, method="higher"))

    # ---- changing (each returns a new gallery)

    def with_person(
        self,
        name: str,
        embeddings: np.ndarray,
        sources: Sequence[Reference],
        aliases: Iterable[str] = (),
        colour: str | None = None,
    ) -> Gallery:
        """Add a person, or add references to the one who already has that very name."""
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
                    _colour(colour, [p.colour for p in people]), (), tuple(sources),
                )
            )  # fmt: skip
            blocks.append(embeddings)
        return self._with(people, blocks)

    def without(self, name: str) -> Gallery:
        """Everyone but this person; their photo verdicts go too. `save` afterwards purges older generations."""
        gone = self.find(name)
        kept = [i for i, p in enumerate(self.people) if p.id != gone.id]
        smaller = self._with([self.people[i] for i in kept], [self.person_references(i) for i in kept])
        photos = tuple(p for p in self.photos if p["folder"] not in gone.folders)
        return replace(smaller, photos=photos, report=None)

    def renamed(self, name: str, new_name: str) -> Gallery:
        """The person under a new display name; the old one is dropped unless it is an alias."""
        person = self.find(name)
        name = normal_name(new_name)
        return self._with_people(replace(person, name=name, hand_name=name))

    def with_aliases(self, name: str, aliases: Iterable[str]) -> Gallery:
        """The person's aliases replaced."""
        person = self.find(name)
        unique = {name_key(a): normal_name(a) for a in aliases}
        unique.pop(name_key(person.name), None)
        names = tuple(unique.values())
        return self._with_people(replace(person, aliases=names, hand_aliases=names))

    def with_colour(self, name: str, colour: str) -> Gallery:
        """The person's colour replaced; `colour` is "#RRGGBB"."""
        return self._with_people(replace(self.find(name), colour=_colour(colour, ())))

    def merged(self, keep: str, other: str) -> Gallery:
        """`other`'s references and names become `keep`'s."""
        first, second = self.find(keep), self.find(other)
        if first.id == second.id:
            raise InputError(f"{keep!r} and {other!r} are already the same person")
        i, j = self.people.index(first), self.people.index(second)
        joined = replace(
            first,
            aliases=(*first.aliases, second.name, *second.aliases),
            folders=first.folders + second.folders,
            hand_aliases=(*first.hand_aliases, second.name, *second.hand_aliases),
            hand_folders=tuple(
                dict.fromkeys(first.folders + second.folders + first.hand_folders + second.hand_folders)
            ),
            references=first.references + second.references,
        )
        block = np.concatenate([self.person_references(i), self.person_references(j)])
        rest = [k for k in range(len(self)) if k != j]
        return self._with(
            [joined if k == i else self.people[k] for k in rest],
            [block if k == i else self.person_references(k) for k in rest],
        )

    def _with_people(self, changed: Person) -> Gallery:
        return replace(self, people=tuple(changed if p.id == changed.id else p for p in self.people))

    def _with(self, people: list[Person], blocks: list[np.ndarray]) -> Gallery:
        dim = self.references.shape[1] if self.references.ndim == 2 and self.references.size else 0
        stacked = np.concatenate(blocks) if blocks else np.zeros((0, dim), np.float32)
        return replace(self, people=tuple(people), references=np.ascontiguousarray(stacked, np.float32))

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
        tensors = to_safetensors({"references": np.ascontiguousarray(self.references)})
        manifest = {
            "schema_version": SCHEMA_VERSION,
            "engine": {"id": self.engine_id, "model_hash": self.model_hash, "dim": int(self.references.shape[1])},
            "tensors_sha256": hashlib.sha256(tensors).hexdigest(),
            "people": [asdict(person) for person in self.people],
            "photos": list(self.photos),
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
            references = from_safetensors(data)["references"]
        except SafetensorError as error:
            raise ValueError(str(error)) from error
        people = tuple(
            Person(
                **{**row, "aliases": tuple(row["aliases"]), "folders": tuple(row["folders"]),
                   "hand_aliases": tuple(row["hand_aliases"]), "hand_folders": tuple(row["hand_folders"]),
                   "references": tuple(Reference(**r) for r in row["references"])}
            )
            for row in manifest["people"]
        )  # fmt: skip
        engine = manifest["engine"]
        return cls(
            engine["id"], engine["model_hash"], people, references.astype(np.float32, copy=False),
            tuple(manifest["photos"]), None, folder,
        )  # fmt: skip


def _generations(folder: Path) -> list[tuple[int, str]]:
    """(number, stem) of the generations in a folder, newest first; other files are nobody's business."""
    found = [re.fullmatch(r"gen-(\d{6,})", p.stem) for p in folder.glob("gen-*.json")]
    return sorted(((int(m[1]), m[0]) for m in found if m), reverse=True)


def _colour(colour: str | None, taken: Iterable[str]) -> str:
    """A colour checked, or the first of the palette that nobody has."""
    if colour is None:
        taken = list(taken)
        return next((c for c in PALETTE if c not in taken), PALETTE[len(taken) % len(PALETTE)])
    if not isinstance(colour, str):
        raise InputError(f"expected a colour as #RRGGBB, got {colour!r}")
    text = colour.strip().upper()
    if len(text) != 7 or text[0] != "#" or any(c not in "0123456789ABCDEF" for c in text[1:]):
        raise InputError(f"expected a colour as #RRGGBB, got {colour!r}")
    return text


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


# ---- building


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
        aliases = entry.get("aliases", []) if isinstance(entry, dict) else None
        known = isinstance(entry, dict) and entry.keys() <= {"folder", "name", "aliases", "colour"}
        texts = [entry.get("folder"), entry.get("name"), *aliases] if known and isinstance(aliases, list) else [None]
        if not all(isinstance(text, str) for text in texts):
            raise InputError(f"{shape}; got {entry!r}")
        folder = unicodedata.normalize("NFC", entry["folder"])
        if folder in members:
            raise InputError(f"{path}: the folder {folder!r} has two entries; keep one")
        colour = None if entry.get("colour") is None else _colour(entry["colour"], ())
        names = tuple(normal_name(alias) for alias in aliases)
        members[folder] = Member(folder, normal_name(entry["name"]), names, colour)
    return members


@dataclass
class _Photo:
    """A reference photo on its way to a verdict."""

    source: str
    sha256: str = ""
    look: int = 0
    faces: list[Face] = field(default_factory=list)
    embedding: np.ndarray | None = None
    verdict: str = ""
    detail: str = ""
    reused: bool = False
    names_others: bool = False  # the detail speaks of somebody else, so it is not stored


def build_embeddings_db(
    folder: str | os.PathLike,
    face_engine: FaceEngine,
    gallery: str | os.PathLike | None = None,
    progress: Callable[[int, int, str], None] | None = None,
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

    Returns:
        The gallery; `.report` has the verdicts.

    Raises:
        InputError: no such folder, no sub-folders with photos, or no face in any photo.
        GalleryMismatch: the gallery there belongs to another engine.
        GalleryLocked: another build is under way.
    """
    folder = Path(folder)
    found = _people_folders(folder)
    if gallery is None:
        return _build(folder, _grouped(found, None), face_engine, None, progress)

    def build(old: Gallery) -> Gallery:
        old.check_engine(face_engine)
        return _build(folder, _grouped(found, old), face_engine, old, progress)

    return Gallery.edit(gallery, build, Gallery.empty(face_engine))[1]


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
            key = unicodedata.normalize("NFC", entry.name)
            photos = list_photos(entry)
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


def _grouped(found: list[tuple[str, Member | None, list[Path]]], old: Gallery | None) -> list[_Group]:
    """Bring the folders of one person together, and find who they were in the last build.

    Folders belong together if the data set gives them one name, or if they were merged by hand. A group is an
    earlier person by its folders; one without any may be somebody added by hand who answers to the name.

    Raises:
        GalleryError: two people would answer to one name. Said before a single photo is looked at.
    """
    groups: dict[str, _Group] = {}
    key_of: dict[str, str] = {}
    people = list(old.people) if old else []
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
        if overlap:
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


def _build(folder, groups: list[_Group], engine, old: Gallery | None, progress) -> Gallery:
    started = time.perf_counter()
    known, unchanged = _known_photos(old), _unchanged_groups(folder, groups, old)
    total, done = sum(len(group.paths) for group in groups), 0
    judged: list[tuple[_Group, list[_Photo]]] = []
    with ThreadPoolExecutor(1) as reader:  # the next photo is decoded while this one is looked at
        for group, kept in zip(groups, unchanged, strict=True):
            photos = kept or []
            waiting = [
                reader.submit(_load_photo, path, folder, known) for path in (group.paths[:2] if not kept else [])
            ]
            try:
                while waiting:
                    photo, image = waiting.pop(0).result()
                    ahead = len(photos) + 2
                    if ahead < len(group.paths):
                        waiting.append(reader.submit(_load_photo, group.paths[ahead], folder, known))
                    if image is not None:
                        photo.faces = engine.faces(image)
                    photos.append(photo)
                    if progress:
                        progress(done + len(photos), total, group.name)
            finally:
                for load in waiting:
                    load.cancel()
            done += len(group.paths)
            if not kept:
                _judge(photos, engine)
            judged.append((group, photos))
    _find_conflicts(judged)
    return _assemble(judged, engine, old, time.perf_counter() - started)


def _unchanged_groups(folder: Path, groups: list[_Group], old: Gallery | None) -> list[list[_Photo] | None]:
    """For each group its photos as the last build left them, if not a byte of any has changed; else None.

    Verdicts that depend on more than the photos themselves (conflicts; what could not be read) are never taken over.
    """
    if old is None:
        return [None] * len(groups)
    embeddings = _embeddings(old)
    rows: dict[str, dict[str, dict]] = {}
    for row in old.photos:
        rows.setdefault(row["folder"], {})[row["source"]] = row
    result: list[list[_Photo] | None] = []
    for group in groups:
        before = {source: row for name in group.folders for source, row in rows.get(name, {}).items()}
        same_folders = group.earlier is not None and set(group.folders) == set(group.earlier.folders)
        result.append(_unchanged(folder, group.paths, before, embeddings) if same_folders else None)
    return result


def _unchanged(folder: Path, paths: list[Path], before: dict[str, dict], embeddings) -> list[_Photo] | None:
    if {shown_path(path.relative_to(folder)) for path in paths} != before.keys():
        return None
    photos = []
    for path in paths:
        row = before[shown_path(path.relative_to(folder))]
        key = (row["source"], row["sha256"])
        used = row["verdict"] in ("used", "several_faces")
        if row["verdict"] in ("conflict", "unreadable") or row["again"] or (used and key not in embeddings):
            return None
        try:
            if hashlib.sha256(path.read_bytes()).hexdigest() != row["sha256"]:
                return None
        except OSError:
            return None
        reference, vector = embeddings[key] if used else (None, None)
        look = reference.look if reference else 0
        photos.append(_Photo(*key, look, [], vector, row["verdict"], row["detail"], reused=True))
    return photos


def _embeddings(gallery: Gallery) -> dict[tuple[str, str], tuple[Reference, np.ndarray]]:
    """(source, sha256) -> reference and embedding, of everything that came from the data set."""
    return {
        (reference.source, reference.sha256): (reference, vector)
        for index, person in enumerate(gallery.people)
        for reference, vector in zip(person.references, gallery.person_references(index), strict=True)
        if not reference.by_hand
    }


def _known_photos(old: Gallery | None) -> dict[tuple[str, str], _Photo]:
    """(source, sha256) -> the photo as the last build left it. Photos with several faces are looked at again: which
    face is the person's depends on their other photos, and the other faces were not kept."""
    if old is None:
        return {}
    embeddings, known = _embeddings(old), {}
    for row in old.photos:
        key = (row["source"], row["sha256"])
        if row["verdict"] == "used" and key in embeddings:
            reference, vector = embeddings[key]
            known[key] = _Photo(*key, reference.look, embedding=vector, reused=True)
        elif row["verdict"] == "no_face":
            known[key] = _Photo(*key, verdict="no_face", reused=True)
    return known


def _load_photo(path: Path, folder: Path, known) -> tuple[_Photo, np.ndarray | None]:
    source = shown_path(path.relative_to(folder))
    try:
        data = path.read_bytes()
    except OSError as error:
        return _Photo(source, verdict="unreadable", detail=error.strerror or str(error)), None
    digest = hashlib.sha256(data).hexdigest()
    if (source, digest) in known:
        return replace(known[source, digest]), None
    try:
        image = decode_image(data, path.name)
    except ImageError as error:
        return _Photo(source, digest, verdict="unreadable", detail=str(error)), None
    image = shrink_to(image, _REFERENCE_SIDE)[0]
    return _Photo(source, digest, _difference_hash(image)), image


def _difference_hash(image_bgr: np.ndarray) -> int:
    """64 bits that hardly change when a picture is resized or re-encoded (Krawetz, "Kind of like that", 2013)."""
    grey = cv2.resize(cv2.cvtColor(image_bgr, cv2.COLOR_BGR2GRAY), (9, 8), interpolation=cv2.INTER_AREA)
    bits = (grey[:, 1:] > grey[:, :-1]).ravel()
    return int.from_bytes(np.packbits(bits).tobytes(), "big")


def _same_picture(a: _Photo, b: _Photo) -> bool:
    if a.sha256 == b.sha256:
        return True
    close = (a.look ^ b.look).bit_count() <= 3
    return close and a.embedding is not None and b.embedding is not None and float(a.embedding @ b.embedding) > 0.9


def _judge(photos: list[_Photo], engine: FaceEngine) -> None:
    """Give each of one person's photos its verdict and, where it has one, its embedding."""
    for photo in photos:
        if photo.verdict or photo.embedding is not None:
            continue
        if not photo.faces:
            photo.verdict = "no_face"
        elif len(photo.faces) == 1:
            photo.embedding = photo.faces[0].embedding
    crowded = [p for p in photos if len(p.faces) > 1]
    if crowded:
        _pick_faces(crowded, [p.embedding for p in photos if p.embedding is not None])
    kept: list[_Photo] = []
    for photo in photos:
        if photo.embedding is None:
            continue
        twin = next((k for k in kept if _same_picture(photo, k)), None)
        if twin:
            photo.verdict, photo.detail = "duplicate", f"same picture as {Path(twin.source).name}"
            continue
        kept.append(photo)
    _find_outliers(kept, engine)
    for photo in kept:
        photo.verdict = photo.verdict or "used"


def _judge_against(photos: list[_Photo], own: list[_Photo], engine: FaceEngine) -> None:
    """Judge new photos by those a person already has, which newcomers cannot out-vote."""
    vectors = [photo.embedding for photo in own]
    mean, kept = unit(np.mean(vectors, axis=0)), list(own)
    for photo in photos:
        if photo.verdict:
            continue
        if not photo.faces:
            photo.verdict = "no_face"
            continue
        photo.embedding = photo.faces[0].embedding
        if len(photo.faces) > 1:
            _pick_faces([photo], vectors)
        twin = next((k for k in kept if _same_picture(photo, k)), None)
        similarity = float(photo.embedding @ mean)
        if twin:
            photo.verdict, photo.detail = "duplicate", f"same picture as {Path(twin.source).name}"
        elif similarity < engine.outlier:
            photo.verdict = "outlier"
            photo.detail = f"similarity {similarity:.2f} to this person's photos on file; somebody else?"
        else:
            photo.verdict = photo.verdict or "used"
            kept.append(photo)


def _pick_faces(crowded: list[_Photo], singles: list[np.ndarray]) -> None:
    """In each photo with several faces, the one nearest the person's other photos."""
    for photo in crowded:
        others = singles or [f.embedding for p in crowded if p is not photo for f in p.faces]
        if singles:
            scores = [float(f.embedding @ unit(np.mean(singles, axis=0))) for f in photo.faces]
            why = "the one nearest this person's other photos is used"
        elif others:
            # Nobody is alone in any photo: the person is whoever keeps coming back.
            rest = [p for p in crowded if p is not photo]
            scores = [
                float(np.mean([max(float(f.embedding @ g.embedding) for g in p.faces) for p in rest]))
                for f in photo.faces
            ]
            why = "the one who is in the other photos too is used"
        else:
            scores = [f.side for f in photo.faces]
            why = "the largest is used, as there is no other photo to compare with"
        best = photo.faces[int(np.argmax(scores))]
        x, y = best.centre
        photo.embedding, photo.verdict = best.embedding, "several_faces"
        photo.detail = f"{len(photo.faces)} faces; {why} (at {x:.0f}, {y:.0f})"


def _find_outliers(kept: list[_Photo], engine: FaceEngine) -> None:
    """A photo far from the person's others is somebody else, or no use. Needs three photos to have a majority.

    The worst goes first and the rest are judged again: one stranger drags everyone's similarity down.
    """
    kept = list(kept)
    while len(kept) >= 3:
        vectors = np.stack([p.embedding for p in kept])
        total = vectors.sum(axis=0)
        own = np.array([float(v @ unit(total - v)) for v in vectors])
        worst = int(own.argmin())
        if own[worst] >= engine.outlier or np.median(own) < engine.outlier:
            return
        photo = kept.pop(worst)
        photo.verdict = "outlier"
        photo.detail = f"similarity {own[worst]:.2f} to this person's other photos; somebody else?"


def _find_conflicts(judged: list[tuple[_Group, list[_Photo]]]) -> None:
    """The same face of the same picture under two names is evidence for neither - unless the other photos of one of
    the two have already shown that it is not theirs."""
    used = [(g, p) for g, photos in judged for p in photos if p.verdict in ("used", "several_faces")]
    for group, photo in ((g, p) for g, photos in judged for p in photos if p.verdict == "outlier" and not p.reused):
        for other, twin in used:
            if other is not group and _same_picture(photo, twin):
                photo.detail += f" It is also filed under {other.name} ({twin.source})."
                photo.names_others = True
    for i, (group, photo) in enumerate(used):
        for other, twin in used[i + 1 :]:
            if other is group or not _same_picture(photo, twin):
                continue
            if float(photo.embedding @ twin.embedding) < 0.9:
                continue  # one group picture, two people, each with their own face
            photo.verdict = twin.verdict = "conflict"
            photo.names_others = twin.names_others = True
            photo.detail = f"the same face is filed under {other.name} ({twin.source}); used for neither"
            twin.detail = f"the same face is filed under {group.name} ({photo.source}); used for neither"


def _assemble(judged, engine: FaceEngine, old: Gallery | None, seconds: float) -> Gallery:
    """Photos with verdicts -> a gallery: people keep their id, and what was added to them by hand."""
    verdicts, rows, notes, lone = [], [], [], []
    people, blocks = [], []
    for group, photos in judged:
        name, earlier = group.name, group.earlier
        if earlier and earlier.hand_name and name_key(earlier.hand_name) != name_key(name):
            notes.append(f"{earlier.hand_name} is called {name}, as members.toml says")
        for photo in photos:
            verdicts.append(PhotoVerdict(name, photo.source, photo.verdict, photo.detail))
            folder = unicodedata.normalize("NFC", photo.source.split("/")[0])
            rows.append(
                {"folder": folder, "source": photo.source, "sha256": photo.sha256,
                 "verdict": photo.verdict, "detail": "" if photo.names_others else photo.detail,
                 "again": photo.names_others}
            )  # fmt: skip
        used = [p for p in photos if p.verdict in ("used", "several_faces")]
        references = [
            Reference(p.source, p.sha256, p.look, p.detail if p.verdict == "several_faces" else "") for p in used
        ]
        vectors = [p.embedding for p in used]
        if earlier:
            theirs = old.person_references(old.people.index(earlier))
            for reference, vector in zip(earlier.references, theirs, strict=True):
                hand = _Photo(reference.source, reference.sha256, reference.look, embedding=vector)
                if reference.by_hand and not any(_same_picture(hand, p) for p in used):
                    references.append(reference)
                    vectors.append(vector)
        if not references:
            notes.append(f"{name}: no usable photo, not in the gallery")
            continue
        if len(references) == 1:
            lone.append(name)
        identifier = earlier.id if earlier else uuid.uuid4().hex
        taken = [p.colour for p in people] + [g.colour for g, _ in judged if g.colour]
        people.append(
            Person(
                identifier, name, group.aliases, _colour(group.colour, taken), tuple(group.folders), tuple(references),
                earlier.hand_name if earlier else None, earlier.hand_aliases if earlier else (),
                earlier.hand_folders if earlier else (),
            )
        )  # fmt: skip
        blocks.append(np.stack(vectors))
    placed = {p.id for p in people} | {g.earlier.id for g, _ in judged if g.earlier}
    for index, person in enumerate(old.people if old else ()):
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
    if lone:
        notes.append(f"one photo only, and three or more make names far more certain: {', '.join(lone)}")
    if not people:
        raise InputError("no usable face in any photo; nothing was written.\n" + BuildReport(tuple(verdicts)).table())
    every = [p for _, photos in judged for p in photos]
    reused = sum(p.reused for p in every)
    report = BuildReport(tuple(verdicts), len(every) - reused, reused, seconds, tuple(notes))
    return replace(Gallery.empty(engine)._with(people, blocks), photos=tuple(rows), report=report)


def add_photos(
    gallery: Gallery, engine: FaceEngine, name: str, photos: Sequence[str | os.PathLike]
) -> tuple[Gallery, list[PhotoVerdict]]:
    """Add a person, or more photos of one, by hand.

    Returns:
        The new gallery (not yet saved) and a verdict per photo.

    Raises:
        InputError: no photo could be used.
        GalleryMismatch: the gallery belongs to another engine.
    """
    gallery.check_engine(engine)
    person = gallery.find(name) if name in gallery else None
    label = person.name if person else normal_name(name)
    loaded = []
    for path in map(Path, photos):
        photo, image = _load_photo(path, path.parent, {})
        photo.source = shown_path(path.name)
        if image is not None:
            photo.faces = engine.faces(image)
        loaded.append(photo)
    on_file = [
        (owner, _Photo(r.source, r.sha256, r.look, embedding=v))
        for index, owner in enumerate(gallery.people)
        for r, v in zip(owner.references, gallery.person_references(index), strict=True)
    ]
    own = [photo for owner, photo in on_file if person and owner.id == person.id]
    if own:
        _judge_against(loaded, own, engine)
    else:
        _judge(loaded, engine)
    for photo in loaded:
        for owner, twin in on_file:
            if photo.embedding is None or (person and owner.id == person.id) or not _same_picture(photo, twin):
                continue
            if photo.verdict in ("used", "several_faces") and float(photo.embedding @ twin.embedding) > 0.9:
                photo.verdict = "conflict"
                photo.detail = f"the same face is on file as {owner.name}; not used"
    verdicts = [PhotoVerdict(label, p.source, p.verdict, p.detail) for p in loaded]
    used = [p for p, v in zip(loaded, verdicts, strict=True) if v.used]
    if not used:
        raise InputError(f"no photo of {label!r} could be used.\n" + BuildReport(tuple(verdicts)).table())
    sources = [Reference(p.source, p.sha256, p.look, p.detail, by_hand=True) for p in used]
    return gallery.with_person(label, np.stack([p.embedding for p in used]), sources), verdicts

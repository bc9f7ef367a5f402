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
import time
import tomllib
import unicodedata
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
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
from .images import atomic_write, decode_image, list_photos, shrink_to
from .types import BuildReport, Face, PhotoVerdict, unit

logger = logging.getLogger(__name__)

SCHEMA_VERSION = 1
# How a face is scored against a person with several references: cosine to their mean, the mean of the best three
# cosines to single references, or the average of the two, which measures best (docs/figures.md, "Scoring").
SCORINGS = ("mean", "best", "blend")
_BEST_OF = 3
_SHORTLIST = 50  # people per face that are scored reference by reference in a large gallery
_EXHAUSTIVE = 2000  # people up to which everyone is
# The look-alike bar: the level that all but 2 % of the gallery's own impostors stay below.
_BAR_QUANTILE = 0.98
_BAR_SAMPLE = 1500
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
    were merged or whose folders `members.toml` gives one name.
    """

    id: str
    name: str
    aliases: tuple[str, ...] = ()
    colour: str = PALETTE[0]
    folders: tuple[str, ...] = ()
    references: tuple[Reference, ...] = ()

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
    if not text or len(text) > 100:
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
        object.__setattr__(self, "_bars", {})
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
        if len(self) <= _EXHAUSTIVE:
            columns = range(len(self))
        else:
            columns = np.unique(np.argpartition(-scores, _SHORTLIST, axis=1)[:, :_SHORTLIST])
        for person in columns:
            cosines = embeddings @ self.person_references(person).T
            best = np.sort(cosines, axis=1)[:, -_BEST_OF:].mean(axis=1)
            scores[:, person] = best if scoring == "best" else (scores[:, person] + best) / 2
        return scores

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

    def look_alike_bar(self, scoring: str = "blend") -> float:
        """How much evidence (similarity + margin) an impostor reaches in this gallery; -inf if too few to tell.

        Every reference in turn plays a stranger to all the other people; 98 % of those impostors stay
        below the returned value. In a gallery of look-alikes it is high, so a face must say more
        to be given a name. Needs three people and ten references.
        """
        if scoring not in self._bars:
            self._bars[scoring] = self._measure_bar(scoring)
        return self._bars[scoring]

    def _measure_bar(self, scoring: str) -> float:
        if len(self) < 3 or len(self.references) < 10:
            return float("-inf")
        rows = np.arange(len(self.references))
        if len(rows) > _BAR_SAMPLE:
            rows = np.sort(np.random.default_rng(0).choice(rows, _BAR_SAMPLE, replace=False))
        scores = self.similarity(self.references[rows], scoring)
        owners = np.searchsorted(self._starts, rows, side="right") - 1
        scores[np.arange(len(rows)), owners] = -np.inf
        top = np.sort(scores, axis=1)[:, -2:]
        return float(np.quantile(2 * top[:, 1] - top[:, 0], _BAR_QUANTILE, method="higher"))

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
                    _colour(colour, len(people)), (), tuple(sources),
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
        return self._with_people(replace(person, name=normal_name(new_name)))

    def with_aliases(self, name: str, aliases: Iterable[str]) -> Gallery:
        """The person's aliases replaced."""
        person = self.find(name)
        unique = {name_key(a): normal_name(a) for a in aliases}
        unique.pop(name_key(person.name), None)
        return self._with_people(replace(person, aliases=tuple(unique.values())))

    def with_colour(self, name: str, colour: str) -> Gallery:
        """The person's colour replaced; `colour` is "#RRGGBB"."""
        return self._with_people(replace(self.find(name), colour=_colour(colour, 0)))

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
            if os.name == "posix":
                folder.chmod(0o700)
        except OSError as error:
            raise OutputError(f"{folder}: the gallery cannot be written there ({error.strerror})") from error
        number = max([0, *(_generation_number(p) for p in folder.glob("gen-*.json"))]) + 1
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
        keep = 1 if purge else _KEPT_GENERATIONS
        for old in sorted(folder.glob("gen-*.json"), reverse=True)[keep:]:
            old.unlink(missing_ok=True)
        alive = {p.stem for p in folder.glob("gen-*.json")}
        for tensor_file in folder.glob("gen-*.safetensors"):
            if tensor_file.stem not in alive:
                tensor_file.unlink(missing_ok=True)
        return replace(self, folder=folder)

    @classmethod
    def load(cls, folder: str | os.PathLike) -> Gallery:
        """Read the live generation; a damaged one is passed over for the last good one, with a warning.

        Raises:
            GalleryError: there is no gallery here.
            GalleryCorrupt: there is, but no generation of it is intact.
        """
        folder = Path(folder)
        stems = sorted((p.stem for p in folder.glob("gen-*.json")), reverse=True)
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
                   "references": tuple(Reference(**r) for r in row["references"])}
            )
            for row in manifest["people"]
        )  # fmt: skip
        engine = manifest["engine"]
        return cls(
            engine["id"], engine["model_hash"], people, references.astype(np.float32, copy=False),
            tuple(manifest["photos"]), None, folder,
        )  # fmt: skip


def _generation_number(path: Path) -> int:
    digits = path.stem.removeprefix("gen-")
    return int(digits) if digits.isdigit() else 0


def _colour(colour: str | None, index: int) -> str:
    if colour is None:
        return PALETTE[index % len(PALETTE)]
    text = colour.strip().upper()
    if len(text) != 7 or text[0] != "#" or any(c not in "0123456789ABCDEF" for c in text[1:]):
        raise InputError(f"expected a colour as #RRGGBB, got {colour!r}")
    return text


@contextlib.contextmanager
def locked(folder: str | os.PathLike) -> Iterator[None]:
    """Hold a gallery's lock; a second writer fails at once rather than waiting unseen.

    Raises:
        GalleryLocked: somebody else holds it.
    """
    from filelock import FileLock, Timeout

    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / ".lock")
        lock.acquire(timeout=0)
    except Timeout as error:
        raise GalleryLocked(f"another process is writing the gallery in {folder}; try again when it is done") from error
    except OSError as error:
        raise OutputError(f"{folder}: the gallery cannot be written there ({error.strerror})") from error
    try:
        yield
    finally:
        lock.release()


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
        entries = tomllib.loads(path.read_text(encoding="utf-8")).get("member", [])
        members = {}
        for entry in entries:
            folder = unicodedata.normalize("NFC", entry["folder"])
            aliases = tuple(normal_name(a) for a in entry.get("aliases", []))
            members[folder] = Member(folder, normal_name(entry["name"]), aliases, entry.get("colour"))
        return members
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f"{path}: expected [[member]] tables with folder, name and, if wanted, aliases and colour ({error})"
        ) from error


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
    with locked(gallery):
        old = None
        if any(Path(gallery).glob("gen-*.json")):
            old = Gallery.load(gallery)
            old.check_engine(face_engine)
        new = _build(folder, _grouped(found, old), face_engine, old, progress)
        gone = old is not None and {p.id for p in old.people} - {p.id for p in new.people}
        return replace(new.save(gallery, purge=bool(gone)), report=new.report)


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
    if not found:
        raise InputError(
            f"no photos in {folder}; put some of each person in a sub-folder of their own "
            f"({folder}/Jang_Wonyoung/1.jpg)"
        )
    return found


@dataclass
class _Group:
    """One person's folders in a build: several if they were merged by hand or members.toml names them alike."""

    earlier: Person | None
    folders: list[str] = field(default_factory=list)
    members: list[Member | None] = field(default_factory=list)
    paths: list[Path] = field(default_factory=list)

    @property
    def name(self) -> str:
        """members.toml's name, or the one given by hand, or the folder's."""
        stated = next((m.name for m in self.members if m), None)
        return stated or (self.earlier.name if self.earlier else normal_name(self.folders[0]))

    @property
    def aliases(self) -> tuple[str, ...]:
        spellings: list[str] = []
        for folder, member in zip(self.folders, self.members, strict=True):
            if member:
                spellings += [member.name, *member.aliases]
            elif len(self.folders) > 1:
                spellings.append(normal_name(folder))
        if self.earlier and not any(self.members):
            spellings += self.earlier.aliases
        unique = {name_key(spelling): spelling for spelling in reversed(spellings)}
        unique.pop(name_key(self.name), None)
        return tuple(reversed(unique.values()))

    @property
    def colour(self) -> str | None:
        stated = next((m.colour for m in self.members if m and m.colour), None)
        return stated or (self.earlier.colour if self.earlier else None)


def _grouped(found: list[tuple[str, Member | None, list[Path]]], old: Gallery | None) -> list[_Group]:
    """Bring the folders of one person together: those the gallery knows as theirs, and those of one name."""
    by_folder = {f: p for p in old.people for f in p.folders} if old else {}
    by_name = {name_key(p.name): p for p in old.people} if old else {}
    groups: dict[str, _Group] = {}
    for folder, member, paths in found:
        name = member.name if member else normal_name(folder)
        earlier = by_folder.get(folder) or by_name.get(name_key(name))
        group = groups.setdefault(earlier.id if earlier else name_key(name), _Group(earlier))
        group.folders.append(folder)
        group.members.append(member)
        group.paths += paths
    return list(groups.values())


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
    if {path.relative_to(folder).as_posix() for path in paths} != before.keys():
        return None
    photos = []
    for path in paths:
        row = before[path.relative_to(folder).as_posix()]
        key = (row["source"], row["sha256"])
        used = row["verdict"] in ("used", "several_faces")
        if row["verdict"] in ("conflict", "unreadable") or (used and key not in embeddings):
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
    source = path.relative_to(folder).as_posix()
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
    for i, (group, photo) in enumerate(used):
        for other, twin in used[i + 1 :]:
            if other is group or not _same_picture(photo, twin):
                continue
            if float(photo.embedding @ twin.embedding) < 0.9:
                continue  # one group picture, two people, each with their own face
            photo.verdict = twin.verdict = "conflict"
            photo.detail = f"the same face is filed under {other.name} ({twin.source}); used for neither"
            twin.detail = f"the same face is filed under {group.name} ({photo.source}); used for neither"


def _assemble(judged, engine: FaceEngine, old: Gallery | None, seconds: float) -> Gallery:
    """Photos with verdicts -> a gallery: people keep their id, and what was added to them by hand."""
    verdicts, rows, notes, lone = [], [], [], []
    people, blocks = [], []
    for group, photos in judged:
        name, earlier = group.name, group.earlier
        if earlier and earlier.name != name:
            notes.append(f"{earlier.name} is called {name} again, as members.toml says")
        for photo in photos:
            verdicts.append(PhotoVerdict(name, photo.source, photo.verdict, photo.detail))
            folder = unicodedata.normalize("NFC", photo.source.split("/")[0])
            rows.append(
                {"folder": folder, "source": photo.source, "sha256": photo.sha256,
                 "verdict": photo.verdict, "detail": photo.detail}
            )  # fmt: skip
        used = [p for p in photos if p.verdict in ("used", "several_faces")]
        references = [
            Reference(p.source, p.sha256, p.look, p.detail if p.verdict == "several_faces" else "") for p in used
        ]
        vectors = [p.embedding for p in used]
        if earlier:
            theirs = old.person_references(old.people.index(earlier))
            for reference, vector in zip(earlier.references, theirs, strict=True):
                if reference.by_hand:
                    references.append(reference)
                    vectors.append(vector)
        if not references:
            notes.append(f"{name}: no usable photo, not in the gallery")
            continue
        if len(references) == 1:
            lone.append(name)
        identifier = earlier.id if earlier else uuid.uuid4().hex
        colour = _colour(group.colour, len(people))
        people.append(Person(identifier, name, group.aliases, colour, tuple(group.folders), tuple(references)))
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
    gallery = Gallery(engine.id, engine.model_hash, references=np.zeros((0, engine.dim), np.float32))
    return replace(gallery._with(people, blocks), photos=tuple(rows), report=report)


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
        photo.source = path.name
        if image is not None:
            photo.faces = engine.faces(image)
        loaded.append(photo)
    existing = []
    if person:
        vectors = gallery.person_references(gallery.people.index(person))
        existing = [
            _Photo(r.source, r.sha256, r.look, embedding=v, reused=True)
            for r, v in zip(person.references, vectors, strict=True)
        ]
    _judge(existing + loaded, engine)
    verdicts = [PhotoVerdict(label, p.source, p.verdict, p.detail) for p in loaded]
    used = [p for p, v in zip(loaded, verdicts, strict=True) if v.used]
    if not used:
        raise InputError(f"no photo of {label!r} could be used.\n" + BuildReport(tuple(verdicts)).table())
    sources = [Reference(p.source, p.sha256, p.look, p.detail, by_hand=True) for p in used]
    return gallery.with_person(label, np.stack([p.embedding for p in used]), sources), verdicts

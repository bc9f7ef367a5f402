"""A few marked pictures -> labels for a folder of thousands, the least sure of them first to be looked at.

A `LabelJob` is a folder: marks, labels, and one line per picture that says what was found and how sure. Labels are
proposed from the marks by the segmenter's own way of learning; accepted, corrected or rejected by a person; corrected
ones are marks like any others, from which the rest is proposed anew.

    OUT/marks/            what was drawn, one file per reference (see `marks.py`)
    OUT/id_masks/ID/NAME.png   one binary picture per id and target
    OUT/masks/NAME.png    all ids in one indexed picture
    OUT/overlays/NAME.jpg the picture, the masks, the boxes
    OUT/bboxes/NAME.json  [[id, xmin, ymin, xmax, ymax], ...]
    OUT/manifest.jsonl    one line per target: state, score and expected IoU per id
    OUT/exports/          what other tools read (see `export/`)
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import cv2
import filelock
import numpy as np

from .drawing import overlay_labels
from .engines.protocols import ExemplarSegmenter, Learned
from .errors import EngineUnavailable, ImageError, InputError, OutputError
from .export import Labelled, export
from .geometry import decode_rle, encode_rle, mask_box
from .images import (
    PHOTO_SUFFIXES,
    atomic_write,
    decode_image,
    indexed_png,
    read_bytes,
    read_image,
    shown_path,
    write_image,
)
from .marks import MOST_IDS, Mark, MarkBook, Marked, Marks, checked_id, colour_of_id
from .types import Segment, Trial

STATES = ("proposed", "accepted", "corrected", "rejected", "unreadable")
_SCHEMA = 1
_KEPT = ("accepted", "corrected")  # a person has said so: never proposed anew
_PLACES = ("id_masks", "masks", "overlays", "bboxes")
_LONGEST_NAME = 240  # bytes; file systems take 255, and a suffix comes after it

Progress = Callable[[int, int, float | None], None]


@dataclass(frozen=True)
class Calibration:
    """What a score was worth on the references, each labelled by the others (leave-one-out).

    A straight line through the trials, and through two made-up ones that say "the score is the IoU", which is what is
    believed before any trial: with three trials the line is mostly theirs, and never runs wild.

    Attributes:
        slope, offset: expected IoU = offset + slope * score, within 0..1.
        error: mean distance of the trials from the line; None where there were none.
        trials: how many there were.
    """

    slope: float = 1.0
    offset: float = 0.0
    error: float | None = None
    trials: int = 0

    @classmethod
    def of(cls, trials: Sequence[Trial]) -> Calibration:
        """The line for these trials; without any, scores are not calibrated."""
        if not trials:
            return cls()
        scores = np.array([t.score for t in trials] + [0.0, 1.0])
        values = np.array([t.iou for t in trials] + [0.0, 1.0])
        spread = scores - scores.mean()
        slope = max(0.0, float((spread * (values - values.mean())).sum() / max(1e-9, (spread**2).sum())))
        offset = float(values.mean() - slope * scores.mean())
        found = np.clip(offset + slope * scores[:-2], 0, 1)
        return cls(slope, offset, float(np.abs(found - values[:-2]).mean()), len(trials))

    def expected(self, score: float) -> float | None:
        """The IoU to be expected of a score; None if nothing is known of it."""
        return None if not self.trials else float(np.clip(self.offset + self.slope * score, 0, 1))

    def __str__(self) -> str:
        if not self.trials:
            return "scores are not calibrated: that takes marks on two pictures or more"
        return (
            f"scores calibrated on {self.trials} leave-one-out trials; expected IoU is {self.error:.2f} off on average"
        )


@dataclass
class LabelReport:
    """What a run did: pictures labelled, kept from before, passed over as unreadable (path: why)."""

    done: int = 0
    kept: int = 0
    unreadable: dict[str, str] = field(default_factory=dict)
    references: int = 0
    seconds: float = 0.0
    learning_seconds: float = 0.0
    cancelled: bool = False
    calibration: Calibration = field(default_factory=Calibration)


class LabelJob:
    """A folder of marks and labels; see the module.

    Args:
        folder: made when something is written.
        segmenter: what turns boxes and points into masks, and learns from them; a callable that makes it is called when
            it is first needed.

    Raises:
        InputError: the folder holds another version's job.
    """

    def __init__(self, folder: str | os.PathLike, segmenter: ExemplarSegmenter | Callable[[], ExemplarSegmenter]):
        self.folder = Path(folder)
        self._segmenter = segmenter
        self.book = MarkBook(self.folder / "marks")
        self._guard = threading.RLock()
        self._settings()

    @property
    def segmenter(self) -> ExemplarSegmenter:
        if not hasattr(self._segmenter, "encode") and callable(self._segmenter):
            self._segmenter = self._segmenter()
        return self._segmenter

    # ---- names of ids

    def _settings(self) -> dict:
        path = self.folder / "job.json"
        if self.folder.exists() and not self.folder.is_dir():
            raise InputError(f"{self.folder} is a file; expected a folder for marks and labels")
        if not path.exists():
            return {"schema": _SCHEMA, "names": {}}
        try:
            content = json.loads(path.read_bytes())
            if content["schema"] != _SCHEMA:
                raise InputError(f"{path}: made by another version (schema {content['schema']}); expected {_SCHEMA}")
            if not isinstance(content["names"], dict):
                raise ValueError("names")
            return content
        except InputError:
            raise
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InputError(f"{path}: cannot be read ({error}); move it away to go on") from error

    @property
    def names(self) -> dict[int, str]:
        """What ids are called: every id that has a name or a mark, "id 3" where it has none."""
        given = {int(i): str(name) for i, name in self._settings()["names"].items()}
        for marked in self.book.all():
            for number in marked.marks.ids:
                given.setdefault(number, f"id {number}")
        return dict(sorted(given.items()))

    def name_id(self, number: int, name: str) -> None:
        """Say what an id is called, in any script; an empty name takes it back."""
        number, name = checked_id(number), " ".join(str(name).split())
        with self._guard:
            content = self._settings()
            content["names"].pop(str(number), None)
            if name:
                if name in content["names"].values():
                    raise InputError(f"another id is called {name!r} already")
                content["names"][str(number)] = name
            with atomic_write(self.folder / "job.json") as file:
                file.write(json.dumps(content, ensure_ascii=False, indent=1).encode())

    # ---- marking

    def open(self, picture: str | os.PathLike) -> tuple[Marked, np.ndarray]:
        """A picture to be marked, and its marks so far; see `MarkBook.open`."""
        return self.book.open(picture)

    def mark(self, picture: str | os.PathLike, *marks: Mark) -> Marked:
        """Add marks to a picture; they are on disk when this returns."""
        marked, _ = self.book.open(picture)
        for mark in marks:
            marked.marks.add(mark)
        with self._guard:
            self.book.save(marked)
        return marked

    # ---- labelling

    def run(
        self,
        targets: Iterable[str | os.PathLike],
        overwrite: bool = False,
        progress: Progress | None = None,
        cancel: threading.Event | None = None,
        workers: int | None = None,
    ) -> LabelReport:
        """Label pictures and folders of pictures. Run again to go on: what is finished is not done again.

        Args:
            targets: pictures, and folders, which are searched all the way down.
            overwrite: propose anew what was proposed from other marks or with another engine, and write over files
                that this job did not write. What a person accepted or corrected stays in any case.
            progress: called with (pictures done, pictures in all, seconds left or None).
            cancel: set it to stop after the pictures at work.
            workers: threads; default one per core.

        Raises:
            InputError: nothing is marked, no targets, or earlier results in the way and no `overwrite`.
            EngineUnavailable: the segmenter cannot learn from marks.
            OutputError: something cannot be written, or another run is at work here; what is finished stays.
        """
        with self._locked():
            known = {row["picture"]: _Known.of(row) for row in self._rows()}
            chosen = self._named(list(targets), known)
            if not chosen:
                raise InputError("no pictures among the targets; expected pictures, or folders that hold some")
            return self._label(chosen, known, overwrite, progress, cancel, workers)

    def relearn(
        self, progress: Progress | None = None, cancel: threading.Event | None = None, workers: int | None = None
    ) -> LabelReport:
        """Propose anew, from the marks as they now are, for every target that is not accepted or corrected."""
        with self._locked():
            known = {row["picture"]: _Known.of(row) for row in self._rows()}
            if not known:
                raise InputError(f"{self.folder} holds no labels yet; run it on some targets first")
            chosen = [(Path(picture), entry.name) for picture, entry in known.items()]
            return self._label(chosen, known, True, progress, cancel, workers)

    def _label(self, chosen, known: dict[str, _Known], overwrite: bool, progress, cancel, workers) -> LabelReport:
        begun = time.monotonic()
        if not hasattr(self.segmenter, "learn"):
            raise EngineUnavailable(
                f"the segmenter {self.segmenter.id} does not learn from marks; choose --segmenter sam3-hf or embedded"
            )
        question = self.question()
        todo = [c for c in chosen if not _finished(known.get(shown_path(c[0])), c[0], question)]
        self._refuse_what_is_in_the_way(todo, known, overwrite)
        report = LabelReport(kept=len(chosen) - len(todo))
        if todo:
            self._work(todo, question, report, progress, cancel, workers or os.cpu_count() or 1)
        report.seconds = time.monotonic() - begun
        return report

    def _work(self, todo, question: str, report: LabelReport, progress, cancel, workers: int) -> None:
        begun = time.monotonic()
        marked = self.book.references(self.segmenter)
        learned = self.segmenter.learn([reference for _, reference in marked])
        own = {m.sha256: {i: encode_rle(mask) for i, mask in r.masks.items()} for m, r in marked}
        report.references, report.calibration = len(marked), Calibration.of(learned.trials)
        report.learning_seconds = time.monotonic() - begun
        del marked  # pictures; the masks of references are kept as run lengths
        with atomic_write(self.folder / ".begun") as file:
            file.write(json.dumps([name for _, name in todo], ensure_ascii=False).encode())
        one = partial(self._one, learned, own, report.calibration, question)
        begun = time.monotonic()
        try:
            with self._appending() as append, _one_thread_each(workers) as pool:
                for row in _in_order(pool, one, todo, workers, cancel):
                    append(row)
                    report.done += row["state"] != "unreadable"
                    if row["state"] == "unreadable":
                        report.unreadable[row["picture"]] = row["reason"]
                    finished = report.done + len(report.unreadable)
                    if progress:
                        left = (time.monotonic() - begun) / finished * (len(todo) - finished)
                        progress(report.kept + finished, report.kept + len(todo), left)
        finally:
            self._compact()
        (self.folder / ".begun").unlink(missing_ok=True)  # not reached by a run that is broken off
        report.cancelled = bool(
            cancel is not None and cancel.is_set() and report.done + len(report.unreadable) < len(todo)
        )

    def question(self) -> str:
        """What proposals depend on: the engine, and every mark."""
        text = json.dumps([_SCHEMA, self.segmenter.id, self.book.digest()])
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def _one(self, learned: Learned, own: Mapping, calibration: Calibration, question: str, target) -> dict:
        path, name = target
        common = {"picture": shown_path(path), "name": name, "question": question}
        try:
            stamp = _stamp(path)
            data = read_bytes(path, ImageError, "picture")
            image = decode_image(data, str(path))
        except ImageError as error:
            return common | {"state": "unreadable", "reason": str(error), "stamp": [], "objects": []}
        marks = own.get(hashlib.sha256(data).hexdigest())
        found = learned.label(image) if marks is None else _as_segments(marks, learned.ids, image.shape[:2])
        row = common | {
            "state": "proposed" if marks is None else "corrected", "stamp": stamp, "width": image.shape[1],
            "height": image.shape[0],
        }  # fmt: skip
        return self._written(row, image, found, calibration if marks is None else None)

    def _written(self, row: dict, image, found: Mapping[int, Segment], calibration: Calibration | None) -> dict:
        """Write a target's files, and the rest of its row. Without a calibration it is a person's word."""
        names, name = self._names_now(), row["name"]
        indexed, surest = np.zeros(image.shape[:2], np.uint8), np.zeros(image.shape[:2], np.float32)
        objects, absent, drawn = [], {}, []
        for number, segment in sorted(found.items()):
            write_image(self._file("id_masks", name, number), segment.mask)
            if not segment.area:
                absent[str(number)] = round(segment.score, 4)
                continue
            ahead = segment.mask & (segment.score > surest)
            indexed[ahead], surest[ahead] = number, segment.score
            expected = calibration.expected(segment.score) if calibration else 1.0
            objects.append(
                {
                    "id": number, "name": names.get(number, f"id {number}"), "score": round(segment.score, 4),
                    "expected_iou": None if expected is None else round(expected, 4),
                    "box": [int(v) for v in segment.box], "area": segment.area,
                }
            )  # fmt: skip
            worth = segment.score if expected is None else expected
            drawn.append((segment, f"{names.get(number, number)} {worth:.2f}", colour_of_id(number)))
        indexed_png(self._file("masks", name), indexed, _PALETTE)
        write_image(self._file("overlays", name), overlay_labels(image, drawn))
        with atomic_write(self._file("bboxes", name)) as file:
            file.write(json.dumps([[o["id"], *o["box"]] for o in objects]).encode())
        worths = [o["score"] if o["expected_iou"] is None else o["expected_iou"] for o in objects]
        sure = 1.0 if calibration is None else min([*worths, *absent.values()], default=0.0)
        return row | {"sure": round(float(sure), 4), "objects": objects, "absent": absent}

    def _names_now(self) -> dict[int, str]:
        return {int(i): str(name) for i, name in self._settings()["names"].items()}

    def _file(self, place: str, name: str, number: int | None = None) -> Path:
        suffix = {"overlays": ".jpg", "bboxes": ".json"}.get(place, ".png")
        folder = self.folder / place if number is None else self.folder / place / str(number)
        return folder / f"{name}{suffix}"

    # ---- targets

    def _named(self, targets: list, known: Mapping[str, _Known]) -> list[tuple[Path, str]]:
        """(picture, name of its labels) of every target; a name once given stays."""
        taken = {entry.name.casefold() for entry in known.values()}
        chosen: dict[str, tuple[Path, str]] = {}
        roots = [Path(target).absolute() for target in targets]
        for root in roots:
            for path in self._pictures(root):
                key = shown_path(path)
                if key in chosen:
                    continue
                if key in known:
                    chosen[key] = (path, known[key].name)
                    continue
                within = path.relative_to(root) if root.is_dir() else Path(path.name)
                if len(roots) > 1 and root.is_dir():
                    within = Path(root.name) / within
                name = _free_name(within, taken)
                taken.add(name.casefold())
                chosen[key] = (path, name)
        return list(chosen.values())

    def _pictures(self, root: Path) -> Iterator[Path]:
        if not root.exists():
            raise InputError(f"{root}: no such picture or folder")
        if not root.is_dir():
            yield root
            return
        own = self.folder.absolute()
        for folder, folders, files in os.walk(root):
            here = Path(folder)
            folders[:] = sorted(f for f in folders if not f.startswith(".") and here / f not in (own, own / "exports"))
            if here == own:  # the job lies among its targets: its own pictures are none
                folders[:] = [f for f in folders if f not in (*_PLACES, "marks", "exports")]
            for name in sorted(files):
                if Path(name).suffix.lower() in PHOTO_SUFFIXES and not name.startswith("."):
                    yield here / name

    def _refuse_what_is_in_the_way(self, todo, known: Mapping[str, _Known], overwrite: bool) -> None:
        if overwrite:
            return
        question = self.question()
        other = [path for path, _ in todo if (k := known.get(shown_path(path))) and k.question not in ("", question)]
        if other:
            raise InputError(
                f"{self.folder} holds labels of {len(other)} of these pictures that were made from other marks or by "
                "another engine. Run `idseg label relearn` to propose anew what is not accepted, choose another --out, "
                "or say --overwrite"
            )
        begun = self._begun()
        for path, name in todo:
            ours = shown_path(path) in known or name in begun
            if not ours and (there := self._file("masks", name)).exists():
                raise InputError(
                    f"{there} is there already, and this job did not write it; choose another --out, or say --overwrite"
                )

    def _begun(self) -> set[str]:
        """Names that a run set out to write which was killed: files of theirs may be there without a record."""
        try:
            return set(json.loads((self.folder / ".begun").read_bytes()))
        except (OSError, ValueError, TypeError):
            return set()

    # ---- the manifest

    @property
    def manifest(self) -> Path:
        return self.folder / "manifest.jsonl"

    def rows(self) -> Iterator[dict]:
        """Every target's record, in the order they were first labelled; streamed."""
        yield from self._rows()

    def _rows(self) -> Iterator[dict]:
        offsets = self._offsets()
        if not offsets:
            return
        with self.manifest.open("rb") as file:
            for offset in offsets.values():
                file.seek(offset)
                yield json.loads(file.readline())

    def _offsets(self) -> dict[str, int]:
        """picture -> where its newest line begins. A torn last line is passed over: its target is done again."""
        offsets: dict[str, int] = {}
        if not self.manifest.exists():
            return offsets
        with self.manifest.open("rb") as file:
            while line := file.readline():
                begin = file.tell() - len(line)
                if not line.endswith(b"\n"):
                    break
                try:
                    row = json.loads(line)
                    if row["state"] not in STATES or not isinstance(row["name"], str):
                        raise ValueError("state")
                    offsets[row["picture"]] = begin
                except (ValueError, KeyError, TypeError) as error:
                    raise InputError(
                        f"{self.manifest}: not a manifest of this tool ({error!r}); choose another --out or move it"
                    ) from error
        return offsets

    @contextlib.contextmanager
    def _appending(self) -> Iterator[Callable[[dict], None]]:
        self._compact()  # a torn last line must not be written on
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with self.manifest.open("ab") as file:

                def append(row: dict) -> None:
                    file.write(_line(row))
                    file.flush()

                yield append
        except OutputError:
            raise
        except OSError as error:
            raise OutputError(f"{self.manifest}: cannot be written ({error.strerror or error})") from error

    def _compact(self, change: Mapping[str, dict] | None = None) -> None:
        """Write the manifest anew, whole or not at all, one line per target, with some rows changed."""
        with self._guard:
            if not self.manifest.exists():
                return
            with self.manifest.open("rb") as file:
                lines = sum(1 for _ in file)
            torn = self.manifest.stat().st_size and not self._ends_well()
            if not change and not torn and lines == len(self._offsets()):
                return
            with atomic_write(self.manifest) as file:
                for row in self._rows():
                    file.write(_line((change or {}).get(row["name"], row)))

    def _ends_well(self) -> bool:
        with self.manifest.open("rb") as file:
            file.seek(-1, os.SEEK_END)
            return file.read(1) == b"\n"

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with filelock.FileLock(self.folder / ".lock", timeout=0):
                yield
        except filelock.Timeout as error:
            raise OutputError(
                f"{self.folder}: another run is labelling there; wait for it, or choose another --out"
            ) from error
        except OSError as error:
            if isinstance(error, OutputError):
                raise
            raise OutputError(f"{self.folder}: cannot be written ({error.strerror or error})") from error

    # ---- looking and correcting

    def ranked(self, states: Sequence[str] = ("proposed",)) -> list[dict]:
        """Records in these states, the least sure first."""
        return sorted((row for row in self._rows() if row["state"] in states), key=lambda row: row.get("sure", 0.0))

    def row(self, name: str) -> dict:
        """One target's record, by its name among the labels or its picture's path.

        Raises:
            InputError: there is none.
        """
        wanted = {name, shown_path(Path(name).absolute())}
        for row in self._rows():
            if row["name"] in wanted or row["picture"] in wanted:
                return row
        raise InputError(f"no labels of {name!r} in {self.folder}; `idseg label list` shows what there is")

    def accept(self, names: Sequence[str]) -> int:
        """These labels are right: they will not be proposed anew. Returns how many changed."""
        return self._decide(names, "accepted")

    def reject(self, names: Sequence[str]) -> int:
        """These labels are wrong: exports leave them out, and the next relearning proposes them anew. Marks that were
        made in correcting one are taken out of the references."""
        return self._decide(names, "rejected")

    def _decide(self, names: Sequence[str], state: str) -> int:
        with self._locked():
            change = {}
            for name in dict.fromkeys(names):
                row = self.row(name)
                if row["state"] == "unreadable":
                    raise InputError(
                        f"{row['name']} could not be read ({row['reason']}), so there is nothing to decide"
                    )
                if row["state"] == "corrected" and state == "accepted":
                    continue
                if row["state"] == "corrected":
                    self.book.remove(hashlib.sha256(read_bytes(row["picture"], ImageError, "picture")).hexdigest())
                if row["state"] != state:
                    change[row["name"]] = row | {"state": state}
            if change:
                self._compact(change)
            return len(change)

    def masks(self, row: Mapping) -> dict[int, np.ndarray]:
        """id -> bool (H, W) of a record, those with pixels, from its files.

        Raises:
            ImageError: a file is gone or damaged.
        """
        return {o["id"]: read_image(self._file("id_masks", row["name"], o["id"]))[..., 0] > 127 for o in row["objects"]}

    def to_correct(self, name: str) -> tuple[Marked, np.ndarray]:
        """A target's picture and marks to draw on, begun with what was proposed; nothing is saved yet."""
        row = self.row(name)
        marked, image = self.book.open(row["picture"])
        if not marked.marks.done:
            marks = Marks(image.shape[:2], [Mark.of_mask(i, mask) for i, mask in self.masks(row).items()])
            marked = Marked(marked.path, marked.sha256, marks)
        return marked, image

    def correct(self, marked: Marked, image: np.ndarray) -> dict:
        """Take marks as the word on their picture: its labels are written, and it is a reference from now on.

        Returns:
            The target's new record.
        """
        row = self.row(str(marked.path))
        ids = sorted({*self.names, *marked.marks.ids})
        if not marked.marks.done:
            marked.marks.add(Mark.of_mask(ids[0] if ids else 1, np.zeros(image.shape[:2], bool)))
        masks = marked.marks.masks(image, self.segmenter)
        found = _as_segments({i: encode_rle(mask) for i, mask in masks.items()}, ids, image.shape[:2])
        with self._locked():
            self.book.save(marked)
            base = {k: row[k] for k in ("picture", "name", "question")} | {
                "state": "corrected", "stamp": _stamp(marked.path), "width": image.shape[1], "height": image.shape[0],
            }  # fmt: skip
            new = self._written(base, image, found, None)
            self._compact({row["name"]: new})
        return new

    # ---- export

    def export(self, kind: str, parts: bool = False, states: Sequence[str] = ("proposed", *_KEPT)) -> Path:
        """Write the labels in a format (see `export.FORMATS`) into ``OUT/exports``; returns the new folder.

        Args:
            parts: every connected part is an object of its own.
            states: which labels; rejected and unreadable ones are never among them by default.

        Raises:
            InputError: an unknown format, or no labels.
            OutputError: it cannot be written.
        """
        if not any(row["state"] in states for row in self._rows()):
            raise InputError(f"{self.folder} holds no labels to export; run it on some targets first")

        def pictures() -> Iterator[Labelled]:
            for row in self._rows():
                if row["state"] in states:
                    yield Labelled(
                        Path(row["picture"]), row["name"], (row["width"], row["height"]),
                        {o["id"]: o["score"] for o in row["objects"]}, partial(self.masks, row),
                    )  # fmt: skip

        return export(kind, pictures, self.names, self.folder / "exports", parts)


@dataclass(frozen=True)
class _Known:
    """What is remembered of a target while others are labelled."""

    name: str
    state: str
    question: str
    stamp: tuple[int, ...]

    @classmethod
    def of(cls, row: Mapping) -> _Known:
        question = row["question"] if row["state"] not in (*_KEPT, "unreadable") else ""
        return cls(row["name"], row["state"], question, tuple(row["stamp"]))


def _finished(known: _Known | None, path: Path, question: str) -> bool:
    if known is None or known.state == "unreadable":
        return False
    return tuple(_stamp(path)) == known.stamp and (known.state in _KEPT or known.question == question)


def _stamp(path: Path) -> list[int]:
    """Size and time of change: a picture that has changed is labelled anew. Empty for what is not there."""
    try:
        status = os.stat(path)
    except OSError:
        return []
    return [status.st_size, status.st_mtime_ns]


def _line(row: Mapping) -> bytes:
    return json.dumps(row, ensure_ascii=False).encode() + b"\n"


def _free_name(within: Path, taken: set[str]) -> str:
    """The name of a picture's labels: its own without suffix; with it, or with a number, where that is taken."""
    plain = shown_path(within.with_suffix(""))
    if len(os.fsencode(within.name)) > _LONGEST_NAME:
        short = hashlib.sha256(os.fsencode(within.name)).hexdigest()[:16]
        plain = shown_path(within.with_name(within.name[:40] + "-" + short))
    candidates = [plain, f"{plain}{within.suffix}"]
    number = 1
    while candidates[0].casefold() in taken:
        candidates.pop(0)
        if not candidates:
            number += 1
            candidates = [f"{plain}-{number}"]
    return candidates[0]


def _as_segments(marks: Mapping[int, dict], ids: Sequence[int], shape) -> dict[int, Segment]:
    """A person's masks (run lengths) as segments: sure, also of what is not there."""
    found = {}
    whole = np.array([0, 0, shape[1], shape[0]], np.float32)
    for number in sorted({*ids, *marks}):
        mask = decode_rle(marks[number]) if number in marks else np.zeros(shape, bool)
        box = mask_box(mask)
        found[number] = Segment(mask, 1.0, whole if box is None else box, "marks")
    return found


def _in_order(pool: ThreadPoolExecutor, work: Callable, items: Sequence, workers: int, cancel) -> Iterator[dict]:
    """Results in the order of the items, with no more at work or waiting than the workers need."""
    waiting: deque[Future] = deque()
    try:
        for item in items:
            if cancel is not None and cancel.is_set():
                break
            waiting.append(pool.submit(work, item))
            if len(waiting) > 2 * workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        for future in waiting:
            future.cancel()


@contextlib.contextmanager
def _one_thread_each(workers: int) -> Iterator[ThreadPoolExecutor]:
    """A pool in which each picture has one core: libraries that would share one picture between cores only wait."""
    from threadpoolctl import threadpool_limits

    before = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        # OpenMP's limit is each thread's own, so it is set in every worker.
        with ThreadPoolExecutor(workers, "label", lambda: threadpool_limits(1, "openmp")) as pool:
            yield pool
    finally:
        cv2.setNumThreads(before)


def _palette() -> list[tuple[int, int, int]]:
    colours = [(0, 0, 0)] + [colour_of_id(i)[::-1] for i in range(1, MOST_IDS + 1)]
    return colours + [(255, 255, 255)] * (256 - len(colours))


_PALETTE = _palette()

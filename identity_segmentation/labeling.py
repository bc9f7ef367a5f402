"""A few marked pictures -> labels for a folder of thousands, the least sure of them first to be looked at.

A `LabelJob` is a folder: marks, labels, and one line per picture that says what was found and how sure. Labels are
proposed from the marks by the segmenter's own way of learning; accepted, corrected or rejected by a person; corrected
ones are marks like any others, from which the rest is proposed anew.

    OUT/marks/            what was drawn, one file per reference (see `marks.py`)
    OUT/drafts/           corrections under way
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
import re
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from .drawing import overlay_labels
from .engines.protocols import ExemplarSegmenter, Learned
from .errors import EngineUnavailable, ImageError, InputError, OutputError
from .export import Labelled, export
from .files import as_json, atomic_write, held, read_bytes, shown_path, write_json
from .geometry import decode_rle, encode_rle, mask_box, whole_box
from .images import PHOTO_SUFFIXES, decode_image, indexed_png, read_image, write_image
from .marks import MOST_IDS, PATIENCE, Mark, MarkBook, Marked, Marks, checked_id, colour_of_id
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
        self._made: Any = None
        self.book = MarkBook(self.folder / "marks")
        self.drafts = MarkBook(self.folder / "drafts")  # corrections that are not finished: nobody learns from them
        self._guard = threading.RLock()
        self._settings()

    @property
    def segmenter(self) -> ExemplarSegmenter:
        if self._made is None:
            self._made = self._segmenter() if isinstance(self._segmenter, Callable) else self._segmenter
        return self._made

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
        given = self._given_names()
        for marked in self.book.all():
            for number in marked.marks.ids:
                given.setdefault(number, f"id {number}")
        return dict(sorted(given.items()))

    def names_of(self, numbers: Iterable[int]) -> dict[int, str]:
        """What these ids are called, marked or not; unlike `names` it reads no marks."""
        given = self._given_names()
        return {number: given.get(number, f"id {number}") for number in numbers}

    def _given_names(self) -> dict[int, str]:
        return {int(i): str(name) for i, name in self._settings()["names"].items()}

    def name_id(self, number: int, name: str) -> None:
        """Say what an id is called, in any script; an empty name takes it back."""
        number = checked_id(number)
        name = " ".join(str(name).encode("utf-8", "replace").decode().split())
        if re.fullmatch(r"id \d+", name) and name != f"id {number}":
            raise InputError(f"{name!r} is what another id is called as long as it has no name")
        with held(
            self.folder / ".job.lock", PATIENCE, f"{self.folder}: another process is naming ids there; try again"
        ):
            content = self._settings()
            content["names"].pop(str(number), None)
            if name:
                if name in content["names"].values():
                    raise InputError(f"another id is called {name!r} already")
                content["names"][str(number)] = name
            write_json(self.folder / "job.json", content)

    # ---- marking

    def open(self, picture: str | os.PathLike) -> tuple[Marked, np.ndarray]:
        """A picture to be marked, and its marks so far; see `MarkBook.open`."""
        return self.book.open(picture)

    def mark(self, picture: str | os.PathLike, *marks: Mark) -> Marked:
        """Add marks to a picture; they are on disk when this returns."""
        marked, _ = self.book.open(picture)

        def add(now: Marks) -> bool:
            for mark in marks:
                now.add(mark)
            return bool(marks)

        return self.book.change(marked, add)

    def unmark(self, picture: str | os.PathLike) -> bool:
        """Take a picture out of the references, by its path (it need not be there any more); False if it is none. Its
        marks are kept beside, as ``.json.removed``."""
        path = Path(picture).absolute()
        found = [m.sha256 for m in self.book.all() if m.path == path]
        for sha256 in found:
            self.book.remove(sha256)
        return bool(found)

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
            chosen, known = self._moved(chosen, known)
            if not chosen:
                raise InputError("no pictures among the targets; expected pictures, or folders that hold some")
            return self._label(chosen, known, overwrite, progress, cancel, workers)

    def relearn(
        self,
        targets: Iterable[str | os.PathLike] = (),
        progress: Progress | None = None,
        cancel: threading.Event | None = None,
        workers: int | None = None,
    ) -> LabelReport:
        """Propose anew, from the marks as they now are, for every target that is not accepted or corrected.

        Args:
            targets: label these too, if they are new; the rest as in `run`.
        """
        with self._locked():
            known = {row["picture"]: _Known.of(row) for row in self._rows()}
            more, known = self._moved(self._named(list(targets), known), known)
            if not known and not more:
                raise InputError(f"{self.folder} holds no labels yet; run it on some targets first")
            chosen = [_Target(Path(picture), entry.name, entry.file) for picture, entry in known.items()]
            chosen += [target for target in more if target.key not in known]
            return self._label(chosen, known, True, progress, cancel, workers)

    def _label(self, chosen, known: dict[str, _Known], overwrite: bool, progress, cancel, workers) -> LabelReport:
        begun = time.monotonic()
        if workers is not None and workers < 1:
            raise InputError(f"expected one worker or more, got {workers}")
        if not isinstance(self.segmenter, ExemplarSegmenter):
            raise EngineUnavailable(
                f"the segmenter {self.segmenter.id} does not learn from marks; choose --segmenter sam3-hf or embedded"
            )
        drawn = self.book.digests()
        question = self.question(drawn)
        todo, changed = [], {}
        for target in chosen:
            entry = known.get(target.key)
            if entry is not None and entry.state == "corrected" and entry.marks != drawn.get(entry.sha256, entry.kept):
                todo.append(target)  # its labels are its marks, and those have changed
            elif entry is not None and entry.state in _KEPT:  # a person's word, also while the picture is out of reach
                if entry.stamp != tuple(_stamp(target.path)) and _digest(target.path) not in (None, entry.sha256):
                    changed[target.key] = (
                        f"it has changed since it was {entry.state}; reject its labels to make new ones"
                    )
            elif not _finished(entry, target.path, question):
                todo.append(target)
        if not overwrite:
            self._refuse_what_is_in_the_way(todo, known, question)
        report = LabelReport(kept=len(chosen) - len(todo), unreadable=changed)
        report.cancelled = bool(todo) and cancel is not None and cancel.is_set()
        if todo and not report.cancelled:
            self._work(todo, question, report, progress, cancel, workers or os.cpu_count() or 1)
        report.seconds = time.monotonic() - begun
        return report

    def _work(self, todo, question: str, report: LabelReport, progress, cancel, workers: int) -> None:
        begun = time.monotonic()
        marked = self.book.references(self.segmenter)
        learned = self.segmenter.learn([reference for _, reference in marked])
        own = {m.sha256: (m.marks.digest(), reference.codes) for m, reference in marked}
        report.references, report.calibration = len(marked), Calibration.of(learned.trials)
        report.learning_seconds = time.monotonic() - begun
        write_json(self.folder / ".begun", sorted({*self._begun(), *(target.name for target in todo)}))
        one = partial(self._one, learned, own, report.calibration, question)
        begun, finished = time.monotonic(), 0
        try:
            with self._appending() as append, _pool(workers, learned.parallel) as pool:
                for row in _in_order(pool, one, todo, workers, cancel):
                    append(row)
                    finished += 1
                    report.done += row["state"] != "unreadable"
                    if row["state"] == "unreadable":
                        report.unreadable[row["picture"]] = row["reason"]
                    if progress:
                        left = (time.monotonic() - begun) / finished * (len(todo) - finished)
                        progress(report.kept + finished, report.kept + len(todo), left)
        finally:
            self._compact()
        self._forget_begun()  # not reached by a run that is broken off
        report.cancelled = finished < len(todo)

    def question(self, drawn: Mapping[str, str] | None = None) -> str:
        """What proposals depend on: the engine, and every mark (`MarkBook.digests`, if they were read already)."""
        drawn = self.book.digests() if drawn is None else drawn
        text = json.dumps([_SCHEMA, self.segmenter.id, sorted(drawn.items())])
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def _one(self, learned: Learned, own: Mapping, calibration: Calibration, question: str, target: _Target) -> dict:
        path = target.path
        common = {"picture": target.key, "name": target.name, "file": target.file, "question": question}
        try:
            stamp = _stamp(path)
            data = read_bytes(path, ImageError, "picture")
            digest = hashlib.sha256(data).hexdigest()
            image = decode_image(data, str(path))
            drawn, marks = own.get(digest, ("", None))
            found = learned.label(image) if marks is None else _as_segments(marks, learned.ids, image.shape[:2])
            row = common | {
                "state": "proposed" if marks is None else "corrected", "by": "engine" if marks is None else "reference",
                "marks": drawn,
                "stamp": stamp, "sha256": digest, "width": image.shape[1], "height": image.shape[0],
            }  # fmt: skip
            return self._written(row, image, found, calibration if marks is None else None)
        except InputError as error:  # unreadable, or of a shape that no picture of its labels can have
            return common | {"state": "unreadable", "reason": str(error), "stamp": [], "objects": []}

    def _written(self, row: dict, image, found: Mapping[int, Segment], calibration: Calibration | None) -> dict:
        """Write a target's files, and the rest of its row. Without a calibration it is a person's word."""
        names, name = self._given_names(), row["name"]
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
        for number in range(1, MOST_IDS + 1):  # of an id that is not marked any more
            if number not in found:
                self._file("id_masks", name, number).unlink(missing_ok=True)
        indexed_png(self._file("masks", name), indexed, _PALETTE)
        write_image(self._file("overlays", name), overlay_labels(image, drawn))
        write_json(self._file("bboxes", name), [[o["id"], *o["box"]] for o in objects], None)
        worths = [o["score"] if o["expected_iou"] is None else o["expected_iou"] for o in objects]
        sure = 1.0 if calibration is None else min([*worths, *absent.values()], default=0.0)
        return row | {"sure": round(float(sure), 4), "objects": objects, "absent": absent}

    def _file(self, place: str, name: str, number: int | None = None) -> Path:
        suffix = {"overlays": ".jpg", "bboxes": ".json"}.get(place, ".png")
        folder = self.folder / place if number is None else self.folder / place / str(number)
        return folder / f"{name}{suffix}"

    # ---- targets

    def _named(self, targets: list, known: Mapping[str, _Known]) -> list[_Target]:
        """Every target with the names it goes by; a name once given stays."""
        taken = _Names(known.values())
        chosen: dict[str, _Target] = {}
        roots = [_real(Path(target)) for target in targets]
        for root in roots:
            for path in self._pictures(root):
                key = str(path)
                if key in chosen:
                    continue
                if key in known:
                    chosen[key] = _Target(path, known[key].name, known[key].file)
                    continue
                within = path.relative_to(root) if root.is_dir() else Path(path.name)
                if len(roots) > 1 and root.is_dir():
                    within = Path(root.name) / within
                chosen[key] = _Target(path, *taken.give(within))
        return list(chosen.values())

    def _moved(self, chosen: list[_Target], known: dict[str, _Known]) -> tuple[list[_Target], dict[str, _Known]]:
        """Known pictures that are found at another place are the same targets, with what was decided about them."""
        gone = {entry.sha256: key for key, entry in known.items() if entry.sha256 and not os.path.exists(key)}
        if not gone:
            return chosen, known
        known, found, change = dict(known), [], {}
        for target in chosen:
            old = None if target.key in known else gone.pop(_digest(target.path), None)
            if old is None:
                found.append(target)
                continue
            entry = replace(known.pop(old), stamp=tuple(_stamp(target.path)))
            known[target.key] = entry
            found.append(_Target(target.path, entry.name, entry.file))
            change[entry.name] = {"picture": target.key, "stamp": list(entry.stamp)}
        if change:
            self._compact({row["name"]: row | change[row["name"]] for row in self._rows() if row["name"] in change})
        return found, known

    def _pictures(self, root: Path) -> Iterator[Path]:
        if not root.exists():
            raise InputError(f"{root}: no such picture or folder")
        if not root.is_dir():
            yield root
            return

        def refuse(error: OSError):
            raise InputError(f"{error.filename}: cannot be read ({error.strerror})") from error

        own, seen = os.path.realpath(self.folder), {os.path.realpath(root)}
        for folder, folders, files in os.walk(root, followlinks=True, onerror=refuse):
            here, inside = Path(folder), []
            for name in sorted(folders):
                place = os.path.realpath(here / name)
                job = os.path.realpath(here) == own and name in (*_PLACES, "marks", "drafts", "exports")
                if not name.startswith(".") and place != own and place not in seen and not job:
                    seen.add(place)  # links may lead in a circle
                    inside.append(name)
            folders[:] = inside
            for name in sorted(files):
                if Path(name).suffix.lower() in PHOTO_SUFFIXES and not name.startswith("."):
                    yield here / name

    def _refuse_what_is_in_the_way(self, todo: Sequence[_Target], known: Mapping[str, _Known], question: str) -> None:
        other = [t for t in todo if (entry := known.get(t.key)) and entry.question not in ("", question)]
        if other:
            raise InputError(
                f"{self.folder} holds labels of {len(other)} of these pictures that were made from other marks or by "
                "another engine. Run `idseg label relearn` to propose anew what is not accepted, choose another --out, "
                "or say --overwrite"
            )
        begun = self._begun()
        for target in todo:
            if target.key in known or target.name in begun:
                continue
            places = [self._file(place, target.name) for place in _PLACES[1:]]
            places += [self._file("id_masks", target.name, number) for number in range(1, MOST_IDS + 1)]
            for there in places:
                if there.exists():
                    raise InputError(
                        f"{there} is there already, and this job did not write it; choose another --out, or say "
                        "--overwrite"
                    )

    def _begun(self) -> set[str]:
        """Names that a run set out to write which was killed: files of theirs may be there without a record."""
        try:
            return set(json.loads((self.folder / ".begun").read_bytes()))
        except (OSError, ValueError, TypeError):
            return set()

    def _forget_begun(self) -> None:
        left = self._begun() - {row["name"] for row in self._rows()}
        if left:
            write_json(self.folder / ".begun", sorted(left))
        else:
            (self.folder / ".begun").unlink(missing_ok=True)

    # ---- the manifest

    @property
    def manifest(self) -> Path:
        return self.folder / "manifest.jsonl"

    def rows(self) -> Iterator[dict]:
        """Every target's record, in the order they were first labelled; streamed."""
        yield from self._rows()

    def _rows(self) -> Iterator[dict]:
        """The newest line of every picture. A torn last line is passed over: its target is done again."""
        try:
            file = self.manifest.open("rb")
        except FileNotFoundError:
            return
        with file:  # one handle: the manifest may be replaced meanwhile
            offsets: dict[str, int] = {}
            while line := file.readline():
                if not line.endswith(b"\n"):
                    break
                offsets[self._checked(line)["picture"]] = file.tell() - len(line)
            for offset in offsets.values():
                file.seek(offset)
                yield json.loads(file.readline())

    def _checked(self, line: bytes) -> dict:
        try:
            row = json.loads(line)
            if row["state"] not in STATES or not all(isinstance(row[k], str) for k in ("picture", "name", "question")):
                raise ValueError("state")
            if not isinstance(row["objects"], list) or not isinstance(row["stamp"], list):
                raise ValueError("objects")
            return row
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(
                f"{self.manifest}: not a manifest of this tool ({error!r}); choose another --out or move it away"
            ) from error

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
            if not change and not torn and lines == sum(1 for _ in self._rows()):
                return
            with atomic_write(self.manifest) as file:
                for row in self._rows():
                    file.write(_line((change or {}).get(row["name"], row)))

    def _ends_well(self) -> bool:
        with self.manifest.open("rb") as file:
            file.seek(-1, os.SEEK_END)
            return file.read(1) == b"\n"

    def _locked(self):
        busy = f"{self.folder}: another run is labelling there; wait for it, or choose another --out"
        return held(self.folder / ".lock", 0.0, busy)

    # ---- looking and correcting

    def ranked(self, states: Sequence[str] = ("proposed",)) -> list[dict]:
        """Records in these states, the least sure first."""
        return sorted((row for row in self._rows() if row["state"] in states), key=lambda row: row.get("sure", 0.0))

    def row(self, name: str) -> dict:
        """One target's record, by its name among the labels or its picture's path.

        Raises:
            InputError: there is none.
        """
        for row in self._rows():
            if row["name"] == name or row["picture"] in (name, str(_real(Path(name)))):
                return row
        raise InputError(f"no labels of {name!r} in {self.folder}; `idseg label list` shows what there is")

    def accept(self, names: Sequence[str]) -> int:
        """These labels are right: they will not be proposed anew. Returns how many changed."""
        return self._decide(names, "accepted")

    def reject(self, names: Sequence[str]) -> int:
        """These labels are wrong: exports leave them out, and once the marks have changed they are proposed anew.
        Marks that were made in correcting one are taken out of the references, and kept beside.

        Raises:
            InputError: a target that is one of the references themselves.
        """
        return self._decide(names, "rejected")

    def _decide(self, names: Sequence[str], state: str) -> int:
        with self._locked():
            wanted = {alias: name for name in names for alias in (name, str(_real(Path(name))))}
            change, marks, left = {}, [], set(names)
            for row in self._rows():
                asked = wanted.get(row["name"]) or wanted.get(row["picture"])
                if asked is None:
                    continue
                left.discard(asked)
                if row["state"] == "unreadable":
                    raise InputError(
                        f"{row['name']} could not be read ({row['reason']}), so there is nothing to decide"
                    )
                if row["state"] == "corrected" and state == "rejected" and row.get("by") == "reference":
                    raise InputError(
                        f"{row['name']} is one of the references: its labels are your own marks. To take it out of "
                        f"them: idseg label unmark {row['picture']}"
                    )
                if row["state"] == state or (row["state"], state) == ("corrected", "accepted"):
                    continue
                if state == "rejected":
                    marks.append((row["sha256"], row["state"] == "corrected"))
                change[row["name"]] = row | {"state": state}
            if left:
                raise InputError(
                    f"no labels of {sorted(left)[0]!r} in {self.folder}; `idseg label list` shows what there is"
                )
            if change:
                self._compact(change)
            for digest, corrected in marks:
                self.drafts.remove(digest)
                if corrected:
                    self.book.remove(digest)
            return len(change)

    def masks(self, row: Mapping) -> dict[int, np.ndarray]:
        """id -> bool (H, W) of a record, those with pixels, from its files.

        Raises:
            ImageError: a file is gone or damaged.
        """
        return {o["id"]: read_image(self._file("id_masks", row["name"], o["id"]))[..., 0] > 127 for o in row["objects"]}

    def to_correct(self, name: str) -> tuple[Marked, np.ndarray]:
        """A target's picture and marks to draw on: an unfinished correction, or the marks of a finished one, or else
        what was proposed. Nothing is saved yet."""
        row = self.row(name)
        marked, image = self.drafts.open(row["picture"])
        if not marked.marks.done:
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
            self.book.change(marked, partial(_become, marked.marks))
            base = {k: row[k] for k in ("picture", "name", "file")} | {
                "state": "corrected", "by": "hand", "marks": marked.marks.digest(), "question": self.question(),
                "stamp": _stamp(marked.path),
                "sha256": marked.sha256, "width": image.shape[1], "height": image.shape[0],
            }  # fmt: skip
            # Should this be broken off, the files are not what the record says: it is made anew, from these marks.
            self._compact({row["name"]: row | {"state": "proposed", "question": "correcting"}})
            new = self._written(base, image, found, None)
            self._compact({row["name"]: new})
            self.drafts.remove(marked.sha256)
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
        names, some = self.names, False
        for row in self._rows():
            some = some or row["state"] in states
            for thing in row["objects"]:  # of an id that has no marks any more, too
                names.setdefault(thing["id"], thing["name"])
        if not some:
            raise InputError(
                f"{self.folder} holds no labels to export ({', '.join(states)}); `idseg label list --state`"
            )

        def pictures() -> Iterator[Labelled]:
            for row in self._rows():
                if row["state"] in states:
                    yield Labelled(
                        Path(row["picture"]), row["name"], shown_path(row["file"]), (row["width"], row["height"]),
                        {o["id"]: o["score"] for o in row["objects"]}, partial(self.masks, row),
                    )  # fmt: skip

        return export(kind, pictures, dict(sorted(names.items())), self.folder / "exports", parts)


def _become(wanted: Marks, now: Marks) -> bool:
    now.done[:], now.undone[:] = wanted.done, wanted.undone
    return True


@dataclass(frozen=True)
class _Target:
    """A picture to be labelled: its path, the name of its labels, and its own name below the folder of targets."""

    path: Path
    name: str
    file: str

    @property
    def key(self) -> str:
        return str(self.path)


@dataclass(frozen=True)
class _Known:
    """What is remembered of a target while others are labelled."""

    name: str
    file: str
    state: str
    question: str
    stamp: tuple[int, ...]
    sha256: str
    marks: str  # digest of the marks that a corrected target's labels are
    by: str

    @property
    def kept(self) -> str | None:
        """The digest that a corrected target without marks is taken to have: its own, so that it stays as it is, unless
        it was corrected only by being a reference, and is none any more."""
        return None if self.by == "reference" else self.marks

    @classmethod
    def of(cls, row: Mapping) -> _Known:
        question = row["question"] if row["state"] not in (*_KEPT, "unreadable") else ""
        return cls(
            row["name"], row.get("file", row["name"]), row["state"], question, tuple(row["stamp"]),
            row.get("sha256", ""), row.get("marks", ""), row.get("by", "engine"),
        )  # fmt: skip


class _Names:
    """Names for labels and pictures, none given twice on any file system."""

    def __init__(self, known: Iterable[_Known]):
        self._names: set[str] = set()
        self._files: set[str] = set()
        self._outputs: set[str] = set()
        self._folders: set[str] = set()
        for entry in known:
            self._take(entry.name, entry.file)

    def give(self, within: Path) -> tuple[str, str]:
        """(name of the labels: the picture's own without suffix; with it, or a number, where that is taken;
        name of the picture)."""
        stem, number = within.with_suffix(""), 1
        if len(os.fsencode(within.name)) > _LONGEST_NAME:
            stem = within.with_name(f"{within.name[:40]}-{hashlib.sha256(os.fsencode(within.name)).hexdigest()[:16]}")
        if self._above(shown_path(stem)) & self._outputs:  # its folder is called like somebody's labels
            stem = Path(f"{within.parts[0]}-folder", *stem.parts[1:])
        while True:
            mark = "" if number == 1 else f"-{number}"
            file = f"{shown_path(stem)}{mark}{within.suffix}"
            for name in (f"{shown_path(stem)}{mark}", file):
                if self._free(name) and file.casefold() not in self._files:
                    self._take(name, file)
                    return name, file
            number += 1

    def _free(self, name: str) -> bool:
        # A folder cannot be where a file is: a picture x.jpg beside a folder x.png of others.
        clash = self._written(name) & self._folders or self._above(name) & self._outputs
        return name.casefold() not in self._names and not clash

    def _take(self, name: str, file: str) -> None:
        self._names.add(name.casefold())
        self._files.add(file.casefold())
        self._outputs |= self._written(name)
        self._folders |= self._above(name)

    @staticmethod
    def _written(name: str) -> set[str]:
        return {f"{name}{suffix}".casefold() for suffix in (".png", ".jpg", ".json")}

    @staticmethod
    def _above(name: str) -> set[str]:
        parts = name.casefold().split("/")[:-1]
        return {"/".join(parts[: i + 1]) for i in range(len(parts))}


def _finished(known: _Known | None, path: Path, question: str) -> bool:
    if known is None or known.state == "unreadable" or known.question != question:
        return False
    return tuple(_stamp(path)) == known.stamp or _digest(path) == known.sha256


def _stamp(path: Path) -> list[int]:
    """Size and time of change, by which most pictures are seen to be the same. Empty for what is not there."""
    try:
        status = os.stat(path)
    except OSError:
        return []
    return [status.st_size, status.st_mtime_ns]


def _digest(path: Path) -> str | None:
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return None


def _real(path: Path) -> Path:
    """The path with links and dots of its folder resolved: one spelling for one place. A link to a picture stays."""
    path = Path(os.path.abspath(path))
    return Path(os.path.realpath(path)) if path.is_dir() else Path(os.path.realpath(path.parent)) / path.name


def _line(row: Mapping) -> bytes:
    return as_json(row) + b"\n"


def _as_segments(marks: Mapping[int, dict], ids: Sequence[int], shape) -> dict[int, Segment]:
    """A person's masks (run lengths) as segments: sure, also of what is not there."""
    found = {}
    whole = whole_box(shape)
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
def _pool(workers: int, parallel: bool) -> Iterator[ThreadPoolExecutor]:
    """Threads. Where pictures are labelled side by side each has one core: libraries that shared one picture between
    cores would only wait."""
    from threadpoolctl import threadpool_limits

    before = cv2.getNumThreads()
    try:
        if parallel:
            cv2.setNumThreads(1)
        # OpenMP's limit is each thread's own, so it is set in every worker.
        limit = (lambda: threadpool_limits(1, "openmp")) if parallel else None
        with ThreadPoolExecutor(workers, "label", limit) as pool:
            yield pool
    finally:
        cv2.setNumThreads(before)


def _palette() -> list[tuple[int, int, int]]:
    colours = [(0, 0, 0)] + [colour_of_id(i)[::-1] for i in range(1, MOST_IDS + 1)]
    return colours + [(255, 255, 255)] * (256 - len(colours))


_PALETTE = _palette()

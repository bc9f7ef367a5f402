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

import hashlib
import json
import os
import re
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from .. import __version__
from ..drawing import overlay_labels
from ..engines.protocols import BoxSegmenter, ExemplarSegmenter, Learned
from ..errors import EngineUnavailable, ImageError, InputError
from ..files import PATIENCE, as_json, held, read_bytes, shown_path, write_json
from ..geometry import decode_rle, encode_rle, mask_box, whole_box
from ..images import decode_image, indexed_png, read_image, write_image
from ..pace import in_order, pool_of
from ..types import Segment
from .calibration import Calibration
from .export import Labelled, Source, export
from .manifest import Manifest
from .markbook import MarkBook, Marked
from .marks import MOST_IDS, Mark, Marks, checked_id, colour_of_id
from .report import LabelReport
from .suggesting import Suggested, looked, suggest
from .targets import (
    DECIDED,
    PLACES,
    KnownTarget,
    Target,
    digest_of,
    find_moved,
    find_targets,
    is_finished,
    real_path,
    stamp_of,
)

_SCHEMA = 1
_PROPOSING = 3  # grows where an engine proposes otherwise from the same marks: `relearn` is offered then

Progress = Callable[[int, int, float | None], None]


class LabelJob:
    """A folder of marks and labels; see the module.

    Args:
        folder: made when something is written.
        segmenter: what turns boxes and points into masks, and learns from them; a callable that makes it is called when
            it is first needed.

    Raises:
        InputError: the folder holds another version's job.
    """

    def __init__(self, folder: str | os.PathLike, segmenter: BoxSegmenter | Callable[[], BoxSegmenter]):
        self.folder = Path(folder)
        self._segmenter = segmenter
        self._made: BoxSegmenter | None = None
        self.book = MarkBook(self.folder / "marks")
        self.drafts = MarkBook(self.folder / "drafts")  # corrections that are not finished: nobody learns from them
        self._records = Manifest(self.folder)
        self._settings()

    @property
    def segmenter(self) -> Any:
        """The engine. What it can do is asked where it is needed: `PointSegmenter`, `ExemplarSegmenter`."""
        if self._made is None:
            self._made = self._segmenter() if callable(self._segmenter) else self._segmenter
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
            chosen, known, others = self._found(targets)
            if not chosen:
                raise InputError("no pictures among the targets; expected pictures, or folders that hold some")
            report = self._label(chosen, known, overwrite, progress, cancel, workers)
            report.left_out = others
            return report

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
            more, known, others = self._found(targets)
            if not known and not more:
                raise InputError(f"{self.folder} holds no labels yet; run it on some targets first")
            chosen = [Target(Path(picture), entry.name, entry.file) for picture, entry in known.items()]
            chosen += [target for target in more if target.key not in known]
            report = self._label(chosen, known, True, progress, cancel, workers)
            report.left_out = others
            return report

    def _label(
        self, chosen: list[Target], known: dict[str, KnownTarget], overwrite: bool, progress: Progress | None,
        cancel: threading.Event | None, workers: int | None,
    ) -> LabelReport:  # fmt: skip
        begun = time.monotonic()
        if workers is not None and workers < 1:
            raise InputError(f"expected one worker or more, got {workers}")
        if not isinstance(self.segmenter, ExemplarSegmenter):
            raise EngineUnavailable(
                f"the segmenter {self.segmenter.id} does not learn from marks; choose --segmenter sam3-hf or embedded"
            )
        drawn = self.book.digests()
        cache_key = self.cache_key(drawn)
        todo, changed = [], {}
        for target in chosen:
            entry = known.get(target.key)
            if entry is not None and entry.state == "corrected" and entry.marks != drawn.get(entry.sha256, entry.kept):
                todo.append(target)  # its labels are its marks, and those have changed
            elif (
                entry is not None and entry.state in DECIDED
            ):  # a person's word, also while the picture is out of reach
                if entry.stamp != tuple(stamp_of(target.path)) and digest_of(target.path) not in (None, entry.sha256):
                    changed[target.key] = (
                        f"it has changed since it was {entry.state}; reject its labels to make new ones"
                    )
            elif not is_finished(entry, target.path, cache_key):
                todo.append(target)
        if not overwrite:
            self._refuse_what_is_in_the_way(todo, known, cache_key)
        report = LabelReport(kept=len(chosen) - len(todo), unreadable=changed)
        report.cancelled = bool(todo) and cancel is not None and cancel.is_set()
        if todo and not report.cancelled:
            self._work(todo, cache_key, report, progress, cancel, workers or os.cpu_count() or 1)
        report.seconds = time.monotonic() - begun
        return report

    def _work(self, todo, cache_key: str, report: LabelReport, progress, cancel, workers: int) -> None:
        begun = time.monotonic()
        marked = self.book.references(self.segmenter)
        learned: Learned = self.segmenter.learn([reference for _, reference in marked])
        own = {m.sha256: (m.marks.digest(), reference.codes) for m, reference in marked}
        report.references, report.calibration = len(marked), Calibration.of(learned.trials)
        shown = (sum(bool(mask.any()) for mask in reference.masks.values()) for _, reference in marked)
        report.showing_nothing = sum(count < len(learned.ids) for count in shown)
        report.learning_seconds = time.monotonic() - begun
        self._records.begin(target.name for target in todo)
        one = partial(self._one, learned, own, report.calibration, cache_key)
        begun, finished = time.monotonic(), 0
        try:
            with self._records.appending() as append, pool_of(workers, learned.parallel) as pool:
                for row in in_order(pool, one, todo, workers, cancel):
                    append(row)
                    finished += 1
                    report.count(row)
                    if progress:
                        left = (time.monotonic() - begun) / finished * (len(todo) - finished)
                        progress(report.kept + finished, report.kept + len(todo), left)
        finally:
            self._records.compact()
        self._records.finish()  # not reached by a run that is broken off
        report.cancelled = finished < len(todo)

    def cache_key(self, drawn: Mapping[str, str] | None = None) -> str:
        """What proposals depend on: the engine, and every mark (`MarkBook.digests`, if they were read already)."""
        drawn = self.book.digests() if drawn is None else drawn
        text = json.dumps([_PROPOSING, self.segmenter.id, sorted(drawn.items())])
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def _one(self, learned: Learned, own: Mapping, calibration: Calibration, cache_key: str, target: Target) -> dict:
        path = target.path
        common = {"picture": target.key, "name": target.name, "file": target.file, "question": cache_key}
        try:
            stamp = stamp_of(path)
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

    def _written(
        self, row: dict, image: np.ndarray, found: Mapping[int, Segment], calibration: Calibration | None
    ) -> dict:
        """Write a target's files, and the rest of its row. Without a calibration it is a person's word."""
        names, name = self._given_names(), row["name"]
        indexed, surest = np.zeros(image.shape[:2], np.uint8), np.zeros(image.shape[:2], np.float32)
        objects: list[dict[str, Any]] = []
        absent: dict[str, float] = {}
        drawn = []
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

    def _found(
        self, targets: Iterable[str | os.PathLike]
    ) -> tuple[list[Target], dict[str, KnownTarget], dict[str, str]]:
        """The targets, with the names they go by; what is remembered of every picture; and files that are none."""
        known = {row["picture"]: KnownTarget.of(row) for row in self._records.rows()}
        others: dict[Path, str] = {}
        chosen, known, change = find_moved(find_targets(map(Path, targets), known, self.folder, others), known)
        if change:
            rows = (row for row in self._records.rows() if row["name"] in change)
            self._records.compact({row["name"]: row | change[row["name"]] for row in rows})
        return chosen, known, {shown_path(path): why for path, why in others.items()}

    def _refuse_what_is_in_the_way(
        self, todo: Sequence[Target], known: Mapping[str, KnownTarget], cache_key: str
    ) -> None:
        other = [t for t in todo if (entry := known.get(t.key)) and entry.cache_key not in ("", cache_key)]
        if other:
            raise InputError(
                f"{self.folder} holds labels of {len(other)} of these pictures that were made from other marks or by "
                "another engine. Run `idseg label relearn` to propose anew what is not accepted, choose another --out, "
                "or say --overwrite"
            )
        begun = self._records.begun()
        for target in todo:
            if target.key in known or target.name in begun:
                continue
            places = [self._file(place, target.name) for place in PLACES[1:]]
            places += [self._file("id_masks", target.name, number) for number in range(1, MOST_IDS + 1)]
            for there in places:
                if there.exists():
                    raise InputError(
                        f"{there} is there already, and this job did not write it; choose another --out, or say "
                        "--overwrite"
                    )

    @property
    def manifest(self) -> Path:
        """The file of all records: one JSON line per target."""
        return self._records.path

    def rows(self) -> Iterator[dict]:
        """Every target's record, in the order they were first labelled; streamed."""
        yield from self._records.rows()

    def _locked(self):
        busy = f"{self.folder}: another run is labelling there; wait for it, or choose another --out"
        return held(self.folder / ".lock", 0.0, busy)

    # ---- looking and correcting

    def ranked(self, states: Sequence[str] = ("proposed",)) -> list[dict]:
        """Records in these states, the least sure first."""
        return sorted(
            (row for row in self._records.rows() if row["state"] in states), key=lambda row: row.get("sure", 0.0)
        )

    def row(self, name: str) -> dict:
        """One target's record, by its name among the labels or its picture's path.

        Raises:
            InputError: there is none.
        """
        for row in self._records.rows():
            if row["name"] == name or row["picture"] in (name, str(real_path(Path(name)))):
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
            wanted = {alias: name for name in names for alias in (name, str(real_path(Path(name))))}
            change, marks, left = {}, [], set(names)
            for row in self._records.rows():
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
                self._records.compact(change)
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
                "state": "corrected", "by": "hand", "marks": marked.marks.digest(), "question": self.cache_key(),
                "stamp": stamp_of(marked.path),
                "sha256": marked.sha256, "width": image.shape[1], "height": image.shape[0],
            }  # fmt: skip
            # Should this be broken off, the files are not what the record says: it is made anew, from these marks.
            self._records.compact({row["name"]: row | {"state": "proposed", "question": "correcting"}})
            new = self._written(base, image, found, None)
            self._records.compact({row["name"]: new})
            self.drafts.remove(marked.sha256)
        return new

    def suggest(self, targets: Iterable[str | os.PathLike] = (), count: int = 5) -> Suggested:
        """Which pictures to mark next: those whose marks would teach most; see `suggesting`.

        Labels that there are say how sure they are. Of pictures without any, some are labelled for a look, where
        something is marked and the segmenter learns from marks; where not, unlike pictures are chosen.

        Args:
            targets: pictures and folders to choose from; none = every picture that has labels here.
            count: how many.

        Raises:
            InputError: no pictures, or a marked picture is gone or has changed.
        """
        rows = {row["picture"]: row for row in self._records.rows()}
        known, others = {key: KnownTarget.of(row) for key, row in rows.items()}, dict[Path, str]()
        chosen = find_targets(map(Path, targets), known, self.folder, others)
        chosen = chosen or [Target(Path(key), entry.name, entry.file) for key, entry in known.items()]
        marked = {m.sha256: m.path for m in self.book.all()}
        found = suggest(chosen, rows, marked, self._looked if marked else None, self.folder, count)
        found.left_out = {shown_path(path): why for path, why in others.items()}
        return found

    def _looked(self, targets: Sequence[Target]) -> Sequence[Mapping | None]:
        learns = isinstance(self.segmenter, ExemplarSegmenter)
        if not learns:
            return [None] * len(targets)
        learned: Learned = self.segmenter.learn([reference for _, reference in self.book.references(self.segmenter)])
        return looked(learned, Calibration.of(learned.trials), targets)

    # ---- export

    def export(self, kind: str, parts: bool = False, states: Sequence[str] = ("proposed", *DECIDED)) -> Path:
        """Write the labels in a format (see `export.FORMATS`) into ``OUT/exports``; returns the folder.

        One that holds the same already is left as it is; see `export.export`.

        Args:
            parts: every connected part is an object of its own.
            states: which labels; rejected and unreadable ones are never among them by default.

        Raises:
            InputError: an unknown format, or no labels.
            OutputError: it cannot be written.
        """
        names, some = self.names, False
        for row in self._records.rows():
            some = some or row["state"] in states
            for thing in row["objects"]:  # of an id that has no marks any more, too
                names.setdefault(thing["id"], thing["name"])
        if not some:
            raise InputError(
                f"{self.folder} holds no labels to export ({', '.join(states)}); `idseg label list --state`"
            )

        def pictures() -> Iterator[Labelled]:
            for row in self._records.rows():
                if row["state"] in states:
                    yield Labelled(
                        Path(row["picture"]), row["name"], shown_path(row["file"]), (row["width"], row["height"]),
                        {o["id"]: o["score"] for o in row["objects"]}, partial(self.masks, row),
                    )  # fmt: skip

        names = dict(sorted(names.items()))
        source = Source(str(real_path(self.folder)), states, self._labels_digest(names, states))
        return export(kind, pictures, names, self.folder / "exports", parts, source)

    def _labels_digest(self, names: Mapping[int, str], states: Sequence[str]) -> str:
        """A hash of all that decides an export: records, names, and the pictures' and masks' sizes and times."""
        digest = hashlib.sha256(as_json([__version__, list(names.items())]))
        for row in self._records.rows():
            if row["state"] in states:
                files = [self._file("id_masks", row["name"], o["id"]) for o in row["objects"]]
                digest.update(as_json([row, *map(stamp_of, (Path(row["picture"]), *files))]))
        return digest.hexdigest()


def _become(wanted: Marks, now: Marks) -> bool:
    now.done[:], now.undone[:] = wanted.done, wanted.undone
    return True


def _as_segments(marks: Mapping[int, dict], ids: Sequence[int], shape) -> dict[int, Segment]:
    """A person's masks (run lengths) as segments: sure, also of what is not there."""
    found = {}
    whole = whole_box(shape)
    for number in sorted({*ids, *marks}):
        mask = decode_rle(marks[number]) if number in marks else np.zeros(shape, bool)
        box = mask_box(mask)
        found[number] = Segment(mask, 1.0, whole if box is None else box, "marks")
    return found


def _palette() -> list[tuple[int, int, int]]:
    colours = [(0, 0, 0)] + [colour_of_id(i)[::-1] for i in range(1, MOST_IDS + 1)]
    return colours + [(255, 255, 255)] * (256 - len(colours))


_PALETTE = _palette()

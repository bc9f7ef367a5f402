"""What was covered, frame by frame, as the renderer wrote it down beside its output -> what is expected in a frame.

``OUT.covers.jsonl``: a header with who found the heads, then a line a frame (see docs/json.md).
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from .errors import InputError
from .files import read_json
from .geometry import box_iou
from .types import as_box

SUFFIX = ".covers.jsonl"
PHOTO_RECORDS = ".blurred"  # folder of the records of `idseg blur`, within the folder of its photos
_SAME_HEAD = 0.3  # IoU from which covers of neighbouring frames are one head's
_LONGEST_GAP = 30  # frames without a cover, between two with one, within which a head cannot have gone and come back
_MORE = 10  # frames before a cover's first and after its last in which its head may well be there


@dataclass(frozen=True)
class Expected:
    """A head that is expected in a frame.

    Attributes:
        box: float32 (4,), xyxy in pixels.
        how: "covered" - the record says that it is covered here; "gap" - it is covered before and after; "near" - it is
            covered before or after, and may be gone.
    """

    box: np.ndarray
    how: str


@dataclass
class Record:
    """The record of an output's covers.

    Attributes:
        path: the file; None = there is none, and nothing is expected anywhere.
        finder: id of what found the heads; "" = not known.
        way, view: how heads are covered, and in which view.
        names: of those who are meant to be seen.
        heads: how many heads were covered, over all frames.
        tracks: how many heads that were followed these are.
        times: index of a frame -> seconds.
    """

    path: Path | None = None
    finder: str = ""
    way: str = ""
    view: str = ""
    names: list[str] = field(default_factory=list)
    heads: int = 0
    tracks: int = 0
    times: dict[int | str, float] = field(default_factory=dict)
    _expected: dict[int | str, list[Expected]] = field(default_factory=dict)
    _kept: dict[int | str, list[np.ndarray]] = field(default_factory=dict)

    def expected(self, key: int | str) -> list[Expected]:
        """The heads that are expected in a frame; of those that are covered, near ones of the same head not again.

        Args:
            key: index of the frame, or name of the photo.
        """
        return self._expected.get(key, [])

    def kept(self, key: int | str) -> list[np.ndarray]:
        """float32 (4,) each: heads that are meant to be seen in a frame.

        Args:
            key: index of the frame, or name of the photo.
        """
        return self._kept.get(key, [])

    @property
    def of_photos(self) -> bool:
        """Is it of photos, each for itself, and not of a video's frames?"""
        return any(isinstance(key, str) for key in [*self._expected, *self._kept])


def record_of(output: str | os.PathLike) -> Record:
    """The record beside an output, or the records of blurred photos; an empty one where there is none.

    Args:
        output: a video, or a folder of pictures.

    Raises:
        InputError: there is one, and it cannot be read or a line is not what is expected; it names the line.
    """
    path = Path(output).with_name(f"{Path(output).name}{SUFFIX}")
    if not path.is_file():
        return _of_blurred(Path(output) / PHOTO_RECORDS)
    record, frames = Record(path), {}
    for number, row in _rows(path):
        try:
            if row.get("kind") == "header":
                record.finder, record.way = str(row.get("finder") or ""), str(row.get("way") or "")
                record.view, record.names = str(row.get("view") or ""), [str(n) for n in row.get("kept") or ()]
                continue
            key: int | str = row.get("file") or int(row["i"])
            boxes = [(as_box(entry[:4]), entry[4]) for entry in row.get("covered") or ()]
            frames[key] = boxes
            record.times[key] = float(row.get("t") or 0)
            record._kept[key] = [as_box(entry[:4]) for entry in row.get("kept") or ()]
        except (ValueError, TypeError, KeyError, IndexError, AttributeError) as error:
            raise InputError(
                f'{path}, line {number} is no line of a record ({error!r}); expected {{"i": frame, "t": seconds, '
                '"covered": [[x0, y0, x1, y1, track], ...], "kept": [[x0, y0, x1, y1, name], ...]}}. Render the output '
                "again"
            ) from error
    _expect(record, frames)
    return record


def _of_blurred(folder: Path) -> Record:
    """The record of photos that `idseg blur` wrote, a JSON file each; heads that it left bare were meant to be so."""
    if not folder.is_dir():
        return Record()
    record = Record(folder, view="blur")
    names: set[str] = set()
    for path in sorted(folder.glob("*.json")):
        content = read_json(path)
        try:
            key, said = Path(str(content["file"])).name, content["record"]
            heads = [(as_box(head["box"]), head["covered"], head["name"]) for head in said["heads"]]
            record.way = str(said["way"])
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(f"{path} is no record of a blurred photo ({error!r}); blur the photos again") from error
        record._expected[key] = [Expected(box, "covered") for box, covered, _ in heads if covered]
        record._kept[key] = [box for box, covered, _ in heads if not covered]
        record.heads += len(record._expected[key])
        names |= {str(name) for _, covered, name in heads if name and not covered}
    record.names, record.tracks = sorted(names), record.heads
    return record


def _rows(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    try:
        with path.open(encoding="utf-8") as file:
            for number, line in enumerate(file, 1):
                if line.strip():
                    row = json.loads(line)
                    if not isinstance(row, dict):
                        raise ValueError(f"line {number} is no object")
                    yield number, row
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read ({error}); render the output again") from error


@dataclass
class _Trail:
    """Covers of one head without a long gap: frame -> box, and the last of these frames."""

    boxes: dict[int, np.ndarray]
    last: int


def _expect(record: Record, frames: dict[int | str, list[tuple[np.ndarray, Any]]]) -> None:
    record.heads = sum(len(boxes) for boxes in frames.values())
    trails = _trails({key: boxes for key, boxes in frames.items() if isinstance(key, int)})
    record.tracks = len(trails)
    expected = record._expected
    for key, boxes in frames.items():
        expected[key] = [Expected(box, "covered") for box, _ in boxes]
    for trail in trails:
        at = sorted(trail.boxes)
        for before, after in pairwise(at):
            for index in range(before + 1, after):
                share = (index - before) / (after - before)
                box = trail.boxes[before] * (1 - share) + trail.boxes[after] * share
                expected.setdefault(index, []).append(Expected(box.astype(np.float32), "gap"))
        for index in [*range(at[0] - _MORE, at[0]), *range(at[-1] + 1, at[-1] + 1 + _MORE)]:
            box = trail.boxes[at[0] if index < at[0] else at[-1]]
            expected.setdefault(index, []).append(Expected(box, "near"))
    for key, heads in expected.items():
        expected[key] = _without_doubles(heads)


def _without_doubles(heads: list[Expected]) -> list[Expected]:
    """A head that is covered in a frame is not expected there once more, by what another trail says of it."""
    kept = [head for head in heads if head.how == "covered"]
    for head in sorted((h for h in heads if h.how != "covered"), key=lambda h: h.how):  # gaps first
        if not kept or box_iou(head.box, np.stack([k.box for k in kept])).max() < _SAME_HEAD:
            kept.append(head)
    return kept


def _trails(frames: dict[int, list[tuple[np.ndarray, Any]]]) -> list[_Trail]:
    """Covers joined over time: by track where they have one, else by place from frame to frame."""
    done: list[_Trail] = []
    named: dict[Any, _Trail] = {}
    loose: list[_Trail] = []
    for index in sorted(frames):
        loose = [trail for trail in loose if index - trail.last <= _MORE]
        for box, track in frames[index]:
            trail = named.get(track) if track is not None else _nearest(box, index, loose)
            if trail is None or index - trail.last > _LONGEST_GAP:
                trail = _Trail({}, index)
                done.append(trail)
                if track is None:
                    loose.append(trail)
                else:
                    named[track] = trail
            trail.boxes[index], trail.last = box, index
    return done


def _nearest(box: np.ndarray, index: int, trails: list[_Trail]) -> _Trail | None:
    """The trail, not yet seen in this frame, that ends where a box is."""
    overlaps = [(float(box_iou(box, t.boxes[t.last])[0, 0]), -n) for n, t in enumerate(trails) if t.last < index]
    best, number = max(overlaps, default=(0.0, 0))
    return trails[-number] if best >= _SAME_HEAD else None

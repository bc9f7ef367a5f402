"""What a person looks at in a labelling job: its labels, the least sure first; small copies; decisions during a run.

A run holds the job's records, so what is accepted or rejected meanwhile waits in ``OUT/decided.json``, with a digest of
the labels that were seen. It is applied when the run is over, and only to labels that are still the same.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from ..drawing import overlay_labels
from ..errors import ImageError, InputError
from ..files import as_json, read_bytes, read_json, write_json
from ..geometry import mask_box
from ..images import decode_image, shrink_to, write_image
from ..types import Segment
from .job import LabelJob
from .marks import colour_of_id
from .targets import stamp_of

_ASKED = ("accepted", "rejected")
_REDUCED = {2: cv2.IMREAD_REDUCED_COLOR_2, 4: cv2.IMREAD_REDUCED_COLOR_4, 8: cv2.IMREAD_REDUCED_COLOR_8}
_GUARD = threading.RLock()  # of all the notes: they are short


def seen_of(row: Mapping) -> str:
    """A digest of what is seen of a record: its labels, whatever was decided about them.

    Args:
        row: a record of the job.
    """
    return hashlib.sha256(as_json([row["question"], row["stamp"], row["objects"]])).hexdigest()[:12]


class Looking:
    """Labels of a job in the order in which they are worth looking at, and what is decided about them.

    Args:
        job: whose labels.
    """

    def __init__(self, job: LabelJob):
        self.job = job
        self._file = job.folder / "decided.json"

    def stamp(self) -> str:
        """Changes whenever a record or a waiting decision does."""
        return hashlib.sha256(as_json([stamp_of(self.job.manifest), stamp_of(self._file)])).hexdigest()[:12]

    def rows(self) -> list[dict]:
        """All records, the least sure first, the unreadable ones last. What waits is told as if it were applied."""
        waiting = self._waiting()
        rows = [self._told(row, waiting) for row in self.job.rows()]
        return sorted(rows, key=lambda row: (row["state"] == "unreadable", row.get("sure", 0.0)))

    def row(self, name: str) -> dict:
        """One record, told as in `rows`.

        Raises:
            InputError: there is none of this name.
        """
        return self._told(self.job.row(name), self._waiting())

    @staticmethod
    def _told(row: dict, waiting: Mapping[str, Any]) -> dict:
        note = waiting.get(row["name"])
        if not isinstance(note, dict) or note.get("state") not in _ASKED or row["state"] == "unreadable":
            return row
        return row | {"state": note["state"]} if note.get("seen") == seen_of(row) else row

    def decide(self, name: str, state: str, seen: str | None = None, busy: bool = False) -> None:
        """Accept or reject a target's labels; during a run the decision waits.

        Args:
            name: of the target.
            state: "accepted" or "rejected".
            seen: what `seen_of` told of the labels that were looked at; None = whatever they are now.
            busy: a run is at work on the job.

        Raises:
            InputError: no such target, it cannot be decided about, or its labels are no longer those that were seen.
            OutputError: it cannot be written, or another process is at work on the job.
        """
        if state not in _ASKED:
            raise InputError(f"expected one of {', '.join(_ASKED)}, got {state!r}")
        row = self.job.row(name)
        if seen is not None and seen != seen_of(row):
            raise InputError(f"the labels of {row['name']} have changed meanwhile; look at them again")
        if not busy:
            (self.job.accept if state == "accepted" else self.job.reject)([row["name"]])
            return
        if row["state"] == "unreadable":
            raise InputError(f"{row['name']} could not be read ({row['reason']}), so there is nothing to decide")
        with _GUARD:
            write_json(self._file, self._waiting() | {row["name"]: {"state": state, "seen": seen_of(row)}})

    def settle(self) -> None:
        """Apply the decisions that wait; those whose labels have changed are dropped: they are to be looked at again.

        Raises:
            OutputError: another process is at work on the job; they wait on.
        """
        with _GUARD:
            waiting = self._waiting()
            if not waiting:
                return
            for row in list(self.job.rows()):
                told = self._told(row, waiting)
                if told["state"] != row["state"]:
                    with contextlib.suppress(InputError):  # one that cannot be decided about, such as a reference
                        self.decide(row["name"], told["state"])
            self._file.unlink(missing_ok=True)

    def _waiting(self) -> dict[str, Any]:
        return read_json(self._file)

    def copy(self, row: Mapping, folder: str | os.PathLike, longest: int) -> Path:
        """A small copy of the picture with its labels drawn on it, made once for as long as they stay the same.

        Masks and boxes are drawn, and no texts, which would hide small things.

        Args:
            row: the target's record.
            folder: where copies are kept.
            longest: pixels of its long side, at most.

        Returns:
            A JPEG in the folder, whose name changes with the labels.

        Raises:
            ImageError: picture, masks or overlay are gone or damaged; relearning makes them anew.
            InputError: it could not be read, and so has no labels.
        """
        if row["state"] == "unreadable":
            raise InputError(f"{row['name']}: {row['reason']}")
        overlay = self.job.folder / "overlays" / f"{row['name']}.jpg"
        key = as_json([str(overlay.absolute()), stamp_of(overlay), longest])
        copy = Path(folder) / f"{hashlib.sha256(key).hexdigest()[:32]}.jpg"
        if not copy.exists():
            picture, size = Path(row["picture"]), (row["width"], row["height"])
            if stamp_of(picture) == row["stamp"]:
                image = self._drawn(row, _small(picture, size, longest), longest)
            else:  # gone, or another by now: what was labelled is in the overlay
                image = _small(overlay, size, longest)
            copy.parent.mkdir(parents=True, exist_ok=True)
            write_image(copy, image)
        return copy

    def _drawn(self, row: Mapping, image: np.ndarray, longest: int) -> np.ndarray:
        things = []
        for number, mask in self.job.masks(row).items():
            small = shrink_to(mask.astype(np.uint8) * 255, longest)[0] > 0  # a thin thing is to be seen
            box = mask_box(small)
            if box is not None and small.shape == image.shape[:2]:
                things.append((Segment(small, 1.0, box, "labels"), "", colour_of_id(number)))
        return overlay_labels(image, things)


def _small(file: Path, size: tuple[int, int], longest: int) -> np.ndarray:
    """A picture of (W, H) `size`, at most `longest` pixels long; a large JPEG is not decoded as a whole for a stamp."""
    factor = next((factor for factor in (8, 4, 2) if max(size) / factor >= longest), 1)
    data = read_bytes(file, ImageError, "picture")
    image = cv2.imdecode(np.frombuffer(data, np.uint8), _REDUCED.get(factor, cv2.IMREAD_COLOR)) if data else None
    if image is None or (image.shape[1] < image.shape[0]) != (size[0] < size[1]):  # a format that only our reader knows
        image = decode_image(data, file.name)
    small = shrink_to(image, longest)[0]
    share = min(1.0, longest / max(size))
    wanted = (max(1, round(size[0] * share)), max(1, round(size[1] * share)))
    return small if small.shape[1::-1] == wanted else cv2.resize(small, wanted, interpolation=cv2.INTER_AREA)

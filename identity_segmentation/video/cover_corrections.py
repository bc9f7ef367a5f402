"""What people said of a covered video after a second look: this is to be covered too, that is no head. (Notebook 7.)

`OUT.corrections.jsonl` lies beside the output; `audit` writes it and the next render obeys it.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

KINDS = ("cover", "no-head")


@dataclass(frozen=True, eq=False)
class Correction:
    """One thing that somebody said.

    Attributes:
        kind: one of `KINDS`.
        box: float (4,), xyxy pixels of the output: of the head, over the whole span.
        from_s, to_s: the span in seconds.
        file: the photo in a folder; None = a video.
        path: float (N, 5), seconds and box, in order; where the head was. None = in the box all the time.
    """

    kind: str
    box: np.ndarray
    from_s: float
    to_s: float
    file: str | None = None
    path: np.ndarray | None = None

    def at(self, time_s: float, file: str | None = None) -> np.ndarray | None:
        """The head's box at a time, float32 (4,); None outside the span.

        Args:
            time_s: seconds.
            file: the photo, in a folder.
        """
        if file != self.file or not self.from_s - 1e-6 <= time_s <= self.to_s + 1e-6:
            return None
        if self.path is None or not len(self.path):
            return np.asarray(self.box, np.float32)
        return np.array([np.interp(time_s, self.path[:, 0], self.path[:, k]) for k in range(1, 5)], np.float32)


def file_of(output: str | os.PathLike) -> Path:
    """Where the corrections of an output lie."""
    return Path(f"{os.fspath(output)}.corrections.jsonl")


def corrections_of(output: str | os.PathLike) -> list[Correction]:
    """What was said of an output; nothing where there is no file. Lines that cannot be read are passed over.

    Args:
        output: a rendered video, or a folder of pictures.
    """
    try:
        lines = file_of(output).read_text("utf-8").splitlines()
    except OSError:
        return []
    found = []
    for line in lines:
        try:
            said = json.loads(line)
            path = np.array(said.get("path") or np.empty((0, 5)), np.float64).reshape(-1, 5)
            box = np.array(said["box"], np.float64).reshape(4)
            if said["kind"] in KINDS:
                found.append(
                    Correction(said["kind"], box, float(said["from"]), float(said["to"]), said.get("file"), path)
                )
        except (ValueError, KeyError, TypeError, AttributeError):
            continue
    return found


def corrections_key(output: str | os.PathLike, from_s: float = 0.0, to_s: float = float("inf")) -> str:
    """A hash of what is to be covered by hand in a stretch of time; empty where nothing is.

    Args:
        output: a rendered video.
        from_s, to_s: the stretch, in seconds.
    """
    said = [
        [c.box.tolist(), c.from_s, c.to_s, None if c.path is None else c.path.tolist()]
        for c in corrections_of(output)
        if c.kind == "cover" and c.from_s < to_s and c.to_s >= from_s - 1e-6
    ]
    return hashlib.sha256(json.dumps(said).encode()).hexdigest()[:16] if said else ""


def corrected_at(output: str | os.PathLike) -> Callable[[float], list[np.ndarray]]:
    """What is to be covered by hand at a time: called with seconds, gives boxes of heads.

    Args:
        output: a rendered video.
    """
    said = [c for c in corrections_of(output) if c.kind == "cover"]

    def boxes(seconds: float) -> list[np.ndarray]:
        return [box for box in (c.at(seconds) for c in said) if box is not None]

    return boxes

"""What a person says of the covers in an output: this is to be covered too, that is no head. (Files beside the output.)

The renderer reads them and covers what is asked for; the audit reads them and does not ask again. One JSON object a
line in ``OUT.corrections.jsonl``, so that any program can read and write them. Nothing is ever taken out of the file.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import InputError
from ..files import PATIENCE, as_json, atomic_write, held
from ..types import as_box

SUFFIX = ".corrections.jsonl"
KINDS = ("cover", "no-head")
_EPSILON_S = 1e-3  # times are written with three digits


@dataclass(frozen=True)
class Correction:
    """One correction.

    Attributes:
        kind: "cover" (this head is to be covered) or "no-head" (what was found here is no head).
        box: xyxy in pixels of the output: the whole head, over all of the time.
        from_s, to_s: seconds, both included; 0 of a photo.
        file: name of the photo in a folder of photos; "" of a video.
        path: (seconds, x0, y0, x1, y1) where the head was, in the order of time; empty = in `box`, all the time.
        finding: number of the finding that was corrected; 0 = none.
        when: date and time in UTC, ISO 8601.

    Raises:
        InputError: another kind, a box without area, or a time that ends before it begins.
    """

    kind: str
    box: tuple[float, float, float, float]
    from_s: float
    to_s: float
    file: str = ""
    path: tuple[tuple[float, float, float, float, float], ...] = ()
    finding: int = 0
    when: str = ""

    def __post_init__(self):
        if self.kind not in KINDS:
            raise InputError(f"unknown kind of correction {self.kind!r}; expected {' or '.join(KINDS)}")
        as_box(self.box)
        if not 0 <= self.from_s <= self.to_s:
            raise InputError(f"expected a time that begins at 0 or later and then ends, got {self.from_s}-{self.to_s}")

    def at(self, time_s: float, file: str = "") -> np.ndarray | None:
        """float32 (4,): where the head is at a time, xyxy in pixels; None where the correction says nothing.

        Between two places the way is straight; before the first and after the last it stands still.

        Args:
            time_s: seconds.
            file: name of the photo; "" of a video.
        """
        if file != self.file or not self.from_s - _EPSILON_S <= time_s <= self.to_s + _EPSILON_S:
            return None
        if not self.path:
            return as_box(self.box)
        path = np.array(self.path, np.float64)
        return np.array([np.interp(time_s, path[:, 0], path[:, i]) for i in range(1, 5)], np.float32)

    def as_dict(self) -> dict[str, Any]:
        """As a line of the file has it."""
        return {
            "kind": self.kind, "box": [round(v, 1) for v in self.box], "from": round(self.from_s, 3),
            "to": round(self.to_s, 3), "file": self.file or None,
            "path": [[round(row[0], 3), *(round(v, 1) for v in row[1:])] for row in self.path],
            "finding": self.finding, "when": self.when,
        }  # fmt: skip


def corrections_file(output: str | os.PathLike) -> Path:
    """Where the corrections of an output are: beside it.

    Args:
        output: a video, or a folder of pictures.
    """
    return Path(output).with_name(f"{Path(output).name}{SUFFIX}")


def corrections_of(output: str | os.PathLike) -> list[Correction]:
    """What was corrected by hand in an output, in the order it was said; empty where nothing was.

    Args:
        output: a video, or a folder of pictures.

    Raises:
        InputError: the file cannot be read, or a line of it is no correction; it names the line. A correction that is
            passed over would leave somebody bare.
    """
    path = corrections_file(output)
    try:
        lines = path.read_text("utf-8").splitlines()
    except FileNotFoundError:
        return []
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read ({error}); mend or remove it") from error
    found = []
    for number, line in enumerate(lines, 1):
        if line.strip():
            try:
                found.append(_correction(json.loads(line)))
            except (ValueError, TypeError, KeyError, AttributeError) as error:
                raise InputError(
                    f"{path}, line {number} is no correction ({error!r}); expected "
                    '{"kind": "cover" or "no-head", "box": [x0, y0, x1, y1], "from": s, "to": s}'
                ) from error
    return found


def _correction(row: dict[str, Any]) -> Correction:
    x0, y0, x1, y1 = (float(v) for v in row["box"])
    path: list[tuple[float, float, float, float, float]] = []
    for entry in row.get("path") or ():
        t, left, top, right, bottom = (float(v) for v in entry)
        as_box((left, top, right, bottom))
        path.append((t, left, top, right, bottom))
    return Correction(
        row["kind"], (x0, y0, x1, y1), float(row["from"]), float(row["to"]), row.get("file") or "",
        tuple(sorted(path)), int(row.get("finding") or 0), str(row.get("when") or ""),
    )  # fmt: skip


def add_correction(output: str | os.PathLike, correction: Correction) -> Path:
    """Write a correction behind the others, and return the file. It is whole or as it was before.

    Args:
        output: a video, or a folder of pictures.
        correction: what was said; where `when` is empty the time is put in.

    Raises:
        OutputError: the folder cannot be written to.
    """
    path = corrections_file(output)
    row = correction.as_dict()
    row["when"] = row["when"] or datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    lock = path.with_name(f".{path.name}.lock")
    with held(lock, PATIENCE, f"{path} is being written by another process; run the same command again"):
        before = path.read_bytes() if path.exists() else b""
        if before and not before.endswith(b"\n"):
            before += b"\n"
        with atomic_write(path) as file:
            file.write(before + as_json(row) + b"\n")
    return path


def corrections_key(corrections: Sequence[Correction], from_s: float, to_s: float) -> str:
    """A hash of what is to be covered in a stretch of time; "" where nothing is.

    A renderer that keeps finished stretches renders those again whose key is another.

    Args:
        corrections: of an output.
        from_s: seconds, included.
        to_s: seconds, included.
    """
    rows = [
        {k: v for k, v in c.as_dict().items() if k not in ("finding", "when")}
        for c in corrections
        if c.kind == "cover" and c.to_s + _EPSILON_S >= from_s and c.from_s - _EPSILON_S <= to_s
    ]
    return hashlib.sha256(as_json(rows)).hexdigest()[:16] if rows else ""


def corrected_at(corrections: Sequence[Correction]) -> Callable[[float], list[np.ndarray]]:
    """What is to be covered by hand at a time: called with seconds, gives boxes of heads, float32 (4,) each.

    Args:
        corrections: of a video.
    """
    said = [c for c in corrections if c.kind == "cover"]

    def boxes(seconds: float) -> list[np.ndarray]:
        return [box for box in (c.at(seconds) for c in said) if box is not None]

    return boxes

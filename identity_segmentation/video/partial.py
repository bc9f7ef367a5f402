"""A render that was stopped -> a video of what was finished, from the first frame on, to be looked at meanwhile.

The finished segments stay where they are: the same render goes on after the last of them. They can be put aside and
brought back, so that a render that begins anew somewhere else goes on with them, too.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

from ..files import read_json
from .handoff.cut import with_sound
from .writing import Format, format_for, join_segments

PLAN = "plan.json"  # in the folder of segments: {"starts": [...], "seconds": [...], "voice": text}


@dataclass(frozen=True)
class Finished:
    """The finished beginning of a render.

    Attributes:
        path: the video.
        seconds: how long it is.
        frames: it has.
    """

    path: Path
    seconds: float
    frames: int


def work_of(output: Path) -> Path:
    """The folder of a render's segments.

    Args:
        output: of the render.
    """
    return output.with_name(f".{output.name}.work")


def plan_of(starts: list[int], frames: int, seconds: list[float], voice: str, alpha: bool) -> dict[str, Any]:
    """What is written down of a render, for `finished_part`.

    Args:
        starts: the first frames of its segments.
        frames: in all.
        seconds: when each segment begins, and when the last one ends.
        voice: what becomes of the sound.
        alpha: is it transparent?
    """
    return {"starts": starts, "frames": frames, "seconds": seconds, "voice": voice, "alpha": alpha}


def finished_part(output: Path, source: Path, target: Path) -> Finished | None:
    """Write what is finished of a stopped render as a video of its own; None where no segment is, or it makes pictures.

    It has the sound of its time, unless the render was to change that: then it has none.

    Args:
        output: of the render.
        source: the video.
        target: the new file, of the same suffix.

    Raises:
        OutputError: it cannot be written.
    """
    work = work_of(output)
    plan = read_json(work / PLAN)
    if not plan or not output.suffix:
        return None
    done = 0
    while done < len(plan["starts"]) and (work / f"{plan['starts'][done]:08d}.done").is_file():
        done += 1
    parts = [work / f"{start:08d}{output.suffix}" for start in plan["starts"][:done]]
    if not parts or not all(part.is_file() for part in parts):
        return None
    form: Format = format_for(output)
    form = form if plan["alpha"] else form.opaque()
    silent = target.with_name(f".{target.name}.pictures{form.suffix}")
    try:
        join_segments(parts, silent, None, None, form)
        if plan["voice"]:
            os.replace(silent, target)
        else:
            end = Fraction(plan["seconds"][done]).limit_denominator(1_000_000)
            with_sound(source, silent, target, form, [(Fraction(0), end)])
    finally:
        silent.unlink(missing_ok=True)
    frames = plan["starts"][done] if done < len(plan["starts"]) else plan["frames"]
    return Finished(target, float(plan["seconds"][done]), frames)


def bring_back(output: Path, place: Path) -> bool:
    """Go on with segments that were put aside; True if there were some. Whoever comes second finds none.

    Args:
        output: of the render that goes on.
        place: where they were put.
    """
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        place.rename(work_of(output))
    except OSError:
        return False
    return True

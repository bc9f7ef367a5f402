"""What to cut out of long videos: the settings of `clips`, checked, and which clips of a video they mean."""

from __future__ import annotations

import hashlib
import re
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from datetime import time as clock
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import InputError

BACKGROUNDS = ("black", "keep", "blur")
_DATE = re.compile(r"(?<!\d)(?:19|20)\d{2}([-_.]?)[01]\d\1[0-3]\d(?!\d)[-_ T.]*")
_CLOCK = re.compile(r"(?<!\d)([01]\d|2[0-3])[-_.:h]([0-5]\d)(?:[-_.:m]([0-5]\d))?(?!\d)")  # 09-15-00
_BARE_CLOCK = re.compile(r"([01]\d|2[0-3])([0-5]\d)([0-5]\d)?(?!\d)")  # 091500, right after a date only


@dataclass(frozen=True)
class ClipSettings:
    """What to cut out of videos.

    Attributes:
        prompt: a word or phrase, in English, Korean or Thai; "" where boxes are given.
        frames_per_clip, frame_step: sampled frames in a clip, and frames between two of them.
        clips: "all"; a number: so many, spread evenly; "random:N": N at random, by `seed`.
        seed: of the random choice.
        between: "" or "HH:MM-HH:MM" of the day, for videos whose name or metadata says when they were taken.
        boxes: (x0, y0, x1, y1, frame) each: follow what is in them, from the clip that holds the frame on.
        crop_size: side of a crop, in pixels.
        padding: room around the object, in its longer side.
        background: "black" (nothing but the object's own pixels), "keep", or "blur".
        threshold: least score of a detection.
    """

    prompt: str = ""
    frames_per_clip: int = 20
    frame_step: int = 1
    clips: str = "all"
    seed: int = 0
    between: str = ""
    boxes: tuple[tuple[float, float, float, float, int], ...] = ()
    crop_size: int = 224
    padding: float = 0.1
    background: str = "black"
    threshold: float = 0.5

    def __post_init__(self) -> None:
        for name in ("prompt", "between", "background"):
            if not isinstance(getattr(self, name), str):
                raise InputError(f"expected {name} as text, got {getattr(self, name)!r}")
        for name in ("padding", "threshold"):
            if isinstance(getattr(self, name), bool) or not isinstance(getattr(self, name), int | float):
                raise InputError(f"expected {name} as a number, got {getattr(self, name)!r}")
        if any(len(b) != 5 or not all(isinstance(v, int | float) for v in b) for b in self.boxes):
            raise InputError(f"expected boxes of five numbers, x0, y0, x1, y1 and the frame; got {self.boxes!r}")
        numbers = (
            ("frames_per_clip", 1, 10_000), ("frame_step", 1, 10_000), ("crop_size", 16, 4096), ("seed", 0, 2**31),
        )  # fmt: skip
        for name, low, high in numbers:
            value = getattr(self, name)
            if not isinstance(value, int) or not low <= value <= high:
                raise InputError(f"expected {name} as a whole number between {low} and {high}, got {value!r}")
        if not 0 <= self.padding <= 2 or not 0 <= self.threshold <= 1:
            raise InputError(f"expected padding 0..2 and threshold 0..1, got {self.padding} and {self.threshold}")
        if self.background not in BACKGROUNDS:
            raise InputError(f"unknown background {self.background!r}; expected {', '.join(BACKGROUNDS)}")
        if not self.prompt.strip() and not self.boxes:
            raise InputError("expected a word to look for (--prompt cow), or a box (--box x0,y0,x1,y1@frame)")
        if not re.fullmatch(r"all|[1-9]\d*|random:[1-9]\d*", self.clips):
            raise InputError(f"expected clips as all, a number, or random:N; got {self.clips!r}")
        if self.between:
            parse_between(self.between)

    @classmethod
    def from_toml(cls, path: Path, **given: Any) -> ClipSettings:
        """Settings of a TOML file, with what is given laid over them."""
        try:
            content = tomllib.loads(Path(path).read_text("utf-8"))
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            raise InputError(f"{path}: not a configuration that can be read ({error})") from error
        known = {f.name for f in fields(cls)}
        unknown = sorted(set(content) - known)
        if unknown:
            raise InputError(f"{path}: unknown {', '.join(unknown)}; expected {', '.join(sorted(known))}")
        if "boxes" in content:
            content["boxes"] = tuple(parse_box(b) if isinstance(b, str) else tuple(b) for b in content["boxes"])
        if isinstance(content.get("clips"), int):
            content["clips"] = str(content["clips"])
        return cls(**(content | {k: v for k, v in given.items() if v is not None}))


def parse_box(text: str) -> tuple[float, float, float, float, int]:
    """ "x0,y0,x1,y1@frame" as numbers."""
    match = re.fullmatch(r"\s*{0},{0},{0},{0}(?:@(\d+))?\s*".format(r"(\d+(?:\.\d+)?)"), text)
    if not match:
        raise InputError(f"expected a box as x0,y0,x1,y1@frame, got {text!r}")
    x0, y0, x1, y1 = (float(v) for v in match.groups()[:4])
    return x0, y0, x1, y1, int(match.group(5) or 0)


def parse_between(text: str) -> tuple[clock, clock]:
    """ "HH:MM-HH:MM" as two times of the day."""
    match = re.fullmatch(r"\s*(\d{1,2}):(\d{2})\s*-\s*(\d{1,2}):(\d{2})\s*", text)
    try:
        if match is None:
            raise ValueError("no two times")
        h0, m0, h1, m1 = (int(v) for v in match.groups())
        return clock(h0, m0), clock(h1, m1)
    except ValueError as error:
        raise InputError(f"expected a time of day as HH:MM-HH:MM (09:00-17:00), got {text!r}") from error


def chosen_clips(settings: ClipSettings, times: Sequence[float], path: Path) -> list[int]:
    """Numbers of the clips that are asked for. The last clip may be shorter.

    Args:
        settings: which clips, and how long they are.
        times: seconds of every frame of the video, from the first.
        path: the video; its name or metadata may say when it was taken.

    Raises:
        InputError: `between` is given, and nothing says when the video was taken.
    """
    span = settings.frames_per_clip * settings.frame_step
    every = list(range(-(-len(times) // span)))
    if settings.between:
        begin, end = parse_between(settings.between)
        start = taken_at(path)
        if start is None:
            raise InputError(f"{path}: neither its name nor its metadata says when it was taken, as --between needs")
        seconds = start.hour * 3600 + start.minute * 60 + start.second

        def inside(number: int) -> bool:
            at = (seconds + times[number * span]) % 86400
            low, high = begin.hour * 3600 + begin.minute * 60, end.hour * 3600 + end.minute * 60
            return low <= at < high if low <= high else at >= low or at < high  # over midnight

        every = [number for number in every if inside(number)]
    if settings.clips == "all" or not every:
        return every
    count = min(len(every), int(settings.clips.split(":")[-1]))
    if settings.clips.startswith("random"):
        rng = np.random.default_rng([settings.seed, int(hashlib.sha256(path.name.encode()).hexdigest()[:8], 16)])
        return sorted(rng.choice(every, count, replace=False).tolist())
    return sorted({every[round(i)] for i in np.linspace(0, len(every) - 1, count)})


def taken_at(path: Path) -> datetime | None:
    """When a video was taken: by its name, or by its metadata."""
    date = _DATE.search(path.stem)
    rest = path.stem[date.end() :] if date else path.stem
    match = _CLOCK.match(rest) or _BARE_CLOCK.match(rest) if date else _CLOCK.search(rest)
    if match:
        hour, minute, second = (int(v or 0) for v in match.groups())
        return datetime(2000, 1, 1, hour, minute, second)
    import av

    try:
        with av.open(str(path)) as container:
            text = container.metadata.get("creation_time", "")
    except av.error.FFmpegError:
        return None
    try:
        # Containers say it in universal time; the hours of the day that are asked for are those of this place.
        return datetime.fromisoformat(text.replace("Z", "+00:00")).astimezone() if text else None
    except ValueError:
        return None

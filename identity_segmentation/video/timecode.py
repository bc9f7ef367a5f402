"""Seconds and frames of a video <-> SMPTE time codes, as editing programs count. (Notebook section 7.)

A time code counts frames of a whole rate. At 29.97 frames a second (30000/1001, exactly) it counts to 30, and is either
left to fall behind the clock (non-drop) or leaves out two numbers a minute, except in every tenth (drop-frame, written
with a semicolon). Source: SMPTE ST 12-1, "Time and control code".
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction

from ..errors import InputError

_NTSC = Fraction(1000, 1001)  # 29.97 is 30 times this
_CLOSE = Fraction(4, 10_000)  # relative: containers round rates, and 30 and 29.97 differ by ten of these
_HOURS = 24  # a time code begins anew at midnight


@dataclass(frozen=True)
class TimeBase:
    """How a program counts the frames of a video.

    Attributes:
        rate: frames a second, exactly: a whole number, or one times 1000/1001.
        drop: are numbers left out (drop-frame); only at 29.97, 59.94 and 119.88.
    """

    rate: Fraction
    drop: bool = False

    @classmethod
    def of(cls, fps: Fraction, drop: bool = False) -> TimeBase:
        """The time base for a video: its own rate, if programs know that; the whole rate next to it where they do not,
        as on average in videos of variable rate. Frames are always counted by seconds.

        Args:
            fps: frames a second.
            drop: in drop-frame, where there is such a thing.
        """
        whole = Fraction(max(1, round(fps)))
        best = min((whole, whole * _NTSC), key=lambda rate: abs(rate - fps))
        rate = best if abs(best - fps) <= _CLOSE * fps else whole
        return cls(rate, drop and cls(rate).can_drop)

    @property
    def base(self) -> int:
        """The whole rate that the last number of a time code counts to."""
        return round(self.rate)

    @property
    def can_drop(self) -> bool:
        """Is there drop-frame at this rate?"""
        return self.rate.denominator != 1 and self.base % 30 == 0

    def frames(self, seconds: float) -> int:
        """Seconds as frames, to the nearest one."""
        return int(Fraction(seconds) * self.rate + Fraction(1, 2))

    def text(self, frame: int) -> str:
        """The time code of a frame, HH:MM:SS:FF; with a semicolon before FF in drop-frame.

        Args:
            frame: from midnight; a day later it begins anew.
        """
        if self.drop:
            left_out = self.base // 15
            minute, ten = 60 * self.base - left_out, 600 * self.base - 9 * left_out
            frame %= 144 * ten
            tens, rest = divmod(frame, ten)
            frame += 9 * left_out * tens + left_out * max(0, (rest - left_out) // minute)
        seconds, number = divmod(frame, self.base)
        minutes, second = divmod(seconds, 60)
        hours, minute = divmod(minutes, 60)
        return f"{hours % _HOURS:02d}:{minute:02d}:{second:02d}{';' if self.drop else ':'}{number:02d}"

    def frame(self, text: str) -> int:
        """The frame of a time code, from midnight; the other way round from `text`.

        Args:
            text: HH:MM:SS:FF; any mark may stand before FF.

        Raises:
            InputError: it is no time code, or there is no such one at this rate.
        """
        found = re.fullmatch(r"(\d\d):(\d\d):(\d\d)[:;.](\d\d\d?)", text.strip())
        hours, minutes, seconds, number = (int(v) for v in found.groups()) if found else (99, 0, 0, 0)
        left_out = self.base // 15 if self.drop else 0
        there = hours < _HOURS and minutes < 60 and seconds < 60 and number < self.base
        if not there or (seconds == 0 and minutes % 10 and number < left_out):
            how = "drop-frame" if self.drop else "non-drop"
            raise InputError(
                f"expected a time code HH:MM:SS:FF at {float(self.rate):.6g} frames a second ({how}), got {text!r}; "
                f"as the timeline's start, for one: --start 01:00:00{';' if self.drop else ':'}00"
            )
        total = 60 * hours + minutes
        return (60 * total + seconds) * self.base + number - left_out * (total - total // 10)


def is_drop(text: str) -> bool:
    """Does a time code say that it is drop-frame?"""
    return ";" in text

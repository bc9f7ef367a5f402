"""What the Video tab shows of an analysed video: a timeline, everybody's faces over time, and what was said by hand."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..errors import Cancelled, InputError, VideoError
from ..images import shrink_to, write_image
from ..video.analysis import Analysis, Sample, read_analysis
from ..video.corrections import apply, undo
from ..video.files import VideoReader
from ..video.overview import Crop, Row, Strip, rows_of
from .making import Making
from .page import served

_MOST_ROWS = 120
_SHOWN_SIDE = 1280  # pixels of a frame that is shown where the browser cannot play the video
_NOBODY = "#8a8f98"


class Tracks:
    """The timeline's values.

    Args:
        making: knows the videos that were looked at.
    """

    def __init__(self, making: Making):
        self.making, self.page = making, making.page

    def value(self, source: str, analysis: str | Path, faces: Sequence[dict], **more: Any) -> dict[str, Any]:
        """What the widget shows of a video.

        Args:
            source: the video.
            analysis: the file of its analysis.
            faces: everybody on file, as `faces` gives them.
            more: what else the value holds: "result", "said" ...
        """
        found = read_analysis(analysis)
        names = self.making.people.track_names(found)
        crops: dict[int, tuple[Crop, ...]] = {}
        try:
            crops = self.making.crops(found, source)
        except (InputError, VideoError, Cancelled):
            pass  # the timeline is of use without pictures
        rows = rows_of(found, names)
        shown = rows[:_MOST_ROWS]
        return {
            "version": time.time_ns() // 1000, "source": served(source), "result": None, "people": list(faces),
            "seconds": round(found.seconds, 3), "width": found.header["width"], "height": found.header["height"],
            "times": [round(sample.time_s, 3) for sample in found.samples],
            "cuts": [round(found.seconds_at(shot.begin), 3) for shot in found.shots if shot.begin],
            "rows": [self._row(row, crops) for row in shown], "more": len(rows) - len(shown),
            "corrections": [_correction(found, line) for line in found.corrections], "frame": None, "said": "",
        } | more  # fmt: skip

    def _row(self, row: Row, crops: Mapping[int, Sequence[Crop]]) -> dict[str, Any]:
        colour = _NOBODY if row.name is None else self.making.people.gallery.find(row.name).colour
        return {
            "name": row.name, "colour": colour, "short": row.short, "seconds": round(row.seconds, 2),
            "strips": [_strip(strip, crops.get(strip.track, ())) for strip in row.strips],
        }  # fmt: skip

    # ---- what is said by hand

    def say(self, source: str, sampling: int, said: Sequence[dict]) -> Path:
        """Say something by hand; see `corrections.apply`. Returns the analysis file.

        Args:
            source: the video.
            sampling: every n-th frame was looked at.
            said: corrections, in order.
        """
        found = self._known(source, sampling)
        apply(found.path, said)
        return found.path

    def take_back(self, source: str, sampling: int) -> Path:
        """Take the last thing back that was said by hand.

        Args:
            source: the video.
            sampling: every n-th frame was looked at.
        """
        found = self._known(source, sampling)
        undo(found.path)
        return found.path

    def frame(self, source: str, sampling: int, at: float, picture: bool) -> dict[str, Any]:
        """Whom the program saw in the frame that was looked at next to a time: {"t", "boxes", "image"}.

        Args:
            source: the video.
            sampling: every n-th frame was looked at.
            at: seconds.
            picture: is the frame itself needed, as the browser cannot play the video?
        """
        found = self._known(source, sampling)
        if not found.samples:
            raise InputError("no frame of this video was looked at")
        sample = min(found.samples, key=lambda one: abs(one.time_s - float(at)))
        names = self.making.people.track_names(found)
        shown = None
        if picture:
            with VideoReader(source) as reader:
                image = next(frame.image for frame in reader.frames(sample.index))
            shown = served(write_image(self.page.job() / "frame.jpg", shrink_to(image, _SHOWN_SIDE)[0]))
        return {"t": round(sample.time_s, 3), "boxes": _boxes(sample, names), "image": shown}

    def _known(self, source: str, sampling: int) -> Analysis:
        found = self.making.known(source, sampling)
        if found is None:
            raise InputError("look at the video first; somebody was put on file or taken off since it was looked at")
        return found


def _boxes(sample: Sample, names: Mapping[int, Any]) -> list[dict[str, Any]]:
    """Heads that have a track, then bodies and faces that nobody has."""
    boxes: list[dict[str, Any]] = [
        {"box": [round(v, 1) for v in point.box], "track": point.track,
         "name": names[point.track].name if point.track in names else None}
        for point in sample.tracks
    ]  # fmt: skip
    taken = {point.face for point in sample.tracks}
    boxes += [
        {"box": [round(v, 1) for v in face.box], "track": None, "name": None}
        for number, face in enumerate(sample.faces)
        if number not in taken
    ]
    return boxes


def _strip(strip: Strip, crops: Sequence[Crop]) -> dict[str, Any]:
    return {
        "track": strip.track, "spans": [[round(a, 3), round(b, 3)] for a, b in strip.spans], "by": strip.said.by,
        "nearest": strip.said.nearest, "similarity": round(strip.said.similarity, 2), "doubt": bool(strip.why),
        "crops": [{"t": round(crop.time_s, 3), "image": served(crop.path)} for crop in crops],
    }  # fmt: skip


def _correction(found: Analysis, line: Mapping[str, Any]) -> dict[str, Any]:
    """A correction for the list of them; the widget has the words."""
    kept = {key: line.get(key) for key in ("kind", "track", "name", "into", "new")}
    return kept | {"t": None if "i" not in line else round(found.seconds_at(line["i"]), 2)}

"""The unknown people of an analysed video -> proposed persons, each to be enrolled with one command. (Section 7.)

Tracklets that have no name are grouped by their pooled clear faces. Two groups become one while every face of the one
is that of every face of the other, and nobody of theirs is on screen at the same time: a proposal is rather a person
too many than two people in one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ..errors import InputError
from ..images import write_image
from .analysis import Analysis, Sample
from .files import VideoReader
from .naming import TrackName, face_weight
from .review import by_track, check_source
from .tracking import CLEAR, TrackPoint

_FACES = 2  # clear faces from which a tracklet can be said to be like another
_PHOTOS = 8  # pictures of a person that are enrolled, at the most
_APART_S = 0.4  # seconds between two of them, at the least: neighbours are alike
_ROOM = 0.8  # around the head, in its sides, on every side


@dataclass(frozen=True)
class Proposed:
    """Somebody unknown.

    Attributes:
        number: 1 is on screen longest.
        tracks: their tracklets, in order.
        seconds: on screen.
        faces: how many faces look at the camera.
        nearest, similarity: who on file is most like them, and how much; None and 0 if there is nobody.
    """

    number: int
    tracks: tuple[int, ...]
    seconds: float
    faces: int
    nearest: str | None
    similarity: float


def cast(analysis: Analysis, names: Mapping[int, TrackName]) -> list[Proposed]:
    """The unknown people of a video, those first who are on screen longest.

    Args:
        analysis: of the video.
        names: what is said of each tracklet.

    Raises:
        InputError: the analysis followed a box, and looked at no faces.
    """
    if "levels" not in analysis.header:
        raise InputError(f"{analysis.path} followed a box and looked at no faces; run: idseg analyse VIDEO")
    free = [
        track
        for track, known in analysis.tracklets.items()
        if known.clear >= _FACES and not (track in names and (names[track].name or names[track].by_hand))
    ]
    groups = _grouped(free, analysis)
    seen = by_track(analysis)
    proposed = []
    for tracks in groups:
        rows = [names[t] for t in tracks if t in names and names[t].nearest is not None]
        best = max(rows, key=lambda said: said.similarity, default=None)
        proposed.append(
            Proposed(
                0, tuple(tracks), round(sum(analysis.shown_for(sample) for t in tracks for sample, _ in seen[t]), 3),
                sum(analysis.tracklets[t].clear for t in tracks),
                None if best is None else best.nearest, 0.0 if best is None else round(best.similarity, 4),
            )
        )  # fmt: skip
    proposed.sort(key=lambda one: (-one.seconds, one.tracks))
    return [replace(one, number=number) for number, one in enumerate(proposed, 1)]


def _grouped(tracks: Sequence[int], analysis: Analysis) -> list[list[int]]:
    """Complete linkage: the two groups whose least alike pair is most alike are joined, down to the engine's level."""
    groups = [[track] for track in tracks]
    same = analysis.header["levels"]["same"]

    def likeness(one: list[int], other: list[int]) -> float:
        pairs = [(min(a, b), max(a, b)) for a in one for b in other]
        if any(pair in analysis.together for pair in pairs):
            return -1.0
        return min(analysis.alike.get(pair, -1.0) for pair in pairs)

    table = np.full((len(groups), len(groups)), -1.0)
    for i in range(len(groups)):
        for k in range(i):
            table[i, k] = likeness(groups[i], groups[k])
    while table.size and table.max() >= same:
        i, k = (int(v) for v in np.unravel_index(int(table.argmax()), table.shape))
        groups[k] = sorted(groups[k] + groups[i])
        groups[i] = []
        table[i, :] = table[:, i] = -1.0
        for m in range(len(groups)):
            if m != k and groups[m]:
                table[max(m, k), min(m, k)] = likeness(groups[m], groups[k])
    return [group for group in groups if group]


def write_photos(analysis: Analysis, source: str | Path, tracks: Sequence[int], folder: Path) -> list[Path]:
    """Write the clearest faces of some tracklets as photos to enrol somebody from; returns where they are.

    Args:
        analysis: of the video.
        source: the video.
        tracks: of one person.
        folder: for the photos; those of an earlier time are written anew, all else that lies there stays.

    Raises:
        InputError: no face of theirs looks at the camera.
    """
    check_source(analysis, source)
    chosen = {sample.index: point.box for sample, point in _clearest(analysis, tracks)}
    if not chosen:
        raise InputError(f"no face of track {', '.join(map(str, tracks))} looks at the camera")
    stem, written = analysis.header["sha256"][:8], []
    with VideoReader(source) as reader:
        for frame in reader.frames(0, analysis.header["sampling"]):
            if frame.index not in chosen:
                continue
            x0, y0, x1, y1 = chosen[frame.index]
            room = _ROOM * max(x1 - x0, y1 - y0)
            height, width = frame.image.shape[:2]
            left, top = int(max(0, x0 - room)), int(max(0, y0 - room))
            crop = frame.image[top : int(min(height, y1 + room)), left : int(min(width, x1 + room))]
            written.append(write_image(folder / f"video_{stem}_{frame.index:08d}.png", crop))
    return written


def _clearest(analysis: Analysis, tracks: Sequence[int]) -> list[tuple[Sample, TrackPoint]]:
    """The clearest faces, the best first, none right beside another in time."""
    seen, points = [], by_track(analysis)
    for track in tracks:
        for sample, point in points.get(track, ()):
            if point.face is not None:
                face = sample.faces[point.face].face()
                if face.facing >= CLEAR:
                    seen.append((face_weight(face) * face.side, sample, point))
    chosen: list[tuple[Sample, TrackPoint]] = []
    for _, sample, point in sorted(seen, key=lambda row: -row[0]):
        if len(chosen) < _PHOTOS and all(abs(sample.time_s - other.time_s) >= _APART_S for other, _ in chosen):
            chosen.append((sample, point))
    return chosen

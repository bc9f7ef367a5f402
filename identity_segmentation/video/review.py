"""Tracklets of an analysed video -> what is worth a look first, and pictures to look at. (Notebook section 7.)"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from ..errors import InputError
from ..images import write_image
from .analysis import Analysis, Sample, file_sha256
from .files import VideoReader
from .naming import TrackName
from .tracking import TrackPoint

_THIN_MARGIN = 0.05  # a name that is this close to the runner-up is looked at first
_NEAR = 0.35  # similarity from which somebody unknown nearly has a name
_LONG_S = 2.0  # seconds on screen from which somebody unknown is worth a name
_STRIP = 6  # pictures of a filmstrip
_STRIP_SIDE = 160  # pixels
_AROUND = 1.2  # half side of a picture, in sides of the head


def spans_to_review(analysis: Analysis, names: Mapping[int, TrackName]) -> list[dict]:
    """What is worth a look, the most doubtful first: {"track", "from", "to", "name", "why"}.

    First names on thin evidence, then regions that were lost, then people who nearly have a name, then unknown people
    who are on screen for long; within each the longest first. What a person said is not asked again.

    Args:
        analysis: of the video.
        names: what is said of each tracklet.
    """
    rows: list[tuple[int, dict[str, Any]]] = []
    for track in analysis.regions:
        for shot in _shots(analysis.samples):
            seen = [s for s in shot if any(p.track == track for p in s.tracks)]
            if seen and seen[-1] is not shot[-1]:
                span: dict[str, Any] = {"track": track, "from": seen[-1].time_s, "to": shot[-1].time_s}
                rows.append((1, span | {"name": names[track].name, "why": "lost from here on, within its shot"}))
    for track, seen_at in by_track(analysis).items():
        said = names.get(track, TrackName(track, None, 0.0, 0.0, None, None, 0))
        if said.by_hand or track in analysis.regions:
            continue
        seconds = sum(analysis.shown_for(sample) for sample, _ in seen_at)
        faceless = sum(point.evidence != "face" for _, point in seen_at)
        rank, why = _doubt(said, seconds, len(seen_at), faceless)
        if why:
            span = {"track": track, "from": seen_at[0][0].time_s, "to": seen_at[-1][0].time_s}
            rows.append((rank, span | {"name": said.name, "why": why}))
    rows.sort(key=lambda row: (row[0], row[1]["from"] - row[1]["to"]))
    return [row for _, row in rows]


def _doubt(said: TrackName, seconds: float, samples: int, faceless: int) -> tuple[int, str]:
    """(rank, what is doubtful about a tracklet; empty = nothing)."""
    if said.name and said.by == "clothes":
        return 0, "named by its clothes alone, which nobody else wears there"
    if said.name and said.by == "alike":
        return 0, "named because its face is that of a named track"
    if said.name and said.margin < _THIN_MARGIN:
        return 0, f"named with a margin of only {said.margin:.2f} over {said.runner_up}"
    if said.name and not said.sure:
        return 0, f"named at a similarity of {said.similarity:.2f}, which would not be enough in a picture"
    if said.name and faceless > samples / 2:
        return 0, "named, but mostly without a face to see"
    if said.name is None and said.nearest and said.similarity > _NEAR and samples >= 3:
        return 2, f"unknown; nearest is {said.nearest} ({said.similarity:.2f})"
    if said.name is None and seconds >= _LONG_S:
        return 3, f"unknown, and on screen for {seconds:.1f} s"
    return 4, ""


def listed(analysis: Analysis, names: Mapping[int, TrackName]) -> list[dict[str, Any]]:
    """One row per tracklet that has a face, a name, or more than one sample; in order of their numbers.

    Args:
        analysis: of the video.
        names: what is said of each tracklet.
    """
    doubts = {row["track"]: (place, row["why"]) for place, row in enumerate(spans_to_review(analysis, names))}
    rows = []
    for track, seen in sorted(by_track(analysis).items()):
        said = names.get(track)
        if said is None:
            if len(seen) < 2:
                continue
            said = TrackName(track, None, 0.0, 0.0, None, None, 0)
        place, why = doubts.get(track, (None, None))
        rows.append(
            {"track": track, "name": said.name, "by": said.by, "from": seen[0][0].time_s, "to": seen[-1][0].time_s,
             "faces": said.faces, "similarity": round(said.similarity, 4), "margin": round(said.margin, 4),
             "nearest": said.nearest, "runner_up": said.runner_up, "by_hand": said.by_hand, "review": why,
             "look_at": None if place is None else place + 1}
        )  # fmt: skip
    return rows


def filmstrips(
    analysis: Analysis, source: str | Path, folder: Path, groups: Mapping[str, Sequence[int]]
) -> dict[str, Path]:
    """Write one picture per group of tracklets: its head over time, left to right; returns where each is.

    The video is read once, whatever the number of tracklets.

    Args:
        analysis: of the video.
        source: the video.
        folder: for the pictures, which are called after the groups.
        groups: a file's stem -> the tracklets that it shows.
    """
    check_source(analysis, source)
    seen = by_track(analysis)
    wanted: dict[int, list[tuple[str, tuple]]] = {}  # frame -> (group, head)
    counts = {}
    for stem, tracks in groups.items():
        points = sorted((p for t in tracks for p in seen.get(t, ())), key=lambda p: p[0].index)
        chosen = _spread(points)
        counts[stem] = len(chosen)
        for sample, point in chosen:
            wanted.setdefault(sample.index, []).append((stem, point.box))
    parts: dict[str, list[np.ndarray]] = {stem: [] for stem in groups}
    written: dict[str, Path] = {}
    with VideoReader(source) as reader:
        for frame in reader.frames(0, analysis.header["sampling"]):
            for stem, box in wanted.get(frame.index, ()):
                parts[stem].append(head_picture(frame.image, box))
                if len(parts[stem]) == counts[stem]:
                    written[stem] = write_image(folder / f"{stem}.jpg", np.hstack(parts.pop(stem)))
    for stem, pictures in parts.items():  # of a video that ends earlier than it did
        blank = np.zeros((_STRIP_SIDE, _STRIP_SIDE, 3), np.uint8)
        written[stem] = write_image(folder / f"{stem}.jpg", np.hstack(pictures or [blank]))
    return written


def _spread(points: Sequence[tuple[Sample, TrackPoint]]) -> list[tuple[Sample, TrackPoint]]:
    """At most `_STRIP` of the points, spread over time; of each stretch the one with the clearest face."""
    if len(points) <= _STRIP:
        return list(points)
    bounds = np.linspace(0, len(points), _STRIP + 1).astype(int)
    return [
        max(points[a:b], key=lambda p: _clearness(*p)) for a, b in pairwise(bounds.tolist())
    ]  # fmt: skip


def _clearness(sample: Sample, point: TrackPoint) -> float:
    if point.face is None:
        return 0.0
    face = sample.faces[point.face].face()
    return face.score * (0.1 + face.facing)


def head_picture(image_bgr: np.ndarray, box: Sequence[float], side: int = _STRIP_SIDE) -> np.ndarray:
    """A square picture of a head: uint8 (side, side, 3); black where it is out of the picture.

    Args:
        image_bgr: uint8 (H, W, 3).
        box: xyxy of the head.
        side: pixels.
    """
    x, y = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
    reach = max(1.0, _AROUND * max(box[2] - box[0], box[3] - box[1]))
    scale = side / (2 * reach)
    forward = np.array([[scale, 0, side / 2 - scale * x], [0, scale, side / 2 - scale * y]], np.float32)
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    return cv2.warpAffine(image_bgr, forward, (side, side), flags=how)


def check_source(
    analysis: Analysis, source: str | os.PathLike, how: str = "--source VIDEO (or --thumbnails VIDEO)"
) -> None:
    """`InputError` unless a file is the video that was analysed: places in the analysis are places in its pictures.

    Args:
        analysis: of the video.
        source: the file.
        how: the right one is given, in the words of the command that asks.
    """
    if not Path(source).is_file() or file_sha256(Path(source)) != analysis.header["sha256"]:
        raise InputError(
            f"{source} is not the video that was analysed ({analysis.header['source']}); give that one: {how}"
        )


def by_track(analysis: Analysis) -> dict[int, list[tuple[Sample, TrackPoint]]]:
    """tracklet -> every sample in which it is, with its point."""
    seen: dict[int, list[tuple[Sample, TrackPoint]]] = {}
    for sample in analysis.samples:
        for point in sample.tracks:
            seen.setdefault(point.track, []).append((sample, point))
    return seen


def _shots(samples: Sequence[Sample]) -> list[list[Sample]]:
    """Samples between cuts."""
    shots: list[list[Sample]] = []
    for sample in samples:
        if sample.cut or not shots:
            shots.append([])
        shots[-1].append(sample)
    return shots

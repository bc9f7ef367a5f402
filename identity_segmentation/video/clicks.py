"""Clicks in one frame of an analysed video -> what is added to a person's matte, or taken out of it, around that time.
(Notebook section 7.)

"Her boot belongs to her", "this bag does not": the segmenter says what was clicked, and that region is followed
backward and forward through its shot, for a few seconds. It becomes one line of the analysis file, a correction like
any other: every output that is rendered from it obeys, and it can be taken back.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise

import cv2
import numpy as np

from ..engines.protocols import PointSegmenter
from ..errors import EngineUnavailable, InputError
from ..geometry import decode_rle, encode_rle
from ..images import unpacked
from ..masks.clicked import Clicked, nothing_at
from ..types import Frame
from .analysis import Analysis, Click, Sample, read_analysis, rounded
from .carrying import between
from .corrections import append, check_name
from .cuts import first_of_shot
from .files import VideoReader
from .flow import Flow
from .motion import Motion
from .propagation import Propagator
from .review import check_source

_LONGEST = 60.0  # seconds each way; pictures that long are held at working size, packed
_QUALITY = 95  # of these
_GAP = 15  # pixels at working size: two parts further apart than this are followed each by itself
_CADENCE = 2  # the region is found anew in every second frame, and lies between two in the one between
_GROWN = 2.0  # times the area that was clicked: from there on it is something else that is followed


def click(
    path: str | os.PathLike,
    source: str | os.PathLike,
    name: str,
    points: Sequence[Sequence[float]],
    inside: Sequence[bool],
    at: float,
    segmenter: object,
    seconds: float = 2.0,
) -> Click:
    """Say by clicks what belongs to somebody's matte, or does not; the next render obeys.

    Where a point is inside, the thing under those points is added, and the other points are beside it. Where none is,
    what lies under each of the points is taken out, though never far from it.

    Args:
        path: the analysis file.
        source: the video that was analysed.
        name: display name; of a followed box, what it is called.
        points: (x, y) pixels of the video's pictures, each.
        inside: for each point, is it on what is to be added.
        at: seconds; the first frame at or after it was clicked.
        segmenter: says what was clicked; see `PointSegmenter`.
        seconds: how long, each way, it is followed at the most; 0 = in that frame only.

    Returns:
        What was written.

    Raises:
        InputError: a name that is not in the analysis, a point outside the picture, a time outside the video, another
            video, or nothing that can be made out under the clicks.
        EngineUnavailable: the segmenter takes no clicks.
        VideoError: the video cannot be read.
    """
    analysis = read_analysis(path)
    check_name(analysis, name)
    _check_points(points, inside, (analysis.header["width"], analysis.header["height"]))
    _check_times(at, seconds)
    engine = _taking_clicks(segmenter)
    check_source(analysis, source, "idseg click OUT VIDEO")
    frame, pictures = _around(analysis, source, at, seconds)
    clicked = Clicked(engine, frame.image, _heads(analysis, frame.index, min(pictures), max(pictures)))
    places, adds = np.array(points, np.float64), any(inside)
    region = clicked.added(places, np.array(inside, bool)) if adds else clicked.taken(places)
    masks = _through(region, places, frame.index, pictures)
    said = Click(name, frame.index, adds, {index: encode_rle(masks[index]) for index in sorted(masks)})
    append(analysis.path, _line(said, points, inside))
    return said


def touched(
    clicks: Sequence[Click], who: str | int, index: int, shape: tuple[int, int]
) -> tuple[np.ndarray | None, np.ndarray | None]:
    """(what clicks add to somebody's matte in a frame, what they take out of it): float32 (h, w) 0..1, None = nothing.

    What was said later holds: where something is added that was taken out before, it is taken out no longer.

    Args:
        clicks: of the analysis, in their order.
        who: whose matte; a stranger, who is a number, has no clicks.
        index: of the frame.
        shape: (h, w), the working size.
    """
    added: np.ndarray | None = None
    taken: np.ndarray | None = None
    for said in clicks:
        region = _region_at(said, index, shape) if said.name == who else None
        if region is None:
            continue
        mine, other = (added, taken) if said.adds else (taken, added)
        mine = region if mine is None else np.maximum(mine, region)
        other = None if other is None else np.minimum(other, 1 - region)
        added, taken = (mine, other) if said.adds else (other, mine)
    return added, taken


def _region_at(said: Click, index: int, shape: tuple[int, int]) -> np.ndarray | None:
    """Where a click's region is in a frame, float32 (h, w) 0..1; between two frames where it is known, as in the nearer
    one, and None beyond them."""
    if not said.span[0] <= index <= said.span[1]:
        return None
    code = said.regions.get(index)
    mask = decode_rle(code or said.regions[min(said.regions, key=lambda known: abs(known - index))])
    return cv2.resize(mask.astype(np.float32), shape[::-1], interpolation=cv2.INTER_AREA)


def _line(said: Click, points: Sequence[Sequence[float]], inside: Sequence[bool]) -> dict:
    """A click as the analysis file has it: one line, so that one `undo` takes it back."""
    return {
        "kind": "click", "name": said.name, "i": said.frame, "points": [rounded(p) for p in points],
        "inside": [bool(on) for on in inside], "adds": said.adds, "size": said.regions[said.frame]["size"],
        "regions": {str(index): code["counts"] for index, code in said.regions.items()},
    }  # fmt: skip


def _taking_clicks(segmenter: object) -> PointSegmenter:
    if not isinstance(segmenter, PointSegmenter):
        raise EngineUnavailable(
            f"the segmenter {getattr(segmenter, 'id', segmenter)} takes no clicks; choose one that does: "
            "--segmenter embedded"
        )
    return segmenter


def _check_points(points: Sequence[Sequence[float]], inside: Sequence[bool], size: tuple[int, int]) -> None:
    if not len(points) or len(points) != len(inside):
        raise InputError(
            f"expected a point or more, each inside or not; got {len(points)} points and {len(inside)} words on them"
        )
    for point in points:
        x, y = point if len(point) == 2 else (np.nan, np.nan)
        if not (0 <= x < size[0] and 0 <= y < size[1]):
            raise InputError(f"expected points (x, y) within the {size[0]} x {size[1]} picture, got {list(point)}")


def _check_times(at: float, seconds: float) -> None:
    if not 0 <= at < np.inf:
        raise InputError(f"expected a time of 0 seconds or more, got {at}")
    if not 0 <= seconds <= _LONGEST:
        raise InputError(f"expected 0 to {_LONGEST:g} seconds to follow what was clicked, each way, got {seconds}")


# ---- pictures


def _around(analysis: Analysis, source: str | os.PathLike, at: float, seconds: float) -> tuple[Frame, dict[int, bytes]]:
    """The clicked frame, and every picture of its shot that is near enough in time: frame -> working size, packed."""
    flow, step = Flow(), analysis.header["sampling"]
    begin = max((s.index for s in analysis.samples if s.time_s <= at - seconds), default=0)
    clicked: Frame | None = None
    times: dict[int, float] = {}
    pictures: dict[int, bytes] = {}
    with VideoReader(source) as reader:
        for frame in reader.frames(begin):
            times[frame.index] = frame.time_s
            small = flow.small(frame.image)
            pictures[frame.index] = cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])[1].tobytes()
            if clicked is None and frame.time_s >= at - 1e-6:
                clicked = frame
            # From sample to sample: where no shots are written down, a cut lies somewhere between two of them.
            if clicked is not None and frame.index % step == 0 and frame.time_s >= clicked.time_s + seconds:
                break
    if clicked is None:
        last = max(times.values())
        raise InputError(f"the click is at {at} s, but the video ends at {last:.3f} s; expected a time from 0 to that")
    first, end = _shot(analysis, clicked.index, pictures)
    near = (i for i in pictures if first <= i < end and abs(times[i] - clicked.time_s) <= seconds + 1e-6)
    return clicked, {i: pictures[i] for i in near}


def _shot(analysis: Analysis, index: int, pictures: Mapping[int, bytes]) -> tuple[int, float]:
    """(first frame, frame after the last one) of the shot that a frame is in, as far as there are pictures."""
    begins = [shot.begin for shot in analysis.shots] or _cuts(analysis.samples, pictures)
    before, after = [b for b in begins if b <= index], [b for b in begins if b > index]
    return max(before, default=0), min(after, default=np.inf)


def _cuts(samples: Sequence[Sample], pictures: Mapping[int, bytes]) -> list[int]:
    """Where shots begin by what samples say of cuts: the analysis of a followed box has no more."""
    found = []
    for before, after in pairwise(samples):
        if after.cut and before.index in pictures and after.index in pictures:
            span = [unpacked(pictures[i], cv2.IMREAD_GRAYSCALE) for i in range(before.index, after.index + 1)]
            found.append(before.index + first_of_shot(span))
    return found


def _heads(analysis: Analysis, index: int, first: int, last: int) -> list[np.ndarray]:
    """xyxy boxes of the heads in the sample nearest to a frame, among those of its shot that are right beside it."""
    step = analysis.header["sampling"]
    near = [s for s in analysis.samples if first <= s.index <= last and abs(s.index - index) < step]
    if not near:
        return []
    sample = min(near, key=lambda s: abs(s.index - index))
    boxes = [face.box for face in sample.faces] + [p.box for p in sample.tracks if p.evidence in ("body", "hand")]
    return [np.array(box) for box in boxes]


# ---- through the shot


def _through(
    region: np.ndarray, points: np.ndarray, index: int, pictures: Mapping[int, bytes]
) -> dict[int, np.ndarray]:
    """frame -> bool (h, w), at working size: a region of a picture, bool (H, W), and where its things go."""
    height, width = unpacked(pictures[index]).shape[:2]
    small = cv2.resize(region.astype(np.float32), (width, height), interpolation=cv2.INTER_AREA) > 0.5
    if not small.any():
        raise nothing_at(points[0])
    masks = {index: small}
    for thing in _things(small, points * width / region.shape[1]):
        for there, mask in _followed(thing, index, pictures):
            masks[there] = masks[there] | mask if there in masks else mask
    return masks


def _things(mask: np.ndarray, points: np.ndarray) -> Iterator[np.ndarray]:
    """Parts of a region that lie apart, each a thing to be followed by itself (two boots, say): those with a click in
    or beside them; the largest where none has.

    Args:
        mask: bool (h, w), with a pixel at least.
        points: (N, 2), at its size.
    """
    _, labels = cv2.connectedComponents(cv2.dilate(mask.astype(np.uint8), np.ones((_GAP, _GAP), np.uint8)))
    places = np.clip(np.floor(points).astype(int), 0, np.array(mask.shape[::-1]) - 1)
    clicked = {int(labels[y, x]) for x, y in places} - {0}
    for label in sorted(clicked) or [int(np.bincount(labels[mask]).argmax())]:
        yield mask & (labels == label)


def _followed(region: np.ndarray, index: int, pictures: Mapping[int, bytes]) -> Iterator[tuple[int, np.ndarray]]:
    """(frame, bool (h, w)) of a region backward and forward from where it was clicked, until it is lost."""
    propagator, area = Propagator(), np.count_nonzero(region)
    seed = np.zeros(region.shape, np.float32)  # not used where the region is known
    for way in ([i for i in sorted(pictures, reverse=True) if i <= index], [i for i in sorted(pictures) if i >= index]):
        shown = [(i, number % _CADENCE == 0 or i == way[-1]) for number, i in enumerate(way)]
        shares = propagator.follow(
            ((unpacked(pictures[i]), sampled) for i, sampled in shown), _CADENCE, seed, mask=region
        )
        number, mask = 0, region
        for there, share in shares:
            found = share > 0.5
            if not found.any() or np.count_nonzero(found) > _GROWN * area:
                break
            if not there:
                continue  # it was clicked here, which is worth more
            span = [unpacked(pictures[i], cv2.IMREAD_GRAYSCALE) for i in way[number : there + 1]]
            motion = Motion(span, propagator.flow, span[0].shape[::-1])
            keys = {k: motion.soft(end.astype(np.uint8) * 255) for k, end in ((0, mask), (len(span) - 1, found))}
            softs = between({k: soft for k, soft in keys.items() if soft is not None}, (), len(span), motion)
            for k, soft in enumerate(softs[1:], 1):
                if soft is not None:
                    yield way[number + k], soft.within((0, 0, *motion.size)) > 127
            number, mask = there, found

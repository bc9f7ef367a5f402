"""Which heads of a frame are covered, and which are not: in doubt they are. (Notebook section 7.)

`blur-others` leaves nothing open but who is surely one of those to be kept; `blur` covers every head that may be one of
those named - mirrors, screens, heads of which no face was seen; `anonymise` covers all.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ..covers import Cover, covered_all, head_shape
from ..geometry import mask_box, plain_box
from .analysis import Sample
from .headwatch import Box, Chain, Heads
from .mattes import Placed
from .scene import Scene, Who, heads_at, people_in, strangers_at

COVERING = ("blur-others", "blur", "anonymise")  # the views that cover people
_ONE_HEAD = 0.6  # distance of a face's middle from a head's, in the head's longer side, up to which it is that head's
_FACE_IN_HEAD = 1.5  # a head's side in that of its face


@dataclass(frozen=True)
class Covered:
    """What was covered in a frame, as it is written down.

    Attributes:
        boxes: (box, number of the head or None) of every head that was covered.
        kept: (box, name) of every face that was left to be seen.
    """

    boxes: Sequence[tuple[Box, int | None]]
    kept: Sequence[tuple[Box, str]]


class Covering:
    """Covers the people of a video, frame by frame.

    Args:
        view: one of `COVERING`.
        way: how; one of `covers.WAYS`.
        bodies: are whole bodies covered, or heads alone?
        scene: who is where.
        samples: index of a frame that was looked at -> what was seen.
        wanted: the names that were asked for.
        heads: every head of the video.
        extra: boxes of heads that people said are to be covered: called with a time in seconds.
    """

    def __init__(
        self, view: str, way: str, bodies: bool, scene: Scene, samples: dict[int, Sample], wanted: Sequence[str],
        heads: Heads, extra: Callable[[float], Sequence[Box]] | None = None,
    ):  # fmt: skip
        self.view, self.way, self.bodies = view, way, bodies
        self.scene, self.samples, self.wanted, self.heads = scene, samples, list(wanted), heads
        self.extra = extra
        self.cleared = self._surely_others() if view == "blur" else set()
        self._sides = {chain.number: chain.side for chain in heads.chains}

    # ---- who is who

    def _surely_others(self) -> set[int]:
        """Numbers of the heads that are surely nobody of those to be covered: wherever a face of theirs was followed it
        is somebody else's, and it was for half of the time."""
        votes: dict[int, Counter] = {}
        for sample in self.scene.analysis.samples:
            here = self.heads.at(sample.index)
            people = people_in(self.scene, sample)
            for chain, box in here:
                mine = min(people, key=lambda person: _off(person[1].box, box), default=None)
                said = "unknown"
                if mine is not None and _off(mine[1].box, box) <= _ONE_HEAD:
                    said = "other" if self._is_other(mine[2]) else "may be"
                votes.setdefault(chain.number, Counter())[said] += 1
        return {
            number for number, said in votes.items() if not said["may be"] and said["other"] >= max(1, said["unknown"])
        }

    def _is_other(self, track: int) -> bool:
        """Is a track surely nobody of those to be covered?"""
        name = self.scene.name_of.get(track)
        if name is not None:
            return name not in self.wanted
        record = self.scene.analysis.tracklets.get(track)
        if record is None or record.evidence is None:
            return False
        floor = self.scene.analysis.header.get("levels", {}).get("other", 0.0)
        people = self.scene.analysis.people
        mine = [float(record.evidence.similar[people.index(name)]) for name in self.wanted if name in people]
        return bool(mine) and max(mine) < floor

    def _kept(self, index: int) -> dict[str, Box]:
        """Name -> the face, in a frame, of everybody who is to be seen."""
        if self.view != "blur-others":
            return {}
        heads = heads_at(self.scene, index, self.samples)
        return {
            str(who): np.asarray(head.box, np.float32)
            for who, head in heads.items()
            if who in self.wanted and (head.near or head.both)
        }

    # ---- a frame

    def picture(
        self, placed: Placed, mattes: Mapping[Who, np.ndarray], solid: Mapping[Who, np.ndarray]
    ) -> tuple[np.ndarray, Covered]:
        """The frame with everybody covered who is to be; and what was covered.

        Args:
            placed: the frame, and who is there.
            mattes: of those who are drawn, uint8 (H, W).
            solid: the same as bool.
        """
        image, index = placed.frame.image, placed.frame.index
        here = self.heads.at(index)
        kept = self._kept(index)
        hers = self._chains_of(kept, here)
        boxes: list[tuple[Box, int | None]] = [
            (box, chain.number) for chain, box in here if chain.number not in hers and chain.number not in self.cleared
        ]
        boxes += [(box, None) for box in self._of_analysis(index, kept, here)]
        if self.extra is not None:
            boxes += [(np.asarray(box, np.float32), None) for box in self.extra(placed.frame.time_s)]
        covers = [self._cover(box, number, image.shape) for box, number in boxes]
        if self.bodies:
            covers += self._of_bodies(placed, mattes, solid, image.shape)
        open_to_see = self._hole(image.shape, kept, mattes)
        if open_to_see is not None:
            covers = [_less(cover, open_to_see) for cover in covers]
        result = covered_all(image, covers, self.way) if covers else image
        return result, Covered(boxes, [(box, name) for name, box in kept.items()])

    def _chains_of(self, kept: Mapping[str, Box], here: Sequence[tuple[Chain, Box]]) -> set[int]:
        """Numbers of the heads that are those of people to be seen: one each, the nearest."""
        found = set()
        for face in kept.values():
            best = min(here, key=lambda entry: _off(face, entry[1]), default=None)
            if best is not None and _off(face, best[1]) <= _ONE_HEAD:
                found.add(best[0].number)
        return found

    def _of_analysis(self, index: int, kept: Mapping[str, Box], here: Sequence[tuple[Chain, Box]]) -> list[Box]:
        """Heads that the analysis has, and the watch has not: they are covered too."""
        known = [box for _, box in here]
        found: list[Box] = []
        for who, head in heads_at(self.scene, index, self.samples).items():
            if head.track in self.scene.analysis.regions or (self.view == "blur" and self._is_other(head.track)):
                continue
            if not (self.view == "blur-others" and who in kept):
                found.append(np.asarray(head.box, np.float32))
        if self.view != "blur":
            found += [np.asarray(box, np.float32) for box in strangers_at(self.scene, index, self.samples)[0]]
        return [_head_of(box) for box in found if not any(_off(box, head) <= _ONE_HEAD for head in known)]

    def _cover(self, box: Box, number: int | None, shape: Sequence[int]) -> Cover:
        hide, part = head_shape(box, shape)
        side = float(max(box[2] - box[0], box[3] - box[1]))
        # The strength is that of the head where it is largest: it does not change while the head is there.
        return Cover(hide, part, max(side, self._sides.get(number, 0.0) if number is not None else 0.0))

    def _of_bodies(
        self, placed: Placed, mattes: Mapping[Who, np.ndarray], solid: Mapping[Who, np.ndarray], shape: Sequence[int]
    ) -> list[Cover]:
        hidden = self.view == "blur"
        covers = []
        for who, matte in mattes.items():
            box = mask_box(matte > 0)
            if box is not None and (who in self.wanted) == hidden:
                x0, y0, x1, y1 = (int(v) for v in box)
                head = placed.heads.get(who)
                side = (y1 - y0) / 6 if head is None else _FACE_IN_HEAD * float(head.box[3] - head.box[1])
                covers.append(Cover(matte[y0:y1, x0:x1], (x0, y0, x1, y1), side))
        between = self.scene.is_mixed(placed.frame.index)
        for box, track in strangers_at(self.scene, placed.frame.index, self.samples)[1]:
            name = None if track is None else self.scene.name_of.get(track)
            mine = name is not None and name in self.wanted
            mask = None if track is None else solid.get(name if name is not None else track)
            drawn = mask is not None and bool(mask.any())
            if mine == hidden and (between or not drawn) and not (hidden and track is None):
                x0, y0, x1, y1 = _within(box, shape)
                if x1 > x0 and y1 > y0:
                    whole = np.full((y1 - y0, x1 - x0), 255, np.uint8)
                    covers.append(Cover(whole, (x0, y0, x1, y1), (y1 - y0) / 6))
        return covers

    def _hole(
        self, shape: Sequence[int], kept: Mapping[str, Box], mattes: Mapping[Who, np.ndarray]
    ) -> np.ndarray | None:
        """bool (H, W): what is to be seen whatever lies over it: mattes and faces of those who are kept."""
        if not kept:
            return None
        hole = np.zeros(tuple(shape[:2]), bool)
        for name, box in kept.items():
            if name in mattes:
                hole |= mattes[name] > 127
            x0, y0, x1, y1 = _within(box, shape)
            hole[y0:y1, x0:x1] = True
        return hole


def _off(face: Box, head: Box) -> float:
    """How far the middle of a face is from that of a head, in the head's longer side."""
    side = max(float(head[2] - head[0]), float(head[3] - head[1]), 1.0)
    middle = (np.asarray(face[:2]) + np.asarray(face[2:]) - head[:2] - head[2:]) / 2
    return float(np.hypot(*middle)) / side


def _head_of(face: Box) -> Box:
    """The box of a head, about that of its face."""
    middle, side = (face[:2] + face[2:]) / 2, _FACE_IN_HEAD * float(max(face[2] - face[0], face[3] - face[1])) / 2
    return np.concatenate([middle - side, middle + side]).astype(np.float32)


def _within(box: Sequence[float] | np.ndarray, shape: Sequence[int]) -> tuple[int, int, int, int]:
    x0, y0, x1, y1 = (round(float(v)) for v in plain_box(box))
    return max(0, x0), max(0, y0), min(shape[1], x1), min(shape[0], y1)


def _less(cover: Cover, hole: np.ndarray) -> Cover:
    x0, y0, x1, y1 = cover.box
    hide = cover.hide.copy()
    hide[hole[y0:y1, x0:x1]] = 0
    return Cover(hide, cover.box, cover.size)

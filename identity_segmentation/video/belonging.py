"""Whose mask is it? Every mask of a video is held against the heads and bodies of its frame. (Notebook section 7.)

A mask that is not on its person's head, or is on somebody else's, is drawn anew from the body's box; what fits no
better is left out: no mask is better than one on somebody else.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np

from ..geometry import box_iou, box_mask, drop_specks, grown_box, mask_box
from ..types import Segment

_CORE = (0.35, 0.4)  # half axes of the ellipse that is head in every pose, in sides of the head's box
_WHOLE = (0.6, 0.75)  # ... and of one that holds the hair as well
_COVERED = 0.5  # share of a head's core from which a mask is on it
_TOUCHED = 0.25  # ... and from which it is at it, where the head's place is not sure
_ASIDE = 0.1  # IoU of two heads from which it cannot be said whose pixels these are
_INSIDE = 0.5  # share of a mask in its own body's box below which it is somebody else's
_BEYOND = 0.12  # of a body's longer side: how far it may reach out of the box that a detector drew
_CLOSE = 0.03  # ... where another body's box begins
_SPECKS = 0.02  # share of the largest part below which a part that was cut off is left out


@dataclass(frozen=True, eq=False)
class Present:
    """Somebody in a frame, as a mask is held against them.

    Attributes:
        head: float (4,), xyxy pixels, or None.
        seen: the head is a face that was found.
        found: the head was found on a body, its face is not seen. Neither: it is only thought to be there.
        body: float (4,), xyxy pixels, or None.
    """

    head: np.ndarray | None
    seen: bool
    found: bool
    body: np.ndarray | None

    def scaled(self, factor: float) -> Present:
        """The same in a picture scaled by `factor`."""
        head, body = (None if box is None else box * factor for box in (self.head, self.body))
        return Present(head, self.seen, self.found, body)

    def apart_from(self, other: Present) -> bool:
        """Are the two heads in different places, so that a mask can be told to be on one of them?"""
        if self.head is None or other.head is None:
            return False
        return float(box_iou(self.head, other.head)[0, 0]) < _ASIDE


def cover(mask: np.ndarray, head: np.ndarray) -> float:
    """How much of the middle of a head a mask covers, 0..1; what is outside the picture does not count.

    Args:
        mask: bool or uint8 (H, W); above half is inside.
        head: xyxy pixels.
    """
    window = grown_box(head, 1, mask.shape)
    x0, y0, x1, y1 = window
    if x1 <= x0 or y1 <= y0:
        return 0.0
    core = _ellipse(window, head, *_CORE)
    part = mask[y0:y1, x0:x1]
    inside = part if part.dtype == bool else part > 127
    return float(inside[core].mean()) if core.any() else 0.0


def _ellipse(window: tuple[int, int, int, int], head: np.ndarray, wide: float, tall: float) -> np.ndarray:
    x0, y0, x1, y1 = window
    y, x = np.mgrid[y0:y1, x0:x1] + 0.5
    a, b = wide * max(1.0, float(head[2] - head[0])), tall * max(1.0, float(head[3] - head[1]))
    return ((x - (head[0] + head[2]) / 2) / a) ** 2 + ((y - (head[1] + head[3]) / 2) / b) ** 2 <= 1


@dataclass(frozen=True)
class Verdict:
    """How a mask fits its person.

    Attributes:
        own: share of the own head's core in it; 1 where no head is known.
        others: largest share of another's, whose head is elsewhere.
        whose: index of that other; -1 where there is none.
        inside: share of it in the own body's box, with some room; 1 where no body is known.
        holds: may it be theirs?
    """

    own: float
    others: float
    whose: int
    inside: float
    holds: bool

    @property
    def worth(self) -> float:
        return self.own + self.inside - self.others


def judged(mask: np.ndarray, mine: Present, others: Sequence[Present]) -> Verdict:
    """Hold a mask against everybody in its frame.

    Args:
        mask: bool (H, W).
        mine: whose it should be.
        others: everybody else.
    """
    own = 1.0 if mine.head is None else cover(mask, mine.head)
    theirs = [
        cover(mask, other.head)
        if (other.seen or other.found) and other.head is not None and other.apart_from(mine)
        else 0
        for other in others
    ]
    worst = max(theirs, default=0.0)
    body = _body_of(mine)
    inside = 1.0 if body is None else _share(mask, _room(body, mask.shape))
    holds = (own >= _COVERED or not mine.seen) and worst < _COVERED and inside >= _INSIDE and bool(mask.any())
    return Verdict(own, worst, theirs.index(worst) if theirs else -1, inside, holds)


def owned(
    segment: Segment, mine: Present, others: Sequence[Present], drawn: Callable[[np.ndarray], Segment]
) -> Segment | None:
    """A segment that is its person's and nobody else's: as it is, less what is others', drawn anew, or None.

    Args:
        segment: as it was drawn.
        mine: whose it should be.
        others: everybody else in the frame.
        drawn: draws the person in a body's box, xyxy pixels.
    """
    said = judged(segment.mask, mine, others)
    before = [others[said.whose]] if not said.holds and said.others >= _COVERED else _in_front(mine, others)
    for other in before:
        if other.body is None or _share(segment.mask, other.body) <= _INSIDE:
            continue
        theirs = drawn(other.body).mask
        if mine.head is None or cover(theirs, mine.head) < _COVERED:
            segment = _less(segment, theirs)
            said = judged(segment.mask, mine, others)
        elif other.head is not None and cover(theirs, other.head) >= (_COVERED if other.seen else _TOUCHED):
            return None  # one mask for both of them: nothing tells their pixels apart
    body = _body_of(mine)
    if not said.holds and body is not None:
        again = drawn(body)
        if judged(again.mask, mine, others).worth > said.worth:
            segment = again
    segment = _without_others(segment, mine, others)
    return segment if judged(segment.mask, mine, others).holds else None


def _body_of(mine: Present) -> np.ndarray | None:
    """The body's box, where the head is in it."""
    if mine.body is None or mine.head is None:
        return mine.body
    x, y = (mine.head[0] + mine.head[2]) / 2, (mine.head[1] + mine.head[3]) / 2
    return mine.body if mine.body[0] <= x <= mine.body[2] and mine.body[1] <= y <= mine.body[3] else None


def _in_front(mine: Present, others: Sequence[Present]) -> list[Present]:
    """Others in whose body's box the own head is, where no own body was found: who is behind them."""
    if mine.body is not None or mine.head is None:
        return []
    x, y = (mine.head[0] + mine.head[2]) / 2, (mine.head[1] + mine.head[3]) / 2
    return [o for o in others if o.body is not None and o.body[0] <= x <= o.body[2] and o.body[1] <= y <= o.body[3]]


def _share(mask: np.ndarray, box: np.ndarray | tuple[int, int, int, int]) -> float:
    """How much of a mask is in a box, 0..1."""
    x0, y0, x1, y1 = grown_box(np.asarray(box, np.float64), 0, mask.shape)
    return int(np.count_nonzero(mask[y0:y1, x0:x1])) / max(1, int(np.count_nonzero(mask)))


def _room(body: np.ndarray, shape: Sequence[int]) -> tuple[int, int, int, int]:
    return grown_box(body, _BEYOND * float(max(body[2:] - body[:2])), shape)


def _without_others(segment: Segment, mine: Present, others: Sequence[Present]) -> Segment:
    """A segment less what lies on others' faces or far from the own body."""
    mask = segment.mask
    out = np.zeros(mask.shape, bool)
    for other in others:
        if other.seen and other.head is not None and other.apart_from(mine):
            reach = float(max(other.head[2:] - other.head[:2]))
            x0, y0, x1, y1 = window = grown_box(other.head, reach, mask.shape)
            out[y0:y1, x0:x1] |= _ellipse(window, other.head, *_WHOLE)
    if mine.head is not None:
        x0, y0, x1, y1 = window = grown_box(mine.head, 1, mask.shape)
        out[y0:y1, x0:x1] &= ~_ellipse(window, mine.head, *_CORE)
    body = _body_of(mine)
    if body is not None:
        out |= ~box_mask(mask.shape, _room(body, mask.shape))
        mine_alone = box_mask(mask.shape, body, _CLOSE * float(max(body[2:] - body[:2])))
        for other in others:
            if other.body is not None:  # beyond the own body's box, what is in another's is theirs
                out |= box_mask(mask.shape, other.body) & ~mine_alone
    return _less(segment, out)


def _less(segment: Segment, out: np.ndarray) -> Segment:
    """A segment less some pixels, and less the specks that are left of it then."""
    mask = segment.mask
    if not (out & mask).any():
        return segment
    kept = mask & ~out
    kept = drop_specks(kept, _SPECKS * int(np.count_nonzero(kept))) if kept.any() else kept
    alpha = segment.alpha
    if alpha is not None:
        near = cv2.dilate(kept.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
        alpha = np.where((near | ~mask) & ~out, alpha, 0)
    tight = mask_box(kept)
    return replace(segment, mask=kept, alpha=alpha, box=segment.box if tight is None else tight)

"""What engines that learn from a few marked pictures share: checks, leave-one-out, and what their answers mean."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Protocol

import numpy as np

from ..errors import InputError
from ..geometry import clip_box, mask_iou
from ..types import BoxLike, Exemplar, Segment, Trial, as_image

_FOLDS = 8  # with more references than this, several are left out at a time


def ids_of(references: Sequence[Exemplar]) -> tuple[int, ...]:
    """The ids that are marked somewhere, in rising order.

    Raises:
        InputError: none are, or a mask has another size than its picture.
    """
    found = set()
    for image, masks in references:
        shape = as_image(image).shape[:2]
        for number, mask in masks.items():
            if mask.dtype != np.bool_ or mask.shape != shape:
                raise InputError(
                    f"expected a bool mask of shape {shape} for id {number}, got {mask.dtype} {mask.shape}"
                )
            if mask.any():
                found.add(number)
    if not found:
        raise InputError("nothing is marked in any reference; mark at least one thing in one picture first")
    return tuple(sorted(found))


def held_out(references: Sequence[Exemplar], most: int = _FOLDS) -> Iterator[tuple[list[Exemplar], list[Exemplar]]]:
    """(left out, the others) so that every reference is left out once, in `most` groups at most; nothing where there is
    only one."""
    folds = min(most, len(references))
    for fold in range(folds if folds > 1 else 0):
        yield list(references[fold::folds]), [r for i, r in enumerate(references) if i % folds != fold]


def trials_of(reference: Exemplar, found: Mapping[int, Segment]) -> Iterator[Trial]:
    """How well a reference that was left out was labelled: a trial for each id that was said to be there."""
    nothing = np.zeros(reference.image.shape[:2], bool)
    for number, segment in found.items():
        marked = reference.masks.get(number, nothing)
        if segment.area:  # an empty answer has a score of another kind
            yield Trial(number, segment.score, mask_iou(marked, segment.mask))


class Memory(Protocol):
    """A tracker that has seen the references: `answer` says what it makes of one more picture, and forgets it."""

    def answer(self, image_bgr: np.ndarray) -> dict[int, Segment]: ...


class Examples:
    """Few-shot by a video tracker: references are the seeded frames of a video whose one next frame is, each time, the
    picture to be labelled. An id that a reference does not show is seeded there as an empty mask: that too is known.

    The protocol is `Learned`.

    Args:
        references: at least one thing marked in them.
        remembering: makes a memory of references and the ids to seed in each.

    Raises:
        InputError: nothing is marked.
    """

    parallel = False

    def __init__(
        self, references: Sequence[Exemplar], remembering: Callable[[Sequence[Exemplar], Sequence[int]], Memory]
    ):
        self.ids = ids_of(references)
        self._remembering, self._lock = remembering, threading.Lock()
        self._memory = remembering(references, self.ids)
        self.trials = tuple(self._tried(references))

    def label(self, image_bgr: np.ndarray) -> dict[int, Segment]:
        """See `Learned`."""
        with self._lock:
            return as_labels(self._memory.answer(image_bgr))

    def _tried(self, references: Sequence[Exemplar]) -> Iterator[Trial]:
        for left_out, others in held_out(references):
            memory = self._remembering(others, self.ids)
            for image, masks in left_out:
                yield from trials_of(Exemplar(image, masks), as_labels(memory.answer(image)))


def as_labels(found: Mapping[int, Segment]) -> dict[int, Segment]:
    """A tracker's answers as labels: the score of an empty mask is the confidence that there is nothing."""
    return {
        number: s if s.area else Segment(s.mask, max(0.0, 1.0 - s.score), s.box, s.engine, s.alpha)
        for number, s in sorted(found.items())
    }


def checked_points(
    points: np.ndarray | Sequence[Sequence[float]],
    inside: Sequence[bool] | np.ndarray,
    box: BoxLike | None,
    shape: tuple[int, ...],
) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """What `by_points` was given: points float32 (N, 2), inside bool (N,), box float32 (4,) within the picture or None.

    Args:
        points: (N, 2), (x, y) in pixels.
        inside: N labels, is the point on the thing.
        box: xyxy pixels, clipped to the picture; None = there is none.
        shape: (H, W) of the picture.

    Raises:
        InputError: neither a box nor a point on the thing; a point outside the picture; points and labels that differ
            in number.
    """
    places = np.asarray(points, np.float32).reshape(-1, 2)
    on = np.asarray(inside, bool).reshape(-1)
    if len(places) != len(on):
        raise InputError(f"expected one label for each of {len(places)} points, got {len(on)}")
    if box is None and not on.any():
        raise InputError("expected a box, or a point on the thing")
    for x, y in places:
        if not (0 <= x < shape[1] and 0 <= y < shape[0]):
            raise InputError(f"expected points within the {shape[1]}x{shape[0]} picture, got ({x:g}, {y:g})")
    return places, on, None if box is None else clip_box(box, shape).astype(np.float32)

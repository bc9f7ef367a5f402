"""One picture being marked: the gestures of either hand - window or web page - become marks, masks and a view.

Every gesture is on disk before the view changes. Masks of boxes and points are made once and kept as long as the marks
they come from stand.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..drawing import overlay_labels
from ..engines.protocols import PointSegmenter
from ..errors import InputError
from ..geometry import mask_box
from ..images import read_image, shrink_to
from ..types import BoxLike, Segment
from .job import LabelJob
from .markbook import MarkBook
from .marks import MOST_IDS, Mark, Marks, colour_of_id, no_points, stroked


class Canvas:
    """A picture under the hand.

    Args:
        job: where the marks are kept.
        picture: the picture's path; in correcting, the name of a target of the job.
        correcting: begin with what was proposed for it; `finish` then makes the marks its labels.
    """

    def __init__(self, job: LabelJob, picture: str, correcting: bool = False):
        self.job, self.correcting = job, correcting
        self.marked, self.image = job.to_correct(picture) if correcting else job.open(picture)
        self._asked = _AskedOnce(self)
        self._made: dict[int, tuple[tuple, np.ndarray]] = {}
        self._lock = threading.Lock()
        self._begun = list(self.marked.marks.done)

    @property
    def size(self) -> tuple[int, int]:
        """(W, H) of the picture, in pixels."""
        return self.image.shape[1], self.image.shape[0]

    def add(self, mark: Mark) -> None:
        """A gesture; saved when this returns. One of which no mask can be made is taken back.

        Raises:
            InputError: it lies outside the picture.
            EngineUnavailable: the segmenter takes no boxes or points.
        """

        def add(marks: Marks) -> bool:
            marks.add(mark)
            self._mask(marks, mark.id)
            return True

        self._change(add)

    def undo(self) -> bool:
        """Take the last gesture back; False if there is none. In correcting, what was proposed is no gesture."""
        return self._change(lambda marks: len(marks.done) > self._floor(marks) and marks.undo())

    def _floor(self, marks: Marks) -> int:
        seen: set[int] = set()
        for mark in marks.done if self.correcting else ():
            if mark.tool != "mask" or mark.id in seen:
                break
            seen.add(mark.id)
        return len(seen)

    @property
    def changed(self) -> bool:
        """Do the marks differ from those it was opened with?"""
        return self.marked.marks.done != self._begun

    def redo(self) -> bool:
        """Do again what was undone last; False if there is nothing."""
        return self._change(Marks.redo)

    def clear(self, number: int) -> None:
        """Say that nothing of an id is here: an empty mask over all its marks, which undo takes back."""
        self.add(Mark.of_mask(number, np.zeros(self.image.shape[:2], bool)))

    def _change(self, do: Callable[[Marks], bool]) -> bool:
        done = []

        def change(marks: Marks) -> bool:
            done.append(do(marks))
            return done[0]

        with self._lock:
            self.marked = self._book.change(self.marked, change)
        return done[0]

    @property
    def _book(self) -> MarkBook:
        return self.job.drafts if self.correcting else self.job.book

    def finish(self) -> dict:
        """In correcting: the marks are the target's labels from now on; its new record. Otherwise an empty dict."""
        with self._lock:
            return self.job.correct(self.marked, self.image) if self.correcting else {}

    def masks(self) -> dict[int, np.ndarray]:
        """id -> bool (H, W) of everything that is marked."""
        with self._lock:
            return {number: self._mask(self.marked.marks, number) for number in self.marked.marks.ids}

    def _mask(self, marks: Marks, number: int) -> np.ndarray:
        own = tuple(mark for mark in marks.done if mark.id == number)
        known, mask = self._made.get(number, ((), None))
        if known == own and mask is not None:
            return mask
        if mask is not None and own[:-1] == known and own[-1].tool in ("brush", "eraser"):
            mask = stroked(mask, own[-1])
        else:
            mask = marks.mask(number, self.image, self._asked, self._asked)
        self._made[number] = (own, mask)
        return mask

    def view(self, longest: int = 1600) -> np.ndarray:
        """The picture with its masks, at most `longest` pixels long: uint8 (h, w, 3), BGR."""
        small, factor = shrink_to(self.image, longest)
        things = []
        for number, mask in self.masks().items():
            if factor < 1:
                mask = shrink_to(mask.astype(np.uint8) * 255, longest)[0] > 0  # a thin stroke is to be seen
            box = mask_box(mask)
            if box is not None:
                segment = Segment(mask, 1.0, box, "marks")
                things.append((segment, "", colour_of_id(number)))
        return overlay_labels(small, things, boxes=False)

    def prompts(self) -> list[Mark]:
        """Boxes and points as they stand, to be drawn over the view."""
        return [mark for mark in self.marked.marks.done if mark.tool in ("box", "point")]


class _AskedOnce:
    """The job's segmenter for one picture, which is encoded when it is first asked about, and asked nothing twice.

    The protocol is `PointSegmenter`; the segmenter itself is made when it is first needed.
    """

    def __init__(self, canvas: Canvas):
        self._canvas = canvas
        self._encoded: Any = None
        self._answers: dict[tuple, Segment] = {}

    @property
    def id(self) -> str:
        return self._canvas.job.segmenter.id

    def encode(self, image_bgr: np.ndarray) -> Any:
        if self._encoded is None:
            segmenter = self._canvas.job.segmenter
            if not isinstance(segmenter, PointSegmenter):
                raise no_points(segmenter.id)
            self._encoded = segmenter.encode(image_bgr)
        return self._encoded

    def by_points(
        self,
        encoded: Any,
        points: np.ndarray | Sequence[Sequence[float]],
        inside: Sequence[bool],
        box: BoxLike | None = None,
    ) -> Segment:
        box_key = None if box is None else tuple(np.ravel(box).tolist())
        prompt = (tuple(np.ravel(points).tolist()), tuple(inside), box_key)
        if prompt not in self._answers:
            state = self.encode(self._canvas.image)
            self._answers[prompt] = self._canvas.job.segmenter.by_points(state, points, inside, box)
        return self._answers[prompt]


def read_mask(path: str, shape: tuple[int, int]) -> np.ndarray:
    """A mask file (brighter than half is the thing; of 0 and 1, 1) as bool (H, W).

    Raises:
        ImageError: it cannot be read.
        InputError: it has another size than the picture.
    """
    values = read_image(path)
    if values.shape[:2] != tuple(shape):
        size, wanted = values.shape[1::-1], tuple(shape)[::-1]
        raise InputError(
            f"{path} is {size[0]}x{size[1]}; expected a mask of the picture's size, {wanted[0]}x{wanted[1]}"
        )
    bright = values.max(axis=2)
    if 0 < bright.max() <= 127:  # not black and white: a picture of labels, whose few values are ids
        if len(np.unique(bright)) > MOST_IDS + 1:
            raise InputError(f"{path} is dark all over; expected a mask that is black and white, or 0 and 1")
        return bright > 0
    return bright > 127

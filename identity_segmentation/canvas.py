"""One picture being marked: the gestures of either hand - window or web page - become marks, masks and a view.

Every gesture is on disk before the view changes. Masks of boxes and points are made once and kept as long as the marks
they come from stand.
"""

from __future__ import annotations

import threading

import numpy as np

from .drawing import overlay_labels
from .errors import InputError
from .geometry import mask_box
from .images import read_image, shrink_to
from .labeling import LabelJob
from .marks import Mark, colour_of_id
from .types import Segment


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
        self._encoded = None
        self._made: dict[int, tuple[tuple, np.ndarray]] = {}
        self._lock = threading.Lock()

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
        with self._lock:
            undone = list(self.marked.marks.undone)
            self.marked.marks.add(mark)
            try:
                self._mask(mark.id)
            except Exception:
                self.marked.marks.undo()
                self.marked.marks.undone[:] = undone
                raise
            self._save()

    def undo(self) -> bool:
        """Take the last gesture back; False if there is none."""
        with self._lock:
            return self.marked.marks.undo() and self._save()

    def redo(self) -> bool:
        """Do again what was undone last; False if there is nothing."""
        with self._lock:
            return self.marked.marks.redo() and self._save()

    def clear(self, number: int) -> None:
        """Say that nothing of an id is here: an empty mask over all its marks, which undo takes back."""
        self.add(Mark.of_mask(number, np.zeros(self.image.shape[:2], bool)))

    def _save(self) -> bool:
        self.job.book.save(self.marked)
        return True

    def finish(self) -> dict | None:
        """In correcting: the marks are the target's labels from now on; its new record."""
        with self._lock:
            return self.job.correct(self.marked, self.image) if self.correcting else None

    def masks(self) -> dict[int, np.ndarray]:
        """id -> bool (H, W) of everything that is marked."""
        with self._lock:
            return {number: self._mask(number) for number in self.marked.marks.ids}

    def _mask(self, number: int) -> np.ndarray:
        marks = self.marked.marks
        own = tuple(mark for mark in marks.done if mark.id == number)
        if number in self._made and self._made[number][0] == own:
            return self._made[number][1]
        if self._encoded is None and any(mark.tool in ("box", "point") for mark in own):
            self._encoded = self.job.segmenter.encode(self.image)
        segmenter = self.job.segmenter if self._encoded is not None else None
        mask = marks.mask(number, self.image, segmenter, self._encoded)
        self._made[number] = (own, mask)
        return mask

    def view(self, longest: int = 1600) -> np.ndarray:
        """The picture with its masks, at most `longest` pixels long: uint8 (h, w, 3), BGR."""
        small, factor = shrink_to(self.image, longest)
        things = []
        for number, mask in self.masks().items():
            if factor < 1:
                mask = shrink_to(mask.astype(np.uint8) * 255, longest)[0] > 127
            box = mask_box(mask)
            if box is not None:
                segment = Segment(mask, 1.0, box, "marks")
                things.append((segment, "", colour_of_id(number)))
        return overlay_labels(small, things, boxes=False)

    def prompts(self) -> list[Mark]:
        """Boxes and points as they stand, to be drawn over the view."""
        return [mark for mark in self.marked.marks.done if mark.tool in ("box", "point")]


def read_mask(path: str, shape: tuple[int, int]) -> np.ndarray:
    """A mask file (brighter than half is the thing) as bool (H, W).

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
    return values.max(axis=2) > 127

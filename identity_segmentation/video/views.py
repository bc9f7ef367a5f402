"""A frame and its people's mattes -> the picture that is handed over. (Notebook section 7.)"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import cv2
import numpy as np

from .. import drawing
from ..geometry import mask_box, whole_box
from ..images import mixed
from ..types import Face, Match, Segment, Sighting
from .crops import CropPath
from .mattes import Placed
from .naming import TrackName
from .scene import HeadHere

VIEWS = ("annotated", "overlay", "cutout", "matte", "blur-others", "blur", "anonymise", "crop")
PER_PERSON = ("annotated", "overlay", "cutout", "matte")  # views that may be made for each person alone


class Views:
    """Draws the pictures of one view; those that cover people are drawn by `covering.Covering`.

    Args:
        view: one of `VIEWS`.
        names: who each track is.
        colour_of: a display name -> (b, g, r).
        segmenter: the id of what drew the mattes.
        background: (b, g, r) behind a cutout; None = it is transparent.
        crop: the window of the view "crop".
    """

    def __init__(
        self, view: str, names: Mapping[int, TrackName], colour_of: Callable[[str], tuple[int, int, int]],
        segmenter: str,
        background: tuple[int, int, int] | None = None, crop: CropPath | None = None,
    ):  # fmt: skip
        self.view, self.names, self.colour_of, self.segmenter = view, names, colour_of, segmenter
        self.background, self.crop = background, crop

    def picture(
        self, placed: Placed, mattes: Mapping[Any, np.ndarray], solid: Mapping[Any, np.ndarray], wanted: Sequence[str]
    ) -> np.ndarray:
        """One picture: uint8 (H, W, 3) BGR, (H, W, 4) BGRA with straight alpha, or (H, W) of a matte.

        Args:
            placed: the frame, and who is there.
            mattes: of those who are drawn, uint8 (H, W).
            solid: the same as bool, made once for all who ask.
            wanted: whom the picture is about.
        """
        view, image, heads = self.view, placed.frame.image, placed.heads
        if self.crop is not None:
            return self.crop.cut(image, placed.frame.index)
        if view == "cutout":
            return self._cutout(image, united_matte(mattes, wanted, image.shape))
        if view == "matte":
            return united_matte(mattes, wanted, image.shape)
        shown = {who: head for who, head in heads.items() if head.both or who in mattes}
        sightings = [self._sighting(name, mattes.get(name), solid.get(name), shown.get(name)) for name in wanted]
        sightings = [s for s in sightings if s.segment is not None or s.match is not None]
        if view == "overlay":
            return drawing.overlay(image, sightings, self.colour_of)
        return drawing.annotate(image, sightings, self.colour_of)

    def _sighting(
        self, name: str, matte: np.ndarray | None, mask: np.ndarray | None, head: HeadHere | None
    ) -> Sighting:
        segment = None
        if mask is not None and mask.any():
            segment = Segment(mask, 1.0, whole_box(mask.shape), self.segmenter, matte)
        match = None
        if head is not None:
            track = self.names[head.track]
            match = Match(Face(head.box, 1.0), name, track.similarity, track.margin, track.runner_up, name, "face")
        return Sighting(match, segment, None if head is None else head.track, "tracked")

    def _cutout(self, image: np.ndarray, alpha: np.ndarray) -> np.ndarray:
        height, width = image.shape[:2]
        result = np.zeros((height, width, 4 if self.background is None else 3), np.uint8)
        if self.background is not None:
            # A row at a time: numpy is slow to copy three bytes for each pixel.
            result[:] = np.tile(np.array(self.background, np.uint8), (width, 1))
        box = mask_box(alpha > 0)
        if box is None:
            return result
        x0, y0, x1, y1 = (int(v) for v in box)
        part, mask = alpha[y0:y1, x0:x1], alpha > 127
        person = np.zeros((*part.shape, 4), np.uint8)
        if mask.any():
            segment = Segment(mask, 1.0, whole_box(alpha.shape), "video", alpha)
            person = drawing.cutout(image, segment, crop=True, pad=0)
        person[..., 3] = part  # also of those who are nowhere more than half there
        if self.background is not None:
            person = mixed(result[y0:y1, x0:x1], cv2.cvtColor(person, cv2.COLOR_BGRA2BGR), part)
        result[y0:y1, x0:x1] = person
        return result


def united_matte(mattes: Mapping[Any, np.ndarray], people: Sequence[str], shape: Sequence[int]) -> np.ndarray:
    """uint8 (H, W): the largest of several people's mattes at each pixel.

    Args:
        mattes: who -> uint8 (H, W).
        people: whose.
        shape: of the picture, (H, W, ...).
    """
    alpha = np.zeros(tuple(shape[:2]), np.uint8)
    for name in people:
        if mattes.get(name) is not None:
            np.maximum(alpha, mattes[name], out=alpha)
    return alpha

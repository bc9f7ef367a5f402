"""A frame and its people's mattes -> the picture that is handed over. (Notebook section 7.)"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import cv2
import numpy as np

from .. import drawing
from ..geometry import grown_box, mask_box, plain_box, whole_box
from ..images import blurred, mixed
from ..types import Face, Match, Segment, Sighting
from .analysis import Sample
from .crops import CropPath
from .mattes import Placed
from .naming import TrackName
from .scene import HeadHere, Scene, strangers_at

VIEWS = ("annotated", "overlay", "cutout", "matte", "blur-others", "blur", "crop")
PER_PERSON = ("annotated", "overlay", "cutout", "matte")  # views that may be made for each person alone


class Views:
    """Draws the pictures of one view.

    Args:
        view: one of `VIEWS`.
        scene: who is where.
        names: who each track is.
        samples: index of a frame that was looked at -> what was seen.
        colour_of: a display name -> (b, g, r).
        segmenter: the id of what drew the mattes.
        background: (b, g, r) behind a cutout; None = it is transparent.
        crop: the window of the view "crop".
    """

    def __init__(
        self, view: str, scene: Scene, names: Mapping[int, TrackName], samples: dict[int, Sample],
        colour_of: Callable[[str], tuple[int, int, int]], segmenter: str,
        background: tuple[int, int, int] | None = None, crop: CropPath | None = None,
    ):  # fmt: skip
        self.view, self.scene, self.names, self.samples = view, scene, names, samples
        self.colour_of, self.segmenter, self.background, self.crop = colour_of, segmenter, background, crop

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
        if view in ("blur", "blur-others"):
            return self._covered(placed, mattes, solid, wanted)
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

    # ---- covering

    def _covered(
        self, placed: Placed, mattes: Mapping[Any, np.ndarray], solid: Mapping[Any, np.ndarray], wanted: Sequence[str]
    ) -> np.ndarray:
        def is_wanted(track: int | None) -> bool:
            return track is not None and self.scene.name_of.get(track) in wanted

        strangers, bodies = strangers_at(self.scene, placed.frame.index, self.samples)
        # While two shots are mixed nobody was looked for and mattes stand still: the bodies' boxes are covered too.
        between = self.scene.is_mixed(placed.frame.index)
        hidden = self.view == "blur"
        bare = [b for b, who in bodies if is_wanted(who) == hidden and (between or not self._is_solid(who, solid))]
        heads = [
            head.box
            for who, head in placed.heads.items()
            if head.track not in self.scene.analysis.regions and (who in wanted) == hidden
        ]
        return self._blurred(placed.frame.image, mattes, [*heads, *([] if hidden else strangers)], bare, wanted)

    def _is_solid(self, track: int | None, solid: Mapping[Any, np.ndarray]) -> bool:
        """Has somebody on a track a mask?"""
        name = None if track is None else self.scene.name_of.get(track)
        mask = solid.get(name if name is not None else track)
        return mask is not None and bool(mask.any())

    def _blurred(
        self, image: np.ndarray, mattes: Mapping[Any, np.ndarray], heads: Sequence[np.ndarray],
        bodies: Sequence[np.ndarray], wanted: Sequence[str],
    ) -> np.ndarray:  # fmt: skip
        """Faces must not show through a soft matte: heads are covered whole, whatever the masks say. Of whom no
        more is known, the box of the body is covered, less the pixels of those who are to be seen."""
        hide = np.zeros(image.shape[:2], np.uint8)
        keep = np.zeros(image.shape[:2], np.uint8)
        for who, matte in mattes.items():
            target = hide if (who in wanted) == (self.view == "blur") else keep
            np.maximum(target, matte, out=target)
        for box in bodies:
            x0, y0, x1, y1 = (round(float(v)) for v in box)
            cv2.rectangle(hide, (x0, y0), (x1, y1), 255, -1)
        hide *= keep <= 127
        for box in heads:
            x, y, w, h = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2, box[2] - box[0], box[3] - box[1]
            cv2.ellipse(hide, (int(x), int(y)), (max(1, int(0.75 * w)), max(1, int(0.85 * h))), 0, 0, 360, 255, -1)
        found = mask_box(hide > 0)
        if found is None:
            return image
        # The cover grows by 4 pixels and softens over 3 more; within 3 of the part's edge it is nothing, so that what
        # lies beyond the edge makes no difference.
        x0, y0, x1, y1 = grown_box(plain_box(found), 10, hide.shape)
        share = cv2.GaussianBlur(cv2.dilate(hide[y0:y1, x0:x1], np.ones((9, 9), np.uint8)), (7, 7), 0)
        result = image.copy()
        result[y0:y1, x0:x1] = mixed(image[y0:y1, x0:x1], blurred(image, 24, (x0, y0, x1, y1)), share)
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

"""A steady crop that follows one person. (Notebook section 7.)"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from scipy.ndimage import gaussian_filter1d

from ..errors import InputError
from .analysis import Analysis
from .naming import TrackName


@dataclass(frozen=True)
class CropPath:
    """A fixed-size window that follows a person.

    Attributes:
        size: (width, height) in stored pixels.
        centres: of the window for every frame, float32 (frames, 2).
    """

    size: tuple[int, int]
    centres: np.ndarray

    def cut(self, image: np.ndarray, index: int) -> np.ndarray:
        """The window's picture."""
        width, height = self.size
        x, y = self.centres[min(index, len(self.centres) - 1)]
        forward = np.array([[1, 0, width / 2 - x], [0, 1, height / 2 - y]], np.float32)
        return cv2.warpAffine(image, forward, (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


def crop_path(
    analysis: Analysis, names: dict[int, TrackName], wanted: Sequence[str], aspect: tuple[int, int],
    pixel_aspect: float = 1.0,
) -> CropPath:  # fmt: skip
    """Follow one person: body-sized window, path smoothed over about a second, steady in every shot.

    Args:
        analysis: who is where and when.
        names: who each track is.
        wanted: the one person's display name.
        aspect: (width, height) of the window as it is seen.
        pixel_aspect: width of a stored pixel through its height.

    Raises:
        InputError: more people than one, or nobody is seen.
    """
    if len(wanted) != 1:
        raise InputError(f"the crop view follows one person; got {len(wanted)}")
    width, height = analysis.header["width"], analysis.header["height"]
    points = []
    for sample in analysis.samples:
        for point in sample.tracks:
            found, box = names.get(point.track), point.box
            if found is not None and found.name == wanted[0]:
                if point.evidence == "region":  # as if it were a person standing in it
                    x, head = (box[0] + box[2]) / 2, (box[3] - box[1]) / 7
                    box = (x - head / 2, box[1], x + head / 2, box[1] + head)
                points.append((sample.index, (box[0] + box[2]) / 2, (box[1] + box[3]) / 2, box[2] - box[0], sample.cut))
                break
    if not points:
        raise InputError(f"{wanted[0]} is not seen in this video, so there is nobody to follow")
    table = np.array(points, np.float64)
    side = float(np.median(table[:, 3]))
    across = aspect[0] / aspect[1] / pixel_aspect  # stored pixels of width to one of height
    tall = min(height, 9.0 * side * pixel_aspect, width / across)
    tall = max(tall, min(height, 64))
    size = (max(2, int(tall * across) // 2 * 2), max(2, int(tall) // 2 * 2))
    count = max(analysis.frames, 1)
    sigma = max(1.0, 0.5 * float(analysis.fps))
    cuts = [s.index for s in analysis.samples if s.cut]
    centres = np.empty((count, 2), np.float32)
    for start, stop in zip([0, *cuts], [*cuts, count], strict=True):
        shot = table[(table[:, 0] >= start) & (table[:, 0] < stop)]
        if not len(shot):  # not in this shot: stay where they were last, or will be first
            before = table[table[:, 0] < start]
            shot = before[-1:] if len(before) else table[:1]
        frames = np.arange(start, stop)
        # The head in the upper third.
        for column, values in enumerate((shot[:, 1], shot[:, 2] + 0.28 * tall)):
            path = np.interp(frames, shot[:, 0], values)
            centres[start:stop, column] = gaussian_filter1d(path, sigma, mode="nearest")
    centres[:, 0] = centres[:, 0].clip(size[0] / 2, width - size[0] / 2)
    centres[:, 1] = centres[:, 1].clip(size[1] / 2, height - size[1] / 2)
    return CropPath(size, centres)

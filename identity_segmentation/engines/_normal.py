"""What is normal: a memory of the texture of what was not marked, and how far a picture's texture is from all of it.

A kind of defect that no reference shows is still unlike everything normal. Memory and distance are those of PatchCore
(Roth et al., "Towards Total Recall in Industrial Anomaly Detection", CVPR 2022): features of a pretrained net, each
averaged with its neighbours; a coreset of those of normal cells, chosen so that no cell is far from it; the distance of
a cell is that to what is nearest in memory.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from ._texture import Cells, Scale

_MEMORY, _POOL = 400, 4000  # cells that are kept, and those that they are chosen from
_NEAREST = 3  # cells of the memory whose distance is averaged
_FREE = 0.02  # share of a cell that may be marked: more, and it is not normal


class NormalTexture:
    """A memory of normal cells.

    Args:
        cells: `Textures.of` of all references.
    """

    def __init__(self, cells: Sequence[Cells]):
        from threadpoolctl import threadpool_limits

        normal = np.concatenate([one.soft[one.share <= _FREE] for one in cells])
        self._memory: np.ndarray | None = None
        if len(normal) < _NEAREST:
            return
        rng = np.random.default_rng(0)
        pool = normal[np.sort(rng.choice(len(normal), min(len(normal), _POOL), replace=False))]
        self._scaled = Scale(pool)
        with threadpool_limits(1):  # the same memory on any number of cores
            self._memory = coreset(self._scaled(pool), _MEMORY)
        self._lengths = (self._memory**2).sum(1)

    def unusual(self, looks: np.ndarray, size: tuple[int, int]) -> np.ndarray:
        """How unusual each pixel's surroundings are: float32 (H, W), the logarithm of their distance from all that is
        normal over that of half of the picture, so that a picture that is unusual as a whole is not unusual
        everywhere; 0 without a memory.

        Args:
            looks: (h, w, C), averaged with their neighbours.
            size: (width, height) of the answer.
        """
        if self._memory is None:
            return np.zeros(size[::-1], np.float32)
        scaled = self._scaled(looks.reshape(-1, looks.shape[2]))
        squares = (scaled**2).sum(1)[:, None] + self._lengths - 2 * (scaled @ self._memory.T)
        nearest = np.partition(squares, _NEAREST - 1, axis=1)[:, :_NEAREST]
        far = np.log(np.sqrt(np.maximum(nearest, 1e-2)).mean(1))
        # Rounded, so that the last bit of a sum, which depends on the library's mood, decides nothing.
        found = (np.round((far - np.median(far)) * 128) / 128).astype(np.float32).reshape(looks.shape[:2])
        return cv2.resize(found, size, interpolation=cv2.INTER_CUBIC)


def coreset(cells: np.ndarray, most: int) -> np.ndarray:
    """Of cells (N, C) those from which the others are nearest: the farthest from all so far, again and again (Gonzalez,
    Theoretical Computer Science 1985)."""
    if len(cells) <= most:
        return cells
    lengths = (cells**2).sum(1)
    chosen, far = [0], np.full(len(cells), np.inf, np.float32)
    for _ in range(most - 1):
        far = np.minimum(far, lengths + lengths[chosen[-1]] - 2 * (cells @ cells[chosen[-1]]))
        chosen.append(int(far.argmax()))
    return cells[chosen]

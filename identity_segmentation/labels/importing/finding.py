"""A name in somebody's labels -> the picture of a folder that it means, and how it lies in its file.

Names are compared, never opened: one that leads out of the folder leads nowhere. They are compared composed, as systems
differ in how they write letters with marks.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

import numpy as np

from ...errors import InputError
from ..targets import Target


class Pictures:
    """The pictures of some folders, by their names.

    Args:
        targets: with their names below the folders.
    """

    def __init__(self, targets: Iterable[Target]):
        self._by_name: dict[str, list[tuple[tuple[str, ...], Path]]] = {}
        self._by_stem: dict[str, list[tuple[tuple[str, ...], Path]]] = {}
        self.count = 0
        for target in targets:
            parts = _parts(target.path.as_posix())
            self._by_name.setdefault(parts[-1], []).append((parts, target.path))
            self._by_stem.setdefault(PurePosixPath(parts[-1]).stem, []).append((parts, target.path))
            self.count += 1

    def find(self, name: str, suffix: bool = True) -> Path | None:
        """The picture that a name means, whatever folder it is in; None where there is none.

        Of several with the same name it is the one whose folders, from the last on, agree the furthest.

        Args:
            name: as the labels have it.
            suffix: has it one?

        Raises:
            InputError: it leads out of the folder, or could mean several.
        """
        parts = _parts(name)
        if ".." in parts or not parts:
            raise InputError(f"{name!r} leads out of the folder of pictures; expected a file's name, or one below it")
        last = parts[-1] if suffix else f"{parts[-1]}."
        candidates = self._by_name.get(parts[-1], []) if suffix else self._by_stem.get(last[:-1], [])
        if len(candidates) <= 1:
            return candidates[0][1] if candidates else None
        agreed = [(_agreed(parts[:-1], folders[:-1]), path) for folders, path in candidates]
        most = max(count for count, _ in agreed)
        best = [path for count, path in agreed if count == most]
        exact = [path for path in best if unicodedata.normalize("NFC", path.name) == unicodedata.normalize("NFC", name)]
        best = exact if len(best) > 1 and exact else best  # a.png beside A.png
        if len(best) > 1 and most == len(parts) - 1:  # a name without folders: the one nearest the top
            depth = min(len(path.parts) for path in best)
            best = [path for path in best if len(path.parts) == depth]
        if len(best) > 1:
            raise InputError(
                f"{name!r} could be {len(best)} pictures: {', '.join(str(p) for p in sorted(best)[:3])}; give one "
                "folder of pictures at a time"
            )
        return best[0]


def _parts(name: str) -> tuple[str, ...]:
    text = unicodedata.normalize("NFC", name.replace("\\", "/")).casefold()
    return tuple(part for part in text.split("/") if part not in ("", "."))


def _agreed(wanted: tuple[str, ...], there: tuple[str, ...]) -> int:
    """How many folders are the same, from the last on."""
    count = 0
    for one, other in zip(reversed(wanted), reversed(there), strict=False):
        if one != other:
            break
        count += 1
    return count


def turned_mask(mask: np.ndarray, orientation: int) -> np.ndarray:
    """A mask of a file's pixels as they lie, turned as the picture is meant to be seen.

    Args:
        mask: bool (H, W).
        orientation: EXIF's, 5..8: those that turn width into height.
    """
    if orientation in (6, 8):
        return np.ascontiguousarray(np.rot90(mask, -1 if orientation == 6 else 1))
    return np.ascontiguousarray(mask.T if orientation == 5 else np.rot90(mask, 2).T)


def turned_box(
    box: tuple[float, float, float, float], orientation: int, size: tuple[int, int]
) -> tuple[float, float, float, float]:
    """A box of a file's pixels as they lie, turned as the picture is meant to be seen.

    Args:
        box: xyxy pixels.
        orientation: EXIF's, 5..8.
        size: (W, H) of the pixels as they lie.
    """
    width, height = size
    x0, y0, x1, y1 = box
    left, right = (y0, y1) if orientation in (5, 8) else (height - y1, height - y0)
    top, bottom = (x0, x1) if orientation in (5, 6) else (width - x1, width - x0)
    return left, top, right, bottom

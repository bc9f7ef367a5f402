"""COCO's instances: polygons, run lengths (as text or as numbers), crowds, and objects that are a box alone.

(https://cocodataset.org/#format-data) Polygons are drawn by COCO's own library. A box is [x, y, width, height].
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import InputError
from ...files import read_bytes
from . import Drawn, LabelledFile, LabelSet, class_name

_KEYS = ("images", "annotations", "categories")


class _Fault(ValueError):
    """What is wrong with one object; the text is for the person."""


def read(path: Path) -> LabelSet:
    """A COCO file, or the folder of one.

    Args:
        path: the file, or a folder with one .json in it.

    Raises:
        InputError: it is broken, or holds something else.
    """
    file = path
    if path.is_dir():
        found = sorted(path.glob("[!.]*.json"))
        if len(found) != 1:
            raise InputError(f"{path} holds {len(found)} .json files; expected one, or name the file itself")
        file = found[0]
    content = _content(file)
    found_set = LabelSet("coco", {})
    names = _classes(content["categories"], found_set)
    entries = _images(content["images"], found_set)
    by_image: dict[Any, list[Mapping]] = {key: [] for key in entries}
    for place, annotation in enumerate(content["annotations"], 1):
        fault = _misplaced(annotation, place, by_image, names)
        if fault:
            found_set.faults.append(fault)
        elif names[annotation["category_id"]]:
            by_image[annotation["image_id"]].append(annotation)
    for key, (file_name, size) in entries.items():
        used = frozenset(names[annotation["category_id"]] for annotation in by_image[key])
        draw = partial(_draw, file_name, by_image[key], names)
        found_set.pictures.append(LabelledFile(file_name, size, used, draw))
    return found_set


def _content(file: Path) -> dict:
    data = read_bytes(file, InputError, "COCO")
    try:
        content = json.loads(data.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise InputError(
            f"{file} is no JSON that can be read ({error}); expected a COCO file. If it was cut off, export it again"
        ) from error
    if isinstance(content, list):
        raise InputError(f"{file} is a list, such as COCO's results; expected an object with {', '.join(_KEYS)}")
    missing = [key for key in _KEYS if not isinstance(content, dict) or not isinstance(content.get(key), list)]
    if missing:
        raise InputError(
            f"{file} has no list of {' and of '.join(missing)}; expected COCO's {', '.join(_KEYS)}. Export it as "
            "COCO instances"
        )
    return content


def _hashable(value: object) -> bool:
    return isinstance(value, int | str) and not isinstance(value, bool)


def _classes(categories: list, found: LabelSet) -> dict[Any, str]:
    """Id -> name; "" for one without a name."""
    names: dict[Any, str] = {}
    for place, category in enumerate(categories, 1):
        key = category.get("id") if isinstance(category, Mapping) else None
        if not _hashable(key):
            found.faults.append(f"category {place} has no id; expected a number")
            continue
        names[key] = class_name(category.get("name"))
        if not names[key]:
            found.faults.append(f"category {key} has no name; give it one in the file's categories")
        else:
            found.classes.setdefault(names[key], key if isinstance(key, int) else place)
    return names


def _images(images: list, found: LabelSet) -> dict[Any, tuple[str, tuple[int, int] | None]]:
    entries: dict[Any, tuple[str, tuple[int, int] | None]] = {}
    for place, entry in enumerate(images, 1):
        key = entry.get("id") if isinstance(entry, Mapping) else None
        name = entry.get("file_name") if isinstance(entry, Mapping) else None
        if not _hashable(key) or not isinstance(name, str) or not name:
            found.faults.append(f"image {place} has no id or no file_name; expected both")
        elif key in entries:
            found.faults.append(f"two images have the id {key}: {entries[key][0]} and {name}; expected one")
        else:
            width, height = entry.get("width"), entry.get("height")
            known = all(isinstance(v, int) and v > 0 for v in (width, height))
            entries[key] = name, (width, height) if known else None
    return entries


def _misplaced(annotation: Any, place: int, by_image: Mapping, names: Mapping) -> str:
    """What keeps an annotation from being anybody's, or ""."""
    if not isinstance(annotation, Mapping):
        return f"annotation {place} is {str(annotation)[:40]!r}; expected an object"
    image, category = annotation.get("image_id"), annotation.get("category_id")
    if not _hashable(image) or image not in by_image:
        return f"{_called(annotation)} is of image {image!r}, which is not among the file's images"
    if not _hashable(category) or category not in names:
        return f"{_called(annotation)} is of category {category!r}, which is not among the file's categories"
    return ""


def _called(annotation: Mapping) -> str:
    return f"annotation {annotation.get('id')}"


def _draw(file_name: str, annotations: list[Mapping], names: Mapping[Any, str], size: tuple[int, int]) -> Drawn:
    found = Drawn()
    for annotation in annotations:
        name = names[annotation["category_id"]]
        try:
            mask = _mask(annotation, size)
            if mask is None:
                found.boxes.append((name, _box(annotation.get("bbox"))))
            else:
                found.add(name, mask)
                found.crowds += annotation.get("iscrowd") == 1
        except _Fault as fault:
            found.faults.append(f"{_called(annotation)} of {file_name}: {fault}")
    return found


def _mask(annotation: Mapping, size: tuple[int, int]) -> np.ndarray | None:
    """An annotation's mask, bool (H, W); None where it is a box alone."""
    shape = annotation.get("segmentation")
    if isinstance(shape, Mapping):
        return run_lengths_drawn(shape, size)
    if not shape and shape is not False:
        return None
    if not isinstance(shape, list) or not all(isinstance(ring, list) for ring in shape):
        raise _Fault("its segmentation is neither a list of polygons nor run lengths")
    from pycocotools import mask as coco

    width, height = size
    rings = [_ring(ring, size) for ring in shape]
    return coco.decode(coco.merge(coco.frPyObjects(rings, height, width))).astype(bool)


def _ring(ring: list, size: tuple[int, int]) -> list[float]:
    if not all(isinstance(v, int | float) and not isinstance(v, bool) and abs(v) < 1e9 for v in ring) or len(ring) % 2:
        raise _Fault("a polygon is not x and y in turn; expected numbers: [x1, y1, x2, y2, x3, y3, ...]")
    if len(ring) < 6:
        points = "1 point" if len(ring) == 2 else f"{len(ring) // 2} points"
        raise _Fault(f"a polygon has {points}; expected 3 or more. Delete it, or give it an area, where it was made")
    points_ = np.array(ring, float).reshape(-1, 2)
    if (points_.max(axis=0) <= 0).any() or (points_.min(axis=0) >= size).any():
        raise _Fault(f"a polygon lies outside the {size[0]}x{size[1]} picture; was it made on another size?")
    return np.clip(points_, 0, size).ravel().tolist()


def _box(box: Any) -> tuple[float, float, float, float]:
    if not isinstance(box, list) or len(box) != 4 or not all(isinstance(v, int | float) for v in box):
        raise _Fault("it has neither a segmentation nor a box; expected one: bbox [x, y, width, height]")
    x, y, width, height = (float(v) for v in box)
    return x, y, x + width, y + height


def run_lengths_drawn(code: Mapping, size: tuple[int, int]) -> np.ndarray:
    """COCO's run lengths, numbers or text, as a bool (H, W) mask. They are checked before anything is drawn.

    Args:
        code: "size" [H, W] and "counts".
        size: (W, H) that the picture has.
    """
    width, height = size
    if list(code.get("size") or ()) != [height, width]:
        raise _Fault(f"its run lengths are of size {code.get('size')}; expected [height, width] {[height, width]}")
    counts = code.get("counts")
    lengths = _unpacked(counts) if isinstance(counts, str) else counts
    if not isinstance(lengths, list) or not all(isinstance(v, int) and v >= 0 for v in lengths):
        raise _Fault("its run lengths are no counts; expected numbers of 0 or more, or COCO's text")
    if sum(lengths) != width * height:
        raise _Fault(f"its run lengths are of {sum(lengths)} pixels; expected {width * height}, the whole picture")
    values = np.arange(len(lengths)) % 2 == 1
    return np.ascontiguousarray(np.repeat(values, lengths).reshape(width, height).T)


def _unpacked(text: str) -> list[int]:
    """COCO's text as lengths: five bits a letter from "0" on, the sixth says that more follow; from the third length
    on it is the difference from the one before the last (pycocotools, rleFrString)."""
    lengths: list[int] = []
    value = shift = 0
    for letter in text.encode("utf-8", "replace"):
        bits = letter - 48
        if not 0 <= bits < 64 or shift > 30:
            return [-1]
        value |= (bits & 0x1F) << shift
        shift += 5
        if not bits & 0x20:
            value -= (1 << shift) if bits & 0x10 else 0
            lengths.append(value + (lengths[-2] if len(lengths) > 2 else 0))
            value = shift = 0
    return lengths if not shift else [-1]

"""YOLO's labels: a .txt per picture, one object a line; names in data.yaml, classes.txt or obj.names.

(https://docs.ultralytics.com/datasets/segment and /detect) ``class x y width height`` is a box, ``class x1 y1 x2 y2 x3
y3 ...`` a polygon, in fractions of the picture. Polygons are drawn as Ultralytics draws them: points cut to whole
pixels, filled with the outline.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from ...errors import InputError
from ...files import read_bytes, shown_path
from . import Drawn, LabelledFile, LabelSet, class_name

_NAME_FILES = ("data.yaml", "data.yml", "dataset.yaml", "classes.txt", "obj.names")
_NO_LABELS = re.compile(r"(classes|train|val|valid|test|readme.*|.*\.readme|requirements)\.txt", re.IGNORECASE)
_SLACK = 0.01  # of the picture, by which writers that round leave it


def read(path: Path) -> LabelSet:
    """A YOLO folder.

    Args:
        path: the folder; or its file of names, in whose folder the labels are.

    Raises:
        InputError: there are no names, or no labels.
    """
    folder = path if path.is_dir() else path.parent
    named = path if path.is_file() else next((f for n in _NAME_FILES if (f := folder / n).is_file()), None)
    if named is None:
        raise InputError(f"{folder} does not say what its classes are called; expected data.yaml or classes.txt in it")
    names = _names(named)
    found = LabelSet("yolo", {})
    for number, name in sorted(names.items()):
        if name:
            found.classes.setdefault(name, number + 1)
        else:
            found.faults.append(f"class {number} has no name in {named.name}; give it one")
    files = _label_files(folder)
    if not files:
        raise InputError(f"{folder} holds no labels; expected a .txt per picture, in a folder called labels")
    for file, within in files:
        lines = _lines(file, names, found)
        used = frozenset(name for name, _ in lines)
        found.pictures.append(LabelledFile(within, None, used, partial(_draw, lines), suffix=False))
    return found


def _label_files(folder: Path) -> list[tuple[Path, str]]:
    """(file, the picture's name without suffix) of each: below folders called labels, or everywhere else."""
    every = [f for f in sorted(folder.rglob("*.txt")) if f.is_file() and not f.name.startswith(".")]
    every = [f for f in every if not _NO_LABELS.fullmatch(f.name)]
    below = [f for f in every if "labels" in f.relative_to(folder).parts[:-1] or folder.name == "labels"]
    found = []
    for file in below or every:
        parts = ["images" if part == "labels" else part for part in file.relative_to(folder).with_suffix("").parts[:-1]]
        found.append((file, shown_path(Path(*parts, file.stem))))
    return found


# ---- names


def _names(file: Path) -> dict[int, str]:
    """Number of a class -> its name; "" for one without."""
    text = read_bytes(file, InputError, "YOLO").decode("utf-8-sig", "replace")
    if file.suffix.lower() not in (".yaml", ".yml"):
        return {number: class_name(line) for number, line in enumerate(text.rstrip().split("\n"))}
    content = _yaml(file, text)
    if isinstance(content, Mapping) and "kpt_shape" in content:
        raise InputError(f"{file} is of poses, which are no masks; expected labels of boxes or polygons")
    names = content.get("names") if isinstance(content, Mapping) else None
    if isinstance(names, list):
        names = dict(enumerate(names))
    numbers = isinstance(names, Mapping) and all(isinstance(key, int) and key >= 0 for key in names)
    if not names or not isinstance(names, Mapping) or not numbers:
        raise InputError(f"{file} has no names; expected names: with one for each class, from 0 on")
    return {number: class_name(name) for number, name in names.items()}


def _yaml(file: Path, text: str) -> Any:
    try:
        import yaml  # type: ignore[import-untyped]
    except ImportError:
        return {"names": _plain_names(file, text)}
    try:
        return yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise InputError(f"{file} is no YAML that can be read ({str(error).splitlines()[0]})") from error


def _plain_names(file: Path, text: str) -> dict[int, str]:
    """The names of a data.yaml with a line for each - ``0: crack`` or ``- crack`` - where no reader of YAML is
    installed."""
    block = re.search(r"^names:[ \t]*\n((?:[ \t]*(?:\d+[ \t]*:|-)[ \t]*\S.*\n?)+)", text, re.MULTILINE)
    if block is None:
        raise InputError(f"{file}: to read it: pip install pyyaml; or write the names to classes.txt, one a line")
    found: dict[int, str] = {}
    for line in block[1].splitlines():
        number, name = re.fullmatch(r"\s*(?:(\d+)\s*:|-)\s*(.*?)\s*", line).groups()  # type: ignore[union-attr]
        if name.startswith('"'):
            name = json.loads(name)
        found[int(number) if number else len(found)] = name.strip("'")
    return found


# ---- objects


def _lines(file: Path, names: Mapping[int, str], found: LabelSet) -> list[tuple[str, np.ndarray]]:
    """(class, numbers) of each line that can be used; faults of the others go to the set."""
    text = read_bytes(file, InputError, "YOLO").decode("utf-8-sig", "replace")
    lines = []
    for place, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        kind, fault = None, ""
        try:
            kind, *rest = (float(word) for word in line.split())
            values = np.array(rest)
            fault = _fault(kind, values, names)
        except ValueError:
            fault = "expected numbers alone: class x y width height, or class x1 y1 x2 y2 x3 y3 ..."
        if fault:
            found.faults.append(f"{file.name}, line {place}: {fault}")
        elif kind is not None and names[int(kind)]:
            lines.append((names[int(kind)], values))
    return lines


def _fault(kind: float, values: np.ndarray, names: Mapping[int, str]) -> str:
    if kind not in names:
        return f"class {kind:g} is out of range; expected one of {_range(names)}, as the file of names lists them"
    if len(values) < 4 or (len(values) > 5 and len(values) % 2):
        return f"{len(values)} numbers after the class; expected 4 for a box, or x and y of 3 points or more"
    if not (np.isfinite(values).all() and values.min() >= -_SLACK and values.max() <= 1 + _SLACK):
        return f"{values.max():g} is no fraction of the picture; expected 0 to 1. Divide pixels by width and height"
    return ""


def _range(names: Mapping[int, str]) -> str:
    numbers = sorted(names)
    whole = numbers == list(range(len(numbers)))
    return f"0 to {numbers[-1]}" if whole else ", ".join(map(str, numbers))


def _draw(lines: list[tuple[str, np.ndarray]], size: tuple[int, int]) -> Drawn:
    found = Drawn()
    for name, values in lines:
        if len(values) <= 5:  # the fifth of a box is its score
            centre, half = values[:2] * size, values[2:4] * size / 2
            x0, y0, x1, y1 = (float(v) for v in (*(centre - half), *(centre + half)))
            found.boxes.append((name, (x0, y0, x1, y1)))
            continue
        points = np.clip(values.reshape(-1, 2), 0, 1) * size
        mask = np.zeros(size[::-1], np.uint8)
        cv2.fillPoly(mask, [np.floor(points + 1e-4).astype(np.int32)], 1)
        found.add(name, mask > 0)
    return found

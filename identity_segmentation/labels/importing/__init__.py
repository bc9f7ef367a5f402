"""Labels that other tools made -> what they say of each picture: one module per format, one line in the registry.

A format's `read` looks through all of a set of labels before anything is done with it. Masks are drawn when they are
asked for, one picture at a time. What is wrong with one object or picture is a fault, a sentence; what is wrong with
the whole is an `InputError`.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path

import numpy as np

from ...errors import InputError

# name -> (module, what its labels look like)
KINDS = {
    "coco": ("coco", "a COCO file (.json with images, annotations and categories)"),
    "yolo": ("yolo", "a YOLO folder (data.yaml or classes.txt, and a .txt per picture)"),
    "voc": ("voc", "a Pascal VOC folder (Annotations/*.xml, SegmentationClass/*.png)"),
}


@dataclass
class Drawn:
    """What labels say of one picture, in pixels.

    Attributes:
        masks: class -> bool (H, W), all its objects in one.
        boxes: (class, (x0, y0, x1, y1)) of objects that are boxes alone.
        crowds: regions among the masks that hold several objects (COCO's iscrowd).
        faults: what is wrong, a sentence each; these objects are in neither.
    """

    masks: dict[str, np.ndarray] = field(default_factory=dict)
    boxes: list[tuple[str, tuple[float, float, float, float]]] = field(default_factory=list)
    crowds: int = 0
    faults: list[str] = field(default_factory=list)

    def add(self, name: str, mask: np.ndarray) -> None:
        """One object's mask, bool (H, W), to those of its class."""
        self.masks[name] = self.masks[name] | mask if name in self.masks else mask


@dataclass(frozen=True)
class LabelledFile:
    """One picture as labels speak of it.

    Attributes:
        file_name: what they call it; a name, never a path that is opened.
        size: (W, H) that they say it has, or None.
        names: classes of its objects.
        draw: the (W, H) of the picture they were made on -> what they say.
        suffix: has `file_name` one? YOLO's has none.
    """

    file_name: str
    size: tuple[int, int] | None
    names: frozenset[str]
    draw: Callable[[tuple[int, int]], Drawn]
    suffix: bool = True


@dataclass
class LabelSet:
    """A set of labels.

    Attributes:
        kind: its format.
        classes: name -> its number in the format, in their order.
        pictures: those that it speaks of.
        faults: what is wrong with some of it, a sentence each.
        notes: what a person should know, a sentence each.
    """

    kind: str
    classes: dict[str, int]
    pictures: list[LabelledFile] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def read_labels(path: Path, kind: str | None = None) -> LabelSet:
    """Look through a set of labels.

    Args:
        path: a file, or a folder.
        kind: its format; None = the one that it looks like.

    Raises:
        InputError: it is of no known format, or cannot be read.
    """
    if kind is not None and kind not in KINDS:
        raise InputError(f"unknown format {kind!r}; expected {', '.join(KINDS)}")
    if not path.exists():
        raise InputError(f"{path}: no such file or folder")
    chosen = kind or _looks_like(path)
    return import_module(f".{KINDS[chosen][0]}", __name__).read(path)


def _looks_like(path: Path) -> str:
    if path.is_dir():
        if (path / "Annotations").is_dir() or (path / "SegmentationClass").is_dir():
            return "voc"
        if any((path / name).exists() for name in ("data.yaml", "data.yml", "classes.txt", "labels", "obj.names")):
            return "yolo"
        if sum(1 for _ in path.glob("[!.]*.json")) == 1:
            return "coco"
        if any(path.glob("*.xml")):
            return "voc"
    elif path.suffix.lower() == ".json":
        return "coco"
    elif path.suffix.lower() in (".yaml", ".yml", ".txt", ".names"):
        return "yolo"
    elif path.suffix.lower() == ".xml":
        return "voc"
    expected = "; ".join(what for _, what in KINDS.values())
    raise InputError(f"{path}: its format cannot be told; expected {expected}. Say which it is with --format")


def class_name(name: object) -> str:
    """A class's name as ids are called: no white space but single blanks, composed; "" for what is none."""
    if isinstance(name, bool) or not isinstance(name, str | int | float):
        return ""
    text = str(name).encode("utf-8", "replace").decode()
    return unicodedata.normalize("NFC", " ".join(text.split()))

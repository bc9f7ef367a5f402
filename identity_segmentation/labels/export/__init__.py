"""Labels -> the files that training and annotation tools read: one module per format, one line in the registry.

An export is a folder of its own and never written over another. Objects are either ids (all of an id's pixels in a
picture) or, with `parts`, every connected part of them.
"""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

import numpy as np

from ...errors import ImageError, InputError, OutputError
from ...files import numbered, read_bytes
from ...geometry import connected_parts, mask_extent

# name -> "module:function"
FORMATS = {
    "coco": "coco:write",
    "coco-polygons": "coco:write_polygons",
    "yolo": "yolo:write",
    "voc": "voc:write",
    "cvat": "cvat:write",
    "label-studio": "label_studio:write",
}


@dataclass(frozen=True)
class Labelled:
    """One labelled picture.

    Attributes:
        picture: the file.
        name: its name among the labels, with forward slashes and without suffix; no two are the same.
        file_name: the picture's own name below the folder of targets; no two are the same.
        size: (W, H) in pixels, as the picture is meant to be seen.
        scores: id -> score 0..1.
        load: reads the masks: id -> bool (H, W).
    """

    picture: Path
    name: str
    file_name: str
    size: tuple[int, int]
    scores: Mapping[int, float]
    load: Callable[[], Mapping[int, np.ndarray]]

    @property
    def placed_name(self) -> str:
        """A name for a copy of the picture whose stem is nobody else's: the labels' with the picture's suffix."""
        return f"{self.name}{self.picture.suffix}"


@dataclass(frozen=True)
class LabelledObject:
    """One object of a picture: its id, pixels, tight xyxy box, and score 0..1."""

    id: int
    mask: np.ndarray
    box: tuple[int, int, int, int]
    score: float


@dataclass(frozen=True)
class Job:
    """What an export is made of.

    Attributes:
        pictures: called once for every pass over the labelled pictures.
        names: id -> what it is called, in any script; the categories, in rising order of ids.
        folder: an empty folder to write into.
        parts: is every connected part an object?
    """

    pictures: Callable[[], Iterable[Labelled]]
    names: Mapping[int, str]
    folder: Path
    parts: bool = False

    def things(self, picture: Labelled, parts: bool | None = None) -> Iterator[LabelledObject]:
        """The objects of a picture, by id."""
        for number, mask in sorted(picture.load().items()):
            for part in connected_parts(mask) if (self.parts if parts is None else parts) else [mask]:
                if part.any():
                    yield LabelledObject(number, part, mask_extent(part), float(picture.scores.get(number, 1.0)))


def export(
    kind: str, pictures: Callable[[], Iterable[Labelled]], names: Mapping[int, str], out: Path, parts: bool = False
) -> Path:
    """Write labels in a format; see `FORMATS`.

    Args:
        out: the folder that exports are kept in; this one becomes ``OUT/KIND``, or ``OUT/KIND-2`` and so on where
            there is one already.

    Returns:
        The new folder.

    Raises:
        InputError: an unknown format.
        OutputError: it cannot be written; nothing is left behind.
    """
    module, function = FORMATS[checked_format(kind)].split(":")
    target = next(folder for folder in (Path(out) / name for name in numbered(kind)) if not folder.exists())
    working = target.with_name(f".{target.name}.{uuid.uuid4().hex[:8]}.part")
    try:
        working.mkdir(parents=True)
        getattr(import_module(f".{module}", __name__), function)(Job(pictures, dict(names), working, parts))
        working.rename(target)
    except OutputError:
        raise
    except OSError as error:
        raise OutputError(f"{target}: cannot be written ({error.strerror or error})") from error
    finally:
        shutil.rmtree(working, ignore_errors=True)
    return target


def checked_format(kind: str) -> str:
    """A format's name, or `InputError` with those there are."""
    if kind not in FORMATS:
        raise InputError(f"unknown format {kind!r}; expected {', '.join(FORMATS)}")
    return kind


def place(picture: Path, target: Path) -> None:
    """Put a copy of a picture where a format wants it. (Not a link: whoever works on the export would work on the
    picture, and readers refuse links that lead out of their folder.)

    Raises:
        ImageError: the picture is gone.
    """
    data = read_bytes(picture, ImageError, "picture")
    target.parent.mkdir(parents=True, exist_ok=True)
    with target.open("xb") as file:
        file.write(data)


def printable(text: str) -> str:
    """A name without control characters, which XML cannot hold and lists are broken by."""
    return "".join(c if c.isprintable() else "\ufffd" for c in text)

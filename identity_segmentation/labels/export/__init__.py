"""Labels -> the files that training and annotation tools read: one module per format, one line in the registry.

An export is a folder of its own. One that this package wrote, and nobody changed since, is kept where it is up to date
and replaced where it is not; every other folder stays, and the export gets the next number. Objects are either ids (all
of an id's pixels in a picture) or, with `parts`, every connected part of them.

Masks are of pictures as they are meant to be seen. Training tools read the pixels as they lie in the file, so pictures
that EXIF turns are copied upright.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import InputError, OutputError
from ...files import numbered, read_json, write_json
from ...geometry import connected_parts, mask_extent
from ...parts import part_name, sweep
from .upright import usual_suffix

# name -> "module:function"
FORMATS = {
    "coco": "coco:write",
    "coco-polygons": "coco:write_polygons",
    "yolo": "yolo:write",
    "voc": "voc:write",
    "cvat": "cvat:write",
    "label-studio": "label_studio:write",
}

_NOTE = ".idseg-export.json"  # in an export's folder: what it was made from, and what it held then


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
        """A name for a copy of the picture whose stem is nobody else's: the labels' with the picture's suffix, or with
        one that readers of its format know."""
        return f"{self.name}{usual_suffix(self.picture)}"


@dataclass(frozen=True)
class LabelledObject:
    """One object of a picture: its id, pixels, tight xyxy box, and score 0..1."""

    id: int
    mask: np.ndarray
    box: tuple[int, int, int, int]
    score: float


@dataclass(frozen=True)
class Source:
    """What labels an export is made of.

    Attributes:
        job: the job's folder.
        states: of the labels that were asked for.
        digest: of everything that decides what is written.
    """

    job: str
    states: Sequence[str]
    digest: str

    def noted(self) -> dict[str, Any]:
        """As an export's note has it, and as JSON gives it back."""
        return {"job": self.job, "states": sorted(self.states), "digest": self.digest}


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
    kind: str, pictures: Callable[[], Iterable[Labelled]], names: Mapping[int, str], out: Path, parts: bool = False,
    source: Source | None = None,
) -> Path:  # fmt: skip
    """Write labels in a format; see `FORMATS`.

    Args:
        kind: the format.
        pictures: called once for every pass over the labelled pictures.
        names: id -> what it is called.
        out: the folder that exports are kept in; this one becomes ``OUT/KIND``, or ``OUT/KIND-2`` and so on where
            there is one already.
        parts: is every connected part an object?
        source: by which an earlier export is known: the same labels are not written again, and others of the same job,
            format, states and parts take its place. None: every export is a new folder.

    Returns:
        The folder.

    Raises:
        InputError: an unknown format.
        OutputError: it cannot be written; nothing is left behind.
    """
    module, function = FORMATS[checked_format(kind)].split(":")
    out = Path(out)
    sweep(out)  # what killed exports left
    made_from = None if source is None else {"export": kind, "parts": parts, **source.noted()}
    for name in numbered(kind):
        target = out / name
        if not os.path.lexists(target):
            break
        note = _note_of(target, made_from)
        if note and made_from and note["digest"] == made_from["digest"]:
            return target
        if note:
            break
    working = out / part_name(kind)
    try:
        working.mkdir(parents=True)
        getattr(import_module(f".{module}", __name__), function)(Job(pictures, dict(names), working, parts))
        if made_from is not None:
            write_json(working / _NOTE, made_from | {"files": _files_digest(working)})
        return _put(working, target, kind, made_from)
    except OutputError:
        raise
    except OSError as error:
        raise OutputError(f"{target}: cannot be written ({error.strerror or error})") from error
    finally:
        shutil.rmtree(working, ignore_errors=True)


def _put(working: Path, target: Path, kind: str, made_from: dict | None) -> Path:
    """Give an export its place: an earlier one of ours makes way, anything else that came meanwhile stays."""
    for tries_left in range(8, -1, -1):
        old = None
        if os.path.lexists(target):
            if _note_of(target, made_from):
                old = target.with_name(part_name(kind))
                target.rename(old)
            else:
                target = next(t for n in numbered(kind) if not os.path.lexists(t := target.with_name(n)))
        try:
            working.rename(target)
        except OSError:
            if old is not None:
                old.rename(target)
            if not tries_left or not os.path.lexists(target):
                raise
            continue  # somebody else was quicker
        if old is not None:
            shutil.rmtree(old, ignore_errors=True)
        break
    return target


def _note_of(folder: Path, made_from: dict | None) -> dict | None:
    """The note of an export that is of the same make and whole, and that nobody changed; None for any other folder."""
    note = read_json(folder / _NOTE)
    if made_from is None or not note or folder.is_symlink():
        return None
    if any(note.get(key) != value for key, value in made_from.items() if key != "digest"):
        return None
    with contextlib.suppress(OSError):
        if isinstance(note.get("digest"), str) and note.get("files") == _files_digest(folder):
            return note
    return None


def _files_digest(folder: Path) -> str:
    """A hash of the names, sizes and times of change of everything in a folder but the note."""
    rows = []
    for place, folders, files in os.walk(folder):
        for name in [*folders, *files]:
            path = os.path.join(place, name)
            status = os.lstat(path)
            shown = os.fsencode(os.path.relpath(path, folder))
            size = (0, 0) if name in folders else (status.st_size, status.st_mtime_ns)
            rows.append(shown + f"\0{size}\n".encode())
    rows = [row for row in rows if not row.startswith(_NOTE.encode() + b"\0")]
    return hashlib.sha256(b"".join(sorted(rows))).hexdigest()


def checked_format(kind: str) -> str:
    """A format's name, or `InputError` with those there are."""
    if kind not in FORMATS:
        raise InputError(f"unknown format {kind!r}; expected {', '.join(FORMATS)}")
    return kind


def printable(text: str) -> str:
    """A name without control characters, which XML cannot hold and lists are broken by."""
    return "".join(c if c.isprintable() else "\ufffd" for c in text)

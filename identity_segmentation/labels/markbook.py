"""The marks of many pictures, in a folder of their own: one small JSON file each, written anew at every gesture."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..engines.protocols import PointSegmenter
from ..errors import InputError
from ..files import PATIENCE, held, numbered, read_bytes, safe_filename, shown_path, write_json
from ..geometry import decode_rle, encode_rle
from ..images import decode_image, read_image
from ..types import Exemplar
from .marks import Mark, Marks

_SCHEMA = 1


@dataclass(frozen=True)
class Marked:
    """One reference in a book: its picture's path and hash, and its marks."""

    path: Path
    sha256: str
    marks: Marks


@dataclass(frozen=True)
class StoredExemplar:
    """A `Exemplar` that holds no pixels: hundreds of large ones fit into memory. Its picture is read anew, and its
    masks are unpacked, each time they are asked for.

    Attributes:
        path: the picture's.
        codes: id -> COCO run lengths.
    """

    path: Path
    codes: Mapping[int, dict]

    @property
    def image(self) -> np.ndarray:
        """uint8 (H, W, 3), BGR; `ImageError` if the picture is gone by now."""
        return read_image(self.path)

    @property
    def masks(self) -> dict[int, np.ndarray]:
        """id -> bool (H, W)."""
        return {number: decode_rle(code) for number, code in self.codes.items()}

    def __iter__(self) -> Iterator:
        yield from Exemplar(self.image, self.masks)


class MarkBook:
    """The marks of many pictures, in a folder of their own.

    Every change is on disk when the call returns. A picture is known by its content, so it may be renamed or moved;
    its path is only where it was seen last.

    Args:
        folder: where the marks are kept; made when the first mark is.
    """

    def __init__(self, folder: str | os.PathLike):
        self.folder = Path(folder)

    def open(self, picture: str | os.PathLike) -> tuple[Marked, np.ndarray]:
        """A picture's marks - none yet, or those made before - and the picture, uint8 (H, W, 3).

        Raises:
            ImageError: it cannot be read.
            InputError: its file of marks is damaged.
        """
        path = Path(picture).absolute()
        data = read_bytes(path, InputError, "picture")
        image, digest = decode_image(data, str(path)), hashlib.sha256(data).hexdigest()
        file = self._file(digest)
        content, marks = _read(file) if file is not None else ({}, Marks(image.shape[:2]))
        if content and not Path(content["picture"]).exists():
            self.save(Marked(path, digest, marks))  # it was moved, and is here now
        if marks.shape != image.shape[:2]:
            raise InputError(f"{file}: these marks are for another size ({marks.shape}) than the picture's")
        return Marked(path, digest, marks), image

    def change(self, marked: Marked, do: Callable[[Marks], bool]) -> Marked:
        """Change a picture's marks as they are on disk now, whoever made the last of them: two hands on one picture
        lose nothing. `do` changes them and says whether it did; then they are written.

        Args:
            marked: stands in where nothing is on disk yet.

        Raises:
            OutputError: they cannot be written, or another process holds them for long; what was there stays.
        """
        if not self.folder.exists():
            do(marked.marks.copy())  # what is refused makes no folder
        busy = f"{self.folder}: another process is writing marks there; try again"
        with held(self.folder / ".lock", PATIENCE, busy):
            file = self._file(marked.sha256)
            fresh = Marked(marked.path, marked.sha256, _read(file)[1] if file is not None else marked.marks.copy())
            if do(fresh.marks):
                self.save(fresh)
            return fresh

    def save(self, marked: Marked) -> Path:
        """Write a picture's marks.

        Raises:
            OutputError: they cannot be written; what was there before stays.
        """
        file = self._file(marked.sha256) or self._new_file(marked)
        self._write(file, marked)
        return file

    def add_new(self, marked: Marked) -> None:
        """`save` for a picture that surely has no marks here yet: no file is looked for.

        Args:
            marked: the picture and its marks.
        """
        self._write(self._new_file(marked), marked)

    def adopt(self, other: MarkBook) -> None:
        """Move all marks of another book, on the same disk, into this one. What a picture had is kept beside, as
        ``.json.removed``.

        Args:
            other: is empty afterwards.

        Raises:
            OutputError: they cannot be moved, or another process holds the marks for long.
        """
        busy = f"{self.folder}: another process is writing marks there; try again"
        with held(self.folder / ".lock", PATIENCE, busy):
            there = {file.stem[-16:]: file for file in self._files()}
            for file in other._files():
                old = there.get(file.stem[-16:])
                if old is not None:
                    _set_aside(old)
                os.replace(file, self.folder / file.name)

    def _new_file(self, marked: Marked) -> Path:
        return self.folder / f"{safe_filename(shown_path(marked.path.stem))[:60]}-{marked.sha256[:16]}.json"

    @staticmethod
    def _write(file: Path, marked: Marked) -> None:
        content = {
            "schema": _SCHEMA, "picture": str(marked.path), "sha256": marked.sha256,
            "size": [marked.marks.shape[1], marked.marks.shape[0]],
            "marks": [mark.as_json() for mark in marked.marks.done],
            "undone": [mark.as_json() for mark in marked.marks.undone],
        }  # fmt: skip
        write_json(file, content)

    def all(self) -> list[Marked]:
        """Every picture that is marked, in the order of the files' names.

        Raises:
            InputError: a file of marks is damaged; the message names it.
        """
        found = []
        for file in self._files():
            content, marks = _read(file)
            if marks.done:
                found.append(Marked(Path(content["picture"]), content["sha256"], marks))
        return found

    def remove(self, sha256: str) -> bool:
        """Take a picture out of the references; its marks are kept beside, as ``.json.removed``."""
        file = self._file(sha256)
        if file is not None:
            _set_aside(file)
        return file is not None

    def digests(self) -> dict[str, str]:
        """Content of each marked picture -> digest of its marks."""
        return {marked.sha256: marked.marks.digest() for marked in self.all()}

    def references(self, segmenter: PointSegmenter | None) -> list[tuple[Marked, StoredExemplar]]:
        """Everything marked, with its picture, read when it is looked at, and its masks.

        Raises:
            InputError: nothing is marked, or a picture has changed since.
            ImageError: a picture is gone or broken.
        """
        found = []
        everyone = self.all()
        for marked in everyone:
            try:
                data = read_bytes(marked.path, InputError, "picture")
            except InputError as error:
                raise InputError(
                    f"{error}, but it is marked; put it back, or take it out of the references: idseg label unmark "
                    f"{marked.path}"
                ) from error
            digest = hashlib.sha256(data).hexdigest()
            if any(other.path == marked.path and other.sha256 == digest != marked.sha256 for other in everyone):
                continue  # it has changed, and was marked again
            if digest != marked.sha256:
                raise InputError(
                    f"{marked.path} has changed since it was marked; mark it again, put it back, or take it out of the "
                    f"references: idseg label unmark {marked.path}"
                )
            image = decode_image(data, str(marked.path))
            masks = marked.marks.masks(image, segmenter)
            found.append((marked, StoredExemplar(marked.path, {i: encode_rle(mask) for i, mask in masks.items()})))
        if not found:
            raise InputError(f"nothing is marked in {self.folder}; mark at least one thing in one picture first")
        return found

    def _files(self) -> list[Path]:
        return sorted(self.folder.glob("*.json")) if self.folder.is_dir() else []

    def _file(self, sha256: str) -> Path | None:
        return next((f for f in self._files() if f.stem.endswith(f"-{sha256[:16]}")), None)


def _set_aside(file: Path) -> None:
    os.replace(file, next(kept for kept in map(Path, numbered(f"{file}.removed")) if not kept.exists()))


def _read(file: Path) -> tuple[dict, Marks]:
    try:
        content = json.loads(file.read_bytes())
        if content["schema"] != _SCHEMA:
            raise InputError(f"{file}: made by another version (schema {content['schema']}); expected {_SCHEMA}")
        width, height = content["size"]
        parts = [[Mark.from_json(row) for row in content[key]] for key in ("marks", "undone")]
        return content, Marks((height, width), *parts)
    except (OSError, ValueError, KeyError, TypeError) as error:
        if isinstance(error, InputError) and str(error).startswith(str(file)):
            raise
        raise InputError(f"{file}: not a file of marks that can be read ({error}); move it away to go on") from error

"""What a render hands over: a video file or a folder of pictures, one for all or one a person. (Notebook section 7.)

Everything is first written in segments in a work folder beside the output, and gets its place when all is done. Of the
files in a folder of pictures, only those on the list that an earlier render left are ever taken away.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from ..colours import icc_profile
from ..errors import InputError, OutputError
from ..files import read_json, safe_filename, shown_path, unused_name, write_json
from ..images import write_image
from ..types import Frame
from .exr import PRIMARIES as EXR_PRIMARIES
from .exr import Layers, write_exr
from .facts import BT709, VideoInfo
from .sound import Carried
from .timecode import TimeBase, is_drop
from .writing import Format, SegmentWriter, join_segments, padding

_WIDE = (9, 11, 12)  # primaries that sRGB has not, by ITU-T H.273: BT.2020 and P3


@dataclass(frozen=True)
class Output:
    """One file, or folder of pictures, that is handed over.

    Attributes:
        path: where.
        stem: what its pictures are called, before the number.
        who: whose it is alone; None = everybody's who was asked for.
    """

    path: Path
    stem: str
    who: str | None = None


def outputs_of(output: Path, source: Path, wanted: Sequence[str], per_person: bool) -> list[Output]:
    """The files or folders that a render makes.

    Args:
        output: as it was asked for: a file, or a folder for pictures.
        source: the video, which pictures are called after.
        wanted: display names.
        per_person: one for each of them, called after them.
    """
    clip = safe_filename(shown_path(source.stem))
    if not per_person:
        return [Output(output, f"{clip}_{safe_filename(wanted[0]) if len(wanted) == 1 else 'people'}")]
    taken: set[str] = set()
    found = []
    for who in wanted:
        name = unused_name(safe_filename(who), taken)
        path = output / name if output.suffix == "" else output.with_name(f"{output.stem}_{name}{output.suffix}")
        found.append(Output(path, f"{clip}_{name}", who))
    return found


# Takes a frame, its picture for each output, and everybody's mattes.
Write = Callable[[Frame, Sequence[np.ndarray], Mapping[Any, np.ndarray]], None]


class Delivery:
    """Writes the pictures of a render, and hands them over at the end.

    Args:
        outputs: what is made.
        form: how pictures become a video; None = they stay pictures.
        frames: of a folder: "png" or "exr".
        size: (width, height) of the pictures.
        info: the facts of the source.
        wanted: display names.
        clear: are the pictures transparent?
    """

    def __init__(
        self, outputs: Sequence[Output], form: Format | None, frames: str, size: tuple[int, int], info: VideoInfo,
        wanted: Sequence[str], clear: bool,
    ):  # fmt: skip
        self.clear = clear
        self.outputs, self.form, self.frames = list(outputs), form, frames
        self.size, self.info = size, info
        self.layers = Layers(tuple(wanted))
        self.colour = info.colour.written(size)
        # Where the file cannot say that pixels are not square, they are made so.
        self.squared = info.pixel_aspect != 1 and (
            (form is None and frames == "png") or (form is not None and form.container == "webm")
        )
        self.written_size = (max(1, round(size[0] * info.pixel_aspect)), size[1]) if self.squared else size

    def remarks(self) -> list[str]:
        """What is to be said of the form."""
        said = []
        if self.squared:
            said.append(f"pixels of the source are not square ({self.info.pixel_aspect}); those of the result are")
        if self.form is not None and any(padding(self.form, self.written_size)):
            rows, columns = padding(self.form, self.written_size)
            width, height = self.written_size
            where = " and ".join(["the last row"] * rows + ["the last column"] * columns)
            said.append(f"{where} is there twice: {self.form.suffix} takes even sides only, these are {width}x{height}")
        return said

    def kind(self) -> str:
        """What kind of file it is, and who takes it: the answer to "which file do I take?"."""
        if self.form is None:
            if self.frames == "exr":
                return "multi-layer EXR with Cryptomatte, linear light: for Nuke, Fusion, After Effects and Blender"
            clear = " with straight alpha" if self.clear else ""
            return f"PNG frames{clear}: for every program; set the frame rate on import"
        if self.form.codec == "prores_ks":
            name = "ProRes 4444 with straight alpha" if self.form.alpha else "ProRes 422 HQ"
            return f"{name}: for Premiere Pro, DaVinci Resolve, After Effects and Final Cut Pro"
        if self.form.codec == "libvpx-vp9":
            return f"VP9{' with straight alpha' if self.form.alpha else ''}: for web pages (Chrome, Edge, Firefox)"
        return "H.264: for every player, phone and web page; it has no transparency"

    def check(self, overwrite: bool) -> None:
        """Refuse to write over pictures that are not ours.

        Raises:
            OutputError: there are such.
        """
        if self.form is not None or overwrite:
            return
        for output in self.outputs:
            ours = set(_listed(output.path))
            number = (path.name for path in output.path.glob("*") if output.path.is_dir())
            theirs = next((n for n in number if n not in ours and _is_numbered(n, output.stem)), None)
            if theirs is not None:
                raise OutputError(
                    f"{output.path / theirs} was not written by this program, or was written by an earlier version; "
                    "choose another folder, or say --overwrite"
                )

    # ---- a segment

    def open(self, work: Path, start: int, stack: contextlib.ExitStack) -> Write:
        """What takes the pictures of a segment.

        Args:
            work: the folder of segments.
            start: the segment's first frame.
            stack: ends the segment.
        """
        if self.form is None:
            folders = [self._part(work, start, number) for number in range(len(self.outputs))]
            for folder in folders:
                shutil.rmtree(folder, ignore_errors=True)

            def write_pictures(frame: Frame, pictures: Sequence[np.ndarray], mattes: Mapping[Any, np.ndarray]) -> None:
                for folder, output, picture in zip(folders, self.outputs, pictures, strict=True):
                    self._write_picture(folder / f"{output.stem}_{frame.index + 1:08d}", frame.index, picture, mattes)

            return write_pictures
        writers = [
            stack.enter_context(
                SegmentWriter(
                    self._part(work, start, number), self.form, self.written_size, self.info.fps,
                    self.info.time_base, self.info.colour, Fraction(1) if self.squared else self.info.pixel_aspect,
                )
            )
            for number in range(len(self.outputs))
        ]  # fmt: skip

        def write(frame: Frame, pictures: Sequence[np.ndarray], mattes: Mapping[Any, np.ndarray]) -> None:
            for writer, picture in zip(writers, pictures, strict=True):
                writer.write(self._square(picture), frame.pts)

        return write

    def _part(self, work: Path, start: int, number: int) -> Path:
        tail = f"_{number}" if number else ""
        return work / f"{start:08d}{tail}{'.pictures' if self.form is None else self.form.suffix}"

    def _write_picture(self, stem: Path, index: int, picture: np.ndarray, mattes: Mapping[Any, np.ndarray]) -> None:
        if self.frames == "png":
            wide = self.colour.primaries in _WIDE
            profile = icc_profile(self.colour.primaries, "bt709") if wide else None
            write_image(stem.with_name(f"{stem.name}.png"), self._square(picture), profile=profile)
            return
        mine = {name: mattes[name] for name in self.layers.names if name in mattes}
        primaries = self.colour.primaries if self.colour.primaries in EXR_PRIMARIES else BT709
        write_exr(
            stem.with_name(f"{stem.name}.exr"), picture, mine, self.layers, primaries=primaries,
            pixel_aspect=float(self.info.pixel_aspect), frame_rate=self.info.fps,
            time_code=self._time_code(index), source=shown_path(self.info.path.name),
        )  # fmt: skip

    def _time_code(self, index: int) -> str | None:
        """Of a frame, counted on from the source's."""
        if not self.info.timecode:
            return None
        base = TimeBase.of(self.info.fps, is_drop(self.info.timecode))
        try:
            return base.text(base.frame(self.info.timecode) + index)
        except InputError:  # none that there is at this rate
            return None

    def _square(self, picture: np.ndarray) -> np.ndarray:
        if not self.squared:
            return picture
        flags = cv2.INTER_AREA if self.info.pixel_aspect < 1 else cv2.INTER_LINEAR
        return cv2.resize(picture, self.written_size, interpolation=flags)

    # ---- the end

    def deliver(
        self, work: Path, starts: Sequence[int], source: Path, voice: str = "", described: bool = True
    ) -> Carried:
        """Put everything in its place.

        Args:
            work: the folder of segments.
            starts: the first frames of all segments.
            source: the video, whose sound is taken.
            voice: what becomes of that; see `sound.Sound`.
            described: is what the source says about itself taken over? It may name who is covered, and where.

        Returns:
            What became of the sound.
        """
        carried = Carried()
        for number, output in enumerate(self.outputs):
            parts = [self._part(work, start, number) for start in starts]
            if self.form is None:
                self._place(output, parts, source)
            else:
                carried = join_segments(parts, output.path, source, self.info, self.form, voice, described)
        return carried

    def _place(self, output: Output, parts: Sequence[Path], source: Path) -> None:
        folder = output.path
        before = set(_listed(folder))
        try:
            folder.mkdir(parents=True, exist_ok=True)
            made = [picture for part in parts for picture in sorted(part.iterdir())] if parts else []
            names = [picture.name for picture in made]
            # The list says what is ours before it lies there: a killed run leaves nothing that the next does not know.
            _write_list(folder, source, sorted({*before, *names}))
            for picture in made:
                os.replace(picture, folder / picture.name)
            for old in sorted(before - set(names)):
                (folder / old).unlink(missing_ok=True)
            _write_list(folder, source, names)
        except OSError as error:
            raise OutputError(f"{folder}: cannot be written ({error.strerror})") from error


def list_of(folder: Path) -> Path:
    """The list of the pictures in a folder that are ours lies beside it, out of the way of whoever reads them all."""
    return folder.with_name(f".{folder.name}.frames.json")


def _listed(folder: Path) -> list[str]:
    """The names of the pictures in a folder that are ours."""
    names = read_json(list_of(folder)).get("frames", ())
    return [n for n in names if isinstance(n, str) and n and Path(n).name == n and n not in (".", "..")]


def _write_list(folder: Path, source: Path, names: Sequence[str]) -> None:
    write_json(list_of(folder), {"source": shown_path(source.name), "frames": list(names)}, None)


def _is_numbered(name: str, stem: str) -> bool:
    head, _, tail = name.rpartition("_")
    return head == stem and tail.partition(".")[0].isdigit()


def parsed_colour(text: str) -> tuple[int, int, int]:
    """(b, g, r) of "#RRGGBB".

    Raises:
        InputError: it is not such a text.
    """
    digits = text.removeprefix("#")
    try:
        if len(digits) != 6:
            raise ValueError
        red, green, blue = bytes.fromhex(digits)
    except ValueError:
        raise InputError(f"expected a background as #RRGGBB, got {text!r}") from None
    return blue, green, red

"""Labels that other tools made -> marks of a job: classes become ids, masks become masks, boxes become boxes.

All labels are looked through, and every picture's marks are written beside the job, before any of them is put into it:
what is refused changes nothing.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ...errors import ImageError, InputError
from ...files import read_bytes
from ...images import decode_image
from ...parts import part_name
from ..export.upright import orientation_of
from ..job import LabelJob
from ..markbook import MarkBook, Marked
from ..marks import MOST_IDS, Mark, Marks
from ..targets import find_targets
from . import Drawn, LabelledFile, LabelSet, read_labels
from .finding import Pictures, turned_box, turned_mask

_OF_CLASSES = {"SegmentationClass", "SegmentationObject"}  # VOC's folders of masks, which are no pictures to mark
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class ImportOptions:
    """How labels are taken in.

    Attributes:
        kind: their format; None = the one they look like.
        classes: take these alone; () = all.
        overwrite: replace the marks of pictures that are marked already; theirs are kept beside.
        nothing: mark pictures without any object as showing nothing, rather than leave them unmarked.
        skip_broken: leave out what is wrong, rather than take nothing.
    """

    kind: str | None = None
    classes: Sequence[str] = ()
    overwrite: bool = False
    nothing: bool = False
    skip_broken: bool = False


@dataclass
class ImportReport:
    """What was taken in.

    Attributes:
        kind: the format.
        names: id -> class.
        marked: pictures that have marks now.
        masks, boxes, crowds: marks of each sort; crowds are masks too.
        kept: pictures that were marked already and are as they were.
        empty: pictures without an object, left unmarked.
        missing: names of the labels that no picture has.
        unreadable: path of each picture that cannot be read -> why.
        turned: pictures whose labels were made on the file's pixels as they lie, and were turned as EXIF says.
        faults: what was wrong and left out, a sentence each.
    """

    kind: str = ""
    names: dict[int, str] = field(default_factory=dict)
    marked: int = 0
    masks: int = 0
    boxes: int = 0
    crowds: int = 0
    kept: list[str] = field(default_factory=list)
    empty: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    unreadable: dict[str, str] = field(default_factory=dict)
    turned: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)


def import_labels(
    job: LabelJob, labels: str | os.PathLike, pictures: Iterable[str | os.PathLike] = (),
    options: ImportOptions | None = None, progress: Progress | None = None,
) -> ImportReport:  # fmt: skip
    """Take labels of other tools in as marks of a job; see the module.

    Args:
        job: whose marks they become.
        labels: a COCO file, or a folder of COCO's, YOLO's or VOC's.
        pictures: pictures, and folders in which they are found by their names; none = the labels' own folder.
        options: how; None = as `ImportOptions` has it.
        progress: called with (pictures done, pictures in all).

    Returns:
        What was taken in, and what was not.

    Raises:
        InputError: the labels cannot be read, something in them is wrong, or none of their pictures is there; nothing
            was taken in.
        OutputError: the marks cannot be written; nothing was taken in.
    """
    source, options = Path(labels), options or ImportOptions()
    found = read_labels(source, options.kind)
    there = list(map(Path, pictures)) or [source if source.is_dir() else source.parent]
    targets = [t for t in find_targets(there, {}, job.folder) if not _OF_CLASSES & {*t.path.parts}]
    taking = _Taking(found, Pictures(targets), job.book, job.names, options)
    try:
        for done, picture in enumerate(found.pictures, 1):
            taking.take(picture)
            if progress:
                progress(done, len(found.pictures))
        taking.check(source)
        for number, name in taking.report.names.items():
            if job.names_of([number])[number] != name:
                job.name_id(number, name)
        if taking.report.marked:
            job.book.adopt(taking.staged)
    finally:
        shutil.rmtree(taking.staged.folder, ignore_errors=True)
    return taking.report


class _Taking:
    """Labels on their way into a book of marks."""

    def __init__(
        self, found: LabelSet, pictures: Pictures, book: MarkBook, names: dict[int, str], options: ImportOptions
    ):
        self.found, self.pictures, self.options = found, pictures, options
        self.ids = _ids(found, names, options.classes)
        self.report = ImportReport(found.kind, {number: name for name, number in self.ids.items()})
        self.report.faults += found.faults
        self.marked = set(book.digests())
        self.staged = MarkBook(book.folder.parent / part_name("importing"))
        self.seen: dict[str, str] = {}  # content -> the name it was taken in by

    def check(self, labels: Path) -> None:
        """Refuse what is not to be taken in."""
        report = self.report
        if report.faults and not self.options.skip_broken:
            more = f" (and {len(report.faults) - 1} more like it)" if len(report.faults) > 1 else ""
            raise InputError(
                f"{labels}: {report.faults[0]}{more}. Nothing was taken in; put it right, or leave out what is wrong "
                "with --skip-broken"
            )
        if self.found.pictures and len(report.missing) == len(self.found.pictures):
            raise InputError(
                f"none of the {len(report.missing)} pictures that {labels} speaks of, such as {report.missing[0]!r}, "
                f"is among the {self.pictures.count} that were given; name the folder that holds them"
            )

    def take(self, picture: LabelledFile) -> None:
        """One picture's labels into the book beside."""
        report, name = self.report, picture.file_name
        try:
            path = self.pictures.find(name, picture.suffix)
        except InputError as error:
            report.faults.append(str(error))
            return
        if path is None:
            report.missing.append(name)
            return
        try:
            data = read_bytes(path, ImageError, "picture")
            digest = hashlib.sha256(data).hexdigest()
            if digest in self.marked and not self.options.overwrite:
                report.kept.append(str(path))
                return
            height, width = decode_image(data, str(path)).shape[:2]
        except ImageError as error:
            report.unreadable[str(path)] = str(error)
            return
        if digest in self.seen:
            report.faults.append(f"{name} and {self.seen[digest]} are the same picture; expected labels of one of them")
            return
        self.seen[digest] = name
        drawn = self._drawn(picture, path, (width, height))
        if drawn is not None:
            self._stage(path, digest, (height, width), drawn)

    def _drawn(self, picture: LabelledFile, path: Path, size: tuple[int, int]) -> Drawn | None:
        """A picture's labels, of the classes that are wanted, as it is meant to be seen."""
        report, said = self.report, picture.size or size
        orientation = orientation_of(path)
        turned = orientation >= 5 and said == size[::-1] != size
        if said != size and not turned:
            report.faults.append(
                f"{picture.file_name} is {said[0]}x{said[1]} in the labels, but the picture {path} is "
                f"{size[0]}x{size[1]}; give the pictures that were labelled"
            )
            return None
        drawn = picture.draw(said)
        report.faults += drawn.faults
        masks = {name: mask for name, mask in drawn.masks.items() if name in self.ids}
        boxes = [(name, box) for name, box in drawn.boxes if name in self.ids]
        if turned:
            report.turned.append(str(path))
            masks = {name: turned_mask(mask, orientation) for name, mask in masks.items()}
            boxes = [(name, turned_box(box, orientation, said)) for name, box in boxes]
        kept = []
        for name, (x0, y0, x1, y1) in boxes:
            held = np.clip([x0, x1], 0, size[0]), np.clip([y0, y1], 0, size[1])
            if min(held[0][1] - held[0][0], held[1][1] - held[1][0]) < 1:
                report.faults.append(
                    f"{picture.file_name}: the box {x0:g},{y0:g},{x1:g},{y1:g} of {name} covers nothing of the "
                    f"{size[0]}x{size[1]} picture; expected one of a pixel or more. Delete it where it was made"
                )
            else:
                kept.append((name, (x0, y0, x1, y1)))
        report.crowds += drawn.crowds
        return Drawn(masks, kept)

    def _stage(self, path: Path, digest: str, shape: tuple[int, int], drawn: Drawn) -> None:
        done = [Mark.of_mask(self.ids[name], mask) for name, mask in sorted(drawn.masks.items()) if mask.any()]
        masks = len(done)
        done += [Mark.box(self.ids[name], *box) for name, box in drawn.boxes]
        if not done:
            if not self.options.nothing or not self.ids:
                self.report.empty.append(str(path))
                return
            done = [Mark.of_mask(number, np.zeros(shape, bool)) for number in sorted(self.ids.values())]
        self.staged.add_new(Marked(path, digest, Marks(shape, done)))
        self.report.marked += 1
        self.report.masks += masks
        self.report.boxes += len(drawn.boxes)


def _ids(found: LabelSet, names: dict[int, str], wanted: Sequence[str]) -> dict[str, int]:
    """Class -> id: the job's id of that name; else the class's own number, where it is free; else the next free."""
    asked = [unicodedata.normalize("NFC", " ".join(name.split())) for name in wanted]
    unknown = [name for name in asked if name not in found.classes]
    if unknown:
        raise InputError(f"no class is called {unknown[0]!r} in the labels; expected {', '.join(found.classes)}")
    known = {unicodedata.normalize("NFC", name): number for number, name in names.items()}
    classes = [name for name in found.classes if name in asked] if asked else list(found.classes)
    used = frozenset().union(*(picture.names for picture in found.pictures))
    if len({*names} | {known.get(name, name) for name in classes}) > MOST_IDS:
        classes = [name for name in classes if name in used]
    if len({*names} | {known.get(name, name) for name in classes}) > MOST_IDS:
        have = f" beside its {len(names)}" if names else ""
        raise InputError(
            f"the labels have {len(classes)} classes, and a job has {MOST_IDS} ids at most{have}; choose some of them "
            f"with --classes: {', '.join(classes)}"
        )
    ids: dict[str, int] = {}
    for name in classes:
        plain = re.fullmatch(r"id (\d+)", name)
        number = known.get(name, int(plain[1]) if plain and 1 <= int(plain[1]) <= MOST_IDS else None)
        if number is not None:
            ids[name] = number
    for name in classes:
        taken = {*names, *ids.values()}
        if name not in ids:
            own = found.classes[name]
            free = [own, *range(1, MOST_IDS + 1)] if 1 <= own <= MOST_IDS else range(1, MOST_IDS + 1)
            ids[name] = next(number for number in free if number not in taken)
    return ids

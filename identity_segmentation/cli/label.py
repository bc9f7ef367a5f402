"""`idseg label`: mark a few pictures, label thousands; see `labeling.py`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import InputError
from ..files import shown_path
from .console import Run, Verbs, numbers

if TYPE_CHECKING:
    from ..labels.importing.taking import ImportReport
    from ..labels.job import LabelJob
    from ..labels.report import LabelReport

_NAMED = 20  # of a list, on the terminal; --json has them all
LABEL_STATES = ("proposed", "accepted", "corrected", "rejected", "unreadable")


def add(verbs: Verbs) -> None:
    """Put `idseg label` and its verbs on the parser."""
    label = verbs.group("label", "mark a few pictures, get labels for the rest")

    def made(name: str, run: Run, text: str) -> argparse.ArgumentParser:
        parser = label.add(name, run, text)
        parser.add_argument(
            "--out", metavar="DIR", help="the job's folder, marks and labels (default: outputs/labels/default)"
        )
        return parser

    mark = made("mark", _mark, "mark things on reference pictures: in a window, or with the options below")
    mark.add_argument("pictures", nargs="+", metavar="PICTURE")
    _drawing(mark)
    mark.add_argument("--name", metavar="TEXT", help="what the id is called, in any script")
    unmark = made("unmark", _unmark, "take pictures out of the references; their marks are kept beside")
    unmark.add_argument("pictures", nargs="+", metavar="PICTURE")
    suggest = made("suggest", _suggest, "which pictures to mark next: those whose marks would teach most")
    suggest.add_argument(
        "targets", nargs="*", metavar="PICTURE|FOLDER", help="to choose from (default: those labelled)"
    )
    suggest.add_argument("--count", type=int, default=5, metavar="N", help="how many (default: 5)")
    suggest.add_argument("--json", action="store_true", help="see docs/json.md")
    _importing(made("import", _import, "take labels that other tools made in as marks: COCO, YOLO, Pascal VOC"))
    run = made("run", _run, "label pictures from the marks; run it again to go on")
    run.add_argument("targets", nargs="+", metavar="PICTURE|FOLDER")
    run.add_argument("--overwrite", action="store_true", help="propose anew what was proposed from other marks")
    _exporting(run, "--format")
    _reporting(run)
    relearn = made("relearn", _relearn, "propose anew, from the marks as they are now, what is not yet accepted")
    _reporting(relearn)
    listed = made("list", _list, "what was found, the least sure first")
    listed.add_argument("--state", nargs="+", choices=LABEL_STATES, default=("proposed",), help="(default: proposed)")
    listed.add_argument("--most", type=int, default=20, metavar="N", help="lines to print; 0 = all (default: 20)")
    listed.add_argument("--json", action="store_true", help="see docs/json.md")
    for name, run_it, text in (
        ("accept", _accept, "these labels are right, and stay as they are"),
        ("reject", _reject, "these labels are wrong: exports leave them out, relearning proposes them anew"),
    ):
        made(name, run_it, text).add_argument("names", nargs="+", metavar="NAME")
    fix = made("fix", _fix, "correct a target's labels: in a window, or with the options below")
    fix.add_argument("target", metavar="NAME")
    _drawing(fix)
    out = made("export", _export, "write the labels as other tools read them")
    _exporting(out, "format")
    out.add_argument("--accepted", action="store_true", help="only what a person accepted or corrected")


def _drawing(parser) -> None:
    parser.add_argument("--id", type=int, default=1, metavar="N", help="whose marks these are, 1..16 (default: 1)")
    parser.add_argument("--box", action="append", default=[], metavar="X0,Y0,X1,Y1", help="a box around the thing")
    parser.add_argument("--point", action="append", default=[], metavar="X,Y", help="a point on it")
    parser.add_argument("--not-point", action="append", default=[], metavar="X,Y", help="a point beside it")
    parser.add_argument(
        "--mask", metavar="FILE", help="a mask picture of the same size; brighter than half is the thing"
    )
    parser.add_argument("--nothing", action="store_true", help="nothing of this id is in the picture")


def _exporting(parser, name: str) -> None:
    formats = "coco, coco-polygons, yolo, voc, cvat, label-studio"
    parser.add_argument(name, nargs="+", metavar="FORMAT", default=[], help=f"to export: {formats}")
    parser.add_argument("--parts", action="store_true", help="every connected part is an object of its own")


def _importing(parser) -> None:
    parser.add_argument("labels", metavar="LABELS", help="a COCO .json, or a folder of COCO's, YOLO's or VOC's")
    parser.add_argument(
        "pictures", nargs="*", metavar="PICTURE|FOLDER", help="where the pictures are (default: beside the labels)"
    )
    parser.add_argument("--format", choices=("coco", "yolo", "voc"), help="(default: what they look like)")
    parser.add_argument("--classes", nargs="+", metavar="NAME", default=[], help="take these alone (default: all)")
    parser.add_argument("--overwrite", action="store_true", help="replace marks that are there; they are kept beside")
    parser.add_argument("--nothing", action="store_true", help="mark pictures without any object as showing nothing")
    parser.add_argument("--skip-broken", action="store_true", help="leave out what is wrong, rather than take nothing")
    parser.add_argument("--json", action="store_true", help="see docs/json.md")


def _reporting(parser) -> None:
    parser.add_argument("--workers", type=int, metavar="N", help="threads (default: one per core)")
    parser.add_argument("--json", action="store_true", help="the report as JSON; see docs/json.md")


# ---- verbs


def _job(arguments: argparse.Namespace) -> LabelJob:
    from .. import engines
    from ..labels.job import LabelJob
    from .console import settings_of

    settings = settings_of(arguments)
    folder = Path(arguments.out or Path(settings.output) / "labels" / "default")
    return LabelJob(folder, lambda: engines.segmenter(settings.segmenter, settings))


def _marks(arguments, shape) -> list:
    from ..labels.canvas import read_mask
    from ..labels.marks import Mark, Marks

    number = arguments.id
    marks = []
    if arguments.nothing:
        import numpy as np

        marks.append(Mark.of_mask(number, np.zeros(shape, bool)))
    if arguments.mask:
        marks.append(Mark.of_mask(number, read_mask(arguments.mask, shape)))
    marks += [Mark.box(number, *numbers(text, 4, "a box as X0,Y0,X1,Y1")) for text in arguments.box]
    for texts, inside in ((arguments.point, True), (arguments.not_point, False)):
        for x, y in (numbers(text, 2, "a point as X,Y") for text in texts):
            marks.append(Mark.point(number, x, y, inside))
    trial = Marks(shape)
    for mark in marks:  # all of them or none
        trial.add(mark)
    return marks


def _drawn(arguments) -> bool:
    return bool(arguments.box or arguments.point or arguments.not_point or arguments.mask or arguments.nothing)


def _mark(arguments: argparse.Namespace) -> int:
    from ..labels.canvas import Canvas
    from ..labels.marks import checked_id

    job = _job(arguments)
    number = checked_id(arguments.id)
    if arguments.name is not None:
        job.name_id(number, arguments.name)
    if not _drawn(arguments):
        return _window(job, arguments.pictures, number, False)
    if len(arguments.pictures) > 1:
        raise InputError("marks given on the command line are for one picture; expected one PICTURE")
    canvas = Canvas(job, arguments.pictures[0])
    for mark in _marks(arguments, canvas.image.shape[:2]):
        canvas.add(mark)
    for found, mask in canvas.masks().items():
        print(f"{arguments.pictures[0]}: {job.names[found]}, {int(mask.sum())} pixels")
    return 0


def _unmark(arguments: argparse.Namespace) -> int:
    job = _job(arguments)
    for picture in arguments.pictures:
        if not job.unmark(picture):
            raise InputError(f"{picture} is not among the references of {job.folder}")
        print(f"{picture} is no reference any more")
    return 0


def _window(job, pictures, number: int, correcting: bool) -> int:
    from ..labels.window import SmartSelector

    SmartSelector(job, pictures, number, correcting=correcting).show()
    return 0


def _suggest(arguments: argparse.Namespace) -> int:
    from ..kinds import left_out
    from .console import print_json, say

    found = _job(arguments).suggest(arguments.targets, arguments.count)
    for path, why in found.unreadable.items():
        say(f"passed over: {path}: {why}" if not why.startswith(path) else f"passed over: {why}")
    if found.left_out:
        say(left_out({Path(path): why for path, why in found.left_out.items()}))
    if arguments.json:
        rows = [vars(one) | {"picture": shown_path(one.picture)} for one in found.pictures]
        print_json(vars(found) | {"pictures": rows})
    else:
        for one in found.pictures:
            print(f"{shown_path(one.picture)}  {one.reason}")
        if not found.pictures:
            print("nothing is left to choose from: every picture is marked, decided about, or a copy of a marked one")
        elif len(found.pictures) < arguments.count:
            say(f"no more than {len(found.pictures)}: the others are marked, decided about, or copies of such pictures")
    return 4 if found.unreadable else 0


def _import(arguments: argparse.Namespace) -> int:
    from tqdm import tqdm

    from ..labels.importing.taking import ImportOptions, import_labels
    from .console import print_json

    job = _job(arguments)
    options = ImportOptions(
        arguments.format, arguments.classes, arguments.overwrite, arguments.nothing, arguments.skip_broken
    )
    with tqdm(unit="picture", file=sys.stderr, disable=None, leave=False) as bar:

        def progress(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        report = import_labels(job, arguments.labels, arguments.pictures, options, progress)
    _tell(report)
    if arguments.json:
        print_json(vars(report) | {"folder": str(job.folder)})
    else:
        print(f"{report.kind}: {report.marked} pictures marked, {report.masks} masks and {report.boxes} boxes", end="")
        print(f" ({report.crowds} crowds among the masks)" if report.crowds else "", end="; ")
        print(f"{', '.join(f'{name} is id {number}' for number, name in sorted(report.names.items()))}")
        print(f"marks in {job.folder}" + ("; boxes become masks when they are learnt from" if report.boxes else ""))
    return 4 if report.missing or report.unreadable or report.faults else 0


def _tell(report: ImportReport) -> None:
    """What was not taken in, or not as it was, for the person."""
    from .console import say

    for found, what in (
        (report.missing, "not among the pictures"),
        (report.kept, "marked already, left as they are (--overwrite replaces them)"),
        (report.empty, "without any object, left unmarked (--nothing marks them so)"),
        (report.turned, "labelled as their files lie: turned as EXIF says"),
        (report.faults, "left out"),
    ):
        if found:
            more = f"; and {len(found) - _NAMED} more" if len(found) > _NAMED else ""
            say(f"{len(found)} {what}: {'; '.join(found[:_NAMED])}{more}")
    for path, why in report.unreadable.items():
        say(f"passed over: {path}: {why}" if not why.startswith(path) else f"passed over: {why}")


def _run(arguments: argparse.Namespace) -> int:
    from ..labels.export import checked_format

    for kind in arguments.format:
        checked_format(kind)
    job = _job(arguments)
    return _reported(arguments, job, lambda **how: job.run(arguments.targets, arguments.overwrite, **how))


def _relearn(arguments: argparse.Namespace) -> int:
    job = _job(arguments)
    return _reported(arguments, job, job.relearn)


def _reported(arguments: argparse.Namespace, job: LabelJob, label: Callable[..., LabelReport]) -> int:
    from dataclasses import asdict

    from tqdm import tqdm

    from ..kinds import left_out
    from .console import print_json, say

    bars: list[tqdm] = []

    def progress(done: int, total: int, left: float | None) -> None:
        if not bars:  # begun where this run begins, so that the time left is of its own pace
            bars.append(tqdm(total=total, initial=done - 1, unit="picture", file=sys.stderr, disable=None, leave=False))
        bars[0].update(done - bars[0].n)

    try:
        report = label(progress=progress, workers=arguments.workers)
    finally:
        for bar in bars:
            bar.close()
    for path, why in report.unreadable.items():
        say(f"passed over: {path}: {why}" if not why.startswith(path) else f"passed over: {why}")
    if report.left_out:
        say(left_out({Path(path): why for path, why in report.left_out.items()}))
    folders = [str(job.export(kind, arguments.parts)) for kind in getattr(arguments, "format", ())]
    if arguments.json:
        print_json(asdict(report) | {"advice": report.advice, "folder": str(job.folder), "exports": folders})
    else:
        print(
            f"{report.done} pictures labelled, {report.kept} were done before, {len(report.unreadable)} passed over; "
            f"{report.seconds:.1f} s, {report.learning_seconds:.1f} of it learning; labels in {job.folder}"
        )
        if report.references:
            print(f"learnt from {report.references} references; {report.calibration}")
        if report.advice:
            print(report.advice)
        for folder in folders:
            print(f"  {folder}")
    return 4 if report.unreadable else 0


def _list(arguments: argparse.Namespace) -> int:
    from .console import print_json

    rows = _job(arguments).ranked(arguments.state)
    rows = rows[: arguments.most] if arguments.most > 0 else rows
    if arguments.json:
        print_json(rows)
        return 0
    for row in rows:
        if row["state"] == "unreadable":
            print(f"{row['name']}  unreadable: {row['reason']}")
            continue
        found = [
            f"{o['name']} {o['score']:.2f}"
            + (f" (expected IoU {o['expected_iou']:.2f})" if o["expected_iou"] is not None else "")
            for o in row["objects"]
        ]  # fmt: skip
        print(f"{row['sure']:.2f}  {row['name']}  {row['state']}  {', '.join(found) or 'nothing found'}")
    return 0


def _accept(arguments: argparse.Namespace) -> int:
    print(f"{_job(arguments).accept(arguments.names)} accepted")
    return 0


def _reject(arguments: argparse.Namespace) -> int:
    print(f"{_job(arguments).reject(arguments.names)} rejected")
    return 0


def _fix(arguments: argparse.Namespace) -> int:
    from ..labels.canvas import Canvas
    from ..labels.marks import checked_id
    from .console import say

    job = _job(arguments)
    number = checked_id(arguments.id)
    if not _drawn(arguments):
        return _window(job, [arguments.target], number, True)
    canvas = Canvas(job, arguments.target, correcting=True)
    for mark in _marks(arguments, canvas.image.shape[:2]):
        canvas.add(mark)
    row = canvas.finish()
    found = ", ".join(f"{o['name']} {o['area']} pixels" for o in row["objects"])
    print(f"{row['name']}: {found or 'nothing'}; it is a reference now")
    say("run `idseg label relearn` to propose the rest anew")
    return 0


def _export(arguments: argparse.Namespace) -> int:
    job = _job(arguments)
    states = ("accepted", "corrected") if arguments.accepted else ("proposed", "accepted", "corrected")
    for kind in arguments.format:
        print(job.export(kind, arguments.parts, states))
    return 0

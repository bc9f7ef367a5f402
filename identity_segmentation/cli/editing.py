"""`idseg tracks --export` and `--cut`: who is on screen when, for editing programs, spreadsheets and trainers."""

from __future__ import annotations

import argparse
import difflib
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import InputError, UnknownPerson
from .console import NOT_THERE, print_json, say

if TYPE_CHECKING:
    from ..pipeline import IdentityAwareSegmentation
    from ..video.analysis import Analysis
    from ..video.handoff import HandOff

Bars = Callable[[], AbstractContextManager[Callable[[str, int, int], None]]]
_FORMATS = ("edl", "srt", "csv", "fcpxml", "otio", "mot", "coco-video")  # `video.handoff.FORMATS`, which loads more


def add_options(verb: argparse.ArgumentParser) -> None:
    """Put the options on the verb `tracks`.

    Args:
        verb: its parser.
    """
    verb.add_argument(
        "--export", nargs="+", choices=_FORMATS, default=[], metavar="FORMAT",
        help="write who is on screen when: edl, srt, csv, fcpxml (Final Cut Pro 7 XML, for Premiere), otio, mot, "
        "coco-video",
    )  # fmt: skip
    verb.add_argument("--to", metavar="DIR", help="where exports go (default: OUT.handoff)")
    verb.add_argument(
        "--start", default="", metavar="TIMECODE",
        help="of the timeline's first frame (default: 01:00:00:00 for edl, else the source's own)",
    )  # fmt: skip
    verb.add_argument("--cut", metavar="NAME", help="only the parts with this person, as an edit list (default: edl)")
    verb.add_argument(
        "--handle", type=float, metavar="SECONDS", help="how much longer each part is, on either side (default: 0.2)"
    )
    verb.add_argument("--cut-video", metavar="FILE", help="also those parts as a video with sound: .mp4, .webm or .mov")
    verb.add_argument("--source", metavar="VIDEO", help="the video, where an output or an analysis is named")


def is_asked(arguments: argparse.Namespace) -> bool:
    """Is something to be handed over?

    Raises:
        InputError: options that go with others that are not there.
    """
    asked = bool(arguments.export or arguments.cut)
    if arguments.cut_video and not arguments.cut:
        raise InputError("expected --cut NAME with --cut-video: whose parts they are")
    if arguments.handle is not None and not arguments.cut:
        raise InputError("expected --cut NAME with --handle")
    if not asked and (arguments.to or arguments.start or arguments.source):
        raise InputError("expected --export FORMAT (or --cut NAME) with --to, --start and --source")
    if asked and (arguments.review or arguments.thumbnails):
        raise InputError("expected either --export or --cut, or --review and --thumbnails; not both")
    return asked


def hand_over(arguments: argparse.Namespace, pipeline: IdentityAwareSegmentation, found: Analysis, bars: Bars) -> int:
    """Write what is asked for, and say where it is; returns the exit status.

    Args:
        arguments: of the verb.
        pipeline: knows who is on file.
        found: the analysis.
        bars: gives progress bars, a function of (stage, done, total).
    """
    from ..video.handoff import HandOff, Part, checked_format, export
    from ..video.handoff.cut import HANDLE_S, parts_of
    from ..video.handoff.otio import library

    person = _person(arguments.cut, pipeline, found) if arguments.cut else ""
    kinds = list(dict.fromkeys(arguments.export)) or ([] if arguments.cut_video else ["edl"])
    for kind in kinds:
        checked_format(kind, bool(person))
    if "otio" in kinds:
        library()  # before anything is written
    source = _source(arguments, found)
    masks = Path(arguments.video).with_name(f"{Path(arguments.video).name}.masks.jsonl")
    job = HandOff(found, pipeline.track_names(found), source, arguments.start, masks if masks.is_file() else None)
    job.start_frame()  # says what is wrong with it before anything is written
    if not job.people or (person and person not in job.people):
        say(f"{person or 'nobody with a name'} is never on screen in this video, so nothing was written")
        return NOT_THERE
    parts: tuple[Part, ...] = ()
    if person:
        parts = parts_of(found, job.everybody[person], HANDLE_S if arguments.handle is None else arguments.handle)
        job = HandOff(found, job.names, source, arguments.start, None, person, parts)
    folder = Path(arguments.to) if arguments.to else Path(f"{arguments.video}.handoff")
    files = {kind: str(export(kind, job, folder)) for kind in kinds}
    if arguments.cut_video:
        files["video"] = _cut_video(arguments, job, bars)
    _report(arguments, job, files)
    return 0


def _report(arguments: argparse.Namespace, job: HandOff, files: dict[str, str]) -> None:
    shown = [job.person] if job.person else job.people
    rows = [
        {"person": name, "spans": len(job.everybody[name]),
         "seconds": round(sum(span.to_s - span.from_s for span in job.everybody[name]), 3)}
        for name in shown
    ]  # fmt: skip
    if arguments.json:
        parts = [[part.begin, part.end] for part in job.parts]
        print_json({"files": files, "on_screen": rows, **({"parts": parts} if job.person else {})})
        return
    for row in rows:
        print(f"{row['person']}: {row['seconds']:.1f} s on screen, {row['spans']} time(s)")
    for kind, path in files.items():
        print(f"  {kind}: {path}")


def _person(name: str, pipeline: IdentityAwareSegmentation, found: Analysis) -> str:
    """Who is meant, or `UnknownPerson` with the nearest names. What a followed box is called is nobody on file."""
    if "seed" not in found.header:
        return pipeline.gallery.find(name).name
    if name not in found.people:
        near = difflib.get_close_matches(name, found.people, n=1, cutoff=0.0)
        raise UnknownPerson(f"nothing called {name!r} was followed in this video; did you mean {near[0]!r}?")
    return name


def _source(arguments: argparse.Namespace, found: Analysis) -> Path | None:
    """The video that was analysed, where it was given; with --source it must be that one."""
    from ..video.analysis import file_sha256
    from ..video.review import check_source

    if arguments.source:
        check_source(found, arguments.source, "--source VIDEO")
        return Path(arguments.source)
    named = Path(arguments.video)
    if named.name == found.header["source"] and named.is_file() and file_sha256(named) == found.header["sha256"]:
        return named
    if arguments.cut_video:
        raise InputError("expected --source VIDEO with --cut-video: the video that was analysed")
    return None


def _cut_video(arguments: argparse.Namespace, job: HandOff, bars: Bars) -> str:
    from ..video.handoff.cut import cut_video

    assert job.source is not None
    with bars() as progress:
        cut_video(job.source, arguments.cut_video, job.parts, lambda done, total: progress("cut", done, total))
    return str(arguments.cut_video)

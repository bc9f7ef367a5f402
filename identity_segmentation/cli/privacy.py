"""`idseg blur`: photos in which people cannot be recognised."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ..covers import WAYS
from ..files import shown_path
from .console import DONE, NOT_THERE, PASSED_OVER, Verbs, photos_in, pipeline_of, print_json, say

if TYPE_CHECKING:
    from ..masks.heads import HeadSearch
    from ..pipeline import IdentityAwareSegmentation

_OUT = "blurred"


def add(verbs: Verbs) -> None:
    """Put the verbs on the parser."""
    _add_blur(verbs)


def _add_blur(verbs: Verbs) -> None:
    verb = verbs.add("blur", _blur, "photos in which nobody, or some people, cannot be recognised")
    verb.add_argument("photos", nargs="+", metavar="PICTURE|FOLDER")
    verb.add_argument("--out", metavar="DIR", default=_OUT, help=f"where to write (default: {_OUT})")
    whom = verb.add_mutually_exclusive_group()
    whom.add_argument("--member", nargs="+", metavar="NAME", help="cover every head that could be theirs")
    whom.add_argument("--keep", nargs="+", metavar="NAME", help="cover everybody but those who are surely these")
    verb.add_argument("--way", choices=WAYS, default="blur", help="how to cover (default: blur); see docs/privacy.md")
    verb.add_argument("--body", action="store_true", help="cover whole bodies, not heads alone")
    verb.add_argument("--strip", action="store_true", help="leave out EXIF, GPS, XMP, IPTC and texts")
    verb.add_argument("--json", action="store_true", help="see docs/json.md")


def _blur(arguments: argparse.Namespace) -> int:
    from tqdm import tqdm

    from ..blurring import BlurSettings, blur_folder
    from ..files import check_writable

    settings = BlurSettings(
        tuple(arguments.member or ()), tuple(arguments.keep or ()), arguments.way, arguments.body, arguments.strip
    )
    photos = list(dict.fromkeys(photos_in(arguments.photos)))
    pipeline = pipeline_of(arguments)
    if settings.by_name:
        _ = pipeline.gallery  # what is wrong with it is said before any work
    output = check_writable(arguments.out)
    steps = blur_folder(photos, output, head_search(pipeline), pipeline, settings)
    records, kept, failed = [], 0, 0
    for path, record, outcome in tqdm(steps, total=len(photos), unit="picture", file=sys.stderr, disable=None):
        if record is None:
            failed += 1
            say(f"passed over: {outcome}")
            continue
        kept += outcome == "kept"
        records.append(record)
        if not arguments.json:
            print(f"{shown_path(path)}: {_described(record)}")
    if arguments.json:
        print_json(records)
    _sum_up(records, kept, failed, output)
    if failed:
        return PASSED_OVER
    return NOT_THERE if settings.member and all(r["status"] != "covered" for r in records) else DONE


def head_search(pipeline: IdentityAwareSegmentation) -> HeadSearch:
    """What looks for heads with a pipeline's engines; no gallery is needed.

    Args:
        pipeline: gives the face engine and the detector.
    """
    from ..engines import head_finder_or_none
    from ..masks.heads import HeadSearch

    return HeadSearch(pipeline.face_engine, pipeline.detector_or_none(), head_finder_or_none())


def _described(record: dict) -> str:
    heads, hidden = len(record["heads"]), sum(head["covered"] for head in record["heads"])
    bodies = f", {record['bodies']} whole bodies" if record["bodies"] else ""
    said = {
        "nobody": "nobody found, the picture is as it was",
        "nothing_covered": f"none of {heads} heads covered, the picture is as it was",
    }.get(record["status"], f"{hidden} of {heads} heads covered{bodies}")
    removed = f"; left out: {', '.join(record['removed'])}" if record["removed"] else ""
    remarks = f"; {'; '.join(record['remarks'])}" if record["remarks"] else ""
    return f"{said}{removed}{remarks}; {record['file']}"


def _sum_up(records: Sequence[dict], kept: int, failed: int, output: Path) -> None:
    say(f"{len(records) - kept} pictures done, {kept} were done before, {failed} passed over; results in {output}")
    if failed:
        say("what was passed over was NOT covered and is not in the results")
    say("look through the results before you hand them on: no search finds every head")

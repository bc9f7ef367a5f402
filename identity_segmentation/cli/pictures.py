"""`idseg identify` and `idseg segment`: who is in a picture, and a person's pixels."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import ImageError
from ..files import shown_path
from .console import Verbs, photos_in, pipeline_of, print_json, say

if TYPE_CHECKING:
    from ..pipeline import IdentityAwareSegmentation


def add(verbs: Verbs) -> None:
    """Put the verbs on the parser."""
    verb = verbs.add("identify", _identify, "who is in these pictures")
    verb.add_argument("images", nargs="+", metavar="IMAGE|FOLDER")
    verb.add_argument("--json", action="store_true", help="see docs/json.md")
    verb.add_argument("--out", metavar="DIR", help="also write annotated pictures there")

    verb = verbs.add("segment", _segment, "a person's pixels: annotated picture, overlay, cutout, mask")
    verb.add_argument("source", metavar="IMAGE|FOLDER")
    verb.add_argument(
        "name", nargs="?", metavar="NAME", help='whom, or whose what: a name, an alias, "Wonyoung\'s shirt", person'
    )
    verb.add_argument("--all", action="store_true", help="everyone in the gallery who is in the picture")
    verb.add_argument("--out", metavar="DIR", help="where to write (default: outputs)")
    verb.add_argument(
        "--edges",
        choices=("auto", "fine", "fast"),
        help="fine: hair and cloth in the rim of a mask, 0.4 s a person (default: fine for one or two in one picture)",
    )
    verb.add_argument("--crop", action="store_true", help="cut the cutout to the person's box")
    verb.add_argument("--json", action="store_true", help="see docs/json.md")


def _identify(arguments: argparse.Namespace) -> int:
    from .. import drawing
    from ..files import check_writable, safe_filename, unused_name
    from ..images import read_image, write_image
    from ..results import match_record

    pipeline = pipeline_of(arguments)
    gallery = pipeline.gallery
    out = check_writable(arguments.out) if arguments.out else None
    taken: set[str] = set()
    records, skipped = [], 0
    for path in photos_in(arguments.images):
        try:
            image = read_image(path, pipeline.settings.max_pixels)
        except ImageError as error:
            say(f"passed over: {error}")
            skipped += 1
            continue
        sightings = pipeline.everybody(image)
        matches = [s.match for s in sightings if s.match is not None]
        bodies = [s.body for s in sightings if s.match is None and s.body is not None]
        records.append(
            {
                "image": shown_path(path),
                "faces": [match_record(m) for m in matches],
                "bodies": [{"box": [round(float(v), 1) for v in body]} for body in bodies],
            }
        )
        if out is not None:
            scene = drawing.annotate(image, sightings, pipeline.colour_of)
            write_image(out / f"{unused_name(safe_filename(shown_path(path.stem)), taken)}_identified.jpg", scene)
        if not arguments.json:
            print(shown_path(path))
            for m in sorted(matches, key=lambda m: m.face.box[0]):
                print(f"  {_describe(m)}")
            for x0, y0, x1, y1 in bodies:
                print(f"  unknown, the face is not seen  at {x0:.0f},{y0:.0f} {x1 - x0:.0f}x{y1 - y0:.0f}")
            if not matches:
                print("  no faces" if bodies else "  nobody")
    if arguments.json:
        print_json(records)
    if not len(gallery):
        say("the gallery is empty, so everyone is unknown")
    return 4 if skipped else 0


def _describe(match) -> str:
    x0, y0, x1, y1 = (round(float(v)) for v in match.face.box)
    where = f"at {x0},{y0} {x1 - x0}x{y1 - y0}"
    if match.name is None:
        nearest = f" (nearest: {match.nearest} {match.similarity:.2f})" if match.nearest else ""
        return f"unknown{nearest}  {where}"
    rival = f", {match.margin:+.2f} ahead of {match.runner_up}" if match.runner_up else ""
    group = ", by elimination in the group" if match.basis == "group" else ""
    return f"{match.name}  {match.similarity:.2f}{rival}{group}  {where}"


def _segment(arguments: argparse.Namespace) -> int:
    from ..files import check_writable
    from ..results import results_folder, segment_to_files

    pipeline = pipeline_of(arguments)
    meant = None if arguments.all else pipeline.understood(arguments.name)
    out = check_writable(arguments.out or pipeline.settings.output)
    source = Path(arguments.source)
    if meant is not None and meant.thing:
        return _segment_phrase(arguments, pipeline, source, out)
    names = None if meant is None else [meant.person or ""]
    if source.is_dir():
        return _segment_folder(arguments, pipeline, source, out, names)
    records = segment_to_files(pipeline, source, results_folder(out, source), names, arguments.crop)
    if arguments.json:
        print_json(records)
    else:
        _print_records(records)
    if not records:
        say("nobody in this picture has a name in the gallery")
    return 0 if any(r["mask_area"] for r in records) else 3


def _segment_phrase(arguments, pipeline, source: Path, out: Path) -> int:
    from ..results import phrase_to_files, results_folder

    taken: set[str] = set()
    records, failed = [], 0
    for path in photos_in([source]):
        try:
            target = results_folder(out, path, taken)
            records.append(phrase_to_files(pipeline, path, target, arguments.name, arguments.crop))
        except ImageError as error:
            if not source.is_dir():
                raise
            failed += 1
            say(f"passed over: {error}")
    if arguments.json:
        print_json(records)
    else:
        _print_records(records)
    if failed:
        return 4
    return 0 if any(r["mask_area"] and r["status"] != "not_sure" for r in records) else 3


def _segment_folder(
    arguments: argparse.Namespace, pipeline: IdentityAwareSegmentation, source: Path, out: Path, names: list[str] | None
) -> int:
    from tqdm import tqdm

    from ..results import segment_folder

    total = len(photos_in([source]))
    records, failed, kept = [], 0, 0
    steps = segment_folder(pipeline, source, out, names, arguments.crop)
    for path, found, outcome in tqdm(steps, total=total, unit="picture", file=sys.stderr, disable=None):
        if found is None:
            failed += 1
            say(f"passed over: {outcome}")
            continue
        kept += outcome == "kept"
        records += found
        if not arguments.json and not found:
            print(f"{path}: nobody with a name")
        elif not arguments.json:
            _print_records(found)
    if arguments.json:
        print_json(records)
    say(f"{total - failed - kept} pictures done, {kept} were done before, {failed} passed over; results in {out}")
    return 4 if failed else 0


def _print_records(records: list[dict]) -> None:
    for record in records:
        print(f"{record['image']}: {record['message']}")
        for kind, path in record["files"].items():
            print(f"  {kind}: {path}")

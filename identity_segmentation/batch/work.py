"""What one worker does: loads its engines once, and turns units into files in the destination and rows on record.

Work goes on in a scratch folder of this machine, one a unit, which outlives a killed worker: whoever does the unit next
on this machine goes on from there. Outputs are put in the destination when they are whole, and the row is written last.
"""

from __future__ import annotations

import errno
import os
import shutil
import socket
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from datetime import UTC, datetime
from functools import cached_property
from importlib import import_module
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import filelock

from .. import __version__
from ..errors import EngineUnavailable, InputError, OutputError
from ..files import numbered, safe_filename
from ..parts import part_name
from ..pipeline import IdentityAwareSegmentation
from ..settings import Settings
from ..video.sources import reason_of
from .doing import STEM, Made, header_of, made_files, make, rewrite_paths, video_asked, video_made, video_output
from .galleries import unpacked
from .places import Place, file_system, folder_of, place, shown_address
from .question import Question
from .records import Records
from .spans import do_join, do_look, do_span, is_long
from .units import Beat, Outcome, Source, Unit

PIPELINE = f"{__name__}:default_pipeline"

_FULL = {errno.ENOSPC, errno.EDQUOT}
_ANOTHER = 60.0  # seconds to wait for a worker that is just being ended


def default_pipeline(settings: Settings) -> IdentityAwareSegmentation:
    """The engines that settings ask for.

    Args:
        settings: as JSON they travelled to this machine.
    """
    return IdentityAwareSegmentation(settings.face_engine, settings.segmenter, settings=settings)


def pipeline_by(maker: str, settings: Settings) -> IdentityAwareSegmentation:
    """A pipeline made by "module:function", which takes `Settings`.

    Args:
        maker: `PIPELINE`, or that of an engine of one's own.
        settings: what it is given.
    """
    module, _, function = maker.partition(":")
    return getattr(import_module(module), function)(settings)


def scratch_folder(chosen: str | os.PathLike = "") -> Path:
    """Where work goes on: a folder of this machine, which need not last.

    Args:
        chosen: empty = in the system's folder of temporary files, the user's own.
    """
    who = getattr(os, "getuid", lambda: os.environ.get("USERNAME", "user"))()
    return Path(chosen) if chosen else Path(tempfile.gettempdir()) / f"idseg-batch-{who}"


def worker(
    question: Mapping[str, Any], asked: Mapping[str, Any], digest: str, out: str, prefix: str, scratch: str,
    settings: Mapping[str, Any], gallery: Mapping[str, Any] | None, maker: str, version: str, span: float = 0.0,
) -> Worker:  # fmt: skip
    """A worker with its engines, from JSON; see `job`, which writes it.

    Raises:
        EngineUnavailable: this machine has another version of the package, or other engines.
    """
    if version != __version__:
        raise EngineUnavailable(
            f"the worker on {socket.gethostname()} has identity-segmentation {__version__}, and the job {version}; "
            f"install the same on all machines: pip install identity-segmentation=={version}"
        )
    folder = scratch_folder(scratch)
    ready = Settings(**settings)
    if gallery is not None:
        ready = Settings(**(dict(settings) | {"gallery": str(unpacked(gallery, folder / "galleries"))}))
    made = Worker(
        Question(**question), asked, digest, Records(place(out)), prefix, folder, lambda: pipeline_by(maker, ready),
        span,
    )  # fmt: skip
    _ = made.pipeline  # what is wrong with it is said now, and the time it takes is no unit's
    return made


class Worker:
    """Does units; see the module.

    Args:
        question: what is asked of every source.
        asked: all that decides, as it stands in ``question.json``.
        digest: its hash.
        records: of the destination.
        prefix: of the outputs' places, below the destination.
        scratch: folder of this machine.
        pipeline: makes the engines; called once, with the first unit.
        span: videos that are longer are shared out in spans of so many seconds; 0 = none is.
    """

    def __init__(
        self, question: Question, asked: Mapping[str, Any], digest: str, records: Records, prefix: str, scratch: Path,
        pipeline: Callable[[], IdentityAwareSegmentation], span: float = 0.0,
    ):  # fmt: skip
        self.question, self.asked, self.digest, self.records = question, asked, digest, records
        self.prefix, self.scratch, self.span = prefix, scratch, span
        self._new_pipeline = pipeline
        self.name = f"{socket.gethostname()}-{os.getpid()}"

    @cached_property
    def pipeline(self) -> IdentityAwareSegmentation:
        """The engines, which are those of the job."""
        made = self._new_pipeline()
        here, wanted = self.question.engines_of(made), list(self.asked["engines"])
        if here != wanted:
            raise EngineUnavailable(
                f"the worker on {socket.gethostname()} has the engines {', '.join(here)}, and the job asks for "
                f"{', '.join(wanted)}; name them (--face-engine, --segmenter), or set all machines up alike"
            )
        return made

    def do(self, unit: Unit, beat: Beat) -> Outcome:
        """Do a unit.

        Args:
            unit: a source, or a part of a long video.
            beat: told the source's seconds, again and again.

        Returns:
            "done" with its row, or, of a part of a video, with what the others need to know of it; "failed", "error"
            with the reason.

        Raises:
            IdentitySegmentationError: what holds for all sources: a missing engine, an unknown name, a full disk.
        """
        lock = self.scratch / "locks" / unit.name
        lock.parent.mkdir(parents=True, exist_ok=True)
        try:
            with filelock.FileLock(lock, timeout=_ANOTHER):
                row = self.records.row(unit.key)
                if row is None or row["state"] != "done":
                    return self._held(unit, beat)
                lock.unlink(missing_ok=True)
                return Outcome("done", row)
        except filelock.Timeout:
            return Outcome("error", reason=f"another worker on {socket.gethostname()} is at work on it")
        except Exception as error:
            raise_if_full(error, self.scratch, self.records.place)
            raise

    def _held(self, unit: Unit, beat: Beat) -> Outcome:
        """Do a unit that is this worker's alone on this machine."""
        begun, home = time.monotonic(), self.scratch / unit.name
        beat(0.0, kept_in(home))
        try:
            path = local_copy(unit.source, home / "in", lambda: beat(0.0))
        except (FileNotFoundError, PermissionError, IsADirectoryError) as error:
            return Outcome("failed", reason=f"cannot be read ({error.strerror or error})")
        try:
            made = self._made(unit, path, home, beat)
            if isinstance(made, Outcome):
                self._tidy(unit.name)
                return replace(made, row={**(made.row or {}), "took": round(time.monotonic() - begun, 3)})
            row = self._delivered(unit, path, made, home)
        except InputError as error:  # of this source; another try is cheap, as broken files are seen at once
            self._tidy(unit.name)
            return Outcome("error", reason=reason_of(path, error))
        row |= {"took": round(unit.before + time.monotonic() - begun, 3), "tries": unit.tries + 1}
        self.records.write_row(unit.key, row)
        self._tidy(unit.name)
        return Outcome("done", row)

    def _made(self, unit: Unit, path: Path, home: Path, beat: Beat) -> Made | Outcome:
        """What was made of a source; or, where a part of a long video is done, that it is."""
        q, pipeline, there = self.question, self.pipeline, self.records.place
        if unit.part == "whole" and not (q.do == "video" and is_long(path, self.span)):
            return make(q, pipeline, path, home, beat)
        info = header_of(path)
        length = info.seconds
        beat(length)
        output, ask = video_output(q, home), video_asked(q, home, lambda: beat(length))
        if unit.span is not None:
            do_span(pipeline, path, output, there, unit.key, unit.span, ask)
            return Outcome("done")
        if unit.part == "join":
            return video_made(q, pipeline, home, do_join(pipeline, path, output, there, unit.key, ask), info)
        return Outcome("done", {"spans": do_look(pipeline, path, output, there, unit.key, self.span, ask)})

    def _tidy(self, name: str) -> None:
        shutil.rmtree(self.scratch / name, ignore_errors=True)
        (self.scratch / "locks" / name).unlink(missing_ok=True)

    def _delivered(self, unit: Unit, path: Path, made: Made, home: Path) -> dict[str, Any]:
        """Put the outputs in the destination; the row that tells of them."""
        source, there = unit.source, self.records.place
        files = made_files(home)
        name, before = self._place(unit)
        targets = {tail: f"{name}{tail}" for tail in files}
        for target in targets.values():
            if target not in before and there.exists(target):
                raise InputError(
                    f"{there.address}/{target} is there, and no run made it; move it, or choose another --out"
                )
        shown = shown_address(source.address)
        swaps = {f"{home / 'out' / STEM}": name, str(path.absolute()): shown, str(home): ""}
        self.records.putting(name, unit.key, shown, sorted({*before, *targets.values()}))
        for tail, file in files.items():
            rewrite_paths(file, swaps)
            there.put(file, targets[tail])
        for stale in set(before) - set(targets.values()):
            there.delete(stale)
        if set(before) - set(targets.values()):
            self.records.putting(name, unit.key, shown, sorted(targets.values()))
        told = asdict(made)
        return {
            "key": unit.key, "source": shown, "state": "done", "reason": told["note"], "seconds": told["seconds"],
            "frames": told["frames"], "fps": told["fps"],
            "timecode": told["timecode"], "sound": told["sound"],
            "output": f"{name}{made.main}", "files": sorted(targets.values()),
            "on_screen": told["on_screen"], "where": told["where"], "review": told["review"],
            "versions": {"identity-segmentation": __version__, "engines": self.asked["engines"],
                         "gallery": self.asked["gallery"]},
            "worker": self.name, "question": self.digest,
            "ended": datetime.now(UTC).isoformat(timespec="seconds"),
        }  # fmt: skip

    def _place(self, unit: Unit) -> tuple[str, list[str]]:
        """(the place of a source's outputs, with a number if another source has it; what was put there before)."""
        for name in numbered(f"{self.prefix}{unit.source.place}"):
            before = self.records.own(name, unit.key, shown_address(unit.source.address))
            if before is not None:
                return name, before
        raise AssertionError("unreachable")


def kept_in(home: Path) -> int:
    """How many files of a unit are finished, by earlier tries of it on this machine.

    Args:
        home: its scratch folder.
    """
    return sum(1 for path in home.rglob("*") if path.suffix != ".part" and not path.name.startswith("."))


def local_copy(source: Source, folder: Path, alive: Callable[[], None]) -> Path:
    """A source as a file of this machine: itself, or a copy of what a store has.

    Args:
        source: where it is.
        folder: of the copy.
        alive: called before and after.

    Raises:
        FileNotFoundError, PermissionError: it is not there, or not for us.
    """
    local = folder_of(source.address)
    if local is not None:
        with local.open("rb"):
            return local
    alive()
    name = urlsplit(source.address).path.rpartition("/")[2] or "source"
    target = folder / f"{safe_filename(Path(name).stem)}{Path(name).suffix}"
    if not target.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        beside = folder / part_name("fetching")
        try:
            file_system(source.address).get_file(source.address, str(beside))
            os.utime(beside, ns=(0, 0))  # the copy of every machine is the same
            os.replace(beside, target)
        finally:
            beside.unlink(missing_ok=True)
    alive()
    return target


def raise_if_full(error: BaseException, scratch: Path, there: Place) -> None:
    """Say that a disk is full, if that is what an error comes from: no other source would fare better.

    Args:
        error: and what it comes from.
        scratch: folder of this machine.
        there: the destination.

    Raises:
        OutputError: it is.
    """
    cause: BaseException | None = error
    while cause is not None:
        if getattr(cause, "errno", None) in _FULL:
            raise OutputError(
                f"no space is left on the disk of {scratch} or of {there.address}; make room, or give another "
                "--scratch, and run the same command to go on"
            ) from error
        cause = cause.__cause__ or cause.__context__

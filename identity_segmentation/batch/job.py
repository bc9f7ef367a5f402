"""Sources and a question -> every source done, kept from before, or put aside with its reason; here or on a cluster.

The driver lists the sources, claims one key after the other, hands units to an executor, and keeps in memory only what
is at work: what is done stands in the destination (`records`), so that the same command goes on where a killed one
stopped, on another machine too.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from importlib import import_module
from typing import IO, Any

from .. import __version__
from ..errors import IdentitySegmentationError, InputError, OutputError
from ..settings import Settings
from .executors import LEAST_SECONDS, SECONDS_A_SECOND, Executor, Local, Serial, Setup
from .faults import Faults
from .galleries import packed
from .listing import Plan, listed
from .places import Place, place, shown_address
from .question import Question, digest_of
from .records import LEASE, Records
from .spans import Following, drop_parts
from .units import Outcome, Source, Unit
from .work import PIPELINE, pipeline_by

logger = logging.getLogger(__name__)

EXECUTORS = ("serial", "local", "ray")
SPAN_SECONDS = 600.0

Told = Callable[[dict[str, Any], int, int], None]


@dataclass(frozen=True)
class BatchReport:
    """What a run came to.

    Attributes:
        sources: how many there were, those that are not there included.
        done, failed: in this run: done, and put aside.
        kept: done, or put aside, by earlier runs.
        elsewhere: in another run's hands.
        doubles: named twice, and done once.
        passed_over: files of folders that are of another kind, hidden, or in the destination.
        seconds: that it took.
        out: the destination.
        rows: state -> how many rows the ledger has.
    """

    sources: int
    done: int
    failed: int
    kept: int
    elsewhere: int
    doubles: int
    passed_over: int
    seconds: float
    out: str
    rows: Mapping[str, int]


def batch(
    sources: Sequence[str | os.PathLike] | str | os.PathLike,
    do: str = "video",
    out: str | os.PathLike = "batch",
    executor: str | Callable[[Setup], Executor] = "local",
    *,
    workers: int | None = None,
    threads: int | None = None,
    new_question: bool = False,
    retry_failed: bool = False,
    scratch: str | os.PathLike = "",
    span: float = SPAN_SECONDS,
    least: float = LEAST_SECONDS,
    factor: float = SECONDS_A_SECOND,
    gallery: str | os.PathLike | None = None,
    settings: Settings | None = None,
    maker: str = PIPELINE,
    told: Told | None = None,
    cancel: threading.Event | None = None,
    executor_options: Mapping[str, Any] | None = None,
    **options: Any,
) -> BatchReport:
    """Do one thing with many photos or videos. Run it again to go on: what is done is not done again.

    Args:
        sources: files, folders, patterns, lists (.txt, .csv, .parquet) and fsspec addresses.
        do: "video", "segment", "clips", "label" or "blur".
        out: the destination: a folder, or an fsspec address.
        executor: "serial", "local" (processes of this machine), "ray" (a cluster), or what makes one of a `Setup`.
        workers: how many; None = as the executor finds fit.
        threads: of each; None likewise.
        new_question: the destination holds results of another question; do this one beside them.
        retry_failed: try again what earlier runs put aside.
        scratch: folder of the workers' machines for unfinished work; empty = in that of temporary files.
        span: videos that are half as long again are shared out in spans of so many seconds; 0 = none is.
        least, factor: a unit may take `least` seconds, and `factor` more for every second of its source.
        gallery: folder or address of the people on file; None = the settings'.
        settings: engines and so on; None = `Settings.from_env()`.
        maker: "module:function" that makes the pipeline of `Settings`, where the engines are your own.
        told: called with every row, and how many of how many sources are done with.
        cancel: set it to stop; what is finished is kept.
        executor_options: of the executor alone, such as ``gpus_per_worker``.
        options: of what is done: member=["Wonyoung"], view="cutout"; see `question.OPTIONS`.

    Raises:
        InputError: there are no sources, an option is not right, or the destination holds results of another question.
        GalleryError, EngineUnavailable: what holds for all sources.
        OutputError: the destination cannot be written, or a disk is full; what is finished is kept.
        Cancelled: `cancel` was set.
    """
    given = [sources] if isinstance(sources, str | os.PathLike) else list(sources)
    if not given:
        raise InputError("expected at least one source: a file, a folder, a pattern, a list or an address")
    question = Question(do, options)
    settings = settings or Settings.from_env()
    if str(out).startswith("memory://") and executor in ("local", "ray"):
        raise InputError(f"{out}: memory:// is of one process alone; give --executor serial, or another --out")
    people = packed(gallery or settings.gallery)
    there = place(os.path.abspath(out) if "://" not in str(out) else out)
    there.check()
    with _driver_pipeline(people, settings, maker) as pipeline:
        asked = question.asked_of(pipeline, "" if people is None else people["hash"])
    records, digest = Records(there), digest_of(asked)
    with tempfile.TemporaryFile("w+", encoding="utf-8") as spool:
        job = _Job(records, digest, spool, told)
        job.plan(given, question.kind)
        prefix = records.ask(asked, digest, new_question)
        setup = Setup(
            f"{__package__}.work:worker",
            {"question": {"do": do, "options": dict(question.options)}, "asked": asked, "digest": digest,
             "out": there.address, "prefix": prefix, "scratch": str(scratch and os.path.abspath(scratch)),
             "settings": asdict(settings), "gallery": people if question.by_name else None, "maker": maker,
             "version": __version__, "span": span},
        )  # fmt: skip
        if workers is None and any(name.startswith("sam3") for name in asked["engines"]):
            workers = 1  # one keeps a GPU busy, and has its memory to itself
        limits = {"least": least, "factor": factor}
        how = {"workers": workers, "threads": threads} | limits | dict(executor_options or {})
        return job.run(executor_for(executor, setup, how), retry_failed, cancel or threading.Event())


@contextlib.contextmanager
def _driver_pipeline(people: Mapping[str, Any] | None, settings: Settings, maker: str) -> Iterator[Any]:
    """The engines in the driver, for as long as it takes to ask them who they are; with the people that travel."""
    from .galleries import unpacked

    with tempfile.TemporaryDirectory(prefix="idseg-batch-") as folder:
        if people is not None:
            from pathlib import Path

            settings = replace(settings, gallery=str(unpacked(people, Path(folder))))
        yield pipeline_by(maker, settings)


def executor_for(executor: str | Callable[[Setup], Executor], setup: Setup, how: Mapping[str, Any]) -> Executor:
    """An executor by its name.

    Args:
        executor: one of `EXECUTORS`, or what makes one.
        setup: of its workers.
        how: workers, threads, least, factor, and what is its own.

    Raises:
        InputError: there is none of that name, or it knows no such option.
        EngineUnavailable: Ray is not installed, or its cluster cannot be reached.
    """
    if callable(executor):
        return executor(setup)
    if executor not in EXECUTORS:
        raise InputError(f"unknown --executor {executor!r}; expected {', '.join(EXECUTORS)}")
    if how.get("workers") is not None and how["workers"] < 1:
        raise InputError(f"expected one worker or more, got {how['workers']}")
    if executor == "ray":
        return import_module(f"{__package__}.ray_executor").create(setup, **how)
    own = {name: value for name, value in how.items() if name in ("workers", "threads", "least", "factor")}
    unknown = sorted(name for name, value in how.items() if name not in own and value is not None)
    if unknown:
        raise InputError(f"{', '.join(unknown)} is for --executor ray; got {executor!r}")
    return Serial(setup) if executor == "serial" else Local(setup, **own)


def _row_key(text: str) -> bytes:
    return bytes.fromhex(text)


class _Job:
    """One run of the driver."""

    def __init__(self, records: Records, digest: str, spool: IO[str], told: Told | None):
        self.records, self.digest, self._spool, self._told = records, digest, spool, told
        self.listing = Plan()
        self.done = self.failed = self.kept = 0
        self._known: set[bytes] = set()  # keys on record when this run began: 16 bytes each
        self._elsewhere: list[Unit] = []
        self._at_work: set[str] = set()
        self._following, self._faults = Following(), Faults()
        self._begun = time.monotonic()

    # ---- the plan

    def plan(self, sources: Sequence[str | os.PathLike], kind: str) -> None:
        """List the sources into a file of this machine, so that they are in nobody's memory.

        Raises:
            InputError: there are none.
        """
        missing: list[tuple[str, str]] = []
        keys: set[bytes] = set()

        def not_there(what: str, why: str) -> None:
            if len(missing) < 3:
                missing.append((what, why))
            self._line(self._missing_key(what), None, what, why)

        for source in listed(sources, kind, self.listing, self.records.place.address, not_there):
            key = source.key(self.digest)
            if _row_key(key) in keys:
                if source.stamp.startswith("etag:"):  # the same content, under another name
                    self.listing.doubles += 1
                    self.listing.taken -= 1
                    continue
                key = replace(source, name="").key(f"{self.digest} {source.address}")
            keys.add(_row_key(key))
            self._line(key, source, source.address, "")
        if not self.listing.taken:
            why = "; ".join(f"{what}: {reason}" for what, reason in missing)
            others = f"; {self.listing.passed_over} files are of another kind" if self.listing.passed_over else ""
            raise InputError(f"there is nothing to do: {why or f'no {kind}s in {_shown(sources)}'}{others}")

    def _line(self, key: str, source: Source | None, what: str, why: str) -> None:
        fields = [source.stamp, source.place, source.size, source.name] if source else None
        self._spool.write(json.dumps([key, what, why, fields]) + "\n")

    def _missing_key(self, what: str) -> str:
        return hashlib.sha256(f"{self.digest}\nmissing\n{what}".encode(errors="surrogatepass")).hexdigest()[:32]

    def _planned(self) -> Iterator[tuple[str, Source | None, str, str]]:
        self._spool.seek(0)
        for line in self._spool:
            key, what, why, fields = json.loads(line)
            yield key, None if fields is None else Source(what, *fields), what, why

    # ---- the run

    @property
    def total(self) -> int:
        """Sources of this job, those that are not there included."""
        return self.listing.taken + self.listing.missing

    def run(self, executor: Executor, retry_failed: bool, cancel: threading.Event) -> BatchReport:
        """Do what is to be done."""
        for key in self.records.done():
            with contextlib.suppress(ValueError):
                self._known.add(_row_key(key))
        for key in self.records.claimed():  # of a driver that was killed between a row and its claim
            with contextlib.suppress(ValueError):
                if _row_key(key) in self._known:
                    self.records.release(key)
        try:
            with self._keeping_claims():
                executor.run(self._units(retry_failed), self._ended, cancel)
        finally:
            for key in tuple(self._at_work):
                with contextlib.suppress(OutputError, OSError):
                    self.records.release(key)
            rows: Mapping[str, int] = {}
            try:
                rows = self.records.write_ledger()
            except (OutputError, OSError) as error:  # of a full disk, of which another error tells already
                logger.warning("the ledger could not be written: %s", error)
        return BatchReport(
            self.total, self.done, self.failed, self.kept, len(self._elsewhere), self.listing.doubles,
            self.listing.passed_over, round(time.monotonic() - self._begun, 3), self.records.place.address, dict(rows),
        )  # fmt: skip

    def _units(self, retry_failed: bool) -> Iterator[Unit]:
        for key, source, what, why in self._planned():
            if source is None:
                self._put_missing(key, what, why)
                continue
            gone = self._missing_key(shown_address(what))
            if _row_key(gone) in self._known:  # it is there now
                self.records.forget(gone)
            if _row_key(key) in self._known and not (retry_failed and self._was_put_aside(key)):
                self.kept += 1
                continue
            yield from self._claimed(Unit(key, source))
        waiting, self._elsewhere = self._elsewhere, []  # whose driver may have been killed meanwhile
        for unit in waiting:
            yield from self._claimed(unit)

    def _claimed(self, unit: Unit) -> Iterator[Unit]:
        if not self.records.claim(unit.key):
            self._elsewhere.append(unit)
            return
        self._at_work.add(unit.key)
        if _row_key(unit.key) not in self._known and self.records.has_row(unit.key):  # another run was faster
            self.kept += 1
            self._let_go(unit.key)
            return
        yield unit

    def _let_go(self, key: str) -> None:
        self._at_work.discard(key)
        self._faults.drop(key)
        self.records.release(key)

    def _was_put_aside(self, key: str) -> bool:
        row = self.records.row(key)
        if row is None or row["state"] == "done":
            return row is None
        self.records.forget(key)
        self._known.discard(_row_key(key))
        return True

    def _put_missing(self, key: str, what: str, why: str) -> None:
        row = self._failed_row(key, what, why, 1)
        self.records.write_row(key, row)
        self.failed += 1
        self._tell(row)

    def _failed_row(self, key: str, address: str, reason: str, tries: int) -> dict[str, Any]:
        return {
            "key": key, "source": shown_address(address), "state": "failed", "reason": reason, "seconds": 0.0,
            "frames": 0, "fps": "", "timecode": "", "sound": False, "took": 0.0, "tries": tries,
            "output": "", "files": [], "on_screen": {}, "where": [], "review": [],
            "versions": {"identity-segmentation": __version__}, "worker": "", "question": self.digest,
            "ended": datetime.now(UTC).isoformat(timespec="seconds"),
        }  # fmt: skip

    def _ended(self, unit: Unit, outcome: Outcome) -> Iterable[Unit]:
        """What follows on a unit: another try, or nothing - then it is done, or put aside."""
        if unit.key not in self._at_work:  # another part of the same video could not be done
            return []
        if outcome.again and (another := self._faults.again(unit, outcome)) is not None:
            logger.info("%s: %s; tried again", unit.source.address, outcome.reason)
            return [another]
        reason = self._faults.reason(unit, outcome)
        self._faults.over(unit, outcome.state == "done")
        more = self._following.after(unit, outcome)
        if more or self._following.is_open(unit.key):
            return more
        row = dict(outcome.row or {})
        if outcome.state == "done":
            self.done += 1
        else:
            row = self._failed_row(unit.key, unit.source.address, reason, unit.tries + 1)
            self.records.write_row(unit.key, row)
            self.failed += 1
        if unit.part != "whole":
            drop_parts(self.records.place, unit.key)
        self._let_go(unit.key)
        self._tell(row)
        return []

    def _tell(self, row: dict[str, Any]) -> None:
        if self._told is not None:
            self._told(row, self.done + self.failed + self.kept, self.total)

    @contextlib.contextmanager
    def _keeping_claims(self) -> Iterator[None]:
        """Renew the claims on what is at work, from time to time."""
        over = threading.Event()

        def renew() -> None:
            while not over.wait(LEASE / 5):
                for key in tuple(self._at_work):
                    with contextlib.suppress(IdentitySegmentationError, OSError):
                        self.records.renew(key)

        thread = threading.Thread(target=renew, daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()


def _shown(sources: Sequence[str | os.PathLike]) -> str:
    return ", ".join(shown_address(source) for source in sources[:3]) + (" and more" if len(sources) > 3 else "")


__all__ = ["BatchReport", "Place", "batch"]

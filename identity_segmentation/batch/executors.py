"""Who does the work: this process, processes of this machine, or (in `ray_executor`) a cluster. One small protocol."""

from __future__ import annotations

import contextlib
import json
import logging
import multiprocessing
import os
import signal
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing import connection
from multiprocessing.context import SpawnContext, SpawnProcess
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, Protocol

from ..errors import Cancelled, EngineUnavailable, IdentitySegmentationError
from .units import Beat, Outcome, Unit

logger = logging.getLogger(__name__)

Ended = Callable[[Unit, Outcome], Iterable[Unit]]  # in the driver: what follows on a unit

LEAST_SECONDS, SECONDS_A_SECOND = 120.0, 30.0  # a unit may take so long, and so long a second of its source
_LOOK = 0.5  # seconds between two looks at the workers
_LOADING = 600.0  # seconds that a new process may take to load its engines
_BEAT = 1.0  # seconds between two signs of life that are written down
_MEMORY_A_WORKER = 2 << 30  # bytes: the engines, and what is at work of a 4K video
# Signals that come from outside, never from a fault of a process's own: the system's memory guard, a person, a machine
# that is shut down. (signal(7))
_FROM_OUTSIDE = frozenset(getattr(signal, name, signal.SIGTERM) for name in ("SIGKILL", "SIGTERM", "SIGHUP", "SIGINT"))
_GUARD = -int(getattr(signal, "SIGKILL", signal.SIGTERM))  # exit status of a process that the memory guard ended
STARTS = 20  # deaths in a row of a process that loads its engines, after which it is the machine's fault


class Does(Protocol):
    """A worker's work; see `work.Worker`."""

    def do(self, unit: Unit, beat: Beat) -> Outcome:
        """Do a unit; `beat(seconds)` says that it is alive, and how long the source is."""


class Executor(Protocol):
    """Runs units."""

    name: str

    def run(self, units: Iterator[Unit], ended: Ended, cancel: threading.Event) -> None:
        """Run units until there are none.

        Args:
            units: taken one by one, only as workers get free: the list may be long. One that is `alone` is done when
                the list is at its end, with nothing else at work on its machine.
            ended: called in this thread for every unit that ended, whatever became of it; what it returns comes next.
            cancel: set it to stop; what is at work is given up.

        Raises:
            Cancelled: `cancel` was set.
            IdentitySegmentationError: what holds for the whole job, such as a missing engine or a full disk.
        """


@dataclass(frozen=True)
class Setup:
    """What a worker is made from, as JSON: the same on every machine.

    Attributes:
        factory: "module:function" of a function of `given` that makes what `Does`.
        given: its arguments.
    """

    factory: str
    given: Mapping[str, Any]

    def worker(self) -> Does:
        """A worker."""
        from importlib import import_module

        module, _, function = self.factory.partition(":")
        return getattr(import_module(module), function)(**self.given)


def sized(workers: int | None = None, threads: int | None = None, memory: int = _MEMORY_A_WORKER) -> tuple[int, int]:
    """(processes, threads of each) for this machine: as many as there are cores, and as its free memory has room for.

    Args:
        workers: so many, whatever the memory; None = as said.
        threads: of each; None = the cores, shared.
        memory: bytes that a worker takes.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if workers is None:
        free = _free_memory()
        room = cores if free is None else max(1, free // memory)
        workers = max(1, min(cores // (threads or 1), room))
    return workers, threads or max(1, cores // workers)


def _free_memory() -> int | None:
    """Bytes that can be had without swapping (proc(5): MemAvailable); None where the system does not say so."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        for line in Path("/proc/meminfo").read_text("ascii").splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    return None


class Queue:
    """What is to be done: what followed on other units goes first, then the list, then what is to be alone.

    Args:
        units: the list.
        ended: see `Executor`.
    """

    def __init__(self, units: Iterator[Unit], ended: Ended):
        self._units, self._ended = units, ended
        self._next, self._alone = list[Unit](), list[Unit]()

    def take(self, at_work: Sequence[Unit] = ()) -> Unit | None:
        """The next unit; None if there is none now.

        Args:
            at_work: what is at work on the machine of the worker that asks.
        """
        if any(unit.alone for unit in at_work):
            return None
        while (unit := self._next.pop(0) if self._next else next(self._units, None)) is not None:
            if not unit.alone:
                return unit
            self._alone.append(unit)
        return self._alone.pop(0) if self._alone and not at_work else None

    def put_back(self, unit: Unit) -> None:
        """What was taken comes next again."""
        self._next.insert(0, unit)

    def end(self, unit: Unit, outcome: Outcome) -> None:
        """A unit has ended; what follows comes next."""
        self._next.extend(self._ended(unit, outcome))


class Serial:
    """One unit after another, in this process.

    Args:
        setup: of the worker.
    """

    name = "serial"

    def __init__(self, setup: Setup):
        self._setup = setup

    def run(self, units: Iterator[Unit], ended: Ended, cancel: threading.Event) -> None:
        """See `Executor`."""
        todo, worker = Queue(units, ended), None

        def beat(seconds: float, kept: int | None = None) -> None:
            if cancel.is_set():
                raise Cancelled

        while (unit := todo.take()) is not None:
            beat(0.0)
            worker = worker or self._setup.worker()
            todo.end(unit, outcome_of(worker, unit, beat))


def outcome_of(worker: Does, unit: Unit, beat: Beat) -> Outcome:
    """Do a unit; what no retry mends is raised, everything else is an outcome.

    Args:
        worker: who does it.
        unit: what is done.
        beat: see `Does`.
    """
    try:
        return worker.do(unit, beat)
    except (IdentitySegmentationError, Cancelled):
        raise
    except MemoryError:
        return Outcome("killed", reason="there was not enough memory; give fewer --workers")
    except Exception as error:  # of a decoder, a device, a network: another try may fare better
        logger.exception("%s", unit.source.address)
        return Outcome("error", reason=f"unexpected {type(error).__name__}: {error}")


# ---- processes of this machine

_setup: Setup | None = None
_worker: Does | None = None


def limit_threads(threads: int) -> None:
    """Let this process, a worker's, compute with so many threads; called before the nets' libraries are loaded."""
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "IDSEG_THREADS"):
        os.environ[name] = str(threads)
    import cv2

    cv2.setNumThreads(threads)


def _begin(setup: Setup, threads: int) -> None:
    """In a new process: see to its threads and its end. The worker is made with the first unit."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the driver's
    threading.Thread(target=_end_with_driver, daemon=True).start()
    limit_threads(threads)
    global _setup, _worker
    _setup, _worker = setup, None


def _end_with_driver() -> None:
    """End this process as soon as the driver has ended, however it did: nobody would take what it makes."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        connection.wait([parent.sentinel])
        os._exit(1)


def _do(text: str, heart: str) -> Outcome:
    global _worker
    if _worker is None:
        assert _setup is not None
        _worker = _setup.worker()
    last, said = 0.0, {"seconds": -1.0, "kept": 0.0}

    def beat(seconds: float, kept: int | None = None) -> None:
        nonlocal last, said
        now, word = time.monotonic(), {"seconds": seconds, "kept": said["kept"] if kept is None else kept}
        if word != said or now - last > _BEAT:
            last, said = now, word
            Path(heart).write_text(json.dumps(word), "utf-8")

    beat(0.0)
    return outcome_of(_worker, Unit.from_json(text), beat)


class _Spawned(SpawnContext):
    """Starts processes as `multiprocessing` does, and says which one was started last."""

    last: SpawnProcess | None = None

    def Process(self, *given: Any, **named: Any) -> SpawnProcess:  # type: ignore[override]
        """See `multiprocessing.Process`."""
        self.last = SpawnProcess(*given, **named)
        return self.last


class _Slot:
    """One process; if it dies, one unit is lost, and no other slot notices."""

    def __init__(self, setup: Setup, threads: int, heart: Path):
        self._setup, self.threads, self._heart = setup, threads, heart
        self._spawned, self._pool = self._new()
        self.unit: Unit | None = None
        self.future: Future[Outcome] | None = None
        self.started = 0.0
        self.begun: float | None = None  # when it was first seen at work on the unit
        self._stillborn = 0  # deaths in a row before the unit was begun

    def _new(self) -> tuple[_Spawned, ProcessPoolExecutor]:
        spawned = _Spawned()
        return spawned, ProcessPoolExecutor(1, spawned, _begin, (self._setup, self.threads))

    def start(self, unit: Unit) -> None:
        self._heart.unlink(missing_ok=True)
        self.unit, self.begun, self.started = unit, None, time.monotonic()
        try:
            self.future = self._pool.submit(_do, unit.as_json(), str(self._heart))
        except BrokenProcessPool:  # it died between two units: nothing is lost
            self.renew(self.threads)
            return self.start(unit)

    def is_late(self, least: float, factor: float) -> bool:
        """Has it been at work too long, or too long without a sign that its engines are loaded?"""
        now, heard = time.monotonic(), self._heard()
        if heard is not None:
            self.begun = self.begun or now
        if self.begun is None:
            return now - self.started > _LOADING
        return now - self.begun > least + factor * (heard or {}).get("seconds", 0.0)

    def _heard(self) -> dict[str, float] | None:
        """What the process last said of the unit; None = it has not begun with it."""
        with contextlib.suppress(OSError, ValueError):
            return {"seconds": 0.0, "kept": 0, **json.loads(self._heart.read_text("utf-8"))}
        return {} if self._heart.exists() else None  # {}: it is just being written

    def collected(self) -> Outcome | None:
        """What became of the unit; None = its process died before it began with it, and another has it now. A process
        that died is replaced, and one that the system killed - memory was short, as a rule - by one with half the
        threads."""
        assert self.future is not None and self.unit is not None
        ended, self.future = self.future, None
        try:
            outcome = ended.result()
        except BrokenProcessPool:
            code, heard = exit_status(self._spawned.last), self._heard()
            self.renew(max(1, self.threads // 2) if code in (None, _GUARD) else self.threads)
            if heard is None:
                self._count_stillborn(code)
                self.start(self.unit)
                return None
            self._stillborn = 0
            if code is None or -code in _FROM_OUTSIDE:
                why = f"the worker was killed ({_ended_by(code)}); if memory is short, give fewer --workers"
                return Outcome("killed", reason=why, kept=int(heard.get("kept", 0)))
            return Outcome("error", reason=f"the worker crashed over it ({_ended_by(code)})")
        self._stillborn = 0
        if outcome.state == "killed":  # there was not enough memory
            self.renew(max(1, self.threads // 2))
        return outcome

    def _count_stillborn(self, code: int | None) -> None:
        """A process that dies while it loads its engines is no unit's fault; again and again, it is the machine's."""
        self._stillborn += 1
        if self._stillborn >= STARTS:
            raise EngineUnavailable(
                f"a worker cannot be started: it ended {self._stillborn} times in a row while it loaded its engines "
                f"({_ended_by(code)}); if memory is short, give fewer --workers; else see: idseg doctor"
            )

    def renew(self, threads: int) -> None:
        """Another process in its place, which begins with the next unit."""
        self.close()
        self.threads = threads
        self._spawned, self._pool = self._new()

    def close(self) -> None:
        """End the process: at once if it is at work."""
        process = self._spawned.last
        if process is not None and (self.future is not None or not process.is_alive()):
            process.kill()
        self._spawned.last, self.future = None, None
        self._pool.shutdown(wait=False, cancel_futures=True)


def exit_status(process: BaseProcess | None, patience: float = 5.0) -> int | None:
    """Exit status of a process that has ended or is about to, as `Process.exitcode` gives it; None = nobody knows.

    The pool's own thread waits for the process too. Whoever comes second is told by the system that there is no such
    child, and reads None until the first has written the status down: so it is asked again.

    Args:
        process: asked; None = it was never started.
        patience: seconds to wait for it.
    """
    if process is None:
        return None
    until = time.monotonic() + patience
    process.join(patience)
    while (code := process.exitcode) is None and time.monotonic() < until:
        time.sleep(0.01)
    return code


def _ended_by(code: int | None) -> str:
    """How a process ended, by its exit status: a signal's name, where it was one."""
    if code is None:
        return "nobody knows by what"
    return signal.Signals(-code).name if -code in {int(s) for s in signal.Signals} else f"exit status {code}"


class Local:
    """Processes of this machine, each with its own engines.

    Args:
        setup: of the workers.
        workers: how many; None = as `sized` says.
        threads: of each; None likewise.
        least: seconds that a unit may take, whatever its length.
        factor: seconds that it may take beyond that for every second of its source.
    """

    name = "local"

    def __init__(
        self, setup: Setup, workers: int | None = None, threads: int | None = None, least: float = LEAST_SECONDS,
        factor: float = SECONDS_A_SECOND,
    ):  # fmt: skip
        self._setup, self._least, self._factor = setup, least, factor
        self.workers, self.threads = sized(workers, threads)

    def run(self, units: Iterator[Unit], ended: Ended, cancel: threading.Event) -> None:
        """See `Executor`."""
        todo = Queue(units, ended)
        with contextlib.ExitStack() as stack:
            hearts = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="idseg-batch-")))
            slots = [_Slot(self._setup, self.threads, hearts / f"{n}") for n in range(self.workers)]
            for slot in slots:
                stack.callback(slot.close)
            while True:
                if cancel.is_set():
                    raise Cancelled
                for slot in slots:
                    at_work_now = [other.unit for other in slots if other.future is not None and other.unit]
                    if slot.future is None and (unit := todo.take(at_work_now)) is not None:
                        slot.start(unit)
                at_work = {slot.future: slot for slot in slots if slot.future is not None}
                if not at_work:
                    return
                done, _ = wait(at_work, timeout=_LOOK, return_when=FIRST_COMPLETED)
                for future in done:
                    slot = at_work[future]
                    assert slot.unit is not None
                    if (outcome := slot.collected()) is not None:
                        todo.end(slot.unit, outcome)
                self._end_late(todo, [slot for slot in slots if slot.future is not None])

    def _end_late(self, todo: Queue, slots: list[_Slot]) -> None:
        for slot in slots:
            if slot.future is not None and not slot.future.done() and slot.is_late(self._least, self._factor):
                took = time.monotonic() - (slot.begun or slot.started)
                slot.renew(slot.threads)
                assert slot.unit is not None
                todo.end(slot.unit, Outcome("timed out", reason=f"not done after {took:.0f} s"))

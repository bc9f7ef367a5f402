"""A Ray cluster does the work: an actor a slot, which holds one loaded worker; only addresses and keys travel.

Ray places the actors, starts them again elsewhere when a machine or a process dies, and reserves cores and parts of
GPUs for them. (https://docs.ray.io/en/latest/ray-core/actors.html) What is here hands out units, one an actor at a
time, so that an actor that is killed loses one unit; and ends what takes too long.
"""

from __future__ import annotations

import logging
import os
import platform
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from .. import __version__, errors
from ..errors import Cancelled, EngineUnavailable, IdentitySegmentationError, InputError
from .executors import LEAST_SECONDS, SECONDS_A_SECOND, STARTS, Does, Ended, Queue, Setup, limit_threads, outcome_of
from .units import Outcome, Unit

logger = logging.getLogger(__name__)

REACHED_SECONDS = 8.0  # within which the cluster has to answer; said within ten
_LOOK = 0.5  # seconds between two looks at the workers
_SILENT = 30.0  # seconds more for a worker that does not say how long its source is
_ASKED = 5.0  # seconds between two questions to a worker that is at work
_HELLOS = 3  # attempts to start an actor, after which something is wrong with the machines
_WAITS = 30.0  # seconds after which it is said that the cluster has no room
_SAYING = "saying"  # concurrency group: an actor answers while it is at work
_STORE = 80_000_000  # bytes of Ray's object store on a cluster of this machine alone; nothing large goes through it


class Actor:
    """One worker, in a process of the cluster.

    Args:
        setup: of the worker.
    """

    def __init__(self, setup: Setup):
        self._setup, self._seconds, self._kept = setup, 0.0, 0
        self._worker: Does | None = None

    def hello(self, threads: int) -> dict[str, str]:
        """Set the number of threads, before any net is loaded; where this is, and what is installed here."""
        limit_threads(threads)
        return {"package": __version__, "python": platform.python_version(), "host": socket.gethostname()}

    def load(self) -> dict[str, Any]:
        """Load the engines, so that a death meanwhile is no unit's; {}, or what ends the job, as of `do`."""
        try:
            self._worker = self._worker or self._setup.worker()
            return {}
        except (IdentitySegmentationError, MemoryError) as error:
            return {"raise": type(error).__name__, "text": str(error)}

    def do(self, unit: str) -> dict[str, Any]:
        """Do a unit; an `Outcome` as a dict, or what ends the job: {"raise": its class, "text": what it says}."""
        self._seconds, self._kept = 0.0, 0
        try:
            if self._worker is None:
                self._worker = self._setup.worker()
            return asdict(outcome_of(self._worker, Unit.from_json(unit), self._beat))
        except (IdentitySegmentationError, MemoryError) as error:
            return {"raise": type(error).__name__, "text": str(error)}

    def _beat(self, seconds: float, kept: int | None = None) -> None:
        self._seconds = max(self._seconds, seconds)
        self._kept = self._kept if kept is None else kept

    def heard(self) -> tuple[float, int]:
        """Length of the source at work, in seconds, 0 while nobody knows; how much was done by earlier tries
        (`units.Beat`)."""
        return self._seconds, self._kept


@dataclass
class _Slot:
    """An actor and what it has in hand."""

    actor: Any
    threads: int
    future: Any = None
    unit: Unit | None = None  # None while it starts
    begun: float = 0.0
    asked: Any = None  # how long its source is, and what it found done
    asked_at: float = 0.0
    seconds: float = -1.0
    kept: int = 0
    late: bool = False
    failed: int = 0  # starts that failed, in a row
    stillborn: int = 0  # deaths in a row while engines were loaded
    ready: bool = False
    host: str = ""
    loading: bool = False


class Ray:
    """Actors of a Ray cluster.

    Args:
        setup: of the workers; the package, the engines, and what the setup names have to be on every machine.
        workers: how many; None = as many as the cluster has room for when the job begins.
        threads: of each; that many cores are reserved.
        gpus: GPUs for each, in parts: 0.25 puts four workers on one.
        address: of the cluster, "host:6379" or "ray://host:10001"; empty = what RAY_ADDRESS says, or else a cluster of
            this machine alone, which ends with the job.
        least: seconds that a unit may take, whatever its length.
        factor: seconds that it may take beyond that for every second of its source.

    Raises:
        InputError: a number out of range.
        EngineUnavailable: Ray is not installed.
    """

    name = "ray"

    def __init__(
        self, setup: Setup, workers: int | None = None, threads: int = 1, gpus: float = 0.0, address: str = "",
        least: float = LEAST_SECONDS, factor: float = SECONDS_A_SECOND,
    ):  # fmt: skip
        if (workers is not None and workers < 1) or threads < 1:
            raise InputError(f"expected a worker and a thread at least, got {workers} and {threads}")
        if gpus < 0 or (gpus > 1 and gpus != int(gpus)):
            raise InputError(f"expected a part of a GPU, or whole ones, for each worker; got {gpus}")
        self._setup, self._workers, self._threads, self._gpus = setup, workers, threads, gpus
        self._address = address or os.environ.get("RAY_ADDRESS", "")
        self._least, self._factor = least, factor
        self._ray = _library()

    def run(self, units: Iterator[Unit], ended: Ended, cancel: threading.Event) -> None:
        """See `executors.Executor`.

        Raises:
            EngineUnavailable: the cluster cannot be reached, a machine of it has another version of this package, or
                workers cannot be started.
        """
        ours = not self._ray.is_initialized()
        if ours:
            self._connect()
        try:
            _Run(self, units, ended, cancel).run()
        finally:
            if ours:
                self._ray.shutdown()

    def _connect(self) -> None:
        """Reach the cluster, or start one here."""
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # of a cluster that begins here: nothing is sent anywhere
        quiet = {"logging_level": logging.ERROR, "log_to_driver": False}
        local = not self._address or self._address == "local"
        if not local:
            _check_reached(self._address)
        where: dict[str, Any] = {"address": self._address}
        if local:
            where = {"address": "local", "include_dashboard": False, "object_store_memory": _STORE}
        try:
            self._ray.init(**where, **quiet)
        except Exception as error:  # of many kinds: another version of Ray, no cluster, a network, a machine too busy
            what = "on this machine cannot be started" if local else f"at {self._address} cannot be used"
            raise EngineUnavailable(f"the Ray cluster {what} ({_last_line(error)}); or: --executor local") from error

    def count(self) -> int:
        """How many workers there are to be."""
        if self._workers is not None:
            return self._workers
        there = self._ray.cluster_resources()
        most = int(there.get("CPU", 1) / self._threads)
        if self._gpus:
            most = min(most, int(there.get("GPU", 0) / self._gpus + 1e-9))
        return max(1, most)

    def actor(self) -> Any:
        """A new actor. Ray starts it again, wherever there is room, as often as it dies; its unit is tried again by the
        job, which counts."""
        # The class is wrapped here: where Ray is not installed this module can be imported all the same.
        remote = self._ray.remote(
            num_cpus=self._threads, num_gpus=self._gpus, max_restarts=-1, max_task_retries=0,
            concurrency_groups={_SAYING: 1},
        )(Actor)  # fmt: skip
        return remote.remote(self._setup)


def create(
    setup: Setup, workers: int | None = None, threads: int | None = None, gpus_per_worker: float | None = None,
    address: str | None = None, least: float = LEAST_SECONDS, factor: float = SECONDS_A_SECOND,
) -> Ray:  # fmt: skip
    """The executor, from options that may be left open; see `Ray`.

    Args:
        setup, workers, least, factor: as of `Ray`.
        threads: None = 1.
        gpus_per_worker: None = 0.
        address: None = what RAY_ADDRESS says.
    """
    return Ray(setup, workers, threads or 1, gpus_per_worker or 0.0, address or "", least, factor)


class _Run:
    """One run of an executor."""

    def __init__(self, executor: Ray, units: Iterator[Unit], ended: Ended, cancel: threading.Event):
        self._executor, self._ray, self._cancel = executor, executor._ray, cancel
        self._todo = Queue(units, ended)
        self._slots: list[_Slot] = []
        self._begun, self._said = time.monotonic(), False

    def run(self) -> None:
        first = self._todo.take()
        if first is None:
            return
        self._todo.put_back(first)
        try:
            for _ in range(self._executor.count()):
                self._slots.append(_Slot(self._executor.actor(), self._executor._threads))
                self._start(self._slots[-1])
            while self._busy():
                if self._cancel.is_set():
                    raise Cancelled
                self._look()
        finally:
            for slot in self._slots:
                self._ray.kill(slot.actor)

    def _busy(self) -> bool:
        """Give work to those who have none; is there any left?"""
        for slot in self._slots:
            if not slot.ready or slot.future is not None:
                continue
            if (unit := self._todo.take([s.unit for s in self._slots if s.unit and s.host == slot.host])) is not None:
                slot.unit, slot.begun, slot.seconds, slot.kept, slot.late = unit, time.monotonic(), -1.0, 0, False
                slot.asked, slot.asked_at = None, slot.begun + 1 - _ASKED  # for the first time after a second
                slot.future = slot.actor.do.remote(unit.as_json())
        if any(slot.unit is not None for slot in self._slots):
            return True
        # All who could work have nothing to do: there is nothing, unless nobody could work yet.
        return not any(slot.ready for slot in self._slots)

    def _look(self) -> None:
        at_work = {slot.future: slot for slot in self._slots if slot.future is not None}
        done, _ = self._ray.wait(list(at_work), num_returns=1, timeout=_LOOK)
        for future in done:
            slot = at_work[future]
            slot.future = None
            self._started(slot, future) if slot.unit is None else self._worked(slot, future)
        for slot in self._slots:
            if slot.unit is None or slot.future is None or slot.late:
                continue
            self._hear(slot)
            if self._is_late(slot):
                slot.late = True
                self._ray.kill(slot.actor, no_restart=False)  # its future ends with that
        if not self._said and not any(s.ready for s in self._slots) and time.monotonic() - self._begun > _WAITS:
            self._said = True
            logger.warning(
                "the cluster has no room yet for a worker of %d cores and %g GPUs; see: ray status",
                self._executor._threads, self._executor._gpus,
            )  # fmt: skip

    # ---- a slot

    def _start(self, slot: _Slot) -> None:
        slot.unit, slot.ready, slot.loading = None, False, False
        slot.future = slot.actor.hello.remote(slot.threads)

    def _started(self, slot: _Slot, future: Any) -> None:
        try:
            found = self._ray.get(future)
        except self._ray.exceptions.RayError as error:
            moving = isinstance(error, self._ray.exceptions.ActorUnavailableError)  # Ray is starting it elsewhere
            if slot.loading:
                slot.stillborn += 1
            elif not moving:
                slot.failed += 1
            if slot.failed >= _HELLOS or slot.stillborn >= STARTS:
                raise EngineUnavailable(
                    f"a worker cannot be started on the cluster ({_last_line(error)}); identity-segmentation "
                    f"{__version__} has to be installed on every machine of it, and there has to be memory for it"
                ) from error
            if moving:
                time.sleep(_LOOK)
                self._start(slot)
                return
            self._ray.kill(slot.actor)
            slot.actor = self._executor.actor()
            self._start(slot)
            return
        if slot.loading:
            _raise_if_told(found)
            slot.stillborn, slot.ready, slot.loading = 0, True, False
            return
        if found["package"] != __version__:
            raise EngineUnavailable(
                f"the worker on {found['host']} has identity-segmentation {found['package']}, and this machine "
                f"{__version__}: results would differ. Run there: pip install identity-segmentation=={__version__}"
            )
        slot.failed, slot.host, slot.loading = 0, found["host"], True
        slot.future = slot.actor.load.remote()

    def _worked(self, slot: _Slot, future: Any) -> None:
        unit, slot.unit = slot.unit, None
        assert unit is not None
        try:
            found = self._ray.get(future)
        except self._ray.exceptions.RayTaskError as error:  # of this module's own, or of a result that cannot be sent
            outcome = Outcome("error", reason=f"unexpected {_last_line(error)}")
        except self._ray.exceptions.RayError as error:
            outcome = self._killed(slot, error)
        else:
            _raise_if_told(found)
            outcome = Outcome(**found)
        self._todo.end(unit, outcome)

    def _killed(self, slot: _Slot, error: Exception) -> Outcome:
        """The process died, or its machine. Ray starts it again, with half the threads: memory was short, as a rule."""
        took = time.monotonic() - slot.begun
        if not slot.late:
            slot.threads = max(1, slot.threads // 2)
        self._start(slot)
        if slot.late:
            return Outcome("timed out", reason=f"not done after {took:.0f} s")
        why = f"the worker was killed ({_last_line(error)}); if memory is short, give fewer --workers"
        return Outcome("killed", reason=why, kept=slot.kept)

    def _hear(self, slot: _Slot) -> None:
        """Ask it now and then, without waiting for the answer."""
        now = time.monotonic()
        if slot.asked is None and now - slot.asked_at > _ASKED:
            slot.asked, slot.asked_at = slot.actor.heard.options(concurrency_group=_SAYING).remote(), now
        elif slot.asked is not None and self._ray.wait([slot.asked], timeout=0)[0]:
            try:
                slot.seconds, slot.kept = self._ray.get(slot.asked)
            except self._ray.exceptions.RayError:  # it is dying: its unit will tell
                pass
            slot.asked = None

    def _is_late(self, slot: _Slot) -> bool:
        """Has it taken longer than its source's length allows?"""
        took = time.monotonic() - slot.begun
        if took <= self._executor._least:
            return False
        patience = self._executor._factor * slot.seconds if slot.seconds >= 0 else _SILENT
        return took > self._executor._least + patience


def _raise_if_told(found: dict[str, Any]) -> None:
    """What an actor said that ends the job."""
    if "raise" in found:
        raise getattr(errors, found["raise"], IdentitySegmentationError)(found["text"])


def _library() -> Any:
    try:
        import ray
    except ImportError as error:
        raise EngineUnavailable('a cluster needs Ray; run: pip install ".[cluster]"') from error
    return ray


def _check_reached(address: str) -> None:
    """`EngineUnavailable` where nobody listens: Ray itself would try for a minute.

    Args:
        address: "host:port", with or without "ray://"; "auto" is left to Ray, which knows at once.
    """
    where = address.removeprefix("ray://").partition("/")[0]
    host, _, port = where.rpartition(":")
    if address == "auto" or "://" in where:
        return
    try:
        if not host or not port.isdigit():
            raise OSError("expected HOST:6379, ray://HOST:10001 or auto")
        socket.create_connection((host.strip("[]"), int(port)), timeout=REACHED_SECONDS).close()
    except OSError as error:
        raise EngineUnavailable(
            f"the Ray cluster at {address} cannot be reached ({error}); see on its head machine: ray status. Or do "
            "without: --executor local"
        ) from error


def _last_line(error: Exception) -> str:
    """What an error of Ray's says in the end, below its tracebacks."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1][:300] if lines else type(error).__name__

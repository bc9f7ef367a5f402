"""Long work that lives on: a reload, a closed laptop or a lost connection does not end it.

A job runs in a thread of the server, in a queue of its kind, so that a photo is answered while a video runs. What it
was asked for, how far it came and what it made lie in its folder as ``job.json`` for a day, like all results. A browser
is known by a random key that it keeps; whoever has the key sees its jobs, and nobody else's.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import queue
import threading
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..errors import Cancelled, IdentitySegmentationError, InputError, OutputError
from ..files import atomic_write

logger = logging.getLogger(__name__)

UNFINISHED = ("waiting", "running")
_RECORD = "job.json"
_MOST_WAITING = 32  # of one kind
_MOST_SHOWN = 20
_WINDOW = 15.0  # seconds over which speed is measured: a stage does not go at the speed of the one before it
_LEAST = 1.5  # seconds of a stage before its speed is believed
_INTERRUPTED = "the server was stopped while this ran; start it again"


class Work:
    """A job at work: where it writes, whether it is to stop, and how far it is.

    Attributes:
        folder: a new folder for its results, served to whoever has the page open.
        cancel: set when somebody asks it to stop.
        result: what is kept of it, as JSON; kept too if it is cancelled or fails.
    """

    def __init__(self, record: dict[str, Any], folder: Path, clock: Callable[[], float] = time.monotonic):
        self.folder, self.cancel = folder, threading.Event()
        self.result: dict[str, Any] = {}
        self._record, self._clock = record, clock
        self._seen: deque[tuple[float, int]] = deque()

    def stage(self, number: int, of: int, name: str) -> None:
        """Begin a stage.

        Args:
            number: its place, from 1.
            of: how many there are.
            name: what is done.
        """
        self._seen.clear()
        self._record.update(stage=number, stages=of, doing=name, done=0, total=None, left=None)

    def progress(self, done: int, total: int | None) -> None:
        """Say how much of the stage is done; the time left follows from the last seconds.

        Args:
            done: pieces that are done.
            total: pieces in all, or None if nobody knows.
        """
        now = self._clock()
        self._seen.append((now, done))
        while len(self._seen) > 2 and now - self._seen[0][0] > _WINDOW:
            self._seen.popleft()
        (begun, before), left = self._seen[0], None
        if total and done > before and now - begun >= _LEAST:
            left = max(0.0, total - done) * (now - begun) / (done - before)
        self._record.update(done=done, total=total or None, left=left)


class Jobs:
    """The jobs of a page.

    Args:
        folder: the page's folder of results; every job has a folder in it.
        new_folder: makes one.
    """

    def __init__(self, folder: Path, new_folder: Callable[[], Path]):
        self._new_folder = new_folder
        self._lock = threading.RLock()
        self._records: dict[str, dict[str, Any]] = {}
        self._at_work: dict[str, Work] = {}
        self._queues: dict[str, queue.Queue[tuple[str, Callable[[Work], dict | None]]]] = {}
        self._owners: dict[str, str] = {}
        for path in sorted(folder.glob(f"job-*/{_RECORD}")):
            self._restore(path)

    def _restore(self, path: Path) -> None:
        with contextlib.suppress(OSError, ValueError):
            record = json.loads(path.read_text("utf-8"))
            if record["state"] in UNFINISHED:
                record.update(state="failed", said=_INTERRUPTED, left=None)
            self._records[record["id"]] = record | {"folder": str(path.parent)}

    # ---- who asks

    def hello(self, session: str, owner: str | None) -> None:
        """A page was opened in a browser that keeps this key.

        Args:
            session: of the open page.
            owner: the browser's key; without one, what is asked for is the open page's alone.
        """
        if owner and len(owner) <= 64:
            with self._lock:
                before, self._owners[session] = self._owner(session), _hidden(owner)
                for mine in [r for r in self._records.values() if r["owner"] == before and r["state"] in UNFINISHED]:
                    mine["owner"] = self._owners[session]

    def _owner(self, session: str) -> str:
        return self._owners.get(session) or _hidden(session)

    def bye(self, session: str) -> None:
        """A page was closed; its jobs go on."""
        self._owners.pop(session, None)

    def of(self, session: str) -> list[dict[str, Any]]:
        """The jobs of an open page's browser, the last first.

        Each has id, kind, title, state ("waiting", "running", "done", "failed", "cancelled"), stage, stages, doing,
        done, total, left (seconds or None), said, asked, result, folder, and made (seconds since 1970).
        """
        with self._lock:
            owner = self._owner(session)
            gone = [
                r for r in self._records.values() if r["state"] not in UNFINISHED and not Path(r["folder"]).is_dir()
            ]
            for record in gone:  # a day is over
                del self._records[record["id"]]
            found = [dict(r) for r in self._records.values() if r["owner"] == owner]
        return sorted(found, key=lambda r: r["made"], reverse=True)[:_MOST_SHOWN]

    def get(self, session: str, job: str) -> dict[str, Any]:
        """One job, as in `of`.

        Raises:
            InputError: there is none, or it is another browser's.
        """
        with self._lock:
            record = self._records.get(job)
            if record is None or record["owner"] != self._owner(session):
                raise InputError("that job is no longer there; results are kept for a day")
            return dict(record)

    # ---- work

    def start(
        self, session: str, kind: str, title: str, work: Callable[[Work], dict | None], asked: dict | None = None
    ) -> str:
        """Put a job in the queue of its kind; its id.

        Args:
            session: who asks.
            kind: "video", "photos", ...: jobs of one kind run one after another, kinds run beside each other.
            title: what the list calls it, such as the video's name and who is looked for.
            work: does it; what it returns (JSON) is added to its `Work.result`.
            asked: what it was asked for (JSON), for whoever opens it again.

        Raises:
            InputError: too many wait already.
        """
        folder = self._new_folder()
        record: dict[str, Any] = {
            "id": folder.name, "kind": kind, "title": title, "owner": self._owner(session), "made": time.time(),
            "state": "waiting", "stage": 0, "stages": 0, "doing": "", "done": 0, "total": None, "left": None,
            "said": "", "asked": asked or {}, "result": {}, "folder": str(folder),
        }  # fmt: skip
        with self._lock:
            waiting = self._queues.get(kind)
            if waiting is None:
                waiting = self._queues[kind] = queue.Queue(_MOST_WAITING)
                threading.Thread(target=self._worker, args=(waiting,), daemon=True, name=f"jobs-{kind}").start()
            try:
                waiting.put_nowait((folder.name, work))
            except queue.Full:
                folder.rmdir()
                raise InputError(f"{_MOST_WAITING} jobs wait already; cancel one, or try again later") from None
            self._records[folder.name] = record
            self._at_work[folder.name] = Work(record, folder)
            self._save(record)
        return folder.name

    def cancel(self, session: str, job: str) -> None:
        """Ask a job to stop; one that waits does not begin."""
        with self._lock:
            self.get(session, job)
            if job in self._at_work:
                self._at_work[job].cancel.set()
                if self._records[job]["state"] == "waiting":
                    self._ended(job, "cancelled", "cancelled before it began")

    def running(self) -> set[Path]:
        """Folders of jobs that are not finished, which are not to be swept."""
        with self._lock:
            return {Path(r["folder"]) for r in self._records.values() if r["state"] in UNFINISHED}

    def _worker(self, waiting: queue.Queue) -> None:
        while True:
            job, work = waiting.get()
            with self._lock:
                if self._records[job]["state"] != "waiting":
                    continue
                self._records[job]["state"] = "running"
                self._save(self._records[job])
            self._run(job, work)

    def _run(self, job: str, work: Callable[[Work], dict | None]) -> None:
        at_work = self._at_work[job]
        try:
            at_work.result.update(work(at_work) or {})
            self._ended(job, "done", str(at_work.result.get("said", "")))
        except Cancelled as error:
            self._ended(job, "cancelled", str(error))
        except IdentitySegmentationError as error:
            self._ended(job, "failed", str(error))
        except Exception:
            logger.exception("a job failed: %s", self._records[job]["kind"])
            self._ended(job, "failed", "something went wrong here; the log of the server has the details")

    def _ended(self, job: str, state: str, said: str) -> None:
        with self._lock:
            record, work = self._records[job], self._at_work.pop(job)
            record.update(state=state, said=said, result=work.result, left=None)
            self._save(record)

    @staticmethod
    def _save(record: dict[str, Any]) -> None:
        try:
            with atomic_write(Path(record["folder"]) / _RECORD, private=True) as file:
                file.write(json.dumps(record, ensure_ascii=False).encode("utf-8"))
        except (OSError, OutputError) as error:  # a full disk must not end the job, which may need no more of it
            logger.warning("the record of a job could not be written: %s", error)


def _hidden(owner: str) -> str:
    """What stands for a browser's key in the records: who sees a record cannot pass for the browser."""
    return hashlib.sha256(owner.encode("utf-8")).hexdigest()

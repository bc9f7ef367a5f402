"""The Label tab's grid of thumbnails: what its script asks, answered from the job on disk and from the run at work.

The script asks for one thing at a time and asks again until it is answered, so an answer that is lost does no harm. A
row goes to the browser when it is new; thumbnails are made for the rows in sight.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import IdentitySegmentationError, InputError
from ..files import safe_filename
from ..labels.job import LabelJob
from ..labels.looking import Looking, seen_of
from ..labels.suggesting import Suggestion
from . import speech
from .page import served

logger = logging.getLogger(__name__)
THUMBNAIL, LARGE = 240, 1600  # pixels of the long side
ADVISED = 5  # pictures that are suggested to be marked next
_MOST_ASKED = 100  # thumbnails, or decisions, of one request
_FAILED = "something went wrong here; the log of the server has the details"


@dataclass
class Run:
    """One run over a job's pictures, as everybody sees it who has the job open.

    Attributes:
        id: of the page's job.
        cancel: set it to stop.
        at_work: it has begun, and is not over.
        done: pictures labelled.
        total: pictures in all; 0 = not known yet.
        left: seconds left, about; None = not known yet.
    """

    id: str = ""
    cancel: threading.Event = field(default_factory=threading.Event)
    at_work: bool = False
    done: int = 0
    total: int = 0
    left: float | None = None


class Grid:
    """What the grid shows of any job.

    Args:
        opened: a job's name -> the job.
        folder: makes a folder for what is served.
        unfinished: ids of the page's jobs that wait or run.
    """

    def __init__(
        self, opened: Callable[[str], LabelJob], folder: Callable[[], Path], unfinished: Callable[[], Collection[str]]
    ):
        self._opened, self._folder, self._unfinished = opened, folder, unfinished
        self._copies: Path | None = None
        self._runs: dict[str, Run] = {}
        self._advising = threading.Lock()  # pictures are looked at once, however often they are asked for
        self._deciding = threading.RLock()  # a decision is made before a run begins, or waits until it is over

    # ---- runs

    def run_of(self, job: LabelJob) -> Run | None:
        """The run that is asked for and not over, or None.

        Args:
            job: the job.
        """
        run = self._runs.get(job.folder.name)
        return run if run is not None and (run.at_work or run.id in self._unfinished()) else None

    def begin(self, job: LabelJob, start: Callable[[Run], str]) -> str:
        """A run is asked for; the id of the page's job.

        Args:
            job: the job.
            start: puts the run in its queue, and says the id of the page's job.

        Raises:
            InputError: the job is being labelled already.
        """
        with self._deciding:
            if self.run_of(job) is not None:
                raise InputError(f"{job.folder.name} is being labelled already; wait for it, or cancel it")
            run = Run()
            run.id = start(run)
            self._runs[job.folder.name] = run
            return run.id

    @contextlib.contextmanager
    def at_work(self, job: LabelJob, run: Run) -> Iterator[None]:
        """A run works; what is decided meanwhile is applied when it is over.

        Args:
            job: the job.
            run: the run.
        """
        with self._deciding:
            run.at_work = True
        try:
            yield
        finally:
            run.at_work = False
            self.settle(job)

    def _told(self, job: LabelJob) -> dict[str, Any] | None:
        run = self.run_of(job)
        if run is None:
            return None
        return {"done": run.done, "total": run.total, "left": run.left, "stopping": run.cancel.is_set()}

    def settle(self, job: LabelJob) -> None:
        """Apply what was decided during a run that is over, or that was broken off.

        Args:
            job: the job.
        """
        with self._deciding:
            if self._busy(job):
                return
            try:
                Looking(job).settle()
            except IdentitySegmentationError:
                logger.warning("decisions on %s wait for another process", job.folder.name)

    def _busy(self, job: LabelJob) -> bool:
        run = self._runs.get(job.folder.name)
        return run is not None and run.at_work

    # ---- what to mark next

    def suggested(self, job: LabelJob, pictures: Sequence[Path] = ()) -> list[Suggestion]:
        """Which pictures would teach most if they were marked, the best first.

        Args:
            job: the job.
            pictures: pictures and folders to choose from; none = those that are labelled.

        Raises:
            InputError: there are no pictures.
        """
        with self._advising:
            return job.suggest(pictures, ADVISED).pictures

    def advice(self, job: LabelJob) -> dict[str, Any]:
        """Which labelled pictures would teach most if they were marked: {"advice": [{name, reason}], "said": what could
        not be done}; the best first.

        Args:
            job: the job.
        """
        try:
            found = self.suggested(job)
        except IdentitySegmentationError as error:
            return {"advice": [], "said": speech.told(error)}
        rows = [{"name": one.name, "reason": speech.said(one.reason)} for one in found if one.labelled]
        return {"advice": rows, "said": ""}

    # ---- answers

    def value(self, job: LabelJob | None, **more: Any) -> dict[str, Any]:
        """Everything about a job: all its rows, and the run at work.

        Args:
            job: the job; None = none is open.
            more: what else the script is told.
        """
        told: dict[str, Any] = {"version": time.time_ns(), "job": None if job is None else job.folder.name} | more
        if job is None:
            return told | {"rows": []}
        looking = Looking(job)
        stamp = looking.stamp()  # before the rows: what changes in between is told again
        return told | {"stamp": stamp, "running": self._told(job), "rows": [_row(row) for row in looking.rows()]}

    def answer(self, asked: Any) -> dict[str, Any]:
        """Answer the script.

        Args:
            asked: what came from the browser: {n, job, stamp, decide: [{n, name, state, seen}], thumbs: [name],
                look: [name]}; all but `n` and `job` may be missing.

        Returns:
            {ack, job, version, running}; `rows` where they are not what the `stamp` says; `changed`, rows that were
            decided about; `decided`, the number of the last decision that was heard; `thumbs` and `look`, name ->
            file; `said`, a sentence about what could not be done.
        """
        asked = asked if isinstance(asked, Mapping) else {}
        name = asked.get("job")
        if not isinstance(name, str) or name != safe_filename(name):
            raise InputError("that is not a labelling job")
        job = self._opened(name)
        looking, said = Looking(job), []
        told: dict[str, Any] = {"ack": asked.get("n"), "changed": []}
        fresh = asked.get("stamp") == looking.stamp()
        for decision in filter(_is_decision, _some(asked.get("decide"))):
            row, sentence = self._decided(job, decision)
            told["decided"] = decision.get("n")
            told["changed"] += [row] if row else []
            said += [sentence] if sentence else []
        for key, longest in (("thumbs", THUMBNAIL), ("look", LARGE)):
            told[key] = self._copied(looking, _some(asked.get(key)), longest)
        told["said"] = "; ".join(said)
        if not fresh or (told["changed"] and self._busy(job)):  # a run adds rows at any moment
            return self.value(job, **told)
        stamp = looking.stamp() if told["changed"] else asked["stamp"]
        return told | {"job": name, "version": time.time_ns(), "stamp": stamp, "running": self._told(job)}

    def _decided(self, job: LabelJob, decision: Any) -> tuple[dict | None, str]:
        """(the row as it now is, a sentence where it could not be done)."""
        name, looking, said = str(decision.get("name")), Looking(job), ""
        try:
            seen = decision.get("seen")
            with self._deciding:
                busy = self._busy(job)
                looking.decide(name, str(decision.get("state")), seen if isinstance(seen, str) else None, busy)
        except IdentitySegmentationError as error:
            said = speech.told(error)
        except Exception:
            logger.exception("a decision failed")
            said = speech.said(_FAILED)
        try:
            return _row(looking.row(name)), said
        except IdentitySegmentationError:
            return None, said

    def _copied(self, looking: Looking, names: list, longest: int) -> dict[str, dict | None]:
        """Name -> its copy; None = there is none, and asking again would not help."""
        if not names:
            return {}
        if self._copies is None or not self._copies.is_dir():  # the first time, or swept
            self._copies = self._folder()
        wanted, copies = {str(name) for name in names}, {}
        for row in looking.job.rows():
            if row["name"] in wanted:
                try:
                    copies[row["name"]] = served(looking.copy(row, self._copies, longest))
                except IdentitySegmentationError:
                    copies[row["name"]] = None
        return dict.fromkeys(wanted) | copies


def _is_decision(item: Any) -> bool:
    return isinstance(item, Mapping)


def _some(items: Any) -> list:
    return items[:_MOST_ASKED] if isinstance(items, list) else []


def _row(row: Mapping) -> dict[str, Any]:
    """What the script is told of a record; no path of the server is among it."""
    told = {"name": row["name"], "state": row["state"], "seen": seen_of(row)}
    if row["state"] == "unreadable":
        return told | {"sure": 0.0, "objects": [], "reason": row["reason"].replace(row["picture"], row["name"])}
    objects = [[thing["name"], thing["score"], thing["expected_iou"]] for thing in row["objects"]]
    return told | {"sure": round(row.get("sure", 0.0), 2), "objects": objects}

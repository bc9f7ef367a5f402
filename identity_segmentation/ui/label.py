"""The web page's Label tab: mark on a canvas, label many pictures, look, correct, export; its grid is `label_grid.py`.

Jobs lie in the output folder under ``labels/``, each under its name, where the command line finds them too; they are
neither served nor swept. What the page shows are copies.
"""

from __future__ import annotations

import contextlib
import json
import logging
import shutil
import threading
import time
import uuid
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from ..errors import Cancelled, IdentitySegmentationError, ImageError, InputError
from ..files import atomic_write, read_bytes, safe_filename, shown_path
from ..images import decode_image, shrink_to, write_image
from ..labels.canvas import Canvas
from ..labels.job import LabelJob
from ..labels.marks import MOST_IDS, Mark, checked_id, colour_of_id
from ..labels.targets import real_path
from . import speech
from .jobs import Work
from .label_grid import Grid, Run
from .page import served

logger = logging.getLogger(__name__)
_MOST_SESSIONS, _MOST_CANVASES = 32, 3  # kept at hand; others are opened again when they are asked for
_MOST_ACTIONS, _MOST_POINTS = 500, 50_000
_LONGEST = 1600  # pixels of a picture on the page; marks are in the picture's own


class _Session:
    """What one open page is working on. All of it can be made anew from what the page says and the disk holds."""

    def __init__(self, served: Path):
        self.served = served
        self.job: LabelJob | None = None
        self.canvases: dict[str, tuple[Canvas, Path]] = {}
        self.ack, self.version = 0, 0
        self.overlays: list[Path] = []
        self.lock = threading.RLock()


class LabelPage:
    """The tab's callbacks.

    Args:
        page: the whole page: its pipeline, and its folder for what is served.
    """

    def __init__(self, page):
        self.page = page
        self.folder = Path(page.pipeline.settings.output) / "labels"
        self.grid = Grid(self._opened, page.job, lambda: {folder.name for folder in page.jobs.running()})
        self._sessions: dict[str, _Session] = {}
        self._guard = threading.Lock()

    def jobs(self) -> list[str]:
        """Names of the jobs there are."""
        if not self.folder.is_dir():
            return []
        return sorted(p.name for p in self.folder.iterdir() if (p / "marks").is_dir() or (p / "job.json").exists())

    def _session(self, name: str) -> _Session:
        with self._guard:
            session = self._sessions.pop(name, None) or _Session(self.page.job())
            self._sessions[name] = session  # the last used is the last
            while len(self._sessions) > _MOST_SESSIONS:
                self._sessions.pop(next(iter(self._sessions)))
            return session

    def leave(self, name: str) -> None:
        """A page was closed, or its connection was lost for a moment: what is labelled goes on being labelled, and a
        gesture that still comes finds its picture again."""
        self._sessions.pop(name, None)

    def _opened(self, job: str) -> LabelJob:
        pipeline = self.page.pipeline
        return LabelJob(self.folder / safe_filename(job), lambda: pipeline.segmenter)

    def _job(self, session: _Session) -> LabelJob:
        if session.job is None:
            raise InputError("open a labelling job first: give it a name")
        return session.job

    def open(self, name: str, job: str | None) -> LabelJob:
        """Open a job by its name, in any script; a new one is begun with its first mark."""
        called = (job or "").strip()
        if not called:
            raise InputError("give the labelling job a name first")
        session = self._session(name)
        session.job = self._opened(called)
        self.grid.settle(session.job)
        return session.job

    # ---- references

    def _references(self, job: LabelJob) -> dict[str, Path]:
        """What a reference is called on the page -> its picture; no path of the server is shown."""
        folder = job.folder / "pictures"
        uploaded = sorted(folder.glob("*")) if folder.is_dir() else []
        paths = [p.absolute() for p in uploaded if not p.name.startswith(".")]
        paths += [m.path for m in job.book.all() if m.path not in paths]
        found: dict[str, Path] = {}
        for path in paths:
            label, number = shown_path(path.name), 1
            while (key := label if number == 1 else f"{label} ({number})") in found:
                number += 1
            found[key] = path
        return found

    def references(self, name: str) -> list[str]:
        """Every picture to mark: those uploaded, and those marked before."""
        return list(self._references(self._job(self._session(name))))

    def suggest(self, name: str) -> tuple[list[tuple[str, str]], str | None]:
        """The uploaded references, those whose marks would teach most first, even where nothing is marked yet.

        Args:
            name: of the session.

        Returns:
            (what is shown of it, its name) of every reference; and the name of the best, None where nothing is left to
            suggest.

        Raises:
            InputError: no job is open, or nothing was uploaded.
        """
        job = self._job(self._session(name))
        folder = job.folder / "pictures"
        if not folder.is_dir():
            raise InputError("upload some reference pictures first")
        names = {real_path(path): label for label, path in self._references(job).items()}
        reasons = {names[o.picture]: o.reason for o in self.grid.suggested(job, [folder]) if o.picture in names}
        choices = [(f"{label}: {speech.said(reason)}", label) for label, reason in reasons.items()]
        choices += [(label, label) for label in names.values() if label not in reasons]
        return choices, next(iter(reasons), None)

    def upload(self, name: str, files: Sequence[str] | None, place: str = "pictures") -> tuple[list[str], list[str]]:
        """Keep uploaded pictures with the job; the same picture twice is kept once.

        Args:
            name: of the session.
            files: paths of uploads, or None.
            place: folder of the job that they are kept in.

        Returns:
            Names of those that are new, and a sentence about each that is no picture.
        """
        return self._keep(self._job(self._session(name)), files or (), place)

    def _keep(self, job: LabelJob, files: Sequence[str], place: str) -> tuple[list[str], list[str]]:
        new, refused = [], []
        for file in files:
            source = Path(file)
            try:
                data = read_bytes(source, ImageError, "picture")
                decode_image(data, source.name, self.page.pipeline.settings.max_pixels)
            except ImageError as error:
                refused.append(str(error).replace(str(source), source.name))
                continue
            target, number = job.folder / place / safe_filename(source.name), 1
            while target.exists() and target.read_bytes() != data:
                number += 1
                target = job.folder / place / f"{safe_filename(source.stem)}-{number}{source.suffix.lower()}"
            if not target.exists():
                with atomic_write(target) as out:
                    out.write(data)
                new.append(target.name)
        return new, refused

    def name_id(self, name: str, number: float, text: str) -> dict:
        """Say what an id is called.

        Args:
            name: of the session.
            number: the id, 1..16.
            text: what it is called, in any script; empty = no name.
        """
        session = self._session(name)
        with session.lock:
            self._job(session).name_id(int(number or 0), text or "")
            where = next(reversed(session.canvases), None)
            return self._value(session, where)

    # ---- the canvas

    def show(self, name: str, picture: str | None, correcting: bool = False) -> dict:
        """Put a reference on the canvas; in correcting, a target by its name; nothing empties it.

        Args:
            name: of the session.
            picture: what the reference, or the target, is called on the page; None = an empty canvas.
            correcting: is it a target whose labels are corrected.
        """
        session = self._session(name)
        with session.lock:
            if not picture:
                return self._value(session, None)
            where = json.dumps([self._job(session).folder.name, picture, bool(correcting)])
            session.canvases.pop(where, None)  # as it is on disk
            self._canvas(session, where)
            return self._value(session, where)

    def _canvas(self, session: _Session, where: str) -> Canvas:
        """The canvas that a page means by its `where`: job, picture, correcting.

        Raises:
            InputError: there is no such picture in the job.
        """
        if where not in session.canvases:
            try:
                job_name, picture, correcting = json.loads(where)
                if (job_name, type(picture)) != (safe_filename(job_name), str) or not isinstance(correcting, bool):
                    raise ValueError(where)
            except (ValueError, TypeError) as error:
                raise InputError("that is not a picture of a labelling job") from error
            job = self._opened(job_name)
            path = picture if correcting else self._references(job).get(picture)
            if path is None:
                raise InputError(f"{picture} is not among the references of {job_name}; upload it first")
            canvas = Canvas(job, str(path), correcting)
            copy = session.served / f"{uuid.uuid4().hex}.jpg"
            session.canvases[where] = canvas, copy
            while len(session.canvases) > _MOST_CANVASES:
                session.canvases.pop(next(iter(session.canvases)))
        canvas, copy = session.canvases.pop(where)
        session.canvases[where] = canvas, copy
        if not copy.exists():  # the first time, or swept
            write_image(copy, shrink_to(canvas.image, _LONGEST)[0])
        return canvas

    def gesture(self, name: str, actions: Any) -> dict:
        """Gestures of the canvas, in order, each for the picture it says; those that came before are passed over. Every
        one is saved."""
        session = self._session(name)
        with session.lock:
            said, where = "", next(reversed(session.canvases), None)
            for action in actions[:_MOST_ACTIONS] if isinstance(actions, list) else ():
                number = action.get("n") if isinstance(action, dict) else None
                if not isinstance(number, int) or not session.ack < number < 1 << 53:
                    continue
                try:
                    where = str(action.get("where"))
                    self._apply(self._canvas(session, where), action)
                except IdentitySegmentationError as error:
                    said = speech.told(error)
                except Exception:
                    logger.exception("a gesture failed")
                    said = speech.said("something went wrong here; the log of the server has the details")
                session.ack = number  # a refused one too, or the page would send it for ever
            return self._value(session, where if where in session.canvases else None, said)

    @staticmethod
    def _apply(canvas: Canvas, action: dict) -> None:
        tool = action.get("tool")
        if tool == "undo":
            canvas.undo()
        elif tool == "redo":
            canvas.redo()
        elif tool == "done":
            canvas.finish()
        elif tool == "clear":
            canvas.clear(checked_id(action.get("id")))
        elif tool in ("box", "point", "brush", "eraser"):
            mark = Mark.from_json({k: v for k, v in action.items() if k != "rle"})
            if len(mark.points) > _MOST_POINTS:
                raise InputError("too long a stroke; lift the pen now and then")
            canvas.add(Mark.box(mark.id, *mark.points[0], *mark.points[1]) if tool == "box" else mark)
        else:
            raise InputError(f"unknown gesture {tool!r}")

    def _value(self, session: _Session, where: str | None, said: str = "") -> dict:
        session.version = max(session.version + 1, int(time.time() * 1000))
        common = {"where": where, "ack": session.ack, "version": session.version, "said": said}
        if where is None:
            return common
        canvas = self._canvas(session, where)
        width, height = canvas.size
        return common | {
            "width": width, "height": height, "image": served(session.canvases[where][1]),
            "overlay": served(self._overlay(session, canvas)),
            "marks": [mark.as_json() for mark in canvas.prompts()], "correcting": canvas.correcting,
            "names": {str(i): text for i, text in canvas.job.names_of(range(1, MOST_IDS + 1)).items()},
        }  # fmt: skip

    @staticmethod
    def _overlay(session: _Session, canvas: Canvas) -> Path | None:
        layers = None
        for number, mask in canvas.masks().items():
            small, _ = shrink_to(mask.astype(np.uint8) * 255, _LONGEST)
            layers = np.zeros((*small.shape, 4), np.uint8) if layers is None else layers
            layers[small > 0] = (*colour_of_id(number), 140)  # a thin stroke is to be seen
        if layers is None:
            return None
        # A new name each time, as browsers keep what they fetched; the last few stay for an answer on its way.
        file = session.served / f"overlay-{uuid.uuid4().hex}.png"
        file.parent.mkdir(parents=True, exist_ok=True)  # it may have been swept
        file.write_bytes(cv2.imencode(".png", layers, [cv2.IMWRITE_PNG_COMPRESSION, 1])[1].tobytes())
        session.overlays.append(file)
        while len(session.overlays) > 5:
            with contextlib.suppress(OSError):
                session.overlays.pop(0).unlink()
        return file

    # ---- labels

    def rows(self, name: str, **more: Any) -> dict:
        """What the grid shows of the session's job; see `Grid.value`.

        Args:
            name: of the session.
            more: what else the grid is told.
        """
        return self.grid.value(self._session(name).job, **more)

    def advise(self, name: str, asked: Any) -> dict:
        """The grid's rows, and which of them would teach most if they were marked.

        Args:
            name: of the session.
            asked: what came from the grid: {job}.
        """
        job = str(asked.get("job") or "") if isinstance(asked, dict) else ""
        session = self._session(name)
        if session.job is None or session.job.folder.name != job:
            self.open(name, job)  # after a lost connection the session is new
        return self.rows(name, **self.grid.advice(self._job(session)))

    def begin(self, name: str, files: Sequence[str] | None = None, anew: bool = False) -> str:
        """Begin to label uploaded pictures, and those uploaded before - anew where the marks have changed and nobody
        accepted what there was. It goes on in the server when the page is closed.

        Args:
            name: of the session.
            files: paths of uploads, or None.
            anew: give no pictures; propose anew, from the marks as they are, whatever is not accepted.

        Returns:
            Id of the page's job.

        Raises:
            InputError: no job is open, it is being labelled already, or too many wait.
        """
        job = self._job(self._session(name))

        def start(run: Run) -> str:
            def work(at_work: Work) -> dict:
                if run.cancel.is_set():
                    at_work.cancel.set()
                run.cancel = at_work.cancel
                with self.grid.at_work(job, run):
                    return {"said": self._labelled(job, files or (), anew, run, at_work)}

            return self.page.jobs.start(name, "labels", job.folder.name, work, {"job": job.folder.name})

        return self.grid.begin(job, start)

    def _labelled(self, job: LabelJob, files: Sequence[str], anew: bool, run: Run, at_work: Work) -> str:
        """Do a run; a line on how it went."""
        _, refused = self._keep(job, files, "targets")
        targets = job.folder / "targets"
        if not anew and not targets.is_dir():
            raise InputError("; ".join(["give some pictures to label first", *refused]))

        def step(done: int, total: int, left: float | None) -> None:
            run.done, run.total, run.left = done, total, left
            at_work.progress(done, total)

        report = job.relearn([] if anew else [targets], progress=step, cancel=at_work.cancel)
        broken = [f"{Path(path).name}: {why}" for path, why in report.unreadable.items()] + refused
        more = f" ({'; '.join(broken[:5])}{'; ...' if len(broken) > 5 else ''})" if broken else ""
        said = (
            f"{report.done} labelled, {report.kept} kept, {len(broken)} passed over{more}; "
            f"{report.seconds:.1f} s. {report.calibration}" + f". {report.advice}" * bool(report.advice)
        )
        if report.cancelled:
            raise Cancelled(f"stopped; what was finished is kept. {said}")
        return said

    def stop(self, name: str) -> None:
        """Stop the run of the open job after the pictures at work, or before it has begun; whoever began it.

        Args:
            name: of the session.
        """
        job = self._session(name).job
        run = None if job is None else self.grid.run_of(job)
        if run is not None:
            run.cancel.set()
            with contextlib.suppress(InputError):  # it is another browser's, and stops all the same
                self.page.jobs.cancel(name, run.id)

    def correct(self, name: str, asked: Any) -> dict:
        """Put a target on the canvas, to be corrected there; the canvas comes into view.

        Args:
            name: of the session.
            asked: what came from the grid: {job, name}.
        """
        asked = asked if isinstance(asked, dict) else {}
        job = self._session(name).job
        if job is None or asked.get("job") != job.folder.name:
            self.open(name, str(asked.get("job") or ""))  # after a lost connection the session is new
        if not asked.get("name"):
            raise InputError("choose a picture of the grid first")
        return self.show(name, str(asked["name"]), correcting=True) | {"bring": True}

    def finished(self, name: str) -> str:
        """The name of the target whose correction was just finished."""
        where = next(reversed(self._session(name).canvases), None)
        return json.loads(where)[1] if where else ""

    def export(self, name: str, kind: str, parts: bool, accepted: bool) -> str:
        """A file for download: COCO's and CVAT's own, or the folder of the format as a zip.

        Args:
            name: of the session.
            kind: a format's name.
            parts: every connected part is an object of its own.
            accepted: only what a person accepted or corrected.
        """
        session = self._session(name)
        states = ("accepted", "corrected") if accepted else ("proposed", "accepted", "corrected")
        folder = self._job(session).export(kind, bool(parts), states)
        out = self.page.job()
        files = sorted(p for p in folder.rglob("*") if p.is_file() and not p.name.startswith("."))  # not the note
        if len(files) == 1:
            return str(shutil.copyfile(files[0], out / f"{kind}{files[0].suffix}"))
        with zipfile.ZipFile(out / f"{kind}.zip", "w", zipfile.ZIP_DEFLATED) as archive:
            for file in files:
                archive.write(file, file.relative_to(folder))
        return str(out / f"{kind}.zip")

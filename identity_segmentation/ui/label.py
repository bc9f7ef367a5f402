"""The web page's Label tab: mark on a canvas, label many pictures, look, correct, export; see `labeling.py`.

Jobs lie in the output folder under ``labels/``, each under its name, where the command line finds them too; they are
neither served nor swept. What the page shows are copies.
"""

from __future__ import annotations

import contextlib
import html
import json
import logging
import shutil
import threading
import time
import uuid
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import cv2
import gradio as gr
import numpy as np

from ..errors import IdentitySegmentationError, ImageError, InputError
from ..files import atomic_write, read_bytes, safe_filename, shown_path
from ..images import decode_image, read_image, shrink_to, write_image
from ..labels.canvas import Canvas
from ..labels.export import FORMATS
from ..labels.job import LabelJob
from ..labels.marks import MOST_IDS, Mark, checked_id, colour_of_id, hex_of_id
from .page import ENGINE, PHOTO_FILES, PRIVATE, PROGRESS, Words, minutes, safely, served, widget

logger = logging.getLogger(__name__)
_MOST_SESSIONS, _MOST_CANVASES = 32, 3  # kept at hand; others are opened again when they are asked for
_MOST_ACTIONS, _MOST_POINTS = 500, 50_000
_LONGEST = 1600  # pixels of a picture on the page; marks are in the picture's own
_SHOWN = 500  # rows of the table


class _Session:
    """What one open page is working on. All of it can be made anew from what the page says and the disk holds."""

    def __init__(self, served: Path):
        self.served = served
        self.job: LabelJob | None = None
        self.canvases: dict[str, tuple[Canvas, Path]] = {}
        self.ack, self.version = 0, 0
        self.overlays: list[Path] = []
        self.cancel = threading.Event()
        self.lock = threading.RLock()


class LabelPage:
    """The tab's callbacks.

    Args:
        page: the whole page: its pipeline, and its folder for what is served.
    """

    def __init__(self, page):
        self.page = page
        self.folder = Path(page.pipeline.settings.output) / "labels"
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

    def upload(self, name: str, files: Sequence[str] | None, place: str = "pictures") -> tuple[list[str], list[str]]:
        """Keep uploaded pictures with the job; the same picture twice is kept once.

        Args:
            name: of the session.
            files: paths of uploads, or None.
            place: folder of the job that they are kept in.

        Returns:
            Names of those that are new, and a sentence about each that is no picture.
        """
        job = self._job(self._session(name))
        new, refused = [], []
        for file in files or ():
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
                    said = str(error)
                except Exception:
                    logger.exception("a gesture failed")
                    said = "something went wrong here; the log of the server has the details"
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

    def rows(self, name: str) -> list[list]:
        """The table: name, state, how sure, what was found; the least sure first."""
        states = ("proposed", "rejected", "corrected", "accepted", "unreadable")
        order = {state: number for number, state in enumerate(states)}
        found = sorted(self._job(self._session(name)).ranked(states), key=lambda row: order[row["state"]])
        rows = [[row["name"], row["state"], round(row.get("sure", 0.0), 2), _found(row)] for row in found[:_SHOWN]]
        if len(found) > _SHOWN:
            rows.append(
                ["", "", None, f"... {len(found) - _SHOWN} more: idseg label list --out {self.folder.name}/..."]
            )
        return rows

    def arm(self, name: str) -> None:
        """A run was asked for: from now on, also while it waits for another, it can be stopped."""
        self._session(name).cancel = threading.Event()

    def run(self, name: str, files: Sequence[str] | None, progress: Callable) -> str:
        """Label uploaded pictures, and those uploaded before - anew where the marks have changed and nobody accepted
        what there was; a line on how it went.

        Args:
            name: of the session.
            files: paths of uploads, or None.
            progress: called with (pictures done, pictures in all, what is left as text).
        """
        job = self._job(self._session(name))
        _, refused = self.upload(name, files, "targets")
        targets = job.folder / "targets"
        if not targets.is_dir():
            raise InputError("; ".join(["give some pictures to label first", *refused]))
        return self._worked(name, lambda **how: job.relearn([targets], **how), progress, refused)

    def relearn(self, name: str, progress: Callable) -> str:
        """Propose anew what is not accepted."""
        job = self._job(self._session(name))
        return self._worked(name, job.relearn, progress)

    def _worked(self, name: str, work: Callable, progress: Callable, refused: Sequence[str] = ()) -> str:
        def step(done: int, total: int, left: float | None) -> None:
            progress(done, total, "" if left is None else minutes(left))

        report = work(progress=step, cancel=self._session(name).cancel)
        broken = [f"{Path(path).name}: {why}" for path, why in report.unreadable.items()] + list(refused)
        state = "stopped; what was finished is kept. " if report.cancelled else ""
        more = f" ({'; '.join(broken[:5])}{'; ...' if len(broken) > 5 else ''})" if broken else ""
        return (
            f"{state}{report.done} labelled, {report.kept} kept, {len(broken)} passed over{more}; "
            f"{report.seconds:.1f} s. {report.calibration}"
        )

    def stop(self, name: str) -> None:
        """Stop a run after the pictures at work, or before it has begun."""
        self._session(name).cancel.set()

    def overlay(self, name: str, target: str | None) -> str | None:
        """A copy of a target's overlay, to be shown."""
        session = self._session(name)
        if not target:
            return None
        job = self._job(session)
        row = job.row(target)
        if row["state"] == "unreadable":
            raise InputError(f"{row['name']}: {row['reason']}")
        file = job.folder / "overlays" / f"{row['name']}.jpg"
        return str(write_image(session.served / f"shown-{uuid.uuid4().hex}.jpg", read_image(file)))

    def decide(self, name: str, target: str | None, state: str) -> None:
        """Accept or reject a target's labels.

        Args:
            name: of the session.
            target: whose labels.
            state: "accepted" or "rejected".
        """
        if not target:
            raise InputError("click a row of the table first")
        job = self._job(self._session(name))
        (job.accept if state == "accepted" else job.reject)([target])

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


def _found(row: dict) -> str:
    if row["state"] == "unreadable":
        return row["reason"]
    parts = [
        f"{o['name']} {o['score']:.2f}" + ("" if o["expected_iou"] is None else f" (IoU ~ {o['expected_iou']:.2f})")
        for o in row["objects"]
    ]
    return ", ".join(parts) or "-"


class _Requests:
    """What Gradio calls: it gives the visitor's session, and the callbacks above do the work."""

    def __init__(self, label: LabelPage):
        self.label = label

    def opened(self, name, request: gr.Request):
        folder = self.label.open(request.session_hash, name).folder
        found = self.label.references(request.session_hash)
        first, view = None, self.label.show(request.session_hash, None)
        for reference in found:
            try:
                first, view = reference, self.label.show(request.session_hash, reference)
                break
            except IdentitySegmentationError as error:  # one picture that is gone must not shut the job
                view = self.label.show(request.session_hash, None) | {"said": str(error)}
        # Nothing of another job stays: its uploads would be taken for this one's.
        return (
            gr.update(value=folder.name), gr.update(choices=found, value=first), view,
            self.label.rows(request.session_hash), None, None, "", None, "", None,
        )  # fmt: skip

    def uploaded(self, files, request: gr.Request):
        new, refused = self.label.upload(request.session_hash, files)
        for sentence in refused:
            gr.Warning(html.escape(sentence))
        found = self.label.references(request.session_hash)
        if not new:
            return gr.update(choices=found), gr.skip()
        return gr.update(choices=found, value=new[0]), self.label.show(request.session_hash, new[0])

    def picked(self, reference, request: gr.Request):
        return self.label.show(request.session_hash, reference)

    def gestured(self, request: gr.Request, event: gr.EventData):
        return self.label.gesture(request.session_hash, event._data.get("actions"))

    def named(self, which, text, request: gr.Request):
        return self.label.name_id(request.session_hash, which, text)

    @staticmethod
    def _telling(bar):
        return lambda at, total, left: bar((at, total), desc=left, unit="pictures")

    def ran(self, files, request: gr.Request, bar=PROGRESS):
        said = self.label.run(request.session_hash, files, self._telling(bar))
        return said, self.label.rows(request.session_hash)

    def relearnt(self, request: gr.Request, bar=PROGRESS):
        said = self.label.relearn(request.session_hash, self._telling(bar))
        return said, self.label.rows(request.session_hash)

    def clicked(self, request: gr.Request, event: gr.SelectData):
        target = str(event.row_value[0])
        return target, self.label.overlay(request.session_hash, target)

    def accepted(self, target, request: gr.Request):
        self.label.decide(request.session_hash, target, "accepted")
        return self.label.rows(request.session_hash)

    def rejected(self, target, request: gr.Request):
        self.label.decide(request.session_hash, target, "rejected")
        return self.label.rows(request.session_hash)

    def fixing(self, target, request: gr.Request):
        if not target:
            raise InputError("click a row of the table first")
        return self.label.show(request.session_hash, target, correcting=True)

    def fixed(self, request: gr.Request):
        target = self.label.finished(request.session_hash)
        return target, self.label.overlay(request.session_hash, target), self.label.rows(request.session_hash)

    def armed(self, request: gr.Request):
        self.label.arm(request.session_hash)

    def wrote(self, which, apart, sure, request: gr.Request):
        return self.label.export(request.session_hash, which, apart, sure)

    def stopped(self, request: gr.Request):
        self.label.stop(request.session_hash)

    def left(self, request: gr.Request):
        self.label.leave(request.session_hash)


class _Layout:
    """Everything that is seen on the tab."""

    def __init__(self, label: LabelPage, words: Words):
        self._words = words
        colours = [hex_of_id(i) for i in range(1, MOST_IDS + 1)]
        self.chosen = gr.State("")
        with gr.Row():
            self.job = gr.Dropdown(
                label.jobs(), value=None, label=words("label_job"), info=words("label_job_info"),
                allow_custom_value=True, elem_id="label_job",
            )  # fmt: skip
            self.uploads = gr.File(
                label=words("label_references"), file_count="multiple", file_types=PHOTO_FILES,
                elem_id="label_references", height=120,
            )  # fmt: skip
            self.picture = gr.Dropdown([], value=None, label=words("label_reference"), elem_id="label_reference")
            with gr.Column():
                self.number = gr.Number(
                    1, label=words("label_id"), precision=0, minimum=1, maximum=MOST_IDS, elem_id="label_id"
                )
                self.called = gr.Textbox(label=words("label_id_name"), elem_id="label_id_name")
        gr.Markdown(words("label_hint"))
        self.canvas = widget("canvas", "label_canvas", colours=colours)
        with gr.Row():
            with gr.Column():
                self._targets()
            with gr.Column():
                self._looking()

    def _targets(self) -> None:
        self.targets = gr.File(
            label=self._words("label_targets"), file_count="multiple", file_types=PHOTO_FILES, elem_id="label_targets",
            height=160,
        )  # fmt: skip
        with gr.Row():
            self.run = gr.Button(self._words("label_run"), variant="primary", elem_id="label_run")
            self.stop = gr.Button(self._words("cancel"), variant="stop", elem_id="label_cancel")
        self.status = gr.Textbox(label=self._words("status"), elem_id="label_status", lines=2)
        self.table = gr.Dataframe(
            headers=["name", "state", "sure", "found"], datatype=["str", "str", "number", "str"],
            label=self._words("label_results"), interactive=False, elem_id="label_table", wrap=True, max_height=360,
        )  # fmt: skip

    def _looking(self) -> None:
        self.shown = gr.Image(
            label=self._words("overlay"), type="filepath", interactive=False, elem_id="label_overlay",
            buttons=["download", "fullscreen"],
        )  # fmt: skip
        with gr.Row():
            self.accept = gr.Button(self._words("label_accept"), elem_id="label_accept")
            self.reject = gr.Button(self._words("label_reject"), elem_id="label_reject")
            self.fix = gr.Button(self._words("label_fix"), elem_id="label_fix")
        self.relearn = gr.Button(self._words("label_relearn"), elem_id="label_relearn")
        with gr.Row():
            self.kind = gr.Dropdown(
                list(FORMATS), value="coco", label=self._words("label_format"), elem_id="label_format"
            )
            with gr.Column():
                self.parts = gr.Checkbox(label=self._words("label_parts"))
                self.only = gr.Checkbox(label=self._words("label_accepted_only"))
        self.export = gr.Button(self._words("export"), elem_id="label_export")
        self.exported = gr.File(label=self._words("downloads"), interactive=False, elem_id="label_exported")


def build(label: LabelPage, words: Words, demo: gr.Blocks) -> None:
    """Lay out the tab, and connect what is seen with what is done.

    Args:
        label: the callbacks.
        words: a key of the page's words -> what Gradio shows in the visitor's language.
        demo: the page's blocks.
    """
    see, do = _Layout(label, words), _Requests(label)
    # Gestures go past the queue, or a stroke would wait behind a run; "once" would drop those that come fast.
    quick = {**PRIVATE, "queue": False, "show_progress": "hidden"}
    fresh = [
        see.job,
        see.picture,
        see.canvas,
        see.table,
        see.uploads,
        see.targets,
        see.chosen,
        see.shown,
        see.status,
        see.exported,
    ]
    see.job.input(safely(do.opened), see.job, fresh, show_progress="hidden", **PRIVATE)
    see.uploads.upload(safely(do.uploaded), see.uploads, [see.picture, see.canvas], show_progress="hidden", **PRIVATE)
    see.picture.input(safely(do.picked), see.picture, see.canvas, show_progress="hidden", **PRIVATE)
    see.canvas.gesture(safely(do.gestured), None, see.canvas, trigger_mode="multiple", **quick)
    see.called.submit(safely(do.named), [see.number, see.called], see.canvas, show_progress="hidden", **PRIVATE)
    see.canvas.finished(safely(do.fixed), None, [see.chosen, see.shown, see.table], show_progress="hidden", **PRIVATE)
    begun = {"queue": False, "show_progress": "hidden", **PRIVATE}
    see.run.click(do.armed, None, None, **begun).then(
        safely(do.ran), see.targets, [see.status, see.table], **ENGINE, **PRIVATE
    )
    see.relearn.click(do.armed, None, None, **begun).then(
        safely(do.relearnt), None, [see.status, see.table], **ENGINE, **PRIVATE
    )
    see.stop.click(do.stopped, None, None, queue=False, **PRIVATE)
    see.table.select(safely(do.clicked), None, [see.chosen, see.shown], show_progress="hidden", **PRIVATE)
    see.accept.click(safely(do.accepted), see.chosen, see.table, show_progress="hidden", **PRIVATE)
    see.reject.click(safely(do.rejected), see.chosen, see.table, show_progress="hidden", **PRIVATE)
    see.fix.click(safely(do.fixing), see.chosen, see.canvas, show_progress="hidden", **PRIVATE)
    see.export.click(safely(do.wrote), [see.kind, see.parts, see.only], see.exported, **PRIVATE)
    demo.load(lambda: gr.update(choices=label.jobs()), None, see.job, **PRIVATE)
    demo.unload(do.left)

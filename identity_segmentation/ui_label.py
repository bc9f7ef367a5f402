"""The web page's Label tab: mark on a canvas, label many pictures, look, correct, export; see `labeling.py`.

Jobs lie in the output folder under ``labels/``, each under its name, where the command line finds them too; they are
neither served nor swept. What the page shows are copies.
"""

from __future__ import annotations

import contextlib
import shutil
import threading
import time
import uuid
from collections.abc import Callable
from importlib import resources
from pathlib import Path

import cv2
import gradio as gr
import numpy as np

from .canvas import Canvas
from .errors import IdentitySegmentationError, InputError
from .export import FORMATS
from .images import safe_filename, shrink_to, write_image
from .labeling import LabelJob
from .marks import MOST_IDS, Mark, colour_of_id

_PROGRESS = gr.Progress()
_LONGEST = 1600  # pixels of a picture on the page; marks are in the picture's own
_SHOWN = 500  # rows of the table


class _Session:
    """What one open page is working on."""

    def __init__(self, served: Path):
        self.served = served
        self.job: LabelJob | None = None
        self.canvas: Canvas | None = None
        self.picture = ""
        self.copy: Path | None = None
        self.ack, self.version = 0, 0
        self.overlays: list[Path] = []
        self.cancel: threading.Event | None = None
        self.used = time.monotonic()
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

    def jobs(self) -> list[str]:
        """Names of the jobs there are."""
        if not self.folder.is_dir():
            return []
        return sorted(p.name for p in self.folder.iterdir() if (p / "marks").is_dir() or (p / "job.json").exists())

    def _session(self, name: str) -> _Session:
        for old in [k for k, s in self._sessions.items() if time.monotonic() - s.used > 24 * 3600]:
            del self._sessions[old]
        session = self._sessions.get(name)
        if session is None:
            session = self._sessions[name] = _Session(self.page.job())
        session.used = time.monotonic()
        return session

    def leave(self, name: str) -> None:
        """A page was closed: its run stops, what is finished stays."""
        session = self._sessions.pop(name, None)
        if session is not None and session.cancel is not None:
            session.cancel.set()

    def _job(self, session: _Session) -> LabelJob:
        if session.job is None:
            raise InputError("open a labelling job first: give it a name")
        return session.job

    def open(self, name: str, job: str | None) -> LabelJob:
        """Open a job by its name, in any script; a new one is begun with its first mark."""
        if not (job or "").strip():
            raise InputError("give the labelling job a name first")
        session = self._session(name)
        segmenter = self.page.pipeline
        session.job = LabelJob(self.folder / safe_filename(job.strip()), lambda: segmenter.segmenter)
        session.canvas, session.picture = None, ""
        return session.job

    # ---- references

    def references(self, name: str) -> list[tuple[str, str]]:
        """(what the list shows, path) of every picture to mark: those uploaded, and those marked before."""
        job = self._job(self._session(name))
        paths = {str(m.path): m.path.name for m in job.book.all()}
        for path in sorted((job.folder / "pictures").glob("*")) if (job.folder / "pictures").is_dir() else ():
            paths.setdefault(str(path.absolute()), path.name)
        return sorted(((label, path) for path, label in paths.items()))

    def upload(self, name: str, files, place: str = "pictures") -> list[Path]:
        """Keep uploaded pictures with the job; the same picture twice is kept once."""
        job = self._job(self._session(name))
        kept = []
        for file in files or ():
            source = Path(file)
            target, number = job.folder / place / safe_filename(source.name), 1
            data = source.read_bytes()
            while target.exists() and target.read_bytes() != data:
                number += 1
                target = job.folder / place / f"{safe_filename(source.stem)}-{number}{source.suffix.lower()}"
            if not target.exists():
                target.parent.mkdir(parents=True, exist_ok=True)
                part = target.with_name(f".{uuid.uuid4().hex}.part")
                part.write_bytes(data)
                part.replace(target)
            kept.append(target.absolute())
        return kept

    def name_id(self, name: str, number, text: str) -> dict | None:
        """Say what an id is called."""
        session = self._session(name)
        with session.lock:
            self._job(session).name_id(int(number or 0), text or "")
            return self._value(session)

    # ---- the canvas

    def show(self, name: str, picture: str | None, correcting: bool = False) -> dict | None:
        """Put a picture on the canvas; in correcting, a target by its name."""
        session = self._session(name)
        with session.lock:
            if not picture:
                return None
            if not correcting and picture not in {path for _, path in self.references(name)}:
                raise InputError("that picture is not among this job's references; upload it first")
            session.canvas = Canvas(self._job(session), picture, correcting)
            session.picture = f"{uuid.uuid4().hex}"
            small, _ = shrink_to(session.canvas.image, _LONGEST)
            session.copy = write_image(session.served / f"{session.picture}.jpg", small)
            return self._value(session)

    def gesture(self, name: str, actions) -> dict | None:
        """Gestures of the canvas, in order; those that came before are passed over. Every one is saved."""
        session = self._session(name)
        with session.lock:
            said = ""
            if session.canvas is None:
                return None
            for action in actions if isinstance(actions, list) else ():
                number = action.get("n") if isinstance(action, dict) else None
                if not isinstance(number, int) or number <= session.ack:
                    continue
                try:
                    if action.get("picture") == session.picture:
                        self._apply(session.canvas, action)
                except IdentitySegmentationError as error:
                    said = str(error)
                session.ack = number  # a refused one too, or the page would send it for ever
            return self._value(session, said)

    @staticmethod
    def _apply(canvas: Canvas, action: dict) -> None:
        tool = action.get("tool")
        if tool == "undo":
            canvas.undo()
        elif tool == "redo":
            canvas.redo()
        elif tool == "clear":
            canvas.clear(action.get("id"))
        elif tool == "box":
            points = Mark.from_json(action).points
            canvas.add(Mark.box(action["id"], *points[0], *points[1]))
        elif tool in ("point", "brush", "eraser"):
            if len(action.get("points", ())) > 50_000:
                raise InputError("too long a stroke; lift the pen now and then")
            canvas.add(Mark.from_json({k: v for k, v in action.items() if k != "rle"}))
        else:
            raise InputError(f"unknown gesture {tool!r}")

    def _value(self, session: _Session, said: str = "") -> dict | None:
        canvas = session.canvas
        if canvas is None:
            return None
        session.version = max(session.version + 1, int(time.time() * 1000))
        width, height = canvas.size
        return {
            "picture": session.picture, "width": width, "height": height, "image": _served(session.copy),
            "overlay": _served(self._overlay(session)), "marks": [mark.as_json() for mark in canvas.prompts()],
            "names": {str(i): text for i, text in session.job.names.items()}, "ack": session.ack,
            "version": session.version, "said": said,
        }  # fmt: skip

    @staticmethod
    def _overlay(session: _Session) -> Path | None:
        layers = None
        for number, mask in session.canvas.masks().items():
            small, _ = shrink_to(mask.astype(np.uint8) * 255, _LONGEST)
            layers = np.zeros((*small.shape, 4), np.uint8) if layers is None else layers
            layers[small > 127] = (*colour_of_id(number), 140)
        if layers is None:
            return None
        # A new name each time, as browsers keep what they fetched; the last few stay for an answer on its way.
        file = session.served / f"overlay-{uuid.uuid4().hex}.png"
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
        return [
            [row["name"], row["state"], round(row.get("sure", 0.0), 2), _found(row)] for row in found[:_SHOWN]
        ]  # fmt: skip

    def run(self, name: str, files, progress: Callable) -> str:
        """Label uploaded pictures, and those uploaded before; a line on how it went."""
        job = self._job(self._session(name))
        self.upload(name, files, "targets")
        targets = job.folder / "targets"
        if not targets.is_dir():
            raise InputError("give some pictures to label first")
        return self._worked(name, lambda **how: job.run([targets], **how), progress)

    def relearn(self, name: str, progress: Callable) -> str:
        """Propose anew what is not accepted."""
        job = self._job(self._session(name))
        return self._worked(name, job.relearn, progress)

    def _worked(self, name: str, work: Callable, progress: Callable) -> str:
        session = self._session(name)
        session.cancel = threading.Event()

        def step(done: int, total: int, left: float | None) -> None:
            progress(done, total, "" if left is None else f"{int(left) // 60}:{int(left) % 60:02d}")

        try:
            report = work(progress=step, cancel=session.cancel)
        finally:
            session.cancel = None
        broken = "".join(f"; {Path(path).name}: {why}" for path, why in list(report.unreadable.items())[:5])
        state = "stopped; what was finished is kept. " if report.cancelled else ""
        return (
            f"{state}{report.done} labelled, {report.kept} kept, {len(report.unreadable)} unreadable{broken}; "
            f"{report.seconds:.1f} s. {report.calibration}"
        )

    def stop(self, name: str) -> None:
        """Stop a run after the pictures at work."""
        session = self._sessions.get(name)
        if session is not None and session.cancel is not None:
            session.cancel.set()

    def overlay(self, name: str, target: str | None) -> str | None:
        """A copy of a target's overlay, to be shown."""
        session = self._session(name)
        if not target:
            return None
        row = self._job(session).row(target)
        if row["state"] == "unreadable":
            raise InputError(f"{row['name']}: {row['reason']}")
        file = session.job.folder / "overlays" / f"{row['name']}.jpg"
        copy = session.served / f"shown-{uuid.uuid4().hex}.jpg"
        shutil.copyfile(file, copy)
        return str(copy)

    def decide(self, name: str, target: str | None, state: str) -> None:
        """Accept or reject a target's labels."""
        if not target:
            raise InputError("click a row of the table first")
        job = self._job(self._session(name))
        (job.accept if state == "accepted" else job.reject)([target])

    def done(self, name: str) -> str:
        """What is on the canvas is right: it becomes the target's labels, and a reference. The target's name."""
        session = self._session(name)
        with session.lock:
            if session.canvas is None or not session.canvas.correcting:
                raise InputError("nothing is being corrected; click a row of the table, then Correct")
            return session.canvas.finish()["name"]

    def export(self, name: str, kind: str, parts: bool, accepted: bool) -> str:
        """A file for download: COCO's and CVAT's own, or the folder of the format as a zip."""
        session = self._session(name)
        states = ("accepted", "corrected") if accepted else ("proposed", "accepted", "corrected")
        folder = self._job(session).export(kind, bool(parts), states)
        out = self.page.job()
        files = sorted(p for p in folder.rglob("*") if p.is_file())
        if len(files) == 1:
            return str(shutil.copyfile(files[0], out / f"{kind}{files[0].suffix}"))
        return shutil.make_archive(str(out / kind), "zip", folder)


def _found(row: dict) -> str:
    if row["state"] == "unreadable":
        return row["reason"]
    parts = [
        f"{o['name']} {o['score']:.2f}" + ("" if o["expected_iou"] is None else f" (IoU ~ {o['expected_iou']:.2f})")
        for o in row["objects"]
    ]
    return ", ".join(parts) or "-"


def _served(path: Path | None) -> dict | None:
    """A file for the canvas: Gradio adds its address wherever such a value turns up."""
    return None if path is None else {"path": str(path), "meta": {"_type": "gradio.FileData"}}


def _part(name: str) -> str:
    return resources.files(__package__).joinpath(f"data/{name}").read_text("utf-8")


def build(label: LabelPage, words: Callable, texts: dict, safely: Callable, engine: dict, private: dict, demo) -> None:
    """Lay out the tab.

    Args:
        words: a key of the page's words -> what Gradio shows in the visitor's language.
        texts: language -> key -> text, for the canvas, which Gradio does not translate.
        safely: wraps callbacks, so that errors reach the user as a sentence.
        engine, private: options of events that work with the engines, and of those that are no API.
        demo: the page's blocks.
    """
    prefix = "idseg_canvas_"
    spoken = {
        language: {key.removeprefix(prefix): text for key, text in entries.items() if key.startswith(prefix)}
        for language, entries in texts.items()
    }
    colours = ["#{:02x}{:02x}{:02x}".format(*colour_of_id(i)[::-1]) for i in range(1, MOST_IDS + 1)]
    chosen = gr.State("")
    with gr.Row():
        job = gr.Dropdown(
            label.jobs(), value=None, label=words("label_job"), info=words("label_job_info"), allow_custom_value=True,
            elem_id="label_job",
        )  # fmt: skip
        uploads = gr.File(
            label=words("label_references"), file_count="multiple", file_types=["image"], elem_id="label_references",
            height=120,
        )  # fmt: skip
        picture = gr.Dropdown([], value=None, label=words("label_reference"), elem_id="label_reference")
        with gr.Column():
            number = gr.Number(1, label=words("label_id"), precision=0, minimum=1, maximum=MOST_IDS, elem_id="label_id")
            called = gr.Textbox(label=words("label_id_name"), elem_id="label_id_name")
    gr.Markdown(words("label_hint"))
    canvas = gr.HTML(
        html_template=_part("canvas.html"), css_template=_part("canvas.css"), js_on_load=_part("canvas.js"),
        apply_default_css=False, elem_id="label_canvas", colours=colours, words=spoken,
    )  # fmt: skip
    with gr.Row():
        with gr.Column():
            targets = gr.File(
                label=words("label_targets"), file_count="multiple", file_types=["image"], elem_id="label_targets",
                height=160,
            )  # fmt: skip
            with gr.Row():
                run = gr.Button(words("label_run"), variant="primary", elem_id="label_run")
                stop = gr.Button(words("cancel"), variant="stop", elem_id="label_cancel")
            status = gr.Textbox(label=words("status"), elem_id="label_status", lines=2)
            table = gr.Dataframe(
                headers=["name", "state", "sure", "found"], datatype=["str", "str", "number", "str"],
                label=words("label_results"), interactive=False, elem_id="label_table", wrap=True, max_height=360,
            )  # fmt: skip
        with gr.Column():
            shown = gr.Image(
                label=words("overlay"), type="filepath", interactive=False, elem_id="label_overlay",
                buttons=["download", "fullscreen"],
            )  # fmt: skip
            with gr.Row():
                accept = gr.Button(words("label_accept"), elem_id="label_accept")
                reject = gr.Button(words("label_reject"), elem_id="label_reject")
                fix = gr.Button(words("label_fix"), elem_id="label_fix")
                done = gr.Button(words("label_done"), elem_id="label_done")
            relearn = gr.Button(words("label_relearn"), elem_id="label_relearn")
            with gr.Row():
                kind = gr.Dropdown(list(FORMATS), value="coco", label=words("label_format"), elem_id="label_format")
                with gr.Column():
                    parts = gr.Checkbox(label=words("label_parts"))
                    only = gr.Checkbox(label=words("label_accepted_only"))
            export = gr.Button(words("export"), elem_id="label_export")
            exported = gr.File(label=words("downloads"), interactive=False, elem_id="label_exported")

    def opened(name, request: gr.Request):
        label.open(request.session_hash, name)
        found = label.references(request.session_hash)
        first = found[0][1] if found else None
        return (
            gr.update(choices=found, value=first),
            label.show(request.session_hash, first),
            label.rows(request.session_hash),
        )

    def uploaded(files, request: gr.Request):
        kept = label.upload(request.session_hash, files)
        first = str(kept[0].absolute()) if kept else None
        return gr.update(choices=label.references(request.session_hash), value=first), label.show(
            request.session_hash, first
        )

    def picked(path, request: gr.Request):
        return label.show(request.session_hash, path)

    def gestured(request: gr.Request, event: gr.EventData):
        return label.gesture(request.session_hash, event._data.get("actions"))

    def named(which, text, request: gr.Request):
        return label.name_id(request.session_hash, which, text)

    def telling(bar):
        return lambda at, total, left: bar((at, total), desc=left, unit="pictures")

    def ran(files, request: gr.Request, bar=_PROGRESS):
        said = label.run(request.session_hash, files, telling(bar))
        return said, label.rows(request.session_hash)

    def relearnt(request: gr.Request, bar=_PROGRESS):
        said = label.relearn(request.session_hash, telling(bar))
        return said, label.rows(request.session_hash)

    def clicked(request: gr.Request, event: gr.SelectData):
        target = str(event.row_value[0])
        return target, label.overlay(request.session_hash, target)

    def accepted(target, request: gr.Request):
        label.decide(request.session_hash, target, "accepted")
        return label.rows(request.session_hash)

    def rejected(target, request: gr.Request):
        label.decide(request.session_hash, target, "rejected")
        return label.rows(request.session_hash)

    def fixing(target, request: gr.Request):
        if not target:
            raise InputError("click a row of the table first")
        return label.show(request.session_hash, target, correcting=True)

    def fixed(request: gr.Request):
        target = label.done(request.session_hash)
        return target, label.overlay(request.session_hash, target), label.rows(request.session_hash)

    def wrote(which, apart, sure, request: gr.Request):
        return label.export(request.session_hash, which, apart, sure)

    def stopped(request: gr.Request):
        label.stop(request.session_hash)

    def left(request: gr.Request):
        label.leave(request.session_hash)

    # Gestures go past the queue, or a stroke would wait behind a run; "once" would drop those that come fast.
    quick = {**private, "queue": False, "show_progress": "hidden"}
    job.change(safely(opened), job, [picture, canvas, table], show_progress="hidden", **private)
    uploads.upload(safely(uploaded), uploads, [picture, canvas], show_progress="hidden", **private)
    picture.input(safely(picked), picture, canvas, show_progress="hidden", **private)
    canvas.gesture(safely(gestured), None, canvas, trigger_mode="multiple", **quick)
    called.submit(safely(named), [number, called], canvas, show_progress="hidden", **private)
    run.click(safely(ran), targets, [status, table], **engine, **private)
    relearn.click(safely(relearnt), None, [status, table], **engine, **private)
    stop.click(stopped, None, None, queue=False, **private)
    table.select(safely(clicked), None, [chosen, shown], show_progress="hidden", **private)
    accept.click(safely(accepted), chosen, table, show_progress="hidden", **private)
    reject.click(safely(rejected), chosen, table, show_progress="hidden", **private)
    fix.click(safely(fixing), chosen, canvas, show_progress="hidden", **private)
    done.click(safely(fixed), None, [chosen, shown, table], show_progress="hidden", **private)
    export.click(safely(wrote), [kind, parts, only], exported, **private)
    demo.load(lambda: gr.update(choices=label.jobs()), None, job, **private)
    demo.unload(left)

"""How the Label tab looks, and which callback each of its parts calls; see `label.py` for what they do."""

from __future__ import annotations

import html
from typing import Any

import gradio as gr

from ..errors import IdentitySegmentationError
from ..labels.export import FORMATS
from ..labels.marks import MOST_IDS, hex_of_id
from . import speech
from .label import LabelPage
from .page import PHOTO_FILES, PRIVATE, Words, safely, widget

NOTHING_LEFT = "every uploaded picture is marked, or nearly the same as a marked one"
_SHOWN = ("job", "picture", "canvas", "grid", "uploads", "targets", "status", "exported")  # parts that a job fills


def _only(**parts: Any) -> tuple:
    """What these parts of `_SHOWN` now show; the others stay as they are."""
    return tuple(parts.get(name, gr.skip()) for name in _SHOWN)


class _Requests:
    """What Gradio calls: it gives the visitor's session, and the callbacks of `LabelPage` do the work."""

    def __init__(self, label: LabelPage):
        self.label = label

    def opened(self, name, request: gr.Request):
        return self._opened(request.session_hash, name)

    def _opened(self, session: str, name: str, said: str = ""):
        folder = self.label.open(session, name).folder
        found = self.label.references(session)
        first, view = None, self.label.show(session, None)
        for reference in found:
            try:
                first, view = reference, self.label.show(session, reference)
                break
            except IdentitySegmentationError as error:  # one picture that is gone must not shut the job
                view = self.label.show(session, None) | {"said": speech.told(error)}
        # Nothing of another job stays: its uploads would be taken for this one's.
        return (
            gr.update(value=folder.name), gr.update(choices=found, value=first), view, self.label.rows(session), None,
            None, said, None,
        )  # fmt: skip

    def reopened(self, request: gr.Request, event: gr.EventData):
        """The page was loaded again: the job that this browser had open last, where it is still there."""
        name = event._data.get("job")
        if name not in self.label.jobs():
            return _only()
        return self.opened(name, request)

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

    def suggested(self, request: gr.Request):
        choices, first = self.label.suggest(request.session_hash)
        if first is None:
            gr.Info(html.escape(speech.said(NOTHING_LEFT)))
            return gr.update(choices=choices), gr.skip()
        return gr.update(choices=choices, value=first), self.label.show(request.session_hash, first)

    def gestured(self, request: gr.Request, event: gr.EventData):
        return self.label.gesture(request.session_hash, event._data.get("actions"))

    def named(self, which, text, request: gr.Request):
        return self.label.name_id(request.session_hash, which, text)

    def began(self, files, request: gr.Request):
        self.label.begin(request.session_hash, files)
        return self.label.rows(request.session_hash)

    def relearning(self, request: gr.Request):
        self.label.begin(request.session_hash, anew=True)
        return self.label.rows(request.session_hash)

    def ended(self, session: str, found: dict):
        """A run is over: its line, and the grid, where its job is open, or is to be."""
        job, said = str(found["asked"].get("job")), speech.said(str(found["said"]))
        opened = self.label.rows(session)
        if opened["job"] == job:
            return _only(grid=opened, status=said)
        if found.get("move") and job in self.label.jobs():
            return self._opened(session, job, said)
        return _only()

    def asked(self, request: gr.Request, event: gr.EventData):
        return self.label.grid.answer(event._data)

    def advised(self, request: gr.Request, event: gr.EventData):
        return self.label.advise(request.session_hash, event._data)

    def correcting(self, request: gr.Request, event: gr.EventData):
        return self.label.correct(request.session_hash, event._data)

    def fixed(self, request: gr.Request):
        target = self.label.finished(request.session_hash)
        return self.label.rows(request.session_hash, finished=target)

    def wrote(self, which, apart, sure, request: gr.Request):
        return self.label.export(request.session_hash, which, apart, sure)

    def stopped(self, request: gr.Request):
        self.label.stop(request.session_hash)

    def left(self, request: gr.Request):
        self.label.leave(request.session_hash)


class _Layout:
    """Everything that is seen on the tab: three steps in words, then mark, label, look, export."""

    def __init__(self, label: LabelPage, words: Words):
        self._words = words
        self.steps = widget("steps", "label_steps")
        with gr.Row():
            self.job = gr.Dropdown(
                label.jobs(), value=None, label=words("label_job"), info=words("label_job_info"),
                allow_custom_value=True, elem_id="label_job",
            )  # fmt: skip
            self.uploads = gr.File(
                label=words("label_references"), file_count="multiple", file_types=PHOTO_FILES,
                elem_id="label_references", height=120,
            )  # fmt: skip
            with gr.Column():
                self.picture = gr.Dropdown([], value=None, label=words("label_reference"), elem_id="label_reference")
                self.suggest = gr.Button(words("label_suggest"), size="sm", elem_id="label_suggest")
            with gr.Column():
                self.number = gr.Number(
                    1, label=words("label_id"), precision=0, minimum=1, maximum=MOST_IDS, elem_id="label_id"
                )
                self.called = gr.Textbox(label=words("label_id_name"), elem_id="label_id_name")
        gr.Markdown(words("label_hint"))
        colours = [hex_of_id(i) for i in range(1, MOST_IDS + 1)]
        self.canvas = widget("canvas", "label_canvas", colours=colours)
        self._targets()
        self.grid = widget("grid", "label_grid")
        self._after()

    def _targets(self) -> None:
        with gr.Row():
            self.targets = gr.File(
                label=self._words("label_targets"), file_count="multiple", file_types=PHOTO_FILES,
                elem_id="label_targets", height=160,
            )  # fmt: skip
            with gr.Column():
                with gr.Row():
                    self.run = gr.Button(self._words("label_run"), variant="primary", elem_id="label_run")
                    self.stop = gr.Button(self._words("cancel"), variant="stop", elem_id="label_cancel")
                self.status = gr.Textbox(label=self._words("status"), elem_id="label_status", lines=2)

    def _after(self) -> None:
        self.relearn = gr.Button(self._words("label_relearn"), elem_id="label_relearn")
        with gr.Row():
            self.kind = gr.Dropdown(
                list(FORMATS), value="coco", label=self._words("label_format"), elem_id="label_format"
            )
            with gr.Column():
                self.parts = gr.Checkbox(label=self._words("label_parts"))
                self.only = gr.Checkbox(label=self._words("label_accepted_only"))
            self.export = gr.Button(self._words("export"), elem_id="label_export")
        self.exported = gr.File(label=self._words("downloads"), interactive=False, elem_id="label_exported", height=100)


def build(label: LabelPage, words: Words, demo: gr.Blocks) -> None:
    """Lay out the tab, and connect what is seen with what is done.

    Args:
        label: the callbacks.
        words: a key of the page's words -> what Gradio shows in the visitor's language.
        demo: the page's blocks.
    """
    see, do = _Layout(label, words), _Requests(label)
    # Gestures and looks go past the queue, or they would wait behind a run; "once" would drop those that come fast.
    quick: dict[str, Any] = {**PRIVATE, "queue": False, "show_progress": "hidden"}
    hidden: dict[str, Any] = {"show_progress": "hidden", **PRIVATE}
    fresh = [getattr(see, name) for name in _SHOWN]
    see.job.input(safely(do.opened), see.job, fresh, **hidden)
    see.grid.reopened(safely(do.reopened), None, fresh, **hidden)
    see.uploads.upload(safely(do.uploaded), see.uploads, [see.picture, see.canvas], **hidden)
    see.picture.input(safely(do.picked), see.picture, see.canvas, **hidden)
    see.suggest.click(safely(do.suggested), None, [see.picture, see.canvas], **PRIVATE)
    see.canvas.gesture(safely(do.gestured), None, see.canvas, trigger_mode="multiple", **quick)
    see.called.submit(safely(do.named), [see.number, see.called], see.canvas, **hidden)
    see.canvas.finished(safely(do.fixed), None, see.grid, **hidden)
    see.grid.asked(safely(do.asked), None, see.grid, trigger_mode="multiple", **quick)
    see.grid.advised(safely(do.advised), None, see.grid, **hidden)
    see.grid.corrected(safely(do.correcting), None, see.canvas, **hidden)
    see.run.click(safely(do.began), see.targets, see.grid, **hidden)
    see.relearn.click(safely(do.relearning), None, see.grid, **hidden)
    label.page.opener("labels", "label", do.ended, fresh)
    see.stop.click(safely(do.stopped), None, None, queue=False, **PRIVATE)
    see.export.click(safely(do.wrote), [see.kind, see.parts, see.only], see.exported, **PRIVATE)
    demo.load(lambda: gr.update(choices=label.jobs()), None, see.job, **PRIVATE)
    demo.unload(do.left)

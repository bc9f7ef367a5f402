"""A second look at a covered video: what is still bare, to be covered or dismissed. (Part of the tab Video.)"""

from __future__ import annotations

import base64
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gradio as gr

from ..audit import Audit, correct, corrections_of, look_again
from ..audit_report import in_words, write_html
from ..errors import InputError
from ..files import atomic_write
from ..video.covering import COVERING
from .page import ENGINE, PRIVATE, PROGRESS, Page, Words, safely

Told = Callable[[int, int | None, str], None]


class AuditPart:
    """The callbacks over what a second look finds.

    Args:
        page: the pipeline, and the folder for what is served.
        jobs: who is waiting for a job -> what stops it.
        render: renders a job again: (session, job, progress) -> what the tab shows.
    """

    def __init__(self, page: Page, jobs: dict[str, threading.Event], render: Callable[[str, dict, Told], tuple]):
        self.page, self.jobs, self.render = page, jobs, render

    def look(self, session: str, asked: dict | None, progress: Told) -> tuple[list[tuple[str, str]], list[str], str]:
        """(gallery of findings, report, status line) of a second look at what was rendered.

        Args:
            session: who asks; the look stops as their jobs do.
            asked: the job that was rendered.
            progress: called with (frames done, frames in all or None, text).

        Raises:
            InputError: nothing was rendered yet, or no heads are covered in it.
        """
        output = _output(asked)
        cancel = self.jobs[session] = threading.Event()
        try:
            audit = look_again(
                output, None, 1, self.page.pipeline.settings, True,
                lambda stage, done, total: progress(done, total or None, stage), cancel,
            )  # fmt: skip
        finally:
            self.jobs.pop(session, None)
        report = write_html(output.with_name(f"{output.stem}.audit.html"), audit.as_dict())
        return self.shown(output, audit), [str(report)], _said(audit)

    def shown(self, output: Path, audit: Audit) -> list[tuple[str, str]]:
        """(picture's path, caption) of every finding.

        Args:
            output: that was audited; the pictures are put beside it.
            audit: what was found.
        """
        rows = []
        for found in audit.findings:
            path = output.with_name(f"{output.stem}.finding-{found.number}.jpg")
            with atomic_write(path) as file:
                file.write(base64.b64decode((found.thumbnail or "").partition(",")[2]))
            rows.append((str(path), f"{found.number}: {found.from_s:.2f} - {found.to_s:.2f} s ({found.by})"))
        return rows

    def say(self, kind: str, asked: dict | None, chosen: int | None) -> str:
        """Say of a finding that it is to be covered, or that it is no head. A status line.

        Args:
            kind: "cover" or "no-head".
            asked: the job that was rendered.
            chosen: place of the finding in the gallery, from 0.
        """
        output = _output(asked)
        if chosen is None:
            raise InputError("choose one of the pictures first")
        correct(output, chosen + 1, kind)
        count = Counter(said.kind for said in corrections_of(output))
        return f"finding {chosen + 1}: {kind}. To be covered: {count['cover']}; no heads: {count['no-head']}"

    def again(self, session: str, asked: dict | None, progress: Told) -> tuple:
        """Render again, with what is to be covered; what `render` gives.

        Args:
            session: who asks.
            asked: the job that was rendered.
            progress: called with (frames done, frames in all or None, text).
        """
        _output(asked)
        assert asked is not None
        return self.render(session, asked, progress)


def _output(asked: dict | None) -> Path:
    if not asked:
        raise InputError("process a video first")
    if asked["view"] not in COVERING:
        raise InputError(f"no heads are covered in the view {asked['view']}; expected {', '.join(COVERING)}")
    return Path(asked["output"])


def _said(audit: Audit) -> str:
    return " ".join([in_words(audit.facts, len(audit.findings)), *audit.facts["remarks"]])


def build(part: AuditPart, words: Words, job: gr.State, outputs: list[Any]) -> None:
    """Lay out the second look, below a result.

    Args:
        part: the callbacks.
        words: key of a text -> the text.
        job: what was rendered.
        outputs: what a render fills.
    """
    with gr.Accordion(words("audit"), open=False, elem_id="audit"):
        gr.Markdown(words("audit_info"))
        look = gr.Button(words("look_again"), elem_id="audit_look")
        said = gr.Textbox(label=words("status"), elem_id="audit_status", lines=2)
        gallery = gr.Gallery(label=words("audit_findings"), columns=4, interactive=False, elem_id="audit_gallery")
        report = gr.File(label=words("audit_report"), file_count="multiple", interactive=False, elem_id="audit_report")
        chosen = gr.State(None)
        with gr.Row():
            cover = gr.Button(words("audit_cover"), elem_id="audit_cover")
            no_head = gr.Button(words("audit_no_head"), elem_id="audit_no_head")
            again = gr.Button(words("audit_render"), elem_id="audit_render")

    def looked(asked, request: gr.Request, bar=PROGRESS):
        found = part.look(
            request.session_hash or "", asked,
            lambda done, total, text: bar((done, total), desc=text, unit="frames"),
        )  # fmt: skip
        return (*found, None)

    def rendered(asked, request: gr.Request, bar=PROGRESS):
        return part.again(
            request.session_hash or "", asked,
            lambda done, total, text: bar((done, total), desc=text, unit="frames"),
        )  # fmt: skip

    def to_be_covered(asked, number):
        return part.say("cover", asked, number)

    def is_no_head(asked, number):
        return part.say("no-head", asked, number)

    def select(event: gr.SelectData) -> int:
        return int(event.index)

    gallery.select(select, None, chosen, queue=False, **PRIVATE)
    look.click(safely(looked), [job], [gallery, report, said, chosen], **ENGINE, **PRIVATE)
    cover.click(safely(to_be_covered), [job, chosen], [said], **PRIVATE)
    no_head.click(safely(is_no_head), [job, chosen], [said], **PRIVATE)
    again.click(safely(rendered), [job], outputs, **ENGINE, **PRIVATE)

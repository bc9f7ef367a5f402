"""A second look at a covered video: what is still bare, to be covered or dismissed. (Part of the tab Video.)"""

from __future__ import annotations

import base64
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import gradio as gr

from ..audit import Audit, correct, corrections_of, look_again
from ..audit_report import in_words, write_html
from ..errors import InputError
from ..files import atomic_write, shown_path
from ..video.covering import COVERING
from . import speech
from .jobs import Work
from .page import PRIVATE, Page, Words, safely

Start = Callable[[str, dict[str, Any]], str]  # (session, what is asked for) -> id of the job


class AuditPart:
    """The callbacks over what a second look finds.

    Args:
        page: the pipeline, the jobs, and the folder for what is served.
        start: starts a render.
    """

    def __init__(self, page: Page, start: Start):
        self.page, self.start = page, start

    def look(self, session: str, current: Mapping[str, Any] | None) -> str:
        """Start a second look at what was rendered; the job's id.

        Args:
            session: who asks.
            current: what the tab shows.

        Raises:
            InputError: nothing was rendered yet, or no heads are covered in it.
        """
        output = _output(current)
        assert current is not None
        asked = {"do": "audit", "source": current["source"], "output": str(output)}
        title = f"{shown_path(output.name)} · audit"
        return self.page.jobs.start(session, "video", title, lambda step: self.work(asked, step), asked)

    def work(self, asked: Mapping[str, Any], step: Work) -> dict[str, Any]:
        """What the job does: {"findings": [[picture, caption]], "report", "said"}.

        Args:
            asked: {"output"}.
            step: the job at work.
        """
        output = Path(asked["output"])
        step.stage(1, 1, "doing_audit")
        audit = look_again(
            output, None, 1, self.page.pipeline.settings, True,
            lambda stage, done, total: step.progress(done, total or None), step.cancel,
        )  # fmt: skip
        report = write_html(step.folder / f"{output.stem}.audit.html", audit.as_dict())
        return {"findings": self.shown(step.folder, audit), "report": str(report), "said": _said(audit)}

    def shown(self, folder: Path, audit: Audit) -> list[tuple[str, str]]:
        """(picture's path, caption) of every finding.

        Args:
            folder: for the pictures.
            audit: what was found.
        """
        rows = []
        for found in audit.findings:
            path = folder / f"finding-{found.number}.jpg"
            with atomic_write(path) as file:
                file.write(base64.b64decode((found.thumbnail or "").partition(",")[2]))
            rows.append((str(path), f"{found.number}: {found.from_s:.2f} - {found.to_s:.2f} s ({found.by})"))
        return rows

    def opened(self, job: Mapping[str, Any]) -> tuple:
        """(gallery of findings, report, status line, what is chosen) of a look that has ended.

        Args:
            job: as `jobs.Jobs.get` gives it.
        """
        found = job["result"]
        pictures = [tuple(row) for row in found.get("findings", ()) if Path(row[0]).is_file()]
        report = found.get("report")
        return pictures, [report] if report and Path(report).is_file() else None, speech.said(str(job["said"])), None

    @staticmethod
    def closed() -> tuple:
        """The same, of a video at which nobody looked again."""
        return [], None, "", None

    def say(self, kind: str, current: Mapping[str, Any] | None, chosen: int | None) -> str:
        """Say of a finding that it is to be covered, or that it is no head. A status line.

        Args:
            kind: "cover" or "no-head".
            current: what the tab shows.
            chosen: place of the finding in the gallery, from 0.
        """
        output = _output(current)
        if chosen is None:
            raise InputError("choose one of the pictures first")
        correct(output, chosen + 1, kind)
        count = Counter(said.kind for said in corrections_of(output))
        return f"finding {chosen + 1}: {kind}. To be covered: {count['cover']}; no heads: {count['no-head']}"

    def again(self, session: str, current: Mapping[str, Any] | None) -> str:
        """Render again, with what is to be covered; the job's id. It is rendered to the same place, where what was said
        of it lies.

        Args:
            session: who asks.
            current: what the tab shows.
        """
        output = _output(current)
        assert current is not None
        return self.start(session, {**current["asked"], "output": str(output)})


def _output(current: Mapping[str, Any] | None) -> Path:
    if not current or not current.get("asked") or not current.get("output"):
        raise InputError("make a video first")
    if current["asked"]["view"] not in COVERING:
        raise InputError(f"no heads are covered in the view {current['asked']['view']}; expected {', '.join(COVERING)}")
    return Path(current["output"])


def _said(audit: Audit) -> str:
    return " ".join([in_words(audit.facts, len(audit.findings)), *audit.facts["remarks"]])


def build(part: AuditPart, words: Words, current: gr.State, tell: gr.HTML) -> list[Any]:
    """Lay out the second look, below a result; returns what `AuditPart.opened` fills.

    Args:
        part: the callbacks.
        words: key of a text -> the text.
        current: what the tab shows.
        tell: a widget that takes {"n": number} where a job has begun.
    """
    with gr.Accordion(words("audit"), open=False, elem_id="audit"):
        gr.Markdown(words("audit_info"))
        look = gr.Button(words("look_again"), elem_id="audit_look")
        said = gr.Textbox(label=words("status"), elem_id="audit_status", lines=2, interactive=False)
        gallery = gr.Gallery(
            label=words("audit_findings"), columns=4, height="auto", interactive=False, elem_id="audit_gallery"
        )
        report = gr.File(label=words("audit_report"), file_count="multiple", interactive=False, elem_id="audit_report")
        chosen = gr.State(None)
        with gr.Row():
            cover = gr.Button(words("audit_cover"), elem_id="audit_cover")
            no_head = gr.Button(words("audit_no_head"), elem_id="audit_no_head")
            again = gr.Button(words("audit_render"), elem_id="audit_render")
    quick = {**PRIVATE, "queue": False, "show_progress": "hidden"}

    def looked(now, request: gr.Request):
        return {"n": part.look(request.session_hash or "", now)}

    def rendered(now, request: gr.Request):
        return {"n": part.again(request.session_hash or "", now)}

    def to_be_covered(now, number):
        return part.say("cover", now, number)

    def is_no_head(now, number):
        return part.say("no-head", now, number)

    def select(event: gr.SelectData) -> int:
        return int(event.index)

    gallery.select(select, None, chosen, **quick)
    look.click(safely(looked), [current], tell, **quick)
    cover.click(safely(to_be_covered), [current, chosen], [said], **PRIVATE)
    no_head.click(safely(is_no_head), [current, chosen], [said], **PRIVATE)
    again.click(safely(rendered), [current], tell, **quick)
    return [gallery, report, said, chosen]

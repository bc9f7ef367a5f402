"""A video of chosen members, with progress, a timeline, and corrections by hand. (Tab Video.)"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import gradio as gr

from .. import drawing
from ..errors import InputError
from ..images import write_image
from ..video.analysis import read_analysis
from ..video.corrections import correct
from ..video.render import VIEWS
from ..video.spans import on_screen
from ..video.store import find
from . import audit
from .page import ENGINE, EXAMPLES, PRIVATE, PROGRESS, Page, People, Words, minutes, safely, shown_image

Told = Callable[[int, int | None, str], None]  # (frames done, frames in all or None, what is said)


class VideoTab:
    """The callbacks over videos.

    Args:
        page: the pipeline, and the folder for what is served.
    """

    def __init__(self, page: Page):
        self.page = page
        self.jobs: dict[str, threading.Event] = {}

    def video(
        self, session: str, source: str | None, members: Sequence[str] | None, view: str, sampling: float,
        formats: Sequence[str] | None, progress: Told,
    ) -> tuple:  # fmt: skip
        """Process a video; see `render`. `progress(done, total, text)`.

        Args:
            session: who asks; one job at a time.
            source: the video.
            members: display names.
            view: one of `render.VIEWS`.
            sampling: every n-th frame is looked at.
            formats: further outputs: "alpha_webm", "alpha_mov", "masks".
            progress: called with (frames done, frames in all or None, text).
        """
        if not source:
            raise InputError("upload a video first")
        if not members and view != "anonymise":  # that asks for nobody
            raise InputError("choose at least one member")
        if view not in VIEWS:
            raise InputError(f"unknown view {view!r}; expected {', '.join(VIEWS)}")
        asked = {
            "source": source, "output": str(self.page.job() / "result.mp4"), "members": list(members or ()),
            "view": view, "sampling": int(sampling), "formats": list(formats or ()),
        }  # fmt: skip
        return self.render(session, asked, progress)

    def render(self, session: str, asked: dict, progress: Told) -> tuple:
        """(video, files, timeline picture, review rows, status line, what was asked) of a job.

        Args:
            session: who asks.
            asked: what `video` was asked for.
            progress: called with (frames done, frames in all or None, text).
        """
        cancel = self.jobs[session] = threading.Event()
        begun: dict[str, float] = {}

        def step(stage: str, done: int, total: int) -> None:
            rate = done / max(1e-3, time.monotonic() - begun.setdefault(stage, time.monotonic()))
            left = f", {minutes((total - done) / rate)} left" if total > done and rate > 0 else ""
            progress(done, total or None, f"{stage}: {done} frames, {rate:.1f} frames/s{left}")

        common = {
            "frame_sampling": asked["sampling"], "progress": step, "cancel": cancel, "analyses": self.page.analyses,
        }  # fmt: skip
        output = Path(asked["output"])
        started = time.monotonic()
        try:
            report = self.page.pipeline.process_video(
                asked["source"],
                output,
                asked["members"],
                view=asked["view"],
                masks="masks" in asked["formats"],
                **common,
            )
            files = [report.files["video"], *([report.files["masks"]] if "masks" in report.files else [])]
            for name, suffix in (("alpha_webm", ".webm"), ("alpha_mov", ".mov")):
                if name in asked["formats"]:
                    other = output.with_suffix(suffix)
                    self.page.pipeline.process_video(asked["source"], other, asked["members"], view="cutout", **common)
                    files.append(str(other))
        finally:
            self.jobs.pop(session, None)
        found = read_analysis(report.files["analysis"])
        names = self.page.pipeline.track_names(found)
        rows = [[r["track"], r["name"] or "-", round(r["from"], 1), round(r["to"], 1), r["why"]] for r in report.review]
        picture = drawing.timeline(_rows_of_timeline(found, names, self.page.pipeline.colour_of), found.seconds)
        line = write_image(output.with_suffix(".timeline.png"), picture)
        took = time.monotonic() - started
        seen = "; ".join(f"{name} {seconds:.1f} s" for name, seconds in report.on_screen.items())
        rate = report.frames / max(took, 1e-3)
        status = f"{report.frames} frames in {took:.1f} s ({rate:.1f} frames/s). On screen: {seen}"
        said = " ".join([f"{status}. {report.kind}; {report.sound}.", *report.remarks, report.note])
        return str(output), files, str(line), rows, said.strip(), asked

    def stop(self, session: str) -> str:
        """Ask a session's job to stop."""
        if session in self.jobs:
            self.jobs[session].set()
            return "stopping"
        return "nothing is running"

    def corrected(
        self, session: str, asked: dict | None, track: float | None, name: str | None, progress: Told
    ) -> tuple:
        """Say by hand who a track is, and render again.

        Args:
            session: who asks.
            asked: the job to be corrected.
            track: its number.
            name: display name; "-" = nobody on file.
            progress: as in `render`.
        """
        if not asked:
            raise InputError("process a video first")
        if not name:
            raise InputError("choose who the track is, or -")
        path = find(asked["output"], self.page.analyses)
        correct(path, int(track or 0), None if name == "-" else name)
        return self.render(session, asked, progress)


def _rows_of_timeline(found, names, colour_of):
    """(label, colour, [(from, to)]) per person and per nameless track that was seen more than once."""
    counts = Counter(point.track for sample in found.samples for point in sample.tracks)
    rows = []
    for who, spans in on_screen(found, names).items():
        times = [(span.from_s, span.to_s) for span in spans]
        if isinstance(who, str):
            rows.append((who, colour_of(who), times))
        elif counts[who] > 1:
            rows.append((f"? {who}", (150, 150, 150), times))
    return sorted(rows, key=lambda row: (row[0].startswith("? "), row[0]))


def build(tab: VideoTab, words: Words, people: People, demo: gr.Blocks) -> tuple[gr.Dropdown, gr.Dropdown]:
    """Lay out the tab Video; returns its two lists of people: whom to look for, and who a track is.

    Args:
        tab: the callbacks.
        words: key of a text -> the text.
        people: everyone on file.
        demo: the page's blocks.
    """
    page, first = tab.page, people[0][1] if people else None
    with gr.Tab(words("tab_video"), id="video"):
        job = gr.State(None)
        with gr.Row():
            with gr.Column():
                source = gr.Video(label=words("video"), sources=["upload"], elem_id="video_source")
                wanted = gr.Dropdown(
                    people, value=[first] if first else [], multiselect=True, label=words("members"),
                    elem_id="video_members",
                )  # fmt: skip
                view = gr.Radio(list(VIEWS), value="overlay", label=words("view"), elem_id="video_view")
                every = gr.Slider(1, 30, 5, step=1, label=words("sampling"))
                also = gr.CheckboxGroup(
                    [(words(k), k) for k in ("alpha_webm", "alpha_mov", "masks")], label=words("formats")
                )
                with gr.Row():
                    run = gr.Button(words("run"), variant="primary", elem_id="video_run")
                    stop = gr.Button(words("cancel"), variant="stop", elem_id="video_cancel")
                found = page.samples(".mp4")
                if found:
                    gr.Examples(found, source, label=EXAMPLES)
            with gr.Column():
                result = gr.Video(label=words("result"), interactive=False, elem_id="video_result")
                status = gr.Textbox(label=words("status"), elem_id="video_status", lines=2)
                files = gr.File(
                    label=words("downloads"), file_count="multiple", interactive=False, elem_id="video_files"
                )
                line = shown_image(words("timeline"), "video_timeline")
                review = gr.Dataframe(
                    headers=["track", "name", "from, s", "to, s", "why"],
                    datatype=["number", "str", "number", "number", "str"], label=words("review"),
                    interactive=False, elem_id="video_review", wrap=True,
                )  # fmt: skip
                with gr.Row():
                    track = gr.Number(label=words("track"), precision=0, elem_id="video_track")
                    really = gr.Dropdown([*people, ("-", "-")], label=words("is_really"), elem_id="video_really")
                    again = gr.Button(words("correct"), elem_id="video_correct")
        outputs = [result, files, line, review, status, job]
        audit.build(audit.AuditPart(page, tab.jobs, tab.render), words, job, outputs)

        def process(source, members, view, sampling, formats, request: gr.Request, bar=PROGRESS):
            return tab.video(
                request.session_hash, source, members, view, sampling, formats,
                lambda done, total, text: bar((done, total), desc=text, unit="frames"),
            )  # fmt: skip

        def recorrect(asked, number, name, request: gr.Request, bar=PROGRESS):
            return tab.corrected(
                request.session_hash, asked, number, name,
                lambda done, total, text: bar((done, total), desc=text, unit="frames"),
            )  # fmt: skip

        def halt(request: gr.Request):
            tab.stop(request.session_hash)

        run.click(safely(process), [source, wanted, view, every, also], outputs, **ENGINE, **PRIVATE)
        again.click(safely(recorrect), [job, track, really], outputs, **ENGINE, **PRIVATE)
        stop.click(halt, None, None, queue=False, **PRIVATE)
        demo.unload(halt)
    return wanted, really

"""The tabs put together into one page."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gradio as gr

from .. import doctor
from ..errors import EngineUnavailable
from ..pipeline import IdentityAwareSegmentation
from . import first, label, label_layout, video
from . import people as people_tab
from .page import DAY, JOB_KINDS, PRIVATE, Opener, Page, safely, texts, widget
from .pictures import PictureTabs, build_possession, build_segment
from .speech import said


def build(page: Page) -> gr.Blocks:
    """The page as Gradio blocks; `translations` on it is for Gradio's own `launch(i18n=...)`."""
    translations = gr.I18n(**texts())

    def words(key: str) -> str:
        # Gradio translates any text that is one of its keys, and has keys of its own ("video", "status").
        return translations(f"idseg_{key}")

    people = page.people()
    page.openers = []
    pictures = PictureTabs(page)
    with gr.Blocks(title="Identity-aware segmentation", analytics_enabled=False, delete_cache=(3600, DAY)) as demo:
        gr.Markdown("# Identity-aware segmentation")
        gr.Markdown(words("intro"))
        if page.shows_demo:
            first.build_banner(words)
        else:
            first.build(first.FirstRun(page), words, demo)
        jobs = widget("jobs", "jobs", [f"show_{kind}" for kind in JOB_KINDS], value={})
        with gr.Tabs() as tabs:
            faces, stranger = build_segment(pictures, words, people)
            owner = build_possession(pictures, words, people)
            video.build(video.VideoTab(page), words, demo)
            lists = [*faces, owner]
            people_tab.build(people_tab.PeopleTab(page), words, people, demo, lists, stranger)
            with gr.Tab(words("tab_label"), id="label"):
                label_layout.build(label.LabelPage(page), words, demo)
            with gr.Tab(words("tab_about"), id="about") as about_tab:
                about = gr.Textbox(label=words("tab_about"), lines=24, elem_id="about_text")
                refresh = gr.Button(words("look_again"), elem_id="about_again")
                # Not before somebody looks: it loads whatever is installed, to say whether it works.
                for looked in (about_tab.select, refresh.click):
                    looked(safely(lambda: said(_about(page.pipeline))), None, [about], **PRIVATE)
        _connect_jobs(page, jobs, tabs, demo)
        _share_nothing(demo)
    demo.translations = translations
    return demo


def _connect_jobs(page: Page, jobs: gr.HTML, tabs: gr.Tabs, demo: gr.Blocks) -> None:
    """The list of jobs, and how each kind is shown when it has ended."""
    quick = {**PRIVATE, "queue": False, "show_progress": "hidden"}

    def now(request: gr.Request) -> dict:
        found = page.jobs.of(request.session_hash or "")
        kept = ("id", "kind", "title", "state", "stage", "stages", "doing", "done", "total", "left", "said", "made")
        spoken = [job | {"doing": said(job["doing"]), "said": said(job["said"])} for job in found]
        return {"jobs": [{key: job[key] for key in kept} for job in spoken]}

    def hello(event: gr.EventData, request: gr.Request) -> dict:
        page.jobs.hello(request.session_hash or "", event.owner)
        return now(request)

    def cancel(event: gr.EventData, request: gr.Request) -> dict:
        page.jobs.cancel(request.session_hash or "", event.id)
        return now(request)

    def bye(request: gr.Request) -> None:
        page.jobs.bye(request.session_hash or "")

    jobs.hello(safely(hello), None, jobs, **quick)
    jobs.poll(safely(now), None, jobs, **quick)
    jobs.cancel(safely(cancel), None, jobs, **quick)
    for opener in page.openers:
        show = getattr(jobs, f"show_{opener.kind}")
        # "once" would drop a click while another job is being shown.
        show(safely(_showing(page, opener)), None, [tabs, *opener.outputs], trigger_mode="multiple", **quick)
    demo.unload(bye)


def _showing(page: Page, opener: Opener) -> Callable:
    def show(event: gr.EventData, request: gr.Request) -> list[Any]:
        session = request.session_hash or ""
        found = opener.show(session, page.jobs.get(session, event.id) | {"move": bool(event.move)})
        moved = gr.Tabs(selected=opener.tab) if event.move else gr.skip()
        return [moved, *(found if isinstance(found, (list, tuple)) else [found])]

    return show


def _share_nothing(demo: gr.Blocks) -> None:
    """Take Gradio's button away that puts a picture on another site; it is on every picture by default."""
    for block in demo.blocks.values():
        buttons = getattr(block, "buttons", None)
        if buttons and "share" in buttons:
            block.buttons = [button for button in buttons if button != "share"]


def _about(pipeline: IdentityAwareSegmentation) -> str:
    lines = []
    for part in (lambda: pipeline.face_engine, lambda: pipeline.segmenter):
        try:
            lines.append(f"in use: {part().describe()}")
        except EngineUnavailable as error:
            lines.append(f"not in use: {error}")
    return "\n".join([*lines, "", doctor.as_text(list(doctor.examine(pipeline.settings)))])

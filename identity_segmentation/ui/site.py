"""The tabs put together into one page."""

from __future__ import annotations

import gradio as gr

from .. import doctor
from ..errors import EngineUnavailable
from ..pipeline import IdentityAwareSegmentation
from . import label, video
from . import people as people_tab
from .page import DAY, PRIVATE, Page, safely, texts
from .pictures import PictureTabs, build_identify, build_possession, build_segment


def build(page: Page) -> gr.Blocks:
    """The page as Gradio blocks; `translations` on it is for Gradio's own `launch(i18n=...)`."""
    translations = gr.I18n(**texts())

    def words(key: str) -> str:
        # Gradio translates any text that is one of its keys, and has keys of its own ("video", "status").
        return translations(f"idseg_{key}")

    people = page.people()
    pictures = PictureTabs(page)
    with gr.Blocks(title="Identity-aware segmentation", analytics_enabled=False, delete_cache=(3600, DAY)) as demo:
        gr.Markdown("# Identity-aware segmentation")
        gr.Markdown(words("intro"))
        with gr.Tabs():
            member = build_segment(pictures, words, people)
            called, *stranger = build_identify(pictures, words, people)
            owner = build_possession(pictures, words, people)
            wanted, really = video.build(video.VideoTab(page), words, people, demo)
            lists = [member, called, owner, wanted]
            people_tab.build(people_tab.PeopleTab(page), words, people, demo, lists, really, tuple(stranger))
            with gr.Tab(words("tab_label"), id="label"):
                label.build(label.LabelPage(page), words, demo)
            with gr.Tab(words("tab_about"), id="about"):
                about = gr.Textbox(_about(page.pipeline), label=words("tab_about"), lines=24, elem_id="about_text")
                refresh = gr.Button(words("look_again"), elem_id="about_again")
                refresh.click(safely(lambda: _about(page.pipeline)), None, [about], **PRIVATE)
    demo.translations = translations
    return demo


def _about(pipeline: IdentityAwareSegmentation) -> str:
    lines = []
    for part in (lambda: pipeline.face_engine, lambda: pipeline.segmenter):
        try:
            lines.append(f"in use: {part().describe()}")
        except EngineUnavailable as error:
            lines.append(f"not in use: {error}")
    return "\n".join([*lines, "", doctor.as_text(list(doctor.examine(pipeline.settings)))])

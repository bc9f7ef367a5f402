"""What is seen where nobody is on file: add your people, learn those that wait in a folder, or try the demo's."""

from __future__ import annotations

from pathlib import Path

import gradio as gr

from ..errors import GalleryError, IdentitySegmentationError, InputError
from ..people.enrolment import people_waiting
from ..people.gallery import exists
from ..types import USED_VERDICTS, PhotoVerdict
from .page import ENGINE, PHOTO_FILES, PRIVATE, PROGRESS, Page, Words, safely, widget
from .speech import said

_GOING_ON = "adding"  # in the address, while people are added: the panel stays until that is everybody
_NAMES_SHOWN = 12
_PHOTOS_SHOWN = 40
# The page is loaded anew after every change, so that every list on it is; what was learned is said then.
_AGAIN = f"""(learned) => {{
    try {{ sessionStorage.setItem('idseg_learned', JSON.stringify(learned)); }} catch (error) {{ }}
    location.assign('?{_GOING_ON}');
}}"""
_DONE = "() => { location.assign('./'); }"


class FirstRun:
    """The callbacks of the panel.

    Args:
        page: the page of the user's own people.
    """

    def __init__(self, page: Page):
        self.page = page

    def nobody(self) -> bool:
        """Is nobody on file? A gallery that cannot be read has people."""
        pipeline = self.page.pipeline
        try:
            return not pipeline.gallery.people
        except GalleryError:
            return pipeline.gallery_folder is not None and not exists(pipeline.gallery_folder)

    def waiting(self) -> dict:
        """Who waits in the folder of photos: folder, people, photos, and the first names; no people if nobody does."""
        folder = self.page.pipeline.settings.dataset
        try:
            found = people_waiting(folder)
        except IdentitySegmentationError:  # building it says what is wrong
            found = [("?", 0)]
        names = [name for name, _ in found]
        shown = [*names[:_NAMES_SHOWN], *(["..."] if len(names) > _NAMES_SHOWN else [])]
        photos = sum(count for _, count in found)
        return {"folder": Path(folder).name, "people": len(found), "photos": photos, "names": shown}

    def add(self, name: str | None, photos: list[str] | None) -> list[list[str]]:
        """Put photos of one person on file; [photo, verdict, detail] of each that asks for a word.

        Args:
            name: who it is.
            photos: paths.

        Raises:
            InputError: no name, no photos, or none that can be used.
        """
        if not name or not name.strip():
            raise InputError("say who it is first")
        if not photos:
            raise InputError("give at least one photo")
        return _said(self.page.pipeline.add_person(name, photos))

    def learn(self, progress: gr.Progress = PROGRESS) -> list[list[str]]:
        """Learn everybody who waits in the folder of photos; what is returned is as in `add`."""

        def learned(done: int, total: int, person: str) -> None:
            progress((done, total), desc=person, unit="photos")

        return _said(self.page.pipeline.build_gallery(progress=learned).report.verdicts)

    def seen(self, going_on: bool) -> tuple:
        """What the panel shows now: (is it seen, what its head says, does anybody wait, who, is somebody on file).

        Args:
            going_on: people are being added.
        """
        nobody, waiting = self.nobody(), self.waiting()
        head = {"on_file": [name for _, name in self.page.people()]}
        waits = nobody and waiting["people"] > 0
        return nobody or going_on, head, waits, waiting, not nobody


def _said(verdicts: list[PhotoVerdict] | tuple[PhotoVerdict, ...]) -> list[list[str]]:
    """What is worth a word: how many photos were used (a row without a photo), and why each of the others was not."""
    others = [v for v in verdicts if v.verdict not in USED_VERDICTS]
    rows = [["", "used", f"{len(verdicts) - len(others)} / {len(verdicts)}"]]
    rows += [[v.photo, v.verdict, said(v.detail)] for v in others[:_PHOTOS_SHOWN]]
    return rows + ([["...", "", f"+ {len(others) - _PHOTOS_SHOWN}"]] if len(others) > _PHOTOS_SHOWN else [])


def build_banner(words: Words) -> None:
    """What the demo's page says at its top, with the way back."""
    with gr.Row(elem_id="demo_banner", variant="panel", equal_height=True):
        gr.Markdown(words("first_banner"), container=False)
        gr.Button(words("first_back"), link="../", size="sm", scale=0, min_width=220, elem_id="demo_back")


def build(first: FirstRun, words: Words, demo: gr.Blocks) -> None:
    """Lay out the panel; it is seen only where nobody is on file, or while people are being added.

    That is decided anew for whoever opens the page: what is laid out here is the same for all, and does not flash up.

    Args:
        first: the callbacks.
        words: key of a text -> the text.
        demo: the page that it is a part of.
    """
    with gr.Column(visible=False, elem_id="first") as panel:
        head = widget("first", "first_head", value={})
        with gr.Row():
            with gr.Column(variant="panel"):
                gr.Markdown(words("first_add_title"))
                gr.Markdown(words("first_add_said"))
                name = gr.Textbox(label=words("person_name"), elem_id="first_name")
                photos = gr.File(
                    label=words("photos"), file_count="multiple", file_types=PHOTO_FILES, height=120,
                    elem_id="first_photos",
                )  # fmt: skip
                add = gr.Button(words("first_add_go"), variant="primary", elem_id="first_add")
            with gr.Column(variant="panel", visible=False) as folder:
                gr.Markdown(words("first_learn_title"))
                waiting = widget("first", "first_waiting", value={})
                learn = gr.Button(words("first_learn_go"), variant="primary", elem_id="first_learn")
            if first.page.demo is not None:
                with gr.Column(variant="panel"):
                    gr.Markdown(words("first_demo_title"))
                    gr.Markdown(words("first_demo_said"))
                    gr.Button(words("first_demo"), link="demo/", elem_id="first_demo")
        learned = gr.JSON(visible=False)
        done = gr.Button(words("first_done"), visible=False, elem_id="first_done")

    def shown(request: gr.Request) -> list:
        seen, head_now, waits, waiting_now, somebody = first.seen(_GOING_ON in request.query_params)
        return [gr.update(visible=seen), head_now, gr.update(visible=waits), waiting_now, gr.update(visible=somebody)]

    demo.load(shown, None, [panel, head, folder, waiting, done], show_progress="hidden", **PRIVATE)
    added = add.click(safely(first.add), [name, photos], learned, show_progress_on=[photos], **ENGINE, **PRIVATE)
    built = learn.click(safely(first.learn), None, learned, show_progress_on=[waiting], **ENGINE, **PRIVATE)
    for event in (added, built):
        event.success(None, learned, None, js=_AGAIN, **PRIVATE)
    done.click(None, None, None, js=_DONE, **PRIVATE)

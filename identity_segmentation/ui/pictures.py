"""Photos: a member cut out, everyone named, somebody's thing. (Tabs Segment, Identify and Thing.)"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import gradio as gr
import numpy as np

from .. import drawing
from ..engines.protocols import TextSegmenter
from ..errors import EngineUnavailable, InputError
from ..files import safe_filename
from ..geometry import united
from ..images import write_image
from ..pipeline import IdentityAwareSegmentation
from ..types import Sighting
from .page import (
    ENGINE,
    PRIVATE,
    Page,
    People,
    Words,
    cutout_image,
    example_photos,
    photo_input,
    safely,
    shown_image,
    verdict_table,
)


class PictureTabs:
    """The callbacks over photos.

    Args:
        page: the pipeline, and the folder for what is served.
    """

    def __init__(self, page: Page):
        self.page = page

    def segment(
        self,
        path: str | None,
        member: str | None,
        threshold: float | None,
        prompt: str = "box",
        words: str = "",
        fine: bool = True,
    ) -> tuple[str, str, str, str]:
        """(annotated, overlay, cutout, evidence) as files and a line.

        Args:
            path: the photo.
            member: display name.
            threshold: least similarity for a name; 0 = the engine's.
            prompt: "box", or "words" for whatever `words` says.
            words: a phrase.
            fine: take the time for fine edges.
        """
        image = self.page.picture(path)
        folder = self.page.job()
        if prompt == "words":
            return self._words(image, words, folder)
        if not member:
            raise InputError("choose a member first")
        result = self.page.asked(threshold, None if fine else "fast").segment_member(image, member)
        files = self._written(folder, result.annotated, result.overlay, result.cutout, member)
        status = result.status
        return *files, f"{status.message} · {status.engine}"

    def _words(self, image: np.ndarray, words: str, folder: Path) -> tuple[str, str, str, str]:
        segmenter = self.page.pipeline.segmenter
        if not isinstance(segmenter, TextSegmenter):
            raise EngineUnavailable(
                f"the segmenter {segmenter.id} knows no words; start the page with --segmenter sam3-hf"
            )
        found = segmenter.by_text(segmenter.encode(image), words)
        sightings = [Sighting(None, segment, None, "none") for segment in found]
        cutout = np.dstack([image, united(found, image.shape[:2])])
        files = self._written(
            folder, drawing.annotate(image, sightings), drawing.overlay(image, sightings), cutout, "words"
        )
        return *files, f"{len(found)} found · {segmenter.id}"

    @staticmethod
    def _written(
        folder: Path, annotated: np.ndarray, overlay: np.ndarray, cutout: np.ndarray, name: str
    ) -> tuple[str, str, str]:
        stem = safe_filename(name)
        pictures = {"annotated.jpg": annotated, "overlay.jpg": overlay, "cutout.png": cutout}
        with ThreadPoolExecutor() as pool:  # encoding runs beside itself
            files = pool.map(lambda part: str(write_image(folder / f"{stem}_{part[0]}", part[1])), pictures.items())
            annotated_file, overlay_file, cutout_file = files
            return annotated_file, overlay_file, cutout_file

    def possession(
        self, path: str | None, phrase: str | None, member: str | None, thing: str | None
    ) -> tuple[str, ...]:
        """(the thing on the picture, its cutout, the person's mask, everything of the kind, the status) of a phrase, or
        of a member and a thing.

        Args:
            path: the photo.
            phrase: whose what, in one line.
            member, thing: the same in two fields; they go before the phrase.
        """
        image = self.page.picture(path)
        if thing and thing.strip():
            if not member:
                raise InputError("choose a member for the thing, or leave it to the phrase")
            found = self.page.pipeline.segment_possession(image, member, thing)
        elif phrase and phrase.strip():
            found = self.page.pipeline.segment(image, phrase)
        else:
            raise InputError("say whose what, such as Wonyoung's shirt, or choose a member and a thing")
        folder = self.page.job()
        things = np.zeros(image.shape[:2], bool)
        for mask in found.thing_masks:
            things |= mask
        pictures = {
            "overlay.jpg": found.overlay, "cutout.png": found.cutout, "person.png": found.person_mask,
            "things.png": things,
        }  # fmt: skip
        files = [str(write_image(folder / name, picture)) for name, picture in pictures.items()]
        return *files, f"{found.status.message} · {found.status.engine}"

    def identify(self, path: str | None, threshold: float | None) -> tuple[str, list[list], dict]:
        """(annotated picture, table, faces for clicking)."""
        image = self.page.picture(path)
        sightings = self.page.asked(threshold).everybody(image)
        matches = [s.match for s in sightings if s.match is not None]
        annotated = drawing.annotate(image, sightings, self.page.pipeline.colour_of)
        file = write_image(self.page.job() / "annotated.jpg", annotated)
        rows = [
            [
                m.name or "unknown",
                round(m.similarity, 3),
                round(m.margin, 3),
                round(m.face.side),
                m.basis if m.name else "",
            ]
            for m in matches
        ]
        rows += [["unknown", None, None, None, "the face is not seen"] for s in sightings if s.match is None]
        boxes = [[float(v) for v in m.face.box] for m in matches]
        return str(file), rows, {"path": path, "boxes": boxes}

    def choose_face(self, faces: dict | None, point: Sequence[float]) -> str:
        """The face at a click: its picture as a file."""
        (x, y), faces = point, faces or {}
        for box in faces.get("boxes", ()):
            if box[0] <= x <= box[2] and box[1] <= y <= box[3]:
                image = self.page.picture(faces["path"])
                side = 0.6 * max(box[2] - box[0], box[3] - box[1])
                x0, y0 = int(max(0, box[0] - side)), int(max(0, box[1] - side))
                crop = image[y0 : int(box[3] + side), x0 : int(box[2] + side)]
                return str(write_image(self.page.job() / "face.png", crop))
        raise InputError("there is no face at that place; click inside a box")


def knows_words(pipeline: IdentityAwareSegmentation) -> bool:
    """Has the pipeline a segmenter that takes words? False too where it has none that can run."""
    try:
        return isinstance(pipeline.segmenter, TextSegmenter)
    except EngineUnavailable:
        return False


def build_segment(tab: PictureTabs, words: Words, people: People) -> gr.Dropdown:
    """Lay out the tab Segment; returns its list of people.

    Args:
        tab: the callbacks.
        words: key of a text -> the text.
        people: everyone on file.
    """
    page, words_there = tab.page, knows_words(tab.page.pipeline)
    first = people[0][1] if people else None
    with gr.Tab(words("tab_segment"), id="segment"):
        with gr.Row():
            with gr.Column():
                photo = photo_input(page, words, "segment_photo")
                member = gr.Dropdown(people, value=first, label=words("member"), elem_id="segment_member")
                with gr.Accordion(words("threshold"), open=False):
                    bar = gr.Slider(
                        0, 1, 0, step=0.01, label=words("threshold"), info=words("threshold_info"),
                        elem_id="segment_threshold",
                    )  # fmt: skip
                    prompt = gr.Radio(
                        [(words("prompt_box"), "box"), (words("prompt_words"), "words")], value="box",
                        label=words("prompt"), visible=words_there,
                    )  # fmt: skip
                    phrase = gr.Textbox(label=words("words"), info=words("words_info"), visible=words_there)
                fine = gr.Checkbox(
                    page.pipeline.edges != "fast", label=words("fine"), info=words("fine_info"), elem_id="segment_fine"
                )
                go = gr.Button(words("segment"), variant="primary", elem_id="segment_go")
                example_photos(page, photo)
            with gr.Column():
                evidence = gr.Textbox(label=words("evidence"), elem_id="segment_evidence", lines=2)
                cutout = cutout_image(words("cutout"), "segment_cutout")
                overlay = shown_image(words("overlay"), "segment_overlay")
                annotated = shown_image(words("annotated"), "segment_annotated")
        go.click(
            safely(tab.segment), [photo, member, bar, prompt, phrase, fine], [annotated, overlay, cutout, evidence],
            api_name="segment", show_progress="minimal", **ENGINE,
        )  # fmt: skip
    return member


def build_identify(tab: PictureTabs, words: Words, people: People) -> tuple[gr.Dropdown, gr.Button, list, gr.Dataframe]:
    """Lay out the tab Identify.

    Args:
        tab: the callbacks.
        words: key of a text -> the text.
        people: everyone on file.

    Returns:
        Its list of people; the button that puts a stranger on file, its inputs, and where the verdict is shown. (Who is
        on file changes other tabs too.)
    """
    page = tab.page
    with gr.Tab(words("tab_identify"), id="identify"):
        faces = gr.State(None)
        with gr.Row():
            with gr.Column():
                everyone = photo_input(page, words, "identify_photo")
                everyone_bar = gr.Slider(0, 1, 0, step=0.01, label=words("threshold"), info=words("threshold_info"))
                look = gr.Button(words("identify"), variant="primary", elem_id="identify_go")
                example_photos(page, everyone)
            with gr.Column():
                marked = shown_image(words("annotated"), "identify_annotated")
                who = gr.Dataframe(
                    headers=["name", "similarity", "margin", "face, pixels", "rests on"],
                    datatype=["str", "number", "number", "number", "str"], label=words("found"),
                    interactive=False, elem_id="identify_table",
                )  # fmt: skip
                gr.Markdown(words("click_face"))
                with gr.Row():
                    chosen = gr.Image(
                        label=words("chosen_face"), type="filepath", interactive=False, height=160,
                        elem_id="identify_face",
                    )  # fmt: skip
                    with gr.Column():
                        called = gr.Dropdown(
                            people, value=None, label=words("who_is"), allow_custom_value=True,
                            elem_id="identify_name",
                        )  # fmt: skip
                        keep = gr.Button(words("add_face"), elem_id="identify_add")
                verdict = verdict_table(words, "identify_verdict")
        look.click(safely(tab.identify), [everyone, everyone_bar], [marked, who, faces], api_name="identify", **ENGINE)

        def clicked(found, event: gr.SelectData):
            return tab.choose_face(found, event.index)

        marked.select(safely(clicked), [faces], [chosen], **PRIVATE)
    return called, keep, [called, chosen], verdict


def build_possession(tab: PictureTabs, words: Words, people: People) -> gr.Dropdown:
    """Lay out the tab Thing; returns its list of people.

    Args:
        tab: the callbacks.
        words: key of a text -> the text.
        people: everyone on file.
    """
    page = tab.page
    with gr.Tab(words("tab_possession"), id="possession"):
        with gr.Row():
            with gr.Column():
                scene = photo_input(page, words, "possession_photo")
                whose = gr.Textbox(
                    label=words("possession_phrase"), info=words("possession_info"), elem_id="possession_phrase"
                )
                with gr.Row():
                    owner = gr.Dropdown(people, value=None, label=words("member"), elem_id="possession_member")
                    thing = gr.Textbox(label=words("mask_thing"), elem_id="possession_thing")
                find = gr.Button(words("find"), variant="primary", elem_id="possession_go")
                example_photos(page, scene)
            with gr.Column():
                answer = gr.Textbox(label=words("status"), elem_id="possession_status", lines=2)
                both = shown_image(words("mask_both"), "possession_overlay")
                cut = cutout_image(words("cutout"), "possession_cutout")
                with gr.Row():
                    body = shown_image(words("mask_person"), "possession_person")
                    every_thing = shown_image(words("mask_thing"), "possession_things")
        find.click(
            safely(tab.possession), [scene, whose, owner, thing], [both, cut, body, every_thing, answer],
            api_name="possession", **ENGINE,
        )  # fmt: skip
    return owner

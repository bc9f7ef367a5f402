"""Photos: everyone named, anyone cut out by a click, somebody's thing. (Tabs Segment and Thing.)

People are chosen in the picture, on the stage (`stage`). The first callbacks are what scripts call, by the names
"segment", "identify" and "possession": one request, one answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np

from .. import drawing
from ..engines.protocols import TextSegmenter
from ..errors import EngineUnavailable, InputError
from ..files import safe_filename
from ..geometry import united
from ..images import write_image
from ..phrases import Phrase
from ..types import Sighting
from . import batch
from .page import ENGINE, PRIVATE, Page, People, Words, example_photos, photo_input, safely, verdict_table, widget
from .speech import said
from .stage import Asked, Stage, answered

# Who is on file is changed in one place, the button; in a part that was shut it comes with the opening.
_PRESS = """async () => {
    for (let tries = 0; tries < 100; tries++) {
        const button = document.querySelector("#identify_add");
        if (button) return void button.click();
        await new Promise((done) => setTimeout(done, 50));
    }
}"""
_GIVEN = 200  # pixels: the photo as it was given; it is looked at on the stage
THINGS = ("shirt", "jacket", "trousers", "skirt", "dress", "shoes", "hair", "face", "legs", "bag")  # one click each


class PictureTabs:
    """The callbacks over photos.

    Args:
        page: the pipeline, and the folder for what is served.
    """

    def __init__(self, page: Page):
        self.page, self.stage, self.batch = page, Stage(page), batch.Batch(page)

    def segment(
        self,
        path: str | None,
        member: str | None,
        threshold: float | None,
        prompt: str = "box",
        words: str = "",
        fine: bool = True,
    ) -> tuple[str, str | None, str | None, str]:
        """(annotated, overlay, cutout, evidence) as files and a line; no overlay and no cutout of somebody who is not
        in the photo.

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
        status = result.status
        line = f"{said(status.message)} · {status.engine}"
        if not result.mask.any():  # nobody is handed an empty cutout
            return str(write_image(folder / "annotated.jpg", result.annotated)), None, None, line
        return *self._written(folder, result.annotated, result.overlay, result.cutout, member), line

    def _words(self, image: np.ndarray, words: str, folder: Path) -> tuple[str, str | None, str | None, str]:
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
    ) -> tuple[str | None, ...]:
        """(the thing on the picture, its cutout, the person's mask, everything of the kind, the status) of a phrase, or
        of a member and a thing; no cutout where there is no such thing.

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
        files: list[str | None] = [str(write_image(folder / name, picture)) for name, picture in pictures.items()]
        if not found.mask.any():  # nobody is handed an empty cutout
            files[1] = None
        return *files, f"{said(found.status.message)} · {found.status.engine}"

    def identify(self, path: str | None, threshold: float | None) -> tuple[str, list[list], dict]:
        """(annotated picture, a row per face, their boxes) of everyone in a photo."""
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
        return str(file), rows, {"boxes": boxes}


class _Requests:
    """What the widgets call; every answer begins with (what the stage shows, the photo that it is about)."""

    def __init__(self, tab: PictureTabs):
        self.stage = tab.stage

    @staticmethod
    def _both(value: dict) -> tuple:
        job = value.get("job")
        return value, gr.skip() if job is None else job

    def dropped(self, path, level):
        # A photo that is shown as a copy is given twice; what was made of it in between stays.
        return self._both({**answered(self.stage.look)(path, level), "given": True})

    def again(self, path, job, level):
        if job:
            return self._both(answered(self.stage.again)(job, level))
        # The photo is still being looked at: what was asked meanwhile is asked of it, not dropped.
        return self.dropped(path, level) if path else (gr.skip(), gr.skip())

    def named(self, path, job, name, level, fine):
        return self._both(answered(self._named)(path, job, name, level, fine))

    def _named(self, path, job, name, level, fine):
        return self.stage.named(self._looked(path, job, level), name, fine)

    def _looked(self, path, job, level):
        looked = self.stage.of(job) if job else self.stage.looked(path, level)
        return looked if looked.threshold == level else self.stage.looked(looked.path, level)

    def picked(self, level, fine, event: gr.EventData):
        """Somebody was clicked: their cutout, and their face where it could be put on file."""
        said = event._data
        value = answered(self._picked)(said, level, fine)
        return (*self._both(value), *self._face(said.get("job"), said.get("who"), value))

    def _picked(self, said, level, fine):
        looked = self.stage.of(said.get("job"))
        if level is not None and looked.threshold != level:
            looked = self.stage.looked(looked.path, level)
        return self.stage.cut(looked, Asked.of(said, fine))

    def _face(self, job, who, value) -> tuple:
        """(the part about who it is, the face, the name) after somebody was picked."""
        people = {person["who"]: person for person in value.get("people", ())}
        person = people.get(who)
        if value["code"] == "error" or person is None or person["face"] is None:
            return gr.skip(), gr.skip(), gr.skip()
        face = self.stage.face(self.stage.of(value["job"]), who)
        return gr.update(open=True) if person["name"] is None else gr.skip(), str(face), person["name"]

    def phrased(self, path, job, phrase, name, fine):
        return self._both(answered(self._phrased)(path, job, phrase, name, fine))

    def _phrased(self, path, job, phrase, name, fine):
        if not (phrase or "").strip():
            raise InputError("say whose what, such as Wonyoung's shirt, or click a person and a thing")
        looked = self._looked(path, job, 0)
        meant = looked.picking.pipeline.understood(phrase) if not name else Phrase(name, phrase)
        if meant.person and meant.thing:
            place = looked.picking.place_of(meant.person)
            if place is None:
                return self.stage.named(looked, meant.person, fine)
            return self.stage.cut(looked, Asked(place, meant.thing, fine=fine))
        if meant.person:
            return self.stage.named(looked, meant.person, fine)
        return self.stage.cut(looked, Asked(phrase=phrase, fine=fine))

    def recalled(self, event: gr.EventData):
        return self._both(answered(self.stage.recall)(event._data.get("id")))

    def packed(self, event: gr.EventData):
        return answered(self.stage.packed)(list(event._data.get("ids") or ())[:100])

    def kept(self, event: gr.EventData):
        """A face is to be put on file: (the part about who it is, its name, its picture)."""
        said = event._data
        looked = self.stage.of(said.get("job"))
        return gr.update(open=True), str(said.get("name") or ""), str(self.stage.face(looked, int(said.get("who"))))


def _connect(stage: gr.HTML, at: gr.Textbox, photo: gr.Image, bar: gr.Slider | None, fine: gr.Checkbox, do: _Requests,
             who: Sequence[Any] = ()) -> None:  # fmt: skip
    """What is common to every stage.

    Args:
        stage: the widget.
        at: the job of the photo that the stage shows; empty while a new photo is looked at.
        photo: where photos are given.
        bar: least similarity for a name; None = the engine's.
        fine: fine edges.
        do: the callbacks.
        who: the part about who it is, the face, and the name; none where faces are not put on file.
    """
    quiet: dict[str, Any] = {**PRIVATE, "show_progress": "hidden"}
    busy: dict[str, Any] = {**quiet, **ENGINE, "trigger_mode": "always_last"}
    level = bar if bar is not None else gr.State(0)
    photo.change(None, None, at, js="() => ''", **quiet)
    photo.change(do.dropped, [photo, level], [stage, at], **busy)

    def picked(level, fine, event: gr.EventData):
        found = do.picked(level, fine, event)
        return found if who else found[:2]

    stage.pick(safely(picked), [level, fine], [stage, at, *who], **busy)
    stage.recall(safely(do.recalled), None, [stage, at], queue=False, **quiet)
    stage.pack(safely(do.packed), None, stage, queue=False, **quiet)
    again = "() => { document.querySelector('#%s .stage')?.dispatchEvent(new Event('idseg-again', {bubbles: true})) }"
    fine.input(None, None, None, js=again % stage.elem_id, **quiet)
    if bar is not None:
        bar.release(do.again, [photo, at, bar], [stage, at], **busy)


def build_segment(tab: PictureTabs, words: Words, people: People) -> tuple[list[gr.Dropdown], tuple]:
    """Lay out the tab Segment: everyone in a photo, named, and cut out by a click.

    Args:
        tab: the callbacks.
        words: key of a text -> the text.
        people: everyone on file.

    Returns:
        Its lists of people; the button that puts somebody on file, its inputs, and where the verdict is shown. (Who is
        on file changes other tabs too.)
    """
    page, do = tab.page, _Requests(tab)
    first = people[0][1] if people else None
    with gr.Tab(words("tab_segment"), id="segment"):
        at = gr.Textbox("", visible=False)
        with gr.Row():
            with gr.Column(scale=1, min_width=280):
                photo = photo_input(page, words, "segment_photo")
                photo.height = _GIVEN
                example_photos(page, photo)
                member = gr.Dropdown(people, value=first, label=words("member"), elem_id="segment_member")
                go = gr.Button(words("segment"), variant="primary", elem_id="segment_go")
                fine = gr.Checkbox(
                    page.pipeline.edges != "fast", label=words("fine"), info=words("fine_info"), elem_id="segment_fine"
                )
                with gr.Accordion(words("threshold"), open=False):
                    bar = gr.Slider(
                        0, 1, 0, step=0.01, label=words("threshold"), info=words("threshold_info"),
                        elem_id="segment_threshold",
                    )  # fmt: skip
            with gr.Column(scale=3, min_width=300):
                stage = widget("photo", "segment_stage", mode="person", given="segment_photo")
                with (
                    gr.Accordion(words("who_is_this"), open=False, elem_id="identify") as panel,
                    gr.Row(),
                ):
                    chosen = gr.Image(
                        label=words("chosen_face"), type="filepath", interactive=False, height=160,
                        elem_id="identify_face", buttons=[], scale=1, min_width=140,
                    )  # fmt: skip
                    with gr.Column(scale=2, min_width=220):
                        called = gr.Dropdown(
                            people, value=None, label=words("who_is"), allow_custom_value=True, elem_id="identify_name"
                        )
                        keep = gr.Button(words("add_face"), elem_id="identify_add")
                    with gr.Column(scale=4, min_width=280):
                        verdict = verdict_table(words, "identify_verdict")
        names = batch.build(tab.batch, words, people, bar)
        _scripts_segment(tab, words)
        _scripts_identify(tab, words)
    _connect(stage, at, photo, bar, fine, do, [panel, chosen, called])
    quiet: dict[str, Any] = {**PRIVATE, "show_progress": "hidden"}
    go.click(do.named, [photo, at, member, bar, fine], [stage, at], **quiet, **ENGINE)
    stage.keep(safely(do.kept), None, [panel, called, chosen], **quiet).success(None, None, None, js=_PRESS, **quiet)
    verdict.change(do.again, [photo, at, bar], [stage, at], **quiet, **ENGINE)
    return [member, called, names], (keep, [called, chosen], verdict)


def build_possession(tab: PictureTabs, words: Words, people: People) -> gr.Dropdown:
    """Lay out the tab Thing: a person is clicked, and what of theirs; or a phrase says both.

    Args:
        tab: the callbacks.
        words: key of a text -> the text.
        people: everyone on file.

    Returns:
        Its list of people.
    """
    page, do = tab.page, _Requests(tab)
    with gr.Tab(words("tab_possession"), id="possession"):
        at = gr.Textbox("", visible=False)
        with gr.Row():
            with gr.Column(scale=1, min_width=280):
                scene = photo_input(page, words, "possession_photo")
                scene.height = _GIVEN
                example_photos(page, scene)
                whose = gr.Textbox(
                    label=words("possession_phrase"), info=words("possession_info"), elem_id="possession_phrase"
                )
                owner = gr.Dropdown(people, value=None, label=words("member"), elem_id="possession_member")
                find = gr.Button(words("find"), variant="primary", elem_id="possession_go")
                fine = gr.Checkbox(False, label=words("fine"), visible=False)
            with gr.Column(scale=3, min_width=300):
                stage = widget("photo", "possession_stage", mode="thing", given="possession_photo", things=list(THINGS))
        _scripts_possession(tab, words)
        _connect(stage, at, scene, None, fine, do)
        asked: dict[str, Any] = {**PRIVATE, **ENGINE, "show_progress": "hidden"}
        gr.on([find.click, whose.submit], do.phrased, [scene, at, whose, owner, fine], [stage, at], **asked)
    return owner


# ---- what scripts call. Its places are not seen: people have the stage.


def _scripts_segment(tab: PictureTabs, words: Words) -> None:
    with gr.Row(visible=False):
        given = [
            photo_input(tab.page, words, "segment_given"), gr.Textbox(label="member"), gr.Number(0, label="threshold"),
            gr.Radio(["box", "words"], value="box", label="prompt"), gr.Textbox(label="words"),
            gr.Checkbox(True, label="fine"),
        ]  # fmt: skip
        found = [*(gr.Image(type="filepath", label=part) for part in ("annotated", "overlay")), _cutout(),
                 gr.Textbox(label="evidence")]  # fmt: skip
        gr.Button().click(safely(tab.segment), given, found, api_name="segment", **ENGINE)


def _scripts_identify(tab: PictureTabs, words: Words) -> None:
    with gr.Row(visible=False):
        given = [photo_input(tab.page, words, "identify_given"), gr.Number(0, label="threshold")]
        found = [
            gr.Image(type="filepath", label="annotated"),
            gr.Dataframe(headers=["name", "similarity", "margin", "face, pixels", "rests on"], label="found"),
            gr.JSON(label="faces"),
        ]  # fmt: skip
        gr.Button().click(safely(tab.identify), given, found, api_name="identify", **ENGINE)


def _scripts_possession(tab: PictureTabs, words: Words) -> None:
    with gr.Row(visible=False):
        given = [
            photo_input(tab.page, words, "possession_given"),
            *(gr.Textbox(label=part) for part in ("phrase", "member", "thing")),
        ]
        found = [gr.Image(type="filepath", label="overlay"), _cutout(),
                 *(gr.Image(type="filepath", label=part) for part in ("person", "things")),
                 gr.Textbox(label="status")]  # fmt: skip
        gr.Button().click(safely(tab.possession), given, found, api_name="possession", **ENGINE)


def _cutout() -> gr.Image:
    return gr.Image(type="filepath", format="png", label="cutout")

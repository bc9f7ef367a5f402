"""The web page: the pipeline behind forms. (Notebook section 6; `python app.py`; `idseg ui`.)

Callbacks only convert and call the pipeline. The page listens on this machine alone unless told otherwise, and then
demands a password; names and messages are text, never markup; nothing but the results of one's own session can be
fetched, and they are deleted after a day.
"""

from __future__ import annotations

import contextlib
import functools
import hmac
import html
import json
import logging
import os
import re
import shutil
import sys
import threading
import time
import uuid
import weakref
import zipfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from importlib import resources
from pathlib import Path

import numpy as np

from . import doctor, drawing
from .analysis import correct, read_analysis
from .engines.protocols import TextSegmenter
from .errors import Cancelled, EngineUnavailable, GalleryError, IdentitySegmentationError, InputError
from .files import safe_filename
from .gallery import Gallery, open_gallery
from .geometry import united
from .images import read_image, write_image
from .pipeline import IdentityAwareSegmentation
from .render import VIEWS
from .types import Sighting

try:
    import gradio as gr
except ImportError as error:
    raise EngineUnavailable('the web page needs gradio; run: pip install ".[ui]"') from error

from . import ui_label  # needs gradio

logger = logging.getLogger(__name__)

_PROGRESS = gr.Progress()
_GALLERY_FILE = re.compile(r"CURRENT|gen-\d{6,}\.(json|safetensors)")
_DAY = 24 * 3600
_LOCAL = ("127.0.0.1", "localhost", "::1")
_TRIES, _LOCKOUT = 5, 60.0  # wrong passwords in a row, and the seconds the next one then waits
_CHECKERED = """
.gradio-container {max-width: 1200px !important}
.checkered img {background: repeating-conic-gradient(#bbb 0% 25%, #eee 0% 50%) 50% / 24px 24px}
"""


def texts() -> dict[str, dict[str, str]]:
    """The page's words: language -> key -> text."""
    return json.loads(resources.files(__package__).joinpath("data/ui_text.json").read_text("utf-8"))


class Page:
    """The page's callbacks over one pipeline; `build` lays them out.

    Args:
        pipeline: engines and gallery, shared by everyone who has the page open.
        folder: where results lie until they are a day old; one folder per job, named at random.
        examples: a folder of pictures (and a clip) to click on, or None.
    """

    def __init__(self, pipeline: IdentityAwareSegmentation, folder: str | os.PathLike, examples: Path | None = None):
        self.pipeline, self.folder, self.examples = pipeline, Path(folder).absolute(), examples
        self.jobs: dict[str, threading.Event] = {}
        self.label = ui_label.LabelPage(self)
        self.folder.mkdir(parents=True, exist_ok=True)
        if os.name == "posix":
            self.folder.chmod(0o700)  # people's pictures, and exported galleries

    # ---- what the callbacks share

    def people(self) -> list[tuple[str, str]]:
        """(what the list shows - name and aliases, so that typing any of them finds it -, name)."""
        try:
            return [(" · ".join([p.name, *p.aliases]), p.name) for p in self.pipeline.gallery.people]
        except GalleryError:
            return []

    def job(self) -> Path:
        """A new folder for results; those older than a day go."""
        self.sweep()
        path = self.folder / f"job-{uuid.uuid4().hex}"
        path.mkdir(parents=True)
        return path

    def sweep(self) -> None:
        """Delete uploads and results older than a day, of earlier servers too."""
        for old in self.folder.iterdir():
            with contextlib.suppress(OSError):
                if time.time() - old.stat().st_mtime > _DAY:
                    shutil.rmtree(old) if old.is_dir() else old.unlink()

    def picture(self, path: str | None) -> np.ndarray:
        """An uploaded picture, its size checked before it is decoded."""
        if not path:
            raise InputError("upload or paste a photo first")
        return read_image(path, self.pipeline.settings.max_pixels)

    def asked(self, threshold: float | None) -> IdentityAwareSegmentation:
        """The pipeline with a threshold of this request alone."""
        base = self.pipeline
        value = base.threshold if not threshold else float(threshold)
        return IdentityAwareSegmentation(
            base.face_engine, base.segmenter, base.gallery, value, base.margin, base.settings
        )

    # ---- pictures

    def segment(self, path, member, threshold, prompt="box", words=""):
        """(annotated, overlay, cutout, evidence) as files and a line."""
        image = self.picture(path)
        folder = self.job()
        if prompt == "words":
            return self._words(image, words, folder)
        if not member:
            raise InputError("choose a member first")
        result = self.asked(threshold).segment_member(image, member)
        files = self._written(folder, result.annotated, result.overlay, result.cutout, member)
        status = result.status
        return *files, f"{status.message} · {status.engine}"

    def _words(self, image, words, folder):
        segmenter = self.pipeline.segmenter
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
    def _written(folder: Path, annotated, overlay, cutout, name: str) -> tuple[str, str, str]:
        stem = safe_filename(name)
        pictures = {"annotated.jpg": annotated, "overlay.jpg": overlay, "cutout.png": cutout}
        with ThreadPoolExecutor() as pool:  # encoding runs beside itself
            files = pool.map(lambda part: str(write_image(folder / f"{stem}_{part[0]}", part[1])), pictures.items())
            return tuple(files)

    def possession(self, path, phrase, member, thing):
        """(the thing on the picture, its cutout, the person's mask, everything of the kind, the status) of a phrase, or
        of a member and a thing."""
        image = self.picture(path)
        if (thing or "").strip():
            if not member:
                raise InputError("choose a member for the thing, or leave it to the phrase")
            found = self.pipeline.segment_possession(image, member, thing)
        elif (phrase or "").strip():
            found = self.pipeline.segment(image, phrase)
        else:
            raise InputError("say whose what, such as Wonyoung's shirt, or choose a member and a thing")
        folder = self.job()
        things = np.zeros(image.shape[:2], bool)
        for mask in found.thing_masks:
            things |= mask
        pictures = {
            "overlay.jpg": found.overlay, "cutout.png": found.cutout, "person.png": found.person_mask,
            "things.png": things,
        }  # fmt: skip
        files = [str(write_image(folder / name, picture)) for name, picture in pictures.items()]
        return *files, f"{found.status.message} · {found.status.engine}"

    def identify(self, path, threshold):
        """(annotated picture, table, faces for clicking)."""
        image = self.picture(path)
        matches = self.asked(threshold).identify(image)
        sightings = [Sighting(m, None, None, "face") for m in matches]
        annotated = drawing.annotate(image, sightings, self.pipeline.colour_of)
        file = write_image(self.job() / "annotated.jpg", annotated)
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
        boxes = [[float(v) for v in m.face.box] for m in matches]
        return str(file), rows, {"path": path, "boxes": boxes}

    def choose_face(self, faces, point):
        """The face at a click: its picture as a file."""
        x, y = point
        for box in (faces or {}).get("boxes", ()):
            if box[0] <= x <= box[2] and box[1] <= y <= box[3]:
                image = self.picture(faces["path"])
                side = 0.6 * max(box[2] - box[0], box[3] - box[1])
                x0, y0 = int(max(0, box[0] - side)), int(max(0, box[1] - side))
                crop = image[y0 : int(box[3] + side), x0 : int(box[2] + side)]
                return str(write_image(self.job() / "face.png", crop))
        raise InputError("there is no face at that place; click inside a box")

    def add(self, name, photos):
        """Put photos of one person on file: a verdict on each."""
        if not (name or "").strip():
            raise InputError("say who it is first")
        if not photos:
            raise InputError("give at least one photo")
        verdicts = self.pipeline.add_person(name, [photos] if isinstance(photos, str) else photos)
        return [[v.photo, v.verdict, v.detail] for v in verdicts]

    # ---- people

    def table(self) -> list[list]:
        """Everyone on file: name, aliases, photos, colour."""
        try:
            return [[p.name, ", ".join(p.aliases), len(p.references), p.colour] for p in self.pipeline.gallery.people]
        except GalleryError:
            return []

    def edit(self, name, aliases, colour):
        """Set a person's aliases and colour."""
        names = [a.strip() for a in (aliases or "").split(",") if a.strip()]

        def change(gallery: Gallery) -> Gallery:
            changed = gallery.with_aliases(name, names)
            return changed.with_colour(name, _hex(colour)) if colour else changed

        self._change(name, change)

    def delete(self, name, sure):
        """Delete a person: embeddings, hashes, and every older generation that holds them."""
        if not sure:
            raise InputError("tick the box that says so first; deleting cannot be undone")
        self._change(name, lambda gallery: gallery.without(name))

    def _change(self, name: str | None, change: Callable[[Gallery], Gallery]) -> None:
        if not name:
            raise InputError("choose a person first")
        self.pipeline.use_gallery(Gallery.edit(self._gallery_folder(), change)[1])

    def _gallery_folder(self) -> Path:
        folder = self.pipeline.gallery_folder
        if folder is None:
            raise InputError("this gallery lies in memory alone, so it cannot be changed here")
        return folder

    def rebuild(self):
        """Learn anew from the folder of photos: a verdict on each."""
        report = self.pipeline.build_gallery().report
        return [[v.photo, v.verdict, v.detail] for v in report.verdicts]

    def export(self) -> str:
        """The gallery's current generation as a zip: a JSON manifest and a safetensors file."""
        gallery = Gallery.load(self._gallery_folder())
        copy = self.job()
        gallery.save(copy / "gallery")
        target = copy / "gallery.zip"
        with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
            for file in sorted((copy / "gallery").iterdir()):
                if file.is_file() and not file.name.endswith(".lock"):
                    archive.write(file, file.name)
        shutil.rmtree(copy / "gallery")
        return str(target)

    def take_in(self, path) -> int:
        """Replace the gallery by an exported one; the old generation stays on disk. Returns the number of people."""
        if not path:
            raise InputError("choose a .zip that was exported here")
        copy = self.job()
        try:
            with zipfile.ZipFile(path) as archive:
                for entry in archive.infolist():
                    plain = entry.filename
                    if not _GALLERY_FILE.fullmatch(plain) or entry.file_size > 2 << 30:
                        raise InputError(f"{plain!r} does not belong in an exported gallery; nothing was taken")
                    (copy / plain).write_bytes(archive.read(entry))
        except zipfile.BadZipFile as error:
            raise InputError("that is not a zip file") from error
        gallery = open_gallery(copy, self.pipeline.face_engine)
        taken = replace(gallery, folder=None)
        # The old generation stays on disk: taking in the wrong file must not cost the people on file.
        self.pipeline.use_gallery(Gallery.edit(self._gallery_folder(), lambda _: taken, taken, purge=False)[1])
        shutil.rmtree(copy, ignore_errors=True)
        return len(gallery)

    # ---- video

    def video(self, session, source, members, view, sampling, formats, progress):
        """Process a video; see `render`. `progress(done, total, text)`."""
        if not source:
            raise InputError("upload a video first")
        if not members:
            raise InputError("choose at least one member")
        if view not in VIEWS:
            raise InputError(f"unknown view {view!r}; expected {', '.join(VIEWS)}")
        asked = {
            "source": source, "output": str(self.job() / "result.mp4"), "members": list(members), "view": view,
            "sampling": int(sampling), "formats": list(formats or ()),
        }  # fmt: skip
        return self.render(session, asked, progress)

    def render(self, session: str, asked: dict, progress):
        """(video, files, timeline picture, review rows, status line, what was asked) of a job."""
        cancel = self.jobs[session] = threading.Event()
        begun: dict[str, float] = {}

        def step(stage: str, done: int, total: int) -> None:
            rate = done / max(1e-3, time.monotonic() - begun.setdefault(stage, time.monotonic()))
            left = f", {ui_label.minutes((total - done) / rate)} left" if total > done and rate > 0 else ""
            progress(done, total or None, f"{stage}: {done} frames, {rate:.1f} frames/s{left}")

        common = {"frame_sampling": asked["sampling"], "progress": step, "cancel": cancel}
        output = Path(asked["output"])
        started = time.monotonic()
        try:
            report = self.pipeline.process_video(
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
                    shutil.copyfile(report.files["analysis"], f"{other}.analysis.jsonl")
                    self.pipeline.process_video(asked["source"], other, asked["members"], view="cutout", **common)
                    files.append(str(other))
        finally:
            self.jobs.pop(session, None)
        found = read_analysis(report.files["analysis"])
        names = self.pipeline.track_names(found)
        rows = [[r["track"], r["name"] or "-", round(r["from"], 1), round(r["to"], 1), r["why"]] for r in report.review]
        picture = drawing.timeline(_rows_of_timeline(found, names, self.pipeline.colour_of), report.seconds)
        line = write_image(output.with_suffix(".timeline.png"), picture)
        took = time.monotonic() - started
        seen = "; ".join(f"{name} {seconds:.1f} s" for name, seconds in report.on_screen.items())
        rate = report.frames / max(took, 1e-3)
        status = f"{report.frames} frames in {took:.1f} s ({rate:.1f} frames/s). On screen: {seen}"
        return str(output), files, str(line), rows, f"{status}. {report.note}".strip(), asked

    def stop(self, session: str) -> str:
        """Ask a session's job to stop."""
        if session in self.jobs:
            self.jobs[session].set()
            return "stopping"
        return "nothing is running"

    def corrected(self, session: str, asked: dict | None, track, name, progress):
        """Say by hand who a track is, and render again."""
        if not asked:
            raise InputError("process a video first")
        if not name:
            raise InputError("choose who the track is, or -")
        for suffix in ("", ".webm", ".mov"):
            path = Path(asked["output"])
            path = Path(f"{path.with_suffix(suffix) if suffix else path}.analysis.jsonl")
            if path.exists():
                correct(path, int(track), None if name == "-" else name)
        return self.render(session, asked, progress)


def _rows_of_timeline(found, names, colour_of):
    """(label, colour, [(from, to)]) per person and per nameless track that was seen more than once."""
    step = found.header["sampling"] / float(found.fps)
    spans: dict[str, list[list[float]]] = {}
    for sample in found.samples:
        for point in found.points(sample, names):
            name = names[point.track].name if point.track in names else None
            runs = spans.setdefault(name or f"? {point.track}", [])
            if runs and sample.time_s - runs[-1][1] < 1.5 * step:
                runs[-1][1] = sample.time_s
            else:
                runs.append([sample.time_s, sample.time_s])
    known = {n.name for n in names.values()}
    rows = []
    for label, runs in spans.items():
        if label in known:
            rows.append((label, colour_of(label), [(a, b + step) for a, b in runs]))
        elif sum(b - a for a, b in runs) > 0:
            rows.append((label, (150, 150, 150), [(a, b + step) for a, b in runs]))
    return sorted(rows, key=lambda row: (row[0].startswith("? "), row[0]))


def _hex(colour: str) -> str:
    """What a colour picker gives ("#RRGGBB", "rgb(r, g, b)", "rgba(...)") as "#RRGGBB"."""
    text = colour.strip()
    if text.startswith("#"):
        return text[:7]
    numbers = [round(float(v)) for v in text[text.index("(") + 1 : text.index(")")].split(",")[:3]]
    return "#" + "".join(f"{min(255, max(0, v)):02x}" for v in numbers)


# ---- layout


def build(page: Page):
    """The page as Gradio blocks; `translations` on it is for Gradio's own `launch(i18n=...)`."""
    translations = gr.I18n(**texts())

    def words(key: str):
        # Gradio translates any text that is one of its keys, and has keys of its own ("video", "status").
        return translations(f"idseg_{key}")

    def safely(function):
        """Errors reach the user as a sentence; the log keeps what a developer needs."""

        @functools.wraps(function)
        def run(*args, **kwargs):
            try:
                return function(*args, **kwargs)
            except Cancelled as error:
                raise gr.Error("cancelled; what was finished is kept", duration=5, print_exception=False) from error
            except IdentitySegmentationError as error:
                raise gr.Error(html.escape(str(error)), print_exception=False) from error
            except Exception as error:
                logger.exception("the page failed in %s", function.__name__)
                raise gr.Error(
                    "something went wrong here; the log of the server has the details", print_exception=False
                ) from error

        return run

    def sampled(kind: str) -> list[str]:
        if page.examples is None:
            return []
        suffixes = (".mp4",) if kind == "video" else (".jpg", ".png")
        return [str(p) for p in sorted(page.examples.iterdir()) if p.suffix in suffixes][:4]

    engine = {"concurrency_limit": 1, "concurrency_id": "engine"}
    private = {"api_visibility": "private"}
    people, first = page.people(), None
    if people:
        first = people[0][1]
    words_there = _knows_words(page.pipeline)

    with gr.Blocks(title="Identity-aware segmentation", analytics_enabled=False, delete_cache=(3600, _DAY)) as demo:
        gr.Markdown("# Identity-aware segmentation")
        gr.Markdown(words("intro"))
        with gr.Tabs():
            with gr.Tab(words("tab_segment"), id="segment"):
                with gr.Row():
                    with gr.Column():
                        photo = _photo(words, "segment_photo")
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
                        go = gr.Button(words("segment"), variant="primary", elem_id="segment_go")
                        if sampled("photo"):
                            gr.Examples(sampled("photo"), photo, label="Examples / 예시 / ตัวอย่าง")
                    with gr.Column():
                        evidence = gr.Textbox(label=words("evidence"), elem_id="segment_evidence", lines=2)
                        cutout = gr.Image(
                            label=words("cutout"), type="filepath", format="png", interactive=False,
                            elem_id="segment_cutout", elem_classes=["checkered"], buttons=["download", "fullscreen"],
                        )  # fmt: skip
                        overlay = _shown(words("overlay"), "segment_overlay")
                        annotated = _shown(words("annotated"), "segment_annotated")
                go.click(
                    safely(page.segment), [photo, member, bar, prompt, phrase], [annotated, overlay, cutout, evidence],
                    api_name="segment", show_progress="minimal", **engine,
                )  # fmt: skip

            with gr.Tab(words("tab_identify"), id="identify"):
                faces = gr.State(None)
                with gr.Row():
                    with gr.Column():
                        everyone = _photo(words, "identify_photo")
                        everyone_bar = gr.Slider(
                            0, 1, 0, step=0.01, label=words("threshold"), info=words("threshold_info")
                        )
                        look = gr.Button(words("identify"), variant="primary", elem_id="identify_go")
                        if sampled("photo"):
                            gr.Examples(sampled("photo"), everyone, label="Examples / 예시 / ตัวอย่าง")
                    with gr.Column():
                        marked = _shown(words("annotated"), "identify_annotated")
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
                        verdict = _verdicts(words, "identify_verdict")
                look.click(
                    safely(page.identify), [everyone, everyone_bar], [marked, who, faces], api_name="identify", **engine
                )

                def clicked(found, event: gr.SelectData):
                    return page.choose_face(found, event.index)

                marked.select(safely(clicked), [faces], [chosen], **private)

            with gr.Tab(words("tab_possession"), id="possession"):
                with gr.Row():
                    with gr.Column():
                        scene = _photo(words, "possession_photo")
                        whose = gr.Textbox(
                            label=words("possession_phrase"), info=words("possession_info"), elem_id="possession_phrase"
                        )
                        with gr.Row():
                            owner = gr.Dropdown(people, value=None, label=words("member"), elem_id="possession_member")
                            thing = gr.Textbox(label=words("mask_thing"), elem_id="possession_thing")
                        find = gr.Button(words("find"), variant="primary", elem_id="possession_go")
                        if sampled("photo"):
                            gr.Examples(sampled("photo"), scene, label="Examples / 예시 / ตัวอย่าง")
                    with gr.Column():
                        answer = gr.Textbox(label=words("status"), elem_id="possession_status", lines=2)
                        both = _shown(words("mask_both"), "possession_overlay")
                        cut = gr.Image(
                            label=words("cutout"), type="filepath", format="png", interactive=False,
                            elem_id="possession_cutout", elem_classes=["checkered"], buttons=["download", "fullscreen"],
                        )  # fmt: skip
                        with gr.Row():
                            body = _shown(words("mask_person"), "possession_person")
                            every_thing = _shown(words("mask_thing"), "possession_things")
                find.click(
                    safely(page.possession), [scene, whose, owner, thing], [both, cut, body, every_thing, answer],
                    api_name="possession", **engine,
                )  # fmt: skip

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
                        if sampled("video"):
                            gr.Examples(sampled("video"), source, label="Examples / 예시 / ตัวอย่าง")
                    with gr.Column():
                        result = gr.Video(label=words("result"), interactive=False, elem_id="video_result")
                        status = gr.Textbox(label=words("status"), elem_id="video_status", lines=2)
                        files = gr.File(
                            label=words("downloads"), file_count="multiple", interactive=False, elem_id="video_files"
                        )
                        line = _shown(words("timeline"), "video_timeline")
                        review = gr.Dataframe(
                            headers=["track", "name", "from, s", "to, s", "why"],
                            datatype=["number", "str", "number", "number", "str"], label=words("review"),
                            interactive=False, elem_id="video_review", wrap=True,
                        )  # fmt: skip
                        with gr.Row():
                            track = gr.Number(label=words("track"), precision=0, elem_id="video_track")
                            really = gr.Dropdown(
                                [*people, ("-", "-")], label=words("is_really"), elem_id="video_really"
                            )
                            again = gr.Button(words("correct"), elem_id="video_correct")
                outputs = [result, files, line, review, status, job]

                def process(source, members, view, sampling, formats, request: gr.Request, bar=_PROGRESS):
                    return page.video(
                        request.session_hash, source, members, view, sampling, formats,
                        lambda done, total, text: bar((done, total), desc=text, unit="frames"),
                    )  # fmt: skip

                def recorrect(asked, number, name, request: gr.Request, bar=_PROGRESS):
                    return page.corrected(
                        request.session_hash, asked, number, name,
                        lambda done, total, text: bar((done, total), desc=text, unit="frames"),
                    )  # fmt: skip

                def halt(request: gr.Request):
                    page.stop(request.session_hash)

                run.click(safely(process), [source, wanted, view, every, also], outputs, **engine, **private)
                again.click(safely(recorrect), [job, track, really], outputs, **engine, **private)
                stop.click(halt, None, None, queue=False, **private)
                demo.unload(halt)

            with gr.Tab(words("tab_people"), id="people"):
                table = gr.Dataframe(
                    page.table(), headers=["name", "aliases", "photos", "colour"],
                    datatype=["str", "str", "number", "str"], label=words("on_file"), interactive=False,
                    elem_id="people_table",
                )  # fmt: skip
                with gr.Row():
                    with gr.Column():
                        name = gr.Textbox(label=words("person_name"), elem_id="people_name")
                        photos = gr.File(
                            label=words("photos"), file_count="multiple", file_types=["image"], elem_id="people_photos"
                        )
                        add = gr.Button(words("add"), variant="primary", elem_id="people_add")
                        verdicts = _verdicts(words, "people_verdicts")
                    with gr.Column():
                        person = gr.Dropdown(people, value=None, label=words("person"), elem_id="people_person")
                        aliases = gr.Textbox(label=words("aliases"), elem_id="people_aliases")
                        colour = gr.ColorPicker(label=words("colour"), elem_id="people_colour")
                        save = gr.Button(words("save"), elem_id="people_save")
                        sure = gr.Checkbox(label=words("sure"), elem_id="people_sure")
                        delete = gr.Button(words("delete"), variant="stop", elem_id="people_delete")
                    with gr.Column():
                        rebuild = gr.Button(words("rebuild"), elem_id="people_rebuild")
                        export = gr.Button(words("export"), elem_id="people_export")
                        exported = gr.File(label=words("export"), interactive=False, elem_id="people_exported")
                        archive = gr.File(label=words("import"), file_types=[".zip"], elem_id="people_archive")
                        take = gr.Button(words("do_import"), elem_id="people_import")

                lists = [member, called, owner, wanted, really, person, table]

                def refreshed():
                    now = page.people()
                    return (
                        gr.update(choices=now), gr.update(choices=now), gr.update(choices=now), gr.update(choices=now),
                        gr.update(choices=[*now, ("-", "-")]), gr.update(choices=now), page.table(),
                    )  # fmt: skip

                def chosen_person(name):
                    found = next((row for row in page.table() if row[0] == name), None)
                    return (found[1], found[3]) if found else ("", None)

                def after(event):
                    event.then(refreshed, None, lists, **private)

                person.change(chosen_person, person, [aliases, colour], **private)
                after(add.click(safely(page.add), [name, photos], [verdicts], **engine, **private))
                after(keep.click(safely(page.add), [called, chosen], [verdict], **engine, **private))
                after(save.click(safely(page.edit), [person, aliases, colour], None, **engine, **private))
                after(delete.click(safely(page.delete), [person, sure], None, **engine, **private))
                after(rebuild.click(safely(page.rebuild), None, [verdicts], **engine, **private))
                export.click(safely(page.export), None, [exported], **engine, **private)
                after(take.click(safely(page.take_in), [archive], None, **engine, **private))
                demo.load(refreshed, None, lists, **private)

            with gr.Tab(words("tab_label"), id="label"):
                ui_label.build(page.label, words, texts(), safely, engine, private, demo)

            with gr.Tab(words("tab_about"), id="about"):
                about = gr.Textbox(_about(page.pipeline), label=words("tab_about"), lines=24, elem_id="about_text")
                refresh = gr.Button(words("look_again"), elem_id="about_again")
                refresh.click(safely(lambda: _about(page.pipeline)), None, [about], **private)
    demo.translations = translations
    return demo


def _photo(words, name: str):
    # A path, and whatever mode it has: Gradio then opens the header alone, and our reader checks the size first.
    return gr.Image(
        label=words("photo"), type="filepath", image_mode=None, sources=["upload", "clipboard"], elem_id=name
    )


def _shown(label, name: str):
    return gr.Image(
        label=label, type="filepath", format="jpeg", interactive=False, elem_id=name, buttons=["download", "fullscreen"]
    )


def _verdicts(words, name: str):
    return gr.Dataframe(
        headers=["photo", "verdict", "detail"], datatype="str", label=words("verdicts"), interactive=False, wrap=True,
        elem_id=name,
    )  # fmt: skip


def _knows_words(pipeline: IdentityAwareSegmentation) -> bool:
    try:
        return isinstance(pipeline.segmenter, TextSegmenter)
    except EngineUnavailable:
        return False


def _about(pipeline: IdentityAwareSegmentation) -> str:
    lines = []
    for part in (lambda: pipeline.face_engine, lambda: pipeline.segmenter):
        try:
            lines.append(f"in use: {part().describe()}")
        except EngineUnavailable as error:
            lines.append(f"not in use: {error}")
    return "\n".join([*lines, "", doctor.as_text(list(doctor.examine(pipeline.settings)))])


# ---- serving


class Gate:
    """A user and a password; after five wrong ones in a row the door is shut for a minute."""

    def __init__(self, user: str, password: str):
        self._pair = (user, password)
        self._wrong, self._until = 0, 0.0
        self._lock = threading.Lock()

    def __call__(self, user: str, password: str) -> bool:
        with self._lock:
            if time.monotonic() < self._until:
                return False
            given = (user.encode(), password.encode())
            same = [hmac.compare_digest(a, b.encode()) for a, b in zip(given, self._pair, strict=True)]
            right = same == [True, True]  # both compared, whichever is wrong
            self._wrong = 0 if right else self._wrong + 1
            if self._wrong >= _TRIES:
                self._wrong, self._until = 0, time.monotonic() + _LOCKOUT
                logger.warning("%d wrong passwords in a row; nobody is let in for %.0f s", _TRIES, _LOCKOUT)
            return right


def _sweep_hourly(page: weakref.ref) -> None:
    while (found := page()) is not None:
        found.sweep()
        del found
        time.sleep(3600)


def serve(
    pipeline: IdentityAwareSegmentation,
    folder: str | os.PathLike | None = None,
    examples: str | os.PathLike | None = None,
    **options,
):
    """Serve the page over a pipeline until the server ends; options as in `launch`.

    Args:
        folder: of results; default ".web" in the settings' output folder.
        examples: folder of pictures to click on.
    """
    folder = Path(folder or Path(pipeline.settings.output) / ".web")
    return launch(Page(pipeline, folder, Path(examples) if examples else None), block=True, **options)


def launch(
    page: Page,
    host: str = "127.0.0.1",
    port: int = 7860,
    share: bool = False,
    auth: tuple[str, str] | None = None,
    no_auth: bool = False,
    max_upload: str = "2gb",
    block: bool = False,
):
    """Serve a page; returns its Gradio blocks (`local_url` is its address, `close()` ends it).

    Args:
        host: whom to listen to; the default is this machine alone.
        share: make a public address through Gradio's servers.
        auth: (user, password); demanded where others could reach the page.
        no_auth: do without, on purpose.
        max_upload: largest upload.
        block: stay until the server ends.

    Raises:
        InputError: reachable by others without a password.
        EngineUnavailable: the port is taken.
    """
    exposed = share or host not in _LOCAL
    if exposed and auth is None and not no_auth:
        raise InputError(
            f"{'a shared address' if share else f'listening on {host}'} lets others reach this page, with the faces on "
            "file and every photo given to it. Give a user and a password (--user NAME, the password in "
            "IDSEG_UI_PASSWORD; in the notebook UI_AUTH), or say --no-auth if that is what you want"
        )
    if exposed:
        print(
            "warning: this page can be reached by others. Faces are biometric data: whoever gets in sees and changes "
            f"the people on file{'' if auth else ', and there is no password'}.",
            file=sys.stderr,
        )
    # Uploads and what is served; nothing outside can be fetched.
    os.environ["GRADIO_TEMP_DIR"] = str(page.folder.absolute())
    os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
    threading.Thread(target=_sweep_hourly, args=(weakref.ref(page),), daemon=True, name="sweep").start()
    demo = build(page)
    demo.queue(max_size=32, default_concurrency_limit=4)
    try:
        demo.launch(
            server_name=host, server_port=port, share=share, auth=Gate(*auth) if auth else None,
            i18n=demo.translations, max_file_size=max_upload, allowed_paths=[], run_history=False,
            enable_monitoring=False, ssr_mode=False, mcp_server=False, show_error=True, css=_CHECKERED,
            prevent_thread_lock=not block, quiet=not block, footer_links=[],
        )  # fmt: skip
    except (OSError, OverflowError) as error:
        raise EngineUnavailable(f"port {port} cannot be used ({error}); choose another with --port") from error
    except ValueError as error:
        raise InputError(f"the page cannot be served so: {error}") from error
    return demo

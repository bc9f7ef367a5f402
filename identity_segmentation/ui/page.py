"""What the tabs share: the pipeline, the folder that results are served from, and how errors reach the user.

Callbacks only convert and call the pipeline. Names and messages are text, never markup.
"""

from __future__ import annotations

import contextlib
import functools
import html
import json
import logging
import os
import shutil
import time
import uuid
from abc import ABCMeta
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import Cancelled, EngineUnavailable, GalleryError, IdentitySegmentationError, ImageError, InputError
from ..files import read_bytes
from ..images import decode_image, shrink_to, write_image
from ..kinds import HEAD, PHOTO_SUFFIXES, photo_kind
from ..pipeline import IdentityAwareSegmentation
from .jobs import Jobs
from .speech import error_in_language, heading, in_language, language_now, language_of
from .toolkit import without_stubs
from .wall import FaceFiles

try:
    with without_stubs():
        import gradio as gr
except ImportError as error:
    raise EngineUnavailable('the web page needs gradio; run: pip install ".[ui]"') from error

logger = logging.getLogger(__name__)

JOB_KINDS = ("people", "photos", "video", "labels")
EXAMPLES = "Examples / 예시 / ตัวอย่าง"
DAY = 24 * 3600  # seconds that results and uploads are kept
PROGRESS = gr.Progress()
ENGINE = {"concurrency_limit": 1, "concurrency_id": "engine"}  # one request at a time uses the nets
PRIVATE = {"api_visibility": "private"}
PHOTO_FILES = ["image", *sorted(PHOTO_SUFFIXES)]  # what a list of photos takes; systems do not know all as images
_SHOWN_BY_BROWSERS = {
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif"), "PNG": (".png",), "GIF": (".gif",), "WEBP": (".webp",),
    "BMP": (".bmp",), "AVIF": (".avif",),
}  # fmt: skip
_PREVIEW = ".preview.jpg"  # what the copy that is shown is called, after the photo's own name
_PREVIEW_SIDE = 1600  # pixels

People = list[tuple[str, str]]  # (what a list shows, name) of everyone on file
Words = Callable[[str], str]  # key of a text -> what Gradio shows in the browser's language


@dataclass(frozen=True)
class Opener:
    """How a job that has ended is shown.

    Attributes:
        kind: of the jobs.
        tab: id of the tab that shows them.
        show: (session, job) -> what the outputs show, in their order; a failed job's reason is shown there too.
        outputs: Gradio components.
    """

    kind: str
    tab: str
    show: Callable[[str, dict[str, Any]], Any]
    outputs: list[Any]


class Page:
    """One pipeline and the folder of its results, shared by everyone who has the page open.

    Args:
        pipeline: engines and gallery.
        folder: where results lie until they are a day old; one folder per job, named at random.
        examples: a folder of pictures (and a clip) to click on, or None.
        demo: folder for the demo's people, who have a page of their own beside this one; None = there is none.
        shows_demo: this is the demo's own page.
    """

    def __init__(
        self,
        pipeline: IdentityAwareSegmentation,
        folder: str | os.PathLike,
        examples: Path | None = None,
        demo: Path | None = None,
        shows_demo: bool = False,
    ):
        self.pipeline, self.folder, self.examples = pipeline, Path(folder).absolute(), examples
        self.demo, self.shows_demo = demo, shows_demo
        self.folder.mkdir(parents=True, exist_ok=True)
        if os.name == "posix":
            self.folder.chmod(0o700)  # people's pictures, and exported galleries
        self.jobs = Jobs(self.folder, self.job)
        self.face_files = FaceFiles(self.folder)
        self.openers: list[Opener] = []

    def people(self) -> list[tuple[str, str]]:
        """(what the list shows - name and aliases, so that typing any of them finds it -, name)."""
        try:
            return [(" · ".join([p.name, *p.aliases]), p.name) for p in self.pipeline.gallery.people]
        except GalleryError:
            return []

    def faces(self) -> list[dict[str, Any]]:
        """Everyone on file as lists of faces show them: name, label (name and aliases), colour ("#RRGGBB"), and image
        (`served`; None where there is no picture of them)."""
        try:
            gallery = self.pipeline.gallery
        except GalleryError:
            return []
        return [
            {"name": one.name, "label": one.label, "colour": one.colour, "image": served(one.image)}
            for one in self.face_files.of(gallery)
        ]

    def opener(self, kind: str, tab: str, show: Callable[[str, dict[str, Any]], Any], outputs: list[Any]) -> None:
        """Say how jobs of a kind are shown when they have ended; see `Opener`."""
        self.openers.append(Opener(kind, tab, show, outputs))

    def job(self) -> Path:
        """A new folder for results; those older than a day go."""
        self.sweep()
        path = self.folder / f"job-{uuid.uuid4().hex}"
        path.mkdir(parents=True)
        return path

    @property
    def analyses(self) -> Path:
        """The folder of videos' analyses: one for all jobs, so that a video is looked at once."""
        return self.folder / ".analyses"

    def sweep(self) -> None:
        """Delete uploads and results older than a day, of earlier servers too."""
        kept = list(self.analyses.iterdir()) if self.analyses.is_dir() else []
        running = self.jobs.running()
        for old in [*(path for path in self.folder.iterdir() if path != self.analyses), *kept]:
            with contextlib.suppress(OSError):
                if old not in running and time.time() - old.stat().st_mtime > DAY:
                    shutil.rmtree(old) if old.is_dir() else old.unlink()

    def picture(self, path: str | None) -> np.ndarray:
        """An uploaded picture, its size checked before it is decoded."""
        if not path:
            raise InputError("upload or paste a photo first")
        data = read_bytes(path, ImageError, "picture")
        return decode_image(data, Path(path).name, self.pipeline.settings.max_pixels)

    def preview(self, path: str | None) -> str | None:
        """A copy of an uploaded photo that browsers can show, beside it; None where they can show the photo itself.

        Raises:
            ImageError: the photo cannot be read.
        """
        if not path:
            return None
        photo = Path(path)
        kind = photo_kind(read_bytes(photo, ImageError, "picture", HEAD))
        if photo.suffix.lower() in _SHOWN_BY_BROWSERS.get(kind or "", ()):
            return None
        copy = photo.with_name(photo.name + _PREVIEW)
        return str(write_image(copy, shrink_to(self.picture(path), _PREVIEW_SIDE)[0]))

    def asked(self, threshold: float | None, edges: str | None = None) -> IdentityAwareSegmentation:
        """The pipeline with a threshold, and edges, of this request alone."""
        base = self.pipeline
        value = base.threshold if not threshold else float(threshold)
        return IdentityAwareSegmentation(
            base.face_engine, base.segmenter, base.gallery, value, base.margin, base.settings, None,
            base.detector_or_none() or "auto", edges or base.edges,
        )  # fmt: skip

    def samples(self, *suffixes: str) -> list[str]:
        """The first four example files with these suffixes."""
        if self.examples is None:
            return []
        return [str(p) for p in sorted(self.examples.iterdir()) if p.suffix in suffixes][:4]


def texts() -> dict[str, dict[str, str]]:
    """The page's words: language -> key -> text; a file for every part of the page."""
    found: dict[str, dict[str, str]] = {}
    folder = resources.files("identity_segmentation").joinpath("data/words")
    for file in sorted(folder.iterdir(), key=lambda entry: entry.name):
        for language, entries in json.loads(file.read_text("utf-8")).items():
            found.setdefault(language, {}).update(entries)
    return found


def spoken(prefix: str) -> dict[str, dict[str, str]]:
    """Language -> word -> text of the keys that begin so, for a widget's own script, which Gradio does not translate.

    Args:
        prefix: of the keys, such as "canvas"; the words are the keys without it.
    """
    start = f"idseg_{prefix}_"
    return {
        language: {key.removeprefix(start): text for key, text in entries.items() if key.startswith(start)}
        for language, entries in texts().items()
    }


def widget(name: str, element: str, events: Sequence[str] = (), **given: Any) -> gr.HTML:
    """A part of the page with its own markup, style and script: ``data/NAME.html``, ``.css`` and ``.js``.

    The script runs once, when the part is mounted, with `element`, `props`, `trigger` and `watch` from Gradio;
    ``props.words`` has the words whose keys begin with the name. Names of people and files only ever become text.

    Args:
        name: of the files, and how the keys of its words begin.
        element: id of the element.
        events: what the script triggers beside what stands in it in quotes, which Gradio looks for.
        given: what the script finds in `props`; `value` is what changes.
    """
    data = resources.files("identity_segmentation").joinpath("data")
    html_part, css_part, js_part = (
        data.joinpath(f"{name}.{suffix}").read_text("utf-8") for suffix in ("html", "css", "js")
    )
    js_part += "".join(f"\n// '{event}'" for event in events)
    return gr.HTML(
        html_template=html_part, css_template=css_part, js_on_load=js_part, apply_default_css=False, elem_id=element,
        words=spoken(name), **given,
    )  # fmt: skip


def served(path: str | os.PathLike | None) -> dict | None:
    """A file for a widget: Gradio adds its address (`url`) wherever such a value turns up.

    Args:
        path: of a file in the page's folder.
    """
    return None if path is None else {"path": str(path), "meta": {"_type": "gradio.FileData"}}


def safely(function: Callable) -> Callable:
    """Errors reach the user as a sentence in their language; the log keeps what a developer needs.

    The language is that of the `gr.Request` among the arguments, or of the event that is being answered.
    """

    @functools.wraps(function)
    def run(*args, **kwargs):
        try:
            return function(*args, **kwargs)
        except (Cancelled, IdentitySegmentationError) as error:
            language = _language(args, kwargs)
            shown = {"duration": 5} if isinstance(error, Cancelled) else {}
            raise gr.Error(
                html.escape(error_in_language(error, language)), title=heading(error, language), print_exception=False,
                **shown,
            ) from error  # fmt: skip
        except Exception as error:
            logger.exception("the page failed in %s", function.__name__)
            language = _language(args, kwargs)
            raise gr.Error(
                in_language("something went wrong here; the log of the server has the details", language),
                title=heading(error, language), print_exception=False,
            ) from error  # fmt: skip

    return run


def _language(args: tuple, kwargs: dict) -> str:
    given = next((value for value in (*args, *kwargs.values()) if isinstance(value, gr.Request)), None)
    return language_of(given) if given is not None else language_now()


def _as_uploaded(self: gr.Image, payload: Any) -> str | None:
    """What a place for photos hands over: the uploaded file, which Gradio does not open; our reader knows more formats,
    checks the size first, and says what is wrong. Of a photo that is shown as a copy it is the photo."""
    if payload is None or not payload.path:
        return gr.Image.preprocess(self, payload)
    shown = Path(payload.path)
    photo = shown.with_name(shown.name.removesuffix(_PREVIEW))
    return str(photo if photo.is_file() else shown)


# A kind of gr.Image, and not a setting of one: Gradio makes components anew where an example is clicked. It is made
# past Gradio's own metaclass, which would write a file beside this one for every class of component.
_Photo: Any = ABCMeta.__new__(
    type(gr.Image), "Photo", (gr.Image,),
    {"preprocess": _as_uploaded, "is_template": True, "__module__": __name__, "__doc__": _as_uploaded.__doc__},
)  # fmt: skip


def photo_input(page: Page, words: Words, name: str) -> gr.Image:
    """A place for a photo, of any format our reader knows, that hands over its path.

    Args:
        page: makes the copy that is shown of a photo that browsers cannot show.
        words: key of a text -> the text.
        name: of the element.
    """
    photo = _Photo(
        label=words("photo"), type="filepath", image_mode=None, sources=["upload", "clipboard"], elem_id=name,
        elem_classes=["idseg-photo"],
    )  # fmt: skip

    def shown(path: str | None) -> Any:
        return page.preview(path) or gr.skip()

    photo.upload(safely(shown), photo, photo, show_progress="hidden", **PRIVATE)
    return photo


def shown_image(label: str, name: str) -> gr.Image:
    """A result that is looked at."""
    return gr.Image(
        label=label, type="filepath", format="jpeg", interactive=False, elem_id=name, buttons=["download", "fullscreen"]
    )


def verdict_table(words: Words, name: str) -> gr.Dataframe:
    """Verdicts on photos."""
    return gr.Dataframe(
        headers=["photo", "verdict", "detail"], datatype="str", label=words("verdicts"), interactive=False, wrap=True,
        elem_id=name,
    )  # fmt: skip


def example_photos(page: Page, photo: gr.Image) -> None:
    """Pictures to click on, where there are some."""
    found = page.samples(".jpg", ".png")
    if found:
        gr.Examples(found, photo, label=EXAMPLES)


def minutes(seconds: float) -> str:
    """ "M:SS"."""
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"

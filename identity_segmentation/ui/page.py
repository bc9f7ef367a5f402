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
from collections.abc import Callable
from importlib import resources
from pathlib import Path

import numpy as np

from ..errors import Cancelled, EngineUnavailable, GalleryError, IdentitySegmentationError, InputError
from ..images import read_image
from ..pipeline import IdentityAwareSegmentation

try:
    import gradio as gr
except ImportError as error:
    raise EngineUnavailable('the web page needs gradio; run: pip install ".[ui]"') from error

logger = logging.getLogger(__name__)

EXAMPLES = "Examples / 예시 / ตัวอย่าง"
DAY = 24 * 3600  # seconds that results and uploads are kept
PROGRESS = gr.Progress()
ENGINE = {"concurrency_limit": 1, "concurrency_id": "engine"}  # one request at a time uses the nets
PRIVATE = {"api_visibility": "private"}


People = list[tuple[str, str]]  # (what a list shows, name) of everyone on file
Words = Callable[[str], str]  # key of a text -> what Gradio shows in the browser's language


class Page:
    """One pipeline and the folder of its results, shared by everyone who has the page open.

    Args:
        pipeline: engines and gallery.
        folder: where results lie until they are a day old; one folder per job, named at random.
        examples: a folder of pictures (and a clip) to click on, or None.
    """

    def __init__(self, pipeline: IdentityAwareSegmentation, folder: str | os.PathLike, examples: Path | None = None):
        self.pipeline, self.folder, self.examples = pipeline, Path(folder).absolute(), examples
        self.folder.mkdir(parents=True, exist_ok=True)
        if os.name == "posix":
            self.folder.chmod(0o700)  # people's pictures, and exported galleries

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

    @property
    def analyses(self) -> Path:
        """The folder of videos' analyses: one for all jobs, so that a video is looked at once."""
        return self.folder / ".analyses"

    def sweep(self) -> None:
        """Delete uploads and results older than a day, of earlier servers too."""
        kept = list(self.analyses.iterdir()) if self.analyses.is_dir() else []
        for old in [*(path for path in self.folder.iterdir() if path != self.analyses), *kept]:
            with contextlib.suppress(OSError):
                if time.time() - old.stat().st_mtime > DAY:
                    shutil.rmtree(old) if old.is_dir() else old.unlink()

    def picture(self, path: str | None) -> np.ndarray:
        """An uploaded picture, its size checked before it is decoded."""
        if not path:
            raise InputError("upload or paste a photo first")
        return read_image(path, self.pipeline.settings.max_pixels)

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
    """The page's words: language -> key -> text."""
    return json.loads(resources.files("identity_segmentation").joinpath("data/ui_text.json").read_text("utf-8"))


def safely(function: Callable) -> Callable:
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


def photo_input(words: Words, name: str) -> gr.Image:
    """A place for a photo. It hands over a path, and whatever mode it has: Gradio then opens the header alone, and our
    reader checks the size first."""
    return gr.Image(
        label=words("photo"), type="filepath", image_mode=None, sources=["upload", "clipboard"], elem_id=name
    )


def shown_image(label: str, name: str) -> gr.Image:
    """A result that is looked at."""
    return gr.Image(
        label=label, type="filepath", format="jpeg", interactive=False, elem_id=name, buttons=["download", "fullscreen"]
    )


def cutout_image(label: str, name: str) -> gr.Image:
    """A cutout, on a checkerboard where it is transparent."""
    return gr.Image(
        label=label, type="filepath", format="png", interactive=False, elem_id=name, elem_classes=["checkered"],
        buttons=["download", "fullscreen"],
    )  # fmt: skip


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

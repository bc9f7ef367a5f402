"""What `main.ipynb` needs: quiet logs, one-line errors, progress, pictures and videos inline, the page on a port."""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

import cv2
import numpy as np

from . import cards, drawing
from .doctor import as_text, examine
from .engines.protocols import FaceEngine
from .errors import EngineUnavailable, IdentitySegmentationError, InputError
from .files import safe_filename
from .images import list_photos
from .people.adding import add_photos
from .people.enrolment import build_embeddings_db
from .people.gallery import Gallery
from .people.matching import identify
from .people.rule import NamingRule
from .pipeline import IdentityAwareSegmentation
from .types import Sighting
from .video.analysis import read_analysis
from .video.files import VIDEO_SUFFIXES, VideoReader
from .video.previews import preview
from .video.render import VideoReport
from .video.spans import on_screen

_DOTS = 90  # pixels of a shown picture for each inch asked for
_WIDEST = 1600  # pixels of all pictures shown side by side
_GAP = 8  # pixels between them
_MOST_ROWS = 40  # of a timeline
_CAPTION = 30  # pixels at its top that are left to a caption
_PORTS = 20  # that are tried, from the one asked for on
_EVERY_S = 0.25  # how often a progress bar is drawn anew
_OTHERS_BGR = (153, 153, 153)


# ---- quiet


def quiet(verbose: bool = False) -> None:
    """Logs and warnings as plain lines instead of red boxes, and errors of this package as one line each.

    The traceback of such an error is there for the asking: `%tb` in the next cell. All other errors keep theirs.

    Args:
        verbose: also say which engines were chosen, and why not others.
    """
    logging.basicConfig(format="%(message)s", level=logging.WARNING, stream=sys.stdout, force=True)
    logging.getLogger(__package__).setLevel(logging.INFO if verbose else logging.WARNING)
    logging.captureWarnings(True)
    # Whoever imports tqdm.auto would be told to install widgets, which nothing here needs.
    warnings.filterwarnings("ignore", message="IProgress not found")
    shell = _shell()
    if shell is not None:
        shell.set_custom_exc((IdentitySegmentationError,), _one_line)


def _shell() -> Any:
    """The IPython that runs this, or None."""
    ipython = sys.modules.get("IPython")
    return ipython.get_ipython() if ipython is not None else None


def _in_notebook() -> bool:
    return hasattr(_shell(), "kernel")


def _one_line(
    shell: Any, kind: type[BaseException], error: BaseException, trace: TracebackType, tb_offset: int | None = None
) -> list[str]:
    """What `set_custom_exc` calls (IPython's documentation): show an error, and keep it where `%tb` looks for it."""
    sys.last_type, sys.last_value, sys.last_traceback = kind, error, trace
    shown = [f"\x1b[31m{kind.__name__}\x1b[0m: {error}  (%tb shows where)"]
    shell._showtraceback(kind, error, shown)
    return shown


# ---- progress


class Progress:
    """Progress bars, one a stage, which stay as a line when they are done; call it with (stage, done, total).

    In a notebook they are HTML that is updated in place, without widgets, so that they are the same in JupyterLab, VS
    Code and Colab, and are kept in the saved file. Elsewhere they are tqdm's, on standard output.
    """

    def __init__(self) -> None:
        self._stages: dict[str, _Stage] = {}

    def __call__(self, stage: str, done: int, total: int) -> None:
        if stage not in self._stages:
            self.close()
            self._stages[stage] = (_Shown if _in_notebook() else _Printed)(stage, done)
        self._stages[stage].to(done, total)

    def photos(self, done: int, total: int, person: str) -> None:
        """What `build_embeddings_db` calls.

        Args:
            done, total: photos.
            person: whose photos they are.
        """
        self("photos", done, total)

    def close(self, finished: bool = True) -> None:
        """Leave every bar as a line: of all that there was, or, where it was not `finished`, as it is."""
        for stage in self._stages.values():
            stage.close(finished)


class _Stage:
    """One bar: how far it is, and how long it has taken."""

    def __init__(self, name: str, done: int):
        self.name, self.first, self.begun = name, done, time.monotonic()
        self.done, self.total, self.open = done, 0, True

    def to(self, done: int, total: int) -> None:
        self.done, self.total = done, total
        last = total > 0 and done >= total
        self.draw(last)
        self.open = not last

    def close(self, finished: bool) -> None:
        if self.open:
            self.open = False
            if finished:  # the last frames of a stage may be none that is looked at
                self.done = max(self.done, self.total)
            self.draw(True)

    def draw(self, last: bool) -> None:
        raise NotImplementedError

    def said(self, last: bool) -> str:
        """ "30 of 50, 4 s left"; of a finished stage "50 of 50 in 12 s"."""
        took = time.monotonic() - self.begun
        count = f"{self.done} of {self.total}" if self.total else f"{self.done}"
        if last:
            return f"{count}{'' if self.done >= self.total else ', stopped'} in {_duration(took)}"
        new = self.done - self.first
        if not self.total or took < 1 or new < 1:
            return count
        return f"{count}, {_duration(took * (self.total - self.done) / new)} left"


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 100 else f"{int(seconds) // 60}:{int(seconds) % 60:02d} min"


class _Shown(_Stage):
    def __init__(self, name: str, done: int):
        from IPython.display import display

        super().__init__(name, done)
        self._drawn = time.monotonic()
        self._handle = display(self._bundle(False), raw=True, display_id=True)

    def _bundle(self, last: bool) -> dict[str, str]:
        said = self.said(last)
        return {"text/html": cards.bar(self.name, self.done, self.total, said), "text/plain": f"{self.name}: {said}"}

    def draw(self, last: bool) -> None:
        now = time.monotonic()
        if last or now - self._drawn >= _EVERY_S:
            self._drawn = now
            self._handle.update(self._bundle(last), raw=True)


class _Printed(_Stage):
    def __init__(self, name: str, done: int):
        from tqdm import tqdm

        super().__init__(name, done)
        self._bar = tqdm(initial=done, desc=name, file=sys.stdout, disable=None)

    def draw(self, last: bool) -> None:
        self._bar.total = self.total or None
        self._bar.update(self.done - self._bar.n)
        if last:
            self._bar.close()


@contextlib.contextmanager
def progress() -> Iterator[Progress]:
    """Progress bars for one piece of work: `with progress() as bar: process_video(..., progress=bar)`."""
    bars, finished = Progress(), False
    try:
        yield bars
        finished = True
    finally:
        bars.close(finished)


# ---- folders and the machine


def has_photos(dataset: str | os.PathLike) -> bool:
    """Does a data set have at least one photo in one person's folder?"""
    root = Path(dataset)
    return root.is_dir() and any(list_photos(folder) for folder in root.iterdir() if folder.is_dir())


def first_picture(folder: str | os.PathLike) -> Path:
    """The first picture of a folder, by name; `InputError` if it has none."""
    pictures = list_photos(folder) if Path(folder).is_dir() else []
    if not pictures:
        raise InputError(f"no pictures in {folder}; put one there, or set INPUT_DIR in section 1")
    return pictures[0]


def first_video(folder: str | os.PathLike) -> Path | None:
    """The first video of a folder, by name; None if it has none."""
    root = Path(folder)
    return (
        next((p for p in sorted(root.iterdir()) if p.suffix.lower() in VIDEO_SUFFIXES), None) if root.is_dir() else None
    )


def report() -> None:
    """Print what this machine can run, and what it would take to have the rest."""
    print(as_text(list(examine())))


# ---- pictures


def show(*images: np.ndarray, title: str = "", height: float = 5.0) -> None:
    """Show BGR, BGRA or bool pictures side by side; transparency on a checkerboard.

    Args:
        images: uint8 (H, W, 3) BGR, uint8 (H, W, 4) BGRA, or bool (H, W), each.
        title: above them, in any script.
        height: in inches of 90 pixels.
    """
    from IPython.display import display

    if not images:
        return
    tall = round(height * _DOTS)
    shapes = [(max(1, round(tall * i.shape[1] / i.shape[0])), tall) for i in images]
    scale = min(1.0, _WIDEST / (sum(wide for wide, _ in shapes) + _GAP * (len(images) - 1)))
    parts: list[np.ndarray] = []
    for image, (wide, _) in zip(images, shapes, strict=True):
        size = max(1, round(wide * scale)), max(1, round(tall * scale))
        parts.append(cv2.resize(cards.flattened(image), size, interpolation=cv2.INTER_AREA))
        parts.append(np.full((size[1], _GAP, 3), 255, np.uint8))
    picture = np.hstack(parts[:-1])
    picture = drawing.titled(picture, title) if title else picture
    display({"image/jpeg": cards.jpeg(picture, max(picture.shape)), "text/plain": title or "a picture"}, raw=True)


def show_faces(
    image_bgr: np.ndarray, face_analyzer: FaceEngine, embeddings_db: Gallery, threshold: float | None = None
) -> None:
    """Show a picture with everyone boxed and named, strangers in grey.

    Args:
        image_bgr: uint8 (H, W, 3).
        face_analyzer: a face engine.
        embeddings_db: the gallery, built with that engine.
        threshold: least similarity for a name; None = the engine's.
    """
    matches = identify(image_bgr, face_analyzer, embeddings_db, threshold)
    sightings = [Sighting(m, evidence="face") for m in matches]
    show(drawing.annotate(image_bgr, sightings, lambda name: embeddings_db.find(name).colour_bgr))


def frame(path: str | os.PathLike, index: int) -> np.ndarray:
    """One frame of a video, BGR; the last one where the video is shorter."""
    with VideoReader(path) as reader:
        for found in reader:  # a video has one frame at the least, or it is refused
            image = found.image
            if found.index >= index:
                break
    return image


def show_timeline(
    analysis: str | os.PathLike,
    member_name: str,
    face_analyzer: FaceEngine,
    embeddings_db: Gallery,
    threshold: float | None = None,
) -> None:
    """Show who is on screen when: a row per person and per nameless track, the person asked for in their colour.

    Args:
        analysis: the analysis file of a video.
        member_name: display name of the person to be shown in colour.
        face_analyzer, embeddings_db: the engine and the gallery that the video was analysed with.
        threshold: least similarity for a name, as it was given to the video; None = the engine's.
    """
    found = read_analysis(analysis)
    names = found.names(NamingRule.of_engine(face_analyzer, embeddings_db, threshold, tracks=True))
    mine = embeddings_db.find(member_name)
    rows = []
    for who, spans in on_screen(found, names).items():
        label = who if isinstance(who, str) else f"unknown (track {who})"
        colour = mine.colour_bgr if who == mine.name else _OTHERS_BGR
        rows.append((label, colour, [(span.from_s, span.to_s) for span in spans]))
    longest = sorted(rows, key=lambda row: -sum(end - begin for begin, end in row[2]))[:_MOST_ROWS]
    picture = drawing.timeline([row for row in rows if row in longest], found.seconds)[_CAPTION:]
    left = len(rows) - len(longest)
    show(picture, title=f"the {len(longest)} longest of {len(rows)}" if left else "", height=picture.shape[0] / _DOTS)


# ---- videos


def play(before: str | os.PathLike, after: str | os.PathLike | VideoReport) -> None:
    """Play two videos side by side: the first seconds of each, as small copies that are kept in the notebook.

    Args:
        before: a video.
        after: another, or the report of one, whose facts are then shown below.
    """
    from IPython.display import display

    path = after.files["video"] if isinstance(after, VideoReport) else after
    clips: dict[str, Any] = {f"before: {Path(before).name}": before, f"after: {Path(path).name}": path}
    shown = cards.videos({caption: preview(clip) or clip for caption, clip in clips.items()})
    if isinstance(after, VideoReport):
        html = cards.card(after.facts(), shown, after.details())
    else:
        html = cards.card("", shown)
    display({"text/html": html, "text/plain": "; ".join(clips)}, raw=True)


def own_clip(
    photos: str | os.PathLike,
    clip: str | os.PathLike,
    name: str,
    people: IdentityAwareSegmentation,
    output: str | os.PathLike = "outputs",
    **look: Any,
) -> VideoReport:
    """Learn people from photos, find one of them in a clip, and play it before and after.

    Args:
        photos: a folder with a folder of photos per person; or one with photos directly in it, which are then those of
            `name`, and everybody on file stays on file. Nothing of it is written to the gallery on disk.
        clip: the video.
        name: whom to look for.
        people: engines, and the people on file.
        output: folder of the result, ``CLIP_NAME.mp4``.
        look: how to render, as `process_video` takes it: view="cutout", background="#FFFFFF", frame_sampling=5 ...

    Raises:
        InputError, VideoError, UnknownPerson: no such folder, no usable photo, no such video, nobody of that name.
    """
    gallery = people.gallery
    with progress() as bar:
        if Path(photos).is_dir() and list_photos(photos):
            others = gallery.without(name) if name in gallery else gallery
            gallery, _ = add_photos(others, people.face_engine, name, list_photos(photos))
        elif gallery.report.folder != Path(photos).absolute():
            gallery = build_embeddings_db(photos, people.face_engine, progress=bar.photos)
        person = gallery.find(name)
        knowing = IdentityAwareSegmentation(
            people.face_engine, people.segmenter, gallery, people.threshold, people.margin, people.settings,
            detector=people.detector_or_none() or "auto", edges=people.edges,
        )  # fmt: skip
        target = Path(output) / f"{Path(clip).stem}_{safe_filename(person.name)}.mp4"
        made = knowing.process_video(clip, target, person.name, progress=bar, **{"view": "overlay", **look})
    play(clip, made)
    return made


# ---- the page

_served: list[Any] = []  # what this notebook serves: one page at most


def serve(launch: Callable[..., Any], page: Any, port: int = 7861, **options: Any) -> Any:
    """Serve the page; of a cell that is run again, in place of the page that it served before.

    Args:
        launch: `ui.launch`.
        page: a `ui.Page`.
        port: where another program has it, the next free one is taken, and said.
        options: of `ui.launch`.

    Returns:
        What `launch` does: `local_url` is the address, `close()` ends it.

    Raises:
        EngineUnavailable: no port is free.
    """
    while _served:
        _served.pop().close(verbose=False)
    for number in range(port, port + _PORTS):
        if not _is_free(number):
            continue
        try:
            demo = launch(page, port=number, **options)
        except EngineUnavailable:
            if _is_free(number):
                raise  # something else is wrong
            continue
        _served.append(demo)
        moved = f" (another program has port {port})" if number != port else ""
        print(f"the page is at {demo.local_url}{moved}")
        return demo
    raise EngineUnavailable(f"the ports {port} to {port + _PORTS - 1} are all taken; give another: port=...")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        if (
            os.name == "posix"
        ):  # a port whose last connections are only being wound up is free; elsewhere this means more
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except (OSError, OverflowError):
            return False
    return True

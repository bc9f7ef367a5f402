"""What `main.ipynb` needs to show its results: pictures inline, the machine's report, the folders' first contents."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from . import drawing
from .doctor import as_text, examine
from .engines.protocols import FaceEngine
from .errors import InputError
from .images import list_photos
from .people.gallery import Gallery
from .people.matching import identify
from .people.rule import NamingRule
from .types import Sighting
from .video.analysis import read_analysis
from .video.files import VIDEO_SUFFIXES, VideoReader


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


def report() -> None:
    """Print what this machine can run, and what it would take to have the rest."""
    print(as_text(list(examine())))


def show(*images: np.ndarray, title: str = "", height: float = 5.0) -> None:
    """Show BGR, BGRA or bool pictures side by side; transparency on a checkerboard.

    Args:
        images: uint8 (H, W, 3) BGR, uint8 (H, W, 4) BGRA, or bool (H, W), each.
        title: above them; left out where Matplotlib's font lacks its script.
        height: in inches.
    """
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, len(images), figsize=(height * sum(i.shape[1] / i.shape[0] for i in images), height))
    for axis, image in zip(np.atleast_1d(axes), images, strict=True):
        axis.imshow(_displayable(image), cmap="gray")
        axis.axis("off")
    figure.tight_layout()
    if title.isascii():  # Matplotlib's own font has no Hangul or Thai; the picture's labels are drawn by us
        figure.suptitle(title, parse_math=False)  # a name may hold dollar signs
    plt.show()
    plt.close(figure)


def _displayable(image: np.ndarray) -> np.ndarray:
    if image.ndim == 2:
        return image
    if image.shape[2] == 3:
        return image[:, :, ::-1]
    y, x = np.indices(image.shape[:2]) // 16
    board = np.where((x + y) % 2, 225, 170)[..., None]
    alpha = image[..., 3:] / 255.0
    return (image[..., 2::-1] * alpha + board * (1 - alpha)).astype(np.uint8)


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


def first_video(folder: str | os.PathLike) -> Path | None:
    """The first video of a folder, by name; None if it has none."""
    root = Path(folder)
    return (
        next((p for p in sorted(root.iterdir()) if p.suffix.lower() in VIDEO_SUFFIXES), None) if root.is_dir() else None
    )


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
    """Plot who is on screen when: a row per track, the person asked for in their colour, the others in grey.

    Args:
        analysis: the analysis file of a video.
        member_name: display name of the person to be shown in colour.
        face_analyzer, embeddings_db: the engine and the gallery that the video was analysed with.
        threshold: least similarity for a name, as it was given to the video; None = the engine's.
    """
    import matplotlib.pyplot as plt

    found = read_analysis(analysis)
    names = found.names(NamingRule.of_engine(face_analyzer, embeddings_db, threshold, tracks=True))
    figure, axis = plt.subplots(figsize=(10, 0.5 + 0.3 * len(names)))
    for row, track in enumerate(sorted(names)):
        times = [s.time_s for s in found.samples if any(p.track == track for p in s.tracks)]
        named = names[track].name
        colour = embeddings_db.find(named).colour if named == member_name else "#999999"
        axis.plot(times, [row] * len(times), "s", color=colour, markersize=4)
    axis.set_yticks(range(len(names)), [f"track {t}" for t in sorted(names)])
    axis.set_xlabel("seconds")
    plt.show()
    plt.close(figure)

"""`idseg demo`: the main job on real faces, with pictures that installed packages carry and nothing downloaded.

Six people of InsightFace's example picture and the astronaut of scikit-image are learnt from one photo each; then
everyone is looked for in altered pictures: mirrored, shrunk and recompressed, relit, and recomposed with a stranger.
The names are made up, in three scripts, to show that they are data.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np

from . import drawing
from .errors import InputError
from .files import atomic_write, package_folder, safe_filename
from .images import decode_image, read_image, shrink_to, write_image
from .looks import Look
from .people.enrolment import build_embeddings_db
from .people.person import PALETTE
from .pipeline import IdentityAwareSegmentation
from .settings import Settings
from .types import Face, Sighting
from .video.writing import FORMATS, SegmentWriter

_NAMES = ("Mina", "준호", "ดาว", "Leo", "Nora", "하나")  # left to right in the example picture
_ASTRONAUT = "Eileen"


@dataclass(frozen=True)
class _Query:
    """An altered picture and who is in it, left to right; None is a stranger."""

    label: str
    image: np.ndarray
    truth: tuple[str | None, ...]


def run_demo(
    output: Path,
    face_engine: str = "embedded",
    segmenter: str = "embedded",
    gallery_folder: str | None = None,
    settings: Settings | None = None,
) -> int:
    """Build, identify, segment, write and print; returns 0 if everyone was given the right name, and only they.

    Args:
        output: folder that pictures are written to.
        face_engine, segmenter: names of engines.
        gallery_folder: where the people are kept; None = in `output`.
        settings: everything else; None = `Settings.from_env()`.
    """
    started = time.perf_counter()
    group, astronaut, stranger = _pictures()
    folder = Path(gallery_folder or output / "demo-gallery")
    pipeline = IdentityAwareSegmentation(face_engine, segmenter, folder, settings=settings)
    print(f"faces: {pipeline.face_engine.describe()}")
    print(f"masks: {pipeline.segmenter.describe()}")
    _write_dataset(pipeline, output / "demo-dataset", group, astronaut)
    gallery = build_embeddings_db(output / "demo-dataset", pipeline.face_engine, folder)
    pipeline = IdentityAwareSegmentation(pipeline.face_engine, pipeline.segmenter, gallery, settings=settings)
    print(f"\nlearnt {len(gallery)} people from one photo each:\n{gallery.report.table()}\n")

    looks, wrong = [], 0
    print(f"{'picture':<12} {'who it is':<10} {'called':<10} similarity  margin  mask pixels  seconds")
    for query in _queries(group, astronaut, stranger):
        begun = time.perf_counter()
        look = pipeline.look(query.image)
        seconds = time.perf_counter() - begun
        looks.append((query.label, look))
        wrong += _print_rows(query, look, seconds)
        _write_results(output, query.label, look, pipeline)
    sheet = write_image(output / "contact_sheet.jpg", _contact_sheet(looks, pipeline))
    print(f"\n{wrong} wrong or missing names; {time.perf_counter() - started:.1f} s in all")
    print(f"look at {sheet}, and at the overlays and cutouts beside it")
    return int(wrong > 0)


def write_example(folder: str | Path) -> tuple[str, str]:
    """Write the demo's people and altered pictures as a data set and an input folder, for `main.ipynb`.

    Returns:
        (data set folder, input folder).
    """
    folder = Path(folder)
    group, astronaut, stranger = _pictures()
    pipeline = IdentityAwareSegmentation("embedded", "embedded", gallery=folder / "demo-gallery")
    _write_dataset(pipeline, folder / "Dataset", group, astronaut)
    for number, query in enumerate(_queries(group, astronaut, stranger), 1):
        write_image(folder / "Input" / f"{number}_{query.label}.jpg", query.image)
    return str(folder / "Dataset"), str(folder / "Input")


def write_clip(folder: str | Path, image: np.ndarray, seconds: float = 2.0) -> Path:
    """Write a short clip that pans over a picture, for a folder of inputs that has no video.

    Args:
        folder: the clip becomes ``clip.mp4`` in it.
        image: uint8 (H, W, 3), BGR.
        seconds: length, at 25 frames a second.
    """
    path, rate = Path(folder) / "clip.mp4", Fraction(25)
    width, height = (int(0.85 * side) // 2 * 2 for side in image.shape[1::-1])
    count = int(seconds * rate)
    partial = path.with_suffix(".segment.mp4")
    with SegmentWriter(partial, FORMATS[".mp4"], (width, height), rate, 1 / rate) as writer:
        for i in range(count):
            x = round((image.shape[1] - width) * i / (count - 1))
            y = round((image.shape[0] - height) * i / (count - 1))
            writer.write(image[y : y + height, x : x + width], i)
    partial.replace(path)
    return path


def _pictures() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return (
        read_image(_packaged("insightface", "data/images/t1.jpg")),
        read_image(_packaged("skimage", "data/astronaut.png")),
        read_image(_packaged("insightface", "data/images/Tom_Hanks_54745.png")),
    )


def _packaged(package: str, inside: str) -> Path:
    folder = package_folder(package)
    if folder is None or not (folder / inside).is_file():
        raise InputError(
            f"the demo uses {inside} of the package {package}, which is not here; "
            f"pip install --force-reinstall {package}"
        )
    return folder / inside


def _write_dataset(pipeline, folder: Path, group: np.ndarray, astronaut: np.ndarray) -> None:
    faces = sorted(pipeline.face_engine.faces(group, embed=False), key=lambda f: f.centre[0])
    if len(faces) != len(_NAMES):
        raise InputError(f"expected {len(_NAMES)} faces in InsightFace's example picture, found {len(faces)}")
    people = [*zip(_NAMES, [portrait(group, f) for f in faces], strict=True), (_ASTRONAUT, astronaut)]
    members = []
    for number, (name, photo) in enumerate(people, 1):
        write_image(folder / f"person_{number}" / "reference.png", photo)
        members.append(f'[[member]]\nfolder = "person_{number}"\nname = "{name}"\ncolour = "{PALETTE[number - 1]}"\n')
    with atomic_write(folder / "members.toml") as file:
        file.write("\n".join(members).encode())


def portrait(image: np.ndarray, face: Face) -> np.ndarray:
    """The part of a picture around a face, as a reference photo would show it."""
    x, y = face.centre
    reach = 0.95 * face.side
    x0, y0 = int(max(0, x - reach)), int(max(0, y - reach))
    return image[y0 : int(y + reach), x0 : int(x + reach)].copy()


def _queries(group, astronaut, stranger) -> list[_Query]:
    small = shrink_to(group, 720)[0]
    encoded = cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, 30])[1]
    curve = (255 * (np.arange(256) / 255) ** 0.6).clip(0, 255)
    warm = np.stack([curve * 0.8, curve * 0.95, curve], -1).round().astype(np.uint8)
    relit = cv2.merge([cv2.LUT(group[..., c], warm[:, c]) for c in range(3)])
    height = group.shape[0]
    frame = (height // 4, height - height // 2 - height // 4, 0, 0)
    panels = [
        group[:, 850:][:, ::-1],  # the two on the right, mirrored
        _fit(astronaut[:, ::-1], height),
        cv2.copyMakeBorder(_fit(stranger, height // 2), *frame, cv2.BORDER_REFLECT_101),
    ]
    return [
        _Query("mirrored", np.ascontiguousarray(group[:, ::-1]), _NAMES[::-1]),
        _Query("recompressed", decode_image(encoded.tobytes()), _NAMES),
        _Query("relit", relit, _NAMES),
        _Query("recomposed", np.ascontiguousarray(np.hstack(panels)), (_NAMES[5], _NAMES[4], _ASTRONAUT, None)),
    ]


def _fit(image: np.ndarray, height: int) -> np.ndarray:
    width = round(image.shape[1] * height / image.shape[0])
    return cv2.resize(image, (width, height), interpolation=cv2.INTER_CUBIC)


def _print_rows(query: _Query, look: Look, seconds: float) -> int:
    seen = [(s.match, s.segment) for s in look.sightings if s.match is not None]
    seen.sort(key=lambda pair: pair[0].face.centre[0])
    wrong = abs(len(seen) - len(query.truth))
    for truth, (match, segment) in zip(query.truth, seen, strict=False):
        area = segment.area if segment else 0
        right = match.name == truth
        wrong += not right
        print(
            f"{query.label:<12} {_pad(truth or 'a stranger', 10)} {_pad(match.name or 'unknown', 10)} "
            f"{match.similarity:>10.2f}  {match.margin:>6.2f}  {area:>11}  {seconds:>7.2f}{'' if right else '  WRONG'}"
        )
    if len(seen) != len(query.truth):
        print(f"{query.label:<12} {len(seen)} faces found, {len(query.truth)} are there  WRONG")
    return wrong


def _pad(text: str, width: int) -> str:
    """Pad to a width in terminal cells: Hangul takes two, Thai vowel marks none."""
    import unicodedata

    cells = sum(
        0 if unicodedata.category(c) == "Mn" else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text
    )
    return text + " " * max(0, width - cells)


def _write_results(output: Path, label: str, look: Look, pipeline) -> None:
    folder = output / label
    write_image(folder / "annotated.jpg", drawing.annotate(look.image, look.sightings, pipeline.colour_of))
    write_image(folder / "overlay.jpg", drawing.overlay(look.image, look.sightings, pipeline.colour_of))
    for sighting in look.sightings:
        if sighting.segment is not None:
            picture = drawing.cutout(look.image, sighting.segment, crop=True)
            write_image(folder / f"{safe_filename(sighting.name or 'unknown')}_cutout.png", picture)


def _contact_sheet(looks: Sequence[tuple[str, Look]], pipeline) -> np.ndarray:
    """One row per picture: annotated, overlay, and everyone cut out on a checkerboard."""
    rows = []
    for _, look in looks:
        shown = [
            drawing.annotate(look.image, look.sightings, pipeline.colour_of),
            drawing.overlay(look.image, look.sightings, pipeline.colour_of),
            _on_checkerboard(look.image, look.sightings),
        ]
        rows.append(np.hstack([_fit(picture, 330) for picture in shown]))
    width = max(row.shape[1] for row in rows)
    return np.vstack([cv2.copyMakeBorder(r, 0, 6, 0, width - r.shape[1], cv2.BORDER_CONSTANT) for r in rows])


def _on_checkerboard(image: np.ndarray, sightings: Sequence[Sighting]) -> np.ndarray:
    y, x = np.indices(image.shape[:2]) // 24
    board: np.ndarray = np.where((x + y) % 2, 225, 170).astype(np.float32)[..., None].repeat(3, axis=2)
    for sighting in sightings:
        if sighting.segment is not None:
            picture = drawing.cutout(image, sighting.segment)
            alpha = picture[..., 3:].astype(np.float32) / 255
            board = board * (1 - alpha) + picture[..., :3] * alpha
    return board.round().astype(np.uint8)

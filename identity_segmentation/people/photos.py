"""One person's reference photos -> a verdict on each, and the face that is theirs. (Notebook section 2.)

A photo with several faces gives the one nearest the person's other photos. A photo that shows somebody else is an
outlier, and one that was there before is a duplicate.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import cv2
import numpy as np

from ..engines.protocols import FaceEngine
from ..errors import ImageError, InputError
from ..files import shown_path
from ..images import decode_image, shrink_to
from ..types import USED_VERDICTS, Face, unit
from . import thumbnails

_REFERENCE_SIDE = 1600  # reference photos are shrunk to this; their faces are large


@dataclass
class Photo:
    """A reference photo on its way to a verdict."""

    source: str
    sha256: str = ""
    picture_hash: int = 0
    faces: list[Face] = field(default_factory=list)
    embedding: np.ndarray | None = None
    verdict: str = ""
    detail: str = ""
    reused: bool = False
    size: tuple[int, int] = (0, 0)  # (width, height) of the picture that the faces were looked for in
    face: tuple[float, float, float, float] | None = None  # of a known photo; see `face_of`
    names_others: bool = False  # the detail speaks of somebody else, so it is not stored
    thumbnail: bytes = b""  # of the face that is theirs
    crops: list[bytes] = field(default_factory=list)  # a thumbnail of each face, or of a picture without any

    def take(self, face: int) -> None:
        """Say which of its faces is theirs."""
        self.embedding = self.faces[face].embedding
        self.thumbnail = self.crops[face] if self.crops else b""


def vector_of(thing: Photo | Face) -> np.ndarray:
    """The embedding of a photo that has one, or of a face."""
    if thing.embedding is None:
        raise InputError("expected a face with an embedding; call faces(image) without embed=False")
    return thing.embedding


def face_of(photo: Photo) -> tuple[float, float, float, float] | None:
    """Where the face is that a photo's embedding was made of, as in `gallery.Reference`; None where it is not known."""
    mine = next((f for f in photo.faces if photo.embedding is not None and f.embedding is photo.embedding), None)
    if mine is None or not all(photo.size):
        return photo.face
    x0, y0, x1, y1 = (round(float(v), 4) for v in mine.box / (photo.size * 2))
    return x0, y0, x1, y1


def faces_of(photos: Iterable[Photo]) -> dict[str, tuple[float, float, float, float]]:
    """Source -> where the face is, of those photos that have one."""
    return {photo.source: place for photo in photos if (place := face_of(photo)) is not None}


def load_photo(path: Path, folder: Path, known: Mapping[tuple[str, str], Photo]) -> tuple[Photo, np.ndarray | None]:
    """Read a photo, unless it is known.

    Args:
        path: the file.
        folder: the data set, to which its source is relative.
        known: (source, sha256) -> a photo that need not be looked at again.

    Returns:
        The photo, and its picture: uint8 (H, W, 3), BGR, 1,600 pixels long at most; None if it is known or unreadable.
    """
    source = shown_path(path.relative_to(folder))
    try:
        data = path.read_bytes()
    except OSError as error:
        return Photo(source, verdict="unreadable", detail=error.strerror or str(error)), None
    digest = hashlib.sha256(data).hexdigest()
    if (source, digest) in known:
        return replace(known[source, digest]), None
    try:
        image = decode_image(data, path.name)
    except ImageError as error:
        return Photo(source, digest, verdict="unreadable", detail=str(error)), None
    image = shrink_to(image, _REFERENCE_SIDE)[0]
    return Photo(source, digest, _difference_hash(image), size=(image.shape[1], image.shape[0])), image


def look(photo: Photo, image_bgr: np.ndarray, engine: FaceEngine, keep_thumbnails: bool = True) -> None:
    """Find the faces of a photo, and make a thumbnail of each.

    Args:
        photo: as `load_photo` gave it; it is changed.
        image_bgr: its picture, uint8 (H, W, 3).
        engine: who looks.
        keep_thumbnails: False = make none.
    """
    photo.faces = engine.faces(image_bgr)
    if keep_thumbnails:
        faces = [thumbnails.of_face(image_bgr, face.box) for face in photo.faces]
        photo.crops = faces or [thumbnails.of_picture(image_bgr)]


def _difference_hash(image_bgr: np.ndarray) -> int:
    """64 bits that hardly change when a picture is resized or re-encoded (Krawetz, "Kind of like that", 2013)."""
    grey = cv2.resize(cv2.cvtColor(image_bgr, cv2.COLOR_BGR2GRAY), (9, 8), interpolation=cv2.INTER_AREA)
    bits = (grey[:, 1:] > grey[:, :-1]).ravel()
    return int.from_bytes(np.packbits(bits).tobytes(), "big")


def same_picture(a: Photo, b: Photo) -> bool:
    """Are they one file, or copies that were resized or encoded anew?"""
    if a.sha256 == b.sha256:
        return True
    close = (a.picture_hash ^ b.picture_hash).bit_count() <= 3
    return close and a.embedding is not None and b.embedding is not None and float(a.embedding @ b.embedding) > 0.9


def judge(photos: list[Photo], engine: FaceEngine, keep_outliers: bool = False) -> None:
    """Give each of one person's photos its verdict and, where it has one, its embedding.

    Args:
        photos: all of them.
        engine: gives the outlier level.
        keep_outliers: outliers are used as well.
    """
    for photo in photos:
        if photo.verdict or photo.embedding is not None:
            continue
        if not photo.faces:
            photo.verdict = "no_face"
        elif len(photo.faces) == 1:
            photo.take(0)
    crowded = [p for p in photos if len(p.faces) > 1]
    if crowded:
        _pick_faces(crowded, [p.embedding for p in photos if p.embedding is not None])
    kept: list[Photo] = []
    for photo in photos:
        if photo.embedding is None:
            continue
        twin = next((k for k in kept if same_picture(photo, k)), None)
        if twin:
            photo.verdict, photo.detail = "duplicate", f"same picture as {Path(twin.source).name}"
            continue
        kept.append(photo)
    _find_outliers(kept, engine, keep_outliers)
    for photo in kept:
        photo.verdict = photo.verdict or "used"


def judge_against(photos: list[Photo], own: list[Photo], engine: FaceEngine, keep_outliers: bool) -> None:
    """Judge new photos by those a person already has, which newcomers cannot out-vote.

    Args:
        photos: the new ones.
        own: those on file, one at least.
        engine: gives the outlier level.
        keep_outliers: outliers are used as well.
    """
    vectors = [vector_of(photo) for photo in own]
    mean, kept = unit(np.mean(vectors, axis=0)), list(own)
    for photo in photos:
        if photo.verdict:
            continue
        if not photo.faces:
            photo.verdict = "no_face"
            continue
        photo.take(0)
        if len(photo.faces) > 1:
            _pick_faces([photo], vectors)
        twin = next((k for k in kept if same_picture(photo, k)), None)
        similarity = float(vector_of(photo) @ mean)
        if twin:
            photo.verdict, photo.detail = "duplicate", f"same picture as {Path(twin.source).name}"
        elif similarity < engine.outlier:
            _call_outlier(photo, f"similarity {similarity:.2f} to this person's photos on file", keep_outliers)
        else:
            photo.verdict = photo.verdict or "used"
        if photo.verdict in USED_VERDICTS:
            kept.append(photo)


def _pick_faces(crowded: list[Photo], singles: list[np.ndarray]) -> None:
    """In each photo with several faces, the one nearest the person's other photos."""
    for photo in crowded:
        others = singles or [vector_of(f) for p in crowded if p is not photo for f in p.faces]
        if singles:
            scores = [float(vector_of(f) @ unit(np.mean(singles, axis=0))) for f in photo.faces]
            why = "the one nearest this person's other photos is used"
        elif others:
            # Nobody is alone in any photo: the person is whoever keeps coming back.
            rest = [p for p in crowded if p is not photo]
            scores = [
                float(np.mean([max(float(vector_of(f) @ vector_of(g)) for g in p.faces) for p in rest]))
                for f in photo.faces
            ]
            why = "the one who is in the other photos too is used"
        else:
            scores = [f.side for f in photo.faces]
            why = "the largest is used, as there is no other photo to compare with"
        best = int(np.argmax(scores))
        x, y = photo.faces[best].centre
        photo.take(best)
        photo.verdict = "several_faces"
        photo.detail = f"{len(photo.faces)} faces; {why} (at {x:.0f}, {y:.0f})"


def _find_outliers(kept: list[Photo], engine: FaceEngine, keep_outliers: bool) -> None:
    """A photo far from the person's others is somebody else, or no use. Needs three photos to have a majority.

    The worst goes first and the rest are judged again: one stranger drags everyone's similarity down.
    """
    kept = list(kept)
    while len(kept) >= 3:
        vectors = np.stack([vector_of(p) for p in kept])
        total = vectors.sum(axis=0)
        own = np.array([float(v @ unit(total - v)) for v in vectors])
        worst = int(own.argmin())
        if own[worst] >= engine.outlier:
            return
        rest = np.delete(vectors, worst, 0)  # whom the worst has not dragged down
        total = rest.sum(axis=0)
        if np.median([float(v @ unit(total - v)) for v in rest]) < engine.outlier:
            return  # nobody agrees with anybody: there is no majority to be an outlier of
        _call_outlier(kept.pop(worst), f"similarity {own[worst]:.2f} to this person's other photos", keep_outliers)


def _call_outlier(photo: Photo, why: str, keep: bool) -> None:
    photo.verdict, photo.detail = ("kept", f"{why}; kept as asked") if keep else ("outlier", f"{why}; somebody else?")

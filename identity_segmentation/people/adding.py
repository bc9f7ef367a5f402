"""Photos given by hand -> a person on file, or more photos of one. (Notebook section 2.)

Looking at photos takes long and needs nobody on file; only then is the gallery changed.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np

from ..engines.protocols import FaceEngine
from ..errors import InputError
from ..files import shown_path
from ..types import USED_VERDICTS, BuildReport, PhotoVerdict
from .check import remarks
from .gallery import Gallery
from .person import Person, Reference, normal_name
from .photos import Photo, face_of, faces_of, judge, judge_against, load_photo, look, same_picture, vector_of


def look_at_photos(
    engine: FaceEngine,
    photos: Sequence[str | os.PathLike],
    progress: Callable[[int, int], None] | None = None,
    cancel: threading.Event | None = None,
    thumbnails: bool = True,
) -> list[Photo]:
    """Find the faces of photos that are to be added by hand; the long part of `add_photos`, which takes what it gives.

    Args:
        engine: who looks at the faces.
        photos: paths of pictures.
        progress: called with (photos done, photos in all).
        cancel: set it to stop; the photos that were looked at are given.
        thumbnails: make a small picture of each face.
    """
    paths, looked = [Path(photo) for photo in photos], []
    with ThreadPoolExecutor(1) as reader:  # the next photo is decoded while this one is looked at
        waiting = deque(reader.submit(load_photo, path, path.parent, {}) for path in paths[:2])
        for number, path in enumerate(paths):
            if cancel is not None and cancel.is_set():
                break
            photo, image = waiting.popleft().result()
            if number + 2 < len(paths):
                waiting.append(reader.submit(load_photo, paths[number + 2], paths[number + 2].parent, {}))
            photo.source = shown_path(path.name)
            if image is not None:
                look(photo, image, engine, thumbnails)
            looked.append(photo)
            if progress:
                progress(len(looked), len(paths))
    return looked


def add_photos(
    gallery: Gallery,
    engine: FaceEngine,
    name: str,
    photos: Sequence[str | os.PathLike | Photo],
    keep_outliers: bool = False,
    thumbnails: bool = True,
) -> tuple[Gallery, list[PhotoVerdict]]:
    """Add a person, or more photos of one, by hand.

    Args:
        gallery: the people on file.
        engine: who looks at the faces.
        name: of a new person, or of one on file.
        photos: paths of pictures, or what `look_at_photos` made of them.
        keep_outliers: use photos that look like somebody else's as well.
        thumbnails: keep a small picture of each face with its embedding.

    Returns:
        The new gallery (not yet saved), whose report has notes on the person, and a verdict per photo.

    Raises:
        InputError: no photo could be used.
        GalleryMismatch: the gallery belongs to another engine.
    """
    gallery.check_engine(engine)
    person = gallery.find(name) if name in gallery else None
    label = person.name if person else normal_name(name)
    loaded = [
        one
        for photo in photos
        for one in ([photo] if isinstance(photo, Photo) else look_at_photos(engine, [photo], thumbnails=thumbnails))
    ]
    on_file = [
        (owner, Photo(r.source, r.sha256, r.picture_hash, embedding=v))
        for index, owner in enumerate(gallery.people)
        for r, v in zip(owner.references, gallery.person_references(index), strict=True)
    ]
    own = [photo for owner, photo in on_file if person and owner.id == person.id]
    if own:
        judge_against(loaded, own, engine, keep_outliers)
    else:
        judge(loaded, engine, keep_outliers)
    _find_others_faces(loaded, [(owner, photo) for owner, photo in on_file if not person or owner.id != person.id])
    verdicts = [PhotoVerdict(label, p.source, p.verdict, p.detail) for p in loaded]
    used = [p for p, v in zip(loaded, verdicts, strict=True) if v.used]
    if not used:
        raise InputError(f"no photo of {label!r} could be used.\n" + BuildReport(tuple(verdicts)).table())
    sources = [Reference(p.source, p.sha256, p.picture_hash, p.detail, True, face_of(p), p.thumbnail) for p in used]
    changed = gallery.with_person(label, np.stack([vector_of(p) for p in used]), sources)
    notes = tuple(remark.text for remark in remarks(changed, engine) if label in remark.people)
    folders = {None if isinstance(photo, Photo) else Path(photo).parent for photo in photos}
    folder = folders.pop() if len(folders) == 1 else None
    return replace(
        changed, report=BuildReport(tuple(verdicts), len(loaded), 0, 0.0, notes, folder, faces_of(loaded))
    ), verdicts


def _find_others_faces(photos: list[Photo], on_file: list[tuple[Person, Photo]]) -> None:
    """A new photo of a face that is on file as somebody else is used for nobody."""
    for photo in photos:
        for owner, twin in on_file:
            shown = photo.verdict in USED_VERDICTS and photo.embedding is not None and same_picture(photo, twin)
            if shown and float(vector_of(photo) @ vector_of(twin)) > 0.9:
                photo.verdict = "conflict"
                photo.detail = f"the same face is on file as {owner.name}; not used"

"""A picture and a word -> every instance of the thing, whosever it is. (Notebook section 5.)

There is one answer to "every person in a picture": those below a face that was found, each drawn from their face, and
those whom the segmenter finds without one - a back is a person too.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from .. import engines
from ..engines.protocols import BodySegmenter, BoxSegmenter, FaceEngine, PartSegmenter, TextSegmenter
from ..errors import EngineUnavailable
from ..phrases import KINDS_OF_PEOPLE
from ..types import Segment
from .segmentation import segment_faces

_SAME_PERSON = 0.3  # share of the smaller of two masks in the other from which both are one person


def every(
    image_bgr: np.ndarray, thing: str, segmenter: BoxSegmenter, face_engine: Callable[[], FaceEngine]
) -> list[Segment]:
    """Every instance of a thing in a picture.

    Args:
        image_bgr: uint8 (H, W, 3).
        thing: in English.
        segmenter: an engine that knows words, or parts of people.
        face_engine: gives the engine that finds the faces; called only where faces are needed.

    Raises:
        EngineUnavailable: the segmenter knows no words, or not this one.
    """
    if isinstance(segmenter, TextSegmenter):
        return segmenter.by_text(segmenter.encode(image_bgr), thing)
    if not isinstance(segmenter, PartSegmenter):
        raise EngineUnavailable(f"the segmenter {segmenter.id} knows no words; choose --segmenter sam3-hf")
    if thing.casefold() in KINDS_OF_PEOPLE:
        raise EngineUnavailable(
            f"the embedded engine cannot tell a {thing} from other people; ask for 'person', or use SAM 3: "
            "--segmenter sam3-hf"
        )
    part = engines.part_named(thing)  # an unknown word is an error, whoever is in the picture
    if part == "person":
        return everyone(image_bgr, segmenter, face_engine())
    faces = face_engine().faces(image_bgr, embed=False)
    drawn = segment_faces(image_bgr, faces, range(len(faces)), segmenter)
    encoded = segmenter.encode(image_bgr)
    found = [segmenter.by_part(encoded, drawn[i], face, thing) for i, face in enumerate(faces)]
    return [segment for segment in found if segment.area]


def everyone(image_bgr: np.ndarray, segmenter: BoxSegmenter, face_engine: FaceEngine) -> list[Segment]:
    """Every person in a picture: by their faces first, then bodies that are none of them.

    Args:
        image_bgr: uint8 (H, W, 3).
        segmenter: draws the people; one that finds bodies without a face adds those.
        face_engine: finds the faces; nobody is named.
    """
    faces = face_engine.faces(image_bgr, embed=False)
    drawn = segment_faces(image_bgr, faces, range(len(faces)), segmenter)
    found = [drawn[i] for i in range(len(faces)) if drawn[i].area]
    if isinstance(segmenter, BodySegmenter):
        bodies = segmenter.bodies(segmenter.encode(image_bgr))
        found += [body for body in bodies if all(_shared(body, person) < _SAME_PERSON for person in found)]
    return found


def _shared(a: Segment, b: Segment) -> float:
    """Pixels two segments have in common, as a share of the smaller one."""
    return int(np.count_nonzero(a.mask & b.mask)) / max(1, min(a.area, b.area))

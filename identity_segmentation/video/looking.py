"""The sampled frames of a video -> faces and bodies in each, for less than looking at each anew. (Notebook section 7.)

Every third sample, and the first of a picture that has changed, is looked at as a photo would be. Between them the
finest tiles are looked at only where heads are expected, bodies are sought in parts of the picture only where one has
gone, and a face that has hardly moved, with nobody near, is not described again. What a key sample says depends on
nothing before it, so a run that was stopped goes on from one and sees the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from ..engines.protocols import FaceEngine, FaceFollower, HeadFinder, ObjectDetector
from ..geometry import box_iou
from ..people.gallery import Gallery
from ..types import Detection, Face
from .shots import normalised
from .tracking import Seen, head_of, seen_in, upper_body

LAYOUT = (32, 18)  # pixels of the small grey picture that is kept of every sample
_KEY = 3  # every n-th sample is looked at as a photo is
_CHANGED = 0.75  # correlation of two samples' layouts below which the picture has changed
_STILL = 0.5  # IoU with a face of the last sample from which a face has hardly moved
_NEAR = 0.15  # IoU of two upper bodies from which heads may be taken for each other
_GONE = 0.4  # IoU below which a body of the last sample was not found again


@dataclass(frozen=True)
class Lookers:
    """Who looks at a video.

    Attributes:
        engine: finds faces.
        gallery: knows them.
        detector: finds bodies, or None.
        heads: finds the heads on bodies whose face is not seen, or None.
    """

    engine: FaceEngine
    gallery: Gallery
    detector: ObjectDetector | None = None
    heads: HeadFinder | None = None


@dataclass(frozen=True, eq=False)
class Glance:
    """What was seen in a sample.

    Attributes:
        key: it was looked at as a photo is.
        layout: uint8 (18, 32), a small grey picture.
        faces: every face; those that hardly moved have no embedding.
        bodies: every body.
        people: who is there; see `tracking.seen_in`.
    """

    key: bool
    layout: np.ndarray
    faces: Sequence[Face]
    bodies: Sequence[Detection]
    people: Sequence[Seen]


class Watch:
    """Looks at the samples of a video, one after the other.

    Args:
        lookers: who looks.
    """

    def __init__(self, lookers: Lookers):
        self.lookers = lookers
        self._last: Glance | None = None

    def look(self, image_bgr: np.ndarray, number: int) -> Glance:
        """What is seen in the next sample.

        Args:
            image_bgr: uint8 (H, W, 3).
            number: of the sample, from 0.
        """
        small = cv2.resize(cv2.resize(image_bgr, (4 * LAYOUT[0], 4 * LAYOUT[1])), LAYOUT, interpolation=cv2.INTER_AREA)
        layout = cv2.cvtColor(small, cv2.COLOR_BGR2GRAY)
        last = self._last
        if last is None or number % _KEY == 0 or _likeness(last.layout, layout) < _CHANGED:
            last = None
        bodies = self._bodies(image_bgr, last)
        faces = self._faces(image_bgr, bodies, last)
        people = seen_in(image_bgr, faces, bodies, self.lookers.heads)
        self._last = Glance(last is None, layout, faces, bodies, people)
        return self._last

    def _bodies(self, image_bgr: np.ndarray, last: Glance | None) -> list[Detection]:
        detector = self.lookers.detector
        if detector is None:
            return []
        if last is None:
            return detector.detect(image_bgr)
        found = detector.detect(image_bgr, tiles=False)
        boxes = [body.box for body in found]
        gone = [body for body in last.bodies if not boxes or box_iou(body.box, np.stack(boxes)).max() < _GONE]
        return detector.detect(image_bgr) if gone else found

    def _faces(self, image_bgr: np.ndarray, bodies: Sequence[Detection], last: Glance | None) -> list[Face]:
        engine = self.lookers.engine
        if last is None or not isinstance(engine, FaceFollower):
            return engine.faces(image_bgr)
        before = np.array([face.box for face in last.faces], np.float32).reshape(-1, 4)
        bodies_before = np.array([upper_body(person.head) for person in last.people], np.float32).reshape(-1, 4)

        def worth_it(face: Face) -> bool:
            """Has a face moved, or is it so near others that only a description tells whose it is?"""
            if not len(before) or float(box_iou(face.box, before).max()) < _STILL:
                return True
            return int((box_iou(upper_body(face.box), bodies_before) > _NEAR).sum()) > 1

        expected = [person.head for person in last.people] + [head_of(body.box) for body in bodies]
        return engine.next_faces(image_bgr, expected, worth_it)


def _likeness(one: np.ndarray, other: np.ndarray) -> float:
    """Correlation of two grey pictures."""
    a, b = (normalised(picture.astype(np.float32).ravel()) for picture in (one, other))
    return float(a @ b)

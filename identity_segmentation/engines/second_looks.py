"""A picture -> every head that detectors see at low thresholds; made to check what others' detectors covered.

Recall comes first here: a head that is reported and is none costs a glance. Each look has its own family of detectors,
so that what one of them cannot see is not what the other cannot see. Nothing here says who anybody is.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np

from ..errors import EngineUnavailable
from ..geometry import box_iou, suppress_duplicates
from ..images import scale_to
from ..settings import Settings
from ..types import as_box, as_image
from .nets import FETCH_COMMAND, AnchorDetector, onnx_session, thread_count, two_tiles

_SAME = 0.4  # IoU from which two boxes are one head's
# A face's box reaches from the brows to the chin; a head reaches higher (forehead, hair) and wider (ears).
_ABOVE, _BELOW, _BESIDE = 0.35, 0.05, 0.12


@dataclass(frozen=True, eq=False)
class SeenHead:
    """A head that a look reports.

    Attributes:
        box: float32 (4,), xyxy in pixels: the whole head.
        score: the detector's confidence, 0..1.
        by: "face" or "body": what was seen of the person.
    """

    box: np.ndarray
    score: float
    by: str

    def __post_init__(self):
        object.__setattr__(self, "box", as_box(self.box))


class Look(Protocol):
    """One family of detectors.

    Attributes:
        id: stable name of family and weights: what goes into reports.
        family: "scrfd", "blazeface" or "bodies".
        least: score from which it reports, 0..1.
        sure: score from which a report needs no other look's support.
    """

    id: str
    family: str
    least: float
    sure: float

    def heads(self, image_bgr: np.ndarray) -> list[SeenHead]:
        """Every head seen in a uint8 (H, W, 3) picture, best first, no two the same."""
        ...


def head_around(face: np.ndarray) -> np.ndarray:
    """float32 (4,): the head that a face's box belongs to, hair and ears included; both xyxy in pixels.

    Args:
        face: float (4,).
    """
    x0, y0, x1, y1 = (float(v) for v in face)
    width, height = x1 - x0, y1 - y0
    return np.array(
        [x0 - _BESIDE * width, y0 - _ABOVE * height, x1 + _BESIDE * width, y1 + _BELOW * height], np.float32
    )


# ---- SCRFD


class ScrfdLook:
    """Guo et al., "Sample and Computation Redistribution for Efficient Face Detection", ICLR 2022: the detector of an
    InsightFace pack. Of the pack only the detector is read.

    The picture is seen at two scales, at the larger one mirrored.

    Args:
        file: the detector's .onnx file.
        threads: of ONNX Runtime; None = up to four.

    Raises:
        EngineUnavailable: the file cannot be loaded, or is no such detector.
    """

    family = "scrfd"
    least, sure = 0.2, 0.5
    _STRIDES, _ANCHORS = (8, 16, 32), 2  # of the published nets with three levels
    _SIDES = (640, 1024)  # pixels of the long side, at the two scales

    def __init__(self, file: Path, threads: int | None = None):
        self._session = onnx_session(file, threads or thread_count())
        self._input = self._session.get_inputs()[0].name
        if len(self._session.get_outputs()) not in (6, 9):
            raise EngineUnavailable(
                f"{file} has {len(self._session.get_outputs())} outputs; expected 6 or 9 of a SCRFD detector. Set "
                "--insightface-pack to a pack with one (det_*.onnx)"
            )
        self.id = f"scrfd {file.stem} {hashlib.sha256(file.read_bytes()).hexdigest()[:12]}"

    def heads(self, image_bgr: np.ndarray) -> list[SeenHead]:
        """See `Look.heads`."""
        image_bgr = as_image(image_bgr)
        found = self._faces(image_bgr, self._SIDES[0])
        mirrored = self._faces(np.ascontiguousarray(image_bgr[:, ::-1]), self._SIDES[1])
        if len(mirrored):
            mirrored[:, [0, 2]] = image_bgr.shape[1] - mirrored[:, [2, 0]]
        return _merged(np.concatenate([found, mirrored]), "face")

    def _faces(self, image_bgr: np.ndarray, longest: int) -> np.ndarray:
        """float64 (N, 5): xyxy in pixels and score of faces, with duplicates."""
        small, factor = scale_to(image_bgr, longest)
        height, width = (-(-side // 32) * 32 for side in small.shape[:2])
        canvas = np.zeros((height, width, 3), np.uint8)
        canvas[: small.shape[0], : small.shape[1]] = small
        blob = cv2.dnn.blobFromImage(canvas, 1 / 128, (width, height), (127.5,) * 3, swapRB=True)
        outputs = self._session.run(None, {self._input: blob})
        rows = []
        for level, stride in enumerate(self._STRIDES):
            scores = outputs[level].reshape(-1)
            reach = outputs[level + len(self._STRIDES)].reshape(-1, 4) * stride
            chosen = np.flatnonzero(scores >= self.least)
            cell = chosen // self._ANCHORS
            centre = np.stack([cell % (width // stride), cell // (width // stride)], 1) * stride
            boxes = np.concatenate([centre - reach[chosen, :2], centre + reach[chosen, 2:]], 1) / factor
            rows.append(np.concatenate([boxes, scores[chosen, None]], 1))
        found = np.concatenate(rows).astype(np.float64)
        return found[(found[:, 2] > found[:, 0] + 2) & (found[:, 3] > found[:, 1] + 2)]


# ---- BlazeFace


class BlazeLook:
    """MediaPipe's full-range BlazeFace on overlapping tiles, and on the same of the mirrored picture.

    What one of these views alone shows counts for less: faces are seen in several, patterns in one.

    Raises:
        EngineUnavailable: its net is not here; the message has the command.
    """

    family = "blazeface"
    least, sure = 0.35, 0.7
    _ALONE = 0.75  # of its score

    def __init__(self, threads: int | None = None):
        self._net = AnchorDetector("face_full_range", (4,), 1, 6, threads or thread_count())
        self.id = f"blazeface full range {hashlib.sha256(self._net.net.path.read_bytes()).hexdigest()[:12]}"

    def heads(self, image_bgr: np.ndarray) -> list[SeenHead]:
        """See `Look.heads`."""
        image_bgr = as_image(image_bgr)
        height, width = image_bgr.shape[:2]
        mirrored = np.ascontiguousarray(image_bgr[:, ::-1])
        rows = []
        for x0, y0, x1, y1 in [(0, 0, width, height), *two_tiles(height, width), *_quarters(height, width)]:
            boxes, _, scores = self._net(image_bgr[y0:y1, x0:x1], self.least)
            rows.append(np.concatenate([boxes + (x0, y0, x0, y0), scores[:, None]], 1))
            boxes, _, scores = self._net(mirrored[y0:y1, x0:x1], self.least)
            boxes = boxes + (x0, y0, x0, y0)
            boxes[:, [0, 2]] = width - boxes[:, [2, 0]]
            rows.append(np.concatenate([boxes, scores[:, None]], 1))
        found = np.concatenate(rows)
        views = np.repeat(np.arange(len(rows)), [len(row) for row in rows])
        overlaps = box_iou(found[:, :4], found[:, :4]) > _SAME if len(found) else np.zeros((0, 0), bool)
        alone = np.array([len(set(views[near])) == 1 for near in overlaps], bool)
        found[alone, 4] *= self._ALONE
        solid = (found[:, 2:4] > found[:, :2] + 2).all(1)
        return _merged(found[solid & (found[:, 4] >= self.least)], "face")


def _quarters(height: int, width: int) -> list[tuple[int, int, int, int]]:
    """A grid of overlapping squares, in whose pixels small faces are large enough for the net."""
    side = min(max(height, width) * 2 // 5, 480)
    if side < 96 or side >= min(height, width):
        return []
    return [(x, y, x + side, y + side) for y in _starts(height, side) for x in _starts(width, side)]


def _starts(length: int, side: int) -> list[int]:
    count = int(np.ceil((length - side) / (0.75 * side))) + 1
    return [round(i * (length - side) / max(1, count - 1)) for i in range(count)]


# ---- bodies


class BodyLook:
    """Heads at the tops of bodies: EfficientDet-Lite0's people at low scores, and where the pose net sees their heads.

    It sees people from behind and in profile, whom no face detector sees.

    Raises:
        EngineUnavailable: a net is not here; the message has the command.
    """

    family = "bodies"
    least, sure = 0.3, 0.5

    def __init__(self, threads: int | None = None):
        from .embedded_heads import BodyHeads
        from .embedded_objects import EmbeddedObjects

        self._objects, self._pose = EmbeddedObjects(threads), BodyHeads(threads)
        self.id = f"{self._objects.describe()}, {self._pose.describe()}".replace(" on the CPU", "")

    def heads(self, image_bgr: np.ndarray) -> list[SeenHead]:
        """See `Look.heads`."""
        found = []
        for body in self._objects.detect(image_bgr, ("person",), least=self.least):
            head = self._pose.head(image_bgr, body.box)
            if head is not None:
                found.append((*head_around(head), body.score))
        if not found:
            return []
        rows = np.array(found, np.float64)
        return [
            SeenHead(rows[i, :4].astype(np.float32), float(rows[i, 4]), "body")
            for i in suppress_duplicates(rows[:, :4].astype(np.float32), rows[:, 4], _SAME)
        ]


def _merged(rows: np.ndarray, by: str) -> list[SeenHead]:
    if not len(rows):
        return []
    boxes, scores = rows[:, :4].astype(np.float32), rows[:, 4]
    return [SeenHead(head_around(boxes[i]), float(scores[i]), by) for i in suppress_duplicates(boxes, scores, _SAME)]


# ---- which


def looks_for(finder: str, settings: Settings) -> tuple[list[Look], list[str]]:
    """The looks that check what `finder` found, and what is to be said of the choice.

    A face detector of another family than the finder's comes first. Where there is none, the finder's own family looks
    again at other scales and mirrored, and that is said.

    Args:
        finder: id of what found the heads, as the record has it; "" = not known.
        settings: says where InsightFace packs are.

    Raises:
        EngineUnavailable: no detector can run here; the message has the command.
    """
    faces: list[Look] = []
    remarks, why = [], []
    own = {"scrfd"} if "insightface" in finder or "scrfd" in finder else {"blazeface"} if finder else set()
    try:
        faces.append(ScrfdLook(scrfd_file(settings)))
    except EngineUnavailable as error:
        why.append(str(error))
    try:
        faces.append(BlazeLook())
    except EngineUnavailable as error:
        why.append(str(error))
    if not faces:
        raise EngineUnavailable("no second detector can look here.\n  " + "\n  ".join(why))
    others = [look for look in faces if look.family not in own]
    if own and not others:
        remarks.append(
            "no face detector of another family than the finder's is installed: the same one looked again, at other "
            "scales and mirrored (an InsightFace pack would be another: --insightface-models)"
        )
    chosen = others or faces
    try:
        chosen = [*chosen, BodyLook()]
    except EngineUnavailable as error:
        remarks.append(f"people who turn their faces away were not looked for ({error})")
    return chosen, remarks


def scrfd_file(settings: Settings) -> Path:
    """The detector's file of the InsightFace pack that the settings name, or of any pack beside it.

    Args:
        settings: `insightface_pack` and `insightface_models`.

    Raises:
        EngineUnavailable: there is none.
    """
    from .insightface_faces import find_pack

    folder = find_pack(settings.insightface_pack, settings.insightface_models)
    files = sorted([*folder.glob("det_*.onnx"), *folder.glob("scrfd_*.onnx")])
    if not files:
        raise EngineUnavailable(f"{folder} has no detector; expected det_*.onnx or scrfd_*.onnx. See: {FETCH_COMMAND}")
    return files[0]


def described(looks: Sequence[Look]) -> list[dict[str, object]]:
    """What a report says of the looks: id and thresholds.

    Args:
        looks: that looked.
    """
    return [{"detector": look.id, "family": look.family, "least": look.least, "sure": look.sure} for look in looks]

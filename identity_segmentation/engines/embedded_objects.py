"""Object detector "embedded": boxes of people and of 79 other kinds of things; no GPU, no hub.

EfficientDet-Lite0 (Tan et al., "EfficientDet: Scalable and Efficient Object Detection", CVPR 2020; trained on COCO by
Google for TensorFlow Lite, Apache-2.0) sees 320 x 320 pixels: small things are looked for again in two overlapping
tiles. Figures: docs/figures.md, printed by benchmarks/masks.py and benchmarks/things.py.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..errors import EngineUnavailable
from ..geometry import suppress_duplicates
from ..images import scale_to
from ..settings import Settings
from ..types import Detection, as_image
from .nets import Net, by_size, cut_by_tile, thread_count, two_tiles

# The columns of the net's scores, in order; COCO's ids less one, with the ids that COCO never used.
_COLUMNS = (
    "person", "bicycle", "car", "motorcycle", "airplane", "bus", "train", "truck", "boat", "traffic light",
    "fire hydrant", "", "stop sign", "parking meter", "bench", "bird", "cat", "dog", "horse", "sheep", "cow",
    "elephant", "bear", "zebra", "giraffe", "", "backpack", "umbrella", "", "", "handbag", "tie", "suitcase", "frisbee",
    "skis", "snowboard", "sports ball", "kite", "baseball bat", "baseball glove", "skateboard", "surfboard",
    "tennis racket", "bottle", "", "wine glass", "cup", "fork", "knife", "spoon", "bowl", "banana", "apple", "sandwich",
    "orange", "broccoli", "carrot", "hot dog", "pizza", "donut", "cake", "chair", "couch", "potted plant", "bed", "",
    "dining table", "", "", "toilet", "", "tv", "laptop", "mouse", "remote", "keyboard", "cell phone", "microwave",
    "oven", "toaster", "sink", "refrigerator", "", "book", "clock", "vase", "scissors", "teddy bear", "hair drier",
    "toothbrush",
)  # fmt: skip
NOUNS = tuple(noun for noun in _COLUMNS if noun)

# What people say -> what the detector calls it, where both mean the same to the eye.
_CALLED = {"phone": "cell phone", "bag": "handbag", "table": "dining table", "screen": "tv", "ball": "sports ball"}

_STRIDES, _SCALES, _RATIOS = (8, 16, 32, 64, 128), 3, (1.0, 2.0, 0.5)  # as the net was trained
_ANCHOR = 3.0  # side of an anchor, in strides
_LEAST = 0.35  # score from which something is there
_SAME = 0.55  # IoU from which two boxes are one thing's
_LARGE = 0.25  # of the picture's long side: larger things need no tiles,
_PART = 0.75  # ... so a tile's box with this share of it in a box of the whole picture is none
_EDGE = 0.04  # share of a tile's side within which a box touches its edge: the net's boxes are that loose
_WIDE = 1.9  # long side over short side from which two tiles are too coarse
_TOO_THIN, _MOST_TILES = 64, 16
_TILED = 480  # long side in pixels from which tiles show more than the whole picture does


def noun_named(thing: str) -> str | None:
    """The noun that a word means, or None if it is none that the detector knows."""
    word = _CALLED.get(thing.casefold(), thing.casefold())
    return word if word in NOUNS else None


def create(settings: Settings) -> EmbeddedObjects:
    return EmbeddedObjects()


def ready(settings: Settings) -> str:
    """It runs on any machine: nothing speaks against it before it is made; see `EngineModule`."""
    return ""


class EmbeddedObjects:
    """See the module; the protocol is `ObjectDetector`."""

    id = "embedded"
    nouns = NOUNS

    def __init__(self, threads: int | None = None):
        self._net = Net("objects", threads or thread_count())
        self._anchors = _anchors(self._net.size)

    def describe(self) -> str:
        return "embedded objects (EfficientDet-Lite0) on the CPU"

    def detect(
        self, image_bgr: np.ndarray, nouns: Sequence[str] = ("person",), tiles: bool = True, least: float = _LEAST
    ) -> list[Detection]:
        """Things in a picture; see `ObjectDetector.detect`."""
        image_bgr = as_image(image_bgr)
        unknown = [noun for noun in nouns if noun not in NOUNS]
        if unknown:
            raise EngineUnavailable(f"the embedded detector does not know {unknown[0]!r}. It knows: {', '.join(NOUNS)}")
        height, width = image_bgr.shape[:2]
        found = self._look(image_bgr, nouns, least)
        whole = len(found)
        for x0, y0, x1, y1 in _tiles(height, width) if tiles else ():
            for box, score, noun in self._look(image_bgr[y0:y1, x0:x1], nouns, least):
                moved = box + np.array([x0, y0, x0, y0], np.float32)
                if not cut_by_tile(moved, (x0, y0, x1, y1), image_bgr.shape, _EDGE * max(y1 - y0, x1 - x0)):
                    found.append((moved, score, noun))
        detections: list[Detection] = []
        for noun in dict.fromkeys(nouns):
            mine = [i for i, row in enumerate(found) if row[2] == noun]
            detections += _merged([found[i] for i in mine], [i < whole for i in mine], max(height, width))
        return sorted(detections, key=lambda d: -d.score)

    def _look(self, image_bgr: np.ndarray, nouns: Sequence[str], least: float) -> list[tuple[np.ndarray, float, str]]:
        """(box, score, noun) of one look at a picture or a tile, with duplicates."""
        size = self._net.size
        small, factor = scale_to(image_bgr, size)
        canvas = np.zeros((size, size, 3), np.uint8)
        canvas[: small.shape[0], : small.shape[1]] = small[:, :, ::-1]
        outputs = self._net(canvas)
        count = len(self._anchors)
        scores = by_size(outputs, count * len(_COLUMNS)).reshape(count, -1)
        shifts = by_size(outputs, count * 4).reshape(count, 4)
        rows = []
        for noun in nouns:
            column = scores[:, _COLUMNS.index(noun)]
            chosen = np.flatnonzero(column >= least)
            anchors, shift = self._anchors[chosen], shifts[chosen]
            centre = shift[:, :2] * anchors[:, 2:] + anchors[:, :2]
            half = np.exp(np.clip(shift[:, 2:], -10, 10)) * anchors[:, 2:] / 2
            # (y, x) as the net counts -> xyxy in pixels of the picture, not beyond its borders.
            boxes = np.concatenate([centre - half, centre + half], 1)[:, [1, 0, 3, 2]] / factor
            boxes = boxes.clip(0, np.tile(image_bgr.shape[1::-1], 2)).astype(np.float32)
            solid = (boxes[:, 2:] - boxes[:, :2]).min(1, initial=np.inf) > 1 if len(boxes) else np.zeros(0, bool)
            for box, score in zip(boxes[solid], column[chosen][solid], strict=True):
                rows.append((box, float(score), noun))
        return rows


def _anchors(size: int) -> np.ndarray:
    """float64 (N, 4): centre (y, x) and size (h, w) of every anchor, in pixels of the net's picture."""
    levels = []
    for stride in _STRIDES:
        centres = np.arange(stride / 2, stride * -(-size // stride), stride)
        y, x = (v.ravel() for v in np.meshgrid(centres, centres, indexing="ij"))
        shapes = []
        for octave in range(_SCALES):
            for ratio in _RATIOS:
                base = _ANCHOR * stride * 2 ** (octave / _SCALES)
                tall, wide = base / np.sqrt(ratio), base * np.sqrt(ratio)
                shapes.append(np.stack([y, x, np.full(len(y), tall), np.full(len(y), wide)], 1))
        levels.append(np.stack(shapes, 1).reshape(-1, 4))
    return np.concatenate(levels)


def _tiles(height: int, width: int) -> list[tuple[int, int, int, int]]:
    """Parts of a picture to look at again: two; squares along one that is wider than a screen; none in a small one."""
    short, long = sorted((height, width))
    if long < _TILED or short < _TOO_THIN:
        return []
    if long <= _WIDE * short:
        return two_tiles(height, width)
    count = min(_MOST_TILES, int(np.ceil((long - short) / (0.8 * short))) + 1)
    starts = [round(n * (long - short) / (count - 1)) for n in range(count)]
    return [(s, 0, s + short, height) if width > height else (0, s, width, s + short) for s in starts]


def _merged(rows: list[tuple[np.ndarray, float, str]], whole: list[bool], longest: int) -> list[Detection]:
    """One box a thing: the best of those that overlap, less what tiles show in pieces and the whole picture has."""
    if not rows:
        return []
    boxes, scores = np.stack([row[0] for row in rows]), np.array([row[1] for row in rows])
    kept = suppress_duplicates(boxes, scores, _SAME, contained=False)
    first = [boxes[k] for k in kept if whole[k]]
    return [
        Detection(boxes[i], float(scores[i]), rows[i][2])
        for i in kept
        if whole[i] or not any(_is_piece(boxes[i], box, longest) for box in first)
    ]


def _is_piece(box: np.ndarray, of: np.ndarray, longest: int) -> bool:
    """Is a tile's box a part of a thing that the whole picture shows? Anything else so large it would show."""
    size = box[2:] - box[:2]
    low, high = np.maximum(box[:2], of[:2]), np.minimum(box[2:], of[2:])
    shared = float(np.clip(high - low, 0, None).prod())
    return bool(size.max() > _LARGE * longest and shared > _PART * size.prod())

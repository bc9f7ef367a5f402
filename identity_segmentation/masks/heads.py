"""A picture -> every head in it: faces that no detector is sure of, profiles, backs; recall comes before precision.

Who hides people asks another question than who names them: a head that is missed is worse than a cover on nothing. So
faces are heard at low scores, in the whole picture, in its mirror image and in overlapping tiles. Bodies at low scores
say where a head must be that shows no face, and the pose net where on the body it is. What only one look saw, and
faintly, is believed where a body agrees. No face is described here.

Figures: docs/figures.md, printed by benchmarks/privacy.py.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from ..engines.nets import cut_by_tile, two_tiles
from ..engines.protocols import FaceEngine, FaceScout, HeadFinder, ObjectDetector
from ..geometry import box_iou, suppress_duplicates
from ..types import Detection, Face, as_box, as_image

_VERSION = 1  # of the rules below, for cache keys

# A head by its landmarks, in distances from the eyes' middle to the mouth's: medians of 543 and 174 faces that two
# detectors found on hand-labelled heads (benchmarks/labels/friends_heads.json), with a twentieth of the head to spare.
_ABOVE_EYES, _BELOW_MOUTH, _HALF = 2.2, 0.9, 1.55
_TURN, _TURNED_WIDER, _MOST_TURN = 2.8, 0.7, 0.45  # how far the back of a head comes into view, by the nose's distance
_UNIT = (0.42, 0.55)  # that distance in sides of the face's box: beyond, the landmarks are wrong
# A head by the face's box alone, in its sides from its middle.
_PLAIN = (-0.8, -1.15, 0.8, 0.68)
# A head around the face's box that a pose net gives, and on a body of which no more is known: in widths and heights.
_ON_POSE = (-0.95, -1.05, 0.95, 0.85)
_OF_WIDTH, _OF_HEIGHT = 1.6, 4.5
_CUT = 0.01  # share of the picture within which a body's box touches a border

_BODY_LEAST = 0.2  # score of a body from which the pose net is asked where its head is
_BODY_SURE = 0.4  # ... and from which its head is reckoned where the pose net sees nobody
_CLEAR_FACE = 0.6  # score of a face from which its body need not be asked for another
_SAME = 0.35  # IoU from which two boxes are one head's
_GIANT = 2.5  # sides of a small face from which one around it is none,
_SMALL_SURE, _LARGE_SURE = 0.5, 0.8  # ... unless the small one is not sure, or the large one is
_TILED = 600  # longer side in pixels from which tiles show more than the whole picture does
_TILE, _STEP = 0.5, 0.8  # side of a tile in shorter sides of the picture; distance from the next, in its own sides
_SMALLEST = 16  # pixels across a face that the finest tiles are for
_USUAL_SMALLEST = 0.02  # of an engine that does not say: those look at tiles themselves
_BEYOND = (0.66, 0.33)  # sides of the squares that are looked at across the left and right border, in heights
_AT_BORDER = 0.6  # distance of a face's middle from that border, in sides of the face: others are seen whole
_BODY_TILE = 640  # side in pixels of the tiles in which bodies are looked for
_LOOSE = 0.04  # share of such a tile's side within which a body touches its edge: it goes on beyond
_PIECE = 0.6  # share of a box in a body that is known from which it is a piece of that
_ONE_BODY = 0.55  # IoU from which two bodies are one
_LEAST_LOOK = 8  # pixels across a part of the picture that is worth a look
_ROOM = 3.0  # side of the square around an expected head, in sides of the head


@dataclass(frozen=True, eq=False)
class FoundHead:
    """One head in one picture.

    Attributes:
        box: float32 (4,), xyxy in pixels: the whole head, with hair, chin and ears; may reach over the border.
        score: of the detector that found it, 0..1.
        by: "face" (its face was seen), "pose" (the pose net found it on a body), or "body" (reckoned from a body).
        face_side: mean of the width and height of the face's box, in pixels; None where no face was seen.
        face: the face, not described; None where none was seen.
        body: float32 (4,), xyxy box of the body that it is on, where one was seen.
    """

    box: np.ndarray
    score: float
    by: str
    face_side: float | None = None
    face: Face | None = None
    body: np.ndarray | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "box", as_box(self.box))
        object.__setattr__(self, "score", float(self.score))
        if self.body is not None:
            object.__setattr__(self, "body", as_box(self.body))


@dataclass(frozen=True, eq=False)
class _Look:
    """A part of the picture to look at.

    Attributes:
        tile: xyxy in pixels.
        mirrored: is its mirror image looked at.
        beyond: "left" or "right": its mirror image is set beyond that border, so that half a face becomes one.
        large: may a face fill it.
    """

    tile: tuple[int, int, int, int]
    mirrored: bool = False
    beyond: str = ""
    large: bool = False

    def part(self, image_bgr: np.ndarray) -> np.ndarray:
        """What is looked at, uint8 (h, w, 3)."""
        x0, y0, x1, y1 = self.tile
        part = image_bgr[y0:y1, x0:x1]
        if self.beyond:
            both = (part[:, ::-1], part) if self.beyond == "left" else (part, part[:, ::-1])
            return np.concatenate(both, axis=1)
        return np.ascontiguousarray(part[:, ::-1]) if self.mirrored else part

    def face(self, face: Face) -> Face:
        """A face of what is looked at, in the picture."""
        x0, y0, x1, _ = self.tile
        if self.mirrored:
            face = _mirrored(face, x1 - x0)
        return _moved(face, x0 - (x1 - x0 if self.beyond == "left" else 0), y0)

    def counts(self, box: np.ndarray, shape: Sequence[int]) -> bool:
        """Is a face no piece of one that another look has whole?"""
        if not self.beyond:
            return not cut_by_tile(box, self.tile, shape, 1.0)
        border, side = (0 if self.beyond == "left" else shape[1]), float(box[2] - box[0])
        return abs(float(box[0] + box[2]) / 2 - border) < _AT_BORDER * side


class HeadSearch:
    """Finds every head that can be found; see the module.

    Args:
        face_engine: finds faces; one that can (`FaceScout`) is asked for those that it is not sure of too.
        detector: finds bodies; None = there are only faces.
        heads: finds heads on bodies; None = they are reckoned from the bodies' boxes.
        thorough: look at the finest tiles of large pictures too, for crowds.
    """

    def __init__(
        self,
        face_engine: FaceEngine,
        detector: ObjectDetector | None = None,
        heads: HeadFinder | None = None,
        thorough: bool = True,
    ):
        self._engine, self._detector, self._heads, self._thorough = face_engine, detector, heads, thorough

    @property
    def _smallest(self) -> float:
        return self._engine.smallest if isinstance(self._engine, FaceScout) else _USUAL_SMALLEST

    @property
    def id(self) -> str:
        """What finds, for cache keys: engines and the version of the rules."""
        parts = [self._engine.id, *(part.id for part in (self._detector, self._heads) if part is not None)]
        return f"heads{_VERSION}{'+' if self._thorough else ''}({', '.join(parts)})"

    def find(self, image_bgr: np.ndarray, expected: Sequence[np.ndarray] = ()) -> list[FoundHead]:
        """Every head, most certain first.

        Args:
            image_bgr: uint8 (H, W, 3).
            expected: xyxy boxes of heads, in pixels, that are likely there: their surroundings are looked at closely.
        """
        image_bgr = as_image(image_bgr)
        shape = image_bgr.shape[:2]
        whole = (0, 0, shape[1], shape[0])
        looks = [_Look(whole, large=True), _Look(whole, mirrored=True, large=True)]
        looks += [_Look(tile) for tile in _tiles(shape, self._smallest, self._thorough)]
        looks += _beyond(shape, _BEYOND if self._smallest * max(shape) > _SMALLEST else _BEYOND[:1])
        bodies = self._bodies(image_bgr, closely=True)
        return self._joined(image_bgr, looks, bodies, expected)

    def quick(self, image_bgr: np.ndarray, expected: Sequence[np.ndarray] = ()) -> list[FoundHead]:
        """As `find` for less: closely only around expected heads; small heads elsewhere may be missed.

        Args:
            image_bgr: uint8 (H, W, 3).
            expected: xyxy boxes of heads, in pixels.
        """
        image_bgr = as_image(image_bgr)
        shape = image_bgr.shape[:2]
        looks = [_Look((0, 0, shape[1], shape[0]), large=True)]
        if max(shape) >= _TILED and self._smallest * max(shape) > _SMALLEST:
            looks += [_Look(tile) for tile in two_tiles(*shape)]
        looks += _beyond(shape, _BEYOND[:1])
        bodies = self._bodies(image_bgr, closely=False)
        return self._joined(image_bgr, looks, bodies, expected)

    def _joined(
        self,
        image_bgr: np.ndarray,
        looks: Iterable[_Look],
        bodies: Sequence[tuple[np.ndarray, float]],
        expected: Sequence[np.ndarray],
    ) -> list[FoundHead]:
        faces = self._faces(image_bgr, looks)
        found = [_by_face(face) for face, votes in _without_giants(faces) if self._believed(face, votes, bodies)]
        missing = [box for box in expected if not _taken(box, found)]
        squares = [_around(box, image_bgr.shape) for box in missing]
        close = self._faces(image_bgr, [_Look(tile, large=True) for tile in squares if _is_solid(tile)])
        found += [_by_face(face) for face, _ in close if _taken(head_of_face(face), missing, 0.15)]
        found = _merged(found)
        return _merged(found + list(self._on_bodies(image_bgr, bodies, found)))

    def _faces(self, image_bgr: np.ndarray, looks: Iterable[_Look]) -> list[tuple[Face, int]]:
        """(face, number of looks that saw it) of everything that may be a face, best first."""
        seen: list[tuple[Face, int]] = []
        for number, look in enumerate(looks):
            for face in map(look.face, self._candidates(look.part(image_bgr), look.large)):
                if look.counts(face.box, image_bgr.shape):
                    seen.append((face, number))
        return _voted(seen)

    def _candidates(self, part: np.ndarray, large: bool) -> list[Face]:
        engine = self._engine
        if isinstance(engine, FaceScout):
            return engine.candidates(part, engine.faint, large)
        return engine.faces(part, embed=False)

    def _believed(self, face: Face, votes: int, bodies: Sequence[tuple[np.ndarray, float]]) -> bool:
        """Is a face sure, or seen twice, or where a body has its head?"""
        engine = self._engine
        if not isinstance(engine, FaceScout) or face.score >= engine.sure or votes > 1:
            return True
        return any(_fits(face, body) for body, _ in bodies)

    def _bodies(self, image_bgr: np.ndarray, closely: bool) -> list[tuple[np.ndarray, float]]:
        """(box, score) of every body, best first; closely = in parts of the picture too."""
        if self._detector is None:
            return []
        found = list(self._detector.detect(image_bgr, tiles=closely, least=_BODY_LEAST))
        known = [body.box for body in found]
        for x0, y0, x1, y1 in _body_tiles(image_bgr.shape) if closely and self._thorough else ():
            for body in self._detector.detect(image_bgr[y0:y1, x0:x1], tiles=False, least=_BODY_LEAST):
                box = body.box + np.array([x0, y0, x0, y0], np.float32)
                cut = cut_by_tile(box, (x0, y0, x1, y1), image_bgr.shape, _LOOSE * (x1 - x0))
                if not cut and not any(_share(box, other) > _PIECE for other in known):
                    found.append(Detection(box, body.score, body.noun))
        boxes = np.array([body.box for body in found], np.float32).reshape(-1, 4)
        kept = suppress_duplicates(boxes, np.array([body.score for body in found]), _ONE_BODY, contained=False)
        return [(found[k].box, found[k].score) for k in kept]

    def _on_bodies(
        self, image_bgr: np.ndarray, bodies: Sequence[tuple[np.ndarray, float]], found: Sequence[FoundHead]
    ) -> Iterator[FoundHead]:
        """The heads of bodies on which no face was seen; a face belongs to one body."""
        free = list(range(len(found)))
        for body, score in bodies:
            expected = reckoned(body, image_bgr.shape)
            fitting = [i for i, head in enumerate(found) if head.face is not None and _fits(head.face, body)]
            mine = [i for i in fitting if i in free]
            if mine:
                nearest = min(mine, key=lambda i: _apart(found[i].box, expected))
                free.remove(nearest)
                if found[nearest].score >= _CLEAR_FACE:
                    continue
            head = None if self._heads is None else self._heads.head(image_bgr, body)
            if head is not None:
                yield FoundHead(_head_on_pose(head), score, "pose", body=body)
            elif score >= _BODY_SURE and (mine or not fitting):
                yield FoundHead(expected, score, "body", body=body)


def head_of_face(face: Face) -> np.ndarray:
    """The box of the whole head that a face is on: float32 (4,), xyxy in pixels.

    Args:
        face: with landmarks, its turn and tilt count; without, a head around its box.
    """
    middle = np.array(face.centre)
    if face.landmarks is None:
        return (np.tile(middle, 2) + np.array(_PLAIN) * face.side).astype(np.float32)
    points = face.landmarks.astype(np.float64)
    eyes, nose, mouth = points[:2].mean(axis=0), points[2], points[3:].mean(axis=0)
    down = mouth - eyes
    length = float(np.hypot(*down))
    if length < 1e-6:
        return head_of_face(Face(face.box, face.score))
    down = down / length
    across = np.array([down[1], -down[0]])  # to the viewer's right on an upright face
    unit = min(max(length, _UNIT[0] * face.side), _UNIT[1] * face.side)
    turn = float(np.clip((nose - eyes) @ across / unit, -_MOST_TURN, _MOST_TURN))
    half = np.array([_HALF + _TURNED_WIDER * abs(turn), (_ABOVE_EYES + _BELOW_MOUTH + 1) / 2]) * unit
    centre = eyes - _TURN * turn * unit * across + ((1 + _BELOW_MOUTH - _ABOVE_EYES) / 2) * unit * down
    # The upright box of the ellipse that leans as the face does.
    reach = np.hypot(half[0] * across, half[1] * down)
    return np.concatenate([centre - reach, centre + reach]).astype(np.float32)


def reckoned(body: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    """The box of the head on a body of which no more is known: at the top, in the middle; float32 (4,).

    A body that the picture cuts may have its middle anywhere from there to the border.

    Args:
        body: (4,), xyxy in pixels.
        shape: (H, W) or (H, W, 3) of the picture.
    """
    x0, y0, x1, y1 = (float(v) for v in body)
    left, right = x0 < _CUT * shape[1], x1 > (1 - _CUT) * shape[1]
    narrow = (left or right) and x1 - x0 < (y1 - y0) / 2
    side = (y1 - y0) / 3.5 if narrow else min((x1 - x0) / _OF_WIDTH, (y1 - y0) / _OF_HEIGHT * 1.3)
    low = high = (x0 + x1) / 2
    if narrow:
        low, high = (min(low, x0 + side / 4) if left else low), (max(high, x1 - side / 4) if right else high)
    return np.array([low - side / 2, y0 - 0.05 * side, high + side / 2, y0 + 1.15 * side], np.float32)


def _by_face(face: Face) -> FoundHead:
    return FoundHead(head_of_face(face), face.score, "face", face.side, face)


def _head_on_pose(box: np.ndarray) -> np.ndarray:
    side = float(box[2] - box[0])
    return (np.tile((box[:2] + box[2:]) / 2, 2) + np.array(_ON_POSE) * side).astype(np.float32)


def _tiles(shape: Sequence[int], smallest: float, thorough: bool) -> list[tuple[int, int, int, int]]:
    """Parts of a picture to look at again, xyxy.

    A detector that sees only large faces in a picture gets two parts, a grid, and in large pictures a finer one. One
    that sees small faces too gets the one grid that shows it the smallest.
    """
    height, width = shape[:2]
    fine = int(_SMALLEST / smallest)
    if max(height, width) < _TILED or 1.2 * fine >= max(height, width):
        return []
    coarse = max(fine, int(_TILE * min(height, width)))
    few = fine > _TILED
    tiles = [] if few else two_tiles(height, width)
    sizes = [fine] if few else [coarse]
    if thorough and not few and coarse > 1.4 * fine:
        sizes.append(fine)
    for size in sizes:
        xs, ys = (_starts(side, size, int(size * _STEP)) for side in (width, height))
        tiles += [(x, y, min(width, x + size), min(height, y + size)) for y in ys for x in xs]
    return tiles


def _body_tiles(shape: Sequence[int]) -> list[tuple[int, int, int, int]]:
    """Further parts of a large picture to look for bodies in, xyxy."""
    height, width = shape[:2]
    size = _BODY_TILE
    if max(height, width) < 4 * size:
        return []
    xs, ys = (_starts(side, size, int(0.7 * size)) for side in (width, height))
    return [(x, y, min(width, x + size), min(height, y + size)) for y in ys for x in xs]


def _beyond(shape: Sequence[int], shares: Sequence[float]) -> list[_Look]:
    """Looks across the left and right border."""
    height, width = shape[:2]
    looks = []
    for share in shares:
        size = max(16, int(share * height))
        half = min(size // 2, width)
        for y in _starts(height, size, size // 2):
            looks.append(_Look((0, y, half, min(height, y + size)), beyond="left"))
            looks.append(_Look((width - half, y, width, min(height, y + size)), beyond="right"))
    return looks


def _starts(side: int, size: int, step: int) -> list[int]:
    """Where tiles of a size begin along a side, the last at its end."""
    return sorted({*range(0, max(1, side - size), step), max(0, side - size)})


def _around(box: np.ndarray, shape: Sequence[int]) -> tuple[int, int, int, int]:
    """The square around an expected head, within the picture."""
    middle, half = (box[:2] + box[2:]) / 2, _ROOM / 2 * float(max(box[2:] - box[:2]))
    low, high = np.floor(middle - half), np.ceil(middle + half)
    x0, x1 = (int(v) for v in np.clip((low[0], high[0]), 0, shape[1]))
    y0, y1 = (int(v) for v in np.clip((low[1], high[1]), 0, shape[0]))
    return x0, y0, x1, y1


def _is_solid(tile: Sequence[int]) -> bool:
    """Has a part enough pixels to be looked at?"""
    return min(tile[2] - tile[0], tile[3] - tile[1]) >= _LEAST_LOOK


def _moved(face: Face, x: float, y: float) -> Face:
    points = None if face.landmarks is None else face.landmarks + (x, y)
    return Face(face.box + np.array([x, y, x, y], np.float32), face.score, None, points)


def _mirrored(face: Face, width: int) -> Face:
    """A face of a mirror image, in the picture itself."""
    x0, y0, x1, y1 = face.box
    points = face.landmarks
    if points is not None:
        points = points[[1, 0, 2, 4, 3]] * (-1, 1) + (width, 0)
    return Face(np.array([width - x1, y0, width - x0, y1]), face.score, None, points)


def _voted(seen: Sequence[tuple[Face, int]]) -> list[tuple[Face, int]]:
    """(face, number of looks) of (face, look): boxes of one face are one, the best of them."""
    order = sorted(range(len(seen)), key=lambda i: -seen[i][0].score)
    boxes = np.array([seen[i][0].box for i in order], np.float32).reshape(-1, 4)
    overlap = box_iou(boxes, boxes)
    left = np.ones(len(order), bool)
    faces = []
    for i in range(len(order)):
        if left[i]:
            same = left & (overlap[i] > _SAME)
            left &= ~same
            faces.append((seen[order[i]][0], len({seen[order[k]][1] for k in np.flatnonzero(same)})))
    return faces


def _without_giants(faces: Sequence[tuple[Face, int]]) -> list[tuple[Face, int]]:
    """The same faces, less large ones that are not sure and hold a small one that is: whole people look like a face."""

    def holds(face: Face, other: Face) -> bool:
        x, y = other.centre
        inside = face.box[0] < x < face.box[2] and face.box[1] < y < face.box[3]
        return bool(inside and other.score > _SMALL_SURE and _GIANT * other.side < face.side)

    return [
        (face, votes)
        for face, votes in faces
        if face.score > _LARGE_SURE or not any(holds(face, other) for other, _ in faces)
    ]


def _merged(found: Sequence[FoundHead]) -> list[FoundHead]:
    """One of every head: faces before the rest, then the best. Two faces behind each other stay two."""
    kept: list[FoundHead] = []
    for head in sorted(found, key=lambda head: (head.face is None, -head.score)):
        same = next((i for i, other in enumerate(kept) if _is_same(head, other)), None)
        if same is None:
            kept.append(head)
        elif head.by == "body" and kept[same].face is not None and kept[same].score < _CLEAR_FACE:
            # A cheek is seen of a head that is turned away: its middle is where the body's is.
            low, high = np.minimum(head.box[:2], kept[same].box[:2]), np.maximum(head.box[2:], kept[same].box[2:])
            kept[same] = replace(kept[same], box=np.concatenate([low, high]), body=head.body)
    return kept


def _is_same(head: FoundHead, other: FoundHead) -> bool:
    """Is a head one that is known already? Where no face says how large it is, a middle in the other's box will do."""
    if float(box_iou(head.box, other.box)[0, 0]) > _SAME:
        return True
    if head.face is not None:
        return False
    return _apart(head.box, other.box) < 0.35 or (head.by == "body" and _share(other.box, head.box) > 0.4)


def _apart(box: np.ndarray, other: np.ndarray) -> float:
    """Distance of two middles, in the mean of the other's sides."""
    return float(np.hypot(*(box[:2] + box[2:] - other[:2] - other[2:]))) / float(np.sum(other[2:] - other[:2]))


def _share(box: np.ndarray, other: np.ndarray) -> float:
    """How much of a box another one covers, 0..1."""
    size = np.minimum(box[2:], other[2:]) - np.maximum(box[:2], other[:2])
    return float(np.prod(np.clip(size, 0, None)) / np.prod(box[2:] - box[:2]))


def _taken(box: np.ndarray, heads: Sequence[FoundHead] | Sequence[np.ndarray], least: float = 0.3) -> bool:
    """Is there a head at a place already?"""
    boxes = [head.box if isinstance(head, FoundHead) else head for head in heads]
    return bool(boxes) and float(box_iou(np.asarray(box), np.stack(boxes)).max()) > least


def _fits(face: Face, body: np.ndarray) -> bool:
    """Is a face at the top of a body, and of its size?"""
    x0, y0, x1, y1 = (float(v) for v in body)
    x, y = face.centre
    side = face.side
    return bool(
        x0 - 0.2 * side <= x <= x1 + 0.2 * side
        and y0 - 0.7 * side <= y <= y0 + max(1.5 * side, 0.25 * (y1 - y0))
        and 0.6 * side <= x1 - x0 <= 7.0 * side
    )

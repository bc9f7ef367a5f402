"""Segmenter "embedded": a person's pixels from their face or their box; no GPU, no hub.

Two small nets look at the person: MediaPipe's pose net draws one body (whose nose must be at the face that was asked
for), and its selfie net draws everybody. Their log-odds are mixed; every neighbour with a face of their own gets the
same treatment, and what both claim is settled (`_rivals`). Where no pose is found, the measured silhouette of people
around a face stands in, and where both nets see nobody, GrabCut. Figures: docs/figures.md, printed by
benchmarks/masks.py and benchmarks/overlaps.py.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import cv2
import numpy as np

from ..geometry import (
    box_iou,
    box_mask,
    clip_box,
    component_with,
    drop_specks,
    fill_holes,
    follow_edges,
    grown_box,
    mask_box,
    mask_iou,
    soft_at_edge,
    touching,
    whole_box,
)
from ..images import shrink_to
from ..settings import Settings
from ..types import BoxLike, Exemplar, Face, Segment, as_image
from ._examples import checked_points
from ._rivals import Claim, Drawn, claims_on, colour_bins, drawn_over, settled
from ._salience import Salience
from ._silhouettes import Head, box_odds, log_odds, silhouette
from .embedded_belief import NEED_A_BODY, SURE, Joints, evidence
from .embedded_parts import find_part, part_named
from .embedded_pixels import PixelClassifier
from .embedded_things import thing_at, thing_in_box
from .nets import AnchorDetector, Net, by_size, sigmoid, square_crop, thread_count
from .protocols import face_of_each

# Working sizes, long side in pixels. The nets see at most 256 pixels of a person, so the smallest size at which
# the head (or the box) still has this many pixels is as good as the full picture, and faster.
_WORKING_SIDES = (800, 1600, 3200)
_LEAST_HEAD, _LEAST_BOX = 24, 256

# How far around the head to look, in face sides (across, up, down): holds 99.7 % of a person's pixels on average.
_SEARCH = (3.2, 1.8, 12.0)
_HALF_LENGTH = (2.2, 1.8, 5.0)
_FACE_CORE = (0.35, 0.45)  # half axes of the ellipse that is face in every head pose
_NOSE_REACH = 0.75  # face sides between a pose's nose and the face it belongs to
_POSE_LEAST = 0.3  # pose detector score
_BOX_TO_POSE = 1.1  # side of the square the pose net gets for a tight box, in the box's longer side
_JOINTS_RIM = 0.25  # face sides around a person that stay in the picture when their joints are looked for
_UPRIGHT_SURE = 0.5  # belief of the pose net below which the person may lie or stand on their head
_TURNS = (np.pi / 2, np.pi, -np.pi / 2)
_TURNED_LEAD = 0.6  # by how much more the net must believe a turned picture
_TURNED_SIDE = 1.25  # who lies or tumbles reaches further out than who stands
_FIT_WEIGHT = 6.0  # of a body's IoU with the box, in log-odds: a body that fills the box is who was meant
_SOFT = 0.015  # of a person's height: how far inside its edge a mask may be soft; twice that far outside (hair)
_SAME_BOX = 0.7  # IoU of two boxes that are one person's
_BOX_FIT = 0.15  # IoU of a body with the box below which it is not who was meant
# What a mask is worth, by what stood behind it (share of such masks above IoU 0.8 in benchmarks/masks.py, rounded).
_SCORE_POSE, _SCORE_BOX, _SCORE_NO_POSE, _SCORE_GRABCUT = 0.9, 0.7, 0.3, 0.2


def create(settings: Settings) -> EmbeddedMasks:
    return EmbeddedMasks()


def ready(settings: Settings) -> str:
    """It runs on any machine: nothing speaks against it before it is made; see `EngineModule`."""
    return ""


@dataclass
class View:
    """The image at one working size, and what the nets said about each body at that size."""

    small: np.ndarray
    factor: float
    bodies: dict = field(default_factory=dict)
    boxes: dict = field(default_factory=dict)
    drawn: dict = field(default_factory=dict)

    @property
    def shape(self) -> tuple[int, int]:
        return self.small.shape[:2]

    @cached_property
    def bins(self) -> np.ndarray:
        """See `colour_bins`."""
        return colour_bins(self.small)


@dataclass
class Encoded:
    """An image on the way to masks; every prompt shares its views."""

    image: np.ndarray
    views: dict[int, View] = field(default_factory=dict)

    def view(self, needed: float) -> View:
        """The smallest working size that shrinks the image by no more than `needed` (a factor)."""
        longest = max(self.image.shape[:2])
        side = next((s for s in _WORKING_SIDES if s >= min(needed, 1.0) * longest), _WORKING_SIDES[-1])
        if side not in self.views:
            self.views[side] = View(*shrink_to(self.image, side))
        return self.views[side]


class EmbeddedMasks:
    """See the module; the protocol is `BoxSegmenter`."""

    id = "embedded"
    uses_neighbours = True
    sure = SURE

    def __init__(self, threads: int | None = None):
        self._threads = threads = threads or thread_count()
        self._people = AnchorDetector("pose_detection", (8, 16, 32, 32, 32), 2, 4, threads)
        self._pose = Net("pose_landmark", threads)
        self._selfie = Net("selfie", threads)

    def describe(self) -> str:
        return "embedded masks (pose and selfie nets) on the CPU"

    def encode(self, image_bgr: np.ndarray) -> Encoded:
        return Encoded(as_image(image_bgr))

    def by_box(
        self,
        encoded: Encoded,
        boxes: np.ndarray | Sequence[BoxLike],
        faces: Sequence[Face | None] | None = None,
        others: Sequence[Face | BoxLike] = (),
    ) -> list[Segment]:
        """One person per box; with the face known the box only says where to look. See `BoxSegmenter`."""
        given = [clip_box(box, encoded.image.shape) for box in boxes]
        owners = face_of_each(given, faces)
        everyone = [f for f in owners if f is not None] + [o for o in others if isinstance(o, Face)]
        bodies = [clip_box(other, encoded.image.shape) for other in others if not isinstance(other, Face)]
        segments = []
        for box, face in zip(given, owners, strict=True):
            if face is None:
                view = encoded.view(_LEAST_BOX / float(box[3] - box[1]))
                heads = [Head.of(f, view.factor) for f in everyone]
                beside = [body * view.factor for body in bodies]
                probability, score = self._person_in_box(view, box * view.factor, heads, beside)
            else:
                view = encoded.view(_LEAST_HEAD / Head.of(face).side)
                rivals = [Head.of(f, view.factor) for f in everyone if f is not face]
                probability, score = self._person_of_face(view, Head.of(face, view.factor), rivals)
            segments.append(self._finish(encoded.image, view, probability, score, box))
        return segments

    @cached_property
    def _salience(self) -> Salience:
        return Salience(self._threads)

    def by_thing(self, encoded: Encoded, boxes: np.ndarray | Sequence[BoxLike], quick: bool = False) -> list[Segment]:
        """One thing of any kind per box that a detector drew; see `ThingSegmenter`."""
        salience = None if quick else self._salience
        segments = []
        for box in boxes:
            within = clip_box(box, encoded.image.shape)
            mask, worth = thing_in_box(encoded.image, within, salience)
            tight = mask_box(mask)
            segments.append(
                Segment(mask, worth if tight is not None else 0.0, within if tight is None else tight, self.id)
            )
        return segments

    def by_points(
        self,
        encoded: Encoded,
        points: np.ndarray | Sequence[Sequence[float]],
        inside: Sequence[bool],
        box: BoxLike | None = None,
    ) -> Segment:
        """One thing of any kind out of clicks or a box; see `PointSegmenter`."""
        places, on, within = checked_points(points, inside, box, encoded.image.shape[:2])
        mask = thing_at(encoded.image, places, on, within)
        tight = mask_box(mask)
        fallback = whole_box(encoded.image.shape) if within is None else within
        return Segment(
            mask, _SCORE_GRABCUT if tight is not None else 0.0, fallback if tight is None else tight, self.id
        )

    def learn(self, references: Sequence[Exemplar]) -> PixelClassifier:
        """Few-shot by a classifier of pixels; see `ExemplarSegmenter`."""
        return PixelClassifier(references, self.id)

    def by_part(self, encoded: Encoded, person: Segment, face: Face, thing: str) -> Segment:
        """A thing of a person, from a short fixed list; see `PartSegmenter`. Its score is how far to believe it."""
        part = part_named(thing)
        if part == "person":
            return person
        box = mask_box(person.mask)
        if box is None:
            return Segment(person.mask, 0.0, person.box, self.id)
        x0, y0, x1, y1 = grown_box(box, 8, person.mask.shape)
        near = Head.of(face)
        head = Head(near.x - x0, near.y - y0, near.side)
        crop = encoded.image[y0:y1, x0:x1]
        share = find_part(crop, person.mask[y0:y1, x0:x1], head, part)
        share = follow_edges(crop, share, max(2, round(head.side / 24)))
        inside = (share > 0.5) & person.mask[y0:y1, x0:x1]
        area = np.count_nonzero(inside)
        inside = drop_specks(fill_holes(inside, 0.01 * area), 0.02 * area) if area else inside
        if part == "hair":  # a collar of the hair's colour is none
            inside = touching(inside, inside & (np.arange(y1 - y0) < head.y)[:, None])
        own = person.mask[y0:y1, x0:x1]
        joints = self._joints(crop, own, head) if part in NEED_A_BODY else None
        score = min(evidence(crop, own, head, thing, share, inside, joints).values())
        mask, alpha = np.zeros(person.mask.shape, bool), np.zeros(person.mask.shape, np.uint8)
        mask[y0:y1, x0:x1] = inside & own & (score > 0)
        soft = cv2.GaussianBlur(mask[y0:y1, x0:x1].astype(np.uint8) * 255, (0, 0), 1.0)
        alpha[y0:y1, x0:x1] = np.minimum(
            soft, (person.mask * np.uint8(255) if person.alpha is None else person.alpha)[y0:y1, x0:x1]
        )
        mask &= alpha > 127
        tight = mask_box(mask)
        return Segment(
            mask, score if tight is not None else 0.0, person.box if tight is None else tight, self.id, alpha
        )

    # ---- what the nets see

    def _everybody(self, view: View, window, mirror: bool = False) -> np.ndarray:
        """The selfie net on a window: float32 (H, W) probability that a pixel is anybody's, 0 outside.

        With `mirror` the crop is seen both ways round and averaged: steadier edges.
        """
        x0, y0, x1, y1 = window
        result = np.zeros(view.shape, np.float32)
        if x1 - x0 > 7 and y1 - y0 > 7:
            size = (self._selfie.size,) * 2
            crop = cv2.resize(view.small[y0:y1, x0:x1], size, interpolation=cv2.INTER_AREA)
            crop = crop[:, :, ::-1].astype(np.float32) / 255
            mask = self._selfie(crop)[0][..., 0]
            if mirror:
                mask = (mask + self._selfie(crop[:, ::-1])[0][:, ::-1, 0]) / 2
            result[y0:y1, x0:x1] = cv2.resize(mask, (x1 - x0, y1 - y0), interpolation=cv2.INTER_LINEAR)
        return result

    def _joints(self, image: np.ndarray, person: np.ndarray, head: Head) -> Joints | None:
        """The body of one person at full size, with everything else painted grey: what is not theirs hides nothing."""
        reach = 2 * max(1, int(_JOINTS_RIM * head.side)) + 1
        alone = image.copy()
        alone[cv2.dilate(person.astype(np.uint8), np.ones((reach, reach), np.uint8)) == 0] = 127
        factor = min(1.0, _LEAST_HEAD / head.side)
        size = (max(1, round(alone.shape[1] * factor)), max(1, round(alone.shape[0] * factor)))
        small = cv2.resize(alone, size, interpolation=cv2.INTER_AREA)
        best, nearest = None, _NOSE_REACH * head.side
        for points, _ in self._poses(small, (0, 0, small.shape[1], small.shape[0])):
            distance = float(np.hypot(*(points[0, :2] / factor - (head.x, head.y))))
            if distance < nearest:
                best, nearest = points, distance
        return None if best is None else Joints(best[:33, :2] / factor, best[:33, 2])

    def _poses(self, image: np.ndarray, window) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Bodies found in a window of the working image: joints as `_draw_body` gives them, probability map (H, W)."""
        x0, y0, x1, y1 = window
        if x1 - x0 < 8 or y1 - y0 < 8:
            return
        _, keypoints, _ = self._people(image[y0:y1, x0:x1], _POSE_LEAST)
        for points in keypoints + (x0, y0):
            # The detector gives the middle of the hips and a point that says how far the body reaches and
            # how it is turned; the landmark net wants a square 1.25 times that large, upright.
            (hip_x, hip_y), (reach_x, reach_y) = points[:2]
            side = 2.5 * float(np.hypot(reach_x - hip_x, reach_y - hip_y))
            angle = np.pi / 2 - np.arctan2(hip_y - reach_y, reach_x - hip_x)
            joints, probability, _ = self._draw_body(image, (hip_x, hip_y), side, angle)
            yield joints, probability

    def _draw_body(self, image: np.ndarray, centre, side: float, angle: float) -> tuple[np.ndarray, np.ndarray, float]:
        """The pose net on a turned square: joints (39, 3) as x and y in pixels and how visible, the nose first;
        probability map (H, W); belief that a body is there."""
        size = self._pose.size
        crop, back = square_crop(image, centre, max(side, 8.0), angle, size)
        outputs = self._pose(crop)
        points = by_size(outputs, 39 * 5).reshape(39, 5).astype(np.float64)
        joints = np.column_stack([points[:, :2] @ back[:, :2].T + back[:, 2], sigmoid(points[:, 3])])
        probability = sigmoid(by_size(outputs, size * size).reshape(size, size)).astype(np.float32)
        whole = cv2.warpAffine(probability, back, image.shape[1::-1], flags=cv2.INTER_LINEAR)
        return joints, whole, float(by_size(outputs, 1).ravel()[0])

    # ---- a person by their face

    def _person_of_face(self, view: View, head: Head, rivals: list[Head]) -> tuple[np.ndarray, float]:
        """Probability map (H, W) at working size, and a score."""
        shape = view.shape
        body, score = self._body(view, head, rivals), _SCORE_POSE
        crowd = self._everybody(view, head.window(shape, *_SEARCH))
        if body is None:
            body, score = np.minimum(crowd, 0.2 + 0.8 * silhouette(shape, head)), _SCORE_NO_POSE
        others = [o for o in self._neighbours(view, head, rivals) if ((o.body > 0.3) & (body > 0.05)).any()]
        claims = claims_on(Drawn.below(head, body), others, view.bins) if others else []
        image = self._without_faces(view, head, rivals)
        hidden = drawn_over(body, claims, head)
        if hidden is not None:
            image = np.where(hidden[..., None], np.uint8(127), image)
            again = self._first_pose(image, head)
            if again is not None:
                body, claims = again, claims_on(Drawn.below(head, again), others, view.bins)
        weight = 0.7 if claims else 0.6
        odds = weight * log_odds(body) + (1 - weight) * log_odds(crowd)
        first = self._keep_mine(sigmoid(settled(odds, claims, head)), head)
        probability = self._look_closer(view, first, image, head, bool(claims))
        if not (probability > 0.5).any():
            return self._grabcut(view, head, rivals), _SCORE_GRABCUT
        if claims:
            mine = sigmoid(settled(log_odds(probability), claims, head)) * (probability > 0)
            probability = self._keep_mine(mine.astype(np.float32), head)
        return probability, score

    def _body(self, view: View, head: Head, rivals: list[Head]) -> np.ndarray | None:
        """The pose net's mask of the body under `head`; None if no pose has its nose there. Kept per image."""
        if head not in view.bodies:
            view.bodies[head] = self._first_pose(self._without_faces(view, head, rivals), head)
        return view.bodies[head]

    def _first_pose(self, image: np.ndarray, head: Head) -> np.ndarray | None:
        """The body under a head in the whole search window; else in one of half the length."""
        windows = (head.window(image.shape[:2], *reach) for reach in (_SEARCH, _HALF_LENGTH))
        found = (self._best_pose(image, window, head) for window in windows)
        return next((body for body in found if body is not None), None)

    def _best_pose(self, image: np.ndarray, window, head: Head) -> np.ndarray | None:
        """Of the poses in a window, the one whose nose is nearest this face, if its mask covers the face."""
        core = head.ellipse(image.shape[:2], *_FACE_CORE)
        best, nearest = None, _NOSE_REACH
        for (nose, *_), probability in self._poses(image, window):
            distance = float(np.hypot(nose[0] - head.x, nose[1] - head.y)) / head.side
            if distance < nearest and _covers(probability, core):
                best, nearest = probability, distance
        return best

    def _without_faces(self, view: View, head: Head, rivals: list[Head]) -> np.ndarray:
        """The working image with the other faces painted grey: a face that is not there cannot be followed."""
        if not rivals:
            return view.small
        image, mine = view.small.copy(), head.ellipse(view.shape, 0.6, 0.8)
        for rival in rivals:
            rival.fill(image, 0.6, 0.8, (127, 127, 127))
        image[mine] = view.small[mine]
        return image

    def _neighbours(self, view: View, head: Head, rivals: list[Head]) -> list[Drawn]:
        """Neighbours whose own body could reach ours. Without a confirmed pose a neighbour is no evidence: it may be a
        false face."""
        found = []
        for rival in rivals:
            across, down = abs(rival.x - head.x), rival.y - head.y
            if across > 5.8 * head.side + 2 * rival.side or not -3.4 * head.side < down < 13.6 * head.side:
                continue
            other = self._body(view, rival, [h for h in (head, *rivals) if h is not rival])
            if other is not None:
                if rival not in view.drawn:
                    view.drawn[rival] = Drawn.below(rival, other)
                found.append(view.drawn[rival])
        return found

    def _look_closer(self, view: View, first: np.ndarray, image: np.ndarray, head: Head, beside: bool) -> np.ndarray:
        """Both nets again on just the person that the first look found: 256 pixels go further, feet are in the picture,
        passers-by are not. Beside neighbours the first look's decisions weigh half.

        Args:
            view: of the picture.
            first: float32 (H, W), what the first look found.
            image: the view's, with what is others' painted over.
            head: whose body is meant.
            beside: are there neighbours.
        """
        tight = mask_box(first > 0.5)
        if tight is None:
            return first
        grow = 0.05 * max(tight[2] - tight[0], tight[3] - tight[1])
        window = grown_box(tight, grow, view.shape)
        odds = log_odds(self._everybody(view, window, mirror=True))
        body = self._best_pose(image, window, head)
        if body is not None:
            odds = 0.35 * log_odds(body) + 0.65 * odds
        if beside:
            odds = (odds + log_odds(first)) / 2
            reach = 2 * int(0.35 * head.side) + 1
            near = cv2.dilate((first > 0.5).astype(np.uint8), np.ones((reach, reach), np.uint8))
            odds[near == 0] = -30
        inside = np.zeros(view.shape, np.float32)
        inside[window[1] : window[3], window[0] : window[2]] = 1
        return self._keep_mine(sigmoid(odds) * inside, head)

    @staticmethod
    def _keep_mine(probability: np.ndarray, head: Head) -> np.ndarray:
        """Only the connected part that holds the face, with a two-pixel rim for its soft edge."""
        part = component_with(probability > 0.5, head.ellipse(probability.shape, 0.5, 0.7))
        return (probability * cv2.dilate(part.astype(np.uint8), np.ones((5, 5), np.uint8))).astype(np.float32)

    def _grabcut(self, view: View, head: Head, rivals: list[Head]) -> np.ndarray:
        """GrabCut (Rother et al., SIGGRAPH 2004) from the silhouette around the face: when both nets see nobody."""
        x0, y0, x1, y1 = window = head.window(view.shape, 2.9, 1.45, 12.0)
        crop, factor = shrink_to(view.small[y0:y1, x0:x1], 320)
        shape = crop.shape[:2]

        def local(h: Head) -> Head:
            return Head((h.x - x0) * factor, (h.y - y0) * factor, h.side * factor)

        mine = local(head)
        mask = grabcut_person(crop, silhouette(shape, mine), mine, [local(r) for r in rivals])
        result = np.zeros(view.shape, np.float32)
        size = (window[2] - window[0], window[3] - window[1])
        result[y0:y1, x0:x1] = cv2.resize(mask.astype(np.float32), size, interpolation=cv2.INTER_LINEAR)
        return result

    # ---- a person by their box

    def _person_in_box(
        self, view: View, box: np.ndarray, heads: list[Head], rivals: Sequence[np.ndarray] = ()
    ) -> tuple[np.ndarray, float]:
        """Probability map (H, W) at working size, and a score; the box is a hint, not a border.

        Args:
            view: of the picture.
            box: xyxy pixels of the view.
            heads: of people whose face is known.
            rivals: boxes of other people.
        """
        shape, height = view.shape, float(box[3] - box[1])
        odds = log_odds(self._everybody(view, grown_box(box, 0.1 * height, shape), mirror=True))
        mine, others = self._opinions(view, box)
        score = _SCORE_NO_POSE
        if mine is not None:
            odds, score = 0.6 * mine + 0.4 * odds, _SCORE_BOX
            for other in others:
                if mask_iou(other > 0.5, mine > 0) < 0.5:
                    odds = np.where(other > 0.5, np.minimum(odds, mine - log_odds(other)), odds)
            odds = settled(odds, self._claims_of_boxes(view, box, mine, rivals), None)
        for head in heads:
            if not (box[0] < head.x < box[2] and box[1] < head.y < box[1] + 0.5 * height):
                odds[head.ellipse(shape, 0.45, 0.65)] = -4
        probability = sigmoid(odds + box_odds(shape, box))
        if not (probability > 0.5).any():
            return probability.astype(np.float32), 0.0
        part = component_with(probability > 0.5, box_mask(shape, box))
        return (probability * cv2.dilate(part.astype(np.uint8), np.ones((5, 5), np.uint8))).astype(np.float32), score

    def _opinions(self, view: View, box: np.ndarray) -> tuple[np.ndarray | None, list[np.ndarray]]:
        """(log-odds of the body in a box, or None; maps of other bodies around it). Kept per image.

        Two opinions: the pose net drawn straight from the box, and the detected body that fills the box best; the
        better one fits the box, the more it weighs.
        """
        key = tuple(float(v) for v in box)
        if key not in view.boxes:
            drawn = self._draw_box(view, box)
            ours = [] if drawn is None else [drawn]
            window = grown_box(box, 0.25 * float(box[3] - box[1]), view.shape)
            bodies = [p for _, p in self._poses(view.small, window)]
            fit = [mask_iou(p > 0.5, box_mask(view.shape, box)) for p in bodies]
            if bodies and max(fit) >= _BOX_FIT:
                ours.append(bodies.pop(int(np.argmax(fit))))
            weights = [_fit_weight(p, box) for p in ours]
            mine = np.average([log_odds(p) for p in ours], axis=0, weights=weights) if ours else None
            view.boxes[key] = mine, bodies
        return view.boxes[key]

    def _claims_of_boxes(
        self, view: View, box: np.ndarray, mine: np.ndarray, rivals: Sequence[np.ndarray]
    ) -> list[Claim]:
        """What the people in other boxes claim of the one in this box; a box about the same is no other person's."""
        others = []
        for rival in rivals:
            if 0 < box_iou(rival, box)[0, 0] < _SAME_BOX:
                theirs, _ = self._opinions(view, rival)
                if theirs is not None:
                    others.append(Drawn(sigmoid(theirs).astype(np.float32), box_odds(view.shape, rival)))
        if not others:
            return []
        return claims_on(Drawn(sigmoid(mine).astype(np.float32), box_odds(view.shape, box)), others, view.bins)

    def _draw_box(self, view: View, box: np.ndarray) -> np.ndarray | None:
        """The pose net's map of the body in a box, which may lie on its side or stand on its head; None if it sees
        none. The net was trained on upright people: where it is unsure, the picture is turned for it."""
        centre, side = (box[:2] + box[2:]) / 2, _BOX_TO_POSE * float(max(box[2:] - box[:2]))
        _, drawn, presence = self._draw_body(view.small, centre, side, 0.0)
        if presence < _UPRIGHT_SURE:
            ways = [self._draw_body(view.small, centre, _TURNED_SIDE * side, angle) for angle in _TURNS]
            _, turned, belief = max(ways, key=lambda way: way[2])
            if belief > presence + _TURNED_LEAD:
                return turned
        return drawn if presence > _POSE_LEAST else None

    # ---- out

    def _finish(self, image: np.ndarray, view: View, probability: np.ndarray, score: float, box: np.ndarray) -> Segment:
        """A probability map at working size -> mask and matte at full size; only the person's part is worked on."""
        full = image.shape[:2]
        mask, alpha = np.zeros(full, bool), np.zeros(full, np.uint8)
        near = mask_box(probability > 0.01)
        if near is None:
            return Segment(mask, 0.0, box, self.id, alpha)
        x0, y0, x1, y1 = grown_box(near, 4, probability.shape)
        part = probability[y0:y1, x0:x1]
        rows, columns = slice(y0, y1), slice(x0, x1)
        if view.factor < 1:
            scale = np.array([full[1] / view.shape[1], full[0] / view.shape[0]])
            left, top = (np.array([x0, y0]) * scale).astype(int)
            right, bottom = np.minimum(np.ceil(np.array([x1, y1]) * scale).astype(int), full[::-1])
            rows, columns = slice(top, bottom), slice(left, right)
            part = cv2.resize(part, (right - left, bottom - top), interpolation=cv2.INTER_LINEAR)
            part = follow_edges(image[rows, columns], part, radius=max(2, round(2 / view.factor)))
        inside = part > 0.5
        area = np.count_nonzero(inside)
        if area:
            cleaned = drop_specks(fill_holes(inside, 0.001 * area), 0.002 * area)
            part = np.where(cleaned & ~inside, 1.0, np.where(inside & ~cleaned, 0.0, part))
            inside = cleaned
        mask[rows, columns] = inside
        alpha[rows, columns] = (_matte(part, inside, _SOFT * (y1 - y0) / view.factor) * 255).round().astype(np.uint8)
        tight = mask_box(mask)
        return Segment(mask, score if area else 0.0, box if tight is None else tight, self.id, alpha)


def grabcut_person(image: np.ndarray, prior: np.ndarray, head: Head, rivals: list[Head]) -> np.ndarray:
    """bool mask by GrabCut, seeded with a silhouette prior (H, W), the face, the torso and the neighbours' heads.

    Args:
        image: uint8 (H, W, 3), BGR.
        prior: float32 (H, W), 0..1, the silhouette expected below the head.
        head: whose body is wanted.
        rivals: other people's heads, which are background.
    """
    shape = image.shape[:2]
    state = np.where(prior > 0.5, cv2.GC_PR_FGD, cv2.GC_PR_BGD).astype(np.uint8)
    state[(prior < 0.02) & (np.arange(shape[0])[:, None] < head.y + head.side)] = cv2.GC_BGD
    torso = np.zeros(shape, np.uint8)
    corners = ((-0.15, 0.6), (0.15, 0.6), (0.65, 1.5), (0.55, 3.2), (-0.55, 3.2), (-0.65, 1.5))
    outline = [[head.x + a * head.side, head.y + b * head.side] for a, b in corners]
    cv2.fillPoly(torso, [np.array(outline).astype(np.int32)], 1)
    sure = torso > 0
    for rival in rivals:
        theirs = silhouette(shape, rival)
        state[(theirs > prior) & (theirs > 0.5) & (prior < 0.6)] = cv2.GC_PR_BGD
        state[(theirs > 0.9) & (prior < 0.3)] = cv2.GC_BGD
        state[rival.ellipse(shape, 0.55, 0.75) & ~head.ellipse(shape, 0.6, 0.8)] = cv2.GC_BGD
        sure &= theirs <= 0.9
    state[sure] = cv2.GC_FGD
    state[head.ellipse(shape, 0.38, 0.55)] = cv2.GC_FGD
    if (state == cv2.GC_BGD).any() or (state == cv2.GC_PR_BGD).any():
        cv2.grabCut(image, state, None, np.zeros((1, 65)), np.zeros((1, 65)), 2, cv2.GC_INIT_WITH_MASK)
    mask = np.isin(state, (cv2.GC_FGD, cv2.GC_PR_FGD)).astype(np.uint8)
    mask = cv2.morphologyEx(mask, cv2.MORPH_OPEN, np.ones((3, 3), np.uint8)) > 0
    return component_with(mask, head.ellipse(shape, 0.5, 0.7))


def _matte(probability: np.ndarray, inside: np.ndarray, soft: float) -> np.ndarray:
    """float32 (H, W), 0..1: how opaque each pixel is.

    The nets are never quite sure, but a person is not glass: what is half sure is half there only near the edge.

    Args:
        probability: float32 (H, W).
        inside: bool (H, W), the mask.
        soft: pixels from the edge on either side, within which it may be soft.
    """
    stretched = np.clip((probability - 0.08) / 0.84, 0, 1)
    return soft_at_edge(stretched, inside, soft)


def _covers(probability: np.ndarray, area: np.ndarray) -> bool:
    """Does a probability map hold most of a bool area? An empty area (off the picture) is not held."""
    return bool(area.any() and (probability[area] > 0.5).mean() > 0.5)


def _fit_weight(probability: np.ndarray, box: np.ndarray) -> float:
    """How much a body's opinion counts for a box."""
    tight = mask_box(probability > 0.5)
    return 1e-3 if tight is None else float(np.exp(_FIT_WEIGHT * box_iou(tight, box)[0, 0]))

"""Heads: nobody is missed - in profile, from behind, at the border, far away - and few ghosts are found."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from fakes import PEOPLE, SIDE, FakeFaces, draw

from identity_segmentation.engines.protocols import FaceScout
from identity_segmentation.geometry import box_iou
from identity_segmentation.masks.heads import FoundHead, HeadSearch, head_of_face
from identity_segmentation.types import Detection, Face
from identity_segmentation.video.files import VideoReader

LABELS = Path(__file__).resolve().parent.parent / "benchmarks/labels/friends_heads.json"
COVER = 1.28  # half-axes of the ellipse that covers a head, in halves of its box


def ellipse(box, shape, grown: float = 1.0) -> np.ndarray:
    """bool (H, W): the ellipse in a box, grown from its middle."""
    x0, y0, x1, y1 = (float(v) for v in box)
    rows, columns = np.mgrid[: shape[0], : shape[1]] + 0.5
    across, down = grown * (x1 - x0) / 2, grown * (y1 - y0) / 2
    return ((columns - (x0 + x1) / 2) / across) ** 2 + ((rows - (y0 + y1) / 2) / down) ** 2 <= 1


def bare(found: list[FoundHead], labels, shape) -> list:
    """The labelled heads of which less than three quarters are covered."""
    covered = np.zeros(shape[:2], bool)
    for head in found:
        covered |= ellipse(head.box, shape, COVER)
    return [row for row in labels if covered[ellipse(row[:4], shape)].mean() < 0.75]


def ghosts(found: list[FoundHead], labels, shape) -> float:
    """Share of the picture that is covered further than a third of a head from every labelled head."""
    covered, near = np.zeros(shape[:2], bool), np.zeros(shape[:2], bool)
    for head in found:
        covered |= ellipse(head.box, shape, COVER)
    for row in labels:
        near |= ellipse(row[:4], shape, 2.0)
    return float((covered & ~near).mean())


def far_away(picture: np.ndarray) -> np.ndarray:
    """1920x1080, with a group's picture so small in it that its faces are some 25 pixels wide."""
    large = np.full((1080, 1920, 3), 96, np.uint8)
    small = cv2.resize(picture, None, fx=0.22, fy=0.22, interpolation=cv2.INTER_AREA)
    large[700 : 700 + small.shape[0], 1500 : 1500 + small.shape[1]] = small
    return large


@pytest.fixture(scope="module")
def search(embedded_faces, embedded_objects):
    from identity_segmentation.engines.embedded_heads import BodyHeads

    return HeadSearch(embedded_faces, embedded_objects, BodyHeads())


@pytest.fixture(scope="module")
def frames(data):
    """frame -> (picture, labelled heads) of a clip with profiles, backs and people cut by the border."""
    labels = {int(index): rows for index, rows in json.loads(LABELS.read_text()).items()}
    with VideoReader(data / "identity/friends/friends.mp4") as reader:
        return {frame.index: (frame.image, labels[frame.index]) for frame in reader.frames(0, 6)}


@pytest.mark.parametrize("index", [0, 30, 126, 144, 168, 210, 216, 234, 246, 300, 354, 360, 438])
def test_every_labelled_head_is_covered_and_little_else(search, frames, index):
    image, labels = frames[index]
    found = search.find(image)
    assert bare(found, labels, image.shape) == []
    assert ghosts(found, labels, image.shape) < 0.06


@pytest.mark.parametrize("index", [6, 132, 222, 258, 366])
def test_the_quick_look_covers_every_head_that_was_there_in_the_frame_before(search, frames, index):
    image, labels = frames[index]
    before = [head.box for head in search.find(frames[index - 6][0])]
    missed = [row for row in bare(search.quick(image, before), labels, image.shape) if row[4] == "face"]
    assert missed == []


def test_three_people_do_not_make_the_face_of_a_giant(search, data):
    labels = json.loads((LABELS.parent / "dance_identity.json").read_text())
    with VideoReader(data / "videos/dance_3people.mp4") as reader:
        images = {frame.index: frame.image for frame in reader.frames(0, 12)}
    for index in (24, 36, 72):
        rows = [(*row["box"], row["view"]) for row in labels[str(index)]]
        found = search.find(images[index])
        assert bare(found, rows, images[index].shape) == []
        assert max(head.box[3] - head.box[1] for head in found) < 0.5 * images[index].shape[0]


def test_labels_cover_every_sixth_frame_with_boxes_and_kinds_that_are_known():
    labels = json.loads(LABELS.read_text())
    assert sorted(map(int, labels)) == list(range(0, 448, 6))
    for rows in labels.values():
        for x0, y0, x1, y1, kind in rows:
            assert x0 < x1 and y0 < y1 and kind in ("face", "turned", "back", "partial")


def test_everybody_in_a_group_picture_is_found_once(search, group):
    found = search.find(group)
    faces = [head for head in found if head.face is not None and head.score > 0.5]
    assert len(faces) >= 6
    boxes = np.stack([head.box for head in found])
    overlap = box_iou(boxes, boxes) - np.eye(len(boxes))
    assert overlap.max() < 0.36


def test_a_face_cut_in_half_by_the_border_is_found(search, astronaut):
    whole = max(search.find(astronaut), key=lambda head: head.score)
    middle = int((whole.box[0] + whole.box[2]) / 2)
    for part, moved in ((astronaut[:, middle:], -middle), (astronaut[:, : middle + 1], 0)):
        label = [[*(whole.box + np.array([moved, 0, moved, 0])), "partial"]]
        assert bare(search.find(np.ascontiguousarray(part)), label, part.shape) == []


def test_small_heads_in_a_large_picture_are_found_by_the_finest_tiles(search, embedded_faces, group):
    large = far_away(group)
    there = [head for head in search.find(large) if head.box[0] > 1480 and head.box[1] > 680]
    assert len(there) >= 6
    assert len(HeadSearch(embedded_faces, thorough=False).find(large)) < len(there)


def test_small_heads_are_found_by_the_quick_look_where_they_are_expected(search, group):
    large = far_away(group)
    there = [head.box for head in search.find(large) if head.score > 0.6 and head.face is not None]
    unexpected, expected = search.quick(large), search.quick(large, there)
    known = np.stack([head.box for head in expected])
    assert all(box_iou(box, known).max() > 0.3 for box in there)
    assert len(unexpected) < len(expected)


def test_a_picture_of_a_cat_is_hardly_covered(search, cat):
    assert ghosts(search.find(cat), [], cat.shape) < 0.25


def test_nothing_is_found_in_an_empty_picture(search):
    assert search.find(np.full((240, 320, 3), 127, np.uint8)) == []


@pytest.mark.parametrize("size", [(1, 1), (3, 400), (400, 3), (17, 23)])
def test_pictures_of_a_few_pixels_and_heads_expected_outside_are_no_trouble(search, size):
    image = np.full((*size, 3), 90, np.uint8)
    expected = [np.array([-500, -500, -400, -400.0]), np.array([0, 0, 2, 2.0]), np.array([900, 0, 990, 90.0])]
    assert search.find(image, expected) == [] and search.quick(image, expected) == []


class Mute(FakeFaces):
    """Sees no face, and fails where one is to be described."""

    def faces(self, image_bgr, embed: bool = True):
        assert not embed
        return []


class OneBody:
    """A detector that sees one body at one place."""

    id = "one-body"
    nouns = ("person",)

    def __init__(self, box, score: float):
        self.body = Detection(np.array(box, np.float32), score, "person")

    def detect(self, image_bgr, nouns=("person",), tiles=True, least=0.35):
        return [self.body] if self.body.score >= least else []

    def describe(self):
        return "one body"


class Pose:
    """A head finder that knows one answer."""

    id = "pose"

    def __init__(self, box):
        self.box = box

    def head(self, image_bgr, body):
        return None if self.box is None else np.array(self.box, np.float32)

    def describe(self):
        return "one head"


PICTURE = np.full((400, 600, 3), 100, np.uint8)
BODY = (200, 100, 300, 390)


def test_a_body_without_a_face_has_its_head_where_the_pose_net_says():
    (head,) = HeadSearch(Mute(), OneBody(BODY, 0.25), Pose((270, 110, 300, 140))).find(PICTURE)
    assert head.by == "pose" and head.face_side is None
    assert np.allclose(head.body, BODY)
    assert head.box[0] < 270 and head.box[2] > 300 and head.box[1] < 110  # the whole head is more than the face


def test_a_body_on_which_the_pose_net_sees_nobody_has_its_head_at_the_top_if_it_is_sure():
    (head,) = HeadSearch(Mute(), OneBody(BODY, 0.7), Pose(None)).find(PICTURE)
    assert head.by == "body"
    assert abs(head.box[0] + head.box[2] - 500) < 2 and head.box[1] <= 100 and 40 < head.box[3] - head.box[1] < 110
    assert HeadSearch(Mute(), OneBody(BODY, 0.25), Pose(None)).find(PICTURE) == []


def test_the_head_of_a_body_that_the_border_cuts_reaches_to_the_border():
    (head,) = HeadSearch(Mute(), OneBody((560, 100, 599, 399), 0.7)).find(PICTURE)
    assert head.box[2] >= 600 and head.box[0] < 560


def test_an_engine_without_candidates_is_asked_for_its_faces_and_each_is_one_head():
    image = draw((PEOPLE["Ada"], 80, 60), (PEOPLE["Bo"], 200, 60))
    found = HeadSearch(FakeFaces()).find(image)
    assert len(found) == 2
    for head in found:
        assert head.by == "face" and head.face_side == SIDE and head.face.embedding is None
        assert (head.box[:2] < head.face.box[:2]).all() and (head.box[2:] > head.face.box[2:]).all()


def test_the_head_of_a_turned_face_reaches_back():
    points = np.array([[40, 40], [60, 40], [50, 50], [44, 62], [56, 62]], np.float32)
    box = np.array([25, 25, 75, 75], np.float32)
    straight = head_of_face(Face(box, 1.0, None, points))
    points[2, 0] = 41  # the nose shows to the left
    turned = head_of_face(Face(box, 1.0, None, points))
    assert turned[2] > straight[2] + 10 and turned[0] > straight[0]
    # ... and that of one who lies on the side is wider than high.
    lying = head_of_face(Face(box, 1.0, None, points[:, ::-1].copy()))
    assert lying[2] - lying[0] > lying[3] - lying[1]


@pytest.mark.parametrize("engine", ["embedded_faces", "insightface_mini"])
def test_candidates_are_more_than_the_faces_and_none_is_described(engine, request, group):
    faces = request.getfixturevalue(engine)
    assert isinstance(faces, FaceScout)
    heard = faces.candidates(group, faces.faint)
    sure = faces.candidates(group, faces.sure)
    assert len(heard) >= len(sure) > 0
    assert all(face.embedding is None and face.landmarks is not None for face in heard)
    assert all(face.score >= faces.faint for face in heard)


def test_what_finds_is_part_of_the_key(embedded_faces, embedded_objects):
    keys = {HeadSearch(embedded_faces).id, HeadSearch(embedded_faces, thorough=False).id}
    keys |= {HeadSearch(embedded_faces, embedded_objects).id, HeadSearch(FakeFaces()).id}
    assert len(keys) == 4

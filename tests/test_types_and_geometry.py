"""Values are checked where they are born, and plain geometry does what its name says."""

from __future__ import annotations

import numpy as np
import pytest

from identity_segmentation.errors import InputError
from identity_segmentation.geometry import (
    box_iou,
    clip_box,
    component_with,
    drop_specks,
    face_to_body_bbox,
    fill_holes,
    mask_box,
    similarity_transform,
    suppress_duplicates,
    warp_crop,
)
from identity_segmentation.types import Face, Segment, as_box, as_image


@pytest.mark.parametrize(
    "wrong", [None, [1, 2, 3], [0, 0, float("nan"), 4], [10, 0, 10, 5], [0, 9, 5, 3], "box", [[1, 2], [3]]]
)
def test_a_box_that_is_no_box_is_refused(wrong):
    with pytest.raises(InputError, match="expected a box"):
        as_box(wrong)


@pytest.mark.parametrize(
    "wrong",
    [
        None,
        np.zeros((4, 4)),
        np.zeros((4, 4, 4), np.uint8),
        np.zeros((4, 4, 3), np.float32),
        np.zeros((0, 4, 3), np.uint8),
    ],
)
def test_an_array_that_is_no_image_is_refused_with_what_it_is(wrong):
    with pytest.raises(InputError, match="expected an image"):
        as_image(wrong)


def test_a_face_normalises_its_embedding_and_knows_its_size():
    face = Face([10, 20, 30, 50], 0.9, np.array([3.0, 4.0]))
    assert np.linalg.norm(face.embedding) == pytest.approx(1)
    assert face.side == pytest.approx(25)
    assert face.centre == (20, 35)


def test_a_face_refuses_landmarks_of_another_shape():
    with pytest.raises(InputError, match=r"\(5, 2\)"):
        Face([0, 0, 4, 4], 1, landmarks=np.zeros((6, 2)))


def test_a_segment_refuses_a_mask_that_is_not_bool_or_an_alpha_of_another_size():
    with pytest.raises(InputError, match="bool"):
        Segment(np.zeros((4, 4), np.uint8), 1, [0, 0, 1, 1], "x")
    with pytest.raises(InputError, match="alpha"):
        Segment(np.zeros((4, 4), bool), 1, [0, 0, 1, 1], "x", np.zeros((3, 4), np.uint8))


def test_values_are_frozen():
    face = Face([0, 0, 4, 4], 1)
    with pytest.raises(AttributeError):
        face.score = 0.5


def test_iou_of_boxes_with_known_overlap():
    table = box_iou([[0, 0, 10, 10]], [[0, 0, 10, 10], [5, 0, 15, 10], [20, 20, 30, 30]])
    assert table[0] == pytest.approx([1, 1 / 3, 0])


def test_a_box_partly_outside_is_clipped_and_one_wholly_outside_is_refused():
    assert clip_box([-5, -5, 5, 5], (10, 20, 3)).tolist() == [0, 0, 5, 5]
    with pytest.raises(InputError, match="covers part of the 20x10 image"):
        clip_box([30, 2, 40, 8], (10, 20, 3))


def test_the_body_box_follows_its_scales_and_stays_in_the_picture():
    face = [100, 100, 120, 120]
    assert face_to_body_bbox(face, (1000, 1000)).tolist() == [74, 90, 146, 230]
    wide = face_to_body_bbox(face, (1000, 1000), width_scale=6, top_scale=1, bottom_scale=7)
    assert wide.tolist() == [50, 80, 170, 260]
    assert face_to_body_bbox(face, (130, 110)).tolist() == [74, 90, 110, 130]
    assert face_to_body_bbox(face, (1000, 1000), shift=0.5)[0] == 84
    assert face_to_body_bbox(Face(face, 1), (1000, 1000)).tolist() == [74, 90, 146, 230]


@pytest.mark.parametrize("scales", [{"width_scale": 0}, {"bottom_scale": -1}, {"top_scale": -0.1}])
def test_the_body_box_refuses_scales_that_mean_nothing(scales):
    with pytest.raises(InputError, match="_scale"):
        face_to_body_bbox([10, 10, 20, 20], (100, 100), **scales)


def test_a_similarity_transform_is_recovered_exactly():
    points = np.array([[0, 0], [10, 0], [0, 5], [7, 3]], float)
    turn = 2.5 * np.array([[np.cos(0.3), -np.sin(0.3)], [np.sin(0.3), np.cos(0.3)]])
    found = similarity_transform(points, points @ turn.T + [4, -2])
    assert found == pytest.approx(np.hstack([turn, [[4], [-2]]]), abs=1e-9)


def test_shrinking_a_crop_averages_instead_of_skipping_pixels():
    stripes = np.zeros((400, 400, 3), np.uint8)
    stripes[:, ::2] = 255  # one-pixel stripes: skipping would give black or white
    forward = np.array([[0.1, 0, 0], [0, 0.1, 0]])
    crop = warp_crop(stripes, forward, 40)
    assert abs(float(crop[2:-2, 2:-2].mean()) - 127.5) < 6
    assert crop.std() < 40


def test_a_shrunk_crop_lands_where_the_map_says():
    image = np.zeros((600, 800, 3), np.uint8)
    image[300:400, 500:600] = 255
    forward = np.array([[0.2, 0, -80.0], [0, 0.2, -40.0]])  # (550, 350) -> (30, 30)
    crop = warp_crop(image, forward, 64)[..., 0] > 127
    assert mask_box(crop) == pytest.approx([20, 20, 40, 40], abs=1)


def test_duplicates_fall_to_the_better_score():
    boxes = np.array([[0, 0, 10, 10], [1, 1, 11, 11], [40, 40, 50, 50], [42, 42, 46, 46]], float)
    assert suppress_duplicates(boxes, np.array([0.5, 0.9, 0.8, 0.7])) == [1, 2]
    assert suppress_duplicates(np.zeros((0, 4)), np.zeros(0)) == []


def test_mask_clean_up_keeps_what_it_should():
    mask = np.zeros((60, 60), bool)
    mask[10:40, 10:40] = True
    mask[20, 20] = False  # a pinhole
    mask[28:38, 28:38] = False  # a gap as between arm and waist
    mask[50:52, 50:52] = True  # a speck
    filled = fill_holes(mask, 10)
    assert filled[20, 20] and not filled[30, 30]
    assert not drop_specks(mask, 10)[50, 50] and drop_specks(mask, 10)[12, 12]
    seed = np.zeros_like(mask)
    seed[50:52, 50:52] = True
    assert component_with(mask, seed).sum() == 4
    assert mask_box(np.zeros((4, 4), bool)) is None

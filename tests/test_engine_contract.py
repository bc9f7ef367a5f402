"""One suite for every engine: what a protocol promises, each engine that claims it keeps."""

from __future__ import annotations

import numpy as np
import pytest

from identity_segmentation.engines import FACE_ENGINES, SEGMENTERS, face_engine, segmenter
from identity_segmentation.engines.protocols import BoxSegmenter, FaceEngine
from identity_segmentation.errors import EngineUnavailable, InputError
from identity_segmentation.geometry import box_iou, face_to_body_bbox
from identity_segmentation.settings import Settings


@pytest.fixture(params=list(FACE_ENGINES))
def faces_engine(request):
    return request.getfixturevalue({"embedded": "embedded_faces", "insightface": "insightface_mini"}[request.param])


@pytest.fixture(params=list(SEGMENTERS))
def masks_engine(request):
    """Every segmenter; SAM 3 with random weights, so only what does not depend on them can be asked of it."""
    fixtures = {"embedded": "embedded_masks", "sam3": "sam3_official", "sam3-hf": "sam3_hf", "sam3.1": "sam31"}
    return request.getfixturevalue(fixtures[request.param])


@pytest.fixture
def trained_engine(embedded_masks):
    return embedded_masks


# ---- faces


def test_a_face_engine_keeps_the_protocol(faces_engine):
    assert isinstance(faces_engine, FaceEngine)
    assert faces_engine.id and len(faces_engine.model_hash) == 16 and faces_engine.dim > 0
    assert 0 < faces_engine.outlier < faces_engine.threshold < 1 and 0 < faces_engine.margin < 0.5
    assert "\n" not in faces_engine.describe()


def test_six_people_at_a_table_are_six_faces(faces_engine, group):
    faces = faces_engine.faces(group)
    assert len(faces) == 6
    assert [f.score for f in faces] == sorted((f.score for f in faces), reverse=True)
    for face in faces:
        assert face.embedding.shape == (faces_engine.dim,) and np.linalg.norm(face.embedding) == pytest.approx(
            1, abs=1e-5
        )
        left_eye, right_eye, nose, left_mouth, right_mouth = face.landmarks
        assert left_eye[0] < right_eye[0] and left_mouth[0] < right_mouth[0]
        assert max(left_eye[1], right_eye[1]) < nose[1] + face.side / 2 and nose[1] < max(left_mouth[1], right_mouth[1])
        x0, y0, x1, y1 = face.box
        assert x0 < nose[0] < x1 and y0 < nose[1] < y1
    overlaps = box_iou(*[np.stack([f.box for f in faces])] * 2)
    assert (overlaps - np.eye(6)).max() < 0.3


def test_the_same_faces_come_out_of_a_mirrored_picture(faces_engine, group):
    straight = faces_engine.faces(group)
    mirrored = faces_engine.faces(np.ascontiguousarray(group[:, ::-1]))
    assert len(mirrored) == 6
    similarity = np.array([[float(a.embedding @ b.embedding) for b in mirrored] for a in straight])
    width = group.shape[1]
    for i, face in enumerate(straight):
        j = int(similarity[i].argmax())
        assert abs(width - face.centre[0] - mirrored[j].centre[0]) < face.side / 3
        assert similarity[i, j] > faces_engine.threshold


def test_detection_alone_gives_the_same_boxes_without_embeddings(faces_engine, group):
    plain, full = faces_engine.faces(group, embed=False), faces_engine.faces(group)
    assert all(f.embedding is None for f in plain)
    assert np.allclose([f.box for f in plain], [f.box for f in full])


def test_small_faces_in_a_large_picture_are_found(faces_engine, group):
    import cv2

    canvas = np.full((2400, 3600, 3), 110, np.uint8)
    small = cv2.resize(group, None, fx=0.4, fy=0.4, interpolation=cv2.INTER_AREA)  # faces of about 45 pixels
    for y, x in ((200, 300), (1900, 2900)):
        canvas[y : y + small.shape[0], x : x + small.shape[1]] = small
    assert len(faces_engine.faces(canvas)) >= 11


def test_a_face_that_fills_the_picture_is_found(faces_engine, astronaut):
    assert len(faces_engine.faces(astronaut[30:210, 140:310].copy())) == 1


@pytest.mark.parametrize("shape", [(1, 1), (3, 700), (2, 5000), (40, 40), (900, 900)])
def test_pictures_without_faces_give_an_empty_list(faces_engine, shape):
    assert faces_engine.faces(np.full((*shape, 3), 127, np.uint8)) == []


def test_what_is_no_picture_is_refused(faces_engine):
    with pytest.raises(InputError, match="expected an image"):
        faces_engine.faces(np.zeros((20, 20), np.uint8))


# ---- masks


def test_a_segmenter_keeps_the_protocol(masks_engine):
    assert isinstance(masks_engine, BoxSegmenter)
    assert masks_engine.id and "\n" not in masks_engine.describe() and masks_engine.uses_neighbours in (True, False)


def test_segments_are_in_order_whole_and_agree_with_their_mattes(masks_engine, group):
    boxes = [[100, 200, 500, 880], [0, 0, 1280, 886], [700.5, 300.25, 900.75, 800]]
    segments = masks_engine.by_box(masks_engine.encode(group), boxes)
    assert len(segments) == 3
    for box, segment in zip(boxes, segments, strict=True):
        assert segment.mask.shape == group.shape[:2] and segment.engine == masks_engine.id
        assert 0 <= segment.score <= 1
        x0, y0, x1, y1 = segment.box.astype(int)
        if segment.area:
            assert segment.mask[y0:y1, x0:x1].sum() == segment.area
            single = masks_engine.by_box(masks_engine.encode(group), [box])[0]
            differ = np.count_nonzero(single.mask ^ segment.mask)
            assert differ <= 0.02 * max(segment.area, single.area), "alone or among others, a box is the same box"
        if segment.alpha is not None and segment.area:
            assert (segment.alpha[segment.mask] > 100).all() and (segment.alpha[~segment.mask] < 155).all()


def test_one_mask_a_box_in_order_at_full_size(trained_engine, group, embedded_faces):
    faces = embedded_faces.faces(group, embed=False)
    boxes = [face_to_body_bbox(f, group.shape) for f in faces]
    segments = trained_engine.by_box(trained_engine.encode(group), boxes, faces)
    assert len(segments) == 6
    for face, segment in zip(faces, segments, strict=True):
        assert segment.mask.shape == group.shape[:2] and segment.engine == trained_engine.id
        assert 0 < segment.score <= 1
        x, y = (int(v) for v in face.centre)
        assert segment.mask[y, x], "a person's mask holds their face"
        x0, y0, x1, y1 = segment.box.astype(int)
        assert segment.mask[y0:y1, x0:x1].sum() == segment.area
        if segment.alpha is not None:
            assert (segment.alpha[segment.mask] > 100).all() and (segment.alpha[~segment.mask] < 155).all()


def test_nobodys_face_lies_in_anothers_mask(trained_engine, group, embedded_faces):
    faces = embedded_faces.faces(group, embed=False)
    boxes = [face_to_body_bbox(f, group.shape) for f in faces]
    segments = trained_engine.by_box(trained_engine.encode(group), boxes, faces)
    for i, face in enumerate(faces):
        x, y = (int(v) for v in face.centre)
        assert [k for k, s in enumerate(segments) if s.mask[y, x]] == [i]


def test_prompting_again_gives_the_same_mask(masks_engine, astronaut):
    box = [0, 0, 400, 512]
    encoded = masks_engine.encode(astronaut)
    first, second = (masks_engine.by_box(encoded, [box])[0] for _ in range(2))
    fresh = masks_engine.by_box(masks_engine.encode(astronaut), [box])[0]
    assert (first.mask == second.mask).all() and (first.mask == fresh.mask).all()


def test_encoding_does_not_change_or_keep_the_callers_picture(masks_engine, astronaut):
    image = astronaut.copy()
    encoded = masks_engine.encode(image)
    masks_engine.by_box(encoded, [[0, 0, 400, 512]])
    assert (image == astronaut).all()


def test_the_person_in_a_box_is_found_without_a_face(trained_engine, astronaut):
    (segment,) = trained_engine.by_box(trained_engine.encode(astronaut), [[20, 0, 380, 512]])
    assert segment.mask[130, 215] and segment.mask[400, 180], "head and chest"
    assert not segment.mask[60, 450], "the space shuttle"


def test_no_boxes_give_no_masks_and_bad_boxes_are_refused(masks_engine, astronaut):
    encoded = masks_engine.encode(astronaut)
    assert masks_engine.by_box(encoded, np.zeros((0, 4))) == []
    with pytest.raises(InputError):
        masks_engine.by_box(encoded, [[600, 10, 700, 60]])
    with pytest.raises(InputError):
        masks_engine.by_box(encoded, [[50, 10, 50, 60]])


@pytest.mark.parametrize("shape", [(1, 1), (2, 300), (64, 48)])
def test_tiny_pictures_give_a_mask_of_their_size(masks_engine, shape):
    image = np.full((*shape, 3), 90, np.uint8)
    (segment,) = masks_engine.by_box(masks_engine.encode(image), [[0, 0, shape[1], shape[0]]])
    assert segment.mask.shape == shape


# ---- the registry


def test_an_unknown_engine_is_refused_with_those_there_are():
    with pytest.raises(InputError, match="auto, insightface, embedded"):
        face_engine("facenet")
    with pytest.raises(InputError, match="auto, sam3, sam3-hf, embedded"):
        segmenter("unet")


def test_a_named_engine_never_falls_back(tmp_path):
    settings = Settings(insightface_models=str(tmp_path))
    with pytest.raises(EngineUnavailable, match="det_10g.onnx and w600k_r50.onnx belong in"):
        face_engine("insightface", settings)


def test_auto_takes_what_runs_and_says_why_not_better(tmp_path, caplog):
    with caplog.at_level("INFO"):
        engine = face_engine("auto", Settings(insightface_models=str(tmp_path)))
    assert engine.id == "embedded"
    assert (
        "embedded faces" in caplog.text and "not insightface: InsightFace pack 'buffalo_l' is not here" in caplog.text
    )


def test_auto_prefers_a_pack_that_is_there(mini_pack):
    engine = face_engine(
        "auto", Settings(insightface_pack="mini_2.5g", insightface_models=str(mini_pack.parent.parent))
    )
    assert engine.id == "insightface/mini_2.5g"


def test_when_nothing_can_run_every_reason_is_given(tmp_path, monkeypatch):
    monkeypatch.setenv("IDSEG_NETS", str(tmp_path))
    with pytest.raises(
        EngineUnavailable, match=r"(?s)no face engine can run.*insightface: .*embedded: .*idseg fetch-nets"
    ):
        face_engine("auto", Settings(insightface_models=str(tmp_path)))

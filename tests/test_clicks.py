"""Clicks on a picture of a video: what they mean is added to a matte or taken out of it, through its shot, and back."""

from __future__ import annotations

import json
from itertools import islice
from pathlib import Path

import cv2
import numpy as np
import pytest
from fakes import FakeMasks, draw
from test_following import WholeBox, ground, iou, masks_of
from test_video import ADA, MasksThroughCompression, make_video, people  # noqa: F401

from identity_segmentation import IdentityAwareSegmentation
from identity_segmentation.cli.command import main
from identity_segmentation.errors import EngineUnavailable, InputError
from identity_segmentation.geometry import decode_rle, encode_rle
from identity_segmentation.types import Segment
from identity_segmentation.video.analysis import Click, read_analysis, read_lines
from identity_segmentation.video.clicks import click, touched
from identity_segmentation.video.corrections import correct, undo
from identity_segmentation.video.files import VideoReader

SIZE = (240, 320)
CUT = 30
COUNT = 44


def boot_at(i: int) -> tuple[int, int]:
    """Where the boot's upper left corner is; before the cut and after it."""
    return 70 + 4 * i, round(180 + 8 * np.sin(i / 5))


def scene(i: int) -> np.ndarray:
    """Ada walks with a boot before her, over a ground with something to see everywhere; then another place."""
    picture = stage(3, 128, 35) if i < CUT else stage(9, 170, 20)
    ada = draw((ADA, 40 + 4 * i if i < CUT else 290, 60), size=SIZE)
    there = (ada == ADA).all(-1)
    picture[there] = ADA
    picture[boot(i)] = patch()[boot(0)[180:210, 70:120]].reshape(-1, 3)
    return picture


def stage(seed: int, grey: int, most: int) -> np.ndarray:
    """Stone: something to see everywhere, and nowhere the colour of a person."""
    noise = np.random.default_rng(seed).normal(0, 60, (*SIZE, 1)).astype(np.float32)
    stone = np.clip(cv2.GaussianBlur(noise, (0, 0), 3) * 3, -most, most)
    return (stone[..., None] + np.full(3, grey, np.float32)).astype(np.uint8)


def patch() -> np.ndarray:
    """30 x 50 pixels of dark leather."""
    noise = np.random.default_rng(8).normal(0, 60, (30, 50, 3)).astype(np.float32)
    return np.clip(cv2.GaussianBlur(noise, (0, 0), 2) * 1.5 + np.float32([40, 30, 25]), 0, 255).astype(np.uint8)


def boot(i: int) -> np.ndarray:
    """bool: a shaft and a foot."""
    x, y = boot_at(i)
    mask = np.zeros(SIZE, bool)
    mask[y : y + 30, x : x + 24] = True
    mask[y + 16 : y + 30, x : x + 50] = True
    return mask


class Clickable(MasksThroughCompression):
    """Draws people as they are drawn, and things as the embedded engine does."""

    def __init__(self, things):
        super().__init__()
        self.things = things

    def encode(self, image_bgr):
        return super().encode(image_bgr), self.things.encode(image_bgr)

    def by_box(self, encoded, boxes, faces=None, others=()):
        return super().by_box(encoded[0], boxes, faces, others)

    def by_points(self, encoded, points, inside, box=None):
        return self.things.by_points(encoded[1], points, inside, box)


@pytest.fixture
def pipeline(people, embedded_masks):  # noqa: F811
    return IdentityAwareSegmentation(people.face_engine, Clickable(embedded_masks), people.gallery)


@pytest.fixture
def clip(tmp_path):
    return make_video(tmp_path / "clip.mp4", [scene(i) for i in range(COUNT)])


def rendered(pipeline, clip, tmp_path, name="Ada", **look) -> tuple[Path, bytes, dict[int, np.ndarray]]:
    """(the analysis, the masks file as bytes, masks)."""
    out = tmp_path / "out.mp4"
    report = pipeline.process_video(clip, out, name, masks=True, **look)
    return Path(report.files["analysis"]), Path(report.files["masks"]).read_bytes(), masks_of(out)


def middle(i: int) -> tuple[float, float]:
    """A place on the boot."""
    return boot_at(i)[0] + 12.0, boot_at(i)[1] + 20.0


def test_what_was_clicked_is_followed_both_ways_and_stops_at_the_cut(pipeline, clip, tmp_path):
    path, _, _ = rendered(pipeline, clip, tmp_path)
    said = click(path, clip, "Ada", [middle(14)], [True], 14 / 25, pipeline.segmenter)
    assert sorted(said.regions) == list(range(CUT)) and (said.name, said.frame, said.adds) == ("Ada", 14, True)
    scores = [iou(decode_rle(said.regions[i]), boot(i)) for i in range(CUT)]
    assert min(scores) > 0.8, scores
    (read,) = read_analysis(path).clicks
    assert (read.name, read.frame, read.adds, read.regions) == ("Ada", 14, True, said.regions)
    assert read_analysis(path).regions == {}, "a click is no followed box"
    later = click(path, clip, "Ada", [middle(CUT)], [True], CUT / 25, pipeline.segmenter)
    assert sorted(later.regions) == list(range(CUT, COUNT))


def test_it_is_followed_no_longer_than_asked(pipeline, clip, tmp_path):
    path, _, _ = rendered(pipeline, clip, tmp_path)
    for seconds, first, last in ((0.2, 9, 19), (0, 14, 14)):
        said = click(path, clip, "Ada", [middle(14)], [True], 14 / 25, pipeline.segmenter, seconds)
        assert sorted(said.regions) == list(range(first, last + 1))


def test_a_click_adds_a_boot_another_takes_it_out_and_undo_brings_the_old_masks_back(pipeline, clip, tmp_path):
    path, before, masks = rendered(pipeline, clip, tmp_path)
    assert (masks[14] & boot(14)).sum() < 0.05 * boot(14).sum(), "the boot is no part of her"
    click(path, clip, "Ada", [middle(14)], [True], 14 / 25, pipeline.segmenter)
    _, added, masks = rendered(pipeline, clip, tmp_path)
    for i in range(2, CUT):
        assert (masks[i] & boot(i)).sum() > 0.9 * boot(i).sum(), i
    assert (masks[CUT + 4] & boot(CUT + 4)).sum() < 0.05 * boot(CUT + 4).sum()
    click(path, clip, "Ada", [middle(20)], [False], 20 / 25, pipeline.segmenter)
    masks = rendered(pipeline, clip, tmp_path)[2]
    assert all((masks[i] & boot(i)).sum() < 0.1 * boot(i).sum() for i in range(4, CUT)), "what is said last holds"
    assert all((masks[i] & ~boot(i)).sum() > 3000 for i in range(CUT)), "and nothing of her is gone"
    assert undo(path) == "what was clicked in frame 20 is taken out of the matte of Ada"
    assert rendered(pipeline, clip, tmp_path)[1] == added
    assert undo(path) == "what was clicked in frame 14 is added to the matte of Ada"
    assert rendered(pipeline, clip, tmp_path)[1] == before


def test_somebody_elses_matte_is_left_alone_and_one_who_is_missing_may_be_clicked(pipeline, clip, tmp_path):
    path, _, _ = rendered(pipeline, clip, tmp_path, "Bo")
    click(path, clip, "Ada", [middle(14)], [True], 14 / 25, pipeline.segmenter)
    assert rendered(pipeline, clip, tmp_path, "Bo")[2] == {}
    said = click(path, clip, "Bo", [middle(14)], [True], 14 / 25, pipeline.segmenter)
    masks = rendered(pipeline, clip, tmp_path, "Bo")[2]
    assert sorted(masks) == sorted(said.regions), "she was not found here: it is the boot alone"


def test_a_click_survives_an_analysis_made_anew_and_a_name_that_is_gone_takes_it_along(pipeline, clip, tmp_path):
    path, _, _ = rendered(pipeline, clip, tmp_path)
    track = read_analysis(path).tracks[0]
    click(path, clip, "Ada", [middle(14)], [True], 14 / 25, pipeline.segmenter, 0.2)
    click(path, clip, "Cy", [middle(14)], [True], 14 / 25, pipeline.segmenter, 0.2)
    correct(path, track, "Ada")
    lines = read_lines(path)
    lines[0]["gallery"] = "another state"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    without = IdentityAwareSegmentation(pipeline.face_engine, pipeline.segmenter, pipeline.gallery.without("Cy"))
    report = without.process_video(clip, tmp_path / "out.mp4", "Ada", masks=True)
    assert "1 correction(s) found nobody" in report.remarks[0]
    found = read_analysis(path)
    assert [line["kind"] for line in found.corrections] == ["click", "name"]
    assert [said.name for said in found.clicks] == ["Ada"]
    assert (masks_of(tmp_path / "out.mp4")[14] & boot(14)).sum() > 0.9 * boot(14).sum()


def test_two_clicks_are_two_things_each_followed_by_itself(pipeline, tmp_path):
    def pair(i):
        return boot(i) | np.roll(boot(i), -120, 0)

    pictures = []
    for i in range(20):
        picture = scene(i)
        picture[np.roll(boot(i), -120, 0)] = picture[boot(i)]
        pictures.append(picture)
    clip = make_video(tmp_path / "clip.mp4", pictures)
    path, _, _ = rendered(pipeline, clip, tmp_path)
    points = [middle(10), (middle(10)[0], middle(10)[1] - 120)]
    said = click(path, clip, "Ada", points, [True, True], 10 / 25, pipeline.segmenter)
    assert min(iou(decode_rle(said.regions[i]), pair(i)) for i in range(20)) > 0.8


def test_a_real_persons_mask_loses_what_was_clicked_and_keeps_the_face(tmp_path, astronaut, embedded_masks):
    """A real person: her helmet is taken out of the box around her."""
    small = cv2.resize(astronaut, (320, 320), interpolation=cv2.INTER_AREA)
    clip = make_video(tmp_path / "clip.mp4", [np.ascontiguousarray(np.roll(small, i, 1)) for i in range(12)])
    boxed = IdentityAwareSegmentation("nobody asks for faces", WholeBox(), gallery=tmp_path / "none")
    out = tmp_path / "out.mp4"
    report = boxed.process_video(clip, out, "her", box=[60, 10, 310, 310], masks=True)
    before = masks_of(out)[6]
    path = Path(report.files["analysis"])
    said = click(path, clip, "her", [(256, 262)], [False], 0.24, embedded_masks)
    assert len(read_analysis(path).regions[1]) and said.regions.keys() <= set(range(12))
    boxed.process_video(clip, out, "her", box=[60, 10, 310, 310], masks=True)
    after = masks_of(out)[6]
    taken = before & ~after
    assert taken[257:267, 250:260].all() and taken[276, 238], "the light on it as well"
    assert not taken[40:100, 120:160].any()
    assert not (after & ~before).any() and taken.sum() < 0.3 * before.sum()


def test_a_click_in_the_analysis_of_a_box_stays_in_its_shot(clip, tmp_path, embedded_masks):
    pipeline = IdentityAwareSegmentation("nobody asks for faces", WholeBox(), gallery=tmp_path / "none")
    x, y = boot_at(10)
    report = pipeline.process_video(clip, tmp_path / "out.mp4", "boot", box=[x, y, x + 50, y + 30], at=0.4)
    path = report.files["analysis"]
    found = read_analysis(path)
    assert [shot.begin for shot in found.shots] == [0, 30]
    said = click(path, clip, "boot", [middle(28)], [True], 28 / 25, embedded_masks)
    assert max(said.regions) == CUT - 1
    said = click(path, clip, "boot", [middle(31)], [True], 31 / 25, embedded_masks)
    assert min(said.regions) == CUT
    assert read_analysis(path).regions == found.regions


# ---- what is added and taken out in a frame


def square(x: int) -> dict:
    mask = np.zeros((20, 40), bool)
    mask[5:15, x : x + 10] = True
    return encode_rle(mask)


def test_the_nearest_frame_holds_between_two_and_nothing_beyond():
    said = Click("Ada", 4, True, {4: square(0), 8: square(20)})
    at = {i: touched([said], "Ada", i, (20, 40))[0] for i in (3, 4, 5, 7, 8, 9)}
    assert at[3] is None and at[9] is None
    assert (at[5] == at[4]).all() and (at[7] == at[8]).all() and at[4][10, 5] == 1 and at[8][10, 5] == 0
    assert touched([said], "Bo", 5, (20, 40)) == touched([said], 7, 5, (20, 40)) == (None, None)
    larger, taken = touched([said], "Ada", 4, (40, 80))
    assert larger.shape == (40, 80) and larger.dtype == np.float32 and larger[20, 10] == 1 and taken is None


def test_what_was_said_later_holds():
    add, take = Click("Ada", 4, True, {4: square(0)}), Click("Ada", 4, False, {4: square(5)})
    added, taken = touched([add, take], "Ada", 4, (20, 40))
    assert added[10, 2] == 1 and added[10, 7] == 0 and taken[10, 12] == 1
    added, taken = touched([take, add], "Ada", 4, (20, 40))
    assert added[10, 7] == 1 and taken[10, 7] == 0 and taken[10, 12] == 1


# ---- what the segmenter is asked


class Told(FakeMasks):
    """A segmenter that answers with a disc or with everything, and keeps what it was asked."""

    id = "told"

    def __init__(self, radius=None):
        super().__init__()
        self.radius, self.asked = radius, []

    def by_points(self, encoded, points, inside, box=None):
        self.asked.append((encoded.shape[1::-1], [tuple(p) for p in points], list(inside)))
        mask = np.ones(encoded.shape[:2], bool)
        if self.radius is not None:
            rows, columns = np.mgrid[: mask.shape[0], : mask.shape[1]]
            mask = np.hypot(columns - points[0][0], rows - points[0][1]) < self.radius
        return Segment(mask, 0.9, [0, 0, mask.shape[1], mask.shape[0]], self.id)


def test_what_is_taken_out_stays_near_and_no_face_goes_that_was_not_clicked(people, tmp_path):  # noqa: F811
    clip = make_video(tmp_path / "clip.mp4", [draw((ADA, 160, 60), size=SIZE)] * 6)
    path, _, _ = rendered(people, clip, tmp_path)
    head = (slice(54, 66), slice(154, 166))
    everything = Told()
    said = click(path, clip, "Ada", [(160, 110)], [False], 0, everything, 0)
    region = decode_rle(said.regions[0])
    assert not region[head].any() and region[110, 200] and not region[110, 240] and not region[200, 160]
    size, _, inside = everything.asked[-2]
    assert inside == [True, False] and size[0] < 160, (
        "her head is beside it; only when all is in vain the whole is shown"
    )
    region = decode_rle(click(path, clip, "Ada", [(160, 60)], [False], 0, everything, 0).regions[0])
    assert region[head].all(), "it was clicked itself"


def test_a_small_thing_is_looked_at_closely_and_a_larger_one_from_further_off(people, tmp_path):  # noqa: F811
    clip = make_video(tmp_path / "clip.mp4", [cv2.resize(ground(1), SIZE[::-1])] * 3)
    path, _, _ = rendered(people, clip, tmp_path)
    for radius, windows in ((10, 1), (40, 2), (80, 3)):
        told = Told(radius)
        said = click(path, clip, "Ada", [(160, 120)], [True], 0, told, 0)
        assert len(told.asked) == windows
        assert decode_rle(said.regions[0]).sum() == pytest.approx(np.pi * radius**2, rel=0.05)


# ---- the command, and what it is not given


def test_the_command(data, tmp_path, capsys, monkeypatch):
    """Real people in a film: a tool is taken out of the mask of the one who stands beside it."""
    monkeypatch.chdir(tmp_path)
    common = ["--gallery", str(tmp_path / "g"), "--face-engine", "embedded", "--segmenter", "embedded"]
    with VideoReader(data / "identity/friends/friends.mp4") as reader:
        pictures = [frame.image for frame in islice(reader.frames(135), 30)]
    clip = make_video(tmp_path / "friends.mp4", pictures)
    assert main(["people", "build", str(data / "identity/friends/refs"), *common]) == 0
    assert main(["analyse", str(clip), *common]) == 0
    capsys.readouterr()
    told = ["click", str(clip), str(clip), "--name", "joey", "--at", "0.56", "--for", "0.4"]
    assert main([*told, "--not-point", "230,335", *common]) == 0
    out = capsys.readouterr()
    assert "of the picture is taken out of the mask of Joey, " in out.out and "rename OUT --undo" in out.err
    assert main(["rename", str(clip), "--undo", *common]) == 0
    assert "taken back: what was clicked in frame 14 is taken out of the matte of Joey" in capsys.readouterr().out
    for words, says in (
        (told, "expected --point X,Y on what is to be added"), ([*told, "--point", "9"], "a point as X,Y, got '9'"),
        ([*told, "--point", "900,9"], "within the 640 x 360 picture"),
        ([*told[:4], "Zoe", *told[5:], "--point", "9,9"], "Zoe"),
    ):  # fmt: skip
        assert main([*words, *common]) == 1
        assert says in capsys.readouterr().err


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ({"points": [(400, 10)]}, r"within the 320 x 240 picture, got \[400, 10\]"),
        ({"points": [(-1, 10)]}, "within the 320 x 240 picture"),
        ({"points": [(float("nan"), 10)]}, "within the 320 x 240 picture"),
        ({"points": []}, "expected a point or more"),
        ({"points": [(9, 9), (20, 20)]}, "2 points and 1"),
        ({"at": 99}, "the video ends at 1.720 s"),
        ({"at": -1}, "0 seconds or more"),
        ({"at": float("nan")}, "0 seconds or more"),
        ({"seconds": -1}, "expected 0 to 60 seconds"),
        ({"seconds": 1e9}, "expected 0 to 60 seconds"),
        ({"name": "Zoe"}, "'Zoe' was not in the gallery when this was analysed; expected Ada, Bo, Cy"),
        ({"source": "other.mp4"}, r"is not the video that was analysed \(clip.mp4\).*idseg click OUT VIDEO"),
        ({"source": "none.mp4"}, "is not the video that was analysed"),
        ({"segmenter": Told()}, "runs on over .* --not-point X,Y"),
        ({"segmenter": Told(0)}, "nothing can be made out at .* --not-point X,Y beside it"),
    ],
)
def test_a_bad_click_is_refused_and_nothing_is_written(pipeline, clip, tmp_path, asked, says):
    make_video(tmp_path / "other.mp4", [scene(0)] * 3)
    path, _, _ = rendered(pipeline, clip, tmp_path)
    before = path.read_bytes()
    given = {"name": "Ada", "points": [middle(14)], "inside": [True], "at": 14 / 25, "segmenter": pipeline.segmenter}
    given |= asked | {"source": tmp_path / asked.get("source", "clip.mp4")}
    if not given["points"]:
        given["inside"] = []
    with pytest.raises(InputError, match=says):
        click(path, **given)
    assert path.read_bytes() == before


def test_an_engine_that_takes_no_clicks_says_which_does(people, clip, tmp_path):  # noqa: F811
    path, _, _ = rendered(people, clip, tmp_path)
    with pytest.raises(EngineUnavailable, match="the segmenter fake-masks takes no clicks.*--segmenter embedded"):
        click(path, clip, "Ada", [middle(14)], [True], 0.5, people.segmenter)
    assert read_analysis(path).clicks == ()

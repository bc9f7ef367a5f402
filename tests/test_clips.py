"""Long videos into clips, objects and crops: whose id is whose, what is written, what a second run does not repeat."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from dataclasses import asdict
from fractions import Fraction

import av
import cv2
import numpy as np
import pytest
from test_following import WholeBox, ball, ground
from test_video import make_video

from identity_segmentation.cli.command import main
from identity_segmentation.errors import EngineUnavailable, InputError
from identity_segmentation.geometry import decode_rle
from identity_segmentation.types import Segment
from identity_segmentation.video.clip_settings import ClipSettings, chosen_clips, parse_between, parse_box, taken_at
from identity_segmentation.video.clips import process_folder, write_crop
from identity_segmentation.video.files import VideoReader
from identity_segmentation.video.finders import finder_for

RED, BLUE = (30, 40, 220), (220, 60, 30)


class SeesBalls:
    """Knows the word "ball": patches of strong red or blue."""

    id = "sees-balls"
    uses_neighbours = False
    calls = 0

    def describe(self):
        return self.id

    def encode(self, image_bgr):
        return image_bgr

    def by_box(self, encoded, boxes, faces=None, others=()):
        return WholeBox().by_box(encoded.shape[:2], boxes)

    def by_text(self, encoded, phrase):
        type(self).calls += 1
        found = []
        for colour in (RED, BLUE) if phrase == "ball" else ():
            near = (np.abs(encoded.astype(int) - colour).sum(-1) < 160).astype(np.uint8)
            near = cv2.morphologyEx(near, cv2.MORPH_CLOSE, np.ones((9, 9), np.uint8))
            count, labels, stats, _ = cv2.connectedComponentsWithStats(near)
            for i in range(1, count):
                x, y, w, h, area = stats[i]
                if area > 600:
                    found.append(Segment(labels == i, 0.9, [x, y, x + w, y + h], self.id))
        return found


GREY = np.full((180, 320, 3), 120, np.uint8)


def frame(i: int) -> np.ndarray:
    """A red ball from the start; a blue one enters at 14, hides at 24-26, and both go on."""
    picture = ball(GREY, 50 + 3 * i, 60, RED, 20)
    if i >= 14 and not 24 <= i <= 26:
        picture = ball(picture, 290 - 3 * i, 130, BLUE, 20)
    return picture


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "in").mkdir()
    make_video(tmp_path / "in" / "소 1.mp4", [frame(i) for i in range(40)])
    return tmp_path / "in"


def settings(**given) -> ClipSettings:
    return ClipSettings(**({"prompt": "ball", "frames_per_clip": 10, "crop_size": 64} | given))


class RoundInBox(WholeBox):
    """Takes things to be round."""

    def by_box(self, encoded, boxes, faces=None, others=()):
        segments = []
        for x0, y0, x1, y1 in boxes:
            y, x = np.mgrid[: encoded[0], : encoded[1]]
            round_ = ((x - (x0 + x1) / 2) / (x1 - x0)) ** 2 + ((y - (y0 + y1) / 2) / (y1 - y0)) ** 2 < 0.25
            segments.append(Segment(round_, 0.9, [x0, y0, x1, y1], self.id))
        return segments


def made(out):
    """The folder of the one video."""
    return next(p for p in out.iterdir() if p.is_dir())


def records(out):
    return [json.loads(p.read_bytes()) for p in sorted(made(out).glob("clip_*.json"))]


def test_objects_keep_their_ids_through_clips_and_those_that_come_late_are_found(folder, tmp_path):
    out = tmp_path / "out"
    (outcome,) = process_folder(folder, out, settings(), SeesBalls())
    assert (outcome.status, outcome.clips, outcome.objects, outcome.crops) == ("done", 4, 2, 7)
    found = records(out)
    assert [[o["id"] for o in r["objects"]] for r in found] == [[1], [1, 2], [1, 2], [1, 2]]
    late = found[1]["objects"][1]
    assert late["at"] == list(range(4, 10))
    hidden = found[2]["objects"][1]
    assert hidden["at"] == [0, 1, 2, 3, 7, 8, 9], "away for three frames, and the same when it is back"
    for record in found:
        for one in record["objects"]:
            for at, mask, box in zip(one["at"], one["masks"], one["boxes"], strict=True):
                x = 50 + 3 * record["frames"][at] if one["id"] == 1 else 290 - 3 * record["frames"][at]
                assert abs((box[0] + box[2]) / 2 - x) < 3 and decode_rle(mask).shape == (180, 320)


def test_a_crop_holds_the_object_and_nothing_else(folder, tmp_path):
    out = tmp_path / "out"
    process_folder(folder, out, settings(), SeesBalls())
    path = made(out) / records(out)[0]["objects"][0]["crop"]
    with VideoReader(path) as reader:
        pictures = [f.image for f in reader]
        assert (reader.info.width, reader.info.height) == (64, 64) and float(reader.info.fps) == 25
    assert len(pictures) == 10
    for picture in pictures:
        assert picture[32, 32].max() > 100 and picture[:4].max() < 40 and picture[:, :4].max() < 40
    sizes = [np.count_nonzero(p.max(-1) > 90) for p in pictures]
    assert max(sizes) < 1.15 * min(sizes), "one scale: nothing pumps"


@pytest.mark.parametrize("background", ["keep", "blur"])
def test_other_backgrounds_keep_what_is_behind(background):
    images = [frame(i) for i in range(6)]
    seen = {}
    for i, image in enumerate(images):
        segment = SeesBalls().by_text(image, "ball")[0]
        seen[i] = (segment.mask, segment.box, 0.9)
    import tempfile
    from pathlib import Path

    with tempfile.TemporaryDirectory() as scratch:
        path = write_crop(images, seen, settings(background=background), Path(scratch) / "a.mp4", Fraction(25))
        with VideoReader(path) as reader:
            assert next(iter(reader)).image[:8, :8].mean() > 25


def test_a_crop_larger_than_the_picture_is_black_around_it(tmp_path):
    image = np.full((40, 30, 3), 200, np.uint8)
    seen = {0: (np.ones((40, 30), bool), np.array([0, 0, 30, 40]), 1.0)}
    path = write_crop([image], seen, settings(crop_size=128, padding=1.0), tmp_path / "a.mp4", Fraction(5))
    with VideoReader(path) as reader:
        picture = next(iter(reader)).image
    assert picture[:20].max() < 30 and picture[60:68, 60:68].min() > 150
    assert write_crop([image], {}, settings(), tmp_path / "b.mp4", Fraction(5)) is None


def test_a_second_run_keeps_what_is_done_and_a_missing_crop_is_made_again(folder, tmp_path):
    out = tmp_path / "out"
    process_folder(folder, out, settings(), SeesBalls())
    before = {p: p.read_bytes() for p in out.rglob("*") if p.is_file()}
    SeesBalls.calls = 0
    (outcome,) = process_folder(folder, out, settings(), SeesBalls())
    assert outcome.kept == 4 and SeesBalls.calls == 0
    assert {p: p.read_bytes() for p in out.rglob("*") if p.is_file()} == before
    (made(out) / "clip_00002" / "object_002.mp4").unlink()
    (outcome,) = process_folder(folder, out, settings(), SeesBalls())
    assert outcome.kept == 3 and SeesBalls.calls == 10
    assert {p: p.read_bytes() for p in out.rglob("*.json*") if p.is_file()} == {
        p: b for p, b in before.items() if ".json" in p.suffix
    }
    (outcome,) = process_folder(folder, out, settings(padding=0.3), SeesBalls())
    assert outcome.kept == 0, "another question"


def test_one_bad_video_is_reported_and_the_rest_is_done(folder, tmp_path):
    (folder / "bad.mp4").write_bytes(b"\x00\x01 not a video" * 50)
    (folder / "empty.mp4").write_bytes(b"")
    outcomes = process_folder(folder, tmp_path / "out", settings(), SeesBalls())
    by_name = {o.video.rsplit("/", 1)[1]: o for o in outcomes}
    assert by_name["소 1.mp4"].status == "done" and by_name["소 1.mp4"].clips == 4
    assert "not a video" in by_name["bad.mp4"].status and "empty" in by_name["empty.mp4"].status


def test_a_clip_with_nothing_in_it_is_recorded_without_a_crop(tmp_path):
    (tmp_path / "in").mkdir()
    make_video(tmp_path / "in" / "a.mp4", [GREY] * 12)
    (outcome,) = process_folder(tmp_path / "in", tmp_path / "out", settings(), SeesBalls())
    assert (outcome.clips, outcome.objects, outcome.crops) == (2, 0, 0)
    rows = [json.loads(r) for r in (tmp_path / "out" / "manifest.jsonl").read_text("utf-8").splitlines()]
    assert [r["clip"] for r in rows] == [0, 1] and all("id" not in r for r in rows)


def test_steps_clips_and_choices(folder, tmp_path):
    path = folder / "소 1.mp4"

    def steady(frames, fps=25):
        return [i / fps for i in range(frames)]

    assert chosen_clips(settings(), steady(40), path) == [0, 1, 2, 3]
    assert chosen_clips(settings(clips="2"), steady(40), path) == [0, 3]
    assert chosen_clips(settings(clips="99"), steady(40), path) == [0, 1, 2, 3]
    picked = chosen_clips(settings(clips="random:2"), steady(400), path)
    assert picked == chosen_clips(settings(clips="random:2"), steady(400), path) and len(set(picked)) == 2
    assert picked != chosen_clips(settings(clips="random:2", seed=1), steady(400), path)
    assert chosen_clips(settings(frame_step=100), steady(40), path) == [0], "a step longer than the video: one frame"
    (outcome,) = process_folder(folder, tmp_path / "out", settings(frame_step=100), SeesBalls())
    assert outcome.clips == 1 and records(tmp_path / "out")[0]["frames"] == [0]


def test_only_the_asked_hours_of_a_video_that_says_when_it_was_taken(tmp_path):
    path = tmp_path / "barn_2026-03-01_08-59-58.mp4"
    assert taken_at(path).hour == 8
    times = [i / 5 for i in range(100)]
    assert chosen_clips(settings(between="09:00-17:00"), times, path) == list(range(1, 10))
    assert chosen_clips(settings(between="17:00-09:00"), times, path) == [0]
    plain = make_video(tmp_path / "plain.mp4", [ground(1)] * 3)
    with pytest.raises(InputError, match="says when it was taken"):
        chosen_clips(settings(between="09:00-17:00"), times, plain)
    assert parse_between("9:00 - 17:30")[1].minute == 30


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("barn_2026-03-01_09-15-00", (9, 15, 0)), ("20260301_091500", (9, 15, 0)), ("2026-03-01 09.15", (9, 15, 0)),
        ("cam1-09-15-30", (9, 15, 30)), ("2026-03-01", None), ("barn_2026-03-01", None), ("holiday 2019_12_24", None),
        ("GX010203", None), ("cow_1234", None),
    ],
)  # fmt: skip
def test_a_date_is_no_time_of_day(tmp_path, name, expected):
    found = taken_at(tmp_path / f"{name}.mp4") if expected else None
    if expected is None:
        path = make_video(tmp_path / f"{name}.mp4", [GREY] * 2)
        assert taken_at(path) is None
    else:
        assert (found.hour, found.minute, found.second) == expected


def test_two_boxes_in_one_frame_are_two_objects(tmp_path):
    pictures = [ball(ball(GREY, 60 + 3 * i, 50, RED, 20), 60 + 3 * i, 130, BLUE, 20) for i in range(12)]
    make_video(tmp_path / "a.mp4", pictures)
    boxes = ((38, 28, 82, 72, 0), (38, 108, 82, 152, 0))
    (outcome,) = process_folder(tmp_path / "a.mp4", tmp_path / "out", settings(boxes=boxes), RoundInBox())
    assert outcome.objects == 2 and [o["id"] for o in records(tmp_path / "out")[1]["objects"]] == [1, 2]


def test_nothing_is_carried_over_a_cut_between_two_clips(tmp_path):
    one, other = ground(1), ground(9, (160, 60, 60))
    pictures = [ball(one, 60 + 4 * i, 90) for i in range(10)] + [other] * 10
    make_video(tmp_path / "a.mp4", pictures)
    given = settings(prompt="", boxes=((34, 64, 87, 117, 0),))
    process_folder(tmp_path / "a.mp4", tmp_path / "out", given, RoundInBox())
    assert [len(r["objects"]) for r in records(tmp_path / "out")] == [1, 0]


def test_two_videos_of_one_name_keep_their_results_apart_and_another_question_leaves_nothing_stale(tmp_path):
    for place, count in (("a", 40), ("b", 15)):
        (tmp_path / place).mkdir()
        make_video(tmp_path / place / "v.mp4", [frame(i) for i in range(count)])
    out = tmp_path / "out"
    process_folder(tmp_path / "a", out, settings(), SeesBalls())
    mine = {p: p.read_bytes() for p in (out / "v").rglob("*") if p.is_file()}
    process_folder(tmp_path / "b", out, settings(), SeesBalls())
    assert {p: p.read_bytes() for p in (out / "v").rglob("*") if p.is_file()} == mine and (out / "v-2").is_dir()
    process_folder(tmp_path / "a", out, settings(prompt="guitar", frames_per_clip=20), SeesBalls())
    assert not list((out / "v").rglob("*.mp4")) and len(list((out / "v").glob("clip_*.json"))) == 2


def test_a_video_that_ends_early_is_not_done(tmp_path):
    noisy = [np.random.default_rng(i).integers(0, 255, (120, 160, 3), dtype=np.uint8) for i in range(60)]
    path = make_video(tmp_path / "a.mkv", noisy, options={"crf": "0", "preset": "ultrafast", "g": "10"})
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    (outcome,) = process_folder(path, tmp_path / "out", settings(), SeesBalls())
    assert "ends early" in outcome.status and outcome.clips >= 1


# ---- how long a video is, and when its frames are: what is decoded is the truth

SLOWS_DOWN = [i for i in range(120) if i < 40 or i % 6 == 0]  # 30 pictures a second, then 5: a screen recording
SPEEDS_UP = [i for i in range(120) if i > 80 or i % 6 == 0]  # 5, then 30: a camera that wakes up


def variable(path, frames, fps):
    return make_video(path, [frame(i) for i in frames], fps=Fraction(fps), pts=[round(i * 1000 / 30) for i in frames])


@pytest.mark.parametrize(("name", "frames", "fps"), [("slows.mkv", SLOWS_DOWN, 30), ("speeds.mkv", SPEEDS_UP, 5)])
def test_all_clips_go_on_to_the_last_frame_whatever_the_container_says(tmp_path, name, frames, fps):
    path = variable(tmp_path / name, frames, fps)
    with VideoReader(path) as reader:
        assert abs(reader.info.frames - len(frames)) > 20, "the container is wrong"
    (outcome,) = process_folder(path, tmp_path / "out", settings(frames_per_clip=8), SeesBalls())
    assert outcome.clips == -(-len(frames) // 8)
    found = records(tmp_path / "out")
    assert [i for r in found for i in r["frames"]] == list(range(len(frames)))
    assert [t for r in found for t in r["times"]] == pytest.approx([i / 30 for i in frames], abs=0.002)


@pytest.mark.parametrize(("name", "frames", "fps"), [("slows.mkv", SLOWS_DOWN, 30), ("speeds.mkv", SPEEDS_UP, 5)])
def test_a_number_of_clips_is_spread_over_the_true_length(tmp_path, name, frames, fps):
    path = variable(tmp_path / name, frames, fps)
    last = -(-len(frames) // 4) - 1
    (outcome,) = process_folder(path, tmp_path / "out", settings(frames_per_clip=4, clips="3"), SeesBalls())
    chosen = [r["clip"] for r in records(tmp_path / "out")]
    assert outcome.clips == 3 and (chosen[0], chosen[-1]) == (0, last)
    process_folder(path, tmp_path / "r", settings(frames_per_clip=4, clips="random:99"), SeesBalls())
    assert [r["clip"] for r in records(tmp_path / "r")] == list(range(last + 1))


def test_hours_of_the_day_go_by_the_real_times_of_frames(tmp_path):
    # Seconds 0-4, of which the first 1.3 have 40 frames: by the declared rate half a minute of day would be off.
    path = variable(tmp_path / "barn_2026-03-01_08-59-58.mkv", SLOWS_DOWN, 30)
    process_folder(path, tmp_path / "out", settings(frames_per_clip=4, between="09:00-17:00"), SeesBalls())
    found = records(tmp_path / "out")
    assert found[0]["times"][0] >= 2 and found[0]["times"][0] < 2 + 4 / 5
    assert found[-1]["frames"][-1] == len(SLOWS_DOWN) - 1


def test_a_container_that_does_not_say_how_long_it_is(tmp_path):
    path = tmp_path / "a.h264"
    make_video(path, [frame(i) for i in range(25)], codec="libx264", pix="yuv420p", options={"crf": "5"})
    with VideoReader(path) as reader:
        assert reader.info.frames == 0
    told = []
    (outcome,) = process_folder(
        path, tmp_path / "out", settings(), SeesBalls(), None, lambda *said: told.append(said[1:])
    )
    assert (outcome.status, outcome.clips) == ("done", 3) and told == [(1, 1), (2, 2), (3, 3)]
    (outcome,) = process_folder(path, tmp_path / "two", settings(clips="2"), SeesBalls())
    assert [r["clip"] for r in records(tmp_path / "two")] == [0, 2]


def test_crops_keep_the_real_times_of_a_variable_rate(tmp_path):
    path = variable(tmp_path / "a.mkv", SLOWS_DOWN, 30)
    process_folder(path, tmp_path / "out", settings(frames_per_clip=10), SeesBalls())
    for record in records(tmp_path / "out"):
        for one in record["objects"]:
            with av.open(str(made(tmp_path / "out") / one["crop"])) as crop:
                times = [float(f.pts * f.time_base) for f in crop.decode(video=0)]
            shown = record["times"][one["at"][0] : one["at"][-1] + 1]
            assert [t - times[0] for t in times] == pytest.approx([t - shown[0] for t in shown], abs=0.0015)


def test_the_cache_key_of_steady_videos_is_that_of_earlier_versions(folder, tmp_path):
    """Else a new version would do hours of work again."""
    process_folder(folder, tmp_path / "out", settings(), SeesBalls())
    stat = (folder / "소 1.mp4").stat()
    asked = [
        "소 1.mp4",
        stat.st_size,
        stat.st_mtime_ns,
        asdict(settings()),
        finder_for(settings(), SeesBalls(), None).id,
    ]
    old = hashlib.sha256(json.dumps(asked, ensure_ascii=False).encode()).hexdigest()
    assert {r["question"] for r in records(tmp_path / "out")} == {old}


def test_old_records_of_a_variable_rate_are_made_again_and_new_ones_kept(tmp_path):
    path = variable(tmp_path / "a.mkv", SLOWS_DOWN, 30)
    out = tmp_path / "out"
    (first,) = process_folder(path, out, settings(), SeesBalls())
    assert process_folder(path, out, settings(), SeesBalls())[0].kept == first.clips
    for file in made(out).glob("clip_*.json"):  # as if their crops had a steady rate
        record = json.loads(file.read_bytes())
        file.write_text(json.dumps(record | {"question": record["question"].split()[0]}))
    assert process_folder(path, out, settings(), SeesBalls())[0].kept == 4, "those of steady frames"


def test_a_file_that_ends_early_for_once_loses_no_clips(tmp_path):
    path = make_video(tmp_path / "a.mkv", [frame(i) for i in range(40)], options={"crf": "0", "preset": "ultrafast"})
    out, stat, whole = tmp_path / "out", path.stat(), path.read_bytes()
    process_folder(path, out, settings(), SeesBalls())
    path.write_bytes(whole[: len(whole) // 2])  # as a network drive that goes away
    os.truncate(path, len(whole))
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    process_folder(path, out, settings(), SeesBalls())
    assert len(list(made(out).glob("clip_*.json"))) == 4


# ---- which videos


def test_videos_of_one_name_in_sub_folders_keep_apart_and_their_folders_run_after_run(folder, tmp_path):
    (folder / "cam2").mkdir()
    shutil.copy(folder / "소 1.mp4", folder / "cam2" / "소 1.mp4")
    make_video(folder / "cam2" / "b.MTS", [frame(i) for i in range(10)], codec="libx264", pix="yuv420p")
    out = tmp_path / "out"
    outcomes = process_folder(folder, out, settings(), SeesBalls())
    assert [o.status for o in outcomes] == ["done"] * 3

    def owners():
        return {p.parent.name: json.loads(p.read_bytes())["source"] for p in out.glob("*/source.json")}

    first = owners()
    assert set(first) == {"소_1", "소_1-2", "b"} and first["소_1-2"].endswith("cam2/소 1.mp4")
    again = process_folder([folder / "cam2", folder / "소 1.mp4"], out, settings(), SeesBalls())
    assert owners() == first and all(o.kept == o.clips for o in again)
    inside = process_folder(folder, folder / "crops", settings(), SeesBalls())
    assert len(process_folder(folder, folder / "crops", settings(), SeesBalls())) == len(inside), "crops are no videos"


def test_the_command_takes_several_and_names_what_it_passes_over(folder, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("identity_segmentation.engines.segmenter", lambda *_: SeesBalls())
    (folder / "a.jpg").write_bytes(b"\xff\xd8\xff\xe0\0\x10JFIF")
    words = ["clips", str(folder / "*.mp4"), str(folder), "--prompt", "ball", "--out", str(tmp_path / "out"), "--json"]
    assert main(words) == 0
    said = capsys.readouterr()
    assert [o["clips"] for o in json.loads(said.out)] == [2] and f"{folder / 'a.jpg'}: a picture" in said.err
    (folder / "bad.mp4").write_bytes(b"\0\1 not a video")
    assert main(words) == 4
    assert len(json.loads(capsys.readouterr().out)) == 2
    assert main(["clips", str(folder / "*.avi"), "--prompt", "ball"]) == 1
    assert "nothing matches" in capsys.readouterr().err


def test_what_is_in_a_box_is_followed_over_clips_from_its_own_on(folder, tmp_path):
    frames = [ball(ground(3), 60 + 4 * i, 90) for i in range(40)]
    make_video(tmp_path / "b.mp4", frames)
    box = (60 + 4 * 15 - 26, 64, 60 + 4 * 15 + 27, 117, 15)
    out = tmp_path / "out"
    (outcome,) = process_folder(tmp_path / "b.mp4", out, settings(prompt="", boxes=(box,)), RoundInBox())
    assert outcome.objects == 1 and outcome.crops == 3
    found = records(out)
    assert [len(r["objects"]) for r in found] == [0, 1, 1, 1] and all(r["objects"][0]["id"] == 1 for r in found[1:])
    for record in found[1:]:
        (one,) = record["objects"]
        assert one["at"] == list(range(10)), "backward to the start of its clip, forward to the end of the video"
        for at, mask in zip(one["at"], one["masks"], strict=True):
            truth = (ball(np.zeros((180, 320, 3), np.uint8), 60 + 4 * record["frames"][at], 90) > 0).any(-1)
            found_mask = decode_rle(mask)
            assert (found_mask & truth).sum() / (found_mask | truth).sum() > 0.45


def test_the_tiny_sam3_follows_words_through_clips(tmp_path, sam3_hf):
    make_video(tmp_path / "a.mp4", [frame(i) for i in range(8)])
    given = settings(prompt="ball", frames_per_clip=4, threshold=0.0)
    (outcome,) = process_folder(tmp_path / "a.mp4", tmp_path / "out", given, sam3_hf)
    assert outcome.status == "done" and outcome.clips == 2 and outcome.crops > 0


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"prompt": ""}, "expected a word"),
        ({"frames_per_clip": 0}, "frames_per_clip"),
        ({"frame_step": 0}, "frame_step"),
        ({"crop_size": 3}, "crop_size"),
        ({"padding": 9.0}, "padding"),
        ({"background": "pink"}, "black, keep, blur"),
        ({"clips": "some"}, "random:N"),
        ({"between": "9-5"}, "HH:MM-HH:MM"),
        ({"between": "25:00-26:00"}, "HH:MM-HH:MM"),
        ({"seed": -1}, "seed"),
        ({"padding": "0.1"}, "padding as a number"),
        ({"prompt": 3}, "prompt as text"),
        ({"boxes": ((1, 2, 3),)}, "five numbers"),
    ],
)
def test_settings_that_cannot_be_are_refused(given, says):
    with pytest.raises(InputError, match=says):
        settings(**given)


def test_boxes_and_configurations_are_read(tmp_path):
    assert parse_box("1,2.5,30,40@7") == (1, 2.5, 30, 40, 7) and parse_box("1,2,3,4")[4] == 0
    for bad in ("1,2,3", "1.2.3,0,4,5", "a,b,c,d", ""):
        with pytest.raises(InputError, match="x0,y0,x1,y1@frame"):
            parse_box(bad)
    path = tmp_path / "c.toml"
    path.write_text('prompt = "cow"\nframe_step = 4\nboxes = ["1,2,30,40@7"]\n')
    read = ClipSettings.from_toml(path, frame_step=2, crop_size=None)
    assert (read.prompt, read.frame_step, read.boxes) == ("cow", 2, ((1, 2, 30, 40, 7),))
    path.write_text('prompt = "cow"\nclips = 3\n')
    assert ClipSettings.from_toml(path).clips == "3"
    path.write_text("colour = 3\n")
    with pytest.raises(InputError, match="unknown colour"):
        ClipSettings.from_toml(path)
    path.write_text("= nonsense")
    with pytest.raises(InputError, match="not a configuration"):
        ClipSettings.from_toml(path)


def test_words_that_the_embedded_engine_does_not_know_are_refused_before_any_work(folder, tmp_path, embedded_masks):
    with pytest.raises(EngineUnavailable, match="knows face, person.*cow.*sam3-hf"):
        process_folder(folder, tmp_path / "out", settings(prompt="unicorn"), embedded_masks)
    with pytest.raises(InputError, match="no videos"):
        process_folder(tmp_path / "out", tmp_path / "out", settings(), SeesBalls())


def test_the_command_cuts_people_out_of_a_real_video(data, tmp_path, capsys):
    words = ["clips", str(data / "videos" / "sam3_bedroom.mp4"), "--prompt", "사람", "--frames-per-clip", "20"]
    engines = ["--face-engine", "embedded", "--segmenter", "embedded"]
    out = tmp_path / "out"
    assert main([*words, "--frame-step", "4", "--out", str(out), *engines]) == 0
    assert "done" in capsys.readouterr().out
    found = records(out)
    crops = [o["crop"] for r in found for o in r["objects"]]
    assert crops and all((out / "sam3_bedroom" / c).stat().st_size > 500 for c in crops)
    assert main(["clips", str(tmp_path / "none"), "--prompt", "person"]) == 1
    assert "no such folder" in capsys.readouterr().err

"""Mattes of video as a user sees them: everybody has theirs wherever they are to be seen, and nobody has another's."""

from __future__ import annotations

import json
import threading
from dataclasses import replace
from functools import lru_cache
from itertools import islice, pairwise

import cv2
import numpy as np
import pytest
from fakes import BACKGROUND, SIDE, draw
from test_tracked_mattes import head_at, iou, sample, scene_of
from test_video import ADA, BO, MasksThroughCompression, make_video, people, pictures, walk  # noqa: F401

import identity_segmentation.video.files as files
import identity_segmentation.video.render as rendering
from identity_segmentation.errors import Cancelled
from identity_segmentation.geometry import decode_rle, encode_rle, mask_box
from identity_segmentation.types import Frame, Segment
from identity_segmentation.video.analysis import FaceRecord
from identity_segmentation.video.belonging import Present, judged, owned
from identity_segmentation.video.carrying import voted
from identity_segmentation.video.files import prefetched
from identity_segmentation.video.flow import Flow
from identity_segmentation.video.mattes import Mattes
from identity_segmentation.video.motion import Motion
from identity_segmentation.video.runs import Run, parts_in, runs_in, shots_of, spanned
from identity_segmentation.video.scene import heads_at
from identity_segmentation.video.shots import Shot
from identity_segmentation.video.tracking import TrackPoint

# ---- pictures with known answers


def texture(seed, size, most) -> np.ndarray:
    """int (H, W): coarse and fine detail, as pictures have it, no stronger than `most` grey levels."""
    noise = np.random.default_rng(seed).normal(size=size)
    layers = [cv2.GaussianBlur(noise, (0, 0), sigma) for sigma in (2, 5, 12)]
    mixed = sum(layer / layer.std() for layer in layers)
    return np.clip(mixed * most / 3, -most, most).astype(int)


@lru_cache
def ground(seed=0, size=(240, 320)) -> np.ndarray:
    """Grey ground with something to be seen on it, so that motion and cuts show."""
    return np.repeat((128 + texture(seed, size, 30)).astype(np.uint8)[..., None], 3, 2)


def plain(size=(240, 320)) -> np.ndarray:
    """Ground without anything on it: there, the flow finds people as small as these."""
    return np.full((*size, 3), BACKGROUND, np.uint8)


def stand(*cast, on=None) -> np.ndarray:
    """The people of `draw` on some ground, with folds in their clothes that move with them."""
    image = (plain() if on is None else on).copy()
    height, width = image.shape[:2]
    folds = _folds()
    for colour, x, y in cast:
        theirs = (draw((colour, x, y), size=image.shape[:2]) == colour).all(-1)
        moved = np.roll(folds, (y, x), (0, 1))[:height, :width, None]
        image[theirs] = (np.array(colour) + moved)[theirs]
    return image


@lru_cache
def _folds() -> np.ndarray:
    return texture(99, (400, 1000), 24)


def faceless(picture, x, y=60, on=None) -> np.ndarray:
    """The same picture; the head at (x, y) is not to be seen."""
    hidden, half = picture.copy(), SIDE // 2
    part = slice(y - half, y + half), slice(x - half, x + half)
    hidden[part] = (plain() if on is None else on)[part]
    return hidden


def of_colour(picture, colour) -> np.ndarray:
    """bool (H, W): where somebody truly is; folds are lighter or darker, in all colours alike."""
    blue, green, red = cv2.split(picture.astype(np.int16))
    return (blue - green == int(colour[0]) - colour[1]) & (green - red == int(colour[1]) - colour[2])


# ---- what comes out


def masks_of(path) -> dict[str, dict[int, np.ndarray]]:
    """person -> frame -> mask, of a rendered video."""
    found: dict[str, dict[int, np.ndarray]] = {}
    for row in map(json.loads, path.with_name(f"{path.name}.masks.jsonl").read_text("utf-8").splitlines()):
        found.setdefault(row["person"], {})[row["frame"]] = decode_rle(row)
    return found


def rendered(people, tmp_path, shown, whom, name="out", **how):  # noqa: F811
    """(the report, everybody's masks) of a video made of these pictures."""
    clip = tmp_path / "clip.mp4"
    if not clip.exists():
        make_video(clip, shown)
    out = tmp_path / f"{name}.mp4"
    report = people.process_video(clip, out, whom, masks=True, **{"smoothing": 1, **how})
    return report, masks_of(out)


def assert_same(one, other):
    """The same bytes of masks and the same pictures; how the encoder packs these is its own affair."""
    first, second = (path.with_name(f"{path.name}.masks.jsonl").read_bytes() for path in (one, other))
    assert first == second and first
    assert all((a == b).all() for a, b in zip(pictures(one), pictures(other), strict=True))


def known_scene(samples, drawn=("Ada",), segmenter=None, *, frames, shots=(), fps=25, **how):
    """A scene on an analysis made by hand."""
    scene = scene_of(samples, list(drawn), segmenter or MasksThroughCompression(), frames=frames, **how)
    header = {**scene.analysis.header, "fps": [fps, 1]}
    return replace(scene, analysis=replace(scene.analysis, header=header, shots=(Shot(0, "begin"), *shots)))


def placed_in(scene, shown, part=250):
    """(the mattes at work in every part, everything placed in every picture), each part for itself as in a render."""
    plan, samples = (
        runs_in(scene.analysis, parts_in(scene.analysis, part)),
        {s.index: s for s in scene.analysis.samples},
    )
    entries = ((Frame(i, i / 25, p, i), scene.flow.grey(p)) for i, p in enumerate(shown))
    runs, works, placed = spanned(entries, plan), [], []
    for start in range(0, len(shown), part):
        works.append(Mattes(scene, samples))
        mine = islice(runs, sum(start <= run.begin < start + part for run in plan))
        placed += [one for run in works[-1].runs(mine) for one in run]
    return works, placed


def mattes_in(scene, shown, part=250) -> list[dict]:
    """{person: uint8 matte} of every picture."""
    return [placed.mattes() for placed in placed_in(scene, shown, part)[1]]


def seen_at(index, who, x, y=60, evidence="body"):
    return TrackPoint({"Ada": 1, "Bo": 2}[who], head_at(x, y), evidence)


def solid_frames(found, who) -> list[int]:
    """The frames in which somebody has a matte that is more than half there."""
    return [i for i, mattes in enumerate(found) if who in mattes and (mattes[who] > 127).any()]


# ---- as a user: whole videos


@pytest.mark.parametrize("sampling", [1, 5, 300])
def test_everybody_has_a_mask_in_every_frame_whatever_the_sampling(people, tmp_path, sampling):  # noqa: F811
    shown = [stand((ADA, 60 + 3 * i, 60), (BO, 260, 60)) for i in range(32)]
    report, found = rendered(people, tmp_path, shown, ["Ada", "Bo"], frame_sampling=sampling)
    for who, colour in (("Ada", ADA), ("Bo", BO)):
        assert sorted(found[who]) == list(range(32))
        fits = min(iou(found[who][i], of_colour(shown[i], colour)) for i in range(32))
        assert fits > (0.9 if sampling < 300 else 0.75), "the one mask of all is carried through 31 frames"
    assert report.coverage == {"Ada": 1.0, "Bo": 1.0} and report.on_screen["Ada"] == pytest.approx(32 / 25)


@pytest.mark.parametrize("count", [1, 2, 4, 6])
def test_videos_of_a_few_frames_are_whole(people, tmp_path, count):  # noqa: F811
    shown = [stand((ADA, 60 + 3 * i, 60)) for i in range(count)]
    report, found = rendered(people, tmp_path, shown, "Ada")
    assert report.frames == count and sorted(found["Ada"]) == list(range(count))
    assert len(pictures(tmp_path / "out.mp4")) == count


def hidden_between(first, last, count=46):
    """Ada walks slowly; in the frames from first to last her face is not to be seen."""
    shown = [stand((ADA, 80 + i, 60)) for i in range(count)]
    return [faceless(p, 80 + i) if first <= i <= last else p for i, p in enumerate(shown)]


# Looked for in vain at 10 and 15, 35 and 40, 20 and 25. A run of a second ends at 25.
# FAULT with (16, 29): a gap that a run's end lies in is not bridged, so there is no mask from 20 to 25.
@pytest.mark.parametrize(("first", "last"), [(6, 19), (31, 44), (16, 29)])
def test_a_person_whose_face_is_hidden_for_two_samples_keeps_the_mask(people, tmp_path, first, last):  # noqa: F811
    shown = hidden_between(first, last, 48)
    _, found = rendered(people, tmp_path, shown, "Ada")
    assert sorted(found["Ada"]) == list(range(48))
    assert min(iou(found["Ada"][i], of_colour(shown[i], ADA)) for i in range(48)) > 0.8


def test_somebody_else_in_the_same_place_for_a_while_gets_no_mask(people, tmp_path):  # noqa: F811
    """FAULT: Bo is drawn as Ada; see the tests on an analysis made by hand."""
    shown = [stand((BO if 6 <= i <= 19 else ADA, 160, 60), on=ground(3)) for i in range(30)]
    _, found = rendered(people, tmp_path, shown, "Ada")
    taken = {i for i, mask in found["Ada"].items() if iou(mask, of_colour(shown[i], BO)) > 0.1}
    assert not taken & set(range(10, 16)), "at 10 and 15 it was seen that Bo stands there"


@pytest.mark.parametrize("cut", [14, 15, 16, 25])
def test_masks_end_with_the_shot_and_begin_with_the_next(people, tmp_path, cut):  # noqa: F811
    here, there = ground(1), ground(2)[:, ::-1] // 2
    shown = [stand((ADA, 160, 60), on=here)] * cut + [stand((BO, 160, 60), on=there)] * (40 - cut)
    _, found = rendered(people, tmp_path, shown, ["Ada", "Bo"], smoothing=5)
    assert sorted(found["Ada"]) == list(range(cut)) and sorted(found["Bo"]) == list(range(cut, 40))


def test_the_last_frames_after_the_last_sample_have_mask_and_name(people, tmp_path):  # noqa: F811
    shown = [stand((ADA, 60 + 3 * i, 60)) for i in range(29)]
    report, found = rendered(people, tmp_path, shown, "Ada", frame_sampling=10)
    assert sorted(found["Ada"]) == list(range(29)) and report.on_screen["Ada"] == pytest.approx(29 / 25)
    assert iou(found["Ada"][28], of_colour(shown[28], ADA)) > 0.9


def test_a_segmenter_that_draws_the_neighbour_leaves_no_mask_and_coverage_says_so(people, tmp_path):  # noqa: F811
    people.segmenter = Draws(lambda image, box, face: of_colour(image, BO))
    shown = [stand((ADA, 80, 60), (BO, 220, 60))] * 12
    report, found = rendered(people, tmp_path, shown, ["Ada", "Bo"])
    assert "Ada" not in found and report.coverage == {"Ada": 0.0, "Bo": 1.0}
    assert report.on_screen["Ada"] == pytest.approx(12 / 25), "she is there, only without a mask"


def test_a_still_person_costs_a_few_masks_and_a_dancer_more(people, tmp_path):  # noqa: F811
    asked = {}
    for name, way in (("still", 0), ("dancer", 60)):
        (tmp_path / name).mkdir()
        people.segmenter = MasksThroughCompression()
        shown = [stand((ADA, 160 + round(way * np.sin(i * 1.3)), 60)) for i in range(60)]
        _, found = rendered(people, tmp_path / name, shown, "Ada")
        assert sorted(found["Ada"]) == list(range(60))
        asked[name] = people.segmenter.prompts
    assert asked["still"] <= 5, "one at the begin and one a second, of twelve samples"
    assert asked["dancer"] > 2 * asked["still"]


@pytest.mark.parametrize("stop_at", [5, 47])
def test_a_render_stopped_anywhere_ends_with_the_same_masks_and_pictures(people, tmp_path, monkeypatch, stop_at):  # noqa: F811
    monkeypatch.setattr(rendering, "_SEGMENT_SECONDS", 0.8)
    shown = [stand((ADA, 60 + 3 * i, 60), (BO, 200 - i, 70)) for i in range(50)]
    rendered(people, tmp_path, shown, ["Ada", "Bo"], "whole", smoothing=5)
    stop = threading.Event()

    def progress(stage, done, total):
        if stage == "render" and done >= stop_at:
            stop.set()

    with pytest.raises(Cancelled):
        rendered(people, tmp_path, shown, ["Ada", "Bo"], "part", smoothing=5, progress=progress, cancel=stop)
    rendered(people, tmp_path, shown, ["Ada", "Bo"], "part", smoothing=5)
    assert_same(tmp_path / "whole.mp4", tmp_path / "part.mp4")


def test_without_threads_masks_and_pictures_are_the_same(people, tmp_path, monkeypatch):  # noqa: F811
    shown = [stand((ADA, 60 + 3 * i, 60), (BO, 200 - i, 70)) for i in range(40)]
    rendered(people, tmp_path, shown, ["Ada", "Bo"], "threads", smoothing=5)

    def serial(items, depth=4):
        yield from items

    monkeypatch.setattr(rendering, "prefetched", serial)
    rendered(people, tmp_path, shown, ["Ada", "Bo"], "serial", smoothing=5)
    assert_same(tmp_path / "threads.mp4", tmp_path / "serial.mp4")


def test_others_are_blurred_in_every_frame_and_who_is_to_be_seen_in_none(people, tmp_path):  # noqa: F811
    shown = [stand((ADA, 70 + i, 60), (BO, 240, 60), on=ground(3)) for i in range(22)]
    clip = make_video(tmp_path / "clip.mp4", shown)
    people.process_video(clip, tmp_path / "out.mp4", "Ada", view="blur-others")
    for i, (before, after) in enumerate(zip(shown, pictures(tmp_path / "out.mp4"), strict=True)):
        apart = np.abs(before.astype(int) - after).mean(-1)
        bo = cv2.erode(of_colour(before, BO).astype(np.uint8), np.ones((9, 9))) > 0
        ada = cv2.erode(of_colour(before, ADA).astype(np.uint8), np.ones((9, 9))) > 0
        edge = cv2.dilate(bo.astype(np.uint8), np.ones((9, 9))).astype(bool) & ~bo
        assert apart[edge].mean() > 15, f"the outline of Bo is blurred in frame {i}"
        assert apart[ada].mean() < 10, f"Ada is not, in frame {i}"


class Shirts(MasksThroughCompression):
    """Knows a part of a person: the lower half of their mask is the shirt."""

    sure = 0.5

    def by_part(self, encoded, person, face, thing):
        mask = person.mask.copy()
        _, y0, _, y1 = mask_box(mask)
        mask[: int((y0 + y1) / 2)] = False
        return Segment(mask, 0.9, mask_box(mask), self.id)


# ---- runs


def run_frames(run: Run) -> list[int]:
    return list(range(run.begin, run.last + (not run.shared)))


def planned(frames, sampling=5, shots=(), part=250, fps=25, size=(320, 240)):
    scene = known_scene([], frames=frames, sampling=sampling, shots=shots, fps=fps, size=size)
    return runs_in(scene.analysis, parts_in(scene.analysis, part))


SHOTS = [
    (),
    (Shot(1),),
    (Shot(24), Shot(25), Shot(26)),
    (Shot(60), Shot(61)),
    (Shot(99),),
    (Shot(15, "dissolve", (10, 20)),),
    (Shot(2, "dissolve", (0, 5)),),
    (Shot(3, "fade", (1, 6)),),
    (Shot(60, "fade", (30, 90)),),
    (Shot(55, "dissolve", (45, 66)), Shot(70), Shot(75, "fade", (72, 78))),
    (Shot(95, "dissolve", (90, 100)),),
    (Shot(97, "fade", (92, 103)),),
    (Shot(75, "dissolve", (50, 100)),),
]


@pytest.mark.parametrize("shots", SHOTS)
@pytest.mark.parametrize(("sampling", "part"), [(1, 20), (1, 250), (5, 20), (5, 250), (7, 21), (30, 30), (300, 300)])
def test_every_frame_is_in_one_run_and_none_crosses_a_shot_or_a_part(shots, sampling, part):
    runs = planned(100, sampling, shots, part)
    assert [i for run in runs for i in run_frames(run)] == list(range(100))
    firsts = {0, *(shot.mixed[0] if shot.mixed[1] else shot.begin for shot in shots)}
    for run, after in zip(runs, [*runs[1:], None], strict=True):
        assert not firsts & set(range(run.begin + 1, run.last + 1)), "a shot begins with a run"
        assert run.begins == (run.begin in firsts)
        assert run.shared == (after is not None and after.begin == run.last)
        assert not run.shared or run.last % sampling == 0, "what two runs share was looked at"
    for start in range(0, 100, part):  # or a little before, where two shots are mixed
        assert start in {run.begin for run in runs} or any(s.mixed[0] < start < s.mixed[1] for s in shots)


@pytest.mark.parametrize("frames", [0, 1, 2, 4, 5, 6, 24, 25, 26, 50, 51])
@pytest.mark.parametrize("sampling", [1, 5, 300])
def test_short_videos_are_planned_whole(frames, sampling):
    runs = planned(frames, sampling, part=300)
    assert [i for run in runs for i in run_frames(run)] == list(range(max(1, frames)))
    assert runs[-1].shared is False


@pytest.mark.parametrize("mixed", [(10, 14), (12, 48), (40, 90), (3, 99)])
def test_the_first_run_of_a_shot_sees_its_first_whole_frame(mixed):
    shot = Shot(sum(mixed) // 2, "dissolve", mixed)
    run = next(run for run in planned(200, shots=(shot,)) if run.begin == mixed[0])
    assert run.begins and run.mixed == mixed and run.last > mixed[1]
    assert any(i % 5 == 0 for i in range(mixed[1], run.last + 1)), "and one that was looked at"


def test_big_pictures_are_worked_through_in_shorter_runs():
    longest = {
        side: max(run.last - run.begin for run in planned(200, size=(side, side * 9 // 16)))
        for side in (640, 1920, 3840)
    }
    assert longest[640] == 25 > longest[1920] > longest[3840] >= 5


def test_a_slow_and_a_fast_video_have_runs_of_a_second_or_of_thirty_frames():
    assert max(run.last - run.begin for run in planned(300, fps=60)) == 30
    assert max(run.last - run.begin for run in planned(30, fps=1)) == 5, "and never less than a sampling"


@pytest.mark.parametrize("there", [1, 24, 25, 26, 39, 40, 55])
def test_a_video_that_ends_early_or_late_gives_every_frame_there_is_once(there):
    runs = planned(40)
    entries = ((Frame(i, i / 25, np.zeros((2, 2, 3), np.uint8), i), np.zeros((2, 2), np.uint8)) for i in range(there))
    given = list(spanned(entries, runs))
    assert [i for run, _ in given for i in run_frames(run)] == list(range(min(there, 40)))
    assert all([f.index for f, _ in held] == list(range(run.begin, run.last + 1)) for run, held in given)


def test_a_followed_thing_has_its_shots_from_its_samples():
    samples = [sample(0, []), sample(5, []), sample(10, [], cut=True)]
    scene = known_scene(samples, frames=12)
    analysis = replace(scene.analysis, shots=())
    assert [shot.begin for shot in shots_of(analysis)] == [0, 10]
    assert [(run.begin, run.last, run.begins) for run in runs_in(analysis, parts_in(analysis, 250))] == [
        (0, 9, True),
        (10, 11, True),
    ]


# ---- gaps


def gap(fps, between=(), count=46, colour=ADA):
    """Ada was seen at all samples but 20 and 25, where there is what `between` says; she, or another, stands there."""
    shown = [stand((colour if 16 <= i <= 29 else ADA, 100 + i, 60)) for i in range(count)]
    if colour == ADA:
        shown = [faceless(p, 100 + i) if 16 <= i <= 29 else p for i, p in enumerate(shown)]
    samples = [
        sample(i, [seen_at(i, who, 100 + i) for who in (between if i in (20, 25) else ("Ada",))])
        for i in range(0, count, 5)
    ]
    return shown, samples


# At 25 frames a second a run ends at 25, within the gap; at 50 none does. FAULT at 25: the gap is not bridged.
@pytest.mark.parametrize("fps", [25, 50])
def test_who_was_not_seen_for_two_samples_is_there_all_the_same_where_the_picture_goes_on(fps):
    shown, samples = gap(fps)
    found = mattes_in(known_scene(samples, frames=46, fps=fps), shown)
    assert solid_frames(found, "Ada") == list(range(46))
    assert min(iou(found[i]["Ada"] > 127, of_colour(shown[i], ADA)) for i in range(46)) > 0.85


# FAULT at 50: a key frame is made half-way between 15 and 30 (`_halve`), where she was looked for and not seen, and
# Bo, who is in neither sample, does not speak against it; and two mattes that agree are bridged whatever is seen there.
@pytest.mark.parametrize("drawn", [("Ada",), ("Ada", "Bo")])
@pytest.mark.parametrize("fps", [25, 50])
def test_who_was_not_seen_has_no_matte_where_somebody_else_stands(fps, drawn):
    shown, samples = gap(fps, ["Bo"], colour=BO)
    found = mattes_in(known_scene(samples, drawn, frames=46, fps=fps), shown)
    assert not set(solid_frames(found, "Ada")) & set(range(20, 26))
    assert set(solid_frames(found, "Ada")) >= {*range(16), *range(30, 46)}


@pytest.mark.parametrize("drawn", [("Ada",), ("Ada", "Bo")])
def test_somebody_else_who_stands_quite_still_in_the_place_has_no_matte_of_the_one_before(drawn):
    """FAULT: the mattes of both sides agree on the place, so she is drawn on him; nobody asks what is seen there."""
    shown = [stand((BO if 6 <= i <= 19 else ADA, 160, 60)) for i in range(24)]
    samples = [sample(i, [seen_at(i, "Bo" if 6 <= i <= 19 else "Ada", 160)]) for i in range(0, 24, 5)]
    found = mattes_in(known_scene(samples, drawn, frames=24), shown)
    assert not set(solid_frames(found, "Ada")) & set(range(10, 16))


# FAULT at 50: a key frame half-way between the samples 10 and 35, where nobody is, draws the ground (`_halve`).
@pytest.mark.parametrize("fps", [25, 50])
def test_who_goes_away_and_comes_back_is_nowhere_between(fps):
    at, light = {i: 100 if i < 12 else 220 for i in range(41)}, np.full((240, 320, 3), 190, np.uint8)
    shown = [light if 12 <= i <= 31 else stand((ADA, at[i], 60), on=light) for i in range(41)]
    samples = [sample(i, [] if 12 <= i <= 31 else [seen_at(i, "Ada", at[i])]) for i in range(0, 41, 5)]
    found = mattes_in(known_scene(samples, frames=41, fps=fps), shown)
    assert not set(solid_frames(found, "Ada")) & set(range(13, 31))
    assert set(solid_frames(found, "Ada")) >= {*range(12), *range(32, 41)}


# ---- the ends of a shot


@pytest.mark.parametrize(("sampling", "count"), [(5, 24), (10, 29), (20, 39)])
def test_frames_after_the_last_sample_have_matte_and_head(sampling, count):
    shown = [stand((ADA, 60 + 3 * i, 60)) for i in range(count)]
    samples = [sample(i, [seen_at(i, "Ada", 60 + 3 * i)]) for i in range(0, count, sampling)]
    scene = known_scene(samples, frames=count, sampling=sampling)
    found = mattes_in(scene, shown)
    assert min(iou(found[i]["Ada"] > 127, of_colour(shown[i], ADA)) for i in range(count)) > 0.85
    by_index = {s.index: s for s in samples}
    assert all(heads_at(scene, i, by_index)["Ada"].near for i in range(count))


@pytest.mark.parametrize("cut", [11, 13, 14])
def test_frames_before_the_first_sample_of_a_shot_have_matte_and_head(cut):
    shown = [ground(1)] * cut + [stand((ADA, 100 + 3 * i, 60)) for i in range(cut, 30)]
    samples = [sample(i, [seen_at(i, "Ada", 100 + 3 * i)] if i >= cut else [], cut=i == 15) for i in range(0, 30, 5)]
    scene = known_scene(samples, frames=30, shots=[Shot(cut)])
    found = mattes_in(scene, shown)
    assert solid_frames(found, "Ada") == list(range(cut, 30))
    assert min(iou(found[i]["Ada"] > 127, of_colour(shown[i], ADA)) for i in range(cut, 30)) > 0.85
    by_index = {s.index: s for s in samples}
    near = [i for i in range(30) if (head := heads_at(scene, i, by_index).get("Ada")) is not None and head.near]
    assert near == list(range(cut, 30))


def test_a_shot_too_short_for_a_sample_draws_nobody():
    shown = [stand((ADA, 100, 60))] * 11 + [stand((BO, 100, 60))] * 3 + [stand((ADA, 100, 60))] * 8
    samples = [sample(i, [seen_at(i, "Ada", 100)]) for i in range(0, 22, 5)]
    found = mattes_in(known_scene(samples, ("Ada", "Bo"), frames=22, shots=[Shot(11), Shot(14)]), shown)
    assert solid_frames(found, "Ada") == [*range(11), *range(14, 22)] and solid_frames(found, "Bo") == []


# ---- coming and going


def leaving(count=30):
    """Ada walks out over the right border: her head's middle is out from frame 12 on, all of her from 16."""
    shown = [stand((ADA, 250 + 6 * i, 60)) for i in range(count)]
    return shown, [np.count_nonzero(of_colour(p, ADA)) for p in shown]


def whole_body(area) -> list[int]:
    """Frames in which there is more to be seen than a strip that no segmenter would find."""
    return [i for i, pixels in enumerate(area) if pixels > 1000]


@pytest.mark.parametrize("backwards", [False, True])
def test_who_walks_over_the_border_between_samples_has_a_matte_while_seen_and_none_when_not(backwards):
    shown, area = leaving(31)
    at = {i: 250 + 6 * i for i in range(31)}
    if backwards:
        shown, area, at = shown[::-1], area[::-1], {30 - i: x for i, x in at.items()}
    samples = [sample(i, [seen_at(i, "Ada", at[i])] if at[i] < 320 else []) for i in range(0, 31, 10)]
    found = mattes_in(known_scene(samples, frames=31, sampling=10), shown)
    got = {i for i, mattes in enumerate(found) if "Ada" in mattes and (mattes["Ada"] > 127).any()}
    assert got >= set(whole_body(area)), "as long as she is to be seen"
    assert not got & {i for i, pixels in enumerate(area) if not pixels}, "and not after"
    for i in whole_body(area):
        assert iou(found[i]["Ada"] > 127, of_colour(shown[i], ADA)) > 0.75


def test_a_video_of_somebody_walking_out_has_no_mask_after(people, tmp_path):  # noqa: F811
    shown, area = leaving()
    _, found = rendered(people, tmp_path, shown, "Ada")
    assert all(area[i] for i in found["Ada"])
    assert set(found["Ada"]) >= set(range(9)), "her whole face was last seen at 5, and she was looked for at 10"


@pytest.mark.parametrize("cut", [9, 10, 11])
@pytest.mark.parametrize("smoothing", [1, 9])
def test_nothing_is_carried_over_a_cut(cut, smoothing):
    """The ground stays and Bo stands where Ada stood: whatever was carried over would fit."""
    shown = [stand((ADA, 160, 60))] * cut + [stand((BO, 160, 60))] * (25 - cut)
    samples = [sample(i, [seen_at(i, "Ada" if i < cut else "Bo", 160)], cut=0 <= i - cut < 5) for i in range(0, 25, 5)]
    scene = known_scene(samples, ("Ada", "Bo"), frames=25, shots=[Shot(cut)], smoothing=smoothing)
    found = mattes_in(scene, shown)
    assert [i for i, mattes in enumerate(found) if "Ada" in mattes] == list(range(cut))
    assert [i for i, mattes in enumerate(found) if "Bo" in mattes] == list(range(cut, 25))


# ---- dissolves and fades


def mixing(mixed, count, kind="dissolve", sampling=5):
    """Ada at the left dissolves into Bo at the right: (scene, pictures)."""
    old, new = stand((ADA, 80, 60), on=ground(1)), stand((BO, 240, 60), on=ground(2))
    first, end = mixed
    shown = []
    for i in range(count):
        share = np.clip((i - first + 1) / (end - first + 1), 0, 1)
        a, b = (max(0, 1 - 2 * share), max(0, 2 * share - 1)) if kind == "fade" else (1 - share, share)
        shown.append(cv2.addWeighted(old, a, new, b, 0))
    samples = [
        sample(i, [seen_at(i, "Ada", 80)] if i < first else [seen_at(i, "Bo", 240)] if i >= end else [])
        for i in range(0, count, sampling)
    ]
    shot = Shot((first + end) // 2, kind, mixed)
    return known_scene(samples, ("Ada", "Bo"), frames=count, shots=[shot], sampling=sampling), shown


def alpha_at(found, who, x, y=120) -> np.ndarray:
    return np.array([int(mattes[who][y, x]) if who in mattes else 0 for mattes in found])


@pytest.mark.parametrize("mixed", [(12, 22), (10, 20), (13, 58), (11, 13)])
def test_through_a_dissolve_one_fades_and_the_other_comes(mixed):
    count = mixed[1] + 20
    scene, shown = mixing(mixed, count)
    found = mattes_in(scene, shown)
    ada, bo = alpha_at(found, "Ada", 80), alpha_at(found, "Bo", 240)
    assert (np.diff(ada) <= 2).all() and (np.diff(bo) >= -2).all()
    assert (ada[: mixed[0]] > 240).all() and (ada[mixed[1] :] == 0).all()
    assert (bo[: mixed[0]] == 0).all() and (bo[mixed[1] :] > 240).all()
    inside = slice(mixed[0], mixed[1])
    wanted = np.arange(1, mixed[1] - mixed[0] + 1) / (mixed[1] - mixed[0] + 1)
    assert np.abs(bo[inside] / 255 - wanted).max() < 0.06 and np.abs(ada[inside] / 255 - 1 + wanted).max() < 0.06


def test_through_a_fade_one_is_gone_before_the_other_comes():
    scene, shown = mixing((10, 29), 45, "fade")
    found = mattes_in(scene, shown)
    ada, bo = alpha_at(found, "Ada", 80), alpha_at(found, "Bo", 240)
    assert (np.diff(ada) <= 2).all() and (np.diff(bo) >= -2).all()
    assert ada[12] > 150 and bo[26] > 150 and (np.minimum(ada, bo) == 0).all()


def test_a_dissolve_at_the_end_of_a_video_draws_who_was_there():
    scene, shown = mixing((10, 24), 20)
    found = mattes_in(scene, shown)
    assert len(found) == 20 and (np.diff(alpha_at(found, "Ada", 80)) <= 2).all()
    assert not any("Bo" in mattes for mattes in found), "nobody has looked at them unmixed"


def test_a_dissolve_goes_on_where_a_part_of_the_video_ends():
    """FAULT: the next part knows nothing of who is leaving, so she is gone at once."""
    scene, shown = mixing((12, 32), 50)
    ada = alpha_at(mattes_in(scene, shown, part=20), "Ada", 80)
    assert np.abs(np.diff(ada)).max() < 40, "no step in what is seen of her"


def test_who_comes_through_a_dissolve_is_not_missed_before_they_can_be_seen():
    """FAULT: they are present, so that coverage counts them, from the first mixed frame on."""
    scene, shown = mixing((12, 32), 50)
    _, placed = placed_in(scene, shown)
    missed = [
        one.frame.index
        for one in placed
        for who in one.present
        if who not in (mattes := one.mattes()) or not (mattes[who] > 127).any()
    ]
    assert missed == []


# ---- whose mask it is


class Draws(MasksThroughCompression):
    """A segmenter that draws what a test says, of (picture, box, face or None), and leaves neighbours to itself."""

    id = "draws"
    uses_neighbours = True

    def __init__(self, rule):
        super().__init__()
        self.rule = rule

    def by_box(self, encoded, boxes, faces=None, others=()):
        found = []
        for i, box in enumerate(np.asarray(boxes, np.float32).reshape(-1, 4)):
            self.prompts += 1
            mask = self.rule(encoded, box, faces[i] if faces else None)
            found.append(Segment(mask, 0.9, box, self.id))
        return found


def in_box(image, box, colours) -> np.ndarray:
    x0, y0, x1, y1 = (int(v) for v in box)
    mask = np.zeros(image.shape[:2], bool)
    mask[y0:y1, x0:x1] = True
    return mask & np.logical_or.reduce([of_colour(image, colour) for colour in colours])


def body_at(x, y=60):
    return (x - SIDE - 1.0, y - 13.0, x + SIDE + 2.0, y + 5.0 * SIDE + 2)


def two(ada=80, bo=220, bodies=True, hidden=None, count=11):
    """Ada and Bo stand: (samples, pictures). Whoever is hidden has no face that was found, and is in no track."""
    shown = [stand((ADA, ada, 60), (BO, bo, 60))] * count
    if hidden is not None:
        shown = [faceless(p, bo) for p in shown]
    samples = []
    for i in range(0, count, 5):
        points = [replace(seen_at(i, "Ada", ada, evidence="face"), face=0)]
        faces = [FaceRecord(head_at(ada), 0.9, None)]
        if hidden is None:
            points.append(replace(seen_at(i, "Bo", bo, evidence="face"), face=1))
            faces.append(FaceRecord(head_at(bo), 0.9, None))
        boxes = ((body_at(ada), 1), (body_at(bo), None if hidden else 2)) if bodies else ()
        samples.append(replace(sample(i, points, faces), bodies=boxes))
    return samples, shown


def test_a_mask_on_somebody_else_is_drawn_anew_from_the_bodys_box():
    samples, shown = two()
    wrong = Draws(lambda image, box, face: in_box(image, box, [ADA, BO]) if face is None else of_colour(image, BO))
    found = mattes_in(known_scene(samples, ("Ada", "Bo"), wrong, frames=11), shown)
    for mattes, picture in zip(found, shown, strict=True):
        assert iou(mattes["Ada"] > 127, of_colour(picture, ADA)) > 0.9
        assert iou(mattes["Bo"] > 127, of_colour(picture, BO)) > 0.9


@pytest.mark.parametrize("bodies", [True, False])
@pytest.mark.parametrize("bo", [220, 130])
def test_a_mask_of_both_bodies_never_shows_the_others_face(bodies, bo):
    samples, shown = two(bo=bo, bodies=bodies)
    greedy = Draws(lambda image, box, face: of_colour(image, ADA) | of_colour(image, BO))
    found = mattes_in(known_scene(samples, ("Ada",), greedy, frames=11), shown)
    face = slice(48, 72), slice(bo - 12, bo + 12)
    for mattes, picture in zip(found, shown, strict=True):
        matte = mattes.get("Ada", np.zeros(picture.shape[:2], np.uint8))
        assert matte[face].max() <= 127
        if bodies:
            assert iou(matte > 127, of_colour(picture, ADA)) > 0.7, "cut to her own body, and the room around it"


def test_a_swallowed_neighbour_without_a_face_is_cut_off():
    samples, shown = two(bo=150, hidden="Bo")
    greedy = Draws(lambda image, box, face: of_colour(image, ADA) | of_colour(image, BO))
    found = mattes_in(known_scene(samples, ("Ada",), greedy, frames=11), shown)
    for mattes, picture in zip(found, shown, strict=True):
        own, other = of_colour(picture, ADA), of_colour(picture, BO)
        assert (mattes["Ada"] > 127)[own].mean() > 0.95
        assert (mattes["Ada"] > 127)[other].mean() < 0.2, "Bo's body stands outside of hers"


def test_no_mask_is_better_than_one_on_another_body():
    samples, shown = two()
    stubborn = Draws(lambda image, box, face: of_colour(image, BO))
    _, placed = placed_in(known_scene(samples, ("Ada",), stubborn, frames=11), shown)
    assert not any("Ada" in one.mattes() for one in placed)
    assert all("Ada" in one.present for one in placed), "so that coverage can say so"


def test_who_is_known_by_the_back_alone_has_the_mask_of_that_body():
    shown = [faceless(stand((ADA, 80 + i, 60), (BO, 220, 60)), 80 + i) for i in range(16)]
    samples = [
        replace(sample(i, [seen_at(i, "Ada", 80 + i)]), bodies=((body_at(80 + i), 1), (body_at(220), None)))
        for i in range(0, 16, 5)
    ]
    wrong = Draws(lambda image, box, face: in_box(image, box, [ADA, BO]) if face is None else of_colour(image, BO))
    found = mattes_in(known_scene(samples, ("Ada",), wrong, frames=16), shown)
    assert min(iou(m["Ada"] > 127, of_colour(p, ADA)) for m, p in zip(found, shown, strict=True)) > 0.85


def test_a_mask_where_no_head_was_found_needs_to_be_in_its_body():
    picture = stand((ADA, 80, 60), (BO, 220, 60))
    mine = Present(None, False, False, np.array(body_at(80)))
    segment = Segment(of_colour(picture, BO), 0.9, [0, 0, 9, 9], "x")
    assert not judged(segment.mask, mine, []).holds
    assert owned(segment, mine, [], lambda box: segment) is None
    right = Segment(of_colour(picture, ADA), 0.9, [0, 0, 9, 9], "x")
    assert owned(segment, mine, [], lambda box: right).mask is right.mask


def test_an_empty_mask_is_nobodys():
    nothing = Segment(np.zeros((240, 320), bool), 0.0, [0, 0, 9, 9], "x")
    assert owned(nothing, Present(np.array(head_at(80)), True, False, None), [], lambda box: nothing) is None
    assert owned(nothing, Present(None, False, False, None), [], lambda box: nothing) is None


def test_somebody_behind_another_keeps_what_is_not_the_others():
    """Bo stands behind Ada; the segmenter gives him her body as well, and no body of his was found."""
    picture = stand((BO, 100, 40), (ADA, 100, 100))
    ada, bo = of_colour(picture, ADA), of_colour(picture, BO)
    mine = Present(np.array(head_at(100, 40)), True, False, None)
    front = Present(np.array(head_at(100, 100)), True, False, np.array([75.0, 30.0, 126.0, 222.0]))
    both = Segment(ada | bo, 0.9, [0, 0, 9, 9], "x")
    kept = owned(both, mine, [front], lambda box: Segment(ada, 0.9, [0, 0, 9, 9], "x"))
    assert kept is not None and not (kept.mask & ada).any() and (kept.mask & bo).sum() > 0.9 * bo.sum()


# ---- key frames


def counted(shown, at, segmenter=None, **how):
    """(mattes of every picture, masks that were asked for) of Ada, who was seen at every fifth frame."""
    samples = [sample(i, [seen_at(i, "Ada", at(i))]) for i in range(0, len(shown), 5)]
    works, placed = placed_in(known_scene(samples, segmenter=segmenter, frames=len(shown), **how), shown)
    return [one.mattes() for one in placed], sum(mattes.segmenting.calls for mattes in works)


def test_who_stands_still_or_walks_is_segmented_once_a_second():
    for pace in (0, 2):
        fake = MasksThroughCompression()
        shown = [stand((ADA, 80 + pace * i, 60)) for i in range(60)]
        found, calls = counted(shown, lambda i, pace=pace: 80 + pace * i, fake)
        assert calls == fake.prompts <= 4 and fake.encodes <= 4, "0, 25, 50 and 55"
        assert min(iou(m["Ada"] > 127, of_colour(p, ADA)) for m, p in zip(found, shown, strict=True)) > 0.85


def test_where_carried_mattes_do_not_agree_more_are_asked_for_and_they_fit():
    def at(i):
        return 160 + round(70 * np.sin(i * 1.1))

    shown = [stand((ADA, at(i), 60)) for i in range(51)]
    found, calls = counted(shown, at)
    assert calls > 8
    assert min(iou(found[i]["Ada"] > 127, of_colour(shown[i], ADA)) for i in range(0, 51, 5)) > 0.85


class WrongIn(MasksThroughCompression):
    """Draws nothing but the left half of anybody in one frame of all, which it knows by the picture's first pixel."""

    uses_neighbours = True

    def __init__(self, frame):
        super().__init__()
        self.frame = frame

    def encode(self, image_bgr):
        return int(image_bgr[0, 0, 0]) - 100, super().encode(image_bgr)

    def by_box(self, encoded, boxes, faces=None, others=()):
        index, picture = encoded
        found = super().by_box(picture, boxes, faces, others)
        if index != self.frame:
            return found
        return [replace(segment, mask=segment.mask & (np.arange(320) < 108)) for segment in found]


# FAULT in 25, where a run ends: nothing after it is known to the run, so the wrong mask shows in 23 and 24.
@pytest.mark.parametrize("wrong", [5, 10, 15, 20, 25, 30])
def test_a_mask_that_is_wrong_in_one_sample_alone_does_not_show(wrong):
    shown = []
    for i in range(51):
        picture = stand((ADA, 100, 60))
        picture[0, 0] = 100 + i
        shown.append(picture)
    found, _ = counted(shown, lambda i: 100, WrongIn(wrong))
    worst = {i: iou(m["Ada"] > 127, of_colour(p, ADA)) for i, (m, p) in enumerate(zip(found, shown, strict=True))}
    assert {i for i, fit in worst.items() if fit < 0.9} == set()


def test_what_two_of_three_key_frames_say_of_a_pixel_holds():
    grey = ground()[..., 0]
    motion = Motion([grey] * 3, Flow(), (320, 240))
    whole, half = np.zeros((240, 320), np.uint8), np.zeros((240, 320), np.uint8)
    whole[60:180, 100:160] = 255
    half[60:180, 100:130] = 255
    soft = {"whole": motion.soft(whole), "half": motion.soft(half)}
    full = (0, 0, 320, 240)
    outvoted = voted({0: soft["whole"], 1: soft["half"], 2: soft["whole"]}, motion)
    assert iou(outvoted[1].within(full) > 127, whole > 127) > 0.99
    cut = voted({0: soft["half"], 1: soft["whole"], 2: soft["half"]}, motion)
    assert iou(cut[1].within(full) > 127, half > 127) > 0.99
    assert iou(voted({0: soft["whole"], 1: soft["half"]}, motion)[1].within(full) > 127, half > 127) > 0.99, "alone"


# ---- two who overlap


class Boasting(Draws):
    """Both are sure of all that lies between them, and who is surer changes with every picture."""

    def __init__(self):
        super().__init__(None)

    def by_box(self, encoded, boxes, faces=None, others=()):
        found = []
        for box, face in zip(np.asarray(boxes, np.float32).reshape(-1, 4), faces, strict=True):
            x = round(float(face.centre[0]))
            mask = np.zeros((240, 320), bool)
            mask[48:180, x - 30 : x + 30] = True
            strength = 255 - 40 * ((self.encodes + (x > 150)) % 2)
            found.append(Segment(mask, 0.9, box, self.id, np.where(mask, strength, 0).astype(np.uint8)))
        return found


# FAULT: who is in front is the sign of an average that is near zero here, so it changes with the newest picture.
@pytest.mark.parametrize("smoothing", [1, 5])
def test_two_who_overlap_share_no_pixel_and_the_border_between_them_stands_still(smoothing):
    shown = [stand((ADA, 130, 60), (BO, 170, 60))] * 24
    samples = [sample(i, [seen_at(i, "Ada", 130), seen_at(i, "Bo", 170)]) for i in range(24)]
    scene = known_scene(samples, ("Ada", "Bo"), Boasting(), frames=24, sampling=1, fps=2, smoothing=smoothing)
    found = mattes_in(scene, shown)
    contested = slice(100, 160), slice(144, 156)
    owners = []
    for mattes in found:
        assert not ((mattes["Ada"] > 127) & (mattes["Bo"] > 127)).any()
        owners.append(bool((mattes["Ada"][contested] > mattes["Bo"][contested]).mean() > 0.5))
    assert sum(a != b for a, b in pairwise(owners)) <= 1, "one owner, once it is settled"


def test_when_somebody_truly_steps_in_front_the_pixels_change_hands_once():
    class Crossing(Draws):
        def by_box(self, encoded, boxes, faces=None, others=()):
            found = []
            late = self.encodes > 10
            for box, face in zip(np.asarray(boxes, np.float32).reshape(-1, 4), faces, strict=True):
                x = round(float(face.centre[0]))
                mask = np.zeros((240, 320), bool)
                mask[48:180, x - 30 : x + 30] = True
                strength = 255 if (x > 150) == late else 140
                found.append(Segment(mask, 0.9, box, self.id, np.where(mask, strength, 0).astype(np.uint8)))
            return found

    shown = [stand((ADA, 130, 60), (BO, 170, 60))] * 40
    samples = [sample(i, [seen_at(i, "Ada", 130), seen_at(i, "Bo", 170)]) for i in range(40)]
    found = mattes_in(known_scene(samples, ("Ada", "Bo"), Crossing(None), frames=40, sampling=1, fps=2), shown)
    owners = [bool(m["Ada"][130, 150] > m["Bo"][130, 150]) for m in found]
    assert owners[0] and not owners[-1] and sum(a != b for a, b in pairwise(owners)) == 1


# ---- motion


def drifting(count=11, step=(3.0, 1.0), size=(240, 320)) -> list[np.ndarray]:
    """Greys of a camera that glides over a large textured ground: all moves by -step a frame."""
    large = np.ascontiguousarray(ground(5, (400, 600))[..., 0])
    return [cv2.getRectSubPix(large, size[::-1], (200 + step[0] * i, 150 + step[1] * i)) for i in range(count)]


# FAULT over 10 frames: each flow errs by 0.05 to 0.1 pixels, all to one side, and the way is their sum.
@pytest.mark.parametrize("step", [(3.0, 1.0), (-2.5, 0.5), (0.0, 0.0)])
@pytest.mark.parametrize(("here", "there"), [(0, 10), (10, 0), (7, 2)])
def test_displacement_over_many_frames_is_the_sum_of_the_way(step, here, there):
    motion = Motion(drifting(step=step), Flow(), (320, 240))
    moved = motion.between(here, there)[50:-50, 60:-60]
    assert np.abs(moved - np.array(step) * (here - there)).max(axis=-1).mean() < 0.5


@pytest.mark.parametrize("by", [1, 2])
def test_a_matte_brought_over_ten_frames_keeps_its_shape(by):
    motion = Motion(drifting(), Flow(), (by * 320, by * 240))
    here, there = (np.zeros((by * 240, by * 320), np.uint8) for _ in range(2))
    cv2.ellipse(there, (by * 160, by * 120), (by * 30, by * 50), 0, 0, 360, 255, -1)
    cv2.ellipse(here, (by * 130, by * 110), (by * 30, by * 50), 0, 0, 360, 255, -1)
    soft = motion.soft(there)
    patch = motion.reach(soft, 10, 0)
    assert soft.part.size < there.size and patch is not None
    brought = np.zeros_like(here)
    brought[patch[1] : patch[3], patch[0] : patch[2]] = motion.brought(soft, 10, 0, patch)
    assert iou(brought > 127, here > 127) > 0.95
    assert motion.brought(soft, 10, 0, (0, 0, *motion.size)).tolist() == brought.tolist(), (
        "nothing lies beyond its patch"
    )


def test_ground_that_somebody_uncovered_is_like_nothing_before():
    base = ground(6)[..., 0]
    coat = np.clip(ground(7)[..., 0].astype(int) + 80, 0, 255).astype(np.uint8)[:100, :60]
    greys = []
    for i in range(9):
        grey = base.copy()
        grey[70:170, 100 + 5 * i : 160 + 5 * i] = coat
        greys.append(grey)
    motion = Motion(greys, Flow(), (320, 240))
    alike = motion.likeness(8, 0)
    uncovered = slice(80, 160), slice(104, 132)
    assert alike[uncovered].mean() < 0.5 and (alike * motion.steady(8, 0))[uncovered].mean() < 0.3
    assert alike[80:160, 240:300].mean() > 0.9 and alike[80:160, 150:190].mean() > 0.8, "the rest, and the coat"


def test_what_moves_out_of_the_picture_is_like_nothing_and_leaves_nothing():
    motion = Motion(drifting(), Flow(), (320, 240))
    assert motion.likeness(10, 0)[:, :].min() >= 0 and motion.likeness(10, 0)[50:-50, 60:-60].mean() > 0.9
    assert motion.likeness(10, 0)[60:-60, 292:].mean() < 0.02, "seen in frame 10 alone: it came in over the border"
    at_border = np.zeros((240, 320), np.uint8)
    at_border[100:140, :20] = 255
    assert motion.reach(motion.soft(at_border), 10, 0) is None
    assert motion.soft(np.zeros((240, 320), np.uint8)) is None


def test_mattes_of_wide_videos_have_twice_the_working_size_and_fit():
    """Only a working picture: 1280 wide, so that mattes have 960 columns and the flow 480."""
    shown = [cv2.resize(stand((ADA, 100 + 2 * i, 60)), (1280, 960), interpolation=cv2.INTER_NEAREST) for i in range(6)]
    samples = [sample(i, [TrackPoint(1, tuple(4 * v for v in head_at(100 + 2 * i)), "body")]) for i in (0, 5)]
    scene = known_scene(samples, frames=6, size=(1280, 960))
    _, placed = placed_in(scene, shown)
    assert {one.size for one in placed} == {(960, 720)} and scene.flow.grey(shown[0]).shape == (360, 480)
    assert min(iou(one.mattes()["Ada"] > 127, of_colour(p, ADA)) for one, p in zip(placed, shown, strict=True)) > 0.95


def test_a_video_that_says_a_thousand_frames_a_second_is_drawn():
    """As browsers record: their WebM says 1000 frames a second, whatever it has. A run then has a thousand frames.

    FAULT: `Motion.between` calls itself once a frame; RecursionError.
    """
    shown = [stand((ADA, 30, 20), on=plain((48, 64)))] * 1101
    samples = [sample(i, [TrackPoint(1, head_at(30, 20), "body")]) for i in range(0, 1101, 50)]
    scene = known_scene(samples, frames=1101, fps=1000, size=(64, 48), sampling=50)
    assert solid_frames(mattes_in(scene, shown, part=10000), "Ada") == list(range(1101))


# ---- a thing of theirs, and what is followed from a box


def test_a_phrase_draws_the_thing_alone_in_every_frame(people, tmp_path):  # noqa: F811
    people.segmenter = Shirts()
    shown = [stand((ADA, 60 + 3 * i, 60), (BO, 260, 60)) for i in range(32)]
    _, found = rendered(people, tmp_path, shown, "all", phrase="Ada's shirt")
    assert list(found) == ["Ada"] and sorted(found["Ada"]) == list(range(32))
    for i, mask in found["Ada"].items():
        lower = of_colour(shown[i], ADA) & (np.arange(240)[:, None] >= 114)
        assert iou(mask, lower) > 0.85


def test_a_followed_region_lies_between_two_where_it_was_found_and_not_where_it_was_lost():
    shown = [plain() if 12 <= i <= 16 else stand((ADA, 80 + 2 * i, 60)) for i in range(30)]
    known = {i: encode_rle(of_colour(shown[i], ADA)) for i in range(0, 30, 2) if i not in (12, 14, 16)}
    scene = known_scene([sample(i, []) for i in range(0, 30, 5)], frames=30)
    scene = replace(scene, analysis=replace(scene.analysis, regions={1: known}))
    found = mattes_in(scene, shown)
    assert solid_frames(found, "Ada") == [i for i in range(30) if not 12 <= i <= 16]
    assert min(iou(m["Ada"] > 127, of_colour(p, ADA)) for m, p in zip(found, shown, strict=True) if m) > 0.9


# ---- items made ahead


@pytest.mark.parametrize("depth", [0, 1, 4])
def test_items_come_in_order_and_only_so_many_are_made_ahead(depth):
    begun, made = threading.Semaphore(0), []

    def source():
        for i in range(12):
            made.append(i)
            begun.release()
            yield i

    items, heard = prefetched(source(), depth=depth), 0
    for taken in range(12):
        assert next(items) == taken
        while heard < min(12, taken + 2 + depth):
            assert begun.acquire(timeout=10), "the next one is made while the caller works on this one"
            heard += 1
        assert len(made) <= taken + 2 + depth, "and no more"
    assert list(items) == []


@pytest.mark.parametrize("depth", [0, 3])
def test_an_error_comes_after_the_items_made_before_it(depth):
    def failing():
        yield 1
        yield 2
        raise ValueError("from the other thread")

    items, got = prefetched(failing(), depth=depth), []
    with pytest.raises(ValueError, match="from the other thread"):
        for item in items:
            got.append(item)
    assert got == [1, 2] and list(items) == []
    assert list(prefetched([], depth=depth)) == []


@pytest.mark.parametrize("depth", [0, 3])
def test_closing_early_stops_the_producer_and_closes_what_it_reads(depth):
    closed, made = threading.Event(), []

    def endless():
        try:
            while True:
                made.append(1)
                yield len(made)
        finally:
            closed.set()

    before = threading.active_count()
    outer = prefetched((2 * item for item in prefetched(endless(), depth=depth)), depth=depth)
    assert [next(outer), next(outer)] == [2, 4]
    outer.close()
    count = len(made)
    assert closed.is_set() and threading.active_count() == before
    assert len(made) == count <= 2 * depth + 6


def test_what_cannot_be_iterated_says_so():
    """FAULT: `iter(items)` is outside of the `try` of the producer, so the caller waits for ever."""

    class Broken:
        def __iter__(self):
            raise ValueError("no pictures")

    said = []

    def ask():
        try:
            list(prefetched(Broken()))
        except ValueError as error:
            said.append(str(error))

    asking = threading.Thread(target=ask, daemon=True)
    asking.start()
    asking.join(timeout=2)
    assert said == ["no pictures"], "the caller waits for ever"


def test_cancelling_while_a_slow_run_is_made_says_cancelled(people, tmp_path, monkeypatch):  # noqa: F811
    """A run may take longer than closing waits for: ten seconds, here none.

    FAULT: ValueError, generator already executing, in place of Cancelled.
    """
    go_on, busy = threading.Event(), threading.Event()

    class Slow(MasksThroughCompression):
        def encode(self, image_bgr):
            if self.encodes == 2:  # of the second run; the last frame of the first is encoded
                busy.set()
                go_on.wait(1)
            return super().encode(image_bgr)

    join = threading.Thread.join
    monkeypatch.setattr(
        files.threading.Thread, "join", lambda self, timeout=None: join(self, 0.05 if timeout == 10 else timeout)
    )
    people.segmenter = Slow()
    shown = [stand((ADA, 60 + 2 * i, 60)) for i in range(55)]
    stop = threading.Event()

    def progress(stage, done, total):
        if stage == "render" and done == 23:  # the pictures of the first run are all made, and it waits for the next
            assert busy.wait(20)
            stop.set()

    try:
        with pytest.raises(Cancelled):
            rendered(people, tmp_path, shown, "Ada", progress=progress, cancel=stop)
    finally:
        go_on.set()


def test_where_key_frames_differ_nobody_is_half_there():
    """The mean of a mask with an arm and one without is half an arm: a smear in every cutout."""
    from identity_segmentation.video.mattes import _solid
    from identity_segmentation.video.motion import Soft

    part = np.zeros((200, 120), np.uint8)
    part[10:190, 20:60], part[60:140, 60:110] = 255, 120  # a body, and what half of the key frames say
    part[150:154, 100:104] = 255  # a speck
    shown = _solid(Soft((0, 0, 120, 200), part)).part
    assert (
        (shown[20:180, 25:55] == 255).all() and shown[70:130, 70:105].max() < 10 and shown[148:156, 98:106].max() < 128
    )

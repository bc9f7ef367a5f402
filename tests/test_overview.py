"""An analysed video for somebody who looks at it: rows of a timeline, faces over time, previews, finished parts."""

from __future__ import annotations

import threading

import av
import numpy as np
import pytest
from fakes import PEOPLE, draw
from test_video import ADA, BO, make_video, people, walk  # noqa: F401

from identity_segmentation.errors import Cancelled, InputError
from identity_segmentation.images import read_image
from identity_segmentation.video import render as rendering
from identity_segmentation.video.analysis import read_analysis
from identity_segmentation.video.corrections import apply, correct, point_at, split
from identity_segmentation.video.excerpt import best_part, cut_preview
from identity_segmentation.video.handoff import Part
from identity_segmentation.video.overview import crops_over_time, rows_of
from identity_segmentation.video.partial import bring_back, finished_part, work_of

STRANGER = PEOPLE["Ed"]  # is on file nowhere


def frames_of(path):
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="bgr24") for frame in container.decode(video=0)]


@pytest.fixture
def stranger(tmp_path):
    """Ada all the time, a stranger for most of it, and Bo at the end."""
    pictures = [
        draw((ADA, 60, 60), *([(STRANGER, 160, 60)] if i < 30 else []), *([(BO, 260, 60)] if i >= 30 else []))
        for i in range(40)
    ]
    return make_video(tmp_path / "stranger.mp4", pictures, sound=True)


def looked(people, clip):  # noqa: F811
    return people.analyse_video(clip, 2, clip.parent / "analyses")


def test_whom_nobody_knows_comes_first_and_names_follow(people, stranger):  # noqa: F811
    found = looked(people, stranger)
    rows = rows_of(found, people.track_names(found))
    assert [row.name for row in rows] == [None, "Ada", "Bo"] and not any(row.short for row in rows)
    assert rows[0].strips[0].spans[0] == (0.0, pytest.approx(1.16, abs=0.05))
    assert rows[1].seconds == pytest.approx(1.6, abs=0.05)
    correct(found.path, rows[0].strips[0].track, None)  # "nobody on file": not to be asked again
    again = read_analysis(found.path)
    last = rows_of(again, people.track_names(again))[-1]
    assert last.name is None and last.short


def test_faces_over_time_are_cut_out_in_one_pass_and_found_again_after_a_split(people, stranger, tmp_path, monkeypatch):  # noqa: F811
    found = looked(people, stranger)
    told = []
    crops = crops_over_time(found, stranger, tmp_path / "crops", lambda *step: told.append(step))
    track = next(t for t, name in people.track_names(found).items() if name.name is None)
    assert 5 <= len(crops[track]) <= 10 and told[-1][0] == told[-1][1]
    times = [crop.time_s for crop in crops[track]]
    assert times == sorted(times) and times[-1] - times[0] > 0.9
    picture = read_image(crops[track][3].path)
    assert picture.shape == (96, 96, 3)
    assert np.abs(picture[48, 48].astype(int) - STRANGER).max() < 30, "her own face is in the middle"
    split(found.path, track, 0.6)
    import identity_segmentation.video.overview as overview

    monkeypatch.setattr(overview, "VideoReader", None)  # no second pass
    again = crops_over_time(read_analysis(found.path), stranger, tmp_path / "crops")
    both = sorted({t for t in again if t not in crops} | {track})
    assert len(both) == 2 and sorted(c.path for t in both for c in again[t]) == sorted(c.path for c in crops[track])


def test_cutting_out_faces_stops_when_it_is_told_to(people, stranger, tmp_path):  # noqa: F811
    stop = threading.Event()
    stop.set()
    with pytest.raises(Cancelled):
        crops_over_time(looked(people, stranger), stranger, tmp_path / "crops", cancel=stop)


def test_several_corrections_are_one_and_a_wrong_one_takes_all_back(people, stranger):  # noqa: F811
    found = looked(people, stranger)
    track = next(t for t, name in people.track_names(found).items() if name.name is None)
    made = apply(
        found.path,
        [
            {"kind": "split", "track": track, "at": 0.6, "new": "later"},
            {"kind": "name", "track": "later", "name": "Cy"},
        ],
    )
    names = people.track_names(read_analysis(found.path))
    assert names[made["later"]].name == "Cy" and names[track].name is None
    for wrong in (
        {"kind": "name", "track": 99, "name": "Cy"},
        {"kind": "merge", "track": 1},
        {"kind": "point", "at": 0},
        {"kind": "?"},
        {"kind": "name", "track": "never", "name": "Cy"},
    ):
        before = len(read_analysis(found.path).corrections)
        with pytest.raises(InputError):
            apply(found.path, [{"kind": "name", "track": track, "name": "Bo"}, wrong])
        assert len(read_analysis(found.path).corrections) == before


def test_a_preview_is_where_the_person_is_and_says_what_the_whole_says(people, stranger, tmp_path):  # noqa: F811
    found = looked(people, stranger)
    track = next(t for t, name in people.track_names(found).items() if name.name is None)
    bo = best_part(found, people.track_names(found), ["Bo"], 0.4)
    assert (bo.begin, bo.end) == (30, 40)
    correct(found.path, track, "Cy")
    found = read_analysis(found.path)
    part = best_part(found, people.track_names(found), ["Bo", "Cy"], 0.8)
    calls = people.face_engine.calls
    cut = cut_preview(stranger, tmp_path / "cut.mp4", found, part)
    assert (cut.from_s, cut.to_s) == pytest.approx((part.begin / 25, part.end / 25))
    report = people.process_video(cut.path, tmp_path / "p.mp4", ["Cy"], 2, view="matte", analyses=found.path.parent)
    assert people.face_engine.calls == calls, "nobody looks at it again"
    assert report.frames == 20 and report.on_screen["Cy"] > 0.5, "what was said by hand holds in it"
    whole = people.process_video(stranger, tmp_path / "w.mp4", ["Cy"], 2, view="matte", analyses=found.path.parent)
    assert whole.on_screen["Cy"] > 1
    one, all_ = frames_of(tmp_path / "p.mp4"), frames_of(tmp_path / "w.mp4")
    assert len(one) == 20 and np.abs(one[5].astype(int) - all_[part.begin + 5]).mean() < 2, "and looks the same"
    with av.open(str(tmp_path / "p.mp4")) as container:
        assert container.streams.audio, "its sound goes with it"


def test_a_preview_keeps_cuts_points_and_strangers(people, tmp_path):  # noqa: F811
    other = np.full((240, 320, 3), 60, np.uint8)
    pictures = [*walk(20), *[other] * 10, *walk(20)]
    clip = make_video(tmp_path / "cuts.mp4", pictures)
    found = looked(people, clip)
    point_at(found.path, (100, 40, 130, 70), 0.96, "Cy")
    found = read_analysis(found.path)
    cut = cut_preview(clip, tmp_path / "cut.mp4", found, Part(10, 40))
    report = people.process_video(cut.path, tmp_path / "p.mp4", ["Ada", "Cy"], 2, analyses=found.path.parent)
    inner = read_analysis(report.files["analysis"])
    begins = [shot.begin - 10 for shot in found.shots if 10 < shot.begin < 40]
    assert [shot.begin for shot in inner.shots] == [0, *begins] and inner.frames == 30
    assert [s.index for s in inner.samples] == [s.index - 10 for s in found.samples if 10 <= s.index < 40]
    assert report.on_screen["Cy"] > 0 and inner.seconds == pytest.approx(1.2)


def test_a_preview_of_an_unseen_video_is_its_beginning(people, stranger, tmp_path, monkeypatch):  # noqa: F811
    monkeypatch.setattr("identity_segmentation.video.excerpt.SECONDS", 0.4)
    cut = cut_preview(stranger, tmp_path / "cut.mp4", None)
    assert (cut.from_s, cut.to_s) == pytest.approx((0, 0.4)) and len(frames_of(cut.path)) == 10


@pytest.fixture
def stopped(people, stranger, tmp_path, monkeypatch):  # noqa: F811
    """A render of 40 frames in segments of 10 that was stopped in the third."""
    monkeypatch.setattr(rendering, "_SEGMENT_SECONDS", 0.4)
    stop = threading.Event()

    def progress(stage, done, _):
        if stage == "render" and done > 24:
            stop.set()

    asked = {"view": "overlay", "analyses": tmp_path / "analyses"}
    with pytest.raises(Cancelled):
        people.process_video(stranger, tmp_path / "a" / "o.mp4", ["Ada"], 2, progress=progress, cancel=stop, **asked)
    return asked


def test_what_a_stopped_render_finished_can_be_played_with_its_sound(stopped, stranger, tmp_path):
    part = finished_part(tmp_path / "a" / "o.mp4", stranger, tmp_path / "part.mp4")
    assert (part.frames, part.seconds) == (20, pytest.approx(0.8)) and len(frames_of(part.path)) == 20
    with av.open(str(part.path)) as container:
        sound = sum(frame.samples for frame in container.decode(audio=0))
        assert sound / 16000 == pytest.approx(0.8, abs=0.1)
    assert finished_part(tmp_path / "never.mp4", stranger, tmp_path / "no.mp4") is None


def test_a_stopped_render_goes_on_somewhere_else_from_where_it_stopped(people, stopped, stranger, tmp_path):  # noqa: F811
    first, second = tmp_path / "a" / "o.mp4", tmp_path / "b" / "o.mp4"
    assert bring_back(second, work_of(first)) and not bring_back(tmp_path / "c" / "o.mp4", work_of(first))
    done = []
    people.process_video(stranger, second, ["Ada"], 2, progress=lambda s, d, t: done.append((s, d)), **stopped)
    assert min(d for s, d in done if s == "render") == 21, "finished segments are not rendered anew"
    people.process_video(stranger, tmp_path / "whole.mp4", ["Ada"], 2, **stopped)
    assert all(np.array_equal(a, b) for a, b in zip(frames_of(second), frames_of(tmp_path / "whole.mp4"), strict=True))


def test_a_stopped_render_that_was_to_change_the_sound_has_none(people, stranger, tmp_path, monkeypatch):  # noqa: F811
    monkeypatch.setattr(rendering, "_SEGMENT_SECONDS", 0.4)
    stop = threading.Event()
    with pytest.raises(Cancelled):
        people.process_video(
            stranger, tmp_path / "o.mp4", ["Ada"], 2, analyses=tmp_path / "analyses", voice="mute", cancel=stop,
            progress=lambda stage, done, _: stop.set() if stage == "render" and done > 14 else None,
        )  # fmt: skip
    part = finished_part(tmp_path / "o.mp4", stranger, tmp_path / "part.mp4")
    with av.open(str(part.path)) as container:
        assert not container.streams.audio

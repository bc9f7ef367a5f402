"""The segmenter's video tracker where carried mattes are doubtful, and nowhere else."""

from __future__ import annotations

import numpy as np
import pytest
from fakes import BACKGROUND, draw
from test_tracked_mattes import FollowsColours, drawn_by, head_at, iou, masks_of, sample, scene_of
from test_video import ADA, BO, MasksThroughCompression, make_video, people, walk  # noqa: F401

from identity_segmentation.errors import Cancelled, InputError
from identity_segmentation.types import Segment
from identity_segmentation.video.analysis import FaceRecord
from identity_segmentation.video.tracking import TrackPoint
from identity_segmentation.video.windows import WindowedMattes


class Tracker(FollowsColours):
    """Follows whoever has the seed's colour, with a score that it is told."""

    score = 0.95

    def __init__(self, swap=None):
        super().__init__(swap)
        self.shown: list[int] = []

    def track(self, images_bgr, seeds):
        self.shown.append(len(images_bgr))
        for index, found in super().track(images_bgr, seeds):
            yield (
                index,
                {who: Segment(s.mask, self.score if s.area else 0.0, s.box, s.engine) for who, s in found.items()},
            )


def passing(frames: int = 26) -> list[np.ndarray]:
    """Ada walks behind Bo, who stands: they touch from frame 8 on or so."""
    return [draw((ADA, 60 + 5 * i, 60), (BO, 200, 60)) for i in range(frames)]


def samples_of(frames: int, step: int = 5, every: int = 1):
    points = []
    for number, i in enumerate(range(0, frames, step)):
        seen = [(1, 60 + 5 * i), (2, 200)] if number % every == 0 else []
        faces = [FaceRecord(head_at(x), 0.9, None) for _, x in seen]
        points.append(sample(i, [TrackPoint(t, head_at(x), "face", k) for k, (t, x) in enumerate(seen)], faces))
    return points


def drawn(tracker, pictures, samples, whom=("Ada", "Bo")):
    scene = scene_of(samples, list(whom), tracker, frames=len(pictures))
    mattes = WindowedMattes(scene, {s.index: s for s in samples})
    return mattes, drawn_by(mattes, pictures)


def test_where_nothing_is_doubtful_the_tracker_is_never_asked(people, tmp_path):  # noqa: F811
    people.segmenter = Tracker()
    clip = make_video(tmp_path / "clip.mp4", walk(30))
    people.process_video(clip, tmp_path / "out.mp4", "Ada", masks=True, smoothing=1, propagate="windows")
    assert people.segmenter.runs == []
    assert len(masks_of(tmp_path / "out.mp4")) == 30


def test_people_who_touch_are_tracked_with_their_rival_from_either_end(people, tmp_path):  # noqa: F811
    people.segmenter = Tracker()
    clip = make_video(tmp_path / "clip.mp4", passing())
    people.process_video(clip, tmp_path / "out.mp4", ["Ada", "Bo"], masks=True, smoothing=1, propagate="windows")
    runs, shown = people.segmenter.runs, people.segmenter.shown
    assert runs and len(runs) % 2 == 0, "a window costs two calls"
    assert all(who == ["Ada", "Bo"] for seeds in runs for who in seeds.values()), "the rival is there"
    for (first, second), frames in zip(zip(runs[::2], runs[1::2], strict=True), shown[::2], strict=True):
        assert list(first) == [0] and list(second) == [frames - 1]


def test_a_tracker_is_asked_as_the_whole_of_a_clip_only_where_that_was_asked_for(people, tmp_path):  # noqa: F811
    clip = make_video(tmp_path / "clip.mp4", passing(11))
    with pytest.raises(InputError, match="propagate windows was asked for, .* has no video tracker"):
        people.process_video(clip, tmp_path / "out.mp4", "Ada", propagate="windows")
    people.segmenter = Tracker()
    people.process_video(clip, tmp_path / "out.mp4", ["Ada", "Bo"], propagate="flow")
    assert people.segmenter.runs == []


class Jumps(Tracker):
    """Draws people a key frame at a time, as the samples ask; between them Ada is where no motion leads."""


def leaping(frames: int = 26) -> tuple[list[np.ndarray], dict[int, int]]:
    """Ada is seen at both ends, and somewhere else in every frame between: farther from frame to frame than any motion
    is followed."""
    places = {i: 60 if i in (0, frames - 1) else 80 + 97 * i % 160 for i in range(frames)}
    return [draw((ADA, x, 60)) for x in places.values()], places


def only_at_the_ends(frames: int):
    ends = [0, frames - 1]
    return [
        sample(
            i,
            [TrackPoint(1, head_at(60), "face", 0)] if i in ends else [],
            [FaceRecord(head_at(60), 0.9, None)][: i in ends],
        )
        for i in range(0, frames, 5)
    ]


def test_what_the_tracker_finds_takes_the_place_of_what_was_carried():
    pictures, places = leaping()
    mattes, found = drawn(Tracker(), pictures, only_at_the_ends(26), ["Ada"])
    assert (mattes.windows, mattes.calls, mattes.taken) == (1, 2, 1)
    offered = [i for i in range(0, 26, 2) if i]
    for i in offered:
        there = (draw((ADA, places[i], 60)) == ADA).all(-1)
        assert iou(found[i]["Ada"] > 127, there) > 0.8, i
    assert mattes.scene.segmenter.shown == [14, 14], "every second frame of 26, and the last"


@pytest.mark.parametrize("wrong", ["unsure", "elsewhere", "lost"])
def test_a_tracker_that_is_unsure_or_does_not_arrive_changes_nothing(wrong):
    pictures, _ = leaping()
    samples = only_at_the_ends(26)
    tracker = Tracker({13: BACKGROUND} if wrong == "elsewhere" else None)
    if wrong == "unsure":
        tracker.score = 0.7
    if wrong == "lost":
        tracker.swap = {0: BO, 13: BO}
    _, plain = drawn(MasksThroughCompression(), pictures, samples, ["Ada"])
    mattes, found = drawn(tracker, pictures, samples, ["Ada"])
    assert (mattes.windows, mattes.taken) == (1, 0) and mattes.calls <= 2
    for before, after in zip(plain, found, strict=True):
        assert before.keys() == after.keys() and all((before[who] == after[who]).all() for who in before)


def test_a_mask_on_a_strangers_face_is_not_taken():
    """A face of no track is somebody's all the same."""
    pictures, places = leaping()
    samples = only_at_the_ends(26)
    stranger = sample(10, [], [FaceRecord(head_at(places[10]), 0.9, None)])
    samples[2] = stranger
    _, found = drawn(Tracker(), pictures, samples, ["Ada"])
    there = (draw((ADA, places[10], 60)) == ADA).all(-1)
    assert iou(found[10].get("Ada", np.zeros(there.shape, np.uint8)) > 127, there) < 0.5
    samples[2] = sample(10, [])
    _, found = drawn(Tracker(), pictures, samples, ["Ada"])
    assert iou(found[10]["Ada"] > 127, there) > 0.8


def test_a_render_in_windows_can_be_cancelled():
    import threading

    pictures, _ = leaping()
    samples = only_at_the_ends(26)
    stop = threading.Event()

    class Stops(Tracker):
        def track(self, images_bgr, seeds):
            for step in super().track(images_bgr, seeds):
                stop.set()
                yield step

    scene = scene_of(samples, ["Ada"], Stops(), frames=26)
    with pytest.raises(Cancelled):
        drawn_by(WindowedMattes(scene, {s.index: s for s in samples}, stop), pictures)

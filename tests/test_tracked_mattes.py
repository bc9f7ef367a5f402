"""A segmenter with its own video tracker: it carries people through turned heads, and is not believed against faces."""

from __future__ import annotations

import json
from itertools import pairwise

import numpy as np
import pytest
from fakes import BACKGROUND, PEOPLE, draw
from test_video import ADA, BO, MasksThroughCompression, make_video, people, walk  # noqa: F401

from identity_segmentation.errors import Cancelled, InputError
from identity_segmentation.geometry import decode_rle
from identity_segmentation.types import Segment
from identity_segmentation.video.analysis import FaceRecord
from identity_segmentation.video.tracking import TrackPoint


class FollowsColours(MasksThroughCompression):
    """Follows whoever has the colour of the seed; `swap` makes it jump to another colour at a frame of the shot."""

    id = "follows-colours"
    can_track = True

    def __init__(self, swap: dict[int, tuple[int, int, int]] | None = None):
        super().__init__()
        self.swap, self.runs = swap or {}, []

    def track(self, images_bgr, seeds):
        cast = np.array([BACKGROUND, *PEOPLE.values()])
        self.runs.append({i: sorted(map(str, masks)) for i, masks in seeds.items()})
        for index in range(len(images_bgr)):
            image = images_bgr[index]
            nearest = np.abs(image[:, :, None].astype(int) - cast).sum(-1).argmin(-1)
            found = {}
            for start, masks in seeds.items():
                seen = np.abs(images_bgr[start][:, :, None].astype(int) - cast).sum(-1).argmin(-1)
                for who, mask in masks.items():
                    label = np.bincount(seen[mask], minlength=len(cast)).argmax()
                    if index in self.swap and index != start:
                        label = [tuple(c) for c in cast.tolist()].index(self.swap[index])
                    area = nearest == label
                    found[who] = Segment(area, 0.9 if area.any() else 0.0, [0, 0, 9, 9], self.id)
            yield index, found


def masks_of(path) -> dict[int, np.ndarray]:
    rows = map(json.loads, path.with_name(f"{path.name}.masks.jsonl").read_text("utf-8").splitlines())
    return {row["frame"]: decode_rle(row) for row in rows}


def headless(frames=40):
    """Ada walks; from frame 12 to 27 her head is not a face that anybody finds."""
    pictures = walk(frames)
    for i in range(12, 28):
        x = 60 + 3 * i
        pictures[i][48:60, x - 12 : x + 12] = BACKGROUND
    return pictures


def truth(i: int) -> np.ndarray:
    return (draw((ADA, 60 + 3 * i, 60)) == ADA).all(-1)


def iou(a, b) -> float:
    return np.count_nonzero(a & b) / max(1, np.count_nonzero(a | b))


def test_the_tracker_carries_a_person_whose_face_is_hidden(people, tmp_path):  # noqa: F811
    people.segmenter = FollowsColours()
    clip = make_video(tmp_path / "clip.mp4", headless())
    out = tmp_path / "out.mp4"
    report = people.process_video(clip, out, "Ada", masks=True, smoothing=1)
    found = masks_of(out)
    assert sorted(found) == list(range(40)) and report.on_screen["Ada"] == pytest.approx(40 / 25)
    assert min(iou(found[i], truth(i)) for i in (*range(12), *range(28, 40))) > 0.9
    assert min(iou(found[i], truth(i)) for i in range(12, 28)) > 0.8
    assert len(people.segmenter.runs) == 1, "everything agreed, so nobody was seeded anew"


def test_a_mask_that_jumps_to_somebody_else_is_thrown_away_and_seeded_anew(people, tmp_path):  # noqa: F811
    people.segmenter = FollowsColours(dict.fromkeys(range(18, 40), BO))
    clip = make_video(tmp_path / "clip.mp4", walk())
    out = tmp_path / "out.mp4"
    people.process_video(clip, out, "Ada", masks=True, smoothing=1)
    bo = (draw((BO, 260, 60)) == BO).all(-1)
    found = masks_of(out)
    assert not any((mask & bo).any() for i, mask in found.items() if i < 18 or i % 5 == 0)
    # Around the one sample where she was seeded anew nothing speaks against the tracker; everywhere else it is gone.
    assert sum((mask & bo).any() for mask in found.values()) <= 5
    assert len(people.segmenter.runs) == 2


def test_several_people_share_a_run_and_each_is_seeded_once(people, tmp_path):  # noqa: F811
    people.segmenter = FollowsColours()
    clip = make_video(tmp_path / "clip.mp4", walk(30))
    people.process_video(clip, tmp_path / "out.mp4", ["Ada", "Bo"])
    assert len(people.segmenter.runs) == 1
    assert sorted(who for seeded in people.segmenter.runs[0].values() for who in seeded) == ["Ada", "Bo"]


def test_nothing_is_tracked_across_a_cut(people, tmp_path):  # noqa: F811
    people.segmenter = FollowsColours()
    dark = [np.where(p == BACKGROUND, 20, p).astype(np.uint8) for p in [draw((BO, 100, 60))] * 20]
    clip = make_video(tmp_path / "clip.mp4", walk(20) + dark)
    people.process_video(clip, tmp_path / "out.mp4", "Ada", masks=True, smoothing=1)
    assert max(masks_of(tmp_path / "out.mp4")) < 20


def test_flow_is_used_when_asked_for_and_a_tracker_that_is_not_there_is_refused(people, tmp_path):  # noqa: F811
    clip = make_video(tmp_path / "clip.mp4", walk(12))
    with pytest.raises(InputError, match="has no video tracker"):
        people.process_video(clip, tmp_path / "out.mp4", "Ada", propagate="sam3")
    with pytest.raises(InputError, match="unknown propagate"):
        people.process_video(clip, tmp_path / "out.mp4", "Ada", propagate="magic")
    people.segmenter = FollowsColours()
    people.process_video(clip, tmp_path / "out.mp4", "Ada", propagate="flow")
    assert people.segmenter.runs == []
    people.process_video(clip, tmp_path / "out.mp4", "Ada", propagate="sam3")
    assert len(people.segmenter.runs) == 1


def test_a_cancelled_tracked_render_goes_on_and_ends_the_same(people, tmp_path, monkeypatch):  # noqa: F811
    import threading

    import identity_segmentation.video.render as module

    monkeypatch.setattr(module, "_SEGMENT_SECONDS", 0.8)
    people.segmenter = FollowsColours()
    clip = make_video(tmp_path / "clip.mp4", walk(60))
    people.process_video(clip, tmp_path / "whole.mp4", "Ada", masks=True)
    stop = threading.Event()

    def progress(stage, done, total):
        if stage == "render" and done > 30:
            stop.set()

    with pytest.raises(Cancelled):
        people.process_video(clip, tmp_path / "part.mp4", "Ada", masks=True, progress=progress, cancel=stop)
    people.process_video(clip, tmp_path / "part.mp4", "Ada", masks=True)
    whole, part = (tmp_path / f"{n}.mp4.masks.jsonl" for n in ("whole", "part"))
    assert whole.read_bytes() == part.read_bytes()


def test_a_video_runs_through_the_real_tracker_from_end_to_end(people, tmp_path, sam3_hf):  # noqa: F811
    """Random weights: their masks are held against the faces and mostly thrown away; nothing may break on the way."""
    people.segmenter = sam3_hf
    clip = make_video(tmp_path / "clip.mp4", walk(12), sound=True)
    report = people.process_video(clip, tmp_path / "out.mp4", ["Ada", "Bo"], masks=True)
    assert report.frames == 12 and (tmp_path / "out.mp4").exists()
    frames = [row["frame"] for row in map(json.loads, (tmp_path / "out.mp4.masks.jsonl").open())]
    assert all(a <= b for a, b in pairwise(frames))


# ---- cuts, turned heads and strangers, on a hand-made analysis


def scene_of(samples, drawn, segmenter, sampling=5, frames=30, smoothing=1, size=(320, 240), cuts=()):
    from pathlib import Path

    from identity_segmentation.video.analysis import Analysis
    from identity_segmentation.video.naming import TrackName
    from identity_segmentation.video.scene import Scene
    from identity_segmentation.video.shots import Shot

    header = {"sampling": sampling, "width": size[0], "height": size[1], "people": ["Ada", "Bo"], "fps": [25, 1]}
    shots = (Shot(0, "begin"), *map(Shot, cuts))
    analysis = Analysis(Path("none"), header, tuple(samples), {}, frames, "", shots=shots)
    names = {1: TrackName(1, "Ada", 0.7, 0.5, "Bo", "Ada", 5), 2: TrackName(2, "Bo", 0.7, 0.5, "Ada", "Bo", 5)}
    return Scene(analysis, names, drawn, segmenter, smoothing)


def sample(index, points, faces=(), cut=False):
    from identity_segmentation.video.analysis import Sample

    return Sample(index, index / 25, cut, tuple(faces), tuple(points))


def drawn_by(mattes, pictures):
    """{person: uint8 matte} of every picture."""
    from identity_segmentation.types import Frame
    from identity_segmentation.video.runs import runs_in, spanned

    frames = ((Frame(i, i / 25, p, i), mattes.scene.flow.grey(p)) for i, p in enumerate(pictures))
    runs = mattes.runs(spanned(frames, runs_in(mattes.scene.analysis, [0])))
    return [placed.mattes() for run in runs for placed in run]


def head_at(x, y=60):
    return (x - 12.0, y - 12.0, x + 12.0, y + 12.0)


def test_somebody_turned_away_through_a_whole_shot_is_still_drawn(people):  # noqa: F811
    from identity_segmentation.types import Frame
    from identity_segmentation.video.tracked_mattes import TrackedMattes

    pictures = walk(30)
    samples = [sample(i, [TrackPoint(1, head_at(60 + 3 * i), "body")]) for i in range(0, 30, 5)]
    scene = scene_of(samples, ["Ada"], FollowsColours())
    mattes = TrackedMattes(
        scene, {s.index: s for s in samples}, (Frame(i, i / 25, p, i) for i, p in enumerate(pictures))
    )
    drawn = drawn_by(mattes, pictures)
    assert all(iou(found["Ada"] > 127, truth(i)) > 0.8 for i, found in enumerate(drawn))


@pytest.mark.parametrize("cut_at", [17, 19])
def test_a_cut_between_two_parts_ends_the_first(people, cut_at):  # noqa: F811
    from identity_segmentation.types import Frame
    from identity_segmentation.video.tracked_mattes import TrackedMattes

    pictures = [*walk(cut_at), *([np.full((240, 320, 3), 20, np.uint8)] * (20 - cut_at))]
    samples = [sample(i, [TrackPoint(1, head_at(60 + 3 * i), "body")]) for i in range(0, 20, 5)]
    samples.append(sample(20, [], cut=True))

    class Stubborn(FollowsColours):
        def track(self, images_bgr, seeds):
            for index, _ in super().track(images_bgr, seeds):
                mask = np.ones(images_bgr[index].shape[:2], bool)
                yield index, {"Ada": Segment(mask, 0.9, [0, 0, 9, 9], self.id)}

    scene = scene_of(samples, ["Ada"], Stubborn(), cuts=[cut_at])
    mattes = TrackedMattes(
        scene, {s.index: s for s in samples}, (Frame(i, i / 25, p, i) for i, p in enumerate(pictures))
    )
    assert max(mattes.known) == cut_at - 1


def test_smoothing_does_not_reach_over_a_cut_at_a_sampled_frame():
    from identity_segmentation.video.mattes import Mattes

    here, there = draw((ADA, 60, 60)), draw((ADA, 220, 60))
    pictures = [here] * 10 + [there] * 11
    samples = [sample(i, [TrackPoint(1, head_at(60 if i < 10 else 220), "body")], cut=i == 10) for i in range(0, 21, 5)]
    scene = scene_of(samples, ["Ada"], MasksThroughCompression(), frames=21, smoothing=5, cuts=[10])
    mattes = Mattes(scene, {s.index: s for s in samples})
    frames = [found.get("Ada") for found in drawn_by(mattes, pictures)]
    assert frames[9][120, 60] > 200 and frames[10][120, 60] < 10 and frames[10][120, 220] > 200


def test_heads_at_a_cut_are_those_of_the_frames_own_shot():
    from identity_segmentation.video.scene import heads_at

    samples = {
        0: sample(0, [TrackPoint(1, head_at(60), "body")]),
        10: sample(10, [TrackPoint(2, head_at(220), "body")], cut=True),
    }
    scene = scene_of(samples.values(), ["Ada", "Bo"], MasksThroughCompression(), sampling=10, cuts=[3])
    for index in range(10):
        assert set(heads_at(scene, index, samples)) == ({"Ada"} if index < 3 else {"Bo"})


def test_a_stranger_who_steps_in_front_is_covered_where_others_are_blurred():
    from identity_segmentation.video.scene import heads_at, people_in, strangers_at

    face = FaceRecord(head_at(100), 0.9, None)
    samples = {0: sample(0, [], [face])}
    scene = scene_of(samples.values(), ["Ada"], MasksThroughCompression())
    assert people_in(scene, samples[0]) == [] and heads_at(scene, 0, samples) == {}
    faces, bodies = strangers_at(scene, 2, samples)
    assert [tuple(b) for b in faces] == [head_at(100)] and bodies == []


def test_a_face_in_no_track_is_somebody_else_to_those_who_are_drawn():
    """Somebody who was seen in one sample alone stands beside Ada: their pixels are not hers."""
    from identity_segmentation.types import Face
    from identity_segmentation.video.analysis import FaceRecord
    from identity_segmentation.video.segmenting import Segmenting

    class Asked(FollowsColours):
        uses_neighbours = True

        def by_box(self, encoded, boxes, faces=None, others=()):
            self.others = list(others)
            return super().by_box(encoded, boxes, faces, others)

    faces = [FaceRecord(head_at(60), 0.9, None), FaceRecord(head_at(120), 0.9, None)]
    seen = sample(0, [TrackPoint(1, head_at(60), "face", 0)], faces)
    for factor in (1.0, 0.5):
        engine = Asked()
        image = draw((ADA, 60, 60))[:: round(1 / factor), :: round(1 / factor)].copy()
        Segmenting(scene_of([seen], ["Ada"], engine)).among(["Ada"], image, seen, None, factor)
        (other,) = engine.others
        assert isinstance(other, Face) and other.score == 0.9
        assert np.allclose(other.box, np.array(head_at(120)) * factor)


def test_a_mask_that_jumps_to_a_face_in_no_track_is_thrown_away():
    from identity_segmentation.types import Frame
    from identity_segmentation.video.tracked_mattes import TrackedMattes

    pictures = walk(30)
    stranger = FaceRecord(head_at(260), 0.9, None)
    samples = []
    for i in range(0, 30, 5):  # Ada turns away from frame 15 on; somebody whom no track holds is there all the time
        hers = [FaceRecord(head_at(60 + 3 * i), 0.9, None)] if i < 15 else []
        points = [TrackPoint(1, head_at(60 + 3 * i), "face", 0)] if i < 15 else []
        samples.append(sample(i, points, [*hers, stranger]))
    scene = scene_of(samples, ["Ada"], FollowsColours(dict.fromkeys(range(12, 30), BO)))
    mattes = TrackedMattes(
        scene, {s.index: s for s in samples}, (Frame(i, i / 25, p, i) for i, p in enumerate(pictures))
    )
    # A mask is thrown away half-way to the next sample, or to the end.
    assert {i for i, known in mattes.known.items() if "Ada" in known} <= {*range(13), 28, 29}


def test_a_face_in_no_track_is_told_to_the_segmenter_as_somebody_elses():
    from identity_segmentation.video.segmenting import Segmenting

    told = []

    class Notes(MasksThroughCompression):
        def by_box(self, encoded, boxes, faces=None, others=()):
            told.append([tuple(f.box) for f in [*(faces or []), *others] if hasattr(f, "landmarks")])
            return super().by_box(encoded, boxes, faces, others)

    def there(score):
        told.clear()
        records = [FaceRecord(head_at(60), 0.9, None), FaceRecord(head_at(260), score, None)]
        one = sample(0, [TrackPoint(1, head_at(60), "face", 0)], records)
        Segmenting(scene_of([one], ["Ada"], Notes())).among(["Ada"], walk(1)[0], one)
        return head_at(260) in told[0]

    assert there(0.9) and not there(0.4), "a head that is hardly one says nothing"

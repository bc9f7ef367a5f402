"""People through a film: tracklets that end where it is not clear who is who, names that are linked without a doubt,
analyses known by their content, and corrections by hand that can be taken back."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from fakes import PEOPLE, draw
from test_video import ADA, BO, make_video, people, said, walk  # noqa: F401

from identity_segmentation.cli.command import main
from identity_segmentation.errors import InputError
from identity_segmentation.images import read_image, write_image
from identity_segmentation.people.gallery import Gallery
from identity_segmentation.people.rule import NamingRule
from identity_segmentation.types import USED_VERDICTS, Detection, Face, unit
from identity_segmentation.video import store
from identity_segmentation.video.analysis import Analysis, Sample, TrackletRecord, read_analysis, read_lines
from identity_segmentation.video.cast import cast, write_photos
from identity_segmentation.video.corrections import correct, merge, point_at, split, undo
from identity_segmentation.video.linking import Linkable, linked
from identity_segmentation.video.naming import Evidence, TrackName, name_tracks
from identity_segmentation.video.review import filmstrips, listed, spans_to_review
from identity_segmentation.video.shots import Shot, ShotDetector, places_of
from identity_segmentation.video.tracking import Seen, SimpleTracker, TrackPoint, seen_in
from identity_segmentation.video.tracklets import Levels, SampleSeen, Tracklet, followed

CY = PEOPLE["Cy"]
STRAIGHT = np.array([[6, 8], [18, 8], [12, 13], [8, 18], [16, 18]], np.float32)  # eyes, nose, mouth of a 24-pixel face
PROFILE = np.array([[6, 8], [10, 8], [3, 13], [5, 18], [8, 18]], np.float32)
LEVELS = Levels(0.55, 0.35, 0.05)


def vector(*values, size=8):
    return unit(np.pad(np.array(values, np.float32), (0, size - len(values))))


def face(x, y=60, looks=None, landmarks=STRAIGHT, score=0.9):
    return Face([x, y, x + 24, y + 24], score, looks, landmarks + np.float32([x, y]))


def body(x, y=40, width=60, height=180, score=0.9):
    return Detection([x, y, x + width, y + height], score, "person")


def seen(looks, x=100, landmarks=STRAIGHT, clothes=None):
    """One face as a sample has it."""
    one = face(x, looks=looks, landmarks=landmarks)
    return one, Seen(np.array(one.box), 0, clothes=clothes, embedding=looks, facing=one.facing)


# ---- faces that look at the camera


def test_a_face_that_turns_away_says_so():
    assert face(0).facing == pytest.approx(1.0) and face(0, landmarks=PROFILE).facing == 0.0
    half = STRAIGHT.copy()
    half[2, 0] += 5  # the nose five twelfths of an eye distance aside: some 40 degrees
    assert 0.4 < face(0, landmarks=half).facing < 0.6
    assert Face([0, 0, 9, 9], 0.9).facing == 1.0


# ---- tracklets


def test_a_body_carries_somebody_whose_face_is_turned_away_and_no_wall_does():
    tracker, image = SimpleTracker(), np.full((300, 400, 3), 90, np.uint8)
    tracker.update([face(118)], image, [body(100)])
    for _ in range(6):
        (point,) = tracker.update([], image, [body(100)])
        assert (point.track, point.evidence, point.body) == (1, "body", 0)
    alone = SimpleTracker()
    alone.update([face(118)], image)  # one detection, on a picture that is all of one colour
    assert [alone.update([], image) for _ in range(3)] == [[], [], []], "one false face must not live on a wall"


def test_a_body_that_comes_out_from_behind_somebody_is_not_taken_for_who_was_there_before():
    tracker, image = SimpleTracker(), np.full((300, 400, 3), 90, np.uint8)
    tracker.update([face(118)], image, [body(100)])
    tracker.update([face(118)], image, [body(100)])
    for _ in range(3):
        tracker.update([], image)
    assert tracker.update([], image, [body(105)])[0].track == 2


def test_a_body_in_other_clothes_is_another_body():
    tracker = SimpleTracker()
    red, blue = (np.full((300, 400, 3), colour, np.uint8) for colour in ((30, 30, 200), (200, 60, 30)))
    for _ in range(2):
        tracker.update([face(118)], red, [body(100)])
    assert tracker.update([], red, [body(100)])[0].track == 1
    assert tracker.update([], blue, [body(100)])[0].track == 2


def test_a_body_whose_clothes_are_not_seen_carries_nobody_for_long():
    tracker = SimpleTracker()
    tracker.update([face(118)], None, [body(100)])
    tracks = [tracker.update([], None, [body(100)])[0].track for _ in range(8)]
    assert tracks == [1] * 5 + [2] * 3


def test_two_who_cross_and_cannot_be_told_apart_both_end():
    tracker = SimpleTracker()
    for i in range(6):  # heads that draw near each other
        tracker.update([face(100 + 10 * i), face(160 - 2 * i)])
    tracker.update([face(152), face(150)])
    assert not {1, 2} & {p.track for p in tracker.update([face(150), face(152)])}


def test_two_who_cross_and_have_faces_of_their_own_go_on():
    tracker, ada, bo = SimpleTracker(), vector(1, 0.1), vector(0.1, 1)
    for i in range(10):
        points = tracker.update([face(100 + 10 * i, looks=ada), face(190 - 10 * i, looks=bo)])
        assert {point.face: point.track for point in points} == {0: 1, 1: 2}


def test_a_profile_never_decides_who_somebody_is():
    # Profiles of two people are alike; a third head, seen from the side, must not be torn to the first one's track.
    tracker, side = SimpleTracker(), vector(0, 0, 1)
    tracker.update([face(100, looks=side, landmarks=PROFILE), face(200, looks=side, landmarks=PROFILE)])
    found = tracker.update([face(104, looks=side, landmarks=PROFILE), face(196, looks=side, landmarks=PROFILE)])
    assert [p.track for p in found] == [1, 2]


def test_a_face_beside_its_body_is_joined_to_it_by_who_it_was():
    tracker, image = SimpleTracker(), np.full((300, 400, 3), 90, np.uint8)
    for _ in range(3):
        tracker.update([face(118)], image, [body(100)])
    # The head bends to the side: too far for the rule that knows one picture only.
    found = tracker.update([face(138)], image, [body(100)])
    assert [(p.track, p.face, p.body) for p in found] == [(1, 0, 0)]


def test_heads_on_backs_come_from_whoever_finds_them():
    class Heads:
        id = "heads"

        def head(self, image_bgr, body):
            return np.array([body[0], body[1], body[0] + 20, body[1] + 20], np.float32)

        def describe(self):
            return "heads"

    image = np.full((300, 400, 3), 90, np.uint8)
    (found,) = seen_in(image, [], [body(100)], Heads())
    assert found.head.tolist() == [100, 40, 120, 60] and found.found
    (reckoned,) = seen_in(image, [], [body(100)])
    assert not reckoned.found and 100 < reckoned.head[0] < reckoned.head[2] < 160


def test_a_body_with_the_head_of_a_face_is_that_faces_and_nobody_else():
    class Heads:
        id = "heads"

        def head(self, image_bgr, body):
            return np.array([118, 60, 142, 84], np.float32)

        def describe(self):
            return "heads"

    image = np.full((300, 500, 3), 90, np.uint8)
    wide = body(60, width=300)  # it swallows a neighbour, so that the face is not at its top middle
    (found,) = seen_in(image, [face(118)], [wide], Heads())
    assert found.face == 0 and found.body_index == 0
    twice = seen_in(image, [face(118)], [body(100), wide], Heads())
    assert [(p.face, p.body_index) for p in twice] == [(0, 0)]
    beside = seen_in(image, [face(300)], [body(100)], Heads())
    assert [(p.face, p.body_index) for p in beside] == [(0, None), (None, 0)]


def run(samples, shots=(), gallery=None):
    """(points of every sample, tracklets by number)."""
    found = list(followed(samples, shots or [Shot(0, "begin")], LEVELS, gallery or Gallery("x", "y")))
    return (
        [x[1] for x in found if not isinstance(x, Tracklet)],
        {x.track: x for x in found if isinstance(x, Tracklet)},
    )


def film(*parts):
    """Samples of one head that stands still; a part is (embedding, how many, landmarks)."""
    samples: list[SampleSeen] = []
    for looks, count, landmarks in parts:
        for _ in range(count):
            one, who = seen(looks, landmarks=landmarks)
            samples.append(SampleSeen(5 * len(samples), [one], [who]))
    return samples


def test_a_track_is_split_where_the_person_changes_and_not_where_a_head_turns():
    ada, bo, turned = vector(1, 0.1), vector(0.1, 1), vector(0, 0, 1)
    points, tracklets = run(film((ada, 8, STRAIGHT), (bo, 8, STRAIGHT)))
    assert [p.track for row in points for p in row] == [1] * 8 + [2] * 8
    assert float(tracklets[1].pooled @ ada) > 0.99 and float(tracklets[2].pooled @ bo) > 0.99
    points, _ = run(film((ada, 8, STRAIGHT), (turned, 8, PROFILE), (ada, 8, STRAIGHT)))
    assert {p.track for row in points for p in row} == {1}


def test_two_lookalikes_on_file_who_follow_each_other_are_split_as_well():
    one, other = vector(1, 0.55), vector(0.55, 1)
    assert float(one @ other) > LEVELS.other
    gallery = Gallery.empty(type("E", (), {"id": "x", "model_hash": "y", "dim": 8})())
    for name, looks in (("One", one), ("Other", other)):
        from identity_segmentation.people.person import Reference

        gallery = gallery.with_person(name, looks[None], [Reference(name, name, 0)])
    samples = film((one, 8, STRAIGHT), (other, 8, STRAIGHT))
    assert {p.track for row in run(samples)[0] for p in row} == {1}
    assert [p.track for row in run(samples, gallery=gallery)[0] for p in row] == [1] * 8 + [2] * 8


def test_what_a_dissolve_mixes_is_no_evidence_and_the_shot_ends_in_its_middle():
    ada, bo, mixed = vector(1, 0.2), vector(0.2, 1), vector(1, 1)
    samples = film((ada, 6, STRAIGHT), (mixed, 4, STRAIGHT), (bo, 6, STRAIGHT))
    shots = [Shot(0, "begin"), Shot(40, "dissolve", (28, 52))]
    points, tracklets = run(samples, shots)
    assert [row[0].track for row in points] == [1] * 8 + [2] * 8
    assert [sum(p.faces for p in tracklets[t].pieces) for t in (1, 2)] == [6, 5]
    assert float(tracklets[1].pooled @ ada) > 0.999


def test_a_gap_of_one_sample_is_bridged_and_a_longer_one_is_not():
    ada = vector(1)
    one, who = seen(ada)
    there, nobody = [one], []
    for gap, expected in ((1, ["face", "between", "face"]), (2, ["face", None, None, "face"])):
        samples = [SampleSeen(0, there, [who])]
        samples += [SampleSeen(5 * (i + 1), nobody, []) for i in range(gap)]
        samples.append(SampleSeen(5 * (gap + 1), there, [who]))
        points, _ = run(samples)
        assert [row[0].evidence if row else None for row in points] == expected


# ---- names


def test_three_hundred_people_and_two_hundred_tracks_are_named_exactly():
    rng = np.random.default_rng(0)
    rows = rng.uniform(0, 0.4, (200, 300))
    who = rng.integers(0, 60, 200)
    rows[np.arange(200), who] = rng.uniform(0.55, 0.9, 200)
    evidence = {t: Evidence(rows[t], 10, 10.0) for t in range(200)}
    together = {(a, b) for a in range(200) for b in range(a + 1, min(200, a + 12))}
    names = name_tracks(evidence, together, [f"P{i}" for i in range(300)], NamingRule.plain(300, 0.5, 0.05))
    for a, b in together:
        assert names[a].name is None or names[a].name != names[b].name
    for track, person in enumerate(who):
        rivals = [
            t for t in range(200) if t != track and who[t] == person and (min(t, track), max(t, track)) in together
        ]
        assert names[track].name == f"P{person}" if not rivals else names[track].name in (f"P{person}", None)


HIGH, LOW = Evidence(np.array([0.8, 0.1]), 8, 8.0), Evidence(np.array([0.4, 0.1]), 8, 8.0)
FAR = Evidence(np.array([0.1, 0.1]), 8, 8.0)
NAMED = TrackName(1, "Ada", 0.8, 0.7, "Bo", "Ada", 8, by="face")


def nameless(track):
    return TrackName(track, None, 0.4, 0.3, "Bo", "Ada", 8)


def link(alike=None, clothes=None, evidence=None, together=(), places=None, names=None, clear=4):
    clothes = clothes or {}
    tracks = sorted({1, 2, *clothes, *(t for pair in alike or {} for t in pair)})
    known = Linkable(
        dict.fromkeys(tracks, clear) if isinstance(clear, int) else clear, alike or {}, clothes,
        dict.fromkeys(clothes, 5), places or dict.fromkeys(tracks, 0),
    )  # fmt: skip
    names = names or {1: NAMED, **{t: nameless(t) for t in tracks if t != 1}}
    evidence = evidence or {1: HIGH, **{t: LOW for t in tracks if t != 1}}
    return {t: n.name for t, n in linked(names, evidence, known, set(together), ["Ada", "Bo"], 0.55, 0.35).items()}


def test_a_face_that_is_a_named_tracks_is_linked_to_it_and_never_across_a_doubt():
    assert link({(1, 2): 0.7})[2] == "Ada"
    assert link({(1, 2): 0.5})[2] is None, "not alike enough"
    assert link({(1, 2): 0.7}, together=[(1, 2)])[2] is None, "on screen together"
    assert link({(1, 2): 0.7}, evidence={1: HIGH, 2: FAR})[2] is None, "its own face says it is not her"
    assert link({(1, 2): 0.7}, clear={1: 4, 2: 1})[2] is None, "one clear face is an accident"
    bo = TrackName(3, "Bo", 0.8, 0.7, "Ada", "Bo", 8, by="face")
    names = {1: NAMED, 2: nameless(2), 3: bo}
    doubt = link({(1, 2): 0.7, (2, 3): 0.65}, names=names, evidence={1: HIGH, 2: LOW, 3: HIGH})
    assert doubt[2] is None, "as like Bo"
    # A stranger who was on screen beside Ada, and whom the nameless one is as like, is as likely.
    assert link({(1, 2): 0.7, (2, 3): 0.68}, together=[(1, 3)])[2] is None
    assert link({(1, 2): 0.7, (2, 3): 0.3}, together=[(1, 3)])[2] == "Ada"


def test_clothes_link_in_one_place_where_nobody_else_wears_them():
    red, blue = np.array([1.0, 0.0, 0.0]), np.array([0.0, 1.0, 0.0])
    bo = TrackName(3, "Bo", 0.8, 0.7, "Ada", "Bo", 8, by="face")
    names, turned = {1: NAMED, 2: nameless(2), 3: bo}, {1: 4, 2: 0, 3: 4}
    evidence = {1: HIGH, 2: LOW, 3: HIGH}
    film = {"names": names, "evidence": evidence, "clear": turned}
    worn = {1: red, 2: red, 3: blue}
    assert link(clothes=worn, **film)[2] == "Ada"
    assert link(clothes={**worn, 2: blue}, **film)[2] in (None, "Bo")
    assert link(clothes=worn, **film, places={1: 0, 2: 1, 3: 0})[2] is None, "light changes colours"
    assert link(clothes=worn, **film, together=[(1, 2)])[2] is None
    assert link(clothes=worn, names=names, evidence={**evidence, 2: FAR})[2] is None, "a clear face says no"
    assert link(clothes={1: red, 2: red}, clear=turned)[2] is None, "nothing shows that clothes differ here"
    # Six who are dressed alike: somebody else wears the same, wherever in the video.
    places = {1: 0, 2: 0, 3: 1}
    evidence = {1: HIGH, 2: LOW, 3: HIGH}
    same = link(
        clothes={1: red, 2: red, 3: red}, names=names, places=places, evidence=evidence, clear={1: 4, 2: 0, 3: 4}
    )
    assert same[2] is None


def test_a_name_that_is_linked_says_what_it_rests_on_and_is_listed():
    known = Linkable({1: 4, 2: 4}, {(1, 2): 0.7}, {}, {}, {1: 0, 2: 0})
    names = linked({1: NAMED, 2: nameless(2)}, {1: HIGH, 2: LOW}, known, set(), ["Ada", "Bo"], 0.55, 0.35)
    assert (names[2].by, names[2].sure) == ("alike", False)


# ---- shots


def test_cuts_dissolves_and_fades_are_told_apart_and_a_flash_is_none():
    rng = np.random.default_rng(1)

    def room(seed):
        noise = np.random.default_rng(seed).integers(0, 255, (9, 16, 3), dtype=np.uint8)
        return cv2.resize(noise, (64, 36), interpolation=cv2.INTER_CUBIC)

    def shaking(picture, count):
        return [
            np.clip(picture.astype(int) + rng.integers(-2, 3, picture.shape), 0, 255).astype(np.uint8)
            for _ in range(count)
        ]

    one, two, three, four = (room(seed) for seed in (1, 2, 3, 4))
    flash = [np.full_like(one, 250)] * 2
    pictures = [*shaking(one, 20), *flash, *shaking(one, 20), *shaking(two, 40)]
    mixes = [cv2.addWeighted(two, 1 - i / 16, three, i / 16, 0) for i in range(1, 16)]
    fade = [(three * (1 - i / 10)).astype(np.uint8) for i in range(1, 11)]
    pictures += [*mixes, *shaking(three, 60), *fade, *[np.zeros_like(one)] * 4, *shaking(four, 70)]
    detector, found = ShotDetector(), []
    for picture in pictures:
        found += detector.update(picture)
    found = sorted([*found, *detector.finish()], key=lambda change: change.first)
    assert [change.kind for change in found] == ["cut", "dissolve", "fade"]
    cut, dissolve, fade_out = found
    assert cut.end == 42 and abs(dissolve.first - 82) <= 4 and abs(dissolve.end - 97) <= 4
    assert abs(fade_out.first - 157) <= 3 and abs(fade_out.end - 171) <= 3
    assert Shot.after(dissolve).mixes(90) and not Shot.after(cut).mixes(42)


def test_a_short_shot_between_two_of_one_camera_is_no_flash():
    rng = np.random.default_rng(3)
    rooms = [np.random.default_rng(seed).integers(30, 220, (9, 16, 3), dtype=np.uint8) for seed in (7, 8)]
    one, other = (cv2.resize(room, (64, 36), interpolation=cv2.INTER_CUBIC) for room in rooms)
    film = [one] * 30 + [other] * 4 + [one] * 30
    detector, found = ShotDetector(), []
    for picture in film:
        noisy = np.clip(picture.astype(int) + rng.integers(-2, 3, picture.shape), 0, 255).astype(np.uint8)
        found += detector.update(noisy)
    assert sorted(change.end for change in [*found, *detector.finish()]) == [30, 34]


def test_black_bars_hide_no_cut():
    rng = np.random.default_rng(2)
    pictures = []
    for seed in (5, 6):
        noise = np.random.default_rng(seed).integers(40, 255, (9, 16, 3), dtype=np.uint8)
        picture = cv2.resize(noise, (64, 36), interpolation=cv2.INTER_CUBIC)
        picture[:8] = picture[-8:] = 16
        pictures += [np.clip(picture.astype(int) + rng.integers(-2, 3, picture.shape), 0, 255).astype(np.uint8)] * 25
    detector = ShotDetector()
    found = [change for picture in pictures for change in detector.update(picture)] + detector.finish()
    assert [(c.kind, c.end) for c in found] == [("cut", 25)]


def test_shots_from_one_camera_are_one_place_and_bars_make_none():
    def layout(seed):
        noise = np.random.default_rng(seed).integers(60, 255, (4, 7), dtype=np.uint8)
        picture = cv2.resize(noise, (32, 18), interpolation=cv2.INTER_CUBIC)
        picture[:4] = picture[-4:] = 16
        return picture

    shots = [Shot(0, "begin"), Shot(50), Shot(100)]
    layouts = [(i, layout({0: 1, 1: 2, 2: 1}[i // 50])) for i in range(0, 150, 5)]
    assert places_of(shots, layouts) == [0, 1, 0]


# ---- corrections, and what they belong to


def analysed(pipeline, clip, tmp_path):
    path = Path(pipeline.process_video(clip, tmp_path / "out.mp4", "all").files["analysis"])
    names = pipeline.track_names(read_analysis(path))
    return path, {n.name: t for t, n in names.items()}


def who(pipeline, path):
    return {t: n.name for t, n in pipeline.track_names(read_analysis(path)).items()}


def test_a_track_is_split_at_a_time_renamed_merged_and_all_is_taken_back(people, tmp_path):  # noqa: F811
    clip = make_video(tmp_path / "clip.mp4", walk())
    path, tracks = analysed(people, clip, tmp_path)
    before = who(people, path)
    later = split(path, tracks["Ada"], 0.8)
    assert who(people, path)[later] == "Ada", "what its faces say is still so"
    correct(path, later, "Cy")
    report = people.process_video(clip, tmp_path / "out.mp4", ["Ada", "Cy"])
    assert report.on_screen == {"Ada": pytest.approx(0.8, abs=0.12), "Cy": pytest.approx(0.8, abs=0.12)}
    other = people.process_video(clip, tmp_path / "other.mp4", ["Cy"])
    assert other.on_screen["Cy"] == report.on_screen["Cy"], "every output obeys"
    merge(path, later, tracks["Ada"])
    assert later not in read_analysis(path).tracks
    assert [undo(path) for _ in range(3)] == [
        f"track {later} joins track {tracks['Ada']}", f"track {later} is Cy",
        f"track {tracks['Ada']} is track {later} from frame 20 on",
    ]  # fmt: skip
    assert who(people, path) == before
    with pytest.raises(InputError, match="nothing was corrected by hand"):
        undo(path)
    for at in (-1, 0, 99):
        with pytest.raises(InputError, match="is on screen from 0.00 to 1.40 s"):
            split(path, tracks["Ada"], at)
    with pytest.raises(InputError, match="no track 99"):
        split(path, 99, 1)


def test_somebody_who_was_missed_is_pointed_at_and_is_there_in_between(people, tmp_path):  # noqa: F811
    clip = make_video(tmp_path / "clip.mp4", [draw((ADA, 60, 60)) for _ in range(40)])
    path, _ = analysed(people, clip, tmp_path)
    new = point_at(path, [200, 50, 224, 74], 0.2, "Bo")
    assert point_at(path, [240, 50, 264, 74], 1.0, "Bo") == new
    found = read_analysis(path)
    points = [(s.index, p.evidence, p.box[0]) for s, p in found.seen(new)]
    assert points == [
        (5, "hand", 200),
        (10, "between", 210),
        (15, "between", 220),
        (20, "between", 230),
        (25, "hand", 240),
    ]
    assert who(people, path)[new] == "Bo"
    there = point_at(path, [49, 49, 71, 71], 0.4, "Cy")
    assert who(people, path)[there] == "Cy" and there != new, "a head that was found gets the name as a whole"
    for box, at, name, says in (
        ([900, 50, 950, 74], 0.2, "Bo", "within 320 x 240"), ([10, 10, 5, 20], 0.2, "Bo", "expected a box"),
        ([1, 1, 9, 9], 77, "Bo", "expected a time between 0 and"), ([1, 1, 9, 9], 0.2, "Zoe", "was not in the gallery"),
    ):  # fmt: skip
        with pytest.raises(InputError, match=says):
            point_at(path, box, at, name)


def test_corrections_are_carried_over_to_a_new_analysis(people, tmp_path):  # noqa: F811
    clip = make_video(tmp_path / "clip.mp4", walk())
    path, tracks = analysed(people, clip, tmp_path)
    correct(path, split(path, tracks["Ada"], 0.8), "Cy")
    point_at(path, [150, 150, 174, 174], 0.2, "Ada")
    correct(path, tracks["Bo"], "Ada"), undo(path)
    lines = read_lines(path)
    lines[0]["gallery"] = "another state"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    report = people.process_video(clip, tmp_path / "out.mp4", ["Ada", "Bo", "Cy"])
    assert "the gallery has changed" in report.remarks[0]
    assert report.on_screen["Cy"] == pytest.approx(0.8, abs=0.12) and report.on_screen["Bo"] == pytest.approx(1.6)
    assert [line["kind"] for line in read_analysis(path).corrections] == ["split", "name", "point"]


def test_parted_evidence_is_that_of_the_faces_on_either_side():
    ada, bo = np.array([0.8, 0.1]), np.array([0.1, 0.8])
    pieces = tuple((10 * i, 10 * i + 9, 4, Evidence(row, 4, 4.0, 50.0)) for i, row in enumerate((ada, ada, bo, bo)))
    whole = TrackletRecord(1, 0, Evidence(np.array([0.5, 0.5]), 16, 16.0, 50.0), 16, np.ones(3) / 3, 9, pieces)
    first, second = whole.parted(20, 7)
    assert (first.track, second.track) == (1, 7)
    assert first.evidence.similar.argmax() == 0 and second.evidence.similar.argmax() == 1
    assert (first.evidence.faces, second.clear, first.clothes) == (8, 8, None)
    assert first.joined(second).evidence.faces == 16


def test_a_video_is_known_by_its_bytes_an_output_by_its_name(people, tmp_path, monkeypatch):  # noqa: F811
    clip = make_video(tmp_path / "원영 'clip'.mp4", walk(12))
    report = people.process_video(clip, tmp_path / "out" / "ก.mp4", "Ada")
    path = Path(report.files["analysis"])
    assert path.parent == tmp_path / "out" / store.FOLDER
    link = tmp_path / "out" / "ก.mp4.analysis.jsonl"
    assert store.find(tmp_path / "out" / "ก.mp4") == path == store.find(path) == store.find(link)
    assert any(json.loads(line)["kind"] == "sample" for line in link.open())
    assert store.find(clip, None, tmp_path / "out" / store.FOLDER) == path
    with pytest.raises(InputError, match=r"make it with: idseg analyse"):
        store.find(clip)
    chosen = people.analyse_video(clip, folder=tmp_path / "elsewhere")
    assert chosen.path.parent == tmp_path / "elsewhere" and store.find(clip, tmp_path / "elsewhere") == chosen.path
    people.process_video(clip, tmp_path / "out" / "box.mp4", "thing", box=(50, 50, 80, 80))
    assert store.find(clip, tmp_path / "out" / store.FOLDER) == path, "a followed box knows nobody"
    people.analyse_video(clip, 2, tmp_path / "elsewhere")
    with pytest.raises(InputError, match="analysed in several ways"):
        store.find(clip, tmp_path / "elsewhere")


def test_a_file_of_an_earlier_version_is_refused_kindly_and_stays(people, tmp_path):  # noqa: F811
    clip = make_video(tmp_path / "clip.mp4", walk(12))
    old = tmp_path / "out.mp4.analysis.jsonl"
    old.write_text('{"kind": "header", "version": 1}\n{"kind": "end", "frames": 12, "note": ""}\n')
    with pytest.raises(InputError, match="another version of this program"):
        read_analysis(store.find(tmp_path / "out.mp4"))
    people.process_video(clip, tmp_path / "out.mp4", "Ada")
    assert old.exists() and read_analysis(store.find(tmp_path / "out.mp4")).frames == 12


@pytest.mark.parametrize("frames", [1, 3])
def test_a_video_of_next_to_nothing_and_a_still(people, tmp_path, frames):  # noqa: F811
    clip = make_video(tmp_path / "clip.mp4", walk(1) * frames)
    found = people.analyse_video(clip, folder=tmp_path / "a")
    assert (found.frames, len(found.samples), len(found.shots)) == (frames, 1, 1)
    assert set(who(people, found.path).values()) == {"Ada", "Bo"}
    assert not list((tmp_path / "a").glob("*.part"))


def test_nothing_in_a_finished_analysis_is_an_embedding(people, tmp_path):  # noqa: F811
    clip = make_video(tmp_path / "clip.mp4", walk(12))
    found = people.analyse_video(clip, folder=tmp_path / "a")
    text = found.path.read_text()
    assert "vector" not in text and found.tracklets[1].evidence.similar.shape == (len(people.gallery),)


# ---- the cast


def test_unknown_people_are_grouped_and_enrolled_with_one_command(people, tmp_path, monkeypatch, capsys):  # noqa: F811
    ed = PEOPLE["Ed"]
    there, away = draw((ed, 60, 60), (ADA, 200, 60)), draw((BO, 160, 120), size=(240, 320))
    clip = make_video(tmp_path / "clip.mp4", [there] * 25 + [away] * 25 + [there] * 25)
    found = people.analyse_video(clip, folder=tmp_path / "a")
    names = people.track_names(found)
    (proposed,) = cast(found, names)
    assert len(proposed.tracks) == 2 and proposed.number == 1 and proposed.seconds == pytest.approx(2.0)
    assert sum(row["name"] is None for row in listed(found, names)) == 2
    photos = write_photos(found, clip, proposed.tracks, tmp_path / "ed")
    assert len(photos) >= 3 and all(read_image(photo).shape[0] < 80 for photo in photos)
    used = people.add_person("Ed", photos)
    assert any(verdict.verdict in USED_VERDICTS for verdict in used)
    report = people.process_video(clip, tmp_path / "out.mp4", "Ed")
    assert report.on_screen["Ed"] == pytest.approx(2.0) and cast(read_analysis(report.files["analysis"]), {}) != []


def test_what_is_worth_a_look_comes_in_order_and_what_was_said_is_not_asked_again():
    samples = tuple(
        Sample(5 * i, i / 5, False, (), tuple(TrackPoint(t, (0, 0, 9, 9), "face", 0) for t in (1, 2, 3, 4, 5)))
        for i in range(20)
    )
    found = Analysis(Path("x"), {"people": ["Ada"], "sampling": 5, "fps": [25, 1]}, samples, {}, 100, "")
    names = {
        1: TrackName(1, None, 0.1, 0.1, None, "Ada", 9), 2: TrackName(2, None, 0.45, 0.2, None, "Ada", 9),
        3: TrackName(3, "Ada", 0.7, 0.02, "Bo", "Ada", 9, by="face"),
        4: TrackName(4, "Ada", 0.2, 0.02, "Bo", "Ada", 9, by="hand", by_hand=True),
        5: TrackName(5, "Ada", 0.9, 0.5, "Bo", "Ada", 9, by="face"),
    }  # fmt: skip
    assert [row["track"] for row in spans_to_review(found, names)] == [3, 2, 1]
    rows = {row["track"]: row["look_at"] for row in listed(found, names)}
    assert rows == {1: 3, 2: 2, 3: 1, 4: None, 5: None}


def test_a_filmstrip_shows_a_head_over_time(people, tmp_path):  # noqa: F811
    clip = make_video(tmp_path / "clip.mp4", walk(40))
    found = people.analyse_video(clip, folder=tmp_path / "a")
    strips = filmstrips(found, clip, tmp_path / "s", {"track_2": [2], "both": [1, 2]})
    picture = read_image(strips["track_2"])
    assert picture.shape == (160, 6 * 160, 3)
    assert all(np.abs(picture[80, 80 + 160 * i].astype(int) - ADA).max() < 60 for i in range(6))


def test_the_commands_of_an_analysed_video(data, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    common = ["--gallery", str(tmp_path / "g"), "--face-engine", "embedded"]
    clip = tmp_path / "friends.mp4"
    clip.write_bytes((data / "identity/friends/friends.mp4").read_bytes())
    assert main(["people", "build", str(data / "identity/friends/refs"), *common]) == 0
    capsys.readouterr()

    def asked(*words):
        assert main([*words, "--json", *common]) == 0
        return json.loads(capsys.readouterr().out)

    said = asked("analyse", str(clip))
    assert said["people"] == ["Joey", "Phoebe", "Rachel", "Ross"] and said["shots"] == 4
    rows = asked("tracks", str(clip), "--review", "--thumbnails", str(clip))
    assert [row["look_at"] for row in rows] == list(range(1, len(rows) + 1)) and len(rows) == said["to_review"]
    assert all(Path(row["thumbnail"]).is_file() for row in rows)
    (monica, *_) = [one for one in asked("cast", str(clip), "--filmstrips") if one["nearest"] != "Joey"]
    assert Path(monica["filmstrip"]).is_file() and monica["faces"] >= 3
    track = str(monica["tracks"][0])
    assert main(["rename", str(clip), "--split", track, "--at", "6.0", "unknown", *common]) == 0
    assert main(["rename", str(clip), "--undo", *common]) == 0
    for words, says in (
        (["--split", track], "expected --at SECONDS"), ([], "expected --track N NAME"), (["--track", track], "a NAME"),
        (["--box", "1", "1", "9", "9", "--at", "1", "unknown"], "the NAME of somebody on file"),
    ):  # fmt: skip
        assert main(["rename", str(clip), *words, *common]) == 1
        assert says in capsys.readouterr().err
    enrol = ["cast", str(clip), "--enrol", str(monica["number"]), *common]
    assert main(enrol) == 1 and "--name NAME" in capsys.readouterr().err
    assert main([*enrol, "--name", "모니카"]) == 0
    capsys.readouterr()
    assert main(["tracks", str(clip), *common]) == 1 and "the gallery has changed" in capsys.readouterr().err
    assert "모니카" in asked("analyse", str(clip))["people"]


# ---- what a reading of the code found


def test_somebody_who_steps_in_for_a_while_has_a_track_of_their_own():
    ada, bo = vector(1, 0.1), vector(0.1, 1)
    points, _ = run(film((ada, 10, STRAIGHT), (bo, 4, STRAIGHT), (ada, 10, STRAIGHT)))
    tracks = [row[0].track for row in points]
    assert len(set(tracks[:10])) == 1 and len(set(tracks[10:14])) == 1 and tracks[9] != tracks[10] != tracks[14]


def test_a_clear_face_of_somebody_else_does_not_go_on_where_no_clothes_are_seen():
    tracker = SimpleTracker()
    for _ in range(5):
        tracker.update([face(100, looks=vector(1))])
    assert tracker.update([face(103, looks=vector(0, 1))])[0].track == 2


def test_a_name_given_by_hand_is_nobody_elses_beside_it():
    evidence, people = {1: said(0.9, 0.1), 2: said(0.1, 0.9)}, ["Ada", "Bo"]  # noqa: F811
    rule = NamingRule.plain(2, 0.5)
    names = name_tracks(evidence, {(1, 2)}, people, rule, {2: "Ada"})
    assert (names[1].name, names[2].name, names[2].by) == (None, "Ada", "hand")
    # Said to be nobody on file: it takes no name from others either.
    names = name_tracks({1: said(0.7, 0.1), 2: said(0.9, 0.1)}, {(1, 2)}, people, rule, {2: None})
    assert (names[1].name, names[2].name) == ("Ada", None)


def test_whoever_is_split_off_by_hand_loses_the_name_by_hand_and_nobody_stays_nobody(people, tmp_path):  # noqa: F811
    path, tracks = analysed(people, make_video(tmp_path / "clip.mp4", walk()), tmp_path)
    correct(path, tracks["Ada"], "Cy")
    later = split(path, tracks["Ada"], 0.8)
    assert read_analysis(path).by_hand == {tracks["Ada"]: "Cy"} and who(people, path)[later] == "Ada"
    correct(path, later, None)
    correct(path, tracks["Ada"], None), undo(path), undo(path), undo(path), undo(path)
    later = split(path, tracks["Ada"], 0.8)
    correct(path, later, None)
    merge(path, later, tracks["Ada"])
    assert who(people, path)[tracks["Ada"]] is None


def test_pointing_means_the_shot_that_the_time_is_in(people, tmp_path):  # noqa: F811
    pictures = [draw((ADA, 60, 60))] * 21 + [draw((BO, 220, 60))] * 30
    path, _ = analysed(people, make_video(tmp_path / "clip.mp4", pictures), tmp_path)
    before = who(people, path)
    new = point_at(path, [48, 48, 72, 72], 22 / 25, "Cy")  # Ada's place, but after the cut
    assert new not in before and who(people, path) == {**before, new: "Cy"}


def test_who_was_pointed_at_and_then_taken_back_is_not_brought_back_by_the_next_point(people, tmp_path):  # noqa: F811
    path, _ = analysed(people, make_video(tmp_path / "clip.mp4", [draw((ADA, 60, 60))] * 40), tmp_path)
    first = point_at(path, [200, 50, 224, 74], 0.2, "Bo")
    correct(path, first, None)
    second = point_at(path, [200, 150, 224, 174], 1.0, "Bo")
    assert second != first and who(people, path)[first] is None and who(people, path)[second] == "Bo"
    # In between they are nowhere that somebody else is.
    third = point_at(path, [0, 50, 24, 74], 0.2, "Cy")
    point_at(path, [100, 50, 124, 74], 1.0, "Cy")
    between = [p.box[0] for s, p in read_analysis(path).seen(third) if p.evidence == "between"]
    assert all(abs(x - 48) > 20 for x in between)


def test_frames_of_a_shot_that_was_not_looked_at_show_nobody(people, tmp_path):  # noqa: F811
    pictures = [draw((ADA, 60, 60))] * 21 + [draw((BO, 220, 150))] * 3 + [draw((ADA, 240, 60))] * 26
    clip = make_video(tmp_path / "clip.mp4", pictures)
    report = people.process_video(clip, tmp_path / "out.mp4", "Ada", masks=True)
    assert [shot.begin for shot in read_analysis(report.files["analysis"]).shots] == [0, 21, 24]
    shown = {row["frame"] for row in map(json.loads, (tmp_path / "out.mp4.masks.jsonl").open())}
    assert shown == set(range(50)) - {21, 22, 23}


def test_a_renamed_person_is_renamed_in_every_analysis(people, tmp_path):  # noqa: F811
    clip = make_video(tmp_path / "clip.mp4", walk())
    path, tracks = analysed(people, clip, tmp_path)
    correct(path, tracks["Bo"], "Ada")
    people._gallery = people.gallery.renamed("Ada", "Zoe").renamed("Bo", "Ada")
    found = people.analyse_video(clip, folder=path.parent)
    assert found.people[:2] == ["Zoe", "Ada"] and found.by_hand == {tracks["Bo"]: "Zoe"} and not found.remark
    correct(path, tracks["Bo"], "Ada")
    assert who(people, path)[tracks["Ada"]] == "Zoe"


def test_heads_are_cut_out_of_the_video_that_was_analysed_and_no_other(people, tmp_path):  # noqa: F811
    clip = make_video(tmp_path / "clip.mp4", walk())
    other = make_video(tmp_path / "other.mp4", walk(12))
    found = people.analyse_video(clip, folder=tmp_path / "a")
    for cut_out in (
        lambda s: filmstrips(found, s, tmp_path, {"x": [1]}),
        lambda s: write_photos(found, s, [1], tmp_path),
    ):
        for source in (other, tmp_path / "none.mp4"):
            with pytest.raises(InputError, match="is not the video that was analysed"):
                cut_out(source)


def test_two_runs_over_one_video_do_not_write_into_each_other(people, tmp_path):  # noqa: F811
    from concurrent.futures import ThreadPoolExecutor

    clip = make_video(tmp_path / "clip.mp4", walk(120))
    with ThreadPoolExecutor(2) as pool:
        runs = [pool.submit(people.analyse_video, clip, 2, tmp_path / "a") for _ in range(2)]
        found = [run.result() for run in runs]
    assert [len(one.samples) for one in found] == [60, 60] and found[0].path == found[1].path


def test_a_torn_correction_is_cut_off_and_the_next_one_counts(people, tmp_path):  # noqa: F811
    path, tracks = analysed(people, make_video(tmp_path / "clip.mp4", walk()), tmp_path)
    with path.open("ab") as file:
        file.write('{"kind": "name", "track": 1, "name": "원'.encode()[:-1])
    assert read_analysis(path).corrections == ()
    correct(path, tracks["Ada"], "Cy")
    assert who(people, path)[tracks["Ada"]] == "Cy"


def test_corrections_after_a_merge_are_carried_over_and_the_earlier_file_is_kept(people, tmp_path):  # noqa: F811
    pictures = [draw((ADA, 60, 60))] * 25 + [draw((BO, 220, 150))] * 25
    clip = make_video(tmp_path / "clip.mp4", pictures)
    path, tracks = analysed(people, clip, tmp_path)
    merge(path, tracks["Ada"], tracks["Bo"])
    correct(path, tracks["Bo"], "Cy")
    people.add_person("Di", [write_image(tmp_path / "di.png", draw((PEOPLE["Di"], 60, 60)))])
    found = people.analyse_video(clip, folder=path.parent)
    assert set(who(people, path).values()) == {"Cy"} and "the gallery has changed" in found.remark
    kept = path.with_name(f"{path.name}.before")
    assert read_lines(kept)[-1]["name"] == "Cy"


def test_a_flash_in_a_compressed_video_is_no_cut(tmp_path):
    from test_video import make_video as film_of

    from identity_segmentation.video.files import VideoReader

    noise = np.random.default_rng(4).integers(30, 220, (9, 16, 3), dtype=np.uint8)
    room = cv2.resize(noise, (320, 180), interpolation=cv2.INTER_CUBIC)
    flash = cv2.addWeighted(room, 0.15, np.full_like(room, 255), 0.9, 0)
    for pix, codec in (("yuv420p", "libx264"), ("rgb24", "libx264rgb")):
        pictures = [room] * 20 + [flash] * 2 + [room] * 30
        clip = film_of(tmp_path / f"{pix}.mp4", pictures, codec=codec, pix=pix, options={"crf": "18"})
        detector, found = ShotDetector(), []
        with VideoReader(clip) as reader:
            for _ in reader.frames(0, 5, lambda small: found.extend(detector.update(small))):  # noqa: B023
                pass
        assert [*found, *detector.finish()] == [], pix

"""One rule for names: what a picture calls somebody, a video, the notebook and the page call them too."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from fakes import FakeFaces
from test_matching import at, face, people

from identity_segmentation import match_faces
from identity_segmentation.errors import InputError
from identity_segmentation.people.check import check, remarks
from identity_segmentation.people.matching import name_faces as match_faces_by
from identity_segmentation.people.measure import measure
from identity_segmentation.people.rule import SINGLE, NamingRule
from identity_segmentation.types import Face, unit
from identity_segmentation.video.analysis import Analysis, FaceRecord, Sample, TrackletRecord
from identity_segmentation.video.naming import Evidence, name_tracks
from identity_segmentation.video.tracking import TrackPoint


def test_a_tie_in_a_small_gallery_is_nobodys_in_a_picture_and_in_a_video():
    """Two people on file are too few to measure a look-alike level, and a face is exactly as near to either."""
    gallery = people(Ada=at(0.836, 0, 2), Bo=at(0.836, 0, 3))
    between = np.eye(8)[0]
    rule = NamingRule.of(gallery, 0.6)
    (match,) = match_faces([face(between)], gallery, 0.6)
    assert match.similarity == pytest.approx(0.836) and match.margin == pytest.approx(0, abs=1e-6)
    row = gallery.similarity(between[None])[0]
    track = name_tracks({1: Evidence(row, 5, 5.0)}, set(), gallery.names, rule)[1]
    assert (match.name, track.name) == (None, None)
    assert (track.similarity, track.margin) == pytest.approx((match.similarity, match.margin))


@pytest.mark.parametrize("margin", [None, 0.0, 0.05, 0.3])
def test_a_picture_and_a_video_of_one_face_say_the_same(margin):
    rng = np.random.default_rng(11)
    common = rng.normal(size=16)
    for count in (1, 2, 3, 5):
        gallery = people(**{f"P{i}": common + 0.8 * rng.normal(size=(5, 16)) for i in range(count)})
        rule = NamingRule.of(gallery, 0.55, margin)
        for _ in range(40):
            one = face(common + 1.2 * rng.normal(size=16))
            (match,) = match_faces([one], gallery, 0.55, margin)
            row = gallery.similarity(one.embedding[None])[0]
            assert name_tracks({1: Evidence(row, 1, 1.0)}, set(), gallery.names, rule)[1].name == match.name


def test_the_rule_is_the_engines_where_nothing_else_is_asked_for():
    gallery = people(Ada=np.eye(8)[0], Bo=np.eye(8)[1])
    engine = FakeFaces()
    rule = NamingRule.of_engine(engine, gallery)
    assert rule.levels.tolist() == [engine.strict] * 2 and rule.least_lead == engine.margin
    assert rule.floor == engine.floor
    assert NamingRule.of_engine(engine, gallery, 0.7).levels.tolist() == [0.7] * 2
    plain = NamingRule.of_engine(engine, gallery, margin=0.0)
    assert plain.levels.tolist() == [engine.threshold] * 2 and plain.group_lead is None and plain.least_lead == 0
    with pytest.raises(InputError, match="between -1 and 1"):
        NamingRule.plain(2, 2.0)


class Strict(FakeFaces):
    threshold, strict = 0.5, 0.65


def _kind(count, photos=5, spread=0.6, seed=3):
    """People of one kind, whose photos scatter: name -> (photos, 32)."""
    rng = np.random.default_rng(seed)
    common = unit(rng.normal(size=32))
    centres = [unit(common + 0.8 * unit(rng.normal(size=32))) for _ in range(count)]
    return {
        f"P{i}": np.stack([unit(c + spread * unit(rng.normal(size=32))) for _ in range(photos)])
        for i, c in enumerate(centres)
    }


def test_where_the_gallery_shows_nothing_the_strict_threshold_applies():
    kind = _kind(5)
    lone, few = people(P0=kind["P0"]), people(**{n: v[:2] for n, v in kind.items()})
    assert NamingRule.of_engine(Strict(), lone).levels.tolist() == [0.65]
    assert NamingRule.of_engine(Strict(), people(P0=kind["P0"][:1])).levels.tolist() == [0.65 + SINGLE]
    assert NamingRule.of_engine(Strict(), few).levels.min() >= 0.65, "two photos each show nothing"
    unlike = people(P0=kind["P0"], **{f"Q{i}": np.eye(32)[[i] * 4] for i in range(6)})
    assert NamingRule.of_engine(Strict(), unlike).levels[0] == 0.65
    shown = NamingRule.of_engine(Strict(), people(**kind))
    assert np.allclose(shown.levels, np.maximum(0.5, measure(people(**kind), 0.5).highest))
    tracks = NamingRule.of_engine(Strict(), lone, tracks=True)
    assert tracks.levels.tolist() == [0.5] and tracks.sure.tolist() == [0.65]


def test_one_bad_pair_raises_its_own_level_alone():
    kind = _kind(6)
    before = NamingRule.of_engine(Strict(), people(**kind)).levels
    kind["P1"] = np.concatenate([kind["P1"], unit(0.7 * kind["P0"].mean(0) + kind["P1"].mean(0))[None]])
    after = NamingRule.of_engine(Strict(), people(**kind)).levels
    assert after[0] > before[0] + 0.05
    assert np.allclose(after[2:], before[2:], atol=0.05)


def test_one_person_under_two_names_costs_nobody_else_a_name_and_is_said():
    kind = _kind(5, photos=10)
    split = {**kind, "P0": kind["P0"][:5], "Again": kind["P0"][5:]}
    whole, parted = people(**kind), people(**split)
    rule, before = NamingRule.of_engine(Strict(), parted), NamingRule.of_engine(Strict(), whole)
    assert np.allclose(rule.levels[1:5], before.levels[1:], atol=0.03)
    assert set(rule.pairs) == {0, 5}
    assert match_faces([face(kind["P0"].mean(0))], parted, 0.5)[0].name in (None, "P0", "Again")
    said = [r for r in remarks(parted, Strict()) if r.kind == "pair"]
    assert len(said) == 1 and said[0].people == ("P0", "Again")
    assert "P0 and Again look like one person" in said[0].text and "idseg people merge P0 Again" in said[0].text
    assert not any(r.kind == "pair" for r in remarks(whole, Strict()))


def test_an_engine_that_was_never_calibrated_takes_its_level_from_a_gallery_that_shows_one():
    class Unknown(Strict):
        threshold, strict, strangers = 0.3, 0.35, ()

    gallery = people(**_kind(8, photos=8))
    impostors = measure(gallery, 0.3).impostors
    assert len(impostors) >= 200
    rule = NamingRule.of_engine(Unknown(), gallery)
    assert rule.levels.min() >= np.quantile(impostors, 0.998) - 1e-6 > 0.3
    small = NamingRule.of_engine(Unknown(), people(**_kind(3, photos=3)))
    assert small.levels.min() >= 0.3


def test_small_faces_are_judged_by_a_lower_level_as_strangers_score_less_too():
    rule = replace(NamingRule.plain(1, 0.5), small=((40, 0.1), (80, 0.0)))
    row = np.array([0.45])
    assert [rule.judge(row, 0, side).accepted for side in (20, 40, 80, 500)] == [True, True, False, False]
    assert rule.relief(60) == pytest.approx(0.05)


def test_a_check_says_who_is_confused_with_whom_and_which_photos_hurt():
    kind = _kind(4, photos=6, spread=0.4)
    kind["P1"] = np.concatenate([kind["P1"], unit(kind["P0"][:1] + 0.1 * kind["P1"][:1])])
    gallery = people(**kind)
    gallery = replace(gallery, engine_id="fake", model_hash=Strict.model_hash)
    found = check(gallery, Strict())
    assert found.similarity.shape == (4, 4) and (np.diag(found.similarity) > 0.6).all()
    wrong = [p for p in found.photos if p.person == "P1"][-1]
    assert wrong.nearest == "P0" and wrong.verdict == "hurts" and wrong.effect < 0
    assert [p.name for p in found.people] == list(kind) and found.people[0].references == 6
    assert found.picture().shape[2] == 3 and "hurts" in found.table()
    text = found.table()
    assert "P1 is carried by" in text and "Of 1,000 faces of strangers" in text
    assert 0 < found.strangers < 40


def test_names_of_every_kind_can_be_typed_into_the_command_that_is_suggested():
    import shlex

    kind = _kind(5, photos=10)
    names = ['Ann "A" O\'Neil', "장 원영"]
    gallery = people(**{names[0]: kind["P0"][:5], names[1]: kind["P0"][5:]}, **{n: kind[n] for n in ("P1", "P2")})
    (said,) = [r for r in remarks(gallery, Strict()) if r.kind == "pair"]
    command = said.text.split(": ", 1)[1].split(". If")[0]
    assert shlex.split(command) == ["idseg", "people", "merge", *names]


def test_the_notebooks_timeline_obeys_the_threshold_it_is_given(monkeypatch, tmp_path):
    pytest.importorskip("IPython")
    from identity_segmentation import drawing, notebook
    from identity_segmentation.video import analysis

    gallery = people(Ada=np.eye(8)[0], Bo=np.eye(8)[1])
    record = FaceRecord((10, 10, 34, 34), 0.9, None)
    samples = tuple(
        Sample(i, i / 25, False, (record,), (TrackPoint(1, (10, 10, 34, 34), "face", 0),)) for i in range(0, 20, 5)
    )
    evidence = Evidence(np.array([0.8, 0.1]), 4, 4.0)
    header = {"people": gallery.names, "sampling": 5, "width": 320, "height": 240, "fps": [25, 1]}
    found = Analysis(tmp_path, header, samples, {}, 20, "", tracklets={1: TrackletRecord(1, 0, evidence)})
    monkeypatch.setattr(analysis, "read_analysis", lambda path: found)
    monkeypatch.setattr(notebook, "read_analysis", lambda path: found)
    rows = []
    real = drawing.timeline
    monkeypatch.setattr(drawing, "timeline", lambda shown, seconds: rows.extend(shown) or real(shown, seconds))
    notebook.show_timeline("x", "Ada", FakeFaces(), gallery)
    notebook.show_timeline("x", "Ada", FakeFaces(), gallery, 0.9)
    assert [row[0] for row in rows] == ["Ada", "unknown (track 1)"]
    assert [row[1] for row in rows] == [gallery.find("Ada").colour_bgr, (153, 153, 153)]


def test_a_check_of_very_many_people_is_refused_before_it_takes_an_hour():
    gallery = people(**{f"P{i}": np.eye(8)[i % 8] for i in range(2001)})
    with pytest.raises(InputError, match="2,000 people at most"):
        check(replace(gallery, engine_id="fake", model_hash=Strict.model_hash), Strict())


def test_a_photo_in_the_wrong_folder_costs_its_owner_nothing_and_is_named():
    kind = _kind(6, photos=12)
    before = NamingRule.of_engine(Strict(), people(**kind)).levels
    kind["P1"] = np.concatenate([kind["P1"], kind["P0"][:1]])
    astray = people(**{**kind, "P0": kind["P0"][1:]})
    rule = NamingRule.of_engine(Strict(), astray)
    assert rule.levels[0] < before[0] + 0.03
    (said,) = [r for r in remarks(astray, Strict()) if r.kind == "astray"]
    assert said.people == ("P1", "P0") and "is filed under P1 and looks like P0" in said.text


def test_a_group_picture_does_not_settle_who_of_two_that_cannot_be_told_apart_it_is():
    kind = _kind(4, photos=10)
    gallery = people(Ada=kind["P0"][:5], Ann=kind["P0"][5:], **{n: kind[n] for n in ("P1", "P2", "P3")})
    rng = np.random.default_rng(1)
    for _ in range(40):
        faces = [
            face(unit(m + 0.9 * unit(rng.normal(size=32))), 300 * i)
            for i, m in enumerate(
                [kind["P0"].mean(0), kind["P0"].mean(0), *(kind[n].mean(0) for n in ("P1", "P2", "P3"))]
            )
        ]
        rule = NamingRule.of_engine(Strict(), gallery)
        for match in match_faces_by(faces, gallery, rule):
            if match.name in ("Ada", "Ann"):
                row = gallery.similarity(match.face.embedding[None])[0]
                assert rule.tells_apart(row, gallery.names.index(match.name))


def test_a_small_face_is_named_in_a_picture_where_it_is_in_a_video():
    gallery = people(Ada=np.eye(8)[0], Bo=np.eye(8)[1])
    rule = replace(NamingRule.plain(2, 0.6), small=((40, 0.1), (80, 0.0)))
    small = Face([0, 0, 30, 30], 0.9, np.asarray(at(0.55, 0, 2), np.float32))
    row = gallery.similarity(small.embedding[None])[0]
    (match,) = match_faces_by([small], gallery, rule)
    track = name_tracks({1: Evidence(row, 1, 1.0, 30.0)}, set(), gallery.names, rule)[1]
    assert match.name == track.name == "Ada"


def test_a_check_is_of_the_threshold_that_is_in_use():
    gallery = replace(people(**_kind(4)), engine_id="fake", model_hash=Strict.model_hash)
    assert [p.level for p in check(gallery, Strict(), 0.9).people] == [0.9] * 4


def test_a_name_that_begins_with_a_dash_is_no_option_in_the_command():
    kind = _kind(3, photos=10)
    gallery = people(**{"-Ya-": kind["P0"][:5], "Ann": kind["P0"][5:], "P1": kind["P1"]})
    (said,) = [r for r in remarks(gallery, Strict()) if r.kind == "pair"]
    assert "idseg people merge -- -Ya- Ann." in said.text
    from identity_segmentation.cli.command import build_parser

    parsed = build_parser().parse_args(["people", "merge", "--", "-Ya-", "Ann"])
    assert (parsed.name, parsed.other) == ("-Ya-", "Ann")

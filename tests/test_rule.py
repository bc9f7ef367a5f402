"""One rule for names: what a picture calls somebody, a video, the notebook and the page call them too."""

from __future__ import annotations

import numpy as np
import pytest
from fakes import FakeFaces
from test_matching import at, face, people

from identity_segmentation import match_faces
from identity_segmentation.errors import InputError
from identity_segmentation.people.rule import NamingRule
from identity_segmentation.video.analysis import Analysis, FaceRecord, Sample
from identity_segmentation.video.naming import name_tracks
from identity_segmentation.video.tracking import TrackPoint


def test_a_tie_in_a_small_gallery_is_nobodys_in_a_picture_and_in_a_video():
    """Two people on file are too few to measure a look-alike level, and a face is exactly as near to either."""
    gallery = people(Ada=at(0.836, 0, 2), Bo=at(0.836, 0, 3))
    between = np.eye(8)[0]
    rule = NamingRule.of(gallery, 0.6)
    (match,) = match_faces([face(between)], gallery, 0.6)
    assert match.similarity == pytest.approx(0.836) and match.margin == pytest.approx(0, abs=1e-6)
    row = gallery.similarity(between[None])[0]
    track = name_tracks({1: [(1.0, row)] * 5}, [[1]], gallery.names, rule)[1]
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
            assert name_tracks({1: [(1.0, row)]}, [[1]], gallery.names, rule)[1].name == match.name


def test_the_rule_is_the_engines_where_nothing_else_is_asked_for():
    gallery = people(Ada=np.eye(8)[0], Bo=np.eye(8)[1])
    engine = FakeFaces()
    rule = NamingRule.of_engine(engine, gallery)
    assert (rule.threshold, rule.least_lead, rule.level) == (engine.threshold, engine.margin, pytest.approx(0.65))
    assert NamingRule.of_engine(engine, gallery, 0.7).threshold == 0.7
    plain = NamingRule.of_engine(engine, gallery, margin=0.0)
    assert plain.level is None and plain.group_lead is None
    with pytest.raises(InputError, match="between -1 and 1"):
        NamingRule(2.0)


def test_the_notebooks_timeline_obeys_the_threshold_it_is_given(monkeypatch, tmp_path):
    plt = pytest.importorskip("matplotlib.pyplot")
    monkeypatch.setattr(plt, "show", lambda: None)
    from matplotlib.axes import Axes

    from identity_segmentation import notebook
    from identity_segmentation.video import analysis

    gallery = people(Ada=np.eye(8)[0], Bo=np.eye(8)[1])
    record = FaceRecord((10, 10, 34, 34), 0.9, None, np.array([0.8, 0.1], np.float32))
    samples = tuple(
        Sample(i, i / 25, False, (record,), (TrackPoint(1, (10, 10, 34, 34), "face", 0),)) for i in range(0, 20, 5)
    )
    found = Analysis(tmp_path, {"people": gallery.names, "sampling": 5}, samples, {}, {}, 20, "")
    monkeypatch.setattr(analysis, "read_analysis", lambda path: found)
    monkeypatch.setattr(notebook, "read_analysis", lambda path: found)
    colours = []
    real = Axes.plot
    monkeypatch.setattr(Axes, "plot", lambda self, *a, **k: colours.append(k["color"]) or real(self, *a, **k))
    notebook.show_timeline("x", "Ada", FakeFaces(), gallery)
    notebook.show_timeline("x", "Ada", FakeFaces(), gallery, 0.9)
    assert colours == [gallery.find("Ada").colour, "#999999"]

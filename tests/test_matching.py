"""Names are given one-to-one, to those who earn them, and to nobody else."""

from __future__ import annotations

import numpy as np
import pytest
from fakes import DIM, PEOPLE, draw, near

from identity_segmentation import Gallery, build_embeddings_db, identify, identify_all_members, match_faces, write_image
from identity_segmentation.errors import GalleryMismatch, InputError
from identity_segmentation.people.measure import measure
from identity_segmentation.people.person import Person, Reference
from identity_segmentation.types import Face, unit


def face(vector, x=0):
    return Face([x, 0, x + 10, 10], 0.9, np.asarray(vector, np.float32))


def people(**references) -> Gallery:
    """A gallery straight from vectors: name -> (n, D)."""
    rows = {name: unit(np.atleast_2d(np.asarray(v, np.float32))) for name, v in references.items()}
    listed = tuple(
        Person(name, name, references=tuple(Reference("x", f"{name}{i}", 0) for i in range(len(v))))
        for name, v in rows.items()
    )
    return Gallery("fake", "0", listed, np.concatenate(list(rows.values())))


def at(cosine, axis=0, other=1, dim=8):
    """A unit vector with this cosine to an axis."""
    vector = np.zeros(dim)
    vector[axis], vector[other] = cosine, np.sqrt(1 - cosine**2)
    return vector


AXES = np.eye(8)


def test_a_clear_face_gets_its_name_with_the_evidence():
    gallery = people(Ada=AXES[0], Bo=AXES[1])
    (match,) = match_faces([face(at(0.9, 0, 2))], gallery, 0.5)
    assert (match.name, match.runner_up, match.basis) == ("Ada", "Bo", "face")
    assert match.similarity == pytest.approx(0.9, abs=1e-4) and match.margin == pytest.approx(0.9, abs=1e-4)


def test_a_stranger_stays_unknown_but_says_whom_they_come_nearest_to():
    gallery = people(Ada=AXES[0], Bo=AXES[1])
    (match,) = match_faces([face(at(0.3, 0, 2))], gallery, 0.5)
    assert (match.name, match.nearest, match.basis) == (None, "Ada", "none")
    assert match.similarity == pytest.approx(0.3, abs=1e-4)


def test_two_faces_cannot_both_be_one_person():
    gallery = people(Ada=AXES[0], Bo=AXES[1])
    matches = match_faces([face(at(0.8, 0, 2)), face(at(0.95, 0, 3))], gallery, 0.5)
    assert [m.name for m in matches] == [None, "Ada"]


def test_the_assignment_is_the_best_in_total_not_the_greedy_one():
    gallery = people(Ada=AXES[0], Bo=AXES[1])
    first = unit(np.array([0.80, 0.78, 0.1, 0, 0, 0, 0, 0]))  # nearest to Ada, and almost as near to Bo
    second = unit(np.array([0.78, 0.10, 0.6, 0, 0, 0, 0, 0]))  # nearest to Ada, far from Bo
    matches = match_faces([face(first), face(second)], gallery, 0.5, margin=-1.0)
    assert [m.name for m in matches] == ["Bo", "Ada"]


def test_nobody_is_a_real_option():
    gallery = people(Ada=AXES[0])
    assert [m.name for m in match_faces([face(AXES[1]), face(AXES[2])], gallery, 0.5)] == [None, None]
    assert match_faces([], gallery, 0.5) == []


def test_between_two_alike_people_the_margin_decides():
    gallery = people(Ada=AXES[0], Bo=at(0.98))
    between = unit(AXES[0] + at(0.98))
    assert match_faces([face(between)], gallery, 0.5)[0].name is None, "far above the threshold, and nobody's"
    assert match_faces([face(between)], gallery, 0.5, margin=0)[0].name is not None
    assert match_faces([face(between)], gallery, 0.5, margin=0.05)[0].name is None
    assert match_faces([face(AXES[0])], gallery, 0.5, margin=0.01)[0].name == "Ada"


def test_a_mirror_image_is_not_given_to_somebody_else():
    """One-to-one pushes the second copy of a face to the next person; a negative lead must not buy a name."""
    gallery = people(Ada=AXES[0], Bo=at(0.85))
    matches = match_faces([face(at(0.97, 0, 3)), face(at(0.96, 0, 3), 50)], gallery, 0.5)
    assert [m.name for m in matches] == ["Ada", None]


def test_as_many_strangers_as_people_are_no_group():
    references, stranger = _look_alikes(count=3, photos=6)
    gallery = people(**references)
    for _ in range(20):
        strangers = [face(stranger(), 40 * i) for i in range(3)]
        assert "group" not in {m.basis for m in match_faces(strangers, gallery, 0.5)}


def _look_alikes(count=4, photos=5, spread=0.35):
    """People whose photos scatter round nearly one face: any stranger of the kind is near everybody."""
    rng = np.random.default_rng(3)
    common = unit(rng.normal(size=32))
    centres = [unit(common + 0.5 * unit(rng.normal(size=32))) for _ in range(count)]
    return {
        f"P{i}": np.stack([unit(c + spread * unit(rng.normal(size=32))) for _ in range(photos)])
        for i, c in enumerate(centres)
    }, lambda: unit(common + 0.5 * unit(rng.normal(size=32)))


def test_a_gallery_of_look_alikes_raises_its_own_bar():
    references, stranger = _look_alikes()
    alike = people(**references)
    strangers = [face(stranger()) for _ in range(60)]
    plain = sum(match_faces([s], alike, 0.5, margin=0)[0].name is not None for s in strangers)
    barred = sum(match_faces([s], alike, 0.5)[0].name is not None for s in strangers)
    assert plain > 50 and barred < 10
    assert measure(alike, 0.5).highest.min() > 0.7 and measure(alike, 0.5).shown.all()
    unlike = measure(people(**{f"P{i}": AXES[[i] * 5] for i in range(4)}), 0.5)
    assert unlike.highest.max() < 0.5 and not unlike.shown.any()


def test_the_level_needs_enough_people_to_be_measured():
    references, _ = _look_alikes(count=2)
    assert not measure(people(**references), 0.5).shown.any()
    references, _ = _look_alikes(count=5, photos=2)
    assert not measure(people(**references), 0.5).shown.any(), "two photos each show nothing"


def test_somebody_unrelated_on_file_does_not_silence_a_group():
    rng = np.random.default_rng(3)
    references, _ = _look_alikes(count=4, spread=0.55)
    far = unit(rng.normal(size=(5, 32)) + 40 * unit(rng.normal(size=32)))
    far -= far @ unit(np.concatenate(list(references.values())).mean(0))[:, None] * 0.9
    alone, joined = people(**references), people(**references, Unrelated=unit(far))
    faces = [face(unit(m + 3 * unit(alone.means.mean(0))), x=30 * i) for i, m in enumerate(alone.means)]
    given = [m.name for m in match_faces(faces, alone, 0.5, engine_margin=0.01)]
    assert [m.name for m in match_faces(faces, joined, 0.5, engine_margin=0.01)] == given == alone.names


def test_a_picture_of_the_whole_group_is_read_as_a_whole():
    references, _ = _look_alikes(count=4, spread=0.55)
    gallery = people(**references)
    means = gallery.means
    # Every face is far more like the group than like anybody in it.
    faces = [face(unit(m + 3 * unit(means.mean(0))), x=30 * i) for i, m in enumerate(means)]
    together = match_faces(faces, gallery, 0.5, engine_margin=0.01)
    assert [m.name for m in together] == gallery.names
    assert "group" in {m.basis for m in together}
    weak = [m.basis for m in together].index("group")
    assert gallery.names[weak] not in [match_faces([f], gallery, 0.5)[0].name for f in faces]
    without_one = match_faces([f for i, f in enumerate(faces) if i != 0], gallery, 0.5, engine_margin=0.01)
    assert "group" not in {m.basis for m in without_one}, "somebody is missing, so nothing follows by elimination"


def test_two_look_alikes_that_could_be_swapped_stay_unknown_even_in_a_group():
    base = np.eye(8)
    gallery = people(
        A=np.stack([at(0.99, 0, k) for k in (2, 3, 4)]),
        B=np.stack([at(0.99, 0, k) for k in (5, 6, 7)]),
        C=np.stack([unit(base[1] + 0.1 * base[k]) for k in (2, 3, 4, 5)]),
    )
    same = base[0]
    matches = match_faces([face(same, 0), face(same, 30), face(base[1], 60)], gallery, 0.5)
    assert [m.name for m in matches] == [None, None, "C"]


def test_scorings_agree_on_one_reference_and_differ_on_many():
    one = people(Ada=AXES[0], Bo=AXES[1])
    probe = at(0.7, 0, 2)[None]
    assert np.allclose(one.similarity(probe, "mean"), one.similarity(probe, "best"))
    many = people(Ada=np.stack([AXES[0], AXES[1], AXES[2], AXES[3]]))
    mean, best, blend = (many.similarity(AXES[:1], s)[0, 0] for s in ("mean", "best", "blend"))
    assert mean == pytest.approx(0.5) and best == pytest.approx(1 / 3) and blend == pytest.approx((mean + best) / 2)
    with pytest.raises(InputError, match="unknown scoring"):
        one.similarity(probe, "median")


def test_the_shortlist_of_a_large_gallery_decides_who_can_win(monkeypatch):
    import identity_segmentation.people.gallery as module

    rng = np.random.default_rng(5)
    rows = {f"p{i}": unit(rng.normal(size=16) + 2.0 * rng.normal(size=(6, 16))) for i in range(90)}
    gallery, probes = people(**rows), unit(rng.normal(size=(40, 16)))
    exact = gallery.similarity(probes)
    monkeypatch.setattr(module, "EXHAUSTIVE", 10)
    listed = gallery.similarity(probes)
    alone = np.vstack([gallery.similarity(p[None]) for p in probes])
    assert np.allclose(listed, alone, atol=1e-5), "who else is in the picture changes nothing"
    best = listed.argmax(axis=1)
    assert np.allclose(listed[np.arange(40), best], exact[np.arange(40), best], atol=1e-5)


def test_a_large_gallery_names_as_a_small_one_does():
    rng = np.random.default_rng(1)
    vectors = unit(rng.normal(size=(3000, 64)))
    listed = tuple(Person(str(i), f"p{i}", references=(Reference("x", str(i), 0),)) for i in range(3000))
    gallery = Gallery("fake", "0", listed, vectors)
    faces = [face(unit(vectors[i] + 0.05 * rng.normal(size=64))) for i in (5, 2999, 1234)]
    assert [m.name for m in match_faces(faces, gallery, 0.5)] == ["p5", "p2999", "p1234"]


@pytest.mark.parametrize("threshold", [-1.5, 2, float("nan")])
def test_a_threshold_that_is_no_cosine_is_refused(threshold):
    with pytest.raises(InputError, match="between -1 and 1"):
        match_faces([face(AXES[0])], people(Ada=AXES[0]), threshold)


def test_faces_without_embeddings_are_refused():
    with pytest.raises(InputError, match="embed"):
        match_faces([Face([0, 0, 4, 4], 1)], people(Ada=AXES[0]), 0.5)


# ---- through an engine


@pytest.fixture
def gallery(tmp_path, fake_faces):
    for name in ("Ada", "Bo", "Cy"):
        for i in range(3):
            write_image(tmp_path / "D" / name / f"{i}.png", draw((near(PEOPLE[name], 3 * i), 60 + 40 * i, 60)))
    return build_embeddings_db(tmp_path / "D", fake_faces)


def test_everyone_in_a_picture_is_named_and_strangers_are_not_listed(gallery, fake_faces):
    image = draw((PEOPLE["Bo"], 60, 60), (PEOPLE["Ada"], 160, 60), ((20, 120, 250), 260, 60))
    found = identify_all_members(image, fake_faces, gallery)
    assert sorted(f["name"] for f in found) == ["Ada", "Bo"]
    assert set(found[0]) == {"name", "bbox", "similarity", "margin", "runner_up"}
    bo = next(f for f in found if f["name"] == "Bo")
    assert bo["bbox"].tolist() == [48, 48, 72, 72]


def test_a_picture_without_faces_names_nobody(gallery, fake_faces):
    assert identify_all_members(draw(), fake_faces, gallery) == []


def test_the_threshold_knob_works_for_any_engine(gallery, fake_faces):
    image = draw((near(PEOPLE["Ada"], 30), 60, 60))
    assert identify_all_members(image, fake_faces, gallery, threshold=0.999) == []
    assert identify_all_members(image, fake_faces, gallery, threshold=0.3)[0]["name"] == "Ada"


def test_another_engines_gallery_is_refused(gallery, fake_faces):
    fake_faces.id = "other"
    with pytest.raises(GalleryMismatch):
        identify(draw(), fake_faces, gallery)


def test_an_empty_gallery_leaves_everyone_unknown(fake_faces):
    empty = Gallery(fake_faces.id, fake_faces.model_hash, references=np.zeros((0, DIM), np.float32))
    (match,) = identify(draw((PEOPLE["Ada"], 60, 60)), fake_faces, empty)
    assert match.name is None and match.nearest is None

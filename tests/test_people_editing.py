"""Mistakes in a gallery are put right, stay right over the next build, and leave no trace where none is wanted."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace

import cv2
import numpy as np
import pytest
from fakes import PEOPLE, FakeFaces
from test_gallery import photo, three_people, varied, verdicts

from identity_segmentation import Gallery, add_photos, build_embeddings_db
from identity_segmentation.cli import main
from identity_segmentation.errors import GalleryError, GalleryMismatch, InputError, UnknownPerson
from identity_segmentation.people import thumbnails
from identity_segmentation.people.adding import look_at_photos
from identity_segmentation.people.check import check
from identity_segmentation.people.editing import find_photos, move_photos, remove_photos, tell_apart, unite
from identity_segmentation.people.measure import measure


@pytest.fixture
def dataset(tmp_path):
    return three_people(tmp_path / "Dataset")


def counts(gallery: Gallery) -> dict[str, int]:
    return {person.name: len(person.references) for person in gallery.people}


def keys(gallery: Gallery, name: str) -> list[str]:
    return [one.sha256 for one in gallery.find(name).references]


def vectors(gallery: Gallery, name: str) -> np.ndarray:
    return gallery.person_references(gallery.people.index(gallery.find(name)))


# ---- thumbnails


def test_every_reference_keeps_the_face_that_it_stands_for(dataset, tmp_path, fake_faces):
    photo(dataset / "Ada", "group.png", (PEOPLE["Bo"], 60, 60), (PEOPLE["Ada"], 200, 60))
    build_embeddings_db(dataset, fake_faces, tmp_path / "g")
    gallery = Gallery.load(tmp_path / "g")
    for person in gallery.people:
        for one in person.references:
            small = cv2.imdecode(np.frombuffer(one.thumbnail, np.uint8), cv2.IMREAD_COLOR)
            assert small.shape == (128, 128, 3)
            middle = small[56:72, 56:72].reshape(-1, 3).mean(axis=0)
            assert np.abs(middle - PEOPLE[person.name]).max() < 40, (person.name, one.source)
    assert gallery.portrait(0) in {one.thumbnail for one in gallery.people[0].references}


def test_a_thumbnail_is_a_square_out_of_the_picture_wherever_the_face_is():
    image = np.zeros((60, 200, 3), np.uint8)
    for box in ([-20, -20, 30, 30], [180, 20, 230, 90], [0, 0, 200, 60], [90, 10, 90, 10]):
        small = cv2.imdecode(np.frombuffer(thumbnails.of_face(image, np.array(box)), np.uint8), cv2.IMREAD_COLOR)
        assert small.shape == (128, 128, 3)


def test_thumbnails_survive_builds_edits_and_a_generation(dataset, tmp_path, fake_faces):
    first = build_embeddings_db(dataset, fake_faces, tmp_path / "g")
    calls = fake_faces.calls
    again = build_embeddings_db(dataset, fake_faces, tmp_path / "g")
    assert fake_faces.calls == calls, "nothing is looked at twice"
    shown = {one.sha256: one.thumbnail for p in first.people for one in p.references}
    assert all(one.thumbnail == shown[one.sha256] for p in again.people for one in p.references)
    merged = again.merged("Ada", "Bo").save(tmp_path / "h")
    assert all(one.thumbnail == shown[one.sha256] for one in Gallery.load(merged.folder).find("Ada").references)


def test_a_gallery_without_thumbnails_gets_them_by_the_next_build_and_loses_them_on_request(
    dataset, tmp_path, fake_faces
):
    build_embeddings_db(dataset, fake_faces, tmp_path / "g", thumbnails=False)
    bare = Gallery.load(tmp_path / "g")
    assert not any(one.thumbnail for p in bare.people for one in p.references) and bare.portrait(0) == b""
    full = build_embeddings_db(dataset, fake_faces, tmp_path / "g")
    assert all(one.thumbnail for p in full.people for one in p.references) and full.report.embedded == 12
    assert [p.id for p in full.people] == [p.id for p in bare.people]
    add, _ = add_photos(full, fake_faces, "Di", [photo(tmp_path, "di.png", (PEOPLE["Di"], 60, 60))], thumbnails=False)
    assert not add.find("Di").references[0].thumbnail
    sample = full.people[0].references[0].thumbnail[-200:]
    build_embeddings_db(dataset, fake_faces, tmp_path / "g", thumbnails=False)
    assert not any(sample in path.read_bytes() for path in (tmp_path / "g").iterdir())


def test_thumbnails_lie_beside_the_embeddings_and_a_generation_without_them_is_read(dataset, tmp_path, fake_faces):
    from safetensors.numpy import load_file

    gallery = tell_apart(build_embeddings_db(dataset, fake_faces), "Ada", "Bo").save(tmp_path / "g")
    manifest = json.loads((tmp_path / "g" / "gen-000001.json").read_text("utf-8"))
    assert not any("thumbnail" in one for p in manifest["people"] for one in p["references"])
    tensors = load_file(tmp_path / "g" / "gen-000001.safetensors")
    np.testing.assert_array_equal(tensors["references"], gallery.references)
    # A generation of an earlier version has neither thumbnails nor pairs.
    manifest.pop("apart")
    from safetensors.numpy import save

    data = save({"references": gallery.references})
    manifest["tensors_sha256"] = hashlib.sha256(data).hexdigest()
    old = tmp_path / "old"
    old.mkdir()
    (old / "gen-000001.json").write_text(json.dumps(manifest), "utf-8")
    (old / "gen-000001.safetensors").write_bytes(data)
    assert counts(Gallery.load(old)) == {"Ada": 4, "Bo": 4, "Cy": 4} and Gallery.load(old).apart == ()


def test_thumbnails_that_do_not_fit_are_a_damage_and_others_than_small_jpegs_are_left_out():
    one, other = thumbnails.of_picture(np.zeros((9, 9, 3), np.uint8)), b"<svg onload=alert(1)>"
    tensors = thumbnails.packed([one, b"", other, one + bytes(1 << 16)])
    assert thumbnails.unpacked(tensors, 4) == [one, b"", b"", b""]
    assert thumbnails.packed([b"", b""]) == {} and thumbnails.unpacked({}, 2) == [b"", b""]
    for wrong in ([5], [5, 4, 9, 9], [0, 0, 0, 10**9], [-5, 0, 0, len(tensors["thumbnails"])]):
        with pytest.raises(ValueError, match="do not fit"):
            thumbnails.unpacked({**tensors, "thumbnail_ends": np.array(wrong)}, 4)


def test_looking_at_photos_can_be_stopped_and_gives_what_was_seen(tmp_path, fake_faces):
    import threading

    paths = [photo(tmp_path, f"{i}.png", person) for i, person in enumerate(varied(PEOPLE["Di"], 6))]
    stop, told = threading.Event(), []

    def progress(done, total):
        told.append((done, total))
        if done == 3:
            stop.set()

    looked = look_at_photos(fake_faces, paths, progress, stop)
    assert [one.source for one in looked] == ["0.png", "1.png", "2.png"] and told == [(1, 6), (2, 6), (3, 6)]
    gallery, found = add_photos(Gallery.empty(fake_faces), fake_faces, "Di", looked)
    whole, same = add_photos(Gallery.empty(fake_faces), fake_faces, "Di", paths[:3])
    assert found == same and np.array_equal(gallery.references, whole.references)


# ---- this photo is somebody else


def test_a_photo_that_is_somebody_elses_goes_there_and_stays_there(dataset, tmp_path, fake_faces):
    gallery = build_embeddings_db(dataset, fake_faces, tmp_path / "g")
    key, vector = keys(gallery, "Ada")[1], vectors(gallery, "Ada")[1]
    moved = move_photos(gallery, "ada", [key], "bo")
    assert counts(moved) == {"Ada": 3, "Bo": 5, "Cy": 4} and keys(moved, "Bo")[-1] == key
    np.testing.assert_array_equal(vectors(moved, "Bo")[-1], vector)
    moved.save(tmp_path / "g")
    built = build_embeddings_db(dataset, fake_faces, tmp_path / "g")
    assert counts(built) == {"Ada": 3, "Bo": 5, "Cy": 4}, "the next build does not put it back"
    assert verdicts(built)["Ada/1.png"] == "not_theirs" and built.report.embedded == 0
    photo(dataset / "Ada", "new.png", *varied(PEOPLE["Ada"], 1, 9))
    built = build_embeddings_db(dataset, fake_faces, tmp_path / "g")
    assert counts(built) == {"Ada": 4, "Bo": 5, "Cy": 4}, "nor where the folder has changed"
    back = move_photos(built, "Bo", [key], "Ada").save(tmp_path / "g")
    assert counts(back) == {"Ada": 5, "Bo": 4, "Cy": 4}
    built = build_embeddings_db(dataset, fake_faces, tmp_path / "g")
    assert counts(built) == {"Ada": 5, "Bo": 4, "Cy": 4} and verdicts(built)["Ada/1.png"] == "used"
    assert not any(one.by_hand for one in built.find("Ada").references)


def test_what_is_not_theirs_is_remembered_when_a_gallery_is_built_anew(dataset, tmp_path, fake_faces):
    gallery = build_embeddings_db(dataset, fake_faces, tmp_path / "g")
    gallery = tell_apart(remove_photos(gallery, "Ada", keys(gallery, "Ada")[:1]), "Ada", "Bo").save(tmp_path / "g")
    newer = FakeFaces()
    newer.model_hash = "fedcba9876543210"
    built = build_embeddings_db(dataset, newer, tmp_path / "g", anew=True)
    assert counts(built) == {"Ada": 3, "Bo": 4, "Cy": 4} and built.apart == gallery.apart != ()


def test_a_photo_may_be_of_somebody_new_and_is_never_there_twice(dataset, fake_faces):
    gallery = build_embeddings_db(dataset, fake_faces)
    chosen = keys(gallery, "Ada")[:2]
    moved = move_photos(gallery, "Ada", chosen, "  ดาว ")
    assert counts(moved) == {"Ada": 2, "Bo": 4, "Cy": 4, "ดาว": 2}
    assert moved.find("ดาว").colour not in {p.colour for p in gallery.people}
    doubled = moved.with_person("Bo", vectors(moved, "ดาว")[:1], [moved.find("ดาว").references[0]])
    assert counts(move_photos(doubled, "ดาว", chosen[:1], "Bo")) == {"Ada": 2, "Bo": 5, "Cy": 4, "ดาว": 1}


def test_nobody_is_left_on_file_without_a_photo(dataset, fake_faces):
    gallery = build_embeddings_db(dataset, fake_faces)
    for change in (
        lambda photos: move_photos(gallery, "Ada", photos, "Bo"),
        lambda photos: remove_photos(gallery, "Ada", photos),
    ):
        with pytest.raises(InputError, match="all the photos of Ada"):
            change(keys(gallery, "Ada"))
        with pytest.raises(InputError, match="none of these photos"):
            change(["0" * 64])
    with pytest.raises(InputError, match="filed already"):
        move_photos(gallery, "Ada", keys(gallery, "Ada")[:1], "ADA")
    with pytest.raises(UnknownPerson):
        move_photos(gallery, "Nobody", keys(gallery, "Ada")[:1], "Bo")


def test_a_photo_that_is_taken_away_is_in_no_file_of_the_gallery(dataset, tmp_path, fake_faces):
    gallery = build_embeddings_db(dataset, fake_faces, tmp_path / "g")
    key, one, vector = keys(gallery, "Cy")[2], gallery.find("Cy").references[2], vectors(gallery, "Cy")[2]
    Gallery.edit(tmp_path / "g", lambda g: remove_photos(g, "Cy", [key]), purge=True)
    for path in (tmp_path / "g").iterdir():
        content = path.read_bytes()
        assert one.thumbnail[-200:] not in content and vector.tobytes() not in content
    built = build_embeddings_db(dataset, fake_faces, tmp_path / "g")
    assert counts(built)["Cy"] == 3


# ---- two who are one, one who are two


def test_a_merge_unites_what_two_have_and_counts_a_photo_once(dataset, tmp_path, fake_faces):
    gallery = build_embeddings_db(dataset, fake_faces, tmp_path / "g").with_aliases("Bo", ["보"])
    gallery = gallery.with_person("Ada", vectors(gallery, "Bo")[:1], [gallery.find("Bo").references[0]])
    merged = gallery.merged("Ada", "Bo")
    assert counts(merged) == {"Ada": 8, "Cy": 4} and merged.find("보").name == merged.find("bo").name == "Ada"
    assert len(set(keys(merged, "Ada"))) == 8
    gallery.save(tmp_path / "g")
    gone = gallery.find("Bo").id.encode()
    Gallery.edit(tmp_path / "g", lambda g: g.merged("Ada", "Bo"))
    assert not any(gone in path.read_bytes() for path in (tmp_path / "g").iterdir())


def test_a_new_name_that_was_an_alias_is_one_no_longer_and_the_others_stay(dataset, fake_faces):
    gallery = build_embeddings_db(dataset, fake_faces).with_aliases("Ada", ["에이다", "A."])
    renamed = gallery.renamed("Ada", "에이다")
    assert renamed.find("에이다").aliases == ("A.",)
    with pytest.raises(GalleryError, match="would name both"):
        gallery.renamed("Bo", "a.")


def alike(fake_faces) -> Gallery:
    vector = fake_faces.faces(photo_of("Ada"))[0].embedding
    noise = np.random.default_rng(3).normal(size=(8, len(vector))) / np.sqrt(len(vector))
    rows = vector + 0.3 * noise.astype(np.float32)
    from identity_segmentation.people.person import Reference

    gallery = Gallery.empty(fake_faces)
    for name, part in (("Ada", rows[:4]), ("Ada 2", rows[4:])):
        gallery = gallery.with_person(name, part, [Reference(f"{name}{i}", f"{name}{i}", 0) for i in range(4)])
    return gallery


def photo_of(name: str) -> np.ndarray:
    from fakes import draw

    return draw((PEOPLE[name], 100, 80))


def test_two_who_look_alike_are_asked_about_until_somebody_says_that_they_are_two(tmp_path, fake_faces):
    gallery = alike(fake_faces)
    assert [one.kind for one in check(gallery, fake_faces).remarks].count("pair") == 1
    told = tell_apart(tell_apart(gallery, "Ada 2", "Ada"), "Ada", "Ada 2").save(tmp_path / "g")
    told = Gallery.load(told.folder)
    assert len(told.apart) == 1 and "pair" not in [one.kind for one in check(told, fake_faces).remarks]
    assert len(measure(told, fake_faces.threshold).pairs) == 1, "the lead that tells them apart stays"
    assert told.renamed("Ada 2", "Eda").apart == told.apart
    assert told.without("Ada").apart == () and told.merged("Ada", "Ada 2").apart == ()
    with pytest.raises(InputError, match="one person"):
        tell_apart(gallery, "Ada", "ada")


# ---- two galleries in one


def test_two_galleries_are_united_by_names_and_what_does_not_fit_is_said(dataset, tmp_path, fake_faces):
    ours = build_embeddings_db(dataset, fake_faces, tmp_path / "g").without("Cy").with_aliases("Bo", ["보"])
    other = tmp_path / "Other"
    for name, person, count in (("보", "Bo", 2), ("Di", "Di", 3), ("Cy", "Cy", 2)):
        for i, one in enumerate(varied(PEOPLE[person], count, 4)):
            photo(other / name, f"{i}.png", one)
    theirs = (
        build_embeddings_db(other, fake_faces).with_aliases("보", ["Bobo"]).with_colour("Di", ours.people[0].colour)
    )
    united, said = unite(ours, theirs)
    assert counts(united) == {"Ada": 4, "Bo": 6, "Cy": 2, "Di": 3} and said == []
    assert united.find("bobo").name == "Bo" and len({p.colour for p in united.people}) == 4
    assert united.find("Di").id == theirs.find("Di").id
    assert unite(united, theirs)[1] == [] and counts(unite(united, theirs)[0]) == counts(united), "twice is once"
    united.save(tmp_path / "g")
    built = build_embeddings_db(dataset, fake_faces, tmp_path / "g")
    assert counts(built) == {"Ada": 4, "Bo": 6, "Cy": 6, "Di": 3}, "whoever came in stays at the next build"


def test_what_a_united_gallery_cannot_take_is_said_and_nothing_is_guessed(dataset, fake_faces):
    ours = build_embeddings_db(dataset, fake_faces)
    torn = ours.renamed("Ada", "Zed").with_aliases("Zed", ["Bo 2"]).renamed("Bo", "Bee").without("Cy")
    both = torn.without("Bee").with_aliases("Zed", ["Ada", "Bo"])
    united, said = unite(ours, both)
    assert counts(united) == counts(ours) and "two people here; left out" in said[0]
    united, said = unite(ours, ours.renamed("Ada", "Eda"))
    assert counts(united) == counts(ours)
    assert sum("it stays Ada's" in one for one in said) == 4 and "Eda of the import has no photo" in said[-1]
    one_here = ours.merged("Ada", "Bo")
    united, said = unite(one_here, ours)
    assert counts(united) == {"Ada": 8, "Cy": 4} and said == ["Ada and Bo of the import are one person here: Ada"]
    with pytest.raises(GalleryMismatch, match="do not mix"):
        unite(ours, replace(ours, model_hash="other"))


# ---- on the command line


def test_photos_are_meant_by_their_name_or_their_hash(dataset, fake_faces):
    gallery = build_embeddings_db(dataset, fake_faces)
    first, second = keys(gallery, "Ada")[:2]
    assert find_photos(gallery, "Ada", ["Ada/0.png", second[:8].upper()]) == [first, second]
    assert find_photos(gallery, "Ada", ["0.png"]) == find_photos(gallery, "Ada", ["/elsewhere/0.png"]) == [first]
    with pytest.raises(InputError, match=r"no photo of Ada; theirs are: Ada/0\.png \("):
        find_photos(gallery, "Ada", ["9.png"])


def test_mistakes_are_put_right_on_the_command_line(dataset, tmp_path, fake_faces, capsys):
    folder = tmp_path / "g"
    build_embeddings_db(dataset, fake_faces, folder)
    at = ["--gallery", str(folder)]
    assert main(["people", "move", "Ada", "Bo", "0.png", "1.png", *at]) == 0
    assert capsys.readouterr().out == "Ada now has 2 references\nBo now has 6 references\n"
    assert main(["people", "forget", "Cy", "3.png", *at]) == 0
    assert main(["people", "apart", "Ada", "Cy", *at]) == 0
    assert capsys.readouterr().out.endswith("Cy now has 3 references\nAda and Cy are two people\n")
    gallery = Gallery.load(folder)
    assert counts(gallery) == {"Ada": 2, "Bo": 6, "Cy": 3} and len(gallery.apart) == 1
    assert main(["people", "forget", "Cy", "nonsense.png", *at]) == 1
    assert "theirs are: Cy/0.png" in capsys.readouterr().err

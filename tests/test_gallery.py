"""Photos become people: every photo gets a verdict, nothing is lost, and whoever is deleted is gone."""

from __future__ import annotations

import json
import logging
import os
import pickle
import shutil
import stat
import subprocess
import sys
import unicodedata
from dataclasses import replace

import cv2
import numpy as np
import pytest
from fakes import BACKGROUND, DIM, PEOPLE, FakeFaces, draw, embedding, near

from identity_segmentation import Gallery, add_photos, build_embeddings_db, write_image
from identity_segmentation.errors import (
    GalleryCorrupt,
    GalleryError,
    GalleryLocked,
    GalleryMismatch,
    InputError,
    OutputError,
    UnknownPerson,
)
from identity_segmentation.images import decode_image
from identity_segmentation.people.gallery import locked
from identity_segmentation.people.measure import measure
from identity_segmentation.people.person import Reference, normal_name


def photo(folder, name, *people, **options):
    return write_image(folder / name, draw(*people, **options))


def varied(colour, count, start=0):
    """`count` different pictures of one person: the light and the place change."""
    return [
        (near(colour, 2 * (i + start)), 60 + 31 * ((i + start) % 7), 50 + 17 * ((i + start) % 5)) for i in range(count)
    ]


def three_people(root):
    """A data set of Ada, Bo and Cy, four photos each."""
    for name in ("Ada", "Bo", "Cy"):
        for i, person in enumerate(varied(PEOPLE[name], 4)):
            photo(root / name, f"{i}.png", person)
    return root


@pytest.fixture
def dataset(tmp_path):
    return three_people(tmp_path / "Dataset")


def verdicts(gallery):
    return {v.photo: v.verdict for v in gallery.report.verdicts}


# ---- building


def test_one_folder_per_person_becomes_one_person_each(dataset, fake_faces):
    gallery = build_embeddings_db(dataset, fake_faces)
    assert gallery.names == ["Ada", "Bo", "Cy"]
    assert set(verdicts(gallery).values()) == {"used"}
    assert gallery.references.shape == (12, DIM) and gallery.means.shape == (3, DIM)
    assert np.linalg.norm(gallery.means, axis=1) == pytest.approx([1, 1, 1], abs=1e-5)


def test_every_kind_of_photo_gets_its_verdict(dataset, fake_faces):
    ada = dataset / "Ada"
    photo(ada, "empty.png")
    photo(ada, "crowd.png", (PEOPLE["Di"], 60, 60), (near(PEOPLE["Ada"], 3), 200, 60))
    shutil.copy(ada / "0.png", ada / "copy.png")
    image = cv2.imread(str(ada / "1.png"))
    write_image(ada / "resaved.png", cv2.convertScaleAbs(image, alpha=1.0, beta=0))
    photo(ada, "stranger.png", (PEOPLE["Cy"][::-1], 100, 80))
    photo(ada, "someone_else.png", ((10, 250, 250), 130, 90))
    (ada / "broken.jpg").write_bytes(b"not a picture")
    gallery = build_embeddings_db(dataset, fake_faces)
    found = verdicts(gallery)
    assert found["Ada/empty.png"] == "no_face"
    assert found["Ada/crowd.png"] == "several_faces"
    assert found["Ada/copy.png"] == "duplicate"
    assert found["Ada/resaved.png"] == "duplicate"
    assert found["Ada/someone_else.png"] == "outlier"
    assert found["Ada/broken.jpg"] == "unreadable"
    table = gallery.report.table()
    assert "2 faces; the one nearest this person's other photos is used (at 200, 60)" in table
    assert "same picture as 0.png" in table and "it is text" in table


def test_of_several_faces_the_one_like_the_others_is_used(dataset, fake_faces):
    photo(dataset / "Ada", "z.png", (PEOPLE["Bo"], 60, 60), (PEOPLE["Ada"], 200, 60))
    gallery = build_embeddings_db(dataset, fake_faces)
    used = gallery.person_references(0)[[r.source for r in gallery.people[0].references].index("Ada/z.png")]
    assert used @ embedding(PEOPLE["Ada"]) > 0.99


def test_someone_who_is_never_alone_is_whoever_keeps_coming_back(tmp_path, fake_faces):
    ada, others = PEOPLE["Ada"], [PEOPLE["Bo"], PEOPLE["Cy"], PEOPLE["Di"]]
    for i, other in enumerate(others):
        photo(tmp_path / "D" / "Ada", f"{i}.png", (other, 60, 60), (near(ada, 2 * i), 200, 70 + i))
    gallery = build_embeddings_db(tmp_path / "D", fake_faces)
    assert gallery.means[0] @ embedding(ada) > 0.95


def test_the_same_photo_under_two_people_is_used_for_neither_and_said(dataset, fake_faces):
    photo(dataset / "Di", "1.png", (PEOPLE["Di"], 60, 60))
    (dataset / "Ed").mkdir()
    shutil.copy(dataset / "Di" / "1.png", dataset / "Ed" / "2.png")
    gallery = build_embeddings_db(dataset, fake_faces)
    assert verdicts(gallery)["Di/1.png"] == verdicts(gallery)["Ed/2.png"] == "conflict"
    assert "filed under Ed (Ed/2.png); used for neither" in gallery.report.table()
    assert "Di" not in gallery and "Ed" not in gallery


def test_a_photo_misfiled_among_many_is_an_outlier_there_and_used_where_it_belongs(dataset, fake_faces):
    shutil.copy(dataset / "Ada" / "0.png", dataset / "Bo" / "wrong.png")
    gallery = build_embeddings_db(dataset, fake_faces)
    assert (verdicts(gallery)["Ada/0.png"], verdicts(gallery)["Bo/wrong.png"]) == ("used", "outlier")
    assert "also filed under Ada (Ada/0.png)" in gallery.report.table()


def test_a_group_picture_may_lie_in_every_members_folder(dataset, fake_faces):
    people = [(PEOPLE["Ada"], 60, 60), (PEOPLE["Bo"], 200, 60)]
    photo(dataset / "Ada", "group.png", *people)
    photo(dataset / "Bo", "group.png", *people)
    found = verdicts(build_embeddings_db(dataset, fake_faces))
    assert found["Ada/group.png"] == found["Bo/group.png"] == "several_faces"


def test_a_person_without_a_usable_photo_is_left_out_and_said(dataset, fake_faces):
    photo(dataset / "Nobody", "1.png")
    gallery = build_embeddings_db(dataset, fake_faces)
    assert "Nobody" not in gallery and "Nobody: no usable photo" in gallery.report.table()


def test_one_photo_is_enough_but_the_report_asks_for_more(dataset, fake_faces):
    photo(dataset / "Di", "1.png", (PEOPLE["Di"], 60, 60))
    gallery = build_embeddings_db(dataset, fake_faces)
    assert (
        "Di" in gallery
        and "one photo only, and three or more make names far more certain: Di" in gallery.report.table()
    )


def test_names_aliases_and_colours_come_from_members_toml(dataset, fake_faces):
    (dataset / "members.toml").write_text(
        '[[member]]\nfolder = "Ada"\nname = "Wonyoung"\naliases = ["원영", "วอนยอง"]\ncolour = "#FF0080"\n', "utf-8"
    )
    gallery = build_embeddings_db(dataset, fake_faces)
    assert gallery.names[0] == "Wonyoung"
    for spelling in ("wonyoung", " WON young", "원영", unicodedata.normalize("NFD", "원영"), "วอนยอง"):
        assert gallery.find(spelling).name == "Wonyoung"
    assert gallery.find("원영").colour_bgr == (128, 0, 255)


@pytest.mark.parametrize(
    "text", ["[[member]]\nname = 'x'", "not toml [", "member = 3", "[[member]]\nfolder='Ada'\nname='A'\ncolour='red'"]
)
def test_a_members_toml_that_is_wrong_says_so(dataset, fake_faces, text):
    (dataset / "members.toml").write_text(text)
    with pytest.raises(InputError, match=r"members.toml|#RRGGBB"):
        build_embeddings_db(dataset, fake_faces)


@pytest.mark.parametrize("name", ["장원영", "วอนยอง", 'Ann "A" O\'Neil', "a;b", "<img src=x onerror=alert(1)>", "-rf"])
def test_folder_names_in_every_script_are_data(tmp_path, fake_faces, name):
    photo(tmp_path / "D" / name, "사진 1.png", (PEOPLE["Ada"], 60, 60))
    gallery = build_embeddings_db(tmp_path / "D", fake_faces, tmp_path / "g")
    assert gallery.find(name).name == Gallery.load(tmp_path / "g").people[0].name == name


def test_a_missing_an_empty_and_a_faceless_dataset_are_clear_errors(tmp_path, fake_faces):
    with pytest.raises(InputError, match="is not there"):
        build_embeddings_db(tmp_path / "none", fake_faces)
    (tmp_path / "D" / "Ada").mkdir(parents=True)
    with pytest.raises(InputError, match="no photos in"):
        build_embeddings_db(tmp_path / "D", fake_faces)
    photo(tmp_path / "D" / "Ada", "1.png")
    with pytest.raises(InputError, match="no usable face in any photo"):
        build_embeddings_db(tmp_path / "D", fake_faces, tmp_path / "g")
    assert not list((tmp_path / "g").glob("gen-*"))


# ---- again


def test_only_new_and_changed_photos_are_looked_at_again(dataset, tmp_path, fake_faces):
    first = build_embeddings_db(dataset, fake_faces, tmp_path / "g")
    assert (first.report.embedded, first.report.reused, fake_faces.calls) == (12, 0, 12)
    again = build_embeddings_db(dataset, fake_faces, tmp_path / "g")
    assert (again.report.embedded, again.report.reused, fake_faces.calls) == (0, 12, 12)
    assert np.array_equal(first.references, again.references)
    assert [p.id for p in first.people] == [p.id for p in again.people]
    photo(dataset / "Ada", "new.png", (near(PEOPLE["Ada"], 9), 250, 100))
    photo(dataset / "Bo", "0.png", (near(PEOPLE["Bo"], 9), 250, 100))
    third = build_embeddings_db(dataset, fake_faces, tmp_path / "g")
    assert (third.report.embedded, fake_faces.calls) == (2, 14)


def test_an_incremental_build_equals_a_fresh_one(dataset, tmp_path, fake_faces):
    photo(dataset / "Ada", "crowd.png", (PEOPLE["Di"], 60, 60), (near(PEOPLE["Ada"], 3), 200, 60))
    build_embeddings_db(dataset, fake_faces, tmp_path / "g")
    photo(dataset / "Ada", "new.png", (near(PEOPLE["Ada"], 9), 250, 100))
    (dataset / "Bo" / "1.png").unlink()
    grown = build_embeddings_db(dataset, fake_faces, tmp_path / "g")
    fresh = build_embeddings_db(dataset, fake_faces)
    assert verdicts(grown) == verdicts(fresh)
    assert np.allclose(grown.references, fresh.references)


def test_a_person_whose_folder_is_gone_is_purged_and_one_added_by_hand_stays(dataset, tmp_path, fake_faces):
    built = build_embeddings_db(dataset, fake_faces, tmp_path / "g")
    picture = photo(tmp_path, "di.png", (PEOPLE["Di"], 60, 60))
    add_photos(built, fake_faces, "Di", [picture])[0].save(tmp_path / "g")
    gone = built.find("Ada").id
    shutil.rmtree(dataset / "Ada")
    again = build_embeddings_db(dataset, fake_faces, tmp_path / "g")
    assert again.names == ["Bo", "Cy", "Di"] and "Ada: the folder 'Ada' is gone" in again.report.table()
    assert not any(gone.encode() in p.read_bytes() for p in (tmp_path / "g").iterdir())


def test_photos_added_by_hand_survive_the_next_build(dataset, tmp_path, fake_faces):
    built = build_embeddings_db(dataset, fake_faces, tmp_path / "g")
    more = photo(tmp_path, "more.png", (near(PEOPLE["Ada"], 11), 250, 130))
    add_photos(built, fake_faces, "Ada", [more])[0].save(tmp_path / "g")
    again = build_embeddings_db(dataset, fake_faces, tmp_path / "g")
    assert len(again.find("Ada").references) == 5
    shutil.rmtree(dataset / "Ada")
    last = build_embeddings_db(dataset, fake_faces, tmp_path / "g")
    assert len(last.find("Ada").references) == 1 and "added by hand stay" in last.report.table()


def test_a_folder_for_someone_added_by_hand_joins_them(dataset, tmp_path, fake_faces):
    built = build_embeddings_db(dataset, fake_faces, tmp_path / "g")
    picture = photo(tmp_path, "di.png", (PEOPLE["Di"], 60, 60))
    added = add_photos(built, fake_faces, "Di", [picture])[0].save(tmp_path / "g")
    photo(dataset / "Di", "1.png", (near(PEOPLE["Di"], 5), 90, 70))
    again = build_embeddings_db(dataset, fake_faces, tmp_path / "g")
    assert again.find("Di").id == added.find("Di").id and len(again.find("Di").references) == 2


def test_people_merged_by_hand_stay_merged(dataset, tmp_path, fake_faces):
    photo(dataset / "Ada_2", "1.png", (near(PEOPLE["Ada"], 13), 290, 205))
    build_embeddings_db(dataset, fake_faces, tmp_path / "g").merged("Ada", "Ada_2").save(tmp_path / "g")
    again = build_embeddings_db(dataset, fake_faces, tmp_path / "g")
    assert again.names == ["Ada", "Bo", "Cy"] and again.find("Ada_2").name == "Ada"
    assert len(again.find("Ada").references) == 5 and again.report.embedded == 0


def test_two_folders_of_one_name_are_one_person(dataset, fake_faces):
    photo(dataset / "Ada_2", "1.png", (near(PEOPLE["Ada"], 13), 290, 205))
    (dataset / "members.toml").write_text(
        '[[member]]\nfolder = "Ada"\nname = "A"\n[[member]]\nfolder = "Ada_2"\nname = "a"\naliases = ["Second"]\n'
    )
    gallery = build_embeddings_db(dataset, fake_faces)
    assert gallery.names == ["A", "Bo", "Cy"] and len(gallery.find("Second").references) == 5


def test_members_toml_has_the_last_word_on_a_name_and_it_is_said(dataset, tmp_path, fake_faces):
    (dataset / "members.toml").write_text('[[member]]\nfolder = "Ada"\nname = "Wonyoung"\n')
    build_embeddings_db(dataset, fake_faces, tmp_path / "g").renamed("Wonyoung", "W").save(tmp_path / "g")
    again = build_embeddings_db(dataset, fake_faces, tmp_path / "g")
    assert again.names[0] == "Wonyoung" and "W is called Wonyoung, as members.toml says" in again.report.table()


def toml(dataset, **names):
    text = "".join(f'[[member]]\nfolder = "{f}"\nname = "{n}"\n' for f, n in names.items())
    (dataset / "members.toml").write_text(text)


def test_giving_a_name_to_another_folder_does_not_merge_the_two(dataset, tmp_path, fake_faces):
    toml(dataset, Ada="A")
    build_embeddings_db(dataset, fake_faces, tmp_path / "g")
    toml(dataset, Ada="B", Cy="A")
    again = build_embeddings_db(dataset, fake_faces, tmp_path / "g")
    assert sorted(again.names) == ["A", "B", "Bo"] and again.find("A").folders == ("Cy",)


def test_folders_that_were_one_by_mistake_come_apart_again(dataset, tmp_path, fake_faces):
    toml(dataset, Ada="X", Bo="X")
    assert len(build_embeddings_db(dataset, fake_faces, tmp_path / "g")) == 2
    toml(dataset, Ada="X", Bo="Y")
    assert sorted(build_embeddings_db(dataset, fake_faces, tmp_path / "g").names) == ["Cy", "X", "Y"]
    (dataset / "members.toml").unlink()
    assert sorted(build_embeddings_db(dataset, fake_faces, tmp_path / "g").names) == ["Ada", "Bo", "Cy"]


def test_a_new_folder_of_a_name_given_by_hand_is_not_joined_silently(dataset, tmp_path, fake_faces):
    build_embeddings_db(dataset, fake_faces, tmp_path / "g").renamed("Ada", "Liz").save(tmp_path / "g")
    photo(dataset / "Liz", "1.png", (PEOPLE["Di"], 60, 60))
    calls = fake_faces.calls
    with pytest.raises(GalleryError, match=r"'Liz' would name both .*folder Ada.*folder Liz"):
        build_embeddings_db(dataset, fake_faces, tmp_path / "g")
    assert fake_faces.calls == calls, "said before a photo is looked at"


def test_newcomers_cannot_outvote_the_photos_on_file(dataset, fake_faces, tmp_path):
    gallery = build_embeddings_db(dataset, fake_faces)
    others = [photo(tmp_path, f"{i}.png", person) for i, person in enumerate(varied((10, 250, 250), 6))]
    with pytest.raises(InputError, match="(?s)no photo of 'Ada' could be used.*outlier"):
        add_photos(gallery, fake_faces, "Ada", others)


def test_somebody_added_by_hand_joins_the_member_of_that_alias(dataset, tmp_path, fake_faces):
    picture = photo(tmp_path, "ada.png", (near(PEOPLE["Ada"], 11), 290, 200))
    empty = Gallery(fake_faces.id, fake_faces.model_hash, references=np.zeros((0, DIM), np.float32))
    add_photos(empty, fake_faces, "Jang Wonyoung", [picture])[0].save(tmp_path / "g")
    (dataset / "members.toml").write_text(
        '[[member]]\nfolder = "Ada"\nname = "Wonyoung"\naliases = ["Jang Wonyoung"]\n'
    )
    built = build_embeddings_db(dataset, fake_faces, tmp_path / "g")
    assert built.find("Jang Wonyoung").name == "Wonyoung" and len(built.find("Wonyoung").references) == 5


def test_aliases_by_hand_survive_a_build_beside_those_of_members_toml(dataset, tmp_path, fake_faces):
    toml(dataset, Ada="Liz")
    build_embeddings_db(dataset, fake_faces, tmp_path / "g").with_aliases("Liz", ["Elizabeth"]).save(tmp_path / "g")
    assert build_embeddings_db(dataset, fake_faces, tmp_path / "g").find("elizabeth").name == "Liz"


def test_every_person_gets_a_colour_of_their_own(dataset, tmp_path, fake_faces):
    build_embeddings_db(dataset, fake_faces, tmp_path / "g")
    photo(dataset / "Aa", "1.png", (PEOPLE["Di"], 60, 60))
    built = build_embeddings_db(dataset, fake_faces, tmp_path / "g")
    assert len({p.colour for p in built.people}) == 4


def test_a_photo_added_by_hand_and_then_filed_counts_once(dataset, tmp_path, fake_faces):
    built = build_embeddings_db(dataset, fake_faces, tmp_path / "g")
    more = photo(tmp_path, "more.png", (near(PEOPLE["Ada"], 11), 250, 130))
    add_photos(built, fake_faces, "Ada", [more])[0].save(tmp_path / "g")
    shutil.copy(more, dataset / "Ada" / "more.png")
    assert len(build_embeddings_db(dataset, fake_faces, tmp_path / "g").find("Ada").references) == 5


def test_a_deleted_person_is_not_named_in_other_peoples_verdicts(dataset, tmp_path, fake_faces):
    shutil.copytree(dataset / "Ada", dataset / "Zelda")
    for i in range(4, 9):
        photo(dataset / "Bo", f"{i}.png", varied(PEOPLE["Bo"], 9)[i])
    shutil.copy(dataset / "Cy" / "0.png", dataset / "Bo" / "wrong.png")
    gallery = build_embeddings_db(dataset, fake_faces, tmp_path / "g")
    assert "also filed under Cy" in gallery.report.table()
    gallery.without("Cy").save(tmp_path / "g", purge=True)
    for file in (tmp_path / "g").iterdir():
        assert b"Cy" not in file.read_bytes(), file


def test_what_a_killed_save_left_goes_with_a_purge(dataset, tmp_path, fake_faces):
    gallery = build_embeddings_db(dataset, fake_faces, tmp_path / "g")
    (tmp_path / "g" / ".writing-abc.part").write_bytes(gallery.references.tobytes())
    gallery.without("Ada").save(tmp_path / "g", purge=True)
    assert not list((tmp_path / "g").glob(".writing-*"))


def test_other_files_in_the_gallerys_folder_are_left_alone(dataset, tmp_path, fake_faces):
    gallery = build_embeddings_db(dataset, fake_faces, tmp_path / "g")
    for name in ("gen-notes.json", "gen-000001-backup.json", "mine.txt"):
        (tmp_path / "g" / name).write_text("{}")
    gallery.without("Ada").save(tmp_path / "g", purge=True)
    assert Gallery.load(tmp_path / "g").names == ["Bo", "Cy"]
    assert {"gen-notes.json", "gen-000001-backup.json", "mine.txt"} <= {p.name for p in (tmp_path / "g").iterdir()}


@pytest.mark.skipif(os.name != "posix", reason="file modes")
def test_a_folder_that_was_there_before_keeps_its_mode(dataset, tmp_path, fake_faces):
    (tmp_path / "mine").mkdir(mode=0o755)
    (tmp_path / "mine" / "notes.txt").write_text("a user's own file")
    build_embeddings_db(dataset, fake_faces, tmp_path / "mine")
    assert stat.S_IMODE((tmp_path / "mine").stat().st_mode) == 0o755


@pytest.mark.parametrize(
    "text",
    [
        '[[member]]\nfolder = "Ada"\nname = "A"\naliases = "Yujin"',
        '[[member]]\nfolder = "Ada"\nname = "A"\ncolour = 123456',
        '[[member]]\nfolder = "Ada"\nname = "A"\n[[member]]\nfolder = "Ada"\nname = "B"',
        '[[members]]\nfolder = "Ada"\nname = "A"',
        '[[member]]\nfolder = "Ada"\nname = "A"\ncolor = "#FFFFFF"',
    ],
)
def test_a_members_toml_with_a_slip_is_refused_before_any_photo_is_looked_at(dataset, fake_faces, text):
    (dataset / "members.toml").write_text(text)
    with pytest.raises(InputError):
        build_embeddings_db(dataset, fake_faces)
    assert fake_faces.calls == 0


def test_a_members_toml_saved_by_a_windows_editor_is_read(dataset, fake_faces):
    (dataset / "members.toml").write_text('[[member]]\nfolder = "Ada"\nname = "리즈"\n', encoding="utf-8-sig")
    assert build_embeddings_db(dataset, fake_faces).names[0] == "리즈"


@pytest.mark.skipif(sys.platform != "linux", reason="file names that are no UTF-8")
def test_a_file_name_that_is_no_utf8_is_no_obstacle(dataset, tmp_path, fake_faces):
    os.rename(dataset / "Ada" / "0.png", os.fsencode(dataset / "Ada") + b"/\xff\xfe.png")
    built = build_embeddings_db(dataset, fake_faces, tmp_path / "g")
    assert "Ada/\\xff\\xfe.png" in verdicts(built) and Gallery.load(tmp_path / "g").names == built.names
    assert build_embeddings_db(dataset, fake_faces, tmp_path / "g").report.embedded == 0


def test_a_photo_that_could_not_be_read_is_tried_again(dataset, tmp_path, fake_faces, monkeypatch):
    import identity_segmentation.people.photos as module
    from identity_segmentation.errors import ImageError

    def refuse(data, source):
        raise ImageError("pip install something")

    with monkeypatch.context() as patch:
        patch.setattr(module, "decode_image", refuse)
        with pytest.raises(InputError):
            build_embeddings_db(dataset, fake_faces, tmp_path / "g")
        patch.setattr(module, "decode_image", lambda d, s: refuse(d, s) if s == "3.png" else decode_image(d, s))
        first = build_embeddings_db(dataset, fake_faces, tmp_path / "g")
        assert verdicts(first)["Ada/3.png"] == "unreadable"
    assert verdicts(build_embeddings_db(dataset, fake_faces, tmp_path / "g"))["Ada/3.png"] == "used"


def test_an_unchanged_folder_is_not_looked_at_even_if_photos_in_it_were_turned_down(dataset, tmp_path, fake_faces):
    photo(dataset / "Ada", "crowd.png", (PEOPLE["Di"], 60, 60), (near(PEOPLE["Ada"], 3), 200, 60))
    photo(dataset / "Ada", "someone_else.png", ((10, 250, 250), 130, 90))
    shutil.copy(dataset / "Ada" / "0.png", dataset / "Ada" / "copy.png")
    first = build_embeddings_db(dataset, fake_faces, tmp_path / "g")
    calls = fake_faces.calls
    again = build_embeddings_db(dataset, fake_faces, tmp_path / "g")
    assert fake_faces.calls == calls and verdicts(again) == verdicts(first)
    assert again.report.table().splitlines()[:10] == first.report.table().splitlines()[:10]


def test_a_rename_by_hand_survives_the_next_build(dataset, tmp_path, fake_faces):
    build_embeddings_db(dataset, fake_faces, tmp_path / "g").renamed("Ada", "Adele").save(tmp_path / "g")
    assert build_embeddings_db(dataset, fake_faces, tmp_path / "g").names == ["Adele", "Bo", "Cy"]


def test_ctrl_c_in_the_middle_of_a_build_leaves_the_old_gallery(dataset, tmp_path, fake_faces):
    build_embeddings_db(dataset, fake_faces, tmp_path / "g")
    before = {p.name: p.read_bytes() for p in (tmp_path / "g").iterdir()}
    photo(dataset / "Ada", "new.png", (PEOPLE["Ada"], 250, 100))
    photo(dataset / "Bo", "new.png", (PEOPLE["Bo"], 250, 100))

    def interrupt(done, total, person):
        if done == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build_embeddings_db(dataset, fake_faces, tmp_path / "g", interrupt)
    assert {p.name: p.read_bytes() for p in (tmp_path / "g").iterdir()} == before
    assert "new.png" in str(verdicts(build_embeddings_db(dataset, fake_faces, tmp_path / "g")))


def test_a_second_builder_fails_at_once_and_clearly(dataset, tmp_path, fake_faces):
    child = (
        "import sys, time; from identity_segmentation.people.gallery import locked\n"
        "with locked(sys.argv[1]):\n print('held', flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", child, str(tmp_path / "g")], stdout=subprocess.PIPE) as other:
        try:
            assert other.stdout.readline() == b"held\n"
            with pytest.raises(GalleryLocked, match="another process is writing"):
                build_embeddings_db(dataset, fake_faces, tmp_path / "g")
        finally:
            other.kill()
    build_embeddings_db(dataset, fake_faces, tmp_path / "g")


# ---- on disk


def test_a_gallery_reads_back_as_it_was(dataset, tmp_path, fake_faces):
    saved = (
        build_embeddings_db(dataset, fake_faces, tmp_path / "g").with_aliases("Ada", ["에이다"]).save(tmp_path / "g")
    )
    read = Gallery.load(tmp_path / "g")
    assert read.people == saved.people and np.array_equal(read.references, saved.references)
    assert (read.engine_id, read.model_hash) == ("fake", FakeFaces.model_hash)


@pytest.mark.skipif(os.name != "posix", reason="file modes")
def test_only_the_owner_can_read_a_gallery(dataset, tmp_path, fake_faces):
    build_embeddings_db(dataset, fake_faces, tmp_path / "g")
    assert stat.S_IMODE((tmp_path / "g").stat().st_mode) == 0o700
    for file in (tmp_path / "g").glob("gen-*"):
        assert stat.S_IMODE(file.stat().st_mode) == 0o600


@pytest.mark.parametrize("suffix", [".json", ".safetensors"])
@pytest.mark.parametrize("damage", ["truncate", "flip", "empty", "delete"])
def test_a_damaged_generation_falls_back_to_the_last_good_one(dataset, tmp_path, fake_faces, caplog, suffix, damage):
    build_embeddings_db(dataset, fake_faces, tmp_path / "g").renamed("Ada", "Newer").save(tmp_path / "g")
    latest = max((tmp_path / "g").glob(f"gen-*{suffix}"))
    content = bytearray(latest.read_bytes())
    if damage == "delete":
        latest.unlink()
    elif damage == "flip":
        content[len(content) // 2] ^= 1
        latest.write_bytes(content)
    else:
        latest.write_bytes(content[: len(content) // 2] if damage == "truncate" else b"")
    with caplog.at_level(logging.WARNING):
        assert Gallery.load(tmp_path / "g").names == ["Ada", "Bo", "Cy"]
    # Without its manifest a generation was never there, so there is nothing to warn of.
    assert ("last good generation" in caplog.text) != (damage == "delete" and suffix == ".json")


def test_when_nothing_is_intact_the_error_says_what_to_do(dataset, tmp_path, fake_faces):
    build_embeddings_db(dataset, fake_faces, tmp_path / "g")
    for file in (tmp_path / "g").glob("gen-*.json"):
        file.write_text("{}")
    with pytest.raises(GalleryCorrupt, match="rebuild it with: idseg people build"):
        Gallery.load(tmp_path / "g")
    with pytest.raises(GalleryError, match="no gallery in"):
        Gallery.load(tmp_path / "elsewhere")


def test_a_lost_pointer_is_no_loss(dataset, tmp_path, fake_faces):
    build_embeddings_db(dataset, fake_faces, tmp_path / "g")
    (tmp_path / "g" / "CURRENT").write_bytes(b"\x00garbage")
    assert Gallery.load(tmp_path / "g").names == ["Ada", "Bo", "Cy"]


def test_a_pickle_in_place_of_the_embeddings_is_never_loaded(dataset, tmp_path, fake_faces):
    build_embeddings_db(dataset, fake_faces, tmp_path / "g")

    class Trap:
        def __reduce__(self):
            return (os.system, (f"touch {tmp_path / 'owned'}",))

    tensors = next((tmp_path / "g").glob("*.safetensors"))
    tensors.write_bytes(pickle.dumps(Trap()))
    manifest = next((tmp_path / "g").glob("gen-*.json"))
    content = json.loads(manifest.read_text())
    import hashlib

    content["tensors_sha256"] = hashlib.sha256(tensors.read_bytes()).hexdigest()
    manifest.write_text(json.dumps(content))
    (tmp_path / "g" / "CURRENT").unlink()
    with pytest.raises(GalleryCorrupt):
        Gallery.load(tmp_path / "g")
    assert not (tmp_path / "owned").exists()


def test_a_gallery_of_a_newer_schema_asks_for_an_upgrade(dataset, tmp_path, fake_faces):
    build_embeddings_db(dataset, fake_faces, tmp_path / "g")
    manifest = next((tmp_path / "g").glob("gen-*.json"))
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {"schema_version": 99}))
    (tmp_path / "g" / "CURRENT").unlink()
    with pytest.raises(GalleryCorrupt, match="newer version"):
        Gallery.load(tmp_path / "g")


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root can write anywhere")
def test_a_folder_that_cannot_be_written_is_said(dataset, tmp_path, fake_faces):
    (tmp_path / "g").mkdir(mode=0o500)
    with pytest.raises(OutputError):
        build_embeddings_db(dataset, fake_faces, tmp_path / "g")


def test_a_gallery_folder_that_is_a_file_is_said(dataset, tmp_path, fake_faces):
    (tmp_path / "g").write_text("a file")
    with pytest.raises(OutputError, match="cannot be written"):
        build_embeddings_db(dataset, fake_faces, tmp_path / "g")


def test_another_engines_gallery_is_refused_with_both_ways_out(dataset, tmp_path, fake_faces):
    build_embeddings_db(dataset, fake_faces, tmp_path / "g")
    other = FakeFaces()
    other.id = "other/pack"
    with pytest.raises(
        GalleryMismatch, match=r"--face-engine fake, or build it anew .*--anew --face-engine other --gallery"
    ):
        build_embeddings_db(dataset, other, tmp_path / "g")
    other.id, other.model_hash = "fake", "fedcba9876543210"
    with pytest.raises(GalleryMismatch, match="another model"):
        Gallery.load(tmp_path / "g").check_engine(other)


class Newer(FakeFaces):
    """The engine after an update: another model, another length."""

    model_hash = "fedcba9876543210"
    dim = 2 * DIM

    def faces(self, image_bgr, embed: bool = True):
        found = super().faces(image_bgr, embed)
        return [replace(f, embedding=np.tile(f.embedding, 2)) if embed else f for f in found]


def test_a_gallery_of_an_older_engine_is_built_anew_and_keeps_what_was_said_by_hand(dataset, tmp_path, fake_faces):
    folder = tmp_path / "the gallery"
    build_embeddings_db(dataset, fake_faces, folder)
    Gallery.edit(folder, lambda g: g.renamed("Ada", "에이다").with_aliases("Bo", ["B"]).with_colour("Cy", "#123456"))
    Gallery.edit(
        folder, lambda g: add_photos(g, fake_faces, "Bo", [photo(tmp_path, "x.png", (PEOPLE["Bo"], 77, 33))])[0]
    )
    before = Gallery.load(folder)
    with pytest.raises(GalleryMismatch, match=r"--anew --face-engine fake --gallery '.*the gallery'"):
        before.check_engine(Newer())
    with pytest.raises(GalleryMismatch, match="--anew"):
        build_embeddings_db(dataset, Newer(), folder)
    after = build_embeddings_db(dataset, Newer(), folder, anew=True)
    after.check_engine(Newer())
    assert after.names == before.names == ["에이다", "Bo", "Cy"]
    assert [p.id for p in after.people] == [p.id for p in before.people]
    assert after.find("B").name == "Bo" and after.find("Cy").colour == "#123456"
    assert after.references.shape == (12, 2 * DIM) and np.isfinite(after.references).all()
    assert "Bo: added by hand and not carried over, add them again: x.png" in after.report.notes
    assert len(list(folder.glob("gen-*.json"))) == 2, "the older generation stays"
    assert build_embeddings_db(dataset, Newer(), folder).report.embedded == 0


def test_people_whose_photos_are_gone_are_not_lost_by_building_anew(dataset, tmp_path, fake_faces):
    build_embeddings_db(dataset, fake_faces, tmp_path / "g")
    Gallery.edit(tmp_path / "g", lambda g: add_photos(g, fake_faces, "Di", [photo(tmp_path, "d.png", PEOPLE["Di"])])[0])
    shutil.rmtree(dataset / "Bo")
    with pytest.raises(GalleryError, match=r"the photos of Bo, Di are not in .*idseg people remove"):
        build_embeddings_db(dataset, Newer(), tmp_path / "g", anew=True)
    assert set(Gallery.load(tmp_path / "g").names) == {"Ada", "Bo", "Cy", "Di"}
    shutil.rmtree(dataset)
    with pytest.raises(InputError, match="is not there"):
        build_embeddings_db(dataset, Newer(), tmp_path / "g", anew=True)
    assert len(Gallery.load(tmp_path / "g")) == 4


def test_somebody_added_by_hand_is_built_anew_once_their_photos_are_in_a_folder(dataset, tmp_path, fake_faces):
    build_embeddings_db(dataset, fake_faces, tmp_path / "g")
    picture = photo(tmp_path, "d.png", (PEOPLE["Di"], 60, 60))
    Gallery.edit(tmp_path / "g", lambda g: add_photos(g, fake_faces, "Di", [picture])[0].with_aliases("Di", ["디"]))
    with pytest.raises(GalleryError, match="the photos of Di are not in"):
        build_embeddings_db(dataset, Newer(), tmp_path / "g", anew=True)
    photo(dataset / "Di", "1.png", (PEOPLE["Di"], 60, 60))
    before = Gallery.load(tmp_path / "g").find("Di")
    after = build_embeddings_db(dataset, Newer(), tmp_path / "g", anew=True).find("디")
    assert (after.id, after.colour) == (before.id, before.colour)


def test_a_person_is_not_forgotten_because_their_photos_cannot_be_read_for_once(dataset, tmp_path, fake_faces):
    build_embeddings_db(dataset, fake_faces, tmp_path / "g")
    Gallery.edit(tmp_path / "g", lambda g: g.renamed("Bo", "Bobby").with_aliases("Bobby", ["보비"]))
    whole = {path: path.read_bytes() for path in (dataset / "Bo").iterdir()}
    for path, data in whole.items():
        path.write_bytes(data[: len(data) // 2])
    broken = build_embeddings_db(dataset, fake_faces, tmp_path / "g")
    assert len(broken.find("보비").references) == 4
    assert "Bobby: no photo can be read now; what the last build saw is kept" in broken.report.notes
    with pytest.raises(GalleryError, match="would lose Bobby"):
        build_embeddings_db(dataset, Newer(), tmp_path / "g", anew=True)
    for path, data in whole.items():
        path.write_bytes(data)
    again = build_embeddings_db(dataset, fake_faces, tmp_path / "g")
    assert again.find("보비").name == "Bobby" and len(again.find("Bobby").references) == 4


def test_a_folder_of_a_merged_person_that_is_gone_is_said(dataset, tmp_path, fake_faces):
    build_embeddings_db(dataset, fake_faces, tmp_path / "g")
    Gallery.edit(tmp_path / "g", lambda g: g.merged("Ada", "Bo"))
    shutil.rmtree(dataset / "Bo")
    for anew in (True, False):
        shutil.copytree(tmp_path / "g", tmp_path / f"g{anew}")
        engine = Newer() if anew else fake_faces
        built = build_embeddings_db(dataset, engine, tmp_path / f"g{anew}", anew=anew)
        assert "Ada: the folder 'Bo' is gone, and its photos with it" in built.report.notes


@pytest.mark.skipif(sys.platform != "linux", reason="file names that are no UTF-8")
def test_a_folder_name_that_is_no_utf8_is_no_obstacle(dataset, tmp_path, fake_faces):
    os.rename(os.fsencode(dataset / "Ada"), os.fsencode(dataset) + b"/Ad\xffa")
    built = build_embeddings_db(dataset, fake_faces, tmp_path / "g")
    (name,) = [n for n in built.names if n.startswith("Ad")]
    assert build_embeddings_db(dataset, fake_faces, tmp_path / "g").report.embedded == 0
    gone = Gallery.edit(tmp_path / "g", lambda g: g.without(name))[1]
    assert not any(row["folder"].startswith("Ad") for row in gone.photos)


def test_outliers_on_request_never_take_a_photo_from_its_owner(dataset, tmp_path, fake_faces):
    shutil.copy(dataset / "Bo" / "0.png", dataset / "Ada" / "zz.png")
    kept = build_embeddings_db(dataset, fake_faces, keep_outliers=True)
    assert verdicts(kept)["Ada/zz.png"] == "outlier" and verdicts(kept)["Bo/0.png"] == "used"
    assert len(kept.find("Bo").references) == 4
    first, copy = photo(tmp_path, "x.png", (PEOPLE["Di"], 60, 60)), photo(tmp_path, "y.png", (PEOPLE["Di"], 60, 60))
    _, found = add_photos(kept, fake_faces, "Ada", [first, copy], keep_outliers=True)
    assert [v.verdict for v in found] == ["kept", "duplicate"]


def test_of_three_photos_the_one_of_somebody_else_is_found():
    from identity_segmentation.people.photos import Photo, judge

    axes = np.eye(8)
    mine = [axes[0], 0.5 * axes[0] + np.sqrt(0.75) * axes[1]]  # two photos of one person that are not much alike
    photos = [Photo(str(i), str(i), i * 0xFFFF, embedding=v) for i, v in enumerate([*mine, axes[2]])]
    engine = FakeFaces()
    engine.outlier = 0.42
    judge(photos, engine)
    assert [p.verdict for p in photos] == ["used", "used", "outlier"]


def test_a_photo_of_somebody_else_is_left_out_and_used_on_request(dataset, tmp_path, fake_faces):
    photo(dataset / "Ada", "namesake.png", (PEOPLE["Di"], 70, 70))
    out = build_embeddings_db(dataset, fake_faces, tmp_path / "g")
    assert verdicts(out)["Ada/namesake.png"] == "outlier" and len(out.find("Ada").references) == 4
    kept = build_embeddings_db(dataset, fake_faces, tmp_path / "g", keep_outliers=True)
    assert verdicts(kept)["Ada/namesake.png"] == "kept" and len(kept.find("Ada").references) == 5
    (said,) = [v for v in kept.report.verdicts if v.verdict == "kept"]
    assert said.used and "kept as asked" in said.detail
    assert build_embeddings_db(dataset, fake_faces, tmp_path / "g", keep_outliers=True).report.embedded == 0
    again = build_embeddings_db(dataset, fake_faces, tmp_path / "g")
    assert verdicts(again)["Ada/namesake.png"] == "outlier" and len(again.find("Ada").references) == 4
    stranger = photo(tmp_path, "more.png", (PEOPLE["Di"], 90, 90))
    with pytest.raises(InputError, match="outlier"):
        add_photos(again, fake_faces, "Ada", [stranger])
    grown, found = add_photos(again, fake_faces, "Ada", [stranger], keep_outliers=True)
    assert found[0].verdict == "kept" and len(grown.find("Ada").references) == 5


def test_a_build_says_who_needs_more_and_who_is_one_person(tmp_path, fake_faces):
    root = tmp_path / "Dataset"
    for i, person in enumerate(varied(PEOPLE["Ada"], 8)):
        photo(root / ("Ada" if i % 2 else "Ada Two"), f"{i}.png", person)
    for i, person in enumerate(varied(PEOPLE["Bo"], 2)):
        photo(root / "Bo", f"{i}.png", person)
    built = build_embeddings_db(root, fake_faces)
    assert any("idseg people merge Ada 'Ada Two'" in note for note in built.report.notes)
    assert any(note.startswith("two photos only") and note.endswith(": Bo") for note in built.report.notes)
    assert any(note.startswith("the strict threshold (0.60) applies to") for note in built.report.notes)
    assert "idseg people merge Ada 'Ada Two'" in built.report.table()
    merged = (
        build_embeddings_db(root, fake_faces, tmp_path / "g")
        and Gallery.edit(tmp_path / "g", lambda g: g.merged("Ada", "Ada Two"))[1]
    )
    assert merged.names == ["Ada", "Bo"]
    assert not any(
        "look like one person" in n for n in build_embeddings_db(root, fake_faces, tmp_path / "g").report.notes
    )


# ---- editing


def test_removing_a_person_leaves_no_trace_in_any_file(dataset, tmp_path, fake_faces):
    gallery = (
        build_embeddings_db(dataset, fake_faces, tmp_path / "g").with_aliases("Ada", ["에이다"]).save(tmp_path / "g")
    )
    person = gallery.find("Ada")
    traces = [person.id, person.name, "에이다", *(r.sha256 for r in person.references)]
    traces = [t.encode() for t in traces] + [gallery.person_references(0)[i].tobytes() for i in range(4)]
    gallery.without("Ada").save(tmp_path / "g", purge=True)
    for file in (tmp_path / "g").iterdir():
        content = file.read_bytes()
        assert not any(trace in content for trace in traces), file.name
    assert Gallery.load(tmp_path / "g").names == ["Bo", "Cy"]
    assert list((dataset / "Ada").iterdir()), "photos are the user's"


def test_rename_alias_colour_and_merge(dataset, fake_faces):
    gallery = build_embeddings_db(dataset, fake_faces)
    renamed = gallery.renamed("Ada", "  장원영 ").with_aliases("장원영", ["Wonyoung", "WON YOUNG", "장원영"])
    assert renamed.names == ["장원영", "Bo", "Cy"] and renamed.find("wonyoung").aliases == ("WON YOUNG",)
    assert gallery.names == ["Ada", "Bo", "Cy"], "the value it was made from is unchanged"
    assert gallery.with_colour("Bo", "#102030").find("Bo").colour_bgr == (0x30, 0x20, 0x10)
    merged = gallery.merged("Ada", "Bo")
    assert merged.names == ["Ada", "Cy"] and merged.find("Bo").name == "Ada"
    assert len(merged.find("Ada").references) == 8 and len(merged.person_references(0)) == 8


def test_names_that_would_collide_are_refused(dataset, fake_faces):
    gallery = build_embeddings_db(dataset, fake_faces)
    with pytest.raises(GalleryError, match="would name both"):
        gallery.renamed("Ada", "bO")
    with pytest.raises(GalleryError, match="would name both"):
        gallery.with_aliases("Ada", ["Cy"])
    with pytest.raises(InputError, match="already the same person"):
        gallery.merged("Ada", "ada")


@pytest.mark.parametrize("name", ["", "   ", "\u200b\u202e", "\u200d", "x" * 101])
def test_a_name_must_have_something_to_see(name):
    with pytest.raises(InputError, match="expected a name"):
        normal_name(name)


def test_unicode_spellings_of_a_name_are_one_name():
    assert normal_name(unicodedata.normalize("NFD", "장원영")) == "장원영"
    assert normal_name("Ann\u202e\u200b  Lee\n") == "Ann Lee"


def test_an_unknown_name_gets_the_nearest_suggestions(dataset, fake_faces):
    gallery = build_embeddings_db(dataset, fake_faces).renamed("Ada", "Wonyoung")
    with pytest.raises(UnknownPerson, match="did you mean 'Wonyoung'"):
        gallery.find("Wonyong")
    with pytest.raises(UnknownPerson, match="the gallery has: Wonyoung, Bo, Cy"):
        gallery.find("Zaphod")
    with pytest.raises(UnknownPerson, match="the gallery is empty"):
        Gallery("fake", "0").find("Ada")


def test_adding_by_hand_joins_the_person_of_that_name(dataset, tmp_path, fake_faces):
    gallery = build_embeddings_db(dataset, fake_faces)
    more = photo(tmp_path, "more.png", (near(PEOPLE["Ada"], 11), 250, 130))
    same = dataset / "Ada" / "0.png"
    grown, found = add_photos(gallery, fake_faces, "ada", [more, same])
    assert [v.verdict for v in found] == ["used", "duplicate"]
    assert len(grown.find("Ada").references) == 5
    with pytest.raises(InputError, match="no photo of 'Ed' could be used"):
        add_photos(gallery, fake_faces, "Ed", [photo(tmp_path, "none.png")])


# ---- searching


def test_the_nearest_of_many_people_is_found_exactly():
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(5000, 32)).astype(np.float32)
    gallery = Gallery("fake", "0")
    from identity_segmentation.people.person import Person

    people = tuple(Person(str(i), f"p{i}", references=(Reference("x", str(i), 0),)) for i in range(5000))
    gallery = Gallery("fake", "0", people, vectors / np.linalg.norm(vectors, axis=1, keepdims=True))
    probes = gallery.references[[7, 4321]] + 0.02 * rng.normal(size=(2, 32)).astype(np.float32)
    found = gallery.search(probes, k=3)
    assert [f[0][0] for f in found] == ["p7", "p4321"]
    assert all(len(f) == 3 and f[0][1] >= f[1][1] >= f[2][1] for f in found)


def test_an_empty_gallery_finds_nobody():
    gallery = Gallery("fake", "0", references=np.zeros((0, DIM), np.float32))
    assert gallery.search(embedding(PEOPLE["Ada"])[None]) == [[]]
    assert measure(gallery, 0.5).highest.shape == (0,)


def test_background_is_nobody(fake_faces):
    assert fake_faces.faces(draw()) == [] and BACKGROUND not in PEOPLE.values()


def test_a_lock_is_given_back(tmp_path):
    with locked(tmp_path / "g"):
        pass
    with locked(tmp_path / "g"):
        pass


# ---- one way to edit a gallery on disk


def test_an_edit_that_takes_somebody_off_file_leaves_no_older_copy_of_them(tmp_path, fake_faces):
    """Whoever makes the change: it is the edit that sees to it, not each of its callers."""
    gallery = Gallery.empty(fake_faces)
    for name in ("Ada", "Bo"):
        gallery = gallery.with_person(name, embedding(PEOPLE[name])[None], [Reference("x", name, 0)])
    gallery.save(tmp_path)
    gallery.renamed("Ada", "Ada B").save(tmp_path)
    before, after = Gallery.edit(tmp_path, lambda g: g.without("Bo"))
    assert before.names == ["Ada B", "Bo"] and after.names == ["Ada B"] and after.folder == tmp_path
    assert len(list(tmp_path.glob("gen-*.json"))) == 1
    assert all("Bo" not in path.read_text("utf-8") for path in tmp_path.glob("gen-*.json"))
    Gallery.edit(tmp_path, lambda g: g.renamed("Ada B", "Ada"))
    assert len(list(tmp_path.glob("gen-*.json"))) == 2, "nobody is gone, so the last good generation stays"


def test_an_edit_of_no_gallery_makes_no_folder_unless_there_is_something_to_begin_with(tmp_path, fake_faces):
    with pytest.raises(GalleryError, match="no gallery"):
        Gallery.edit(tmp_path / "g", lambda g: g)
    assert not (tmp_path / "g").exists()
    _, after = Gallery.edit(
        tmp_path / "g",
        lambda g: g.with_person("Ada", embedding(PEOPLE["Ada"])[None], [Reference("x", "a", 0)]),
        Gallery.empty(fake_faces),
    )
    assert Gallery.load(tmp_path / "g").names == after.names == ["Ada"]


def test_two_edits_at_once_are_one_after_the_other(tmp_path, fake_faces):
    Gallery.empty(fake_faces).with_person("Ada", embedding(PEOPLE["Ada"])[None], [Reference("x", "a", 0)]).save(
        tmp_path
    )
    with pytest.raises(GalleryLocked, match="another process"):
        Gallery.edit(tmp_path, lambda g: Gallery.edit(tmp_path, lambda h: h)[1])

"""A picture and a name in, pixels and evidence out; who is not there is a status."""

from __future__ import annotations

import json

import cv2
import numpy as np
import pytest
from fakes import PEOPLE, FakeFaces, FakeMasks, draw, near

from identity_segmentation import IdentityAwareSegmentation, read_image, write_image
from identity_segmentation.errors import (
    EngineUnavailable,
    GalleryError,
    ImageError,
    InputError,
    OutputError,
    UnknownPerson,
)
from identity_segmentation.files import check_writable
from identity_segmentation.results import segment_folder, segment_to_files


@pytest.fixture
def people(tmp_path) -> IdentityAwareSegmentation:
    for name in ("Ada", "Bo", "Cy"):
        for i in range(3):
            write_image(tmp_path / "D" / name / f"{i}.png", draw((near(PEOPLE[name], 3 * i), 60 + 40 * i, 60)))
    (tmp_path / "D" / "members.toml").write_text(
        '[[member]]\nfolder = "Ada"\nname = "Wonyoung"\naliases = ["장원영"]\ncolour = "#FF0000"\n', "utf-8"
    )
    pipeline = IdentityAwareSegmentation(FakeFaces(), FakeMasks(), gallery=tmp_path / "gallery")
    pipeline.build_gallery(tmp_path / "D")
    return pipeline


ADA, BO = PEOPLE["Ada"], PEOPLE["Bo"]


def test_a_member_comes_back_as_five_things(people):
    image = draw((ADA, 80, 60), (BO, 220, 60))
    overlay, cutout, annotated, mask, status = people.segment_member(image, "장원영")
    assert overlay.shape == annotated.shape == image.shape and cutout.shape == (240, 320, 4)
    assert mask.dtype == bool and (image[mask] == ADA).all()
    assert (cutout[..., 3] > 127).sum() == pytest.approx(mask.sum(), rel=0.05)
    assert status.code == "ok" and status.found and status.similarity > 0.9 and status.runner_up in ("Bo", "Cy")
    assert status.engine == "fake + fake-masks"
    assert str(status).startswith("Wonyoung, similarity")


def test_a_person_who_is_not_there_is_a_status_with_empty_pixels(people):
    image = draw((BO, 220, 60))
    result = people.segment_member(image, "Wonyoung")
    assert result.status.code == "not_found" and not result.status.found
    assert "the one face in this picture is not Wonyoung's; found: Bo" in str(result.status)
    assert not result.mask.any() and result.cutout.max() == 0 and (result.overlay == image).all()


def test_a_picture_without_faces_says_so(people):
    assert people.segment_member(draw(), "Bo").status.code == "no_face"


def test_a_face_that_is_nearly_them_is_mentioned_not_taken(people):
    result = people.segment_member(draw((near(ADA, 25), 80, 60)), "Wonyoung", similarity_threshold=0.9999)
    assert result.status.code == "not_found" and "comes near" in str(result.status)
    assert not result.mask.any()


def test_a_mirror_shows_a_person_twice_and_only_one_is_taken(people):
    image = draw((ADA, 80, 60), (near(ADA, 2), 240, 60))
    result = people.segment_member(image, "Wonyoung")
    assert result.status.code == "ok" and "1 more face(s) look the same (a mirror?)" in str(result.status)
    assert result.mask[:, :160].any() != result.mask[:, 160:].any()


def test_an_unknown_name_is_an_error_with_suggestions(people):
    with pytest.raises(UnknownPerson, match="did you mean 'Wonyoung'"):
        people.segment_member(draw(), "Wonyong")


def test_the_threshold_of_one_call_does_not_stick(people):
    image = draw((near(ADA, 25), 80, 60))
    assert not people.segment_member(image, "Wonyoung", similarity_threshold=0.9999).status.found
    assert people.segment_member(image, "Wonyoung").status.found


def test_files_are_read_and_a_segmenter_without_words_says_so(people, tmp_path):
    path = write_image(tmp_path / "원영 1.png", draw((ADA, 80, 60)))
    assert people.segment_image(path, "Wonyoung").status.found
    assert people.segment_image(str(path), "Wonyoung", prompt_type="box").status.found
    with pytest.raises(EngineUnavailable, match="knows no words"):
        people.segment_image(path, "Wonyoung", prompt_type="text")
    with pytest.raises(InputError, match="expected prompt_type 'box'"):
        people.segment_image(path, "Wonyoung", prompt_type="points")
    with pytest.raises(ImageError, match="no such file"):
        people.segment_image(tmp_path / "none.png", "Wonyoung")


def test_a_box_can_be_segmented_without_any_gallery(tmp_path):
    pipeline = IdentityAwareSegmentation(FakeFaces(), FakeMasks(), gallery=tmp_path / "none")
    segment = pipeline.segment_by_box(draw((ADA, 80, 60)), [40, 40, 120, 220])
    assert segment.area > 0
    with pytest.raises(GalleryError, match="no gallery in"):
        pipeline.identify(draw())


def test_people_added_by_hand_are_on_disk_at_once(people, tmp_path):
    picture = write_image(tmp_path / "di.png", draw((PEOPLE["Di"], 60, 60)))
    assert people.add_person("디아나", [picture])[0].verdict == "used"
    again = IdentityAwareSegmentation(FakeFaces(), FakeMasks(), gallery=tmp_path / "gallery")
    assert "디아나" in again.gallery.names


def test_the_first_person_may_be_added_by_hand(tmp_path):
    pipeline = IdentityAwareSegmentation(FakeFaces(), FakeMasks(), gallery=tmp_path / "new")
    pipeline.add_person("Di", [write_image(tmp_path / "di.png", draw((PEOPLE["Di"], 60, 60)))])
    assert pipeline.gallery.names == ["Di"]


# ---- files


def test_results_are_written_and_recorded(people, tmp_path):
    path = write_image(tmp_path / "a.png", draw((ADA, 80, 60), (BO, 220, 60)))
    records = segment_to_files(people, path, tmp_path / "out")
    assert sorted(r["person"] for r in records) == ["Bo", "Wonyoung"]
    record = next(r for r in records if r["person"] == "Wonyoung")
    assert set(record["files"]) == {"annotated", "overlay", "cutout", "mask"}
    mask = read_image(record["files"]["mask"])[..., 0] > 127
    assert mask.sum() == record["mask_area"] > 0
    stored = cv2.imread(record["files"]["cutout"], cv2.IMREAD_UNCHANGED)
    assert stored.shape == (240, 320, 4)
    assert json.loads((tmp_path / "out" / "result.json").read_text("utf-8"))["people"] == records


def test_a_tight_cutout_is_the_size_of_the_person(people, tmp_path):
    path = write_image(tmp_path / "a.png", draw((ADA, 80, 60)))
    (record,) = segment_to_files(people, path, tmp_path / "out", ["Wonyoung"], crop=True)
    assert cv2.imread(record["files"]["cutout"], cv2.IMREAD_UNCHANGED).shape[1] < 100


def test_a_person_asked_for_but_absent_is_recorded_as_absent(people, tmp_path):
    path = write_image(tmp_path / "a.png", draw((BO, 80, 60)))
    (record,) = segment_to_files(people, path, tmp_path / "out", ["Wonyoung"])
    assert record["status"] == "not_found" and record["mask_area"] == 0 and set(record["files"]) == {"annotated"}


@pytest.fixture
def folder(tmp_path):
    root = tmp_path / "photos"
    for i, person in enumerate((ADA, BO, PEOPLE["Cy"])):
        write_image(root / f"{i}.png", draw((person, 80, 60)))
    write_image(root / "0.jpg", draw((BO, 80, 60)))
    (root / "broken.jpg").write_bytes(b"not a picture")
    return root


def test_a_folder_is_done_picture_by_picture_and_a_broken_one_passed_over(people, folder, tmp_path):
    outcome = {p.name: how for p, _, how in segment_folder(people, folder, tmp_path / "out")}
    assert [outcome[n] for n in ("0.png", "1.png", "2.png")] == ["done"] * 3
    assert "not a picture this can read" in outcome["broken.jpg"]
    assert {"0", "0-2", "1", "2"} <= {p.name for p in (tmp_path / "out").iterdir()}, "0.jpg and 0.png are two pictures"


def test_a_folder_resumes_where_it_stopped(people, folder, tmp_path):
    steps = segment_folder(people, folder, tmp_path / "out")
    next(steps), next(steps)
    steps.close()
    prompts = people.segmenter.prompts
    outcome = [how for _, _, how in segment_folder(people, folder, tmp_path / "out")]
    assert outcome.count("kept") == 2 and people.segmenter.prompts - prompts == 2


def test_a_changed_picture_gallery_or_question_is_done_again(people, folder, tmp_path):
    def run(names=None):
        return {p.name: how for p, _, how in segment_folder(people, folder, tmp_path / "out", names)}

    run()
    assert set(run().values()) - {"kept"} == {run()["broken.jpg"]}
    write_image(folder / "1.png", draw((BO, 100, 70)))
    changed = run()
    assert changed["1.png"] == "done" and changed["2.png"] == "kept"
    (tmp_path / "out" / "2" / "annotated.jpg").unlink()
    assert run()["2.png"] == "done"
    assert run(["Bo"])["2.png"] == "done"
    people.add_person("Bo", [write_image(tmp_path / "more.png", draw((near(BO, 12), 90, 90)))])
    assert run()["2.png"] == "done"


def test_pictures_whose_names_become_one_do_not_overwrite_each_other(people, tmp_path):
    for name in ("a b.png", "a_b.png", "A_B.PNG"):
        write_image(tmp_path / "photos" / name, draw((ADA, 80, 60)) if name != "a_b.png" else draw((BO, 80, 60)))
    first = {p.name: r for p, r, _ in segment_folder(people, tmp_path / "photos", tmp_path / "out")}
    folders = {f for records in first.values() for r in records for f in [r["files"]["annotated"]]}
    assert len(folders) == len(first)
    assert {how for *_, how in segment_folder(people, tmp_path / "photos", tmp_path / "out")} == {"kept"}


def test_two_folders_with_a_picture_of_one_name_share_an_output(people, tmp_path):
    for folder, person in (("one", ADA), ("two", BO)):
        write_image(tmp_path / folder / "IMG_1.png", draw((person, 80, 60)))
        list(segment_folder(people, tmp_path / folder, tmp_path / "out"))
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["IMG_1", "IMG_1-2"]


def test_pictures_of_someone_who_is_gone_go_with_the_next_answer(people, tmp_path):
    write_image(tmp_path / "photos" / "a.png", draw((ADA, 80, 60), (BO, 220, 60)))
    list(segment_folder(people, tmp_path / "photos", tmp_path / "out"))
    (tmp_path / "out" / "a" / "mine.txt").write_text("a user's own file")
    people._gallery = people.gallery.without("Bo")
    list(segment_folder(people, tmp_path / "photos", tmp_path / "out"))
    left = {p.name for p in (tmp_path / "out" / "a").iterdir()}
    assert not any("Bo" in name for name in left) and {"mine.txt", "Wonyoung_mask.png", "result.json"} <= left


def test_a_picture_that_vanishes_does_not_stop_the_folder(people, folder, tmp_path, monkeypatch):
    from identity_segmentation import results as module

    listed = module.list_photos(folder)
    monkeypatch.setattr(module, "list_photos", lambda _: listed)
    (folder / "1.png").unlink()
    outcome = {p.name: how for p, _, how in segment_folder(people, folder, tmp_path / "out")}
    assert "cannot be read" in outcome["1.png"] and outcome["2.png"] == "done"


def test_settings_decide_the_engines_unless_they_are_named(monkeypatch):
    monkeypatch.setenv("IDSEG_FACE_ENGINE", "nonsense")
    with pytest.raises(InputError, match="unknown face engine 'nonsense'"):
        _ = IdentityAwareSegmentation().face_engine


def test_two_names_that_look_alike_as_files_do_not_overwrite_each_other(people, tmp_path):
    people._gallery = people.gallery.renamed("Bo", "a/b").renamed("Cy", "a:b")
    path = write_image(tmp_path / "x.png", draw((BO, 80, 60), (PEOPLE["Cy"], 220, 60)))
    records = segment_to_files(people, path, tmp_path / "out")
    assert len({r["files"]["mask"] for r in records}) == 2
    assert all(r["files"]["mask"].startswith(str(tmp_path / "out")) for r in records)


def test_an_output_folder_that_cannot_be_written_is_said_before_any_work(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="choose another folder with --out"):
        check_writable(tmp_path / "file")


# ---- on real people


@pytest.fixture(scope="session")
def real(tmp_path_factory, group, embedded_faces, embedded_masks):
    from identity_segmentation.demo import portrait

    root = tmp_path_factory.mktemp("real")
    faces = sorted(embedded_faces.faces(group, embed=False), key=lambda f: f.centre[0])
    for name, face in zip(("가", "나", "다", "라", "마"), faces[:5], strict=True):  # the sixth stays a stranger
        write_image(root / "D" / name / "1.png", portrait(group, face))
    pipeline = IdentityAwareSegmentation(embedded_faces, embedded_masks, gallery=root / "g")
    pipeline.build_gallery(root / "D")
    return pipeline


@pytest.mark.parametrize("alter", ["mirror", "shrink", "darken", "compress"])
def test_real_people_are_named_in_altered_pictures_and_the_stranger_is_not(real, group, alter):
    order = ["가", "나", "다", "라", "마", None]
    if alter == "mirror":
        image, order = np.ascontiguousarray(group[:, ::-1]), order[::-1]
    elif alter == "shrink":
        image = cv2.resize(group, None, fx=0.6, fy=0.6, interpolation=cv2.INTER_AREA)
    elif alter == "darken":
        image = cv2.convertScaleAbs(group, alpha=0.5, beta=5)
    else:
        image = cv2.imdecode(cv2.imencode(".jpg", group, [cv2.IMWRITE_JPEG_QUALITY, 35])[1], cv2.IMREAD_COLOR)
    matches = sorted(real.identify(image), key=lambda m: m.face.centre[0])
    assert [m.name for m in matches] == order


def test_real_masks_are_apart_and_hold_their_own_faces(real, group):
    look = real.look(group)
    drawn = [s for s in look.sightings if s.segment is not None]
    assert len(drawn) == 5
    total = sum(s.segment.mask.astype(int) for s in drawn)
    assert total.max() == 1
    for sighting in look.sightings:
        x, y = (int(v) for v in sighting.match.face.centre)
        owners = [s.name for s in drawn if s.segment.mask[y, x]]
        assert owners == ([sighting.name] if sighting.name else [])


def test_half_a_face_at_the_border_does_no_harm(real, group):
    look = real.look(np.ascontiguousarray(group[:, 110:1200]))
    assert {s.name for s in look.sightings} >= {"나", "다", "라"}

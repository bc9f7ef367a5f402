"""The web page over photos: what scripts call, what is given to it, and somebody's things."""

from __future__ import annotations

import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest
from made_photos import heic, turned
from page_fixtures import choose, drawn, give, shot, shown
from PIL import Image
from stage_hands import (
    STAGE,
    cut_out,
    downloaded,
    file_of,
    looked_at,
    pick,
    pixel_at,
    said,
)

from identity_segmentation import read_image, write_image
from identity_segmentation.errors import EngineUnavailable, InputError, UnknownPerson

pytest.importorskip("gradio", reason="the web page's tests need gradio: scripts/setup.sh --dev")

from identity_segmentation.ui.batch import Batch
from identity_segmentation.ui.people import PeopleTab
from identity_segmentation.ui.pictures import PictureTabs
from identity_segmentation.ui.stage import Asked, Stage

HOSTILE = "<img src=x onerror=alert(1)>"


def test_segmenting_gives_three_pictures_and_the_evidence(page, example):
    photo = sorted(example[1].glob("*.jpg"))[0]
    annotated, overlay, cutout, evidence = PictureTabs(page).segment(str(photo), "ดาว", 0)
    assert "ดาว, similarity" in evidence and "ahead of" in evidence and "embedded" in evidence
    assert all(read_image(f).shape == read_image(photo).shape for f in (annotated, overlay))
    picture = cv2.imdecode(np.fromfile(cutout, np.uint8), cv2.IMREAD_UNCHANGED)
    assert picture.shape[2] == 4 and 0 < (picture[..., 3] > 127).mean() < 0.5


def test_a_threshold_is_one_requests_alone(page, example):
    photo = str(sorted(example[1].glob("*.jpg"))[0])
    assert "ahead of" in PictureTabs(page).segment(photo, "ดาว", 0)[3]
    assert "not" in PictureTabs(page).segment(photo, "ดาว", 1.0)[3]
    assert "ahead of" in PictureTabs(page).segment(photo, "ดาว", 0)[3]


def test_requests_that_cannot_be_served_are_sentences(page, example, tmp_path):
    photo = str(sorted(example[1].glob("*.jpg"))[0])
    for call, reason in (
        (lambda: PictureTabs(page).segment(None, "ดาว", 0), "upload or paste a photo"),
        (lambda: PictureTabs(page).segment(photo, None, 0), "choose a member"),
        (lambda: PictureTabs(page).segment(photo, "ดาว", 0, "words", "shirt"), "knows no words"),
        (lambda: PeopleTab(page).add("", [photo]), "who it is"),
        (lambda: PeopleTab(page).add("New", []), "at least one photo"),
        (lambda: Stage(page).of("../../etc"), "not here any more"),
        (lambda: Stage(page).recall("job-" + "0" * 32), "not here any more"),
        (lambda: Stage(page).packed([]), "cut somebody out first"),
        (lambda: Stage(page).cut(Stage(page).looked(photo), Asked(99)), "a person's place from 0 to 5, got 99"),
        (lambda: Asked.of({"who": 1, "clicks": ["x"]}, True), "no request of this page"),
        (lambda: Batch(page).start("s", [], ["Mina"]), "1 to 500 photos"),
        (lambda: Batch(page).start("s", [photo], []), "choose a member"),
    ):
        with pytest.raises((InputError, EngineUnavailable), match=reason):
            call()
    with pytest.raises(UnknownPerson):
        PictureTabs(page).segment(photo, "nobody", 0)


def test_nobody_is_handed_an_empty_cutout(page, example):
    photo = next(p for p in example[1].glob("*.jpg") if "recomposed" in p.name)
    annotated, overlay, cutout, evidence = PictureTabs(page).segment(str(photo), "Mina", 0)
    assert read_image(annotated).shape == read_image(photo).shape
    assert overlay is None and cutout is None and evidence.startswith("Mina is not among the")


def test_a_preview_is_made_for_what_browsers_cannot_show_and_for_nothing_else(page, tmp_path):
    pixels = np.random.default_rng(0).integers(0, 255, (40, 64, 3), np.uint8)
    for name, kind, wanted in (
        ("a.jpg", "JPEG", False), ("a.PNG", "PNG", False), ("a.avif", "AVIF", False), ("a.tif", "TIFF", True),
        ("a", "JPEG", True), ("a.MPO", "JPEG", True), ("wrong.jpg", "TIFF", True),
    ):  # fmt: skip
        Image.fromarray(pixels).save(tmp_path / name, kind)
        made = page.preview(str(tmp_path / name))
        assert (made is not None) == wanted, name
        if made:
            assert Path(made).parent == tmp_path and read_image(made).shape == (40, 64, 3)
    picture, exif = turned(pixels, 6)
    picture.save(tmp_path / "turned.tif", exif=exif)
    assert read_image(page.preview(str(tmp_path / "turned.tif"))).shape == (40, 64, 3)
    assert page.preview(None) is None
    (tmp_path / "bad.tif").write_text("words")
    with pytest.raises(InputError, match=r"^bad\.tif is not a picture this can read"):
        page.preview(str(tmp_path / "bad.tif"))


def test_a_picture_too_large_is_refused_before_it_is_decoded(page, tmp_path):
    from PIL import Image

    Image.new("1", (20000, 20000)).save(tmp_path / "bomb.png")
    with pytest.raises(InputError, match="pixels"):
        PictureTabs(page).segment(str(tmp_path / "bomb.png"), "ดาว", 0)


def test_names_of_results_are_safe_and_short_and_several_go_into_one_zip(page, example, tmp_path):
    photo = tmp_path / ("사진 " * 40 + "x.jpg")
    photo = photo.with_name(photo.name[-60:])
    photo.write_bytes(sorted(example[1].glob("*.jpg"))[0].read_bytes())
    stage = Stage(page)
    looked = stage.looked(str(photo))
    PeopleTab(page).add('Ann / "B" <i>', [str(stage.face(looked, 0))])
    looked = stage.of(looked.job)
    first, second = stage.cut(looked, Asked(0)), stage.cut(looked, Asked(1))
    for value in (first, second, first):
        name = file_of(value, "cutout").name
        assert len(name.encode()) < 255 and not set(name) & set('/\\:*?"<>| ') and name.endswith("_cutout.png")
    packed = stage.packed([first["result"]["id"], second["result"]["id"]])["pack"]["file"]["path"]
    with zipfile.ZipFile(packed) as archive:
        assert len(set(archive.namelist())) == 8 and archive.testzip() is None
        assert archive.read(file_of(second, "mask").name) == file_of(second, "mask").read_bytes()


def test_browser_an_example_is_one_click_away(tab):
    found = tab("Segment member")
    found.locator("button.gallery-item").first.click()
    shown(found, "segment_photo")
    said(found, "people in the picture")


def test_browser_mistakes_are_told_in_a_sentence(tab, example, tmp_path):
    found = tab("Segment member")
    found.locator("#segment_go").click()
    found.get_by_text("upload or paste a photo first").first.wait_for(timeout=20_000)
    grey = write_image(tmp_path / "grey 회색.png", np.full((300, 400, 3), 90, np.uint8))
    shown(found, "segment_photo", grey)
    said(found, "Nobody was found")
    found.locator("#segment_go").click()
    assert "no face was found" in said(found, "There is no face in this picture")
    (tmp_path / "text.png").write_text("this is no picture")
    found.reload()
    found.locator("#segment_go").wait_for(timeout=60_000)
    give(found, "segment_photo", tmp_path / "text.png")
    found.wait_for_timeout(1500)
    found.locator("#segment_go").click()
    found.locator(".toast-body.error").first.wait_for(timeout=20_000)
    assert "Traceback" not in found.content()


@pytest.mark.parametrize("kind", ["IMG 사진.HEIC", "scan.tif"])
def test_browser_photos_that_it_cannot_draw_are_shown_as_copies_and_used_as_they_are(tab, example, tmp_path, kind):
    photo = read_image(sorted(example[1].glob("*.jpg"))[0])
    photo = np.ascontiguousarray(photo[: photo.shape[0] // 2 * 2, : photo.shape[1] // 2 * 2])
    path = tmp_path / kind
    if kind.endswith("HEIC"):
        heic(path, np.ascontiguousarray(photo[:, :, ::-1]))
    else:
        Image.fromarray(photo[:, :, ::-1]).save(path)
    found = tab("Segment member")
    give(found, "segment_photo", path)
    width, height = drawn(found, "segment_photo")
    assert (width, height) == (photo.shape[1], photo.shape[0])
    source = found.locator("#segment_photo img").first.get_attribute("src")
    assert source.endswith(".preview.jpg")
    choose(found, "segment_member", "ดาว")
    found.locator("#segment_go").click()
    cut_out(found, "ดาว")
    name, cutout = downloaded(found, "cutout")
    assert name == f"{path.stem.replace(' ', '_')}_ดาว_cutout.png"
    inside = cutout[..., 3] > 250
    apart = np.abs(cutout[..., :3].astype(int) - read_image(path))[inside]
    assert inside.any() and apart.max() == 0, "of the photo's own pixels, not of the copy's"
    shot(found, f"segment_{path.suffix[1:].lower()}")


def test_browser_after_an_example_a_heic_photo_is_still_read(tab, example, tmp_path):
    photo = read_image(sorted(example[1].glob("*.jpg"))[0])
    path = heic(
        tmp_path / "a.heic", np.ascontiguousarray(photo[: photo.shape[0] // 2 * 2, : photo.shape[1] // 2 * 2, ::-1])
    )
    found = tab("Segment member")
    found.locator("button.gallery-item").first.click()
    shown(found, "segment_photo")
    found.locator("#segment_photo").get_by_role("button", name="Remove").click()
    give(found, "segment_photo", path)
    drawn(found, "segment_photo")
    choose(found, "segment_member", "ดาว")
    found.locator("#segment_go").click()
    assert "similarity" in said(found, "Cut out: ดาว")


@pytest.mark.parametrize("name", ["DSC1.MPO"])
def test_browser_photos_of_no_known_type_can_be_dropped_and_chosen(tab, example, name):
    data = sorted(example[1].glob("*.jpg"))[0].read_bytes()
    size = list(read_image(sorted(example[1].glob("*.jpg"))[0]).shape[1::-1])
    found = tab("Segment member")
    found.locator("#segment_photo input[type=file]").first.evaluate(
        """(input, [name, bytes]) => {
            const all = new DataTransfer();
            all.items.add(new File([new Uint8Array(bytes)], name));
            input.files = all.files;
            input.dispatchEvent(new Event("change", { bubbles: true }));
        }""",
        [name, list(data)],
    )
    assert drawn(found, "segment_photo") == size
    found.reload()
    found.locator("#segment_go").wait_for(timeout=60_000)
    found.wait_for_timeout(500)
    found.locator("#segment_photo button.upload-container").evaluate(
        """(place, [name, bytes]) => {
            const all = new DataTransfer();
            all.items.add(new File([new Uint8Array(bytes)], name));
            place.dispatchEvent(new DragEvent("drop", { dataTransfer: all, bubbles: true, cancelable: true }));
        }""",
        [name, list(data)],
    )
    assert drawn(found, "segment_photo") == size


def test_browser_a_broken_photo_is_said_to_be_one_when_it_is_given(tab, tmp_path):
    (tmp_path / "text.jpg").write_text("this is no picture")
    heif = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + b"\0" * 64
    (tmp_path / "torn.heic").write_bytes(heif)
    for name, reason in (
        ("text.jpg", "text.jpg is not a picture this can read (it is text)"),
        ("torn.heic", "torn.heic is"),
    ):
        found = tab("Segment member")
        give(found, "segment_photo", tmp_path / name)
        found.get_by_text(reason).first.wait_for(timeout=20_000)
        assert "Traceback" not in found.content() and str(tmp_path) not in found.content()
        found.locator("#segment_go").click()
        found.get_by_text(reason).nth(1).wait_for(timeout=20_000)


def test_browser_a_photo_dropped_on_the_stage_takes_the_place_of_the_one_before(tab, example):
    photos = sorted(example[1].glob("*.jpg"))[:2]
    found = tab("Segment member")
    for photo in photos:
        found.locator(f"{STAGE} .stage").evaluate(
            """(place, [name, bytes]) => {
                const all = new DataTransfer();
                all.items.add(new File([new Uint8Array(bytes)], name, { type: "image/jpeg" }));
                place.dispatchEvent(new DragEvent("drop", { dataTransfer: all, bubbles: true, cancelable: true }));
            }""",
            [photo.name, list(photo.read_bytes())],
        )
        found.wait_for_function(
            "name => document.querySelector('#segment_stage .before').alt.includes(name)",
            arg=photo.name,
            timeout=30_000,
        )
        said(found, "people in the picture")


def test_browser_somebodys_thing_is_a_click_on_a_person_and_one_on_a_thing(tab, example):
    found = tab("Possession")
    stage = "#possession_stage"
    looked_at(found, sorted(example[1].glob("*.jpg"))[0], "possession")
    pick(found, "하나, similarity", stage).click()
    said(found, "Now choose a thing", stage)
    pick(found, "hair", stage, exact=True).click()
    said(found, "하나 · hair", stage)
    name, hair = downloaded(found, "mask", stage)
    assert name.endswith("_하나_hair_mask.png") and 0.001 < (hair > 127).mean() < 0.1
    pick(found, "shirt", stage, exact=True).click()
    said(found, "하나 · shirt", stage)
    _, shirt = downloaded(found, "mask", stage)
    assert np.argwhere(shirt > 127)[:, 0].mean() > np.argwhere(hair > 127)[:, 0].mean(), "below the hair"
    assert not ((shirt > 127) & (hair > 127)).any()
    pick(found, "magenta", stage, exact=True).click()
    found.mouse.move(5, 5)
    assert pixel_at(found, (0.98, 0.02), stage) == [255, 0, 255]
    pick(found, "ดาว, similarity", stage).click()
    said(found, "ดาว · shirt", stage)
    shot(found, "thing")


def test_browser_somebodys_thing_is_found_by_a_phrase(tab, example):
    found = tab("Possession")
    looked_at(found, sorted(example[1].glob("*.jpg"))[0], "possession")
    found.locator("#possession_phrase textarea, #possession_phrase input").first.fill("하나의 상의")
    found.locator("#possession_go").click()
    assert "하나 · top" in said(found, "top", "#possession_stage")
    shot(found, "possession")
    found.locator("#possession_phrase textarea, #possession_phrase input").first.fill("하나's guitar")
    found.locator("#possession_go").click()
    found.get_by_text("does not know").first.wait_for(timeout=20_000)

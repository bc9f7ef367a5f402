"""The stage of the web page: everybody in a photo is a button, and one click cuts them out; many photos at once."""

from __future__ import annotations

import json
import time
import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest
from page_fixtures import choose, give, shot, shown
from stage_hands import (
    STAGE,
    alpha_of,
    click_at,
    cut_out,
    downloaded,
    file_of,
    looked_at,
    pick,
    pixel_at,
    read_unchanged,
    ready,
    recomposed,
    said,
)

from identity_segmentation import read_image, write_image
from identity_segmentation.errors import InputError

pytest.importorskip("gradio", reason="the web page's tests need gradio: scripts/setup.sh --dev")

from identity_segmentation.people.gallery import Gallery
from identity_segmentation.ui.batch import Batch
from identity_segmentation.ui.jobs import Work
from identity_segmentation.ui.people import PeopleTab
from identity_segmentation.ui.stage import Asked, Stage

HOSTILE = "<img src=x onerror=alert(1)>"
HEAD, BALL, BADGE = (225, 120), (462, 60), (300, 430)  # x, y


def test_a_photo_is_everybody_in_it_named_or_not(page, example):
    value = Stage(page).look(str(recomposed(example)))
    people = value["people"]
    assert {p["name"] for p in people} >= {"Nora", "Eileen", "하나", None}
    assert [p["who"] for p in people] == list(range(len(people)))
    stranger = next(p for p in people if p["name"] is None and p["face"])
    assert stranger["nearest"] in page.pipeline.gallery.names and stranger["colour"] == "#969696"
    nora = next(p for p in people if p["name"] == "Nora")
    assert nora["colour"] == page.pipeline.gallery.find("Nora").colour and nora["similarity"] > 0.9
    assert value["photo"]["width"], value["photo"]["height"] == read_image(recomposed(example)).shape[1::-1]


def test_the_stage_cuts_out_what_the_pipeline_cuts_out(page, example):
    photo = sorted(example[1].glob("*.jpg"))[0]
    value = Stage(page).named(Stage(page).looked(str(photo)), "ดาว")
    cutout = read_unchanged(file_of(value, "cutout"))
    expected = page.pipeline.segment_member(read_image(photo), "ดาว").cutout
    assert (cutout == expected).all()
    assert file_of(value, "cutout").name == f"{photo.stem}_ดาว_cutout.png"
    mask = read_image(file_of(value, "mask"))[..., 0] > 127
    assert (mask == (expected[..., 3] > 127)).mean() > 0.999


def test_a_person_without_a_name_is_cut_out_too_and_compared_with_the_nearest(page, example):
    stage = Stage(page)
    looked = stage.looked(str(recomposed(example)))
    stranger = next(p for p in stage.seen(looked)["people"] if p["name"] is None and p["face"])
    value = stage.cut(looked, Asked(stranger["who"]))
    assert value["code"] == "stranger" and value["near"]["person"] == stranger["nearest"]
    alpha = alpha_of(file_of(value, "cutout"))
    x, y = (int((stranger["face"][i] + stranger["face"][i + 2]) / 2) for i in (0, 1))
    assert alpha[y, x] == 255 and 0.02 < (alpha > 127).mean() < 0.5
    assert file_of(value, "cutout").name == f"{recomposed(example).stem}_person-{stranger['who'] + 1}_cutout.png"
    body = next(p for p in stage.seen(looked)["people"] if p["face"] is None)
    assert stage.cut(looked, Asked(body["who"])).get("near") is None


def test_who_is_not_there_is_shown_the_nearest_face_and_what_it_lacks(page, example):
    stage = Stage(page)
    looked = stage.looked(str(recomposed(example)))
    value = stage.named(looked, "Mina")
    near = value["near"]
    assert value["code"] == "not_found" and value["result"] is None
    assert looked.picking.sightings[near["who"]].name is None, "a face that has another's name is not offered first"
    assert near["similarity"] < near["needed"] and near["person"] == "Mina"
    assert near["reference"]["path"] == page.faces()[[f["name"] for f in page.faces()].index("Mina")]["image"]["path"]
    face = read_image(near["face"]["path"])
    box = looked.picking.sightings[near["who"]].match.face.box
    x0, y0 = (max(0, int(box[i] - 0.6 * max(box[2] - box[0], box[3] - box[1]))) for i in (0, 1))
    assert (face[:5, :5] == read_image(recomposed(example))[y0 : y0 + 5, x0 : x0 + 5]).all()
    page.faces = lambda: [{"name": "Mina", "image": None}]
    assert stage.named(looked, "Mina")["near"]["reference"] is None


def test_the_needed_similarity_is_the_one_that_gives_the_name(page, example):
    looked = Stage(page).looked(str(next(p for p in example[1].glob("*.jpg") if "recompressed" in p.name)))
    near = looked.picking.nearest("Mina", looked.picking.place_of("Mina"))
    for level, there in ((near.similarity - 0.01, True), (near.similarity + 0.01, False)):
        again = Stage(page).looked(looked.path, level)
        said = again.picking.nearest("Mina", near.place)
        alone = again.picking.sightings[near.place].match.basis == "face"  # without the reading of the whole group
        assert alone == there == (said.similarity >= said.needed)


@pytest.fixture
def marked(astronaut, tmp_path) -> Path:
    """One person, a ball beside her, and a badge on her."""
    picture = astronaut.copy()
    cv2.circle(picture, BALL, 26, (255, 220, 0), -1)
    cv2.circle(picture, BADGE, 22, (40, 200, 40), -1)
    return write_image(tmp_path / "marked 우주.png", picture)


def test_clicks_add_and_take_away_in_their_places_alone(page, marked):
    head, ball, badge = HEAD, BALL, BADGE
    stage = Stage(page)
    looked = stage.looked(str(marked))
    assert len(stage.seen(looked)["people"]) == 1
    plain = alpha_of(file_of(stage.cut(looked, Asked(0, fine=False)), "cutout")) > 127
    added = alpha_of(file_of(stage.cut(looked, Asked(0, fine=False, clicks=((*ball, True),))), "cutout")) > 127
    assert not plain[ball[1], ball[0]] and added[ball[1], ball[0]]
    changed = np.argwhere(plain != added)
    assert np.abs(changed - ball[::-1]).max() < 45, "only the ball"
    taken = alpha_of(
        file_of(stage.cut(looked, Asked(0, fine=False, clicks=((*ball, True), (*badge, False)))), "cutout")
    )
    assert plain[badge[1], badge[0]] and taken[badge[1], badge[0]] == 0 and taken[ball[1], ball[0]] == 255
    assert taken[head[1], head[0]] == 255


def test_a_result_comes_back_after_the_server_forgot_the_photo(page, example):
    photo = str(sorted(example[1].glob("*.jpg"))[0])
    made = Stage(page).named(Stage(page).looked(photo), "Mina")
    other = Stage(page)
    back = other.recall(made["result"]["id"])
    assert back["result"] == made["result"] and back["recalled"] and back["version"] > made["version"]
    again = other.cut(other.of(back["job"]), Asked(back["asked"]["who"]))
    assert (alpha_of(file_of(again, "cutout")) == alpha_of(file_of(made, "cutout"))).all()


def test_whoever_is_put_on_file_has_a_name_when_the_photo_is_looked_at_again(page, example):
    stage = Stage(page)
    looked = stage.looked(str(recomposed(example)))
    who = next(p["who"] for p in stage.seen(looked)["people"] if p["name"] is None and p["face"])
    PeopleTab(page).add("Neil", [str(stage.face(looked, who))])
    people = stage.again(looked.job)["people"]
    assert people[who]["name"] == "Neil"


def test_a_batch_says_of_every_photo_what_became_of_everybody_and_packs_it(page, example, tmp_path):
    photos = [str(sorted(example[1].glob("*.jpg"))[0]), str(recomposed(example))]
    (tmp_path / "torn.jpg").write_text("words")
    batch = Batch(page)
    job = batch.start("s", [*photos, str(tmp_path / "torn.jpg")], ["Mina", "Nora"])["id"]
    value = finished(batch, "s", job)
    assert value["state"] == "done" and value["done"] == 3
    found = {(row["name"], p["name"]): p["code"] for row in value["rows"] for p in row["people"]}
    first, second = (Path(p).name for p in photos)
    assert found == {
        (first, "Mina"): "ok",
        (first, "Nora"): "ok",
        (second, "Mina"): "not_found",
        (second, "Nora"): "ok",
    }
    assert "torn.jpg is not a picture" in value["rows"][2]["said"]
    with zipfile.ZipFile(value["zip"]["path"]) as archive:
        pictures = {n for n in archive.namelist() if n.endswith("_cutout.png")}
        stems = [Path(p).stem for p in photos]
        assert pictures == {f"{stems[0]}_Mina_cutout.png", f"{stems[0]}_Nora_cutout.png", f"{stems[1]}_Nora_cutout.png"}
        listed = json.loads(archive.read("photos.json"))
        assert [row["photo"] for row in listed] == [first, second, "torn.jpg"]
        data = np.frombuffer(archive.read(f"{stems[0]}_Mina_cutout.png"), np.uint8)
        assert 0.01 < (cv2.imdecode(data, cv2.IMREAD_UNCHANGED)[..., 3] > 127).mean() < 0.5
    with pytest.raises(InputError, match="no longer there"):
        batch.value("somebody else", job)


def finished(batch, session: str, job: str) -> dict:
    deadline = time.time() + 60
    while (value := batch.value(session, job))["live"]:
        assert time.time() < deadline
        time.sleep(0.1)
    return value


def test_a_batch_that_is_cancelled_keeps_what_was_finished(page, example):
    photos = [str(p) for p in sorted(example[1].glob("*.jpg"))[:3]]
    step = Work({}, page.job())
    progress = step.progress

    def stop_after_one(done, total):
        progress(done, total)
        if done == 1:
            step.cancel.set()

    step.progress = stop_after_one
    made = Batch(page).work(step, photos, ["Mina"], 0, False)
    assert made["stopped"] and made["said"] == "1 / 1"
    with zipfile.ZipFile(step.folder / made["zip"]) as archive:
        assert f"{Path(photos[0]).stem}_Mina_cutout.png" in archive.namelist()


def test_browser_a_photo_is_dropped_and_two_clicks_download_a_cutout(tab, example):
    photo = sorted(example[1].glob("*.jpg"))[0]
    found = tab("Segment member")
    looked_at(found, photo)
    assert "6 people in the picture, 6 by name" in said(found, "people in the picture")
    pick(found, "ดาว, similarity").click()
    cut_out(found, "ดาว")
    assert "ดาว, similarity" in said(found, "ดาว") and "ahead of" in said(found, "ดาว")
    name, cutout = downloaded(found, "cutout")
    assert name == f"{photo.stem}_ดาว_cutout.png"
    assert cutout.shape == (*read_image(photo).shape[:2], 4) and 0.01 < (cutout[..., 3] > 127).mean() < 0.5
    name, mask = downloaded(found, "mask")
    assert name == f"{photo.stem}_ดาว_mask.png" and ((mask > 127) == (cutout[..., 3] > 127)).mean() > 0.999
    for kind in ("overlay", "annotated"):
        name, picture = downloaded(found, kind)
        assert name == f"{photo.stem}_ดาว_{kind}.jpg" and picture.shape == read_image(photo).shape
    assert pick(found, "ดาว, similarity").get_attribute("aria-pressed") == "true"
    shot(found, "segment")


def test_browser_the_slider_compares_and_the_backdrops_change_what_is_behind(tab, example, tmp_path):
    photo = sorted(example[1].glob("*.jpg"))[0]
    found = tab("Segment member")
    looked_at(found, photo)
    pick(found, "Mina, similarity").click()
    cut_out(found, "Mina")
    corner, image = (0.02, 0.02), read_image(photo)
    for name, colour in (
        ("magenta", [255, 0, 255]),
        ("black", [0, 0, 0]),
        ("white", [255] * 3),
        ("green", [0, 177, 64]),
    ):
        pick(found, name, exact=True).click()
        found.mouse.move(5, 5)
        assert pixel_at(found, corner) == colour, name
    slider = found.locator(f"{STAGE} .compare input")
    slider.focus()
    slider.press("End")
    near = image[int(0.02 * image.shape[0]), int(0.02 * image.shape[1])][::-1].astype(int)
    assert np.abs(near - pixel_at(found, corner)).max() < 40, "the photo"
    slider.press("Home")
    pick(found, "magenta", exact=True).click()
    with found.expect_download() as download:
        pick(found, "On this backdrop: magenta").click()
    made = read_unchanged(download.value.path())
    assert download.value.suggested_filename == f"{photo.stem}_Mina_on-magenta.png"
    assert made.shape[:2] == image.shape[:2] and made[5, 5, :3].tolist() == [255, 0, 255]
    blue = write_image(tmp_path / "blue.png", np.full((40, 60, 3), (200, 30, 10), np.uint8))
    found.locator(f"{STAGE} .ownfile").set_input_files(str(blue))
    found.wait_for_function("document.querySelector('#segment_stage .after').dataset.on === 'own'")
    assert pixel_at(found, corner) == [10, 30, 200]
    with found.expect_download() as download:
        pick(found, "On this backdrop: your picture").click()
    own = read_unchanged(download.value.path())
    _, cutout = downloaded(found, "cutout")
    inside = cutout[..., 3] == 255
    assert own[5, 5, :3].tolist() == [200, 30, 10]
    assert np.abs(own[..., :3].astype(int) - cutout[..., :3])[inside].max() <= 1
    shot(found, "backdrop")


def test_browser_clicks_add_and_remove_where_they_are_made(tab, marked):
    found = tab("Segment member")
    looked_at(found, marked)
    pick(found, "Eileen").click()
    cut_out(found, "Eileen")
    _, plain = downloaded(found, "mask")
    assert plain[BALL[1], BALL[0]] == 0 and plain[BADGE[1], BADGE[0]] == 255
    pick(found, "Add (A)").click()
    click_at(found, BALL, (512, 512))
    found.wait_for_timeout(200)
    ready(found)
    _, added = downloaded(found, "mask")
    assert added[BALL[1], BALL[0]] == 255
    assert np.abs(np.argwhere(added != plain) - BALL[::-1]).max() < 45, "only the ball"
    pick(found, "Remove (R)").click()
    click_at(found, BADGE, (512, 512))
    found.wait_for_timeout(200)
    ready(found)
    _, taken = downloaded(found, "mask")
    assert taken[BADGE[1], BADGE[0]] == 0 and taken[BALL[1], BALL[0]] == 255
    shot(found, "clicks")
    for expected in (added, plain):
        pick(found, "Undo the last click").click()
        found.wait_for_timeout(200)
        ready(found)
        assert (downloaded(found, "mask")[1] == expected).all()
    assert pick(found, "Undo the last click").is_disabled()


def test_browser_fine_edges_are_made_when_they_are_asked_for(tab, example):
    found = tab("Segment member")
    looked_at(found, recomposed(example))
    pick(found, "Eileen, similarity").click()
    cut_out(found, "Eileen")
    _, fine = downloaded(found, "cutout")
    found.locator("#segment_fine input").uncheck()
    found.wait_for_timeout(300)
    ready(found)
    _, fast = downloaded(found, "cutout")
    assert (fine[..., 3] != fast[..., 3]).any()
    found.locator("#segment_fine input").check()
    found.wait_for_timeout(300)
    ready(found)
    assert (downloaded(found, "cutout")[1] == fine).all()


def test_browser_who_is_not_there_is_compared_with_the_nearest_face_and_can_be_cut_out_anyway(tab, example):
    found = tab("Segment member")
    looked_at(found, recomposed(example))
    choose(found, "segment_member", "Mina")
    found.locator("#segment_go").click()
    assert "Mina is not among the" in said(found, "Not in this picture: Mina")
    near = found.locator(f"{STAGE} .near")
    assert "Similarity 0." in near.inner_text() and ", needed 0." in near.inner_text()
    assert near.get_by_role("img", name="The nearest face in this picture").count() == 1
    found.wait_for_function("document.querySelector('#segment_stage .near img').naturalWidth > 40")
    assert found.locator(f"{STAGE} .files a").count() == 0 and not found.locator(f"{STAGE} .done").count()
    shot(found, "not_found")
    near.get_by_role("button", name="Cut this person out anyway").click()
    cut_out(found, "person")
    assert "who is not on file" in said(found, "Cut out")
    assert found.locator(f"{STAGE} .near").get_by_role("button", name="put this face on file").count() == 1


def test_browser_a_stranger_is_put_on_file_from_the_picture(tab, served, example):
    found = tab("Segment member")
    looked_at(found, recomposed(example))
    stranger = found.locator(f"{STAGE} .person:not(.body)").filter(has_text="?")
    assert stranger.count() == 1 and "not on file" in stranger.get_attribute("aria-label")
    stranger.click()
    cut_out(found, "person")
    shown(found, "identify_face")
    name = found.locator("#identify_name input")
    name.fill(HOSTILE)
    name.press("Enter")
    found.locator("#identify_add").click()
    pick(found, HOSTILE).wait_for(timeout=60_000)
    assert found.locator(f"{STAGE} img[src=x]").count() == 0
    assert HOSTILE in served[1].gallery.names
    choose(found, "segment_member", HOSTILE)
    found.locator("#segment_go").click()
    said(found, f"Cut out: {HOSTILE}")
    name, _ = downloaded(found, "cutout")
    assert not set(name) & set("<>/\\:")
    shot(found, "hostile")
    served[1].use_gallery(Gallery.edit(served[1].gallery_folder, lambda g: g.without(HOSTILE))[1])


def test_browser_it_is_her_puts_the_nearest_face_on_file(tab, served, example):
    before = Gallery.load(served[1].gallery_folder)
    photo = next(p for p in example[1].glob("*.jpg") if "recompressed" in p.name)
    found = tab("Segment member")
    looked_at(found, photo)
    found.get_by_role("button", name="Similarity threshold").click()
    level = found.locator("#segment_threshold input[type=number]")
    level.fill("0.97")
    level.press("Tab")
    said(found, "0 by name")
    choose(found, "segment_member", "Mina")
    found.locator("#segment_go").click()
    said(found, "Not in this picture: Mina")
    assert "needed 0.97" in found.locator(f"{STAGE} .near").inner_text()
    pick(found, "It is Mina: put this face on file").click()
    deadline = time.time() + 60
    while len(served[1].gallery.find("Mina").references) == len(before.find("Mina").references):
        assert time.time() < deadline
        found.wait_for_timeout(100)
    assert served[1].gallery.find("Mina").references[-1].source.startswith(f"{photo.stem}_face-")
    served[1].use_gallery(Gallery.edit(served[1].gallery_folder, lambda _: before)[1])


def test_browser_a_level_that_is_set_while_the_photo_is_looked_at_is_obeyed(tab, example):
    found = tab("Segment member")
    found.get_by_role("button", name="Similarity threshold").click()
    level = found.locator("#segment_threshold input[type=number]")
    give(found, "segment_photo", next(p for p in example[1].glob("*.jpg") if "recompressed" in p.name))
    found.locator("#segment_photo img").wait_for(timeout=60_000)
    level.fill("0.97")
    level.press("Tab")
    said(found, "0 by name")


def test_browser_recent_results_come_back_also_after_a_reload(tab, example):
    photo = sorted(example[1].glob("*.jpg"))[0]
    found = tab("Segment member")
    looked_at(found, photo)
    for name in ("Mina", "Leo"):
        pick(found, f"{name}, similarity").click()
        cut_out(found, name)
    _, leo = downloaded(found, "cutout")
    strip = found.locator(f"{STAGE} .strip button")
    assert strip.count() == 2
    with found.expect_download() as download:
        pick(found, "Download these (zip)").click()
    with zipfile.ZipFile(download.value.path()) as archive:
        assert {f"{photo.stem}_{n}_cutout.png" for n in ("Mina", "Leo")} < set(archive.namelist())
    found.reload()
    found.locator("#segment_go").wait_for(timeout=60_000)
    assert found.locator(f"{STAGE} .strip button").count() == 2
    pick(found, f"Show again: Leo, from {photo.name}").click()
    cut_out(found, "Leo")
    assert (downloaded(found, "cutout")[1] == leo).all()
    pick(found, "Mina, similarity").click()
    cut_out(found, "Mina")
    assert found.locator(f"{STAGE} .strip button").count() == 3
    other = tab("Segment member")
    assert other.locator(f"{STAGE} .strip button").count() == 0, "another browser's results are its own"


def test_browser_with_the_keyboard_alone(tab, marked):
    found = tab("Segment member")
    looked_at(found, marked)
    found.locator("#segment_fine input").focus()
    for _ in range(30):
        found.keyboard.press("Tab")
        if "Eileen" in (found.evaluate("document.activeElement.ariaLabel") or ""):
            break
    assert "Eileen" in found.evaluate("document.activeElement.ariaLabel")
    assert found.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    found.keyboard.press("Enter")
    cut_out(found, "Eileen")
    _, plain = downloaded(found, "mask")
    found.locator(f"{STAGE} .person").first.focus()
    found.keyboard.press("a")
    assert pick(found, "Add (A)").get_attribute("aria-pressed") == "true"
    assert found.evaluate("document.activeElement.className").startswith("stage")
    found.keyboard.press("ArrowRight")
    where = """() => {
        const { left, top } = document.querySelector('#segment_stage .cross').style;
        return [parseFloat(left), parseFloat(top)];
    }"""
    for axis, (more, less) in enumerate((("ArrowRight", "ArrowLeft"), ("ArrowDown", "ArrowUp"))):
        for _ in range(80):
            off = found.evaluate(where)[axis] - 100 * BALL[axis] / 512
            if abs(off) < 1.3:
                break
            found.keyboard.press(less if off > 0 else more)
    found.keyboard.press("Enter")
    found.wait_for_timeout(200)
    ready(found)
    _, added = downloaded(found, "mask")
    assert plain[BALL[1], BALL[0]] == 0 and added[BALL[1], BALL[0]] == 255
    found.locator(f"{STAGE} .stage").focus()
    found.keyboard.press("Control+z")
    found.wait_for_timeout(200)
    ready(found)
    assert (downloaded(found, "mask")[1] == plain).all()


def test_browser_a_batch_of_three_with_progress_and_a_zip(tab, example):
    photos = [*sorted(example[1].glob("*.jpg"))[:2], recomposed(example)]
    found = tab("Segment member")
    found.get_by_role("button", name="Many photos at once").click()
    found.locator("#batch_photos input[type=file]").set_input_files([str(p) for p in photos])
    found.locator("#batch_photos").get_by_text(photos[2].stem).first.wait_for(timeout=30_000)
    choose(found, "batch_people", "Mina")
    found.locator("#batch_go").click()
    found.locator("#batch_shown [data-state=done], #batch_shown[data-state=done]").wait_for(timeout=90_000)
    assert found.locator("#batch_shown li").count() == 3
    codes = [
        found.locator("#batch_shown li").nth(i).locator("[data-code]").get_attribute("data-code") for i in range(3)
    ]
    assert codes == ["ok", "ok", "not_found"]
    text = found.locator("#batch_shown").inner_text()
    assert "2 of 3 photos" in text and "not in the picture" in text
    with found.expect_download() as download:
        found.locator("#batch_shown .zip").click()
    with zipfile.ZipFile(download.value.path()) as archive:
        assert f"{photos[0].stem}_Mina_cutout.png" in archive.namelist()
    shot(found, "batch")
    found.reload()
    found.locator("#segment_go").wait_for(timeout=60_000)
    found.locator("#jobs summary").click()
    found.locator("#jobs").get_by_role("button", name="Open: Mina").first.click()
    found.locator("#batch_shown li").nth(2).wait_for(timeout=30_000)


@pytest.mark.parametrize(
    ("language", "tab_name", "words"),
    [
        ("ko-KR", "멤버 분할", ("사진 속 6명", "오려냈습니다: Mina")),
        ("th-TH", "ตัดสมาชิก", ("มี 6 คนในรูป", "ตัดภาพแล้ว: Mina")),
    ],
)
def test_browser_on_a_phone_in_the_visitors_language_the_result_comes_into_view(
    browser, served, example, language, tab_name, words
):
    context = browser.new_context(
        locale=language, viewport={"width": 390, "height": 844}, color_scheme="dark", has_touch=True, is_mobile=True
    )
    found = context.new_page()
    found.goto(served[0])
    found.get_by_role("tab", name=tab_name).first.wait_for(timeout=60_000)
    looked_at(found, sorted(example[1].glob("*.jpg"))[0])
    said(found, words[0])
    choose(found, "segment_member", "Mina")
    found.evaluate("window.scrollTo(0, 0)")
    found.locator("#segment_go").click()
    said(found, words[1])
    found.wait_for_timeout(1500)
    box = found.locator(f"{STAGE} .stage").bounding_box()
    assert box["y"] > -5 and box["y"] + box["height"] < 850, "the result is seen without scrolling"
    sizes = found.locator(f"{STAGE} .person").evaluate_all(
        "all => all.map(b => Math.min(b.offsetWidth, b.offsetHeight))"
    )
    assert min(sizes) >= 24, "a finger finds them"
    assert found.evaluate("document.documentElement.scrollWidth") <= 400, "nothing sticks out sideways"
    shot(found, f"phone_segment_{language}")
    context.close()


def test_browser_the_stage_fills_a_wide_screen(browser, served, example):
    context = browser.new_context(viewport={"width": 1920, "height": 1080})
    found = context.new_page()
    found.goto(served[0])
    found.locator("#segment_go").wait_for(timeout=60_000)
    looked_at(found, sorted(example[1].glob("*.jpg"))[0])
    pick(found, "Mina, similarity").click()
    cut_out(found, "Mina")
    found.wait_for_timeout(700)
    shot(found, "wide_segment")
    stage = found.locator(f"{STAGE} .stage").bounding_box()
    column = found.locator(STAGE).bounding_box()
    assert stage["height"] <= 1080 and (stage["width"] > 0.9 * column["width"] or stage["height"] > 0.75 * 1080)
    context.close()

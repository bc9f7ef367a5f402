"""The people on file, on the web page."""

from __future__ import annotations

import zipfile
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from made_photos import heic
from page_fixtures import shot, shown, waits

from identity_segmentation import Gallery, read_image, write_image
from identity_segmentation.errors import InputError
from identity_segmentation.people.gallery import Reference

pytest.importorskip("gradio", reason="the web page's tests need gradio: scripts/setup.sh --dev")

from identity_segmentation.ui.page import Page
from identity_segmentation.ui.people import PeopleTab, hex_colour

HOSTILE = "<img src=x onerror=alert(1)>"


def test_a_person_is_added_edited_and_deleted_with_every_trace(page, pipeline, example, tmp_path):
    picture = read_image(example[0] / "person_7" / "reference.png")
    write_image(tmp_path / "a b 사진.png", picture[:, ::-1].copy())
    PeopleTab(page).delete("Eileen", True)
    assert "Eileen" not in [row[0] for row in PeopleTab(page).table()]
    verdicts = PeopleTab(page).add(HOSTILE, [str(tmp_path / "a b 사진.png")])
    assert verdicts[0][:2] == ["a b 사진.png", "used"]
    assert verdicts[1][:2] == ["", "note"] and "one photo only" in verdicts[1][2]
    PeopleTab(page).edit(HOSTILE, "알리, อีลีน ,", "rgba(255, 0, 127.4, 1)")
    row = next(r for r in PeopleTab(page).table() if r[0] == HOSTILE)
    assert row[1:] == ["알리, อีลีน", 1, "#FF007F"] and pipeline.gallery.find("อีลีน").name == HOSTILE
    PeopleTab(page).delete(HOSTILE, True)
    for file in (tmp_path / "gallery").iterdir():
        if file.suffix == ".json":
            assert "onerror" not in file.read_text("utf-8")


def test_the_page_says_when_one_person_is_on_file_under_two_names(page, pipeline, example):
    vector = pipeline.gallery.person_references(pipeline.gallery.names.index("Eileen"))[0]
    noise = np.random.default_rng(0).normal(size=(8, len(vector))) / np.sqrt(len(vector))
    rows = vector + 0.6 * noise.astype(np.float32)
    for name, part in (("Eileen", rows[:4]), ("에일린 2", rows[4:])):
        sources = [Reference(f"{name}{i}.jpg", f"{name}{i}", 0, by_hand=True) for i in range(4)]
        Gallery.edit(page.pipeline.gallery_folder, lambda g, n=name, p=part, s=sources: g.with_person(n, p, s))
    pipeline.use_gallery(Gallery.load(page.pipeline.gallery_folder))
    pipeline.settings = replace(pipeline.settings, dataset=example[0])
    rows = PeopleTab(page).rebuild()
    (said,) = [row[2] for row in rows if row[1] == "note" and "look like one person" in row[2]]
    assert "idseg people merge Eileen '에일린 2'" in said
    matrix, text = PeopleTab(page).check()
    assert matrix.ndim == 3 and said in text


def test_colours_come_in_several_spellings():
    assert (
        hex_colour("#A0B1C2") == "#A0B1C2"
        and hex_colour("rgb(1, 2, 300)") == "#0102ff"
        and hex_colour("#A0B1C2ff") == "#A0B1C2"
    )


def test_a_gallery_goes_out_and_comes_back_and_nothing_else_does(page, pipeline, tmp_path):
    before = pipeline.gallery.names
    archive = PeopleTab(page).export()
    with zipfile.ZipFile(archive) as content:
        assert sorted(Path(n).suffix for n in content.namelist()) == ["", ".json", ".safetensors"]
    PeopleTab(page).delete("Leo", True)
    assert PeopleTab(page).take_in(archive) == len(before) and pipeline.gallery.names == before
    for name, content, reason in (
        ("../evil.json", b"{}", "does not belong"),
        ("a.pkl", b"x", "does not belong"),
        (None, b"not a zip", "not a zip"),
    ):
        path = tmp_path / "bad.zip"
        if name is None:
            path.write_bytes(content)
        else:
            with zipfile.ZipFile(path, "w") as out:
                out.writestr(name, content)
        with pytest.raises(InputError, match=reason):
            PeopleTab(page).take_in(str(path))
    assert pipeline.gallery.names == before


def test_browser_a_check_shows_who_is_like_whom(tab):
    found = tab("People")
    found.locator("#people_check").click()
    shown(found, "people_matrix")
    assert "strict" in waits(found, "people_checked", "Of 1,000 faces")
    shot(found, "check")


def test_browser_heic_photos_are_put_on_file_and_marked(tab, served, example, tmp_path):
    face = read_image(example[0] / "person_7" / "reference.png")
    face = cv2.resize(face, (320, 320))[:, ::-1]
    path = heic(tmp_path / "면접.HEIC", np.ascontiguousarray(face[:, :, ::-1]))
    found = tab("People")
    found.locator("#people_name input, #people_name textarea").first.fill("Fresh from a phone")
    found.locator("#people_photos input[type=file]").set_input_files(str(path))
    found.locator("#people_photos").get_by_text("HEIC").first.wait_for(timeout=20_000)
    found.locator("#people_add").click()
    found.locator("#people_verdicts").get_by_text("면접.HEIC").locator("visible=true").first.wait_for(timeout=30_000)
    assert "Fresh from a phone" in served[1].gallery.names
    PeopleTab(Page(served[1], tmp_path / "web")).delete("Fresh from a phone", True)  # she is somebody else's test, too
    found.get_by_role("tab", name="Label", exact=True).click()
    box = found.locator("#label_job input")
    box.fill("phone")
    box.press("Enter")
    found.wait_for_timeout(800)
    found.locator("#label_references input[type=file]").set_input_files(str(path))
    found.locator("#label_canvas [data-shown], #label_canvas[data-shown]").first.wait_for(timeout=20_000)
    image = found.locator("#label_canvas img").first
    assert image.evaluate("i => [i.naturalWidth, i.naturalHeight]") == [320, 320]

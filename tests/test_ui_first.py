"""The web page where nobody is on file, and the demo's people beside it: two galleries that never mix."""

from __future__ import annotations

import shutil
import time
from dataclasses import replace
from pathlib import Path

import pytest
from page_fixtures import SCREENSHOTS, free_port, shot

from identity_segmentation import Gallery, IdentityAwareSegmentation, read_image, write_image
from identity_segmentation.errors import InputError
from identity_segmentation.people.enrolment import people_waiting
from identity_segmentation.people.gallery import exists
from identity_segmentation.settings import Settings

pytest.importorskip("gradio", reason="the web page's tests need gradio: scripts/setup.sh --dev")

from identity_segmentation.ui.example import people_of_demo
from identity_segmentation.ui.first import FirstRun
from identity_segmentation.ui.page import Page, texts
from identity_segmentation.ui.serving import launch

DEMO = {"Mina", "준호", "ดาว", "Leo", "Nora", "하나", "Eileen"}


def names(folder: Path) -> set[str]:
    return set(Gallery.load(folder).names) if exists(folder) else set()


def words(language: str, key: str) -> str:
    return texts()[language.partition("-")[0]][f"idseg_first_{key}"]


@pytest.fixture
def mine(embedded_faces, embedded_masks, tmp_path) -> IdentityAwareSegmentation:
    """Nobody's pipeline: an empty gallery, and no data set yet."""
    settings = Settings(gallery=str(tmp_path / "mine"), dataset=str(tmp_path / "Dataset"), output=str(tmp_path / "out"))
    return IdentityAwareSegmentation(embedded_faces, embedded_masks, gallery=tmp_path / "mine", settings=settings)


@pytest.fixture
def first(mine, tmp_path) -> FirstRun:
    return FirstRun(Page(mine, tmp_path / "web"))


def test_the_panel_is_seen_until_somebody_is_on_file(first, mine, example, tmp_path):
    assert first.seen(False) == (True, {"on_file": []}, False, first.waiting(), False)
    rows = first.add("원영", [str(example[0] / "person_7" / "reference.png")])
    assert rows == [["", "used", "1 / 1"]] and names(tmp_path / "mine") == {"원영"}
    assert first.seen(False)[0] is False
    assert first.seen(True)[:3] == (True, {"on_file": ["원영"]}, False), "while the next one is added"


def test_a_gallery_of_another_engine_is_not_taken_for_an_empty_one(first, fake_faces, tmp_path):
    Gallery.empty(fake_faces).save(tmp_path / "mine")
    assert not first.nobody() and not first.seen(False)[0]


def test_what_cannot_be_added_is_said(first, example):
    photo = str(example[0] / "person_7" / "reference.png")
    for name, photos in ((" ", [photo]), (None, [photo]), ("원영", None), ("원영", [])):
        with pytest.raises(InputError, match="say who|one photo"):
            first.add(name, photos)


def test_a_folder_of_photos_is_counted_and_learned_with_progress(first, mine, example, tmp_path):
    shutil.copytree(example[0], tmp_path / "Dataset")
    write_image(tmp_path / "Dataset" / "person_1" / "wall.png", read_image(example[1] / "1_mirrored.jpg")[:40, :40])
    waiting = first.waiting()
    assert (waiting["folder"], waiting["people"], waiting["photos"]) == ("Dataset", 7, 8)
    assert set(waiting["names"]) == DEMO and not exists(tmp_path / "mine"), "counting learns nobody"
    done = []
    rows = first.learn(lambda step, **_: done.append(step))
    assert done[-1] == (8, 8) and len(done) >= 7
    assert rows[0] == ["", "used", "7 / 8"] and rows[1][:2] == ["person_1/wall.png", "no_face"]
    assert names(tmp_path / "mine") == DEMO


def test_people_who_wait_in_several_folders_are_counted_once(tmp_path, example):
    for folder in ("a", "b", ".hidden", "empty"):
        (tmp_path / folder).mkdir()
    for folder in ("a", "b", ".hidden"):
        shutil.copy(example[0] / "person_1" / "reference.png", tmp_path / folder / "1.png")
    (tmp_path / "members.toml").write_text(
        '[[member]]\nfolder = "a"\nname = "원영"\n[[member]]\nfolder = "b"\nname = "원영"\n', "utf-8"
    )
    assert people_waiting(tmp_path) == [("원영", 2)]
    assert people_waiting(tmp_path / "nowhere") == []


def test_the_demo_has_its_own_gallery_dataset_and_outputs(mine, tmp_path):
    home = tmp_path / "demo"
    people, pictures = people_of_demo(home, mine)
    assert set(people.gallery.names) == DEMO and not exists(tmp_path / "mine")
    assert people.face_engine is mine.face_engine and people.segmenter is mine.segmenter
    for place in (people.settings.gallery, people.settings.dataset, people.settings.output):
        assert home in Path(place).parents
    assert mine.settings == replace(mine.settings), "the user's settings stay"
    assert max(read_image(pictures / "1_mirrored.jpg").shape) == 960 and (pictures / "clip.mp4").is_file()
    Gallery.edit(home / "gallery", lambda gallery: gallery.without("Leo"))
    again, _ = people_of_demo(home, mine)
    assert "Leo" in again.gallery.names, "the demo begins with everybody"


def test_the_demos_gallery_of_another_engine_is_left_as_it_is(mine, tmp_path, fake_faces):
    home = tmp_path / "demo"
    people_of_demo(home, mine)
    before = {path: path.read_bytes() for path in (home / "gallery").iterdir()}
    other = Gallery.empty(fake_faces)
    shutil.rmtree(home / "gallery")
    other.save(home / "gallery")
    people, _ = people_of_demo(home, mine)
    assert before and set(people.gallery.names) == DEMO and people.gallery_folder != home / "gallery"


# ---- in a browser


@pytest.fixture
def opened(browser, mine, tmp_path, monkeypatch):
    """Serve the page with the demo beside it, and open it in a language: (page in the browser, address)."""
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    demo, contexts = [], []

    def open_it(language: str, width: int = 1280):
        if not demo:
            demo.append(launch(Page(mine, tmp_path / "web", demo=tmp_path / "demo"), port=free_port()))
        context = browser.new_context(locale=language, viewport={"width": width, "height": 1000})
        found = context.new_page()
        found.bad = []
        found.on("pageerror", lambda error: found.bad.append(str(error)))
        found.on(
            "request", lambda r: found.bad.append(r.url) if "127.0.0.1" not in r.url and ":" in r.url[:6] else None
        )
        contexts.append((context, found))
        found.goto(demo[0].local_url)
        return found, demo[0].local_url

    yield open_it
    for context, found in contexts:
        bad = [said for said in found.bad if not said.startswith(("data:", "blob:"))]
        SCREENSHOTS.mkdir(parents=True, exist_ok=True)
        context.close()
        assert not bad
    demo[0].close()


def fill(found, name: str, photo: Path) -> None:
    found.locator("#first_name input, #first_name textarea").first.fill(name)
    found.locator("#first_photos input[type=file]").first.set_input_files(str(photo))
    found.get_by_text(photo.stem).first.wait_for()
    found.locator("#first_add").click()


@pytest.mark.parametrize("language", ["ko-KR"])
def test_browser_from_nobody_to_two_people_and_the_demo_is_not_touched(opened, example, tmp_path, language):
    found, address = opened(language)
    found.get_by_text(words(language, "title")).wait_for(timeout=60_000)
    shot(found, f"first_{language}")
    assert not found.locator("#first_learn").is_visible(), "there is no folder of photos"
    fill(found, "<b>원영</b>", example[0] / "person_7" / "reference.png")
    found.get_by_text(words(language, "going").replace("{people}", "<b>원영</b>")).wait_for(timeout=60_000)
    found.get_by_role("status").filter(has_text=words(language, "used").replace("{count}", "1 / 1")).wait_for()
    assert names(tmp_path / "mine") == {"<b>원영</b>"} and not exists(tmp_path / "demo" / "gallery")
    shot(found, f"first_next_{language}")
    fill(found, "Leo", example[0] / "person_4" / "reference.png")
    found.get_by_text(words(language, "going").replace("{people}", "<b>원영</b>, Leo")).wait_for(timeout=60_000)
    found.locator("#first_done").click()
    found.wait_for_url(address)
    found.locator("#first_head").wait_for(state="hidden")
    found.get_by_role("tab").first.wait_for()
    assert not found.locator("#first_add").is_visible()
    assert names(tmp_path / "mine") == {"<b>원영</b>", "Leo"}


@pytest.mark.parametrize("language", ["en-US"])
def test_browser_a_folder_of_photos_is_learned_with_one_press(opened, mine, example, tmp_path, language, monkeypatch):
    shutil.copytree(example[0], tmp_path / "Dataset")
    build = mine.build_gallery

    def slowly(progress):  # seven photos are learned before anybody sees that they are
        return build(progress=lambda *step: (progress(*step), time.sleep(0.4)))

    monkeypatch.setattr(mine, "build_gallery", slowly)
    found, _ = opened(language)
    said = words(language, "learn_said").partition("{names}")[0]
    said = said.replace("{folder}", "Dataset").replace("{people}", "7").replace("{photos}", "7")
    found.get_by_text(said).wait_for(timeout=60_000)
    shot(found, f"first_folder_{language}")
    found.locator("#first_learn").click()
    bar = found.locator("#first .progress-bar").first
    bar.wait_for(timeout=60_000)
    assert "%" in (bar.get_attribute("style") or "")
    used = words(language, "used").replace("{count}", "7 / 7")
    found.get_by_role("status").filter(has_text=used).wait_for(timeout=120_000)
    assert names(tmp_path / "mine") == DEMO
    assert not found.locator("#first_learn").is_visible()
    shot(found, f"first_learned_{language}")


@pytest.mark.parametrize("language", ["ko-KR"])
def test_browser_what_is_done_in_the_demo_stays_there(opened, mine, example, tmp_path, language):
    found, address = opened(language)
    found.locator("#first_demo").click(timeout=60_000)
    found.get_by_text(words(language, "making")).wait_for()
    found.locator("#demo_banner").wait_for(timeout=120_000)
    assert found.url == f"{address}demo/"
    shot(found, f"demo_{language}")
    # Whatever the demo's page has put on file is the demo's: its own callbacks write into its own gallery.
    dataset = tmp_path / "one.png"
    write_image(dataset, read_image(example[0] / "person_7" / "reference.png")[:, ::-1].copy())
    token = found.evaluate("() => window.gradio_config.root")
    assert token == f"{address}demo", "what is pressed here is asked of the demo's page"
    people, _ = people_of_demo(tmp_path / "demo", mine)
    people.add_person("Fan", [dataset])
    assert "Fan" in names(tmp_path / "demo" / "gallery") and not exists(tmp_path / "mine")
    found.locator("#demo_back").click()
    found.get_by_text(words(language, "title")).wait_for(timeout=60_000)
    assert found.url == address

"""The web page as a whole: its words, its tabs, several people at once."""

from __future__ import annotations

import re

import pytest
from conftest import ROOT
from page_fixtures import choose, shot, shown, waits

from identity_segmentation import IdentityAwareSegmentation

pytest.importorskip("gradio", reason="the web page's tests need gradio: scripts/setup.sh --dev")

import gradio as gr

from identity_segmentation.ui import build
from identity_segmentation.ui.page import Page, texts


def test_every_language_has_every_word():
    words = texts()
    assert set(words) == {"en", "ko", "th"}
    assert all(set(words[language]) == set(words["en"]) for language in words)
    assert all(text.strip() for texts_ in words.values() for text in texts_.values())


def test_no_word_is_left_that_nothing_shows():
    sources = [
        *(ROOT / "identity_segmentation" / "ui").glob("*.py"),
        *(ROOT / "identity_segmentation" / "data").glob("*.*"),
    ]
    said = set(re.findall(r"""["'`]([a-z_]+)["'`]""", "\n".join(path.read_text("utf-8") for path in sources)))
    keys = {key.removeprefix("idseg_") for key in texts()["en"]}
    unused = {key for key in keys if key not in said and key.partition("_")[2] not in said}
    assert not unused


def test_the_pages_tabs_are_built_with_a_gallery_and_without(page, tmp_path, embedded_faces, embedded_masks):
    demo = build(page)
    assert demo.config["title"] == "Identity-aware segmentation"
    empty = IdentityAwareSegmentation(embedded_faces, embedded_masks, gallery=tmp_path / "nobody")
    build(Page(empty, tmp_path / "w2"))


def test_nothing_but_tabs_lies_between_the_tabs(page):
    """Gradio counts what lies there, a state too, and then writes a tab's name over the next one's."""
    (tabs,) = (block for block in build(page).blocks.values() if isinstance(block, gr.Tabs))
    assert [child for child in tabs.children if not isinstance(child, gr.Tab)] == []


def test_browser_every_tab_keeps_its_name_once_it_was_opened(tab):
    found = tab("Segment member")
    bar = found.get_by_role("tablist").filter(visible=True).first
    names = bar.get_by_role("tab").all_inner_texts()
    for name in names:
        bar.get_by_role("tab", name=name, exact=True).first.click()
        found.wait_for_timeout(400)
    assert len(set(names)) == len(names) > 4 and bar.get_by_role("tab").all_inner_texts() == names


def test_browser_two_people_at_once_see_their_own_results(tab, example):
    photos = sorted(example[1].glob("*.jpg"))
    one, other = tab("Segment member"), tab("Segment member")
    for found, photo, name in ((one, photos[0], "Mina"), (other, photos[2], "하나")):
        shown(found, "segment_photo", photo)
        choose(found, "segment_member", name)
    one.locator("#segment_go").click()
    other.locator("#segment_go").click()
    sources = []
    for found, name in ((one, "Mina"), (other, "하나")):
        found.locator("#segment_stage .status").get_by_text(f"Cut out: {name}").wait_for(timeout=60_000)
        assert name in found.locator("#segment_stage .evidence").inner_text()
        assert found.locator("#segment_stage .strip button").count() == 1
        sources.append(found.locator("#segment_stage .after img").get_attribute("src"))
    assert sources[0] != sources[1]


@pytest.mark.parametrize(("language", "text"), [("ko-KR", "멤버 분할"), ("th-TH", "ตัดสมาชิก")])
def test_browser_the_page_speaks_the_browsers_language_on_a_phone_in_the_dark(browser, served, language, text):
    context = browser.new_context(locale=language, viewport={"width": 390, "height": 844}, color_scheme="dark")
    found = context.new_page()
    found.goto(served[0])
    found.get_by_role("tab", name=text).first.wait_for(timeout=60_000)
    width = found.evaluate("() => document.documentElement.scrollWidth")
    shot(found, f"phone_{language}")
    context.close()
    assert width <= 400, "nothing sticks out sideways"


def test_browser_about_says_what_is_in_use(tab):
    found = tab("About this machine")
    assert "in use: embedded masks" in waits(found, "about_text", "in use: embedded faces")

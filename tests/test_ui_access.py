"""The page by keys, by ear and in every width: axe-core finds nothing, focus is seen, names are in the language."""

from __future__ import annotations

import importlib.util
import os
import re
from pathlib import Path

import pytest
from conftest import ROOT
from page_fixtures import SCREENSHOTS, free_port

from identity_segmentation import IdentityAwareSegmentation
from identity_segmentation.settings import Settings

pytest.importorskip("gradio", reason="the web page's tests need gradio: scripts/setup.sh --dev")

RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
ONE_CLICK = 60_000  # ms that a photo may take on a busy machine


@pytest.fixture(scope="session")
def axe() -> str:
    """The script of axe-core, out of the package that carries it."""
    found = importlib.util.find_spec("axe_playwright_python")
    if found is None or found.origin is None:
        pytest.skip('the page is not looked at by axe-core: pip install "axe-playwright-python>=0.1.8"')
    return (Path(found.origin).parent / "axe.min.js").read_text("utf-8")


@pytest.fixture
def nobody(embedded_faces, embedded_masks, tmp_path_factory):
    """The address of a page with nobody on file, for one test: Gradio has one folder of uploads in a process."""
    from identity_segmentation.ui.page import Page
    from identity_segmentation.ui.serving import launch

    folder = tmp_path_factory.mktemp("nobody")
    settings = Settings(output=str(folder / "out"))
    people = IdentityAwareSegmentation(embedded_faces, embedded_masks, gallery=folder / "gallery", settings=settings)
    before = os.environ.get("GRADIO_TEMP_DIR")
    demo = launch(Page(people, folder / "web"), port=free_port())
    yield demo.local_url
    demo.close()
    os.environ.pop("GRADIO_TEMP_DIR", None)
    if before is not None:
        os.environ["GRADIO_TEMP_DIR"] = before


@pytest.fixture
def opened(browser, served):
    """Open a page: (address or None for the example's, width, options of the browser)."""
    contexts = []

    def open_page(address: str | None = None, width: int = 1280, **options):
        options = {"reduced_motion": "reduce", "viewport": {"width": width, "height": 900}} | options
        context = browser.new_context(**options)
        contexts.append(context)
        found = context.new_page()
        found.goto(address or served[0])
        found.locator("[role=tabpanel] button").first.wait_for(timeout=60_000)
        found.wait_for_function("() => document.querySelector('.idseg-skip')")
        return found

    yield open_page
    for context in contexts:
        context.close()


def tab_names(found) -> list[str]:
    """All tabs, those in the menu of a narrow window too."""
    bar = found.locator("[role=tablist]").first.locator("xpath=..")
    names = bar.locator("button[role=tab], .overflow-dropdown button").all_text_contents()
    return list(dict.fromkeys(name.strip() for name in names if name.strip()))


def go_to(found, name: str) -> None:
    """Open a tab, by the menu if the window is too narrow for it."""
    bar = found.locator("[role=tablist]").first
    shown = bar.get_by_role("tab", name=name, exact=True)
    if shown.count() == 0:
        menu = bar.locator("xpath=..").locator(".overflow-menu")
        menu.locator("button").first.click()
        menu.get_by_text(name, exact=True).click()
    else:
        shown.first.click()
    bar.get_by_role("tab", name=name, exact=True, selected=True).wait_for(timeout=10_000)
    unfolded(found)


def unfolded(found) -> None:
    folds = found.locator("[role=tabpanel]:visible button.label-wrap:not(.open)")
    for _ in range(folds.count()):  # one that is open is no longer among them
        folds.first.click()
    found.wait_for_timeout(300)  # what is opened is drawn


def faults(found, axe: str) -> list[str]:
    """What axe-core finds on the page as it is: rule, element, what is wrong."""
    if not found.evaluate("() => 'axe' in window"):
        found.evaluate(axe)
    result = found.evaluate(f"() => axe.run(document, {{runOnly: {RULES}}})")
    return [
        f"{fault['id']}: {node['html'][:160]}\n    {node['failureSummary'][:300]}"
        for fault in result["violations"]
        for node in fault["nodes"]
    ]


@pytest.mark.parametrize(
    ("people", "width", "scheme", "locale"),
    [
        ("example", 390, "dark", "ko-KR"), ("nobody", 1280, "light", "th-TH"),
    ],
)  # fmt: skip
def test_browser_axe_core_finds_nothing_on_any_tab(opened, request, axe, people, width, scheme, locale):
    address = request.getfixturevalue("nobody") if people == "nobody" else None
    found = opened(address, width, color_scheme=scheme, locale=locale)
    wrong = {}
    for name in tab_names(found):
        go_to(found, name)
        wrong[name] = faults(found, axe)
        for inner in found.locator("[role=tabpanel]:visible [role=tab][aria-selected=false]").all():
            inner.click()
            unfolded(found)
            wrong[name] += faults(found, axe)
        sideways = found.evaluate("() => document.documentElement.scrollWidth - innerWidth")
        assert sideways <= 2, f"{name} sticks out sideways by {sideways} pixels"
    said = "\n".join(f"{name}: {fault}" for name, found_ in wrong.items() for fault in found_)
    assert len(wrong) > 3 and not said, said


def first_result(found, photo: Path):
    """Give a photo to the first tab, and wait for a picture that was not there."""
    panel = found.locator("[role=tabpanel]:visible").first
    panel.locator("input[type=file]").first.set_input_files(str(photo))
    panel.locator("img").first.wait_for(timeout=ONE_CLICK)
    found.wait_for_timeout(1000)  # the server's copy follows the browser's
    found.evaluate(
        """() => { const panel = [...document.querySelectorAll('[role=tabpanel]')].find((p) => p.offsetParent);
            window.shownBefore = new Set([...panel.querySelectorAll('img')].map((i) => i.src)); }"""
    )
    button = panel.locator("button.primary:visible").first
    button.click()
    new = """() => { const panel = [...document.querySelectorAll('[role=tabpanel]')].find((p) => p.offsetParent);
        return [...panel.querySelectorAll('img')].some(
            (i) => i.complete && i.naturalWidth && !window.shownBefore.has(i.src)); }"""
    found.wait_for_function(new, timeout=ONE_CLICK)
    found.wait_for_timeout(1200)
    return panel, button


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_browser_axe_core_finds_nothing_in_results_and_pictures_have_words(opened, example, axe, scheme):
    found = opened(color_scheme=scheme, locale="ko-KR")
    panel, _ = first_result(found, sorted(example[1].glob("*.jpg"))[0])
    wrong = faults(found, axe)
    assert not wrong, "\n".join(wrong)
    pictures = panel.locator("img:visible").evaluate_all(
        "list => list.filter((i) => !i.closest('[aria-hidden=true], button[aria-label]')).map((i) => i.alt)"
    )
    assert len(pictures) > 1 and all(text.strip() for text in pictures)
    assert any(re.search("[가-힣]", text) for text in pictures), pictures


@pytest.mark.parametrize(
    ("locale", "text", "title"),
    [
        ("ko-KR", "먼저 사진을 올리거나 붙여넣으세요", "^(오류|주의)$"),
        ("th-TH", "อัปโหลดหรือวางรูปก่อน", "^(ข้อผิดพลาด|คำเตือน)$"),
    ],
)
def test_browser_an_error_that_pops_up_is_in_the_language_and_can_be_read(opened, axe, locale, text, title):
    found = opened(locale=locale)
    found.locator("[role=tabpanel]:visible button.primary:visible").first.click()
    found.get_by_text(text).first.wait_for(timeout=20_000)
    found.get_by_text(re.compile(title)).first.wait_for(timeout=5_000)
    found.wait_for_function(  # it has come in
        "() => getComputedStyle(document.querySelector('[data-testid=toast-body]')).opacity === '1'", timeout=10_000
    )
    wrong = faults(found, axe)
    assert not wrong, "\n".join(wrong)


# ---- by keys


def focused(found) -> dict:
    return found.evaluate(
        """() => { const e = document.activeElement, s = getComputedStyle(e), b = e.getBoundingClientRect();
            return {tag: e.tagName, text: (e.getAttribute('aria-label') || e.textContent || '').trim().slice(0, 80),
                class: e.className || '', panel: e.closest('[role=tabpanel]') !== null, top: b.top, width: b.width,
                outline: s.outlineStyle !== 'none' && parseFloat(s.outlineWidth) >= 2,
                role: e.getAttribute('role')}; }"""
    )


def test_browser_the_page_is_operated_by_keys_and_shows_where_they_are(opened):
    found = opened()
    found.keyboard.press("Tab")
    first = focused(found)
    assert "idseg-skip" in first["class"] and first["top"] >= 0, "the first stop leads past the heading"
    found.keyboard.press("Enter")
    assert focused(found)["panel"]
    stops = []
    for _ in range(40):
        found.keyboard.press("Tab")
        stops.append(focused(found))
        if "primary" in stops[-1]["class"]:
            break
    assert "primary" in stops[-1]["class"], "the tab's button is reached"
    unseen = [stop for stop in stops if stop["width"] > 1 and stop["tag"] != "BODY" and not stop["outline"]]
    assert not unseen
    nameless = [stop for stop in stops if stop["tag"] in ("BUTTON", "A") and not stop["text"]]
    assert not nameless


def test_browser_tabs_are_changed_by_keys(opened):
    found = opened()
    names = tab_names(found)
    found.get_by_role("tab", name=names[0], exact=True).focus()
    found.keyboard.press("Tab")
    assert focused(found)["role"] == "tab"
    found.keyboard.press("Enter")
    found.get_by_role("tab", name=names[1], exact=True, selected=True).wait_for(timeout=5_000)
    label = found.locator("[role=tabpanel]:visible").first
    found.wait_for_function(
        "name => [...document.querySelectorAll('[role=tabpanel]')].some((p) => p.offsetParent && p.ariaLabel === name)",
        arg=names[1],
    )
    assert label.get_attribute("aria-label") == names[1], "a screen reader says which tab is open"


# ---- the language, the width, and who cannot bear motion


@pytest.mark.parametrize(
    ("locale", "language", "title", "letters"),
    [("ko-KR", "ko", "인물 인식 분할", "가-힣"), ("th-TH", "th", "ตัดภาพตามตัวบุคคล", "ก-๛"),
     ("fr-FR", "en", "Identity-aware segmentation", "a-z")],
)  # fmt: skip
def test_browser_the_page_says_its_language_and_its_names_are_in_it(opened, locale, language, title, letters):
    found = opened(locale=locale)
    found.wait_for_function("title => document.title === title", arg=title, timeout=10_000)
    assert found.evaluate("() => document.documentElement.lang") == language
    found.wait_for_timeout(500)
    names = found.evaluate(
        """() => [...document.querySelectorAll('[role=tabpanel] [aria-label]')].filter((e) => e.offsetParent)
            .map((e) => e.getAttribute('aria-label')).filter((name) => /[a-z]{3}/i.test(name))"""
    )
    foreign = [name for name in names if not re.search(f"[{letters}]", name)]
    assert not foreign


def test_browser_a_wide_screen_is_filled_and_motion_is_left_out_where_it_is_not_wanted(opened):
    found = opened(width=1920)
    assert found.locator("main").bounding_box()["width"] > 1700
    moving = found.evaluate(
        """() => [...document.querySelectorAll('*')].map((e) => [e.className, getComputedStyle(e).transitionDuration])
            .filter(([, duration]) => parseFloat(duration) > 0.1).slice(0, 5)"""
    )
    assert not moving
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    found.screenshot(path=str(SCREENSHOTS / "wide.png"))


def test_browser_on_a_phone_the_result_comes_into_view(opened, example):
    found = opened(width=390, color_scheme="dark", locale="ko-KR")
    _, button = first_result(found, sorted(example[1].glob("*.jpg"))[0])
    seen = found.evaluate(
        """() => [...document.querySelectorAll('[role=tabpanel] img')].some((i) => {
            const b = i.getBoundingClientRect();
            return i.naturalWidth && !window.shownBefore.has(i.src) && b.top < innerHeight - 60 && b.bottom > 60; })"""
    )
    assert seen and button.is_visible()


def test_the_pages_style_and_script_ask_for_nothing_from_elsewhere():
    data = ROOT / "identity_segmentation" / "data"
    for name in ("look.css", "access.js"):
        assert not re.search(r"https?://|@import|url\((?!data:)", (data / name).read_text("utf-8")), name

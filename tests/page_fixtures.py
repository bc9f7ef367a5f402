"""The web page in a real browser, and what its tests do there."""

from __future__ import annotations

import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from conftest import ROOT

from identity_segmentation import IdentityAwareSegmentation, read_image
from identity_segmentation.settings import Settings

SCREENSHOTS = ROOT / "outputs" / "screenshots"


@pytest.fixture(scope="session")
def example(tmp_path_factory):
    """The example's people and pictures: (data set, pictures with a clip)."""
    from identity_segmentation.demo import write_clip, write_example

    dataset, pictures = write_example(tmp_path_factory.mktemp("example"))
    write_clip(pictures, read_image(sorted(Path(pictures).glob("*.jpg"))[0]), 1.0)
    return Path(dataset), Path(pictures)


@pytest.fixture
def pipeline(example, embedded_faces, embedded_masks, tmp_path):
    people = IdentityAwareSegmentation(embedded_faces, embedded_masks, gallery=tmp_path / "gallery")
    people.build_gallery(example[0])
    return people


@pytest.fixture
def page(pipeline, tmp_path):
    from identity_segmentation.ui.page import Page

    return Page(pipeline, tmp_path / "web")


@pytest.fixture(scope="session")
def browser():
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("no chromium here; on Debian: apt-get install chromium")
    playwright = pytest.importorskip("playwright.sync_api", reason="the browser tests need playwright")
    with playwright.sync_playwright() as running:
        options = [
            "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
            "--disable-component-update", "--disable-sync",
            "--host-resolver-rules=MAP evil.test 127.0.0.1, MAP proxy.test 127.0.0.1",  # other sites, on this machine
        ]  # fmt: skip
        opened = running.chromium.launch(executable_path=chromium, headless=True, args=options)
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def served(example, embedded_faces, embedded_masks, tmp_path_factory):
    """The page over the example's people, on a free port; returns (address, page's pipeline)."""
    import os

    folder = tmp_path_factory.mktemp("served")
    from identity_segmentation.ui.page import Page
    from identity_segmentation.ui.serving import launch

    people = IdentityAwareSegmentation(
        embedded_faces, embedded_masks, gallery=folder / "gallery", settings=Settings(output=str(folder / "out"))
    )
    people.build_gallery(example[0])
    before = os.environ.get("GRADIO_TEMP_DIR")
    page = Page(people, folder / "web", example[1])
    demo = launch(page, port=free_port())
    people.served_page = page
    yield demo.local_url, people
    demo.close()
    if before is None:
        os.environ.pop("GRADIO_TEMP_DIR", None)
    else:
        os.environ["GRADIO_TEMP_DIR"] = before


@pytest.fixture(scope="module")
def served_page(served):
    """The page behind the address."""
    return served[1].served_page


def free_port() -> int:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture
def tab(browser, served):
    """Open the page at a tab; fails on errors in the console and on anything asked of another machine."""
    opened = []

    def open_tab(name: str, **options):
        context = browser.new_context(viewport={"width": 1280, "height": 1200}, **options)
        found = context.new_page()
        found.foreign, found.broken, found.alerts = [], [], []
        found.on("request", lambda r: found.foreign.append(r.url) if not _own(r.url) else None)
        found.on("pageerror", lambda error: found.broken.append(str(error)))
        found.on("dialog", lambda dialog: (found.alerts.append(dialog.message), dialog.dismiss()))
        found.goto(served[0])
        found.locator("#segment_go").wait_for(timeout=60_000)
        found.get_by_role("tab", name=name).filter(visible=True).first.click()
        opened.append((context, found))
        return found

    yield open_tab
    for number, (context, found) in enumerate(opened):
        SCREENSHOTS.mkdir(parents=True, exist_ok=True)
        found.screenshot(path=str(SCREENSHOTS / f"last_{number}.png"))
        assert not found.foreign and not found.broken and not found.alerts
        context.close()


def _own(url: str) -> bool:
    return url.startswith(("http://127.0.0.1", "data:", "blob:"))


def give(found, name: str, path) -> None:
    found.locator(f"#{name} input[type=file]").first.set_input_files(str(path))


def shown(found, name: str, path=None):
    if path is not None:
        give(found, name, path)
    found.locator(f"#{name} img").first.wait_for(timeout=60_000)


def choose(found, name: str, text: str) -> None:
    box = found.locator(f"#{name} input")
    box.click()
    box.fill(text)
    found.get_by_role("option", name=text).first.click()


def waits(found, name: str, text: str, seconds: int = 60) -> str:
    found.wait_for_function(
        "([id, text]) => document.querySelector('#' + id + ' textarea').value.includes(text)",
        arg=[name, text], timeout=seconds * 1000,
    )  # fmt: skip
    return found.locator(f"#{name} textarea").input_value()


def picture_of(found, name: str, tmp_path: Path) -> np.ndarray:
    source = found.locator(f"#{name} img").first.get_attribute("src")
    data = found.request.get(source).body()
    return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)


def shot(found, name: str) -> None:
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    found.screenshot(path=str(SCREENSHOTS / f"{name}.png"), full_page=True)


def drawn(found, name: str) -> list[int]:
    """(width, height) of the photo that the browser has drawn in a place for photos, once it stays: the page shows the
    browser's own copy first, and then the server's."""
    still = f"""() => {{
        const i = document.querySelector('#{name} img');
        const now = i && i.complete && i.naturalWidth > 0 ? i.src : null;
        if (now === null || now !== window.drawnBefore) {{ window.drawnBefore = now; window.drawnSince = Date.now(); }}
        return now !== null && Date.now() - window.drawnSince > 700 && [i.naturalWidth, i.naturalHeight];
    }}"""
    return found.wait_for_function(still, timeout=30_000, polling=100).json_value()

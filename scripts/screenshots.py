"""Take docs/page_segment.png and docs/page_identify.png: the web page at work on drawn people.

    python scripts/screenshots.py

Needs gradio, playwright and chromium; shows nobody's face.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path

from readme_picture import ROOT, draw_dataset, draw_stage

from identity_segmentation import IdentityAwareSegmentation, write_image
from identity_segmentation.ui import Page, launch


def main() -> int:
    from playwright.sync_api import sync_playwright

    with tempfile.TemporaryDirectory() as scratch, sync_playwright() as running:
        folder = Path(scratch)
        people = IdentityAwareSegmentation("embedded", "embedded", gallery=folder / "gallery")
        people.build_gallery(draw_dataset(folder / "Dataset"))
        photo = write_image(folder / "pictures" / "stage.jpg", draw_stage())
        demo = launch(Page(people, folder / "web", folder / "pictures"), port=7897)
        browser = running.chromium.launch(
            executable_path=shutil.which("chromium"), headless=True, args=["--no-sandbox", "--disable-gpu"]
        )
        page = browser.new_page(viewport={"width": 1240, "height": 900})
        page.goto(demo.local_url)
        page.locator("#segment_photo input[type=file]").first.set_input_files(str(photo))
        page.locator("#segment_photo img").first.wait_for()
        page.locator("#segment_member input").click()
        page.get_by_role("option", name="원영").click()
        page.wait_for_timeout(400)
        page.locator("#segment_go").click()
        page.locator("#segment_cutout img").wait_for()
        page.wait_for_timeout(800)
        page.screenshot(path=str(ROOT / "docs" / "page_segment.png"))
        page.get_by_role("tab", name="Identify all").click()
        page.locator("#identify_photo input[type=file]").first.set_input_files(str(photo))
        page.locator("#identify_photo img").first.wait_for()
        page.locator("#identify_go").click()
        page.locator("#identify_annotated img").wait_for()
        page.wait_for_timeout(1200)
        page.screenshot(path=str(ROOT / "docs" / "page_identify.png"))
        browser.close()
        demo.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())

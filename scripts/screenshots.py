"""Take docs/page_segment.png, page_identify.png and page_label.png: the web page at work on drawn people and plates.

    python scripts/screenshots.py

Needs gradio, playwright and chromium; shows nobody's face.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path

import cv2
import numpy as np
from readme_picture import ROOT, draw_dataset, draw_stage

sys.path.insert(0, str(ROOT / "benchmarks"))
from few_shot import drawn

from identity_segmentation import IdentityAwareSegmentation, write_image
from identity_segmentation.settings import Settings
from identity_segmentation.ui.page import Page
from identity_segmentation.ui.serving import launch


def main() -> int:
    from playwright.sync_api import sync_playwright

    with tempfile.TemporaryDirectory() as scratch, sync_playwright() as running:
        folder = Path(scratch)
        people = IdentityAwareSegmentation(
            "embedded", "embedded", gallery=folder / "gallery", settings=Settings(output=str(folder))
        )
        people.build_gallery(draw_dataset(folder / "Dataset"))
        photo = write_image(folder / "pictures" / "stage.jpg", draw_stage())
        demo = launch(Page(people, folder / "web", folder / "pictures"), port=7897)
        browser = running.chromium.launch(
            executable_path=shutil.which("chromium"), headless=True, args=["--no-sandbox", "--disable-gpu"]
        )
        page = browser.new_page(viewport={"width": 1240, "height": 900})
        page.goto(demo.local_url)
        page.locator("#segment_photo input[type=file]").first.set_input_files(str(photo))
        page.locator("#segment_stage .person").first.wait_for()
        page.wait_for_timeout(800)
        page.screenshot(path=str(ROOT / "docs" / "page_identify.png"))
        page.locator("#segment_stage").get_by_role("button", name="원영, similarity").click()
        page.locator("#segment_stage .done").wait_for()
        page.locator("#segment_stage .compare input").evaluate(
            "slider => { slider.value = 45; slider.dispatchEvent(new Event('input')); }"
        )
        page.wait_for_timeout(800)
        page.screenshot(path=str(ROOT / "docs" / "page_segment.png"))
        label(page, folder)
        browser.close()
        demo.close()
    return 0


def label(page, folder: Path) -> None:
    """Mark a drawn plate, label three others, and show them."""
    pictures = []
    for number in range(4):
        image, mask = drawn(number)
        pictures.append(str(write_image(folder / f"plate_{number}.png", image)))
        if number == 0:
            first = mask
    page.set_viewport_size({"width": 1240, "height": 760})
    page.get_by_role("tab", name="Label", exact=True).click()
    page.locator("#label_job input").fill("plates")
    page.locator("#label_job input").press("Enter")
    page.wait_for_timeout(800)
    page.locator("#label_references input[type=file]").set_input_files(pictures[0])
    canvas = page.locator("#label_canvas canvas")
    page.wait_for_timeout(2000)
    canvas.scroll_into_view_if_needed()
    area = canvas.bounding_box()
    count, _, stats, _ = cv2.connectedComponentsWithStats(first.astype(np.uint8))
    for x, y, width, height, _ in stats[1:count]:
        across, down = area["width"] / 512, area["height"] / 512
        page.mouse.move(area["x"] + (x - 4) * across, area["y"] + (y - 4) * down)
        page.mouse.down()
        page.mouse.move(area["x"] + (x + width + 4) * across, area["y"] + (y + height + 4) * down, steps=3)
        page.mouse.up()
        page.wait_for_timeout(1500)
    page.locator("#label_id_name input, #label_id_name textarea").first.fill("scratch")
    page.locator("#label_id_name input, #label_id_name textarea").first.press("Enter")
    page.locator("#label_targets input[type=file]").set_input_files(pictures[1:])
    page.wait_for_timeout(1500)
    page.locator("#label_run").click()
    page.locator('#label_grid .cell[data-name="plate_2"]').click(timeout=120_000)
    page.locator('#label_grid [data-looking="plate_2"], #label_grid[data-looking="plate_2"]').wait_for()
    page.evaluate("window.scrollTo(0, 0)")
    page.wait_for_timeout(800)
    page.screenshot(path=str(ROOT / "docs" / "page_label.png"), full_page=True)


if __name__ == "__main__":
    sys.exit(main())

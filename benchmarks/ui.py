"""The web page: first load, what a click costs over the pipeline's own call, and memory over fifty requests.

    python benchmarks/ui.py

Needs gradio, playwright and chromium. Works on the demo's people, so no test data.
"""

from __future__ import annotations

import os
import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path

import psutil

sys.path.insert(0, str(Path(__file__).resolve().parent))
from _data import table

from identity_segmentation import IdentityAwareSegmentation, read_image, write_image
from identity_segmentation.demo import write_example
from identity_segmentation.ui.page import Page
from identity_segmentation.ui.serving import launch

OPTIONS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]
READY = "name => document.querySelector('#segment_evidence textarea').value.startsWith(name + ', similarity')"


def click(page, name: str) -> float:
    """Choose a member, then press Segment; seconds from the press to the answer."""
    box = page.locator("#segment_member input")
    box.click()
    box.fill(name)
    page.get_by_role("option", name=name).first.click()
    page.wait_for_timeout(400)  # for the list to close
    started = time.perf_counter()
    page.locator("#segment_go").click()
    page.wait_for_function(READY, arg=name, polling=5)
    return time.perf_counter() - started


def main() -> None:
    from playwright.sync_api import sync_playwright

    rows = []
    with tempfile.TemporaryDirectory() as scratch:
        dataset, pictures = write_example(Path(scratch) / "example")
        people = IdentityAwareSegmentation("embedded", "embedded", gallery=Path(scratch) / "gallery")
        people.build_gallery(dataset)
        photo = write_image(Path(scratch) / "photo.jpg", read_image(sorted(Path(pictures).glob("*.jpg"))[0]))
        demo = launch(Page(people, Path(scratch) / "web"), port=7899)
        with sync_playwright() as running:
            browser = running.chromium.launch(executable_path=shutil.which("chromium"), headless=True, args=OPTIONS)
            loads = []
            for _ in range(3):
                page = browser.new_page()
                started = time.perf_counter()
                page.goto(demo.local_url)
                page.locator("#segment_go").wait_for()
                loads.append(time.perf_counter() - started)
            rows.append(("first load to interactive", f"{loads[0]:.2f} s (again: {min(loads[1:]):.2f} s)"))
            page.locator("#segment_photo input[type=file]").first.set_input_files(str(photo))
            page.locator("#segment_photo img").first.wait_for()
            image, extra = read_image(photo), []
            for number in range(12):
                name = ("Mina", "Leo")[number % 2]
                clicked = click(page, name)
                started = time.perf_counter()
                people.segment_member(image, name)
                extra.append(clicked - (time.perf_counter() - started))
            rows.append(
                ("a click on Segment, over the pipeline's call", f"{1e3 * statistics.median(extra[2:]):.0f} ms")
            )
            process, used = psutil.Process(os.getpid()), {}
            for number in range(1, 51):
                click(page, ("Mina", "Leo")[number % 2])
                if number in (5, 50):
                    used[number] = process.memory_info().rss / 1e6
            rows.append(("memory after 5 and after 50 photos", f"{used[5]:.0f} MB, {used[50]:.0f} MB"))
            browser.close()
        demo.close()
    print("### The web page, on loopback, a 1280-pixel photo\n")
    print(table(("what", "measured"), rows))


if __name__ == "__main__":
    main()

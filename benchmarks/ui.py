"""The web page: its start, its first load, a click over the pipeline's own call, memory over fifty requests, and how
many actions two journeys take.

    python benchmarks/ui.py

Needs gradio, playwright and chromium. Works on the demo's people, so no test data.
"""

from __future__ import annotations

import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

sys.path.insert(0, str(Path(__file__).resolve().parent))
from _data import table
from _journeys import editor, fan

from identity_segmentation import IdentityAwareSegmentation, read_image, write_image
from identity_segmentation.demo import write_clip, write_example
from identity_segmentation.ui.page import Page
from identity_segmentation.ui.serving import launch

OPTIONS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]
READY = "name => document.querySelector('#segment_stage .status').textContent === 'Cut out: ' + name"


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


def start(scratch: Path, port: int) -> tuple[float, float]:
    """Run `idseg ui` where nobody is on file: (seconds until it listens, seconds of processor time until then)."""
    line = [sys.executable, "-m", "identity_segmentation", "ui", "--port", str(port), "--face-engine", "embedded"]
    root = str(Path(__file__).resolve().parent.parent)
    environment = os.environ | {"PYTHONPATH": root}
    started = time.perf_counter()
    server = subprocess.Popen(
        [*line, "--segmenter", "embedded"], cwd=scratch, env=environment,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        while server.poll() is None and time.perf_counter() - started < 120:
            try:
                socket.create_connection(("127.0.0.1", port)).close()
                break
            except OSError:
                time.sleep(0.02)
        seconds, used = time.perf_counter() - started, psutil.Process(server.pid).cpu_times()
        return seconds, used.user + used.system
    finally:
        server.terminate()
        server.wait()


def first_bytes(browser, address: str, element: str) -> int:
    """Bytes that a browser that has nothing of the page yet is sent for it, heads of answers included."""
    context = browser.new_context()
    page = context.new_page()
    session, sizes = context.new_cdp_session(page), []
    session.send("Network.enable")
    session.on("Network.loadingFinished", lambda event: sizes.append(event["encodedDataLength"]))
    page.goto(address)
    page.locator(element).first.wait_for(timeout=120_000)
    page.wait_for_timeout(3000)
    context.close()
    return round(sum(sizes))


def main() -> None:
    from playwright.sync_api import sync_playwright

    rows = []
    with tempfile.TemporaryDirectory() as scratch:
        starts = [start(Path(scratch), 7897) for _ in range(3)]
        wall, used = statistics.median(s for s, _ in starts), statistics.median(s for _, s in starts)
        rows.append(("from `idseg ui` to listening, median of 3", f"{wall:.1f} s ({used:.1f} s of processor time)"))
        dataset, pictures = write_example(Path(scratch) / "example")
        people = IdentityAwareSegmentation("embedded", "embedded", gallery=Path(scratch) / "gallery")
        people.build_gallery(dataset)
        photo = write_image(Path(scratch) / "photo.jpg", read_image(sorted(Path(pictures).glob("*.jpg"))[0]))
        demo = launch(Page(people, Path(scratch) / "web", demo=Path(scratch) / "demo"), port=7899)
        with sync_playwright() as running:
            browser = running.chromium.launch(executable_path=shutil.which("chromium"), headless=True, args=OPTIONS)
            for path, element in (("", "#segment_go"), ("demo/", "#demo_banner")):
                if path:  # made when it is first asked for
                    first_bytes(browser, demo.local_url + path, element)
                sent = first_bytes(browser, demo.local_url + path, element)
                rows.append((f"bytes of the first load of /{path}", f"{sent / 1e6:.2f} MB"))
            loads = []
            for _ in range(3):
                page = browser.new_page()
                started = time.perf_counter()
                page.goto(demo.local_url)
                page.locator("#segment_go").wait_for()
                loads.append(time.perf_counter() - started)
            rows.append(("first load to interactive", f"{loads[0]:.2f} s (again: {min(loads[1:]):.2f} s)"))
            page.locator("#segment_photo input[type=file]").first.set_input_files(str(photo))
            page.locator("#segment_stage .person").first.wait_for()
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
            clip = Path(write_clip(pictures, read_image(photo), 2.0))
            rows.append(
                (
                    "editor: a clip, a name corrected, ProRes 4444",
                    editor(browser.new_page(), demo.local_url, clip, Path(scratch)),
                )
            )
            nobody = IdentityAwareSegmentation("embedded", "embedded", gallery=Path(scratch) / "nobody")
            empty = launch(Page(nobody, Path(scratch) / "web2"), port=7898)
            done = fan(browser.new_page(), empty.local_url, Path(dataset), photo, Path(scratch))
            rows.append((f"fan: {len(nobody.gallery)} people from a folder of photos, and a cutout saved", done))
            empty.close()
            browser.close()
        demo.close()
    print("### The web page, on loopback, a 1280-pixel photo\n")
    print(table(("what", "measured"), rows))


if __name__ == "__main__":
    main()

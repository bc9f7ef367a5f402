"""What people come to the page for, done as they would do it: how many actions and seconds it takes.

An action is a click, a drop, or a name that is typed and entered. Times are of the whole journey, with the work of the
engines in it.
"""

from __future__ import annotations

import base64
import time
from pathlib import Path
from typing import Any

_DROP = """([selector, files]) => {
    const bytes = (data) => Uint8Array.from(atob(data), (c) => c.charCodeAt(0));
    const folder = (name, within) => ({ isFile: false, isDirectory: true, name, createReader() {
        let some = within;
        return { readEntries(good) { good(some); some = []; } };
    } });
    const people = [...new Set(files.map((f) => f.folder))].map((name) => folder(name,
        files.filter((f) => f.folder === name).map((f) => ({ isFile: true, isDirectory: false, name: f.name,
            file: (good) => good(new File([bytes(f.data)], f.name, { type: 'image/jpeg' })) }))));
    const event = new Event('drop', { bubbles: true, cancelable: true });
    Object.defineProperty(event, 'dataTransfer',
        { value: { types: ['Files'], files: [], items: [{ webkitGetAsEntry: () => folder('Dataset', people) }] } });
    document.querySelector(selector).dispatchEvent(event);
}"""


class Hand:
    """A visitor who counts what they do."""

    def __init__(self, page: Any):
        self.page, self.actions, self._begun = page, 0, time.perf_counter()

    def act(self, does: Any) -> Any:
        """Do one thing."""
        self.actions += 1
        return does()

    def figure(self) -> str:
        """Actions and seconds so far."""
        return f"{self.actions} actions, {time.perf_counter() - self._begun:.1f} s"


def _tab(page: Any, name: str) -> Any:
    return page.get_by_role("tab", name=name, exact=True).filter(visible=True).first


def fan(page: Any, address: str, dataset: Path, photo: Path, scratch: Path) -> str:
    """From nobody on file to everybody of a folder on file, and one of them cut out of a photo and saved."""
    page.goto(address)
    page.locator("#segment_go").wait_for(timeout=120_000)
    hand = Hand(page)
    hand.act(_tab(page, "People").click)
    names = sorted(folder.name for folder in dataset.iterdir() if folder.is_dir())
    files = [
        {"folder": name, "name": file.name, "data": base64.b64encode(file.read_bytes()).decode()}
        for name in names for file in sorted((dataset / name).iterdir())
    ]  # fmt: skip
    hand.act(lambda: page.evaluate(_DROP, ["#people_wall .keep", files]))
    page.wait_for_function(
        "n => document.querySelectorAll('#people_wall .card[data-id]').length === n", arg=len(names), timeout=120_000
    )
    hand.act(_tab(page, "Segment member").click)
    hand.act(lambda: page.locator("#segment_photo input[type=file]").first.set_input_files(str(photo)))
    person = page.locator("#segment_stage .person").first
    person.wait_for(timeout=60_000)
    hand.act(person.click)
    link = page.locator("#segment_stage a[download$='cutout.png']").first
    link.wait_for(timeout=60_000)
    with page.expect_download() as saved:
        hand.act(link.click)
    saved.value.save_as(scratch / "cutout.png")
    assert (scratch / "cutout.png").stat().st_size > 1000
    return hand.figure()


def editor(page: Any, address: str, clip: Path, scratch: Path) -> str:
    """From a clip to a transparent ProRes of somebody whom the page had under another name."""
    page.goto(address)
    hand = Hand(page)
    hand.act(lambda: _tab(page, "Video").click(timeout=120_000))
    hand.act(lambda: page.locator("#video_source input[type=file]").first.set_input_files(str(clip)))
    page.locator("#video_source video").first.wait_for(timeout=60_000)
    hand.act(page.locator("#video_ask [data-do=look]").click)
    face = page.locator("#video_tracks .row .strip button").first
    face.wait_for(timeout=300_000)
    hand.act(face.click)
    picks = page.locator("#video_tracks .who .picks [data-name]")
    other = next(pick for pick in picks.all() if pick.get_attribute("aria-pressed") != "true")
    name = other.get_attribute("data-name")
    hand.act(other.click)
    page.locator("#video_tracks .by_hand li").first.wait_for(timeout=60_000)
    hand.act(page.locator(f"#video_ask [data-name='{name}']").click)
    hand.act(page.locator("#video_ask [data-view=cutout]").click)
    hand.act(page.locator("#video_take [data-take=premiere]").click)
    link = page.locator("#video_files a[download$='.mov']").first
    link.wait_for(timeout=300_000)
    path = scratch / "cutout.mov"
    path.write_bytes(page.request.get(link.get_attribute("href")).body())
    assert path.stat().st_size > 10_000
    return hand.figure()

"""What the page's tests do on the stage of a photo: look at one, pick somebody, read what is shown and downloaded."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from page_fixtures import give

STAGE = "#segment_stage"


def file_of(value: dict, kind: str) -> Path:
    return Path(next(f["file"]["path"] for f in value["result"]["files"] if f["kind"] == kind))


def alpha_of(path) -> np.ndarray:
    return cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_UNCHANGED)[..., 3]


def recomposed(example) -> Path:
    return next(p for p in example[1].glob("*.jpg") if "recomposed" in p.name)


def read_unchanged(path) -> np.ndarray:
    return cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_UNCHANGED)


def ready(found, stage: str = STAGE) -> None:
    """Nothing is being worked on."""
    found.wait_for_function(
        "id => document.querySelector(id + ' .stage').getAttribute('aria-busy') !== 'true'", arg=stage, timeout=60_000
    )


def looked_at(found, photo, place: str = "segment") -> None:
    """Give a photo, and wait until everybody in it is a button."""
    before = found.locator(f"#{place}_stage .before").get_attribute("src")
    give(found, f"{place}_photo", photo)
    found.wait_for_function(
        """([id, before]) => {
            const img = document.querySelector(id + ' .before');
            return img.getAttribute('src') && img.getAttribute('src') !== before && img.naturalWidth > 0
                && document.querySelector(id + ' .person');
        }""",
        arg=[f"#{place}_stage", before], timeout=60_000,
    )  # fmt: skip


def pick(found, name: str, stage: str = STAGE, exact: bool = False):
    return found.locator(stage).get_by_role("button", name=name, exact=exact)


def said(found, text: str, stage: str = STAGE) -> str:
    """What the stage says, once it says this."""
    found.wait_for_function(
        "([id, text]) => document.querySelector(id + ' .status').textContent.includes(text)",
        arg=[stage, text], timeout=60_000,
    )  # fmt: skip
    return found.locator(f"{stage} .status").inner_text() + "\n" + found.locator(f"{stage} .evidence").inner_text()


def cut_out(found, name: str, stage: str = STAGE) -> None:
    said(found, f"Cut out: {name}", stage)
    found.wait_for_function(
        "id => { const i = document.querySelector(id + ' .after img'); return i.complete && i.naturalWidth > 0; }",
        arg=stage, timeout=30_000,
    )  # fmt: skip


def downloaded(found, kind: str, stage: str = STAGE) -> tuple[str, np.ndarray]:
    """(name, picture) of what a link of the stage gives."""
    with found.expect_download() as download:
        found.locator(f"{stage} .files a[data-kind={kind}]").click()
    return download.value.suggested_filename, read_unchanged(download.value.path())


def click_at(found, point, size, stage: str = STAGE) -> None:
    """Click a place of the photo, (x, y) in its pixels."""
    box = found.locator(f"{stage} .stage").bounding_box()
    found.mouse.click(box["x"] + box["width"] * point[0] / size[0], box["y"] + box["height"] * point[1] / size[1])


def pixel_at(found, share: tuple[float, float], stage: str = STAGE) -> list[int]:
    """RGB of the screen at a place of the stage, given in shares of its size."""
    area = found.locator(f"{stage} .stage")
    shown = cv2.imdecode(np.frombuffer(area.screenshot(animations="disabled"), np.uint8), cv2.IMREAD_COLOR)
    return shown[int(share[1] * shown.shape[0]), int(share[0] * shown.shape[1])][::-1].tolist()

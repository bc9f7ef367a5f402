"""What is made fast draws the same pictures: each is held against a plain way of making it, written here."""

from __future__ import annotations

from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from fakes import draw
from PIL import Image, ImageDraw

from identity_segmentation import annotate, cutout, overlay
from identity_segmentation import drawing as drawing_module
from identity_segmentation.fonts import font_runs
from identity_segmentation.geometry import decode_rle, encode_rle, follow_edges, whole_box
from identity_segmentation.images import blurred, mixed
from identity_segmentation.types import Face, Match, Segment, Sighting
from identity_segmentation.video.flow import to_full
from identity_segmentation.video.views import Views


def picture(height, width, seed=0):
    """Smooth ground with hard edges and some noise, as a frame has them."""
    dice = np.random.default_rng(seed)
    ground = cv2.resize(
        dice.integers(0, 256, (6, 8, 3), dtype=np.uint8), (width, height), interpolation=cv2.INTER_CUBIC
    )
    for _ in range(6):
        x, y = (int(v) for v in dice.integers(0, (width, height)))
        cv2.circle(ground, (x, y), max(2, height // 8), tuple(int(v) for v in dice.integers(0, 256, 3)), -1)
    return cv2.add(ground, dice.integers(0, 12, ground.shape, dtype=np.uint8))


def figure(height, width, x, y, size, soft):
    """A head on a body with a gap beside the arm, and a rim some pixels wide."""
    matte = np.zeros((height, width), np.uint8)
    cv2.circle(matte, (x, y - size), size // 2, 255, -1)
    cv2.ellipse(matte, (x, y + size // 2), (size, size + size // 2), 0, 0, 360, 255, -1)
    cv2.circle(matte, (x + size // 2, y + size // 2), max(1, size // 8), 0, -1)
    return cv2.GaussianBlur(matte, (soft, soft), 0)


SHAPES = {"even": (216, 384), "odd": (239, 319), "narrow": (331, 61)}
MATTES = ("inside", "border", "two", "faint", "half", "full", "speck", "empty")


def matte_of(kind, shape):
    height, width = shape
    size = min(height, width) // 6
    inside = figure(height, width, width // 2, height // 2, size, 9)
    both = np.maximum(inside, figure(height, width, width // 5, height // 3, size // 2, 5))
    speck = np.zeros(shape, np.uint8)
    speck[height - 1, width - 1] = 255
    wash = cv2.GaussianBlur(inside, (0, 0), size)  # much of it mixed, and far from what is opaque
    return {
        "inside": inside, "border": figure(height, width, 3, height - size, size * 2, 15), "two": both,
        "faint": inside // 3, "half": np.maximum(wash, inside), "full": np.full(shape, 255, np.uint8), "speck": speck,
        "empty": np.zeros(shape, np.uint8),
    }[kind]  # fmt: skip


@pytest.fixture(params=[(kind, name) for kind in MATTES for name in SHAPES], ids="-".join)
def case(request):
    kind, name = request.param
    matte = matte_of(kind, SHAPES[name])
    return picture(*SHAPES[name]), Segment(matte > 127, 1.0, whole_box(matte.shape), "test", matte)


def seen(segment, name="안유진"):
    return Sighting(
        Match(Face([5.3, 6.1, 30.7, 35.2], 1.0), name, 0.9, 0.3, "Zoe", name, "face"), segment, None, "face"
    )


def colour_of(name):
    return (40, 90, 200)


# ---- masks


def test_run_lengths_are_those_of_coco(case):
    from pycocotools import mask as coco

    for mask in (case[1].mask, ~case[1].mask, case[1].alpha > 0):
        code = coco.encode(np.asfortranarray(mask.astype(np.uint8)))
        assert encode_rle(mask) == {"size": list(mask.shape), "counts": code["counts"].decode()}
        assert (decode_rle(encode_rle(mask)) == mask).all()


def test_run_lengths_of_any_little_mask_are_those_of_coco():
    from pycocotools import mask as coco

    dice = np.random.default_rng(3)
    for _ in range(300):
        mask = dice.random(tuple(dice.integers(1, 7, 2))) < dice.random()
        assert encode_rle(mask)["counts"] == coco.encode(np.asfortranarray(mask.astype(np.uint8)))["counts"].decode()
        assert encode_rle(np.asfortranarray(mask)) == encode_rle(mask)


# ---- drawing


def plain_outline(image, mask, colour, width):
    contours, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(image, contours, -1, colour, width, cv2.LINE_AA)


@pytest.mark.parametrize("opacity", [0.0, 0.35, 0.5, 1.0])
def test_an_overlay_is_the_plain_mixture(case, opacity):
    image, segment = case
    share = segment.alpha[..., None].astype(np.float32) * (opacity / 255.0)
    expected = (image * (1 - share) + share * np.array(colour_of(""), np.float32)).round().astype(np.uint8)
    plain_outline(expected, segment.mask, colour_of(""), 1)
    if not segment.mask.any():
        expected = image
    assert (overlay(image, [seen(segment)], colour_of, opacity) == expected).all()


def test_an_outline_is_that_of_the_whole_mask(case):
    image, segment = case
    expected = image.copy()
    plain_outline(expected, segment.mask, colour_of(""), 1)
    cv2.rectangle(expected, (5, 6), (31, 35), colour_of(""), 1)
    assert (annotate(image, [seen(segment)], colour_of, labels=False) == expected).all()


def plain_cutout(image, alpha):
    if not (alpha > 127).any():
        return np.zeros((*alpha.shape, 4), np.uint8)
    rows, columns = np.flatnonzero(alpha.any(1)), np.flatnonzero(alpha.any(0))
    view = (slice(max(0, rows[0] - 2), rows[-1] + 3), slice(max(0, columns[0] - 2), columns[-1] + 3))
    colours, matte = image[view].astype(np.float32), alpha[view]
    solid, missing = (matte >= 250).astype(np.float32), (matte > 0) & (matte < 250)
    if not solid.any():
        return np.dstack([image, alpha])
    estimate, radius = colours.copy(), max(2, round(0.004 * max(matte.shape)))
    for _ in range(6):
        weight = cv2.blur(solid, (2 * radius + 1, 2 * radius + 1))
        total = cv2.blur(colours * solid[..., None], (2 * radius + 1, 2 * radius + 1))
        ready = missing & (weight > 1e-4)
        estimate[ready] = total[ready] / weight[ready][:, None]
        missing &= ~ready
        radius *= 2
    share = (matte.astype(np.float32) / 255.0)[..., None] ** 2
    result = np.zeros_like(image)
    result[view] = np.where(matte[..., None] > 0, (share * colours + (1 - share) * estimate).round(), 0)
    return np.dstack([result, alpha])


def test_a_cutout_takes_its_rim_from_the_opaque_pixels_around(case):
    image, segment = case
    found, expected = cutout(image, segment), plain_cutout(image, segment.alpha)
    assert (found == expected).all()
    if not segment.mask.any():
        return
    rows, columns = np.flatnonzero(segment.alpha.any(1)), np.flatnonzero(segment.alpha.any(0))
    for pad in (0, 1, 8):
        part = expected[max(0, rows[0] - pad) : rows[-1] + 1 + pad, max(0, columns[0] - pad) : columns[-1] + 1 + pad]
        assert np.array_equal(cutout(image, segment, crop=True, pad=pad), part)


def test_a_cutout_whose_matte_is_nowhere_opaque_keeps_its_colours():
    image, matte = picture(90, 120), np.minimum(matte_of("inside", (90, 120)), 200)
    assert (cutout(image, Segment(matte > 127, 1, whole_box(matte.shape), "test", matte))[..., :3] == image).all()


# ---- labels

NAMES = ("Wonyoung 0.87", "장원영 0.91", "วอนยอง 0.66", "ปู่ฟ้า กี้ญี่", "直井怜 (0.70, group)", "Aǵ̂̂̂̂̂̂", "j", "레이 Rei วว")


def plain_labels(scene, tags):
    """All of the picture to Pillow and back; where the plates go is asked of the module."""
    height, width = scene.shape[:2]
    size = int(np.clip(max(height, width) / 48, 11, 64))
    canvas = Image.fromarray(np.ascontiguousarray(scene[:, :, ::-1]))
    pen, placed = ImageDraw.Draw(canvas), []
    faces = [tuple(float(v) for v in box) for box, _, _ in tags]
    for box, text, colour in sorted(tags, key=lambda tag: float(tag[0][1])):
        runs, pad = font_runs(text, size), max(2, size // 6)
        ascent = max(font.getmetrics()[0] for _, font in runs)
        tall = ascent + max(font.getmetrics()[1] for _, font in runs) + 2 * pad
        wide = sum(font.getlength(part) for part, font in runs) + 2 * pad
        x, y = drawing_module._free_place(box, wide, tall, width, height, placed, faces)
        placed.append((x, y, x + wide, y + tall))
        pen.rectangle((x, y, x + wide, y + tall), fill=colour[::-1])
        ink = (0, 0, 0) if 0.114 * colour[0] + 0.587 * colour[1] + 0.299 * colour[2] > 130 else (255, 255, 255)
        x += pad
        for part, font in runs:
            pen.text((x, y + pad + ascent), part, font=font, fill=ink, anchor="ls")
            x += font.getlength(part)
    return np.asarray(canvas)[:, :, ::-1]


@pytest.mark.parametrize("shape", [(360, 640), (241, 333), (20, 40), (1080, 1920)])
def test_labels_anywhere_are_those_drawn_on_the_whole_picture(shape):
    scene, dice = picture(*shape), np.random.default_rng(5)
    for _ in range(12 if shape[0] < 1000 else 3):
        tags = []
        for text in dice.choice(NAMES, 3):
            x, y = dice.random(2) * shape[::-1] * 1.2 - 0.1 * min(shape)  # some at the border, some over it
            tags.append(
                (np.array([x, y, x + 31.7, y + 40.3]), str(text), tuple(int(v) for v in dice.integers(0, 256, 3)))
            )
        before = scene.copy()
        assert (drawing_module.draw_labels(scene, tags) == plain_labels(scene, tags)).all(), tags
        assert (scene == before).all()


def test_a_label_seen_again_is_not_written_again(monkeypatch):
    scene = picture(240, 320)
    tags = [(np.array([50.25, 60.5, 90, 100]), "장원영 0.91", (1, 2, 3))]
    first = drawing_module.draw_labels(scene, tags)
    monkeypatch.setattr(drawing_module, "_draw_plate", lambda *_: pytest.fail("written again"))
    assert (drawing_module.draw_labels(scene, tags) == first).all()
    assert drawing_module._plate.cache_parameters()["maxsize"] is not None


# ---- blur


@pytest.mark.parametrize("shape", [(216, 384), (239, 319), (240, 333), (360, 640), (24, 48), (720, 1280)])
@pytest.mark.parametrize("times", [16, 24])
def test_a_part_is_blurred_as_the_whole_is_there(shape, times):
    image, dice = picture(*shape), np.random.default_rng(7)
    small = cv2.resize(image, None, fx=1 / times, fy=1 / times, interpolation=cv2.INTER_AREA)
    expected = cv2.resize(cv2.GaussianBlur(small, (3, 3), 0), shape[::-1], interpolation=cv2.INTER_LINEAR)
    assert (blurred(image, times) == expected).all()
    for _ in range(25):
        (x0, x1), (y0, y1) = (sorted(int(v) for v in dice.choice(side + 1, 2, replace=False)) for side in shape[::-1])
        assert (blurred(image, times, (x0, y0, x1, y1)) == expected[y0:y1, x0:x1]).all(), (x0, y0, x1, y1)


def test_one_picture_is_laid_over_another_by_the_matte(case):
    below, segment = case
    above, share = picture(*below.shape[:2], seed=1), segment.alpha[..., None].astype(np.float32) / 255
    assert (mixed(below, above, segment.alpha) == (above * share + below * (1 - share)).round()).all()


# ---- views of a video


def view_of(view, background=None):
    return Views(view, {}, None, "none", background)


@pytest.mark.parametrize("background", [(64, 177, 0), None])
def test_a_cutout_view_is_the_person_on_its_background(case, background):
    image, segment = case
    person = plain_cutout(image, segment.alpha)
    person[..., 3] = segment.alpha
    if background is not None:
        share = segment.alpha[..., None].astype(np.float32) / 255
        person = (person[..., :3] * share + np.array([64, 177, 0], np.float32) * (1 - share)).round()
    cutouts = view_of("cutout", background)
    placed = SimpleNamespace(frame=SimpleNamespace(image=image), heads={})

    def cut(mattes, wanted):
        return cutouts.picture(placed, mattes, {}, wanted)

    assert (cut({"Ada": segment.alpha}, ["Ada"]) == person).all()
    both = {"Ada": segment.alpha, "Bo": np.roll(segment.alpha, 9, axis=1)}
    union = np.maximum(*both.values())
    assert (cut(both, ["Ada", "Bo", "Cy"]) == cut({"Ada": union}, ["Ada"])).all()
    assert (view_of("matte").picture(placed, both, {}, ["Ada", "Bo", "Cy"]) == union).all()


# ---- edges


def test_the_fast_filter_moves_an_edge_as_the_filter_itself_does():
    true = cv2.resize(figure(90, 160, 80, 50, 20, 1), (640, 360), interpolation=cv2.INTER_LINEAR) > 127
    image = np.where(true[..., None], (40, 60, 200), (180, 160, 90)).astype(np.uint8)
    coarse = cv2.resize(true.astype(np.float32), (160, 90), interpolation=cv2.INTER_AREA)
    values = np.roll(cv2.resize(coarse, (640, 360), interpolation=cv2.INTER_LINEAR), 2, axis=1)  # beside the edge
    exact, fast = follow_edges(image, values, 6), follow_edges(image, values, 6, shrink=2)
    assert fast.dtype == np.float32 and fast.min() >= 0 and fast.max() <= 1
    wrong = [np.count_nonzero((v > 0.5) != true) for v in (values, exact, fast)]
    assert wrong[2] < 0.5 * wrong[0] and np.abs(exact - fast).mean() < 0.01
    assert (follow_edges(image, values, 6, shrink=1) == exact).all()
    # What is as good as inside or outside stays as it was.
    busy, near = picture(360, 640), cv2.blur(values, (13, 13))
    sure = ((near > 0) & (near < 0.01)) | ((near < 1) & (near > 0.99))
    fast, all_over = (follow_edges(busy, values, 6, rim=rim, shrink=2) for rim in (True, False))
    assert (fast == values)[sure].mean() > 0.8 > (all_over == values)[sure].mean()


@pytest.mark.parametrize("size", [(480, 270), (1920, 1080), (1919, 1079), (3840, 2160), (300, 200)])
def test_a_working_matte_becomes_one_of_any_size(size):
    width, height = size
    small = (min(480, width), round(height * min(480, width) / width))
    values, whole = figure(small[1], small[0], small[0] // 2, small[1] - 60, 50, 5), (0, 0, *small)
    full = to_full(values, whole, small, np.full((height, width, 3), 90, np.uint8))
    assert full.shape == (height, width) and full.dtype == np.uint8 and full.max() == 255
    wanted = cv2.resize(values, size, interpolation=cv2.INTER_LINEAR) > 127
    assert np.count_nonzero(wanted ^ (full > 127)) < 0.03 * np.count_nonzero(wanted)
    assert to_full(np.zeros_like(values), whole, small, draw(size=(height, width))).max() == 0

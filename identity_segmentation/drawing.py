"""Sightings and a picture -> annotated picture, colour overlay, RGBA cutout. (Notebook section 5.)

Each function takes a picture and returns a new one; none changes what it was given.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from functools import lru_cache

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from .fonts import font_runs
from .geometry import mask_box, mask_extent, soft_alpha
from .images import half_clear, pixels_at, put_pixels
from .types import Match, Segment, Sighting, as_image

logger = logging.getLogger(__name__)

STRANGER_BGR = (150, 150, 150)
_DEFAULT_BGR = (233, 180, 86)
ColourOf = Callable[[str], tuple[int, int, int]]


def annotate(
    scene: np.ndarray, sightings: Sequence[Sighting], colour_of: ColourOf | None = None, labels: bool = True
) -> np.ndarray:
    """Boxes, outlines and names: "Wonyoung 0.87"; strangers in grey as "unknown".

    A person of whom only the body is seen has a thin grey box around all of it. A name given only by reading the whole
    group has its similarity in brackets with "group".

    Args:
        scene: uint8 (H, W, 3), BGR.
        sightings: of one picture.
        colour_of: a person's name -> (b, g, r).
        labels: draw the names.
    """
    result = as_image(scene).copy()
    width = _line_width(result.shape)
    for sighting in sightings:
        colour = _colour(sighting, colour_of)
        if sighting.segment is not None:
            _outline(result, sighting.segment.mask, colour, width)
        if sighting.match is not None:
            x0, y0, x1, y1 = (round(float(v)) for v in sighting.match.face.box)
            cv2.rectangle(result, (x0, y0), (x1, y1), colour, width)
        elif sighting.body is not None:
            x0, y0, x1, y1 = (round(float(v)) for v in sighting.body)
            cv2.rectangle(result, (x0, y0), (x1, y1), STRANGER_BGR, max(1, width // 2))
    if labels:
        tags = [(s.match.face.box, _label(s.match), _colour(s, colour_of)) for s in sightings if s.match]
        tags += [(s.body, "unknown", STRANGER_BGR) for s in sightings if s.match is None and s.body is not None]
        _put_labels(result, tags)
    return result


def overlay(
    scene: np.ndarray, sightings: Sequence[Sighting], colour_of: ColourOf | None = None, opacity: float = 0.5
) -> np.ndarray:
    """The people's pixels tinted in their colours, with a thin outline; everything else untouched.

    Args:
        scene: uint8 (H, W, 3), BGR.
        sightings: of one picture; those without pixels are left out.
        colour_of: a person's name -> (b, g, r).
        opacity: of the tint, 0..1.
    """
    result = as_image(scene).copy()
    drawn = [(s.segment, _colour(s, colour_of)) for s in sightings if s.segment is not None and s.segment.mask.any()]
    _tint(result, drawn, opacity)
    return result


def overlay_labels(
    scene: np.ndarray,
    things: Sequence[tuple[Segment, str, tuple[int, int, int]]],
    opacity: float = 0.4,
    boxes: bool = True,
) -> np.ndarray:
    """Things tinted and outlined in their colours, each with its text, and its box unless `boxes` is False.

    Args:
        scene: uint8 (H, W, 3), BGR.
        things: (segment, text, (b, g, r)); those without pixels are left out.
    """
    result = as_image(scene).copy()
    things = [thing for thing in things if thing[0].mask.any()]
    _tint(result, [(segment, colour) for segment, _, colour in things], opacity)
    for segment, _, colour in things if boxes else ():
        x0, y0, x1, y1 = (int(v) for v in segment.box)
        cv2.rectangle(result, (x0, y0), (x1 - 1, y1 - 1), colour, max(1, _line_width(result.shape) // 2))
    _put_labels(result, [(segment.box, text, colour) for segment, text, colour in things if text])
    return result


def _tint(result: np.ndarray, drawn: Sequence[tuple[Segment, tuple[int, int, int]]], opacity: float) -> None:
    for segment, colour in drawn:
        matte = soft_alpha(segment)
        x0, y0, x1, y1 = mask_extent(matte > 0)
        part, matte, ink = result[y0:y1, x0:x1], matte[y0:y1, x0:x1], np.array(colour, np.float32)[:, None]
        shares = np.arange(256, dtype=np.float32) * (opacity / 255.0)  # of each level of a matte
        # Within the rim the tint is the same everywhere, so a pixel's new value follows from its old one alone.
        levels = np.arange(256, dtype=np.float32) * (1 - shares[255]) + shares[255] * ink
        tinted = cv2.LUT(part, levels.round().astype(np.uint8).T[None])
        rim = half_clear(matte)
        share = shares.take(matte.ravel().take(rim))
        put_pixels(tinted, rim, pixels_at(part, rim) * (1 - share) + share * ink)
        cv2.copyTo(tinted, matte, part)
    for segment, colour in drawn:
        _outline(result, segment.mask, colour, max(1, _line_width(result.shape) // 2))


def _outline(result: np.ndarray, mask: np.ndarray, colour: tuple[int, int, int], width: int) -> None:
    box = mask_box(mask)
    if box is None:
        return
    x0, y0, x1, y1 = (int(v) for v in box)
    code = mask[y0:y1, x0:x1].astype(np.uint8)
    contours, _ = cv2.findContours(code, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE, offset=(x0, y0))
    cv2.drawContours(result, contours, -1, colour, width, cv2.LINE_AA)


def cutout(scene: np.ndarray, segment: Segment | None, crop: bool = False, pad: int = 8) -> np.ndarray:
    """The person alone: uint8 (H, W, 4) BGRA with soft edges.

    The rim's colours are taken from inside the person, so that no halo of the old background shows on a new one.

    Args:
        scene: uint8 (H, W, 3), BGR.
        segment: whose pixels; None or empty gives a fully transparent picture.
        crop: return only the person's box, `pad` pixels larger.
        pad: pixels, 0 or more.
    """
    scene = as_image(scene)
    height, width = scene.shape[:2]
    if segment is None or not segment.mask.any():
        return np.zeros((height, width, 4), np.uint8)
    alpha = soft_alpha(segment)
    x0, y0, x1, y1 = mask_extent(alpha > 0)
    left, top, right, bottom = 0, 0, width, height
    if crop:
        left, top, right, bottom = max(0, x0 - pad), max(0, y0 - pad), min(width, x1 + pad), min(height, y1 + pad)
    # What is looked at is two pixels larger than the person.
    x0, y0, x1, y1 = max(0, x0 - 2), max(0, y0 - 2), min(width, x1 + 2), min(height, y1 + 2)
    colours = _decontaminate(scene[y0:y1, x0:x1], alpha[y0:y1, x0:x1])
    if colours is None:  # nothing of the person is opaque
        return np.dstack([scene, alpha])[top:bottom, left:right]
    result = np.zeros((height, width, 4), np.uint8)  # untouched memory costs nothing
    matte, person = alpha[y0:y1, x0:x1], cv2.cvtColor(colours, cv2.COLOR_BGR2BGRA)
    cv2.insertChannel(matte, person, 3)
    cv2.copyTo(person, matte, result[y0:y1, x0:x1])
    return result[top:bottom, left:right]


def _decontaminate(colours: np.ndarray, matte: np.ndarray) -> np.ndarray | None:
    """Estimate the foreground's own colour where it is mixed with background; None if nothing is opaque.

    Each half-transparent pixel takes the average colour of the opaque pixels around it, from the smallest
    neighbourhood (4, 8, 16 ... pixels) that holds any.
    """
    solid = cv2.compare(matte, 249, cv2.CMP_GT)
    if not solid.any():
        return None
    rim = half_clear(matte, 250)
    mixture = pixels_at(colours, rim)
    estimate = mixture.copy()
    rows, columns = np.divmod(rim, matte.shape[1])
    missing = np.arange(len(rim))
    opaque = cv2.copyTo(cv2.cvtColor(colours, cv2.COLOR_BGR2BGRA), solid)  # its fourth channel counts, in steps of 255
    radius = max(2, round(0.004 * max(matte.shape)))
    furthest, sums = 32 * radius, None
    for _ in range(6):
        if not len(missing):
            break
        if sums is None or radius > sums.reach:
            sums = _Sums(opaque, rows[missing], columns[missing], min(8 * radius, furthest))
        around = sums.around(rows[missing], columns[missing], radius)
        around[3] //= 255
        means = (around * (1 / (2 * radius + 1) ** 2)).astype(np.float32)
        ready = means[3] > 1e-4
        estimate[:, missing[ready]] = means[:3, ready] / means[3, ready]
        missing = missing[~ready]
        radius *= 2
    # The more opaque a pixel, the more of its own colour it keeps.
    share = (matte.ravel().take(rim).astype(np.float32) / 255.0) ** 2
    result = colours.copy()
    put_pixels(result, rim, (share * mixture + (1 - share) * estimate).clip(0, 255))
    return result


class _Sums:
    """Sums over squares around some pixels of uint8 (H, W, 4), mirrored at its border; none is to reach further than
    `reach` from its pixel."""

    def __init__(self, values: np.ndarray, rows: np.ndarray, columns: np.ndarray, reach: int):
        self.reach = reach
        self.top, self.left = max(0, int(rows.min()) - reach), max(0, int(columns.min()) - reach)
        near = values[self.top : int(rows.max()) + reach + 1, self.left : int(columns.max()) + reach + 1]
        near = cv2.copyMakeBorder(near, reach, reach, reach, reach, cv2.BORDER_REFLECT_101)
        sums = cv2.integral(near, sdepth=cv2.CV_32S)
        self.width, self.table = sums.shape[1], sums.reshape(-1, 4)

    def around(self, rows: np.ndarray, columns: np.ndarray, radius: int) -> np.ndarray:
        """int32 (4, N) of N pixels."""
        side, inset = 2 * radius + 1, self.reach - radius
        at = (rows - self.top + inset) * self.width + columns - self.left + inset
        # Of a huge picture the sums run over, and their differences are right all the same.
        lower = self.table.take(at + side * self.width + side, axis=0) - self.table.take(at + side * self.width, axis=0)
        upper = self.table.take(at + side, axis=0) - self.table.take(at, axis=0)
        return np.ascontiguousarray((lower - upper).T)


def _label(match: Match) -> str:
    if match.name is None:
        return "unknown"
    if match.basis == "group":
        return f"{match.name} ({match.similarity:.2f}, group)"
    return f"{match.name} {match.similarity:.2f}"


def _colour(sighting: Sighting, colour_of: ColourOf | None) -> tuple[int, int, int]:
    if sighting.match is not None and sighting.match.name is None:
        return STRANGER_BGR
    if sighting.name is None or colour_of is None:
        return _DEFAULT_BGR
    return colour_of(sighting.name)


def _line_width(shape) -> int:
    return max(1, round(max(shape[:2]) / 500))


def timeline(
    rows: Sequence[tuple[str, tuple[int, int, int], Sequence[tuple[float, float]]]], seconds: float, width: int = 1000
) -> np.ndarray:
    """Who is on screen when: a row per person, a bar per span, seconds along the bottom.

    Args:
        rows: (name, (b, g, r), [(from, to) in seconds]).
        seconds: length of the whole.
        width: of the picture, in pixels.

    Returns:
        uint8 (H, W, 3), BGR.
    """
    tall, left, top, bottom = 34, 170, 44, 34  # the top is left to a caption
    canvas = np.full((tall * max(1, len(rows)) + bottom + top, width, 3), 255, np.uint8)
    scale = (width - left - 20) / max(seconds, 1e-3)
    foot = canvas.shape[0] - bottom
    for number, (_, colour, spans) in enumerate(rows):
        y = top + number * tall
        cv2.line(canvas, (left, y + tall // 2), (width - 20, y + tall // 2), (225, 225, 225), 1)
        for begin, end in spans:
            x0, x1 = (round(left + scale * min(max(t, 0), seconds)) for t in (begin, end))
            cv2.rectangle(canvas, (x0, y + 6), (max(x1, x0 + 2), y + tall - 8), colour, -1)
    picture = Image.fromarray(np.ascontiguousarray(canvas[:, :, ::-1]))
    draw = ImageDraw.Draw(picture)
    for number, (name, _, _) in enumerate(rows):
        _write(draw, name if len(name) <= 18 else name[:17] + "…", 8, top + number * tall + 24, 18)
    step = next(s for s in (0.5, 1, 2, 5, 10, 30, 60, 300, 600, 1800, 3600, 36000) if seconds / s <= 12 or s == 36000)
    for tick in np.arange(0, seconds + 1e-6, step).tolist():
        x = left + scale * tick
        draw.line((x, foot, x, foot + 6), fill=(90, 90, 90))
        _write(
            draw, f"{tick:g} s" if seconds < 120 else f"{int(tick) // 60}:{int(tick) % 60:02d}", x - 8, foot + 24, 15
        )
    return np.ascontiguousarray(np.asarray(picture)[:, :, ::-1])


def titled(scene: np.ndarray, title: str, size: int = 18) -> np.ndarray:
    """A picture under a line of text in any script.

    Args:
        scene: uint8 (H, W, 3), BGR.
        title: what cannot be held by the picture's width is left out.
        size: of the letters, in pixels.

    Returns:
        uint8 (H + about 2 size, W, 3).
    """
    band = Image.new("RGB", (scene.shape[1], 2 * size), (255, 255, 255))
    _write(ImageDraw.Draw(band), title, size // 2, 3 * size // 2 - 2, size)
    return np.vstack([np.asarray(band)[:, :, ::-1], scene])


def matrix_picture(names: Sequence[str], values: np.ndarray) -> np.ndarray:
    """A square of similarities as a picture: a numbered row and column per name, darker where they are alike.

    Args:
        names: P of them; the first 60 are drawn.
        values: float (P, P), -1..1; nan is left blank.

    Returns:
        uint8 (H, W, 3), BGR.
    """
    names, values = names[:60], values[:60, :60]
    cell, left, top = 44, 210, 44
    side = cell * max(1, len(names))
    canvas = np.full((top + side + 10, left + side + 10, 3), 255, np.uint8)
    for row, column in np.argwhere(~np.isnan(values)).tolist():
        share = float(np.clip(values[row, column], 0, 1))
        colour = tuple(round(255 - share * (255 - end)) for end in (178, 114, 0))
        y, x = top + row * cell, left + column * cell
        cv2.rectangle(canvas, (x, y), (x + cell - 2, y + cell - 2), colour, -1)
    picture = Image.fromarray(np.ascontiguousarray(canvas[:, :, ::-1]))
    draw = ImageDraw.Draw(picture)
    for number, name in enumerate(names):
        label = f"{number + 1} {name}"
        _write(draw, label if len(label) <= 22 else label[:21] + "…", 8, top + number * cell + 28, 16)
        _write(draw, str(number + 1), left + number * cell + 14, top - 12, 15)
    for row, column in np.argwhere(~np.isnan(values)).tolist():
        value = float(values[row, column])
        ink = (255, 255, 255) if value > 0.5 else (30, 30, 30)
        _write(draw, f"{value:.2f}".replace("0.", "."), left + column * cell + 9, top + row * cell + 28, 14, ink)
    return np.ascontiguousarray(np.asarray(picture)[:, :, ::-1])


def _write(
    draw: ImageDraw.ImageDraw, text: str, x: float, y: float, size: int, ink: tuple[int, int, int] = (30, 30, 30)
) -> None:
    """A line of text in any script, from its left end on the baseline."""
    for part, font in font_runs(text, size):
        draw.text((x, y), part, font=font, fill=ink, anchor="ls")
        x += font.getlength(part)


def draw_labels(scene: np.ndarray, tags: Sequence[tuple[np.ndarray, str, tuple[int, int, int]]]) -> np.ndarray:
    """Text on coloured plates above boxes, kept inside the picture and off one another.

    Args:
        scene: uint8 (H, W, 3), BGR.
        tags: (box xyxy, text, (b, g, r)).
    """
    if not tags:
        return scene
    result = scene.copy()
    _put_labels(result, tags)
    return result


def _put_labels(result: np.ndarray, tags: Sequence[tuple[np.ndarray, str, tuple[int, int, int]]]) -> None:
    height, width = result.shape[:2]
    size = int(np.clip(max(height, width) / 48, 11, 64))
    placed: list[tuple[float, float, float, float]] = []
    faces = [tuple(float(v) for v in box) for box, _, _ in tags]
    for box, text, colour in sorted(tags, key=lambda tag: float(tag[0][1])):
        runs = tuple(font_runs(text, size))
        wide, tall, _, _ = _plate_size(runs, size)
        x, y = _free_place(box, wide, tall, width, height, placed, faces)
        placed.append((x, y, x + wide, y + tall))
        _put_plate(result, runs, size, colour, x, y)


_Runs = tuple[tuple[str, ImageFont.FreeTypeFont], ...]


@lru_cache(maxsize=256)
def _plate_size(runs: _Runs, size: int) -> tuple[float, int, int, int]:
    """Width and height of a plate, and how far its text's baseline and left end are from its top left corner."""
    pad = max(2, size // 6)
    ascent = max(font.getmetrics()[0] for _, font in runs)
    descent = max(font.getmetrics()[1] for _, font in runs)
    wide = sum(font.getlength(part) for part, font in runs) + 2 * pad
    return wide, ascent + descent + 2 * pad, ascent + pad, pad


def _put_plate(result: np.ndarray, runs: _Runs, size: int, colour: tuple[int, int, int], x: float, y: float) -> None:
    left, top = int(x), int(y)
    # Fonts measure in 64ths of a pixel, to which places are rounded: within half of one, all look the same.
    plate = _plate(runs, size, colour, int(128 * (x - left)), int(128 * (y - top)))
    if plate is None:
        canvas = Image.fromarray(np.ascontiguousarray(result[:, :, ::-1]))
        _draw_plate(ImageDraw.Draw(canvas), runs, size, colour, x, y)
        result[:] = np.asarray(canvas)[:, :, ::-1]
        return
    part = result[top : top + plate.shape[0], left : left + plate.shape[1]]
    part[:] = plate[: part.shape[0], : part.shape[1]]  # a plate may be larger than a tiny picture


@lru_cache(maxsize=128)
def _plate(runs: _Runs, size: int, colour: tuple[int, int, int], right: int, down: int) -> np.ndarray | None:
    """uint8 (h, w, 3), BGR: a plate that begins so many 128ths of a pixel right and down of a pixel; None if its text
    reaches over it, as then it looks different on every picture."""
    wide, tall, _, _ = _plate_size(runs, size)
    margin = size  # no letter reaches further
    corner = (margin + (right + 0.5) / 128, margin + (down + 0.5) / 128)
    canvas = Image.new("RGB", (int(wide) + 2 * margin + 2, tall + 2 * margin + 2), colour[::-1])
    _draw_plate(ImageDraw.Draw(canvas), runs, size, colour, *corner)
    picture = np.asarray(canvas)[:, :, ::-1]
    inside = (slice(margin, int(corner[1] + tall) + 1), slice(margin, int(corner[0] + wide) + 1))
    written = picture != np.array(colour, np.uint8)
    if np.count_nonzero(written) > np.count_nonzero(written[inside]):
        return None
    plate = np.ascontiguousarray(picture[inside])
    plate.setflags(write=False)  # everybody gets the same one
    return plate


def _draw_plate(
    draw: ImageDraw.ImageDraw, runs: _Runs, size: int, colour: tuple[int, int, int], x: float, y: float
) -> None:
    wide, tall, baseline, pad = _plate_size(runs, size)
    draw.rectangle((x, y, x + wide, y + tall), fill=colour[::-1])
    ink = (0, 0, 0) if 0.114 * colour[0] + 0.587 * colour[1] + 0.299 * colour[2] > 130 else (255, 255, 255)
    cursor = x + pad
    for part, font in runs:
        draw.text((cursor, y + baseline), part, font=font, fill=ink, anchor="ls")
        cursor += font.getlength(part)


def _free_place(box, wide, tall, width, height, placed, faces) -> tuple[float, float]:
    """Top left corner for a plate at a box: above, below, then beside it, wherever it hides least."""
    x0, y0, x1, y1 = (float(v) for v in box)
    spots = [(x0, y0 - tall), (x1 - wide, y0 - tall), (x0, y1), (x1 - wide, y1), (x1, y0), (x0 - wide, y0)]
    spots += [(x0, y0 - 2 * tall), (x0, y1 + tall)]

    def hidden(spot: tuple[float, float]) -> float:
        area = (spot[0], spot[1], spot[0] + wide, spot[1] + tall)
        return sum(_shared(area, p) for p in placed) * 3 + sum(_shared(area, f) for f in faces)

    inside = [
        (float(np.clip(x, 0, max(0, width - wide))), float(np.clip(y, 0, max(0, height - tall)))) for x, y in spots
    ]
    return min(inside, key=hidden)


def _shared(a, b) -> float:
    """Pixels two xyxy boxes have in common."""
    return max(0.0, min(a[2], b[2]) - max(a[0], b[0])) * max(0.0, min(a[3], b[3]) - max(a[1], b[1]))

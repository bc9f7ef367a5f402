"""Results -> small pieces of HTML, as notebooks show a value by its `_repr_html_`.

All markup is made here. Text becomes markup only by being escaped: names of people and files are data. Thumbnails are
JPEG in data URIs (RFC 2397), small, so that a saved notebook stays small; faces are biometric data, and embeddings are
never shown. No colours but those of people are set, so that cards are legible on light and dark pages.
"""

from __future__ import annotations

import base64
import hashlib
import html
import os
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from urllib.parse import quote

import cv2
import numpy as np

from .errors import IdentitySegmentationError
from .files import shown_path
from .images import decode_image, shrink_to

THUMBNAIL = 96  # pixels, the long side of a thumbnail
_SHOWN = 64  # pixels of the page that a face takes
_PICTURE = 480  # pixels, the long side of a picture in a card
_AROUND = 0.35  # of a face's box is shown around it on each side
_QUALITY = 82  # of JPEG
_LINE = "rgba(127,127,127,.35)"  # seen on white and on black

Place = tuple[float, float, float, float]  # xyxy of a box, as parts of its picture's width and height, 0..1


class Html(str):
    """Markup made in this module; any other text is escaped where it is put in."""


def markup(value: object) -> Html:
    """Text (or a number) as markup: escaped, unless this module made it.

    Args:
        value: None = nothing.
    """
    if isinstance(value, Html):
        return value
    return Html("" if value is None else html.escape(str(value), quote=True))


def _joined(parts: Iterable[object], between: str = "") -> Html:
    return Html(between.join(markup(part) for part in parts))


# ---- pictures


def flattened(image: np.ndarray, square: int = 16) -> np.ndarray:
    """Any of our pictures as one without transparency: uint8 (H, W, 3), BGR.

    Args:
        image: uint8 (H, W, 3) BGR, uint8 (H, W, 4) BGRA, which is laid over a checkerboard, or bool (H, W).
        square: of the checkerboard, in pixels.
    """
    if image.ndim == 2:
        grey = image.astype(np.uint8) * 255 if image.dtype == np.bool_ else image
        return cv2.cvtColor(grey, cv2.COLOR_GRAY2BGR)
    if image.shape[2] == 3:
        return image
    y, x = np.indices(image.shape[:2]) // square
    board = np.where((x + y) % 2, 225, 170)[..., None]
    alpha = image[..., 3:] / 255.0
    return (image[..., :3] * alpha + board * (1 - alpha)).round().astype(np.uint8)


def jpeg(image: np.ndarray, longest: int = _PICTURE) -> bytes:
    """A picture as a JPEG file, its long side at most so many pixels.

    Args:
        image: as in `flattened`.
        longest: pixels.
    """
    small = image.astype(np.uint8) * 255 if image.dtype == np.bool_ else image
    small = np.ascontiguousarray(shrink_to(small, longest)[0])
    return cv2.imencode(".jpg", flattened(small, 8), [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])[1].tobytes()


def _img(data: bytes, about: str, style: str) -> Html:
    source = base64.b64encode(data).decode()
    return Html(f'<img src="data:image/jpeg;base64,{source}" alt="{markup(about)}" title="{markup(about)}" {style}>')


def face(data: bytes | None, about: str) -> Html:
    """A thumbnail as `face_of` or `face_in` makes it; an empty place where there is none.

    Args:
        data: JPEG.
        about: what it shows, for those who do not see it.
    """
    box = f"width:{_SHOWN}px;height:{_SHOWN}px;margin:1px 3px 1px 0;border-radius:4px;display:inline-block"
    if data is None:
        empty = f"{box};border:1px dashed {_LINE};box-sizing:border-box;vertical-align:middle"
        return Html(f'<span title="{markup(about)}" style="{empty}"></span>')
    return _img(data, about, f'style="{box};object-fit:cover;max-width:none;vertical-align:middle"')


def face_of(image_bgr: np.ndarray, box: Sequence[float] | np.ndarray) -> bytes:
    """A face cut out of a picture with a little around it: JPEG, `THUMBNAIL` pixels at most.

    Args:
        image_bgr: uint8 (H, W, 3).
        box: xyxy pixels.
    """
    x0, y0, x1, y1 = (float(v) for v in box)
    reach = (0.5 + _AROUND) * max(x1 - x0, y1 - y0, 1.0)
    x, y = (x0 + x1) / 2, (y0 + y1) / 2
    height, width = image_bgr.shape[:2]
    left, right = (int(np.clip(v, 0, width)) for v in (x - reach, x + reach))
    top, bottom = (int(np.clip(v, 0, height)) for v in (y - reach, y + reach))
    part = image_bgr[top:bottom, left:right]
    return jpeg(part if part.size else image_bgr, THUMBNAIL)


def kept_face(picture: bytes) -> bytes:
    """A face that is kept as a JPEG file, at the size of a thumbnail.

    Args:
        picture: JPEG.
    """
    return jpeg(decode_image(picture, "a kept face"), THUMBNAIL)


def face_in(path: str | os.PathLike, place: Place | None = None, sha256: str = "") -> bytes | None:
    """The face in a photo file, or the whole photo: JPEG. None where it is gone, unreadable, or another one by now.

    Args:
        path: of the photo.
        place: of the face; None = the whole photo.
        sha256: of the file, in hexadecimal; empty = any.
    """
    try:
        stat = Path(path).stat()
        digest, data = _face_in(str(path), stat.st_mtime_ns, stat.st_size, place)
    except (OSError, ValueError, IdentitySegmentationError):
        return None
    return data if sha256 in ("", digest) else None


@lru_cache(maxsize=512)
def _face_in(path: str, changed: int, size: int, place: Place | None) -> tuple[str, bytes]:
    """(hash, `face_in`) of a file in one state of it: when it was changed, and its bytes."""
    content = Path(path).read_bytes()
    image = decode_image(content, path)
    digest = hashlib.sha256(content).hexdigest()
    if place is None:
        return digest, jpeg(image, THUMBNAIL)
    height, width = image.shape[:2]
    return digest, face_of(image, np.array(place) * (width, height, width, height))


def pictures(images: Mapping[str, np.ndarray]) -> Html:
    """Pictures side by side, each with what it is called.

    Args:
        images: caption -> picture, as in `flattened`.
    """
    style = 'style="max-width:100%;max-height:300px;display:block"'
    return _row(_figure(_img(jpeg(image), caption, style), caption) for caption, image in images.items())


def _figure(inside: Html, caption: object) -> Html:
    return Html(
        '<figure style="margin:0;min-width:0;flex:0 1 auto">'
        f'{inside}<figcaption style="font-size:.85em;opacity:.75">{markup(caption)}</figcaption></figure>'
    )


def _row(figures: Iterable[Html]) -> Html:
    return Html(f'<div style="display:flex;gap:8px;align-items:flex-start;margin:4px 0">{_joined(figures)}</div>')


# ---- videos and files


def link(path: str | os.PathLike) -> Html:
    """A link to a file, from the folder that the notebook runs in; the text alone where it lies outside of that.

    Args:
        path: of the file.
    """
    shown = shown_path(path)
    try:
        inside = shown_path(Path(path).absolute().relative_to(Path.cwd()))
    except (ValueError, OSError):
        return markup(shown)
    return Html(f'<a href="{markup(quote(inside))}" target="_blank" rel="noopener">{markup(shown)}</a>')


def videos(clips: Mapping[str, bytes | str | os.PathLike]) -> Html:
    """Videos side by side that play by themselves, over and over, without sound.

    Args:
        clips: caption -> an MP4 file's bytes, or the path of a video that is too large to be put in.
    """
    return _row(_figure(_video(clip), caption) for caption, clip in clips.items())


def _video(clip: bytes | str | os.PathLike) -> Html:
    if not isinstance(clip, bytes):
        return link(clip)
    source = base64.b64encode(clip).decode()
    style = "max-width:100%;max-height:340px;display:block"
    return Html(
        f'<video src="data:video/mp4;base64,{source}" autoplay muted loop controls playsinline style="{style}"></video>'
    )


# ---- words


def swatch(colour: str) -> Html:
    """A person's colour as a small square.

    Args:
        colour: "#RRGGBB".
    """
    style = f"display:inline-block;width:.9em;height:.9em;border-radius:3px;background:{markup(colour)}"
    return Html(f'<span style="{style};vertical-align:-.1em;margin-right:.4em;border:1px solid {_LINE}"></span>')


def named(name: str, colour: str) -> Html:
    """A person's name after their colour.

    Args:
        name: display name.
        colour: "#RRGGBB".
    """
    return Html(f'<span style="white-space:nowrap">{swatch(colour)}<bdi>{markup(name)}</bdi></span>')


def number(value: float | None, form: str = ".2f") -> Html:
    """A number with so many digits; nothing for None.

    Args:
        value: the number.
        form: as `format` takes it.
    """
    return Html("" if value is None else markup(format(value, form)))


def table(heads: Sequence[str], rows: Iterable[Sequence[object]]) -> Html:
    """Rows under heads; cells are text, or what other functions here give. Columns with nothing in them are left out.

    Args:
        heads: of the columns.
        rows: a cell per column.
    """
    rows = [[markup(value) for value in row] for row in rows]
    kept = [i for i in range(len(heads)) if not rows or any(row[i] for row in rows)]
    cell = f"text-align:left;vertical-align:middle;padding:2px 10px 2px 0;border-bottom:1px solid {_LINE}"
    top = "".join(f'<th style="{cell};font-weight:600;white-space:nowrap">{markup(heads[i])}</th>' for i in kept)
    body = "".join("<tr>" + "".join(f'<td style="{cell}">{row[i]}</td>' for i in kept) + "</tr>" for row in rows)
    return Html(
        '<table style="border-collapse:collapse;margin:4px 0;font-size:.95em">'
        f"<thead><tr>{top}</tr></thead><tbody>{body}</tbody></table>"
    )


def lines(texts: Iterable[object]) -> Html:
    """A line each, smaller; empty ones are left out.

    Args:
        texts: what is said.
    """
    shown = [f'<div style="opacity:.8;font-size:.9em">{markup(text)}</div>' for text in texts if text]
    return Html("".join(shown))


def several(parts: Iterable[object]) -> Html:
    """Parts one after the other in one cell of a table.

    Args:
        parts: text, or what other functions here give.
    """
    return _joined(parts)


def card(title: object, *parts: object) -> str:
    """A title and what stands under it, as `_repr_html_` gives it.

    Args:
        title: one line.
        parts: text, or what other functions here give.
    """
    head = f'<div style="font-weight:600;margin-bottom:2px">{markup(title)}</div>'
    return str(f'<div class="idseg-card" style="max-width:1000px">{head}{_joined(parts)}</div>')


def bar(stage: str, done: int, total: int, said: str) -> str:
    """A line of progress: a bar that every notebook draws by itself, without widgets.

    Args:
        stage: what is being done.
        done, total: how much of it; a total of 0 = not known.
        said: after the bar.
    """
    value = f'value="{min(done, total)}" max="{total}"' if total else ""
    return (
        '<div style="display:flex;gap:10px;align-items:center;font-size:.9em;line-height:1.5">'
        f'<span style="min-width:9em">{markup(stage)}</span><progress {value} style="width:16em"></progress>'
        f'<span style="font-variant-numeric:tabular-nums">{markup(said)}</span></div>'
    )

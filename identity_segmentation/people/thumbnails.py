"""A face in a picture -> a small square picture of it, by which people recognise whom a reference shows.

Thumbnails lie in the gallery's generation, beside the embeddings of the same references, so that whatever deletes the
one deletes the other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import cv2
import numpy as np

SIDE = 128  # pixels; about 5 kB as JPEG
_MOST_BYTES = 1 << 16  # of one; more is no thumbnail of ours
_QUALITY = 85
_AROUND = 1.6  # side of the crop over that of the face's box: hair, chin and ears are in it
_JPEG = b"\xff\xd8\xff"  # how every JPEG begins (ITU-T T.81, B.1.1.3: SOI, then a marker)


def of_face(image_bgr: np.ndarray, box: np.ndarray) -> bytes:
    """A face with what is around it, as a square JPEG.

    Args:
        image_bgr: uint8 (H, W, 3).
        box: float (4,), xyxy in pixels; may reach over the border.
    """
    height, width = image_bgr.shape[:2]
    x0, y0, x1, y1 = (float(v) for v in box)
    side = max(1, min(width, height, round(_AROUND * max(x1 - x0, y1 - y0))))
    left = min(max(0, round((x0 + x1 - side) / 2)), width - side)
    top = min(max(0, round((y0 + y1 - side) / 2)), height - side)
    return _encoded(image_bgr[top : top + side, left : left + side])


def of_picture(image_bgr: np.ndarray) -> bytes:
    """The middle of a picture in which no face is seen, as a square JPEG.

    Args:
        image_bgr: uint8 (H, W, 3).
    """
    height, width = image_bgr.shape[:2]
    return of_face(image_bgr, np.array([0, 0, width, height]))


def _encoded(square: np.ndarray) -> bytes:
    small = cv2.resize(square, (SIDE, SIDE), interpolation=cv2.INTER_AREA if len(square) > SIDE else cv2.INTER_CUBIC)
    return cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])[1].tobytes()


def packed(thumbnails: Sequence[bytes]) -> dict[str, np.ndarray]:
    """Thumbnails as tensors of a generation; none if there is no thumbnail at all.

    Args:
        thumbnails: N of them; empty where there is none.

    Returns:
        "thumbnails": uint8, one after the other; "thumbnail_ends": int64 (N,), where each ends.
    """
    if not any(thumbnails):
        return {}
    ends = np.cumsum([len(one) for one in thumbnails], dtype=np.int64)
    return {"thumbnails": np.frombuffer(b"".join(thumbnails), np.uint8), "thumbnail_ends": ends}


def unpacked(tensors: Mapping[str, np.ndarray], count: int) -> list[bytes]:
    """What `packed` made of `count` thumbnails; empty ones where a generation has none.

    Anything that is not a small JPEG is left out: a gallery may come from somebody else.

    Raises:
        ValueError: the tensors do not fit together.
    """
    if "thumbnails" not in tensors:
        return [b""] * count
    data, ends = tensors["thumbnails"].tobytes(), tensors["thumbnail_ends"].astype(np.int64).ravel().tolist()
    starts = [0, *ends[:-1]]
    if len(ends) != count or [0, *ends] != sorted([0, *ends]) or (ends and ends[-1] != len(data)):
        raise ValueError(f"its thumbnails do not fit its {count} references")
    found = [data[start:end] for start, end in zip(starts, ends, strict=True)]
    return [one if one.startswith(_JPEG) and len(one) <= _MOST_BYTES else b"" for one in found]

"""Boxes, similarity transforms and mask clean-up: plain geometry, no models. (Notebook section 5.)"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import cv2
import numpy as np

from .errors import InputError
from .types import BoxLike, Face, Segment, as_box


def box_iou(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Intersection over union of every box in `a` (N, 4) with every box in `b` (M, 4): (N, M)."""
    a = np.asarray(a, np.float32).reshape(-1, 4)
    b = np.asarray(b, np.float32).reshape(-1, 4)
    low = np.maximum(a[:, None, :2], b[None, :, :2])
    high = np.minimum(a[:, None, 2:], b[None, :, 2:])
    inter = np.clip(high - low, 0, None).prod(-1)
    area_a = (a[:, 2:] - a[:, :2]).prod(-1)
    area_b = (b[:, 2:] - b[:, :2]).prod(-1)
    return inter / np.maximum(area_a[:, None] + area_b[None] - inter, 1e-9)


def mask_iou(a: np.ndarray, b: np.ndarray) -> float:
    """Intersection over union of two bool masks; 0 of two empty ones."""
    return int(np.count_nonzero(a & b)) / max(1, int(np.count_nonzero(a | b)))


def clip_box(box: Sequence[float] | np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """The part of a box that lies in an image of `shape` (H, W, ...); `InputError` if none does."""
    height, width = shape[:2]
    value = as_box(box).copy()
    value[0::2] = np.clip(value[0::2], 0, width)
    value[1::2] = np.clip(value[1::2], 0, height)
    if value[2] - value[0] < 1 or value[3] - value[1] < 1:
        raise InputError(f"expected a box that covers part of the {width}x{height} image, got {as_box(box).tolist()}")
    return value


def whole_box(shape: tuple[int, ...]) -> np.ndarray:
    """float32 (4,): the xyxy box of all of an image of `shape` (H, W, ...)."""
    return np.array([0, 0, shape[1], shape[0]], np.float32)


def plain_box(box: BoxLike) -> tuple[float, float, float, float]:
    """A box as four plain numbers, as JSON and values that are compared have it."""
    x0, y0, x1, y1 = (float(v) for v in box)
    return x0, y0, x1, y1


def mask_extent(mask: np.ndarray) -> tuple[int, int, int, int]:
    """Tight xyxy box of a bool (H, W) mask that has pixels, as whole numbers.

    Raises:
        InputError: the mask is empty.
    """
    box = mask_box(mask)
    if box is None:
        raise InputError("expected a mask with pixels in it, got an empty one")
    x0, y0, x1, y1 = (int(v) for v in box)
    return x0, y0, x1, y1


def mask_box(mask: np.ndarray) -> np.ndarray | None:
    """Tight xyxy box of a bool (H, W) mask, or None if the mask is empty."""
    rows = np.flatnonzero(mask.any(axis=1))
    if not len(rows):
        return None
    columns = np.flatnonzero(mask.any(axis=0))
    return np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1], np.float32)


def face_to_body_bbox(
    face: Face | Sequence[float] | np.ndarray,
    image_shape: tuple[int, ...],
    width_scale: float = 3.6,
    top_scale: float = 0.5,
    bottom_scale: float = 5.5,
    shift: float = 0.0,
) -> np.ndarray:
    """The box a person's body is expected in, from their face, clipped to the image.

    Args:
        face: a `Face`, or its xyxy box in pixels.
        image_shape: (H, W) or (H, W, 3).
        width_scale: body width in face widths.
        top_scale: room above the face's top, in face heights (hair, hats).
        bottom_scale: reach below the face's bottom, in face heights. 5.5 holds a standing
            person in a group picture; a head is about one seventh of the body's height.
        shift: moves the box sideways, in face widths (positive = right), for people who lean.

    Returns:
        float32 (4,), xyxy in pixels.

    Raises:
        InputError: a scale that is not positive, or a face entirely outside the image.
    """
    for name, scale in (("width_scale", width_scale), ("bottom_scale", bottom_scale)):
        if not scale > 0:
            raise InputError(f"expected {name} > 0, got {scale}")
    if top_scale < 0:
        raise InputError(f"expected top_scale >= 0, got {top_scale}")
    x0, y0, x1, y1 = (face.box if isinstance(face, Face) else as_box(face)).tolist()
    width, height = x1 - x0, y1 - y0
    centre = (x0 + x1) / 2 + shift * width
    half = width_scale * width / 2
    body = (centre - half, y0 - top_scale * height, centre + half, y1 + bottom_scale * height)
    return clip_box(body, image_shape)


def grown_box(box: BoxLike, by: float, shape: Sequence[int]) -> tuple[int, int, int, int]:
    """Integer xyxy box grown on all sides, clipped to the image.

    Args:
        box: xyxy pixels.
        by: pixels.
        shape: (H, W) or (H, W, 3) of the image.
    """
    x0, y0, x1, y1 = (float(v) for v in box)
    return (
        int(max(0, x0 - by)), int(max(0, y0 - by)),
        int(min(shape[1], np.ceil(x1 + by))), int(min(shape[0], np.ceil(y1 + by))),
    )  # fmt: skip


def box_mask(shape: Sequence[int], box: BoxLike, by: float = 0.0) -> np.ndarray:
    """bool (H, W): the pixels of a box, grown by so many pixels.

    Args:
        shape: (H, W) or (H, W, 3) of the image.
        box: xyxy pixels.
        by: pixels.
    """
    mask = np.zeros(tuple(shape[:2]), bool)
    x0, y0, x1, y1 = grown_box(box, by, shape)
    mask[y0:y1, x0:x1] = True
    return mask


def similarity_transform(source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Least-squares rotation, uniform scale and shift taking `source` (N, 2) to `target` (N, 2).

    Umeyama, "Least-squares estimation of transformation parameters between two point patterns",
    PAMI 1991. Returns float64 (2, 3).
    """
    source, target = np.asarray(source, np.float64), np.asarray(target, np.float64)
    mean_s, mean_t = source.mean(0), target.mean(0)
    s, t = source - mean_s, target - mean_t
    u, sigma, vt = np.linalg.svd(t.T @ s)
    sign = np.array([1.0, np.sign(np.linalg.det(u @ vt)) or 1.0])
    scale = (sigma * sign).sum() / max((s**2).sum(), 1e-12)
    linear = scale * (u * sign) @ vt
    return np.hstack([linear, (mean_t - linear @ mean_s)[:, None]])


def warp_crop(image: np.ndarray, forward: np.ndarray, size: int) -> np.ndarray:
    """A (size, size) crop through the affine map `forward` (2, 3), image pixels -> crop pixels.

    Where the map shrinks by more than half, the region is area-averaged first: bilinear sampling alone
    would skip pixels and alias. Outside the image is black.

    Args:
        image: uint8 (H, W, 3).
        forward: float64 (2, 3).
        size: side of the crop, in pixels.
    """
    scale = float(np.sqrt(abs(np.linalg.det(forward[:, :2]))))
    if scale >= 0.5:
        return cv2.warpAffine(image, forward, (size, size), flags=cv2.INTER_LINEAR)
    corners = np.array([[0, 0], [size, 0], [0, size], [size, size]], np.float64)
    back = cv2.invertAffineTransform(forward)
    corners = corners @ back[:, :2].T + back[:, 2]
    height, width = image.shape[:2]
    x0, y0 = np.clip(np.floor(corners.min(0)).astype(int) - 2, 0, (width - 1, height - 1))
    x1, y1 = np.clip(np.ceil(corners.max(0)).astype(int) + 2, 1, (width, height))
    region = image[y0 : max(y1, y0 + 1), x0 : max(x1, x0 + 1)]
    small = (
        cv2.resize(region, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        if min(region.shape[:2]) * scale >= 1
        else region
    )
    grow = np.array([region.shape[1] / small.shape[1], region.shape[0] / small.shape[0]])
    local = forward.astype(np.float64).copy()
    local[:, 2] = forward[:, :2] @ [x0, y0] + forward[:, 2]
    local[:, :2] = local[:, :2] * grow
    return cv2.warpAffine(small, local, (size, size), flags=cv2.INTER_LINEAR)


def suppress_duplicates(boxes: np.ndarray, scores: np.ndarray, iou: float = 0.3, contained: bool = True) -> list[int]:
    """Indices to keep, best score first: a box falls to a better one it overlaps by more than
    `iou`, or (`contained`) whose inside holds its centre, or the other way round.

    Args:
        boxes: (N, 4) xyxy pixels.
        scores: (N,).
        iou: overlap above which two boxes are one thing's, 0..1.
        contained: are boxes also one thing's if one holds the other's centre.
    """
    order = np.argsort(-np.asarray(scores, np.float64), kind="stable")
    boxes = np.asarray(boxes, np.float32).reshape(-1, 4)
    kept: list[int] = []
    for i in order:
        centre = (boxes[i, :2] + boxes[i, 2:]) / 2
        for k in kept:
            if box_iou(boxes[i], boxes[k])[0, 0] > iou:
                break
            if contained and (_inside(centre, boxes[k]) or _inside((boxes[k, :2] + boxes[k, 2:]) / 2, boxes[i])):
                break
        else:
            kept.append(int(i))
    return kept


def _inside(point: np.ndarray, box: np.ndarray) -> bool:
    return bool(box[0] < point[0] < box[2] and box[1] < point[1] < box[3])


def component_with(mask: np.ndarray, seed: np.ndarray) -> np.ndarray:
    """The connected part of a bool mask that shares most pixels with the bool `seed`; the largest
    part where the seed touches none."""
    count, labels, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8))
    if count <= 2:
        return mask
    hits = np.bincount(labels[seed & mask], minlength=count)
    hits[0] = 0
    best = int(hits.argmax()) if hits.any() else 1 + int(stats[1:, cv2.CC_STAT_AREA].argmax())
    return labels == best


def touching(mask: np.ndarray, seeds: np.ndarray) -> np.ndarray:
    """The connected parts of a bool mask that hold a pixel of the bool `seeds`."""
    _, labels = cv2.connectedComponents(mask.astype(np.uint8))
    held = np.unique(labels[seeds & mask])
    return np.isin(labels, held[held > 0])


def fill_holes(mask: np.ndarray, largest: float) -> np.ndarray:
    """Fill holes of a bool mask smaller than `largest` pixels; bigger ones (the gap between an arm
    and the waist) stay."""
    count, labels, stats, _ = cv2.connectedComponentsWithStats((~mask).astype(np.uint8), connectivity=4)
    small = np.zeros(count, bool)
    small[1:] = stats[1:, cv2.CC_STAT_AREA] < largest
    return mask | small[labels]


def drop_specks(mask: np.ndarray, smallest: float) -> np.ndarray:
    """Drop connected parts of a bool mask smaller than `smallest` pixels (the largest stays)."""
    count, labels, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8))
    if count <= 2:
        return mask
    keep = stats[:, cv2.CC_STAT_AREA] >= smallest
    keep[0] = False
    keep[1 + int(stats[1:, cv2.CC_STAT_AREA].argmax())] = True
    return keep[labels]


def follow_edges(
    image: np.ndarray, values: np.ndarray, radius: int, epsilon: float = 1e-4, rim: bool = True, shrink: int = 1
) -> np.ndarray:
    """Guided filter (He et al., ECCV 2010) with the grey image: a coarse edge moves onto the picture's edge.

    Args:
        image: uint8 (H, W, 3).
        values: float32 (H, W), 0..1.
        radius: pixels.
        epsilon: contrast, squared and relative to white, below which an edge of the picture is none.
        rim: touch only what lies between sure inside and sure outside.
        shrink: find the filter's coefficients in a picture so many times smaller, and apply them to the picture as it
            is (He and Sun, "Fast Guided Filter", arXiv 1505.00996, 2015); 1 = the filter itself.

    Returns:
        float32 (H, W), 0..1.
    """
    if shrink > 1:
        return _follow_edges_fast(image, values, radius, epsilon, rim, shrink)
    grey = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY).astype(np.float32) / 255

    def blur(a):
        return cv2.blur(a, (2 * radius + 1, 2 * radius + 1))

    mean_i, mean_v = blur(grey), blur(values)
    slope = (blur(grey * values) - mean_i * mean_v) / (blur(grey * grey) - mean_i * mean_i + epsilon)
    guided = np.clip(blur(slope) * grey + blur(mean_v - slope * mean_i), 0, 1)
    if not rim:
        return guided.astype(np.float32)
    edge = (mean_v > 0.02) & (mean_v < 0.98)
    return np.where(edge, guided, values).astype(np.float32)


def _follow_edges_fast(
    image: np.ndarray, values: np.ndarray, radius: int, epsilon: float, rim: bool, shrink: int
) -> np.ndarray:
    grey = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)
    size = (max(1, round(grey.shape[1] / shrink)), max(1, round(grey.shape[0] / shrink)))
    small = cv2.resize(grey, size, interpolation=cv2.INTER_AREA).astype(np.float32) / 255
    coarse = cv2.resize(values, size, interpolation=cv2.INTER_AREA)
    side = 2 * max(1, round(radius / shrink)) + 1

    def blur(a):
        return cv2.blur(a, (side, side))

    def enlarged(a):
        return cv2.resize(a, grey.shape[::-1], interpolation=cv2.INTER_LINEAR)

    mean_i, mean_v = blur(small), blur(coarse)
    slope = (blur(small * coarse) - mean_i * mean_v) / (blur(small * small) - mean_i * mean_i + epsilon)
    base = enlarged(blur(mean_v - slope * mean_i))
    guided = cv2.add(cv2.multiply(enlarged(blur(slope)), grey, scale=1 / 255, dtype=cv2.CV_32F), base)
    guided = np.clip(guided, 0, 1, out=guided)
    if not rim:
        return guided
    # Sure inside and sure outside are a matter of the neighbourhood, so the small picture can tell them.
    edge = ((mean_v > 0.02) & (mean_v < 0.98)).astype(np.uint8)
    edge = cv2.resize(edge, grey.shape[::-1], interpolation=cv2.INTER_NEAREST)
    return cv2.copyTo(guided, edge, values.copy())


def soft_at_edge(share: np.ndarray, inside: np.ndarray, reach: float) -> np.ndarray:
    """How opaque each pixel is, where only an edge may be soft: a person is not glass.

    Args:
        share: float32 (H, W), 0..1: how opaque it is thought to be.
        inside: bool (H, W), the mask.
        reach: pixels from the edge within which it may be soft inside; twice as many outside (hair).

    Returns:
        float32 (H, W), 0..1.
    """
    if not inside.any():
        return np.zeros_like(share)
    within = cv2.distanceTransform(inside.astype(np.uint8), cv2.DIST_L2, 3) / max(2.0, reach)
    beyond = cv2.distanceTransform((~inside).astype(np.uint8), cv2.DIST_L2, 3) / max(2.0, 2 * reach)
    return np.where(inside, np.maximum(share, within), np.minimum(share, 1 - beyond)).clip(0, 1)


def encode_rle(mask: np.ndarray) -> dict:
    """A bool (H, W) mask as COCO's run lengths: {"size": [H, W], "counts": text}."""
    from pycocotools import mask as coco

    height, width = mask.shape
    code = coco.frPyObjects({"size": [height, width], "counts": _run_lengths(mask)}, height, width)
    return {"size": [int(v) for v in code["size"]], "counts": code["counts"].decode()}


def _run_lengths(mask: np.ndarray) -> np.ndarray:
    """Lengths of a bool (H, W) mask's runs, read column by column; the first is of pixels outside, and may be 0."""
    box = mask_box(mask)
    if box is None:
        return np.array([mask.size])
    x0, y0, x1, y1 = (int(v) for v in box)
    # Each column of the box, with a pixel outside before and after it: where it changes, a run begins or ends.
    columns = np.zeros((x1 - x0, y1 - y0 + 2), np.uint8)
    columns[:, 1:-1] = cv2.transpose(mask[y0:y1, x0:x1].astype(np.uint8))
    column, row = np.divmod(np.flatnonzero(columns[:, 1:] != columns[:, :-1]), y1 - y0 + 1)
    edges = (x0 + column) * mask.shape[0] + y0 + row
    # What ends at the foot of a column and begins at the head of the next is one run.
    going_on = np.flatnonzero(edges[1:] == edges[:-1])
    edges = np.delete(edges, np.concatenate([going_on, going_on + 1]))
    lengths = np.diff(edges, prepend=0, append=mask.size)
    return lengths if lengths[-1] else lengths[:-1]


def decode_rle(code: dict) -> np.ndarray:
    """The bool (H, W) mask that `encode_rle` wrote."""
    from pycocotools import mask as coco

    mask = coco.decode({"size": code["size"], "counts": code["counts"].encode()})
    return np.ascontiguousarray(mask, bool)  # it comes column by column, which OpenCV refuses to draw on


def mask_rings(mask: np.ndarray, fine: int = 1) -> list[np.ndarray]:
    """A bool mask as one closed ring of points per connected part.

    A hole is joined to its outline by a cut there and back, as formats without holes need it: filled by the even-odd
    rule the ring gives the part, hole and all.

    Args:
        fine: 1 = points on the outermost pixels, a quarter pixel into them, so that readers that round and readers that
            truncate both paint the same pixels; 3 = points a sixth of a pixel within the pixels' outer edges, for
            readers to whom a polygon is an area.

    Returns:
        float64 (N, 2) each, N >= 3, (x, y) in pixels; the first point is not repeated at the end.
    """
    code = mask.astype(np.uint8)
    if fine > 1:
        code = cv2.resize(code, None, fx=fine, fy=fine, interpolation=cv2.INTER_NEAREST)
    method = cv2.CHAIN_APPROX_NONE if fine == 1 else cv2.CHAIN_APPROX_SIMPLE
    contours, tree = cv2.findContours(code, cv2.RETR_CCOMP, method)
    if fine > 1 and contours and (tree[0][:, 3] >= 0).any():  # cuts go along rows, so every row must have its points
        contours, tree = cv2.findContours(code, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    contours = [contour[:, 0] for contour in contours]
    attached = _bridges(contours, tree[0] if len(contours) else (), code.shape[1])
    rings = []
    for number, outline in enumerate(contours):
        if tree[0][number][3] < 0:
            ring = outline if number not in attached else _walked(contours, attached, number)
            while len(ring) < 3:
                ring = np.concatenate([ring, ring[-1:]])
            rings.append(ring + 0.25 if fine == 1 else (ring + 0.5) / fine)
    return rings


def _bridges(
    contours: list[np.ndarray], tree: Sequence[np.ndarray] | np.ndarray, width: int
) -> dict[int, dict[int, list[tuple[int, int]]]]:
    """Where each hole hangs: contour -> index of its point -> [(hole, index of the hole's first point)].

    From its leftmost point a hole goes straight left until it meets a contour of the same part; as it hangs on its
    outline or on a hole that begins further left, no two hang on each other.
    """
    attached: dict[int, dict[int, list[tuple[int, int]]]] = {}
    holes = [n for n in range(len(contours)) if tree[n][3] >= 0]
    if not holes:
        return attached
    points = np.concatenate(contours).astype(np.int64)
    owner = np.repeat(np.arange(len(contours)), [len(c) for c in contours])
    index = np.concatenate([np.arange(len(c)) for c in contours])
    family = np.array([tree[n][3] if tree[n][3] >= 0 else n for n in range(len(contours))])
    first = np.array([int(c[:, 0].argmin()) for c in contours])
    begins = np.array([c[i, 0] for c, i in zip(contours, first, strict=True)])
    # Each part has rows of its own, in which points are in order.
    place = (family[owner] * (int(points[:, 1].max()) + 1) + points[:, 1]) * width + points[:, 0]
    order = np.lexsort((owner, place))
    place, owner, index = place[order], owner[order], index[order]
    for hole in holes:
        x, y = (int(v) for v in contours[hole][first[hole]])
        here = (family[hole] * (int(points[:, 1].max()) + 1) + y) * width + x
        at = int(np.searchsorted(place, here, side="right")) - 1
        while at > 0:
            other = owner[at]
            before = tree[other][3] < 0 or (begins[other], other) < (begins[hole], hole)
            if other != hole and before:
                break
            at -= 1
        attached.setdefault(int(owner[at]), {}).setdefault(int(index[at]), []).append((hole, int(first[hole])))
    return attached


def _walked(contours: list[np.ndarray], attached: dict, outline: int) -> np.ndarray:
    """A contour with a walk to, around and back from everything that hangs on it."""
    walk: list[np.ndarray] = []
    # (contour, points still to come, where in them): an explicit stack, as chains of holes may be long.
    stack: list[tuple[int, np.ndarray, int, Iterator[tuple[int, int]]]]
    stack = [(outline, np.arange(len(contours[outline])), 0, iter(()))]
    while stack:
        contour, steps, at, waiting = stack.pop()
        hanging = next(waiting, None)
        if hanging is not None:
            stack.append((contour, steps, at, waiting))
            hole, begin = hanging
            around = (begin + np.arange(len(contours[hole]) + 1)) % len(contours[hole])
            stack.append((hole, around, 0, iter(())))
            continue
        own = attached.get(contour, {})
        if at:  # back at the point where something hung
            walk.append(contours[contour][steps[at - 1 : at]])
        seen = next((i for i in range(at, len(steps)) if steps[i] in own), None)
        if seen is None:
            walk.append(contours[contour][steps[at:]])
            continue
        walk.append(contours[contour][steps[at : seen + 1]])
        last = seen == len(steps) - 1 and len(steps) > len(contours[contour])  # a hole ends where it began: once only
        stack.append((contour, steps, seen + 1, iter(()) if last else iter(own[int(steps[seen])])))
    return np.concatenate(walk)


def connected_parts(mask: np.ndarray) -> Iterator[np.ndarray]:
    """Every connected part of a bool mask as a mask of its own, one at a time."""
    count, labels, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8))
    for number in range(1, count):
        x, y, width, height = stats[number, :4]
        part = np.zeros(mask.shape, bool)
        view = (slice(y, y + height), slice(x, x + width))
        part[view] = labels[view] == number
        yield part


def united(segments: Sequence[Segment], shape: tuple[int, int]) -> np.ndarray:
    """uint8 (H, W) matte of everything in several segments."""
    alpha = np.zeros(shape, np.uint8)
    for segment in segments:
        np.maximum(alpha, soft_alpha(segment), out=alpha)
    return alpha


def soft_alpha(segment: Segment) -> np.ndarray:
    """uint8 (H, W) matte of a segment: the engine's own, or its mask with a one-pixel feather."""
    if segment.alpha is not None:
        return segment.alpha
    return cv2.GaussianBlur(segment.mask.astype(np.uint8) * 255, (0, 0), 0.8)

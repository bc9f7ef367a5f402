"""What both SAM 3 adapters share: where weights come from, devices and dtypes, and what becomes of raw masks."""

from __future__ import annotations

import importlib.util
import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np

from ..errors import EngineUnavailable, InputError
from ..geometry import box_iou, clip_box, drop_specks, fill_holes, mask_box, mask_iou
from ..types import BoxLike, Face, Segment
from .protocols import face_of_each

logger = logging.getLogger(__name__)

REPOSITORY = "facebook/sam3"
# "small" halves the text encoder's cost with a distilled one; the vision encoder is the same.
MODEL_SIZES = {"large": REPOSITORY, "small": "vil-uob/sam3-litetext-s0"}
INSTALL = 'pip install ".[sam3]" (in the folder of this project)'
# Holes and specks smaller than this share of a mask are the net's noise; the libraries clean 16 pixels of their
# low-resolution masks, and only where an optional kernel is installed.
_HOLES, _SPECKS = 0.001, 0.002
_MOST, _STEPS = 7.9, 16  # logits, and steps per logit, in which alpha is looked up
_SOFT = (255 / (1 + np.exp(-(np.arange(256) - 128) / _STEPS))).round().astype(np.uint8)  # a coded logit as alpha
_LEAD, _TIE = 4.0, 0.05  # how steep the edge between two people is, in logits a logit; the lead of the first of equals
SAME = 0.8  # IoU of two instances of one phrase above which they are one
_BAND = 1 << 24  # pixels that are enlarged at a time on a device: some 300 MB of it, however large the picture

# What a person is asked for with. A box reckoned from a face is far looser than those SAM 3 was trained on (10 %, 20
# pixels), so that it alone often holds several people; points say which of them is meant. "people" looks for everybody
# by the word first, which gives tight masks, and asks by box and points for those alone whom that does not tell apart.
PROMPTS = ("people", "box+points", "box")
SAID = {"people": "people by word, box and points", "box+points": "boxes with points", "box": "boxes"}
_REAL = 0.6  # score of a face from which a point may rest on it: heads that are only reckoned have 0.5
_SMALL = 0.3  # a face smaller than this share of one's own is far behind, in a poster or on a shirt
_TWICE = 0.3  # IoU of two finds of one face
_TORSO = 1.6  # from the face's centre down to the chest, in face sides
_POINTS = 8  # most points of a prompt: training never used more


# ---- packages, devices


def require(*packages: str) -> None:
    """Raise `EngineUnavailable` with the command if a package is not installed; nothing is imported."""
    missing = [p for p in packages if importlib.util.find_spec(p) is None]
    if missing:
        raise EngineUnavailable(f"SAM 3 needs {', '.join(missing)}; run: {INSTALL}")


def pick_device(device: str) -> str:
    """ "auto" -> cuda, mps or cpu; another name is checked.

    Raises:
        EngineUnavailable: the device is not there.
        InputError: no such kind of device.
    """
    import torch

    has = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if device == "auto":
        return next(name for name, there in has.items() if there)
    kind = device.split(":")[0]
    if kind not in has:
        raise InputError(f"unknown device {device!r}; expected auto, cuda, mps or cpu")
    if not has[kind]:
        build = "a CPU build" if kind == "cuda" and not torch.version.cuda else "no such device is found"
        raise EngineUnavailable(
            f"device {device} was asked for, but torch {torch.__version__} cannot use it ({build}); "
            "choose --device cpu, or install torch for your GPU: https://pytorch.org/get-started/locally"
        )
    return device


def pick_dtype(dtype: str, device: str) -> Any:
    """ "auto" -> bfloat16 (or float16 where the GPU has none) on a GPU, float32 on a CPU.

    Raises:
        InputError: an unknown dtype, or a half one on a CPU, where it is many times slower than float32.
    """
    import torch

    known = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
    if dtype == "auto":
        if device == "cpu":
            return torch.float32
        # A GPU before Ampere (T4, V100) has no bfloat16 units; by default torch counts its slow emulation as support.
        native = device.startswith("cuda") and torch.cuda.is_bf16_supported(including_emulation=False)
        return torch.bfloat16 if native else torch.float16
    if dtype not in known:
        raise InputError(f"unknown dtype {dtype!r}; expected auto, {', '.join(known)}")
    if device == "cpu" and dtype != "float32":
        raise InputError(f"dtype {dtype} on a CPU is many times slower than float32; choose float32 or auto")
    return known[dtype]


# ---- weights


def has_token() -> bool:
    """Is there a Hugging Face token on this machine (HF_TOKEN, or a login)? Nothing is sent."""
    if importlib.util.find_spec("huggingface_hub") is None:
        return False
    from huggingface_hub import get_token

    return get_token() is not None


def cached_file(repository: str, name: str) -> Path | None:
    """A file of a repository if it is in the local cache; nothing is fetched."""
    if importlib.util.find_spec("huggingface_hub") is None:
        return None
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        found = try_to_load_from_cache(repository, name)
    except HFValidationError:  # a path, not a repository
        return None
    return Path(found) if isinstance(found, str) else None


def fetch(repository: str, names: Sequence[str]) -> list[Path]:
    """Files of a repository, from the cache or fetched; an interrupted download goes on where it stopped.

    Raises:
        EngineUnavailable: no token, no access, no network, a broken download: with the page or command that helps.
    """
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
    )

    page = f"https://huggingface.co/{repository}"
    try:
        return [Path(hf_hub_download(repository, name)) for name in names]
    except GatedRepoError as error:
        if has_token():
            reason = f"your token has no access to it yet: ask for access on {page}"
        else:
            reason = f"it is gated: ask for access on {page}, then run: hf auth login (or set HF_TOKEN)"
        raise EngineUnavailable(f"SAM 3's weights ({repository}) cannot be fetched, as {reason}") from error
    except RepositoryNotFoundError as error:
        raise EngineUnavailable(f"there is no model {repository} ({page}), or your token may not see it") from error
    except LocalEntryNotFoundError as error:
        raise EngineUnavailable(
            f"SAM 3's weights ({repository}) are not in the cache, and the hub cannot be reached; with a network "
            "run again, or give a local copy with --checkpoint"
        ) from error
    except (HfHubHTTPError, OSError) as error:
        raise EngineUnavailable(
            f"fetching SAM 3's weights ({repository}) was broken off ({error}); run the same command to go on"
        ) from error


# ---- batches


def in_batches(items: Sequence, size: int, run: Callable[[Sequence], list]) -> list:
    """`run` over batches; on out-of-memory the batch is halved, with one warning.

    Args:
        items: what is to be worked on.
        size: items in a batch, to begin with.
        run: works on one batch, and gives as many results, in order.

    Raises:
        InputError: one item alone does not fit.
    """
    import torch

    results: list = []
    warned = False
    while len(results) < len(items):
        batch = items[len(results) : len(results) + size]
        try:
            results += run(batch)
        except torch.OutOfMemoryError as error:
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
            if len(batch) == 1:
                raise InputError(
                    "this device's memory does not hold SAM 3 and one picture; free some of it (nvidia-smi shows who "
                    "uses it), choose --device cpu, or try the smaller model: --sam3-model small"
                ) from error
            size = max(1, len(batch) // 2)
            if not warned:
                logger.warning("out of memory at %d pictures at a time; going on with %d", len(batch), size)
                warned = True
    return results


def free_batch(bytes_each: float, device: str, most: int = 32) -> int:
    """How many pictures at a time fit into half of the GPU's free memory.

    Args:
        bytes_each: memory that one picture takes, in bytes.
        device: torch's name of the device; on a CPU the answer is 1.
        most: the largest answer.
    """
    import torch

    if device == "cpu" or not torch.cuda.is_available():
        return 1
    free, _ = torch.cuda.mem_get_info()
    return int(np.clip(0.5 * free / bytes_each, 1, most))


# ---- prompts and masks


class Prompt(NamedTuple):
    """What SAM is asked about one person.

    Attributes:
        box: float32 (4,), xyxy pixels, within the picture.
        points: float32 (N, 2), (x, y) pixels, in the box.
        inside: bool (N,): is the point on the person, or on somebody else?
    """

    box: np.ndarray
    points: np.ndarray
    inside: np.ndarray


def checked_kind(prompts: str) -> str:
    """One of `PROMPTS`, or `InputError`."""
    if prompts not in PROMPTS:
        raise InputError(f"unknown prompts {prompts!r}; expected {' or '.join(PROMPTS)}")
    return prompts


def checked_prompts(
    boxes: np.ndarray | Sequence[BoxLike],
    faces: Sequence[Face | None] | None,
    others: Sequence[Face | BoxLike],
    shape: tuple[int, ...],
    kind: str = PROMPTS[0],
) -> list[Prompt]:
    """What `by_box` was given, as SAM is asked: each box within the picture, with what the faces say.

    On the person are the centre of their own face, and a point on the chest unless another face is nearer to it. Not
    the person's are the centres of other people's faces in the box, nearest first.

    Args:
        boxes: (N, 4) xyxy pixels.
        faces: for each box the face of the person meant, or None.
        others: further people in the picture, by face or by box; boxes are not used.
        shape: (H, W) of the picture.
        kind: of `PROMPTS`; "box" leaves all points out.

    Raises:
        InputError: a box with no area or wholly outside, or another number of faces than of boxes.
    """
    checked = np.stack([clip_box(box, shape) for box in boxes]).astype(np.float32)
    owners = face_of_each(checked, faces)
    if kind == "box":
        return [Prompt(box, np.zeros((0, 2), np.float32), np.zeros(0, bool)) for box in checked]
    everyone = [f for f in owners if f is not None] + [other for other in others if isinstance(other, Face)]
    return [prompt_for(box, own, everyone) for box, own in zip(checked, owners, strict=True)]


def prompt_for(box: np.ndarray, own: Face | None, everyone: Sequence[Face]) -> Prompt:
    """A box and what the faces say, for one person; see `checked_prompts`.

    Args:
        box: float32 (4,), xyxy pixels, within the picture.
        own: the face of the person meant, where known.
        everyone: all faces of the picture, `own` among them or not.
    """
    rest = [other for other in everyone if other is not own]
    mine = [] if own is None else _on_person(box, own, rest)
    away = _on_others(box, own, rest)[: _POINTS - len(mine)]
    inside = np.arange(len(mine) + len(away)) < len(mine)
    return Prompt(box, np.array(mine + away, np.float32).reshape(-1, 2), inside)


def is_real_beside(other: Face, own: Face) -> bool:
    """Is a face somebody else's for sure: clear enough, not far smaller, and not the same one found twice?"""
    return other.score >= _REAL and other.side >= _SMALL * own.side and box_iou(other.box, own.box)[0, 0] == 0


def is_same_face(a: Face, b: Face) -> bool:
    """Are two finds of a face one?"""
    return bool(box_iou(a.box, b.box)[0, 0] >= _TWICE)


def _on_person(box: np.ndarray, own: Face, rest: Sequence[Face]) -> list[tuple[float, float]]:
    if own.score < _REAL:  # a head that is only reckoned may be behind somebody
        return []
    face, torso = own.centre, (own.centre[0], own.centre[1] + _TORSO * own.side)
    strangers = [other for other in rest if not is_same_face(other, own)]
    points = [face]
    if all(_distance(torso, other.centre) >= _distance(torso, face) for other in strangers):
        points.append(torso)
    return [point for point in points if _holds(box, point)]


def _on_others(box: np.ndarray, own: Face | None, rest: Sequence[Face]) -> list[tuple[float, float]]:
    real = [other for other in rest if other.score >= _REAL and _holds(box, other.centre)]
    middle = (float(box[0] + box[2]) / 2, float(box[1] + box[3]) / 2)
    if own is not None:
        real = [other for other in real if is_real_beside(other, own)]
        middle = own.centre
    return sorted((other.centre for other in real), key=lambda point: _distance(point, middle))


def _holds(box: np.ndarray, point: tuple[float, float]) -> bool:
    return bool(box[0] <= point[0] < box[2] and box[1] <= point[1] < box[3])


def _distance(a: tuple[float, float], b: tuple[float, float]) -> float:
    return float(np.hypot(a[0] - b[0], a[1] - b[1]))


def asked(
    prompts: Sequence[Prompt],
    ask: Callable[..., tuple[np.ndarray, np.ndarray]],
    masks: Sequence[np.ndarray] | None = None,
) -> tuple[list[np.ndarray], list[float]]:
    """Low-resolution logits, float32 (h, w), and the score of every prompt, in order.

    Prompts with equally many points go together, and no others: what fills up a shorter one changes its mask, so that a
    person would be drawn differently with every other neighbour.

    Args:
        prompts: at least one.
        ask: answers N prompts: boxes (N, 4), points (N, P, 2), inside (N, P), and logits (N, h, w) where there are
            `masks` -> logits (N, h, w), scores (N,).
        masks: for every prompt the low-resolution logits (h, w) of a first answer to it.
    """
    groups: dict[int, list[int]] = {}
    for index, prompt in enumerate(prompts):
        groups.setdefault(len(prompt.points), []).append(index)
    found: dict[int, tuple[np.ndarray, float]] = {}
    for group in groups.values():
        given = [np.stack(part) for part in zip(*(prompts[i] for i in group), strict=True)]
        if masks is not None:
            given.append(np.stack([masks[i] for i in group]))
        found.update(zip(group, zip(*ask(*given), strict=True), strict=True))
    return [found[i][0] for i in range(len(prompts))], [float(found[i][1]) for i in range(len(prompts))]


def checked_phrase(phrase: str) -> str:
    """A phrase with something in it, or `InputError`."""
    text = " ".join(str(phrase).split())
    if not text:
        raise InputError("expected a word or a phrase to look for, got an empty one")
    return text


def to_segments(
    logits: Sequence[np.ndarray],
    shape: tuple[int, int],
    scores: Sequence[float],
    boxes: Sequence[np.ndarray],
    engine: str,
    device: str = "cpu",
) -> list[Segment]:
    """People (or things) followed in one frame as segments that share no pixel: a contested one is whose logit is the
    highest. Their edges towards each other stay soft, and leave no gap.

    Args:
        logits: float32 (h, w) each, all of one size; see `to_segment`, also for the others.
        shape: (H, W) of the picture.
        scores: of each, 0..1.
        boxes: of each, xyxy pixels.
        engine: id of the engine.
        device: torch's name of the device that enlarges.
    """
    if len(logits) < 2:
        tidy = True
    else:
        logits, tidy = kept_apart([_tidied(one) for one in logits]), False
    segments = [
        to_segment(one, shape, score, box, engine, device, tidy)
        for one, score, box in zip(logits, scores, boxes, strict=True)
    ]
    return _settled(segments)


def kept_apart(logits: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Logits of which at most one is above 0 in any pixel, and at most one once they are enlarged by weighted means.

    What is left of a claim is its lead over the strongest other one (`_LEAD` times): of two leads over each other the
    sum is 0 or less, and so is that of their means.

    Args:
        logits: float32 (h, w) each; above 0 is inside.
    """
    stack = np.stack(logits).astype(np.float32)
    if not (np.count_nonzero(stack > 0, axis=0) > 1).any():
        return list(stack)
    best = stack.argmax(0)[None]
    highest = np.take_along_axis(stack, best, 0)
    np.put_along_axis(others := stack.copy(), best, -np.inf, 0)
    lead = _LEAD * (stack - highest)
    np.put_along_axis(lead, best, np.maximum(_LEAD * (highest - others.max(0)), _TIE), 0)
    return list(np.minimum(stack, lead))


def _settled(segments: list[Segment]) -> list[Segment]:
    """The same, where rounding has left a pixel with two of them: it is the stronger one's."""
    touched = set()
    for i, first in enumerate(segments):
        for k, second in enumerate(segments[i + 1 :], i + 1):
            x0, y0 = np.maximum(first.box[:2], second.box[:2]).astype(int)
            x1, y1 = np.minimum(first.box[2:], second.box[2:]).astype(int)
            part = np.s_[y0 : max(y0, y1), x0 : max(x0, x1)]
            both = first.mask[part] & second.mask[part]
            if first.alpha is None or second.alpha is None or not both.any():
                continue
            touched |= {i, k}
            stronger = first.alpha[part] >= second.alpha[part]
            for mask, alpha, lost in (
                (first.mask[part], first.alpha[part], both & ~stronger),
                (second.mask[part], second.alpha[part], both & stronger),
            ):
                mask[lost] = False  # drawn just now: nobody else has it yet
                alpha[lost] = np.minimum(alpha[lost], 127)
    for i in touched:
        tight = mask_box(segments[i].mask)
        segments[i] = segments[i] if tight is None else replace(segments[i], box=tight)
    return segments


def to_segment(
    logits: np.ndarray,
    shape: tuple[int, int],
    score: float,
    box: np.ndarray,
    engine: str,
    device: str = "cpu",
    tidy: bool = True,
) -> Segment:
    """A low-resolution mask (float32 logits (h, w)) as a segment at full size, without specks and pin holes.

    Cleaned small, then enlarged (bilinear, pixel centres aligned), and only the part that holds the mask: a small
    person in a large picture costs little, and any mask much less than the net's own work.

    Args:
        logits: float32 (h, w); above 0 is inside.
        shape: (H, W) of the picture.
        score: the engine's confidence, 0..1.
        box: xyxy pixels, for a mask that turns out empty.
        engine: id of the engine.
        device: torch's name of the device that enlarges; "cpu" does it without torch.
        tidy: clean it; False = that is done.
    """
    mask, alpha = np.zeros(shape, bool), np.zeros(shape, np.uint8)
    logits, near = _cleaned(logits, tidy)
    tight = None
    if near is not None:
        x0, y0, x1, y1 = part = _at_full_size(near, logits.shape, shape)
        if device == "cpu" or logits.size >= mask.size:  # not worth the way where nothing is enlarged
            inside, soft = _enlarged(logits, shape, part)
        else:
            inside, soft = _enlarged_on(device, logits, shape, part)
        mask[y0:y1, x0:x1], alpha[y0:y1, x0:x1] = inside, soft
        tight = mask_box(inside)
    if tight is None:
        return Segment(mask, 0.0, box, engine, alpha)
    return Segment(mask, float(score), tight + np.array([x0, y0, x0, y0], np.float32), engine, alpha)


def _cleaned(logits: np.ndarray, tidy: bool = True) -> tuple[np.ndarray, np.ndarray | None]:
    """Logits without specks and pin holes, and the xyxy box that holds what is left; None where nothing is inside."""
    logits = np.clip(_tidied(logits) if tidy else logits, -_MOST, _MOST)
    return logits, mask_box(logits > -4) if (logits > 0).any() else None


def _tidied(logits: np.ndarray) -> np.ndarray:
    """Logits (h, w) without specks and pin holes, float32.

    On the host, whatever the device: it takes labelled components, and a low-resolution mask is 0.3 MB to move.
    """
    inside = logits > 0
    area = np.count_nonzero(inside)
    if not area:
        return np.asarray(logits, np.float32)
    cleaned = drop_specks(fill_holes(inside, _HOLES * area), _SPECKS * area)
    return np.where(cleaned & ~inside, 1.0, np.where(inside & ~cleaned, -1.0, logits)).astype(np.float32)


def _at_full_size(near: np.ndarray, low: tuple[int, ...], shape: tuple[int, int]) -> tuple[int, int, int, int]:
    """A box of the low-resolution mask (h, w), one of its pixels wider, in a picture of `shape` (H, W)."""
    scale = np.array([shape[1] / low[1], shape[0] / low[0]])
    x0, y0 = np.maximum(((near[:2] - 1) * scale).astype(int), 0)
    x1, y1 = np.minimum(np.ceil((near[2:] + 1) * scale).astype(int), shape[::-1])
    return int(x0), int(y0), int(x1), int(y1)


def _enlarged(
    logits: np.ndarray, shape: tuple[int, int], part: tuple[int, int, int, int]
) -> tuple[np.ndarray, np.ndarray]:
    """One part (xyxy pixels) of the mask at full size: bool, and uint8 alpha."""
    x0, y0, x1, y1 = part
    across, down = logits.shape[1] / shape[1], logits.shape[0] / shape[0]
    back = np.array([[across, 0, (x0 + 0.5) * across - 0.5], [0, down, (y0 + 0.5) * down - 0.5]])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    large = cv2.warpAffine(logits, back, (x1 - x0, y1 - y0), flags=flags, borderMode=cv2.BORDER_REPLICATE)
    inside, soft = large > 0, cv2.LUT(cv2.convertScaleAbs(large, alpha=_STEPS, beta=128), _SOFT)
    soft -= (soft == 128) > inside  # just outside is 127, so that alpha has the mask in it
    return inside, soft


def _enlarged_on(
    device: str, logits: np.ndarray, shape: tuple[int, int], part: tuple[int, int, int, int]
) -> tuple[np.ndarray, np.ndarray]:
    """`_enlarged` on a device. One byte a pixel comes back, and of the part alone."""
    import torch

    def taps(first: int, last: int, size: int, whole: int) -> tuple[Any, Any, Any]:
        at = (torch.arange(first, last, dtype=torch.float32, device=device) + 0.5) * (size / whole) - 0.5
        before = at.floor()
        return before.clamp(0, size - 1).long(), (before + 1).clamp(0, size - 1).long(), at - before

    x0, y0, x1, y1 = part
    soft = np.empty((y1 - y0, x1 - x0), np.uint8)
    step = max(1, _BAND // (x1 - x0))
    with torch.inference_mode():
        low = torch.from_numpy(np.ascontiguousarray(logits, np.float32)).to(device)
        left, right, along = taps(x0, x1, logits.shape[1], shape[1])
        for top in range(y0, y1, step):
            above, below, down = taps(top, min(top + step, y1), logits.shape[0], shape[0])
            rows = torch.lerp(low[above], low[below], down[:, None])
            large = torch.lerp(rows[:, left], rows[:, right], along)
            # The steps of the table of the other way, so that both say the same; and just outside is 127, so that alpha
            # has the mask in it.
            values = (large * _STEPS).round_().div_(_STEPS).sigmoid_().mul_(255).round_()
            values.masked_fill_((values == 128) & (large <= 0), 127)
            soft[top - y0 : top - y0 + len(values)] = values.to(torch.uint8).cpu().numpy()
    return soft > 127, soft


def distinct(logits: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Instances, best first, without empty ones; of two that are the same pixels, the surer one.

    Args:
        logits: float32 (K, h, w); above 0 is inside.
        scores: (K,).
    """
    inside = [mask > 0 for mask in logits]
    kept: list[int] = []
    for i in np.argsort(-scores, kind="stable"):
        if inside[i].any() and all(mask_iou(inside[i], inside[k]) < SAME for k in kept):
            kept.append(int(i))
    return logits[kept], scores[kept]


def without_duplicates(segments: Sequence[Segment]) -> list[Segment]:
    """Best first; of two instances that are the same pixels, the surer one."""
    kept: list[Segment] = []
    for segment in sorted((s for s in segments if s.area), key=lambda s: -s.score):
        if all(_iou(segment, other) < SAME for other in kept):
            kept.append(segment)
    return kept


def _iou(a: Segment, b: Segment) -> float:
    x0, y0 = np.maximum(a.box[:2], b.box[:2]).astype(int)
    x1, y1 = np.minimum(a.box[2:], b.box[2:]).astype(int)
    if x1 <= x0 or y1 <= y0:
        return 0.0
    shared = int(np.count_nonzero(a.mask[y0:y1, x0:x1] & b.mask[y0:y1, x0:x1]))
    return shared / max(1, a.area + b.area - shared)

"""What both SAM 3 adapters share: where weights come from, devices and dtypes, and what becomes of raw masks."""

from __future__ import annotations

import importlib.util
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from ..errors import EngineUnavailable, InputError
from ..geometry import clip_box, drop_specks, fill_holes, mask_box
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
_SAME = 0.8  # IoU of two instances of one phrase above which they are one


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
        return torch.bfloat16 if device.startswith("cuda") and torch.cuda.is_bf16_supported() else torch.float16
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


def checked_prompts(
    boxes: np.ndarray | Sequence[BoxLike],
    faces: Sequence[Face | None] | None,
    others: Sequence[Face | BoxLike],
    shape: tuple[int, ...],
) -> tuple[np.ndarray, list[list[tuple[float, float]]]]:
    """What `by_box` was given, as SAM is asked: boxes (N, 4) float32 within the picture, and for each of them the
    centres of other people's faces in it, which are points that are not the person's.

    Args:
        boxes: (N, 4) xyxy pixels.
        faces: for each box the face of the person meant, or None.
        others: further people in the picture, by face or by box; boxes are not used.
        shape: (H, W) of the picture.

    Raises:
        InputError: a box with no area or wholly outside, or another number of faces than of boxes.
    """
    checked = np.stack([clip_box(box, shape) for box in boxes]).astype(np.float32)
    owners = face_of_each(checked, faces)
    everyone = [f for f in owners if f is not None] + [other for other in others if isinstance(other, Face)]
    return checked, [_strangers_in(box, face, everyone) for box, face in zip(checked, owners, strict=True)]


def _strangers_in(box: np.ndarray, face: Face | None, everyone: Sequence[Face]) -> list[tuple[float, float]]:
    points = []
    for other in everyone:
        x, y = other.centre
        if other is not face and box[0] <= x <= box[2] and box[1] <= y <= box[3]:
            points.append((float(x), float(y)))
    return points


def checked_phrase(phrase: str) -> str:
    """A phrase with something in it, or `InputError`."""
    text = " ".join(str(phrase).split())
    if not text:
        raise InputError("expected a word or a phrase to look for, got an empty one")
    return text


def to_segment(logits: np.ndarray, shape: tuple[int, int], score: float, box: np.ndarray, engine: str) -> Segment:
    """A low-resolution mask (float32 logits (h, w)) as a segment at full size, without specks and pin holes.

    Cleaned small, then enlarged (bilinear, pixel centres aligned), and only the part that holds the mask: a small
    person in a large picture costs little, and any mask much less than the net's own work.

    Args:
        logits: float32 (h, w); above 0 is inside.
        shape: (H, W) of the picture.
        score: the engine's confidence, 0..1.
        box: xyxy pixels, for a mask that turns out empty.
        engine: id of the engine.
    """
    height, width = shape
    mask, alpha = np.zeros(shape, bool), np.zeros(shape, np.uint8)
    logits = np.clip(logits, -_MOST, _MOST)
    inside = logits > 0
    area = np.count_nonzero(inside)
    if area:
        cleaned = drop_specks(fill_holes(inside, _HOLES * area), _SPECKS * area)
        logits = np.where(cleaned & ~inside, 1.0, np.where(inside & ~cleaned, -1.0, logits)).astype(np.float32)
    near = mask_box(logits > -4) if area else None
    if near is not None:
        scale = np.array([width / logits.shape[1], height / logits.shape[0]])
        x0, y0 = np.maximum(((near[:2] - 1) * scale).astype(int), 0)
        x1, y1 = np.minimum(np.ceil((near[2:] + 1) * scale).astype(int), (width, height))
        back = np.array(
            [[1 / scale[0], 0, (x0 + 0.5) / scale[0] - 0.5], [0, 1 / scale[1], (y0 + 0.5) / scale[1] - 0.5]]
        )
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        size = (int(x1 - x0), int(y1 - y0))
        part = cv2.warpAffine(logits, back, size, flags=flags, borderMode=cv2.BORDER_REPLICATE)
        mask[y0:y1, x0:x1] = part > 0
        alpha[y0:y1, x0:x1] = cv2.LUT(cv2.convertScaleAbs(part, alpha=_STEPS, beta=128), _SOFT)
    tight = mask_box(mask)
    score = float(score) if tight is not None else 0.0
    return Segment(mask, score, box if tight is None else tight, engine, alpha)


def without_duplicates(segments: Sequence[Segment]) -> list[Segment]:
    """Best first; of two instances that are the same pixels, the surer one."""
    kept: list[Segment] = []
    for segment in sorted((s for s in segments if s.area), key=lambda s: -s.score):
        if all(_iou(segment, other) < _SAME for other in kept):
            kept.append(segment)
    return kept


def _iou(a: Segment, b: Segment) -> float:
    x0, y0 = np.maximum(a.box[:2], b.box[:2]).astype(int)
    x1, y1 = np.minimum(a.box[2:], b.box[2:]).astype(int)
    if x1 <= x0 or y1 <= y0:
        return 0.0
    shared = int(np.count_nonzero(a.mask[y0:y1, x0:x1] & b.mask[y0:y1, x0:x1]))
    return shared / max(1, a.area + b.area - shared)

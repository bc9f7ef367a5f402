"""A word and a folder of long videos -> clips -> tracked objects -> one small video per object.

Every clip is a unit of work: its frames are read once, its objects followed, their crops written, and its record last;
a killed run does only the unfinished clip again. Ids are stable through a clip, and across consecutive clips by overlap
of the masks. What finds the objects is the engine: SAM 3 takes any word, with its own video memory; the embedded engine
takes `face`, the nouns of its detector, and anything that a box is drawn around.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
from scipy.ndimage import gaussian_filter1d

from ..engines import any_detector
from ..engines.protocols import BoxSegmenter, FaceEngine, ObjectDetector
from ..errors import InputError, OutputError, VideoError
from ..files import atomic_write, own_folder, shown_path, source_name, write_json
from ..geometry import clip_box, decode_rle, encode_rle
from ..images import blurred, unpacked
from .clip_settings import ClipSettings, chosen_clips
from .cuts import CutDetector
from .files import FORMATS, VIDEO_SUFFIXES, SegmentWriter, VideoReader
from .finders import Finder, Seen, finder_for, matched_masks


@dataclass
class VideoOutcome:
    """What became of one video: "done", or what went wrong."""

    video: str
    status: str
    clips: int = 0
    kept: int = 0
    objects: int = 0
    crops: int = 0
    seconds: float = 0.0


def process_folder(
    folder: Path,
    out: Path,
    settings: ClipSettings,
    segmenter: BoxSegmenter,
    face_engine: FaceEngine | None = None,
    progress: Callable[[str, int, int], None] | None = None,
    detector: Callable[[], ObjectDetector | None] = any_detector,
) -> list[VideoOutcome]:
    """Cut every video of a folder (or the one given); see the module.

    Files: ``OUT/VIDEO/clip_00000/object_001.mp4``, ``OUT/VIDEO/clip_00000.json``, ``OUT/manifest.jsonl``.

    Args:
        folder: of videos, or one video.
        out: folder of all results.
        settings: what to look for, and how to cut it out.
        segmenter: draws what is found.
        face_engine: finds people and faces, where the segmenter knows no words.
        progress: called with (video, clips done, clips in all).
        detector: gives the engine that finds bodies and things, where the segmenter knows no words; or None.

    Raises:
        InputError: no videos there.
        EngineUnavailable: the engine does not know the word.
        OutputError: `out` cannot be written.
    """
    folder, out = Path(folder), Path(out)
    videos = [folder] if folder.is_file() else sorted(p for p in folder.glob("*") if p.suffix.lower() in VIDEO_SUFFIXES)
    if not videos:
        raise InputError(f"no videos in {folder}; expected files ending in {', '.join(VIDEO_SUFFIXES)}")
    finder = finder_for(settings, segmenter, face_engine, detector)
    outcomes: list[VideoOutcome] = []
    records: list[dict] = []
    taken: set[str] = set()
    for path in videos:
        started = time.perf_counter()
        target = own_folder(out, path, "source.json", taken)
        write_json(target / "source.json", {"source": source_name(path)}, None)
        outcome = VideoOutcome(shown_path(path), "done")
        try:
            for record, kept in _clips_of(path, target, settings, finder, outcome, progress):
                records.append(record)
                outcome.clips += 1
                outcome.kept += kept
                outcome.crops += sum(o["crop"] is not None for o in record["objects"])
                outcome.objects = max([outcome.objects, *(o["id"] for o in record["objects"])])
        except (VideoError, InputError) as error:
            outcome.status = str(error)
        outcome.seconds = time.perf_counter() - started
        outcomes.append(outcome)
        release_gpu()
    _write_manifest(out, records)
    return outcomes


def _write_manifest(out: Path, records: Sequence[dict]) -> None:
    with atomic_write(out / "manifest.jsonl") as file:
        for record in records:
            for row in record["objects"] or [{}]:
                common = {k: record[k] for k in ("source", "clip", "frames", "times")}
                file.write(json.dumps(common | row, ensure_ascii=False).encode() + b"\n")


def release_gpu() -> float:
    """Give cached GPU memory back; returns the peak in bytes so far (0 without a GPU)."""
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_available():
        return 0.0
    torch.cuda.empty_cache()
    return float(torch.cuda.max_memory_allocated())


# ---- one video


def _clips_of(
    path: Path, out: Path, settings: ClipSettings, finder: Finder, outcome: VideoOutcome,
    progress: Callable[[str, int, int], None] | None,
) -> Iterator[tuple[dict, bool]]:  # fmt: skip
    with VideoReader(path) as reader:
        info = reader.info
        if not info.frames:
            raise VideoError(f"{path} does not say how long it is; expected a file whose container does")
        wanted = chosen_clips(settings, info.frames, float(info.fps), path)
        boxes = tuple((*clip_box(b[:4], (info.height, info.width)).tolist(), b[4]) for b in settings.boxes)
        cache_key = _cache_key(path, settings, finder)
        span = settings.frames_per_clip * settings.frame_step
        frames = reader.frames(0, settings.frame_step)
        known: dict[int, dict] = {}
        previous, next_id, done = -2, 1, 0
        before: str | None = None
        pending = next(frames, None)
        for number in range(-(-info.frames // span)):
            clip = []
            finished = _finished(out / f"clip_{number:05d}.json", cache_key) if number in wanted else None
            while pending is not None and pending.index < (number + 1) * span:
                if number in wanted and finished is None:
                    clip.append(pending)
                pending = next(frames, None)
            if number not in wanted:
                continue
            if previous != number - 1:
                known, before = {}, None
            record = finished
            if record is None:
                if not clip:
                    break
                if before is not None and _is_cut(before, clip[0].image):
                    known = {}  # after a cut nobody knows whether it is the same
                earlier = _crops_listed(out / f"clip_{number:05d}.json")
                record = _one_clip(number, clip, out, settings, finder, boxes, known, next_id, info.fps, path)
                record["question"] = cache_key
                with atomic_write(out / f"clip_{number:05d}.json") as file:
                    file.write(json.dumps(record, ensure_ascii=False).encode())
                for stale in earlier - {o["crop"] for o in record["objects"]}:
                    (out / stale).unlink(missing_ok=True)
            known = {int(k): v for k, v in record["last"].items()}
            next_id, previous, before = record["next_id"], number, record["last_picture"]
            done += 1
            if progress:
                progress(shown_path(path), done, len(wanted))
            yield record, finished is not None
        for _ in frames:
            pass
        outcome.status = reader.warning() or "done"
        for old in out.glob("clip_*.json"):  # of an earlier run that had other clips
            named = old.stem.removeprefix("clip_")
            if named.isdigit() and int(named) not in wanted:
                for stale in _crops_listed(old):
                    (out / stale).unlink(missing_ok=True)
                old.unlink(missing_ok=True)


def _crops_listed(record: Path) -> set[str]:
    """Crops that a clip's record names, relative to the video's folder."""
    try:
        crops = {o["crop"] for o in json.loads(record.read_bytes())["objects"] if o["crop"]}
    except (OSError, ValueError, KeyError, TypeError):
        return set()
    return {c for c in crops if re.fullmatch(r"clip_\d+/object_\d+\.mp4", c)}


def _thumbnail(image: np.ndarray) -> str:
    """A thumbnail as text: enough to tell a cut by."""
    small = cv2.resize(image, (64, 36), interpolation=cv2.INTER_AREA)
    return base64.b64encode(cv2.imencode(".png", small)[1].tobytes()).decode()


def _is_cut(before: str, image: np.ndarray) -> bool:
    detector = CutDetector()
    detector.update(unpacked(base64.b64decode(before)))
    return detector.update(image)


def _cache_key(path: Path, settings: ClipSettings, finder: Finder) -> str:
    stat = path.stat()
    asked = [path.name, stat.st_size, stat.st_mtime_ns, asdict(settings), finder.id]
    return hashlib.sha256(json.dumps(asked, ensure_ascii=False).encode()).hexdigest()


def _finished(path: Path, cache_key: str) -> dict | None:
    try:
        record = json.loads(path.read_bytes())
        crops = [path.parent / o["crop"] for o in record["objects"] if o["crop"]]
        return record if record["question"] == cache_key and all(c.is_file() for c in crops) else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _one_clip(number, clip, out: Path, settings, finder, boxes, known, next_id, fps, path) -> dict:
    images = [f.image for f in clip]
    seeds = [(i, b[:4]) for b in boxes for i, f in enumerate(clip) if f.index <= b[4] < f.index + settings.frame_step]
    found = finder.find(images, seeds, {k: decode_rle(v) for k, v in known.items()})
    ids, next_id = _linked(found, known, next_id, finder.keeps_ids)
    folder = out / f"clip_{number:05d}"
    objects = []
    for local, seen in sorted(found.items(), key=lambda item: ids[item[0]]):
        crop = write_crop(images, seen, settings, folder / f"object_{ids[local]:03d}.mp4", fps / settings.frame_step)
        objects.append(
            {
                "id": ids[local], "crop": None if crop is None else f"{folder.name}/{crop.name}",
                "at": sorted(seen), "boxes": [[round(float(v), 1) for v in seen[i][1]] for i in sorted(seen)],
                "scores": [round(float(seen[i][2]), 4) for i in sorted(seen)],
                "masks": [encode_rle(seen[i][0]) for i in sorted(seen)],
            }
        )  # fmt: skip
    last = {ids[k]: encode_rle(seen[len(images) - 1][0]) for k, seen in found.items() if len(images) - 1 in seen}
    return {
        "source": shown_path(path), "clip": number, "frames": [f.index for f in clip],
        "times": [round(f.time_s, 4) for f in clip], "objects": objects, "last": last, "next_id": next_id,
        "last_picture": _thumbnail(images[-1]),
    }  # fmt: skip


def _linked(found: Mapping, known: Mapping[int, dict], next_id: int, keeps_ids: bool) -> tuple[dict, int]:
    """Global ids of a clip's objects: those of the clip before where the masks overlap, new ones otherwise."""
    ids: dict = {}
    if keeps_ids:
        ids = {local: local for local in found if isinstance(local, int) and local in known}
    else:
        first = {local: seen[0][0] for local, seen in found.items() if 0 in seen}
        before = {k: decode_rle(v) for k, v in known.items()}
        ids = {list(first)[a]: list(before)[b] for a, b in matched_masks(list(first.values()), list(before.values()))}
    for local in found:
        if local not in ids:
            ids[local], next_id = next_id, next_id + 1
    return ids, next_id


# ---- crops


def write_crop(
    images: Sequence[np.ndarray], seen: Seen, settings: ClipSettings, target: Path, fps: Fraction
) -> Path | None:
    """One object's small video: one scale for all frames, a smoothed path, black outside the picture.

    From the first frame it is seen in to the last; where it is hidden between, the path goes on. None if it is never
    seen.

    Args:
        images: the clip's pictures, uint8 (H, W, 3), BGR.
        seen: index of a picture -> (mask, box, score).
        settings: size, room and background of the crop.
        target: the .mp4 file.
        fps: of the crop.
    """
    if not seen:
        return None
    indices = sorted(seen)
    boxes = np.array([seen[i][1] for i in indices], np.float64)
    side = float((boxes[:, 2:] - boxes[:, :2]).max()) * (1 + 2 * settings.padding)
    frames = range(indices[0], indices[-1] + 1)
    centres = np.stack([np.interp(frames, indices, (boxes[:, i] + boxes[:, i + 2]) / 2) for i in (0, 1)], 1)
    if len(frames) > 2:
        centres = gaussian_filter1d(centres, 1.0, axis=0, mode="nearest")
    size = settings.crop_size // 2 * 2
    scale = size / max(side, 2.0)
    flags = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{target.parent}: cannot be made ({error.strerror})") from error
    rate = Fraction(fps)
    with SegmentWriter(target, FORMATS[".mp4"], (size, size), rate, 1 / rate) as writer:
        for place, index in enumerate(frames):
            mask = seen[index][0] if index in seen else np.zeros(images[0].shape[:2], bool)
            picture = _backed(images[index], mask, settings.background)
            writer.write(_window(picture, centres[place], scale, size, flags), place)
    return target


def _backed(image: np.ndarray, mask: np.ndarray, background: str) -> np.ndarray:
    if background == "keep":
        return image
    if background == "black":
        return image * mask[..., None]
    return np.where(mask[..., None], image, blurred(image, 16))


def _window(image: np.ndarray, centre: np.ndarray, scale: float, size: int, flags: int) -> np.ndarray:
    """A (size, size) crop around a centre; area-averaged when it shrinks, black outside."""
    side = size / scale
    x0, y0 = centre - side / 2
    low = np.floor([x0, y0]).astype(int)
    wide = int(np.ceil(side)) + 1
    part = np.zeros((wide, wide, 3), np.uint8)
    left, top = np.maximum(low, 0)
    right, bottom = np.minimum(low + wide, image.shape[1::-1])
    if right > left and bottom > top:
        part[top - low[1] : bottom - low[1], left - low[0] : right - low[0]] = image[top:bottom, left:right]
    shift = np.array([[1, 0, low[0] - x0], [0, 1, low[1] - y0]], np.float64)
    moved = cv2.warpAffine(part, shift, (int(np.ceil(side)), int(np.ceil(side))), flags=cv2.INTER_LINEAR)
    return cv2.resize(moved, (size, size), interpolation=flags)

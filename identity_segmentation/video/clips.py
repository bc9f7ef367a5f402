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
import os
import re
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from fractions import Fraction
from itertools import count
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
from ..types import Frame
from .clip_settings import ClipSettings, chosen_clips
from .cuts import CutDetector
from .facts import VideoInfo
from .files import VideoReader
from .finders import Finder, Seen, finder_for, matched_masks
from .frame_times import frame_times
from .sources import Listed, videos_in
from .writing import FORMATS, SegmentWriter

# Seconds. Matroska's time stamps are whole milliseconds, so that those of a steady rate are off by up to one.
_STEADY = 0.002


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
    folder: str | os.PathLike | Sequence[str | os.PathLike] | Listed,
    out: Path,
    settings: ClipSettings,
    segmenter: BoxSegmenter,
    face_engine: FaceEngine | None = None,
    progress: Callable[[str, int, int], None] | None = None,
    detector: Callable[[], ObjectDetector | None] = any_detector,
) -> list[VideoOutcome]:
    """Cut every video of folders, all the way down, or of those given; see the module.

    Files: ``OUT/VIDEO/clip_00000/object_001.mp4``, ``OUT/VIDEO/clip_00000.json``, ``OUT/manifest.jsonl``.

    Args:
        folder: of videos; or a video, a pattern, several of them, or what `videos_in` listed.
        out: folder of all results.
        settings: what to look for, and how to cut it out.
        segmenter: draws what is found.
        face_engine: finds people and faces, where the segmenter knows no words.
        progress: called with (video, clips done, clips in all; 0 where the container does not say).
        detector: gives the engine that finds bodies and things, where the segmenter knows no words; or None.

    Returns:
        One outcome per video, broken ones included.

    Raises:
        InputError: no videos there.
        EngineUnavailable: the engine does not know the word.
        OutputError: `out` cannot be written.
    """
    listed = _listed(folder)
    if not listed.taken and not listed.broken:
        raise InputError(listed.why_none())
    finder = finder_for(settings, segmenter, face_engine, detector)
    outcomes = [VideoOutcome(shown_path(path), reason) for path, reason in listed.broken]
    records: list[dict] = []
    taken: set[str] = set()
    for path in listed.taken:
        started = time.perf_counter()
        target = own_folder(Path(out), path, "source.json", taken)
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
    _write_manifest(Path(out), records)
    return outcomes


def _listed(given: str | os.PathLike | Sequence[str | os.PathLike] | Listed) -> Listed:
    if isinstance(given, Listed):
        return given
    return videos_in([given] if isinstance(given, str | os.PathLike) else given)


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
    """(a clip's record, was it kept from before) of every clip asked for. What is decoded is the truth: the container's
    word on the length serves the progress bar alone."""
    with VideoReader(path) as reader:
        info = reader.info
        wanted = None if _takes_all(settings) else chosen_clips(settings, frame_times(path), path)
        span = settings.frames_per_clip * settings.frame_step
        total = -(-info.frames // span) if wanted is None else len(wanted)
        job = _Clips(path, out, settings, finder, info)
        frames = reader.frames(0, settings.frame_step)
        done: list[int] = []
        for number, clip, finished in _in_clips(frames, span, wanted, job.finished):
            record = job.record(number, clip, finished)
            done.append(number)
            if progress:
                progress(shown_path(path), len(done), max(total, len(done)))
            yield record, finished is not None
        outcome.status = reader.warning() or "done"
        if not reader.truncated:
            _sweep(out, set(done))


def _takes_all(settings: ClipSettings) -> bool:
    return settings.clips == "all" and not settings.between


def _in_clips(
    frames: Iterator[Frame], span: int, wanted: Sequence[int] | None, finished: Callable[[int], dict | None]
) -> Iterator[tuple[int, list[Frame], dict | None]]:
    """(number, frames, record from before) of every clip asked for, to the last frame that can be decoded; without its
    frames where there is a record."""
    asked = None if wanted is None else set(wanted)
    pending = next(frames, None)
    for number in count():
        if pending is None:
            return
        mine = asked is None or number in asked
        before = finished(number) if mine else None
        clip = []
        while pending is not None and pending.index < (number + 1) * span:
            if mine and before is None:
                clip.append(pending)
            pending = next(frames, None)
        if mine:
            yield number, clip, before


class _Clips:
    """The clips of one video: each is kept from before, or made, in order; ids go on from one to the next."""

    def __init__(self, path: Path, out: Path, settings: ClipSettings, finder: Finder, info: VideoInfo):
        self.path, self.out, self.settings, self.finder, self.info = path, out, settings, finder, info
        self.boxes = tuple((*clip_box(b[:4], (info.height, info.width)).tolist(), b[4]) for b in settings.boxes)
        self.rate = info.fps / settings.frame_step
        self._cache_key = _cache_key(path, settings, finder)
        self._known: dict[int, dict] = {}
        self._previous, self._next_id = -2, 1
        self._before: str | None = None

    def finished(self, number: int) -> dict | None:
        """A clip's record from before, if it answers the same question and its crops are there."""
        file = self._file(number)
        try:
            record = json.loads(file.read_bytes())
            crops = [file.parent / o["crop"] for o in record["objects"] if o["crop"]]
            same = record["question"] == self._question(record["times"])
            return record if same and all(c.is_file() for c in crops) else None
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def record(self, number: int, clip: Sequence[Frame], finished: dict | None) -> dict:
        """A clip's record: the one from before, or one made now."""
        if self._previous != number - 1:
            self._known, self._before = {}, None
        record = finished
        if record is None:
            if self._before is not None and _is_cut(self._before, clip[0].image):
                self._known = {}  # after a cut nobody knows whether it is the same
            record = self._made(number, clip)
        self._known = {int(k): v for k, v in record["last"].items()}
        self._next_id, self._previous, self._before = record["next_id"], number, record["last_picture"]
        return record

    def _made(self, number: int, clip: Sequence[Frame]) -> dict:
        earlier = _crops_listed(self._file(number))
        record = self._followed(number, clip)
        record["question"] = self._question(record["times"])
        with atomic_write(self._file(number)) as file:
            file.write(json.dumps(record, ensure_ascii=False).encode())
        for stale in earlier - {o["crop"] for o in record["objects"]}:
            (self.out / stale).unlink(missing_ok=True)
        return record

    def _followed(self, number: int, clip: Sequence[Frame]) -> dict:
        settings, step = self.settings, self.settings.frame_step
        images = [f.image for f in clip]
        seeds: list[tuple[int, Sequence[float]]] = [
            (i, b[:4]) for b in self.boxes for i, f in enumerate(clip) if f.index <= b[4] < f.index + step
        ]
        found = self.finder.find(images, seeds, {k: decode_rle(v) for k, v in self._known.items()})
        ids, next_id = _linked(found, self._known, self._next_id, self.finder.keeps_ids)
        folder = self.out / f"clip_{number:05d}"
        times = [round(f.time_s, 4) for f in clip]
        rate = self.rate
        stamps: tuple[int, ...] = ()
        if not self._is_steady(times):
            stamps = tuple(f.pts for f in clip)
            seconds = Fraction(stamps[-1] - stamps[0]) * self.info.time_base
            rate = ((len(clip) - 1) / seconds).limit_denominator(1001)
        objects = []
        for local, seen in sorted(found.items(), key=lambda item: ids[item[0]]):
            target = folder / f"object_{ids[local]:03d}.mp4"
            crop = write_crop(images, seen, settings, target, rate, stamps, self.info.time_base, self.info)
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
            "source": shown_path(self.path), "clip": number, "frames": [f.index for f in clip], "times": times,
            "objects": objects, "last": last, "next_id": next_id, "last_picture": _thumbnail(images[-1]),
        }  # fmt: skip

    def _is_steady(self, times: Sequence[float]) -> bool:
        """Do frames stand where the container's rate puts them?"""
        return all(abs(t - times[0] - i / float(self.rate)) <= _STEADY for i, t in enumerate(times))

    def _question(self, times: Sequence[float]) -> str:
        """Cache key of a clip. Crops of unsteady clips have the source's own time stamps: another answer."""
        return self._cache_key if self._is_steady(times) else f"{self._cache_key} stamps"

    def _file(self, number: int) -> Path:
        return self.out / f"clip_{number:05d}.json"


def _sweep(out: Path, done: set[int]) -> None:
    """Put away what an earlier run left of clips that are not this run's."""
    for old in out.glob("clip_*.json"):
        named = old.stem.removeprefix("clip_")
        if named.isdigit() and int(named) not in done:
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
    images: Sequence[np.ndarray],
    seen: Seen,
    settings: ClipSettings,
    target: Path,
    fps: Fraction,
    stamps: Sequence[int] = (),
    time_base: Fraction | None = None,
    info: VideoInfo | None = None,
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
        stamps: the pictures' own time stamps, where their rate is not steady; none = 1 / `fps` apart.
        time_base: unit of the stamps, in seconds.
        info: of the video, for its colours and the shape of its pixels; None = as players take them.
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
    rate, unit = Fraction(fps), 1 / Fraction(fps)
    if stamps and time_base is not None:
        unit = time_base
    else:
        stamps = range(len(images))
    colour, aspect = (None, Fraction(1)) if info is None else (info.colour, info.pixel_aspect)
    with SegmentWriter(target, FORMATS[".mp4"], (size, size), rate, unit, colour, aspect) as writer:
        for place, index in enumerate(frames):
            mask = seen[index][0] if index in seen else np.zeros(images[0].shape[:2], bool)
            picture = _backed(images[index], mask, settings.background)
            writer.write(_window(picture, centres[place], scale, size, flags), stamps[index] - stamps[indices[0]])
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

"""A word and a folder of long videos -> clips -> tracked objects -> one small video per object.

Every clip is a unit of work: its frames are read once, its objects followed, their crops written, and its record last;
a killed run does only the unfinished clip again. Ids are stable through a clip, and across consecutive clips by overlap
of the masks. What finds the objects is the engine: SAM 3 takes any word, with its own video memory; the embedded engine
takes `person` and `face`, and anything that a box is drawn around.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import sys
import time
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from datetime import datetime
from datetime import time as clock
from fractions import Fraction
from itertools import takewhile
from pathlib import Path

import cv2
import numpy as np
from scipy.ndimage import gaussian_filter1d
from scipy.optimize import linear_sum_assignment

from .engines.protocols import BoxSegmenter, FaceEngine, TextSegmenter, WordTracker
from .errors import EngineUnavailable, InputError, OutputError, VideoError
from .files import atomic_write, own_folder, shown_path, source_name, write_json
from .geometry import clip_box, decode_rle, encode_rle, mask_box, mask_iou
from .images import blurred
from .instances import everyone
from .phrases import KINDS_OF_PEOPLE, parse_phrase
from .propagation import Propagator, box_opinion, box_seed
from .tracking import CutDetector
from .types import Face, Segment
from .video import FORMATS, VIDEO_SUFFIXES, SegmentWriter, VideoReader

BACKGROUNDS = ("black", "keep", "blur")
_SAME = 0.2  # IoU of two masks in neighbouring sampled frames from which they are one object
_LOST = 5  # sampled frames that an object outlives unseen
_DATE = re.compile(r"(?<!\d)(?:19|20)\d{2}([-_.]?)[01]\d\1[0-3]\d(?!\d)[-_ T.]*")
_CLOCK = re.compile(r"(?<!\d)([01]\d|2[0-3])[-_.:h]([0-5]\d)(?:[-_.:m]([0-5]\d))?(?!\d)")  # 09-15-00
_BARE_CLOCK = re.compile(r"([01]\d|2[0-3])([0-5]\d)([0-5]\d)?(?!\d)")  # 091500, right after a date only


@dataclass(frozen=True)
class ClipSettings:
    """What to cut out of videos.

    Attributes:
        prompt: a word or phrase, in English, Korean or Thai; "" where boxes are given.
        frames_per_clip, frame_step: sampled frames in a clip, and frames between two of them.
        clips: "all"; a number: so many, spread evenly; "random:N": N at random, by `seed`.
        seed: of the random choice.
        between: "" or "HH:MM-HH:MM" of the day, for videos whose name or metadata says when they were taken.
        boxes: (x0, y0, x1, y1, frame) each: follow what is in them, from the clip that holds the frame on.
        crop_size: side of a crop, in pixels.
        padding: room around the object, in its longer side.
        background: "black" (nothing but the object's own pixels), "keep", or "blur".
        threshold: least score of a detection.
    """

    prompt: str = ""
    frames_per_clip: int = 20
    frame_step: int = 1
    clips: str = "all"
    seed: int = 0
    between: str = ""
    boxes: tuple[tuple[float, float, float, float, int], ...] = ()
    crop_size: int = 224
    padding: float = 0.1
    background: str = "black"
    threshold: float = 0.5

    def __post_init__(self):
        for name in ("prompt", "between", "background"):
            if not isinstance(getattr(self, name), str):
                raise InputError(f"expected {name} as text, got {getattr(self, name)!r}")
        for name in ("padding", "threshold"):
            if isinstance(getattr(self, name), bool) or not isinstance(getattr(self, name), int | float):
                raise InputError(f"expected {name} as a number, got {getattr(self, name)!r}")
        if any(len(b) != 5 or not all(isinstance(v, int | float) for v in b) for b in self.boxes):
            raise InputError(f"expected boxes of five numbers, x0, y0, x1, y1 and the frame; got {self.boxes!r}")
        numbers = (
            ("frames_per_clip", 1, 10_000), ("frame_step", 1, 10_000), ("crop_size", 16, 4096), ("seed", 0, 2**31),
        )  # fmt: skip
        for name, low, high in numbers:
            value = getattr(self, name)
            if not isinstance(value, int) or not low <= value <= high:
                raise InputError(f"expected {name} as a whole number between {low} and {high}, got {value!r}")
        if not 0 <= self.padding <= 2 or not 0 <= self.threshold <= 1:
            raise InputError(f"expected padding 0..2 and threshold 0..1, got {self.padding} and {self.threshold}")
        if self.background not in BACKGROUNDS:
            raise InputError(f"unknown background {self.background!r}; expected {', '.join(BACKGROUNDS)}")
        if not self.prompt.strip() and not self.boxes:
            raise InputError("expected a word to look for (--prompt cow), or a box (--box x0,y0,x1,y1@frame)")
        if not re.fullmatch(r"all|[1-9]\d*|random:[1-9]\d*", self.clips):
            raise InputError(f"expected clips as all, a number, or random:N; got {self.clips!r}")
        if self.between:
            parse_between(self.between)

    @classmethod
    def from_toml(cls, path: Path, **given) -> ClipSettings:
        """Settings of a TOML file, with what is given laid over them."""
        try:
            content = tomllib.loads(Path(path).read_text("utf-8"))
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            raise InputError(f"{path}: not a configuration that can be read ({error})") from error
        known = {f.name for f in fields(cls)}
        unknown = sorted(set(content) - known)
        if unknown:
            raise InputError(f"{path}: unknown {', '.join(unknown)}; expected {', '.join(sorted(known))}")
        if "boxes" in content:
            content["boxes"] = tuple(parse_box(b) if isinstance(b, str) else tuple(b) for b in content["boxes"])
        if isinstance(content.get("clips"), int):
            content["clips"] = str(content["clips"])
        return cls(**(content | {k: v for k, v in given.items() if v is not None}))


def parse_box(text: str) -> tuple[float, float, float, float, int]:
    """ "x0,y0,x1,y1@frame" as numbers."""
    match = re.fullmatch(r"\s*{0},{0},{0},{0}(?:@(\d+))?\s*".format(r"(\d+(?:\.\d+)?)"), text)
    if not match:
        raise InputError(f"expected a box as x0,y0,x1,y1@frame, got {text!r}")
    return (*(float(v) for v in match.groups()[:4]), int(match.group(5) or 0))


def parse_between(text: str) -> tuple[clock, clock]:
    """ "HH:MM-HH:MM" as two times of the day."""
    match = re.fullmatch(r"\s*(\d{1,2}):(\d{2})\s*-\s*(\d{1,2}):(\d{2})\s*", text)
    try:
        h0, m0, h1, m1 = (int(v) for v in match.groups())
        return clock(h0, m0), clock(h1, m1)
    except (AttributeError, ValueError) as error:
        raise InputError(f"expected a time of day as HH:MM-HH:MM (09:00-17:00), got {text!r}") from error


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
) -> list[VideoOutcome]:
    """Cut every video of a folder (or the one given); see the module.

    Files: ``OUT/VIDEO/clip_00000/object_001.mp4``, ``OUT/VIDEO/clip_00000.json``, ``OUT/manifest.jsonl``.

    Args:
        progress: called with (video, clips done, clips in all).

    Raises:
        InputError: no videos there.
        EngineUnavailable: the engine does not know the word.
        OutputError: `out` cannot be written.
    """
    folder, out = Path(folder), Path(out)
    videos = [folder] if folder.is_file() else sorted(p for p in folder.glob("*") if p.suffix.lower() in VIDEO_SUFFIXES)
    if not videos:
        raise InputError(f"no videos in {folder}; expected files ending in {', '.join(VIDEO_SUFFIXES)}")
    finder = _finder(settings, segmenter, face_engine)
    outcomes, records, taken = [], [], set()
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
    with atomic_write(out / "manifest.jsonl") as file:
        for record in records:
            for row in record["objects"] or [{}]:
                common = {k: record[k] for k in ("source", "clip", "frames", "times")}
                file.write(json.dumps(common | row, ensure_ascii=False).encode() + b"\n")
    return outcomes


def release_gpu() -> float:
    """Give cached GPU memory back; returns the peak in bytes so far (0 without a GPU)."""
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_available():
        return 0.0
    torch.cuda.empty_cache()
    return float(torch.cuda.max_memory_allocated())


# ---- one video


def _clips_of(
    path: Path, out: Path, settings: ClipSettings, finder: _Finder, outcome: VideoOutcome, progress
) -> Iterator[tuple[dict, bool]]:
    with VideoReader(path) as reader:
        info = reader.info
        if not info.frames:
            raise VideoError(f"{path} does not say how long it is; expected a file whose container does")
        wanted = chosen_clips(settings, info.frames, float(info.fps), path)
        boxes = tuple((*clip_box(b[:4], (info.height, info.width)).tolist(), b[4]) for b in settings.boxes)
        question = _question(path, settings, finder)
        span = settings.frames_per_clip * settings.frame_step
        frames = reader.frames(0, settings.frame_step)
        carried: dict[int, dict] = {}
        previous, next_id, done = -2, 1, 0
        before: str | None = None
        pending = next(frames, None)
        for number in range(-(-info.frames // span)):
            clip = []
            finished = _finished(out / f"clip_{number:05d}.json", question) if number in wanted else None
            while pending is not None and pending.index < (number + 1) * span:
                if number in wanted and finished is None:
                    clip.append(pending)
                pending = next(frames, None)
            if number not in wanted:
                continue
            if previous != number - 1:
                carried, before = {}, None
            record = finished
            if record is None:
                if not clip:
                    break
                if before is not None and _is_cut(before, clip[0].image):
                    carried = {}  # after a cut nobody knows whether it is the same
                earlier = _crops_listed(out / f"clip_{number:05d}.json")
                record = _one_clip(number, clip, out, settings, finder, boxes, carried, next_id, info.fps, path)
                record["question"] = question
                with atomic_write(out / f"clip_{number:05d}.json") as file:
                    file.write(json.dumps(record, ensure_ascii=False).encode())
                for stale in earlier - {o["crop"] for o in record["objects"]}:
                    (out / stale).unlink(missing_ok=True)
            carried = {int(k): v for k, v in record["last"].items()}
            next_id, previous, before = record["next_id"], number, record["look"]
            done += 1
            if progress:
                progress(shown_path(path), done, len(wanted))
            yield record, finished is not None
        for _ in frames:
            pass
        outcome.status = reader.warning() or "done"
        for record in out.glob("clip_*.json"):  # of an earlier question that had other clips
            number = record.stem.removeprefix("clip_")
            if number.isdigit() and int(number) not in wanted:
                for stale in _crops_listed(record):
                    (out / stale).unlink(missing_ok=True)
                record.unlink(missing_ok=True)


def _crops_listed(record: Path) -> set[str]:
    """Crops that a clip's record names, relative to the video's folder."""
    try:
        crops = {o["crop"] for o in json.loads(record.read_bytes())["objects"] if o["crop"]}
    except (OSError, ValueError, KeyError, TypeError):
        return set()
    return {c for c in crops if re.fullmatch(r"clip_\d+/object_\d+\.mp4", c)}


def _look(image: np.ndarray) -> str:
    """A thumbnail as text: enough to tell a cut by."""
    small = cv2.resize(image, (64, 36), interpolation=cv2.INTER_AREA)
    return base64.b64encode(cv2.imencode(".png", small)[1].tobytes()).decode()


def _is_cut(before: str, image: np.ndarray) -> bool:
    detector = CutDetector()
    detector.update(cv2.imdecode(np.frombuffer(base64.b64decode(before), np.uint8), cv2.IMREAD_COLOR))
    return detector.update(image)


def chosen_clips(settings: ClipSettings, frames: int, fps: float, path: Path) -> list[int]:
    """Numbers of the clips that are asked for. The last clip may be shorter.

    Raises:
        InputError: `between` is given, and nothing says when the video was taken.
    """
    span = settings.frames_per_clip * settings.frame_step
    every = list(range(-(-frames // span)))
    if settings.between:
        begin, end = parse_between(settings.between)
        start = taken_at(path)
        if start is None:
            raise InputError(f"{path}: neither its name nor its metadata says when it was taken, as --between needs")
        seconds = start.hour * 3600 + start.minute * 60 + start.second

        def inside(number: int) -> bool:
            at = (seconds + number * span / fps) % 86400
            low, high = begin.hour * 3600 + begin.minute * 60, end.hour * 3600 + end.minute * 60
            return low <= at < high if low <= high else at >= low or at < high  # over midnight

        every = [number for number in every if inside(number)]
    if settings.clips == "all" or not every:
        return every
    count = min(len(every), int(settings.clips.split(":")[-1]))
    if settings.clips.startswith("random"):
        rng = np.random.default_rng([settings.seed, int(hashlib.sha256(path.name.encode()).hexdigest()[:8], 16)])
        return sorted(rng.choice(every, count, replace=False).tolist())
    return sorted({every[round(i)] for i in np.linspace(0, len(every) - 1, count)})


def taken_at(path: Path) -> datetime | None:
    """When a video was taken: by its name, or by its metadata."""
    date = _DATE.search(path.stem)
    rest = path.stem[date.end() :] if date else path.stem
    match = _CLOCK.match(rest) or _BARE_CLOCK.match(rest) if date else _CLOCK.search(rest)
    if match:
        hour, minute, second = (int(v or 0) for v in match.groups())
        return datetime(2000, 1, 1, hour, minute, second)
    import av

    try:
        with av.open(str(path)) as container:
            text = container.metadata.get("creation_time", "")
    except av.error.FFmpegError:
        return None
    try:
        # Containers say it in universal time; the hours of the day that are asked for are those of this place.
        return datetime.fromisoformat(text.replace("Z", "+00:00")).astimezone() if text else None
    except ValueError:
        return None


def _question(path: Path, settings: ClipSettings, finder: _Finder) -> str:
    stat = path.stat()
    asked = [path.name, stat.st_size, stat.st_mtime_ns, asdict(settings), finder.id]
    return hashlib.sha256(json.dumps(asked, ensure_ascii=False).encode()).hexdigest()


def _finished(path: Path, question: str) -> dict | None:
    try:
        record = json.loads(path.read_bytes())
        crops = [path.parent / o["crop"] for o in record["objects"] if o["crop"]]
        return record if record["question"] == question and all(c.is_file() for c in crops) else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _one_clip(number, clip, out: Path, settings, finder, boxes, carried, next_id, fps, path) -> dict:
    images = [f.image for f in clip]
    seeds = [(i, b[:4]) for b in boxes for i, f in enumerate(clip) if f.index <= b[4] < f.index + settings.frame_step]
    found = finder.find(images, seeds, {k: decode_rle(v) for k, v in carried.items()})
    ids, next_id = _linked(found, carried, next_id, finder.keeps_ids)
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
        "look": _look(images[-1]),
    }  # fmt: skip


def _linked(found: Mapping, carried: Mapping[int, dict], next_id: int, keeps_ids: bool) -> tuple[dict, int]:
    """Global ids of a clip's objects: those of the clip before where the masks overlap, new ones otherwise."""
    ids: dict = {}
    if keeps_ids:
        ids = {local: local for local in found if isinstance(local, int) and local in carried}
    else:
        first = {local: seen[0][0] for local, seen in found.items() if 0 in seen}
        before = {k: decode_rle(v) for k, v in carried.items()}
        ids = {list(first)[a]: list(before)[b] for a, b in _pairs(list(first.values()), list(before.values()))}
    for local in found:
        if local not in ids:
            ids[local], next_id = next_id, next_id + 1
    return ids, next_id


def _pairs(a: Sequence[np.ndarray], b: Sequence[np.ndarray]) -> list[tuple[int, int]]:
    """Masks that are each other's: the assignment of the largest total IoU, from `_SAME` on."""
    if not a or not b:
        return []
    overlap = np.array([[mask_iou(x, y) for y in b] for x in a])
    rows, columns = linear_sum_assignment(-overlap)
    return [(int(r), int(c)) for r, c in zip(rows, columns, strict=True) if overlap[r, c] >= _SAME]


# ---- finding objects in a clip
# Every finder gives: local id -> index of the frame -> (mask bool (H, W), box, score).

Seen = dict[int, tuple[np.ndarray, np.ndarray, float]]


class _Finder:
    keeps_ids = False

    def __init__(self, settings: ClipSettings, segmenter, face_engine, thing: str = ""):
        self.settings, self.segmenter, self.face_engine, self.thing = settings, segmenter, face_engine, thing
        self.id = f"{type(self).__name__} {segmenter.id} {face_engine.id if face_engine else ''}"

    def find(
        self, images: list[np.ndarray], seeds: list[tuple[int, Sequence[float]]], carried: dict[int, np.ndarray]
    ) -> dict:
        raise NotImplementedError


class _Memory(_Finder):
    """The engine's own word tracker: one pass, several instances, late comers included."""

    def find(self, images, seeds, carried):
        found: dict[int, Seen] = {}
        for index, row in enumerate(self.segmenter.follow_words(images, [self.thing], self.settings.threshold)):
            for _, number, segment in row:
                found.setdefault(number, {})[index] = (segment.mask, segment.box, segment.score)
        return found


class _EveryFrame(_Finder):
    """Words in every frame, joined by overlap; an object unseen for a while is taken up again where it was."""

    def find(self, images, seeds, carried):
        found: dict[int, Seen] = {}
        last: dict[int, tuple[int, np.ndarray]] = {}
        cuts = CutDetector()
        for index, image in enumerate(images):
            if cuts.update(image):
                last = {}
            segments = [s for s in self._segments(image) if s.score >= self.settings.threshold and s.area]
            keys = [k for k, (when, _) in last.items() if index - when <= _LOST]
            matched = dict(_pairs([s.mask for s in segments], [last[k][1] for k in keys]))
            for i, segment in enumerate(segments):
                number = keys[matched[i]] if i in matched else len(found) + 1
                found.setdefault(number, {})[index] = (segment.mask, segment.box, segment.score)
                last[number] = (index, segment.mask)
        return found

    def _segments(self, image: np.ndarray) -> list[Segment]:
        return self.segmenter.by_text(self.segmenter.encode(image), self.thing)


class _People(_EveryFrame):
    """People and faces, by an engine that knows no words."""

    def _segments(self, image):
        if self.thing == "face":
            faces = [f for f in self.face_engine.faces(image, embed=False) if _within(f, image.shape)]
            ovals = [(_oval(image.shape, f.box), f) for f in faces]
            return [Segment(mask, f.score, mask_box(mask), self.segmenter.id) for mask, f in ovals if mask.any()]
        # The threshold is one of words; a body that was found is one.
        people = everyone(image, self.segmenter, self.face_engine)
        return [replace(person, score=max(person.score, self.settings.threshold)) for person in people]


class _Boxes(_Finder):
    """What is in boxes drawn by hand, from the clip that holds the box on."""

    keeps_ids = True

    def find(self, images, seeds, carried):
        propagator, found = Propagator(), {}
        small = [propagator.flow.small(image) for image in images]
        shape = small[0].shape[:2]
        for number, mask in carried.items():
            region = cv2.resize(mask.astype(np.uint8), shape[::-1], interpolation=cv2.INTER_AREA) > 0
            self._follow(found, number, small, images, 0, 1, np.zeros(shape, np.float32), propagator, region)
        for start, box in seeds:
            number = ("box", start, *box)
            factor = np.tile(np.array(shape[::-1]) / images[0].shape[1::-1], 2)
            odds = box_seed(shape, np.array(box) * factor)
            for step in (1, -1):
                self._follow(found, number, small, images, start, step, odds, propagator)
        return found

    def _follow(self, found, number, small, images, start, step, odds, propagator, mask=None) -> None:
        order = list(range(start, len(small) if step > 0 else -1, step))
        cuts = CutDetector()
        order = list(takewhile(lambda i: not cuts.update(small[i]), order))

        def opinion(n: int, picture: np.ndarray, box: np.ndarray) -> np.ndarray:
            return box_opinion(self.segmenter, picture, box)

        pictures = ((small[i], True) for i in order)
        for n, region in propagator.follow(pictures, self.settings.frame_step, odds, opinion, mask):
            full = cv2.resize(region, images[0].shape[1::-1], interpolation=cv2.INTER_LINEAR) > 0.5
            box = mask_box(full)
            if box is not None:
                found.setdefault(number, {})[order[n]] = (full, box, float(region[region > 0.5].mean()))


def _finder(settings: ClipSettings, segmenter, face_engine) -> _Finder:
    if settings.boxes:
        return _Boxes(settings, segmenter, face_engine)
    thing = parse_phrase(settings.prompt, {}).thing
    if isinstance(segmenter, WordTracker) and segmenter.can_track:
        return _Memory(settings, segmenter, face_engine, thing)
    if isinstance(segmenter, TextSegmenter):
        return _EveryFrame(settings, segmenter, face_engine, thing)
    if thing in ("person", "face") and face_engine is not None:
        return _People(settings, segmenter, face_engine, thing)
    hint = "it cannot tell them from other people; " if thing in ("person", *KINDS_OF_PEOPLE) else ""
    raise EngineUnavailable(
        f"the segmenter {segmenter.id} cannot look for {thing!r} in videos: {hint}it knows person and face, and what a "
        "box is drawn around (--box x0,y0,x1,y1@frame). For any word use SAM 3: --segmenter sam3-hf"
    )


def _within(face: Face, shape) -> bool:
    x, y = face.centre
    return 0 <= x < shape[1] and 0 <= y < shape[0]


def _oval(shape, box: np.ndarray) -> np.ndarray:
    canvas = np.zeros(shape[:2], np.uint8)
    x, y = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
    axes = (max(1, int((box[2] - box[0]) / 2)), max(1, int((box[3] - box[1]) / 1.8)))
    cv2.ellipse(canvas, (int(x), int(y)), axes, 0, 0, 360, 1, -1)
    return canvas > 0


# ---- crops


def write_crop(
    images: Sequence[np.ndarray], seen: Seen, settings: ClipSettings, target: Path, fps: Fraction
) -> Path | None:
    """One object's small video: one scale for all frames, a smoothed path, black outside the picture.

    From the first frame it is seen in to the last; where it is hidden between, the path goes on. None if it is never
    seen.
    """
    if not seen:
        return None
    indices = sorted(seen)
    boxes = np.array([seen[i][1] for i in indices], np.float64)
    side = float((boxes[:, 2:] - boxes[:, :2]).max()) * (1 + 2 * settings.padding)
    frames = np.arange(indices[0], indices[-1] + 1)
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

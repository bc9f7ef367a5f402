"""Changes of shot: how many of each kind are found, and how often one is told where there is none.

    python benchmarks/cuts.py [--data DIR] [--half choose|report] [--every N] [--set DIR]

Truth is made: shots of real clips, and photos under a slowly moving camera, are joined by hard cuts, dissolves and
fades at known frames; half of the joins are between shots of one clip. "Barred": with black bars around the picture.
Videos without a cut: flashes, strobes, light changes, whip pans, zooms, shaking, fast motion, noise at a low bit rate,
somebody close to the camera. The limits in identity_segmentation/video/shots.py were chosen on the half "choose";
"report" has other clips and photos. A change is found if a report touches it (within 2 frames; 4 if gradual); a report
that touches none is a false alarm. ms/frame: the detector alone, without decoding and without making its input
(thumbnails for ShotDetector, full pictures for the rest). The last table is on whole clips, whose cuts were found by
eye. Rivals need PySceneDetect: pip install scenedetect-headless.
"""

from __future__ import annotations

import json
import math
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from itertools import islice, pairwise
from pathlib import Path
from typing import NamedTuple

import av
import cv2
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent))
from _data import parser, require, table

from identity_segmentation.video.cuts import CutDetector
from identity_segmentation.video.files import VideoReader
from identity_segmentation.video.shots import ShotDetector, Transition

_FRIENDS, _COWS, _CAT = "identity/friends/friends.mp4", "videos/cow_herd.mp4", "videos/cat.mp4"
_HAMILTON, _OBAMA = (f"identity/face_recognition_examples/{n}.mp4" for n in ("short_hamilton_clip", "Obama_speaking"))
_BEDROOM, _DANCE = "videos/sam3_bedroom.mp4", "videos/dance_3people.mp4"
_REAL: dict[str, list[int]] = {
    _FRIENDS: [66, 147, 230], _HAMILTON: [20, 82, 211], _COWS: [36], _BEDROOM: [], _CAT: [], _DANCE: [], _OBAMA: []
}  # fmt: skip
_SHOTS = {  # (clip, first frame, frame after the last)
    "choose": [
        (_FRIENDS, 0, 66), (_FRIENDS, 66, 147), (_FRIENDS, 147, 230), (_FRIENDS, 230, 340), (_FRIENDS, 385, 448),
        (_COWS, 52, 150), (_COWS, 300, 400), (_DANCE, 0, 96),
        ("person_masks/DAVIS/JPEGImages/480p/breakdance", 0, 84), (_OBAMA, 0, 100),
    ],
    "report": [
        (_HAMILTON, 0, 20), (_HAMILTON, 20, 82), (_HAMILTON, 82, 211), (_HAMILTON, 211, 275), (_BEDROOM, 0, 200),
        (_CAT, 12, 120), (_CAT, 130, 297), ("person_masks/DAVIS/JPEGImages/480p/cows", 0, 104),
        ("person_masks/cutie_examples/images/judo", 0, 99),
    ],
}  # fmt: skip
_PHOTOS = {
    "choose": ("person_masks/coco_subset/images", "identity/ive/refs/*", "identity/ive/group"),
    "report": ("person_masks/PennFudanPed/PNGImages", "identity/bbt/group", "parsing/ccp/photos",
               "identity/face_recognition_examples/knn_examples/test"),
}  # fmt: skip
_JOINED = {"hard": 14, "barred hard": 14, "dissolve": 13, "barred dissolve": 13, "fade": 7, "barred fade": 6}
_UNCUT = {"flash": 6, "partial flash": 4, "strobe": 4, "whip": 9, "fast": 5, "shake": 5, "ramp": 4, "light switch": 5,
          "spotlight": 4, "lowbitrate": 5, "zoom": 5, "plain": 4, "occluder": 4}  # fmt: skip
_RIVALS = ("Adaptive", "Content", "Histogram", "Hash") if find_spec("scenedetect") else ()
_SIZES = [(640, 360), (640, 360), (480, 270), (512, 384), (320, 180), (360, 640)]

Size = tuple[int, int]
Pictures = list[np.ndarray]
Update = Callable[[np.ndarray, int], list[Transition]]  # a frame and its index -> what is told then


class Video(NamedTuple):
    """A video of the test set and the changes of shot in it."""

    file: str
    group: str
    fps: int
    frames: int
    truth: list[Transition]


@dataclass
class Source:
    """A source of any number of frames: a real clip forwards and back, or a photo under a slowly moving camera."""

    name: str
    pictures: Pictures
    crop: tuple  # centre x, y and side, as shares; of a photo a pair of them: where the camera starts and ends
    offset: int = 0
    speed: int = 1
    shake: float = 0.0

    def frame(self, i: int, size: Size, length: int) -> np.ndarray:
        """The i-th frame of so many."""
        k = (self.offset + i * self.speed) % max(1, 2 * len(self.pictures) - 2)
        image = self.pictures[min(k, 2 * len(self.pictures) - 2 - k)]
        x, y, side = self.crop if len(self.pictures) > 1 else between(self.crop[0], self.crop[1], i / length)
        x += self.shake * (math.sin(i * 0.9) + math.sin(i * 2.3 + 1)) / 2
        y += self.shake * (math.sin(i * 1.3 + 2) + math.sin(i * 2.9)) / 2
        return window(image, (x, y, side), size)


def between(a: tuple, b: tuple, share: float) -> tuple:
    """Numbers on the way from a to b."""
    share = min(1.0, max(0.0, share))
    return tuple((1 - share) * x + share * y for x, y in zip(a, b, strict=True))


def mixed(a: np.ndarray, b: np.ndarray, share: float) -> np.ndarray:
    """A picture on the way from a to b."""
    return cv2.addWeighted(a, 1 - share, b, share, 0)


def window(image: np.ndarray, crop: tuple, size: Size) -> np.ndarray:
    """A part of a picture: centre x, y and side, as shares of the largest window of the asked shape."""
    h, w = image.shape[:2]
    fit = min(w / size[0], h / size[1])
    wide, high = size[0] * fit * crop[2], size[1] * fit * crop[2]
    x, y = min(max(crop[0] * w - wide / 2, 0), w - wide), min(max(crop[1] * h - high / 2, 0), h - high)
    s = size[0] / wide
    m = np.array([[s, 0, -x * s + (s - 1) / 2], [0, s, -y * s + (s - 1) / 2]])
    if s < 0.6:
        image = cv2.resize(image, (max(1, round(w * s)), max(1, round(h * s))), interpolation=cv2.INTER_AREA)
        m = np.array([[1, 0, -x * s], [0, 1, -y * s]])
    return cv2.warpAffine(image, m, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


def shrunk(image: np.ndarray) -> np.ndarray:
    """At most 640 pixels on the longer side."""
    s = 640 / max(image.shape[:2])
    return cv2.resize(image, None, fx=s, fy=s, interpolation=cv2.INTER_AREA) if s < 1 else image


def clip(path: Path, first: int, end: int) -> Pictures:
    """Frames of a video file or of a folder of pictures; of the cows without their black pillars."""
    if path.is_dir():
        return [shrunk(np.asarray(cv2.imread(str(p)))) for p in sorted(path.glob("*.jpg"))[first:end]]
    with VideoReader(path) as reader:
        pictures = [shrunk(f.image) for f in islice(reader.frames(first), end - first)]
    if path.name != Path(_COWS).name:
        return pictures
    mean = np.mean(pictures[::10], axis=(0, 3))
    rows, columns = (np.flatnonzero(np.median(mean, axis) > 24) for axis in (1, 0))
    return [np.ascontiguousarray(p[rows[0] : rows[-1] + 1, columns[0] + 2 : columns[-1] - 1]) for p in pictures]


class Maker:
    """Write the videos of one half into a folder."""

    def __init__(self, data: Path, folder: Path, half: str):
        self.folder, self.half, self.videos = folder, half, list[Video]()
        self.rng = np.random.default_rng({"choose": 1, "report": 2}[half])
        self.clips = [(name, clip(data / name, first, end)) for name, first, end in _SHOTS[half]]
        files = [f for pattern in _PHOTOS[half] for d in sorted(data.glob(pattern)) for f in sorted(d.iterdir())]
        photos = [(str(f), np.asarray(cv2.imread(str(f)))) for f in files if f.suffix in (".jpg", ".png")]
        self.photos = [(n, shrunk(p)) for n, p in photos if min(p.shape[:2]) > 250 and p.std() > 25]
        for make, groups in ((self.join, _JOINED), (self.uncut, _UNCUT)):
            for group in (g for g, count in groups.items() for _ in range(count)):
                make(group)

    def pick(self, before: Source | None = None, same: bool = False) -> Source:
        """A shot unlike `before`; `same`: of the same clip (another shot of it, or another part of the picture)."""
        rng = self.rng
        while True:
            choices = self.clips
            if same and before is not None and len(before.pictures) > 1:
                choices = [c for c in self.clips if c[0] == before.name]
            elif rng.random() >= 0.6:
                name, photo = self.photos[rng.integers(len(self.photos))]
                start = (*rng.uniform(0.35, 0.65, 2), rng.uniform(0.6, 0.95))
                x, y, side = np.array(start) + rng.uniform(-0.12, 0.12, 3)
                shot = Source(name, [photo], (start, (x, y, min(side, 1))), shake=rng.choice([0, 0.004]))
                if before is None or before.name != name:
                    return shot
                continue
            name, pictures = choices[rng.integers(len(choices))]
            scale = rng.choice([1.0, 0.85, 0.6, 0.45])
            crop, offset = (*rng.uniform(0.25, 0.75, 2), scale), int(rng.integers(len(pictures)))
            shot = Source(name, pictures, crop, offset, shake=rng.choice([0, 0, 0.004]))
            if before is None or before.name != name:
                if not same:
                    return shot
                same = False  # there is no other shot of a photo
            elif before.pictures is not pictures or max(scale / before.crop[2], before.crop[2] / scale) > 1.5:
                return shot

    def join(self, group: str) -> None:
        """A video of several shots joined by one kind of change."""
        rng, kind, frames, truth = self.rng, group.split()[-1], Pictures(), list[Transition]()
        size = inner = _SIZES[rng.integers(len(_SIZES))]
        if kind != group and rng.random() < 0.4:
            inner = int(size[0] * rng.uniform(0.5, 0.75)) // 2 * 2, size[1]
        elif kind != group:
            inner = size[0], int(size[1] * rng.uniform(0.62, 0.8)) // 2 * 2
        shot, done = self.pick(), 0
        for left in reversed(range(8 if kind == "hard" else 7)):
            length = int(rng.integers(24, 70))
            frames += [shot.frame(done + i, inner, length + 130) for i in range(length)]
            if left:
                before, shot = shot, self.pick(shot, same=bool(rng.random() < 0.5))
                change, done = self.change(kind, before, done + length, shot, inner, length + 130)
                told = "cut" if kind == "hard" else kind
                truth.append(Transition(told, len(frames), len(frames) + len(change)))
                frames += change
        self.write(group, frames, size, truth)

    def change(
        self, kind: str, before: Source, at: int, after: Source, size: Size, length: int
    ) -> tuple[Pictures, int]:
        """The frames between two shots, and how many of the second one they use up."""
        rng = self.rng
        if kind == "hard":
            return [], 0
        if kind == "dissolve":
            n = int(rng.integers(8, 41))
            shares = (np.arange(n) + 1) / (n + 1)
            shares = shares**2 * (3 - 2 * shares) if rng.random() < 0.25 else shares
            ends = ((before.frame(at + i, size, length), after.frame(i, size, length)) for i in range(n))
            return [mixed(*pair, share) for pair, share in zip(ends, shares, strict=True)], n
        blank = np.full((size[1], size[0], 3), 255 if rng.random() < 0.35 else 0, np.uint8)
        out, hold, back = int(rng.integers(6, 26)), int(rng.integers(1, 16)), int(rng.integers(6, 26))
        style = rng.random()
        out, back = (0 if style < 0.12 else out), (0 if 0.12 <= style < 0.24 else back)
        away = [mixed(before.frame(at + i, size, length), blank, (i + 1) / (out + 1)) for i in range(out)]
        again = [mixed(blank, after.frame(i, size, length), (i + 1) / (back + 1)) for i in range(back)]
        return away + [blank] * hold + again, back

    def uncut(self, kind: str) -> None:
        """A video of one shot in which something else happens."""
        rng = self.rng
        size, n = _SIZES[rng.integers(len(_SIZES) - 1)], int(rng.integers(110, 160))
        shot = self.pick()
        if kind in ("fast", "lowbitrate", "plain"):
            name, pictures = self.clips[rng.integers(len(self.clips))]
            if kind == "fast":
                fast = [c for c in self.clips if any(w in c[0] for w in ("dance", "judo", "bedroom"))]
                name, pictures = fast[rng.integers(len(fast))]
            shot = Source(name, pictures, (0.5, 0.5, rng.choice([1.0, 0.7])), int(rng.integers(len(pictures))))
            shot.speed = int(rng.choice([1, 2])) if kind == "fast" and "judo" not in name else 1
        if kind == "shake":
            shot.shake = rng.uniform(0.02, 0.05)
            if len(shot.pictures) > 1:
                shot.crop = (*shot.crop[:2], min(0.8, shot.crop[2]))
        if kind in ("whip", "zoom"):
            _, photo = self.photos[rng.integers(len(self.photos))]
            frames = (whip if kind == "whip" else zoom)(photo, n, size, rng)
        else:
            frames = happening(kind, [shot.frame(i, size, n) for i in range(n)], rng)
        self.write(f"no cut, {kind}", frames, size, [])

    def write(self, group: str, frames: Pictures, size: Size, truth: list[Transition]) -> None:
        """Encode frames, with black bars up to a size."""
        rng, poor = self.rng, "lowbitrate" in group
        noise = rng.uniform(8, 20) if poor and rng.random() < 0.6 else 0.0
        fps = int(rng.choice([24, 25, 30, 30, 50]))
        options = {"preset": "veryfast", "crf": "42" if poor else str(rng.choice([18, 23, 28, 33]))}
        file = f"{self.half}, {group} {sum(v.group == group for v in self.videos)}.mp4"
        with av.open(str(self.folder / file), "w") as out:
            stream = out.add_stream("libx264", rate=fps, options=options)
            stream.width, stream.height, stream.pix_fmt, stream.thread_count = *size, "yuv420p", 1
            for image in frames:
                if noise:
                    image = cv2.add(image, cv2.randn(np.zeros(image.shape, np.int16), 0, noise), dtype=cv2.CV_8U)
                x, y = (size[0] - image.shape[1]) // 2, (size[1] - image.shape[0]) // 2
                image = np.pad(image, ((y, y), (x, x), (0, 0)))
                out.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="bgr24")))
            out.mux(stream.encode(None))
        self.videos.append(Video(file, group, fps, len(frames), truth))


def whip(photo: np.ndarray, n: int, size: Size, rng: np.random.Generator) -> Pictures:
    """Fast blurred pans over photo | mirrored photo | ..., with rests between."""
    photo = cv2.resize(photo, (round(photo.shape[1] * size[1] / photo.shape[0]), size[1]), interpolation=cv2.INTER_AREA)
    wide = np.hstack([photo, photo[:, ::-1]] * 3)
    far = wide.shape[1] - size[0] - 2
    place, places = rng.uniform(0.2, 0.8) * far, list[float]()
    while len(places) < n:
        places += [place + 2 * math.sin(i * 0.3) for i in range(int(rng.integers(12, 40)))]
        goal = min(max(place + rng.uniform(0.6, 2.2) * size[0] * rng.choice([-1, 1]), 2), far - 2)
        m = max(4, int(abs(goal - place) / (size[0] * rng.uniform(0.06, 0.3))))
        places += [place + (goal - place) * (0.5 - 0.5 * math.cos(math.pi * (i + 1) / (m + 1))) for i in range(m)]
        place = goal
    frames = []
    for a, b in pairwise(np.clip(places[: n + 1], 0, far)):
        stops = np.linspace(a, a + 0.6 * (b - a), max(1, min(12, int(abs(b - a) / 4))))
        frames.append(np.mean([wide[:, round(x) : round(x) + size[0]] for x in stops], 0).astype(np.uint8))
    return frames


def zoom(photo: np.ndarray, n: int, size: Size, rng: np.random.Generator) -> Pictures:
    """From the whole photo to a small part of it within 8 to 39 frames, or back."""
    ends = (0.5, 0.5, 1.0), (*rng.uniform(0.4, 0.6, 2), rng.uniform(0.2, 0.35))
    a, b = ends[::-1] if rng.random() < 0.5 else ends
    first, m = int(rng.integers(10, 50)), int(rng.integers(8, 40))
    return [window(photo, between(a, b, (i - first) / m), size) for i in range(n)]


def spot(shape: tuple, width: float, rng: np.random.Generator) -> np.ndarray:
    """A soft spot of light somewhere in the picture, 0..1."""
    y, x = np.mgrid[: shape[0], : shape[1]] / np.array(shape[:2]).reshape(2, 1, 1)
    cx, cy = rng.uniform(0.1, 0.9, 2)
    return np.exp(-((x - cx) ** 2 + (y - cy) ** 2) / (2 * width**2))[..., None].astype(np.float32)


def happening(kind: str, frames: Pictures, rng: np.random.Generator) -> Pictures:
    """A shot in which something happens to the light, or in front of the camera."""
    n, shape = len(frames), frames[0].shape
    gain: list[float | np.ndarray] = [1.0] * n
    more: list[float | np.ndarray] = [0.0] * n
    if kind.endswith("flash"):  # of 1 to 4 frames
        whole = kind == "flash"
        for start in range(int(rng.integers(10, 30)), n - 10, int(rng.integers(15 if whole else 12, 40))):
            peak = np.full(1, rng.uniform(0.6, 1.0)) if whole else 1.2 * spot(shape, rng.uniform(0.15, 0.4), rng)
            for i in range(start, start + int(rng.integers(1, 5))):
                white = peak * (rng.uniform(0.8, 1) if whole else 1)
                gain[i], more[i] = 1 - white, 255 * white
    elif kind == "strobe":
        period, dark = int(rng.integers(2, 5)), rng.uniform(0.08, 0.35)
        for i in range(20, n - 25):
            gain[i], more[i] = (dark, 0) if i // period % 2 else (1.5, 20)
    elif kind == "ramp":  # it becomes light, or dark
        low, length, start = rng.uniform(0.2, 0.5), int(rng.integers(15, 70)), int(rng.integers(5, 30))
        share = np.clip((np.arange(n) - start) / length, 0, 1)
        gain = list(low + (1.3 - low) * (share if rng.random() < 0.5 else 1 - share))
    elif kind == "light switch":  # off and on; each change lasts 45 frames, on top of the one before: some overexposed
        level = 1.0
        for start in range(25, n, int(rng.integers(25, 40))):
            old, level = level, rng.uniform(0.2, 0.5) if level > 0.8 else rng.uniform(0.9, 1.4)
            share = np.minimum(1, np.arange(1, 46) / rng.integers(1, 5))
            for i in range(start, min(start + 45, n)):
                factor = (old + (level - old) * share[i - start]) / old
                frames[i] = np.clip(frames[i] * factor, 0, 255).astype(np.uint8)
    elif kind == "spotlight":  # coloured spots in turn
        colours = [rng.uniform(0.25, 1.5, 3) for _ in range(8)]
        lights = [(0.25 + 1.2 * spot(shape, rng.uniform(0.3, 0.5), rng)) * colour for colour in colours]
        every, blend = int(rng.integers(18, 35)), int(rng.integers(1, 6))
        for i in range(n):
            k, part = i // every % 8, min(1.0, (i % every + 1) / blend)
            gain[i] = lights[k] * part + (1 - part) * lights[k - 1]
    elif kind == "occluder":  # somebody dark walks through
        start, m, colour = int(rng.integers(20, 50)), int(rng.integers(8, 24)), rng.uniform(10, 90, 3)
        h, w = shape[:2]
        for i in range(m + 1):
            centre, axes = (int((2 * i / m - 0.5) * w), int(h * 0.6)), (int(0.4 * w), int(0.7 * h))
            mask = cv2.ellipse(np.zeros((h, w), np.float32), centre, axes, 0, 0, 360, 1.0, -1)
            mask = cv2.GaussianBlur(mask, (0, 0), w / 25)[..., None]
            gain[start + i], more[start + i] = 1 - mask, mask * colour
    return [np.clip(f * g + m, 0, 255).astype(np.uint8) for f, g, m in zip(frames, gain, more, strict=True)]


def samples() -> Update:
    """The detector that compares samples only, on every 5th frame."""
    detector = CutDetector()

    def update(image: np.ndarray, index: int) -> list[Transition]:
        cut = index % 5 == 0 and detector.update(image)
        return [Transition("cut", index - 4, index)] if cut else []

    return update


def rival(name: str, fps: float) -> Update:
    """A detector of PySceneDetect at its defaults, fed as its SceneManager does: 256 pixels wide."""
    scenedetect = import_module("scenedetect")
    detector = getattr(scenedetect, f"{name}Detector")()

    def update(image: np.ndarray, index: int) -> list[Transition]:
        if image.shape[1] > 256:
            image = cv2.resize(image, (256, round(image.shape[0] * 256 / image.shape[1])))
        told = detector.process_frame(scenedetect.FrameTimecode(index, fps), image)
        return [Transition("cut", t.frame_num, t.frame_num) for t in told]

    return update


def detected(path: Path) -> dict[str, tuple[list[Transition], float]]:
    """What every detector tells of a video, and the seconds it took."""
    found: dict[str, list[Transition]] = defaultdict(list)
    seconds: dict[str, float] = defaultdict(float)

    def call(name: str, function: Callable[..., list[Transition]], *given: object) -> None:
        started = time.perf_counter()
        found[name] += function(*given)
        seconds[name] += time.perf_counter() - started

    with VideoReader(path) as reader:
        ours, others = ShotDetector(), {"CutDetector, every 5th": samples()}
        others |= {f"PySceneDetect {name}": rival(name, float(reader.info.fps)) for name in _RIVALS}
        for frame in reader.frames(every=lambda thumbnail: call("ShotDetector", ours.update, thumbnail)):
            for name, update in others.items():
                call(name, update, frame.image, frame.index)
    call("ShotDetector", ours.finish)
    return {name: (found[name], seconds[name]) for name in found}


def judged(truth: list[Transition], found: list[Transition]) -> tuple[int, int]:
    """Number of true changes that are found, and of false alarms."""
    slack = [2 if t.kind == "cut" else 4 for t in truth]
    touch = [[r.first <= t.end + s and r.end >= t.first - s for t, s in zip(truth, slack, strict=True)] for r in found]
    return sum(map(any, zip(*touch, strict=True))), sum(not any(row) for row in touch)


def made(videos: list[Video], folder: Path) -> None:
    """Print what is found on the test set."""
    total, minutes, seconds = Counter[str](), defaultdict[str, float](float), defaultdict[str, float](float)
    hits: dict[str, Counter[str]] = defaultdict(Counter)
    false: dict[str, Counter[str]] = defaultdict(Counter)
    for video in videos:
        kind = "uncut" if not video.truth else "joined"
        minutes[kind] += video.frames / video.fps / 60
        total[video.group] += len(video.truth)
        for name, (found, spent) in detected(folder / video.file).items():
            right, wrong = judged(video.truth, found)
            hits[name][video.group] += right
            false[name][kind] += wrong
            seconds[name] += spent
    frames, groups = sum(v.frames for v in videos), [g for g in total if total[g]]
    rows = [
        (name, *(f"{hits[name][g] / total[g]:.3f}" for g in groups),
         *(f"{false[name][k] / minutes[k]:.2f}" for k in ("uncut", "joined")), f"{1000 * seconds[name] / frames:.2f}")
        for name in hits
    ]  # fmt: skip
    spans = f"{minutes['uncut']:.1f} minutes without a cut, {minutes['joined']:.1f} with"
    print(f"### Changes at known frames: recall ({frames} frames; {spans})\n")
    head = (*(f"{g} ({total[g]})" for g in groups), "false/min, no cut", "false/min, rest", "ms/frame")
    print(table(("detector", *head), rows))


def real(data: Path) -> None:
    """Print what is found on whole clips."""
    rows: dict[str, list[str]] = defaultdict(list)
    for file, cuts in _REAL.items():
        for name, (found, _) in detected(data / file).items():
            right, wrong = judged([Transition("cut", c, c) for c in cuts], found)
            rows[name].append(f"{right} / {len(cuts) - right} / {wrong}")
    print("\n### Whole clips, in brackets their cuts: found / missed / false\n")
    head = ("detector", *(f"{Path(file).stem} ({len(cuts)})" for file, cuts in _REAL.items()))
    print(table(head, [(name, *cells) for name, cells in rows.items()]))


def main() -> None:
    arguments = parser(__doc__.split("\n")[0])
    arguments.add_argument("--half", choices=tuple(_SHOTS), default="report", help="choose: what limits were chosen on")
    arguments.add_argument("--every", type=int, default=1, help="measure every n-th video of a group only")
    arguments.add_argument("--set", type=Path, help="folder that keeps the test set, or has it from a run before")
    options = arguments.parse_args()
    data = require(options.data)
    cv2.setNumThreads(1)
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.set or Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        index = folder / f"{options.half}.json"
        if not index.exists():
            index.write_text(json.dumps([v._asdict() for v in Maker(data, folder, options.half).videos]))
        rows = json.loads(index.read_text())
        videos = [Video(**(row | {"truth": [Transition(*t) for t in row["truth"]]})) for row in rows]
        made([v for v in videos if int(v.file.split()[-1][:-4]) % options.every == 0], folder)
    real(data)
    if not _RIVALS:
        print("\nFor PySceneDetect's detectors: pip install scenedetect-headless")


if __name__ == "__main__":
    main()

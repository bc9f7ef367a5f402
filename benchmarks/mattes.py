"""The mattes of videos, through the product's front door: whose head is in them, what eyes say of them, what they cost.

    python benchmarks/mattes.py [--data DIR] [--out DIR]
        [--parts heads sheets grades plain calls speed memory flicker]

The masks are those that `process_video(..., masks=True)` writes beside a video. Heads: those labelled by hand in every
12th frame (benchmarks/labels/*_identity.json); a head is in a matte if half of its middle is, an ellipse with half axes
of .35 and .4 of the sides of its box. Sheets are pictures for grading by eye, written to --out; what was graded is read
back by the grades part from benchmarks/labels/*_mattes.json: {"number/frame/person": "usable" | "rough" | "bad" |
"absent" | "other"}. Flicker: see benchmarks/video.py; cuts and frames without a matte are left out.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

import cv2
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent))
from _data import ROOT, parser, require, table
from video import dancers, encode, enlarged, face_engines, flicker, heads_at, labels_of, pipeline_of

from identity_segmentation import IdentityAwareSegmentation, annotate, segment_matches, write_image
from identity_segmentation.engines.embedded_faces import EmbeddedFaces
from identity_segmentation.engines.embedded_masks import EmbeddedMasks
from identity_segmentation.geometry import box_iou, decode_rle, encode_rle, mask_box
from identity_segmentation.types import Sighting
from identity_segmentation.video.files import VideoReader, prefetched
from identity_segmentation.video.writing import FORMATS, SegmentWriter

CLIPS = ("friends", "dance")
JUDGED = ("clear", "turned", "partial")  # views that count; "extra" is a sliver of somebody at the border
GRADES = ("usable", "rough", "bad", "absent", "other")

Codes = Mapping[int, Mapping[str, dict]]  # frame -> person -> COCO RLE


# ---- the product at work


@dataclass(frozen=True)
class Run:
    """A clip that was processed: who is where by its analysis, the report, and the masks it wrote."""

    source: Path
    found: Any
    names: dict[int, Any]
    report: Any
    codes: Codes

    def tracked(self, index: int) -> dict[str, np.ndarray]:
        """name -> box of the head, of everybody who bears a name in a frame."""
        return {name: box for _, name, box in heads_at(self.found, self.names, index) if name is not None}

    @property
    def people(self) -> list[str]:
        """Names on file, in order."""
        return sorted(self.found.people)

    def shot_of(self, index: int) -> tuple[int, int]:
        """(first frame, end) of the shot of a frame."""
        begins = [*sorted({0, *(shot.begin for shot in self.found.shots)}), self.found.frames]
        return next((a, b) for a, b in pairwise(begins) if a <= index < b)


@dataclass
class Studio:
    """The clips, their galleries, and what was made of them so far, so that parts share it.

    Attributes:
        data: folder of the test data.
        scratch: folder for what is made.
        out: folder for sheets, or None.
    """

    data: Path
    scratch: Path
    out: Path | None
    _runs: dict[tuple, Run] = field(default_factory=dict)
    _number: int = 0

    def source(self, clip: str) -> Path:
        """The video of a clip."""
        return self.data / {"friends": "identity/friends/friends.mp4", "dance": "videos/dance_3people.mp4"}[clip]

    def people(self, clip: str, engine: Any, segmenter: Any = None) -> IdentityAwareSegmentation:
        """A pipeline with the people of a clip on file."""
        refs = self.data / "identity/friends/refs"
        if clip == "dance":
            refs = self.scratch / "dancers"
            if not refs.is_dir():
                dancers(self.data, refs)
        folder = self.scratch / f"gallery_{clip}_{engine.id.replace('/', '_')}"
        people = pipeline_of(engine, folder)
        if segmenter is not None:
            people = IdentityAwareSegmentation(engine, segmenter, gallery=folder)
        people.build_gallery(refs)
        return people

    def fresh(self, name: str = "") -> Path:
        """A new empty folder, or a path in one."""
        self._number += 1
        folder = self.scratch / f"{self._number:03d}"
        folder.mkdir()
        return folder / name if name else folder

    def run(self, clip: str, engine: Any = None, **look: Any) -> Run:
        """A whole clip, everybody on file drawn; made once."""
        engine = engine or EmbeddedFaces()
        key = (clip, engine.id, *sorted(look.items()))
        if key not in self._runs:
            self._runs[key] = processed(self.people(clip, engine), self.source(clip), self.fresh(), **look)
        return self._runs[key]

    def part(self, first: int, end: int) -> Path:
        """Frames [first, end) of friends as a video of their own."""
        target = self.scratch / f"friends_{first}_{end}.mp4"
        if not target.exists():
            with VideoReader(self.source("friends")) as reader:
                pictures = (frame.image for frame in islice(reader, first, end))
                encode(target, pictures, 30, {"preset": "fast", "crf": "14"})
        return target


def processed(people: IdentityAwareSegmentation, source: Path, folder: Path, **look: Any) -> Run:
    """Process a video with its masks, and read back what is beside it."""
    output = folder / "out.mp4"
    report = people.process_video(source, output, "all", analyses=folder / "analyses", masks=True, **look)
    found = people.analyse_video(source, folder=folder / "analyses")
    codes: dict[int, dict[str, dict]] = {}
    for line in Path(f"{output}.masks.jsonl").read_text().splitlines():
        row = json.loads(line)
        codes.setdefault(row["frame"], {})[row["person"]] = row
    return Run(source, found, people.track_names(found), report, codes)


def mask_at(codes: Codes, index: int, name: str) -> np.ndarray | None:
    """bool (H, W), or None where a person has no mask in a frame."""
    code = codes.get(index, {}).get(name)
    return None if code is None else decode_rle(code)


def pictures_of(source: Path) -> list[np.ndarray]:
    """All pictures of a short video."""
    with VideoReader(source) as reader:
        return [frame.image for frame in reader]


# ---- heads


def share_inside(mask: np.ndarray, box: Iterable[float]) -> float | None:
    """Share of the middle of a head, as far as it is in the picture, that a mask covers; None if it is outside."""
    x0, y0, x1, y1 = box
    across, down = 0.35 * (x1 - x0), 0.4 * (y1 - y0)
    y, x = np.ogrid[: mask.shape[0], : mask.shape[1]]
    middle = ((x + 0.5 - (x0 + x1) / 2) / across) ** 2 + ((y + 0.5 - (y0 + y1) / 2) / down) ** 2 <= 1
    return float(mask[middle].mean()) if middle.any() else None


def in_matte(mask: np.ndarray | None, box: Iterable[float]) -> bool:
    """Is a head in a matte?"""
    share = None if mask is None else share_inside(mask, box)
    return share is not None and share >= 0.5


def head_counts(codes: Codes, labels: Mapping[int, list[dict]], tracked: Mapping[int, Iterable[str]]) -> dict:
    """How mattes hold against labelled heads, each as [how many, of how many].

    Args:
        codes: the masks.
        labels: frame -> labelled heads.
        tracked: frame -> names that are given to somebody there, with a matte or without.

    Returns:
        "named": the own head is in the own matte, of those the product names there; "all": of all labelled; "other":
        another's head is in the matte, of mattes beside which there is another head; "nobody": mattes of somebody who
        is not labelled there, of all mattes in these frames.
    """
    counts = {what: [0, 0] for what in ("named", "all", "other", "nobody")}

    def count(what: str, hit: bool) -> None:
        counts[what][0] += hit
        counts[what][1] += 1

    for index, rows in labels.items():
        here = {row["name"] for row in rows}
        for name in codes.get(index, {}):
            count("nobody", name not in here)
        for row in rows:
            if row["name"] == "stranger" or row["view"] not in JUDGED:
                continue
            mask = mask_at(codes, index, row["name"])
            inside = in_matte(mask, row["box"])
            count("all", inside)
            if mask is not None or row["name"] in tracked.get(index, ()):
                count("named", inside)
            own = np.array(row["box"])
            others = [r["box"] for r in rows if r is not row and box_iou(own, np.array(r["box"]))[0, 0] <= 0.1]
            if mask is not None and others:
                count("other", any(in_matte(mask, box) for box in others))
    return counts


def shares(counts: Mapping[str, list[int]]) -> list[str]:
    """Counts as cells of a table."""
    return [f"{counts[what][0]}/{counts[what][1]}" for what in ("named", "all", "other", "nobody")]


HEADS = ("own head in it, of named", "of all labelled", "another's head in it", "mattes of nobody labelled")


def heads(studio: Studio) -> None:
    """Whose head is in whose matte, in all frames labelled by hand."""
    rows = []
    for engine in face_engines(studio.data):
        for clip in CLIPS:
            run, labels = studio.run(clip, engine), labels_of(clip)
            tracked = {index: run.tracked(index) for index in labels}
            rows.append((engine.id, clip, *shares(head_counts(run.codes, labels, tracked))))
    print("\n### Heads in mattes\n")
    print(table(("engine", "clip", *HEADS), rows))


# ---- sheets for the eye

_DRAWN = 60  # mattes of each clip
_ACROSS, _DOWN = 3, 4  # tiles of a sheet
_TILE = (320, 360)  # pixels of one of the two pictures of a tile
_SEED = 7


def visible(run: Run, labels: Mapping[int, list[dict]]) -> set[tuple[int, str]]:
    """(frame, person) wherever the hand labels or the product say that somebody on file is to be seen: in labelled
    frames, where there is a matte, and from the first to the last frame of a tracklet and of its mattes."""
    pairs = {(index, row["name"]) for index, rows in labels.items() for row in rows if row["view"] in JUDGED}
    pairs |= {(index, name) for index, here in run.codes.items() for name in here}
    step = run.found.header["sampling"]
    for track, said in run.names.items():
        seen = [sample.index for sample, _ in run.found.seen(track)] if said.name is not None else []
        if seen:
            begin, end = run.shot_of(seen[0])
            near = range(max(begin, seen[0] - step), min(end, seen[-1] + step + 1))
            there = [i for i in near if seen[0] <= i <= seen[-1] or said.name in run.codes.get(i, {})]
            pairs |= {(index, said.name) for index in range(min(there), max(there) + 1)}
    return {(index, name) for index, name in pairs if name in run.people}


def drawn_pairs(run: Run, labels: Mapping[int, list[dict]]) -> list[tuple[int, str]]:
    """The pairs to look at. Every frame and person has a lot of its own, whatever the product says: two versions of
    the product are judged on the same pairs, but for those that only one of them thinks visible."""
    lots = np.random.default_rng(_SEED).random((run.found.frames, len(run.people)))
    pairs = sorted(visible(run, labels), key=lambda pair: lots[pair[0], run.people.index(pair[1])])
    return sorted(pairs[:_DRAWN])


def labelled_head(run: Run, labels: Mapping[int, list[dict]], index: int, name: str) -> np.ndarray | None:
    """A head by the hand labels: at its frame, or between those of the frames on either side in the same shot."""
    begin, end = run.shot_of(index)
    known = {i: row["box"] for i, rows in labels.items() if begin <= i < end for row in rows if row["name"] == name}
    before = max((i for i in known if index - 12 < i <= index), default=None)
    after = min((i for i in known if index <= i < index + 12), default=None)
    if before is None or after is None:
        return None
    share = (index - before) / max(1, after - before)
    return (1 - share) * np.array(known[before]) + share * np.array(known[after])


def crop_window(mask: np.ndarray | None, boxes: list[np.ndarray], shape: tuple[int, ...]) -> np.ndarray:
    """xyxy pixels, of a tile's form: the matte's box and the heads with some room; a body's length without a matte."""
    tight = None if mask is None else mask_box(mask)
    parts = [np.array(box, float) for box in boxes] + ([] if tight is None else [np.array(tight, float)])
    if tight is None and boxes:
        x0, y0, x1, y1 = boxes[0]
        parts.append(np.array([x0 - 1.5 * (x1 - x0), y0, x1 + 1.5 * (x1 - x0), y1 + 3 * (y1 - y0)]))
    picture = np.array(shape[1::-1], float)
    low, high = (
        (np.min([p[:2] for p in parts], 0), np.max([p[2:] for p in parts], 0)) if parts else (0 * picture, picture)
    )
    room = 0.08 * np.maximum(high - low, 24) + 6
    low, high = np.clip(low - room, 0, picture), np.clip(high + room, 0, picture)
    size = max((high - low) / _TILE) * np.array(_TILE)
    # Into the picture, where it has the room.
    begin = (low + high - size) / 2
    begin = np.where(size < picture, np.clip(begin, 0, np.maximum(0, picture - size)), (picture - size) / 2)
    return np.concatenate([begin, begin + size])


def tile(
    image: np.ndarray, mask: np.ndarray | None, label: np.ndarray | None, head: np.ndarray | None, text: str
) -> np.ndarray:
    """Two pictures side by side: as it is, with the head by hand (white) and by the product (yellow) boxed; and the
    matte outlined, the rest darkened."""
    known = [box for box in (label, head) if box is not None]
    x0, y0, x1, _ = crop_window(mask, known, image.shape)
    factor = _TILE[0] / (x1 - x0)
    forward = np.array([[factor, 0, -factor * x0], [0, factor, -factor * y0]])
    how = cv2.INTER_CUBIC if factor > 1 else cv2.INTER_AREA

    def cut(picture: np.ndarray, flags: int, border: int = 90) -> np.ndarray:
        return cv2.warpAffine(picture, forward, _TILE, flags=flags, borderValue=(border, border, border))

    plain = cut(image, how)
    matte = np.zeros(image.shape[:2], np.uint8) if mask is None else mask.astype(np.uint8) * 255
    inside = cut(matte, cv2.INTER_LINEAR, 0) > 127
    shown = plain.copy()
    shown[~inside] = (0.3 * shown[~inside]).astype(np.uint8)
    outline, _ = cv2.findContours(inside.astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(shown, outline, -1, (0, 255, 0), 1, cv2.LINE_AA)
    for box, colour in ((head, (0, 220, 255)), (label, (255, 255, 255))):
        if box is not None:
            a, b = (tuple(int(v) for v in forward[:, :2] @ corner + forward[:, 2]) for corner in (box[:2], box[2:]))
            cv2.rectangle(plain, a, b, colour, 1)
    both = np.hstack([plain, shown])
    if mask is None:
        cv2.putText(both, "no matte", (_TILE[0] + 90, 190), cv2.FONT_HERSHEY_SIMPLEX, 0.9, (0, 0, 255), 2, cv2.LINE_AA)
    both = cv2.copyMakeBorder(both, 24, 0, 0, 0, cv2.BORDER_CONSTANT)
    cv2.putText(both, text, (6, 17), cv2.FONT_HERSHEY_SIMPLEX, 0.6, (255, 255, 255), 1, cv2.LINE_AA)
    return cv2.copyMakeBorder(both, 2, 2, 2, 2, cv2.BORDER_CONSTANT, value=(255, 255, 255))


def sheets(studio: Studio) -> None:
    """Mattes drawn by lot, as pictures to be graded by eye."""
    if studio.out is None:
        print("\nthe sheets part needs a folder for its pictures: --out DIR")
        return
    index, number = {}, 0
    for clip in CLIPS:
        run, labels, tiles = studio.run(clip), labels_of(clip), []
        pictures = pictures_of(run.source)
        for frame, name in drawn_pairs(run, labels):
            number += 1
            index[number] = {"clip": clip, "frame": frame, "person": name}
            mask, head = mask_at(run.codes, frame, name), run.tracked(frame).get(name)
            label = labelled_head(run, labels, frame, name)
            tiles.append(tile(pictures[frame], mask, label, head, f"{number}: {name}, {frame}"))
        for begin in range(0, len(tiles), _ACROSS * _DOWN):
            here = tiles[begin : begin + _ACROSS * _DOWN]
            here += [np.zeros_like(tiles[0])] * (-len(here) % _ACROSS)
            sheet = np.vstack([np.hstack(here[i : i + _ACROSS]) for i in range(0, len(here), _ACROSS)])
            write_image(studio.out / f"{clip}_{begin // (_ACROSS * _DOWN) + 1}.png", sheet)
        print(f"\n{clip}: {len(tiles)} mattes of {len(visible(run, labels))} in {studio.out}")
    (studio.out / "index.json").write_text(json.dumps(index, indent=1))


def grades(_: Studio) -> None:
    """What eyes said of the mattes on the sheets."""
    rows = []
    for clip in CLIPS:
        path = ROOT / f"benchmarks/labels/{clip}_mattes.json"
        if not path.is_file():
            print(f"\n{path.relative_to(ROOT)} is not there: nobody has graded the mattes of {clip} yet")
            continue
        given = json.loads(path.read_text())
        if unknown := sorted(set(given.values()) - set(GRADES)):
            sys.exit(f"{path}: expected grades {', '.join(GRADES)}, got {', '.join(map(str, unknown))}")
        counts = Counter(given.values())
        rows.append((clip, len(given), *(f"{counts[g]} ({counts[g] / max(1, len(given)):.0%})" for g in GRADES)))
    if rows:
        print("\n### Mattes graded by eye, as they were on the sheets\n")
        print(table(("clip", "mattes", *GRADES), rows))


# ---- flicker

FLICKER = ("pairs of frames", "flicker, mean", "flicker, median")


def flicker_of(run: Run, pictures: list[np.ndarray], name: str) -> list[float]:
    """Flicker of one person's matte in every pair of frames of a shot that both have one."""
    there = [index for index in range(len(pictures)) if name in run.codes.get(index, {})]
    pairs = [(a, b) for a, b in pairwise(there) if b == a + 1 and run.shot_of(a) == run.shot_of(b)]
    return [flicker([pictures[i] for i in pair], [mask_at(run.codes, i, name) for i in pair]) for pair in pairs]


def flickers(run: Run, pictures: list[np.ndarray]) -> tuple[int, str, str]:
    """(pairs of frames; mean over people of their mean, and of their median: a matte that collapses once, to return
    in the next frame, outweighs all others in a mean)."""
    found = [values for name in run.people if (values := flicker_of(run, pictures, name))]
    if not found:
        return 0, "-", "-"
    mean, median = np.mean([(np.mean(values), np.median(values)) for values in found], 0)
    return sum(map(len, found)), f"{mean:.4f}", f"{median:.4f}"


def steadiness(studio: Studio) -> None:
    """Flicker along the motion, with the usual smoothing and without."""
    rows = []
    for clip in CLIPS:
        pictures = pictures_of(studio.source(clip))
        for look in ({}, {"smoothing": 1}):
            run = studio.run(clip, **look)
            rows.append((clip, "none" if look else "as usual", *flickers(run, pictures)))
    print("\n### Flicker along the motion: mean over people\n")
    print(table(("clip", "smoothing", *FLICKER), rows))


# ---- beside the photo path, frame by frame


def plainly(people: IdentityAwareSegmentation, source: Path, output: Path, bodies: bool) -> tuple[dict, dict]:
    """Every frame as if it were a photo: faces found, named, segmented, drawn; read and written as a video is.

    Args:
        people: the pipeline.
        source: the video.
        output: the video to write.
        bodies: look for bodies too, as the photo path does; otherwise the faces alone say where somebody is.

    Returns:
        The masks, and frame -> names.
    """
    codes: dict[int, dict[str, dict]] = {}
    named: dict[int, list[str]] = {}
    with VideoReader(source) as reader:
        info = reader.info
        with SegmentWriter(output, FORMATS[".mp4"], (info.width, info.height), info.fps, info.time_base) as writer:
            frames = prefetched(reader.frames(), depth=4)
            for frame in frames:
                seen: Iterable[Sighting]
                if bodies:
                    seen = people.look(frame.image, single=False).sightings
                else:
                    seen = segment_matches(frame.image, people.identify(frame.image), people.segmenter)
                seen = [sighting for sighting in seen if sighting.name is not None]
                writer.write(annotate(frame.image, seen, people.colour_of), frame.pts)
                named[frame.index] = [str(sighting.name) for sighting in seen]
                codes[frame.index] = {
                    str(s.name): encode_rle(s.segment.mask) for s in seen if s.segment is not None and s.segment.area
                }
    return codes, named


def plain(studio: Studio) -> None:
    """The product's videos beside the plain pipeline, which knows no time: speed, heads, flicker."""
    clip, people = studio.part(0, 120), studio.people("friends", EmbeddedFaces())
    pictures = pictures_of(clip)
    processed(people, studio.part(0, 11), studio.fresh())  # loads all engines
    plainly(people, studio.part(0, 2), studio.fresh("out.mp4"), True)
    with Clock() as spent:
        run = processed(people, clip, studio.fresh())
    labels = {index: rows for index, rows in labels_of("friends").items() if index < run.found.frames}
    tracked = {index: run.tracked(index) for index in labels}
    measured = [("a video, by the product", run, tracked, spent)]
    for bodies in (True, False):
        with Clock() as spent:
            codes, named = plainly(people, clip, studio.fresh("out.mp4"), bodies)
        plain_run = Run(clip, run.found, run.names, None, codes)
        measured.append((f"every frame a photo{'' if bodies else ', faces alone'}", plain_run, named, spent))
    rows = []
    for what, one, names, took in measured:
        counts = shares(head_counts(one.codes, labels, names))
        speed = f"{run.found.frames / took.wall:.1f}"
        ratios = [f"{took.wall / measured[0][3].wall:.2f}", f"{took.cpu / measured[0][3].cpu:.2f}"]
        rows.append((what, speed, f"{took.cpu:.1f}", *ratios, *counts, *flickers(one, pictures)))
    print(f"\n### Beside the plain pipeline: friends, {run.found.frames} frames, everybody on file\n")
    head = ("how", "frames/s", "CPU s", "time, product = 1", "CPU, product = 1", *HEADS, *FLICKER)
    print(table(head, rows))


# ---- what it costs


class Clock:
    """Wall-clock and CPU seconds of a block, in `wall` and `cpu`."""

    wall = cpu = 0.0

    def __enter__(self) -> Clock:
        self._began = time.perf_counter(), time.process_time()
        return self

    def __exit__(self, *_: object) -> None:
        self.wall, self.cpu = time.perf_counter() - self._began[0], time.process_time() - self._began[1]


class Counted(EmbeddedMasks):
    """The segmenter, which counts what it is asked."""

    encoded = boxes = 0

    def encode(self, image_bgr: np.ndarray) -> Any:
        self.encoded += 1
        return super().encode(image_bgr)

    def by_box(self, encoded, boxes, faces=None, others=()):
        self.boxes += len(boxes)
        return super().by_box(encoded, boxes, faces, others)


def calls(studio: Studio) -> None:
    """How often the segmenter is asked."""
    rows = []
    clips = {"friends": ("friends", studio.source("friends")), "dance": ("dance", studio.source("dance"))}
    clips["friends, frames 70 to 139 (calm)"] = ("friends", studio.part(70, 140))
    for what, (clip, source) in clips.items():
        segmenter = Counted()
        run = processed(studio.people(clip, EmbeddedFaces(), segmenter), source, studio.fresh())
        shown = round(sum(run.report.on_screen.values()) * float(run.found.fps))
        per = 100 * segmenter.boxes / max(1, shown)
        rows.append((what, run.found.frames, shown, segmenter.encoded, segmenter.boxes, f"{per:.1f}"))
    print("\n### Calls of the segmenter: everybody on file, every 5th frame looked at\n")
    head = (
        "clip",
        "frames",
        "person-frames on screen",
        "pictures encoded",
        "boxes asked",
        "boxes per 100 person-frames",
    )
    print(table(head, rows))


def large(studio: Studio, seconds: int) -> Path:
    """Friends at 1080p, repeated to a length."""
    target = studio.scratch / f"large_{seconds}.mp4"
    if not target.exists():
        enlarged(studio.source("friends"), target, (1920, 1080), seconds)
    return target


def speed(studio: Studio) -> None:
    """How long 1080p takes."""
    clip, people = large(studio, 10), studio.people("friends", EmbeddedFaces())
    processed(people, studio.part(0, 11), studio.fresh())  # loads all engines
    rows = []
    for members in (["Ross"], ["Ross", "Phoebe"], sorted(people.gallery.names)):
        folder = studio.fresh()
        with Clock() as whole:
            with Clock() as looked:
                frames = people.analyse_video(clip, folder=folder / "analyses").frames
            with Clock() as drawn:
                people.process_video(clip, folder / "out.mp4", members, analyses=folder / "analyses")
        row = [f"{frames / part.wall:.1f} ({part.cpu:.1f})" for part in (looked, drawn, whole)]
        rows.append((len(members), frames, *row))
    print("\n### Speed: 1080p, 10 s, every 5th frame looked at; frames/s (CPU seconds)\n")
    print(table(("people", "frames", "analysis", "render", "end to end"), rows))


def memory(studio: Studio) -> None:
    """Peak memory of a process that works through a longer clip, beside one that works through a short one."""
    rows = []
    for seconds in (10, 60):
        command = [sys.executable, __file__, "--data", str(studio.data), "--one", str(large(studio, seconds))]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            sys.exit(done.stderr)
        rows.append((f"{seconds} s", done.stdout.strip()))
    print("\n### Memory: 1080p, four people, every 5th frame looked at\n")
    print(table(("length", "peak"), rows))


def one(studio: Studio, clip: Path) -> None:
    """Process one clip and print the peak memory of this process."""
    people = studio.people("friends", EmbeddedFaces())
    people.process_video(clip, studio.fresh("out.mp4"), "all")
    print(f"{peak_megabytes():.0f} MB")


def peak_megabytes() -> float:
    """Peak memory of this process; what its parent held when it was started does not count."""
    status = Path("/proc/self/status")
    for line in status.read_text().splitlines() if status.is_file() else ():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1e3
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3


def main() -> None:
    parts = {
        "heads": heads, "sheets": sheets, "grades": grades, "plain": plain, "calls": calls, "speed": speed,
        "memory": memory, "flicker": steadiness,
    }  # fmt: skip
    arguments = parser(__doc__.split("\n")[0])
    arguments.add_argument("--parts", nargs="*", choices=parts, default=list(parts))
    arguments.add_argument("--out", type=Path, help="folder for the sheets, outside the repository")
    arguments.add_argument("--one", type=Path, help="(used by the memory part)")
    options = arguments.parse_args()
    if options.out is not None and options.out.resolve().is_relative_to(ROOT):
        sys.exit(f"{options.out} is in the repository, where pictures of people do not belong; choose another --out")
    with tempfile.TemporaryDirectory() as scratch:
        studio = Studio(require(options.data), Path(scratch), options.out)
        if options.one:
            one(studio, options.one)
            return
        for part in options.parts:
            parts[part](studio)


if __name__ == "__main__":
    main()

"""An analysed video and names -> the video to be handed over. (Notebook section 7.)

Only the people asked for are segmented, at the sampled frames; between them their mattes are carried by optical flow
from both sides and smoothed along the motion. The output is made in segments of about ten seconds; a killed run goes
on after the last finished one, and ends with the same masks as an undisturbed run.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
from scipy.ndimage import gaussian_filter1d

from . import drawing
from .analysis import Analysis, Cancelled, Sample
from .engines.protocols import BoxSegmenter
from .errors import InputError, OutputError
from .geometry import decode_rle, encode_rle, face_to_body_bbox
from .images import atomic_write, write_image
from .segmentation import separate, soft_alpha
from .smoothing import Flow, TemporalSmoother, carry, to_full, to_working
from .tracking import TrackName
from .types import Face, Frame, Match, Segment, Sighting
from .video import FORMATS, SegmentWriter, VideoReader, format_for, join_segments, prefetched

VIEWS = ("annotated", "overlay", "cutout", "blur-others", "blur", "crop")
_SEGMENT_SECONDS = 10
_UNSURE_MARGIN = 0.05  # a named track whose evidence is this close to the bar is listed for review


@dataclass(frozen=True)
class VideoReport:
    """What a render did.

    Attributes:
        frames: frames written.
        seconds: duration written.
        on_screen: person -> seconds on screen.
        coverage: person -> share of their on-screen frames with a mask.
        review: spans worth a look: {"track", "from", "to", "name", "why"}.
        files: "video", "analysis", and "masks" if asked for.
        note: what was wrong with the source; empty if nothing.
    """

    frames: int
    seconds: float
    on_screen: dict[str, float]
    coverage: dict[str, float]
    review: list[dict]
    files: dict[str, str]
    note: str = ""


@dataclass(frozen=True)
class RenderSettings:
    """How to render: one of `VIEWS`; background "#RRGGBB" for a cutout without alpha; aspect (w, h) of a crop; frames
    of temporal smoothing; whether to write masks as COCO RLE lines."""

    view: str = "annotated"
    background: str = "#00B140"
    aspect: tuple[int, int] = (9, 16)
    smoothing: int = 5
    masks: bool = False


def render(
    source: str | os.PathLike,
    output: str | os.PathLike,
    analysis: Analysis,
    names: dict[int, TrackName],
    wanted: Sequence[str],
    segmenter: BoxSegmenter,
    colour_of: Callable[[str], tuple[int, int, int]],
    settings: RenderSettings = RenderSettings(),
    progress: Callable[[int, int], None] | None = None,
    cancel: threading.Event | None = None,
) -> VideoReport:
    """Render a video of the people `wanted` (names); see the module.

    Output named .mp4, .webm or .mov; a name without a suffix is a folder of PNG pictures.

    Raises:
        InputError: an unknown view, or a format that cannot hold it.
        OutputError: the output cannot be written; finished segments are kept.
        Cancelled: `cancel` was set; finished segments are kept.
    """
    source, output = Path(source), Path(output)
    if settings.view not in VIEWS:
        raise InputError(f"unknown view {settings.view!r}; expected {', '.join(VIEWS)}")
    job = _Job(source, output, analysis, names, list(wanted), segmenter, colour_of, settings)
    return job.run(progress, cancel)


class _Job:
    def __init__(self, source, output, analysis, names, wanted, segmenter, colour_of, settings):
        self.source, self.output, self.analysis, self.names = source, output, analysis, names
        self.wanted, self.segmenter, self.colour_of, self.settings = wanted, segmenter, colour_of, settings
        self.pictures = output.suffix == ""
        self.form = FORMATS[".mov"] if self.pictures else format_for(output)
        self.flow = Flow()
        self.sampling = analysis.header["sampling"]
        per_segment = max(1, round(_SEGMENT_SECONDS * float(analysis.fps) / self.sampling))
        self.segment_frames = per_segment * self.sampling
        self.crop_path = _crop_path(analysis, names, wanted, settings.aspect) if settings.view == "crop" else None
        self.size = (analysis.header["width"], analysis.header["height"])
        if self.crop_path is not None:
            self.size = self.crop_path.size
        self.drawn = self._drawn_people()

    def _drawn_people(self) -> list[str | int]:
        """Whom to segment: names - or, for blur-others, everybody else, nameless tracks by number."""
        if self.settings.view == "crop" and not self.settings.masks:
            return []
        if self.settings.view != "blur-others":
            return list(self.wanted)
        others = {t.name or track for track, t in self.names.items() if t.name not in self.wanted}
        return [*self.wanted, *sorted(others, key=str)]

    def run(self, progress, cancel) -> VideoReport:
        work = self.output.with_name(f".{self.output.name}.work")
        question = self._question()
        with contextlib.suppress(OSError, ValueError):
            if json.loads((work / "question.json").read_bytes()) != question:
                shutil.rmtree(work)
        if work.exists() and not (work / "question.json").exists():
            shutil.rmtree(work, ignore_errors=True)
        with atomic_write(work / "question.json") as file:
            file.write(json.dumps(question).encode())
        total = self.analysis.frames
        starts = list(range(0, max(total, 1), self.segment_frames))
        todo = [s for s in starts if not (work / f"{s:08d}.done").exists()]
        if todo:
            self._render_segments(work, todo, progress, cancel)
        report = self._report(work, starts)
        self._deliver(work, starts, report)
        shutil.rmtree(work, ignore_errors=True)
        return report

    def _question(self) -> list:
        named = sorted((t, n.name) for t, n in self.names.items())
        lines = hashlib.sha256(self.analysis.path.read_bytes()).hexdigest()
        question = [
            lines, named, self.wanted, vars(self.settings), self.segmenter.id, self.form.suffix, self.pictures,
            self.segment_frames,
        ]  # fmt: skip
        return json.loads(json.dumps(question))  # as it reads back: JSON has no tuples

    def _render_segments(self, work: Path, todo: list[int], progress, cancel) -> None:
        samples = {s.index: s for s in self.analysis.samples}
        with VideoReader(self.source) as reader:
            frames = prefetched(reader.frames(todo[0]), depth=4)
            try:
                spans = _spans(frames, self.sampling)
                for start in range(todo[0], self.analysis.frames, self.segment_frames):
                    mine = _until(spans, start + self.segment_frames)
                    if start not in todo:
                        for _ in mine:
                            pass
                        continue
                    self._render_segment(work, start, mine, samples, reader.info, progress, cancel)
            finally:
                frames.close()

    def _render_segment(self, work: Path, start: int, spans, samples, info, progress, cancel) -> None:
        stem = work / f"{start:08d}"
        state = _State(self, samples)
        stats: dict[str, list[int]] = {}
        with contextlib.ExitStack() as stack:
            if self.pictures:
                folder = stem.with_suffix(".pictures")
                shutil.rmtree(folder, ignore_errors=True)
                write = None
            else:
                writer = stack.enter_context(
                    SegmentWriter(stem.with_suffix(self.form.suffix), self.form, self.size, info.fps, info.time_base)
                )
                write = writer.write
            masks = stack.enter_context(atomic_write(stem.with_suffix(".masks")))
            for frame, mattes in state.frames(spans):
                if cancel is not None and cancel.is_set():
                    raise Cancelled
                picture = self._picture(frame, mattes, samples)
                if write is not None:
                    write(picture, frame.pts)
                else:
                    write_image(folder / f"{frame.index:08d}.png", picture)
                for name in self.wanted:
                    visible = name in state.present
                    matte = mattes.get(name)
                    area = int((matte > 127).sum()) if matte is not None else 0
                    row = stats.setdefault(name, [0, 0])
                    row[0] += visible
                    row[1] += visible and area > 0
                    if self.settings.masks and area:
                        masks.write(_rle_line(frame, name, matte))
                if progress:
                    progress(frame.index + 1, self.analysis.frames)
        with atomic_write(stem.with_suffix(".done")) as file:
            file.write(json.dumps(stats).encode())

    # ---- one picture

    def _picture(self, frame: Frame, mattes: dict, samples) -> np.ndarray:
        view, image = self.settings.view, frame.image
        heads = _heads_at(self, frame.index, samples)
        if view == "crop":
            return self.crop_path.cut(image, frame.index)
        if view in ("blur", "blur-others"):
            return self._blurred(image, mattes, heads)
        sightings = [self._sighting(name, mattes.get(name), heads.get(name)) for name in self.wanted]
        sightings = [s for s in sightings if s.segment is not None or s.match is not None]
        if view == "overlay":
            return drawing.overlay(image, sightings, self.colour_of)
        if view == "annotated":
            return drawing.annotate(image, sightings, self.colour_of)
        return self._cutout(image, mattes)

    def _sighting(self, name: str, matte, head) -> Sighting:
        segment = None
        if matte is not None and (matte > 127).any():
            segment = Segment(matte > 127, 1.0, [0, 0, 1, 1], self.segmenter.id, matte)
        match = None
        if head is not None:
            track = self.names[head[0]]
            match = Match(Face(head[1], 1.0), name, track.similarity, track.margin, track.runner_up, name, "face")
        return Sighting(match, segment, None if head is None else head[0], "tracked")

    def _cutout(self, image, mattes) -> np.ndarray:
        alpha = np.zeros(image.shape[:2], np.uint8)
        for name in self.wanted:
            if mattes.get(name) is not None:
                alpha = np.maximum(alpha, mattes[name])
        if not alpha.any():
            person = np.zeros((*image.shape[:2], 4), np.uint8)
        else:
            person = drawing.cutout(image, Segment(alpha > 127, 1.0, [0, 0, 1, 1], "video", alpha))
            person[..., 3] = alpha
        if self.form.alpha:
            return person
        text = self.settings.background.lstrip("#")
        colour = np.array([int(text[i : i + 2], 16) for i in (4, 2, 0)], np.float32)
        share = person[..., 3:].astype(np.float32) / 255
        return (person[..., :3] * share + colour * (1 - share)).round().astype(np.uint8)

    def _blurred(self, image, mattes, heads) -> np.ndarray:
        """Faces must not show through a soft matte: heads are covered whole, whatever the masks say."""
        hide = np.zeros(image.shape[:2], np.uint8)
        keep = np.zeros(image.shape[:2], np.uint8)
        for who, matte in mattes.items():
            target = hide if (who in self.wanted) == (self.settings.view == "blur") else keep
            np.maximum(target, matte, out=target)
        hide[keep > 127] = 0
        for who, (track, box) in heads.items():
            if track not in self.analysis.regions and (who in self.wanted) == (self.settings.view == "blur"):
                x, y, w, h = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2, box[2] - box[0], box[3] - box[1]
                cv2.ellipse(hide, (int(x), int(y)), (max(1, int(0.75 * w)), max(1, int(0.85 * h))), 0, 0, 360, 255, -1)
        if not hide.any():
            return image
        small = cv2.resize(image, None, fx=1 / 24, fy=1 / 24, interpolation=cv2.INTER_AREA)
        coarse = cv2.resize(cv2.GaussianBlur(small, (3, 3), 0), image.shape[1::-1], interpolation=cv2.INTER_LINEAR)
        share = (
            cv2.GaussianBlur(cv2.dilate(hide, np.ones((9, 9), np.uint8)), (7, 7), 0)[..., None].astype(np.float32) / 255
        )
        return (coarse * share + image * (1 - share)).round().astype(np.uint8)

    # ---- the end

    def _report(self, work: Path, starts: list[int]) -> VideoReport:
        totals = {name: [0, 0] for name in self.wanted}
        for start in starts:
            done = work / f"{start:08d}.done"
            for name, (seen, covered) in json.loads(done.read_bytes()).items() if done.exists() else ():
                totals[name][0] += seen
                totals[name][1] += covered
        rate = float(self.analysis.fps)
        files = {"video": str(self.output), "analysis": str(self.analysis.path)}
        if self.settings.masks:
            files["masks"] = f"{self.output}.masks.jsonl"
        return VideoReport(
            self.analysis.frames,
            self.analysis.frames / rate,
            {n: seen / rate for n, (seen, _) in totals.items()},
            {n: covered / seen if seen else 0.0 for n, (seen, covered) in totals.items()},
            spans_to_review(self.analysis, self.names),
            files,
            self.analysis.note,
        )

    def _deliver(self, work: Path, starts: list[int], report: VideoReport) -> None:
        if self.settings.masks:
            with atomic_write(report.files["masks"]) as file:
                for start in starts:
                    file.write((work / f"{start:08d}.masks").read_bytes())
        if not self.pictures:
            join_segments([work / f"{s:08d}{self.form.suffix}" for s in starts], self.output, self.source)
            return
        try:
            self.output.mkdir(parents=True, exist_ok=True)
            for start in starts:
                for picture in sorted((work / f"{start:08d}.pictures").iterdir()):
                    os.replace(picture, self.output / picture.name)
        except OSError as error:
            raise OutputError(f"{self.output}: cannot be written ({error.strerror})") from error


def _rle_line(frame: Frame, name: str, matte: np.ndarray) -> bytes:
    row = {"frame": frame.index, "time": round(frame.time_s, 6), "person": name, **encode_rle(matte > 127)}
    return json.dumps(row, ensure_ascii=False).encode() + b"\n"


# ---- spans between samples


def _spans(frames: Iterator[Frame], sampling: int) -> Iterator[tuple[list[Frame], bool]]:
    """(frames from one sample to the next, both included; is this the video's last run).

    A frame on a boundary is in two runs and belongs to the second; the last run owns all of its frames.
    """
    run: list[Frame] = []
    for frame in frames:
        run.append(frame)
        if frame.index % sampling == 0 and len(run) > 1:
            yield run, False
            run = [frame]
    if run:
        yield run, True


def _until(spans, end: int):
    """The spans that begin before `end`; stops right after the last of them, so the next caller goes on."""
    for span, final in spans:
        yield span, final
        if span[-1].index >= end:
            return


class _State:
    """Mattes of a segment's frames, span by span; begins anew with every segment, so that resuming changes nothing."""

    def __init__(self, job: _Job, samples: dict[int, Sample]):
        self.job, self.samples = job, samples
        self.smoothers: dict[str | int, TemporalSmoother] = {}
        self.keys: tuple[int, dict] | None = None
        self.present: set[str | int] = set()

    def frames(self, spans) -> Iterator[tuple[Frame, dict[str | int, np.ndarray]]]:
        """(frame, {person: uint8 matte}) for every frame of the segment."""
        for span, final in spans:
            yield from self._span(span, final)

    def _span(self, span: list[Frame], whole: bool):
        first, last = self._key(span[0]), {}
        ends = span[-1].index in self.samples and len(span) > 1
        if ends:
            last = self._key(span[-1])
        greys = [self.job.flow.grey(f.image) for f in span]
        cut = len(span)
        if ends and self.samples[span[-1].index].cut:
            cut = 1 + int(np.argmax([cv2.absdiff(a, b).mean() for a, b in pairwise(greys)]))
        people = [p for p in self.job.drawn if p in first or p in last]
        mattes = {p: self._carried(greys, first.get(p), last.get(p), cut, ends) for p in people}
        for track, known in self.job.analysis.regions.items():
            who = self.job.names[self.job.analysis.track_of(track)].name
            if who in self.job.drawn:
                mattes[who] = self._between(span, greys, known, cut)
        count = len(span) if whole else len(span) - 1
        for i, frame in enumerate(span[:count]):
            if i == cut:
                for smoother in self.smoothers.values():
                    smoother.reset()
            self.present = self._present(span, i, cut)
            result = {}
            for person in self.job.drawn:
                matte = mattes[person][i] if person in mattes else np.zeros_like(greys[i], np.float32)
                smoother = self.smoothers.setdefault(
                    person, TemporalSmoother(self.job.settings.smoothing, self.job.flow)
                )
                matte = smoother.update(matte, greys[i])
                if (matte > 0.02).any():
                    result[person] = to_full(matte, frame.image)
            yield frame, result

    def _between(
        self, span: list[Frame], greys: list[np.ndarray], known: dict[int, dict], cut: int
    ) -> list[np.ndarray]:
        """Mattes of a followed region: where it was found as it was found, carried over the frames between and up to
        a cut or the end."""
        shape = greys[0].shape
        result = [np.zeros(shape, np.float32)] * len(span)
        for begin, end in ((0, cut), (cut, len(span))):
            found = [i for i in range(begin, end) if span[i].index in known]
            for i in found:
                result[i] = to_working(decode_rle(known[span[i].index]).astype(np.uint8) * 255, shape)
            for a, b in pairwise(found):
                result[a : b + 1] = carry(greys[a : b + 1], result[a], result[b], self.job.flow)
            if not found:
                continue
            a, b = found[0], found[-1]
            if begin and a > begin:
                result[begin : a + 1] = carry(greys[begin : a + 1], None, result[a], self.job.flow)
            if b < end - 1 and (end < len(span) or span[-1].index == self.job.analysis.frames - 1):
                result[b:end] = carry(greys[b:end], result[b], None, self.job.flow)
        return result

    def _carried(self, greys, first, last, cut: int, ends: bool) -> list[np.ndarray]:
        shape = greys[0].shape
        first = None if first is None else to_working(first, shape)
        last = None if last is None else to_working(last, shape)
        flow, empty = self.job.flow, np.zeros(shape, np.float32)
        if cut < len(greys):
            before = carry(greys[:cut], first, None, flow)
            return before + carry(greys[cut:], None, last, flow)
        mattes = carry(greys, first, last, flow)
        if ends and (first is None) != (last is None):
            # Seen at one end only: they came or went somewhere between, at a guess half-way.
            half = len(greys) / 2
            mattes = [m if (i < half) == (first is not None) else empty for i, m in enumerate(mattes)]
        return mattes

    def _present(self, span, i: int, cut: int) -> set:
        near = 0 if i < min(cut, (len(span) + 1) / 2) else len(span) - 1
        sample = self.samples.get(span[near].index) or self.samples.get(span[0].index)
        return set() if sample is None else {who for who, *_ in _people_in(self.job, sample)}

    def _key(self, frame: Frame) -> dict:
        """{person: uint8 matte} at a sampled frame: one encode, one prompt per person asked for."""
        if self.keys is not None and self.keys[0] == frame.index:
            return self.keys[1]
        sample = self.samples.get(frame.index)
        result: dict = {}
        if sample is not None:
            seen = [one for one in _people_in(self.job, sample) if one[2] not in self.job.analysis.regions]
            mine = [(who, face) for who, face, _ in seen if who in self.job.drawn]
            others = [face for who, face, _ in seen if who not in self.job.drawn]
            if mine:
                faces = [face for _, face in mine]
                boxes = [face_to_body_bbox(face, frame.image.shape) for face in faces]
                segments = self.job.segmenter.by_box(self.job.segmenter.encode(frame.image), boxes, faces, others)
                for (who, _), segment in zip(mine, separate(segments, faces), strict=True):
                    alpha = soft_alpha(segment)
                    result[who] = np.maximum(result[who], alpha) if who in result else alpha
        self.keys = (frame.index, result)
        return result


def _people_in(job: _Job, sample: Sample) -> list[tuple[str | int, Face, int]]:
    """(person, or track number of a stranger; their face; their track) of everyone in a sample."""
    found = []
    for track, box, _, face, _ in job.analysis.points(sample, job.names):
        name = job.names[track].name if track in job.names else None
        value = sample.face(face) if face is not None else Face(np.array(box), 0.5)
        height, width = job.analysis.header["height"], job.analysis.header["width"]
        x, y = value.centre
        if 0 <= x < width and 0 <= y < height:
            found.append((name or track, value, track))
    return found


def _heads_at(job: _Job, index: int, samples: dict[int, Sample]) -> dict[str | int, tuple[int, np.ndarray]]:
    """person -> (track, head box) at any frame, between samples by interpolation; nobody across a cut."""
    before = samples.get(index - index % job.sampling)
    after = samples.get(index - index % job.sampling + job.sampling)
    share = (index % job.sampling) / job.sampling
    if before is None:
        return {}
    here = {track: (who, face.box) for who, face, track in _people_in(job, before)}
    there = {track: (who, face.box) for who, face, track in _people_in(job, after)} if after and not after.cut else {}
    heads = {}
    for track in here.keys() | there.keys():
        if track in here and track in there:
            box = (1 - share) * here[track][1] + share * there[track][1]
        elif track in here and share < 0.5:
            box = here[track][1]
        elif track in there and share >= 0.5:
            box = there[track][1]
        else:
            continue
        heads[(here.get(track) or there[track])[0]] = (track, box)
    return heads


# ---- a steady crop


@dataclass(frozen=True)
class _CropPath:
    """A fixed-size window that follows a person: its centre for every frame, float32 (frames, 2)."""

    size: tuple[int, int]
    centres: np.ndarray

    def cut(self, image: np.ndarray, index: int) -> np.ndarray:
        """The window's picture."""
        width, height = self.size
        x, y = self.centres[min(index, len(self.centres) - 1)]
        forward = np.array([[1, 0, width / 2 - x], [0, 1, height / 2 - y]], np.float32)
        return cv2.warpAffine(image, forward, (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


def _crop_path(analysis: Analysis, names, wanted, aspect: tuple[int, int]) -> _CropPath:
    """Follow one person: body-sized window, path smoothed over about a second, steady in every shot."""
    if len(wanted) != 1:
        raise InputError(f"the crop view follows one person; got {len(wanted)}")
    width, height = analysis.header["width"], analysis.header["height"]
    points = []
    for sample in analysis.samples:
        for track, box, evidence, *_ in sample.tracks:
            found = names.get(analysis.track_of(track))
            if found is not None and found.name == wanted[0]:
                if evidence == "region":  # as if it were a person standing in it
                    x, head = (box[0] + box[2]) / 2, (box[3] - box[1]) / 7
                    box = (x - head / 2, box[1], x + head / 2, box[1] + head)
                points.append((sample.index, (box[0] + box[2]) / 2, (box[1] + box[3]) / 2, box[2] - box[0], sample.cut))
                break
    if not points:
        raise InputError(f"{wanted[0]} is not seen in this video, so there is nobody to follow")
    table = np.array(points, np.float64)
    side = float(np.median(table[:, 3]))
    tall = min(height, 9.0 * side, width * aspect[1] / aspect[0])
    tall = max(tall, min(height, 64))
    size = (max(2, int(tall * aspect[0] / aspect[1]) // 2 * 2), max(2, int(tall) // 2 * 2))
    count = max(analysis.frames, 1)
    sigma = max(1.0, 0.5 * float(analysis.fps))
    cuts = [s.index for s in analysis.samples if s.cut]
    centres = np.empty((count, 2), np.float32)
    for start, stop in zip([0, *cuts], [*cuts, count], strict=True):
        shot = table[(table[:, 0] >= start) & (table[:, 0] < stop)]
        if not len(shot):  # not in this shot: stay where they were last, or will be first
            before = table[table[:, 0] < start]
            shot = before[-1:] if len(before) else table[:1]
        frames = np.arange(start, stop)
        # The head in the upper third.
        for column, values in enumerate((shot[:, 1], shot[:, 2] + 0.28 * tall)):
            path = np.interp(frames, shot[:, 0], values)
            centres[start:stop, column] = gaussian_filter1d(path, sigma, mode="nearest")
    centres[:, 0] = centres[:, 0].clip(size[0] / 2, width - size[0] / 2)
    centres[:, 1] = centres[:, 1].clip(size[1] / 2, height - size[1] / 2)
    return _CropPath(size, centres)


def track_thumbnails(analysis: Analysis, source: str | os.PathLike, folder: Path, tracks: Sequence[int]) -> list[Path]:
    """Write one picture per track, of its clearest face; returns their paths, in order."""
    best: dict[int, tuple[float, int, tuple]] = {}
    for sample in analysis.samples:
        for number, box, _, face, _ in sample.tracks:
            track = analysis.track_of(number)
            clear = sample.faces[face][1] * (box[2] - box[0]) if face is not None else 0.0
            if track not in best or clear > best[track][0]:
                best[track] = (clear, sample.index, box)
    wanted: dict[int, list[int]] = {}
    for track in tracks:
        wanted.setdefault(best[track][1], []).append(track)
    with VideoReader(source) as reader:
        for frame in reader.frames(0, analysis.header["sampling"]):
            for track in wanted.get(frame.index, ()):
                box = best[track][2]
                side, x, y = box[2] - box[0], (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
                x0, y0 = int(max(0, x - 1.2 * side)), int(max(0, y - 1.2 * side))
                write_image(
                    folder / f"track_{track}.jpg", frame.image[y0 : int(y + 1.2 * side), x0 : int(x + 1.2 * side)]
                )
    return [folder / f"track_{track}.jpg" for track in tracks]


def spans_to_review(analysis: Analysis, names: dict[int, TrackName]) -> list[dict]:
    """Tracks worth a look, with their times: named on thin evidence, nearly named, or carried mostly by the body."""
    review = []
    for track in analysis.regions:
        for shot in _shots(analysis.samples):
            seen = [s for s in shot if any(t == track for t, *_ in s.tracks)]
            if seen and seen[-1] is not shot[-1]:
                row = {"track": track, "from": seen[-1].time_s, "to": shot[-1].time_s}
                review.append(row | {"name": names[track].name, "why": "lost from here on, within its shot"})
    for track, named in sorted(names.items()):
        seen = [s for s in analysis.samples if any(analysis.track_of(t) == track for t, *_ in s.tracks)]
        if not seen or named.by_hand:
            continue
        body = sum(p[2] == "body" for s in seen for p in s.tracks if analysis.track_of(p[0]) == track)
        why = None
        if named.name and named.margin < _UNSURE_MARGIN:
            why = f"named with a margin of only {named.margin:.2f} over {named.runner_up}"
        elif named.name and body > len(seen) / 2:
            why = "named, but mostly without a face to see"
        elif named.name is None and named.nearest and named.similarity > 0.35 and len(seen) >= 3:
            why = f"unknown; nearest is {named.nearest} ({named.similarity:.2f})"
        if why:
            row = {"track": track, "from": seen[0].time_s, "to": seen[-1].time_s, "name": named.name, "why": why}
            review.append(row)
    return review


def _shots(samples: Sequence[Sample]) -> list[list[Sample]]:
    """Samples between cuts."""
    shots: list[list[Sample]] = []
    for sample in samples:
        if sample.cut or not shots:
            shots.append([])
        shots[-1].append(sample)
    return shots

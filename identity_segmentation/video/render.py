"""An analysed video and names -> the video to be handed over. (Notebook section 7.)

Only the people asked for are segmented, in as few frames as will do (`mattes`). The output is made in segments of about
ten seconds; a killed run goes on after the last finished one, and ends with the same masks as an undisturbed run.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import threading
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from itertools import chain, islice
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from scipy.ndimage import gaussian_filter1d

from .. import drawing
from ..engines import any_detector
from ..engines.protocols import BoxSegmenter, EdgeRefiner, ObjectDetector
from ..errors import Cancelled, InputError, OutputError
from ..files import atomic_write
from ..geometry import encode_rle, grown_box, mask_box, plain_box, whole_box
from ..images import blurred, mixed, write_image
from ..types import Face, Frame, Match, Segment, Sighting
from .analysis import Analysis, Sample
from .files import FORMATS, SegmentWriter, VideoInfo, VideoReader, format_for, join_segments, prefetched
from .mattes import Mattes, Placed
from .naming import TrackName
from .review import spans_to_review
from .runs import Pictured, Run, parts_in, runs_in, spanned
from .scene import HeadHere, Scene, can_track, strangers_at
from .tracked_mattes import TrackedMattes

VIEWS = ("annotated", "overlay", "cutout", "blur-others", "blur", "crop")
PROPAGATE = ("auto", "flow", "sam3")
_SEGMENT_SECONDS = 10
_FORM = 2  # of what is kept of a segment; a run of another form begins anew


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
        remarks: what else is to be said, a sentence each.
    """

    frames: int
    seconds: float
    on_screen: dict[str, float]
    coverage: dict[str, float]
    review: list[dict]
    files: dict[str, str]
    note: str = ""
    remarks: tuple[str, ...] = ()


@dataclass(frozen=True)
class RenderSettings:
    """How to render: one of `VIEWS`; background "#RRGGBB" for a cutout without alpha; aspect (w, h) of a crop; frames
    of temporal smoothing; whether to write masks as COCO RLE lines; propagate "flow", "sam3" (the segmenter's own
    video tracker), or "auto" (that, if it has one); thing "" for whole people, or a word for a thing of theirs."""

    view: str = "annotated"
    background: str = "#00B140"
    aspect: tuple[int, int] = (9, 16)
    smoothing: int = 5
    masks: bool = False
    propagate: str = "auto"
    thing: str = ""

    @classmethod
    def of(cls, settings: RenderSettings | None, changes: Mapping[str, Any]) -> RenderSettings:
        """These settings (None = the defaults) with some fields changed.

        Raises:
            TypeError: a name that is no field, as for any keyword that a call does not know.
        """
        known = [entry.name for entry in fields(cls)]
        for name in changes:
            if name not in known:
                raise TypeError(f"unknown keyword {name!r}; expected {', '.join(known)}")
        return replace(settings or cls(), **changes)


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
    detector: Callable[[], ObjectDetector | None] = any_detector,
    edges: EdgeRefiner | None = None,
) -> VideoReport:
    """Render a video of the people `wanted` (names); see the module.

    Output named .mp4, .webm or .mov; a name without a suffix is a folder of PNG pictures.

    Args:
        source: the video.
        output: the file, or the folder for pictures.
        analysis: who is where and when.
        names: who each track is.
        wanted: display names.
        segmenter: draws the masks.
        colour_of: a display name -> (b, g, r).
        settings: how to render.
        progress: called with (frames done, frames in all).
        cancel: set it to stop within a frame.
        detector: gives the engine that finds things by their nouns, or None; called only where it is needed.
        edges: gives the masks of key frames finer edges, half a second each; None = they stay as they are.

    Raises:
        InputError: an unknown view, or a format that cannot hold it.
        OutputError: the output cannot be written; finished segments are kept.
        Cancelled: `cancel` was set; finished segments are kept.
    """
    source, output = Path(source), Path(output)
    if settings.view not in VIEWS:
        raise InputError(f"unknown view {settings.view!r}; expected {', '.join(VIEWS)}")
    if settings.propagate not in PROPAGATE:
        raise InputError(f"unknown propagate {settings.propagate!r}; expected {', '.join(PROPAGATE)}")
    if settings.propagate == "sam3" and not can_track(segmenter):
        raise InputError(
            f"propagate sam3 was asked for, but the segmenter {segmenter.id} has no video tracker; choose "
            "--segmenter sam3-hf, or --propagate flow"
        )
    job = _Job(source, output, analysis, names, list(wanted), segmenter, colour_of, settings, detector, edges)
    return job.run(progress, cancel)


class _Job:
    def __init__(self, source, output, analysis, names, wanted, segmenter, colour_of, settings, detector, edges):
        self.source, self.output, self.analysis, self.names = source, output, analysis, names
        self.wanted, self.segmenter, self.colour_of, self.settings = wanted, segmenter, colour_of, settings
        self.pictures = output.suffix == ""
        self.form = FORMATS[".mov"] if self.pictures else format_for(output)
        self.sampling = analysis.header["sampling"]
        per_segment = max(1, round(_SEGMENT_SECONDS * float(analysis.fps) / self.sampling))
        self.starts = parts_in(analysis, per_segment * self.sampling)
        self.crop_path = crop_path(analysis, names, wanted, settings.aspect) if settings.view == "crop" else None
        self.size = (analysis.header["width"], analysis.header["height"])
        if self.crop_path is not None:
            self.size = self.crop_path.size
        self.scene = Scene(
            analysis,
            names,
            self._drawn_people(),
            segmenter,
            settings.smoothing,
            settings.thing,
            detector,
            edges=edges,
            fading="blur" not in settings.view,
        )

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
        cache_key = self._cache_key()
        with contextlib.suppress(OSError, ValueError):
            if json.loads((work / "cache_key.json").read_bytes()) != cache_key:
                shutil.rmtree(work)
        if work.exists() and not (work / "cache_key.json").exists():
            shutil.rmtree(work, ignore_errors=True)
        with atomic_write(work / "cache_key.json") as file:
            file.write(json.dumps(cache_key).encode())
        starts = self.starts
        todo = [s for s in starts if not (work / f"{s:08d}.done").exists()]
        if todo:
            self._render_segments(work, todo, progress, cancel)
        report = self._report(work, starts)
        self._deliver(work, starts, report)
        shutil.rmtree(work, ignore_errors=True)
        return report

    def _cache_key(self) -> list:
        named = sorted((t, n.name) for t, n in self.names.items())
        lines = hashlib.sha256(self.analysis.path.read_bytes()).hexdigest()
        cache_key = [
            _FORM, lines, named, self.wanted, vars(self.settings), self.segmenter.id, self.segmenter.describe(),
            self.form.suffix, self.pictures, self.starts, self.scene.edges and self.scene.edges.id,
        ]  # fmt: skip
        return json.loads(json.dumps(cache_key))  # as it reads back: JSON has no tuples

    def _render_segments(
        self, work: Path, todo: list[int], progress: Callable[[int, int], None] | None, cancel: threading.Event | None
    ) -> None:
        samples = {s.index: s for s in self.analysis.samples}
        with contextlib.ExitStack() as stack:
            reader = stack.enter_context(VideoReader(self.source))
            ahead = None
            tracked = self.settings.propagate != "flow" and can_track(self.segmenter) and not self.settings.thing
            if tracked and self.scene.drawn:
                # The tracker looks at a whole segment before its first frame can be drawn: it reads for itself.
                ahead = prefetched(stack.enter_context(VideoReader(self.source)).frames(todo[0]), depth=4)
                stack.callback(ahead.close)
            pictures = prefetched(self._pictured(reader.frames(todo[0])), depth=3)
            stack.callback(pictures.close)
            plan = [run for run in runs_in(self.analysis, self.starts) if run.begin >= todo[0]]
            runs = spanned(pictures, plan)
            for start, end in zip(self.starts, [*self.starts[1:], max(1, self.analysis.frames)], strict=True):
                if start < todo[0]:
                    continue
                mine = islice(runs, sum(start <= run.begin < end for run in plan))
                part: Iterator[Frame] = iter(()) if ahead is None else islice(ahead, end - start)
                if start not in todo:
                    for _ in chain(mine, part):
                        pass
                    continue
                if ahead is None:
                    mattes = Mattes(self.scene, samples, cancel)
                else:
                    mattes = TrackedMattes(self.scene, samples, part, cancel)
                self._render_segment(work, start, mattes, mine, samples, reader.info, progress, cancel)

    def _pictured(self, frames: Iterable[Frame]) -> Iterator[Pictured]:
        for frame in frames:
            yield frame, self.scene.flow.grey(frame.image)

    def _render_segment(
        self, work: Path, start: int, state: Mattes, runs: Iterator[tuple[Run, list[Pictured]]],
        samples: dict[int, Sample], info: VideoInfo, progress: Callable[[int, int], None] | None,
        cancel: threading.Event | None,
    ) -> None:  # fmt: skip
        stem = work / f"{start:08d}"
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
            # Mattes, pictures and their encoding each have a thread, so that all cores have work.
            # Each closes the one before it: a generator can only be closed by the thread that is not at work in it.
            worked = prefetched(state.runs(runs), depth=0)
            finished = prefetched(self._finished(worked, samples), depth=2)
            stack.callback(finished.close)
            for frame, picture, lines, counts in finished:
                if cancel is not None and cancel.is_set():
                    raise Cancelled
                if write is not None:
                    write(picture, frame.pts)
                else:
                    write_image(folder / f"{frame.index:08d}.png", picture)
                masks.writelines(lines)
                for name, (seen, covered) in counts.items():
                    row = stats.setdefault(name, [0, 0, -1])
                    row[0] += seen
                    row[1] += covered
                    if seen and not covered and row[2] < 0:
                        row[2] = frame.index
                if progress:
                    progress(frame.index + 1, self.analysis.frames)
        with atomic_write(stem.with_suffix(".done")) as file:
            file.write(json.dumps(stats).encode())

    def _finished(
        self, runs: Generator[list[Placed], None, None], samples: dict[int, Sample]
    ) -> Iterator[tuple[Frame, np.ndarray, list[bytes], dict[str, tuple[bool, bool]]]]:
        """(a frame, its picture, lines for the file of masks, person -> (should be seen, and has a mask)) of each."""
        with contextlib.closing(runs):
            for run in runs:
                while run:
                    placed = run.pop(0)  # what is drawn is let go of
                    mattes = placed.mattes()
                    solid = {who: matte > 127 for who, matte in mattes.items()}
                    lines, counts = [], {}
                    for name in self.wanted:
                        there = name in solid and bool(solid[name].any())
                        counts[name] = (name in placed.present, name in placed.present and there)
                        if self.settings.masks and there:
                            lines.append(_rle_line(placed.frame, name, solid[name]))
                    yield placed.frame, self._picture(placed, mattes, solid, samples), lines, counts

    # ---- one picture

    def _picture(
        self, placed: Placed, mattes: Mapping[Any, np.ndarray], solid: Mapping[Any, np.ndarray],
        samples: dict[int, Sample],
    ) -> np.ndarray:  # fmt: skip
        """The picture to be handed over; `solid` are the mattes as bool masks, made once for all who ask."""
        view, image, heads = self.settings.view, placed.frame.image, placed.heads
        if self.crop_path is not None:
            return self.crop_path.cut(image, placed.frame.index)
        if view in ("blur", "blur-others"):
            strangers, bodies = strangers_at(self.scene, placed.frame.index, samples)
            # While two shots are mixed nobody was looked for and mattes stand still: the bodies' boxes are covered too.
            mixed = self.scene.is_mixed(placed.frame.index)
            if view == "blur":
                bare = [
                    box for box, who in bodies if self._is_wanted(who) and (mixed or not self._is_solid(who, solid))
                ]
                return self._blurred(image, mattes, heads, [], bare)
            bare = [b for b, who in bodies if not self._is_wanted(who) and (mixed or not self._is_solid(who, solid))]
            return self._blurred(image, mattes, heads, strangers, bare)
        if view == "cutout":
            return self._cutout(image, mattes)
        shown = {who: head for who, head in heads.items() if head.both or who in mattes}
        sightings = [self._sighting(name, mattes.get(name), solid.get(name), shown.get(name)) for name in self.wanted]
        sightings = [s for s in sightings if s.segment is not None or s.match is not None]
        if view == "overlay":
            return drawing.overlay(image, sightings, self.colour_of)
        return drawing.annotate(image, sightings, self.colour_of)

    def _is_wanted(self, track: int | None) -> bool:
        return track is not None and self.scene.name_of.get(track) in self.wanted

    def _is_solid(self, track: int | None, solid: Mapping[Any, np.ndarray]) -> bool:
        """Has somebody on a track a mask?"""
        name = None if track is None else self.scene.name_of.get(track)
        mask = solid.get(name if name is not None else track)
        return mask is not None and bool(mask.any())

    def _sighting(
        self, name: str, matte: np.ndarray | None, mask: np.ndarray | None, head: HeadHere | None
    ) -> Sighting:
        segment = None
        if mask is not None and mask.any():
            segment = Segment(mask, 1.0, whole_box(mask.shape), self.segmenter.id, matte)
        match = None
        if head is not None:
            track = self.names[head.track]
            match = Match(Face(head.box, 1.0), name, track.similarity, track.margin, track.runner_up, name, "face")
        return Sighting(match, segment, None if head is None else head.track, "tracked")

    def _cutout(self, image: np.ndarray, mattes: Mapping[Any, np.ndarray]) -> np.ndarray:
        height, width = image.shape[:2]
        alpha = np.zeros((height, width), np.uint8)
        for name in self.wanted:
            if mattes.get(name) is not None:
                np.maximum(alpha, mattes[name], out=alpha)
        result = np.zeros((height, width, 4 if self.form.alpha else 3), np.uint8)
        if not self.form.alpha:
            text = self.settings.background.lstrip("#")
            # A row at a time: numpy is slow to copy three bytes for each pixel.
            result[:] = np.tile(np.array([int(text[i : i + 2], 16) for i in (4, 2, 0)], np.uint8), (width, 1))
        box = mask_box(alpha > 0)
        if box is None:
            return result
        x0, y0, x1, y1 = (int(v) for v in box)
        part, mask = alpha[y0:y1, x0:x1], alpha > 127
        person = np.zeros((*part.shape, 4), np.uint8)
        if mask.any():
            segment = Segment(mask, 1.0, whole_box(alpha.shape), "video", alpha)
            person = drawing.cutout(image, segment, crop=True, pad=0)
        person[..., 3] = part  # also of those who are nowhere more than half there
        if not self.form.alpha:
            person = mixed(result[y0:y1, x0:x1], cv2.cvtColor(person, cv2.COLOR_BGRA2BGR), part)
        result[y0:y1, x0:x1] = person
        return result

    def _blurred(
        self, image: np.ndarray, mattes: Mapping[Any, np.ndarray], heads: Mapping, strangers: Sequence[np.ndarray],
        backs: Sequence[np.ndarray],
    ) -> np.ndarray:  # fmt: skip
        """Faces must not show through a soft matte: heads are covered whole, whatever the masks say. Of whom no
        more is known, the box of the body is covered, less the pixels of those who are to be seen."""
        hide = np.zeros(image.shape[:2], np.uint8)
        keep = np.zeros(image.shape[:2], np.uint8)
        for who, matte in mattes.items():
            target = hide if (who in self.wanted) == (self.settings.view == "blur") else keep
            np.maximum(target, matte, out=target)
        for box in backs:
            x0, y0, x1, y1 = (round(float(v)) for v in box)
            cv2.rectangle(hide, (x0, y0), (x1, y1), 255, -1)
        hide *= keep <= 127
        covered = [
            head.box
            for who, head in heads.items()
            if head.track not in self.analysis.regions and (who in self.wanted) == (self.settings.view == "blur")
        ]
        for box in [*covered, *strangers]:
            x, y, w, h = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2, box[2] - box[0], box[3] - box[1]
            cv2.ellipse(hide, (int(x), int(y)), (max(1, int(0.75 * w)), max(1, int(0.85 * h))), 0, 0, 360, 255, -1)
        found = mask_box(hide > 0)
        if found is None:
            return image
        # The cover grows by 4 pixels and softens over 3 more; within 3 of the part's edge it is nothing, so that what
        # lies beyond the edge makes no difference.
        x0, y0, x1, y1 = grown_box(plain_box(found), 10, hide.shape)
        share = cv2.GaussianBlur(cv2.dilate(hide[y0:y1, x0:x1], np.ones((9, 9), np.uint8)), (7, 7), 0)
        result = image.copy()
        result[y0:y1, x0:x1] = mixed(image[y0:y1, x0:x1], blurred(image, 24, (x0, y0, x1, y1)), share)
        return result

    # ---- the end

    def _report(self, work: Path, starts: list[int]) -> VideoReport:
        totals = {name: [0, 0] for name in self.wanted}
        bare: dict[str, int] = {}  # name -> the first frame in which they should be seen and have no mask
        for start in starts:
            done = work / f"{start:08d}.done"
            for name, (seen, covered, left) in json.loads(done.read_bytes()).items() if done.exists() else ():
                totals[name][0] += seen
                totals[name][1] += covered
                if left >= 0:
                    bare.setdefault(name, left)
        rate = float(self.analysis.fps)
        remarks = tuple(
            f"{name}: no mask could be trusted in {totals[name][0] - totals[name][1]} of {totals[name][0]} frames on "
            f"screen, which are left empty; the first at {left / rate:.2f} s"
            for name, left in bare.items()
            if self.scene.drawn and not self.settings.thing
        )
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
            self._note(),
            remarks,
        )

    def _note(self) -> str:
        """What is to be said of the source, and of what this view could not do."""
        if self.settings.view != "blur-others" or self.analysis.header.get("detector"):
            return self.analysis.note
        unseen = "nobody looked for people whose face is not seen, so they are not covered; analyse again with --fresh"
        return f"{self.analysis.note}; {unseen}" if self.analysis.note else unseen

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


def _rle_line(frame: Frame, name: str, mask: np.ndarray) -> bytes:
    row = {"frame": frame.index, "time": round(frame.time_s, 6), "person": name, **encode_rle(mask)}
    return json.dumps(row, ensure_ascii=False).encode() + b"\n"


# ---- a steady crop


@dataclass(frozen=True)
class CropPath:
    """A fixed-size window that follows a person: its centre for every frame, float32 (frames, 2)."""

    size: tuple[int, int]
    centres: np.ndarray

    def cut(self, image: np.ndarray, index: int) -> np.ndarray:
        """The window's picture."""
        width, height = self.size
        x, y = self.centres[min(index, len(self.centres) - 1)]
        forward = np.array([[1, 0, width / 2 - x], [0, 1, height / 2 - y]], np.float32)
        return cv2.warpAffine(image, forward, (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


def crop_path(
    analysis: Analysis, names: dict[int, TrackName], wanted: Sequence[str], aspect: tuple[int, int]
) -> CropPath:
    """Follow one person: body-sized window, path smoothed over about a second, steady in every shot.

    Args:
        analysis: who is where and when.
        names: who each track is.
        wanted: the one person's display name.
        aspect: (width, height) of the window.

    Raises:
        InputError: more people than one, or nobody is seen.
    """
    if len(wanted) != 1:
        raise InputError(f"the crop view follows one person; got {len(wanted)}")
    width, height = analysis.header["width"], analysis.header["height"]
    points = []
    for sample in analysis.samples:
        for point in sample.tracks:
            found, box = names.get(point.track), point.box
            if found is not None and found.name == wanted[0]:
                if point.evidence == "region":  # as if it were a person standing in it
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
    return CropPath(size, centres)

"""An analysed video and names -> the video to be handed over. (Notebook section 7.)

Only the people asked for are segmented, in as few frames as will do (`mattes`). The output is made in segments of about
ten seconds; a killed run goes on after the last finished one, and ends with the same masks as an undisturbed run. Some
segments can be rendered alone, here or on another machine: brought together in one work folder they are a run that has
only its end left to do.
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
from itertools import chain, islice, pairwise
from pathlib import Path
from typing import Any

import numpy as np

from ..cards import Html
from ..covers import check_way
from ..engines import any_detector
from ..engines.protocols import BoxSegmenter, EdgeRefiner, ObjectDetector
from ..errors import Cancelled, InputError, OutputError
from ..files import as_json, atomic_write, write_json
from ..geometry import encode_rle
from ..types import Frame
from .analysis import Analysis, rounded
from .cover_corrections import corrected_at, corrections_key, corrections_of
from .covering import COVERING, Covered, Covering
from .crops import crop_path
from .delivery import Delivery, outputs_of, parsed_colour
from .exr import missing
from .facts import VideoInfo
from .files import VideoReader, prefetched
from .headwatch import MARGIN_S, Heads
from .mattes import Mattes, Placed
from .naming import TrackName
from .partial import PLAN, plan_of, work_of
from .recovering import bounds, keys_of, note, recover
from .review import spans_to_review
from .runs import Pictured, Run, parts_in, runs_in, spanned
from .scene import Scene, can_track
from .sound import VOICES
from .tracked_mattes import TrackedMattes
from .views import PER_PERSON, VIEWS, Views
from .windows import WindowedMattes
from .writing import format_for

PROPAGATE = ("auto", "flow", "sam3", "windows")
FRAMES = ("png", "exr")
_LONGEST_MARGIN = 10
_MOST_ROWS = 20  # spans worth a look that a card shows
_SEGMENT_SECONDS = 10
_GREEN = "#00B140"  # chroma-key green, behind a cutout in a form without transparency
_FORM = 5  # of what is kept of a segment; a run of another form begins anew


@dataclass(frozen=True)
class VideoReport:
    """What a render did.

    Attributes:
        frames: frames written.
        seconds: duration written.
        on_screen: person -> seconds on screen.
        coverage: person -> share of their on-screen frames with a mask.
        review: spans worth a look: {"track", "from", "to", "name", "why"}.
        files: "video", "analysis", and "masks" if asked for; of one file a person, "video of NAME" each, and
            "video" is the first.
        note: what was wrong with the source; empty if nothing.
        remarks: what else is to be said, a sentence each.
        sound: what became of the sound, in a word or two: "sound kept", "no sound".
        kind: what kind of file it is, and which programs take it.
    """

    frames: int
    seconds: float
    on_screen: dict[str, float]
    coverage: dict[str, float]
    review: list[dict]
    files: dict[str, str]
    note: str = ""
    remarks: tuple[str, ...] = ()
    sound: str = "no sound"
    kind: str = ""

    def _repr_html_(self) -> str:
        from .. import cards
        from .previews import preview

        made = self.files.get("video", "")
        return cards.card(self.facts(), cards.videos({"": preview(made) or made}) if made else "", self.details())

    def facts(self) -> str:
        """How long it is, what kind of file, and what became of the sound, in one line."""
        said = [f"{self.frames} frames, {self.seconds:.1f} s", self.kind, self.sound]
        return "; ".join(filter(None, said))

    def details(self) -> Html:
        """Who is on screen, what is worth a look, what was written, and what else is to be said, as HTML."""
        from .. import cards

        people = [
            (name, cards.number(seconds, ".1f"), f"{self.coverage.get(name, 0.0):.0%}")
            for name, seconds in self.on_screen.items()
        ]
        review = [
            (r["track"], r["name"] or "unknown", cards.number(r["from"], ".1f"), cards.number(r["to"], ".1f"), r["why"])
            for r in self.review[:_MOST_ROWS]
        ]
        left = len(self.review) - len(review)
        parts = [
            cards.table(("person", "seconds on screen", "of it with a mask"), people) if people else "",
            cards.table(("track", "worth a look", "from s", "to s", "why"), review) if review else "",
            cards.lines([f"and {left} more worth a look" if left else "", self.note, *self.remarks]),
            cards.table(("file", ""), [(kind, cards.link(path)) for kind, path in self.files.items()]),
        ]
        return cards.several(parts)


@dataclass(frozen=True)
class RenderSettings:
    """How to render.

    Attributes:
        view: one of `VIEWS`.
        background: "#RRGGBB" behind a cutout; empty = transparent where the output can be, else green.
        aspect: (width, height) of a crop, as it is seen.
        smoothing: frames of temporal smoothing.
        masks: also write masks as COCO RLE lines?
        propagate: "flow", "sam3" (the segmenter's own video tracker), "windows" (flow, and the tracker where that is
            doubtful), or "auto" (the tracker, if there is one).
        thing: "" for whole people, or a word for a thing of theirs.
        way: how people are covered; one of `covers.WAYS`.
        bodies: are whole bodies covered, or heads alone? None = bodies in the views "blur" and "blur-others".
        margin: seconds that a head is covered before it is first seen, and after it was last seen.
        voice: what becomes of the sound: "" as it is, "mute", "low" or "high".
        per_person: a file, or a folder of pictures, for each person alone?
        frames: what a folder of pictures holds: "png", or "exr" (the source's pictures with everybody's matte).
    """

    view: str = "annotated"
    background: str = ""
    aspect: tuple[int, int] = (9, 16)
    smoothing: int = 5
    masks: bool = False
    propagate: str = "auto"
    thing: str = ""
    per_person: bool = False
    frames: str = "png"
    way: str = "blur"
    bodies: bool | None = None
    margin: float = MARGIN_S
    voice: str = ""

    @property
    def covers_bodies(self) -> bool:
        """Are whole bodies covered?"""
        return self.view != "anonymise" if self.bodies is None else self.bodies

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

    def check(self, output: Path) -> None:
        """`InputError` where something is asked for that there is not, or that the output cannot hold."""
        if self.view not in VIEWS:
            raise InputError(f"unknown view {self.view!r}; expected {', '.join(VIEWS)}")
        if self.propagate not in PROPAGATE:
            raise InputError(f"unknown propagate {self.propagate!r}; expected {', '.join(PROPAGATE)}")
        if self.per_person and self.view not in PER_PERSON:
            raise InputError(f"one file a person is made of the views {', '.join(PER_PERSON)}; got {self.view!r}")
        check_way(self.way)
        if not 0 <= self.margin <= _LONGEST_MARGIN:
            raise InputError(f"expected a margin of 0 to {_LONGEST_MARGIN} seconds, got {self.margin}")
        if self.voice not in VOICES:
            raise InputError(f"unknown voice {self.voice!r}; expected {', '.join(filter(None, VOICES))}, or nothing")
        if self.background:
            parsed_colour(self.background)
        if self.frames not in FRAMES:
            raise InputError(f"unknown frames {self.frames!r}; expected {', '.join(FRAMES)}")
        if self.frames == "exr":
            if output.suffix or self.per_person or self.view not in PER_PERSON:
                raise InputError(
                    "EXR frames hold the source's pictures with a layer a person; expected a folder as output, and "
                    f"one of the views {', '.join(PER_PERSON)} (which makes no difference)"
                )
            if missing():
                raise OutputError(missing())
        if output.suffix:
            format_for(output)


def segment_starts(analysis: Analysis) -> list[int]:
    """Where the segments begin in which an output is rendered: first frames, in order.

    Args:
        analysis: of the video.
    """
    step = analysis.header["sampling"]
    return parts_in(analysis, max(1, round(_SEGMENT_SECONDS * float(analysis.fps) / step)) * step)


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
    overwrite: bool = False,
    heads: Heads | None = None,
    only: range | None = None,
) -> VideoReport:
    """Render a video of the people `wanted` (names); see the module.

    Output named .mp4, .webm or .mov; a name without a suffix is a folder of pictures, PNG or EXR.

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
        overwrite: write over pictures of the same names that are not ours?
        heads: every head of the video; needed by the views that cover people (`headwatch.watch`).
        only: numbers of the segments to render, which stay in the output's work folder (`partial.work_of`); nothing is
            handed over. None = all, and the output. What is reported is of the segments that lie there.

    Raises:
        InputError: an unknown view, a format that cannot hold it, or a segment that there is not.
        OutputError: there are pictures that are not ours where ours would be, or the output cannot be written; finished
            segments are kept.
        Cancelled: `cancel` was set; finished segments are kept.
    """
    source, output = Path(source), Path(output)
    settings.check(output)
    if (settings.view in COVERING) != (heads is not None):
        raise InputError(f"the views {', '.join(COVERING)} need the heads of the video, and no others do")
    if settings.propagate in ("sam3", "windows") and not can_track(segmenter):
        raise InputError(
            f"propagate {settings.propagate} was asked for, but the segmenter {segmenter.id} has no video tracker; "
            "choose --segmenter sam3-hf, or --propagate flow"
        )
    job = _Job(source, output, analysis, names, list(wanted), segmenter, colour_of, settings, detector, edges, heads)
    job.delivery.check(overwrite)
    return job.run(progress, cancel) if only is None else job.run_some(only, progress, cancel)


class _Job:
    def __init__(
        self, source: Path, output: Path, analysis: Analysis, names: dict[int, TrackName], wanted: list[str],
        segmenter: BoxSegmenter, colour_of: Callable[[str], tuple[int, int, int]], settings: RenderSettings,
        detector: Callable[[], ObjectDetector | None], edges: EdgeRefiner | None, heads: Heads | None,
    ):  # fmt: skip
        self.source, self.output, self.analysis, self.names = source, output, analysis, names
        self.wanted, self.segmenter, self.colour_of, self.settings = wanted, segmenter, colour_of, settings
        with VideoReader(source) as reader:
            self.info: VideoInfo = reader.info
        self.starts = segment_starts(analysis)
        view, size = settings.view, (analysis.header["width"], analysis.header["height"])
        self.crop = None
        if view == "crop":
            self.crop = crop_path(analysis, names, wanted, settings.aspect, float(self.info.pixel_aspect))
            size = self.crop.size
        form = format_for(output) if output.suffix else None
        clear = view == "cutout" and not settings.background and (form is None or form.alpha)
        form = form if form is None or clear else form.opaque()
        outputs = outputs_of(output, source, wanted, settings.per_person)
        self.delivery = Delivery(outputs, form, settings.frames, size, self.info, wanted, clear)
        self.background = None if clear else parsed_colour(settings.background or _GREEN)
        self.scene = Scene(
            analysis,
            names,
            self._drawn_people(),
            segmenter,
            settings.smoothing,
            settings.thing,
            detector,
            edges=edges,
            fading=view not in COVERING,
        )
        samples = {s.index: s for s in analysis.samples}
        self.views = Views(view, names, colour_of, segmenter.id, self.background, self.crop)
        self.covering: Covering | None = None
        if heads is not None:
            self.covering = Covering(
                view,
                settings.way,
                settings.covers_bodies,
                self.scene,
                samples,
                wanted,
                heads,
                extra=corrected_at(corrections_of(output)),
            )

    def _drawn_people(self) -> list[str | int]:
        """Whom to segment: names - or, for blur-others, everybody else, nameless tracks by number."""
        if self.settings.view == "crop" and not self.settings.masks:
            return []
        if self.settings.view == "anonymise":
            return sorted(self.names) if self.settings.covers_bodies else []
        if self.settings.view != "blur-others" or not self.settings.covers_bodies:
            return list(self.wanted)
        others = {t.name or track for track, t in self.names.items() if t.name not in self.wanted}
        return [*self.wanted, *sorted(others, key=str)]

    def run(self, progress: Callable[[int, int], None] | None, cancel: threading.Event | None) -> VideoReport:
        cache_key = self._cache_key()
        work = self._work_of(cache_key)
        starts = self.starts
        segments = bounds(starts, self.analysis.frames)
        seconds = [self.analysis.seconds_at(start) for start in [*starts, self.analysis.frames]]
        alpha = self.delivery.form is not None and self.delivery.form.alpha
        write_json(work / PLAN, plan_of(starts, self.analysis.frames, seconds, self.settings.voice, alpha))
        keys: list[str] = []
        question = [*cache_key[:-1], cache_key[-1] and cache_key[-1][:-1]]
        if self.covering is not None:
            keys = keys_of(self.output, list(pairwise(seconds)))
            if not any(work.glob("*.done")) and not self.settings.masks:
                recover(work, self.delivery, Path(f"{self.output}.covers.jsonl"), question, segments, keys)
        todo = [s for s in starts if not (work / f"{s:08d}.done").exists()]
        if todo:
            self._render_segments(work, todo, progress, cancel)
        report = self._report(work, starts)
        if self.settings.masks:
            with atomic_write(report.files["masks"]) as file:
                for start in starts:
                    file.write((work / f"{start:08d}.masks").read_bytes())
        carried = self.delivery.deliver(work, starts, self.source, self.settings.voice, self.covering is None)
        if self.covering is not None:
            self._write_covers(report.files["covers"], work, note(self.delivery, question, segments, keys, work))
        shutil.rmtree(work, ignore_errors=True)
        remarks = [*report.remarks, *self.info.remarks(), *self.delivery.remarks(), *carried.remarks]
        if self.covering is not None and not self.covering.heads.chains:
            remarks.append("no head was found in it, so none is covered")
        if self.output.suffix == "" and self.info.has_audio:
            remarks.append("pictures have no sound; it stays in the source")
        return replace(report, remarks=tuple(remarks), sound=carried.said, kind=self.delivery.kind())

    def run_some(
        self, only: range, progress: Callable[[int, int], None] | None, cancel: threading.Event | None
    ) -> VideoReport:
        """Render some segments and hand nothing over."""
        if only and not 0 <= min(only) <= max(only) < len(self.starts):
            raise InputError(f"expected segments from 0 to {len(self.starts) - 1}, got {min(only)} to {max(only)}")
        work = self._work_of(self._cache_key())
        starts = [self.starts[number] for number in sorted(only)]
        todo = [start for start in starts if not (work / f"{start:08d}.done").exists()]
        if todo:
            self._render_segments(work, todo, progress, cancel)
        return self._report(work, self.starts)

    def _work_of(self, cache_key: list) -> Path:
        """The work folder; what lies there of another render is thrown away."""
        work = work_of(self.output)
        with contextlib.suppress(OSError, ValueError):
            if json.loads((work / "cache_key.json").read_bytes()) != cache_key:
                shutil.rmtree(work)
        if work.exists() and not (work / "cache_key.json").exists():
            shutil.rmtree(work, ignore_errors=True)
        with atomic_write(work / "cache_key.json") as file:
            file.write(json.dumps(cache_key).encode())
        return work

    def _cache_key(self) -> list:
        named = sorted((t, n.name) for t, n in self.names.items())
        lines = hashlib.sha256(self.analysis.path.read_bytes()).hexdigest()
        cache_key = [
            _FORM, lines, named, self.wanted, vars(self.settings), self.segmenter.id, self.segmenter.describe(),
            [o.path.name for o in self.delivery.outputs], self.source.stem, self.starts,
            self.scene.edges and self.scene.edges.id,
            self.covering and [self.covering.heads.finder, self.covering.heads.looked, _said_by_hand(self.output)],
        ]  # fmt: skip
        return json.loads(json.dumps(cache_key))  # as it reads back: JSON has no tuples

    def _render_segments(
        self, work: Path, todo: list[int], progress: Callable[[int, int], None] | None, cancel: threading.Event | None
    ) -> None:
        samples = {s.index: s for s in self.analysis.samples}
        with contextlib.ExitStack() as stack:
            reader = stack.enter_context(VideoReader(self.source))
            ahead = None
            tracked = can_track(self.segmenter) and not self.settings.thing
            if tracked and self.settings.propagate in ("auto", "sam3") and self.scene.drawn:
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
                if start > todo[-1]:
                    break  # nobody needs the frames that follow
                mine = islice(runs, sum(start <= run.begin < end for run in plan))
                part: Iterator[Frame] = iter(()) if ahead is None else islice(ahead, end - start)
                if start not in todo:
                    for _ in chain(mine, part):
                        pass
                    continue
                if ahead is None:
                    kind = WindowedMattes if tracked and self.settings.propagate == "windows" else Mattes
                    mattes = kind(self.scene, samples, cancel)
                else:
                    mattes = TrackedMattes(self.scene, samples, part, cancel)
                self._render_segment(work, start, mattes, mine, progress, cancel)

    def _pictured(self, frames: Iterable[Frame]) -> Iterator[Pictured]:
        for frame in frames:
            yield frame, self.scene.flow.grey(frame.image)

    def _render_segment(
        self, work: Path, start: int, state: Mattes, runs: Iterator[tuple[Run, list[Pictured]]],
        progress: Callable[[int, int], None] | None, cancel: threading.Event | None,
    ) -> None:  # fmt: skip
        stem = work / f"{start:08d}"
        stats: dict[str, list[float]] = {}
        with contextlib.ExitStack() as stack:
            write = self.delivery.open(work, start, stack)
            masks = stack.enter_context(atomic_write(stem.with_suffix(".masks")))
            covers = stack.enter_context(atomic_write(stem.with_suffix(".covers")))
            # Mattes, pictures and their encoding each have a thread, so that all cores have work.
            # Each closes the one before it: a generator can only be closed by the thread that is not at work in it.
            worked = prefetched(state.runs(runs), depth=0)
            finished = prefetched(self._finished(worked), depth=2)
            stack.callback(finished.close)
            for done in finished:
                if cancel is not None and cancel.is_set():
                    raise Cancelled
                frame = done.frame
                write(frame, done.pictures, done.mattes)
                masks.writelines(done.lines)
                covers.writelines(done.covers)
                lasts = self.analysis.seconds_at(frame.index + 1) - self.analysis.seconds_at(frame.index)
                for name, (seen, covered) in done.counts.items():
                    row = stats.setdefault(name, [0, 0, -1.0, 0.0])
                    row[0] += seen
                    row[1] += covered
                    row[3] += lasts * seen
                    if seen and not covered and row[2] < 0:
                        row[2] = frame.time_s
                if progress:
                    progress(frame.index + 1, self.analysis.frames)
        with atomic_write(stem.with_suffix(".done")) as file:
            file.write(json.dumps(stats).encode())

    def _finished(self, runs: Generator[list[Placed], None, None]) -> Iterator[_Finished]:
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
                    if self.covering is not None:
                        picture, covered = self.covering.picture(placed, mattes, solid)
                        yield _Finished(
                            placed.frame, [picture], {}, lines, counts, [_covers_line(placed.frame, covered)]
                        )
                    elif self.settings.frames == "exr":
                        yield _Finished(placed.frame, [placed.frame.image], mattes, lines, counts, [])
                    else:
                        pictures = self._pictures(placed, mattes, solid)
                        yield _Finished(placed.frame, pictures, {}, lines, counts, [])

    def _pictures(
        self, placed: Placed, mattes: Mapping[Any, np.ndarray], solid: Mapping[Any, np.ndarray]
    ) -> list[np.ndarray]:
        return [
            self.views.picture(placed, mattes, solid, self.wanted if output.who is None else [output.who])
            for output in self.delivery.outputs
        ]

    # ---- the end

    def _report(self, work: Path, starts: list[int]) -> VideoReport:
        totals = {name: [0, 0, 0.0] for name in self.wanted}  # frames on screen, of them with a mask, seconds
        bare: dict[str, float] = {}  # name -> when they should first be seen and have no mask
        for start in starts:
            done = work / f"{start:08d}.done"
            for name, (seen, covered, left, lasts) in json.loads(done.read_bytes()).items() if done.exists() else ():
                totals[name][0] += seen
                totals[name][1] += covered
                totals[name][2] += lasts
                if left >= 0:
                    bare.setdefault(name, left)
        remarks = tuple(
            f"{name}: no mask could be trusted in {totals[name][0] - totals[name][1]} of {totals[name][0]} frames on "
            f"screen, which are left empty; the first at {left:.2f} s"
            for name, left in bare.items()
            if self.scene.drawn and not self.settings.thing
        )
        files = {"video": str(self.delivery.outputs[0].path), "analysis": str(self.analysis.path)}
        for output in self.delivery.outputs:
            if output.who is not None:
                files[f"video of {output.who}"] = str(output.path)
        if self.settings.masks:
            files["masks"] = f"{self.output}.masks.jsonl"
        if self.covering is not None:
            files["covers"] = f"{self.output}.covers.jsonl"
        return VideoReport(
            self.analysis.frames,
            self.analysis.seconds,
            {n: seconds for n, (_, _, seconds) in totals.items()},
            {n: covered / seen if seen else 0.0 for n, (seen, covered, _) in totals.items()},
            spans_to_review(self.analysis, self.names),
            files,
            self._note(),
            remarks,
        )

    def _write_covers(self, path: str, work: Path, known: dict[str, Any]) -> None:
        """Write down what was covered, where and when, for whoever looks at the result again (`audit`)."""
        assert self.covering is not None
        heads = self.covering.heads
        asked = self.settings
        header = {
            "kind": "header", "version": 1, "finder": heads.finder, "way": asked.way, "view": asked.view,
            "kept": self.wanted if asked.view == "blur-others" else [], "heads": len(heads.chains),
            "looked": heads.looked, "margin": asked.margin, "bodies": asked.covers_bodies,
        }  # fmt: skip
        with atomic_write(path) as file:
            file.write(as_json(header | known) + b"\n")
            for start in self.starts:
                file.write((work / f"{start:08d}.covers").read_bytes())

    def _note(self) -> str:
        """What is to be said of the source, and of what this view could not do."""
        if self.settings.view != "blur-others" or self.analysis.header.get("detector"):
            return self.analysis.note
        unseen = "nobody looked for people whose face is not seen, so they are not covered; analyse again with --fresh"
        return f"{self.analysis.note}; {unseen}" if self.analysis.note else unseen


@dataclass(frozen=True, eq=False)
class _Finished:
    """A frame, ready to be written.

    Attributes:
        frame: itself.
        pictures: what it became, for each output.
        mattes: who -> matte, where they are handed over themselves.
        lines: for the file of masks.
        counts: person -> (should be seen, and has a mask).
        covers: lines that say what was covered.
    """

    frame: Frame
    pictures: list[np.ndarray]
    mattes: dict[Any, np.ndarray]
    lines: list[bytes]
    counts: dict[str, tuple[bool, bool]]
    covers: list[bytes]


def _said_by_hand(output: Path) -> str:
    return corrections_key(corrections_of(output), 0.0, float("inf"))


def _covers_line(frame: Frame, covered: Covered) -> bytes:
    row = {
        "i": frame.index, "t": round(frame.time_s, 6),
        "covered": [[*rounded(box), number] for box, number in covered.boxes],
        "kept": [[*rounded(box), name] for box, name in covered.kept],
    }  # fmt: skip
    return as_json(row) + b"\n"


def _rle_line(frame: Frame, name: str, mask: np.ndarray) -> bytes:
    row = {"frame": frame.index, "time": round(frame.time_s, 6), "person": name, **encode_rle(mask)}
    return json.dumps(row, ensure_ascii=False).encode() + b"\n"

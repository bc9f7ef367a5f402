"""An analysed video -> a short part of it as a video of its own, with its own analysis: a render to look at before the
whole is made.

The part is cut out with its sound, and what the analysis of the whole says of it goes with it - names and corrections
by hand too - so that it looks as the whole will look there. Of a video that was not analysed yet it is the beginning,
which is then analysed by itself.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .analysis import Analysis, Sample, header_of, packed, rounded, write_lines
from .files import VideoReader
from .handoff import Part
from .handoff.cut import cut_video
from .naming import Evidence, TrackName
from .spans import on_screen
from .store import sibling

SECONDS = 10.0


@dataclass(frozen=True)
class Preview:
    """A part of a video.

    Attributes:
        path: its file.
        from_s, to_s: where it lies in the whole.
    """

    path: Path
    from_s: float
    to_s: float


def best_part(
    analysis: Analysis, names: Mapping[int, TrackName], wanted: Sequence[str], seconds: float = SECONDS
) -> Part:
    """The frames of a stretch in which the people asked for are on screen most, the first of several; it begins with a
    sample.

    Args:
        analysis: of the video.
        names: what is said of each tracklet.
        wanted: display names; nobody = everybody counts.
        seconds: how long it is; a shorter video is taken whole.
    """
    spans = [s for who, mine in on_screen(analysis, names).items() if not wanted or who in wanted for s in mine]
    samples = analysis.samples

    def score(sample: Sample) -> float:
        end = sample.time_s + seconds
        return sum(max(0.0, min(span.to_s, end) - max(span.from_s, sample.time_s)) for span in spans)

    whole = [sample for sample in samples if sample.time_s + seconds <= analysis.seconds + 1e-6] or list(samples[:1])
    begin = max(whole, key=lambda sample: round(score(sample), 3)).index if whole else 0
    end = max(begin + 1, min(analysis.frames, analysis.index_at(analysis.seconds_at(begin) + seconds)))
    return Part(begin, end if analysis.seconds_at(begin) + seconds < analysis.seconds else max(1, analysis.frames))


def cut_preview(
    source: str | Path, target: Path, analysis: Analysis | None, part: Part | None = None,
    progress: Callable[[int, int], None] | None = None, cancel: threading.Event | None = None,
) -> Preview:  # fmt: skip
    """Cut a part out of a video, and put what is known of it beside the analysis of the whole.

    Args:
        source: the video.
        target: the new file, .mp4.
        analysis: of the video; None = there is none yet.
        part: its frames; None = the first ten seconds.
        progress: called with (frames read, frames to read).
        cancel: set it to stop.

    Raises:
        VideoError, OutputError: see `handoff.cut.cut_video`; `errors.Cancelled` if cancelled.
    """
    if part is None:
        with VideoReader(source) as reader:
            rate, frames = float(reader.info.fps), reader.info.frames
        part = Part(0, max(1, min(frames or 1 << 40, round(SECONDS * rate))))
    seconds = cut_video(source, target, [part], progress, cancel)
    begin = 0.0 if analysis is None else analysis.seconds_at(part.begin)
    if analysis is not None:
        write_lines(sibling(analysis.path, target), list(_lines(analysis, target, part)))
    return Preview(target, begin, begin + seconds)


def _lines(analysis: Analysis, clip: Path, part: Part) -> list[dict[str, Any]]:
    """What an analysis says of a part of its video, as the analysis of that part."""
    first, seconds = part.begin, analysis.seconds_at(part.begin)
    kept = {key: value for key, value in analysis.header.items() if key not in ("kind", "version", "timecode")}
    with VideoReader(clip) as reader:
        lines: list[dict[str, Any]] = [{**kept, **header_of(clip, reader.info, analysis.header["sampling"])}]
    numbers = [k for k, shot in enumerate(analysis.shots) if shot.begin < part.end]
    numbers = [k for k in numbers if k + 1 not in numbers or analysis.shots[k + 1].begin > first]
    for k in numbers:
        shot = analysis.shots[k]
        mixed = [min(max(0, index - first), part.end - first) for index in shot.mixed]
        lines.append(
            {"kind": "shot", "begin": max(0, shot.begin - first), "how": shot.kind if shot.begin > first else "begin",
             "mixed": mixed if shot.begin > first and mixed[0] < mixed[1] else [0, 0], "place": analysis.places[k]}
        )  # fmt: skip
    mine = [sample for sample in analysis.samples if first <= sample.index < part.end]
    there = {point.track for sample in mine for point in sample.tracks}
    offset = numbers[0] if numbers else 0
    for track in sorted(there & analysis.tracklets.keys()):
        known = analysis.tracklets[track]
        lines.append(
            {"kind": "tracklet", "track": track, "shot": min(max(0, known.shot - offset), max(0, len(numbers) - 1)),
             "faces": _row(known.evidence), "clear": known.clear, "dressed": known.dressed,
             "clothes": None if known.clothes is None else packed(known.clothes),
             "pieces": [[max(0, a - first), b - first, clear, _row(seen)] for a, b, clear, seen in known.pieces
                        if a < part.end and b >= first]}
        )  # fmt: skip
    lines += [_sample(sample, first, seconds, number) for number, sample in enumerate(mine)]
    pairs = [[a, b, cosine] for (a, b), cosine in analysis.alike.items() if a in there and b in there]
    total = analysis.seconds_at(part.end) if part.end < analysis.frames else analysis.seconds
    lines += [
        {"kind": "alike", "pairs": pairs},
        {"kind": "end", "frames": part.end - first, "seconds": round(total - seconds, 6),
         "last": round(analysis.seconds_at(part.end - 1) - seconds, 6), "note": ""},
        *({"kind": "name", "track": track, "name": name} for track, name in analysis.by_hand.items() if track in there),
    ]  # fmt: skip
    for click in analysis.clicks:
        regions = {i - first: rle for i, rle in click.regions.items() if first <= i < part.end}
        if regions:
            size = next(iter(regions.values()))["size"]
            counts = {str(i): rle["counts"] for i, rle in regions.items()}
            lines.append(
                {"kind": "click", "name": click.name, "i": click.frame - first, "adds": click.adds, "size": size,
                 "regions": counts}
            )  # fmt: skip
    return lines


def _sample(sample: Sample, first: int, seconds: float, number: int) -> dict[str, Any]:
    return {
        "kind": "sample", "i": sample.index - first, "t": round(sample.time_s - seconds, 6),
        "cut": sample.cut and number > 0,
        "faces": [{"box": list(f.box), "score": f.score, "points": f.landmarks} for f in sample.faces],
        "tracks": [[p.track, rounded(p.box), p.evidence, p.face, round(p.clothes, 3), p.body] for p in sample.tracks],
        "bodies": [rounded(box) for box, _ in sample.bodies],
    }  # fmt: skip


def _row(seen: Evidence | None) -> list[Any] | None:
    if seen is None:
        return None
    return [seen.faces, round(seen.weight, 4), round(seen.side, 2), packed(np.asarray(seen.similar))]

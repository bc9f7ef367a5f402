"""An analysed video and names -> who is on screen from when to when. (Notebook section 7.)

Somebody is on screen in a frame if they are so for a render (`scene.heads_at`, `mattes`): where the samples before and
after have them, up to half-way to a sample of the same shot that has them not, and up to the border of the shot where
no other sample is in between. A gap that a render may bridge (`runs.reach_of`, about a second within one shot) is
bridged. What was followed from a box is also there right beside the frames in which it was found.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from .analysis import Analysis
from .naming import TrackName
from .runs import reach_of, shots_of
from .scene import Who, named_in
from .shots import shot_around


@dataclass(frozen=True)
class Span:
    """A stretch of a video in which somebody is on screen without a break.

    Attributes:
        who: their name, or the track number of a stranger.
        begin, end: the first frame, and the frame after the last one.
        from_s, to_s: seconds; when the first frame begins and when the last one ends.
        tracks: their tracklets in it, in rising order.
        similarity: the most that the faces of these are like the person on file; 0 where no face says so.
    """

    who: Who
    begin: int
    end: int
    from_s: float
    to_s: float
    tracks: tuple[int, ...]
    similarity: float


@dataclass(frozen=True)
class _Piece:
    """Frames around one sample in which somebody is there: begin, end (the frame after the last), the sample's index,
    the first frame of its shot, and the track."""

    begin: int
    end: int
    sample: int
    shot: int
    track: int


def on_screen(analysis: Analysis, names: Mapping[int, TrackName]) -> dict[Who, list[Span]]:
    """Everybody's spans in order of time, those first who come first; strangers, each track for itself, included.

    Args:
        analysis: of the video.
        names: what is said of each tracklet.
    """
    pieces: dict[Who, list[_Piece]] = {}
    for who, piece in _pieces(analysis, {track: said.name for track, said in names.items()}):
        pieces.setdefault(who, []).append(piece)
    reach = reach_of(analysis)
    spans = {
        who: [_span(analysis, names, who, run) for run in _runs(sorted(mine, key=lambda p: (p.begin, p.end)), reach)]
        for who, mine in pieces.items()
    }
    return dict(sorted(spans.items(), key=lambda row: (row[1][0].begin, isinstance(row[0], int), str(row[0]))))


def people_on_screen(spans: Mapping[Who, Sequence[Span]], order: Iterable[str]) -> list[str]:
    """Names of those who have a span, in a given order; those whom it has not come last.

    Args:
        spans: as `on_screen` gives them.
        order: names.
    """
    named = [who for who in spans if isinstance(who, str)]
    return [name for name in dict.fromkeys([*order, *named]) if name in spans]


def _pieces(analysis: Analysis, name_of: Mapping[int, str | None]) -> Iterator[tuple[Who, _Piece]]:
    """(who, where they are around one sample), of every sample, and of every frame in which a box was followed."""
    begins = [shot.begin for shot in shots_of(analysis)]
    total = analysis.frames or (analysis.samples[-1].index + 1 if analysis.samples else 0)
    step, samples = analysis.header["sampling"], {sample.index: sample for sample in analysis.samples}
    there = {
        index: {who: track for who, _, track, _ in named_in(analysis, name_of, sample)}
        for index, sample in samples.items()
    }
    for index, people in there.items():
        first, end = shot_around(begins, index)
        before, after = index - step, index + step
        for who, track in people.items():
            if before in samples and before >= first:
                begin = before if who in there[before] else before + -(-step // 2)
            else:
                begin = max(first, before + 1)
            if after in samples and after < end:
                until = after if who in there[after] else index + -(-step // 2)
            else:
                until = min(end, after)
            yield who, _Piece(max(0, begin), min(max(until, index + 1), total), index, first, track)
    for track, known in analysis.regions.items():
        for index in known:
            first, end = shot_around(begins, index)
            piece = _Piece(max(first, index - 1), min(end, index + 2, total), index, first, track)
            yield name_of.get(track) or track, piece


def _runs(pieces: Sequence[_Piece], reach: int) -> Iterator[list[_Piece]]:
    """Pieces in order, those together that touch or that a render would bridge the gap between."""
    run: list[_Piece] = []
    for piece in pieces:
        end = max((one.end for one in run), default=0)
        last = max((one.sample for one in run if one.shot == piece.shot), default=None)
        if run and piece.begin > end and (last is None or piece.sample - last > reach):
            yield run
            run = []
        run.append(piece)
    if run:
        yield run


def _span(analysis: Analysis, names: Mapping[int, TrackName], who: Who, run: Sequence[_Piece]) -> Span:
    begin, end = run[0].begin, max(piece.end for piece in run)
    tracks = tuple(sorted({piece.track for piece in run}))
    alike = [names[t].similarity for t in tracks if t in names and names[t].nearest == who]
    until = analysis.seconds if end >= analysis.frames else analysis.seconds_at(end)
    return Span(who, begin, end, analysis.seconds_at(begin), until, tracks, round(max(alike, default=0.0), 4))

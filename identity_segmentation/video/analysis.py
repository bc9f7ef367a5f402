"""Who is where and when in a video, as a plain file says it. (Notebook section 7.)

The file is JSON lines: a header (source, engine, gallery, sampling), a line per shot, per sampled frame and per
tracklet, an end line, and corrections made by hand. It is enough to render from, and to edit; nothing in it is an
embedding: of every tracklet it has the similarity of its pooled face to the people on file and to other tracklets.
`analysing` makes it, `corrections` adds to it, `store` says where it lies.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from functools import cached_property
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import InputError
from ..files import as_json, atomic_write
from ..geometry import plain_box
from ..people.gallery import Gallery
from ..people.rule import NamingRule
from ..types import Face
from .facts import VideoInfo
from .files import VideoReader
from .linking import Linkable, linked
from .naming import Evidence, TrackName, name_tracks
from .shots import Shot
from .tracking import Box, TrackPoint, is_taken

VERSION = 2
BY_HAND = ("name", "merge", "split", "point", "click", "undo")  # kinds of lines that a person added
_POINTED_S = 5.0  # seconds between two places that somebody was pointed at, up to which they are in between
TRULY_SEEN = ("face", "body", "hand")  # evidence that counts for "on screen together"


@dataclass(frozen=True, eq=False)
class FaceRecord:
    """One face of a sampled frame, as the analysis file keeps it: no embedding.

    Attributes:
        box: xyxy pixels.
        score: detection confidence, 0..1.
        landmarks: five (x, y) in pixels, or None; see `types.Face`.
    """

    box: Box
    score: float
    landmarks: tuple[tuple[float, float], ...] | None

    def face(self) -> Face:
        """The face as a value the engines take."""
        landmarks = None if self.landmarks is None else np.array(self.landmarks)
        return Face(np.array(self.box), self.score, None, landmarks)


@dataclass(frozen=True, eq=False)
class Sample:
    """One sampled frame.

    Attributes:
        index: of the frame in the video.
        time_s: seconds.
        cut: a new shot begins between the last sample and this one.
        faces: every face that was found.
        tracks: every tracklet that was seen.
        bodies: (xyxy box, the tracklet whose body it is, or None) of every body that was found; empty where nobody
            looked for bodies.
    """

    index: int
    time_s: float
    cut: bool
    faces: tuple[FaceRecord, ...]
    tracks: tuple[TrackPoint, ...]
    bodies: tuple[tuple[Box, int | None], ...] = ()


@dataclass(frozen=True, eq=False)
class TrackletRecord:
    """What is known of a tracklet, as the analysis file keeps it.

    Attributes:
        track: its number.
        shot: index of its shot.
        evidence: what its faces say; None where none was seen.
        clear: how many of its faces look at the camera.
        clothes: float (bins,), mean colours of its torso, or None.
        dressed: samples that these are of.
        pieces: (first frame, last frame, clear faces, evidence) of some faces in a row, for splitting by hand.
    """

    track: int
    shot: int
    evidence: Evidence | None = None
    clear: int = 0
    clothes: np.ndarray | None = None
    dressed: int = 0
    pieces: tuple[tuple[int, int, int, Evidence], ...] = ()

    def parted(self, frame: int, number: int) -> tuple[TrackletRecord, TrackletRecord]:
        """What it is before a frame, and what it is from there on, under another number: the mean of its pieces, less
        the one that the frame divides. What the clothes are worth is not known of either."""
        before = [piece for piece in self.pieces if piece[1] < frame]
        after = [piece for piece in self.pieces if piece[0] >= frame]
        first, second = (
            replace(
                self, evidence=_pooled([piece[3] for piece in part]), clothes=None, dressed=0,
                clear=sum(piece[2] for piece in part), pieces=tuple(part),
            )
            for part in (before, after)
        )  # fmt: skip
        return first, replace(second, track=number)

    def joined(self, other: TrackletRecord) -> TrackletRecord:
        """What it and another one are together.

        Args:
            other: joins it.
        """
        seen = [found for found in (self.evidence, other.evidence) if found is not None]
        return replace(
            self, evidence=_pooled(seen), clear=self.clear + other.clear, pieces=(*self.pieces, *other.pieces)
        )


@dataclass(frozen=True, eq=False)
class Click:
    """What a person said of a matte by clicks in one frame, followed through its shot; `clicks` makes it.

    Attributes:
        name: whose matte.
        frame: the frame that was clicked.
        adds: is it added to the matte (True) or taken out of it.
        regions: frame -> COCO RLE at a working size, of every frame in which it was followed.
    """

    name: str
    frame: int
    adds: bool
    regions: dict[int, dict]

    @cached_property
    def span(self) -> tuple[int, int]:
        """(first frame, last frame) in which it was followed; the last one before the first = in none."""
        return min(self.regions, default=0), max(self.regions, default=-1)


def _pooled(seen: Sequence[Evidence]) -> Evidence | None:
    """Several pieces of evidence as one: similarities by weight. Pooled faces would be a little more similar."""
    if not seen:
        return None
    weights = np.array([max(one.weight, 1e-6) for one in seen])
    similar = np.average(np.stack([one.similar for one in seen]), axis=0, weights=weights)
    side = float(np.median(np.repeat([one.side for one in seen], [one.faces for one in seen])))
    return Evidence(similar, sum(one.faces for one in seen), float(weights.sum()), side)


@dataclass(frozen=True)
class Analysis:
    """A finished analysis, read back from its file, with what was said by hand.

    Attributes:
        path, header: the file, and its first line.
        samples: of the video, in order; tracklets under the numbers that splits and merges by hand gave them.
        by_hand: track -> the name that a person gave it; None = nobody on file.
        frames, note: frames read, and what was wrong with the source.
        regions: masks of followed regions (not heads): track -> frame -> COCO RLE at a working size.
        shots: in order; the first begins at frame 0.
        places: index of a shot -> number of its place: shots from one camera are one place.
        tracklets: track -> what is known of it.
        alike: (lower track, higher track) -> cosine of their pooled clear faces.
        corrections: lines by hand that hold, in order.
        remark: what is to be said of how it came about; empty = nothing.
        clicks: what is added to mattes or taken out of them by hand, in the order it was said.
        total_s: seconds from the first frame to the end of the last one; 0 = the file, an older one, does not say.
        last_s: seconds from the first frame to the begin of the last one; 0 likewise.
    """

    path: Path
    header: dict
    samples: tuple[Sample, ...]
    by_hand: dict[int, str | None] = field(default_factory=dict)
    frames: int = 0
    note: str = ""
    regions: dict[int, dict[int, dict]] = field(default_factory=dict)
    shots: tuple[Shot, ...] = ()
    places: tuple[int, ...] = ()
    tracklets: dict[int, TrackletRecord] = field(default_factory=dict)
    alike: dict[tuple[int, int], float] = field(default_factory=dict)
    corrections: tuple[dict, ...] = ()
    remark: str = ""
    clicks: tuple[Click, ...] = ()
    total_s: float = 0.0
    last_s: float = 0.0

    @property
    def people(self) -> list[str]:
        return self.header["people"]

    @property
    def fps(self) -> Fraction:
        return Fraction(*self.header["fps"])

    # ---- frames and seconds

    @cached_property
    def _known_times(self) -> tuple[np.ndarray, np.ndarray]:
        """(frames, seconds), float64 (N,) each, both rising: the samples, and where the last frame begins and ends."""
        known = [(0, 0.0)]
        ends = [(self.frames - 1, self.last_s), (self.frames, self.total_s)]
        for index, seconds in [*((s.index, s.time_s) for s in self.samples), *ends]:
            if index > known[-1][0] and seconds > known[-1][1]:
                known.append((index, seconds))
        frames, seconds_of = np.array(known, np.float64).T
        return frames, seconds_of

    def seconds_at(self, index: float) -> float:
        """When a frame is shown, in seconds from the first one, whether or not the frame rate is constant.

        Exact at samples, and linear between two of them. Beyond the last one it is linear up to the end, and at the
        average rate where the end is not on file. The number of frames gives the end of the last frame.

        Args:
            index: of the frame, 0 or more.
        """
        frames, seconds = self._known_times
        beyond = max(0.0, index - frames[-1]) / float(self.fps)
        return float(np.interp(index, frames, seconds) + beyond)

    def index_at(self, seconds: float) -> int:
        """The frame that begins nearest to a time: 0 to the last frame; the other way round from `seconds_at`.

        Args:
            seconds: from the first frame.
        """
        frames, known = self._known_times
        beyond = max(0.0, seconds - known[-1]) * float(self.fps)
        index = int(np.floor(np.interp(seconds, known, frames) + beyond + 0.5))
        last = max(self.frames, self.samples[-1].index + 1 if self.samples else 1) - 1
        return min(max(0, index), last)

    @property
    def seconds(self) -> float:
        """How long the video is, to the end of its last frame."""
        return self.seconds_at(max(self.frames, self.samples[-1].index + 1 if self.samples else 0))

    def shown_for(self, sample: Sample) -> float:
        """Seconds that a sample stands for: from it to where the next one is due, or to the end of the video."""
        end = sample.index + self.header["sampling"]
        return self.seconds_at(min(end, self.frames) if self.frames > sample.index else end) - sample.time_s

    @cached_property
    def tracks(self) -> list[int]:
        """The numbers of all tracklets, in order."""
        return sorted({point.track for sample in self.samples for point in sample.tracks})

    @cached_property
    def together(self) -> set[tuple[int, int]]:
        """Pairs of tracklets, the lower number first, that are truly seen in one sample."""
        pairs: set[tuple[int, int]] = set()
        for sample in self.samples:
            seen = sorted({point.track for point in sample.tracks if point.evidence in TRULY_SEEN})
            pairs.update(combinations(seen, 2))
        return pairs

    def seen(self, track: int) -> list[tuple[Sample, TrackPoint]]:
        """Every sample in which a tracklet is, with its point."""
        return [(sample, point) for sample in self.samples for point in sample.tracks if point.track == track]

    def names(self, rule: NamingRule) -> dict[int, TrackName]:
        """Names of all tracklets: pooled faces, one-to-one over what is on screen together; what people said; links.

        Args:
            rule: when a name is given.
        """
        evidence = {t: known.evidence for t, known in self.tracklets.items() if known.evidence is not None}
        names = name_tracks(evidence, self.together, self.people, rule, self.by_hand)
        levels = self.header.get("levels")
        if not levels:
            return names
        worn = {t: known.clothes for t, known in self.tracklets.items() if known.clothes is not None}
        known = Linkable(
            {t: known.clear for t, known in self.tracklets.items() if known.evidence is not None}, self.alike, worn,
            {t: self.tracklets[t].dressed for t in worn},
            {t: self.places[known.shot] for t, known in self.tracklets.items()},
        )  # fmt: skip
        return linked(names, evidence, known, self.together, self.people, levels["same"], levels["other"])


# ---- the file


def file_sha256(path: Path) -> str:
    """sha256 of a file's contents, read in pieces."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 22):
            digest.update(block)
    return digest.hexdigest()


def gallery_key(gallery: Gallery) -> str:
    """What of a gallery decides similarities: ids, names' order, references."""
    digest = hashlib.sha256(json.dumps([p.id for p in gallery.people]).encode())
    digest.update(np.ascontiguousarray(gallery.references).tobytes())
    return digest.hexdigest()[:16]


def header_of(source: Path, info: VideoInfo, sampling: int) -> dict:
    """What every analysis says of its video.

    Args:
        source: the video.
        info: what its container says.
        sampling: every n-th frame is looked at.
    """
    return {
        "kind": "header", "version": VERSION, "source": source.name, "sha256": file_sha256(source),
        "sampling": sampling, "width": info.width, "height": info.height,
        "fps": [info.fps.numerator, info.fps.denominator], "timecode": info.timecode,
        "sound": info.has_audio,
    }  # fmt: skip


def end_of(reader: VideoReader) -> dict:
    """The last line of an analysis: how many frames there are, how long they take, and what was wrong.

    Args:
        reader: of the video, read to its end.
    """
    return {
        "kind": "end", "frames": reader.decoded, "seconds": round(reader.seconds, 6), "last": round(reader.last_s, 6),
        "note": reader.warning(),
    }  # fmt: skip


def check_sampling(sampling: int) -> None:
    """`InputError` unless every 1st to every 300th frame is to be looked at."""
    if not 1 <= sampling <= 300:
        raise InputError(f"expected frame_sampling between 1 and 300, got {sampling}")


def packed(values: np.ndarray) -> str:
    """Numbers as text: float16, base64.

    Args:
        values: float (N,).
    """
    return base64.b64encode(np.asarray(values, "<f2").tobytes()).decode()


def unpacked_numbers(text: str) -> np.ndarray:
    """float32 (N,): what `packed` took."""
    return np.frombuffer(base64.b64decode(text), "<f2").astype(np.float32)


def rounded(values: Iterable[float]) -> list[float]:
    """Pixels as the file has them: two decimals."""
    return [round(float(v), 2) for v in values]


def read_lines(path: Path) -> list[dict]:
    """All intact lines; a torn last line, as a kill leaves it, is dropped.

    Raises:
        InputError: the file cannot be read.
    """
    lines = []
    try:
        with path.open("rb") as file:
            for text in file:
                try:
                    lines.append(json.loads(text))
                except ValueError:
                    break
    except OSError as error:
        raise InputError(f"{path}: not an analysis file that can be read ({error})") from error
    return lines


def write_lines(path: Path, lines: Iterable[dict], private: bool = False) -> None:
    """Write an analysis file whole.

    Args:
        path: the file.
        lines: what JSON takes.
        private: leave it readable by its owner alone.
    """
    with atomic_write(path, private) as file:
        file.writelines(as_json(line) + b"\n" for line in lines)


def read_analysis(path: str | os.PathLike) -> Analysis:
    """Read a finished analysis.

    Raises:
        InputError: missing, foreign, of another version, or not finished.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path} is not there; it is made by: idseg analyse VIDEO, or idseg video IN OUT")
    lines = read_lines(path)
    if not lines or not isinstance(lines[0], dict) or lines[0].get("kind") != "header":
        raise InputError(f"{path} is not an analysis file")
    if lines[0].get("version") != VERSION:
        raise InputError(
            f"{path} was made by another version of this program (its form is {lines[0].get('version')}, {VERSION} is "
            "expected); run the same `idseg video` command again, which analyses anew and leaves this file as it is"
        )
    if not any(line.get("kind") == "end" for line in lines):
        raise InputError(f"{path} is not finished; run the same video command again to go on")
    return _Reading(path, lines[0]).of(lines[1:])


class _Reading:
    """Lines -> an analysis."""

    def __init__(self, path: Path, header: dict):
        self.path, self.header = path, header
        self.samples: list[Sample] = []
        self.shots: list[Shot] = []
        self.places: list[int] = []
        self.tracklets: dict[int, TrackletRecord] = {}
        self.alike: dict[tuple[int, int], float] = {}
        self.regions: dict[int, dict[int, dict]] = {}
        self.clicks: list[Click] = []
        seed = header.get("seed")  # of a region that was followed from a box
        self.by_hand: dict[int, str | None] = {1: seed["label"]} if seed else {}

    def of(self, lines: Sequence[dict]) -> Analysis:
        end: dict[str, Any] = {}
        said: list[dict] = []
        for line in lines:
            kind = line["kind"]
            if kind == "sample":
                self.samples.append(_sample(line))
            elif kind == "shot":
                self.shots.append(Shot(line["begin"], line["how"], tuple(line["mixed"])))
                self.places.append(line["place"])
            elif kind == "tracklet":
                self.tracklets[line["track"]] = _tracklet(line)
            elif kind == "alike":
                self.alike.update({(a, b): cosine for a, b, cosine in line["pairs"]})
            elif kind == "region":
                self.regions.setdefault(int(line["track"]), {})[line["i"]] = line
            elif kind == "end":
                end = line
            elif kind == "undo":
                del said[-1:]
            elif kind in BY_HAND:
                said.append(line)
        for line in said:
            getattr(self, f"_{line['kind']}")(line)
        return Analysis(
            self.path, self.header, tuple(self.samples), self.by_hand, end["frames"], end["note"], self.regions,
            tuple(self.shots), tuple(self.places), self.tracklets, self.alike, tuple(said), clicks=tuple(self.clicks),
            total_s=float(end.get("seconds") or 0.0), last_s=float(end.get("last") or 0.0),
        )  # fmt: skip

    # ---- what was said by hand

    def _name(self, line: dict) -> None:
        self.by_hand[line["track"]] = line["name"]

    def _merge(self, line: dict) -> None:
        track, into = line["track"], line["into"]
        self._renumber(track, into)
        mine, other = self.tracklets.get(into), self.tracklets.pop(track, None)
        if other is not None:
            self.tracklets[into] = replace(other, track=into) if mine is None else mine.joined(other)
        if track in self.by_hand:
            self.by_hand.setdefault(into, self.by_hand.pop(track))

    def _split(self, line: dict) -> None:
        track, new, at = line["track"], line["new"], line["i"]
        self._renumber(track, new, at)
        if track in self.tracklets:
            self.tracklets[track], self.tracklets[new] = self.tracklets[track].parted(at, new)
            # Whose the likeness was is no longer known.
            self.alike = {pair: cosine for pair, cosine in self.alike.items() if track not in pair}
        if track in self.regions:  # of a followed box: it is called what the box was called
            self.by_hand[new] = self.by_hand[track]

    def _point(self, line: dict) -> None:
        """Somebody pointed at in a sample; between two such samples of a shot they are in between."""
        track, index = line["track"], line["i"]
        self.by_hand[track] = line["name"]
        at = next(k for k, sample in enumerate(self.samples) if sample.index == index)
        self._put(at, TrackPoint(track, tuple(line["box"]), "hand"))
        known = [k for k, sample in enumerate(self.samples) if any(_pointed(p, track) for p in sample.tracks)]
        for one, other in ((k, at) if k < at else (at, k) for k in known if k != at):
            if any(sample.cut for sample in self.samples[one + 1 : other + 1]):
                continue
            if self.samples[other].time_s - self.samples[one].time_s > _POINTED_S:
                continue
            boxes = [np.array(next(p.box for p in self.samples[k].tracks if _pointed(p, track))) for k in (one, other)]
            for k in range(one + 1, other):
                if not any(p.track == track for p in self.samples[k].tracks):
                    share = (k - one) / (other - one)
                    box = plain_box(np.round((1 - share) * boxes[0] + share * boxes[1], 2))
                    if not is_taken(box, [p.box for p in self.samples[k].tracks]):
                        self._put(k, TrackPoint(track, box, "between"))

    def _click(self, line: dict) -> None:
        regions = {int(i): {"size": line["size"], "counts": counts} for i, counts in line["regions"].items()}
        self.clicks.append(Click(line["name"], line["i"], line["adds"], regions))

    def _put(self, at: int, point: TrackPoint) -> None:
        kept = tuple(p for p in self.samples[at].tracks if p.track != point.track)
        self.samples[at] = replace(self.samples[at], tracks=(*kept, point))

    def _renumber(self, track: int, new: int, since: int = 0) -> None:
        for k, sample in enumerate(self.samples):
            if sample.index >= since and any(point.track == track for point in sample.tracks):
                points = tuple(replace(p, track=new) if p.track == track else p for p in sample.tracks)
                bodies = tuple((box, new if owner == track else owner) for box, owner in sample.bodies)
                self.samples[k] = replace(sample, tracks=points, bodies=bodies)
        if track in self.regions and any(index >= since for index in self.regions[track]):
            moved = {index: line for index, line in self.regions[track].items() if index >= since}
            self.regions.setdefault(new, {}).update(moved)
            kept = {i: line for i, line in self.regions.pop(track).items() if i < since}
            if kept:
                self.regions[track] = kept


def _pointed(point: TrackPoint, track: int) -> bool:
    return point.track == track and point.evidence == "hand"


def _sample(line: dict) -> Sample:
    faces = tuple(
        FaceRecord(tuple(row["box"]), row["score"], None if row["points"] is None else tuple(map(tuple, row["points"])))
        for row in line["faces"]
    )
    tracks = tuple(
        TrackPoint(int(track), tuple(box), evidence, face, clothes, *rest)
        for track, box, evidence, face, clothes, *rest in line["tracks"]
    )
    owners = {point.body: point.track for point in tracks if point.body is not None}
    bodies = tuple((tuple(box), owners.get(k)) for k, box in enumerate(line.get("bodies", ())))
    return Sample(line["i"], line["t"], line["cut"], faces, tracks, bodies)


def _tracklet(line: dict) -> TrackletRecord:
    whole = None if line["faces"] is None else _evidence(*line["faces"])
    pieces = tuple((begin, end, clear, _evidence(*row)) for begin, end, clear, row in line["pieces"])
    clothes = None if line["clothes"] is None else unpacked_numbers(line["clothes"])
    return TrackletRecord(line["track"], line["shot"], whole, line["clear"], clothes, line["dressed"], pieces)


def _evidence(faces: int, weight: float, side: float, similar: str) -> Evidence:
    return Evidence(unpacked_numbers(similar), faces, weight, side)

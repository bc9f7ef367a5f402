"""A video -> who is where and when, in a plain file beside the output. (Notebook section 7.)

The file is JSON lines: a header (source, engine, gallery, sampling), one line per sampled frame (faces with their
similarities, tracks, bodies), an end line, and corrections made by hand. It is enough to render from, to resume from,
and to edit; nothing in it is an embedding.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import logging
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path
from typing import TextIO

import numpy as np

from ..engines.protocols import FaceEngine, ObjectDetector
from ..errors import Cancelled, InputError, OutputError
from ..files import atomic_write
from ..masks.humans import paired
from ..people.gallery import Gallery
from ..people.rule import NamingRule
from ..types import Face, Frame
from .cuts import CutDetector
from .files import VideoInfo, VideoReader, prefetched
from .naming import Evidence, TrackName, corrected, face_weight, name_tracks
from .tracking import SimpleTracker, TrackPoint

logger = logging.getLogger(__name__)

VERSION = 1
# A face with less than this share of its track's similarity, over clothes less alike than this, is not the track's.
_CONTRADICTS, _CLOTHES_SURE = 0.4, 0.85
_STATE_EVERY = 8  # samples between stored tracker states: what a kill costs at most


Lookers = tuple[FaceEngine, Gallery, ObjectDetector | None]  # who finds faces, who knows them, who finds bodies
Box = tuple[float, float, float, float]  # xyxy pixels, plain numbers as JSON has them


@dataclass(frozen=True, eq=False)
class FaceRecord:
    """One face of a sampled frame, as the analysis file keeps it: no embedding.

    Attributes:
        box: xyxy pixels.
        score: detection confidence, 0..1.
        landmarks: five (x, y) in pixels, or None; see `types.Face`.
        similar: float32 (P,), similarity to each of `Analysis.people`.
    """

    box: Box
    score: float
    landmarks: tuple[tuple[float, float], ...] | None
    similar: np.ndarray

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
        tracks: every track that was seen.
        bodies: (xyxy box, the track whose body it is, or None: somebody whose face is not seen) of every body that was
            found; empty where nobody looked for bodies.
    """

    index: int
    time_s: float
    cut: bool
    faces: tuple[FaceRecord, ...]
    tracks: tuple[TrackPoint, ...]
    bodies: tuple[tuple[Box, int | None], ...] = ()


@dataclass(frozen=True)
class Analysis:
    """A finished analysis, read back from its file.

    `regions` holds the masks of followed regions (not heads): track -> frame -> COCO RLE at a working size.
    """

    path: Path
    header: dict
    samples: tuple[Sample, ...]
    by_hand: dict[int, str | None]
    merged: dict[int, int]
    frames: int
    note: str
    regions: dict[int, dict[int, dict]] = field(default_factory=dict)

    @property
    def people(self) -> list[str]:
        return self.header["people"]

    @property
    def fps(self) -> Fraction:
        return Fraction(*self.header["fps"])

    def track_of(self, track: int) -> int:
        """The track it was merged into by hand, or itself."""
        while track in self.merged:
            track = self.merged[track]
        return track

    def points(self, sample: Sample, names: dict[int, TrackName]) -> list[TrackPoint]:
        """A sample's track points under their merged numbers, less those that contradict their track's name.

        A face that is far less like the person than the rest of the track, over clothes that are not quite theirs
        either, is somebody who stepped in between: it is nobody's point.
        """
        kept = []
        for point in sample.tracks:
            track = self.track_of(point.track)
            named = names.get(track)
            if point.face is not None and named is not None and named.name in self.people and not named.by_hand:
                similarity = float(sample.faces[point.face].similar[self.people.index(named.name)])
                if similarity < _CONTRADICTS * named.similarity and point.clothes < _CLOTHES_SURE:
                    continue
            kept.append(replace(point, track=track))
        return kept

    def names(self, rule: NamingRule) -> dict[int, TrackName]:
        """Names of all tracks: evidence of every face, one-to-one over what is on screen together, corrections last."""
        evidence: dict[int, list[Evidence]] = {}
        together = set()
        for sample in self.samples:
            seen = set()
            for point in sample.tracks:
                track = self.track_of(point.track)
                seen.add(track)
                rows = evidence.setdefault(track, [])
                if point.face is not None:
                    record = sample.faces[point.face]
                    face = record.face()
                    rows.append(Evidence(face_weight(face), record.similar, face.side))
            together.add(frozenset(seen))
        evidence = {t: rows for t, rows in evidence.items() if rows}
        names = name_tracks(evidence, sorted(map(sorted, together)), self.people, rule)
        return corrected(names, {self.track_of(t): n for t, n in self.by_hand.items()})


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


def analyse(
    source: str | os.PathLike,
    engine: FaceEngine,
    gallery: Gallery,
    path: str | os.PathLike,
    sampling: int = 5,
    fresh: bool = False,
    progress: Callable[[int, int], None] | None = None,
    cancel: threading.Event | None = None,
    detector: ObjectDetector | None = None,
) -> Analysis:
    """Analyse a video, or go on where an earlier run stopped.

    Args:
        source: the video.
        engine, gallery: who looks, and whom they know.
        path: the analysis file; made, continued, or - if finished - just read.
        sampling: every n-th frame is looked at; 1 = all.
        fresh: throw away what is there and start again (corrections by hand included).
        progress: called with (frames seen, frames expected or 0).
        cancel: set it to stop after the current frame.
        detector: finds people whose face is not seen; None = nobody looks for them.

    Raises:
        VideoError: the video cannot be read.
        InputError: the file there belongs to another video, engine, gallery or sampling; the message says which.
        Cancelled: `cancel` was set.
    """
    check_sampling(sampling)
    gallery.check_engine(engine)
    source, path = Path(source), Path(path)
    with VideoReader(source) as reader:
        info = reader.info
        header = header_of(source, info, sampling) | {
            "engine": engine.id, "model_hash": engine.model_hash, "gallery": gallery_key(gallery),
            "people": gallery.names, "detector": None if detector is None else detector.id,
        }  # fmt: skip
        lines = [] if fresh else matching_lines(path, header)
        if lines and lines[0].get("detector") != header["detector"] and not any(li["kind"] == "end" for li in lines):
            lines = []  # half of it would have no bodies
        if any(line["kind"] == "end" for line in lines):
            return read_analysis(path)
        try:
            with _resumed(path, lines, header) as (file, tracker, begin):
                _sample_on(reader, file, tracker, begin, sampling, (engine, gallery, detector), progress, cancel)
        except OSError as error:
            if isinstance(error, OutputError):
                raise
            raise OutputError(
                f"{path}: cannot be written ({error.strerror or error}); run the same command to go on"
            ) from error
    return read_analysis(path)


@contextlib.contextmanager
def _resumed(path: Path, lines: list[dict], header: dict) -> Iterator[tuple[TextIO, SimpleTracker, int | None]]:
    """(the file, open to be written on; the tracker as it was; the last frame that is kept, None = begin anew)."""
    tracker, done = SimpleTracker(), _last_state(lines)
    begin = None
    if done is not None:
        tracker.restore(lines[done]["state"])
        begin = lines[done]["i"]
    write_lines(path, lines[: done + 1] if done is not None else [header])
    with path.open("a", encoding="utf-8") as file:
        yield file, tracker, begin


def _sample_on(
    reader: VideoReader, file: TextIO, tracker: SimpleTracker, begin: int | None, sampling: int, lookers: Lookers,
    progress: Callable[[int, int], None] | None, cancel: threading.Event | None,
) -> None:  # fmt: skip
    """Look at every sampled frame from `begin` on, and write a line for each; then the end line."""
    cuts = CutDetector()
    for frame in prefetched(reader.frames(begin or 0, sampling), depth=3):
        if cancel is not None and cancel.is_set():
            raise Cancelled
        if frame.index == begin:
            cuts.update(frame.image)  # the picture to compare the next one with; its line is there already
            continue
        line = _look_at(frame, lookers, tracker, cuts)
        number = frame.index // sampling
        if number % _STATE_EVERY == 0:
            line["state"] = tracker.state()
        file.write(json.dumps(line, ensure_ascii=False) + "\n")
        if number % _STATE_EVERY == 0:
            file.flush()
        if progress:
            progress(frame.index + 1, reader.info.frames)
    end = {"kind": "end", "frames": reader.decoded, "note": reader.warning()}
    file.write(json.dumps(end, ensure_ascii=False) + "\n")


def check_sampling(sampling: int) -> None:
    """`InputError` unless every 1st to every 300th frame is to be looked at."""
    if not 1 <= sampling <= 300:
        raise InputError(f"expected frame_sampling between 1 and 300, got {sampling}")


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
        "fps": [info.fps.numerator, info.fps.denominator],
    }  # fmt: skip


def _look_at(frame: Frame, lookers: Lookers, tracker: SimpleTracker, cuts: CutDetector) -> dict:
    engine, gallery, detector = lookers
    cut = cuts.update(frame.image)
    if cut:
        tracker.reset()
    faces = engine.faces(frame.image)
    vectors = [face.embedding for face in faces if face.embedding is not None]
    similar: Iterable[np.ndarray] = gallery.similarity(np.stack(vectors)) if vectors else ()
    points = tracker.update(faces, frame.image)
    return {
        "kind": "sample", "i": frame.index, "t": round(frame.time_s, 6), "cut": cut,
        "faces": [
            {"box": _rounded(f.box), "score": round(f.score, 4),
             "points": None if f.landmarks is None else [_rounded(p) for p in f.landmarks],
             "similar": base64.b64encode(np.asarray(s, "<f2").tobytes()).decode()}
            for f, s in zip(faces, similar, strict=True)
        ],
        "tracks": [[p.track, _rounded(p.box), p.evidence, p.face, round(p.clothes, 3)] for p in points],
        "bodies": [] if detector is None else _bodies(frame.image, points, detector),
    }  # fmt: skip


def _bodies(image: np.ndarray, points: Sequence[TrackPoint], detector: ObjectDetector) -> list[list]:
    """[box, track or None] of every body, whosever it may be: they decide what is hidden, so none is left out."""
    found = detector.detect(image)
    heads = [Face(np.array(point.box), 1.0) for point in points]
    humans = paired(heads, found, image.shape)
    track_of = {
        _rounded_key(human.body): point.track
        for human, point in zip(humans, points, strict=False)
        if human.body is not None
    }
    return [[_rounded(body.box), track_of.get(_rounded_key(body.box))] for body in found]


def _rounded_key(box: np.ndarray) -> tuple[float, ...]:
    return tuple(_rounded(box))


def _rounded(values) -> list[float]:
    return [round(float(v), 2) for v in values]


def _read_lines(path: Path) -> list[dict]:
    """All intact lines; a torn last line, as a kill leaves it, is dropped."""
    lines = []
    try:
        with path.open(encoding="utf-8") as file:
            for text in file:
                try:
                    lines.append(json.loads(text))
                except ValueError:
                    break
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not an analysis file that can be read ({error})") from error
    return lines


def matching_lines(path: Path, header: dict) -> list[dict]:
    """The lines of an earlier run for the same video, engine, gallery and sampling; refused if it is of others."""
    if not path.exists() or not path.stat().st_size:
        return []
    lines = _read_lines(path)
    found = lines[0] if lines else {}
    if found.get("kind") != "header" or found.get("version") != VERSION:
        raise InputError(f"{path} is not an analysis of this version; move it away, or analyse again with --fresh")
    for key, what in (
        ("sha256", f"another video ({found.get('source')})"),
        ("seed", f"the box {found['seed']}" if found.get("seed") else "people's faces, not with a box"),
        ("engine", f"the face engine {found.get('engine')}"),
        ("model_hash", "another model of the face engine"),
        ("gallery", "another state of the gallery"),
        ("sampling", f"frame_sampling={found.get('sampling')}"),
    ):
        if found.get(key) != header.get(key):
            raise InputError(
                f"{path} was made with {what}; throw it away and analyse again with --fresh, or choose another output"
            )
    return lines


def _last_state(lines: list[dict]) -> int | None:
    return next((i for i in range(len(lines) - 1, 0, -1) if "state" in lines[i]), None)


def write_lines(path: Path, lines: list[dict]) -> None:
    """Write an analysis file whole."""
    with atomic_write(path) as file:
        file.writelines(json.dumps(line, ensure_ascii=False).encode() + b"\n" for line in lines)


def read_analysis(path: str | os.PathLike) -> Analysis:
    """Read a finished analysis.

    Raises:
        InputError: missing, foreign, or not finished.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(
            f"{path} is not there; it is written beside the output of: idseg video IN OUT --member NAME (give OUT here)"
        )
    lines = _read_lines(path)
    ends = [line for line in lines if line.get("kind") == "end"]
    if not lines or lines[0].get("kind") != "header":
        raise InputError(f"{path} is not an analysis file")
    if not ends:
        raise InputError(f"{path} is not finished; run the same video command again to go on")
    samples: list[Sample] = []
    by_hand: dict[int, str | None] = {}
    merged: dict[int, int] = {}
    regions: dict[int, dict[int, dict]] = {}
    for line in lines[1:]:
        if line["kind"] == "sample":
            samples.append(_sample(line))
        elif line["kind"] == "region":
            regions.setdefault(int(line["track"]), {})[line["i"]] = line
        elif line["kind"] == "name":
            by_hand[int(line["track"])] = line["name"]
        elif line["kind"] == "merge":
            merged[int(line["track"])] = int(line["into"])
    return Analysis(path, lines[0], tuple(samples), by_hand, merged, ends[0]["frames"], ends[0]["note"], regions)


def _sample(line: dict) -> Sample:
    faces = tuple(
        FaceRecord(
            tuple(row["box"]), row["score"], None if row["points"] is None else tuple(map(tuple, row["points"])),
            np.frombuffer(base64.b64decode(row["similar"]), "<f2").astype(np.float32),
        )
        for row in line["faces"]
    )  # fmt: skip
    tracks = tuple(
        TrackPoint(int(track), tuple(box), evidence, face, clothes)
        for track, box, evidence, face, clothes in line["tracks"]
    )
    bodies = tuple((tuple(box), track) for box, track in line.get("bodies", ()))
    return Sample(line["i"], line["t"], line["cut"], faces, tracks, bodies)


def correct(path: str | os.PathLike, track: int, name: str | None) -> None:
    """Say by hand who a track is (None: unknown); the next render obeys. Later corrections win.

    Args:
        path: the analysis file.
        track: its number.
        name: display name; None = nobody on file.

    Raises:
        InputError: no such track, or a name that the gallery did not have.
    """
    analysis = read_analysis(path)
    _known_track(analysis, track)
    if name is not None and name not in analysis.people:
        raise InputError(
            f"{name!r} was not in the gallery when this was analysed; expected {', '.join(analysis.people)}"
        )
    _append(analysis.path, {"kind": "name", "track": track, "name": name})


def merge(path: str | os.PathLike, track: int, into: int) -> None:
    """Say by hand that two tracks are one person's; the second joins the first.

    Args:
        path: the analysis file.
        track: the track that joins.
        into: the track that it joins.

    Raises:
        InputError: no such track, or both are on screen at the same time.
    """
    analysis = read_analysis(path)
    _known_track(analysis, track)
    _known_track(analysis, into)
    one, other = analysis.track_of(into), analysis.track_of(track)
    if one == other:
        raise InputError(f"tracks {into} and {track} are one already")
    for sample in analysis.samples:
        seen = {analysis.track_of(point.track) for point in sample.tracks}
        if {one, other} <= seen:
            raise InputError(
                f"tracks {into} and {track} are both on screen at {sample.time_s:.1f} s; they are two people"
            )
    _append(analysis.path, {"kind": "merge", "track": other, "into": one})


def _known_track(analysis: Analysis, track: int) -> None:
    known = sorted({point.track for sample in analysis.samples for point in sample.tracks})
    if track not in known:
        raise InputError(f"there is no track {track}; expected one of {', '.join(map(str, known[:40]))}")


def _append(path: Path, line: dict) -> None:
    try:
        with path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line, ensure_ascii=False) + "\n")
    except OSError as error:
        raise OutputError(f"{path}: cannot be written ({error.strerror})") from error

"""A second look at an output in which heads are covered -> every span of it in which a head is still to be seen.

Other detectors than those that made it look at every frame, at low thresholds, at two scales and mirrored. The record
of the covers says besides where heads are to be expected. A place is reported where the picture itself shows a head's
detail: covers are judged by their pixels, not by what was meant to be drawn.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import os
import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from . import __version__
from .bareness import BARE, BARE_FACE, OTHER, SAME, detail, unchanged
from .covers_record import Expected, Record, record_of
from .engines.second_looks import Look, described, looks_for
from .errors import Cancelled, ImageError, InputError
from .files import read_json, write_json
from .geometry import box_iou
from .images import read_image, shrink_to
from .kinds import look_through, why_no_photo
from .settings import Settings
from .video.analysis import file_sha256
from .video.cover_corrections import (
    Correction,
    add_correction,
    corrections_file,
    corrections_key,
    corrections_of,
)
from .video.files import VideoReader, prefetched

__all__ = [
    "Audit",
    "Correction",
    "Finding",
    "correct",
    "corrections_file",
    "corrections_key",
    "corrections_of",
    "last_audit",
    "look_again",
]

SUFFIX = ".audit.json"
_SAME_HEAD = 0.3  # IoU from which two boxes are one head's
_INSIDE = 0.5  # share of the smaller of two boxes from which they are one head's, where one is a face's, one a head's
_APART_S = 0.3  # seconds between two findings at one place within which they are one span
_STEADY = 3  # frames from which a weak finding is believed
_HALF = 0.5  # ... where the looks' scores lie that far, in the mean, from the least to what is believed by itself
_STIRRED, _TIMES = 0.5, 2.5  # grey levels, and times its detail a frame ago, from which a cover is gone
_OUTLINE = 2.0  # times as much detail as bare is, below which a covered head's outline may be all that is seen
_CHEST = (0.75, 2.0)  # sides of a covered head, beside and below its middle, within which a body's "head" is none
_PAD_S = 0.2  # seconds by which "cover this" begins earlier and ends later: the looks may see a head late
_THUMBNAIL = 160  # pixels of its longer side
_AROUND = 0.5  # of the head's side, shown around it

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Finding:
    """A head that is to be seen, in one place, over neighbouring frames.

    Attributes:
        number: from 1, in the order of time.
        from_s, to_s: seconds of its first and last frame; 0 of a photo.
        frames: in how many of the frames that were looked at.
        box: xyxy in pixels, where it is most certain: the whole head.
        score: 0..1, of the look that was most certain.
        by: what was seen, and by what: "face" and "body" (a detector), "record" (the record says that it is covered,
            the picture shows it), "gap" (it is covered before and after); several with a comma between them.
        detail: grey levels of fine detail; see `bareness`.
        first: index of its first frame.
        file: name of the photo, in a folder; "" of a video.
        path: (seconds, x0, y0, x1, y1), frame by frame.
        thumbnail: a JPEG picture as a data URI; None where none were asked for.
    """

    number: int
    from_s: float
    to_s: float
    frames: int
    box: tuple[float, float, float, float]
    score: float
    by: str
    detail: float
    first: int
    file: str = ""
    path: tuple[tuple[float, float, float, float, float], ...] = ()
    thumbnail: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """As JSON has it."""
        return {
            "number": self.number, "from": round(self.from_s, 3), "to": round(self.to_s, 3), "frames": self.frames,
            "first_frame": self.first, "box": [round(v, 1) for v in self.box], "score": round(self.score, 3),
            "by": self.by, "detail": round(self.detail, 2), "file": self.file or None,
            "path": [[round(row[0], 3), *(round(v, 1) for v in row[1:])] for row in self.path],
            "thumbnail": self.thumbnail,
        }  # fmt: skip

    @classmethod
    def from_dict(cls, row: dict[str, Any]) -> Finding:
        """A finding as `as_dict` gave it.

        Args:
            row: the dict.
        """
        return cls(
            row["number"], row["from"], row["to"], row["frames"], tuple(row["box"]), row["score"], row["by"],
            row["detail"], row["first_frame"], row["file"] or "", tuple(tuple(entry) for entry in row["path"]),
            row["thumbnail"],
        )  # fmt: skip


@dataclass(frozen=True)
class Audit:
    """What a second look found.

    Attributes:
        findings: in the order of time.
        facts: what was looked at, with what, and when, as JSON has it (docs/json.md).
    """

    findings: tuple[Finding, ...]
    facts: dict[str, Any]

    def as_dict(self) -> dict[str, Any]:
        """As JSON has it."""
        return {**self.facts, "findings": [finding.as_dict() for finding in self.findings]}


def look_again(
    output: str | os.PathLike, source: str | os.PathLike | None = None, every: int = 1,
    settings: Settings | None = None, pictures: bool = True, progress: Progress | None = None,
    cancel: threading.Event | None = None, looks: Sequence[Look] | None = None,
) -> Audit:  # fmt: skip
    """Look at an output once more; what was found is also kept beside it, in ``OUT.audit.json``.

    Args:
        output: a rendered video, a photo, or a folder of pictures.
        source: the video it was made from: whether a head was covered is then told by comparing both.
        every: every n-th frame is looked at.
        settings: where InsightFace packs are.
        pictures: keep a thumbnail of every finding. They show what is bare.
        progress: called with ("look again", frames done, frames in all or 0).
        cancel: when it is set, `Cancelled` is raised.
        looks: detectors; None = other ones than the record's.

    Raises:
        InputError: not a video or a folder with pictures; a source of another size; a damaged record.
        EngineUnavailable: no detector can run here.
        Cancelled: as asked.
    """
    output, settings = Path(output), settings or Settings.from_env()
    if every < 1:
        raise InputError(f"expected every N-th frame with N of 1 or more, got {every}")
    record, corrections = record_of(output), corrections_of(output)
    chosen, remarks = looks_for(record.finder, settings) if looks is None else (list(looks), [])
    judge = _Judge(chosen, record, corrections)
    spans = _Spans(pictures)
    stream = _pictures(output, record, every, None if source is None else Path(source))
    with contextlib.closing(prefetched(stream.frames())) as frames:
        for seen in frames:
            if cancel is not None and cancel.is_set():
                raise Cancelled
            spans.add(seen, judge.bare(seen))
            if progress is not None:
                progress("look again", seen.number + 1, stream.total)
    findings = spans.findings()
    facts = _facts(output, source, every, record, chosen, stream, spans)
    facts["remarks"] = [*remarks, *stream.remarks]
    facts["dismissed"] = judge.dismissed
    audit = Audit(findings, facts)
    write_json(_kept_at(output), audit.as_dict())
    return audit


def _facts(
    output: Path, source: str | os.PathLike | None, every: int, record: Record, looks: Sequence[Look],
    stream: _Pictures, spans: _Spans,
) -> dict[str, Any]:  # fmt: skip
    return {
        "kind": "audit", "version": __version__, "when": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "output": output.name, "sha256": _sha256(output), "frames": stream.looked, "frames_in_all": stream.seen,
        "every": every, "seconds": round(stream.seconds, 3), "unreadable": stream.unreadable,
        "record": None if record.path is None else record.path.name, "finder": record.finder, "way": record.way,
        "view": record.view, "kept": record.names, "heads_covered": record.heads, "tracks_covered": record.tracks,
        "source": None if source is None else {"name": Path(source).name, "sha256": file_sha256(Path(source))},
        "detectors": described(looks),
        "thresholds": {"bare": BARE, "bare_face": BARE_FACE, "unchanged": SAME, "steady_frames": _STEADY},
        "bare_frames": len(spans.bare_frames()), "passing": spans.passing(),
        "miss_rate": _miss_rate([look.family for look in looks], record.path is not None, source is not None),
    }  # fmt: skip


def _miss_rate(families: list[str], record: bool, source: bool) -> dict[str, Any] | None:
    """What was measured of an audit with these detectors; None where nothing was."""
    measured = read_json(Path(__file__).parent / "data" / "audit_measured.json")
    for row in measured.get("rows", []):
        if (row["families"], row["record"], row["source"]) == (sorted(families), record, source):
            return {**row, "measured_by": measured["measured_by"], "on": measured["on"]}
    return None


# ---- what is looked at


@dataclass(frozen=True, eq=False)
class _Seen:
    """A picture that is looked at: its number among these, its key in the record, and its source's picture."""

    number: int
    index: int
    time_s: float
    file: str
    image: np.ndarray
    source: np.ndarray | None = None

    @property
    def key(self) -> int | str:
        return self.file or self.index


@dataclass
class _Pictures:
    """The pictures of an output, one after the other; what they were is known when all are read."""

    frames: Callable[[], Generator[_Seen, None, None]]
    total: int = 0
    looked: int = 0
    seen: int = 0
    seconds: float = 0.0
    unreadable: dict[str, str] = field(default_factory=dict)
    remarks: list[str] = field(default_factory=list)


def _pictures(output: Path, record: Record, every: int, source: Path | None) -> _Pictures:
    stream = _Pictures(lambda: iter(()))  # type: ignore[arg-type,return-value]
    if output.is_dir() or (output.is_file() and why_no_photo(output) is None):
        if source is not None:
            raise InputError(f"expected a video with --source VIDEO, got pictures ({output})")
        paths = look_through(output)[0] if output.is_dir() else [output]
        if not paths:
            raise InputError(f"{output} holds no pictures; expected a video, or a folder of pictures made by idseg")
        # Frames of a video lie in a folder in their order, and the record knows them by number.
        in_time = bool(record.times) and not record.of_photos and output.is_dir()
        stream.total = -(-len(paths) // every) if in_time else len(paths)
        stream.frames = lambda: _photos(stream, paths, every if in_time else 1, record.times if in_time else None)
        return stream
    stream.frames = lambda: _video(stream, output, every, source)
    return stream


def _photos(
    stream: _Pictures, paths: list[Path], every: int, times: dict[int | str, float] | None
) -> Generator[_Seen, None, None]:
    for index, path in enumerate(paths):
        stream.seen += 1
        if index % every:
            continue
        try:
            image = read_image(path)
        except ImageError as error:
            stream.unreadable[path.name] = str(error)
            continue
        if times is None:
            yield _Seen(stream.looked, index, 0.0, path.name, image)
        else:
            stream.seconds = times.get(index, stream.seconds)
            yield _Seen(stream.looked, index, stream.seconds, "", image)
        stream.looked += 1


def _video(stream: _Pictures, output: Path, every: int, source: Path | None) -> Generator[_Seen, None, None]:
    with VideoReader(output) as reader, contextlib.ExitStack() as stack:
        stream.total = -(-(reader.info.frames or 0) // every)
        before: Iterator[Any] = iter(())
        if source is not None:
            before = stack.enter_context(VideoReader(source)).frames(0, every)
        for frame in reader.frames(0, every):
            was = next(before, None)
            if source is not None and (was is None or was.image.shape != frame.image.shape):
                what = "it ends earlier" if was is None else "its pictures have another size"
                raise InputError(f"{source} is not what {output} was made from ({what}); give another --source VIDEO")
            yield _Seen(stream.looked, frame.index, frame.time_s, "", frame.image, was.image if was else None)
            stream.looked += 1
        stream.seen, stream.seconds = reader.decoded, reader.seconds
        if reader.warning():
            stream.remarks.append(reader.warning())


# ---- what is bare


@dataclass(frozen=True, eq=False)
class _Bare:
    """A head with visible detail in one picture; from a trust of 1 it is believed by itself."""

    box: np.ndarray
    score: float
    by: frozenset[str]
    detail: float
    trust: float


class _Judge:
    """Says which heads are bare in a picture.

    Args:
        looks: the detectors.
        record: of the covers.
        corrections: what was said by hand.
    """

    def __init__(self, looks: Sequence[Look], record: Record, corrections: Sequence[Correction]):
        self.looks, self.record = looks, record
        self.no_heads = [c for c in corrections if c.kind == "no-head"]
        self.dismissed = 0
        self._covers: list[tuple[np.ndarray, float]] = []  # of the picture before: where, and its detail
        self._now: list[tuple[np.ndarray, float]] = []

    def bare(self, seen: _Seen) -> list[_Bare]:
        """The bare heads of a picture, no two the same."""
        expected, kept = self.record.expected(seen.key), self.record.kept(seen.key)
        found: list[_Bare] = []
        self._covers, self._now = self._now, []
        for place in expected:
            # What the record knows is looked at where detectors see nothing too: backs, and heads half out of sight.
            if place.how != "near" and not _any_same(place.box, kept):
                how = "record" if place.how == "covered" else "gap"
                value = self._bareness(seen, place.box, self._least_at(seen, place.box))
                if value is not None:
                    found.append(_Bare(place.box, min(1.0, value / (3 * BARE)), frozenset([how]), value, 1.0))
        near = [place.box for place in expected]
        for box, score, families, by, trust in self._heads(seen.image):
            if _any_same(box, kept):
                continue
            face = by == "face" and self.record.way != "mosaic"
            value = self._bareness(seen, box, BARE_FACE if face else BARE)
            if value is None:
                continue
            if len(families) > 1 or _any_same(box, near):
                trust = max(trust, 1.0)
            head = _Bare(box, score, frozenset([by]), value, trust)
            if not self._is_covered(seen, head, expected):
                found.append(head)
        return self._not_dismissed(seen, _united(found))

    def _least_at(self, seen: _Seen, box: np.ndarray) -> float:
        """The detail from which a head is bare that was covered a frame ago: much more than its cover had then."""
        before = [value for other, value in self._covers if _same(other, box)]
        least = min(BARE, max(_STIRRED, _TIMES * max(before))) if before and not seen.file else BARE
        here = detail(seen.image, box)
        self._now.append((box, here if here < least or not before else max(before)))
        return least

    def _heads(self, image: np.ndarray) -> list[tuple[np.ndarray, float, set[str], str, float]]:
        """(box, score, families that see it, "face" or "body", trust) of every head; faces first."""
        groups: list[tuple[np.ndarray, float, set[str], str, float]] = []
        rows = [(head, look) for look in self.looks for head in look.heads(image)]
        for head, look in sorted(rows, key=lambda row: (row[0].by != "face", -row[0].score)):
            trust = (head.score - look.least) / (look.sure - look.least)
            for n, (box, score, families, by, was) in enumerate(groups):
                if _same(box, head.box):
                    groups[n] = (box, max(score, head.score), families | {look.family}, by, max(was, trust))
                    break
            else:
                groups.append((head.box, head.score, {look.family}, head.by, trust))
        return groups

    def _bareness(self, seen: _Seen, box: np.ndarray, least: float) -> float | None:
        """Grey levels of detail at a place that is bare; None where it is covered, or has nothing to be seen."""
        value = detail(seen.image, box)
        if seen.source is not None:
            before, alike = detail(seen.source, box), unchanged(seen.image, seen.source, box)
            if alike >= SAME and before >= _STIRRED:
                return max(value, least)
            if alike < OTHER and before >= 2 * BARE:  # of faint detail a codec leaves too little to be compared
                return None
        return value if value >= least else None

    def _is_covered(self, seen: _Seen, head: _Bare, expected: Sequence[Expected]) -> bool:
        """Is what a detector sees a head that is covered, as the record says and the picture shows?

        The outline of a covered head is still seen, and of somebody whose head is covered the pose net takes the chest
        or a hand for it.
        """
        middle, by_body = (head.box[:2] + head.box[2:]) / 2, head.by == {"body"}
        for cover in (e.box for e in expected if e.how == "covered"):
            side = float((cover[2:] - cover[:2]).max())
            right, down = (float(v) for v in (middle - (cover[:2] + cover[2:]) / 2) / side)
            below = by_body and abs(right) < _CHEST[0] and -0.5 < down < _CHEST[1]
            within = bool((cover[:2] < middle).all() and (middle < cover[2:]).all())
            here = head.detail < _OUTLINE * BARE and (within or _same(head.box, cover))
            if (below or here) and self._bareness(seen, cover, BARE) is None:
                return True
        return False

    def _not_dismissed(self, seen: _Seen, found: list[_Bare]) -> list[_Bare]:
        left = []
        for bare in found:
            said = [c.at(seen.time_s, seen.file) for c in self.no_heads]
            if any(box is not None and _same(bare.box, box) for box in said):
                self.dismissed += 1
            else:
                left.append(bare)
        return left


def _same(a: np.ndarray, b: np.ndarray) -> bool:
    """Are two boxes one head's? One may be its face's."""
    if float(box_iou(a, b)[0, 0]) >= _SAME_HEAD:
        return True
    sides = np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2])
    areas = float((a[2:] - a[:2]).prod()), float((b[2:] - b[:2]).prod())
    # A head within the box of somebody much larger is another one.
    return bool((sides > 0).all() and float(sides.prod()) >= _INSIDE * min(areas) and max(areas) < 5 * min(areas))


def _any_same(box: np.ndarray, boxes: Sequence[np.ndarray]) -> bool:
    return any(_same(box, other) for other in boxes)


def _united(found: list[_Bare]) -> list[_Bare]:
    """One for each head, that says of all that saw it; what detectors saw says best where it is."""
    united: list[_Bare] = []
    for bare in sorted(found, key=lambda b: ("face" not in b.by, "body" not in b.by, -b.score)):
        for n, other in enumerate(united):
            if _same(other.box, bare.box):
                united[n] = replace(
                    other, score=max(other.score, bare.score), by=other.by | bare.by, trust=max(other.trust, bare.trust)
                )
                break
        else:
            united.append(bare)
    return united


# ---- spans


@dataclass
class _Span:
    """Bare heads of neighbouring frames at one place."""

    file: str
    first: int
    rows: list[tuple[int, float, _Bare]] = field(default_factory=list)
    best: _Bare | None = None
    thumbnail: str | None = None

    @property
    def sure(self) -> bool:
        trust = [bare.trust for _, _, bare in self.rows]
        return max(trust) >= 1 or (len(trust) >= _STEADY and sum(trust) / len(trust) >= _HALF)


class _Spans:
    """Joins the bare heads of neighbouring frames.

    Args:
        pictures: keep a thumbnail of each.
    """

    def __init__(self, pictures: bool):
        self.pictures = pictures
        self._open: list[_Span] = []
        self._done: list[_Span] = []
        self._last_s = 0.0

    def add(self, seen: _Seen, found: Sequence[_Bare]) -> None:
        """Take the bare heads of the next picture."""
        apart = max(_APART_S, 1.5 * (seen.time_s - self._last_s))
        self._last_s = seen.time_s
        ended = [s for s in self._open if s.file != seen.file or seen.time_s - s.rows[-1][1] > apart]
        self._done += ended
        self._open = [s for s in self._open if s not in ended]
        for bare in found:
            free = [s for s in self._open if s.rows[-1][0] < seen.index and _same(s.rows[-1][2].box, bare.box)]
            span = free[0] if free else _Span(seen.file, seen.index)
            if not free:
                self._open.append(span)
            span.rows.append((seen.index, seen.time_s, bare))
            if span.best is None or bare.score > span.best.score:
                span.best = bare
                span.thumbnail = _thumbnail(seen.image, bare.box) if self.pictures else None

    def findings(self) -> tuple[Finding, ...]:
        """All that were joined, in the order of time, but for what one look alone saw in passing."""
        spans = sorted(self._sure(), key=lambda s: (s.file, s.first, -len(s.rows)))
        return tuple(_finding(number, span) for number, span in enumerate(spans, 1))

    def _sure(self) -> list[_Span]:
        return [span for span in [*self._done, *self._open] if span.sure]

    def passing(self) -> int:
        """How many places one look alone saw in passing, too little to be reported."""
        return len(self._done) + len(self._open) - len(self._sure())

    def bare_frames(self) -> set[tuple[str, int]]:
        """(file, index) of the pictures with a finding."""
        return {(span.file, index) for span in self._sure() for index, _, _ in span.rows}


def _finding(number: int, span: _Span) -> Finding:
    assert span.best is not None
    by = frozenset[str]().union(*(bare.by for _, _, bare in span.rows))
    path = tuple((time_s, *_four(bare.box)) for _, time_s, bare in span.rows)
    return Finding(
        number, span.rows[0][1], span.rows[-1][1], len(span.rows), _four(span.best.box), span.best.score,
        ", ".join(w for w in ("face", "body", "record", "gap") if w in by), span.best.detail, span.first, span.file,
        path, span.thumbnail,
    )  # fmt: skip


def _four(box: np.ndarray) -> tuple[float, float, float, float]:
    x0, y0, x1, y1 = (float(v) for v in box)
    return x0, y0, x1, y1


def _thumbnail(image: np.ndarray, box: np.ndarray) -> str:
    """What is at a place and around it, as a data URI (RFC 2397) of a JPEG picture."""
    x0, y0, x1, y1 = (float(v) for v in box)
    by = _AROUND * max(x1 - x0, y1 - y0)
    height, width = image.shape[:2]
    part = image[int(max(0, y0 - by)) : int(min(height, y1 + by)), int(max(0, x0 - by)) : int(min(width, x1 + by))]
    if part.size == 0:
        part = np.zeros((8, 8, 3), np.uint8)
    small = shrink_to(part, _THUMBNAIL)[0]
    data = cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, 85])[1].tobytes()
    return f"data:image/jpeg;base64,{base64.b64encode(data).decode('ascii')}"


# ---- what was found, and what a person says of it


def _kept_at(output: Path) -> Path:
    return output.with_name(f"{output.name}{SUFFIX}")


def _sha256(output: Path) -> str:
    """Of a file's bytes; of a folder, of its pictures' names and bytes."""
    if output.is_file():
        return file_sha256(output)
    digest = hashlib.sha256()
    for path in look_through(output)[0]:
        digest.update(os.fsencode(path.name) + b"\0" + file_sha256(path).encode() + b"\n")
    return digest.hexdigest()


def last_audit(output: str | os.PathLike) -> Audit:
    """What the last look at an output found.

    Args:
        output: a video, or a folder of pictures.

    Raises:
        InputError: nobody looked yet, or the output is another one since.
    """
    output = Path(output)
    content = read_json(_kept_at(output))
    how = f"look again: idseg audit {output}"
    if content.get("kind") != "audit":
        raise InputError(f"{output} was not audited yet; {how}")
    if not output.exists() or content["sha256"] != _sha256(output):
        raise InputError(f"{output} is another one than was audited, and its findings have other numbers; {how}")
    rows = content.pop("findings")
    return Audit(tuple(Finding.from_dict(row) for row in rows), content)


def correct(output: str | os.PathLike, number: int, kind: str, seconds: float | None = None) -> Correction:
    """Say of a finding that it is to be covered, or that it is no head; beside the output, for the next render.

    What is to be covered is so a little earlier and later too, as far as 0.2 s: the looks may see a head late.

    Args:
        output: a video, or a folder of pictures.
        number: of the finding, in the last audit.
        kind: "cover" or "no-head".
        seconds: how long from its beginning; None = as long as it was found.

    Raises:
        InputError: no such finding, or no audit of this output.
    """
    findings = {finding.number: finding for finding in last_audit(output).findings}
    if number not in findings:
        known = f"1 to {len(findings)}" if findings else "none: nothing was found"
        raise InputError(f"there is no finding {number}; expected {known}")
    if seconds is not None and not seconds > 0:
        raise InputError(f"expected --for SECONDS above 0, got {seconds}")
    found = findings[number]
    boxes = np.array([row[1:] for row in found.path])
    low, high = boxes[:, :2].min(0), boxes[:, 2:].max(0)
    ends = found.to_s if seconds is None else found.from_s + seconds
    pad = 0.0 if found.file else _PAD_S
    said = Correction(
        kind, (float(low[0]), float(low[1]), float(high[0]), float(high[1])), max(0.0, found.from_s - pad), ends + pad,
        found.file, () if found.file else found.path, number,
    )  # fmt: skip
    add_correction(output, said)
    return said

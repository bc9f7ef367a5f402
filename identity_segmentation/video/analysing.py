"""A video -> its analysis: look at every n-th frame once, then follow, pool and name. (Notebook section 7.)

Looking is what takes time. It goes into a working file, from which a killed run goes on; following people through the
shots waits until all is seen, because only then it is known where shots begin. The working file has the embeddings of
faces and goes when the analysis is finished.
"""

from __future__ import annotations

import base64
import json
import os
import shlex
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import Cancelled, InputError, OutputError
from ..people.gallery import Gallery
from ..types import Face, Frame, unit
from .analysis import (
    Analysis,
    check_sampling,
    end_of,
    gallery_key,
    header_of,
    packed,
    read_analysis,
    read_lines,
    rounded,
    unpacked_numbers,
    write_lines,
)
from .corrections import carried_over, writing
from .files import VideoReader, prefetched
from .looking import LAYOUT, Lookers, Watch
from .naming import Evidence
from .shots import THUMBNAIL, Shot, ShotDetector, Transition, places_of
from .store import analysis_path
from .tracking import Seen
from .tracklets import Levels, Piece, SampleSeen, Tracklet, followed

_FLUSHED = 8  # samples between writes to the disk: what a kill costs at most
_ALIKE_LEAST = 0.2  # cosines below this are of different people, and are not kept
_CHANGED = (
    "the gallery has changed since this video was analysed: it was analysed anew, and what was said by hand was "
    "carried over"
)


def analyse(
    source: str | os.PathLike,
    lookers: Lookers,
    path: str | os.PathLike,
    sampling: int = 5,
    fresh: bool = False,
    progress: Callable[[int, int], None] | None = None,
    cancel: threading.Event | None = None,
) -> Analysis:
    """Analyse a video, or go on where an earlier run stopped.

    Args:
        source: the video.
        lookers: who looks, and whom they know.
        path: the analysis file; made, continued, or - if finished - just read. Where the gallery has changed since, it
            is made anew, and what was said by hand is carried over.
        sampling: every n-th frame is looked at; 1 = all.
        fresh: put what is there aside, as `.before`, and start again, corrections by hand included.
        progress: called with (frames seen, frames expected or 0).
        cancel: set it to stop after the current frame.

    Raises:
        VideoError: the video cannot be read.
        InputError: the file there belongs to another video, engine or sampling; the message says which.
        Cancelled: `cancel` was set.
    """
    check_sampling(sampling)
    engine, gallery = lookers.engine, lookers.gallery
    gallery.check_engine(engine)
    source, path = Path(source), Path(path)
    with VideoReader(source) as reader:
        header = header_of(source, reader.info, sampling) | {
            "engine": engine.id, "model_hash": engine.model_hash, "gallery": gallery_key(gallery),
            "people": gallery.names, "ids": [person.id for person in gallery.people],
            "detector": None if lookers.detector is None else lookers.detector.id,
            "heads": None if lookers.heads is None else lookers.heads.id,
            "levels": {"same": engine.strict, "other": engine.floor},
        }  # fmt: skip
        with writing(path):
            before = [] if fresh else matching_lines(path, header)
            if before and before[0]["gallery"] == header["gallery"]:
                path.with_name(f"{path.name}.part").unlink(missing_ok=True)
                bring_names_up_to_date(path, gallery)
                return read_analysis(path)
            try:
                remark = _Looking(reader, lookers, path, header).run(sampling, fresh, progress, cancel, before)
            except OSError as error:
                if isinstance(error, OutputError):
                    raise
                raise OutputError(
                    f"{path}: cannot be written ({error.strerror or error}); run the same command to go on"
                ) from error
    return replace(read_analysis(path), remark=remark)


def path_for(source: str | os.PathLike, folder: Path, lookers: Lookers, sampling: int) -> Path:
    """Where the analysis of a video by these lookers lies.

    Args:
        source: the video.
        folder: of analyses.
        lookers: who looks.
        sampling: every n-th frame.
    """
    engine, detector = lookers.engine, lookers.detector
    return analysis_path(
        folder, source, sampling=sampling, engine=engine.id, model=engine.model_hash,
        detector=None if detector is None else detector.id,
    )  # fmt: skip


def check_gallery(analysis: Analysis, gallery: Gallery) -> None:
    """`InputError` unless an analysis was made with this state of the gallery.

    Args:
        analysis: of a video.
        gallery: who is on file now.
    """
    if analysis.header["gallery"] != gallery_key(gallery):
        folder = shlex.quote(str(analysis.path.parent))
        raise InputError(
            f"{analysis.path}: the gallery has changed since {analysis.header['source']!r} was analysed; bring "
            f"it up to date with: idseg analyse VIDEO --analyses {folder} (corrections by hand are carried over)"
        )


def bring_names_up_to_date(path: Path, gallery: Gallery) -> None:
    """Give people of an analysis who were renamed since their present names; hold `writing` meanwhile.

    Args:
        path: the analysis file.
        gallery: who is on file now.
    """
    with path.open("rb") as file:
        header = json.loads(file.readline())
    now = {person.id: person.name for person in gallery.people}
    names = {old: now.get(key, old) for old, key in zip(header.get("people", ()), header.get("ids", ()), strict=False)}
    if all(old == new for old, new in names.items()):
        return
    header["people"] = [names[old] for old in header["people"]]
    lines = [
        {**line, "name": names.get(line["name"], line["name"])} if line.get("name") is not None else line
        for line in read_lines(path)[1:]
    ]
    write_lines(path, [header, *lines])


def matching_lines(path: Path, header: dict) -> list[dict]:
    """The lines of an earlier analysis of the same video, by the same engine and with the same sampling.

    Args:
        path: its file.
        header: of the analysis that is wanted.

    Raises:
        InputError: it is of something else; the message says of what. No file is no lines.
    """
    lines = read_lines(path) if path.exists() else []
    if not lines:
        return []
    found = lines[0]
    if found.get("kind") != "header" or found.get("version") != header["version"]:
        raise InputError(f"{path} is not an analysis of this version; move it away, or analyse again with --fresh")
    for key, what in (
        ("sha256", f"another video ({found.get('source')})"),
        ("seed", f"the box {found['seed']}" if found.get("seed") else "people's faces, not with a box"),
        ("engine", f"the face engine {found.get('engine')}"),
        ("model_hash", "another model of the face engine"),
        ("sampling", f"frame_sampling={found.get('sampling')}"),
    ):
        if found.get(key) != header.get(key):
            raise InputError(f"{path} was made with {what}; analyse again with --fresh, or choose another folder")
    return lines


class _Looking:
    """One run over a video.

    Args:
        reader: of the video.
        lookers: who looks.
        path: the analysis file.
        header: its first line.
    """

    def __init__(self, reader: VideoReader, lookers: Lookers, path: Path, header: dict):
        self.reader, self.lookers, self.path, self.header = reader, lookers, path, header
        self.working = path.with_name(f"{path.name}.part")
        self.watch, self.cuts = Watch(lookers), ShotDetector()
        self.transitions: list[Transition] = []

    def run(
        self, sampling: int, fresh: bool, progress: Callable[[int, int], None] | None,
        cancel: threading.Event | None, before: Sequence[dict],
    ) -> str:  # fmt: skip
        """Look at every sampled frame that was not looked at yet, and write the analysis.

        Args:
            sampling: every n-th frame.
            fresh: what an earlier run saw is not used.
            progress: called with (frames seen, frames expected or 0).
            cancel: set it to stop.
            before: lines of an analysis with another state of the gallery.

        Returns:
            What is to be said of how the analysis came about; empty = nothing.
        """
        begin = 0 if fresh else self._resumed(sampling)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        if not begin:
            write_lines(self.working, [self.header], private=True)
        with self.working.open("a", encoding="utf-8") as file:
            frames = self.reader.frames(
                begin, sampling, lambda small: self.transitions.extend(self.cuts.update(small)), THUMBNAIL
            )
            for frame in prefetched(frames, depth=3):
                if cancel is not None and cancel.is_set():
                    raise Cancelled
                number = frame.index // sampling
                file.write(json.dumps(self._look_at(frame, number)) + "\n")
                if number % _FLUSHED == 0:
                    file.flush()
                if progress:
                    progress(frame.index + 1, self.reader.info.frames)
        lines = list(self._finished())
        kept, lost = carried_over(before, lines)
        if self.path.exists():  # what a person said in it is theirs
            os.replace(self.path, self.path.with_name(f"{self.path.name}.before"))
        write_lines(self.path, [*lines, *kept])
        self.working.unlink()
        if not before:
            return ""
        return _CHANGED + (f"; {lost} correction(s) found nobody in their place and do not count" if lost else "")

    def _resumed(self, sampling: int) -> int:
        """The first frame that an earlier run did not look at; 0 = none was, or what was is of something else."""
        if not self.working.exists():
            return 0
        # What lies after the last key sample depends on it: it is looked at again, and a torn last line is left out.
        begin, place = 0, 0
        with self.working.open("rb") as file:
            while True:
                at, text = file.tell(), file.readline()
                try:
                    line = json.loads(text)
                except ValueError:
                    break
                if not at and {**line, "source": ""} != {**self.header, "source": ""}:
                    return 0
                if line.get("key"):
                    begin, place = line["i"], at
        if begin:
            os.truncate(self.working, place)
        return begin

    def _look_at(self, frame: Frame, number: int) -> dict:
        seen = self.watch.look(frame.image, number)
        return {
            "kind": "seen", "i": frame.index, "t": round(frame.time_s, 6), "key": seen.key,
            "layout": base64.b64encode(seen.layout.tobytes()).decode(),
            "faces": [
                {"box": rounded(f.box), "score": round(f.score, 4),
                 "points": None if f.landmarks is None else [rounded(p) for p in f.landmarks],
                 "vector": None if f.embedding is None else packed(f.embedding)}
                for f in seen.faces
            ],
            "bodies": [rounded(body.box) for body in seen.bodies],
            "people": [_person_line(person) for person in seen.people],
        }  # fmt: skip

    # ---- when all is seen

    def _finished(self) -> Iterator[dict]:
        """The lines of the analysis."""
        changes = sorted([*self.transitions, *self.cuts.finish()], key=lambda change: change.first)
        shots = [Shot(0, "begin"), *map(Shot.after, changes)]
        yield self.header
        layouts: list[tuple[int, np.ndarray]] = []
        for line in self._seen():
            grey = np.frombuffer(base64.b64decode(line["layout"]), np.uint8).reshape(LAYOUT[::-1])
            layouts.append((line["i"], grey))
        places = places_of(shots, layouts)
        for shot, place in zip(shots, places, strict=True):
            yield {
                "kind": "shot", "begin": shot.begin, "how": shot.kind, "mixed": list(shot.mixed), "place": place
            }  # fmt: skip
        engine, gallery = self.lookers.engine, self.lookers.gallery
        levels = Levels(engine.strict, engine.floor, engine.margin)
        seen = self._seen()
        known: dict[int, np.ndarray] = {}
        begins, last = [shot.begin for shot in shots], -1
        for found in followed(map(_sample_seen, self._seen()), shots, levels, gallery):
            if isinstance(found, Tracklet):
                if found.looks is not None:
                    known[found.track] = unit(found.looks)
                yield _tracklet_line(found, gallery)
                continue
            line, (index, points) = next(seen), found
            number = int(np.searchsorted(begins, index, "right"))
            yield {
                "kind": "sample", "i": index, "t": line["t"], "cut": last not in (-1, number),
                "faces": [{k: face[k] for k in ("box", "score", "points")} for face in line["faces"]],
                "tracks": [
                    [p.track, rounded(p.box), p.evidence, p.face, round(p.clothes, 3), p.body] for p in points
                ],
                "bodies": line["bodies"],
            }  # fmt: skip
            last = number
        yield {"kind": "alike", "pairs": _alike(known)}
        yield end_of(self.reader)

    def _seen(self) -> Iterator[dict]:
        with self.working.open(encoding="utf-8") as file:
            next(file)
            for text in file:
                yield json.loads(text)


def _person_line(person: Seen) -> list:
    """A person of a sample as a line holds them."""
    return [
        person.face, person.body_index, rounded(person.head), round(person.score, 4), person.found,
        None if person.clothes is None else packed(person.clothes),
        None if person.torso is None else packed(person.torso),
    ]  # fmt: skip


def _sample_seen(line: dict) -> SampleSeen:
    """What `_Looking._look_at` wrote down."""
    faces = [
        Face(
            row["box"], row["score"], None if row["vector"] is None else unpacked_numbers(row["vector"]),
            None if row["points"] is None else np.array(row["points"], np.float32),
        )
        for row in line["faces"]
    ]  # fmt: skip
    people = []
    for face, body, head, score, found, clothes, torso in line["people"]:
        mine = None if face is None else faces[face]
        people.append(
            Seen(
                np.array(head), face, None if body is None else np.array(line["bodies"][body]), body, score, found,
                None if clothes is None else unpacked_numbers(clothes),
                None if torso is None else unpacked_numbers(torso),
                None if mine is None else mine.embedding, 1.0 if mine is None else mine.facing,
            )
        )  # fmt: skip
    return SampleSeen(line["i"], faces, people)


def _tracklet_line(found: Tracklet, gallery: Gallery) -> dict:
    """What a finished analysis says of a tracklet."""
    pooled = found.pooled
    faces = sum(piece.faces for piece in found.pieces)
    line: dict[str, Any] = {
        "kind": "tracklet", "track": found.track, "shot": found.shot, "faces": None,
        "clear": sum(piece.clear for piece in found.pieces),
        "clothes": None if found.clothes is None else packed(found.clothes / found.dressed), "dressed": found.dressed,
        "pieces": [],
    }  # fmt: skip
    if pooled is None:
        return line
    rows = gallery.similarity(np.stack([pooled, *(piece.pooled for piece in found.pieces)]))
    sides = [side for piece in found.pieces for side in piece.sides]
    weight = sum(piece.weight for piece in found.pieces)
    line["faces"] = _evidence_row(Evidence(rows[0], faces, weight, float(np.median(sides))))
    line["pieces"] = [[piece.begin, piece.end, piece.clear, _piece_row(piece, row)] for piece, row in
                      zip(found.pieces, rows[1:], strict=True)]  # fmt: skip
    return line


def _piece_row(piece: Piece, similar: np.ndarray) -> list:
    return _evidence_row(Evidence(similar, piece.faces, piece.weight, float(np.median(piece.sides))))


def _evidence_row(seen: Evidence) -> list:
    return [seen.faces, round(seen.weight, 4), round(seen.side, 2), packed(seen.similar)]


def _alike(known: dict[int, np.ndarray]) -> list[list]:
    """[lower track, higher track, cosine] of all tracklets whose pooled clear faces may be one person's."""
    tracks = sorted(known)
    pairs: list[list] = []
    if not tracks:
        return pairs
    looks = np.stack([known[track] for track in tracks])
    for i, track in enumerate(tracks):
        cosines = looks[i + 1 :] @ looks[i]
        alike = np.flatnonzero(cosines > _ALIKE_LEAST)
        pairs += [[track, tracks[i + 1 + int(k)], round(float(cosines[k]), 4)] for k in alike]
    return pairs

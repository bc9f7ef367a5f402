"""What a person says of an analysed video: who somebody is, that two tracklets are one, where one becomes two, that
somebody who was missed is here, and (by way of `clicks`) what belongs to a matte. (Notebook section 7.)

Corrections are added to the analysis file, line by line; every output that is rendered from it obeys, and the last one
can be taken back. Each says where in the picture it was meant, so that it can be carried over to an analysis that is
made anew.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import InputError, OutputError
from ..files import PATIENCE, as_json, held
from ..geometry import box_iou
from .analysis import BY_HAND, TRULY_SEEN, Analysis, Sample, read_analysis, rounded
from .tracking import TrackPoint

_SAME_HEAD = 0.3  # IoU from which two boxes are one head


def correct(path: str | os.PathLike, track: int, name: str | None) -> None:
    """Say by hand who a tracklet is (None: nobody on file); the next render obeys. Later corrections win.

    Args:
        path: the analysis file.
        track: its number.
        name: display name; None = nobody on file.

    Raises:
        InputError: no such tracklet, or a name that the gallery did not have.
    """
    analysis = read_analysis(path)
    _known_track(analysis, track)
    check_name(analysis, name)
    append(analysis.path, {"kind": "name", "track": track, "name": name, **_anchor(analysis, track)})


def merge(path: str | os.PathLike, track: int, into: int) -> None:
    """Say by hand that two tracklets are one person's; the first joins the second.

    Args:
        path: the analysis file.
        track: the tracklet that joins.
        into: the tracklet that it joins.

    Raises:
        InputError: no such tracklet, they are one already, or both are on screen at the same time.
    """
    analysis = read_analysis(path)
    if track == into:
        raise InputError(f"tracks {into} and {track} are one already")
    _known_track(analysis, track)
    _known_track(analysis, into)
    for sample in analysis.samples:
        if {track, into} <= {point.track for point in sample.tracks if point.evidence in TRULY_SEEN}:
            raise InputError(
                f"tracks {into} and {track} are both on screen at {sample.time_s:.1f} s; they are two people"
            )
    other = {f"into_{key}": value for key, value in _anchor(analysis, into).items()}
    append(analysis.path, {"kind": "merge", "track": track, "into": into, **_anchor(analysis, track), **other})


def split(path: str | os.PathLike, track: int, at: float) -> int:
    """Say by hand that a tracklet is somebody else's from a time on; returns the number of its later part.

    Args:
        path: the analysis file.
        track: its number.
        at: seconds; the later part begins with the first sample at or after it.

    Raises:
        InputError: no such tracklet, or a time before its second sample or after its last one.
    """
    analysis = read_analysis(path)
    _known_track(analysis, track)
    seen = [sample for sample, _ in analysis.seen(track)]
    later = [sample for sample in seen if sample.time_s >= at - 1e-6]
    if not later or len(later) == len(seen):
        raise InputError(
            f"track {track} is on screen from {seen[0].time_s:.2f} to {seen[-1].time_s:.2f} s; expected a time after "
            f"its beginning and not after its end, got {at}"
        )
    new = _new_number(analysis)
    append(
        analysis.path,
        {"kind": "split", "track": track, "new": new, "i": later[0].index, **_anchor(analysis, track, later[0].index)},
    )
    return new


def point_at(path: str | os.PathLike, box: Sequence[float], at: float, name: str) -> int:
    """Say by hand that a head, in one place at one time, is somebody's; returns the number of the tracklet.

    Where a tracklet is there it gets the name, all of it. Where nobody was found a new one begins: in that sample, and
    in those between it and others of its shot in which the same person was pointed at.

    Args:
        path: the analysis file.
        box: xyxy pixels, around the head.
        at: seconds; the nearest sample is meant.
        name: display name.

    Raises:
        InputError: a name that the gallery did not have, a time outside the video, or a box outside the picture.
    """
    analysis = read_analysis(path)
    check_name(analysis, name)
    width, height = analysis.header["width"], analysis.header["height"]
    x0, y0, x1, y1 = (float(v) for v in box)
    if not (x0 < x1 and y0 < y1 and x0 < width and y0 < height and x1 > 0 and y1 > 0):
        raise InputError(f"expected a box X0 Y0 X1 Y1 within {width} x {height} pixels, got {[x0, y0, x1, y1]}")
    if not -1e-6 <= at <= analysis.seconds + 1e-6:
        raise InputError(f"expected a time between 0 and {analysis.seconds:.2f} s, got {at}")
    sample = _nearest(analysis, at)
    there = _at(sample, [x0, y0, x1, y1])
    if there is not None:
        correct(path, there.track, name)
        return there.track
    known = [line["track"] for line in analysis.corrections if line["kind"] == "point" and line["name"] == name]
    track = next((t for t in known if analysis.by_hand.get(t) == name), _new_number(analysis))
    line = {"kind": "point", "track": track, "name": name, "i": sample.index, "box": rounded([x0, y0, x1, y1])}
    append(analysis.path, line)
    return track


def apply(path: str | os.PathLike, said: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    """Several corrections in one go: all of them, or none where one cannot be.

    Args:
        path: the analysis file.
        said: in order, {"kind": "name", "track", "name"}, {"kind": "split", "track", "at", "new"},
            {"kind": "merge", "track", "into"}, {"kind": "point", "box", "at", "name"}; see the functions of these
            names. What a split calls `new`, any text, is the later part's number for those that come after it.

    Returns:
        What the later parts of splits are called -> their numbers.

    Raises:
        InputError: one of them cannot be; what was said before it is taken back.
    """
    made: dict[str, int] = {}

    def number(given: Any) -> int:
        found = made.get(str(given), given)
        if not isinstance(found, int) or isinstance(found, bool):
            raise InputError(f"expected the number of a track, got {given!r}")
        return found

    done = 0
    try:
        for one in said:
            kind = one.get("kind")
            if kind == "name":
                correct(path, number(one["track"]), one["name"])
            elif kind == "split":
                made[str(one["new"])] = split(path, number(one["track"]), float(one["at"]))
            elif kind == "merge":
                merge(path, number(one["track"]), number(one["into"]))
            elif kind == "point":
                point_at(path, one["box"], float(one["at"]), one["name"])
            else:
                raise InputError(f"expected a correction: name, split, merge or point; got {kind!r}")
            done += 1
    except (InputError, KeyError, TypeError, ValueError) as error:
        for _ in range(done):
            undo(path)
        if isinstance(error, InputError):
            raise
        raise InputError(f"that is no correction: {dict(one)}") from error
    return made


def undo(path: str | os.PathLike) -> str:
    """Take the last correction back; returns what it said.

    Args:
        path: the analysis file.

    Raises:
        InputError: nothing was said by hand.
    """
    analysis = read_analysis(path)
    if not analysis.corrections:
        raise InputError(f"{analysis.path}: nothing was corrected by hand")
    append(analysis.path, {"kind": "undo"})
    return described(analysis.corrections[-1])


def described(line: dict) -> str:
    """A correction in words.

    Args:
        line: as the file has it.
    """
    if line["kind"] == "click":
        said = "is added to the matte of" if line["adds"] else "is taken out of the matte of"
        return f"what was clicked in frame {line['i']} {said} {line['name']}"
    return {
        "name": f"track {line['track']} is {line.get('name') or 'unknown'}",
        "merge": f"track {line['track']} joins track {line.get('into')}",
        "split": f"track {line['track']} is track {line.get('new')} from frame {line.get('i')} on",
        "point": f"{line.get('name')} is at frame {line.get('i')}",
    }[line["kind"]]


def carried_over(before: Sequence[dict], after: Sequence[dict]) -> tuple[list[dict], int]:
    """(corrections of an earlier analysis for a new one: the same, where somebody is in the same place there; how many
    there are no longer).

    Args:
        before: lines of the earlier analysis.
        after: lines of the new one.
    """
    said = _in_force(before)
    header, samples = after[0], {line["i"]: line for line in after if line["kind"] == "sample"}
    last = max((row[0] for line in samples.values() for row in line["tracks"]), default=0)
    made: dict[int, int] = {}  # tracklets that were made by hand -> their new numbers
    joined: dict[int, int] = {}  # tracklets that joined another, new numbers
    kept: list[dict] = []

    def now(old: int, index: int | None, head: Sequence[float] | None) -> int | None:
        found = made.get(old) or _track_at(samples, index, head)
        while found in joined:
            found = joined[found]
        return found

    for line in said:
        if line.get("name") is not None and line["name"] not in header["people"]:
            continue
        if line["kind"] == "click":  # by a name and a place in the picture: it is in no tracklet
            kept.append(line)
            continue
        new = dict(line)
        if line["kind"] == "point":
            if line["i"] not in samples:
                continue
            last += line["track"] not in made
            new["track"] = made.setdefault(line["track"], last)
        else:
            new["track"] = now(line["track"], line.get("at"), line.get("head"))
        if line["kind"] == "merge":
            new["into"] = now(line["into"], line.get("into_at"), line.get("into_head"))
        if new["track"] is None or new.get("into", 0) is None or new["track"] == new.get("into"):
            continue
        if line["kind"] == "split":
            last += 1
            new["new"] = made[line["new"]] = last
        if line["kind"] == "merge":
            joined[new["track"]] = new["into"]
        kept.append(new)
    return kept, len(said) - len(kept)


def _in_force(lines: Sequence[dict]) -> list[dict]:
    """Corrections that were not taken back."""
    said: list[dict] = []
    for line in lines:
        if line["kind"] == "undo":
            del said[-1:]
        elif line["kind"] in BY_HAND:
            said.append(line)
    return said


def _track_at(samples: dict[int, dict], index: int | None, head: Sequence[float] | None) -> int | None:
    """The tracklet whose head is in a place in a sample."""
    rows = samples[index]["tracks"] if index in samples and head is not None else []
    overlaps = [float(box_iou(np.array(row[1]), np.array(head))[0, 0]) for row in rows]
    best = int(np.argmax(overlaps)) if overlaps else -1
    return rows[best][0] if best >= 0 and overlaps[best] > _SAME_HEAD else None


def _anchor(analysis: Analysis, track: int, since: int = 0) -> dict:
    """Where a tracklet is best told: a sample with a face, or else its first."""
    seen = [(s, p) for s, p in analysis.seen(track) if s.index >= since]
    sample, point = next(((s, p) for s, p in seen if p.evidence == "face"), seen[0])
    return {"at": sample.index, "head": rounded(point.box)}


def _at(sample: Sample, box: Sequence[float]) -> TrackPoint | None:
    overlaps = [float(box_iou(np.array(p.box), np.array(box))[0, 0]) for p in sample.tracks]
    best = int(np.argmax(overlaps)) if overlaps else -1
    return sample.tracks[best] if best >= 0 and overlaps[best] > _SAME_HEAD else None


def _new_number(analysis: Analysis) -> int:
    used = [line[key] for line in analysis.corrections for key in ("track", "new") if key in line]
    return max([0, *analysis.tracks, *used]) + 1


def _known_track(analysis: Analysis, track: int) -> None:
    if track not in analysis.tracks:
        raise InputError(f"there is no track {track}; expected one of {', '.join(map(str, analysis.tracks[:40]))}")


def check_name(analysis: Analysis, name: str | None) -> None:
    """`InputError` unless a name (None: nobody's) was on file when a video was analysed."""
    if name is not None and name not in analysis.people:
        expected = ", ".join(analysis.people)
        if "seed" in analysis.header:
            raise InputError(f"{name!r} is not what was followed in this video; expected {expected}")
        raise InputError(
            f"{name!r} was not in the gallery when this was analysed; expected {expected} (of somebody who was put on "
            "file since: idseg analyse VIDEO)"
        )


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """Hold an analysis file against everybody else who would write it.

    Args:
        path: the file.

    Raises:
        OutputError: somebody else is at it, or the folder cannot be written.
    """
    busy = f"{path}: another run is at this video just now; run the same command again when it has finished"
    with held(path.with_name(f"{path.name}.lock"), PATIENCE, busy):
        yield


def append(path: Path, line: dict) -> None:
    """Add a line to an analysis file; one that was torn by a kill or a full disk is cut off first.

    Raises:
        OutputError: somebody else is at it, or it cannot be written.
    """
    try:
        with writing(path), path.open("r+b") as file:
            whole = file.read().rfind(b"\n") + 1
            file.truncate(whole)
            file.seek(whole)
            file.write(as_json(line) + b"\n")
    except OSError as error:
        if isinstance(error, OutputError):
            raise
        raise OutputError(f"{path}: cannot be written ({error.strerror})") from error


def _nearest(analysis: Analysis, at: float) -> Sample:
    """The sample nearest to a time, in the shot that the time lies in."""
    begins = [shot.begin for shot in analysis.shots] or [0]
    shot = int(np.searchsorted(begins, analysis.index_at(at), "right"))
    mine = [s for s in analysis.samples if int(np.searchsorted(begins, s.index, "right")) == shot]
    if not mine:
        raise InputError(f"no frame was looked at in the shot at {at:.2f} s; analyse with a smaller --sampling")
    return min(mine, key=lambda s: abs(s.time_s - at))

"""Segments of a covered video that nobody said anything of: taken from it again, not rendered anew. (Notebook 7.)"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..files import as_json, atomic_write
from .cover_corrections import corrections_key, corrections_of
from .delivery import Delivery
from .store import stamp_of
from .writing import SAME_BYTES, video_stream


def bounds(starts: Sequence[int], frames: int) -> list[tuple[int, int]]:
    """(first frame, the one after the last) of every segment.

    Args:
        starts: first frames of the segments.
        frames: of the video.
    """
    return list(zip(starts, [*starts[1:], max(1, frames)], strict=True))


def keys_of(output: Path, spans: Sequence[tuple[float, float]]) -> list[str]:
    """For every segment, a hash of what is to be covered by hand in it.

    Args:
        output: the video.
        spans: (begin, end) of the segments, in seconds.
    """
    said = corrections_of(output)
    return [corrections_key(said, begin, end) for begin, end in spans]


def recover(
    work: Path, delivery: Delivery, covers: Path, question: Sequence[Any], segments: Sequence[tuple[int, int]],
    keys: Sequence[str],
) -> list[int]:  # fmt: skip
    """Put the unchanged segments of an earlier result into the work folder; returns their first frames.

    Args:
        work: the folder of segments.
        delivery: of one video file.
        covers: the record of what was covered in the earlier result.
        question: all that decides a render, but for what was said by hand since.
        segments: (first frame, the one after the last) of every segment.
        keys: of every segment, of what was said by hand.
    """
    output = delivery.outputs[0].path
    if delivery.form is None or len(delivery.outputs) != 1 or not output.is_file():
        return []
    try:
        header, *rows = (json.loads(line) for line in covers.read_text("utf-8").splitlines())
        if header["question"] != list(question) or header["stamp"] != stamp_of(output) or len(rows) != segments[-1][1]:
            return []
        before, stats = header["segments"], header["stats"]
    except (OSError, ValueError, KeyError, TypeError):
        return []
    same = [n for n, (start, _) in enumerate(segments) if before.get(str(start)) == keys[n]]
    if not same or len(same) == len(segments):
        return []
    _cut(output, work, delivery, [segments[n] for n in same])
    for n in same:
        start, end = segments[n]
        stem = work / f"{start:08d}"
        with atomic_write(stem.with_suffix(".covers")) as file:
            file.writelines(as_json(row) + b"\n" for row in rows[start:end])
        with atomic_write(stem.with_suffix(".masks")) as file:
            file.write(b"")
        with atomic_write(stem.with_suffix(".done")) as file:
            file.write(json.dumps(stats[str(start)]).encode())
    return [segments[n][0] for n in same]


def note(delivery: Delivery, question: Sequence[Any], segments: Sequence[tuple[int, int]], keys: Sequence[str],
         work: Path) -> dict[str, Any]:  # fmt: skip
    """What `recover` asks of a record of covers; to be written when the output lies in its place.

    Args:
        delivery: of the output.
        question, segments, keys: as of `recover`.
        work: the folder of segments.
    """
    stats = {str(start): json.loads((work / f"{start:08d}.done").read_bytes()) for start, _ in segments}
    said = {str(start): key for (start, _), key in zip(segments, keys, strict=True)}
    return {"question": list(question), "stamp": stamp_of(delivery.outputs[0].path), "segments": said, "stats": stats}


def _cut(output: Path, work: Path, delivery: Delivery, segments: Sequence[tuple[int, int]]) -> None:
    """Copy the packets of some segments into files of their own: a packet is a frame, and a segment begins anew."""
    import av

    assert delivery.form is not None
    wanted = dict(segments)
    with av.open(str(output)) as source:
        stream = source.streams.video[0]
        out: Any = None
        end = -1
        place = 0
        try:
            for packet in source.demux(stream):
                if packet.dts is None or packet.pts is None:
                    continue
                if place == end:
                    out.close()
                    out = None
                if place in wanted:
                    end = wanted[place]
                    partial = work / f"{place:08d}{delivery.form.suffix}"
                    out = av.open(str(partial), "w", format=delivery.form.container, container_options=SAME_BYTES)
                    target = video_stream(out, stream, delivery.form, None)
                if out is not None:
                    shift = round(delivery.info.begins / packet.time_base)
                    packet.pts, packet.dts = packet.pts - shift, packet.dts - shift
                    packet.stream = target
                    out.mux(packet)
                place += 1
        finally:
            if out is not None:
                out.close()

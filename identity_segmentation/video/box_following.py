"""A box drawn by hand in one frame -> the analysis of a video: that thing, through its shot. (Notebook section 7.)

The file is the same as that of `analysis`, with one track, which carries its region in every sampled frame; it is
rendered in the same way. The thing is followed backward and forward from the box to the ends of its shot: after a cut
nobody knows whether it is the same.
"""

from __future__ import annotations

import os
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import IO

import cv2
import numpy as np

from ..engines.protocols import BoxSegmenter
from ..errors import Cancelled, InputError
from ..geometry import clip_box, encode_rle, mask_box
from ..images import unpacked
from ..types import Frame
from .analysing import matching_lines
from .analysis import Analysis, check_sampling, end_of, header_of, read_analysis, write_lines
from .cuts import CutDetector, first_of_shot
from .files import VideoReader, prefetched
from .propagation import Propagator, box_opinion, box_seed

_SCRATCH_QUALITY = 95
_CADENCE = 2  # the region is found anew in every second frame; the segmenter is asked in the sampled ones


def follow_box(
    source: str | os.PathLike,
    box: Sequence[float],
    at: float,
    label: str,
    segmenter: BoxSegmenter,
    path: str | os.PathLike,
    sampling: int = 5,
    fresh: bool = False,
    progress: Callable[[int, int], None] | None = None,
    cancel: threading.Event | None = None,
) -> Analysis:
    """Follow what is in a box; see the module.

    Args:
        source: the video.
        box: xyxy pixels, tight around the thing.
        at: seconds; the box was drawn in the first frame at or after it.
        label: what to call it.
        segmenter: gives its opinion on every sampled frame.
        path: the analysis file; made, or - if it is there, of the same box - just read.
        sampling: the segmenter is asked about every n-th frame.
        fresh: throw away what is there.
        progress: called with (frames read, frames expected or 0).
        cancel: set it to stop.

    Raises:
        VideoError: the video cannot be read.
        InputError: a box outside the picture, a time after the end, or a file of something else.
        Cancelled: `cancel` was set; the next run starts anew.
    """
    check_sampling(sampling)
    if not at >= 0:
        raise InputError(f"expected a time of 0 seconds or more, got {at}")
    source, path = Path(source), Path(path)
    with VideoReader(source) as reader:
        within = clip_box(box, (reader.info.height, reader.info.width))
        seed = {"box": [round(float(v), 2) for v in within], "at": round(float(at), 4), "label": label}
        header = header_of(source, reader.info, sampling) | {"people": [label], "seed": seed, "engine": segmenter.id}
        lines = [] if fresh else matching_lines(path, header)
        if any(line["kind"] == "end" for line in lines):
            return read_analysis(path)
        work = _Following(reader, segmenter, sampling, progress, cancel)
        found = work.run(within, at)
        write_lines(path, [header, *found, end_of(reader)])
    return read_analysis(path)


class _Following:
    def __init__(self, reader: VideoReader, segmenter: BoxSegmenter, sampling: int, progress, cancel):
        self.reader, self.segmenter, self.sampling = reader, segmenter, sampling
        self.progress, self.cancel = progress, cancel
        self.propagator, self.cuts = Propagator(), CutDetector()
        self.samples: dict[int, dict] = {}
        self.regions: dict[int, dict] = {}
        self.begins = [0]  # first frames of shots
        self.size = (reader.info.width, reader.info.height)

    def run(self, box: np.ndarray, at: float) -> list[dict]:
        small = self.propagator.flow.small
        with tempfile.TemporaryFile() as scratch:
            before: list[tuple[int, int, int]] = []  # (frame, place, length) of the shot so far, for going back
            frames = self._frames()
            for frame in frames:
                self._note_shot(frame, before, scratch)
                if frame.time_s >= at - 1e-6:
                    break
                data = cv2.imencode(".jpg", small(frame.image), [cv2.IMWRITE_JPEG_QUALITY, _SCRATCH_QUALITY])[1]
                before.append((frame.index, scratch.tell(), len(data)))
                scratch.write(data.tobytes())
            else:
                raise InputError(f"the box is at {at} s, but the video ends at {frame.time_s:.3f} s")
            index, first = frame.index, small(frame.image)
            # A cut shows at the next sample only: it may lie before the box, or right after it.
            held, cut = [(index, first)], False
            if index % self.sampling:
                for frame in frames:
                    held.append((frame.index, small(frame.image)))
                    if frame.index % self.sampling == 0:
                        cut = self._note(frame)
                        break
            ahead: Iterator[tuple[int, np.ndarray]] = iter(held[1:])
            if cut:
                tail = [(i, _read(scratch, p, n)) for i, p, n in before if i >= index - index % self.sampling]
                start = first_of_shot([picture for _, picture in tail + held])
                self._begin([i for i, *_ in tail + held][start])
                if start <= len(tail):  # the box is in the new shot
                    before = [row for row in before if row[0] >= (tail + held)[start][0]]
                    ahead = chain(ahead, self._until_cut(frames, held[-1][1]))
                else:
                    ahead = iter((tail + held)[len(tail) + 1 : start])
            else:
                ahead = chain(ahead, self._until_cut(frames, held[-1][1]))
            factor = np.array(first.shape[1::-1]) / self.size
            seed = box_seed(first.shape[:2], box * np.tile(factor, 2))
            back = ((i, _read(scratch, place, length)) for i, place, length in reversed(before))
            self._follow(chain([(index, first)], back), seed)
            # The second run has the word on the box's own frame: it sees what comes after.
            self._follow(chain([(index, first)], ahead), seed)
            for frame in frames:
                self._note(frame)
        found = [store[i] for store in (self.samples, self.regions) for i in sorted(store)]
        shots: list[dict] = [
            {"kind": "shot", "begin": begin, "how": "cut" if begin else "begin", "mixed": [0, 0], "place": k}
            for k, begin in enumerate(sorted(self.begins))
        ]
        return shots + found

    def _begin(self, index: int) -> None:
        """A shot begins at a frame: of a cut that showed at a sample, not at the sample."""
        self.begins[-1] = index

    def _note_shot(self, frame: Frame, before: list[tuple[int, int, int]], scratch) -> None:
        """Write down a sampled frame; at a cut, only what belongs to the new shot is kept for going back."""
        if not self._note(frame):
            return
        tail = [row for row in before if row[0] >= frame.index - self.sampling]
        pictures = [_read(scratch, place, length) for _, place, length in tail]
        start = first_of_shot([*pictures, self.propagator.flow.small(frame.image)])
        self._begin(tail[start][0] if start < len(tail) else frame.index)
        before[:] = tail[start:]
        scratch.seek(0, os.SEEK_END)

    def _frames(self) -> Iterator[Frame]:
        for frame in prefetched(self.reader.frames(), depth=3):
            if self.cancel is not None and self.cancel.is_set():
                raise Cancelled
            yield frame
            if self.progress:
                self.progress(frame.index + 1, self.reader.info.frames)

    def _note(self, frame: Frame) -> bool:
        """Write down a sampled frame; True if a new shot begins."""
        if frame.index % self.sampling:
            return False
        cut = self.cuts.update(frame.image)
        if cut:
            self.begins.append(frame.index)
        self.samples[frame.index] = {
            "kind": "sample", "i": frame.index, "t": round(frame.time_s, 6), "cut": cut, "faces": [], "tracks": [],
        }  # fmt: skip
        return cut

    def _until_cut(self, frames: Iterator[Frame], before: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
        """The rest of the shot. A cut shows at a sampled frame only: those since the last one are held back."""
        held: list[tuple[int, np.ndarray]] = []
        for frame in frames:
            cut, small = self._note(frame), self.propagator.flow.small(frame.image)
            if cut:
                start = first_of_shot([before, *(picture for _, picture in held), small]) - 1
                self._begin([*(i for i, _ in held), frame.index][start])
                yield from held[:start]
                return
            held.append((frame.index, small))
            if frame.index % self.sampling == 0:
                yield from held
                held.clear()
                before = small
        yield from held

    def _follow(self, pictures: Iterator[tuple[int, np.ndarray]], seed: np.ndarray) -> None:
        indices: dict[int, int] = {}

        def flagged():
            for number, (index, picture) in enumerate(pictures):
                sampled = number == 0 or index % self.sampling == 0 or index % _CADENCE == 0
                if sampled:
                    indices[number] = index
                yield picture, sampled

        def opinion(number: int, picture: np.ndarray, box: np.ndarray) -> np.ndarray | None:
            if number and indices[number] % self.sampling:
                return None
            return box_opinion(self.segmenter, picture, box)

        for number, region in self.propagator.follow(flagged(), min(self.sampling, _CADENCE), seed, opinion):
            index, mask = indices.pop(number), region > 0.5
            tight = mask_box(mask)
            if tight is None:
                continue
            self.regions[index] = {"kind": "region", "i": index, "track": 1, **encode_rle(mask)}
            if index in self.samples:
                factor = np.array(self.size) / mask.shape[::-1]
                box = [round(float(v), 2) for v in tight * np.tile(factor, 2)]
                self.samples[index]["tracks"] = [[1, box, "region", None, 1.0]]


def _read(scratch: IO[bytes], place: int, length: int) -> np.ndarray:
    scratch.seek(place)
    return unpacked(scratch.read(length))

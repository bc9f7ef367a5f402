"""A process that was given so many threads uses no more, and no byte of a video depends on how many there are."""

from __future__ import annotations

import threading
from fractions import Fraction

import cv2
import numpy as np
import pytest

from identity_segmentation.video.files import VideoReader, prefetched
from identity_segmentation.video.writing import SegmentWriter, format_for


def written(path, threads: str, monkeypatch) -> bytes:
    """A moving, noisy picture, large enough for several columns and rows of blocks."""
    monkeypatch.setenv("IDSEG_THREADS", threads)
    wide, high, frames = {".mp4": (640, 368, 12), ".webm": (1280, 720, 6), ".mov": (640, 368, 3)}[path.suffix]
    noise = np.random.default_rng(1).integers(0, 255, (high // 4 + 20, wide // 4 + 20, 3), np.uint8)
    noise = cv2.resize(noise, None, fx=4, fy=4, interpolation=cv2.INTER_CUBIC)
    with SegmentWriter(path, format_for(path).opaque(), (wide, high), Fraction(25), Fraction(1, 25)) as writer:
        for at in range(frames):
            writer.write(noise[2 * at : 2 * at + high, 4 * at : 4 * at + wide], at)
    return path.read_bytes()


@pytest.mark.parametrize("suffix", [".mp4", ".webm", ".mov"])
def test_the_bytes_of_a_video_do_not_depend_on_the_number_of_threads(suffix, tmp_path, monkeypatch):
    one = written(tmp_path / f"1{suffix}", "1", monkeypatch)
    for threads in ("2", "4", ""):
        assert written(tmp_path / f"n{threads}{suffix}", threads, monkeypatch) == one
    if suffix == ".mp4":  # x264 writes its settings into the stream; by default it takes half as many again as cores
        assert b" threads=1 " in one and b" lookahead_threads=1 " in one


def test_a_decoder_has_the_threads_it_was_given(tmp_path, monkeypatch):
    written(tmp_path / "a.mp4", "1", monkeypatch)
    for said, count in (("1", 1), ("3", 3)):
        monkeypatch.setenv("IDSEG_THREADS", said)
        with VideoReader(tmp_path / "a.mp4") as reader:
            assert reader._stream.codec_context.thread_count == count
            assert len(list(reader)) == 12


def test_one_thread_makes_items_as_they_are_asked_for_and_closes_what_makes_them(monkeypatch):
    monkeypatch.setenv("IDSEG_THREADS", "1")
    seen, closed = [], []

    def items():
        try:
            for n in range(5):
                seen.append(threading.current_thread())
                yield n
        finally:
            closed.append(True)

    ahead = prefetched(items())
    assert next(ahead) == 0 and len(seen) == 1
    ahead.close()
    assert closed and set(seen) == {threading.current_thread()}
    assert list(prefetched(range(3))) == [0, 1, 2]

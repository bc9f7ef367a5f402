"""Workers for benchmarks/batch.py; processes that are spawned import them by name."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cv2

from identity_segmentation import IdentityAwareSegmentation, Settings
from identity_segmentation.batch.records import Records
from identity_segmentation.batch.units import Outcome, Unit
from identity_segmentation.video.files import VideoReader
from identity_segmentation.video.render import VideoReport
from identity_segmentation.video.writing import SegmentWriter, format_for


class Sleeps:
    """Is at work on every unit for so long, and uses no core: what remains is the executor's own time.

    Args:
        seconds: a unit.
    """

    def __init__(self, seconds: float):
        self.seconds = seconds

    def do(self, unit: Unit, beat: Any) -> Outcome:
        time.sleep(self.seconds)
        return Outcome("done", {"key": unit.key, "state": "done", "source": unit.source.address})


def _note(what: str, path: Any) -> None:
    """A line in ``$IDSEG_BENCH_LOG``."""
    handle = os.open(os.environ["IDSEG_BENCH_LOG"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    os.write(handle, f"{what} {Path(path).name}\n".encode())  # one write: lines of several processes do not mix
    os.close(handle)


_write_row = Records.write_row


def _noted(self: Records, key: str, row: Mapping[str, Any]) -> None:
    _write_row(self, key, row)
    _note("row", row["source"])


class Counts(IdentityAwareSegmentation):
    """The pipeline, which writes down when it begins with a video; and when a video gets its row."""

    def process_video(self, input_path: Any, output_path: Any, *given: Any, **asked: Any) -> Any:
        _note("begin", input_path)
        return super().process_video(input_path, output_path, *given, **asked)


class Recodes(Counts):
    """Decodes, blurs and encodes: a video's work without that of nets, so that what is left is the job's."""

    def process_video(self, input_path: Any, output_path: Any, *given: Any, **asked: Any) -> VideoReport:
        output = Path(output_path)
        _note("begin", input_path)
        frames = 0
        with VideoReader(input_path) as reader, contextlib.ExitStack() as stack:
            writer = None
            for frame in reader:
                if writer is None:
                    height, width = frame.image.shape[:2]
                    made = SegmentWriter(
                        output, format_for(output), (width, height), reader.info.fps, reader.info.time_base
                    )
                    writer = stack.enter_context(made)
                writer.write(cv2.GaussianBlur(frame.image, (0, 0), 5), round(frame.time_s / reader.info.time_base))
                frames += 1
        return VideoReport(frames, reader.seconds, {}, {}, [], {"video": str(output)})


def pipeline(settings: Settings) -> Counts:
    """The embedded engines, counted."""
    Records.write_row = _noted  # type: ignore[method-assign]  # in this process: a worker's, or the driver's
    return Counts("embedded", "embedded", settings=settings, edges="fast")


def recode(settings: Settings) -> Recodes:
    """No nets are used."""
    Records.write_row = _noted  # type: ignore[method-assign]
    return Recodes("embedded", "embedded", settings=settings, edges="fast")

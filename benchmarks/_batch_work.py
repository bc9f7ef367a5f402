"""Workers for benchmarks/batch.py; processes that are spawned import them by name."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

from identity_segmentation import IdentityAwareSegmentation, Settings
from identity_segmentation.batch.units import Outcome, Unit


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


class Counts(IdentityAwareSegmentation):
    """The pipeline, which writes down when it begins with a video and when it has one: a line each, in
    ``$IDSEG_BENCH_LOG``."""

    def process_video(self, input_path: Any, output_path: Any, *given: Any, **asked: Any) -> Any:
        self._note("begin", input_path)
        report = super().process_video(input_path, output_path, *given, **asked)
        self._note("end", input_path)
        return report

    @staticmethod
    def _note(what: str, path: Any) -> None:
        line = f"{what} {Path(path).name}\n".encode()
        handle = os.open(os.environ["IDSEG_BENCH_LOG"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        os.write(handle, line)  # one write, so that lines of several processes do not mix
        os.close(handle)


def counting(settings: Settings) -> Counts:
    """The embedded engines, counted."""
    return Counts("embedded", "embedded", settings=settings, edges="fast")

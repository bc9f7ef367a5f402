"""Workers that do no real work, for tests of who hands it out. They are imported by name in other processes."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from identity_segmentation import errors
from identity_segmentation.batch.units import Outcome, Unit


class Odd:
    """Does what the address of a source says: "ok", "broken", "raise", "full", "die" (the first time), "hang SECONDS",
    "meet" (wait until two processes are at work).

    Args:
        folder: where it writes down what it was asked: a line a unit, in a file a process.
    """

    def __init__(self, folder: str):
        self.folder = Path(folder)

    def do(self, unit: Unit, beat) -> Outcome:
        with (self.folder / f"{os.getpid()}.asked").open("a") as file:
            file.write(f"{unit.source.place} {unit.tries} {os.environ.get('IDSEG_THREADS')}\n")
        what, _, more = unit.source.address.partition(" ")
        beat(float(more or 0) / 1000)
        if what == "broken":
            return Outcome("failed", {"source": unit.source.address}, "it is no video")
        if what == "raise":
            raise RuntimeError("a decoder fell over")
        if what == "full":
            raise errors.OutputError("the disk is full")
        if what == "die" and unit.tries == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        if what == "meet":
            until = time.monotonic() + 120
            while len(list(self.folder.glob("*.asked"))) < 2:
                if time.monotonic() > until:
                    raise RuntimeError("nobody else is at work")
                time.sleep(0.05)
        if what == "hang" and unit.tries == 0:
            time.sleep(float(more))
        return Outcome("done", {"source": unit.source.address, "worker": os.getpid()})

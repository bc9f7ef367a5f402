"""Engines for the workers of a batch, to which a picture says what is to go wrong; the workers' processes import it."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from fakes import FakeFaces, FakeMasks

from identity_segmentation import IdentityAwareSegmentation, Settings
from identity_segmentation.batch.units import Outcome

MAKER = "batch_fakes:pipeline"
# The blue of the upper left pixel -> what happens to the worker.
CRASHES, HANGS, DIES, DIES_ONCE, SLOW = 1, 2, 3, 4, 5


class Treacherous(FakeFaces):
    """Sees the drawn people, and ends the worker over some pictures."""

    def faces(self, image_bgr, embed=True):
        what = int(image_bgr[0, 0, 0])
        if what == CRASHES:
            os.kill(os.getpid(), signal.SIGSEGV)
        elif what == HANGS:
            time.sleep(1000)
        elif what == DIES or (what == DIES_ONCE and _first_time()):
            os.kill(os.getpid(), signal.SIGKILL)
        elif what == SLOW:
            time.sleep(0.2)
        return super().faces(image_bgr, embed)


def _first_time() -> bool:
    mark = Path(os.environ["BATCH_FAKES_MARK"])
    if mark.exists():
        return False
    mark.touch()
    return True


def pipeline(settings: Settings) -> IdentityAwareSegmentation:
    return IdentityAwareSegmentation(Treacherous(), FakeMasks(), settings=settings)


def other_engines(settings: Settings) -> IdentityAwareSegmentation:
    masks = FakeMasks()
    masks.id = f"masks-of-{os.getpid()}"
    return IdentityAwareSegmentation(Treacherous(), masks, settings=settings)


class Nothing:
    """A worker that does nothing, so that what is left is the driver."""

    def __init__(self, seconds: float = 0.0):
        self.seconds = seconds

    def do(self, unit, beat):
        time.sleep(self.seconds)
        return Outcome("done", {"key": unit.key, "state": "done", "source": unit.source.address})


def nothing(seconds: float = 0.0) -> Nothing:
    return Nothing(seconds)

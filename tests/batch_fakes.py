"""Engines for the workers of a batch, to which a picture says what is to go wrong; the workers' processes import it."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from pathlib import Path

from fakes import FakeFaces, FakeMasks

from identity_segmentation import IdentityAwareSegmentation, Settings
from identity_segmentation.batch.units import Outcome

MAKER = "batch_fakes:pipeline"
# The blue of the upper left pixel -> what happens to the worker.
CRASHES, HANGS, DIES, DIES_ONCE, SLOW, DIES_IN_COMPANY = 1, 2, 3, 4, 5, 6


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
            mark = _folder() / f"slow.{os.getpid()}"
            mark.touch()
            time.sleep(0.2)
            mark.unlink()
        elif what == DIES_IN_COMPANY:  # as if there were not memory enough for it and for others
            tries = len(list(_folder().glob("large.*")))
            (_folder() / f"large.{os.getpid()}").touch()
            if tries < 2 or list(_folder().glob("slow.*")):
                os.kill(os.getpid(), signal.SIGKILL)
        return super().faces(image_bgr, embed)


def _first_time() -> bool:
    mark = Path(os.environ["BATCH_FAKES_MARK"])
    if mark.exists():
        return False
    mark.touch()
    return True


def _folder() -> Path:
    """Where processes leave word for each other."""
    folder = Path(f"{os.environ['BATCH_FAKES_MARK']}-of-workers")
    folder.mkdir(exist_ok=True)
    return folder


def dies_while_loading(settings: Settings) -> IdentityAwareSegmentation:
    """The first three processes end before they have their engines."""
    folder = _folder()
    if not (multiprocessing.parent_process() is None or len(list(folder.glob("*.dead"))) >= 3):
        (folder / f"{os.getpid()}.dead").touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return pipeline(settings)


def never_loads(settings: Settings) -> IdentityAwareSegmentation:
    """Engines that end every worker that loads them."""
    if multiprocessing.parent_process() is not None:
        os.kill(os.getpid(), signal.SIGKILL)
    return pipeline(settings)


class Counted(IdentityAwareSegmentation):
    """Writes down when it begins with a video and when it has one, a line each, in ``$BATCH_FAKES_LOG``."""

    def process_video(self, input_path, output_path, *given, **asked):
        self._note("begin", input_path)
        time.sleep(0.3)
        report = super().process_video(input_path, output_path, *given, **asked)
        self._note("end", input_path)
        return report

    @staticmethod
    def _note(what: str, path) -> None:
        handle = os.open(os.environ["BATCH_FAKES_LOG"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        os.write(handle, f"{what} {Path(path).name}\n".encode())  # one write: lines of two processes do not mix
        os.close(handle)


def counted(settings: Settings) -> Counted:
    return Counted(FakeFaces(), FakeMasks(), settings=settings)


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

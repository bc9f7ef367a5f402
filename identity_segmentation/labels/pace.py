"""Many pictures through one function, side by side: results in order, no more in memory than the workers need."""

from __future__ import annotations

import contextlib
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import cv2

Item = TypeVar("Item")
Result = TypeVar("Result")


def in_order(
    pool: ThreadPoolExecutor,
    work: Callable[[Item], Result],
    items: Iterable[Item],
    workers: int,
    cancel: threading.Event | None = None,
) -> Iterator[Result]:
    """Results in the order of the items, with no more at work or waiting than the workers need.

    Args:
        pool: does the work.
        work: what is done with each item.
        items: taken up one by one.
        workers: threads of the pool.
        cancel: set it to stop after the items at work.
    """
    waiting: deque[Future[Result]] = deque()
    try:
        for item in items:
            if cancel is not None and cancel.is_set():
                break
            waiting.append(pool.submit(work, item))
            if len(waiting) > 2 * workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        for future in waiting:
            future.cancel()


@contextlib.contextmanager
def pool_of(workers: int, parallel: bool) -> Iterator[ThreadPoolExecutor]:
    """Threads. Where pictures are worked on side by side each has one core: libraries that shared one picture between
    cores would only wait.

    Args:
        workers: how many.
        parallel: are pictures worked on side by side?
    """
    from threadpoolctl import threadpool_limits

    before = cv2.getNumThreads()
    try:
        if parallel:
            cv2.setNumThreads(1)
        # OpenMP's limit is each thread's own, so it is set in every worker; that of BLAS is the process's.
        limit = (lambda: threadpool_limits(1, "openmp")) if parallel else None
        alone = threadpool_limits(1, "blas") if parallel else contextlib.nullcontext()
        with alone, ThreadPoolExecutor(workers, "label", limit) as pool:
            yield pool
    finally:
        cv2.setNumThreads(before)

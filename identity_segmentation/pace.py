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


class _OneCoreEach:
    """While any pool works on pictures side by side, OpenCV and BLAS take one core for each: their limits are the
    process's, so the first pool sets them, and the last one to end puts them back."""

    def __init__(self) -> None:
        self._lock, self._pools = threading.Lock(), 0
        self._before, self._blas = 0, contextlib.ExitStack()

    def __enter__(self) -> None:
        from threadpoolctl import threadpool_limits

        with self._lock:
            self._pools += 1
            if self._pools == 1:
                self._before = cv2.getNumThreads()
                self._blas.enter_context(threadpool_limits(1, "blas"))
                cv2.setNumThreads(1)

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._pools -= 1
            if self._pools == 0:
                cv2.setNumThreads(self._before)
                self._blas.close()


_one_core_each = _OneCoreEach()


@contextlib.contextmanager
def pool_of(workers: int, parallel: bool) -> Iterator[ThreadPoolExecutor]:
    """Threads. Where pictures are worked on side by side each has one core: libraries that shared one picture between
    cores would only wait.

    Args:
        workers: how many.
        parallel: are pictures worked on side by side?
    """
    from threadpoolctl import threadpool_limits

    # OpenMP's limit is each thread's own, so it is set in every worker.
    limit = (lambda: threadpool_limits(1, "openmp")) if parallel else None
    alone = _one_core_each if parallel else contextlib.nullcontext()
    with alone, ThreadPoolExecutor(workers, "pictures", limit) as pool:
        yield pool

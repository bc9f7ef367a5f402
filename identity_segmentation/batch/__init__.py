"""A thousand photos or videos: one command on this machine, the same command on a cluster.

The package can be called: ``identity_segmentation.batch(["season/"], out="results", member=["Wonyoung"])`` is
`job.batch`.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any


class _Callable(ModuleType):
    """A function may not be called like a package; so the package is called in its place."""

    def __call__(self, *given: Any, **more: Any) -> Any:
        """See `job.batch`."""
        from .job import batch

        return batch(*given, **more)


sys.modules[__name__].__class__ = _Callable


def __getattr__(name: str) -> Any:
    if name == "batch":
        return sys.modules[__name__]
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

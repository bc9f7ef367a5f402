"""Gradio, imported without the files that it writes."""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Iterator
from typing import Any


@contextlib.contextmanager
def without_stubs() -> Iterator[None]:
    """Importing Gradio in here writes no type stubs.

    At every import Gradio parses the source of each of its components and rewrites a .pyi file beside it, which is 40 %
    of what importing it takes (``component_meta.create_or_modify_pyi``). It leaves out classes that have no file.
    """
    real = inspect.getfile

    def getfile(thing: Any) -> str:
        if isinstance(thing, type) and thing.__module__.startswith("gradio."):
            raise OSError("no stub is wanted")
        return real(thing)

    setattr(inspect, "getfile", getfile)  # noqa: B010 - a plain assignment is not let pass by mypy
    try:
        yield
    finally:
        inspect.getfile = real

"""Interlaced frames -> whole pictures, one for each. (Notebook section 7.)"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from fractions import Fraction
from typing import Any


def progressive(frames: Iterator[Any], time_base: Fraction) -> Generator[Any, None, None]:
    """The same frames at the same times; from the first that is marked interlaced on, those so marked deinterlaced.

    FFmpeg's bwdif does it, at the frame rate: fields make one picture, not two.

    Args:
        frames: of PyAV, in order.
        time_base: unit of their time stamps, in seconds.
    """
    import av

    graph = None
    for frame in frames:
        if graph is None:
            if not frame.interlaced_frame:
                yield frame
                continue
            graph = _graph(frame, time_base)
            form = (frame.width, frame.height, frame.format.name)
        if (frame.width, frame.height, frame.format.name) != form:  # the size changed in mid-stream
            frame = _in_form(frame, form)
        graph.push(frame)
        yield from _pulled(graph, time_base)
    if graph is not None:
        try:
            graph.push(None)
        except av.error.EOFError:
            return
        yield from _pulled(graph, time_base)


def _graph(frame: Any, time_base: Fraction) -> Any:
    import av

    graph = av.filter.Graph()
    source = graph.add_buffer(width=frame.width, height=frame.height, format=frame.format.name, time_base=time_base)
    bwdif = graph.add("bwdif", mode="send_frame", parity="auto", deint="interlaced")
    graph.link_nodes(source, bwdif, graph.add("buffersink")).configure()
    return graph


def _in_form(frame: Any, form: tuple[int, int, str]) -> Any:
    pts = frame.pts
    frame = frame.reformat(width=form[0], height=form[1], format=form[2])
    frame.pts = pts
    return frame


def _pulled(graph: Any, time_base: Fraction) -> Generator[Any, None, None]:
    import av

    while True:
        try:
            frame = graph.pull()
        except (av.error.BlockingIOError, av.error.EOFError):
            return
        if frame.pts is not None:  # the filter counts in half units
            frame.pts = round(frame.pts * frame.time_base / time_base)
            frame.time_base = time_base
        yield frame

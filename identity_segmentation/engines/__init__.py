"""The registry of engines: a name -> the function that makes the engine.

A named engine works or raises `EngineUnavailable` with the command that fixes it; it never falls back.
``auto`` takes the best that this machine can run, and says which and why.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from importlib import import_module

from ..errors import EngineUnavailable, InputError
from ..settings import Settings
from .protocols import BoxSegmenter, FaceEngine, PartSegmenter, TextSegmenter, VideoTracker

__all__ = [
    "BoxSegmenter",
    "FACE_ENGINES",
    "FaceEngine",
    "PartSegmenter",
    "SEGMENTERS",
    "TextSegmenter",
    "VideoTracker",
    "face_engine",
    "part_named",
    "segmenter",
]

logger = logging.getLogger(__name__)

# name -> "module:function"; the function takes Settings. The order is the order `auto` tries them in.
FACE_ENGINES = {
    "insightface": "insightface_faces:create",
    "embedded": "embedded_faces:create",
}
SEGMENTERS = {
    "sam3": "sam3_official:create",
    "sam3-hf": "sam3_hf:create",
    "embedded": "embedded_masks:create",
}


def face_engine(name: str = "auto", settings: Settings | None = None) -> FaceEngine:
    """Make a face engine by name.

    Raises:
        InputError: an unknown name.
        EngineUnavailable: the named engine cannot run here; for "auto", none can.
    """
    return _make("face engine", FACE_ENGINES, name, settings)


def segmenter(name: str = "auto", settings: Settings | None = None) -> BoxSegmenter:
    """Make a segmenter by name; raises as `face_engine`."""
    return _make("segmenter", SEGMENTERS, name, settings)


def part_named(thing: str) -> str:
    """The part that the embedded engine takes a word for; see `embedded_parts.part_named`."""
    return import_module(".embedded_parts", __name__).part_named(thing)


def _make(kind: str, registry: dict[str, str], name: str, settings: Settings | None):
    settings = settings or Settings.from_env()
    if name != "auto":
        if name not in registry:
            raise InputError(f"unknown {kind} {name!r}; expected auto, {', '.join(registry)}")
        return _factory(registry[name])(settings)
    reasons = []
    for candidate, target in registry.items():
        try:
            # An engine that is costly to have says first whether this machine is one for it.
            if (why := _readiness(target)(settings)) != "":
                reasons.append(f"{candidate}: {why}")
                continue
            engine = _factory(target)(settings)
        except EngineUnavailable as error:
            reasons.append(f"{candidate}: {error}")
            continue
        logger.info("%s: %s", kind, engine.describe())
        for reason in reasons:
            logger.info("  not %s", reason)
        return engine
    raise EngineUnavailable(f"no {kind} can run here.\n  " + "\n  ".join(reasons))


def _readiness(target: str) -> Callable[[Settings], str]:
    return getattr(import_module(f".{target.split(':')[0]}", __name__), "ready", lambda settings: "")


def _factory(target: str) -> Callable:
    module, function = target.split(":")
    return getattr(import_module(f".{module}", __name__), function)

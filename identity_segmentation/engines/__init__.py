"""The registry of engines: a name -> the function that makes the engine.

A named engine works or raises `EngineUnavailable` with the command that fixes it; it never falls back.
``auto`` takes the best that this machine can run, and says which and why.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from functools import cache
from importlib import import_module
from typing import Any, cast

from ..errors import EngineUnavailable, InputError
from ..settings import Settings
from .protocols import (
    BoxSegmenter,
    EdgeRefiner,
    EngineModule,
    FaceEngine,
    HeadFinder,
    ObjectDetector,
    PartSegmenter,
    TextSegmenter,
    VideoTracker,
)

__all__ = [
    "BoxSegmenter",
    "EdgeRefiner",
    "FACE_ENGINES",
    "FaceEngine",
    "HeadFinder",
    "OBJECT_DETECTORS",
    "ObjectDetector",
    "PartSegmenter",
    "SEGMENTERS",
    "TextSegmenter",
    "VideoTracker",
    "any_detector",
    "face_engine",
    "findings",
    "fine_edges",
    "head_finder",
    "head_finder_or_none",
    "known_nouns",
    "noun_named",
    "object_detector",
    "part_named",
    "segmenter",
]

logger = logging.getLogger(__name__)

_detectors: dict[str, ObjectDetector] = {}
_said: set[str] = set()  # why there is none

# name -> module here (`protocols.EngineModule`). The order is the order `auto` tries them in.
FACE_ENGINES = {
    "insightface": "insightface_faces",
    "embedded": "embedded_faces",
}
OBJECT_DETECTORS = {
    "embedded": "embedded_objects",
}
SEGMENTERS = {
    "sam3": "sam3_official",
    "sam3-hf": "sam3_hf",
    "embedded": "embedded_masks",
    "sam3.1": "sam31",
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


def object_detector(name: str = "auto", settings: Settings | None = None) -> ObjectDetector:
    """An object detector by name; raises as `face_engine`. One for the process: it keeps nothing between pictures."""
    if name not in _detectors:
        _detectors[name] = _make("object detector", OBJECT_DETECTORS, name, settings)
    return _detectors[name]


@cache
def fine_edges() -> EdgeRefiner:
    """What refines the edges of masks, one for the process; `EngineUnavailable` where its net is not here."""
    return import_module(".embedded_edges", __name__).FineEdges()


@cache
def head_finder() -> HeadFinder:
    """What finds heads on bodies, one for the process; `EngineUnavailable` where its net is not here."""
    return import_module(".embedded_heads", __name__).BodyHeads()


def head_finder_or_none() -> HeadFinder | None:
    """What finds heads on bodies, or None where its net is not here: heads are then reckoned from the bodies."""
    try:
        return head_finder()
    except EngineUnavailable:
        return None


def any_detector(settings: Settings | None = None) -> ObjectDetector | None:
    """The best object detector that can run here, or None; what is missing is said once."""
    try:
        return object_detector("auto", settings)
    except EngineUnavailable as error:
        if str(error) not in _said:
            logger.warning("people are found by their faces alone: %s", error)
            _said.add(str(error))
        return None


def noun_named(thing: str) -> str | None:
    """The detector's noun for a word, or None; see `embedded_objects.noun_named`."""
    return import_module(".embedded_objects", __name__).noun_named(thing)


def known_nouns() -> tuple[str, ...]:
    """The nouns that the embedded detector knows."""
    return import_module(".embedded_objects", __name__).NOUNS


def part_named(thing: str) -> str:
    """The part that the embedded engine takes a word for; see `embedded_parts.part_named`."""
    return import_module(".embedded_parts", __name__).part_named(thing)


def findings(settings: Settings) -> Iterator[tuple[str, str, str]]:
    """What of the engines works on this machine. Only what is on disk is loaded; nothing is downloaded.

    Yields:
        (what, "ok" | "missing" | "note", detail): "missing" = the main job cannot run without it; the detail has the
        command that fixes it.
    """
    from . import _sam3 as sam3
    from . import insightface_faces

    embedded: tuple[tuple[str, Callable[[], Any]], ...] = (
        ("embedded faces", lambda: face_engine("embedded", settings)),
        ("embedded masks", lambda: segmenter("embedded", settings)),
        ("embedded objects", lambda: object_detector("embedded", settings)),
        ("fine edges", fine_edges),
        ("heads on bodies", head_finder),
    )
    for label, make in embedded:
        try:
            yield label, "ok", make().describe()
        except EngineUnavailable as error:
            yield label, "missing", str(error)
    try:
        pack = insightface_faces.find_pack(settings.insightface_pack, settings.insightface_models)
        yield "insightface pack", "ok", str(pack)
    except EngineUnavailable as error:
        yield "insightface pack", "note", str(error)
    for name in ("sam3", "sam3-hf", "sam3.1"):
        why = _module(SEGMENTERS[name]).ready(settings)
        yield name, "note" if why else "ok", why or "ready; `auto` takes it"
    page = f"https://huggingface.co/{sam3.REPOSITORY}"
    found = [n for n in ("sam3.pt", "model.safetensors") if sam3.cached_file(sam3.REPOSITORY, n) is not None]
    if found:
        yield "sam3 weights", "ok", f"in the cache: {', '.join(found)}"
    elif sam3.has_token():
        yield "sam3 weights", "note", f"not fetched yet; a token is here; access is asked for on {page}"
    else:
        yield "sam3 weights", "note", f"gated: ask for access on {page}, then run: hf auth login"


def _make(kind: str, registry: dict[str, str], name: str, settings: Settings | None) -> Any:
    settings = settings or Settings.from_env()
    if name != "auto":
        if name not in registry:
            raise InputError(f"unknown {kind} {name!r}; expected auto, {', '.join(registry)}")
        return _module(registry[name]).create(settings)
    reasons = []
    for candidate, name_of_module in registry.items():
        try:
            # An engine that is costly to have says first whether this machine is one for it.
            module = _module(name_of_module)
            if (why := module.ready(settings)) != "":
                reasons.append(f"{candidate}: {why}")
                continue
            engine = module.create(settings)
        except EngineUnavailable as error:
            reasons.append(f"{candidate}: {error}")
            continue
        logger.info("%s: %s", kind, engine.describe())
        for reason in reasons:
            logger.info("  not %s", reason)
        return engine
    raise EngineUnavailable(f"no {kind} can run here.\n  " + "\n  ".join(reasons))


def _module(name: str) -> EngineModule:
    return cast(EngineModule, import_module(f".{name}", __name__))

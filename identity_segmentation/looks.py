"""Everything seen in one picture, and what is said and drawn of one person in it. (Notebook section 5.)"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from . import drawing
from .types import Match, MemberResult, Sighting, Status


@dataclass(frozen=True, eq=False)
class Look:
    """Everything seen in one picture: who is in it, and the masks of those asked for."""

    image: np.ndarray
    sightings: tuple[Sighting, ...]

    @property
    def matches(self) -> list[Match]:
        """What the gallery says of every face."""
        return [s.match for s in self.sightings if s.match is not None]

    def of(self, name: str) -> Sighting | None:
        """The sighting of a person by display name, or None."""
        return next((s for s in self.sightings if s.name == name), None)


def status_of(look: Look, name: str, engine: str) -> Status:
    """How the search for one person in a picture ended.

    Args:
        look: what was seen.
        name: the person's display name.
        engine: what looked.
    """
    matches = look.matches
    if not matches:
        return Status("no_face", f"no face was found in this picture, so {name} cannot be looked for", engine=engine)
    sighting = look.of(name)
    if sighting is None or sighting.match is None:
        nearest = [m for m in matches if m.nearest == name and m.name is None]
        others = [m.name for m in matches if m.name]
        message = f"{name} is not among the {len(matches)} faces of this picture"
        if len(matches) == 1:
            message = f"the one face in this picture is not {name}'s"
        if others:
            message += f"; found: {', '.join(others)}"
        if not nearest:
            return Status("not_found", message, engine=engine)
        best = max(nearest, key=lambda m: m.similarity)
        message += (
            f"; a face comes near (similarity {best.similarity:.2f}, margin {best.margin:.2f}), "
            "but the evidence is too thin to call it that"
        )
        return Status("not_found", message, best.similarity, best.margin, best.runner_up, engine)
    match = sighting.match
    evidence = (match.similarity, match.margin, match.runner_up, engine)
    if sighting.segment is None or not sighting.segment.area:
        return Status("unsure", f"{name} was recognised, but no body could be made out", *evidence)
    if match.basis == "group":
        message = (
            f"{name} by elimination: everyone in the gallery seems to be in this picture, and only all the faces "
            f"together say which is whose (similarity {match.similarity:.2f})"
        )
        return Status("unsure", message, *evidence)
    message = f"{name}, similarity {match.similarity:.2f}"
    if match.runner_up:
        message += f", {match.margin:+.2f} ahead of {match.runner_up}"
    twins = [m for m in matches if m.name is None and m.nearest == name and m.similarity >= match.similarity - 0.1]
    if twins:
        message += f"; {len(twins)} more face(s) look the same (a mirror?) and are left alone"
    return Status("ok", message, *evidence)


def render_member(
    look: Look, name: str, colour_of: Callable[[str], tuple[int, int, int]], status: Status
) -> MemberResult:
    """The pictures of one person, from what was seen.

    Args:
        look: what was seen.
        name: the person's display name.
        colour_of: a display name -> (b, g, r).
        status: how the search ended.
    """
    sighting = look.of(name)
    mine = [sighting] if sighting is not None else []
    segment = sighting.segment if sighting is not None else None
    mask = segment.mask if segment is not None else np.zeros(look.image.shape[:2], bool)
    return MemberResult(
        drawing.overlay(look.image, mine, colour_of),
        drawing.cutout(look.image, segment),
        drawing.annotate(look.image, mine or _unnamed(look), colour_of),
        mask,
        status,
    )


def _unnamed(look: Look) -> list[Sighting]:
    return [replace(s, segment=None) for s in look.sightings]

"""Which file for which program, and which program for a file. (Notebook section 7; docs/hand-off.md has the table.)"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from ..errors import InputError
from .render import RenderSettings


@dataclass(frozen=True)
class Program:
    """What a program wants.

    Attributes:
        title: what its makers call it.
        suffix: of a video, by the view; "" = a folder of EXR frames.
        to_do: what is to be done with the file there, by the view.
    """

    title: str
    suffix: Callable[[str], str]
    to_do: Callable[[str], str]


_LAY_OVER = "import it and lay it over the plate"


def _mov(view: str) -> str:
    return ".mov"


def _over(view: str) -> str:
    return {
        "cutout": f"{_LAY_OVER}; its alpha is straight (unmatted)",
        "matte": "lay it over the plate's track and use it as a track matte, luma",
    }.get(view, "import it in place of the plate")


PROGRAMS = {
    "premiere": Program("Premiere Pro", _mov, _over),
    "resolve": Program(
        "DaVinci Resolve",
        _mov,
        lambda view: (
            "set it as an external matte (luma) of the plate on the Color page" if view == "matte" else _over(view)
        ),
    ),
    "after-effects": Program(
        "After Effects",
        _mov,
        lambda view: (
            f"{_LAY_OVER}; in Interpret Footage the alpha is Straight - Unmatted" if view == "cutout" else _over(view)
        ),
    ),
    "web": Program(
        "web pages",
        lambda view: ".webm" if view == "cutout" else ".mp4",
        lambda view: (
            "put it into a <video> element; Chrome, Edge and Firefox show its transparency, Safari does not"
            if view == "cutout"
            else "put it into a <video> element"
        ),
    ),
    "nuke": Program(
        "Nuke, Fusion and other compositors",
        lambda view: "",
        lambda view: "read the frames as a sequence; a layer a person, and Cryptomatte, are in each",
    ),
    "capcut": Program(
        "CapCut and other simple editors",
        lambda view: ".mp4",
        lambda view: "overlay it and key its green out (Chroma key)" if view == "cutout" else "import it",
    ),
}


def fitted(program: str, output: Path, settings: RenderSettings) -> tuple[Path, RenderSettings]:
    """The output and the settings that a program wants.

    Args:
        program: one of `PROGRAMS`.
        output: as it was asked for; without a suffix it is given the right one.
        settings: how to render.

    Raises:
        InputError: there is no such program, or it wants another kind of file than the output is named as.
    """
    if program not in PROGRAMS:
        raise InputError(f"unknown program {program!r}; expected {', '.join(PROGRAMS)}")
    wants = PROGRAMS[program]
    suffix = wants.suffix(settings.view)
    if not suffix:
        if output.suffix:
            raise InputError(f"{wants.title}: expected a folder for EXR frames as output, got {output.name!r}")
        return output, replace(settings, frames="exr")
    if not output.suffix:
        return output.with_name(output.name + suffix), settings
    if output.suffix.lower() != suffix:
        raise InputError(f"{wants.title} takes the view {settings.view} as {suffix}; got an output {output.name!r}")
    return output, settings


def advice(program: str, view: str) -> str:
    """What to do with the file, in a sentence.

    Args:
        program: one of `PROGRAMS`.
        view: what was rendered.
    """
    return f"{PROGRAMS[program].title}: {PROGRAMS[program].to_do(view)}"

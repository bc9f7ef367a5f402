"""What the verbs share: the options of every command, and how they speak to a person and to a program."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import InputError
from ..files import shown_path
from ..settings import Settings

if TYPE_CHECKING:
    from ..pipeline import IdentityAwareSegmentation

# Exit statuses; see docs/command-line.md.
DONE, FAILED, WRONG_LINE, NOT_THERE, PASSED_OVER, INTERRUPTED = 0, 1, 2, 3, 4, 130

Run = Callable[[argparse.Namespace], int]


class _VerbParser(argparse.ArgumentParser):
    """A verb whose words may stand before, between and after its options: `rename OUT --track 7 NAME`.

    argparse by itself gives an optional word its default as soon as an option comes, and then refuses the word.
    """

    holds_verbs = False  # argparse cannot mix words and options where a word is a verb of its own
    _within = False

    def parse_known_args(self, args=None, namespace=None):
        # "--" says that only words follow, names that begin with "-" too; argparse forgets it where it mixes.
        if self.holds_verbs or self._within or "--" in (args or ()):
            return super().parse_known_args(args, namespace)
        self._within = True
        try:
            return self.parse_known_intermixed_args(args, namespace)
        finally:
            self._within = False


class Verbs:
    """A group of commands on a parser, each with the options that every command has.

    Args:
        parser: what the group is put on.
        common: a parser that holds the shared options.
    """

    def __init__(self, parser: argparse.ArgumentParser, common: argparse.ArgumentParser):
        self._parsers: Any = parser.add_subparsers(
            title="commands", required=True, metavar="COMMAND", parser_class=_VerbParser
        )
        self._common = common

    def add(self, name: str, run: Run, text: str) -> argparse.ArgumentParser:
        """A verb: its name, what it runs, and one line that says what it does.

        Args:
            name: how it is called.
            run: takes the parsed arguments and returns the exit status.
            text: one line for the help, without a capital or a full stop.
        """
        described = text[0].upper() + text[1:] + "."
        parser = self._parsers.add_parser(name, parents=[self._common], help=text, description=described)
        parser.set_defaults(run=run)
        return parser

    def group(self, name: str, text: str) -> Verbs:
        """Verbs below a verb, such as `people build`."""
        parser = self._parsers.add_parser(name, help=text)
        parser.holds_verbs = True
        return Verbs(parser, self._common)


def shared_options() -> argparse.ArgumentParser:
    """The options of every command; each is also an ``IDSEG_...`` variable (`Settings`)."""
    common = argparse.ArgumentParser(add_help=False)
    group = common.add_argument_group("shared by every command (each also an IDSEG_... variable)")
    group.add_argument("--gallery", metavar="DIR", help="folder of the people on file (default: gallery)")
    group.add_argument("--face-engine", metavar="NAME", help="auto, insightface or embedded (default: auto)")
    group.add_argument("--segmenter", metavar="NAME", help="auto, sam3, sam3-hf, embedded or sam3.1 (default: auto)")
    group.add_argument(
        "--threshold", type=float, metavar="X", help="least similarity for a name (default: the engine's)"
    )
    group.add_argument(
        "--margin", type=float, metavar="X", help="least lead over the runner-up; 0 turns the look-alike rule off"
    )
    group.add_argument(
        "--insightface-models", metavar="DIR", help="folder of InsightFace packs (default: insightface_models)"
    )
    group.add_argument(
        "--insightface-pack", metavar="NAME", help="pack name, or a folder of .onnx files (default: buffalo_l)"
    )
    group.add_argument("--sam3-model", metavar="NAME", help="large, small, or a hub repository (default: large)")
    group.add_argument(
        "--checkpoint", dest="sam3_checkpoint", metavar="PATH", help="local SAM 3 weights: sam3.pt, or a folder"
    )
    group.add_argument("--device", metavar="NAME", help="for SAM 3: auto, cuda, mps or cpu (default: auto)")
    group.add_argument("--dtype", metavar="NAME", help="for SAM 3: auto, float32, bfloat16 or float16")
    group.add_argument("-v", "--verbose", action="store_true", help="say which engines were chosen, and why")
    return common


def settings_of(arguments: argparse.Namespace) -> Settings:
    """What the options shared by every command say."""
    names = (
        "gallery", "face_engine", "segmenter", "threshold", "margin", "insightface_models", "insightface_pack",
        "sam3_model", "sam3_checkpoint", "device", "dtype",
    )  # fmt: skip
    own = {name: getattr(arguments, name, None) for name in ("edges", "analyses")}  # of some verbs only
    return Settings.from_env(**{name: getattr(arguments, name) for name in names}, **own)


def pipeline_of(arguments: argparse.Namespace) -> IdentityAwareSegmentation:
    """The pipeline that the shared options ask for; engines are made when they are first needed."""
    from ..pipeline import IdentityAwareSegmentation

    settings = settings_of(arguments)
    return IdentityAwareSegmentation(settings.face_engine, settings.segmenter, settings=settings)


def numbers(text: str, count: int, what: str) -> list[float]:
    """Numbers with commas between them.

    Args:
        text: as it was typed.
        count: how many there must be.
        what: they are, for the error: "a point as X,Y".
    """
    try:
        values = [float(v) for v in text.split(",")]
        if len(values) != count:
            raise ValueError
    except ValueError:
        raise InputError(f"expected {what}, got {text!r}") from None
    return values


def say(text: str) -> None:
    """For the person, on stderr."""
    print(text, file=sys.stderr)


def print_json(value: Any) -> None:
    """For a program, on stdout."""
    print(json.dumps(value, ensure_ascii=False, indent=1))


def photos_in(sources: Sequence[str | os.PathLike]) -> list[Path]:
    """The pictures, and those in the folders, whose other files are named on stderr.

    Args:
        sources: pictures and folders.

    Raises:
        InputError: a folder without pictures.
    """
    from ..kinds import left_out, look_through

    photos = []
    for source in map(Path, sources):
        if not source.is_dir():
            photos.append(source)
            continue
        found, others = look_through(source)
        if others:
            say(f"{shown_path(source)}: {left_out(others)}")
        if not found:
            raise InputError(f"no pictures in {shown_path(source)}")
        photos += found
    return photos

"""The command `idseg`: every verb converts its arguments, calls the package, and prints.

JSON and tables go to stdout, everything else to stderr. Exit status: 0 done; 1 an error, said in one
sentence; 2 the command line was wrong; 3 the person asked for is not in the picture; 4 finished, but some files were
passed over; 130 interrupted.
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence

from .. import __version__
from ..errors import IdentitySegmentationError
from . import audit, batch, clips, label, people, pictures, privacy, setup, video
from .console import FAILED, INTERRUPTED, Verbs, shared_options

_EXAMPLES = """examples:
  idseg demo                                   see it work on faces that installed packages carry
  idseg people build Dataset                   learn everyone in Dataset/<person>/*.jpg
  idseg identify stage.jpg --json              who is in the picture
  idseg segment stage.jpg Wonyoung             her annotated picture, overlay, cutout and mask
  idseg segment photos/ --all --out outputs    everyone, in every picture; run it again to resume
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    parser = build_parser()
    arguments = parser.parse_args(batch.with_run(sys.argv[1:] if argv is None else argv))
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # names come in every script, consoles and pipes do not
            stream.reconfigure(encoding="utf-8", errors="backslashreplace")
    if getattr(arguments, "all", None) is not None and bool(arguments.name) == arguments.all:
        parser.error("expected a NAME, or --all for everyone in the gallery (one of the two)")
    logging.basicConfig(
        stream=sys.stderr, format="%(message)s", level=logging.INFO if arguments.verbose else logging.WARNING
    )
    try:
        return arguments.run(arguments)
    except IdentitySegmentationError as error:
        print(f"idseg: {error}", file=sys.stderr)
        return FAILED
    except KeyboardInterrupt:
        print("idseg: interrupted; nothing is left half-written, run the same command to go on", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        # The reader of our output went away (idseg ... | head); there is nobody left to tell.
        sys.stderr.close()
        return FAILED


def build_parser() -> argparse.ArgumentParser:
    """The whole command line."""
    parser = argparse.ArgumentParser(
        prog="idseg",
        description="Show it a few photos of each person once; then ask for anyone's pixels by name.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"idseg {__version__}")
    verbs = Verbs(parser, shared_options())
    for group in (people, pictures, privacy, video, audit, clips, label, batch, setup):
        group.add(verbs)
    return parser

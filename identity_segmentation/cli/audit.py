"""`idseg audit`: a second look at what was covered."""

from __future__ import annotations

import argparse
import contextlib
import sys
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from ..errors import InputError
from ..files import shown_path
from .console import DONE, PASSED_OVER, Verbs, print_json, say, settings_of

if TYPE_CHECKING:
    from ..audit import Audit


def add(verbs: Verbs) -> None:
    """Put the verbs on the parser."""
    _add_audit(verbs)


# ---- audit


def _add_audit(verbs: Verbs) -> None:
    verb = verbs.add("audit", _audit, "look at a covered output once more, with other detectors: is a head to be seen?")
    verb.add_argument("output", metavar="OUT", help="a video, or a folder of pictures, in which heads were covered")
    verb.add_argument("--source", metavar="VIDEO", help="what it was made from: both are compared")
    verb.add_argument("--every", type=int, default=1, metavar="N", help="look at every N-th frame (default: 1, all)")
    verb.add_argument("--json", action="store_true", help="the findings as JSON; see docs/json.md")
    verb.add_argument("--html", metavar="FILE", help="also a report to be filed, one page that stands by itself")
    verb.add_argument("--no-pictures", action="store_true", help="keep no pictures of what is bare")
    verb.add_argument(
        "--cover", type=int, nargs="+", default=[], metavar="N", help="finding N is to be covered by the next render"
    )
    verb.add_argument("--for", dest="seconds", type=float, metavar="S", help="for so long (default: as it was found)")
    verb.add_argument("--no-head", type=int, nargs="+", default=[], metavar="N", help="finding N is no head")


def _audit(arguments: argparse.Namespace) -> int:
    from ..audit import last_audit, look_again
    from ..audit_report import write_html

    if arguments.seconds is not None and not arguments.cover:
        raise InputError("expected --cover N with --for S")
    if arguments.cover or arguments.no_head:
        if arguments.source or arguments.every != 1:
            raise InputError("expected either --cover and --no-head, or a look with --source and --every; not both")
        _correct(arguments)
        if not (arguments.json or arguments.html):
            return DONE
        audit = last_audit(arguments.output)
    else:
        with _bar() as progress:
            audit = look_again(
                arguments.output, arguments.source, arguments.every, settings_of(arguments),
                not arguments.no_pictures, progress,
            )  # fmt: skip
    content = audit.as_dict()
    if arguments.no_pictures:
        content["findings"] = [{**row, "thumbnail": None} for row in content["findings"]]
    if arguments.html:
        say(f"report: {write_html(arguments.html, content, not arguments.no_pictures)}")
    if arguments.json:
        print_json(content)
    else:
        _print(audit, arguments.output)
    for name, reason in audit.facts["unreadable"].items():
        say(f"passed over {shown_path(name)}: {reason}")
    return PASSED_OVER if audit.findings or audit.facts["unreadable"] else DONE


def _correct(arguments: argparse.Namespace) -> None:
    from ..audit import correct, corrections_file

    for kind, numbers in (("cover", arguments.cover), ("no-head", arguments.no_head)):
        for number in numbers:
            said = correct(arguments.output, number, kind, arguments.seconds if kind == "cover" else None)
            where = said.file or f"{said.from_s:.2f} - {said.to_s:.2f} s"
            what = "is to be covered" if kind == "cover" else "is no head"
            say(f"finding {number} ({where}) {what}: {corrections_file(arguments.output)}")
    if arguments.cover:
        say("render the output again: it is covered then")


def _print(audit: Audit, output: str) -> None:
    from ..audit_report import in_words

    for f in audit.findings:
        where = f.file or f"{f.from_s:8.2f} - {f.to_s:.2f} s"
        box = ",".join(f"{v:.0f}" for v in f.box)
        print(f"{f.number:>4}  {where}  {f.frames} frame(s)  at {box}  score {f.score:.2f}  {f.by}")
    print(in_words(audit.facts, len(audit.findings)))
    for remark in audit.facts["remarks"]:
        say(remark)
    if audit.findings:
        say(f"to cover one: idseg audit {output} --cover N; where it is no head: --no-head N")


@contextlib.contextmanager
def _bar() -> Iterator[Callable[[str, int, int], None]]:
    """A progress bar on stderr, where somebody is there to see it."""
    from tqdm import tqdm

    with tqdm(unit="frame", file=sys.stderr, disable=None, leave=False) as bar:

        def progress(stage: str, done: int, total: int) -> None:
            bar.set_description(stage, refresh=False)
            bar.total, bar.n = total or None, done
            bar.refresh()

        yield progress

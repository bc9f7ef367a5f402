"""`idseg batch status`, `report` and `people`: what a job has come to, and who is where in all its videos."""

from __future__ import annotations

import argparse
import json
import sys

from ..errors import InputError
from .console import DONE, NOT_THERE, PASSED_OVER, Verbs, print_json, say


def add(verbs: Verbs) -> None:
    """Put the verbs on the group.

    Args:
        verbs: of `idseg batch`.
    """
    verb = verbs.add("status", _status, "how far a job is")
    verb.add_argument("out", metavar="DEST", help="the job's destination: a folder, or an address")
    verb.add_argument("--json", action="store_true", help="as JSON; see docs/json.md")
    verb = verbs.add("report", _report, "one page on a job, the worst first")
    verb.add_argument("out", metavar="DEST", help="the job's destination: a folder, or an address")
    verb.add_argument("--html", metavar="FILE", default="batch.html", help="the page (default: batch.html)")
    verb = verbs.add("people", _people, "who is where in all videos of a job; or all of one person as an edit list")
    verb.add_argument("out", metavar="DEST", help="the job's destination: a folder, or an address")
    verb.add_argument("--person", metavar="NAME", default="", help="this one alone, as on file")
    verb.add_argument("--edit-list", metavar="FILE", help="all of that person, cut together: .edl, .otio or .csv")
    verb.add_argument(
        "--handle", type=float, default=0.2, metavar="S", help="seconds more on either side (default: 0.2)"
    )
    verb.add_argument("--json", action="store_true", help="a JSON object a line")


def _status(arguments: argparse.Namespace) -> int:
    from ..batch.places import place
    from ..batch.records import Records
    from ..batch.report import summary_of

    found = summary_of(Records(place(arguments.out)), 0)
    if arguments.json:
        print_json(found.as_dict())
    else:
        print("\n".join(found.in_words()))
    return PASSED_OVER if found.states["failed"] else DONE


def _report(arguments: argparse.Namespace) -> int:
    from ..batch.places import place
    from ..batch.records import Records
    from ..batch.report import summary_of, write_html

    print(write_html(arguments.html, summary_of(Records(place(arguments.out)))))
    return DONE


def _people(arguments: argparse.Namespace) -> int:
    from ..batch.edit_list import takes_of, write_edit_list
    from ..batch.places import place
    from ..batch.records import Records
    from ..batch.report import where

    if arguments.edit_list and not arguments.person:
        raise InputError("expected --person NAME with --edit-list FILE")
    records = Records(place(arguments.out))
    if records.asked() is None:
        raise InputError(f"{records.place.address} holds no job; make one with: idseg batch SOURCES --out DEST")
    if arguments.edit_list:
        takes = takes_of(records.rows(), arguments.person, arguments.handle)
        made = write_edit_list(arguments.edit_list, takes, arguments.person)
        seconds = sum(take.to_s - take.from_s for take in takes)
        say(f"{arguments.person}: {len(takes)} takes of {len({t.video for t in takes})} videos, {seconds:.1f} s")
        print(made)
        return DONE
    found = False
    for row in where(records, arguments.person):
        found = True
        if arguments.json:
            sys.stdout.write(json.dumps(row, ensure_ascii=False) + "\n")
        else:
            print(f"{row['person']}  {row['from']:9.2f} - {row['to']:.2f} s  {row['similarity']:.2f}  {row['video']}")
    if not found:
        say(f"{arguments.person or 'nobody with a name'} is in none of these videos")
    return DONE if found else NOT_THERE

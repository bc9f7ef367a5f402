"""The records of a job -> what there is to say of it: totals, a page with the worst first, who is where in all videos.

Rows are read one by one, and only the worst are kept: the memory that this takes does not grow with their number. The
page stands by itself: nothing in it can run, and nothing is fetched. Names of people and files are escaped.
"""

from __future__ import annotations

import heapq
import os
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import Any

from .. import pages
from ..errors import InputError, OutputError
from .records import HOME, Records

WORST = 500  # rows on the page
_REASONS = 20
_PEOPLE = 1000
_SPANS = 5  # of a row, on the page
_MARK = '<meta name="generator" content="idseg batch report">'
_POLICY = "default-src 'none'; style-src 'unsafe-inline'"
_STYLE = (
    pages.STYLE
    + """\
body{max-width:75em}
.rows{border-top:1px solid #ccc}.rows th,.rows td{border-bottom:1px solid #ccc}
.failed{color:#a10000;font-weight:600}.n{text-align:right;white-space:nowrap}
"""
)


@dataclass
class Summary:
    """What a job has come to.

    Attributes:
        address: of the destination.
        do: what was asked, in a word.
        states: state -> sources.
        in_hand: claims: what somebody is at work on, or was when they were killed.
        seconds, frames: of the videos that are done.
        took: seconds of work in them, over all workers.
        tries: more tries than one a source, in all.
        review: spans that are worth a look.
        noted: sources that are done and of which something is to be said.
        people: person -> (seconds on screen, sources they are in).
        reasons: why sources were put aside -> how many.
        last: when the last one ended; empty if none has.
        worst: rows, the worst first, `WORST` at the most.
    """

    address: str
    do: str
    states: Counter[str] = field(default_factory=Counter)
    in_hand: int = 0
    seconds: float = 0.0
    frames: int = 0
    took: float = 0.0
    tries: int = 0
    review: int = 0
    noted: int = 0
    people: dict[str, tuple[float, int]] = field(default_factory=dict)
    reasons: Counter[str] = field(default_factory=Counter)
    last: str = ""
    worst: list[dict[str, Any]] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        """For JSON; without rows, which the ledger has."""
        return {
            "out": self.address, "do": self.do, "states": dict(self.states), "in_hand": self.in_hand,
            "seconds": round(self.seconds, 3), "frames": self.frames, "took": round(self.took, 3),
            "more_tries": self.tries, "review": self.review, "noted": self.noted, "last": self.last,
            "people": [{"person": who, "seconds": round(seconds, 3), "sources": count}
                       for who, (seconds, count) in self.most_seen()],
            "failed": [{"reason": why, "sources": count} for why, count in self.reasons.most_common()],
        }  # fmt: skip

    def most_seen(self) -> list[tuple[str, tuple[float, int]]]:
        """People, those who are seen longest first."""
        return sorted(self.people.items(), key=lambda row: (-row[1][0], -row[1][1], row[0]))

    def in_words(self) -> list[str]:
        """A few lines for a person."""
        done, failed = self.states["done"], self.states["failed"]
        lines = [f"{done:,} done, {failed:,} put aside, {self.in_hand:,} in hand: {self.address} ({self.do})"]
        if self.seconds:
            speed = f"; {self.seconds / self.took:.2f} s of video a second of work" if self.took else ""
            lines.append(f"{_duration(self.seconds)} of video, {self.frames:,} frames{speed}")
        lines += [f"{count:>7,} x {why}" for why, count in self.reasons.most_common(_SPANS)]
        lines += [f"{who}: {_duration(s)} in {count:,}" for who, (s, count) in self.most_seen()[:_SPANS]]
        if self.review:
            lines.append(f"{self.review:,} spans are worth a look; the page has the worst first: idseg batch report")
        return lines


def summary_of(records: Records, worst: int = WORST) -> Summary:
    """What a job has come to, from its records.

    Args:
        records: of the destination.
        worst: how many rows are kept.

    Raises:
        InputError: nothing was ever asked of this destination.
    """
    asked = records.asked()
    if asked is None:
        raise InputError(f"{records.place.address} holds no job; make one with: idseg batch SOURCES --out DEST")
    found = Summary(records.place.address, str(asked.get("do", "")))
    found.in_hand = sum(1 for _ in records.place.names(f"{HOME}/claims"))
    rows = _counted(records.rows(), found)
    found.worst = heapq.nlargest(worst, rows, key=_badness)
    for _ in rows:  # where none are kept, none were read
        pass
    return found


def _counted(rows: Iterable[dict[str, Any]], found: Summary) -> Iterator[dict[str, Any]]:
    for row in rows:
        found.states[row["state"]] += 1
        found.tries += max(0, int(row.get("tries") or 1) - 1)
        found.last = max(found.last, str(row.get("ended") or ""))
        if row["state"] == "done":
            found.seconds += float(row.get("seconds") or 0)
            found.frames += int(row.get("frames") or 0)
            found.took += float(row.get("took") or 0)
            found.review += len(row.get("review") or ())
            found.noted += bool(row.get("reason"))
            for who, seconds in _people_of(row).items():
                before = found.people.get(who, (0.0, 0))
                found.people[who] = (before[0] + seconds, before[1] + 1)
        elif len(found.reasons) < WORST or row.get("reason") in found.reasons:
            found.reasons[str(row.get("reason") or "no reason given")] += 1
        yield {name: value for name, value in row.items() if name != "where"}


def _people_of(row: dict[str, Any]) -> dict[str, float]:
    """Who is seen in a source at all, and for how long."""
    there = {str(span[0]): 0.0 for span in row.get("where") or ()}
    shown = {str(who): float(seconds) for who, seconds in (row.get("on_screen") or {}).items() if seconds > 0}
    return there | shown


def _badness(row: dict[str, Any]) -> tuple[float, ...]:
    """What is put aside comes first; then what something is said of, what needs most looks a minute, most tries."""
    review, minutes = len(row.get("review") or ()), max(float(row.get("seconds") or 0), 1.0) / 60
    return (
        row["state"] != "done", bool(row.get("reason")), review / minutes, float(row.get("tries") or 1),
        float(row.get("took") or 0) / minutes,
    )  # fmt: skip


# ---- who is where


def where(records: Records, person: str = "") -> Iterator[dict[str, Any]]:
    """Who is where in all videos, source by source: person, video, from, to, similarity.

    Args:
        records: of the destination.
        person: this one alone; empty = everybody.
    """
    for row in records.rows():
        for who, begin, end, similarity in row.get("where") or ():
            if person in ("", who):
                yield {"person": who, "video": row["source"], "from": begin, "to": end, "similarity": similarity}


# ---- the page


def as_html(found: Summary) -> str:
    """The page.

    Args:
        found: `summary_of` a job.
    """
    name, done = escape(found.address), found.states["done"]
    facts = [
        ("Asked", found.do), ("Done", f"{done:,}"), ("Put aside", f"{found.states['failed']:,}"),
        ("In hand", f"{found.in_hand:,}"), ("Length of what is done", _duration(found.seconds)),
        ("Frames", f"{found.frames:,}"), ("Work in it, all workers together", _duration(found.took)),
        ("Tries beyond the first", f"{found.tries:,}"), ("Spans worth a look", f"{found.review:,}"),
        ("Done, with a remark", f"{found.noted:,}"), ("Last one ended", found.last or "-"),
    ]  # fmt: skip
    people = found.most_seen()
    parts = [
        f'<!doctype html><html lang="en"><head><meta charset="utf-8">{_MARK}',
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">',
        '<meta name="viewport" content="width=device-width">',
        f"<title>Batch {name}</title><style>{_STYLE}</style></head><body><h1>{name}</h1>",
        _table((), facts),
        "<h2>Why sources were put aside</h2>",
        _table(("Sources", "Reason"), [(f"{n:,}", why) for why, n in found.reasons.most_common(_REASONS)])
        if found.reasons
        else "<p>None was.</p>",
        f"<h2>Who is seen</h2>{_few(len(people), _PEOPLE, 'those seen longest')}",
        _table(("Person", "On screen", "Sources"),
               [(who, _duration(s), f"{n:,}") for who, (s, n) in people[:_PEOPLE]]) if people else "<p>Nobody.</p>",
        f"<h2>The worst first</h2>{_few(sum(found.states.values()), len(found.worst), 'the worst')}",
        _worst(found.worst),
        f"<p>Every source has a row in {escape(HOME)}/ledger.jsonl.</p></body></html>\n",
    ]  # fmt: skip
    return "\n".join(part for part in parts if part)


def _few(count: int, shown: int, what: str) -> str:
    return f"<p>{shown:,} of {count:,}: {what}.</p>" if count > shown else ""


def _table(head: Iterable[str], rows: Iterable[tuple[str, ...]]) -> str:
    top = "".join(f"<th>{escape(text)}</th>" for text in head)
    lines = "".join(
        f"<tr><th>{escape(first)}</th>{''.join(f'<td>{escape(str(cell))}</td>' for cell in more)}</tr>"
        for first, *more in rows
    )
    return f"<table>{f'<tr>{top}</tr>' if top else ''}{lines}</table>"


def _worst(rows: Iterable[dict[str, Any]]) -> str:
    lines = []
    for row in rows:
        state, review = str(row["state"]), list(row.get("review") or ())
        looks = "<br>".join(
            escape(
                f"{float(s.get('from', 0)):.1f}-{float(s.get('to', 0)):.1f} s {s.get('name') or ''} {s.get('why', '')}"
            )
            for s in review[:_SPANS]
        )
        more = f"<br>and {len(review) - _SPANS} more" if len(review) > _SPANS else ""
        mark = ' class="failed"' if state != "done" else ""
        lines.append(
            f"<tr><td{mark}>{escape(state)}</td><td>{escape(str(row['source']))}</td>"
            f"<td>{escape(str(row.get('reason') or ''))}</td><td>{looks}{more}</td>"
            f'<td class="n">{_duration(float(row.get("seconds") or 0))}</td>'
            f'<td class="n">{float(row.get("took") or 0):.1f}</td><td class="n">{int(row.get("tries") or 1)}</td>'
            f"<td>{escape(str(row.get('output') or ''))}</td></tr>"
        )
    head = "".join(
        f"<th>{text}</th>"
        for text in ("State", "Source", "What is said", "Worth a look", "Length", "Work, s", "Tries", "Output")
    )
    return f'<table class="rows"><tr>{head}</tr>{"".join(lines)}</table>'


def write_html(path: str | os.PathLike, found: Summary) -> Path:
    """Write the page, whole or not at all; over an earlier page of ours, and over nothing else.

    Args:
        path: the file.
        found: `summary_of` a job.

    Raises:
        OutputError: a file is there that is no such page, or the folder cannot be written to.
    """
    if pages.is_another(path, _MARK):
        raise OutputError(f"{path} is there and was not made by idseg batch report; choose another file")
    return pages.write(path, as_html(found))


def _duration(seconds: float) -> str:
    """Seconds as people read them: "3 h 05 min", "4 min 10 s", "7.5 s"."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60:,} h {minutes % 60:02d} min"

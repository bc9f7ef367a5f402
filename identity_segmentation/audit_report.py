"""An audit -> one HTML page that stands by itself, to be filed: what was looked at, with what, and what was found.

It says no more than was checked. Every text that comes from outside - names of people and files - is escaped.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from html import escape
from pathlib import Path
from typing import Any

from . import pages
from .errors import OutputError

_MARK = '<meta name="generator" content="idseg audit">'
_STYLE = (
    pages.STYLE
    + """\
body{max-width:62em}
.found{border-top:1px solid #ccc}.found th,.found td{border-bottom:1px solid #ccc}
.said{border-left:4px solid #b26a00;background:#fff6e6;padding:.6em 1em}
img{max-width:160px;display:block}
"""
)
# A page of pictures and text alone: nothing in it can run, and nothing is fetched.
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"


def in_words(facts: dict[str, Any], findings: int) -> str:
    """What the audit says, in a sentence or two that claim no more than was checked.

    Args:
        facts: `Audit.facts`, or the same from JSON.
        findings: how many there are.
    """
    looked = f"{facts['frames']} of {facts['frames_in_all']} pictures were looked at"
    if not facts["frames"]:
        return f"{looked}: nothing was checked."
    if findings:
        bare = facts["bare_frames"]
        return f"{looked}. {findings} finding(s): places where a head seems to be seen, in {bare} picture(s)."
    return f"{looked}. No finding. That is not to say that nobody is to be seen: {_missed(facts)}"


def _missed(facts: dict[str, Any]) -> str:
    measured = facts.get("miss_rate")
    if not measured:
        return "how many heads an audit with these detectors misses was not measured."
    share = 100 * measured["missed"] / measured["holes"]
    # With none missed of n, up to 3/n may be (Hanley and Lippman-Hand, JAMA 249, 1983); else the usual 95 % bound.
    p = measured["missed"] / measured["holes"]
    most = 3 / measured["holes"] if not measured["missed"] else p + 1.96 * (p * (1 - p) / measured["holes"]) ** 0.5
    return (
        f"of {measured['holes']} heads laid bare on purpose, for 1 to 10 frames, an audit like this one missed "
        f"{measured['missed']} ({share:.1f} %; with 95 % confidence at most {100 * most:.1f} %), on "
        f"{measured['clips']} ({measured['measured_by']}, {measured['on']}). Other footage may be harder."
    )


def as_html(audit: dict[str, Any], pictures: bool = True) -> str:
    """The page.

    Args:
        audit: `Audit.as_dict()`, or the same from JSON.
        pictures: show thumbnails of what is bare.
    """
    findings = audit["findings"]
    shown = pictures and any(finding["thumbnail"] for finding in findings)
    name = escape(str(audit["output"]))
    warning = (
        '<p class="said">This page holds pictures of what is <strong>not</strong> covered. Keep it as you keep the '
        "source, or make one without them: <code>--no-pictures</code>.</p>"
        if shown
        else ""
    )
    parts = [
        f'<!doctype html><html lang="en"><head><meta charset="utf-8">{_MARK}',
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">',
        '<meta name="viewport" content="width=device-width">',
        f"<title>Audit of {name}</title><style>{_STYLE}</style></head><body>",
        f"<h1>Audit of {name}</h1>{warning}",
        f"<p>{escape(in_words(audit, len(findings)))}</p>",
        f"<h2>What was looked at</h2>{_table(_facts(audit))}",
        f"<h2>By what</h2>{_table(_looks(audit))}",
        f"<h2>Findings</h2>{_findings(findings, shown)}",
        "<h2>What this is worth</h2>",
        f"<p>A picture without a finding is one in which these detectors saw no head; {escape(_missed(audit))}</p>",
        *(f"<p>{escape(str(remark))}</p>" for remark in audit["remarks"]),
        "</body></html>\n",
    ]
    return "\n".join(part for part in parts if part)


def _facts(audit: dict[str, Any]) -> list[tuple[str, Any]]:
    source, unreadable = audit["source"], audit["unreadable"]
    rows = [
        ("File", audit["output"]), ("SHA-256", audit["sha256"]), ("When (UTC)", audit["when"]),
        ("Pictures looked at", f"{audit['frames']} of {audit['frames_in_all']} (every {audit['every']})"),
        ("Length", f"{audit['seconds']:.2f} s" if audit["seconds"] else None),
        ("View, and how heads are covered", ", ".join(v for v in (audit["view"], audit["way"]) if v) or "not known"),
        ("Heads covered, by the record", f"{audit['heads_covered']}, of {audit['tracks_covered']} that were followed"
            if audit["record"] else "not known: there is no record beside the file, so every head seen is a finding"),
        ("Heads found by", audit["finder"] or "not known"),
        ("Meant to be seen", ", ".join(map(str, audit["kept"])) or "nobody"),
        ("Compared with the source", f"{source['name']}, SHA-256 {source['sha256']}" if source else "no"),
        ("Findings", len(audit["findings"])), ("Pictures with a finding", audit["bare_frames"]),
        ("Findings of earlier audits that a person called no head", f"{audit['dismissed']} picture(s)"),
        ("Seen by one detector alone in passing, not reported", audit["passing"]),
        ("Could not be read", "; ".join(f"{k}: {v}" for k, v in unreadable.items()) or None),
        ("Program", f"idseg {audit['version']}"),
    ]  # fmt: skip
    return [(label, value) for label, value in rows if value is not None]


def _looks(audit: dict[str, Any]) -> list[tuple[str, Any]]:
    rows = [
        (look["family"], f"{look['detector']}; scores from {look['least']}, alone believed from {look['sure']}")
        for look in audit["detectors"]
    ]
    bounds = audit["thresholds"]
    return [
        *rows,
        ("Bare is", f"fine detail of {bounds['bare']} grey levels and more ({bounds['bare_face']} where a face is "
            f"seen), or a correlation with the source of {bounds['unchanged']} and more; a weak sighting is believed "
            f"over {bounds['steady_frames']} frames"),
    ]  # fmt: skip


def _table(rows: Iterable[tuple[str, Any]]) -> str:
    cells = "".join(f"<tr><th>{escape(label)}</th><td>{escape(str(value))}</td></tr>" for label, value in rows)
    return f"<table>{cells}</table>"


def _findings(findings: list[dict[str, Any]], shown: bool) -> str:
    if not findings:
        return "<p>None.</p>"
    head = "".join(f"<th>{text}</th>" for text in ("No.", "Where", "Frames", "Box", "Score", "Seen by", "Picture"))
    rows = []
    for found in findings:
        where = found["file"] or f"{found['from']:.2f} - {found['to']:.2f} s"
        cells = [
            str(found["number"]), where, str(found["frames"]), ", ".join(f"{v:.0f}" for v in found["box"]),
            f"{found['score']:.2f}", found["by"],
        ]  # fmt: skip
        thumbnail = found["thumbnail"] or ""
        picture = (
            f'<img alt="" src="{escape(thumbnail)}">' if shown and thumbnail.startswith("data:image/jpeg;") else ""
        )
        rows.append(f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in cells)}<td>{picture}</td></tr>")
    return f'<table class="found"><tr>{head}</tr>{"".join(rows)}</table>'


def write_html(path: str | os.PathLike, audit: dict[str, Any], pictures: bool = True) -> Path:
    """Write the page, whole or not at all; over an earlier page of ours, and over nothing else.

    Args:
        path: the file.
        audit: as `as_html` takes it.
        pictures: show thumbnails of what is bare.

    Raises:
        OutputError: a file is there that is no such page, or the folder cannot be written to.
    """
    if pages.is_another(path, _MARK):
        raise OutputError(f"{path} is there and was not made by idseg audit; choose another --html FILE")
    return pages.write(path, as_html(audit, pictures))

"""`idseg batch`: one thing done with a thousand photos or videos, on this machine or on a cluster."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from ..errors import InputError
from . import batch_reports
from .console import DONE, FAILED, PASSED_OVER, Verbs, print_json, say, settings_of

_VERBS = ("run", "status", "report", "people")
# Options of what is done that have a name of their own here; all others go by --set.
_NAMED = ("member", "everyone_but", "keep", "phrase", "prompt", "view", "way", "suffix", "sampling", "edges", "job")
_OWN = ("workers", "threads", "scratch", "span", "least", "factor", "gallery")


def add(verbs: Verbs) -> None:
    """Put `idseg batch` and its verbs on the parser."""
    group = verbs.group("batch", "one thing done with a thousand photos or videos, here or on a cluster")
    verb = group.add(
        "run", _run, "do one thing with many sources; the same command again goes on (`run` may be left out)"
    )
    verb.add_argument("sources", nargs="*", metavar="SOURCE", help="files, folders, patterns, lists, s3:// addresses")
    verb.add_argument("--config", metavar="FILE", help="a job's file (TOML); what is given here goes before it")
    verb.add_argument("--do", metavar="WHAT", help="video, segment, clips, label or blur (default: video)")
    verb.add_argument("--out", metavar="DEST", help="a folder, or an address of a store (default: batch)")
    verb.add_argument("--executor", metavar="NAME", help="serial, local or ray (default: local)")
    verb.add_argument("--workers", type=int, metavar="N", help="(default: by cores and free memory)")
    verb.add_argument("--threads", type=int, metavar="N", help="of each worker (default: cores / workers)")
    verb.add_argument("--gpus-per-worker", type=float, metavar="X", help="of ray: 0.25 = four workers share a GPU")
    verb.add_argument(
        "--scratch", metavar="DIR", help="for unfinished work, on each machine (default: temporary files)"
    )
    verb.add_argument("--span", type=float, metavar="SECONDS", help="share longer videos out; 0 = never (default: 600)")
    verb.add_argument("--least", type=float, metavar="SECONDS", help="that any source may take (default: 120)")
    verb.add_argument("--factor", type=float, metavar="X", help="seconds more for each of the source (default: 30)")
    verb.add_argument("--new-question", action="store_true", help="ask something else of DEST, beside what is there")
    verb.add_argument("--retry-failed", action="store_true", help="try again what was put aside")
    for name in ("member", "everyone-but", "keep"):
        verb.add_argument(f"--{name}", nargs="+", metavar="NAME", help="as of what is done")
    for name in ("phrase", "prompt", "view", "way", "suffix", "edges"):
        verb.add_argument(f"--{name}", metavar="X", help="as of what is done")
    verb.add_argument("--sampling", type=int, metavar="N", help="as of what is done")
    verb.add_argument("--job", metavar="DIR", help="of label: the folder of the marks")
    verb.add_argument(
        "--set", action="append", default=[], metavar="NAME=VALUE", help="any other option of it: masks=true"
    )
    verb.add_argument("--json", action="store_true", help="the report as JSON; see docs/json.md")
    batch_reports.add(group)


def with_run(arguments: Sequence[str]) -> list[str]:
    """The command line with `batch run` where somebody wrote `batch SOURCE...`.

    Args:
        arguments: as they were typed, without the program's name.
    """
    words = list(arguments)
    if words[:1] == ["batch"] and len(words) > 1 and words[1] not in (*_VERBS, "-h", "--help"):
        words.insert(1, "run")
    return words


def _options(arguments: argparse.Namespace) -> dict[str, Any]:
    """The options of what is done."""
    given = {name: getattr(arguments, name) for name in _NAMED}
    for text in arguments.set:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise InputError(f"expected --set NAME=VALUE, got {text!r}")
        try:
            given[name.replace("-", "_")] = json.loads(value)
        except ValueError:
            given[name.replace("-", "_")] = value
    return {name: value for name, value in given.items() if value is not None}


def _run(arguments: argparse.Namespace) -> int:
    from tqdm import tqdm

    from ..batch.job import batch
    from ..batch.question import read_job

    job = read_job(arguments.config) if arguments.config else {}
    sources = arguments.sources or job.get("sources", [])
    how = {name: getattr(arguments, name) for name in (*_OWN, "do", "out", "executor")}
    how = {name: job.get(name) if value is None else value for name, value in how.items()}
    gpus = job.get("gpus_per_worker") if arguments.gpus_per_worker is None else arguments.gpus_per_worker
    options = dict(job.get("options", {})) | _options(arguments)
    bars: list[tqdm] = []

    def told(row: dict[str, Any], done: int, total: int) -> None:
        if not bars:  # begun where this run begins, so that the time left is of its own pace
            bars.append(tqdm(total=total, initial=done - 1, unit="source", file=sys.stderr, disable=None))
        bars[0].update(done - bars[0].n)
        if row.get("state") == "failed":
            tqdm.write(f"put aside {row['source']}: {row['reason']}", file=sys.stderr)

    try:
        report = batch(
            sources, settings=settings_of(arguments), told=told, new_question=arguments.new_question,
            retry_failed=arguments.retry_failed,
            executor_options=None if gpus is None else {"gpus_per_worker": gpus},
            **{name: value for name, value in how.items() if value is not None}, **options,
        )  # fmt: skip
    finally:
        for bar in bars:
            bar.close()
    if arguments.json:
        print_json(asdict(report))
    else:
        elsewhere = f", {report.elsewhere} in another run's hands" if report.elsewhere else ""
        doubles = f"; {report.doubles} named twice" if report.doubles else ""
        print(
            f"{report.sources} sources: {report.done} done, {report.kept} were done before, {report.failed} put aside"
            f"{elsewhere}{doubles}; {report.seconds:.0f} s"
        )
    from ..batch.tables import has_parquet

    tables = "ledger.jsonl, ledger.parquet" if has_parquet() else "ledger.jsonl (Parquet needs pyarrow)"
    say(f"results in {report.out}; .batch/ there holds {tables}, people and failed.jsonl")
    if report.failed and not report.done and not report.kept:
        return FAILED
    return PASSED_OVER if report.failed or report.rows.get("failed") else DONE

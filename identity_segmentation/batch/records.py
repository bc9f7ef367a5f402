"""What is known of a job, in its destination: who has what in hand, what is done, what was put aside and why.

Below ``.batch/``: ``question.json``; ``claims/KEY``, who is at work on a key; ``places/``, which source an output is
of; ``rows/ab/KEY.json``, written last of all by whoever did it: the truth that a key is done or put aside. From these
come ``ledger.jsonl`` and, where pyarrow is installed, ``ledger.parquet``; ``people.jsonl`` and ``people.parquet`` (who
is where); and ``failed.jsonl``. Nothing biometric is in any of it.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import socket
import tempfile
import time
import uuid
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..files import as_json
from ..parts import has_ended, this_process
from .places import Place
from .tables import LEDGER, PEOPLE, Table

HOME = ".batch"
LEASE = 600.0  # seconds after which a claim that was not renewed is anybody's
_SHORT = 200  # characters of what was asked, in an error
_SETTLED = 0.2  # seconds until two who take over one stale claim see the same


class Records:
    """The records of one destination.

    Args:
        place: the destination.
    """

    def __init__(self, place: Place):
        self.place = place
        self._me = {"host": socket.gethostname(), "process": this_process(), "driver": uuid.uuid4().hex}

    # ---- the question

    def asked(self) -> dict[str, Any] | None:
        """What was asked of this destination; None if nothing was."""
        content = self.place.read(f"{HOME}/question.json")
        return None if content is None else json.loads(content)

    def ask(self, question: Mapping[str, Any], digest: str, again: bool = False) -> str:
        """Say what is asked; the first to say it decides.

        Args:
            question: as JSON.
            digest: its hash.
            again: another question is on purpose: what was made for the old one stays, and it is done beside that.

        Returns:
            The folder of its outputs below the destination: "" for the first question.

        Raises:
            InputError: something else was asked here before.
        """
        content = json.dumps(question, ensure_ascii=False, sort_keys=True, indent=1).encode()
        if self.place.create(f"{HOME}/question.json", content):
            return ""
        before = self.asked() or {}
        if before == json.loads(content):
            return ""
        more = f"{HOME}/questions/{digest[:8]}.json"
        if not again and self.place.read(more) is None:
            raise InputError(
                f"{self.place.address} holds the results of another question ({_difference(before, question)}); choose "
                "another --out, or give --new-question to do everything anew beside it"
            )
        self.place.create(more, content)
        return f"question-{digest[:8]}/"

    # ---- rows

    @staticmethod
    def _row(key: str) -> str:
        return f"{HOME}/rows/{key[:2]}/{key}.json"

    def done(self) -> Iterator[str]:
        """Keys that have a row. Their names alone are read."""
        for name in self.place.names(f"{HOME}/rows"):
            yield name.rpartition("/")[2].removesuffix(".json")

    def has_row(self, key: str) -> bool:
        """Is a key on record?"""
        return self.place.exists(self._row(key))

    def row(self, key: str) -> dict[str, Any] | None:
        """What is on record of a key."""
        content = self.place.read(self._row(key))
        return None if content is None else json.loads(content)

    def write_row(self, key: str, row: Mapping[str, Any]) -> None:
        """Put a key on record. A row is written once all its files are in place."""
        self.place.write(self._row(key), as_json(row))

    def forget(self, key: str) -> None:
        """Take a key off the record, so that it is done again."""
        self.place.delete(self._row(key))

    def rows(self) -> Iterator[dict[str, Any]]:
        """All rows, by key."""
        for name in sorted(self.place.names(f"{HOME}/rows")):
            content = self.place.read(name)
            if content is not None:
                with contextlib.suppress(ValueError):
                    yield json.loads(content)

    # ---- claims

    def claim(self, key: str) -> bool:
        """Take a key in hand, if nobody else has it.

        A claim is free again if it was not renewed for ten minutes, or if its process, on this machine, has ended.
        """
        name = f"{HOME}/claims/{key}"
        if self.place.create(name, self._claim()):
            return True
        held = self.place.read(name)
        if held is None:
            return self.place.create(name, self._claim())
        if not self._is_stale(held):
            return self._holder(held) == self._me["driver"]
        self.place.write(name, self._claim())  # of two who do this at once, the second has it
        time.sleep(_SETTLED)
        return self._holder(self.place.read(name) or b"") == self._me["driver"]

    def _claim(self) -> bytes:
        return json.dumps(self._me | {"time": time.time()}).encode()

    @staticmethod
    def _holder(claim: bytes) -> str:
        try:
            return str(json.loads(claim)["driver"])
        except (ValueError, KeyError, TypeError):
            return ""

    def _is_stale(self, claim: bytes) -> bool:
        try:
            held = json.loads(claim)
            if held["driver"] == self._me["driver"]:
                return False
            return has_ended(str(held["process"])) or time.time() - float(held["time"]) > LEASE
        except (ValueError, KeyError, TypeError):
            return True

    def renew(self, key: str) -> None:
        """Say that a key is still in hand."""
        self.place.write(f"{HOME}/claims/{key}", self._claim())

    def claimed(self) -> Iterator[str]:
        """Keys that somebody has in hand, or had."""
        for name in self.place.names(f"{HOME}/claims"):
            yield name.rpartition("/")[2]

    def release(self, key: str) -> None:
        """Let go of a key."""
        self.place.delete(f"{HOME}/claims/{key}")

    # ---- whose an output is

    @staticmethod
    def _owner(place: str) -> str:
        digest = hashlib.sha256(place.casefold().encode()).hexdigest()[:32]
        return f"{HOME}/places/{digest[:2]}/{digest}.json"

    def own(self, place: str, key: str, source: str) -> list[str] | None:
        """Take a place for a source's outputs.

        Args:
            place: below the destination, without suffix.
            key: of the source.
            source: its address.

        Returns:
            The files that were put there for it before, or None if the place is another source's.
        """
        name = self._owner(place)
        mine = {"key": key, "source": source, "files": []}
        if self.place.create(name, as_json(mine)):
            return []
        with contextlib.suppress(ValueError, KeyError, TypeError):
            owner = json.loads(self.place.read(name) or b"{}")
            if owner["key"] == key or owner["source"] == source:
                return [str(file) for file in owner["files"]]
        return None

    def putting(self, place: str, key: str, source: str, files: Sequence[str]) -> None:
        """Write down which files are ours before they are put.

        Args:
            place: as it was taken.
            key: of the source.
            source: its address.
            files: names below the destination.
        """
        self.place.write(self._owner(place), as_json({"key": key, "source": source, "files": list(files)}))

    # ---- the ledger

    def write_ledger(self) -> Counter[str]:
        """Gather the rows into the ledger's files; returns how many rows there are of each state.

        Rows are read one by one: memory does not grow with their number.
        """
        counts: Counter[str] = Counter()
        with tempfile.TemporaryDirectory(prefix="idseg-ledger-") as folder:
            tables = {
                "ledger": Table(Path(folder) / "ledger", LEDGER),
                "people": Table(Path(folder) / "people", PEOPLE),
                "failed": Table(Path(folder) / "failed", None),
            }
            with contextlib.ExitStack() as stack:
                for table in tables.values():
                    stack.enter_context(contextlib.closing(table))
                for row in self.rows():
                    counts[row["state"]] += 1
                    for who, begin, end, similarity in row.pop("where", ()):
                        tables["people"].add(
                            {"person": who, "video": row["source"], "from": begin, "to": end, "similarity": similarity}
                        )
                    tables["ledger"].add(row)
                    if row["state"] == "failed":
                        tables["failed"].add({name: row.get(name) for name in ("source", "reason", "key", "tries")})
            for table in tables.values():
                for file in table.files:
                    self.place.put(file, f"{HOME}/{file.name}")
        return counts


def _difference(before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """What two questions differ in, as a phrase."""
    flat = [
        {key: value for key, value in asked.items() if key != "options"} | dict(asked.get("options") or {})
        for asked in (before, now)
    ]

    def shown(value: Any) -> str:
        return "nothing" if value is None else json.dumps(value, ensure_ascii=False)[:_SHORT]

    return "; ".join(
        f"{key}: {shown(flat[0].get(key))} before, {shown(flat[1].get(key))} now"
        for key in sorted({*flat[0], *flat[1]})
        if flat[0].get(key) != flat[1].get(key)
    )

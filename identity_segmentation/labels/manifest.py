"""The records of a labelling job: one JSON line per target, appended while it runs, written anew where one changes.

A killed run may leave a torn last line. It is passed over, and its target is done again. Names that a run set out to
write are noted beforehand, so that a later run knows files without a record for its own.
"""

from __future__ import annotations

import contextlib
import json
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

from ..errors import InputError, OutputError
from ..files import as_json, atomic_write, write_json

STATES = ("proposed", "accepted", "corrected", "rejected", "unreadable")


class Manifest:
    """The file ``manifest.jsonl`` of a job's folder; see the module.

    Args:
        folder: the job's; made when the first record is written.
    """

    def __init__(self, folder: Path):
        self.folder, self.path = folder, folder / "manifest.jsonl"
        self._guard = threading.RLock()

    def rows(self) -> Iterator[dict]:
        """The newest record of every target, in the order they were first labelled; streamed.

        Raises:
            InputError: the file is not a manifest of this tool.
        """
        try:
            file = self.path.open("rb")
        except FileNotFoundError:
            return
        with file:  # one handle: the manifest may be replaced meanwhile
            offsets: dict[str, int] = {}
            while line := file.readline():
                if not line.endswith(b"\n"):
                    break
                offsets[self._checked(line)["picture"]] = file.tell() - len(line)
            for offset in offsets.values():
                file.seek(offset)
                yield json.loads(file.readline())

    def _checked(self, line: bytes) -> dict:
        try:
            row = json.loads(line)
            if row["state"] not in STATES or not all(isinstance(row[k], str) for k in ("picture", "name", "question")):
                raise ValueError("state")
            if not isinstance(row["objects"], list) or not isinstance(row["stamp"], list):
                raise ValueError("objects")
            return row
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(
                f"{self.path}: not a manifest of this tool ({error!r}); choose another --out or move it away"
            ) from error

    @contextlib.contextmanager
    def appending(self) -> Iterator[Callable[[dict], None]]:
        """A function that adds a record; it is on disk when the call returns.

        Raises:
            OutputError: the file cannot be written; what is in it stays.
        """
        self.compact()  # a torn last line must not be written on
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with self.path.open("ab") as file:

                def append(row: dict) -> None:
                    file.write(_line(row))
                    file.flush()

                yield append
        except OutputError:
            raise
        except OSError as error:
            raise OutputError(f"{self.path}: cannot be written ({error.strerror or error})") from error

    def compact(self, change: Mapping[str, dict] | None = None) -> None:
        """Write the file anew, whole or not at all, one line per target.

        Args:
            change: name of a target -> its new record; None = only what is out of date is dropped.
        """
        with self._guard:
            if not self.path.exists():
                return
            with self.path.open("rb") as file:
                lines = sum(1 for _ in file)
            torn = self.path.stat().st_size and not self._ends_well()
            if not change and not torn and lines == sum(1 for _ in self.rows()):
                return
            with atomic_write(self.path) as file:
                for row in self.rows():
                    file.write(_line((change or {}).get(row["name"], row)))

    def _ends_well(self) -> bool:
        with self.path.open("rb") as file:
            file.seek(-1, os.SEEK_END)
            return file.read(1) == b"\n"

    # ---- what a run set out to write

    def begun(self) -> set[str]:
        """Names that a run set out to write which was killed: files of theirs may be there without a record."""
        try:
            return set(json.loads((self.folder / ".begun").read_bytes()))
        except (OSError, ValueError, TypeError):
            return set()

    def begin(self, names: Iterable[str]) -> None:
        """Note the names that a run sets out to write."""
        write_json(self.folder / ".begun", sorted({*self.begun(), *names}))

    def finish(self) -> None:
        """Forget the names that have a record by now."""
        left = self.begun() - {row["name"] for row in self.rows()}
        if left:
            write_json(self.folder / ".begun", sorted(left))
        else:
            (self.folder / ".begun").unlink(missing_ok=True)


def _line(row: Mapping) -> bytes:
    return as_json(row) + b"\n"

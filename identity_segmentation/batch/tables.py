"""Rows -> a table as JSON lines and, where pyarrow is installed, as Parquet; written as they come."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..files import as_json

_AT_ONCE = 2000  # rows of a Parquet row group

# Column -> kind; "json" has parts of its own, and is text in Parquet.
LEDGER = {
    "key": "string", "source": "string", "state": "string", "reason": "string", "seconds": "double", "frames": "int64",
    "fps": "string", "timecode": "string", "sound": "bool", "took": "double",
    "tries": "int64", "output": "string", "files": "json", "on_screen": "json", "review": "json",
    "versions": "json", "worker": "string", "question": "string", "ended": "string",
}  # fmt: skip
PEOPLE = {"person": "string", "video": "string", "from": "double", "to": "double", "similarity": "double"}


def has_parquet() -> bool:
    """Can Parquet be written here?"""
    from importlib.util import find_spec

    return find_spec("pyarrow") is not None


class Table:
    """A table that is being written; close it.

    Args:
        stem: the files' path, without a suffix.
        columns: of the Parquet file; None = JSON lines alone.
    """

    def __init__(self, stem: Path, columns: Mapping[str, str] | None):
        self.files = [stem.with_suffix(".jsonl")]
        self._lines = self.files[0].open("wb")
        self._columns, self._waiting = columns, list[dict[str, Any]]()
        self._writer: Any = None
        if columns is not None and has_parquet():
            import pyarrow as pa
            import pyarrow.parquet as pq

            kinds = {
                "string": pa.string(),
                "json": pa.string(),
                "double": pa.float64(),
                "int64": pa.int64(),
                "bool": pa.bool_(),
            }
            self._schema = pa.schema([(name, kinds[kind]) for name, kind in columns.items()])
            self.files.append(stem.with_suffix(".parquet"))
            self._writer = pq.ParquetWriter(self.files[1], self._schema, compression="zstd")

    def add(self, row: dict[str, Any]) -> None:
        """A row more."""
        self._lines.write(as_json(row) + b"\n")
        if self._writer is not None:
            self._waiting.append(row)
            if len(self._waiting) >= _AT_ONCE:
                self._flush()

    def _flush(self) -> None:
        import pyarrow as pa

        assert self._columns is not None
        columns = []
        for name, kind in self._columns.items():
            values = [row.get(name) for row in self._waiting]
            if kind == "json":
                values = [None if value is None else json.dumps(value, ensure_ascii=False) for value in values]
            elif kind == "string":  # a file name that is no UTF-8 has no place in Arrow's text
                values = [None if v is None else str(v).encode(errors="backslashreplace").decode() for v in values]
            columns.append(pa.array(values, self._schema.field(name).type))
        self._writer.write_table(pa.Table.from_arrays(columns, schema=self._schema))
        self._waiting.clear()

    def close(self) -> None:
        """Write what is left."""
        self._lines.close()
        if self._writer is not None:
            self._flush()
            self._writer.close()

"""Where the benchmarks' data is: --data DIR, or $IDSEG_DATA, or ../shared/data beside the repository."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def parser(description: str) -> argparse.ArgumentParser:
    result = argparse.ArgumentParser(description=description)
    default = os.environ.get("IDSEG_DATA") or ROOT.parent / "shared" / "data"
    result.add_argument("--data", type=Path, default=Path(default), help="folder of the test data")
    return result


def require(folder: Path) -> Path:
    if not folder.is_dir():
        sys.exit(f"{folder} is not there; this benchmark needs the test data (--data DIR)")
    return folder


def table(head: tuple[str, ...], rows: list[tuple]) -> str:
    """A Markdown table with aligned columns."""
    cells = [tuple(str(c) for c in row) for row in (head, *rows)]
    widths = [max(len(row[i]) for row in cells) for i in range(len(head))]
    lines = ["| " + " | ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)) + " |" for row in cells]
    lines.insert(1, "|" + "|".join("-" * (w + 2) for w in widths) + "|")
    return "\n".join(lines)

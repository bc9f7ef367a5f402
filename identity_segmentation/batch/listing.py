"""What a job works on: files, folders, patterns, lists, and addresses of a store. Nothing is opened or brought here."""

from __future__ import annotations

import csv
import functools
import glob
import os
import re
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ..errors import InputError
from ..files import safe_filename, shown_path
from ..kinds import PHOTO_SUFFIXES
from .places import folder_of, is_address
from .remote import Infos, far
from .units import Source

LISTS = (".txt", ".csv", ".parquet")
# Files that are taken from folders; whatever else is a video is taken where it is named itself.
VIDEO_SUFFIXES = frozenset(
    (
        ".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".mts", ".m2ts", ".ts", ".mpg", ".mpeg", ".wmv", ".flv",
        ".mxf", ".3gp", ".ogv", ".vob", ".asf", ".dv", ".y4m",
    )
)  # fmt: skip
_COLUMNS = ("source", "address", "path", "url", "file", "video", "image")  # of a table, the first that is there
_MAGIC = frozenset("*?[")
_PLAIN = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{3,198}[A-Za-z0-9]")  # is its own safe name: no reserved one is as long

Missing = Callable[[str, str], None]


@dataclass
class Plan:
    """What a listing came to, filled while it is read.

    Attributes:
        taken: how many sources.
        doubles: how many were named twice, and are done once.
        missing: how many are not there, or are forbidden.
        passed_over: how many files of folders are of another kind, or hidden.
    """

    taken: int = 0
    doubles: int = 0
    missing: int = 0
    passed_over: int = 0


def suffixes_of(kind: str) -> frozenset[str]:
    """Which files of a folder are sources.

    Args:
        kind: "video", "photo" or "any".
    """
    photo = frozenset(PHOTO_SUFFIXES)
    return {"video": VIDEO_SUFFIXES, "photo": photo, "any": VIDEO_SUFFIXES | photo}[kind]


def listed(
    sources: Sequence[str | os.PathLike],
    kind: str,
    plan: Plan,
    out: str = "",
    missing: Missing = lambda what, why: None,
) -> Iterator[Source]:
    """The sources, one by one; each once, and no two with one place.

    Args:
        sources: files, folders, patterns, lists (.txt, a line each; .csv and .parquet, a column "source"), addresses.
        kind: which files of folders are taken; see `suffixes_of`. What is named itself is taken, whatever its name.
        plan: filled on the way.
        out: the destination; what lies in it is no source.
        missing: told of what is not there, and why it is not.

    Raises:
        InputError: there is nothing in `sources`, a list cannot be read, or the destination is a folder of sources.
    """
    if not sources:
        raise InputError("expected at least one source: a file, a folder, a pattern, a list or an address")
    search = _Search(suffixes_of(kind), plan, out, missing)
    seen: set[int] = set()  # hashes: 8 bytes a source, whatever its name
    places: dict[int, int] = {}
    for given in sources:
        for mark, source in search.of(given):
            if mark in seen:
                plan.doubles += 1
                continue
            seen.add(mark)
            plan.taken += 1
            yield _placed(source, places)


def _placed(source: Source, places: dict[int, int]) -> Source:
    """Give a source whose place is another's a place with a number."""
    wanted = hash(source.place.casefold())
    count = places.get(wanted, 0) + 1
    places[wanted] = count
    if count == 1:
        return source
    name = f"{source.place}-{count}"
    while hash(name.casefold()) in places:
        count += 1
        name = f"{source.place}-{count}"
    places[wanted], places[hash(name.casefold())] = count, 1
    return replace(source, place=name, name=source.place)


@functools.lru_cache(4096)
def _cleaned(parts: str) -> str:
    return "/".join(_safe(part) for part in parts.split("/") if part not in ("", ".", ".."))


def _safe(part: str) -> str:
    return part if _PLAIN.fullmatch(part) else safe_filename(unicodedata.normalize("NFC", part))


def place_of(relative: str) -> str:
    """What a source's outputs are called below the destination.

    Args:
        relative: its path below what was named, with "/".
    """
    folder, _, name = relative.rpartition("/")
    stem = os.path.splitext(name)[0] or name
    return f"{_cleaned(folder)}/{_safe(stem)}" if folder else _safe(stem)


class _Search:
    """Goes through what was named."""

    def __init__(self, suffixes: frozenset[str], plan: Plan, out: str, missing: Missing):
        self._suffixes, self._plan, self._missing = suffixes, plan, missing
        folder = folder_of(out) if out else None
        self._inside = None if folder is None else os.path.realpath(folder)
        self._far_out = out.rstrip("/") + "/" if out and folder is None else ""
        self._infos = Infos()
        self._real = functools.lru_cache(256)(os.path.realpath)

    def _say(self, what: str, why: str) -> None:
        self._plan.missing += 1
        self._missing(what, why)

    def of(self, given: str | os.PathLike) -> Iterator[tuple[int, Source]]:
        """(what tells it from others, source) of all that something names."""
        local = folder_of(given)
        if local is None:
            yield from self._at_address(str(given))
        elif local.suffix.lower() in LISTS and local.is_file():
            for entry in entries_of(local):
                yield from self._entry(entry, local.parent)
        elif local.is_dir():
            if self._real(str(local)) == self._inside:
                raise InputError(
                    f"{shown_path(local)} is the folder of the sources and the destination; choose another --out"
                )
            yield from self._folder(str(local))
        elif not os.path.lexists(local) and not _MAGIC.isdisjoint(str(local)):
            yield from self._matches(str(local))
        else:
            yield from self._named(str(local))

    def _entry(self, entry: str, folder: Path) -> Iterator[tuple[int, Source]]:
        """A line of a list: a path that is not absolute begins where the list lies."""
        if is_address(entry) or _MAGIC.isdisjoint(entry) is False:
            yield from self.of(entry if is_address(entry) or os.path.isabs(entry) else folder / entry)
            return
        path = entry if os.path.isabs(entry) else os.path.join(folder, entry)
        if os.path.splitext(path)[1]:  # as nearly all: it need not be asked first whether it is a folder
            yield from self._named(path)
        else:
            yield from self.of(path)

    def _matches(self, pattern: str) -> Iterator[tuple[int, Source]]:
        found = sorted(glob.iglob(pattern, recursive=True))
        if not found:
            self._say(shown_path(pattern), "nothing matches this pattern")
        whole = "**" in pattern  # that walks through folders itself
        for match in found:
            if not os.path.isdir(match):
                if not whole or os.path.splitext(match)[1].lower() in self._suffixes:
                    yield from self._named(match)
            elif not whole:
                yield from self._folder(match)

    def _named(self, path: str) -> Iterator[tuple[int, Source]]:
        try:
            known = os.stat(path)
        except OSError as error:
            why = "no such file or folder" if isinstance(error, FileNotFoundError) else f"{error.strerror or error}"
            return self._say(shown_path(os.path.abspath(path)), why)
        if os.path.isdir(path):
            yield from self._folder(path)
            return
        if self._inside is not None and self._is_inside(path):
            return self._say(shown_path(path), "lies in the destination; choose another --out")
        yield _near(path, known, os.path.basename(path))

    def _is_inside(self, path: str) -> bool:
        folder = self._real(os.path.dirname(path) or ".")
        return folder == self._inside or folder.startswith(f"{self._inside}{os.sep}")

    def _folder(self, folder: str) -> Iterator[tuple[int, Source]]:
        """Files of a folder, all the way down, by name; hidden ones, and the destination, are left out."""
        waiting = [(folder, "")]
        entered = {os.path.realpath(folder)}  # links may lead in a circle
        while waiting:
            here, relative = waiting.pop()
            if self._inside is not None and self._real(here) == self._inside:
                continue
            try:
                with os.scandir(here) as found:
                    entries = sorted(found, key=lambda entry: entry.name)
            except OSError as error:
                self._say(shown_path(here), f"a folder that cannot be looked into ({error.strerror})")
                continue
            below = []
            for entry in entries:
                if entry.name.startswith("."):
                    self._plan.passed_over += 1
                elif entry.is_dir():
                    if not entry.is_symlink() or os.path.realpath(entry.path) not in entered:
                        entered.update([os.path.realpath(entry.path)] if entry.is_symlink() else [])
                        below.append((entry.path, f"{relative}{entry.name}/"))
                elif os.path.splitext(entry.name)[1].lower() in self._suffixes:
                    try:
                        known = entry.stat()
                    except OSError as error:
                        self._say(shown_path(entry.path), f"cannot be read ({error.strerror})")
                        continue
                    yield _near(entry.path, known, f"{relative}{entry.name}")
                else:
                    self._plan.passed_over += 1
            waiting.extend(reversed(below))

    def _at_address(self, address: str) -> Iterator[tuple[int, Source]]:
        for found in far(address, self._suffixes, self._infos, self._say):
            if found is None or (self._far_out and found.address.startswith(self._far_out)):
                self._plan.passed_over += 1
            else:
                yield hash(found.address), replace(found, place=place_of(found.place))


def _near(path: str, known: os.stat_result, relative: str) -> tuple[int, Source]:
    stamp = f"size:{known.st_size} mtime:{known.st_mtime_ns}"
    address = os.path.abspath(path)
    mark = hash((known.st_dev, known.st_ino)) if known.st_ino else hash(address)
    return mark, Source(address, stamp, place_of(relative), known.st_size)


def entries_of(path: Path) -> Iterator[str]:
    """The entries of a list: the lines of a .txt ("#" begins a remark), the column "source" of a .csv or .parquet.

    Raises:
        InputError: it cannot be read, or has no such column.
    """
    try:
        if path.suffix.lower() == ".txt":
            with path.open(encoding="utf-8-sig") as lines:
                for line in lines:
                    text = line.strip()
                    if text and not text.startswith("#"):
                        yield text
        elif path.suffix.lower() == ".csv":
            with path.open(encoding="utf-8-sig", newline="") as file:
                reader = csv.DictReader(file)
                column = _column(path, reader.fieldnames or ())
                for row in reader:
                    if row[column] and row[column].strip():
                        yield row[column].strip()
        else:
            yield from _parquet_entries(path)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{shown_path(path)}: cannot be read as a list ({error})") from error


def _column(path: Path, names: Sequence[str]) -> str:
    for wanted in _COLUMNS:
        for name in names:
            if name.strip().lower() == wanted:
                return name
    raise InputError(
        f"{shown_path(path)}: expected a column called {', '.join(_COLUMNS)}; it has {', '.join(names) or 'none'}"
    )


def _parquet_entries(path: Path) -> Iterator[str]:
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as error:
        raise InputError(f'{shown_path(path)}: Parquet needs pyarrow; run: pip install ".[remote]"') from error
    try:
        file = pq.ParquetFile(path)
        column = _column(path, file.schema_arrow.names)
        for part in file.iter_batches(columns=[column]):
            yield from (str(value) for value in part.column(0).to_pylist() if value)
    except pa.ArrowException as error:
        raise InputError(f"{shown_path(path)}: cannot be read as Parquet ({error})") from error

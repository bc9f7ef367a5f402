"""Files and folders: written whole or not at all, named safely, held by one writer at a time.

Names of people and files come in every script; they are data, and become path components only through `safe_filename`.
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
import json
import os
import re
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .errors import InputError, OutputError
from .parts import part_name, sweep_once

PATIENCE = 10.0  # seconds to wait for another process that is writing for a moment

# ---- reading and writing


def read_bytes(path: str | os.PathLike, error_type: type[InputError], kind: str, most: int = -1) -> bytes:
    """A file's bytes (at most `most`, if given); what keeps it from being read is said as an `error_type`.

    Args:
        kind: what was expected, for the message: "picture", "video".
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            return file.read(most)
    except FileNotFoundError as error:
        raise error_type(f"{path}: no such file") from error
    except IsADirectoryError as error:
        raise error_type(f"{path} is a folder; expected a {kind} file") from error
    except OSError as error:
        raise error_type(f"{path}: cannot be read ({error.strerror})") from error


def as_json(content: Any, indent: int | None = None) -> bytes:
    """JSON in UTF-8, every script as it is; a file name that is no UTF-8 is escaped and comes back as it was."""
    text = json.dumps(content, ensure_ascii=False, indent=indent)
    try:
        return text.encode()
    except UnicodeEncodeError:
        return json.dumps(content, indent=indent).encode()


def write_json(path: str | os.PathLike, content: Any, indent: int | None = 1) -> None:
    """Write a JSON file, whole or not at all; raises as `atomic_write`.

    Args:
        path: the file; its folder is made if need be.
        content: what `json` takes.
        indent: spaces a level; None = one line.
    """
    with atomic_write(path) as file:
        file.write(as_json(content, indent))


@contextlib.contextmanager
def atomic_write(path: str | os.PathLike, private: bool = False) -> Iterator[io.BufferedWriter]:
    """A binary file that gets its name only when the block ends well.

    What a killed process was writing in the same folder is removed first (`parts.sweep`).

    Args:
        path: the final name; its folder is made if need be.
        private: leave the file readable by its owner alone (embeddings are biometric data).

    Raises:
        OutputError: the folder cannot be written to, or the disk is full; no partial file is left.
    """
    path = Path(path)
    temporary = path.with_name(part_name("writing"))
    made = False
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        sweep_once(path.parent)
        # The mode is given where the file is made: the umask, which belongs to the whole process, is left alone.
        handle = os.open(
            temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY | getattr(os, "O_BINARY", 0), 0o600 if private else 0o666
        )
        made = True
        with os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
        made = False
    except OutputError:
        raise
    except OSError as error:
        raise OutputError(f"{path}: cannot be written ({error.strerror or error})") from error
    finally:
        if made:
            with contextlib.suppress(OSError):
                os.unlink(temporary)


def read_json(path: str | os.PathLike) -> dict:
    """The object in a JSON file; an empty dict where there is none that can be read."""
    try:
        content = json.loads(Path(path).read_bytes())
        return content if isinstance(content, dict) else {}
    except (OSError, ValueError):
        return {}


@contextlib.contextmanager
def held(lock: Path, patience: float, busy: str, busy_error: type[Exception] = OutputError) -> Iterator[None]:
    """Hold a lock file, whose folder is made if need be, against other threads and processes.

    Args:
        lock: the file.
        patience: seconds to wait for it; 0 = fail at once.
        busy: what is said when somebody else holds it longer.
        busy_error: the exception that says it.

    Raises:
        OutputError: something in the block cannot be written.
    """
    import filelock

    try:
        lock.parent.mkdir(parents=True, exist_ok=True)
        with filelock.FileLock(lock, timeout=patience):
            yield
    except filelock.Timeout as error:
        raise busy_error(busy) from error
    except OutputError:
        raise
    except OSError as error:
        raise OutputError(f"{lock.parent}: cannot be written ({error.strerror or error})") from error


def check_writable(folder: str | os.PathLike) -> Path:
    """Make a folder for results and prove it can be written to, before any work is done.

    Raises:
        OutputError: it cannot.
    """
    folder = Path(folder)
    probe = folder / ".idseg-write-test"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe.write_bytes(b"")
        probe.unlink()
    except OSError as error:
        raise OutputError(
            f"{folder}: results cannot be written there ({error.strerror}); choose another folder with --out"
        ) from error
    return folder


# ---- names

_RESERVED = {"con", "prn", "aux", "nul", *(f"com{i}" for i in range(10)), *(f"lpt{i}" for i in range(10))}


def shown_path(path: str | os.PathLike) -> str:
    """A path as text that can be stored and printed, with forward slashes; bytes that are no UTF-8 as \\x.."""
    return os.fsencode(Path(path).as_posix()).decode("utf-8", "backslashreplace")


def safe_filename(name: str) -> str:
    """A person's or file's name as one path component, on any system, in its own script.

    Separators, control and invisible characters become "_"; 한글 and ไทย stay. Never empty, never
    hidden, never longer than 200 bytes.
    """
    text = unicodedata.normalize("NFC", name)
    text = "".join("_" if unicodedata.category(c)[0] == "C" else c for c in text)
    text = re.sub(r'[\\/:*?"<>|\s]+', "_", text).strip("._ ")
    while len(text.encode()) > 200:
        text = text[:-1]
    if not text or text.split(".")[0].lower() in _RESERVED:
        text = f"_{text}"
    return text


def numbered(stem: str) -> Iterator[str]:
    """The stem, then the stem with a number: "a", "a-2", "a-3" and so on without end."""
    yield stem
    number = 2
    while True:
        yield f"{stem}-{number}"
        number += 1


def unused_name(stem: str, taken: set[str]) -> str:
    """The first of `numbered` that is not taken, in any case; it is taken from now on.

    Args:
        stem: the name wanted.
        taken: names given out, casefolded; the new one is added.
    """
    name = next(name for name in numbered(stem) if name.casefold() not in taken)
    taken.add(name.casefold())
    return name


def own_folder(parent: str | os.PathLike, path: str | os.PathLike, owner: str, taken: set[str] | None = None) -> Path:
    """The folder for one file's results: named like the file, and never another file's.

    A folder is a file's own if its `owner` says so, or if it has none. Where the `owner` is there and names another
    file, or cannot be read, a number is added to the name.

    Args:
        parent: folder of all results.
        path: the file whose results they are.
        owner: name of the JSON file in the folder whose "source" says whose it is.
        taken: names given out in this run, casefolded; the new one is added.
    """
    taken = set() if taken is None else taken
    for name in numbered(safe_filename(shown_path(Path(path).stem))):
        folder = Path(parent) / name
        says = folder / owner
        ours = not says.exists() or read_json(says).get("source") == source_name(path)
        if ours and name.casefold() not in taken:
            taken.add(name.casefold())
            return folder
    raise AssertionError("unreachable")


def source_name(path: str | os.PathLike) -> str:
    """How a folder of results says whose it is: the file's absolute path as text."""
    return shown_path(Path(path).absolute())


def package_folder(package: str) -> Path | None:
    """The folder of an installed package, located without importing it; None if it is not installed."""
    spec = importlib.util.find_spec(package)
    return Path(next(iter(spec.submodule_search_locations))) if spec and spec.submodule_search_locations else None

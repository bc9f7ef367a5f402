"""Unfinished files and folders: named after the process that writes them, and swept once that process is gone.

A killed run leaves its parts behind. The next one that writes in the same folder removes them: those of our own
pattern, of the same user, on the same machine, whose process is not there any more. All others stay.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import re
import secrets
import shutil
import socket
import stat
import threading
from pathlib import Path

# .WHAT-MACHINE-PROCESS-BEGUN-RANDOM.part
_PART = re.compile(r"\.[a-z0-9-]+?-([0-9a-f]{8})-(\d{1,10})-([0-9a-f]{8})-[0-9a-f]{8}\.part")
_UNKNOWN, _GONE = "0" * 8, "gone"
_MOST_FOLDERS = 4096  # that are known to be swept
_swept: set[str] = set()
_guard = threading.Lock()


def part_name(what: str) -> str:
    """A hidden name, nobody else's, for what this process is writing.

    Args:
        what: small letters, digits and "-".
    """
    process = os.getpid()
    return f".{what}-{_machine()}-{process}-{_begun(process)}-{secrets.token_hex(4)}.part"


def is_part(name: str) -> bool:
    """Is this the name of something that a process is writing, or was writing when it was killed?

    Args:
        name: of a file, without its folder.
    """
    return bool(_PART.fullmatch(name))


def sweep_once(folder: Path) -> None:
    """`sweep` a folder, if this process has not done so yet."""
    key = os.path.abspath(folder)
    with _guard:
        if key in _swept:
            return
        if len(_swept) >= _MOST_FOLDERS:
            _swept.clear()
        _swept.add(key)
    sweep(folder)


def sweep(folder: Path) -> None:
    """Remove the parts that killed processes left in a folder; whatever is not surely such a part stays.

    Args:
        folder: need not be there.
    """
    try:
        with os.scandir(folder) as entries:
            parts = [entry.path for entry in entries if entry.name.endswith(".part") and _is_stale(entry)]
    except OSError:
        return
    for path in parts:
        with contextlib.suppress(OSError):
            shutil.rmtree(path) if os.path.isdir(path) else os.unlink(path)


def _is_stale(entry: os.DirEntry) -> bool:
    match = _PART.fullmatch(entry.name)
    if not match or match[1] != _machine():
        return False
    try:
        status = entry.stat(follow_symlinks=False)
    except OSError:
        return False
    if not (stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode)) or not _is_mine(status):
        return False
    now = _begun(int(match[2]))
    return now == _GONE or (_UNKNOWN not in (now, match[3]) and now != match[3])


def this_process() -> str:
    """What `has_ended` knows this process by: its machine, its number, and when it began."""
    process = os.getpid()
    return f"{_machine()}-{process}-{_begun(process)}"


def has_ended(process: str) -> bool:
    """Has a process surely ended? Of one on another machine nobody here can say, so it has not.

    Args:
        process: as `this_process` said it there.
    """
    machine, number, begun = (process.split("-") + ["", ""])[:3]
    if machine != _machine() or not number.isdigit():
        return False
    now = _begun(int(number))
    return now == _GONE or (_UNKNOWN not in (now, begun) and now != begun)


def _is_mine(status: os.stat_result) -> bool:
    return not hasattr(os, "geteuid") or status.st_uid == os.geteuid()


def _begun(process: int) -> str:
    """Eight digits for when a process began, so that another one with its number is told from it.

    `_UNKNOWN` where that cannot be said of a process that may be there; `_GONE` where there is none of that number.
    """
    try:
        # proc(5): the 22nd field, in ticks since the machine started; the second, in brackets, may hold anything.
        fields = Path(f"/proc/{process}/stat").read_text("ascii", "replace").rpartition(")")[2].split()
        state, began = fields[0], fields[19]
        if state in "ZX":  # ended; its parent has not asked how
            return _GONE
        started = Path("/proc/sys/kernel/random/boot_id").read_text()
        return hashlib.sha256(f"{started} {began}".encode()).hexdigest()[:8]
    except (OSError, IndexError):
        pass
    if os.name != "posix":
        return _UNKNOWN  # there, asking after a process would end it
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return _GONE
    except (OSError, OverflowError):
        return _UNKNOWN
    return _UNKNOWN


@functools.cache
def _machine() -> str:
    """Eight digits for the machine and, of containers on it, the one: process numbers mean nothing elsewhere."""
    texts = [socket.gethostname()]
    for read in (lambda: Path("/etc/machine-id").read_text(), lambda: os.readlink("/proc/self/ns/pid")):
        with contextlib.suppress(OSError):
            texts.append(read())
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()[:8]

"""What lies at an address of a store: names, sizes and stamps, by its listings alone."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import urlsplit

from ..errors import IdentitySegmentationError
from .places import file_system
from .units import Source

_MAGIC = frozenset("*?[")
_WEB = ("http", "https")
_WEB_ADDRESSES = ("http://", "https://")
_MANY = 8  # files of one folder that are asked for one by one before the whole folder is listed


class Infos:
    """What stores say of files that are named one by one. A folder of which many are named is listed once."""

    def __init__(self) -> None:
        self._asked: Counter[str] = Counter()
        self._systems: dict[str, Any] = {}
        self._folder, self._listed = "", dict[str, dict[str, Any]]()

    def system(self, address: str) -> Any:
        """The file system of an address; see `places.file_system`."""
        scheme = address.partition("://")[0]
        if scheme not in self._systems:
            self._systems[scheme] = file_system(address)
        return self._systems[scheme]

    def of(self, system: Any, address: str) -> dict[str, Any]:
        """Name, size, kind and stamp; raises what the store raises.

        Args:
            system: an fsspec file system.
            address: a file or a folder.
        """
        folder, _, _ = address.rpartition("/")
        if address.startswith(_WEB_ADDRESSES) or _MAGIC.isdisjoint(address) is False:
            return system.info(address)
        if folder != self._folder:
            self._asked[folder] += 1
            if self._asked[folder] < _MANY:
                return system.info(address)
            self._folder = folder
            self._listed = {str(info["name"]): info for info in system.ls(folder, detail=True)}
        name = system._strip_protocol(address)
        if name not in self._listed:
            raise FileNotFoundError(address)
        return self._listed[name]


def far(
    address: str, suffixes: frozenset[str], infos: Infos, say: Callable[[str, str], None]
) -> Iterator[Source | None]:
    """Files at an address: a file, a folder of a store, or a pattern; None for a file of another kind.

    The place of each is its path below what was named, suffix and all.

    Args:
        address: "scheme://...".
        suffixes: of the files that are taken from folders.
        infos: of this job.
        say: told of an address that is not there, or is forbidden, and why.
    """
    system = infos.system(address)
    scheme = address.partition("://")[0]
    try:
        if not _MAGIC.isdisjoint(address) and scheme not in _WEB:
            found, base, named = system.glob(address, detail=True), _before_pattern(address), True
        else:
            info = infos.of(system, address)
            if info.get("type") == "directory":
                found, base, named = system.find(address, detail=True), address, False
            else:
                found, base, named = {str(info["name"]): info}, address.rpartition("/")[0], True
    except IdentitySegmentationError:
        raise
    except PermissionError as error:
        return say(address, f"forbidden ({error})")
    except FileNotFoundError:
        return say(address, "no such file or folder")
    except Exception as error:  # of a store's own library: each has its own kinds
        return say(address, f"cannot be reached ({type(error).__name__}: {error})")
    if not found:
        return say(address, "nothing is there")
    root = str(system._strip_protocol(base)).rstrip("/")
    for name in sorted(found):
        info = found[name]
        below = name.removeprefix(f"{root}/")
        hidden = any(part.startswith(".") for part in below.split("/"))
        if info.get("type") == "directory":
            continue
        if not named and (hidden or os.path.splitext(name)[1].lower() not in suffixes):
            yield None
            continue
        whole = name if "://" in name else f"{scheme}://{name}"
        relative = PurePosixPath(urlsplit(name).path).name if scheme in _WEB else below
        yield Source(whole, stamp_of(info), relative or "source", int(info.get("size") or -1))


def _before_pattern(address: str) -> str:
    """The folder that a pattern starts in."""
    first = min(address.index(char) for char in _MAGIC if char in address)
    return address[:first].rpartition("/")[0]


def stamp_of(info: dict[str, Any]) -> str:
    """What tells that a file of a store has changed: its ETag, or size and time.

    Args:
        info: as fsspec gives it; stores name the same things differently.
    """
    for tag in ("ETag", "etag", "md5Hash", "contentHash", "sha256"):
        if info.get(tag):
            return f"etag:{str(info[tag]).strip(chr(34))}"
    when = next(
        (info[key] for key in ("mtime", "LastModified", "last_modified", "updated", "created") if info.get(key)), ""
    )
    return f"size:{info.get('size')} mtime:{when}"

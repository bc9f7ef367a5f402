"""Where sources lie and results go: a folder, or any store that fsspec reaches ("s3://bucket/results").

A folder needs no further library; the others need the extra "remote". Every file appears whole: it is written beside
its place and renamed, or - in a store of objects - put in one piece.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any, Protocol

from ..errors import EngineUnavailable, InputError, OutputError
from ..files import atomic_write, check_writable, shown_path
from ..parts import is_part, part_name

_ADDRESS = re.compile(r"([a-z][a-z0-9+.-]+)://", re.IGNORECASE)
_LATER = {"s3": "s3fs", "gs": "gcsfs", "gcs": "gcsfs", "abfs": "adlfs", "az": "adlfs"}


def shown_address(address: str | os.PathLike) -> str:
    """An address, or a path, as text that can be stored and printed.

    Args:
        address: of a source; "s3://" keeps both its slashes.
    """
    if not is_address(address):
        return shown_path(address)
    return str(address).encode("utf-8", "backslashreplace").decode()


def is_address(given: str | os.PathLike) -> bool:
    """Is this "scheme://...", and no path?"""
    return isinstance(given, str) and _ADDRESS.match(given) is not None


def file_system(address: str) -> Any:
    """The fsspec file system of an address.

    Raises:
        EngineUnavailable: fsspec, or what it needs for this scheme, is not installed.
        InputError: nobody knows the scheme.
    """
    scheme = address.partition("://")[0].lower()
    try:
        import fsspec
    except ImportError as error:
        raise EngineUnavailable(f'{scheme}:// addresses need fsspec; run: pip install ".[remote]"') from error
    try:
        return fsspec.filesystem(scheme)
    except ImportError as error:
        raise EngineUnavailable(
            f"{scheme}:// addresses need {_LATER.get(scheme, 'a further package')}; run: "
            f"pip install {_LATER.get(scheme, error)}"
        ) from error
    except ValueError as error:
        raise InputError(
            f"{address}: nobody here knows {scheme}://; expected a folder, s3://, gs:// or https://"
        ) from error


class Place(Protocol):
    """A folder of files, near or far. Names are below it, with "/"."""

    address: str

    def check(self) -> None:
        """Prove that it can be written to; `OutputError` if it cannot."""

    def read(self, name: str) -> bytes | None:
        """A small file's content; None if it is not there."""

    def write(self, name: str, content: bytes) -> None:
        """Write a small file, whole or not at all."""

    def create(self, name: str, content: bytes) -> bool:
        """Write a small file if nobody has; False if somebody has."""

    def exists(self, name: str) -> bool:
        """Is there such a file?"""

    def names(self, below: str = "") -> Iterator[str]:
        """All files below a name, in no order; none that is still being written."""

    def delete(self, name: str) -> None:
        """Delete a file, or all below a name; nothing happens where there is none."""

    def put(self, file: Path, name: str) -> None:
        """Bring a local file, or a folder of files, here."""

    def fetch(self, name: str, file: Path) -> None:
        """Bring a file from here."""


def place(address: str | os.PathLike) -> Place:
    """The place at a path or an address."""
    folder = folder_of(address)
    return Store(str(address)) if folder is None else Folder(folder)


class Folder:
    """A folder of this machine, or one that machines share.

    Args:
        path: made if need be, when something is written.
    """

    def __init__(self, path: Path):
        self._root = Path(path)
        self.address = shown_path(path)

    def check(self) -> None:
        """See `Place`."""
        check_writable(self._root)

    def read(self, name: str) -> bytes | None:
        """See `Place`."""
        try:
            return (self._root / name).read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            return None

    def write(self, name: str, content: bytes) -> None:
        """See `Place`."""
        with atomic_write(self._root / name) as file:
            file.write(content)

    def create(self, name: str, content: bytes) -> bool:
        """See `Place`. The file is linked to its name when it is whole: nobody reads half of it."""
        path = self._root / name
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            beside = path.with_name(part_name("claiming"))
            beside.write_bytes(content)
            try:
                os.link(beside, path)
            except FileExistsError:
                return False
            except OSError:  # a file system without links
                with contextlib.suppress(FileExistsError), path.open("xb") as file:
                    file.write(content)
                    return True
                return False
            finally:
                beside.unlink(missing_ok=True)
        except OSError as error:
            raise OutputError(f"{shown_path(path)}: cannot be written ({error.strerror or error})") from error
        return True

    def exists(self, name: str) -> bool:
        """See `Place`."""
        return (self._root / name).exists()

    def names(self, below: str = "") -> Iterator[str]:
        """See `Place`."""
        waiting = [self._root / below]
        while waiting:
            with contextlib.suppress(FileNotFoundError, NotADirectoryError), os.scandir(waiting.pop()) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append(Path(entry.path))
                    elif not is_part(entry.name):
                        yield Path(entry.path).relative_to(self._root).as_posix()

    def delete(self, name: str) -> None:
        """See `Place`."""
        path = self._root / name
        with contextlib.suppress(FileNotFoundError):
            shutil.rmtree(path) if path.is_dir() else path.unlink()

    def put(self, file: Path, name: str) -> None:
        """See `Place`."""
        target = self._root / name
        beside = target.with_name(part_name("putting"))
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            if file.is_dir():
                for inner in sorted(p for p in file.rglob("*") if p.is_file()):
                    self.put(inner, f"{name}/{inner.relative_to(file).as_posix()}")
                return
            try:
                shutil.copyfile(file, beside)
                os.replace(beside, target)
            finally:
                beside.unlink(missing_ok=True)
        except OSError as error:
            raise OutputError(f"{shown_path(target)}: cannot be written ({error.strerror or error})") from error

    def fetch(self, name: str, file: Path) -> None:
        """See `Place`."""
        shutil.copyfile(self._root / name, file)


def folder_of(address: str | os.PathLike) -> Path | None:
    """The folder of this machine that an address names; None for a store."""
    if not is_address(address):
        return Path(address)
    return Path(str(address).removeprefix("file://")) if str(address).startswith("file://") else None


class Store:
    """A store that fsspec reaches.

    Args:
        address: "scheme://bucket/below".
    """

    def __init__(self, address: str):
        self.address = address.rstrip("/")
        self._system = file_system(address)
        self._root = self._system._strip_protocol(self.address)

    def _at(self, name: str) -> str:
        return f"{self._root}/{name}" if name else str(self._root)

    @contextlib.contextmanager
    def _told(self, name: str) -> Iterator[None]:
        try:
            yield
        except PermissionError as error:
            raise OutputError(
                f"{self.address}/{name}: forbidden ({error}); see to the credentials of the store"
            ) from error
        except OSError as error:
            if isinstance(error, FileNotFoundError | FileExistsError):
                raise
            raise OutputError(f"{self.address}/{name}: cannot be reached ({error})") from error

    def check(self) -> None:
        """See `Place`."""
        self.write(".batch/.write-test", b"")
        self.delete(".batch/.write-test")

    def read(self, name: str) -> bytes | None:
        """See `Place`."""
        with self._told(name):
            try:
                return self._system.cat_file(self._at(name))
            except FileNotFoundError:
                return None

    def write(self, name: str, content: bytes) -> None:
        """See `Place`."""
        with self._told(name):
            self._system.pipe_file(self._at(name), content)

    def create(self, name: str, content: bytes) -> bool:
        """See `Place`. A store that cannot create exclusively is asked whose content arrived."""
        with self._told(name):
            try:
                self._system.pipe_file(self._at(name), content, mode="create")
                return True
            except FileExistsError:
                return False
            except (TypeError, NotImplementedError, ValueError):
                if self._system.exists(self._at(name)):
                    return False
                self._system.pipe_file(self._at(name), content)
                return self._system.cat_file(self._at(name)) == content

    def exists(self, name: str) -> bool:
        """See `Place`."""
        with self._told(name):
            self._system.invalidate_cache()
            return bool(self._system.exists(self._at(name)))

    def names(self, below: str = "") -> Iterator[str]:
        """See `Place`."""
        with self._told(below):
            self._system.invalidate_cache()
            with contextlib.suppress(FileNotFoundError):
                for found in self._system.find(self._at(below)):
                    yield str(PurePosixPath(found).relative_to(self._root))

    def delete(self, name: str) -> None:
        """See `Place`."""
        with self._told(name), contextlib.suppress(FileNotFoundError):
            self._system.rm(self._at(name), recursive=True)

    def put(self, file: Path, name: str) -> None:
        """See `Place`."""
        with self._told(name):
            if file.is_dir():
                for inner in sorted(p for p in file.rglob("*") if p.is_file()):
                    self._system.put_file(str(inner), self._at(f"{name}/{inner.relative_to(file).as_posix()}"))
            else:
                self._system.put_file(str(file), self._at(name))

    def fetch(self, name: str, file: Path) -> None:
        """See `Place`."""
        with self._told(name):
            self._system.get_file(self._at(name), str(file))

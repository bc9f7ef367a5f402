"""Pictures and folders of pictures -> the targets of a labelling job, each with a name of its own."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ..errors import InputError
from ..files import shown_path
from ..kinds import is_own, why_no_photo

PLACES = ("id_masks", "masks", "overlays", "bboxes")  # folders of a job that hold files named like its targets

DECIDED = ("accepted", "corrected")  # a person has said so: never proposed anew
_LONGEST_NAME = 240  # bytes; file systems take 255, and a suffix comes after it


@dataclass(frozen=True)
class Target:
    """A picture to be labelled: its path, the name of its labels, and its own name below the folder of targets."""

    path: Path
    name: str
    file: str

    @property
    def key(self) -> str:
        return str(self.path)


@dataclass(frozen=True)
class KnownTarget:
    """What is remembered of a target while others are labelled."""

    name: str
    file: str
    state: str
    cache_key: str
    stamp: tuple[int, ...]
    sha256: str
    marks: str  # digest of the marks that a corrected target's labels are
    by: str

    @property
    def kept(self) -> str | None:
        """What to compare with where a corrected target has no marks any more: its own digest, so that it stays.

        None for a target that was corrected only by being a reference: its labels are made anew.
        """
        return None if self.by == "reference" else self.marks

    @classmethod
    def of(cls, row: Mapping) -> KnownTarget:
        cache_key = row["question"] if row["state"] not in (*DECIDED, "unreadable") else ""
        return cls(
            row["name"], row.get("file", row["name"]), row["state"], cache_key, tuple(row["stamp"]),
            row.get("sha256", ""), row.get("marks", ""), row.get("by", "engine"),
        )  # fmt: skip


class TargetNames:
    """Names for labels and pictures, none given twice on any file system."""

    def __init__(self, known: Iterable[KnownTarget]):
        self._names: set[str] = set()
        self._files: set[str] = set()
        self._outputs: set[str] = set()
        self._folders: set[str] = set()
        for entry in known:
            self._take(entry.name, entry.file)

    def give(self, within: Path) -> tuple[str, str]:
        """(name of the labels: the picture's own without suffix; with it, or a number, where that is taken;
        name of the picture)."""
        stem, number = within.with_suffix(""), 1
        if len(os.fsencode(within.name)) > _LONGEST_NAME:
            stem = within.with_name(f"{within.name[:40]}-{hashlib.sha256(os.fsencode(within.name)).hexdigest()[:16]}")
        if self._above(shown_path(stem)) & self._outputs:  # its folder is called like somebody's labels
            stem = Path(f"{within.parts[0]}-folder", *stem.parts[1:])
        while True:
            mark = "" if number == 1 else f"-{number}"
            file = f"{shown_path(stem)}{mark}{within.suffix}"
            for name in (f"{shown_path(stem)}{mark}", file):
                if self._free(name) and file.casefold() not in self._files:
                    self._take(name, file)
                    return name, file
            number += 1

    def _free(self, name: str) -> bool:
        # A folder cannot be where a file is: a picture x.jpg beside a folder x.png of others.
        clash = self._written(name) & self._folders or self._above(name) & self._outputs
        return name.casefold() not in self._names and not clash

    def _take(self, name: str, file: str) -> None:
        self._names.add(name.casefold())
        self._files.add(file.casefold())
        self._outputs |= self._written(name)
        self._folders |= self._above(name)

    @staticmethod
    def _written(name: str) -> set[str]:
        return {f"{name}{suffix}".casefold() for suffix in (".png", ".jpg", ".json")}

    @staticmethod
    def _above(name: str) -> set[str]:
        parts = name.casefold().split("/")[:-1]
        return {"/".join(parts[: i + 1]) for i in range(len(parts))}


def is_finished(known: KnownTarget | None, path: Path, cache_key: str) -> bool:
    """Has a target labels under this cache key, of the picture as it is now?

    Args:
        known: what is remembered of it, or None.
        path: the picture.
        cache_key: a hash of what its labels depend on (`LabelJob.cache_key`).
    """
    if known is None or known.state == "unreadable" or known.cache_key != cache_key:
        return False
    return tuple(stamp_of(path)) == known.stamp or digest_of(path) == known.sha256


def stamp_of(path: Path) -> list[int]:
    """Size and time of change, by which most pictures are seen to be the same. Empty for what is not there."""
    try:
        status = os.stat(path)
    except OSError:
        return []
    return [status.st_size, status.st_mtime_ns]


def digest_of(path: Path) -> str | None:
    """sha256 of a file's bytes; None for what cannot be read."""
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return None


def real_path(path: Path) -> Path:
    """The path with links and dots of its folder resolved: one spelling for one place. A link to a picture stays."""
    path = Path(os.path.abspath(path))
    return Path(os.path.realpath(path)) if path.is_dir() else Path(os.path.realpath(path.parent)) / path.name


def find_targets(
    targets: Iterable[Path], known: Mapping[str, KnownTarget], job: Path, others: dict[Path, str] | None = None
) -> list[Target]:
    """Every target with the names it goes by; a name once given stays.

    Args:
        targets: pictures, and folders, which are searched all the way down.
        known: picture -> what is remembered of it.
        job: the job's own folder, in which nothing is looked for.
        others: takes up every file of the folders that is no picture, with the reason.

    Raises:
        InputError: one is not there, or a folder cannot be read.
    """
    taken = TargetNames(known.values())
    chosen: dict[str, Target] = {}
    roots = [real_path(target) for target in targets]
    for root in roots:
        for path in _pictures(root, job, {} if others is None else others):
            key = str(path)
            if key in chosen:
                continue
            if key in known:
                chosen[key] = Target(path, known[key].name, known[key].file)
                continue
            within = path.relative_to(root) if root.is_dir() else Path(path.name)
            if len(roots) > 1 and root.is_dir():
                within = Path(root.name) / within
            chosen[key] = Target(path, *taken.give(within))
    return list(chosen.values())


def find_moved(
    chosen: Sequence[Target], known: Mapping[str, KnownTarget]
) -> tuple[list[Target], dict[str, KnownTarget], dict[str, dict]]:
    """Known pictures that are found at another place are the same targets, with what was decided about them.

    Returns:
        The targets and what is known of them, as they are now; and for each that moved, by name, what changes in its
        record.
    """
    gone = {entry.sha256: key for key, entry in known.items() if entry.sha256 and not os.path.exists(key)}
    now, found, change = dict(known), [], {}
    for target in chosen:
        old = None if target.key in now or not gone else gone.pop(digest_of(target.path) or "", None)
        if old is None:
            found.append(target)
            continue
        entry = replace(now.pop(old), stamp=tuple(stamp_of(target.path)))
        now[target.key] = entry
        found.append(Target(target.path, entry.name, entry.file))
        change[entry.name] = {"picture": target.key, "stamp": list(entry.stamp)}
    return found, now, change


def _pictures(root: Path, job: Path, others: dict[Path, str]) -> Iterator[Path]:
    """The picture, or every picture below a folder; what a job wrote, or keeps for itself, is not looked at.

    Files that are no pictures go to the others, with the reason.
    """
    if not root.exists():
        raise InputError(f"{root}: no such picture or folder")
    if not root.is_dir():
        yield root
        return

    def refuse(error: OSError):
        raise InputError(f"{error.filename}: cannot be read ({error.strerror})") from error

    own, seen = os.path.realpath(job), {os.path.realpath(root)}
    for folder, folders, files in os.walk(root, followlinks=True, onerror=refuse):
        here, inside = Path(folder), []
        for name in sorted(folders):
            place = os.path.realpath(here / name)
            written = os.path.realpath(here) == own and name in (*PLACES, "marks", "drafts", "exports")
            if not name.startswith(".") and place != own and place not in seen and not written:
                seen.add(place)  # links may lead in a circle
                inside.append(name)
        folders[:] = inside
        for name in sorted(files):
            path = here / name
            if name.startswith("."):
                continue
            why = why_no_photo(path)
            if why is None:
                yield path
            elif not is_own(name):
                others[path] = why

"""Where analyses lie: in one folder, known by the content of their videos. (Notebook section 7.)

One analysis serves every output, view and surface. It lies beside the outputs, in `.analyses`, or where the user says;
its name is made of what decides it - the video's bytes, the sampling, the engines - so that a video that was renamed or
copied is known again. Beside it lies, for every output, a line that says which analysis it was rendered from.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..errors import InputError, OutputError
from ..files import read_json, write_json
from .analysis import file_sha256

FOLDER = ".analyses"
_SUFFIX, _OUTPUT = ".analysis.jsonl", ".output.json"


def folder_beside(output: str | os.PathLike, chosen: str | os.PathLike | None = None) -> Path:
    """The folder of analyses for an output.

    Args:
        output: of a render.
        chosen: where the user says; empty or None = beside the output.
    """
    return Path(chosen) if chosen else Path(output).parent / FOLDER


def analysis_path(folder: Path, source: str | os.PathLike, **decided: Any) -> Path:
    """Where the analysis of a video lies.

    Args:
        folder: of analyses.
        source: the video.
        decided: what else decides an analysis: sampling, engines, a box.
    """
    others = hashlib.sha256(json.dumps(decided, sort_keys=True, default=str).encode()).hexdigest()
    return folder / f"{file_sha256(Path(source))[:16]}-{others[:8]}{_SUFFIX}"


def sibling(analysis: Path, source: str | os.PathLike) -> Path:
    """Where the analysis of another video lies that is looked at in the same way.

    Args:
        analysis: the file of a video's analysis.
        source: the other video.
    """
    decided = analysis.name.removesuffix(_SUFFIX).rpartition("-")[2]
    return analysis.with_name(f"{file_sha256(Path(source))[:16]}-{decided}{_SUFFIX}")


def check_free(folder: Path, outputs: Sequence[Path], overwrite: bool = False) -> None:
    """Refuse to write over a file that is not ours: one that was never rendered, or was changed since.

    Args:
        folder: of analyses, which knows what was rendered.
        outputs: the files that are to be written.
        overwrite: write over them whoever's they are.

    Raises:
        OutputError: there is one.
    """
    for output in outputs:
        if overwrite or not output.exists():
            continue
        known = read_json(folder / f"{_key(output)}{_OUTPUT}")
        if not known or known.get("stamp") not in (None, stamp_of(output)):
            what = "was changed since it was written" if known else "was not written by this program"
            raise OutputError(f"{output} {what}; choose another name, or say --overwrite (overwrite=True)")


def delivered(folder: Path, outputs: Sequence[Path]) -> None:
    """Write down what rendered files look like, so that they are known as ours again.

    Args:
        folder: of analyses.
        outputs: what was written, `remember`ed before.
    """
    for output in outputs:
        record = folder / f"{_key(output)}{_OUTPUT}"
        write_json(record, {**read_json(record), "stamp": stamp_of(output)})


def stamp_of(output: Path) -> list[int]:
    """Size and time of change of a file; of a folder nothing, as its pictures have a list of their own.

    Args:
        output: of a render.
    """
    if not output.is_file():
        return []
    status = output.stat()
    return [status.st_size, status.st_mtime_ns]


def beside_analysis(analysis: Path, ending: str) -> Path:
    """A file that belongs to an analysis.

    Args:
        analysis: its file.
        ending: of the name, ".heads.jsonl".
    """
    return analysis.with_name(analysis.name.removesuffix(_SUFFIX) + ending)


def remember(folder: Path, output: str | os.PathLike, analysis: Path) -> None:
    """Write down which analysis an output is rendered from, and link to it beside the output for scripts to read.

    What lies there now is written down too: should the render be stopped, it is not taken for its result.

    Args:
        folder: of analyses.
        output: of a render.
        analysis: its file.
    """
    content = {"output": str(Path(output).resolve()), "analysis": analysis.name, "stamp": stamp_of(Path(output))}
    write_json(folder / f"{_key(output)}{_OUTPUT}", content)
    link = Path(output).with_name(f"{Path(output).name}{_SUFFIX}")
    if link.exists() and not link.is_symlink():
        return  # a file that an earlier version left is somebody's
    with contextlib.suppress(OSError, NotImplementedError):  # where there are no links the line above has to do
        link.unlink(missing_ok=True)
        link.symlink_to(os.path.relpath(analysis, link.parent))


def find(named: str | os.PathLike, chosen: str | os.PathLike | None = None, *more: str | os.PathLike) -> Path:
    """The analysis that somebody means: by its own path, by an output, or by the video itself; of a video the one that
    looked at people, in the first folder that has one.

    Args:
        named: an analysis file, an output of `idseg video`, or a video that was analysed.
        chosen: folder of analyses, where the user says; empty or None = beside what was named.
        more: further folders to look in.

    Raises:
        InputError: there is none, or there are several.
    """
    path = Path(named)
    if path.name.endswith(_SUFFIX):
        return path.resolve()
    folders = [Path(chosen)] if chosen else [path.parent / FOLDER, *map(Path, more)]
    for folder in folders:
        known = folder / f"{_key(path)}{_OUTPUT}"
        if known.is_file():
            return folder / json.loads(known.read_bytes())["analysis"]
    if path.is_file():
        key = file_sha256(path)[:16]
        for folder in folders:
            found = sorted(folder.glob(f"{key}-*{_SUFFIX}"))
            found = [file for file in found if not _follows_a_box(file)] or found
            if len(found) > 1:
                listed = "\n  ".join(map(str, found))
                raise InputError(f"{path} was analysed in several ways; give the one that is meant:\n  {listed}")
            if found:
                return found[0]
    older = path.with_name(f"{path.name}{_SUFFIX}")
    if older.is_file():
        return older  # as earlier versions left it; reading says what is to be done
    looked = ", ".join(map(str, folders))
    make = "idseg analyse VIDEO, or idseg video VIDEO OUT (and give OUT here)"
    raise InputError(f"no analysis of {path} is in {looked}; make it with: {make}")


def _follows_a_box(file: Path) -> bool:
    """Is an analysis one of a box drawn by hand, which knows nothing of people?"""
    with file.open(encoding="utf-8") as lines:
        return '"seed":' in lines.readline()


def _key(output: str | os.PathLike) -> str:
    return hashlib.sha256(str(Path(output).resolve()).encode("utf-8", "surrogateescape")).hexdigest()[:16]

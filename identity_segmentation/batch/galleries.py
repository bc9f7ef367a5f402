"""The people on file, as a job takes them along: read once by the driver, unpacked once by each worker, never changed.

What travels is the gallery's live generation, known by the hash of its manifest, which holds that of its embeddings. It
goes with what a worker is made from, and is nowhere in the destination.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..errors import GalleryError
from ..parts import part_name
from .places import is_address, place


def packed(address: str | os.PathLike) -> dict[str, Any] | None:
    """A gallery as JSON: its hash, and its files in base 64; None if there is none.

    Args:
        address: its folder, or an address of a store.
    """
    there = place(address)
    pointer: dict[str, Any] = {}
    with contextlib.suppress(ValueError):
        pointer = json.loads(there.read("CURRENT") or b"{}")
    stem = pointer.get("generation")
    if not isinstance(stem, str):
        if not is_address(address):
            return None
        raise GalleryError(f"no gallery at {address}; build one with: idseg people build, and copy its folder there")
    names = ("CURRENT", f"{stem}.json", f"{stem}.safetensors")
    files = {name: there.read(name) for name in names}
    lacking = [name for name, content in files.items() if content is None]
    if lacking:
        raise GalleryError(f"the gallery at {address} lacks {', '.join(lacking)}; build it anew: idseg people build")
    manifest = files[f"{stem}.json"] or b""
    return {
        "hash": hashlib.sha256(manifest).hexdigest(),
        "files": {name: base64.b64encode(content or b"").decode("ascii") for name, content in files.items()},
    }


def unpacked(gallery: Mapping[str, Any], folder: Path) -> Path:
    """The folder of a gallery that was packed, unpacked if it is not there yet; readable by its owner alone.

    Args:
        gallery: as `packed` made it.
        folder: of galleries on this machine; each has a folder of its own there, called by its hash.
    """
    target = folder / str(gallery["hash"])
    if target.is_dir():
        return target
    folder.mkdir(parents=True, exist_ok=True)
    beside = folder / part_name("gallery")
    beside.mkdir(mode=0o700)
    try:
        for name, content in gallery["files"].items():
            (beside / Path(name).name).write_bytes(base64.b64decode(content))
        with contextlib.suppress(OSError):  # another worker was first
            os.replace(beside, target)
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    return target

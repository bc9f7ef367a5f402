"""What a file is, by its first bytes: which files of a folder are photos, and why the others are not.

Names say little: phones and cameras write .MPO and .jpe, messengers leave the suffix out, and text is called .jpg.
"""

from __future__ import annotations

import codecs
import os
import re
from collections.abc import Mapping
from pathlib import Path

from .files import shown_path

HEAD = 32  # bytes that tell every kind
# Whoever names a file so means a photo: it is taken, and where it is none it is reported as unreadable.
PHOTO_SUFFIXES = frozenset(
    (
        ".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif", ".heic", ".heif",
        ".avif",
    )
)  # fmt: skip
# TIFF by their bytes, but what they hold in the open is a thumbnail.
_RAW_SUFFIXES = frozenset(
    (
        ".3fr", ".arw", ".cr2", ".dcr", ".dng", ".erf", ".fff", ".iiq", ".kdc", ".mef", ".mos", ".nef", ".nrw", ".orf",
        ".pef", ".raw", ".rw2", ".rwl", ".sr2", ".srf", ".srw", ".x3f",
    )
)  # fmt: skip
_HEIF_BRANDS = (b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"mif1", b"msf1")
_AVIF_BRANDS = (b"avif", b"avis")
_BMP_HEADERS = (12, 16, 40, 52, 56, 64, 108, 124)  # sizes of the second header, by which "BM" is told from text
_RAW = "a camera's raw file; export it as JPEG"
_OTHERS = (
    (b"%PDF", "a PDF file"), (b"PK\x03\x04", "an archive or a document"), (b"Rar!", "an archive"),
    (b"\x1f\x8b", "an archive"), (b"7z\xbc\xaf", "an archive"), (b"\x1aE\xdf\xa3", "a video"),
    (b"\0\0\1\xba", "a video"), (b"FLV", "a video"), (b"OggS", "sound or a video"), (b"ID3", "sound"),
    (b"fLaC", "sound"), (b"8BPS", "a Photoshop file"), (b"\0\0\1\0", "an icon"),
    (b"\0\0\0\x0cJXL ", "a JPEG XL picture"), (b"\xff\x0a", "a JPEG XL picture"),
    (b"\0\0\0\x0cjP  ", "a JPEG 2000 picture"), (b"FUJIFILMCCD-RAW", _RAW), (b"IIRO", _RAW), (b"IIRS", _RAW),
    (b"IIU\0", _RAW),
)  # fmt: skip
# Files that this package writes or reads beside pictures, and those that systems hide.
_NOT_NAMED = re.compile(
    r"members\.toml|manifest\.jsonl|job\.json|(.*_)?result\.json|.*\.(analysis|masks|tracks|covers|corrections)\.jsonl|.*\.audit\.json|clip_\d+\.json"
    r"|thumbs\.db|ehthumbs\.db|desktop\.ini",
    re.IGNORECASE,
)


def photo_kind(head: bytes) -> str | None:
    """Which format of photo a file's first bytes are, by Pillow's name for it ("JPEG", "HEIF"); None for anything else.

    Args:
        head: the first 32 bytes, or more.
    """
    if head.startswith(b"\xff\xd8\xff"):
        return "JPEG"
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return "PNG"
    if head.startswith((b"GIF87a", b"GIF89a")):
        return "GIF"
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "WEBP"
    if head.startswith((b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")):
        return "TIFF"
    if head[:2] == b"BM" and int.from_bytes(head[14:18], "little") in _BMP_HEADERS:
        return "BMP"
    if head[4:8] == b"ftyp":
        size = int.from_bytes(head[:4], "big")
        brands = [head[8:12], *(head[i : i + 4] for i in range(16, min(size, HEAD), 4))]
        if brands[0] in _AVIF_BRANDS or (brands[0] in (b"mif1", b"msf1") and any(b in _AVIF_BRANDS for b in brands)):
            return "AVIF"
        if brands[0] in _HEIF_BRANDS:
            return "HEIF"
    return None


def sniffed(data: bytes) -> str:
    """What bytes that are no photo look like, for an error: "it is text"."""
    head = data[:256].lstrip().lower()
    if head.startswith((b"<!doctype", b"<html", b"<?xml", b"<svg")):
        return "it is a web page or SVG text"
    if data[4:12] == b"ftypcrx ":
        return f"it is {_RAW}"
    if data[4:8] == b"ftyp" or (data[:4] == b"RIFF" and data[8:11] == b"AVI"):
        return "it is a video"
    known = next((what for begin, what in _OTHERS if data.startswith(begin)), None)
    if known:
        return f"it is {known}"
    try:  # a character may be cut in two where the bytes end
        if "\0" not in codecs.getincrementaldecoder("utf-8")().decode(data[:256]):
            return "it is text"
    except UnicodeDecodeError:
        pass
    return f"first bytes {data[:8].hex(' ')}"


def why_no_photo(path: str | os.PathLike) -> str | None:
    """Why a file is not taken for a photo; None if it is taken.

    Its bytes say what it is. One that is called like a photo is taken whatever it is: reading it says what is wrong.

    Args:
        path: a file.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix in PHOTO_SUFFIXES:
        return None
    if not path.is_file():
        return "no ordinary file"  # opening a pipe would wait for a writer
    try:
        with path.open("rb") as file:
            head = file.read(HEAD)
    except OSError as error:
        return f"cannot be read: {error.strerror or error}"
    if not head:
        return "empty"
    kind = photo_kind(head)
    if kind == "TIFF" and (suffix in _RAW_SUFFIXES or head[8:10] == b"CR"):
        return _RAW
    return None if kind else sniffed(head).removeprefix("it is ")


def look_through(folder: str | os.PathLike[str]) -> tuple[list[Path], dict[Path, str]]:
    """(photos directly in a folder, other files and why each is not taken), both by name.

    Hidden files, and what this package writes itself, are in neither.

    Args:
        folder: its own folders are not looked into.
    """
    photos, others = [], {}
    with os.scandir(os.fspath(folder)) as entries:
        found = sorted((e for e in entries if not e.name.startswith(".") and not _is_folder(e)), key=lambda e: e.name)
    for entry in found:
        path = Path(entry.path)
        if not (path.is_file() if entry.is_symlink() else entry.is_file()):
            others[path] = "a link that leads nowhere" if entry.is_symlink() else "no ordinary file"
            continue
        why = why_no_photo(path)
        if why is None:
            photos.append(path)
        elif not is_own(entry.name):
            others[path] = why
    return photos, others


def _is_folder(entry: os.DirEntry) -> bool:
    return os.path.isdir(entry.path) if entry.is_symlink() else entry.is_dir()  # links may lead in a circle


def is_own(name: str) -> bool:
    """Is a file called like one that this package writes beside pictures, or one that a system hides?"""
    return _NOT_NAMED.fullmatch(name) is not None


def left_out(others: Mapping[Path, str]) -> str:
    """One line that names every file that was not taken, by the reasons.

    Args:
        others: file -> why it was not taken.
    """
    reasons: dict[str, list[str]] = {}
    for path, why in others.items():
        shown = "".join(c if c.isprintable() else "\ufffd" for c in shown_path(path.name))
        reasons.setdefault(why, []).append(shown)
    return "no pictures, left out: " + "; ".join(f"{', '.join(names)} ({why})" for why, names in reasons.items())

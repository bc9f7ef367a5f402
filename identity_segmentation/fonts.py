"""Names in every script -> the fonts that draw them. Fonts are those of the machine; none is shipped."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

from PIL import ImageFont

logger = logging.getLogger(__name__)


# Scripts that the base font may lack: (first, last code point), then file names to look for, best first.
_SCRIPT_FONTS = {
    "hangul": (
        ((0x1100, 0x11FF), (0x3130, 0x318F), (0xAC00, 0xD7FF)),
        ("NotoSansCJK", "NotoSansKR", "NanumGothic", "AppleSDGothicNeo", "malgun", "DroidSansFallback"),
    ),
    "han and kana": (
        ((0x2E80, 0x30FF), (0x3400, 0x9FFF), (0xFF00, 0xFFEF)),
        ("NotoSansCJK", "NotoSansJP", "NotoSansSC", "Hiragino", "msgothic", "msyh", "DroidSansFallback"),
    ),
    "thai": (
        ((0x0E00, 0x0E7F),),
        ("NotoSansThai", "NotoSansThaiLooped", "Loma", "Garuda", "Waree", "Thonburi", "LeelawUI", "tahoma"),
    ),
}
_BASE_FONTS = ("NotoSans-Regular", "DejaVuSans.", "LiberationSans-Regular", "Arial.", "Helvetica", "segoeui.")
_FONT_FOLDERS = (
    "/usr/share/fonts",
    "/usr/local/share/fonts",
    "~/.local/share/fonts",
    "~/.fonts",
    "/System/Library/Fonts",
    "/Library/Fonts",
    "~/Library/Fonts",
    "C:/Windows/Fonts",
)
FONT_HINT = (
    "install Noto fonts (Debian/Ubuntu: apt-get install fonts-noto-core fonts-noto-cjk), or name a "
    "folder of .ttf/.otf files in IDSEG_FONTS"
)


@lru_cache(maxsize=1)
def font_files() -> tuple[Path, ...]:
    """Every font file of this machine, those of `IDSEG_FONTS` first; looked for once."""
    folders = [os.environ["IDSEG_FONTS"]] if os.environ.get("IDSEG_FONTS") else []
    folders += [*_FONT_FOLDERS, str(Path(sys.prefix) / "share" / "fonts")]
    found = []
    for folder in folders:
        root = Path(folder).expanduser()
        if root.is_dir():
            found += sorted(p for p in root.rglob("*") if p.suffix.lower() in (".ttf", ".otf", ".ttc"))
    return tuple(found)


def _font_path(names: Sequence[str]) -> Path | None:
    for name in names:
        matches = [p for p in font_files() if p.name.lower().startswith(name.lower())]
        if matches:
            # A family's regular weight reads best on small plates.
            return min(matches, key=lambda p: ("regular" not in p.name.lower(), "bold" in p.name.lower(), len(p.name)))
    return None


@lru_cache(maxsize=64)
def _font(script: str, size: int):
    names = _BASE_FONTS if script == "base" else _SCRIPT_FONTS[script][1]
    path = _font_path(names)
    if path is not None:
        return ImageFont.truetype(str(path), size)
    if script == "base":
        return ImageFont.load_default(size)
    logger.warning("no font for %s is installed, so such names are drawn as boxes; %s", script, FONT_HINT)
    return _font("base", size)


def name_fonts() -> list[Path]:
    """The font files that names are drawn with, the base first: for other hands that draw text."""
    found = [_font_path(names) for names in (_BASE_FONTS, *(names for _, names in _SCRIPT_FONTS.values()))]
    return [path for path in found if path is not None]


def missing_scripts() -> list[str]:
    """Scripts of `_SCRIPT_FONTS` for which no font is installed."""
    return [script for script, (_, names) in _SCRIPT_FONTS.items() if _font_path(names) is None]


def _script_of(character: str) -> str:
    code = ord(character)
    for script, (ranges, _) in _SCRIPT_FONTS.items():
        if any(first <= code <= last for first, last in ranges):
            return script
    return "base"


def font_runs(text: str, size: int) -> list[tuple[str, ImageFont.FreeTypeFont]]:
    """The text split where the script, and so the font, changes; spaces and marks stay with what they follow."""
    runs: list[list[str]] = []
    for character in text:
        script = _script_of(character)
        if runs and (script == runs[-1][1] or (character == " " and script == "base")):
            runs[-1][0] += character
        else:
            runs.append([character, script])
    return [(part, _font(script, size)) for part, script in runs]

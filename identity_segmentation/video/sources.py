"""Files, folders and patterns -> the videos among them, and for every other file the reason why it is none.

What a file is, its first bytes say, never its name. A reader that decodes a frame has the last word.
"""

from __future__ import annotations

import fnmatch
import json
import os
import stat
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ..errors import InputError, VideoError
from ..files import read_json, shown_path
from .files import VideoReader
from .store import FOLDER

LEDGER = ".idseg-videos.jsonl"  # what was rendered into a folder; see `many`

# Names that claim: this is a video.
_SUFFIXES = (
    "mp4 m4v mov qt mkv webm avi divx mts m2ts m2t ts tod mod mpg mpeg mpe mpv m1v m2v vob 3gp 3g2 wmv asf flv f4v mxf "
    "ogv ogm rm rmvb dv ivf y4m h264 264 h265 hevc lrv insv wtv nut"
)
_CLAIM = frozenset(f".{name}" for name in _SUFFIXES.split())
_ALSO_TEXT = (".ts", ".mts", ".mod")  # TypeScript and others have these names too
_OWN_SUFFIXES = (".analysis.jsonl", ".masks.jsonl")
_MAGIC = frozenset("*?[")
_HEAD = 4096  # bytes that are looked at

# First bytes by kind, each by the format's own specification. ISO-BMFF, RIFF and MPEG-TS: see `kind_of`.
_STARTS: dict[str, tuple[bytes, ...]] = {
    "picture": (
        b"\xff\xd8\xff", b"\x89PNG", b"GIF8", b"II*\0", b"MM\0*", b"BM", b"8BPS", b"v/1\x01", b"\xff\x0a",
        b"\0\0\0\x0cjP  ", b"\0\0\0\x0cJXL ", b"\xff\x4f\xff\x51",
    ),
    "sound": (b"ID3", b"fLaC", b"FORM", b"caff", b"MThd", b"#!AMR", b"\xff\xfb", b"\xff\xf3", b"\xff\xf2", b"\xff\xf1",
              b"\xff\xf9", b"wvpk"),
    "video": (
        b"\x1aE\xdf\xa3",  # EBML: Matroska, WebM (RFC 8794)
        b"\0\0\x01\xba", b"\0\0\x01\xb3", b"\0\0\x01\xb0",  # MPEG program stream; MPEG-1, -2 and -4 video alone
        b"FLV\x01", b"\x30\x26\xb2\x75\x8e\x66\xcf\x11",  # Flash; ASF, WMV
        b"\x06\x0e\x2b\x34\x02\x05\x01\x01\x0d\x01\x02",  # MXF's header partition (SMPTE ST 377-1)
        b"OggS", b".RMF", b"DKIF", b"\0\0\0\x01\x67", b"\0\0\0\x01\x09", b"\0\0\0\x01\x40",  # Annex B
    ),
}  # fmt: skip
_BOXES = (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot")  # ISO/IEC 14496-12 and QuickTime
_PICTURE_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1", b"avif", b"avis", b"crx ")
_SOUND_BRANDS = (b"M4A ", b"M4B ", b"M4P ", b"F4A ")
_REASONS = {"picture": "a picture", "sound": "sound only", "text": "text", "": "not a video"}


@dataclass(frozen=True)
class Listed:
    """What `videos_in` found.

    Attributes:
        taken: the videos, each once, in the order given; in a folder by name, its files before its folders.
        passed_over: (file, reason) of every other file, broken ones included.
        broken: those of them that claim to be videos, by their name or their first bytes, and cannot be read.
        places: video -> where it lies below the folder that was named; of a file that was named, its name.
        own: how many files were left out because this program made them.
        given: what was asked for.
    """

    taken: list[Path]
    passed_over: list[tuple[Path, str]]
    broken: list[tuple[Path, str]] = field(default_factory=list)
    places: dict[Path, Path] = field(default_factory=dict)
    own: int = 0
    given: tuple[str, ...] = ()

    @property
    def others(self) -> list[tuple[Path, str]]:
        """What was passed over and claims nothing: pictures, text and the like."""
        broken = {path for path, _ in self.broken}
        return [(path, reason) for path, reason in self.passed_over if path not in broken]

    def why_none(self) -> str:
        """Why there are no videos, for an error."""
        text = f"no videos in {', '.join(self.given)}; expected video files (mp4, mov, mkv, mts, mpg, ...) or folders"
        if self.passed_over:
            shown = [f"{shown_path(path)} ({reason})" for path, reason in self.passed_over[:3]]
            more = len(self.passed_over) - len(shown)
            text += " of them; passed over: " + ", ".join(shown) + (f" and {more} more" if more else "")
        if self.own:
            text += f"; {self.own} file(s) that idseg made were left out: to take them, name the files themselves"
        return text


def videos_in(paths: Sequence[str | os.PathLike], known: Callable[[Path], bool] | None = None) -> Listed:
    """The videos among files, folders (all the way down) and patterns (``**`` too), told by their bytes.

    Hidden files and what this program made - work files, analyses, outputs - are left out of folders and patterns.
    Every other file that is no video is named with its reason. A file is taken once, by whatever ways it is reached.
    Links are followed, but not in circles. What exists under the name given is taken as itself, also with ``[`` or
    ``*`` in it.

    Args:
        paths: files, folders, patterns.
        known: says of a file that it has been read before, so that it need not be opened.

    Raises:
        InputError: one of them is not there, or a pattern matches nothing.
    """
    search = _Search(known or (lambda path: False))
    for given in paths:
        path = Path(given)
        if os.path.lexists(path):
            search.take(path, path.parent, walked=False)
        elif has_pattern(path):
            if not search.matches(path):
                raise InputError(f"{shown_path(path)}: nothing matches this pattern; expected one that names videos")
        else:
            raise InputError(f"no videos in {shown_path(path)}: no such folder or video")
    return Listed(
        search.taken, search.passed_over, search.broken, search.places, search.own,
        tuple(shown_path(given) for given in paths),
    )  # fmt: skip


def has_pattern(path: str | os.PathLike) -> bool:
    """Has a path that does not exist ``*``, ``?`` or ``[`` in it?"""
    return not _MAGIC.isdisjoint(os.fspath(path)) and not os.path.lexists(path)


def kind_of(head: bytes) -> str:
    """What a file is by its first bytes: "video", "picture", "sound", "text", or "" where nothing is known.

    A container that may hold video is called a video, even where it holds sound alone.
    """
    if head.startswith(b"YUV4MPEG2"):
        return "video"  # its header is text
    if _is_text(head):
        return "text"
    if head[4:8] == b"ftyp":
        brand = head[8:12]
        return "picture" if brand in _PICTURE_BRANDS else "sound" if brand in _SOUND_BRANDS else "video"
    if head[:4] == b"RIFF":
        return {b"AVI ": "video", b"WAVE": "sound", b"WEBP": "picture"}.get(head[8:12], "")
    for kind, starts in _STARTS.items():
        if head.startswith(starts):
            return kind
    return "video" if head[4:8] in _BOXES or _is_transport_stream(head) else ""


def _is_text(head: bytes) -> bool:
    """No control characters but those of text, in whatever 8-bit encoding; or UTF-16 with its mark."""
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        return True
    return not any(byte < 9 or 13 < byte < 27 or 27 < byte < 32 for byte in head)


def _is_transport_stream(head: bytes) -> bool:
    """MPEG-TS: a sync byte every 188 bytes (ISO/IEC 13818-1), 192 with a time code (BDAV, AVCHD), 204 with parity; a
    recording may begin within a packet."""
    for size in (188, 192, 204):
        for offset in range(min(size, len(head) - 2 * size)):
            if set(head[offset::size]) == {0x47}:
                return True
    return False


class _Search:
    """Goes through what was named, and sorts every file."""

    def __init__(self, known: Callable[[Path], bool]):
        self.taken: list[Path] = []
        self.passed_over: list[tuple[Path, str]] = []
        self.broken: list[tuple[Path, str]] = []
        self.places: dict[Path, Path] = {}
        self.own = 0
        self._known = known
        self._files: dict[str, Path] = {}  # real path -> as it was first met
        self._folders: set[str] = set()  # real paths of those gone through
        self._entered: set[Path] = set()
        self._made: set[str] = set()  # real paths of outputs

    def take(self, path: Path, base: Path, walked: bool) -> None:
        """A file, or a folder with all that is in it; `walked`: it was come upon, not named."""
        if walked and not path.is_dir() and self._is_own(path):
            self.own += 1
            return
        try:
            mode = path.stat().st_mode
        except OSError as error:
            leads = "a link that leads nowhere" if path.is_symlink() else f"cannot be read ({error.strerror})"
            self._pass_over(path, leads, _claims(path))
            return
        if stat.S_ISDIR(mode):
            self._folder(path, base if walked else path)
        elif not stat.S_ISREG(mode):
            self._pass_over(path, "not a file", False)
        else:
            self._file(path, path.relative_to(base) if walked else Path(path.name))

    def matches(self, pattern: Path) -> bool:
        """Take what a pattern matches; False if that is nothing."""
        base, rest = _split(pattern)
        found = False
        for path in self._expanded(base, rest, ()):
            found = True
            self.take(path, base, walked=True)
        return found

    def _expanded(self, folder: Path, parts: tuple[str, ...], above: tuple[str, ...]) -> Iterator[Path]:
        if not parts:
            yield folder
            return
        self._enter(folder)
        head, rest = parts[0], parts[1:]
        if head == "**":
            real = os.path.realpath(folder)
            if real in above:
                return  # a link in a circle
            yield from self._expanded(folder, rest, above)
            for entry in self._entries(folder):
                if entry.is_dir() and not _is_own_folder(entry):
                    yield from self._expanded(entry, parts, (*above, real))
            return
        for entry in self._entries(folder, hidden=head.startswith(".")):
            if fnmatch.fnmatchcase(entry.name, head):
                if not rest:
                    yield entry
                elif entry.is_dir():
                    yield from self._expanded(entry, rest, above)

    def _folder(self, folder: Path, base: Path) -> None:
        real = os.path.realpath(folder)
        if real in self._folders:
            return
        self._folders.add(real)
        self._enter(folder)
        entries = self._entries(folder)
        inner = [entry for entry in entries if entry.is_dir()]
        for entry in entries:
            if entry not in inner:
                self.take(entry, base, walked=True)
        for entry in inner:
            if not _is_own_folder(entry):
                self.take(entry, base, walked=True)

    def _entries(self, folder: Path, hidden: bool = False) -> list[Path]:
        """What lies in a folder, by name."""
        try:
            return [folder / name for name in sorted(os.listdir(folder)) if hidden or not name.startswith(".")]
        except (FileNotFoundError, NotADirectoryError):
            return []
        except OSError as error:
            self._pass_over(folder, f"a folder that cannot be looked into ({error.strerror})", True)
            return []

    def _enter(self, folder: Path) -> None:
        """Learn which files of a folder and below it this program made."""
        if folder in self._entered:
            return
        self._entered.add(folder)
        for record in read_ledger(folder):
            if record.get("state") in ("begun", "done"):
                self._made.add(os.path.realpath(folder / str(record.get("output"))))
        for told in (folder / FOLDER).glob("*.output.json"):
            output = read_json(told).get("output")
            if isinstance(output, str):
                self._made.add(os.path.realpath(output))

    def _is_own(self, path: Path) -> bool:
        name = path.name
        if name.endswith(_OWN_SUFFIXES) or name == "manifest.jsonl":
            return True
        beside = path.with_name(f"{name}{_OWN_SUFFIXES[0]}")
        return os.path.lexists(beside) or os.path.realpath(path) in self._made

    def _file(self, path: Path, place: Path) -> None:
        real = os.path.realpath(path)
        first = self._files.setdefault(real, path)
        if first is not path:
            if os.path.abspath(first) != os.path.abspath(path):
                self._pass_over(path, f"the same file as {shown_path(first)}", False)
            return
        if not self._known(path):
            reason, broken = _judged(path)
            if reason:
                self._pass_over(path, reason, broken)
                return
        self.taken.append(path)
        self.places[path] = place

    def _pass_over(self, path: Path, reason: str, broken: bool) -> None:
        self.passed_over.append((path, reason))
        if broken:
            self.broken.append((path, reason))


def _split(pattern: Path) -> tuple[Path, tuple[str, ...]]:
    """(the folder that a pattern starts in, its further parts). A part that exists as it is written is no pattern."""
    base = Path(pattern.anchor)
    parts = pattern.parts[1:] if pattern.anchor else pattern.parts
    for place, part in enumerate(parts):
        if not _MAGIC.isdisjoint(part) and not os.path.lexists(base / part):
            return base, parts[place:]
        base = base / part
    return base, ()


def _is_own_folder(folder: Path) -> bool:
    """Results of ours: of a video or a picture, as `files.own_folder` makes them; or filmstrips beside an output."""
    if folder.name.endswith(".tracks") and folder.with_suffix("").exists():
        return True
    for owner in ("source.json", "result.json"):
        said = read_json(folder / owner)
        of = said.get("source")
        if isinstance(of, str) and os.path.isabs(of) and (len(said) == 1 or "question" in said):
            return True
    return False


def _claims(path: Path) -> bool:
    return path.suffix.lower() in _CLAIM


def _judged(path: Path) -> tuple[str, bool]:
    """(why a file is no video, or "" if it is one; whether it claims to be one and cannot be read)."""
    claims = _claims(path)
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD)
    except OSError as error:
        return f"cannot be read ({error.strerror})", claims
    if not head:
        return "empty (0 bytes)", claims
    kind = kind_of(head)
    if kind == "text" and path.suffix.lower() in _ALSO_TEXT:
        return _REASONS["text"], False
    if kind in ("picture", "sound", "text") or not (kind or claims):
        return _REASONS[kind], claims
    if not _has_pictures(path):
        return _REASONS["sound"], False
    try:
        VideoReader(path).close()
    except VideoError as error:
        return reason_of(path, error), True
    return "", False


def _has_pictures(path: Path) -> bool:
    """False for a container of sound alone; a cover is no video. True also where it cannot be opened."""
    import av
    from av.stream import Disposition

    try:
        with av.open(os.fspath(path), options={"protocol_whitelist": "file"}) as container:
            return any(not stream.disposition & Disposition.attached_pic for stream in container.streams.video) or not (
                container.streams.audio
            )
    except (OSError, ValueError):
        return True  # the reader says what is wrong


def reason_of(path: Path, said: object) -> str:
    """What an error or a note says of a file, without the file's name in front."""
    text = str(said)
    for name in (str(path), shown_path(path)):
        if text.startswith(name):
            return text[len(name) :].lstrip(": ").removeprefix("is ") or text
    return text


def read_ledger(folder: Path) -> list[dict]:
    """The records of a folder's ledger, oldest first; lines that are torn or foreign are left out."""
    records = []
    try:
        lines = (folder / LEDGER).read_bytes().splitlines()
    except OSError:
        return []
    for line in lines:
        try:
            record = json.loads(line)
        except ValueError:
            continue
        if isinstance(record, dict):
            records.append(record)
    return records

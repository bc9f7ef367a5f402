"""One person on file: their names, their colour, and where each of their references came from."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, replace

from ..errors import InputError

NOT_THEIRS = "not_theirs"  # verdict on a photo of the data set that was said by hand to be somebody else's
# Distinct at a glance, and in print (Okabe and Ito's palette for colour-blind readers, and two more).
PALETTE = ("#E69F00", "#56B4E9", "#009E73", "#F0E442", "#0072B2", "#D55E00", "#CC79A7", "#8A5FD6", "#7F9F3F")


@dataclass(frozen=True)
class Reference:
    """Where one embedding came from. `source` is relative to the data set's folder; for a photo added by
    hand, its file name. `face` is where the face is: xyxy as parts of the picture's width and height, 0..1; None in
    galleries of early versions, which do not say. `thumbnail` is a small JPEG of the face; empty = none is kept."""

    source: str
    sha256: str
    picture_hash: int  # 64-bit difference hash of the picture: finds re-encoded and resized copies
    note: str = ""
    by_hand: bool = False
    face: tuple[float, float, float, float] | None = None
    thumbnail: bytes = field(default=b"", repr=False, compare=False)


@dataclass(frozen=True)
class Person:
    """One person: a stable id, a display name, other names they answer to, a colour, and their references.

    `folders` are the data set's folders they were built from: none for a person added by hand, several for people who
    were merged or whose folders `members.toml` gives one name. The fields `hand_...` keep what was said by hand, apart
    from what the data set says: a name, further names, and folders that were merged.
    """

    id: str
    name: str
    aliases: tuple[str, ...] = ()
    colour: str = PALETTE[0]
    folders: tuple[str, ...] = ()
    references: tuple[Reference, ...] = ()
    hand_name: str | None = None
    hand_aliases: tuple[str, ...] = ()
    hand_folders: tuple[str, ...] = ()

    @property
    def colour_bgr(self) -> tuple[int, int, int]:
        return int(self.colour[5:7], 16), int(self.colour[3:5], 16), int(self.colour[1:3], 16)


def normal_name(name: str) -> str:
    """A name as it is stored: NFC, no control or invisible characters, single spaces.

    Raises:
        InputError: nothing is left, or it is longer than 100 characters.
    """
    text = unicodedata.normalize("NFC", name)
    # Zero-width joiners matter in some scripts' shaping; the rest of Cc and Cf only hides differences.
    text = "".join(c for c in text if unicodedata.category(c) not in ("Cc", "Cf", "Cs") or c in "\u200c\u200d")
    text = " ".join(text.split())
    if not name_key(text) or len(text) > 100:
        raise InputError(f"expected a name of 1 to 100 visible characters, got {name[:120]!r}")
    return text


def name_key(name: str) -> str:
    """What two spellings of one name have in common: NFKC, no case, no spaces, no joiners."""
    text = unicodedata.normalize("NFKC", name).casefold()
    return "".join(c for c in text if not c.isspace() and unicodedata.category(c) not in ("Cc", "Cf"))


def checked_colour(colour: str | None, taken: Iterable[str]) -> str:
    """A colour checked, or the first of the palette that nobody has."""
    if colour is None:
        taken = list(taken)
        return next((c for c in PALETTE if c not in taken), PALETTE[len(taken) % len(PALETTE)])
    if not isinstance(colour, str):
        raise InputError(f"expected a colour as #RRGGBB, got {colour!r}")
    text = colour.strip().upper()
    if len(text) != 7 or text[0] != "#" or any(c not in "0123456789ABCDEF" for c in text[1:]):
        raise InputError(f"expected a colour as #RRGGBB, got {colour!r}")
    return text


def person_row(person: Person) -> dict:
    """A person as a manifest has them: thumbnails are tensors."""
    references = [{key: value for key, value in asdict(one).items() if key != "thumbnail"} for one in person.references]
    return asdict(replace(person, references=())) | {"references": references}


def reference_of(row: dict, thumbnail: bytes) -> Reference:
    """A reference out of a row of a manifest; galleries of early versions call its picture's hash "look"."""
    known = {("picture_hash" if key == "look" else key): value for key, value in row.items()}
    face = tuple(known["face"]) if known.get("face") else None
    return Reference(**known | {"face": face, "thumbnail": thumbnail})

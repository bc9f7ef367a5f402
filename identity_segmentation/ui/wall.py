"""The faces of the people on file as files that the page serves: of those on file alone, and only while they are.

A face is cut out when a photo is put on file, and lies with its embedding in the gallery. What is served are copies.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import uuid
from dataclasses import dataclass
from pathlib import Path

from ..people.gallery import Gallery
from ..people.person import PALETTE, Person

_COLOUR = re.compile(r"#[0-9A-Fa-f]{6}")


@dataclass(frozen=True)
class ShownFace:
    """One person, as a list of faces shows them.

    Attributes:
        id: of the person.
        name: display name.
        label: name and aliases, so that typing any of them finds it.
        colour: "#RRGGBB".
        image: their portrait, a file that is served; None where there is no picture of them.
    """

    id: str
    name: str
    label: str
    colour: str
    image: Path | None


class FaceFiles:
    """Copies of thumbnails in a folder that is served.

    Args:
        folder: the page's; the copies lie in "faces" there.
    """

    def __init__(self, folder: Path):
        self.folder = folder / "faces"

    def file(self, thumbnail: bytes) -> Path | None:
        """The copy of a thumbnail, made if need be; None for an empty one.

        Args:
            thumbnail: a JPEG.
        """
        if not thumbnail:
            return None
        path = self.folder / f"{hashlib.sha256(thumbnail).hexdigest()[:32]}.jpg"
        if not path.exists():  # the first time, or swept
            # Not `files.atomic_write`, which waits for the disk: two thousand faces would take half a minute.
            part = path.with_name(f"{uuid.uuid4().hex}.part")
            try:
                self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
                part.write_bytes(thumbnail)
                os.replace(part, path)
            except OSError:
                part.unlink(missing_ok=True)
                return None  # a full disk: a letter stands for the face
        return path

    def of(self, gallery: Gallery) -> list[ShownFace]:
        """Everyone on file, in the gallery's order.

        Args:
            gallery: the people on file.
        """
        return [
            ShownFace(
                person.id, person.name, " · ".join([person.name, *person.aliases]), shown_colour(person),
                self.file(gallery.portrait(index)),
            )
            for index, person in enumerate(gallery.people)
        ]  # fmt: skip

    def keep_only(self, gallery: Gallery | None) -> None:
        """Delete every copy of a face that is not on file.

        Args:
            gallery: the people on file; None = nobody is.
        """
        people = gallery.people if gallery else ()
        kept = {
            f"{hashlib.sha256(one.thumbnail).hexdigest()[:32]}.jpg"
            for person in people
            for one in person.references
            if one.thumbnail
        }
        if self.folder.is_dir():
            for path in self.folder.iterdir():
                if path.name not in kept:
                    with contextlib.suppress(OSError):
                        path.unlink()


def shown_colour(person: Person) -> str:
    """A person's colour; a gallery from elsewhere may say anything.

    Args:
        person: on file.
    """
    return person.colour if _COLOUR.fullmatch(str(person.colour)) else PALETTE[0]

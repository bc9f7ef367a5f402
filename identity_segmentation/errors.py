"""Every exception this package raises on purpose, in one small tree.

    IdentitySegmentationError
    |-- InputError            a file or value we were given cannot be used
    |   |-- ImageError        an image that is unreadable, truncated, foreign or too large
    |   `-- VideoError        a video that is unreadable, has no frames, or is damaged beyond use
    |-- EngineUnavailable     an engine that was named cannot run; the message has the command that fixes it
    |-- GalleryError          the gallery on disk, or what was asked of it
    |   |-- GalleryMismatch   built by another face engine or model
    |   |-- GalleryCorrupt    its files do not agree with their hashes
    |   |-- GalleryLocked     another process is writing it
    |   `-- UnknownPerson     no such name; the message suggests the nearest
    `-- OutputError           a result could not be written

A person who is not in the picture is a status, not an exception. `Cancelled` stands beside the tree: nothing is wrong.
"""

from __future__ import annotations


class IdentitySegmentationError(Exception):
    """Base of every error raised on purpose; the text is meant for the person at the keyboard."""


class InputError(IdentitySegmentationError, ValueError):
    """A value or file that was handed in cannot be used."""


class ImageError(InputError):
    """An image file that is empty, truncated, not an image, or too large to decode safely."""


class VideoError(InputError):
    """A video file that is not one, has no frames, or is damaged beyond use."""


class EngineUnavailable(IdentitySegmentationError):
    """A named engine is missing a package, a model or a device."""


class GalleryError(IdentitySegmentationError):
    """Something about the people on file."""


class GalleryMismatch(GalleryError):
    """The gallery was built with another face engine, whose numbers mean something else."""


class GalleryCorrupt(GalleryError):
    """No generation of the gallery on disk agrees with its own hashes."""


class GalleryLocked(GalleryError):
    """Another process holds the gallery's lock."""


class UnknownPerson(GalleryError, KeyError):
    """A name that no person in the gallery answers to."""

    def __str__(self) -> str:  # KeyError would print the repr
        return str(self.args[0]) if self.args else ""


class OutputError(IdentitySegmentationError, OSError):
    """A result could not be written where it was asked for."""

    def __str__(self) -> str:
        return str(self.args[0]) if self.args else ""


class Cancelled(Exception):
    """The caller asked to stop; everything finished so far is kept."""

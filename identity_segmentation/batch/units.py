"""What a job is made of: sources, and the units of work that go to workers. Only these travel, never frames."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Protocol

PARTS = ("whole", "look", "span", "join")


@dataclass(frozen=True)
class Source:
    """One photo or video of a job.

    Attributes:
        address: a path, or an fsspec address ("s3://bucket/clip.mp4").
        stamp: what tells that its content has changed, as text: an ETag, or size and time of the last change.
        place: what its outputs are called below the destination, with "/" and without suffix; in any script.
        size: bytes, or -1 where nobody says.
        name: what `place` would be if no other source were called so; empty = the same. Unlike it, it does not depend
            on what else is listed.
    """

    address: str
    stamp: str
    place: str
    size: int = -1
    name: str = ""

    def key(self, question: str) -> str:
        """What names the work on it: 32 hexadecimal digits of what it is and what is asked.

        The address is no part of it where the stamp is an ETag, so that a copy elsewhere is not done again.

        Args:
            question: hash of the question.
        """
        known = self.stamp if self.stamp.startswith("etag:") else f"{self.stamp} {self.name or self.place}"
        return hashlib.sha256(f"{question}\n{known}".encode(errors="surrogatepass")).hexdigest()[:32]


@dataclass(frozen=True)
class Unit:
    """One piece of work: a source, or a part of a long video.

    Attributes:
        key: of the source and the question; see `Source.key`.
        source: what is worked on.
        part: "whole"; of a long video "look" (who is where), "span" (some segments of the output) or "join".
        span: first and last segment of a span, counted from 0; None of other parts.
        tries: how often it was tried before.
        alone: is it done with nothing else at work on its machine? See `faults`.
        before: seconds of work in the parts of it that are done; of a join alone.
    """

    key: str
    source: Source
    part: str = "whole"
    span: tuple[int, int] | None = None
    tries: int = 0
    alone: bool = False
    before: float = 0.0

    def __post_init__(self) -> None:
        if self.part not in PARTS or (self.part == "span") != (self.span is not None):
            raise ValueError(f"expected a part of {PARTS} and a span of a span alone; got {self.part!r}, {self.span}")

    @property
    def name(self) -> str:
        """What tells it from the other units of the job."""
        return f"{self.key}-{self.part}" + ("" if self.span is None else f"-{self.span[0]:06d}-{self.span[1]:06d}")

    def again(self) -> Unit:
        """The same, tried once more."""
        return replace(self, tries=self.tries + 1)

    def as_json(self) -> str:
        """For a worker. A file name that is no UTF-8 is escaped, and comes back as it was."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Unit:
        """What `as_json` wrote."""
        fields: dict[str, Any] = json.loads(text)
        span = fields.pop("span")
        return cls(source=Source(**fields.pop("source")), span=None if span is None else tuple(span), **fields)


class Beat(Protocol):
    """How a worker says that it is alive."""

    def __call__(self, seconds: float, kept: int | None = None) -> None:
        """Say it; called again and again.

        Args:
            seconds: length of the source, 0 while that is not known.
            kept: how much of the unit was done by earlier tries: any number that grows with it. None = as said before.
        """


@dataclass(frozen=True)
class Outcome:
    """What became of a unit.

    Attributes:
        state: "done" (the row, if there is one, is in the destination), "failed" (it cannot be done: put aside),
            "error" (it went wrong and may be tried again), "killed" (its worker died), "timed out".
        row: what is known of it, for the ledger; JSON.
        reason: why not; empty if it was done.
        kept: of a worker that was killed, how much it found done when it began with the unit; see `Beat`.
    """

    state: str
    row: Mapping[str, Any] | None = None
    reason: str = ""
    kept: int = 0

    @property
    def again(self) -> bool:
        """Is it worth another try?"""
        return self.state in ("error", "killed", "timed out")

"""What a run of a labelling job did, and what would better its labels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from .calibration import Calibration

_SOME, _MOST = 4, 0.75  # of so many pictures, a thing in more than this share: one asks whether some show nothing


@dataclass
class LabelReport:
    """What a run did: pictures labelled (how many by the engine, and of these how many with anything in them), kept
    from before, passed over as unreadable (path: why); the other files of the folders, which are no pictures (path:
    what it is); references, and how many of them show nothing of an id."""

    done: int = 0
    by_engine: int = 0
    found: int = 0
    kept: int = 0
    unreadable: dict[str, str] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)
    references: int = 0
    showing_nothing: int = 0
    seconds: float = 0.0
    learning_seconds: float = 0.0
    cancelled: bool = False
    calibration: Calibration = field(default_factory=Calibration)

    @property
    def advice(self) -> str:
        """What would better the labels most, in a sentence; empty where nothing is to be said."""
        if self.showing_nothing or self.by_engine < _SOME or self.found <= _MOST * self.by_engine:
            return ""
        return (
            f"something was found in {self.found} of {self.by_engine} pictures: if more of them show nothing, mark one "
            "or two so (None here, or idseg label mark PICTURE --nothing), and far fewer get wrong labels"
        )

    def count(self, row: Mapping) -> None:
        """Take up the record of one more picture."""
        if row["state"] == "unreadable":
            self.unreadable[row["picture"]] = row["reason"]
            return
        self.done += 1
        if row["by"] == "engine":
            self.by_engine += 1
            self.found += bool(row["objects"])

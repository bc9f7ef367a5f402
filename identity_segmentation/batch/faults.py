"""A unit that went wrong -> another try of it, or none: is it the unit's fault, or that of whoever killed its worker?

A worker that is killed leaves no word. The machine may have been taken away, memory may have been short because of a
neighbour, somebody may have killed it; or the unit itself takes more memory than there is, and will kill every worker.
What tells them apart is whether it happens again where nothing else can have caused it:

- A kill does not count if the unit had got further than the time before: it will end, however often it is killed.
- One that was killed twice without getting further is done last, with nothing else at work on its machine.
- Killed there too, it is put aside after two times - where workers are killed all the time, after as many as chance
  would hardly explain. How often that is, the units show that were done in the end.

A crash (of a decoder, a library) leaves its signal, and an error its text. These are tried twice more.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from .units import Outcome, Unit

OTHER_TRIES = 2  # more tries after an error, a crash, or a time-out
AMONG_OTHERS = 2  # kills without getting further, after which a unit is done alone
LEAST_ALONE, MOST_ALONE = 2, 12  # kills of a unit that was alone, after which it is put aside
_CHANCE = 1e-4  # that a unit without fault is put aside, where workers are killed at random


@dataclass
class _Known:
    """Of a unit that went wrong."""

    killed: int = 0  # in all
    among_others: int = 0  # since it last got further
    alone: int = 0
    kept: int = 0
    others: int = 0


class Faults:
    """What went wrong with the units at work, and how often workers are killed over units that have no fault."""

    def __init__(self) -> None:
        self._known: dict[str, _Known] = {}
        self._tries = self._kills = 0  # of units that were done in the end

    def again(self, unit: Unit, outcome: Outcome) -> Unit | None:
        """The unit for another try; None = it is put aside.

        Args:
            unit: that was tried.
            outcome: what became of it; one that is worth another try.
        """
        known = self._known.setdefault(unit.name, _Known())
        if outcome.state != "killed":
            known.others += 1
            return unit.again() if known.others <= OTHER_TRIES else None
        known.killed += 1
        if outcome.kept > known.kept:
            known.kept, known.among_others, known.alone = outcome.kept, 0, 0
            unit = replace(unit, alone=False)
        if unit.alone:
            known.alone += 1
        else:
            known.among_others += 1
        if known.alone >= self.most_alone():
            return None
        return replace(unit.again(), alone=unit.alone or known.among_others >= AMONG_OTHERS)

    def most_alone(self) -> int:
        """So many kills of a unit that is alone are no chance: the least n with rate ** n below one in ten thousand."""
        rate = self._kills / self._tries if self._tries else 0.0
        if rate <= 0:
            return LEAST_ALONE
        return min(MOST_ALONE, max(LEAST_ALONE, math.ceil(math.log(_CHANCE) / math.log(rate))))

    def reason(self, unit: Unit, outcome: Outcome) -> str:
        """Why a unit is put aside.

        Args:
            unit: that was tried.
            outcome: of the last try.
        """
        known = self._known.get(unit.name)
        if known is None or not known.alone or outcome.state != "killed":
            return outcome.reason
        return f"{outcome.reason} (killed {known.killed} times, {known.alone} with nothing else at work)"

    def over(self, unit: Unit, done: bool) -> None:
        """Nothing more is tried of this unit.

        Args:
            unit: that has ended.
            done: was it done?
        """
        known = self._known.pop(unit.name, _Known())
        if done:
            self._tries += unit.tries + 1
            self._kills += known.killed

    def drop(self, key: str) -> None:
        """Nothing more is tried of any part of a source.

        Args:
            key: of the source.
        """
        for name in [name for name in self._known if name.startswith(key)]:
            del self._known[name]

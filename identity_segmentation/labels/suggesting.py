"""Which pictures to mark next: those that the labels are least sure of, and among them those that stand for many.

Marks teach most where the engine is unsure and where nothing like it is marked yet. To take only the least sure would
give five pictures alike, all with one difficulty; to take only the most unlike would give odd ones, which stand for
nothing but themselves. So the least sure third is taken first (a wide choice before a diverse one: Zhdanov, Diverse
mini-batch active learning, arXiv:1901.05954). Within it each picture is the one after whose choice the pictures in
question are least far, on the whole, from something marked or chosen (the facility-location function, greedily: Wei,
Iyer and Bilmes, Submodularity in data subset selection and active learning, ICML 2015). The farthest-first traversal
(core-set: Sener and Savarese, Active learning for convolutional neural networks, ICLR 2018) bounds the greatest of
these distances rather than their sum; tried on the same pictures it began with the odd ones, and taught less.
Near-copies of what is marked or chosen are passed over: they would teach nothing new.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ..engines.protocols import Learned
from ..errors import InputError
from ..images import read_image
from ..pace import in_order, pool_of
from .calibration import Calibration
from .describing import Description, Looks, copies_of, placed
from .targets import DECIDED, Target

_UNSURE = 1 / 3  # of the pictures; but enough for a choice:
_CHOICE = 4  # times as many as are asked for
_STANDING = 2000  # pictures whose distances are summed up, at most; of more, an even selection
_OTHERS = "stands for pictures unlike those chosen before it"
LOOKED = 200  # pictures without labels that are labelled for a look, at most: a matter of seconds

# Labels pictures for a look, in their order: what a record says of them, or None where one cannot be labelled.
Look = Callable[[Sequence[Target]], Sequence[Mapping | None]]


@dataclass(frozen=True)
class Suggestion:
    """A picture whose marks would teach much.

    Attributes:
        picture: the file.
        name: of its labels, by which `LabelJob.to_correct` knows it once it has some.
        labelled: has it labels?
        sure: how sure its labels are, 0..1; None where nothing is known of it.
        reason: why it was chosen, in plain words.
    """

    picture: Path
    name: str
    labelled: bool
    sure: float | None
    reason: str


@dataclass
class Suggested:
    """What is to be marked next, the best first.

    Attributes:
        pictures: those that were chosen; fewer than were asked for where no more are left.
        left: pictures there were to choose from.
        copies: of these, near-copies of what is marked, which were passed over.
        unreadable: path of each that cannot be read -> why.
        left_out: other files of the folders, which are no pictures: path -> what it is.
    """

    pictures: list[Suggestion] = field(default_factory=list)
    left: int = 0
    copies: int = 0
    unreadable: dict[str, str] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)


def suggest(
    targets: Sequence[Target],
    rows: Mapping[str, Mapping],
    marked: Mapping[str, Path],
    look: Look | None,
    folder: Path,
    count: int,
) -> Suggested:
    """Choose the pictures whose marks would teach most.

    Args:
        targets: pictures to choose from; those marked or decided about are passed over.
        rows: picture -> its record.
        marked: sha256 of each marked picture -> where it is.
        look: labels pictures that have no record; None where nothing can be learnt yet.
        folder: the job's, where descriptions are kept.
        count: how many, 1 or more.

    Raises:
        InputError: no pictures, or a count below 1.
    """
    if count < 1:
        raise InputError(f"expected one picture or more, got {count}")
    if not targets:
        raise InputError("no pictures among the targets; expected pictures, or folders that hold some")
    decided = {str(row.get("sha256")) for row in rows.values() if row["state"] in (*DECIDED, "rejected")}
    open_ones = [t for t in targets if rows.get(t.key, {}).get("state") not in (*DECIDED, "rejected")]
    paths = [path for path in marked.values() if path.is_file()]
    seen, unreadable = Looks(folder).of([*paths, *(t.path for t in open_ones)], os.cpu_count() or 1)
    left = [t for t in open_ones if t.path in seen and seen[t.path].sha256 not in {*marked, *decided}]
    ours = {str(t.path) for t in open_ones}
    found = Suggested(left=len(left), unreadable={path: why for path, why in unreadable.items() if path in ours})
    if left:
        _Choice(left, [seen[path] for path in paths if path in seen], seen, rows, look, count).make(found)
    return found


def looked(learned: Learned, calibration: Calibration, targets: Sequence[Target]) -> list[Mapping | None]:
    """Label pictures for a look, of which nothing is written: what a record would say of each.

    Args:
        learned: of the references.
        calibration: of its trials.
        targets: the pictures.

    Returns:
        "objects", "absent" and "sure", as a record has them; None for a picture that cannot be read.
    """

    def look(target: Target) -> dict | None:
        try:
            found = learned.label(read_image(target.path)).values()
        except InputError:
            return None
        objects = [{"score": s.score, "expected_iou": calibration.expected(s.score)} for s in found if s.area]
        absent = {str(number): s.score for number, s in enumerate(found) if not s.area}
        sure = min([*map(_worth, objects), *absent.values()], default=0.0)
        return {"objects": objects, "absent": absent, "sure": sure}

    workers = (os.cpu_count() or 1) if learned.parallel else 1
    with pool_of(workers, learned.parallel) as pool:
        return list(in_order(pool, look, targets, workers))


class _Choice:
    """One choice: the pictures left, numbered, and after them those that are marked."""

    def __init__(
        self,
        left: Sequence[Target],
        marked: Sequence[Description],
        seen: Mapping[Path, Description],
        rows: Mapping[str, Mapping],
        look: Look | None,
        count: int,
    ):
        self.left, self.count, self.marked = left, count, len(marked)
        everything = [*(seen[t.path] for t in left), *marked]
        self.places = placed(np.stack([d.looks for d in everything]))
        self.fine = np.stack([d.fine for d in everything])
        self.near = np.full(len(left), np.inf)  # distance to what is marked or chosen
        self.free = np.ones(len(left), bool)
        for number in range(len(left), len(everything)):
            self._settle(number)
        self.copies = int((~self.free).sum())
        self.rows: list[Mapping | None] = [rows.get(target.key) for target in left]
        self.labelled = [row is not None and row["state"] == "proposed" for row in self.rows]
        if look is not None:
            self._look(look)
        self.sure = np.array([_sureness(row) for row in self.rows])

    def _settle(self, number: int) -> None:
        """A picture is marked or chosen: the others are as far from it, and its copies are out."""
        away = np.linalg.norm(self.places[: len(self.left)] - self.places[number], axis=1)
        self.near = np.minimum(self.near, away)
        self.free &= ~copies_of(number, self.fine, self.places)[: len(self.left)]

    def _look(self, look: Look) -> None:
        """Label some of those that have no labels: as many as take seconds, the farthest from what is marked first."""
        without = [n for n in np.argsort(-self.near, kind="stable") if self.free[n] and not self.labelled[n]]
        chosen = sorted(int(n) for n in without[:LOOKED])
        for number, row in zip(chosen, look([self.left[n] for n in chosen]) if chosen else (), strict=True):
            self.rows[number] = row

    def make(self, found: Suggested) -> None:
        """Choose; the suggestion holds the pictures then."""
        found.copies = self.copies
        pool = self._unsure()
        asked = np.flatnonzero(pool)
        asked = asked[:: max(1, math.ceil(asked.size / _STANDING))]
        lowest, begun = np.nanmin(self.sure) if np.isfinite(self.sure).any() else None, self.near.copy()
        while len(found.pictures) < self.count and (open_ones := np.flatnonzero(pool & self.free)).size:
            number = int(open_ones[np.argmax(self._gains(open_ones, asked))])
            target, row = self.left[number], self.rows[number]
            reason = "; ".join(self._reasons(number, row, lowest, begun, bool(found.pictures)))
            sure = None if math.isnan(self.sure[number]) else float(self.sure[number])
            found.pictures.append(Suggestion(target.path, target.name, self.labelled[number], sure, reason))
            self._settle(number)
            self.free[number] = False

    def _gains(self, candidates: np.ndarray, asked: np.ndarray) -> np.ndarray:
        """How much nearer those in question would be, summed up, to something marked or chosen, were each chosen."""
        places, near = self.places[asked], self.near[asked]
        near = np.where(np.isfinite(near), near, 2 * float(np.linalg.norm(self.places, axis=1).max()))
        squares = (places**2).sum(axis=1)
        gains = np.empty(candidates.size)
        for place, number in enumerate(candidates):
            one = self.places[number]
            away = np.sqrt(np.maximum(squares - 2 * places @ one + one @ one, 0))
            gains[place] = np.maximum(near - away, 0).sum()
        return gains

    def _unsure(self) -> np.ndarray:
        """Those that the labels are least sure of, bool (N,); all, where nothing is labelled."""
        known = np.flatnonzero(self.free & np.isfinite(self.sure))
        if not known.size:
            return self.free.copy()
        most = max(math.ceil(known.size * _UNSURE), _CHOICE * self.count)
        pool = np.zeros(len(self.left), bool)
        pool[known[np.argsort(self.sure[known], kind="stable")[:most]]] = True
        return pool if int(pool.sum()) >= self.count else self.free.copy()

    def _reasons(self, number: int, row: Mapping | None, lowest, begun: np.ndarray, more: bool) -> list[str]:
        reasons = []
        if row is not None and not math.isnan(self.sure[number]):
            what = _said_of(row)
            least = self.sure[number] <= lowest
            reasons.append(f"least sure of all: {what}" if least else f"among the least sure: {what}")
        if not self.marked:
            reasons.append(_OTHERS if more else "typical of these pictures")
        elif begun[number] >= np.median(begun):
            reasons.append("unlike anything marked")
        elif more:
            reasons.append(_OTHERS)
        return reasons or ["none of these pictures is marked"]


def _sureness(row: Mapping | None) -> float:
    return float(row["sure"]) if row is not None and row.get("sure") is not None else math.nan


def _said_of(row: Mapping) -> str:
    """What makes the labels of a record less than sure, in plain words."""
    least = min(row["objects"], key=_worth, default=None)
    if least is None or min(map(float, row.get("absent", {}).values()), default=2.0) < _worth(least):
        return f"nothing found, {float(row['sure']):.2f} sure of that"
    if least["expected_iou"] is None:
        return f"score {least['score']:.2f}"
    return f"expected IoU {least['expected_iou']:.2f}"


def _worth(thing: Mapping) -> float:
    return float(thing["score"] if thing["expected_iou"] is None else thing["expected_iou"])

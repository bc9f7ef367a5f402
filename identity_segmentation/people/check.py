"""How well a gallery tells its people apart: who is confused with whom, which photos help, how many strangers get in.

Every reference in turn is taken out and named by the rest (leave-one-out), by the rule that names faces in pictures.
Enrolment says the part of it that a user has to act on (`remarks`).
"""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..drawing import matrix_picture
from ..engines.protocols import FaceEngine
from ..errors import InputError
from .gallery import EXHAUSTIVE, Gallery, blended
from .measure import Astray, Pair, measure, own_scores
from .rule import LEAST_IMPOSTORS, NamingRule

_THIN = 3  # references from which a person's mean is one
_NAMES_SHOWN = 6
_ROUNDING = 1e-3  # an effect on the similarity that is none


@dataclass(frozen=True)
class Remark:
    """One sentence about people on file.

    Attributes:
        people: whom it is about.
        kind: "pair" (they look like one person), "astray" (a photo looks like somebody else on file), "thin" (few
            photos), "weak" (their photos do not name each other) or "strict" (the strict threshold applies to them).
        text: the sentence, with what to do.
    """

    people: tuple[str, ...]
    kind: str
    text: str


@dataclass(frozen=True)
class PhotoCheck:
    """One reference.

    Attributes:
        person, photo: whose, and its file.
        similarity: to the person's other references; None for the only one.
        called: the name that it would get without itself on file; None = unknown.
        nearest, nearest_similarity: the other person who comes nearest.
        effect: by how much it raises what the person's other references score; below 0 it lowers it.
        verdict: "carries" (the person's most helpful photos), "hurts" (the others are better without it, it is nearer
            to somebody else, or as unlike the others as an outlier) or "".
    """

    person: str
    photo: str
    similarity: float | None
    called: str | None
    nearest: str | None
    nearest_similarity: float
    effect: float
    verdict: str


@dataclass(frozen=True)
class PersonCheck:
    """One person.

    Attributes:
        name: display name.
        references: number of them.
        level: their acceptance threshold.
        measured: the gallery's look-alikes show that level; if not, it is the engine's strict threshold.
        called: name (None = unknown) -> how many of their references would be called so.
        strangers: of 1,000 faces of look-alike strangers, how many would be called by this name; None = unknown.
    """

    name: str
    references: int
    level: float
    measured: bool
    called: dict[str | None, int]
    strangers: float | None


@dataclass(frozen=True, eq=False)
class Check:
    """What `check` found.

    Attributes:
        people, photos: one by one, in the gallery's order.
        similarity: float (P, P), the median score of the row's references against the column's person; on the
            diagonal, against the person's other references (nan for a single one).
        remarks: what to act on.
        strangers: of 1,000 faces of look-alike strangers, how many would be given a name; None = unknown.
    """

    people: tuple[PersonCheck, ...]
    photos: tuple[PhotoCheck, ...]
    similarity: np.ndarray
    remarks: tuple[Remark, ...]
    strangers: float | None

    def table(self) -> str:
        """The whole as text: the matrix, then the findings."""
        numbers = range(1, len(self.people) + 1)
        wide = max([5, *(len(str(n)) + 1 for n in numbers)])
        lines = [
            "Median similarity of the photos of each (row) to each (column); named, unknown, wrong: of their photos, "
            "each without itself on file.",
            "".join(f"{n:>{wide}}" for n in numbers) + "  named unknown wrong level",
        ]
        for n, (person, row) in enumerate(zip(self.people, self.similarity, strict=True), 1):
            cells = "".join(f"{'-':>{wide}}" if np.isnan(v) else f"{v:>{wide}.2f}" for v in row)
            named, unknown = person.called.get(person.name, 0), person.called.get(None, 0)
            wrong = sum(person.called.values()) - named - unknown
            level = f"{person.level:.2f}{'' if person.measured else ' strict'}"
            lines.append(f"{cells}  {named:>5} {unknown:>7} {wrong:>5} {level:<11} {n} {person.name}")
        return "\n".join([*lines, "", self.findings()])

    def findings(self) -> str:
        """What is worth saying, as text: photos, people, strangers, remarks."""
        lines = self._photo_lines()
        asked = sum(photo.similarity is not None for photo in self.photos)
        if asked and not any("would be" in line for line in lines):
            lines.append("every photo would be given its name by the others")
        for person in self.people:
            best = sorted((p for p in self.photos if p.person == person.name), key=lambda p: -p.effect)
            carrying = [p.photo for p in best if p.verdict == "carries"]
            if carrying:
                lines.append(f"{person.name} is carried by: {', '.join(carrying)}")
        if self.strangers is not None:
            lines += [
                f"Of 1,000 faces of strangers who look like people on file, expect {self.strangers:.1f} to be given a "
                "name; of others next to none.",
            ]
        return "\n".join([*lines, *(remark.text for remark in self.remarks)])

    def _photo_lines(self) -> list[str]:
        lines = []
        for photo in self.photos:
            said = []
            if photo.similarity is not None and photo.called != photo.person:
                said.append(f"would be {photo.called or 'unknown'}")
                if photo.nearest:
                    said.append(f"similarity {photo.similarity:.2f}, {photo.nearest} {photo.nearest_similarity:.2f}")
            if photo.verdict == "hurts":
                said.append(f"{photo.verdict} ({photo.effect:+.3f})")
            if said:
                lines.append(f"{photo.photo}: {'; '.join(said)}")
        return lines

    def picture(self) -> np.ndarray:
        """The matrix as a picture: uint8 (H, W, 3), BGR."""
        return matrix_picture([person.name for person in self.people], self.similarity)


def check(gallery: Gallery, engine: FaceEngine, threshold: float | None = None, margin: float | None = None) -> Check:
    """Check a gallery.

    Args:
        gallery: built with that engine; 2,000 people at most.
        engine: gives the levels.
        threshold, margin: as in `NamingRule.of_engine`.

    Raises:
        GalleryMismatch: the gallery was built with another engine.
        InputError: more people than can be held against each other.
    """
    gallery.check_engine(engine)
    if len(gallery) > EXHAUSTIVE:
        raise InputError(
            f"expected {EXHAUSTIVE:,} people at most, who are held against each other; got {len(gallery):,}"
        )
    rule = NamingRule.of_engine(engine, gallery, threshold, margin)
    found = measure(gallery, engine.threshold, engine.margin)
    scores, owners = _leave_one_out(gallery), gallery.owners
    people, photos = [], []
    similarity = np.full((len(gallery), len(gallery)), np.nan)
    for index, person in enumerate(gallery.people):
        rows = scores[owners == index]
        similarity[index] = np.median(rows, axis=0)
        theirs = _photos_of(gallery, index, rows, rule, engine.outlier)
        photos += theirs
        level = float(rule.levels[index])
        called = Counter(photo.called for photo in theirs if photo.similarity is not None)
        strangers = _strangers(engine, level, found.impostors)
        people.append(
            PersonCheck(person.name, len(person.references), level, bool(found.shown[index]), dict(called), strangers)
        )
    known = [person.strangers for person in people if person.strangers is not None]
    total = min(1000.0, sum(known)) if known and len(known) == len(people) else None
    return Check(tuple(people), tuple(photos), similarity, tuple(remarks(gallery, engine, rule)), total)


def _photos_of(gallery: Gallery, index: int, rows: np.ndarray, rule: NamingRule, outlier: float) -> list[PhotoCheck]:
    """A person's references, each with its row of leave-one-out scores (P,)."""
    person, photos = gallery.people[index], []
    effects = _effects(gallery.person_references(index))
    verdicts = _photo_verdicts(rows, index, effects, outlier)
    for reference, row, effect, verdict in zip(person.references, rows, effects, verdicts, strict=True):
        given = _called(rule, row)
        others = np.where(np.arange(len(row)) == index, -2, row)
        near = int(others.argmax()) if len(row) > 1 else None
        photos.append(
            PhotoCheck(
                person.name, reference.source, None if np.isnan(row[index]) else float(row[index]),
                None if given is None else gallery.people[given].name,
                None if near is None else gallery.people[near].name,
                -1.0 if near is None else float(others[near]), float(effect), verdict,
            )
        )  # fmt: skip
    return photos


def _leave_one_out(gallery: Gallery) -> np.ndarray:
    """float (N, P): every reference against everybody, itself taken out; nan against the owner of a single one."""
    scores = gallery.similarity(gallery.references).astype(np.float64) if len(gallery) else np.zeros((0, 0))
    at = 0
    for index, person in enumerate(gallery.people):
        scores[at : at + len(person.references), index] = own_scores(gallery, index) or [np.nan]
        at += len(person.references)
    return scores


def _called(rule: NamingRule, row: np.ndarray) -> int | None:
    scores = np.where(np.isnan(row), -1.0, row)
    said = rule.judge(scores, int(scores.argmax()))
    return said.person if said.accepted else None


def _effects(references: np.ndarray) -> np.ndarray:
    """float (n,): by how much each reference raises what the others score against each other (their median)."""
    count = len(references)
    if not _THIN <= count <= 100:
        return np.zeros(count)
    effects = np.zeros(count)
    for out in range(count):
        rest = [i for i in range(count) if i != out]
        gains = []
        for probe in rest:
            without = [i for i in rest if i != probe]
            row = references[probe][None]
            gains.append(blended(row, references[[*without, out]])[0] - blended(row, references[without])[0])
        effects[out] = np.median(gains)
    return effects


def _photo_verdicts(rows: np.ndarray, person: int, effects: np.ndarray, outlier: float) -> list[str]:
    """The third of a person's photos that help most carry them.

    Those hurt that help less than nothing, are nearer to somebody else, or are as unlike the others as an outlier.
    """
    if len(rows) < _THIN:
        return [""] * len(rows)
    others = np.delete(rows, person, axis=1)
    nearer = others.max(axis=1) >= rows[:, person] if others.shape[1] else np.zeros(len(rows), bool)
    nearer |= rows[:, person] < outlier
    carries = (effects > 0) & (effects >= np.sort(effects)[::-1][max(0, len(rows) // 3 - 1)])
    return [
        "hurts" if (e < -_ROUNDING or n) else "carries" if c else ""
        for e, n, c in zip(effects, nearer, carries, strict=True)
    ]


def _strangers(engine: FaceEngine, level: float, impostors: np.ndarray) -> float | None:
    """Of 1,000 look-alike strangers' faces, how many reach a level against one person."""
    if engine.strangers:
        reached, share = np.array(engine.strangers).T
        if level <= reached[-1]:
            return 10 * float(np.exp(np.interp(level, reached, np.log(share))))
        slope = np.log(share[-1] / share[-2]) / (reached[-1] - reached[-2])  # the tail goes on as it ends
        return 10 * float(share[-1] * np.exp(slope * (level - reached[-1])))
    if len(impostors) < LEAST_IMPOSTORS:
        return None
    return 1000 * max(float((impostors >= level).mean()), 1 / len(impostors))


def remarks(gallery: Gallery, engine: FaceEngine, rule: NamingRule | None = None) -> list[Remark]:
    """What a user should know about the people on file, most pressing first.

    Args:
        gallery: built with that engine.
        engine: gives the levels.
        rule: that names are given by; None = the engine's.
    """
    rule = NamingRule.of_engine(engine, gallery) if rule is None else rule
    found = measure(gallery, engine.threshold, engine.margin)
    said = [_pair_remark(gallery, pair) for pair in found.pairs if not gallery.are_apart(pair.first, pair.second)]
    said += [_astray_remark(gallery, astray) for astray in found.astray]
    sizes = {person.name: len(person.references) for person in gallery.people}
    for count, word in ((1, "one photo"), (2, "two photos")):
        thin = tuple(name for name, size in sizes.items() if size == count)
        if thin:
            text = f"{word} only, and three or more make names far more certain: {_listed(thin)}"
            said.append(Remark(thin, "thin", text))
    if len(gallery) <= EXHAUSTIVE:
        said += _weak(gallery, rule)
    alone = np.flatnonzero(~found.shown)
    strict = tuple(gallery.people[i].name for i in alone)
    if strict:
        text = (
            f"the strict threshold ({_range(rule.levels[alone])}) applies to {_listed(strict)}: too few look-alikes "
            "are on file to show what strangers of their kind reach"
        )
        said.append(Remark(strict, "strict", text))
    return said


def _range(levels: np.ndarray) -> str:
    low, high = f"{levels.min():.2f}", f"{levels.max():.2f}"
    return low if low == high else f"{low} to {high}"


def _astray_remark(gallery: Gallery, astray: Astray) -> Remark:
    owner, other = gallery.people[int(gallery.owners[astray.reference])], gallery.people[astray.person]
    photo = [r.source for person in gallery.people for r in person.references][astray.reference]
    return Remark(
        (owner.name, other.name),
        "astray",
        f"{photo} is filed under {owner.name} and looks like {other.name} (similarity {astray.similarity:.2f}, to "
        f"{owner.name}'s other photos {astray.own:.2f}): put it where it belongs",
    )


def _pair_remark(gallery: Gallery, pair: Pair) -> Remark:
    first, second = gallery.people[pair.first].name, gallery.people[pair.second].name
    words = " ".join([*(["--"] if "-" in (first[0], second[0]) else []), shlex.quote(first), shlex.quote(second)])
    return Remark(
        (first, second),
        "pair",
        f"{first} and {second} look like one person (similarity {pair.similarity:.2f}): idseg people merge "
        f"{words}. If they are two, a lead of {pair.lead:.2f} decides between them",
    )


def _weak(gallery: Gallery, rule: NamingRule) -> list[Remark]:
    """People whose photos, most of them, would not be given their name by the others."""
    scores, owners = _leave_one_out(gallery), gallery.owners
    said = []
    for index, person in enumerate(gallery.people):
        rows = scores[owners == index]
        named = sum(_called(rule, row) == index for row in rows)
        if len(rows) >= _THIN and 2 * named < len(rows):
            text = (
                f"{person.name} is hard to tell from others: {named} of {len(rows)} of their photos would be named by "
                "the rest. Add clear photos, or see: idseg people check"
            )
            said.append(Remark((person.name,), "weak", text))
    return said


def _listed(names: Sequence[str]) -> str:
    more = len(names) - _NAMES_SHOWN
    return ", ".join(names[:_NAMES_SHOWN]) + (f" and {more} more" if more > 0 else "")

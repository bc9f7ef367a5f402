"""Tracklets without a name -> the named ones whose face or clothes they have. (Notebook section 7.)

A face that the people on file do not explain may be the face of somebody who was named a shot earlier; and who turned
their back may wear what nobody else wears here. Either is believed only without a doubt: ahead of everybody else by a
clear lead, of nobody who is on screen at the same time, and against nothing that is known. A back never tells who
somebody is in another place: light changes colours more than people do.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from .naming import Evidence, TrackName

_FACE_LEAD = 0.10  # of the named person's face over everybody else's, in cosines
_FACES = 2  # clear faces of both tracklets
_CLOTHES_LEAST = 0.80  # likeness of the clothes: one person from shot to shot in one place 0.88 and more
_CLOTHES_LEAD = 0.15  # ... over everybody else's there: others 0.72 at the most
_DRESSED = 2  # samples of both tracklets


@dataclass(frozen=True, eq=False)
class Linkable:
    """What links tracklets.

    Attributes:
        clear: track -> how many clear faces it has.
        alike: (lower track, higher track) -> cosine of their pooled clear faces; absent = not alike.
        clothes: track -> float (bins,), mean colours of its clothes.
        dressed: track -> samples that these are of.
        place: track -> number of the place it is in: shots from one camera are one place.
    """

    clear: Mapping[int, int]
    alike: Mapping[tuple[int, int], float]
    clothes: Mapping[int, np.ndarray]
    dressed: Mapping[int, int]
    place: Mapping[int, int]

    def face_likeness(self, one: int, other: int) -> float:
        """Cosine of two tracklets' pooled clear faces, -1 where nothing can be said."""
        return self.alike.get((min(one, other), max(one, other)), -1.0)


def linked(
    names: Mapping[int, TrackName], evidence: Mapping[int, Evidence], known: Linkable,
    together: Collection[tuple[int, int]], people: Sequence[str], same: float, other: float,
) -> dict[int, TrackName]:  # fmt: skip
    """The names, with those of tracklets that are linked to named ones; first by faces, then by clothes.

    Args:
        names: track -> what its own faces, and people, say.
        evidence: track -> what its faces say.
        known: what links tracklets.
        together: pairs of tracklets, the lower number first, that are seen at the same time.
        people: the gallery's names.
        same: cosine from which two clear faces are one person's.
        other: similarity below which a clear face is not somebody's on file.
    """
    links = _Links(dict(names), evidence, known, together, people, same, other)
    links.by_faces()
    links.by_clothes()
    return links.names


class _Links:
    def __init__(self, names, evidence, known: Linkable, together, people, same: float, other: float):
        self.names: dict[int, TrackName] = names
        self.evidence, self.known, self.people = evidence, known, people
        self.same, self.other = same, other
        self.beside: dict[int, set[int]] = {}
        for a, b in together:
            self.beside.setdefault(a, set()).add(b)
            self.beside.setdefault(b, set()).add(a)

    def by_faces(self) -> None:
        known = self.known
        able = [t for t, n in known.clear.items() if n >= _FACES]
        anchors = [t for t in able if self._name(t) is not None]
        wishes = []
        for track in able:
            if self._settled(track):
                continue
            best: dict[str, float] = {}
            for anchor in anchors:
                name = self._name(anchor)
                assert name is not None
                best[name] = max(best.get(name, -1.0), known.face_likeness(track, anchor))
            order = sorted(best, key=lambda name: -best[name])
            if not order or best[order[0]] < self.same:
                continue
            if len(order) > 1 and best[order[0]] - best[order[1]] < _FACE_LEAD:
                continue
            # Who is as like a stranger as they are like the person named is as likely the stranger.
            strangers = [t for t in able if t != track and self._name(t) is None and t in self._beside_name(order[0])]
            rival = max((known.face_likeness(track, t) for t in strangers), default=-1.0)
            if best[order[0]] - rival >= _FACE_LEAD and not self._contradicted(track, order[0]):
                wishes.append((best[order[0]], track, order[0]))
        self._grant(wishes, "alike")

    def by_clothes(self) -> None:
        known = self.known
        worn = [t for t, n in known.dressed.items() if n >= _DRESSED]
        table = np.sqrt(np.stack([known.clothes[t] for t in worn])) if worn else np.zeros((0, 1))
        likeness = table @ table.T
        anchors = [i for i, t in enumerate(worn) if self._name(t) is not None]
        wishes = []
        for i, track in enumerate(worn):
            if self._settled(track):
                continue
            here = [k for k in anchors if known.place[worn[k]] == known.place[track]]
            if not here:
                continue
            best = max(here, key=lambda k: likeness[i, k])
            name = self._name(worn[best])
            assert name is not None
            # Whoever wears the same anywhere in the video, and is somebody else, makes it no evidence.
            others = [k for k, t in enumerate(worn) if k != i and self._is_other(t, track, name)]
            if not others:
                continue  # where everybody who is known is this one person, nothing shows that clothes differ here
            rival = max(likeness[i, k] for k in others)
            if likeness[i, best] < _CLOTHES_LEAST or likeness[i, best] - rival < _CLOTHES_LEAD:
                continue
            if not self._contradicted(track, name):
                wishes.append((float(likeness[i, best]), track, name))
        self._grant(wishes, "clothes")

    def _is_other(self, other: int, track: int, name: str) -> bool:
        """Is a tracklet somebody else than `name` for all that is known: named otherwise, or with a clear face and not
        them, or on screen beside them?"""
        who = self._name(other)
        if who is not None:
            return who != name
        return self.known.clear.get(other, 0) >= _FACES or other in self._beside_name(name)

    def _beside_name(self, name: str) -> set[int]:
        """Tracklets that are on screen together with somebody."""
        return {t for track, said in self.names.items() if said.name == name for t in self.beside.get(track, ())}

    def _contradicted(self, track: int, name: str) -> bool:
        """Do a tracklet's own clear faces, or who is beside it, say that it is not somebody?"""
        if track in self._beside_name(name):
            return True
        seen, clear = self.evidence.get(track), self.known.clear.get(track, 0)
        if seen is None or not len(seen.similar) or not (clear >= _FACES or 2 * clear >= seen.faces):
            return False
        mine = float(seen.similar[self.people.index(name)]) if name in self.people else -1.0
        return mine < self.other or float(seen.similar.max()) - mine > _FACE_LEAD

    def _grant(self, wishes: list[tuple[float, int, str]], by: str) -> None:
        """The best first; none to whoever is on screen beside somebody who has it by then."""
        for _, track, name in sorted(wishes, key=lambda wish: (-wish[0], wish[1])):
            if track in self._beside_name(name):
                continue
            before = self.names.get(track, TrackName(track, None, 0.0, 0.0, None, None, 0))
            self.names[track] = replace(before, name=name, sure=False, by=by)

    def _name(self, track: int) -> str | None:
        said = self.names.get(track)
        return None if said is None else said.name

    def _settled(self, track: int) -> bool:
        said = self.names.get(track)
        return said is not None and (said.name is not None or said.by_hand)

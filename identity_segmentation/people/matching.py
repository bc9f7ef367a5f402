"""Faces and a gallery -> names, one-to-one, with "nobody" as a real answer. (Notebook section 3.)

Faces and people are assigned one-to-one. Then a name is given where the face alone earns it by the `NamingRule`. A face
is never given a name that scores below another person's.

A picture that shows everyone in the gallery at once is the exception that one-to-one makes possible: names that single
faces do not earn are given where the reading of the whole picture leaves no other way, and are marked
``basis="group"``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from scipy.optimize import linear_sum_assignment

from .. import cards
from ..engines.protocols import FaceEngine
from ..errors import InputError
from ..types import Face, Match
from .gallery import Gallery
from .measure import KIND
from .rule import NamingRule

_GROUP_LEAST = 3  # faces in a picture before it can be read as a whole


def match_faces(
    faces: Sequence[Face],
    gallery: Gallery,
    threshold: float,
    margin: float | None = None,
    engine_margin: float = 0.05,
    scoring: str = "blend",
) -> list[Match]:
    """Name faces of one picture against a gallery, each person at most once.

    Args:
        faces: with embeddings, of one picture.
        gallery: of the same engine.
        threshold: least similarity for a name.
        margin: None for the look-alike bar described above; a number for a plain "lead over the runner-up by at
            least this"; 0 for one plain threshold.
        engine_margin: the engine's calibrated margin, used by the bar.
        scoring: see `Gallery.similarity`.

    Returns:
        One match per face, in order; strangers have `name=None` and say whom they come nearest to.
    """
    return name_faces(faces, gallery, NamingRule.of(gallery, threshold, margin, engine_margin, scoring), scoring)


def name_faces(faces: Sequence[Face], gallery: Gallery, rule: NamingRule, scoring: str = "blend") -> list[Match]:
    """`match_faces` by a rule that was made before.

    Args:
        faces: with embeddings, of one picture.
        gallery: of the same engine.
        rule: when a name is given.
        scoring: as in `Gallery.similarity`.

    Raises:
        InputError: faces without embeddings.
    """
    if not faces:
        return []
    vectors = [face.embedding for face in faces if face.embedding is not None]
    if len(vectors) < len(faces):
        raise InputError("expected faces with embeddings; call faces(image) without embed=False")
    scores = gallery.similarity(np.stack(vectors), scoring)
    if not scores.shape[1]:
        return [Match(face, None, 0.0, 0.0, None) for face in faces]
    given = _assign(scores, np.array([rule.floor - rule.relief(face.side) for face in faces]))
    matches = []
    for row, face, person in zip(scores, faces, given, strict=True):
        said = rule.judge(row, person, face.side)
        nearest = gallery.people[said.person].name
        matches.append(
            Match(
                face,
                nearest if said.accepted else None,
                said.similarity,
                said.lead,
                None if said.runner_up is None else gallery.people[said.runner_up].name,
                nearest,
                "face" if said.accepted else "none",
            )
        )
    if rule.group_lead is not None:
        matches = _read_as_group(matches, scores, given, gallery, rule)
    return matches


def _assign(scores: np.ndarray, floors: np.ndarray) -> list[int | None]:
    """The one-to-one assignment with the greatest total similarity; leaving a face unnamed is worth its floor (F,)."""
    faces, people = scores.shape
    if people > 4 * faces + 50:
        # Only people near some face can take part: a face's 2F best hold an optimal answer.
        near = np.unique(np.argpartition(-scores, 2 * faces, axis=1)[:, : 2 * faces])
    else:
        near = np.arange(people)
    value = np.hstack([scores[:, near], np.repeat(floors[:, None], faces, axis=1).astype(scores.dtype)])
    # A person below the threshold must lose to "nobody" even on a tie of totals.
    value[:, : len(near)][scores[:, near] < floors[:, None]] = -4.0
    rows, columns = linear_sum_assignment(-value)
    given: list[int | None] = [None] * faces
    for row, column in zip(rows, columns, strict=True):
        if column < len(near):
            given[row] = int(near[column])
    return given


def _read_as_group(
    matches: list[Match], scores: np.ndarray, given: list[int | None], gallery: Gallery, rule: NamingRule
) -> list[Match]:
    """Where the picture shows everyone in the gallery, give the names that only the whole reading earns.

    A name is earned when every other way of placing all the people costs at least the rule's lead in total. At least
    half of the names must stand on their own, and there may be no face too many: a picture of as many
    strangers is no picture of the group. A person on file whom no face of the picture comes near, and who is no more
    than one in four, is not waited for: somebody unrelated must not silence the group.
    """
    least = np.inf if rule.group_lead is None else rule.group_lead
    near = np.flatnonzero(scores.max(axis=0) >= KIND)
    people = len(near)
    if people < _GROUP_LEAST or 4 * people < 3 * scores.shape[1]:
        return matches
    everyone = sorted(p for p in given if p is not None) == near.tolist()
    earned = sum(m.name is not None for m in matches)
    if not everyone or len(matches) > people or earned < people / 2 or earned == people:
        return matches
    placed = [(row, person) for row, person in enumerate(given) if person is not None]
    best = sum(float(scores[row, person]) for row, person in placed)
    result = list(matches)
    for row, person in placed:
        if matches[row].name is not None:
            continue
        barred = scores.copy()
        barred[row, person] = -10.0
        r, c = linear_sum_assignment(-barred)
        if best - float(barred[r, c].sum()) >= least and rule.tells_apart(scores[row], person):
            m = matches[row]
            name = gallery.people[person].name
            result[row] = Match(m.face, name, m.similarity, m.margin, m.runner_up, name, "group")
    return result


def identify(
    image_bgr: np.ndarray,
    face_engine: FaceEngine,
    gallery: Gallery,
    threshold: float | None = None,
    margin: float | None = None,
    scoring: str = "blend",
) -> list[Match]:
    """Find and name every face of a picture: `match_faces` at the engine's calibrated defaults.

    Args:
        image_bgr: uint8 (H, W, 3).
        face_engine: finds and describes the faces.
        gallery: built with that engine.
        threshold: least similarity for a name, -1..1; None = the engine's.
        margin: as in `match_faces`.
        scoring: as in `Gallery.similarity`.

    Raises:
        GalleryMismatch: the gallery was built with another engine.
    """
    gallery.check_engine(face_engine)
    rule = NamingRule.of_engine(face_engine, gallery, threshold, margin, scoring)
    return name_faces(face_engine.faces(image_bgr), gallery, rule, scoring)


def identify_all_members(
    image_bgr: np.ndarray, face_analyzer: FaceEngine, embeddings_db: Gallery, threshold: float | None = None
) -> list[dict]:
    """Everyone in a picture who has a name. (Notebook section 3.)

    Args:
        image_bgr: uint8 (H, W, 3).
        face_analyzer: a face engine.
        embeddings_db: the gallery, built with that engine.
        threshold: least similarity; None = the engine's calibrated value (0.45 for buffalo_l).

    Returns:
        ``[{'name', 'bbox', 'similarity', 'margin', 'runner_up'}]``, most similar first; bbox is
        float32 (4,) xyxy pixels of the face. Strangers are not listed: `identify` has them.
    """
    matches = [m for m in identify(image_bgr, face_analyzer, embeddings_db, threshold) if m.name]
    found = _Found(
        {"name": m.name, "bbox": m.face.box, "similarity": m.similarity, "margin": m.margin, "runner_up": m.runner_up}
        for m in sorted(matches, key=lambda m: -m.similarity)
    )
    found.looks = {
        row["name"]: (cards.face_of(image_bgr, row["bbox"]), embeddings_db.find(row["name"]).colour) for row in found
    }
    return found


class _Found(list):
    """The list that `identify_all_members` returns, which notebooks show as a table with a thumbnail a row.

    Attributes:
        looks: name -> (their face as a JPEG file, their colour).
    """

    looks: Mapping[str, tuple[bytes, str]] = {}

    def _repr_html_(self) -> str:
        rows = []
        for row in self:
            thumbnail, colour = self.looks.get(row["name"], (None, "#969696"))
            rows.append(
                (cards.face(thumbnail, row["name"]), cards.named(row["name"], colour),
                 cards.number(row["similarity"]), cards.number(row["margin"], "+.2f"), row["runner_up"])
            )  # fmt: skip
        heads = ("", "name", "similarity", "margin", "runner-up")
        return cards.card(f"{len(self)} with a name", cards.table(heads, rows) if rows else "")

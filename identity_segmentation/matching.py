"""Faces and a gallery -> names, one-to-one, with "nobody" as a real answer. (Notebook section 3.)

A name is given when the face alone earns it: similarity at or above the threshold, and similarity plus margin
over the runner-up at or above a bar. The bar is the engine's threshold plus its margin or, where the gallery's
own people look alike, the level that 98 % of impostors within the gallery stay below
(`Gallery.look_alike_bar`): a single threshold that suits six actors is far too low for six look-alike idols.

A picture that shows everyone in the gallery at once is the exception that one-to-one makes possible: names that single
faces do not earn are given where the reading of the whole picture leaves no other way, and are marked
``basis="group"``.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.optimize import linear_sum_assignment

from .engines.protocols import FaceEngine
from .errors import InputError
from .gallery import Gallery, runner_up
from .types import Face, Match

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
    if not -1 <= threshold <= 1:
        raise InputError(f"expected a threshold between -1 and 1, got {threshold}")
    if not faces:
        return []
    if any(face.embedding is None for face in faces):
        raise InputError("expected faces with embeddings; call faces(image) without embed=False")
    scores = gallery.similarity(np.stack([face.embedding for face in faces]), scoring)
    if not scores.shape[1]:
        return [Match(face, None, 0.0, 0.0, None) for face in faces]
    given = _assign(scores, threshold)
    bar, least_lead = None, margin
    if margin is None:
        measured = gallery.look_alike_bar(scoring)
        bar = max(threshold + engine_margin, measured)
        # Nobody is who they look less like; where no bar could be measured, the engine's margin stands in.
        least_lead = 0.0 if np.isfinite(measured) else engine_margin
    matches = []
    for row, (face, person) in enumerate(zip(faces, given, strict=True)):
        nearest = int(scores[row].argmax()) if person is None else person
        similarity = float(scores[row, nearest])
        rival = runner_up(scores[row], nearest)
        lead = similarity if rival is None else similarity - float(scores[row, rival])
        ahead = rival is None or lead >= least_lead
        earned = person is not None and ahead and (bar is None or similarity + lead >= bar)
        matches.append(
            Match(
                face,
                gallery.people[nearest].name if earned else None,
                similarity,
                lead,
                None if rival is None else gallery.people[rival].name,
                gallery.people[nearest].name,
                "face" if earned else "none",
            )
        )
    if margin is None:
        matches = _read_as_group(matches, scores, given, gallery, engine_margin)
    return matches


def _assign(scores: np.ndarray, threshold: float) -> list[int | None]:
    """The one-to-one assignment with the greatest total similarity; leaving a face unnamed is worth `threshold`."""
    faces, people = scores.shape
    if people > 4 * faces + 50:
        # Only people near some face can take part: a face's 2F best hold an optimal answer.
        near = np.unique(np.argpartition(-scores, 2 * faces, axis=1)[:, : 2 * faces])
    else:
        near = np.arange(people)
    value = np.hstack([scores[:, near], np.full((faces, faces), threshold, scores.dtype)])
    # A person below the threshold must lose to "nobody" even on a tie of totals.
    value[:, : len(near)][scores[:, near] < threshold] = -4.0
    rows, columns = linear_sum_assignment(-value)
    given: list[int | None] = [None] * faces
    for row, column in zip(rows, columns, strict=True):
        if column < len(near):
            given[row] = int(near[column])
    return given


def _read_as_group(matches, scores, given, gallery: Gallery, engine_margin: float) -> list[Match]:
    """Where the picture shows everyone in the gallery, give the names that only the whole reading earns.

    A name is earned when every other way of placing all the people costs at least the engine's margin in total
    similarity. At least a third of the names must stand on their own, and there may be no face too many: a picture of
    as many strangers is no picture of the group.
    """
    people = scores.shape[1]
    everyone = sorted(p for p in given if p is not None) == list(range(people))
    earned = sum(m.name is not None for m in matches)
    if people < _GROUP_LEAST or not everyone or len(matches) > people or earned < people / 3 or earned == people:
        return matches
    rows = [row for row, person in enumerate(given) if person is not None]
    best = sum(float(scores[row, given[row]]) for row in rows)
    result = list(matches)
    for row in rows:
        if matches[row].name is not None:
            continue
        barred = scores.copy()
        barred[row, given[row]] = -10.0
        r, c = linear_sum_assignment(-barred)
        if best - float(barred[r, c].sum()) >= engine_margin:
            m = matches[row]
            name = gallery.people[given[row]].name
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

    Raises:
        GalleryMismatch: the gallery was built with another engine.
    """
    gallery.check_engine(face_engine)
    return match_faces(
        face_engine.faces(image_bgr),
        gallery,
        face_engine.threshold if threshold is None else threshold,
        margin,
        face_engine.margin,
        scoring,
    )


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
    return [
        {"name": m.name, "bbox": m.face.box, "similarity": m.similarity, "margin": m.margin, "runner_up": m.runner_up}
        for m in sorted(matches, key=lambda m: -m.similarity)
    ]

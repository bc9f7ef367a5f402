"""The values that flow through the package: frozen, and checked where they are born.

Conventions, said once:
    image    uint8 (H, W, 3), BGR.
    mask     bool (H, W).
    alpha    uint8 (H, W), 0 transparent .. 255 opaque.
    box      float32 (4,), (x0, y0, x1, y1) in pixels, x1 > x0 and y1 > y0.
    embedding float32 (D,), unit length; D is the engine's, never a constant.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np

from .errors import InputError

BoxLike = Sequence[float] | np.ndarray  # four numbers, xyxy in pixels


def as_image(image_bgr: np.ndarray) -> np.ndarray:
    """Return the array itself if it is a BGR image, else raise `InputError` saying what it is."""
    if not isinstance(image_bgr, np.ndarray):
        raise InputError(f"expected an image as a uint8 array of shape (H, W, 3), got {type(image_bgr).__name__}")
    if image_bgr.dtype != np.uint8 or image_bgr.ndim != 3 or image_bgr.shape[2] != 3:
        raise InputError(
            "expected an image as a uint8 array of shape (H, W, 3) in BGR order, "
            f"got {image_bgr.dtype} {image_bgr.shape}; read files with read_image(path)"
        )
    if 0 in image_bgr.shape:
        raise InputError(f"expected an image with pixels in it, got shape {image_bgr.shape}")
    return image_bgr


def as_box(box: Sequence[float] | np.ndarray) -> np.ndarray:
    """float32 (4,) xyxy box; raises `InputError` for anything else, or for no area."""
    try:
        value = np.asarray(box, dtype=np.float32).reshape(-1)
    except (TypeError, ValueError) as error:
        raise InputError(f"expected a box (x0, y0, x1, y1), got {box!r}") from error
    if value.shape != (4,) or not np.isfinite(value).all():
        raise InputError(f"expected a box of 4 finite numbers (x0, y0, x1, y1), got {box!r}")
    if value[2] <= value[0] or value[3] <= value[1]:
        raise InputError(f"expected a box with x1 > x0 and y1 > y0, got {value.tolist()}")
    return value


def unit(vectors: np.ndarray) -> np.ndarray:
    """float32 vectors scaled to unit length along the last axis; zero stays zero."""
    vectors = np.asarray(vectors, dtype=np.float32)
    norm = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return vectors / np.maximum(norm, 1e-12)


# Distance of the nose from the middle of the eyes, in eye distances, of a head turned by 60 degrees: the tip of a nose
# stands half an eye distance before the eyes (0.5 * tan 60 degrees).
_ASIDE_TURNED = 0.87


@dataclass(frozen=True, eq=False)
class Face:
    """One face in one image.

    Attributes:
        box: float32 (4,), xyxy in pixels; may reach over the image's border.
        score: detection confidence, 0..1.
        embedding: float32 (D,), unit length; None when only detection was asked for.
        landmarks: float32 (5, 2), (x, y) in pixels, in image order: left eye, right eye,
            nose tip, left and right mouth corner ("left" is the viewer's). None if unknown.
    """

    box: np.ndarray
    score: float
    embedding: np.ndarray | None = None
    landmarks: np.ndarray | None = None

    def __post_init__(self):
        object.__setattr__(self, "box", as_box(self.box))
        object.__setattr__(self, "score", float(self.score))
        if self.embedding is not None:
            vector = np.asarray(self.embedding, dtype=np.float32)
            if vector.ndim != 1 or not np.isfinite(vector).all():
                raise InputError(f"expected an embedding of shape (D,), got {vector.shape}")
            object.__setattr__(self, "embedding", unit(vector))
        if self.landmarks is not None:
            points = np.asarray(self.landmarks, dtype=np.float32)
            if points.shape != (5, 2):
                raise InputError(f"expected landmarks of shape (5, 2), got {points.shape}")
            object.__setattr__(self, "landmarks", points)

    @property
    def side(self) -> float:
        """Mean of the box's width and height, in pixels."""
        return float((self.box[2] - self.box[0] + self.box[3] - self.box[1]) / 2)

    @property
    def centre(self) -> tuple[float, float]:
        """(x, y) of the box's centre, in pixels."""
        return float((self.box[0] + self.box[2]) / 2), float((self.box[1] + self.box[3]) / 2)

    @property
    def facing(self) -> float:
        """How squarely it looks at the camera, 0..1: 1 straight, 0 turned by some 60 degrees; 1 without landmarks.

        The nose leaves the middle of the eyes as a head turns, and the eyes come together.
        """
        if self.landmarks is None:
            return 1.0
        left, right, nose = (np.asarray(point, np.float64) for point in self.landmarks[:3])
        across = right - left
        aside = abs(float((nose - (left + right) / 2) @ across)) / max(float(across @ across), 1e-9)
        return float(np.clip(1 - aside / _ASIDE_TURNED, 0, 1))

    def scaled(self, factor: float) -> Face:
        """The same face in a picture scaled by `factor`."""
        landmarks = None if self.landmarks is None else self.landmarks * factor
        return Face(self.box * factor, self.score, self.embedding, landmarks)


@dataclass(frozen=True, eq=False)
class Match:
    """What the gallery says about a face.

    Attributes:
        face: the face.
        name: the person, or None for a stranger (or a face the evidence is too thin for).
        similarity: to `name`, or to the nearest person for a stranger; -1..1 on the engine's scale.
        margin: `similarity` less the runner-up's; `similarity` itself when there is no runner-up.
        runner_up: the next nearest person, or None.
        nearest: the most similar person free to be given, whether or not the name was.
        basis: "face" - this face alone earns the name; "group" - the picture shows everyone in the
            gallery once, and only the one-to-one reading of all the faces together earns it; "none".
    """

    face: Face
    name: str | None
    similarity: float
    margin: float
    runner_up: str | None
    nearest: str | None = None
    basis: str = "none"


@dataclass(frozen=True, eq=False)
class Detection:
    """A thing in a picture, as a box.

    Attributes:
        box: float32 (4,), xyxy in pixels.
        score: the detector's confidence, 0..1.
        noun: what it is, in English, as the detector calls it.
    """

    box: np.ndarray
    score: float
    noun: str

    def __post_init__(self):
        object.__setattr__(self, "box", as_box(self.box))


@dataclass(frozen=True, eq=False)
class Human:
    """One human being in a picture, named or not: a face, a body, or both.

    Attributes:
        face: None where it is not seen (a back), or where it is not clear which of the faces is theirs.
        body: float32 (4,), xyxy box of all of them that is seen, in pixels; None where only the face was found.
        score: the detector's confidence in the body, 0..1; the face's where there is no body.
    """

    face: Face | None
    body: np.ndarray | None
    score: float

    @classmethod
    def by_face(cls, face: Face) -> Human:
        """Somebody of whom only the face is known."""
        return cls(face, None, face.score)

    def __post_init__(self):
        if self.face is None and self.body is None:
            raise InputError("expected a face, a body, or both, got neither")
        if self.body is not None:
            object.__setattr__(self, "body", as_box(self.body))


@dataclass(frozen=True, eq=False)
class Segment:
    """One object's pixels.

    Attributes:
        mask: bool (H, W).
        score: the engine's confidence in the mask, 0..1.
        box: float32 (4,), tight xyxy box of the mask, or the prompt's box where the mask is empty.
        engine: id of the engine that drew it.
        alpha: uint8 (H, W) soft matte agreeing with the mask, or None if the engine has none.
    """

    mask: np.ndarray
    score: float
    box: np.ndarray
    engine: str
    alpha: np.ndarray | None = None

    def __post_init__(self):
        mask = self.mask
        if not isinstance(mask, np.ndarray) or mask.dtype != np.bool_ or mask.ndim != 2:
            raise InputError(f"expected a mask as a bool array (H, W), got {getattr(mask, 'dtype', type(mask))}")
        object.__setattr__(self, "box", as_box(self.box))
        object.__setattr__(self, "score", float(self.score))
        if self.alpha is not None and (self.alpha.dtype != np.uint8 or self.alpha.shape != mask.shape):
            raise InputError(f"expected alpha as uint8 {mask.shape}, got {self.alpha.dtype} {self.alpha.shape}")

    @property
    def area(self) -> int:
        """Pixels in the mask."""
        return int(self.mask.sum())

    def _repr_html_(self) -> str:
        from . import cards

        said = f"{self.area} pixels, score {self.score:.2f}, engine {self.engine}"
        return cards.card(said, cards.pictures({"mask": self.mask}))


@dataclass(frozen=True, eq=False)
class Sighting:
    """One person in one frame: who (if known), which pixels (if drawn), and on what evidence."""

    match: Match | None = None
    segment: Segment | None = None
    track_id: int | None = None
    evidence: str = "none"  # "face" | "body" | "tracked" | "none"
    body: np.ndarray | None = None  # xyxy box of the whole person, where a detector found it

    @property
    def name(self) -> str | None:
        return self.match.name if self.match else None


@dataclass(frozen=True, eq=False)
class Frame:
    """One video frame: its index, exact time in seconds, image, and time stamp in units of the stream's time base
    (0 for the first frame)."""

    index: int
    time_s: float
    image: np.ndarray
    pts: int = 0


@dataclass(frozen=True)
class Status:
    """How a request ended; a person who is not there is a status, not an exception.

    Attributes:
        code: "ok", "unsure" (named by elimination in a group picture), "not_found" (faces, but not
            this person's), "no_face" (nothing to compare); for things also "not_sure" (what is shown is a proposal on
            thin evidence), "no_thing" (the person is there, no such thing on them) and "not_theirs" (found, but
            another's).
        message: one sentence for a person.
        similarity, margin, runner_up: the evidence (None where no face was compared).
        engine: ids of the engines used, "faces + masks".
    """

    code: str
    message: str
    similarity: float | None = None
    margin: float | None = None
    runner_up: str | None = None
    engine: str = ""

    @property
    def found(self) -> bool:
        return self.code in ("ok", "unsure")

    def __str__(self) -> str:
        return self.message


class MemberResult(NamedTuple):
    """What `segment_member` returns; unpacks as ``overlay, cutout, annotated, mask, status``.

    overlay and annotated are BGR images; cutout is uint8 (H, W, 4) BGRA; mask is bool (H, W).
    When the person is not found, cutout is fully transparent and mask is empty.
    """

    overlay: np.ndarray
    cutout: np.ndarray
    annotated: np.ndarray
    mask: np.ndarray
    status: Status

    def _repr_html_(self) -> str:
        from . import cards

        shown = {"annotated": self.annotated, "overlay": self.overlay, "cutout": self.cutout}
        return cards.card(self.status, cards.pictures(shown if self.mask.any() else {"annotated": self.annotated}))


@dataclass(frozen=True, eq=False)
class PossessionResult:
    """What `segment_possession` and `segment` return.

    Attributes:
        overlay, annotated: BGR images; cutout: uint8 (H, W, 4) BGRA of the thing.
        mask: bool (H, W): the thing and theirs; all instances where nobody was named.
        person_mask: bool (H, W), the person's; empty if nobody was named or they are not in the picture.
        thing_masks: bool (H, W) each: everything of the kind that was seen, whosever it is.
        status: how it ended. See `Status`.
    """

    overlay: np.ndarray
    cutout: np.ndarray
    annotated: np.ndarray
    mask: np.ndarray
    person_mask: np.ndarray
    thing_masks: tuple[np.ndarray, ...]
    status: Status

    def _repr_html_(self) -> str:
        from . import cards

        shown = {"person": self.person_mask} if self.person_mask.any() else {}
        shown |= {"overlay": self.overlay, "cutout": self.cutout} if self.mask.any() else {"annotated": self.annotated}
        return cards.card(self.status, cards.pictures(shown))


class Exemplar(NamedTuple):
    """A picture in which somebody marked what is to be found: few-shot engines learn from a handful.

    image is uint8 (H, W, 3), BGR; masks has, for each id marked in it, a bool (H, W). Where nothing is marked, there is
    nothing of the kind.
    """

    image: np.ndarray
    masks: Mapping[int, np.ndarray]


class Trial(NamedTuple):
    """A reference labelled by what the other references taught: the score it got, and the IoU with what was marked."""

    id: int
    score: float
    iou: float


_MOST_ROWS = 40  # photos that a card shows
USED_VERDICTS = ("used", "several_faces", "kept")  # of photos that a person is known by


@dataclass(frozen=True)
class PhotoVerdict:
    """What became of one reference photo.

    Attributes:
        person: the person whose folder it lies in.
        photo: path relative to the data set's folder, with forward slashes.
        verdict: "used", "several_faces" (used: the face nearest the person's others), "no_face",
            "duplicate", "outlier", "conflict" (the same photo under two people: used for neither),
            "kept" (an outlier, used as asked), "not_theirs" (said by hand to be somebody else's) or "unreadable".
        detail: one sentence, possibly empty.
    """

    person: str
    photo: str
    verdict: str
    detail: str = ""

    @property
    def used(self) -> bool:
        return self.verdict in USED_VERDICTS


@dataclass(frozen=True)
class BuildReport:
    """What `build_embeddings_db` did: a verdict per photo, and what was computed anew.

    Attributes:
        verdicts: in the order of the photos.
        embedded, reused: photos that were looked at, and that were known before.
        seconds: that it took.
        notes: on the people, a sentence each.
        folder: of the photos, to which their paths are relative; None = not known.
        faces: photo -> where the face is that was taken: xyxy as parts of the picture's width and height, 0..1.
    """

    verdicts: tuple[PhotoVerdict, ...] = ()
    embedded: int = 0
    reused: int = 0
    seconds: float = 0.0
    notes: tuple[str, ...] = field(default=())
    folder: Path | None = None
    faces: Mapping[str, tuple[float, float, float, float]] = field(default_factory=dict)

    def _repr_html_(self) -> str:
        from . import cards

        rows = []
        for v in self.verdicts[:_MOST_ROWS]:
            path = "" if self.folder is None else str(self.folder / v.photo)
            picture = cards.face_in(path, self.faces.get(v.photo)) if path else None
            rows.append((cards.face(picture, v.photo), v.person, v.photo, v.verdict, v.detail))
        used = sum(v.used for v in self.verdicts)
        left = len(self.verdicts) - len(rows)
        more = f"and {left} more photos; print(report.table()) has them all" if left > 0 else ""
        return cards.card(
            f"{used} of {len(self.verdicts)} photos used",
            cards.table(("", "person", "photo", "verdict", ""), rows), cards.lines((more, *self.notes)),
        )  # fmt: skip

    def table(self) -> str:
        """The verdicts as aligned text, one photo a line, then a line a person."""
        if not self.verdicts:
            return "no photos"
        width = min(60, max(len(v.photo) for v in self.verdicts))
        lines = [f"{v.photo:<{width}}  {v.verdict:<13}  {v.detail}".rstrip() for v in self.verdicts]
        people: dict[str, list[PhotoVerdict]] = {}
        for verdict in self.verdicts:
            people.setdefault(verdict.person, []).append(verdict)
        lines.append("")
        for person, rows in people.items():
            used = sum(v.used for v in rows)
            lines.append(f"{person}: {used} of {len(rows)} photos used")
        lines += self.notes
        return "\n".join(lines)

"""Photos -> the same photos with heads made unrecognisable: everybody's, some people's, or everybody's but theirs.

A head that is missed costs more than one that is covered for nothing. So whoever is to be hidden is looked for by
another rule than the one that gives names: every head is covered that could be theirs. Two faces of one picture may
both be: a mirror, a poster.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from scipy.optimize import linear_sum_assignment

from . import __version__, covers
from .covers import Cover, check_way, covered_all, head_core, head_shape
from .errors import ImageError, InputError
from .files import numbered, read_bytes, read_json, safe_filename, shown_path, source_name, write_json
from .geometry import box_iou, grown_box, mask_box
from .images import decode_image
from .masks.humans import find_humans
from .masks.segmentation import segment_humans
from .people.rule import NamingRule
from .photo_writing import Written, write_alike
from .types import Face, Human, Match, Segment, as_image

if TYPE_CHECKING:
    from .masks.heads import FoundHead, HeadSearch
    from .pipeline import IdentityAwareSegmentation

RECORDS = ".blurred"  # the folder, beside the results, that says which picture each was made of

# A face is somebody else's for sure where it is this much less similar than the engine's floor, which is the least that
# anything is ever named by: no own face of 112 photos of 18 people came that low (docs/privacy.md).
_CLEARLY = 0.12
# One that earns somebody else's name by itself is theirs from this much below the level of whoever is to be covered,
# and by this lead over them: twice the lead that a name needs.
_BELOW = 0.10
# A face that is smaller (pixels), or turned further away (`Face.facing`), proves nothing: a profile is not like itself.
_PROVES_SIDE, _PROVES_FACING = 40, 0.45
_FACE_OF_HEAD = (0.25, 1.3)  # sides of a face in sides of its head
_WITHIN = 0.8  # of a head's box in somebody's matte, from which it is theirs
_WEAK = 0.5  # score of a body's matte below which its box is covered instead
_HEADS_TALL = 6.5  # heads in a body's height, where the head is not seen: people are 7 to 8 tall, children 5 to 6


@dataclass(frozen=True)
class BlurSettings:
    """Whom to cover, and how.

    Attributes:
        member: names or aliases of those to be covered; empty, with `keep` empty too = everybody.
        keep: names or aliases of those who stay to be seen; everybody else is covered.
        way: one of `covers.WAYS`.
        body: cover whole bodies, not heads alone.
        strip: leave out all metadata; without it, only pictures within it are left out.

    Raises:
        InputError: an unknown way, or both `member` and `keep`.
    """

    member: tuple[str, ...] = ()
    keep: tuple[str, ...] = ()
    way: str = "blur"
    body: bool = False
    strip: bool = False

    def __post_init__(self):
        check_way(self.way)
        if self.member and self.keep:
            raise InputError("expected people to be covered (--member) or people to stay (--keep), got both")

    @property
    def by_name(self) -> bool:
        """Does it matter who is who?"""
        return bool(self.member or self.keep)


@dataclass(frozen=True, eq=False)
class HeadSeen:
    """One head of a photo, and whether it was covered.

    Attributes:
        box: float32 (4,), xyxy in pixels, of the whole head.
        by: what found it; see `masks.heads.FoundHead`.
        covered: was it.
        why: in a word: "everybody", "may be" (one of those to be hidden), "not sure" (that it is one of those to stay),
            "somebody else", "kept".
        match: whom its face is most like; None where nobody was asked for by name, or no face can be compared.
    """

    box: np.ndarray
    by: str
    covered: bool
    why: str
    match: Match | None = None


@dataclass(frozen=True, eq=False)
class BlurredPhoto:
    """A covered picture and what was found in it.

    Attributes:
        image: uint8 (H, W, 3) BGR.
        heads: everybody's.
        bodies: how many whole bodies were covered.
    """

    image: np.ndarray
    heads: tuple[HeadSeen, ...]
    bodies: int = 0

    @property
    def covered(self) -> int:
        """How many heads were covered."""
        return sum(head.covered for head in self.heads)


def blur_photo(
    image_bgr: np.ndarray,
    search: HeadSearch,
    pipeline: IdentityAwareSegmentation | None = None,
    settings: BlurSettings | None = None,
) -> BlurredPhoto:
    """Cover heads, or whole bodies, in one picture; see the module.

    Args:
        image_bgr: uint8 (H, W, 3).
        search: finds the heads.
        pipeline: engines and gallery; needed where people are asked for by name, or bodies are covered.
        settings: whom, and how; None = everybody's head, blurred.

    Raises:
        InputError: a pipeline is needed and there is none.
        UnknownPerson, GalleryError: nobody answers to a name, or there is no gallery.
    """
    image_bgr = as_image(image_bgr)
    settings = settings or BlurSettings()
    if pipeline is None and (settings.by_name or settings.body):
        raise InputError("expected a pipeline, as people are asked for by name or bodies are covered; got none")
    found = list(search.find(image_bgr))
    faces: list[Match | None] = [None] * len(found)
    if settings.by_name:
        assert pipeline is not None
        found, faces = _with_faces(found, pipeline.identify(image_bgr))
        heads = _decided(image_bgr, found, faces, pipeline, settings)
    else:
        heads = [HeadSeen(head.box, head.by, True, "everybody") for head in found]
    spared = [head_core(head.box, image_bgr.shape) for head in heads if not head.covered and head.match is not None]
    places = []
    for seen, head in zip(heads, found, strict=True):
        if seen.covered:
            cover = _head_cover(head.box, image_bgr.shape)
            # Whose face was seen is covered whole. What may be a head must not hide the face of one who is to be seen.
            places.append(cover if head.face is not None or seen.match is not None else _less(cover, spared))
    bodies: list[Cover] = []
    if settings.body:
        assert pipeline is not None
        bodies = [_less(cover, spared) for cover in _body_covers(image_bgr, found, heads, pipeline)]
    if not places and not bodies:
        return BlurredPhoto(image_bgr, tuple(heads))
    return BlurredPhoto(covered_all(image_bgr, [*bodies, *places], settings.way), tuple(heads), len(bodies))


# ---- who is covered


@dataclass(frozen=True, eq=False)
class _FaceAlone:
    """A face that the search for heads did not see: its head is reckoned from it, as `FoundHead` has it."""

    box: np.ndarray
    face: Face
    by: str = "face"
    body: np.ndarray | None = None


def _with_faces(found: Sequence[Any], matches: Sequence[Match]) -> tuple[list[FoundHead], list[Match | None]]:
    """The heads, each with the face that is on it or None; faces that are on none of them are heads of their own."""
    cost = np.full((len(matches), len(found)), 9.0)
    for i, match in enumerate(matches):
        x, y = match.face.centre
        for k, head in enumerate(found):
            x0, y0, x1, y1 = (float(v) for v in head.box)
            side = max(x1 - x0, y1 - y0)
            within = x0 <= x <= x1 and y0 <= y <= y1
            if within and _FACE_OF_HEAD[0] * side <= match.face.side <= _FACE_OF_HEAD[1] * side:
                expected = head.face.box if head.face is not None else head.box
                cost[i, k] = 1 - float(box_iou(match.face.box, expected)[0, 0])
    heads: list[Any] = list(found)
    faces: list[Match | None] = [None] * len(found)
    for i, k in zip(*linear_sum_assignment(cost), strict=True):
        if cost[i, k] < 9:
            faces[k] = matches[i]
    for match in matches:
        if not any(match is face for face in faces):
            heads.append(_FaceAlone(_head_of(match.face), match.face))
            faces.append(match)
    return heads, faces


def _head_of(face: Face) -> np.ndarray:
    """A head's box from a face's alone: hair above, ears beside, and the chin, which the face's box may cut."""
    (x, y), side = face.centre, max(face.box[2] - face.box[0], face.box[3] - face.box[1])
    return np.array([x - 0.8 * side, y - 1.15 * side, x + 0.8 * side, y + 0.7 * side], np.float32)


def _decided(
    image: np.ndarray, found: Sequence[FoundHead], faces: Sequence[Match | None],
    pipeline: IdentityAwareSegmentation, settings: BlurSettings,
) -> list[HeadSeen]:  # fmt: skip
    gallery = pipeline.gallery
    asked = {gallery.find(name).name for name in settings.member or settings.keep}
    if settings.keep:
        kept = [match is not None and match.name in asked and match.basis == "face" for match in faces]
        return [
            HeadSeen(head.box, head.by, not stays, "kept" if stays else "not sure", match)
            for head, match, stays in zip(found, faces, kept, strict=True)
        ]
    apart = [match is not None and _is_apart(match, asked, pipeline) for match in faces]
    unseen = [k for k, match in enumerate(faces) if match is None]
    for k in _within_others(image, found, faces, asked, unseen, pipeline):
        apart[k] = True
    return [
        HeadSeen(head.box, head.by, not other, "somebody else" if other else "may be", match)
        for head, match, other in zip(found, faces, apart, strict=True)
    ]


def _is_apart(match: Match, asked: set[str], pipeline: IdentityAwareSegmentation) -> bool:
    """Is a face for sure nobody's of those asked for?"""
    face, gallery, engine = match.face, pipeline.gallery, pipeline.face_engine
    if face.embedding is None or face.side < _PROVES_SIDE or face.facing < _PROVES_FACING:
        return False
    scores = gallery.similarity(face.embedding[None])[0]
    rule = NamingRule.of_engine(engine, gallery, pipeline.threshold, pipeline.margin)
    relief = rule.relief(face.side)
    theirs = [i for i, person in enumerate(gallery.people) if person.name in asked]
    if all(scores[i] < min(rule.floor, float(rule.levels[i])) - _CLEARLY - relief for i in theirs):
        return True
    if match.name is None or match.name in asked or match.basis != "face":
        return False
    return all(
        scores[i] < float(rule.levels[i]) - _BELOW - relief and match.similarity - scores[i] >= _BELOW for i in theirs
    )


def _within_others(
    image: np.ndarray, found: Sequence[FoundHead], faces: Sequence[Match | None], asked: set[str],
    unseen: Sequence[int], pipeline: IdentityAwareSegmentation,
) -> list[int]:  # fmt: skip
    """Of the heads without a face, those that lie in the matte of somebody else who was named, over that one's own
    face: the same head, found a second time."""
    named = [m for m in faces if m is not None and m.name is not None and m.basis == "face" and m.name not in asked]
    near = [k for k in unseen if any(_centre_in(match.face.centre, found[k].box) for match in named)]
    if not near:
        return []
    humans = find_humans(image, [match.face for match in faces if match is not None], pipeline.detector_or_none())
    wanted = [i for i, human in enumerate(humans) if any(human.face is match.face for match in named)]
    drawn = segment_humans(image, humans, wanted, pipeline.segmenter)
    result = []
    for k in near:
        x0, y0, x1, y1 = grown_box(found[k].box, 0, image.shape)
        for i, segment in drawn.items():
            face = humans[i].face
            part = segment.mask[y0:y1, x0:x1]
            if face is not None and _centre_in(face.centre, found[k].box) and part.size and part.mean() >= _WITHIN:
                result.append(k)
                break
    return result


def _centre_in(point: tuple[float, float], box: np.ndarray) -> bool:
    return bool(box[0] <= point[0] <= box[2] and box[1] <= point[1] <= box[3])


# ---- what is covered


def _head_cover(box: np.ndarray, shape: Sequence[int]) -> Cover:
    hide, place = head_shape(box, shape)
    return Cover(hide, place, float(max(box[2] - box[0], box[3] - box[1])))


def _less(cover: Cover, spared: Sequence[tuple[np.ndarray, tuple[int, int, int, int]]]) -> Cover:
    """A cover less the heads of those who are to be seen."""
    hide = cover.hide.copy()
    for part, box in spared:
        x0, y0 = max(box[0], cover.box[0]), max(box[1], cover.box[1])
        x1, y1 = min(box[2], cover.box[2]), min(box[3], cover.box[3])
        if x1 > x0 and y1 > y0:
            here = hide[y0 - cover.box[1] : y1 - cover.box[1], x0 - cover.box[0] : x1 - cover.box[0]]
            np.minimum(here, 255 - part[y0 - box[1] : y1 - box[1], x0 - box[0] : x1 - box[0]], out=here)
    return Cover(hide, cover.box, cover.size)


def _body_covers(
    image: np.ndarray, found: Sequence[FoundHead], heads: Sequence[HeadSeen], pipeline: IdentityAwareSegmentation
) -> list[Cover]:
    """The bodies of those whose heads are covered, and of those whose heads nobody saw: they may be anybody."""
    detector = pipeline.detector_or_none()
    humans = [
        Human(head.face, head.body, 1.0) if head.face is not None or head.body is not None else None for head in found
    ]
    sides = [float(max(seen.box[2] - seen.box[0], seen.box[3] - seen.box[1])) for seen in heads]
    known: list[Human] = [human for human in humans if human is not None]
    faces = [human.face for human in known if human.face is not None]
    for human in find_humans(image, faces, detector):
        if human.body is None:
            continue
        own = next((i for i, other in enumerate(known) if human.face is not None and other.face is human.face), None)
        if own is not None:
            known[own] = Human(human.face, human.body, human.score)
        elif not any(other.body is not None and box_iou(other.body, human.body)[0, 0] > 0.5 for other in known):
            known.append(human)
    sizes = [side for side, human in zip(sides, humans, strict=True) if human is not None]
    hidden = [seen.covered for seen, human in zip(heads, humans, strict=True) if human is not None]
    for human in known[len(sizes) :]:
        assert human.body is not None
        sizes.append(float(human.body[3] - human.body[1]) / _HEADS_TALL)
        hidden.append(True)
    wanted = [i for i, hide in enumerate(hidden) if hide]
    drawn = segment_humans(image, known, wanted, pipeline.segmenter)
    covers_made = [_body_cover(drawn.get(i), known[i], max(1.0, sizes[i]), image.shape) for i in wanted]
    return [cover for cover in covers_made if cover is not None]


def _body_cover(segment: Segment | None, human: Human, size: float, shape: Sequence[int]) -> Cover | None:
    """A body's matte, grown by a twentieth of the head as its rim may be out by that; or its box, where the matte is
    worth little."""
    hide = np.zeros(tuple(shape[:2]), np.uint8)
    if segment is not None and segment.area and segment.score >= _WEAK:
        hide[segment.mask if segment.alpha is None else segment.alpha > 16] = 255
    elif human.body is not None:
        x0, y0, x1, y1 = grown_box(human.body, 0, shape)
        hide[y0:y1, x0:x1] = 255
    box = mask_box(hide > 0)
    if box is None:
        return None
    by = max(2, round(size / 20))
    x0, y0, x1, y1 = grown_box(box, 2 * by, shape)
    part = cv2.dilate(hide[y0:y1, x0:x1], cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * by + 1, 2 * by + 1)))
    rim = cv2.blur(part, (by | 1, by | 1))
    return Cover(np.maximum(part, rim), (x0, y0, x1, y1), size)


# ---- files


def blur_folder(
    photos: Sequence[str | os.PathLike],
    output: str | os.PathLike,
    search: HeadSearch,
    pipeline: IdentityAwareSegmentation | None = None,
    settings: BlurSettings | None = None,
) -> Iterator[tuple[Path, dict | None, str]]:
    """Cover people in many photos and write each under its own name, one after the other.

    A photo that is finished - same content, same settings, same engines - is not done again. One that cannot be read is
    reported and passed over. No file is written over but those that this wrote and nobody changed since.

    Args:
        photos: files.
        output: folder of the results; made if need be.
        search, pipeline, settings: see `blur_photo`.

    Yields:
        (photo, its record as docs/json.md has it or None, "done" | "kept" | what went wrong).

    Raises:
        InputError: a photo lies in the folder of the results.
    """
    settings, output = settings or BlurSettings(), Path(output)
    inside = next((Path(p) for p in photos if Path(p).absolute().parent.resolve() == output.resolve()), None)
    if inside is not None:
        raise InputError(f"{shown_path(inside)} lies in the folder of the results; choose another folder with --out")
    if settings.by_name and pipeline is not None:
        for name in settings.member or settings.keep:
            pipeline.gallery.find(name)  # a wrong name is said before any work
    fixed = _fixed_key(search, pipeline, settings)
    taken: set[str] = set()
    for path in map(Path, photos):
        try:
            yield path, *_one(path, output, taken, fixed, search, pipeline, settings)
        except ImageError as error:
            yield path, None, str(error)


def _one(
    path: Path, output: Path, taken: set[str], fixed: str, search: HeadSearch,
    pipeline: IdentityAwareSegmentation | None, settings: BlurSettings,
) -> tuple[dict, str]:  # fmt: skip
    data = read_bytes(path, ImageError, "picture")
    key = hashlib.sha256(fixed.encode() + hashlib.sha256(data).digest()).hexdigest()
    target, record_path, before = _place(output, path, taken)
    earlier = output / Path(str(before.get("file", "?"))).name
    if before.get("question") == key and earlier.is_file():
        return before["record"] | {"image": shown_path(path), "file": str(earlier)}, "kept"
    limit = pipeline.settings.max_pixels if pipeline is not None else None
    result = blur_photo(decode_image(data, str(path), limit), search, pipeline, settings)
    unchanged = not result.covered and not result.bodies
    written = write_alike(target, result.image, data, path.suffix, unchanged, settings.strip)
    record = _record(path, written, result, settings)
    content = {
        "question": key, "source": source_name(path), "file": written.path.name, "digest": _digest(written.path),
        "record": record,
    }  # fmt: skip
    write_json(record_path, content)
    if earlier != written.path:  # of another format: it would look current; only a file of our own record goes
        earlier.unlink(missing_ok=True)
    return record, "done"


def _place(output: Path, path: Path, taken: set[str]) -> tuple[Path, Path, dict]:
    """(the result's path without its suffix, its record's, what that says): never a name that another photo's result
    has, or a file that is not ours, or that somebody changed."""
    for name in numbered(safe_filename(shown_path(path.stem))):
        record_path = output / RECORDS / f"{name}.json"
        before = read_json(record_path)
        if name.casefold() in taken or (before and before.get("source") != source_name(path)):
            continue
        file = output / Path(str(before.get("file", "?"))).name
        ours = bool(before) and (not file.is_file() or _digest(file) == before.get("digest"))
        if any(not ours or other != file for other in _called(output, name)):
            continue
        taken.add(name.casefold())
        return output / name, record_path, before if ours else {}
    raise AssertionError("unreachable")


def _called(output: Path, stem: str) -> list[Path]:
    """Files of a folder that have a name, under any suffix and in any case."""
    if not output.is_dir():
        return []
    return [p for p in output.iterdir() if p.stem.casefold() == stem.casefold() and not p.name.startswith(".")]


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _fixed_key(search: HeadSearch, pipeline: IdentityAwareSegmentation | None, settings: BlurSettings) -> str:
    """All that decides a result but the photo: engines, settings, and where names matter the gallery."""
    parts: list[Any] = [__version__, search.id, covers.VERSION, asdict(settings)]
    if settings.body and pipeline is not None:
        parts.append(pipeline.engine_ids)
    if settings.by_name and pipeline is not None:
        gallery = pipeline.gallery
        rule = NamingRule.of_engine(pipeline.face_engine, gallery, pipeline.threshold, pipeline.margin)
        parts += [pipeline.face_engine.id, gallery.model_hash, [(p.id, p.name) for p in gallery.people]]
        parts += [rule.levels.tolist(), rule.floor, hashlib.sha256(gallery.means.tobytes()).hexdigest()]
    return json.dumps(parts)


def _record(path: Path, written: Written, result: BlurredPhoto, settings: BlurSettings) -> dict:
    return {
        "image": shown_path(path),
        "file": str(written.path),
        "status": "covered" if result.covered or result.bodies else "nothing_covered" if result.heads else "nobody",
        "way": settings.way,
        "heads": [
            {
                "box": [round(float(v), 1) for v in head.box],
                "by": head.by,
                "covered": head.covered,
                "why": head.why,
                "name": None if head.match is None else head.match.name,
                "similarity": None if head.match is None else round(float(head.match.similarity), 4),
            }
            for head in result.heads
        ],
        "bodies": result.bodies,
        "removed": list(written.removed),
        "remarks": list(written.remarks),
    }

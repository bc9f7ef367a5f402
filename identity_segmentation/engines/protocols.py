"""What an engine must do, one protocol per ability, so that none pretends to an ability it lacks.

An engine is one file and one line in the registry (`engines/__init__.py`); it passes the contract
suite in `tests/test_engine_contract.py`. Images come in BGR; colour order, scaling, devices and dtypes are
the engine's own business.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np

from ..errors import InputError
from ..settings import Settings
from ..types import BoxLike, Detection, Exemplar, Face, Segment, Trial


@runtime_checkable
class FaceEngine(Protocol):
    """Finds faces and says, as a unit vector, whose they might be.

    Attributes:
        id: stable name of engine and model, stored in galleries ("embedded", "insightface/buffalo_l").
        model_hash: short hash of the recogniser's weights; embeddings of different hashes do not mix.
        dim: length of the embeddings.
        threshold: acceptance threshold where the gallery shows that its own look-alikes stay below it: about 0.2 % of
            look-alike strangers reach it. A cosine, -1..1.
        strict: acceptance threshold where the gallery can show nothing (`people.measure`): next to none reach it.
        floor: least similarity for a name that only the reading of a whole group's picture earns.
        margin: least lead over the runner-up, in the same unit.
        outlier: a reference less similar than this to the person's other references is not theirs.
        strangers: (similarity, per cent of look-alike strangers that reach it against one person), rising; empty where
            the engine has not been calibrated.
        small: (pixels across a face, by how much less similar everybody's faces are at that size), rising; empty where
            it makes no difference.
    """

    id: str
    model_hash: str
    dim: int
    threshold: float
    strict: float
    floor: float
    margin: float
    outlier: float
    strangers: tuple[tuple[float, float], ...]
    small: tuple[tuple[float, float], ...]

    def faces(self, image_bgr: np.ndarray, embed: bool = True) -> list[Face]:
        """Every face, most confident first; embeddings are None with `embed=False`."""
        ...

    def describe(self) -> str:
        """One line: model, and the device it truly runs on."""
        ...


@runtime_checkable
class FaceFollower(Protocol):
    """A face engine's look at the next picture of a film, for less than a first look costs."""

    def next_faces(
        self, image_bgr: np.ndarray, expected: Sequence[np.ndarray], embed: Callable[[Face], bool]
    ) -> list[Face]:
        """As `FaceEngine.faces`, but closely only where faces are expected.

        Args:
            image_bgr: uint8 (H, W, 3).
            expected: xyxy boxes of heads, in pixels; small faces elsewhere may be missed.
            embed: says of a face whether it is to be described; the others' embeddings are None.
        """
        ...


@runtime_checkable
class FaceScout(Protocol):
    """A face engine's look for recall: faces that it is not sure of too, strong profiles among them.

    Attributes:
        faint: score from which a candidate is worth hearing, 0..1; most below `sure` are no faces.
        sure: score from which one look is enough, 0..1.
        smallest: a face that is found for certain, in longer sides of what is looked at.
    """

    faint: float
    sure: float
    smallest: float

    def candidates(self, image_bgr: np.ndarray, least: float, large: bool = True) -> list[Face]:
        """What one look at the whole picture, without tiles, takes for faces; none is described.

        Args:
            image_bgr: uint8 (H, W, 3).
            least: score from which a candidate counts, 0..1.
            large: look for faces that fill the picture too.
        """
        ...


@runtime_checkable
class ObjectDetector(Protocol):
    """Finds things of the kinds it knows, as boxes.

    Attributes:
        id: stable name of engine and model.
        nouns: the kinds, in English; "person" is one of them.
    """

    id: str
    nouns: tuple[str, ...]

    def detect(
        self, image_bgr: np.ndarray, nouns: Sequence[str] = ("person",), tiles: bool = True, least: float = 0.35
    ) -> list[Detection]:
        """Every thing of these kinds, best first, no two the same.

        Args:
            image_bgr: uint8 (H, W, 3).
            nouns: kinds, of `nouns`.
            tiles: look at parts of the picture too: finds smaller things, but may take two things that overlap for
                one.
            least: score from which a thing is there, 0..1.

        Raises:
            EngineUnavailable: a noun that it does not know; the message has the list.
        """
        ...

    def describe(self) -> str:
        """One line: model, and the device it truly runs on."""
        ...


@runtime_checkable
class BoxSegmenter(Protocol):
    """One mask per box. `encode` an image once, prompt it many times; the caller holds the state.

    Attributes:
        id: stable name of engine and model.
        uses_neighbours: True if `by_box` itself keeps other people's pixels out, given their faces; otherwise the
            caller prompts the neighbours too and settles contested pixels (`segmentation.separate`).
    """

    id: str
    uses_neighbours: bool

    def encode(self, image_bgr: np.ndarray) -> Any:
        """The image's state, to be handed to `by_box`; opaque to the caller."""
        ...

    def by_box(
        self,
        encoded: Any,
        boxes: np.ndarray | Sequence[BoxLike],
        faces: Sequence[Face | None] | None = None,
        others: Sequence[Face | BoxLike] = (),
    ) -> list[Segment]:
        """One segment per box, in order, at full image size.

        Args:
            encoded: what `encode` returned.
            boxes: (N, 4) xyxy pixels.
            faces: for each box the face of the person meant, where known; an engine may ignore it.
            others: further people in the picture, each by their face or by the box of their body: their pixels must not
                end up in a mask; an engine may ignore them. A box that is about one of `boxes` is not another's.
        """
        ...

    def describe(self) -> str:
        """One line: model, and the device it truly runs on."""
        ...


def face_of_each(boxes: Sequence | np.ndarray, faces: Sequence[Face | None] | None) -> list[Face | None]:
    """A face, or None, for every box, as `BoxSegmenter.by_box` is given them; `InputError` for another number."""
    found: list[Face | None] = [None] * len(boxes) if faces is None else list(faces)
    if len(found) != len(boxes):
        raise InputError(f"expected a face (or None) for each of {len(boxes)} boxes, got {len(found)}")
    return found


@runtime_checkable
class TextSegmenter(Protocol):
    """Every instance of a phrase."""

    id: str

    def encode(self, image_bgr: np.ndarray) -> Any: ...

    def by_text(self, encoded: Any, phrase: str) -> list[Segment]:
        """One segment per instance, best first; an empty list when there is none."""
        ...


@runtime_checkable
class ThingSegmenter(Protocol):
    """Draws things that are no people, in boxes that an `ObjectDetector` drew."""

    id: str

    def encode(self, image_bgr: np.ndarray) -> Any: ...

    def by_thing(self, encoded: Any, boxes: np.ndarray | Sequence[BoxLike], quick: bool = False) -> list[Segment]:
        """One segment per box, in order, at full image size.

        Args:
            encoded: what `encode` returned.
            boxes: (N, 4) xyxy pixels, about tight.
            quick: spend less time, for many boxes.
        """
        ...


@runtime_checkable
class PartSegmenter(Protocol):
    """Knows a fixed list of things on a person whose mask and face are known.

    Attributes:
        sure: score of a segment from which it is to be believed; below, it is a proposal.
    """

    id: str
    sure: float

    def encode(self, image_bgr: np.ndarray) -> Any: ...

    def by_part(self, encoded: Any, person: Segment, face: Face, thing: str) -> Segment:
        """That thing's pixels, within the person's; an empty segment where there is none.

        Args:
            encoded: what `encode` returned.
            person: whose thing.
            face: theirs.
            thing: in English.

        Raises:
            EngineUnavailable: a word that is not on the list; the message has the list.
        """
        ...


@runtime_checkable
class VideoTracker(Protocol):
    """Carries masks through the frames of a shot by a memory of what was seen.

    Attributes:
        can_track: False for a model of the engine that has no tracker.
    """

    id: str
    can_track: bool

    def track(
        self, images_bgr: Sequence[np.ndarray], seeds: Mapping[int, Mapping[Hashable, np.ndarray]]
    ) -> Iterator[tuple[int, dict[Hashable, Segment]]]:
        """Follow people (or things) forward and backward from where they are known.

        Args:
            images_bgr: the frames of one shot or a part of it; each is read once for either direction, in order.
            seeds: index of a frame -> who -> their mask there, bool (H, W).

        Yields:
            (index of a frame, who -> segment); a frame may come twice, with different people. A segment is empty
            (score below 0.5) where the person is not seen.
        """
        ...


@runtime_checkable
class WordTracker(Protocol):
    """Finds every instance of a phrase in the frames of a clip, late comers included, and follows each.

    Attributes:
        can_track: False for a model of the engine that has no tracker.
    """

    id: str
    can_track: bool

    def follow_words(
        self, images_bgr: Iterable[np.ndarray], phrases: Sequence[str], threshold: float = 0.5
    ) -> Iterator[list[tuple[str, int, Segment]]]:
        """Follow everything the phrases name.

        Args:
            images_bgr: frames of one size, in order.
            phrases: in English.
            threshold: least score of an instance, 0..1.

        Yields:
            (phrase, number that lasts, segment) of every instance, for every frame.
        """
        ...


@runtime_checkable
class PointSegmenter(Protocol):
    """One thing out of clicks on it and beside it, within a box or not."""

    id: str

    def encode(self, image_bgr: np.ndarray) -> Any: ...

    def by_points(
        self,
        encoded: Any,
        points: np.ndarray | Sequence[Sequence[float]],
        inside: Sequence[bool],
        box: BoxLike | None = None,
    ) -> Segment:
        """The thing, at full image size.

        Args:
            encoded: what `encode` returned.
            points: (N, 2) (x, y) pixels; none are needed where there is a box.
            inside: for each point, is it on the thing.
            box: xyxy pixels that the thing lies in.

        Raises:
            InputError: neither a box nor a point on the thing.
        """
        ...


class Learned(Protocol):
    """What an `ExemplarSegmenter` made of its references.

    Attributes:
        ids: the ids it labels, in rising order.
        trials: every reference labelled by the others (leave-one-out); empty where there is one reference only.
        parallel: may `label` be called from several threads at once?
    """

    ids: tuple[int, ...]
    trials: tuple[Trial, ...]
    parallel: bool

    def label(self, image_bgr: np.ndarray) -> dict[int, Segment]:
        """Every id in a picture of any size, whatever was labelled before it. The score of an empty segment is the
        engine's confidence that there is nothing."""
        ...


@runtime_checkable
class ExemplarSegmenter(Protocol):
    """Learns what to find from a few marked pictures."""

    id: str

    def learn(self, references: Sequence[Exemplar]) -> Learned:
        """Learn from references of any and differing sizes.

        Raises:
            InputError: nothing is marked in them.
        """
        ...


class EdgeRefiner(Protocol):
    """Gives a mask that is right already a finer edge."""

    id: str

    def refine(self, image_bgr: np.ndarray, segment: Segment, others: np.ndarray | None = None) -> Segment:
        """The same segment with a finer edge, or as it is where nothing finer can be said.

        Args:
            image_bgr: uint8 (H, W, 3).
            segment: of this picture.
            others: bool (H, W): where other people are or may be; nothing is gained there.
        """
        ...

    def describe(self) -> str:
        """One line: model, and the device it truly runs on."""
        ...


class HeadFinder(Protocol):
    """Says where the head is on a body whose face no detector sees."""

    id: str

    def head(self, image_bgr: np.ndarray, body: np.ndarray) -> np.ndarray | None:
        """The head's box, float32 xyxy in pixels, of the size that a face detector gives it; None where it cannot say.

        Args:
            image_bgr: uint8 (H, W, 3).
            body: float (4,), xyxy in pixels.
        """
        ...

    def describe(self) -> str:
        """One line: model, and the device it truly runs on."""
        ...


class EngineModule(Protocol):
    """The module of an engine, as the registry uses it."""

    def create(self, settings: Settings) -> Any:
        """The engine, ready to work.

        Raises:
            EngineUnavailable: it cannot run here; the message has the command that fixes it.
        """
        ...

    def ready(self, settings: Settings) -> str:
        """Why "auto" had better not take this engine here; empty where it may. Nothing is loaded or downloaded."""
        ...

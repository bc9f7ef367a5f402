"""One photo under the hand: everybody in it seen once, any of them cut out by their place, and changed by clicks.

A person without a name can be picked as well as one with a name. Where a person who was asked for is not there, the
nearest face says how near it comes. (Notebook section 5.)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np

from .engines.protocols import PointSegmenter
from .errors import EngineUnavailable, GalleryError, InputError
from .geometry import grown_box, mask_box, soft_alpha, whole_box
from .looks import Look
from .masks.clicked import Clicked
from .masks.humans import find_humans
from .masks.possession import thing_of
from .masks.segmentation import segment_humans, sightings_of
from .people.gallery import Gallery
from .people.matching import name_faces
from .people.rule import NamingRule
from .phrases import parse_phrase
from .pipeline import IdentityAwareSegmentation
from .types import Segment, Sighting, Status, as_image

_SOFT = 1.0  # pixels, sigma: how soft the edge of what a click adds or takes is
_MOST_CLICKS = 200
_KEPT = 3  # people with their edges that are kept at hand: each is two bytes a pixel
ClickAt = tuple[float, float, bool]  # x, y in pixels of the photo; add (True) or take away


@dataclass(frozen=True)
class Nearness:
    """How near a face comes to a person it is not named as, or is named as with doubt.

    Attributes:
        place: the face's place among the sightings.
        person: display name of the person it is compared with.
        similarity: to that person, -1..1.
        needed: the similarity that gives the name for a face of this size.
        lead: `similarity` less the next best person's.
        least_lead: the lead that gives the name.
        rival: the next best person; None if nobody else is on file.
        given: whose name the face bears instead; None for a stranger's.
    """

    place: int
    person: str
    similarity: float
    needed: float
    lead: float
    least_lead: float
    rival: str | None
    given: str | None


class Picking:
    """Everybody in one photo, at hand.

    Args:
        pipeline: engines, gallery, threshold and edges.
        image_bgr: uint8 (H, W, 3).

    Attributes:
        sightings: everybody: those with a face first, then bodies without one. A person's place is their index here.
    """

    def __init__(self, pipeline: IdentityAwareSegmentation, image_bgr: np.ndarray):
        self.pipeline, self.image = pipeline, as_image(image_bgr)
        engine = pipeline.face_engine
        try:
            self.gallery = pipeline.gallery
        except GalleryError:  # nobody is on file yet: everybody is a stranger, and can be picked
            self.gallery = Gallery.empty(engine)
        self.gallery.check_engine(engine)
        self._rule = NamingRule.of_engine(engine, self.gallery, pipeline.threshold, pipeline.margin)
        self.matches = name_faces(engine.faces(self.image), self.gallery, self._rule)
        self.humans = find_humans(self.image, [m.face for m in self.matches], pipeline.detector_or_none())
        self.sightings: tuple[Sighting, ...] = tuple(sightings_of(self.matches, self.humans, {}))
        self._drawn: dict[int, Segment] = {}
        self._fine: dict[tuple[int, str], Segment] = {}
        self._regions: dict[tuple, tuple[tuple[int, int, int, int], np.ndarray]] = {}

    def place_of(self, name: str) -> int | None:
        """The place of a person by display name or alias; None if they are not in the photo.

        Raises:
            UnknownPerson: nobody on file answers to that name.
        """
        person = self.gallery.find(name)
        return next((i for i, s in enumerate(self.sightings) if s.name == person.name), None)

    def _at(self, place: int) -> Sighting:
        if not 0 <= place < len(self.sightings):
            raise InputError(f"expected a person's place from 0 to {len(self.sightings) - 1}, got {place}")
        return self.sightings[place]

    def person(self, place: int, edges: str | None = None) -> Segment:
        """Somebody's pixels, whether they have a name or not.

        Args:
            place: whose.
            edges: "fine", "fast" or "auto"; None = the pipeline's.

        Raises:
            InputError: there is nobody at that place.
        """
        self._at(place)
        edges = edges or self.pipeline.edges
        if (place, edges) not in self._fine:
            segment = self._all([place])[place]
            alone = [replace(s, segment=segment if i == place else None) for i, s in enumerate(self.sightings)]
            asked = self.pipeline if edges == self.pipeline.edges else self._with(edges)
            refined = asked.with_edges(self.image, alone)[place].segment
            self._fine[place, edges] = segment if refined is None else refined
            while len(self._fine) > _KEPT:
                self._fine.pop(next(iter(self._fine)))
        return self._fine[place, edges]

    def _with(self, edges: str) -> IdentityAwareSegmentation:
        base = self.pipeline
        return IdentityAwareSegmentation(
            base.face_engine, base.segmenter, self.gallery, base.threshold, base.margin, base.settings, None,
            base.detector_or_none() or "auto", edges,
        )  # fmt: skip

    def _all(self, places: Sequence[int]) -> dict[int, Segment]:
        missing = [i for i in places if i not in self._drawn]
        self._drawn |= segment_humans(self.image, self.humans, missing, self.pipeline.segmenter)
        return self._drawn

    def status(self, place: int, segment: Segment) -> Status:
        """What is to be said of a person who was picked.

        Args:
            place: whose.
            segment: their pixels.

        Returns:
            "ok" and "unsure" as of `looks.status_of`; "stranger" for somebody without a name; "no_body" where
            nothing of a body could be made out.
        """
        sighting, engine = self._at(place), self.pipeline.engine_ids
        if not segment.area:
            return Status("no_body", "no body could be made out at that place", engine=engine)
        if sighting.name is not None:
            seen = [replace(s, segment=segment if i == place else None) for i, s in enumerate(self.sightings)]
            return self.pipeline.status_of(Look(self.image, tuple(seen)), sighting.name)
        match = sighting.match
        if match is None or match.nearest is None:
            return Status("stranger", "somebody who is not on file", engine=engine)
        message = f"somebody who is not on file; the nearest is {match.nearest}, similarity {match.similarity:.2f}"
        return Status("stranger", message, match.similarity, match.margin, match.runner_up, engine)

    def missing(self, name: str) -> Status:
        """Why a person, by display name, is not in the photo; see `looks.status_of`."""
        return self.pipeline.status_of(Look(self.image, self.sightings), self.gallery.find(name).name)

    def nearest(self, name: str, place: int | None = None) -> Nearness | None:
        """How near a face comes to a person.

        Args:
            name: display name or alias.
            place: whose face; None = the nearest one, of those without a name if there are any.

        Returns:
            None where there is no face to compare.
        """
        person = self.gallery.find(name)
        index = self.gallery.people.index(person)
        vectors = [m.face.embedding for m in self.matches if m.face.embedding is not None]
        if not vectors or (place is not None and place >= len(vectors)):
            return None
        scores = self.gallery.similarity(np.stack(vectors))
        if place is None:
            strangers = [i for i, m in enumerate(self.matches) if m.name is None]
            place = max(strangers or range(len(scores)), key=lambda i: float(scores[i, index]))
        match, row = self.matches[place], scores[place]
        others = np.delete(row, index)
        lead = float(row[index] - others.max()) if len(others) else float(row[index])
        rival = self.gallery.names[int(np.argmax(np.where(np.arange(len(row)) == index, -2, row)))]
        needed = float(self._rule.levels[index]) - self._rule.relief(match.face.side)
        return Nearness(
            place, person.name, float(row[index]), needed, lead, self._rule.least_lead, rival if len(others) else None,
            match.name if match.name != person.name else None,
        )  # fmt: skip

    def thing(self, place: int, words: str) -> tuple[Segment, Status]:
        """Something of a person's, whether they have a name or not.

        Args:
            place: whose.
            words: the thing, in English, Korean or Thai.

        Returns:
            Its pixels, and "ok", "not_sure", "no_thing" or "not_theirs"; see `Status`.

        Raises:
            EngineUnavailable: the segmenter does not know the word.
            InputError: nobody at that place, or only a body without a face.
        """
        sighting, thing = self._at(place), parse_phrase(words, {}).thing or ""
        if sighting.match is None:
            raise InputError("the face of this person is not seen, so their things cannot be told from others'")
        drawn = self._all(range(len(self.humans)))
        everybody = [drawn[i] for i in range(len(self.humans))]
        found = thing_of(
            self.image, self.pipeline.segmenter, thing, everybody, place, sighting.match.face,
            self.pipeline.detector_or_none,
        )  # fmt: skip
        who = sighting.name or "this person"
        messages = {
            "ok": f"{who}: {thing}",
            "not_sure": f"what is shown may be the {thing} of {who}, but the evidence is too thin",
            "no_thing": f"no {thing} on {who}",
            "not_theirs": f"there is {thing} in the picture, but it is not {who}'s",
        }
        return found.segment, Status(found.status, messages[found.status], engine=self.pipeline.engine_ids)

    def phrase(self, words: str) -> tuple[Segment, Status]:
        """What a phrase means in the photo: see `IdentityAwareSegmentation.segment`."""
        found = self.pipeline.segment(self.image, words)
        alpha = np.ascontiguousarray(found.cutout[:, :, 3])
        tight = mask_box(found.mask)
        box = whole_box(self.image.shape) if tight is None else tight
        return Segment(found.mask, 1.0, box, self.pipeline.engine_ids, alpha), found.status

    def clicked(self, segment: Segment, clicks: Sequence[ClickAt]) -> Segment:
        """A segment with what was clicked added to it, or taken out of it, click after click.

        Args:
            segment: of this photo.
            clicks: (x, y, add) in pixels of the photo; add is False where something is to be taken away.

        Raises:
            EngineUnavailable: the segmenter takes no clicks.
            InputError: a click outside the photo, or nothing can be made out under one.
        """
        if not clicks:
            return segment
        engine = self.pipeline.segmenter
        if not isinstance(engine, PointSegmenter):
            raise EngineUnavailable(f"the segmenter {engine.id} takes no clicks; choose --segmenter embedded")
        if len(clicks) > _MOST_CLICKS:
            raise InputError(f"expected at most {_MOST_CLICKS} clicks on one cutout, got {len(clicks)}")
        height, width = self.image.shape[:2]
        if not all(0 <= x < width and 0 <= y < height for x, y, _ in clicks):
            raise InputError(f"expected clicks within the {width} x {height} photo")
        hand = Clicked(engine, self.image, [m.face.box for m in self.matches])
        alpha = soft_alpha(segment).copy()
        for number, (x, y, adds) in enumerate(clicks):
            beside = tuple((u, v) for u, v, inside in clicks[:number] if not inside) if adds else ()
            (x0, y0, x1, y1), region = self._region(hand, (x, y), beside, adds)
            soft, part = cv2.GaussianBlur(region, (0, 0), _SOFT), alpha[y0:y1, x0:x1]
            alpha[y0:y1, x0:x1] = np.maximum(part, soft) if adds else np.minimum(part, 255 - soft)
        mask = alpha > 127
        tight = mask_box(mask)
        return replace(segment, mask=mask, alpha=alpha, box=segment.box if tight is None else tight)

    def _region(
        self, hand: Clicked, point: tuple[float, float], beside: tuple[tuple[float, float], ...], adds: bool
    ) -> tuple[tuple[int, int, int, int], np.ndarray]:
        """What lies under one click: (x0, y0, x1, y1) of a part of the photo, and 255 where it is in it, 0 elsewhere;
        known from before where it was asked before."""
        key = (point, beside, adds)
        if key not in self._regions:
            places = np.array([point, *beside], np.float64)
            try:
                mask = hand.added(places, np.arange(len(places)) == 0) if adds else hand.taken(places)
            except InputError as error:
                raise InputError(
                    "nothing that ends near that click can be made out there; click another place of the thing"
                ) from error
            tight = mask_box(mask)
            assert tight is not None  # a region holds its click
            box = grown_box(tight, 4 * _SOFT, mask.shape)
            x0, y0, x1, y1 = box
            self._regions[key] = box, mask[y0:y1, x0:x1].astype(np.uint8) * 255
        return self._regions[key]

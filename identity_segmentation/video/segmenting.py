"""Who is in a frame -> the masks of those who are to be drawn, each held against everybody. (Notebook section 7.)"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..engines.protocols import TextSegmenter
from ..geometry import box_mask
from ..masks.possession import thing_of
from ..masks.segmentation import in_upper_part, segment_humans
from ..types import Face, Frame, Human, Segment
from .analysis import Sample
from .belonging import Present, owned
from .scene import Scene, Who, people_in, presents_in

# Pictures that are held as the segmenter sees them: with what small nets said, 30 MB each at 1080p; and those of one
# that knows words, whose encoder takes fifty times as long as a mask.
_HELD, _HELD_DEAR = 3, 12
_REAL = 0.6  # score of a face in no track from which it is taken for somebody


class Segmenting:
    """Segments people in the frames that were looked at; what a picture was encoded to is held for a while, whoever is
    asked for.

    Args:
        scene: what to draw.

    Attributes:
        calls: masks that the segmenter was asked for.
    """

    def __init__(self, scene: Scene):
        self.scene = scene
        self.calls = 0
        self._most = _HELD_DEAR if isinstance(scene.segmenter, TextSegmenter) else _HELD
        self._encoded: dict[int, Any] = {}
        self._things: dict[int, dict[Who, Segment]] = {}

    def forget(self) -> None:
        """Let go of the pictures."""
        self._encoded.clear()
        self._things.clear()

    def of(self, who: Who, frame: Frame, sample: Sample) -> Segment | None:
        """Somebody's mask in a frame; None where no mask is theirs.

        Args:
            who: whose.
            frame: the frame.
            sample: who is seen in it.
        """
        encoded = self._encoded.pop(frame.index, None)
        self._encoded[frame.index] = self.scene.segmenter.encode(frame.image) if encoded is None else encoded
        while len(self._encoded) > self._most:
            del self._encoded[next(iter(self._encoded))]
        if not self.scene.thing:
            return self.among([who], frame.image, sample, self._encoded[frame.index]).get(who)
        if frame.index not in self._things:  # whose thing it is takes everybody: one look for all of them
            everyone = list(self.scene.drawn)
            self._things[frame.index] = self.among(everyone, frame.image, sample, self._encoded[frame.index])
        return self._things[frame.index].get(who)

    def among(
        self, whom: Sequence[Who], image: np.ndarray, sample: Sample, encoded: Any = None, factor: float = 1.0
    ) -> dict[Who, Segment]:
        """The masks of some of the people in a sampled frame; of whom no mask is theirs, nothing.

        Args:
            whom: of the people to be drawn.
            image: uint8 (H, W, 3), BGR; it may be smaller than the video's frames by `factor`.
            sample: who is in it.
            encoded: what the segmenter makes of the image; None = it is asked.
            factor: scale of `image`, 0..1.
        """
        scene = self.scene
        encoded = scene.segmenter.encode(image) if encoded is None else encoded
        seen = [one for one in people_in(scene, sample) if one[3] != "region"]
        faces = [face if factor == 1 else face.scaled(factor) for _, face, *_ in seen]
        humans = _humans(sample, [track for _, _, track, _ in seen], faces, factor)
        wanted = [i for i, (who, *_) in enumerate(seen) if who in whom]
        # Whose thing it is can only be said beside everybody.
        drawn = range(len(humans)) if scene.thing and wanted else wanted
        self.calls += len(drawn)
        found = segment_humans(image, humans, drawn, scene.segmenter, encoded)
        present = presents_in(scene, sample, factor)

        def drawn_in(body: np.ndarray) -> Segment:
            self.calls += 1
            others = [face for face in faces if not in_upper_part(face, body)]
            return scene.segmenter.by_box(encoded, [body], None, others)[0]

        result: dict[Who, Segment] = {}
        for i in wanted:
            who = seen[i][0]
            mine = present[who][0]
            others = [person for other, people in present.items() if other != who for person in people]
            segment = owned(found[i], mine, others, drawn_in)
            if segment is None:
                continue
            if scene.edges is not None and not scene.thing:
                segment = scene.edges.refine(image, segment, _taken(image.shape, others) & ~segment.mask)
            if scene.thing:
                people = [segment if k == i else found[k] for k in range(len(humans))]
                segment = thing_of(image, scene.segmenter, scene.thing, people, i, faces[i], scene.detector).segment
            if who not in result or segment.area > result[who].area:
                result[who] = segment
        return result


def _taken(shape: Sequence[int], others: Sequence[Present]) -> np.ndarray:
    """bool (H, W): where other people may be."""
    taken = np.zeros(tuple(shape[:2]), bool)
    for other in others:
        for box in (other.head, other.body):
            if box is not None:
                taken |= box_mask(shape, box)
    return taken


def _humans(sample: Sample, tracks: Sequence[int], faces: Sequence[Face], factor: float) -> list[Human]:
    """Everybody in a sampled frame: those with these faces, on these tracks, in order, then the bodies of no track, and
    the faces of none, which are somebody's all the same."""
    bodies = {t: np.array(b) * factor for b, t in sample.bodies if t is not None}
    rest = [Human(None, np.array(box) * factor, 0.5) for box, track in sample.bodies if track is None]
    tracked = {point.face for point in sample.tracks}
    strangers = (record.face() for i, record in enumerate(sample.faces) if i not in tracked)
    rest += [Human.by_face(face if factor == 1 else face.scaled(factor)) for face in strangers if face.score >= _REAL]
    return [Human(f, bodies.get(t), f.score) for f, t in zip(faces, tracks, strict=True)] + rest

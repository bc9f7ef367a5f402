"""People followed through the frames of a shot by SAM 3 in transformers: its memory, kept small, and its frames, each
encoded once."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import cv2
import numpy as np

from ..geometry import whole_box
from ..types import Exemplar, Segment, as_image
from . import _sam3

# What the video model reads back: max_object_pointers_in_encoder = 16 frames, num_maskmem = 7. Older outputs are dead
# weight (5 MB a person and frame at 1008 pixels).
KEEP_FRAMES = 16
FRAMES_AT_A_TIME = 8
_KEPT_BYTES = 1 << 30  # of encoded frames that wait to be read again: 100 of them at full size in 16 bits
_ABSENT = -20.0  # the logit of somebody who is not seen


class Looked(NamedTuple):
    """One person in one frame, before it becomes a segment.

    Attributes:
        logits: float (h, w).
        score: that they are there, 0..1.
    """

    logits: np.ndarray
    score: float


class Frames:
    """The frames of a shot as the tracker reads them: encoded some at a time, in the order they are asked for, and kept
    for the way back as far as memory is given to it.

    Args:
        engine: a `Sam3HF`.
        images_bgr: the frames.
        again: first and last index of the frames that are read on the way there and on the way back.
        most: bytes of encoded frames to keep.
    """

    def __init__(self, engine: Any, images_bgr: Sequence[np.ndarray], again: tuple[int, int], most: int = _KEPT_BYTES):
        self._engine, self._images, self._again, self._most = engine, images_bgr, again, most
        self._batch = _sam3.free_batch(engine.encode_bytes, engine.device, FRAMES_AT_A_TIME)
        self._kept: dict[int, tuple[Any, tuple[int, int]]] = {}

    def get(self, index: int, step: int) -> tuple[Any, tuple[int, int]]:
        """What the tracker makes of a frame, and its shape (H, W).

        Args:
            index: of the frame.
            step: -1 on the way there, 1 on the way back, from the first to the last.
        """
        if index not in self._kept:
            wanted = [index + step * i for i in range(self._batch)]
            wanted = [i for i in wanted if 0 <= i < len(self._images) and i not in self._kept]
            self._kept.update(zip(wanted, self._encoded(wanted), strict=True))
        found = self._kept[index]
        first, last = self._again
        if step > 0 or not first <= index <= last:
            del self._kept[index]
        elif sum(_bytes(one) for one, _ in self._kept.values()) > self._most:
            # Of those that are done with on this way, the one that is asked for last on the way back.
            del self._kept[max(self._kept)]
        return found

    def _encoded(self, indices: Sequence[int]) -> list[tuple[Any, tuple[int, int]]]:
        images = [as_image(self._images[i]) for i in indices]
        with self._engine.turn():
            seen = self._engine.for_tracker(images, self._batch)
        return [(one, image.shape[:2]) for one, image in zip(seen, images, strict=True)]


def followed(
    engine: Any, images_bgr: Sequence[np.ndarray], seeds: Mapping[int, Mapping[Hashable, np.ndarray]]
) -> Iterator[tuple[int, dict[Hashable, Segment]]]:
    """See `VideoTracker.track`; each frame comes once, in order, with everybody who is followed in it.

    First back from the last frame in which somebody is first known. What is found there is kept as small masks in 16
    bits (0.2 MB a person and frame), so that on the way forward everybody's claim to a pixel is heard at once.
    """
    if not seeds:
        return
    earliest: dict[Hashable, int] = {}
    for index in sorted(seeds):
        for who in seeds[index]:
            earliest.setdefault(who, index)
    first, last = min(seeds), max(earliest.values())
    frames = Frames(engine, images_bgr, (first, last))
    before: dict[int, dict[Hashable, Looked]] = {}
    session = engine.start()
    for index in range(last, -1, -1) if last else ():
        begun = {who: seeds[index][who] for who, at in earliest.items() if at == index > 0}
        looked = session.look(frames.get(index, -1)[0], begun)
        early = {who: one for who, one in looked.items() if index < earliest[who]}
        before[index] = {who: Looked(one.logits.astype(np.float16), one.score) for who, one in early.items()}
    session = engine.start()
    for index in range(len(images_bgr)):
        found = dict(before.pop(index, {}))
        shape = None
        if index >= first:
            seen, shape = frames.get(index, 1)
            found |= session.look(seen, seeds.get(index))
        if found:
            shape = shape or as_image(images_bgr[index]).shape[:2]
            yield index, segments_of(engine, found, shape)


def segments_of(engine: Any, found: Mapping[Hashable, Looked], shape: tuple[int, int]) -> dict[Hashable, Segment]:
    """Everybody in a frame, each pixel at most one's; who is not seen has an empty segment.

    Args:
        engine: a `Sam3HF`.
        found: who -> what was found of them, all of one size.
        shape: (H, W) of the frame.
    """
    values = [
        np.asarray(one.logits, np.float32) if one.score >= 0.5 else np.full_like(one.logits, _ABSENT, np.float32)
        for one in found.values()
    ]
    scores, boxes = [one.score for one in found.values()], [whole_box(shape)] * len(found)
    return dict(zip(found, _sam3.to_segments(values, shape, scores, boxes, engine.id, engine.device), strict=True))


class Session:
    """People followed through the frames of one shot, each handed in once, in either direction of time.

    Args:
        engine: a `Sam3HF`.
        known: what the tracker makes of pictures that were encoded already, by `id` of the array.
    """

    def __init__(self, engine: Any, known: Mapping[int, Any] | None = None):
        from transformers.models.sam3_tracker_video.modeling_sam3_tracker_video import (
            Sam3TrackerVideoInferenceSession,
        )

        self._engine, self._known = engine, known or {}
        self._ids: dict[Hashable, int] = {}
        self._frame = 0
        self._session = Sam3TrackerVideoInferenceSession(
            inference_device=engine.device, inference_state_device=engine.device, video_storage_device=engine.device,
            dtype=engine.dtype,
        )  # fmt: skip
        self.prune = True

    def step(self, image_bgr: np.ndarray, masks: Mapping[Hashable, np.ndarray] | None = None) -> dict:
        """The next frame.

        Args:
            image_bgr: uint8 (H, W, 3).
            masks: who is to be followed from here on: bool (H, W) each. One already followed is seeded anew.

        Returns:
            A segment for everyone followed so far; no two share a pixel.
        """
        image = as_image(image_bgr)
        found = self.look(self._seen(image_bgr, image) if self._ids or masks else None, masks)
        return segments_of(self._engine, found, image.shape[:2])

    def look(self, seen: Any, masks: Mapping[Hashable, np.ndarray] | None = None) -> dict[Hashable, Looked]:
        """`step` over a frame that is encoded already, before anything is enlarged.

        Args:
            seen: what `Sam3HF.for_tracker` makes of the frame; None where nobody is followed yet.
            masks: who is to be followed from here on: bool (H, W) each.
        """
        engine = self._engine
        with engine.turn():
            for who, mask in (masks or {}).items():
                self._add(who, mask)
            self._session.obj_with_new_inputs = [self._ids[who] for who in masks or ()]
            found = self._asked(engine.video_model, seen, True) if self._ids else {}
            if self.prune:
                _prune(self._session, self._frame)
        self._frame += 1
        return found

    def answer(self, image_bgr: np.ndarray) -> dict:
        """A picture after all the frames so far, which leaves no trace: the next one is asked as if it were the first.

        Every seeded frame is attended to, however many there are (the library stops at four).
        """
        image = as_image(image_bgr)
        with self._engine.turn():
            try:
                found = self._asked(self._engine.video_model_of_all, self._seen(image_bgr, image), False)
            finally:
                for outputs in self._session.output_dict_per_obj.values():
                    outputs["non_cond_frame_outputs"].clear()
                for tracked in self._session.frames_tracked_per_obj.values():
                    tracked.pop(self._frame, None)
        return segments_of(self._engine, found, image.shape[:2])

    def _seen(self, given: np.ndarray, image: np.ndarray) -> Any:
        if id(given) in self._known:
            return self._known[id(given)]
        with self._engine.turn():
            return self._engine.for_tracker([image], 1)[0]

    def _asked(self, model: Any, seen: Any, remember: bool) -> dict[Hashable, Looked]:
        """What a model says of the frame that is next. It finds the frame encoded in its cache, so that it never looks
        at the picture that it is handed."""
        session, blank = self._session, self._engine.blank
        session.cache.clear_all()  # it is kept by frame number, which may come again
        session.cache.cache_vision_features(self._frame, seen)
        try:
            model.look_ahead(session, self._frame)
            out = model(session, frame=blank, frame_idx=self._frame, run_mem_encoder=remember)
        finally:
            session.cache.clear_all()
            session.processed_frames.clear()
        logits = out.pred_masks[:, 0].float().cpu().numpy()
        scores = out.object_score_logits.float().flatten().sigmoid().cpu().numpy()
        rows = {who: out.object_ids.index(number) for who, number in self._ids.items()}
        return {who: Looked(logits[row], float(scores[row])) for who, row in rows.items()}

    def _add(self, who: Hashable, mask: np.ndarray) -> None:
        number = self._ids.setdefault(who, len(self._ids) + 1)
        row = self._session.obj_id_to_idx(number)
        size = self._engine.seed_size
        resized = cv2.resize(mask.astype(np.float32), (size, size), interpolation=cv2.INTER_AREA) >= 0.5
        tensor = self._engine.torch.from_numpy(resized)[None, None]
        self._session.add_mask_inputs(row, self._frame, tensor.float())
        self._session.remove_point_inputs(row, self._frame)

    def size_bytes(self) -> int:
        """Bytes of all tensors that the session holds."""
        session = self._session
        return _bytes([session.output_dict_per_obj, session.processed_frames, session.mask_inputs_per_obj])


class References:
    """The marked pictures of few-shot, each encoded once however often it is shown to a memory.

    Args:
        engine: a `Sam3HF`.
        references: what is learned from.
        most: bytes of encoded pictures to keep; further ones are encoded whenever they are shown.
    """

    def __init__(self, engine: Any, references: Sequence[Exemplar], most: int = _KEPT_BYTES):
        self._engine, self._known = engine, dict[int, Any]()
        batch = _sam3.free_batch(engine.encode_bytes, engine.device, FRAMES_AT_A_TIME)
        images = [reference.image for reference in references]
        used = 0
        for start in range(0, len(images), batch):
            if used > most:
                break
            some = images[start : start + batch]
            with engine.turn():
                seen = engine.for_tracker([as_image(image) for image in some], batch)
            self._known.update(zip(map(id, some), seen, strict=True))
            used += sum(map(_bytes, seen))

    def remembering(self, references: Sequence[Exemplar], ids: Sequence[int]) -> Session:
        """A session that has seen some of them, with a mask for each id in each."""
        session = Session(self._engine, self._known)
        for image, masks in references:
            nothing = np.zeros(image.shape[:2], bool)
            session.step(image, {i: masks.get(i, nothing) for i in ids})
        return session

    def forget(self) -> None:
        """Let go of the encoded pictures."""
        self._known.clear()


def forget_outputs(session: Any, frame: int) -> None:
    """Drop of a session's outputs what is not read back in a frame, nor in those after it."""
    for outputs in session.output_dict_per_obj.values():
        for kind, frames in outputs.items():
            for index, output in list(frames.items()):
                output.pop("high_res_masks", None)
                if kind == "non_cond_frame_outputs" and frame - index > KEEP_FRAMES:
                    del frames[index]


def _prune(session: Any, frame: int) -> None:
    """Drop what the model never reads back. Results stay the same to the bit; memory stays the same over time."""
    forget_outputs(session, frame)
    for tracked in session.frames_tracked_per_obj.values():
        for index in [i for i in tracked if frame - i > KEEP_FRAMES]:
            del tracked[index]
    for inputs in session.mask_inputs_per_obj.values():
        for index in [i for i in inputs if i < frame]:
            del inputs[index]


def _bytes(value: Any) -> int:
    if isinstance(value, Mapping):
        return sum(map(_bytes, value.values()))
    if isinstance(value, list | tuple):
        return sum(map(_bytes, value))
    return value.element_size() * value.nelement() if hasattr(value, "element_size") else 0

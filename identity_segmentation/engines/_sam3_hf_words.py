"""Phrases through a video by SAM 3 in transformers: every instance, late comers included, found and followed in one
pass over a stream."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

import numpy as np

from ..geometry import whole_box
from ..types import Segment, as_image
from . import _sam3
from ._sam3_hf_loading import folder_of
from ._sam3_hf_tracking import FRAMES_AT_A_TIME, KEEP_FRAMES, forget_outputs


class _Frames(dict):
    """The library counts the frames that it has; these are counted on after they are gone."""

    count = 0

    def __len__(self) -> int:
        return self.count


def followed_words(
    engine: Any, images_bgr: Iterable[np.ndarray], phrases: Sequence[str], threshold: float
) -> Iterator[list[tuple[str, int, Segment]]]:
    """See `Sam3HF.follow_words`.

    Frames are asked for as those of a whole clip are, not as the library's stream of them, for which duplicates and
    objects that nothing confirms would be kept. That takes no more of a clip than: 16 frames read ahead, as the library
    wants to know whether there are so many; and results held back for as many frames as objects are on probation (15).
    Of what the tracker remembers the last 16 frames and the four newest confirmed ones are kept. So memory is the same
    for any length, there are no seams, and the result is the library's for the whole clip.
    """
    from transformers import Sam3VideoProcessor

    from ._sam3_hf_mended import viewed

    processor = Sam3VideoProcessor.from_pretrained(folder_of(engine.model), local_files_only=True)
    session = processor.init_video_session(
        inference_device=engine.device, inference_state_device=engine.device, video_storage_device=engine.device,
        processing_device=engine.device, dtype=engine.dtype,
    )  # fmt: skip
    with engine.turn():
        processor.add_text_prompt(session, [_sam3.checked_phrase(phrase) for phrase in phrases])
        for number, phrase in session.prompts.items():
            words = engine.words(phrase)
            session.prompt_embeddings[number] = words["text_embeds"]
            session.prompt_attention_masks[number] = words["attention_mask"]
    session.processed_frames = frames = _Frames()
    now: list[Any] = []
    # Views: the thresholds, and what is seen, are this clip's alone, whoever else uses the model at the same time.
    detector = viewed(engine.detector, get_vision_features=lambda pixel_values: now[0])
    model = viewed(
        engine.whole, detector_model=detector, score_threshold_detection=threshold,
        new_det_thresh=max(threshold, min(0.7, 1.4 * threshold)),
    )  # fmt: skip
    held: deque[tuple[Any, tuple[int, int]]] = deque()
    for number, (image, seen, ahead) in enumerate(_ahead(engine, images_bgr)):
        with engine.turn():
            now[:] = [seen]
            frames.clear()
            frames[number], frames.count = engine.blank, number + ahead
            held.append((model(inference_session=session, frame_idx=number), image.shape[:2]))
            session.hotstart_removed_obj_ids.update(held[-1][0].removed_obj_ids)
            _prune_words(session, number, model)
        if len(held) >= max(1, model.hotstart_delay):
            yield _named(engine, processor, session, *held.popleft())
    while held:
        yield _named(engine, processor, session, *held.popleft())


def _ahead(engine: Any, images_bgr: Iterable[np.ndarray]) -> Iterator[tuple[np.ndarray, Any, int]]:
    """Every frame, what the detector sees of it, and how many frames there are from it on (16 or more count as 16);
    encoded some at a time."""
    stream = iter(images_bgr)
    batch = _sam3.free_batch(engine.encode_bytes, engine.device, FRAMES_AT_A_TIME)
    images: deque[np.ndarray] = deque()
    seen: deque[Any] = deque()
    while True:
        images.extend(as_image(image) for image in islice(stream, KEEP_FRAMES - len(images)))
        if not images:
            return
        if not seen:
            seen.extend(engine.encode_batch(list(islice(images, batch)), batch))
        ahead = len(images)
        with engine.turn():
            vision = engine.vision(seen.popleft())
        yield images.popleft(), vision, ahead


def _named(
    engine: Any, processor: Any, session: Any, out: Any, shape: tuple[int, int]
) -> list[tuple[str, int, Segment]]:
    """The library's choice among the objects of a frame, drawn from their low-resolution logits (1, h, w).

    The library would enlarge, threshold and hand over every mask at the picture's size. `to_segments` needs the small
    ones alone, and their logits give soft edges.
    """
    low: Mapping[int, Any] = out.obj_id_to_mask
    size = next((list(mask.shape[-2:]) for mask in low.values()), [1, 1])
    with engine.turn():
        found = processor.postprocess_outputs(session, out, original_sizes=[size])
        scores, inside = found["scores"].float().tolist(), found["masks"].cpu().numpy()
        numbers = found["object_ids"].tolist()
        logits = [low[number].float().cpu().numpy()[0] for number in numbers]
    result = []
    for phrase, ids in found["prompt_to_obj_ids"].items():
        rows = [row for row, number in enumerate(numbers) if number in ids]
        # What another object of the phrase has is not this one's.
        own = [np.where(inside[row] | (logits[row] <= 0), logits[row], -8) for row in rows]
        boxes = [whole_box(shape)] * len(rows)
        drawn = _sam3.to_segments(own, shape, [scores[row] for row in rows], boxes, engine.id, engine.device)
        result += [(phrase, int(numbers[row]), segment) for row, segment in zip(rows, drawn, strict=True)]
    return sorted((one for one in result if one[2].area), key=lambda one: one[1])


def _prune_words(session: Any, frame: int, model: Any) -> None:
    """Drop what the model never reads back of a session of phrases."""
    forget_outputs(session, frame)
    nearest = model.tracker_model.config.max_cond_frame_num
    for outputs in session.output_dict_per_obj.values():
        confirmed = outputs["cond_frame_outputs"]
        for index in sorted(confirmed)[: max(0, len(confirmed) - nearest)]:
            # Of one older than those that the tracker attends to, and than its last frames, the pointer alone is read.
            if frame - index > KEEP_FRAMES:
                confirmed[index] = {"object_pointer": confirmed[index]["object_pointer"]}
    for by_frame in (session.obj_id_to_tracker_score_frame_wise, session.suppressed_obj_ids):
        for index in [i for i in by_frame if i < frame]:
            del by_frame[index]
    for inputs in session.mask_inputs_per_obj.values():
        inputs.clear()

"""SAM 3 over the frames of a clip, with tiny random weights: who is followed, what is remembered, what is encoded.

Random weights follow nobody. That everybody's pixels stay their own, that nothing is computed twice, and that two who
use one model do not feel each other, holds for any weights.
"""

from __future__ import annotations

import threading
import time

import cv2
import numpy as np
import pytest

from identity_segmentation.engines import _sam3, _sam3_hf_tracking
from identity_segmentation.engines.protocols import VideoTracker
from identity_segmentation.types import Exemplar


@pytest.fixture(scope="module")
def frames() -> list[np.ndarray]:
    picture = np.random.default_rng(0).integers(0, 255, (120, 160, 3), dtype=np.uint8)
    return [np.roll(picture, 2 * i, 1) for i in range(60)]


def person(x: int) -> np.ndarray:
    mask = np.zeros((120, 160), bool)
    mask[30:90, x : x + 50] = True
    return mask


BOX = np.array([0, 0, 1, 1], np.float32)
TRACKERS = ["sam3_hf", "sam3_official", "sam31"]


@pytest.fixture(params=TRACKERS)
def tracker(request):
    return request.getfixturevalue(request.param)


@pytest.fixture
def encodes(sam3_hf, monkeypatch) -> list[int]:
    """How many pictures each pass of the vision encoder takes."""
    sizes: list[int] = []
    backbone = sam3_hf.detector.vision_encoder.backbone
    real = backbone.forward
    monkeypatch.setattr(backbone, "forward", lambda pixels: sizes.append(len(pixels)) or real(pixels))
    return sizes


def in_batches_of(size: int, monkeypatch) -> None:
    monkeypatch.setattr(_sam3, "free_batch", lambda bytes_each, device, most=32: min(size, most))


# ---- whose pixel it is


def test_every_engine_that_tracks_is_held_to_its_word():
    """An engine with a tracker of its own belongs into `TRACKERS`."""
    from importlib import import_module

    from identity_segmentation.engines import SEGMENTERS

    classes = [
        value
        for name in SEGMENTERS.values()
        for value in vars(import_module(f"identity_segmentation.engines.{name}")).values()
        if isinstance(value, type) and value.__module__.endswith(name) and hasattr(value, "track")
    ]
    assert {one.__name__ for one in classes} == {"Sam3HF", "Sam3Official", "Sam31"} and len(TRACKERS) == len(classes)


def test_no_two_people_who_are_followed_share_a_pixel(tracker, frames):
    assert isinstance(tracker, VideoTracker)
    seeds = {1: {"a": person(20), "b": person(50)}}  # their seeds overlap
    pixels = 0
    for _, found in tracker.track(frames[:5], seeds):
        assert set(found) == {"a", "b"}
        held = np.sum([segment.mask for segment in found.values()], 0)
        assert held.max() <= 1
        pixels += held.sum()
        assert all((s.mask == (s.alpha > 127)).all() for s in found.values())
    assert pixels > 0


def test_those_who_are_first_known_in_different_frames_share_none_either(sam3_hf, frames):
    seeds = {1: {"a": person(20)}, 3: {"b": person(40)}, 4: {"c": person(60), "a": person(25)}}
    indices = []
    for index, found in sam3_hf.track(frames[:7], seeds):
        indices.append(index)
        assert set(found) == {"a", "b", "c"}
        assert np.sum([segment.mask for segment in found.values()], 0).max() == 1
    assert indices == list(range(7)), "each frame once, in order"


@pytest.mark.parametrize("device_name", ["cpu", "other"])
def test_a_contested_pixel_is_whose_logit_is_higher_and_no_gap_is_left(torch, device_name, monkeypatch):
    if device_name == "other":  # the other way to enlarge
        real = _sam3._enlarged_on
        monkeypatch.setattr(_sam3, "_enlarged_on", lambda _, *rest: real("cpu", *rest))
    y, x = np.mgrid[:72, :72].astype(np.float32)
    shape = (1080, 1920)
    claims = [20 - np.hypot(x - 25, y - 30), 20 - np.hypot(x - 45, y - 36), 9 - np.hypot(x - 36, y - 50)]
    segments = _sam3.to_segments(claims, shape, [0.9] * 3, [BOX] * 3, "x", device_name)
    held = np.sum([s.mask for s in segments], 0)
    assert held.max() == 1
    large = np.stack([cv2.resize(c, shape[::-1], interpolation=cv2.INTER_LINEAR) for c in claims])
    assert np.count_nonzero(held != (large.max(0) > 0)) < 0.004 * held.sum(), "what anybody claims is somebody's"
    owner = np.argmax([s.mask for s in segments], 0)
    clear = (np.sort(large, 0)[-1] - np.sort(large, 0)[-2] > 1) & (held > 0)
    assert (owner == large.argmax(0))[clear].all()
    for one in segments:
        tight = np.argwhere(one.mask)
        assert one.box.tolist() == [*tight.min(0)[::-1].tolist(), *(tight.max(0)[::-1] + 1).tolist()]
        assert (one.mask == (one.alpha > 127)).all() and len(np.unique(one.alpha)) > 20, "a soft edge"


def test_whom_nobody_contests_is_drawn_as_if_alone():
    y, x = np.mgrid[:72, :72].astype(np.float32)
    claims = [15 - np.hypot(x - 18, y - 30), 15 - np.hypot(x - 54, y - 36)]
    for one, claim in zip(_sam3.to_segments(claims, (500, 500), [1, 1], [BOX] * 2, "x"), claims, strict=True):
        alone = _sam3.to_segment(claim, (500, 500), 1, BOX, "x")
        assert (one.mask == alone.mask).all() and (one.alpha == alone.alpha)[alone.mask].all()


def test_two_equal_claims_are_the_first_ones():
    claim = np.full((8, 8), 10, np.float32)
    first, second = _sam3.to_segments([claim, claim], (80, 80), [1, 1], [BOX] * 2, "x")
    assert first.mask.all() and not second.mask.any()


# ---- what is remembered of a seed


def look(session, seen, seeds) -> list[dict]:
    return [session.look(one, seeds.get(i)) for i, one in enumerate(seen)]


def test_seeding_one_person_leaves_the_others_memory_as_it_is(sam3_hf, frames):
    seen = sam3_hf.for_tracker(frames[:6], 1)
    alone = look(sam3_hf.start(), seen, {0: {"a": person(20)}})
    joined = look(sam3_hf.start(), seen, {0: {"a": person(20)}, 2: {"b": person(90)}, 4: {"b": person(80)}})
    for one, two in zip(alone, joined, strict=True):
        assert np.abs(one["a"].logits - two["a"].logits).max() < 1e-4 * one["a"].logits.std() + 1e-6


def test_a_seed_is_kept_at_the_resolution_of_metas_code_and_its_pointer_is_the_single_masks(sam3_hf, frames, torch):
    model = sam3_hf.video_model
    decoder = model.mask_decoder
    asked, real = [], decoder.forward

    def noted(*given, **named):
        asked.append(named["multimask_output"])
        return real(*given, **named)

    decoder.forward = noted
    try:
        session = sam3_hf.start()
        (seen,) = sam3_hf.for_tracker(frames[:1], 1)
        session.prune = False
        session.look(seen, {"a": person(20)})
    finally:
        del decoder.forward
    assert asked == [False], "the best of three was taken"
    output = session._session.output_dict_per_obj[0]["cond_frame_outputs"][0]
    side = 4 * model.prompt_encoder.mask_input_size[0]
    assert output["high_res_masks"].shape[-1] == side == 128 and model.image_size == 112
    assert set(output["high_res_masks"].unique().tolist()) == {-10.0, 10.0}, "no blurred edge"


# ---- frames are encoded once


SIX = {i: {f"p{i}": person(4 * i)} for i in (1, 3, 5, 6, 8, 10)}


@pytest.mark.parametrize("size", [1, 4, 8])
def test_a_clip_with_six_seeded_frames_in_both_directions_is_encoded_once(sam3_hf, frames, encodes, monkeypatch, size):
    in_batches_of(size, monkeypatch)
    found = list(sam3_hf.track(frames[:12], SIX))
    assert len(found) == 12 and all(set(people) == {f"p{i}" for i in SIX} for _, people in found)
    assert sum(encodes) == 12 and max(encodes) == size


def test_batches_change_no_mask(sam3_hf, frames, monkeypatch):
    in_batches_of(1, monkeypatch)
    one = sam3_hf.for_tracker(frames[:8], 1)
    library = []
    for image in frames[:8]:
        with sam3_hf.turn():
            library.append(sam3_hf.video_model.get_image_features(sam3_hf._pixels([image])).fpn_hidden_states)
    for ours, theirs in zip(one, library, strict=True):
        assert all((a == b).all() for a, b in zip(ours["vision_feats"], theirs, strict=True)), "one by one: to the bit"
    with sam3_hf.turn():
        together = sam3_hf.video_model.get_image_features(sam3_hf._pixels(frames[:8])).fpn_hidden_states
    for i, ours in enumerate(sam3_hf.for_tracker(frames[:8], 8)):
        parts = [part[:, i : i + 1] for part in together]
        assert all((a == b).all() for a, b in zip(ours["vision_feats"], parts, strict=True)), "a batch: likewise"
    alone = dict(sam3_hf.track(frames[:12], SIX))
    in_batches_of(8, monkeypatch)
    for index, people in sam3_hf.track(frames[:12], SIX):
        for who, segment in people.items():
            assert np.count_nonzero(segment.mask ^ alone[index][who].mask) < 0.01 * segment.mask.size


def test_encoded_frames_are_kept_within_bounds(sam3_hf, frames, encodes, monkeypatch):
    in_batches_of(4, monkeypatch)
    one = _sam3_hf_tracking._bytes(sam3_hf.for_tracker(frames[:1], 1))
    encodes.clear()
    reader = _sam3_hf_tracking.Frames(sam3_hf, frames[:40], (0, 39), most=10 * one)
    most = 0
    for step, order in ((-1, range(39, -1, -1)), (1, range(40))):
        for index in order:
            seen, shape = reader.get(index, step)
            assert shape == (120, 160) and _sam3_hf_tracking._bytes(seen) == one
            most = max(most, len(reader._kept))
    assert most <= 14, "what may be kept, and a batch"
    assert 40 < sum(encodes) <= 40 + 40 - 8, "those kept are not encoded again"
    assert not reader._kept


def test_references_are_encoded_once_over_all_folds(sam3_hf, frames, encodes):
    references = [Exemplar(frame, {1: person(20 + i)}) for i, frame in enumerate(frames[:5])]
    learned = sam3_hf.learn(references)
    assert len(learned.trials) and sum(encodes) == 5
    assert not learned._memory._known, "and let go of afterwards"
    learned.label(frames[7])
    assert sum(encodes) == 6


def test_a_phrase_is_encoded_once(sam3_hf, frames, monkeypatch):
    sam3_hf._texts.clear()
    asked = []
    real = type(sam3_hf.detector).get_text_features
    monkeypatch.setattr(
        type(sam3_hf.detector), "get_text_features", lambda *given, **named: asked.append(1) or real(*given, **named)
    )
    for frame in frames[:3]:
        sam3_hf.by_text(sam3_hf.encode(frame), "red shirt", 0.0)
    list(sam3_hf.follow_words(frames[:2], ["red shirt"], 0.0))
    assert len(asked) == 1


# ---- one model, several users


def test_two_clips_side_by_side_keep_their_own_thresholds(sam3_hf, frames):
    def numbers(rows):
        return [[(n, round(s.score, 5), s.area) for _, n, s in row] for row in rows]

    low = numbers(sam3_hf.follow_words(frames[:20], ["shirt"], 0.0))
    high = numbers(sam3_hf.follow_words(frames[:20], ["shirt"], 0.99))
    assert any(low) and not any(high)
    rows = [[], []]
    for pair in zip(
        sam3_hf.follow_words(frames[:20], ["shirt"], 0.0),
        sam3_hf.follow_words(frames[:20], ["shirt"], 0.99),
        strict=True,
    ):
        for row, one in zip(rows, pair, strict=True):
            row.append(one)
    assert numbers(rows[0]) == low and numbers(rows[1]) == high


def test_an_abandoned_clip_leaves_the_models_thresholds(sam3_hf, frames):
    before = sam3_hf.whole.score_threshold_detection, sam3_hf.whole.new_det_thresh
    rows = sam3_hf.follow_words(frames[:20], ["shirt"], 0.01)
    next(rows)
    assert (sam3_hf.whole.score_threshold_detection, sam3_hf.whole.new_det_thresh) == before


def test_two_threads_take_turns_and_get_what_each_gets_alone(sam3_hf, frames, monkeypatch):
    backbone = sam3_hf.detector.vision_encoder.backbone
    real, inside, limits = backbone.forward, [], []
    config = sam3_hf.video_model.config

    def slow(pixels):
        inside.append(1)
        time.sleep(0.01)
        assert len(inside) == 1, "two at once"
        inside.pop()
        limits.append(config.max_cond_frame_num)
        return real(pixels)

    monkeypatch.setattr(backbone, "forward", slow)
    references = [Exemplar(frame, {1: person(20 + i)}) for i, frame in enumerate(frames[:6])]
    learned = sam3_hf.learn(references)

    def labelled():
        return [learned.label(frame)[1].mask for frame in frames[10:16]]

    def tracked():
        seeds = {i: {"a": person(20)} for i in range(6)}  # more than the library attends to
        return [found["a"].mask for _, found in sam3_hf.track(frames[:12], seeds)]

    def worded():
        return [s.mask for frame in frames[:4] for s in sam3_hf.by_text(sam3_hf.encode(frame), "a hat", 0.0)]

    jobs = [labelled, tracked, worded]
    alone, together, errors = [job() for job in jobs], [[], [], []], []

    def run(i):
        try:
            together[i] = jobs[i]()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(i,)) for i in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert not errors and set(limits) == {4}
    for one, two in zip(alone, together, strict=True):
        assert len(one) == len(two) and all((a == b).all() for a, b in zip(one, two, strict=True))


# ---- words


class Kernel:
    """What the library's optional package does, written out."""

    @staticmethod
    def generic_nms(ious, scores, most, use_iou_matrix):
        import torch

        kept: list[int] = []
        for i in scores.argsort(descending=True, stable=True).tolist():
            if all(ious[i, k] <= most for k in kept):
                kept.append(i)
        return torch.tensor(kept, device=scores.device)

    @staticmethod
    def cc_2d(masks, get_counts):
        import torch

        labels, counts = [], []
        for mask in masks[:, 0].cpu().numpy():
            _, label, stats, _ = cv2.connectedComponentsWithStats(mask)
            labels.append(label)
            counts.append(np.where(mask > 0, stats[:, cv2.CC_STAT_AREA][label], 0))
        return tuple(torch.from_numpy(np.stack(part))[:, None].to(masks.device) for part in (labels, counts))


def of_the_library(engine, frames, phrases, threshold, monkeypatch) -> list[dict]:
    """The library's own pass over a whole clip, with its optional package played: per frame, id -> its small mask."""
    from transformers import Sam3VideoProcessor
    from transformers.models.sam3_video import modeling_sam3_video as library

    monkeypatch.setattr(library, "cv_utils_kernel", Kernel)
    monkeypatch.setattr(engine.whole, "score_threshold_detection", threshold)
    monkeypatch.setattr(engine.whole, "new_det_thresh", threshold)
    for name in ("run_detection", "run_tracker_propagation", "build_outputs"):
        monkeypatch.setattr(type(engine.whole), name, getattr(library.Sam3VideoModel, name))
    processor = Sam3VideoProcessor.from_pretrained(engine.model)
    with engine.turn():
        pixels = [engine._pixels([frame])[0] for frame in frames]
        session = processor.init_video_session(dtype=engine.dtype, inference_device=engine.device)
        processor.add_text_prompt(session, phrases)
        session.processed_frames = dict(enumerate(pixels))
        rows = []
        for out in engine.whole.propagate_in_video_iterator(session):
            found = processor.postprocess_outputs(session, out, original_sizes=[[32, 32]])
            ids = found["object_ids"].tolist()
            rows.append(dict(zip(ids, found["masks"].cpu().numpy(), strict=True)))
    return rows


@pytest.mark.parametrize("count", [5, 40])
def test_phrases_are_followed_as_the_library_follows_them_through_the_whole_clip(sam3_hf, frames, monkeypatch, count):
    """The same objects in every frame, whether the library's optional package is there or not; and no duplicates."""
    small = [cv2.resize(frame, (32, 32)) for frame in frames[:count]]  # at the size of the masks nothing is enlarged
    monkeypatch.setattr(_sam3, "_tidied", lambda logits: np.asarray(logits, np.float32))
    ours = list(sam3_hf.follow_words(iter(small), ["shirt", "person"], 0.0))
    with monkeypatch.context() as patched:
        theirs = of_the_library(sam3_hf, small, ["shirt", "person"], 0.0, patched)
    assert len(ours) == len(theirs) == count and any(theirs)
    for row, expected in zip(ours, theirs, strict=True):
        found = {number: segment.mask for _, number, segment in row}
        assert set(found) == {number for number, mask in expected.items() if mask.any()}
        for number, mask in found.items():
            assert np.count_nonzero(mask ^ expected[number]) <= 2


def test_duplicate_detections_are_followed_once(sam3_hf, frames, monkeypatch):
    """Every query finds the same thing: one object."""
    real = type(sam3_hf.detector).forward

    def doubled(self, *given, **named):
        out = real(self, *given, **named)
        out.pred_masks = out.pred_masks[:, :1].expand_as(out.pred_masks).clone()
        return out

    monkeypatch.setattr(type(sam3_hf.detector), "forward", doubled)
    rows = list(sam3_hf.follow_words(frames[:3], ["shirt"], 0.0))
    assert [len(row) for row in rows[:1]] == [1]


def test_a_new_object_leaves_what_is_remembered_of_the_others(sam3_hf, frames, torch):
    from transformers import Sam3VideoProcessor

    from identity_segmentation.engines._sam3_hf_mended import viewed

    processor = Sam3VideoProcessor.from_pretrained(sam3_hf.model)
    model = viewed(sam3_hf.whole, score_threshold_detection=0.0, new_det_thresh=0.0)
    with sam3_hf.turn():
        session = processor.init_video_session(dtype=sam3_hf.dtype, inference_device=sam3_hf.device)
        processor.add_text_prompt(session, ["shirt"])
        session.processed_frames = {i: sam3_hf._pixels([frames[i]])[0] for i in range(2)}
        for i in range(2):
            model(inference_session=session, frame_idx=i)
        followed = {row: parts["non_cond_frame_outputs"].get(1) for row, parts in session.output_dict_per_obj.items()}
        before = {row: dict(output) for row, output in followed.items() if output is not None}
        assert before, "somebody is followed into the second frame"
        mask = torch.ones(1, 32, 32, device=sam3_hf.device)
        model._tracker_add_new_objects(session, 1, new_obj_ids=[99], new_obj_masks=mask)
        for row, output in before.items():
            after = session.output_dict_per_obj[row]["non_cond_frame_outputs"][1]
            assert after.keys() == output.keys() and all(after[name] is output[name] for name in output)
        assert 1 in session.output_dict_per_obj[session.obj_id_to_idx(99)]["cond_frame_outputs"]


def test_memory_for_words_does_not_grow_with_the_clip(sam3_hf, frames, monkeypatch):
    from identity_segmentation.engines import _sam3_hf_words

    sizes, real = [], _sam3_hf_words._prune_words

    def pruned(session, frame, model):
        real(session, frame, model)
        held = [session.output_dict_per_obj, session.mask_inputs_per_obj, list(session.cache._vision_features.values())]
        sizes.append((len(session.obj_ids), _sam3_hf_tracking._bytes(held), len(session.processed_frames.keys())))

    monkeypatch.setattr(_sam3_hf_words, "_prune_words", pruned)
    read = []

    def stream():
        for frame in frames:
            read.append(1)
            yield frame

    rows = sam3_hf.follow_words(stream(), ["shirt"], 0.0)
    next(rows)
    assert len(read) < 16 + 16, "a stream is not read to its end first"
    list(rows)
    assert len(sizes) == 60 and {kept for *_, kept in sizes} == {1}
    per_object = [size / max(1, count) for count, size, _ in sizes]
    assert max(per_object[30:]) < 1.3 * max(per_object[15:30])


# ---- people on the batch axis


def test_people_with_equally_long_memories_go_through_the_model_together(sam3_hf, frames, monkeypatch):
    """... and come out as if each had gone alone: `b` is known from the third frame on, so that for a while their
    memories are of two lengths."""
    passes: list[int] = []
    attention = sam3_hf.video_model.memory_attention
    real = attention.forward
    monkeypatch.setattr(attention, "forward", lambda **given: passes.append(given["memory"].shape[1]) or real(**given))
    seeds = {0: {"a": person(10), "c": person(90)}, 3: {"b": person(50)}}

    def found() -> list[dict]:
        return [people for _, people in sam3_hf.track(frames[:12], seeds)]

    together = found()
    calls, widest = len(passes), max(passes)
    assert widest == 2 or widest == 3
    passes.clear()
    monkeypatch.setattr(type(sam3_hf.video_model), "look_ahead", lambda self, session, frame: None)
    alone = found()
    assert set(passes) == {1} and calls < 0.7 * len(passes)
    for one, other in zip(together, alone, strict=True):
        assert one.keys() == other.keys()
        for who in one:
            assert one[who].score == pytest.approx(other[who].score, abs=1e-4)
            assert np.count_nonzero(one[who].mask != other[who].mask) <= 0.01 * one[who].mask.size

"""Meta's SAM 3 through our adapter, tiny and random: how it goes through clips, and what a call leaves behind.

What the nets say means nothing here. That it is what the package itself says, that every frame is encoded once, and
that nobody hears of what somebody else asks, does.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

import numpy as np
import pytest

from identity_segmentation.engines import _sam3, _sam3_following
from identity_segmentation.types import Exemplar, Face, Segment

SHAPE = (120, 160)


@pytest.fixture(scope="module")
def frames() -> list[np.ndarray]:
    picture = np.random.default_rng(0).integers(0, 255, (*SHAPE, 3), dtype=np.uint8)
    return [np.roll(picture, 2 * i, 1) for i in range(48)]


def seed(at: int, width: int = 40) -> np.ndarray:
    mask = np.zeros(SHAPE, bool)
    mask[30:90, at : at + width] = True
    return mask


def followed(engine, frames, seeds) -> dict[int, dict]:
    result: dict[int, dict] = {}
    for index, found in engine.track(frames, seeds):
        assert not set(result.get(index, {})) & set(found), "nobody is told twice in a frame"
        result.setdefault(index, {}).update(found)
    return result


def same(a: Segment, b: Segment) -> bool:
    return bool((a.mask == b.mask).all() and (a.alpha == b.alpha).all() and a.score == b.score)


@pytest.fixture
def encoded(sam3_official, monkeypatch) -> list[int]:
    """How many pictures went into each pass of the vision encoder."""
    passes: list[int] = []
    trunk = sam3_official._model.backbone.vision_backbone.trunk
    real = trunk.forward
    monkeypatch.setattr(trunk, "forward", lambda pixels: passes.append(len(pixels)) or real(pixels))
    return passes


# ---- one pass


def test_every_frame_is_encoded_once_for_six_seeded_frames_and_both_directions(sam3_official, frames, encoded):
    seeds = {2 * i: {f"p{i}": seed(20 * i)} for i in range(6)}
    found = followed(sam3_official, frames[:12], seeds)
    assert sorted(found) == list(range(12)) and all(len(people) == 6 for people in found.values())
    assert sum(encoded) == 12
    for i in range(6):
        assert (found[2 * i][f"p{i}"].mask & seed(20 * i)).sum() > 0.5 * seed(20 * i).sum()


def test_frames_are_encoded_several_at_a_time(sam3_official, frames, encoded, monkeypatch):
    monkeypatch.setattr(_sam3, "free_batch", lambda bytes_each, device, most=32: min(most, 5))
    found = followed(sam3_official, frames[:12], {3: {"a": seed(20)}, 7: {"b": seed(90)}})
    assert sorted(found) == list(range(12)) and encoded == [5, 5, 2]


def test_out_of_memory_halves_the_batch_of_a_clip(sam3_official, frames, torch, monkeypatch):
    monkeypatch.setattr(_sam3, "free_batch", lambda bytes_each, device, most=32: 4)
    trunk = sam3_official._model.backbone.vision_backbone.trunk
    real = trunk.forward

    def small(pixels):
        if len(pixels) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return real(pixels)

    monkeypatch.setattr(trunk, "forward", small)
    assert sorted(followed(sam3_official, frames[:6], {0: {"a": seed(20)}})) == list(range(6))


def test_where_there_is_no_room_frames_are_encoded_again_and_everybody_is_followed(
    sam3_official, frames, encoded, monkeypatch
):
    seeds = {0: {"a": seed(20)}, 9: {"b": seed(90)}}
    roomy = followed(sam3_official, frames[:10], seeds)
    assert sum(encoded) == 10
    monkeypatch.setattr(_sam3_following, "room", lambda device: 3)
    tight = followed(sam3_official, frames[:10], seeds)
    assert 20 <= sum(encoded) <= 27
    assert all(same(roomy[i][who], tight[i][who]) for i in range(10) for who in "ab")


def librarys_own(engine, frames, index: int, masks: list[np.ndarray]) -> dict[int, np.ndarray]:
    """Low-resolution logits (N, h, w) of the package's own session, forward and back, with nothing dropped."""
    tracker, torch = engine._tracker, engine._torch
    with torch.inference_mode(), engine._precise():
        state = engine._session(len(frames))
        state["cached_features"] = {i: engine._frames([frame])[0] for i, frame in enumerate(frames)}
        for number, mask in enumerate(masks):
            tracker.add_new_mask(state, index, number, engine._seed(mask))
        result = {}
        for reverse in (False, True):
            for at, _, low, _, scores in tracker.propagate_in_video(
                state, index, len(frames), reverse, tqdm_disable=True, propagate_preflight=not reverse
            ):
                there = scores.float().sigmoid().reshape(-1, 1, 1).cpu() >= 0.5
                result[at] = torch.where(there, low.float().cpu()[:, 0], -20.0).numpy()
    return result


@pytest.mark.parametrize("begin", [0, 17, 35])
def test_what_is_dropped_of_a_session_changes_nothing(sam3_official, frames, begin, monkeypatch):
    masks, frames = [seed(20), seed(90)], frames[:36]
    theirs = librarys_own(sam3_official, frames, begin, masks)
    following = sam3_official._following(frames, {begin: dict(enumerate(masks))})
    seen = set()
    for step in following.steps():
        with sam3_official._at_work():
            index, found = step()
        seen.add(index)
        ours = np.stack([found[number].logits for number in range(2)])
        assert np.abs(ours - theirs[index]).max() == 0, index
    assert seen == set(range(36))


def held(engine, frames, seeds) -> list[int]:
    following = engine._following(frames, seeds)
    sizes = []
    for step in following.steps():
        with engine._at_work():
            step()
        sizes.append(following.size_bytes())
    return sizes


def test_what_a_session_holds_does_not_grow_with_the_clip(sam3_official, frames):
    sizes = held(sam3_official, frames[:40], {0: {"a": seed(20), "b": seed(90)}})
    assert len(sizes) == 40 and sizes[-1] <= sizes[18]  # where frames go in batches, some wait in between
    both = held(sam3_official, frames[:40], {8: {"a": seed(20), "b": seed(90)}})
    assert len(both) == 40 and max(both) < 2.2 * sizes[18], "what the way back begins beside, and what is behind"


def test_nobody_seeded_is_nobody_followed(sam3_official, frames):
    assert list(sam3_official.track(frames[:2], {})) == [] == list(sam3_official.track(frames[:2], {0: {}}))


def test_a_second_seed_of_a_person_counts_and_is_theirs_in_its_frame(sam3_official, frames, encoded):
    found = followed(sam3_official, frames[:8], {1: {"a": seed(20)}, 6: {"a": seed(100), "b": seed(20)}})
    assert (found[6]["a"].mask & seed(100)).sum() > 0.9 * seed(100).sum()
    assert (found[1]["a"].mask & seed(20)).sum() > 0.5 * seed(20).sum()
    assert sum(encoded) == 8 and sorted(found) == list(range(8))


# ---- one person's seed is nobody else's


def test_seeding_one_person_makes_nobody_else_sure_of_anything(sam3_official, frames):
    """In one session of the package a frame in which one person is seeded says of all others that they are not there,
    or that they are where they were guessed to be."""
    alone = followed(sam3_official, frames[:10], {1: {"a": seed(20)}})
    monitored = followed(sam3_official, frames[:10], {1: {"a": seed(20)}, 5: {"b": seed(90)}})
    assert [alone[i]["a"].score for i in range(10)] == [monitored[i]["a"].score for i in range(10)]


# ---- whose pixels


def test_people_who_are_followed_have_no_pixel_in_common(sam3_official, frames, monkeypatch):
    y, x = np.mgrid[:32, :32].astype(np.float32)
    blob = [(6 - np.hypot(x - cx, y - 16)) for cx in (12, 17, 21)]

    def claimed(people, logits, scores):
        return {who: _sam3_following.Found(blob["abc".index(who)], 0.9) for who in people}

    monkeypatch.setattr(_sam3_following, "found_of", claimed)
    large = [np.repeat(np.repeat(frame, 5, 0), 5, 1) for frame in frames[:6]]
    masks = [np.repeat(np.repeat(seed(40 * i), 5, 0), 5, 1) for i in range(3)]
    found = followed(sam3_official, large, {1: {"a": masks[0]}, 4: {"b": masks[1], "c": masks[2]}})
    for people in found.values():
        assert set(people) == set("abc") and all(s.area for s in people.values())
        count = np.sum([s.mask for s in people.values()], axis=0)
        assert count.max() == 1, "not even where the masks were enlarged"
        alone = [_sam3.to_segment(b, (600, 800), 0.9, np.zeros(4), "x").mask for b in blob]
        gap = np.count_nonzero((count == 0) & np.any(alone, axis=0))
        assert gap < 0.01 * np.count_nonzero(count), "and there is hardly a gap between them"


# ---- nothing shared is changed


def at_once(engine, device, *jobs) -> list:
    """The answers of jobs that begin together, each in a thread of its own."""
    import tiny_official

    answers: list = [None] * len(jobs)
    together = threading.Barrier(len(jobs))

    def run(number: int) -> None:
        with tiny_official.playing(device):  # what makes a CPU pass for a GPU is a thread's own
            together.wait()
            answers[number] = [jobs[number]() for _ in range(4)]

    threads = [threading.Thread(target=run, args=(number,)) for number in range(len(jobs))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return answers


def test_two_threads_get_what_each_gets_alone(sam3_official, frames, device):
    one, two = sam3_official.encode(frames[0]), sam3_official.encode(frames[9][:100].copy())
    boxes, faces = [[20, 30, 90, 100], [0, 0, 50, 50]], [Face([40, 40, 60, 60], 0.9), None]

    def first():
        return [*sam3_official.by_box(one, boxes, faces), *sam3_official.by_text(one, "shirt", 0.0)]

    def second():
        return [*sam3_official.by_box(two, boxes), *sam3_official.by_text(two, "hat", 0.4)]

    alone = first(), second()
    for expected, answers in zip(alone, at_once(sam3_official, device, first, second), strict=True):
        for answer in answers:
            assert answer is not None and len(answer) == len(expected)
            assert all(map(same, answer, expected))


def test_a_picture_is_asked_while_another_call_is_between_its_steps(sam3_official, frames, monkeypatch):
    """A call parks features at the package's predictor: another one that comes in between would answer with them."""
    one, two = sam3_official.encode(frames[0]), sam3_official.encode(frames[9])
    box = [[20, 30, 90, 100]]
    expected = sam3_official.by_box(one, box)[0]
    predictor, inside, told = sam3_official._model.inst_interactive_predictor, threading.Event(), threading.Event()
    real = predictor.predict

    def slow(*given, **prompt):
        if not inside.is_set():
            inside.set()
            told.wait(1)  # the other call gets here in the meantime, if it may
        return real(*given, **prompt)

    monkeypatch.setattr(predictor, "predict", slow)
    import tiny_official

    answers = {}

    def ask(name, encoded):
        with tiny_official.playing("cpu" if sam3_official.device == "cpu" else "cuda"):
            if name == "two":
                inside.wait()
            answers[name] = sam3_official.by_box(encoded, box)[0]
            if name == "two":
                told.set()

    threads = [threading.Thread(target=ask, args=given) for given in (("one", one), ("two", two))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert same(answers["one"], expected) and set(answers) == {"one", "two"}


def interleaved(*generators: Iterator) -> list[list]:
    results: list[list] = [[] for _ in generators]
    going = list(enumerate(generators))
    while going:
        for number, generator in list(going):
            step = next(generator, None)
            if step is None:
                going.remove((number, generator))
            else:
                results[number].append(step)
    return results


def test_two_clips_followed_in_turns_are_two_clips_followed(sam3_official, frames):
    given = (frames[:6], {2: {"a": seed(20)}}), (frames[20:26], {0: {"a": seed(90)}, 4: {"b": seed(10)}})
    alone = [list(sam3_official.track(*one)) for one in given]
    both = interleaved(*(sam3_official.track(*one) for one in given))
    for expected, steps in zip(alone, both, strict=True):
        assert [index for index, _ in steps] == [index for index, _ in expected]
        for (_, a), (_, b) in zip(expected, steps, strict=True):
            assert set(a) == set(b) and all(same(a[who], b[who]) for who in a)


def test_a_threshold_or_examples_leave_no_trace_at_the_model(sam3_official, frames):
    before = sam3_official._processor.confidence_threshold, sam3_official._tracker.max_cond_frames_in_attn
    encoded = sam3_official.encode(frames[0])
    content = set(encoded.state["backbone_out"])
    assert sam3_official.by_text(encoded, "shirt", 0.0) and set(encoded.state["backbone_out"]) == content
    learned = sam3_official.learn([Exemplar(frames[i], {1: seed(20)}) for i in range(6)])
    learned.label(frames[7])
    after = sam3_official._processor.confidence_threshold, sam3_official._tracker.max_cond_frames_in_attn
    assert after == before and sam3_official._tracker.backbone is None


def test_examples_are_encoded_once_each_and_a_picture_labelled_twice_is_labelled_alike(sam3_official, frames, encoded):
    learned = sam3_official.learn([Exemplar(frames[0], {1: seed(20), 2: seed(90)})])
    assert sum(encoded) == 1
    first, _, again = learned.label(frames[3]), learned.label(frames[4]), learned.label(frames[3])
    assert sum(encoded) == 4 and set(first) == {1, 2}
    assert all(same(first[number], again[number]) for number in first)


# ---- what travels, and what is asked once


def test_a_phrase_is_read_once_for_all_pictures(sam3_official, frames, monkeypatch):
    read = []
    backbone = sam3_official._model.backbone
    real = backbone.forward_text
    monkeypatch.setattr(backbone, "forward_text", lambda words, **how: read.append(words) or real(words, **how))
    pictures = sam3_official.encode_batch(frames[:3])
    for encoded in pictures:
        first = sam3_official.by_text(encoded, "shirt", 0.0)
        assert sam3_official.by_text(encoded, "hat", 0.0) is not None
        assert all(map(same, first, sam3_official.by_text(encoded, " shirt ", 0.0)))
    assert read == [["shirt"], ["hat"]]
    for number in range(70):
        sam3_official.by_text(pictures[0], f"thing {number}", 1.0)
    assert len(sam3_official._words) <= 64


def test_a_picture_is_uploaded_as_it_lies_and_looks_as_the_package_would_show_it(sam3_official, frames, torch):
    from PIL import Image

    picture = frames[0].copy()
    picture[:, :, 0], picture[:60, :, 2] = 10, 200
    shown = []
    real = torch.from_numpy
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch, "from_numpy", lambda given: shown.append((given.shape, given.dtype)) or real(given))
        ours = sam3_official._pixels([picture])[0]
    assert shown == [((*SHAPE, 3), np.uint8)], "three bytes a pixel, and nothing turned around on the way"
    from torchvision.transforms import v2

    theirs = sam3_official._processor.transform(
        v2.functional.to_image(Image.fromarray(picture[:, :, ::-1].copy())).to(ours.device)
    )
    assert ours.shape == (3, 112, 112) and (ours == theirs).all()


def test_the_modes_are_put_back_when_a_step_fails(sam3_official, frames, torch):
    with contextlib.suppress(RuntimeError), sam3_official._at_work():
        raise RuntimeError
    assert not torch.is_inference_mode_enabled()
    assert sam3_official._lock.acquire(blocking=False)
    sam3_official._lock.release()

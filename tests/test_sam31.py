"""SAM 3.1's adapter, held against a stand-in that keeps the interface of Meta's tracker; see `standin_multiplex`."""

# ruff: noqa: E402 - torch may be missing, and then nothing here can be imported

from __future__ import annotations

import types
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="these tests need torch")

import standin_multiplex

from identity_segmentation.engines import findings, sam31, segmenter
from identity_segmentation.engines.protocols import BoxSegmenter, VideoTracker
from identity_segmentation.errors import EngineUnavailable
from identity_segmentation.settings import Settings
from identity_segmentation.types import Segment


class Pictures:
    """What draws the seeds; here it is never asked."""

    id, uses_neighbours = "pictures", False

    def encode(self, image_bgr):
        return image_bgr.shape[:2]

    def by_box(self, encoded, boxes, faces=None, others=()):
        return [Segment(np.ones(encoded, bool), 1.0, box, self.id) for box in boxes]

    def describe(self):
        return "pictures"


@pytest.fixture
def stand_in(monkeypatch) -> standin_multiplex.StandIn:
    return standin_multiplex.installed(monkeypatch)


def engine_of(model: standin_multiplex.StandIn, folder: Path) -> sam31.Sam31:
    return standin_multiplex.engine(model, Pictures(), folder)


def clip(count: int, bright: int = 200) -> list[np.ndarray]:
    return [np.full((60, 80, 3), bright, np.uint8) for _ in range(count)]


def seed(x: int) -> np.ndarray:
    mask = np.zeros((60, 80), bool)
    mask[10:50, x : x + 20] = True
    return mask


def followed(engine, frames, seeds) -> dict[int, dict]:
    found: dict[int, dict] = {}
    for index, people in engine.track(frames, seeds):
        assert not torch.is_inference_mode_enabled() and not torch.is_autocast_enabled("cuda")
        found.setdefault(index, {}).update(people)
    return found


def test_the_checkpoint_is_loaded_whole_into_the_tracker_and_its_encoder(stand_in, tmp_path):
    before = stand_in.sam_mask_decoder.weight.clone(), stand_in.backbone.vision_backbone.trunk.weight.clone()
    engine = engine_of(stand_in, tmp_path)
    assert torch.equal(stand_in.sam_mask_decoder.weight, before[0] + 1)
    assert torch.equal(stand_in.backbone.vision_backbone.trunk.weight, before[1] + 1)
    assert isinstance(engine, VideoTracker) and isinstance(engine, BoxSegmenter)
    assert "sixteen people a pass" in engine.describe() and "pictures" in engine.describe()


@pytest.mark.parametrize(
    "change, says",
    [
        (lambda c: {k: v for k, v in c.items() if "trunk.weight" not in k}, "1 parameters are missing"),
        (lambda c: {k: v for k, v in c.items() if not k.startswith("tracker.")}, "2 parameters are missing"),
        (lambda c: c | {"tracker.model.sam_mask_decoder.bias": torch.zeros(7)}, "1 have another shape"),
        (lambda c: {"tracker.maskmem.weight": torch.zeros(1), "detector.x": torch.zeros(1)}, "--segmenter sam3 for"),
    ],
)
def test_a_checkpoint_that_is_not_whole_or_anothers_is_refused(stand_in, tmp_path, change, says):
    path = tmp_path / "some.pt"
    torch.save(change(standin_multiplex.content_of(stand_in)), path)
    with pytest.raises(EngineUnavailable, match=says):
        sam31.Sam31(Pictures(), str(path))


def test_a_checkpoint_of_sam_31_is_told_from_sam_3s(stand_in, tmp_path):
    from identity_segmentation.engines.sam3_official import load_checkpoint

    torch.save({"model": standin_multiplex.content_of(stand_in)}, tmp_path / "new.pt")
    with pytest.raises(EngineUnavailable, match=r"of SAM 3\.1, not of SAM 3; choose --segmenter sam3\.1"):
        load_checkpoint(stand_in, tmp_path / "new.pt")
    with pytest.raises(EngineUnavailable, match="no file"):
        sam31.load(stand_in, tmp_path / "none.pt")


def test_people_are_followed_both_ways_and_every_frame_is_encoded_once(stand_in, tmp_path):
    engine = engine_of(stand_in, tmp_path)
    seeds = {index: {f"p{index}": seed(5 * index)} for index in (0, 2, 4, 6, 8, 11)}
    found = followed(engine, clip(12), seeds)
    assert sorted(found) == list(range(12)) and all(len(people) == 6 for people in found.values())
    assert sorted(stand_in.encoded) == list(range(12))
    for index in (0, 4):
        mine = found[7][f"p{index}"].mask
        assert (mine & seed(5 * index)).sum() / (mine | seed(5 * index)).sum() > 0.85
    assert min(stand_in.seen_range) > 0.5 and max(stand_in.seen_range) < 0.6  # 200 of 255, as -1..1


def test_people_of_one_frame_go_together_and_whoever_is_not_seen_is_empty(stand_in, tmp_path):
    engine = engine_of(stand_in, tmp_path)
    frames = clip(5)
    frames[3] = np.zeros_like(frames[3])
    found = followed(engine, frames, {1: {n: seed(2 * n) for n in range(20)}})
    assert stand_in.runs == [20]
    assert all(segment.score > 0.9 for segment in found[2].values() if segment.area)
    held = np.sum([segment.mask for segment in found[2].values()], 0)
    assert held.max() == 1 and np.count_nonzero(held) > 40 * 50, "what they share is one's"
    assert all(not segment.area and segment.score < 0.5 for segment in found[3].values())


def test_memory_is_flat_in_the_length_of_the_clip(stand_in, tmp_path):
    engine = engine_of(stand_in, tmp_path)
    found = followed(engine, clip(80), {40: {"a": seed(10)}})
    assert len(found) == 80 and stand_in.most_kept <= 18
    # Longer than what is kept: the frames at the ends are encoded once in their own direction.
    assert len(stand_in.encoded) == 80


def test_pictures_are_the_other_engines(stand_in, tmp_path):
    engine = engine_of(stand_in, tmp_path)
    assert engine.by_box(engine.encode(np.zeros((8, 9, 3), np.uint8)), [[1, 1, 5, 5]])[0].mask.shape == (8, 9)


def test_what_is_missing_is_said_with_the_command(monkeypatch):
    monkeypatch.setattr("identity_segmentation.engines._sam3.require", lambda *packages: None)
    monkeypatch.setattr(sam31.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(EngineUnavailable, match=r"sam3 is not installed; run: pip install .*@1beb5833"):
        segmenter("sam3.1")
    old = types.SimpleNamespace(submodule_search_locations=["/nowhere"])
    monkeypatch.setattr(sam31.importlib.util, "find_spec", lambda name: old)
    with pytest.raises(EngineUnavailable, match=r"the sam3 that is installed is SAM 3's; run: pip install"):
        segmenter("sam3.1")


def test_auto_never_takes_it_and_the_doctor_says_why(stand_in, tmp_path):
    path = tmp_path / "sam3.1_multiplex.pt"
    path.write_bytes(b"")
    said = {what: (state, detail) for what, state, detail in findings(Settings(sam3_checkpoint=str(path)))}
    assert said["sam3.1"][0] == "note" and "by name alone" in said["sam3.1"][1]
    assert not segmenter("auto", Settings()).id.startswith("sam3.1")

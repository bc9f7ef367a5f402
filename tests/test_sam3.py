"""SAM 3 through both implementations, with tiny random weights in the published layout.

The nets' opinions mean nothing here; that the adapters ask them the right questions, and load every tensor, does.
"""

from __future__ import annotations

import contextlib
import json
import shutil
from types import SimpleNamespace

import numpy as np
import pytest

from identity_segmentation.engines import _sam3, segmenter
from identity_segmentation.engines.protocols import BoxSegmenter, TextSegmenter, VideoTracker
from identity_segmentation.errors import EngineUnavailable, InputError
from identity_segmentation.settings import Settings
from identity_segmentation.types import Face, Segment

BOXES = [[20, 30, 90, 110], [0, 0, 50, 50]]


@pytest.fixture(scope="module")
def picture() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 255, (120, 160, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def frames(picture) -> list[np.ndarray]:
    return [np.roll(picture, 2 * i, 1) for i in range(48)]


@pytest.fixture(scope="module")
def seed() -> np.ndarray:
    mask = np.zeros((120, 160), bool)
    mask[30:90, 40:100] = True
    return mask


def rgb_on(device: str, image_bgr: np.ndarray):
    """(3, H, W), so that the library resizes it on that device."""
    import torch

    return torch.from_numpy(image_bgr[:, :, ::-1].transpose(2, 0, 1).copy()).to(device)


def alike(a: Segment, b: Segment) -> bool:
    return (a.mask == b.mask).all() and a.score == pytest.approx(b.score, abs=1e-5)


# ---- transformers


def test_it_has_all_three_abilities(sam3_hf, device):
    assert (
        isinstance(sam3_hf, BoxSegmenter) and isinstance(sam3_hf, TextSegmenter) and isinstance(sam3_hf, VideoTracker)
    )
    assert sam3_hf.can_track and f"on {device} in float32" in sam3_hf.describe()


def test_a_box_gives_what_the_librarys_own_tracker_gives_with_its_memory_token_put_back(
    sam3_hf, tiny_folder, picture, torch, device
):
    from transformers import Sam3TrackerModel, Sam3TrackerProcessor

    library = Sam3TrackerModel.from_pretrained(tiny_folder).eval().to(device)
    processor = Sam3TrackerProcessor.from_pretrained(tiny_folder)
    given = processor(images=rgb_on(device, picture), input_boxes=[BOXES], return_tensors="pt").to(device)
    with torch.inference_mode():
        maps = list(library.get_image_features(given.pixel_values, return_dict=True).fpn_hidden_states[:3])
        maps[-1] = maps[-1] + library.no_memory_embedding
        sizes = library.backbone_feature_sizes
        maps = [m.permute(1, 2, 0).reshape(1, -1, *s) for m, s in zip(maps, sizes, strict=True)]
        out = library(image_embeddings=maps, input_boxes=given.input_boxes, multimask_output=False)
    encoded = sam3_hf.encode(picture)
    ours, scores = sam3_hf._ask(encoded, np.array(BOXES, np.float32), np.zeros((2, 0, 2)), np.zeros((2, 0), bool))
    assert np.allclose(ours, out.pred_masks[0, :, 0].cpu().numpy(), atol=2e-4)
    assert np.allclose(scores, out.iou_scores[0, :, 0].cpu().numpy(), atol=1e-5)
    wholes = processor.post_process_masks(out.pred_masks, given["original_sizes"])[0][:, 0].cpu().numpy()
    for segment, whole in zip(sam3_hf.by_box(encoded, BOXES), wholes, strict=True):
        # specks and holes aside, and one pixel of rounding along the edge
        assert np.count_nonzero(segment.mask ^ whole) < 0.03 * whole.size


def test_a_phrase_gives_the_librarys_instances_less_duplicates(sam3_hf, tiny_folder, picture, torch, device):
    from transformers import Sam3Model, Sam3Processor

    library = Sam3Model.from_pretrained(tiny_folder).eval().to(device)
    processor = Sam3Processor.from_pretrained(tiny_folder)
    given = processor(images=rgb_on(device, picture), text="shirt", return_tensors="pt").to(device)
    with torch.inference_mode():
        out = library(**{k: v for k, v in given.items() if k != "original_sizes"})
    (theirs,) = processor.post_process_instance_segmentation(out, 0.0, 0.5, [(120, 160)])
    ours = sam3_hf.by_text(sam3_hf.encode(picture), "shirt", 0.0)
    assert 0 < len(ours) <= len(theirs["scores"])
    assert [s.score for s in ours] == sorted((s.score for s in ours), reverse=True)
    for segment in ours:
        nearest = int(np.abs(theirs["scores"].cpu().numpy() - segment.score).argmin())
        theirs_mask = theirs["masks"][nearest].cpu().numpy() > 0
        assert segment.score == pytest.approx(float(theirs["scores"][nearest]), abs=1e-4)
        assert np.count_nonzero(segment.mask ^ theirs_mask) < 0.05 * theirs_mask.size
    for i, a in enumerate(ours):
        for b in ours[:i]:
            shared = np.count_nonzero(a.mask & b.mask)
            assert shared < 0.8 * (a.area + b.area - shared)


def test_one_encode_serves_every_prompt_in_any_order(sam3_hf, picture, monkeypatch):
    calls = []
    backbone = sam3_hf.detector.vision_encoder.backbone
    real = backbone.forward
    monkeypatch.setattr(backbone, "forward", lambda pixels: calls.append(1) or real(pixels))
    encoded = sam3_hf.encode(picture)
    first = sam3_hf.by_box(encoded, BOXES)
    words = sam3_hf.by_text(encoded, "hat", 0.0)
    again = sam3_hf.by_box(encoded, BOXES)
    assert len(calls) == 1 and all(map(alike, first, again))
    assert all(map(alike, words, sam3_hf.by_text(sam3_hf.encode(picture), "hat", 0.0)))


def test_a_batch_is_its_pictures(sam3_hf, picture):
    pictures = [picture, picture[:60].copy(), np.roll(picture, 30, 0)]
    batch = sam3_hf.encode_batch(pictures, batch=2)
    for image, encoded in zip(pictures, batch, strict=True):
        alone = sam3_hf.by_box(sam3_hf.encode(image), [[5, 5, 50, 50]])[0]
        together = sam3_hf.by_box(encoded, [[5, 5, 50, 50]])[0]
        assert np.count_nonzero(alone.mask ^ together.mask) < 0.01 * alone.mask.size
    assert sam3_hf.encode_batch([]) == []


def test_out_of_memory_halves_the_batch_with_one_warning(sam3_hf, picture, torch, monkeypatch, caplog):
    backbone = sam3_hf.detector.vision_encoder.backbone
    real, sizes = backbone.forward, []

    def small(pixels):
        sizes.append(len(pixels))
        if len(pixels) > 1:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return real(pixels)

    monkeypatch.setattr(backbone, "forward", small)
    assert len(sam3_hf.encode_batch([picture] * 4, batch=4)) == 4
    assert sizes == [4, 2, 1, 1, 1, 1] and caplog.text.count("out of memory") == 1

    def none(pixels):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(backbone, "forward", none)
    with pytest.raises(InputError, match="--sam3-model small"):
        sam3_hf.encode(picture)


@pytest.mark.parametrize("phrase", ["", "   ", "\n"])
def test_an_empty_phrase_is_refused(sam3_hf, picture, phrase):
    with pytest.raises(InputError, match="empty"):
        sam3_hf.by_text(sam3_hf.encode(picture), phrase)


def test_a_phrase_in_any_script_and_a_long_one_are_asked(sam3_hf, picture):
    encoded = sam3_hf.encode(picture)
    for phrase in ("원영의 셔츠", "เสื้อ", "a very long phrase " * 40):
        assert isinstance(sam3_hf.by_text(encoded, phrase), list)


def test_a_very_large_picture_comes_back_at_its_size(sam3_hf):
    image = np.full((9000, 12000, 3), 120, np.uint8)
    (segment,) = sam3_hf.by_box(sam3_hf.encode(image), [[4000, 3000, 5000, 4000]])
    assert segment.mask.shape == (9000, 12000)


# ---- prompts from what is known

OWN = Face([40, 30, 60, 50], 0.9)  # a face of side 20 at (50, 40): the chest is at (50, 72)


def prompt(box, own, *others, shape=(200, 200), kind="box+points") -> tuple[list, list]:
    """The points on the person, and those on others."""
    (asked,) = _sam3.checked_prompts([box], [own], others, shape, kind)
    points = [(round(float(x)), round(float(y))) for x, y in asked.points]
    return [p for p, on in zip(points, asked.inside, strict=True) if on], [
        p for p, on in zip(points, asked.inside, strict=True) if not on
    ]


def face_at(x: float, y: float, side: float = 20, score: float = 0.9) -> Face:
    return Face([x - side / 2, y - side / 2, x + side / 2, y + side / 2], score)


def test_a_known_face_gives_a_point_on_it_and_one_on_the_chest():
    assert prompt([10, 10, 110, 190], OWN) == ([(50, 40), (50, 72)], [])
    assert prompt([10, 10, 110, 70], OWN) == ([(50, 40)], []), "the chest is below the box"
    assert prompt([10, 10, 110, 190], OWN, shape=(60, 200)) == ([(50, 40)], []), "the chest is below the picture"
    assert prompt([10, 60, 110, 190], OWN) == ([(50, 72)], []), "the face is above the box"
    assert prompt([10, 10, 110, 190], None) == ([], [])
    assert prompt([10, 10, 110, 190], face_at(50, 40, score=0.5)) == ([], []), "a head that is only reckoned"


def test_no_point_is_put_on_a_chest_that_is_nearer_to_another_face():
    assert prompt([10, 10, 110, 190], OWN, face_at(70, 80)) == ([(50, 40)], [(70, 80)])
    assert prompt([10, 10, 110, 190], OWN, face_at(50, 120, score=0.3))[0] == [(50, 40), (50, 72)], "it is farther"
    assert prompt([10, 10, 110, 190], OWN, face_at(50, 100, score=0.3))[0] == [(50, 40)], "a doubtful one counts too"
    assert prompt([10, 10, 110, 190], OWN, face_at(51, 42))[0] == [(50, 40), (50, 72)], "the same face, found twice"


def test_other_peoples_real_faces_in_the_box_are_points_that_are_not_hers_nearest_first():
    far, near = face_at(100, 150), face_at(90, 40)
    assert prompt([10, 10, 110, 190], OWN, far, near)[1] == [(90, 40), (100, 150)]
    for other, why in (
        (face_at(90, 40, score=0.59), "hardly a face"),
        (face_at(90, 40, side=5), "far behind, or on a shirt"),
        (face_at(65, 40), "it overlaps the own face"),
        (face_at(130, 40), "outside the box"),
    ):
        assert prompt([10, 10, 110, 190], OWN, other)[1] == [], why
    assert prompt([10, 10, 110, 190], None, far, face_at(90, 60, side=5))[1] == [(90, 60), (100, 150)], "to the middle"
    assert prompt([10, 10, 110, 190], OWN, [80, 10, 110, 190])[1] == [], "a body is no face"
    two = _sam3.checked_prompts([[10, 10, 110, 190]] * 2, [OWN, near], [], (200, 200))
    assert two[0].points[-1].tolist() == [90, 40] and two[1].points[-1].tolist() == [50, 40], "each is the other's"


def test_a_prompt_has_eight_points_at_most():
    crowd = [face_at(20 + 10 * i, 160 - i, side=8) for i in range(9)]
    on, away = prompt([10, 10, 110, 190], OWN, *crowd)
    assert len(on) == 2 and len(away) == 6
    assert max(np.hypot(x - 50, y - 40) for x, y in away) < 123, "the farthest are left out"
    assert len(prompt([10, 10, 110, 190], None, *crowd)[1]) == 8


def test_prompts_can_be_the_box_alone_by_a_setting(tiny_folder, monkeypatch):
    assert prompt([10, 10, 110, 190], OWN, face_at(90, 40), kind="box") == ([], [])
    from identity_segmentation.engines import sam3_official

    settings = Settings.from_env(
        {"IDSEG_SAM3_PROMPTS": "box", "IDSEG_SAM3_CHECKPOINT": str(tiny_folder), "IDSEG_DEVICE": "cpu"}
    )
    engine = segmenter("sam3-hf", settings)
    assert engine.prompts == "box" and "with points" not in engine.describe()
    assert Settings().sam3_prompts == "people"
    given = {}
    monkeypatch.setattr(sam3_official, "Sam3Official", lambda *_, **options: given.update(options))
    sam3_official.create(settings)
    assert given["prompts"] == "box"


def test_an_unknown_kind_of_prompts_is_refused(tiny_folder, sam3_official):
    from identity_segmentation.engines.sam3_hf import Sam3HF

    with pytest.raises(InputError, match=r"unknown prompts 'points'; expected people or box\+points or box"):
        Sam3HF(str(tiny_folder), device="cpu", prompts="points")
    with pytest.raises(InputError, match="unknown prompts 'points'"):
        type(sam3_official)("x.pt", prompts="points")


class Asked:
    """What either adapter's model is asked, as (box, points, labels) of every box, in the picture's pixels; the number
    of boxes in each pass; and the sizes of what comes back."""

    def __init__(self, engine, monkeypatch):
        self.engine, self.passes, self.prompts, self.sizes = engine, [], [], set()
        self.box_scale = 1.0
        if hasattr(engine, "_box_model"):
            owner, name = engine._box_model, "forward"
            self.box_scale = np.tile(engine._size / np.array([160, 120]), 2)
            unpack = self._of_transformers
        else:
            owner, name = engine._model, "predict_inst"
            unpack = self._of_meta
        real = getattr(owner, name)

        def noted(*given, **prompt):
            boxes, points, labels = unpack(prompt)
            self.passes.append(len(boxes))
            self.prompts += zip(boxes.tolist(), points.round(2).tolist(), labels.tolist(), strict=True)
            out = real(*given, **prompt)
            if isinstance(out, tuple):
                self.sizes |= {out[0].shape[-2:], out[2].shape[-2:]}
            return out

        monkeypatch.setattr(owner, name, noted)

    def _of_transformers(self, prompt):
        scale = np.array([160, 120], np.float32) / self.engine._size
        boxes = prompt["input_boxes"][0].cpu().numpy()
        if "input_points" not in prompt:
            return boxes, np.zeros((len(boxes), 0, 2)), np.zeros((len(boxes), 0), int)
        return boxes, prompt["input_points"][0].cpu().numpy() * scale, prompt["input_labels"][0].cpu().numpy()

    def _of_meta(self, prompt):
        boxes = np.asarray(prompt["box"]).reshape(-1, 4)
        none = np.zeros((len(boxes), 0))
        return (
            boxes,
            np.asarray(prompt.get("point_coords", none[..., None])),
            np.asarray(prompt.get("point_labels", none)),
        )


@pytest.fixture(params=["sam3_hf", "sam3_official"])
def sam3(request, monkeypatch):
    """Either adapter, in float32: random weights say so little that 16 bits would round it away."""
    engine = request.getfixturevalue(request.param)
    monkeypatch.setattr(engine, "prompts", "box+points")
    if hasattr(engine, "_precise"):
        monkeypatch.setattr(type(engine), "_precise", lambda self: contextlib.nullcontext())
    return engine


PEOPLE = [[5, 5, 75, 115], [80, 5, 155, 115], [0, 0, 75, 110], [60, 10, 150, 110]]
FACES = [Face([25, 20, 45, 40], 0.9), Face([110, 20, 130, 40], 0.9), None, Face([70, 20, 88, 38], 0.9)]


def logits_of(engine, encoded, boxes, faces, others, monkeypatch) -> np.ndarray:
    """(N, h, w): what the model says, before it becomes masks."""
    kept = []
    with monkeypatch.context() as within:
        within.setattr(_sam3, "to_segment", lambda logits, *_: kept.append(logits))
        engine.by_box(encoded, boxes, faces, others)
    return np.stack(kept)


def test_the_points_reach_the_model_and_boxes_with_equally_many_go_in_one_pass(sam3, picture, monkeypatch):
    asked = Asked(sam3, monkeypatch)
    segments = sam3.by_box(
        sam3.encode(picture), PEOPLE, FACES, [Face([2, 2, 10, 10], 0.9), Face([8, 90, 28, 110], 0.9)]
    )
    assert [s.mask.shape for s in segments] == [(120, 160)] * 4
    assert sorted(asked.passes) == [1, 1, 2]
    expected = [
        ([[35, 30], [35, 62], [6, 6], [18, 100]], [1, 1, 0, 0]),
        ([[120, 30], [120, 62]], [1, 1]),
        ([[35, 30], [18, 100], [6, 6]], [0, 0, 0]),  # nearest to the middle of the box, as no face is known
        ([[79, 29], [79, 57.8], [120, 30]], [1, 1, 0]),
    ]
    told = {tuple(np.round(box)): (points, labels) for box, points, labels in asked.prompts}
    scale = asked.box_scale
    for box, (points, labels) in zip(PEOPLE, expected, strict=True):
        there, on = told[tuple(np.round(np.array(box) * scale))]
        assert np.allclose(there, points, atol=0.01) and on == labels


def test_a_persons_mask_does_not_depend_on_how_many_points_the_neighbours_have(sam3, picture, monkeypatch):
    encoded = sam3.encode(picture)
    crowd = [face_at(65, 100), face_at(95, 95), face_at(140, 100)]
    boxes, faces = [*PEOPLE[:2], [0, 80, 160, 120]], [*FACES[:2], None]
    assert len({len(p.points) for p in _sam3.checked_prompts(boxes, faces, crowd, (120, 160))}) == 2
    together = logits_of(sam3, encoded, boxes, faces, crowd, monkeypatch)
    for box, face, beside in zip(boxes, faces, together, strict=True):
        rest = crowd + [f for f in faces if f is not None and f is not face]
        (alone,) = logits_of(sam3, encoded, [box], [face], rest, monkeypatch)
        assert np.abs(alone - beside).max() < 1e-4 * alone.std()


def test_points_change_what_comes_out_and_the_box_alone_is_asked_in_one_pass(sam3, picture, monkeypatch):
    encoded = sam3.encode(picture)
    pointed = logits_of(sam3, encoded, PEOPLE, FACES, [], monkeypatch)
    monkeypatch.setattr(sam3, "prompts", "box")
    plain = logits_of(sam3, encoded, PEOPLE, FACES, [], monkeypatch)
    nameless = logits_of(sam3, encoded, PEOPLE, None, [], monkeypatch)
    for a, b, c in zip(pointed, plain, nameless, strict=True):
        assert np.abs(a - b).max() > 0.01 * b.std() and (b == c).all()
    asked = Asked(sam3, monkeypatch)
    sam3.by_box(encoded, PEOPLE, FACES)
    assert asked.passes == [4] and all(points == [] for _, points, _ in asked.prompts)


# ---- video


def followed(engine, frames, seeds) -> dict[int, dict]:
    result: dict[int, dict] = {}
    for index, found in engine.track(frames, seeds):
        result.setdefault(index, {}).update(found)
    return result


def test_people_are_followed_forward_and_backward_from_where_they_are_known(sam3_hf, frames, seed):
    found = followed(sam3_hf, frames[:8], {2: {"a": seed}, 5: {"b": ~seed}})
    assert sorted(found) == list(range(8)) and all(set(f) == {"a", "b"} for f in found.values())
    assert (found[2]["a"].mask == seed).mean() > 0.9 and (found[5]["b"].mask == ~seed).mean() > 0.9
    assert all(s.mask.shape == (120, 160) for f in found.values() for s in f.values())


def test_one_of_several_people_is_followed_as_if_alone(sam3_hf, frames, seed):
    """Before pixels that two of them claim are settled."""
    alone, both = sam3_hf.start(), sam3_hf.start()
    seen = sam3_hf.for_tracker(frames[:5], 1)
    for i, one in enumerate(seen):
        a = alone.look(one, {"a": seed} if i == 0 else None)["a"]
        b = both.look(one, {"a": seed, "b": ~seed} if i == 0 else None)["a"]
        assert np.abs(a.logits - b.logits).max() < 1e-4 * a.logits.std() + 1e-6 and a.score == pytest.approx(b.score)


def test_pruning_changes_nothing_and_keeps_memory_flat(sam3_hf, frames, seed):
    pruned, whole = sam3_hf.start(), sam3_hf.start()
    whole.prune = False
    sizes = []
    for i, frame in enumerate(frames):
        seeds = {"a": seed, "b": ~seed} if i == 0 else None
        a, b = pruned.step(frame, seeds), whole.step(frame, seeds)
        assert all(alike(a[who], b[who]) for who in ("a", "b"))
        sizes.append(pruned.size_bytes())
    assert sizes[-1] == sizes[20] and whole.size_bytes() > 2 * sizes[-1]


def test_phrases_are_followed_through_a_video_in_one_pass(sam3_hf, frames):
    rows = list(sam3_hf.follow_words(iter(frames[:4]), ["shirt", "person"], 0.0))
    assert len(rows) == 4 and any(rows)
    owner = {}
    for row in rows:
        for phrase, number, segment in row:
            assert phrase in ("shirt", "person") and segment.area and owner.setdefault(number, phrase) == phrase


def test_objects_of_a_phrase_are_drawn_from_their_small_masks_and_on_the_models_device(sam3_hf, picture, monkeypatch):
    drawn = []
    real = _sam3.to_segment
    monkeypatch.setattr(_sam3, "to_segment", lambda *given: drawn.append((given[0].shape, given[5])) or real(*given))
    large = np.repeat(np.repeat(picture, 6, 0), 6, 1)
    (row,) = sam3_hf.follow_words([large], ["shirt"], 0.0)
    assert row and set(drawn) == {((32, 32), sam3_hf.device)}
    for _, _, segment in row:
        assert segment.mask.shape == large.shape[:2]
        assert len(np.unique(segment.alpha)) > 5, "a soft edge"
    held = np.sum([segment.mask for _, _, segment in row], 0)
    assert np.count_nonzero(held > 1) < 0.02 * held.size, "a pixel is of one object of a phrase"


# ---- 16 bits


@pytest.fixture(scope="module", params=["bfloat16", "float16"])
def sixteen_bits(request, torch, tiny_folder, device):
    """Either 16-bit form, which `auto` takes on a GPU; a CPU can do it too, though it is refused there as slow."""
    from identity_segmentation.engines.sam3_hf import Sam3HF

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_sam3, "pick_dtype", lambda *_: getattr(torch, request.param))
        return Sam3HF(str(tiny_folder), device=device)


def test_in_sixteen_bits_boxes_points_and_words_are_close_to_float32(sixteen_bits, sam3_hf, picture):
    found = []
    for engine in (sixteen_bits, sam3_hf):
        encoded = engine.encode_batch([picture, picture[:60].copy()], 2)[0]
        assert engine.by_text(encoded, "shirt", 0.0)
        logits, scores = engine._ask(encoded, np.array(PEOPLE, np.float32), np.zeros((4, 0, 2)), np.zeros((4, 0), bool))
        assert logits.dtype == scores.dtype == np.float32
        found.append(logits)
        segments = engine.by_box(encoded, PEOPLE, FACES)
        segments.append(engine.by_points(encoded, [[40, 40], [80, 80]], [True, False]))
        assert all(s.mask.shape == s.alpha.shape == (120, 160) and 0 <= s.score <= 1 for s in segments)
    assert np.abs(found[0] - found[1]).max() < 0.25 * found[1].std()


def test_in_sixteen_bits_people_phrases_and_examples_are_followed(sixteen_bits, frames, seed):
    from identity_segmentation.types import Exemplar

    found = followed(sixteen_bits, frames[:4], {1: {"a": seed, "b": ~seed}})
    assert sorted(found) == [0, 1, 2, 3] and all(set(f) == {"a", "b"} for f in found.values())
    assert (found[1]["a"].mask == seed).mean() > 0.9
    assert any(sixteen_bits.follow_words(frames[:2], ["shirt"], 0.0))
    learned = sixteen_bits.learn([Exemplar(frames[0], {1: seed}), Exemplar(frames[1], {1: seed})])
    assert set(learned.label(frames[2])) == {1}


# ---- checkpoints


def copy_of(folder, target):
    shutil.copytree(folder, target)
    return target


def rewritten(folder, change):
    from safetensors.torch import load_file, save_file

    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, str(folder / "model.safetensors"), metadata={"format": "pt"})
    return str(folder)


def engine_of(folder):
    from identity_segmentation.engines.sam3_hf import Sam3HF

    return Sam3HF(str(folder), device="cpu")


def test_a_checkpoint_with_a_tensor_missing_is_refused(tiny_folder, tmp_path):
    folder = rewritten(copy_of(tiny_folder, tmp_path / "m"), lambda t: t.pop("tracker_neck.fpn_layers.0.proj1.weight"))
    with pytest.raises(EngineUnavailable, match=r"1 missing keys \(tracker_neck\.fpn_layers\.0\.proj1\.weight"):
        engine_of(folder)


def test_a_checkpoint_with_a_tensor_too_many_or_misshapen_is_refused(tiny_folder, tmp_path, torch):
    extra = rewritten(copy_of(tiny_folder, tmp_path / "x"), lambda t: t.update(stranger=torch.zeros(2)))
    with pytest.raises(EngineUnavailable, match="unexpected keys"):
        engine_of(extra)
    name = "tracker_model.no_memory_embedding"
    bent = rewritten(copy_of(tiny_folder, tmp_path / "b"), lambda t: t.update({name: torch.zeros(1, 1, 7)}))
    with pytest.raises(EngineUnavailable, match=r"mismatched keys|cannot be loaded"):
        engine_of(bent)


def test_a_truncated_or_foreign_checkpoint_says_so(tiny_folder, tmp_path):
    cut = copy_of(tiny_folder, tmp_path / "cut")
    weights = cut / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(EngineUnavailable, match="may be truncated"):
        engine_of(cut)
    foreign = copy_of(tiny_folder, tmp_path / "foreign")
    (foreign / "config.json").write_text(json.dumps({"model_type": "bert"}))
    with pytest.raises(EngineUnavailable, match="'bert' model; expected SAM 3"):
        engine_of(foreign)
    (foreign / "config.json").write_text("{")
    with pytest.raises(EngineUnavailable, match="not a model's configuration"):
        engine_of(foreign)
    (cut / "model.safetensors").unlink()
    with pytest.raises(EngineUnavailable, match="cannot be loaded"):
        engine_of(cut)
    with pytest.raises(EngineUnavailable, match="no folder ./nowhere"):
        engine_of("./nowhere")


def test_the_light_model_knows_words_and_boxes_by_example_and_says_it_has_no_video(torch, tmp_path, picture, seed):
    import tiny_sam3

    engine = engine_of(tiny_sam3.build_lite(tmp_path / "lite"))
    assert not engine.can_track and "no video" in engine.describe()
    encoded = engine.encode(picture)
    segments = engine.by_box(encoded, BOXES)
    assert len(segments) == 2 and all(s.mask.shape == (120, 160) for s in segments)
    assert isinstance(engine.by_text(encoded, "shirt", 0.0), list)
    for call in (
        lambda: list(engine.track([picture], {0: {"a": seed}})),
        lambda: list(engine.follow_words([picture], ["x"])),
    ):
        with pytest.raises(EngineUnavailable, match="no video tracker"):
            call()


# ---- devices, access, auto


def test_devices_and_dtypes_that_cannot_be_are_refused(torch, monkeypatch):
    assert _sam3.pick_device("cpu") == "cpu" and _sam3.pick_dtype("auto", "cpu") == torch.float32
    if not torch.cuda.is_available():
        with pytest.raises(EngineUnavailable, match="cuda was asked for"):
            _sam3.pick_device("cuda")
    with pytest.raises(InputError, match="unknown device"):
        _sam3.pick_device("tpu")
    with pytest.raises(InputError, match="many times slower"):
        _sam3.pick_dtype("float16", "cpu")
    with pytest.raises(InputError, match="unknown dtype"):
        _sam3.pick_dtype("int4", "cpu")


@pytest.mark.parametrize(("capability", "name"), [((9, 0), "bfloat16"), ((8, 6), "bfloat16"), ((7, 5), "float16")])
def test_a_gpu_that_only_emulates_bfloat16_is_given_float16(torch, monkeypatch, capability, name):
    gpu = SimpleNamespace(major=capability[0], minor=capability[1])
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda *_: gpu)
    monkeypatch.setattr(torch.cuda, "_check_bf16_tensor_supported", lambda *_: True)  # emulated, it can be made
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr(torch.version, "hip", None)
    assert _sam3.pick_dtype("auto", "cuda") == getattr(torch, name)


def _refusal(kind, status):
    import httpx
    from huggingface_hub import errors

    response = httpx.Response(status, request=httpx.Request("GET", "https://huggingface.co/facebook/sam3"))
    return getattr(errors, kind)("refused", response=response)


@pytest.mark.parametrize(
    ("kind", "status", "token", "says"),
    [
        ("GatedRepoError", 401, None, "hf auth login"),
        ("GatedRepoError", 403, "hf_x", "your token has no access"),
        ("RepositoryNotFoundError", 404, None, "there is no model"),
        ("HfHubHTTPError", 500, None, "was broken off"),
    ],
)
def test_weights_that_cannot_be_fetched_say_what_to_do(torch, monkeypatch, kind, status, token, says):
    import huggingface_hub

    def refuse(*_, **__):
        raise _refusal(kind, status)

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", refuse)
    monkeypatch.setattr(huggingface_hub, "get_token", lambda: token)
    with pytest.raises(EngineUnavailable, match=says):
        segmenter("sam3-hf", Settings(device="cpu"))


def test_a_broken_connection_and_an_unreachable_hub_are_two_things(torch, monkeypatch):
    import huggingface_hub
    from huggingface_hub.errors import LocalEntryNotFoundError

    for error, says in (
        (ConnectionError("reset by peer"), "broken off"),
        (LocalEntryNotFoundError("no"), "--checkpoint"),
    ):
        monkeypatch.setattr(huggingface_hub, "hf_hub_download", lambda *_, _e=error, **__: (_ for _ in ()).throw(_e))
        with pytest.raises(EngineUnavailable, match=says):
            segmenter("sam3-hf", Settings(device="cpu"))


def test_auto_takes_the_embedded_engine_without_asking_the_hub_and_says_why(torch, monkeypatch, caplog):
    import huggingface_hub

    def never(*_, **__):
        raise AssertionError("nothing may be fetched unasked")

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", never)
    monkeypatch.setattr(huggingface_hub, "get_token", lambda: None)
    with caplog.at_level("INFO"):
        engine = segmenter("auto", Settings())
    assert engine.id == "embedded"
    assert "not sam3-hf: no weights of facebook/sam3 and no Hugging Face token" in caplog.text


@pytest.mark.parametrize("path", ["/data/weights/sam3.pt", "weights/a/b", "~/sam3", "./x"])
def test_a_path_that_is_no_repository_is_a_reason_and_no_crash(torch, path, monkeypatch):
    import huggingface_hub

    monkeypatch.setattr(huggingface_hub, "get_token", lambda: None)
    assert segmenter("auto", Settings(sam3_checkpoint=path)).id == "embedded"


def test_auto_on_a_cpu_leaves_cached_weights_alone_but_a_name_takes_them(tiny_folder, caplog):
    settings = Settings(sam3_checkpoint=str(tiny_folder), device="cpu")
    with caplog.at_level("INFO"):
        assert segmenter("auto", settings).id == "embedded"
    assert "choose it by name: --segmenter sam3-hf" in caplog.text
    assert segmenter("sam3-hf", settings).id == "sam3-hf/tiny"


# ---- Meta's package


def test_metas_package_without_a_gpu_or_triton_names_what_is_missing(monkeypatch):
    with pytest.raises(EngineUnavailable, match=r"needs .*|NVIDIA|sam3-hf|not in the cache"):
        segmenter("sam3", Settings())


def test_metas_package_gives_boxes_words_and_batches(sam3_official, picture):
    assert isinstance(sam3_official, BoxSegmenter) and isinstance(sam3_official, TextSegmenter)
    encoded = sam3_official.encode(picture)
    one = sam3_official.by_box(encoded, BOXES)
    assert [s.mask.shape for s in one] == [(120, 160)] * 2
    batch = sam3_official.encode_batch([picture, picture[:60].copy()], batch=2)
    again = sam3_official.by_box(batch[0], BOXES)
    assert all(np.count_nonzero(a.mask ^ b.mask) < 0.02 * a.mask.size for a, b in zip(one, again, strict=True))
    assert sam3_official.by_box(batch[1], [[0, 0, 50, 50]])[0].mask.shape == (60, 160)
    faces = [Face([40, 40, 60, 60], 0.9), None]
    assert len(sam3_official.by_box(encoded, BOXES, faces, [Face([70, 50, 84, 64], 0.9)])) == 2
    first = sam3_official.by_text(encoded, "shirt", 0.0)
    second = sam3_official.by_text(encoded, "shirt", 0.0)
    assert all(map(alike, first, second)), "prompts must not add up"
    with pytest.raises(InputError, match="empty"):
        sam3_official.by_text(encoded, " ")


@pytest.mark.parametrize("native", [True, False])
def test_auto_leaves_metas_package_alone_where_bfloat16_is_only_emulated(torch, tmp_path, monkeypatch, native):
    monkeypatch.setattr(_sam3, "require", lambda *_: None)
    monkeypatch.setattr(_sam3, "pick_device", lambda _: "cuda")
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: native or including_emulation)
    (tmp_path / "sam3.pt").touch()
    from identity_segmentation.engines import sam3_official

    reason = sam3_official.ready(Settings(sam3_checkpoint=str(tmp_path / "sam3.pt")))
    assert reason == "" if native else "emulates bfloat16" in reason and "sam3-hf" in reason


def test_building_metas_model_leaves_no_mode_of_the_process_switched_on(sam3_official, official_parts, torch):
    def modes():
        depth = torch.autocast_increment_nesting()
        torch.autocast_decrement_nesting()
        return (
            depth, torch.is_autocast_enabled("cuda"), torch.get_autocast_dtype("cuda"),
            torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32,
        )  # fmt: skip

    before = modes()
    sam3_official._open(sam3_official.checkpoint, str(official_parts[1]), False)
    assert modes() == before, "with an autocast left open torch keeps a 16-bit copy of every weight for good"


def test_metas_package_follows_people_both_ways(sam3_official, frames, seed):
    found = followed(sam3_official, frames[:4], {1: {"a": seed}, 2: {"b": ~seed}})
    assert sorted(found) == [0, 1, 2, 3] and all(set(f) == {"a", "b"} for f in found.values())
    assert (found[1]["a"].mask == seed).mean() > 0.9


def test_metas_tracker_is_shown_frames_as_it_was_trained(sam3_official, frames, seed, monkeypatch):
    shown = []
    backbone = sam3_official._model.backbone
    real = backbone.forward_image
    monkeypatch.setattr(backbone, "forward_image", lambda images: shown.extend(images) or real(images))
    dark, light = np.zeros_like(frames[0]), np.full_like(frames[0], 255)
    light[:, :, 0] = 0  # no blue
    list(sam3_official.track([dark, light], {0: {"a": seed}}))
    first, second = shown[:2]
    assert first.shape == (3, 112, 112) and (first == -1).all()
    assert (second[:2] == 1).all() and (second[2] == -1).all(), "red, green, blue"


def test_metas_modes_are_not_left_on_while_the_caller_has_the_word(sam3_official, frames, seed, torch, device):
    steps = sam3_official.track(frames[:3], {0: {"a": seed}})
    for _ in range(2):
        next(steps)
        assert not torch.is_inference_mode_enabled() and not torch.is_autocast_enabled(device)
    steps.close()
    assert not torch.is_inference_mode_enabled()


def test_metas_checkpoint_with_anything_missing_is_refused(sam3_official, official_parts, torch, tmp_path):
    from identity_segmentation.engines.sam3_official import load_checkpoint

    content = torch.load(official_parts[0], weights_only=True)["model"]
    name = next(k for k in content if k.startswith("tracker.") and k.endswith("weight"))
    torch.save({"model": {k: v for k, v in content.items() if k != name}}, tmp_path / "short.pt")
    with pytest.raises(EngineUnavailable, match="1 parameters are missing"):
        load_checkpoint(sam3_official._model, tmp_path / "short.pt")
    torch.save({"model": content | {name: torch.zeros(3)}}, tmp_path / "bent.pt")
    with pytest.raises(EngineUnavailable, match="1 have another shape"):
        load_checkpoint(sam3_official._model, tmp_path / "bent.pt")
    (tmp_path / "cut.pt").write_bytes(official_parts[0].read_bytes()[:5000])
    with pytest.raises(EngineUnavailable, match="may be truncated"):
        load_checkpoint(sam3_official._model, tmp_path / "cut.pt")
    with pytest.raises(EngineUnavailable, match="no file"):
        load_checkpoint(sam3_official._model, tmp_path / "none.pt")


def test_the_vocabulary_is_rebuilt_from_the_published_tokenizer(tmp_path):
    import gzip

    from identity_segmentation.engines.sam3_official import rebuild_vocabulary

    merges = [f"a{i} b</w>" for i in range(48894)]
    for form in (merges, [m.split() for m in merges]):
        (tmp_path / "tokenizer.json").write_text(json.dumps({"model": {"merges": form}}))
        lines = gzip.decompress(
            rebuild_vocabulary(tmp_path / "tokenizer.json", tmp_path / "v.gz").read_bytes()
        ).decode()
        # as the package reads it: one line of header, then 49152 - 256 - 2 merges
        assert lines.split("\n")[1 : 49152 - 256 - 2 + 1] == merges
    (tmp_path / "tokenizer.json").write_text(json.dumps({"model": {"merges": merges[:5]}}))
    with pytest.raises(EngineUnavailable, match="has 5 merges"):
        rebuild_vocabulary(tmp_path / "tokenizer.json", tmp_path / "v.gz")


# ---- masks at full size


def test_a_low_resolution_mask_is_enlarged_as_the_whole_would_be():
    import cv2

    y, x = np.mgrid[:288, :288]
    logits = (40 - np.hypot(x - 150, y - 90)).astype(np.float32)
    whole = cv2.resize(logits, (1920, 1080), interpolation=cv2.INTER_LINEAR) > 0
    segment = _sam3.to_segment(logits, (1080, 1920), 0.9, [0, 0, 9, 9], "x")
    assert np.count_nonzero(segment.mask ^ whole) < 0.002 * whole.sum() and segment.score == 0.9
    logits[85:88, 148:151] = -9  # a pin hole, and a speck
    logits[200, 20] = 9
    cleaned = _sam3.to_segment(logits, (1080, 1920), 0.9, [0, 0, 9, 9], "x")
    assert np.count_nonzero(cleaned.mask ^ whole) < 0.002 * whole.sum()
    nothing = _sam3.to_segment(np.full((288, 288), -9, np.float32), (1080, 1920), 0.9, [0, 0, 9, 9], "x")
    assert nothing.area == 0 and nothing.score == 0


def soft_shapes():
    """Low-resolution logits of masks in the middle, at the borders, of a few pixels, and of everything."""
    y, x = np.mgrid[:288, :288].astype(np.float32)
    rng = np.random.default_rng(3)
    for cx, cy, radius, slope in (
        (150, 90, 40, 1),
        (0, 287, 60, 0.3),
        (280, 2, 25, 4),
        (20, 20, 1.5, 2),
        (99, 99, 500, 1),
    ):
        wobble = np.asarray(rng.normal(0, 1, (288, 288)), np.float32) * 0.05
        yield ((radius - np.hypot(x - cx, y - cy)) * slope + wobble).astype(np.float32)


@pytest.mark.parametrize("shape", [(1080, 1920), (120, 160), (777, 1001), (3000, 500), (300, 290)])
def test_a_mask_enlarged_on_a_device_is_the_one_enlarged_without(torch, device, shape, monkeypatch):
    monkeypatch.setattr(_sam3, "_BAND", 100_000)  # in several bands of rows
    for logits in soft_shapes():
        low, near = _sam3._cleaned(logits)
        part = _sam3._at_full_size(near, low.shape, shape)
        inside, soft = _sam3._enlarged(low, shape, part)
        on_device, soft_there = _sam3._enlarged_on(device, low, shape, part)
        assert soft_there.dtype == np.uint8 and soft_there.shape == soft.shape == on_device.shape
        assert np.count_nonzero(inside ^ on_device) <= 1e-4 * inside.size
        differ = np.abs(soft.astype(int) - soft_there)
        # Alpha is looked up in steps of up to 4 grey levels; a logit that lies between two to the fourth decimal may
        # fall to either side.
        assert differ.max() <= 4 and np.count_nonzero(differ > 1) <= max(2, 1e-4 * differ.size)


def test_another_device_than_the_cpu_enlarges_the_part_that_holds_the_mask(torch, monkeypatch):
    asked = []

    def on_device(device, logits, shape, part):
        asked.append((device, part))
        return real("cpu", logits, shape, part)

    real = _sam3._enlarged_on
    monkeypatch.setattr(_sam3, "_enlarged_on", on_device)
    logits = next(soft_shapes())
    there = _sam3.to_segment(logits, (1080, 1920), 0.9, np.zeros(4), "x", "cuda")
    ((device, (x0, y0, x1, y1)),) = asked
    assert device == "cuda" and (x1 - x0) * (y1 - y0) < 0.15 * 1080 * 1920
    here = _sam3.to_segment(logits, (1080, 1920), 0.9, np.zeros(4), "x", "cpu")
    assert len(asked) == 1 and np.count_nonzero(there.mask ^ here.mask) < 10
    assert (there.box == here.box).all() and there.score == here.score
    tight = np.argwhere(here.mask)
    assert here.box.tolist() == [*tight.min(0)[::-1].tolist(), *(tight.max(0)[::-1] + 1).tolist()]
    _sam3.to_segment(logits, (288, 288), 0.9, np.zeros(4), "x", "cuda")
    assert len(asked) == 1, "nothing is enlarged, so nothing is sent there and back"
    assert (there.mask == (there.alpha > 127)).all()


def test_every_mask_of_either_adapter_is_enlarged_on_its_own_device(sam3, picture, frames, seed, monkeypatch):
    devices = []
    real = _sam3.to_segment

    def noted(*given):
        devices.append(given[5] if len(given) > 5 else None)
        return real(*given)

    monkeypatch.setattr(_sam3, "to_segment", noted)
    encoded = sam3.encode(picture)
    sam3.by_box(encoded, BOXES)
    sam3.by_points(encoded, [[40, 40]], [True])
    list(sam3.track(frames[:2], {0: {"a": seed}}))
    assert len(devices) >= 5 and set(devices) == {sam3.device}


def test_metas_package_is_kept_from_enlarging_masks_itself(sam3_official, picture, monkeypatch):
    asked = Asked(sam3_official, monkeypatch)
    encoded = sam3_official.encode(picture)
    assert sam3_official.by_box(encoded, BOXES)[0].mask.shape == (120, 160)
    assert asked.sizes == {(32, 32)}, "nothing is enlarged by the package"


def test_metas_package_is_kept_from_enlarging_the_masks_of_a_phrase(sam3_official, picture, monkeypatch):
    from sam3.model import sam3_image_processor

    sizes = []
    real = sam3_image_processor.interpolate
    monkeypatch.setattr(
        sam3_image_processor, "interpolate", lambda *given, **how: sizes.append(given[1]) or real(*given, **how)
    )
    large = np.repeat(np.repeat(picture, 6, 0), 6, 1)
    encoded = sam3_official.encode(large)
    found = sam3_official.by_text(encoded, "shirt", 0.0)
    assert sizes == [(32, 32)] and found and all(s.mask.shape == (720, 960) for s in found)
    with sam3_official._torch.inference_mode(), sam3_official._precise():
        monkeypatch.setattr(sam3_official._processor, "confidence_threshold", 0.0)
        theirs = sam3_official._processor.set_text_prompt("shirt", encoded.state)
    scores = theirs["scores"].float().cpu().numpy()
    for segment in found:
        whole = theirs["masks"][int(np.abs(scores - segment.score).argmin()), 0].cpu().numpy()
        assert np.count_nonzero(segment.mask ^ whole) < 0.03 * whole.size

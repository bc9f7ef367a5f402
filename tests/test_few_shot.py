"""Engines that learn from marks: what every one of them promises, and what each of them does."""

from __future__ import annotations

import warnings

import cv2
import numpy as np
import pytest

from identity_segmentation.engines import SEGMENTERS, _candidates, _normal, _texture, embedded_pixels
from identity_segmentation.engines._candidates import Regions, best_of
from identity_segmentation.engines._exposure import Exposure
from identity_segmentation.engines._normal import NormalTexture
from identity_segmentation.engines.embedded_pixels import PixelClassifier
from identity_segmentation.engines.protocols import ExemplarSegmenter, PointSegmenter
from identity_segmentation.errors import EngineUnavailable, InputError
from identity_segmentation.geometry import mask_box, mask_iou
from identity_segmentation.types import Exemplar

RNG = np.random.default_rng(0)


def scene(height: int, width: int, seed: int, discs: int = 2, stripe: bool = False) -> tuple[np.ndarray, dict]:
    """Dark discs (id 1) and maybe a bright stripe (id 2) on uneven noisy grey."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[:height, :width]
    image = 120 + 40 * np.sin(columns / width * 3 + seed) + rng.normal(0, 6, (height, width))
    spots, line = np.zeros((height, width), bool), np.zeros((height, width), bool)
    for _ in range(discs):
        x, y = rng.integers(12, width - 12), rng.integers(12, height - 12)
        spots |= np.hypot(columns - x, rows - y) < rng.integers(5, 10)
    if stripe:
        line = np.abs(rows - rng.integers(10, height - 10)) < 3
        line &= ~spots
    image = np.where(spots, image - 70, np.where(line, image + 80, image))
    masks = {1: spots, 2: line} if stripe else {1: spots}
    return np.dstack([np.clip(image, 0, 255).astype(np.uint8)] * 3), masks


@pytest.fixture(autouse=True)
def few_trainings(monkeypatch):
    """Of the embedded engine's minutes here most are leave-one-out; what it promises holds with fewer parts, too."""
    monkeypatch.setattr(embedded_pixels, "_TRAININGS", 4)


@pytest.fixture(params=[name for name in SEGMENTERS if name != "sam3.1"])  # that one is for video
def engine(request):
    fixtures = {"embedded": "embedded_masks", "sam3": "sam3_official", "sam3-hf": "sam3_hf"}
    return request.getfixturevalue(fixtures[request.param])


@pytest.fixture
def references():
    """Five of different sizes; the third shows nothing of id 2, the fifth shows nothing at all."""
    sizes = [(60, 80), (90, 70), (64, 64), (50, 120), (70, 70)]
    found = [Exemplar(*scene(*size, seed=n, stripe=n < 2, discs=0 if n == 4 else 2)) for n, size in enumerate(sizes)]
    assert not found[4].masks[1].any()
    return found


def same(a, b) -> bool:
    return a.keys() == b.keys() and all(np.array_equal(a[k].mask, b[k].mask) and a[k].score == b[k].score for k in a)


# ---- every engine


def test_an_engine_that_learns_keeps_the_protocols(engine):
    assert isinstance(engine, ExemplarSegmenter) and isinstance(engine, PointSegmenter)


def test_every_id_comes_back_at_the_size_of_the_picture(engine, references):
    learned = engine.learn(references)
    assert learned.ids == (1, 2)
    for shape in ((40, 100), (200, 150), (9, 7)):
        found = learned.label(scene(*shape, seed=9, discs=0)[0] if min(shape) < 30 else scene(*shape, seed=9)[0])
        assert list(found) == [1, 2]
        for segment in found.values():
            assert segment.mask.shape == shape and 0 <= segment.score <= 1
            assert segment.engine == engine.id


def test_order_does_not_matter_and_nothing_drifts(engine, references):
    learned = engine.learn(references)
    targets = [scene(50 + 10 * n, 60, seed=20 + n)[0] for n in range(4)]
    forward = [learned.label(t) for t in targets]
    backward = [learned.label(t) for t in targets[::-1]][::-1]
    again = engine.learn(references).label(targets[2])
    assert all(same(a, b) for a, b in zip(forward, backward, strict=True)) and same(again, forward[2])


def test_every_reference_is_tried_by_the_others(engine, references):
    trials = engine.learn(references).trials
    assert all(t.id in (1, 2) and 0 <= t.score <= 1 and 0 <= t.iou <= 1 for t in trials)
    assert engine.learn(references[:1]).trials == ()


@pytest.mark.parametrize("name", ["embedded_masks", "sam3_hf"])
def test_more_than_four_references_are_used(name, request):
    """What only the first of six shows must change what is said of a target."""
    engine = request.getfixturevalue(name)
    noise = np.random.default_rng(5).integers(0, 255, (7, 60, 60, 3), np.uint8)  # random weights see it as something
    pictures, target = list(noise[:6]), noise[6]
    usual = [scene(60, 60, seed=n)[1] for n in range(6)]
    other = [{1: ~usual[0][1]}, *usual[1:]]
    found = []
    for masks in (usual, other):
        learned = engine.learn([Exemplar(p, m) for p, m in zip(pictures, masks, strict=True)])
        found.append(learned.label(target)[1])
    assert found[0].score != found[1].score


def test_without_a_mark_there_is_nothing_to_learn(engine):
    image = scene(40, 40, seed=1)[0]
    for references in ([], [Exemplar(image, {})], [Exemplar(image, {1: np.zeros((40, 40), bool)})]):
        with pytest.raises(InputError, match="nothing is marked"):
            engine.learn(references)
    with pytest.raises(InputError, match="bool mask of shape"):
        engine.learn([Exemplar(image, {1: np.zeros((5, 5), bool)})])


def test_points_and_boxes_give_one_mask(engine):
    image = scene(80, 100, seed=3)[0]
    state = engine.encode(image)
    for points, inside, box in (
        ([[50, 40]], [True], None), ([[50, 40], [10, 10]], [True, False], None), ([], [], [20, 20, 70, 60]),
        ([[50, 40]], [True], [20, 20, 70, 60]),
    ):  # fmt: skip
        segment = engine.by_points(state, points, inside, box)
        assert segment.mask.shape == (80, 100) and 0 <= segment.score <= 1
    for points, inside, box, reason in (
        ([], [], None, "a box, or a point"), ([[5, 5]], [False], None, "a box, or a point"),
        ([[500, 5]], [True], None, "within the 100x80"), ([[5, 5]], [], None, "one label for each"),
        ([], [], [300, 300, 400, 400], "covers part of"),
    ):  # fmt: skip
        with pytest.raises(InputError, match=reason):
            engine.by_points(state, points, inside, box)


# ---- SAM 3


def test_sam3_sees_references_and_targets_the_same_way(sam3_hf, references):
    """A reference given as a target: the pixels handed to the model are those it was learnt from."""
    learned = sam3_hf.learn(references[:2])
    seen, real = [], sam3_hf._pixels
    try:
        sam3_hf._pixels = lambda images: seen.append(real(images)) or seen[-1]
        learned._remembering(references[:1], (1,))
        learned.label(references[0].image)
    finally:
        del sam3_hf._pixels
    assert len(seen) == 2 and bool((seen[0] == seen[1]).all())


def test_sam3_keeps_no_trace_of_a_target(sam3_hf, references):
    learned = sam3_hf.learn(references)
    learned.label(scene(60, 60, seed=40)[0])
    before = learned._memory.size_bytes()
    for number in range(5):
        learned.label(scene(60, 60, seed=41 + number)[0])
    assert learned._memory.size_bytes() == before
    frames = learned._memory._session.output_dict_per_obj[0]
    assert sorted(frames["cond_frame_outputs"]) == [0, 1, 2, 3, 4] and not frames["non_cond_frame_outputs"]


def test_sam3_attends_to_all_references_and_leaves_the_librarys_own_limit(sam3_hf, references, monkeypatch):
    model = sam3_hf.video_model
    chosen, real = [], type(model)._select_closest_cond_frames

    def select(self, frame, outputs, max_cond_frame_num):
        found = real(self, frame, outputs, max_cond_frame_num)
        chosen.append(len(found[0]))
        return found

    before = model.config.max_cond_frame_num
    learned = sam3_hf.learn(references)
    monkeypatch.setattr(type(model), "_select_closest_cond_frames", select)
    learned.label(scene(60, 60, seed=50)[0])
    assert chosen == [5, 5] and model.config.max_cond_frame_num == before == 4


def test_metas_package_attends_to_all_references(sam3_official, references, monkeypatch):
    """Its tiny random model rounds to 8 bits, in which one reference more is not seen: so those chosen are counted."""
    from sam3.model import sam3_tracker_base as base

    chosen, real = [], base.select_closest_cond_frames

    def select(*args, **given):
        found = real(*args, **given)
        chosen.append(len(found[0]))
        return found

    tracker = sam3_official._model.inst_interactive_predictor.model
    monkeypatch.setattr(tracker, "max_cond_frames_in_attn", 4)
    learned = sam3_official.learn(references)
    monkeypatch.setattr(base, "select_closest_cond_frames", select)
    learned.label(scene(60, 60, seed=50)[0])
    assert chosen == [5] and tracker.max_cond_frames_in_attn == 4
    state = learned._memory._group._state
    assert not state["output_dict"]["non_cond_frame_outputs"] and not state["cached_features"]
    assert len(state["output_dict"]["cond_frame_outputs"]) == 5


def test_a_light_checkpoint_says_that_it_cannot_learn(torch, tmp_path, references):
    import tiny_sam3

    from identity_segmentation.engines.sam3_hf import Sam3HF

    light = Sam3HF(str(tiny_sam3.build_lite(tmp_path / "lite")), device="cpu")
    with pytest.raises(EngineUnavailable, match="--sam3-model large"):
        light.learn(references)
    with pytest.raises(EngineUnavailable, match="--sam3-model large"):
        light.by_points(light.encode(references[0].image), [[5, 5]], [True])


# ---- the pixel classifier


def test_pixels_find_what_was_marked_and_nothing_where_there_is_nothing():
    learned = PixelClassifier([Exemplar(*scene(80, 100, seed=n, stripe=True)) for n in range(3)], "e")
    fits = {1: [], 2: []}
    for seed in range(10, 14):
        image, masks = scene(90, 90, seed=seed, stripe=True)
        for number, segment in learned.label(image).items():
            fits[number].append(mask_iou(masks[number], segment.mask))
            assert np.allclose(segment.box, mask_box(segment.mask))
    assert np.mean(fits[1]) > 0.75 and np.mean(fits[2]) > 0.75, fits
    clean = learned.label(scene(80, 100, seed=77, discs=0)[0])
    assert sum(s.area for s in clean.values()) < 40


def test_a_reference_given_as_a_target_returns_its_mark():
    references = [Exemplar(*scene(80, 100, seed=n)) for n in range(3)]
    learned = PixelClassifier(references, "e")
    for reference in references:
        assert mask_iou(reference.masks[1], learned.label(reference.image)[1].mask) > 0.85


def test_light_and_contrast_do_not_matter():
    learned = PixelClassifier([Exemplar(*scene(80, 100, seed=n)) for n in range(3)], "e")
    image, masks = scene(80, 100, seed=12)
    darker = np.clip(image.astype(float) * 0.6 - 10, 0, 255).astype(np.uint8)
    assert mask_iou(masks[1], learned.label(darker)[1].mask) > 0.7


def test_a_brighter_or_duller_picture_is_labelled_as_well():
    learned = PixelClassifier([Exemplar(*scene(80, 100, seed=n)) for n in range(3)], "e")
    fits: dict[str, list[float]] = {"usual": [], "gamma": [], "dull": [], "bright": []}
    for seed in range(12, 16):
        image, masks = scene(80, 100, seed=seed)
        grey = image.astype(np.float64)
        lights = {"usual": grey, "gamma": 255 * (grey / 255) ** 0.5, "dull": grey / 2 + 64, "bright": grey + 40}
        for name, light in lights.items():
            found = learned.label(np.clip(light, 0, 255).astype(np.uint8))[1]
            fits[name].append(mask_iou(masks[1], found.mask))
    means = {name: np.mean(found) for name, found in fits.items()}
    assert all(means[name] > means["usual"] - 0.05 for name in means), means


def test_a_gamma_curve_is_undone_and_an_offset_is_left():
    """Neither is a picture touched that is as bright as a reference; the references' own order does not matter."""
    grey = np.tile(np.linspace(60, 190, 120), (80, 1))
    usual, brighter = (np.dstack([np.rint(grey + more).astype(np.uint8)] * 3) for more in (0, 20))
    dark = np.rint(255 * (usual / 255) ** 2).astype(np.uint8)
    for pictures in ([usual, brighter], [brighter, usual]):
        exposure = Exposure(pictures)
        assert np.abs(exposure.matched(dark).astype(int) - usual).max() <= 3 < np.abs(dark.astype(int) - usual).max()
        for same in (usual, brighter, usual + 9, usual - 50):
            assert exposure.matched(same) is same


@pytest.mark.parametrize("level", [0, 255])
def test_black_and_white_pictures_have_no_light_to_match(level):
    flat = np.full((30, 40, 3), level, np.uint8)
    assert np.array_equal(Exposure([scene(30, 40, seed=0)[0]]).matched(flat), flat)
    assert Exposure([flat]).matched(scene(30, 40, seed=0)[0]).shape == (30, 40, 3)


def test_what_is_learnt_does_not_hang_on_how_many_threads_learn_and_warnings_stay_as_they_were(monkeypatch):
    pairs = [Exemplar(*scene(60, 80, seed=n, stripe=True)) for n in range(3)]
    before, found = list(warnings.filters), []
    for threads in ("1", "3"):
        monkeypatch.setenv("IDSEG_THREADS", threads)
        learned = PixelClassifier(pairs, "e")
        found.append((learned.trials, learned.label(scene(60, 80, seed=7, stripe=True)[0])))
    assert found[0][0] == found[1][0] and len(found[0][0]) > 1 and same(found[0][1], found[1][1])
    assert warnings.filters == before


def test_references_that_show_nothing_teach_what_nothing_looks_like():
    """Stains are no discs: with two stained pictures among the references, no stain is labelled."""

    def stained(seed):
        image, masks = scene(80, 100, seed=seed, discs=0)
        rows, columns = np.mgrid[:80, :100]
        stain = np.hypot((columns - 50) / 25, (rows - 20 - seed % 7 * 6) / 5) < 1
        return np.where(stain[..., None], np.clip(image.astype(int) - 30, 0, 255), image).astype(np.uint8), masks

    discs = [Exemplar(*scene(80, 100, seed=n)) for n in range(3)]
    learned = PixelClassifier([*discs, *(Exemplar(*stained(n)) for n in (30, 31))], "e")
    found = [learned.label(stained(seed)[0])[1] for seed in range(32, 38)]
    assert sum(bool(segment.area) for segment in found) <= 1
    assert all(0 <= segment.score <= 1 for segment in found)
    image, masks = scene(80, 100, seed=12)
    assert mask_iou(masks[1], learned.label(image)[1].mask) > 0.6


def test_a_thing_is_taken_whole_and_a_speck_is_none():
    """One large disc, half of it fainter, and single dark pixels: the disc comes out in one piece, pixels do not."""

    def pair(seed):
        image, _ = scene(120, 120, seed=seed, discs=0)
        rows, columns = np.mgrid[:120, :120]
        disc = np.hypot(columns - 40 - seed % 5 * 10, rows - 60) < 16
        dark = image.astype(int) - np.where(rows < 60, 70, 45)[..., None] * disc[..., None]
        for y, x in np.random.default_rng(seed).integers(2, 118, (12, 2)):
            dark[y, x] -= 0 if disc[y, x] else 80
        return Exemplar(np.clip(dark, 0, 255).astype(np.uint8), {1: disc})

    learned = PixelClassifier([pair(n) for n in range(3)], "e")
    for seed in (13, 14):
        target = pair(seed)
        found = learned.label(target.image)[1].mask
        assert mask_iou(target.masks[1], found) > 0.8
        assert cv2.connectedComponents(found.astype(np.uint8))[0] == 2


def test_without_the_net_pixels_alone_decide(monkeypatch):
    monkeypatch.setattr(embedded_pixels, "backbone", lambda: None)
    learned = PixelClassifier([Exemplar(*scene(80, 100, seed=n)) for n in range(3)], "e")
    image, masks = scene(80, 100, seed=12)
    assert mask_iou(masks[1], learned.label(image)[1].mask) > 0.7


def regions(*boxes, by_light=False):
    """Regions that are these boxes (left, top, right, bottom) of a picture of 20 x 20."""
    labels, areas = np.zeros((20, 20), np.uint16), [1.0]
    for number, (left, top, right, bottom) in enumerate(boxes, 1):
        labels[top:bottom, left:right] = number
        areas.append(float((right - left) * (bottom - top)))
    what = np.ones((21, len(areas)))
    what[_candidates.AREA] = areas
    return Regions(labels, np.array([(0, 0, 20, 20), *boxes]), what, by_light)


def test_of_regions_within_regions_the_better_is_taken():
    """A region of .5 that holds two of .9 and .2: the .9 alone is taken; one of .95 around them is taken whole."""
    small, other, large = (2, 2, 6, 6), (8, 2, 12, 6), (0, 0, 14, 14)
    for worth, expected in ((0.5, small), (0.95, large)):
        levels = [regions(large), regions(small, other)]
        taken = best_of(levels, [np.array([-np.inf, worth]), np.array([-np.inf, 0.9, 0.2])], 0.4)
        assert mask_box(taken.mask).tolist() == list(expected) and taken.worth == pytest.approx(max(worth, 0.9))


def test_regions_of_brightness_compete_with_those_of_log_odds():
    """They overlap without one holding the other: the better is taken, and what touches neither beside it."""
    levels = [regions((0, 0, 10, 10)), regions((5, 5, 15, 15), (16, 16, 20, 20), by_light=True)]
    taken = best_of(levels, [np.array([-np.inf, 0.5]), np.array([-np.inf, 0.8, 0.45])], 0.4)
    assert int(taken.mask.sum()) == 100 + 16 and not taken.mask[0, 0] and taken.mask[5, 5]
    assert taken.worth == pytest.approx((0.8 * 100 + 0.45 * 16) / 116)


def blob(seed: int, ground: float, depth: float, radius: int = 18) -> Exemplar:
    """A soft-textured disc that is darker than its ground by a share of it."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[:140, :160]
    disc = np.hypot(columns - rng.integers(40, 120), rows - rng.integers(40, 100)) < radius
    light = ground * (1 - depth * disc) + rng.normal(0, 0.05 * ground, disc.shape)
    return Exemplar(np.dstack([np.clip(light, 0, 255).astype(np.uint8)] * 3), {1: disc})


@pytest.mark.parametrize("ground, depth", [(60, 0.35), (220, 0.35), (120, 0.2)])
def test_a_dark_blob_marked_on_dark_steel_is_found_on_bright_steel(ground, depth):
    """Its size differs too; its border is that of the picture."""
    learned = PixelClassifier([blob(n, 50 + 5 * n, 0.35) for n in range(3)], "e")
    for seed in (20, 21):
        target = blob(seed, ground, depth, 24)
        assert mask_iou(target.masks[1], learned.label(target.image)[1].mask) > 0.85


def memory_of(picture, mask):
    return NormalTexture(list(_texture.Textures(picture, _texture.backbone()).of(mask)))


def test_what_is_unlike_all_that_is_normal_is_unusual():
    """A memory of stripes: a patch of noise is far from it, more stripes are near, on whatever brightness."""
    net = _texture.backbone()
    stripes = np.where(np.arange(160) // 4 % 2, 150, 110)[None].repeat(160, 0).astype(np.uint8)
    picture = np.dstack([stripes] * 3)
    memory = memory_of(picture, np.zeros((160, 160), bool))
    strange = picture.copy()
    strange[60:100, 60:100] = np.random.default_rng(0).integers(60, 200, (40, 40, 1))
    for image in (strange, strange // 2 + 90):
        plane = memory.unusual(net(image).soft, (160, 160))
        assert plane.shape == (160, 160) and plane.dtype == np.float32
        assert plane[70:90, 70:90].min() > 3 * abs(plane[:30]).max()


def test_a_picture_marked_all_over_leaves_no_memory_of_what_is_normal():
    net = _texture.backbone()
    picture = scene(64, 64, seed=0)[0]
    memory = memory_of(picture, np.ones((64, 64), bool))
    assert not memory.unusual(net(picture).soft, (64, 64)).any()


def test_a_coreset_reaches_every_corner():
    """Of a crowd and one cell far away, the far one is in memory."""
    rng = np.random.default_rng(0)
    cells = np.concatenate([rng.normal(0, 1, (500, 3)), [[40, 0, 0]]]).astype(np.float32)
    kept = _normal.coreset(cells, 20)
    assert len(kept) == 20 and (kept == cells[-1]).all(1).any()
    assert len(_normal.coreset(cells, 600)) == 501


def test_colour_is_seen_where_there_is_colour():
    def coloured(seed):
        grey, masks = scene(70, 90, seed=seed, discs=3)
        flat = np.full_like(grey, 120) + RNG.integers(0, 8, grey.shape, dtype=np.uint8)
        flat[masks[1]] = (60, 140, 140)  # about as bright as the rest
        return Exemplar(flat, masks)

    learned = PixelClassifier([coloured(n) for n in range(2)], "e")
    target = coloured(9)
    assert mask_iou(target.masks[1], learned.label(target.image)[1].mask) > 0.8


def test_thin_things_in_large_pictures_are_worked_on_at_a_larger_size():
    def cracked(seed):
        rng = np.random.default_rng(seed)
        image = rng.normal(140, 5, (900, 1200)).astype(np.float32)
        mask = np.zeros((900, 1200), np.uint8)
        points = np.stack([np.linspace(100, 1100, 9), rng.integers(300, 600, 9)], 1).astype(np.int32)
        cv2.polylines(mask, [points], False, 1, 3)
        image[mask > 0] -= 70
        return Exemplar(np.dstack([np.clip(image, 0, 255).astype(np.uint8)] * 3), {1: mask > 0})

    learned = PixelClassifier([cracked(1)], "e")
    assert learned._area == 1024**2
    target = cracked(2)
    assert mask_iou(target.masks[1], learned.label(target.image)[1].mask) > 0.5


def test_a_picture_marked_all_over_is_learnt_as_such():
    image = scene(40, 40, seed=1)[0]
    learned = PixelClassifier([Exemplar(image, {3: np.ones((40, 40), bool)})], "e")
    assert learned.label(image)[3].mask.all()


def test_a_box_around_a_defect_becomes_its_mask(embedded_masks):
    fits, clicks = [], []
    for seed in range(8):
        image, masks = scene(100, 120, seed=seed, discs=1)
        box = mask_box(masks[1]) + (-3, -3, 3, 3)
        state = embedded_masks.encode(image)
        fits.append(mask_iou(masks[1], embedded_masks.by_points(state, [], [], box).mask))
        ys, xs = np.nonzero(masks[1])
        clicks.append(mask_iou(masks[1], embedded_masks.by_points(state, [[xs.mean(), ys.mean()]], [True]).mask))
    assert np.mean(fits) > 0.8 and np.mean(clicks) > 0.7, (fits, clicks)


def test_a_point_beside_the_thing_keeps_it_out(embedded_masks):
    image = np.full((80, 120, 3), 200, np.uint8)
    cv2.circle(image, (30, 40), 12, (60, 60, 60), -1)
    cv2.circle(image, (90, 40), 12, (60, 60, 60), -1)
    state = embedded_masks.encode(image)
    found = embedded_masks.by_points(state, [[30, 40], [90, 40]], [True, False], [10, 20, 110, 60]).mask
    assert found[40, 30] and not found[40, 90]

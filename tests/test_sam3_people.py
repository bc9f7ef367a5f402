"""What SAM 3 is asked for the people of a picture: a scripted model for the logic, tiny ones for the calls."""

from __future__ import annotations

import contextlib

import numpy as np
import pytest

from identity_segmentation.engines import _sam3, _sam3_people
from identity_segmentation.engines._sam3_people import Picture, assigned, drawn
from identity_segmentation.errors import InputError
from identity_segmentation.types import Face

SHAPE = (200, 400)  # of the picture; its masks are half as large


def low(*boxes, fill=5.0) -> np.ndarray:
    """Logits (100, 200) of xyxy boxes in the picture."""
    logits = np.full((100, 200), -5, np.float32)
    for box in boxes:
        x0, y0, x1, y1 = (int(v) // 2 for v in box)
        logits[y0:y1, x0:x1] = fill
    return logits


def face(x: float, y: float, side: float = 20, score: float = 0.9) -> Face:
    return Face([x - side / 2, y - side / 2, x + side / 2, y + side / 2], score)


class Model:
    """A scripted model: instances as given; a prompt is answered with its own box, and the predicted IoU is `sure`'s of
    (box, points, inside, logits)."""

    def __init__(self, *instances, sure=lambda *_: 0.5):
        self.masks, self.sure = list(instances), sure
        self.words, self.passes, self.asked = [], [], []

    def decode(self, boxes, points, inside, logits=None):
        assert len(boxes) == len(points) == len(inside) and points.shape[1] == inside.shape[1]
        self.passes.append(len(boxes))
        rows = [None] * len(boxes) if logits is None else logits
        prompts = list(zip(boxes.tolist(), points.round(1).tolist(), inside.tolist(), rows, strict=True))
        self.asked += prompts
        return np.stack([low(box) for box in boxes]), np.array([self.sure(*prompt) for prompt in prompts])

    def instances(self, word):
        self.words.append(word)
        masks = np.array(self.masks, np.float32).reshape(-1, 100, 200)
        return masks, np.linspace(0.9, 0.8, len(masks))

    def drawn(self, boxes, faces, others=(), kind="people", points=True):
        return drawn(Picture(SHAPE, self.decode, self.instances, points), boxes, faces, others, kind)


LEFT, RIGHT = [20, 20, 120, 200], [200, 20, 300, 200]
A, B = face(70, 40), face(250, 40)
LOOSE = [[0, 0, 180, 200], [160, 0, 340, 200]]  # reckoned from the faces


def test_one_look_for_the_word_gives_everybody_their_tight_mask():
    model = Model(low(RIGHT), low(LEFT))
    found = model.drawn(LOOSE, [A, B])
    assert model.words == ["person"] and not model.asked, "nobody has to be asked for by a box"
    assert (found[0].logits == low(LEFT)).all() and (found[1].logits == low(RIGHT)).all()
    assert found[0].box.tolist() == LEFT and found[0].score == pytest.approx(0.8)


def test_boxes_without_a_face_are_asked_as_they_are_and_no_word_is_looked_for():
    model = Model(low(LEFT))
    found = model.drawn(LOOSE, None, [A])
    assert not model.words and model.passes == [1, 1] and len(found) == 2
    assert model.asked[0][:3] == (LOOSE[0], [[70, 40]], [False])
    assert model.drawn([], None) == []


@pytest.mark.parametrize("kind", ["box+points", "box"])
def test_the_other_kinds_of_prompts_are_asked_as_before(kind):
    model = Model(low(LEFT), low(RIGHT))
    model.drawn(LOOSE, [A, B], kind=kind)
    assert not model.words and model.passes == [2] and all(logits is None for *_, logits in model.asked)
    assert [len(points) for _, points, *_ in model.asked] == ([2, 2] if kind == "box+points" else [0, 0])


# ---- whose instance


def test_faces_go_to_instances_one_to_one_and_as_many_as_can():
    """B's face is in both masks; A's in the first alone: the first is A's, whatever B's is worth there."""
    a, b = face(100, 80), face(100, 50)
    both, second = low([60, 40, 160, 200]), low([80, 30, 160, 130])
    assert assigned([b, a], np.stack([both, second]), SHAPE) == [1, 0]
    assert assigned([a, b], np.stack([second, both]), SHAPE) == [1, 0]


def test_an_instance_belongs_to_the_face_in_its_upper_part():
    whole = low([20, 20, 120, 200])
    assert assigned([face(70, 180)], whole[None], SHAPE) == [None], "a face at somebody's feet"
    assert assigned([face(70, 180), face(70, 40)], whole[None], SHAPE) == [None, 0]
    assert assigned([face(200, 40)], whole[None], SHAPE) == [None], "a face beside it"
    assert assigned([face(120, 40)], whole[None], SHAPE) == [0], "half of the face in it"
    assert assigned([face(124, 40)], whole[None], SHAPE) == [None], "less than half"
    close = low([0, 0, 400, 200])
    assert assigned([face(200, 110, 150)], close[None], SHAPE) == [0], (
        "of a close-up there is little more than the face"
    )
    assert assigned([], whole[None], SHAPE) == [] and assigned([A], np.zeros((0, 100, 200)), SHAPE) == [None]


def test_a_strangers_face_takes_their_own_instance():
    model = Model(low(LEFT))
    (one,) = model.drawn([LOOSE[1]], [B], [A])
    assert model.asked and one.box.tolist() != LEFT


def test_a_second_find_of_the_same_face_does_not_take_the_instance_away():
    model = Model(low(LEFT))
    (one,) = model.drawn([LOOSE[0]], [A], [face(71, 39, score=0.99)])
    assert not model.asked and one.box.tolist() == LEFT


def test_a_poster_or_a_doubtful_face_on_somebodys_chest_is_nobody_who_shares_the_mask():
    on_the_hat = face(70, 25, side=8, score=0.5)
    for other in (face(70, 90, side=5), face(70, 90, score=0.5), on_the_hat):
        model = Model(low(LEFT))
        model.drawn([LOOSE[0]], [A], [other])
        assert not model.asked
    model = Model(low(LEFT))
    model.drawn([LOOSE[0]], [A], [face(70, 90)])
    assert model.asked, "but a real one is"


# ---- who has none, or shares one


def test_a_face_without_an_instance_is_asked_for_by_the_reckoned_box_and_points():
    model = Model(low(RIGHT))
    found = model.drawn(LOOSE, [A, B])
    box, points, inside, logits = model.asked[0]
    assert box == LOOSE[0] and points == [[70, 40], [70, 72]] and inside == [True, True] and logits is None
    assert (found[1].logits == low(RIGHT)).all(), "B has her own"


def test_two_faces_in_one_instance_are_asked_for_by_its_box_each_with_the_other_as_not_hers():
    pair = [20, 20, 220, 200]
    a, b = face(70, 50), face(170, 50)
    model = Model(low(pair))
    found = model.drawn([[0, 0, 200, 200], [60, 0, 300, 200]], [a, b])
    assert len(found) == 2
    first, second = model.asked[:2]
    assert first[0] == second[0] == pair
    assert first[1:3] == ([[70, 50], [70, 82], [170, 50]], [True, True, False])
    assert second[1:3] == ([[170, 50], [170, 82], [70, 50]], [True, True, False])


def test_no_torso_is_pointed_at_that_is_nearer_to_another_face_and_eight_points_are_the_most():
    own = face(100, 40)
    crowd = [face(20 + 22 * i, 120, side=10) for i in range(9)]
    model = Model()
    model.drawn([[0, 0, 240, 200]], [own], [*crowd, face(120, 75)])
    _, points, inside, _ = model.asked[0]
    assert points[0] == [100, 40] and inside == [True] + [False] * 7 and [120, 75] in points


def test_points_on_others_that_make_the_model_less_sure_are_left_out_together():
    own, good, bad, worse = face(100, 40), face(150, 60), face(180, 60), face(210, 60)
    harm = {(180.0, 60.0): 0.1, (210.0, 60.0): 0.2, (150.0, 60.0): -0.1}

    def sure(box, points, inside, logits):
        if logits is not None:
            return 0.0  # the refined answer is not wanted here
        return 0.7 - sum(harm.get(tuple(p), 0) for p, on in zip(points, inside, strict=True) if not on)

    model = Model(sure=sure)
    (one,) = model.drawn([[0, 0, 240, 200]], [own], [good, bad, worse])
    assert one.score == pytest.approx(0.8)
    first = [prompt for prompt in model.asked if prompt[3] is None]
    assert len(first[0][1]) == 5, "all of them"
    assert first[-1][1] == [[100, 40], [100, 72], [150, 60]], "the one that helps stays"
    assert model.passes[:3] == [1, 3, 1], "each in turn is left out in one pass"


def test_points_that_help_stay_and_are_not_tried_again_together():
    model = Model(sure=lambda box, points, inside, logits: 0.5 + 0.05 * inside.count(False))
    model.drawn([[0, 0, 240, 200]], [face(100, 40)], [face(150, 60), face(180, 60)])
    assert model.passes == [1, 2, 1] and len(model.asked[-1][1]) == 4, "all, each left out, and refined with all"


def test_the_first_answer_is_refined_by_its_own_tight_box_and_logits():
    def answer(box, points, inside, logits):
        return 0.5 if logits is None else 0.6

    model = Model(sure=answer)
    real = model.decode

    def decode(boxes, points, inside, logits=None):  # the first answer is narrower than what was asked
        _, scores = real(boxes, points, inside, logits)
        return np.stack([low(LEFT if logits is None else [30, 30, 110, 200])] * len(boxes)), scores

    model.decode = decode
    (one,) = model.drawn([LOOSE[0]], [A])
    assert model.passes == [1, 1]
    box, points, inside, logits = model.asked[1]
    assert box == LEFT and points == model.asked[0][1] and inside == model.asked[0][2]
    assert (logits == low(LEFT)).all()
    assert one.score == 0.6 and (one.logits == low([30, 30, 110, 200])).all() and one.box.tolist() == LOOSE[0]


def test_a_refined_answer_that_the_model_is_less_sure_of_or_that_is_empty_does_not_count():
    model = Model(sure=lambda box, points, inside, logits: 0.5 if logits is None else 0.4)
    assert model.drawn([LOOSE[0]], [A])[0].score == 0.5
    model = Model(sure=lambda box, points, inside, logits: 0.5 if logits is None else 0.9)
    real = model.decode
    model.decode = lambda *given: (real(*given)[0] if len(given) < 4 else low()[None], real(*given)[1])
    (one,) = model.drawn([LOOSE[0]], [A])
    assert one.score == 0.5 and (one.logits > 0).any()
    model = Model()
    model.decode = lambda boxes, *_: (np.stack([low()] * len(boxes)), np.full(len(boxes), 0.3))
    assert model.drawn([LOOSE[0]], [A])[0].score == 0.3, "nothing was found: there is no box to refine by"


def test_a_model_without_points_is_asked_once_by_the_best_box_there_is():
    model = Model(low([20, 20, 220, 200]))
    model.drawn([*LOOSE, [300, 0, 400, 200]], [face(70, 50), face(170, 50), face(350, 40)], points=False)
    assert [box for box, *_ in model.asked] == [[20, 20, 220, 200]] * 2 + [[300, 0, 400, 200]]
    assert all(points == [] and logits is None for _, points, _, logits in model.asked)


def test_wrong_numbers_of_faces_and_empty_boxes_are_refused():
    with pytest.raises(InputError, match="a face"):
        Model().drawn(LOOSE, [A])
    with pytest.raises(InputError):
        Model().drawn([[500, 500, 600, 600]], [A])


# ---- both implementations


@pytest.fixture(params=["sam3_hf", "sam3_official"])
def sam3(request, monkeypatch):
    """Either adapter, in float32: random weights say so little that 16 bits would round it away."""
    engine = request.getfixturevalue(request.param)
    monkeypatch.setattr(engine, "prompts", "people")
    if hasattr(engine, "_precise"):
        monkeypatch.setattr(type(engine), "_precise", lambda self: contextlib.nullcontext())
    return engine


@pytest.fixture(scope="module")
def picture() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 255, (120, 160, 3), dtype=np.uint8)


FACES = [Face([25, 20, 45, 40], 0.9), Face([110, 20, 130, 40], 0.9), None]
BOXES = [[5, 5, 75, 115], [80, 5, 155, 115], [0, 0, 75, 110]]


def test_either_model_is_asked_for_the_word_once_a_picture(sam3, picture, monkeypatch):
    words = []
    real = sam3._instances
    monkeypatch.setattr(sam3, "_instances", lambda encoded, word, least: words.append(word) or real(encoded, word, 0.0))
    encoded = sam3.encode(picture)
    first = sam3.by_box(encoded, BOXES, FACES)
    again = sam3.by_box(encoded, BOXES, FACES)
    assert words == ["person"] and [s.mask.shape for s in first] == [(120, 160)] * 3
    assert all((a.mask == b.mask).all() for a, b in zip(first, again, strict=True))


def test_either_model_gives_a_face_the_instance_that_it_finds(sam3, picture, monkeypatch):
    side = sam3._ask(sam3.encode(picture), np.array([[0, 0, 9, 9]], np.float32), np.zeros((1, 0, 2)), np.zeros((1, 0)))
    logits = np.full((2, *side[0].shape[1:]), -6, np.float32)
    edge = logits.shape[-1]
    logits[0, :, : edge // 2], logits[1, :, edge // 2 :] = 6, 6
    monkeypatch.setattr(sam3, "_instances", lambda *_: (logits, np.array([0.9, 0.8])))
    left, right, _ = sam3.by_box(sam3.encode(picture), BOXES, FACES)
    assert left.mask[:, :79].all() and not left.mask[:, 81:].any() and left.score == pytest.approx(0.9)
    assert right.mask[:, 81:].all() and not right.mask[:, :79].any()


def test_either_model_takes_first_answers_in_with_each_prompt_its_own(sam3, picture):
    encoded = sam3.encode(picture)
    boxes = np.array([[5, 5, 75, 115], [80, 5, 155, 115]], np.float32)
    points, inside = np.array([[[35, 30]], [[120, 30]]], np.float32), np.ones((2, 1), bool)
    first, _ = sam3._ask(encoded, boxes, points, inside)
    given = np.full(first.shape, -100, np.float32)
    given[0, :, : given.shape[-1] // 2], given[1, : given.shape[-2] // 2] = 100, 100
    refined, scores = sam3._ask(encoded, boxes, points, inside, given)
    assert refined.shape == first.shape and scores.shape == (2,) and refined.dtype == np.float32
    assert np.abs(refined - first).max() > 0.01 * first.std(), "they are heard"
    noise = 0.0
    for i in range(2):
        (alone,), _ = sam3._ask(encoded, boxes[i : i + 1], points[i : i + 1], inside[i : i + 1], given[i : i + 1])
        noise = max(noise, float(np.abs(alone - refined[i]).max()))
    swapped, _ = sam3._ask(encoded, boxes, points, inside, given[::-1].copy())
    assert noise < 1e-4 * first.std()
    assert np.abs(swapped - refined).max() > 10 * noise


def test_people_and_who_shares_their_instance_are_asked_in_few_passes(sam3, picture, monkeypatch):
    monkeypatch.setattr(sam3, "_instances", lambda *_: (np.full((1, 32, 32), 6, np.float32), np.array([0.9])))
    passes = []
    real = sam3._ask
    monkeypatch.setattr(sam3, "_ask", lambda *given: passes.append(len(given)) or real(*given))
    segments = sam3.by_box(sam3.encode(picture), BOXES[:2], FACES[:2])
    assert [s.mask.shape for s in segments] == [(120, 160)] * 2
    assert passes[:3] == [4, 4, 5] and len(passes) <= 4, "with all points, with each left out, and refined"


def test_the_light_model_draws_people_by_the_word_too(torch, tmp_path, picture, monkeypatch):
    import tiny_sam3

    from identity_segmentation.engines.sam3_hf import Sam3HF

    engine = Sam3HF(str(tiny_sam3.build_lite(tmp_path / "lite")), device="cpu")
    monkeypatch.setattr(engine, "_instances", lambda *_: (np.full((1, 32, 32), 6, np.float32), np.array([0.9])))
    enlarged = []
    real = _sam3.to_segment
    monkeypatch.setattr(_sam3, "to_segment", lambda *given: enlarged.append(1) or real(*given))
    one, two = engine.by_box(engine.encode(picture), BOXES[:2], [FACES[0], None])
    assert one.mask.all() and one.score == pytest.approx(0.9) and two.mask.shape == (120, 160)
    assert len(enlarged) == 2, "one mask for each box, not one for each query"


def test_the_light_models_example_is_the_query_whose_own_box_fits_best(torch, tmp_path, picture):
    import tiny_sam3

    from identity_segmentation.engines.sam3_hf import Sam3HF
    from identity_segmentation.geometry import box_iou

    engine = Sam3HF(str(tiny_sam3.build_lite(tmp_path / "lite")), device="cpu", prompts="box")
    encoded = engine.encode(picture)
    box = np.array([10, 5, 140, 110], np.float32)
    real, seen = engine._detected, []
    engine._detected = lambda *given, **named: seen.append(real(*given, **named)) or seen[-1]
    mask, score = engine._by_example(encoded, box)
    out, scores = seen[0]
    fits = box_iou(box[None], out.pred_boxes[0].float().numpy() * np.array([160, 120, 160, 120]))[0]
    assert (mask == out.pred_masks[0, fits.argmax()].numpy()).all() and score == pytest.approx(
        float(scores[fits.argmax()])
    )


def test_prompts_are_chosen_by_name(sam3):
    assert _sam3.PROMPTS == ("people", "box+points", "box")
    assert "by word" in sam3.describe()
    assert all(_sam3.checked_kind(kind) == kind for kind in _sam3.PROMPTS)
    assert _sam3_people.WORD == "person"

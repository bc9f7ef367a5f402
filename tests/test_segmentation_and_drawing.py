"""Whose pixel is whose, and the pictures made of it: each pixel one person's, no halo, no boxes for letters."""

from __future__ import annotations

import logging

import cv2
import numpy as np
import pytest
from fakes import BACKGROUND, PEOPLE, SIDE, FakeMasks, draw

from identity_segmentation import annotate, cutout, overlay, segment_by_box, segment_matches
from identity_segmentation import drawing as drawing_module
from identity_segmentation import fonts as fonts_module
from identity_segmentation.errors import InputError
from identity_segmentation.geometry import soft_alpha
from identity_segmentation.masks.segmentation import separate
from identity_segmentation.types import Face, Human, Match, Segment, Sighting

ADA, BO = PEOPLE["Ada"], PEOPLE["Bo"]


def match(x, y, name):
    half = SIDE / 2
    return Match(
        Face([x - half, y - half, x + half, y + half], 0.9), name, 0.9, 0.3, "Zoe", name, "face" if name else "none"
    )


def segment(mask, alpha=None):
    return Segment(mask, 0.9, [0, 0, 10, 10], "fake", alpha)


def disc(shape, x, y, r):
    canvas = np.zeros(shape, np.uint8)
    cv2.circle(canvas, (x, y), r, 1, -1)
    return canvas > 0


# ---- masks


def test_one_encode_serves_everyone_in_the_picture(fake_masks):
    image = draw((ADA, 80, 60), (BO, 220, 60))
    sightings = segment_matches(image, [match(80, 60, "Ada"), match(220, 60, "Bo")], fake_masks)
    assert fake_masks.encodes == 1 and fake_masks.prompts == 2
    assert [s.name for s in sightings] == ["Ada", "Bo"]
    assert (image[sightings[0].segment.mask] == ADA).all() and (image[sightings[1].segment.mask] == BO).all()


def test_only_those_asked_for_are_drawn_and_strangers_never(fake_masks):
    matches = [match(80, 60, "Ada"), match(220, 60, None)]
    sightings = segment_matches(draw((ADA, 80, 60), (BO, 220, 60)), matches, fake_masks, ["Ada"])
    assert sightings[0].segment.area > 0 and sightings[1].segment is None
    assert all(s.segment is None for s in segment_matches(draw(), matches, fake_masks, []))


def test_nothing_to_draw_needs_no_encode(fake_masks):
    segment_matches(draw((ADA, 80, 60)), [match(80, 60, None)], fake_masks)
    assert fake_masks.encodes == 0


class GreedyMasks(FakeMasks):
    """Claims its whole box, as an engine does that cannot tell neighbours apart."""

    def by_box(self, encoded, boxes, faces=None, others=()):
        segments = []
        for x0, y0, x1, y1 in np.asarray(boxes, int):
            mask = np.zeros(encoded.shape[:2], bool)
            mask[y0:y1, x0:x1] = True
            segments.append(Segment(mask, 0.9, [x0, y0, x1, y1], self.id))
        return segments


def test_a_strangers_pixels_stay_out_even_if_the_engine_knows_no_neighbours():
    image = draw((ADA, 130, 60), (BO, 180, 60))
    sightings = segment_matches(image, [match(130, 60, "Ada"), match(180, 60, None)], GreedyMasks(), ["Ada"])
    mask = sightings[0].segment.mask
    assert mask[60, 125] and not mask[60, 185], "the stranger's face is not Ada's"


def test_contested_pixels_go_to_the_stronger_claim():
    left, right = np.zeros((20, 40), bool), np.zeros((20, 40), bool)
    left[:, :25], right[:, 15:] = True, True
    strong, weak = np.where(left, 255, 0).astype(np.uint8), np.where(right, 140, 0).astype(np.uint8)
    faces = [Face([5, 5, 9, 9], 1), Face([30, 5, 34, 9], 1)]
    a, b = separate([segment(left, strong), segment(right, weak)], [Human(f, None, 1) for f in faces])
    assert not (a.mask & b.mask).any() and (a.mask == left).all()
    assert b.alpha[:, 15:25].max() == 0 and b.box.tolist() == [25, 0, 40, 20]


def test_contested_pixels_of_hard_masks_go_to_the_nearer_face():
    both = np.ones((20, 40), bool)
    a, b = separate(
        [segment(both), segment(both)],
        [Human(Face([2, 8, 6, 12], 1), None, 1), Human(Face([34, 8, 38, 12], 1), None, 1)],
    )
    assert a.mask[10, 5] and b.mask[10, 35] and (a.mask ^ b.mask).all()


def test_masks_that_do_not_meet_are_left_alone():
    one = segment(disc((20, 40), 5, 5, 3))
    assert separate([one], [Human(Face([2, 2, 6, 6], 1), None, 1)])[0] is one
    assert separate([], []) == []


def test_a_box_with_no_area_or_outside_is_refused(fake_masks):
    image = draw((ADA, 80, 60))
    for box, reason in (([10, 10, 10, 40], "x1 > x0"), ([500, 10, 600, 40], "covers part"), ("x", "expected a box")):
        with pytest.raises(InputError, match=reason):
            segment_by_box(image, box, fake_masks)
    assert segment_by_box(image, [-20, -20, 400, 400], fake_masks).mask.shape == image.shape[:2]


# ---- pictures


@pytest.fixture
def scene():
    image = np.full((120, 200, 3), 90, np.uint8)
    image[:, :, 0] = np.linspace(0, 255, 200).astype(np.uint8)[None]
    mask = disc((120, 200), 70, 60, 30)
    alpha = (np.clip(1 - (np.hypot(*np.mgrid[-60:60, -70:130]) - 28) / 6, 0, 1) * 255).astype(np.uint8)
    sighting = Sighting(match(70, 50, "장원영"), segment(mask, alpha), None, "face")
    return image, sighting


def test_drawing_changes_nothing_it_was_given(scene):
    image, sighting = scene
    before = image.copy()
    for picture in (annotate(image, [sighting]), overlay(image, [sighting]), cutout(image, sighting.segment)):
        assert picture.shape[:2] == image.shape[:2] and picture.dtype == np.uint8
    assert (image == before).all()


def test_an_overlay_tints_the_person_and_nothing_else(scene):
    image, sighting = scene
    tinted = overlay(image, [sighting], lambda name: (0, 0, 255))
    outside = ~cv2.dilate((sighting.segment.alpha > 0).astype(np.uint8), np.ones((5, 5))).astype(bool)
    assert (tinted[outside] == image[outside]).all()
    assert tinted[60, 70, 2] > image[60, 70, 2] + 50
    assert (overlay(image, []) == image).all()


def test_a_cutout_is_clear_outside_opaque_inside_and_soft_between(scene):
    image, sighting = scene
    picture = cutout(image, sighting.segment)
    assert picture.shape == (120, 200, 4)
    assert picture[60, 70, 3] == 255 and picture[5, 190, 3] == 0
    assert ((picture[..., 3] > 20) & (picture[..., 3] < 235)).sum() > 100
    assert (picture[60, 70, :3] == image[60, 70]).all()


def test_a_cutouts_rim_has_the_persons_colour_not_the_backgrounds():
    green = np.full((100, 100, 3), (0, 255, 0), np.uint8)
    alpha = (np.clip(1 - (np.hypot(*np.mgrid[-50:50, -50:50]) - 25) / 8, 0, 1) * 255).astype(np.uint8)
    share = alpha[..., None] / 255.0
    image = (np.array([200, 30, 220]) * share + green * (1 - share)).astype(np.uint8)
    picture = cutout(image, segment(alpha > 127, alpha))
    rim = (alpha > 30) & (alpha < 150)
    assert image[rim][:, 1].mean() > 150, "the mixed picture is greenish there"
    assert picture[rim][:, 1].mean() < 75, "and the cutout is not"


def test_a_tight_crop_holds_the_person_and_little_else(scene):
    image, sighting = scene
    picture = cutout(image, sighting.segment, crop=True)
    assert picture.shape[0] < 90 and picture.shape[1] < 90 and picture[..., 3].max() == 255


def test_a_cutout_of_nobody_is_fully_transparent():
    assert cutout(draw(), None).max() == 0
    assert cutout(draw(), segment(np.zeros((240, 320), bool))).max() == 0


def test_a_hard_mask_gets_a_feathered_edge():
    alpha = soft_alpha(segment(disc((50, 50), 25, 25, 12)))
    assert ((alpha > 0) & (alpha < 255)).any() and alpha[25, 25] == 255


def test_faces_at_the_border_and_outside_are_drawn_without_complaint():
    image = draw()
    for x, y in ((-5, 3), (318, 238), (160, -8)):
        assert annotate(image, [Sighting(match(x, y, "Ada"))]).shape == image.shape


def test_names_in_three_scripts_are_drawn_not_boxes():
    if fonts_module.missing_scripts():
        pytest.skip(f"no font for {fonts_module.missing_scripts()} here; {fonts_module.FONT_HINT}")
    plain = np.full((80, 400, 3), 255, np.uint8)

    def label(text):
        return drawing_module.draw_labels(plain, [(np.array([20, 50, 60, 70]), text, (0, 0, 0))])

    # Missing glyphs all look alike, so different texts of one length would give the same picture.
    for one, other in (("장원영", "안유진"), ("วอนยอง", "ยูจินนน"), ("레이", "가을"), ("直井", "怜怜")):
        assert (label(one) != label(other)).any(), (one, other)


def test_a_missing_font_is_said_once_with_the_remedy(monkeypatch, caplog):
    monkeypatch.setattr(fonts_module, "font_files", lambda: ())
    fonts_module._font.cache_clear()
    with caplog.at_level(logging.WARNING):
        drawing_module.draw_labels(draw(), [(np.array([20, 50, 60, 70]), "장원영", (0, 0, 0))])
        drawing_module.draw_labels(draw(), [(np.array([20, 50, 60, 70]), "가을", (0, 0, 0))])
    fonts_module._font.cache_clear()
    assert caplog.text.count("no font for hangul") == 1 and "fonts-noto-cjk" in caplog.text


def test_labels_keep_inside_the_picture_and_off_one_another():
    image = np.zeros((300, 400, 3), np.uint8)
    tags = [(np.array([x, 100, x + 30, 130]), "somebody 0.90", (255, 255, 255)) for x in (10, 50, 90)]
    plates = (drawing_module.draw_labels(image, tags) > 0).any(-1)
    alone = [(drawing_module.draw_labels(image, [t]) > 0).any(-1).sum() for t in tags]
    assert plates.sum() > 0.95 * sum(alone), "a covered plate would be missing"


def test_strangers_are_grey_and_group_names_are_marked():
    assert drawing_module._label(match(1, 1, None)) == "unknown"
    group = Match(Face([0, 0, 9, 9], 1), "Liz", 0.71, 0.0, "Rei", "Liz", "group")
    assert drawing_module._label(group) == "Liz (0.71, group)"
    picture = annotate(draw(), [Sighting(match(160, 120, None))], labels=False)
    assert (picture == drawing_module.STRANGER_BGR).all(-1).any()
    assert BACKGROUND != drawing_module.STRANGER_BGR

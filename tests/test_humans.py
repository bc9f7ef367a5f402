"""People whose face is not seen: bodies, which face is on which, masks of backs, and nobody named by mistake."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from fakes import PEOPLE, FakeMasks, draw

from identity_segmentation.errors import EngineUnavailable, InputError
from identity_segmentation.geometry import box_iou, mask_box, mask_iou
from identity_segmentation.masks.humans import find_humans, paired
from identity_segmentation.masks.instances import everyone
from identity_segmentation.masks.segmentation import segment_humans
from identity_segmentation.pipeline import IdentityAwareSegmentation
from identity_segmentation.types import Detection, Face, Human, Segment

SHAPE = (480, 640)


class FakeBodies:
    """Bodies where it was told."""

    id = "fake-bodies"
    nouns = ("person", "handbag")

    def __init__(self, *boxes, score: float = 0.9, things=()):
        self.boxes, self.score, self.things = boxes, score, things

    def describe(self) -> str:
        return "fake bodies"

    def detect(self, image_bgr, nouns=("person",), tiles=True, least=0.35):
        found = [Detection(box, self.score, "person") for box in self.boxes if "person" in nouns]
        return found + [Detection(box, self.score, noun) for box, noun in self.things if noun in nouns]


def face(x: float, y: float, side: float = 40) -> Face:
    return Face([x - side / 2, y - side / 2, x + side / 2, y + side / 2], 0.9)


def bodies(*boxes, score: float = 0.9) -> list[Detection]:
    return [Detection(box, score, "person") for box in boxes]


# ---- which face is on which body


def test_a_head_at_the_top_middle_is_on_its_body():
    left, right = face(150, 80), face(400, 90)
    humans = paired([left, right], bodies((340, 50, 460, 450), (90, 40, 210, 440)), SHAPE)
    assert [h.face for h in humans] == [left, right]
    assert humans[0].body[0] == 90 and humans[1].body[0] == 340


def test_a_body_without_a_face_is_a_human_of_its_own_after_those_with_one():
    humans = paired([face(150, 80)], bodies((90, 40, 210, 440), (400, 60, 520, 460)), SHAPE)
    assert len(humans) == 2
    assert humans[1].face is None and humans[1].body[0] == 400


def test_a_face_in_front_of_somebody_elses_belly_is_not_on_that_body():
    humans = paired([face(300, 300)], bodies((200, 40, 400, 470)), SHAPE)
    assert humans[0].body is None and len(humans) == 2


def test_a_face_beside_a_body_is_not_on_it():
    """Somebody's back, and at its side the face of the one who is looked at."""
    humans = paired([face(430, 100)], bodies((200, 40, 450, 470)), SHAPE)
    assert humans[0].body is None and humans[1].face is None


def test_two_heads_that_fit_one_body_alike_stay_without_it():
    humans = paired([face(270, 85), face(330, 85)], bodies((220, 40, 380, 470)), SHAPE)
    assert [h.body for h in humans] == [None, None]  # and nobody is made up out of the box either


def test_the_one_whose_own_body_is_there_leaves_the_other_one_alone():
    """A head looks over a shoulder: both lie in the body in front, and the one behind has a body of their own."""
    front, behind = face(300, 90), face(350, 70)
    humans = paired([front, behind], bodies((220, 50, 380, 470), (300, 40, 410, 470)), SHAPE)
    assert humans[0].body[0] == 220 and humans[1].body[0] == 300


def test_a_body_found_twice_is_one_human():
    humans = paired([face(300, 90)], [*bodies((220, 50, 380, 470)), *bodies((200, 60, 350, 475), score=0.4)], SHAPE)
    assert len(humans) == 1 and humans[0].body[0] == 220


def test_nobody_and_nothing_is_an_empty_list():
    assert paired([], [], SHAPE) == []
    assert len(paired([face(100, 100)], [], SHAPE)) == 1


def test_a_human_is_a_face_a_body_or_both():
    with pytest.raises(InputError, match="a face, a body"):
        Human(None, None, 0.5)


# ---- the detector


def test_every_person_at_a_table_is_found_with_their_face(group, embedded_faces, embedded_objects):
    faces = embedded_faces.faces(group, embed=False)
    humans = find_humans(group, faces, embedded_objects)
    assert sum(h.face is not None and h.body is not None for h in humans) >= 5
    for human in humans:
        if human.face is not None and human.body is not None:
            x, y = human.face.centre
            assert human.body[0] < x < human.body[2] and human.body[1] < y < human.body[3]


def test_nouns_are_found_and_others_are_not(cat, astronaut, embedded_objects):
    (found,) = embedded_objects.detect(cat, ("cat",))
    assert found.noun == "cat" and found.score > 0.5
    assert embedded_objects.detect(cat, ("cow", "airplane")) == []
    assert {d.noun for d in embedded_objects.detect(astronaut, ("person", "cat"))} == {"person"}


@pytest.mark.parametrize("shape", [(1, 1), (7, 300), (300, 7), (480, 640)])
def test_a_picture_of_nothing_has_nothing_in_it(shape, embedded_objects):
    assert embedded_objects.detect(np.full((*shape, 3), 90, np.uint8), ("person", "cow")) == []


def test_a_noun_that_is_not_known_is_said_with_the_list(cat, embedded_objects):
    with pytest.raises(EngineUnavailable, match=r"'unicorn'.*cow.*toothbrush"):
        embedded_objects.detect(cat, ("unicorn",))


def test_boxes_lie_within_the_picture_whatever_its_size(group, embedded_objects):
    for factor in (0.2, 1.0):
        image = cv2.resize(group, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)
        for d in embedded_objects.detect(image):
            assert (d.box >= 0).all() and (d.box <= np.tile(image.shape[1::-1], 2)).all()


# ---- masks


def _hidden(image: np.ndarray, faces) -> np.ndarray:
    """A picture with plain skin where the faces were."""
    result = image.copy()
    for f in faces:
        x, y = (int(v) for v in f.centre)
        axes = (int(0.62 * f.side), int(0.75 * f.side))
        cv2.ellipse(result, (x, y), axes, 0, 0, 360, (40, 40, 40), -1)
    return result


def test_people_are_found_whose_faces_are_not_seen(group, embedded_faces, embedded_masks, embedded_objects):
    image = _hidden(group, embedded_faces.faces(group, embed=False))
    assert len(embedded_faces.faces(image, embed=False)) <= 1
    assert len(everyone(image, embedded_masks, embedded_faces, embedded_objects)) >= 4


def test_a_mask_from_a_box_forgives_a_box_that_is_not_tight(astronaut, embedded_masks):
    encoded = embedded_masks.encode(astronaut)
    box = np.array([15, 5, 490, 512], np.float32)
    tight = embedded_masks.by_box(encoded, [box])[0].mask
    size = np.tile(box[2:] - box[:2], 2) * (-1, -1, 1, 1) * 0.04
    for change in (size, -size):
        loose = embedded_masks.by_box(encoded, [(box + change).clip(0, 512)])[0].mask
        assert mask_iou(loose, tight) > 0.93


def test_who_stands_on_their_head_is_drawn_like_who_stands(data, embedded_masks):
    from identity_segmentation import read_image

    image = read_image(next((data / "parsing/ccp/photos").glob("*.jpg")))
    first = embedded_masks.by_box(embedded_masks.encode(image), [(0, 0, image.shape[1], image.shape[0])])[0]
    upright = embedded_masks.by_box(embedded_masks.encode(image), [first.box])[0].mask
    height, width = upright.shape
    x0, y0, x1, y1 = (float(v) for v in mask_box(upright))
    for turns, box in ((2, (width - x1, height - y1, width - x0, height - y0)), (1, (y0, width - x1, y1, width - x0))):
        turned = np.ascontiguousarray(np.rot90(image, turns))
        mask = embedded_masks.by_box(embedded_masks.encode(turned), [box])[0].mask
        assert mask_iou(np.rot90(mask, -turns), upright) > 0.75


def test_two_who_overlap_share_no_pixel_and_keep_their_own(fake_masks):
    image = draw((PEOPLE["Ada"], 100, 60), (PEOPLE["Bo"], 130, 70))
    humans = [Human(None, np.array(b, np.float32), 0.9) for b in ((70, 40, 130, 190), (100, 50, 160, 200))]
    drawn = segment_humans(image, humans, [0, 1], fake_masks)
    assert not (drawn[0].mask & drawn[1].mask).any()


def test_pixels_that_two_bodies_claim_go_to_the_colours_they_are_of():
    from identity_segmentation.engines._rivals import Drawn, claims_on, colour_bins, settled
    from identity_segmentation.engines._silhouettes import Head, log_odds

    image = np.full((240, 320, 3), 128, np.uint8)
    image[60:230, 90:150] = (30, 30, 200)  # one person, in red
    image[60:230, 150:210] = (200, 60, 30)  # the other, in blue
    bodies = []
    for x0, x1 in ((90, 172), (128, 210)):  # each was drawn a good way into the other
        body = np.zeros((240, 320), np.float32)
        body[60:230, x0:x1] = 0.97
        bodies.append(body)
    heads = [Head(120, 50, 30), Head(180, 50, 30)]
    bins = colour_bins(image)
    for me, other, own in ((0, 1, (90, 150)), (1, 0, (150, 210))):
        drawn = [Drawn.below(head, body) for head, body in zip(heads, bodies, strict=True)]
        claims = claims_on(drawn[me], [drawn[other]], bins)
        mine = settled(log_odds(bodies[me]), claims, heads[me]) > 0
        wanted = np.zeros_like(mine)
        wanted[80:230, own[0] : own[1]] = True
        assert mask_iou(mine[80:], wanted[80:]) > 0.93


class Weak(FakeMasks):
    """Sees nothing under a face, and the whole of a box."""

    uses_neighbours = True

    def by_box(self, encoded, boxes, faces=None, others=()):
        drawn = super().by_box(encoded, boxes, faces, others)
        for i, box in enumerate(boxes):
            mask = np.zeros(encoded.shape[:2], bool)
            x0, y0, x1, y1 = (int(v) for v in box)
            known = faces is not None and faces[i] is not None
            mask[y0:y1, x0:x1] = not known
            drawn[i] = Segment(mask, 0.3 if known else 0.9, box, self.id)
        return drawn


def test_a_mask_that_a_face_gives_nothing_for_is_drawn_from_the_bodys_box():
    image = draw((PEOPLE["Ada"], 100, 60))
    human = Human(face(100, 60, 24), np.array((70, 40, 130, 190), np.float32), 0.9)
    assert segment_humans(image, [human], [0], Weak())[0].area == 60 * 150
    far = Human(face(100, 60, 24), np.array((170, 40, 230, 190), np.float32), 0.9)  # not a box that holds the face
    assert not segment_humans(image, [far], [0], Weak())[0].area


# ---- edges


def test_a_person_is_not_glass(group, embedded_faces, embedded_masks):
    """Where the nets are half sure, far from the edge, the cutout was half transparent."""
    faces = embedded_faces.faces(group, embed=False)
    drawn = segment_humans(group, [Human(f, None, 0.9) for f in faces], range(len(faces)), embedded_masks)
    for segment in drawn.values():
        _, y0, _, y1 = segment.box
        deep = cv2.distanceTransform(segment.mask.astype(np.uint8), cv2.DIST_L2, 3) > 0.03 * (y1 - y0)
        assert deep.any() and (segment.alpha[deep] >= 250).mean() > 0.97  # what a neighbour claims is cut hard


def test_fine_edges_move_only_the_rim_and_leave_alone_what_they_do_not_see(astronaut, embedded_masks):
    from identity_segmentation.engines import fine_edges

    edges = fine_edges()
    segment = embedded_masks.by_box(embedded_masks.encode(astronaut), [(15, 5, 490, 512)])[0]
    fine = edges.refine(astronaut, segment)
    assert fine is not segment and mask_iou(fine.mask, segment.mask) > 0.9
    inside = cv2.erode(segment.mask.astype(np.uint8), np.ones((75, 75), np.uint8), borderValue=1) > 0
    assert fine.mask[inside].all() and (fine.alpha[inside] == 255).all()
    assert (fine.mask == (fine.alpha > 127)).mean() > 0.999
    corner = np.zeros_like(segment.mask)
    corner[400:500, 5:60] = True
    elsewhere = Segment(corner, 0.9, (5, 400, 60, 500), "x")
    assert edges.refine(astronaut, elsewhere) is elsewhere
    nothing = Segment(np.zeros_like(corner), 0.0, (0, 0, 9, 9), "x")
    assert edges.refine(astronaut, nothing) is nothing


def _pipeline(fake_faces, masks, **options) -> IdentityAwareSegmentation:
    from identity_segmentation.people.gallery import Gallery

    pipeline = IdentityAwareSegmentation(fake_faces, masks, Gallery.empty(fake_faces), **options)
    return pipeline


def test_edges_are_one_of_three_words(fake_faces, fake_masks):
    with pytest.raises(InputError, match="auto, fine, fast"):
        _pipeline(fake_faces, fake_masks, edges="sharp")


# ---- identify


def test_a_back_is_unknown_and_never_named(fake_faces, fake_masks, tmp_path):
    from identity_segmentation.images import write_image

    photo = write_image(tmp_path / "ada.png", draw((PEOPLE["Ada"], 160, 60)))
    back = (230, 40, 290, 200)
    pipeline = _pipeline(fake_faces, fake_masks, detector=FakeBodies((70, 40, 130, 200), back))
    pipeline.use_gallery(pipeline.gallery)
    from identity_segmentation.people.adding import add_photos

    gallery, _ = add_photos(pipeline.gallery, fake_faces, "Ada", [photo])
    pipeline.use_gallery(gallery)
    image = draw((PEOPLE["Ada"], 100, 60))
    cv2.rectangle(image, back[:2], back[2:], PEOPLE["Ada"], -1)  # in Ada's colours, but without a face
    everybody = pipeline.everybody(image)
    assert [s.name for s in everybody] == ["Ada", None]
    assert everybody[1].match is None and box_iou(everybody[1].body, back)[0, 0] == 1
    look = pipeline.look(image)
    assert look.of("Ada").segment.area and look.sightings[1].segment is None


def test_without_a_detector_auto_goes_on_with_faces_and_a_named_one_does_not(fake_faces, fake_masks, monkeypatch):
    from identity_segmentation import engines

    def missing(*_):
        raise EngineUnavailable("no net; fetch it with: idseg fetch-nets")

    monkeypatch.setattr(engines, "object_detector", missing)
    image = draw((PEOPLE["Ada"], 100, 60))
    assert len(_pipeline(fake_faces, fake_masks).everybody(image)) == 1
    with pytest.raises(EngineUnavailable, match="fetch-nets"):
        _pipeline(fake_faces, fake_masks, detector="embedded").everybody(image)


# ---- what a review found


def test_fine_edges_gain_nothing_where_others_are(astronaut, embedded_masks):
    from identity_segmentation.engines import fine_edges

    segment = embedded_masks.by_box(embedded_masks.encode(astronaut), [(15, 5, 490, 512)])[0]
    free = fine_edges().refine(astronaut, segment)
    gained = free.mask & ~segment.mask
    assert gained.any()
    bound = fine_edges().refine(astronaut, segment, ~segment.mask)
    assert not (bound.mask & ~segment.mask).any() and not bound.alpha[~segment.mask].any()


def test_people_with_fine_edges_share_no_pixel(group, embedded_faces, embedded_masks, embedded_objects, tmp_path):
    from identity_segmentation.images import write_image
    from identity_segmentation.people.adding import add_photos
    from identity_segmentation.people.gallery import Gallery

    gallery = Gallery.empty(embedded_faces)
    faces = sorted(embedded_faces.faces(group), key=lambda f: f.centre[0])
    for number, f in enumerate(faces[:3]):
        from identity_segmentation.demo import portrait

        photo = write_image(tmp_path / f"{number}.png", portrait(group, f))
        gallery, _ = add_photos(gallery, embedded_faces, f"P{number}", [photo])
    pipeline = IdentityAwareSegmentation(
        embedded_faces, embedded_masks, gallery, threshold=0.3, margin=0.0, detector=embedded_objects, edges="fine"
    )
    drawn = [s.segment.mask for s in pipeline.look(group).sightings if s.segment is not None]
    assert len(drawn) >= 2
    assert np.sum(drawn, axis=0, dtype=int).max() == 1


def test_without_a_detector_people_are_still_cut_out_by_their_faces(group, embedded_masks, embedded_faces):
    from identity_segmentation.masks.instances import every

    found = every(group, "person", embedded_masks, lambda: embedded_faces, lambda: None)
    assert len(found.segments) == 6


def test_a_thin_strip_is_not_looked_at_in_a_thousand_tiles():
    from identity_segmentation.engines.embedded_objects import _tiles

    assert _tiles(1, 5000) == [] and len(_tiles(100, 10_000)) <= 16
    tiles = _tiles(288, 640)
    assert len(tiles) == 3 and tiles[0][0] == 0 and tiles[-1][2] == 640


def test_a_face_beyond_the_border_is_no_error():
    far = Face([760, 100, 800, 140], 0.9)
    assert len(paired([far], bodies((100, 40, 200, 440)), SHAPE)) == 2


def test_a_mask_of_a_few_pixels_has_no_shoes(embedded_masks):
    image = np.full((900, 900, 3), 120, np.uint8)
    mask = np.zeros((900, 900), bool)
    mask[450:453, 450:453] = True
    nearly_nobody = Segment(mask, 0.2, (450, 450, 453, 453), "x")
    big = Face([100, 100, 800, 800], 0.9)
    for word in ("shoes", "trousers", "hair"):
        assert embedded_masks.by_part(embedded_masks.encode(image), nearly_nobody, big, word).area <= 9

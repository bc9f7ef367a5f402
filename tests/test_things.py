"""Things by their nouns: cut out of pictures, owned, followed through videos; and what is shown only as a proposal."""

from __future__ import annotations

import json

import cv2
import numpy as np
import pytest
from fakes import PEOPLE, FakeFaces, draw
from test_humans import FakeBodies

from identity_segmentation.cli.command import main
from identity_segmentation.errors import EngineUnavailable
from identity_segmentation.geometry import mask_box, mask_iou
from identity_segmentation.images import write_image
from identity_segmentation.masks.instances import every, one_owner
from identity_segmentation.masks.possession import thing_of
from identity_segmentation.types import Face, Segment
from identity_segmentation.video.box_tracks import BoxTracks


def run(capsys, *words) -> tuple[int, str, str]:
    code = main([str(w) for w in words])
    out, err = capsys.readouterr()
    return code, out, err


# ---- pictures


@pytest.mark.parametrize("word", ["cat", "cats", "고양이", "แมว"])
def test_a_noun_in_three_languages_is_cut_out_on_a_bare_machine(word, cat, tmp_path, capsys):
    photo = write_image(tmp_path / "photo.png", cat)
    code, out, _ = run(
        capsys, "segment", photo, word, "--segmenter", "embedded", "--face-engine", "embedded",
        "--gallery", tmp_path / "none", "--out", tmp_path / "out", "--json",
    )  # fmt: skip
    (record,) = json.loads(out)
    assert code == 0 and record["status"] == "ok" and record["instances"] == 1
    assert record["thing"] == "cat" and record["mask_area"] > 0.15 * cat.shape[0] * cat.shape[1]


def test_a_thing_that_is_not_there_is_a_status(cat, embedded_masks, embedded_faces, embedded_objects):
    found = every(cat, "cow", embedded_masks, lambda: embedded_faces, lambda: embedded_objects)
    assert found.segments == ()


def test_a_word_that_nobody_knows_says_what_is_known(cat, embedded_masks, embedded_faces, embedded_objects):
    with pytest.raises(EngineUnavailable, match=r"'unicorn'.*hair.*cow.*sam3-hf"):
        every(cat, "unicorn", embedded_masks, lambda: embedded_faces, lambda: embedded_objects)


def test_a_word_means_the_noun_that_looks_the_same():
    from identity_segmentation.engines import noun_named

    assert noun_named("bag") == "handbag" and noun_named("Phone") == "cell phone" and noun_named("cow") == "cow"
    assert noun_named("doll") is None and noun_named("shirt") is None


def test_of_two_things_in_one_place_each_keeps_its_middle():
    masks = [np.zeros((40, 80), bool), np.zeros((40, 80), bool)]
    masks[0][:, :50], masks[1][:, 30:] = True, True
    a, b = one_owner(masks, [np.array([0, 0, 50, 40.0]), np.array([30, 0, 80, 40.0])])
    assert not (a & b).any() and (a | b).all()
    assert a[:, :39].all() and b[:, 41:].all()


# ---- whose


class DrawsBoxes:
    """A segmenter whose things are their boxes, and whose people know one part."""

    id = "draws-boxes"
    uses_neighbours = False
    sure = 0.5

    def __init__(self, belief: float = 0.9):
        self.belief = belief

    def encode(self, image_bgr):
        return image_bgr

    def by_thing(self, encoded, boxes, quick=False):
        return [_box_segment(encoded.shape[:2], box) for box in boxes]

    def by_part(self, encoded, person, face, thing):
        mask = person.mask.copy()
        mask[: mask.shape[0] // 2] = False
        if not self.belief:
            mask[:] = False
        return Segment(mask, self.belief, person.box, self.id)


def _box_segment(shape, box) -> Segment:
    mask = np.zeros(shape, bool)
    x0, y0, x1, y1 = (int(v) for v in box)
    mask[y0:y1, x0:x1] = True
    return Segment(mask, 0.9, box, "draws-boxes")


TWO = [_box_segment((240, 320), (70, 40, 130, 200)), _box_segment((240, 320), (200, 40, 260, 200))]
FACE = Face([88, 48, 112, 72], 0.9)


def test_a_bag_goes_to_whom_it_hangs_on():
    detector = FakeBodies(things=[((125, 120, 150, 160), "handbag")])
    image = draw((PEOPLE["Ada"], 100, 60), (PEOPLE["Bo"], 230, 60))

    class Crops(FakeBodies):
        def detect(self, image_bgr, nouns=("person",), tiles=True, least=0.35):
            grey = (image_bgr == (0, 200, 200)).all(-1)
            box = mask_box(grey)
            self.things = [] if box is None else [(box, "handbag")]
            return super().detect(image_bgr, nouns, tiles, least)

    cv2.rectangle(image, (125, 120), (150, 160), (0, 200, 200), -1)
    detector = Crops()
    mine = thing_of(image, DrawsBoxes(), "handbag", TWO, 0, FACE, lambda: detector)
    assert mine.status == "ok" and mine.segment.area > 900
    theirs = thing_of(image, DrawsBoxes(), "handbag", TWO, 1, FACE, lambda: detector)
    assert theirs.status in ("not_theirs", "no_thing") and not theirs.segment.area


@pytest.mark.parametrize(("belief", "status"), [(0.9, "ok"), (0.5, "ok"), (0.3, "not_sure"), (0.0, "no_thing")])
def test_thin_evidence_is_said_and_shown_as_a_proposal(belief, status):
    image = draw((PEOPLE["Ada"], 100, 60))
    found = thing_of(image, DrawsBoxes(belief), "boots", TWO, 0, FACE, FakeBodies)
    assert found.status == status
    assert bool(found.segment.area) == (status != "no_thing")


def test_feet_out_of_the_picture_are_nowhere_and_a_kind_of_clothes_is_not_sure(
    astronaut, embedded_masks, embedded_faces
):
    face = embedded_faces.faces(astronaut, embed=False)[0]
    encoded = embedded_masks.encode(astronaut)
    person = embedded_masks.by_box(encoded, [(15, 5, 490, 512)], [face])[0]
    assert not embedded_masks.by_part(encoded, person, face, "shoes").area
    assert not embedded_masks.by_part(encoded, person, face, "boots").area
    top = embedded_masks.by_part(encoded, person, face, "top")
    jacket = embedded_masks.by_part(encoded, person, face, "jacket")
    assert top.score >= embedded_masks.sure > jacket.score > 0
    assert mask_iou(top.mask, jacket.mask) > 0.99  # the same proposal
    assert embedded_masks.by_part(encoded, person, face, "face").score >= embedded_masks.sure


def test_a_proposal_is_written_and_the_exit_status_says_it_is_none(astronaut, tmp_path, capsys):
    photo = write_image(tmp_path / "photo.png", astronaut)
    options = (
        "--segmenter", "embedded", "--face-engine", "embedded", "--gallery", tmp_path / "none",
        "--out", tmp_path / "out", "--json",
    )  # fmt: skip
    code, out, _ = run(capsys, "segment", photo, "jacket", *options)
    (record,) = json.loads(out)
    assert code == 3 and record["status"] == "not_sure" and record["mask_area"] and "too thin" in record["message"]
    code, out, _ = run(capsys, "segment", photo, "shoes", *options)
    (record,) = json.loads(out)
    assert code == 3 and record["status"] == "no_thing" and not record["mask_area"]


# ---- videos


def _plain() -> np.ndarray:
    return np.random.default_rng(0).integers(90, 130, (120, 200, 3)).astype(np.uint8)


def test_things_keep_their_ids_and_late_ones_get_new_ones():
    tracks, image = BoxTracks(0.4, 0.2), _plain()
    for i in range(8):
        boxes = [np.array([10 + i, 10, 40 + i, 50], np.float32), np.array([120 - i, 60, 160 - i, 110], np.float32)]
        if i >= 3:
            boxes.append(np.array([150, 5, 190, 40], np.float32))
        tracks.update(i, image, boxes, [0.9] * len(boxes))
    found = list(tracks.things().values())
    assert sorted(min(seen) for seen in found) == [0, 0, 3]
    assert all(len(seen) == 8 - min(seen) for seen in found)
    first = next(seen for seen in found if min(seen) == 0 and seen[0][0][0] == 10)
    assert first[7][0][0] == 17


def test_a_faint_box_goes_on_with_a_thing_but_begins_none_and_a_flicker_is_none():
    tracks, image = BoxTracks(0.4, 0.2), _plain()
    for i in range(6):
        scores = {0: 0.9}.get(i, 0.25)
        boxes = [np.array([10, 10, 40, 50], np.float32), np.array([100, 60, 140, 110], np.float32)]
        flicker = [np.array([150, 5, 190, 40], np.float32)] if i == 2 else []
        tracks.update(i, image, boxes + flicker, [scores, 0.25, *([0.9] * len(flicker))])
    (only,) = tracks.things().values()
    assert len(only) == 6 and only[0][0][0] == 10


def test_after_a_cut_everything_is_new():
    tracks, image = BoxTracks(0.4, 0.2), _plain()
    for i in range(8):
        if i == 4:
            tracks.cut()
        tracks.update(i, image, [np.array([10, 10, 40, 50], np.float32)], [0.9])
    assert sorted(sorted(seen) for seen in tracks.things().values()) == [[0, 1, 2, 3], [4, 5, 6, 7]]


def test_a_word_cuts_a_cat_out_of_a_video(cat, tmp_path, capsys):
    from test_video import make_video

    pictures = [
        np.ascontiguousarray(cv2.copyMakeBorder(cat, 0, 0, 40, 40, cv2.BORDER_REPLICATE)[:300, i * 4 : i * 4 + 450])
        for i in range(9)
    ]
    (tmp_path / "barn").mkdir()
    make_video(tmp_path / "barn" / "cat.mp4", pictures)
    code, _, err = run(
        capsys, "clips", tmp_path / "barn", "--prompt", "고양이", "--frames-per-clip", 3, "--out", tmp_path / "out",
        "--segmenter", "embedded", "--face-engine", "embedded", "--gallery", tmp_path / "none",
    )  # fmt: skip
    assert code == 0, err
    rows = [json.loads(line) for line in (tmp_path / "out" / "manifest.jsonl").read_text("utf-8").splitlines()]
    assert {row["id"] for row in rows} == {1} and len(rows) == 3  # one cat, one id, through three clips
    assert all(row["at"] == [0, 1, 2] for row in rows)


@pytest.mark.parametrize("backs", [[(220, 40, 300, 220)], [(150, 40, 300, 220), (220, 40, 300, 220)]])
def test_who_is_turned_away_is_hidden_when_the_others_are(tmp_path, backs):
    """Also where it is not clear whose body it is: what may be somebody's is covered."""
    from fakes import FakeMasks
    from test_video import make_video

    from identity_segmentation.people.adding import add_photos
    from identity_segmentation.people.gallery import Gallery
    from identity_segmentation.pipeline import IdentityAwareSegmentation
    from identity_segmentation.video.files import VideoReader

    faces = FakeFaces()
    photo = write_image(tmp_path / "ada.png", draw((PEOPLE["Ada"], 160, 60)))
    gallery, _ = add_photos(Gallery.empty(faces), faces, "Ada", [photo])
    image = draw((PEOPLE["Ada"], 60, 60))
    image[40:220, 220:300] = np.indices((180, 80)).sum(0)[..., None] % 2 * 200  # fine lines
    make_video(tmp_path / "in.mp4", [image] * 12)
    shown = {}
    looked = FakeBodies((30, 40, 90, 200), *backs)
    for label, detector in (("looked for", looked), ("not looked for", FakeBodies())):
        pipeline = IdentityAwareSegmentation(faces, FakeMasks(), gallery, detector=detector)
        output = tmp_path / label / "out.mp4"
        report = pipeline.process_video(tmp_path / "in.mp4", output, "Ada", view="blur-others")
        assert report.note == ""
        with VideoReader(output) as reader:
            shown[label] = [f.image[60:200, 230:290].astype(float).std() for f in reader]
    assert max(shown["looked for"]) < 0.4 * min(shown["not looked for"])


def test_a_video_in_which_nobody_looked_for_backs_says_that_they_are_not_covered(tmp_path, monkeypatch):
    from fakes import FakeMasks
    from test_video import make_video

    from identity_segmentation import engines
    from identity_segmentation.people.adding import add_photos
    from identity_segmentation.people.gallery import Gallery
    from identity_segmentation.pipeline import IdentityAwareSegmentation

    monkeypatch.setattr(engines, "any_detector", lambda *_: None)
    faces = FakeFaces()
    photo = write_image(tmp_path / "ada.png", draw((PEOPLE["Ada"], 160, 60)))
    gallery, _ = add_photos(Gallery.empty(faces), faces, "Ada", [photo])
    make_video(tmp_path / "in.mp4", [draw((PEOPLE["Ada"], 60, 60))] * 6)
    pipeline = IdentityAwareSegmentation(faces, FakeMasks(), gallery)
    report = pipeline.process_video(tmp_path / "in.mp4", tmp_path / "out.mp4", "Ada", view="blur-others")
    assert "not covered" in report.note and "--fresh" in report.note
    assert pipeline.process_video(tmp_path / "in.mp4", tmp_path / "out.mp4", "Ada", view="overlay").note == ""


def test_a_faint_thing_is_a_proposal():
    image = draw((PEOPLE["Ada"], 100, 60))
    for score, status in ((0.9, "ok"), (0.4, "not_sure")):
        detector = FakeBodies(things=[((45, 60, 80, 100), "handbag")], score=score)
        found = thing_of(image, DrawsBoxes(), "handbag", TWO[:1], 0, FACE, lambda detector=detector: detector)
        assert found.status == status and found.segment.area

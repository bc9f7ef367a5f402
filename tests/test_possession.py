"""Somebody's thing: whose it is, and what there is to say when it is not there."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from conftest import ROOT
from fakes import BACKGROUND, PEOPLE, FakeFaces, FakeMasks, draw
from test_humans import FakeBodies

from identity_segmentation import IdentityAwareSegmentation, write_image
from identity_segmentation.cli.command import main
from identity_segmentation.engines.protocols import PartSegmenter, TextSegmenter
from identity_segmentation.errors import EngineUnavailable, GalleryError, InputError, UnknownPerson
from identity_segmentation.masks.possession import owner_of, thing_of
from identity_segmentation.types import Segment

ADA, BO = PEOPLE["Ada"], PEOPLE["Bo"]
BAG, HAT = (10, 10, 10), (250, 250, 250)


class KnowsColours(FakeMasks):
    """Words are colours: every connected patch of a bag's or a hat's."""

    id = "knows-colours"

    def by_text(self, encoded, phrase):
        colour = {"bag": BAG, "hat": HAT}.get(phrase, (1, 2, 3))
        count, labels, stats, _ = cv2.connectedComponentsWithStats((encoded == colour).all(-1).astype(np.uint8))
        return [
            Segment(labels == i, 0.9, [x, y, x + w, y + h], self.id)
            for i, (x, y, w, h, _) in list(enumerate(stats))[1:count]
        ]


@pytest.fixture
def people(tmp_path):
    for name in ("Ada", "Bo"):
        for i in range(3):
            write_image(tmp_path / "D" / name / f"{i}.png", draw((PEOPLE[name], 60 + 40 * i, 60)))
    pipeline = IdentityAwareSegmentation(FakeFaces(), KnowsColours(), gallery=tmp_path / "gallery")
    pipeline.build_gallery(tmp_path / "D")
    return pipeline


def scene():
    """Ada with a bag at her side, Bo with a hat beside his head, and a bag that stands alone."""
    picture = draw((ADA, 70, 60), (BO, 200, 60))
    picture[140:170, 95:115] = BAG
    picture[20:46, 186:214] = HAT
    picture[180:200, 280:300] = BAG
    return picture


def test_a_thing_goes_to_whom_it_touches(people):
    found = people.segment(scene(), "Ada's bag")
    assert found.status.code == "ok" and "Ada's bag" in found.status.message
    assert found.mask[150, 100] and not found.mask[190, 290] and found.mask.sum() == 30 * 20
    assert len(found.thing_masks) >= 1 and found.person_mask[120, 70] and not found.person_mask[120, 200]
    assert (found.cutout[..., 3] > 127).sum() == found.mask.sum()


def test_what_another_has_is_not_hers(people):
    assert people.segment(scene(), "Bo's hat").status.code == "ok"
    close = draw((ADA, 70, 60), (BO, 140, 60))
    close[20:46, 126:154] = HAT
    assert people.segment(close, "Ada's hat").status.code == "not_theirs"
    nothing = people.segment(scene(), "Ada's guitar")
    assert nothing.status.code == "no_thing" and nothing.mask.sum() == 0 and nothing.cutout[..., 3].max() == 0
    assert nothing.person_mask.any(), "she was found, all the same"


def test_somebody_who_is_not_there_has_nothing_there(people):
    found = people.segment(draw((BO, 200, 60)), "Ada's bag")
    assert found.status.code == "not_found" and not found.mask.any() and not found.person_mask.any()
    empty = people.segment(draw(), "Ada's bag")
    assert empty.status.code == "no_face"


def test_a_thing_across_two_people_is_shared_by_their_masks(people):
    picture = draw((ADA, 100, 60), (BO, 148, 60))
    masks = [Segment((picture == c).all(-1), 0.9, [0, 0, 9, 9], "x") for c in (ADA, BO)]
    scarf = np.zeros(picture.shape[:2], bool)
    scarf[100:110, 80:140] = True

    class Scarf(FakeMasks):
        def by_text(self, encoded, phrase):
            x0 = max(0, 76 - (picture.shape[1] - encoded.shape[1]))
            assert x0 >= 0
            return [Segment(scarf[: encoded.shape[0], : encoded.shape[1]], 0.9, [80, 100, 140, 110], "x")]

    assert owner_of(Segment(scarf, 0.9, [80, 100, 140, 110], "x"), masks) == 0
    found = thing_of(picture, Scarf(), "scarf", masks, 0, FakeFaces().faces(picture)[0], FakeBodies)
    assert found.status == "ok" and not (found.segment.mask & masks[1].mask).any()


def test_the_three_levels_of_a_phrase(people):
    everyone = people.segment(scene(), "bag")
    assert everyone.status.code == "ok" and everyone.mask[150, 100] and everyone.mask[190, 290]
    person = people.segment(scene(), "Ada")
    assert person.status.code == "ok" and (person.mask == person.person_mask).all()
    assert people.segment(scene(), "Ada's bag").mask.sum() < person.mask.sum()
    with pytest.raises(UnknownPerson, match="did you mean 'Ada'"):
        people.segment(scene(), "Adaa's bag")
    with pytest.raises(InputError, match="one person at a time"):
        people.segment(scene(), "Ada Bo")


def test_a_segmenter_without_words_says_so(people):
    people.segmenter = FakeMasks()
    for phrase in ("Ada's bag", "bag"):
        with pytest.raises(EngineUnavailable, match="knows no words"):
            people.segment(scene(), phrase)


def test_without_a_gallery_a_name_is_missing_a_gallery_and_a_thing_is_a_thing(tmp_path, fake_faces):
    pipeline = IdentityAwareSegmentation(fake_faces, KnowsColours(), gallery=tmp_path / "none")
    with pytest.raises(GalleryError, match="no gallery"):
        pipeline.segment(scene(), "Wonyoung")
    assert pipeline.segment(scene(), "bag").mask.any()


def test_a_things_matte_over_a_video_stays_with_its_owner(people, tmp_path):
    from test_video import make_video, pictures

    def frame(i):
        picture = draw((ADA, 60 + 3 * i, 60), (BO, 260, 60))
        picture[140:170, 85 + 3 * i : 105 + 3 * i] = BAG
        return picture

    clip = make_video(tmp_path / "clip.mp4", [frame(i) for i in range(20)])
    report = people.process_video(clip, tmp_path / "out.mp4", view="cutout", phrase="Ada's bag", masks=True)
    assert report.on_screen == {"Ada": 20 / 25} and len(pictures(tmp_path / "out.mp4")) == 20
    import json

    from identity_segmentation.geometry import decode_rle

    rows = [json.loads(r) for r in (tmp_path / "out.mp4.masks.jsonl").read_text("utf-8").splitlines()]
    assert len(rows) == 20
    for row in rows:
        truth = (frame(row["frame"]) == BAG).all(-1)
        mask = decode_rle(row)
        assert (mask & truth).sum() / (mask | truth).sum() > 0.6
    with pytest.raises(InputError, match="names a person"):
        people.process_video(clip, tmp_path / "no.mp4", phrase="bag")


# ---- the embedded engine's words


def test_the_embedded_engine_has_parts_and_no_words(embedded_masks):
    assert isinstance(embedded_masks, PartSegmenter) and not isinstance(embedded_masks, TextSegmenter)


@pytest.fixture(scope="module")
def astronaut_person(astronaut, embedded_faces, embedded_masks):
    from identity_segmentation.masks.segmentation import segment_faces

    face = max(embedded_faces.faces(astronaut), key=lambda f: f.side)
    return face, segment_faces(astronaut, [face], [0], embedded_masks)[0]


def test_parts_lie_where_they_are_on_a_real_person(astronaut, astronaut_person, embedded_masks):
    face, person = astronaut_person
    encoded = embedded_masks.encode(astronaut)
    parts = {
        p: embedded_masks.by_part(encoded, person, face, p).mask for p in ("face", "hair", "shirt", "skin", "person")
    }
    assert all((mask & ~person.mask).sum() == 0 for mask in parts.values())
    x, y = (int(v) for v in face.centre)
    assert parts["face"][y, x] and parts["skin"][y, x] and not parts["hair"][y, x] and not parts["shirt"][y, x]
    rows = np.nonzero(parts["hair"])[0]
    assert len(rows) > 1000 and np.median(rows) < y, "hair is above the middle of the face"
    assert parts["shirt"][400, 200], "the orange suit"
    both = np.count_nonzero(parts["face"] & parts["hair"])
    assert both < 0.05 * np.count_nonzero(parts["face"]) and (parts["person"] == person.mask).all()


def test_people_whose_face_is_not_found_are_people_too(data, astronaut, embedded_faces, embedded_masks, tmp_path):
    from identity_segmentation.video.files import VideoReader

    pipeline = IdentityAwareSegmentation(embedded_faces, embedded_masks, gallery=tmp_path / "none")
    with VideoReader(data / "videos" / "sam3_bedroom.mp4") as reader:
        image = next(iter(reader)).image
    assert embedded_faces.faces(image, embed=False) == []
    found = pipeline.segment(image, "person")
    assert found.status.code == "ok" and 0.005 < found.mask.mean() < 0.3
    assert len(pipeline.segment(astronaut, "person").thing_masks) == 1, "nobody twice"


def test_a_word_off_the_list_names_the_list(astronaut, astronaut_person, embedded_masks):
    face, person = astronaut_person
    with pytest.raises(EngineUnavailable, match="does not know 'guitar'.*shoes.*sam3-hf"):
        embedded_masks.by_part(embedded_masks.encode(astronaut), person, face, "guitar")


def test_a_person_without_pixels_has_no_parts(astronaut, astronaut_person, embedded_masks):
    face, person = astronaut_person
    nobody = Segment(np.zeros(person.mask.shape, bool), 0.0, [0, 0, 9, 9], "x")
    assert embedded_masks.by_part(embedded_masks.encode(astronaut), nobody, face, "hair").area == 0


def test_the_command_takes_a_phrase_and_writes_what_it_means(tmp_path, capsys, monkeypatch):
    from identity_segmentation.demo import write_example

    monkeypatch.chdir(tmp_path)
    dataset, pictures = write_example(tmp_path / "ex")
    engines = ["--face-engine", "embedded", "--segmenter", "embedded", "--gallery", str(tmp_path / "g")]
    assert main(["people", "build", dataset, *engines]) == 0
    photo = str(sorted((tmp_path / "ex" / "Input").glob("*.jpg"))[0])
    assert main(["segment", photo, "하나의 상의", "--out", "out", *engines]) == 0
    assert "하나's top" in capsys.readouterr().out
    names = sorted(p.name for p in (tmp_path / "out" / "1_mirrored").iterdir())
    kinds = [n.rsplit("_", 1)[-1] for n in names]
    assert kinds == ["result.json", "annotated.jpg", "cutout.png", "mask.png", "overlay.jpg", "result.json"]
    (tmp_path / "other").mkdir()
    twin = tmp_path / "other" / "1_mirrored.jpg"
    twin.write_bytes(Path(photo).read_bytes())
    before = {p: p.read_bytes() for p in (tmp_path / "out" / "1_mirrored").iterdir()}
    assert main(["segment", str(twin), "하나의 상의", "--out", "out", *engines]) == 0
    assert (tmp_path / "out" / "1_mirrored-2").is_dir(), "another picture's results are its own"
    assert {p: p.read_bytes() for p in (tmp_path / "out" / "1_mirrored").iterdir()} == before
    nobody = [*engines[:-1], str(tmp_path / "no gallery")]
    assert main(["segment", photo, "person", "--out", "alone", *nobody]) == 0, "a thing of nobody's needs no gallery"
    (tmp_path / "ข้อความ.jpg").write_text("no picture")
    capsys.readouterr()
    assert main(["segment", "ข้อความ.jpg", "person", *nobody]) == 1
    assert "ข้อความ.jpg" in capsys.readouterr().err
    (tmp_path / "nothing").mkdir()
    assert main(["segment", "nothing", "person", *engines]) == 1
    assert main(["segment", photo, "하나's guitar", *engines]) == 1
    assert "does not know 'guitar'" in capsys.readouterr().err
    assert main(["segment", photo, "woman", *engines]) == 1
    assert "cannot tell a woman" in capsys.readouterr().err
    assert main(["segment", pictures, "person", "--out", "all", *engines]) == 0


def test_the_table_of_places_is_a_table_of_shares():
    from identity_segmentation.engines.embedded_parts import CLASSES, read_prior

    prior = read_prior()
    assert prior.rows.shape[0] == len(CLASSES) and np.allclose(prior.rows.sum(0), 1, atol=0.01)
    assert (ROOT / "identity_segmentation/data/part_prior.json").stat().st_size < 100_000
    assert BACKGROUND

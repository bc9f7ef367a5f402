"""Which pictures are to be marked next: unsure and unlike what is marked, no copies, each with its reason."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from fakes import FakeLearner, FakeMasks

from identity_segmentation.cli.command import main
from identity_segmentation.errors import InputError
from identity_segmentation.images import read_image
from identity_segmentation.labels.job import LabelJob
from identity_segmentation.labels.marks import Mark

KINDS = ("stripes", "dots", "plain", "dark", "checks")
RED = (40, 40, 220)


def plate(path: Path, kind: str, seed: int, red: int = 0) -> Path:
    """A textured plate, with a red disc as far from the learner's red as `red` says (0 = just as red)."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[:96, :128]
    grey = 150 + rng.normal(0, 6, (96, 128))
    if kind == "stripes":
        grey += 60 * np.sin(columns / 2.5 + rng.random() * 6)
    elif kind == "checks":
        grey += 50 * np.sign(np.sin(columns / 6 + rng.random()) * np.sin(rows / 6 + rng.random()))
    elif kind == "dark":
        grey -= 110
    elif kind == "dots":
        for x, y in rng.integers(5, 90, (40, 2)):
            cv2.circle(grey, (int(x), int(y)), 2, 40, -1)
    image = np.dstack([np.clip(grey, 0, 255).astype(np.uint8)] * 3)
    spot = tuple(int(v) for v in rng.integers(20, 70, 2))
    cv2.circle(image, spot, 8, (RED[0] + red, RED[1] + red, RED[2]), -1)
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imencode(path.suffix, image)[1].tofile(path)
    return path


@pytest.fixture
def plates(tmp_path):
    """Thirty striped plates, and three of each other kind."""
    for number in range(30):
        plate(tmp_path / f"plates/stripes{number:02d}.png", "stripes", number)
    for kind in KINDS[1:]:
        for number in range(3):
            plate(tmp_path / f"plates/{kind}{number}.png", kind, 100 + number)
    return tmp_path / "plates"


def kind_of(suggestion) -> str:
    return suggestion.picture.stem.rstrip("0123456789")


def marked(job: LabelJob, *pictures: Path) -> LabelJob:
    for picture in pictures:
        image = read_image(picture).astype(int)
        job.mark(picture, Mark.of_mask(1, np.abs(image - RED).max(axis=2) < 30))
    return job


def test_where_nothing_is_marked_the_first_is_typical_and_the_others_stand_for_other_kinds(plates, tmp_path):
    found = LabelJob(tmp_path / "job", FakeLearner()).suggest([plates])
    assert kind_of(found.pictures[0]) == "stripes" and len({kind_of(one) for one in found.pictures}) >= 3
    assert found.pictures[0].reason == "typical of these pictures"
    assert {one.reason for one in found.pictures[1:]} == {"stands for pictures unlike those chosen before it"}
    assert all(one.sure is None and not one.labelled for one in found.pictures)
    assert (found.left, found.copies) == (42, 0)


def test_one_odd_picture_stands_for_none_and_is_not_suggested(plates, tmp_path):
    cv2.imwrite(str(plates / "odd.png"), np.random.default_rng(0).integers(0, 255, (96, 128, 3), np.uint8))
    found = LabelJob(tmp_path / "job", FakeLearner()).suggest([plates], 4)
    assert "odd" not in {one.picture.stem for one in found.pictures}


def test_the_same_pictures_are_chosen_every_time_and_looked_at_once(plates, tmp_path, monkeypatch):
    job = LabelJob(tmp_path / "job", FakeLearner())
    first = job.suggest([plates])
    import identity_segmentation.labels.describing as describing

    def never(*_):
        raise AssertionError("it was looked at before")

    monkeypatch.setattr(describing, "described", never)
    assert job.suggest([plates]) == first
    monkeypatch.undo()
    (job.folder / ".looks.npy").write_bytes(b"broken")
    assert job.suggest([plates]) == first and job.suggest(sorted(plates.iterdir())).pictures[0] == first.pictures[0]
    looked = []
    real = describing.described
    monkeypatch.setattr(describing, "described", lambda image: looked.append(1) or real(image))
    plate(plates / "dots0.png", "dark", 9)
    job.suggest([plates])
    assert len(looked) == 1, "the one that has changed"


def test_the_kind_that_is_not_marked_comes_first(tmp_path):
    pictures = [plate(tmp_path / f"plates/{k}{n}.png", k, 10 * n + len(k)) for k in KINDS for n in range(6)]
    for left_out in KINDS:
        job = LabelJob(tmp_path / left_out, FakeMasks())  # it learns nothing: looks decide alone
        marked(job, *(p for p in pictures if p.stem[-1] == "3" and not p.stem.startswith(left_out)))
        first = job.suggest([tmp_path / "plates"]).pictures[0]
        assert kind_of(first) == left_out and first.reason == "unlike anything marked"


def test_the_least_sure_are_chosen_and_say_so(plates, tmp_path):
    unsure = {plate(plates / f"{kind}_odd.png", kind, 60 + n, red=26 + n) for n, kind in enumerate(KINDS)}
    job = marked(LabelJob(tmp_path / "job", FakeLearner()), plates / "stripes00.png", plates / "stripes01.png")
    job.run([plates])
    before = {p: p.read_bytes() for p in job.folder.rglob("*.json*")}
    found = job.suggest(count=2).pictures
    ranked = [row["picture"] for row in job.ranked()]
    assert {Path(p) for p in ranked[:5]} == {path.resolve() for path in unsure}
    assert {str(one.picture) for one in found} <= set(ranked[:16]), "of the least sure third"
    assert all(one.labelled and one.sure is not None for one in found)
    assert all(
        one.reason.startswith(("least sure of all: expected IoU 0.", "among the least sure: expected IoU "))
        for one in found
    )
    assert {p: p.read_bytes() for p in before} == before, "choosing changes nothing"
    for one in found:
        assert job.to_correct(one.name)[0].path.name == one.picture.name


def test_without_labels_a_look_tells_how_sure_they_would_be(plates, tmp_path):
    odd = plate(plates / "stripes_odd.png", "stripes", 70, red=34)
    learner = FakeLearner()
    job = marked(LabelJob(tmp_path / "job", learner), plates / "stripes00.png", plates / "dots1.png")
    found = job.suggest([plates], 100).pictures
    assert learner.learnt_from == [2] and not job.manifest.exists()
    assert all(one.sure is not None and not one.labelled for one in found)
    told = {one.picture: one for one in found}
    assert told[odd.resolve()].reason.startswith("least sure of all: expected IoU 0.")
    learner.learnt_from.clear()
    job.run([plates])
    learner.learnt_from.clear()
    job.suggest([plates])
    assert learner.learnt_from == [], "labels that are there are asked"


def test_marked_decided_and_copied_pictures_are_never_suggested(plates, tmp_path):
    job = marked(LabelJob(tmp_path / "job", FakeLearner()), plates / "dots0.png", plates / "checks0.png")
    shutil.copy(plates / "dots0.png", plates / "the same bytes.png")
    image = read_image(plates / "dots0.png")
    cv2.imwrite(str(plates / "copy.jpg"), image, [cv2.IMWRITE_JPEG_QUALITY, 70])
    cv2.imwrite(str(plates / "smaller.png"), cv2.resize(image, None, fx=0.7, fy=0.7, interpolation=cv2.INTER_AREA))
    cv2.imwrite(str(plates / "brighter.png"), np.clip(image.astype(int) + 12, 0, 255).astype(np.uint8))
    job.run([plates])
    job.accept(["stripes00"])
    job.reject(["dark0"])
    found = job.suggest(count=1000)
    names = {one.picture.stem for one in found.pictures}
    gone = {"dots0", "checks0", "the same bytes", "copy", "smaller", "brighter", "stripes00", "dark0"}
    assert not names & gone and found.copies == 3
    assert names == {p.stem for p in plates.iterdir()} - gone, "others of a kind are no copies"


def test_plain_pictures_are_copies_only_if_they_are_the_same_grey(tmp_path):
    for number, grey in enumerate((40, 40, 120, 200)):
        cv2.imwrite(str(tmp_path / f"{number}.png"), np.full((50, 60, 3), grey, np.uint8))
    found = LabelJob(tmp_path / "job", FakeLearner()).suggest([tmp_path])
    assert len(found.pictures) == 3 and len({int(one.picture.stem) for one in found.pictures} & {0, 1}) == 1


def test_what_there_is_not_enough_of_or_cannot_be_read_is_said(plates, tmp_path):
    job = LabelJob(tmp_path / "job", FakeLearner())
    (tmp_path / "empty").mkdir()
    for targets in ([tmp_path / "empty"], []):
        with pytest.raises(InputError, match="no pictures among the targets"):
            job.suggest(targets)
    with pytest.raises(InputError, match="one picture or more, got 0"):
        job.suggest([plates], 0)
    few = tmp_path / "few"
    plate(few / "a.png", "dots", 1)
    whole = plate(few / "b.png", "dark", 2).read_bytes()
    (few / "b.png").write_bytes(whole[: len(whole) // 2])
    jpeg = plate(few / "c.jpg", "checks", 3).read_bytes()
    (few / "c.jpg").write_bytes(jpeg[: len(jpeg) // 2])
    (few / "notes.txt").write_text("x")
    found = job.suggest([few])
    assert [one.picture.name for one in found.pictures] == ["a.png"]
    assert {Path(path).name for path in found.unreadable} == {"b.png", "c.jpg"}
    assert [Path(path).name for path in found.left_out] == ["notes.txt"]


def test_on_the_command_line(plates, tmp_path, capsys):
    line = ["label", "suggest", str(plates), "--out", str(tmp_path / "job"), "--segmenter", "embedded"]
    assert main([*line, "--count", "3"]) == 0
    said = capsys.readouterr().out.splitlines()
    assert len(said) == 3 and said[0].endswith("  typical of these pictures") and "stripes" in said[0]
    assert main([*line, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert len(found["pictures"]) == 5 and found["left"] == 42 and found["unreadable"] == {}
    assert set(found["pictures"][0]) == {"picture", "name", "labelled", "sure", "reason"}
    assert main([*line, "--count", "100"]) == 0
    assert "no more than 42" in capsys.readouterr().err
    (plates / "torn.png").write_bytes((plates / "dots0.png").read_bytes()[:900])
    assert main(line) == 4
    assert "torn.png is damaged or truncated" in capsys.readouterr().err
    assert main(["label", "suggest", "--out", str(tmp_path / "other")]) == 1
    assert "no pictures among the targets" in capsys.readouterr().err

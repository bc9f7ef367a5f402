"""Labels that other tools made, taken in as marks: what exports write comes back, and what is wrong is said."""

from __future__ import annotations

import json
import shutil
import unicodedata
from pathlib import Path

import cv2
import numpy as np
import pytest
from fakes import FakeLearner
from made_photos import turned
from PIL import Image

from identity_segmentation.cli.command import main
from identity_segmentation.errors import InputError
from identity_segmentation.geometry import encode_rle, mask_iou
from identity_segmentation.labels.importing.taking import ImportOptions, import_labels
from identity_segmentation.labels.job import LabelJob
from identity_segmentation.labels.marks import Mark

NAMES = {1: "균열 crack", 3: "รอย & <b>"}


def picture(path: Path, size=(60, 80), seed: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = np.random.default_rng(seed).integers(0, 255, (*size, 3), np.uint8)
    cv2.imencode(path.suffix, image)[1].tofile(path)
    return path


def rough(seed: int, size=(60, 80)) -> np.ndarray:
    """A mask of several parts, with a hole."""
    noise = cv2.GaussianBlur(np.random.default_rng(seed).normal(0, 1, size).astype(np.float32), (0, 0), 6)
    mask = noise > np.percentile(noise, 60)
    mask[20:40, 20:50] = True
    mask[27:33, 30:40] = False
    return mask


def job_of(folder: Path) -> LabelJob:
    return LabelJob(folder, FakeLearner())


def marks_of(job: LabelJob) -> dict[str, dict[int, np.ndarray]]:
    """Name of a picture -> id -> mask."""
    found = {}
    for marked in job.book.all():
        image = np.zeros((*marked.marks.shape, 3), np.uint8)
        found[marked.path.name] = marked.marks.masks(image, FakeLearner())
    return found


@pytest.fixture
def made(tmp_path):
    """A job with labels of three pictures: two ids, one id, nothing."""
    job = job_of(tmp_path / "job")
    for number, name in NAMES.items():
        job.name_id(number, name)
    truth = {"첫 사진.png": {1: rough(1), 3: rough(2) & ~rough(1)}, "b.jpg": {1: rough(3)}, "clean.png": {}}
    for seed, (name, masks) in enumerate(truth.items()):
        path = picture(tmp_path / "pictures" / ("sub" if seed else "") / name, seed=seed)
        nothing = np.zeros((60, 80), bool)
        job.mark(path, *(Mark.of_mask(number, masks.get(number, nothing)) for number in NAMES))
    job.run([tmp_path / "pictures"])
    return job, truth


@pytest.mark.parametrize(
    ("kind", "least"), [("coco", 1.0), ("coco-polygons", 0.98), ("yolo", 1.0), ("voc", 1.0)]
)  # fmt: skip
def test_what_an_export_writes_comes_back(made, tmp_path, kind, least):
    job, truth = made
    folder = job.export(kind)
    again = job_of(tmp_path / "again")
    report = import_labels(again, folder, [folder if kind in ("yolo", "voc") else tmp_path / "pictures"])
    assert report.marked == 2 and [Path(p).name.removeprefix("sub_") for p in report.empty] == ["clean.png"]
    assert not report.faults and not report.missing and not report.turned
    back = {name.removeprefix("sub_"): masks for name, masks in marks_of(again).items()}
    numbers = {name: number for number, name in again.names.items()}
    assert set(back) == {"첫 사진.png", "b.jpg"} and set(numbers) == set(NAMES.values())
    for name, masks in truth.items():
        for number, mask in masks.items():
            assert mask_iou(back[name][numbers[NAMES[number]]], mask) >= least, (name, number)
    if kind.startswith("coco"):
        assert again.names == NAMES, "COCO's numbers are the job's"


def test_a_job_goes_on_from_what_was_taken_in(made, tmp_path):
    job, truth = made
    again = job_of(tmp_path / "again")
    report = import_labels(again, job.export("coco"), [tmp_path / "pictures"], ImportOptions(nothing=True))
    assert report.marked == 3 and not report.empty
    again.run([tmp_path / "pictures"])
    rows = {Path(row["picture"]).name: row for row in again.rows()}
    assert {row["by"] for row in rows.values()} == {"reference"}
    for name, masks in truth.items():
        assert {i for i, mask in again.masks(rows[name]).items() if mask.any()} == set(masks), name


# ---- COCO of others


def coco(folder: Path, annotations: list[dict], images=None, categories=None) -> Path:
    file = folder / "instances.json"
    images = images or [{"id": 7, "file_name": "a.png", "width": 80, "height": 60}]
    categories = [{"id": 40, "name": "scratch"}, {"id": 2, "name": "점"}] if categories is None else categories
    text = json.dumps({"images": images, "categories": categories, "annotations": annotations}, ensure_ascii=False)
    file.write_text(text, "utf-8")
    return file


def one(**more) -> dict:
    return {"id": 1, "image_id": 7, "category_id": 40, "iscrowd": 0} | more


@pytest.fixture
def folder(tmp_path):
    picture(tmp_path / "pictures/deep/er/a.png")
    return tmp_path


def test_every_way_in_which_coco_says_a_mask_is_read_as_its_own_library_reads_it(folder):
    from pycocotools.coco import COCO

    first, second = rough(5), rough(6)
    columns = second.T.ravel()
    edges = np.flatnonzero(np.diff(columns)) + 1
    counts = np.diff([0, *edges, columns.size]).tolist()
    counts = counts if not columns[0] else [0, *counts]
    file = coco(
        folder,
        [
            one(segmentation=[[5, 5, 30, 6, 28, 30.5, 6, 29], [50, 40, 70, 40, 60, 58]]),
            one(id=2, segmentation=encode_rle(first)),
            one(id=3, category_id=2, iscrowd=1, segmentation={"size": [60, 80], "counts": counts}),
            one(id=4, category_id=2, bbox=[10, 12, 20, 15]),
        ],
    )
    job = job_of(folder / "job")
    report = import_labels(job, file, [folder / "pictures"])
    assert (report.marked, report.masks, report.boxes, report.crowds) == (1, 2, 1, 1)
    assert report.names == {1: "scratch", 2: "점"} == job.names, "40 is no id: the first that is free"
    read = COCO(str(file))
    wanted = {
        name: np.any([read.annToMask(a) for a in read.loadAnns(ids)], axis=0)
        for name, ids in (("scratch", [1, 2]), ("점", [3]))
    }
    marks = job.book.all()[0].marks
    assert [m.tool for m in marks.done] == ["mask", "mask", "box"] and marks.done[2].points == ((10, 12), (30, 27))
    masks = marks_of(job)["a.png"]
    boxed = np.zeros((60, 80), bool)
    boxed[12:27, 10:30] = True
    assert np.array_equal(masks[1], wanted["scratch"]) and np.array_equal(masks[2], wanted["점"] | boxed)


def test_a_size_that_is_the_files_own_is_turned_and_said(folder):
    upright = np.zeros((80, 60, 3), np.uint8)
    upright[10:30, 40:55] = 255
    truth = upright[..., 0] > 0
    for orientation in range(1, 9):
        work = folder / str(orientation)
        work.mkdir()
        lies, exif = turned(upright, orientation)
        lies.save(work / "a.png", exif=exif)
        lying = np.asarray(Image.open(work / "a.png"))[..., 0] > 127
        for mask, told in ((truth, False), (lying, orientation >= 5)):
            if mask is lying and orientation < 5:
                continue
            ys, xs = np.nonzero(mask)
            box = [int(v) for v in (xs.min(), ys.min(), np.ptp(xs) + 1, np.ptp(ys) + 1)]
            file = coco(
                work, [one(segmentation=encode_rle(mask)), one(id=2, category_id=2, bbox=box)],
                [{"id": 7, "file_name": "a.png", "width": mask.shape[1], "height": mask.shape[0]}],
            )  # fmt: skip
            job = job_of(work / f"job{told}")
            report = import_labels(job, file)
            assert bool(report.turned) == told
            for number, found in marks_of(job)["a.png"].items():
                assert np.array_equal(found, truth), (orientation, number)


def test_pictures_are_found_by_their_names_wherever_they_are_and_however_they_are_spelt(folder):
    name = "한글 사진.png"
    picture(folder / "pictures/x" / unicodedata.normalize("NFD", name), seed=1)
    picture(folder / "pictures/train/same.png", seed=2)
    picture(folder / "pictures/val/same.png", seed=3)
    names = [name, "images\\train\\same.png", "/home/somebody/val/same.png", "nowhere.png"]
    images = [{"id": n, "file_name": f, "width": 80, "height": 60} for n, f in enumerate(names)]
    shape = [[5, 5, 30, 6, 28, 30]]
    file = coco(folder, [one(id=n, image_id=n, segmentation=shape) for n in range(4)], images)
    job = job_of(folder / "job")
    report = import_labels(job, file, [folder / "pictures"])
    assert report.missing == ["nowhere.png"] and report.marked == 3
    assert {"/".join(m.path.parts[-2:]) for m in job.book.all()} >= {"train/same.png", "val/same.png"}
    images[3]["file_name"] = "same.png"
    file = coco(folder, [one(id=n, image_id=n, segmentation=shape) for n in range(4)], images)
    with pytest.raises(InputError, match="could be 2 pictures"):
        import_labels(job_of(folder / "job2"), file, [folder / "pictures"])


def test_what_is_marked_stays_unless_it_is_to_be_overwritten(folder):
    file = coco(folder, [one(segmentation=[[5, 5, 30, 6, 28, 30]])])
    job = job_of(folder / "job")
    job.mark(folder / "pictures/deep/er/a.png", Mark.stroke(1, [(3, 3)], 2))
    before = job.book.digests()
    report = import_labels(job, file, [folder / "pictures"])
    assert report.marked == 0 and len(report.kept) == 1 and job.book.digests() == before
    report = import_labels(job, file, [folder / "pictures"], ImportOptions(overwrite=True))
    assert report.marked == 1 and not report.kept
    assert [m.tool for m in job.book.all()[0].marks.done] == ["mask"]
    assert len(list((job.folder / "marks").glob("*.json.removed"))) == 1, "what was drawn is kept beside"


def test_ids_are_those_of_the_jobs_names_and_a_choice_of_classes_is_enough(folder):
    categories = [{"id": n, "name": f"kind {n}"} for n in range(1, 41)]
    shape = [[5, 5, 30, 6, 28, 30]]
    file = coco(folder, [one(id=n, category_id=n, segmentation=shape) for n in range(1, 21)], None, categories)
    job = job_of(folder / "job")
    job.name_id(5, "kind 9")
    with pytest.raises(InputError, match=r"20 classes, and a job has 16 ids.*--classes"):
        import_labels(job, file, [folder / "pictures"])
    assert job.names == {5: "kind 9"} and not (job.folder / "marks").exists()
    with pytest.raises(InputError, match="no class is called 'kind 99'"):
        import_labels(job, file, [folder / "pictures"], ImportOptions(classes=["kind 99"]))
    report = import_labels(job, file, [folder / "pictures"], ImportOptions(classes=["kind 5", "kind 9"]))
    assert report.names == {5: "kind 9", 1: "kind 5"} and report.masks == 2


# ---- YOLO and VOC of others


def test_yolo_detection_and_segmentation_with_each_file_of_names(folder):
    lines = "0 0.5 0.5 0.25 0.5\n1 0.1 0.1 0.4 0.1 0.4 0.5 0.1 0.5\n0 0.25 0.25 0.125 0.1 0.9\n"
    for number, (name, text) in enumerate(
        {
            "classes.txt": '점\nline: "a"\n',
            "data.yaml": "train: ../train/images\nnc: 2\nnames: ['점', 'line: \"a\"']\n",
        }.items()
    ):
        work = folder / f"yolo{number}"
        (work / "train/labels").mkdir(parents=True)
        picture(work / "train/images/a.jpg")
        (work / "train/labels/a.txt").write_text(lines)
        (work / "train/labels/empty.txt").write_text("")
        picture(work / "train/images/empty.png", seed=4)
        (work / "README.roboflow.txt").write_text("not labels")
        (work / name).write_text(text, "utf-8")
        job = job_of(work / "job")
        report = import_labels(job, work)
        assert report.names == {1: "점", 2: 'line: "a"'} and (report.masks, report.boxes) == (1, 2)
        assert [Path(p).name for p in report.empty] == ["empty.png"]
        done = job.book.all()[0].marks.done
        assert done[1].points == ((30, 15), (50, 45)) and done[2].points == ((15, 12), (25, 18))
        truth = np.zeros((60, 80), bool)
        truth[6:31, 8:33] = True
        assert np.array_equal(marks_of(job)["a.jpg"][2], truth)


def test_names_of_a_plain_data_yaml_are_read_without_a_reader_of_yaml(made, tmp_path, monkeypatch):
    import builtins

    real = builtins.__import__

    def without(name, *more):
        if name == "yaml":
            raise ImportError(name)
        return real(name, *more)

    folder = made[0].export("yolo")
    monkeypatch.setattr(builtins, "__import__", without)
    assert set(import_labels(job_of(tmp_path / "again"), folder).names.values()) == set(NAMES.values())
    (folder / "data.yaml").write_text("names: [a, b]\n")
    with pytest.raises(InputError, match="pip install pyyaml"):
        import_labels(job_of(tmp_path / "third"), folder)


def voc(folder: Path, objects: str, more: str = "") -> Path:
    (folder / "Annotations").mkdir(parents=True, exist_ok=True)
    text = (
        f"<annotation>{more}<filename>a.png</filename><size><width>80</width><height>60</height></size>{objects}"
        "</annotation>"
    )
    (folder / "Annotations/a.xml").write_text(text, "utf-8")
    return folder


BOXED = "<object><name>{}</name><bndbox><xmin>11</xmin><ymin>13</ymin><xmax>30</xmax><ymax>27</ymax></bndbox></object>"


def test_voc_boxes_become_boxes_and_classes_with_pixels_masks(folder):
    work = voc(folder / "voc", BOXED.format("dog") + BOXED.format("แมว"))
    truth = rough(8)
    values = np.where(truth, 12, 0).astype(np.uint8)  # VOC's own number of "dog"
    values[0] = 255  # the rim that is nobody's
    (work / "SegmentationClass").mkdir()
    from identity_segmentation.images import indexed_png
    from identity_segmentation.labels.export.voc import voc_palette

    indexed_png(work / "SegmentationClass/a.png", values, voc_palette())
    job = job_of(folder / "job")
    report = import_labels(job, work, [folder / "pictures"])
    assert (report.masks, report.boxes) == (1, 1) and set(report.names.values()) == {"dog", "แมว"}
    numbers = {name: number for number, name in report.names.items()}
    masks = marks_of(job)["a.png"]
    truth[0] = False
    boxed = np.zeros((60, 80), bool)
    boxed[12:27, 10:30] = True
    assert np.array_equal(masks[numbers["dog"]], truth) and np.array_equal(masks[numbers["แมว"]], boxed)
    (work / "labelmap.txt").write_text("# label:color_rgb:parts:actions\nbackground:0,0,0::\nแมว:64,0,128::\n", "utf-8")
    job = job_of(folder / "job2")
    assert set(import_labels(job, work, [folder / "pictures"]).names.values()) == {"แมว", "dog"}
    (work / "labelmap.txt").write_text("a:1,2,3::\n")
    with pytest.raises(InputError, match="has the colour 64,0,128, which no class has"):
        import_labels(job_of(folder / "job3"), work, [folder / "pictures"])


# ---- what is wrong


SQUARE = [[5, 5, 30, 6, 28, 30]]
BAD_COCO = [
    (lambda f: f.write_text('{"images": [', "utf-8"), "no JSON that can be read .* export it again"),
    (lambda f: f.write_bytes(b"\xff\xfe\x00"), "no JSON that can be read"),
    (lambda f: f.write_text("[" * 100_000), "no JSON that can be read"),
    (lambda f: f.write_text("[]"), "is a list, such as COCO's results"),
    (lambda f: f.write_text('{"images": []}'), "no list of annotations and of categories"),
    (lambda f: coco(f.parent, [one(segmentation=[[1, 2, 3, 4]])]), "a polygon has 2 points; expected 3 or more"),
    (lambda f: coco(f.parent, [one(segmentation=[[1, 2, 3, 4, 5]])]), "not x and y in turn"),
    (lambda f: coco(f.parent, [one(segmentation=[[1, 2, 3, float("nan"), 5, 6]])]), "not x and y in turn"),
    (lambda f: coco(f.parent, [one(segmentation=[[100, 2, 130, 4, 120, 50]])]), "outside the 80x60 picture"),
    (lambda f: coco(f.parent, [one(segmentation={"size": [60, 80], "counts": [5, 9]})]), "of 14 pixels; expected 4800"),
    (lambda f: coco(f.parent, [one(segmentation={"size": [60, 80], "counts": "~~~"})]), "no counts|of .* pixels"),
    (lambda f: coco(f.parent, [one(segmentation={"size": [9, 9], "counts": "1"})]), r"of size \[9, 9\]; expected"),
    (lambda f: coco(f.parent, [one()]), "neither a segmentation nor a box"),
    (lambda f: coco(f.parent, [one(bbox=[90, 5, 10, 10])]), "covers nothing of the 80x60 picture"),
    (lambda f: coco(f.parent, [one(segmentation=SQUARE)], None, [{"id": 40}]), "category 40 has no name; give it one"),
    (lambda f: coco(f.parent, [one(segmentation=SQUARE, category_id=3)]), "category 3, which is not among"),
    (lambda f: coco(f.parent, [one(segmentation=SQUARE, image_id=8)]), "image 8, which is not among"),
    (
        lambda f: coco(
            f.parent, [one(segmentation=SQUARE)], [{"id": 7, "file_name": "a.png", "width": 40, "height": 30}]
        ),
        "is 40x30 in the labels, but the picture .* is 80x60; give the pictures that were labelled",
    ),
    (lambda f: coco(f.parent, [], [{"id": 7, "file_name": "../../etc/a.png"}]), "leads out of the folder"),
    (lambda f: coco(f.parent, [], [{"id": 7, "file_name": "b.png"}]), "none of the 1 pictures .* 'b.png'"),
]  # fmt: skip


@pytest.mark.parametrize(("write", "said"), BAD_COCO, ids=[said[:30] for _, said in BAD_COCO])
def test_wrong_coco_is_a_sentence_and_nothing_is_taken_in(folder, write, said):
    write(folder / "instances.json")
    picture(folder / "pictures/good.png", seed=9)
    job = job_of(folder / "job")
    with pytest.raises(InputError, match=said):
        import_labels(job, folder / "instances.json", [folder / "pictures"])
    assert not job.book.all() and not [p for p in folder.rglob("*") if p.name.endswith(".part")]
    assert not (job.folder / "job.json").exists(), "no class was named"


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("7 0.5 0.5 0.2 0.2", "line 1: class 7 is out of range; expected one of 0 to 1"),
        ("-1 0.5 0.5 0.2 0.2", "class -1 is out of range"),
        ("0.5 0.5 0.5 0.2 0.2", "class 0.5 is out of range"),
        ("0 120 80 20 20", "120 is no fraction of the picture; .* Divide pixels"),
        ("0 nan 0.5 0.2 0.2", "no fraction"),
        ("0 0.5 0.5", "2 numbers after the class"),
        ("0 0.1 0.1 0.2 0.2 0.3 0.3 0.4", "7 numbers after the class"),
        ("crack 0.5 0.5 0.2 0.2", "expected numbers alone"),
    ],
)
def test_wrong_lines_of_yolo_are_sentences(folder, line, said):
    (folder / "labels").mkdir()
    (folder / "labels/a.txt").write_text(line)
    (folder / "classes.txt").write_text("a\nb\n")
    with pytest.raises(InputError, match=said):
        import_labels(job_of(folder / "job"), folder)
    (folder / "classes.txt").unlink()
    with pytest.raises(InputError, match=r"data\.yaml or classes\.txt"):
        import_labels(job_of(folder / "job"), folder)


BOMB = '<!DOCTYPE a [<!ENTITY x "ha"><!ENTITY y "&x;&x;&x;">]><annotation>&y;</annotation>'


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (BOMB.encode(), "has a document type .* Delete that line"),
        (BOMB.encode("utf-16"), "has a document type"),
        (b"<annotation><object>", "no XML that can be read .* export it again"),
        (b"<html></html>", "expected VOC's <annotation>"),
        (b"<annotation><filename>a.png</filename><object><name>x</name></object></annotation>", "has no box"),
        (f"<annotation><filename>a.png</filename>{BOXED.format('')}</annotation>".encode(), "object 1 has no name"),
        (f"<annotation><filename>../../a.png</filename>{BOXED.format('x')}</annotation>".encode(), "leads out"),
    ],
)
def test_wrong_xml_is_a_sentence(folder, text, said):
    (folder / "Annotations").mkdir()
    (folder / "Annotations/a.xml").write_bytes(text)
    with pytest.raises(InputError, match=said):
        import_labels(job_of(folder / "job"), folder)
    assert not (folder / "job/marks").exists()


def test_a_broken_picture_is_named_and_the_rest_is_taken_in(folder, capsys):
    whole = picture(folder / "pictures/b.png", seed=3).read_bytes()
    (folder / "pictures/b.png").write_bytes(whole[:-2000])
    images = [{"id": n, "file_name": f"{'ab'[n]}.png", "width": 80, "height": 60} for n in range(2)]
    file = coco(folder, [one(id=n, image_id=n, segmentation=SQUARE) for n in range(2)], images)
    report = import_labels(job_of(folder / "job"), file, [folder / "pictures"])
    assert report.marked == 1 and [Path(p).name for p in report.unreadable] == ["b.png"]


def test_what_cannot_be_written_is_not_half_written(folder, monkeypatch):
    file = coco(folder, [one(segmentation=SQUARE)])
    job = job_of(folder / "job")
    job.mark(picture(folder / "other.png", seed=5), Mark.stroke(1, [(3, 3)], 2))
    before = {p: p.read_bytes() for p in job.folder.rglob("*") if p.is_file()}
    import identity_segmentation.labels.markbook as markbook

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(markbook, "write_json", full)
    with pytest.raises(OSError):
        import_labels(job, file, [folder / "pictures"])
    assert {p: p.read_bytes() for p in job.folder.rglob("*") if p.is_file()} == before


def test_on_the_command_line(folder, capsys):
    file = coco(folder, [one(segmentation=SQUARE), one(id=2, bbox=[90, 5, 10, 10])])
    out = str(folder / "job")
    line = ["label", "import", str(file), str(folder / "pictures"), "--out", out, "--segmenter", "embedded"]
    assert main(line) == 1
    said = capsys.readouterr().err
    assert "covers nothing of the 80x60 picture" in said and "--skip-broken" in said and "Traceback" not in said
    assert main([*line, "--skip-broken"]) == 4
    told = capsys.readouterr()
    assert "1 pictures marked, 1 masks and 0 boxes" in told.out and "scratch is id 1" in told.out
    assert "1 left out" in told.err
    assert main([*line, "--skip-broken", "--overwrite", "--classes", "점", "--nothing", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["names"] == {"2": "점"} and report["marked"] == 1 and report["masks"] == 0
    assert main(["label", "import", str(folder / "nowhere"), "--out", out]) == 1
    assert "no such file or folder" in capsys.readouterr().err
    shutil.rmtree(folder / "pictures")
    (folder / "pictures").mkdir()
    assert main(["label", "import", str(folder / "pictures"), "--out", out]) == 1
    assert "its format cannot be told; expected a COCO file" in capsys.readouterr().err

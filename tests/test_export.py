"""Exports, each read back by other people's readers of its format."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from conftest import ROOT
from made_photos import turned
from PIL import Image, JpegImagePlugin

from identity_segmentation.colours import icc_profile
from identity_segmentation.errors import InputError, OutputError
from identity_segmentation.geometry import connected_parts, mask_rings
from identity_segmentation.labels.export import FORMATS, Labelled, Source, export

NAMES = {1: "균열 crack", 3: 'a "b" <c> & $d'}


@pytest.fixture(scope="module")
def readers():
    """Puts the readers that scripts/setup.sh --dev installs apart within reach."""
    folder = Path(sys.prefix) / "readers"
    if not (folder / "datumaro").is_dir():
        pytest.skip("the readers of annotation formats are not installed: scripts/setup.sh --dev")
    sys.path.append(str(folder))
    yield folder
    sys.path.remove(str(folder))


@pytest.fixture(scope="module")
def labelled(tmp_path_factory):
    """Two pictures, one in a folder with spaces: masks with holes, several parts, one pixel, the border; and none."""
    folder = tmp_path_factory.mktemp("pictures")
    rng = np.random.default_rng(0)
    pictures = []
    for number, name in enumerate(("첫 사진", "sub folder/b")):
        path = folder / f"{name}.png"
        path.parent.mkdir(exist_ok=True)
        image = rng.integers(0, 255, (60 + 10 * number, 80, 3), np.uint8)
        cv2.imencode(".png", image)[1].tofile(path)
        first, second = np.zeros(image.shape[:2], bool), np.zeros(image.shape[:2], bool)
        if number == 0:
            first[5:40, 5:40] = True
            first[15:25, 12:30] = False  # a hole
            first[50, 60] = True  # a pixel of its own
            first[45:47, 0:9] = True
            second[30:60, 70:80] = True  # at the border
        masks = {1: first, 3: second}
        pictures.append(
            Labelled(
                path,
                name,
                f"{name}.png",
                (image.shape[1], image.shape[0]),
                {1: 0.9, 3: 0.25},
                lambda masks=masks: masks,
            )
        )
    return pictures


def written(kind, labelled, tmp_path, parts=False):
    return export(kind, lambda: iter(labelled), NAMES, tmp_path / "exports", parts)


@pytest.mark.parametrize("kind", list(FORMATS))
def test_an_export_is_never_written_over_another(kind, labelled, tmp_path):
    first = written(kind, labelled, tmp_path)
    before = {p: p.read_bytes() for p in first.rglob("*") if p.is_file()}
    second = written(kind, labelled, tmp_path)
    assert first.name == kind and second.name == f"{kind}-2" and before
    assert all(p.read_bytes() == data for p, data in before.items())
    assert sorted(p.name for p in first.parent.iterdir()) == [kind, f"{kind}-2"]


def test_an_unknown_format_and_a_folder_that_cannot_be_are_refused(labelled, tmp_path):
    with pytest.raises(InputError, match="coco, coco-polygons, yolo, voc, cvat, label-studio"):
        written("excel", labelled, tmp_path)
    (tmp_path / "exports").write_text("a file")
    with pytest.raises(OutputError, match="cannot be written"):
        written("coco", labelled, tmp_path)


def test_an_export_that_fails_leaves_nothing(labelled, tmp_path):
    def broken():
        yield labelled[0]
        raise OutputError("the disk is full")

    with pytest.raises(OutputError):
        export("voc", broken, NAMES, tmp_path / "exports")
    assert list((tmp_path / "exports").iterdir()) == []


@pytest.mark.parametrize("kind", ["coco", "coco-polygons"])
@pytest.mark.parametrize("parts", [False, True])
def test_coco_is_read_by_its_own_library_to_the_pixel(kind, parts, labelled, tmp_path):
    from pycocotools.coco import COCO

    coco = COCO(str(written(kind, labelled, tmp_path, parts) / "annotations.json"))
    assert {c["id"]: c["name"] for c in coco.loadCats(coco.getCatIds())} == NAMES
    assert [i["file_name"] for i in coco.loadImgs(coco.getImgIds())] == ["첫 사진.png", "sub folder/b.png"]
    found = coco.loadAnns(coco.getAnnIds(imgIds=[1]))
    assert len(found) == (4 if parts else 2) and not coco.getAnnIds(imgIds=[2])
    masks = labelled[0].load()
    for number in NAMES:
        united = np.zeros_like(masks[1])
        for annotation in found:
            if annotation["category_id"] == number:
                mask = coco.annToMask(annotation).astype(bool)
                united |= mask
                if kind == "coco":
                    x, y, w, h = annotation["bbox"]
                    ys, xs = np.nonzero(mask)
                    assert (x, y, x + w, y + h) == (xs.min(), ys.min(), xs.max() + 1, ys.max() + 1)
                    assert annotation["area"] == mask.sum() and annotation["score"] in (0.9, 0.25)
        if kind == "coco":
            assert np.array_equal(united, masks[number])
        else:  # the cut to a hole may take or give a pixel
            assert (united ^ masks[number]).sum() < 0.01 * masks[number].sum()


def test_yolo_is_read_by_supervision_to_the_pixel(readers, labelled, tmp_path):
    import supervision

    folder = written("yolo", labelled, tmp_path)
    text = (folder / "data.yaml").read_text("utf-8")
    assert "path:" not in text
    flat = labelled[0]
    read = supervision.DetectionDataset.from_yolo(
        str(folder / "images/train"), str(folder / "labels/train"), str(folder / "data.yaml"), force_masks=True
    )
    assert read.classes == list(NAMES.values())
    found = next(a for path, _, a in read if Path(path).name == "첫 사진.png")
    masks = flat.load()
    for index, number in enumerate(NAMES):
        assert np.array_equal(found.mask[found.class_id == index].any(axis=0), masks[number])
    assert len(found) == 4  # every part is an object
    assert (folder / "labels/train/sub folder/b.txt").read_text() == ""
    assert (folder / "images/train/sub folder/b.png").read_bytes() == labelled[1].picture.read_bytes()


def test_yolos_lines_keep_its_rules(labelled, tmp_path):
    folder = written("yolo", labelled, tmp_path)
    for line in (folder / "labels/train/첫 사진.txt").read_text().splitlines():
        kind, *numbers = line.split()
        assert kind in ("0", "1") and len(numbers) >= 6 and len(numbers) % 2 == 0
        assert all(0 <= float(v) <= 1 for v in numbers)


def test_voc_is_read_by_datumaro(readers, labelled, tmp_path):
    import datumaro

    folder = written("voc", labelled, tmp_path)
    read = datumaro.Dataset.import_from(str(folder), "voc", coordinate_mode="voc-one-based")
    kinds = [c.name for c in read.categories()[datumaro.AnnotationType.label]]
    assert kinds == ["background", *NAMES.values()]
    items = {item.id: item for item in read}
    assert set(items) == {"첫 사진", "sub folder_b"} and not items["sub folder_b"].annotations
    masks = labelled[0].load()
    boxes = [a for a in items["첫 사진"].annotations if a.type == datumaro.AnnotationType.bbox]
    assert {tuple(b.get_bbox()) for b in boxes} == {(0, 5, 61, 46), (70, 30, 10, 30)}
    for number, name in NAMES.items():
        drawn = np.zeros_like(masks[1])
        for annotation in items["첫 사진"].annotations:
            if annotation.type == datumaro.AnnotationType.mask and annotation.label == kinds.index(name):
                drawn |= annotation.image.astype(bool)
        assert np.array_equal(drawn, masks[number])
    png = Image.open(folder / "SegmentationClass" / "첫 사진.png")
    assert png.mode == "P" and png.getpalette()[3:6] == [128, 0, 0]


def test_a_colon_in_a_name_does_not_break_vocs_label_map(readers, labelled, tmp_path):
    import datumaro

    folder = export("voc", lambda: iter(labelled), {1: "a:b", 3: "c"}, tmp_path / "exports")
    read = datumaro.Dataset.import_from(str(folder), "voc")
    assert [c.name for c in read.categories()[datumaro.AnnotationType.label]] == ["background", "a_b", "c"]


def test_cvat_is_read_by_cvats_own_code_and_by_datumaro(readers, labelled, tmp_path):
    import datumaro
    from cvat_sdk.masks import decode_mask

    folder = written("cvat", labelled, tmp_path)
    root = ET.parse(folder / "annotations.xml").getroot()
    assert [e.text for e in root.iterfind("meta/task/labels/label/name")] == list(NAMES.values())
    image = root.find("image")
    assert image.attrib["name"] == "첫 사진.png"
    masks = labelled[0].load()
    for element in image.iterfind("mask"):
        a = element.attrib
        runs = [int(v) for v in a["rle"].split(",")]
        left, top, width, height = (int(a[k]) for k in ("left", "top", "width", "height"))
        assert sum(runs) == width * height
        points = [*runs, left, top, left + width - 1, top + height - 1]
        number = next(i for i, name in NAMES.items() if name == a["label"])
        assert np.array_equal(decode_mask(points, image_width=80, image_height=60), masks[number])
        assert float(element.find("attribute").text) in (0.9, 0.25)
    for picture in labelled:
        target = folder / "images" / picture.file_name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(picture.picture.read_bytes())
    read = datumaro.Dataset.import_from(str(folder), "cvat")
    item = next(i for i in read if i.id.endswith("첫 사진"))
    drawn = [a for a in item.annotations if a.type == datumaro.AnnotationType.mask]
    assert {int(a.image.astype(bool).sum()) for a in drawn} == {int(m.sum()) for m in masks.values()}


def test_label_studio_is_read_by_its_own_converter(readers, labelled, tmp_path, capsys):
    from label_studio_sdk.converter.brush import decode_rle

    folder = written("label-studio", labelled, tmp_path)
    tasks = json.loads((folder / "tasks.json").read_text("utf-8"))
    config = ET.parse(folder / "config.xml").getroot()
    assert [e.attrib["value"] for e in config.iterfind("BrushLabels/Label")] == list(NAMES.values())
    assert re.fullmatch(r"/data/local-files/\?d=[\w%./-]+", tasks[1]["data"]["image"])
    masks = labelled[0].load()
    regions = tasks[0]["predictions"][0]["result"]
    assert tasks[0]["predictions"][0]["score"] == 0.25 and tasks[1]["predictions"][0]["result"] == []
    for region in regions:
        assert region["to_name"] == "image" and (region["original_width"], region["original_height"]) == (80, 60)
        if region["type"] == "brushlabels":
            alpha = decode_rle(region["value"]["rle"]).reshape(60, 80, 4)[..., 3]
            number = next(i for i, name in NAMES.items() if [name] == region["value"]["brushlabels"])
            assert np.array_equal(alpha > 0, masks[number])
        else:
            value = region["value"]
            assert value["x"] >= 0 and value["x"] + value["width"] <= 100 + 1e-9
    assert [r["type"] for r in regions] == ["brushlabels", "rectanglelabels"] * 2


def test_label_studios_bytes_are_the_published_ones():
    from identity_segmentation.labels.export.label_studio import packed

    assert packed(np.array([[0, 1], [0, 0]], bool)) == [0, 0, 0, 16, 57, 27, 252, 96, 17, 255, 206, 0]
    large = np.zeros((600, 700), bool)  # a run longer than the longest word
    large[-1, -1] = True
    assert len(packed(large)) < 200


def test_a_ring_holds_its_part_hole_and_all():
    rng = np.random.default_rng(1)
    for _ in range(20):
        mask = cv2.GaussianBlur(rng.random((50, 60)).astype(np.float32), (0, 0), 3) > 0.5
        drawn = np.zeros(mask.shape, np.uint8)
        for ring in mask_rings(mask):
            part = np.zeros_like(drawn)
            cv2.fillPoly(part, [np.round(ring - 0.25).astype(np.int32)], 1)
            drawn |= part
        # The cut to a hole is painted too: a line of one pixel.
        assert (drawn.astype(bool) & mask).sum() == mask.sum() and (drawn.astype(bool) ^ mask).mean() < 0.03
        assert len(mask_rings(mask)) == len(list(connected_parts(mask)))


def test_a_mask_full_of_holes_is_walked_in_a_moment():
    from pycocotools import mask as coco

    rows, columns = np.mgrid[:400, :400]
    mask = ~((rows % 5 == 2) & (columns % 5 == 2))
    (ring,) = mask_rings(mask)
    assert len(ring) > 4 * 6000
    part = np.pad(mask[:60, :60], 2)
    (ring,) = mask_rings(part, 3)
    read = coco.decode(coco.merge(coco.frPyObjects([ring.ravel().tolist()], 64, 64))).astype(bool)
    assert (read ^ part).mean() < 0.03


def test_names_with_control_characters_make_no_invalid_files(readers, labelled, tmp_path):
    for kind, file in (("voc", "Annotations/첫 사진.xml"), ("cvat", "annotations.xml"), ("label-studio", "config.xml")):
        folder = export(kind, lambda: iter(labelled), {1: "a\x01b", 3: "a:b\n"}, tmp_path / "exports")
        ET.parse(folder / file)
    rows = (tmp_path / "exports/voc/labelmap.txt").read_text("utf-8").splitlines()
    assert len({row.split(":")[0] for row in rows[1:]}) == 3


# ---- pictures that EXIF turns


def phone_pictures(tmp_path, *orientations, size=(60, 80), suffix=".jpg"):
    """Labelled pictures with a dark disc each, that lie in the file as a phone leaves them."""
    made = []
    for number, orientation in enumerate(orientations):
        grey = np.full((*size, 3), 200, np.uint8)
        mask = np.zeros(size, np.uint8)
        cv2.circle(mask, (20, 15 + number), 9, 1, -1)
        grey[mask > 0] = (30, 40, 50)
        picture, exif = turned(grey, orientation)
        exif[0x010F] = "a phone"
        path = tmp_path / "pictures" / f"p{number}{suffix}"
        path.parent.mkdir(exist_ok=True)
        kind = Image.registered_extensions().get(suffix, "JPEG")
        options = {"quality": 95, "subsampling": 1} if kind == "JPEG" else {}
        picture.save(path, kind, exif=exif, icc_profile=icc_profile(12, "srgb"), **options)
        masks = {1: mask > 0}
        made.append(Labelled(path, f"p{number}", path.name, size[::-1], {1: 0.9}, lambda masks=masks: masks))
    return made


def fits(picture: Path, mask: np.ndarray) -> None:
    """The disc is where the mask is, for who ignores EXIF and for who obeys it."""
    for how in (cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION, cv2.IMREAD_COLOR):
        read = cv2.imdecode(np.fromfile(picture, np.uint8), how)
        assert read.shape[:2] == mask.shape
        assert read[mask].mean() < 70 and read[~mask].mean() > 180


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".tif", ".webp"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_copies_of_turned_pictures_stand_upright(tmp_path, orientation, suffix):
    (made,) = phone_pictures(tmp_path, orientation, suffix=suffix)
    voc = export("voc", lambda: iter([made]), {1: "disc"}, tmp_path / "exports")
    mask = np.asarray(Image.open(voc / "SegmentationClass/p0.png")) == 1
    copy = voc / "JPEGImages" / f"p0{suffix}"
    fits(copy, mask)
    assert (copy.read_bytes() == made.picture.read_bytes()) == (orientation == 1)
    with Image.open(copy) as read, Image.open(made.picture) as original:
        assert read.format == original.format and read.info["icc_profile"] == original.info["icc_profile"]
        assert read.getexif().get(0x0112) == 1 and read.getexif().get(0x010F) == "a phone"
        if suffix == ".jpg":
            assert JpegImagePlugin.get_sampling(read) == JpegImagePlugin.get_sampling(original) == 1
            assert read.quantization == original.quantization, "quality 95"


def test_yolo_and_coco_fit_their_pictures(tmp_path):
    from pycocotools.coco import COCO

    made = phone_pictures(tmp_path, 6, 1, 3)
    yolo = export("yolo", lambda: iter(made), {1: "disc"}, tmp_path / "exports")
    coco = export("coco", lambda: iter(made), {1: "disc"}, tmp_path / "exports")
    read = COCO(str(coco / "annotations.json"))
    assert "images/" in read.dataset["info"]["description"] and "EXIF" in read.dataset["info"]["description"]
    for picture, entry in zip(made, read.loadImgs(read.getImgIds()), strict=True):
        fits(yolo / "images/train" / picture.placed_name, picture.load()[1])
        assert entry["file_name"] == picture.file_name
        (annotation,) = read.loadAnns(read.getAnnIds(imgIds=[entry["id"]]))
        fits(coco / "images" / entry["file_name"], read.annToMask(annotation) > 0)
    assert (coco / "images/p1.jpg").read_bytes() == made[1].picture.read_bytes()


def test_coco_copies_nothing_where_nothing_is_turned(labelled, tmp_path):
    folder = written("coco", labelled, tmp_path)
    assert [p.name for p in folder.iterdir()] == ["annotations.json"]
    assert json.loads((folder / "annotations.json").read_text("utf-8"))["info"] == {"description": "few-shot labels"}


@pytest.mark.parametrize("name", ["p0", "p0.MPO", "p0.jpe"])
def test_copies_have_a_suffix_that_readers_know(tmp_path, name):
    (made,) = phone_pictures(tmp_path, 1)
    path = made.picture.rename(made.picture.with_name(name))
    renamed = Labelled(path, "p0", name, made.size, made.scores, made.load)
    folder = export("yolo", lambda: iter([renamed]), {1: "disc"}, tmp_path / "exports")
    assert [p.name for p in (folder / "images/train").iterdir()] == ["p0.jpg"]
    assert (folder / "images/train/p0.jpg").read_bytes() == path.read_bytes()


# ---- exports that are there already


JOB = Source("/a/job", ("proposed",), "labels 1")


def again(labelled, tmp_path, source: Source | None = JOB, kind: str = "voc", parts: bool = False) -> Path:
    return export(kind, lambda: iter(labelled), NAMES, tmp_path / "exports", parts, source)


def seen(folder: Path) -> dict:
    return {p.relative_to(folder): (p.read_bytes(), p.stat().st_mtime_ns) for p in folder.rglob("*") if p.is_file()}


def test_the_same_labels_are_not_exported_twice(labelled, tmp_path):
    first = again(labelled, tmp_path)
    before = seen(first)
    assert again(labelled, tmp_path) == first and seen(first) == before
    assert os.listdir(tmp_path / "exports") == ["voc"]


def test_other_labels_of_the_same_job_take_the_place_of_an_export_nobody_touched(labelled, tmp_path):
    first = again(labelled, tmp_path)
    second = again(labelled[:1], tmp_path, replace(JOB, digest="labels 2"))
    assert second == first and os.listdir(tmp_path / "exports") == ["voc"]
    assert (second / "ImageSets/Main/train.txt").read_text("utf-8") == "첫 사진\n"


@pytest.mark.parametrize(
    "change",
    [
        lambda f: (f / "notes.txt").write_text("mine"), lambda f: (f / "labelmap.txt").unlink(),
        lambda f: (f / "labelmap.txt").write_text("mine"), lambda f: (f / ".idseg-export.json").unlink(),
        lambda f: (f / ".idseg-export.json").write_text("{}"), lambda f: (f / "JPEGImages/mine").mkdir(),
        lambda f: (f / "Annotations").rename(f / "Other"), lambda f: os.utime(f / "labelmap.txt", (1, 1)),
    ],
)  # fmt: skip
@pytest.mark.parametrize("digest", ["labels 1", "labels 2"])
def test_an_export_that_somebody_changed_is_never_touched(labelled, tmp_path, change, digest):
    first = again(labelled, tmp_path)
    change(first)
    before = seen(first)
    second = again(labelled, tmp_path, replace(JOB, digest=digest))
    assert second.name == "voc-2" and seen(first) == before
    third = again(labelled, tmp_path, replace(JOB, digest="labels 3"))
    assert third == second and sorted(os.listdir(tmp_path / "exports")) == ["voc", "voc-2"]


def test_exports_of_another_make_keep_their_folders(labelled, tmp_path):
    first = again(labelled, tmp_path)
    others = [
        again(labelled, tmp_path, replace(JOB, states=("accepted",))), again(labelled, tmp_path, parts=True),
        again(labelled, tmp_path, replace(JOB, job="/another/job")), again(labelled, tmp_path, None),
    ]  # fmt: skip
    assert [p.name for p in (first, *others)] == ["voc", "voc-2", "voc-3", "voc-4", "voc-5"]
    (tmp_path / "exports/yolo").symlink_to(first)
    assert again(labelled, tmp_path, kind="yolo").name == "yolo-2"


KILLED = """
import os, sys, pathlib
import numpy as np
from identity_segmentation.labels.export import Labelled, Source, export

place, at = pathlib.Path(sys.argv[1]), int(sys.argv[2])

def pictures():
    for number in range(6):
        if number == at:
            os.kill(os.getpid(), 9)
        masks = {1: np.ones((8, 8), bool)}
        yield Labelled(place / f"{number}.png", str(number), f"{number}.png", (8, 8), {1: 1.0}, lambda: masks)

export(sys.argv[3], pictures, {1: "a"}, place / "exports", False, Source("job", ("proposed",), sys.argv[4]))
"""


def in_a_child(place: Path, at: int, kind: str, digest: str, script: str = KILLED) -> int:
    """Export in a process of its own, which is killed at a picture."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run([sys.executable, "-c", script, place, str(at), kind, digest], env=environment).returncode


@pytest.mark.skipif(os.name != "posix", reason="SIGKILL is POSIX's")
@pytest.mark.parametrize("kind", ["yolo", "coco"])
def test_an_export_that_was_killed_is_finished_in_its_own_folder(tmp_path, kind):
    for number in range(6):
        cv2.imwrite(str(tmp_path / f"{number}.png"), np.full((8, 8, 3), number, np.uint8))
    exports = tmp_path / "exports"
    assert in_a_child(tmp_path, 3, kind, "1") == -9
    (left,) = os.listdir(exports)
    assert left.endswith(".part")
    assert in_a_child(tmp_path, 99, kind, "1") == 0
    assert os.listdir(exports) == [kind]
    whole = seen(exports / kind)
    assert in_a_child(tmp_path, 3, kind, "1") == 0, "up to date, so no picture is looked at"
    assert in_a_child(tmp_path, 3, kind, "2") == -9
    assert seen(exports / kind) == whole, "a killed export leaves the one before whole"
    assert in_a_child(tmp_path, 99, kind, "2") == 0 and os.listdir(exports) == [kind]
    assert json.loads((exports / kind / ".idseg-export.json").read_text())["digest"] == "2"


@pytest.mark.skipif(os.name != "posix", reason="SIGKILL is POSIX's")
def test_an_export_killed_while_it_takes_its_place_is_made_again(tmp_path):
    for number in range(6):
        cv2.imwrite(str(tmp_path / f"{number}.png"), np.full((8, 8, 3), number, np.uint8))
    assert in_a_child(tmp_path, 99, "yolo", "1") == 0
    dies = "real = pathlib.Path.rename\npathlib.Path.rename = lambda p, t: (real(p, t), os.kill(os.getpid(), 9))\n"
    halfway = KILLED.replace("export(sys", f"{dies}export(sys")
    assert in_a_child(tmp_path, 99, "yolo", "2", halfway) == -9
    assert all(name.endswith(".part") for name in os.listdir(tmp_path / "exports"))
    assert in_a_child(tmp_path, 99, "yolo", "2") == 0 and os.listdir(tmp_path / "exports") == ["yolo"]

"""Exports, each read back by other people's readers of its format."""

from __future__ import annotations

import json
import re
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from identity_segmentation.errors import InputError, OutputError
from identity_segmentation.geometry import connected_parts, mask_rings
from identity_segmentation.labels.export import FORMATS, Labelled, export

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

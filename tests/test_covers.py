"""Covers: what lies under one is gone, as strong as the head is large, at the same place from frame to frame."""

from __future__ import annotations

import io

import av
import cv2
import numpy as np
import pytest

from identity_segmentation import InputError, read_image
from identity_segmentation.covers import WAYS, Cover, cell_of, covered, covered_all, head_shape

SHAPE = (400, 500, 3)


def noise(seed: int = 3, shape=SHAPE) -> np.ndarray:
    """A picture with detail everywhere."""
    rng = np.random.default_rng(seed)
    coarse = cv2.resize(rng.integers(0, 256, (20, 25, 3), np.uint8), shape[1::-1], interpolation=cv2.INTER_CUBIC)
    return cv2.addWeighted(coarse, 0.6, rng.integers(0, 256, shape, np.uint8), 0.4, 0)


def head(box, way: str, image: np.ndarray) -> np.ndarray:
    hide, place = head_shape(box, image.shape)
    return covered(image, hide, max(box[2] - box[0], box[3] - box[1]), way, place)


def whole_hide(box, shape=SHAPE) -> np.ndarray:
    """uint8 (H, W): `head_shape` laid into the whole picture."""
    hide, (x0, y0, x1, y1) = head_shape(box, shape)
    whole = np.zeros(shape[:2], np.uint8)
    whole[y0:y1, x0:x1] = hide
    return whole


@pytest.mark.parametrize("way", WAYS)
def test_what_is_not_to_be_hidden_stays_and_the_picture_given_is_not_changed(way):
    image, hide = noise(), whole_hide((150, 120, 290, 290))
    before = image.copy()
    result = covered(image, hide, 170, way)
    assert np.array_equal(image, before)
    assert np.array_equal(result[hide == 0], image[hide == 0])
    assert (result[hide == 255].astype(int) != image[hide == 255]).any(-1).mean() > 0.9


@pytest.mark.parametrize("way", WAYS)
def test_a_part_with_its_box_gives_the_same_bytes_as_the_whole_picture(way):
    image, box = noise(), (150, 120, 290, 290)
    assert np.array_equal(head(box, way, image), covered(image, whole_hide(box), 170, way))


@pytest.mark.parametrize("way", ("solid", "ellipse"))
def test_a_drawn_cover_holds_nothing_of_what_is_under_it(way):
    hide = whole_hide((150, 120, 290, 290))
    one, other = noise(3), noise(4)
    other[hide == 0] = one[hide == 0]  # another face in the same surroundings
    at = hide == 255
    results = [covered(image, hide, 170, way) for image in (one, other)]
    assert np.array_equal(results[0][at], results[1][at])
    assert len(np.unique(results[0][at], axis=0)) == 1, "one colour"


@pytest.mark.parametrize("way", ("blur", "mosaic"))
@pytest.mark.parametrize("size", (40, 170, 640))
def test_detail_that_is_finer_than_a_cell_leaves_no_trace(way, size):
    cell = cell_of(size, way)
    image = np.full((8 * cell, 8 * cell, 3), 128, np.uint8)
    stripes = image.copy()
    stripes[:, 0::2], stripes[:, 1::2] = 28, 228  # the same mean in every cell, whose side is even
    assert cell % 2 == 0
    hide = np.full(image.shape[:2], 255, np.uint8)
    gap = cv2.absdiff(covered(image, hide, size, way), covered(stripes, hide, size, way))
    assert gap.max() <= 1


@pytest.mark.parametrize("way", ("blur", "mosaic"))
def test_a_head_of_any_size_keeps_no_more_than_six_cells_across_and_strength_goes_in_steps(way):
    cells = [cell_of(size, way) for size in range(8, 3000)]
    assert all(size / cell <= 6 for size, cell in enumerate(cells, 8))
    assert all(cell <= max(2, size / 6 * 1.5 + 1) for size, cell in enumerate(cells, 8)), "nor far fewer"
    assert cells == sorted(cells)
    assert len(set(cells)) < 22, "a head that grows by a pixel a frame must not change its cells in each"


@pytest.mark.parametrize("way", ("blur", "mosaic"))
def test_a_box_that_moves_by_a_pixel_changes_the_rim_alone(way):
    image = noise()
    a, b = (150, 120, 290, 290), (151, 121, 291, 291)
    both = (whole_hide(a) == 255) & (whole_hide(b) == 255)
    assert np.array_equal(head(a, way, image)[both], head(b, way, image)[both])


def test_a_solid_cover_hides_whatever_it_touches_and_the_others_have_a_soft_rim():
    image, box = np.full(SHAPE, 255, np.uint8), (150, 120, 290, 290)
    rim = (whole_hide(box) > 0) & (whole_hide(box) < 255)
    assert rim.sum() > 1000
    assert (head(box, "solid", image)[rim] == 64).all()
    image[whole_hide(box) == 255] = 0
    assert (head(box, "ellipse", image) == 255).all(), "a colour of the surroundings, mixed with them in the rim"


def test_a_small_head_does_not_show_a_piece_of_a_large_one_that_it_overlaps():
    image = noise()
    large, small = (100, 60, 340, 340), (200, 180, 224, 208)
    hide = [head_shape(box, SHAPE) for box in (small, large)]
    covers = [Cover(part, place, size) for (part, place), size in zip(hide, (28, 280), strict=True)]
    for order in (covers, covers[::-1]):
        result = covered_all(image, order, "mosaic")
        x0, y0, x1, y1 = (round(v) for v in small)
        edges = np.abs(np.diff(result[y0:y1, x0:x1].astype(int), axis=1)).max(-1)
        assert ((edges > 0).sum(axis=1) <= 12).all(), "at most the rims and a border of two large cells"
    assert np.array_equal(covered_all(image, covers, "blur"), covered_all(image, covers[::-1], "blur"))


def test_the_shape_covers_hair_and_ears_of_a_head_whose_box_is_out_by_a_twelfth():
    box = np.array((150.0, 120.0, 290.0, 290.0))
    hide = whole_hide(box, (500, 500, 3))
    angles = np.linspace(0, 2 * np.pi, 400)
    x, y = np.cos(angles), np.sin(angles)
    squarish = (np.abs(x) ** 3 + np.abs(y) ** 3) ** (-1 / 3)  # an outline that is squarer than an ellipse
    for grow in (1.0, 1.16):
        across, down = 70 * grow * squarish * x, 85 * grow * squarish * y
        columns, rows = np.clip(np.rint(220 + across).astype(int), 0, 499), np.rint(205 + down).astype(int)
        assert (hide[rows, columns] >= 250).mean() > (0.999 if grow == 1 else 0.97)
    assert hide[0].max() == 0
    assert hide[:, 0].max() == 0, "but not the picture"


def test_a_shape_at_the_border_is_cut_and_one_beyond_it_is_empty():
    hide, place = head_shape((-60, -60, 60, 60), SHAPE)
    assert place[:2] == (0, 0)
    assert hide.shape == (place[3], place[2])
    assert hide[0, 0] == 255
    nothing, nowhere = head_shape((900, 900, 950, 950), SHAPE)
    assert nothing.size == 0
    image = noise()
    assert np.array_equal(covered_all(image, [Cover(nothing, nowhere, 50)]), image)
    corner = head((-60, -60, 60, 60), "blur", image)
    assert not np.array_equal(corner[:20, :20], image[:20, :20])


def test_whoever_asks_wrongly_is_told_what_was_expected():
    image, hide = noise(), np.zeros(SHAPE[:2], np.uint8)
    for arguments, said in (
        ((image, hide, 40, "pixelate"), "blur, mosaic, solid, ellipse"),
        ((image, hide, 0), "above 0"),
        ((image, hide[:9], 40), "(400, 500)"),
        ((image, hide > 0, 40), "uint8"),
        ((image, hide, 40, "blur", (0, 0, 900, 400)), "500x400"),
    ):
        with pytest.raises(InputError) as told:
            covered(*arguments)
        assert said in str(told.value)
    with pytest.raises(InputError, match="x1 > x0"):
        head_shape((10, 10, 10, 20), SHAPE)


# ---- real faces


def coded(image: np.ndarray) -> np.ndarray:
    """A picture after H.264 as videos are written."""
    from identity_segmentation.video.writing import FORMATS

    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as out:
        stream = out.add_stream("libx264", rate=25, options=FORMATS[".mp4"].options)
        stream.height, stream.width, stream.pix_fmt = *image.shape[:2], "yuv420p"
        out.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="bgr24")))
        out.mux(stream.encode(None))
    file.seek(0)
    with av.open(file) as source:
        return next(source.decode(video=0)).to_ndarray(format="bgr24")


def portrait(path, engine, size: int):
    """(picture, head's box, face) with the largest face's head `size` pixels high."""
    image = read_image(path)
    face = max(engine.faces(image), key=lambda f: f.side)
    (x, y), side = face.centre, face.side
    k, frame = size / (1.8 * side), 2 * (size * 4 // 5)
    moved = np.float32([[k, 0, frame / 2 - k * x], [0, k, frame / 2 - k * y]])
    picture = cv2.warpAffine(image, moved, (frame, frame), flags=cv2.INTER_AREA, borderMode=cv2.BORDER_REPLICATE)
    middle, half = frame / 2, size / 2
    return picture, (middle - 0.8 * half, middle - 1.15 * half, middle + 0.8 * half, middle + 0.85 * half), face


@pytest.mark.parametrize("engine", ("embedded_faces", "insightface_mini"))
@pytest.mark.parametrize("size", (80, 640))
def test_no_recogniser_knows_a_covered_face_of_any_size(engine, size, data, request):
    engine = request.getfixturevalue(engine)
    known = 0
    for folder in sorted((data / "identity/ive/refs").iterdir())[:3]:
        picture, box, face = portrait(sorted(folder.iterdir())[1], engine, size)

        def likeness(image, face=face):
            found = [float(f.embedding @ face.embedding) for f in engine.faces(image) if f.embedding is not None]
            return max(found, default=-1.0)

        known += likeness(picture) > engine.strict
        for way in WAYS:
            hidden = head(box, way, picture)
            for seen in (hidden, coded(hidden)):
                assert likeness(seen) < engine.floor, f"{folder.name}, {way}"
    assert known >= 2, "the test shows nothing unless the same faces are known uncovered"

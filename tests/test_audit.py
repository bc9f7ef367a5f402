"""A second look at what was covered: what is bare is found, what is covered is not, and what is said of it holds."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import time
from dataclasses import replace
from fractions import Fraction
from html.parser import HTMLParser
from pathlib import Path

import cv2
import numpy as np
import pytest

from identity_segmentation import read_image, write_image
from identity_segmentation.audit import (
    Audit,
    Correction,
    correct,
    corrections_file,
    corrections_key,
    corrections_of,
    last_audit,
    look_again,
)
from identity_segmentation.audit_report import as_html, in_words, write_html
from identity_segmentation.bareness import BARE, BARE_FACE, SAME, detail, unchanged
from identity_segmentation.cli.command import main
from identity_segmentation.engines.second_looks import (
    BlazeLook,
    BodyLook,
    ScrfdLook,
    SeenHead,
    head_around,
    looks_for,
    scrfd_file,
)
from identity_segmentation.errors import InputError, OutputError
from identity_segmentation.geometry import box_iou
from identity_segmentation.settings import Settings
from identity_segmentation.video import FORMATS
from identity_segmentation.video.writing import SegmentWriter

HOSTILE = "<img src=x onerror=alert(1)>"
PLACE = (100.0, 60.0, 148.0, 120.0)  # of the head in drawn films
FPS = 10


class Sees:
    """A look that reports the same boxes in every picture, whatever is there."""

    def __init__(self, *boxes, score=0.9, by="face", family="fake"):
        self.boxes, self.score, self.by = boxes, score, by
        self.id = self.family = family
        self.least, self.sure = 0.2, 0.5
        self.pictures = 0

    def heads(self, image_bgr):
        self.pictures += 1
        return [SeenHead(np.array(box, np.float32), self.score, self.by) for box in self.boxes]


def drawn(bare: bool, box=PLACE, size=(180, 320)) -> np.ndarray:
    """A flat picture; a head's worth of detail in a box where it is bare."""
    image = np.full((*size, 3), 120, np.uint8)
    x0, y0, x1, y1 = (int(v) for v in box)
    if bare:
        noise = np.random.default_rng(4).integers(30, 220, ((y1 - y0) // 3 + 1, (x1 - x0) // 3 + 1, 3), np.uint8)
        image[y0:y1, x0:x1] = cv2.resize(noise, None, fx=3, fy=3, interpolation=cv2.INTER_CUBIC)[: y1 - y0, : x1 - x0]
    return image


def film(path: Path, pictures) -> Path:
    height, width = pictures[0].shape[:2]
    with SegmentWriter(path, FORMATS[".mp4"], (width, height), Fraction(FPS), Fraction(1, FPS)) as writer:
        for n, picture in enumerate(pictures):
            writer.write(picture, n)
    return path


def record(output: Path, covered: dict[int, list], seen: dict[int, list] | None = None, **header) -> Path:
    path = output.with_name(output.name + ".covers.jsonl")
    rows = [{"kind": "header", "finder": "embedded", "way": "blur", "view": "blur", "kept": [], **header}]
    rows += [{"i": i, "t": i / FPS, "covered": covered[i], "kept": (seen or {}).get(i, [])} for i in covered]
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), "utf-8")
    return path


def with_hole(path: Path, bare=range(8, 11), frames=20) -> Path:
    return film(path, [drawn(n in bare) for n in range(frames)])


# ---- pixels


@pytest.fixture(scope="module")
def heads(group, embedded_faces) -> list[np.ndarray]:
    return [head_around(face.box) for face in embedded_faces.faces(group, embed=False)]


def in_cells(image: np.ndarray, cell: int) -> np.ndarray:
    made = image.copy()
    for y in range(0, image.shape[0], cell):
        for x in range(0, image.shape[1], cell):
            part = made[y : y + cell, x : x + cell]
            part[:] = part.mean((0, 1))
    return made


def test_a_head_has_detail_and_a_covered_one_has_none(group, heads):
    assert len(heads) == 6
    for box in heads:
        side = float(max(box[2:] - box[:2]))
        assert detail(group, box) > 2 * BARE
        assert detail(cv2.GaussianBlur(group, (0, 0), side / 6), box) < BARE_FACE
        assert detail(np.full_like(group, 90), box) == 0
        cell = next(s for s in (6, 8, 12, 16, 24, 32, 48) if s >= side / 6)
        assert detail(in_cells(group, cell), box) < BARE


def test_detail_is_the_same_question_at_every_size(group, heads):
    for factor in (0.5, 2.0):
        scaled = cv2.resize(group, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)
        assert all(detail(scaled, box * factor) > BARE for box in heads)


def test_a_place_outside_the_picture_has_nothing_to_be_seen(group):
    assert detail(group, (-300, 10, -200, 110)) == 0 and unchanged(group, group, (9000, 0, 9100, 90)) == 0


def test_what_the_covers_module_covers_is_judged_to_be_covered(group, heads):
    covers = pytest.importorskip("identity_segmentation.covers", reason="covers are not in this version")
    for way in covers.WAYS:
        for box in heads:
            hide, place = covers.head_shape(box, group.shape)
            covered = covers.covered(group, hide, float(max(box[2:] - box[:2])), way, place)
            assert detail(covered, box) < BARE, way
            assert unchanged(covered, group, box) < SAME, way


def test_the_source_tells_what_was_left_as_it_was(group, heads):
    _, data = cv2.imencode(".jpg", group, [cv2.IMWRITE_JPEG_QUALITY, 85])
    again = cv2.imdecode(data, cv2.IMREAD_COLOR)
    assert min(unchanged(again, group, box) for box in heads) > SAME
    assert max(unchanged(np.roll(group, 40, 1), group, box) for box in heads) < SAME


# ---- looks


@pytest.mark.parametrize("make", [BlazeLook, BodyLook])
def test_a_look_sees_the_people_of_a_picture(make, group, heads):
    look = make(2)
    found = look.heads(group)
    assert all(head.box.shape == (4,) and look.least <= head.score <= 1 for head in found)
    assert [head.score for head in found] == sorted((head.score for head in found), reverse=True)
    overlaps = box_iou(np.stack(heads), np.stack([head.box for head in found])).max(1)
    assert (overlaps > 0.3).sum() >= (6 if make is BlazeLook else 4)
    assert look.heads(np.full((120, 160, 3), 128, np.uint8)) == []


def test_scrfd_sees_what_the_packs_own_engine_sees(group, heads, mini_pack, insightface_mini):
    look = ScrfdLook(mini_pack / "det_2.5g.onnx", 2)
    found = [head for head in look.heads(group) if head.score > 0.6]
    faces = [head_around(face.box) for face in insightface_mini.faces(group, embed=False)]
    assert len(found) >= len(faces) == 6
    overlaps = box_iou(np.stack(faces), np.stack([head.box for head in found])).max(1)
    assert overlaps.min() > 0.8


def test_another_family_than_the_finders_looks(mini_pack, tmp_path):
    here = Settings(insightface_pack=str(mini_pack))
    assert [look.family for look in looks_for("embedded", here)[0]] == ["scrfd", "bodies"]
    assert [look.family for look in looks_for("insightface/mini + bodies", here)[0]] == ["blazeface", "bodies"]
    assert [look.family for look in looks_for("", here)[0]] == ["scrfd", "blazeface", "bodies"]
    assert scrfd_file(here).name == "det_2.5g.onnx"


def test_where_there_is_no_other_family_that_is_said(tmp_path):
    looks, remarks = looks_for("embedded", Settings(insightface_models=str(tmp_path)))
    assert [look.family for look in looks] == ["blazeface", "bodies"]
    assert "the same one looked again" in remarks[0]


# ---- what is found


def test_a_bare_head_among_covered_ones_is_found(group, heads, tmp_path):
    size = (640, 442)
    scale = np.array([size[0] / group.shape[1], size[1] / group.shape[0]] * 2, np.float32)
    small = cv2.resize(group, size, interpolation=cv2.INTER_AREA)
    boxes = [box * scale for box in heads]
    covered = small.copy()
    for box in boxes:
        x0, y0, x1, y1 = (float(v) for v in box)
        mask = np.zeros(small.shape[:2], np.uint8)
        centre, half = (int((x0 + x1) / 2), int((y0 + y1) / 2)), (int(0.65 * (x1 - x0)), int(0.65 * (y1 - y0)))
        cv2.ellipse(mask, centre, half, 0, 0, 360, 255, -1)
        covered[mask > 0] = cv2.GaussianBlur(small, (0, 0), (x1 - x0) / 5)[mask > 0]
    x0, y0, x1, y1 = (int(v) for v in boxes[2])
    holed = covered.copy()
    holed[y0:y1, x0:x1] = small[y0:y1, x0:x1]
    out = film(tmp_path / "out.mp4", [covered] * 4 + [holed] + [covered] * 4)
    record(out, {n: [[*map(float, box), i] for i, box in enumerate(boxes) if (n, i) != (4, 2)] for n in range(9)})
    audit = look_again(out, looks=[BlazeLook(2), BodyLook(2)])
    hits = [f for f in audit.findings if box_iou(np.array(f.box), boxes[2])[0, 0] > 0.3]
    assert [(f.first, f.frames, f.by) for f in hits] == [(4, 1, "face, gap")] and len(audit.findings) <= 4
    found = hits[0]
    picture = cv2.imdecode(
        np.frombuffer(base64.b64decode((found.thumbnail or "").partition(",")[2]), np.uint8), cv2.IMREAD_COLOR
    )
    assert max(picture.shape) <= 160 and detail(picture, (0, 0, *picture.shape[1::-1])) > BARE


def test_neighbouring_frames_are_one_span_and_later_ones_another(tmp_path):
    out = with_hole(tmp_path / "out.mp4", bare=[3, 4, 5, 15])
    audit = look_again(out, looks=[Sees(PLACE)])
    assert [(f.from_s, f.to_s, f.frames) for f in audit.findings] == [(0.3, 0.5, 3), (1.5, 1.5, 1)]
    assert [f.number for f in audit.findings] == [1, 2]
    assert audit.facts["frames"] == audit.facts["frames_in_all"] == 20 and audit.facts["bare_frames"] == 4
    assert audit.facts["sha256"] == hashlib.sha256(out.read_bytes()).hexdigest()
    kept = json.loads((tmp_path / "out.mp4.audit.json").read_text("utf-8"))
    assert kept == json.loads(json.dumps(audit.as_dict())) == json.loads(json.dumps(last_audit(out).as_dict()))


def test_what_one_look_sees_in_passing_is_counted_and_not_reported(tmp_path):
    weak = {"score": 0.38}
    passing = look_again(with_hole(tmp_path / "a.mp4", bare=[8]), looks=[Sees(PLACE, **weak)])
    assert (passing.findings, passing.facts["passing"]) == ((), 1)
    steady = look_again(with_hole(tmp_path / "b.mp4", bare=[8, 9, 10]), looks=[Sees(PLACE, **weak)])
    assert len(steady.findings) == 1
    both = look_again(
        with_hole(tmp_path / "c.mp4", bare=[8]), looks=[Sees(PLACE, **weak), Sees(PLACE, family="b", **weak)]
    )
    assert len(both.findings) == 1


def test_a_cover_that_the_record_claims_and_the_picture_has_not_is_found_by_no_detector(tmp_path):
    out = with_hole(tmp_path / "out.mp4")
    record(out, {n: [[*PLACE, 7]] for n in range(20)})
    audit = look_again(out, looks=[Sees()])
    assert [(f.first, f.frames, f.by) for f in audit.findings] == [(8, 3, "record")]
    assert audit.facts["heads_covered"] == 20 and audit.facts["tracks_covered"] == 1


def test_a_dark_head_that_loses_its_cover_for_a_frame_is_found_by_the_change(tmp_path):
    def dark(bare: bool) -> np.ndarray:
        return np.uint8(120 + (drawn(bare).astype(float) - 120) * 0.09)

    assert BARE_FACE * 0.5 < detail(dark(True), PLACE) < BARE
    out = film(tmp_path / "out.mp4", [dark(n == 5) for n in range(10)])
    record(out, {n: [[*PLACE, 7]] for n in range(10)})
    assert [(f.first, f.frames, f.by) for f in look_again(out, looks=[Sees()]).findings] == [(5, 1, "record")]


@pytest.mark.parametrize("track", [7, None])
def test_a_head_that_the_record_lost_for_some_frames_is_found(track, tmp_path):
    out = with_hole(tmp_path / "out.mp4")
    record(out, {n: [] if 8 <= n < 11 else [[*PLACE, track]] for n in range(20)})
    audit = look_again(out, looks=[Sees()])
    assert [(f.first, f.frames, f.by) for f in audit.findings] == [(8, 3, "gap")]


def test_a_weak_sighting_where_a_cover_begins_is_believed(tmp_path):
    out = with_hole(tmp_path / "out.mp4", bare=[4])
    record(out, {n: [[*PLACE, 7]] if n > 4 else [] for n in range(20)})
    assert [f.first for f in look_again(out, looks=[Sees(PLACE, score=0.25)]).findings] == [4]
    assert look_again(out, looks=[Sees()]).findings == ()  # the head may well have come in


def test_heads_that_are_meant_to_be_seen_are_no_findings(tmp_path):
    out = with_hole(tmp_path / "out.mp4", bare=range(20))
    face = [110, 75, 138, 115, "원영"]
    record(out, {n: [] for n in range(20)}, {n: [face] for n in range(20)}, kept=["원영"], view="blur-others")
    audit = look_again(out, looks=[Sees(PLACE)])
    assert audit.findings == () and audit.facts["kept"] == ["원영"]
    assert len(look_again(out, looks=[Sees((200, 20, 240, 70), PLACE)]).findings) == 0


def test_the_outline_of_a_covered_person_is_no_finding(tmp_path):
    picture = drawn(True, (90, 112, 160, 175))  # a body below a covered head
    out = film(tmp_path / "out.mp4", [picture] * 6)
    record(out, {n: [[*PLACE, 1]] for n in range(6)})
    low = (100.0, 84.0, 148.0, 150.0)  # a guess that is too low: half of it is the body
    assert detail(picture, low) > BARE
    assert look_again(out, looks=[Sees(low, by="body")]).findings == ()


def test_with_the_source_at_hand_detail_that_is_not_its_own_is_no_head(tmp_path):
    source = with_hole(tmp_path / "in.mp4", bare=range(6), frames=6)
    other = drawn(True)[:, ::-1].copy()
    other = np.roll(other, int(PLACE[0]) - (320 - int(PLACE[2])), 1)
    out = film(tmp_path / "out.mp4", [other] * 3 + [drawn(True)] + [other] * 2)
    assert len(look_again(out, looks=[Sees(PLACE)]).findings[0].path) == 6
    audit = look_again(out, source, looks=[Sees(PLACE)])
    assert [(f.first, f.frames) for f in audit.findings] == [(3, 1)]
    assert audit.facts["source"]["sha256"] == hashlib.sha256(source.read_bytes()).hexdigest()
    small = film(tmp_path / "small.mp4", [drawn(True)[:90, :160]] * 6)
    with pytest.raises(InputError, match="another size"):
        look_again(out, small, looks=[Sees(PLACE)])


def test_every_n_th_frame_is_looked_at_and_said(tmp_path):
    look = Sees(PLACE)
    audit = look_again(with_hole(tmp_path / "out.mp4"), every=4, looks=[look])
    assert look.pictures == audit.facts["frames"] == 5 and audit.facts["frames_in_all"] == 20
    assert [f.first for f in audit.findings] == [8]
    with pytest.raises(InputError, match="N of 1 or more"):
        look_again(tmp_path / "out.mp4", every=0)


def test_photos_are_looked_at_one_by_one(tmp_path):
    folder = tmp_path / "사진"
    for name, bare in (("가.png", True), ("b.png", False), ("c.png", True)):
        write_image(folder / name, drawn(bare))
    (folder / "d.jpg").write_bytes(b"words")
    rows = [{"file": "c.png", "covered": [], "kept": [[*PLACE, "Ada"]]}]
    (tmp_path / "사진.covers.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows), "utf-8")
    audit = look_again(folder, looks=[Sees(PLACE)])
    assert [(f.file, f.from_s) for f in audit.findings] == [("가.png", 0.0)]
    assert list(audit.facts["unreadable"]) == ["d.jpg"] and audit.facts["frames"] == 3
    correct(folder, 1, "cover")
    assert corrections_of(folder)[0].at(0, "가.png") is not None and corrections_of(folder)[0].at(0, "b.png") is None


def test_the_records_of_blurred_photos_say_who_is_meant_to_be_seen(tmp_path):
    for name in ("a.png", "b.png"):
        write_image(tmp_path / "out" / name, drawn(True))
        head = {"box": list(PLACE), "covered": name == "b.png", "name": "원영"}
        (tmp_path / "out" / ".blurred").mkdir(exist_ok=True)
        said = {"file": name, "record": {"way": "blur", "heads": [head]}}
        (tmp_path / "out" / ".blurred" / f"{name}.json").write_text(json.dumps(said), "utf-8")
    audit = look_again(tmp_path / "out", looks=[Sees(PLACE)])
    assert [(f.file, f.by) for f in audit.findings] == [("b.png", "face, record")]
    assert (audit.facts["kept"], audit.facts["heads_covered"], audit.facts["record"]) == (["원영"], 1, ".blurred")


def test_frames_of_a_video_in_a_folder_keep_their_times(tmp_path):
    for n in range(12):
        write_image(tmp_path / "frames" / f"f_{n:04d}.png", drawn(n in (5, 6)))
    record(tmp_path / "frames", {n: [[*PLACE, 1]] for n in range(12)})
    assert [(f.from_s, f.to_s) for f in look_again(tmp_path / "frames", looks=[Sees()]).findings] == [(0.5, 0.6)]


def test_a_damaged_record_is_named_with_its_line(tmp_path):
    out = with_hole(tmp_path / "out.mp4")
    record(out, {0: [[1, 2, 3]]})
    with pytest.raises(InputError, match=r"covers\.jsonl, line 2 .*Render the output again"):
        look_again(out, looks=[Sees()])
    with pytest.raises(InputError, match="holds no pictures"):
        (tmp_path / "empty").mkdir()
        look_again(tmp_path / "empty", looks=[Sees()])


# ---- corrections


def test_cover_this_is_written_for_the_renderer(tmp_path):
    out = film(tmp_path / "out.mp4", [drawn(True, (20 + 6 * n, 60, 68 + 6 * n, 120)) for n in range(10)])

    class Follows(Sees):
        def heads(self, image_bgr):
            self.pictures += 1
            x = 14 + 6 * self.pictures
            return [SeenHead(np.array((x, 60, x + 48, 120), np.float32), 0.9, "face")]

    look_again(out, looks=[Follows()])
    said = correct(out, 1, "cover")
    assert said == replace(corrections_of(out)[0], when="") and corrections_of(out)[0].when.endswith("Z")
    assert said.to_s == pytest.approx(1.1) and said.from_s == 0
    assert said.at(0.45) == pytest.approx([47, 60, 95, 120], abs=0.6)  # between two frames
    assert said.at(1.05) == pytest.approx([74, 60, 122, 120], abs=0.6) and said.at(1.2) is None
    assert said.box == pytest.approx((20, 60, 122, 120))
    longer = correct(out, 1, "cover", 3.0)
    assert longer.to_s == pytest.approx(3.2) and len(corrections_of(out)) == 2
    lines = corrections_file(out).read_text("utf-8").splitlines()
    assert [json.loads(line)["kind"] for line in lines] == ["cover", "cover"]


def test_only_what_is_touched_has_another_key():
    cover = Correction("cover", PLACE, 2.0, 3.0)
    assert corrections_key([cover], 0, 1.9) == "" != corrections_key([cover], 1.9, 2.1)
    assert corrections_key([replace(cover, when="x", finding=4)], 2, 3) == corrections_key([cover], 2, 3)
    assert corrections_key([replace(cover, kind="no-head")], 2, 3) == ""
    assert corrections_key([replace(cover, box=(0, 0, 9, 9))], 2, 3) != corrections_key([cover], 2, 3)


def test_what_is_no_head_is_not_shown_again_there_and_is_elsewhere(tmp_path):
    out = with_hole(tmp_path / "out.mp4", bare=[3, 4, 15])
    assert len(look_again(out, looks=[Sees(PLACE)]).findings) == 2
    correct(out, 1, "no-head")
    audit = look_again(out, looks=[Sees(PLACE)])
    assert [f.first for f in audit.findings] == [15] and audit.facts["dismissed"] == 2


def test_corrections_that_cannot_be_meant_are_refused(tmp_path):
    out = with_hole(tmp_path / "out.mp4")
    with pytest.raises(InputError, match="not audited yet; look again: idseg audit"):
        correct(out, 1, "cover")
    look_again(out, looks=[Sees(PLACE)])
    for call, reason in (
        (lambda: correct(out, 2, "cover"), "no finding 2; expected 1 to 1"),
        (lambda: correct(out, 1, "cover", -1), "--for SECONDS above 0"),
        (lambda: correct(out, 1, "hide"), "unknown kind"),
    ):
        with pytest.raises(InputError, match=reason):
            call()
    assert not corrections_file(out).exists()
    with_hole(out, bare=[1])
    with pytest.raises(InputError, match="another one than was audited"):
        correct(out, 1, "cover")
    corrections_file(out).write_text('\n{"kind":"cover","box":[1,2,3],"from":0,"to":1}\n')
    with pytest.raises(InputError, match=r"corrections\.jsonl, line 2 is no correction"):
        corrections_of(out)


# ---- report


@pytest.fixture
def audited(tmp_path) -> tuple[Path, Audit]:
    out = with_hole(tmp_path / "out.mp4")
    covered = {n: [[*PLACE, 1]] for n in range(20)}
    record(out, covered, kept=[HOSTILE, "วอนยอง"], finder="<b>finder</b>")
    return out, look_again(out, looks=[Sees(family="fake")])


class _Reader(HTMLParser):
    def __init__(self):
        super().__init__()
        self.tags: list[tuple[str, dict]] = []
        self.text = ""

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text += data


def read(page: str) -> _Reader:
    reader = _Reader()
    reader.feed(page)
    return reader


def test_the_report_says_what_was_checked_and_names_stay_text(audited):
    _, audit = audited
    page = read(as_html(audit.as_dict()))
    tags = [tag for tag, _ in page.tags]
    assert tags.count("img") == 1 and "script" not in tags and "b" not in tags
    assert next(a for t, a in page.tags if t == "img")["src"] == audit.findings[0].thumbnail
    assert not any("onerror" in attributes for _, attributes in page.tags)
    for text in (HOSTILE, "วอนยอง", audit.facts["sha256"], "20 of 20", "<b>finder</b>", "20, of 1", "not covered"):
        assert text in page.text, text
    assert not re.search(r"https?://|src=\"(?!data:image/jpeg;base64,)", as_html(audit.as_dict()))


def test_a_report_without_pictures_holds_none(audited):
    page = as_html(audited[1].as_dict(), pictures=False)
    assert "<img" not in page and "data:image" not in page.replace("img-src data:", "")
    assert "holds pictures of what" not in page and "0.80 - 1.00 s" in page


def test_no_finding_is_not_said_to_be_nobody(tmp_path):
    out = with_hole(tmp_path / "out.mp4", bare=[])
    audit = look_again(out, looks=[Sees(PLACE)])
    said = in_words(audit.facts, 0)
    assert "No finding" in said and "not to say that nobody is to be seen" in said and "was not measured" in said
    measured = {"holes": 200, "missed": 0, "clips": "3 clips", "measured_by": "a benchmark", "on": "2026-01-01"}
    said = in_words({**audit.facts, "miss_rate": measured}, 0)
    assert "missed 0 (0.0 %; with 95 % confidence at most 1.5 %)" in said and "a benchmark" in said
    assert said in read(as_html({**audit.as_dict(), "miss_rate": measured})).text


def test_a_report_is_not_written_over_anothers_file(audited, tmp_path):
    content = audited[1].as_dict()
    write_html(write_html(tmp_path / "r.html", content), content)
    (tmp_path / "mine.html").write_text("<p>mine")
    with pytest.raises(OutputError, match="choose another --html FILE"):
        write_html(tmp_path / "mine.html", content)
    assert (tmp_path / "mine.html").read_text() == "<p>mine"


# ---- the command line


def test_the_command_finds_reports_and_corrects(tmp_path, capsys, monkeypatch, group, heads):
    monkeypatch.chdir(tmp_path)
    out = film(tmp_path / "บันทึก.mp4", [cv2.resize(group, (640, 442))] * 2)
    assert main(["audit", out.name, "--json", "--html", "report.html"]) == 4
    printed = json.loads(capsys.readouterr().out)
    assert len(printed["findings"]) >= 6 and printed["output"] == "บันทึก.mp4" and printed["record"] is None
    assert {row["family"] for row in printed["detectors"]} >= {"blazeface", "bodies"}
    assert "บันทึก.mp4" in read((tmp_path / "report.html").read_text("utf-8")).text
    assert main(["audit", out.name, "--cover", "1", "2", "--for", "1.5", "--no-head", "3"]) == 0
    assert "render the output again" in capsys.readouterr().err
    assert [(c.kind, c.finding) for c in corrections_of(out)] == [("cover", 1), ("cover", 2), ("no-head", 3)]
    assert main(["audit", out.name, "--for", "2"]) == 1 and "--cover N" in capsys.readouterr().err
    empty = film(tmp_path / "empty.mp4", [np.full((120, 160, 3), 128, np.uint8)] * 2)
    assert main(["audit", str(empty), "--no-pictures"]) == 0
    assert "not to say that nobody" in capsys.readouterr().out


# ---- the page


def test_the_page_shows_findings_and_takes_what_is_said_of_them(tmp_path, group, embedded_faces, fake_masks):
    pytest.importorskip("gradio", reason="the web page's tests need gradio: scripts/setup.sh --dev")
    from identity_segmentation import IdentityAwareSegmentation
    from identity_segmentation.ui.audit import AuditPart
    from identity_segmentation.ui.page import Page

    page = Page(IdentityAwareSegmentation(embedded_faces, fake_masks, gallery=tmp_path / "gallery"), tmp_path / "web")
    out = film(page.job() / "result.mp4", [cv2.resize(group, (640, 442))] * 2)
    asked = {"output": str(out), "view": "blur"}
    part = AuditPart(page, lambda session, what: f"{session} renders {what['view']}")
    current = {"source": str(out), "sampling": 1, "output": str(out), "asked": asked}
    job = part.look("me", current)
    for _ in range(600):
        found = page.jobs.get("me", job)
        if found["state"] not in ("waiting", "running"):
            break
        time.sleep(0.1)
    pictures, files, said, chosen = part.opened(found)
    assert len(pictures) >= 6 and all(read_image(path).size for path, _ in pictures) and chosen is None
    assert found["done"] == 2 and "a head seems to be seen" in said and Path(files[0]).is_file()
    assert "To be covered: 1" in part.say("cover", current, 2) and corrections_of(out)[0].finding == 3
    assert "no heads: 1" in part.say("no-head", current, 0)
    assert part.again("me", current) == "me renders blur"
    plain = {**current, "asked": {**asked, "view": "overlay"}}
    for call, reason in (
        (lambda: part.look("me", None), "make a video first"),
        (lambda: part.look("me", plain), "no heads are covered in the view overlay"),
        (lambda: part.say("cover", current, None), "choose one of the pictures"),
    ):
        with pytest.raises(InputError, match=reason):
            call()

"""The notebook runs quietly from top to bottom, and what it shows are cards: thumbnails, names as data, players."""

from __future__ import annotations

import base64
import html
import io
import json
import re
import socket
from dataclasses import replace
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from conftest import ROOT
from fakes import PEOPLE, FakeMasks, draw, near
from test_video import MasksThroughCompression, SeesThroughCompression, make_video

from identity_segmentation import (
    Gallery,
    IdentityAwareSegmentation,
    UnknownPerson,
    VideoReport,
    add_photos,
    build_embeddings_db,
    cards,
    identify_all_members,
    notebook,
    write_image,
)
from identity_segmentation.demo import write_clip
from identity_segmentation.errors import EngineUnavailable
from identity_segmentation.types import Segment
from identity_segmentation.video.previews import preview

HOSTILE = "<img src=x onerror=alert(1)>"
ELEMENTS = {
    "a", "bdi", "div", "figcaption", "figure", "img", "progress", "span", "table", "tbody", "td", "th", "thead", "tr",
    "video",
}  # fmt: skip
NAMES = {"Ada": HOSTILE, "Bo": "한글", "Cy": "ไทย"}


@pytest.fixture
def dataset(tmp_path):
    root = tmp_path / "Dataset"
    for folder in NAMES:
        for i in range(2):
            write_image(root / folder / f"{i}.png", draw((near(PEOPLE[folder], 2 * i), 70 + 60 * i, 60)))
    members = "".join(f"[[member]]\nfolder = '{folder}'\nname = '{name}'\n" for folder, name in NAMES.items())
    (root / "members.toml").write_text(members, "utf-8")
    return root


@pytest.fixture
def gallery(dataset, fake_faces):
    return build_embeddings_db(dataset, fake_faces)


def thumbnails(shown: str) -> list[np.ndarray]:
    """The pictures that a card carries, BGR."""
    found = re.findall(r'src="data:image/jpeg;base64,([^"]+)"', shown)
    return [cv2.imdecode(np.frombuffer(base64.b64decode(data), np.uint8), cv2.IMREAD_COLOR) for data in found]


def colour_of(picture: np.ndarray) -> np.ndarray:
    """What is in the middle of a picture."""
    y, x = picture.shape[0] // 2, picture.shape[1] // 2
    return picture[y - 3 : y + 3, x - 3 : x + 3].mean((0, 1))


def is_clean(shown: str) -> bool:
    """Are there no elements but ours, and is the hostile name there as text?"""
    return (
        html.escape(HOSTILE) in shown and "<img src=x" not in shown and set(re.findall(r"<([a-z]+)", shown)) <= ELEMENTS
    )


# ---- cards


def test_the_people_on_file_are_shown_by_their_faces_and_names_stay_text(gallery):
    shown = gallery._repr_html_()
    assert is_clean(shown) and all(html.escape(name) in shown for name in NAMES.values())
    pictures = thumbnails(shown)
    assert len(pictures) == 6 and all(max(p.shape) <= 96 for p in pictures)
    for folder, two in zip(NAMES, (pictures[:2], pictures[2:4], pictures[4:]), strict=True):
        for picture in two:
            assert np.abs(colour_of(picture) - PEOPLE[folder]).max() < 25, "the face is in the middle"
            assert picture.shape[0] < 60, "the face alone, and not the whole photo"
    assert all(person.colour in shown for person in gallery.people)
    assert len(shown) < 40_000


def test_neither_the_card_nor_the_text_of_a_gallery_holds_embeddings(gallery):
    for shown in (gallery._repr_html_(), repr(gallery)):
        assert "array" not in shown and "float32" not in shown
        assert f"{gallery.references[0, 0]:.4f}"[:6] not in shown


def test_faces_are_still_known_after_a_second_build_and_on_disk(dataset, fake_faces, tmp_path):
    first = build_embeddings_db(dataset, fake_faces, tmp_path / "g")
    again = build_embeddings_db(dataset, fake_faces, tmp_path / "g")
    assert again.report.reused == 6
    places = [r.face for p in first.people for r in p.references]
    assert None not in places
    for other in (again, Gallery.load(tmp_path / "g")):
        assert [r.face for p in other.people for r in p.references] == places
    assert thumbnails(again.report._repr_html_())[0].shape == thumbnails(first.report._repr_html_())[0].shape


def test_galleries_of_earlier_versions_are_read(dataset, fake_faces, tmp_path):
    build_embeddings_db(dataset, fake_faces, tmp_path / "g")
    manifest = next((tmp_path / "g").glob("gen-*.json"))
    content = json.loads(manifest.read_text()) | {"schema_version": 1}
    for person in content["people"]:
        for reference in person["references"]:
            del reference["face"]
    manifest.write_text(json.dumps(content))
    (tmp_path / "g" / "CURRENT").unlink()
    old = Gallery.load(tmp_path / "g")
    assert len(old) == 3 and old.people[0].references[0].face is None
    built = build_embeddings_db(dataset, fake_faces, tmp_path / "g")
    assert len(thumbnails(built._repr_html_())) == 6, "the whole photo, where the face is not known"


def test_of_a_photo_that_is_another_one_by_now_the_face_is_shown_that_was_learnt(gallery, dataset):
    write_image(dataset / "Ada" / "0.png", draw((PEOPLE["Di"], 100, 100)))
    (dataset / "Bo" / "1.png").unlink()
    pictures = thumbnails(gallery._repr_html_())
    assert len(pictures) == 6 and all(max(p.shape) <= 96 for p in pictures)
    for folder, two in zip(NAMES, (pictures[:2], pictures[2:4], pictures[4:]), strict=True):
        assert all(np.abs(colour_of(picture) - PEOPLE[folder]).max() < 25 for picture in two)


def test_people_added_by_hand_are_shown_too(gallery, dataset, fake_faces, tmp_path):
    path = write_image(tmp_path / "x.png", draw((PEOPLE["Di"], 100, 100)))
    changed, _ = add_photos(gallery, fake_faces, "Di", [path])
    assert np.abs(colour_of(thumbnails(changed._repr_html_())[-1]) - PEOPLE["Di"]).max() < 25


def test_verdicts_are_shown_with_the_photos_they_speak_of(dataset, fake_faces):
    write_image(dataset / "Ada" / "2.png", draw())
    write_image(dataset / "Ada" / "3.png", draw((near(PEOPLE["Ada"], 0), 70, 60)))
    (dataset / "Ada" / "4.png").write_bytes(b"\x89PNG\r\n\x1a\n broken")
    report = build_embeddings_db(dataset, fake_faces).report
    shown = report._repr_html_()
    assert is_clean(shown)
    assert all(word in shown for word in ("no_face", "duplicate", "unreadable", "6 of 9 photos used", "Ada/3.png"))
    assert len(thumbnails(shown)) == 8, "all but the broken one"
    assert thumbnails(shown)[2].shape[:2] == (72, 96), "without a face, the whole photo"


def test_those_found_in_a_picture_stay_a_list_of_dicts_and_are_shown_as_a_table(gallery, fake_faces):
    image = draw((PEOPLE["Ada"], 60, 60), (PEOPLE["Bo"], 200, 60))
    found = identify_all_members(image, fake_faces, gallery)
    assert isinstance(found, list) and {f["name"] for f in found} == {HOSTILE, "한글"}
    assert found[:] == [dict(row) for row in found] and set(found[0]) == {
        "name", "bbox", "similarity", "margin", "runner_up",
    }  # fmt: skip
    found.reverse()
    shown = found._repr_html_()
    assert is_clean(shown)
    of = {HOSTILE: "Ada", "한글": "Bo"}
    for row, picture in zip(found, thumbnails(shown), strict=True):
        assert np.abs(colour_of(picture) - PEOPLE[of[row["name"]]]).max() < 25, "to each name its own face"
    assert "0 with a name" in identify_all_members(draw(), fake_faces, gallery)._repr_html_()


def test_results_of_pictures_are_shown_as_a_status_and_pictures(gallery, fake_faces):
    image = draw((PEOPLE["Ada"], 60, 60), (PEOPLE["Bo"], 200, 60))
    people = IdentityAwareSegmentation(fake_faces, FakeMasks(), gallery)
    shown = people.segment_member(image, HOSTILE)._repr_html_()
    assert is_clean(shown) and len(thumbnails(shown)) == 3
    absent = people.segment_member(image, "ไทย")._repr_html_()
    assert is_clean(absent) and len(thumbnails(absent)) == 1
    thing = people.segment(image, HOSTILE)
    assert is_clean(thing._repr_html_()) and len(thumbnails(thing._repr_html_())) == 3
    mask = np.zeros((100, 200), bool)
    mask[:, 100:] = True
    (picture,) = thumbnails(Segment(mask, 0.5, (100, 0, 200, 100), "fake")._repr_html_())
    assert picture[50, 20].max() < 20 and picture[50, 180].min() > 235


def test_transparency_lies_on_a_checkerboard():
    cutout = np.zeros((64, 64, 4), np.uint8)
    cutout[:32] = (0, 0, 255, 255)
    flat = cards.flattened(cutout, 8)
    assert (flat[:32] == (0, 0, 255)).all() and {int(v) for v in np.unique(flat[32:])} == {170, 225}


# ---- videos


@pytest.fixture
def clip(tmp_path):
    return write_clip(tmp_path, draw((PEOPLE["Ada"], 100, 60)), 1.0)


def _players(shown: str) -> list[bytes]:
    return [base64.b64decode(data) for data in re.findall(r'src="data:video/mp4;base64,([^"]+)"', shown)]


def test_a_preview_is_what_browsers_play_and_keeps_its_pace(tmp_path):
    source = write_clip(tmp_path, cv2.resize(draw((PEOPLE["Ada"], 100, 60)), (1600, 1200)), 3.0)
    data = preview(source, seconds=2.0)
    with av.open(io.BytesIO(data)) as found:
        stream = found.streams.video[0]
        frames = [(float(f.pts * f.time_base), f.width, f.height) for f in found.decode(video=0)]
        assert (stream.codec_context.name, stream.pix_fmt, len(found.streams.audio)) == ("h264", "yuv420p", 0)
    assert len(frames) == 50 and frames[0] == (0.0, 480, 360) and frames[-1][0] == pytest.approx(1.96)


def test_what_is_too_large_or_no_video_is_linked_instead(tmp_path, clip, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert (
        preview(clip, most_bytes=100) is None and preview(tmp_path / "none.mp4") is None and preview(tmp_path) is None
    )
    odd = tmp_path / 'a\'b "c" <b>#1.mp4'
    clip.rename(odd)
    shown = cards.videos({"x": odd})
    assert "<b>" not in shown and 'href="a%27b%20%22c%22%20%3Cb%3E%231.mp4"' in shown


def test_a_report_of_a_video_is_shown_with_its_facts_and_a_player(clip, tmp_path):
    row = {"track": 3, "name": HOSTILE, "from": 0.5, "to": 1.0, "why": "a thin <margin>"}
    report = VideoReport(
        25, 1.0, {HOSTILE: 0.8, "한글": 0.0}, {HOSTILE: 0.75}, [row, row | {"name": None}], {"video": str(clip)},
        f"note of {HOSTILE}", ("a remark",), "sound kept", "MP4",
    )  # fmt: skip
    shown = report._repr_html_()
    assert is_clean(shown) and len(_players(shown)) == 1
    said = ("25 frames, 1.0 s; MP4; sound kept", "75%", "0.8", "한글", "a thin &lt;margin&gt;", "unknown", "a remark")
    assert all(word in shown for word in said)
    many = replace(report, review=[row] * 50, files={"video": str(tmp_path / "gone.mp4")})
    assert "and 30 more" in many._repr_html_() and not _players(many._repr_html_())


def test_own_clip_learns_finds_and_leaves_the_people_on_file_alone(gallery, dataset, fake_faces, tmp_path, monkeypatch):
    pytest.importorskip("IPython")
    shown = []
    monkeypatch.setattr("IPython.display.display", lambda data, **_: shown.append(data))
    source = make_video(tmp_path / "clip.mp4", [draw((PEOPLE["Di"], 100, 60), (PEOPLE["Ada"], 200, 60))] * 20)
    people = IdentityAwareSegmentation(SeesThroughCompression(), MasksThroughCompression(), gallery)
    photos = tmp_path / "photos"
    write_image(photos / "1.png", draw((near(PEOPLE["Di"], 2), 60, 70)))
    report = notebook.own_clip(photos, source, "디 Di", people, tmp_path / "out")
    assert report.on_screen["디 Di"] > 0.2 and Path(report.files["video"]).name == "clip_디_Di.mp4"
    assert people.gallery.names == list(NAMES.values())
    assert len(_players(shown[-1]["text/html"])) == 2
    report = notebook.own_clip(dataset, source, HOSTILE, people, tmp_path / "out", view="cutout")
    assert report.on_screen[HOSTILE] > 0.2 and is_clean(shown[-1]["text/html"])
    with pytest.raises(UnknownPerson, match="did you mean '한글'"):
        notebook.own_clip(dataset, source, "한굴", people, tmp_path / "out")


# ---- outside of a notebook


def test_progress_outside_of_a_notebook_leaves_standard_error_alone_and_counts_alike(capsys):
    with notebook.progress() as bar:
        for done in (1, 2):
            bar("work", done, 4)
    assert capsys.readouterr().err == ""
    stage = notebook._Stage("work", 0)
    stage.done, stage.total = 2, 4
    assert stage.said(False) == "2 of 4" and "2 of 4, stopped in" in stage.said(True)
    stage.begun -= 10
    assert stage.said(False) == "2 of 4, 10 s left"


def test_another_error_than_a_taken_port_is_not_tried_on_twenty_ports():
    tried = []

    def launch(page, port, **options):
        tried.append(port)
        raise EngineUnavailable("gradio is broken")

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        free = probe.getsockname()[1]
    with pytest.raises(EngineUnavailable, match="broken"):
        notebook.serve(launch, None, free)
    assert len(tried) == 1


# ---- the notebook itself


def test_the_notebook_is_committed_without_outputs():
    for cell in json.loads((ROOT / "main.ipynb").read_text("utf-8"))["cells"]:
        assert not cell.get("outputs") and cell.get("execution_count") is None


GLOBALS = (
    "DATASET_DIR INPUT_DIR OUTPUT_DIR FACE_ENGINE SEGMENTER SIMILARITY_THRESHOLD FRAME_SAMPLING LAUNCH_UI SHARE "
    "face_analyzer embeddings_db identify_all_members segmenter segment_by_box face_to_body_bbox segment_member "
    "overlay cutout annotated mask status segment_possession demo SimpleTracker TemporalSmoother process_video "
    "PHOTOS CLIP NAME"
)
# What is run after the last cell; those marked with "!" are to fail.
AFTER = {
    # Functions read the globals when they are called: changing one afterwards changes the next answer.
    "threshold": "SIMILARITY_THRESHOLD = 0.9999\nsegment_member(image_bgr, member_name).status.code",
    "globals": f"SIMILARITY_THRESHOLD = None\nprint([name for name in '{GLOBALS}'.split() if name not in globals()], "
    "type(demo).__name__, len(identify_all_members(image_bgr, face_analyzer, embeddings_db)))",
    "again": "print(process_video(video_path, Path(OUTPUT_DIR) / 'again.mp4', member_name, 10).frames)",
    "misspelt!": "segment_member(image_bgr, 'Nira')",
    "hostile!": f"segment_member(image_bgr, {HOSTILE!r})",
    "tb!": "%tb",
    "other!": "no_such_name",
    "warns": "import logging, warnings\n"
    "warnings.warn('careful')\nlogging.getLogger('identity_segmentation').warning('hm')",
    "stops!": "with notebook.progress() as bar:\n    bar('work', 1, 4)\n    raise ValueError('x')",
    "loud": "notebook.quiet(verbose=True)\nids.face_engine('auto')",
    "served": "LAUNCH_UI = True\n{section_6}\nfirst = demo.local_url",
    "served again": "{section_6}\nfrom urllib.request import urlopen\n"
    "print([demo.local_url == first, urlopen(demo.local_url).status])",
    "taken": "import socket\nother = socket.socket()\nother.bind(('127.0.0.1', 0))\nother.listen()\n"
    "taken = other.getsockname()[1]\ndemo = notebook.serve(ui.launch, page, taken)\n"
    "print([str(taken) not in demo.local_url, urlopen(demo.local_url).status])",
    "shut": "try:\n    urlopen(first)\nexcept OSError:\n    print('shut')\ndemo.close(verbose=False)",
    "gone!": "embeddings_db = embeddings_db.without(member_name)\nsegment_member(image_bgr, member_name)",
}  # fmt: skip


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """(code cells of the notebook, name -> what was run after them), with their outputs."""
    nbformat, nbclient = pytest.importorskip("nbformat"), pytest.importorskip("nbclient")
    book = nbformat.read(ROOT / "main.ipynb", 4)
    own = [cell for cell in book.cells if cell.cell_type == "code"]
    section_6 = next(cell.source for cell in own if "ui.launch" in cell.source)
    after = {}
    for name, source in AFTER.items():
        tags = {"tags": ["raises-exception"]} if name.endswith("!") else {}
        cell = nbformat.v4.new_code_cell(source.replace("{section_6}", section_6), metadata=tags)
        after[name.rstrip("!")] = cell
        book.cells.append(cell)
    folder = tmp_path_factory.mktemp("notebook")
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("PYTEST_CURRENT_TEST", raising=False)  # with it, kernels do not catch what libraries write
        patch.setenv("PYTHONPATH", str(ROOT))
        nbclient.NotebookClient(
            book, timeout=300, kernel_name="python3", resources={"metadata": {"path": folder}}
        ).execute()
    return own, after


def _text(cell) -> str:
    return "".join(o.get("text", "") for o in cell.outputs)


def _html(cell) -> list[str]:
    return [o["data"]["text/html"] for o in cell.outputs if "text/html" in o.get("data", {})]


def test_the_notebook_has_its_seven_sections_and_a_last_cell_of_ones_own():
    cells = json.loads((ROOT / "main.ipynb").read_text("utf-8"))["cells"]
    titles = [cell["source"][0].strip() for cell in cells if cell["source"][0].startswith("## ")]
    assert titles == [
        "## 1 Environment Setup", "## 2 Face Embedding Database", "## 3 Identity Matching",
        "## 4 Segmentation Engine", "## 5 Integration Pipeline", "## 6 Gradio UI", "## 7 Video Inference",
        "## Your own clip in three edits",
    ]  # fmt: skip
    code = [cell["source"] for cell in cells if cell["cell_type"] == "code"]
    assert [line.split(" = ")[0] for line in code[-1][:3]] == ["PHOTOS", "CLIP", "NAME"]


def test_a_good_run_writes_nothing_in_red(run):
    own, after = run
    for cell in [*own, *(cell for name, cell in after.items() if f"{name}!" not in AFTER)]:
        assert not [o for o in cell.outputs if o.get("name") == "stderr" or o.output_type == "error"], cell.source


def test_the_notebook_leaves_its_globals_and_its_functions_obey_them(run):
    _, after = run
    assert "'not_found'" in after["threshold"].outputs[0]["data"]["text/plain"]
    assert _text(after["globals"]) == "[] Blocks 6\n" and "50" in _text(after["again"])
    assert after["gone"].outputs[-1]["ename"] == "UnknownPerson"


def test_sections_show_cards_pictures_and_players(run):
    own, _ = run
    cells = {name: next(c for c in own if text in c.source) for name, text in {
        "people": "bar.photos", "verdicts": "embeddings_db.report", "found": "identify_all_members, read_image",
        "person": "by the face", "box": "def segment_by_box", "member": "result = ", "hair": "hair = ",
        "video": "def process_video", "timeline": "show_timeline", "own": "PHOTOS = ",
    }.items()}  # fmt: skip
    shown = {name: "".join(_html(cell)) for name, cell in cells.items()}
    for name, count in {"people": 7, "verdicts": 7, "found": 6, "box": 1, "member": 3, "hair": 3}.items():
        assert len(thumbnails(shown[name])) == count, name
    assert all("준호" in shown[name] and "ดาว" in shown[name] for name in ("people", "verdicts", "found"))
    assert all(len(_players(shown[name])) == 2 for name in ("video", "own"))
    for name in ("found", "person", "timeline"):
        (data,) = [o["data"]["image/jpeg"] for o in cells[name].outputs if "image/jpeg" in o.get("data", {})]
        picture = cv2.imdecode(np.frombuffer(base64.b64decode(data), np.uint8), cv2.IMREAD_COLOR)
        assert picture.shape[1] > 500 and picture.std() > 20
    assert "7 of 7 in " in shown["people"] and "50 of 50 in " in shown["video"], "bars stay as a line"
    size = sum(len(json.dumps(dict(cell))) for cell in own)
    assert size < 4_000_000, "a saved notebook stays small"


def test_the_person_is_shown_before_a_box_is_and_with_the_face(run):
    own, _ = run
    order = [i for i, cell in enumerate(own) if "segment_matches" in cell.source or "def segment_by_box" in cell.source]
    assert "segment_matches" in own[order[0]].source
    (data,) = [o["data"]["image/jpeg"] for o in own[order[0]].outputs if "image/jpeg" in o.get("data", {})]
    picture = cv2.imdecode(np.frombuffer(base64.b64decode(data), np.uint8), cv2.IMREAD_COLOR)
    cutout = picture[:, picture.shape[1] // 2 + 8 :].astype(int)
    skin = (cutout[..., 2] - cutout[..., 0] > 50) & (cutout[..., 2] > 130)
    y = np.nonzero(skin)[0]
    rows = np.nonzero(np.ptp(cutout, axis=2).max(axis=1) > 60)[0]
    assert len(y) > 500 and np.quantile(y, 0.05) < rows[0] + 0.35 * (rows[-1] - rows[0]), "skin in the upper third"


def test_a_misspelt_name_is_one_line_and_the_traceback_is_there_on_request(run):
    _, after = run
    (output,) = after["misspelt"].outputs
    assert output.output_type == "error" and output.ename == "UnknownPerson"
    (line,) = output.traceback
    assert "\n" not in line and "did you mean 'Nora' or 'Mina'?" in line and "%tb" in line
    (hostile,) = after["hostile"].outputs
    assert len(hostile.traceback) == 1
    trace = re.sub("\x1b\\[[0-9;]*m", "", "\n".join(after["tb"].outputs[-1].traceback))
    assert "segment_member" in trace and "gallery.find" in trace and trace.count("\n") > 10
    assert len(after["other"].outputs[0].traceback) > 1, "other errors keep theirs"


def test_warnings_and_logs_are_plain_lines(run):
    _, after = run
    assert "careful" in _text(after["warns"]) and "hm\n" in _text(after["warns"])
    assert "face engine: " in _text(after["loud"])
    assert "1 of 4, stopped in" in _html(after["stops"])[0]


def test_section_6_can_be_run_again_and_a_taken_port_is_passed_over(run):
    _, after = run
    assert "[True, 200]" in _text(after["served again"]) and "[True, 200]" in _text(after["taken"])
    assert "another program has port" in _text(after["taken"])
    assert "shut" in _text(after["shut"]), "the page that was served before is closed"

"""Videos on the web page: look once, say who is who, make any number of files."""

from __future__ import annotations

import json
import time
import zipfile
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from fakes import PEOPLE, draw
from page_fixtures import give, shot
from test_video import ADA, BO, make_video, people  # noqa: F401

from identity_segmentation.errors import InputError
from identity_segmentation.video import render as rendering

pytest.importorskip("gradio", reason="the web page's tests need gradio: scripts/setup.sh --dev")

from identity_segmentation.ui.page import Page
from identity_segmentation.ui.video import VideoTab

STRANGER = PEOPLE["Ed"]  # on file nowhere


def frames_of(path) -> list[np.ndarray]:
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="bgr24") for frame in container.decode(video=0)]


def facts_of(path) -> tuple[str, str, int]:
    """(codec, pixel format, frames) as FFmpeg reads them."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        return stream.codec_context.name, stream.codec_context.pix_fmt or "", sum(1 for _ in container.decode(stream))


# ---- without a browser: drawn people, whom fake engines see


@pytest.fixture
def tab_of(people, tmp_path):  # noqa: F811
    people.detector_or_none = lambda: None  # the drawn people have no bodies that it knows
    return VideoTab(Page(people, tmp_path / "web"))


@pytest.fixture
def clip(tmp_path):
    """Ada, and beside her a stranger who becomes Bo: 40 frames with sound."""
    pictures = [draw((ADA, 60, 60), (STRANGER if i < 24 else BO, 200, 60)) for i in range(40)]
    return str(make_video(tmp_path / "무대 1.mp4", pictures, sound=True))


def done(tab: VideoTab, asked: dict, state: str = "done") -> dict:
    """Start what is asked for, and wait for it."""
    job = tab.start("s", asked)
    for _ in range(1500):
        found = tab.page.jobs.get("s", job)
        if found["state"] not in ("waiting", "running"):
            break
        time.sleep(0.02)
    assert found["state"] == state, found["said"]
    return found


def asked(tab, do, clip, members=("Ada",), view="overlay", **more):
    return tab.asked(do, clip, {"members": list(members), "view": view}, sampling=2, **more)


def rows(value: dict) -> list:
    return [row["name"] for row in value["rows"]]


def test_a_video_is_looked_at_once_and_every_render_has_a_file_of_its_own(tab_of, clip):
    value, current, _, said, *_ = tab_of.opened("s", done(tab_of, tab_of.asked("look", clip, {}, sampling=2)))
    assert rows(value) == [None, "Ada", "Bo"] and value["seconds"] == pytest.approx(1.6)
    crops = value["rows"][0]["strips"][0]["crops"]
    assert len(crops) >= 5 and Path(crops[0]["image"]["path"]).is_relative_to(tab_of.page.folder)
    calls = tab_of.page.pipeline.face_engine.calls
    first = done(tab_of, asked(tab_of, "make", clip))
    second = done(tab_of, asked(tab_of, "make", clip, ["Bo", "Ada"], "cutout"))
    taken = done(tab_of, asked(tab_of, "take", clip, ["Bo"], "cutout", program="premiere"))
    assert tab_of.page.pipeline.face_engine.calls == calls, "another view or format needs no second analysis"
    names = [Path(job["result"]["files"][0]).name for job in (first, second, taken)]
    assert names == ["무대_1_Ada_overlay.mp4", "무대_1_Bo_Ada_cutout.mp4", "무대_1_Bo_cutout.mov"]
    assert facts_of(taken["result"]["files"][0])[1].startswith("yuva444p"), "ProRes 4444, transparent"
    again = done(tab_of, asked(tab_of, "make", clip))
    value, current, files, said, *_ = tab_of.opened("s", again)
    assert again["result"]["video"] != first["result"]["video"], "the new result has an address of its own"
    assert value["result"]["path"] == again["result"]["video"] and files["value"] == again["result"]["files"]
    assert "Ada 1.6 s" in said and current["asked"]["view"] == "overlay"


def test_what_is_said_by_hand_is_kept_shown_and_obeyed_by_one_render(tab_of, clip):
    made = done(tab_of, asked(tab_of, "make", clip, ["Cy"]))
    value, current, *_ = tab_of.opened("s", made)
    unknown = value["rows"][0]["strips"][0]["track"]
    value = tab_of.corrected(current, [{"kind": "split", "track": unknown, "at": 0.48, "new": "later"}])
    later = next(row["strips"][0]["track"] for row in value["rows"] if row["strips"][0]["track"] not in (unknown, 1, 2))
    value = tab_of.corrected(current, [{"kind": "name", "track": later, "name": "cy"}])
    assert rows(value) == [None, "Ada", "Cy", "Bo"] and "result" not in value and value["dirty"]
    assert [line["kind"] for line in value["corrections"]] == ["split", "name"]
    with pytest.raises(InputError, match="no track"):
        tab_of.corrected(current, [{"kind": "name", "track": 77, "name": "Cy"}])
    with pytest.raises(InputError, match="on screen at"):
        tab_of.corrected(current, [{"kind": "merge", "track": later, "into": 1}])
    again = done(tab_of, current["asked"])
    assert "Cy 0.0 s" in made["said"] and "Cy 0.5 s" in again["said"]
    value, current, *_ = tab_of.opened("s", again)
    assert [row["kind"] for row in tab_of.taken_back(current)["corrections"]] == ["split"]
    fresh = VideoTab(Page(tab_of.page.pipeline, tab_of.page.folder))  # the server was started anew
    value, *_ = fresh.given(clip, 2)
    assert [line["kind"] for line in value["corrections"]] == ["split"]


def test_a_box_where_she_was_missed_changes_the_masks_there(tab_of, tmp_path):
    blind = [draw((ADA, 60, 60), (BO, 200, 60)) for _ in range(20)]
    for picture in blind[8:]:
        picture[48:72, 188:190] = 128  # her face is no longer found
    clip = str(make_video(tmp_path / "missed.mp4", blind))
    made = done(tab_of, asked(tab_of, "make", clip, ["Bo"], "matte"))
    _, current, *_ = tab_of.opened("s", made)
    found = tab_of.tracks.frame(clip, 2, 0.63, picture=True)
    assert found["t"] == pytest.approx(0.64) and [box["name"] for box in found["boxes"]] == ["Ada"]
    assert cv2.imread(found["image"]["path"]).shape == (240, 320, 3)
    tab_of.corrected(current, [{"kind": "point", "box": [188, 48, 212, 72], "at": found["t"], "name": "Bo"}])
    before, after = frames_of(made["result"]["video"]), frames_of(done(tab_of, current["asked"])["result"]["video"])
    assert before[16][100, 200].max() < 40 and after[16][100, 200].min() > 200
    assert np.abs(before[2].astype(int) - after[2]).mean() < 1, "elsewhere nothing changes"


def test_somebody_new_is_put_on_file_from_the_video_and_found_in_it(tab_of, clip):
    value, *_ = tab_of.opened("s", done(tab_of, tab_of.asked("look", clip, {}, sampling=2)))
    track = value["rows"][0]["strips"][0]["track"]
    job = done(tab_of, tab_of.asked("enrol", clip, {}, sampling=2, track=track, name="민지"))
    value, *_ = tab_of.opened("s", job)
    assert rows(value) == ["Ada", "민지", "Bo"] and "민지 is on file" in job["said"]
    assert "민지" in tab_of.page.pipeline.gallery.names
    with pytest.raises(InputError, match="say who"):
        tab_of.asked("enrol", clip, {}, sampling=2, track=track, name="  ")


def test_with_nobody_on_file_a_video_can_be_looked_at_and_everybody_blurred(people, tmp_path, clip):  # noqa: F811
    people._gallery, people.detector_or_none = tmp_path / "nobody", lambda: None
    tab = VideoTab(Page(people, tmp_path / "web"))
    value, *_ = tab.opened("s", done(tab, tab.asked("look", clip, {}, sampling=2)))
    assert rows(value) == [None, None, None] or set(rows(value)) == {None}
    assert tab.faces() == []
    done(tab, tab.asked("make", clip, {"view": "anonymise"}, sampling=2))


def test_a_preview_shows_ten_seconds_before_and_after_the_look(tab_of, clip, monkeypatch):
    monkeypatch.setattr("identity_segmentation.video.excerpt.SECONDS", 0.8)
    monkeypatch.setattr("identity_segmentation.video.excerpt.best_part.__defaults__", (0.8,))
    early = done(tab_of, asked(tab_of, "preview", clip))
    assert early["result"]["preview"] == [0.0, 0.8] and "not looked at yet" in early["said"]
    assert len(frames_of(early["result"]["video"])) == 20 and early["result"]["analysis"] is None
    done(tab_of, tab_of.asked("look", clip, {}, sampling=2))
    late = done(tab_of, asked(tab_of, "preview", clip, ["Bo"]))
    begin, end = late["result"]["preview"]
    assert begin == pytest.approx(0.8) and end == pytest.approx(1.6), "where Bo is"
    value, current, *_ = tab_of.opened("s", late)
    assert value["offset"] == begin and value["preview"] and current["output"] is None


def test_stages_are_numbered_and_known_in_advance(tab_of, clip, monkeypatch):
    from identity_segmentation.ui.jobs import Work

    told = []
    monkeypatch.setattr(Work, "stage", lambda self, number, of, name: told.append((number, of, name)))
    done(tab_of, asked(tab_of, "make", clip, ["Ada"], "blur"))
    assert told == [(1, 4, "doing_look"), (2, 4, "doing_faces"), (3, 4, "doing_heads"), (4, 4, "doing_masks")]
    words = json.loads(Path(rendering.__file__).parents[1].joinpath("data/words/video.json").read_text("utf-8"))
    assert all(f"idseg_jobs_{name}" in words["ko"] for *_, name in told)


def cancelled_at(tab, asked, monkeypatch, name, done_):
    """Start a job, and cancel it once a stage has come so far."""
    from identity_segmentation.ui.jobs import Work

    real = Work.progress

    def progress(self, done, total):
        real(self, done, total)
        if self._record["doing"] == name and done >= done_:
            self.cancel.set()

    with monkeypatch.context() as patched:
        patched.setattr(Work, "progress", progress)
        return done(tab, asked, "cancelled")


def test_a_cancelled_render_gives_what_was_finished_and_goes_on_from_there(tab_of, clip, monkeypatch):
    monkeypatch.setattr(rendering, "_SEGMENT_SECONDS", 0.4)
    wanted = asked(tab_of, "make", clip)
    job = cancelled_at(tab_of, wanted, monkeypatch, "doing_masks", 24)
    value, current, files, said, *_ = tab_of.opened("s", job)
    assert "the first 0:00 is finished" in said and job["result"]["partial"] == pytest.approx(0.8)
    assert (
        len(frames_of(files["value"][0])) == 20 and Path(files["value"][0]).name == "무대_1_Ada_overlay_first_part.mp4"
    )
    assert value["result"]["path"] == files["value"][0] and current["output"] is None
    seen = []
    monkeypatch.setattr(
        rendering._Job, "_render_segment",
        lambda self, *given, real=rendering._Job._render_segment: (seen.append(given[1]), real(self, *given))[1],
    )  # fmt: skip
    again = done(tab_of, wanted)
    assert seen == [20, 30] and len(frames_of(again["result"]["video"])) == 40
    assert Path(again["result"]["video"]).parent != Path(files["value"][0]).parent


def test_a_cancelled_look_goes_on_from_where_it_was(tab_of, clip, monkeypatch):
    wanted = tab_of.asked("look", clip, {}, sampling=2)
    job = cancelled_at(tab_of, wanted, monkeypatch, "doing_look", 30)
    assert "frames were looked at" in job["said"]
    calls = tab_of.page.pipeline.face_engine.calls
    done(tab_of, wanted)
    assert tab_of.page.pipeline.face_engine.calls - calls < 20, "what was seen is not looked at again"


@pytest.mark.parametrize(
    ("program", "name", "codec"),
    [
        ("premiere", ".mov", "prores"),
        ("web", ".webm", "vp9"),
        ("capcut", ".mp4", "h264"),
        ("resolve", ".mov", "prores"),
    ],
)
def test_every_program_takes_its_file(tab_of, clip, program, name, codec):
    job = done(tab_of, asked(tab_of, "take", clip, ["Ada"], "cutout", program=program))
    (path,) = job["result"]["files"]
    assert path.endswith(name) and facts_of(path)[0] == codec and facts_of(path)[2] == 40


def test_several_files_and_folders_come_as_a_zip(tab_of, clip):
    each = done(tab_of, asked(tab_of, "take", clip, ["Ada", "Bo"], "matte", program="resolve", per_person=True))
    with zipfile.ZipFile(each["result"]["files"][0]) as archive:
        assert [name.rpartition("_")[2] for name in archive.namelist()] == ["Ada.mov", "Bo.mov"]
        assert archive.testzip() is None
    pytest.importorskip("OpenEXR", reason="EXR needs OpenEXR: scripts/setup.sh --dev")
    frames = done(tab_of, asked(tab_of, "take", clip, ["Ada"], program="nuke"))
    with zipfile.ZipFile(frames["result"]["files"][0]) as archive:
        assert len(archive.namelist()) == 40 and archive.namelist()[0].endswith("_00000001.exr")


@pytest.mark.parametrize("kind", ["edl", "srt", "csv", "fcpxml", "mot", "coco-video"])
def test_who_is_on_screen_when_is_written_for_other_programs(tab_of, clip, kind):
    job = done(tab_of, tab_of.asked("export", clip, {}, sampling=2, format=kind))
    (path,) = map(Path, job["result"]["files"])
    if path.suffix == ".zip":
        with zipfile.ZipFile(path) as archive:
            assert any(name.endswith("gt/gt.txt") for name in archive.namelist())
    else:
        assert "Ada" in path.read_text("utf-8-sig")


def test_what_cannot_be_made_is_said_at_once(tab_of, clip):
    for problem, ask in {
        "upload a video": lambda: asked(tab_of, "make", ""),
        "at least one person": lambda: asked(tab_of, "make", clip, []),
        "unknown view": lambda: asked(tab_of, "make", clip, view="sepia"),
        "did you mean": lambda: asked(tab_of, "make", clip, ["Adda"]),
        "unknown program": lambda: asked(tab_of, "take", clip, program="paint"),
        "one of": lambda: tab_of.asked("export", clip, {}, sampling=2, format="docx"),
        "between 1 and 300": lambda: tab_of.asked("look", clip, {}, sampling=900),
        "upload a video first": lambda: tab_of.corrected({}, []),
    }.items():
        with pytest.raises(InputError, match=problem):
            ask()
    with pytest.raises(InputError, match="look at the video first"):
        tab_of.corrected({"source": clip, "sampling": 2}, [{"kind": "name", "track": 1, "name": None}])


def test_a_covered_video_is_looked_at_again_and_what_is_bare_is_covered(tab_of, clip):
    made = done(tab_of, asked(tab_of, "make", clip, [], "anonymise"))
    current = tab_of.opened("s", made)[1]
    with pytest.raises(InputError, match="make a video first"):
        tab_of.audit.look("s", {"source": clip})
    job = tab_of.audit.look("s", current)
    while tab_of.page.jobs.get("s", job)["state"] in ("waiting", "running"):
        time.sleep(0.05)
    found = tab_of.page.jobs.get("s", job)
    assert found["state"] == "done", found["said"]
    pictures, report, said, chosen = tab_of.opened("s", found)[4:]
    assert (
        Path(report[0]).read_text("utf-8").startswith("<!") and said and chosen is None and isinstance(pictures, list)
    )
    again = tab_of.audit.again("s", current)
    while tab_of.page.jobs.get("s", again)["state"] in ("waiting", "running"):
        time.sleep(0.05)
    assert tab_of.page.jobs.get("s", again)["result"]["video"] == current["output"], "where what was said of it lies"


# ---- in a browser


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    """The page over drawn people; returns it, with its address."""
    import os

    from page_fixtures import free_port
    from test_video import MasksThroughCompression, SeesThroughCompression

    from identity_segmentation import IdentityAwareSegmentation
    from identity_segmentation.images import write_image
    from identity_segmentation.ui.serving import launch

    folder = tmp_path_factory.mktemp("drawn")
    for name in ("Ada", "Bo", "Cy"):
        write_image(folder / "D" / name / "0.png", draw((PEOPLE[name], 60, 60)))
    pipeline = IdentityAwareSegmentation(
        SeesThroughCompression(), MasksThroughCompression(), gallery=folder / "gallery"
    )
    pipeline.detector_or_none = lambda: None
    pipeline.build_gallery(folder / "D")
    page, before = Page(pipeline, folder / "web"), os.environ.get("GRADIO_TEMP_DIR")
    demo = launch(page, port=free_port())
    page.address = demo.local_url
    yield page
    demo.close()
    os.environ.pop("GRADIO_TEMP_DIR", None)
    if before is not None:
        os.environ["GRADIO_TEMP_DIR"] = before


@pytest.fixture
def seen(browser, drawn, tmp_path):
    """The tab Video in a browser, with a video given: a function of its path."""
    context = browser.new_context(viewport={"width": 1280, "height": 1200})
    found = context.new_page()
    broken: list[str] = []
    found.on("pageerror", lambda error: broken.append(str(error)))
    found.on(
        "request", lambda r: None if r.url.startswith(("http://127.0.0.1", "data:", "blob:")) else broken.append(r.url)
    )

    def open_tab(path):
        found.goto(drawn.address)
        found.get_by_role("tab", name="Video").click(timeout=60_000)
        found.locator("#video_ask [data-name]").first.wait_for()
        give(found, "video_source", path)
        found.locator("#video_source video").first.wait_for(timeout=30_000)
        return found

    yield open_tab
    shot(found, "video_last")
    assert not broken
    context.close()


def downloaded(found, folder: Path, ending: str) -> Path:
    """The file that the page offers, fetched as a browser does."""
    link = found.locator(f"#video_files a[download$='{ending}']").first
    link.wait_for(timeout=60_000)
    path = folder / link.get_attribute("download")
    path.write_bytes(found.request.get(link.get_attribute("href")).body())
    return path


def played(found) -> list:
    """[seconds, width, message of an error or None] of what is played."""
    found.wait_for_function("() => document.querySelector('#video_tracks video').readyState > 0", timeout=20_000)
    return found.evaluate(
        "() => { const v = document.querySelector('#video_tracks video');"
        " return [v.duration, v.videoWidth, v.error && v.error.message, v.getAttribute('src')] }"
    )


def result(found, timeout: int = 60_000):
    found.locator("#video_tracks [data-play=result][aria-pressed=true]").wait_for(timeout=timeout)


def test_browser_a_fan_gets_the_video_with_her_highlighted(tab, example, tmp_path):
    found = tab("Video")
    give(found, "video_source", example[1] / "clip.mp4")
    found.locator("#video_source video").first.wait_for(timeout=30_000)
    found.locator("#video_ask [data-name=Leo]").click()
    found.locator("#video_ask [data-do=make]").click()
    result(found, 120_000)
    assert played(found)[:3] == [pytest.approx(1.0, abs=0.1), 956, None] or played(found)[2] is None
    found.locator("#video_tracks .strip img").first.wait_for()
    path = downloaded(found, tmp_path, "_Leo_overlay.mp4")
    assert facts_of(path) == ("h264", "yuv420p", 25)
    shown = frames_of(path)[10].astype(int) - frames_of(example[1] / "clip.mp4")[10]
    share = (np.abs(shown).max(-1) > 40).mean()
    assert 0.02 < share < 0.5, "somebody is highlighted, and not everything"
    shot(found, "video")


def test_browser_an_editor_has_a_transparent_file_in_eight_actions(seen, clip, tmp_path):
    found = seen(clip)  # 1
    found.locator("#video_ask [data-view=cutout]").click()  # 2
    found.locator("#video_ask [data-do=look]").click()  # 3
    unknown = found.locator("#video_tracks .row.unknown").first
    unknown.wait_for(timeout=60_000)
    unknown.locator(".strip button[data-t='0.4'], .strip button").nth(3).click()  # 4: whom nobody knows, half-way
    found.locator("#video_tracks .split").click()  # 5
    found.locator("#video_tracks .by_hand li").first.wait_for()
    found.locator("#video_tracks .who .picks [data-name=Cy]").click()  # 6
    found.locator("#video_tracks .row[data-who=Cy]").wait_for()
    found.locator("#video_ask [data-name=Cy]").click()  # 7
    found.locator("#video_take [data-take=premiere]").click()  # 8
    path = downloaded(found, tmp_path, "_Cy_cutout.mov")
    assert facts_of(path)[0] == "prores" and facts_of(path)[1].startswith("yuva444p")
    with av.open(str(path)) as container:
        alphas = [frame.to_ndarray(format="rgba")[..., 3] for frame in container.decode(video=0)]
    assert alphas[2].max() < 40 and alphas[20][100, 200] > 200, "from where it was split on"


def test_browser_a_box_drawn_where_she_was_missed_changes_the_mask(seen, tmp_path):
    blind = [draw((ADA, 60, 60), (BO, 200, 60)) for _ in range(20)]
    for picture in blind[8:]:
        picture[48:72, 188:190] = 128
    found = seen(make_video(tmp_path / "missed.mp4", blind, codec="libx264", options={"crf": "12"}, pix="yuv420p"))
    found.locator("#video_ask [data-name=Bo]").click()
    found.locator("#video_ask [data-view=matte]").click()
    found.locator("#video_ask [data-do=make]").click()
    result(found)
    before = played(found)[3]
    first = frames_of(downloaded(found, tmp_path, "_Bo_matte.mp4"))
    ruler = found.locator("#video_tracks .ruler")
    ruler.focus()
    for _ in range(3):
        ruler.press("ArrowRight")
    assert ruler.get_attribute("aria-valuenow") == "0.60"
    found.locator("#video_tracks .missed").click()
    mark = found.locator("#video_tracks .mark")
    mark.wait_for()
    assert found.locator("#video_tracks .mark .box:focus").count() == 1
    found.keyboard.press("ArrowLeft")
    area = mark.bounding_box()
    scale = area["width"] / 320
    found.mouse.move(area["x"] + 188 * scale, area["y"] + 48 * scale)
    found.mouse.down()
    found.mouse.move(area["x"] + 212 * scale, area["y"] + 72 * scale, steps=4)
    found.mouse.up()
    assert "188, 48, 212, 72" in found.locator("#video_tracks .mark .box").get_attribute("aria-label")
    found.locator("#video_tracks .marking .picks [data-name=Bo]").click()
    found.locator("#video_tracks .by_hand li").first.wait_for()
    found.locator("#video_tracks .again").click()
    found.wait_for_function(
        "before => document.querySelector('#video_tracks video').getAttribute('src') !== before", arg=before,
        timeout=60_000,
    )  # fmt: skip
    played(found)
    (tmp_path / "again").mkdir()
    second = frames_of(downloaded(found, tmp_path / "again", "_Bo_matte.mp4"))
    assert first[15][100, 200].max() < 40 and second[15][100, 200].min() > 200


def test_browser_a_preview_a_reload_and_another_view(seen, drawn, clip, tmp_path):
    found = seen(clip)
    found.locator("#video_ask [data-name=Ada]").click()
    found.locator("#video_ask [data-do=preview]").click()
    found.locator("#video_files a[download$='_preview.mp4']").wait_for(timeout=60_000)
    assert facts_of(downloaded(found, tmp_path, "_preview.mp4"))[2] == 40
    found.locator("#video_ask [data-do=make]").click()
    found.locator("#video_files a[download$='_Ada_overlay.mp4']").wait_for(timeout=60_000)
    calls = drawn.pipeline.face_engine.calls
    found.reload()  # the jobs are the server's
    found.locator("#jobs summary").click(timeout=60_000)
    found.locator("#jobs li button").first.click()
    result(found)
    assert played(found)[0] == pytest.approx(1.6, abs=0.1)
    found.locator("#video_ask [data-name=Bo]").click()
    found.locator("#video_ask [data-view=blur]").focus()
    found.locator("#video_ask [data-view=matte]").click()
    found.locator("#video_ask [data-do=make]").click()  # of the video that is shown: none was uploaded since
    path = downloaded(found, tmp_path, "_Bo_matte.mp4")
    assert drawn.pipeline.face_engine.calls == calls, "no second analysis"
    assert frames_of(path)[35][100, 200].min() > 200


def test_browser_cancelling_half_way_keeps_the_first_half(seen, tmp_path, monkeypatch):
    from identity_segmentation.ui.jobs import Work

    monkeypatch.setattr(rendering, "_SEGMENT_SECONDS", 0.4)
    real = Work.progress

    def progress(self, done, total):
        real(self, done, total)
        time.sleep(0.1 if self._record["doing"] == "doing_masks" and done > 20 else 0)

    monkeypatch.setattr(Work, "progress", progress)
    pictures = [draw((ADA, 60 + i, 60), (BO, 260, 60)) for i in range(60)]
    found = seen(make_video(tmp_path / "long.mp4", pictures, sound=True))
    found.locator("#video_ask [data-name=Bo]").click()
    found.locator("#video_ask [data-do=make]").click()
    found.locator("#jobs .running .said", has_text="3 of 3").wait_for(timeout=60_000)
    found.locator("#jobs .running .said", has_text="masks").wait_for()
    found.wait_for_timeout(1500)
    found.locator("#jobs .running button").click()
    path = downloaded(found, tmp_path, "_first_part.mp4")
    assert 20 <= facts_of(path)[2] < 60 and facts_of(path)[2] % 10 == 0
    result(found)
    assert "finished and kept" in found.locator("#video_status textarea").input_value()


def test_browser_a_list_and_a_zip_are_handed_over(seen, clip, tmp_path):
    found = seen(clip)
    for kind, ending in (("csv", ".csv"), ("mot", ".zip")):
        found.locator(f"#video_take [data-take={kind}]").click()
        path = downloaded(found, tmp_path, ending)
        assert path.stat().st_size > 100
    with zipfile.ZipFile(path) as archive:
        assert any(name.endswith("gt/gt.txt") for name in archive.namelist())

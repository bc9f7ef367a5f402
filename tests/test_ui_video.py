"""Videos on the web page."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest
from page_fixtures import give, shot, shown, waits

from identity_segmentation import read_image

pytest.importorskip("gradio", reason="the web page's tests need gradio: scripts/setup.sh --dev")

from identity_segmentation.ui.video import VideoTab


def test_a_video_comes_with_files_a_timeline_and_a_correction(page, example):
    told = []
    clip = str(example[1] / "clip.mp4")
    videos = VideoTab(page)
    result = videos.video("s", clip, ["Leo"], "overlay", 5, ["masks", "alpha_webm"], lambda *step: told.append(step))
    video, files, timeline, _, status, asked = result
    assert [Path(f).suffix for f in files] == [".mp4", ".jsonl", ".webm"] and all(Path(f).stat().st_size for f in files)
    assert "Leo" in status and "frames/s" in status and read_image(timeline).shape[1] == 1000
    assert any("left" in text for *_, text in told) and video == files[0]
    from identity_segmentation.video.analysis import read_analysis
    from identity_segmentation.video.store import find

    names = page.pipeline.track_names(read_analysis(find(video, page.analyses)))
    track = next(t for t, n in names.items() if n.name == "Leo")
    again = videos.corrected("s", asked, track, "-", lambda *step: None)
    assert "Leo 0.0 s" in again[4] and videos.jobs == {}


def test_a_job_is_cancelled_and_leaves_nothing_running(page, example):
    from identity_segmentation.errors import Cancelled

    videos = VideoTab(page)

    def progress(*_):
        videos.stop("mine")

    with pytest.raises(Cancelled):
        videos.video("mine", str(example[1] / "clip.mp4"), ["Leo"], "overlay", 5, [], progress)
    assert videos.jobs == {} and videos.stop("mine") == "nothing is running"


def test_browser_a_video_is_made_shown_and_can_be_played(tab, example):
    found = tab("Video")
    give(found, "video_source", example[1] / "clip.mp4")
    found.locator("#video_source video").first.wait_for(timeout=30_000)
    found.locator("#video_run").click()
    status = waits(found, "video_status", "frames/s", 120)
    assert "25 frames" in status
    found.locator("#video_result video").first.wait_for(timeout=30_000)
    found.wait_for_function(
        "() => { const v = document.querySelector('#video_result video'); return v && v.readyState > 0 }",
        timeout=20_000,
    )
    video = found.evaluate(
        "() => { const v = document.querySelector('#video_result video');"
        " return [v.duration, v.videoWidth, v.error && v.error.message] }"
    )
    assert video[0] == pytest.approx(1.0, abs=0.1) and video[1] > 500 and video[2] is None
    shown(found, "video_timeline")
    shot(found, "video")


def test_browser_a_running_video_is_cancelled_within_a_second_or_two(tab, served, example, tmp_path):
    from identity_segmentation.demo import write_clip

    (tmp_path / "long").mkdir()
    clip = write_clip(tmp_path / "long", read_image(sorted(example[1].glob("*.jpg"))[0]), 20.0)
    found = tab("Video")
    give(found, "video_source", clip)
    found.locator("#video_source video").first.wait_for(timeout=30_000)
    found.locator("#video_run").click()
    found.get_by_text("frames/s").first.wait_for(timeout=60_000)
    found.locator("#video_cancel").click()
    found.get_by_text("cancelled; what was finished is kept").wait_for(timeout=5_000)
    deadline = time.time() + 10
    while any(t.name == "prefetch" for t in threading.enumerate()) and time.time() < deadline:
        time.sleep(0.1)
    assert not any(t.name == "prefetch" for t in threading.enumerate()), "the reader's thread is gone"

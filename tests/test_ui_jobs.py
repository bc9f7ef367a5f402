"""Long work on the web page: it outlives the page that asked for it."""

from __future__ import annotations

import json
import threading
import time

import pytest

from identity_segmentation.errors import Cancelled, InputError, VideoError
from identity_segmentation.ui.jobs import Jobs, Work
from identity_segmentation.ui.page import Page


@pytest.fixture
def jobs(page):
    return page.jobs


def ended(jobs: Jobs, session: str, job: str) -> dict:
    for _ in range(500):
        found = jobs.get(session, job)
        if found["state"] not in ("waiting", "running"):
            return found
        time.sleep(0.02)
    raise AssertionError(found)


def held(gate: threading.Event):
    def work(at_work: Work) -> dict:
        at_work.stage(1, 2, "look")
        at_work.progress(1, 4)
        while not gate.wait(0.02):
            if at_work.cancel.is_set():
                at_work.result["kept"] = "the first part"
                raise Cancelled("cancelled; what was finished is kept")
        return {"file": "원영.mp4"}

    return work


def test_a_job_runs_in_the_server_and_is_found_again_by_its_browser(jobs):
    gate = threading.Event()
    jobs.hello("page 1", "key of a browser")
    job = jobs.start("page 1", "video", "원영 · clip.mp4", held(gate), {"members": ["원영"]})
    jobs.bye("page 1")  # a reload
    jobs.hello("page 2", "key of a browser")
    assert [row["id"] for row in jobs.of("page 2")] == [job]
    gate.set()
    found = ended(jobs, "page 2", job)
    assert (
        found["state"] == "done" and found["result"] == {"file": "원영.mp4"} and found["asked"] == {"members": ["원영"]}
    )
    jobs.hello("page 3", "another browser")
    assert jobs.of("page 3") == []
    with pytest.raises(InputError, match="no longer there"):
        jobs.get("page 3", job)


def test_what_was_asked_before_the_browser_said_its_key_is_its_own(jobs):
    gate = threading.Event()
    job = jobs.start("page", "video", "t", held(gate))
    jobs.hello("page", "key")
    assert [row["id"] for row in jobs.of("page")] == [job]
    gate.set()
    ended(jobs, "page", job)


def test_a_cancelled_job_keeps_what_was_finished_and_a_waiting_one_never_begins(jobs):
    gate = threading.Event()
    first, second = (jobs.start("s", "video", "t", held(gate)) for _ in range(2))
    jobs.cancel("s", second)
    assert jobs.get("s", second)["state"] == "cancelled"
    jobs.cancel("s", first)
    found = ended(jobs, "s", first)
    assert (found["state"], found["result"]) == ("cancelled", {"kept": "the first part"})
    with pytest.raises(InputError):
        jobs.cancel("somebody else", first)


def test_kinds_run_beside_each_other_and_one_kind_in_order(jobs):
    gate = threading.Event()
    film, other = (jobs.start("s", "video", "t", held(gate)) for _ in range(2))
    photo = jobs.start("s", "photos", "t", lambda work: {"ok": True})
    assert ended(jobs, "s", photo)["state"] == "done"
    assert jobs.get("s", other)["state"] == "waiting"
    gate.set()
    assert ended(jobs, "s", film)["state"] == ended(jobs, "s", other)["state"] == "done"


def test_a_failed_job_says_why_and_a_fault_of_ours_stays_in_the_log(jobs):
    def broken(work: Work) -> dict:
        raise VideoError("clip.mp4 is cut off")

    def bug(work: Work) -> dict:
        raise KeyError("secret")

    assert "cut off" in ended(jobs, "s", jobs.start("s", "video", "t", broken))["said"]
    said = ended(jobs, "s", jobs.start("s", "video", "t", bug))["said"]
    assert "log" in said and "secret" not in said


def test_results_are_there_after_the_server_began_anew_and_what_ran_then_says_so(page, jobs):
    gate = threading.Event()
    jobs.hello("s", "key")
    done = jobs.start("s", "photos", "사진", lambda work: {"file": "a.png"})
    ended(jobs, "s", done)
    cut_short = jobs.start("s", "video", "t", held(gate))
    while jobs.get("s", cut_short)["state"] != "running":
        time.sleep(0.01)
    again = Page(page.pipeline, page.folder).jobs
    again.hello("s2", "key")
    states = {row["id"]: (row["state"], row["said"]) for row in again.of("s2")}
    assert states[done][0] == "done" and again.get("s2", done)["result"] == {"file": "a.png"}
    assert states[cut_short][0] == "failed" and "stopped" in states[cut_short][1]
    record = (page.folder / done / "job.json").read_text("utf-8")
    assert '"key"' not in record and json.loads(record)["title"] == "사진"
    gate.set()
    ended(jobs, "s", cut_short)


def test_time_left_follows_the_last_seconds_of_the_stage_alone():
    clock = [0.0]
    record: dict = {}
    work = Work(record, None, lambda: clock[0])
    work.stage(1, 2, "look")
    for second in range(40):  # 10 a second, then 1
        clock[0] = second
        work.progress(min(second, 20) * 10 + max(0, second - 20), 1000)
    assert record["left"] == pytest.approx(1000 - 219, rel=0.01)
    work.stage(2, 2, "masks")
    assert record["left"] is None and (record["stage"], record["stages"]) == (2, 2)
    work.progress(0, 10)
    clock[0] += 0.5
    work.progress(5, 10)
    assert record["left"] is None  # too early to be believed
    clock[0] += 1.5
    work.progress(8, 10)
    assert record["left"] == pytest.approx(0.5)


def test_too_many_that_wait_are_refused(jobs):
    gate = threading.Event()
    with pytest.raises(InputError, match="wait already"):
        for _ in range(40):
            jobs.start("s", "video", "t", held(gate))
    waiting = jobs.of("s")
    for row in waiting:
        jobs.cancel("s", row["id"])
    gate.set()


def test_the_folder_of_a_running_job_is_never_swept(page, jobs):
    import os

    gate = threading.Event()
    job = jobs.start("s", "video", "t", held(gate))
    old = time.time() - 3 * 24 * 3600
    os.utime(page.folder / job, (old, old))
    page.sweep()
    assert (page.folder / job).is_dir()
    gate.set()
    ended(jobs, "s", job)
    os.utime(page.folder / job, (old, old))
    page.sweep()
    assert jobs.of("s") == []


def test_browser_a_job_outlives_a_reload_and_a_lost_connection(tab, served_page):
    gate = threading.Event()
    found = tab("Video")
    found.wait_for_function("() => localStorage.getItem('idseg_owner')")
    jobs = served_page.jobs
    while not jobs._owners:
        time.sleep(0.05)
    session = next(reversed(jobs._owners))
    job = jobs.start(session, "video", "<b>원영</b> clip", held(gate))
    row = found.locator(f".running [data-job={job}]")
    row.wait_for(timeout=15_000)
    assert "<b>원영</b> clip" in row.inner_text() and "1 of 2 · look · 1 / 4" in row.inner_text()
    found.reload()
    row.wait_for(timeout=15_000)
    found.context.set_offline(True)
    found.wait_for_timeout(2500)
    found.context.set_offline(False)
    row.get_by_role("button").click()
    recent = found.locator(".recent summary")
    recent.wait_for(timeout=15_000)
    recent.click()
    assert "cancelled" in found.locator(f".recent [data-job={job}]").inner_text()
    gate.set()

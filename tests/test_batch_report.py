"""What is said of a job: totals, a page that is safe to open, who is where, and an edit list over several videos."""

from __future__ import annotations

import argparse
import csv
import json
import re
from html.parser import HTMLParser

import pytest

from identity_segmentation.batch.edit_list import takes_of, write_edit_list
from identity_segmentation.batch.places import place
from identity_segmentation.batch.records import Records
from identity_segmentation.batch.report import as_html, summary_of, where, write_html
from identity_segmentation.cli import batch_reports
from identity_segmentation.cli.console import Verbs, shared_options
from identity_segmentation.errors import InputError, OutputError

NASTY = '<img src=x onerror=alert(1)>"장원영\u202e'


def row(number: int, **more) -> dict:
    return {
        "key": f"{number:032x}", "source": f"/season/{number}.mp4", "state": "done", "reason": "", "seconds": 60.0,
        "frames": 1500, "took": 30.0, "tries": 1, "output": f"{number}.mp4", "files": [], "on_screen": {}, "where": [],
        "review": [], "versions": {}, "worker": "", "question": "q", "ended": f"2030-01-01T00:{number:02d}:00+00:00",
        "fps": "25", "timecode": "10:00:00:00", "sound": True,
    } | more  # fmt: skip


@pytest.fixture
def job(tmp_path):
    """Four sources: one of them broken, one with a name that is a trap."""
    records = Records(place(tmp_path / "dest"))
    rows = [
        row(1, on_screen={"Wonyoung": 12.0, "Gaeul": 0.0},
            where=[["Wonyoung", 3.0, 5.0, 0.71], ["Wonyoung", 20.0, 30.0, 0.8]]),
        row(2, state="failed", reason="no video: it is empty", seconds=0.0, frames=0, tries=3),
        row(3, source=f"/season/{NASTY}.mp4", on_screen={NASTY: 2.0}, where=[[NASTY, 1.0, 3.0, 0.6]], tries=2),
        row(4, review=[{"from": 1.0, "to": 2.0, "name": NASTY, "why": "<b>unsure</b>"}] * 7,
            where=[["Wonyoung", 59.0, 60.0, 0.75]], on_screen={"Wonyoung": 1.0}),
    ]  # fmt: skip
    records.place.create(".batch/question.json", json.dumps({"do": "video"}).encode())
    for one in rows:
        records.write_row(one["key"], one)
    records.claim("f" * 32)
    return records


def test_the_totals_are_those_of_the_rows(job):
    found = summary_of(job)
    assert found.states == {"done": 3, "failed": 1} and found.in_hand == 1
    assert (found.seconds, found.frames, found.took, found.tries, found.review) == (180.0, 4500, 90.0, 3, 7)
    assert found.people == {"Wonyoung": (13.0, 2), NASTY: (2.0, 1)}  # nobody who was never seen
    assert found.reasons == {"no video: it is empty": 1} and found.last == "2030-01-01T00:04:00+00:00"
    assert [r["source"][8] for r in found.worst] == ["2", "4", "<", "1"]
    assert [r["source"][8] for r in summary_of(job, 2).worst] == ["2", "4"]
    assert json.loads(json.dumps(found.as_dict()))["people"][0] == {"person": "Wonyoung", "seconds": 13.0, "sources": 2}
    assert any("3 done, 1 put aside, 1 in hand" in line for line in found.in_words())


class Tags(HTMLParser):
    def __init__(self):
        super().__init__()
        self.tags, self.attributes, self.text = [], [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [name for name, _ in attrs]

    def handle_data(self, data):
        self.text.append(data)


def test_on_the_page_names_are_text_and_nothing_runs_or_is_fetched(job):
    page = as_html(summary_of(job))
    seen = Tags()
    seen.feed(page)
    assert not {"img", "script", "link", "iframe", "b", "a"} & set(seen.tags)
    assert not [name for name in seen.attributes if name.startswith("on") or name in ("src", "href")]
    text = " ".join(seen.text)
    assert NASTY in text and "<b>unsure</b>" in text and "no video: it is empty" in text and "and 2 more" in text
    assert "default-src 'none'" in page
    assert page.index("/season/2.mp4") < page.index("/season/4.mp4") < page.index("/season/1.mp4")


def test_a_page_is_written_over_a_page_and_over_nothing_else(job, tmp_path):
    found = summary_of(job)
    made = write_html(tmp_path / "page.html", found)
    write_html(made, found)
    (tmp_path / "mine.html").write_text("mine")
    with pytest.raises(OutputError, match="was not made by"):
        write_html(tmp_path / "mine.html", found)
    assert (tmp_path / "mine.html").read_text() == "mine"


def test_a_folder_without_a_job_is_said(tmp_path):
    with pytest.raises(InputError, match="holds no job"):
        summary_of(Records(place(tmp_path)))


def test_who_is_where_is_one_table_over_all_videos(job):
    assert [(r["video"], r["from"], r["to"]) for r in where(job, "Wonyoung")] == [
        ("/season/1.mp4", 3.0, 5.0), ("/season/1.mp4", 20.0, 30.0), ("/season/4.mp4", 59.0, 60.0),
    ]  # fmt: skip
    assert {r["person"] for r in where(job)} == {"Wonyoung", NASTY}


def test_an_edl_cuts_the_takes_of_all_videos_together_by_their_own_time_codes(job, tmp_path):
    takes = takes_of(job.rows(), "Wonyoung", 1.0)
    assert [(t.from_s, t.to_s) for t in takes] == [(2.0, 6.0), (19.0, 31.0), (58.0, 60.0)]  # no longer than the video
    text = write_edit_list(tmp_path / "w.edl", takes, "Wonyoung").read_text()
    events = re.findall(r"^(\d{3})  AX +B +C +(\S+) (\S+) (\S+) (\S+)\r?$", text, re.MULTILINE)
    assert [event[1:3] for event in events] == [
        ("10:00:02:00", "10:00:06:00"), ("10:00:19:00", "10:00:31:00"), ("10:00:58:00", "10:01:00:00"),
    ]  # fmt: skip
    # Each event begins in the cut where the one before it ends.
    assert [e[3] for e in events] == ["01:00:00:00", *[e[4] for e in events[:-1]]] and events[-1][4] == "01:00:18:00"
    assert text.count("* FROM CLIP NAME: 1.mp4") == 2 and "* FROM CLIP NAME: 4.mp4" in text
    with pytest.raises(OutputError, match="choose another name"):
        write_edit_list(tmp_path / "w.edl", takes, "Wonyoung")


def test_takes_that_touch_are_one_and_nobody_is_said(job):
    [first, _] = takes_of(job.rows(), "Wonyoung", 8.0)
    assert (first.from_s, first.to_s, first.similarity) == (0.0, 38.0, 0.8)
    with pytest.raises(InputError, match="'Wonyung' is in none.*Wonyoung"):
        takes_of(job.rows(), "Wonyung")
    with pytest.raises(InputError, match="handle of 0 to 60"):
        takes_of(job.rows(), "Wonyoung", -1)


def test_videos_of_several_rates_go_into_otio_and_not_into_an_edl(tmp_path):
    rows = [
        row(1, where=[["Bo", 0.0, 2.0, 0.7]]),
        row(2, where=[["Bo", 1.0, 2.0, 0.7]], fps="30000/1001", timecode="00:59:59;29", sound=False),
        row(3, where=[["Bo", 1.0, 2.0, 0.7]], source="s3://bucket/a b.mp4", timecode=""),
    ]
    takes = takes_of(rows, "Bo", 0.0)
    with pytest.raises(InputError, match=r"25, 29.97 frames a second; choose .otio"):
        write_edit_list(tmp_path / "b.edl", takes, "Bo")
    with pytest.raises(InputError, match="expected an edit list named"):
        write_edit_list(tmp_path / "b.aaf", takes, "Bo")
    otio = pytest.importorskip("opentimelineio")
    timeline = otio.adapters.read_from_file(str(write_edit_list(tmp_path / "b.otio", takes, "Bo")))
    picture, sound = timeline.tracks
    assert [round(clip.source_range.duration.to_seconds(), 2) for clip in picture] == [2.0, 1.0, 1.0]
    assert [clip.source_range.start_time.rate for clip in picture] == [25.0, pytest.approx(29.97, abs=0.01), 25.0]
    assert picture[2].media_reference.target_url == "s3://bucket/a b.mp4"
    assert isinstance(sound[1], otio.schema.Gap) and len(sound) == 3


def test_in_a_table_no_name_is_a_formula(tmp_path):
    takes = takes_of([row(1, where=[["=HYPERLINK(1)", 0.0, 2.0, 0.7]])], "=HYPERLINK(1)")
    made = write_edit_list(tmp_path / "t.csv", takes, "=HYPERLINK(1)")
    [line] = csv.DictReader(made.read_text("utf-8").splitlines())
    assert line["person"] == "'=HYPERLINK(1)" and (line["from"], line["to"]) == ("0.000", "2.200")


def run(*words: str) -> int:
    parser = argparse.ArgumentParser()
    batch_reports.add(Verbs(parser, shared_options()))
    arguments = parser.parse_args(list(words))
    return arguments.run(arguments)


def test_the_verbs_say_it_and_their_status_tells(job, tmp_path, capsys):
    out = str(tmp_path / "dest")
    assert run("status", out, "--json") == 4  # one was put aside
    assert json.loads(capsys.readouterr().out)["states"] == {"done": 3, "failed": 1}
    assert run("status", out) == 4 and "put aside" in capsys.readouterr().out
    assert run("report", out, "--html", str(tmp_path / "page.html")) == 0 and (tmp_path / "page.html").is_file()
    capsys.readouterr()
    assert run("people", out, "--person", "Wonyoung", "--json") == 0
    assert len(capsys.readouterr().out.splitlines()) == 3
    assert run("people", out, "--person", "Nobody") == 3
    assert run("people", out, "--person", "Wonyoung", "--edit-list", str(tmp_path / "x.edl")) == 0
    assert (tmp_path / "x.edl").is_file()
    with pytest.raises(InputError, match="--person NAME"):
        run("people", out, "--edit-list", str(tmp_path / "y.edl"))

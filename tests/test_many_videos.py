"""Many videos with one command: each done, kept, or named with its reason; nothing of the user's is lost."""

from __future__ import annotations

import json
import os
import shutil
import threading

import pytest
from fakes import PEOPLE, draw
from test_video import ADA, MasksThroughCompression, SeesThroughCompression, make_video, people, walk

from identity_segmentation import IdentityAwareSegmentation, write_image
from identity_segmentation.cli.command import main
from identity_segmentation.errors import Cancelled, GalleryError, InputError, OutputError, UnknownPerson
from identity_segmentation.video.corrections import correct
from identity_segmentation.video.files import VideoReader
from identity_segmentation.video.many import process_videos, sources_for

__all__ = ["people"]  # a fixture
LOOK = {"view": "overlay", "frame_sampling": 5}


def nobody(frames=8):
    return [draw() for _ in range(frames)]


@pytest.fixture
def barn(tmp_path):
    """a.mp4 and cam2/b.mov with Ada and Bo, cam2/a.mp4 with nobody; a picture and a text; one broken video."""
    folder = tmp_path / "barn"
    (folder / "cam2").mkdir(parents=True)
    make_video(folder / "a.mp4", walk(10), sound=True)
    make_video(folder / "cam2" / "b.mov", walk(8))
    make_video(folder / "cam2" / "a.mp4", nobody())
    (folder / "broken.mp4").write_bytes(b"\0\0\0\x18ftypmp42 and no more")
    (folder / "note.txt").write_text("a note")
    return folder


@pytest.fixture
def rendered(people, monkeypatch):
    """How often `process_video` was asked, by source."""
    asked: list[str] = []
    real = IdentityAwareSegmentation.process_video

    def counted(self, source, *given, **more):
        asked.append(os.path.basename(source))
        return real(self, source, *given, **more)

    monkeypatch.setattr(IdentityAwareSegmentation, "process_video", counted)
    return asked


def render(people, sources, out, **given):
    sources = sources if isinstance(sources, list) else [sources]
    return process_videos(people, sources, out, **(LOOK | given))


def states(results):
    return {result.source.split("/barn/")[-1]: result.state for result in results}


def outputs(out):
    return sorted(p.relative_to(out).as_posix() for p in out.rglob("*") if p.is_file() and "/." not in f"/{p}" and
                  p.suffix in (".mp4", ".webm", ".mov"))  # fmt: skip


def test_every_video_is_done_or_named_and_sub_folders_are_kept(people, barn, tmp_path):
    results = render(people, barn, tmp_path / "out")
    assert states(results) == {"a.mp4": "done", "cam2/a.mp4": "done", "cam2/b.mov": "done", "broken.mp4": "failed"}
    assert outputs(tmp_path / "out") == ["a.mp4", "cam2/a.mp4", "cam2/b.mp4"]
    by_name = {result.source.split("/barn/")[-1]: result for result in results}
    assert by_name["a.mp4"].seen == ["Ada", "Bo"] and by_name["cam2/a.mp4"].seen == []
    assert "index" in by_name["broken.mp4"].reason
    with VideoReader(tmp_path / "out" / "a.mp4") as reader:
        assert len(list(reader)) == 10 and reader.info.has_audio
    listed = sources_for([barn], tmp_path / "out")
    assert [(path.name, reason) for path, reason in listed.others] == [("note.txt", "text")]


def test_a_second_run_renders_only_what_is_new_or_asked_for_otherwise(people, barn, tmp_path, rendered):
    out = tmp_path / "out"
    first = render(people, barn, out)
    before = {p: (p.read_bytes(), p.stat().st_mtime_ns) for p in out.rglob("*.mp4") if p.is_file()}
    assert len(rendered) == 3
    rendered.clear()
    results = render(people, barn, out)
    assert rendered == [] and set(states(results).values()) == {"kept", "failed"}
    assert [r.record() | {"state": ""} for r in results] == [r.record() | {"state": ""} for r in first]
    assert {p: (p.read_bytes(), p.stat().st_mtime_ns) for p in out.rglob("*.mp4") if p.is_file()} == before
    make_video(barn / "c.mp4", walk(6))
    assert states(render(people, barn, out))["c.mp4"] == "done" and rendered == ["c.mp4"]
    rendered.clear()
    make_video(barn / "a.mp4", walk(12))
    (out / "cam2" / "b.mp4").unlink()
    render(people, barn, out)
    assert sorted(rendered) == ["a.mp4", "b.mov"], "a source that changed, an output that is gone"
    rendered.clear()
    render(people, barn, out, target_member="Ada")
    assert len(rendered) == 4, "another question"
    rendered.clear()
    render(people, barn, out, target_member=["Ada"])
    assert rendered == [], "the same question in other words"
    render(people, barn, out, target_member="Ada", fresh=True)
    assert len(rendered) == 4


def test_a_correction_by_hand_is_obeyed(people, barn, tmp_path, rendered):
    out = tmp_path / "out"
    results = render(people, [barn / "a.mp4", barn / "cam2" / "b.mov"], out)
    rendered.clear()
    correct(people.find_analysis(results[0].output), 1, None)
    again = render(people, [barn / "a.mp4", barn / "cam2" / "b.mov"], out)
    assert rendered == ["a.mp4"] and [r.state for r in again] == ["done", "kept"]


def test_a_change_of_the_gallery_is_another_question(people, barn, tmp_path, rendered):
    render(people, [barn / "a.mp4"], tmp_path / "out")
    people.add_person("Ed", [write_image(tmp_path / "ed.png", draw((PEOPLE["Ed"], 60, 60)))])
    render(people, [barn / "a.mp4"], tmp_path / "out")
    assert rendered == ["a.mp4", "a.mp4"]


def test_names_that_clash_are_numbered_and_keep_their_numbers(people, barn, tmp_path, rendered):
    out = tmp_path / "out"
    shutil.copy(barn / "cam2" / "b.mov", barn / "A.mov")
    sources = [barn / "A.mov", barn / "a.mp4", barn / "cam2" / "a.mp4"]
    first = [os.path.basename(r.output) for r in render(people, sources, out)]
    assert first == ["A.mp4", "a-2.mp4", "a-3.mp4"]
    rendered.clear()
    again = render(people, sources[::-1], out)
    assert [os.path.basename(r.output) for r in again] == first[::-1] and rendered == []
    (only,) = render(people, [barn / "cam2" / "a.mp4"], out)
    assert os.path.basename(only.output) == "a-3.mp4"
    other = [os.path.basename(r.output) for r in render(people, [barn / "a.mp4"], out, suffix=".webm")]
    assert other == ["a-2.webm"]


def test_a_folder_that_was_moved_with_its_results_is_known_again(people, barn, tmp_path, rendered):
    render(people, barn, barn / "out")
    rendered.clear()
    moved = tmp_path / "moved"
    barn.rename(moved)
    results = render(people, moved, moved / "out")
    assert rendered == [] and outputs(moved / "out") == ["a.mp4", "cam2/a.mp4", "cam2/b.mp4"]
    assert sum(r.state == "kept" for r in results) == 3, "and outputs within the source folder are no sources"


def test_a_file_that_is_not_ours_is_never_written_over_unless_asked(people, barn, tmp_path, rendered):
    out = tmp_path / "out"
    out.mkdir()
    (out / "a.mp4").write_bytes(b"precious")
    sources = [barn / "a.mp4", barn / "cam2" / "b.mov"]
    results = render(people, sources, out)
    assert [r.state for r in results] == ["failed", "done"] and "--overwrite" in results[0].reason
    assert (out / "a.mp4").read_bytes() == b"precious" and rendered == ["b.mov"]
    assert render(people, sources, out)[0].state == "failed" and (out / "a.mp4").read_bytes() == b"precious"
    (out / "b.mp4").write_bytes(b"cut by hand")
    assert "changed by hand" in render(people, sources, out)[1].reason
    changed = render(people, sources, out, target_member="Ada")
    assert [r.state for r in changed] == ["failed"] * 2 and (out / "b.mp4").read_bytes() == b"cut by hand"
    done = render(people, sources, out, overwrite=True)
    assert [r.state for r in done] == ["done", "done"] and (out / "a.mp4").stat().st_size > 1000


def test_no_source_is_ever_written_over(people, barn):
    before = {p: p.read_bytes() for p in barn.rglob("*") if p.is_file()}
    shutil.copy(barn / "cam2" / "b.mov", barn / "a.mov")
    for overwrite in (False, True):
        results = states(render(people, barn, barn, overwrite=overwrite))
        assert results == {"a.mov": "failed", "a.mp4": "done" if not overwrite else "kept", "cam2/a.mp4": "failed",
                           "cam2/b.mov": "done" if not overwrite else "kept", "broken.mp4": "failed"}  # fmt: skip
        assert {p: p.read_bytes() for p in before} == before
    assert outputs(barn) == ["a-2.mp4", "a.mov", "a.mp4", "broken.mp4", "cam2/a.mp4", "cam2/b.mov", "cam2/b.mp4"]


def test_one_failure_never_stops_the_rest_and_what_holds_for_all_does(people, barn, tmp_path, monkeypatch):
    real = IdentityAwareSegmentation.process_video

    def fails(self, source, *given, **more):
        if os.path.basename(source) == "b.mov":
            raise RuntimeError("out of memory")
        return real(self, source, *given, **more)

    monkeypatch.setattr(IdentityAwareSegmentation, "process_video", fails)
    results = states(render(people, barn, tmp_path / "out"))
    assert results == {"a.mp4": "done", "cam2/a.mp4": "done", "cam2/b.mov": "failed", "broken.mp4": "failed"}
    with pytest.raises(UnknownPerson):
        render(people, barn, tmp_path / "other", target_member="Zoe")
    with pytest.raises(GalleryError):
        bare = IdentityAwareSegmentation(SeesThroughCompression(), MasksThroughCompression(), gallery=tmp_path / "none")
        render(bare, barn, tmp_path / "other")
    assert not (tmp_path / "other").exists(), "nothing was begun"


@pytest.mark.parametrize("how", ["key", "cancel"])
def test_a_run_that_is_stopped_keeps_what_is_finished_and_goes_on(people, barn, tmp_path, rendered, how):
    out, stop = tmp_path / "out", threading.Event()

    def progress(path, stage, done, total):
        if path.name == "b.mov" and stage == "render":
            if how == "key":
                raise KeyboardInterrupt
            stop.set()

    with pytest.raises(KeyboardInterrupt if how == "key" else Cancelled):
        render(people, barn, out, progress=progress, cancel=stop)
    assert outputs(out) == ["a.mp4", "cam2/a.mp4"]
    rendered.clear()
    results = states(render(people, barn, out))
    assert rendered == ["b.mov"] and results["a.mp4"] == "kept" and results["cam2/b.mov"] == "done"


def test_a_run_killed_between_an_output_and_its_record_knows_the_output_as_its_own(people, barn, tmp_path, rendered):
    out = tmp_path / "out"
    render(people, [barn / "a.mp4", barn / "cam2" / "b.mov"], out)
    ledger = out / ".idseg-videos.jsonl"
    lines = ledger.read_bytes().splitlines(keepends=True)
    assert [json.loads(line)["state"] for line in lines] == ["begun", "done", "begun", "done"]
    ledger.write_bytes(b"".join(lines[:3]) + lines[3][:40])  # torn
    rendered.clear()
    results = render(people, [barn / "a.mp4", barn / "cam2" / "b.mov"], out)
    assert [r.state for r in results] == ["kept", "done"] and rendered == ["b.mov"]
    assert [r.state for r in render(people, [barn], out) if r.source.endswith("a.mp4")] == ["kept", "done"]


def test_two_runs_in_one_folder_do_not_mix(people, barn, tmp_path):
    def progress(path, stage, done, total):
        with pytest.raises(OutputError, match="another run is at work"):
            render(people, [barn / "cam2" / "b.mov"], tmp_path / "out")

    assert render(people, [barn / "a.mp4"], tmp_path / "out", progress=progress)[0].state == "done"


def test_a_box_needs_no_gallery_and_follows_in_every_video(people, tmp_path):
    for name in ("x", "y"):
        make_video(tmp_path / f"{name}.mp4", walk(8))
    bare = IdentityAwareSegmentation(SeesThroughCompression(), MasksThroughCompression(), gallery=tmp_path / "none")
    sources = [tmp_path / "x.mp4", tmp_path / "y.mp4"]
    results = process_videos(bare, sources, tmp_path / "out", "the dancer", box=(30, 40, 90, 190), view="overlay")
    assert [r.seen for r in results] == [["the dancer"], ["the dancer"]]


def test_out_must_be_a_folder_and_there_must_be_a_video(people, barn, tmp_path):
    for out in ("out.mp4", barn / "note.txt"):
        with pytest.raises(InputError, match="expected a folder"):
            render(people, barn, tmp_path / out)
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="no videos in"):
        render(people, tmp_path / "empty", tmp_path / "out")
    with pytest.raises(InputError, match=".webm"):
        render(people, barn, tmp_path / "out", suffix=".gif")


def test_names_in_every_script_and_those_that_are_no_names_elsewhere(people, tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    for name in ("소 1.mp4", 'a"b:c?.mp4', "x\ny.mp4"):
        make_video(folder / name, walk(6))
    results = render(people, folder, tmp_path / "out")
    assert [r.state for r in results] == ["done"] * 3
    assert outputs(tmp_path / "out") == ["a_b_c.mp4", "x_y.mp4", "소 1.mp4"]


# ---- the command


@pytest.fixture
def command(people, tmp_path, monkeypatch, capsys):
    """The command line with the fake engines: (words) -> (status, what was printed, what was said)."""
    monkeypatch.setattr("identity_segmentation.cli.video.pipeline_of", lambda arguments: people)
    monkeypatch.chdir(tmp_path)

    def run(*words):
        status = main(["video", *map(str, words)])
        printed = capsys.readouterr()
        return status, printed.out, printed.err

    return run


def test_the_command_names_all_and_its_status_says_how_it_went(command, barn, tmp_path):
    status, out, err = command("barn", "out", "--view", "overlay", "--json")
    assert status == 4
    assert {(r["source"], r["state"]) for r in json.loads(out)} == {
        ("barn/a.mp4", "done"), ("barn/cam2/a.mp4", "done"), ("barn/cam2/b.mov", "done"), ("barn/broken.mp4", "failed"),
    }  # fmt: skip
    assert json.loads(out)[0]["frames"] == 10 and "passed over barn/note.txt: text" in err
    (barn / "broken.mp4").unlink()
    status, out, err = command("barn", "out", "--view", "overlay")
    assert status == 0 and out.count("kept") == 3 and "Ada, Bo" in out and "barn/cam2/b.mov" in out
    assert command("barn/cam2/a.*", "out2", "--view", "overlay")[0] == 3, "nobody in any"
    (barn / "bad.mp4").write_bytes(b"")
    status, out, _ = command("barn/bad.mp4", "barn/no*", "out3")
    assert status == 1 and "empty" in out
    status, _, err = command("barn/*.avi", "out4")
    assert status == 1 and "nothing matches" in err


def test_one_plain_file_stays_one_file(command, barn, tmp_path):
    assert command("barn/a.mp4", "one.mp4", "--member", "Ada", "--view", "overlay")[0] == 0
    assert (tmp_path / "one.mp4").is_file() and not (tmp_path / ".idseg-videos.jsonl").exists()
    status, _, err = command("barn/a.mp4", "one.mp4", "--suffix", ".webm")
    assert status == 1 and "--suffix" in err
    assert command("barn", "many", "--suffix", ".webm", "--view", "cutout", "--member", ADA_NAME)[0] == 4
    assert "a.webm" in outputs(tmp_path / "many")
    status, _, err = command("barn/none.mp4", "x.mp4")
    assert status == 1 and "no such file" in err


ADA_NAME = next(name for name, colour in PEOPLE.items() if colour == ADA)

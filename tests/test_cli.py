"""Every verb of `idseg`, as a person types it: what goes to stdout, what to stderr, and the exit status."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import cv2
import numpy as np
import pytest

from identity_segmentation import read_image, write_image
from identity_segmentation.cli import command as cli
from identity_segmentation.demo import portrait


@pytest.fixture(scope="module")
def home(tmp_path_factory, group, embedded_faces):
    """A folder with a data set of three real people and one picture of all six."""
    root = tmp_path_factory.mktemp("home")
    faces = sorted(embedded_faces.faces(group, embed=False), key=lambda f: f.centre[0])
    for name, face in zip(("Ada", "Bo", "원영"), faces, strict=False):
        write_image(root / "Dataset" / name / "1.png", portrait(group, face))
    for name, face in zip(("zoe", "yan"), faces[3:], strict=False):
        write_image(root / "more" / f"{name}.png", portrait(group, face))
    (root / "Dataset" / "members.toml").write_text(
        '[[member]]\nfolder = "원영"\nname = "Wonyoung"\naliases = ["원영"]\n', "utf-8"
    )
    write_image(root / "photos" / "stage.jpg", group)
    write_image(root / "photos" / "empty.png", np.full((80, 80, 3), 128, np.uint8))
    (root / "photos" / "text.jpg").write_text("not a picture")
    return root


@pytest.fixture
def idseg(home, monkeypatch, capsys, embedded_faces, embedded_masks):
    """Run a command line in `home` with the embedded engines, already loaded: (status, stdout, stderr)."""
    monkeypatch.chdir(home)
    monkeypatch.setattr("identity_segmentation.engines.embedded_faces.create", lambda settings: embedded_faces)
    monkeypatch.setattr("identity_segmentation.engines.embedded_masks.create", lambda settings: embedded_masks)

    def run(*words: str):
        capsys.readouterr()
        try:
            status = cli.main([*words])
        except SystemExit as stop:
            status = stop.code
        out, err = capsys.readouterr()
        return status, out, err

    run("people", "build", "--face-engine", "embedded")
    return run


EMBEDDED = ("--face-engine", "embedded")


def test_build_prints_the_verdicts_and_the_second_time_reuses_them(idseg):
    status, out, err = idseg("people", "build", *EMBEDDED)
    assert status == 0 and "Ada/1.png" in out and "used" in out
    assert "3 people in gallery (0 photos looked at, 3 unchanged" in err
    status, out, _ = idseg("people", "build", "Dataset", "--json", *EMBEDDED)
    assert status == 0 and json.loads(out)[0].keys() == {"person", "photo", "verdict", "detail", "of_person"}
    assert "one photo only" in json.loads(out)[0]["of_person"][0]


def test_list_as_text_and_as_json(idseg):
    status, out, _ = idseg("people", "list")
    assert status == 0 and "Wonyoung  1 references  also: 원영" in out
    content = json.loads(idseg("people", "list", "--json")[1])
    assert content["engine"] == "embedded" and content["people"][2]["aliases"] == ["원영"]


def test_check_as_text_as_json_and_as_a_picture(idseg, home):
    status, out, _ = idseg("people", "check", *EMBEDDED)
    assert status == 0 and "3 Wonyoung" in out and "the strict threshold (0.58) applies to Ada, Bo, Wonyoung" in out
    status, out, err = idseg("people", "check", "--json", "--picture", "확인.png", *EMBEDDED)
    content = json.loads(out)
    assert content.keys() == {"engine", "people", "photos", "remarks", "strangers"}
    assert [p["name"] for p in content["people"]] == ["Ada", "Bo", "Wonyoung"]
    assert content["people"][0]["similarity"]["Ada"] is None, "one photo has no other to be like"
    assert {r["kind"] for r in content["remarks"]} == {"thin", "strict"}
    assert cv2.imdecode(np.fromfile(home / "확인.png", np.uint8), 1) is not None and "확인.png" in err
    assert "no gallery in nowhere" in idseg("people", "check", "--gallery", "nowhere")[2]


def test_add_rename_alias_merge_and_remove(idseg, home):
    photo = str(home / "more" / "zoe.png")
    assert idseg("people", "add", "Zoe", photo, *EMBEDDED)[0] == 0
    assert "Zoe" in idseg("people", "list")[1]
    assert "Zoe is now 조이" in idseg("people", "rename", "Zoe", "조이")[1]
    assert "조이: Zoë, Z" in idseg("people", "alias", "조이", "Zoë", "Z")[1]
    status, out, _ = idseg("people", "merge", "Ada", "조이")
    assert status == 0 and "Ada now has 2 references" in out
    assert idseg("people", "remove", "zoë")[0] == 0, "an alias names the person too"
    assert "Ada" not in idseg("people", "list")[1]
    assert idseg("people", "build", *EMBEDDED)[0] == 0 and "Ada" in idseg("people", "list")[1]


def test_removing_says_that_the_photos_are_the_users(idseg):
    status, out, err = idseg("people", "remove", "Bo")
    assert status == 0 and "Bo is gone" in out and "the photos in 'Bo' of the data set are yours" in err


def test_adding_a_bad_photo_beside_a_good_one_is_status_4(idseg, home):
    good, bad = str(home / "more" / "yan.png"), str(home / "photos" / "text.jpg")
    status, out, _ = idseg("people", "add", "Yan", good, bad, *EMBEDDED)
    assert status == 4 and "unreadable" in out
    assert idseg("people", "remove", "Yan")[0] == 0


def test_a_photo_that_is_on_file_as_somebody_else_is_not_added(idseg, home):
    status, _, err = idseg("people", "add", "Nobody", str(home / "Dataset" / "Bo" / "1.png"), *EMBEDDED)
    assert status == 1 and "the same face is on file as Bo; not used" in err


def test_names_reach_a_pipe_that_knows_no_hangul(home, tmp_path):
    environment = {**os.environ, "PYTHONIOENCODING": "cp1252", "IDSEG_GALLERY": str(tmp_path / "g")}
    command = [sys.executable, "-m", "identity_segmentation", "people"]
    words = ["--face-engine", "embedded"]
    assert subprocess.run([*command, "build", *words], cwd=home, env=environment, capture_output=True).returncode == 0
    done = subprocess.run([*command, "list"], cwd=home, env=environment, capture_output=True)
    assert done.returncode == 0 and "원영".encode() in done.stdout


def test_identify_as_text(idseg):
    status, out, _ = idseg("identify", "photos/stage.jpg", *EMBEDDED)
    assert status == 0
    lines = out.splitlines()
    assert lines[0] == "photos/stage.jpg" and len(lines) == 7
    assert lines[1].startswith(("  Ada  0.9", "  Ada  1.0")) and sum("unknown (nearest:" in line for line in lines) == 3


def test_identify_as_json_is_the_documented_shape(idseg):
    status, out, _ = idseg("identify", "photos/stage.jpg", "photos/empty.png", "--json", *EMBEDDED)
    content = json.loads(out)
    assert status == 0 and [c["image"] for c in content] == ["photos/stage.jpg", "photos/empty.png"]
    assert content[1]["faces"] == []
    face = content[0]["faces"][0]
    assert {"name", "similarity", "margin", "runner_up", "box"} <= face.keys()
    assert len(face["box"]) == 4 and face["box"][0] < face["box"][2]
    names = [f["name"] for f in content[0]["faces"]]
    assert sorted(n for n in names if n) == ["Ada", "Bo", "Wonyoung"] and names.count(None) == 3


def test_identify_passes_over_what_it_cannot_read(idseg):
    status, out, err = idseg("identify", "photos/text.jpg", "photos/empty.png", *EMBEDDED)
    assert status == 4 and "passed over: photos/text.jpg" in err and "nobody" in out
    assert idseg("identify", "photos/text.jpg", *EMBEDDED)[0] == 4


def test_identify_writes_annotated_pictures(idseg, tmp_path):
    assert idseg("identify", "photos/stage.jpg", "--out", str(tmp_path / "o"), *EMBEDDED)[0] == 0
    assert read_image(tmp_path / "o" / "stage_identified.jpg").shape == (886, 1280, 3)


def test_segment_writes_the_four_pictures_of_one_person(idseg, tmp_path):
    status, out, _ = idseg("segment", "photos/stage.jpg", "원영", "--out", str(tmp_path), *EMBEDDED)
    assert status == 0 and "Wonyoung, similarity" in out
    assert {p.name for p in (tmp_path / "stage").iterdir()} == {
        "annotated.jpg", "Wonyoung_overlay.jpg", "Wonyoung_cutout.png", "Wonyoung_mask.png", "result.json"
    }  # fmt: skip


def test_segment_as_json(idseg, tmp_path):
    status, out, _ = idseg("segment", "photos/stage.jpg", "Ada", "--json", "--out", str(tmp_path), *EMBEDDED)
    (record,) = json.loads(out)
    assert status == 0 and record["status"] == "ok" and record["mask_area"] > 10_000 and record["score"] > 0
    assert set(record["files"]) == {"annotated", "overlay", "cutout", "mask"} and len(record["box"]) == 4


def test_segmenting_someone_who_is_not_there_is_status_3(idseg, tmp_path):
    status, out, _ = idseg("segment", "photos/empty.png", "Ada", "--out", str(tmp_path), *EMBEDDED)
    assert status == 3 and "no face was found" in out


def test_segment_a_folder_then_again_to_resume(idseg, tmp_path):
    words = ("segment", "photos", "--all", "--out", str(tmp_path), *EMBEDDED)
    status, out, err = idseg(*words)
    assert (
        status == 4 and "passed over: photos/text.jpg" in err and "2 pictures done, 0 were done before, 1 passed" in err
    )
    assert out.count("similarity") == 3 and "empty.png: nobody with a name" in out
    assert "0 pictures done, 2 were done before" in idseg(*words)[2]


@pytest.mark.parametrize(
    ("words", "status", "message"),
    [
        (("segment", "photos/stage.jpg"), 2, "expected a NAME, or --all"),
        (("segment", "photos/stage.jpg", "Ada", "--all"), 2, "one of the two"),
        (("segment", "photos/stage.jpg", "Wonyong"), 1, "did you mean 'Wonyoung'"),
        (("segment", "none.jpg", "Ada"), 1, "no such file"),
        (("segment", "Dataset", "--all"), 1, "no pictures in Dataset"),
        (("people", "build", "nowhere"), 1, "nowhere is not there"),
        (("people", "list", "--gallery", "nowhere"), 1, "no gallery in nowhere"),
        (("people", "remove", "Nobody"), 1, "nobody called 'Nobody'"),
        (("identify", "photos/stage.jpg", "--threshold", "7"), 1, "between -1 and 1"),
        (("identify", "photos/stage.jpg", "--segmenter", "unet"), 0, ""),
        (("segment", "photos/stage.jpg", "Ada", "--segmenter", "unet"), 1, "unknown segmenter 'unet'"),
        (("people",), 2, "COMMAND"),
        (("identify",), 2, "IMAGE"),
        (("fly",), 2, "invalid choice"),
    ],
)
def test_mistakes_get_one_clear_sentence_and_the_right_status(idseg, words, status, message):
    extra = () if "list" in words or len(words) == 1 else EMBEDDED
    found, _, err = idseg(*words, *extra)
    assert found == status and message in err and "Traceback" not in err


def test_another_engines_gallery_is_refused_kindly(idseg, mini_pack):
    status, _, err = idseg(
        "identify", "photos/stage.jpg", "--face-engine", "insightface", "--insightface-pack", str(mini_pack)
    )
    assert (
        status == 1
        and "built with the face engine 'embedded'" in err
        and "--face-engine embedded, or build it anew" in err
    )


def test_insightface_by_changing_one_word(idseg, mini_pack, tmp_path):
    words = ("--face-engine", "insightface", "--insightface-pack", str(mini_pack), "--gallery", str(tmp_path / "g"))
    assert idseg("people", "build", *words)[0] == 0
    content = json.loads(idseg("identify", "photos/stage.jpg", "--json", *words)[1])
    assert sorted(f["name"] for f in content[0]["faces"] if f["name"]) == ["Ada", "Bo", "Wonyoung"]


def test_settings_come_from_the_environment_and_the_command_line_wins(idseg, monkeypatch, tmp_path):
    monkeypatch.setenv("IDSEG_FACE_ENGINE", "embedded")
    monkeypatch.setenv("IDSEG_THRESHOLD", "0.9999")
    assert "similarity" not in idseg("segment", "photos/stage.jpg", "Bo", "--out", str(tmp_path))[1][:60]
    assert idseg("segment", "photos/stage.jpg", "Bo", "--out", str(tmp_path), "--threshold", "0.5")[0] == 0
    monkeypatch.setenv("IDSEG_THRESHOLD", "high")
    assert "IDSEG_THRESHOLD is 'high'; expected a number" in idseg("people", "list")[2]


def test_a_switch_in_the_environment_is_on_or_off():
    from identity_segmentation import Settings
    from identity_segmentation.errors import InputError

    assert [Settings.from_env({"IDSEG_COMPILE": word}).compile for word in ("1", "true", "0", "No", "")] == [
        True, True, False, False, False
    ]  # fmt: skip
    with pytest.raises(InputError, match="IDSEG_COMPILE is '2'; expected 1 or 0"):
        Settings.from_env({"IDSEG_COMPILE": "2"})


def test_words_may_stand_behind_options(idseg, tmp_path):
    """argparse by itself refuses an optional word behind an option: `rename OUT --track 7 NAME`."""
    parsed = cli.build_parser().parse_args
    assert parsed(["rename", "out.mp4", "--track", "7", "Wonyoung"]).name == "Wonyoung"
    assert parsed(["rename", "out.mp4", "Wonyoung", "--track", "7"]).name == "Wonyoung"
    assert parsed(["segment", "a.jpg", "--crop", "원영"]).name == "원영"
    assert parsed(["people", "build", "--json", "photos"]).dataset == "photos"
    assert parsed(["people", "alias", "Liz", "--gallery", "g", "리즈", "ลิซ"]).aliases == ["리즈", "ลิซ"]
    assert idseg("segment", "a.jpg", "Bo", "--bogus")[0] == 2 and idseg("rename")[0] == 2


def test_ctrl_c_is_status_130_without_a_traceback(idseg, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("identity_segmentation.cli.people.settings_of", interrupt)
    status, _, err = idseg("people", "list")
    assert status == 130 and "interrupted" in err and "Traceback" not in err


def test_a_video_its_tracks_and_a_correction(idseg, group, tmp_path):
    from identity_segmentation.demo import write_clip

    clip, out = str(write_clip(tmp_path, group, seconds=0.4)), str(tmp_path / "out.mp4")
    words = ("video", clip, out, "--member", "Ada", "원영", "--view", "overlay", "--masks", *EMBEDDED)
    status, text, _ = idseg(*words)
    assert status == 0 and "10 frames" in text and "Wonyoung: 0.4 s on screen" in text
    status, text, _ = idseg("tracks", out, "--json", "--thumbnails", clip, *EMBEDDED)
    tracks = json.loads(text)
    assert status == 0 and {t["name"] for t in tracks} == {"Ada", "Bo", "Wonyoung", None}
    assert all(read_image(t["thumbnail"]).shape[0] > 40 for t in tracks)
    ada = next(t["track"] for t in tracks if t["name"] == "Ada")
    assert "unknown" in idseg("tracks", out, *EMBEDDED)[1]
    assert idseg("rename", out, "unknown", "--track", str(ada), *EMBEDDED)[0] == 0
    report = json.loads(idseg(*words, "--json")[1])
    assert report["on_screen"]["Ada"] == 0 and report["on_screen"]["Wonyoung"] > 0
    status, _, err = idseg("rename", out, "--merge", str(ada), str(tracks[-1]["track"]), *EMBEDDED)
    assert status == 1 and "both on screen" in err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("video", "photos/text.jpg", "out.mp4"), "is a text file"),
        (("video", "photos/stage.jpg", "out.avi"), "expected an output named .mp4"),
        (("video", "photos/stage.jpg", "out.mp4", "--aspect", "wide"), "expected --aspect as W:H"),
        (("tracks", "nothing.mp4"), "idseg video VIDEO OUT (and give OUT here)"),
        (("rename", "nothing.mp4"), "expected --track N NAME, --merge N M"),
        (("rename", "nothing.mp4", "--track", "3"), "expected a NAME"),
    ],
)
def test_mistakes_with_videos_get_one_clear_sentence(idseg, words, message):
    status, _, err = idseg(*words, *EMBEDDED)
    assert status == 1 and message in err and "Traceback" not in err


def test_fetch_nets_has_nothing_to_do_here(idseg):
    status, out, _ = idseg("fetch-nets")
    assert status == 0 and ("all there" in out or "written" in out)


def _verbs():
    parser = cli.build_parser()
    for name, verb in parser._subparsers._group_actions[0].choices.items():
        if verb._subparsers:
            yield from ((name, inner) for inner in verb._subparsers._group_actions[0].choices)
        else:
            yield (name,)


@pytest.mark.parametrize("verb", list(_verbs()), ids=" ".join)
def test_every_verb_has_help_and_the_shared_options(idseg, verb):
    status, out, _ = idseg(*verb, "--help")
    assert status == 0 and "--gallery" in out and "--face-engine" in out and "--threshold" in out


@pytest.mark.parametrize("verb", list(_verbs()), ids=" ".join)
def test_every_verb_is_documented_with_an_example(verb):
    from conftest import ROOT

    text = (ROOT / "docs" / "command-line.md").read_text("utf-8")
    assert f"idseg {' '.join(verb)}" in text


def test_the_installed_command_runs_in_a_process_of_its_own(home, tmp_path):
    """Nothing but JSON on stdout, also with the nets' native code in play."""
    environment = {**os.environ, "IDSEG_FACE_ENGINE": "embedded", "IDSEG_GALLERY": str(tmp_path / "g")}
    command = [sys.executable, "-m", "identity_segmentation"]
    built = subprocess.run([*command, "people", "build"], cwd=home, env=environment, capture_output=True, text=True)
    assert built.returncode == 0, built.stderr
    done = subprocess.run(
        [*command, "identify", "photos/stage.jpg", "--json"], cwd=home, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0 and done.stderr == ""
    assert len(json.loads(done.stdout)[0]["faces"]) == 6

"""Which files are videos: by their bytes, wherever they lie, and a reason for every file that is none."""

from __future__ import annotations

import os
import shutil
from fractions import Fraction

import av
import numpy as np
import pytest
from test_video import make_video, walk

from identity_segmentation.errors import InputError
from identity_segmentation.images import write_image
from identity_segmentation.video.files import VideoReader
from identity_segmentation.video.frame_times import frame_times
from identity_segmentation.video.sources import kind_of, videos_in

PLAIN = {"codec": "libx264", "pix": "yuv420p", "options": {"preset": "ultrafast"}}


def movie(path, codec="libx264", container=None, frames=6, fps=Fraction(25)):
    """A small video in whatever container."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w", format=container) as out:
        stream = out.add_stream(codec, rate=fps)
        stream.width, stream.height, stream.pix_fmt = 320, 240, "yuv420p"
        for i, picture in enumerate(walk(frames)):
            frame = av.VideoFrame.from_ndarray(picture, format="bgr24")
            frame.pts = i
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    return path


def sound(path, container=None, codec="aac"):
    with av.open(str(path), "w", format=container) as out:
        tone = out.add_stream(codec, rate=16000, layout="mono")
        wave = (np.sin(np.arange(1024 * 8) * 0.2) * 8000).astype(np.int16)
        for start in range(0, len(wave), 1024):
            part = av.AudioFrame.from_ndarray(wave[None, start : start + 1024], format="s16", layout="mono")
            part.sample_rate, part.pts = 16000, start
            out.mux(tone.encode(part))
        out.mux(tone.encode(None))
    return path


def names(listed):
    return [path.name for path in listed.taken]


def reasons(listed):
    return {path.name: reason for path, reason in listed.passed_over}


CONTAINERS = [
    ("mp4", "libx264"), ("mov", "mpeg4"), ("matroska", "libx264"), ("webm", "libvpx"), ("avi", "mpeg4"),
    ("mpegts", "libx264"), ("mpeg", "mpeg2video"), ("flv", "flv"), ("asf", "wmv2"), ("mxf", "mpeg2video"),
    ("3gp", "libx264"), ("h264", "libx264"),
]  # fmt: skip


@pytest.mark.parametrize(("container", "codec"), CONTAINERS)
def test_a_video_is_told_by_its_bytes_whatever_it_is_called(tmp_path, container, codec):
    path = movie(tmp_path / "no suffix at all", codec, container)
    assert kind_of(path.read_bytes()[:4096]) == "video"
    assert videos_in([tmp_path]).taken == [path]


def test_transport_streams_with_time_codes_and_those_that_begin_within_a_packet(tmp_path):
    plain = movie(tmp_path / "a.MTS", container="mpegts", frames=40).read_bytes()
    packets = [plain[i : i + 188] for i in range(0, len(plain), 188)]
    (tmp_path / "b").write_bytes(b"".join(b"\0\0\0\0" + packet for packet in packets))
    (tmp_path / "c").write_bytes(plain[100:])
    assert names(videos_in([tmp_path])) == ["a.MTS", "b", "c"]
    assert kind_of(b"G" * 600) == "text" and kind_of(bytes(600)) == ""


def test_every_file_that_is_no_video_is_named_with_its_reason(tmp_path):
    movie(tmp_path / "a.mp4")
    write_image(tmp_path / "a.jpg", walk(1)[0])
    shutil.copy(tmp_path / "a.jpg", tmp_path / "GX01.thm")
    (tmp_path / "a.srt").write_bytes("1\n00:00:01,000 --> 00:00:02,000\n안녕\n".encode("cp949"))
    (tmp_path / "a.xml").write_text("<?xml version='1.0'?><a/>")
    (tmp_path / "code.ts").write_text("const free = 1;\n")
    (tmp_path / "The free").write_text("The free software, whose fifth letter begins a box.")
    (tmp_path / "a.bin").write_bytes(bytes(range(256)) * 4)
    sound(tmp_path / "a.m4a", "ipod")
    sound(tmp_path / "a.mka", "matroska")
    sound(tmp_path / "b.mp4")
    listed = videos_in([tmp_path])
    assert names(listed) == ["a.mp4"] and listed.broken == []
    assert reasons(listed) == {
        "a.jpg": "a picture", "GX01.thm": "a picture", "a.srt": "text", "a.xml": "text", "code.ts": "text",
        "The free": "text", "a.bin": "not a video", "a.m4a": "sound only", "a.mka": "sound only", "b.mp4": "sound only",
    }  # fmt: skip


def test_what_claims_to_be_a_video_and_cannot_be_read_is_broken(tmp_path):
    whole = movie(tmp_path / "whole", container="mp4").read_bytes()
    (tmp_path / "cut.mp4").write_bytes(whole[:200])
    (tmp_path / "cut").write_bytes(whole[:200])
    (tmp_path / "text.mov").write_text("not a film")
    (tmp_path / "empty.MTS").write_bytes(b"")
    (tmp_path / "empty.dat").write_bytes(b"")
    (tmp_path / "gone.mp4").symlink_to(tmp_path / "nowhere")
    listed = videos_in([tmp_path])
    assert names(listed) == ["whole"]
    assert sorted(path.name for path, _ in listed.broken) == ["cut", "cut.mp4", "empty.MTS", "gone.mp4", "text.mov"]
    said = reasons(listed)
    assert "index" in said["cut.mp4"] and said["text.mov"] == "text" and "leads nowhere" in said["gone.mp4"]
    assert said["empty.dat"] == "empty (0 bytes)" and [path.name for path, _ in listed.others] == ["empty.dat"]


def test_folders_are_taken_all_the_way_down_and_links_not_in_circles(tmp_path):
    for place in ("barn/b.mp4", "barn/cam2/b.mp4", "barn/cam2/deep/er/c.MTS", "barn/cam1/a.mp4"):
        movie(tmp_path / place, container="mpegts" if place.endswith("MTS") else None)
    (tmp_path / "barn/cam1/up").symlink_to(tmp_path / "barn")
    (tmp_path / "barn/cam1/self").symlink_to(".")
    (tmp_path / "barn/elsewhere.mp4").symlink_to(tmp_path / "barn/b.mp4")
    listed = videos_in([tmp_path / "barn"])
    found = [path.relative_to(tmp_path / "barn").as_posix() for path in listed.taken]
    assert found == ["b.mp4", "cam1/a.mp4", "cam2/b.mp4", "cam2/deep/er/c.MTS"]
    assert [listed.places[path].as_posix() for path in listed.taken] == found
    assert list(reasons(listed)) == ["elsewhere.mp4"] and "the same file" in reasons(listed)["elsewhere.mp4"]
    again = videos_in([tmp_path / "barn/cam2/b.mp4", tmp_path / "barn", tmp_path / "barn/cam2"])
    assert len(again.taken) == 4 and again.places[again.taken[0]].as_posix() == "b.mp4"


def test_hidden_files_and_what_we_made_are_left_out_without_a_word(tmp_path):
    barn = tmp_path / "barn"
    movie(barn / "a.mp4")
    for ours in (".hidden.mp4", ".a.mp4.work/00000000.mp4", ".analyses/x.mp4", "a/clip_00000/object_001.mp4"):
        movie(barn / ours)
    (barn / "a/source.json").write_text('{"source": "/barn/a.mp4"}')
    movie(barn / "out.mp4")
    (barn / "out.mp4.analysis.jsonl").symlink_to("nowhere")
    movie(barn / "rendered/b.mp4")
    (barn / "rendered/.idseg-videos.jsonl").write_text('{"output": "b.mp4", "state": "done"}\n{"output": "c.mp4", "sta')
    (barn / "theirs").mkdir()
    (barn / "theirs/source.json").write_text('{"source": "the internet"}')
    movie(barn / "theirs/c.mp4")
    listed = videos_in([barn])
    assert names(listed) == ["a.mp4", "c.mp4"] and set(reasons(listed)) == {"source.json"}
    assert names(videos_in([barn / "**" / "*.mp4"])) == ["a.mp4", "c.mp4"]
    assert names(videos_in([barn / "out.mp4", barn / ".hidden.mp4"])) == ["out.mp4", ".hidden.mp4"], "named themselves"
    only = videos_in([barn / "rendered"])
    assert only.taken == [] and "idseg made" in only.why_none()


def test_patterns_and_names_that_look_like_one(tmp_path, monkeypatch):
    for place in ("barn/a1.mp4", "barn/a2.mov", "barn/cam2/a1.mp4", "barn/cam2/x/a1.mp4", "b[1].mp4", "c*.mp4"):
        movie(tmp_path / place)
    movie(tmp_path / "yard [1]/a1.mp4")
    monkeypatch.chdir(tmp_path)

    def found(*patterns):
        return [path.as_posix() for path in videos_in(patterns).taken]

    assert found("barn/*.mp4") == ["barn/a1.mp4"]
    assert found("barn/**/a?.mp4") == ["barn/a1.mp4", "barn/cam2/a1.mp4", "barn/cam2/x/a1.mp4"]
    assert found("barn/*/a1.mp4") == ["barn/cam2/a1.mp4"]
    assert found("b*/cam[12]") == ["barn/cam2/a1.mp4", "barn/cam2/x/a1.mp4"], "a folder that matches is taken whole"
    assert found("b[1].mp4") == ["b[1].mp4"] and found("c*.mp4") == ["c*.mp4"], "its own name"
    assert found("yard [1]/*.mp4") == ["yard [1]/a1.mp4"]
    assert found("*.mp4") == ["b[1].mp4", "c*.mp4"]
    listed = videos_in(["barn/**/a?.mp4"])
    assert [listed.places[path].as_posix() for path in listed.taken] == ["a1.mp4", "cam2/a1.mp4", "cam2/x/a1.mp4"]
    for pattern in ("barn/*.avi", "nowhere/*.mp4", "barn/a1.mp4/*"):
        with pytest.raises(InputError, match="nothing matches"):
            videos_in([pattern])
    with pytest.raises(InputError, match="no such folder"):
        videos_in(["nowhere"])


def test_names_of_every_kind_and_files_that_are_none(tmp_path):
    named = ["소 1.mp4", "วัว.mp4", "a\nb.mp4", "-x.mp4"]
    for name in named:
        movie(tmp_path / name)
    shutil.copy(tmp_path / "-x.mp4", os.fsdecode(os.fsencode(tmp_path) + b"/\xff.mp4"))
    os.mkfifo(tmp_path / "pipe.mp4")
    listed = videos_in([tmp_path])
    assert len(listed.taken) == 5 and set(named) < set(names(listed))
    assert reasons(listed) == {"pipe.mp4": "not a file"}


def test_a_file_that_is_known_is_not_opened_again(tmp_path):
    (tmp_path / "a.mp4").write_bytes(b"no video")
    assert names(videos_in([tmp_path], known=lambda path: path.name == "a.mp4")) == ["a.mp4"]


# ---- the times of frames without decoding


def decoded_times(path):
    with VideoReader(path) as reader:
        return [frame.time_s for frame in reader]


@pytest.mark.parametrize("name", ["a.mkv", "a.mp4", "a.mov"])
def test_times_of_a_variable_rate_are_those_of_the_decoded_frames(tmp_path, name):
    stamps = [round(i * 1000 / 30) for i in range(120) if i < 40 or i % 6 == 0]
    path = make_video(tmp_path / name, walk(len(stamps)), fps=Fraction(30), pts=stamps, **PLAIN)
    assert frame_times(path) == pytest.approx([t / 1000 for t in stamps], abs=0.002)
    assert frame_times(path) == pytest.approx(decoded_times(path), abs=1e-6)


@pytest.mark.parametrize(("container", "codec"), CONTAINERS)
def test_there_are_as_many_times_as_frames_in_every_container(tmp_path, container, codec):
    path = movie(tmp_path / "a", codec, container, frames=30)
    with av.open(str(path)) as opened:
        count = sum(1 for _ in opened.decode(video=0))
    times = frame_times(path)
    assert len(times) == count == 30 and times == sorted(times) and times[0] == 0
    assert times[-1] == pytest.approx(29 / 25, abs=0.05)


def test_what_cannot_be_decoded_before_the_first_key_frame_does_not_count(tmp_path):
    path = tmp_path / "a.ts"
    make_video(path, walk(60), **PLAIN | {"options": {"preset": "ultrafast", "g": "10"}})
    data = path.read_bytes()
    path.write_bytes(data[188 * (len(data) // 188 // 4) :])
    assert 0 < len(frame_times(path)) == len(decoded_times(path)) < 60


def test_where_packets_and_frames_are_not_one_to_one_all_is_decoded(tmp_path):
    path = movie(tmp_path / "a.avi", frames=40)  # AVI has no time stamps: those of B-frames are guessed
    with av.open(str(path)) as container:
        stamps = sorted(packet.pts for packet in container.demux(video=0) if packet.size)
    with av.open(str(path)) as container:
        assert stamps != [frame.pts for frame in container.decode(video=0)]
    assert len(frame_times(path)) == 40

"""What goes in comes out: times, sound, what a file says of itself; what lies where afterwards; files that are odd."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from fakes import PEOPLE, FakeFaces, draw, near
from made_videos import (
    Sound,
    WholeBox,
    chart,
    coded_frame,
    frames_of,
    lip,
    packets_of,
    times_of,
    write_frames,
)
from test_video import MasksThroughCompression, SeesThroughCompression, walk

from identity_segmentation import IdentityAwareSegmentation, write_image
from identity_segmentation.cli.command import main
from identity_segmentation.errors import Cancelled, OutputError, VideoError
from identity_segmentation.video.files import VideoReader
from identity_segmentation.video.sound import Carried
from identity_segmentation.video.writing import FORMATS, SegmentWriter, join_segments

FAST = {"preset": "ultrafast", "crf": "20"}
BOX = (30, 30, 60, 60)
SUFFIXES = (".mp4", ".webm", ".mov")


@pytest.fixture
def pipeline(tmp_path) -> IdentityAwareSegmentation:
    return IdentityAwareSegmentation(FakeFaces(), WholeBox(), gallery=tmp_path / "gallery")


def numbered(count: int, size=(96, 64)) -> list[av.VideoFrame]:
    """Frames that can be told apart: a patch whose grey says which one it is."""
    found = []
    for i in range(count):
        image = chart(*size)
        image[:24, :24] = 6 * i + 20
        found.append(coded_frame(image, "yuv420p"))
    return found


def clip(path: Path, count: int = 12, **more) -> Path:
    return write_frames(path, numbered(count), options=more.pop("options", FAST), **more)


def run(pipeline, source: Path, output: Path, **look):
    return pipeline.process_video(source, output, "it", 4, box=BOX, **({"view": "overlay"} | look))


# ---- time

STEADY = [i / 25 for i in range(20)]
TIMES = {
    "slows down": ([i / 30 for i in range(12)] + [12 / 30 + i / 5 for i in range(8)], 30, 1 / 30),
    "speeds up": ([i / 5 for i in range(8)] + [8 / 5 + i / 30 for i in range(12)], 5, 1 / 5),
    "declares too high a rate": (STEADY, 100, 1 / 100),
    "declares too low a rate": (STEADY, 5, 1 / 5),
}


@pytest.mark.parametrize("name", TIMES)
@pytest.mark.parametrize("suffix", [".mkv", ".mp4"])
def test_times_are_the_pictures_own_whatever_rate_is_declared(pipeline, tmp_path, name, suffix):
    times, rate, last = TIMES[name]
    source = clip(tmp_path / f"a{suffix}", len(times), times=times, rate=rate)
    for kind in SUFFIXES:
        report = run(pipeline, source, tmp_path / f"o{kind}")
        assert times_of(tmp_path / f"o{kind}") == pytest.approx(times, abs=1.01e-3), kind
        assert report.frames == len(times) and report.note == "", "nothing is said to end early"
        # How long the last one lasts is the encoder's guess; the rest is known.
        assert times[-1] <= report.seconds <= times[-1] + 1.01 * max(last, 1 / rate, 0.07), kind


ODD = {
    "B-frames": ("a.mp4", {"options": {"crf": "20", "bf": "3"}}, 20),
    "the picture begins late": ("a.mkv", {"times": [t + 0.5 for t in STEADY], "sounds": [Sound()]}, 20),
    "the sound begins late": ("a.mp4", {"times": STEADY, "sounds": [Sound(begin=0.5)]}, 20),
    "MPEG-TS from 10 h on": (
        "a.ts", {"form": "mpegts", "shift": 36000.0, "sounds": [Sound()], "options": {"crf": "20", "bf": "3"}}, 20,
    ),
    "an edit list hides five": (
        "a.mp4", {"shift": -0.2, "container_options": {"avoid_negative_ts": "disabled"}}, 15,
    ),
    "an edit list hides five, and B-frames": (
        "a.mp4",
        {"shift": -0.2, "container_options": {"avoid_negative_ts": "disabled"}, "options": {"crf": "20", "bf": "2"}},
        15,
    ),
    "no length, written live": ("a.mkv", {"form": "matroska", "container_options": {"live": "1"}}, 20),
    "fragments": ("a.mp4", {"container_options": {"movflags": "frag_keyframe+empty_moov"}}, 20),
}  # fmt: skip


@pytest.mark.parametrize("name", ODD)
def test_all_frames_are_there_at_their_times(pipeline, tmp_path, name):
    file, more, count = ODD[name]
    source = clip(tmp_path / file, 20, **more)
    with VideoReader(source) as reader:
        read = list(reader)
        assert len(read) == count and reader.warning() == "" and reader.seconds == pytest.approx(count / 25, abs=2e-3)
    levels = [f.image[4:20, 4:20].mean() for f in read]
    assert np.diff(levels) == pytest.approx([6 * 255 / 255] * (count - 1), abs=4), "each is there once, in order"
    assert levels[-1] == pytest.approx(6 * 19 + 20, abs=6), "the last one is the last"
    for kind in SUFFIXES:
        report = run(pipeline, source, tmp_path / f"o{kind}")
        assert times_of(tmp_path / f"o{kind}") == pytest.approx(STEADY[:count], abs=1.01e-3), kind
        assert (report.frames, report.note) == (count, "") and report.seconds == pytest.approx(count / 25, abs=2e-3)


def test_a_subtitle_that_stays_longer_than_the_picture_is_no_early_end(pipeline, tmp_path):
    source = with_subtitles(tmp_path / "a.mkv", clip(tmp_path / "b.mkv", 20), at=0.5, lasts=5.0)
    with VideoReader(source) as reader:
        assert sum(1 for _ in reader) == 20
        assert reader.warning() == ""


def test_no_frame_is_lost_where_the_sound_comes_first_in_the_file(pipeline, tmp_path):
    source, given = tmp_path / "a.mkv", clip(
        tmp_path / "b.mp4", 20, sounds=[Sound(end=0.7)], options={"bf": "3", "crf": "20"}
    )  # fmt: skip
    with av.open(str(given)) as container, av.open(str(source), "w") as out:
        streams = {
            kind: out.add_stream_from_template(getattr(container.streams, kind)[0]) for kind in ("audio", "video")
        }
        for packet in container.demux():
            if packet.dts is not None:
                packet.stream = streams[packet.stream.type]
                out.mux(packet)
    with av.open(str(source)) as container:
        assert [s.type for s in container.streams] == ["audio", "video"]
    report = run(pipeline, source, tmp_path / "o.mp4")
    assert (report.frames, report.note, report.sound) == (20, "", "sound kept")
    assert len(times_of(tmp_path / "o.mp4")) == 20


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv"])
def test_what_really_ends_early_says_so(pipeline, tmp_path, name):
    noise = np.random.default_rng(0)
    frames = [coded_frame(noise.integers(0, 255, (64, 96, 3), dtype=np.uint8), "yuv420p") for _ in range(40)]
    index_first = {"movflags": "faststart"} if name.endswith("mp4") else None
    options = {"preset": "ultrafast", "crf": "20", "g": "5"}
    source = write_frames(tmp_path / name, frames, options=options, container_options=index_first)
    source.write_bytes(source.read_bytes()[: source.stat().st_size * 3 // 5])
    report = run(pipeline, source, tmp_path / "o.mp4")
    assert "ends early" in report.note and 10 < report.frames < 36
    assert len(times_of(tmp_path / "o.mp4")) == report.frames
    words = ["video", str(source), str(tmp_path / "p.mp4"), "--gallery", "none", "--box", *map(str, BOX)]
    assert main(words) in (3, 4), "the command's status says it as well"


# ---- sound

TRACKS = {
    "aac mp4": ("a.mp4", "aac", "stereo"), "pcm mkv": ("a.mkv", "pcm_s16le", "stereo"),
    "pcm mov": ("a.mov", "pcm_s24le", "stereo"), "vorbis mkv": ("a.mkv", "vorbis", "stereo"),
    "opus mkv": ("a.mkv", "libopus", "stereo"), "flac mkv": ("a.mkv", "flac", "stereo"),
    "mp3 mp4": ("a.mp4", "libmp3lame", "stereo"), "ac3 5.1 mkv": ("a.mkv", "ac3", "5.1"),
    "aac ts": ("a.ts", "aac", "stereo"),
}  # fmt: skip
HOW = {
    "from the start": ({}, 0.0), "late": ({"begin": 0.5}, 0.0), "with a gap": ({"gap": (0.4, 0.7)}, 0.0),
    "before the picture": ({}, 0.52), "a little before": ({}, 0.08),
}  # fmt: skip
COPIED = {
    ".mp4": {"aac mp4", "opus mkv", "flac mkv", "mp3 mp4", "ac3 5.1 mkv"}, ".webm": {"vorbis mkv", "opus mkv"},
    ".mov": {"aac mp4", "mp3 mp4", "ac3 5.1 mkv"},
}  # fmt: skip


def flashing(path: Path, sounds, first: float = 0.0, end: float = 1.4, **more) -> Path:
    """Dark but for a white frame a second after zero; the picture begins at `first`."""
    times = [first + i / 25 for i in range(round((end - first) * 25))]
    frames = [coded_frame(np.full((48, 64, 3), 255 if abs(t - 1) < 0.01 else 30, np.uint8), "yuv420p") for t in times]
    form = "mpegts" if path.suffix == ".ts" else None
    return write_frames(path, frames, options=FAST, times=times, sounds=sounds, form=form, **more)


def joined(source: Path, suffix: str, output: Path | None = None) -> tuple[Path, Carried]:
    """The source's picture, coded anew, with its sound; what process_video does without looking at anything."""
    form = FORMATS[suffix].opaque()
    segment = source.with_name(f"{source.stem}_segment{suffix}")
    output = output or source.with_name(f"{source.stem}_out{suffix}")
    with VideoReader(source) as reader:
        size = (reader.info.width, reader.info.height)
        with SegmentWriter(
            segment, form, size, reader.info.fps, reader.info.time_base, reader.info.colour
        ) as writer:  # fmt: skip
            for frame in reader:
                writer.write(frame.image, frame.pts)
        return output, join_segments([segment], output, source, reader.info, form)


@pytest.mark.parametrize(
    ("name", "how"),
    # QuickTime counts the samples of PCM: such a file has no gap.
    [(name, how) for name in TRACKS for how in HOW if (name, how) != ("pcm mov", "with a gap")],
)
def test_sound_stays_with_the_picture(tmp_path, name, how):
    file, codec, layout = TRACKS[name]
    begin, first = HOW[how]
    source = flashing(tmp_path / file, [Sound(codec, layout=layout, **begin)], first)
    for suffix in SUFFIXES:
        output, carried = joined(source, suffix)
        assert carried.tracks == 1 and carried.said == "sound kept", suffix
        assert lip(output) == pytest.approx(lip(source), abs=0.005), suffix
        if name in COPIED[suffix] and how != "a little before":
            assert packets_of(output) == packets_of(source), f"{suffix}: copied bit by bit"
        became_stereo = any("became stereo" in remark for remark in carried.remarks)
        assert became_stereo == (layout == "5.1" and suffix == ".webm")


def test_packets_of_mpeg_ts_are_copied_less_their_headers(tmp_path):
    source = flashing(tmp_path / "a.ts", [Sound("aac")])
    headers = 7  # bytes: ADTS without a check sum
    want = [p[headers:] for p in packets_of(source)]
    for suffix in (".mp4", ".mov"):
        got = packets_of(joined(source, suffix)[0])
        assert got == want[-len(got) :] and len(want) - len(got) <= 1, "one from before the first picture may go"


def test_the_whole_way_keeps_the_sound_with_the_picture(pipeline, tmp_path):
    source = flashing(tmp_path / "a.mkv", [Sound("pcm_s16le", begin=0.4)], 0.2)
    for suffix in SUFFIXES:
        output = tmp_path / f"o{suffix}"
        report = pipeline.process_video(source, output, "it", 5, box=(10, 10, 40, 40), view="overlay")
        assert report.sound == "sound kept" and lip(output) == pytest.approx(lip(source), abs=0.005), suffix


def test_two_tracks_keep_their_order_languages_and_titles(tmp_path):
    sounds = [
        Sound("aac", beep=1.0, metadata={"language": "kor"}),
        Sound("aac", beep=0.6, metadata={"language": "tha", "title": "Commentary"}),
    ]
    source = flashing(tmp_path / "a.mkv", sounds)
    for suffix in SUFFIXES:
        output, carried = joined(source, suffix)
        with av.open(str(output)) as container:
            assert [s.language for s in container.streams.audio] == ["kor", "tha"], suffix
            if suffix == ".webm":
                assert container.streams.audio[1].metadata["title"] == "Commentary"
        assert carried.said == "sound kept (2 tracks)"
        assert [lip(output, n) - lip(source, n) for n in (0, 1)] == pytest.approx([0, 0], abs=0.005), suffix


def test_what_cannot_be_carried_is_named_and_not_called_kept(tmp_path):
    source = flashing(tmp_path / "a.mkv", [Sound("aac"), Sound("pcm_s16le", metadata={"language": "kor"})])
    content = source.read_bytes()
    assert content.count(b"A_PCM/INT/LIT") == 1
    source.write_bytes(content.replace(b"A_PCM/INT/LIT", b"A_NOBODYKNOWS"))
    output, carried = joined(source, ".mp4")
    with av.open(str(output)) as container:
        assert len(container.streams.audio) == carried.tracks == 1
    assert "kept, not all" in carried.said and any("track 2 of 2 is not carried over" in r for r in carried.remarks)


def test_no_sound_is_called_no_sound(pipeline, tmp_path):
    source = clip(tmp_path / "a.mp4")
    for suffix in (*SUFFIXES, ""):
        report = run(pipeline, source, tmp_path / f"o{suffix}")
        assert report.sound == "no sound" and report.remarks == (), suffix
    heard = clip(tmp_path / "b.mp4", 20, sounds=[Sound()])
    report = run(pipeline, heard, tmp_path / "pictures")
    assert report.sound == "no sound" and any("stays in the source" in remark for remark in report.remarks)


# ---- what a file says of itself


def with_subtitles(path: Path, source: Path, at: float, lasts: float) -> Path:
    """The same file with a track of subtitles, one line in Thai."""
    lines = f"1\n00:00:0{at:.3f} --> 00:00:0{at + lasts:.3f}\nสวัสดี\n".replace(".", ",")
    text = path.with_suffix(".srt")
    text.write_text(lines, encoding="utf-8")
    with av.open(str(source)) as a, av.open(str(text)) as b, av.open(str(path), "w") as out:
        streams = {("a", s.index): out.add_stream_from_template(s) for s in (*a.streams.video, *a.streams.audio)}
        streams["b", 0] = out.add_stream_from_template(b.streams[0])
        streams["b", 0].metadata["language"] = "tha"
        packets = [("a", p) for p in a.demux()] + [("b", p) for p in b.demux()]
        for where, packet in packets:
            if packet.dts is not None and (where, packet.stream_index) in streams:
                packet.stream = streams[where, packet.stream_index]
                out.mux(packet)
    return path


def test_subtitles_are_named_as_not_carried(tmp_path):
    source = with_subtitles(tmp_path / "a.mkv", flashing(tmp_path / "b.mkv", [Sound("aac")]), 0.2, 0.5)
    with av.open(str(source)) as container:
        assert len(container.streams.subtitles) == 1
    output, carried = joined(source, ".mp4")
    assert any("subtitles (tha) is not carried over" in remark for remark in carried.remarks)
    assert carried.said == "sound kept", "all of the sound was"
    assert lip(output) == pytest.approx(lip(source), abs=0.005)


@pytest.mark.parametrize("first", [0.0, 0.52])
def test_chapters_and_titles_are_kept_at_their_times(tmp_path, first):
    def prepare(out, stream):
        out.metadata["title"], out.metadata["artist"] = "A <b>day</b> & a night; ไทย", "Somebody"
        base = Fraction(1, 1000)
        rows = [(0, 700, "Morning"), (700, 1400, "Evening")]
        out.set_chapters(
            [{"id": n, "start": a, "end": b, "time_base": base, "metadata": {"title": t}}
             for n, (a, b, t) in enumerate(rows)]
        )  # fmt: skip

    source = flashing(tmp_path / "a.mkv", [Sound("aac")], first, prepare=prepare)
    for suffix in SUFFIXES:
        output, _ = joined(source, suffix)
        with av.open(str(output)) as container:
            assert container.metadata["title"] == "A <b>day</b> & a night; ไทย", suffix
            found = [
                (c["metadata"]["title"], round(float(c["start"] * c["time_base"]), 2)) for c in container.chapters()
            ]
        assert found == [("Morning", 0), ("Evening", 0.7)], suffix


@pytest.mark.parametrize("code", ["01:02:03:04", "10:00:00;00"])
def test_the_time_code_is_kept(tmp_path, code):
    def prepare(out, stream):
        stream.metadata["timecode"] = code

    rate = Fraction(30000, 1001) if ";" in code else 25
    source = clip(tmp_path / "a.mov", 8, prepare=prepare, rate=rate)
    with VideoReader(source) as reader:
        assert reader.info.timecode == code
        assert sum(1 for _ in reader) == 8 and not reader.warning()
    for suffix in (".mov", ".mp4"):
        with VideoReader(joined(source, suffix)[0]) as reader:
            assert reader.info.timecode == code, suffix
            assert sum(1 for _ in reader) == 8 and not reader.warning()


@pytest.mark.parametrize("code", ["10:00:00;00", "soon", "1:2"])
def test_a_time_code_that_cannot_be_written_does_not_bring_the_output_down(tmp_path, code):
    source = clip(tmp_path / "a.mkv", 8, prepare=lambda out, stream: out.metadata.update(timecode=code))
    with VideoReader(source) as reader:
        assert reader.info.timecode == code and reader.info.fps == 25
    for suffix in SUFFIXES:
        assert len(times_of(joined(source, suffix)[0])) == 8


# ---- what lies where


def levels(folder: Path) -> list[int]:
    return [round((cv2.imread(str(p))[4:20, 4:20].mean() - 20) / 6) for p in sorted(folder.glob("*.png"))]


def test_pictures_are_called_after_the_clip_the_person_and_the_frame(pipeline, tmp_path):
    source = clip(tmp_path / "my clip ไทย.mp4", 5)
    run(pipeline, source, tmp_path / "pictures")
    found = sorted(p.name for p in (tmp_path / "pictures").iterdir())
    assert found == [f"my_clip_ไทย_it_{i:08d}.png" for i in range(1, 6)]
    assert levels(tmp_path / "pictures") == list(range(5))


def test_names_of_people_are_never_paths(pipeline, tmp_path):
    source = clip(tmp_path / "a.mp4", 3)
    (tmp_path / "in" / "here").mkdir(parents=True)
    pipeline.process_video(source, tmp_path / "in" / "here" / "p", "../../../<b>x", 4, box=BOX, view="overlay")
    found = sorted(p.name for p in (tmp_path / "in" / "here" / "p").iterdir())
    assert len(found) == 3 and all(n.startswith("a_") and n.endswith(".png") for n in found)
    assert {p.name for p in tmp_path.iterdir()} <= {"a.mp4", "in", "gallery"}


def test_a_shorter_render_takes_its_old_pictures_away_and_nobody_elses(pipeline, tmp_path):
    folder = tmp_path / "pictures"
    long = clip(tmp_path / "a.mp4", 9)
    run(pipeline, long, folder)
    theirs = {"notes.txt": b"mine", "a_it_9.png": b"mine too", "a_other_00000001.tif": b"also"}
    for name, content in theirs.items():
        (folder / name).write_bytes(content)
    with pytest.raises(OutputError, match=r"a_it_9\.png was not written by this program"):
        run(pipeline, long, folder)
    (folder / "a_it_9.png").unlink()
    del theirs["a_it_9.png"]
    (tmp_path / "b").mkdir()
    short = clip(tmp_path / "b" / "a.mp4", 4)
    run(pipeline, short, folder)
    assert levels(folder) == [0, 1, 2, 3]
    found = {p.name for p in folder.iterdir()}
    assert found == {f"a_it_{i:08d}.png" for i in range(1, 5)} | set(theirs)
    assert all((folder / name).read_bytes() == content for name, content in theirs.items())
    # Another clip of another name in the same folder: the earlier one's pictures were ours.
    run(pipeline, clip(tmp_path / "c.mp4", 3), folder)
    assert {p.name for p in folder.iterdir()} == {f"c_it_{i:08d}.png" for i in range(1, 4)} | set(theirs)


def test_pictures_of_the_same_name_that_are_somebody_elses_are_refused(pipeline, tmp_path):
    folder = tmp_path / "pictures"
    folder.mkdir()
    theirs = folder / "a_it_00000002.png"
    theirs.write_bytes(b"mine")
    source = clip(tmp_path / "a.mp4", 3)
    with pytest.raises(OutputError, match="was not written by this program"):
        run(pipeline, source, folder)
    assert theirs.read_bytes() == b"mine" and len(list(folder.iterdir())) == 1
    run(pipeline, source, folder, overwrite=True)
    assert levels(folder) == [0, 1, 2]
    run(pipeline, source, folder)
    assert levels(folder) == [0, 1, 2]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_file_that_is_not_ours_is_refused_and_ours_is_written_anew(pipeline, tmp_path, suffix):
    source, output = clip(tmp_path / "a.mp4", 6), tmp_path / f"o{suffix}"
    output.write_bytes(b"somebody's")
    with pytest.raises(OutputError, match="not written by this program"):
        run(pipeline, source, output)
    assert output.read_bytes() == b"somebody's"
    run(pipeline, source, output, overwrite=True)
    assert len(times_of(output)) == 6
    run(pipeline, source, output, view="cutout")
    ours = output.read_bytes()
    output.write_bytes(b"put there later")
    with pytest.raises(OutputError, match="was changed since"):
        run(pipeline, source, output)
    assert output.read_bytes() == b"put there later" != ours


def test_a_file_put_there_after_a_run_was_stopped_is_not_ours(pipeline, tmp_path):
    source, output = clip(tmp_path / "a.mp4", 12), tmp_path / "o.mp4"
    stop = threading.Event()

    def progress(stage: str, done: int, total: int) -> None:
        if stage == "render":
            stop.set()

    with pytest.raises(Cancelled):
        run(pipeline, source, output, progress=progress, cancel=stop)
    assert not output.exists()
    output.write_bytes(b"somebody's")
    with pytest.raises(OutputError):
        run(pipeline, source, output)
    assert output.read_bytes() == b"somebody's"


def test_one_output_a_person(tmp_path):
    for name in ("Ada", "Bo"):
        for i in range(3):
            write_image(tmp_path / "D" / name / f"{i}.png", draw((near(PEOPLE[name], 3 * i), 60 + 40 * i, 60)))
    pipeline = IdentityAwareSegmentation(
        SeesThroughCompression(), MasksThroughCompression(), gallery=tmp_path / "gallery"
    )
    pipeline.build_gallery(tmp_path / "D")
    source = write_frames(tmp_path / "a.mp4", [coded_frame(p, "yuv420p", 6) for p in walk(6)], options=FAST)
    for name, wanted in (
        ("o.webm", {"Ada": "o_Ada.webm", "Bo": "o_Bo.webm"}), ("p", {"Ada": "p/Ada", "Bo": "p/Bo"}),
    ):  # fmt: skip
        report = pipeline.process_video(source, tmp_path / name, ["Ada", "Bo"], 2, view="matte", per_person=True)
        for who, file in wanted.items():
            assert report.files[f"video of {who}"] == str(tmp_path / file)
        mattes = {
            who: frames_of(tmp_path / f)[2].to_ndarray(format="gray") if name != "p"
            else cv2.imread(str(sorted((tmp_path / f).iterdir())[2]), cv2.IMREAD_GRAYSCALE)
            for who, f in wanted.items()
        }  # fmt: skip
        assert mattes["Ada"][120, 66] > 200 > 60 > mattes["Ada"][120, 260]
        assert mattes["Bo"][120, 260] > 200 > 60 > mattes["Bo"][120, 66]
        assert not (tmp_path / name).is_file(), "nothing of everybody's"
    assert sorted(p.name for p in (tmp_path / "p" / "Ada").iterdir())[0] == "a_Ada_00000001.png"
    (tmp_path / "o_Bo.webm").write_bytes(b"changed")
    with pytest.raises(OutputError, match=r"o_Bo\.webm was changed since"):
        pipeline.process_video(source, tmp_path / "o.webm", ["Ada", "Bo"], 2, view="matte", per_person=True)


@pytest.mark.parametrize("suffix", [*SUFFIXES, ""])
def test_two_runs_give_the_same_bytes(pipeline, tmp_path, suffix):
    contents = []
    source = clip(tmp_path / "a.mp4", 10, sounds=[Sound(end=0.4)])
    for n in "12":
        output = tmp_path / n / f"o{suffix}"
        run(pipeline, source, output, view="cutout")
        files = sorted(output.iterdir()) if not suffix else [output]
        contents.append([(p.name, p.read_bytes()) for p in files])
    assert contents[0] == contents[1]


# ---- odd files


def test_a_cover_picture_is_not_the_video(pipeline, tmp_path):
    """A music video whose first video stream is its cover."""
    source = tmp_path / "a.mp4"
    cover = cv2.imencode(".jpg", np.full((300, 300, 3), 50, np.uint8))[1].tobytes()
    with av.open(str(clip(tmp_path / "b.mp4", 10))) as given, av.open(str(source), "w") as out:
        first = out.add_stream("mjpeg", rate=1)
        first.width = first.height = 300
        first.pix_fmt = "yuvj420p"
        first.disposition = av.stream.Disposition.attached_pic
        second = out.add_stream_from_template(given.streams.video[0])
        packet = av.Packet(cover)
        packet.stream, packet.pts, packet.dts, packet.time_base = first, 0, 0, Fraction(1, 1)
        out.mux(packet)
        for packet in given.demux(video=0):
            if packet.dts is not None:
                packet.stream = second
                out.mux(packet)
    with av.open(str(source)) as container:
        assert len(container.streams.video) == 2
    with VideoReader(source) as reader:
        assert (reader.info.width, reader.info.height) == (96, 64) and sum(1 for _ in reader) == 10
        assert reader.warning() == ""
    report = run(pipeline, source, tmp_path / "o.mp4")
    assert report.frames == 10 and len(times_of(tmp_path / "o.mp4")) == 10


def test_sound_alone_with_or_without_a_cover_is_no_video(tmp_path, capsys):
    source = tmp_path / "song.mp4"
    with av.open(str(source), "w") as out:
        sound = Sound()
        track = sound.added(out)
        for packet in sound.packets(track):
            out.mux(packet)
    with pytest.raises(VideoError, match="no video stream"):
        VideoReader(source)
    assert main(["video", str(source), str(tmp_path / "o.mp4"), "--gallery", "none", "--box", "1", "1", "9", "9"]) == 1
    assert "no video stream" in capsys.readouterr().err and not (tmp_path / "o.mp4").exists()


def test_a_file_of_data_streams_only_is_no_video(tmp_path):
    source = tmp_path / "a.ts"
    with contextlib.suppress(av.error.FFmpegError), av.open(str(source), "w", format="mpegts") as out:
        stream = out.add_data_stream("klv") if hasattr(out, "add_data_stream") else None
        for n in range(40):
            packet = av.Packet(bytes(range(100)))
            packet.stream, packet.pts, packet.dts, packet.time_base = stream, n * 3600, n * 3600, Fraction(1, 90000)
            out.mux(packet)
    assert source.stat().st_size > 188
    with pytest.raises(VideoError, match="no video stream|not a video"):
        VideoReader(source)


def test_what_lies_in_memory_beside_a_picture_makes_no_difference_to_its_bytes(tmp_path):
    """x264's code for AVX-512 reads beyond a row of a picture whose width is no multiple of 128 pixels."""
    script = """if True:
        import sys
        from fractions import Fraction
        from pathlib import Path
        import cv2
        import numpy as np
        from identity_segmentation.video.writing import FORMATS, SegmentWriter
        noise = np.random.default_rng(3).integers(0, 255, (60, 80, 3), np.uint8)
        with SegmentWriter(Path(sys.argv[1]), FORMATS[".mp4"], (320, 240), Fraction(25), Fraction(1, 25)) as writer:
            for i in range(12):
                writer.write(cv2.resize(np.roll(noise, 2 * i, axis=1), (320, 240)), i)
    """
    made = []
    for fill in ("0", "1"):
        target = tmp_path / f"{fill}.mp4"
        environment = {**os.environ, "MALLOC_PERTURB_": fill}
        subprocess.run([sys.executable, "-c", script, str(target)], check=True, env=environment)
        made.append(target.read_bytes())
    assert made[0] == made[1]

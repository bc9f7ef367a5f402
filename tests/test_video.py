"""Videos in and out: exact times, all frames, the sound kept, damage said, and nothing half-written."""

from __future__ import annotations

import json
import struct
import subprocess
import sys
import threading
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from fakes import BACKGROUND, PEOPLE, FakeFaces, FakeMasks, draw, near

from identity_segmentation import IdentityAwareSegmentation, write_image
from identity_segmentation.cli.command import main
from identity_segmentation.errors import Cancelled, InputError, OutputError, UnknownPerson, VideoError
from identity_segmentation.people.rule import NamingRule
from identity_segmentation.types import Face
from identity_segmentation.video.analysis import Analysis, Sample, read_analysis
from identity_segmentation.video.corrections import correct, merge
from identity_segmentation.video.cuts import CutDetector
from identity_segmentation.video.files import VideoReader, prefetched
from identity_segmentation.video.flow import Flow, TemporalSmoother
from identity_segmentation.video.naming import Evidence, name_tracks
from identity_segmentation.video.review import spans_to_review
from identity_segmentation.video.tracking import SimpleTracker, TrackPoint

ADA, BO = PEOPLE["Ada"], PEOPLE["Bo"]
LOSSLESS = {"crf": "0", "preset": "ultrafast"}


def make_video(
    path, pictures, fps=Fraction(25), sound=False, codec="libx264rgb", options=LOSSLESS, pts=None, pix="rgb24"
):
    """Write pictures (BGR) to a file, lossless unless told otherwise; `pts` in milliseconds for a variable rate."""
    with av.open(str(path), "w") as out:
        stream = out.add_stream(codec, rate=fps, options=options or {})
        stream.height, stream.width = pictures[0].shape[:2]
        stream.pix_fmt = pix
        stream.codec_context.time_base = Fraction(1, 1000) if pts else 1 / fps
        tone = out.add_stream("aac", rate=16000) if sound else None
        if tone:
            tone.layout = "mono"
        for i, picture in enumerate(pictures):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="bgr24")
            frame.pts = pts[i] if pts else i
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
        if tone:
            wave = (np.sin(np.arange(int(16000 * len(pictures) / fps)) * 0.2) * 8000).astype(np.int16)
            for start in range(0, len(wave) - 1024, 1024):
                part = av.AudioFrame.from_ndarray(wave[None, start : start + 1024], format="s16", layout="mono")
                part.sample_rate, part.pts = 16000, start
                out.mux(tone.encode(part))
            out.mux(tone.encode(None))
    return path


def walk(frames=40, size=(240, 320)):
    """Ada walks to the right and Bo stands; nobody turns away."""
    return [draw((ADA, 60 + 3 * i, 60), (BO, 260, 60), size=size) for i in range(frames)]


class SeesThroughCompression(FakeFaces):
    """The drawn people after lossy coding: colours are snapped to the cast before looking."""

    def faces(self, image_bgr, embed=True):
        cast = np.array([BACKGROUND, *PEOPLE.values()])
        nearest = np.abs(image_bgr[:, :, None].astype(int) - cast).sum(-1).argmin(-1)
        return super().faces(cast[nearest].astype(np.uint8), embed)


class MasksThroughCompression(FakeMasks):
    def encode(self, image_bgr):
        cast = np.array([BACKGROUND, *PEOPLE.values()])
        return super().encode(
            cast[np.abs(image_bgr[:, :, None].astype(int) - cast).sum(-1).argmin(-1)].astype(np.uint8)
        )


@pytest.fixture
def people(tmp_path) -> IdentityAwareSegmentation:
    for name in ("Ada", "Bo", "Cy"):
        for i in range(3):
            write_image(tmp_path / "D" / name / f"{i}.png", draw((near(PEOPLE[name], 3 * i), 60 + 40 * i, 60)))
    pipeline = IdentityAwareSegmentation(
        SeesThroughCompression(), MasksThroughCompression(), gallery=tmp_path / "gallery"
    )
    pipeline.build_gallery(tmp_path / "D")
    return pipeline


@pytest.fixture
def clip(tmp_path):
    return make_video(tmp_path / "clip.mp4", walk(), sound=True)


def pictures(path):
    with VideoReader(path) as reader:
        return [f.image for f in reader]


def probe(path):
    with VideoReader(path) as reader:
        return reader.info


def packets(path):
    with av.open(str(path)) as container:
        return [bytes(p) for p in container.demux(container.streams.audio[0]) if p.size]


# ---- reading


def test_frames_come_in_order_with_index_time_and_exact_pixels(tmp_path):
    path = make_video(tmp_path / "a.mp4", walk(10), fps=Fraction(30000, 1001))
    with VideoReader(path) as reader:
        frames = list(reader)
        assert reader.info.fps == Fraction(30000, 1001) and (reader.info.width, reader.info.height) == (320, 240)
        assert reader.warning() == ""
    assert [f.index for f in frames] == list(range(10))
    assert [f.time_s for f in frames] == pytest.approx([i * 1001 / 30000 for i in range(10)], abs=1e-3)
    assert all((f.image == p).all() for f, p in zip(frames, walk(10), strict=True))


def test_a_variable_frame_rate_keeps_its_times(tmp_path):
    times = [0, 40, 60, 160, 170, 400]
    path = make_video(tmp_path / "vfr.mkv", walk(6), pts=times)
    with VideoReader(path) as reader:
        assert [round(f.time_s * 1000) for f in reader] == times


def test_sampled_frames_are_the_same_frames(tmp_path):
    path = make_video(tmp_path / "a.mp4", walk(20))
    with VideoReader(path) as reader:
        assert [(f.index, round(f.time_s, 3)) for f in reader.frames(5, 5)] == [(5, 0.2), (10, 0.4), (15, 0.6)]


def test_a_rotated_recording_comes_out_upright(tmp_path):
    picture = np.zeros((40, 80, 3), np.uint8)
    picture[:20, :40] = 255
    path = make_video(tmp_path / "a.mp4", [picture] * 3, codec="libx264", pix="yuv420p", options={"crf": "1"})
    content = bytearray(path.read_bytes())
    start = content.index(b"tkhd") + 4 + 4 + 20 + 16
    turned = [struct.pack(">i", v) for v in (0, 65536, 0, -65536, 0, 0, 80 << 16, 0, 0x40000000)]
    content[start : start + 36] = b"".join(turned)  # a quarter turn clockwise, as a phone held upright writes it
    path.write_bytes(content)
    with VideoReader(path) as reader:
        assert (reader.info.width, reader.info.height) == (40, 80)
        image = next(iter(reader)).image
    assert image.shape == (80, 40, 3) and image[10, 30].mean() > 200 and image[70, 10].mean() < 50


def test_what_is_no_video_says_what_it_is(tmp_path):
    sound = tmp_path / "sound.mp4"
    make_video(tmp_path / "both.mp4", walk(30), sound=True)
    with av.open(str(tmp_path / "both.mp4")) as source, av.open(str(sound), "w") as out:
        track = source.streams.audio[0]
        copy = out.add_stream_from_template(track)
        for packet in source.demux(track):
            if packet.dts is not None:
                packet.stream = copy
                out.mux(packet)
    contents = {
        "empty.mp4": (b"", "is empty"), "text.mp4": (b"hello there\n" * 9, "is a text file"),
        "list.mp4": (b"#EXTM3U\nother.ts\n", "is a playlist"), "noise.mp4": (bytes(range(256)) * 9, "not a video"),
    }  # fmt: skip
    for name, (content, reason) in contents.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(VideoError, match=reason):
            VideoReader(tmp_path / name)
    with pytest.raises(VideoError, match="no such file"):
        VideoReader(tmp_path / "none.mp4")
    with pytest.raises(VideoError, match="is a folder"):
        VideoReader(tmp_path)
    with pytest.raises(VideoError, match="no video stream"):
        VideoReader(sound)


def test_an_mp4_cut_off_before_its_index_says_so(tmp_path):
    path = make_video(tmp_path / "a.mp4", walk(20))
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(VideoError, match="without its index"):
        VideoReader(path)


def test_a_truncated_file_gives_what_there_is_and_a_warning(tmp_path):
    noisy = [np.random.default_rng(i).integers(0, 255, (120, 160, 3), dtype=np.uint8) for i in range(60)]
    path = make_video(tmp_path / "a.mkv", noisy, options={**LOSSLESS, "g": "10"})
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with VideoReader(path) as reader:
        count = sum(1 for _ in reader)
        assert 10 < count < 50 and reader.truncated and f"{count} frames could be read" in reader.warning()


def test_ten_bits_a_channel_come_out_as_eight(tmp_path):
    path = tmp_path / "ten.mp4"
    with av.open(str(path), "w") as out:
        stream = out.add_stream("libx264", rate=25, options={"crf": "10"})
        stream.width, stream.height, stream.pix_fmt = 320, 240, "yuv420p10le"
        for i in range(10):
            frame = av.VideoFrame.from_ndarray(np.full((240, 320, 3), 20 * i, np.uint8), format="bgr24")
            out.mux(stream.encode(frame.reformat(format="yuv420p10le")))
        out.mux(stream.encode(None))
    assert [round(p.mean() / 20) for p in pictures(path)] == list(range(10))


@pytest.mark.parametrize("size", [(1, 1), (2, 2), (239, 319)])
def test_odd_and_tiny_sizes_are_read(tmp_path, size):
    image = np.full((*size, 3), 90, np.uint8)
    assert pictures(make_video(tmp_path / "a.mkv", [image] * 2, codec="ffv1", pix="bgr0", options=None))[0].shape == (
        *size,
        3,
    )


def test_prefetching_keeps_order_passes_errors_on_and_stops():
    assert list(prefetched(range(50), depth=2)) == list(range(50))

    def failing():
        yield 1
        raise ValueError("from the other thread")

    with pytest.raises(ValueError, match="from the other thread"):
        list(prefetched(failing()))
    before = threading.active_count()
    endless = prefetched(iter(int, 1))
    next(endless)
    endless.close()
    assert threading.active_count() == before


# ---- the whole way


def test_all_frames_come_out_with_the_sound_and_only_the_person_asked_for(people, clip, tmp_path):
    report = people.process_video(clip, tmp_path / "out.mp4", "Ada", view="cutout", masks=True)
    info = probe(tmp_path / "out.mp4")
    assert (info.width, info.height, info.fps) == (320, 240, Fraction(25))
    frames = pictures(tmp_path / "out.mp4")
    assert len(frames) == 40 == report.frames
    assert packets(tmp_path / "out.mp4") == packets(clip), "the sound is copied bit by bit"
    for i in (0, 7, 20, 39):
        x = 60 + 3 * i
        assert np.abs(frames[i][120, x].astype(int) - ADA).max() < 40, f"Ada is there in frame {i}"
        assert np.abs(frames[i][120, 285].astype(int) - (64, 177, 0)).max() < 40, "Bo is not"
    assert report.on_screen == {"Ada": pytest.approx(1.6)} and report.coverage == {"Ada": 1.0}
    lines = [json.loads(line) for line in (tmp_path / "out.mp4.masks.jsonl").read_text().splitlines()]
    assert [line["frame"] for line in lines] == list(range(40)) and {line["person"] for line in lines} == {"Ada"}


def test_masks_between_the_samples_follow_the_person(people, clip, tmp_path):
    from pycocotools import mask as coco

    people.process_video(clip, tmp_path / "out.mp4", "Ada", frame_sampling=5, masks=True)
    for line in map(json.loads, (tmp_path / "out.mp4.masks.jsonl").read_text().splitlines()):
        truth = (walk()[line["frame"]] == ADA).all(-1)
        found = coco.decode({"size": line["size"], "counts": line["counts"].encode()}).astype(bool)
        assert (found & truth).sum() / (found | truth).sum() > 0.8, line["frame"]


@pytest.mark.parametrize("view", ["annotated", "overlay", "cutout", "blur-others", "blur", "crop"])
def test_every_view_is_a_playable_video(people, clip, tmp_path, view):
    people.process_video(clip, tmp_path / "out.mp4", "Ada", view=view)
    frames = pictures(tmp_path / "out.mp4")
    assert len(frames) == 40
    if view == "crop":
        assert frames[0].shape[0] / frames[0].shape[1] == pytest.approx(16 / 9, rel=0.05)
    if view == "blur":
        assert (
            np.abs(frames[0].astype(int) - walk()[0])[48:72, 48:72].mean()
            > 4
            > np.abs(frames[0].astype(int) - walk()[0])[60, 260].mean() - 20
        )


def test_blurring_covers_the_heads_of_those_meant_and_of_nobody_else(people, tmp_path):
    stripes = walk(10)
    for picture in stripes:  # something to blur: a grid over everything but the flat faces and bodies' colours
        picture[(picture == BACKGROUND).all(-1) & (np.indices(picture.shape[:2]).sum(0) % 4 < 2)] = 90
    clip = make_video(tmp_path / "clip.mp4", stripes)
    people.process_video(clip, tmp_path / "out.mp4", "Ada", view="blur")
    before, after = stripes[5].astype(int), pictures(tmp_path / "out.mp4")[5].astype(int)
    edge = np.s_[44:76, 60 + 15 - 20 : 60 + 15 - 10]  # the rim of Ada's head
    assert np.abs(before - after)[edge].mean() > 3 * np.abs(before - after)[44:76, 240:250].mean()


def test_transparent_formats_carry_the_matte(people, clip, tmp_path):
    for name in ("out.webm", "out.mov"):
        people.process_video(clip, tmp_path / name, "Ada", view="cutout")
        with av.open(str(tmp_path / name)) as container:
            assert len(container.streams.audio) == 1
            stream = container.streams.video[0]
            decoder = av.CodecContext.create("libvpx-vp9", "r") if name.endswith("webm") else None
            frames = []
            for packet in container.demux(stream):
                frames += decoder.decode(packet) if decoder and packet.size else ([] if decoder else packet.decode())
            picture = frames[0].to_ndarray(format="bgra")
        assert picture[120, 60, 3] > 230 and picture[120, 285, 3] < 25, name


def test_a_name_without_suffix_is_a_folder_of_pictures(people, clip, tmp_path):
    people.process_video(clip, tmp_path / "frames", "Ada", view="cutout")
    files = sorted((tmp_path / "frames").iterdir())
    assert len(files) == 40 and cv2.imread(str(files[0]), cv2.IMREAD_UNCHANGED).shape == (240, 320, 4)


def test_odd_sizes_are_padded_not_refused(people, tmp_path):
    clip = make_video(tmp_path / "odd.mkv", walk(8, size=(239, 319)), codec="ffv1", pix="bgr0", options=None)
    people.process_video(clip, tmp_path / "out.mp4", "Ada")
    assert pictures(tmp_path / "out.mp4")[0].shape == (240, 320, 3)


@pytest.mark.parametrize("fps", [Fraction(1), Fraction(240), Fraction(30000, 1001)])
def test_any_frame_rate_stays_what_it_was(people, tmp_path, fps):
    clip = make_video(tmp_path / "a.mp4", walk(12), fps=fps)
    people.process_video(clip, tmp_path / "out.mp4", "Ada")
    with VideoReader(clip) as a, VideoReader(tmp_path / "out.mp4") as b:
        assert [f.time_s for f in a] == pytest.approx([f.time_s for f in b], abs=1e-3)
        assert float(b.info.fps) == pytest.approx(float(fps), rel=0.01)


# ---- again, killed, corrected


def test_another_render_needs_no_second_analysis(people, clip, tmp_path):
    people.process_video(clip, tmp_path / "out.mp4", "Ada")
    calls = people.face_engine.calls
    people.process_video(clip, tmp_path / "out.mp4", "Bo", view="cutout")
    assert people.face_engine.calls == calls


def test_a_cancelled_analysis_goes_on_and_ends_the_same(people, tmp_path):
    clip = make_video(tmp_path / "clip.mp4", walk(60), sound=True)
    whole = people.process_video(clip, tmp_path / "whole.mp4", "Ada", 2, masks=True)
    stop = threading.Event()

    def progress(stage, done, total):
        if stage == "analyse" and done > 40:
            stop.set()

    part_of = tmp_path / "there" / "part.mp4"
    with pytest.raises(Cancelled):
        people.process_video(clip, part_of, "Ada", 2, masks=True, progress=progress, cancel=stop)
    assert not part_of.exists()
    (working,) = (tmp_path / "there" / ".analyses").glob("*.part")
    with working.open("a") as file:
        file.write('{"kind": "seen", "i": 4')  # as a kill leaves it
    calls = people.face_engine.calls
    part = people.process_video(clip, part_of, "Ada", 2, masks=True)
    assert people.face_engine.calls - calls < 30 and not working.exists()
    assert Path(f"{part_of}.masks.jsonl").read_bytes() == (tmp_path / "whole.mp4.masks.jsonl").read_bytes()
    assert part.on_screen == whole.on_screen


def test_a_cancelled_render_keeps_its_segments_and_ends_the_same(people, tmp_path, monkeypatch):
    import identity_segmentation.video.render as module

    monkeypatch.setattr(module, "_SEGMENT_SECONDS", 0.8)
    clip = make_video(tmp_path / "clip.mp4", walk(60), sound=True)
    people.process_video(clip, tmp_path / "whole.mp4", "Ada", masks=True)
    stop = threading.Event()

    def progress(stage, done, total):
        if stage == "render" and done > 45:
            stop.set()

    with pytest.raises(Cancelled):
        people.process_video(clip, tmp_path / "part.mp4", "Ada", masks=True, progress=progress, cancel=stop)
    assert len(list((tmp_path / ".part.mp4.work").glob("*.done"))) == 2
    encodes = people.segmenter.encodes
    people.process_video(clip, tmp_path / "part.mp4", "Ada", masks=True)
    assert people.segmenter.encodes - encodes < 8
    for suffix in (".masks.jsonl", ""):
        name = f".mp4{suffix}"
        assert (tmp_path / f"part{name}").read_bytes() == (tmp_path / f"whole{name}").read_bytes(), name
    assert not (tmp_path / ".part.mp4.work").exists()


def test_a_track_corrected_by_hand_is_obeyed_by_the_next_render(people, clip, tmp_path):
    path = people.process_video(clip, tmp_path / "out.mp4", "Ada").files["analysis"]
    tracks = {n.name: t for t, n in people.track_names(read_analysis(path)).items()}
    correct(path, tracks["Ada"], "Cy")
    assert people.process_video(clip, tmp_path / "out.mp4", ["Ada", "Cy"]).on_screen == {
        "Ada": 0.0,
        "Cy": pytest.approx(1.6),
    }
    correct(path, tracks["Ada"], None)
    assert people.process_video(clip, tmp_path / "out.mp4", ["Ada", "Cy"]).on_screen == {"Ada": 0.0, "Cy": 0.0}
    with pytest.raises(InputError, match="no track 99"):
        correct(path, 99, "Ada")
    with pytest.raises(InputError, match="was not in the gallery"):
        correct(path, 1, "Zoe")
    with pytest.raises(InputError, match="both on screen"):
        merge(path, tracks["Ada"], tracks["Bo"])


def test_an_analysis_is_known_by_what_decides_it_and_corrections_survive_a_change_of_the_gallery(
    people, clip, tmp_path
):
    first = people.process_video(clip, tmp_path / "out.mp4", "Ada")
    other = make_video(tmp_path / "other.mp4", walk(12))
    renamed = tmp_path / "same bytes, another name.mp4"
    renamed.write_bytes(clip.read_bytes())
    assert people.process_video(renamed, tmp_path / "x.mp4", "Bo").files["analysis"] == first.files["analysis"]
    assert people.process_video(other, tmp_path / "out.mp4", "Ada").files["analysis"] != first.files["analysis"]
    every = people.process_video(clip, tmp_path / "out.mp4", "Ada", frame_sampling=2)
    assert every.files["analysis"] != first.files["analysis"] and not every.remarks
    tracks = {n.name: t for t, n in people.track_names(read_analysis(first.files["analysis"])).items()}
    correct(first.files["analysis"], tracks["Ada"], "Cy")
    people.add_person("Di", [write_image(tmp_path / "di.png", draw((PEOPLE["Di"], 60, 60)))])
    with pytest.raises(InputError, match="the gallery has changed since .* idseg analyse"):
        people.track_names(read_analysis(first.files["analysis"]))
    again = people.process_video(clip, tmp_path / "out.mp4", ["Ada", "Cy"])
    assert again.remarks and "the gallery has changed" in again.remarks[0]
    assert again.files["analysis"] == first.files["analysis"] and again.on_screen["Cy"] == pytest.approx(1.6)
    fresh = people.process_video(clip, tmp_path / "out.mp4", ["Ada", "Cy"], fresh=True)
    assert fresh.on_screen == {"Ada": pytest.approx(1.6), "Cy": 0.0} and not fresh.remarks


def test_bad_requests_are_refused_before_any_work(people, clip, tmp_path):
    for arguments, error, reason in (
        ((clip, clip, "Ada"), InputError, "is the input"),
        ((clip, tmp_path / "out.avi", "Ada"), InputError, r"\.mp4 \(H.264\)"),
        ((clip, tmp_path / "out.mp4", "Zoe"), UnknownPerson, "nobody called 'Zoe'"),
        ((clip, tmp_path / "out.mp4", []), InputError, "nobody is left"),
        ((tmp_path / "none.mp4", tmp_path / "out.mp4", "Ada"), VideoError, "no such file"),
        ((clip, tmp_path / "clip.mp4" / "out.mp4", "Ada"), OutputError, "cannot be written"),
    ):
        with pytest.raises(error, match=reason):
            people.process_video(*arguments)
    with pytest.raises(InputError, match="frame_sampling between"):
        people.process_video(clip, tmp_path / "out.mp4", "Ada", frame_sampling=0)
    with pytest.raises(InputError, match="unknown view"):
        people.process_video(clip, tmp_path / "out.mp4", "Ada", view="sepia")
    with pytest.raises(InputError, match="follows one person"):
        people.process_video(clip, tmp_path / "out.mp4", "all", view="crop")
    assert not (tmp_path / "out.mp4").exists()


_FULL_DISK = """
import resource, signal, sys
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, 60_000))
from identity_segmentation.cli import main
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs a limit on file sizes")
def test_a_disk_that_fills_leaves_no_output_and_says_how_to_go_on(tmp_path):
    noisy = [np.random.default_rng(i).integers(0, 255, (240, 320, 3), dtype=np.uint8) for i in range(12)]
    clip, out = make_video(tmp_path / "clip.mp4", noisy), tmp_path / "out.mp4"
    words = ["video", str(clip), str(out), "--box", "10", "10", "90", "90", "--segmenter", "embedded"]
    full = subprocess.run([sys.executable, "-c", _FULL_DISK, *words], capture_output=True, text=True, cwd=tmp_path)
    assert full.returncode == 1 and "run the same command to go on" in full.stderr and "Traceback" not in full.stderr
    assert not out.exists() and list((tmp_path / ".analyses").glob("*.analysis.jsonl"))
    assert main(words) == 0 and len(pictures(out)) == 12


def test_a_damaged_source_is_rendered_as_far_as_it_goes_and_the_exit_status_says_so(tmp_path, capsys):
    noisy = [np.random.default_rng(i).integers(0, 255, (120, 160, 3), dtype=np.uint8) for i in range(60)]
    path = make_video(tmp_path / "a.mkv", noisy, options={**LOSSLESS, "g": "10"})
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    words = ["video", str(path), str(tmp_path / "out.mp4"), "--box", "10", "10", "90", "90", "--segmenter", "embedded"]
    assert main(words) == 4
    assert "the file ends early" in capsys.readouterr().err
    assert 10 < len(pictures(tmp_path / "out.mp4")) < 50


def test_someone_who_is_never_seen_is_in_no_mask(people, clip, tmp_path):
    report = people.process_video(clip, tmp_path / "out.mp4", "Cy", masks=True)
    assert report.on_screen == {"Cy": 0.0} and (tmp_path / "out.mp4.masks.jsonl").read_bytes() == b""


def test_people_can_be_left_out(people, clip, tmp_path):
    report = people.process_video(clip, tmp_path / "out.mp4", "all", everyone_but=["Bo"])
    assert set(report.on_screen) == {"Ada", "Cy"}


def test_the_crop_of_one_shot_is_not_pulled_towards_the_next():
    from identity_segmentation.video.analysis import Analysis, Sample
    from identity_segmentation.video.naming import TrackName
    from identity_segmentation.video.render import crop_path
    from identity_segmentation.video.tracking import TrackPoint

    def sample(index, x, cut, track):
        return Sample(index, index / 25, cut, (), (TrackPoint(track, (x, 40, x + 24, 64), "body"),))

    samples = [sample(i, 60, False, 1) for i in range(0, 50, 5)]
    samples += [sample(i, 500, i == 50, 2) for i in range(50, 100, 5)]
    header = {"width": 640, "height": 360, "fps": [25, 1], "sampling": 5, "people": ["Ada"]}
    found = Analysis(Path("x"), header, tuple(samples), {}, 100, "")
    names = {t: TrackName(t, "Ada", 0.9, 0.5, None, "Ada", 1) for t in (1, 2)}
    path = crop_path(found, names, ["Ada"], (9, 16))
    assert np.ptp(path.centres[:50, 0]) < 1 and np.ptp(path.centres[50:, 0]) < 1
    assert path.centres[49, 0] < 100 < 400 < path.centres[50, 0]


def test_how_to_render_is_one_value_and_the_old_keywords_go_on_working(people, clip, tmp_path):
    from identity_segmentation.video.render import RenderSettings

    settings = RenderSettings(view="cutout", background="#FF0000", masks=True)
    report = people.process_video(clip, tmp_path / "a.mp4", "Ada", 5, settings)
    same = people.process_video(clip, tmp_path / "b.mp4", "Ada", view="cutout", background="#FF0000", masks=True)
    assert {"masks"} <= set(report.files) and report.on_screen == same.on_screen
    assert [p.tobytes() for p in pictures(tmp_path / "a.mp4")] == [p.tobytes() for p in pictures(tmp_path / "b.mp4")]
    over = people.process_video(clip, tmp_path / "c.mp4", "Ada", settings=settings, masks=False)
    assert "masks" not in over.files
    with pytest.raises(TypeError, match="unknown keyword 'veiw'; expected view"):
        people.process_video(clip, tmp_path / "d.mp4", "Ada", veiw="cutout")


# ---- tracks and names


def head(x, y, side=24):
    return Face([x, y, x + side, y + side], 0.9)


def test_a_head_keeps_its_track_while_it_moves_and_two_do_not_swap():
    tracker, image = SimpleTracker(), np.full((200, 600, 3), 90, np.uint8)
    seen = [
        {p.face: p.track for p in tracker.update([head(20 * i, 40), head(400 - 20 * i, 120)], image)} for i in range(15)
    ]
    assert all(s == {0: 1, 1: 2} for s in seen)


def test_a_head_without_a_face_is_carried_by_its_clothes_and_lost_without_them():
    dressed = draw((ADA, 100, 60))
    tracker = SimpleTracker(max_lost=2)
    (face,) = FakeFaces().faces(dressed, embed=False)
    tracker.update([face], dressed)
    tracker.update([face], dressed)
    assert [p.evidence for p in tracker.update([], dressed)] == ["clothes"]
    assert tracker.update([], dressed) == [], "colours carry nobody for long: a wall may have them as well"
    stranger = draw((BO, 100, 60))
    assert tracker.update([], stranger) == []
    for _ in range(3):
        tracker.update([], stranger)
    assert tracker.update([face], dressed)[0].track == 2, "the name must be earned again"


def test_ids_belong_to_a_tracker_and_its_state_can_be_taken_up():
    image = draw((ADA, 100, 60))
    (face,) = FakeFaces().faces(image, embed=False)
    first, second = SimpleTracker(), SimpleTracker()
    first.update([face], image)
    assert second.update([face], image)[0].track == 1
    third = SimpleTracker()
    third.restore(json.loads(json.dumps(first.state())))
    assert third.update([face], image)[0].track == 1
    first.reset()
    assert first.update([face], image)[0].track == 2


def test_a_cut_is_found_and_motion_is_none():
    rng = np.random.default_rng(0)
    rooms = [
        cv2.resize(rng.integers(0, 255, (6, 8, 3), dtype=np.uint8), (320, 240), interpolation=cv2.INTER_CUBIC)
        for _ in range(2)
    ]
    detector = CutDetector()
    assert [detector.update(f) for f in (rooms[0], np.roll(rooms[0], 12, 1), rooms[1], rooms[1], rooms[0])] == [
        False, False, True, False, True
    ]  # fmt: skip


def said(*similar, faces=4, weight=4.0):
    return Evidence(np.array(similar), faces, weight)


def test_tracks_on_screen_together_never_share_a_name_and_others_may():
    evidence = {1: said(0.9, 0.1), 2: said(0.81, 0.09), 3: said(0.2, 0.8), 4: said(0.9, 0.1)}
    names = name_tracks(evidence, {(1, 2), (1, 3), (2, 3)}, ["Ada", "Bo"], NamingRule.plain(2, 0.5))
    assert {t: n.name for t, n in names.items()} == {1: "Ada", 2: None, 3: "Bo", 4: "Ada"}
    assert {t: n.by for t, n in names.items()} == {1: "face", 2: "", 3: "face", 4: "face"}


def test_the_best_total_is_found_where_wishes_hang_together():
    # 1 and 3 are never seen together, 2 is seen with both: whoever has more evidence for Ada gets her.
    beside, rule = {(1, 2), (2, 3)}, NamingRule.plain(1, 0.5)
    pair = {1: said(0.7), 2: said(0.85), 3: said(0.7)}
    assert {t: n.name for t, n in name_tracks(pair, beside, ["Ada"], rule).items()} == {1: "Ada", 2: None, 3: "Ada"}
    one = {1: said(0.55), 2: said(0.95), 3: said(0.55)}
    assert {t: n.name for t, n in name_tracks(one, beside, ["Ada"], rule).items()} == {1: None, 2: "Ada", 3: None}


def test_a_track_is_not_named_after_whoever_is_left():
    # Both are most like Ada. The second is above Bo's threshold too, but more like Ada: that is no evidence for Bo.
    names = name_tracks({1: said(0.9, 0.6), 2: said(0.8, 0.7)}, {(1, 2)}, ["Ada", "Bo"], NamingRule.plain(2, 0.5, 0.05))
    assert {t: n.name for t, n in names.items()} == {1: "Ada", 2: None}


def test_a_track_below_the_strict_threshold_is_named_and_listed():
    rule = replace(NamingRule.plain(1, 0.5), sure=np.array([0.6]))
    names = name_tracks({1: said(0.55), 2: said(0.65)}, set(), ["Ada"], rule)
    assert {t: (n.name, n.sure) for t, n in names.items()} == {1: ("Ada", False), 2: ("Ada", True)}
    samples = tuple(
        Sample(i, i / 25, False, (), tuple(TrackPoint(t, (0, 0, 9, 9), "face", 0) for t in (1, 2))) for i in range(4)
    )
    found = Analysis(Path("x"), {"people": ["Ada"], "sampling": 1, "fps": [25, 1]}, samples, {}, 4, "")
    listed = spans_to_review(found, {t: replace(n, margin=1.0) for t, n in names.items()})
    assert [row["track"] for row in listed] == [1] and "would not be enough in a picture" in listed[0]["why"]


def test_smoothing_leaves_no_ghost_behind_and_nothing_where_nobody_is():
    rng = np.random.default_rng(0)
    texture = cv2.GaussianBlur(rng.integers(0, 255, (120, 160), dtype=np.uint8), (5, 5), 0)
    smoother = TemporalSmoother(5, Flow(160))
    for i in range(8):
        matte = np.zeros((120, 160), np.float32)
        matte[40:80, 20 + 6 * i : 50 + 6 * i] = 1
        grey = texture.copy()
        grey[40:80, 20 + 6 * i : 50 + 6 * i] = 255 - texture[40:80, 20:50]
        smoothed = smoother.update(matte, grey)
    assert smoothed[60, 20 + 6 * 7 - 8] < 0.2, "where the person was two frames ago"
    assert smoothed[60, 20 + 6 * 7 + 15] > 0.9
    empty = smoother.update(np.zeros((120, 160), np.float32), texture)
    assert empty.max() == 0

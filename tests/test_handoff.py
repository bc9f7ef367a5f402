"""Who is on screen when, for editors and trainers: spans against the decoded frames, every file opened again by another
reader, cuts whose pictures and sound are those of the source, and seconds of videos whose frame rate varies."""

from __future__ import annotations

import configparser
import csv
import json
import re
import sys
import xml.etree.ElementTree as ET
from dataclasses import replace
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from fakes import PEOPLE, draw, near
from test_video import MasksThroughCompression, SeesThroughCompression, make_video

from identity_segmentation import IdentityAwareSegmentation, write_image
from identity_segmentation.cli.command import main
from identity_segmentation.errors import Cancelled, EngineUnavailable, InputError, VideoError
from identity_segmentation.geometry import encode_rle
from identity_segmentation.video.analysis import Analysis, Sample, read_analysis, read_lines, write_lines
from identity_segmentation.video.cast import cast
from identity_segmentation.video.corrections import point_at
from identity_segmentation.video.handoff import FORMATS, HandOff, Part, export
from identity_segmentation.video.handoff.boxes import Boxes
from identity_segmentation.video.handoff.cut import cut_video, parts_of
from identity_segmentation.video.naming import TrackName
from identity_segmentation.video.review import listed, spans_to_review
from identity_segmentation.video.scene import Scene, heads_at
from identity_segmentation.video.shots import Shot, shot_around
from identity_segmentation.video.spans import Span, on_screen
from identity_segmentation.video.timecode import TimeBase
from identity_segmentation.video.tracking import TrackPoint

ADA, BO = PEOPLE["Ada"], PEOPLE["Bo"]
NTSC = Fraction(30000, 1001)
HARD = "원영 \"Vicky\" <b>|M:x |D:9, {\\an8}\n'ไทย' & co"  # everything that some format has a use for


def times_of(path) -> list[float]:
    """When each frame is shown, by another reader than ours."""
    with av.open(str(path)) as container:
        stamps = [float(frame.pts * frame.time_base) for frame in container.decode(video=0)]
    return [stamp - stamps[0] for stamp in stamps]


def film(frames: int, ada: range, bo: range) -> list[np.ndarray]:
    """Ada and Bo, each in some of the frames; they do not move."""
    return [
        draw(*[(colour, x, 60) for colour, x, there in ((ADA, 80, ada), (BO, 240, bo)) if i in there])
        for i in range(frames)
    ]


def varying(path, pictures, times, rate=30) -> Path:
    """A video of variable frame rate; times in thousandths of a second."""
    with av.open(str(path), "w") as out:
        stream = out.add_stream("libx264", rate=rate, options={"crf": "0", "preset": "ultrafast"})
        stream.height, stream.width = pictures[0].shape[:2]
        stream.pix_fmt, stream.codec_context.time_base = "yuv444p", Fraction(1, 1000)
        for picture, at in zip(pictures, times, strict=True):
            frame = av.VideoFrame.from_ndarray(picture, format="bgr24")
            frame.pts, frame.time_base = at, Fraction(1, 1000)
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    return path


SLOWS_DOWN = [round(i * 1000 / 30) for i in range(60)] + [2000 + 200 * i for i in range(20)]


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory):
    folder = tmp_path_factory.mktemp("people")
    for name in ("Ada", "Bo", "Cy"):
        for i in range(3):
            write_image(folder / "D" / name / f"{i}.png", draw((near(PEOPLE[name], 3 * i), 60 + 40 * i, 60)))
    made = IdentityAwareSegmentation(SeesThroughCompression(), MasksThroughCompression(), gallery=folder / "gallery")
    made.build_gallery(folder / "D")
    return made


@pytest.fixture(scope="module")
def looked_at(pipeline, tmp_path_factory):
    """(video, its frames' times, its analysis, a HandOff) of the kind that is asked for, each made once."""
    folder, made = tmp_path_factory.mktemp("films"), {}

    def make(kind: str):
        if kind not in made:
            pictures = film(80, range(10, 40), range(30, 80))
            if kind == "varying":
                path = varying(folder / "varying.mkv", pictures, SLOWS_DOWN)
            else:
                rate = {"25": Fraction(25), "29.97": NTSC, "30": Fraction(30)}[kind]
                path = make_video(folder / f"{kind}.mp4", pictures, rate)
            found = pipeline.analyse_video(path, 5, folder / "A")
            made[kind] = path, times_of(path), found, HandOff(found, pipeline.track_names(found), path)
        return made[kind]

    return make


@pytest.fixture
def idseg(pipeline, monkeypatch, capsys):
    """The command line over the drawn people: (status, stdout, stderr)."""
    import identity_segmentation.cli.video as verbs

    monkeypatch.setattr(verbs, "pipeline_of", lambda arguments: pipeline)

    def run(*words):
        capsys.readouterr()
        status = main([str(word) for word in words])
        told = capsys.readouterr()
        return status, told.out, told.err

    return run


KINDS = ("25", "29.97", "30", "varying")


# ---- frames and seconds


def made_analysis(samples, frames, total=0.0, fps=Fraction(30), sampling=5, **more):
    header = {
        "fps": [fps.numerator, fps.denominator], "sampling": sampling, "width": 320, "height": 240, "sha256": "0" * 64,
        "source": "film.mp4", "people": ["Ada", "Bo"], "detector": None,
    }  # fmt: skip
    return Analysis(Path("film"), header | more.pop("header", {}), tuple(samples), frames=frames, total_s=total, **more)


def sample(index, time_s, *points, bodies=()):
    return Sample(index, time_s, False, (), tuple(points), tuple(bodies))


@pytest.mark.parametrize("kind", KINDS)
def test_seconds_and_frames_of_an_analysis_are_those_of_the_decoded_frames(looked_at, kind):
    _, times, found, _ = looked_at(kind)
    gaps = np.diff([*times, 2 * times[-1] - times[-2]])
    for index, at in enumerate(times):
        assert abs(found.seconds_at(index) - at) < 0.5 * gaps[index], index
        assert found.index_at(at) == index
        assert found.index_at(found.seconds_at(index)) == index
    assert found.frames == 80 and found.index_at(-1) == 0 and found.index_at(1e6) == 79
    # The last frame lasts as long as its file says; a varying one says the usual length.
    assert found.last_s == pytest.approx(times[-1], abs=0.001)
    assert times[-1] < found.seconds <= times[-1] + gaps[-1] + 0.002


def test_an_older_analysis_without_a_length_is_read_and_goes_on_at_its_rate(looked_at, tmp_path):
    _, times, found, _ = looked_at("30")
    lines = [
        {k: v for k, v in line.items() if line["kind"] != "end" or k not in ("seconds", "last")}
        for line in read_lines(found.path)
    ]
    assert not any("seconds" in line for line in lines if line["kind"] == "end")
    write_lines(tmp_path / "old.jsonl", lines)
    old = read_analysis(tmp_path / "old.jsonl")
    assert old.total_s == 0 and old.seconds == pytest.approx(80 / 30, abs=1e-3)
    assert old.seconds_at(79) == pytest.approx(times[79], abs=1e-3)


def test_beyond_the_last_sample_the_end_of_the_video_says_how_long_frames_last():
    found = made_analysis([sample(0, 0.0), sample(5, 0.5)], 9, total=2.5)
    assert [found.seconds_at(i) for i in (2.5, 5, 7, 9)] == pytest.approx([0.25, 0.5, 1.5, 2.5])
    assert found.seconds_at(12) == pytest.approx(2.6) and found.seconds == 2.5
    assert [found.index_at(s) for s in (0.24, 0.26, 1.4, 99)] == [2, 3, 7, 8]
    assert found.shown_for(found.samples[0]) == 0.5 and found.shown_for(found.samples[1]) == 2.0
    assert made_analysis([], 30).seconds == pytest.approx(1.0), "nothing was looked at: the rate has the word"


def slow_analysis(by="face"):
    """Track 1 is there from 2 s on, where five frames last a second; track 2 before."""
    times = [t / 1000 for t in SLOWS_DOWN]
    samples = [
        sample(i, times[i], TrackPoint(1 if i >= 60 else 2, (50, 50, 74, 74), by)) for i in range(0, 80, 5)
    ]  # fmt: skip
    return made_analysis(samples, 80, total=6.0, fps=Fraction(40, 3), header={"levels": {"same": 0.6, "other": 0.3}})


def test_how_long_somebody_is_on_screen_goes_by_the_times_of_the_frames():
    found = slow_analysis()
    whys = {row["track"]: row["why"] for row in spans_to_review(found, {})}
    assert whys[1] == "unknown, and on screen for 4.0 s" and "2.0 s" in whys[2]
    from identity_segmentation.video.analysis import TrackletRecord

    one = made_analysis(
        found.samples, 80, 6.0, Fraction(40, 3), header=found.header, tracklets={1: TrackletRecord(1, 0, None, 5)}
    )
    assert cast(one, {})[0].seconds == pytest.approx(4.0)


def test_a_place_pointed_at_is_in_the_shot_of_its_time(looked_at, tmp_path):
    """2.7 s are shown between frames 63 and 64 of the video that slows down; at 30 frames a second it would be 81."""
    _, _, found, _ = looked_at("varying")
    lines = [line for line in read_lines(found.path) if line["kind"] != "shot"]
    begins = enumerate([(0, "begin"), (70, "cut")])
    shots = [{"kind": "shot", "begin": b, "how": how, "mixed": [0, 0], "place": k} for k, (b, how) in begins]
    path = tmp_path / "shots.analysis.jsonl"
    write_lines(path, [lines[0], *shots, *lines[1:]])
    point_at(path, [10, 150, 34, 174], 2.7, "Cy")
    assert read_analysis(path).corrections[-1]["i"] == 65
    with pytest.raises(InputError, match=r"between 0 and 5\.83 s"):
        point_at(path, [10, 150, 34, 174], 6.6, "Cy")


def test_a_click_says_the_seconds_of_the_frames_it_was_followed_in(looked_at, idseg, monkeypatch, pipeline):
    from identity_segmentation.video import clicks

    path, times, found, _ = looked_at("varying")
    said = clicks.Click("Bo", 70, True, {i: encode_rle(np.ones((24, 32), bool)) for i in range(65, 76)})
    monkeypatch.setattr(clicks, "click", lambda *_: said)
    _, out, _ = idseg("click", found.path, path, "--name", "Bo", "--point", "240,100", "--at", "4.0")
    assert f"{times[65]:.2f}-{times[75]:.2f} s" in out


def test_the_page_draws_the_timeline_at_the_times_of_the_frames():
    from identity_segmentation.video.overview import rows_of

    found = slow_analysis()
    names = {1: TrackName(1, "Ada", 0.9, 0.5, None, "Ada", 4)}
    rows = {row.name: [span for strip in row.strips for span in strip.spans] for row in rows_of(found, names)}
    assert rows["Ada"] == [pytest.approx((58 / 30, 6.0), abs=0.01)]
    assert rows[None] == [pytest.approx((0.0, 58 / 30), abs=0.01)]


# ---- time codes


@pytest.mark.parametrize(
    "rate, drop, frame, text",
    [
        # SMPTE ST 12-1: numbers 0 and 1 are left out each minute, but in every tenth.
        (NTSC, True, 1799, "00:00:59;29"), (NTSC, True, 1800, "00:01:00;02"), (NTSC, True, 17982, "00:10:00;00"),
        (NTSC, True, 107892, "01:00:00;00"), (NTSC, True, 2589407, "23:59:59;29"),
        (NTSC, True, 2589408, "00:00:00;00"),
        (NTSC, False, 1800, "00:01:00:00"), (2 * NTSC, True, 3600, "00:01:00;04"),
        (Fraction(25), False, 90000, "01:00:00:00"),
        (Fraction(24000, 1001), False, 24, "00:00:01:00"), (Fraction(120), False, 119, "00:00:00:119"),
    ],
)  # fmt: skip
def test_time_codes_are_those_of_the_standard(rate, drop, frame, text):
    base = TimeBase.of(rate, drop)
    assert base.text(frame) == text
    assert base.frame(text) == frame % (24 * 3600 * base.base if not drop else 2589408)


def test_every_drop_frame_time_code_comes_back():
    base = TimeBase.of(NTSC, True)
    texts = [base.text(frame) for frame in range(40_000)]
    assert len(set(texts)) == 40_000 and [base.frame(text) for text in texts] == list(range(40_000))


def test_a_rate_that_no_program_knows_counts_whole_frames_of_the_same_seconds():
    assert TimeBase.of(Fraction(40, 3)).rate == 13 and TimeBase.of(Fraction(40, 3)).frames(2.0) == 26
    assert TimeBase.of(Fraction(2997, 100)).rate == NTSC, "as containers round it"
    assert not TimeBase.of(Fraction(25), True).drop and not TimeBase.of(Fraction(24000, 1001), True).drop


@pytest.mark.parametrize("text", ["", "1:00:00:00", "01:00:00:25", "01:60:00:00", "24:00:00:00", "a", "01:00:00"])
def test_what_is_no_time_code_is_refused(text):
    with pytest.raises(InputError, match=r"HH:MM:SS:FF at 25 frames a second .*--start 01:00:00:00"):
        TimeBase.of(Fraction(25)).frame(text)
    with pytest.raises(InputError, match="drop-frame"):
        TimeBase.of(NTSC, True).frame("00:01:00;01")  # one of those that are left out


# ---- who is on screen when


@pytest.mark.parametrize("kind", KINDS)
def test_spans_are_where_the_film_has_the_person(looked_at, kind):
    _, times, found, job = looked_at(kind)
    spans = {str(who): mine for who, mine in job.everybody.items()}
    assert set(spans) == {"Ada", "Bo"} and job.people == ["Ada", "Bo"]
    for name, begin, end in (("Ada", 10, 40), ("Bo", 30, 80)):
        (span,) = spans[name]
        # Every fifth frame is looked at: half-way from one that has them to one that has them not.
        assert begin - 2 <= span.begin <= begin and end - 2 <= span.end <= end
        gap = np.diff([*times, 2 * times[-1] - times[-2]])[min(span.end, 79)]
        assert abs(span.from_s - times[span.begin]) < 0.01
        assert abs(span.to_s - (times[span.end] if span.end < 80 else found.seconds)) < 0.5 * gap
        assert span.similarity > 0.8 and len(span.tracks) == 1


def test_spans_say_what_a_render_says_in_every_frame():
    rng = np.random.default_rng(3)
    for trial in range(60):
        step = int(rng.integers(1, 7))
        frames = int(rng.integers(1, 60))
        cuts = sorted({0, *rng.integers(1, 60, int(rng.integers(0, 5))).tolist()})
        heads = {t: TrackPoint(t, (40.0 * t, 20, 40.0 * t + 24, 44), "face") for t in (1, 2, 3)}
        samples = [
            sample(i, i / 30, *(p for p in heads.values() if rng.random() < 0.6)) for i in range(0, frames, step)
        ]
        found = made_analysis(samples, frames, sampling=step, shots=tuple(Shot(b) for b in cuts))
        names = {t: TrackName(t, {1: "Ada", 2: "Ada", 3: "Bo"}[t], 0.9, 0.5, None, None, 3) for t in (1, 2, 3)}
        scene, by_index = Scene(found, names, [], MasksThroughCompression(), 1), {s.index: s for s in samples}
        spans = on_screen(found, names)
        for i in range(frames):
            near = {who for who, head in heads_at(scene, i, by_index).items() if head.near}
            said = {who for who, mine in spans.items() if any(s.begin <= i < s.end for s in mine)}
            assert near <= said, (trial, i)
            for who in said - near:  # only in a gap of one shot that a render may bridge
                begin, end = shot_around(cuts, i)
                tracks = {t for t, known in names.items() if known.name == who}
                known = [s.index for s in samples if begin <= s.index < end and tracks & {p.track for p in s.tracks}]
                before, after = [k for k in known if k < i], [k for k in known if k > i]
                assert before and after and after[0] - before[-1] <= max(1, 30 // step) * step, (trial, i)
        for mine in spans.values():
            assert all(a.end < b.begin for a, b in pairwise(mine))


@pytest.mark.parametrize("gap, shots, count", [(25, (0,), 1), (40, (0,), 2), (25, (0, 40), 2)])
def test_a_gap_that_a_render_may_bridge_is_none_and_a_cut_or_a_second_is_one(gap, shots, count):
    there = [*range(0, 31, 5), *range(30 + gap, 100, 5)]
    samples = [
        sample(i, i / 30, *([TrackPoint(1, (50, 50, 74, 74), "face")] if i in there else [])) for i in range(0, 100, 5)
    ]
    found = made_analysis(samples, 100, shots=tuple(Shot(b) for b in shots))
    spans = on_screen(found, {1: TrackName(1, "Ada", 0.9, 0.5, None, "Ada", 3)})["Ada"]
    assert len(spans) == count and spans[0].begin == 0 and spans[-1].end == 100


def test_strangers_have_spans_of_their_own_and_a_name_over_two_tracks_has_one():
    points = [TrackPoint(1, (50, 50, 74, 74), "face"), TrackPoint(7, (150, 50, 174, 74), "face")]
    samples = [
        sample(0, 0.0, *points),
        sample(5, 1 / 6, TrackPoint(2, (50, 50, 74, 74), "face"), points[1]),
    ]
    names = {t: TrackName(t, "Ada", 0.7 + t / 10, 0.5, None, "Ada", 3) for t in (1, 2)}
    spans = on_screen(made_analysis(samples, 10), names)
    assert spans["Ada"] == [Span("Ada", 0, 10, 0.0, pytest.approx(1 / 3), (1, 2), 0.9)]
    assert [s.end for s in spans[7]] == [10]
    assert HandOff(made_analysis(samples, 10), names).people == ["Ada"], "a stranger has no name to hand over"


# ---- files, each opened again


@pytest.fixture(scope="module")
def readers():
    """Puts the readers that scripts/setup.sh --dev installs apart within reach."""
    folder = Path(sys.prefix) / "readers"
    if not (folder / "otio_cmx3600_adapter").is_dir():
        pytest.skip("the readers of edit lists are not installed: scripts/setup.sh --dev")
    otio = pytest.importorskip("opentimelineio")
    sys.path.append(str(folder))
    otio.plugins.ActiveManifest(force_reload=True)
    yield otio.adapters
    sys.path.remove(str(folder))


def hard_names(job: HandOff) -> HandOff:
    """The same with a name that has everything that some format has a use for."""
    names = {t: replace(said, name=HARD) if said.name == "Ada" else said for t, said in job.names.items()}
    return replace(job, names=names)


def rows_of(path: Path) -> list[dict[str, str]]:
    """The rows of a table, as Python's own reader has them."""
    with path.open(encoding="utf-8-sig", newline="") as file:
        return list(csv.DictReader(file))


def markers_of(path: Path, rate: float) -> list[tuple[int, int, str, str]]:
    """(frame, length, colour, name) of every marker of an EDL, as its makers write them."""
    text = path.read_bytes().decode("utf-8")
    assert text.startswith("TITLE: ") and "FCM: " in text.split("\r\n")[1]
    found = []
    for match in re.finditer(
        r"^(\d{3,})  001      V     C        ((\S+) \S+ \3 \S+)  \r\n"
        r" \|C:ResolveColor(\w+) \|M:([^|\r\n]*) \|D:(\d+)\r\n",
        text, re.M,
    ):  # fmt: skip
        number, _, at, colour, name, length = match.groups()
        hours, minutes, seconds, frames = (int(v) for v in re.split("[:;]", at))
        base = round(rate)
        total = ((hours * 60 + minutes) * 60 + seconds) * base + frames
        if ";" in at:
            total -= base // 15 * (hours * 60 + minutes - (hours * 60 + minutes) // 10)
        assert int(number) == len(found) + 1
        found.append((total, int(length), colour, name))
    return found


def expected(job: HandOff, times: list[float]) -> list[tuple[str, float, float]]:
    """(name, from, to) by the decoded frames' own times."""
    ends = [*times, job.analysis.seconds]
    return [(str(s.who), ends[s.begin], ends[s.end]) for s in job.spans]


@pytest.mark.parametrize("kind", KINDS)
def test_edl_markers_are_at_the_times_of_the_frames(looked_at, tmp_path, kind):
    _, times, _, job = looked_at(kind)
    rate = float(job.base.rate)
    path = export("edl", hard_names(job), tmp_path)
    assert path.name == f"{kind}.edl"
    found = markers_of(path, rate)
    assert len(found) == 2 and found[0][2] != found[1][2]
    hour = 3600 * round(rate)
    for (at, length, _, _), (_, begin, end) in zip(found, expected(job, times), strict=True):
        assert abs((at - hour) / rate - begin) <= 0.5 / rate + 1e-3
        assert abs((at - hour + length) / rate - end) <= 0.5 / rate + 1e-3
    assert {name for *_, name in found} == {"원영 \"Vicky\" <b>¦M:x ¦D:9, {\\an8} 'ไทย' & co", "Bo"}


def test_people_who_come_in_one_frame_have_markers_in_frames_of_their_own(tmp_path):
    points = [TrackPoint(t, (50.0 * t, 50, 50.0 * t + 24, 74), "face") for t in (1, 2)]
    found = made_analysis([sample(0, 0.0, *points), sample(5, 1 / 6, *points)], 10)
    names = {t: TrackName(t, name, 0.9, 0.5, None, name, 3) for t, name in ((1, "Ada"), (2, "Bo"))}
    rows = markers_of(export("edl", HandOff(found, names), tmp_path), 30)
    assert [(at - 108000, length, name) for at, length, _, name in rows] == [(0, 10, "Ada"), (1, 9, "Bo")]


def test_a_source_in_drop_frame_is_counted_in_drop_frame(looked_at, tmp_path):
    _, _, found, job = looked_at("29.97")
    dropping = replace(found, header=found.header | {"timecode": "10:00:58;20"})
    job = replace(job, analysis=dropping)
    text = export("edl", job, tmp_path).read_text("utf-8")
    assert "FCM: DROP FRAME" in text and "01:00:00;08" in text
    rows = rows_of(export("csv", job, tmp_path))
    assert rows[0]["from_timecode"] == "10:00:58;28"  # frame 8
    assert rows[1]["to_timecode"] == "10:01:01;12"  # frame 80, past two numbers that are left out
    plain = rows_of(export("csv", replace(job, start="00:00:00:00"), tmp_path))
    assert plain[0]["from_timecode"] == "00:00:00:08"
    broken = replace(job, analysis=replace(found, header=found.header | {"timecode": "what?"}))
    assert broken.source_start == 0, "a source that says nonsense begins at midnight"


def cues_of(path: Path) -> list[tuple[float, float, str]]:
    """A small reader of SubRip: blocks apart by an empty line; number, times, text."""
    found = []
    for block in path.read_text("utf-8").strip().split("\n\n"):
        number, stamps, *text = block.split("\n")
        assert int(number) == len(found) + 1
        match = re.fullmatch(r"(\d\d):(\d\d):(\d\d),(\d{3}) --> (\d\d):(\d\d):(\d\d),(\d{3})", stamps)
        h, m, s, ms, h2, m2, s2, ms2 = (int(v) for v in match.groups())
        found.append((3600 * h + 60 * m + s + ms / 1000, 3600 * h2 + 60 * m2 + s2 + ms2 / 1000, "\n".join(text)))
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_subtitles_change_with_who_is_there(looked_at, tmp_path, kind):
    _, _, _, job = looked_at(kind)
    ada, bo = job.spans
    cues = cues_of(export("srt", job, tmp_path))
    wanted = [(ada.from_s, bo.from_s, "Ada"), (bo.from_s, ada.to_s, "Ada, Bo"), (ada.to_s, bo.to_s, "Bo")]
    for (begin, end, text), (a, b, names) in zip(cues, wanted, strict=True):
        assert (begin, end) == pytest.approx((a, b), abs=0.001) and text == names
    hard = cues_of(export("srt", hard_names(job), tmp_path))
    assert len(hard) == 3 and not re.search("[<>{}]|-->", "".join(text for *_, text in hard))


def test_subtitles_are_read_by_ffmpeg(looked_at, tmp_path):
    path = export("srt", hard_names(looked_at("25")[3]), tmp_path)
    with av.open(str(path)) as container:
        stamps = [(p.pts * p.time_base, p.duration * p.time_base) for p in container.demux() if p.size]
    assert [float(at) for at, _ in stamps] == pytest.approx([begin for begin, *_ in cues_of(path)])


def test_a_table_is_read_with_every_name_as_it_is_and_no_formula(looked_at, tmp_path):
    _, times, _, job = looked_at("30")
    path = export("csv", hard_names(job), tmp_path)
    assert path.read_bytes().startswith(b"\xef\xbb\xbf"), "what Excel knows UTF-8 by"
    rows = list(csv.DictReader(path.open(encoding="utf-8-sig", newline="")))
    assert {row["person"] for row in rows} == {HARD, "Bo"}
    for row, (_, begin, end) in zip(rows, expected(job, times), strict=True):
        assert float(row["from_seconds"]) == pytest.approx(begin, abs=1e-3)
        assert float(row["to_seconds"]) == pytest.approx(end, abs=1e-3)
        assert abs(times[int(row["from_frame"])] - begin) < 1e-6 and row["from_timecode"].startswith("00:00:0")
    evil = {t: replace(n, name='=HYPERLINK("x")') for t, n in job.names.items()}
    row = next(csv.DictReader(export("csv", replace(job, names=evil), tmp_path).open(encoding="utf-8-sig", newline="")))
    assert row["person"] == '\'=HYPERLINK("x")'


@pytest.mark.parametrize("kind", KINDS)
def test_final_cut_xml_has_the_structure_of_its_specification(looked_at, tmp_path, kind):
    video, times, found, job = looked_at(kind)
    path = export("fcpxml", hard_names(job), tmp_path)
    assert path.suffix == ".xml" and b"<!DOCTYPE xmeml>" in path.read_bytes()
    root = ET.parse(path).getroot()
    assert root.tag == "xmeml" and root.get("version") == "5"
    (sequence,) = root
    rate = float(job.base.rate)
    assert sequence.findtext("rate/timebase") == str(round(rate))
    assert sequence.findtext("rate/ntsc") == ("TRUE" if kind == "29.97" else "FALSE")
    assert int(sequence.findtext("duration")) == round(found.seconds * rate)
    item = sequence.find("media/video/track/clipitem")
    assert [int(item.findtext(k)) for k in ("start", "end", "in", "out")] == [0, job.length] * 2
    assert item.findtext("file/pathurl").startswith("file://localhost/")
    assert item.findtext("file/pathurl").endswith(video.name)
    markers = sequence.findall("marker")
    assert [m.findtext("name") for m in markers] == ["원영 \"Vicky\" <b>|M:x |D:9, {\\an8} 'ไทย' & co", "Bo"]
    for marker, (_, begin, end) in zip(markers, expected(job, times), strict=True):
        assert [child.tag for child in marker] == ["comment", "name", "in", "out"]
        assert abs(int(marker.findtext("in")) / rate - begin) <= 0.5 / rate + 1e-3
        assert abs(int(marker.findtext("out")) / rate - end) <= 0.5 / rate + 1e-3
    known = {"name", "duration", "rate", "timecode", "media", "marker"}
    assert {child.tag for child in sequence} <= known, "elements of a sequence, by the specification"


def timeline_in(readers, path: Path):
    """The one timeline of a file, by a reader of OpenTimelineIO."""
    read = readers.read_from_file(str(path))
    return read if hasattr(read, "tracks") else read[0]


def test_final_cut_xml_is_read_by_opentimelineio(looked_at, tmp_path, readers):
    job = looked_at("25")[3]
    markers = list(timeline_in(readers, export("fcpxml", job, tmp_path)).tracks.markers)
    assert [m.name for m in markers] == ["Ada", "Bo"]
    assert [(int(m.marked_range.start_time.value), int(m.marked_range.duration.value)) for m in markers] == [
        (s.begin, s.end - s.begin) for s in job.spans
    ]


@pytest.mark.parametrize("kind", KINDS)
def test_opentimelineio_reads_its_own(looked_at, tmp_path, kind):
    otio = pytest.importorskip("opentimelineio", reason='OpenTimelineIO files need: pip install "opentimelineio>=0.18"')
    video, times, found, job = looked_at(kind)
    timecoded = replace(job, analysis=replace(found, header=found.header | {"timecode": "10:00:00:00"}))
    timeline = otio.adapters.read_from_file(str(export("otio", hard_names(timecoded), tmp_path)))
    (clip,) = timeline.video_tracks()[0].find_clips()
    assert clip.media_reference.target_url == video.resolve().as_uri()
    rate = float(job.base.rate)
    first = 36000 * round(rate)
    assert clip.media_reference.available_range.start_time == otio.opentime.RationalTime(first, rate)
    for marker, (name, begin, end) in zip(clip.markers, expected(job, times), strict=True):
        span = marker.marked_range
        assert abs((span.start_time.value - first) / rate - begin) <= 0.5 / rate + 1e-3
        assert abs((span.end_time_exclusive().value - first) / rate - end) <= 0.5 / rate + 1e-3
        assert marker.metadata["identity_segmentation"]["person"] == (HARD if name == "Ada" else name)
    assert len({marker.color for marker in clip.markers}) == 2
    assert clip.visible_range().duration.value == job.length


def test_without_the_library_the_error_says_how_to_install_it(looked_at, tmp_path, monkeypatch, idseg):
    monkeypatch.setitem(sys.modules, "opentimelineio", None)
    found, job = looked_at("25")[2:]
    with pytest.raises(EngineUnavailable, match=r'pip install "opentimelineio>=0\.18"'):
        export("otio", job, tmp_path / "x")
    assert list((tmp_path / "x").iterdir()) == [], "nothing is left behind"
    status, _, err = idseg("tracks", found.path, "--export", "edl", "otio", "--to", tmp_path / "y")
    assert status == 1 and "pip install" in err and not (tmp_path / "y").exists(), "said before anything is written"
    assert idseg("tracks", found.path, "--export", "edl", "srt", "csv", "fcpxml", "--to", tmp_path / "y")[0] == 0


# ---- boxes for trainers


def test_mot_boxes_are_on_the_people_in_every_frame(looked_at, tmp_path):
    _, _, _, job = looked_at("25")
    folder = export("mot", hard_names(job), tmp_path)
    rows = np.loadtxt(folder / "gt" / "gt.txt", delimiter=",")
    assert rows.shape[1] == 9 and rows[:, 0].min() >= 1 and rows[:, 0].max() == 80
    names = {
        int(r["id"]): r["name"] for r in csv.DictReader((folder / "names.csv").open("r", encoding="utf-8", newline=""))
    }
    assert set(names.values()) == {HARD, "Bo"}
    heads = {"Bo": (240, 60)}
    for number, name in names.items():
        mine = rows[rows[:, 1] == number]
        span = job.everybody["Bo" if name == "Bo" else "Ada"][0]
        assert mine[:, 0].tolist() == list(range(span.begin + 1, span.end + 1)), "one row a frame"
        x, y = heads.get(name, (80, 60))
        box = np.array([x - 12, y - 12, x + 12, y + 12], float)
        found_boxes = mine[:, 2:6] - [1, 1, 0, 0]  # the format counts pixels from 1
        found_boxes[:, 2:] += found_boxes[:, :2]
        assert np.abs(found_boxes - box).max() < 0.6
    assert set(rows[:, 6]) == {1} and set(rows[:, 7]) == {1} and set(rows[:, 8]) == {1}
    info = configparser.ConfigParser()
    info.read(folder / "seqinfo.ini", encoding="utf-8")
    assert info["Sequence"]["seqLength"] == "80" and info["Sequence"]["frameRate"] == "25"
    assert (info["Sequence"]["imWidth"], info["Sequence"]["imHeight"]) == ("320", "240")
    assert "boxes_of" in (folder / "names.csv").read_text("utf-8").splitlines()[0]


def bodies(*known, step=5, frames=16):
    """An analysis in which Ada's head moves 2 pixels a frame; her body was found in some samples."""
    samples = []
    for i in range(0, frames, step):
        head = (50.0 + 2 * i, 20.0, 74.0 + 2 * i, 44.0)
        body = (30.0 + 2 * i, 10.0, 90.0 + 2 * i, 200.0)
        found = [(body, 1)] if i in known else []
        samples.append(sample(i, i / 30, TrackPoint(1, head, "face"), bodies=found))
    names = {1: TrackName(1, "Ada", 0.9, 0.5, None, "Ada", 3)}
    return HandOff(made_analysis(samples, frames, header={"detector": "d"}), names)


def test_bodies_between_samples_are_on_the_way_and_a_head_alone_is_no_sure_body():
    job = bodies(0, 10)  # at frame 5 only the head was seen, at 15 as well
    boxes = Boxes(job)
    assert boxes.kind == "bodies"
    here = list(boxes.of(job.spans[0]))
    assert [one.frame for one in here] == list(range(16))
    for one in here[:11]:
        assert one.box == pytest.approx((30 + 2 * one.frame, 10, 90 + 2 * one.frame, 200)) and one.sure
    assert not any(one.sure for one in here[11:]), "reckoned from the head: not to be counted"
    assert all(one.seen for one in here)


def test_somebody_who_is_only_thought_to_be_there_is_not_visible(tmp_path):
    face = TrackPoint(1, (50, 50, 74, 74), "face")
    samples = [sample(i, i / 30, *([face] if i != 10 else [])) for i in range(0, 25, 5)]
    job = HandOff(made_analysis(samples, 25), {1: TrackName(1, "Ada", 0.9, 0.5, None, "Ada", 3)})
    rows = np.loadtxt(export("mot", job, tmp_path) / "gt" / "gt.txt", delimiter=",")
    assert len(rows) == 25 and set(rows[(rows[:, 0] >= 7) & (rows[:, 0] <= 15), 8]) == {0.0}
    assert set(rows[(rows[:, 0] <= 6) | (rows[:, 0] >= 16), 8]) == {1.0}


def test_strangers_are_people_too_in_mot(tmp_path):
    points = [TrackPoint(t, (60.0 * t, 50, 60.0 * t + 24, 74), "face") for t in (1, 2)]
    job = HandOff(made_analysis([sample(0, 0.0, *points)], 3), {1: TrackName(1, "Ada", 0.9, 0.5, None, "Ada", 3)})
    folder = export("mot", job, tmp_path)
    assert (folder / "names.csv").read_text("utf-8").splitlines() == [
        "id,name,boxes_of,tracks",
        "1,Ada,heads,1",
        "2,,heads,2",
    ]
    assert set(np.loadtxt(folder / "gt" / "gt.txt", delimiter=",")[:, 1]) == {1, 2}


def test_mot_is_read_by_datumaro(looked_at, tmp_path):
    folder = Path(sys.prefix) / "readers"
    if not (folder / "datumaro").is_dir():
        pytest.skip("the readers of annotation formats are not installed: scripts/setup.sh --dev")
    sys.path.append(str(folder))
    try:
        from datumaro.plugins.data_formats.mot import MotSeqExtractor as Reader
    except ImportError:
        from datumaro.plugins.data_formats.mot import MotSeqBase as Reader
    finally:
        sys.path.remove(str(folder))
    job = looked_at("25")[3]
    made = export("mot", job, tmp_path)
    items = list(Reader(str(made / "gt" / "gt.txt")))
    assert sum(len(item.annotations) for item in items) == sum(s.end - s.begin for s in job.spans)


def test_video_instances_have_a_list_per_frame_and_the_masks_of_a_render(looked_at, tmp_path):
    from pycocotools import mask as coco

    _, _, _, job = looked_at("25")
    alone = json.loads(export("coco-video", hard_names(job), tmp_path).read_text("utf-8"))
    (video,) = alone["videos"]
    assert video["length"] == len(video["file_names"]) == 80 and (video["width"], video["height"]) == (320, 240)
    assert {c["name"] for c in alone["categories"]} == {HARD, "Bo"}
    assert alone["info"]["boxes"] == "heads"
    by_name = {
        c["name"]: next(a for a in alone["annotations"] if a["category_id"] == c["id"]) for c in alone["categories"]
    }
    span = job.everybody["Ada"][0]
    ada = by_name[HARD]
    assert [i for i, box in enumerate(ada["bboxes"]) if box is not None] == list(range(span.begin, span.end))
    assert ada["bboxes"][20] == pytest.approx([68, 48, 24, 24], abs=2) and set(ada["segmentations"]) == {None}
    # With the masks of a render, which has Ada alone:
    masks = {}
    for i in range(12, 15):
        masks[i] = np.zeros((240, 320), bool)
        masks[i][30:100, 40 + i : 60 + i] = True
    path = tmp_path / "out.mp4.masks.jsonl"
    path.write_text(
        "".join(
            json.dumps({"frame": i, "time": i / 25, "person": "Ada", **encode_rle(m)}) + "\n" for i, m in masks.items()
        )
    )
    with_masks = json.loads(export("coco-video", replace(job, masks=path), tmp_path).read_text("utf-8"))
    assert {a["category_id"] for a in with_masks["annotations"]} == {c["id"] for c in with_masks["categories"]}
    ada, bo = with_masks["annotations"]
    assert [i for i, code in enumerate(ada["segmentations"]) if code] == [12, 13, 14]
    for i, mask in masks.items():
        code = ada["segmentations"][i]
        read = coco.decode({"size": code["size"], "counts": code["counts"].encode()})
        assert (read > 0).tolist() == mask.tolist() and ada["areas"][i] == mask.sum()
        assert ada["bboxes"][i] == [40 + i, 30, 20, 70]
    assert (
        len([b for b in ada["bboxes"] if b]) == 3
        and len([b for b in bo["bboxes"] if b]) == 80 - job.everybody["Bo"][0].begin
    )
    path.write_text('{"frame": 1}\n')
    with pytest.raises(InputError, match="--masks"):
        export("coco-video", replace(job, masks=path), tmp_path)


# ---- cuts


def test_parts_have_handles_and_are_one_where_they_touch_and_stay_within_the_video():
    found = made_analysis([sample(i, i / 30) for i in range(0, 100, 5)], 100, 100 / 30)

    def span(begin, end):
        return Span("Ada", begin, end, begin / 30, end / 30, (1,), 0.9)

    assert parts_of(found, [span(20, 30)]) == (Part(14, 36),)
    assert parts_of(found, [span(20, 30)], 0) == (Part(20, 30),)
    assert parts_of(found, [span(42, 60), span(20, 30)]) == (Part(14, 66),), "36 and 36: they touch"
    assert parts_of(found, [span(20, 30), span(43, 60)]) == (Part(14, 36), Part(37, 66))
    assert parts_of(found, [span(0, 30), span(90, 100)], 1.0) == (Part(0, 100),)
    assert parts_of(found, [span(2, 3), span(98, 100)]) == (Part(0, 9), Part(92, 100))
    for handle in (-1, 61, float("nan")):
        with pytest.raises(InputError, match="0 to 60 seconds"):
            parts_of(found, [span(0, 1)], handle)


def test_a_cut_is_read_by_the_readers_of_edit_lists(looked_at, tmp_path, readers):
    video, _, found, job = looked_at("25")
    found = replace(found, header=found.header | {"timecode": "10:00:00:00", "sound": False})
    job = replace(hard_names(replace(job, analysis=found)), person=HARD, parts=(Part(4, 44), Part(60, 80)))
    edl = export("edl", job, tmp_path)
    assert edl.name.startswith("25.원영") and "\n" not in edl.name and "<" not in edl.name
    clips = list(readers.read_from_file(str(edl), rate=25).find_clips())
    assert [c.name for c in clips] == [video.name] * 2
    ranges = [(int(c.source_range.start_time.value), int(c.source_range.duration.value)) for c in clips]
    assert ranges == [(900004, 40), (900060, 20)]
    assert re.findall(r"C +\S+ \S+ (\S+ \S+)", edl.read_text("utf-8")) == [
        "01:00:00:00 01:00:01:15", "01:00:01:15 01:00:02:10",
    ]  # fmt: skip
    timeline = timeline_in(readers, export("otio", job, tmp_path))
    assert [
        (int(c.source_range.start_time.value), int(c.source_range.duration.value)) for c in timeline.find_clips()
    ] == ranges
    xml = export("fcpxml", job, tmp_path)
    items = ET.parse(xml).getroot().findall("sequence/media/video/track/clipitem")
    places = [[int(item.findtext(k)) for k in ("start", "end", "in", "out")] for item in items]
    assert places == [[0, 40, 4, 44], [40, 60, 60, 80]]
    assert [int(c.source_range.duration.value) for c in timeline_in(readers, xml).find_clips()] == [40, 20]
    with pytest.raises(InputError, match="holds a cut, one of edl, fcpxml, otio"):
        export("srt", job, tmp_path)


RATE = 32000


def sounding(path, times, rate=Fraction(25), late=0):
    """A video whose frames say their number, with noise that no two places share; the pictures begin so many
    thousandths of a second after the sound, and have B-frames. Returns the noise."""
    noise = (np.random.default_rng(5).normal(size=int(RATE * ((times[-1] + late) / 1000 + 0.5))) * 6000).clip(
        -32000, 32000
    )
    noise = cv2.GaussianBlur(noise[None].astype(np.float32), (9, 1), 0)[0].astype(np.int16)
    with av.open(str(path), "w") as out:
        stream = out.add_stream("libx264", rate=rate, options={"crf": "10", "preset": "veryfast", "bf": "2"})
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.codec_context.time_base = Fraction(1, 1000)
        tone = out.add_stream("aac", rate=RATE, layout="mono")
        tone.bit_rate = 256_000
        for number, at in enumerate(times):
            frame = av.VideoFrame.from_ndarray(numbered_picture(number), format="bgr24")
            frame.pts, frame.time_base = at + late, Fraction(1, 1000)
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
        for start in range(0, len(noise) - 1024, 1024):
            part = av.AudioFrame.from_ndarray(noise[None, start : start + 1024], format="s16", layout="mono")
            part.sample_rate, part.pts, part.time_base = RATE, start, Fraction(1, RATE)
            out.mux(tone.encode(part))
        out.mux(tone.encode(None))
    return noise


def numbered_picture(number: int) -> np.ndarray:
    """Bits of a number as blocks."""
    image = np.zeros((48, 64, 3), np.uint8)
    for bit in range(8):
        image[:, 8 * bit : 8 * bit + 8] = 220 if number >> bit & 1 else 30
    return image


def numbers_in(path) -> tuple[list[int], list[float]]:
    """(numbers of the pictures, their times) of a video, and nothing of ours between."""
    numbers, times = [], []
    with av.open(str(path)) as container:
        for frame in container.decode(video=0):
            row = frame.to_ndarray(format="gray")[24]
            numbers.append(sum((row[8 * bit + 4] > 120) << bit for bit in range(8)))
            times.append(float(frame.pts * frame.time_base))
    return numbers, times


def sound_of(path) -> tuple[np.ndarray, int, float]:
    """(samples, rate, seconds at which they begin)."""
    with av.open(str(path)) as container:
        frames = list(container.decode(audio=0))
        resampler = av.AudioResampler(format="fltp", layout="mono")
        samples = [part.to_ndarray()[0] for frame in frames for part in resampler.resample(frame)]
        return np.concatenate(samples), frames[0].sample_rate, float(frames[0].pts * frames[0].time_base)


def lag(heard: np.ndarray, wanted: np.ndarray, most: int) -> int:
    """By how many samples one sound is later than another."""
    size = 1 << (len(heard) + len(wanted)).bit_length()
    both = np.fft.irfft(np.fft.rfft(heard, size) * np.conj(np.fft.rfft(wanted.astype(np.float64), size)), size)
    both = np.concatenate([both[-most:], both[: most + 1]])
    return int(both.argmax()) - most


@pytest.mark.parametrize(
    "suffix, source, late",
    [(".mp4", "mp4", 0), (".mp4", "mkv", 0), (".mp4", "mkv", 300), (".mov", "mp4", 0), (".webm", "mp4", 0)],
)
def test_a_cut_video_has_the_very_frames_and_their_sound(tmp_path, suffix, source, late):
    times = [40 * i for i in range(100)] if source == "mp4" else SLOWS_DOWN
    noise = sounding(tmp_path / f"in.{source}", times, Fraction(25) if source == "mp4" else Fraction(30), late)
    out = tmp_path / f"cut{suffix}"
    parts = (Part(5, 20), Part(33, 34), Part(50, 71))
    told = []
    length = cut_video(tmp_path / f"in.{source}", out, parts, lambda done, total: told.append((done, total)))
    numbers, shown = numbers_in(out)
    assert numbers == [*range(5, 20), 33, *range(50, 71)], "the very frames"
    assert told[-1][0] <= told[-1][1] == 71
    place, heard_at = 0.0, sound_of(out)
    samples, rate, begins = heard_at
    at = 0
    for part in parts:
        begin, end = times[part.begin] / 1000, times[part.end] / 1000
        for k in range(part.begin, part.end):
            assert shown[at] - shown[0] == pytest.approx(place + times[k] / 1000 - begin, abs=0.002)
            at += 1
        if end - begin > 0.3:
            wanted = noise[round((begin + late / 1000) * RATE) : round((end + late / 1000) * RATE)]
            if rate != RATE:
                wanted = np.interp(np.arange(0, len(wanted), RATE / rate), np.arange(len(wanted)), wanted)
            first = round((place - begins + shown[0]) * rate)
            heard = samples[max(0, first) : first + len(wanted)]
            assert abs(lag(heard, wanted, rate // 10) / rate) <= 0.005, "sound and picture are together"
        place += end - begin
    assert length == pytest.approx(place, abs=1e-6)
    assert len(samples) / rate == pytest.approx(place, abs=0.07)
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith(".")] == [], "nothing is left behind"


def test_a_cut_goes_to_the_end_of_a_video_and_a_silent_one_stays_silent(tmp_path):
    make_video(tmp_path / "in.mp4", [numbered_picture(i) for i in range(30)])
    assert cut_video(tmp_path / "in.mp4", tmp_path / "cut.mp4", [Part(20, 30)]) == pytest.approx(0.4)
    assert numbers_in(tmp_path / "cut.mp4")[0] == list(range(20, 30))
    with av.open(str(tmp_path / "cut.mp4")) as container:
        assert not container.streams.audio


def test_a_cut_that_cannot_be_made_leaves_what_is_there(tmp_path):
    import threading

    path = make_video(tmp_path / "in.mp4", [numbered_picture(i) for i in range(10)])
    before = path.read_bytes()
    out = tmp_path / "cut.mp4"
    out.write_bytes(b"somebody's")
    stop = threading.Event()
    stop.set()
    for wrong, kind, parts, more in (
        (path, InputError, [Part(0, 5)], {}), (out, VideoError, [Part(2, 3), Part(20, 25)], {}),
        (out, InputError, [], {}),
        (tmp_path / "x.avi", InputError, [Part(0, 5)], {}), (out, Cancelled, [Part(0, 5)], {"cancel": stop}),
    ):  # fmt: skip
        with pytest.raises(kind):
            cut_video(path, wrong, parts, **more)
    assert path.read_bytes() == before and out.read_bytes() == b"somebody's"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["cut.mp4", "in.mp4"]


# ---- the command line


def test_the_command_writes_every_format_and_never_over_one(looked_at, idseg, tmp_path, monkeypatch):
    pytest.importorskip("opentimelineio")
    monkeypatch.chdir(tmp_path)
    video, _, found, _ = looked_at("25")
    status, out, _ = idseg("tracks", found.path, "--source", video, "--export", *FORMATS, "--to", "x", "--json")
    said = json.loads(out)
    assert status == 0 and list(said["files"]) == list(FORMATS)
    assert all(Path(path).exists() for path in said["files"].values())
    assert [(row["person"], row["spans"]) for row in said["on_screen"]] == [("Ada", 1), ("Bo", 1)]
    assert said["on_screen"][0]["seconds"] == pytest.approx(1.2, abs=0.1)
    first = Path(said["files"]["csv"])
    first.write_text("by hand")
    assert idseg("tracks", found.path, "--source", video, "--export", "csv", "--to", "x")[0] == 0
    assert first.read_text() == "by hand" and (tmp_path / "x/25-2.csv").is_file()
    status, out, _ = idseg("tracks", found.path, "--export", "edl", "--start", "10:00:00:00", "--to", "y")
    assert status == 0 and "Ada: 1.2 s on screen, 1 time(s)" in out
    assert "10:00:00:08" in (tmp_path / "y/25.edl").read_text("utf-8")


def test_the_command_cuts_somebody_out(looked_at, idseg, tmp_path):
    video, _, found, _ = looked_at("25")
    status, out, err = idseg(
        "tracks", found.path, "--source", video, "--cut", "ada", "--to", tmp_path,
        "--cut-video", tmp_path / "a.mp4",
        "--export", "edl", "--handle", "0", "--json",
    )  # fmt: skip
    said = json.loads(out)
    assert status == 0 and set(said["files"]) == {"edl", "video"}, err
    ((begin, end),) = said["parts"]
    assert len(times_of(tmp_path / "a.mp4")) == end - begin
    assert "001  AX       V     C        00:00:00:08" in (tmp_path / "25.Ada.edl").read_text("utf-8")


def test_the_command_refuses_what_it_cannot_do_before_anything_is_written(looked_at, idseg, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    _, _, found, _ = looked_at("25")
    for status, text, words in (
        (1, "did you mean 'Ada'", ["--cut", "Adda"]),
        (3, "Cy is never on screen", ["--cut", "Cy"]),
        (1, "expected --cut NAME", ["--cut-video", "x.mp4"]),
        (1, "expected --cut NAME", ["--handle", "1", "--export", "edl"]),
        (1, "expected --export FORMAT", ["--to", "x"]),
        (1, "not both", ["--export", "edl", "--review"]),
        (1, "holds a cut", ["--cut", "Ada", "--export", "srt"]),
        (1, "expected --source VIDEO", ["--cut", "Ada", "--cut-video", "x.mp4"]),
        (1, "is not the video that was analysed", ["--export", "edl", "--source", found.path]),
        (1, "HH:MM:SS:FF", ["--export", "edl", "--start", "1 o'clock"]),
        (1, "never dropped", ["--export", "edl", "--start", "01:00:00;00"]),
        (1, "0 to 60 seconds", ["--cut", "Ada", "--handle", "99"]),
    ):  # fmt: skip
        done, _, err = idseg("tracks", found.path, *words)
        assert done == status and text in err, (words, done, err)
    status, _, err = idseg("tracks", tmp_path / "nothing.mp4", "--export", "edl")
    assert status == 1 and "idseg analyse VIDEO" in err
    assert list(tmp_path.iterdir()) == [] and not Path(f"{found.path}.handoff").exists()


def test_a_followed_box_has_the_spans_of_what_it_was_called(pipeline, idseg, tmp_path):
    path = make_video(tmp_path / "in.mp4", film(30, range(30), range(0)))
    pipeline.process_video(path, tmp_path / "out.mp4", "the dancer", 5, view="overlay", box=[56, 48, 104, 180])
    status, out, err = idseg("tracks", tmp_path / "out.mp4", "--export", "csv", "mot", "--json")
    assert status == 0, err
    said = json.loads(out)
    (row,) = rows_of(Path(said["files"]["csv"]))
    assert (row["person"], row["from_frame"], row["to_frame"]) == ("the dancer", "0", "30")
    assert "1,the dancer,the thing that was followed,1" in (Path(said["files"]["mot"]) / "names.csv").read_text("utf-8")
    assert "did you mean 'the dancer'" in idseg("tracks", tmp_path / "out.mp4", "--cut", "dancer")[2]
    assert idseg("tracks", tmp_path / "out.mp4", "--cut", "the dancer")[0] == 0
    found = read_analysis(tmp_path / "out.mp4.analysis.jsonl")
    assert listed(found, pipeline.track_names(found)) and found.seconds == pytest.approx(1.2, abs=0.001)

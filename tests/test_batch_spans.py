"""A long video in spans: each rendered alone, joined to the very bytes of one run, whatever was killed in between."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from fakes import PEOPLE, draw
from test_video import make_video, people, walk  # noqa: F401  (people is a fixture)

from identity_segmentation.batch.places import Folder
from identity_segmentation.batch.spans import (
    Following,
    do_join,
    do_look,
    do_span,
    drop_parts,
    is_long,
    parts_of,
    plan_spans,
)
from identity_segmentation.batch.units import Outcome, Source, Unit
from identity_segmentation.errors import InputError
from identity_segmentation.video import render as rendering
from identity_segmentation.video.partial import work_of
from identity_segmentation.video.render import RenderSettings

KEY = "0123456789abcdef0123456789abcdef"
FRAMES = 40


@pytest.fixture
def source(tmp_path, monkeypatch) -> Path:
    """1.6 seconds of two people, with sound; a segment is 0.4 seconds here."""
    monkeypatch.setattr(rendering, "_SEGMENT_SECONDS", 0.4)
    return make_video(tmp_path / "clip.mp4", walk(FRAMES), sound=True)


def files(folder: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in folder.iterdir() if p.is_file() and not p.is_symlink()}


def in_parts(pipeline, source, scratch, place, name, ask, order=None):
    """Look, spans (in the order given) and join, each in a folder of its own, as on several machines."""
    spans = do_look(pipeline, source, scratch / "look" / name, place, KEY, 0.8, ask)
    for number in order or range(len(spans)):
        do_span(pipeline, source, scratch / f"span{number}" / name, place, KEY, spans[number], ask)
    return spans, do_join(pipeline, source, scratch / "join" / name, place, KEY, ask)


@pytest.mark.parametrize(
    ("name", "look"),
    [
        ("out.mp4", {"view": "overlay", "masks": True}),
        ("out.mp4", {"view": "anonymise"}),
        ("out.webm", {"view": "cutout", "per_person": True}),
    ],
)
def test_spans_rendered_apart_and_in_any_order_join_to_the_bytes_of_one_run(people, source, tmp_path, name, look):  # noqa: F811
    ask = {"settings": RenderSettings(**look)}
    whole = people.process_video(source, tmp_path / "whole" / name, **ask)
    place = Folder(tmp_path / "dest")
    spans, joined = in_parts(people, source, tmp_path / "scratch", place, name, ask, order=[1, 0])
    assert spans == [[0, 1], [2, 3]]
    expected, got = files(tmp_path / "whole"), files(tmp_path / "scratch" / "join")
    if look["view"] == "anonymise":  # its record has the time of the file's last change
        record = "out.mp4.covers.jsonl"
        assert expected.pop(record).splitlines()[1:] == got.pop(record).splitlines()[1:]
    assert got == expected and len(got) >= 1
    assert (joined.frames, joined.seconds, joined.on_screen) == (whole.frames, whole.seconds, whole.on_screen)
    assert joined.coverage == whole.coverage and joined.review == whole.review and joined.remarks == whole.remarks
    drop_parts(place, KEY)
    assert not list(place.names())


def test_pictures_in_a_folder_are_joined_too(people, source, tmp_path):  # noqa: F811
    ask = {"settings": RenderSettings(view="overlay")}
    people.process_video(source, tmp_path / "whole" / "frames", **ask)
    in_parts(people, source, tmp_path / "scratch", Folder(tmp_path / "dest"), "frames", ask)
    assert files(tmp_path / "scratch" / "join" / "frames") == files(tmp_path / "whole" / "frames")
    assert len(files(tmp_path / "whole" / "frames")) == FRAMES


def test_a_span_renders_its_own_segments_alone_and_hands_nothing_over(people, source, tmp_path):  # noqa: F811
    output = tmp_path / "a" / "out.mp4"
    people.process_video(source, output, only=range(2, 3))
    assert sorted(p.name for p in work_of(output).glob("*.done")) == ["00000020.done"]
    assert not output.exists()
    with pytest.raises(InputError, match="segments from 0 to 3, got 3 to 4"):
        people.process_video(source, output, only=range(3, 5))


def test_nothing_is_done_twice_and_a_lost_span_is_made_by_whoever_joins(people, source, tmp_path):  # noqa: F811
    ask = {"settings": RenderSettings(view="overlay")}
    whole = tmp_path / "whole" / "out.mp4"
    people.process_video(source, whole, **ask)
    place = Folder(tmp_path / "dest")
    spans = do_look(people, source, tmp_path / "1" / "out.mp4", place, KEY, 0.8, ask)
    do_span(people, source, tmp_path / "2" / "out.mp4", place, KEY, spans[0], ask)

    class Nobody:
        def process_video(self, *given, **asked):
            raise AssertionError("it lies there already")

    assert do_look(Nobody(), source, tmp_path / "3" / "out.mp4", place, KEY, 0.8, ask) == spans
    do_span(Nobody(), source, tmp_path / "3" / "out.mp4", place, KEY, spans[0], ask)
    # A worker that was killed while it put its segments there: no mark, and a segment without its end.
    do_span(people, source, tmp_path / "4" / "out.mp4", place, KEY, spans[1], ask)
    place.delete(f"{parts_of(KEY)}/spans/000002-000003.json")
    place.delete(f"{parts_of(KEY)}/work/00000030.done")
    place.write(f"{parts_of(KEY)}/work/00000030.mp4", b"half")
    do_join(people, source, tmp_path / "5" / "out.mp4", place, KEY, ask)
    assert (tmp_path / "5" / "out.mp4").read_bytes() == whole.read_bytes()


def test_segments_of_another_question_are_not_joined(people, source, tmp_path):  # noqa: F811
    place = Folder(tmp_path / "dest")
    in_parts(people, source, tmp_path / "scratch", place, "out.mp4", {"settings": RenderSettings(view="overlay")})
    ask = {"settings": RenderSettings(view="silhouette" if "silhouette" in rendering.VIEWS else "cutout")}
    whole = tmp_path / "whole" / "out.mp4"
    people.process_video(source, whole, **ask)
    do_join(people, source, tmp_path / "other" / "out.mp4", place, KEY, ask)
    assert (tmp_path / "other" / "out.mp4").read_bytes() == whole.read_bytes()


def test_a_span_before_anybody_has_looked_is_refused(people, source, tmp_path):  # noqa: F811
    with pytest.raises(InputError, match="run the same command again"):
        do_span(people, source, tmp_path / "1" / "out.mp4", Folder(tmp_path / "dest"), KEY, (0, 1), {})


def test_spans_cover_all_segments_once_and_are_about_as_long_as_each_other():
    for segments in range(1, 40):
        for per_span in range(1, 12):
            spans = plan_spans(segments, per_span)
            assert [n for first, last in spans for n in range(first, last + 1)] == list(range(segments))
            lengths = [last - first + 1 for first, last in spans]
            assert max(lengths) <= per_span and max(lengths) - min(lengths) <= 1
    with pytest.raises(InputError):
        plan_spans(0, 3)


def test_only_a_video_longer_than_a_span_and_a_half_is_shared_out(tmp_path):
    clip = make_video(tmp_path / "clip.mp4", [draw((PEOPLE["Ada"], 60, 60))] * 25)
    assert is_long(clip, 0.6) and not is_long(clip, 0.7) and not is_long(clip, 0)


def test_spans_follow_the_look_and_the_join_follows_the_last_span():
    follow, unit = Following(), Unit(KEY, Source("a.mp4", "1", "a"), tries=2)
    done = Outcome("done")
    spans = follow.after(unit, Outcome("done", {"spans": [[0, 1], [2, 3]]}))
    assert [(u.part, u.span, u.tries) for u in spans] == [("span", (0, 1), 0), ("span", (2, 3), 0)]
    assert json.loads(spans[1].as_json())["span"] == [2, 3] and Unit.from_json(spans[1].as_json()) == spans[1]
    assert follow.after(spans[1], done) == [] and follow.is_open(KEY)
    [join] = follow.after(spans[0], done)
    assert (join.part, join.span, join.key) == ("join", None, KEY) and follow.is_open(KEY)
    assert follow.after(join, done) == [] and not follow.is_open(KEY)
    follow.after(unit, Outcome("done", {"spans": [[0, 1], [2, 3]]}))
    assert follow.after(spans[0], Outcome("failed")) == [] and not follow.is_open(KEY)
    assert follow.after(spans[1], done) == []  # the key was put aside: no join
    assert follow.after(unit, Outcome("done", {"seconds": 1.0})) == []  # a short one

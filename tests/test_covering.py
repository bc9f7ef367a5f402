"""Nobody is bare for a frame: heads followed over time, and whose are covered."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from fakes import BACKGROUND, PEOPLE, draw
from test_video import ADA, BO, SeesThroughCompression, clip, make_video, people, pictures  # noqa: F401

from identity_segmentation import IdentityAwareSegmentation
from identity_segmentation.errors import Cancelled, InputError
from identity_segmentation.masks.heads import HeadSearch
from identity_segmentation.video.analysis import Analysis
from identity_segmentation.video.headwatch import STEP, box_at, watch
from identity_segmentation.video.shots import Shot

CY = PEOPLE["Cy"]
RATE = 25
ONE_SHOT = (Shot(0, "begin"),)


class Told:
    """Looks for heads by a list: frame -> boxes. It is asked for every second frame, in order."""

    id = "told"

    def __init__(self, boxes):
        self.boxes, self.calls = boxes, 0

    def find(self, image_bgr, expected=()):
        found = self.boxes.get(STEP * self.calls, [])
        self.calls += 1
        return [SimpleNamespace(box=np.array(box, np.float32)) for box in found]

    quick = find


def textured(x, y, size=(240, 320), seed=1):
    """A picture of which only a patch of noise at a place can be followed."""
    image = np.full((*size, 3), 90, np.uint8)
    patch = np.random.default_rng(seed).integers(0, 255, (60, 60, 3), np.uint8)
    image[y : y + 60, x : x + 60] = np.repeat(np.repeat(patch[::4, ::4], 4, 0), 4, 1)
    return image


def film(tmp_path, frames, shots=ONE_SHOT):
    path = make_video(tmp_path / "film.mp4", frames)
    header = {
        "fps": [RATE, 1], "sampling": 5, "width": 320, "height": 240, "sha256": "0" * 64, "source": "film.mp4",
        "people": [],
    }  # fmt: skip
    return path, Analysis(tmp_path / "film", header, (), frames=len(frames), total_s=len(frames) / RATE, shots=shots)


def frames_of(heads, count):
    return [i for i in range(count) if heads.at(i)]


def place(i):
    return (40 + 3 * i, 60)


def box(i):
    x, y = place(i)
    return (x, y, x + 60, y + 60)


def test_a_head_that_is_missed_for_a_while_is_there_in_every_frame_and_at_its_place(tmp_path):
    path, analysis = film(tmp_path, [textured(*place(i)) for i in range(50)])
    seen = {i: [box(i)] for i in range(0, 50, 2) if not 14 <= i < 34}
    heads = watch(path, Told(seen), analysis, tmp_path / "h.jsonl")
    assert len(heads.chains) == 1 and frames_of(heads, 50) == list(range(50))
    for i in range(50):
        found = heads.at(i)[0][1]
        assert np.abs((found[:2] + found[2:]) / 2 - np.array([70 + 3 * i, 90])).max() < 8, i


def test_what_is_seen_once_is_covered_before_and_after_and_follows_the_picture(tmp_path):
    path, analysis = film(tmp_path, [textured(*place(i)) for i in range(60)])
    heads = watch(path, Told({30: [box(30)]}), analysis, tmp_path / "h.jsonl", margin=0.4)
    there = frames_of(heads, 60)
    assert there == list(range(there[0], there[-1] + 1)) and there[0] <= 20 and 40 <= there[-1] <= 44
    for i in there:
        found = heads.at(i)[0][1]
        assert np.abs((found[:2] + found[2:]) / 2 - np.array([70 + 3 * i, 90])).max() < 10, i
    alone = watch(path, Told({30: [box(30)]}), analysis, tmp_path / "none.jsonl", margin=0)
    assert frames_of(alone, 60) == [30]


def test_nothing_goes_over_a_cut_and_both_shots_are_covered_while_they_are_mixed(tmp_path):
    images = [textured(*place(i)) if i < 20 else textured(200, 20, seed=3) for i in range(40)]
    seen = {i: [box(i)] for i in range(0, 20, 2)} | {i: [(200, 20, 260, 80)] for i in range(20, 40, 2)}
    path, cut = film(tmp_path, images, (Shot(0, "begin"), Shot(20, "cut")))
    heads = watch(path, Told(seen), cut, tmp_path / "cut.jsonl")
    assert len(heads.chains) == 2 and all(len(heads.at(i)) == 1 for i in range(40))
    assert heads.at(19)[0][0] is not heads.at(20)[0][0]
    path, mixed = film(tmp_path, images, (Shot(0, "begin"), Shot(20, "dissolve", (15, 25))))
    heads = watch(path, Told(seen), mixed, tmp_path / "mixed.jsonl")
    assert [len(heads.at(i)) for i in range(40)] == [1] * 15 + [2] * 10 + [1] * 15


def test_the_first_and_the_last_frames_of_a_shot_are_not_left_out(tmp_path):
    """Of an odd number of frames the last one is looked at by nobody; a head is first seen in the fourth."""
    images = [textured(*place(i)) for i in range(29)]
    path, analysis = film(tmp_path, images)
    heads = watch(path, Told({i: [box(i)] for i in range(4, 24, 2)}), analysis, tmp_path / "h.jsonl")
    assert frames_of(heads, 29) == list(range(29))


def test_heads_of_two_people_who_pass_each_other_are_both_covered(tmp_path):
    images, seen = [], {}
    for i in range(40):
        image = textured(20 + 5 * i, 40)
        image[120:180, 220 - 5 * i : 280 - 5 * i] = textured(0, 0, seed=9)[:60, :60]
        images.append(image)
        seen[i] = [(20 + 5 * i, 40, 80 + 5 * i, 100), (220 - 5 * i, 120, 280 - 5 * i, 180)]
    path, analysis = film(tmp_path, images)
    heads = watch(path, Told(seen), analysis, tmp_path / "h.jsonl")
    for i in range(40):
        middles = [(b[:2] + b[2:]) / 2 for _, b in heads.at(i)]
        for want in ((50 + 5 * i, 70), (250 - 5 * i, 150)):
            assert min(np.abs(m - want).max() for m in middles) < 12, (i, want)


def test_what_was_found_is_read_again_and_a_stop_is_obeyed(tmp_path):
    import threading

    path, analysis = film(tmp_path, [textured(*place(i)) for i in range(20)])
    search = Told({i: [np.array(box(i)) + i / 3] for i in range(0, 20, 2)})
    first = watch(path, search, analysis, tmp_path / "h.jsonl")
    again = watch(path, search, analysis, tmp_path / "h.jsonl")
    assert search.calls == 10 and again.looked == first.looked == 10
    for i in range(20):
        # To the last digit: a render that goes on after a kill reads them, and has to cover the same pixels.
        assert [b.tolist() for _, b in again.at(i)] == [b.tolist() for _, b in first.at(i)]
    watch(path, search, analysis, tmp_path / "h.jsonl", margin=1.0)
    assert search.calls == 20, "another margin is another question"
    stop = threading.Event()
    stop.set()
    with pytest.raises(Cancelled):
        watch(path, search, analysis, tmp_path / "other.jsonl", cancel=stop)
    assert not (tmp_path / "other.jsonl").exists()
    (tmp_path / "h.jsonl").write_text("{}\n")
    assert len(watch(path, Told({0: [box(0)]}), analysis, tmp_path / "h.jsonl").chains) == 1


def test_a_box_between_two_looks_is_on_the_way(tmp_path):
    path, analysis = film(tmp_path, [textured(*place(i)) for i in range(10)])
    heads = watch(path, Told({i: [box(i)] for i in range(0, 10, 2)}), analysis, tmp_path / "h.jsonl")
    assert box_at(heads.chains[0], 3) == pytest.approx(np.array(box(3), np.float32))
    assert box_at(heads.chains[0], 999) is None


# ---- whose heads


def striped(*folk):
    """A picture of people over a pattern, and the people with a pattern on their faces that lossless coding keeps."""
    image = draw(*folk)
    image[::4][(image[::4] == BACKGROUND).all(-1)] = (90, 90, 90)
    return image


def bare(source, result, x, y):
    """Is a head as it was, at a place? The share of its surroundings' stripes that are left."""
    a, b = (im[y - 16 : y + 16, x - 16 : x + 16].astype(float) for im in (source, result))
    return np.abs(a - b).mean() < 4


def rendered(pipeline, path, tmp_path, **asked):
    report = pipeline.process_video(path, tmp_path / "out.mp4", fresh=True, overwrite=True, **asked)
    return report, pictures(tmp_path / "out.mp4")


@pytest.fixture(autouse=True)
def faces_alone(monkeypatch):
    """Drawn people have no bodies that a real detector would see: only their faces are looked for."""
    monkeypatch.setattr(IdentityAwareSegmentation, "head_search", lambda pipeline: HeadSearch(pipeline.face_engine))


@pytest.fixture
def three(tmp_path):
    """Ada walks, Bo stands, and a stranger stands at the right."""
    frames = [striped((ADA, 50 + 2 * i, 60), (BO, 200, 60), (CY, 280, 60)) for i in range(30)]
    return make_video(tmp_path / "three.mp4", frames), frames


def test_anonymise_covers_everybody_and_needs_nobody_on_file(three, tmp_path):
    path, frames = three
    pipeline = IdentityAwareSegmentation(SeesThroughCompression(), "embedded", gallery=tmp_path / "none")
    report, shown = rendered(pipeline, path, tmp_path, view="anonymise")
    for i, (a, b) in enumerate(zip(frames, shown, strict=True)):
        for x in (50 + 2 * i, 200, 280):
            assert not bare(a, b, x, 60), (i, x)
    assert "covers" in report.files and not (tmp_path / "none").exists()


def test_blur_others_leaves_open_who_is_to_be_seen_and_nobody_else(people, three, tmp_path):  # noqa: F811
    path, frames = three
    _, shown = rendered(people, path, tmp_path, target_member="Ada", view="blur-others", bodies=False)
    for i, (a, b) in enumerate(zip(frames, shown, strict=True)):
        face = np.s_[48:72, 38 + 2 * i : 62 + 2 * i]
        assert np.abs(a[face].astype(float) - b[face]).mean() < 6, f"her face is covered in frame {i}"
        assert not bare(a, b, 200, 60) and not bare(a, b, 280, 60), i


def test_blur_covers_every_face_that_may_be_hers_a_mirror_too(people, tmp_path):  # noqa: F811
    frames = [striped((ADA, 60, 60), (ADA, 250, 60), (BO, 160, 60)) for _ in range(20)]
    path = make_video(tmp_path / "mirror.mp4", frames)
    _, shown = rendered(people, path, tmp_path, target_member="Ada", view="blur", bodies=False)
    for a, b in zip(frames, shown, strict=True):
        assert not bare(a, b, 60, 60) and not bare(a, b, 250, 60)
        assert bare(a, b, 160, 60), "Bo is surely somebody else"


@pytest.mark.parametrize("way", ["blur", "mosaic", "solid", "ellipse"])
def test_every_way_covers(people, three, tmp_path, way):  # noqa: F811
    path, frames = three
    _, shown = rendered(people, path, tmp_path, target_member="Bo", view="blur", way=way)
    assert all(not bare(a, b, 200, 60) for a, b in zip(frames, shown, strict=True))


def test_a_picture_without_people_stays_as_it_is_and_that_is_said(people, tmp_path):  # noqa: F811
    frames = [striped() for _ in range(10)]
    path = make_video(tmp_path / "empty.mp4", frames)
    report, shown = rendered(people, path, tmp_path, view="anonymise")
    assert any("no head was found" in remark for remark in report.remarks)
    assert all(np.abs(a.astype(float) - b).mean() < 4 for a, b in zip(frames, shown, strict=True))


def test_what_was_covered_is_written_down(people, three, tmp_path):  # noqa: F811
    import json

    path, _ = three
    report, _ = rendered(people, path, tmp_path, target_member="Ada", view="blur-others")
    header, *rows = [json.loads(line) for line in Path(report.files["covers"]).read_text("utf-8").splitlines()]
    assert header["view"] == "blur-others" and header["kept"] == ["Ada"] and header["way"] == "blur"
    assert [row["i"] for row in rows] == list(range(30))
    assert all(len(row["covered"]) >= 2 and [name for *_, name in row["kept"]] == ["Ada"] for row in rows)


@pytest.mark.parametrize("asked", [{"way": "paint"}, {"margin": -1}, {"margin": 99}, {"voice": "squeaky"}])
def test_what_cannot_be_is_refused(people, three, tmp_path, asked):  # noqa: F811
    with pytest.raises(InputError):
        people.process_video(three[0], tmp_path / "out.mp4", "Ada", view="blur", **asked)


def test_what_was_said_after_a_second_look_is_covered_too(people, three, tmp_path):  # noqa: F811
    import json

    path, frames = three
    out = tmp_path / "out.mp4"
    said = {"kind": "cover", "box": [100, 180, 160, 230], "from": 0.2, "to": 0.6, "file": None, "path": []}
    (tmp_path / "out.mp4.corrections.jsonl").write_text(json.dumps(said) + "\n")
    people.process_video(path, out, "Ada", view="blur")
    changed = [i for i, (a, b) in enumerate(zip(frames, pictures(out), strict=True)) if not bare(a, b, 130, 205)]
    assert changed == [i for i in range(30) if 0.2 <= i / 25 <= 0.6]


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".webm"])
def test_only_what_was_said_something_of_is_rendered_again(people, three, tmp_path, monkeypatch, suffix):  # noqa: F811
    import json

    import identity_segmentation.video.render as module
    from identity_segmentation.video.covering import Covering

    monkeypatch.setattr(module, "_SEGMENT_SECONDS", 0.4)
    path, _ = three
    out = tmp_path / f"out{suffix}"
    people.process_video(path, out, "Ada", view="blur")
    before, drawn = pictures(out), []
    picture = Covering.picture

    def counted(self, placed, *more):
        drawn.append(placed.frame.index)
        return picture(self, placed, *more)

    monkeypatch.setattr(Covering, "picture", counted)
    said = {"kind": "cover", "box": [100, 180, 160, 230], "from": 0.5, "to": 0.6}
    (tmp_path / f"out{suffix}.corrections.jsonl").write_text(json.dumps(said) + "\n")
    report = people.process_video(path, out, "Ada", view="blur")
    assert drawn == list(range(10, 20)), "one segment of three"
    after = pictures(out)
    assert report.frames == len(after) == 30 and report.on_screen["Ada"] == pytest.approx(1.2, abs=0.05)
    for i in range(30):
        if 10 <= i < 20:
            assert bare(before[i], after[i], 130, 205) != (0.5 <= i / 25 <= 0.6), i
        else:
            assert (before[i] == after[i]).all(), i
    rows = (tmp_path / f"out{suffix}.covers.jsonl").read_text("utf-8").splitlines()
    assert [json.loads(row)["i"] for row in rows[1:]] == list(range(30))
    # A file that somebody changed since is no source of segments.
    drawn.clear()
    (tmp_path / f"out{suffix}.corrections.jsonl").unlink()
    out.touch()
    people.process_video(path, out, "Ada", view="blur", overwrite=True)
    assert drawn == list(range(30))


def test_where_and_when_a_covered_video_was_taken_is_left_out(people, tmp_path):  # noqa: F811
    import av

    with av.open(str(tmp_path / "in.mp4"), "w") as made:
        made.metadata["title"] = "Ada at home"
        stream = made.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 320, 240, "yuv420p"
        for _ in range(10):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(striped((ADA, 60, 60))), format="bgr24")
            made.mux(stream.encode(frame))
        made.mux(stream.encode(None))
    titles = {}
    for view in ("overlay", "blur"):
        people.process_video(tmp_path / "in.mp4", tmp_path / f"{view}.mp4", "Ada", view=view)
        with av.open(str(tmp_path / f"{view}.mp4")) as read:
            titles[view] = read.metadata.get("title")
    assert titles == {"overlay": "Ada at home", "blur": None}

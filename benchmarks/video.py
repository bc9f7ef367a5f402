"""The video path on the test data: names against hand labels, tracks, speed, memory.

    python benchmarks/video.py [--data DIR] [--parts identity assignment looking masks still tracks speed memory]

Names: hand labels of three clips (benchmarks/labels/*_identity.json), every 12th frame, named by eye from faces, hair
and clothes. "clear": both eyes in the picture; "turned": a strong profile or a back; "partial": cut by the border. A
ghost is a named head on nobody. Masks: DAVIS breakdance from the first frame's box; region J is the mean IoU
over all frames but the first, flicker the mean area, relative to the mask, in which it differs from the last frame's
mask moved along optical flow. Tracks: MOT truth; needs motmetrics (pip install motmetrics).
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
import time
from itertools import islice, pairwise
from pathlib import Path

import cv2
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent))
from _data import ROOT, parser, require, table
from _masks_data import penn_fudan

from identity_segmentation import IdentityAwareSegmentation, SimpleTracker, write_image
from identity_segmentation.engines.embedded_faces import EmbeddedFaces
from identity_segmentation.engines.embedded_masks import EmbeddedMasks
from identity_segmentation.engines.insightface_faces import InsightFaceEngine
from identity_segmentation.geometry import box_iou, decode_rle, mask_box
from identity_segmentation.people.rule import NamingRule
from identity_segmentation.types import Face
from identity_segmentation.video.files import VideoReader
from identity_segmentation.video.flow import Flow
from identity_segmentation.video.naming import Evidence, name_tracks
from identity_segmentation.video.propagation import Propagator, box_opinion, box_seed


def heads_at(found, names, index: int):
    """(track, name | None, box) of every tracked head at any frame, between samples by interpolation."""
    step = found.header["sampling"]
    samples = {s.index: s for s in found.samples}
    before, after = samples.get(index - index % step), samples.get(index - index % step + step)
    if after is not None and after.cut:
        begin = max((shot.begin for shot in found.shots if shot.begin <= after.index), default=after.index)
        before, after = (before, None) if index < begin else (after, None)
    share = (index % step) / step if after is not None else 0.0
    here = {p.track: np.array(p.box) for p in before.tracks} if before else {}
    there = {p.track: np.array(p.box) for p in after.tracks} if after else {}
    for track in here.keys() | there.keys():
        if track in here and track in there:
            box = (1 - share) * here[track] + share * there[track]
        elif (track in here) == (share < 0.5):
            box = here.get(track, there.get(track))
        else:
            continue
        yield track, (names[track].name if track in names else None), box


def labels_of(clip: str) -> dict[int, list[dict]]:
    """frame -> labelled heads of a clip."""
    labels = json.loads((ROOT / f"benchmarks/labels/{clip}_identity.json").read_text())
    return {int(index): rows for index, rows in labels.items()}


def on_nobody(box: np.ndarray, rows: list[dict]) -> bool:
    """Is the middle of a head outside every labelled head, with one side of room around it?"""
    x, y = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
    for x0, y0, x1, y1 in (row["box"] for row in rows):
        room = max(x1 - x0, y1 - y0)
        if x0 - room <= x <= x1 + room and y0 - room <= y <= y1 + room:
            return False
    return True


def judged(found, names, labels: dict[int, list[dict]]) -> dict:
    """How the heads of a clip were named: right and labelled by view, and the faults."""
    counts: dict[str, list[int]] = {view: [0, 0] for view in ("clear", "turned", "partial")}
    faults = {"wrong": 0, "strangers": 0, "ghosts": 0, "mixed": 0}
    owners: dict[int, list[str]] = {}
    for index, rows in labels.items():
        heads = list(heads_at(found, names, index))
        faults["ghosts"] += sum(name is not None and on_nobody(box, rows) for _, name, box in heads)
        for row in rows:
            overlap = [float(box_iou(np.array(row["box"]), box)[0, 0]) for *_, box in heads]
            best = int(np.argmax(overlap)) if overlap else -1
            track, given = heads[best][:2] if overlap and overlap[best] > 0.3 else (None, None)
            if track is not None:
                owners.setdefault(track, []).append(row["name"])
            if row["name"] == "stranger":
                faults["strangers"] += given is not None
                continue
            faults["wrong"] += given not in (None, row["name"])
            if row["view"] in counts:
                counts[row["view"]][1] += 1
                counts[row["view"]][0] += given == row["name"]
    for people in owners.values():
        faults["mixed"] += len(people) - max(people.count(name) for name in set(people))
    return {"counts": counts, **faults}


def pipeline_of(engine, folder: Path) -> IdentityAwareSegmentation:
    return IdentityAwareSegmentation(engine, EmbeddedMasks(), gallery=folder)


def face_engines(data: Path) -> tuple:
    return InsightFaceEngine("mini_2.5g", data / "weights/insightface"), EmbeddedFaces()


# Three early frames of each dancer, none of them labelled: (frame, box of the face).
_DANCERS = {
    "A": ((18, (590, 200, 632, 254)), (21, (586, 201, 628, 253)), (33, (550, 197, 588, 250))),
    "B": ((21, (769, 117, 814, 176)), (30, (732, 116, 778, 176)), (33, (725, 123, 772, 177))),
    "C": ((15, (1015, 183, 1052, 237)), (27, (1039, 178, 1079, 232)), (30, (1037, 175, 1077, 226))),
}


def dancers(data: Path, folder: Path) -> Path:
    """A data set of the three dancers, from early frames of their clip."""
    wanted: dict[int, list[tuple[str, tuple]]] = {}
    for name, views in _DANCERS.items():
        for index, box in views:
            wanted.setdefault(index, []).append((name, box))
    with VideoReader(data / "videos/dance_3people.mp4") as reader:
        for frame in islice(reader, max(wanted) + 1):
            for name, (x0, y0, x1, y1) in wanted.get(frame.index, ()):
                room = (x1 - x0) // 2
                crop = frame.image[max(0, y0 - room) : y1 + room, max(0, x0 - room) : x1 + room]
                write_image(folder / name / f"{frame.index}.png", crop)
    return folder


def identity(data: Path) -> None:
    """Names against hand labels, with the people of the clip on file; and with other people on file, who are not in
    it: then every name is wrong."""
    clips = {
        "friends": data / "identity/friends/friends.mp4", "dance": data / "videos/dance_3people.mp4",
        "bedroom": data / "videos/sam3_bedroom.mp4",
    }  # fmt: skip
    foreign = {
        "friends": data / "identity/friends/refs", "ive": data / "identity/ive/refs", "bbt": data / "identity/bbt/refs",
        "knn_examples": data / "identity/face_recognition_examples/knn_examples/train",
    }  # fmt: skip
    rows, others = [], []
    with tempfile.TemporaryDirectory() as folder:
        own = {"friends": foreign["friends"], "dance": dancers(data, Path(folder) / "dancers")}
        for engine in face_engines(data):
            short = engine.id.replace("/", "_")
            for clip, refs in own.items():
                people = pipeline_of(engine, Path(folder) / f"{short}_{clip}")
                people.build_gallery(refs)
                found = people.analyse_video(clips[clip], folder=Path(folder) / f"{short}_{clip}_a")
                names = people.track_names(found)
                said = judged(found, names, labels_of(clip))
                shares = [f"{right}/{total}" for right, total in said["counts"].values()]
                by = [sum(n.by == how for n in names.values()) for how in ("alike", "clothes")]
                rows.append(
                    (engine.id, clip, *shares, said["wrong"], said["strangers"], said["ghosts"], said["mixed"], *by)
                )
            for name, refs in foreign.items():
                people = pipeline_of(engine, Path(folder) / f"{short}_{name}_f")
                people.build_gallery(refs)
                named = []
                for clip, path in clips.items():
                    if clip == name:
                        continue
                    found = people.analyse_video(path, folder=Path(folder) / f"{short}_{name}_a")
                    tracks = people.track_names(found)
                    named.append(f"{clip} {sum(n.name is not None for n in tracks.values())}/{len(tracks)}")
                others.append((engine.id, name, ", ".join(named)))
    print("### Names over a clip\n")
    print(
        table(
            ("engine", "clip", "clear", "turned", "partial", "wrong names", "strangers named", "ghosts",
             "heads in a track of somebody else's", "tracks linked by face", "by clothes"), rows,
        )
    )  # fmt: skip
    print("\n### Tracks that get a name from people who are not in the clip\n")
    print(table(("engine", "on file", "named"), others))


def assignment(_: Path) -> None:
    """Time and memory of naming very many tracks from a large gallery."""
    import tracemalloc

    rng, rows = np.random.default_rng(0), []
    for people, tracks in ((6, 50), (300, 200), (2000, 2000)):
        similar = rng.uniform(0, 0.45, (tracks, people))
        similar[np.arange(tracks), rng.integers(0, people, tracks)] = rng.uniform(0.5, 0.9, tracks)
        evidence = {t: Evidence(similar[t], 10, 10.0) for t in range(tracks)}
        together = {(a, b) for a in range(tracks) for b in range(a + 1, min(tracks, a + 8))}
        rule = NamingRule.plain(people, 0.5, 0.05)
        started = time.perf_counter()
        named = name_tracks(evidence, together, [f"P{i}" for i in range(people)], rule)
        took = time.perf_counter() - started
        tracemalloc.start()
        name_tracks(evidence, together, [f"P{i}" for i in range(people)], rule)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        rows.append(
            (people, tracks, sum(n.name is not None for n in named.values()), f"{took:.2f} s", f"{peak / 1e6:.0f} MB")
        )
    print("\n### Naming: exact, one-to-one over seven neighbours on either side\n")
    print(table(("people", "tracks", "named", "time", "memory"), rows))


def looking(data: Path) -> None:
    """What an analysis costs: 1080p, every 5th frame looked at, bodies and cuts included."""
    rows = []
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        enlarged(data / "identity/friends/friends.mp4", folder / "clip.mp4", (1920, 1080), 10)
        for bodies in (True, False):
            people = pipeline_of(EmbeddedFaces(), folder / "g")
            people.build_gallery(data / "identity/friends/refs")
            if not bodies:
                people.detector_or_none = lambda: None  # type: ignore[method-assign]
            people.analyse_video(data / "identity/friends/friends.mp4", 60, folder / f"warm{bodies}")
            started = time.perf_counter()
            found = people.analyse_video(folder / "clip.mp4", 5, folder / f"a{bodies}")
            took = time.perf_counter() - started
            rows.append(("faces and bodies" if bodies else "faces alone", found.frames, f"{found.frames / took:.0f}"))
    print("\n### Analysis: 1080p, every 5th frame looked at\n")
    print(table(("looked for", "frames", "source frames/s"), rows))


def masks(data: Path) -> None:
    folder = data / "person_masks/DAVIS"
    pictures = [cv2.imread(str(p)) for p in sorted((folder / "JPEGImages/480p/breakdance").glob("*.jpg"))]
    truth = [cv2.imread(str(p), 0) > 0 for p in sorted((folder / "Annotations/480p/breakdance").glob("*.png"))]
    rows = []
    with tempfile.TemporaryDirectory() as scratch:
        clip = Path(scratch) / "clip.mp4"
        encode(clip, iter(pictures), 24, {"preset": "fast", "crf": "14"})
        people = IdentityAwareSegmentation(EmbeddedFaces(), EmbeddedMasks(), gallery=Path(scratch) / "g")
        for sampling in (1, 5, 10):
            for smoothing in (1, 5):
                out = Path(scratch) / f"{sampling}_{smoothing}.mp4"
                box = mask_box(truth[0])
                people.process_video(clip, out, "dancer", sampling, smoothing=smoothing, masks=True, box=box)
                lines = Path(f"{out}.masks.jsonl").read_text().splitlines()
                found = {row["frame"]: decode_rle(row) for row in map(json.loads, lines)}
                drawn = [found.get(i, np.zeros_like(t)) for i, t in enumerate(truth)]
                region = np.mean([(d & t).sum() / (d | t).sum() for d, t in zip(drawn[1:], truth[1:], strict=True)])
                rows.append((sampling, smoothing, f"{region:.3f}", f"{flicker(pictures, drawn):.4f}"))
        rows.append(("truth", "", "", f"{flicker(pictures, truth):.4f}"))
    print("\n### Masks: DAVIS breakdance from the first frame's box\n")
    print(table(("sampling", "smoothing", "region J", "flicker"), rows))


def still(data: Path) -> None:
    """People who do not move at all, followed for two seconds by a slightly shaking camera: nothing may be lost."""
    propagator, engine, rng, rows = Propagator(), EmbeddedMasks(), np.random.default_rng(0), []
    for case in list(penn_fudan(data))[::8]:
        picture = propagator.flow.small(case.image)
        truth = cv2.resize(case.mask.astype(np.uint8), picture.shape[1::-1], interpolation=cv2.INTER_AREA) > 0
        frames = []
        for i in range(61):
            shift = np.float32([[1, 0, 1.5 * np.sin(i)], [0, 1, np.cos(i) - 1]])
            moved = cv2.warpAffine(picture, shift, picture.shape[1::-1], borderMode=cv2.BORDER_REPLICATE)
            frames.append(np.clip(moved.astype(int) + rng.integers(-3, 4, moved.shape), 0, 255).astype(np.uint8))

        def opinion(number, image, box):
            return box_opinion(engine, image, box)

        seed = box_seed(truth.shape, mask_box(truth))
        found = dict(propagator.follow(((f, i % 5 == 0) for i, f in enumerate(frames)), 5, seed, opinion))
        scores = [((found[i] > 0.5) & truth).sum() / ((found[i] > 0.5) | truth).sum() for i in (0, 60)]
        rows.append(scores)
    first, last = np.mean(rows, 0)
    print(f"\n### People at rest: {len(rows)} Penn-Fudan pedestrians from their boxes, 61 frames of a shaking camera\n")
    print(table(("first frame, IoU", "last frame, IoU"), [(f"{first:.3f}", f"{last:.3f}")]))


def flicker(pictures, drawn) -> float:
    flow = Flow(pictures[0].shape[1])
    greys = [flow.grey(p) for p in pictures]
    changes = []
    for (a, b), (before, now) in zip(pairwise(greys), pairwise(drawn), strict=True):
        moved = flow.fetch(before.astype(np.float32), flow.between(b, a)) > 0.5
        changes.append((moved ^ now).sum() / max(1, now.sum()))
    return float(np.mean(changes))


def tracks(data: Path) -> None:
    try:
        np.asfarray = np.asarray  # motmetrics 1.4 was written for numpy 1
        import motmetrics as mm
    except ImportError:
        print("\nthe tracks part needs motmetrics: pip install motmetrics")
        return
    rows = []
    for name in ("TUD-Campus", "TUD-Stadtmitte"):
        folder = data / "mot/motmetrics" / name
        truth, theirs = (mm.io.loadtxt(str(folder / f), fmt="mot15-2D") for f in ("gt.txt", "test.txt"))
        ours = theirs.copy().reset_index()
        tracker = SimpleTracker()
        ids = {}
        for _, part in ours.groupby("FrameId"):
            faces = [Face([x, y, x + w, y + h], 1) for x, y, w, h in part[["X", "Y", "Width", "Height"]].to_numpy()]
            for point in tracker.update(faces):
                ids[part.index[point.face]] = point.track
        ours["Id"] = [ids[i] for i in ours.index]
        ours = ours.set_index(["FrameId", "Id"])
        for label, result in (("published tracker", theirs), ("SimpleTracker, same boxes", ours)):
            scores = mm.utils.compare_to_groundtruth(truth, result, "iou", distth=0.5)
            row = mm.metrics.create().compute(scores, metrics=["mota", "idf1", "num_switches"]).iloc[0]
            rows.append((name, label, f"{row.mota:.3f}", f"{row.idf1:.3f}", int(row.num_switches)))
    print("\n### Tracks: MOTA and IDF1\n")
    print(table(("sequence", "tracker", "MOTA", "IDF1", "switches"), rows))


def encode(target: Path, pictures, rate: int, options: dict[str, str]) -> None:
    """Pictures -> a video file of their size."""
    import av

    with av.open(str(target), "w") as out:
        stream = None
        for picture in pictures:
            if stream is None:
                stream = out.add_stream("libx264", rate=rate, options=options)
                stream.height, stream.width = picture.shape[:2]
                stream.pix_fmt = "yuv420p"
            out.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="bgr24")))
        out.mux(stream.encode(None))


def enlarged(source: Path, target: Path, size: tuple[int, int], seconds: float) -> None:
    """The clip at another size, repeated to a length."""
    rate = 30

    def pictures():
        while True:
            with VideoReader(source) as reader:
                for frame in reader:
                    yield cv2.resize(frame.image, size, interpolation=cv2.INTER_LINEAR)

    encode(target, islice(pictures(), int(seconds * rate)), rate, {"preset": "ultrafast", "crf": "20"})


def speed(data: Path) -> None:
    rows = []
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        enlarged(data / "identity/friends/friends.mp4", folder / "clip.mp4", (1920, 1080), 10)
        people = IdentityAwareSegmentation(EmbeddedFaces(), EmbeddedMasks(), gallery=folder / "g")
        people.build_gallery(data / "identity/friends/refs")
        for members in (["Ross"], ["Ross", "Phoebe"]):
            times: dict[str, list[float]] = {}

            def progress(stage, done, total, times=times):
                times.setdefault(stage, [time.perf_counter(), 0.0, 0])[1:] = [time.perf_counter(), done]

            started = time.perf_counter()
            report = people.process_video(folder / "clip.mp4", folder / "out.mp4", members, progress=progress)
            total = time.perf_counter() - started
            stages = {s: (b - a) for s, (a, b, _) in times.items()}
            spent = [f"{stages.get(stage, 0):.1f} s" for stage in ("analyse", "render")]
            rows.append((", ".join(members), report.frames, *spent, f"{total:.1f} s", f"{report.frames / total:.1f}"))
    print("\n### Speed: 1080p, 10 s, every 5th frame looked at (the second run needs no analysis)\n")
    print(table(("people", "frames", "analyse", "render", "in all", "frames/s"), rows))


def memory(data: Path) -> None:
    """Peak memory of a process that works through a long clip, beside one that works through a short one."""
    rows = []
    with tempfile.TemporaryDirectory() as scratch:
        for seconds in (60, 600):
            clip = Path(scratch) / f"{seconds}.mp4"
            enlarged(data / "identity/friends/friends.mp4", clip, (1280, 720), seconds)
            command = [sys.executable, __file__, "--data", str(data), "--one", str(clip)]
            done = subprocess.run(command, capture_output=True, text=True)
            rows.append((f"{seconds // 60} min", done.stdout.strip()))
    print("\n### Memory: 720p, one member, every 30th frame looked at\n")
    print(table(("length", "peak"), rows))


def one(data: Path, clip: Path) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        people = IdentityAwareSegmentation(EmbeddedFaces(), EmbeddedMasks(), gallery=Path(scratch) / "g")
        people.build_gallery(data / "identity/friends/refs")
        people.process_video(clip, Path(scratch) / "out.mp4", "Ross", frame_sampling=30)
    print(f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3:.0f} MB")


def main() -> None:
    parts = {
        "identity": identity, "assignment": assignment, "looking": looking, "masks": masks, "still": still,
        "tracks": tracks, "speed": speed, "memory": memory,
    }  # fmt: skip
    arguments = parser(__doc__.split("\n")[0])
    arguments.add_argument("--parts", nargs="*", choices=parts, default=list(parts))
    arguments.add_argument("--one", type=Path, help="(used by the memory part)")
    options = arguments.parse_args()
    data = require(options.data)
    if options.one:
        one(data, options.one)
        return
    for part in options.parts:
        parts[part](data)


if __name__ == "__main__":
    main()

"""The video path on the test data: names against hand labels, tracks, speed, memory.

    python benchmarks/video.py [--data DIR] [--parts identity masks still tracks speed memory]

Names: hand labels of a clip (benchmarks/labels/friends_identity.json), every 12th frame, each face that either
detector finds, named by eye from faces, hair and clothes. "clear": both eyes in the picture; "turned": a strong profile
or a back; "partial": cut by the border. Masks: DAVIS breakdance from the first frame's box; region J is the mean IoU
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

from identity_segmentation import IdentityAwareSegmentation, SimpleTracker
from identity_segmentation.engines.embedded_faces import EmbeddedFaces
from identity_segmentation.engines.embedded_masks import EmbeddedMasks
from identity_segmentation.engines.insightface_faces import InsightFaceEngine
from identity_segmentation.geometry import box_iou, decode_rle, mask_box
from identity_segmentation.types import Face
from identity_segmentation.video.analysis import read_analysis
from identity_segmentation.video.files import VideoReader
from identity_segmentation.video.flow import Flow
from identity_segmentation.video.propagation import Propagator, box_opinion, box_seed


def heads_at(found, names, index: int):
    """(name | None, box) of every tracked head at any frame, between samples by interpolation."""
    step = found.header["sampling"]
    samples = {s.index: s for s in found.samples}
    before, after = samples.get(index - index % step), samples.get(index - index % step + step)
    share = (index % step) / step
    here = {p.track: np.array(p.box) for p in found.points(before, names)} if before else {}
    there = {p.track: np.array(p.box) for p in found.points(after, names)} if after and not after.cut else {}
    for track in here.keys() | there.keys():
        if track in here and track in there:
            box = (1 - share) * here[track] + share * there[track]
        elif (track in here) == (share < 0.5):
            box = here.get(track, there.get(track))
        else:
            continue
        yield (names[track].name if track in names else None), box


def identity(data: Path) -> None:
    labels = json.loads((ROOT / "benchmarks/labels/friends_identity.json").read_text())
    rows = []
    for engine in (InsightFaceEngine("mini_2.5g", data / "weights/insightface"), EmbeddedFaces()):
        with tempfile.TemporaryDirectory() as folder:
            people = IdentityAwareSegmentation(engine, EmbeddedMasks(), gallery=Path(folder) / "g")
            people.build_gallery(data / "identity/friends/refs")
            out = Path(folder) / "out.mp4"
            people.process_video(data / "identity/friends/friends.mp4", out, "all")
            found = read_analysis(f"{out}.analysis.jsonl")
            names = people.track_names(found)
        counts = {"clear": [0, 0], "turned": [0, 0], "partial": [0, 0]}
        wrong = strangers = 0
        for index, boxes in labels.items():
            heads = list(heads_at(found, names, int(index)))
            for label in boxes:
                overlap = [float(box_iou(np.array(label["box"]), b)[0, 0]) for _, b in heads]
                best = int(np.argmax(overlap)) if overlap else -1
                given = heads[best][0] if overlap and overlap[best] > 0.3 else None
                if label["name"] == "stranger":
                    strangers += 1
                    wrong += given is not None
                    continue
                counts[label["view"]][1] += 1
                counts[label["view"]][0] += given == label["name"]
                wrong += given not in (None, label["name"])
        shares = [f"{right}/{total}" for right, total in counts.values()]
        rows.append((engine.id, sum(map(len, labels.values())), wrong, *shares, strangers))
    print("### Names over a clip\n")
    print(
        table(("engine", "boxes", "wrong names", "clear, named", "turned, named", "partial, named", "strangers"), rows)
    )


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
    flow = Flow(width=pictures[0].shape[1])
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
    parts = {"identity": identity, "masks": masks, "still": still, "tracks": tracks, "speed": speed, "memory": memory}
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

"""SAM 3 through transformers: what the adapter costs over the library, memory over a video, and speed at full size.

    python benchmarks/sam3.py [--parts overhead memory prompts enlarging full] [--data DIR] [--device DEVICE]
        [--only transformers meta] [--weights DIR] [--meta-weights FILE] [--tiny] [--seconds N]

overhead and memory run anywhere, with a tiny random model.

prompts asks for the people of the data with hand-drawn masks by the box alone and by box and points, from the box that
is reckoned from the face and from the true one, with the weights that $IDSEG_SAM3_CHECKPOINT or the cache has. Where
there are none a tiny random model answers: then the table says how often the model is called, what that costs beside
one call, and that masks come out. Random weights cannot judge which prompts draw a person better, whether the points
help where people overlap or hurt (a chest behind an arm, a face on a poster), nor what a GPU makes of more calls: their
masks are noise, so no IoU is printed.

enlarging times the two ways to a mask at full size, on every device that is there.

full needs a GPU (and 4 GB of disk): both implementations at full size, with the weights at the paths given or with
random ones, as speed does not depend on what the numbers are. It writes its table, with the machine's name, to
benchmarks/results/. `--parts full --device cpu --tiny` tries it out anywhere. Published speeds of others for
comparison: encode 39 ms on an RTX 5090, 137 ms on an L4; video 26.5 frames/s with one object on an H100.
"""

from __future__ import annotations

import itertools
import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

# This folder goes to the end: in front, this file would be taken for Meta's package of the same name.
sys.path.append(sys.path.pop(0))
sys.path.append(str(Path(__file__).resolve().parent.parent / "tests"))
from _data import parser, require, table

from identity_segmentation.engines import _torchvision

PICTURE = np.random.default_rng(0).integers(0, 255, (720, 1280, 3), dtype=np.uint8)
BOX = [300, 100, 700, 700]


def paired(ours, theirs, rounds: int = 15) -> float:
    """Median of the ratio of two functions' times, measured in turn."""
    ratios = []
    for number in range(rounds + 3):
        times = []
        for run in (ours, theirs) if number % 2 else (theirs, ours):
            started = time.perf_counter()
            run()
            times.append(time.perf_counter() - started)
        if number >= 3:
            ratios.append(times[0] / times[1] if number % 2 else times[1] / times[0])
    return statistics.median(ratios)


def overhead(options) -> None:
    device = options.device or "cpu"
    import tiny_sam3
    import torch
    from transformers import Sam3Model, Sam3Processor, Sam3TrackerModel, Sam3TrackerProcessor

    from identity_segmentation.engines.sam3_hf import Sam3HF

    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as scratch:
        folder = tiny_sam3.build(Path(scratch) / "tiny")
        engine = Sam3HF(str(folder), device, "float32")
        tracker, tracker_processor = (
            Sam3TrackerModel.from_pretrained(folder).eval().to(device),
            Sam3TrackerProcessor.from_pretrained(folder),
        )
        words = Sam3Model.from_pretrained(folder).eval().to(device)
        words_processor = Sam3Processor.from_pretrained(folder)
        rgb = PICTURE[:, :, ::-1].copy()

        def our_box():
            return engine.by_box(engine.encode(PICTURE), [BOX])

        def their_box():
            with torch.inference_mode():
                given = tracker_processor(images=rgb, input_boxes=[[BOX]], return_tensors="pt").to(device)
                maps = tracker.get_image_embeddings(given.pixel_values)
                out = tracker(image_embeddings=maps, input_boxes=given.input_boxes, multimask_output=False)
                return tracker_processor.post_process_masks(out.pred_masks, given["original_sizes"])[0].cpu().numpy()

        def our_words():
            return engine.by_text(engine.encode(PICTURE), "shirt")

        def their_words():
            with torch.inference_mode():
                given = words_processor(images=rgb, text="shirt", return_tensors="pt").to(device)
                out = words(**{k: v for k, v in given.items() if k != "original_sizes"})
                return words_processor.post_process_instance_segmentation(out, 0.5, 0.5, [PICTURE.shape[:2]])

        rows = [("a picture and a box", f"{paired(our_box, their_box):.2f}")]
        rows.append(("a picture and a phrase", f"{paired(our_words, their_words):.2f}"))
    print(f"### Adapter over bare library calls: time, tiny random model, {device}, paired in one run\n")
    print(table(("job", "ratio of times"), rows))


def memory(options) -> None:
    import tiny_sam3
    import torch

    from identity_segmentation.engines.sam3_hf import Sam3HF

    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as scratch:
        engine = Sam3HF(str(tiny_sam3.build(Path(scratch) / "tiny")), options.device or "cpu")
        mask = np.zeros((120, 160), bool)
        mask[30:90, 40:100] = True
        picture = PICTURE[:120, :160]
        rows = []
        for label, prune in (("pruned", True), ("as the library leaves it", False)):
            session = engine.start()
            session.prune, sizes = prune, {}
            for frame in range(200):
                session.step(np.roll(picture, frame, 1), {"a": mask, "b": ~mask} if frame == 0 else None)
                sizes[frame + 1] = session.size_bytes()
            rows.append((label, f"{sizes[40] / 1e3:.0f} kB", f"{sizes[200] / 1e3:.0f} kB"))
    print("\n### Bytes a video session holds: two people, tiny model\n")
    print(table(("session", "frame 40", "frame 200"), rows))


def prompts(options) -> None:
    """Box alone against box and points, with whatever weights are there."""
    import tiny_sam3
    import torch
    from masks import iou

    from identity_segmentation import Settings, face_to_body_bbox
    from identity_segmentation.engines import _sam3
    from identity_segmentation.engines.sam3_hf import Sam3HF
    from identity_segmentation.geometry import mask_box

    settings = Settings.from_env()
    cached = _sam3.cached_file(_sam3.REPOSITORY, "model.safetensors") is not None
    model = settings.sam3_checkpoint or (_sam3.REPOSITORY if cached else "")
    if not model:
        torch.set_num_threads(1)
    keys = [(kind, box) for box in ("from the face", "true") for kind in ("box", "box+points")]
    sums: dict = {
        key: {"calls": 0, "points": 0, "drawn": 0, "seconds": 0.0, "iou": [], "on others": []} for key in keys
    }
    count = shots = 0
    with tempfile.TemporaryDirectory() as scratch:
        engine = Sam3HF(model or str(tiny_sam3.build(Path(scratch) / "tiny")), settings.device, settings.dtype)
        real, asked = engine._ask, []
        engine._ask = lambda *given: asked.append(given[2].size // 2) or real(*given)
        for people in _pictures(require(options.data), None if model else 40):  # of noise, a few are enough
            cases, faces, others = zip(*people, strict=True)
            count, shots = count + len(cases), shots + 1
            encoded = engine.encode(cases[0].image)
            boxes = {
                "from the face": [face_to_body_bbox(face, cases[0].mask.shape) for face in faces],
                "true": [mask_box(case.mask) for case in cases],
            }
            engine.by_box(encoded, boxes["true"])  # what is made once a picture counts for nobody
            for (engine.prompts, box), total in sums.items():
                asked.clear()
                started = time.perf_counter()
                segments = engine.by_box(encoded, boxes[box], faces, [f for f in others[0] if f not in faces])
                total["seconds"] += time.perf_counter() - started
                total["calls"] += len(asked)
                total["points"] += sum(asked)
                for case, segment in zip(cases, segments, strict=True):
                    total["drawn"] += bool(segment.area)
                    total["iou"].append(iou(segment.mask, case.mask))
                    if case.others.any():
                        total["on others"].append(np.count_nonzero(segment.mask & case.others) / max(1, segment.area))
    rows = []
    for key, total in sums.items():
        judged = (f"{np.mean(total['iou']):.3f}", f"{100 * np.mean(total['on others']):.1f} %") if model else ("-", "-")
        points, calls = f"{total['points'] / count:.1f}", f"{total['calls'] / shots:.2f}"
        took = f"{1e3 * total['seconds'] / shots:.0f} ms"
        rows.append((*key, points, calls, took, f"{total['drawn']} of {count}", *judged))
    weights = f"{model} on {engine.device}" if model else "tiny random model: no masks to be judged"
    print(f"\n### What SAM 3 is asked: {count} people in {shots} pictures, {weights}\n")
    head = ("prompts", "box", "points a person", "calls a picture", "time a picture", "masks", "IoU", "on others")
    print(table(head, rows))


def _pictures(data: Path, most: int | None):
    """For each picture [(case, their face, everybody else's faces)] of those whose face is known for sure."""
    from _masks_data import clothing, coco, penn_fudan
    from masks import faces_of

    from identity_segmentation.engines.embedded_faces import EmbeddedFaces

    finder = EmbeddedFaces()
    known: dict = {}
    cases = itertools.chain(coco(data), penn_fudan(data), clothing(data))
    for _, group in itertools.islice(itertools.groupby(cases, lambda case: case.path), most):
        people = [(case, *faces_of(case, finder, known)) for case in group]
        known.clear()
        if people := [row for row in people if row[1] is not None]:
            yield people


def enlarging(options) -> None:
    """A low-resolution mask at full size by cv2 and by torch: one over half the width and height, and one over all."""
    import torch

    from identity_segmentation.engines import _sam3

    def took(run, *given) -> str:
        times = []
        for _ in range(13):
            started = time.perf_counter()
            run(*given)
            times.append(time.perf_counter() - started)
        return f"{1e3 * min(times):.1f} ms"  # what a busy machine adds is not of interest

    torch.set_num_threads(1)
    devices = ["cpu"] + (["cuda"] if torch.cuda.is_available() else [])
    y, x = np.mgrid[:288, :288]
    rows = []
    for label, shape in (("1080p", (1080, 1920)), ("12 megapixels", (3000, 4000))):
        for extent, radius in (("half", 72), ("all", 300)):
            low = (radius - np.maximum(abs(x - 144), abs(y - 144))).astype(np.float32)
            low, near = _sam3._cleaned(low)
            given = low, shape, _sam3._at_full_size(near, low.shape, shape)
            times = [took(_sam3._enlarged, *given), *(took(_sam3._enlarged_on, d, *given) for d in devices)]
            segment = (low, shape, 1.0, np.zeros(4), "x")
            rows.append((label, extent, *times, *(took(_sam3.to_segment, *segment, d) for d in devices)))
    head = ["picture", "mask", "cv2", *(f"torch, {d}" for d in devices), *(f"to_segment, {d}" for d in devices)]
    print("\n### A mask at full size: least of 13 times, one torch thread\n")
    print(table(tuple(head), rows))


def full(options) -> None:
    import _sam3_full

    _sam3_full.run(options)


def main() -> None:
    parts = {"overhead": overhead, "memory": memory, "prompts": prompts, "enlarging": enlarging, "full": full}
    arguments = parser(__doc__.split("\n")[0])
    arguments.add_argument("--parts", nargs="*", choices=parts, default=list(parts))
    arguments.add_argument("--device", help="cpu or cuda; by default full runs on cuda, overhead and memory on the CPU")
    arguments.add_argument("--only", nargs="*", choices=("transformers", "meta"), help="full: these implementations")
    arguments.add_argument("--weights", type=Path, help="full: folder of facebook/sam3 for transformers; else random")
    arguments.add_argument("--meta-weights", type=Path, help="full: a sam3.pt for Meta's package; else random")
    arguments.add_argument("--tiny", action="store_true", help="full: tiny models, to try it out")
    arguments.add_argument("--seconds", type=float, default=600, help="full: no part is begun after these")
    options = arguments.parse_args()
    _torchvision.ensure()
    for part in options.parts:
        parts[part](options)


if __name__ == "__main__":
    main()

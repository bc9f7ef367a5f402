"""SAM 3 through transformers: what the adapter costs over the library, memory over a video, and speed at full size.

    python benchmarks/sam3.py [--parts overhead memory full] [--data DIR]

overhead and memory run anywhere, with a tiny random model. full needs a GPU (and 10 GB of disk): the full-size
architecture with random weights, as speed does not depend on what the numbers are. It writes its table, with the
machine's name, to benchmarks/results/. Published speeds of others for comparison: encode 39 ms on an RTX 5090, 137 ms
on an L4; video 26.5 frames/s with one object on an H100.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent))
sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))
from _data import ROOT, parser, table

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
    import tiny_sam3
    import torch
    from transformers import Sam3Model, Sam3Processor, Sam3TrackerModel, Sam3TrackerProcessor

    from identity_segmentation.engines.sam3_hf import Sam3HF

    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as scratch:
        folder = tiny_sam3.build(Path(scratch) / "tiny")
        engine = Sam3HF(str(folder), device="cpu")
        tracker, tracker_processor = (
            Sam3TrackerModel.from_pretrained(folder).eval(),
            Sam3TrackerProcessor.from_pretrained(folder),
        )
        words, words_processor = Sam3Model.from_pretrained(folder).eval(), Sam3Processor.from_pretrained(folder)
        rgb = PICTURE[:, :, ::-1].copy()

        def our_box():
            return engine.by_box(engine.encode(PICTURE), [BOX])

        def their_box():
            with torch.inference_mode():
                given = tracker_processor(images=rgb, input_boxes=[[BOX]], return_tensors="pt")
                maps = tracker.get_image_embeddings(given.pixel_values)
                out = tracker(image_embeddings=maps, input_boxes=given.input_boxes, multimask_output=False)
                return tracker_processor.post_process_masks(out.pred_masks, given["original_sizes"])[0].numpy()

        def our_words():
            return engine.by_text(engine.encode(PICTURE), "shirt")

        def their_words():
            with torch.inference_mode():
                given = words_processor(images=rgb, text="shirt", return_tensors="pt")
                out = words(**{k: v for k, v in given.items() if k != "original_sizes"})
                return words_processor.post_process_instance_segmentation(out, 0.5, 0.5, [PICTURE.shape[:2]])

        rows = [("a picture and a box", f"{paired(our_box, their_box):.2f}")]
        rows.append(("a picture and a phrase", f"{paired(our_words, their_words):.2f}"))
    print("### Adapter over bare library calls: time, tiny random model, CPU, paired in one run\n")
    print(table(("job", "ratio of times"), rows))


def memory(options) -> None:
    import tiny_sam3
    import torch

    from identity_segmentation.engines.sam3_hf import Sam3HF

    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as scratch:
        engine = Sam3HF(str(tiny_sam3.build(Path(scratch) / "tiny")), device="cpu")
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


def full(options) -> None:
    import torch

    if not torch.cuda.is_available():
        print("\nthe full part needs a GPU")
        return
    import tiny_sam3

    from identity_segmentation import IdentityAwareSegmentation
    from identity_segmentation.engines.embedded_faces import EmbeddedFaces
    from identity_segmentation.engines.sam3_hf import Sam3HF

    def timed(run, rounds: int = 10) -> float:
        for _ in range(2):
            run()
        times = []
        for _ in range(rounds):
            torch.cuda.synchronize()
            started = time.perf_counter()
            run()
            torch.cuda.synchronize()
            times.append(time.perf_counter() - started)
        return statistics.median(times)

    rng = np.random.default_rng(0)
    photo = rng.integers(0, 255, (1080, 1920, 3), dtype=np.uint8)
    boxes = [[100 + 250 * i, 200, 320 + 250 * i, 1000] for i in range(6)]
    rows = []
    with tempfile.TemporaryDirectory() as scratch:
        engine = Sam3HF(str(tiny_sam3.build_full(Path(scratch) / "full")), device="cuda")
        encoded = engine.encode(photo)
        rows.append(("encode, 1080p", f"{1e3 * timed(lambda: engine.encode(photo)):.0f} ms"))
        rows.append(("1 box", f"{1e3 * timed(lambda: engine.by_box(encoded, boxes[:1])):.0f} ms"))
        rows.append(("6 boxes", f"{1e3 * timed(lambda: engine.by_box(encoded, boxes)):.0f} ms"))
        rows.append(("a word", f"{1e3 * timed(lambda: engine.by_text(encoded, 'shirt')):.0f} ms"))
        batch = [rng.integers(0, 255, (1024, 1024, 3), dtype=np.uint8) for _ in range(32)]
        rows.append(("32 pictures of 1024x1024, encoded", f"{timed(lambda: engine.encode_batch(batch), 3):.2f} s"))
        data = options.data
        if data.is_dir():
            from video import enlarged

            people = IdentityAwareSegmentation(EmbeddedFaces(), engine, gallery=Path(scratch) / "g")
            people.build_gallery(data / "identity/friends/refs")
            clip = Path(scratch) / "clip.mp4"
            enlarged(data / "identity/friends/friends.mp4", clip, (1920, 1080), 30)
            from identity_segmentation.video.files import VideoReader

            with VideoReader(clip) as reader:
                image = next(iter(reader)).image
            rows.append(
                (
                    "one member of a 1080p photo, faces to drawing",
                    f"{1e3 * timed(lambda: people.segment_member(image, 'Ross')):.0f} ms",
                )
            )
            for members in (["Ross"], people.gallery.names[:6]):
                started = time.perf_counter()
                people.process_video(clip, Path(scratch) / f"{len(members)}.mp4", members)
                rows.append(
                    (f"30 s of 1080p video, {len(members)} member(s)", f"{time.perf_counter() - started:.1f} s")
                )
    name = torch.cuda.get_device_name()
    text = f"### SAM 3 at full size, random weights, {str(engine.dtype)[6:]}, {name}\n\n{table(('job', 'time'), rows)}"
    print("\n" + text)
    target = ROOT / "benchmarks/results" / f"sam3_{name.replace(' ', '_')}.md"
    target.parent.mkdir(exist_ok=True)
    driver = subprocess.run(
        ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"], capture_output=True, text=True
    )
    target.write_text(f"{text}\n\ntorch {torch.__version__}, driver {driver.stdout.strip()}\n")


def main() -> None:
    parts = {"overhead": overhead, "memory": memory, "full": full}
    arguments = parser(__doc__.split("\n")[0])
    arguments.add_argument("--parts", nargs="*", choices=parts, default=list(parts))
    options = arguments.parse_args()
    _torchvision.ensure()
    for part in options.parts:
        parts[part](options)


if __name__ == "__main__":
    main()

"""SAM 3 at full size through both implementations: `benchmarks/sam3.py --parts full`.

Weights are read where a path is given, and are random numbers otherwise: speed hardly depends on them, but how many
objects a phrase finds and how large a mask is does. Every figure is printed when it is known, and a part that fails is
told and passed over. Nothing is fetched.
"""

from __future__ import annotations

import contextlib
import os
import statistics
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
from _data import ROOT, table

BOXES = [[100 + 250 * i, 200, 320 + 250 * i, 1000] for i in range(6)]
SHAPE = (1080, 1920)
PEOPLE = (1, 3, 6)
_FILLED = 18  # frames after which a tracker's memory is as full as it gets


class Report:
    """Rows (implementation, job, time, over the library) that are printed as they come."""

    def __init__(self, device: str, seconds: float):
        self.device, self.rows, self.failed = device, [], []
        self._until = time.monotonic() + seconds

    def add(self, label: str, job: str, figure: str, ratio: float | None = None) -> None:
        row = (label, job, figure, "" if ratio is None else f"{ratio:.2f}")
        self.rows.append(row)
        print(" | ".join(row), flush=True)

    def attempt(self, what: str, run: Callable[[], Any]) -> None:
        """Run one part; a failure ends that part alone."""
        if time.monotonic() > self._until:
            print(f"LEFT OUT, the time is over: {what}", flush=True)
            self.failed.append(what)
            return
        try:
            run()
        except Exception:  # whatever it is: the other parts are wanted, and this one is told in full
            print(f"FAILED: {what}\n" + "".join(traceback.format_exc().splitlines(True)[-9:]), flush=True)
            self.failed.append(what)

    def wait(self) -> None:
        """Until the device has done what it was told."""
        import torch

        if self.device != "cpu":
            torch.cuda.synchronize()

    def emptied(self) -> None:
        """The device's memory, of what nobody holds any more."""
        import gc

        import torch

        gc.collect()
        if self.device != "cpu":
            torch.cuda.empty_cache()

    def timed(self, run: Callable[[], Any], rounds: int = 12, most: float = 4.0) -> float:
        """Median time of a call in ms, of several within some seconds."""
        run()
        times: list[float] = []
        begun = time.monotonic()
        while len(times) < 2 or (len(times) < rounds and time.monotonic() - begun < most):
            self.wait()
            started = time.perf_counter()
            run()
            self.wait()
            times.append(1e3 * (time.perf_counter() - started))
        return statistics.median(times)

    def paired(self, ours: Callable[[], Any], theirs: Callable[[], Any]) -> tuple[float, float]:
        """Median time of ours in ms, and the median ratio to theirs, measured in turn."""
        ours(), theirs()
        times, ratios = [], []
        begun = time.monotonic()
        while len(times) < 2 or (len(times) < 12 and time.monotonic() - begun < 6):
            taken = []
            for run in (ours, theirs):
                self.wait()
                started = time.perf_counter()
                run()
                self.wait()
                taken.append(1e3 * (time.perf_counter() - started))
            times.append(taken[0])
            ratios.append(taken[0] / taken[1])
        return statistics.median(times), statistics.median(ratios)

    @contextlib.contextmanager
    def peak(self, label: str, job: str) -> Iterator[None]:
        """Most memory of the GPU while something runs, the weights included."""
        import torch

        if self.device == "cpu":
            yield
            return
        torch.cuda.reset_peak_memory_stats()
        yield
        used, held = torch.cuda.max_memory_allocated(), torch.cuda.max_memory_reserved()
        self.add(label, f"most memory, {job}", f"{used / 1e9:.2f} GB ({held / 1e9:.2f} reserved)")


def pictures(number: int) -> list[np.ndarray]:
    """1080p frames of soft blobs that move: noise would be a picture that no resizing is like."""
    import cv2

    small = np.random.default_rng(0).integers(0, 255, (34, 60, 3), dtype=np.uint8)
    photo = cv2.resize(small, SHAPE[::-1], interpolation=cv2.INTER_CUBIC)
    return [np.roll(photo, 8 * i, 1) for i in range(number)]


def seeds(number: int) -> dict[int, np.ndarray]:
    masks = {}
    for who, (x0, y0, x1, y1) in enumerate(BOXES[:number]):
        masks[who] = np.zeros(SHAPE, bool)
        masks[who][y0:y1, x0:x1] = True
    return masks


def encoding(report: Report, engine: Any, label: str, theirs: Callable[[], Any]) -> None:
    photos = pictures(8)
    ms, ratio = report.paired(lambda: engine.encode(photos[0]), theirs)
    report.add(label, "encode, 1 picture", f"{ms:.1f} ms", ratio)
    for batch in (4, 8):
        with report.peak(label, f"{batch} pictures at a time"):
            each = report.timed(lambda n=batch: engine.encode_batch(photos[:n], n), 6) / batch
        report.add(label, f"encode, {batch} at a time", f"{each:.1f} ms a picture")


# ---- transformers


def transformers(report: Report, options: Any) -> None:
    """Every dtype that is of use on the device; the first in full."""
    import tiny_sam3

    with tempfile.TemporaryDirectory() as scratch:
        folder = options.weights
        if not folder:
            build = tiny_sam3.build if options.tiny else tiny_sam3.build_full
            folder = build(Path(scratch) / "random")
            print("transformers: random weights are made", flush=True)
        dtypes = ["float32"] if report.device == "cpu" else ["bfloat16", "float16", "float32"]
        for dtype in dtypes:
            whole = dtype == dtypes[0]
            report.attempt(f"transformers, {dtype}", lambda d=dtype, w=whole: _one_dtype(report, folder, d, w))
            report.emptied()


def _one_dtype(report: Report, folder: Path, dtype: str, whole: bool) -> None:
    from identity_segmentation.engines.sam3_hf import Sam3HF

    label = f"transformers {dtype}"
    started = time.perf_counter()
    engine = Sam3HF(str(folder), report.device, dtype)
    report.add(label, "loading", f"{time.perf_counter() - started:.1f} s")
    report.attempt(f"{label}: encode", lambda: encoding(report, engine, label, lambda: _their_encode(engine)))
    encoded = engine.encode(pictures(1)[0])
    report.attempt(f"{label}: boxes", lambda: _boxes(report, engine, label, encoded, folder))
    report.attempt(f"{label}: words", lambda: _words(report, engine, label, encoded))
    if whole:
        for number in PEOPLE:
            report.attempt(f"{label}: {number} followed", lambda n=number: _followed(report, engine, label, n))
        report.attempt(f"{label}: a phrase followed", lambda: _phrase_followed(report, engine, label, encoded))
        report.attempt(f"{label}: few-shot", lambda: few_shot(report, engine, label))


def _their_encode(engine: Any, photo: np.ndarray | None = None):
    photo = pictures(1)[0] if photo is None else photo
    rgb = photo[:, :, ::-1].copy()
    with engine.torch.inference_mode():
        given = engine._processor.image_processor(images=rgb, return_tensors="pt", device=engine.device)
        return engine.detector.vision_encoder.backbone(given.pixel_values.to(engine.device, engine.dtype))


def _boxes(report: Report, engine: Any, label: str, encoded: Any, folder: Path) -> None:
    from transformers import Sam3TrackerProcessor

    from identity_segmentation.types import Face

    torch, size = engine.torch, engine._size
    processor = Sam3TrackerProcessor.from_pretrained(folder)
    with torch.inference_mode():
        maps = engine._maps(encoded)
    scale = np.tile([size / SHAPE[1], size / SHAPE[0]], 2)

    def theirs(number: int) -> np.ndarray:
        boxes = torch.tensor(BOXES[:number] * scale, dtype=torch.float32)[None].to(engine.device)
        with torch.inference_mode():
            out = engine._box_model(image_embeddings=maps, input_boxes=boxes, multimask_output=False)
            return processor.post_process_masks(out.pred_masks.float(), [SHAPE])[0].cpu().numpy()

    engine.prompts = "box"
    for number in PEOPLE:
        ms, ratio = report.paired(lambda n=number: engine.by_box(encoded, BOXES[:n]), lambda n=number: theirs(n))
        report.add(label, f"{number} box(es)", f"{ms:.1f} ms", ratio)
    faces = [Face([x0 + 60, y0 + 20, x0 + 160, y0 + 140], 0.9) for x0, y0, _, _ in BOXES]
    for prompts, said in (("box+points", "6 boxes with points"), ("people", "6 people, the word kept")):
        engine.prompts = prompts
        report.add(label, said, f"{report.timed(lambda: engine.by_box(encoded, BOXES, faces)):.1f} ms")


def _raised(scores: Any) -> float:
    """A threshold that the best five of (N,) scores pass."""
    return float(np.sort(np.ravel(scores))[-5])


def _detected(engine: Any, encoded: Any):
    with engine.torch.inference_mode():
        out = engine.detector(vision_embeds=engine.vision(encoded), **engine.words("shirt"))
        scores = out.pred_logits.float().sigmoid() * out.presence_logits.float().sigmoid()
    return out, _raised(scores.cpu().numpy())


def _words(report: Report, engine: Any, label: str, encoded: Any) -> None:
    _, threshold = _detected(engine, encoded)

    def theirs() -> np.ndarray:
        out, _ = _detected(engine, encoded)
        with engine.torch.inference_mode():
            found = engine._processor.post_process_instance_segmentation(out, threshold, 0.5, [SHAPE])[0]
            return found["masks"].cpu().numpy()

    ms, ratio = report.paired(lambda: engine.by_text(encoded, "shirt", threshold), theirs)
    report.add(label, "a phrase, 5 instances", f"{ms:.1f} ms", ratio)


def _followed(report: Report, engine: Any, label: str, number: int) -> None:
    """A frame of a session whose memory is full, ours and the library's in turn."""
    torch = engine.torch
    ours, theirs = engine.start(), engine.start()
    rgb, took, ratios = pictures(8), [], []

    def their_step(photo: np.ndarray, masks: dict | None) -> None:
        for who, mask in (masks or {}).items():
            theirs._add(who, mask)
        theirs._session.obj_with_new_inputs = [theirs._ids[who] for who in masks or ()]
        with torch.inference_mode():
            given = engine._processor.image_processor(
                images=photo[:, :, ::-1].copy(), return_tensors="pt", device=engine.device
            )
            frame = given.pixel_values[0].to(engine.device, engine.dtype)
            out = engine.video_model(theirs._session, frame=frame, frame_idx=theirs._frame, run_mem_encoder=True)
            (torch.nn.functional.interpolate(out.pred_masks.float(), SHAPE, mode="bilinear") > 0).cpu().numpy()
        theirs._frame += 1

    with report.peak(label, f"{number} followed"):
        for index in range(_FILLED + 14):
            taken = []
            for step in (ours.step, their_step):
                report.wait()
                started = time.perf_counter()
                step(rgb[index % len(rgb)], seeds(number) if index == 0 else None)
                report.wait()
                taken.append(1e3 * (time.perf_counter() - started))
            if index >= _FILLED:
                took.append(taken[0])
                ratios.append(taken[0] / taken[1])
    report.add(label, f"{number} followed, a frame", f"{statistics.median(took):.1f} ms", statistics.median(ratios))
    report.add(label, f"{number} followed, a session holds", f"{ours.size_bytes() / 1e6:.0f} MB")


def _phrase_followed(report: Report, engine: Any, label: str, encoded: Any) -> None:
    _, threshold = _detected(engine, encoded)
    took, last, rows = [], time.perf_counter(), []
    for row in engine.follow_words(pictures(6), ["shirt"], threshold):
        rows.append(len(row))
        took.append(1e3 * (time.perf_counter() - last))
        last = time.perf_counter()
    report.add(label, f"a phrase followed, a frame ({rows[-1]} objects)", f"{statistics.median(took):.1f} ms")


def few_shot(report: Report, engine: Any, label: str) -> None:
    from identity_segmentation.types import Exemplar

    first, second, third = pictures(3)
    masks = seeds(2)
    started = time.perf_counter()
    learned = engine.learn([Exemplar(first, masks), Exemplar(second, masks)])
    report.add(label, "learn from 2 pictures", f"{time.perf_counter() - started:.2f} s")
    report.add(label, "label a picture, 2 things", f"{report.timed(lambda: learned.label(third), 6):.1f} ms")


# ---- Meta's package


def meta(report: Report, options: Any) -> None:
    label = "sam3 bfloat16"
    with _metas_engine(report, options) as engine:
        encoded = engine.encode(pictures(1)[0])
        shown = _as_pil(pictures(1)[0])

        def their_encode():
            with engine._torch.inference_mode(), engine._precise():
                return engine._processor.set_image(shown)

        report.attempt(f"{label}: encode", lambda: encoding(report, engine, label, their_encode))
        report.attempt(f"{label}: boxes", lambda: _metas_boxes(report, engine, label, encoded))
        report.attempt(f"{label}: words", lambda: _metas_words(report, engine, label, encoded))
        for number in PEOPLE:
            report.attempt(f"{label}: {number} followed", lambda n=number: _metas_followed(report, engine, label, n))
        report.attempt(f"{label}: 6 frames seeded", lambda: _metas_followed(report, engine, label, PEOPLE[-1], True))
        report.attempt(f"{label}: few-shot", lambda: few_shot(report, engine, label))


def _as_pil(image_bgr: np.ndarray):
    from PIL import Image

    return Image.fromarray(np.ascontiguousarray(image_bgr[:, :, ::-1]))


@contextlib.contextmanager
def _metas_engine(report: Report, options: Any) -> Iterator[Any]:
    """The adapter over the package, whose "cuda" is played by the CPU where there is no GPU."""
    import pytest
    import tiny_official

    from identity_segmentation.engines import sam3_official

    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as scratch, pytest.MonkeyPatch.context() as patch:
        folder = Path(scratch)
        if options.tiny:
            path, words = tiny_official.checkpoint(folder, report.device), tiny_official.vocabulary(folder)
        elif options.meta_weights:
            path, words = Path(options.meta_weights), sam3_official.find_vocabulary()
        else:
            if report.device == "cpu":
                tiny_official.package()
            path = folder / "random.pt"
            words = sam3_official.rebuild_vocabulary(_made_tokenizer(folder), folder / "words.txt.gz")
            patch.setattr(sam3_official, "load_checkpoint", _random_numbers)
            for name in ("kaiming_uniform_", "trunc_normal_", "uniform_", "xavier_uniform_"):
                # On one core of a CPU it takes longer than all the rest, and is overwritten.
                patch.setattr(f"torch.nn.init.{name}", lambda tensor, *_, **__: tensor)
        with tiny_official.engine(path, words, report.device, patch) as engine:
            report.add("sam3 bfloat16", "building and loading", f"{time.perf_counter() - started:.1f} s")
            yield engine


def _made_tokenizer(folder: Path) -> Path:
    """A tokenizer.json with as many merges as CLIP's; what they are is of no matter to speed."""
    import json

    path = folder / "tokenizer.json"
    merges = [f"a{i} b</w>" for i in range(48894)]
    path.write_text(json.dumps({"model": {"merges": merges}}), "utf-8")
    return path


def _random_numbers(model: Any, path: Path) -> None:
    for parameter in model.parameters():
        parameter.data.normal_(std=0.02)


def _metas_boxes(report: Report, engine: Any, label: str, encoded: Any) -> None:
    from identity_segmentation.types import Face

    transforms = engine._model.inst_interactive_predictor._transforms
    own = type(transforms).postprocess_masks.__get__(transforms)

    def theirs(number: int):
        with (
            mock.patch.object(transforms, "postprocess_masks", own),
            engine._torch.inference_mode(),
            engine._precise(),
        ):
            return engine._model.predict_inst(encoded.state, box=np.array(BOXES[:number]), multimask_output=False)

    engine.prompts = "box"
    for number in PEOPLE:
        ms, ratio = report.paired(lambda n=number: engine.by_box(encoded, BOXES[:n]), lambda n=number: theirs(n))
        report.add(label, f"{number} box(es)", f"{ms:.1f} ms", ratio)
    faces = [Face([x0 + 60, y0 + 20, x0 + 160, y0 + 140], 0.9) for x0, y0, _, _ in BOXES]
    for prompts, said in (("box+points", "6 boxes with points"), ("people", "6 people, the word kept")):
        engine.prompts = prompts
        report.add(label, said, f"{report.timed(lambda: engine.by_box(encoded, BOXES, faces)):.1f} ms")


def _metas_words(report: Report, engine: Any, label: str, encoded: Any) -> None:
    processor = engine._processor

    def theirs(threshold: float) -> tuple[np.ndarray, np.ndarray]:
        processor.reset_all_prompts(encoded.state)
        processor.confidence_threshold = threshold
        with engine._torch.inference_mode(), engine._precise():
            found = processor.set_text_prompt("shirt", encoded.state)
            return found["masks"].cpu().numpy(), found["scores"].float().cpu().numpy()

    # Of all 200 masks at full size the package would take 1.7 GB: here they are told to stay small.
    size = encoded.state["original_height"], encoded.state["original_width"]
    encoded.state.update(original_height=8, original_width=8)
    threshold = _raised(theirs(-1.0)[1]) - 1e-6
    encoded.state.update(original_height=size[0], original_width=size[1])
    ms, ratio = report.paired(lambda: engine.by_text(encoded, "shirt", threshold), lambda: theirs(threshold))
    report.add(label, "a phrase, 5 instances", f"{ms:.1f} ms", ratio)


class _OneByOne:
    """Frames as the package's tracker looks them up, each made when it is asked for."""

    def __init__(self, engine: Any, frames: list[np.ndarray]):
        self._engine, self._frames = engine, frames

    def __getitem__(self, index: int):
        return self._engine._pixels([self._frames[int(index)]])[0]


def _metas_followed(report: Report, engine: Any, label: str, number: int, apart: bool = False) -> None:
    """People followed from the first frame on, or each from a frame of their own, through both directions of time."""
    frames, torch, tracker = pictures(_FILLED + 6), engine._torch, engine._tracker
    masks = seeds(number)
    known = {4 * who: {who: mask} for who, mask in masks.items()} if apart else {0: masks}
    what = f"{number} followed from {number} frames" if apart else f"{number} followed"

    def ours() -> None:
        for _ in engine.track(frames, known):
            pass

    def theirs() -> None:
        """As the package has it: a session for each frame that somebody is known in, and everything is kept."""
        tracker.backbone = engine._model.backbone
        for start, people in known.items():
            with torch.inference_mode(), engine._precise():
                state = tracker.init_state(
                    video_height=SHAPE[0], video_width=SHAPE[1], num_frames=len(frames),
                    offload_state_to_cpu=engine.device == "cpu",
                )  # fmt: skip
                state["images"] = _OneByOne(engine, frames)
                for who, mask in people.items():
                    tracker.add_new_mask(state, start, who, torch.from_numpy(mask.astype(np.float32)))
                for reverse in (False, True) if start else (False,):
                    for step in tracker.propagate_in_video(
                        state, start, len(frames), reverse, tqdm_disable=True, propagate_preflight=not reverse
                    ):
                        (step[3] > 0).cpu().numpy()
        tracker.backbone = None

    taken = []
    for run, whose in ((ours, ""), (theirs, ", by the package")):
        with report.peak(label, f"{what} for {len(frames)} frames{whose}"):
            report.wait()
            started = time.perf_counter()
            run()
            report.wait()
            taken.append(1e3 * (time.perf_counter() - started) / len(frames))
        report.emptied()
    report.add(label, f"{what}, a frame", f"{taken[0]:.1f} ms", taken[0] / taken[1])
    if not apart:
        report.add(label, f"{what}, a frame and person", f"{taken[0] / number:.1f} ms")
    following = engine._following(frames, known)
    for step in following.steps():
        with engine._at_work():
            step()
    report.add(label, f"{what}, the sessions hold", f"{following.size_bytes() / 1e6:.0f} MB")


# ---- all of it


def run(options: Any) -> None:
    """Print the tables, and write them beside the benchmarks' other results where the figures are of a GPU."""
    import torch

    device = options.device or "cuda"
    if device != "cpu" and not torch.cuda.is_available():
        print("\nthe full part needs a GPU (--device cpu --tiny tries it out without)")
        return
    os.environ["HF_HUB_OFFLINE"] = "1"
    torch.set_num_threads(1 if device == "cpu" else min(8, os.cpu_count() or 1))
    name = "CPU" if device == "cpu" else torch.cuda.get_device_name()
    size = "tiny" if options.tiny else "full size"
    report = Report(device, options.seconds)
    parts: dict[str, Callable] = {"transformers": transformers, "meta": meta}
    for part in options.only or parts:
        given = {"transformers": options.weights, "meta": options.meta_weights}[part]
        print(f"\n### SAM 3, {size}, {part}: {given or 'random weights'}, on {name}\n", flush=True)
        report.attempt(part, lambda p=part: parts[p](report, options))
    text = table(("implementation", "job", "time", "over the library"), report.rows)
    weights = ", ".join(str(w) for w in (options.weights, options.meta_weights) if w) or "random weights"
    head = f"### SAM 3, {size}, {weights}, 1920x1080, {name}"
    print(f"\n{head}\n\n{text}\n\nnot measured: {', '.join(report.failed) or 'nothing'}", flush=True)
    if device != "cpu" and not options.tiny:
        _write(f"{head}\n\n{text}\n", name, "-".join(options.only or parts))
    if report.failed:
        sys.exit(1)


def _write(text: str, name: str, parts: str) -> None:
    import torch

    target = ROOT / "benchmarks/results" / f"sam3_{name.replace(' ', '_')}_{parts}.md"
    target.parent.mkdir(exist_ok=True)
    with contextlib.suppress(OSError):
        driver = subprocess.run(
            ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"], capture_output=True, text=True
        )
        text += f"\ntorch {torch.__version__}, driver {driver.stdout.strip()}\n"
    target.write_text(text)

"""Segmenter "sam3": SAM 3 (Carion et al., 2025) through Meta's own package, which needs an NVIDIA GPU.

Boxes go through its interactive predictor (one mask per box), phrases through its processor, video through its
tracker. The weights (`sam3.pt`) are read as plain tensors, never as a pickle that could run code, and every parameter
must be there. The vocabulary that the package's wheel lacks is rebuilt from the published tokenizer.
"""

from __future__ import annotations

import gzip
import importlib.util
import json
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from ..errors import EngineUnavailable
from ..files import atomic_write
from ..geometry import whole_box
from ..settings import Settings
from ..types import BoxLike, Exemplar, Face, Segment, as_image
from . import _meta, _sam3, _sam3_people, _torchvision
from ._examples import Examples, checked_points
from .nets import nets_folder

_CHECKPOINT = "sam3.pt"
_VOCABULARY = "bpe_simple_vocab_16e6.txt.gz"
_MERGES = 48894  # of CLIP's tokenizer: 49152 tokens less 256 bytes and 2 marks, as the package counts them
_INSTANCE = 0.5
_ENCODE_BYTES = 1.2e9
_PACKAGES = ("torch", "torchvision", "sam3", "triton", "psutil", "skimage")


def create(settings: Settings) -> Sam3Official:
    return Sam3Official(settings.sam3_checkpoint, settings.device, settings.compile, prompts=settings.sam3_prompts)


def ready(settings: Settings) -> str:
    """Why `auto` should not take this engine here; empty if it should. Nothing is loaded or fetched."""
    if settings.sam3_model != "large":
        return f"--sam3-model {settings.sam3_model} is for sam3-hf"
    try:
        _sam3.require(*_PACKAGES)
        if settings.sam3_checkpoint:
            if not Path(settings.sam3_checkpoint).expanduser().is_file():
                return f"no file {settings.sam3_checkpoint}"
        elif _sam3.cached_file(_sam3.REPOSITORY, _CHECKPOINT) is None:
            return f"{_CHECKPOINT} is not in the cache; name the engine to fetch it: --segmenter sam3"
        if _sam3.pick_device(settings.device) == "cpu":
            return "no NVIDIA GPU, which Meta's package needs; sam3-hf runs on any device"
        if str(_sam3.pick_dtype("auto", "cuda")) != "torch.bfloat16":
            return "this GPU only emulates bfloat16, which Meta's package needs; sam3-hf runs in float16 there"
    except EngineUnavailable as error:
        return str(error)
    return ""


@dataclass
class Encoded:
    """The package's state of one picture."""

    shape: tuple[int, int]
    state: dict
    people: tuple[np.ndarray, np.ndarray] | None = None


class Sam3Official:
    """See the module; the protocols are `BoxSegmenter`, `PointSegmenter`, `TextSegmenter`, `VideoTracker` and
    `ExemplarSegmenter`.

    Args:
        checkpoint: path of a `sam3.pt`; empty = the hub's, from the cache or fetched.
        device: "auto" or "cuda".
        compile: torch.compile the vision encoder.
        vocabulary: path of `bpe_simple_vocab_16e6.txt.gz`; empty = found or rebuilt.
        prompts: "people" (the word "person" for everybody at once, and boxes and points for whom that does not tell
            apart), "box+points" (points on the person's own face and chest, and on other people's faces), or "box".

    Raises:
        EngineUnavailable: a package, a GPU, the weights or access to them are missing, or the checkpoint is not whole.
        InputError: an unknown kind of prompts.
    """

    uses_neighbours = False
    can_track = True

    def __init__(
        self,
        checkpoint: str = "",
        device: str = "auto",
        compile: bool = False,
        vocabulary: str = "",
        prompts: str = _sam3.PROMPTS[0],
    ):
        self.prompts = _sam3.checked_kind(prompts)
        _sam3.require(*_PACKAGES)
        import torch

        _torchvision.ensure()
        self._torch = torch
        self.device = _sam3.pick_device(device)
        if self.device not in ("cuda", "cuda:0"):
            raise EngineUnavailable(
                "Meta's sam3 package runs on the first NVIDIA GPU only; choose --segmenter sam3-hf, for any device"
            )
        path = Path(checkpoint).expanduser() if checkpoint else _sam3.fetch(_sam3.REPOSITORY, [_CHECKPOINT])[0]
        self.checkpoint = path
        self.id = f"sam3/{path.stem}"
        self._open(path, vocabulary, compile)

    def _open(self, path: Path, vocabulary: str, compile: bool) -> None:
        with _meta.modes_put_back(self._torch):
            import sam3.model_builder as builder
            from sam3.model.sam3_image_processor import Sam3Processor

        words = vocabulary or str(find_vocabulary())
        with _meta.modes_put_back(self._torch):
            self._model = builder.build_sam3_image_model(
                bpe_path=words, device="cuda", checkpoint_path=None, load_from_HF=False, enable_inst_interactivity=True,
                compile=compile,
            )  # fmt: skip
        load_checkpoint(self._model, path)
        predictor = self._model.inst_interactive_predictor
        # It would enlarge, clean and copy every mask at the picture's size; `to_segment` needs the small one alone.
        predictor._transforms.postprocess_masks = lambda masks, size: masks
        self._size = int(predictor.model.image_size)
        self._processor = Sam3Processor(
            self._model, resolution=self._size, device="cuda", confidence_threshold=_INSTANCE
        )

    def describe(self) -> str:
        boxes = _sam3.SAID[self.prompts]
        return f"SAM 3, Meta's package ({self.checkpoint.name}): {boxes}, words and video, on {self.device} in bfloat16"

    def _precise(self):
        """bfloat16, which the tracker's memory is cast to whatever the GPU has, for as long as a call takes."""
        return self._torch.autocast("cuda", dtype=self._torch.bfloat16)

    # ---- pictures

    def encode(self, image_bgr: np.ndarray) -> Encoded:
        """One pass of the vision encoder."""
        image_bgr = as_image(image_bgr)
        with self._torch.inference_mode(), self._precise():
            return Encoded(image_bgr.shape[:2], self._processor.set_image(_rgb(image_bgr)))

    def encode_batch(self, images_bgr: Sequence[np.ndarray], batch: int | None = None) -> list[Encoded]:
        """Encode pictures of any sizes, several at a time; see `Sam3HF.encode_batch`."""
        images = [as_image(image) for image in images_bgr]
        return _sam3.in_batches(images, batch or _sam3.free_batch(_ENCODE_BYTES, self.device), self._encode)

    def _encode(self, images: Sequence[np.ndarray]) -> list[Encoded]:
        with self._torch.inference_mode(), self._precise():
            features = self._processor.set_image_batch([_rgb(i) for i in images])["backbone_out"]
        return [
            Encoded(
                image.shape[:2],
                {
                    "original_height": image.shape[0], "original_width": image.shape[1],
                    "backbone_out": _one_of(features, i, len(images)),
                },
            )
            for i, image in enumerate(images)
        ]  # fmt: skip

    def by_box(
        self,
        encoded: Encoded,
        boxes: np.ndarray | Sequence[BoxLike],
        faces: Sequence[Face | None] | None = None,
        others: Sequence[Face | BoxLike] = (),
    ) -> list[Segment]:
        """One mask per box; see `_sam3_people` for what is asked, and `BoxSegmenter`."""
        picture = _sam3_people.Picture(encoded.shape, partial(self._ask, encoded), partial(self._people, encoded))
        return [
            _sam3.to_segment(one.logits, encoded.shape, one.score, one.box, self.id, self.device)
            for one in _sam3_people.drawn(picture, boxes, faces, others, self.prompts)
        ]

    def _people(self, encoded: Encoded, word: str) -> tuple[np.ndarray, np.ndarray]:
        """The instances of the one word that is asked of every picture, looked for once."""
        if encoded.people is None:
            encoded.people = _sam3.distinct(*self._instances(encoded, word, _INSTANCE))
        return encoded.people

    def _ask(
        self,
        encoded: Encoded,
        boxes: np.ndarray | None,
        points: np.ndarray,
        inside: np.ndarray,
        logits: np.ndarray | None = None,
    ):
        """Low-resolution logits (N, h, w) and scores (N,) of boxes (N, 4), if any, with points (N, P, 2) and the logits
        of first answers (N, h, w); see `_sam3_people.Picture.decode`."""
        prompt = {"point_coords": points, "point_labels": inside.astype(np.int64)} if points.size else {}
        if logits is not None:
            prompt["mask_input"] = logits[:, None]
        with self._torch.inference_mode(), self._precise():
            _, scores, low = self._model.predict_inst(
                encoded.state, box=boxes, multimask_output=False, return_logits=True, **prompt
            )
        return np.asarray(low, np.float32).reshape(-1, *low.shape[-2:]), np.ravel(scores).clip(0, 1)

    def by_points(
        self,
        encoded: Encoded,
        points: np.ndarray | Sequence[Sequence[float]],
        inside: Sequence[bool],
        box: BoxLike | None = None,
    ) -> Segment:
        """One thing out of clicks; see `PointSegmenter`."""
        places, on, within = checked_points(points, inside, box, encoded.shape)
        logits, scores = self._ask(encoded, None if within is None else within[None], places[None], on[None])
        box = whole_box(encoded.shape) if within is None else within
        return _sam3.to_segment(logits[0], encoded.shape, float(scores[0]), box, self.id, self.device)

    def by_text(self, encoded: Encoded, phrase: str, threshold: float = _INSTANCE) -> list[Segment]:
        """Every instance of a phrase, best first; see `TextSegmenter`."""
        logits, scores = self._instances(encoded, _sam3.checked_phrase(phrase), threshold)
        whole = whole_box(encoded.shape)
        segments = [
            _sam3.to_segment(mask, encoded.shape, score, whole, self.id, self.device)
            for mask, score in zip(logits, scores, strict=True)
        ]
        return _sam3.without_duplicates(segments)

    def _instances(self, encoded: Encoded, phrase: str, threshold: float) -> tuple[np.ndarray, np.ndarray]:
        """Low-resolution logits (K, h, w) and scores (K,) of every instance of a phrase."""
        processor = self._processor
        # It would enlarge every mask to the picture's size: it is told the size that they have anyway. The state is a
        # copy, but for the features.
        low = self._model.inst_interactive_predictor.model.low_res_mask_size
        state = encoded.state | {"original_height": low, "original_width": low}
        processor.reset_all_prompts(state)  # they would add up
        processor.confidence_threshold = threshold
        with self._torch.inference_mode(), self._precise():
            found = processor.set_text_prompt(phrase, state)
            # The package hands out probabilities.
            logits = found["masks_logits"][:, 0].float().logit(1e-6).cpu().numpy()
            scores = found["scores"].float().cpu().numpy()
        processor.reset_all_prompts(state)
        return logits, scores

    # ---- video

    def track(
        self, images_bgr: Sequence[np.ndarray], seeds: Mapping[int, Mapping[Hashable, np.ndarray]]
    ) -> Iterator[tuple[int, dict[Hashable, Segment]]]:
        """Follow people through the frames of one shot; see `VideoTracker`.

        The package keeps a state that grows with the number of frames, and fails on people who are first known in
        different frames: hand in a shot in parts; every such frame costs a run of its own. Frames are handed to it one
        by one, as its model was trained: its own reader of folders scales them for an older model.
        """
        torch, tracker = self._torch, self._model.inst_interactive_predictor.model
        tracker.backbone = self._model.backbone
        seen: set[Hashable] = set()
        for start, masks in sorted(seeds.items()):
            people = [who for who in masks if who not in seen]
            seen.update(people)
            if not people:
                continue
            shape = images_bgr[start].shape[:2]
            with torch.inference_mode(), self._precise():
                state = self._session(len(images_bgr))
                state["images"] = _Frames(images_bgr, self._shown)
                for number, who in enumerate(people):
                    tracker.add_new_mask(state, start, number, self._seed(masks[who]))
            for reverse in (False, True):
                found = tracker.propagate_in_video(
                    state, start, len(images_bgr), reverse, tqdm_disable=True, propagate_preflight=not reverse
                )
                while True:
                    # The modes are this thread's: they must not be left on while the caller has the word.
                    with torch.inference_mode(), self._precise():
                        step = next(found, None)
                        if step is None:
                            break
                        index, objects, low, _, scores = step
                        result = self._tracked([people[int(i)] for i in objects], low, scores, shape)
                    if index != start or not reverse:
                        yield int(index), result

    def _session(self, frames: int) -> dict:
        """The package's state of a video. It shows every picture square, whatever its shape, so the video is square."""
        return self._model.inst_interactive_predictor.model.init_state(
            video_height=self._size, video_width=self._size, num_frames=frames,
            offload_state_to_cpu=self.device == "cpu",
        )  # fmt: skip

    def _shown(self, image_bgr: np.ndarray):
        """float32 (3, S, S), -1..1, in RGB, on the host."""
        square = cv2.resize(as_image(image_bgr), (self._size, self._size), interpolation=cv2.INTER_AREA)
        rgb = np.ascontiguousarray(square[:, :, ::-1].transpose(2, 0, 1)).astype(np.float32)
        return self._torch.from_numpy(rgb / 127.5 - 1)

    def _seed(self, mask: np.ndarray):
        """float32 (S, S), 0 or 1, of a mask (H, W) at the picture's size, on the host."""
        square = cv2.resize(mask.astype(np.float32), (self._size, self._size), interpolation=cv2.INTER_AREA)
        return self._torch.from_numpy((square >= 0.5).astype(np.float32))

    # ---- few-shot

    def learn(self, references: Sequence[Exemplar]) -> Examples:
        """Few-shot by the video memory; see `ExemplarSegmenter`.

        Raises:
            InputError: nothing is marked in the references.
        """
        return Examples(references, lambda given, ids: _Memory(self, given, ids))

    def _tracked(self, people, logits, scores, shape) -> dict[Hashable, Segment]:
        whole = whole_box(shape)
        logits = logits.float().cpu().numpy().reshape(len(people), *logits.shape[-2:])
        scores = self._torch.sigmoid(scores.float()).cpu().numpy().reshape(len(people), -1)[:, 0]
        there = [mask if score >= 0.5 else np.full_like(mask, -20) for mask, score in zip(logits, scores, strict=True)]
        found = _sam3.to_segments(there, shape, scores, [whole] * len(there), self.id, self.device)
        return dict(zip(people, found, strict=True))


class _Frames:
    """Pictures as the package's tracker looks them up, each made when it is asked for."""

    def __init__(self, images_bgr: Sequence[np.ndarray], shown: Callable[[np.ndarray], Any]):
        self._images, self._shown = images_bgr, shown

    def __getitem__(self, index: int):
        return self._shown(self._images[int(index)])


class _Memory:
    """The tracker's state after the references; a target is the frame after them, and is taken out again."""

    def __init__(self, engine: Sam3Official, references: Sequence[Exemplar], ids: Sequence[int]):
        self._engine, self._ids, self._next = engine, list(ids), len(references)
        self._tracker = engine._model.inst_interactive_predictor.model
        self._tracker.backbone = engine._model.backbone
        with engine._torch.inference_mode(), engine._precise():
            self._state = engine._session(len(references) + 1)
            self._state["images"] = {i: engine._shown(r.image) for i, r in enumerate(references)}
            for index, (image, masks) in enumerate(references):
                for number in ids:
                    mask = masks.get(number, np.zeros(image.shape[:2], bool))
                    self._tracker.add_new_mask(self._state, index, number, engine._seed(mask))
            self._tracker.propagate_in_video_preflight(self._state)
        self._state["images"].clear()

    def answer(self, image_bgr: np.ndarray) -> dict[int, Segment]:
        """What the references make of a picture; it leaves no trace."""
        engine, state, tracker = self._engine, self._state, self._tracker
        before, tracker.max_cond_frames_in_attn = tracker.max_cond_frames_in_attn, -1
        state["images"][self._next] = engine._shown(image_bgr)
        state["cached_features"] = {}
        try:
            with engine._torch.inference_mode(), engine._precise():
                found = tracker.propagate_in_video(
                    state, self._next, 0, False, tqdm_disable=True, run_mem_encoder=False
                )
                _, objects, low, _, scores = next(iter(found))
                tracked = engine._tracked([int(i) for i in objects], low, scores, image_bgr.shape[:2])
                return {int(number): tracked[number] for number in map(int, objects)}
        finally:
            tracker.max_cond_frames_in_attn = before
            state["images"].clear()
            state["cached_features"] = {}
            for outputs in (state["output_dict"], *state["output_dict_per_obj"].values()):
                outputs["non_cond_frame_outputs"].clear()
            state["frames_already_tracked"].pop(self._next, None)


# ---- loading


def load_checkpoint(model: Any, path: Path) -> None:
    """Load `sam3.pt` into the package's image model, every parameter or none.

    Raises:
        EngineUnavailable: not there, truncated, another model's, or with parameters missing or of another shape.
    """
    content = _meta.read_checkpoint(path, _sam3.REPOSITORY)
    if _meta.is_multiplex(content):
        raise EngineUnavailable(
            f"{path} is a checkpoint of SAM 3.1, not of SAM 3; choose --segmenter sam3.1 for it, or give a "
            f"{_CHECKPOINT} from https://huggingface.co/{_sam3.REPOSITORY}"
        )
    places = {"detector.": "", "tracker.": "inst_interactive_predictor.model."}
    tensors = {
        new + key.removeprefix(old): value
        for key, value in content.items()
        for old, new in places.items()
        if key.startswith(old)
    }
    _meta.load_whole(model, tensors, path, "SAM 3", _sam3.REPOSITORY)


def find_vocabulary() -> Path:
    """The vocabulary of the package's tokenizer: from a clone of it, or rebuilt from the published tokenizer.

    Raises:
        EngineUnavailable: neither can be had.
    """
    spec = importlib.util.find_spec("sam3")
    roots = [Path(p) for p in spec.submodule_search_locations or ()] if spec else []
    own = nets_folder() / _VOCABULARY
    for path in [root / ".." / "assets" / _VOCABULARY for root in roots] + [
        root / "assets" / _VOCABULARY for root in roots
    ]:
        if path.is_file():
            return path.resolve()
    if not own.is_file():
        rebuild_vocabulary(_sam3.fetch(_sam3.REPOSITORY, ["tokenizer.json"])[0], own)
    return own


def rebuild_vocabulary(tokenizer: Path, target: Path) -> Path:
    """Write CLIP's merges, in the package's format, from a Hugging Face `tokenizer.json`.

    Raises:
        EngineUnavailable: that file is not CLIP's tokenizer.
    """
    try:
        merges = json.loads(tokenizer.read_text("utf-8"))["model"]["merges"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise EngineUnavailable(f"{tokenizer}: not a tokenizer that can be read ({error})") from error
    if len(merges) != _MERGES:
        raise EngineUnavailable(f"{tokenizer} has {len(merges)} merges; expected CLIP's {_MERGES}")
    lines = [m if isinstance(m, str) else " ".join(m) for m in merges]
    target.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(target) as file:
        file.write(gzip.compress("\n".join(["#version: 0.2", *lines, ""]).encode()))
    return target


def _rgb(image_bgr: np.ndarray):
    from PIL import Image

    return Image.fromarray(np.ascontiguousarray(image_bgr[:, :, ::-1]))  # of an array it takes the wrong size


def _one_of(value, index: int, count: int):
    """One picture's part of a batch's features: nested dicts and lists of tensors (count, ...)."""
    if isinstance(value, dict):
        return {k: _one_of(v, index, count) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_one_of(v, index, count) for v in value)
    if hasattr(value, "shape") and value.ndim and value.shape[0] == count:
        return value[index : index + 1]
    return value

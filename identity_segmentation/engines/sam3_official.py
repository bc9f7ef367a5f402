"""Segmenter "sam3": SAM 3 (Carion et al., 2025) through Meta's own package, which needs an NVIDIA GPU.

Boxes go through its interactive predictor (one mask per box), phrases through its processor, video through its
tracker. The weights (`sam3.pt`) are read as plain tensors, never as a pickle that could run code, and every parameter
must be there. The vocabulary that the package's wheel lacks is rebuilt from the published tokenizer.
"""

from __future__ import annotations

import contextlib
import copy
import gzip
import importlib.util
import json
import threading
from collections.abc import Hashable, Iterator, Mapping, Sequence
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
from . import _meta, _sam3, _sam3_following, _sam3_people, _torchvision
from ._examples import Examples, checked_points
from .nets import nets_folder

_CHECKPOINT = "sam3.pt"
_VOCABULARY = "bpe_simple_vocab_16e6.txt.gz"
_MERGES = 48894  # of CLIP's tokenizer: 49152 tokens less 256 bytes and 2 marks, as the package counts them
_INSTANCE = 0.5
_ENCODE_BYTES = 1.2e9
_CLIP_BATCH = 8  # frames of a clip encoded at a time, at most: more do not make it faster
_PHRASES = 64  # phrases whose embeddings are kept
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
    `ExemplarSegmenter`. Several threads may use one engine: they take turns at the model.

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
        self._lock = threading.RLock()
        self._words: dict[str, dict] = {}
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
        self._tracker: Any = predictor.model
        self._places: list | None = None
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

    @contextlib.contextmanager
    def _at_work(self) -> Iterator[None]:
        """The model, for this thread alone, in the modes that it is used in."""
        with self._lock, self._torch.inference_mode(), self._precise():
            yield

    # ---- pictures

    def encode(self, image_bgr: np.ndarray) -> Encoded:
        """One pass of the vision encoder."""
        return self._encode([as_image(image_bgr)])[0]

    def encode_batch(self, images_bgr: Sequence[np.ndarray], batch: int | None = None) -> list[Encoded]:
        """Encode pictures of any sizes, several at a time; see `Sam3HF.encode_batch`."""
        images = [as_image(image) for image in images_bgr]
        return _sam3.in_batches(images, batch or _sam3.free_batch(_ENCODE_BYTES, self.device), self._encode)

    def _encode(self, images: Sequence[np.ndarray]) -> list[Encoded]:
        with self._at_work():
            features = self._features(images)
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

    def _features(self, images: Sequence[np.ndarray]) -> dict:
        """What the package's processor makes of pictures, for detector and tracker (`sam2_backbone_out`)."""
        found = self._model.backbone.forward_image(self._pixels(images))
        decoder, maps = self._tracker.sam_mask_decoder, found["sam2_backbone_out"]["backbone_fpn"]
        maps[0], maps[1] = decoder.conv_s0(maps[0]), decoder.conv_s1(maps[1])
        return found

    def _pixels(self, images: Sequence[np.ndarray]):
        """float32 (B, 3, S, S), -1..1, in RGB. What travels is the picture as it is, a byte a channel."""
        prepared = []
        for image in images:
            given = self._torch.from_numpy(np.ascontiguousarray(image)).to(self.device)
            prepared.append(self._processor.transform(given.flip(-1).permute(2, 0, 1).contiguous()))
        return self._torch.stack(prepared)

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
        # The package parks a picture's features at its predictor for as long as the call takes.
        with self._at_work():
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
        processor = copy.copy(self._processor)  # of what is set at one, nobody else hears
        processor.confidence_threshold = threshold
        # It would enlarge every mask to the picture's size: it is told the size that they have anyway.
        low = self._tracker.low_res_mask_size
        with self._at_work():
            state = {
                "original_height": low, "original_width": low, "geometric_prompt": self._model._get_dummy_prompt(),
                "backbone_out": encoded.state["backbone_out"] | self._meaning(phrase),
            }  # fmt: skip
            found = processor._forward_grounding(state)
            # The package hands out probabilities.
            logits = found["masks_logits"][:, 0].float().logit(1e-6).cpu().numpy()
            scores = found["scores"].float().cpu().numpy()
        return logits, scores

    def _meaning(self, phrase: str) -> dict:
        """The text encoder's answer to a phrase, which is asked once."""
        if phrase not in self._words:
            while len(self._words) >= _PHRASES:
                del self._words[next(iter(self._words))]
            self._words[phrase] = self._model.backbone.forward_text([phrase], device=self._processor.device)
        return self._words[phrase]

    # ---- video

    def track(
        self, images_bgr: Sequence[np.ndarray], seeds: Mapping[int, Mapping[Hashable, np.ndarray]]
    ) -> Iterator[tuple[int, dict[Hashable, Segment]]]:
        """Follow people through the frames of one shot; see `VideoTracker`.

        Every frame is encoded once, several at a time, however many people are known in however many frames. Memory
        does not grow with the number of frames, but for 10 MB (up to a quarter of what is free) a frame between the
        first and the last of those in which somebody is known first. No two people get the same pixel.
        """
        if not any(seeds.values()):
            return
        shape = next(mask.shape for masks in seeds.values() for mask in masks.values())
        following = self._following(images_bgr, {index: masks for index, masks in seeds.items() if masks})
        for step in following.steps():
            # The modes are this thread's, and the model is everybody's: neither is kept while the caller has the word.
            with self._at_work():
                index, found = step()
            yield index, self._drawn(found, shape)

    def _following(
        self, images_bgr: Sequence[np.ndarray], seeds: Mapping[int, Mapping[Hashable, np.ndarray]]
    ) -> _sam3_following.Following:
        plan = _sam3_following.Plan.of(seeds, len(images_bgr))
        batch = _sam3.free_batch(_ENCODE_BYTES, self.device, _CLIP_BATCH)

        def encode(indices: list[int]) -> list:
            images = [as_image(images_bgr[index]) for index in indices]
            return _sam3.in_batches(images, batch, self._frames)

        def begun(masks: dict[int, dict[Hashable, Any]], features: dict[int, Any]) -> _sam3_following.Group:
            small = {at: {who: self._seed(mask) for who, mask in them.items()} for at, them in masks.items()}
            return _sam3_following.Group(self._tracker, self._session(len(images_bgr)), small, features)

        features = _sam3_following.Features(encode, list(plan.order()), batch, _sam3_following.room(self.device))
        return _sam3_following.Following(plan, features, begun, seeds)

    def _frames(self, images: Sequence[np.ndarray]) -> list[tuple[Any, dict]]:
        """Frames as the package's tracker looks them up: (pixels, feature maps).

        The pixels themselves are asked for their device alone. The codes of places are those of every frame, and kept
        once. The package's own reader of folders scales pixels for an older model; this is as it was trained.
        """
        found = self._features(images)["sam2_backbone_out"]
        if self._places is None:
            self._places = [part[:1].clone() for part in found["vision_pos_enc"]]
        nothing = self._torch.zeros(1, 3, 1, 1, device=self.device)
        return [
            (nothing, {"backbone_fpn": [part[i : i + 1] for part in found["backbone_fpn"]],
                       "vision_pos_enc": self._places})
            for i in range(len(images))
        ]  # fmt: skip

    def _session(self, frames: int) -> dict:
        """The package's state of a video. It shows every picture square, whatever its shape, so the video is square."""
        return self._tracker.init_state(
            video_height=self._size, video_width=self._size, num_frames=frames,
            offload_state_to_cpu=self.device == "cpu",
        )  # fmt: skip

    def _seed(self, mask: np.ndarray):
        """float32 (S, S), 0 or 1, of a mask (H, W) at the picture's size, on the host."""
        square = cv2.resize(mask.astype(np.float32), (self._size, self._size), interpolation=cv2.INTER_AREA)
        return self._torch.from_numpy((square >= 0.5).astype(np.float32))

    def _drawn(
        self, found: Mapping[Hashable, _sam3_following.Found], shape: tuple[int, int], together: bool = False
    ) -> dict[Hashable, Segment]:
        """Segments at full size (H, W): of people with no pixel in common, or of things that may lie `together`."""
        if not found:
            return {}
        logits, scores = [one.logits for one in found.values()], [one.score for one in found.values()]
        boxes = [whole_box(shape)] * len(found)
        if together:
            segments = [
                _sam3.to_segment(*one, self.id, self.device)
                for one in zip(logits, [shape] * len(found), scores, boxes, strict=True)
            ]
        else:
            segments = _sam3.to_segments(logits, shape, scores, boxes, self.id, self.device)
        return dict(zip(found, segments, strict=True))

    # ---- few-shot

    def learn(self, references: Sequence[Exemplar]) -> Examples:
        """Few-shot by the video memory; see `ExemplarSegmenter`.

        Raises:
            InputError: nothing is marked in the references.
        """
        return Examples(references, lambda given, ids: _Memory(self, given, ids))


class _Memory:
    """The tracker's state after the references; a target is the frame after them, and is taken out again."""

    def __init__(self, engine: Sam3Official, references: Sequence[Exemplar], ids: Sequence[int]):
        self._engine, self._next = engine, len(references)
        tracker = copy.copy(engine._tracker)
        tracker.max_cond_frames_in_attn = -1  # every reference counts; the tracker of videos stops at four
        seeds: dict[int, dict[Hashable, Any]] = {}
        for index, (image, masks) in enumerate(references):
            nothing = np.zeros(image.shape[:2], bool)
            seeds[index] = {number: engine._seed(masks.get(number, nothing)) for number in ids}
        batch = _sam3.free_batch(_ENCODE_BYTES, engine.device, _CLIP_BATCH)
        with engine._at_work():
            found = _sam3.in_batches([as_image(r.image) for r in references], batch, engine._frames)
            state = engine._session(len(references) + 1)
            self._group = _sam3_following.Group(tracker, state, seeds, dict(enumerate(found)))

    def answer(self, image_bgr: np.ndarray) -> dict[int, Segment]:
        """What the references make of a picture; it leaves no trace."""
        engine, image_bgr = self._engine, as_image(image_bgr)
        with engine._at_work():
            found = self._group.answer(self._next, engine._frames([image_bgr])[0])
        drawn = engine._drawn(found, image_bgr.shape[:2], together=True)
        return {int(number): segment for number, segment in drawn.items()}  # type: ignore[call-overload]


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


def _one_of(value, index: int, count: int):
    """One picture's part of a batch's features: nested dicts and lists of tensors (count, ...)."""
    if isinstance(value, dict):
        return {k: _one_of(v, index, count) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_one_of(v, index, count) for v in value)
    if hasattr(value, "shape") and value.ndim and value.shape[0] == count:
        return value[index : index + 1]
    return value

"""Segmenter "sam3-hf": SAM 3 (Carion et al., 2025) through transformers, on any device.

One vision encode serves boxes (one mask per box), phrases (every instance) and video. All parts are one set of
weights: the image tracker and the video tracker are put together from the tensors of the one model that is loaded. A
checkpoint with a missing or an unexpected tensor is refused; random numbers never segment anybody.
"""

from __future__ import annotations

import json
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np

from ..errors import EngineUnavailable
from ..geometry import whole_box
from ..settings import Settings
from ..types import BoxLike, Exemplar, Face, Segment, as_image
from . import _sam3, _torchvision
from ._examples import Examples, checked_points

# model_type of a checkpoint -> (class in transformers, has it a tracker)
_CLASSES = {
    "sam3_video": ("Sam3VideoModel", True),
    "sam3": ("Sam3Model", False),
    "sam3_lite_text": ("Sam3LiteTextModel", False),
}
_INSTANCE = 0.5  # least score of an instance of a phrase: the library's own threshold in video
_ENCODE_BYTES = 1.2e9  # of one 1008-pixel picture in a batch, in 16 bits, with the activations
# What the video model reads back: max_object_pointers_in_encoder = 16 frames, num_maskmem = 7. Older outputs are dead
# weight (5 MB a person and frame at 1008 pixels).
_KEEP_FRAMES = 16
_FILES = ("config.json", "model.safetensors", "processor_config.json", "tokenizer.json", "tokenizer_config.json")


def create(settings: Settings) -> Sam3HF:
    model = settings.sam3_checkpoint or _sam3.MODEL_SIZES.get(settings.sam3_model, settings.sam3_model)
    return Sam3HF(model, settings.device, settings.dtype, settings.compile, settings.sam3_prompts)


def ready(settings: Settings) -> str:
    """Why `auto` should not take this engine here; empty if it should. Nothing is loaded or fetched."""
    try:
        _sam3.require("torch", "torchvision", "transformers")
        model = settings.sam3_checkpoint or _sam3.MODEL_SIZES.get(settings.sam3_model, settings.sam3_model)
        here = Path(model).expanduser().is_dir() or _sam3.cached_file(model, "model.safetensors") is not None
        if not here and not _sam3.has_token():  # asked first: it needs no torch, which takes seconds to import
            return f"no weights of {model} and no Hugging Face token; see https://huggingface.co/{model}"
        device = _sam3.pick_device(settings.device)
    except EngineUnavailable as error:
        return str(error)
    if device == "cpu":
        return "no GPU, and on a CPU one picture takes a minute; choose it by name: --segmenter sam3-hf"
    return ""


@dataclass
class Encoded:
    """One picture after the vision encoder; every prompt shares it, and what either neck makes of it is made once."""

    shape: tuple[int, int]
    hidden: Any
    vision: Any = field(default=None, repr=False)
    tracker_maps: list | None = field(default=None, repr=False)


class Sam3HF:
    """See the module; the protocols are `BoxSegmenter`, `PointSegmenter`, `TextSegmenter`, `VideoTracker` and
    `ExemplarSegmenter`.

    Args:
        model: a repository on the Hugging Face hub, or a local folder in its layout.
        device: "auto", "cuda", "mps", "cpu".
        dtype: "auto", "float32", "bfloat16", "float16".
        compile: torch.compile the vision encoder (slow first call).
        prompts: "box+points" (points on the person's own face and chest, and on other people's faces), or "box" alone.

    Raises:
        EngineUnavailable: a package, a device, the weights or access to them are missing, or the checkpoint is not
            whole; the message has the command that helps.
        InputError: an unknown device, dtype or kind of prompts.
    """

    uses_neighbours = False

    def __init__(
        self,
        model: str = _sam3.REPOSITORY,
        device: str = "auto",
        dtype: str = "auto",
        compile: bool = False,
        prompts: str = _sam3.PROMPTS[0],
    ):
        self.prompts = _sam3.checked_kind(prompts)
        _sam3.require("torch", "torchvision", "transformers")
        import torch

        _torchvision.ensure()
        self._torch = torch
        self.device = _sam3.pick_device(device)
        self.dtype = _sam3.pick_dtype(dtype, self.device)
        self.model = str(model)
        self.id = f"sam3-hf/{Path(self.model).name}"
        folder = _folder(self.model)
        kind = _kind(folder)
        self.can_track = _CLASSES[kind][1]
        self._whole = _load(folder, kind, self.dtype).to(self.device).eval()
        self._detector = self._whole.detector_model if self.can_track else self._whole
        self._processor = _processor(folder)
        self._size = int(self._detector.config.image_size)
        if self.can_track:
            self._box_model, self._video_model = _trackers(self._whole)
        if compile:
            self._detector.vision_encoder.backbone.compile(mode="max-autotune-no-cudagraphs")

    def describe(self) -> str:
        boxes = "boxes" if self.prompts == "box" else "boxes with points"
        words = f"{boxes}, words and video" if self.can_track else "words, and boxes by example; no video"
        return f"SAM 3 through transformers ({self.model}): {words}, on {self.device} in {str(self.dtype)[6:]}"

    # ---- pictures

    def encode(self, image_bgr: np.ndarray) -> Encoded:
        """One pass of the vision encoder."""
        return self.encode_batch([image_bgr], 1)[0]

    def encode_batch(self, images_bgr: Sequence[np.ndarray], batch: int | None = None) -> list[Encoded]:
        """Encode pictures of any sizes, several at a time.

        Args:
            batch: pictures at a time; None = as many as fit into half of the free memory. Halved when out of memory.
        """
        images = [as_image(image) for image in images_bgr]
        batch = batch or _sam3.free_batch(_ENCODE_BYTES * (2 if self.dtype == self._torch.float32 else 1), self.device)
        return _sam3.in_batches(images, batch, self._encode)

    def _encode(self, images: Sequence[np.ndarray]) -> list[Encoded]:
        with self._torch.inference_mode():
            hidden = self._detector.vision_encoder.backbone(self._pixels(images)).last_hidden_state
        return [Encoded(image.shape[:2], hidden[i : i + 1]) for i, image in enumerate(images)]

    def _pixels(self, images: Sequence[np.ndarray]):
        """(B, 3, S, S) pixel values, resized and scaled on the device, as the checkpoint's own processor does it."""
        prepared = []
        for image in images:
            rgb = np.ascontiguousarray(image[:, :, ::-1].transpose(2, 0, 1))
            picture = self._torch.from_numpy(rgb).to(self.device)
            prepared.append(self._processor.image_processor(images=picture, return_tensors="pt").pixel_values)
        return self._torch.cat(prepared).to(self.device, self.dtype)

    def by_box(
        self,
        encoded: Encoded,
        boxes: np.ndarray | Sequence[BoxLike],
        faces: Sequence[Face | None] | None = None,
        others: Sequence[Face | BoxLike] = (),
    ) -> list[Segment]:
        """One mask per box; what the faces say is asked as points (see `_sam3.checked_prompts`), and boxes with equally
        many of them in one pass. See `BoxSegmenter`."""
        if len(boxes) == 0:
            return []
        prompts = _sam3.checked_prompts(boxes, faces, others, encoded.shape, self.prompts)
        if not self.can_track:
            return [self._by_example(encoded, prompt.box) for prompt in prompts]
        logits, scores = _sam3.asked(prompts, lambda *given: self._ask(encoded, *given))
        return [
            _sam3.to_segment(mask, encoded.shape, score, prompt.box, self.id, self.device)
            for mask, score, prompt in zip(logits, scores, prompts, strict=True)
        ]

    def _ask(self, encoded: Encoded, boxes: np.ndarray | None, points: np.ndarray, inside: np.ndarray):
        """Low-resolution logits (N, h, w) and scores (N,) of boxes (N, 4), if any, with points (N, P, 2)."""
        torch = self._torch
        scale = np.array([self._size / encoded.shape[1], self._size / encoded.shape[0]], np.float32)
        prompts = {}
        if boxes is not None:
            prompts["input_boxes"] = torch.from_numpy(boxes * np.tile(scale, 2))[None].to(self.device)
        if points.size:
            prompts["input_points"] = torch.from_numpy(points * scale)[None].to(self.device)
            prompts["input_labels"] = torch.from_numpy(inside.astype(np.int64))[None].to(self.device)
        with torch.inference_mode():
            out = self._box_model(image_embeddings=self._maps(encoded), multimask_output=False, **prompts)
        scores = out.iou_scores[0, :, 0].float().clamp(0, 1).cpu().numpy()
        return out.pred_masks[0, :, 0].float().cpu().numpy(), scores

    def _maps(self, encoded: Encoded) -> list:
        """The feature maps as the box prompt wants them, made once a picture.

        The library's own path leaves out `no_memory_embedding`, which the official code adds to the last map.
        """
        if encoded.tracker_maps is None:
            with self._torch.inference_mode():
                seen = SimpleNamespace(last_hidden_state=encoded.hidden)
                flat, _ = self._whole.get_vision_features_for_tracker(seen)
                flat = [*flat[:-1], flat[-1] + self._box_model.no_memory_embedding]
                sizes = self._box_model.backbone_feature_sizes
                encoded.tracker_maps = [
                    part.permute(1, 2, 0).reshape(1, -1, *size) for part, size in zip(flat, sizes, strict=True)
                ]
        return encoded.tracker_maps

    def _by_example(self, encoded: Encoded, box: np.ndarray) -> Segment:
        """For checkpoints without a tracker: the box as an example, which finds every such thing; ours fits it best."""
        torch = self._torch
        height, width = encoded.shape
        x0, y0, x1, y1 = box / (width, height, width, height)
        example = torch.tensor([[[(x0 + x1) / 2, (y0 + y1) / 2, x1 - x0, y1 - y0]]], dtype=self.dtype)
        label = torch.ones((1, 1), dtype=torch.long, device=self.device)
        found = self._instances(
            encoded, self._words("visual"), 0.0, input_boxes=example.to(self.device), input_boxes_labels=label
        )
        inside = np.zeros(encoded.shape, bool)
        inside[int(box[1]) : int(np.ceil(box[3])), int(box[0]) : int(np.ceil(box[2]))] = True
        area = max(1, int(np.count_nonzero(inside)))

        def fit(segment: Segment) -> float:
            held = int(np.count_nonzero(segment.mask & inside))
            return held / max(1, area + segment.area - held)

        if not found:
            return Segment(np.zeros(encoded.shape, bool), 0.0, box, self.id)
        return max(found, key=fit)

    # ---- words

    def by_text(self, encoded: Encoded, phrase: str, threshold: float = _INSTANCE) -> list[Segment]:
        """Every instance of a phrase, best first; see `TextSegmenter`."""
        found = self._instances(encoded, self._words(_sam3.checked_phrase(phrase)), threshold)
        return _sam3.without_duplicates(found)

    def _words(self, phrase: str) -> dict:
        # The text encoder reads 32 tokens; what goes beyond is not heard.
        most = int(self._detector.config.text_config.max_position_embeddings)
        words = self._processor.tokenizer(
            phrase, return_tensors="pt", padding="max_length", truncation=True, max_length=most
        )
        return {k: v.to(self.device) for k, v in words.items() if k in ("input_ids", "attention_mask")}

    def _vision(self, encoded: Encoded):
        """The features as the detector wants them."""
        if encoded.vision is None:
            from transformers.models.sam3.modeling_sam3 import Sam3VisionEncoderOutput

            side = self._size // self._detector.config.vision_config.backbone_config.patch_size
            grid = encoded.hidden.view(1, side, side, -1).permute(0, 3, 1, 2)
            maps, places = self._detector.vision_encoder.neck(grid)
            encoded.vision = Sam3VisionEncoderOutput(
                last_hidden_state=encoded.hidden, fpn_hidden_states=maps, fpn_position_encoding=places
            )
        return encoded.vision

    def _instances(self, encoded: Encoded, words: dict, threshold: float, **boxes) -> list[Segment]:
        with self._torch.inference_mode():
            out = self._detector(vision_embeds=self._vision(encoded), **words, **boxes)
            scores = out.pred_logits[0].float().sigmoid()
            if out.presence_logits is not None:
                scores = scores * out.presence_logits[0].float().sigmoid()
            keep = scores >= threshold
            scores, masks = scores[keep].cpu().numpy(), out.pred_masks[0][keep].float().cpu().numpy()
        whole = whole_box(encoded.shape)
        return [
            _sam3.to_segment(m, encoded.shape, s, whole, self.id, self.device)
            for m, s in zip(masks, scores, strict=True)
        ]

    # ---- video

    def track(
        self, images_bgr: Sequence[np.ndarray], seeds: Mapping[int, Mapping[Hashable, np.ndarray]]
    ) -> Iterator[tuple[int, dict[Hashable, Segment]]]:
        """Follow people through the frames of one shot; see `VideoTracker`.

        Memory does not grow with the number of frames, if `images_bgr` does not hold them all.

        Raises:
            EngineUnavailable: this checkpoint has no tracker.
        """
        forward, backward = self.start(), self.start()
        earliest: dict[Hashable, int] = {}
        for index in sorted(seeds):
            for who in seeds[index]:
                earliest.setdefault(who, index)
        for index in range(min(seeds), len(images_bgr)):
            yield index, forward.step(images_bgr[index], seeds.get(index))
        for index in range(max(earliest.values()), -1, -1):
            begun = {who: seeds[index][who] for who, first in earliest.items() if first == index}
            found = backward.step(images_bgr[index], begun)
            found = {who: segment for who, segment in found.items() if index < earliest[who]}
            if found:
                yield index, found

    def start(self) -> Session:
        """A new session, to which frames are handed one by one.

        Raises:
            EngineUnavailable: this checkpoint has no tracker.
        """
        if not self.can_track:
            raise EngineUnavailable(f"{self.model} has no video tracker; choose --sam3-model large")
        return Session(self)

    # ---- few-shot

    def by_points(
        self,
        encoded: Encoded,
        points: np.ndarray | Sequence[Sequence[float]],
        inside: Sequence[bool],
        box: BoxLike | None = None,
    ) -> Segment:
        """One thing out of clicks; see `PointSegmenter`.

        Raises:
            EngineUnavailable: this checkpoint has no tracker.
        """
        places, on, within = checked_points(points, inside, box, encoded.shape)
        if not self.can_track:
            raise EngineUnavailable(f"{self.model} takes no points; choose --sam3-model large")
        logits, scores = self._ask(encoded, None if within is None else within[None], places[None], on[None])
        box = whole_box(encoded.shape) if within is None else within
        return _sam3.to_segment(logits[0], encoded.shape, scores[0], box, self.id, self.device)

    def learn(self, references: Sequence[Exemplar]) -> Examples:
        """Few-shot by the video memory; see `ExemplarSegmenter`.

        Raises:
            EngineUnavailable: this checkpoint has no tracker.
            InputError: nothing is marked in the references.
        """
        return Examples(references, self._remembering)

    def _remembering(self, references: Sequence[Exemplar], ids: Sequence[int]) -> Session:
        session = self.start()
        for image, masks in references:
            nothing = np.zeros(image.shape[:2], bool)
            session.step(image, {i: masks.get(i, nothing) for i in ids})
        return session

    def follow_words(
        self, images_bgr: Iterable[np.ndarray], phrases: Sequence[str], threshold: float = _INSTANCE
    ) -> Iterator[list[tuple[str, int, Segment]]]:
        """Every instance of several phrases through a video, frame by frame, in one pass.

        Args:
            images_bgr: the frames of one shot, streamed.
            phrases: what to look for.
            threshold: least score of a detection.

        Yields:
            For each frame (phrase, id of the object, its segment); ids are stable through the video.
        """
        if not self.can_track:
            raise EngineUnavailable(f"{self.model} has no video tracker; choose --sam3-model large")
        torch, model = self._torch, self._whole
        phrases = [_sam3.checked_phrase(p) for p in phrases]
        from transformers import Sam3VideoProcessor

        processor = Sam3VideoProcessor.from_pretrained(_folder(self.model), local_files_only=True)
        session = processor.init_video_session(
            inference_device=self.device, inference_state_device=self.device, video_storage_device=self.device,
            processing_device=self.device, dtype=self.dtype,
        )  # fmt: skip
        processor.add_text_prompt(session, list(phrases))
        before = model.score_threshold_detection, model.new_det_thresh
        model.score_threshold_detection, model.new_det_thresh = threshold, max(threshold, min(0.7, 1.4 * threshold))
        try:
            for number, image in enumerate(images_bgr):
                image = as_image(image)
                with torch.inference_mode():
                    out = model(inference_session=session, frame=self._pixels([image])[0])
                    low = next((list(mask.shape[-2:]) for mask in out.obj_id_to_mask.values()), [1, 1])
                    found = processor.postprocess_outputs(session, out, original_sizes=[low])
                _prune_words(session, number)
                yield self._named(found, out.obj_id_to_mask, image.shape[:2])
        finally:
            model.score_threshold_detection, model.new_det_thresh = before

    def _named(self, found: dict, low: Mapping[int, Any], shape: tuple[int, int]) -> list[tuple[str, int, Segment]]:
        """The library's choice among the objects of a frame, drawn from their low-resolution logits (1, h, w).

        The library would enlarge, threshold and hand over every mask at the picture's size. `to_segment` needs the
        small one alone, and its logits give a soft edge.
        """
        phrase_of = {int(i): phrase for phrase, ids in found["prompt_to_obj_ids"].items() for i in ids}
        scores, inside = found["scores"].float().tolist(), found["masks"].cpu().numpy()
        result = []
        for number, score, mask in zip(map(int, found["object_ids"]), scores, inside, strict=True):
            logits = low[number].float().cpu().numpy().reshape(mask.shape)
            logits = np.where(mask | (logits <= 0), logits, -8)  # what another object has is not this one's
            segment = _sam3.to_segment(logits, shape, score, whole_box(shape), self.id, self.device)
            if segment.area:
                result.append((phrase_of.get(number, ""), number, segment))
        return result


class Session:
    """People followed through the frames of one shot, each handed in once, in either direction of time."""

    def __init__(self, engine: Sam3HF):
        from transformers.models.sam3_tracker_video.modeling_sam3_tracker_video import (
            Sam3TrackerVideoInferenceSession,
        )

        self._engine = engine
        self._ids: dict[Hashable, int] = {}
        self._frame = 0
        self._session = Sam3TrackerVideoInferenceSession(
            inference_device=engine.device, inference_state_device=engine.device, video_storage_device=engine.device,
            dtype=engine.dtype,
        )  # fmt: skip
        self.prune = True

    def step(self, image_bgr: np.ndarray, masks: Mapping[Hashable, np.ndarray] | None = None) -> dict:
        """The next frame.

        Args:
            image_bgr: uint8 (H, W, 3).
            masks: who is to be followed from here on: bool (H, W) each. One already followed is seeded anew.

        Returns:
            A segment for everyone followed so far.
        """
        engine, torch = self._engine, self._engine._torch
        image_bgr = as_image(image_bgr)
        for who, mask in (masks or {}).items():
            self._add(who, mask)
        self._session.obj_with_new_inputs = [self._ids[who] for who in masks or ()]
        if not self._ids:
            self._frame += 1
            return {}
        with torch.inference_mode():
            out = engine._video_model(
                self._session, frame=engine._pixels([image_bgr])[0], frame_idx=self._frame, run_mem_encoder=True
            )
        if self.prune:
            _prune(self._session, self._frame)
        self._frame += 1
        return self._segments(out, image_bgr.shape[:2])

    def _segments(self, out, shape: tuple[int, int]) -> dict:
        logits = out.pred_masks[:, 0].float().cpu().numpy()
        scores = out.object_score_logits.float().flatten().sigmoid().cpu().numpy()
        whole = whole_box(shape)
        found = {}
        for who, number in self._ids.items():
            row = out.object_ids.index(number)
            there = scores[row] >= 0.5
            values = logits[row] if there else np.full_like(logits[row], -20)
            score = float(scores[row])
            found[who] = _sam3.to_segment(values, shape, score, whole, self._engine.id, self._engine.device)
        return found

    def answer(self, image_bgr: np.ndarray) -> dict:
        """A picture after all the frames so far, which leaves no trace: the next one is asked as if it were the first.

        Every seeded frame is attended to, however many there are (the library stops at four).
        """
        engine, torch, config = self._engine, self._engine._torch, self._engine._video_model.config
        image_bgr = as_image(image_bgr)
        before, config.max_cond_frame_num = config.max_cond_frame_num, -1
        self._session.cache.clear_all()  # it is kept by frame number, and this one comes again
        try:
            with torch.inference_mode():
                out = engine._video_model(
                    self._session, frame=engine._pixels([image_bgr])[0], frame_idx=self._frame, run_mem_encoder=False
                )
        finally:
            config.max_cond_frame_num = before
            self._session.cache.clear_all()
            self._session.processed_frames.clear()
            for outputs in self._session.output_dict_per_obj.values():
                outputs["non_cond_frame_outputs"].clear()
            for tracked in self._session.frames_tracked_per_obj.values():
                tracked.pop(self._frame, None)
        return self._segments(out, image_bgr.shape[:2])

    def _add(self, who: Hashable, mask: np.ndarray) -> None:
        number = self._ids.setdefault(who, len(self._ids) + 1)
        row = self._session.obj_id_to_idx(number)
        size = self._engine._size
        resized = cv2.resize(mask.astype(np.float32), (size, size), interpolation=cv2.INTER_AREA) >= 0.5
        tensor = self._engine._torch.from_numpy(resized)[None, None]
        self._session.add_mask_inputs(row, self._frame, tensor.float())
        self._session.remove_point_inputs(row, self._frame)

    def size_bytes(self) -> int:
        """Bytes of all tensors that the session holds."""
        session = self._session
        return _bytes([session.output_dict_per_obj, session.processed_frames, session.mask_inputs_per_obj])


def _forget_outputs(session, frame: int) -> None:
    for outputs in session.output_dict_per_obj.values():
        for kind, frames in outputs.items():
            for index, output in list(frames.items()):
                output.pop("high_res_masks", None)
                if kind == "non_cond_frame_outputs" and frame - index > _KEEP_FRAMES:
                    del frames[index]


def _prune(session, frame: int) -> None:
    """Drop what the model never reads back. Results stay the same to the bit; memory stays the same over time."""
    _forget_outputs(session, frame)
    session.processed_frames.clear()
    for tracked in session.frames_tracked_per_obj.values():
        for index in [i for i in tracked if frame - i > _KEEP_FRAMES]:
            del tracked[index]
    for inputs in session.mask_inputs_per_obj.values():
        for index in [i for i in inputs if i < frame]:
            del inputs[index]


def _prune_words(session, frame: int) -> None:
    """The same for a session of phrases; the keys of frames stay, as their number is the frame count."""
    _forget_outputs(session, frame)
    if session.processed_frames and frame in session.processed_frames:
        session.processed_frames[frame] = None


def _bytes(value) -> int:
    if isinstance(value, Mapping):
        return sum(map(_bytes, value.values()))
    if isinstance(value, list | tuple):
        return sum(map(_bytes, value))
    return value.element_size() * value.nelement() if hasattr(value, "element_size") else 0


# ---- loading


def _folder(model: str) -> str:
    """A local folder in the published layout: the given one, or the cache's after fetching what it lacks."""
    path = Path(model).expanduser()
    if path.is_dir():
        return str(path)
    if path.suffix or model.startswith((".", "/", "~")) or model.count("/") != 1:
        raise EngineUnavailable(
            f"no folder {model}; expected a folder with config.json and model.safetensors, or a repository of the "
            f"Hugging Face hub such as {_sam3.REPOSITORY}"
        )
    return str(_sam3.fetch(model, _FILES)[0].parent)


def _kind(folder: str) -> str:
    path = Path(folder) / "config.json"
    try:
        kind = json.loads(path.read_text("utf-8")).get("model_type")
    except (OSError, ValueError, AttributeError) as error:
        raise EngineUnavailable(
            f"{path}: not a model's configuration ({error}); expected a SAM 3 checkpoint"
        ) from error
    if kind not in _CLASSES:
        raise EngineUnavailable(f"{folder} holds a {kind!r} model; expected SAM 3 ({', '.join(_CLASSES)})")
    return kind


def _load(folder: str, kind: str, dtype):
    import transformers
    from safetensors import SafetensorError

    transformers.logging.set_verbosity_error()  # the loading report says in twenty lines what is checked below
    try:
        model, info = getattr(transformers, _CLASSES[kind][0]).from_pretrained(
            folder, dtype=dtype, output_loading_info=True, local_files_only=True, use_safetensors=True
        )
    except (OSError, SafetensorError, RuntimeError, ValueError, KeyError) as error:
        raise EngineUnavailable(
            f"{folder}: the weights cannot be loaded ({_first_line(error)}); the file may be truncated or another "
            "model's. Delete it and fetch it again"
        ) from error
    wrong = {what: sorted(map(str, info.get(what) or ())) for what in ("missing_keys", "unexpected_keys")}
    wrong["mismatched_keys"] = [str(key) for key, *_ in info.get("mismatched_keys") or ()]
    bad = [f"{len(keys)} {what.replace('_', ' ')} ({keys[0]} ...)" for what, keys in wrong.items() if keys]
    if bad:
        raise EngineUnavailable(
            f"{folder} does not fit {_CLASSES[kind][0]}: {'; '.join(bad)}. Tensors that are not there would be random "
            f"numbers, so it is refused; fetch {_sam3.REPOSITORY} again, with {_sam3.INSTALL}"
        )
    return model


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def _processor(folder: str):
    from transformers import Sam3Processor

    try:
        return Sam3Processor.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError) as error:
        raise EngineUnavailable(
            f"{folder}: the processor's files are missing or damaged ({_first_line(error)}); fetch the folder again"
        ) from error


def _trackers(whole: Any) -> tuple[Any, Any]:
    """The box model and the video model out of the loaded whole's own tensors: nothing is read twice."""
    import torch
    from transformers import Sam3TrackerConfig, Sam3TrackerModel

    video = whole.tracker_model
    settings = video.config
    config = Sam3TrackerConfig(
        vision_config=settings.vision_config.to_dict(),
        prompt_encoder_config=settings.prompt_encoder_config.to_dict(),
        mask_decoder_config=settings.mask_decoder_config.to_dict(),
    )
    with torch.device("meta"):
        boxes = Sam3TrackerModel(config)
    boxes.vision_encoder = None
    loaded = boxes.load_state_dict(video.state_dict(), strict=False, assign=True)
    left = [n for n, t in (*boxes.named_parameters(), *boxes.named_buffers()) if t.is_meta]
    if loaded.missing_keys or left:
        raise EngineUnavailable(
            f"this release of transformers lays SAM 3's tracker out differently ({(loaded.missing_keys + left)[0]}); "
            f"run: {_sam3.INSTALL}"
        )
    encoder = type(whole.detector_model.vision_encoder)
    with torch.device("meta"):
        vision = encoder(settings.vision_config)
    vision.backbone, vision.neck = whole.detector_model.vision_encoder.backbone, whole.tracker_neck
    video.vision_encoder = vision
    return boxes.eval(), video.eval()

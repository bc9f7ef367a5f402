"""Segmenter "sam3-hf": SAM 3 (Carion et al., 2025) through transformers, on any device.

One vision encode serves boxes (one mask per box), phrases (every instance) and video. All parts are one set of
weights: the image tracker and the video tracker are put together from the tensors of the one model that is loaded. A
checkpoint with a missing or an unexpected tensor is refused; random numbers never segment anybody.
"""

from __future__ import annotations

import contextlib
import threading
from collections import OrderedDict
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from ..errors import EngineUnavailable
from ..geometry import box_iou, whole_box
from ..settings import Settings
from ..types import BoxLike, Exemplar, Face, Segment, as_image
from . import _sam3, _sam3_hf_loading, _sam3_people, _torchvision
from ._examples import Examples, checked_points
from ._sam3_hf_tracking import References, Session, followed
from ._sam3_hf_words import followed_words

_INSTANCE = 0.5  # least score of an instance of a phrase: the library's own threshold in video
_ENCODE_BYTES = 1.2e9  # of one 1008-pixel picture in a batch, in 16 bits, with the activations
_TEXTS = 256  # phrases whose encoding is kept, of some 20 kB each


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
    people: tuple[np.ndarray, np.ndarray] | None = field(default=None, repr=False)


class Sam3HF:
    """See the module; the protocols are `BoxSegmenter`, `PointSegmenter`, `TextSegmenter`, `VideoTracker` and
    `ExemplarSegmenter`.

    Args:
        model: a repository on the Hugging Face hub, or a local folder in its layout.
        device: "auto", "cuda", "mps", "cpu".
        dtype: "auto", "float32", "bfloat16", "float16".
        compile: torch.compile the vision encoder (slow first call).
        prompts: "people" (the word "person" for everybody at once, and boxes and points for whom that does not tell
            apart), "box+points" (points on the person's own face and chest, and on other people's faces), or "box".

    Raises:
        EngineUnavailable: a package, a device, the weights or access to them are missing, or the checkpoint is not
            whole; the message has the command that helps.
        InputError: an unknown device, dtype or kind of prompts.
    """

    uses_neighbours = False
    encode_bytes = _ENCODE_BYTES

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
        self.torch = torch
        self._lock = threading.RLock()
        self._texts: OrderedDict[str, dict] = OrderedDict()
        self.device = _sam3.pick_device(device)
        self.dtype = _sam3.pick_dtype(dtype, self.device)
        self.model = str(model)
        self.id = f"sam3-hf/{Path(self.model).name}"
        folder = _sam3_hf_loading.folder_of(self.model)
        kind = _sam3_hf_loading.kind_of(folder)
        self.can_track = _sam3_hf_loading.CLASSES[kind][1]
        self.whole = _sam3_hf_loading.load(folder, kind, self.dtype).to(self.device).eval()
        self.detector = self.whole.detector_model if self.can_track else self.whole
        self._processor = _sam3_hf_loading.processor_of(folder)
        self._size = int(self.detector.config.image_size)
        self.blank = torch.zeros(1, dtype=self.dtype, device=self.device)  # a frame that nobody looks at
        if self.can_track:
            self._box_model, self.video_model, self.video_model_of_all = _sam3_hf_loading.trackers(self.whole)
            self.seed_size = 4 * int(self.video_model.prompt_encoder.mask_input_size[0])
        if compile:
            self.detector.vision_encoder.backbone.compile(mode="max-autotune-no-cudagraphs")

    def describe(self) -> str:
        boxes = _sam3.SAID[self.prompts]
        words = f"{boxes}, words and video" if self.can_track else "words, and boxes by example; no video"
        return f"SAM 3 through transformers ({self.model}): {words}, on {self.device} in {str(self.dtype)[6:]}"

    @contextlib.contextmanager
    def turn(self) -> Iterator[None]:
        """One at a time, for as long as a call to the model takes: tokenizers cannot be shared between threads, and two
        pictures at once would ask for twice the memory that `free_batch` found free."""
        with self._lock, self.torch.inference_mode():
            yield

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
        batch = batch or _sam3.free_batch(_ENCODE_BYTES * (2 if self.dtype == self.torch.float32 else 1), self.device)
        return _sam3.in_batches(images, batch, self._encode)

    def _encode(self, images: Sequence[np.ndarray]) -> list[Encoded]:
        with self.turn():
            hidden = self._hidden(images)
        return [Encoded(image.shape[:2], hidden[i : i + 1]) for i, image in enumerate(images)]

    def _hidden(self, images: Sequence[np.ndarray]) -> Any:
        return self.detector.vision_encoder.backbone(self._pixels(images)).last_hidden_state

    def for_tracker(self, images: Sequence[np.ndarray], batch: int) -> list[dict]:
        """What the tracker sees of pictures, as its sessions' caches hold it; `turn` is the caller's.

        Args:
            images: uint8 (H, W, 3) each, of any sizes.
            batch: how many go through the encoder together; halved when out of memory.
        """

        def some(images: Sequence[np.ndarray]) -> list[dict]:
            maps, places = self._tracker_features(self._hidden(images))
            # Copies, so that a frame that is kept does not keep its batch. All frames have the same places.
            return [
                {
                    "vision_feats": [part[:, i : i + 1].clone() for part in maps],
                    "vision_pos_embeds": [part[:, :1] for part in places],
                }
                for i in range(len(images))
            ]

        return _sam3.in_batches(images, batch, some)

    def _tracker_features(self, hidden: Any) -> tuple[list, list]:
        return self.whole.get_vision_features_for_tracker(SimpleNamespace(last_hidden_state=hidden))

    def _pixels(self, images: Sequence[np.ndarray]):
        """(B, 3, S, S) pixel values, resized and scaled on the device, as the checkpoint's own processor does it."""
        prepared = []
        for image in images:
            rgb = np.ascontiguousarray(image[:, :, ::-1].transpose(2, 0, 1))
            picture = self.torch.from_numpy(rgb).to(self.device)
            prepared.append(self._processor.image_processor(images=picture, return_tensors="pt").pixel_values)
        return self.torch.cat(prepared).to(self.device, self.dtype)

    def by_box(
        self,
        encoded: Encoded,
        boxes: np.ndarray | Sequence[BoxLike],
        faces: Sequence[Face | None] | None = None,
        others: Sequence[Face | BoxLike] = (),
    ) -> list[Segment]:
        """One mask per box; see `_sam3_people` for what is asked, and `BoxSegmenter`."""
        picture = _sam3_people.Picture(
            encoded.shape, partial(self._ask, encoded), partial(self._people, encoded), self.can_track
        )
        return [
            _sam3.to_segment(one.logits, encoded.shape, one.score, one.box, self.id, self.device)
            for one in _sam3_people.drawn(picture, boxes, faces, others, self.prompts)
        ]

    def _ask(
        self,
        encoded: Encoded,
        boxes: np.ndarray | None,
        points: np.ndarray,
        inside: np.ndarray,
        logits: np.ndarray | None = None,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Low-resolution logits (N, h, w) and scores (N,) of boxes (N, 4), if any, with points (N, P, 2) and the logits
        of first answers (N, h, w); see `_sam3_people.Picture.decode`."""
        if not self.can_track:
            assert boxes is not None
            found = [self._by_example(encoded, box) for box in boxes]
            return np.stack([mask for mask, _ in found]), np.array([score for _, score in found])
        torch = self.torch
        scale = np.array([self._size / encoded.shape[1], self._size / encoded.shape[0]], np.float32)
        prompts = {}
        if boxes is not None:
            prompts["input_boxes"] = torch.from_numpy(boxes * np.tile(scale, 2)).to(self.device)
        if points.size:
            prompts["input_points"] = torch.from_numpy(points * scale).to(self.device)
            prompts["input_labels"] = torch.from_numpy(inside.astype(np.int64)).to(self.device)
        with self.turn():
            maps = self._maps(encoded)
            if logits is None:
                prompts = {name: given[None] for name, given in prompts.items()}
            else:
                # The library takes one mask a picture: for each prompt to have its own, the picture comes with each.
                prompts = {name: given[:, None] for name, given in prompts.items()}
                prompts["input_masks"] = torch.from_numpy(logits)[:, None].to(self.device, self.dtype)
                maps = [part.expand(len(logits), -1, -1, -1) for part in maps]
            out = self._box_model(image_embeddings=maps, multimask_output=False, **prompts)
            masks, scores = out.pred_masks.float().flatten(0, 2), out.iou_scores.float().flatten().clamp(0, 1)
            return masks.cpu().numpy(), scores.cpu().numpy()

    def _maps(self, encoded: Encoded) -> list:
        """The feature maps as the box prompt wants them, made once a picture.

        The library's own path leaves out `no_memory_embedding`, which the official code adds to the last map.
        """
        if encoded.tracker_maps is None:
            flat, _ = self._tracker_features(encoded.hidden)
            flat = [*flat[:-1], flat[-1] + self._box_model.no_memory_embedding]
            sizes = self._box_model.backbone_feature_sizes
            encoded.tracker_maps = [
                part.permute(1, 2, 0).reshape(1, -1, *size) for part, size in zip(flat, sizes, strict=True)
            ]
        return encoded.tracker_maps

    def _by_example(self, encoded: Encoded, box: np.ndarray) -> tuple[np.ndarray, float]:
        """For checkpoints without a tracker: the box as an example, which finds every such thing. Ours is the one whose
        own box fits best; only its mask leaves the device. Logits (h, w), and the score."""
        torch = self.torch
        height, width = encoded.shape
        across = np.array((width, height, width, height), np.float32)
        x0, y0, x1, y1 = box / across
        example = torch.tensor([[[(x0 + x1) / 2, (y0 + y1) / 2, x1 - x0, y1 - y0]]], dtype=self.dtype)
        label = torch.ones((1, 1), dtype=torch.long, device=self.device)
        with self.turn():
            out, scores = self._detected(
                encoded, "visual", input_boxes=example.to(self.device), input_boxes_labels=label
            )
            found = out.pred_boxes[0].float().cpu().numpy() * across
            best = int(box_iou(box[None], found)[0].argmax())
            return out.pred_masks[0, best].float().cpu().numpy(), float(scores[best])

    # ---- words

    def by_text(self, encoded: Encoded, phrase: str, threshold: float = _INSTANCE) -> list[Segment]:
        """Every instance of a phrase, best first; see `TextSegmenter`."""
        logits, scores = self._instances(encoded, _sam3.checked_phrase(phrase), threshold)
        whole = whole_box(encoded.shape)
        segments = [
            _sam3.to_segment(mask, encoded.shape, score, whole, self.id, self.device)
            for mask, score in zip(logits, scores, strict=True)
        ]
        return [segment for segment in segments if segment.area]

    def _people(self, encoded: Encoded, word: str) -> tuple[np.ndarray, np.ndarray]:
        """The instances of the one word that is asked of every picture, looked for once."""
        if encoded.people is None:
            encoded.people = self._instances(encoded, word, _INSTANCE)
        return encoded.people

    def _instances(self, encoded: Encoded, phrase: str, threshold: float) -> tuple[np.ndarray, np.ndarray]:
        """Low-resolution logits (K, h, w) and scores (K,), best first, of two that are the same the surer one."""
        with self.turn():
            out, scores = self._detected(encoded, phrase)
            keep = scores >= threshold
            found, masks = scores[keep].cpu().numpy(), out.pred_masks[0][keep].float().cpu().numpy()
        return _sam3.distinct(masks, found)

    def _detected(self, encoded: Encoded, phrase: str, **boxes: Any) -> tuple[Any, Any]:
        """The detector's answer, and its scores (queries,) on the device; `turn` is the caller's."""
        out = self.detector(vision_embeds=self.vision(encoded), **self.words(phrase), **boxes)
        scores = out.pred_logits[0].float().sigmoid()
        if out.presence_logits is not None:
            scores = scores * out.presence_logits[0].float().sigmoid()
        return out, scores

    def words(self, phrase: str) -> dict:
        """A phrase as the detector wants it, encoded once; `turn` is the caller's."""
        if phrase not in self._texts:
            # The text encoder reads 32 tokens; what goes beyond is not heard.
            most = int(self.detector.config.text_config.max_position_embeddings)
            given = self._processor.tokenizer(
                phrase, return_tensors="pt", padding="max_length", truncation=True, max_length=most
            )
            tokens = {k: v.to(self.device) for k, v in given.items() if k in ("input_ids", "attention_mask")}
            encoded = self.detector.get_text_features(**tokens, return_dict=True)
            self._texts[phrase] = {"text_embeds": encoded, "attention_mask": tokens["attention_mask"]}
            while len(self._texts) > _TEXTS:
                self._texts.popitem(last=False)
        return self._texts[phrase]

    def vision(self, encoded: Encoded) -> Any:
        """The features as the detector wants them; `turn` is the caller's."""
        if encoded.vision is None:
            from transformers.models.sam3.modeling_sam3 import Sam3VisionEncoderOutput

            side = self._size // self.detector.config.vision_config.backbone_config.patch_size
            grid = encoded.hidden.view(1, side, side, -1).permute(0, 3, 1, 2)
            maps, places = self.detector.vision_encoder.neck(grid)
            encoded.vision = Sam3VisionEncoderOutput(
                last_hidden_state=encoded.hidden, fpn_hidden_states=maps, fpn_position_encoding=places
            )
        return encoded.vision

    # ---- video

    def track(
        self, images_bgr: Sequence[np.ndarray], seeds: Mapping[int, Mapping[Hashable, np.ndarray]]
    ) -> Iterator[tuple[int, dict[Hashable, Segment]]]:
        """Follow people through the frames of one shot, of whom no two share a pixel; see `VideoTracker`.

        Every frame comes once, in order, and is encoded once, but for those that do not fit into 1 GB where it is read
        in both directions. Memory does not grow with the number of frames, if `images_bgr` does not hold them all, but
        for the small masks (0.2 MB a person and frame) of those who are first known in a later frame.

        Raises:
            EngineUnavailable: this checkpoint has no tracker.
        """
        self.start()  # may there be a session?
        return followed(self, images_bgr, seeds)

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
        self.start()  # may there be a session?
        known = References(self, references)
        try:
            return Examples(references, known.remembering)
        finally:
            known.forget()

    def follow_words(
        self, images_bgr: Iterable[np.ndarray], phrases: Sequence[str], threshold: float = _INSTANCE
    ) -> Iterator[list[tuple[str, int, Segment]]]:
        """Every instance of several phrases through a video, in one pass; see `_sam3_hf_words`.

        Args:
            images_bgr: the frames of one shot, streamed: some 16 are read ahead, and what is found is said 15 later.
            phrases: what to look for.
            threshold: least score of a detection.

        Yields:
            For each frame (phrase, id of the object, its segment); ids are stable through the video.

        Raises:
            EngineUnavailable: this checkpoint has no tracker.
        """
        if not self.can_track:
            raise EngineUnavailable(f"{self.model} has no video tracker; choose --sam3-model large")
        return followed_words(self, images_bgr, phrases, threshold)

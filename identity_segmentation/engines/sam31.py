"""Segmenter "sam3.1": video by SAM 3.1's tracker, pictures by the best other engine that can run here.

SAM 3.1 ("object multiplex") carries sixteen people through its memory and its decoder in one pass, where SAM 3 needs a
pass a person. It is made for video: its tracker is seeded with masks, which the engine for pictures draws. It needs an
NVIDIA GPU, Meta's code from a clone at a named commit - neither Meta's package on PyPI nor transformers has it - and a
checkpoint of its own.

What follows was read in that commit: the names of the checkpoint's tensors, the model's methods and what they give. It
has never run on the checkpoint; docs/verified.md says what has.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import threading
from collections.abc import Hashable, Iterator, Mapping, MutableMapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import cv2
import numpy as np

from ..errors import EngineUnavailable
from ..geometry import whole_box
from ..settings import Settings
from ..types import BoxLike, Face, Segment, as_image
from . import _meta, _sam3, _torchvision, embedded_masks, sam3_hf, sam3_official
from .protocols import BoxSegmenter, EngineModule

REPOSITORY = "facebook/sam3.1"
CHECKPOINT = "sam3.1_multiplex.pt"
COMMIT = "1beb5833d5c6e81b361243aad1b4a4759a9c73a3"  # of facebookresearch/sam3: where its pull request 503 stood
INSTALL = f'pip install "sam3 @ git+https://github.com/facebookresearch/sam3@{COMMIT}"'
_PACKAGES = ("torch", "torchvision", "sam3", "triton", "psutil", "skimage")
_SOURCE = ("model", "video_tracking_multiplex_demo.py")  # in the package's folder, of a clone that has SAM 3.1
# Where the checkpoint's tensors belong in the tracker, which has its own copy of the vision encoder. Meta's own names
# of these two, in checkpoints that were not published, are the second of each pair.
_PLACES = {
    "tracker.model.": "",
    "sam2_predictor.model.": "",
    "detector.backbone.vision_backbone.": "backbone.vision_backbone.",
    "sam3_model.backbone.vision_backbone.": "backbone.vision_backbone.",
}
_KEPT = 16  # frames of memory that the tracker looks back to: as many object pointers as it was trained with
_ENCODED = 32  # frames whose features are kept for the other direction and for people who come later, 32 MB each


def create(settings: Settings) -> Sam31:
    """The engine, with the best other one for pictures; see `EngineModule`."""
    others = replace(settings, sam3_checkpoint="")  # it names SAM 3.1's
    modules = (cast(EngineModule, module) for module in (sam3_official, sam3_hf, embedded_masks))
    pictures = next(module for module in modules if module is embedded_masks or not module.ready(others))
    return Sam31(pictures.create(others), settings.sam3_checkpoint, settings.device)


def ready(settings: Settings) -> str:
    """Why `auto` does not take it: it is taken by name alone. Nothing is loaded or fetched."""
    try:
        require()
        if settings.sam3_checkpoint and not Path(settings.sam3_checkpoint).expanduser().is_file():
            return f"no file {settings.sam3_checkpoint}"
        if not settings.sam3_checkpoint and _sam3.cached_file(REPOSITORY, CHECKPOINT) is None:
            return f"{CHECKPOINT} is not in the cache; name the engine to fetch it: --segmenter sam3.1"
        if _sam3.pick_device(settings.device) == "cpu":
            return "no NVIDIA GPU, which Meta's code needs"
    except EngineUnavailable as error:
        return str(error)
    return "taken by name alone, --segmenter sam3.1, as it was never run on its real weights by us"


def require() -> None:
    """Raise `EngineUnavailable`, with the command, unless the code of SAM 3.1 is installed; nothing is imported."""
    _sam3.require(*(package for package in _PACKAGES if package != "sam3"))
    spec = importlib.util.find_spec("sam3")
    roots = [Path(place) for place in (spec.submodule_search_locations or ())] if spec else []
    if not any(root.joinpath(*_SOURCE).is_file() for root in roots):
        what = "the sam3 that is installed is SAM 3's" if roots else "sam3 is not installed"
        raise EngineUnavailable(f"SAM 3.1 needs Meta's code at commit {COMMIT[:7]}, and {what}; run: {INSTALL}")


class Sam31:
    """See the module; the protocols are `BoxSegmenter` and `VideoTracker`.

    Args:
        pictures: what draws people in pictures, and so the masks that the tracker is seeded with.
        checkpoint: path of a `sam3.1_multiplex.pt`; empty = the hub's, from the cache or fetched.
        device: "auto" or "cuda".

    Raises:
        EngineUnavailable: the code, a GPU, the weights or access to them are missing, or the checkpoint is another's or
            not whole.
    """

    can_track = True

    def __init__(self, pictures: BoxSegmenter, checkpoint: str = "", device: str = "auto"):
        require()
        import torch

        _torchvision.ensure()
        self._torch, self._pictures, self._lock = torch, pictures, threading.RLock()
        self.uses_neighbours = pictures.uses_neighbours
        self.device = _sam3.pick_device(device)
        if self.device not in ("cuda", "cuda:0"):
            raise EngineUnavailable(
                "SAM 3.1 runs on the first NVIDIA GPU only; choose --segmenter sam3-hf, which tracks on any device"
            )
        path = Path(checkpoint).expanduser() if checkpoint else _sam3.fetch(REPOSITORY, [CHECKPOINT])[0]
        self.checkpoint = path
        self.id = f"sam3.1/{path.stem}+{pictures.id}"
        self._model = self._opened(path)
        self._size = int(self._model.image_size)

    def _opened(self, path: Path) -> Any:
        with _meta.modes_put_back(self._torch):
            builder = importlib.import_module("sam3.model_builder")
            # FlashAttention 3 and the rotary code made of real numbers serve compilation; neither changes results.
            model = builder.build_sam3_multiplex_video_model(
                checkpoint_path=None, use_fa3=False, use_rope_real=False, device="cuda"
            )
        load(model, path)
        return model.eval()

    def describe(self) -> str:
        return (
            f"SAM 3.1, Meta's code ({self.checkpoint.name}): video, sixteen people a pass, on {self.device} in "
            f"bfloat16; pictures by {self._pictures.describe()}"
        )

    # ---- pictures

    def encode(self, image_bgr: np.ndarray) -> Any:
        """See `BoxSegmenter`: the engine for pictures answers."""
        return self._pictures.encode(image_bgr)

    def by_box(
        self,
        encoded: Any,
        boxes: np.ndarray | Sequence[BoxLike],
        faces: Sequence[Face | None] | None = None,
        others: Sequence[Face | BoxLike] = (),
    ) -> list[Segment]:
        """See `BoxSegmenter`: the engine for pictures answers."""
        found = self._pictures.by_box(encoded, boxes, faces, others)
        return [replace(segment, engine=self.id) for segment in found]

    # ---- video

    def track(
        self, images_bgr: Sequence[np.ndarray], seeds: Mapping[int, Mapping[Hashable, np.ndarray]]
    ) -> Iterator[tuple[int, dict[Hashable, Segment]]]:
        """Follow people through the frames of one shot; see `VideoTracker`.

        People of one frame go together, sixteen in a pass, and no two of them get the same pixel. People who are first
        known in another frame need a run of their own: the model takes newcomers only into frames it has already been
        through. Every frame is encoded once for both directions and all runs, as long as the part has no more than
        `_ENCODED` frames.
        """
        features: dict[int, Any] = {}
        frames = _Frames(self, images_bgr)
        seen: set[Hashable] = set()
        for start, masks in sorted(seeds.items()):
            people = [who for who in masks if who not in seen]
            seen.update(people)
            if people:
                yield from self._run(frames, start, {who: masks[who] for who in people}, features)

    def _run(
        self, frames: _Frames, start: int, masks: Mapping[Hashable, np.ndarray], features: dict[int, Any]
    ) -> Iterator[tuple[int, dict[Hashable, Segment]]]:
        torch, model, people = self._torch, self._model, list(masks)
        shape = frames.shape(start)
        with self._at_work():
            state = model.init_state(video_height=self._size, video_width=self._size, num_frames=len(frames))
            state["images"], state["cached_features"] = frames, features
            stacked = torch.stack([self._seed(masks[who]) for who in people])
            model.add_new_masks(state, start, list(range(len(people))), stacked)
            model.propagate_in_video_preflight(state)
            _keep(features, state, start)
        for reverse in (False, True):
            # What was seen on the way there is the future on the way back.
            _forget(state)
            steps = model.propagate_in_video(state, start, len(frames), reverse, tqdm_disable=True)
            while True:
                # The modes are this thread's: they must not be left on while the caller has the word.
                with self._at_work():
                    state["cached_features"] = features
                    step = next(steps, None)
                    if step is None:
                        break
                    index, numbers, logits, _, scores = step
                    _keep(features, state, int(index))
                    _forget(state, int(index))
                    result = self._segments([people[int(n)] for n in numbers], logits, scores, shape)
                if index != start or not reverse:
                    yield int(index), result

    def _segments(
        self, people: list[Hashable], logits: Any, scores: Any, shape: tuple[int, int]
    ) -> dict[Hashable, Segment]:
        small = logits.float().cpu().numpy().reshape(len(people), *logits.shape[-2:])
        seen = self._torch.sigmoid(scores.float()).cpu().numpy().reshape(len(people), -1)[:, 0]
        there = [mask if score >= 0.5 else np.full_like(mask, -20) for mask, score in zip(small, seen, strict=True)]
        found = _sam3.to_segments(there, shape, seen, [whole_box(shape)] * len(there), self.id, self.device)
        return dict(zip(people, found, strict=True))

    def shown(self, image_bgr: np.ndarray) -> Any:
        """A frame as the model was trained on them: float32 (3, S, S), -1..1, in RGB, on the host."""
        square = cv2.resize(as_image(image_bgr), (self._size, self._size), interpolation=cv2.INTER_AREA)
        rgb = np.ascontiguousarray(square[:, :, ::-1].transpose(2, 0, 1)).astype(np.float32)
        return self._torch.from_numpy(rgb / 127.5 - 1)

    def _seed(self, mask: np.ndarray) -> Any:
        square = cv2.resize(mask.astype(np.float32), (self._size, self._size), interpolation=cv2.INTER_AREA)
        return self._torch.from_numpy((square >= 0.5).astype(np.float32))

    @contextlib.contextmanager
    def _at_work(self) -> Iterator[None]:
        """The model, for this thread alone, in the modes that it is used in."""
        torch = self._torch
        with self._lock, torch.inference_mode(), torch.autocast("cuda", dtype=torch.bfloat16):
            yield


class _Frames:
    """Frames as the model looks them up, each made when it is asked for."""

    def __init__(self, engine: Sam31, images_bgr: Sequence[np.ndarray]):
        self._engine, self._images = engine, images_bgr

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, index: int) -> Any:
        return self._engine.shown(self._images[int(index)])

    def shape(self, index: int) -> tuple[int, int]:
        """(H, W) of a frame."""
        return self._images[index].shape[:2]


def _keep(features: dict[int, Any], state: Mapping[str, Any], index: int) -> None:
    """Take over what the model has just encoded (it keeps one frame), and let go of what is farthest away."""
    features.update({key: value for key, value in state["cached_features"].items() if key not in features})
    while len(features) > _ENCODED:
        del features[max(features, key=lambda other: abs(other - index))]


def _forget(state: Mapping[str, Any], index: int | None = None) -> None:
    """Drop the memory of tracked frames that are farther than `_KEPT` from a frame; None = of all. Seeds stay."""
    outputs = (state["output_dict"], *state["output_dict_per_obj"].values())
    for kept in cast(Sequence[MutableMapping[str, dict]], outputs):
        tracked = kept["non_cond_frame_outputs"]
        for other in [other for other in tracked if index is None or abs(other - index) > _KEPT]:
            del tracked[other]


def load(model: Any, path: Path) -> None:
    """Load `sam3.1_multiplex.pt` into the tracker, every parameter or none.

    Raises:
        EngineUnavailable: not there, truncated, SAM 3's, or with parameters missing or of another shape.
    """
    content = _meta.read_checkpoint(path, REPOSITORY)
    if content and not _meta.is_multiplex(content):
        raise EngineUnavailable(
            f"{path} is no checkpoint of SAM 3.1; choose --segmenter sam3 for one of SAM 3, or give a {CHECKPOINT} "
            f"from https://huggingface.co/{REPOSITORY}"
        )
    tensors = {
        new + key.removeprefix(old): value
        for key, value in content.items()
        for old, new in _PLACES.items()
        if key.startswith(old)
    }
    _meta.load_whole(model, tensors, path, "SAM 3.1's tracker", REPOSITORY)

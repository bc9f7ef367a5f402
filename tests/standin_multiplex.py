"""A stand-in that keeps the interface of SAM 3.1's tracker, for tests: Meta's code of it is not on PyPI.

It has the method names, arguments, state and results of `Sam3VideoTrackingMultiplexDemo` as they were read in the named
commit, and answers with the seeds it was given. What the real model makes of real frames is not tested with it.
"""

from __future__ import annotations

import sys
import types
from pathlib import Path

import torch
from torch import nn

SIDE, LOW = 112, 32


class StandIn(nn.Module):
    """The tracker's interface: seeds come back as masks, moved by the brightness of the frame's first pixel."""

    image_size = SIDE

    def __init__(self):
        super().__init__()
        self.backbone = nn.Module()
        self.backbone.vision_backbone = nn.Module()
        self.backbone.vision_backbone.trunk = nn.Linear(2, 2)
        self.backbone.vision_backbone.propagation_convs = nn.Linear(2, 2)
        self.sam_mask_decoder = nn.Linear(3, 3)
        self.encoded: list[int] = []
        self.seen_range: list[float] = []
        self.runs: list[int] = []
        self.most_kept = 0

    def init_state(self, video_height, video_width, num_frames, cached_features=None):
        assert (video_height, video_width) == (SIDE, SIDE)
        return {
            "num_frames": num_frames, "cached_features": {}, "obj_ids": [], "output_dict_per_obj": {},
            "output_dict": {"cond_frame_outputs": {}, "non_cond_frame_outputs": {}},
        }  # fmt: skip

    def _feature(self, state, index):
        _, found = state["cached_features"].get(index, (None, None))
        if found is None:
            image = state["images"][index]
            assert image.shape == (3, SIDE, SIDE) and image.dtype == torch.float32
            self.seen_range += [float(image.min()), float(image.max())]
            self.encoded.append(index)
            found = float(image[0, 0, 0])
            state["cached_features"] = {index: (image, found)}
        return found

    def add_new_masks(self, state, frame_idx, obj_ids, masks):
        assert masks.dim() == 3 and masks.shape[0] == len(obj_ids) and torch.is_inference_mode_enabled()
        if state["obj_ids"]:
            raise RuntimeError("No existing output found for frame")
        self.runs.append(len(obj_ids))
        self._feature(state, frame_idx)
        state["obj_ids"] = list(obj_ids)
        state["masks"] = nn.functional.interpolate(masks[:, None].float(), (LOW, LOW)) * 10 - 5
        state["output_dict"]["cond_frame_outputs"][frame_idx] = {}
        state["output_dict_per_obj"] = {i: {"non_cond_frame_outputs": {}} for i in obj_ids}

    def propagate_in_video_preflight(self, state):
        state["started"] = True

    def propagate_in_video(self, state, start_frame_idx, max_frame_num_to_track, reverse, tqdm_disable=False):
        assert state["started"]
        order = range(start_frame_idx, -1, -1) if reverse else range(start_frame_idx, state["num_frames"])
        for index in order:
            if index not in state["output_dict"]["cond_frame_outputs"]:
                there = self._feature(state, index) > -0.99  # a black corner: nobody is seen
                tracked = state["output_dict"]["non_cond_frame_outputs"]
                assert all((other - index) * (1 if reverse else -1) > 0 for other in tracked), "memory of the future"
                tracked[index] = {}
                for outputs in state["output_dict_per_obj"].values():
                    outputs["non_cond_frame_outputs"][index] = {}
                self.most_kept = max(self.most_kept, len(tracked))
            else:
                there = True
            scores = torch.full((len(state["obj_ids"]), 1), 4.0 if there else -4.0)
            yield index, state["obj_ids"], state["masks"], None, scores


def content_of(model: nn.Module) -> dict[str, torch.Tensor]:
    """The tensors under the names that the published checkpoint has."""
    named = {}
    for key, value in model.state_dict().items():
        old = key.removeprefix("backbone.vision_backbone.")
        named[f"detector.backbone.vision_backbone.{old}" if old != key else f"tracker.model.{key}"] = value
    return named | {"detector.transformer.weight": torch.zeros(1)}


def installed(monkeypatch) -> StandIn:
    """Meta's builder, giving a stand-in; the GPU and the clone are said to be there."""
    model = StandIn()
    builder = types.ModuleType("sam3.model_builder")

    def build(checkpoint_path=None, use_fa3=True, use_rope_real=True, device="cuda"):
        assert checkpoint_path is None and not use_fa3 and device == "cuda"
        return model

    builder.build_sam3_multiplex_video_model = build
    monkeypatch.setitem(sys.modules, "sam3.model_builder", builder)
    monkeypatch.setattr("identity_segmentation.engines.sam31.require", lambda: None)
    monkeypatch.setattr("identity_segmentation.engines._sam3.pick_device", lambda device: "cuda")
    return model


def engine(model: StandIn, pictures, folder: Path):
    """The adapter over a stand-in, its checkpoint read from a file."""
    from identity_segmentation.engines.sam31 import Sam31

    path = folder / "sam3.1_multiplex.pt"
    torch.save({"model": {key: value + 1 for key, value in content_of(model).items()}}, path)
    made = Sam31(pictures, str(path))
    made.device = "cpu"  # masks are enlarged where this machine can
    return made

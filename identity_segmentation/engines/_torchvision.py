"""Make torchvision importable where its compiled operators do not load.

A torchvision wheel built for CUDA beside a CPU build of torch cannot load its operators, and everything that imports it
(transformers' SAM 3 among them) then fails with a misleading message. `ensure` registers plain-torch versions of the
two operators SAM 3 uses. Where the real ones load, it does nothing.
"""

from __future__ import annotations

import importlib.util
import math
from pathlib import Path

_kept: list = []  # a torch.library.Library lives as long as somebody holds it


def ensure() -> str:
    """Call before torchvision or transformers' models are imported. Returns "native", "replaced" or "absent"."""
    import torch

    if _kept:
        return "replaced"
    found = importlib.util.find_spec("torchvision")
    if found is None or found.origin is None:
        return "absent"
    try:
        for compiled in Path(found.origin).parent.glob("_C*"):
            torch.ops.load_library(str(compiled))
        torch.ops.torchvision.nms  # noqa: B018
        return "native"
    except (OSError, RuntimeError, AttributeError):
        pass
    library = torch.library.Library("torchvision", "DEF")
    for name in ("nms", "qnms"):
        library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    library.impl("nms", _nms, "CompositeExplicitAutograd")
    _kept.append(library)
    import sys

    import torchvision.ops.boxes

    torchvision.ops.boxes._assert_has_ops = lambda: None
    setattr(sys.modules["torchvision.ops.roi_align"], "_roi_align", _roi_align)  # noqa: B010  (a module has no such name to a type checker)
    return "replaced"


def _nms(boxes, scores, iou_threshold: float):
    """Greedy non-maximum suppression: indices kept, best first."""
    import torch

    order = torch.argsort(scores, descending=True, stable=True)
    boxes = boxes.float()[order]
    area = (boxes[:, 2:] - boxes[:, :2]).prod(1)
    low = torch.maximum(boxes[:, None, :2], boxes[None, :, :2])
    high = torch.minimum(boxes[:, None, 2:], boxes[None, :, 2:])
    shared = (high - low).clamp(min=0).prod(2)
    overlap = shared / (area[:, None] + area[None] - shared).clamp(min=1e-9)
    kept: list[int] = []
    for i in range(len(order)):
        if not kept or not bool((overlap[i, kept] > iou_threshold).any()):
            kept.append(i)
    return order[torch.tensor(kept, dtype=torch.long, device=order.device)]


def _roi_align(features, rois, spatial_scale, height, width, sampling_ratio, aligned):
    """Mean of bilinear samples per bin (He et al., Mask R-CNN, 2017); separable, so two small matrix products a box."""
    import torch

    shift = 0.5 if aligned else 0.0
    pooled = []
    for roi in rois.float():
        x0, y0, x1, y1 = (float(v) * spatial_scale - shift for v in roi[1:])
        wide, tall = x1 - x0, y1 - y0
        if not aligned:
            wide, tall = max(wide, 1.0), max(tall, 1.0)
        across = _weights(x0, wide, width, features.shape[3], sampling_ratio, features.device)
        down = _weights(y0, tall, height, features.shape[2], sampling_ratio, features.device)
        pooled.append(torch.einsum("ph,chw,qw->cpq", down, features[int(roi[0])].float(), across))
    if not pooled:
        return features.new_zeros(0, features.shape[1], height, width)
    return torch.stack(pooled).to(features.dtype)


def _weights(start: float, size: float, bins: int, length: int, ratio: int, device):
    """(bins, length): how much of every input pixel along one axis is in each bin."""
    import torch

    samples = ratio if ratio > 0 else max(1, math.ceil(size / bins))
    offsets = (torch.arange(samples, device=device) + 0.5) / samples
    at = start + (torch.arange(bins, device=device)[:, None] + offsets[None]) * (size / bins)
    inside = ((at >= -1) & (at <= length)).float()
    at = at.clamp(0, length - 1)
    low = at.floor().long().clamp(max=length - 1)
    high = (low + 1).clamp(max=length - 1)
    share = at - low
    weights = torch.zeros(bins, length, device=device)
    weights.scatter_add_(1, low, (1 - share) * inside)
    weights.scatter_add_(1, high, share * inside)
    return weights / samples

"""What the engines share that run Meta's own code: checkpoints as plain tensors, and a process left as it was."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ..errors import EngineUnavailable

# Tensors that only a checkpoint of SAM 3.1 has: its tracker is wrapped once more, and its encoder has three necks.
_MULTIPLEX = ("tracker.model.", "sam2_predictor.", "detector.backbone.vision_backbone.propagation_convs.")


def read_checkpoint(path: Path, repository: str) -> dict[str, Any]:
    """The tensors of a checkpoint by name, on the host; read as plain tensors, never as a pickle that could run code.

    Args:
        path: the file.
        repository: of the Hugging Face hub, where another can be had.

    Raises:
        EngineUnavailable: not there, truncated, or no checkpoint.
    """
    import torch

    broken = torch.serialization.pickle.UnpicklingError  # weights_only: plain tensors, nothing that could run
    if not path.is_file():
        raise EngineUnavailable(f"no file {path}; expected a checkpoint from https://huggingface.co/{repository}")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except (RuntimeError, broken, EOFError, ValueError, OSError, KeyError) as error:
        raise EngineUnavailable(
            f"{path}: not a checkpoint that can be read ({str(error).splitlines()[0][:200]}); it may be truncated. "
            "Delete it and fetch it again"
        ) from error
    content = content.get("model", content) if isinstance(content, dict) else {}
    return content if isinstance(content, dict) else {}


def is_multiplex(content: Mapping[str, Any]) -> bool:
    """Are these SAM 3.1's tensors, rather than SAM 3's?"""
    return any(key.startswith(_MULTIPLEX) for key in content)


def load_whole(model: Any, tensors: Mapping[str, Any], path: Path, name: str, repository: str) -> None:
    """Load tensors into a model, every parameter or none: those missing would stay random numbers.

    Args:
        model: a torch module.
        tensors: by the model's own names; more than it has do no harm.
        path: of the checkpoint, for errors.
        name: of the model, for errors.
        repository: of the Hugging Face hub, where another checkpoint can be had.

    Raises:
        EngineUnavailable: a parameter is missing, or has another shape.
    """
    wanted = dict(model.named_parameters())
    missing = sorted(set(wanted) - set(tensors))
    foreign = sorted(k for k in set(wanted) & set(tensors) if wanted[k].shape != tensors[k].shape)
    if missing or foreign:
        what = f"{len(missing)} parameters are missing" if missing else f"{len(foreign)} have another shape"
        raise EngineUnavailable(
            f"{path} does not fit {name}: {what} ({(missing or foreign)[0]} ...). They would be random numbers, so it "
            f"is refused; fetch it from https://huggingface.co/{repository} again"
        )
    model.load_state_dict(dict(tensors), strict=False)


@contextlib.contextmanager
def modes_put_back(torch: Any) -> Iterator[None]:
    """What Meta's code switches on for the whole process is put back: TF32 when it is imported, and an autocast that
    the tracker enters and never leaves. While that one is open torch keeps a 16-bit copy of every weight it has cast.

    Args:
        torch: the module.
    """
    matrices, convolutions = torch.backends.cuda.matmul, torch.backends.cudnn
    enabled, dtype = torch.is_autocast_enabled("cuda"), torch.get_autocast_dtype("cuda")
    before = matrices.allow_tf32, convolutions.allow_tf32, torch.is_autocast_cache_enabled()
    depth = torch.autocast_increment_nesting()
    try:
        yield
    finally:
        matrices.allow_tf32, convolutions.allow_tf32, cached = before
        torch.set_autocast_cache_enabled(cached)
        torch.set_autocast_enabled("cuda", enabled)
        torch.set_autocast_dtype("cuda", dtype)
        while torch.autocast_decrement_nesting() >= depth:
            pass
        if depth == 1:
            torch.clear_autocast_cache()

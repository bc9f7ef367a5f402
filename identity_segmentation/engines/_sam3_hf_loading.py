"""SAM 3's files in transformers' layout -> models, whole or not at all."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ..errors import EngineUnavailable
from . import _sam3

# model_type of a checkpoint -> (class in transformers, has it a tracker)
CLASSES = {
    "sam3_video": ("Sam3VideoModel", True),
    "sam3": ("Sam3Model", False),
    "sam3_lite_text": ("Sam3LiteTextModel", False),
}
_FILES = ("config.json", "model.safetensors", "processor_config.json", "tokenizer.json", "tokenizer_config.json")


def folder_of(model: str) -> str:
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


def kind_of(folder: str) -> str:
    """Which of `CLASSES` a checkpoint's folder holds.

    Raises:
        EngineUnavailable: none of them, or nothing that can be read.
    """
    path = Path(folder) / "config.json"
    try:
        kind = json.loads(path.read_text("utf-8")).get("model_type")
    except (OSError, ValueError, AttributeError) as error:
        raise EngineUnavailable(
            f"{path}: not a model's configuration ({error}); expected a SAM 3 checkpoint"
        ) from error
    if kind not in CLASSES:
        raise EngineUnavailable(f"{folder} holds a {kind!r} model; expected SAM 3 ({', '.join(CLASSES)})")
    return kind


def load(folder: str, kind: str, dtype: Any) -> Any:
    """The model of a folder, with every tensor in its place.

    Args:
        folder: of the checkpoint.
        kind: of `CLASSES`.
        dtype: torch's, that the weights are brought to.

    Raises:
        EngineUnavailable: the file is damaged, or tensors are missing, too many or of another shape.
    """
    import transformers
    from safetensors import SafetensorError

    transformers.logging.set_verbosity_error()  # the loading report says in twenty lines what is checked below
    try:
        model, info = getattr(transformers, CLASSES[kind][0]).from_pretrained(
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
            f"{folder} does not fit {CLASSES[kind][0]}: {'; '.join(bad)}. Tensors that are not there would be random "
            f"numbers, so it is refused; fetch {_sam3.REPOSITORY} again, with {_sam3.INSTALL}"
        )
    return model


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def processor_of(folder: str) -> Any:
    """The processor of a folder; `EngineUnavailable` where its files are missing or damaged."""
    from transformers import Sam3Processor

    try:
        return Sam3Processor.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError) as error:
        raise EngineUnavailable(
            f"{folder}: the processor's files are missing or damaged ({_first_line(error)}); fetch the folder again"
        ) from error


def trackers(whole: Any) -> tuple[Any, Any, Any]:
    """The box model and the video model out of the loaded whole's own tensors: nothing is read twice. The third is the
    video model that attends to every seeded frame. The whole follows words as Meta's code does from here on.

    Args:
        whole: transformers' `Sam3VideoModel`, as `load` gives it.

    Raises:
        EngineUnavailable: a release of transformers that lays the tracker out differently.
    """
    import copy

    import torch
    from transformers import Sam3TrackerConfig, Sam3TrackerModel

    from ._sam3_hf_mended import mend, viewed

    mend(whole)
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
    of_all = copy.copy(settings)
    of_all.max_cond_frame_num = -1
    return boxes.eval(), video.eval(), viewed(video, config=of_all)

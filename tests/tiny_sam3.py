"""A tiny random SAM 3, saved in the exact layout of the published files, so that the real loading code loads it."""

from __future__ import annotations

from pathlib import Path

SIDE, PATCH, HIDDEN = 112, 14, 128  # smaller hidden sizes break on constants in the library
GRID = SIDE // PATCH


def tokenizer():
    from tokenizers.pre_tokenizers import ByteLevel
    from transformers import CLIPTokenizer

    letters = sorted(ByteLevel.alphabet())
    words = [*letters, *(c + "</w>" for c in letters), "<|startoftext|>", "<|endoftext|>"]
    return CLIPTokenizer(vocab={w: i for i, w in enumerate(words)}, merges=[], model_max_length=32)


def vision() -> dict:
    backbone = {
        "model_type": "sam3_vit_model", "hidden_size": HIDDEN, "intermediate_size": 64, "num_hidden_layers": 2,
        "num_attention_heads": 4, "image_size": SIDE, "patch_size": PATCH, "window_size": 4,
        "global_attn_indexes": [1], "pretrain_image_size": 56,
    }  # fmt: skip
    sizes = [[4 * GRID] * 2, [2 * GRID] * 2, [GRID] * 2]
    return {
        "model_type": "sam3_vision_model", "backbone_config": backbone, "fpn_hidden_size": HIDDEN,
        "backbone_feature_sizes": sizes,
    }  # fmt: skip


def detector(vocabulary: int) -> dict:
    small = {"hidden_size": HIDDEN, "num_attention_heads": 4, "intermediate_size": 64}
    text = {
        "model_type": "clip_text_model", "vocab_size": vocabulary, "projection_dim": 16, "num_hidden_layers": 2,
        "max_position_embeddings": 32, "hidden_act": "gelu", "bos_token_id": vocabulary - 2,
        "eos_token_id": vocabulary - 1, "pad_token_id": vocabulary - 1, **small,
    }  # fmt: skip
    return {
        "model_type": "sam3", "vision_config": vision(), "text_config": text,
        "geometry_encoder_config": {"num_layers": 1, **small}, "detr_encoder_config": {"num_layers": 1, **small},
        "detr_decoder_config": {"num_layers": 2, "num_queries": 10, **small},
        "mask_decoder_config": {"hidden_size": HIDDEN, "num_attention_heads": 4},
    }  # fmt: skip


def tracker() -> dict:
    return {
        "model_type": "sam3_tracker_video", "vision_config": vision(), "image_size": SIDE,
        "prompt_encoder_config": {"hidden_size": HIDDEN, "image_size": SIDE, "patch_size": PATCH},
        "mask_decoder_config": {
            "hidden_size": HIDDEN, "mlp_dim": 64, "num_attention_heads": 4, "iou_head_hidden_dim": HIDDEN,
        },
        "memory_attention_hidden_size": HIDDEN, "memory_attention_num_layers": 1,
        "memory_attention_feed_forward_hidden_size": 64, "memory_encoder_hidden_size": HIDDEN,
        "memory_encoder_output_channels": 64, "mask_downsampler_embed_dim": HIDDEN, "memory_fuser_embed_dim": HIDDEN,
        "memory_fuser_intermediate_dim": 64, "memory_fuser_num_layers": 1,
    }  # fmt: skip


def save(folder: Path, model, words, side: int = SIDE) -> Path:
    from safetensors.torch import save_file
    from transformers import Sam2VideoVideoProcessor, Sam3ImageProcessor, Sam3VideoProcessor

    folder.mkdir(parents=True, exist_ok=True)
    model.config.architectures = [type(model).__name__]
    model.config.save_pretrained(folder)
    # Not save_pretrained: it writes the video tracker's names doubled.
    tensors = {k: v.clone().contiguous().cpu() for k, v in model.state_dict().items()}
    save_file(tensors, str(folder / "model.safetensors"), metadata={"format": "pt"})
    size, low = {"height": side, "width": side}, 4 * side // PATCH
    pictures = Sam3ImageProcessor(size=size, mask_size={"height": low, "width": low})
    video = Sam2VideoVideoProcessor(size=size, image_mean=[0.5] * 3, image_std=[0.5] * 3)
    Sam3VideoProcessor(image_processor=pictures, video_processor=video, tokenizer=words).save_pretrained(folder)
    return folder


def build(folder: Path) -> Path:
    """A whole SAM 3: detector and tracker, 5 million random numbers."""
    import torch
    from transformers import Sam3VideoConfig, Sam3VideoModel

    torch.manual_seed(0)
    words = tokenizer()
    config = Sam3VideoConfig(detector_config=detector(len(words)), tracker_config=tracker(), low_res_mask_size=4 * GRID)
    model = Sam3VideoModel(config).eval()
    torch.nn.init.normal_(model.tracker_model.no_memory_embedding)  # zero at birth, which would hide its absence
    return save(folder, model, words)


def build_lite(folder: Path) -> Path:
    """A detector with the light text encoder: no tracker."""
    import torch
    from transformers import Sam3LiteTextConfig, Sam3LiteTextModel

    torch.manual_seed(0)
    words = tokenizer()
    parts = detector(len(words)) | {"model_type": "sam3_lite_text"}
    keep = ("vocab_size", "hidden_size", "intermediate_size", "projection_dim", "num_attention_heads")
    parts["text_config"] = {k: parts["text_config"][k] for k in keep} | {
        "model_type": "sam3_lite_text_text_model", "num_hidden_layers": 3, "max_position_embeddings": 32,
    }  # fmt: skip
    return save(folder, Sam3LiteTextModel(Sam3LiteTextConfig(**parts)).eval(), words)


def build_full(folder: Path) -> Path:
    """The full-size architecture with random weights (3.4 GB): speed does not depend on what the numbers are."""
    import torch
    from transformers import Sam3VideoConfig, Sam3VideoModel

    torch.manual_seed(0)
    with torch.device("cuda" if torch.cuda.is_available() else "cpu"):
        model = Sam3VideoModel(Sam3VideoConfig()).eval()
    return save(folder, model, tokenizer(), 1008)

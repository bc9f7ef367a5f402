"""Meta's sam3 package at tiny size, for tests: its own code with its sizes shrunk, on a GPU or with a CPU in its place.

The package hard-codes an NVIDIA GPU and imports triton. Without one a stand-in is bound while `sam3.model.edt` is
imported, and a torch function mode sends every tensor meant for the GPU to the CPU. What is tested with that is our
adapter and its way of loading; what a GPU makes of it is not.
"""

from __future__ import annotations

import contextlib
import functools
import gzip
import importlib.machinery
import importlib.util
import sys
import types
from pathlib import Path

SIDE, PATCH = 112, 14
GRID = SIDE // PATCH


def _stand_in_for_triton() -> None:
    class Anything:
        def __getattr__(self, name):
            return Anything()

        def __call__(self, *args, **_):
            return args[0] if args and callable(args[0]) else Anything()

        def __getitem__(self, key):
            return Anything()

    def module(name):
        made = types.ModuleType(name)
        made.__spec__, made.__path__ = importlib.machinery.ModuleSpec(name, None), []

        def attribute(key):
            if key.startswith("__"):
                raise AttributeError(key)
            return Anything()

        made.__getattr__ = attribute
        sys.modules[name] = made
        return made

    triton, language = module("triton"), module("triton.language")
    triton.language, language.constexpr, triton.__version__ = language, int, "0.0"
    triton.jit = lambda function=None, **_: function or (lambda f: f)


@functools.cache
def package():
    """Import the package, with or without triton; returns its model builder."""
    if importlib.util.find_spec("triton") is not None:
        import sam3.model_builder as builder

        return builder
    _stand_in_for_triton()
    importlib.import_module("sam3.model.edt")
    import sam3.model_builder as builder

    for name in ("triton", "triton.language"):
        del sys.modules[name]  # torch must not find it
    return builder


@functools.cache
def prepare():
    """Import the package, shrunk; returns its model builder."""
    builder = package()

    def smaller(name: str, **sizes) -> None:
        original = getattr(builder, name)

        @functools.wraps(original, updated=())
        def make(*args, **given):
            return original(*args, **(given | {k: v for k, v in sizes.items() if k in given}))

        setattr(builder, name, make)

    smaller(
        "ViT", img_size=SIDE, pretrain_img_size=56, embed_dim=32, depth=2, num_heads=2, mlp_ratio=1.0,
        drop_path_rate=0.0, global_att_blocks=(1,), window_size=4,
    )  # fmt: skip
    smaller("VETextEncoder", width=64, heads=2, layers=1)
    smaller("TransformerEncoderFusion", num_layers=1)
    smaller("TransformerDecoder", num_layers=2, num_queries=10, resolution=SIDE)
    smaller("SequenceGeometryEncoder", num_layers=1)
    smaller("TransformerEncoderCrossAttention", num_layers=1)
    smaller("RoPEAttention", feat_sizes=[GRID, GRID])
    smaller("SimpleMaskDownSampler", interpol_size=[16 * GRID, 16 * GRID])
    smaller("Sam3TrackerPredictor", image_size=SIDE)
    predictor = builder.SAM3InteractiveImagePredictor

    class Predictor(predictor):
        def __init__(self, *args, **given):
            super().__init__(*args, **given)
            self._bb_feat_sizes = [(4 * GRID, 4 * GRID), (2 * GRID, 2 * GRID), (GRID, GRID)]

    builder.SAM3InteractiveImagePredictor = Predictor
    return builder


def on_cpu():
    """A context in which everything meant for the GPU happens on the CPU."""
    import torch
    from torch.overrides import TorchFunctionMode

    def is_cuda(device) -> bool:
        return str(device).startswith("cuda") if isinstance(device, str | torch.device) else False

    class ToCpu(TorchFunctionMode):
        def __torch_function__(self, function, kinds, args=(), kwargs=None):
            kwargs = dict(kwargs or {})
            if function in (torch.Tensor.cuda, torch.Tensor.pin_memory):
                return args[0]
            if is_cuda(kwargs.get("device")):
                kwargs["device"] = torch.device("cpu")
            if function is torch.Tensor.to and len(args) > 1 and is_cuda(args[1]):
                args = (args[0], torch.device("cpu"), *args[2:])
            return function(*args, **kwargs)

    return ToCpu()


def vocabulary(folder: Path) -> Path:
    path = folder / "words.txt.gz"
    path.write_bytes(gzip.compress(b"#version\ni n</w>\ns h\n"))
    return path


def playing(device: str):
    """A context in which the package's GPU is there: nothing on one, `on_cpu` elsewhere."""
    return on_cpu() if device == "cpu" else contextlib.nullcontext()


@contextlib.contextmanager
def engine(checkpoint: Path, vocabulary: Path, device: str, monkeypatch):
    """Our adapter of the package, on a device; `monkeypatch` is pytest's, and makes a CPU pass for a GPU."""
    import torch

    from identity_segmentation.engines import _sam3
    from identity_segmentation.engines.sam3_official import Sam3Official

    if device == "cpu":
        monkeypatch.setattr(_sam3, "require", lambda *packages: None)
        monkeypatch.setattr(_sam3, "pick_device", lambda device: "cuda")
        monkeypatch.setattr(Sam3Official, "_precise", lambda self: torch.autocast("cpu", dtype=torch.bfloat16))
    with playing(device):
        made = Sam3Official(str(checkpoint), vocabulary=str(vocabulary))
        made.device = device
        yield made


def checkpoint(folder: Path, device: str = "cpu") -> Path:
    """A random `sam3.pt` in the published layout: {"model": detector.* and tracker.*}."""
    import torch

    from identity_segmentation.engines._meta import modes_put_back

    torch.manual_seed(0)
    with playing(device), modes_put_back(torch):
        model = prepare().build_sam3_image_model(
            bpe_path=str(vocabulary(folder)), device=device, load_from_HF=False, enable_inst_interactivity=True
        )
    for parameter in model.parameters():  # the package leaves some of them as they were in memory
        torch.nn.init.normal_(parameter.data, std=0.05)
    tensors, inside = {}, "inst_interactive_predictor.model."
    for key, value in model.state_dict().items():
        tracker = key.startswith(inside)
        tensors["tracker." + key.removeprefix(inside) if tracker else "detector." + key] = value
    path = folder / "sam3.pt"
    torch.save({"model": tensors}, path)
    return path

"""Look at this machine and environment and say, line by line, what works and the command that fixes what does not.

Nothing is downloaded, no model is loaded that is not on disk, and nothing leaves the machine. (Notebook section 1;
`idseg doctor`; scripts/verify_setup.py.)
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from .settings import Settings

OK, MISSING, NOTE = "ok", "MISSING", "note"


class Finding(NamedTuple):
    """One line: state "ok", "MISSING" (the main job cannot run) or "note" (something more could be had)."""

    state: str
    what: str
    detail: str


def examine(settings: Settings | None = None) -> Iterator[Finding]:
    """All findings, in order; a check that fails for want of a package is itself a finding."""
    settings = settings or Settings.from_env()
    for check in (_python, _packages, _gpu, _torch, _onnxruntime, _engines, _video, _extras):
        try:
            yield from check(settings)
        except ImportError as error:
            yield Finding(MISSING, check.__name__.strip("_"), f"{error}; run scripts/setup.sh")
        except Exception as error:  # whatever is broken here is what the doctor was asked about
            yield Finding(NOTE, check.__name__.strip("_"), f"could not be looked at ({type(error).__name__}: {error})")


def as_text(findings: list[Finding]) -> str:
    """The findings as aligned lines, and a last line that says whether the main job can run."""
    width = max(len(f.what) for f in findings) + 1
    lines = [f"{f.state:<8}{f.what:<{width}} {f.detail}" for f in findings]
    ready = all(f.state != MISSING for f in findings)
    return "\n".join([*lines, "ready" if ready else "not ready: see the lines marked MISSING"])


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _python(settings: Settings) -> Iterator[Finding]:
    good = sys.version_info >= (3, 11)
    detail = f"{platform.python_version()} on {platform.platform()}, {os.cpu_count()} cores"
    yield Finding(OK if good else MISSING, "python", detail if good else f"{detail}; 3.11 or newer is needed")


def _packages(settings: Settings) -> Iterator[Finding]:
    for package in (
        "numpy",
        "scipy",
        "opencv-python",
        "pillow",
        "safetensors",
        "insightface",
        "scikit-image",
        "av",
        "scikit-learn",
    ):
        found = _version(package)
        yield Finding(OK if found else MISSING, package, found or f"pip install {package}")
    try:
        import cv2  # noqa: F401
    except ImportError as error:
        yield Finding(MISSING, "cv2", f"{error}; on Debian/Ubuntu: apt-get install libgl1 libglib2.0-0")


def _gpu(settings: Settings) -> Iterator[Finding]:
    query = ["nvidia-smi", "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader"]
    try:
        done = subprocess.run(query, capture_output=True, text=True, timeout=20)
        found = [line.strip() for line in done.stdout.splitlines() if line.strip()] if done.returncode == 0 else []
    except (OSError, subprocess.TimeoutExpired):
        found = []
    for line in found:
        yield Finding(OK, "gpu", line)
    if not found:
        yield Finding(NOTE, "gpu", "no NVIDIA GPU found; the embedded engines run on the CPU")


def _torch(settings: Settings) -> Iterator[Finding]:
    if importlib.util.find_spec("torch") is None:
        yield Finding(NOTE, "torch", 'not installed; SAM 3 needs it: pip install ".[sam3]"')
        return
    import torch

    build = f"CUDA {torch.version.cuda}" if torch.version.cuda else "CPU build"
    devices = [name for name, there in (("cuda", torch.cuda.is_available()), ("mps", _mps(torch))) if there]
    yield Finding(OK, "torch", f"{torch.__version__} ({build}), devices: {', '.join([*devices, 'cpu'])}")
    if _has_nvidia() and "cuda" not in devices:
        yield Finding(
            NOTE, "torch", "there is a GPU that this torch cannot use; see https://pytorch.org/get-started/locally"
        )
    for index in range(torch.cuda.device_count()):
        free, total = torch.cuda.mem_get_info(index)
        yield Finding(OK, "gpu memory", f"{free / 1e9:.0f} of {total / 1e9:.0f} GB free on device {index}")


def _mps(torch) -> bool:
    return torch.backends.mps.is_available()


def _has_nvidia() -> bool:
    return shutil.which("nvidia-smi") is not None and Path("/dev/nvidiactl").exists()


def _onnxruntime(settings: Settings) -> Iterator[Finding]:
    if _version("onnxruntime") and _version("onnxruntime-gpu"):
        yield Finding(
            MISSING, "onnxruntime",
            "both builds are installed, and the CPU one wins; pip uninstall -y onnxruntime onnxruntime-gpu && "
            "pip install --no-deps onnxruntime-gpu",
        )  # fmt: skip
    try:
        import onnxruntime

        detail = f"{onnxruntime.__version__}: {', '.join(onnxruntime.get_available_providers())}"
        yield Finding(OK, "onnxruntime", detail)
    except ImportError as error:
        yield Finding(MISSING, "onnxruntime", f"{error}; pip install --force-reinstall onnxruntime")


def _engines(settings: Settings) -> Iterator[Finding]:
    from .engines import findings

    for name, state, detail in findings(settings):
        yield Finding({"ok": OK, "missing": MISSING, "note": NOTE}[state], name, detail)


def _video(settings: Settings) -> Iterator[Finding]:
    import av

    wanted = {"libx264": ".mp4", "libvpx-vp9": ".webm", "prores_ks": ".mov"}
    lacking = [f"{codec} ({suffix})" for codec, suffix in wanted.items() if codec not in av.codecs_available]
    detail = "H.264, VP9 and ProRes can be written"
    yield Finding(
        NOTE if lacking else OK, "video codecs",
        f"this build of av lacks {', '.join(lacking)}; pip install --force-reinstall --only-binary av av"
        if lacking else detail,
    )  # fmt: skip


def _window() -> str:
    """Why `idseg label mark` could open no window here; empty if it could."""
    if _version("matplotlib") is None:
        return 'needs matplotlib: pip install ".[notebook]"; the page\'s Label tab does without'
    if sys.platform.startswith("linux") and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        return "no screen here; mark on the page's Label tab (idseg ui)"
    kits = ("tkinter", "PySide6", "PyQt6", "PyQt5", "wx", "gi")
    if sys.platform != "darwin" and all(importlib.util.find_spec(kit) is None for kit in kits):
        return "no window toolkit; on Debian/Ubuntu: apt-get install python3-tk, elsewhere: pip install PySide6"
    return ""


def _extras(settings: Settings) -> Iterator[Finding]:
    from .fonts import FONT_HINT, missing_scripts
    from .video.exr import missing as missing_exr

    missing = missing_scripts()
    detail = f"none for {', '.join(missing)}; {FONT_HINT}" if missing else "Korean and Thai names can be drawn"
    yield Finding(NOTE if missing else OK, "fonts", detail)
    heic = _version("pi-heif") or _version("pillow-heif")
    yield Finding(OK if heic else NOTE, "HEIC photos", heic or "not read; pip install pi-heif")
    exr = missing_exr()
    yield Finding(NOTE if exr else OK, "EXR frames", exr or _version("OpenEXR") or "can be written")
    timelines = _version("opentimelineio")
    detail = timelines or 'not written; pip install "opentimelineio>=0.18"'
    yield Finding(OK if timelines else NOTE, "OpenTimelineIO", detail)
    page = _version("gradio")
    yield Finding(OK if page else NOTE, "web page", page or 'not installed; pip install ".[ui]"')
    window = _window()
    yield Finding(NOTE if window else OK, "marking window", window or "can be opened")
    free = shutil.disk_usage(".").free / 1e9
    yield Finding(OK if free > 2 else NOTE, "disk", f"{free:.0f} GB free here")

"""Look at this machine and environment and say, line by line, what works and the command that fixes what does not.

Downloads nothing. Exit status 0 if the embedded engines can run, 1 if they cannot.
"""

from __future__ import annotations

import importlib.metadata
import platform
import shutil
import subprocess
import sys

OK, MISSING, NOTE = "ok", "MISSING", "note"


def version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def check_python():
    good = sys.version_info >= (3, 11)
    yield (OK if good else MISSING), "python", f"{platform.python_version()} on {platform.platform()}"


def check_packages():
    for package in ("numpy", "scipy", "opencv-python", "pillow", "safetensors", "insightface", "scikit-image"):
        found = version(package)
        yield (OK if found else MISSING), package, found or f"pip install {package}"
    try:
        import cv2  # noqa: F401
    except ImportError as error:
        yield MISSING, "cv2", f"{error}; on Debian/Ubuntu: apt-get install libgl1 libglib2.0-0"


def check_gpu():
    try:
        names = subprocess.run(
            ["nvidia-smi", "--query-gpu=name,memory.total", "--format=csv,noheader"],
            capture_output=True,
            text=True,
            timeout=20,
        )
        found = names.returncode == 0 and names.stdout.strip()
    except (OSError, subprocess.TimeoutExpired):
        found = ""
    yield (OK if found else NOTE), "gpu", found or "none found; the embedded engines run on the CPU"


def check_onnxruntime():
    cpu, gpu = version("onnxruntime"), version("onnxruntime-gpu")
    if cpu and gpu:
        yield (
            MISSING,
            "onnxruntime",
            "both builds are installed, and the CPU one wins; pip uninstall -y onnxruntime onnxruntime-gpu && "
            "pip install --no-deps onnxruntime-gpu",
        )
    try:
        import onnxruntime

        yield OK, "onnxruntime", f"{onnxruntime.__version__}: {', '.join(onnxruntime.get_available_providers())}"
    except ImportError as error:
        yield MISSING, "onnxruntime", f"{error}; pip install --force-reinstall onnxruntime"


def check_engines():
    from identity_segmentation import EngineUnavailable, Settings
    from identity_segmentation.engines import face_engine, segmenter
    from identity_segmentation.engines.insightface_faces import find_pack

    settings = Settings.from_env()
    for label, make in (("embedded faces", face_engine), ("embedded masks", segmenter)):
        try:
            yield OK, label, make("embedded", settings).describe()
        except EngineUnavailable as error:
            yield MISSING, label, str(error)
    try:
        yield OK, "insightface pack", str(find_pack(settings.insightface_pack, settings.insightface_models))
    except EngineUnavailable as error:
        yield NOTE, "insightface pack", str(error)


def check_extras():
    from identity_segmentation.drawing import FONT_HINT, missing_scripts

    missing = missing_scripts()
    yield (
        (NOTE if missing else OK),
        "fonts",
        f"none for {', '.join(missing)}; {FONT_HINT}" if missing else "Korean and Thai names can be drawn",
    )
    heic = version("pi-heif") or version("pillow-heif")
    yield (OK if heic else NOTE), "HEIC photos", heic or "not read; pip install pi-heif"
    free = shutil.disk_usage(".").free / 1e9
    yield (OK if free > 2 else NOTE), "disk", f"{free:.0f} GB free here"


def main() -> int:
    failed = False
    for check in (check_python, check_packages, check_gpu, check_onnxruntime, check_engines, check_extras):
        try:
            for state, what, detail in check():
                failed |= state == MISSING
                print(f"{state:<8}{what:<17} {detail}")
        except ImportError as error:
            failed = True
            print(f"{MISSING:<8}{check.__name__.removeprefix('check_'):<17} {error}; run scripts/setup.sh")
    print("not ready: see the lines marked MISSING" if failed else "ready")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())

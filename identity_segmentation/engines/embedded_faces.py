"""Face engine "embedded": BlazeFace detection, a face mesh for alignment, SFace's descriptor; no GPU, no hub.

Detection: MediaPipe's full-range BlazeFace on the whole picture and on overlapping tiles (small faces in large
pictures), and its short-range net for faces that fill the picture; every candidate must also convince the face-mesh
net. Description: the mesh gives the five points that faces are aligned by; the chip and its mirror image are
described, and the two descriptions averaged.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import cv2
import numpy as np

from ..geometry import similarity_transform, suppress_duplicates, warp_crop
from ..settings import Settings
from ..types import Face, as_image, unit
from ._sface import CHIP, DIM, TEMPLATE, Descriptor
from .nets import (
    AnchorDetector,
    Net,
    by_size,
    cut_by_tile,
    digests,
    sigmoid,
    square_crop,
    thread_count,
    tile_of_any,
    two_tiles,
)

# Face-mesh indices (viewer's left is the person's right).
_EYE_CORNERS = ((33, 133), (362, 263))
_NOSE_TIP, _MOUTH = 1, (61, 291)

_LEAST = 0.35  # detector score: low, as the mesh net turns down what is no face (it says 0.00 or 1.00)
_MESH_LEAST = 0.5  # face-mesh presence, MediaPipe's own default
_COARSE = 3  # of `_tiles`, those before the finest
_SMALL = 0.06  # of the picture's longer side: a coarse tile shows the net faces of 0.04 and more of it
_SMALLEST = 14  # pixels across a face below which a description means nothing


def create(settings: Settings) -> EmbeddedFaces:
    return EmbeddedFaces()


def ready(settings: Settings) -> str:
    """It runs on any machine: nothing speaks against it before it is made; see `EngineModule`."""
    return ""


class EmbeddedFaces:
    """See the module. Levels: docs/figures.md, printed by benchmarks/identity.py."""

    id = "embedded"
    dim = DIM
    threshold = 0.52
    strict = 0.55
    floor = 0.36
    margin = 0.05
    outlier = 0.42
    strangers = ((0.40, 6.0), (0.45, 2.0), (0.48, 0.8), (0.50, 0.5), (0.52, 0.2), (0.55, 0.03))
    small = ()
    faint = 0.25
    sure = 0.5
    smallest = 0.05

    def __init__(self, threads: int | None = None):
        threads = threads or thread_count()
        self._full = AnchorDetector("face_full_range", (4,), 1, 6, threads)
        self._short = AnchorDetector("face_short_range", (8, 16, 16, 16), 2, 6, threads)
        self._mesh = Net("face_mesh", threads)
        self._descriptor = Descriptor(threads)
        self.model_hash = digests(self._descriptor.path, self._mesh.path)

    def describe(self) -> str:
        return "embedded faces (BlazeFace + face mesh + SFace) on the CPU"

    def faces(self, image_bgr: np.ndarray, embed: bool = True) -> list[Face]:
        """Every face, most confident first; see `FaceEngine.faces`."""
        return self._faces(_lit(as_image(image_bgr)), None, lambda face: embed)

    def next_faces(
        self, image_bgr: np.ndarray, expected: Sequence[np.ndarray], embed: Callable[[Face], bool]
    ) -> list[Face]:
        """See `FaceFollower.next_faces`."""
        return self._faces(_lit(as_image(image_bgr)), expected, embed)

    def candidates(self, image_bgr: np.ndarray, least: float, large: bool = True) -> list[Face]:
        """See `FaceScout.candidates`. Both corners of the mouth are its middle: the net gives no more.

        The mesh net, which knows no profiles, has a say only about what the net for large faces alone saw.
        """
        image_bgr = _lit(as_image(image_bgr))
        found = [
            (box, keys, float(score), True) for box, keys, score in zip(*self._full(image_bgr, least), strict=True)
        ]
        near = zip(*self._short(image_bgr, least), strict=True) if large else ()
        found += [(box, keys, float(score), False) for box, keys, score in near]
        boxes, scores = np.array([row[0] for row in found]).reshape(-1, 4), np.array([row[2] for row in found])
        # What the full-range net saw comes first: its keypoints are those of profiles too.
        first = scores + np.array([row[3] for row in found], bool)
        faces = []
        for i in suppress_duplicates(boxes, first, contained=False):
            box, keys, score, far = found[i]
            if min(box[2] - box[0], box[3] - box[1]) >= 2 and (
                far or self._fit_mesh(image_bgr, box, keys)[1] >= _MESH_LEAST
            ):
                faces.append(Face(box, min(score, 1.0), None, keys[[0, 1, 2, 3, 3]]))
        return sorted(faces, key=lambda face: -face.score)

    def _faces(
        self, image_bgr: np.ndarray, expected: Sequence[np.ndarray] | None, embed: Callable[[Face], bool]
    ) -> list[Face]:
        found, meshes = [], []
        for box, points, score in self._candidates(image_bgr, expected):
            mesh, presence = self._fit_mesh(image_bgr, box, points)
            if presence >= _MESH_LEAST:
                found.append(Face(box, score, None, _five_points(mesh)))
                meshes.append(mesh)
        wanted = [i for i, face in enumerate(found) if embed(face)]
        if wanted:
            described = self._embed(image_bgr, [meshes[i] for i in wanted])
            for i, embedding in zip(wanted, described, strict=True):
                found[i] = replace(found[i], embedding=embedding)
        return found

    def _candidates(
        self, image_bgr: np.ndarray, expected: Sequence[np.ndarray] | None
    ) -> Iterator[tuple[np.ndarray, np.ndarray, float]]:
        """(box (4,), keypoints (6, 2), score) of every detection, duplicates removed, best first; of the finest tiles
        only those are looked at in which a head is expected (None = all)."""
        found: list[tuple[np.ndarray, np.ndarray, float]] = []
        tiles = _tiles(*image_bgr.shape[:2])
        if expected is not None:
            small = _SMALL * max(image_bgr.shape[:2])
            tiles = tiles[:_COARSE] + [tile for tile in tiles[_COARSE:] if tile_of_any(tile, expected, small)]
        for x0, y0, x1, y1 in tiles:
            tile = image_bgr[y0:y1, x0:x1]
            for box, keys, score in zip(*self._full(tile, _LEAST), strict=True):
                box, keys = box + (x0, y0, x0, y0), keys + (x0, y0)
                if not cut_by_tile(box, (x0, y0, x1, y1), image_bgr.shape):
                    found.append((box, keys, score))
        for box, keys, score in zip(*self._short(image_bgr, _LEAST), strict=True):
            found.append((box, keys, score))
        boxes, scores = np.array([box for box, _, _ in found]).reshape(-1, 4), np.array([row[2] for row in found])
        for i in suppress_duplicates(boxes, scores):
            if boxes[i][2] - boxes[i][0] >= _SMALLEST:
                yield boxes[i], found[i][1], float(scores[i])

    def _fit_mesh(self, image_bgr: np.ndarray, box: np.ndarray, points: np.ndarray):
        """468 mesh points (468, 2) in pixels, and the net's belief that a face is there.

        Fitted twice: the second crop is centred and turned by the first fit, so that what follows hardly
        depends on which detector found the face.
        """
        centre, side = (box[:2] + box[2:]) / 2, 1.5 * max(box[2] - box[0], box[3] - box[1])
        across = points[1] - points[0]
        for _ in range(2):
            crop, back = square_crop(image_bgr, centre, side, np.arctan2(across[1], across[0]), self._mesh.size)
            outputs = self._mesh(crop)
            presence = float(sigmoid(by_size(outputs, 1)).ravel()[0])
            mesh = by_size(outputs, 1404).reshape(468, 3)[:, :2] @ back[:, :2].T + back[:, 2]
            centre, side = (mesh.min(0) + mesh.max(0)) / 2, 1.5 * float(np.ptp(mesh, axis=0).max())
            across = mesh[263] - mesh[33]
            if presence < _MESH_LEAST or side < 2:
                break
        return mesh, presence

    def _embed(self, image_bgr: np.ndarray, meshes: list[np.ndarray]) -> np.ndarray:
        chips = []
        for mesh in meshes:
            forward = similarity_transform(_five_points(mesh), TEMPLATE)
            chip = warp_crop(image_bgr, forward, CHIP)[:, :, ::-1]
            chips += [chip, chip[:, ::-1]]
        return unit(unit(self._descriptor(np.stack(chips))).reshape(-1, 2, DIM).mean(axis=1))


def _lit(image_bgr: np.ndarray) -> np.ndarray:
    """A picture without any light pixels, scaled up to have some: stage photos are dark, the nets' training was not."""
    white = float(np.percentile(image_bgr[::4, ::4], 99.9))
    if not 8 < white < 200:
        return image_bgr
    return cv2.convertScaleAbs(image_bgr, alpha=255 / white)


def _five_points(mesh: np.ndarray) -> np.ndarray:
    eyes = [mesh[list(corners)].mean(0) for corners in _EYE_CORNERS]
    return np.array([*eyes, mesh[_NOSE_TIP], *mesh[list(_MOUTH)]], np.float32)


def _tiles(height: int, width: int) -> list[tuple[int, int, int, int]]:
    """The whole picture; from 600 pixels two overlapping 60 % tiles; above 1,600 a grid of 800-pixel ones.

    The net sees 192x192 pixels, so a tile is what decides the smallest face that is found.
    """
    tiles = [(0, 0, width, height)]
    longest = max(height, width)
    if longest >= 600:
        tiles += two_tiles(height, width)
    if longest > 1600:
        size, step = 800, 560
        xs, ys = ({*range(0, max(1, side - size), step), max(0, side - size)} for side in (width, height))
        tiles += [(x, y, min(width, x + size), min(height, y + size)) for y in sorted(ys) for x in sorted(xs)]
    return tiles

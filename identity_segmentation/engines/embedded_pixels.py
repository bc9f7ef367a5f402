"""Few-shot, embedded: learns, in seconds, from a few marked pictures what to find, and judges what it finds as a whole.

A pixel is described by its neighbourhood in the picture's own terms - brightness less the local mean in units of the
local spread - at five scales: mean, gradient, both curvatures (Hessian eigenvalues), texture; by the distance to the
picture's border; and in colour pictures by colour. Three small models that err differently vote, each only where those
before it leave a chance: logistic regression, a neural net of two layers, and extremely randomised trees (Geurts et
al., Machine Learning 2006; all scikit-learn). A fourth witness sees texture, through a pretrained net (`_texture`); a
fifth says where that is unlike all that was not marked (`_normal`). Regions of the log-odds and of the brightness are
candidates (`_candidates`). A judge that has seen how the references fared without their own marks (leave-one-out) says
what IoU to expect of each (`_judge`); the best are taken, or none. Figures: docs/figures.md, printed by
benchmarks/few_shot.py.
"""

from __future__ import annotations

import warnings
import zlib
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import cv2
import numpy as np

from ..geometry import mask_box, mask_iou, whole_box
from ..pace import in_order, pool_of
from ..types import Exemplar, Segment, Trial, as_image
from ._candidates import (
    AREA,
    Evidence,
    Marked,
    Regions,
    View,
    best_of,
    candidates,
    descriptions,
    fits_of,
    large_enough,
)
from ._examples import held_out, ids_of
from ._exposure import Exposure
from ._judge import Judge, Judged
from ._normal import NormalTexture
from ._texture import Texture, TextureModel, Textures, backbone
from .nets import thread_count

_AREAS = (512**2, 1024**2)  # pixels at work; the larger only where what is marked would be thinner than _THIN
_THIN = 4.0  # pixels: twice the distance from the middle to the edge
_SCALES = (1, 2, 4, 8, 16)  # standard deviations in pixels at work
_LOCAL, _WIDE = 24, 96  # neighbourhoods that brightness is measured against
_WIDE_SCALES = (2, 8, 32)
_LIGHT = 5 * len(_SCALES)  # the plane of features that shows a picture best
_NOISE = 0.008  # spread, in units of white, below which it is noise
_BORDER = 50  # pixels from the border within which its distance is told
_COLOURFUL = 12  # difference between channels that makes a picture a colour picture
# Pixels taken of a reference: of the thing, and of the rest, a share of them close by. More do not help.
_THINGS, _RESTS, _NEAR, _NEAR_PIXELS = 1200, 2500, 0.3, 12
_FULL = 6  # references that give so many; more of them share what six would give, so that learning stays seconds
_TRAININGS = 32  # for leave-one-out: with many ids several references are left out at a time
# Training prior = true odds ** 0.55. At 1 small things are never found, because they are rare. At 0 a thing is taken to
# be as common as the rest.
_RARITY = 0.55
_TEXTURE = 0.5  # weight of the texture's log-odds beside the pixels'
_WORTH, _MARGIN = 0.35, 0.001  # expected IoU from which a region is taken, or else the best of the picture,
_NOTHING = 0.1  # ... unless that is worth no more than this; or than the best that is found in references that show
# nothing, or than halfway from there to what is found in half of the others;
_SHARE = 0.5  # ... or, where all show something, than this share of what is found in half of them
_LEAST = 0.1  # of the area of the smaller marked parts (the tenth percentile): smaller ones are specks
_HOPELESS = -6.0  # log-odds by the line below which the net is not asked: it seldom says more than -2, and what both
# say then is less than the lowest level of regions
_CHANCE = -2.5  # log-odds by these two below which the trees are not asked
_MOST = 11.0
_BLOCK = 16384


class PixelClassifier:
    """Learns every id against the rest; see the module. The protocol is `Learned`.

    Args:
        references: at least one thing marked in them.
        engine: id that segments carry.

    Raises:
        InputError: nothing is marked.
    """

    parallel = True

    def __init__(self, references: Sequence[Exemplar], engine: str):
        self.ids = ids_of(references)
        self._engine = engine
        self._colour, self._area = _looked_over(references)
        self._exposure = Exposure([reference.image for reference in references])
        rng = np.random.default_rng(0)
        share = min(1.0, _FULL / len(references))
        taken = [self._taken(reference, rng, share) for reference in references]
        threads = thread_count()
        # Filters of warnings are the process's, so they are set once, and not by every thread.
        with warnings.catch_warnings(), pool_of(threads, True) as pool:
            warnings.simplefilter("ignore")  # "not converged": a few rounds are what is wanted
            waiting = {number: pool.submit(Finder, [t[number] for t in taken]) for number in self.ids}
            folds = self._folds(references, taken)
            tried = [one for found in in_order(pool, self._tried, folds, threads) for one in found]
            self._finders = {number: future.result() for number, future in waiting.items()}
        for number, finder in self._finders.items():
            finder.judged_by([one for who, one in tried if who == number])
        self.trials = tuple(
            trial for number, one in tried if (trial := self._finders[number].trial_of(one, number)) is not None
        )

    def label(self, image_bgr: np.ndarray) -> dict[int, Segment]:
        """See `Learned`."""
        image = as_image(image_bgr)
        looks = self._look(image)
        return {number: self._segment(image.shape[:2], *f.find(looks)) for number, f in self._finders.items()}

    def tried_on(self, known: Exemplar) -> dict[int, Tried]:
        """What of every id is found in a picture where it is known, for `benchmarks/few_shot.py`."""
        looks = self._look(known.image)
        shape = looks.view.light.shape
        return {number: f.tried(looks, _mask_at_work(known, number, shape)) for number, f in self._finders.items()}

    def _look(self, image: np.ndarray) -> Looks:
        return Looks.at(self._exposure.matched(_at_work(image, self._area)), self._colour)

    def _taken(self, reference: Exemplar, rng: np.random.Generator, share: float) -> dict[int, Lesson]:
        image = _at_work(reference.image, self._area)
        looks, net = Looks.at(image, self._colour), backbone()
        textures = Textures(image, net) if net else None
        return {
            number: Lesson(looks, _mask_at_work(reference, number, image.shape[:2]), textures, rng, share)
            for number in self.ids
        }

    def _folds(self, references, taken) -> Iterator[tuple[int, list[Exemplar], list[Lesson]]]:
        """(id, references that are left out, what the others taught of it)."""
        places = {id(reference): number for number, reference in enumerate(references)}
        for left_out, others in held_out(references, max(2, min(8, _TRAININGS // len(self.ids)))):
            for number in self.ids:
                lessons = [taken[places[id(reference)]][number] for reference in others]
                if any(lesson.sample.things for lesson in lessons):
                    yield number, left_out, lessons

    def _tried(self, fold: tuple[int, list[Exemplar], list[Lesson]]) -> list[tuple[int, Tried]]:
        """(id, what was found of it) in references that were left out, by what the others taught."""
        number, left_out, lessons = fold
        finder, found = Finder(lessons), []
        for reference in left_out:
            looks = self._look(reference.image)
            found.append((number, finder.tried(looks, _mask_at_work(reference, number, looks.view.light.shape))))
        return found

    def _segment(self, shape, mask: np.ndarray, score: float) -> Segment:
        if mask.shape != shape:
            kept = cv2.resize(mask.astype(np.float32), shape[::-1], interpolation=cv2.INTER_LINEAR)
            mask = kept >= 0.5
        box = mask_box(mask)
        return Segment(mask, score, whole_box(shape) if box is None else box, self._engine)


def _mask_at_work(reference: Exemplar, number: int, shape: tuple[int, ...]) -> np.ndarray:
    mask = reference.masks.get(number)
    if mask is None or mask.shape == shape:
        return np.zeros(shape[:2], bool) if mask is None else mask
    return cv2.resize(mask.astype(np.uint8) * 255, shape[1::-1], interpolation=cv2.INTER_AREA) > 127


# ---- pictures


def _is_colour(image: np.ndarray) -> bool:
    part = image[::4, ::4].astype(np.int16)
    return int(np.abs(part - part[..., :1]).max()) > _COLOURFUL


def _at_work(image: np.ndarray, area: int) -> np.ndarray:
    factor = (area / (image.shape[0] * image.shape[1])) ** 0.5
    if factor >= 1:
        return image
    size = (max(1, round(image.shape[1] * factor)), max(1, round(image.shape[0] * factor)))
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA)


def _looked_over(references: Sequence[Exemplar]) -> tuple[bool, int]:
    """Is any reference in colour; and the smaller of `_AREAS` unless half of what is marked is too thin for it."""
    thick, colour = [], False
    for image, masks in references:
        colour = colour or _is_colour(image)
        for mask in masks.values():
            small = _at_work(mask.astype(np.uint8) * 255, _AREAS[0]) > 127
            if mask.any():
                far = cv2.distanceTransform(small.astype(np.uint8), cv2.DIST_L2, 3)
                shrunk = image.shape[0] * image.shape[1] > _AREAS[0]
                thick.append(2 * float(far.max()) if shrunk else np.inf)
    return colour, _AREAS[0] if np.median(thick) >= _THIN else _AREAS[1]


class Looks(NamedTuple):
    """A picture at work, as all models see it.

    Attributes:
        planes: float32 (F, H, W), `features`.
        view: what regions are described in.
        texture: None without the net.
    """

    planes: np.ndarray
    view: View
    texture: Texture | None

    @classmethod
    def at(cls, image: np.ndarray, colour: bool) -> Looks:
        planes, net = features(image, colour), backbone()
        return cls(planes, View.of(planes[_LIGHT]), net(image) if net else None)


def features(image: np.ndarray, colour: bool) -> np.ndarray:
    """What a pixel looks like: float32 (F, H, W).

    Args:
        image: uint8 (H, W, 3), BGR.
        colour: tell its colour too.
    """
    if colour:
        lab = cv2.cvtColor(image.astype(np.float32) / 255, cv2.COLOR_BGR2Lab)
        light = np.ascontiguousarray(lab[..., 0]) / 100
    else:
        light = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY).astype(np.float32) / 255
    height, width = light.shape
    planes = np.empty((5 * len(_SCALES) + len(_WIDE_SCALES) + 2 + (8 if colour else 0), height, width), np.float32)
    rows = iter(planes)

    def put(plane: np.ndarray) -> np.ndarray:
        row = next(rows)
        row[:] = _at_size(plane, light.shape)
        return row

    relative = _relative(light, _LOCAL)
    for scale in _SCALES:
        soft, left = _soft(relative, scale)
        smooth = put(soft)
        for plane in _slopes(soft, left):
            put(plane)
        rest = relative - smooth
        put(np.sqrt(np.maximum(_soft(rest * rest, scale)[0], 0)))
    relative = _relative(light, _WIDE)
    for scale in _WIDE_SCALES:
        put(_soft(relative, scale)[0])
    for length, axes in ((width, (None, slice(None))), (height, (slice(None), None))):
        steps = np.arange(length, dtype=np.float32)
        edge = np.minimum(np.minimum(steps, steps[::-1]), _BORDER) / (_BORDER / 2)
        put(np.broadcast_to(edge[axes], light.shape))
    if colour:
        for scale in (1, 8):
            put(_soft(light, scale)[0] * 5)
        for channel in (1, 2):
            plane = np.ascontiguousarray(lab[..., channel]) / 15
            for scale in (1, 4, 16):
                put(_soft(plane, scale)[0])
    return planes


def _soft(plane: np.ndarray, scale: float) -> tuple[np.ndarray, float]:
    """A Gaussian of that scale, on a grid as coarse as it allows; and the scale in that grid's pixels."""
    times = 1
    while scale / times > 3:
        times *= 2
    if times == 1:
        return cv2.GaussianBlur(plane, (0, 0), scale, borderType=cv2.BORDER_REFLECT), float(scale)
    size = (max(2, -(-plane.shape[1] // times)), max(2, -(-plane.shape[0] // times)))
    small = cv2.resize(plane, size, interpolation=cv2.INTER_AREA)
    sigma = float(np.sqrt((scale / times) ** 2 - 1 / 12))  # the average over a grid's pixel has softened already
    return cv2.GaussianBlur(small, (0, 0), sigma, borderType=cv2.BORDER_REFLECT), scale / times


def _at_size(plane: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    return plane if plane.shape == shape else cv2.resize(plane, shape[::-1], interpolation=cv2.INTER_LINEAR)


def _relative(light: np.ndarray, scale: float) -> np.ndarray:
    """Brightness less the local mean, in units of the local spread (and never of less than half the picture's)."""
    rest = light - _at_size(_soft(light, scale)[0], light.shape)
    spread = np.maximum(_soft(rest * rest, scale)[0], 0)
    floor = 0.5 * float(np.median(np.sqrt(spread)))
    unit = 0.9 / np.sqrt(0.25 * spread + floor**2 + _NOISE**2)
    return np.clip(rest * _at_size(unit, light.shape), -8, 8)


def _slopes(soft: np.ndarray, scale: float) -> Iterator[np.ndarray]:
    """Gradient and both curvatures, in units that do not depend on the scale."""
    smooth, second = np.array([[1, 2, 1]], np.float32) / 4, np.array([[1, -2, 1]], np.float32)
    across = cv2.Sobel(soft, cv2.CV_32F, 1, 0, ksize=3, scale=scale / 8)
    down = cv2.Sobel(soft, cv2.CV_32F, 0, 1, ksize=3, scale=scale / 8)
    yield cv2.magnitude(across, down)
    xx = cv2.sepFilter2D(soft, cv2.CV_32F, second, smooth) * (scale * scale)
    yy = cv2.sepFilter2D(soft, cv2.CV_32F, smooth, second) * (scale * scale)
    xy = cv2.Sobel(soft, cv2.CV_32F, 1, 1, ksize=3, scale=scale * scale / 4)
    middle, reach = (xx + yy) / 2, cv2.magnitude((xx - yy) / 2, xy)
    yield middle + reach
    yield middle - reach


# ---- learning


class _Sample:
    """Pixels of one reference for one id: looks (N, F), truth (N,), weights (N,), and the areas of its parts."""

    def __init__(self, looks: np.ndarray, mask: np.ndarray, rng: np.random.Generator, share: float = 1.0):
        things, rests = max(1, round(_THINGS * share)), max(1, round(_RESTS * share))
        thing = np.flatnonzero(mask)
        far = cv2.distanceTransform((~mask).astype(np.uint8), cv2.DIST_L2, 3).ravel() if len(thing) else None
        near = np.flatnonzero((far > 0) & (far <= _NEAR_PIXELS)) if far is not None else np.empty(0, np.int64)
        rest = np.flatnonzero(far > _NEAR_PIXELS) if far is not None else np.arange(mask.size)
        close = min(len(near), round(rests * _NEAR))
        groups = [
            (pool, rng.choice(pool, min(count, len(pool)), replace=False))
            for pool, count in ((thing, things), (near, close), (rest, rests - close))
        ]
        chosen = np.concatenate([found for _, found in groups])
        self.looks = looks.reshape(len(looks), -1)[:, chosen].T
        self.truth = np.arange(len(chosen)) < len(groups[0][1])
        # Each stands for its share of the picture; then the odds of the thing are raised.
        self.weights = np.concatenate([np.full(len(f), len(p) / max(1, len(f)) / mask.size) for p, f in groups])
        share = len(thing) / mask.size
        if 0 < share < 1:
            odds = (share / (1 - share)) ** _RARITY
            raised = odds / (1 + odds)
            self.weights *= np.where(self.truth, raised / share, (1 - raised) / (1 - share))
        self.things = len(thing)
        stats = cv2.connectedComponentsWithStats(mask.astype(np.uint8))[2]
        self.areas = stats[1:, cv2.CC_STAT_AREA].tolist()


class Lesson:
    """What one reference teaches of one id: its pixels, its texture and its parts."""

    def __init__(
        self, looks: Looks, mask: np.ndarray, textures: Textures | None, rng: np.random.Generator, share: float
    ):
        self.sample = _Sample(looks.planes, mask, rng, share)
        self.cells = list(textures.of(mask)) if textures else []
        self.marked = Marked.of(looks.view, mask)


class Folded(NamedTuple):
    """The regions of a level, small: a job of many references keeps those of all."""

    labels: bytes
    boxes: np.ndarray
    what: np.ndarray
    shape: tuple[int, ...]

    @classmethod
    def of(cls, level: Regions) -> Folded:
        return cls(zlib.compress(level.labels.tobytes(), 1), level.boxes, level.what, level.labels.shape)

    def regions(self) -> Regions:
        labels = np.frombuffer(zlib.decompress(self.labels), np.uint16).reshape(self.shape)
        return Regions(labels, self.boxes, self.what)


class Tried(NamedTuple):
    """What was found in a reference by what the others taught.

    Attributes:
        levels: the regions.
        what: of each level, float64 (N, F), their descriptions.
        fine: bool (N,), which of them can be judged.
        fits: float64 (N,), their IoU.
        mask: what was marked, its bits packed.
    """

    levels: list[Folded]
    what: list[np.ndarray]
    fine: list[np.ndarray]
    fits: list[np.ndarray]
    mask: np.ndarray

    def judged(self) -> Judged | None:
        """The same for the judge; large regions count more, but no picture more than another."""
        if not any(fine.any() for fine in self.fine):
            return None
        what, fits, areas = (
            np.concatenate([values[fine] for values, fine in zip(column, self.fine, strict=True)])
            for column in (self.what, self.fits, [level.what[AREA] for level in self.levels])
        )
        weights = np.sqrt(areas)
        return Judged(what, fits, weights / weights.sum())


class Finder:
    """Finds things of one id."""

    def __init__(self, lessons: Sequence[Lesson]):
        self._pixels = _Model([lesson.sample for lesson in lessons])
        cells = [cell for lesson in lessons for cell in lesson.cells]
        self._texture = TextureModel(cells, _RARITY) if cells else None
        self._normal = NormalTexture(cells) if cells else None
        self._marked = Marked.all_of([lesson.marked for lesson in lessons])
        self._judge, self._nothing = Judge(), _NOTHING
        self._without: list[tuple[Tried, Judge]] = []  # a reference, and the judge as all the others make it

    def judged_by(self, tried: Sequence[Tried]) -> None:
        """Take what the references say of each other to the judge, and from those without any thing, how good nothing
        looks. Where the two cannot be told apart little is taken."""
        known = [(one, judged) for one in tried if (judged := one.judged()) is not None]
        self._judge = Judge([judged for _, judged in known])
        self._without = [(one, Judge([judged for other, judged in known if other is not one])) for one, _ in known]
        best: dict[bool, list[float]] = {True: [], False: []}
        for (one, judged), (_, judge) in zip(known, self._without, strict=True):
            best[bool(one.mask.any())].append(float(judge.worth(judged.what).max()))
        things = float(np.median(best[True])) if best[True] else 0.0
        if best[False]:
            clean = max(best[False])
            self._nothing = max(_NOTHING, clean, (clean + things) / 2)
        elif len(best[True]) > 1:
            self._nothing = max(_NOTHING, things * _SHARE)

    def _described(self, looks: Looks) -> tuple[list[Regions], list[np.ndarray], list[np.ndarray]]:
        """Regions of a picture by level, their descriptions, and which of them can be judged."""
        evidence = self._evidence(looks)
        levels = candidates(evidence, looks.view, self._marked.signs)
        what = [descriptions(level, self._marked, evidence) for level in levels]
        return levels, what, [large_enough(level, self._pixels.least_area) for level in levels]

    def _evidence(self, looks: Looks) -> Evidence:
        """What the models say of a picture."""
        odds = self._pixels.log_odds(looks.planes)
        texture, unusual = np.zeros_like(odds), np.zeros_like(odds)
        if self._texture and self._normal and looks.texture is not None:
            size = odds.shape[::-1]
            texture = self._texture.log_odds(looks.texture.looks, size)
            unusual = self._normal.unusual(looks.texture.soft, size)
            odds = (odds + _TEXTURE * texture) / (1 + _TEXTURE)
        return Evidence(cv2.GaussianBlur(odds, (0, 0), 0.7), texture, unusual)

    def tried(self, looks: Looks, mask: np.ndarray) -> Tried:
        """What is found in a reference that was left out, mask bool (H, W)."""
        levels, what, fine = self._described(looks)
        fits = [fits_of(level, mask) for level in levels]
        return Tried([Folded.of(level) for level in levels], what, fine, fits, np.packbits(mask))

    def trial_of(self, tried: Tried, number: int) -> Trial | None:
        """How a reference was labelled, judged by what the others say; None where nothing was found in it."""
        levels = [folded.regions() for folded in tried.levels]
        judge = next((judge for one, judge in self._without if one is tried), self._judge)
        found, score = self._taken(judge, levels, tried.what, tried.fine)
        if found is None or not found.any():
            return None
        truth = np.unpackbits(tried.mask, count=found.size).reshape(found.shape) > 0
        return Trial(number, score, mask_iou(truth, found))

    def _taken(self, judge: Judge, levels, what, fine) -> tuple[np.ndarray | None, float]:
        """What is taken, bool (H, W), and the score; of nothing: None, and how sure that is."""
        worths = [np.where(f, judge.worth(w), -np.inf) for w, f in zip(what, fine, strict=True)]
        best = max((float(worth.max()) for worth in worths), default=-np.inf)
        if best <= self._nothing:
            return None, float(np.clip(1 - best, 0, 1))
        taken = best_of(levels, worths, min(_WORTH, best - _MARGIN))
        return taken.mask, float(np.clip(taken.worth, 0, 1))

    def find(self, looks: Looks) -> tuple[np.ndarray, float]:
        """Mask, bool (H, W), and score."""
        shape = looks.view.light.shape
        if self._pixels.everything:
            return np.ones(shape, bool), 1.0
        mask, score = self._taken(self._judge, *self._described(looks))
        return np.zeros(shape, bool) if mask is None else mask, score


class _Model:
    """One id against the rest."""

    def __init__(self, samples: Sequence[_Sample]):
        from sklearn.ensemble import ExtraTreesClassifier
        from sklearn.linear_model import LogisticRegression
        from sklearn.neural_network import MLPClassifier
        from threadpoolctl import threadpool_limits

        looks = np.concatenate([s.looks for s in samples])
        truth = np.concatenate([s.truth for s in samples])
        weights = np.concatenate([s.weights for s in samples])
        weights = weights / weights.mean()
        self.everything = bool(truth.all())  # whole pictures are marked: there is nothing to tell it from
        self.least_area = _LEAST * float(np.percentile([a for s in samples for a in s.areas] or [0], 10))
        self._mean = np.average(looks, axis=0, weights=weights).astype(np.float32)
        self._scale = (looks.std(axis=0) + 1e-3).astype(np.float32)
        scaled = self._scaled(looks.T).T.astype(np.float64)
        if self.everything:
            return
        # One thread, double precision and rounded weights: the same model on any number of cores.
        with threadpool_limits(1):
            line = LogisticRegression(C=0.1, max_iter=100).fit(scaled, truth, sample_weight=weights)
            net = MLPClassifier(
                (48, 24), alpha=1e-2, batch_size=256, learning_rate_init=2e-3, max_iter=12, random_state=0
            ).fit(scaled, truth, sample_weight=weights)
            self._trees = ExtraTreesClassifier(
                40, max_depth=12, min_samples_leaf=10, max_features="sqrt", random_state=0, n_jobs=1
            ).fit(looks, truth, sample_weight=weights)
        self._line = _rounded(line.coef_), _rounded(line.intercept_)[:, None]
        self._net = [(_rounded(w.T), _rounded(b)[:, None]) for w, b in zip(net.coefs_, net.intercepts_, strict=True)]

    def _scaled(self, looks: np.ndarray) -> np.ndarray:
        """(F, N) -> the same in units of its spread, held within 4."""
        return np.clip((looks - self._mean[:, None]) / self._scale[:, None], -4, 4)

    def log_odds(self, looks: np.ndarray) -> np.ndarray:
        """float32 (H, W) for features (F, H, W)."""
        count, height, width = looks.shape
        if self.everything:
            return np.full((height, width), _MOST, np.float32)
        flat = looks.reshape(count, -1)
        odds = np.empty(height * width, np.float32)
        for begin in range(0, odds.size, _BLOCK):
            part = self._scaled(flat[:, begin : begin + _BLOCK])
            line = np.clip((self._line[0] @ part + self._line[1])[0], -_MOST, _MOST)
            likely = np.flatnonzero(line > _HOPELESS)
            part = part[:, likely]
            for weights, offset in self._net[:-1]:
                part = np.maximum(weights @ part + offset, 0)
            net = self._net[-1][0] @ part + self._net[-1][1]
            line[likely] = (line[likely] + np.clip(net[0], -_MOST, _MOST)) / 2
            odds[begin : begin + _BLOCK] = line
        where = np.flatnonzero(odds > _CHANCE)
        if len(where):
            share = np.clip(self._trees.predict_proba(np.ascontiguousarray(flat[:, where].T))[:, 1], 1e-5, 1 - 1e-5)
            odds[where] = (2 * odds[where] + np.log(share / (1 - share))) / 3
        # Rounded, so that the last bit of a sum, which depends on the library's mood, decides nothing.
        return (np.round(odds * 128) / 128).reshape(height, width)


def _rounded(values: np.ndarray) -> np.ndarray:
    return np.round(values, 5).astype(np.float32)

"""A part found on a person -> how far to believe it: evidence has several links, and is as strong as its weakest.

Each link is 0..1 and has a name that a message can give. A link of 0 says that the thing cannot be there (feet below
the picture's edge); below `SURE` the mask is a proposal. Limits were set on ten street-fashion photos, whole and cut
off at six heights (the skin's also on group pictures); figures on the other ten: docs/figures.md.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from scipy.ndimage import gaussian_filter

from ._silhouettes import Head
from .embedded_parts import has_feet, part_named

SURE = 0.5
NEED_A_BODY = ("bottom", "legs", "shoes")  # parts that the joints of a body are evidence on
_SIDE = 72  # pixels of a face at working size
_HIPS, _KNEES, _ANKLES, _HEELS, _TOES = (slice(i, i + 2) for i in (23, 25, 27, 29, 31))  # rows of `Joints`
# (no evidence, full evidence) of each link; it is `SURE` half way. Lengths in face sides, areas in their squares.
_REACH = {"top": (1.2, 2.4), "clothes": (1.2, 2.4), "bottom": (4.2, 6.6), "legs": (5.5, 8.0)}
_SIZE = {
    "hair": (0.1, 0.6), "face": (0.2, 0.6), "skin": (0.2, 0.6), "top": (0.8, 2.0), "clothes": (0.8, 2.0),
    "bottom": (1.0, 3.0), "legs": (0.7, 2.1), "shoes": (0.05, 0.5),
}  # fmt: skip
_MARGIN = {
    "hair": (0.68, 0.82), "face": (0.5, 0.8), "skin": (0.6, 0.8), "top": (0.6, 0.8), "clothes": (0.6, 0.8),
    "bottom": (0.72, 0.9), "legs": (0.7, 0.9), "shoes": (0.7, 0.86),
}  # fmt: skip
_WHOLE = (0.6, 1.0)  # share of the largest piece
_STOUT = (12.0, 9.0)  # area of a person down to _CHEST; more is two people, or a person and a chair
_CHEST = 2.0
_HAIRY = (0.4, 0.65)  # colours of the hair above the face and beside it in common: a hat is another colour, or a hood
_MORE_SKIN = (1.6, 0.4)  # what below the face could be skin by its hue and was not found, in what was
_LAP = (0.8, 1.6)  # knees below hips: less is somebody who sits, and whose legs come towards us
_FEET_SEEN = (0.25, 0.85)  # what the pose net gives knee, ankle and toe of the better leg
_BOTH_SEEN = (0.35, 0.75)  # what it gives ankle and toe of the worse foot: shoes come in pairs
_ON_FEET = (0.8, 0.2)  # how far either foot is from what was found
_BELOW = (0.8, 0.0)  # toes this far below the end of the mask: not in the picture, or behind something
_BAREFOOT = (0.65, 0.35)  # colours of shoes and face in common
_ONE_PIECE = (0.78, 0.38)  # colours of chest and hips in common: a coat, a dress or a suit
_SAME_LEG = (0.35, 0.75)  # colours of hips and shins in common: trousers
_LIKE = (40.0, 20.0)  # distance of their medians in Lab, light and shade by half
_OTHER_LEG = (0.6, 0.2)
_BRANCHES = (0.0, 0.4)  # share of rows between hands and ankles that have background between two legs
_NARROW = (0.9, 0.6)  # width above the ankles, in that of the hips: a long dress stays wide
_FLARED = (1.15, 0.95)  # width of the knees, in that of the hips: coats and skirts widen
# Words that name a place on the body, whatever is worn there, and those whose shape is judged. All others name a kind
# (jacket, boots, jeans) that this engine cannot tell from its neighbours: what it shows is a proposal.
_PLACES = (
    "face", "hair", "skin", "top", "bottom", "leg", "legs", "shoes", "clothes", "outfit",
    "shirt",  # what people call any top; in Thai it is the same word
)  # fmt: skip
_TROUSERS, _SKIRTS = ("trousers", "pants"), ("skirt", "mini skirt")
_UNTOLD = 0.45
_STEPS = np.array([24, 10, 10])  # bins of L, a, b


@dataclass(frozen=True)
class Joints:
    """A body as the pose net sees it.

    Attributes:
        points: float (33, 2), (x, y) in pixels.
        seen: float (33,), 0..1: in the picture, and not behind something.
    """

    points: np.ndarray
    seen: np.ndarray


def evidence(
    image: np.ndarray, person: np.ndarray, head: Head, thing: str, share: np.ndarray, found: np.ndarray,
    joints: Joints | None,
) -> dict[str, float]:  # fmt: skip
    """How far each link of the evidence holds; its least value is the confidence.

    Args:
        image: uint8 (H, W, 3), BGR.
        person: bool (H, W), their mask.
        head: their `Head`.
        thing: the word that was asked for.
        share: float (H, W), what `find_part` gave.
        found: bool (H, W), what is shown.
        joints: their body as the pose net sees it with everybody else painted over; None where it sees none (and for
            parts that are not in `NEED_A_BODY`).

    Returns:
        name -> 0..1.
    """
    thing, part = thing.casefold(), part_named(thing)
    if not found.any() or (part == "shoes" and not has_feet(person, head)):
        return {"nothing there": 0.0}
    ends = bool(person[-2:].any())
    image, person, head, share, found, joints = _shrunk(image, person, head, share, found, joints)
    if not found.any() or not person.any():
        return {"size": 0.01}
    scene = _Scene(image, person, head)
    links = _looks(scene, thing, part, share, found)
    links = {name: max(value, 0.01) for name, value in links.items()}  # doubts; only what follows says no
    if part in _REACH:
        links["reach"] = _rise(scene.depth, *_REACH[part])
    if part in NEED_A_BODY:
        links |= _posture(joints, scene, part, found)
    if part == "shoes":
        links["picture ends"] = _UNTOLD if ends else 1.0
    return links


def _looks(scene: _Scene, thing: str, part: str, share: np.ndarray, found: np.ndarray) -> dict[str, float]:
    """What the mask and its colours say."""
    area = np.count_nonzero(found) / scene.head.side**2
    links = {
        "one person": _rise(scene.area(-9, _CHEST), *_STOUT),
        "size": _rise(area, *_SIZE[part]),
        "margin": _rise(float(share[found].mean()), *_MARGIN[part]),
    }
    if part in ("hair", "top", "face"):
        links["one piece"] = _rise(_largest(found) / np.count_nonzero(found), *_WHOLE)
    if part == "hair":
        links["no hat"] = _rise(_common(scene.colours(-9, -0.55, found), scene.colours(-0.5, 0.6, found)), *_HAIRY)
    if part == "skin":
        links["all of it"] = _rise(scene.like_face(found) / area, *_MORE_SKIN)
    if part == "shoes":
        face = _spread(scene.bins[scene.core()])
        links["no bare foot"] = _rise(_common(face, scene.colours(-9, 99, found)), *_BAREFOOT)
    if part in ("bottom", "legs"):
        links |= _garment(scene, thing, part, found)
    if thing not in (*_PLACES, *_TROUSERS, *_SKIRTS):
        links["kind"] = _UNTOLD
    return links


def _shrunk(image, person, head: Head, share, found, joints: Joints | None):
    """All of it at a size at which the face has at most _SIDE pixels: colours and widths need no more."""
    factor = _SIDE / head.side
    if factor >= 1:
        return image, person, head, share, found, joints
    size = tuple(max(8, round(side * factor)) for side in person.shape[::-1])

    def small(array: np.ndarray) -> np.ndarray:
        return cv2.resize(array.astype(np.float32), size, interpolation=cv2.INTER_AREA)

    image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    joints = None if joints is None else Joints(joints.points * factor, joints.seen)
    head = Head(head.x * factor, head.y * factor, head.side * factor)
    return image, small(person) > 0.5, head, small(share), small(found) > 0.5, joints


def _posture(joints: Joints | None, scene: _Scene, part: str, found: np.ndarray) -> dict[str, float]:
    """Is this somebody who stands, and are the feet there?"""
    if joints is None:
        return {"body": 0.3}
    height = (joints.points[:, 1] - scene.head.y) / scene.head.side
    links = {"standing": max(_rise(float(height[_KNEES].mean() - height[_HIPS].mean()), *_LAP), 0.01)}
    return links if part != "shoes" else links | _feet(joints, scene, float(height[_TOES].mean()), found)


def _feet(joints: Joints, scene: _Scene, toes: float, found: np.ndarray) -> dict[str, float]:
    """Are both feet in the picture, and is what was found on them? `toes`: how far below the face."""
    feet = np.minimum(joints.seen[_ANKLES], joints.seen[_TOES])
    away = cv2.distanceTransform((~found).astype(np.uint8), cv2.DIST_L2, 3) / scene.head.side
    middles = (joints.points[_HEELS] + joints.points[_TOES]) / 2
    x, y = np.clip(middles, 0, np.array(found.shape[::-1]) - 1).astype(int).T
    return {
        "feet seen": _rise(float(np.minimum(joints.seen[_KNEES], feet).max()), *_FEET_SEEN),
        "feet reached": _rise(toes - scene.depth, *_BELOW),
        "both feet": max(_rise(float(feet.min()), *_BOTH_SEEN), 0.01),
        "on the feet": max(_rise(float(away[y, x].max()), *_ON_FEET), 0.01),
    }


def _garment(scene: _Scene, thing: str, part: str, found: np.ndarray) -> dict[str, float]:
    """Do the colours of chest, hips and shins say what is worn, and is it the kind that was asked for?"""
    hips = scene.colours(4.5, 5.5)
    common = _common(hips, scene.colours(scene.depth - 2.2, scene.depth - 0.9))
    trousers, bare = _trousers(scene, common), _rise(common, *_OTHER_LEG)
    if thing in _TROUSERS:
        return {"two legs": trousers}
    if part == "legs":
        with_hips = scene.area(4.4, 5.4, found) > 0.35 * scene.area(4.4, 5.4)
        return {"trousers": trousers} if with_hips else {"bare": bare}
    links = {"own colour": _rise(_common(hips, scene.colours(1.5, 3.2)), *_ONE_PIECE)}
    if thing in _SKIRTS:
        links["bare below"] = bare
    return links


def _trousers(scene: _Scene, common: float) -> float:
    """Do hips and shins wear the same, on two legs? `common`: colours they have in common."""
    if scene.depth < 7:
        return 0.3
    hips, shins = scene.band(4.5, 5.5), scene.band(scene.depth - 2.2, scene.depth - 0.9)
    if not hips.any() or not shins.any():
        return 0.0
    apart = (np.median(scene.lab[hips], 0) - np.median(scene.lab[shins], 0)) * (0.5, 1, 1)
    narrow = scene.width(scene.depth - 2.2, scene.depth - 1.2) / scene.width(4.5, 5.5)
    return min(
        _rise(common, *_SAME_LEG),
        _rise(float(np.linalg.norm(apart)), *_LIKE),
        max(_rise(_gap(scene), *_BRANCHES), _rise(narrow, *_NARROW)),
        _rise(scene.width(6.2, 6.8) / scene.width(4.5, 5.5), *_FLARED),
    )


class _Scene:
    """A picture as it is measured from one face."""

    def __init__(self, image: np.ndarray, person: np.ndarray, head: Head):
        self.person, self.head = person, head
        self.down = (np.arange(person.shape[0]) + 0.5 - head.y) / head.side
        self.across = (np.arange(person.shape[1]) + 0.5 - head.x) / head.side
        self.depth = float(self.down[np.flatnonzero(person.any(1))[-1]])
        self.lab = cv2.cvtColor(cv2.bilateralFilter(image, 5, 25, 5), cv2.COLOR_BGR2LAB)
        self.bins = self.lab // _STEPS

    def band(self, begin: float, end: float, within: np.ndarray | None = None) -> np.ndarray:
        """The person (or a part of them) between two heights: bool (H, W)."""
        return (self.person if within is None else within) & ((self.down > begin) & (self.down < end))[:, None]

    def area(self, begin: float, end: float, within: np.ndarray | None = None) -> float:
        """Face squares."""
        return np.count_nonzero(self.band(begin, end, within)) / self.head.side**2

    def width(self, begin: float, end: float) -> float:
        """Mean width of what is below the head, without stretched arms and bags; at least a hundredth."""
        rows = (self.person & (np.abs(self.across) < 1.5)[None])[(self.down > begin) & (self.down < end)]
        return max(0.01, float(rows.sum(1).mean()) / self.head.side if len(rows) else 0.0)

    def colours(self, begin: float, end: float, within: np.ndarray | None = None) -> np.ndarray:
        """Share of each colour; they add up to 1."""
        return _spread(self.bins[self.band(begin, end, within)])

    def core(self) -> np.ndarray:
        """The middle of the face: bool (H, W)."""
        return ((self.across[None] / 0.33) ** 2 + (self.down[:, None] / 0.42) ** 2 < 1) & self.person

    def like_face(self, found: np.ndarray) -> float:
        """How much of the person below the face has the face's hue, and was not found: face squares.

        Hue, not colour: an arm in the shade is still an arm.
        """
        face = self.lab[self.core()].astype(float)
        if len(face) < 4:
            return 0.0
        middle, spread = np.median(face, 0), np.cov(face[:, 1:].T) + 6 * np.eye(2)
        below = self.band(0.9, 99, self.person & ~found)
        off = self.lab[below].astype(float) - middle
        near = np.einsum("ni,ij,nj->n", off[:, 1:], np.linalg.inv(spread), off[:, 1:]) < 4
        below[below] = near & (np.abs(off[:, 0]) < 70)
        opened = cv2.morphologyEx(below.astype(np.uint8), cv2.MORPH_OPEN, np.ones((5, 5), np.uint8))
        return np.count_nonzero(opened) / self.head.side**2


def _gap(scene: _Scene) -> float:
    """Share of the rows between hands and ankles with background between two legs."""
    rows = np.flatnonzero((scene.down > 6.0) & (scene.down < min(scene.depth - 0.9, 8.5)))
    near = scene.person & (np.abs(scene.across) < 1.5)[None]
    gaps = [bool((np.diff(np.flatnonzero(near[row])) > 0.12 * scene.head.side).any()) for row in rows]
    return float(np.mean(gaps)) if gaps else 0.0


def _flat(bins: np.ndarray) -> np.ndarray:
    return np.ravel_multi_index(tuple(bins.T), tuple(256 // _STEPS + 1))


def _spread(bins: np.ndarray) -> np.ndarray:
    size = tuple(256 // _STEPS + 1)
    counts = np.bincount(_flat(bins), minlength=int(np.prod(size))).reshape(size).astype(float)
    counts = gaussian_filter(counts, 0.8).ravel()
    return counts / max(counts.sum(), 1.0)


def _common(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.minimum(a, b).sum())


def _largest(mask: np.ndarray) -> int:
    return int(cv2.connectedComponentsWithStats(mask.astype(np.uint8))[2][1:, cv2.CC_STAT_AREA].max())


def _rise(value: float, none: float, full: float) -> float:
    """0 at `none`, 1 at `full` (on either side of it), a straight line in between."""
    return float(np.clip((value - none) / (full - none), 0.0, 1.0))

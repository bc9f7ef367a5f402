"""People's soft mattes -> Cryptomatte channels and their metadata, for the EXR frames of `exr.write_exr`.

Cryptomatte keeps many mattes in few channels: every pixel holds pairs of (who, how much), the largest share first. A
compositing program puts a person's matte together again by adding the shares of one id. Written after the Cryptomatte
specification 1.2.0 (Friedman and Jones, https://github.com/Psyop/Cryptomatte/tree/master/specification).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

import cv2
import numpy as np

# The type name is free. This one is the specification's own example, so every reader has met it.
TYPE_NAME = "CryptoObject"
# A layer of four channels holds two pairs. Three layers are the specification's suggestion.
_PAIRS_A_LAYER, _MOST_LAYERS = 2, 3
# Two at least, whoever is there: the colour view of the Cryptomatte plug-in for Fusion reads the first two layers.
_FEWEST_LAYERS = 2

_SHARES = (np.arange(256) / 255).astype(np.float32)


def murmur3(data: bytes, seed: int = 0) -> int:
    """MurmurHash3_x86_32, as Austin Appleby published it (public domain): https://github.com/aappleby/smhasher.

    Args:
        data: what is hashed.
        seed: what the hash starts from; Cryptomatte's is 0.

    Returns:
        The hash, 0 to 2**32 - 1.
    """
    state, whole = seed, len(data) - len(data) % 4
    for start in range(0, whole, 4):
        state = _rotated(state ^ _scrambled(data[start : start + 4]), 13) * 5 + 0xE6546B64 & 0xFFFFFFFF
    state ^= _scrambled(data[whole:]) ^ len(data)
    state = (state ^ state >> 16) * 0x85EBCA6B & 0xFFFFFFFF
    state = (state ^ state >> 13) * 0xC2B2AE35 & 0xFFFFFFFF
    return state ^ state >> 16


def _scrambled(block: bytes) -> int:
    """One block, of four bytes or of the last few, as it enters the hash; an empty one is 0."""
    word = int.from_bytes(block, "little") * 0xCC9E2D51 & 0xFFFFFFFF
    return _rotated(word, 15) * 0x1B873593 & 0xFFFFFFFF


def _rotated(word: int, by: int) -> int:
    return (word << by | word >> 32 - by) & 0xFFFFFFFF


def plain_text(name: str) -> str:
    """A name as text that UTF-8 can hold: bytes of a file name that are no UTF-8 become "\\udc.." spelled out."""
    return name.encode("utf-8", "backslashreplace").decode("utf-8")


def id_bits(name: str) -> int:
    """The 32 bits of the float that stands for a name in the picture: "uint32_to_float32" of the specification.

    The hash's bits are the float's. Where its exponent would be 0 or 255 (no number, infinite, or too small for some
    programs to keep) the lowest bit of the exponent is flipped. Two names of one id would share a matte; of a hundred
    names that happens once in a million.
    """
    bits = murmur3(plain_text(name).encode())
    return bits ^ 1 << 23 if bits >> 23 & 255 in (0, 255) else bits


def name_id(name: str) -> np.float32:
    """The float that stands for a name in the picture; never 0, infinite or no number."""
    return np.uint32(id_bits(name)).view(np.float32)


def metadata(names: Sequence[str]) -> dict[str, str]:
    """The header's entries "cryptomatte/<key>/...": what the channels are called and who has which id.

    The key is made of the type name's hash: seven hexadecimal digits, so that no entry's name is longer than the 31
    characters that old EXR readers take. The manifest is JSON of name -> eight hexadecimal digits. Every script stands
    in it as UTF-8, for Blender's reader knows no escapes of the kind \\u1234.

    Args:
        names: everybody's name, whether or not they are in this frame; manifests should not change within a sequence.
    """
    manifest = {plain_text(name): f"{id_bits(name):08x}" for name in names}
    key = f"cryptomatte/{id_bits(TYPE_NAME):08x}"[:-1]
    return {
        f"{key}/name": TYPE_NAME,
        f"{key}/hash": "MurmurHash3_32",
        f"{key}/conversion": "uint32_to_float32",
        f"{key}/manifest": json.dumps(manifest, ensure_ascii=False, separators=(",", ":")),
    }


def layer_count(people: int) -> int:
    """How many layers of four channels hold the pairs of that many people: two, or three for more than four people."""
    return min(max(-(-people // _PAIRS_A_LAYER), _FEWEST_LAYERS), _MOST_LAYERS)


def channels(mattes: Mapping[str, np.ndarray], people: int, size: tuple[int, int]) -> dict[str, np.ndarray]:
    """The channels "CryptoObject00.r" and so on; their names in lower case, as the specification has them.

    `r` and `b` are ids, `g` and `a` their coverages, the largest coverage first; of equal ones the first in `mattes`.
    Where mattes of a pixel add up to more than 1, all of them are divided by the sum. Where more people share a pixel
    than there are pairs (six at most), those with the smallest coverages are left out of that pixel.

    Args:
        mattes: name -> soft matte, uint8 (H, W), 0 to 255; of those who are in the frame.
        people: how many people the sequence knows; the number of layers must not change within it.
        size: (H, W) in pixels.

    Returns:
        Channel name -> float32 (H, W).
    """
    layers = layer_count(people)
    ids = [np.zeros(size, np.float32) for _ in range(layers * _PAIRS_A_LAYER)]
    coverages = [np.zeros(size, np.float32) for _ in ids]
    shared = _alone(mattes, ids[0], coverages[0])
    _together(mattes, shared, ids, coverages)
    found = {}
    for layer in range(layers):
        for (one, share), pair in zip((("r", "g"), ("b", "a")), range(layer * 2, layer * 2 + 2), strict=True):
            found[f"{TYPE_NAME}{layer:02}.{one}"] = ids[pair]
            found[f"{TYPE_NAME}{layer:02}.{share}"] = coverages[pair]
    return found


def box_of(matte: np.ndarray) -> tuple[slice, slice]:
    """Rows and columns of the smallest box that holds all of a matte (uint8 (H, W)) that is not 0."""
    x, y, width, height = cv2.boundingRect(matte)
    return slice(y, y + height), slice(x, x + width)


def _alone(mattes: Mapping[str, np.ndarray], ids: np.ndarray, coverages: np.ndarray) -> np.ndarray:
    """Fill in the first pair as if nobody shared a pixel; the pixels that somebody does share, as flat indices."""
    taken, shared = np.zeros(ids.shape, bool), np.zeros(ids.shape, bool)
    for name, matte in mattes.items():
        box = box_of(matte)
        here = matte[box] > 0
        shared[box] |= taken[box] & here
        taken[box] |= here
        np.copyto(ids[box], name_id(name), where=here)
        np.copyto(coverages[box], _SHARES[matte[box]], where=here)
    return np.flatnonzero(shared)


def _together(
    mattes: Mapping[str, np.ndarray], shared: np.ndarray, ids: list[np.ndarray], coverages: list[np.ndarray]
) -> None:
    """Rank the people of the shared pixels."""
    if not len(shared):
        return
    values = np.stack([matte.reshape(-1)[shared] for matte in mattes.values()]).astype(np.int32)
    total = np.maximum(values.sum(axis=0), 255)
    order = np.argsort(-values, axis=0, kind="stable")[: len(ids)]
    ranked = np.take_along_axis(values, order, axis=0)
    who = np.array([name_id(name) for name in mattes])
    for rank, (value, person) in enumerate(zip(ranked, order, strict=True)):
        ids[rank].reshape(-1)[shared] = np.where(value > 0, who[person], np.float32(0))
        coverages[rank].reshape(-1)[shared] = (value / total).astype(np.float32)

"""Images that are the same, to the byte or to the eye: grouped, and never deleted.

    perceptual_hash(image) -> 64 bits
    group_duplicates(digests, looks, alike=4) -> the number of its group for every image

The eye's hash is pHash (Zauner 2010, "Implementation and benchmarking of perceptual image hash functions"): the signs,
against their median, of the 8 x 8 lowest frequencies of a small grey copy's cosine transform. Resizing, another
compression and small changes of light move few of its bits. Half of the bits are always set, so unlike images lie
about 32 bits apart, and what says nothing (a flat surface) is known by its spectrum.

Pairs within d bits are found without comparing all with all: of d + 1 bands of a hash, at least one is the same in both
(Manku et al. 2007), so only images that share a band are compared.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from PIL import Image

GREY, LOW = 32, 8  # the small copy's side; frequencies kept along each axis
FLAT = 2.0  # of a frequency's mean size, in grey levels: below it an image has nothing to tell it by
BLOCK = 2048  # hashes compared at once
_K, _N = np.arange(LOW)[:, None], np.arange(GREY)[None, :]
COSINES = np.cos(np.pi * _K * (2 * _N + 1) / (2 * GREY)) * np.sqrt(2 / GREY)  # DCT-II, without the constant


def perceptual_hash(image: Image.Image) -> int:
    """Compute the perceptual hash of an image (pHash, Zauner 2010).

    Args:
        image: The image, of any size and mode.

    Returns:
        64 bits; 0 for an image without structure, which is like no other.
    """
    grey = image.convert("L").resize((GREY, GREY), Image.Resampling.LANCZOS, reducing_gap=2.0)
    spectrum = COSINES @ np.asarray(grey, np.float64) @ COSINES.T
    spectrum[0, 0] = 0  # the mean, which says how bright the image is and not what it shows
    if np.abs(spectrum).mean() < FLAT:
        return 0
    return int.from_bytes(np.packbits(spectrum > np.median(spectrum)).tobytes(), "big")


def group_duplicates(digests: np.ndarray, looks: np.ndarray, alike: int) -> np.ndarray:
    """Group images that are the same, by their bytes or by their hashes.

    Args:
        digests: uint64 [N], equal for equal files.
        looks: Perceptual hashes, uint64 [N]; 0 where there is none.
        alike: The number of bits, from 0 to 64, in which the hashes of one group may differ; if negative, only equal
            files are grouped.

    Returns:
        For each image the number of its group [N], which is the index of the group's first image.
    """
    first = _first_of_each(digests)
    if alike >= 0 and looks.any():
        some, where = np.unique(looks[looks > 0], return_inverse=True)
        family = _connected_components(len(some), *_near_pairs(some, alike))
        seen = np.flatnonzero(looks > 0)
        leaders = np.full(len(some), -1)
        leaders[family[where[::-1]]] = seen[::-1]  # the first image of each family, as later writes win
        first = _connected_components(
            len(first), np.r_[np.arange(len(first)), seen], np.r_[first, leaders[family[where]]]
        )
    return first


def _first_of_each(keys: np.ndarray) -> np.ndarray:
    _, index, inverse = np.unique(keys, return_index=True, return_inverse=True)
    return index[inverse]


def _near_pairs(looks: np.ndarray, alike: int) -> tuple[np.ndarray, np.ndarray]:
    """Pairs of different hashes (sorted, unique, [N]) within `alike` bits."""
    edges = np.linspace(0, 64, alike + 2).astype(int)
    left, right = [np.zeros(0, int)], [np.zeros(0, int)]
    for low, high in pairwise(edges):
        band = (looks >> np.uint64(low)) & np.uint64(2 ** int(high - low) - 1)
        order = np.argsort(band, kind="stable")
        for bucket in np.split(order, np.flatnonzero(np.diff(band[order])) + 1):
            if len(bucket) < 2:
                continue
            for start in range(0, len(bucket), BLOCK):
                part = bucket[start : start + BLOCK]
                rest = bucket[start:]
                bits = np.bitwise_count(looks[part, None] ^ looks[None, rest])
                one, other = np.nonzero(bits <= alike)
                left.append(part[one])
                right.append(rest[other])
    return np.concatenate(left), np.concatenate(right)


def _connected_components(count: int, left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """The smallest member of the connected part that each of `count` things lies in, for these pairs."""
    parent = np.arange(count)
    while True:
        one, other = parent[left], parent[right]
        low, high = np.minimum(one, other), np.maximum(one, other)
        if np.array_equal(low, high):
            return parent
        np.minimum.at(parent, high, low)
        while not np.array_equal(parent, parent[parent]):
            parent = parent[parent]

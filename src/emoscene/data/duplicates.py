"""Images that are the same, to the byte or to the eye: grouped, and never deleted.

    hash_looks(image) -> six hashes of 64 bits
    group_duplicates(digests, looks, alike=4) -> the number of its group for every image

The eye's hash follows pHash (Zauner 2010, "Implementation and benchmarking of perceptual image hash functions"): signs
of the low frequencies of a small grey copy's cosine transform. Resizing, another compression and small changes of light
move few of them, and unlike images lie about 32 bits apart. A mirror changes the sign of every odd horizontal frequency
and nothing else, so the hash of the mirrored image is this one with half of its bits inverted (`MIRRORED`).

An image has three views: the whole; its middle, which is what a crop leaves; and what lies inside a frame of one
colour. Each view has a coarse hash (the 8 x 8 lowest frequencies) and a fine one (the next 64). Two images are alike if
a view of one, mirrored or not, is near the whole of the other: at most `alike` bits of the coarse hash differ, and at
most `FINER` times as many of the fine one, which tells apart what is only composed alike. A blurred image has no fine
hash, and is compared by the coarse one. `benchmarks.twins` prints what is caught by that, and what is not.

Pairs within d bits are found without comparing all with all: of d + 2 bands of a hash, at least two are the same in
both (Manku et al. 2007), so only images that share two bands are compared.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations, pairwise

import numpy as np
from PIL import Image

SMALL, GREY = 128, 32  # sides of the copy that views are cut from, and of a view
LOW, HIGH = 8, 12  # frequencies kept along each axis, by the coarse hash and by both
MIDDLE = 0.94  # share of each side that the view of the middle keeps
FLAT = 2.0  # of a frequency's mean size, in grey levels: below it a view has nothing to tell it by
FRAME, PLAIN, WIDEST = 12, 0.95, 0.25  # grey levels that a frame varies by, in that share of a line; its widest share
FINER = 2.5  # bits of the fine hash that may differ, for each of the coarse one
FAINT = 8.0  # of a fine frequency's mean size: below it compression decides their signs, and they are not compared
GAP = 1.0  # how precisely the small copy is made (Pillow's reducing_gap); 2.0 takes half a millisecond longer
VIEWS = 3
HASHES = 2 * VIEWS
_K, _N = np.arange(HIGH)[:, None], np.arange(GREY)[None, :]
COSINES = np.cos(np.pi * _K * (2 * _N + 1) / (2 * GREY)) * np.sqrt(2 / GREY)  # DCT-II, without the constant

Box = tuple[float, float, float, float]


def hash_looks(image: Image.Image) -> tuple[int, ...]:
    """Compute the perceptual hashes of an image.

    Args:
        image: The image, of any size and mode.

    Returns:
        For the whole, the middle, and what lies inside a frame, the coarse and the fine hash: 6 numbers of 64 bits. A
        view without structure, which is like no other, has 0 and 0; a blurred one has no fine hash.
    """
    small = image.convert("L").resize((SMALL, SMALL), Image.Resampling.LANCZOS, reducing_gap=GAP)
    edge = SMALL * (1 - MIDDLE) / 2
    boxes: list[Box] = [(0, 0, SMALL, SMALL), (edge, edge, SMALL - edge, SMALL - edge), _find_frame(small)]
    hashes: list[int] = []
    for box in boxes:
        view = small.resize((GREY, GREY), Image.Resampling.LANCZOS, box=box)
        hashes += _hash_view(np.asarray(view, np.float64))
    return tuple(hashes)


def _hash_view(grey: np.ndarray) -> tuple[int, int]:
    """The coarse and the fine hash of a view [GREY, GREY], in grey levels."""
    spectrum = COSINES @ grey @ COSINES.T
    spectrum[0, 0] = 0  # the mean, which says how bright the image is and not what it shows
    low = spectrum[:LOW, :LOW]
    if np.abs(low).mean() < FLAT:
        return 0, 0
    fine, ring = 0, _ring(spectrum)
    if np.abs(ring).mean() >= FAINT:
        fine = _pack_bits(ring > 0)
    return _pack_bits(low > 0), fine


def _ring(spectrum: np.ndarray) -> np.ndarray:
    """The frequencies beyond the lowest along one axis [64]."""
    return np.concatenate([spectrum[LOW:, :LOW].ravel(), spectrum[:LOW, LOW:].ravel()])


def _pack_bits(bits: np.ndarray) -> int:
    return int.from_bytes(np.packbits(bits).tobytes(), "big")


_ODD = np.broadcast_to(np.arange(HIGH) % 2 == 1, (HIGH, HIGH))
MIRRORED = (_pack_bits(_ODD[:LOW, :LOW]), _pack_bits(_ring(_ODD)))
"""The bits that a mirror inverts, of the coarse and of the fine hash."""


def _find_frame(small: Image.Image) -> Box:
    """What lies inside a frame, or between bars at two opposite sides: left, top, right, bottom."""
    grey = np.asarray(small, np.int16)
    top, bottom = _count_plain_lines(grey), _count_plain_lines(grey[::-1])
    left, right = _count_plain_lines(grey.T), _count_plain_lines(grey.T[::-1])
    if not (top and bottom):
        top = bottom = 0
    if not (left and right):
        left = right = 0
    return left, top, SMALL - right, SMALL - bottom


def _count_plain_lines(grey: np.ndarray) -> int:
    """How many lines from the first on have its colour."""
    some = grey[: int(WIDEST * SMALL)]
    near = np.abs(some - np.median(some[0])) <= FRAME
    return int(np.logical_and.accumulate(near.mean(1) >= PLAIN).sum())


def group_duplicates(digests: np.ndarray, looks: np.ndarray, alike: int) -> np.ndarray:
    """Group images that are the same, by their bytes or by their hashes.

    Args:
        digests: uint64 [N], equal for equal files.
        looks: The hashes of `hash_looks`, uint64 [N, 6]; 0 where there is none.
        alike: The number of bits, from 0 to 8, in which the coarse hashes of two images may differ; if negative, only
            equal files are grouped.

    Returns:
        For each image the number of its group [N], which is the index of the group's first image.
    """
    first = _first_of_each(digests)
    seen = np.flatnonzero(looks[:, 0])
    if alike < 0 or not len(seen):
        return first
    some, where = np.unique(looks[seen], axis=0, return_inverse=True)
    family = _group_looks(some, alike)[where]
    leaders = np.full(len(some), -1)
    leaders[family[::-1]] = seen[::-1]  # the first image of each family, as later writes win
    return _connected_components(len(first), np.r_[np.arange(len(first)), seen], np.r_[first, leaders[family]])


def _first_of_each(keys: np.ndarray) -> np.ndarray:
    _, index, inverse = np.unique(keys, return_index=True, return_inverse=True)
    return index[inverse]


def _group_looks(looks: np.ndarray, alike: int) -> np.ndarray:
    """The connected part of each of these hashes, which are unique [N, 6]: the index of its first member."""
    family = np.arange(len(looks))
    edges = np.linspace(0, 64, alike + 3).astype(int)
    bands = [((1 << int(high - low)) - 1) << int(low) for low, high in pairwise(edges)]
    views = list(_list_views(looks))
    whole, finer = np.ascontiguousarray(looks[:, 0]), np.ascontiguousarray(looks[:, 1])
    for one, other in combinations(bands, 2):
        shared = np.uint64(one | other)
        keys = whole & shared
        order = np.argsort(keys)
        for member, coarse, fine in views:
            for left, right in _pairs_of_bucket(keys[order], order, coarse & shared):
                near = np.flatnonzero(np.bitwise_count(coarse[left] ^ whole[right]) <= alike)
                left, right = left[near], right[near]
                blurred = (fine[left] == 0) | (finer[right] == 0)
                near = np.flatnonzero(blurred | (np.bitwise_count(fine[left] ^ finer[right]) <= FINER * alike))
                left, right = family[member[left[near]]], family[right[near]]
                if np.any(left != right):
                    count = np.arange(len(family))
                    family = _connected_components(len(family), np.r_[count, left], np.r_[family, right])
    return family


def _list_views(looks: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Each view of the images, as it is and mirrored: the images that have it, its coarse and its fine hash."""
    for view in range(VIEWS):
        coarse, fine = looks[:, 2 * view], looks[:, 2 * view + 1]
        member = np.flatnonzero(coarse)
        if view:
            member = np.flatnonzero((coarse != 0) & (coarse != looks[:, 0]))
        for mirror in ((0, 0), MIRRORED):
            turned = np.where(fine == 0, fine, fine ^ np.uint64(mirror[1]))
            yield member, coarse[member] ^ np.uint64(mirror[0]), turned[member]


def _pairs_of_bucket(
    keys: np.ndarray, order: np.ndarray, wanted: np.ndarray
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Pairs of each of `wanted` [M] and what has the same key, of `keys` in ascending order; `order`: whose they are.

    The first of each bucket comes in the first pair of arrays, the second in the second, and so on.
    """
    left = np.argsort(wanted)  # neighbours look in the same place, which is several times as fast
    place = np.searchsorted(keys, wanted[left], "left")
    end = np.searchsorted(keys, wanted[left], "right")
    while True:
        inside = place < end
        left, place, end = left[inside], place[inside], end[inside]
        if not len(left):
            return
        yield left, order[place]
        place = place + 1


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

"""The sizes that images are cut to: one square, or a few shapes of about its area ("buckets").

A square cuts a third off a photograph of 3:2. Cut to the nearest of a few shapes, it keeps its sides, and because all
shapes have about as many pixels, a step costs the same on each. A batch holds images of one shape: see `batches`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from PIL import Image

LONGEST = 2.0  # times the shorter side
NEAR = 0.1  # of the square's area that a shape may have more or less


def bucket_sizes(side: int, unit: int) -> tuple[tuple[int, int], ...]:
    """List the sizes that images may be cut to.

    Args:
        side: The side of the square in pixels, at least `unit`.
        unit: Every side is a multiple of it, in pixels.

    Returns:
        Sizes (W, H), each of about side x side pixels: the square first, then landscape and portrait formats.
    """
    sizes = [(side, side)]
    for wide in range(side + unit, int(side * LONGEST) + 1, unit):
        high = round(side * side / wide / unit) * unit
        if high and wide <= LONGEST * high and abs(wide * high / side**2 - 1) < NEAR:
            sizes += [(wide, high), (high, wide)]
    return tuple(sizes)


def choose_bucket(size: tuple[int, int], sizes: Sequence[tuple[int, int]]) -> tuple[int, int]:
    """Choose the size whose aspect ratio is nearest to that of an image.

    Args:
        size: The image's width and height.
        sizes: The sizes (W, H) to choose from.

    Returns:
        One of `sizes`.
    """
    aspect = math.log(size[0] / size[1])
    return min(sizes, key=lambda one: abs(math.log(one[0] / one[1]) - aspect))


def share_kept(size: tuple[int, int], sizes: Sequence[tuple[int, int]]) -> float:
    """Compute how much of an image `crop_to_bucket` keeps.

    Args:
        size: The image's width and height.
        sizes: The sizes (W, H) to choose from.

    Returns:
        The share of its area, in (0, 1].
    """
    wide, high = choose_bucket(size, sizes)
    ratio = size[0] / size[1] * high / wide
    return min(ratio, 1 / ratio)


def crop_to_bucket(image: Image.Image, sizes: Sequence[tuple[int, int]]) -> Image.Image:
    """Cut out the centre of an image, at the size whose aspect ratio is nearest to its own.

    Args:
        image: The image, of any size.
        sizes: The sizes (W, H) to choose from, in pixels.

    Returns:
        The centre, resized to one of `sizes`.
    """
    wide, high = choose_bucket(image.size, sizes)
    scale = min(image.width / wide, image.height / high)
    left, top = (image.width - wide * scale) / 2, (image.height - high * scale) / 2
    box = (left, top, left + wide * scale, top + high * scale)
    return image.resize((wide, high), Image.Resampling.LANCZOS, box=box, reducing_gap=3.0)


def crop_square(image: Image.Image, side: int) -> Image.Image:
    """Cut out the central square of an image.

    Args:
        image: The image, of any size.
        side: The side of the result in pixels.

    Returns:
        The centre, `side` x `side` pixels.
    """
    return crop_to_bucket(image, ((side, side),))

"""How far the images lie from real ones, without assuming Gaussians: the kernel distance (Binkowski et al. 2018).

    d = mean k(x, x') + mean k(y, y') - 2 mean k(x, y),        k(x, y) = (x . y / D + 1)^3

over pairs of different images, so it is unbiased at any number of images, and may fall below zero for two samples
of one kind. With Inception's features it is called KID; with any others it is not, and `by` says whose they are.
"""

from __future__ import annotations

import numpy as np

from emoscene.evaluation.metrics.base import Array, Predictions, Value, measure, require_images


def kernel(made: Predictions, real: Predictions | None = None, draws: int = 200) -> dict[str, Value]:
    """Measure the squared kernel distance of the features (Binkowski et al. 2018).

    Args:
        made: What was read of N generated images.
        real: What was read of real images, if there are any.
        draws: The number of bootstrap draws for the intervals.

    Returns:
        `kernel`; empty without real images.

    Raises:
        EmosceneError: There are fewer than 2 images.
    """
    if real is None:
        return {}
    made = made.without_copies
    require_images("the kernel distance", 2, made.features, real.features)
    ours, theirs = made.features.astype(np.float64), real.features.astype(np.float64)
    within, across = cubic_kernel(ours, ours), cubic_kernel(ours, theirs).mean(1)
    np.fill_diagonal(within, 0)
    there = mean_of_pairs(cubic_kernel(theirs, theirs), np.ones(len(real)))

    def statistic(weights: Array) -> float:
        total = weights.sum()
        if total:
            return mean_of_pairs(within, weights) + there - 2 * float(weights @ across / total)
        return float("nan")

    return {"kernel": measure(statistic, made, draws, centred=True, by=made.space)}


def cubic_kernel(one: Array, other: Array) -> Array:
    """Compute the kernel (x . y / D + 1)^3 of every pair (Binkowski et al. 2018).

    Args:
        one: Vectors [N, D].
        other: Vectors [M, D].

    Returns:
        The kernel [N, M].
    """
    return np.asarray((one @ other.T / one.shape[1] + 1) ** 3)


def mean_of_pairs(values: Array, weights: Array) -> float:
    """Compute the weighted mean over pairs of different images; copies of an image are not a pair.

    Args:
        values: The value of each pair [N, N].
        weights: How often each image counts [N].

    Returns:
        The mean; nan where there is no pair.
    """
    pairs = weights.sum() ** 2 - (weights**2).sum()
    told = weights @ values @ weights - (weights**2) @ np.diag(values)
    if pairs > 0:
        return float(told / pairs)
    return float("nan")

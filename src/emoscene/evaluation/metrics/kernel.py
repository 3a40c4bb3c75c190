"""How far the pictures lie from real ones, without assuming Gaussians: the kernel distance (Binkowski et al. 2018).

    d = mean k(x, x') + mean k(y, y') - 2 mean k(x, y),        k(x, y) = (x . y / D + 1)^3

over pairs of different pictures, so it is unbiased at any number of pictures, and may fall below zero for two samples
of one kind. With Inception's features it is called KID; with any others it is not, and `by` says whose they are.
"""

from __future__ import annotations

import numpy as np

from emoscene.evaluation.metrics.base import Array, Predictions, Value, measure, require_images


def kernel(made: Predictions, real: Predictions | None = None, draws: int = 200) -> dict[str, Value]:
    """The squared kernel distance of the features; nothing without real pictures. Raises Failure below 2 pictures."""
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
        return mean_of_pairs(within, weights) + there - 2 * float(weights @ across / total) if total else float("nan")

    return {"kernel": measure(statistic, made, draws, centred=True, by=made.space)}


def cubic_kernel(one: Array, other: Array) -> Array:
    """The kernel of every pair [N, M]."""
    return np.asarray((one @ other.T / one.shape[1] + 1) ** 3)


def mean_of_pairs(values: Array, weights: Array) -> float:
    """The mean over pairs of different pictures [N, N]; a picture's own copies are no pair."""
    pairs = weights.sum() ** 2 - (weights**2).sum()
    told = weights @ values @ weights - (weights**2) @ np.diag(values)
    return float(told / pairs) if pairs > 0 else float("nan")

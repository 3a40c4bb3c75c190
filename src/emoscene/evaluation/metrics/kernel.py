"""How far the images lie from real ones, without assuming Gaussians: the kernel distance (Binkowski et al. 2018).

    d = mean k(x, x') + mean k(y, y') - 2 mean k(x, y),        k(x, y) = (x . y / D + 1)^3

over pairs of different images, so it is unbiased at any number of images, and may fall below zero for two samples
of one kind. With Inception's features it is called KID; with any others it is not, and `by` says whose they are.

The distance is a small difference of large means. With p = x . y / D, k = 1 + 3 p + 3 p^2 + p^3, and the 1 cancels
between the three means: it is never added, so that pairs can be computed in float32 where they are many.
"""

from __future__ import annotations

import numpy as np

from emoscene.evaluation.intervals import Array, resample
from emoscene.evaluation.metrics.base import Predictions, Value, require_images, summarize_draws
from emoscene.evaluation.pairs import choose_precision, count_pairs, divide, split_rows, sum_pairs


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
    ours, theirs = choose_precision(made.features, real.features)
    across = mean_across(ours, theirs)
    there = mean_within(theirs, np.ones((1, len(real))))

    def compute_distances(weights: Array) -> Array:
        return mean_within(ours, weights) + there - 2 * divide(weights @ across, weights.sum(1))

    drawn = resample(compute_distances, made.prompt, made.seed, draws)
    return {"kernel": summarize_draws(drawn, made, made.space or made.by, centred=True)}


def cubic_kernel(one: Array, other: Array) -> Array:
    """Compute the kernel less one, (x . y / D + 1)^3 - 1, of every pair (Binkowski et al. 2018).

    Args:
        one: Vectors [N, D].
        other: Vectors [M, D].

    Returns:
        p (3 + p (3 + p)) with p = x . y / D [N, M].
    """
    product = (one / one.shape[1]) @ other.T
    found = product + 3
    found *= product
    found += 3
    found *= product
    return np.asarray(found)


def mean_across(one: Array, other: Array) -> Array:
    """Compute the mean kernel less one of each vector with all of another cloud.

    Args:
        one: Vectors [N, D].
        other: Vectors [M, D].

    Returns:
        The means [N].
    """
    means = np.zeros(len(one))
    for rows in split_rows(len(one), len(other)):
        means[rows] = cubic_kernel(one[rows], other).mean(1, dtype=np.float64)
    return means


def mean_within(features: Array, weights: Array) -> Array:
    """Compute the weighted mean kernel less one of pairs of different images; copies of an image are not a pair.

    Args:
        features: Vectors [N, D].
        weights: How often each image counts, a row a draw [K, N].

    Returns:
        The mean of each draw [K]; nan where there is no pair.
    """
    return divide(sum_pairs(features, cubic_kernel, weights), count_pairs(weights))

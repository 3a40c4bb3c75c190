"""Sums over all pairs of images, without holding the pairs.

N images have N^2 pairs: of 20,000 images, one number a pair is 3 GB. Two things keep a metric small. The rows of the
table of pairs are computed a few at a time and added up, so that memory grows with N alone. And the weights of all
bootstrap draws are known beforehand (`base.resample`), so that one pass over the pairs serves every draw: with weights
w_k of draw k and values v of the pairs,

    sum_k = sum_i w_ki sum_j w_kj v_ij

costs a matrix product of the rows at hand with the weights, and the pairs are computed once, not once a draw.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from emoscene.evaluation.intervals import Array, WeightedValues

PAIRS = 2**22
"""The most pairs that are held at once."""
EXACT = 2048
"""Up to so many images pairs are computed in float64; beyond, where a metric bears it, in float32."""

Between = Callable[[Array, Array], Array]
"""Vectors [n, D] and [m, D] in, a value of each pair [n, m] out; symmetric."""


def split_rows(count: int, width: int) -> Iterator[slice]:
    """Split the rows of a table of pairs into parts of at most `PAIRS` pairs.

    Args:
        count: The number of rows.
        width: The number of pairs in a row.

    Yields:
        Slices of at least one row, in order.
    """
    step = max(1, PAIRS // max(1, width))
    for first in range(0, count, step):
        yield slice(first, min(first + step, count))


def choose_precision(one: Array, other: Array) -> tuple[Array, Array]:
    """Convert features to what their pairs are computed in: float64 where they are few, float32 where they are many.

    Args:
        one: Vectors [N, D].
        other: Vectors [M, D].

    Returns:
        The same in float64 or, where either has more than `EXACT` vectors, in float32.
    """
    if max(len(one), len(other)) > EXACT:
        return one.astype(np.float32), other.astype(np.float32)
    return one.astype(np.float64), other.astype(np.float64)


def sum_pairs(features: Array, between: Between, weights: Array) -> Array:
    """Sum the weighted values of all ordered pairs of different images; sums are float64 in any case.

    As values are symmetric, only pairs (i, j) with j after i are computed, and count twice.

    Args:
        features: Vectors [N, D].
        between: Computes the values of pairs.
        weights: How often each image counts, a row a draw [K, N].

    Returns:
        The sum of each draw [K].
    """
    total = np.zeros(len(weights))
    for rows in split_rows(len(features), len(features)):
        values = between(features[rows], features[rows.start :]).astype(np.float64, copy=False)
        size = rows.stop - rows.start
        np.fill_diagonal(values[:, :size], 0)
        values[:, size:] *= 2
        of_rows = values @ weights[:, rows.start :].T
        total += (of_rows * weights[:, rows].T).sum(0)
    return total


def count_pairs(weights: Array) -> Array:
    """Count the ordered pairs of different images; copies of an image are not a pair.

    Args:
        weights: How often each image counts, a row a draw [K, N].

    Returns:
        The number of each draw [K].
    """
    return np.asarray(weights.sum(1) ** 2 - (weights**2).sum(1))


def divide(sums: Array, counts: Array) -> Array:
    """Divide sums by counts.

    Args:
        sums: Sums [K].
        counts: Counts [K].

    Returns:
        Their ratio [K]; nan where nothing was counted.
    """
    return np.divide(sums, counts, out=np.full(len(sums), np.nan), where=counts > 0)


def squared_distances(one: Array, other: Array) -> Array:
    """Compute squared Euclidean distances.

    Args:
        one: Points [N, D].
        other: Points [M, D].

    Returns:
        Distances [N, M], at least 0, in the precision of the points.
    """
    distances = (-2 * one) @ other.T  # a pass over the few rows costs less than one over the pairs
    distances += np.einsum("nd,nd->n", one, one)[:, None]
    distances += np.einsum("nd,nd->n", other, other)
    return np.asarray(np.maximum(distances, 0, out=distances))


def mean_within_emotion(asked: Array, total: Callable[[Array, Array], Array]) -> WeightedValues:
    """Make the statistic that averages a value over all pairs within an emotion, and then over emotions.

    A pair is never an image with itself or with its own copies in a bootstrap draw.

    Args:
        asked: The emotion asked, -1 for none [N].
        total: Sums the values of the pairs of some images: their indices [n] and weights [K, n] in, sums [K] out.

    Returns:
        A function of weights [K, N]; nan where no emotion has a pair.
    """

    def compute_means(weights: Array) -> Array:
        summed, found = np.zeros(len(weights)), np.zeros(len(weights))
        for label in np.unique(asked[asked >= 0]):
            members = np.flatnonzero(asked == label)
            shares = weights[:, members]
            means = divide(total(members, shares), count_pairs(shares))
            summed += np.nan_to_num(means)
            found += np.isfinite(means)
        return divide(summed, found)

    return compute_means

"""How far the images lie from real ones: the Frechet distance between two clouds of features (Heusel et al. 2017).

    d = |mu_1 - mu_2|^2 + tr(C_1 + C_2 - 2 (C_1 C_2)^(1/2))

It grows as images become fewer, so only distances at one and the same N compare; both sides are cut to the smaller
number. Repetition lowers the rank of the covariances and so raises the distance: the interval is centred on the value.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from emoscene.evaluation.intervals import Array, bootstrap_draws
from emoscene.evaluation.metrics.base import (
    Predictions,
    Value,
    require_images,
    spaced_places,
    summarize_draws,
)


def distance(made: Predictions, real: Predictions | None = None, draws: int = 100) -> dict[str, Value]:
    """Measure the Frechet distance of the features, at equal numbers (Heusel et al. 2017).

    Args:
        made: What was read of N generated images.
        real: What was read of real images, if there are any.
        draws: The number of bootstrap draws for the intervals.

    Returns:
        `frechet`, at least 0; empty without real images.

    Raises:
        EmosceneError: There are fewer than 2 images.
    """
    if real is None:
        return {}
    made = made.without_copies
    require_images("the Frechet distance", 2, made.features, real.features)
    count = min(len(made), len(real))
    ours, theirs = spaced_places(len(made), count), spaced_places(len(real), count)
    mean, covariance = moments(real.features[theirs])
    root, features = matrix_root(covariance), made.features[ours].astype(np.float64)

    def statistic(weights: Array) -> float:
        if weights.sum() < 2:
            return float("nan")
        return frechet_distance(*moments(features, weights), mean, covariance, root)

    prompts, seeds = made.prompt[ours], made.seed[ours]
    drawn = np.concatenate([[statistic(np.ones(count))], bootstrap_draws(statistic, prompts, seeds, draws)])
    found = summarize_draws(drawn, made.select(ours), made.space or made.by, centred=True)
    return {"frechet": replace(found, low=max(found.low, 0.0))}


def moments(features: Array, weights: Array | None = None) -> tuple[Array, Array]:
    """Compute mean and unbiased covariance.

    Args:
        features: Vectors [N, D].
        weights: How often each row counts [N]; once if left out.

    Returns:
        The mean [D] and the covariance [D, D].
    """
    features = np.asarray(features, np.float64)
    if weights is None:
        weights = np.ones(len(features))
    drawn = weights > 0
    features, weights = features[drawn], weights[drawn]
    total = weights.sum()
    mean = weights @ features / total
    centred = features - mean
    centred *= np.sqrt(weights)[:, None]
    return mean, centred.T @ centred / (total - 1)  # a product with its own transpose costs half of one


def matrix_root(covariance: Array) -> Array:
    """Compute the symmetric root of a covariance.

    Args:
        covariance: A symmetric matrix without negative eigenvalues [D, D].

    Returns:
        The root [D, D]: its product with itself is the covariance.
    """
    values, vectors = np.linalg.eigh(covariance)
    return np.asarray((vectors * np.sqrt(values.clip(min=0))) @ vectors.T)


def frechet_distance(mean_1: Array, cov_1: Array, mean_2: Array, cov_2: Array, root_2: Array | None = None) -> float:
    """Compute the Frechet distance of two Gaussians (Dowson & Landau 1982).

    The trace of (C_1 C_2)^(1/2) is that of (C_2^(1/2) C_1 C_2^(1/2))^(1/2), which is symmetric.

    Args:
        mean_1: The mean of the first [D].
        cov_1: The covariance of the first [D, D].
        mean_2: The mean of the second [D].
        cov_2: The covariance of the second [D, D].
        root_2: The root of `cov_2`, where many are held against one; computed if left out.

    Returns:
        The distance, at least 0 up to rounding.
    """
    if root_2 is None:
        root_2 = matrix_root(cov_2)
    cross = np.sqrt(np.linalg.eigvalsh(root_2 @ cov_1 @ root_2).clip(min=0)).sum()
    return float(((mean_1 - mean_2) ** 2).sum() + np.trace(cov_1) + np.trace(cov_2) - 2 * cross)

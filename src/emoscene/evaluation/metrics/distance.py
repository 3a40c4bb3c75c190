"""How far the pictures lie from real ones: the Frechet distance between two clouds of features (Heusel et al. 2017).

    d = |mu_1 - mu_2|^2 + tr(C_1 + C_2 - 2 (C_1 C_2)^(1/2))

It grows as pictures become fewer, so only distances at one and the same N compare; both sides are cut to the smaller
number. Repetition lowers the rank of the covariances and so raises the distance: the interval is centred on the value.
"""

from __future__ import annotations

import numpy as np

from emoscene.evaluation.metrics.base import (
    Array,
    Predictions,
    Value,
    bootstrap_interval,
    require_images,
    spaced_places,
)


def distance(made: Predictions, real: Predictions | None = None, draws: int = 100) -> dict[str, Value]:
    """The Frechet distance of the features, at equal numbers; nothing without real pictures. Raises Failure below 2."""
    if real is None:
        return {}
    made = made.without_copies
    require_images("the Frechet distance", 2, made.features, real.features)
    count = min(len(made), len(real))
    ours, theirs = spaced_places(len(made), count), spaced_places(len(real), count)
    there = moments(real.features[theirs])

    def statistic(weights: Array) -> float:
        few = weights.sum() < 2
        return float("nan") if few else frechet_distance(*moments(made.features[ours], weights), *there)

    value = statistic(np.ones(count))
    low, high = bootstrap_interval(statistic, made.prompt[ours], made.seed[ours], draws, centre=value)
    return {"frechet": Value(value, max(low, 0.0), high, count, made.space or made.by)}


def moments(features: Array, weights: Array | None = None) -> tuple[Array, Array]:
    """Mean [D] and (unbiased) covariance [D, D]; weights count how often a row is there."""
    features = features.astype(np.float64)
    weights = np.ones(len(features)) if weights is None else weights
    total = weights.sum()
    mean = weights @ features / total
    centred = features - mean
    return mean, (centred * weights[:, None]).T @ centred / (total - 1)


def frechet_distance(mean_1: Array, cov_1: Array, mean_2: Array, cov_2: Array) -> float:
    """The distance of two Gaussians. The trace of (C_1 C_2)^(1/2) is that of (C_1^(1/2) C_2 C_1^(1/2))^(1/2)."""
    values, vectors = np.linalg.eigh(cov_1)
    root = (vectors * np.sqrt(values.clip(min=0))) @ vectors.T
    cross = np.sqrt(np.linalg.eigvalsh(root @ cov_2 @ root).clip(min=0)).sum()
    return float(((mean_1 - mean_2) ** 2).sum() + np.trace(cov_1) + np.trace(cov_2) - 2 * cross)

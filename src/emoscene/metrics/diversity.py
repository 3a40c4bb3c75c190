"""How much pictures of one emotion differ from each other: the mean distance over all pairs within an emotion.

Every pair counts, not a sample of ten; the list starts anew for each emotion; a picture is never paired with itself,
nor with its own copies in a bootstrap draw, whose intervals are centred on the value all the same: a prompt drawn twice
is paired with itself more often. Beside the value stands its share of the real pictures' own diversity.
"""

from __future__ import annotations

import numpy as np

from emoscene.metrics.base import Array, Readings, Statistic, Value, measured


def diversity(made: Readings, real: Readings | None = None, draws: int = 200) -> dict[str, Value]:
    """Mean Euclidean distance of features within an emotion, averaged over emotions, alone and relative to the real."""
    ours = statistic(made.features, made.asked)
    found = {"diversity": measured(ours, made, draws, centred=True)}
    if real is not None:
        theirs = statistic(real.features, real.asked)(np.ones(len(real)))
        found["diversity_share"] = measured(lambda w: ours(w) / theirs, made, draws, centred=True)
    return found


def statistic(features: Array, asked: Array) -> Statistic:
    """Weights -> mean distance within an emotion; the pairs' distances are computed once."""
    groups = [np.flatnonzero(asked == label) for label in np.unique(asked[asked >= 0])]
    between = [(group, pairwise(features[group])) for group in groups if len(group) > 1]

    def value(weights: Array) -> float:
        means = []
        for group, distances in between:
            shares = weights[group]
            pairs = shares.sum() ** 2 - (shares**2).sum()
            if pairs > 0:
                means.append(float(shares @ distances @ shares / pairs))
        return float(np.mean(means)) if means else float("nan")

    return value


def pairwise(features: Array) -> Array:
    """Euclidean distances [N, N]; exactly zero to oneself."""
    features = features.astype(np.float64)
    squares = (features**2).sum(1)
    squared = squares[:, None] + squares[None] - 2 * features @ features.T
    np.fill_diagonal(squared, 0)
    return np.sqrt(squared.clip(min=0))

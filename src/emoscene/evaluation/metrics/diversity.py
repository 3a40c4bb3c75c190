"""How much images of one emotion differ from each other: the mean distance over all pairs within an emotion.

Every pair counts, not a sample of ten; the list starts anew for each emotion; an image is never paired with itself,
nor with its own copies in a bootstrap draw, whose intervals are centred on the value all the same: a prompt drawn twice
is paired with itself more often. Beside the value stands its share of the real images' own diversity.
"""

from __future__ import annotations

import numpy as np

from emoscene.evaluation.intervals import Array, WeightedValues, resample
from emoscene.evaluation.metrics.base import NotMeasurable, Predictions, Value, require_images, summarize_draws
from emoscene.evaluation.pairs import mean_within_emotion, squared_distances, sum_pairs


def diversity(made: Predictions, real: Predictions | None = None, draws: int = 200) -> dict[str, Value]:
    """Measure the mean Euclidean distance of features within an emotion, averaged over emotions.

    Args:
        made: What was read of N generated images.
        real: What was read of real images, if there are any.
        draws: The number of bootstrap draws for the intervals.

    Returns:
        `diversity`, and with real images `diversity_share`, relative to their diversity.

    Raises:
        NotMeasurable: No emotion has two images.
    """
    require_images("diversity", 2, made.features)
    if real is not None:
        require_images("diversity", 2, real.features)
    if np.bincount(made.asked[made.asked >= 0], minlength=1).max() < 2:
        raise NotMeasurable("diversity needs 2 images of one emotion and there are none: give more prompts or seeds")
    by = made.space or made.by
    drawn = resample(diversity_statistic(made.features, made.asked), made.prompt, made.seed, draws)
    values = {"diversity": summarize_draws(drawn, made, by, centred=True)}
    if real is not None:
        theirs = diversity_statistic(real.features, real.asked)(np.ones((1, len(real))))
        values["diversity_share"] = summarize_draws(drawn / theirs, made, by, centred=True)
    return values


def diversity_statistic(features: Array, asked: Array) -> WeightedValues:
    """Make the statistic of diversity.

    Args:
        features: Vectors [N, D].
        asked: The emotion asked, -1 for none [N].

    Returns:
        A function of weights [K, N]: the mean distance within an emotion, in each of K draws.
    """

    def sum_distances(members: Array, weights: Array) -> Array:
        return sum_pairs(features[members].astype(np.float64), pairwise_distances, weights)

    return mean_within_emotion(asked, sum_distances)


def pairwise_distances(one: Array, other: Array) -> Array:
    """Compute Euclidean distances of all pairs.

    Args:
        one: Vectors [N, D].
        other: Vectors [M, D].

    Returns:
        Distances [N, M].
    """
    squared = squared_distances(one, other)
    return np.asarray(np.sqrt(squared, out=squared))

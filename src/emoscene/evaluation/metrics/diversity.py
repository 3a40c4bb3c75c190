"""How much images of one emotion differ from each other: the mean distance over all pairs within an emotion.

Every pair counts, not a sample of ten; the list starts anew for each emotion; an image is never paired with itself,
nor with its own copies in a bootstrap draw, whose intervals are centred on the value all the same: a prompt drawn twice
is paired with itself more often. Beside the value stands its share of the real pictures' own diversity.
"""

from __future__ import annotations

import numpy as np

from emoscene.core.errors import EmosceneError
from emoscene.evaluation.metrics.base import (
    Array,
    Predictions,
    Statistic,
    Value,
    mean_within_emotion,
    measure,
    require_images,
    squared_distances,
)


def diversity(made: Predictions, real: Predictions | None = None, draws: int = 200) -> dict[str, Value]:
    """Measure the mean Euclidean distance of features within an emotion, averaged over emotions.

    Args:
        made: What was read of N generated images.
        real: What was read of real images, if there are any.
        draws: The number of bootstrap draws for the intervals.

    Returns:
        `diversity`, and with real images `diversity_share`, relative to their diversity.

    Raises:
        EmosceneError: No emotion has two images.
    """
    require_images("diversity", 2, made.features)
    if real is not None:
        require_images("diversity", 2, real.features)
    if np.bincount(made.asked[made.asked >= 0], minlength=1).max() < 2:
        raise EmosceneError("diversity needs 2 pictures of one emotion and there are none: give more prompts or seeds")
    ours = diversity_statistic(made.features, made.asked)
    found = {"diversity": measure(ours, made, draws, centred=True, by=made.space)}
    if real is not None:
        theirs = diversity_statistic(real.features, real.asked)(np.ones(len(real)))
        found["diversity_share"] = measure(lambda w: ours(w) / theirs, made, draws, centred=True, by=made.space)
    return found


def diversity_statistic(features: Array, asked: Array) -> Statistic:
    """Make the statistic of diversity.

    Args:
        features: Vectors [N, D].
        asked: The emotion asked, -1 for none [N].

    Returns:
        A function of weights [N]: the mean distance within an emotion.
    """
    return mean_within_emotion(features, asked, pairwise_distances)


def pairwise_distances(features: Array) -> Array:
    """Compute Euclidean distances of all pairs.

    Args:
        features: Vectors [N, D].

    Returns:
        Distances [N, N]; the diagonal is exactly 0.
    """
    return np.sqrt(squared_distances(features, features))

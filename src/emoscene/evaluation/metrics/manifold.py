"""Whether images look real, and whether they cover what is real: precision and recall (Kynkaanniemi et al. 2019).

A cloud of features stands for all that lies within a ball around one of its points, as wide as the way to the point's
third nearest neighbour. Precision is the share of made images within the real ones' balls, recall the share of real
images within the made ones'. Both sides are cut to the same number. Fewer prompts leave fewer balls, so the interval
of recall is centred on the value.
"""

from __future__ import annotations

import numpy as np

from emoscene.evaluation.metrics.base import (
    Array,
    Predictions,
    Statistic,
    Value,
    bootstrap_interval,
    require_images,
    spaced_places,
    squared_distances,
    weighted_mean,
)

NEIGHBOURS = 3


def manifold(made: Predictions, real: Predictions | None = None, draws: int = 200) -> dict[str, Value]:
    """Measure precision and recall of the features, at equal numbers (Kynkaanniemi et al. 2019).

    Args:
        made: What was read of N generated images.
        real: What was read of real images, if there are any.
        draws: The number of bootstrap draws for the intervals.

    Returns:
        `manifold_precision` and `manifold_recall`, from 0 to 1; empty without real images.

    Raises:
        EmosceneError: There are not more images than neighbours.
    """
    if real is None:
        return {}
    made = made.without_copies
    require_images("precision and recall", NEIGHBOURS + 1, made.features, real.features)
    count = min(len(made), len(real))
    ours, theirs = spaced_places(len(made), count), spaced_places(len(real), count)
    one, other = made.features[ours], real.features[theirs]
    across = squared_distances(one, other)
    inside = (across <= neighbour_radii(other)).any(1).astype(float)
    covers = across <= neighbour_radii(one)[:, None]
    prompt, seed = made.prompt[ours], made.seed[ours]

    def measure_clipped(statistic: Statistic, centred: bool) -> Value:
        value = statistic(np.ones(count))
        centre = None
        if centred:
            centre = value
        low, high = bootstrap_interval(statistic, prompt, seed, draws, centre=centre)
        return Value(value, max(low, 0.0), min(high, 1.0), count, made.space or made.by)

    def compute_recall(weights: Array) -> float:
        if weights.any():
            return float(covers[weights > 0].any(0).mean())
        return float("nan")

    return {
        "manifold_precision": measure_clipped(lambda weights: weighted_mean(inside, weights), False),
        "manifold_recall": measure_clipped(compute_recall, True),
    }


def neighbour_radii(features: Array) -> Array:
    """Compute how far the third nearest neighbour of each point is.

    Args:
        features: Points [N, D], more than 3.

    Returns:
        Squared distances [N].
    """
    return np.asarray(np.sort(squared_distances(features, features), 1)[:, NEIGHBOURS])

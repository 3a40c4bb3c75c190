"""Whether pictures look real, and whether they cover what is real: precision and recall (Kynkaanniemi et al. 2019).

A cloud of features stands for all that lies within a ball around one of its points, as wide as the way to the point's
third nearest neighbour. Precision is the share of made pictures within the real ones' balls, recall the share of real
pictures within the made ones'. Both sides are cut to the same number. Fewer prompts leave fewer balls, so the interval
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
    """Precision and recall of the features, at equal numbers; nothing without real pictures.

    Raises Failure where there are not more pictures than neighbours.
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

    def told(statistic: Statistic, centred: bool) -> Value:
        value = statistic(np.ones(count))
        low, high = bootstrap_interval(statistic, prompt, seed, draws, centre=value if centred else None)
        return Value(value, max(low, 0.0), min(high, 1.0), count, made.space or made.by)

    def covered(weights: Array) -> float:
        return float(covers[weights > 0].any(0).mean()) if weights.any() else float("nan")

    return {
        "manifold_precision": told(lambda weights: weighted_mean(inside, weights), False),
        "manifold_recall": told(covered, True),
    }


def neighbour_radii(features: Array) -> Array:
    """The squared way from each point to its third nearest neighbour [N]."""
    return np.asarray(np.sort(squared_distances(features, features), 1)[:, NEIGHBOURS])

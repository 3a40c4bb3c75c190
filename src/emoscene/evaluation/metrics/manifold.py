"""Whether images look real, and whether they cover what is real: precision and recall (Kynkaanniemi et al. 2019).

A cloud of features stands for all that lies within a ball around one of its points, as wide as the way to the point's
third nearest neighbour. Precision is the share of made images within the real ones' balls, recall the share of real
images within the made ones'. Both sides are cut to the same number. Fewer prompts leave fewer balls, so the interval
of recall is centred on the value.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from emoscene.evaluation.intervals import Array, resample
from emoscene.evaluation.metrics.base import Predictions, Value, require_images, spaced_places, summarize_draws
from emoscene.evaluation.pairs import choose_precision, divide, split_rows, squared_distances

NEIGHBOURS = 3
PART = 64
"""Of how many numbers of a row `find_smallest` takes the minimum."""


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
    origin = real.features[theirs].mean(0, dtype=np.float64)  # near the points, so that distances lose no digits
    made, by = made.select(ours), made.space or made.by
    one, other = choose_precision(made.features - origin, real.features[theirs] - origin)
    shares = resample(lambda weights: np.hstack(compare_clouds(one, other, weights)), made.prompt, made.seed, draws)
    precision, recall = np.split(shares, 2)
    return {
        "manifold_precision": _clip_interval(summarize_draws(precision, made, by)),
        "manifold_recall": _clip_interval(summarize_draws(recall, made, by, centred=True)),
    }


def compare_clouds(one: Array, other: Array, weights: Array) -> tuple[Array, Array]:
    """Compute precision and recall of weighted points against others (Kynkaanniemi et al. 2019).

    Args:
        one: Made points [N, D].
        other: Real points [M, D].
        weights: How often each made point counts, a row a draw [K, N].

    Returns:
        The weighted share of made points within the real ones' balls, and the share of real points within the balls of
        made points that count [K] each; nan where none counts.
    """
    here, there = neighbour_radii(one), neighbour_radii(other)
    counted = (weights > 0).astype(np.float32)
    inside, balls = np.zeros(len(one)), np.zeros((len(weights), len(other)), np.float32)  # how many balls hold a point
    for rows in split_rows(len(one), len(other)):
        away = squared_distances(one[rows], other)
        inside[rows] = (away <= there).any(1)
        balls += counted[:, rows] @ (away <= here[rows, None]).astype(np.float32)
    precision = divide(weights @ inside, weights.sum(1))
    recall = np.where(counted.any(1), (balls > 0).mean(1), np.nan)
    return precision, recall


def neighbour_radii(features: Array) -> Array:
    """Compute how far the third nearest neighbour of each point is.

    Args:
        features: Points [N, D], more than 3.

    Returns:
        Squared distances [N].
    """
    radii = np.zeros(len(features), features.dtype)
    for rows in split_rows(len(features), len(features)):
        away = squared_distances(features[rows], features)
        np.fill_diagonal(away[:, rows], 0)
        radii[rows] = find_smallest(away, NEIGHBOURS)
    return radii


def find_smallest(values: Array, rank: int) -> Array:
    """Find the number of a rank in each row, faster than `np.partition` where rows are long.

    The minima of many parts of a row are numbers of that row, so the number of a rank among them is at least the one
    looked for: only the few that are not above it need to be sorted.

    Args:
        values: Numbers [N, M], M > rank.
        rank: 0 for the smallest, 1 for the next, and so on.

    Returns:
        The numbers [N].
    """
    parts = values.shape[1] // PART
    if parts <= rank:
        return np.asarray(np.partition(values, rank, axis=1)[:, rank])
    minima = values[:, : parts * PART].reshape(len(values), PART, parts).min(1)
    bound = np.partition(minima, rank, axis=1)[:, rank]
    rows, columns = np.nonzero(values <= bound[:, None])
    kept = values[rows, columns]
    firsts = np.searchsorted(rows, np.arange(len(values)))
    return np.asarray(kept[np.lexsort((kept, rows))][firsts + rank])


def _clip_interval(value: Value) -> Value:
    return replace(value, low=max(value.low, 0.0), high=min(value.high, 1.0))

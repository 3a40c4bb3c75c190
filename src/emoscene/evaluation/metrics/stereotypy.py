"""Whether images paint the stereotype of an emotion: what six numbers of their colours tell, beyond real images.

A linear discriminant reads the emotion from mean and deviation of three colour axes (`evaluation.colours`). It learnt
from real images that nothing here judges. Of real held-out images it reads so much; where it reads more of generated
ones, the method has found a colour for each emotion, and an accuracy that it gains so is a caricature's.

    stereotypy = accuracy on generated images - accuracy on real images

Both are means over emotions, so that a data set with few images of one does not count them less. The interval resamples
the generated images by prompts and seeds, and the real ones one by one, independently.
"""

from __future__ import annotations

import numpy as np

from emoscene.core.taxonomy import EMOTIONS
from emoscene.evaluation.intervals import Array, WeightedValues, count_clusters, percentile_interval, resample
from emoscene.evaluation.metrics.base import Predictions, Value, hits, require_images
from emoscene.evaluation.pairs import divide

BY = "six numbers"


def stereotypy(made: Predictions, real: Predictions | None = None, draws: int = 500) -> dict[str, Value]:
    """Measure how much more of generated images than of real ones six numbers of colour tell.

    Args:
        made: What was read of N generated images.
        real: What was read of real images, if there are any.
        draws: The number of bootstrap draws for the intervals.

    Returns:
        `six_numbers` and `six_numbers_real`, the accuracies on generated and on real images from 0 to 1, and
        `stereotypy`, from -1 to 1; empty where no reader of colours learnt from real images.

    Raises:
        EmosceneError: Predictions are not finite, or no emotion was asked.
    """
    if real is None or not made.by_colour.size or not real.by_colour.size:
        return {}
    values, drawn = {}, []
    for start, (name, read) in enumerate((("six_numbers", made), ("six_numbers_real", real))):
        require_images("the reading of six numbers", 1, read.by_colour[read.asked >= 0])
        share = balanced_share(hits(read.by_colour, read.asked), read.asked)
        shares = resample(share, read.prompt, read.seed, draws, start)
        values[name] = _make_value(shares, read)
        drawn.append(shares)
    values["stereotypy"] = _make_value(drawn[0] - drawn[1], made)
    return values


def _make_value(drawn: Array, read: Predictions) -> Value:
    low, high = percentile_interval(drawn[1:], count_clusters(read.prompt, read.seed))
    return Value(float(drawn[0]), low, high, int((read.asked >= 0).sum()), BY, drawn)


def balanced_share(hit: Array, asked: Array) -> WeightedValues:
    """Make the statistic that averages a share over emotions, each counting the same.

    Args:
        hit: 1 for a hit, 0 otherwise [N].
        asked: The emotion asked, -1 for none [N].

    Returns:
        A function of weights [K, N]: the mean share of each draw; nan where a draw has no image with an emotion.
    """
    groups = []
    for label in range(len(EMOTIONS)):
        members = np.flatnonzero(asked == label)
        if len(members):
            groups.append(members)

    def compute_shares(weights: Array) -> Array:
        summed, found = np.zeros(len(weights)), np.zeros(len(weights))
        for members in groups:
            shares = divide(weights[:, members] @ hit[members], weights[:, members].sum(1))
            summed += np.nan_to_num(shares)
            found += np.isfinite(shares)
        return divide(summed, found)

    return compute_shares

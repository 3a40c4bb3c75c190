"""Whether an image shows the emotion asked: accuracy, probability, precision, recall, F1, confusion, as a judge sees.

A judge answers with the emotion it finds most likely. Rows of the confusion matrix are what was asked, columns what was
seen, in EmoSet's order. Images for which no single emotion was asked, or one that the judge has no word for, are left
out, and `n` counts the others.
"""

from __future__ import annotations

import numpy as np

from emoscene.core.taxonomy import EMOTIONS
from emoscene.evaluation.intervals import Array, difference_interval
from emoscene.evaluation.metrics.base import (
    Predictions,
    Value,
    asked_probability,
    hits,
    measure_mean,
    measure_share,
    predicted_labels,
    require_images,
)


def emotion(made: Predictions, real: Predictions | None = None, draws: int = 1000) -> dict[str, Value]:
    """Measure the accuracy and the mean probability of the emotion that was asked, with controls.

    Args:
        made: What was read of N generated images.
        real: What was read of real images, if there are any.
        draws: The number of bootstrap draws for the intervals.

    Returns:
        `emotion_accuracy`, `probability`, `shuffled` (accuracy with permuted labels, which must be at chance) and,
        with real images, `ceiling` (accuracy on these); each from 0 to 1. And `above_ceiling`, the accuracy less the
        ceiling: above 0 the images exaggerate the emotion, which is no merit.

    Raises:
        EmosceneError: No emotion was asked.
    """
    require_images("the judged emotion", 1, made.likely[made.asked >= 0])
    hit, likely = hits(made.likely, made.asked), asked_probability(made.likely, made.asked)
    asked, chance = (made.asked >= 0).astype(float), hits(made.likely, shuffle_labels(made.asked))
    values = {
        "emotion_accuracy": measure_share(hit, asked, made),
        "probability": measure_mean(likely, asked, made, draws),
        "shuffled": measure_share(chance, asked, made),
    }
    if real is not None:
        right, labelled = hits(real.likely, real.asked), (real.asked >= 0).astype(float)
        values["ceiling"] = measure_share(right, labelled, real)
        values["above_ceiling"] = subtract_shares(values["emotion_accuracy"], values["ceiling"])
    return values


def subtract_shares(one: Value, other: Value) -> Value:
    """Compute the difference of two shares of independent images.

    Args:
        one: A share with its interval.
        other: The share that is taken away from it, with its own.

    Returns:
        The difference, from -1 to 1; over as many images as the first.
    """
    low, high = difference_interval(one.value, (one.low, one.high), other.value, (other.low, other.high))
    return Value(one.value - other.value, low, high, one.n, one.by)


def shuffle_labels(asked: Array, start: int = 0) -> Array:
    """Permute the labels among the images that have one.

    Args:
        asked: The emotion asked, -1 for none [N].
        start: The seed of the permutation.

    Returns:
        The permuted labels [N].
    """
    dealt, keep = asked.copy(), asked >= 0
    dealt[keep] = np.random.default_rng(start).permutation(asked[keep])
    return dealt


def count_confusions(likely: Array, asked: Array, weights: Array | None = None) -> Array:
    """Count confusions.

    Args:
        likely: Probabilities [N, K].
        asked: The label asked, -1 for none [N].
        weights: How much each image counts [N]; 1 if left out.

    Returns:
        How often label i was asked and label j was predicted [K, K].
    """
    size = likely.shape[1]
    counts = np.zeros((size, size))
    keep = asked >= 0
    if weights is None:
        weights = np.ones(len(asked))
    np.add.at(counts, (asked[keep], predicted_labels(likely, asked)[keep]), weights[keep])
    return counts


def per_emotion(likely: Array, asked: Array) -> dict[str, dict[str, float]]:
    """Compute precision, recall, F1 and support of each emotion; what is undefined is 0, as in scikit-learn.

    Args:
        likely: Probabilities [N, 8].
        asked: The emotion asked, -1 for none [N].

    Returns:
        The figures of each emotion, by name.
    """
    counts = count_confusions(likely, asked)
    right, support, seen = np.diag(counts), counts.sum(1), counts.sum(0)
    precision = np.divide(right, seen, out=np.zeros_like(right), where=seen > 0)
    recall = np.divide(right, support, out=np.zeros_like(right), where=support > 0)
    both = precision + recall
    f1 = np.divide(2 * precision * recall, both, out=np.zeros_like(right), where=both > 0)
    rows = {}
    for name, p, r, f, s in zip(EMOTIONS, precision, recall, f1, support, strict=True):
        rows[name] = {"precision": float(p), "recall": float(r), "f1": float(f), "support": int(s)}
    return rows

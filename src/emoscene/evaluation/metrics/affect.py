"""How far an image's valence and arousal lie from those asked, on the scale from -3 to 3 of the continuous literature.

A judge of eight emotions says where an image stands by its probabilities: the mean of the emotions' own places on the
circumplex (`emotions.AFFECT`, a stated table). What was asked stands at its emotion's place. The error is the mean
absolute difference, as EmotiCrafter (Dang et al. 2025) has it; their predictor is another, so figures do not compare.
"""

from __future__ import annotations

import numpy as np

from emoscene.core.taxonomy import AFFECT, EMOTIONS
from emoscene.evaluation.intervals import Array
from emoscene.evaluation.metrics.base import Predictions, Value, measure_mean, require_images

PLACES = 3 * np.array([AFFECT[name] for name in EMOTIONS])
"""Valence and arousal of each emotion [8, 2], each in [-3, 3]."""


def affect(made: Predictions, real: Predictions | None = None, draws: int = 1000) -> dict[str, Value]:
    """Measure the mean absolute errors of valence and arousal (Dang et al. 2025, EmotiCrafter).

    Args:
        made: What was read of N generated images.
        real: What was read of real images, if there are any.
        draws: The number of bootstrap draws for the intervals.

    Returns:
        `valence_error` and `arousal_error`, from 0 to 6.

    Raises:
        EmosceneError: No emotion was asked, or predictions are not finite.
    """
    require_images("the error of valence and arousal", 1, made.likely[made.asked >= 0])
    off, asked = affect_errors(made.likely, made.asked), (made.asked >= 0).astype(float)
    return {
        "valence_error": measure_mean(off[:, 0], asked, made, draws),
        "arousal_error": measure_mean(off[:, 1], asked, made, draws),
    }


def affect_errors(likely: Array, asked: Array) -> Array:
    """Compute how far the predicted valence and arousal are from those asked.

    Args:
        likely: Probabilities [N, 8].
        asked: The emotion asked [N].

    Returns:
        Absolute errors [N, 2], on the scale from -3 to 3.
    """
    return np.abs(likely @ PLACES - PLACES[asked])

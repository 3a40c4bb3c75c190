"""How far a picture's valence and arousal lie from those asked, on the scale from -3 to 3 of the continuous literature.

A judge of eight emotions says where a picture stands by its probabilities: the mean of the emotions' own places on the
circumplex (`emotions.AFFECT`, a stated table). What was asked stands at its emotion's place. The error is the mean
absolute difference, as EmotiCrafter (Dang et al. 2025) has it; their predictor is another, so figures do not compare.
"""

from __future__ import annotations

import numpy as np

from emoscene.core.taxonomy import AFFECT, EMOTIONS
from emoscene.evaluation.metrics.base import Array, Predictions, Value, measure_mean, require_images

PLACES = 3 * np.array([AFFECT[name] for name in EMOTIONS])
"""Valence and arousal of each emotion [8, 2], each in [-3, 3]."""


def affect(made: Predictions, real: Predictions | None = None, draws: int = 1000) -> dict[str, Value]:
    """Mean absolute errors of valence and arousal. Raises Failure where no emotion was asked."""
    require_images("the error of valence and arousal", 1, made.likely[made.asked >= 0])
    off, asked = affect_errors(made.likely, made.asked), (made.asked >= 0).astype(float)
    return {
        f"{name}_error": measure_mean(off[:, axis], asked, made, draws)
        for axis, name in enumerate(("valence", "arousal"))
    }


def affect_errors(likely: Array, asked: Array) -> Array:
    """How far the place read is from the place asked, in valence and in arousal [N, 2]."""
    return np.abs(likely @ PLACES - PLACES[asked])

"""Whether a picture is on the right side, pleasant or unpleasant: the two classes that Mikels' eight fall into.

An emotion is positive where its valence is (`emotions.AFFECT`): amusement, awe, contentment, excitement. A judge finds
a picture positive where it gives these more than half of its probability.
"""

from __future__ import annotations

import numpy as np

from emoscene.core.taxonomy import AFFECT, EMOTIONS
from emoscene.evaluation.metrics.base import Array, Predictions, Value, measure_share, require_images

POSITIVE = np.array([AFFECT[name][0] > 0 for name in EMOTIONS])


def polarity(made: Predictions, real: Predictions | None = None, draws: int = 1000) -> dict[str, Value]:
    """The share of pictures judged to be on the side asked. Raises Failure where no emotion was asked."""
    require_images("the two-class accuracy", 1, made.likely[made.asked >= 0])
    right, asked = same_side(made.likely, made.asked), (made.asked >= 0).astype(float)
    return {"two_class_accuracy": measure_share(right, asked, made, draws)}


def same_side(likely: Array, asked: Array) -> Array:
    """1 where the likelier side is that of the label asked, else 0 [N]."""
    return ((likely[:, POSITIVE].sum(1) > 0.5) == POSITIVE[asked]).astype(float)

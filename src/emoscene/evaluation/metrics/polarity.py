"""Whether an image is on the right side, pleasant or unpleasant: the two classes that Mikels' eight fall into.

An emotion is positive where its valence is (`emotions.AFFECT`): amusement, awe, contentment, excitement. A judge finds
an image positive where it gives these more than half of its probability.
"""

from __future__ import annotations

import numpy as np

from emoscene.core.taxonomy import AFFECT, EMOTIONS
from emoscene.evaluation.intervals import Array
from emoscene.evaluation.metrics.base import Predictions, Value, measure_share, require_images

POSITIVE = np.array([AFFECT[name][0] > 0 for name in EMOTIONS])


def polarity(made: Predictions, real: Predictions | None = None, draws: int = 1000) -> dict[str, Value]:
    """Measure how often the judge puts an image on the side that was asked, pleasant or unpleasant.

    Args:
        made: What was read of N generated images.
        real: What was read of real images, if there are any.
        draws: The number of bootstrap draws for the intervals.

    Returns:
        `two_class_accuracy`, from 0 to 1.

    Raises:
        EmosceneError: No emotion was asked.
    """
    require_images("the two-class accuracy", 1, made.likely[made.asked >= 0])
    right, asked = same_side(made.likely, made.asked), (made.asked >= 0).astype(float)
    return {"two_class_accuracy": measure_share(right, asked, made)}


def same_side(likely: Array, asked: Array) -> Array:
    """Compare the likelier side, pleasant or unpleasant, with that of the emotion asked.

    Args:
        likely: Probabilities [N, 8].
        asked: The emotion asked [N].

    Returns:
        1 where they agree, 0 otherwise [N].
    """
    return ((likely[:, POSITIVE].sum(1) > 0.5) == POSITIVE[asked]).astype(float)

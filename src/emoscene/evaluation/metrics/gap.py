"""Whether the guide is being fooled: how often it finds the emotion in its own images, and how often a judge does.

The guidance classifier gives the gradients by which images are generated, so it must not judge them. Where its accuracy
exceeds the judge's, images satisfy the classifier alone (Goodhart's law; for classifier
guidance, Santurkar et al. 2019 and Ho & Salimans 2022). The gap is paired, image by image, and belongs in a curve
over the guidance scale: where it opens, more guidance is no longer more emotion.
"""

from __future__ import annotations

from emoscene.evaluation.metrics.base import Predictions, Value, hits, measure_mean, measure_share, require_images


def gap(made: Predictions, real: Predictions | None = None, draws: int = 1000) -> dict[str, Value]:
    """Measure how much more accurate the guidance classifier finds its images than a judge does.

    Args:
        made: What was read of N generated images.
        real: What was read of real images, if there are any.
        draws: The number of bootstrap draws for the intervals.

    Returns:
        `guide_accuracy`, from 0 to 1, and `guide_gap`, from -1 to 1; empty without classifier guidance.

    Raises:
        EmosceneError: Predictions are not finite.
    """
    if not made.guide.size:
        return {}
    made = made.only_judged
    require_images("the gap between guide and judge", 1, made.guide, made.likely)
    own, judged, asked = hits(made.guide, made.asked), hits(made.likely, made.asked), (made.asked >= 0).astype(float)
    return {
        "guide_accuracy": measure_share(own, asked, made, by="the guide"),
        "guide_gap": measure_mean(own - judged, asked, made, draws, by=f"the guide - {made.by}"),
    }

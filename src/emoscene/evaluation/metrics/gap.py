"""Whether the guide is being fooled: how often it finds the emotion in its own pictures, and how often a judge does.

A guide gives the gradients by which pictures are painted, so it is the last that should judge them. Where its share of
right pictures runs ahead of the judge's, it is shown what pleases it and nobody else (Goodhart's law; for classifier
guidance, Santurkar et al. 2019 and Ho & Salimans 2022). The gap is paired, picture by picture, and belongs in a curve
over the guidance scale: where it opens, more guidance is no longer more emotion.
"""

from __future__ import annotations

from emoscene.evaluation.metrics.base import Predictions, Value, hits, measure_mean, measure_share, require_images


def gap(made: Predictions, real: Predictions | None = None, draws: int = 1000) -> dict[str, Value]:
    """The guide's own accuracy, and that less the judge's; nothing where nobody guided. Raises Failure for NaN."""
    if not made.guide.size:
        return {}
    made = made.only_judged
    require_images("the gap between guide and judge", 1, made.guide, made.likely)
    own, judged, asked = hits(made.guide, made.asked), hits(made.likely, made.asked), (made.asked >= 0).astype(float)
    return {
        "guide_accuracy": measure_share(own, asked, made, draws, by="the guide"),
        "guide_gap": measure_mean(own - judged, asked, made, draws, by=f"the guide - {made.by}"),
    }

"""Whether a judge's probabilities are what they say: of the pictures it is 80 % sure of, it should be right about 80 %.

The expected calibration error (Naeini et al. 2015), in bins of equally many pictures, as Nguyen and O'Connor (2015)
advise: of each bin, the gap between how sure the judge is and how often it is right, averaged. It is measured on real
labelled pictures, as only there the truth is known. It is never negative and repetition raises it, so its interval is
centred on the value.
"""

from __future__ import annotations

import numpy as np

from emoscene.evaluation.metrics.base import Array, Predictions, Value, hits, measure, require_images

BINS = 10


def calibration(made: Predictions, real: Predictions | None = None, draws: int = 500) -> dict[str, Value]:
    """The judge's calibration error over real pictures; nothing without them. Raises Failure below one a bin."""
    if real is None:
        return {}
    labelled = real.asked >= 0
    require_images("the judge's calibration", BINS, real.likely[labelled])
    sure, right = real.likely.max(1), hits(real.likely, real.asked)
    groups = [np.flatnonzero(labelled)[group] for group in confidence_bins(sure[labelled])]

    def statistic(weights: Array) -> float:
        total = weights[labelled].sum()
        gaps = [abs(float((weights * (sure - right))[group].sum())) for group in groups]
        return sum(gaps) / total if total else float("nan")

    return {"calibration_error": measure(statistic, real, draws, centred=True)}


def confidence_bins(sure: Array, count: int = BINS) -> list[Array]:
    """The places of the pictures in bins of equally many, from the least sure to the surest."""
    return [group for group in np.array_split(np.argsort(sure, kind="stable"), count) if len(group)]


def reliability_curve(likely: Array, asked: Array, count: int = BINS) -> list[tuple[float, float, int]]:
    """The reliability curve: of each bin, how sure the judge is, how often it is right, and over how many pictures."""
    keep = asked >= 0
    sure, right = likely[keep].max(1), hits(likely[keep], asked[keep])
    return [
        (float(sure[group].mean()), float(right[group].mean()), len(group)) for group in confidence_bins(sure, count)
    ]

"""Whether a judge's probabilities are what they say: of the images it is 80 % sure of, it should be right about 80 %.

The expected calibration error (Naeini et al. 2015), in bins of equally many images, as Nguyen and O'Connor (2015)
advise: of each bin, the gap between how sure the judge is and how often it is right, averaged. It is measured on real
labelled images, as only there the truth is known. It is never negative and repetition raises it, so its interval is
centred on the value.
"""

from __future__ import annotations

import numpy as np

from emoscene.evaluation.intervals import Array
from emoscene.evaluation.metrics.base import Predictions, Value, hits, measure, require_images

BINS = 10


def calibration(made: Predictions, real: Predictions | None = None, draws: int = 500) -> dict[str, Value]:
    """Measure the judge's expected calibration error on real images (Naeini et al. 2015).

    Args:
        made: What was read of N generated images.
        real: What was read of real images, if there are any.
        draws: The number of bootstrap draws for the intervals.

    Returns:
        `calibration_error`, from 0 to 1; empty without real images.

    Raises:
        EmosceneError: There are fewer than `BINS` labelled images.
    """
    if real is None:
        return {}
    labelled = real.asked >= 0
    require_images("the judge's calibration", BINS, real.likely[labelled])
    sure, right = real.likely.max(1), hits(real.likely, real.asked)
    groups = []
    for group in confidence_bins(sure[labelled]):
        groups.append(np.flatnonzero(labelled)[group])

    def statistic(weights: Array) -> float:
        total = weights[labelled].sum()
        gaps = []
        for group in groups:
            gaps.append(abs(float((weights * (sure - right))[group].sum())))
        if total:
            return sum(gaps) / total
        return float("nan")

    return {"calibration_error": measure(statistic, real, draws, centred=True)}


def confidence_bins(sure: Array, count: int = BINS) -> list[Array]:
    """Sort images into bins of equal size by confidence (Nguyen & O'Connor 2015).

    Args:
        sure: The largest probability of each image [N].
        count: The number of bins.

    Returns:
        The indices of the images of each bin, from the least confident to the most; empty bins are left out.
    """
    groups = np.array_split(np.argsort(sure, kind="stable"), count)
    return [group for group in groups if len(group)]


def reliability_curve(likely: Array, asked: Array, count: int = BINS) -> list[tuple[float, float, int]]:
    """Compute the reliability curve.

    Args:
        likely: Probabilities [N, K].
        asked: The true label, -1 for none [N].
        count: The number of bins.

    Returns:
        For each bin the mean confidence, the accuracy, and the number of images.
    """
    keep = asked >= 0
    sure, right = likely[keep].max(1), hits(likely[keep], asked[keep])
    curve = []
    for group in confidence_bins(sure, count):
        curve.append((float(sure[group].mean()), float(right[group].mean()), len(group)))
    return curve

"""How much raters agree beyond chance: Krippendorff's alpha.

    alpha = 1 - D_o / D_e        D_o: observed disagreement within units, D_e: disagreement of values paired at random

Values of one unit are compared with each other, whoever gave them, so raters may be many and each may have rated a few
units. 1 is perfect agreement, 0 is chance, and below 0 raters disagree systematically (Krippendorff 2011, Computing
Krippendorff's alpha-reliability).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from emoscene.evaluation.intervals import Array

LEVELS = ("nominal", "ordinal", "interval")


def krippendorff_alpha(units: Sequence[int], values: Sequence[float], level: str = "nominal") -> float:
    """Compute Krippendorff's alpha.

    Args:
        units: Which unit (image, pair) each of N answers is about.
        values: Each answer as a number; for `nominal` any code, for `ordinal` a rank.
        level: `nominal` (values are equal or not), `ordinal` (ranks), `interval` (differences count).

    Returns:
        Alpha, at most 1; nan where no unit has two answers, or all answers are the same.
    """
    names, codes = np.unique(np.asarray(values, float), return_inverse=True)
    _, places = np.unique(np.asarray(units), return_inverse=True)
    counts = np.zeros((int(places.max(initial=-1)) + 1, len(names)))
    np.add.at(counts, (places, codes), 1)
    counts = counts[counts.sum(1) >= 2]  # a value alone in its unit cannot be compared
    if not len(counts):
        return float("nan")
    sizes = counts.sum(1)
    coincidences = np.einsum("uc,uk,u->ck", counts, counts, 1 / (sizes - 1))
    coincidences -= np.diag((counts / (sizes - 1)[:, None]).sum(0))
    totals = coincidences.sum(1)
    distances = _compute_distances(names, totals, level)
    expected = float(totals @ distances @ totals) / (totals.sum() - 1)
    if expected == 0:
        return float("nan")
    return 1 - float((coincidences * distances).sum()) / expected


def _compute_distances(names: Array, totals: Array, level: str) -> Array:
    """The squared differences between values [V, V]; for ranks, how many answers lie between them."""
    if level == "nominal":
        return 1.0 - np.eye(len(names))
    scale = names
    if level == "ordinal":
        scale = np.cumsum(totals) - totals / 2
    return np.asarray((scale[:, None] - scale[None, :]) ** 2)

"""Intervals of figures that come from no judge: rows of numbers, each of a group."""

from __future__ import annotations

import numpy as np

from emoscene.evaluation.intervals import Array, bootstrap_interval
from emoscene.evaluation.metrics.base import Value, mean_statistic


def measure_rows(values: Array, groups: Array) -> Value:
    """Compute the mean of some values, with the interval that resampling their groups gives.

    Args:
        values: Numbers [N].
        groups: The group of each, integers [N].

    Returns:
        The mean; without an interval below eight groups.
    """
    low, high = bootstrap_interval(mean_statistic(values), groups, np.zeros(len(values), np.int64))
    return Value(float(values.mean()), low, high, len(values), "")

"""What metrics are functions of, what they answer with, and the one way to an interval.

A picture belongs to a prompt and a seed. Pictures of one prompt resemble each other, and so do pictures of one seed, so
resampling single pictures makes intervals far too narrow. `interval` resamples prompts and seeds, crossed (Owen 2007):
each prompt gets a count and each seed gets a count, and a picture weighs the product of its two. Hence every statistic
here takes weights, one a picture; all ones give the value itself.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

Array = np.ndarray
Statistic = Callable[[Array], float]
"""Weights [N] in, one number out."""


@dataclass(frozen=True)
class Value:
    """A figure with its 95 % interval, what computed it, and over how many pictures."""

    value: float
    low: float
    high: float
    n: int
    by: str = ""

    def asdict(self) -> dict[str, Any]:
        """As `scores.json` holds it: numbers to six digits."""
        return {key: round(part, 6) if isinstance(part, float) else part for key, part in asdict(self).items()}


@dataclass(frozen=True)
class Readings:
    """What was read of N pictures; row n of every array is picture n.

    prompt, seed: which prompt and which seed made it [N]. asked: the number of the emotion asked, -1 for none [N].
    likely: an emotion judge's probabilities [N, 8]. scene: a scene judge's [N, S]; place: the scene asked [N], -1
    where unknown. features: where distances are measured [N, D]. gradient: mean gradient magnitude [N]. spectrum:
    radial power spectrum in dB [N, R]. by: who read, for the record.
    """

    prompt: Array
    seed: Array
    asked: Array
    likely: Array
    features: Array
    gradient: Array
    spectrum: Array
    scene: Array = field(default_factory=lambda: np.zeros((0, 0)))
    place: Array = field(default_factory=lambda: np.zeros(0, np.int64))
    by: str = ""

    def __len__(self) -> int:
        return len(self.asked)


def interval(
    statistic: Statistic,
    prompt: Array,
    seed: Array,
    draws: int = 1000,
    start: int = 0,
    centre: float | None = None,
) -> tuple[float, float]:
    """The 95 % percentile interval of a statistic when prompts and seeds are drawn again, crossed.

    A draw in which nothing is left (nan) is passed over. With one seed alone only prompts are resampled, and so on.
    centre: for statistics that repetition itself biases, such as distances between pairs; the draws are moved so that
    their mean is this value.
    """
    _, prompts = np.unique(prompt, return_inverse=True)
    _, seeds = np.unique(seed, return_inverse=True)
    rng = np.random.default_rng(start)
    drawn = np.array([statistic(_counts(rng, prompts)[prompts] * _counts(rng, seeds)[seeds]) for _ in range(draws)])
    values = drawn[np.isfinite(drawn)]
    if not len(values):
        return float("nan"), float("nan")
    low, high = np.quantile(values, [0.025, 0.975]) + (0 if centre is None else centre - values.mean())
    return float(low), float(high)


def measured(statistic: Statistic, readings: Readings, draws: int = 1000, centred: bool = False) -> Value:
    """The value of a statistic over all pictures, with its interval; `centred` for one that repetition biases."""
    value = float(statistic(np.ones(len(readings))))
    low, high = interval(statistic, readings.prompt, readings.seed, draws, centre=value if centred else None)
    return Value(value, low, high, len(readings), readings.by)


def mean(values: Array, weights: Array) -> float:
    """The weighted mean; nan where nothing has weight."""
    total = float(weights.sum())
    return float((values * weights).sum() / total) if total else float("nan")


def hits(likely: Array, asked: Array) -> Array:
    """1 where the most likely label is the one asked, else 0 [N]."""
    return (likely.argmax(1) == asked).astype(float)


def _counts(rng: np.random.Generator, groups: Array) -> Array:
    """How often each group is drawn when as many are drawn as there are; one alone stays."""
    count = int(groups.max()) + 1
    if count == 1:
        return np.ones(1)
    return np.bincount(rng.integers(0, count, count), minlength=count).astype(float)

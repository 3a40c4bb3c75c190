"""Whether one method is better than another, told from the same prompts and seeds by both.

    compare(one, other, prompt, seed)      the mean difference, its interval, and how probable it were if there was none
    holm(chances)                          the same probabilities, corrected for having asked several questions

The difference is paired: image by image, so that what a prompt or a seed does to both methods cancels. Its interval
resamples prompts and seeds, crossed, as that of every other figure.

The test flips signs. If two methods are alike, then of every prompt it is chance which of them got which result, so
each prompt's differences (all emotions and seeds together) may change their sign at once. Images of one prompt go
together because a method may suit a prompt: flipping single images would take that for evidence. With P prompts no
probability is below 2 / 2^P; where there is one prompt alone, seeds are flipped instead. All 2^P ways are tried where
they are few, else `draws` of them, with the one seen among them (Phipson and Smyth 2010).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import product
from typing import Any

import numpy as np

from emoscene.evaluation.intervals import Array, bootstrap_interval
from emoscene.evaluation.metrics.base import weighted_mean
from emoscene.evaluation.pairs import split_rows


@dataclass(frozen=True)
class Difference:
    """One method's mean less another's over n pairs, the 95 % interval (nan: none), and the two-sided p-value."""

    value: float
    low: float
    high: float
    p: float
    n: int

    def to_dict(self) -> dict[str, Any]:
        """Convert to JSON's types.

        Returns:
            The fields; None for what is not finite.
        """
        row = asdict(self)
        for key, part in row.items():
            if not np.isfinite(part):
                row[key] = None
        return row


def paired_difference(
    one: Array, other: Array, prompt: Array, seed: Array, draws: int = 1000, flips: int = 9999
) -> Difference:
    """Compute the mean difference of paired values, its interval and its p-value; pairs with nan are left out.

    Args:
        one: Values [N].
        other: Values [N].
        prompt: The prompt of each pair [N].
        seed: The seed of each pair [N].
        draws: The number of bootstrap draws.
        flips: The number of random sign flips.

    Returns:
        The difference, one - other.

    Raises:
        ValueError: The arrays have different lengths.
    """
    if not len(one) == len(other) == len(prompt) == len(seed):
        raise ValueError(f"{len(one)} and {len(other)} values make no pairs")
    gap = one - other
    keep = np.isfinite(gap)
    gap, prompt, seed = gap[keep], prompt[keep], seed[keep]
    if not len(gap):
        return Difference(float("nan"), float("nan"), float("nan"), float("nan"), 0)
    low, high = bootstrap_interval(lambda weights: weighted_mean(gap, weights), prompt, seed, draws)
    blocks = seed
    if len(np.unique(prompt)) > 1:
        blocks = prompt
    return Difference(float(gap.mean()), low, high, sign_flips(gap, blocks, flips), len(gap))


def sign_flips(gap: Array, blocks: Array, draws: int = 9999, start: int = 0) -> float:
    """Compute the p-value of a sign-flip test: how probable a mean this far from 0 is if signs are random.

    Args:
        gap: Differences [N].
        blocks: Differences of one block change their sign together [N].
        draws: The number of random flips; all flips are tried where they are not more.
        start: The seed of the random numbers.

    Returns:
        The two-sided p-value (Phipson & Smyth 2010).
    """
    _, places = np.unique(blocks, return_inverse=True)
    sums = np.bincount(places, gap)
    few = 2 ** len(sums) <= draws
    if few:
        flipped = np.array(list(product((-1.0, 1.0), repeat=len(sums)))) @ sums
    else:
        rng, parts = np.random.default_rng(start), []
        for rows in split_rows(draws, len(sums)):
            signs = rng.choice((-1.0, 1.0), (rows.stop - rows.start, len(sums)))
            parts.append(signs @ sums)
        flipped = np.concatenate(parts)
    seen, slack = abs(sums.sum()), 1e-9 * np.abs(sums).sum()  # sums of the same numbers in another order are the same
    as_far = int((np.abs(flipped) >= seen - slack).sum())
    if few:
        return as_far / len(flipped)
    return (as_far + 1) / (draws + 1)


def holm(chances: Sequence[float]) -> list[float]:
    """Correct p-values for multiple testing (Holm 1979).

    Args:
        chances: p-values; nan is kept and does not count as a test.

    Returns:
        The corrected p-values, in the same order.
    """
    adjusted = np.array(chances, float)
    asked = np.flatnonzero(np.isfinite(adjusted))
    order = asked[np.argsort(adjusted[asked], kind="stable")]
    steps = adjusted[order] * np.arange(len(order), 0, -1)
    if len(order):
        adjusted[order] = np.maximum.accumulate(steps).clip(max=1)
    return adjusted.tolist()

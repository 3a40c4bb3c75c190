"""Whether one method is better than another, told from the same prompts and seeds by both.

    compare(one, other, prompt, seed)      the mean difference, its interval, and how probable it were if there was none
    holm(chances)                          the same probabilities, corrected for having asked several questions

The difference is paired: picture by picture, so that what a prompt or a seed does to both methods cancels. Its interval
resamples prompts and seeds, crossed, as that of every other figure.

The test flips signs. If two methods are alike, then of every prompt it is chance which of them got which result, so
each prompt's differences (all emotions and seeds together) may change their sign at once. Pictures of one prompt go
together because a method may suit a prompt: flipping single pictures would take that for evidence. With P prompts no
probability is below 2 / 2^P; where there is one prompt alone, seeds are flipped instead. All 2^P ways are tried where
they are few, else `draws` of them, with the one seen among them (Phipson and Smyth 2010).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np

from emoscene.evaluation.metrics.base import Array, bootstrap_interval, weighted_mean


@dataclass(frozen=True)
class Difference:
    """One method's mean less another's over n pairs, the 95 % interval, and the two-sided probability of as much."""

    value: float
    low: float
    high: float
    p: float
    n: int


def paired_difference(
    one: Array, other: Array, prompt: Array, seed: Array, draws: int = 1000, flips: int = 9999
) -> Difference:
    """The paired difference one - other of values [N], whose rows belong together. Raises ValueError where they cannot.

    Pairs of which either value is nan are left out.
    """
    if not len(one) == len(other) == len(prompt) == len(seed):
        raise ValueError(f"{len(one)} and {len(other)} values make no pairs")
    gap = one - other
    keep = np.isfinite(gap)
    gap, prompt, seed = gap[keep], prompt[keep], seed[keep]
    if not len(gap):
        return Difference(float("nan"), float("nan"), float("nan"), float("nan"), 0)
    low, high = bootstrap_interval(lambda weights: weighted_mean(gap, weights), prompt, seed, draws)
    blocks = prompt if len(np.unique(prompt)) > 1 else seed
    return Difference(float(gap.mean()), low, high, sign_flips(gap, blocks, flips), len(gap))


def sign_flips(gap: Array, blocks: Array, draws: int = 9999, start: int = 0) -> float:
    """The two-sided probability of a mean this far from 0 where the sign of each block's differences [N] is chance."""
    _, places = np.unique(blocks, return_inverse=True)
    sums = np.bincount(places, gap)
    few = 2 ** len(sums) <= draws
    if few:
        signs = np.array(list(product((-1.0, 1.0), repeat=len(sums))))
    else:
        signs = np.random.default_rng(start).choice((-1.0, 1.0), (draws, len(sums)))
    seen, slack = abs(sums.sum()), 1e-9 * np.abs(sums).sum()  # sums of the same numbers in another order are the same
    as_far = int((np.abs(signs @ sums) >= seen - slack).sum())
    return as_far / len(signs) if few else (as_far + 1) / (draws + 1)


def holm(chances: Sequence[float]) -> list[float]:
    """Probabilities as they are once all were asked (Holm 1979): the k-th smallest of m times m - k + 1, never falling.

    What is not a number stays so, and counts as no question.
    """
    found = np.array(chances, float)
    asked = np.flatnonzero(np.isfinite(found))
    order = asked[np.argsort(found[asked], kind="stable")]
    steps = found[order] * np.arange(len(order), 0, -1)
    found[order] = np.maximum.accumulate(steps).clip(max=1) if len(order) else steps
    return [float(chance) for chance in found]

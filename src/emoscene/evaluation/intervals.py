"""How 95 % intervals are computed, and when there is none.

An image belongs to a prompt and a seed. Images of one prompt resemble each other, and so do images of one seed, so
counting images as if each were new evidence makes intervals far too narrow. The clusters here are the prompts; where
all images have one prompt, they are the seeds. Below `MIN_CLUSTERS` clusters no method covers what it promises, so the
ends are nan; so they are where nothing varies from one cluster to the next.

Shares (accuracy and its kin): `share_interval`, Wilson's interval (1927) with the effective number of images,

    n_eff = n / D        D: how many times the variance of the share exceeds that of n independent images

D is estimated from the clusters. Few clusters, or few errors, tell little about it, so that a prior takes part as if it
were some more clusters (the moderated variance of Smyth 2004), and the normal quantile becomes Student's. The same
formula serves a share of 1: its interval is no special case beside that of .99. `benchmarks.coverage` simulates how
often it holds the truth, and how wide it is.

All other figures: `bootstrap_interval` resamples prompts and seeds, crossed (Owen 2007): each prompt gets a count and
each seed gets a count, and an image weighs the product of its two. Percentile intervals of few clusters are too narrow,
so the percentiles are moved outwards as Student's quantiles are from normal ones (Hesterberg 2015).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from scipy.special import ndtr, stdtrit

from emoscene.core.plain_text import format_count

Array = np.ndarray
Statistic = Callable[[Array], float]
"""Weights [N] in, one number out."""
WeightedValues = Callable[[Array], Array]
"""Weights [K, N] of K bootstrap draws in, K numbers out."""
Interval = tuple[float, float]
NO_INTERVAL: Interval = (float("nan"), float("nan"))

MIN_CLUSTERS = 8
"""Fewer prompts (or seeds of a single prompt) than this have no interval."""
COVERAGE = 0.95
PRIOR_CLUSTERS = 3.0
"""How many degrees of freedom the prior of D counts for."""
PRIOR_CORRELATION = 0.05
"""The correlation within a prompt that the prior assumes."""
HALF_WEIGHT = 4.0
"""How many independent errors make the clusters' own estimate of D count for half."""


def count_clusters(prompt: Array, seed: Array) -> int:
    """Count the clusters that an interval rests on.

    Args:
        prompt: The prompt of each image [N].
        seed: The seed of each image [N].

    Returns:
        The number of prompts; where there is one prompt at most, the number of seeds.
    """
    prompts = len(np.unique(prompt))
    if prompts > 1:
        return prompts
    return len(np.unique(seed))


def explain_missing(prompts: int, seeds: int) -> str:
    """Say why figures have no interval.

    Args:
        prompts: The number of prompts.
        seeds: The number of seeds.

    Returns:
        One sentence; "" where there are clusters enough.
    """
    if prompts >= MIN_CLUSTERS or (prompts == 1 and seeds >= MIN_CLUSTERS):
        return ""
    count = f"{format_count(prompts, 'prompt')} and {format_count(seeds, 'seed')}"
    if prompts <= 1:
        count = f"{format_count(seeds, 'seed')} of a single prompt"
    return f"no figure has an interval: from {count} none can be trusted; use {MIN_CLUSTERS} prompts or more"


def interval_text(low: float | None, high: float | None, form: str, unit: float = 1.0) -> str:
    """Write an interval behind its figure.

    Args:
        low: its lower end; None or nan where there is no interval.
        high: its upper end.
        form: how a number is formatted, as ".1%".
        unit: what both are multiplied by.

    Returns:
        As " (81.0% to 93.2%)"; "" where there is none: `explain_missing` says why.
    """
    if low is None or high is None or np.isnan(low) or np.isnan(high):
        return ""
    return f" ({unit * low:{form}} to {unit * high:{form}})"


def share_interval(hit: Array, prompt: Array, seed: Array) -> Interval:
    """Compute the 95 % interval of a share: Wilson's, with the effective number of images.

    Args:
        hit: 1 for a hit, 0 otherwise [N].
        prompt: The prompt of each image [N].
        seed: The seed of each image [N].

    Returns:
        The ends, from 0 to 1; nan below `MIN_CLUSTERS` clusters.
    """
    clusters = count_clusters(prompt, seed)
    if clusters < MIN_CLUSTERS:
        return NO_INTERVAL
    share = float(hit.mean())
    inflation, freedom = _estimate_inflation(hit, prompt, seed)
    effective = len(hit) / inflation
    quantile = float(stdtrit(freedom, (1 + COVERAGE) / 2))
    whole = 1 + quantile**2 / effective
    centre = (share + quantile**2 / (2 * effective)) / whole
    spread = quantile / whole * np.sqrt(share * (1 - share) / effective + quantile**2 / (4 * effective**2))
    low, high = max(0.0, centre - spread), min(1.0, centre + spread)
    return min(low, share), max(high, share)  # at 0 and 1 the last digit may be off


def difference_interval(one: float, ends: Interval, other: float, other_ends: Interval) -> Interval:
    """Compute the 95 % interval of the difference of two independent figures from their own (Newcombe 1998).

    Args:
        one: A figure.
        ends: The ends of its interval.
        other: The figure that is taken away from it.
        other_ends: The ends of that one's interval.

    Returns:
        The ends; nan where either figure has no interval.
    """
    below = np.hypot(one - ends[0], other_ends[1] - other)
    above = np.hypot(ends[1] - one, other - other_ends[0])
    return one - other - float(below), one - other + float(above)


def _estimate_inflation(hit: Array, prompt: Array, seed: Array) -> tuple[float, float]:
    """D, at least 1, and its degrees of freedom."""
    count, share = len(hit), float(hit.mean())
    by_prompt, by_seed = _number_groups(prompt), _number_groups(seed)
    prompts, seeds = int(by_prompt.max()) + 1, int(by_seed.max()) + 1
    between, crossed = by_prompt, True
    if prompts == 1:
        between, prompts, crossed = by_seed, seeds, False
    prior = 1 + (count / prompts - 1) * PRIOR_CORRELATION
    freedom = prompts - 1 + PRIOR_CLUSTERS
    independent = share * (1 - share) / count
    if independent == 0:
        return prior, freedom
    rest = hit - share
    own = _cluster_variance(rest, between) / independent
    extra = 0.0
    if crossed and seeds > 1:  # what seeds add to images that were independent otherwise
        extra = max(0.0, _cluster_variance(rest, by_seed) / independent - 1)
    pairs = max(0.0, count * min(share, 1 - share) - 1) / prior  # a single error tells of no correlation
    known = (prompts - 1) * pairs / (pairs + HALF_WEIGHT)
    whole = known + PRIOR_CLUSTERS
    inflation = (known * (own + extra) + PRIOR_CLUSTERS * prior) / whole
    if inflation <= 1:
        return 1.0, freedom
    return inflation, _combine_freedom(inflation, extra * known / whole, freedom, seeds - 1)


def _combine_freedom(whole: float, part: float, freedom: float, own: int) -> float:
    """Degrees of freedom of a variance of which a part was estimated with `own` (Satterthwaite 1946)."""
    if part <= 0:
        return freedom
    return whole**2 / ((whole - part) ** 2 / freedom + part**2 / own)


def _cluster_variance(rest: Array, groups: Array) -> float:
    """The variance of a mean whose errors are correlated within groups (Liang and Zeger 1986)."""
    sums = np.bincount(groups, rest)
    return float((sums**2).sum()) / len(rest) ** 2 * len(sums) / (len(sums) - 1)


def _number_groups(names: Array) -> Array:
    return np.asarray(np.unique(names, return_inverse=True)[1])


def bootstrap_interval(
    statistic: Statistic,
    prompt: Array,
    seed: Array,
    draws: int = 1000,
    start: int = 0,
    centre: float | None = None,
) -> Interval:
    """Compute the 95 % interval of a statistic, resampling prompts and seeds, crossed (Owen 2007).

    Draws whose statistic is nan are left out. Where there is one seed, only prompts are resampled, and vice versa.

    Args:
        statistic: Maps weights [N] to a number.
        prompt: The prompt of each image [N].
        seed: The seed of each image [N].
        draws: The number of draws.
        start: The seed of the random numbers.
        centre: Shift the draws so that their mean is this value, for statistics that repetition biases.

    Returns:
        The ends of the interval; nan below `MIN_CLUSTERS` clusters and where the draws do not vary.
    """
    drawn = bootstrap_draws(statistic, prompt, seed, draws, start)
    return percentile_interval(drawn, count_clusters(prompt, seed), centre)


def bootstrap_draws(statistic: Statistic, prompt: Array, seed: Array, draws: int = 1000, start: int = 0) -> Array:
    """Compute a statistic of each bootstrap draw; one by one, so that memory does not grow with their number.

    Args:
        statistic: Maps weights [N] to a number.
        prompt: The prompt of each image [N].
        seed: The seed of each image [N].
        draws: The number of draws.
        start: The seed of the random numbers.

    Returns:
        The value of each draw [draws]; none below `MIN_CLUSTERS` clusters, where they would say nothing.
    """
    if count_clusters(prompt, seed) < MIN_CLUSTERS:
        return np.zeros(0)
    drawn = np.zeros(draws)
    for number, weights in enumerate(draw_weights(prompt, seed, draws, start)):
        drawn[number] = statistic(weights)
    return drawn


def draw_weights(prompt: Array, seed: Array, draws: int = 1000, start: int = 0) -> Iterator[Array]:
    """Resample prompts and seeds, crossed: an image weighs how often its prompt was drawn times how often its seed was.

    Args:
        prompt: The prompt of each image [N].
        seed: The seed of each image [N].
        draws: The number of draws.
        start: The seed of the random numbers.

    Yields:
        The weights of a draw [N].
    """
    _, prompts = np.unique(prompt, return_inverse=True)
    _, seeds = np.unique(seed, return_inverse=True)
    rng = np.random.default_rng(start)
    for _ in range(draws):
        yield _draw_counts(rng, prompts)[prompts] * _draw_counts(rng, seeds)[seeds]


def percentile_interval(drawn: Array, clusters: int, centre: float | None = None) -> Interval:
    """Compute the 95 % interval of bootstrap draws: percentiles, further out the fewer clusters (Hesterberg 2015).

    Args:
        drawn: The statistic of each draw [K]; those that are nan are left out.
        clusters: The number of clusters that were resampled.
        centre: Shift the draws so that their mean is this value, for statistics that repetition biases.

    Returns:
        The ends of the interval; nan below `MIN_CLUSTERS` clusters and where the draws do not vary.
    """
    values = drawn[np.isfinite(drawn)]
    if clusters < MIN_CLUSTERS or not len(values) or np.ptp(values) <= 1e-12 * np.abs(values).max():
        return NO_INTERVAL
    quantile = float(stdtrit(clusters - 1, (1 + COVERAGE) / 2))
    tail = float(ndtr(-quantile * np.sqrt(clusters / (clusters - 1))))
    ends = np.quantile(values, [tail, 1 - tail])
    if centre is not None:
        ends = ends + (centre - values.mean())
    return float(ends[0]), float(ends[1])


def resample(statistic: WeightedValues, prompt: Array, seed: Array, draws: int = 1000, start: int = 0) -> Array:
    """Compute a statistic and all its bootstrap draws in one call; the draws are those of `bootstrap_interval`.

    Args:
        statistic: Maps weights [K, N] to K numbers.
        prompt: The prompt of each image [N].
        seed: The seed of each image [N].
        draws: The number of draws.
        start: The seed of the random numbers; another one for images that are drawn independently.

    Returns:
        The value itself, and then the value of each draw [1 + draws].
    """
    weights = np.ones((1 + draws, len(prompt)))
    for number, drawn in enumerate(draw_weights(prompt, seed, draws, start)):
        weights[1 + number] = drawn
    return statistic(weights)


def _draw_counts(rng: np.random.Generator, groups: Array) -> Array:
    """How often each group is drawn when as many are drawn as there are; one alone stays."""
    count = int(groups.max()) + 1
    if count == 1:
        return np.ones(1)
    return np.bincount(rng.integers(0, count, count), minlength=count).astype(float)

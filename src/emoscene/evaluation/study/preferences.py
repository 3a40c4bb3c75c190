"""How often people prefer each method: Bradley-Terry strengths from pairs, with intervals over raters and prompts.

    P(i is chosen before j) = strength_i / (strength_i + strength_j)       (Bradley and Terry 1952)

`choix` (Maystre) fits the strengths. A method's preference is the mean of this probability over the other methods: .5
is no preference. A ranking counts as all the pairs that it implies, which estimates the same strengths (Azari Soufiani
et al. 2013). Half a win either way is added to each pair of methods that was compared, so that a method that never lost
has a finite strength.

The interval resamples raters and prompts, crossed (Owen 2007), as one wants to know about other raters and other
prompts. That bootstrap counts the noise of a single answer three times. A second one, over single answers, measures
this noise, and the draws are drawn in to the spread that is left when it counts once (as the two-way variance of
Cameron et al. 2011). `benchmarks.study` simulates how often the intervals hold the truth.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import expit, logit

from emoscene.core.errors import import_extra
from emoscene.evaluation.intervals import MIN_CLUSTERS, NO_INTERVAL, Array, Interval, draw_weights, percentile_interval

HALF_WIN = 0.5
STEPS, CLOSE = 500, 1e-9
"""How long the draws are fitted at most, and the change of a strength at which they are done."""
EDGE = 1e-6  # the least distance of a probability from 0 and 1


@dataclass(frozen=True)
class Comparisons:
    """Answers as pairs of methods.

    Attributes:
        winner: The number of the method that was chosen [N].
        loser: That of the other one [N].
        rater: Who answered [N].
        prompt: The prompt of the images [N].
        answer: The number of the answer that each pair comes from [N]; a ranking gives several.
        methods: How many methods there are.
    """

    winner: Array
    loser: Array
    rater: Array
    prompt: Array
    answer: Array
    methods: int


@dataclass(frozen=True)
class Preference:
    """A probability of being chosen, its 95 % interval (nan: none), and how many answers it rests on."""

    value: float
    interval: Interval
    n: int


def fit_strengths(wins: Array) -> Array:
    """Fit Bradley-Terry strengths.

    Args:
        wins: How often method i was chosen before j [S, S].

    Returns:
        The logarithms of the strengths [S], with mean 0.

    Raises:
        EmosceneError: The extra `study` is missing.
    """
    choix = import_extra("choix", "study")
    fitted = choix.ilsr_pairwise_dense(_add_half_wins(wins), alpha=0.0, max_iter=STEPS)
    return np.asarray(fitted - fitted.mean())


def measure_preferences(pairs: Comparisons, draws: int = 1000, start: int = 0) -> tuple[list[Preference], Array, Array]:
    """Measure how often each method is preferred, and the probability of each pair of methods.

    Args:
        pairs: The answers.
        draws: The number of bootstrap draws.
        start: The seed of the random numbers.

    Returns:
        The preference of each method, over all others; P(i is chosen before j) [S, S]; and the ends of its interval
        [S, S, 2], nan where there is none.

    Raises:
        EmosceneError: The extra `study` is missing.
    """
    size = pairs.methods
    wins = _count_wins(pairs, np.ones((1, len(pairs.winner))))[0]
    strengths = fit_strengths(wins)
    table = expit(strengths[:, None] - strengths[None, :])
    clusters = min(len(np.unique(pairs.rater)), len(np.unique(pairs.prompt)))
    ends = np.full((size, size, 2), np.nan)
    means: list[Interval] = [NO_INTERVAL] * size
    if clusters >= MIN_CLUSTERS:
        crossed = _fit_draws(pairs, np.array(list(draw_weights(pairs.prompt, pairs.rater, draws, start))))
        single = _fit_draws(pairs, _draw_answers(pairs.answer, max(draws // 2, 100), start + 1))
        for one in range(size):
            for other in range(size):
                if one != other:
                    drawn = crossed[:, one, other], single[:, one, other]
                    ends[one, other] = _draw_in(table[one, other], *drawn, clusters)
            drawn = _average(crossed)[:, one], _average(single)[:, one]
            means[one] = _draw_in(_average(table[None])[0, one], *drawn, clusters)
    preferences = []
    for one, value in enumerate(_average(table[None])[0]):
        n = len(np.unique(pairs.answer[(pairs.winner == one) | (pairs.loser == one)]))
        preferences.append(Preference(float(value), means[one], n))
    return preferences, table, ends


def _count_wins(pairs: Comparisons, weights: Array) -> Array:
    """Weighted wins [K, S, S] of K draws with weights [K, N]."""
    size = pairs.methods
    cells = np.zeros((len(pairs.winner), size * size))
    cells[np.arange(len(pairs.winner)), pairs.winner * size + pairs.loser] = 1
    return np.asarray(weights @ cells).reshape(-1, size, size)


def _add_half_wins(wins: Array) -> Array:
    """Wins [..., S, S] with half a win either way for each pair that was compared."""
    compared = (wins + np.swapaxes(wins, -1, -2)) > 0
    return np.asarray(wins + HALF_WIN * compared)


def _fit_draws(pairs: Comparisons, weights: Array) -> Array:
    """P(i before j) of each draw [K, S, S], fitted at once by the MM algorithm (Hunter 2004).

    `choix` fits one table at a time; it finds the same (a test compares them).
    """
    wins = _add_half_wins(_count_wins(pairs, weights))
    games, won = wins + np.swapaxes(wins, 1, 2), wins.sum(2)
    strengths = np.ones_like(won)
    for _ in range(STEPS):
        sums = strengths[:, :, None] + strengths[:, None, :]
        fresh = won / np.maximum((games / sums).sum(2), 1e-12)
        fresh /= np.exp(np.log(fresh).mean(1, keepdims=True))
        change = float(np.abs(np.log(fresh / strengths)).max())
        strengths = fresh
        if change < CLOSE:
            break
    return np.asarray(strengths[:, :, None] / (strengths[:, :, None] + strengths[:, None, :]))


def _draw_answers(answer: Array, draws: int, start: int) -> Array:
    """Weights [K, N] of a bootstrap of single answers."""
    _, places = np.unique(answer, return_inverse=True)
    count = int(places.max()) + 1
    drawn = np.random.default_rng(start).multinomial(count, np.full(count, 1 / count), draws)
    return drawn[:, places].astype(float)


def _average(tables: Array) -> Array:
    """The mean of P(i before j) over the others j [K, S]."""
    size = tables.shape[1]
    return np.asarray((tables.sum(2) - 0.5) / (size - 1))  # on the diagonal stands 1/2


def _draw_in(value: float, crossed: Array, single: Array, clusters: int) -> Interval:
    """The interval of a probability: crossed draws, drawn in on the scale of log odds."""
    centre = logit(np.clip(value, EDGE, 1 - EDGE))
    draws = logit(np.clip(crossed, EDGE, 1 - EDGE))
    noise = float(logit(np.clip(single, EDGE, 1 - EDGE)).var())
    spread = float(draws.var())
    if spread == 0:
        return NO_INTERVAL
    share = max(spread - 2 * noise, noise) / spread
    moved = centre + (draws - draws.mean()) * np.sqrt(min(1.0, share))
    low, high = percentile_interval(moved, clusters)
    return float(expit(low)), float(expit(high))

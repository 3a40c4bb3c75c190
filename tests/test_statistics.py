"""Intervals and tests against what they promise, in simulations whose truth is known."""

from itertools import combinations

import numpy as np
import pytest
from scipy import optimize, stats

from emoscene.evaluation.metrics.base import bootstrap_interval, weighted_mean
from emoscene.evaluation.statistics import holm, paired_difference, sign_flips

PROMPTS, EMOTIONS, SEEDS = 24, 8, 4
PROMPT, SEED = np.repeat(np.arange(PROMPTS), EMOTIONS * SEEDS), np.tile(np.arange(SEEDS), PROMPTS * EMOTIONS)


def centre(accuracy, spread):
    """The logit about which normal effects of this sd leave the mean accuracy as it is."""
    points, shares = np.polynomial.hermite_e.hermegauss(40)

    def off(logit):
        return (shares / shares.sum() / (1 + np.exp(-logit - spread * points))).sum() - accuracy

    return optimize.brentq(off, -12, 12)


def pictures(rng, accuracy, prompt=1.0, seed=0.3):
    """Hits [N] of 24 prompts x 8 emotions x 4 seeds, with effects of prompt and seed in logits."""
    logits = centre(accuracy, np.hypot(prompt, seed)) + prompt * rng.normal(size=PROMPTS)[PROMPT]
    logits += seed * rng.normal(size=SEEDS)[SEED]
    return (rng.random(len(PROMPT)) < 1 / (1 + np.exp(-logits))).astype(float)


def coverage(accuracy, trials, draws):
    """How often the truth lies in our interval, and in the naive one that takes pictures for independent."""
    rng, ours, naive = np.random.default_rng(0), 0, 0
    for trial in range(trials):
        hit = pictures(rng, accuracy)
        low, high = bootstrap_interval(lambda w, hit=hit: weighted_mean(hit, w), PROMPT, SEED, draws, start=trial)
        ours += low <= accuracy <= high
        wide = 1.96 * np.sqrt(hit.mean() * (1 - hit.mean()) / len(hit))
        naive += abs(hit.mean() - accuracy) <= wide
    return ours / trials, naive / trials


@pytest.mark.slow
@pytest.mark.parametrize("accuracy", [0.5, 0.9, 0.97])
def test_intervals_cover_and_naive_ones_do_not(accuracy, capsys):
    ours, naive = coverage(accuracy, trials=1500, draws=500)
    with capsys.disabled():
        print(f"\naccuracy {accuracy}: crossed {ours:.3f}, naive {naive:.3f} of 1500 intervals cover")
    assert 0.92 <= ours <= 0.98
    assert naive < 0.85


def test_intervals_cover_in_a_small_simulation():
    ours, naive = coverage(0.9, trials=60, draws=150)
    assert ours >= 0.86
    assert naive < 0.8


def test_a_difference_is_paired():
    rng = np.random.default_rng(1)
    ease = rng.normal(size=PROMPTS)[PROMPT]
    other = ease + 0.1 * rng.normal(size=len(PROMPT))
    found = paired_difference(other + 0.05, other, PROMPT, SEED, draws=100)
    assert found.low == pytest.approx(0.05) == found.high
    assert found.value == pytest.approx(0.05)
    assert found.p == 1 / 10_000
    assert found.n == 768
    assert paired_difference(other, other, PROMPT, SEED, draws=10).p == 1


def test_what_nobody_read_is_no_pair():
    one = np.array([1.0, np.nan, 1.0, 0.0])
    found = paired_difference(one, np.zeros(4), np.arange(4), np.zeros(4), draws=20)
    assert (found.n, found.value) == (3, pytest.approx(2 / 3))
    none = paired_difference(one * np.nan, one, np.arange(4), np.zeros(4))
    assert none.n == 0
    assert np.isnan(none.p)
    with pytest.raises(ValueError, match="no pairs"):
        paired_difference(one, one[:2], np.arange(4), np.arange(4))


def test_the_sign_test_is_scipys():
    gap = np.random.default_rng(2).normal(0.4, 1, 9)
    theirs = stats.permutation_test((gap, 0 * gap), lambda a, b: (a - b).mean(), permutation_type="samples")
    assert sign_flips(gap, np.arange(9)) == pytest.approx(theirs.pvalue)
    assert sign_flips(gap, np.arange(9), draws=400) == pytest.approx(theirs.pvalue, abs=0.08)
    assert sign_flips(np.repeat(gap, 3), np.repeat(np.arange(9), 3)) == pytest.approx(theirs.pvalue)


def test_a_method_that_suits_some_prompts_is_no_better():
    """Without a true difference 5 % of the probabilities are below 5 %, even if a method suits a prompt."""
    rng = np.random.default_rng(3)
    prompt = np.repeat(np.arange(12), 8)
    chances, single = [], []
    for _ in range(150):
        gap = rng.normal(size=12)[prompt] + 0.3 * rng.normal(size=96)
        chances.append(sign_flips(gap, prompt, draws=199))
        single.append(sign_flips(gap, np.arange(96), draws=199))
    assert np.mean(np.array(chances) <= 0.05) <= 0.1
    assert np.mean(np.array(single) <= 0.05) > 0.25


def test_holm_is_the_closure_of_bonferronis():
    rng = np.random.default_rng(4)
    for _ in range(20):
        chances = rng.random(5) ** 3
        sets = [some for size in range(1, 6) for some in combinations(range(5), size)]
        theirs = [max(min(1, len(s) * min(chances[list(s)])) for s in sets if k in s) for k in range(5)]
        assert holm(chances) == pytest.approx(theirs)
    assert holm([0.02, float("nan"), 0.03])[::2] == pytest.approx([0.04, 0.04])
    assert holm([]) == []

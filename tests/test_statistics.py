"""Intervals and tests against what they promise, in simulations whose truth is known."""

from itertools import combinations

import numpy as np
import pytest
from scipy import optimize, stats

from emoscene.evaluation.intervals import bootstrap_interval, explain_missing, percentile_interval, share_interval
from emoscene.evaluation.metrics.base import weighted_mean
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


def independent_images(hit):
    """Wilson's interval of images that were independent, as scipy has it."""
    found = stats.binomtest(int(hit.sum()), len(hit)).proportion_ci(method="wilson")
    return found.low, found.high


def test_intervals_cover_and_naive_ones_do_not():
    """Prompts and seeds have effects: our intervals cover the truth, those that count images do not."""
    for accuracy, bound in ((0.5, 0.6), (0.9, 0.75), (0.97, 0.85)):
        rng, ours, naive = np.random.default_rng(0), 0, 0
        for _ in range(150):
            hit = pictures(rng, accuracy)
            low, high = share_interval(hit, PROMPT, SEED)
            ours += low <= accuracy <= high
            low, high = independent_images(hit)
            naive += low <= accuracy <= high
        assert ours / 150 >= 0.89, accuracy  # three errors of the count below .95
        assert naive / 150 <= bound, accuracy


def test_independent_images_have_wilsons_interval():
    """No correlation is found among many prompts of one image each: the interval is scipy's."""
    hit = np.arange(400) % 10 > 0
    found = share_interval(hit.astype(float), np.arange(400), np.zeros(400, int))
    assert found == pytest.approx(independent_images(hit), abs=5e-4)


def test_prompts_all_right_or_all_wrong_count_once():
    """If a prompt's images are all alike, 24 prompts of 32 images say no more than 24 images."""
    whole = (np.arange(PROMPTS) < 18).astype(float)
    low, high = share_interval(whole[PROMPT], PROMPT, SEED)
    one, other = independent_images(whole)
    assert high - low == pytest.approx(other - one, rel=0.15)


def test_a_share_of_one_is_no_special_case():
    """Neither narrower nor much wider than that of one error less: 100 % [54, 100] beside 98 % [94, 100] was."""
    before = 1.0
    for wrong in range(4):
        hit = np.ones(len(PROMPT))
        hit[: 40 * wrong : 40] = 0
        low, high = share_interval(hit, PROMPT, SEED)
        assert low <= hit.mean() <= high <= 1
        assert high - low < 0.05
        assert low < before + 0.002
        before = low
    low, high = share_interval(np.zeros(len(PROMPT)), PROMPT, SEED)
    assert (low, high) == pytest.approx((0, 1 - share_interval(np.ones(len(PROMPT)), PROMPT, SEED)[0]))


def test_few_clusters_have_no_interval():
    values, seven = np.random.default_rng(0).random(56), np.arange(56) % 7
    hit = (values > 0.5).astype(float)
    for prompt, seed in ((seven, np.arange(56) // 7), (np.zeros(56, int), seven), (np.zeros(56, int),) * 2):
        assert np.isnan(share_interval(hit, prompt, seed)).all()
        assert np.isnan(bootstrap_interval(lambda w: weighted_mean(values, w), prompt, seed, 50)).all()
    assert np.isfinite(share_interval(hit, np.zeros(56, int), np.arange(56) % 8)).all()
    assert np.isfinite(share_interval(hit, np.arange(56) % 8, np.zeros(56, int))).all()
    assert explain_missing(7, 100) and explain_missing(1, 7)
    assert not explain_missing(8, 1) and not explain_missing(1, 8)


def test_few_clusters_move_the_percentiles_outwards():
    """Of normal draws the ends are those of Student's interval (Hesterberg 2015)."""
    draws = stats.norm.ppf((np.arange(100_000) + 0.5) / 100_000)
    for clusters in (8, 24, 1000):
        low, high = percentile_interval(draws, clusters)
        asked = stats.t.ppf(0.975, clusters - 1) * np.sqrt(clusters / (clusters - 1))
        assert (low, high) == pytest.approx((-asked, asked), rel=1e-3)


def test_a_difference_is_paired():
    rng = np.random.default_rng(1)
    ease = rng.normal(size=PROMPTS)[PROMPT]
    other = ease + 0.1 * rng.normal(size=len(PROMPT))
    easier = 0.05 + 0.01 * rng.normal(size=len(PROMPT))
    found = paired_difference(other + easier, other, PROMPT, SEED, draws=100)
    assert 0.045 < found.low < found.value < found.high < 0.055  # unpaired, it would be .4 wide
    assert np.isnan(paired_difference(other + 0.05, other, PROMPT, SEED, draws=100).low)  # nothing varies
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

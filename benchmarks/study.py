"""How often a study's intervals hold the truth, how wide they are, and whether the planned power comes true.

    python -m benchmarks.study [--studies 2000]

Studies are simulated whose truth is known. A rater r chooses method i before j for prompt p with the log odds
s_i - s_j + (u_ri - u_rj) + (v_pi - v_pj); u and v are normal. Each is analysed as a real one is. The truth is the
Bradley-Terry preference of all raters and all prompts.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from scipy.special import expit

from emoscene.evaluation.study.power import Plan, compute_power, find_log_odds
from emoscene.evaluation.study.preferences import Comparisons, fit_strengths, measure_preferences

DRAWS = 400


@dataclass(frozen=True)
class Kind:
    """A kind of study: raters, pairs a rater, prompts, strengths of the methods, and how raters and prompts differ."""

    raters: int
    per_rater: int
    prompts: int
    strengths: tuple[float, ...]
    rater_sd: float
    prompt_sd: float

    def draw(self, rng: np.random.Generator) -> Comparisons:
        """The answers of one such study; each rater sees each pair of methods and each prompt about as often."""
        count = len(self.strengths)
        raters = self.rater_sd / np.sqrt(2) * rng.normal(size=(self.raters, count))
        prompts = self.prompt_sd / np.sqrt(2) * rng.normal(size=(self.prompts, count))
        pairs = np.array(list(combinations(range(count), 2)))
        rater = np.repeat(np.arange(self.raters), self.per_rater)
        number = np.arange(len(rater))
        shift = rng.permutation(self.raters)[rater]
        prompt = (number + 7 * shift) % self.prompts
        pair = pairs[(number // self.prompts + number + shift) % len(pairs)]
        one, other = pair.T
        odds = np.array(self.strengths)[one] - np.array(self.strengths)[other]
        odds = odds + raters[rater, one] - raters[rater, other] + prompts[prompt, one] - prompts[prompt, other]
        first = rng.random(len(number)) < expit(odds)
        winner, loser = np.where(first, one, other), np.where(first, other, one)
        return Comparisons(winner, loser, rater, prompt, number, count)

    def find_truth(self) -> np.ndarray:
        """Each method's preference over the others, among all raters and prompts [S]."""
        points, weights = np.polynomial.hermite_e.hermegauss(60)
        weights = weights / weights.sum()
        gaps = np.subtract.outer(self.strengths, self.strengths)
        spread = np.hypot(self.rater_sd, self.prompt_sd)
        chosen = expit(gaps[..., None] + spread * points) @ weights
        np.fill_diagonal(chosen, 0)
        fitted = fit_strengths(1e9 * chosen)
        table = expit(fitted[:, None] - fitted[None, :])
        return (table.sum(1) - 0.5) / (len(fitted) - 1)


TWO, THREE = (0.0, 0.6), (0.0, 0.4, 1.2)
KINDS = (
    Kind(12, 40, 24, TWO, 0.3, 0.5),
    Kind(24, 40, 24, TWO, 0.0, 0.0),
    Kind(24, 40, 24, THREE, 0.3, 0.5),
    Kind(48, 20, 48, TWO, 0.6, 1.0),
    Kind(20, 40, 12, THREE, 0.3, 0.5),
    Kind(60, 40, 96, THREE, 0.5, 0.5),
)
PLANS = (
    Plan(0.6, 12),
    Plan(0.6, 24),
    Plan(0.65, 16, prompts=16),
    Plan(0.58, 40, 30, 48),
    Plan(0.7, 10, 20, 24, 0.5, 0.8),
)


def measure_coverage(kind: Kind, studies: int, seed: int = 0) -> tuple[float, float]:
    """Simulate studies of a kind.

    Args:
        kind: The kind.
        studies: How many.
        seed: The seed of the random numbers.

    Returns:
        The share of intervals that hold the truth, over all methods, and their mean width.
    """
    rng, truth, held, widths = np.random.default_rng(seed), kind.find_truth(), [], []
    for number in range(studies):
        preferences, _, _ = measure_preferences(kind.draw(rng), DRAWS, number)
        for value, preference in zip(truth, preferences, strict=True):
            low, high = preference.interval
            held.append(low <= value <= high)
            widths.append(high - low)
    return float(np.mean(held)), float(np.mean(widths))


def measure_power(plan: Plan, studies: int, seed: int = 0) -> float:
    """Simulate planned studies.

    Args:
        plan: The plan.
        studies: How many.
        seed: The seed of the random numbers.

    Returns:
        The share of them whose interval lies above 1/2.
    """
    odds = find_log_odds(plan)
    kind = Kind(plan.raters, plan.per_rater, plan.prompts, (odds, 0.0), plan.rater_sd, plan.prompt_sd)
    rng, told = np.random.default_rng(seed), 0
    for number in range(studies):
        preferences, _, _ = measure_preferences(kind.draw(rng), DRAWS, number)
        told += preferences[0].interval[0] > 0.5
    return told / studies


def main() -> None:
    """Print a line a kind of study and a line a plan."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--studies", type=int, default=2000, help="simulated studies of each kind (default 2000)")
    parser.add_argument("--kinds", type=int, nargs="*", help="only these kinds, counted from 0")
    parser.add_argument("--plans", type=int, nargs="*", help="only these plans, counted from 0")
    words = parser.parse_args()
    print(f"{'raters':>6} {'each':>4} {'prompts':>7} {'methods':>7} {'effects':>9} {'covers':>6} {'width':>6}")
    for number, kind in enumerate(KINDS):
        if words.kinds is None or number in words.kinds:
            covers, width = measure_coverage(kind, words.studies)
            effects = f"{kind.rater_sd:g}, {kind.prompt_sd:g}"
            print(
                f"{kind.raters:6} {kind.per_rater:4} {kind.prompts:7} {len(kind.strengths):7} {effects:>9} "
                f"{covers:6.3f} {width:6.3f}",
                flush=True,
            )
    print(f"{'effect':>6} {'raters':>6} {'each':>4} {'prompts':>7} {'planned':>7} {'true':>6}")
    for number, plan in enumerate(PLANS):
        if words.plans is None or number in words.plans:
            true = measure_power(plan, words.studies)
            planned = f"{plan.effect:6} {plan.raters:6} {plan.per_rater:4} {plan.prompts:7} {compute_power(plan):7.3f}"
            print(f"{planned} {true:6.3f}", flush=True)


if __name__ == "__main__":
    main()

"""How often intervals of shares hold the truth, and how wide they are. `python -m benchmarks.coverage`

Studies are simulated whose truth is known: prompts x emotions x seeds, with normal effects of prompt and seed on the
logit of a hit. Beside our interval stands Wilson's for as many independent images as the study is worth: that number is
known here, from how much the share varies over all simulated studies of a kind.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy import optimize, stats

from emoscene.evaluation.intervals import share_interval

EMOTIONS = 8
SHARES = (0.5, 0.7, 0.9, 0.95, 0.98)
DESIGNS = ((8, 1), (8, 4), (12, 2), (24, 4), (48, 4), (96, 1), (96, 4))
"""Prompts and seeds."""
EFFECTS = ((0.0, 0.0), (0.5, 0.0), (1.0, 0.3), (1.5, 0.0))
"""Standard deviations of prompts and of seeds, in logits; with one seed, its effect is no error of the study."""


@dataclass(frozen=True)
class Study:
    """A kind of study.

    Attributes:
        prompts: The number of prompts.
        seeds: The number of seeds.
        prompt_effect: The standard deviation of the prompts, in logits.
        seed_effect: The standard deviation of the seeds, in logits.
        share: The true share of hits.
    """

    prompts: int
    seeds: int
    prompt_effect: float
    seed_effect: float
    share: float

    def simulate(self, rng: np.random.Generator, prompt: np.ndarray, seed: np.ndarray) -> np.ndarray:
        """Hits [N] of one such study."""
        logits = np.full(len(prompt), find_centre(self.share, np.hypot(self.prompt_effect, self.seed_effect)))
        logits += self.prompt_effect * rng.normal(size=self.prompts)[prompt]
        logits += self.seed_effect * rng.normal(size=self.seeds)[seed]
        return (rng.random(len(prompt)) < 1 / (1 + np.exp(-logits))).astype(float)


def find_centre(share: float, spread: float) -> float:
    """The logit about which normal effects of this standard deviation leave the mean at `share`."""
    points, weights = np.polynomial.hermite_e.hermegauss(60)
    weights = weights / weights.sum()

    def off(logit: float) -> float:
        return float((weights / (1 + np.exp(-logit - spread * points))).sum()) - share

    return float(optimize.brentq(off, -20, 20))


def list_studies() -> Iterator[Study]:
    """All kinds that are simulated."""
    for prompts, seeds in DESIGNS:
        for prompt_effect, seed_effect in EFFECTS:
            if seeds == 1:
                seed_effect = 0.0
            for share in SHARES:
                yield Study(prompts, seeds, prompt_effect, seed_effect, share)


def measure_study(study: Study, trials: int) -> tuple[float, float]:
    """Simulate a kind of study.

    Args:
        study: The kind.
        trials: The number of simulated studies.

    Returns:
        The share of intervals that hold the truth, and their mean width relative to Wilson's.
    """
    rng = np.random.default_rng(0)
    prompt = np.repeat(np.arange(study.prompts), study.seeds * EMOTIONS)
    seed = np.tile(np.repeat(np.arange(study.seeds), EMOTIONS), study.prompts)
    covered, widths, shares = 0, [], []
    for _ in range(trials):
        hit = study.simulate(rng, prompt, seed)
        low, high = share_interval(hit, prompt, seed)
        covered += low <= study.share <= high
        widths.append(high - low)
        shares.append(hit.mean())
    worth = min(len(prompt), study.share * (1 - study.share) / np.var(shares))
    return covered / trials, float(np.mean(widths)) / wilson_width(study.share, worth)


def wilson_width(share: float, count: float) -> float:
    """The width of Wilson's 95 % interval of so many independent images."""
    z = stats.norm.ppf(0.975)
    spread = np.sqrt(share * (1 - share) / count + z**2 / (4 * count**2))
    return float(2 * z * spread / (1 + z**2 / count))


def main() -> None:
    """Print a line a kind of study, and the means."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, default=2000, help="simulated studies of each kind (default 2000)")
    trials = parser.parse_args().trials
    print(f"{'prompts':>7} {'seeds':>5} {'effects':>9} {'share':>5} {'covers':>6} {'width / Wilson':>14}")
    rows = []
    for study in list_studies():
        covers, width = measure_study(study, trials)
        rows.append((covers, width))
        effects = f"{study.prompt_effect:g}, {study.seed_effect:g}"
        print(f"{study.prompts:7} {study.seeds:5} {effects:>9} {study.share:5} {covers:6.3f} {width:14.2f}", flush=True)
    covers, width = np.array(rows).T
    print(f"covers: least {covers.min():.3f}, mean {covers.mean():.3f}; width: mean {width.mean():.2f}")
    print(f"{(covers < 0.92).sum()} of {len(rows)} kinds cover less than .92")


if __name__ == "__main__":
    main()

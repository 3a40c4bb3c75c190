"""How many raters and pairs a study needs: the power to see that one method is preferred to another.

A rater r chooses method A for prompt i with

    log odds = beta + u_r + v_i,      u_r ~ N(0, rater_sd^2),  v_i ~ N(0, prompt_sd^2)

where beta is such that A is chosen with the probability `effect` over all raters and prompts. With R raters, P prompts
and N answers, the share of choices of A has the variance

    V_r / R + V_p / P + (effect (1 - effect) - V_r - V_p) / N

with V_r the variance of raters' own shares, and V_p that of prompts (two crossed factors; Brennan 2001). The interval
of the study excludes 1/2 with the probability that Student's t gives for it. `benchmarks.study` compares this with
studies that are simulated and analysed as real ones are.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy import stats
from scipy.optimize import brentq
from scipy.special import expit

from emoscene.core.errors import UsageError
from emoscene.core.plain_text import format_count
from emoscene.evaluation.intervals import COVERAGE, MIN_CLUSTERS

NODES = 40  # of the integrals over raters and prompts
MOST_RATERS = 5000
RATER_SD, PROMPT_SD = 0.3, 0.5
"""How much raters and prompts differ in log odds, where nobody has measured it."""


@dataclass(frozen=True)
class Plan:
    """A study of two methods that is planned.

    Attributes:
        effect: How often the better method is chosen, above .5 and below 1.
        raters: How many people take part.
        per_rater: How many pairs each of them sees.
        prompts: How many prompts the pairs have.
        rater_sd: How much raters differ, in log odds.
        prompt_sd: How much prompts differ, in log odds.
    """

    effect: float
    raters: int
    per_rater: int = 40
    prompts: int = 24
    rater_sd: float = RATER_SD
    prompt_sd: float = PROMPT_SD


def check_plan(plan: Plan) -> None:
    """Check the numbers of a plan.

    Args:
        plan: The plan.

    Raises:
        UsageError: One of them makes no study that has intervals.
    """
    if not 0.5 < plan.effect < 1:
        raise UsageError(
            f"effect={plan.effect:g} is off: it is how often the better one is chosen, .5 to 1, such as .6"
        )
    if min(plan.rater_sd, plan.prompt_sd) < 0:
        raise UsageError("rater_sd and prompt_sd are spreads in log odds: give numbers from 0 up")
    for name, value in (("raters", plan.raters), ("prompts", plan.prompts)):
        if value < MIN_CLUSTERS:
            raise UsageError(f"{name}={value} is off: below {MIN_CLUSTERS} no figure has an interval")


def find_log_odds(plan: Plan) -> float:
    """Find beta.

    Args:
        plan: The plan.

    Returns:
        The log odds at which the better method is chosen with the probability `effect`.
    """
    spread = np.hypot(plan.rater_sd, plan.prompt_sd)
    points, weights = _normal_nodes()
    return float(brentq(lambda beta: float(weights @ expit(beta + spread * points)) - plan.effect, -20, 20))


def compute_power(plan: Plan) -> float:
    """Compute the probability that the study's 95 % interval excludes 1/2.

    Args:
        plan: The plan.

    Returns:
        The power, from 0 to 1.

    Raises:
        UsageError: A number is off.
    """
    check_plan(plan)
    beta, (points, weights) = find_log_odds(plan), _normal_nodes()
    chosen = expit(beta + plan.rater_sd * points[:, None] + plan.prompt_sd * points[None, :])
    between_raters = float(weights @ (chosen @ weights - plan.effect) ** 2)
    between_prompts = float(weights @ (weights @ chosen - plan.effect) ** 2)
    rest = plan.effect * (1 - plan.effect) - between_raters - between_prompts
    answers = plan.raters * plan.per_rater
    variance = between_raters / plan.raters + between_prompts / plan.prompts + rest / answers
    freedom = min(plan.raters, plan.prompts) - 1
    # the study's interval lies on the scale of log odds
    distance = (np.log(plan.effect) - np.log1p(-plan.effect)) * plan.effect * (1 - plan.effect) / np.sqrt(variance)
    quantile = stats.t.ppf((1 + COVERAGE) / 2, freedom)
    return float(stats.nct.sf(quantile, freedom, distance))


def find_raters(plan: Plan, power: float) -> int:
    """Find how many raters a power needs.

    Args:
        plan: The plan; its raters do not count.
        power: The power wanted, above 0 and below 1.

    Returns:
        The least number of raters.

    Raises:
        UsageError: A number is off, or no number of raters is enough: more prompts are needed.
    """
    if not 0 < power < 1:
        raise UsageError(f"power={power:g} is off: it is a probability, such as .8")
    if compute_power(replace(plan, raters=MOST_RATERS)) < power:
        raise UsageError(
            f"no number of raters gives a power of {power:g} with {format_count(plan.prompts, 'prompt')}: plan more "
            "--prompts, as the methods differ from prompt to prompt"
        )
    low, high = MIN_CLUSTERS, MOST_RATERS
    while low < high:
        middle = (low + high) // 2
        if compute_power(replace(plan, raters=middle)) >= power:
            high = middle
        else:
            low = middle + 1
    return low


def _normal_nodes() -> tuple[np.ndarray, np.ndarray]:
    """Points and weights that integrate over a standard normal variable (Gauss and Hermite)."""
    points, weights = np.polynomial.hermite_e.hermegauss(NODES)
    return points, weights / weights.sum()

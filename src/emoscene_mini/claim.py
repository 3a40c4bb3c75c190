"""A claim: a figure, what was promised of it, and whether it was kept."""

from __future__ import annotations

from dataclasses import dataclass
from math import isnan

from emoscene.evaluation.metrics.base import Value


@dataclass(frozen=True)
class Claim:
    """A promise and what came of it; `met` is None where nothing was promised and the figure is only told.

    An accuracy above the judge's own ceiling `exaggerates`: that is said in place of whether the promise was kept.
    """

    what: str
    figure: str
    target: str
    met: bool | None
    value: float
    low: float | None = None
    high: float | None = None
    exaggerates: bool = False

    @property
    def mark(self) -> str:
        """What stands behind the figure: met, missed, or that it exaggerates; empty where nothing was promised."""
        if self.exaggerates:
            return "**exaggeration**"
        return {True: "met", False: "**missed**", None: ""}[self.met]


def meets_bound(value: float, bound: str) -> bool | None:
    """Compare a figure with what was asked of it.

    Args:
        value: The figure; nan meets nothing.
        bound: As `<= .30`, `>= .72`, `.78 to .88`, or one number, which is met to half of its last digit.

    Returns:
        Whether it was reached; None for other words, and for none.
    """
    first, _, last = bound.partition(" ")
    try:
        if first in ("<=", ">="):
            return value <= float(last) if first == "<=" else value >= float(last)
        if last.startswith("to "):
            return float(first) <= value <= float(last.removeprefix("to "))
        if bound and not last:
            return abs(value - float(first)) <= 0.5 / 10 ** len(first.partition(".")[2])
    except ValueError:
        return None
    return None


def make_claim(what: str, value: Value | float, target: str, met: bool | None, form: str = ".3f") -> Claim:
    """Make a claim from a figure, with its interval where it has one.

    Args:
        what: What is measured.
        value: The figure.
        target: What was asked for, as text; empty for nothing.
        met: Whether it was reached; None where nothing was asked.
        form: The format of the figure.

    Returns:
        The claim.
    """
    met = None if met is None else bool(met)  # not NumPy's
    if isinstance(value, Value):
        figure = f"{value.value:{form}}"
        if isnan(value.low):
            return Claim(what, figure, target, met, value.value)
        figure += f" [{value.low:{form}}, {value.high:{form}}]"
        return Claim(what, figure, target, met, value.value, value.low, value.high)
    return Claim(what, f"{value:{form}}", target, met, float(value))

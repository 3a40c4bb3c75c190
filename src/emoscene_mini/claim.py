"""A claim: a figure, what was promised of it, and whether it was kept."""

from __future__ import annotations

from dataclasses import dataclass
from math import isnan

from emoscene.evaluation.metrics.base import Value


@dataclass(frozen=True)
class Claim:
    """A promise and what came of it; `met` is None where nothing was promised and the figure is only told."""

    what: str
    figure: str
    target: str
    met: bool | None
    value: float
    low: float | None = None
    high: float | None = None


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

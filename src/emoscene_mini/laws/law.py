"""A law: what a paper found, and what has to come out here for it to hold."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import isnan

from emoscene.evaluation.metrics.base import Value
from emoscene_mini.experiment import Experiment


@dataclass(frozen=True)
class Finding:
    """One figure of a law.

    Attributes:
        what: What was measured; a difference that the law says is above `above`.
        value: The figure and its 95 % interval.
        above: What the whole interval has to be above.
    """

    what: str
    value: Value
    above: float = 0.0

    @property
    def holds(self) -> bool:
        """Whether the whole interval is above the threshold; without an interval nothing holds."""
        return not isnan(self.value.low) and self.value.low > self.above


@dataclass(frozen=True)
class Law:
    """A published finding.

    Attributes:
        name: A word for the command line.
        sentence: What was found.
        source: Who found it, where.
        published: Their figure.
        measure: Measures it here.
    """

    name: str
    sentence: str
    source: str
    published: str
    measure: Callable[[Experiment], Sequence[Finding]]


def law_holds(findings: Sequence[Finding]) -> bool:
    """Decide whether a law holds here.

    Args:
        findings: Its figures, at least one.

    Returns:
        Whether each of them does.
    """
    return all(finding.holds for finding in findings)

"""torch's Muon on a CPU that has no bfloat16 of its own: its matrices are orthogonalized in float32.

torch computes the Newton-Schulz iteration (Jordan et al. 2024) in bfloat16, which such a CPU imitates: for the 48
matrices of the miniature's CLIP it takes 2.1 s a step there, and .13 s in float32 (one core with AVX2). All else is
torch's own; the iteration is replaced for the length of a step, because torch has no setting for it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.optim import _muon as theirs

ITERATION = "_zeropower_via_newtonschulz"  # torch's name for it


class Float32Muon(torch.optim.Muon):
    """Muon whose orthogonal matrices come from float32."""

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Make a step, as `torch.optim.Muon` does.

        Args:
            closure: Computes the loss again.

        Returns:
            That loss, if there is a closure.
        """
        with _iterate_in_float32():
            return super().step(closure)


@contextmanager
def _iterate_in_float32() -> Iterator[None]:
    original = getattr(theirs, ITERATION)
    setattr(theirs, ITERATION, orthogonalize)
    try:
        yield
    finally:
        setattr(theirs, ITERATION, original)


def orthogonalize(matrix: Tensor, coefficients: tuple[float, float, float], steps: int, least: float) -> Tensor:
    """Bring a matrix near the nearest orthogonal one: X <- a X + (b X X^T + c (X X^T)^2) X, some times.

    Args:
        matrix: The matrix [n, m].
        coefficients: a, b, c.
        steps: How many times.
        least: The least norm that it is divided by first.

    Returns:
        A matrix with singular values near 1 [n, m], in float32.
    """
    a, b, c = coefficients
    tall = matrix.shape[0] > matrix.shape[1]
    x = matrix.float()
    if tall:
        x = x.T
    x = x / x.norm().clamp(min=least)
    for _ in range(steps):
        gram = x @ x.T
        x = torch.addmm(x, torch.addmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    if tall:
        x = x.T
    return x

"""What moves the weights: AdamW, and beside it Muon where a learner has matrices that it suits.

Muon (Jordan et al. 2024) replaces a matrix's momentum by the nearest orthogonal matrix, so that no direction of it
waits for the loud ones. Between the hidden states of a small transformer that learns from nothing it needs a quarter of
the samples (`docs/log.md`); vectors, embeddings, convolutions and heads stay AdamW's.
"""

from __future__ import annotations

from collections.abc import Set
from typing import Any

import torch
from torch import Tensor

from emoscene.learner import Learner


def optimizers(learner: Learner, lr: float, decay: float, muon: float) -> list[torch.optim.Optimizer]:
    """The optimizers of all that trains; `muon` is Muon's learning rate in multiples of `lr`, 0 is AdamW alone."""
    matrices = {name for name, p in learner.trainable.items() if muon and p.ndim == 2 and learner.inner(name)}
    rest = groups(learner, decay, learner.trainable.keys() - matrices)
    inner = groups(learner, decay, matrices)
    for group in inner:
        group["pace"] *= muon
    made: list[torch.optim.Optimizer] = [torch.optim.AdamW(rest, lr=lr, betas=(0.9, 0.99), fused=True)]
    return [*made, torch.optim.Muon(inner, lr=lr)] if inner else made


def groups(learner: Learner, decay: float, names: Set[str]) -> list[dict[str, Any]]:
    """The parameters of these names by pace and weight decay, which spares vectors and biases."""
    found: dict[tuple[float, float], list[Tensor]] = {}
    for name, p in learner.trainable.items():
        if name in names:
            found.setdefault((learner.pace(name), decay * (p.ndim > 1)), []).append(p)
    return [{"params": ps, "pace": pace, "weight_decay": spared} for (pace, spared), ps in found.items()]


def pace(optimizer: torch.optim.Optimizer, lr: float) -> None:
    """Set a step's learning rate, each group at its own pace."""
    for group in optimizer.param_groups:
        group["lr"] = lr * group["pace"]


def memory(made: list[torch.optim.Optimizer], p: Tensor) -> dict[str, Tensor]:
    """What the optimizer that moves `p` remembers of it, to read and to write."""
    owners = (one for one in made for group in one.param_groups if any(p is q for q in group["params"]))
    state: dict[str, Tensor] = next(owners).state[p]
    return state

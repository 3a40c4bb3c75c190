"""What moves the weights: AdamW or one of its kin, at a rate that follows a schedule, and beside it Muon.

Muon (Jordan et al. 2024) replaces a matrix's momentum by the nearest orthogonal matrix, so that no direction of it
waits for the loud ones. Between the hidden states of a small transformer that learns from nothing it needs a quarter of
the samples (`docs/log.md`); vectors, embeddings, convolutions and heads are left to the other optimizer.

A step whose gradient is not finite must change nothing. Fused optimizers decide that on the device, so that nobody
waits for the answer; for the others it is read first.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence, Set
from importlib import import_module
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from emoscene.core.errors import UsageError, install_command
from emoscene.learning.learner import Learner

PACKAGES = {
    "adamw8bit": ("bitsandbytes.optim", "AdamW8bit", "pip install bitsandbytes"),
    "prodigy": ("prodigyopt", "Prodigy", install_command("train")),
}
"""Optimizers that come with a package of their own: its name, the class, and what installs it."""
FLOOR = 0.01  # the schedule's last rate, as a share of the highest
SHAPES = {
    "cosine": lambda done: 0.5 * (1 + math.cos(math.pi * done)),
    "linear": lambda done: 1 - done,
    "polynomial": lambda done: (1 - done) ** 2,
    "constant": lambda done: 1.0,
}


def schedule_rate(schedule: str, step: int, steps: int, warmup: float) -> float:
    """The learning rate's multiple at a step, in (0, 1]: a linear warm-up over that share, then the shape."""
    warm = max(1, round(warmup * steps))
    if step < warm:
        return (step + 1) / warm
    done = (step - warm) / max(1, steps - warm)
    return FLOOR + (1 - FLOOR) * SHAPES[schedule](done)


def optimizer_class(kind: str, lr: float = 1.0) -> Callable[..., Optimizer]:
    """The class of this optimizer. Raises Usage where its package is not installed, or the rate is not for it."""
    if kind not in PACKAGES:
        return torch.optim.AdamW
    package, name, remedy = PACKAGES[kind]
    if kind == "prodigy" and lr < 0.1:
        raise UsageError(
            f"optimizer=prodigy finds the rate itself and takes lr as a multiple of it: give lr=1, not lr={lr}"
        )
    try:
        made: Callable[..., Optimizer] = getattr(import_module(package), name)
    except ImportError as error:
        raise UsageError(f"optimizer={kind} needs a package that is not installed: {remedy}") from error
    return made


def make_optimizers(
    learner: Learner, lr: float, decay: float, muon: float = 0.0, kind: str = "adamw"
) -> list[Optimizer]:
    """The optimizers of all that trains; `muon` is Muon's learning rate in multiples of `lr`, 0 is none of it."""
    matrices = {name for name, p in learner.trainable.items() if muon and p.ndim == 2 and learner.use_muon(name)}
    rest = parameter_groups(learner, decay, learner.trainable.keys() - matrices)
    inner = parameter_groups(learner, decay, matrices)
    for group in inner:
        group["pace"] *= muon
    if kind == "prodigy":  # it measures one distance for all that moves
        rest = [{**group, "pace": 1.0} for group in rest]
    fused: dict[str, Any] = {"fused": True} if kind == "adamw" else {}
    made = [optimizer_class(kind, lr)(rest, lr=lr, betas=(0.9, 0.99), **fused)]
    return [*made, torch.optim.Muon(inner, lr=lr)] if inner else made


def parameter_groups(learner: Learner, decay: float, names: Set[str]) -> list[dict[str, Any]]:
    """The parameters of these names by pace and weight decay, which spares vectors and biases."""
    found: dict[tuple[float, float], list[Tensor]] = {}
    for name, p in learner.trainable.items():
        if name in names:
            found.setdefault((learner.lr_multiplier(name), decay * (p.ndim > 1)), []).append(p)
    return [{"params": ps, "pace": pace, "weight_decay": spared} for (pace, spared), ps in found.items()]


def apply_step(optimizer: Optimizer, lr: float, finite: Tensor) -> None:
    """One step at this rate, each group at its own pace; none at all unless `finite` [] holds."""
    for group in optimizer.param_groups:
        group["lr"] = lr * group["pace"]
    if getattr(optimizer, "_step_supports_amp_scaling", False):
        optimizer.found_inf = (~finite).float()  # type: ignore[attr-defined]
        optimizer.step()
    elif finite:
        optimizer.step()


def collect_state(
    made: Sequence[Optimizer], trainable: Mapping[str, Tensor]
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """What the optimizers remember: tensors by `kind.parameter`, and the numbers beside them."""
    owner = {id(p): one for one in made for group in one.param_groups for p in group["params"]}
    known = {f"{kind}.{name}": v for name, p in trainable.items() for kind, v in owner[id(p)].state[p].items()}
    tensors = {key: value for key, value in known.items() if isinstance(value, Tensor)}
    plain = {key: value for key, value in known.items() if isinstance(value, int | float)}
    return tensors, {"state": plain, "groups": [[_plain_values(group) for group in one.param_groups] for one in made]}


def restore_state(
    made: Sequence[Optimizer],
    trainable: Mapping[str, Tensor],
    tensors: Mapping[str, Tensor],
    numbers: Mapping[str, Any],
) -> None:
    """Put `collect_state` back."""
    owner = {id(p): one for one in made for group in one.param_groups for p in group["params"]}
    for key, value in {**tensors, **numbers["state"]}.items():
        kind, _, name = key.partition(".")
        p = trainable[name]
        owner[id(p)].state[p][kind] = value.to(p.device) if isinstance(value, Tensor) else value
    for one, kept in zip(made, numbers["groups"], strict=True):
        for group, plain in zip(one.param_groups, kept, strict=True):
            group.update(plain)


def _plain_values(group: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in group.items() if isinstance(value, int | float)}

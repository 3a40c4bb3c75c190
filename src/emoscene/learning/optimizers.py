"""What moves the weights: AdamW or one of its kin, at a rate that follows a schedule, and beside it Muon.

An optimizer is a table in `optimizer_specs/`, or in a package that registers one by an entry point in the group
`emoscene.optimizers`; `emoscene ls optimizers` lists them. A table has

    class      where it is, `package.module.Class`
    extra      the extra of emoscene that installs its package; or `install`, the command that does; neither for torch's
    settings   what it is made with, beside the parameters, their rate and their weight decay
    finds_lr   whether it finds the rate itself: then `lr` is a multiple of that, and all parameters have the same

Muon (Jordan et al. 2024) replaces a matrix's momentum by the nearest orthogonal matrix, so that no direction of it
waits for the loud ones. Between the hidden states of a small transformer that learns from nothing it needs a quarter of
the samples (`docs/log.md`); vectors, embeddings, convolutions and heads are left to the other optimizer.

Weight decay is decoupled (Loshchilov and Hutter 2019): a weight shrinks by rate * decay of itself each step, apart from
the gradient and its moments. Only matrices and larger tensors decay; vectors and biases do not.

A step whose gradient is not finite must change nothing. Fused optimizers decide that on the device, so that nobody
waits for the answer. An optimizer that remembers nothing but tensors, such as Muon, makes its step, which is taken back
on the device. For the others, on a GPU, the answer is read first.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from emoscene.core import registry
from emoscene.core.errors import EmosceneError, UsageError, install_command
from emoscene.diffusion.device import has_cpu_bf16
from emoscene.learning.learner import Learner
from emoscene.learning.muon import Float32Muon

LEAST_MULTIPLE = 0.1  # of the rate that an optimizer finds itself: less is a rate that was meant for another one
FLOOR = 0.01  # the schedule's last rate, as a share of the highest
SHAPES = {
    "cosine": lambda done: 0.5 * (1 + math.cos(math.pi * done)),  # Loshchilov and Hutter 2017, without restarts
    "linear": lambda done: 1 - done,
    "polynomial": lambda done: (1 - done) ** 2,
    "constant": lambda done: 1.0,
}


def schedule_rate(schedule: str, step: int, steps: int, warmup: float) -> float:
    """Compute the learning rate of a step, as a multiple of the highest one: a linear warm-up, then the shape.

    Args:
        schedule: The shape, one of `SHAPES`.
        step: From 0 on.
        steps: Of the whole run.
        warmup: Share of the steps over which the rate rises.

    Returns:
        The multiple, in (0, 1].
    """
    warm = max(1, round(warmup * steps))
    if step < warm:
        return (step + 1) / warm
    done = (step - warm) / max(1, steps - warm)
    return FLOOR + (1 - FLOOR) * SHAPES[schedule](done)


@dataclass(frozen=True)
class OptimizerSpec:
    """An optimizer's table, as the module's docstring describes it."""

    name: str
    path: str
    install: str = ""
    finds_lr: bool = False
    settings: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def find(cls, name: str) -> OptimizerSpec:
        """Read the table of an optimizer.

        Args:
            name: as `emoscene ls optimizers` has it.

        Returns:
            The table.

        Raises:
            UsageError: for a name that nobody knows.
            EmosceneError: for a table that lacks the class.
        """
        table = registry.load_table("optimizers", name)
        if "class" not in table:
            raise EmosceneError(f"{registry.source_file('optimizers', name)} names no class: it is no optimizer")
        install = table.get("install", "")
        if "extra" in table:
            install = install_command(table["extra"])
        settings = dict(table["settings"])
        for key, value in settings.items():
            if isinstance(value, list):
                settings[key] = tuple(value)
        return cls(name, table["class"], install, table.get("finds_lr", False), settings)

    def load_class(self) -> Callable[..., Optimizer]:
        """Import the class.

        Returns:
            The class.

        Raises:
            UsageError: where its package is not installed.
        """
        module, _, name = self.path.rpartition(".")
        try:
            optimizer: Callable[..., Optimizer] = getattr(import_module(module), name)
        except ImportError as error:
            remedy = self.install or f"install {module.partition('.')[0]}"
            raise UsageError(f"optimizer={self.name} needs a package that is not installed: {remedy}") from error
        return optimizer


def check_optimizer(name: str, lr: float) -> OptimizerSpec:
    """Find an optimizer that can be used here, at this rate.

    Args:
        name: As `emoscene ls optimizers` has it.
        lr: The highest learning rate.

    Returns:
        Its table.

    Raises:
        UsageError: For a name that nobody knows, a rate that is not for it, and where its package is not installed.
    """
    spec = OptimizerSpec.find(name)
    if spec.finds_lr and lr < LEAST_MULTIPLE:
        raise UsageError(
            f"optimizer={name} finds the rate itself and takes lr as a multiple of it: give lr=1, not lr={lr}"
        )
    spec.load_class()
    return spec


def make_optimizers(
    learner: Learner, lr: float, weight_decay: float, muon: float = 0.0, name: str = "adamw"
) -> list[Optimizer]:
    """Make the optimizers of all that trains.

    Muon's step is an orthogonal matrix whatever the gradient's size, and Adam's is about 1 in each element: their rates
    do not compare, so Muon's is set as a multiple of its own.

    Args:
        learner: Whose parameters.
        lr: The highest learning rate; a parameter's own is this times the learner's `lr_multiplier`.
        weight_decay: Of matrices, per unit of the learning rate; vectors and biases have none.
        muon: Muon's learning rate for the inner matrices, in multiples of `lr`; 0 is no Muon.
        name: The optimizer of all others.

    Returns:
        That optimizer, and Muon's after it where there is any.

    Raises:
        UsageError: As `check_optimizer` does.
    """
    spec = check_optimizer(name, lr)
    matrices = set()
    for parameter, value in learner.trainable.items():
        if muon and value.ndim == 2 and learner.use_muon(parameter):
            matrices.add(parameter)
    rest = parameter_groups(learner, lr, weight_decay, learner.trainable.keys() - matrices)
    if spec.finds_lr:  # it measures one distance for all that moves
        for group in rest:
            group["lr"] = lr
    made = [spec.load_class()(rest, lr=lr, **spec.settings)]
    if matrices:
        groups = parameter_groups(learner, muon * lr, weight_decay, matrices)
        made.append(_choose_muon(groups)(groups, lr=muon * lr))
    return made


def _choose_muon(groups: Sequence[Mapping[str, Any]]) -> type[torch.optim.Muon]:
    """torch's Muon, or where the parameters lie on a CPU without bf16 one that computes in float32."""
    if groups[0]["params"][0].device.type == "cpu" and not has_cpu_bf16():
        return Float32Muon
    return torch.optim.Muon


def parameter_groups(learner: Learner, lr: float, weight_decay: float, names: Set[str]) -> list[dict[str, Any]]:
    """Group parameters by learning rate and weight decay.

    Args:
        learner: Whose parameters.
        lr: The highest learning rate, before a parameter's own multiple.
        weight_decay: Of matrices; vectors and biases have none.
        names: Which parameters.

    Returns:
        A table a group, as torch's optimizers take them: `params`, `lr`, `weight_decay`.
    """
    groups: dict[tuple[float, float], list[Tensor]] = {}
    for name, p in learner.trainable.items():
        if name in names:
            key = lr * learner.lr_multiplier(name), weight_decay * (p.ndim > 1)
            groups.setdefault(key, []).append(p)
    return [{"params": ps, "lr": own, "weight_decay": decay} for (own, decay), ps in groups.items()]


def make_schedulers(
    optimizers: Sequence[Optimizer], schedule: str, steps: int, warmup: float, step: int = 0
) -> list[LambdaLR]:
    """Make the schedulers that set the rate of each step.

    The rate is a pure function of the step, so there is nothing of a scheduler to save: one that is made for step N
    sets what one that went there sets.

    Args:
        optimizers: Whose rates, at first the highest ones.
        schedule: The shape after the warm-up, one of `SHAPES`.
        steps: Of the whole run.
        warmup: Share of the steps over which the rate rises.
        step: The step that comes next, from 0 on.

    Returns:
        A scheduler an optimizer; the rates are set for `step`.
    """
    schedulers = []
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group.setdefault("initial_lr", group["lr"])
        # torch warns of a rate that moves before the weights do; where the first step is not finite, they do not move.
        optimizer._opt_called = True  # type: ignore[attr-defined]
        schedulers.append(
            LambdaLR(optimizer, lambda number: schedule_rate(schedule, number, steps, warmup), last_epoch=step - 1)
        )
    return schedulers


def apply_step(optimizer: Optimizer, finite: Tensor) -> None:
    """Do one step of an optimizer.

    Args:
        optimizer: Which one; its groups hold this step's rates.
        finite: [], whether loss and gradient are; where they are not, nothing changes.
    """
    if getattr(optimizer, "_step_supports_amp_scaling", False):
        optimizer.found_inf = (~finite).float()  # type: ignore[attr-defined]
        optimizer.step()
        return
    memory = _list_memory(optimizer)
    if finite.device.type == "cpu" or memory is None:
        if finite:
            optimizer.step()
        return
    before = [value.detach().clone() for value in memory]
    optimizer.step()
    with torch.no_grad():
        for value, old in zip(memory, before, strict=True):
            value.copy_(torch.where(finite, value, old))


def _list_memory(optimizer: Optimizer) -> list[Tensor] | None:
    """All that a step of an optimizer changes, its parameters first; None where some of it is no tensor, or not yet."""
    memory: list[Tensor] = []
    for group in optimizer.param_groups:
        memory += group["params"]
    if set(optimizer.state) < set(memory):
        return None
    for state in list(optimizer.state.values()):
        for value in state.values():
            if not isinstance(value, Tensor):
                return None
            memory.append(value)
    return memory


def collect_state(
    optimizers: Sequence[Optimizer], trainable: Mapping[str, Tensor]
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Collect what optimizers remember, for a checkpoint.

    It is their `state_dict`, with the parameters' names in the place of numbers, so that it does not depend on how they
    are grouped.

    Args:
        optimizers: Which ones.
        trainable: The parameters by name.

    Returns:
        The tensors by `kind.parameter`, such as `exp_avg.layer.weight`, and the numbers beside them: `state`, named in
        the same way, and `groups`, those of each optimizer.
    """
    known: dict[str, Any] = {}
    groups = []
    for optimizer in optimizers:
        names = _parameter_names(optimizer, trainable)
        saved = optimizer.state_dict()
        for number, state in saved["state"].items():
            for kind, value in state.items():
                known[f"{kind}.{names[number]}"] = value
        groups.append([_plain_values(group) for group in saved["param_groups"]])
    tensors = {key: value for key, value in known.items() if isinstance(value, Tensor)}
    return tensors, {"state": _plain_values(known), "groups": groups}


def restore_state(
    optimizers: Sequence[Optimizer],
    trainable: Mapping[str, Tensor],
    tensors: Mapping[str, Tensor],
    numbers: Mapping[str, Any],
) -> None:
    """Put back what `collect_state` collected, by `load_state_dict`; version 0.1's is the same but for a group's words.

    Args:
        optimizers: As they were made for this learner.
        trainable: The parameters by name.
        tensors: By `kind.parameter`.
        numbers: `state` and `groups`.
    """
    states: dict[str, dict[str, Any]] = {}
    for key, value in {**tensors, **numbers["state"]}.items():
        kind, _, name = key.partition(".")
        states.setdefault(name, {})[kind] = value
    for optimizer, saved_groups in zip(optimizers, numbers["groups"], strict=True):
        names = _parameter_names(optimizer, trainable)
        groups = optimizer.state_dict()["param_groups"]
        for group, saved in zip(groups, saved_groups, strict=True):
            for key in group.keys() & saved.keys():
                group[key] = saved[key]
        state = {number: states[name] for number, name in enumerate(names) if name in states}
        optimizer.load_state_dict({"state": state, "param_groups": groups})


def _parameter_names(optimizer: Optimizer, trainable: Mapping[str, Tensor]) -> list[str]:
    """The names of an optimizer's parameters, in the order of the numbers that its `state_dict` gives them."""
    names_of = {id(p): name for name, p in trainable.items()}
    names = []
    for group in optimizer.param_groups:
        for p in group["params"]:
            names.append(names_of[id(p)])
    return names


def _plain_values(table: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in table.items() if isinstance(value, int | float)}

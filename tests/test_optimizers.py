"""Optimizers are tables; schedules, averages and states are held against torch's own."""

import math
import shutil
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.optim import SGD, AdamW
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from emoscene.core import registry
from emoscene.core.errors import EmosceneError, UsageError
from emoscene.learning import checkpoints
from emoscene.learning.optimizers import (
    OptimizerSpec,
    apply_step,
    check_optimizer,
    collect_state,
    make_optimizers,
    make_schedulers,
    restore_state,
    schedule_rate,
)
from emoscene.training import loop
from emoscene.training.state import Config, TrainingState
from lines import FAST, MUON, Deep, Line, Points, same, state_of

MADE_UP = """# Steepest descent, with momentum.
class = "torch.optim.SGD"

[settings]
momentum = 0.5
"""


@pytest.fixture
def register(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A function that registers an optimizer's table, as a package with an entry point would."""

    def put(name: str, text: str) -> None:
        package = tmp_path / f"made_up_{name}"
        package.mkdir()
        (package / "__init__.py").touch()
        (package / "table.toml").write_text(text)
        monkeypatch.syspath_prepend(str(tmp_path))
        point = EntryPoint(name, f"made_up_{name}:table.toml", "emoscene.optimizers")
        monkeypatch.setattr(registry, "_list_entry_points", lambda kind: {name: point} if kind == "optimizers" else {})

    return put


def test_one_table_adds_an_optimizer(register: Any, tmp_path: Path) -> None:
    register("descent", MADE_UP)
    assert {"adamw", "adamw8bit", "descent", "prodigy"} <= set(registry.list_names("optimizers"))
    config = Config(**{**vars(FAST), "optimizer": "descent"})
    state = TrainingState(Line(), config)
    assert type(state.optimizers[0]) is SGD
    assert state.optimizers[0].param_groups[0]["momentum"] == 0.5
    loop.run_training(Line(), Points(), config, tmp_path / "a")
    before = checkpoints.list_checkpoints(tmp_path / "a")[0]
    shutil.copytree(before, tmp_path / "b" / before.name)
    loop.run_training(Line(), Points(), config, tmp_path / "b", resume=True)
    assert same(state_of(tmp_path / "a"), state_of(tmp_path / "b"))


def test_a_table_that_is_off_is_told(register: Any) -> None:
    with pytest.raises(UsageError, match=r"no optimizer 'adamm': did you mean 'adamw'\? \(emoscene ls optimizers\)"):
        make_optimizers(Line(), 1e-3, 0.0, name="adamm")
    register("lost", 'class = "no_such_package.Lost"\n[settings]\n')
    with pytest.raises(UsageError, match="optimizer=lost needs a package that is not installed: install no_such_pack"):
        OptimizerSpec.find("lost").load_class()


def test_what_is_not_installed_is_told_before_anything_is_made(register: Any) -> None:
    register("lost", 'class = "no_such_package.Lost"\n[settings]\n')
    with pytest.raises(UsageError, match="needs a package that is not installed"):
        check_optimizer("lost", 1e-3)


def test_an_optimizer_that_finds_its_rate_takes_a_tenth_of_it_at_least(register: Any) -> None:
    register("finder", 'class = "torch.optim.SGD"\nfinds_lr = true\n[settings]\n')
    assert check_optimizer("finder", 0.1).finds_lr
    with pytest.raises(UsageError, match=r"give lr=1, not lr=0\.09"):
        check_optimizer("finder", 0.09)


@pytest.mark.parametrize("name", ["adamw", "descent"])
def test_no_optimizer_takes_a_step_that_is_not_finite(name: str, register: Any) -> None:
    """Fused AdamW passes over it on the device; Muon and others are not called."""
    register("descent", MADE_UP)
    learner = Deep()
    before = {key: value.clone() for key, value in learner.state_dict().items()}
    optimizers = make_optimizers(learner, 1e-2, 0.1, muon=2.0, name=name)
    assert isinstance(optimizers[1], torch.optim.Muon)
    for p in learner.parameters():
        p.grad = torch.full_like(p, float("nan"))
    for optimizer in optimizers:
        apply_step(optimizer, torch.tensor(False))
    assert same(before, learner.state_dict())


def test_without_a_warm_up_the_first_step_has_the_highest_rate_and_the_shape_begins_after_it() -> None:
    rates = [schedule_rate("linear", step, 11, 0.0) for step in range(11)]
    assert rates[:3] == pytest.approx([1.0, 1.0, 0.01 + 0.99 * 0.9])
    assert rates[10] == pytest.approx(0.01 + 0.99 * 0.1)


def test_a_table_without_a_class_is_no_optimizer(register: Any) -> None:
    register("empty", "[settings]\n")
    with pytest.raises(EmosceneError, match="names no class"):
        OptimizerSpec.find("empty")


def by_hand(step: int, steps: int, warm: int) -> float:
    """The cosine with a floor of a hundredth, after a linear warm-up."""
    if step < warm:
        return (step + 1) / warm
    return 0.01 + 0.99 * (1 + math.cos(math.pi * (step - warm) / (steps - warm))) / 2


def test_each_group_has_its_own_multiple_of_the_schedules_rate() -> None:
    optimizers = make_optimizers(Deep(), 1e-2, 0.1, muon=2.0)
    schedulers = make_schedulers(optimizers, "cosine", 20, 0.25)
    for step in range(20):
        for optimizer, highest in zip(optimizers, (1e-2, 2e-2), strict=True):
            for group in optimizer.param_groups:
                assert group["lr"] == pytest.approx(highest * by_hand(step, 20, 5), rel=1e-12)
        for scheduler in schedulers:
            scheduler.step()


@pytest.mark.parametrize("step", [0, 3, 5, 19])
def test_a_scheduler_that_is_made_for_a_step_sets_what_one_that_went_there_sets(step: int) -> None:
    gone, made = (make_optimizers(Deep(), 1e-2, 0.1, muon=2.0) for _ in range(2))
    for scheduler in make_schedulers(gone, "cosine", 20, 0.25):
        for _ in range(step):
            scheduler.step()
    make_schedulers(made, "cosine", 20, 0.25)
    make_schedulers(made, "cosine", 20, 0.25, step)
    rates = [[group["lr"] for one in some for group in one.param_groups] for some in (gone, made)]
    assert rates[0] == rates[1]


@pytest.mark.parametrize("config", [FAST, MUON])
def test_a_step_is_torchs_own(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    """AdamW and Muon by torch alone, with the rates and decays written out, move the weights to the same bits."""
    monkeypatch.setattr("emoscene.learning.optimizers.has_cpu_bf16", lambda: True)
    ours, theirs = Deep(), Deep()
    state, data = TrainingState(ours, config), Points()
    inner = [theirs.hidden.weight] if config.muon else []
    decayed = [p for p in theirs.parameters() if p.ndim > 1 and not any(p is one for one in inner)]
    plain = [p for p in theirs.parameters() if p.ndim == 1]
    groups = [{"params": decayed, "weight_decay": 0.01}, {"params": plain, "weight_decay": 0.0}]
    made: list[Any] = [AdamW(groups, lr=1e-2, betas=(0.9, 0.99), fused=True)]
    made += [torch.optim.Muon(inner, lr=2e-2, weight_decay=0.01)] if inner else []
    for step in loop.train_steps(state, data, config):
        number = step.number - 1
        rows = loop.batches.batch_indices(config.seed, number, 6, loop.batches.group_by_shape(data))
        batch = loop.Batch(data.read(list(rows), theirs.columns), config.seed, number, range(6))
        (theirs(batch).sum() / 6).backward()
        nn.utils.clip_grad_norm_(theirs.parameters(), 1.0)
        for optimizer, highest in zip(made, (1e-2, 2e-2), strict=False):
            for group in optimizer.param_groups:
                group["lr"] = highest * by_hand(number, 24, 1)
            optimizer.step()
            optimizer.zero_grad()
    for mine, its in zip(ours.parameters(), theirs.parameters(), strict=True):
        assert torch.allclose(mine, its, rtol=1e-6, atol=1e-7)


def test_the_average_is_torchs_own_once_the_warm_up_is_over() -> None:
    """The same lerp as `get_ema_multi_avg_fn`; torch's has one decay for all steps, and no warm-up."""
    config = Config(**{**vars(FAST), "ema_decay": 0.3})  # below (1 + n) / (10 + n) from n = 3 on
    state = TrainingState(Line(), config)
    weights = nn.ParameterList(state.learner.trainable.values())
    theirs: AveragedModel | None = None
    for step in loop.train_steps(state, Points(), config):
        if theirs is not None:
            theirs.update_parameters(weights)
        if step.number == 4:
            theirs = AveragedModel(nn.ParameterList(state.average.values()), multi_avg_fn=get_ema_multi_avg_fn(0.3))
            theirs.n_averaged.fill_(1)
    assert theirs is not None
    for mine, its in zip(state.average.values(), theirs.module, strict=True):
        assert torch.equal(mine, its)


def test_torchs_average_would_wait_for_the_device() -> None:
    """Why the average is our own: whether a step was finite is known on the device alone, and torch reads the decay."""
    there = torch.tensor(0.9, device="meta")  # as on a GPU, whoever asks for its value has to wait; here, for ever
    with pytest.raises(RuntimeError, match="meta"):
        get_ema_multi_avg_fn(there)  # type: ignore[arg-type]


def test_torchs_average_would_copy_the_base() -> None:
    """Why the average is our own: `AveragedModel` copies a learner with all that it refers to, its frozen base too."""
    learner = Line()
    learner.base = Base()  # no submodule: a learner only refers to it
    assert AveragedModel(learner).module.base is not learner.base
    assert TrainingState(learner, FAST).average.keys() == learner.trainable.keys()


class Base:
    """Stands for a frozen base."""


def test_states_are_named_by_parameter_and_put_back_exactly() -> None:
    learner, again = Deep(), Deep()
    state, other = TrainingState(learner, MUON), TrainingState(again, Config(**{**vars(MUON), "weight_decay": 0.5}))
    for _ in loop.train_steps(state, Points(), Config(**{**vars(MUON), "steps": 3})):
        pass
    tensors, numbers = collect_state(state.optimizers, learner.trainable)
    assert {key.partition(".")[2] for key in tensors} == learner.trainable.keys()
    assert {"exp_avg.layer.weight", "exp_avg_sq.layer.bias", "momentum_buffer.hidden.weight"} <= tensors.keys()
    restore_state(other.optimizers, again.trainable, tensors, numbers)
    back, same_numbers = collect_state(other.optimizers, again.trainable)
    assert same(tensors, back) and numbers == same_numbers


def test_weight_decay_is_of_matrices_alone_and_apart_from_the_gradient() -> None:
    """Without a gradient, AdamW's step is the decay: w (1 - lr decay), whatever the moments."""
    learner = Line()
    [optimizer] = make_optimizers(learner, 0.1, 0.5)
    before = {name: value.clone() for name, value in learner.named_parameters()}
    for p in learner.parameters():
        p.grad = torch.zeros_like(p)
    optimizer.step()
    wanted: dict[str, Tensor] = {"layer.weight": before["layer.weight"] * 0.95, "layer.bias": before["layer.bias"]}
    for name, value in learner.named_parameters():
        assert torch.allclose(value, wanted[name])

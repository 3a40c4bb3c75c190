"""The scale of the loss in fp16: what it changes (nothing), when it falls, and that a checkpoint keeps it.

The scaler is torch's own, here on the CPU; `test_accelerator_training` has it on the stand-in of a GPU.
"""

import math
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch

from emoscene.core.errors import TrainingDiverged
from emoscene.learning import checkpoints
from emoscene.training import loop
from emoscene.training.state import Config, TrainingState
from lines import Deep, Line, Points, quiet, same

FEW = Config(steps=6, batch_size=6, precision="fp32", lr=1e-2, muon=2.0)
HIGH = 2.0**127
"""The largest power of two in float32: a loss above 2 overflows."""


def scaled_state(scale: float, learner: Line | None = None) -> TrainingState:
    """A run whose loss is scaled."""
    state = TrainingState(learner or Deep(), FEW)
    state.scaler = torch.amp.GradScaler("cpu", init_scale=scale)
    return state


def train(state: TrainingState, data: Points | None = None) -> list[float]:
    """Train to the end; the norms of the gradient."""
    return [step.norm for step in loop.train_steps(state, data or Points(), FEW)]


@pytest.mark.parametrize("micro_batch_size", [0, 4])
def test_a_scale_is_taken_out_again(micro_batch_size: int) -> None:
    """A power of two changes no digit: weights and norms are the same to the bit."""
    plain, scaled = TrainingState(Deep(), FEW), scaled_state(2.0**16)
    plain.micro = scaled.micro = micro_batch_size
    assert train(plain) == train(scaled)
    for name, value in plain.learner.trainable.items():
        assert torch.equal(value, scaled.learner.trainable[name])
        assert torch.equal(plain.average[name], scaled.average[name])


def copies(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The tensors as they are now."""
    return {name: value.detach().clone() for name, value in tensors.items()}


class Loud(Deep):
    """A loss some thousand times as large."""

    def compute_loss(self, batch: loop.Batch) -> torch.Tensor:
        return 2.0**12 * super().compute_loss(batch)


def test_a_scale_that_is_too_high_is_halved_until_the_gradient_is_finite() -> None:
    """More steps than may fail are passed over, and change neither the weights nor their average."""
    state = scaled_state(HIGH, Loud())
    passed, before = 0, [copies(state.learner.trainable), copies(state.average)]
    for step in loop.train_steps(state, Points(), Config(**{**vars(FEW), "steps": 40})):
        after = [copies(state.learner.trainable), copies(state.average)]
        if math.isfinite(step.norm):
            assert not same(before[0], after[0])
        else:
            passed += 1
            assert same(before[0], after[0])
            assert same(before[1], after[1])
        before = after
    assert loop.BAD < passed < 39
    assert state.scaler.get_scale() == HIGH / 2**passed


def test_a_loss_that_is_not_finite_is_trouble_at_any_scale() -> None:
    state = scaled_state(2.0**16)
    with pytest.raises(TrainingDiverged, match="at step 4"):
        train(state, Points(bad=tuple(range(20))))


def test_a_gradient_that_overflows_without_a_scale_is_trouble() -> None:
    state = scaled_state(0.5)
    for parameter in state.learner.trainable.values():
        parameter.register_hook(lambda gradient: gradient * float("inf"))
    with pytest.raises(TrainingDiverged, match="at step 4"):
        train(state)


def test_a_checkpoint_keeps_the_scale(tmp_path: Path) -> None:
    state = scaled_state(2.0**10)
    train(state)
    state.scaler.update(512.0)
    state.save(tmp_path, FEW)
    again = scaled_state(2.0**16)
    again.restore(checkpoints.find_newest(tmp_path, quiet), quiet)
    assert again.scaler.state_dict() == state.scaler.state_dict()
    assert again.scaler.state_dict()["scale"] == 512

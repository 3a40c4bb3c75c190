import os
import signal
from pathlib import Path

import pytest
import torch

import tiny
from emoscene import batches, checkpoints, training
from emoscene.errors import Failure, Usage
from emoscene.training import Config, State
from lines import FAST, MUON, Deep, Line, Points, quiet, same, state_of


def test_it_learns(tmp_path: Path) -> None:
    losses: list[float] = []
    training.run(Line(), Points(), FAST, tmp_path, tell=quiet, watch=lambda step: losses.append(step.loss))
    assert len(losses) == 24
    assert sum(losses[-6:]) < sum(losses[:6])


@pytest.mark.parametrize(("learner", "config"), [(Line, FAST), (Deep, MUON)])
def test_a_resumed_run_is_the_same_run(learner: type[Line], config: Config, tmp_path: Path) -> None:
    training.run(learner(), Points(), config, tmp_path / "whole", tell=quiet)
    state = State(learner(), config)
    for step in training.steps(state, Points(), config):
        if step.number == 7:
            break
    state.save(tmp_path / "parts", config)
    training.run(learner(), Points(), config, tmp_path / "parts", again=True, tell=quiet)
    assert same(state_of(tmp_path / "whole"), state_of(tmp_path / "parts"))


def test_micro_batches_change_nothing_but_memory(tmp_path: Path) -> None:
    whole = training.run(Line(), Points(), FAST, tmp_path / "a", tell=quiet)
    small = training.run(Line(), Points(), Config(**{**vars(FAST), "micro": 2}), tmp_path / "b", tell=quiet)
    torch.testing.assert_close(whole.state_dict(), small.state_dict(), atol=1e-5, rtol=1e-4)


def test_a_damaged_checkpoint_is_passed_over_and_named(tmp_path: Path) -> None:
    training.run(Line(), Points(), FAST, tmp_path, tell=quiet)
    expected = state_of(tmp_path)
    newest = checkpoints.found(tmp_path)[-1]
    (newest / "weights.safetensors").write_bytes(b"torn")
    told: list[str] = []
    state = State(Line(), FAST)
    state.restore(checkpoints.newest(tmp_path, told.append))
    assert "step-24" in told[0]
    assert "digest" in told[0]
    assert state.step == 20
    for _ in training.steps(state, Points(), FAST):
        pass
    assert torch.equal(state.learner.state_dict()["layer.weight"], expected["weights.layer.weight"])


def test_nothing_to_resume_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(Usage, match="nothing to resume"):
        training.run(Line(), Points(), FAST, tmp_path, again=True, tell=quiet)


def test_a_loss_that_is_not_finite_stops_before_it_does_harm(tmp_path: Path) -> None:
    state = State(Line(), FAST)
    before = {key: value.clone() for key, value in state.learner.state_dict().items()}
    with pytest.raises(Failure, match="not finite"):
        for _ in training.steps(state, Points(bad=tuple(range(20))), FAST):
            pass
    assert same(before, state.learner.state_dict())


def test_an_epoch_sees_every_row_once() -> None:
    rows = [row for step in range(10) for row in batches.indices(Points(), 0, step, 6)]
    assert sorted(rows[:20]) == sorted(rows[20:40]) == list(range(20))
    assert rows[:20] != rows[20:40]


def test_ctrl_c_saves_and_says_so(tmp_path: Path) -> None:
    def interrupt(step: training.Step) -> None:
        if step.number == 7:
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(Failure, match=r"stopped at step [78], saved"):
        training.run(Line(), Points(), FAST, tmp_path / "a", tell=quiet, watch=interrupt)
    training.run(Line(), Points(), FAST, tmp_path / "a", again=True, tell=quiet)
    training.run(Line(), Points(), FAST, tmp_path / "b", tell=quiet)
    assert same(state_of(tmp_path / "a"), state_of(tmp_path / "b"))


def test_tiny_is_deterministic(tmp_path: Path) -> None:
    from emoscene.stage import fingerprint

    assert fingerprint(tiny.make(tmp_path / "a")) == fingerprint(tiny.make(tmp_path / "b"))


def test_muon_moves_what_is_inner_and_adamw_the_rest() -> None:
    with_muon, alone = State(Deep(), MUON).optimizers, State(Deep(), FAST).optimizers
    moved = [[tuple(p.shape) for group in one.param_groups for p in group["params"]] for one in with_muon]
    assert moved == [[(1, 3), (1,), (3,)], [(3, 3)]]
    assert len(alone) == 1
    assert [group["pace"] for group in with_muon[1].param_groups] == [2.0]

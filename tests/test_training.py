import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

import tiny
from emoscene import checkpoints, training
from emoscene.errors import Failure, Usage
from emoscene.learner import Batch, Learner
from emoscene.training import Config, State

FAST = Config(steps=24, batch=6, precision="fp32", checkpoint_every=5, lr=1e-2)
MUON = Config(**{**vars(FAST), "muon": 2.0})


class Line(Learner):
    """y = w x + b, with drop-out of its own drawn from the batch."""

    reads = ("x", "y")

    def __init__(self) -> None:
        super().__init__(None)
        torch.manual_seed(0)
        self.layer = nn.Linear(3, 1)

    @classmethod
    def start(cls, config: object, base: object, data: object = None) -> "Line":
        return cls()

    def loss(self, batch: Batch) -> Tensor:
        kept = batch.uniform("drop", 3) < 0.8
        return ((self.layer(batch["x"] * kept) + batch.normal("noise", 1) * 0.01 - batch["y"]) ** 2).mean(1)


class Deep(Line):
    """A line behind a matrix that Muon moves."""

    def __init__(self) -> None:
        super().__init__()
        self.hidden = nn.Linear(3, 3)

    def inner(self, name: str) -> bool:
        return name == "hidden.weight"

    def loss(self, batch: Batch) -> Tensor:
        return ((self.layer(self.hidden(batch["x"])) - batch["y"]) ** 2).mean(1)


class Points:
    """Twenty points of a plane; `bad` rows are not finite."""

    def __init__(self, bad: tuple[int, ...] = ()) -> None:
        self.x = torch.randn(20, 3, generator=torch.Generator().manual_seed(1))
        self.y = self.x @ torch.tensor([[1.0], [-2.0], [0.5]])
        self.y[list(bad)] = float("nan")

    def __len__(self) -> int:
        return 20

    def rows(self, indices: list[int], columns: tuple[str, ...]) -> dict[str, Tensor]:
        return {"x": self.x[indices], "y": self.y[indices]}


def quiet(message: str) -> None:
    """Tell nobody."""


def state_of(folder: Path) -> dict[str, Tensor]:
    newest = checkpoints.found(folder)[-1]
    names = ("weights", "average", "moments")
    return {f"{n}.{k}": v.clone() for n in names for k, v in load_file(newest / f"{n}.safetensors").items()}


def same(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


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


def test_ctrl_c_saves_and_says_so(tmp_path: Path) -> None:
    def interrupt(step: training.Step) -> None:
        if step.number == 7:
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(Failure, match=r"stopped at step [78], saved"):
        training.run(Line(), Points(), FAST, tmp_path / "a", tell=quiet, watch=interrupt)
    training.run(Line(), Points(), FAST, tmp_path / "a", again=True, tell=quiet)
    training.run(Line(), Points(), FAST, tmp_path / "b", tell=quiet)
    assert same(state_of(tmp_path / "a"), state_of(tmp_path / "b"))


@pytest.mark.slow
def test_killed_at_any_moment_it_resumes_and_ends_equal(tmp_path: Path) -> None:
    """SIGKILL, saving included: a process that trains with a checkpoint at each step."""
    code = (
        "import sys; from pathlib import Path; sys.path.insert(0, 'tests'); import test_training as t;"
        "from emoscene import checkpoints, training; folder = Path(sys.argv[1]);"
        "c = t.Config(**{**vars(t.FAST), 'steps': 400, 'checkpoint_every': 1});"
        "again = bool(checkpoints.found(folder)); print('on', flush=True);"
        "training.run(t.Line(), t.Points(), c, folder, again=again, tell=t.quiet)"
    )
    here = Path(__file__).parent.parent

    def start(folder: Path) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-c", code, str(folder)]
        return subprocess.Popen(command, cwd=here, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)

    def finish(folder: Path) -> int:
        with start(folder) as process:
            return process.wait()

    whole, parts = tmp_path / "whole", tmp_path / "parts"
    assert finish(whole) == 0
    for kill in range(4):
        with start(parts) as process:
            assert process.stdout
            process.stdout.readline()
            time.sleep(0.05 + 0.11 * kill)
            process.kill()
    assert finish(parts) == 0
    assert same(state_of(whole), state_of(parts))


def test_tiny_is_deterministic(tmp_path: Path) -> None:
    from emoscene.stage import fingerprint

    assert fingerprint(tiny.make(tmp_path / "a")) == fingerprint(tiny.make(tmp_path / "b"))


def test_muon_moves_what_is_inner_and_adamw_the_rest() -> None:
    with_muon, alone = State(Deep(), MUON).optimizers, State(Deep(), FAST).optimizers
    moved = [[tuple(p.shape) for group in one.param_groups for p in group["params"]] for one in with_muon]
    assert moved == [[(1, 3), (1,), (3,)], [(3, 3)]]
    assert len(alone) == 1
    assert [group["pace"] for group in with_muon[1].param_groups] == [2.0]

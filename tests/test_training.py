import errno
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import tiny
from emoscene.core import config as configs
from emoscene.core import registry, run_dir, seeds
from emoscene.core.callbacks import Callbacks
from emoscene.core.errors import EmosceneError, UsageError
from emoscene.data import batches
from emoscene.diffusion.model import DiffusionModel
from emoscene.learning import checkpoints
from emoscene.learning.learner import Batch
from emoscene.learning.optimizers import schedule_rate
from emoscene.training import loop, state
from emoscene.training.state import Config, TrainingState
from lines import FAST, MUON, Deep, Line, Points, quiet, same, state_of


def test_it_learns(tmp_path: Path) -> None:
    losses: list[float] = []
    loop.run_training(
        Line(), Points(), FAST, tmp_path, callbacks=Callbacks(on_step=lambda step: losses.append(step.loss))
    )
    assert len(losses) == 24
    assert sum(losses[-6:]) < sum(losses[:6])


@pytest.mark.parametrize(("learner", "config"), [(Line, FAST), (Deep, MUON)])
def test_a_resumed_run_is_the_same_run(learner: type[Line], config: Config, tmp_path: Path) -> None:
    loop.run_training(learner(), Points(), config, tmp_path / "whole")
    state = TrainingState(learner(), config)
    for step in loop.train_steps(state, Points(), config):
        if step.number == 7:
            break
    state.save(tmp_path / "parts", config)
    loop.run_training(learner(), Points(), config, tmp_path / "parts", resume=True)
    assert same(state_of(tmp_path / "whole"), state_of(tmp_path / "parts"))


def test_micro_batches_change_nothing_but_memory(tmp_path: Path) -> None:
    whole = loop.run_training(Line(), Points(), FAST, tmp_path / "a")
    small = loop.run_training(Line(), Points(), Config(**{**vars(FAST), "micro_batch_size": 2}), tmp_path / "b")
    torch.testing.assert_close(whole.state_dict(), small.state_dict(), atol=1e-5, rtol=1e-4)


def test_a_damaged_checkpoint_is_passed_over_named_and_written_anew(tmp_path: Path) -> None:
    loop.run_training(Line(), Points(), FAST, tmp_path)
    expected, (before, newest) = state_of(tmp_path), checkpoints.list_checkpoints(tmp_path)
    (newest / "weights.safetensors").write_bytes(b"torn")
    told: list[str] = []
    loop.run_training(Line(), Points(), FAST, tmp_path, resume=True, callbacks=Callbacks(on_message=told.append))
    assert told == [
        f"skipped {newest}: weights.safetensors does not match its digest",
        f"resumed at step 20 from {before}",
    ]
    assert checkpoints.list_checkpoints(tmp_path) == [before, newest]
    assert checkpoints.find_fault(newest) is None
    assert same(state_of(tmp_path), expected)


def test_a_damaged_checkpoint_does_not_count_among_those_that_are_kept(tmp_path: Path) -> None:
    for step in range(4):
        checkpoints.save_checkpoint(tmp_path, step, {}, 9)
    (tmp_path / "step-3/state.json").write_text("{")
    checkpoints.save_checkpoint(tmp_path, 4, {}, 2)
    assert [path.name for path in checkpoints.list_checkpoints(tmp_path)] == ["step-2", "step-4"]


def test_the_time_of_earlier_sessions_counts(tmp_path: Path) -> None:
    state, again = TrainingState(Line(), FAST), TrainingState(Line(), FAST)
    state.began -= 1000
    state.save(tmp_path, FAST)
    again.restore(tmp_path / "step-0")
    assert 1000 <= again.seconds < 1100


def test_what_a_killed_run_left_half_written_is_removed(tmp_path: Path) -> None:
    torn = tmp_path / ".aside-0000000001"
    torn.mkdir()
    (torn / "model.safetensors").touch()
    loop.run_training(Line(), Points(), FAST, tmp_path)
    assert not torn.exists()


def test_nothing_to_resume_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="nothing to resume"):
        loop.run_training(Line(), Points(), FAST, tmp_path, resume=True)


def test_a_loss_that_is_not_finite_stops_before_it_does_harm(tmp_path: Path) -> None:
    state = TrainingState(Line(), FAST)
    before = {key: value.clone() for key, value in state.learner.state_dict().items()}
    with pytest.raises(EmosceneError, match="not finite"):
        for _ in loop.train_steps(state, Points(bad=tuple(range(20))), FAST):
            pass
    assert same(before, state.learner.state_dict())


def test_ctrl_c_saves_and_says_so(tmp_path: Path) -> None:
    def interrupt(step: state.Step) -> None:
        if step.number == 7:
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(EmosceneError, match=r"stopped at step [78], saved"):
        loop.run_training(Line(), Points(), FAST, tmp_path / "a", callbacks=Callbacks(on_step=interrupt))
    loop.run_training(Line(), Points(), FAST, tmp_path / "a", resume=True)
    loop.run_training(Line(), Points(), FAST, tmp_path / "b")
    assert same(state_of(tmp_path / "a"), state_of(tmp_path / "b"))


def test_tiny_is_deterministic(tmp_path: Path) -> None:
    from emoscene.core.run_dir import fingerprint_folder

    assert fingerprint_folder(tiny.make(tmp_path / "a")) == fingerprint_folder(tiny.make(tmp_path / "b"))


def test_muon_moves_what_is_inner_and_adamw_the_rest() -> None:
    with_muon, alone = TrainingState(Deep(), MUON).optimizers, TrainingState(Deep(), FAST).optimizers
    moved = [[tuple(p.shape) for group in one.param_groups for p in group["params"]] for one in with_muon]
    assert moved == [[(1, 3), (1,), (3,)], [(3, 3)]]
    assert len(alone) == 1
    assert [group["initial_lr"] for group in with_muon[1].param_groups] == [2.0 * MUON.lr]


def test_a_full_disk_is_one_sentence_and_leaves_the_last_checkpoint_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, sentence = checkpoints.save_file, r"the disk is full at .*step-10: the file to write and [\d,]+ bytes free"

    def full(*given: Any) -> None:
        if len(checkpoints.list_checkpoints(tmp_path / "parts")) == 2:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(*given)

    monkeypatch.setattr(checkpoints, "save_file", full)
    with pytest.raises(EmosceneError, match=sentence):
        loop.run_training(Line(), Points(), FAST, tmp_path / "parts")
    monkeypatch.undo()
    assert checkpoints.find_newest(tmp_path / "parts", pytest.fail).name == "step-5"
    assert not list((tmp_path / "parts").glob(".aside-*"))
    loop.run_training(Line(), Points(), FAST, tmp_path / "parts", resume=True)
    loop.run_training(Line(), Points(), FAST, tmp_path / "whole")
    assert same(state_of(tmp_path / "whole"), state_of(tmp_path / "parts"))


@pytest.mark.slow
def test_a_disk_that_is_really_full(tmp_path: Path) -> None:
    """A file system of one megabyte."""
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(tmp_path)], check=False).returncode:
        pytest.skip("no leave to mount")
    try:
        (tmp_path / "ballast").write_bytes(bytes(1_000_000))
        with pytest.raises(EmosceneError, match="the disk is full"):
            loop.run_training(Line(), Points(), FAST, tmp_path / "run")
        (tmp_path / "ballast").unlink()
        loop.run_training(
            Line(), Points(), FAST, tmp_path / "run", resume=bool(checkpoints.list_checkpoints(tmp_path / "run"))
        )
    finally:
        subprocess.run(["umount", str(tmp_path)], check=True)


def test_a_checkpoint_that_reads_back_wrong_lets_no_older_one_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep_one = Config(**{**vars(FAST), "checkpoints_total_limit": 1})
    real = run_dir.write_atomic

    def rot(path: Path, data: Any) -> None:
        real(path, data)
        if path.name == "step-10":
            (path / "weights.safetensors").write_bytes(b"rot")

    monkeypatch.setattr(run_dir, "write_atomic", rot)
    with pytest.raises(EmosceneError, match="step-10 cannot be read back"):
        loop.run_training(Line(), Points(), keep_one, tmp_path)
    assert checkpoints.find_newest(tmp_path, quiet).name == "step-5"


class Hungry(Line):
    """Runs out of memory with more than `fed` samples at a time."""

    fed = 2
    error: RuntimeError = torch.OutOfMemoryError("CUDA out of memory")

    def compute_loss(self, batch: Batch) -> Tensor:
        if len(batch) > self.fed:
            raise self.error
        return super().compute_loss(batch)


class HungryLater(Line):
    """Takes three samples at a time once, and runs out of memory over the next three."""

    def compute_loss(self, batch: Batch) -> Tensor:
        if len(batch) > 3 or (len(batch) == 3 and batch.slots[0] == 3):
            raise Hungry.error
        return super().compute_loss(batch)


ON_CPU = RuntimeError("[enforce fail at alloc_cpu.cpp:121] . DefaultCPUAllocator: can't allocate memory: you tried")


@pytest.mark.parametrize("error", [Hungry.error, ON_CPU])
def test_out_of_memory_takes_fewer_at_a_time_and_keeps_the_batch(
    error: RuntimeError, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Hungry, "error", error)
    told: list[str] = []
    losses: dict[str, list[float]] = {"plain": [], "hungry": []}
    for name, learner in {"plain": Line(), "hungry": Hungry()}.items():
        hear = Callbacks(on_message=told.append, on_step=lambda s, n=name: losses[n].append(s.loss))
        loop.run_training(learner, Points(), FAST, tmp_path / name, callbacks=hear)
    assert losses["hungry"] == pytest.approx(losses["plain"], abs=1e-5)
    assert told == [f"out of memory: {size} samples at a time from now on; the batch of 6 stays" for size in (3, 2)]


def test_what_a_try_without_enough_memory_left_of_a_gradient_does_not_count(tmp_path: Path) -> None:
    weights = []
    for learner in (Line(), HungryLater()):
        loop.run_training(learner, Points(), FAST, tmp_path / type(learner).__name__)
        weights.append(learner.layer.weight.detach())
    torch.testing.assert_close(weights[1], weights[0], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(("fed", "alone"), [(0, True), (2, False)])
def test_out_of_memory_for_good_names_what_helps(
    fed: int, alone: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Hungry, "fed", fed)
    monkeypatch.setattr(Hungry, "separable", alone)
    with pytest.raises(EmosceneError, match=r"out of memory with \d samples? at a time: checkpointing=yes"):
        loop.run_training(Hungry(), Points(), FAST, tmp_path)


def test_another_error_is_not_taken_for_want_of_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Hungry, "error", RuntimeError("the size of tensor a must match"))
    with pytest.raises(RuntimeError, match="must match"):
        loop.run_training(Hungry(), Points(), FAST, tmp_path)


class Aside(Line):
    """What is not finite stands beside what is learnt: the loss is not finite, and its gradient is."""

    def compute_loss(self, batch: Batch) -> Tensor:
        return self.layer(batch["x"]).square().mean(1) + batch["y"].mean(1)


@pytest.mark.parametrize("learner", [Line, Aside])
@pytest.mark.parametrize("average", [0.0, 0.9])
def test_a_step_that_is_not_finite_is_passed_over(learner: type[Line], average: float) -> None:
    """One bad row of twenty: the steps that see it change neither weights nor average, and the run goes on."""
    config, passed = Config(**{**vars(FAST), "batch_size": 2, "ema_decay": average}), 0
    state = TrainingState(learner(), config)

    def now() -> dict[str, Tensor]:
        weights = {name: value.clone() for name, value in state.learner.state_dict().items()}
        return weights | {f"average.{name}": value.clone() for name, value in state.average.items()}

    before = now()
    for step in loop.train_steps(state, Points(bad=(3,)), config):
        unmoved = [torch.equal(value, before[name]) for name, value in now().items() if "weight" in name]
        bad = 3 in batches.batch_indices(0, step.number - 1, 2, [range(20)])
        assert unmoved == [bad] * len(unmoved)
        assert bad == (step.loss != step.loss)
        passed += bad
        before = now()
    assert passed


def test_a_checkpoint_of_another_learner_or_base_is_refused(tmp_path: Path) -> None:
    loop.run_training(Line(), Points(), FAST, tmp_path, about={"base": "one"})
    with pytest.raises(UsageError, match=r"another learner's \(hidden.weight differs\)"):
        loop.run_training(Deep(), Points(), FAST, tmp_path, resume=True)
    with pytest.raises(UsageError, match="of another base, one and not two"):
        loop.run_training(Line(), Points(), FAST, tmp_path, resume=True, about={"base": "two"})


@pytest.mark.parametrize("schedule", ["cosine", "linear", "polynomial", "constant"])
def test_a_schedule_rises_and_falls(schedule: str) -> None:
    rates = [schedule_rate(schedule, step, 100, 0.1) for step in range(100)]
    assert rates[:10] == pytest.approx([0.1 * step for step in range(1, 11)])
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert rates[-1] == 1 if schedule == "constant" else 0.01 < rates[-1] < 0.03
    middle = {"cosine": 0.505, "linear": 0.505, "polynomial": 0.2575, "constant": 1.0}
    assert rates[55] == pytest.approx(middle[schedule])


@pytest.mark.parametrize(
    ("kind", "package", "remedy"),
    [("adamw8bit", "bitsandbytes", "bitsandbytes"), ("prodigy", "prodigyopt", "'emoscene[train]'")],
)
def test_an_optimizer_that_is_not_installed(
    kind: str, package: str, remedy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(UsageError, match=re.escape(f"not installed: pip install {remedy}")):
        TrainingState(Line(), Config(**{**vars(FAST), "optimizer": kind, "lr": 1.0}))
    if kind == "prodigy":
        with pytest.raises(UsageError, match=r"give lr=1, not lr=0\.01"):
            TrainingState(Line(), Config(**{**vars(FAST), "optimizer": kind}))


def test_prodigy_resumes_exactly(tmp_path: Path) -> None:
    """Its distance lies beside the tensors, in numbers of the groups."""
    pytest.importorskip("prodigyopt")
    config = Config(**{**vars(FAST), "optimizer": "prodigy", "lr": 1.0, "steps": 40})
    loop.run_training(Line(), Points(), config, tmp_path / "a")
    about, _ = checkpoints.read_checkpoint(tmp_path / "a/step-35")
    assert about["numbers"]["groups"][0][0]["d"] > 2e-6, "it has found that it may go faster"
    (tmp_path / "b").mkdir()
    shutil.copytree(tmp_path / "a/step-35", tmp_path / "b/step-35")
    loop.run_training(Line(), Points(), config, tmp_path / "b", resume=True)
    assert same(state_of(tmp_path / "a"), state_of(tmp_path / "b"))


@pytest.mark.parametrize("name", [name for name in registry.list_names("recipes") if name not in ("fast", "best")])
def test_a_recipe_says_how_what_it_costs_and_what_to_expect(name: str) -> None:
    learner = name.removesuffix("_sd15").removesuffix("_mini").removesuffix("_clip_probe")
    kind = "methods" if learner in registry.list_names("methods") else "encoders"
    known = {
        option.name for option in [*registry.list_options(kind, learner), *registry.list_room_options("training/state")]
    }
    table = registry.load_table("recipes", name)
    assert table.keys() <= known
    configs.read_settings([*registry.list_options(kind, learner), *registry.list_room_options("training/state")], table)
    header = [line for line in registry.source_file("recipes", name).read_text().splitlines() if line.startswith("#")]
    assert any(f"`emoscene train {learner} " in line for line in header)
    assert {"# Cost", "# Expect"} <= {line.partition(":")[0] for line in header}


def test_noise_is_drawn_by_the_readers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every random number of a step of `guidance` comes from a thread that reads ahead, and is the one asked for."""
    cls = registry.load_plugin("methods", "guidance")
    learner = cls.from_scratch(cls.Config(width=16), DiffusionModel.load(str(tiny.make(tmp_path))))
    plain, threads, derive = [], set(), seeds.derive_seeds
    for step in range(3):
        batch = Batch(tiny.columns(6), FAST.seed, step, range(6))
        plain.append((batch.normal("noise", 4, 8, 8), batch.timesteps()))

    def derive_seeds(seed: int, *words: str | int, last: Iterable[int]) -> list[int]:
        if words[0] in ("noise", "timestep"):
            threads.add(threading.current_thread())
        return derive(seed, *words, last=last)

    monkeypatch.setattr(seeds, "derive_seeds", derive_seeds)
    asked: list[Batch] = []
    compute = cls.compute_loss
    monkeypatch.setattr(cls, "compute_loss", lambda self, batch: asked.append(batch) or compute(self, batch))
    config = configs.replace_fields(FAST, {"steps": 3, "micro_batch_size": 4})
    for _ in loop.train_steps(TrainingState(learner, config), tiny.Columns(6), config):
        pass
    assert threads
    assert threading.main_thread() not in threads
    assert [len(batch) for batch in asked] == [4, 2] * 3
    for step, (noise, times) in enumerate(plain):
        parts = asked[2 * step : 2 * step + 2]
        assert torch.equal(torch.cat([part.normal("noise", 4, 8, 8) for part in parts]), noise)
        assert torch.equal(torch.cat([part.timesteps() for part in parts]), times)


def test_a_sample_draws_the_same_alone_and_in_any_batch() -> None:
    """To the bit what torch's own functions draw from the sample's generator."""
    batch = Batch({}, 3, 7, [0, 2, 5])
    for place, slot in enumerate(batch.slots):
        draw = seeds.torch_generator(3, "offset", 7, slot)
        assert torch.equal(batch.normal("offset", 1)[place], torch.randn(1, generator=draw))
        draw = seeds.torch_generator(3, "noise", 7, slot)
        assert torch.equal(batch.normal("noise", 4, 6, 5)[place], torch.randn(4, 6, 5, generator=draw))
        draw = seeds.torch_generator(3, "timestep", 7, slot)
        assert torch.equal(batch.uniform("timestep")[place], torch.rand((), generator=draw))
        alone = Batch({}, 3, 7, [slot])
        assert torch.equal(alone.normal("noise", 4, 6, 5)[0], batch.normal("noise", 4, 6, 5)[place])


def test_a_users_copy_beside_the_checkpoints_is_no_checkpoint_and_stays(tmp_path: Path) -> None:
    loop.run_training(Line(), Points(), FAST, tmp_path)
    for name in ("step-3.bak", "step-x", "step-03"):
        (tmp_path / name).mkdir()
    (tmp_path / "step-7").write_text("a file")
    found = [target.name for target in checkpoints.list_checkpoints(tmp_path)]
    assert found and all(checkpoints.NAME.fullmatch(name) for name in found) and "step-7" not in found
    loop.run_training(Line(), Points(), FAST, tmp_path, resume=True)
    checkpoints.remove_all(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-03", "step-3.bak", "step-7", "step-x"]


@pytest.mark.parametrize(
    "change",
    [
        {"numbers": None},
        {"numbers": {}},
        {"numbers": {"state": {}, "groups": []}},
        {"numbers": {"state": {}, "groups": [[5]]}},
        {"numbers": {"state": {}, "groups": [[]]}},
        {"seconds": "x"},
        {"processes": []},
        {"about": None},
        {"sha256": {}},
    ],
)
def test_a_checkpoint_that_is_whole_and_says_odd_things_is_one_sentence(change: dict, tmp_path: Path) -> None:
    loop.run_training(Line(), Points(), FAST, tmp_path)
    for target in checkpoints.list_checkpoints(tmp_path):
        state = json.loads((target / "state.json").read_text())
        (target / "state.json").write_text(json.dumps(state | change))
    with pytest.raises(EmosceneError, match=r"take that checkpoint away|delete that folder"):
        loop.run_training(Line(), Points(), FAST, tmp_path, resume=True)


def test_where_every_checkpoint_is_damaged_the_way_out_is_said(tmp_path: Path) -> None:
    folder = tmp_path / "checkpoints"
    loop.run_training(Line(), Points(), FAST, folder)
    for target in checkpoints.list_checkpoints(folder):
        (target / "state.json").write_text('{"sha256": 5}')
    heard: list[str] = []
    with pytest.raises(EmosceneError, match="delete that folder, then the same call without --resume begins anew"):
        checkpoints.find_newest(folder, heard.append)
    assert all("state.json is damaged (step is missing)" in sentence for sentence in heard)
    shutil.rmtree(folder)
    loop.run_training(Line(), Points(), FAST, folder)
    assert checkpoints.find_newest(folder, heard.append)


@pytest.mark.parametrize("text", ["", "[]", "null", '{"sha256": {"../x": "0"}, "step": 1}', "[" * 50_000])
def test_a_checkpoint_whose_state_is_off_has_a_fault(text: str, tmp_path: Path) -> None:
    (tmp_path / "step-1").mkdir()
    (tmp_path / "step-1/state.json").write_text(text)
    assert checkpoints.find_fault(tmp_path / "step-1")

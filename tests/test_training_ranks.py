"""Several processes over gloo, which share a batch and are one run."""

import multiprocessing
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

import emoscene
import tiny
from emoscene.core import run_dir
from emoscene.core.callbacks import Callbacks
from emoscene.core.errors import EmosceneError
from emoscene.data.preparation import prepare
from emoscene.learning import checkpoints
from emoscene.training import loop
from emoscene.training.callbacks import TrainingCallbacks
from emoscene.training.state import Config, TrainingState
from lines import FAST, Deep, Points, quiet, state_of

Server = multiprocessing.context.ForkServerContext


def port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


class Apart(Deep):
    """Begins with other weights in each process."""

    def __init__(self) -> None:
        super().__init__()
        nn.init.constant_(self.layer.bias, float(os.environ.get("RANK", "0")))


def work(folder: Path, settings: dict[str, Any], env: dict[str, str], told: Any, kind: type[Deep] = Deep) -> None:
    torch.set_num_threads(1)
    os.environ |= env
    losses: list[float] = []
    sentences: list[str] = []
    config, again = Config(**{**vars(FAST), **settings}), bool(checkpoints.list_checkpoints(folder))
    hear = Callbacks(on_message=sentences.append, on_step=lambda s: losses.append(s.loss))
    loop.run_training(kind(), Points(), config, folder, resume=again, callbacks=hear)
    ranks = torch.distributed.get_world_size() if torch.distributed.is_initialized() else 1
    told.put((ranks, losses, sentences))


def decide(folder: Path, settings: dict[str, Any], env: dict[str, str], told: Any, kind: type[Deep]) -> None:
    """Ask whether to stop; the first process alone has the history that says so."""
    torch.set_num_threads(1)
    os.environ |= env
    state = TrainingState(kind(), Config(**{**vars(FAST), **settings}))
    state.step = 5
    own = folder / env["RANK"]
    own.mkdir(parents=True)
    if env["RANK"] == "0":
        rows = [{"step": step, "loss": {"all": float(step)}} for step in (0, 5)]
        (own / run_dir.HISTORY).write_bytes(run_dir.to_jsonl(rows))
    enough = TrainingCallbacks(own, state.config, None, None, quiet).on_step_end(state)
    told.put((state.num_processes, [float(enough)], []))


def together(
    server: Server, folder: Path, ranks: int, kind: type[Deep] = Deep, do: Any = work, **settings: Any
) -> list[tuple[int, list[float], list[str]]]:
    """Train in so many processes; of each the ranks it saw, the losses, and what it told."""
    shared = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port()), "WORLD_SIZE": str(ranks)}
    told, hands = server.Queue(), []
    for rank in range(ranks):
        env = {**shared, "RANK": str(rank), "LOCAL_RANK": str(rank), "LOCAL_WORLD_SIZE": str(ranks)}
        hands.append(server.Process(target=do, args=(folder, settings, env if ranks > 1 else {}, told, kind)))
        hands[-1].start()
    found = [told.get(timeout=60) for _ in hands]
    for hand in hands:
        hand.join(60)
        assert hand.exitcode == 0
    assert [ranks] * ranks == [seen for seen, _, _ in found], "each has to see them all"
    return found


def close(one: Path, other: Path) -> None:
    a, b = state_of(one), state_of(other)
    assert a.keys() == b.keys()
    for key in a:
        torch.testing.assert_close(a[key], b[key], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("batch", [6, 5])
def test_two_ranks_are_one_with_the_same_global_batch(server: Server, batch: int, tmp_path: Path) -> None:
    [(_, alone, _)] = together(server, tmp_path / "one", 1, batch_size=batch)
    both = together(server, tmp_path / "two", 2, batch_size=batch)
    for _, losses, _ in both:
        assert losses == pytest.approx(alone, abs=1e-5)
    close(tmp_path / "one", tmp_path / "two")


def test_all_processes_begin_with_the_weights_of_the_first(server: Server, tmp_path: Path) -> None:
    [(_, alone, _)] = together(server, tmp_path / "one", 1, Apart)
    for _, losses, _ in together(server, tmp_path / "two", 2, Apart):
        assert losses == pytest.approx(alone, abs=1e-5)
    close(tmp_path / "one", tmp_path / "two")


def test_whether_it_is_enough_is_for_the_first_process_to_say(server: Server, tmp_path: Path) -> None:
    verdicts = together(server, tmp_path, 2, do=decide, patience=1)
    assert [enough for _, [enough], _ in verdicts] == [1.0, 1.0]


def test_another_number_of_processes_goes_on(server: Server, tmp_path: Path) -> None:
    [(_, whole, _)] = together(server, tmp_path / "one", 1)
    [(_, first, _)] = together(server, tmp_path / "parts", 1, steps=24, checkpoint_every=12)
    assert first == whole
    (tmp_path / "parts/step-24").rename(tmp_path / "later")
    both = together(server, tmp_path / "parts", 2)
    assert {True} == {"2 processes go on with what 1 began: the global batch stays" in told for _, _, told in both}
    for _, rest, _ in both:
        assert rest == pytest.approx(whole[12:], abs=1e-5)
    close(tmp_path / "one", tmp_path / "parts")


def test_a_launcher_that_accelerate_does_not_see_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    TrainingState(Deep(), FAST)
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(EmosceneError, match="WORLD_SIZE is 2 and Accelerate sees 1"):
        TrainingState(Deep(), FAST)


@pytest.mark.slow
@pytest.mark.parametrize("machines", [1, 2])
def test_two_processes_make_what_one_makes(machines: int, tmp_path: Path) -> None:
    """By the command line under torchrun: two processes of one machine, or one each of two that meet by loopback."""
    base = str(tiny.make(tmp_path / "base"))
    data = prepare("mini", out=tmp_path / "prepared", limit=24, base=base, workers=0, on_message=quiet)
    few = {"steps": 6, "batch_size": 4, "precision": "fp32", "rank": 2}
    one = emoscene.train("lora", data=data, out=tmp_path / "one", base=base, on_message=quiet, **few)
    here = [f"--nnodes={machines}", f"--nproc_per_node={2 // machines}", "--rdzv-backend=c10d", "--rdzv-id=two"]
    torchrun = [sys.executable, "-m", "torch.distributed.run", *here, f"--rdzv-endpoint=127.0.0.1:{port()}"]
    words = [*(f"{key}={value}" for key, value in few.items()), "--data", str(data), "--base", base]
    command = [*torchrun, "-m", "emoscene", "train", "lora", *words, "--out", str(tmp_path / "two")]
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    launches = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=env) for _ in range(machines)]
    told = [launch.communicate(timeout=300)[1] for launch in launches]
    assert [launch.returncode for launch in launches] == [0] * machines, told
    said = sum(text.count("lora: 6 steps") for text in told)
    assert said == 2, "each rank says what it does, so the count is of real ranks"
    a, b = (load_file(folder / "adapter_model.safetensors") for folder in (one, tmp_path / "two"))
    for key in a:  # stored in half precision: one unit of the last of ten bits apart, where rounding falls otherwise
        torch.testing.assert_close(a[key].float(), b[key].float(), atol=1e-5, rtol=2**-10)
    assert run_dir.read_manifest(tmp_path / "two", "artifact")["state"] == "done"

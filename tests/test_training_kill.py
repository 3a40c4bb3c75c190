"""A trainer that is killed at any moment, checkpoints being written included, resumes and ends equal, bit for bit."""

import multiprocessing
import random
import signal
import time
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pytest
import torch

from emoscene import checkpoints, training
from emoscene.training import Config
from lines import MUON, Deep, Points, quiet, same, state_of


def work(folder: Path, steps: int, begun: Any) -> None:
    torch.set_num_threads(1)
    config = Config(**{**vars(MUON), "steps": steps, "checkpoint_every": 1})
    begun.set()
    training.run(Deep(), Points(), config, folder, again=bool(checkpoints.found(folder)), tell=quiet)


def start(server: multiprocessing.context.ForkServerContext, folder: Path, steps: int) -> BaseProcess:
    begun = server.Event()
    process: BaseProcess = server.Process(target=work, args=(folder, steps, begun))
    process.start()
    assert begun.wait(60)
    return process


def prove(server: multiprocessing.context.ForkServerContext, folder: Path, times: int, steps: int) -> None:
    """One run undisturbed, and one killed `times` times, at moments spread over as long as the first took."""
    began = time.monotonic()
    start(server, folder / "whole", steps).join()
    seconds, dice, writing = time.monotonic() - began, random.Random(times), 0
    for hit in range(times):
        process = start(server, folder / "parts", steps)
        time.sleep(dice.uniform(0, 1.2 * seconds / times))
        process.kill()
        process.join()
        assert process.exitcode == -signal.SIGKILL, f"it was done before kill {hit + 1}: give it more steps"
        writing += any((folder / "parts").glob(".aside-*"))
    last = start(server, folder / "parts", steps)
    last.join()
    assert last.exitcode == 0
    print(f"killed {times} times, {writing} of them while a checkpoint was being written")
    assert same(state_of(folder / "whole"), state_of(folder / "parts"))


def test_killed_three_times_it_ends_equal(server: multiprocessing.context.ForkServerContext, tmp_path: Path) -> None:
    prove(server, tmp_path, 3, 40)


@pytest.mark.slow
def test_killed_sixty_times_it_ends_equal(server: multiprocessing.context.ForkServerContext, tmp_path: Path) -> None:
    prove(server, tmp_path, 60, 900)

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

import emoscene
import tiny
from emoscene.core import registry, run_dir
from emoscene.data.preparation import prepare
from emoscene.learning import checkpoints
from emoscene.training import loop
from emoscene.training.state import Config
from lines import MUON, Deep, Points, quiet, same, state_of


def work(folder: Path, steps: int, begun: Any) -> None:
    torch.set_num_threads(1)
    config = Config(**{**vars(MUON), "steps": steps, "checkpoint_every": 1})
    begun.set()
    loop.run_training(Deep(), Points(), config, folder, resume=bool(checkpoints.list_checkpoints(folder)))


def start(server: multiprocessing.context.ForkServerContext, folder: Path, steps: int) -> BaseProcess:
    begun = server.Event()
    process: BaseProcess = server.Process(target=work, args=(folder, steps, begun))
    process.start()
    assert begun.wait(60)
    return process


def prove(server: multiprocessing.context.ForkServerContext, folder: Path, times: int, steps: int) -> int:
    """One run undisturbed, and one killed `times` times, at moments spread over as long as the first took.

    Returns how many kills fell while a checkpoint was being written.
    """
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
    assert same(state_of(folder / "whole"), state_of(folder / "parts"))
    return writing


def test_killed_three_times_it_ends_equal(server: multiprocessing.context.ForkServerContext, tmp_path: Path) -> None:
    prove(server, tmp_path, 3, 40)


@pytest.mark.slow
def test_killed_sixty_times_it_ends_equal(
    server: multiprocessing.context.ForkServerContext, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    writing = prove(server, tmp_path, 60, 900)
    with capsys.disabled():
        print(f"\nkilled 60 times, {writing} of them while a checkpoint was being written")


SMALL = {
    "lora": {"rank": 2},
    "inversion": {},
    "guidance": {"width": 16},
    "multimodal": {},
    "judge": {"pretrained": "", "side": 32, "width": 16, "layers": 1, "heads": 2},
    "emotion_clip": {"side": 32, "width": 16, "layers": 1, "text_width": 16, "text_layers": 1, "heads": 2},
    "captioner": {"side": 32, "width": 16, "layers": 1, "heads": 2, "text_width": 16, "text_layers": 1},
}
"""Everything that learns, small."""


def verb(name: str, call: dict[str, Any], begun: Any) -> None:
    torch.set_num_threads(1)
    resume = bool(checkpoints.list_checkpoints(call["out"] / "checkpoints"))
    begun.set()
    emoscene.train(name, **call, **SMALL[name], resume=resume, on_message=quiet)


@pytest.fixture(scope="module")
def call(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A base, data with all that anything learns from, and settings."""
    base, clip = (
        str(tiny.make(tmp_path_factory.mktemp("base"))),
        str(registry.package_folder("bases", "mini") / "weights/emotion_clip"),
    )
    out = tmp_path_factory.mktemp("data") / "prepared"
    data = prepare("mini", out=out, limit=40, base=base, workers=0, judges=0.3, emotion_clip=clip, on_message=quiet)
    return {"data": data, "base": base, "steps": 30, "batch_size": 4, "precision": "fp32", "checkpoint_every": 1}


@pytest.mark.slow
@pytest.mark.parametrize("name", SMALL)
def test_whatever_learns_ends_equal_when_its_verb_is_killed(
    server: multiprocessing.context.ForkServerContext, call: dict[str, Any], tmp_path: Path, name: str
) -> None:
    """Killed five times in the time that an undisturbed run took; the artifacts have one fingerprint."""

    def begin(folder: str) -> BaseProcess:
        begun = server.Event()
        process: BaseProcess = server.Process(target=verb, args=(name, {**call, "out": tmp_path / folder}, begun))
        process.start()
        assert begun.wait(60)
        return process

    began = time.monotonic()
    begin("whole").join()
    seconds, dice, left = time.monotonic() - began, random.Random(name), 0
    for _ in range(5):
        process = begin("parts")
        process.join(dice.uniform(0.2, 0.7) * seconds)
        left += process.exitcode is None
        process.kill()
        process.join()
    last = begin("parts")
    last.join()
    assert last.exitcode == 0
    assert left > 0, "it was never in the middle of its work when it was killed"
    assert (
        run_dir.read_manifest(tmp_path / "whole")["fingerprint"]
        == run_dir.read_manifest(tmp_path / "parts")["fingerprint"]
    )


def test_all_that_learns_is_killed() -> None:
    kinds = {
        name: registry.load_plugin(kind, name) for kind in ("methods", "encoders") for name in registry.list_names(kind)
    }
    assert SMALL.keys() == {name for name, cls in kinds.items() if cls.columns}

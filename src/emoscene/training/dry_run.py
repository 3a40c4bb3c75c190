"""What a run will take, before it is begun: passes over the data, memory, disk, and time by a few real steps."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import timedelta
from itertools import islice
from pathlib import Path

import torch

from emoscene.core.errors import EmosceneError
from emoscene.core.plain_text import format_bytes, format_count
from emoscene.data.batches import Data
from emoscene.diffusion.device_choice import peak_device_memory
from emoscene.learning.learner import Learner
from emoscene.learning.precision import peak_memory
from emoscene.training.loop import train_steps
from emoscene.training.state import Config, TrainingState

WARM, TRIED = 2, 3  # steps
PASSES = 100  # times that each image is seen at most, where the number of steps is proposed
LEAST = 200  # steps that are proposed
LOOKS = 8  # validations of a run whose steps are proposed


def propose_steps(config: Config, images: int) -> Config:
    """Propose as many steps as suit the data: a recipe's suit a large set, and a small one is learnt by heart in them.

    Trainers of LoRAs show each image about a hundred times.

    Args:
        config: How it trains; its `steps` are the most that are proposed.
        images: The number of images that it learns from.

    Returns:
        The settings with at most `PASSES` passes over the data, but `LEAST` steps where that is less, and at least
        `LOOKS` validations; as they were where the steps are no more than that.
    """
    steps = max(LEAST, PASSES * images // config.batch_size)
    if steps >= config.steps:
        return config
    return replace(config, steps=steps, validate_every=min(config.validate_every, max(1, steps // LOOKS)))


def suit_steps(config: Config, images: int, on_message: Callable[[str], None]) -> Config:
    """Take as many steps as suit the data, and say so where they are fewer than the recipe's.

    Args:
        config: How it trains.
        images: The number of images that it learns from.
        on_message: Receives the sentence.

    Returns:
        The settings of `propose_steps`.
    """
    suited = propose_steps(config, images)
    if suited != config:
        passes = suited.steps * suited.batch_size / images
        on_message(
            f"{format_count(suited.steps, 'step suits', 'steps suit')} {format_count(images, 'image')}, each seen "
            f"{format_count(passes, 'time', spec='.0f')}, better than the recipe's "
            f"{config.steps}: steps=N sets another number"
        )
    return suited


def estimate_disk(learner: Learner, config: Config) -> tuple[int, int]:
    """Estimate the disk that a run takes.

    Args:
        learner: What trains.
        config: How.

    Returns:
        Bytes of the checkpoints while it runs, one that is being written among them; and bytes of the learner that is
        kept in the end.
    """
    kept = weights = trained = 0
    for value in learner.state_dict().values():
        kept += value.numel() * learner.save_dtype.itemsize
        weights += value.numel() * value.element_size()
    for parameter in learner.trainable.values():
        trained += 4 * parameter.numel()
    copies = 2 + (config.ema_decay > 0) + config.keeps_best  # AdamW's two moments, the average, the best
    return (config.checkpoints_total_limit + 1) * (weights + copies * trained), kept


def check_disk_space(learner: Learner, config: Config, folder: Path) -> None:
    """Check that the disk has room for the run.

    Args:
        learner: What trains.
        config: How.
        folder: On the disk in question; it exists.

    Raises:
        EmosceneError: It clearly has none.
    """
    wanted, free = sum(estimate_disk(learner, config)), shutil.disk_usage(folder).free
    if wanted > free:
        raise EmosceneError(
            f"{folder} has {format_bytes(free)} free, and checkpoints take {format_bytes(wanted)}: make room, "
            "or set checkpoints_total_limit=1"
        )


def report_lines(
    learner: Learner,
    data: Data,
    config: Config,
    folder: Path,
    cautions: Sequence[str] = (),
    device: torch.device | None = None,
) -> Iterator[str]:
    """Estimate a run by a few real steps: the report of `--dry-run`.

    Args:
        learner: What would train; it is not the same afterwards.
        data: What it would learn from.
        config: How.
        folder: Where the run would be; nothing is written.
        cautions: Sentences that `cautions` has on it.
        device: Where it computes; the best there is if left out.

    Yields:
        Sentences on steps, memory, disk and time, and then the cautions.
    """
    there = folder.absolute()
    while not there.exists():
        there = there.parent
    while_running, kept = estimate_disk(learner, config)
    state = TrainingState(learner, config, device=device)
    seconds, began = [], time.perf_counter()
    for step in islice(train_steps(state, data, config), WARM + TRIED):
        loss = step.loss
        seconds.append(time.perf_counter() - began)
        began = time.perf_counter()
    each = sorted(seconds[min(WARM, len(seconds) - 1) :])[len(seconds[WARM:]) // 2]
    passes = config.steps * config.batch_size / len(data)
    yield f"steps: {config.steps} of {config.batch_size}, {passes:.1f} times {format_count(len(data), 'image')}"
    memory = peak_device_memory(state.accelerator.device) or peak_memory()
    at_once = state.micro or config.batch_size // state.num_processes
    yield f"memory: {format_bytes(memory)} so far, {format_count(at_once, 'sample')} at a time"
    free = format_bytes(shutil.disk_usage(there).free)
    yield f"disk: {format_bytes(while_running)} while it runs, {format_bytes(kept)} in the end; {free} are free"
    yield (
        f"time: about {timedelta(seconds=round(each * config.steps))} here, {each:.3f} s a step, "
        f"{format_count(config.batch_size / each, 'image', spec='.0f')} a second; the loss is {loss:.4f}"
    )
    for sentence in cautions:
        yield f"take care: {sentence}"

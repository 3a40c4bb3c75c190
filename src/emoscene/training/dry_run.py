"""What a run will take, before it is begun: passes over the data, memory, disk, and time by a few real steps."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from datetime import timedelta
from itertools import islice
from pathlib import Path

import torch

from emoscene.core.errors import EmosceneError
from emoscene.data.batches import Data
from emoscene.learning.learner import Learner
from emoscene.learning.precision import peak_memory
from emoscene.training.loop import train_steps
from emoscene.training.state import Config, TrainingState

WARM, TRIED = 2, 3  # steps


def estimate_disk(learner: Learner, config: Config) -> tuple[int, int]:
    """Bytes of the checkpoints while it runs, one that is being written among them, and of the learner that is kept."""
    kept = sum(value.numel() for value in learner.state_dict().values()) * learner.save_dtype.itemsize
    weights = sum(value.numel() * value.element_size() for value in learner.state_dict().values())
    trained = 4 * sum(p.numel() for p in learner.trainable.values())
    copies = 2 + (config.ema_decay > 0) + (config.patience > 0)  # AdamW's two moments, the average, the best
    return (config.checkpoints_total_limit + 1) * (weights + copies * trained), kept


def check_disk_space(learner: Learner, config: Config, folder: Path) -> None:
    """Raises Failure where the disk has clearly no room for the run."""
    wanted, free = sum(estimate_disk(learner, config)), shutil.disk_usage(folder).free
    if wanted > free:
        raise EmosceneError(
            f"{folder} has {_format_bytes(free)} free, and checkpoints take {_format_bytes(wanted)}: make room, "
            "or set checkpoints_total_limit=1"
        )


def report_lines(learner: Learner, data: Data, config: Config, folder: Path) -> Iterator[str]:
    """The report of `--dry-run`; the learner is not the same afterwards, and nothing is written."""
    there = next(parent for parent in [folder, *folder.absolute().parents] if parent.exists())
    while_running, kept = estimate_disk(learner, config)
    state = TrainingState(learner, config)
    seconds, began = [], time.perf_counter()
    for step in islice(train_steps(state, data, config), WARM + TRIED):
        loss = step.loss
        seconds.append(time.perf_counter() - began)
        began = time.perf_counter()
    each = sorted(seconds[min(WARM, len(seconds) - 1) :])[len(seconds[WARM:]) // 2]
    pictures = config.steps * config.batch_size
    yield f"steps: {config.steps} of {config.batch_size}, {pictures / len(data):.1f} times {len(data)} pictures"
    memory = torch.cuda.max_memory_allocated() if torch.cuda.is_available() else peak_memory()
    at_once = state.micro or config.batch_size // state.num_processes
    yield f"memory: {_format_bytes(memory)} so far, {at_once} samples at a time"
    free = _format_bytes(shutil.disk_usage(there).free)
    yield f"disk: {_format_bytes(while_running)} while it runs, {_format_bytes(kept)} in the end; {free} are free"
    yield (
        f"time: about {timedelta(seconds=round(each * config.steps))} here, {each:.3f} s a step, "
        f"{config.batch_size / each:.0f} pictures a second; the loss is {loss:.4f}"
    )


def _format_bytes(number: float) -> str:
    return f"{number / 1e9:.1f} GB" if number >= 1e9 else f"{number / 1e6:.1f} MB"

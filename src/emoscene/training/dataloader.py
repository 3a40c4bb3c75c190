"""Batches that are there before the loop asks: threads read ahead while the device computes.

What a step reads is a pure function of (seed, step, slot), which `data.batches` has; so nothing that was read ahead is
lost when a run is killed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch

from emoscene.core import run_dir
from emoscene.data.batches import Data, read_batch
from emoscene.learning.learner import Batch, move_to_device

AHEAD = 3  # batches read ahead by each thread


def prefetch_batches(
    data: Data,
    columns: Sequence[str],
    steps: range,
    size: int,
    seed: int,
    *,
    slots: Sequence[int],
    device: torch.device | str = "cpu",
    num_workers: int = 1,
) -> Iterator[Batch]:
    """One process's part of each step's batch: the samples in `slots` of its `size`, read ahead by `num_workers`."""

    def read(step: int) -> Batch:
        _, found = read_batch(data, columns, seed, step, size, slots)
        return Batch({name: move_to_device(value, device) for name, value in found.items()}, seed, step, slots, device)

    return run_dir.prefetch_map(read, steps, num_workers, AHEAD)

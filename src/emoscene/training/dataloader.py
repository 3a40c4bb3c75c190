"""Batches that are there before the loop asks: threads read ahead, and draw noise, while the device computes.

What a step reads and draws is a pure function of (seed, step, slot), which `data.batches` and `learner.Batch` have; so
nothing that was read ahead is lost when a run is killed. Torch draws without Python's lock: two threads draw twice as
much as one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch

from emoscene.core import processes
from emoscene.data.batches import Data, read_batch
from emoscene.learning.learner import Batch

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
    draw_ahead: Callable[[Batch], None] | None = None,
) -> Iterator[Batch]:
    """Read one process's part of each step's batch, ahead of the step.

    Args:
        data: The samples.
        columns: What to read of them.
        steps: The steps' numbers, from 0 on.
        size: The samples of a step, over all processes.
        seed: Of the order and of the samples' own randomness.
        slots: This process's places among a step's samples, each in 0 .. size - 1.
        device: Where the columns go.
        num_workers: Threads that read.
        draw_ahead: Draws a batch's random numbers where it was read, such as a learner's `draw_ahead`.

    Returns:
        The batches, in the steps' order.
    """

    def read(step: int) -> Batch:
        _, values = read_batch(data, columns, seed, step, size, slots)
        batch = Batch(values, seed, step, slots)
        if draw_ahead is not None:
            draw_ahead(batch)
        return batch.to(device)

    return processes.prefetch_map(read, steps, num_workers, AHEAD)

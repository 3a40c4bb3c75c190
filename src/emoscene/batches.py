"""Which rows a step sees, and how they are there before it asks.

The rows of a step are a function of (seed, step): epoch after epoch, each in an order of its own. So there is no
loader's state to save, nothing to wind forward when a run resumes, and any number of processes agree on who reads what.
`feed` reads a few batches ahead in threads while the device computes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from emoscene import seeds, stage
from emoscene.learner import Batch, placed

AHEAD = 3  # batches read ahead by each thread


class Data(Protocol):
    """What training reads from: some rows' columns, as tensors [B, ...] or lists."""

    def __len__(self) -> int: ...

    def rows(self, indices: Sequence[int], columns: Sequence[str]) -> dict[str, Any]:
        """The named columns of these rows."""


@runtime_checkable
class Dealt(Protocol):
    """Data that deal their batches themselves, because a batch holds pictures of one shape."""

    def indices(self, seed: int, step: int, batch: int) -> list[int]:
        """The rows of a step's global batch; a pure function."""


@lru_cache(maxsize=2)
def _order(seed: int, epoch: int, size: int) -> Tensor:
    return torch.randperm(size, generator=seeds.generator(seed, "order", epoch))


def indices(data: Data, seed: int, step: int, batch: int) -> list[int]:
    """The rows of a step's global batch."""
    if isinstance(data, Dealt):
        return data.indices(seed, step, batch)
    places, size = range(step * batch, (step + 1) * batch), len(data)
    return [int(_order(seed, place // size, size)[place % size]) for place in places]


def feed(
    data: Data,
    columns: Sequence[str],
    steps: range,
    batch: int,
    seed: int,
    *,
    slots: Sequence[int],
    device: torch.device | str = "cpu",
    readers: int = 1,
) -> Iterator[Batch]:
    """One process's part of each step's batch, the samples in `slots` of the global one, read ahead by `readers`."""

    def read(step: int) -> Batch:
        rows = indices(data, seed, step, batch)
        found = data.rows([rows[slot] for slot in slots], columns)
        return Batch({name: placed(value, device) for name, value in found.items()}, seed, step, slots, device)

    return stage.ahead(read, steps, readers, AHEAD)

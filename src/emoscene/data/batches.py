"""What a training step reads: a pure function of (seed, step, slot), so that no loader's state exists to be lost.

Epoch after epoch each row comes once, in an order of the epoch's own. A batch holds rows of one shape. Each shape is an
endless stream of its rows, cut into batches; by the end of epoch e a shape of n rows has given floor(e n / batch) of
them, and within an epoch the shapes' batches are shuffled. So every row is drawn as often as any other, whatever the
sizes of the shapes, and no step needs to know what an earlier one drew.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Protocol

import torch
from torch import Tensor

from emoscene.core import seeds


class Data(Protocol):
    """What training reads from: some rows' columns, as tensors [B, ...] or lists.

    It may also have `group_by_shape`, lists of the rows that go together in a batch, and `flips`: whether `read` takes
    `mirrored`, the rows to be mirrored.
    """

    def __len__(self) -> int: ...

    def read(self, indices: Sequence[int], columns: Sequence[str]) -> dict[str, Any]:
        """The named columns of these rows."""


def read_batch(
    data: Data, columns: Sequence[str], seed: int, step: int, size: int, slots: Sequence[int]
) -> tuple[list[int], dict[str, Any]]:
    """The rows in these slots of a step's batch of `size`, and the columns of each."""
    drawn = batch_indices(seed, step, size, group_by_shape(data))
    rows = [drawn[slot] for slot in slots]
    if not getattr(data, "flips", False):
        return rows, data.read(rows, columns)
    dice = (torch.rand((), generator=seeds.torch_generator(seed, "mirror", step, slot)) for slot in slots)
    mirrored = [bool(die < 0.5) for die in dice]
    return rows, data.read(rows, columns, mirrored)  # type: ignore[call-arg]


def group_by_shape(data: Data) -> Sequence[Sequence[int]]:
    """The rows of each shape; all of them where the data know of none."""
    found: Sequence[Sequence[int]] | None = getattr(data, "rows_by_shape", None)
    return [range(len(data))] if found is None else found


def batch_indices(seed: int, step: int, batch: int, shapes: Sequence[Sequence[int]]) -> list[int]:
    """The rows of a step's global batch, all of one shape; shapes: the rows of each."""
    counts = tuple(map(len, shapes))
    latest = (step + len(counts)) * batch // sum(counts) + 1
    epoch = bisect_right(range(latest + 1), step, key=lambda epoch: _batches_before(epoch, batch, counts)) - 1
    turns = _shape_order(seed, epoch, batch, counts)
    turn = step - _batches_before(epoch, batch, counts)
    shape = int(turns[turn])
    rows, count = shapes[shape], counts[shape]
    first = (epoch * count // batch + int((turns[:turn] == shape).sum())) * batch
    places = range(first, first + batch)
    return [int(rows[int(_permutation(seed, "order", place // count, count)[place % count])]) for place in places]


def _batches_before(epoch: int, batch: int, counts: Sequence[int]) -> int:
    """How many batches come before an epoch."""
    return sum(epoch * count // batch for count in counts)


@lru_cache(maxsize=2)
def _shape_order(seed: int, epoch: int, batch: int, counts: tuple[int, ...]) -> Tensor:
    """The shape of each batch of an epoch."""
    own = [(epoch + 1) * count // batch - epoch * count // batch for count in counts]
    turns = torch.repeat_interleave(torch.tensor(own))
    return turns[_permutation(seed, "shapes", epoch, len(turns))]


@lru_cache(maxsize=16)
def _permutation(seed: int, word: str, epoch: int, size: int) -> Tensor:
    return torch.randperm(size, generator=seeds.torch_generator(seed, word, epoch))

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

    It may also have `rows_by_shape`, lists of the rows that go together in a batch, and `flips`: whether `read` takes
    `mirrored`, the rows to be mirrored.
    """

    def __len__(self) -> int: ...

    def read(self, indices: Sequence[int], columns: Sequence[str]) -> dict[str, Any]:
        """Read the named columns of some rows.

        Args:
            indices: The rows [B], each from 0 to len - 1.
            columns: The names of the columns.

        Returns:
            For each column a tensor [B, ...] or a list of B values.
        """


def read_batch(
    data: Data, columns: Sequence[str], seed: int, step: int, size: int, slots: Sequence[int]
) -> tuple[list[int], dict[str, Any]]:
    """Read what one process needs of a training step.

    Args:
        data: What to read from.
        columns: The names of the columns.
        seed: The seed of the run.
        step: The step, from 0.
        size: The size of the global batch.
        slots: The places in the global batch that this process computes, each from 0 to size - 1.

    Returns:
        The rows in these slots, and the columns of each.
    """
    drawn = batch_indices(seed, step, size, group_by_shape(data))
    rows = [drawn[slot] for slot in slots]
    if not getattr(data, "flips", False):
        return rows, data.read(rows, columns)
    mirrored = []
    for slot in slots:
        generator = seeds.torch_generator(seed, "mirror", step, slot)
        mirrored.append(bool(torch.rand((), generator=generator) < 0.5))
    return rows, data.read(rows, columns, mirrored)  # type: ignore[call-arg]


def group_by_shape(data: Data) -> Sequence[Sequence[int]]:
    """List which rows may go together in a batch.

    Args:
        data: What training reads from.

    Returns:
        The rows of each latent shape; one list of all rows where the data has no shapes.
    """
    rows: Sequence[Sequence[int]] | None = getattr(data, "rows_by_shape", None)
    if rows is None:
        return [range(len(data))]
    return rows


def batch_indices(seed: int, step: int, batch: int, shapes: Sequence[Sequence[int]]) -> list[int]:
    """Draw the rows of a step's global batch, all of one shape.

    Args:
        seed: The seed of the run.
        step: The step, from 0.
        batch: The size of the global batch.
        shapes: The rows of each shape.

    Returns:
        The rows [batch].
    """
    counts = tuple(map(len, shapes))
    latest = (step + len(counts)) * batch // sum(counts) + 1
    epoch = bisect_right(range(latest + 1), step, key=lambda epoch: _batches_before(epoch, batch, counts)) - 1
    turns = _shape_order(seed, epoch, batch, counts)
    turn = step - _batches_before(epoch, batch, counts)
    shape = int(turns[turn])
    rows, count = shapes[shape], counts[shape]
    first = (epoch * count // batch + int((turns[:turn] == shape).sum())) * batch
    places = range(first, first + batch)
    indices = []
    for place in places:
        indices.append(int(rows[int(_permutation(seed, "order", place // count, count)[place % count])]))
    return indices


def _batches_before(epoch: int, batch: int, counts: Sequence[int]) -> int:
    """How many batches come before an epoch."""
    return sum(epoch * count // batch for count in counts)


@lru_cache(maxsize=2)
def _shape_order(seed: int, epoch: int, batch: int, counts: tuple[int, ...]) -> Tensor:
    """The shape of each batch of an epoch."""
    own = []
    for count in counts:
        own.append((epoch + 1) * count // batch - epoch * count // batch)
    turns = torch.repeat_interleave(torch.tensor(own))
    return turns[_permutation(seed, "shapes", epoch, len(turns))]


@lru_cache(maxsize=16)
def _permutation(seed: int, word: str, epoch: int, size: int) -> Tensor:
    return torch.randperm(size, generator=seeds.torch_generator(seed, word, epoch))

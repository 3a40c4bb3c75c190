"""What a step draws: every row as often as any other, one shape a batch, and nothing but (seed, step) to know it by."""

from collections import Counter

import pytest
import torch

from emoscene.data import batches
from emoscene.data.batches import batch_indices


def test_an_epoch_sees_every_row_once():
    rows = [row for step in range(10) for row in batch_indices(0, step, 6, [range(20)])]
    assert sorted(rows[:20]) == sorted(rows[20:40]) == list(range(20))
    assert rows[:20] != rows[20:40]
    assert rows[:6] == batch_indices(0, 0, 6, [range(20)]) != batch_indices(1, 0, 6, [range(20)])


@pytest.mark.parametrize("batch", [1, 4, 32])
def test_a_batch_has_one_shape_and_every_row_its_share(batch):
    shapes = [range(30), range(30, 40), range(40, 43)]
    of = {row: number for number, rows in enumerate(shapes) for row in rows}
    count, steps = Counter(), 43 * 40 // batch
    for step in range(steps):
        drawn = batch_indices(7, step, batch, shapes)
        assert len({of[row] for row in drawn}) == 1 and len(drawn) == batch
        count.update(drawn)
    assert set(count) == set(range(43))
    share = steps * batch / 43
    assert all(abs(count[row] - share) <= 1 + batch / len(shapes[of[row]]) for row in range(43))
    first = [of[batch_indices(7, step, batch, shapes)[0]] for step in range(steps)]
    assert first != sorted(first)


class Rows:
    """Four rows whose latents are their numbers, negative where mirrored."""

    shapes = ([0, 1], [2, 3])

    def __init__(self, flips):
        self.flips = flips

    def __len__(self):
        return 4

    def read(self, indices, columns, mirrored=()):
        signs = [-1 if mirror else 1 for mirror in mirrored] or [1] * len(indices)
        return {"latent": torch.tensor([row * sign for row, sign in zip(indices, signs, strict=True)])}


def test_a_slot_knows_its_row_and_whether_it_is_mirrored():
    whole = [batches.read_batch(Rows(flips=True), ["latent"], 3, step, 8, range(8)) for step in range(20)]
    for step, (rows, read) in enumerate(whole):
        part, some = batches.read_batch(Rows(flips=True), ["latent"], 3, step, 8, [1, 5])
        assert part == [rows[1], rows[5]] and some["latent"].tolist() == [read["latent"][1], read["latent"][5]]
    seen = torch.cat([read["latent"] for _, read in whole])
    assert 0.35 < (seen < 0).float().mean() / (seen != 0).float().mean() < 0.65
    assert (batches.read_batch(Rows(flips=False), ["latent"], 3, 0, 8, range(8))[1]["latent"] >= 0).all()

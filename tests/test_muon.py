"""Muon in float32 is torch's Muon, but for the digits that bfloat16 has not."""

import pytest
import torch
from torch.optim import _muon as theirs

from emoscene.learning.muon import ITERATION, Float32Muon, orthogonalize
from emoscene.learning.optimizers import make_optimizers
from lines import Deep

COEFFICIENTS = (3.4445, -4.775, 2.0315)


@pytest.mark.parametrize("shape", [(8, 24), (24, 8), (16, 16)])
def test_the_iteration_is_torchs_in_float32(shape):
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(1))
    ours = orthogonalize(matrix, COEFFICIENTS, 5, 1e-7)
    assert ours.dtype == torch.float32
    torch.testing.assert_close(
        ours, getattr(theirs, ITERATION)(matrix, COEFFICIENTS, 5, 1e-7).float(), atol=0.03, rtol=0
    )
    values = torch.linalg.svdvals(ours)
    assert values.min() > 0.5
    assert values.max() < 1.5
    left, _, right = torch.linalg.svd(matrix, full_matrices=False)
    assert torch.nn.functional.cosine_similarity(ours.flatten(), (left @ right).flatten(), 0) > 0.95


def test_a_step_is_torchs_but_for_digits_and_leaves_torch_as_it_was():
    original = getattr(theirs, ITERATION)
    moved = []
    for kind in (torch.optim.Muon, Float32Muon):
        weight = torch.nn.Parameter(torch.ones(6, 10))
        optimizer = kind([weight], lr=0.1, weight_decay=0.1)
        for step in range(3):
            weight.grad = torch.randn(6, 10, generator=torch.Generator().manual_seed(step))
            optimizer.step()
        moved.append(weight.detach())
    torch.testing.assert_close(*moved, atol=0.02, rtol=0)
    assert not torch.equal(*moved)
    assert getattr(theirs, ITERATION) is original


@pytest.mark.parametrize(("bf16", "kind"), [(True, torch.optim.Muon), (False, Float32Muon)])
def test_a_cpu_without_bf16_takes_float32(bf16, kind, monkeypatch):
    monkeypatch.setattr("emoscene.learning.optimizers.has_cpu_bf16", lambda: bf16)
    assert type(make_optimizers(Deep(), 1e-2, 0.1, muon=2.0)[1]) is kind

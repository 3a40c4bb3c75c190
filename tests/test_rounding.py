"""Rounded weights: nearest, idempotent, and in a folder nothing but floats changes."""

import torch
from safetensors.torch import load_file, save_file
from torch import nn

from emoscene_mini.rounding import round_files, round_mantissa, round_weights


def test_numbers_go_to_the_nearest_with_nine_significant_bits():
    values = torch.tensor([1.0, -1.0, 0.0, 1 + 2**-9, 1 + 2**-10, -(1 + 3 * 2**-9), 1.999999, 3e-5])
    expected = [1.0, -1.0, 0.0, 1 + 2**-8, 1.0, -(1 + 4 * 2**-9), 2.0]
    rounded = round_mantissa(values)
    assert rounded[:7].tolist() == expected
    some = torch.randn(10_000, generator=torch.Generator().manual_seed(0))
    assert ((round_mantissa(some) - some).abs() <= some.abs() * 2**-9).all()
    assert torch.equal(round_mantissa(round_mantissa(some)), round_mantissa(some))
    usual = some[some.abs() > 1e-4]
    assert torch.equal(round_mantissa(usual).half().float(), round_mantissa(usual))


def test_a_model_is_rounded_in_place():
    model = nn.BatchNorm1d(4)
    nn.init.normal_(model.weight)
    before = model.weight.detach().clone()
    round_weights(model)
    assert torch.equal(model.weight, round_mantissa(before))
    assert not torch.equal(model.weight, before)
    assert int(model.num_batches_tracked) == 0


def test_a_folder_is_stored_in_half_precision(tmp_path):
    weights = torch.randn(8, 8, generator=torch.Generator().manual_seed(1))
    save_file({"a": weights, "ids": torch.arange(3)}, tmp_path / "model.safetensors")
    round_files(tmp_path)
    stored = load_file(tmp_path / "model.safetensors")
    assert stored["a"].dtype == torch.float16
    assert torch.equal(stored["a"], round_mantissa(weights).half())
    assert stored["ids"].tolist() == [0, 1, 2]

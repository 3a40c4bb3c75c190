"""Stable Diffusion v1.5's true size, with random weights: every method trains, is saved, loaded and draws on it."""

from pathlib import Path

import pytest
from PIL import Image

from emoscene.evaluation import true_size


def test_every_method_that_learns_is_tried() -> None:
    from emoscene.core import registry

    learning = {name for name in registry.list_names("methods") if registry.load_plugin("methods", name).columns}
    assert set(true_size.METHODS) == learning
    assert set(true_size.METHODS.values()) <= set(registry.list_names("recipes"))


@pytest.mark.slow
def test_every_method_at_true_size(tmp_path: Path) -> None:
    found = {row["method"]: row for row in true_size.measure(tmp_path)}
    for name, row in found.items():
        assert row["megabytes"] <= true_size.LIMITS.get(name, 1.0)
        with Image.open(tmp_path / f"{name}.png") as picture:
            assert picture.size == (512, 512)
    assert 1.8e6 <= found["guidance"]["parameters"] <= 2.2e6

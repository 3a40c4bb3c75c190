"""Stable Diffusion v1.5's true size, with random weights: every method trains, is saved, loaded and draws on it."""

from pathlib import Path

import pytest
from PIL import Image

from emoscene.mini import truesize


def test_every_method_that_learns_is_tried() -> None:
    from emoscene import plugins

    learning = {name for name in plugins.list_names("methods") if plugins.load_plugin("methods", name).reads}
    assert set(truesize.METHODS) == learning
    assert set(truesize.METHODS.values()) <= set(plugins.list_names("recipes"))


@pytest.mark.slow
def test_every_method_at_true_size(tmp_path: Path) -> None:
    found = {row["method"]: row for row in truesize.measure(tmp_path)}
    for name, row in found.items():
        assert row["megabytes"] <= truesize.LIMITS.get(name, 1.0)
        with Image.open(tmp_path / f"{name}.png") as picture:
            assert picture.size == (512, 512)
    assert 1.8e6 <= found["guidance"]["parameters"] <= 2.2e6

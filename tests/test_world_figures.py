"""Figures are told at a glance: postures and animals by outline, expressions in grey at the size of a small head."""

import itertools

import numpy as np
import pytest
from PIL import Image

from emoscene_mini.world import faces, objects


def outline(name: str, pose: str, side: int = 40) -> np.ndarray:
    """A sprite's mask in a square of `side` pixels, the mean of several seeds turned to the same side."""
    masks = []
    for seed in range(6):
        sprite = objects.sprite(name, np.random.default_rng(seed), 2 * side, pose)
        mask = np.asarray(sprite.getchannel("A").resize((side, side)), np.float32) / 255
        if np.random.default_rng(seed).random() < 0.5:
            mask = mask[:, ::-1]
        masks.append(mask)
    return np.mean(masks, axis=0)


def overlap(one: np.ndarray, other: np.ndarray) -> float:
    """The shared area over the joint one, in the better of the two mirrorings."""
    scores = []
    for turned in (other, other[:, ::-1]):
        scores.append(float(np.minimum(one, turned).sum() / np.maximum(one, turned).sum()))
    return max(scores)


@pytest.mark.parametrize("name", objects.LIVING)
def test_poses_differ_in_outline(name: str) -> None:
    outlines = {pose: outline(name, pose) for pose in objects.POSES}
    for one, other in itertools.combinations(objects.POSES, 2):
        assert overlap(outlines[one], outlines[other]) < 0.78, (one, other)


@pytest.mark.parametrize("pose", objects.POSES)
def test_animals_differ_in_outline(pose: str) -> None:
    outlines = {name: outline(name, pose) for name in ("person", "dog", "cat", "horse", "bird")}
    for one, other in itertools.combinations(outlines, 2):
        assert overlap(outlines[one], outlines[other]) < 0.78, (one, other)


def test_expressions_differ_in_grey_on_a_small_head() -> None:
    """The same head, 20 pixels wide: any two of the seven differ where brows, eyes and mouth are."""
    heads = {}
    for expression in faces.EXPRESSIONS:
        sprite = faces.face(np.random.default_rng(4), expression, 62)
        small = sprite.resize((sprite.width // 2, sprite.height // 2), Image.Resampling.LANCZOS).convert("L")
        heads[expression] = np.asarray(small, np.float32)[6:26, 9:28] / 255
    for one, other in itertools.combinations(heads, 2):
        assert np.abs(heads[one] - heads[other]).mean() > 0.07, (one, other)


@pytest.mark.parametrize("night", [0.0, 0.9])
@pytest.mark.parametrize("name", objects.LIVING)
def test_an_edge_differs_in_brightness_from_the_figure(name: str, night: float) -> None:
    for seed in range(4):
        sprite = objects.sprite(name, np.random.default_rng(seed), 120, night=night)
        grey = np.asarray(sprite.convert("RGB").convert("L"), np.float32) / 255
        solid = np.asarray(sprite.getchannel("A")) > 200
        inside = solid.copy()
        for axis, step in itertools.product((0, 1), (-2, 2)):
            inside &= np.roll(solid, step, axis)
        edge = solid & ~inside
        assert abs(grey[edge].mean() - grey[inside].mean()) > 0.12


def test_a_dog_is_as_wide_as_a_third_of_the_image() -> None:
    alpha = np.asarray(objects.sprite("dog", np.random.default_rng(0), 76).getchannel("A"))
    assert np.ptp(np.flatnonzero(alpha.max(0) > 128)) >= 90

"""The readers of the world against values worked out by hand, and the world against what they may find."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from emoscene.core.taxonomy import EMOTIONS
from emoscene_mini import readers
from emoscene_mini.world import plan
from emoscene_mini.world.moods import GROUPS


@pytest.fixture(scope="module")
def plans() -> list[readers.Plan]:
    return readers.draw_plans("heldout", 2500)


def test_wilson_interval_is_the_published_one() -> None:
    # Agresti and Coull (1998), 0 of 10: (0, .278); 5 of 10: (.237, .763).
    assert readers.wilson_interval(0, 10) == pytest.approx((0, 0.278), abs=1e-3)
    assert readers.wilson_interval(5, 10) == pytest.approx((0.2366, 0.7634), abs=1e-4)


def test_share_counts_hits() -> None:
    found = readers.measure_share("x", [True, False, True, True], "any")
    assert (found.value, found.bound) == (0.75, "any") and found.low < 0.75 < found.high


def test_six_numbers_are_means_and_deviations_of_opponent_axes() -> None:
    image = np.zeros((1, 2, 2, 3), np.uint8)
    image[0, 0] = (255, 0, 0)
    brightness, red_green, yellow_blue = (1 / 3, 1.0, 0.5)
    expected = [brightness / 2, red_green / 2, yellow_blue / 2] * 2
    assert readers.six_numbers(image)[0] == pytest.approx(expected, abs=1e-6)


def test_grids_are_means_of_cells() -> None:
    image = np.zeros((1, 8, 8, 3), np.uint8)
    image[0, :2, 2:4] = (255, 0, 0)
    image[0, 0, 4:6] = (0, 255, 0)
    grid = readers.colour_grid(image).reshape(4, 4, 3)
    assert grid[0, 1] == pytest.approx([1, 0, 0]) and grid[0, 2] == pytest.approx([0, 0.5, 0])
    assert grid.sum() == pytest.approx(1.5)
    grey = readers.grey_grid(image).reshape(4, 4)
    assert grey[0, 1] == pytest.approx(0.299) and grey[0, 2] == pytest.approx(0.587 / 2)


def test_discriminants_are_scored_on_images_they_have_not_seen() -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 8, 400)
    noise = rng.normal(size=(400, 40))
    assert (readers.read_features(noise, labels) == labels).mean() < 0.25
    telling = noise.copy()
    telling[:, 0] += 20 * labels
    assert (readers.read_features(telling, labels) == labels).mean() > 0.95


def test_clauses() -> None:
    assert readers.split_clauses("a beach with a dog, with rain, a person and a bin") == [
        "a beach with a dog",
        "with rain",
        "a person and a bin",
    ]


def test_exact_reader_is_best_with_all_groups_and_blind_with_none(plans: list[readers.Plan]) -> None:
    some = plans[:600]
    intended = readers.intended_emotions(some)
    every = (readers.read_exactly(some) == intended).mean()
    for group in GROUPS:
        rest = [name for name in GROUPS if name != group]
        assert (readers.read_exactly(some, rest) == intended).mean() < every
    assert (readers.read_exactly(some, []) == 0).all()


def test_posterior_is_calibrated(plans: list[readers.Plan]) -> None:
    """Of what the exact reading calls 60 to 80 % certain, about 70 % is so: the chances are the world's own."""
    sure, right = [], []
    for drawn in plans:
        chances = readers.exact_posterior(readers.read_cues(drawn))
        sure.append(chances.max())
        right.append(EMOTIONS[int(chances.argmax())] == drawn.intended)
    certain, hit = np.array(sure), np.array(right)
    for low, high in ((0.4, 0.6), (0.6, 0.8), (0.8, 0.95), (0.95, 1.0)):
        band = (certain >= low) & (certain < high)
        assert hit[band].mean() == pytest.approx(certain[band].mean(), abs=0.07)


def test_labels_are_read_from_votes() -> None:
    drawn = plan(3, emotion="fear")
    assert EMOTIONS[readers.voted_emotions([drawn])[0]] == "fear"
    other = replace(drawn, votes=(0.0, 0.6, 0.4, 0.0, 0.0, 0.0, 0.0, 0.0), intended="sadness")
    assert readers.voted_emotions([other])[0] == 1 and readers.intended_emotions([other])[0] == EMOTIONS.index(
        "sadness"
    )


@pytest.mark.slow
def test_the_world_gives_away_what_it_may(plans: list[readers.Plan]) -> None:
    intended, label = readers.intended_emotions(plans), readers.voted_emotions(plans)
    assert 0.79 < (readers.read_exactly(plans) == intended).mean() < 0.87
    for group in GROUPS:
        alone = (readers.read_exactly(plans, [group]) == intended).mean()
        assert alone < (0.3 if group == "palette" else 0.52), group
    worded = readers.read_captions(readers.draw_plans("methods", 3000), plans)
    assert 0.3 < (worded == label).mean() < 0.45


def test_table_names_every_reader(capsys: pytest.CaptureFixture[str]) -> None:
    readers.main(["--number", "24", "--plans", "60", "--workers", "0"])
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2 + 2 * len(GROUPS) + 2 + len(readers.PIXEL_READERS)
    assert any("six numbers" in line and "<= .28" in line for line in lines)

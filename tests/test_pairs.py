"""Metrics of pairs against the direct formula, for any chunk of rows, and images of any size and number."""

from dataclasses import replace

import numpy as np
import pytest

from emoscene.core import registry
from emoscene.core.errors import EmosceneError
from emoscene.evaluation import pairs
from emoscene.evaluation.intervals import bootstrap_interval, draw_weights
from emoscene.evaluation.metrics import distance, manifold, sharpness
from emoscene.evaluation.metrics.base import Predictions
from emoscene.evaluation.statistics import sign_flips

DRAWS = 12
CLOUDS = ("diversity", "kernel", "manifold", "semantics")


def make_readings(count, seed=0, shift=0.0, dim=24):
    """Images of eight emotions x prompts x 2 seeds, in float32 as encoders read them."""
    rng, numbers = np.random.default_rng(seed), np.arange(count)
    features = rng.normal(shift, 1, (count, dim)) + rng.normal(size=(8, dim))[numbers % 8]
    return Predictions(
        prompt=numbers // 16,
        seed=numbers // 8 % 2,
        asked=numbers % 8,
        likely=np.full((count, 8), 1 / 8),
        features=features.astype(np.float32),
        gradient=rng.random(count),
        spectrum=rng.normal(size=(count, 16)),
        vectors=rng.normal(0.5, 1, (count, dim)).astype(np.float32),
        clip="clip",
    )


def run(name, made, real, draws=DRAWS):
    return registry.load_plugin("metrics", name)(made, real, draws)


def numbers_of(found):
    return [number for value in found.values() for number in (value.value, value.low, value.high)]


def pair_mean(values, weights):
    """The mean over ordered pairs of different images, copies among them, with the whole table of pairs at hand."""
    both = np.outer(weights, weights)
    np.fill_diagonal(both, 0)
    return (both * values).sum() / both.sum() if both.sum() else np.nan


def emotion_mean(values, asked, weights):
    groups = [np.flatnonzero(asked == label) for label in range(8)]
    return np.nanmean([pair_mean(values[np.ix_(group, group)], weights[group]) for group in groups])


def direct_distances(one, other):
    return np.linalg.norm(one[:, None] - other, axis=2)


def direct_kernel(one, other):
    return (one @ other.T / one.shape[1] + 1) ** 3


def direct_statistics(made, real):
    """Each figure's formula as papers write it: weights [N] in, a number out; and whether its interval is centred."""
    ours, theirs = made.features.astype(float), real.features.astype(float)
    unit = made.vectors / np.linalg.norm(made.vectors.astype(float), axis=1, keepdims=True)
    apart, cosines = direct_distances(ours, ours), unit @ unit.T
    within, across = direct_kernel(ours, ours), direct_kernel(ours, theirs).mean(1)
    there = pair_mean(direct_kernel(theirs, theirs), np.ones(len(real)))
    near, balls = direct_distances(ours, theirs), [np.sort(direct_distances(c, c))[:, 3] for c in (ours, theirs)]
    inside, covers = (near <= balls[1]).any(1), near <= balls[0][:, None]
    mean_spectrum = real.spectrum.mean(0)[:8]
    return {
        "diversity": (lambda w: emotion_mean(apart, made.asked, w), True),
        "sem_d": (lambda w: emotion_mean(1 - cosines, made.asked, w), True),
        "kernel": (lambda w: pair_mean(within, w) + there - 2 * np.average(across, weights=w), True),
        "manifold_precision": (lambda w: np.average(inside, weights=w), False),
        "manifold_recall": (lambda w: covers[w > 0].any(0).mean(), True),
        "spectrum_db": (
            lambda w: np.abs(np.average(made.spectrum[:, :8], axis=0, weights=w) - mean_spectrum).max(),
            True,
        ),
    }


@pytest.mark.parametrize("exact", [pairs.EXACT, 0])
def test_values_and_intervals_are_the_direct_formulas(exact, monkeypatch):
    """At 500 images, in float64 and in float32: the same draws, so the same intervals."""
    monkeypatch.setattr(pairs, "EXACT", exact)
    made, real = make_readings(500), make_readings(500, 1, 0.3)
    found = {}
    for name in (*CLOUDS, "sharpness"):
        found |= run(name, made, real)
    for name, (statistic, centred) in direct_statistics(made, real).items():
        value = statistic(np.ones(500))
        interval = bootstrap_interval(statistic, made.prompt, made.seed, DRAWS, centre=value if centred else None)
        assert numbers_of({name: found[name]}) == pytest.approx([value, *interval], rel=1e-9 if exact else 2e-6), name


def test_values_do_not_depend_on_the_chunk(monkeypatch):
    made, real = make_readings(130), make_readings(97, 1, 0.3)
    whole = {name: numbers_of(run(name, made, real)) for name in CLOUDS}
    for held in (1, 7 * 130, 64 * 130):
        monkeypatch.setattr(pairs, "PAIRS", held)
        for name in CLOUDS:
            assert numbers_of(run(name, made, real)) == pytest.approx(whole[name], rel=1e-10), (name, held)


def test_no_more_pairs_are_held_than_allowed(monkeypatch):
    largest = 0
    monkeypatch.setattr(pairs, "PAIRS", 1000)

    def between(one, other):
        nonlocal largest
        largest = max(largest, len(one) * len(other))
        return one @ other.T

    points = np.random.default_rng(0).normal(size=(300, 4))
    told = pairs.sum_pairs(points, between, np.ones((1, 300)))
    assert told[0] == pytest.approx((points @ points.T).sum() - (points**2).sum())
    assert largest <= 1000
    rows = [row for part in pairs.split_rows(10, 300) for row in range(10)[part]]
    assert rows == list(range(10))


def test_float32_keeps_a_small_kernel_distance(monkeypatch):
    """Of unit vectors the kernel is 1 and a little: were the 1 added, float32 would lose what is asked for."""
    made, real = make_readings(600), make_readings(600, 1)
    clouds = [replace(one, features=one.vectors / np.linalg.norm(one.vectors, axis=1)[:, None]) for one in (made, real)]
    exact = run("kernel", *clouds)["kernel"].value
    monkeypatch.setattr(pairs, "EXACT", 0)
    assert run("kernel", *clouds)["kernel"].value == pytest.approx(exact, rel=1e-5)
    assert abs(exact) < 1e-3


@pytest.mark.parametrize("width", [4, 63, 257, 4000])
def test_the_smallest_of_a_row_are_found_without_sorting_it(width):
    values = np.random.default_rng(0).normal(size=(20, width)).astype(np.float32)
    values[3] = 1  # all alike
    values[4, -5:] = -9  # the smallest are together, at the end
    for rank in range(4):
        assert np.array_equal(manifold.find_smallest(values, rank), np.sort(values, 1)[:, rank])


@pytest.mark.parametrize("count", [24, 500])
def test_the_frechet_distance_takes_either_root(count):
    """From the real side's root as from the made one's, where there are fewer images than numbers too."""
    one, other = make_readings(count, dim=64), make_readings(count, 1, 0.3, dim=64)
    (mean_1, cov_1), (mean_2, cov_2) = (distance.moments(cloud.features) for cloud in (one, other))
    found = distance.distance(one, other, 5)["frechet"].value
    assert found == pytest.approx(distance.frechet_distance(mean_2, cov_2, mean_1, cov_1), rel=1e-6)
    root = distance.matrix_root(cov_2)
    assert root @ root == pytest.approx(cov_2, abs=1e-9)


def test_one_image_is_a_sentence_and_one_prompt_or_seed_is_no_fault():
    alone, real = make_readings(1), make_readings(40, 1)
    for name in CLOUDS:
        with pytest.raises(EmosceneError, match=r"needs \d images"):
            run(name, alone, real)
    assert run("sharpness", alone, real)["spectrum_db"].n == 1
    made = replace(make_readings(40), prompt=np.zeros(40, int), seed=np.zeros(40, int))
    for name in CLOUDS:
        for value in run(name, made, real).values():
            assert np.isnan([value.low, value.high]).all()
    mixed = replace(make_readings(9), asked=np.arange(9) % 8)  # one emotion has two images, the others one
    assert np.isfinite(run("diversity", mixed, None)["diversity"].value)


def test_draws_without_an_image_are_left_out():
    """In a design that is not crossed a draw may weigh no image at all."""
    seeds = np.arange(8) // 7  # the second seed has one image, whose prompt may not be drawn
    made = replace(make_readings(8), prompt=np.arange(8), seed=seeds, asked=np.zeros(8, int))
    assert not all(weights.any() for weights in draw_weights(made.prompt, made.seed, 100))
    for name in (*CLOUDS, "sharpness"):
        assert np.isfinite(numbers_of(run(name, made, make_readings(9, 1), 100))).all()


def direct_spectrum(picture):
    """A ring at a time, from the whole plane of frequencies."""
    grey = picture @ sharpness.LUMA
    side = min(grey.shape)
    grey = (grey - grey.mean())[:side, :side] * np.outer(np.hanning(side), np.hanning(side))
    power, cycles = np.abs(np.fft.fft2(grey)) ** 2 / side**2, np.fft.fftfreq(side, 1 / side)
    radius = np.hypot(cycles[:, None], cycles).round()
    return [10 * np.log10(power[radius == ring].mean() + 1e-6) for ring in range(1, side // 2 + 1)]


@pytest.mark.parametrize("size", [(16, 16), (17, 23), (48, 31), (2, 5), (1, 1)])
def test_spectra_are_rings_of_the_whole_plane(size):
    pictures = np.random.default_rng(0).integers(0, 256, (2, *size, 3), np.uint8)
    found = sharpness.power_spectrum(pictures)
    assert found.shape == (2, min(size) // 2)
    for picture, spectrum in zip(pictures, found, strict=True):
        assert spectrum == pytest.approx(direct_spectrum(picture), rel=1e-9)


def test_spectra_of_several_sizes_compare_at_equal_cycles_a_pixel():
    x = np.arange(128)
    wave = np.broadcast_to((128 + 100 * np.sin(2 * np.pi * x / 8))[None, None, :, None], (1, 128, 128, 3))
    small, large = (sharpness.power_spectrum(wave[:, :side, :side]) for side in (64, 128))
    matched = sharpness.match_spectra([small, large])
    assert matched[0] is small
    assert [part.argmax() for part in matched] == [7, 7]  # a quarter of Nyquist: ring 8 of 32
    rng = np.random.default_rng(0)
    noise = [sharpness.power_spectrum(rng.normal(128, 20, (8, side, side, 3))) for side in (32, 50, 128)]
    means = [part[:, 2:].mean() for part in sharpness.match_spectra(noise)]
    assert max(means) - min(means) < 1  # of noise, power a pixel has no size
    assert {part.shape for part in sharpness.match_spectra(noise)} == {(8, 16)}


def test_sharpness_takes_real_images_of_another_size():
    made, real = make_readings(40), make_readings(50, 1)
    real = replace(real, spectrum=np.repeat(real.spectrum, 2, 1))  # each ring twice: a spectrum of twice the side
    found = run("sharpness", made, real)
    assert found["gradient_ratio"].value == pytest.approx(made.gradient.mean() / real.gradient.mean())
    assert np.isfinite(found["spectrum_db"].value)
    with pytest.raises(EmosceneError, match="sharpness needs images of 4 pixels a side or more"):
        run("sharpness", replace(made, spectrum=made.spectrum[:, :1]), real)


def test_sign_flips_are_the_same_in_parts(monkeypatch):
    gap = np.random.default_rng(0).normal(0.15, 1, 40)
    whole = sign_flips(gap, np.arange(40), 999)
    signs = np.random.default_rng(0).choice((-1.0, 1.0), (999, 40))
    assert whole == ((np.abs(signs @ gap) >= abs(gap.sum())).sum() + 1) / 1000
    monkeypatch.setattr(pairs, "PAIRS", 40 * 7)
    assert sign_flips(gap, np.arange(40), 999) == whole

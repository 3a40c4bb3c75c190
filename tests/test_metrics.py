"""Metrics against the libraries that everybody trusts, and intervals against what they promise."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.linalg import sqrtm
from scipy.spatial.distance import pdist
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from sklearn.calibration import calibration_curve
from sklearn.metrics import accuracy_score, confusion_matrix, mean_absolute_error, precision_recall_fscore_support
from sklearn.metrics.pairwise import cosine_similarity, polynomial_kernel
from sklearn.neighbors import NearestNeighbors

from emoscene.core import registry
from emoscene.core.errors import EmosceneError
from emoscene.core.taxonomy import AFFECT, EMOTIONS
from emoscene.evaluation.intervals import bootstrap_interval
from emoscene.evaluation.metrics import calibration, distance, diversity, sharpness
from emoscene.evaluation.metrics.affect import affect
from emoscene.evaluation.metrics.alignment import alignment
from emoscene.evaluation.metrics.base import Predictions, hits, measure, weighted_mean
from emoscene.evaluation.metrics.content import content
from emoscene.evaluation.metrics.editing import editing, ssim
from emoscene.evaluation.metrics.emotion import count_confusions, emotion, per_emotion
from emoscene.evaluation.metrics.gap import gap
from emoscene.evaluation.metrics.kernel import kernel
from emoscene.evaluation.metrics.manifold import manifold
from emoscene.evaluation.metrics.polarity import polarity
from emoscene.evaluation.metrics.semantics import semantics

NEEDY = {"calibration", "distance", "diversity", "kernel", "manifold", "semantics"}
"""Metrics that one picture is too few for."""


def readings(count=96, seed=0, shift=0.0):
    rng = np.random.default_rng(seed)
    asked = np.arange(count) % 8
    likely = rng.dirichlet(np.ones(8), count)
    likely[np.arange(count), asked] += 0.3
    pictures = rng.integers(0, 255, (count, 16, 16, 3))
    return Predictions(
        prompt=np.arange(count) // 4 % 8,
        seed=np.arange(count) // 32,
        asked=asked,
        likely=likely / likely.sum(1, keepdims=True),
        features=rng.normal(shift, 1, (count, 6)) + np.eye(8)[asked][:, :6],
        gradient=sharpness.gradient_magnitude(pictures),
        spectrum=sharpness.power_spectrum(pictures),
        scene=rng.dirichlet(np.ones(3), count),
        place=np.arange(count) % 3,
        by="test",
        vectors=rng.normal(size=(count, 5)),
        texts=rng.normal(size=(count, 5)),
        guide=rng.dirichlet(np.ones(8), count),
        by_colour=rng.dirichlet(np.ones(8), count),
        votes=rng.multinomial(20, np.full(8, 1 / 8), count) / 20,
    )


def test_counts_are_scikit_learns():
    made = readings()
    seen = made.likely.argmax(1)
    assert weighted_mean(hits(made.likely, made.asked), np.ones(96)) == accuracy_score(made.asked, seen)
    assert np.array_equal(
        count_confusions(made.likely, made.asked), confusion_matrix(made.asked, seen, labels=range(8))
    )
    expected = precision_recall_fscore_support(made.asked, seen, labels=range(8), zero_division=0)
    found = per_emotion(made.likely, made.asked)
    for number, name in enumerate(EMOTIONS):
        theirs = [float(column[number]) for column in expected]
        assert list(found[name].values()) == pytest.approx(theirs)


def test_pictures_without_an_emotion_are_left_out():
    made = readings()
    made.asked[::2] = -1
    value = emotion(made)["emotion_accuracy"].value
    assert value == accuracy_score(made.asked[1::2], made.likely.argmax(1)[1::2])
    assert count_confusions(made.likely, made.asked).sum() == 48


def test_frechet_is_scipys():
    rng = np.random.default_rng(1)
    one, other = rng.normal(size=(200, 5)) @ rng.normal(size=(5, 5)), rng.normal(0.5, 2, (300, 5))
    (m1, c1), (m2, c2) = distance.moments(one), distance.moments(other)
    assert np.allclose(c1, np.cov(one, rowvar=False))
    expected = ((m1 - m2) ** 2).sum() + np.trace(c1 + c2 - 2 * sqrtm(c1 @ c2).real)
    assert distance.frechet_distance(m1, c1, m2, c2) == pytest.approx(expected)
    assert distance.frechet_distance(m1, c1, m1, c1) == pytest.approx(0, abs=1e-8)


def test_weights_are_repetition():
    made = readings()
    counts = np.random.default_rng(2).integers(0, 3, 96)
    repeated = np.repeat(made.features, counts, 0)
    for ours, theirs in zip(distance.moments(made.features, counts), distance.moments(repeated), strict=True):
        assert np.allclose(ours, theirs)


def test_distance_is_at_equal_numbers():
    found = distance.distance(readings(96), readings(200, seed=1))["frechet"]
    assert found.n == 96
    assert found.low <= found.value <= found.high
    assert found.value < distance.distance(readings(96, shift=2), readings(96, seed=1))["frechet"].value
    assert distance.distance(readings()) == {}


def test_diversity_is_scipys():
    made = readings()
    expected = np.mean([pdist(made.features[made.asked == label]).mean() for label in range(8)])
    found = diversity.diversity(made, made, draws=20)
    assert found["diversity"].value == pytest.approx(expected)
    assert found["diversity_share"].value == pytest.approx(1)


def test_diversity_sees_collapse():
    made, alike = readings(), readings()
    alike.features[:] = alike.features[alike.asked]
    assert diversity.diversity_statistic(alike.features, alike.asked)(np.ones((1, 96))) == pytest.approx(0, abs=1e-6)
    assert diversity.diversity_statistic(made.features, made.asked)(np.ones((1, 96))) > 1


def test_psnr_is_scikit_images():
    rng = np.random.default_rng(3)
    one, other = (rng.integers(0, 256, (2, 8, 8, 3), np.uint8) for _ in range(2))
    theirs = [peak_signal_noise_ratio(a, b, data_range=255) for a, b in zip(one, other, strict=True)]
    assert sharpness.psnr(one, other).tolist() == pytest.approx(theirs)
    assert np.isinf(sharpness.psnr(one, one)).all()


def test_gradient_and_spectrum_know_their_waves():
    x = np.arange(64)
    wave = 128 + 100 * np.sin(2 * np.pi * 8 * x / 64)
    picture = np.broadcast_to(wave[None, None, :, None], (1, 64, 64, 3))
    assert sharpness.power_spectrum(picture)[0].argmax() + 1 == 8
    ramp = np.broadcast_to((3.0 * x)[None, None, :, None], (1, 64, 64, 3))
    assert sharpness.gradient_magnitude(ramp)[0] == pytest.approx(3)


def test_blur_is_seen():
    pictures = np.random.default_rng(4).integers(0, 255, (8, 32, 32, 3)).astype(float)
    soft = (pictures + np.roll(pictures, 1, 1) + np.roll(pictures, 1, 2) + np.roll(pictures, (1, 1), (1, 2))) / 4
    sharp, blurred = (
        Predictions(
            *(np.arange(8),) * 3, np.eye(8), np.eye(8), sharpness.gradient_magnitude(p), sharpness.power_spectrum(p)
        )
        for p in (pictures, soft)
    )
    found = sharpness.sharpness(blurred, sharp, draws=50)
    assert found["gradient_ratio"].value < 0.8
    assert found["spectrum_db"].value > 1
    assert sharpness.sharpness(sharp, sharp, draws=50)["gradient_ratio"].value == pytest.approx(1)


def test_content_is_the_scene_kept():
    made = readings()
    assert content(made)["scene_accuracy"].value == accuracy_score(made.place, made.scene.argmax(1))
    made.place[:] = -1
    assert content(made) == {}


def test_intervals_cover_what_they_promise():
    """With effects of prompt, seed and picture, 95 % intervals cover the truth about 95 times in a hundred."""
    rng, covered = np.random.default_rng(5), 0
    prompt, seed = np.repeat(np.arange(24), 8), np.tile(np.arange(8), 24)
    for trial in range(100):
        values = rng.normal(size=24)[prompt] + 0.5 * rng.normal(size=8)[seed] + rng.normal(size=192)
        low, high = bootstrap_interval(
            lambda w, values=values: weighted_mean(values, w), prompt, seed, draws=200, start=trial
        )
        covered += low <= 0 <= high
    assert covered >= 88


def test_intervals_are_the_same_every_time():
    made = readings()
    right = hits(made.likely, made.asked)
    one, other = (measure(lambda w: weighted_mean(right, w), made) for _ in range(2))
    assert one == other
    assert one.low < one.value < one.high
    assert set(one.to_dict()) == {"value", "low", "high", "n", "by"}
    nothing = bootstrap_interval(lambda w: float("nan"), made.prompt, made.seed, draws=5)
    assert np.isnan(nothing).all()


def test_ssim_is_scikit_images() -> None:
    draw = np.random.default_rng(0)
    one = draw.integers(0, 256, (2, 24, 20, 3)).astype(np.uint8)
    other = (0.6 * one + 0.4 * draw.integers(0, 256, one.shape)).astype(np.uint8)
    theirs = [structural_similarity(a, b, channel_axis=2, data_range=255) for a, b in zip(one, other, strict=True)]
    np.testing.assert_allclose(ssim(one, other), theirs, rtol=1e-6)
    np.testing.assert_allclose(ssim(one, one), 1, rtol=1e-12)
    assert np.isnan(ssim(one[:, :5], other[:, :5])).all()


def test_the_kernel_distance_is_scikit_learns_kernel():
    made, real = readings(40), readings(60, seed=1, shift=0.5)
    same, other, between = (
        polynomial_kernel(a.features, b.features, degree=3, gamma=1 / 6, coef0=1)
        for a, b in ((made, made), (real, real), (made, real))
    )
    within = [(k.sum() - np.trace(k)) / (len(k) * (len(k) - 1)) for k in (same, other)]
    found = kernel(made, real, draws=20)["kernel"]
    assert found.value == pytest.approx(sum(within) - 2 * between.mean(), rel=1e-9)
    assert found.low <= found.value <= found.high


def test_the_kernel_distance_is_unbiased():
    alike = [kernel(readings(24, seed), readings(24, seed + 100), draws=1)["kernel"].value for seed in range(60)]
    assert abs(np.mean(alike)) < 3 * np.std(alike) / np.sqrt(60)
    assert min(alike) < 0


def test_precision_and_recall_are_scikit_learns_neighbours():
    made, real = readings(50, shift=0.7), readings(50, seed=1)

    def share(inner, outer):
        ways = NearestNeighbors(n_neighbors=4).fit(outer).kneighbors(outer)[0][:, -1]
        return np.mean([(np.linalg.norm(outer - point, axis=1) <= ways).any() for point in inner])

    found = manifold(made, real, draws=20)
    assert found["manifold_precision"].value == pytest.approx(share(made.features, real.features))
    assert found["manifold_recall"].value == pytest.approx(share(real.features, made.features))


def test_a_picture_that_stands_for_eight_emotions_is_one_picture():
    """The base alone paints a prompt and a seed once: its copies are no cloud, and no neighbours of themselves."""
    once, real = readings(48), readings(48, seed=1)
    eightfold = replace(once.select(np.repeat(np.arange(48), 8)), file=np.repeat(np.arange(48), 8))
    for metric in (distance.distance, kernel, manifold):
        told = metric(eightfold, real, draws=20)
        assert told == metric(once, real, draws=20)
        assert {value.n for value in told.values()} == {48}


def test_collapse_costs_recall_and_not_precision():
    real, alike = readings(64, seed=1), readings(64)
    alike.features[:] = real.features[0] + 0.01 * alike.features
    found = manifold(alike, real, draws=5)
    assert found["manifold_precision"].value == 1
    assert found["manifold_recall"].value < 0.1


def test_calibration_is_scikit_learns_curve():
    real = readings(100, seed=2)
    sure, right = real.likely.max(1), hits(real.likely, real.asked)
    accuracy, confidence = calibration_curve(right, sure, n_bins=10, strategy="quantile")
    ours = calibration.reliability_curve(real.likely, real.asked)
    assert [row[0] for row in ours] == pytest.approx(confidence)
    assert [row[1] for row in ours] == pytest.approx(accuracy)
    found = calibration.calibration(readings(8), real, draws=20)["calibration_error"]
    assert found.value == pytest.approx(np.abs(accuracy - confidence).mean())
    assert calibration.calibration(real) == {}


def test_two_classes_are_scikit_learns():
    made = readings()
    positive = np.array([AFFECT[name][0] > 0 for name in EMOTIONS])
    theirs = accuracy_score(positive[made.asked], made.likely @ positive > 0.5)
    assert polarity(made, draws=20)["two_class_accuracy"].value == pytest.approx(theirs)


def test_valence_and_arousal_are_on_the_scale_of_three():
    made = readings()
    places = 3 * np.array([AFFECT[name] for name in EMOTIONS])
    theirs = mean_absolute_error(places[made.asked], made.likely @ places, multioutput="raw_values")
    found = affect(made, draws=20)
    assert [found["valence_error"].value, found["arousal_error"].value] == pytest.approx(theirs.tolist())
    made.likely[:] = np.eye(8)[made.asked]
    assert affect(made, draws=5)["arousal_error"].value == 0


def test_semantics_and_alignment_are_cosines():
    made = readings()
    found = semantics(made, draws=20)
    assert found["scene_clarity"].value == pytest.approx(made.scene.max(1).mean())
    groups = [made.vectors[made.asked == label] for label in range(8)]
    assert found["sem_d"].value == pytest.approx(np.mean([pdist(group, "cosine").mean() for group in groups]))
    theirs = 100 * np.diag(cosine_similarity(made.vectors, made.texts)).clip(min=0)
    assert alignment(made, draws=20)["alignment"].value == pytest.approx(theirs.mean())
    assert "sem_c" in semantics(Predictions(**{**vars(made), "objects": made.scene[:, ::-1]}), draws=5)


def test_the_gap_is_between_two_accuracies():
    made = readings()
    found = gap(made, draws=20)
    guide, judge = (accuracy_score(made.asked, side.argmax(1)) for side in (made.guide, made.likely))
    assert found["guide_accuracy"].value == pytest.approx(guide)
    assert found["guide_gap"].value == pytest.approx(guide - judge)
    assert found["guide_gap"].by == "the guide - test"
    assert gap(replace(made, guide=np.zeros((0, 0)))) == {}


def test_what_a_judge_cannot_say_is_not_judged_and_one_word_for_two_is_right_for_both():
    made = readings()
    merged = made.likely * (np.arange(8) % 2 == 0)
    merged[:, 2] = merged[:, 0] = (merged[:, 0] + merged[:, 2]) / 2
    read = replace(made, likely=merged, says=tuple(EMOTIONS[::2])).only_judged
    found = emotion(read, draws=20)
    asked = made.asked[made.asked % 2 == 0]
    seen = merged[made.asked % 2 == 0].argmax(1)
    right = (seen == asked) | ((seen == 0) & (asked == 2))
    assert found["emotion_accuracy"].value == right.mean()
    assert found["emotion_accuracy"].n == found["probability"].n == len(asked) == 48
    counts = count_confusions(read.likely, read.asked)
    assert counts.sum() == 48
    assert np.trace(counts) / 48 == right.mean()
    assert counts[1::2].sum() == 0


def test_edits_are_held_against_their_originals():
    made, before = readings(), readings(seed=9)
    told = {"edits": np.arange(96), "originals": before, "alike": made.gradient, "near": np.full(96, np.inf)}
    edits = replace(made, **told)
    found = editing(edits, draws=20)
    rows = np.arange(96)
    gained = made.likely[rows, made.asked] - before.likely[rows, made.asked]
    assert found["emotion_gained"].value == pytest.approx(gained.mean())
    spoken = made.asked % 2 == 0
    heard = editing(replace(edits, says=EMOTIONS[::2]), draws=20)["emotion_gained"]
    assert (heard.value, heard.n) == (pytest.approx(gained[spoken].mean()), 48)  # the others are not judged
    assert "emotion_gained" not in editing(replace(edits, says=()), draws=20)
    half = {"edits": np.arange(0, 96, 2), "originals": before.select(np.arange(0, 96, 2))}
    some = editing(replace(edits, **half, alike=made.gradient[::2], near=np.full(48, np.inf)), draws=20)
    assert (some["emotion_gained"].value, some["ssim"].n) == (pytest.approx(gained[::2].mean()), 48)
    edits.alike[5] = np.nan
    with pytest.raises(EmosceneError, match="of 96 edits, 1 is smaller than SSIM's window of 7 pixels"):
        editing(edits, draws=20)
    assert found["clip_i"].value == pytest.approx(np.diag(cosine_similarity(made.vectors, before.vectors)).mean())
    assert found["psnr"].value == 100
    assert editing(made) == {}


def test_all_or_none_is_no_certainty():
    """Where every image is a hit, the interval still has a width; where none is, it is the mirror image of that."""
    made = readings(96)
    made.likely[:] = np.eye(8)[made.asked]
    found = emotion(made, draws=20)["emotion_accuracy"]
    assert found.high == 1
    assert 0.8 < found.low < 0.95
    low = found.low
    made.likely[:] = np.eye(8)[(made.asked + 1) % 8]
    found = emotion(made, draws=20)["emotion_accuracy"]
    assert (found.low, found.high) == (0, pytest.approx(1 - low))


def test_shuffled_labels_are_chance():
    made = readings(768)
    made.likely[:] = np.eye(8)[made.asked]
    found = emotion(made, draws=200)
    assert found["emotion_accuracy"].value == 1
    assert found["shuffled"].low <= 1 / 8 <= found["shuffled"].high


@pytest.mark.parametrize("name", registry.list_names("metrics"))
def test_every_metric_refuses_what_is_no_number_and_goes_without_what_is_not_there(name):
    metric, made, few = registry.load_plugin("metrics", name), readings(), readings(1)
    for value in metric(made, readings(seed=1), draws=50).values():
        assert value.low <= value.value <= value.high
        assert value.n > 0
    odd = readings(seed=1)
    for field in ("likely", "features", "scene", "vectors", "gradient", "spectrum", "guide", "by_colour"):
        getattr(odd, field)[3] = np.nan
    odd = replace(odd, edits=np.arange(96), originals=readings(), alike=odd.gradient, near=odd.gradient)
    with pytest.raises(EmosceneError, match=r"of 96 images, \d+ read as NaN"):
        metric(odd, odd, draws=5)
    if name in NEEDY:
        with pytest.raises(EmosceneError, match="needs"):
            metric(few, few, draws=5)

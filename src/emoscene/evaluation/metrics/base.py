"""What metrics are functions of, what they return, and the figures that many of them share.

Every statistic here takes weights, one an image, for its interval counts some images more often and others less
(`evaluation.intervals`); all ones give the value itself. A statistic of pairs takes the weights of all draws at once
(`resample`), so that its pairs are computed once (`evaluation.pairs`).
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from functools import partial
from typing import Any

import numpy as np

from emoscene.core.errors import EmosceneError
from emoscene.core.plain_text import format_count
from emoscene.core.taxonomy import EMOTIONS
from emoscene.evaluation.intervals import (
    Array,
    Statistic,
    bootstrap_interval,
    count_clusters,
    percentile_interval,
    share_interval,
)


class NotMeasurable(EmosceneError):
    """A metric cannot be had of these images, and nothing is wrong with them: they are too few, or too small."""


@dataclass(frozen=True)
class Value:
    """A figure with its 95 % interval (nan: none), what computed it, and over how many images."""

    value: float
    low: float
    high: float
    n: int
    by: str = ""
    drawn: Array | None = field(default=None, compare=False, repr=False)
    """The value, and then that of each bootstrap draw [1 + draws], where they were computed."""

    def to_dict(self) -> dict[str, Any]:
        """Convert to a row of `scores.json`.

        Returns:
            Numbers with six digits; None for what is not finite.
        """
        row: dict[str, Any] = {}
        for one in fields(self):
            part = getattr(self, one.name)
            if isinstance(part, float):
                part = _plain_number(part)
            if one.name != "drawn":
                row[one.name] = part
        return row


def _plain_number(number: float) -> float | None:
    if np.isfinite(number):
        return round(number, 6)
    return None


@dataclass(frozen=True)
class Predictions:
    """What was read of N images; row n of every array is image n. What was not read is empty.

    Attributes:
        prompt: The prompt of each image, integers [N].
        seed: The seed of each image, integers [N].
        asked: The emotion asked, -1 for none [N].
        likely: An emotion judge's probabilities [N, 8].
        features: The vectors that distances are measured with [N, D].
        gradient: Mean gradient magnitudes, in grey levels a pixel [N].
        spectrum: Radial power spectra in dB, up to Nyquist [N, R]; R is half the side of the smallest image.
        scene: A scene judge's probabilities [N, S].
        place: The scene asked, -1 where unknown [N].
        by: The judge's name.
        says: The emotions that the judge has a label for.
        scene_by: The name of the scene judge.
        object_by: The name of the object judge.
        space: The name of the model that computed the features.
        objects: An object judge's probabilities [N, T].
        vectors: A CLIP's vectors of the images, unit length [N, D].
        texts: The same CLIP's vectors of the neutral prompts, unit length [N, D].
        clip: The CLIP's name.
        guide: The guidance classifier's own probabilities [N, 8].
        file: The number of each image's file, as one file may stand for several emotions asked [N].
        edits: The indices of the images that are edits [E].
        originals: What was read of their originals.
        alike: SSIM with the original, NaN where an image is too small [E].
        near: PSNR with the original in dB [E].
        lpips: LPIPS with the original [E].
        thing: The object asked, -1 where unknown [N].
        colours: Mean and deviation of three colour axes, as `colours.six_numbers` computes them [N, 6].
        by_colour: What a reader of these numbers says, which learnt from real images [N, 8].
        votes: The shares of the viewers who named each emotion, 0 where they are not known [N, 8].
    """

    prompt: Array
    seed: Array
    asked: Array
    likely: Array
    features: Array
    gradient: Array
    spectrum: Array
    scene: Array = field(default_factory=lambda: np.zeros((0, 0)))
    place: Array = field(default_factory=lambda: np.zeros(0, np.int64))
    by: str = ""
    says: tuple[str, ...] = EMOTIONS
    scene_by: str = ""
    object_by: str = ""
    space: str = ""
    objects: Array = field(default_factory=lambda: np.zeros((0, 0)))
    vectors: Array = field(default_factory=lambda: np.zeros((0, 0)))
    texts: Array = field(default_factory=lambda: np.zeros((0, 0)))
    clip: str = ""
    guide: Array = field(default_factory=lambda: np.zeros((0, 0)))
    file: Array = field(default_factory=lambda: np.zeros(0, np.int64))
    edits: Array = field(default_factory=lambda: np.zeros(0, np.int64))
    originals: Predictions | None = None
    alike: Array = field(default_factory=lambda: np.zeros(0))
    near: Array = field(default_factory=lambda: np.zeros(0))
    lpips: Array = field(default_factory=lambda: np.zeros(0))
    thing: Array = field(default_factory=lambda: np.zeros(0, np.int64))
    colours: Array = field(default_factory=lambda: np.zeros((0, 6)))
    by_colour: Array = field(default_factory=lambda: np.zeros((0, 0)))
    votes: Array = field(default_factory=lambda: np.zeros((0, 0)))

    def __len__(self) -> int:
        return len(self.asked)

    @property
    def only_judged(self) -> Predictions:
        """The same, with nothing asked where the judge has no word for it: that is not judged, and never wrong."""
        spoken = np.array([name in self.says for name in EMOTIONS])
        return replace(self, asked=np.where((self.asked >= 0) & spoken[self.asked], self.asked, -1))

    @property
    def without_copies(self) -> Predictions:
        """The same with each file once. A cloud of images has no copies: each would be its own nearest neighbour."""
        if self.file.size:
            return self.select(np.sort(np.unique(self.file, return_index=True)[1]))
        return self

    def select(self, places: Array) -> Predictions:
        """Select images; they are no longer known as edits.

        Args:
            places: Their indices [M].

        Returns:
            The predictions of M images.
        """
        values = {}
        for one in fields(self):
            value = getattr(self, one.name)
            if isinstance(value, np.ndarray) and len(value) == len(self):
                value = value[places]
            if one.name not in EDITED:
                values[one.name] = value
        return Predictions(**values)


EDITED = {"edits", "originals", "alike", "near", "lpips"}
"""The fields of `Predictions` that tell of edits alone."""


def summarize_draws(values: Array, made: Predictions, by: str, centred: bool = False) -> Value:
    """Make a figure of a statistic's value and its bootstrap draws.

    Args:
        values: What `resample` returned [1 + draws].
        made: The images that were resampled.
        by: The name of the model behind it.
        centred: Whether to centre the interval, for a statistic that repetition biases.

    Returns:
        The value.
    """
    value, centre = float(values[0]), None
    if centred:
        centre = value
    low, high = percentile_interval(values[1:], count_clusters(made.prompt, made.seed), centre)
    return Value(value, low, high, len(made), by, values)


def measure(
    statistic: Statistic, readings: Predictions, draws: int = 1000, centred: bool = False, by: str = ""
) -> Value:
    """Compute a statistic over all images, with its interval.

    Args:
        statistic: Maps weights [N] to a number.
        readings: The images.
        draws: The number of bootstrap draws.
        centred: Whether to centre the interval, for a statistic that repetition biases.
        by: The name of the model behind it; the judge's if left out.

    Returns:
        The value.
    """
    value = float(statistic(np.ones(len(readings))))
    centre = None
    if centred:
        centre = value
    low, high = bootstrap_interval(statistic, readings.prompt, readings.seed, draws, centre=centre)
    return Value(value, low, high, len(readings), by or readings.by)


def measure_mean(values: Array, keep: Array, readings: Predictions, draws: int = 1000, by: str = "") -> Value:
    """Compute the mean of some values, with its interval.

    Args:
        values: The values [N].
        keep: 1 for the images that count, 0 for the others [N].
        readings: The images.
        draws: The number of bootstrap draws.
        by: The name of the model behind it; the judge's if left out.

    Returns:
        The value.
    """
    kept = np.flatnonzero(keep > 0)
    return measure(mean_statistic(values[kept]), readings.select(kept), draws, by=by or readings.by)


def measure_share(hit: Array, keep: Array, readings: Predictions, by: str = "") -> Value:
    """Compute a share, with its interval.

    Args:
        hit: 1 for a hit, 0 otherwise [N].
        keep: 1 for the images that count, 0 for the others [N].
        readings: The images.
        by: The name of the model behind it; the judge's if left out.

    Returns:
        The value, from 0 to 1.
    """
    counted = keep > 0
    count = int(counted.sum())
    if not count:
        return Value(float("nan"), float("nan"), float("nan"), 0, by or readings.by)
    chosen = hit[counted]
    low, high = share_interval(chosen, readings.prompt[counted], readings.seed[counted])
    return Value(float(chosen.mean()), low, high, count, by or readings.by)


def weighted_mean(values: Array, weights: Array) -> float:
    """Compute a weighted mean.

    Args:
        values: The values [N].
        weights: Their weights, at least 0 [N].

    Returns:
        The mean; nan where all weights are 0.
    """
    total = float(weights.sum())
    if total:
        return float((values * weights).sum() / total)
    return float("nan")


def mean_statistic(values: Array, keep: Array | None = None) -> Statistic:
    """Make the statistic that computes the mean of some values.

    Args:
        values: The values [N].
        keep: 1 for the images that count, 0 for the others [N]; all if left out.

    Returns:
        A function of weights [N].
    """
    if keep is None:
        return partial(weighted_mean, values)
    return lambda weights: weighted_mean(values, weights * keep)


def predicted_labels(likely: Array, asked: Array) -> Array:
    """Find the likeliest label of each image; among equally likely ones, the one asked.

    Args:
        likely: Probabilities [N, K].
        asked: The label asked, -1 for none [N].

    Returns:
        The labels [N].
    """
    best = (asked >= 0) & (likely[np.arange(len(asked)), asked] == likely.max(1))
    return np.where(best, asked, likely.argmax(1))


def hits(likely: Array, asked: Array) -> Array:
    """Compare the likeliest labels with those asked.

    Args:
        likely: Probabilities [N, K].
        asked: The label asked, -1 for none [N].

    Returns:
        1 where they agree, 0 otherwise [N].
    """
    return (predicted_labels(likely, asked) == asked).astype(float)


def asked_probability(likely: Array, asked: Array) -> Array:
    """Look up the probability of the label asked.

    Args:
        likely: Probabilities [N, K].
        asked: The label asked, -1 for none [N].

    Returns:
        The probabilities [N]; 0 where no label was asked.
    """
    return np.where(asked >= 0, likely[np.arange(len(asked)), asked], 0.0)


def require_images(name: str, least: int, *clouds: Array) -> None:
    """Check that there are enough images, and that all numbers are finite.

    Args:
        name: What is measured, for the error.
        least: The smallest number of images.
        clouds: Arrays [N, ...].

    Raises:
        NotMeasurable: An array has too few rows.
        EmosceneError: An array has numbers that are not finite.
    """
    for cloud in clouds:
        if len(cloud) < least:
            raise NotMeasurable(
                f"{name} needs {format_count(least, 'image')} and has {len(cloud)}: give more prompts or seeds"
            )
        odd = int((~np.isfinite(cloud.reshape(len(cloud), -1))).any(1).sum())
        if odd:
            raise EmosceneError(
                f"{name} was left out: of {format_count(len(cloud), 'image')}, {odd} read as NaN; mend their encoder"
            )


def spaced_places(total: int, count: int) -> Array:
    """Choose evenly spaced indices, so that every prompt and emotion keeps its share.

    Args:
        total: The number of images.
        count: The number of indices, at most `total`.

    Returns:
        Indices [count], ascending.
    """
    return np.linspace(0, total - 1, count).round().astype(np.int64)


def normalize_rows(vectors: Array) -> Array:
    """Normalize vectors.

    Args:
        vectors: Vectors [N, D].

    Returns:
        Vectors of unit length [N, D].
    """
    vectors = vectors.astype(np.float64)
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True).clip(min=1e-12))

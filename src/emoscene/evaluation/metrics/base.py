"""What metrics are functions of, what they answer with, and the one way to an interval.

A picture belongs to a prompt and a seed. Pictures of one prompt resemble each other, and so do pictures of one seed, so
resampling single pictures makes intervals far too narrow. `bootstrap_interval` resamples prompts and seeds, crossed
(Owen 2007): each prompt gets a count and each seed gets a count, and a picture weighs the product of its two. Hence
every statistic here takes weights, one a picture; all ones give the value itself.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field, fields, replace
from functools import partial
from typing import Any

import numpy as np

from emoscene.core.errors import EmosceneError
from emoscene.core.taxonomy import EMOTIONS

Array = np.ndarray
Statistic = Callable[[Array], float]
"""Weights [N] in, one number out."""


@dataclass(frozen=True)
class Value:
    """A figure with its 95 % interval, what computed it, and over how many pictures."""

    value: float
    low: float
    high: float
    n: int
    by: str = ""

    def to_dict(self) -> dict[str, Any]:
        """As `scores.json` holds it: numbers to six digits, None for what is not a number."""
        return {key: _plain_number(part) if isinstance(part, float) else part for key, part in asdict(self).items()}


def _plain_number(number: float) -> float | None:
    return round(number, 6) if np.isfinite(number) else None


@dataclass(frozen=True)
class Predictions:
    """What was read of N pictures; row n of every array is picture n.

    prompt, seed: which prompt and which seed made it [N]. asked: the number of the emotion asked, -1 for none [N].
    file: the number of its file [N], as one file may stand for several emotions asked.
    likely: an emotion judge's probabilities [N, 8]. scene: a scene judge's [N, S]; place: the scene asked [N], -1
    where unknown. features: where distances are measured [N, D]. gradient: mean gradient magnitude [N]. spectrum:
    radial power spectrum in dB [N, R], R = 0 where sizes are mixed. objects: an object judge's probabilities [N, T].
    says: the emotions that the judge has a word for. scene_by, object_by, space: who read scene, objects and features.
    vectors: a CLIP's of the pictures, texts: the same CLIP's of their neutral prompts [N, D], both of unit length,
    clip: its name. guide: what the method that painted them finds in them itself [N, 8].
    edits: the places of the pictures that are edits [E]; originals: what was read of the pictures that they were made
    from; alike, near, lpips: SSIM (NaN where a picture is too small for it), PSNR and LPIPS with them [E].
    What nobody read is empty. by: who read, for the record.
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

    def __len__(self) -> int:
        return len(self.asked)

    @property
    def only_judged(self) -> Predictions:
        """The same, with nothing asked where the judge has no word for it: that is not judged, and never wrong."""
        spoken = np.array([name in self.says for name in EMOTIONS])
        return replace(self, asked=np.where((self.asked >= 0) & spoken[self.asked], self.asked, -1))

    @property
    def without_copies(self) -> Predictions:
        """The same with each file once. A cloud of pictures has no copies: each would be its own nearest neighbour."""
        return self.select(np.sort(np.unique(self.file, return_index=True)[1])) if self.file.size else self

    def select(self, places: Array) -> Predictions:
        """The pictures at these places [M], no longer known as edits."""
        values = {one.name: getattr(self, one.name) for one in fields(self) if one.name not in EDITED}
        return Predictions(
            **{k: v[places] if isinstance(v, np.ndarray) and len(v) == len(self) else v for k, v in values.items()}
        )


EDITED = {"edits", "originals", "alike", "near", "lpips"}
"""The fields of `Predictions` that tell of edits alone."""


def bootstrap_interval(
    statistic: Statistic,
    prompt: Array,
    seed: Array,
    draws: int = 1000,
    start: int = 0,
    centre: float | None = None,
) -> tuple[float, float]:
    """The 95 % percentile interval of a statistic when prompts and seeds are drawn again, crossed.

    A draw in which nothing is left (nan) is passed over. With one seed alone only prompts are resampled, and so on.
    centre: for statistics that repetition itself biases, such as distances between pairs; the draws are moved so that
    their mean is this value.
    """
    _, prompts = np.unique(prompt, return_inverse=True)
    _, seeds = np.unique(seed, return_inverse=True)
    rng = np.random.default_rng(start)
    drawn = np.array(
        [statistic(_draw_counts(rng, prompts)[prompts] * _draw_counts(rng, seeds)[seeds]) for _ in range(draws)]
    )
    values = drawn[np.isfinite(drawn)]
    if not len(values):
        return float("nan"), float("nan")
    low, high = np.quantile(values, [0.025, 0.975]) + (0 if centre is None else centre - values.mean())
    return float(low), float(high)


def measure(
    statistic: Statistic, readings: Predictions, draws: int = 1000, centred: bool = False, by: str = ""
) -> Value:
    """The value of a statistic over all pictures, with its interval; `centred` for one that repetition biases."""
    value = float(statistic(np.ones(len(readings))))
    low, high = bootstrap_interval(statistic, readings.prompt, readings.seed, draws, centre=value if centred else None)
    return Value(value, low, high, len(readings), by or readings.by)


def measure_mean(values: Array, keep: Array, readings: Predictions, draws: int = 1000, by: str = "") -> Value:
    """The mean of values [N] over the pictures for which `keep` [N] is 1, with its interval and their number."""
    return replace(measure(mean_statistic(values, keep), readings, draws, by=by), n=int(keep.sum()))


def measure_share(hit: Array, keep: Array, readings: Predictions, draws: int = 1000, by: str = "") -> Value:
    """The share of pictures that are a hit, 1 or 0 [N], among those for which `keep` [N] is 1.

    Where all are, or none is, drawing again shows nothing but that. The interval is then the exact one of as many
    independent pictures as there are prompts (Clopper and Pearson 1934), which errs on the wide side.
    """
    found = measure_mean(hit, keep, readings, draws, by)
    edge = 0.025 ** (1 / max(1, len(np.unique(readings.prompt[keep > 0]))))
    if found.value == 1:
        return replace(found, low=edge, high=1.0)
    return replace(found, low=0.0, high=1 - edge) if found.value == 0 else found


def weighted_mean(values: Array, weights: Array) -> float:
    """The weighted mean; nan where nothing has weight."""
    total = float(weights.sum())
    return float((values * weights).sum() / total) if total else float("nan")


def mean_statistic(values: Array, keep: Array | None = None) -> Statistic:
    """Weights -> the mean of values [N], over those for which `keep` [N] is 1."""
    return partial(weighted_mean, values) if keep is None else lambda weights: weighted_mean(values, weights * keep)


def predicted_labels(likely: Array, asked: Array) -> Array:
    """The number of the likeliest label [N]; where several are equally so, of the one asked if it is among them.

    A judge has equally likely emotions where one word of its own stands for two of the eight.
    """
    best = (asked >= 0) & (likely[np.arange(len(asked)), asked] == likely.max(1))
    return np.where(best, asked, likely.argmax(1))


def hits(likely: Array, asked: Array) -> Array:
    """1 where the most likely label is the one asked, else 0 [N]."""
    return (predicted_labels(likely, asked) == asked).astype(float)


def asked_probability(likely: Array, asked: Array) -> Array:
    """The probability of the label asked [N]; 0 where none was."""
    return np.where(asked >= 0, likely[np.arange(len(asked)), asked], 0.0)


def require_images(name: str, least: int, *clouds: Array) -> None:
    """Raises Failure where an array [N, ...] has fewer than `least` pictures, or holds what is no finite number."""
    for cloud in clouds:
        if len(cloud) < least:
            raise EmosceneError(f"{name} needs {least} pictures and there are {len(cloud)}: give more prompts or seeds")
        odd = int((~np.isfinite(cloud.reshape(len(cloud), -1))).any(1).sum())
        if odd:
            raise EmosceneError(
                f"{name} was left out: {odd} of {len(cloud)} pictures were read as NaN; mend their encoder"
            )


def spaced_places(total: int, count: int) -> Array:
    """`count` of `total` places, evenly spaced, so that every prompt and emotion keeps its share."""
    return np.linspace(0, total - 1, count).round().astype(np.int64)


def normalize_rows(vectors: Array) -> Array:
    """Vectors [N, D] of length one."""
    vectors = vectors.astype(np.float64)
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True).clip(min=1e-12))


def squared_distances(one: Array, other: Array) -> Array:
    """Squared Euclidean distances [N, M]; exactly zero between one array and itself, place by place."""
    one, other = one.astype(np.float64), other.astype(np.float64)
    found = (one**2).sum(1)[:, None] + (other**2).sum(1) - 2 * one @ other.T
    if one.shape == other.shape and np.array_equal(one, other):
        np.fill_diagonal(found, 0)
    return np.asarray(found.clip(min=0))


def mean_within_emotion(features: Array, asked: Array, apart: Callable[[Array], Array]) -> Statistic:
    """Weights -> the mean of apart(features) [n, n] over all pairs within an emotion, averaged over emotions.

    The pairs are computed once. A picture is no pair with itself, nor with its own copies in a bootstrap draw.
    """
    groups = [np.flatnonzero(asked == label) for label in np.unique(asked[asked >= 0])]
    between = [(group, apart(features[group])) for group in groups if len(group) > 1]

    def value(weights: Array) -> float:
        means = []
        for group, pairs in between:
            shares = weights[group]
            count = shares.sum() ** 2 - (shares**2).sum()
            if count > 0:
                means.append(float((shares @ pairs @ shares - shares**2 @ np.diag(pairs)) / count))
        return float(np.mean(means)) if means else float("nan")

    return value


def _draw_counts(rng: np.random.Generator, groups: Array) -> Array:
    """How often each group is drawn when as many are drawn as there are; one alone stays."""
    count = int(groups.max()) + 1
    if count == 1:
        return np.ones(1)
    return np.bincount(rng.integers(0, count, count), minlength=count).astype(float)

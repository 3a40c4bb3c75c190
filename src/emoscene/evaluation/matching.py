"""Methods compared at the same emotion accuracy, because a larger emotion scale buys emotion with everything else.

A method is evaluated at several emotion scales. Where its accuracy, followed from the least scale up, first reaches the
accuracy that is matched (that of `prompt`, say), every other figure is interpolated linearly: content kept, diversity,
Frechet distance, stereotypy. Intervals interpolate in each bootstrap draw, with the same prompts and seeds drawn for
all scales and for the accuracy that is matched (`evaluation.intervals`): so what a prompt does to all of them cancels.

`evaluate` keeps the draws of each figure in `draws.npz`, a few hundred numbers, so that a report needs no image.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from emoscene.evaluation.intervals import Array, percentile_interval, resample
from emoscene.evaluation.metrics.base import Predictions, Value, hits

DRAWS = 100
"""Bootstrap draws that are kept of each figure: those of the Frechet distance, which cost most."""
ACCURACY = "emotion_accuracy"
SHARES = {"scene_accuracy": ("scene", "place"), "object_accuracy": ("objects", "thing")}
"""The shares whose draws are kept: what was read, and what was asked."""
KEPT = (*SHARES, "diversity_share", "diversity", "frechet", "six_numbers", "stereotypy", "votes_kl")
"""The figures that are interpolated."""
CENTRED = {"diversity_share", "diversity", "frechet", "votes_kl"}
"""Those that repetition biases, so that their draws are centred on the value."""
LEAST_DRAWS = 0.95
"""Share of the draws that must reach the accuracy, or there is no interval."""


@dataclass(frozen=True)
class CurvePoint:
    """What a method's images are worth at one emotion scale.

    Attributes:
        scale: The emotion scale; 0 is the base alone.
        draws: Each figure's value and that of each draw [1 + K], by its name.
        counts: How many images each figure counts, by its name.
    """

    scale: float
    draws: Mapping[str, Array]
    counts: Mapping[str, int] = field(default_factory=dict)


def collect_draws(made: Mapping[str, Predictions], values: Mapping[str, Value]) -> dict[str, Array]:
    """Collect what a report needs to compare methods at matched accuracy.

    Args:
        made: What was read of the images, by judge.
        values: The figures that metrics computed of them.

    Returns:
        The value and the draws of each figure [1 + K], by its name; `emotion_accuracy JUDGE` for each judge.
    """
    draws = {}
    for name, read in made.items():
        judged = read.only_judged
        if (judged.asked >= 0).any():
            draws[f"{ACCURACY} {name}"] = _draw_share(judged.likely, judged.asked, judged)
    first = next(iter(made.values()))
    for name, (likely, asked) in SHARES.items():
        if getattr(first, likely).size and (getattr(first, asked) >= 0).any():
            draws[name] = _draw_share(getattr(first, likely), getattr(first, asked), first)
    for name, value in values.items():
        if name in KEPT and value.drawn is not None:
            draws[name] = value.drawn[: 1 + DRAWS]
    return draws


def _draw_share(likely: Array, asked: Array, read: Predictions) -> Array:
    known = (asked >= 0).astype(float)
    hit = hits(likely, asked) * known

    def compute_shares(weights: Array) -> Array:
        total = weights @ known
        return np.divide(weights @ hit, total, out=np.full(len(total), np.nan), where=total > 0)

    return resample(compute_shares, read.prompt, read.seed, DRAWS)


def match_accuracy(
    points: Sequence[CurvePoint], target: Array, clusters: int, judge: str, names: Sequence[str] = KEPT
) -> dict[str, Value]:
    """Interpolate a method's figures where its emotion accuracy reaches another's.

    Args:
        points: The method at two emotion scales or more, in any order.
        target: The accuracy that is matched and its draws, of the same prompts and seeds [1 + K].
        clusters: How many prompts were drawn.
        judge: The judge whose accuracy is matched.
        names: The figures.

    Returns:
        `emotion_scale` and each figure that all points have; nan where the accuracy is never reached, or is exceeded at
        the least scale already.
    """
    ordered = sorted(points, key=lambda point: point.scale)
    key = f"{ACCURACY} {judge}"
    size = min(len(target), *(len(point.draws[key]) for point in ordered))
    accuracy = np.array([point.draws[key][:size] for point in ordered])
    places = find_crossings(accuracy, target[:size])
    scales = np.array([[point.scale] * size for point in ordered])
    found = {"emotion_scale": _make_value(interpolate_rows(scales, places), clusters, False)}
    for name in names:
        if all(name in point.draws for point in ordered):
            values = _stack_figure(ordered, name, size)
            found[name] = _make_value(interpolate_rows(values, places), clusters, name in CENTRED)
    return found


def _stack_figure(points: Sequence[CurvePoint], name: str, size: int) -> Array:
    """The draws of a figure, a row a point; nan for a point that counts fewer images, whose distance is another's."""
    rows = np.full((len(points), size), np.nan)
    most = max(point.counts.get(name, 0) for point in points)
    for row, point in zip(rows, points, strict=True):
        drawn = point.draws[name][:size]
        if name != "frechet" or point.counts.get(name, most) == most:
            row[: len(drawn)] = drawn
    return rows


def _make_value(drawn: Array, clusters: int, centred: bool) -> Value:
    value, centre = float(drawn[0]), None
    if centred:
        centre = value
    low, high = float("nan"), float("nan")
    if len(drawn) > 1 and np.isfinite(value) and np.isfinite(drawn[1:]).mean() >= LEAST_DRAWS:
        low, high = percentile_interval(drawn[1:], clusters, centre)
    return Value(value, low, high, clusters, "", drawn)


def find_crossings(accuracy: Array, target: Array) -> Array:
    """Find where rising curves first reach a height.

    Args:
        accuracy: S points of K curves, from the least scale to the greatest [S, K].
        target: The heights [K].

    Returns:
        Places from 0 to S - 1, fractions between two points [K]; nan for a curve that never reaches its height, or
        begins above it.
    """
    reached = accuracy >= target
    first = reached.argmax(0)
    columns = np.arange(accuracy.shape[1])
    below = np.maximum(first - 1, 0)
    low, high = accuracy[below, columns], accuracy[first, columns]
    share = np.divide(target - low, high - low, out=np.zeros(len(columns)), where=high > low)
    places = below + share
    begins_above = (first == 0) & (accuracy[0] > target)
    places[~reached.any(0) | begins_above] = np.nan
    return np.asarray(places)


def interpolate_rows(values: Array, places: Array) -> Array:
    """Interpolate linearly between rows.

    Args:
        values: S points of K curves [S, K].
        places: As `find_crossings` returns them [K].

    Returns:
        The values there [K]; nan where the place is nan, or a point on either side is.
    """
    columns = np.arange(values.shape[1])
    known = np.isfinite(places)
    below = np.where(known, np.floor(np.nan_to_num(places)), 0).astype(int)
    above = np.minimum(below + 1, len(values) - 1)
    share = np.nan_to_num(places) - below
    low, high = values[below, columns], values[above, columns]
    between = np.where(share > 0, low + share * (high - low), low)
    return np.where(known, between, np.nan)

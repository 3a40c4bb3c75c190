"""What metrics make of predictions: the parts "judges", "metrics" and "shortcuts" of `scores.json`, and the verdict on
each image. A metric that cannot be had leaves a sentence.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from emoscene.core import registry
from emoscene.core.errors import EmosceneError
from emoscene.core.taxonomy import EMOTIONS
from emoscene.evaluation.intervals import Array
from emoscene.evaluation.matching import collect_draws
from emoscene.evaluation.metrics.base import NotMeasurable, Predictions, Value, hits, predicted_labels
from emoscene.evaluation.metrics.calibration import reliability_curve
from emoscene.evaluation.metrics.emotion import count_confusions, per_emotion
from emoscene.evaluation.predictions import Sample

VERDICTS = ("emotion", "polarity", "affect", "calibration", "votes")
"""The metrics that every judge has for itself."""
SHORTCUTS = ("stereotypy",)
"""The metrics of what can be had without learning an emotion."""


def score_predictions(
    made: Mapping[str, Predictions], real: Mapping[str, Predictions] | None = None
) -> tuple[dict[str, Any], dict[str, Array]]:
    """Compute all metrics.

    Args:
        made: The predictions of the generated images, by judge.
        real: The predictions of real images, by judge.

    Returns:
        The parts "judges", "metrics", "shortcuts", "missing" and "faults" of `scores.json`; "missing" says why a metric
        could not be computed, and "faults" names those of them where something is wrong, rather than too little there.
        And the bootstrap draws of the figures that are compared at matched accuracy, by name.
    """
    missing: dict[str, str] = {}
    faults: list[str] = []
    judges: dict[str, dict[str, Any]] = {}
    labelled = any((read.asked >= 0).any() for read in made.values())
    verdicts: tuple[str, ...] = VERDICTS
    if not labelled:
        verdicts = ()
        missing["emotion"] = "no emotion was asked of any image: name their folders after emotions"
    for name, read in made.items():
        read, reference = read.only_judged, None
        if real is not None:
            reference = real[name].only_judged
        judges[name] = run_metrics(verdicts, read, reference, missing, faults, f" of {name}")
        if len(read.says) < len(EMOTIONS):
            judges[name]["not_judged"] = [emotion for emotion in EMOTIONS if emotion not in read.says]
        if "emotion_accuracy" in judges[name]:
            judges[name]["per_emotion"] = per_emotion(read.likely, read.asked)
            judges[name]["confusion"] = count_confusions(read.likely, read.asked).astype(int).tolist()
        if "calibration_error" in judges[name] and reference is not None:
            judges[name]["reliability"] = reliability_curve(reference.likely, reference.asked)
    first, reference = next(iter(made)), None
    if real is not None:
        reference = real[first]
    rest = [name for name in registry.list_names("metrics") if name not in (*VERDICTS, *SHORTCUTS)]
    metrics = compute_metrics(rest, made[first], reference, missing, faults)
    shortcuts: dict[str, Value] = {}
    if labelled:
        shortcuts = compute_metrics(SHORTCUTS, made[first], reference, missing, faults)
    table = {
        "images": len(made[first]),
        "emotions": list(EMOTIONS),
        "judges": judges,
        "metrics": _plain_values(metrics),
        "shortcuts": _plain_values(shortcuts),
        "missing": missing,
        "faults": faults,
    }
    return table, collect_draws(made, metrics | shortcuts)


def run_metrics(
    names: Iterable[str],
    made: Predictions,
    real: Predictions | None,
    missing: dict[str, str],
    faults: list[str],
    whose: str = "",
) -> dict[str, Any]:
    """Run metrics as `compute_metrics` does.

    Args:
        names: The metrics.
        made: What was read of the images.
        real: What was read of real images, if there are any.
        missing: Receives the sentences, by metric.
        faults: Receives the names of those that something is wrong with.
        whose: What stands behind a metric's name in the sentences.

    Returns:
        The figures as `scores.json` has them, by name.
    """
    return _plain_values(compute_metrics(names, made, real, missing, faults, whose))


def compute_metrics(
    names: Iterable[str],
    made: Predictions,
    real: Predictions | None,
    missing: dict[str, str],
    faults: list[str],
    whose: str = "",
) -> dict[str, Value]:
    """Compute metrics; one that cannot be had leaves a sentence instead of figures.

    Args:
        names: The metrics.
        made: What was read of the images.
        real: What was read of real images, if there are any.
        missing: Receives the sentences, by metric.
        faults: Receives the names of those that something is wrong with.
        whose: What stands behind a metric's name in the sentences.

    Returns:
        The figures, by name.
    """
    values: dict[str, Value] = {}
    for name in names:
        try:
            values |= registry.load_plugin("metrics", name)(made, real)
        except EmosceneError as error:
            missing[f"{name}{whose}"] = str(error)
            if not isinstance(error, NotMeasurable):
                faults.append(f"{name}{whose}")
    return values


def verdict_rows(samples: Sequence[Sample], made: Mapping[str, Predictions], folder: Path) -> list[dict[str, Any]]:
    """List the verdicts on each sample, for paired comparisons.

    Args:
        samples: N images.
        made: Their predictions, by judge.
        folder: The folder that the file names are relative to.

    Returns:
        A row for each sample.
    """
    first = next(iter(made.values()))
    scenes, objects = _list_hits(first.scene, first.place), _list_hits(first.objects, first.thing)
    seen = {}
    for name, read in made.items():
        seen[name] = predicted_labels(read.likely, read.asked)
    rows = []
    for place, sample in enumerate(samples):
        file, asked = sample.file, None
        if file.is_relative_to(folder):
            file = file.relative_to(folder)
        if sample.asked >= 0:
            asked = EMOTIONS[sample.asked]
        rows.append(
            {
                "file": file.as_posix(),
                "prompt": sample.text or sample.file.name,
                "seed": int(sample.seed),
                "asked": asked,
                "scene": sample.scene or None,
                "kept": scenes.get(place),
                "object": sample.object or None,
                "object_kept": objects.get(place),
                "seen": {
                    name: EMOTIONS[seen[name][place]]
                    for name, read in made.items()
                    if asked in (None, *read.says) and np.isfinite(read.likely[place]).all()
                },
                "likely": {name: _round_all(read.likely[place]) for name, read in made.items()},
            }
        )
    return rows


def _list_hits(likely: Array, asked: Array) -> dict[int, int]:
    """1 where what was asked is seen, 0 where it is not; only images of which something was asked and read."""
    found = {}
    if likely.size:
        hit = hits(likely, asked)
        for place in np.flatnonzero(asked >= 0):
            found[int(place)] = int(hit[place])
    return found


def _round_all(numbers: Array) -> list[float | None]:
    rounded: list[float | None] = []
    for number in numbers:
        if np.isfinite(number):
            rounded.append(round(float(number), 4))
        else:
            rounded.append(None)
    return rounded


def _plain_values(values: Mapping[str, Value]) -> dict[str, Any]:
    result = {}
    for name, value in values.items():
        result[name] = value.to_dict()
    return result

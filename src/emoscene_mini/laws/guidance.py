"""Three laws of guidance: it trades recall for precision, it can be fooled, and it clips less in an interval."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from emoscene.core.images import open_image
from emoscene.evaluation.generate import plan_samples
from emoscene.evaluation.intervals import Array, resample
from emoscene.evaluation.metrics.base import Predictions, hits, measure_mean, summarize_draws
from emoscene.evaluation.metrics.manifold import compare_clouds
from emoscene.evaluation.predictions import guidance_classifier, predict
from emoscene_mini.experiment import Experiment
from emoscene_mini.laws.law import Finding

SEEDS = range(40, 48)
"""Of every image here: no setting was ever chosen on them."""
WEAK, STRONG = 1.5, 9.0  # guidance scales
GENTLE, HARD = 0.5, 4.0  # emotion scales
INTERVAL = (0.2, 0.8)  # noise levels t / T at which the limited guidance acts
DRAWS = 200
KEPT = -0.05  # a loss of scenes that is small enough


def measure_recall(lab: Experiment) -> list[Finding]:
    """Precision and recall of the base's images at a weak and a strong guidance scale, against rendered images."""
    weak, strong = (generate_base(lab, f"base-{scale:g}", guidance_scale=scale) for scale in (WEAK, STRONG))
    real = lab.real_predictions
    count = min(len(weak), len(real))
    there = real.features[np.linspace(0, len(real) - 1, count).round().astype(int)]

    def compare(weights: Array) -> Array:
        before = compare_clouds(weak.features, there, weights)
        after = compare_clouds(strong.features, there, weights)
        return np.hstack([after[0] - before[0], before[1] - after[1]])

    draws = resample(compare, weak.prompt, weak.seed, DRAWS)
    precision, recall = np.split(draws, 2)
    which = f"guidance scale {STRONG:g} and {WEAK:g}"
    return [
        Finding(f"precision gained between {which}", summarize_draws(precision, weak, weak.space)),
        Finding(f"recall lost between {which}", summarize_draws(recall, weak, weak.space, centred=True)),
    ]


def measure_fooled_guide(lab: Experiment) -> list[Finding]:
    """How far the guidance classifier's accuracy exceeds the judge's, at a gentle and a hard emotion scale."""
    gaps = []
    for scale in (GENTLE, HARD):
        pipe = lab.pipe("guidance")
        planned = plan_samples(pipe, lab.prompts, SEEDS[:1], emotion_scale=scale)
        samples = lab.generate(f"law-guidance-{scale:g}", pipe, planned)
        read = next(iter(predict(samples, lab.judges, guide=guidance_classifier(pipe)).values()))
        gaps.append(hits(read.guide, read.asked) - hits(read.likely, read.asked))
    opened = measure_mean(gaps[1] - gaps[0], np.ones(len(read)), read, by=f"the guide - {read.by}")
    return [Finding(f"gap gained between emotion scale {HARD:g} and {GENTLE:g}", opened)]


def measure_clipping(lab: Experiment) -> list[Finding]:
    """The share of clipped pixels under strong guidance, at all noise levels and in an interval of them."""
    whole = generate_base(lab, "base-whole", guidance_scale=STRONG)
    limited = generate_base(lab, "base-limited", guidance_scale=STRONG, guidance_interval=INTERVAL)
    clipped = [clipped_shares(lab, name, read) for name, read in (("base-whole", whole), ("base-limited", limited))]
    every = np.ones(len(whole))
    kept = hits(limited.scene, limited.place) - hits(whole.scene, whole.place)
    return [
        Finding(f"clipped pixels saved by guidance at {INTERVAL}", measure_mean(clipped[0] - clipped[1], every, whole)),
        Finding("scenes gained by it", measure_mean(kept, every, whole, by=whole.scene_by), KEPT),
    ]


def generate_base(lab: Experiment, name: str, **settings: Any) -> Predictions:
    """Generate with the base alone and read the images; each once, as it has no emotion."""
    pipe = lab.pipe("none")
    planned = plan_samples(pipe, lab.prompts, SEEDS, **settings)
    return lab.judge(lab.generate(f"law-{name}", pipe, planned)).without_copies


def clipped_shares(lab: Experiment, name: str, read: Predictions) -> Array:
    """The share of each image's values that are 0 or 255 [N]."""
    folder = lab.out / "pictures" / f"law-{name}"
    shares = []
    for prompt, seed in zip(read.prompt, read.seed, strict=True):
        shares.append(clipped_share(folder / f"{prompt:03d}-base-{seed:04d}.png"))
    return np.array(shares)


def clipped_share(file: Path) -> float:
    """Measure how many values of an image are at an end of their range.

    Args:
        file: The image.

    Returns:
        The share, from 0 to 1.
    """
    pixels = np.asarray(open_image(file))
    return float(((pixels == 0) | (pixels == 255)).mean())

"""A law of judges: one that learned from one source of images loses on another."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from PIL import Image, ImageFilter, ImageOps

from emoscene.evaluation.metrics.base import Predictions, hits, measure_mean
from emoscene.evaluation.predictions import predict
from emoscene_mini.experiment import Experiment
from emoscene_mini.laws.law import Finding

BITS = 2  # of each colour that a poster keeps


def measure_other_sources(lab: Experiment) -> list[Finding]:
    """Let the first judge read held-out images, and again as photographs and as posters of the same."""
    samples = lab.natural_samples
    plain = first(predict(samples, lab.judges))
    findings = []
    for name, change in STYLES.items():
        other = first(predict(samples, lab.judges, change))
        lost = hits(plain.likely, plain.asked) - hits(other.likely, other.asked)
        value = measure_mean(lost, np.ones(len(plain)), plain)
        findings.append(Finding(f"accuracy lost on {name}", value))
    return findings


def first(read: dict[str, Predictions]) -> Predictions:
    """The predictions of the first judge of emotions."""
    return next(iter(read.values()))


def photograph(image: Image.Image) -> Image.Image:
    """Make an image look as if a cheap camera had taken it: softer, warmer, darker at the corners, grainy.

    Args:
        image: The image.

    Returns:
        The photograph.
    """
    soft = np.asarray(image.filter(ImageFilter.GaussianBlur(0.9)), np.float32) / 255
    height, width = soft.shape[:2]
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    vignette = 1 - 0.35 * (x**2 + y**2) / 2
    toned = soft**1.25 * np.array([1.08, 1.0, 0.86], np.float32)
    rng = np.random.default_rng(int(soft.sum()))
    grain = rng.normal(0, 0.035, (height, width, 1))
    pixels = toned * vignette[..., None] + grain
    return Image.fromarray((pixels.clip(0, 1) * 255).round().astype(np.uint8))


def poster(image: Image.Image) -> Image.Image:
    """Draw an image as another renderer would: flat areas of few tones, without outlines' softness.

    Args:
        image: The image.

    Returns:
        The poster.
    """
    flat = image.filter(ImageFilter.MedianFilter(5))
    return ImageOps.posterize(flat, BITS)


STYLES: dict[str, Callable[[Image.Image], Image.Image]] = {"photographs": photograph, "posters": poster}
"""The other sources of images."""

"""What images are put through before they are judged again: a gain in accuracy that vanishes here was noise."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from io import BytesIO
from typing import Any

from PIL import Image, ImageFilter

from emoscene.encoders.base import Encoder
from emoscene.evaluation.intervals import Array
from emoscene.evaluation.predictions import Sample, predict
from emoscene.evaluation.scoring import run_metrics


def recompress_jpeg(image: Image.Image) -> Image.Image:
    """Compress an image as a JPEG of quality 75.

    Args:
        image: The image.

    Returns:
        What is left of it.
    """
    buffer = BytesIO()
    image.save(buffer, "JPEG", quality=75)
    return Image.open(buffer).convert("RGB")


def blur(image: Image.Image) -> Image.Image:
    """Blur an image with a Gaussian of 1/128 of its shorter side.

    Args:
        image: The image.

    Returns:
        The blurred image.
    """
    return image.filter(ImageFilter.GaussianBlur(min(image.size) / 128))


TREATED: dict[str, Callable[[Image.Image], Image.Image]] = {"jpeg75": recompress_jpeg, "blur": blur}
"""The treatments by name: a recompression and a blur that no viewer would notice."""


def measure_robustness(
    samples: Sequence[Sample], judges: Mapping[str, Encoder], seen: Mapping[str, Array] | None = None
) -> dict[str, dict[str, Any]]:
    """Measure each judge's emotion accuracy on degraded images.

    Args:
        samples: The images.
        judges: The judges and other models, by name.
        seen: What each judge read of degraded images, where the files were not kept.

    Returns:
        The accuracy by judge and degradation; empty where no emotion was asked.
    """
    accuracies: dict[str, dict[str, Any]] = {}
    for name, treatment in TREATED.items():
        own = seen and {key.removeprefix(f"{name} "): part for key, part in seen.items() if key.startswith(f"{name} ")}
        for judge, read in predict(samples, judges, treatment, seen=own).items():
            accuracy = run_metrics(("emotion",), read.only_judged, None, {}, []).get("emotion_accuracy")
            if accuracy:
                accuracies.setdefault(judge, {})[name] = accuracy
    return accuracies

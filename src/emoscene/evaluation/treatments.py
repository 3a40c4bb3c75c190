"""What an image should survive: a gain that vanishes under it was noise that only the judge could see."""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO

from PIL import Image, ImageFilter


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
"""What an image should survive: a gain that vanishes here was noise that only the judge could see."""

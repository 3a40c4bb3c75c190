"""Checks an image before it is used: `open_checked(data, name)` returns the image, or `ImageRefused` gives the reason.

The reader is `core.image_files`, as everywhere; an image for training must also have a least side.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from PIL import Image

from emoscene.core.image_files import decode_image

SMALLEST = 16  # pixels of a side


def open_checked(data: bytes, name: str, enough: int | None = None) -> tuple[Image.Image, tuple[str, ...]]:
    """Decode an image and check it.

    Args:
        data: The bytes of the file.
        name: The name of the file.
        enough: The side in pixels that it is needed at; see `decode_image`.

    Returns:
        The image (RGB, upright), and a phrase for each unusual property that was corrected.

    Raises:
        ImageRefused: The image cannot be used; the message is the reason.
    """
    read = decode_image(data, name, enough, SMALLEST)
    return read.image, read.mended


@contextmanager
def silence_pillow() -> Iterator[None]:
    """Suppress Pillow's warnings inside: what matters of them becomes a reason or a note.

    Yields:
        Nothing.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"PIL\.")
        yield

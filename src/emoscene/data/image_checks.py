"""Checks an image before it is used: `open_checked(data, name)` returns the image, or `ImageRefused` gives the reason.

What is sound but unusual is brought to RGB, upright, on white, and what was done to it is said: a CMYK or 16-bit
image, one turned by its EXIF orientation, the first frame of an animation, a file whose name lies about its format.
What is damaged, empty, huge, tiny or no image at all is refused with its reason. The files are never changed.

The formats are an allow-list, because Pillow also opens documents and scripts; the size in bytes is bounded before
decoding, and that in pixels as soon as the header is read, so that a small file cannot unfold to gigabytes.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import PurePath

from PIL import Image, UnidentifiedImageError

from emoscene.core.images import FORMATS, MAX_MEGABYTES, MAX_MEGAPIXELS, to_upright_rgb

SMALLEST = 16  # pixels of a side
ORIENTATION = 0x0112  # the EXIF tag
PLAIN = {"RGB", "L"}
ENDINGS = {
    "PNG": {".png", ".apng"},
    "JPEG": {".jpg", ".jpeg", ".jpe", ".jfif", ".mpo"},
    "WEBP": {".webp"},
    "BMP": {".bmp", ".dib"},
    "GIF": {".gif"},
    "TIFF": {".tif", ".tiff"},
}


class ImageRefused(Exception):
    """An image that is not let in; the message is the reason."""


def open_checked(data: bytes, name: str) -> tuple[Image.Image, tuple[str, ...]]:
    """Decode an image and check it.

    Args:
        data: The bytes of the file.
        name: The name of the file, whose ending is compared with the format; not compared where it has no ending.

    Returns:
        The image (RGB, upright), and a sentence for each unusual property that was corrected.

    Raises:
        ImageRefused: The image cannot be used; the message is the reason.
    """
    if not data:
        raise ImageRefused("it is empty")
    if len(data) > MAX_MEGABYTES * 2**20:
        raise ImageRefused(f"it is larger than {MAX_MEGABYTES} MB")
    try:
        image = Image.open(BytesIO(data), formats=FORMATS)
        if image.width * image.height > MAX_MEGAPIXELS * 1_000_000:
            raise ImageRefused(f"it has {image.width} x {image.height} pixels, more than {MAX_MEGAPIXELS} million")
        if min(image.size) < SMALLEST:
            raise ImageRefused(f"it has {image.width} x {image.height} pixels, fewer than {SMALLEST} a side")
        mended = tuple(_describe_unusual(image, name))
        image.load()
        return to_upright_rgb(image), mended
    except (ImageRefused, MemoryError):
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ImageRefused(f"it has more than {MAX_MEGAPIXELS} million pixels") from error
    except UnidentifiedImageError as error:
        raise ImageRefused(f"it is no image ({', '.join(FORMATS)}) or its beginning is damaged") from error
    except Exception as error:  # damaged files make Pillow raise nearly everything
        raise ImageRefused(f"it is damaged ({_first_line(error)})") from error


@contextmanager
def silence_pillow() -> Iterator[None]:
    """Suppress Pillow's warnings inside: what matters of them becomes a reason or a note.

    Yields:
        Nothing.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"PIL\.")
        yield


def _describe_unusual(image: Image.Image, name: str) -> Iterator[str]:
    ending = PurePath(name).suffix.lower()
    if image.format == "MPO":
        kind = "JPEG"
    else:
        kind = str(image.format)
    if ending and ending not in ENDINGS[kind]:
        yield f"a {kind} named {ending}"
    if getattr(image, "n_frames", 1) > 1:
        yield "the first of several frames"
    if image.mode not in PLAIN:
        yield f"{image.mode} brought to RGB"
    if image.getexif().get(ORIENTATION, 1) != 1:
        yield "turned as its EXIF says"


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:120].rstrip(".")

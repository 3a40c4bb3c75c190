"""Images with the parameters they are functions of; contact sheets; and the one safe way to open somebody's file.

A PNG carries in two text chunks what it was made from, so that the same parameters make it again: `emoscene` holds the
row of its `GenerationParams` as JSON, `parameters` says it in the words that other programs read (A1111's).
"""

import dataclasses
import json
import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from io import BytesIO
from itertools import chain
from pathlib import Path
from typing import Any, final

from PIL import Image, ImageDraw, ImageFont
from PIL.PngImagePlugin import PngInfo

from emoscene.core.errors import EmosceneError, UsageError
from emoscene.core.file_reading import describe_fault, parse_json
from emoscene.core.image_files import SAVE_ANEW, ImageRefused, ReadImage, decode_image, read_image_file, read_size
from emoscene.core.params import GenerationParams
from emoscene.core.run_dir import write_atomic
from emoscene.core.taxonomy import format_emotion

CHUNKS = ("parameters", "emoscene")
"""The text chunks of a PNG, and the keys of `Image.info` under which Pillow reads them."""
INK, FAINT, PAPER = "#2b2a28", "#77736c", "#faf8f4"


@final
class GeneratedImage(Image.Image):
    """An image whose `info` has the chunks of its parameters, and whose plain `save` writes them into a PNG.

    Pillow reads text chunks into `info` but writes only those of `pnginfo`; `save` fills in that argument. Formats
    other than PNG ignore it, and what is made of the image (`resize`, `crop`) is a plain image again.
    """

    @classmethod
    def from_image(cls, image: Image.Image, row: GenerationParams) -> "GeneratedImage":
        """Give an image its parameters.

        Args:
            image: The image, which stays as it is.
            row: Its parameters.

        Returns:
            A copy with the chunks in `info`.
        """
        copy = cls()
        copy.__setstate__(image.__getstate__())
        copy.info = dict(image.info)
        for name, text in describe_params(row).items():
            copy.info[name] = text
        return copy

    def save(self, fp: Any, format: str | None = None, **params: Any) -> None:
        """Save the image as Pillow does, a PNG with its parameters.

        Args:
            fp: A file name or an open file.
            format: The format, where the name does not tell it.
            params: Arguments of the format; a `pnginfo` among them takes the place of the image's own.
        """
        super().save(fp, format, **{"pnginfo": _make_chunks(self.info), **params})


def describe_params(row: GenerationParams) -> dict[str, str]:
    """Write the parameters of an image as its file's text chunks hold them; the seconds it took are no part of it.

    Args:
        row: The parameters.

    Returns:
        The texts of `CHUNKS`.
    """
    row = dataclasses.replace(row, seconds=None)
    return {"parameters": row.to_a1111_text(), "emoscene": json.dumps(row.to_dict())}


def _make_chunks(info: dict[Any, Any]) -> PngInfo:
    chunks = PngInfo()
    for name in CHUNKS:
        if name in info:
            chunks.add_text(name, info[name])
    return chunks


def name_files(rows: Sequence[GenerationParams]) -> list[GenerationParams]:
    """Name the file of each image: the emotion (or its emotion image), the seed, and a number where these repeat.

    Args:
        rows: The images' parameters.

    Returns:
        The same with `file` set.
    """
    counts: dict[str, int] = {}
    named = []
    for row in rows:
        word = format_emotion(row.emotion) or "base"
        if row.emotion_image:
            word = f"like-{Path(row.emotion_image).stem}"
        stem = f"{re.sub(r'[^A-Za-z0-9.-]+', '_', word)[:60]}-{row.seed:04d}"
        key = stem.casefold()  # macOS and Windows take names that differ in case for one
        counts[key] = counts.get(key, 0) + 1
        if counts[key] > 1:
            stem = f"{stem}-{counts[key]}"
        named.append(dataclasses.replace(row, file=f"{stem}.png"))
    return named


def encode_png(image: Image.Image, row: GenerationParams) -> bytes:
    """Encode an image as a PNG with its parameters.

    Args:
        image: The image.
        row: Its parameters.

    Returns:
        The bytes of the file, the same for the same image and parameters.
    """
    buffer = BytesIO()
    image.save(buffer, "PNG", pnginfo=_make_chunks(describe_params(row)))
    return buffer.getvalue()


def save_image(image: Image.Image, path: Path | str, row: GenerationParams) -> None:
    """Write an image as a PNG with its parameters, whole or not at all.

    Args:
        image: The image.
        path: The file.
        row: Its parameters.
    """
    write_atomic(path, encode_png(image, row))


def read_params(path: Path | str) -> GenerationParams:
    """Read the parameters that a PNG carries.

    Args:
        path: The file.

    Returns:
        The parameters; of an image that an older version made, too.

    Raises:
        UsageError: The file carries none.
        EmosceneError: They are damaged.
    """
    text = open_image(path).info.get("emoscene")
    if not isinstance(text, str):
        raise UsageError(f"{path} carries no row: it is not a PNG that emoscene made")
    try:
        return GenerationParams.from_dict(parse_json(text))
    except UsageError as error:
        raise EmosceneError(f"the row in {path} is damaged ({error}): make the image again") from error
    except (ValueError, TypeError, AttributeError) as error:
        reason = describe_fault(error)
        raise EmosceneError(f"the row in {path} is damaged ({reason}): make the image again") from error


def open_image(path: Path | str, enough: int | None = None) -> Image.Image:
    """Open somebody's image: formats by an allow-list, bounded in bytes and pixels.

    Args:
        path: The file.
        enough: The side in pixels that it is needed at; see `decode_image`.

    Returns:
        The image in RGB, upright, on white.

    Raises:
        UsageError: The file is not there, is too large, or cannot be read.
    """
    return read_image(path, enough).image


def read_image(path: Path | str, enough: int | None = None) -> ReadImage:
    """Open somebody's image as `open_image` does, and tell its size in the file.

    Args:
        path: The file.
        enough: The side in pixels that it is needed at; see `decode_image`.

    Returns:
        The image, its size, and what was corrected.

    Raises:
        UsageError: The file is not there, is too large, or cannot be read.
    """
    path = Path(path)
    with _explain_refusal(path):
        return decode_image(read_image_file(path), path.name, enough)


def read_image_size(path: Path | str, enough: int | None = None) -> tuple[int, int]:
    """Read the size of the image that `open_image` returns, from the file's header where that tells it.

    Args:
        path: The file.
        enough: The side in pixels that it is needed at; see `decode_image`.

    Returns:
        The width and height.

    Raises:
        UsageError: The file is not there, is too large, or cannot be read.
    """
    path = Path(path)
    with _explain_refusal(path):
        return read_size(read_image_file(path), path.name, enough)


@contextmanager
def _explain_refusal(path: Path) -> Iterator[None]:
    """Raises UsageError for a file that cannot be read as an image."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            yield
    except FileNotFoundError as error:
        raise UsageError(f"{path} is not there: check the path") from error
    except OSError as error:
        raise UsageError(f"{path} cannot be read ({error.strerror or error}): see to its permissions") from error
    except ImageRefused as error:
        remedy = error.remedy or SAVE_ANEW
        raise UsageError(f"{path} cannot be read as an image ({error.reason}): {remedy}") from error


def contact_sheet(
    images: Sequence[Sequence[Image.Image]],
    rows: Sequence[str] = (),
    columns: Sequence[str] = (),
    title: str = "",
) -> Image.Image:
    """Make a contact sheet: a grid of images with labels.

    Args:
        images: The images, row by row; at least one.
        rows: A label for each row, or none.
        columns: A label for each column, or none.
        title: What stands above.

    Returns:
        The sheet.
    """
    every = list(chain.from_iterable(images))
    wide = max(image.width for image in every)
    high = max(image.height for image in every)
    gap, unit = max(2, wide // 32), max(12, wide // 9)
    head, label = ImageFont.load_default(unit * 1.5), ImageFont.load_default(unit)
    margin = unit * 1.5
    left = margin
    if rows:
        left += max(label.getlength(row) for row in rows) + unit
    above = margin
    if title:
        above += unit * 2.6
    if columns:
        above += unit * 1.8
    count = max(map(len, images))
    width = left + max(count * (wide + gap) - gap, head.getlength(title)) + margin
    height = above + len(images) * (high + gap) - gap + margin

    canvas = Image.new("RGB", (round(width), round(height)), PAPER)
    draw = ImageDraw.Draw(canvas)
    draw.text((left, margin), title, INK, head)
    for x, column in enumerate(columns):
        draw.text((left + x * (wide + gap) + wide / 2, above - unit * 0.7), column, INK, label, anchor="ms")
    for y, row in enumerate(rows):
        draw.text((left - unit, above + y * (high + gap) + high / 2), row, FAINT, label, anchor="rm")
    for y, line in enumerate(images):
        for x, image in enumerate(line):
            canvas.paste(image, (round(left + x * (wide + gap)), round(above + y * (high + gap))))
    return canvas

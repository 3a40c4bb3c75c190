"""Pictures and the rows they are functions of; contact sheets; and the one safe way to open somebody's file.

A PNG carries in two text chunks what it was made from, so that the same parameters make it again: `emoscene` holds the
row of its `GenerationParams` as JSON, `parameters` says it in the words that other programs read (A1111's).
"""

import dataclasses
import json
import re
import warnings
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont, ImageOps
from PIL.PngImagePlugin import PngInfo

from emoscene.core.errors import EmosceneError, UsageError
from emoscene.core.params import GenerationParams
from emoscene.core.run_dir import parse_json, write_atomic
from emoscene.core.taxonomy import format_emotion

FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF")
MAX_MEGAPIXELS = 25
MAX_MEGABYTES = 20
INK, FAINT, PAPER = "#2b2a28", "#77736c", "#faf8f4"


def name_files(rows: Sequence[GenerationParams]) -> list[GenerationParams]:
    """The rows with a file name each: the emotion (or whose it is), the seed, and a number where these repeat."""
    found: dict[str, int] = {}
    given = []
    for row in rows:
        felt = f"like-{Path(row.emotion_image).stem}" if row.emotion_image else format_emotion(row.emotion) or "base"
        stem = f"{re.sub(r'[^A-Za-z0-9.-]+', '_', felt)[:60]}-{row.seed:04d}"
        found[stem] = found.get(stem, 0) + 1
        given.append(dataclasses.replace(row, file=f"{stem}{f'-{found[stem]}' if found[stem] > 1 else ''}.png"))
    return given


def save_image(image: Image.Image, path: Path | str, row: GenerationParams) -> None:
    """Write the PNG, whole or not at all, with the row in its chunks; the seconds it took are no part of it."""
    row = dataclasses.replace(row, seconds=None)
    chunks, buffer = PngInfo(), BytesIO()
    chunks.add_text("parameters", row.to_a1111_text())
    chunks.add_text("emoscene", json.dumps(row.to_dict()))
    image.save(buffer, "PNG", pnginfo=chunks)
    write_atomic(path, buffer.getvalue())


def read_params(path: Path | str) -> GenerationParams:
    """The row that a PNG carries."""
    text = _open_checked(Path(path)).info.get("emoscene")
    if not isinstance(text, str):
        raise UsageError(f"{path} carries no row: it is not a PNG that emoscene made")
    try:
        return GenerationParams.from_dict(parse_json(text))
    except UsageError as error:
        raise EmosceneError(f"the row in {path} is damaged ({error}): make the image again") from error
    except (ValueError, TypeError, AttributeError) as error:
        raise EmosceneError(f"the row in {path} is damaged") from error


def open_image(path: Path | str) -> Image.Image:
    """Somebody's picture in RGB and upright: formats by an allow-list, bounded in bytes and pixels, on white."""
    image = _open_checked(Path(path))
    try:
        return to_upright_rgb(image)
    except ValueError as error:
        raise UsageError(f"{path} cannot be used ({error}): save it with whole numbers as its pixels") from error


def to_upright_rgb(image: Image.Image) -> Image.Image:
    """A picture in RGB, turned as its EXIF says, what is clear on white.

    Raises ValueError for pixels that are not finite numbers.
    """
    image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I") or image.mode == "F":
        deep = np.asarray(image, dtype=np.float64)
        if not np.isfinite(deep).all():
            raise ValueError("it has pixels that are not finite numbers")
        scale = 255 / 65535 if deep.max(initial=0) > 255 else 1
        image = Image.fromarray((deep * scale).clip(0, 255).round().astype(np.uint8))
    if image.has_transparency_data:
        layer = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), layer)
    return image.convert("RGB")


def contact_sheet(
    images: Sequence[Sequence[Image.Image]],
    rows: Sequence[str] = (),
    columns: Sequence[str] = (),
    title: str = "",
) -> Image.Image:
    """A contact sheet: a grid of pictures on paper, columns and rows labelled, one title above."""
    wide, high = (max(image.size[axis] for line in images for image in line) for axis in (0, 1))
    gap, unit = max(2, wide // 32), max(12, wide // 9)
    head, label = ImageFont.load_default(unit * 1.5), ImageFont.load_default(unit)
    margin = unit * 1.5
    left = margin + (max((label.getlength(row) for row in rows), default=-unit) + unit)
    above = margin + (unit * 2.6 if title else 0) + (unit * 1.8 if columns else 0)
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


def _open_checked(path: Path) -> Image.Image:
    """The file's picture, loaded; whatever is wrong with it is one sentence."""
    if not path.is_file():
        raise UsageError(f"{path} is not there")
    if path.stat().st_size > MAX_MEGABYTES * 2**20:
        raise UsageError(f"{path} is larger than {MAX_MEGABYTES} MB: make it smaller first")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            image = Image.open(BytesIO(path.read_bytes()), formats=FORMATS)
            if image.width * image.height > MAX_MEGAPIXELS * 1_000_000:
                raise Image.DecompressionBombError
            image.load()
            return image
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise UsageError(f"{path} has more than {MAX_MEGAPIXELS} megapixels: make it smaller first") from error
    except (OSError, ValueError, SyntaxError, EOFError) as error:
        formats = ", ".join(FORMATS)
        raise UsageError(f"{path} cannot be read as a picture ({formats}): it is damaged or something else") from error

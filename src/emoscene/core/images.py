"""Images with the parameters they are functions of; contact sheets; and the one safe way to open somebody's file.

A PNG carries in two text chunks what it was made from, so that the same parameters make it again: `emoscene` holds the
row of its `GenerationParams` as JSON, `parameters` says it in the words that other programs read (A1111's). A JPEG or a
WebP carries the same in its XMP and EXIF data. All of them say that a model made them (`core.provenance`).
"""

import dataclasses
import json
import re
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from io import BytesIO
from itertools import chain
from pathlib import Path
from typing import Any, final

from PIL import Image, ImageDraw, ImageFont

from emoscene.core.content_credentials import sign_image
from emoscene.core.errors import EmosceneError, UsageError
from emoscene.core.file_reading import describe_fault, parse_json
from emoscene.core.image_files import SAVE_ANEW, ImageRefused, ReadImage, decode_image, read_image_file, read_size
from emoscene.core.params import GenerationParams
from emoscene.core.provenance import (
    TRAINED,
    choose_source_type,
    encode_exif_comment,
    encode_xmp,
    join_source_types,
    read_exif_comment,
    read_statement,
    save_words,
)
from emoscene.core.run_dir import write_atomic
from emoscene.core.taxonomy import format_emotion

CHUNKS = ("parameters", "emoscene")
"""The text chunks of a PNG, and the keys of `Image.info` under which Pillow reads them."""
WRITTEN: dict[str, dict[str, Any]] = {
    "png": {},
    "jpeg": {"quality": 95, "subsampling": 0},
    "webp": {"quality": 95, "method": 4},
}
"""The formats that are written, and how finely."""
SUFFIXES = {"png": ".png", "jpeg": ".jpg", "webp": ".webp"}
MOST_JPEG_BYTES = 65_000  # of XMP, and of EXIF: each is one segment of a JPEG
INK, FAINT, PAPER = "#2b2a28", "#77736c", "#faf8f4"


@final
class GeneratedImage(Image.Image):
    """An image whose `info` has its parameters and the mark of its origin, and whose plain `save` writes both.

    Pillow reads such data into `info` but writes only what the arguments of `save` say; this `save` fills them in, for
    PNG, JPEG and WebP. What is made of the image (`resize`, `crop`) is a plain image again.
    """

    @classmethod
    def from_image(cls, image: Image.Image, row: GenerationParams) -> "GeneratedImage":
        """Give an image its parameters.

        Args:
            image: The image, which stays as it is.
            row: Its parameters.

        Returns:
            A copy with the chunks and the mark in `info`.
        """
        copy = cls()
        copy.__setstate__(image.__getstate__())
        copy.info = dict(image.info)
        for name, text in describe_params(row).items():
            copy.info[name] = text
        copy.info["xmp"] = encode_xmp(choose_source_type(bool(row.image)))
        return copy

    @classmethod
    def from_preview(cls, image: Image.Image) -> "GeneratedImage":
        """Mark an image that is still being generated, which has no parameters yet.

        Args:
            image: The image, which stays as it is.

        Returns:
            A copy with the mark in `info`.
        """
        copy = cls()
        copy.__setstate__(image.__getstate__())
        copy.info = {**image.info, "xmp": encode_xmp(TRAINED)}
        return copy

    def save(self, fp: Any, format: str | None = None, **params: Any) -> None:
        """Save the image as Pillow does, with its parameters and its mark where the format has a place for them.

        Args:
            fp: A file name or an open file.
            format: The format, where the name does not tell it.
            params: Arguments of the format; a `pnginfo`, `xmp` or `exif` among them takes the place of the image's own.
        """
        texts = {name: self.info[name] for name in CHUNKS if name in self.info}
        kind = _find_format(fp, format)
        words = {}
        if kind in WRITTEN:
            words = _encode_texts(texts, read_statement(self).source_type, kind)
        super().save(fp, format, **{**words, **params})


def _find_format(fp: Any, format: str | None) -> str:
    """The format that Pillow would write, in lower case."""
    name = format
    if name is None:
        suffix = Path(str(getattr(fp, "name", fp))).suffix.lower()
        name = Image.registered_extensions().get(suffix, "")
    return name.lower().replace("jpg", "jpeg")


def describe_params(row: GenerationParams) -> dict[str, str]:
    """Write the parameters of an image as its file's text chunks hold them; the seconds it took are no part of it.

    Args:
        row: The parameters.

    Returns:
        The texts of `CHUNKS`.
    """
    row = dataclasses.replace(row, seconds=None)
    return {"parameters": row.to_a1111_text(), "emoscene": json.dumps(row.to_dict())}


def _encode_texts(texts: Mapping[str, str], source_type: str, kind: str) -> dict[str, Any]:
    """The arguments of `save` that write parameters and mark into a file of this format."""
    if kind == "png":
        return save_words(encode_xmp(source_type), chunks=texts.items())
    row, parameters, exif = texts.get("emoscene", ""), texts.get("parameters", ""), b""
    if row:  # shorter without escapes
        row = json.dumps(parse_json(row), ensure_ascii=False)
    if parameters:
        exif = encode_exif_comment(parameters)
    return save_words(encode_xmp(source_type, row, parameters), exif)


def read_texts(image: Image.Image) -> dict[str, str]:
    """Read what an image says that it was made from: the chunks of a PNG, else its XMP, else its EXIF data.

    Args:
        image: The image.

    Returns:
        Those of the texts of `CHUNKS` that it has.
    """
    texts = {name: image.info[name] for name in CHUNKS if isinstance(image.info.get(name), str)}
    if texts:
        return texts
    statement = read_statement(image)
    found = {"parameters": read_exif_comment(image) or statement.parameters, "emoscene": statement.row}
    return {name: text for name, text in found.items() if text}


def find_format(file: str | Path) -> str:
    """Find the format that a file's name stands for.

    Args:
        file: The name.

    Returns:
        One of `WRITTEN`.

    Raises:
        UsageError: No such file is written.
    """
    suffix = Path(file).suffix.lower().replace(".jpeg", ".jpg")
    for kind, ending in SUFFIXES.items():
        if suffix == ending:
            return kind
    raise UsageError(f"{file} is of a format that is not written: name it {', '.join(SUFFIXES.values())}")


def name_files(rows: Sequence[GenerationParams], kind: str = "png") -> list[GenerationParams]:
    """Name the file of each image: the emotion (or its emotion image), the seed, and a number where these repeat.

    Args:
        rows: The images' parameters.
        kind: The format, one of `WRITTEN`.

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
        named.append(dataclasses.replace(row, file=f"{stem}{SUFFIXES[kind]}"))
    return named


def check_fit(rows: Iterable[GenerationParams], kind: str) -> None:
    """Check that parameters have room in the files of a format, before anything is generated.

    Args:
        rows: The images' parameters.
        kind: The format, one of `WRITTEN`.

    Raises:
        UsageError: A JPEG, whose segments are 64 KB, cannot hold them.
    """
    if kind != "jpeg":
        return
    for row in rows:
        words = _encode_texts(describe_params(row), choose_source_type(bool(row.image)), kind)
        size = max(len(words["xmp"]), len(words["exif"]))
        if size > MOST_JPEG_BYTES:
            raise UsageError(
                f"the parameters take {size:,} bytes and a JPEG has room for {MOST_JPEG_BYTES:,}: give a shorter "
                "prompt, or --format png or webp"
            )


def encode_image(image: Image.Image, row: GenerationParams, kind: str = "png", provenance: str = "xmp") -> bytes:
    """Encode an image as a file with its parameters and what it says of its origin.

    Args:
        image: The image.
        row: Its parameters.
        kind: The format, one of `WRITTEN`.
        provenance: `xmp`: the mark that a model made it. `c2pa`: that, and a signature. `none`: the parameters alone.

    Returns:
        The bytes of the file, the same for the same image and parameters; of `c2pa` new ones each time.

    Raises:
        EmosceneError: The extra `provenance` is missing, or the certificate cannot be used.
    """
    source_type = choose_source_type(bool(row.image))
    marked = source_type
    if provenance == "none":
        marked = ""
    words = _encode_texts(describe_params(row), marked, kind)
    buffer = BytesIO()
    plain = Image.Image.save  # without the mark that a `GeneratedImage` adds
    plain(image, buffer, kind, **WRITTEN[kind], **words)
    if provenance == "c2pa":
        return sign_image(buffer.getvalue(), kind, source_type)
    return buffer.getvalue()


def save_image(image: Image.Image, path: Path | str, row: GenerationParams, provenance: str = "xmp") -> None:
    """Write an image with its parameters, whole or not at all.

    Args:
        image: The image.
        path: The file, whose ending tells the format.
        row: Its parameters.
        provenance: As `encode_image` has it.

    Raises:
        UsageError: No file with this ending is written.
    """
    write_atomic(path, encode_image(image, row, find_format(path), provenance))


def read_params(path: Path | str) -> GenerationParams:
    """Read the parameters that an image of ours carries.

    Args:
        path: The file.

    Returns:
        The parameters; of an image that an older version made, too.

    Raises:
        UsageError: The file carries none.
        EmosceneError: They are damaged.
    """
    text = read_texts(open_image(path)).get("emoscene")
    if text is None:
        raise UsageError(f"{path} carries no row: it is not an image that emoscene made")
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
    """Make a contact sheet: a grid of images with labels. Of marked images, it is marked; `encode_mark` writes that.

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
    canvas.info["xmp"] = encode_xmp(join_source_types(every))
    return canvas

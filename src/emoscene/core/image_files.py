"""Reads somebody's image file. This is the one reader: which formats, how large, and what becomes of unusual pixels.

    decode_image(data, name) -> ReadImage      or `ImageRefused`, which gives the reason and the remedy

The formats are an allow-list, because Pillow also opens documents and scripts. The size in bytes is bounded before
decoding, and that in pixels as soon as the header is read, so that a small file cannot unfold to gigabytes. HEIC and
JPEG XL are read where Pillow's plug-in for them is installed. What is sound but unusual is brought to 8-bit RGB,
upright, on white, and `ReadImage.mended` says what was done. The brightness of deep pixels follows from their type: the
white of 16 bits is 65535, that of floating point is 1; an image's own maximum never counts. No file is changed.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import PurePath

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError, features

from emoscene.core.file_reading import FileTooLargeError, NotAFileError, read_bytes

MAX_MEGAPIXELS = 61
MAX_MEGABYTES = 60
FORMATS = ("PNG", "JPEG", "WEBP", "AVIF", "BMP", "GIF", "TIFF")
"""What Pillow reads by itself."""
ENDINGS = {
    "PNG": {".png", ".apng"},
    "JPEG": {".jpg", ".jpeg", ".jpe", ".jfif", ".mpo"},
    "WEBP": {".webp"},
    "AVIF": {".avif", ".avifs"},
    "BMP": {".bmp", ".dib"},
    "GIF": {".gif"},
    "TIFF": {".tif", ".tiff"},
    "HEIF": {".heic", ".heif", ".hif", ".heics", ".heifs"},
    "JXL": {".jxl"},
}
RAW = {".dng", ".nef", ".cr2", ".cr3", ".arw", ".raf", ".orf", ".rw2", ".pef", ".srw"}
"""A camera's raw files. Some begin as a TIFF does, and Pillow would read their thumbnail."""
VECTOR = {".svg", ".svgz", ".eps", ".pdf"}
RASTER = {".psd", ".jp2", ".j2k", ".exr", ".hdr", ".ico", ".tga", ".ppm", ".pgm", ".pbm", ".qoi", ".xcf"}
IMAGE_ENDINGS = frozenset().union(*ENDINGS.values(), RAW, VECTOR, RASTER)
"""With those of images that are not read, since a folder's files with such a name are refused one by one."""

ORIENTATION = 0x0112  # the EXIF tag
SIDEWAYS = range(5, 9)  # its values for an image whose width is the height that it is seen at
PNG_ORIENTED = re.compile(rb"eXIf|Raw profile type exif|exif\0|XML:com\.adobe\.xmp|xmp\0")
"""What a PNG holds that may say how it lies."""
BITS_PER_SAMPLE, DNG_VERSION = 0x0102, 0xC612  # of a TIFF
PLAIN = {"RGB", "L"}
STRIP = 512  # rows whose depth or transparency is worked on at once
REDUCTION = 3  # times the pixels that are needed, which a JPEG that is decoded smaller keeps at least
SAVE_ANEW = "save it anew as an 8-bit PNG or JPEG"
MAKE_SMALLER = "make it smaller first"
TOO_LARGE = f"it is larger than {MAX_MEGABYTES} MB"


@dataclass(frozen=True)
class Plugin:
    """A package that teaches Pillow a format: how it is installed and imported, and its function that registers it."""

    package: str
    module: str
    register: str = ""


PLUGINS = {
    "HEIF": Plugin("pillow-heif", "pillow_heif", "register_heif_opener"),
    "JXL": Plugin("pillow-jxl-plugin", "pillow_jxl"),
}
BEGINNINGS = (
    (0, b"\xff\x0a", "JXL"),
    (0, b"\0\0\0\x0cJXL ", "JXL"),
    (8, b"heic", "HEIF"),
    (8, b"heix", "HEIF"),
    (8, b"hevc", "HEIF"),
    (8, b"heim", "HEIF"),
    (8, b"mif1", "HEIF"),
    (8, b"msf1", "HEIF"),
    (8, b"avif", "AVIF"),
    (8, b"avis", "AVIF"),
    (4, b"ftyp", "film"),
    (0, b"II*\0", "TIFF"),
    (0, b"MM\0*", "TIFF"),
    (0, b"8BPS", "Photoshop file"),
    (0, b"\0\0\0\x0cjP  ", "JPEG 2000"),
    (0, b"v/1\x01", "OpenEXR file"),
    (0, b"#?RADIANCE", "Radiance HDR file"),
    (0, b"%PDF", "PDF"),
    (0, b"%!PS", "PostScript file"),
)
"""The place and the bytes by which what Pillow does not open is known, the first that fits."""


class ImageRefused(Exception):
    """An image that is not let in.

    Args:
        reason: Why, with "it" for the image.
        remedy: What to do, where that is not to save it anew.
    """

    def __init__(self, reason: str, remedy: str = "") -> None:
        self.reason, self.remedy = reason, remedy
        text = reason
        if remedy:
            text = f"{reason}: {remedy}"
        super().__init__(text)


@dataclass(frozen=True)
class ReadImage:
    """An image that was read.

    image: RGB, upright, on white. size: its width and height in the file, upright; `image` may be smaller where a JPEG
    was decoded so. mended: a phrase for each unusual property that was corrected.
    """

    image: Image.Image
    size: tuple[int, int]
    mended: tuple[str, ...] = ()


def decode_image(data: bytes, name: str = "", enough: int | None = None, smallest: int = 1) -> ReadImage:
    """Decode and check an image.

    Args:
        data: The bytes of the file.
        name: The name of the file, whose ending is compared with the format; not compared where it has no ending.
        enough: The side in pixels that the image is needed at. A JPEG is decoded at 1/2, 1/4 or 1/8 of its size where
            `REDUCTION` times that is left, which takes a fraction of the time and memory. The whole image if left out.
        smallest: The least side in pixels.

    Returns:
        The image.

    Raises:
        ImageRefused: The image cannot be used.
    """
    ending = PurePath(name).suffix.lower()
    with _refuse_unreadable(data, ending):
        image = Image.open(BytesIO(data), formats=_list_formats(data))
        _check_size(image.size, smallest)
        if image.format == "PNG":
            image.load()  # its EXIF data may stand behind the pixels
        mended = tuple(_describe_unusual(image, ending))
        white = _read_white(image)
        size = _draft(image, enough)
        decoded = to_upright_rgb(image, white)
    return ReadImage(decoded, size or decoded.size, mended)


def read_size(data: bytes, name: str = "", enough: int | None = None) -> tuple[int, int]:
    """Read the size that `decode_image` gives an image; nothing is decoded where the header tells it.

    Args:
        data: The bytes of the file.
        name: The name of the file.
        enough: The side in pixels that the image is needed at; see `decode_image`.

    Returns:
        The width and height of the decoded image, upright.

    Raises:
        ImageRefused: The image cannot be used, as far as that was looked at.
    """
    with _refuse_unreadable(data, PurePath(name).suffix.lower()):
        image = Image.open(BytesIO(data), formats=_list_formats(data))
        _check_size(image.size, 1)
        behind = False
        if image.format == "PNG":
            marks = len(PNG_ORIENTED.findall(data))
            if not marks:
                return image.size
            behind = marks > len({"exif", "xmp"} & image.info.keys())  # behind the pixels
        if behind or (image.format == "TIFF" and _read_orientation(image) != 1):  # which Pillow turns itself
            return decode_image(data, name, enough).image.size
        sideways = _read_orientation(image) in SIDEWAYS
        _draft(image, enough)
        wide, high = image.size
    if sideways:
        return high, wide
    return wide, high


@contextmanager
def _refuse_unreadable(data: bytes, ending: str) -> Iterator[None]:
    """Raises ImageRefused for a file that is not looked at, and for whatever Pillow raises inside."""
    if not data:
        raise ImageRefused("it is empty")
    check_bytes(len(data))
    if ending in RAW:
        raise ImageRefused("it is a camera's raw file", "develop it to a JPEG or TIFF first")
    try:
        yield
    except (ImageRefused, MemoryError):
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ImageRefused(f"it has more than {MAX_MEGAPIXELS} megapixels", MAKE_SMALLER) from error
    except UnidentifiedImageError as error:
        raise _explain_unread(data, ending) from error
    except UnusualPixels as error:
        raise ImageRefused(str(error)) from error
    except Exception as error:  # damaged files make Pillow raise nearly everything
        raise ImageRefused(f"it is damaged ({_first_line(error)})") from error


def read_image_file(path: PurePath | str) -> bytes:
    """Read the file of an image, whose size is looked at first.

    Args:
        path: The file.

    Returns:
        Its bytes.

    Raises:
        ImageRefused: It is a folder, a pipe or a device, or is too large.
        OSError: It cannot be read.
    """
    try:
        return read_bytes(path, MAX_MEGABYTES * 2**20)
    except FileTooLargeError as error:
        raise ImageRefused(TOO_LARGE, MAKE_SMALLER) from error
    except NotAFileError as error:
        raise ImageRefused(str(error.strerror)) from error


def check_bytes(count: int) -> None:
    """Check the size of a file.

    Args:
        count: Its bytes.

    Raises:
        ImageRefused: It is too large.
    """
    if count > MAX_MEGABYTES * 2**20:
        raise ImageRefused(TOO_LARGE, MAKE_SMALLER)


def is_plugin_missing(kind: str) -> bool:
    """Tell whether a format is read by a plug-in that is not installed; one that is installed is registered.

    Args:
        kind: The format, as `ENDINGS` has it.

    Returns:
        Whether it is missing.
    """
    plugin = PLUGINS[kind]
    try:
        module = importlib.import_module(plugin.module)
    except ImportError:
        return True
    if plugin.register and kind not in Image.OPEN:
        getattr(module, plugin.register)()
    return False


class UnusualPixels(ValueError):
    """Pixels whose brightness is not known."""


def to_upright_rgb(image: Image.Image, white: float | None = None) -> Image.Image:
    """Convert an image to RGB, turned as its EXIF says, transparent parts on white.

    Args:
        image: An image of any mode; one of 16 bits or of floating point is scaled to 8 bits.
        white: The number that is white in a deep image; that of its type if left out.

    Returns:
        A new image.

    Raises:
        ValueError: The EXIF data is damaged, or pixels are not finite numbers or of no known brightness.
    """
    if white is None:
        white = _read_white(image)
    image = _turn_upright(image)
    if white:
        image = _reduce_depth(image, white)
    if image.has_transparency_data:
        image = _flatten(image)
    if image.mode == "RGB":
        return image
    return image.convert("RGB")


def _list_formats(data: bytes) -> tuple[str, ...]:
    """The formats that a file may have; that of a plug-in where the file begins so."""
    kind = _find_kind(data)
    if kind in PLUGINS and not is_plugin_missing(kind):
        return (*FORMATS, kind)
    return FORMATS


def _find_kind(data: bytes) -> str:
    """What a file is by its first bytes, where Pillow may not open it; empty where it is not known."""
    for place, beginning, kind in BEGINNINGS:
        if data[place : place + len(beginning)] == beginning and (place != 8 or data[4:8] == b"ftyp"):
            return kind
    if b"<svg" in data[:2000].lower():
        return "SVG"
    return ""


def _explain_unread(data: bytes, ending: str) -> ImageRefused:
    """The reason why Pillow does not open a file."""
    kind = _find_kind(data)
    if kind in PLUGINS:
        package = PLUGINS[kind].package
        if is_plugin_missing(kind):
            return ImageRefused(
                f"it is a {kind} and Pillow's plug-in for that is missing", f"pip install {package}, or {SAVE_ANEW}"
            )
        return ImageRefused(f"it is damaged, or a {kind} that {package} does not read")
    if kind == "AVIF" and not features.check("avif"):
        return ImageRefused(
            "it is an AVIF and this Pillow was built without it", "install Pillow's own wheel from PyPI"
        )
    if kind == "SVG":
        return ImageRefused("it is an SVG, a drawing without pixels", "export it as a PNG")
    if kind in FORMATS:
        return ImageRefused(f"it is damaged, or a kind of {kind} that Pillow does not read")
    if kind:
        return ImageRefused(f"it is a {kind}, which is not read")
    if ending in RASTER:
        return ImageRefused(f"it is a {ending} file, which is not read")
    return ImageRefused(f"it is no image ({', '.join(FORMATS)}) or its beginning is damaged")


def _check_size(size: tuple[int, int], smallest: int) -> None:
    """Raises ImageRefused for an image that is too large or too small."""
    wide, high = size
    if wide * high > MAX_MEGAPIXELS * 1_000_000:
        raise ImageRefused(f"it has {wide} x {high} pixels, more than {MAX_MEGAPIXELS} megapixels", MAKE_SMALLER)
    if min(size) < smallest:
        raise ImageRefused(f"it has {wide} x {high} pixels, fewer than {smallest} a side")


def _draft(image: Image.Image, enough: int | None) -> tuple[int, int] | None:
    """Let a JPEG be decoded smaller, and return its whole size, upright; None for any other image."""
    if enough is None or image.format not in ("JPEG", "MPO"):
        return None
    wide, high = image.size
    image.draft(None, (REDUCTION * enough, REDUCTION * enough))
    if _read_orientation(image) in SIDEWAYS:
        return high, wide
    return wide, high


def _describe_unusual(image: Image.Image, ending: str) -> Iterator[str]:
    kind = str(image.format)
    if kind == "MPO":
        kind = "JPEG"
    if ending and ending not in ENDINGS[kind]:
        yield f"a {kind} named {ending}"
    if getattr(image, "n_frames", 1) > 1:
        yield "the first of several frames"
    if image.mode not in PLAIN:
        yield f"{image.mode} brought to RGB"
    if _read_orientation(image) != 1:
        yield "turned as its EXIF says"


def _read_orientation(image: Image.Image) -> int:
    """How an image lies, by its EXIF. Raises UnusualPixels for damaged EXIF."""
    with _refuse_damaged_exif():
        return int(image.getexif().get(ORIENTATION, 1))


@contextmanager
def _refuse_damaged_exif() -> Iterator[None]:
    """Raises UnusualPixels where the EXIF data is damaged."""
    try:
        yield
    except MemoryError:
        raise
    except Exception as error:  # of damaged EXIF, Pillow raises SyntaxError, struct.error, TypeError and more
        raise UnusualPixels("its EXIF data is damaged") from error


def _read_white(image: Image.Image) -> float:
    """The number that is white in a deep image, by its type; 0 for an image of 8 bits.

    Raises:
        UnusualPixels: The type has none.
        ImageRefused: The file is a camera's raw file, and the image its thumbnail.
    """
    tags = getattr(image, "tag_v2", {})
    if DNG_VERSION in tags:
        raise ImageRefused("it is a camera's raw file", "develop it to a JPEG or TIFF first")
    bits = tags.get(BITS_PER_SAMPLE, (16,))[0]
    if image.mode.startswith("I;16"):
        return float(2**bits - 1)
    if image.mode == "I" and tags and bits == 16:  # with a sign
        return float(2**15 - 1)
    if image.mode == "F":
        return 1.0
    if image.mode == "I":
        raise UnusualPixels("its pixels are integers of 32 bits, of which none is known to be white")
    return 0.0


def _turn_upright(image: Image.Image) -> Image.Image:
    """A copy turned as its EXIF says, whose orientation is then taken out. Raises ValueError for damaged EXIF."""
    image.load()
    with _refuse_damaged_exif():
        return ImageOps.exif_transpose(image)


def _list_strips(image: Image.Image) -> Iterator[tuple[int, int, int, int]]:
    """The boxes of an image from top to bottom, so that little of it is in memory at another depth."""
    for top in range(0, image.height, STRIP):
        yield 0, top, image.width, min(top + STRIP, image.height)


def _reduce_depth(image: Image.Image, white: float) -> Image.Image:
    """A deep image in 8 bits."""
    flat = Image.new("L", image.size)
    above = 0
    for box in _list_strips(image):
        deep = np.asarray(image.crop(box), dtype=np.float64)
        if not np.isfinite(deep).all():
            raise UnusualPixels("it has pixels that are not finite numbers")
        above += int((deep > white).sum())
        values = (deep * (255 / white)).clip(0, 255).round().astype(np.uint8)
        flat.paste(Image.fromarray(values), box)
    if 2 * above > image.width * image.height:
        raise UnusualPixels("most of its floating-point pixels are above 1, which is white")
    flat.info = dict(image.info)
    return flat


def _flatten(image: Image.Image) -> Image.Image:
    """A transparent image on white."""
    flat = Image.new("RGB", image.size)
    for box in _list_strips(image):
        layer = image.crop(box).convert("RGBA")
        paper = Image.new("RGBA", layer.size, "white")
        flat.paste(Image.alpha_composite(paper, layer).convert("RGB"), box)
    flat.info = dict(image.info)
    flat.info.pop("transparency", None)
    return flat


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:120].rstrip(".")

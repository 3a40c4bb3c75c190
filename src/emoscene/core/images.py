"""Pictures and the rows they are functions of; contact sheets; and the one safe way to open somebody's file.

A `GenerationParams` says everything that made a picture, so the same row makes it again. It goes into the PNG itself, in two text
chunks: `emoscene` holds the row as JSON, and `to_a1111_text` says it in the words that other programs read (A1111's):

    a village by a lake
    Negative prompt: blurry
    Steps: 20, Sampler: DPM++ 2M, CFG scale: 7, Seed: 7, Size: 128x128, Model: mini, Emotion: awe

where a value that holds a comma, a colon or a line break is quoted as JSON.
"""

import dataclasses
import json
import re
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont, ImageOps
from PIL.PngImagePlugin import PngInfo

from emoscene.core.errors import EmosceneError, UsageError
from emoscene.core.limits import read_number, read_size
from emoscene.core.paths import fault_of_name
from emoscene.core.run_dir import parse_json, write_atomic
from emoscene.core.taxonomy import NO_EMOTION, Weights, emotion_weights, format_emotion

FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF")
MAX_MEGAPIXELS = 25
MAX_MEGABYTES = 20
SAMPLERS = {"dpm++": "DPM++ 2M", "ddim": "DDIM", "euler": "Euler", "pndm": "PLMS", "unipc": "UniPC"}
WORDS = ("file", "prompt", "negative", "method", "base", "sampler")
"""What of a row is text."""
COUNTED = ("strength", "cfg", "cfg_low", "cfg_high", "seed", "steps")
"""What of a row is a number."""
INK, FAINT, PAPER = "#2b2a28", "#77736c", "#faf8f4"


@dataclasses.dataclass(frozen=True)
class GenerationParams:
    """One picture: all that it is a function of, and the file that it went to.

    loras: those that the base wears, each `name:scale:digest`; image: the picture that it was made from, `keep` of
    which stayed; like: the picture that its emotion was read from; digests: the sha256 of each, by name; cfg_low,
    cfg_high: the noise levels t / T between which `cfg` acts; settings: of the methods, each `method.key`, where they
    are not those that the weights were trained with.
    """

    file: str = ""
    prompt: str = ""
    negative: str = ""
    emotion: Weights = NO_EMOTION
    method: str = "none"
    strength: float = 1.0
    base: str = "mini"
    adapters: tuple[str, ...] = ()
    loras: tuple[str, ...] = ()
    image: str | None = None
    keep: float | None = None
    like: str | None = None
    digests: dict[str, str] = dataclasses.field(default_factory=dict)
    size: tuple[int, int] = (128, 128)
    seed: int = 0
    steps: int = 20
    cfg: float = 7.0
    cfg_low: float = 0.0
    cfg_high: float = 1.0
    sampler: str = "dpm++"
    seconds: float | None = None
    settings: dict[str, Any] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        """Whatever a row comes from, its numbers are in bounds and its file has a name that stays in its folder.

        Raises:
            Usage: for the first value that is off.
        """
        for name in WORDS:
            if not isinstance(value := getattr(self, name), str):
                raise UsageError(f"{name}={value} is off: it is text")
            check_text(name, value)
        for name in ("digests", "settings"):
            if not isinstance(value := getattr(self, name), dict):
                raise UsageError(f"{name}={value} is off: it is a table")
        read = {name: read_number(name, getattr(self, name)) for name in COUNTED}
        read |= {"keep": None if self.keep is None else read_number("keep", self.keep)}
        read |= {"emotion": emotion_weights(self.emotion), "size": read_size(self.size)}
        for name, value in read.items():
            object.__setattr__(self, name, value)
        if self.file and (fault := fault_of_name(self.file)):
            raise UsageError(f"file={self.file!r} {fault}: give a plain name")

    def to_dict(self) -> dict[str, Any]:
        """The row as `pictures.jsonl` holds it."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, row: Mapping[str, Any]) -> "GenerationParams":
        """A row from `pictures.jsonl`; what a later version may have added is left aside."""
        known = {field.name for field in dataclasses.fields(cls)}
        row = {key: value for key, value in row.items() if key in known}
        exact: dict[str, Callable[[Any], Any]] = {
            "emotion": emotion_weights,
            "adapters": tuple,
            "loras": tuple,
            "size": tuple,
        }
        return cls(**{key: exact[key](value) if key in exact else value for key, value in row.items()})

    def to_a1111_text(self) -> str:
        """The row in the words of A1111."""
        emotion = format_emotion(self.emotion)
        words: dict[str, Any] = {
            "Steps": self.steps,
            "Sampler": SAMPLERS.get(self.sampler, self.sampler),
            "CFG scale": self.cfg,
            "Seed": self.seed,
            "Size": f"{self.size[0]}x{self.size[1]}",
            "Model": Path(self.base).name,
        }
        if self.keep is not None:
            words["Denoising strength"] = 1 - self.keep
        if emotion:
            words |= {"Emotion": emotion, "Emotion method": self.method, "Emotion strength": self.strength}
        worn = [text.rsplit(":", 2) for text in self.loras]
        if worn:
            words["Lora hashes"] = ", ".join(f"{name}: {digest}" for name, _, digest in worn)
        prompt = " ".join([self.prompt, *(f"<lora:{name}:{scale}>" for name, scale, _ in worn)])
        negative = [f"Negative prompt: {self.negative}"] if self.negative else []
        return "\n".join([prompt, *negative, ", ".join(f"{key}: {_quote(word)}" for key, word in words.items())])


def check_text(name: str, text: str) -> None:
    """Raise Usage for text with half a character in it, as bytes that are not UTF-8 become on a command line."""
    try:
        text.encode()
    except UnicodeError:
        raise UsageError(f"{name}={text!r} is off: it holds a byte that is not UTF-8; write it again") from None


def read_prompts(prompt: str | Sequence[str]) -> list[str]:
    """The prompts of a call as a list. Raises Usage for what is no text."""
    prompts = list(prompt) if isinstance(prompt, Iterable) and not isinstance(prompt, str) else [prompt]
    for one in prompts:
        if not isinstance(one, str):
            raise UsageError(f"prompt={one!r} is off: it is text, or a list of texts")
        check_text("prompt", one)
    return prompts


def name_files(rows: Sequence[GenerationParams]) -> list[GenerationParams]:
    """The rows with a file name each: the emotion (or whose it is), the seed, and a number where these repeat."""
    found: dict[str, int] = {}
    given = []
    for row in rows:
        felt = f"like-{Path(row.like).stem}" if row.like else format_emotion(row.emotion) or "base"
        stem = f"{re.sub(r'[^A-Za-z0-9.-]+', '_', felt)[:60]}-{row.seed:04d}"
        found[stem] = found.get(stem, 0) + 1
        given.append(dataclasses.replace(row, file=f"{stem}{f'-{found[stem]}' if found[stem] > 1 else ''}.png"))
    return given


def save_image(image: Image.Image, path: Path | str, row: GenerationParams) -> None:
    """Write the PNG, whole or not at all, with the row in its chunks."""
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
    try:
        return to_upright_rgb(_open_checked(Path(path)))
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


def _quote(value: Any) -> str:
    text = f"{value:g}" if isinstance(value, float) else str(value)
    return json.dumps(text, ensure_ascii=False) if any(mark in text for mark in ',:\n"') else text

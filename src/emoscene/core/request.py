"""One call of a generation: every parameter once, with its type, default, range, help and aliases.

    GenerationRequest             what a call asks for: prompts, emotions, how many images, and what they share
    params.GenerationParams       what one image is a function of; its row in `images.jsonl` and in the file itself

Whatever lists the parameters of a generation derives it from here: the arguments of `EmotionPipeline`
(`GenerationWords`), the options of `emoscene generate`, the page's form, the row and A1111's text in a PNG, what images
of one batch share, what `evaluate` sets, and by what a report tells scores apart. To add a parameter is to add a field
to `GenerationRequest`, to run `python -m emoscene.core.typed_words`, and to add one to `GenerationParams` where the
image depends on it.
"""

import dataclasses
import secrets
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypedDict, TypeVar

from PIL import Image

from emoscene.core import registry
from emoscene.core.errors import UsageError, unknown_name
from emoscene.core.parameter import (
    BATCH,
    CALL,
    CLI,
    COMPARE,
    CONTENT,
    EDIT,
    EVALUATE,
    OUTPUT,
    SAMPLING,
    WEB,
    Parameter,
    parameter,
)
from emoscene.core.processes import count_processes
from emoscene.core.sampler_names import find_sampler, match_sampler
from emoscene.core.taxonomy import LARGEST, check_one_source

LAST_SEED = 2**32 - 1
DRAW_SEED = -1
"""The seed of a call that draws one."""
MOST_IMAGES = 1_000_000
DEFAULT_STRENGTH = 0.75  # where an image is given and no strength
TIMESTEPS = 1000  # of Stable Diffusion's schedule; `samplers.make_scheduler` knows the base's own
LONGEST_SIDE = 1_000_000  # pixels; how many an image may have in all is `image_inputs.PIXELS`

Emotion = str | Mapping[str, float] | Sequence[float] | None
ImageInput = Image.Image | str | Path
R = TypeVar("R", bound="GenerationRequest")


EVERYWHERE = (CALL, CLI, WEB)


@dataclasses.dataclass(frozen=True)
class GenerationRequest:
    """What one call asks for: every prompt in every emotion, `num_images_per_prompt` times.

    Raises:
        UsageError: A value is off.
    """

    prompt: str | Sequence[str] = parameter("", "what the image shows", "str", CONTENT, (WEB,))
    negative_prompt: str = parameter(
        "",
        "what the image shall not show",
        "str",
        CONTENT,
        (*EVERYWHERE, EVALUATE),
        aliases=("negative",),
        example="blurry",
    )
    emotion: Emotion | list[Emotion] = parameter(
        None,
        "a name, a mixture such as awe:0.7,fear:-0.3, or all for each in turn",
        "str",
        CONTENT,
        EVERYWHERE,
        example="awe",
    )
    valence: float | None = parameter(
        None,
        "how pleasant; with --arousal, instead of an emotion's name",
        "float",
        CONTENT,
        (CALL, CLI),
        span=(-1.0, 1.0),
        example=0.4,
    )
    arousal: float | None = parameter(
        None,
        "how excited; a place between the eight emotions",
        "float",
        CONTENT,
        (CALL, CLI),
        span=(-1.0, 1.0),
        example=0.6,
    )
    emotion_image: ImageInput | None = parameter(
        None, "an image that has the emotion, instead of its name", "str", CONTENT, (CALL, CLI), example="storm.jpg"
    )
    method: str | None = parameter(
        None,
        "none, prompt, lora ..., or two as a+b; left out, the adapters say it",
        "str",
        CONTENT,
        (CLI, WEB),
        example="lora",
    )
    emotion_scale: float = parameter(
        1.0,
        "0 the base, 1 the method as trained, above extrapolates, below suppresses",
        "float",
        CONTENT,
        (*EVERYWHERE, COMPARE),
        span=(-LARGEST, LARGEST),
        slider=(-3, 3),
    )
    num_inference_steps: int = parameter(
        20,
        "steps of the sampler: more is slower and finer",
        "int",
        SAMPLING,
        (*EVERYWHERE, BATCH, EVALUATE, COMPARE),
        span=(1, TIMESTEPS - 1),
        aliases=("steps",),
        label="Steps",
        slider=(1, 100),
    )
    sampler: str = parameter(
        "dpm++",
        "the solver of the diffusion",
        "str",
        SAMPLING,
        (*EVERYWHERE, BATCH, EVALUATE, COMPARE),
        label="Sampler",
    )
    guidance_scale: float | None = parameter(
        None,
        "how closely to follow the prompt; 1 is without guidance; the base's own, if left out",
        "float",
        SAMPLING,
        (*EVERYWHERE, EVALUATE, COMPARE),
        span=(0.0, 100.0),
        aliases=("cfg",),
        label="CFG scale",
        example=5.0,
        slider=(1, 30),
    )
    guidance_interval: tuple[float, float] = parameter(
        (0.0, 1.0),
        "noise levels t / T between which guidance acts; 0 is the image, 1 is noise",
        "float",
        SAMPLING,
        (CALL, CLI, BATCH, EVALUATE),
        span=(0.0, 1.0),
        count=2,
    )
    seed: int = parameter(
        0,
        "of the first image; the others count up; -1 draws one, which the image records",
        "int",
        SAMPLING,
        EVERYWHERE,
        span=(DRAW_SEED, LAST_SEED),
        label="Seed",
    )
    num_images_per_prompt: int = parameter(
        1, "how many; seeds count up", "int", OUTPUT, EVERYWHERE, span=(1, MOST_IMAGES), aliases=("num",)
    )
    width: int | None = parameter(
        None,
        "in pixels, multiples of the base's step; the base's own size, if left out",
        "int",
        OUTPUT,
        (*EVERYWHERE, BATCH, EVALUATE),
        span=(1, LONGEST_SIDE),
        example=128,
    )
    height: int | None = parameter(
        None,
        "in pixels; as --width, if left out",
        "int",
        OUTPUT,
        (*EVERYWHERE, BATCH, EVALUATE),
        span=(1, LONGEST_SIDE),
        example=128,
    )
    image: ImageInput | None = parameter(
        None,
        "an image to change; its caption stands in for a missing PROMPT",
        "str",
        EDIT,
        (CALL, CLI),
        example="lake.jpg",
    )
    strength: float | None = parameter(
        None,
        f"img2img's denoising strength: 0 keeps the image, 1 keeps nothing of it; {DEFAULT_STRENGTH}, if left out",
        "float",
        EDIT,
        (*EVERYWHERE, BATCH),
        span=(0.0, 1.0),
        label="Denoising strength",
        example=0.5,
    )

    def __post_init__(self) -> None:
        check_one_source(self.emotion, self.valence, self.arousal, self.emotion_image)
        for name in NUMBERS:
            object.__setattr__(self, name, read_number(name, getattr(self, name)))
        for name in ("negative_prompt", "sampler"):
            value = getattr(self, name)
            if not isinstance(value, str):
                raise UsageError(f"{name}={value} is off: it is text")
        if self.height is not None and self.width is None:
            raise UsageError(f"height={self.height} without a width is off: give both, or the width alone")
        object.__setattr__(self, "sampler", find_sampler(self.sampler))
        if self.seed == DRAW_SEED:
            object.__setattr__(self, "seed", draw_seed(self.num_images_per_prompt))
        read_seeds(self.seed, self.num_images_per_prompt)

    @classmethod
    def from_words(cls: type[R], words: Mapping[str, Any]) -> R:
        """Read the keywords of a pipeline.

        Args:
            words: Values by the names of parameters.

        Returns:
            The request.

        Raises:
            UsageError: A keyword is not known (the message has the nearest one), or a value is off.
        """
        check_words(words, ["prompt", *list_parameters(CALL)])
        return cls(**words)

    @property
    def size(self) -> int | tuple[int, int] | None:
        """Width and height, the side of a square where no height is asked for, or None for the base's own."""
        if self.width is None or self.height is None:
            return self.width
        return self.width, self.height


# both written by `python -m emoscene.core.typed_words`
class EvaluationWords(TypedDict, total=False):
    """What `evaluate` takes beside its own arguments: fields of `GenerationRequest`."""

    negative_prompt: str
    num_inference_steps: int
    sampler: str
    guidance_scale: float | None
    guidance_interval: tuple[float, float]
    width: int | None
    height: int | None


class GenerationWords(TypedDict, total=False):
    """What `EmotionPipeline` and `generate` take beside the prompt: fields of `GenerationRequest`."""

    negative_prompt: str
    emotion: Emotion | list[Emotion]
    valence: float | None
    arousal: float | None
    emotion_image: ImageInput | None
    emotion_scale: float
    num_inference_steps: int
    sampler: str
    guidance_scale: float | None
    guidance_interval: tuple[float, float]
    seed: int
    num_images_per_prompt: int
    width: int | None
    height: int | None
    image: ImageInput | None
    strength: float | None


def list_parameters(scope: str = "") -> dict[str, Parameter]:
    """List the parameters of a generation.

    Args:
        scope: A derived list (`CALL`, `CLI`, ...), for its parameters alone.

    Returns:
        The parameters by name, in order.
    """
    parameters = {}
    for field in dataclasses.fields(GenerationRequest):
        more = {"annotation": _annotation(field.type), **field.metadata}
        if field.name == "sampler":
            more["choices"] = tuple(registry.list_names("samplers"))
            more["resolve"] = match_sampler
        if not scope or scope in more["scope"]:
            parameters[field.name] = Parameter(field.name, default=field.default, **more)
    return parameters


def _list_aliases() -> dict[str, str]:
    """The full name of each short one."""
    aliases = {}
    for name, one in PARAMETERS.items():
        aliases.update(dict.fromkeys(one.aliases, name))
    return aliases


def _annotation(kind: Any) -> str:
    text = str(kind)
    if isinstance(kind, type) and not hasattr(kind, "__args__"):
        text = kind.__name__
    for name, alias in (("ImageInput", ImageInput), ("Emotion", Emotion)):
        text = text.replace(str(alias), name)
    return text.replace("collections.abc.", "")


PARAMETERS = list_parameters()
NUMBERS = {name: one for name, one in PARAMETERS.items() if one.type in {"int", "float"}}
SEED = dataclasses.replace(NUMBERS["seed"], span=(0, LAST_SEED))
"""The seed of one image."""
ALIASES = _list_aliases()
BATCHED = tuple(list_parameters(BATCH))
BATCH_SIZE = Parameter(
    "batch", "int", 8, "images at once; it changes the speed and not the images", span=(1, 1024), group=OUTPUT
)
SIZE = Parameter("size", "str", None, "the side, or WIDTHxHEIGHT, instead of the two", group=OUTPUT, example="192x128")


def check_words(words: Iterable[str], known: Iterable[str]) -> None:
    """Check keywords.

    Args:
        words: The keywords.
        known: Those that there are.

    Raises:
        UsageError: One is not known; the message has the full name of an alias, else the nearest name.
    """
    known = list(known)
    for word in words:
        if word in ALIASES:
            raise UsageError(f"no argument {word!r}: its name is {ALIASES[word]!r}")
        if word not in known:
            raise unknown_name("argument", word, known)


def read_number(name: str, value: Any) -> Any:
    """Read a number, or a range of two.

    Args:
        name: A parameter of `GenerationRequest` that is a number, or `batch`.
        value: A number, NumPy's included, or its text.

    Returns:
        The number as Python's own, within its bounds.

    Raises:
        UsageError: It is no such number (a bool, nan, infinity, 1.5 of an int), or is out of its bounds.
    """
    if name == "batch":
        return BATCH_SIZE.read(value)
    return NUMBERS[name].read(value)


def draw_seed(num: int = 1) -> int:
    """Draw the first seed of a call at random.

    Args:
        num: How many seeds count up from it.

    Returns:
        The seed, from 0 to 2^32 - `num`.

    Raises:
        UsageError: Several processes were launched for the call: each would draw another.
    """
    if count_processes() > 1:
        raise UsageError(f"seed={DRAW_SEED} draws another seed in each of several processes: give one from 0 up")
    return secrets.randbelow(LAST_SEED + 2 - num)


def read_seed(value: Any) -> int:
    """Read the seed of one image.

    Args:
        value: A whole number, or its text.

    Returns:
        The seed, from 0 to 2^32 - 1.

    Raises:
        UsageError: It is no whole number, or out of bounds.
    """
    seed: int = SEED.read(value)
    return seed


def read_seeds(first: Any, num: Any = 1) -> range:
    """Count up seeds.

    Args:
        first: The first seed, from 0 to 2^32 - 1.
        num: `num_images_per_prompt`.

    Returns:
        `first`, `first + 1`, ...: `num` of them.

    Raises:
        UsageError: One of the two is out of bounds, or the seeds count past the last one.
    """
    first, num = read_seed(first), read_number("num_images_per_prompt", num)
    if first + num - 1 > LAST_SEED:
        raise UsageError(
            f"seed={first} and num_images_per_prompt={num} count past the last seed, {LAST_SEED}: give a lower seed, "
            "or fewer images"
        )
    return range(first, first + num)


def read_seed_list(seeds: Iterable[Any]) -> list[int]:
    """Read seeds.

    Args:
        seeds: The seeds, a range or any others.

    Returns:
        The seeds as Python's own numbers.

    Raises:
        UsageError: One is no seed, or they are more than `MOST_IMAGES`.
    """
    if isinstance(seeds, range) and abs(seeds.stop - seeds.start) > MOST_IMAGES * abs(seeds.step):
        raise UsageError(f"from {seeds.start} to {seeds.stop} there are too many seeds: {MOST_IMAGES} at most")
    return [read_seed(seed) for seed in seeds]


def read_size(size: Any) -> tuple[int, int]:
    """Read the size of an image.

    Args:
        size: Width and height.

    Returns:
        Width and height in pixels.

    Raises:
        UsageError: They are not two whole numbers within bounds.
    """
    sides: list[Any] = []
    if isinstance(size, Iterable) and not isinstance(size, str):
        sides = list(size)
    if len(sides) != 2 or None in sides:
        raise UsageError(f"size={size} is off: give a width and a height in pixels, such as (192, 128)")
    return read_number("width", sides[0]), read_number("height", sides[1])

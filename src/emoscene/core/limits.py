"""The numbers that an image is made from, and their bounds: one table for every way in.

The command line, Python, the page, recipes, rows of a file and the settings in a PNG all end in `GenerationParams` or in a call that
reads its numbers here, so no bound is written twice. Every bound is finite: nan, infinity and numbers so large that
half precision cannot hold what comes of them are refused before anything is computed.
"""

from collections.abc import Iterable
from typing import Any

from emoscene.core.config import Option
from emoscene.core.errors import UsageError
from emoscene.core.taxonomy import LARGEST

LAST_SEED = 2**32 - 1
MOST_IMAGES = 1_000_000
TIMESTEPS = 1000  # of Stable Diffusion's schedule; `solvers.make_scheduler` knows the base's own
LONGEST_SIDE = 1_000_000  # pixels; how many an image may have in all is `editing.PIXELS`

NUMBERS = {
    option.name: option
    for option in (
        Option(
            "strength",
            "float",
            1.0,
            "0 the base, 1 the method as trained, above more, below 0 less than nothing",
            span=(-LARGEST, LARGEST),
        ),
        Option("keep", "float", 0.5, "how much of it stays: 1 all, 0 nothing but the words", span=(0.0, 1.0)),
        Option("seed", "int", 0, "of the first picture", span=(0, LAST_SEED)),
        Option("num", "int", 1, "how many; seeds count up", span=(1, MOST_IMAGES)),
        Option("steps", "int", 20, "of the sampler", span=(1, TIMESTEPS - 1)),
        Option("cfg", "float", 4.0, "how closely to follow the words; 1 is not at all", span=(0.0, 100.0)),
        Option("cfg_low", "float", 0.1, "noise level t / T below which --cfg rests; 0 is the picture", span=(0.0, 1.0)),
        Option("cfg_high", "float", 0.8, "noise level t / T down to which --cfg waits; 1 is noise", span=(0.0, 1.0)),
        Option("batch", "int", 8, "pictures at once; it changes the speed and not the pictures", span=(1, 1024)),
        Option("side", "int", 128, "of an image, in pixels", span=(1, LONGEST_SIDE)),
    )
}
"""The numbers by name, as the command line has them."""
KINDS = {"int": int, "float": float}


def read_number(name: str, value: Any) -> Any:
    """The number `name` as an int or a float, within its bounds.

    Args:
        name: a key of `NUMBERS`.
        value: a number, NumPy's included, or its text.

    Returns:
        An int or a float of Python's own.

    Raises:
        Usage: for what is no such number (a bool, nan, infinity, 1.5 of an int) or lies out of its bounds.
    """
    option = NUMBERS[name]
    is_plain = isinstance(value, int | float) and type(value) is KINDS[option.type]
    if is_plain and option.span and option.span[0] <= value <= option.span[1]:
        return value
    return option.read(value)


def read_seeds(first: Any, num: Any = 1) -> range:
    """The seeds `first`, `first + 1`, ...: `num` of them.

    Raises:
        Usage: for a first seed or a number of them that is out of bounds, and where they count past the last seed.
    """
    first, num = read_number("seed", first), read_number("num", num)
    if first + num - 1 > LAST_SEED:
        raise UsageError(
            f"seed={first} and num={num} count past the last seed, {LAST_SEED}: give a lower seed or a lower num"
        )
    return range(first, first + num)


def read_seed_list(seeds: Iterable[Any]) -> list[int]:
    """Seeds as a list.

    Raises:
        Usage: for one that is no seed, and for more than `MOST_IMAGES` of them.
    """
    if isinstance(seeds, range) and len(seeds) > MOST_IMAGES:
        raise UsageError(f"{len(seeds)} seeds are too many: {MOST_IMAGES} at most")
    return [read_number("seed", seed) for seed in seeds]


def read_size(size: Any) -> tuple[int, int]:
    """Width and height of an image in pixels, from two numbers.

    Raises:
        Usage: for what is not two whole numbers within bounds.
    """
    if isinstance(size, str) or not isinstance(size, Iterable):
        raise UsageError(f"size={size} is off: give a width and a height in pixels, such as (192, 128)")
    sides = list(size)
    if len(sides) != 2:
        raise UsageError(f"size={sides} is off: give a width and a height in pixels, such as (192, 128)")
    return read_number("side", sides[0]), read_number("side", sides[1])

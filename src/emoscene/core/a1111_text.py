"""Parameters of an image in A1111's words, which many programs write into PNGs (`parameters`), read.

    a village by a lake
    Negative prompt: blurry
    Steps: 20, Sampler: DPM++ 2M Karras, CFG scale: 7, Seed: 7, Size: 512x512, Model: mini

`GenerationParams.to_a1111_text` writes the same. The text is a stranger's: what is not understood or out of range is
left over, to be told, and nothing of it is refused.
"""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from emoscene.core.errors import UsageError
from emoscene.core.file_reading import parse_json
from emoscene.core.params import LABELS
from emoscene.core.request import read_number, read_seed, read_size
from emoscene.core.sampler_names import match_sampler
from emoscene.core.taxonomy import parse_emotion

LONGEST = 20_000  # characters that are read
NEGATIVE = "Negative prompt:"
PAIR = re.compile(r'\s*([A-Za-z][\w /-]*):\s*("(?:\\.|[^\\"])*"|[^,]*)(?:,|$)')
WORDS = {label: name for name, label in LABELS.items()} | {
    "Emotion": "emotion",
    "Emotion method": "method",
    "Emotion scale": "emotion_scale",
}
"""A parameter's name by what A1111, or `to_a1111_text`, calls it."""
SCHEDULES = (" Karras", " Exponential", " SGM Uniform")
"""Spacings of the noise levels, which older texts append to the sampler."""


@dataclass(frozen=True)
class A1111Settings:
    """What such a text says.

    Attributes:
        fields: Values by the names of `GenerationRequest`.
        rest: What has no such name, or a value that it cannot have, by A1111's own words.
    """

    fields: dict[str, Any]
    rest: dict[str, str]


def parse_a1111_text(text: str) -> A1111Settings:
    """Read the parameters of an image.

    Args:
        text: What the image carries.

    Returns:
        The parameters that are understood, and the rest.

    Raises:
        UsageError: The text has no line of settings.
    """
    head, _, settings = text[:LONGEST].strip().rpartition("\n")
    pairs = {match[1].strip(): match[2].strip() for match in PAIR.finditer(settings)}
    if "Steps" not in pairs:
        raise UsageError("the image's parameters are not A1111's: their last line should begin with Steps")
    prompt, _, negative = head.partition(NEGATIVE)
    fields: dict[str, Any] = {"prompt": prompt.strip(), "negative_prompt": negative.strip()}
    rest: dict[str, str] = {}
    for key, value in pairs.items():
        read: dict[str, Any] = {}
        with suppress(UsageError):  # out of range: told with the rest
            read = _read_pair(key, _unquote(value), rest)
        if not read and value:
            rest[key] = value
        fields |= read
    _apply_schedule(fields, rest)
    return A1111Settings(fields, rest)


def _read_pair(key: str, value: str, rest: dict[str, str]) -> dict[str, Any]:
    """The parameters that a pair says; empty where it says none that is known. Raises UsageError for a value off."""
    name = WORDS.get(key, "")
    if key == "Size":
        width, height = read_size(value.split("x"))
        return {"width": width, "height": height}
    if key == "Sampler":
        return _read_sampler(value, rest)
    if name == "seed":
        return {"seed": read_seed(value)}
    if name == "emotion":
        parse_emotion(value)
    elif name and name != "method":
        return {name: read_number(name, value)}
    return {name: value} if name else {}


def _read_sampler(label: str, rest: dict[str, str]) -> dict[str, Any]:
    for ending in SCHEDULES:
        if label.endswith(ending) and match_sampler(label) is None:
            label = label.removesuffix(ending)
            rest["Schedule type"] = ending.strip()
    name = match_sampler(label)
    if name is None:
        return {}
    return {"sampler": name}


def _apply_schedule(fields: dict[str, Any], rest: dict[str, str]) -> None:
    """Take in the spacing of the noise levels, which newer texts name apart, where there is such a sampler."""
    schedule = rest.get("Schedule type", "")
    spaced = match_sampler(f"{fields.get('sampler')}_{schedule}")
    if schedule and spaced is not None:
        fields["sampler"] = spaced
        del rest["Schedule type"]


def _unquote(value: str) -> str:
    """The text of a quoted value; any other as it is."""
    if value.startswith('"'):
        with suppress(ValueError):
            return str(parse_json(value))
    return value

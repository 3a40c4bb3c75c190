"""What an option of the command line is: its type, range, choices, sentence, and how its value is read.

The options of `generate` are fields of `core.request.GenerationRequest`; any other is an argument of its verb's
function (`verbs`), with its range or its choices here. Reading a value imports no torch, so that a wrong one is refused
at once.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from emoscene.core import device_names, registry, request, taxonomy
from emoscene.core.errors import UsageError
from emoscene.core.parameter import Parameter
from emoscene.core.provenance import PROVENANCES

MOST = 1_000_000_000
STORED = ("runs", "cache")
"""What lies on the disk and takes room: see `storage`."""
REPEATED = {"emotion", "adapter", "judge", "lora", "allow_host"}
"""Options that may stand in a line several times."""
RANGES = {
    "batch": request.BATCH_SIZE.span,
    "num": request.PARAMETERS["num_images_per_prompt"].span,
    "steps": request.PARAMETERS["num_inference_steps"].span,
    "seed": request.SEED.span,
    "limit": (1, MOST),
    "per_emotion": (1, MOST),
    "trials": (1, 1_000_000),
    "port": (0, 65535),
}
CHOICES = {
    "design": ("2afc", "label", "rank"),
    "dtype": device_names.DTYPES,
    "format": ("png", "jpeg", "webp"),
    "lpips": ("alex", "vgg"),
    "provenance": PROVENANCES,
    "to": tuple(registry.list_names("formats")),
}
"""What a function's signature does not say of its arguments."""
MAY_BE_EMPTY = {"prompt", "negative_prompt", "root_path", "password"}
"""Arguments of which empty text says something; any other, such as `--root "$DIR"` of an unset variable, is refused."""
RECIPE = Parameter(
    "recipe", "str", None, "a name of `emoscene ls recipes`, or a TOML file of options and settings", example="FILE"
)
JSON = Parameter("json", "bool", None, "print the result as one JSON object", example=False)


def spell_flags(option: Parameter) -> list[str]:
    """List the ways to write an option.

    Args:
        option: The option.

    Returns:
        Its flags, such as `--guidance-scale` and `--cfg`.
    """
    return [f"--{name.replace('_', '-')}" for name in (option.name, *option.aliases)]


def format_value(value: Any) -> str:
    """Write a default or an example as on the command line.

    Args:
        value: The value, or None.

    Returns:
        The text, such as `0 1` for a range.
    """
    if value is None:
        return ""
    if isinstance(value, bool):
        return ("no", "yes")[value]
    if isinstance(value, tuple):
        return " ".join(map(format_value, value))
    if isinstance(value, float):
        return f"{value:g}"
    return str(value)


def lacks_value(option: Parameter, flag: str) -> UsageError:
    """Make the error for an option without its value.

    Args:
        option: The option.
        flag: How it was written.

    Returns:
        The error.
    """
    wanted = "a value"
    if option.count > 1:
        wanted = f"{option.count} values"
    example = option.default
    if option.example is not None:
        example = option.example
    return UsageError(f"{flag} needs {wanted}, such as {flag} {format_value(example)}")


def read_value(option: Parameter, value: Any, flag: str) -> Any:
    """Read a value, and check it as far as that needs no torch.

    Args:
        option: The option.
        value: Text, or a value from TOML.
        flag: How the option was written.

    Returns:
        The value as the verb's function takes it; of `size`, the width and perhaps the height.

    Raises:
        UsageError: The value is wrong.
    """
    if isinstance(value, str) and not value.strip() and option.name not in MAY_BE_EMPTY:
        raise lacks_value(option, flag)  # an empty path would be this folder
    value = dataclasses.replace(option, name=flag).read(value)
    if option.name in CHECKS:
        return CHECKS[option.name](value)
    return value


def _check_emotion(text: str) -> str:
    if text != "all":
        taxonomy.parse_emotion(text)
    return text


def _check_method(text: str) -> str:
    if text.replace("-", "_") not in registry.list_names("baselines"):  # which `evaluate` alone takes, and says so
        registry.split_methods(text)
    return text


def _check_base(text: str) -> str:
    if "/" not in text and not Path(text).exists():
        registry.source_file("bases", text)
    return text


def _check_size(text: str) -> list[int]:
    match = re.fullmatch(r"([1-9]\d{0,4})(?:x([1-9]\d{0,4}))?", text)
    if not match:
        raise UsageError(f"--size {text} is off: write 128, or 192x128, in pixels")
    return [int(side) for side in match.groups() if side]


def _check_device(text: str) -> str:
    device_names.parse_device(text)
    return text


def _check_file(text: str) -> str:
    if not Path(text).is_file():
        raise UsageError(f"{text} is not there: give an image's file")
    return text


def _check_lora(text: str) -> str:
    file, _, _ = text.rpartition(":")
    if not Path(text).is_file() and not Path(file).is_file():
        raise UsageError(f"{text} is not there: give a LoRA's file, as in --lora style.safetensors:0.8")
    return text


CHECKS: dict[str, Callable[[str], Any]] = {
    "emotion": _check_emotion,
    "method": _check_method,
    "base": _check_base,
    "size": _check_size,
    "device": _check_device,
    "image": _check_file,
    "emotion_image": _check_file,
    "lora": _check_lora,
}

"""What an option of the command line is: its type, range, choices, sentence, and how its value is read.

The options of `generate` are fields of `core.request.GenerationRequest`. Any other option has a row in `OPTIONS`; which
verb takes it follows from the arguments of the verb's function (`verbs`). Reading a value imports no torch, so that a
wrong one is refused at once.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from emoscene.core import registry, request, taxonomy
from emoscene.core.errors import UsageError, unknown_name
from emoscene.core.parameter import Parameter

MOST = 1_000_000_000
REPEATED = {"emotion", "adapter", "judge", "lora", "allow_host"}
"""Options that may stand in a line several times."""


def _row(name: str, kind: str, example: Any, sentence: str, **more: Any) -> Parameter:
    return Parameter(name, kind, None, sentence, example=example, **more)


def _short(name: str) -> Parameter:
    """A parameter of a generation under its short name."""
    return dataclasses.replace(request.PARAMETERS[request.ALIASES[name]], name=name, group="", aliases=())


OPTIONS = {
    option.name: option
    for option in (
        request.BATCH_SIZE,
        _short("num"),
        _short("steps"),
        _row("seed", "int", 0, "the first seed; the others count up", span=(0, request.LAST_SEED)),
        request.SIZE,
        _row("base", "str", "mini", "a name of `emoscene ls bases`, a folder, a .safetensors file, or a hub id"),
        _row("adapter", "str", "runs/lora", "a folder that `train` wrote"),
        _row("lora", "str", "style.safetensors:0.8", "a LoRA trained elsewhere, and its scale; 1 if left out"),
        _row("device", "str", "cpu", "cuda, cuda:1, mps or cpu; the best there is, if left out"),
        _row("dtype", "str", "float32", "of the weights", choices=("float32", "float16", "bfloat16")),
        _row("compile", "bool", False, "compile the UNet: slow to start, faster for many images of one size"),
        _row("out", "str", "out", "the folder to write; the same call continues where it stopped"),
        _row("recipe", "str", "FILE", "a name of `emoscene ls recipes`, or a TOML file of options and settings"),
        _row("root", "str", "data", "where the source's files are: a folder or a hub id"),
        _row("limit", "int", 6000, "the largest number of images", span=(1, MOST)),
        _row("per_emotion", "int", 1000, "the largest number of images of each emotion", span=(1, MOST)),
        _row("split", "str", "roles", "roles, official, or shares such as methods:0.8,heldout:0.2"),
        _row("dry_run", "bool", False, "say what would be done and what it takes, and write nothing"),
        _row("data", "str", "out/prepared", "a folder that `prepare` wrote"),
        _row("resume", "bool", False, "continue from the newest checkpoint"),
        _row("yes", "bool", False, "make what the data lack for this learner, in a folder beside them"),
        _row("prompts", "str", "prompts.txt", "a file with one prompt a line"),
        _row("seeds", "str", "0:4", "the first and past-the-last seed of each prompt and emotion"),
        _row("judge", "str", "runs/judge", "what `train judge` wrote, a CLIP or a classifier: a folder or a hub id"),
        _row("images", "str", "out/awe", "a folder of images to judge, from anywhere"),
        _row("trials", "int", 20, "the number of trials of all workers together", span=(1, 1_000_000)),
        _row("storage", "str", "sqlite:///tune.db", "a database that SQLAlchemy knows; --out/study.db, if left out"),
        _row("selector", "str", "runs/selector", "the EmotionCLIP or judge that compares trials"),
        _row("clip", "str", "clip-vit-base-patch32", "a CLIP that scores the prompt's alignment: a folder or a hub id"),
        _row("semantics", "str", "resnet-50", "a classifier of objects, for semantic clarity: a folder or a hub id"),
        _row("features", "str", "dinov2-base", "a vision model for distances: a folder, a hub id, or inception"),
        _row("lpips", "str", "alex", "the network of LPIPS between edits and their images", choices=("alex", "vgg")),
        _row("keep_images", "bool", True, "keep the images; =no judges each batch as it is generated"),
        _row("robust", "bool", False, "judge again after JPEG 75 and a small blur"),
        _row("to", "str", "diffusers", "the program to write for", choices=tuple(registry.list_names("formats"))),
        _row("scores", "str", "out/scores", "a folder that `evaluate` wrote, for the results on the card"),
        _row("push", "str", "me/emotions", "a repository of the hub to upload the folder to"),
        _row("host", "str", "127.0.0.1", "the address to listen on; this machine alone, if left out"),
        _row("port", "int", 7860, "the port; 0 takes any that is free", span=(0, 65535)),
        _row("password", "str", "secret", "asked of whoever opens the page, with the user name emoscene"),
        _row("allow_host", "str", "images.example.org", "one more name of the page, such as a proxy's"),
        _row("screen", "bool", True, "run the base's safety checker on images, where it has one"),
    )
}
JSON = _row("json", "bool", False, "print the result as one JSON object")


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
    value = dataclasses.replace(option, name=flag).read(value)
    if option.name in CHECKS:
        return CHECKS[option.name](value)
    return value


def _check_emotion(text: str) -> str:
    if text != "all":
        taxonomy.parse_emotion(text)
    return text


def _check_method(text: str) -> str:
    for name in text.split("+"):
        registry.source_file("methods", name)
    return text


def _check_base(text: str) -> str:
    if "/" not in text and not Path(text).exists():
        registry.source_file("bases", text)
    return text


def _check_size(text: str) -> list[int]:
    match = re.fullmatch(r"(\d{1,5})(?:x(\d{1,5}))?", text)
    if not match:
        raise UsageError(f"--size {text} is off: write 128, or 192x128")
    return [int(side) for side in match.groups() if side]


def _check_device(text: str) -> str:
    if not re.fullmatch(r"(cuda|mps|cpu)(:\d+)?", text):
        raise unknown_name("device", text, ("cuda", "mps", "cpu"))
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

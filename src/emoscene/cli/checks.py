"""What an option's word is checked for before anything heavy is imported."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from emoscene.core import registry, taxonomy
from emoscene.core.errors import UsageError, unknown_name


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


def _check_size(text: str) -> int | tuple[int, int]:
    found = re.fullmatch(r"(\d{1,5})(?:x(\d{1,5}))?", text)
    if not found:
        raise UsageError(f"--size {text} is off: write 128, or 192x128")
    return (int(found[1]), int(found[2])) if found[2] else int(found[1])


def _check_device(text: str) -> str:
    if not re.fullmatch(r"(cuda|mps|cpu)(:\d+)?", text):
        raise unknown_name("device", text, ("cuda", "mps", "cpu"))
    return text


def _check_file(text: str) -> str:
    if not Path(text).is_file():
        raise UsageError(f"{text} is not there: give an image's file")
    return text


def _check_lora(text: str) -> str:
    if not any(Path(file).is_file() for file in (text, text.rpartition(":")[0])):
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

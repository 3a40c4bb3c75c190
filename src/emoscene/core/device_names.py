"""How devices and precisions are called, on the command line and in Python; no torch is imported here."""

from __future__ import annotations

import re

from emoscene.core.errors import UsageError

DEVICES = ("cuda", "xpu", "mps", "cpu")
"""Kinds of device as torch calls them. AMD's ROCm is `cuda` there, Intel's GPUs are `xpu`, Apple's are `mps`."""
DTYPES = ("float32", "float16", "bfloat16")


def parse_device(text: str) -> tuple[str, int | None]:
    """Split the name of a device into its kind and its number.

    Args:
        text: `cuda`, `cuda:1`, `xpu`, `mps` or `cpu`.

    Returns:
        The kind, and the number or None.

    Raises:
        UsageError: It is no device's name.
    """
    match = re.fullmatch(r"([a-z]+)(?::(\d{1,4}))?", text)
    if not match or match[1] not in DEVICES:
        raise UsageError(f"no device {text!r}: there is {', '.join(DEVICES)}; the second of several is cuda:1")
    if match[2] is None:
        return match[1], None
    return match[1], int(match[2])

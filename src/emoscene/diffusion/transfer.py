"""The way from main memory to the device that computes, on which nobody waits."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from emoscene.diffusion.device_choice import PINNED


def move_to_device(value: Any, device: torch.device | str) -> Any:
    """Move numbers to the device that computes with them; a tensor's way to a GPU keeps nobody waiting.

    Args:
        value: A tensor, or anything else, which stays where it is.
        device: The device.

    Returns:
        The tensor there; itself where it is there already.
    """
    if not isinstance(value, Tensor):
        return value
    if torch.device(device).type in PINNED and value.device.type == "cpu":
        return value.pin_memory().to(device, non_blocking=True)
    return value.to(device)

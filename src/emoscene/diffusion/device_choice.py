"""Which device and which precision are computed with; it imports torch and no model library, so that `doctor` is quick.

The device is CUDA where there is one, else MPS, else the CPU; the precision is half on CUDA (or bfloat16, where asked)
and single elsewhere.
"""

from collections.abc import Callable, Sequence

import torch

from emoscene.core.errors import UsageError, unknown_name
from emoscene.core.processes import read_local_rank

DEVICES: dict[str, Callable[[], int]] = {
    "cuda": lambda: torch.cuda.device_count() * torch.cuda.is_available(),
    "mps": lambda: int(torch.backends.mps.is_available()),
    "cpu": lambda: 1,
}
"""The kinds of device, best first, and how many of each are here."""
DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}


def choose_device(device: str | None = None, kinds: Sequence[str] = tuple(DEVICES)) -> torch.device:
    """Choose the device to compute on.

    Under a launcher, `cuda` is the process's own GPU; where there are fewer GPUs than processes, they share them.

    Args:
        device: `cuda`, `cuda:1`, `mps` or `cpu`; the best there is if left out.
        kinds: The kinds to choose the best from.

    Returns:
        The device.

    Raises:
        UsageError: The name is none of these, or the machine has no such device.
    """
    name = device or next(kind for kind in kinds if DEVICES[kind]())
    kind, colon, number = name.partition(":")
    if kind not in DEVICES or (colon and not number.isdigit()):
        raise unknown_name("device", name, DEVICES)
    count, rank = DEVICES[kind](), read_local_rank()
    if int(number or 0) >= count:
        here = ", ".join(name for name, count in DEVICES.items() if count())
        raise UsageError(f"--device {device} is not here: there is {here}; left out, the best is taken")
    if name == "cuda" and rank is not None:
        return torch.device(f"cuda:{rank % count}")
    return torch.device(name)


def choose_dtype(dtype: torch.dtype | str | None, device: torch.device) -> torch.dtype:
    """Choose the precision to compute in.

    Args:
        dtype: A dtype, or `float32`, `float16` or `bfloat16`; half on CUDA and single elsewhere if left out.
        device: The device.

    Returns:
        The dtype.

    Raises:
        UsageError: The name is none of these.
    """
    if isinstance(dtype, torch.dtype):
        return dtype
    if dtype is not None and dtype not in DTYPES:
        raise unknown_name("dtype", dtype, DTYPES)
    if dtype is not None:
        return DTYPES[dtype]
    if device.type == "cuda":
        return torch.float16
    return torch.float32

"""Which device and which precision are computed with, and why; it imports torch and no model library.

The device is the accelerator that torch finds (`torch.accelerator`: CUDA, ROCm under the name `cuda`, Intel's `xpu`,
Apple's `mps`), else the CPU. Images are generated in half precision on an accelerator and in single on a CPU, unless
something else is asked for. A device that is not there, or a precision that it lacks, is refused before anything loads.
"""

import torch

from emoscene.core.device_names import DTYPES as DTYPE_NAMES
from emoscene.core.device_names import parse_device
from emoscene.core.errors import UsageError, unknown_name
from emoscene.core.processes import read_local_rank

DTYPES: dict[str, torch.dtype] = {name: getattr(torch, name) for name in DTYPE_NAMES}
PINNED = ("cuda", "xpu")
"""Kinds that copy from and to pinned memory while the host goes on; MPS hands out numbers that have not arrived."""
ROOM = 2  # an optional copy of weights is made where this many times its size is free


def count_devices() -> dict[str, int]:
    """Count the devices of each kind that are here.

    Returns:
        Their numbers by kind, the best kind first; the CPU is always the last.
    """
    counts = {}
    if torch.accelerator.is_available():
        counts[torch.accelerator.current_accelerator().type] = torch.accelerator.device_count()  # type: ignore[union-attr]
    counts["cpu"] = 1
    return counts


def choose_device(device: str | None = None) -> torch.device:
    """Choose the device to compute on.

    Under a launcher, `cuda` is the process's own GPU; where there are fewer GPUs than processes, they share them.

    Args:
        device: `cuda`, `cuda:1`, `xpu`, `mps` or `cpu`; the best there is if left out.

    Returns:
        The device.

    Raises:
        UsageError: The name is none of these, or the machine has no such device.
    """
    here = count_devices()
    kind, number = next(iter(here)), None
    if device is not None:
        kind, number = parse_device(device)
    count, rank = here.get(kind, 0), read_local_rank()
    if (number or 0) >= count:
        raise UsageError(
            f"--device {device} is not here: there is {', '.join(here)}{_explain_build(kind)}; "
            "left out, the best is taken"
        )
    if kind in PINNED and number is None and rank is not None:
        number = rank % count
    if number is None:
        return torch.device(kind)
    return torch.device(kind, number)


def _explain_build(kind: str) -> str:
    """That this build of torch knows no such device, where that is the reason."""
    built = {"cuda": torch.version.cuda or torch.version.hip, "mps": torch.backends.mps.is_built()}
    if built.get(kind, True):
        return ""
    return f" (this PyTorch, {torch.__version__}, is built without {kind})"


def choose_dtype(dtype: torch.dtype | str | None, device: torch.device) -> torch.dtype:
    """Choose the precision to compute in.

    Args:
        dtype: A dtype, or `float32`, `float16` or `bfloat16`; half on an accelerator and single on a CPU if left out.
        device: The device.

    Returns:
        The dtype.

    Raises:
        UsageError: The name is none of these, or the device does not compute in it.
    """
    if dtype is None:
        if device.type == "cpu":
            return torch.float32
        return torch.float16
    if isinstance(dtype, str):
        if dtype not in DTYPES:
            raise unknown_name("dtype", dtype, DTYPES)
        dtype = DTYPES[dtype]
    check_dtype(dtype, device, "--dtype {}")
    return dtype


def check_dtype(dtype: torch.dtype, device: torch.device, option: str) -> None:
    """Check that a device computes in a precision.

    Args:
        dtype: The precision.
        device: The device.
        option: How the user writes the option, with `{}` for its value.

    Raises:
        UsageError: It does not.
    """
    if can_multiply(device, dtype):
        return
    able = [name for name, other in DTYPES.items() if can_multiply(device, other)]
    wrong = str(dtype).removeprefix("torch.")
    raise UsageError(f"{option.format(wrong)}: {describe_device(device)} computes in {' and '.join(able)} alone")


def can_multiply(device: torch.device | str, dtype: torch.dtype) -> bool:
    """Try to multiply two small matrices on a device.

    Args:
        device: The device.
        dtype: Their precision.

    Returns:
        Whether it can.
    """
    try:
        one = torch.ones(2, 2, device=device, dtype=dtype)
        return bool((one @ one).sum() == 8)
    except (RuntimeError, TypeError):
        return False


def has_native_bf16(device: torch.device) -> bool:
    """Find out whether an accelerator gains by bf16; Turing and Volta only imitate it, slower than fp32.

    Args:
        device: An accelerator.

    Returns:
        Whether it does. MPS is asked for bf16 only by name: that it pays there was not measured.
    """
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device.type == "xpu":
        return bool(torch.xpu.is_bf16_supported())
    return False


def describe_device(device: torch.device) -> str:
    """Name a device for a message: "cuda (NVIDIA H100)".

    Args:
        device: The device.

    Returns:
        Its kind and, where it has one, its name.
    """
    if device.type not in PINNED:
        return device.type
    name = torch.get_device_module(device).get_device_name(device)
    if torch.version.hip:
        name = f"{name}, ROCm"
    return f"{device.type} ({name})"


def explain_choice(
    work: str, device: torch.device, precision: str, device_asked: object = None, precision_asked: object = None
) -> str:
    """Say what was chosen to compute with, and why.

    Args:
        work: What is done, such as `generating`.
        device: Where.
        precision: In what, such as `float16` or `bf16`.
        device_asked: What the user asked for; None where the device was chosen here.
        precision_asked: The same of the precision.

    Returns:
        One sentence: "generating on cpu in float32 (no accelerator is found here; a CPU's default)".
    """
    reasons = []
    if device_asked is None and device.type == "cpu":
        reasons.append("no accelerator is found here")
    elif device_asked is None:
        reasons.append("the accelerator that is found here")
    if precision_asked is None:
        reasons.append(_explain_precision(device, precision))
    why = "; ".join(reasons) or "as asked"
    return f"{work} on {describe_device(device)} in {precision} ({why})"


def _explain_precision(device: torch.device, precision: str) -> str:
    """Why this precision was chosen on this device."""
    if precision in ("float32", "fp32"):
        if device.type == "cpu":
            return "a CPU's default"
        return "it gains nothing by bf16"
    if device.type == "cpu":
        return "this CPU has instructions for it"
    if precision == "float16":
        return "an accelerator's default"
    if precision == "fp16":
        return "it has no bf16 of its own"
    return "it computes in bf16 natively"


def has_room(device: torch.device, size: int) -> bool:
    """Tell whether a device has room for an optional copy of weights, and as much again for what is computed beside it.

    Args:
        device: The device.
        size: Bytes of the copy.

    Returns:
        Whether it has; a device that shares the host's memory always has.
    """
    if device.type not in PINNED:
        return True
    free, _ = torch.get_device_module(device).mem_get_info(device)
    return bool(free >= ROOM * size)


def peak_device_memory(device: torch.device) -> int | None:
    """Measure how many bytes this process has held at once on a device.

    Args:
        device: The device.

    Returns:
        Bytes; None where the device keeps no count.
    """
    if device.type not in PINNED:
        return None
    return int(torch.get_device_module(device).max_memory_allocated(device))


def empty_cache(device: torch.device) -> None:
    """Give back the memory that a device keeps for later.

    Args:
        device: The device.
    """
    if device.type != "cpu":
        torch.get_device_module(device).empty_cache()

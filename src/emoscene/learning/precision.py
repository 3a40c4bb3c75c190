"""What a learner trains on: the device, its arithmetic, the processes that share the work.

A GPU works through a queue. Whoever reads a number from it waits until the queue is empty, and the queue then stands
still until it is filled again; so figures travel back by themselves (`AsyncScalars`) and are read once they have
arrived.
"""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import psutil
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from emoscene.core.errors import EmosceneError
from emoscene.diffusion.device import choose_device

resource: Any = import_module("resource") if find_spec("resource") else None  # Windows has none
STATUS = Path("/proc/self/status")
MIXED = {"fp32": "no", "bf16": "bf16"}  # in Accelerate's words
WIDE = 512  # from this width on, a CPU saves more by multiplying in bf16 than rounding to it costs


def training_device() -> torch.device:
    """Choose the device to train on.

    Returns:
        CUDA where there is any, else the CPU; under a launcher, each process's own.
    """
    return choose_device("cuda" if torch.cuda.is_available() else "cpu")


def choose_precision(choice: str, device: torch.device | str = "cpu", models: Iterable[nn.Module] = ()) -> str:
    """The arithmetic that "auto" comes to here: "bf16" where the hardware computes in it and gains by it, else "fp32".

    A GPU gains whatever the model's size. A CPU gains with wide models; for narrow ones it depends on the CPU, and
    fp32 is the same on all of them. Nothing is timed, so that a resumed run computes as it began.

    Args:
        choice: "auto", or the answer itself.
        device: Where it computes.
        models: What it computes with, which a CPU's answer depends on.

    Returns:
        "fp32" or "bf16".
    """
    if choice != "auto":
        return choice
    if torch.device(device).type == "cuda":  # Turing and Volta only imitate bf16, slower than fp32
        gains = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        gains = max_width(models) >= WIDE and has_cpu_bf16()
    return "bf16" if gains else "fp32"


def max_width(models: Iterable[nn.Module]) -> int:
    """Measure the widest matrix in these models; a convolution's kernels count as rows of a matrix.

    Args:
        models: Any modules.

    Returns:
        The larger of all matrices' smaller sides; 0 where there is no matrix.
    """
    widest = 0
    for model in models:
        for p in model.parameters():
            if p.ndim > 1:
                widest = max(widest, min(len(p), p[0].numel()))
    return widest


def has_cpu_bf16() -> bool:
    """Find out whether this CPU computes in bf16 by instructions of its own, and this torch has oneDNN to use them.

    Asked alone, oneDNN says yes of each CPU with AVX-512, and imitates bf16 on most.

    Returns:
        Whether it does.
    """
    supported = getattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", None)  # not in a torch without oneDNN
    if supported is None or not supported():
        return False
    if platform.machine().lower() not in {"x86_64", "amd64"}:
        return True
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())


def make_accelerator(choice: str, models: Iterable[nn.Module] = ()) -> Accelerator:
    """Make Accelerate's view of this process and the others that share the run.

    Args:
        choice: The precision, as `choose_precision` has it.
        models: What it computes with.

    Returns:
        A new accelerator, whatever the precision of an earlier one in this process was.

    Raises:
        EmosceneError: It sees fewer processes than the launcher started.
    """
    kind = choose_precision(choice, training_device(), models)
    AcceleratorState._reset_state()  # else the precision of a process's first run is that of all
    found = Accelerator(mixed_precision=MIXED[kind], cpu=not torch.cuda.is_available())
    if (started := int(os.environ.get("WORLD_SIZE", "1"))) != found.num_processes:
        raise EmosceneError(
            f"WORLD_SIZE is {started} and Accelerate sees {found.num_processes}: start with "
            "`torchrun --nproc_per_node N -m emoscene train ...`, or unset WORLD_SIZE"
        )
    return found


def attention_kernel(device: torch.device) -> AbstractContextManager[Any]:
    """Choose how attention is computed: on a CPU by its plain formula, as the fused kernel's backward is slower there.

    Args:
        device: Where it is computed.

    Returns:
        A context in which that is so; on a GPU torch chooses.
    """
    if device.type == "cpu":
        return sdpa_kernel(SDPBackend.MATH)
    return nullcontext()


def peak_memory() -> int:
    """Measure how much main memory this process has held at once, so far.

    Linux is asked of the memory itself: what getrusage tells there outlives `exec`, and is a larger parent's. Windows
    has no getrusage, and keeps the peak of what it calls the working set.

    Returns:
        Bytes.
    """
    if STATUS.is_file():
        for line in STATUS.read_text(encoding="utf8", errors="replace").splitlines():
            if line.startswith("VmHWM:"):  # some sandboxes leave it out
                return int(line.split()[1]) * 1024
    if resource is not None:
        unit = 1 if sys.platform == "darwin" else 1024
        return int(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss) * unit
    memory = psutil.Process().memory_info()
    return int(getattr(memory, "peak_wset", memory.rss))


class AsyncScalars:
    """Numbers on their way from a device: to read them waits for these, not for what was asked of it since."""

    def __init__(self, numbers: Tensor) -> None:
        self.numbers = numbers.detach().to("cpu", non_blocking=True)
        self.event: torch.cuda.Event | None = None
        if numbers.is_cuda:
            self.event = torch.cuda.Event()
            self.event.record()

    def wait(self) -> list[float]:
        """Wait until the numbers are there.

        Returns:
            The numbers, as the tensor held them when it was sent.
        """
        if self.event:
            self.event.synchronize()
        return self.numbers.tolist()

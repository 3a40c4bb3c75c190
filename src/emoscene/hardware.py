"""What a learner trains on: the device, its arithmetic, the processes that share the work.

A GPU works through a queue. Whoever reads a number from it waits until the queue is empty, and the queue then stands
still until it is filled again; so figures travel back by themselves (`Late`) and are read once they have arrived.
"""

from __future__ import annotations

import os
import resource
import sys
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from emoscene.device import chosen
from emoscene.errors import Failure

STATUS = Path("/proc/self/status")


def device() -> torch.device:
    """CUDA where there is any, else the CPU; under a launcher, each process's own."""
    return chosen("cuda" if torch.cuda.is_available() else "cpu")


def precision(choice: str, device: torch.device | str = "cpu") -> str:
    """The arithmetic that "auto" comes to here: "bf16" where the hardware computes in it, else "fp32"."""
    if choice != "auto":
        return choice
    if torch.device(device).type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported() else "fp32"
    return "bf16" if torch.ops.mkldnn._is_mkldnn_bf16_supported() else "fp32"


def accelerator(choice: str) -> Accelerator:
    """Accelerate's view of this process and its peers. Raises Failure where it sees fewer than the launcher started."""
    kind = "no" if precision(choice, device()) == "fp32" else "bf16"
    AcceleratorState._reset_state()  # else the precision of a process's first run is that of all
    found = Accelerator(mixed_precision=kind, cpu=not torch.cuda.is_available())
    if (started := int(os.environ.get("WORLD_SIZE", "1"))) != found.num_processes:
        raise Failure(
            f"WORLD_SIZE is {started} and Accelerate sees {found.num_processes}: start with "
            "`torchrun --nproc_per_node N -m emoscene train ...`, or unset WORLD_SIZE"
        )
    return found


def attention(device: torch.device) -> AbstractContextManager[Any]:
    """On a CPU, attention's plain formula: the fused kernel's backward is slower for the sizes that fit there."""
    return sdpa_kernel(SDPBackend.MATH) if device.type == "cpu" else nullcontext()


def peak() -> int:
    """Bytes of main memory that this process has held at once, so far.

    Linux is asked of the memory itself: what getrusage tells there outlives `exec`, and is a larger parent's.
    """
    if STATUS.is_file():
        return next(int(line.split()[1]) for line in STATUS.read_text().splitlines() if line.startswith("VmHWM")) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


class Late:
    """Numbers on their way from a device: to read them waits for these, not for what was asked of it since."""

    def __init__(self, numbers: Tensor) -> None:
        self.numbers = numbers.detach().to("cpu", non_blocking=True)
        self.event = torch.cuda.Event() if numbers.is_cuda else None
        if self.event:
            self.event.record()

    def read(self) -> list[float]:
        """The numbers, once they are there."""
        if self.event:
            self.event.synchronize()
        return self.numbers.tolist()

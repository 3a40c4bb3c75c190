"""How a learner trains on a device: Accelerate's view of it, attention, memory, and numbers on their way back.

A GPU works through a queue. Whoever reads a number from it waits until the queue is empty, and the queue then stands
still until it is filled again; so figures travel back by themselves (`AsyncScalars`) and are read once they have
arrived.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import psutil
import torch
from accelerate import Accelerator, PartialState
from accelerate.state import AcceleratorState
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from emoscene.core.errors import EmosceneError
from emoscene.core.processes import count_processes
from emoscene.diffusion.device import choose_precision
from emoscene.diffusion.device_choice import PINNED, choose_device

resource: Any = import_module("resource") if find_spec("resource") else None  # Windows has none
STATUS = Path("/proc/self/status")
MIXED = {"fp32": "no", "bf16": "bf16", "fp16": "fp16"}  # in Accelerate's words


def join_processes(device: torch.device) -> None:
    """Join the processes that were launched together, this one computing on a device.

    Args:
        device: The device, as `choose_device` gives it.

    Raises:
        EmosceneError: Accelerate places this process elsewhere.
    """
    state = PartialState(cpu=device.type == "cpu")
    if state.num_processes == 1:
        state.device = device  # an earlier run of this process may have been on another
    if state.device.type != device.type:
        raise EmosceneError(
            f"the launcher places this process on {state.device.type}, and --device asks for {device.type}: "
            "start anew with one of them"
        )
    if device.index is not None:
        torch.accelerator.set_device_index(device.index)


def make_accelerator(choice: str, models: Iterable[nn.Module] = (), device: torch.device | None = None) -> Accelerator:
    """Make Accelerate's view of this process and the others that share the run.

    Args:
        choice: The precision, as `choose_precision` has it.
        models: What it computes with.
        device: Where it computes; the best there is if left out.

    Returns:
        A new accelerator, whatever the precision of an earlier one in this process was.

    Raises:
        EmosceneError: It sees fewer processes than the launcher started.
    """
    device = device or choose_device()
    kind = choose_precision(choice, device, models)
    join_processes(device)
    AcceleratorState._reset_state()  # else the precision of a process's first run is that of all
    accelerator = Accelerator(mixed_precision=MIXED[kind], cpu=device.type == "cpu")
    if count_processes() != accelerator.num_processes:
        raise EmosceneError(
            f"WORLD_SIZE is {count_processes()} and Accelerate sees {accelerator.num_processes}: start with "
            "`torchrun --nproc_per_node N -m emoscene train ...`, or unset WORLD_SIZE"
        )
    return accelerator


@contextmanager
def training_kernels(device: torch.device) -> Iterator[None]:
    """Choose how training computes: attention on a CPU by its plain formula, as the fused kernel's backward is slower.

    On CUDA each convolution is tried by all of cuDNN's ways when its shape comes first, as shapes come again. Products
    of float32 stay exact: where a GPU has TF32 it has bf16 too, and whoever asks for fp32 by name wants it.

    Args:
        device: Where it is computed.

    Yields:
        Nothing.
    """
    if device.type == "cpu":
        with sdpa_kernel(SDPBackend.MATH):
            yield
        return
    before = torch.backends.cudnn.benchmark
    torch.backends.cudnn.benchmark = True
    try:
        yield
    finally:
        torch.backends.cudnn.benchmark = before


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
        late = numbers.device.type in PINNED
        self.numbers = numbers.detach().to("cpu", non_blocking=late)
        self.event: Any = None
        if late:
            self.event = torch.get_device_module(numbers.device).Event()
            self.event.record()

    def wait(self) -> list[float]:
        """Wait until the numbers are there.

        Returns:
            The numbers, as the tensor held them when it was sent.
        """
        if self.event:
            self.event.synchronize()
        return self.numbers.tolist()

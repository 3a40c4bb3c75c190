"""The card is there: factories that ask for it by name, torch.cuda's answers, threads, autocast."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any
from unittest import mock

import torch
import torch._dynamo  # optimizers import it late, and it would look for a build of torch with CUDA
from accelerate.state import AcceleratorState, GradientState
from torch.overrides import TorchFunctionMode

from standin_accelerator.cards import Card
from standin_accelerator.record import Record, locate_caller
from standin_accelerator.tensor import (
    CUDA,
    DeviceTensor,
    ToCard,
    as_device,
    current,
    enter,
    is_pinned,
    read_destination,
)

START_THREAD = threading.Thread._bootstrap_inner
GROUP_TENSORS = torch._C._group_tensors_by_device_and_dtype
START_AUTOCAST = torch.amp.autocast_mode.autocast.__init__
FROM_DATA = ("tensor", "as_tensor", "asarray")
"""Factories that take numbers, or a tensor."""


class FactoryMode(TorchFunctionMode):
    """Functions that name the device. C++ makes the tensor in main memory, and it enters."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs, name = dict(kwargs or {}), getattr(func, "__name__", "")
        if args and isinstance(args[0], DeviceTensor):
            return convert(args[0], kwargs) if name in FROM_DATA else func(*args, **kwargs)
        if name in ("to", "cuda"):
            return self._move(func, name, args, kwargs)
        if kwargs.get("device") is None or as_device(kwargs["device"]).type != "cuda":
            return func(*args, **kwargs)
        return make_on_card(func, name, args, kwargs)

    def _move(self, func: Any, name: str, args: Any, kwargs: dict[str, Any]) -> Any:
        wanted = read_destination(args[1:], kwargs)
        if name == "cuda":
            wanted["device"] = CUDA
        if wanted.get("device") is None or wanted["device"].type != "cuda":
            return func(*args, **kwargs)
        return move_to_card(args[0], **wanted)


def move_to_card(
    value: torch.Tensor,
    device: torch.device,
    dtype: torch.dtype | None = None,
    non_blocking: bool = False,
    copy: bool = True,
    memory_format: Any = None,
) -> torch.Tensor:
    """A CPU tensor on the device. The host waits, unless the tensor is pinned and it is told not to."""
    if value.device.type == "meta":
        raise NotImplementedError("Cannot copy out of meta tensor; no data!")
    if not (non_blocking and is_pinned(value)):
        current[-1].count_wait("copy to the card")
    with torch._C.DisableTorchFunction():
        host = value.to(dtype=dtype or value.dtype, memory_format=memory_format or torch.preserve_format)
        if not (host.requires_grad and torch.is_grad_enabled()):
            return enter(host.detach().clone())
    return ToCard.apply(host)


def convert(value: DeviceTensor, kwargs: dict[str, Any]) -> torch.Tensor:
    """`torch.as_tensor` of a tensor of the device."""
    return value.to(device=kwargs.get("device") or CUDA, dtype=kwargs.get("dtype"))


def make_on_card(func: Any, name: str, args: Any, kwargs: dict[str, Any]) -> Any:
    """A new tensor of the device. One that is made of Python's numbers is copied there, and the host waits."""
    if kwargs.get("generator") is not None:
        raise RuntimeError("Expected a 'cuda' device type for generator but found 'cpu' (stand-in)")
    kwargs.pop("device")
    kwargs.pop("pin_memory", None)
    if name in FROM_DATA:
        if isinstance(args[0], torch.Tensor):
            return args[0].to(CUDA, dtype=kwargs.get("dtype"))
        current[-1].count_wait("copy to the card")
    needs_gradient = kwargs.pop("requires_grad", False)
    made = enter(func(*args, **kwargs, device="cpu"))
    return made.requires_grad_() if needs_gradient else made


class Event:
    """A mark in the device's queue: to wait for it is to wait for the copies that were asked for before it."""

    def __init__(self, *options: Any, **more: Any) -> None:
        self.record_in_use = current[-1]
        self.before: list[Any] = []

    def record(self, stream: Any = None) -> None:
        """Mark the present moment."""
        self.before = list(self.record_in_use.pending)

    def synchronize(self) -> None:
        """Wait until the mark is reached."""
        record = self.record_in_use
        record.late_waits["event", locate_caller()] += 1
        arrived = {id(one) for one in self.before}
        record.deliver(sum(id(one) in arrived for one in record.pending))

    def query(self) -> bool:
        """Whether the mark is reached: never, until somebody waits."""
        return not any(copy is self.before[-1] for copy in self.record_in_use.pending)

    def wait(self, stream: Any = None) -> None:
        """Let a stream wait, which the host does not."""

    def elapsed_time(self, end: Event) -> float:
        """Milliseconds between two events, of no meaning."""
        return 1.0


def describe_cuda(card: Card, record: Record) -> dict[str, Any]:
    """What torch.cuda answers on this card, by function."""
    memory = record.memory

    def synchronize(device: Any = None) -> None:
        record.count_wait("synchronize")
        record.deliver()

    def supports_bfloat16(including_emulation: bool = True) -> bool:
        return card.has_bfloat16 or including_emulation

    def reset_peak(device: Any = None) -> None:
        memory.peak = memory.allocated

    properties = SimpleNamespace(
        name=card.name, total_memory=card.memory, major=card.capability[0], minor=card.capability[1]
    )
    return {
        "_is_compiled": lambda: True,
        "_cached_device_count": 1,
        "_lazy_init": lambda: None,
        "is_available": lambda: True,
        "is_initialized": lambda: True,
        "current_device": lambda: 0,
        "set_device": lambda device: None,
        "get_device_name": lambda device=None: card.name,
        "get_device_capability": lambda device=None: card.capability,
        "get_device_properties": lambda device=None: properties,
        "is_bf16_supported": supports_bfloat16,
        "memory_allocated": lambda device=None: memory.allocated,
        "max_memory_allocated": lambda device=None: memory.peak,
        "reset_peak_memory_stats": reset_peak,
        "mem_get_info": lambda device=None: (memory.total - memory.allocated, memory.total),
        "empty_cache": lambda: None,
        "synchronize": synchronize,
        "Event": Event,
        "manual_seed": lambda seed: None,
        "manual_seed_all": lambda seed: None,
        "get_rng_state": lambda device="cuda": torch.get_rng_state(),
        "set_rng_state": lambda state, device="cuda": None,
        "is_current_stream_capturing": lambda: False,
    }


def describe_accelerator(record: Record) -> dict[str, Any]:
    """What torch.accelerator answers, by function."""
    return {
        "is_available": lambda: True,
        "current_accelerator": lambda check_available=False: torch.device("cuda"),
        "device_count": lambda: 1,
        "set_device_index": lambda device: None,
        "current_device_index": lambda: 0,
        "current_stream": lambda device=None: SimpleNamespace(is_capturing=lambda: False),
        "empty_cache": lambda: None,
        "memory_allocated": lambda device=None: record.memory.allocated,
        "max_memory_allocated": lambda device=None: record.memory.peak,
    }


def pin(value: torch.Tensor, device: Any = None) -> torch.Tensor:
    """`.pin_memory()` of a CPU tensor: a copy that the device may read by itself."""
    if isinstance(value, DeviceTensor):
        raise RuntimeError("cannot pin 'torch.cuda.FloatTensor' only dense CPU tensors can be pinned")
    pinned = value.clone()
    pinned.standin_pinned = True
    return pinned


def start_thread(thread: threading.Thread) -> None:
    """A thread in which the card is there as well: torch's modes and switches belong to their thread."""
    torch.autograd.set_multithreading_enabled(False)
    with FactoryMode():
        START_THREAD(thread)


def group_tensors(lists: Any, with_indices: bool = False) -> dict[Any, Any]:
    """What optimizers and clipping group tensors by: C++ says the CPU of all, Python has to hear of the device."""
    on_card = any(isinstance(one, DeviceTensor) for one in lists[0])
    found = {}
    for (device, dtype), tensors in GROUP_TENSORS(lists, with_indices).items():
        found[CUDA if on_card else device, dtype] = tensors
    return found


def start_autocast(autocast: Any, device_type: str, dtype: Any = None, enabled: bool = True, **options: Any) -> None:
    """Autocast of "cuda" is the CPU's, with CUDA's default of float16: C++ takes the tensors for the CPU's."""
    if device_type == "cuda":
        device_type, dtype = "cpu", dtype or torch.float16
    START_AUTOCAST(autocast, device_type, dtype=dtype, enabled=enabled, **options)


@contextlib.contextmanager
def swap_converted_parameters() -> Iterator[None]:
    """`Module.to` keeps each parameter's identity, as it does on CUDA, so that tied weights stay tied."""
    before = torch.__future__.get_swap_module_params_on_conversion()
    torch.__future__.set_swap_module_params_on_conversion(True)
    try:
        yield
    finally:
        torch.__future__.set_swap_module_params_on_conversion(before)


def forget_accelerate() -> None:
    """Accelerate remembers the device of a process's first run: that is not to be the next one's."""
    AcceleratorState._reset_state(True)
    GradientState._reset_state()


@contextlib.contextmanager
def use_card(card: Card) -> Iterator[Record]:
    """The card is there inside, in this thread and in all that are begun inside.

    Args:
        card: which one.

    Yields:
        The record of what happens on it.
    """
    record = Record(card.memory, card.computes)
    forget_accelerate()
    with contextlib.ExitStack() as stack:
        stack.enter_context(mock.patch.multiple(torch.cuda, create=True, **describe_cuda(card, record)))
        stack.enter_context(mock.patch.multiple(torch.accelerator, create=True, **describe_accelerator(record)))
        stack.enter_context(mock.patch.object(torch.Tensor, "pin_memory", pin))
        stack.enter_context(mock.patch.object(threading.Thread, "_bootstrap_inner", start_thread))
        stack.enter_context(mock.patch.object(torch._C, "_group_tensors_by_device_and_dtype", group_tensors))
        stack.enter_context(mock.patch.object(torch.amp.autocast_mode.autocast, "__init__", start_autocast))
        stack.enter_context(swap_converted_parameters())
        stack.enter_context(torch.autograd.set_multithreading_enabled(False))
        current.append(record)
        stack.callback(current.pop)
        stack.callback(forget_accelerate)
        stack.enter_context(FactoryMode())
        yield record

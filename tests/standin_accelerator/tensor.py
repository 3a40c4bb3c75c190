"""The tensor of the stand-in: what Python is told, and what each operator does."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch.utils._pytree import tree_flatten, tree_map, tree_unflatten

from standin_accelerator import rules
from standin_accelerator.record import Record, locate_caller

CUDA = torch.device("cuda:0")
CPU = torch.device("cpu")
TOLD = {"device": CUDA, "is_cuda": True, "is_cpu": False}
"""What Python hears of a tensor's place. C++ hears of the CPU, so that autograd needs no streams."""

current: list[Record] = []
"""The record in use, the innermost last."""


class DeviceTensor(torch.Tensor):
    """A tensor of the stand-in. Its storage lies in main memory."""

    @staticmethod
    def __new__(cls, host: torch.Tensor) -> DeviceTensor:
        """The same memory, now the device's."""
        return torch.Tensor._make_subclass(cls, host, False)

    def __repr__(self, **options: Any) -> str:
        return f"DeviceTensor({tuple(self.shape)}, {self.dtype}, device='cuda:0')"

    def __deepcopy__(self, memo: dict[int, Any]) -> DeviceTensor:
        with torch.no_grad():
            copied = enter(leave(self).clone()).requires_grad_(self.requires_grad)
        if getattr(self, "_is_param", False):
            copied._is_param = True
        return copied

    def __reduce_ex__(self, protocol: int) -> Any:
        raise RuntimeError("a tensor of the device is pickled: bring it to the CPU first (stand-in)")

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return call(func, args, dict(kwargs or {}))

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return compute(func, args, dict(kwargs or {}))


def enter(host: torch.Tensor) -> DeviceTensor:
    """A CPU tensor's memory as the device's; raises torch.OutOfMemoryError where the card is full."""
    if isinstance(host, DeviceTensor):
        return host
    current[-1].memory.allocate(host)
    return DeviceTensor(host)


def leave(value: DeviceTensor) -> torch.Tensor:
    """The device's memory as a CPU tensor, for the stand-in's own work."""
    with torch._C._DisableTorchDispatch(), torch._C.DisableTorchFunctionSubclass(), torch.no_grad():
        host = torch.empty(0, dtype=value.dtype)
        return host.set_(value.untyped_storage(), value.storage_offset(), value.size(), value.stride())


def call(func: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
    """A function of torch's on the device's tensors, as Python calls it: what would go past the operators is here."""
    name = getattr(func, "__name__", "")
    attribute = getattr(getattr(func, "__self__", None), "__name__", "")
    if name == "__get__" and attribute in TOLD:
        return TOLD[attribute]
    if name == "__set__" and attribute == "data" and not isinstance(args[1], DeviceTensor):
        raise RuntimeError(f"a tensor of the device is given the CPU's data at {locate_caller()} (stand-in)")
    if func in METHODS and isinstance(args[0], DeviceTensor):
        return METHODS[func](*args, **kwargs)
    if "device" in kwargs and (name.startswith("new_") or name.endswith("_like")):
        if torch.device(kwargs["device"] or CUDA).type == "cpu":
            return func(leave(args[0].detach()), *args[1:], **kwargs)
        kwargs.pop("device")
    with torch._C.DisableTorchFunctionSubclass():
        return func(*args, **kwargs)


def refuse_numpy(value: DeviceTensor, *rest: Any, **options: Any) -> None:
    """What CUDA answers to `.numpy()`."""
    raise TypeError(
        "can't convert cuda:0 device type tensor to numpy. Use Tensor.cpu() to copy the tensor to host memory first."
    )


def refuse_pin(value: DeviceTensor, *rest: Any) -> None:
    """What CUDA answers to `.pin_memory()`."""
    raise RuntimeError("cannot pin 'torch.cuda.FloatTensor' only dense CPU tensors can be pinned")


def read_list(value: DeviceTensor) -> Any:
    """`.tolist()`, which waits."""
    current[-1].count_wait("tolist")
    return leave(value.detach()).tolist()


def read_address(value: DeviceTensor) -> int:
    """`.data_ptr()`."""
    return leave(value.detach()).data_ptr()


def read_storage(value: DeviceTensor) -> torch.UntypedStorage:
    """`.untyped_storage()`."""
    return leave(value.detach()).untyped_storage()


def make_like(value: DeviceTensor, data: Any, dtype: torch.dtype | None = None, **options: Any) -> DeviceTensor:
    """`.new_tensor(...)`: numbers of Python's are copied to the device, which waits."""
    current[-1].count_wait("copy to the card")
    with torch._C.DisableTorchFunction():
        return enter(torch.tensor(data, dtype=dtype or value.dtype))


def move_to_host(value: DeviceTensor, memory_format: Any = None) -> torch.Tensor:
    """`.cpu()`."""
    return move(value, device=CPU)


def move_to_card(value: DeviceTensor, device: Any = None, non_blocking: bool = False, **options: Any) -> torch.Tensor:
    """`.cuda()`, of a tensor that is there."""
    return value


def read_destination(args: Sequence[Any], kwargs: dict[str, Any]) -> dict[str, Any]:
    """The arguments of `Tensor.to` by name, those of `move`."""
    found = dict(kwargs)
    flags = ["non_blocking", "copy"]
    if "other" in found:
        args = [found.pop("other"), *args]
    for one in args:
        if isinstance(one, torch.dtype):
            found["dtype"] = one
        elif isinstance(one, torch.Tensor):
            found |= {"device": one.device, "dtype": one.dtype}
        elif isinstance(one, bool):
            found[flags.pop(0)] = one
        elif one is not None:
            found["device"] = one
    if found.get("device") is not None:
        found["device"] = as_device(found["device"])
    return found


def as_device(place: Any) -> torch.device:
    """A device by name, number or itself."""
    return torch.device("cuda", place) if isinstance(place, int) else torch.device(place)


def move_by_to(value: DeviceTensor, *args: Any, **kwargs: Any) -> torch.Tensor:
    """`.to(...)` of a tensor of the device."""
    return move(value, **read_destination(args, kwargs))


def move(
    value: DeviceTensor,
    device: torch.device | None = None,
    dtype: torch.dtype | None = None,
    non_blocking: bool = False,
    copy: bool = False,
    memory_format: Any = None,
) -> torch.Tensor:
    """A tensor of the device in another dtype, layout or place. To the host it waits, unless it is told not to."""
    layout = {} if memory_format is None else {"memory_format": memory_format}
    if device is None or device.type == "cuda":
        with torch._C.DisableTorchFunctionSubclass():
            return torch.Tensor.to(value, dtype=dtype or value.dtype, copy=copy, **layout)
    if device.type == "meta":
        return torch.empty(value.shape, dtype=dtype or value.dtype, device="meta")
    if not non_blocking:
        current[-1].count_wait("copy to the host")
    learns = value.requires_grad and torch.is_grad_enabled()
    host = ToHost.apply(value) if learns else leave(value.detach()).clone()
    host = host.to(dtype=dtype or value.dtype, **layout)
    return postpone(host) if non_blocking else host


@torch.no_grad()
def postpone(host: torch.Tensor) -> torch.Tensor:
    """A copy that is still under way: until it arrives, it holds what no reader should take for a number."""
    value = host.detach().clone()
    empty = float("nan") if host.is_floating_point() else 0
    host.detach().fill_(empty)
    current[-1].pending.append((host.detach(), value))
    return host


METHODS: dict[Any, Callable[..., Any]] = {
    torch.Tensor.numpy: refuse_numpy,
    torch.Tensor.__array__: refuse_numpy,
    torch.Tensor.pin_memory: refuse_pin,
    torch.Tensor.tolist: read_list,
    torch.Tensor.data_ptr: read_address,
    torch.Tensor.untyped_storage: read_storage,
    torch.Tensor.get_device: lambda value: 0,
    torch.Tensor.new_tensor: make_like,
    torch.Tensor.cpu: move_to_host,
    torch.Tensor.cuda: move_to_card,
    torch.Tensor.to: move_by_to,
}
"""Methods of a tensor that C++ would answer without an operator, or for the CPU."""


class ToHost(torch.autograd.Function):
    """A copy to the host through which the gradient comes back."""

    @staticmethod
    def forward(ctx: Any, value: DeviceTensor) -> torch.Tensor:
        return leave(value.detach()).clone()

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> DeviceTensor:
        return enter(gradient.clone())


class ToCard(torch.autograd.Function):
    """A copy to the device through which the gradient comes back."""

    @staticmethod
    def forward(ctx: Any, value: torch.Tensor) -> DeviceTensor:
        return enter(value.detach().clone())

    @staticmethod
    def backward(ctx: Any, gradient: DeviceTensor) -> torch.Tensor:
        return leave(gradient).clone()


def compute(func: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
    """Run an operator on the numbers, after a look at where its tensors are and whether the host would wait."""
    if func is torch.ops.prim.device.default:
        return CPU
    name, record = func.overloadpacket.__name__, current[-1]
    record.operators += 1
    flat, shape = tree_flatten((args, kwargs))
    tensors = [one for one in flat if isinstance(one, torch.Tensor)]
    ours = [one for one in tensors if isinstance(one, DeviceTensor)]
    if ours:
        check_devices(name, args, tensors)
        count_waits(name, args, kwargs)

    host = [leave(one) if isinstance(one, DeviceTensor) else one for one in flat]
    host_args, host_kwargs = tree_unflatten(host, shape)
    host_kwargs.pop("pin_memory", None)
    if record.computes or name not in rules.HEAVY:
        result = func(*host_args, **host_kwargs)
    else:
        result = make_zeros(func, host_args, host_kwargs)

    same = {id(after): before for before, after in zip(flat, host, strict=True) if isinstance(after, torch.Tensor)}
    on_device = isinstance(args[0], DeviceTensor) if name == "copy_" else bool(ours)

    def give_back(value: Any) -> Any:
        if not isinstance(value, torch.Tensor):
            return value
        if id(value) in same:
            return same[id(value)]
        record.dtypes[value.dtype] += 1
        return enter(value) if on_device else value

    return tree_map(give_back, result)


def make_zeros(func: Any, args: Any, kwargs: Any) -> Any:
    """An operator's results as zeros, whose shapes and layout torch knows without computing them."""

    def drop(value: Any) -> Any:
        return value.to("meta") if isinstance(value, torch.Tensor) else value

    def fill(value: Any) -> Any:
        if not isinstance(value, torch.Tensor):
            return value
        return torch.empty_strided(value.shape, value.stride(), dtype=value.dtype).zero_()

    return tree_map(fill, func(*tree_map(drop, args), **tree_map(drop, kwargs)))


def check_devices(name: str, args: Sequence[Any], tensors: Sequence[torch.Tensor]) -> None:
    """Raise what CUDA raises where an operator is given tensors of two devices."""
    foreign = [one for one in tensors if not isinstance(one, DeviceTensor)]
    refused = rules.find_foreign(name, args, foreign, DeviceTensor) if foreign else []
    if refused:
        message = (
            "Expected all tensors to be on the same device, but found at least two devices, cuda:0 and cpu! "
            f"({name} with the CPU's {tuple(refused[0].shape)} {refused[0].dtype} at {locate_caller()}; stand-in)"
        )
        current[-1].errors.append(message)
        raise RuntimeError(message)


def count_waits(name: str, args: Sequence[Any], kwargs: dict[str, Any]) -> None:
    """Count the wait that an operator on the device means, if any."""
    if name == "copy_":
        count_copy(args[0], args[1], bool(kwargs.get("non_blocking") or args[2:3] == (True,)))
        return
    kind = rules.find_wait(name, args, kwargs, DeviceTensor)
    if kind:
        current[-1].count_wait(kind)


def count_copy(target: torch.Tensor, source: torch.Tensor, non_blocking: bool) -> None:
    """Count `target.copy_(source)` where it joins host and device and the host waits."""
    to_card, from_card = isinstance(target, DeviceTensor), isinstance(source, DeviceTensor)
    if from_card and not to_card and not non_blocking:
        current[-1].count_wait("copy to the host")
    if to_card and not from_card and not (non_blocking and is_pinned(source)):
        current[-1].count_wait("copy to the card")


def is_pinned(value: torch.Tensor) -> bool:
    """Whether a CPU tensor came from `pin_memory`."""
    return getattr(value, "standin_pinned", False)

"""A base on its device, and what to do when memory runs out: for generating and for training.

Device and precision are those of `device_choice`. Training multiplies in bfloat16 where that pays
(`choose_precision`). Convolutions are laid out channels last, as cuDNN and oneDNN like them best. A UNet may be
compiled: the first image then waits for the compiler, and so does the first of each new shape.

`OutOfMemoryFallback` continues where memory runs out: fewer images at once; then the autoencoder in tiles of the base's
own size; then each part of the base on the device only while it is needed. What was generated is kept, and a message
says what changes. The images stay the same; only one larger than a tile is put together from several, and may show it.
"""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
import torch._dynamo
from accelerate import cpu_offload_with_hook
from torch import nn

from emoscene.core.errors import EmosceneError, UsageError
from emoscene.core.plain_text import format_count
from emoscene.diffusion.device_choice import (
    choose_device,
    choose_dtype,
    empty_cache,
    explain_choice,
    has_native_bf16,
)
from emoscene.diffusion.model import DiffusionModel

P = TypeVar("P")
R = TypeVar("R")

NO_ROOM = "the base '{base}' does not fit into the device's memory: free some of it, or take --device cpu"
WIDE = 512  # from this width on, a CPU saves more by multiplying in bf16 than rounding to it costs


def choose_precision(choice: str, device: torch.device | str = "cpu", models: Iterable[nn.Module] = ()) -> str:
    """The arithmetic that "auto" comes to here: "bf16" where the hardware computes in it and gains by it.

    A GPU gains whatever the model's size; one without bf16 of its own computes in fp16. A CPU gains with wide models;
    for narrow ones it depends on the CPU, and fp32 is the same on all of them. Nothing is timed, so that a resumed run
    computes as it began.

    Args:
        choice: "auto", or the answer itself.
        device: Where it computes.
        models: What it computes with, which a CPU's answer depends on.

    Returns:
        "fp32", "bf16" or "fp16".

    Raises:
        UsageError: A CPU is to train in fp16.
    """
    kind = torch.device(device).type
    if choice == "fp16" and kind == "cpu":
        raise UsageError("precision=fp16 is for GPUs: leave it out, or give bf16, which a CPU computes in as well")
    if choice != "auto":
        return choice
    if kind != "cpu" and has_native_bf16(torch.device(device)):
        return "bf16"
    if kind == "cuda":
        return "fp16"
    if kind == "cpu" and max_width(models) >= WIDE and has_cpu_bf16():
        return "bf16"
    return "fp32"


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


def load_model(base: str, device: str | None = None, dtype: torch.dtype | str | None = None) -> DiffusionModel:
    """Load a base onto a device, in the memory layout that suits it.

    Args:
        base: A name, a folder, a file, or a hub id.
        device: See `choose_device`.
        dtype: See `choose_dtype`; left out, a CPU computes a wide UNet in bfloat16 where it has instructions for it.

    Returns:
        The base.

    Raises:
        UsageError: A name is not known.
        EmosceneError: Files are damaged, the hub cannot be reached, or the base does not fit into memory.

    Example:
        >>> model = load_model("mini", device="cpu")
        >>> model.default_size
        128
    """
    place = choose_device(device)
    with explain_full_memory(NO_ROOM.format(base=base)):
        backbone = DiffusionModel.load(base, place, choose_dtype(dtype, place))
    if dtype is None and place.type == "cpu" and choose_precision("auto", place, [backbone.unet]) == "bf16":
        round_weights(backbone, torch.bfloat16)
    if place.type != "mps":
        for model in (backbone.unet, backbone.vae):
            model.to(memory_format=torch.channels_last)
    return backbone


def compile_unet(base: DiffusionModel, blocks: bool = False) -> None:
    """Compile the base's UNet, whatever is or will be attached to it, for generation and for training alike.

    Args:
        base: The base, changed in place.
        blocks: Compile only its repeated blocks, which is quicker to begin with; training's choice.

    Raises:
        EmosceneError: Nothing can be compiled here.
    """
    try:
        torch.compile(torch.cos)(torch.ones(2, device=base.device))
    except Exception as error:
        reason = str(error).strip().splitlines()[0][:200]
        word = "--compile"
        if blocks:
            word = "compile"
        raise EmosceneError(
            f"nothing can be compiled here ({reason}): install a C++ compiler, or leave {word} out"
        ) from error
    if blocks:
        base.unet.compile_repeated_blocks()
    else:
        base.unet.compile(dynamic=False)
    for module in base.unet.modules():
        if module._compiled_call_impl is not None:
            module._compiled_call_impl = _guard_hooks(module._compiled_call_impl)


def _guard_hooks(call: Callable[..., Any]) -> Callable[..., Any]:
    """A compiled call that notices hooks which come and go, as a LoRA does; torch assumes that none do.

    The setting is read wherever something is traced, and each thread has its own: so it is made within the call.
    """

    def call_with_guards(*inputs: Any, **named: Any) -> Any:
        with torch._dynamo.config.patch(skip_nnmodule_hook_guards=False):
            return call(*inputs, **named)

    return call_with_guards


def round_weights(base: DiffusionModel, dtype: torch.dtype) -> None:
    """Keep the UNet and the text encoder in a precision from now on; the autoencoder keeps its own.

    Autocast alone would round the weights again in each pass, which on a CPU costs as much as it saves.

    Args:
        base: The base, changed in place.
        dtype: The precision.
    """
    for model in (base.unet, base.text_encoder):
        nn.Module.to(model, dtype)  # diffusers' own warns of nothing here
    base.dtype = dtype


def explain_base(base: DiffusionModel, device: object, dtype: object, work: str = "generating") -> str:
    """Say where and in what precision a base computes, and why.

    Args:
        base: The base.
        device: What the user asked for, or None.
        dtype: The same.
        work: What it does.

    Returns:
        The sentence, as `device_choice.explain_choice` writes it.
    """
    return explain_choice(work, base.device, str(base.dtype).removeprefix("torch."), device, dtype)


class OutOfMemoryFallback:
    """Calls a function with fewer rows, then with a slower base, where memory runs out; it remembers what sufficed.

    Args:
        base: The base, changed in place where fewer rows do not help.
        on_message: Takes a sentence that says what changes.
    """

    def __init__(self, base: DiffusionModel, on_message: Callable[[str], None]) -> None:
        self.base, self.on_message = base, on_message
        self.most: int | None = None
        self.ways = [self._enable_tiling, self._enable_offload]

    def __call__(self, generate: Callable[[Sequence[P]], Sequence[R]], rows: Sequence[P]) -> list[R]:
        """Apply `generate` to all rows, in as few parts as memory allows.

        Args:
            generate: Makes a result for each row.
            rows: Its inputs.

        Returns:
            The results, in order.

        Raises:
            EmosceneError: Memory does not suffice for a single row.
        """
        done: list[R] = []
        while len(done) < len(rows):
            part = rows[len(done) :][: self.most]
            short = False
            try:
                done += generate(part)
            except RuntimeError as error:
                if not is_out_of_memory(error):
                    raise
                short = True
            if short:  # the error is gone by now, and with it whatever it held
                self._reduce_memory(len(part))
        return done

    def _reduce_memory(self, count: int) -> None:
        empty_cache(self.base.device)
        if count > 1:
            self.most = count // 2
            self.on_message(f"memory ran out over {format_count(count, 'image')} at once: going on with {self.most}")
        elif self.ways:
            self.on_message(f"memory ran out over a single image: {self.ways.pop(0)()}")
        else:
            raise EmosceneError("memory does not suffice for a single image: ask for a smaller --size, or --device cpu")

    def _enable_tiling(self) -> str:
        vae, side = self.base.vae, self.base.default_size
        vae.tile_sample_min_size, vae.tile_latent_min_size = side, side // self.base.vae_scale_factor
        vae.enable_tiling()
        self.base.memory_is_short = True
        return "going on with the autoencoder in tiles"

    def _enable_offload(self) -> str:
        self.base.memory_is_short = True
        models = (self.base.vae, self.base.text_encoder, self.base.unet)
        hooks = []
        for model in models:
            hooks.append(cpu_offload_with_hook(model.to("cpu"), self.base.device)[1])
        for hook, before in zip(hooks, [hooks[-1], *hooks], strict=False):
            hook.hook.prev_module_hook = before
        return "going on with each part of the base in main memory until it is needed"


def is_out_of_memory(error: RuntimeError) -> bool:
    """Tell whether an error says that memory ran out; each kind of device has its own words for it.

    Args:
        error: The error.

    Returns:
        Whether it does.
    """
    if isinstance(error, EmosceneError):
        return False  # it has its remedy already

    words = str(error).lower()
    return isinstance(error, torch.OutOfMemoryError) or "out of memory" in words or "can't allocate memory" in words


@contextmanager
def explain_full_memory(remedy: str) -> Iterator[None]:
    """Say what to do where memory runs out inside; nothing is tried again.

    Args:
        remedy: The message of the error.

    Yields:
        Nothing.

    Raises:
        EmosceneError: Memory ran out.
    """
    try:
        yield
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        raise EmosceneError(remedy) from error

"""CUDA's rules, operator by operator: which tensors may meet, and for which answers the host waits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

COPIES = {"_to_copy", "copy_", "_copy_from", "set_", "lift_fresh", "lift", "detach"}
"""Operators that may join two devices."""

INDEXING = {"index", "index_put", "index_put_", "_index_put_impl_", "_unsafe_index", "_unsafe_index_put"}
"""Operators whose indices, and those alone, may lie on the CPU."""

ONE_DEVICE = {
    *("cat", "stack", "mm", "addmm", "bmm", "baddbmm", "convolution", "native_layer_norm", "native_group_norm"),
    *("embedding", "gather", "scatter", "index_select", "index_add", "index_copy", "index_add_", "index_copy_"),
    *("_fused_adamw_", "scaled_dot_product_attention"),
}
"""Operators that refuse even a single number of the CPU; the pointwise ones take it."""

WAITING = {
    "_local_scalar_dense": "item",
    "is_nonzero": "bool",
    "nonzero": "nonzero",
    "masked_select": "masked_select",
    "_unique2": "unique",
    "unique_dim": "unique",
    "unique_consecutive": "unique",
    "equal": "equal",
    "bincount": "bincount",
    "_linalg_check_errors": "linalg's check",
}
"""Operators whose answer the host has to know: name -> kind of wait."""


HEAVY = {
    *("convolution", "convolution_backward", "mm", "addmm", "bmm", "baddbmm"),
    *("_scaled_dot_product_flash_attention_for_cpu", "_scaled_dot_product_flash_attention_for_cpu_backward"),
}
"""Operators of which a card that does not compute makes the results' shapes alone."""


def find_foreign(name: str, args: Sequence[Any], foreign: Sequence[torch.Tensor], kind: type) -> list[torch.Tensor]:
    """The tensors of the CPU that CUDA would refuse in this operator.

    Args:
        name: of the operator, as in torch.ops.aten.
        args: its arguments, one of which at least is a tensor of the device.
        foreign: those of its tensors that are the CPU's.
        kind: the class of the device's tensors.

    Returns:
        The refused ones.
    """
    if name in COPIES:
        return []
    if name in INDEXING:
        places = [args[0]]
        if "put" in name:
            places.append(args[2])
        return [one for one in places if isinstance(one, torch.Tensor) and not isinstance(one, kind) and one.ndim]
    if name in ONE_DEVICE:
        return list(foreign)
    if name.startswith("_foreach"):
        return list(foreign)
    return [one for one in foreign if one.ndim]


def find_wait(name: str, args: Sequence[Any], options: dict[str, Any], kind: type) -> str:
    """The kind of wait that an operator on the device means, or nothing; kind: the class of the device's tensors."""
    if name in WAITING:
        return WAITING[name]
    if name == "repeat_interleave" and options.get("output_size") is None:
        return "repeat_interleave"
    if name not in INDEXING:
        return ""
    indices = [one for one in args[1] if one is not None]
    if any(is_mask(one) for one in indices):
        return "mask as index"
    if isinstance(args[0], kind) and not all(isinstance(one, kind) for one in indices):
        return "indices of the host"
    return ""


def is_mask(index: torch.Tensor) -> bool:
    """Whether an index is a mask: how many it selects is known only on the device."""
    return index.dtype in (torch.bool, torch.uint8)

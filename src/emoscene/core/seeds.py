"""Randomness as a pure function: a seed and some words in, a stream of numbers out.

Nothing in this project draws from a global stream. A picture draws from (its seed, "noise"), a training sample from
(seed, step, sample): so batches, processes and restarts change nothing, and no loader's state exists to be lost.

torch is imported inside `torch_generator` alone, because the world and the command line's `--help` do without it.
"""

import json
from hashlib import blake2b
from operator import index
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch


def derive_seed(seed: int, *words: str | int) -> int:
    """A whole number of 63 bits, far from that of any other words: `("a", "bc")` is not `("ab", "c")`, nor 1 `"1"`."""
    encoding = json.dumps([word if isinstance(word, str) else int(index(word)) for word in (seed, *words)])
    return int.from_bytes(blake2b(encoding.encode(), digest_size=8).digest(), "big") >> 1


def numpy_generator(seed: int, *words: str | int) -> np.random.Generator:
    """NumPy's stream for these words."""
    return np.random.default_rng(derive_seed(seed, *words))


def torch_generator(seed: int, *words: str | int, device: str = "cpu") -> "torch.Generator":
    """torch's stream for these words; drawn on the CPU it is the same on every machine."""
    import torch

    return torch.Generator(device).manual_seed(derive_seed(seed, *words))

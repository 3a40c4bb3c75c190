"""Randomness as a pure function: a seed and some words in, a stream of numbers out.

Nothing in this project draws from a global stream. An image draws from (its seed, "noise"), a training sample from
(seed, step, sample): so batches, processes and restarts change nothing, and no loader's state exists to be lost.

torch is imported inside the functions that need it, because the world and the command line's `--help` do without it.
"""

import json
from collections.abc import Iterable
from hashlib import blake2b
from operator import index
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch


def derive_seed(seed: int, *words: str | int) -> int:
    """Derive a seed. Different words give different seeds: `("a", "bc")` is not `("ab", "c")`, and 1 is not `"1"`.

    Args:
        seed: A seed.
        words: What the random numbers are for.

    Returns:
        A whole number from 0 to 2^63 - 1.
    """
    return _hash_words(_encode_words(seed, *words))


def derive_seeds(seed: int, *words: str | int, last: Iterable[int]) -> list[int]:
    """Derive many seeds whose last word is a number, in less time than one by one.

    Args:
        seed: A seed.
        words: What the random numbers are for.
        last: The last word of each.

    Returns:
        What `derive_seed(seed, *words, number)` is for each number.
    """
    beginning = _encode_words(seed, *words)[:-1]
    return [_hash_words(f"{beginning}, {index(number)}]") for number in last]


def _encode_words(*words: str | int) -> str:
    """The words as a JSON list."""
    parts: list[str | int] = []
    for word in words:
        if isinstance(word, str):
            parts.append(word)
        else:
            parts.append(int(index(word)))
    return json.dumps(parts)


def _hash_words(encoding: str) -> int:
    """63 bits of the digest of a list of words."""
    return int.from_bytes(blake2b(encoding.encode(), digest_size=8).digest(), "big") >> 1


def numpy_generator(seed: int, *words: str | int) -> np.random.Generator:
    """Make NumPy's generator for some words.

    Args:
        seed: A seed.
        words: What the random numbers are for.

    Returns:
        The generator.
    """
    return np.random.default_rng(derive_seed(seed, *words))


def torch_generator(seed: int, *words: str | int, device: str = "cpu") -> "torch.Generator":
    """Make torch's generator for some words; on the CPU its numbers are the same on every machine.

    Args:
        seed: A seed.
        words: What the random numbers are for.
        device: Where they are drawn.

    Returns:
        The generator.
    """
    import torch

    return torch.Generator(device).manual_seed(derive_seed(seed, *words))


def image_generator(seed: int) -> "torch.Generator":
    """Make the generator of an image's noise: the seed itself, as diffusers takes it.

    Args:
        seed: The image's seed.

    Returns:
        The generator, on the CPU.
    """
    import torch

    return torch.Generator().manual_seed(seed)


def seed_torch(seed: int, *words: str | int) -> None:
    """Seed torch's global stream, from which the layers of other packages draw their first weights.

    Args:
        seed: A seed.
        words: What the random numbers are for.
    """
    import torch

    torch.manual_seed(derive_seed(seed, *words) % 2**31)

"""The processes that were launched together for one call, as `torchrun` and `accelerate launch` number them.

Launchers write the numbers into the environment of each process. A process without them is the only one. A process that
serves for days also limits here how much memory its threads keep to themselves. What each process takes of the work
(`shard`), and what threads read ahead (`prefetch_map`), stands here as well.
"""

import ctypes
import os
import platform
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from emoscene.core.errors import UsageError

BY_RAY = "call it without a launcher, and with --ray auto for more workers"
"""What to do where a verb has workers of its own."""
ARENAS = 2
S = TypeVar("S")
T = TypeVar("T")
M_ARENA_MAX = -8  # the number of this option in glibc's malloc.h


def read_rank() -> int:
    """Read the number of this process among those that were launched together.

    Returns:
        From 0 to below `count_processes()`.

    Raises:
        UsageError: The launcher's numbers do not go together.
    """
    rank, count = _read_number("RANK", 0), count_processes()
    if rank >= count:
        raise UsageError(f"RANK={rank} and WORLD_SIZE={count} do not go together: launch with torchrun")
    return rank


def count_processes() -> int:
    """Count the processes that were launched together.

    Returns:
        Their number, at least 1 where nothing else is in the environment.
    """
    return _read_number("WORLD_SIZE", 1)


def check_single(verb: str, remedy: str) -> None:
    """Check that a verb that does not share its work among such processes was not launched in several.

    Args:
        verb: The verb.
        remedy: What to do instead.

    Raises:
        UsageError: There are several.
    """
    if count_processes() > 1:
        raise UsageError(f"{verb} runs in one process and was launched in {count_processes()}: {remedy}")


def read_local_rank() -> int | None:
    """Read the number of this process on its machine.

    Returns:
        From 0; None for a process that was not launched with others.
    """
    if os.environ.get("LOCAL_RANK", "").isdigit():
        return int(os.environ["LOCAL_RANK"])
    return None


def _read_number(name: str, default: int) -> int:
    text = os.environ.get(name, "")
    if text.isdigit():
        return int(text)
    return default


def limit_arenas(count: int = ARENAS) -> bool:
    """Let all threads of this process share a few arenas of glibc's malloc.

    By default glibc gives threads up to eight arenas a core, and what is free in one is not given to another: a server
    whose requests run in many threads holds far more memory than it uses.

    Args:
        count: How many arenas, at least 1. What the environment says in MALLOC_ARENA_MAX goes before it.

    Returns:
        Whether it is so now; False with another C library, which has no such option.
    """
    if "MALLOC_ARENA_MAX" in os.environ or platform.libc_ver()[0] != "glibc":
        return False
    return ctypes.CDLL(None).mallopt(M_ARENA_MAX, count) == 1


def shard(items: Iterable[T], rank: int, world: int) -> list[T]:
    """Select one process's part of the work: every `world`-th item.

    Args:
        items: All items.
        rank: The process, from 0 to world - 1.
        world: The number of processes.

    Returns:
        Its items.
    """
    return list(items)[rank::world]


def prefetch_map(work: Callable[[S], T], items: Iterable[S], threads: int, depth: int) -> Iterator[T]:
    """Apply a function to items in threads, in order.

    Args:
        work: The function.
        items: Its inputs.
        threads: The number of threads.
        depth: At most `threads * depth` results are computed ahead.

    Yields:
        The results.
    """
    under_way: deque[Future[T]] = deque()
    with ThreadPoolExecutor(threads) as pool:
        try:
            for item in items:
                under_way.append(pool.submit(work, item))
                if len(under_way) > threads * depth:
                    yield under_way.popleft().result()
            while under_way:
                yield under_way.popleft().result()
        finally:
            for waiting in under_way:
                waiting.cancel()

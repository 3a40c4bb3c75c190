"""What happened on the stand-in: waits, copies, mixed devices, dtypes, live bytes."""

from __future__ import annotations

import os
import sys
import weakref
from collections import Counter
from pathlib import Path

import torch

import emoscene

PACKAGE = str(Path(emoscene.__file__).parent) + os.sep
HERE = str(Path(__file__).parent) + os.sep
Waits = Counter[tuple[str, str]]
"""How often the host waited, by (kind, line of emoscene)."""


class Memory:
    """The live bytes of a card, by storage: views of one storage count once."""

    def __init__(self, total: int) -> None:
        self.total, self.allocated, self.peak = total, 0, 0
        self.storages: dict[int, weakref.ref[torch.UntypedStorage]] = {}

    def allocate(self, tensor: torch.Tensor) -> None:
        """Count the storage of a CPU tensor that enters the device.

        Raises:
            torch.OutOfMemoryError: the card has no room for it.
        """
        storage = tensor.untyped_storage()
        key, size = storage._cdata, storage.nbytes()
        if key in self.storages:
            return
        if self.allocated + size > self.total:
            raise torch.OutOfMemoryError(
                f"CUDA out of memory. Tried to allocate {size} bytes. GPU 0 has a total capacity of {self.total} bytes "
                f"of which {self.total - self.allocated} bytes is free. (stand-in)"
            )

        def release(_: object) -> None:
            self.allocated -= size
            del self.storages[key]

        self.storages[key] = weakref.ref(storage, release)
        self.allocated += size
        self.peak = max(self.peak, self.allocated)


class Record:
    """What one `use_card` saw.

    waits: of the host for the device. late_waits: for an event, which hold nobody up if the work was asked for long
    ago. errors: mixed-device operators. dtypes: how many results of each dtype. pending: copies to the host that have
    not arrived, oldest first.
    """

    def __init__(self, memory: int, computes: bool = True) -> None:
        self.computes = computes
        self.waits: Waits = Counter()
        self.late_waits: Waits = Counter()
        self.errors: list[str] = []
        self.dtypes: Counter[torch.dtype] = Counter()
        self.operators = 0
        self.memory = Memory(memory)
        self.pending: list[tuple[torch.Tensor, torch.Tensor]] = []

    def count_wait(self, kind: str) -> None:
        """Count a wait at the line of emoscene that is running."""
        self.waits[kind, locate_caller()] += 1

    def deliver(self, count: int | None = None) -> None:
        """Let the oldest `count` pending copies arrive, or all."""
        arrived, self.pending = self.pending[:count], [] if count is None else self.pending[count:]
        for target, value in arrived:
            target.copy_(value)


def locate_caller() -> str:
    """The innermost line of emoscene that is running, and what it called; elsewhere the innermost line of all."""
    frame = sys._getframe(1)
    called = ""
    while frame is not None:
        path = frame.f_code.co_filename
        line = f"{'/'.join(Path(path).parts[-2:])}:{frame.f_lineno} {frame.f_code.co_name}"
        if path.startswith(PACKAGE):
            return f"{line} <- {called}" if called else line
        if not called and not path.startswith(HERE) and f"{os.sep}torch{os.sep}" not in path:
            called = line
        frame = frame.f_back
    return called


def format_waits(waits: Waits, title: str = "waits") -> str:
    """A table of waits, the most frequent first."""
    lines = [f"{title}: {sum(waits.values())}"]
    lines += [f"  {count:4d}  {kind:24s} {line}" for (kind, line), count in waits.most_common()]
    return "\n".join(lines)

"""The processes that prepare one folder together, on one machine or many, with nothing between them but the folder.

    with WorkerGroup(folder) as crew:
        crew.complete(parts, make)      make([0, 3, 6]) writes these parts; back when all of them are there

Each takes every `world`-th part. None waits for another in the middle; at the end of a pass it waits for files. As a
sign of life each process touches a file of its own every few seconds. The parts of one that stopped doing so, or never
began, are shared by the others. Whether a process is dead may be judged wrongly: then a part is made twice, with the
same bytes, and the second takes the place of the first whole. So no result depends on it.

Rank and world come from the environment that `torchrun` and `accelerate launch` set. There is no collective, and no
process group to wait for.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from emoscene.core import run_dir
from emoscene.core.processes import count_processes, read_rank

BEAT = 5.0  # seconds between signs of life
PATIENCE = 90.0  # seconds without one after which a process is taken for dead
WAIT = 0.2  # seconds between looks at the folder


class WorkerGroup:
    """One process among its `world`, at work in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.rank, self.world = read_rank(), count_processes()
        self.over = threading.Event()
        self.began = 0.0

    def __enter__(self) -> Self:
        self._touch()
        self.began = self._sign_file(self.rank).stat().st_mtime
        self.heart = threading.Thread(target=self._beat, daemon=True)
        self.heart.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.over.set()
        self.heart.join()
        self._sign_file(self.rank).unlink(missing_ok=True)

    def complete(self, parts: Sequence[Path], make: Callable[[list[int]], None]) -> None:
        """Make this process's missing parts, wait for the others' parts, and make those of processes that died.

        Args:
            parts: The files of all parts.
            make: Writes the parts with these numbers.
        """
        own = run_dir.shard(range(len(parts)), self.rank, self.world)
        make(_list_missing(parts, own))
        missing = _list_missing(parts, range(len(parts)))
        while missing:
            alive = self.list_alive()
            orphaned = [part for part in missing if part % self.world not in alive]
            mine = run_dir.shard(orphaned, alive.index(self.rank), len(alive))
            if mine:
                make(mine[:1])
            else:
                time.sleep(WAIT)
            missing = _list_missing(parts, range(len(parts)))

    def close(self, finished: Callable[[], bool], finish: Callable[[], None]) -> None:
        """Let the first process that is alive mark the folder as done; the others wait for it.

        Args:
            finished: Tells whether the folder is marked as done.
            finish: Marks it.
        """
        while not finished():
            if self.list_alive()[0] == self.rank:
                finish()
                return
            time.sleep(WAIT)

    def list_alive(self) -> list[int]:
        """List the processes that gave a sign of life within `PATIENCE` seconds, by the clock of the disk.

        Returns:
            Their ranks; this process is always among them.
        """
        self._touch()
        now = self._last_seen(self.rank)
        ranks = []
        for rank in range(self.world):
            if rank == self.rank or now - self._last_seen(rank) < PATIENCE:
                ranks.append(rank)
        return ranks

    def _last_seen(self, rank: int) -> float:
        """When a process was last seen; one that has not begun is expected from the time that this one did."""
        with suppress(FileNotFoundError):
            return max(self._sign_file(rank).stat().st_mtime, self.began)
        return self.began

    def _beat(self) -> None:
        while not self.over.wait(BEAT):
            self._touch()

    def _touch(self) -> None:
        self._sign_file(self.rank).write_bytes(b"")

    def _sign_file(self, rank: int) -> Path:
        return self.folder / f"{run_dir.TEMPORARY_PREFIX}alive-{rank}"


def _list_missing(parts: Sequence[Path], numbers: Sequence[int]) -> list[int]:
    """The numbers of those parts that have no file yet."""
    return [number for number in numbers if not parts[number].exists()]

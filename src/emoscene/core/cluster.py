"""The workers of a Ray cluster, which make the parts of a folder: `--ray auto|ADDRESS`.

    with open_cluster("auto", load) as cluster:              None without an address
        for part in complete_parts(parts, make, job, cluster):
            ...                                              the number of each part, once its file is there

A part is a file, and one that is there is not made again. Without a cluster, this process makes all parts. A worker is
an actor with a GPU of its own, or, where there is none, with as many CPUs as `OMP_NUM_THREADS` says, 1 if it is not
set. It loads once what all parts need, and makes one part at a time. The part of a worker that died, alone or with its
node, goes to another one. An error that is raised in a worker is raised here.
"""

from __future__ import annotations

import os
import socket
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import emoscene
from emoscene.core.device_names import parse_device
from emoscene.core.errors import EmosceneError, UsageError, import_extra

Load = Callable[[], Any]
"""Makes the job, what all parts need, in a worker."""
Make = Callable[[Any, Sequence[int], str], Iterator[int]]
"""Takes the job, the numbers of parts, and the worker's name, empty in this process; yields each that is written."""
ANSWER = 10.0  # seconds in which a cluster answers
LOOK = 1.0  # seconds between looks at the nodes
DELAY = 60.0  # seconds after which a file that another node wrote is seen here, or never
DEATHS = 5  # of each worker in a row, while no part is finished


def complete_parts(parts: Sequence[Path], make: Make, job: Any, cluster: Cluster | None = None) -> Iterator[int]:
    """Make the parts that are not there, here or by the workers of a cluster.

    Args:
        parts: The files of all parts.
        make: Writes parts; a function that can be pickled where there is a cluster.
        job: The first argument of `make` in this process; a worker loads its own.
        cluster: The cluster.

    Yields:
        The number of each part that was made, once its file is there.

    Raises:
        EmosceneError: Workers die, or write where this process sees nothing.
    """
    missing = [number for number, path in enumerate(parts) if not path.exists()]
    if cluster is None:
        yield from make(job, missing, "")
        return
    for number in cluster.make_parts(make, missing):
        _wait_for(parts[number])
        yield number


def _wait_for(path: Path) -> None:
    """Wait until a file of another node is seen: shared disks are late by seconds."""
    limit = time.monotonic() + DELAY
    while not path.exists():
        if time.monotonic() > limit:
            raise EmosceneError(
                f"a worker wrote {path}, and it is not here: give --out a folder on a disk that all nodes share"
            )
        time.sleep(LOOK / 10)


@contextmanager
def open_cluster(address: str | None, load: Load, device: str | None = None) -> Iterator[Cluster | None]:
    """Join a Ray cluster, or start one on this machine; its workers, and what was started, end with the context.

    Args:
        address: `auto` for the cluster that runs on this machine or that `RAY_ADDRESS` names, else for a new one of
            this machine alone; an address such as `ray://HOST:10001`; None for no cluster.
        load: Loads what the parts need in a worker; it must be picklable.
        device: The device of the workers; `cpu` asks for no GPU.

    Yields:
        The cluster; None without an address.

    Raises:
        UsageError: The cluster has no such device.
        EmosceneError: Ray is not installed, or there is no cluster at the address.
    """
    if address is None:
        yield None
        return
    place = _find_address(address)
    ray = import_extra("ray", "ray")
    begun = not ray.is_initialized()
    if begun:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        ray.init(place, log_to_driver=False)
    try:
        cluster = Cluster(ray, load, device)
        try:
            yield cluster
        finally:
            cluster.close()
    finally:
        if begun:
            ray.shutdown()


def check_address(address: str | None) -> None:
    """Check that a cluster answers, before anything is loaded.

    Args:
        address: As `open_cluster` has it.

    Raises:
        EmosceneError: Ray is not installed, or there is no cluster at the address.
    """
    if address is not None:
        import_extra("ray", "ray")
        _find_address(address)


def _find_address(address: str) -> str | None:
    """The address for `ray.init`; None where it looks for a cluster itself.

    Raises EmosceneError where nothing answers: Ray itself would wait for it.
    """
    place: str | None = address
    if address == "auto":
        place = os.environ.get("RAY_ADDRESS")
    if place in {None, "local"}:
        return place
    host, _, port = str(place).rpartition("://")[2].rpartition(":")
    try:
        socket.create_connection((host, int(port)), ANSWER).close()
    except (OSError, ValueError) as error:
        raise EmosceneError(
            f"there is no Ray cluster at {place}: start one by `ray start --head` and give its HOST:PORT, or --ray auto"
        ) from error
    return place


class Cluster:
    """The workers of one call."""

    def __init__(self, ray: Any, load: Load, device: str | None) -> None:
        self.ray, self.load = ray, load
        kind, number = parse_device(device or "cuda")
        if number is not None:
            raise UsageError(f"--device {device} names one GPU, and --ray gives each worker its own: --device {kind}")
        threads = int(os.environ.get("OMP_NUM_THREADS") or 1)
        gpus = int(kind in {"cuda", "xpu"} and ray.cluster_resources().get("GPU", 0) >= 1)
        if device in {"cuda", "xpu"} and not gpus:
            raise UsageError(f"--device {device} is not here: the Ray cluster has no GPU")
        self.needs = {"CPU": threads}
        if gpus:
            self.needs["GPU"] = gpus
        if not self._count_places():
            raise UsageError(f"no node of the Ray cluster has {threads} CPUs: set OMP_NUM_THREADS to fewer")
        self.actor = ray.remote(num_cpus=threads, num_gpus=gpus)(Worker)
        self.idle: list[Any] = []
        self.busy: dict[Any, tuple[Any, int | None]] = {}  # by call: the worker, and its part unless it is starting

    def make_parts(self, make: Make, numbers: Sequence[int]) -> Iterator[int]:
        """Make parts.

        Args:
            make: Writes parts.
            numbers: The parts.

        Yields:
            The number of each part that was made, in no order.

        Raises:
            EmosceneError: Workers die, and no part is finished.
            Exception: What `make` raises.
        """
        shared, waiting, left, deaths = self.ray.put(make), deque(numbers), len(numbers), 0
        while left:
            places = self._count_places()
            self._start_workers(min(places, left))
            while waiting and self.idle:
                worker, number = self.idle.pop(), waiting.popleft()
                self.busy[worker.make_part.remote(shared, number)] = worker, number
            for call, worker, part in self._wait():
                death = self._find_death(call)
                if death is None:
                    self.idle.append(worker)
                    if part is not None:
                        left, deaths = left - 1, 0
                        yield part
                    continue
                deaths += 1
                if deaths > DEATHS * max(1, places):
                    raise EmosceneError(f"the workers of the Ray cluster die, {deaths} in a row; the last: {death}")
                self.ray.kill(worker)
                if part is not None:
                    waiting.appendleft(part)

    def close(self) -> None:
        """End the workers."""
        for worker in [*self.idle, *(worker for worker, _ in self.busy.values())]:
            self.ray.kill(worker)

    def _count_places(self) -> int:
        """How many workers the living nodes have room for."""
        places = 0
        for node in self.ray.nodes():
            if node["Alive"]:
                has = node["Resources"]
                places += int(min(has.get(name, 0) // count for name, count in self.needs.items()))
        return places

    def _start_workers(self, count: int) -> None:
        """Start as many as are lacking; each is busy until it has loaded."""
        while len(self.idle) + len(self.busy) < count:
            worker = self.actor.remote(self.load, str(Path.cwd()), emoscene.__version__, uuid4().hex[:8])
            self.busy[worker.begin.remote()] = worker, None

    def _wait(self) -> Iterator[tuple[Any, Any, int | None]]:
        """The calls that ended by the next look at the nodes, with their workers and parts."""
        if not self.busy:
            time.sleep(LOOK)
            return
        calls, _ = self.ray.wait(list(self.busy), timeout=LOOK)
        for call in calls:
            yield call, *self.busy.pop(call)

    def _find_death(self, call: Any) -> Exception | None:
        """Why the worker of an ended call is lost; None where it lives. Raises what the call raised in its worker."""
        faults = self.ray.exceptions
        try:
            self.ray.get(call)
        except faults.RayTaskError as error:
            raise error.cause from error
        except faults.RayError as error:
            return error
        return None


class Worker:
    """One process of the cluster."""

    def __init__(self, load: Load, folder: str, version: str, name: str) -> None:
        self.load, self.folder, self.version, self.name = load, folder, version, name
        self.job: Any = None

    def begin(self) -> None:
        """Load the job, in the folder of the call, from which its relative paths are read."""
        if emoscene.__version__ != self.version:
            raise EmosceneError(f"a node has emoscene {emoscene.__version__} and not {self.version}: install the same")
        if not Path(self.folder).is_dir():
            raise EmosceneError(f"a node does not see {self.folder}: call from a folder that all nodes share")
        os.chdir(self.folder)
        self.job = self.load()

    def make_part(self, make: Make, number: int) -> None:
        """Make one part.

        Args:
            make: Writes parts.
            number: The part.
        """
        for _ in make(self.job, [number], self.name):
            pass

"""Rendering many pictures at once, in order, on several processes.

    for proof in proofs([{"seed": 7}, {"seed": 8, "emotion": "awe"}], size=128):
        proof.short, proof.picture

The workers are plain `python -m emoscene_mini.world.render_pool` processes that read orders from their standard input,
so nothing of the caller is imported again or forked: it works from a script without a main guard, a notebook, and
beside torch's threads. A thread for each worker keeps it busy, a bounded number of orders ahead of the reader.
"""

from __future__ import annotations

import os
import pickle  # nosec B403  # between this process and its own workers
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Any

import numpy as np
from PIL import Image

from emoscene.core import processes
from emoscene.core.errors import EmosceneError
from emoscene.core.image_origin import mark_rendered
from emoscene_mini.world.captions import captions
from emoscene_mini.world.plan import Plan, plan
from emoscene_mini.world.rendering import render_plan

AHEAD = 24  # orders under way for each worker


@dataclass(frozen=True)
class RenderedImage:
    """A rendered plan: its captions and its pixels [H, W, 3] uint8."""

    plan: Plan
    short: str
    long: str
    pixels: np.ndarray

    @property
    def picture(self) -> Image.Image:
        """The pixels as a Pillow image, which carries the world's mark."""
        return mark_rendered(Image.fromarray(self.pixels), "mini")


def render_image(order: Mapping[str, Any], size: int = 128) -> RenderedImage:
    """One picture; `order` holds the arguments of `plan`."""
    drawn = plan(**order)
    short, long = captions(drawn)
    return RenderedImage(drawn, short, long, np.asarray(render_plan(drawn, size)))


def render_images(
    orders: Iterable[Mapping[str, Any]], size: int = 128, workers: int | None = None
) -> Iterator[RenderedImage]:
    """The pictures of these orders, in their order. `workers`: processes, all cores if None, none of them if 0."""
    count = (os.cpu_count() or 1) if workers is None else workers
    if count < 1:
        yield from (render_image(order, size) for order in orders)
        return
    hands = [_start_workers() for _ in range(count)]
    free: SimpleQueue[subprocess.Popen[bytes]] = SimpleQueue()
    for hand in hands:
        free.put(hand)
    try:
        yield from processes.prefetch_map(lambda order: _request(free, dict(order), size), orders, count, AHEAD)
    finally:
        for hand in hands:
            _stop_workers(hand)


def _start_workers() -> subprocess.Popen[bytes]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "emoscene_mini.world.render_pool"]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment)


def _stop_workers(hand: subprocess.Popen[bytes]) -> None:
    assert hand.stdin and hand.stdout
    hand.stdin.close()
    hand.stdout.close()
    hand.wait()


def _request(free: SimpleQueue[subprocess.Popen[bytes]], order: dict[str, Any], size: int) -> RenderedImage:
    hand = free.get()
    try:
        assert hand.stdin and hand.stdout
        pickle.dump((order, size), hand.stdin)
        hand.stdin.flush()
        answer: RenderedImage | BaseException = pickle.load(hand.stdout)  # nosec B301  # its own worker
    except (EOFError, OSError) as error:  # a pipe that broke has another error on each system
        raise EmosceneError(f"a rendering process died at {order}: is there enough memory?") from error
    finally:
        free.put(hand)
    if isinstance(answer, BaseException):
        raise answer
    return answer


def _serve() -> None:
    """A worker's life: an order in, a proof (or what went wrong) out, until its input ends."""
    orders, answers = sys.stdin.buffer, sys.stdout.buffer
    while True:
        try:
            order, size = pickle.load(orders)  # nosec B301  # from the process that started it
        except EOFError:
            return
        try:
            answer: RenderedImage | BaseException = render_image(order, size)
        except Exception as error:
            answer = error
        pickle.dump(answer, answers)
        answers.flush()


if __name__ == "__main__":
    from emoscene_mini.world.render_pool import _serve as serve

    serve()

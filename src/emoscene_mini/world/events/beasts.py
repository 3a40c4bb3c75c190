"""A wolf or an angry dog in profile: hackles up, jaws open. It looks to the right."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from emoscene_mini.world.brush import blob, limb, oval, poly
from emoscene_mini.world.canvas import rgb
from emoscene_mini.world.events.stage import EventBrush

Placer = Callable[[list[tuple[float, float]]], list[tuple[float, float]]]


def add_beast(b: EventBrush, coat: np.ndarray, x: float, foot: float, tall: float) -> None:
    """Draw the animal.

    Args:
        b: The event's brush.
        coat: Its colour.
        x: The middle of its body.
        foot: The y of its paws.
        tall: Its height; it is about 1.25 times as long.
    """

    def at(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
        return [(x + u * tall, foot + (v - 1) * tall) for u, v in points]

    far = coat * 0.6
    b.part(far, limb(at([(-0.28, 0.6), (-0.2, 0.8), (-0.26, 0.96)]), 0.11 * tall), volume=0.4)
    b.part(far, limb(at([(0.2, 0.6), (0.34, 0.78), (0.32, 0.96)]), 0.11 * tall), volume=0.4)
    b.part(coat * 0.85, limb(at([(-0.38, 0.46), (-0.54, 0.36), (-0.6, 0.18)]), 0.13 * tall, 0.07 * tall), volume=0.6)
    back = at([(-0.42, 0.46), (-0.2, 0.36), (0.1, 0.26), (0.28, 0.3), (0.26, 0.66), (0, 0.66), (-0.36, 0.7)])
    hackles = [
        poly(at([(u, 0.4 - 0.16 * (u + 0.3)), (u + 0.07, 0.2 - 0.16 * (u + 0.3)), (u + 0.15, 0.36)]))
        for u in (-0.3, -0.15, 0.0)
    ]
    b.part(coat, blob(back), *hackles, volume=0.8)
    b.part(coat, limb(at([(-0.34, 0.58), (-0.42, 0.76), (-0.36, 0.96)]), 0.15 * tall, 0.1 * tall), volume=0.7)
    b.part(coat, limb(at([(0.16, 0.58), (0.2, 0.78), (0.16, 0.96)]), 0.14 * tall, 0.1 * tall), volume=0.7)
    b.part(coat, limb(at([(0.16, 0.42), (0.36, 0.26)]), 0.34 * tall, 0.28 * tall), volume=0.6)
    _add_jaws(b, coat, at, tall)


def _add_jaws(b: EventBrush, coat: np.ndarray, at: Placer, tall: float) -> None:
    """The head with its open jaws; `at` places points of the animal on the event's brush."""
    b.part(rgb("501018"), poly(at([(0.36, 0.24), (0.72, 0.22), (0.64, 0.56), (0.4, 0.46)])), volume=0)
    b.part(coat * 0.9, limb(at([(0.36, 0.44), (0.62, 0.58)]), 0.13 * tall, 0.09 * tall), volume=0.6)
    b.part(coat, limb(at([(0.36, 0.18), (0.72, 0.18)]), 0.22 * tall, 0.13 * tall), volume=0.7)
    b.part((0.12, 0.1, 0.11), oval(*at([(0.77, 0.14)])[0], 0.05 * tall), volume=0.5)
    upper = [poly(at([(u, 0.25), (u + 0.1, 0.25), (u + 0.05, 0.39)])) for u in (0.46, 0.57, 0.68)]
    lower = [poly(at([(u, 0.52), (u + 0.09, 0.55), (u + 0.05, 0.41)])) for u in (0.47, 0.57)]
    b.part((0.97, 0.96, 0.92), *upper, *lower, volume=0.1)
    b.part(coat * 0.75, poly(at([(0.24, 0.16), (0.2, -0.02), (0.38, 0.1)])), volume=0.5)
    b.part((0.98, 0.93, 0.6), oval(*at([(0.46, 0.15)])[0], 0.05 * tall, 0.035 * tall), volume=0)
    b.part((0.08, 0.05, 0.06), oval(*at([(0.47, 0.15)])[0], 0.022 * tall), volume=0)
    b.part(coat * 0.4, limb(at([(0.36, 0.06), (0.54, 0.13)]), 0.05 * tall), volume=0)

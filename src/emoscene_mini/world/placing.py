"""Where the event, the figure and the object stand, so that each is large and seen.

The event and whoever shows the pose share the front: side by side, as large as the composition asks and the width
allows. An object that does not live stands a little behind and beside them. A bystander or an animal alone takes the
event's place.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from emoscene_mini.world.events import EVENTS
from emoscene_mini.world.objects import ASPECT, LIVING, TALL
from emoscene_mini.world.plan import Plan
from emoscene_mini.world.scenes.kit import Ground

MARGIN = 0.03
"""Free space at either side of the image."""
OVERLAP = 0.3
"""Share of the narrower neighbour's width by which two may cover each other."""
WIDEST = 0.62
"""An object's width at most."""


@dataclass(frozen=True)
class Stand:
    """Where one thing stands: its middle, its feet and its height, in fractions of the canvas."""

    x: float
    feet: float
    height: float


@dataclass(frozen=True)
class Placing:
    """Where everything stands; None is not there."""

    event: Stand | None
    figure: Stand | None
    object: Stand | None


def place_all(plan: Plan, ground: Ground, rng: np.random.Generator) -> Placing:
    """Decide where the event, the figure and the object of a plan stand.

    Args:
        plan: The plan.
        ground: What the scene offers.
        rng: The stream of the sides.

    Returns:
        The places.
    """
    heights = _front_heights(plan)
    side = float(rng.choice([-1, 1]))
    feet = min(max(ground.feet, plan.size + 0.14, 0.78), 0.96)
    names = list(heights)
    if side < 0:
        names.reverse()
    widths = [heights[name] * _aspect(name, plan) for name in names]
    covered = OVERLAP * min(widths) * (len(widths) - 1)
    total = sum(widths) - covered
    shrink = min(1.0, (1 - 2 * MARGIN) / total)
    left = _clamp(plan.place - shrink * total / 2, MARGIN, 1 - MARGIN - shrink * total)
    stands: dict[str, Stand] = {}
    for name, width in zip(names, widths, strict=True):
        stands[name] = Stand(left + shrink * width / 2, feet, shrink * heights[name])
        left += shrink * (width - covered)
    front = stands["event"] if "event" in stands else stands["figure"]
    return Placing(stands.get("event"), stands.get("figure"), _object_stand(plan, front, feet, side))


def _front_heights(plan: Plan) -> dict[str, float]:
    """The heights that the event and the figure would have, were the image wide enough."""
    heights: dict[str, float] = {}
    if plan.event:
        heights["event"] = plan.size
    if plan.figure:
        beside = 0.82 if plan.event else 1.1
        relative = max(TALL[plan.figure] / TALL["person"], 0.72)
        heights["figure"] = min(plan.size * beside * relative, 0.86)
    return heights


def _object_stand(plan: Plan, front: Stand, feet: float, side: float) -> Stand | None:
    """An object that is no figure, beside what is in front and a little further away."""
    if not plan.object or plan.object in LIVING:
        return None
    height = min(0.72 * plan.size * TALL[plan.object] / TALL["person"] + 0.08, WIDEST / ASPECT.get(plan.object, 1.0))
    away = side if abs(front.x - 0.5) < 0.08 else float(np.sign(0.5 - front.x))
    x = _clamp(front.x + 0.36 * away, 0.2, 0.8)
    return Stand(x, feet - 0.07, height)


def _aspect(name: str, plan: Plan) -> float:
    if name == "event":
        return EVENTS[plan.event].aspect
    return max(ASPECT.get(plan.figure, 1.0), 0.6)


def _clamp(value: float, low: float, high: float) -> float:
    return min(max(value, low), max(low, high))

"""Heads in profile: dog, horse and bird look to the right with one eye, a brow and a muzzle.

A `Profile` turns points given in head radii about the head's middle, so that a nose that rises takes eye, ear and jaw
with it. The seven expressions are told as on a frontal face: by eye and brow, and by how the jaw opens.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from emoscene_mini.world.brush import Brush, limb, oval
from emoscene_mini.world.expressions import INK, TEAR, WHITE

Point = tuple[float, float]

JAW: dict[str, float] = {
    "surprise": 0.8,
    "fear": 0.55,
    "disgust": 0.5,
    "happiness": 0.6,
    "sadness": 0.0,
    "anger": 0.6,
    "neutral": 0.0,
}
"""How far the jaw opens with an expression, from 0 to 1."""


@dataclass(frozen=True)
class Profile:
    """A head seen from the side.

    Args:
        x: Its middle, in units of the brush's height.
        y: Its middle, downwards.
        r: Its radius.
        pitch: Degrees by which the nose is raised.
        back: Whether it looks to the left, away from where the body is going.
    """

    x: float
    y: float
    r: float
    pitch: float = 0.0
    back: bool = False

    def place(self, *points: Point) -> list[Point]:
        """Points in head radii, x to the nose and y down, in the brush's units."""
        angle = np.radians(-self.pitch)
        cos, sin = float(np.cos(angle)), float(np.sin(angle))
        ahead = self.r
        if self.back:
            ahead = -self.r
        placed = []
        for u, v in points:
            placed.append((self.x + ahead * (u * cos - v * sin), self.y + self.r * (u * sin + v * cos)))
        return placed


def draw_profile_eye(b: Brush, head: Profile, at: Point, size: float, expression: str, ink: np.ndarray = INK) -> None:
    """Draw the eye that is seen from the side, its brow, and a tear where there is one.

    Args:
        b: The brush.
        head: The head it is on.
        at: The eye's middle, in head radii.
        size: The eye's radius, in head radii.
        expression: A name of `EXPRESSIONS`.
        ink: The colour of lids and brow.
    """
    u, v = at
    thick = 0.55 * size * head.r
    arc = {
        "happiness": ((u - size, v + 0.3 * size), (u, v - 0.6 * size), (u + size, v + 0.3 * size)),
        "disgust": ((u - size, v - 0.6 * size), (u + 0.8 * size, v), (u - size, v + 0.6 * size)),
        "sadness": ((u - size, v + 0.7 * size), (u, v + 0.4 * size), (u + size, v - 0.4 * size)),
    }
    brow_slope = {"anger": 0.9, "fear": -0.8, "sadness": -0.9}
    if expression in arc:
        b.part(ink, limb(head.place(*arc[expression]), thick), volume=0)
    else:
        _draw_open_eye(b, head, at, size, expression)
    if expression == "sadness":
        drop = head.place((u, v + 1.2 * size), (u + 0.1, v + 2.4 * size))
        b.part(TEAR * 0.5, limb(drop, 0.9 * thick, 1.9 * thick), volume=0)
        b.part(TEAR, limb(drop, 0.5 * thick, 1.4 * thick), volume=0.3)
    if expression in brow_slope:
        slope = brow_slope[expression] * size
        rise = 1.1 if expression == "anger" else 1.7
        brow = head.place((u - 1.2 * size, v - rise * size - slope), (u + 1.2 * size, v - rise * size + slope))
        b.part(ink, limb(brow, 1.1 * thick), volume=0)


def _draw_open_eye(b: Brush, head: Profile, at: Point, size: float, expression: str) -> None:
    radius, ball = 1.0, 0.75
    if expression in ("surprise", "fear"):
        radius = 1.4
    if expression == "fear":
        ball = 0.45
    ((x, y),) = head.place(at)
    b.part(INK, oval(x, y, (radius + 0.25) * size * head.r), volume=0)
    b.part(WHITE, oval(x, y, radius * size * head.r), volume=0)
    ((px, py),) = head.place((at[0] + 0.15 * size, at[1]))
    b.part(INK, oval(px, py, ball * size * head.r), volume=0)

"""How a four-legged animal holds itself: the same row of shifts moves the skeleton of dog, cat and horse.

The animal looks to the right. Its skeleton is hip, chest, head and four feet; a `Bearing` shifts them from where they
are when it stands, in units of its height, y down.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from emoscene_mini.world.brush import Brush, limb, oval

Shift = tuple[float, float]


@dataclass(frozen=True)
class Bearing:
    """An animal's posture.

    Args:
        hip: Shift of the hip.
        chest: Shift of the chest, which neck and head follow.
        head: Shift of the head beyond the chest's.
        nose: Degrees by which the nose is raised.
        back: Whether the head is turned round, to look backwards.
        front: Shift of the forefeet.
        rear: Shift of the hind feet.
        ears: 1 for pricked, 0 at rest, -1 for flat.
        tail: 1 for up, 0 for level, -1 for down.
        arch: How far the back's middle rises.
    """

    hip: Shift = (0.0, 0.0)
    chest: Shift = (0.0, 0.0)
    head: Shift = (0.0, 0.0)
    nose: float = 0.0
    back: bool = False
    front: Shift = (0.0, 0.0)
    rear: Shift = (0.0, 0.0)
    ears: float = 0.2
    tail: float = 0.6
    arch: float = 0.0


BEARINGS: dict[str, Bearing] = {
    "standing": Bearing(),
    "jumping": Bearing(
        hip=(0.06, 0.02), chest=(-0.06, -0.2), head=(0.0, 0.04), nose=18, front=(0.2, -0.46), ears=1.0, tail=1.0
    ),
    "gazing": Bearing(
        hip=(0.12, 0.2), chest=(-0.02, -0.03), head=(-0.08, -0.02), nose=42, rear=(0.16, 0.0), ears=0.6, tail=-0.2
    ),
    "resting": Bearing(
        hip=(0.0, 0.2), chest=(0.0, 0.2), head=(0.02, -0.02), front=(0.24, 0.0), rear=(0.2, 0.0), ears=0.2, tail=-0.5
    ),
    "charging": Bearing(
        hip=(0.0, -0.04),
        chest=(0.04, 0.06),
        head=(0.06, 0.16),
        front=(0.26, -0.06),
        rear=(-0.2, 0.0),
        ears=-1.0,
        tail=0.3,
    ),
    "recoiling": Bearing(
        hip=(-0.02, 0.1),
        chest=(-0.08, -0.02),
        head=(-0.14, -0.02),
        nose=12,
        back=True,
        front=(0.2, -0.08),
        ears=-0.6,
        tail=-0.7,
    ),
    "crouching": Bearing(
        hip=(0.08, 0.16),
        chest=(-0.02, 0.24),
        head=(0.0, 0.14),
        nose=-4,
        front=(0.1, 0.0),
        ears=-1.0,
        tail=-1.0,
        arch=0.1,
    ),
    "slumped": Bearing(hip=(0.0, 0.03), chest=(-0.02, 0.05), head=(0.1, 0.29), nose=-38, ears=-0.4, tail=-1.0),
}


@dataclass(frozen=True)
class Skeleton:
    """Where an animal's parts are when it stands, and how thick they are, in units of its height.

    Args:
        hip: The rear end of the back.
        chest: Its fore end.
        head: The head's middle.
        thick: Thickness of the body.
        leg: Thickness of a leg.
        sole: The y of the ground.
    """

    hip: Shift
    chest: Shift
    head: Shift
    thick: float
    leg: float
    sole: float = 0.945

    def bend(self, bearing: Bearing) -> tuple[Shift, Shift, Shift]:
        """Hip, chest and head of an animal that bears itself so."""
        hip = (self.hip[0] + bearing.hip[0], self.hip[1] + bearing.hip[1])
        chest = (self.chest[0] + bearing.chest[0], self.chest[1] + bearing.chest[1])
        head_x = self.head[0] + bearing.chest[0] + bearing.head[0]
        head_y = self.head[1] + bearing.chest[1] + bearing.head[1]
        return hip, chest, (head_x, head_y)


def draw_body(b: Brush, coat: np.ndarray, skeleton: Skeleton, bearing: Bearing) -> None:
    """Draw four legs and the body between them, without neck, head and tail.

    Args:
        b: The brush.
        coat: The colour of the near side; the far legs are darker.
        skeleton: The animal's proportions.
        bearing: Its posture.
    """
    hip, chest, _ = skeleton.bend(bearing)
    thick = skeleton.thick
    _draw_legs(b, coat * 0.62, skeleton, bearing, 0.1)
    middle = ((hip[0] + chest[0]) / 2, (hip[1] + chest[1]) / 2 - bearing.arch)
    haunch = oval(hip[0] - 0.01, hip[1] + 0.03, 0.54 * thick, 0.6 * thick)
    b.part(coat, limb([hip, middle, chest], 0.94 * thick, 1.08 * thick), haunch, volume=0.85)
    _draw_legs(b, coat, skeleton, bearing, -0.03)
    b.part(coat, limb([hip, middle, chest], 0.8 * thick, 0.9 * thick), volume=0.7)


def _draw_legs(b: Brush, coat: np.ndarray, skeleton: Skeleton, bearing: Bearing, offset: float) -> None:
    """The hind leg and the foreleg of one side, `offset` towards each other."""
    hip, chest, _ = skeleton.bend(bearing)
    sole, wide = skeleton.sole, skeleton.leg
    rear_foot = (skeleton.hip[0] + offset + bearing.rear[0], sole + bearing.rear[1])
    fore_foot = (skeleton.chest[0] - offset + bearing.front[0], sole + bearing.front[1])
    for top, foot, bulge in ((hip, rear_foot, -0.05), (chest, fore_foot, 0.02)):
        start = (top[0] + 0.4 * (foot[0] - top[0]) * 0.3, top[1] + 0.06)
        knee = ((start[0] + foot[0]) / 2 + bulge, (start[1] + foot[1]) / 2)
        shapes = (
            limb([start, knee, foot], 1.15 * wide, 0.9 * wide),
            oval(foot[0] + 0.025, foot[1], 0.62 * wide, 0.34 * wide),
        )
        b.part(coat * 0.4, limb([start, knee, foot], 1.15 * wide + 0.03, 0.9 * wide + 0.03), volume=0, inside=True)
        b.part(coat, *shapes, volume=0.6)

"""People: big-headed storybook figures whose whole body says what the face says.

A pose is a row of joints: where the feet, hands and head go. The same row serves a grown person and a child, who
differ in the size of the head.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from emoscene_mini.world.brush import Brush, blob, limb, oval
from emoscene_mini.world1.faces import Who, head, someone

Joint = tuple[float, float]


@dataclass(frozen=True)
class Stance:
    """Where the joints are, in heights: hands and feet left to right, the head's shift and turn, the body's sink."""

    hands: tuple[Joint, Joint]
    feet: tuple[Joint, Joint] = ((-0.085, 0.97), (0.085, 0.97))
    head: Joint = (0.0, 0.0)
    look: float = 0.0
    sink: float = 0.0
    lean: float = 0.0


STANCES: dict[str, Stance] = {
    "standing": Stance(((-0.19, 0.66), (0.19, 0.66))),
    "jumping": Stance(((-0.33, 0.22), (0.33, 0.22)), ((-0.2, 0.86), (0.2, 0.84)), (0.0, 0.02), sink=-0.03),
    "gazing": Stance(((-0.22, 0.6), (0.27, 0.3)), head=(0.02, -0.02), look=0.16),
    "resting": Stance(((-0.2, 0.78), (0.2, 0.78)), ((-0.24, 0.95), (0.24, 0.95)), (0.0, 0.0), sink=0.14),
    "charging": Stance(((-0.33, 0.5), (0.33, 0.5)), ((-0.19, 0.97), (0.19, 0.97)), (0.0, 0.03), sink=0.03),
    "recoiling": Stance(((-0.2, 0.36), (0.16, 0.4)), ((-0.06, 0.97), (0.11, 0.97)), (0.06, 0.0), 0.2, lean=0.06),
    "crouching": Stance(((-0.17, 0.44), (0.17, 0.44)), ((-0.12, 0.97), (0.12, 0.97)), (0.0, 0.02), sink=0.17),
    "slumped": Stance(((-0.13, 0.76), (0.13, 0.76)), head=(0.0, 0.03), sink=0.06),
}


def _body(b: Brush, who: Who, s: Stance, shoulder: float, wide: float) -> None:
    hip = 0.69 + s.sink * 0.75
    skirt = who.style in ("long", "bun")
    trousers = who.accent * 0.7
    for (x, y), side in zip(s.feet, (-1, 1), strict=True):
        knee = ((x + side * 0.07) * 0.75, (hip + y) / 2)
        b.part(trousers, limb([(side * 0.06 + s.lean * 0.3, hip), knee, (x, y - 0.03)], 0.105, 0.09), volume=0.6)
        b.part((0.2, 0.15, 0.14), oval(x + side * 0.015, y - 0.012, 0.065, 0.035), volume=0.6)
    hem = wide * (1.75 if skirt else 1.15)
    low = hip + (0.1 if skirt else 0.035)
    torso = [
        (-wide + s.lean, shoulder + 0.03),
        (-0.05 + s.lean, shoulder - 0.03),
        (0.05 + s.lean, shoulder - 0.03),
        (wide + s.lean, shoulder + 0.03),
        (hem, low),
        (0, low + 0.02),
        (-hem, low),
    ]
    b.part(who.clothes, blob(torso), volume=0.7, to=who.clothes * 0.75)


def _arms(b: Brush, who: Who, s: Stance, shoulder: float, wide: float) -> None:
    for (x, y), side in zip(s.hands, (-1, 1), strict=True):
        start = (side * wide * 0.9 + s.lean, shoulder + 0.045)
        elbow = ((start[0] + x) / 2 + side * 0.035, (start[1] + y) / 2 + 0.02)
        b.part(who.clothes * 0.9, limb([start, elbow, (x, y)], 0.1, 0.08), volume=0.6)
        b.part(who.skin, oval(x, y, 0.047), volume=0.6)


def _figure(b: Brush, rng: np.random.Generator, pose: str, expression: str, age: str, r: float) -> None:
    who, s = someone(rng, age), STANCES[pose]
    shoulder, wide = 0.02 + 2.15 * r + s.sink + 0.04, 0.12
    if age != "child":
        wide = 0.125
    if who.hat:
        shoulder += 0.03
    _body(b, who, s, shoulder, wide)
    at = (s.head[0] + s.lean, shoulder - 0.98 * r + s.head[1])
    low = pose in ("crouching", "recoiling")
    if not low:
        _arms(b, who, s, shoulder, wide)
    head(b, who, *at, r, expression, 1.0, s.look)
    if low:
        _arms(b, who, s, shoulder, wide)


def person(b: Brush, rng: np.random.Generator, pose: str, expression: str, night: float) -> None:
    """A grown or old person."""
    _figure(b, rng, pose, expression, str(rng.choice(["grown", "grown", "old"])), 0.175)


def child(b: Brush, rng: np.random.Generator, pose: str, expression: str, night: float) -> None:
    """A child, more head than body."""
    _figure(b, rng, pose, expression, "child", 0.215)

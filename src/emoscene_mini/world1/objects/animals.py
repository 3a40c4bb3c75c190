"""Animals with a back that arches, ears that drop and a tail that tells: dog, cat, horse and bird.

A `Bearing` is shared by them all: how the body sinks, where the head is, what ears and tail do. Each animal draws its
own body around it, looking at us with the same features as people have.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from emoscene_mini.world.brush import Brush, Shape, blob, jitter, limb, oval, poly
from emoscene_mini.world.canvas import rgb
from emoscene_mini.world1.expressions import features


@dataclass(frozen=True)
class Bearing:
    """Head's shift, body's sink, ears (1 up .. -1 flat), tail (1 up .. -1 down), arch of the back, forehand's lift."""

    head: tuple[float, float] = (0.0, 0.0)
    sink: float = 0.0
    ears: float = 0.6
    tail: float = 0.4
    arch: float = 0.0
    rear: float = 0.0


BEARINGS: dict[str, Bearing] = {
    "standing": Bearing(),
    "jumping": Bearing(head=(0.0, -0.01), ears=1.0, tail=1.0, rear=0.16),
    "gazing": Bearing(head=(0.0, -0.03), ears=1.0, tail=0.5),
    "resting": Bearing(head=(0.0, 0.16), sink=0.2, ears=0.3, tail=0.0),
    "charging": Bearing(head=(0.06, 0.1), ears=-0.8, tail=1.0, arch=0.1),
    "recoiling": Bearing(head=(-0.06, 0.03), ears=-0.4, tail=-0.4, arch=0.03),
    "crouching": Bearing(head=(-0.02, 0.2), sink=0.13, ears=-1.0, tail=-1.0, arch=0.08),
    "slumped": Bearing(head=(0.03, 0.2), sink=0.04, ears=-0.7, tail=-0.9),
}
DARK = rgb("2a1e1c")


def _legs(xs: tuple[float, ...], hip: float, lift: float, width: float) -> list[Shape]:
    """Legs from `hip` to the ground; the right-hand ones hang from a chest that is `lift` higher, and paw the air."""
    shapes = []
    for x in xs:
        up = lift if x > 0 else 0.0
        top, foot = (x * 0.9, hip - up), (x + 0.8 * up, 0.96 - 1.25 * up)
        knee = ((top[0] + foot[0]) / 2 + 0.5 * up, (top[1] + foot[1]) / 2 - 0.2 * up)
        shapes.append(limb([top, knee, foot], width, width * 0.8))
    return shapes


def _quadruped(b: Brush, coat: np.ndarray, m: Bearing, half: float, top: float, thick: float, leg: float) -> None:
    """Body and four legs; the head end is at the right."""
    y = top + m.sink
    chest = y - m.rear
    far = coat * 0.72
    b.part(far, *_legs((-half * 0.7, half * 0.6), y + 0.1, m.rear * 0.9, leg), volume=0.4)
    back = [
        (-half - 0.06, y + 0.02),
        (-half * 0.5, y - thick * 0.52 - m.arch),
        (half * 0.4, chest - thick * 0.55 - m.arch * 0.6),
        (half + 0.07, chest - 0.05),
        (half + 0.05, chest + thick * 0.5),
        (0, y + thick * 0.42 - m.rear * 0.4),
        (-half, y + thick * 0.5),
    ]
    b.part(coat, *_legs((-half * 0.98, half * 0.92), y + 0.08, m.rear, leg), blob(back), volume=0.85)
    belly = coat * 0.5 + 0.45
    b.part(belly, oval(half * 0.55, chest + thick * 0.35, 0.1, 0.07), volume=0, soft=0.03, opacity=0.6, inside=True)


def dog(b: Brush, rng: np.random.Generator, pose: str, expression: str, night: float) -> None:
    """A dog with hanging ears and a muzzle."""
    coat = jitter(rng, rgb(str(rng.choice(["b9763c", "e3c08a", "6a4a34", "d8d2c8", "8a8078"]))), 0.04)
    m = BEARINGS[pose]
    tail = [(-0.3, 0.56 + m.sink), (-0.4, 0.5 + m.sink - 0.1 * m.tail), (-0.43, 0.46 + m.sink - 0.24 * m.tail)]
    b.part(coat * 0.85, limb(tail, 0.1, 0.07), volume=0.6)
    _quadruped(b, coat, m, 0.25, 0.62, 0.3, 0.12)
    x, y, r = 0.2 + m.head[0], 0.28 + m.head[1] + 0.6 * m.sink - 0.25 * m.rear, 0.205
    b.part(coat, limb([(x, y + 0.1), (0.2, 0.6 + m.sink - m.rear)], 0.24, 0.26), volume=0.6)
    ear = coat * 0.55
    drop = 0.2 - 0.2 * m.ears
    b.part(
        coat,
        blob(
            [
                (x, y - r),
                (x + r, y - 0.4 * r),
                (x + 0.9 * r, y + 0.7 * r),
                (x, y + 1.05 * r),
                (x - 0.9 * r, y + 0.7 * r),
                (x - r, y - 0.4 * r),
            ]
        ),
        volume=0.8,
    )
    for s in (-1, 1):
        b.part(
            ear,
            blob(
                [
                    (x + s * 0.6 * r, y - 0.95 * r),
                    (x + s * 1.2 * r, y - 0.6 * r),
                    (x + s * (1.35 - 0.5 * drop) * r, y + 0.2 * r + drop * 0.6),
                    (x + s * 0.95 * r, y + 0.1 * r + drop * 0.3),
                ]
            ),
            volume=0.5,
        )
    b.part(coat * 0.4 + 0.57, oval(x, y + 0.52 * r, 0.55 * r, 0.46 * r), volume=0.5)
    features(b, x, y, r, expression, 1.0, coat, DARK, DARK, 0.0)
    b.part(DARK, oval(x, y + 0.26 * r, 0.22 * r, 0.15 * r), volume=0.8)
    b.part(rgb("c8433a"), limb([(x - 0.55 * r, y + 1.08 * r), (x + 0.55 * r, y + 1.08 * r)], 0.06), volume=0.4)


def cat(b: Brush, rng: np.random.Generator, pose: str, expression: str, night: float) -> None:
    """A cat with pointed ears; its back arches high when it bristles."""
    coat = jitter(rng, rgb(str(rng.choice(["d98a3a", "3a3640", "a8a098", "e8dccb", "7a6450"]))), 0.04)
    m = BEARINGS[pose]
    m = Bearing(m.head, m.sink, m.ears, m.tail, m.arch * 2, m.rear)
    tail = [
        (-0.27, 0.66 + m.sink),
        (-0.4, 0.6 + m.sink - 0.1 * m.tail),
        (-0.42, 0.52 + m.sink - 0.2 * m.tail),
        (-0.34, 0.44 + m.sink - 0.32 * m.tail),
    ]
    b.part(coat * 0.85, limb(tail, 0.085, 0.095), volume=0.6)
    _quadruped(b, coat, m, 0.22, 0.7, 0.25, 0.1)
    x, y, r = 0.16 + m.head[0], 0.38 + 0.8 * m.head[1] + 0.7 * m.sink - 0.3 * m.rear, 0.22
    for s in (-1, 1):
        tip = (x + s * (1.0 + 0.3 * (1 - m.ears) * 0.5) * r, y - (1.05 + 0.45 * m.ears) * r)
        b.part(coat * 0.9, blob([(x + s * 0.15 * r, y - 0.8 * r), tip, (x + s * 1.02 * r, y - 0.2 * r)]), volume=0.5)
        b.part(
            (0.9, 0.6, 0.6),
            poly(
                [
                    (x + s * 0.45 * r, y - 0.75 * r),
                    (tip[0] - s * 0.1 * r, tip[1] + 0.3 * r),
                    (x + s * 0.85 * r, y - 0.45 * r),
                ]
            ),
            volume=0,
        )
    b.part(coat, oval(x, y, 1.08 * r, 0.92 * r), volume=0.85)
    stripe = coat * 0.62
    b.part(
        stripe,
        *(limb([(x + d * r, y - 0.9 * r), (x + 0.8 * d * r, y - 0.6 * r)], 0.12 * r) for d in (-0.3, 0, 0.3)),
        volume=0,
        inside=True,
    )
    b.part(coat * 0.35 + 0.62, oval(x, y + 0.46 * r, 0.48 * r, 0.32 * r), volume=0.4)
    light = coat.mean() < 0.35
    features(b, x, y - 0.03 * r, r, expression, 1.0, coat, DARK, rgb("d8cfc0") if light else DARK, 0.0)
    b.part((0.85, 0.45, 0.45), oval(x, y + 0.24 * r, 0.12 * r, 0.09 * r), volume=0.5)


def horse(b: Brush, rng: np.random.Generator, pose: str, expression: str, night: float) -> None:
    """A horse in profile; it rears when it jumps and drops its head when it slumps."""
    coat = jitter(rng, rgb(str(rng.choice(["8a5230", "c89a64", "e6ded2", "4a342c", "a8a4a4"]))), 0.04)
    mane = coat * 0.35 if coat.mean() > 0.4 else coat * 0.5 + 0.4
    m = BEARINGS[pose]
    b.part(
        mane,
        limb(
            [(-0.33, 0.5 + m.sink), (-0.43, 0.6 + m.sink - 0.14 * m.tail), (-0.44, 0.78 + m.sink * 0.5 - 0.3 * m.tail)],
            0.1,
            0.07,
        ),
        volume=0.5,
    )
    _quadruped(b, coat, Bearing(m.head, m.sink, m.ears, m.tail, m.arch * 0.5, m.rear), 0.27, 0.54, 0.27, 0.095)
    down = max(m.head[1], -0.01) * 1.9 + 0.5 * m.sink - m.rear * 0.2
    x, y = 0.34 + m.head[0] * 0.4, 0.2 + down
    root = (0.24, 0.52 + m.sink - m.rear)
    b.part(coat, limb([root, ((x + root[0]) / 2 - 0.02, (y + root[1]) / 2), (x - 0.04, y)], 0.24, 0.16), volume=0.75)
    b.part(
        mane,
        limb(
            [
                (root[0] - 0.1, root[1] - 0.1),
                ((x + root[0]) / 2 - 0.11, (y + root[1]) / 2 - 0.02),
                (x - 0.08, y - 0.08),
            ],
            0.09,
            0.07,
        ),
        volume=0.5,
    )
    _horse_head(b, coat, x, y, m.ears, expression)


def _horse_head(b: Brush, coat: np.ndarray, x: float, y: float, ears: float, expression: str) -> None:
    tip = (x + 0.12, y + 0.14)
    b.part(coat, limb([(x - 0.03, y - 0.01), tip], 0.17, 0.13), volume=0.8)
    b.part(coat * 0.6 + 0.15, oval(*tip, 0.065, 0.06), volume=0.5)
    ear = -0.06 - 0.06 * ears
    b.part(
        coat * 0.85,
        *(
            blob(
                [
                    (x - 0.09 + d, y - 0.06),
                    (x - 0.07 + d - 0.05 * (1 - ears), y + ear - 0.07),
                    (x - 0.01 + d, y - 0.06),
                ]
            )
            for d in (0.0, 0.05)
        ),
        volume=0.4,
    )
    wide = expression in ("fear", "surprise", "anger")
    if wide:
        b.part((0.97, 0.95, 0.92), oval(x, y - 0.01, 0.047), volume=0)
    if expression in ("happiness", "sadness"):
        b.part(
            DARK,
            limb([(x - 0.035, y), (x, y + (0.02 if expression == "sadness" else -0.022)), (x + 0.035, y)], 0.03),
            volume=0,
        )
    else:
        b.part(DARK, oval(x, y - 0.01, 0.026 if wide else 0.032), volume=0)
    if expression == "anger":
        b.part(DARK, limb([(x - 0.06, y - 0.075), (x + 0.05, y - 0.035)], 0.032), volume=0)
        b.part((0.3, 0.08, 0.08), oval(tip[0] - 0.01, tip[1] + 0.045, 0.05, 0.03), volume=0)


def bird(b: Brush, rng: np.random.Generator, pose: str, expression: str, night: float) -> None:
    """A big round bird; wings up in joy, hanging in grief."""
    coat = jitter(rng, rgb(str(rng.choice(["3f7fb8", "d9573f", "e8b84a", "4a9a6a", "6a5a8a", "55504e"]))), 0.04)
    m = BEARINGS[pose]
    sink = 0.8 * m.sink - 0.4 * m.rear
    b.part(
        rgb("d98a2a") * 0.9,
        *(limb([(s * 0.1, 0.85), (s * 0.12, 0.96), (s * 0.12 + 0.05, 0.97)], 0.06) for s in (-1, 1)),
        volume=0.4,
    )
    b.part(
        coat * 0.7,
        blob(
            [
                (-0.2, 0.7 + sink),
                (-0.46, 0.8 + sink - 0.2 * m.tail),
                (-0.42, 0.92 + sink - 0.25 * m.tail),
                (-0.1, 0.86 + sink),
            ]
        ),
        volume=0.5,
    )
    b.part(coat, oval(0, 0.62 + sink, 0.31, 0.29), volume=0.9)
    b.part(coat * 0.3 + 0.66, oval(0.04, 0.72 + sink, 0.2, 0.18), volume=0.3, inside=True, soft=0.01)
    lift = {"jumping": -0.36, "charging": -0.3, "recoiling": -0.1, "slumped": 0.22, "crouching": 0.08}.get(pose, 0.12)
    for s in (-1, 1):
        spread = 0.42 if lift < 0 else 0.33
        wing = [
            (s * 0.24, 0.5 + sink),
            (s * spread, 0.56 + sink + lift * 0.7),
            (s * (spread + 0.04), 0.64 + sink + lift),
            (s * 0.27, 0.76 + sink),
        ]
        b.part(coat * 0.75, blob(wing), volume=0.6)
    x, y, r = m.head[0], 0.3 + 0.9 * m.head[1] + sink, 0.235
    b.part(
        coat,
        oval(x, y, r),
        *(limb([(x, y - 0.8 * r), (x + d, y - (1.0 + 0.25 * m.ears) * r)], 0.06, 0.05) for d in (-0.05, 0.04)),
        volume=0.85,
    )
    features(b, x, y, r, expression if expression != "disgust" else "anger", 0.8, coat, DARK, DARK, 0.0)
    gape = 0.3 if expression in ("surprise", "happiness", "anger", "fear") else 0.06
    b.part(
        rgb("c87a1c"),
        poly([(x - 0.28 * r, y + 0.3 * r), (x + 0.28 * r, y + 0.3 * r), (x, y + (0.6 + gape) * r)]),
        volume=0.4,
    )
    b.part(
        rgb("f0a838"),
        blob([(x - 0.36 * r, y + 0.3 * r), (x, y + 0.1 * r), (x + 0.36 * r, y + 0.3 * r), (x, y + 0.62 * r)]),
        volume=0.7,
    )

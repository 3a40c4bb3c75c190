"""What people leave standing about: bicycle, car, bench, tent, statue, street lamp, boat, parasol and chair."""

from __future__ import annotations

import numpy as np

from emoscene_mini.world.brush import Brush, Shape, blob, jitter, limb, oval, poly
from emoscene_mini.world.canvas import mix, rgb

PAINTS = [rgb(c) for c in ("c8433a", "2f7fae", "e3a93a", "3f8f63", "8a5aa0", "e9e2d4", "e0703c", "3f4f6a")]
WOODS = [rgb(c) for c in ("9a6a3e", "7a4f2e", "c09060", "8a7a68")]
GLOW = rgb("ffdf8a")


def _paint(rng: np.random.Generator) -> np.ndarray:
    return jitter(rng, PAINTS[rng.integers(len(PAINTS))], 0.05)


def _wood(rng: np.random.Generator) -> np.ndarray:
    return jitter(rng, WOODS[rng.integers(len(WOODS))], 0.04)


def _ring(x: float, y: float, r: float, width: float) -> Shape:
    t = np.linspace(0, 2 * np.pi, 21)
    return limb(list(zip((x + r * np.cos(t)).tolist(), (y + r * np.sin(t)).tolist(), strict=True)), width)


def bicycle(b: Brush, rng: np.random.Generator, pose: str, expression: str, night: float) -> None:
    """Two wheels and a bright frame."""
    paint, tyre = _paint(rng), rgb("2c2a30")
    for x in (-0.4, 0.4):
        b.part((0.8, 0.82, 0.85), oval(x, 0.7, 0.23), volume=0.2, opacity=0.28)
        b.part(tyre, _ring(x, 0.7, 0.24, 0.075), volume=0.4)
        b.part(tyre, oval(x, 0.7, 0.05), volume=0.5)
    b.part(
        paint,
        limb([(-0.4, 0.7), (-0.17, 0.32), (0.28, 0.34), (-0.02, 0.7), (-0.4, 0.7)], 0.075),
        limb([(0.4, 0.7), (0.26, 0.2)], 0.075),
        limb([(-0.02, 0.7), (-0.2, 0.22)], 0.075),
        volume=0.5,
    )
    b.part(
        tyre,
        limb([(0.14, 0.16), (0.27, 0.18), (0.4, 0.1)], 0.075),
        oval(-0.22, 0.2, 0.13, 0.055),
        oval(-0.02, 0.7, 0.07),
        volume=0.5,
    )
    if rng.random() < 0.5:
        b.part(rgb("c79a5c"), blob([(0.34, 0.24), (0.58, 0.24), (0.54, 0.44), (0.38, 0.44)]), volume=0.5)


def car(b: Brush, rng: np.random.Generator, pose: str, expression: str, night: float) -> None:
    """A round little car seen from the side."""
    paint = _paint(rng)
    body = [
        (-0.7, 0.62),
        (-0.62, 0.46),
        (-0.4, 0.42),
        (0.36, 0.42),
        (0.64, 0.5),
        (0.71, 0.66),
        (0.7, 0.84),
        (-0.7, 0.84),
    ]
    cabin = [(-0.46, 0.5), (-0.34, 0.16), (0.0, 0.08), (0.22, 0.15), (0.44, 0.5)]
    b.part(paint, blob(cabin), volume=0.6)
    glass = mix(rgb("a8d4e6"), GLOW, 0.8 * night)
    b.part(
        glass,
        blob([(-0.36, 0.44), (-0.28, 0.22), (-0.05, 0.17), (-0.05, 0.44)]),
        blob([(0.03, 0.44), (0.03, 0.17), (0.18, 0.23), (0.34, 0.44)]),
        volume=0.3,
        to=glass * 0.75,
    )
    b.part(paint, blob(body), volume=0.85, to=paint * 0.75)
    b.part(paint * 0.5, limb([(-0.66, 0.82), (0.66, 0.82)], 0.08), volume=0.3)
    for x in (-0.4, 0.42):
        b.part(rgb("24242a"), oval(x, 0.83, 0.165), volume=0.6)
        b.part(rgb("c8ccd2"), oval(x, 0.83, 0.075), volume=0.7)
    b.part(mix(rgb("fff3c8"), GLOW, night), oval(0.66, 0.62, 0.055, 0.07), volume=0.2)
    b.part(rgb("d8362a"), oval(-0.68, 0.62, 0.04, 0.06), volume=0.2)


def bench(b: Brush, rng: np.random.Generator, pose: str, expression: str, night: float) -> None:
    """A park bench with slats."""
    wood, iron = _wood(rng), rgb("3a3a40")
    b.part(iron, *(limb([(x, 0.1), (x, 0.6), (x * 1.04, 0.95)], 0.09) for x in (-0.58, 0.58)), volume=0.5)
    for y in (0.16, 0.36):
        b.part(wood, limb([(-0.66, y), (0.66, y)], 0.14), volume=0.7)
    b.part(wood * 1.05, poly([(-0.64, 0.52), (0.64, 0.52), (0.72, 0.68), (-0.72, 0.68)]), volume=0.5)
    b.part(wood * 0.6, limb([(-0.72, 0.71), (0.72, 0.71)], 0.08), volume=0.3)
    b.part(iron, *(limb([(x, 0.72), (x, 0.96)], 0.09) for x in (-0.66, 0.66)), volume=0.5)


def tent(b: Brush, rng: np.random.Generator, pose: str, expression: str, night: float) -> None:
    """A ridge tent with an open door that glows by night."""
    paint = _paint(rng)
    b.part(paint * 0.62, poly([(0.02, 0.06), (0.34, 0.14), (0.7, 0.96), (0.3, 0.96)]), volume=0.4, to=paint * 0.5)
    b.part(paint, poly([(0.02, 0.05), (0.46, 0.97), (-0.64, 0.97)]), volume=0.7, to=paint * 0.8)
    b.part(
        mix(paint * 0.5 + 0.4, (1, 0.95, 0.85), 0.4),
        limb([(0.02, 0.06), (-0.63, 0.96)], 0.06),
        limb([(0.02, 0.06), (0.46, 0.96)], 0.06),
        volume=0.2,
    )
    door = mix(rgb("2c2024"), GLOW, 0.9 * night)
    b.part(
        door, blob([(-0.02, 0.34), (0.16, 0.97), (-0.28, 0.97)]), volume=0, to=mix(door, (1, 0.6, 0.25), 0.6 * night)
    )
    b.part(paint * 0.8 + 0.15, blob([(-0.02, 0.32), (-0.1, 0.7), (-0.34, 0.97), (-0.22, 0.97)]), volume=0.4)


def statue(b: Brush, rng: np.random.Generator, pose: str, expression: str, night: float) -> None:
    """A robed figure of stone on a plinth, one arm raised."""
    stone = jitter(rng, rgb(str(rng.choice(["b8b4aa", "8fa898", "a89a86", "d8d2c6"]))), 0.03)
    b.part(
        stone * 0.85,
        poly(
            [
                (-0.27, 0.97),
                (-0.27, 0.88),
                (-0.2, 0.84),
                (-0.2, 0.68),
                (0.2, 0.68),
                (0.2, 0.84),
                (0.27, 0.88),
                (0.27, 0.97),
            ]
        ),
        volume=0.7,
    )
    b.part(stone * 0.95, limb([(-0.24, 0.68), (0.24, 0.68)], 0.06), volume=0.6)
    robe = [(-0.12, 0.3), (0, 0.24), (0.12, 0.3), (0.13, 0.48), (0.18, 0.67), (-0.18, 0.67), (-0.12, 0.48)]
    b.part(stone, blob(robe), volume=0.95)
    b.part(
        stone * 0.75,
        limb([(-0.03, 0.44), (-0.07, 0.64)], 0.03),
        limb([(0.05, 0.42), (0.08, 0.64)], 0.03),
        volume=0,
        soft=0.008,
    )
    b.part(
        stone * 1.03,
        limb([(0.1, 0.31), (0.22, 0.22), (0.24, 0.06)], 0.075, 0.06),
        limb([(-0.11, 0.31), (-0.19, 0.42), (-0.08, 0.47)], 0.075, 0.06),
        volume=0.8,
    )
    b.part(stone * 1.03, oval(0, 0.165, 0.075, 0.09), volume=0.95)
    b.part(stone * 0.8, blob([(-0.08, 0.15), (0, 0.06), (0.08, 0.15), (0, 0.12)]), volume=0.5)
    b.part(rgb("e0b450"), oval(0.245, 0.05, 0.05), volume=0.8)


def lantern(b: Brush, rng: np.random.Generator, pose: str, expression: str, night: float) -> None:
    """A street lamp, alight by night."""
    iron = jitter(rng, rgb(str(rng.choice(["2e3a3e", "3a2e34", "2c4038"]))), 0.02)
    b.part(
        iron,
        limb([(0, 0.32), (0, 0.9)], 0.055, 0.075),
        oval(0, 0.4, 0.05, 0.03),
        poly([(-0.1, 0.97), (-0.06, 0.86), (0.06, 0.86), (0.1, 0.97)]),
        limb([(-0.1, 0.36), (0.1, 0.36)], 0.035),
        volume=0.6,
    )
    if night > 0.2:
        b.part(GLOW, oval(0, 0.2, 0.19, 0.17), volume=0, soft=0.05, opacity=0.4 * night)
    glass = mix(rgb("dfe8ea"), (1.0, 0.93, 0.62), night)
    b.part(
        glass,
        poly([(-0.12, 0.12), (0.12, 0.12), (0.08, 0.31), (-0.08, 0.31)]),
        volume=0.3,
        to=mix(glass * 0.8, (1, 0.7, 0.3), 0.7 * night),
    )
    b.part(
        iron,
        blob([(-0.16, 0.13), (-0.06, 0.06), (0, 0.02), (0.06, 0.06), (0.16, 0.13)]),
        poly([(-0.1, 0.3), (0.1, 0.3), (0.06, 0.35), (-0.06, 0.35)]),
        volume=0.5,
    )


def boat(b: Brush, rng: np.random.Generator, pose: str, expression: str, night: float) -> None:
    """A small sailing boat."""
    wood, sail = _wood(rng), mix(_paint(rng), (1, 0.98, 0.93), rng.uniform(0.35, 0.95))
    b.part(rgb("5a4030"), limb([(0.0, 0.05), (0.0, 0.75)], 0.06), volume=0.4)
    b.part(sail, blob([(0.04, 0.07), (0.2, 0.36), (0.42, 0.62), (0.04, 0.64)]), volume=0.8)
    b.part(sail * 0.86, blob([(-0.05, 0.14), (-0.05, 0.62), (-0.33, 0.6), (-0.17, 0.38)]), volume=0.7)
    b.part(_paint(rng), poly([(0.0, 0.01), (0.16, 0.05), (0.0, 0.1)]), volume=0.2)
    b.part(
        wood,
        blob([(-0.52, 0.68), (0.0, 0.73), (0.54, 0.66), (0.4, 0.9), (0.2, 0.96), (-0.22, 0.96), (-0.4, 0.9)]),
        volume=0.85,
    )
    b.part(wood * 0.6 + 0.36, limb([(-0.5, 0.7), (0, 0.75), (0.52, 0.68)], 0.055), volume=0.3)


def parasol(b: Brush, rng: np.random.Generator, pose: str, expression: str, night: float) -> None:
    """A striped parasol over a towel."""
    one, two = _paint(rng), mix(_paint(rng), (1, 1, 0.96), 0.75)
    b.part(_paint(rng), blob([(-0.4, 0.92), (0.3, 0.9), (0.42, 0.97), (-0.46, 0.98)]), volume=0.3)
    b.part(rgb("e8e0d0") * 0.9, limb([(0.0, 0.2), (0.06, 0.95)], 0.06), volume=0.4)
    top, edge = (0.0, 0.05), [(-0.5, 0.44), (-0.3, 0.46), (-0.1, 0.47), (0.1, 0.47), (0.3, 0.46), (0.5, 0.44)]
    dome = [
        top,
        (0.3, 0.14),
        (0.48, 0.36),
        (0.5, 0.45),
        (0.3, 0.41),
        (0.1, 0.47),
        (-0.1, 0.42),
        (-0.3, 0.47),
        (-0.5, 0.45),
        (-0.48, 0.36),
        (-0.3, 0.14),
    ]
    b.part(one, blob(dome), volume=0.8)
    for left, right in ((0, 1), (2, 3), (4, 5)):
        lean = 0.5 * (edge[left][0] + edge[right][0])
        stripe = [
            top,
            (edge[left][0] * 0.75 + 0.1 * lean, 0.22),
            edge[left],
            edge[right],
            (edge[right][0] * 0.75 + 0.1 * lean, 0.22),
        ]
        b.part(two, poly(stripe), volume=0.35, inside=True)


def chair(b: Brush, rng: np.random.Generator, pose: str, expression: str, night: float) -> None:
    """A wooden chair with a cushion."""
    wood, cushion = _wood(rng), _paint(rng)
    b.part(wood * 0.7, limb([(-0.2, 0.55), (-0.2, 0.86)], 0.075), limb([(0.3, 0.55), (0.3, 0.86)], 0.075), volume=0.4)
    b.part(
        wood,
        limb([(-0.3, 0.06), (-0.26, 0.6), (-0.28, 0.95)], 0.09),
        limb([(0.2, 0.08), (0.22, 0.6), (0.22, 0.95)], 0.09),
        volume=0.6,
    )
    for y in (0.12, 0.27, 0.42):
        b.part(wood * 1.05, limb([(-0.29, y), (0.2, y + 0.015)], 0.1), volume=0.6)
    b.part(wood * 0.85, blob([(-0.32, 0.6), (0.22, 0.6), (0.36, 0.66), (0.3, 0.7), (-0.3, 0.7)]), volume=0.4)
    b.part(
        cushion, blob([(-0.3, 0.57), (-0.16, 0.53), (0.26, 0.54), (0.36, 0.6), (0.26, 0.65), (-0.26, 0.65)]), volume=0.8
    )

"""Overlays that stand or lie on the ground, nearer ones lower and larger.

`places` deals spots from back to front; every painter stamps its sprite with the foot there.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from emoscene_mini.world1.brush import Brush, blob, halo, jitter, limb, oval, poly, resized, variants
from emoscene_mini.world1.canvas import SIZE, Canvas, Light, mix, rgb
from emoscene_mini.world1.things.heavens import VIVID

Spot = tuple[float, float, float]


def places(
    rng: np.random.Generator,
    count: int,
    size: tuple[float, float],
    horizon: float,
    top: float = 0.2,
    bottom: float = 0.95,
) -> Iterator[Spot]:
    """(x, foot, size) of `count` things between shares `top` and `bottom` of the ground, far and small ones first."""
    shares = np.sort(rng.uniform(top, bottom, count))
    start = rng.random()
    for i, share in enumerate(shares):
        x = (start + i * 0.618 + rng.uniform(-0.07, 0.07)) % 1
        near = (share - top) / max(bottom - top, 1e-6)
        grow = float(size[0] + (size[1] - size[0]) * near) * rng.uniform(0.85, 1.15)
        yield float(0.03 + 0.94 * x), float(horizon + (1 - horizon) * share), float(grow)


def _stamp(canvas: Canvas, light: Light, b: Brush, spot: Spot, lit: float = 0.0, turn: float = 0.0) -> None:
    canvas.stamp(b.image(turn), spot[0], spot[1], light, 0.0, lit)


def mushrooms(canvas: Canvas, light: Light, rng: np.random.Generator, amount: float, horizon: float) -> None:
    """Clumps of spotted toadstools in rotten colours."""

    def draw(b: Brush) -> None:
        cap = jitter(rng, rgb(str(rng.choice(["9a5a7a", "8a7a3a", "a8483a", "6a7a4a", "7a5a8a"]))), 0.05)
        for dx, k in ((-0.36, 0.6), (0.05, 1.0)):
            top = 1 - k
            b.part(
                rgb("d8ccaa"),
                limb([(dx, top + 0.35 * k), (dx * 0.9, 0.94)], 0.16 * k, 0.22 * k),
                volume=0.6,
                to=rgb("8a8458"),
            )
            rim = [(-0.36, 0.46), (-0.25, 0.16), (0, 0.04), (0.25, 0.16), (0.36, 0.46), (0, 0.53)]
            b.part(cap, blob([(dx + u * k, top + v * k) for u, v in rim]), volume=0.8)
        spots = (oval(-0.1, 0.3, 0.07, 0.06), oval(0.15, 0.22, 0.08, 0.06), oval(0.26, 0.4, 0.06))
        b.part(mix(cap, rgb("e8e0a0"), 0.7), *spots, volume=0.2)

    made = variants(draw, 2, 0.27, 1.3, light.side)
    for i, (x, y, s) in enumerate(places(rng, 3 + int(3 * amount), (0.14, 0.29), horizon, 0.25, 1.0)):
        canvas.stamp(resized(made[i % 2], s), x, y, light)


def _puddle(
    canvas: Canvas, light: Light, rng: np.random.Generator, spot: Spot, dark: np.ndarray, sheen: np.ndarray
) -> None:
    x, y, s = spot
    b = Brush(int(s * 0.42 * SIZE), 3.0, light.side)
    angle = np.linspace(0, 6.2832, 9)[:-1]
    edge = [
        (1.35 * np.cos(a) * rng.uniform(0.75, 1.05), 0.52 + 0.44 * np.sin(a) * rng.uniform(0.75, 1.0)) for a in angle
    ]
    b.part(dark * 0.6, blob([(px, py - 0.05) for px, py in edge]), volume=0)
    b.part(dark, blob(edge), volume=0, to=sheen)
    b.part(
        sheen * 0.6 + 0.4,
        oval(-0.3, 0.45, 0.5, 0.08),
        oval(0.4, 0.68, 0.35, 0.07),
        volume=0,
        soft=0.03,
        opacity=0.55,
        inside=True,
    )
    canvas.stamp(b.image(), x, y)


def green_puddles(canvas: Canvas, light: Light, rng: np.random.Generator, amount: float, horizon: float) -> None:
    """Poisonous pools with bursting bubbles."""
    goo = light.shade(jitter(rng, rgb(str(rng.choice(["7ab02a", "9ab038", "5a9a4a"]))), 0.04))

    def draw(b: Brush) -> None:
        b.part(mix(goo, rgb("d0f05a"), 0.4), oval(0, 0.5, 0.47), volume=0.9)
        b.part((0.95, 1, 0.8), oval(-0.15, 0.3, 0.14, 0.1), volume=0)

    bubble = variants(draw, 1, 0.12, 1.0, light.side)[0]
    for spot in places(rng, 2 + int(1.6 * amount), (0.28, 0.54), horizon, 0.35, 0.98):
        _puddle(canvas, light, rng, spot, goo * 0.75, mix(goo, rgb("c8e83a"), 0.35))
        x, y, s = spot
        for _ in range(3):
            r = float(rng.uniform(0.05, 0.1) * s + 0.014)
            canvas.stamp(
                resized(bubble, 2 * r), x + float(rng.uniform(-0.35, 0.35)) * s, y - float(rng.uniform(0.08, 0.3)) * s
            )


def rain_puddles(canvas: Canvas, light: Light, rng: np.random.Generator, amount: float, horizon: float) -> None:
    """Still puddles that mirror the sky."""
    for spot in places(rng, 2 + int(1.6 * amount), (0.26, 0.52), horizon, 0.35, 0.98):
        _puddle(canvas, light, rng, spot, mix(light.zenith, light.haze, 0.3) * 0.7, mix(light.horizon, light.haze, 0.3))


def gravestones(canvas: Canvas, light: Light, rng: np.random.Generator, amount: float, horizon: float) -> None:
    """Leaning stones and crosses."""
    stone = jitter(rng, rgb(str(rng.choice(["8a8c92", "7a8480", "948c86"]))), 0.03)
    for x, y, s in places(rng, 2 + int(2 * amount), (0.18, 0.34), horizon, 0.25, 0.95):
        b = Brush(int(s * SIZE), 1.0, light.side)
        if rng.random() < 0.4:
            b.part(
                stone,
                poly(
                    [
                        (-0.09, 0.05),
                        (0.09, 0.05),
                        (0.09, 0.27),
                        (0.3, 0.27),
                        (0.3, 0.44),
                        (0.09, 0.44),
                        (0.11, 0.92),
                        (-0.11, 0.92),
                        (-0.09, 0.44),
                        (-0.3, 0.44),
                        (-0.3, 0.27),
                        (-0.09, 0.27),
                    ]
                ),
                volume=0.8,
            )
        else:
            b.part(
                stone,
                poly([(-0.29, 0.34), (0.29, 0.34), (0.31, 0.93), (-0.31, 0.93)]),
                oval(0, 0.35, 0.29, 0.28),
                volume=0.8,
            )
            b.part(
                stone * 0.66,
                limb([(-0.15, 0.42), (0.15, 0.42)], 0.055),
                limb([(-0.12, 0.56), (0.12, 0.56)], 0.055),
                volume=0,
            )
        b.part(
            rgb("4a5a3e"),
            blob([(-0.46, 0.97), (-0.3, 0.84), (0, 0.9), (0.3, 0.83), (0.46, 0.97), (0, 1.0)]),
            volume=0.5,
        )
        canvas.shadow(x, y - 0.01, 0.5 * s, light)
        _stamp(canvas, light, b, (x, y, s), 0.0, float(rng.uniform(-8, 8)))


def candles(canvas: Canvas, light: Light, rng: np.random.Generator, amount: float, horizon: float) -> None:
    """Candles with a flame and its small round light."""
    for x, y, s in places(rng, 1 + int(3 * amount), (0.16, 0.28), horizon, 0.4, 0.97):
        halo(canvas, x, y - 0.85 * s, 1.1 * s, (1, 0.7, 0.3), 0.6)
        b = Brush(int(s * SIZE), 0.8, light.side)
        wax = jitter(rng, rgb("e8e0cc"), 0.03)
        b.part(
            wax,
            poly([(-0.13, 0.42), (0.13, 0.42), (0.15, 0.97), (-0.15, 0.97)]),
            oval(0, 0.43, 0.13, 0.05),
            limb([(0.11, 0.44), (0.12, 0.62)], 0.07),
            volume=0.8,
            to=wax * 0.7,
        )
        b.part(rgb("ff9a2a"), blob([(0, 0.04), (0.11, 0.26), (0.07, 0.38), (-0.07, 0.38), (-0.11, 0.26)]), volume=0)
        b.part(rgb("fff2b0"), blob([(0, 0.14), (0.06, 0.28), (0, 0.37), (-0.06, 0.28)]), volume=0)
        _stamp(canvas, light, b, (x, y, s), 0.7)


def _flower(b: Brush, rng: np.random.Generator, petal: np.ndarray, stem: np.ndarray, x: float, wilted: bool) -> None:
    top = float(rng.uniform(0.2, 0.3))
    s = float(rng.choice([-1, 1]))
    if wilted:
        stalk = [
            (x, 0.98),
            (x + 0.02 * s, 0.5),
            (x + 0.08 * s, top),
            (x + 0.2 * s, top + 0.03),
            (x + 0.27 * s, top + 0.17),
        ]
        b.part(stem, limb(stalk, 0.07, 0.06), limb([(x, 0.7), (x - 0.16 * s, 0.86)], 0.09, 0.05), volume=0.4)
        hang = [oval(x + 0.27 * s + d, top + 0.32, 0.085, 0.19, -d * 3) for d in (-0.1, 0.0, 0.1)]
        b.part(petal, *hang, volume=0.6, to=petal * 0.6)
        b.part(petal * 0.7, oval(x - 0.2 * s, 0.95, 0.09, 0.04, 0.3), volume=0.3)
        return
    b.part(
        stem,
        limb([(x, 0.98), (x + 0.03 * s, top + 0.1)], 0.06),
        oval(x + 0.1 * s, 0.72, 0.12, 0.05, -0.6 * s),
        volume=0.4,
    )
    a = np.arange(5) * 1.2566 + rng.uniform(0, 1)
    b.part(petal, *(oval(x + 0.13 * np.cos(t), top + 0.13 * np.sin(t), 0.11, 0.09, t) for t in a), volume=0.7)
    b.part(rgb("ffd84a"), oval(x, top, 0.08), volume=0.6)


def flowers(canvas: Canvas, light: Light, rng: np.random.Generator, amount: float, horizon: float) -> None:
    """Big clear flowers in the foreground."""

    def draw(b: Brush) -> None:
        petal = mix(VIVID[int(rng.integers(len(VIVID)))], rgb("fff0f4"), rng.uniform(0, 0.5))
        _flower(b, rng, petal, rgb("4a8a3a"), 0.0, False)

    made = variants(draw, 3, 0.26, 0.8, light.side)
    for i, (x, y, s) in enumerate(places(rng, 6 + int(5 * amount), (0.13, 0.27), horizon, 0.4, 1.04)):
        canvas.stamp(resized(made[i % 3], s), x, y, light, 0.0, 0.2)


def wilted_flowers(canvas: Canvas, light: Light, rng: np.random.Generator, amount: float, horizon: float) -> None:
    """Hanging heads and fallen petals."""
    petal = jitter(rng, rgb(str(rng.choice(["b8808e", "a08aa8", "b89a78", "b07070"]))), 0.04)
    made = variants(lambda b: _flower(b, rng, petal, rgb("6a6a48"), 0.0, True), 2, 0.38, 1.0, light.side)
    for i, (x, y, s) in enumerate(places(rng, 3 + int(2 * amount), (0.24, 0.4), horizon, 0.4, 1.02)):
        canvas.stamp(resized(made[i % 2], s), x, y, light)


def picnic(canvas: Canvas, light: Light, rng: np.random.Generator, amount: float, horizon: float) -> None:
    """A checked cloth with a basket and fruit."""
    x, y, s = next(places(rng, 1, (0.3, 0.4), horizon, 0.55, 0.95))
    b = Brush(int(s * SIZE), 2.0, light.side)
    red = jitter(rng, rgb(str(rng.choice(["e0524a", "4a8ac0", "e8a03a", "6aa85a"]))), 0.04)

    def at(u: float, v: float) -> tuple[float, float]:
        return ((u - 0.5) * (1.35 + 0.55 * v), 0.52 + 0.45 * v)

    b.part(rgb("fbf3e4"), poly([at(0, 0), at(1, 0), at(1, 1), at(0, 1)]), volume=0.3)
    for i in range(3):
        u = (i + 0.25) / 3
        b.part(red, poly([at(u, 0), at(u + 0.16, 0), at(u + 0.16, 1), at(u, 1)]), volume=0, opacity=0.65, inside=True)
        b.part(red, poly([at(0, u), at(1, u), at(1, u + 0.16), at(0, u + 0.16)]), volume=0, opacity=0.65, inside=True)
    b.part(
        rgb("8a5a2e"), limb([(-0.36, 0.46), (-0.28, 0.2), (-0.1, 0.14), (0.08, 0.2), (0.16, 0.46)], 0.05), volume=0.4
    )
    b.part(rgb("b8803e"), blob([(-0.42, 0.42), (0.22, 0.42), (0.15, 0.74), (-0.35, 0.74)]), volume=0.8)
    b.part(rgb("d8a860"), limb([(-0.4, 0.44), (0.2, 0.44)], 0.07), volume=0.4)
    b.part(rgb("d8382e"), oval(0.42, 0.72, 0.1), oval(0.58, 0.8, 0.09), volume=0.8)
    b.part(rgb("f0c23a"), oval(-0.62, 0.8, 0.13, 0.07, 0.4), volume=0.8)
    canvas.shadow(x, y, s * 0.85, light, 0.2)
    _stamp(canvas, light, b, (x, y, s), 0.1)


def carousel(canvas: Canvas, light: Light, rng: np.random.Generator, amount: float, horizon: float) -> None:
    """A striped carousel top on golden poles."""
    x, y, s = next(places(rng, 1, (0.36, 0.5), horizon, 0.1, 0.5))
    b = Brush(int(s * SIZE), 1.2, light.side)
    one, two = (VIVID[k] * 0.95 for k in rng.choice(len(VIVID), 2, replace=False))
    b.part(one * 0.8, oval(0, 0.91, 0.52, 0.08), volume=0.5)
    for px in (-0.42, -0.16, 0.16, 0.42):
        b.part(rgb("e8c05a"), limb([(px, 0.42), (px, 0.9)], 0.05), volume=0.5)
    for px in (-0.29, 0.03, 0.3):
        b.part(
            rgb("f4ece0"),
            blob(
                [
                    (px - 0.1, 0.66),
                    (px, 0.68),
                    (px + 0.07, 0.56),
                    (px + 0.12, 0.62),
                    (px + 0.08, 0.72),
                    (px + 0.06, 0.84),
                    (px - 0.1, 0.84),
                ]
            ),
            volume=0.6,
        )
    b.part(one, poly([(0, 0.05), (0.58, 0.38), (-0.58, 0.38)]), volume=0.6)
    for k in (-0.4, 0.0, 0.4):
        b.part(mix(two, (1, 1, 0.95), 0.6), poly([(0, 0.05), (k + 0.1, 0.38), (k - 0.1, 0.38)]), volume=0.3)
    b.part(
        two,
        limb([(-0.56, 0.4), (0.56, 0.4)], 0.08),
        *(oval(q, 0.44, 0.07, 0.06) for q in np.linspace(-0.5, 0.5, 7)),
        volume=0.5,
    )
    b.part(rgb("ffd84a"), oval(0, 0.05, 0.05), volume=0.6)
    canvas.shadow(x, y, 0.6 * s, light, 0.25)
    _stamp(canvas, light, b, (x, y, s), 0.2)

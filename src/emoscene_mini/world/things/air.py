"""Overlays that float before the scene: toys, wings, motes, smoke and eyes.

Most are a handful of sprites strewn by `strew`, which keeps them apart and lets the far ones be small and hazy.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from emoscene_mini.world.brush import Brush, Shape, blob, halo, limb, oval, poly, resized, variants, wash
from emoscene_mini.world.canvas import SIZE, Canvas, Light, mix, rgb, smooth
from emoscene_mini.world.things.heavens import VIVID, X, Y, soft_noise

Spot = tuple[float, float, float]


def strew(rng: np.random.Generator, count: int, size: tuple[float, float], top: float, bottom: float) -> Iterator[Spot]:
    """Places (x, y, size) spread over a band, small ones first; a jittered golden-ratio walk keeps them apart."""
    start = rng.random()
    sizes = np.sort(rng.uniform(*size, count))
    bottom = max(top, bottom)  # where the sky is narrow, all stand at its top
    for i in range(count):
        x = (start + i * 0.618 + rng.uniform(-0.06, 0.06)) % 1
        yield float(0.04 + 0.92 * x), float(rng.uniform(top, bottom)), float(sizes[i])


def _flock(
    canvas: Canvas,
    light: Light,
    spots: Iterator[Spot],
    draw: Callable[[Brush], None],
    lit: float,
    turn: float = 0.0,
    rng: np.random.Generator | None = None,
) -> None:
    """Draw a few of a kind, and one of them at each spot, its middle at (x, y)."""
    places = list(spots)
    made = variants(draw, min(5, len(places)), places[-1][2], 1.0, light.side)
    for i, (x, y, size) in enumerate(places):
        tilt = 0.0 if rng is None else float(rng.uniform(-turn, turn))
        canvas.stamp(
            resized(made[i % len(made)], size, tilt), x, y + size / 2, light, 0.0, lit * (1 + 0.7 * light.night)
        )


def balloons(canvas: Canvas, light: Light, rng: np.random.Generator, amount: float, horizon: float) -> None:
    """Shining party balloons on strings."""

    def draw(b: Brush) -> None:
        c = VIVID[int(rng.integers(len(VIVID)))] * 0.95
        bend = float(rng.uniform(-0.12, 0.12))
        b.part((0.9, 0.9, 0.92), limb([(0, 0.62), (bend, 0.8), (0, 0.99)], 0.06), volume=0, opacity=0.75)
        b.part(
            c,
            blob([(0, 0.02), (0.25, 0.14), (0.27, 0.34), (0.06, 0.6), (-0.06, 0.6), (-0.27, 0.34), (-0.25, 0.14)]),
            poly([(0, 0.58), (0.07, 0.67), (-0.07, 0.67)]),
            volume=0.9,
        )
        b.part((1, 1, 1), oval(0.11 * b.light_from, 0.18, 0.05, 0.08, 0.4), volume=0, soft=0.01, opacity=0.75)

    _flock(canvas, light, strew(rng, 3 + int(3 * amount), (0.2, 0.36), 0.12, max(horizon, 0.45)), draw, 0.35, 12, rng)


def kites(canvas: Canvas, light: Light, rng: np.random.Generator, amount: float, horizon: float) -> None:
    """Diamond kites with tails of bows."""

    def draw(b: Brush) -> None:
        one, two = (VIVID[k] for k in rng.choice(len(VIVID), 2, replace=False))
        s = float(rng.choice([-1, 1]))
        b.part(
            mix(two, (1, 1, 1), 0.3),
            limb([(0, 0.55), (0.1 * s, 0.68), (0.02 * s, 0.8), (0.14 * s, 0.95)], 0.06, 0.045),
            volume=0,
        )
        b.part(one, oval(0.1 * s, 0.7, 0.08, 0.05, 0.5), oval(0.08 * s, 0.88, 0.08, 0.05, -0.5), volume=0.2)
        b.part(one, poly([(0, 0.02), (0.27, 0.26), (0, 0.6), (-0.27, 0.26)]), volume=0.4)
        b.part(two, poly([(0, 0.02), (0.27, 0.26), (0, 0.26)]), poly([(0, 0.26), (-0.27, 0.26), (0, 0.6)]), volume=0.2)

    _flock(canvas, light, strew(rng, 1 + int(2.5 * amount), (0.26, 0.42), 0.14, horizon * 0.85), draw, 0.35, 30, rng)


def bunting(canvas: Canvas, light: Light, rng: np.random.Generator, amount: float, horizon: float) -> None:
    """Garlands of coloured flags across the top."""
    b = Brush(SIZE // 2, 2.0, light.side)
    for _ in range(1 + int(amount > 0.75)):
        left, right, sag = rng.uniform(0.0, 0.3), rng.uniform(0.0, 0.3), rng.uniform(0.2, 0.35)
        t = np.linspace(-0.05, 1.05, 11)
        x, y = 2 * t - 1, left + (right - left) * t + sag * 3.2 * t * (1 - t)
        b.part((0.95, 0.93, 0.88), limb(list(zip(x.tolist(), y.tolist(), strict=True)), 0.032), volume=0)
        flags: list[list[Shape]] = [[] for _ in range(5)]
        for i in range(10):
            mid, top = (x[i] + x[i + 1]) / 2, (y[i] + y[i + 1]) / 2
            flags[i % 5].append(poly([(mid - 0.08, top - 0.01), (mid + 0.08, top + 0.01), (mid + 0.01, top + 0.22)]))
        for k, shapes in zip(rng.permutation(len(VIVID)), flags, strict=False):
            b.part(VIVID[k], *shapes, volume=0.3)
    canvas.stamp(b.image(), 0.5, 0.5, light, 0.0, 0.3)


def confetti(canvas: Canvas, light: Light, rng: np.random.Generator, amount: float, horizon: float) -> None:
    """Large soft flakes of coloured paper."""
    colours = iter(rng.permutation(len(VIVID)))

    def draw(b: Brush) -> None:
        b.part(VIVID[next(colours)], oval(0, 0.5, 0.46, float(rng.uniform(0.28, 0.4))), volume=0.2, opacity=0.92)

    _flock(canvas, light, strew(rng, 14 + int(12 * amount), (0.042, 0.065), 0.02, 0.9), draw, 0.45, 90, rng)


def bubbles(canvas: Canvas, light: Light, rng: np.random.Generator, amount: float, horizon: float) -> None:
    """Soap bubbles: a pale disc, a rim of two hues and a glint."""

    def draw(b: Brush) -> None:
        t = np.linspace(0, 6.2832, 19)
        x, y = 0.42 * np.cos(t), 0.5 + 0.42 * np.sin(t)
        circle = list(zip(x.tolist(), y.tolist(), strict=True))
        b.part((0.85, 0.95, 1.0), oval(0, 0.5, 0.44), volume=0, opacity=0.22)
        b.part(rgb("ff9ae0"), limb(circle[:11], 0.1), volume=0, soft=0.02, opacity=0.65)
        b.part(rgb("8af0ff"), limb(circle[9:], 0.1), volume=0, soft=0.02, opacity=0.65)
        b.part((1, 1, 1), oval(-0.16, 0.3, 0.11, 0.08, -0.6), volume=0, soft=0.02, opacity=0.9)

    _flock(canvas, light, strew(rng, 4 + int(4 * amount), (0.09, 0.22), 0.1, 0.85), draw, 0.6)


def butterflies(canvas: Canvas, light: Light, rng: np.random.Generator, amount: float, horizon: float) -> None:
    """Four-winged, seen aslant."""

    def draw(b: Brush) -> None:
        c = VIVID[int(rng.integers(len(VIVID)))]
        for s, k in ((-1, 0.8), (1, 1.0)):
            b.part(
                c * 0.9,
                blob([(0, 0.5), (s * 0.18 * k, 0.16), (s * 0.42 * k, 0.1), (s * 0.44 * k, 0.36), (s * 0.2 * k, 0.54)]),
                volume=0.5,
            )
            b.part(
                mix(c, (1, 1, 1), 0.35),
                blob([(0, 0.52), (s * 0.3 * k, 0.54), (s * 0.34 * k, 0.8), (s * 0.16 * k, 0.84)]),
                volume=0.5,
            )
        b.part((0.2, 0.13, 0.14), limb([(0, 0.3), (0, 0.78)], 0.1, 0.07), volume=0.3)

    _flock(canvas, light, strew(rng, 2 + int(3 * amount), (0.13, 0.22), horizon * 0.6, 0.9), draw, 0.35, 35, rng)


def birds(canvas: Canvas, light: Light, rng: np.random.Generator, amount: float, horizon: float) -> None:
    """A flock of gulls on curved wings, pale or dark against the sky."""
    ink = mix(light.horizon, (0.16, 0.17, 0.24), 0.7) if rng.random() < 0.5 else rgb("faf6ee")
    cx, cy = rng.uniform(0.3, 0.7), horizon * rng.uniform(0.3, 0.6)

    def draw(b: Brush) -> None:
        lift = float(rng.uniform(0.08, 0.3))
        for s in (-1, 1):
            arm = [
                (0.0, 0.62),
                (s * 0.16, 0.52 - 0.6 * lift),
                (s * 0.34, 0.48 - 0.7 * lift),
                (s * 0.62, 0.56 - 0.2 * lift),
            ]
            b.part(ink, limb(arm, 0.15, 0.05), volume=0.2)
        b.part(ink, oval(0, 0.62, 0.13, 0.09), volume=0.2)

    made = variants(draw, 3, 0.19, 1.35, light.side)
    for i in range(3 + int(4 * amount)):
        size = float(rng.uniform(0.12, 0.19))
        x, y = cx + rng.normal(0, 0.22), cy + rng.normal(0, 0.09)
        canvas.stamp(resized(made[i % 3], size), float(x), float(max(y, 0.05)) + size / 2, light, 0.1, 0.4)


def bats(canvas: Canvas, light: Light, rng: np.random.Generator, amount: float, horizon: float) -> None:
    """Bats with scalloped wings."""
    ink = mix((0.06, 0.04, 0.08), light.zenith, 0.12)

    def draw(b: Brush) -> None:
        up = float(rng.uniform(-0.06, 0.14))
        for s in (-1, 1):
            wing = [
                (0, 0.42),
                (s * 0.22, 0.3 - up),
                (s * 0.49, 0.36 - up),
                (s * 0.44, 0.52),
                (s * 0.34, 0.5),
                (s * 0.27, 0.62),
                (s * 0.16, 0.56),
                (0, 0.68),
            ]
            b.part(ink, poly(wing), volume=0)
        b.part(
            ink,
            oval(0, 0.5, 0.085, 0.17),
            poly([(-0.08, 0.42), (-0.07, 0.26), (0, 0.36), (0.07, 0.26), (0.08, 0.42)]),
            volume=0,
        )

    _flock(canvas, light, strew(rng, 3 + int(3 * amount), (0.2, 0.36), 0.12, horizon * 0.95), draw, 1.0, 22, rng)


def flies(canvas: Canvas, light: Light, rng: np.random.Generator, amount: float, horizon: float) -> None:
    """A swarm of fat flies with pale wings."""
    highest = min(max(horizon - 0.1, 0.3), 0.74)  # a horizon may lie at .9
    cx, cy = rng.uniform(0.25, 0.75), rng.uniform(highest, 0.75)

    def draw(b: Brush) -> None:
        for s in (-1, 1):
            b.part(rgb("c8d0b8"), oval(s * 0.28, 0.34, 0.27, 0.16, s * 0.6), volume=0, opacity=0.8)
        b.part(rgb("1c2014"), oval(0, 0.58, 0.23, 0.3), volume=0.4)

    body = variants(draw, 1, 0.1, 1.0, light.side)[0]
    for _ in range(5 + int(5 * amount)):
        at = np.clip([cx + rng.normal(0, 0.21), cy + rng.normal(0, 0.14)], 0.05, 0.95)
        fly = resized(body, float(rng.uniform(0.065, 0.1)), float(rng.uniform(-60, 60)))
        canvas.stamp(fly, float(at[0]), float(at[1]), light, 0.0, 0.3)


def leaves(canvas: Canvas, light: Light, rng: np.random.Generator, amount: float, horizon: float) -> None:
    """Dead leaves on the wind."""
    tones = [rgb(c) for c in ("9a5a2e", "7a4a34", "b0803c", "6a5a4a", "8a3e2a")]

    def draw(b: Brush) -> None:
        c = tones[int(rng.integers(len(tones)))]
        b.part(c, blob([(0, 0.1), (0.26, 0.4), (0.1, 0.8), (0, 0.92), (-0.1, 0.8), (-0.26, 0.4)]), volume=0.6)
        b.part(c * 0.7, limb([(0, 0.25), (0, 0.98)], 0.09), volume=0)

    _flock(canvas, light, strew(rng, 5 + int(5 * amount), (0.1, 0.17), 0.15, 0.92), draw, 0.15, 80, rng)


def embers(canvas: Canvas, light: Light, rng: np.random.Generator, amount: float, horizon: float) -> None:
    """Sparks rising, each a bright core in a glow."""
    for x, y, s in strew(rng, 8 + int(9 * amount), (0.03, 0.06), 0.1, 0.95):
        halo(canvas, x, y, 1.6 * s, (1, 0.35, 0.08), 0.8)
        halo(canvas, x, y, 0.65 * s, (1, 0.85, 0.4), 1.6)


def smoke(canvas: Canvas, light: Light, rng: np.random.Generator, amount: float, horizon: float) -> None:
    """Black columns that widen, lean with the wind and billow."""
    soot, lean = mix(rgb("1c1618"), light.zenith, 0.08), rng.uniform(-0.5, 0.5)
    billow = soft_noise(rng, 64)
    total = np.zeros_like(X)
    for _ in range(1 + int(1.6 * amount)):
        x, foot = rng.uniform(0.15, 0.85), rng.uniform(horizon, horizon + 0.2)
        up = np.clip(foot - Y, 0, 1)
        across = np.abs(X - x - lean * up**1.4 + 0.16 * (billow - 0.5)) / (0.035 + 0.24 * up)
        total = np.maximum(total, smooth(1.1, 0.35, across) * smooth(0, 0.06, foot - Y) * np.clip(1.15 - up, 0, 1))
    tone = mix(soot, mix(soot, light.sun, 0.32), np.clip((np.roll(billow, 2, 1) - billow) * 5 + 0.3, 0, 1)[..., None])
    wash(canvas, total * (0.55 + 0.35 * amount), tone)


def eyes(canvas: Canvas, light: Light, rng: np.random.Generator, amount: float, horizon: float) -> None:
    """Pairs of eyes that shine out of the dark."""
    tint = rgb(str(rng.choice(["ffe14a", "b8ff5a", "ff5a3a", "e8f4ff"])))
    gloom = np.zeros_like(X)
    pairs = list(strew(rng, 2 + int(2.5 * amount), (0.03, 0.048), horizon - 0.06, 0.85))
    for x, y, s in pairs:
        gloom = np.maximum(gloom, np.exp(-(((X - x) / (3.6 * s)) ** 2 + ((Y - y) / (2.6 * s)) ** 2)))
    wash(canvas, gloom * 0.8, (0.03, 0.03, 0.05))
    wash(canvas, gloom**1.5 * 0.3, tint, light=True)
    for x, y, s in pairs:
        b = Brush(int(4 * s * SIZE))
        slant = float(rng.uniform(0.1, 0.5))
        b.part(tint, *(oval(k * 0.26, 0.5, 0.19, 0.135, k * slant) for k in (-1, 1)), volume=0)
        b.part(mix(tint, (1, 1, 0.95), 0.6), *(oval(k * 0.25, 0.5, 0.1, 0.08, k * slant) for k in (-1, 1)), volume=0)
        canvas.stamp(b.image(), x, y + 2 * s)


def sky_lanterns(canvas: Canvas, light: Light, rng: np.random.Generator, amount: float, horizon: float) -> None:
    """Paper lanterns aglow, drifting up."""

    def draw(b: Brush) -> None:
        paper = [(-0.24, 0.12), (0, 0.04), (0.24, 0.12), (0.3, 0.45), (0.2, 0.9), (-0.2, 0.9), (-0.3, 0.45)]
        b.part(rgb("ff9a3c"), blob(paper), volume=0.3, to=rgb("ffe9a0"))
        b.part(rgb("fff6d0"), oval(0, 0.78, 0.13, 0.13), volume=0, soft=0.06)

    made = variants(draw, 1, 0.18, 0.9, -1.0)[0]
    for x, y, s in strew(rng, 4 + int(5 * amount), (0.07, 0.18), 0.06, horizon * 1.05):
        halo(canvas, x, y, 1.1 * s, (1, 0.62, 0.2), 0.6)
        canvas.stamp(resized(made, s, float(rng.uniform(-8, 8))), x, y + s / 2)

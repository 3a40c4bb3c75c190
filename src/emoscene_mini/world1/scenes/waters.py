"""Places by the water: beach, harbour, river, village by a lake."""

from __future__ import annotations

import numpy as np

from emoscene_mini.world1.canvas import SIZE, Canvas, Light, below, grid, mix, noise, rgb, ridge, smooth
from emoscene_mini.world1.scenes.kit import (
    Ground,
    Rng,
    band,
    box,
    bushes,
    grove,
    hills,
    house,
    land,
    lit_ridge,
    pick,
    slab,
    tree,
    water,
    window,
)

_SEA = ("2f7890", "3a86a0", "34708c", "3c8c94")


def _level(y: float) -> np.ndarray:
    return np.full(SIZE, y, np.float32)


def village(canvas: Canvas, light: Light, rng: Rng, horizon: float) -> Ground:
    """Houses and a steeple on the far shore, mirrored in the lake; a near bank."""
    green = pick(rng, "7da653", "6f9a4c", "8fa860", "a09a54")
    if rng.random() < 0.5:
        lit_ridge(
            canvas,
            light,
            rng,
            band(horizon, rng.uniform(0.2, 0.32), ridge(rng, 0.5, 3)),
            pick(rng, "7d8490", "86807c"),
            0.75,
            0.12,
        )
    hills(canvas, light, rng, horizon - 0.02, [green * 0.85, green * 0.95])
    shore = horizon + 0.1
    land(canvas, light, rng, band(shore - 0.015, 0.02, ridge(rng, 0.1, 2)), green, 0.25)
    centre, count = float(rng.uniform(0.3, 0.7)), int(rng.integers(4, 7))
    places = sorted((float(rng.uniform(-0.05, 0.05)) + shore - 0.06 * (i % 2), i) for i in range(count))
    for y, i in sorted(((shore - 0.055 * (i % 2) + float(rng.uniform(-0.01, 0.01)), i) for _, i in places)):
        x = centre + (i - (count - 1) / 2) * 0.145 + float(rng.uniform(-0.02, 0.02))
        if i == count // 2:
            _steeple(canvas, light, rng, x + 0.06, y - 0.02)
        house(canvas, light, rng, x, y, float(rng.uniform(0.13, 0.17)), 0.22)
    for x in rng.uniform(0, 1, 4):
        tree(canvas, light, rng, float(x), shore + 0.005, float(rng.uniform(0.1, 0.16)), 0.22, "round", green * 0.75)
    water(canvas, light, rng, shore, below(_level(shore)), pick(rng, *_SEA), 0.72)
    curve = np.linspace(0, 1, SIZE, dtype=np.float32)[:: int(rng.choice([-1, 1]))] * 0.12
    bank = band(horizon + 0.4, 0.05, ridge(rng, 0.1, 2)) - curve
    land(canvas, light, rng, bank, green * 1.02, 0.04, 0.24)
    return Ground(0.15, 0.85, min(horizon + 0.42, 0.93), 0.27)


def _steeple(canvas: Canvas, light: Light, rng: Rng, x: float, y: float) -> None:
    wall, roof, w, h = pick(rng, "e6dcc8", "d0c0a8"), pick(rng, "5c6474", "a04f3c"), 0.032, 0.19
    slab(canvas, light, box(x - w, y - h, x, y), wall * 0.74, 0.25)
    slab(canvas, light, box(x, y - h, x + w, y), wall, 0.25)
    slab(canvas, light, [(x - w * 1.2, y - h), (x, y - h - 0.12), (x + w * 1.2, y - h)], roof, 0.25)
    window(canvas, light, x - 0.014, y - h + 0.02, 0.028, 0.04, 0.25)


def beach(canvas: Canvas, light: Light, rng: Rng, horizon: float) -> Ground:
    """Sea to the horizon, surf, sand; an island, cliffs or palms."""
    sand = pick(rng, "ecd8a8", "e2c896", "f0e0bc", "d8bc8c")
    layout = rng.random()
    if layout < 0.6:
        shape = ridge(rng, 0.4, 2) * smooth(0.75, 0.4, np.abs(np.linspace(0, 1, SIZE) - rng.choice([0.1, 0.9])))
        lit_ridge(
            canvas,
            light,
            rng,
            band(horizon + 0.012, rng.uniform(0.12, 0.24), shape.astype(np.float32)),
            pick(rng, "76866c", "8c8478"),
            0.6,
        )
    water(canvas, light, rng, horizon, below(_level(horizon)), pick(rng, *_SEA, "38a0a8"), 0.45)
    slope = np.linspace(-0.07, 0.07, SIZE, dtype=np.float32) * rng.choice([-1, 1])
    surf = band(horizon + 0.24, 0.04, ridge(rng, 0.1, 3)) + slope
    rows = grid()[1] - surf[None, :]
    foam = np.exp(-(((rows + 0.008) / 0.018) ** 2)) + 0.6 * np.exp(-(((rows + 0.06) / 0.014) ** 2)) * smooth(
        0.4, 0.6, noise(rng, 40, 2, 4)
    )
    land(canvas, light, rng, surf, sand, 0.05, 0.1, 0.12)
    wet = np.exp(-((np.clip(rows - 0.01, 0, 1) / 0.03) ** 2)) * (rows > 0)
    canvas.paint(wet, light.shade(sand * 0.72, 0.05), 0.8)
    canvas.paint(np.clip(foam, 0, 1), light.shade((0.97, 0.98, 0.98), 0.1), 0.9)
    if layout > 0.4:
        side = float(rng.choice([rng.uniform(0.06, 0.18), rng.uniform(0.82, 0.94)]))
        for _ in range(int(rng.integers(1, 3))):
            x = side + float(rng.uniform(-0.08, 0.08))
            canvas.shadow(x, horizon + 0.36, 0.08, light)
            tree(
                canvas,
                light,
                rng,
                x,
                horizon + 0.37,
                float(rng.uniform(0.5, 0.66)),
                0.08,
                "palm",
                pick(rng, "5c8a44", "4c8050", "7a8f40"),
            )
    return Ground(0.2, 0.8, min(horizon + 0.4, 0.93), 0.3)


def _sailboat(canvas: Canvas, light: Light, rng: Rng, x: float, y: float, tall: float, depth: float) -> None:
    hull, sail = pick(rng, "a8503c", "35506c", "e2e0d8", "4c6a54"), pick(rng, "f2ecdc", "e8c890", "d87858", "ece8f0")
    w, side = tall * 0.42, float(rng.choice([-1, 1]))
    slab(
        canvas,
        light,
        [(x - w, y - tall * 0.16), (x + w, y - tall * 0.16), (x + w * 0.7, y), (x - w * 0.7, y)],
        hull,
        depth,
    )
    slab(canvas, light, [(x, y - tall), (x + side * w * 0.85, y - tall * 0.24), (x, y - tall * 0.24)], sail, depth)
    slab(
        canvas,
        light,
        [
            (x - side * 0.008, y - tall * 0.9),
            (x - side * w * 0.6, y - tall * 0.24),
            (x - side * 0.008, y - tall * 0.24),
        ],
        sail * 0.76,
        depth,
    )


def harbour(canvas: Canvas, light: Light, rng: Rng, horizon: float) -> Ground:
    """A quay with tall narrow houses, moored sailing boats, a lighthouse, planks in front."""
    side = float(rng.choice([-1, 1]))
    shore = horizon + 0.06
    hills(canvas, light, rng, horizon, [pick(rng, "7c8c6c", "8c9474")], 0.8)
    slab(canvas, light, box(0, shore - 0.025, 1, shore), rgb("8a8078"), 0.4)
    for number in range(7):
        x = 0.5 + side * (0.5 - 0.1 * number)
        tall, wall = (
            float(rng.uniform(0.14, 0.25)),
            pick(rng, "d98f6c", "e6cf9c", "8fb0b4", "c8705c", "ece0cc", "a8b88c"),
        )
        slab(canvas, light, box(x - 0.05, shore - tall, x + 0.05, shore - 0.02), wall, 0.35)
        slab(
            canvas,
            light,
            [(x - 0.055, shore - tall), (x, shore - tall - 0.06), (x + 0.055, shore - tall)],
            pick(rng, "8a4434", "5c6474"),
            0.35,
        )
        for row in range(int(tall // 0.075)):
            window(canvas, light, x - 0.033, shore - tall + 0.02 + 0.065 * row, 0.025, 0.035, 0.35)
            window(canvas, light, x + 0.008, shore - tall + 0.02 + 0.065 * row, 0.025, 0.035, 0.35)
    if rng.random() < 0.6:
        _lighthouse(canvas, light, 0.5 - side * 0.36, shore)
    water(canvas, light, rng, shore, below(_level(shore)), pick(rng, *_SEA), 0.62)
    for _ in range(int(rng.integers(2, 4))):
        depth = float(rng.uniform(0, 1))
        _sailboat(
            canvas,
            light,
            rng,
            float(rng.uniform(0.12, 0.88)),
            shore + 0.05 + 0.1 * depth,
            0.16 + 0.12 * depth,
            0.25 - 0.2 * depth,
        )
    planks = pick(rng, "a88a68", "98806a", "b0946c")
    land(canvas, light, rng, _level(horizon + 0.3), planks, 0.03, 0.12)
    for number in range(4):
        y = horizon + 0.3 + 0.02 + 0.032 * number**1.6
        slab(canvas, light, box(0, y, 1, y + 0.008 + 0.003 * number), planks * 0.72, 0.03)
    return Ground(0.15, 0.85, min(horizon + 0.42, 0.93), 0.28)


def _lighthouse(canvas: Canvas, light: Light, x: float, y: float) -> None:
    for part in range(5):
        w, top = 0.042 - 0.004 * part, y - 0.065 * (part + 1)
        colour = rgb("ece6dc") if part % 2 else rgb("c04c40")
        slab(
            canvas,
            light,
            [(x - w + 0.004, top), (x + w - 0.004, top), (x + w, top + 0.066), (x - w, top + 0.066)],
            colour,
            0.35,
        )
        slab(
            canvas,
            light,
            [(x - w + 0.004, top), (x - w * 0.2, top), (x - w * 0.2, top + 0.066), (x - w, top + 0.066)],
            colour * 0.74,
            0.35,
        )
    window(canvas, light, x - 0.022, y - 0.37, 0.044, 0.046, 0.3, max(light.night, 0.5))
    slab(canvas, light, [(x - 0.034, y - 0.37), (x, y - 0.42), (x + 0.034, y - 0.37)], rgb("5c4448"), 0.35)
    canvas.glow(x, y - 0.345, 0.16, rgb("ffe0a0"), 0.15 + 0.6 * light.night)


def river(canvas: Canvas, light: Light, rng: Rng, horizon: float) -> Ground:
    """A river that winds to the eye under an arched bridge."""
    green = pick(rng, "7da653", "6f9a4c", "8aa858", "a0a058")
    hills(canvas, light, rng, horizon, [green * 0.82, green * 0.92])
    land(canvas, light, rng, _level(horizon + 0.05), green, 0.3, 0.2)
    grove(
        canvas,
        light,
        rng,
        _level(horizon + 0.05),
        7,
        0.2,
        0.42,
        str(rng.choice(["round", "poplar", "fir"])),
        green * 0.75,
    )
    gx, gy = grid()
    t = np.clip((gy - horizon - 0.04) / (0.96 - horizon), 0, 1)
    bend, at, phase = rng.uniform(0.1, 0.2), rng.uniform(0.4, 0.6), rng.choice([-1, 1])
    middle = at + phase * (0.3 * t * t - bend * np.sin(t * 4.2) * 0.6)
    wet = smooth(0.012, -0.004, np.abs(gx - middle) - (0.035 + 0.2 * t)) * (gy > horizon + 0.04)
    water(canvas, light, rng, horizon + 0.05, wet, pick(rng, "3f7c94", "48868c", "3a6f88"), 0.5)
    y = horizon + 0.16
    down = (y - horizon - 0.04) / (0.96 - horizon)
    x = float(at + phase * (0.3 * down**2 - bend * np.sin(down * 4.2) * 0.6))
    _bridge(canvas, light, rng, x, y)
    bushes(canvas, light, rng, horizon + 0.34, green * 0.8, 4)
    left, right = (0.08, 0.4) if phase > 0 else (0.6, 0.92)
    return Ground(left, right, min(horizon + 0.4, 0.93), 0.28)


def _bridge(canvas: Canvas, light: Light, rng: Rng, x: float, y: float) -> None:
    """A hump-backed stone bridge with one arch, or a red wooden one."""
    stone = pick(rng, "b0a492", "a09888", "b48068", "b4503c")
    t = np.linspace(-1, 1, 19)
    half, rise = float(rng.uniform(0.26, 0.34)), float(rng.uniform(0.07, 0.11))
    top = [(x + half * u, y - 0.02 - rise * (1 - u * u)) for u in t]
    arch = [(x + half * 0.55 * u, y + 0.07 - (rise + 0.045) * np.sqrt(1 - u * u)) for u in t]
    slab(canvas, light, [*top, (x + half, y + 0.07), *arch[::-1], (x - half, y + 0.07)], stone * 0.9, 0.12)
    under = [*arch, *[(px, py - 0.022) for px, py in arch[::-1]]]
    slab(canvas, light, under, stone * 0.55, 0.12)
    rail = [*[(px, py - 0.045) for px, py in top], *[(px, py - 0.012) for px, py in top[::-1]]]
    slab(canvas, light, rail, mix(stone, (1, 0.96, 0.88), 0.3), 0.12)

"""Places people made: city street, castle, country road, park, room."""

from __future__ import annotations

import numpy as np

from emoscene_mini.world1.canvas import SIZE, Canvas, Light, disc, grid, mix, noise, polygon, rgb, ridge, smooth
from emoscene_mini.world1.scenes.kit import (
    LAMP,
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

_WALLS = ("b8a894", "a8b0b8", "c4927a", "d4c4a4", "8f9cac", "b48c8c", "9aa694")


def _facade(canvas: Canvas, light: Light, rng: Rng, x: float, w: float, top: float, foot: float, depth: float) -> None:
    """A tower front with rows of windows, some lit at night, and a shaded side."""
    wall = pick(rng, *_WALLS)
    slab(canvas, light, box(x, top, x + w, foot), wall, depth)
    slab(canvas, light, box(x + w * 0.82, top, x + w, foot), wall * 0.74, depth)
    slab(canvas, light, box(x, top, x + w, top + 0.018), wall * 1.14, depth)
    columns = max(int(w / 0.062), 2)
    pitch, rows = w * 0.8 / columns, int((foot - top - 0.03) / 0.075)
    shown = rng.random((rows, columns))
    for row in range(rows):
        for column in range(columns):
            lit = light.night * float(shown[row, column] < 0.6)
            window(
                canvas, light, x + pitch * (column + 0.28), top + 0.035 + 0.075 * row, pitch * 0.56, 0.042, depth, lit
            )


def city(canvas: Canvas, light: Light, rng: Rng, horizon: float) -> Ground:
    """A far skyline, then either a street running away between fronts, or a row of fronts along it."""
    x = -0.05
    while x < 1.05:
        w, top = float(rng.uniform(0.06, 0.12)), horizon - float(rng.uniform(0.12, 0.36))
        slab(canvas, light, box(x, top, x + w, horizon + 0.1), pick(rng, "8c98a8", "9aa0ac", "7f8c9c"), 0.85)
        x += w
    asphalt, paving = pick(rng, "6c6c70", "706a68", "64686f"), pick(rng, "b0a89c", "a8a4a0")
    land(canvas, light, rng, np.full(SIZE, horizon + 0.08, np.float32), paving, 0.15, 0.1)
    if rng.random() < 0.6:
        _canyon(canvas, light, rng, horizon, asphalt)
        return Ground(0.25, 0.75, min(horizon + 0.42, 0.93), 0.3)
    x = -0.04
    while x < 1.0:
        w = float(rng.uniform(0.17, 0.27))
        _facade(canvas, light, rng, x, w, horizon - float(rng.uniform(0.1, 0.42)), horizon + 0.16, 0.22)
        awning = pick(rng, "c05a4c", "4c7c8c", "d8a04c", "6c8c5c")
        window(canvas, light, x + w * 0.15, horizon + 0.085, w * 0.6, 0.07, 0.15)
        slab(
            canvas,
            light,
            [
                (x + w * 0.1, horizon + 0.06),
                (x + w * 0.8, horizon + 0.06),
                (x + w * 0.86, horizon + 0.1),
                (x + w * 0.04, horizon + 0.1),
            ],
            awning,
            0.12,
        )
        x += w
    slab(canvas, light, box(0, horizon + 0.25, 1, 1), asphalt, 0.03)
    for number in range(4):
        left = 0.3 * number + 0.02
        slab(canvas, light, box(left, horizon + 0.36, left + 0.14, horizon + 0.378), rgb("e0dccc"), 0.05)
    return Ground(0.2, 0.8, min(horizon + 0.3, 0.92), 0.27)


def _canyon(canvas: Canvas, light: Light, rng: Rng, horizon: float, asphalt: np.ndarray) -> None:
    """The street in perspective: fronts grow towards both edges, a crossing and a dashed line lie in it."""
    far = float(rng.uniform(0.42, 0.58))
    for side in (-1, 1):
        edge = 0.0 if side < 0 else 1.0
        for rank, (near, distance) in enumerate(((0.16, 0.62), (0.4, 0.4), (0.66, 0.2))[::-1]):
            x0 = far + (edge - far) * (1 - near) * 0.92
            w = abs(edge - far) * (0.26 + 0.14 * rank) + 0.05
            left = x0 - w if side < 0 else x0
            top = horizon - (0.18 + 0.17 * rank) - float(rng.uniform(0, 0.12))
            _facade(canvas, light, rng, left, w, max(top, -0.05), horizon + 0.08 + 0.1 * rank, 0.45 - distance * 0.5)
    y = horizon + 0.07
    slab(canvas, light, [(far - 0.03, y), (far + 0.03, y), (0.92, 1.0), (0.08, 1.0)], asphalt, 0.04)
    for t in (0.25, 0.5, 0.82):
        a, b = y + (1 - y) * t, y + (1 - y) * (t + 0.1)
        w, mid = 0.012 + 0.02 * t, far + (0.5 - far) * t
        slab(canvas, light, [(mid - w, a), (mid + w, a), (mid + w * 1.2, b), (mid - w * 1.2, b)], rgb("e4dcc4"), 0.05)


def castle(canvas: Canvas, light: Light, rng: Rng, horizon: float) -> Ground:
    """Towers with pointed roofs on a hill, a path winding up."""
    green, stone = pick(rng, "6f9a4c", "7d9a5c", "8f9858"), pick(rng, "b8ac9c", "a8a4a4", "c4b498", "a09098")
    roof = pick(rng, "7c4a5c", "4c5c80", "9a5040", "54706c")
    lit_ridge(canvas, light, rng, band(horizon, 0.2, ridge(rng, 0.45, 3)), pick(rng, "7d8490", "86807c"), 0.8)
    hills(canvas, light, rng, horizon + 0.02, [green * 0.86])
    x, gx = float(rng.uniform(0.34, 0.66)), np.linspace(0, 1, SIZE, dtype=np.float32)
    crown = horizon - float(rng.uniform(0.02, 0.1))
    hill = (crown + (horizon + 0.24 - crown) * smooth(0.08, 0.62, np.abs(gx - x)) + 0.012 * ridge(rng, 0.3, 5)).astype(
        np.float32
    )
    for dx, w, h in sorted(
        ((-0.15, 0.05, 0.2), (-0.05, 0.06, 0.31), (0.055, 0.05, 0.25), (0.15, 0.055, 0.18)), key=lambda t: -t[2]
    ):
        _tower(canvas, light, x + dx, crown + 0.06, w * 0.8, h * float(rng.uniform(0.85, 1.2)), stone, roof)
    wall = crown - 0.075
    slab(canvas, light, box(x - 0.19, wall, x + 0.19, crown + 0.08), stone * 0.95, 0.3)
    for number in range(7):
        left = x - 0.19 + 0.058 * number
        slab(canvas, light, box(left, wall - 0.024, left + 0.032, wall + 0.004), stone, 0.3)
    slab(
        canvas,
        light,
        [
            (x - 0.03, crown + 0.06),
            (x - 0.03, wall + 0.05),
            (x, wall + 0.025),
            (x + 0.03, wall + 0.05),
            (x + 0.03, crown + 0.06),
        ],
        mix(rgb("4a3a34"), LAMP, 0.7 * light.night),
        0.2,
        0.7 * light.night,
    )
    land(canvas, light, rng, hill, green, 0.18, 0.22)
    mx, my = grid()
    t = np.clip((my - crown) / (1 - crown), 0, 1)
    track = smooth(0.01, -0.005, np.abs(mx - x - 0.16 * np.sin(t * 7) * t) - (0.012 + 0.09 * t**1.5)) * (
        my > crown + 0.03
    )
    canvas.paint(track, light.shade(rgb("d8c4a0"), 0.1), 0.85)
    bushes(canvas, light, rng, horizon + 0.34, green * 0.75, 5)
    return Ground(0.15, 0.85, min(horizon + 0.4, 0.93), 0.26)


def _tower(
    canvas: Canvas, light: Light, x: float, foot: float, w: float, h: float, stone: np.ndarray, roof: np.ndarray
) -> None:
    side = light.side
    slab(canvas, light, box(x - w, foot - h, x + w, foot), stone, 0.35)
    slab(
        canvas,
        light,
        box(min(x - side * w, x - side * w * 0.2), foot - h, max(x - side * w, x - side * w * 0.2), foot),
        stone * 0.76,
        0.35,
    )
    top = foot - h
    slab(canvas, light, [(x - w * 1.3, top), (x, top - w * 3.2), (x + w * 1.3, top)], roof, 0.35)
    slab(canvas, light, [(x - side * w * 1.3, top), (x, top - w * 3.2), (x - side * w * 0.2, top)], roof * 0.74, 0.35)
    window(canvas, light, x - 0.014, top + 0.035, 0.028, 0.044, 0.3)


def road(canvas: Canvas, light: Light, rng: Rng, horizon: float) -> Ground:
    """A road that narrows to the horizon between fields and trees or poles."""
    green, dust = pick(rng, "8aa858", "a8a458", "7da653", "c0a858"), pick(rng, "cdb48c", "b8a48c", "8c8884", "d4bc94")
    hills(canvas, light, rng, horizon, [green * 0.85])
    line = np.full(SIZE, horizon + 0.03, np.float32)
    land(canvas, light, rng, line, green, 0.2, 0.2)
    mx, my = grid()
    t = np.clip((my - horizon - 0.03) / (0.97 - horizon), 0, 1)
    at, sway = rng.uniform(0.35, 0.65), rng.uniform(-0.16, 0.16)
    strips = smooth(0.45, 0.62, noise(rng, 48, 2, 6)) * (my > horizon + 0.03)
    canvas.paint(strips, light.shade(pick(rng, "d8c060", "98a850", "b89858"), 0.2), 0.5)
    middle = at + (0.5 - at) * t + sway * np.sin(np.pi * t)
    offset = np.abs(mx - middle)
    below_it = my > horizon + 0.03
    canvas.paint(smooth(0.012, -0.006, offset - 0.012 - 0.3 * t**1.15) * below_it, light.shade(dust, 0.08))
    ruts = np.exp(-(((offset - 0.13 * t**1.15) / (0.008 + 0.03 * t)) ** 2)) * below_it * (t > 0.04)
    canvas.paint(ruts, light.shade(dust * 0.78, 0.08), 0.6)
    kind = str(rng.choice(["poplar", "round", "fir"]))
    sides = [-1, 1] if rng.random() < 0.6 else [int(rng.choice([-1, 1]))]
    for near in (0.05, 0.12, 0.24, 0.42, 0.7):
        for side in sides:
            x = at + (0.5 - at) * near + sway * np.sin(np.pi * near) + side * (0.05 + 0.66 * near)
            tree(
                canvas,
                light,
                rng,
                float(x),
                horizon + 0.04 + near * 0.72,
                0.09 + 0.62 * near,
                0.6 - 0.75 * near,
                kind,
                green * 0.72,
            )
    if rng.random() < 0.3:
        house(canvas, light, rng, 0.5 + 0.34 * float(np.sign(0.5 - at)), horizon + 0.09, 0.15, 0.4)
    return Ground(0.3, 0.7, min(horizon + 0.4, 0.93), 0.28)


def park(canvas: Canvas, light: Light, rng: Rng, horizon: float) -> Ground:
    """Lawns, a curving path, round trees, hedges, a fountain or a pond."""
    green = pick(rng, "7cab54", "86b05c", "98ac58", "6f9f58")
    autumn = rng.random() < 0.3
    leaf = pick(rng, "c08a3c", "c0663c") if autumn else green * 0.78
    grove(canvas, light, rng, np.full(SIZE, horizon + 0.04, np.float32), 10, 0.26, 0.6, "round", leaf)
    land(canvas, light, rng, np.full(SIZE, horizon + 0.03, np.float32), green, 0.22, 0.16)
    slab(canvas, light, box(0, horizon - 0.015, 1, horizon + 0.05), green * 0.55, 0.4)
    mx, my = grid()
    t = np.clip((my - horizon - 0.05) / (0.95 - horizon), 0, 1)
    side = float(rng.choice([-1, 1]))
    middle = 0.5 + side * (0.36 - 0.75 * t + 0.42 * t * t)
    canvas.paint(
        smooth(0.012, -0.008, np.abs(mx - middle) - 0.03 - 0.16 * t) * (my > horizon + 0.05),
        light.shade(rgb("dcc8a4"), 0.1),
    )
    x, y = 0.5 - side * float(rng.uniform(0.12, 0.28)), horizon + 0.19
    if rng.random() < 0.5:
        water(
            canvas,
            light,
            rng,
            y - 0.05,
            smooth(0.99, 0.9, np.hypot((mx - x) / 0.25, (my - y) / 0.075)),
            rgb("4a8694"),
            0.6,
        )
    else:
        _fountain(canvas, light, x, y)
    x = 0.5 + side * float(rng.uniform(0.3, 0.42))
    canvas.shadow(x, horizon + 0.27, 0.14, light, 0.4)
    tree(canvas, light, rng, x, horizon + 0.28, float(rng.uniform(0.42, 0.54)), 0.1, "round", leaf)
    bushes(canvas, light, rng, 1.0, green * 0.7, 3)
    return Ground(0.2, 0.8, min(horizon + 0.38, 0.92), 0.28)


def _fountain(canvas: Canvas, light: Light, x: float, y: float) -> None:
    stone, spray = rgb("b8b0a4"), light.shade((0.9, 0.96, 1.0), 0.1)
    canvas.paint(disc(x, y, 0.17, 0.045), light.shade(stone * 0.8, 0.15))
    canvas.paint(disc(x, y - 0.012, 0.15, 0.034), light.shade(rgb("5c98a8"), 0.15))
    slab(canvas, light, box(x - 0.016, y - 0.1, x + 0.016, y), stone, 0.15)
    canvas.paint(disc(x, y - 0.1, 0.075, 0.02), light.shade(stone, 0.15))
    for dx, h in ((0.0, 0.1), (-0.045, 0.06), (0.045, 0.06)):
        canvas.paint(disc(x + dx, y - 0.1 - h * 0.4, 0.022, h * 0.7, 0.8), spray, 0.75)


def room(canvas: Canvas, light: Light, rng: Rng, horizon: float) -> Ground:
    """A wall around a window on the sky and hills, a floor, a curtain, a lamp or a picture, a rug."""
    wall, floor = pick(rng, "c8b49c", "a8b4a8", "b8a4b0", "d0bc98", "98a4b4"), pick(rng, "94704c", "a07c58", "7c6450")
    hills(canvas, light, rng, 0.46, [pick(rng, "7da653", "8c9474")], 0.7)
    x, w, top, sill = float(rng.uniform(0.32, 0.68)), float(rng.uniform(0.17, 0.24)), 0.1, 0.54
    gx, gy = grid()
    inside = light.with_(
        ambient=mix(light.ambient, light.ambient * LAMP * 1.25, 0.6 * light.night), fog=light.fog * 0.3
    )
    pane = polygon(box(x - w, top, x + w, sill))
    falloff = 1.0 - 0.45 * np.hypot(gx - x, (gy - 0.4) * 0.9) + 0.06 * (noise(rng, 64, 2) - 0.5)
    canvas.paint(1 - pane, inside.shade(wall * 0.92, 0.1) * falloff[..., None])
    seam = 0.72 + 0.02 * float(rng.uniform(-1, 1))
    canvas.paint(
        (gy > seam).astype(np.float32), inside.shade(floor, 0.05) * (falloff * (1.25 - 0.4 * (gy - seam)))[..., None]
    )
    slab(canvas, inside, box(0, seam - 0.028, 1, seam), wall * 1.15, 0.05)
    _frame(canvas, inside, x, w, top, sill)
    drape = pick(rng, "a85c50", "5c7c8c", "c8a45c", "7c8c64", "8c6484")
    for side in (-1, 1):
        for fold, gain in enumerate((1.0, 0.8, 1.1)):
            a, b = x + side * (w + 0.07 - 0.032 * fold), x + side * (w + 0.038 - 0.032 * fold)
            slab(
                canvas,
                inside,
                [(min(a, b), top - 0.04), (max(a, b), top - 0.04), (max(a, b), sill + 0.1), (min(a, b), sill + 0.1)],
                drape * gain,
                0.05,
            )
    beam = smooth(0.0, 0.3, gy - seam) * smooth(1.2, 0.4, np.abs(gx - x - 0.1 * np.sign(0.5 - x)) / 0.3)
    canvas.add(beam * (gy > seam), light.horizon, 0.28 * (1 - light.night))
    canvas.paint(
        disc(x + 0.0, 0.89, 0.38, 0.085, 0.08),
        inside.shade(pick(rng, "a05c54", "5c7080", "b89860", "708060"), 0.05),
        0.9,
    )
    left = x > 0.5
    _furniture(canvas, inside, rng, 0.12 if left else 0.88, seam)
    return Ground(0.3, 0.7, 0.92, 0.32)


def _frame(canvas: Canvas, light: Light, x: float, w: float, top: float, sill: float) -> None:
    wood, t = rgb("efe6d6"), 0.014
    bars = [box(x - w - t, top - t, x + w + t, top + t), box(x - w - t, sill - t, x + w + t, sill + t * 2)]
    bars += [box(x + s * w - t, top, x + s * w + t, sill) for s in (-1, 1)]
    bars += [box(x - t * 0.8, top, x + t * 0.8, sill), box(x - w, top + 0.17, x + w, top + 0.17 + t * 1.5)]
    for bar in bars:
        slab(canvas, light, bar, wood, 0.05)


def _furniture(canvas: Canvas, light: Light, rng: Rng, x: float, seam: float) -> None:
    """A standing lamp or a framed picture over a chest."""
    if rng.random() < 0.5:
        slab(canvas, light, box(x - 0.012, 0.42, x + 0.012, seam + 0.08), rgb("5c4838"), 0.02)
        shade = mix(rgb("e0c890"), LAMP, 0.5)
        slab(
            canvas,
            light,
            [(x - 0.05, 0.3), (x + 0.05, 0.3), (x + 0.085, 0.43), (x - 0.085, 0.43)],
            shade,
            0.0,
            0.25 + 0.7 * light.night,
        )
        canvas.glow(x, 0.38, 0.3, LAMP, 0.12 + 0.55 * light.night)
        return
    slab(canvas, light, box(x - 0.08, 0.24, x + 0.08, 0.42), rgb("7c5c3c"), 0.02)
    slab(canvas, light, box(x - 0.06, 0.26, x + 0.06, 0.4), pick(rng, "7ca0b4", "a8b47c", "c89c7c"), 0.02)
    slab(canvas, light, box(x - 0.13, seam - 0.14, x + 0.13, seam + 0.06), rgb("8a6244"), 0.02)
    slab(canvas, light, box(x - 0.13, seam - 0.14, x + 0.13, seam - 0.11), rgb("a87c58"), 0.02)

"""Wild places: mountains, forest, meadow, desert, waterfall."""

from __future__ import annotations

import numpy as np

from emoscene_mini.world1.canvas import SIZE, Canvas, Light, below, disc, grid, mix, noise, rgb, ridge, smooth
from emoscene_mini.world1.scenes.kit import (
    Ground,
    Rng,
    band,
    box,
    bushes,
    grove,
    hills,
    land,
    lit_ridge,
    pick,
    slab,
    tree,
    water,
)

_GREENS = ("6f9a4c", "7da653", "5f8f56", "8aa858", "98a854")


def mountains(canvas: Canvas, light: Light, rng: Rng, horizon: float) -> Ground:
    """Two or three ranges, snow on the far ones; firs in front, or a lake."""
    rock = pick(rng, "7d7f8c", "8a7f78", "6f7d86", "93806c")
    rough, top = rng.uniform(0.45, 0.7), rng.uniform(0.3, 0.46)
    lit_ridge(canvas, light, rng, band(horizon, top, ridge(rng, rough, 3)), rock, 0.7, rng.uniform(0.1, 0.24))
    lit_ridge(canvas, light, rng, band(horizon + 0.05, top * 0.5, ridge(rng, rough, 4)), rock * 0.8, 0.42)
    green = pick(rng, *_GREENS)
    near = band(horizon + 0.16, 0.07, ridge(rng, 0.2, 3))
    if rng.random() < 0.45:
        shore = band(horizon + 0.06, 0.02, ridge(rng, 0.2, 3))
        land(canvas, light, rng, shore, green * 0.8, 0.4)
        water(
            canvas,
            light,
            rng,
            horizon + 0.07,
            below(np.full(SIZE, horizon + 0.075)),
            pick(rng, "3f6f8c", "4a8088"),
            0.75,
        )
        near = band(horizon + 0.3, 0.05, ridge(rng, 0.2, 2))
    land(canvas, light, rng, near, green, 0.08)
    if rng.random() < 0.75:
        grove(
            canvas,
            light,
            rng,
            near,
            int(rng.integers(5, 10)),
            0.2,
            0.15,
            "fir",
            pick(rng, "3f6b4c", "476a58", "56784a"),
        )
    return Ground(0.1, 0.9, min(horizon + 0.36, 0.93), 0.3)


def forest(canvas: Canvas, light: Light, rng: Rng, horizon: float) -> Ground:
    """Ranks of trees fading into haze, a clearing, and big trunks at the edges."""
    kind = str(rng.choice(["fir", "round", "fir"]))
    leaf = pick(rng, "4f7a44", "3f6f50", "66803f", "8a7a3c", "9a6a38")
    floor = pick(rng, "7c8a4c", "6f7c48", "8a7c50")
    for rank, depth in enumerate((0.85, 0.6, 0.35)):
        line = band(horizon + 0.02 + 0.06 * rank, 0.03, ridge(rng, 0.2, 3))
        land(canvas, light, rng, line, floor * (0.8 + 0.1 * rank), depth)
        grove(
            canvas, light, rng, line + 0.02, 12 - 2 * rank, 0.3 + 0.1 * rank, depth, kind, leaf * (0.95 - 0.08 * rank)
        )
    near = band(horizon + 0.24, 0.03, ridge(rng, 0.2, 2))
    land(canvas, light, rng, near, floor, 0.05, 0.24)
    pool = disc(0.5 + rng.uniform(-0.1, 0.1), horizon + 0.34, 0.36, 0.12, 0.9)
    canvas.add(pool, light.horizon, 0.22)
    for x in (rng.uniform(0.0, 0.1), rng.uniform(0.9, 1.0)):
        if kind == "round" and rng.random() < 0.8:
            w = rng.uniform(0.035, 0.06)
            slab(canvas, light, [(x - w, 1.0), (x - w * 0.6, 0), (x + w * 0.6, 0), (x + w, 1.0)], rgb("5c4638"), 0.02)
            slab(canvas, light, [(x - w * 0.2, 1.0), (x, 0), (x + w * 0.6, 0), (x + w, 1.0)], rgb("463529"), 0.02)
        else:
            tree(canvas, light, rng, float(x), 0.98, float(rng.uniform(0.62, 0.8)), 0.05, kind, leaf * 0.72)
    return Ground(0.25, 0.75, min(horizon + 0.38, 0.92), 0.28)


def _flowerbeds(canvas: Canvas, light: Light, rng: Rng, top: float) -> None:
    """Soft drifts of blossom colour, in perspective."""
    gy = grid()[1]
    for _ in range(2):
        petals = pick(rng, "e8c84a", "d86a7c", "f0ead8", "b07cc8", "e89050")
        drift = smooth(0.6, 0.78, noise(rng, 36, 2, 3)) * smooth(top, top + 0.12, gy)
        canvas.paint(drift, light.shade(petals, 0.1), 0.62)


def meadow(canvas: Canvas, light: Light, rng: Rng, horizon: float) -> Ground:
    """Rolling grass with drifts of blossom; one big tree, a line of poplars, or a fence."""
    green = pick(rng, *_GREENS)
    hills(canvas, light, rng, horizon, [green * 0.85, green * 0.93])
    line = band(horizon + 0.14, 0.06, ridge(rng, 0.1, 2))
    layout = rng.random()
    if layout < 0.35:
        grove(canvas, light, rng, band(horizon + 0.06, 0.02, ridge(rng, 0.1, 2)), 7, 0.17, 0.5, "poplar", green * 0.75)
    land(canvas, light, rng, line, green * 1.06, 0.1, 0.22)
    _flowerbeds(canvas, light, rng, horizon + 0.12)
    if layout >= 0.35:
        x = float(rng.choice([rng.uniform(0.1, 0.24), rng.uniform(0.76, 0.9)]))
        canvas.shadow(x, horizon + 0.23, 0.16, light, 0.4)
        tree(canvas, light, rng, x, horizon + 0.24, float(rng.uniform(0.4, 0.52)), 0.12, "round", green * 0.78)
    return Ground(0.15, 0.85, min(horizon + 0.35, 0.92), 0.3)


def _cactus(canvas: Canvas, light: Light, rng: Rng, x: float, y: float, tall: float) -> None:
    """A trunk with two arms, dark first, then a lit core."""
    green, w = pick(rng, "5f8450", "6a8a58", "507a58"), tall * 0.13
    for shift, gain in ((0.0, 0.78), (0.35, 1.05)):
        for dx, low, high in ((0.0, 0.0, 1.0), (-0.3, 0.35, 0.75), (0.3, 0.28, 0.62)):
            r = w * (0.75 if dx else 1) * (1 - shift)
            at = x + dx * tall - shift * w * 0.5
            foot, top = y - low * tall, y - high * tall
            stem = [(at - r, foot), (at - r, top + r), (at, top), (at + r, top + r), (at + r, foot)]
            slab(canvas, light, stem, green * gain, 0.05)
            if dx:
                slab(canvas, light, box(min(at, x), foot - 0.13 * tall, max(at, x), foot), green * gain, 0.05)


def desert(canvas: Canvas, light: Light, rng: Rng, horizon: float) -> Ground:
    """Dunes with a lit and a shaded flank, or table mountains; cacti."""
    sand = pick(rng, "e0b878", "d8a468", "e8c890", "cf8f5c", "dcc08c")
    if rng.random() < 0.5:
        mesa = np.clip(ridge(rng, 0.4, 4) * 2.6 - 1.0, 0, 0.9 + 0.1 * ridge(rng, 0.3, 6))
        lit_ridge(canvas, light, rng, band(horizon + 0.02, 0.2, mesa), pick(rng, "b4694a", "a8745c", "c08058"), 0.55)
    gx = np.linspace(0, 1, SIZE, dtype=np.float32)
    for rank, depth in enumerate((0.6, 0.32, 0.08)):
        base = horizon + 0.03 + 0.12 * rank
        line = band(base, 0.12, ridge(rng, 0.12, int(rng.integers(2, 4))))
        mask = land(canvas, light, rng, line, sand * (0.94 + 0.03 * rank), depth, 0.08)
        crest = int(np.argmin(line[30:-30])) + 30
        drop = (np.arange(SIZE, dtype=np.float32)[:, None] / SIZE - line[crest]) * (0.6 + 0.5 * rank)
        edge = smooth(-0.01, 0.02, (gx[None, :] - gx[crest]) * -light.side - drop * 0.8 + 0.03 * np.sin(drop * 30))
        flank = edge * smooth(0.62, 0.1, np.abs(gx[None, :] - gx[crest]) + 0 * drop) * mask
        canvas.paint(flank, light.shade(sand * np.array([0.66, 0.6, 0.62], np.float32), depth), 0.75)
    for _ in range(int(rng.integers(0, 3))):
        x = float(rng.choice([rng.uniform(0.06, 0.28), rng.uniform(0.72, 0.94)]))
        y = horizon + float(rng.uniform(0.18, 0.32))
        canvas.shadow(x, y, 0.06, light)
        _cactus(canvas, light, rng, x, y, float(rng.uniform(0.16, 0.26)))
    return Ground(0.15, 0.85, min(horizon + 0.36, 0.92), 0.29)


def waterfall(canvas: Canvas, light: Light, rng: Rng, horizon: float) -> Ground:
    """A cliff with a white fall into a pool, mist at its foot, firs on top."""
    rock, green = pick(rng, "77706a", "6a7078", "85746a"), pick(rng, "5c8248", "4c7850", "78904c")
    x, w = float(rng.uniform(0.34, 0.66)), float(rng.uniform(0.07, 0.13))
    lip, foot = horizon - float(rng.uniform(0.26, 0.36)), horizon + 0.16
    far = band(horizon - 0.1, 0.2, ridge(rng, 0.5, 3))
    lit_ridge(canvas, light, rng, far, rock, 0.75)
    line = band(lip + 0.02, 0.07, ridge(rng, 0.4, 4)) + (0.25 * np.abs(np.linspace(0, 1, SIZE) - x) ** 2).astype(
        np.float32
    )
    grove(canvas, light, rng, line, 9, 0.17, 0.4, "fir", green * 0.7)
    lit_ridge(canvas, light, rng, line, rock, 0.25)
    moss = smooth(0.55, 0.8, noise(rng, 44, 3)) * below(line) * 0.7
    canvas.paint(moss, light.shade(green * 0.85, 0.2))
    gx, gy = grid()
    wide = w * (0.8 + 0.35 * np.clip((gy - lip) / (foot - lip), 0, 1))
    fall = smooth(1.0, 0.75, np.abs(gx - x) / wide) * smooth(lip, lip + 0.02, gy) * (gy < foot + 0.02)
    strands = np.interp(gx[0], np.linspace(0, 1, 40), rng.random(40)).astype(np.float32)[None, :]
    foam = light.shade((0.93, 0.97, 1.0), 0.1)
    canvas.paint(fall, mix(foam * 0.74, foam * 1.04, np.broadcast_to(strands, gx.shape)[..., None]))
    pool = below(np.full(SIZE, foot, np.float32))
    water(canvas, light, rng, foot, pool, pick(rng, "3f7c86", "3a6f80", "4c8878"), 0.55)
    canvas.add(disc(x, foot, w * 2.4, 0.09, 1.0), foam, 0.75)
    bank = band(
        horizon + 0.4, 0.16, np.abs(np.linspace(-1, 1, SIZE, dtype=np.float32)) ** 1.5 * 0.8 + 0.2 * ridge(rng, 0.2, 2)
    )
    land(canvas, light, rng, bank, green, 0.05, 0.24)
    bushes(canvas, light, rng, horizon + 0.4, green * 0.85, 3)
    return Ground(0.15, 0.85, min(horizon + 0.42, 0.93), 0.27)

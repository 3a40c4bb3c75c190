"""Overlays of the sky, painted before the scene: soft light fields worked out coarsely and laid on with `wash`.

A field of 64 x 64 enlarged by bicubic interpolation is smooth, which is what a curtain of light or a smog should be.
"""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from emoscene_mini.world1.brush import Brush, halo, limb, oval, wash
from emoscene_mini.world1.canvas import SIZE, Canvas, Field, Light, mix, noise, rgb, smooth

COARSE = 64
_LINE = (np.arange(COARSE, dtype=np.float32) + 0.5) / COARSE
X, Y = np.broadcast_to(_LINE, (COARSE, COARSE)), np.broadcast_to(_LINE[:, None], (COARSE, COARSE))

VIVID = [rgb(c) for c in ("ff5a6e", "ffd24a", "6ee0ff", "ff8ae0", "a0ff8a", "ffa04a", "c89aff")]


def soft_noise(rng: np.random.Generator, wavelength: int, stretch: int = 1) -> Field:
    """Noise at the coarse resolution."""
    return noise(rng, wavelength, 2, stretch)[::4, ::4]


def aurora(canvas: Canvas, light: Light, rng: np.random.Generator, amount: float, horizon: float) -> None:
    """Two or three hanging curtains, bright at their folded hem and fading upwards through a second colour."""
    pairs = [("5cffb0", "5a7cff"), ("6affd8", "c06aff"), ("9dff7a", "3ad0d8"), ("7ae0ff", "ff6ac8")]
    low, high = (rgb(c) for c in pairs[rng.integers(len(pairs))])
    total, hue = np.zeros((COARSE, COARSE), np.float32), np.zeros((COARSE, COARSE), np.float32)
    for _ in range(int(rng.integers(2, 4))):
        f, p = rng.uniform(0.6, 1.5), rng.uniform(0, 6.3)
        hem = horizon * (rng.uniform(0.45, 0.85) + 0.13 * np.sin(6.3 * f * X + p) + 0.05 * np.sin(15 * X + 2 * p))
        up = (hem - Y) / (horizon * rng.uniform(0.6, 0.9))
        folds = 0.62 + 0.38 * np.sin(26 * X + 7 * np.sin(5 * X + p) + p)
        curtain = np.where(up > 0, np.exp(-2.4 * up), np.exp(16 * up)) * folds * rng.uniform(0.6, 1.0)
        hue = np.where(curtain > total, np.clip(up * 1.5, 0, 1), hue)
        total = np.maximum(total, curtain)
    wash(canvas, total * (0.45 + 0.55 * amount), mix(low, high, hue[..., None]), light=True)


def giant_moon(canvas: Canvas, light: Light, rng: np.random.Generator, amount: float, horizon: float) -> None:
    """A moon too large, with seas, and its shine around."""
    r = 0.11 + 0.13 * amount * rng.uniform(0.7, 1.0)
    x, y = float(rng.uniform(0.22, 0.78)), float(horizon * rng.uniform(0.3, 0.75))
    tint = mix(rgb(str(rng.choice(["fff2cf", "dfe9ff", "ffd9b0", "e6e2d8"]))), light.sun, 0.15)
    halo(canvas, x, y, r * 2.4, tint, 0.55)
    b = Brush(int(2 * r * SIZE), 1.0, float(rng.choice([-1, 1])))
    b.part(tint, oval(0, 0.5, 0.49), volume=0.28)
    seas = [
        oval(rng.uniform(-0.3, 0.3), rng.uniform(0.2, 0.8), rng.uniform(0.06, 0.17), rng.uniform(0.05, 0.13))
        for _ in range(5)
    ]
    b.part(tint * 0.78, *seas, volume=0, soft=0.03, opacity=0.6, inside=True)
    canvas.stamp(b.image(), x, y + r)


def planet(canvas: Canvas, light: Light, rng: np.random.Generator, amount: float, horizon: float) -> None:
    """A banded planet with a ring, half sunk in the sky's colour."""
    r = 0.1 + 0.11 * amount * rng.uniform(0.7, 1.0)
    x, y, turn = float(rng.uniform(0.25, 0.75)), float(horizon * rng.uniform(0.32, 0.65)), float(rng.uniform(-0.5, 0.5))
    body = rgb(str(rng.choice(["e8b28a", "8ab8d8", "b89ad8", "d88a7a"])))
    halo(canvas, x, y, r * 2.2, body, 0.4)
    b = Brush(int(4 * r * SIZE), 1.0, float(rng.choice([-1, 1])))
    t = np.linspace(np.pi, 2 * np.pi, 16)
    cos, sin = np.cos(turn), np.sin(turn)

    def arc(a: np.ndarray) -> list[tuple[float, float]]:
        u, v = 0.44 * np.cos(a), 0.1 * np.sin(a)
        return list(zip((u * cos - v * sin).tolist(), (0.5 + u * sin + v * cos).tolist(), strict=True))

    ring = mix(body, (1, 0.97, 0.9), 0.6)
    b.part(ring * 0.8, limb(arc(t), 0.045), volume=0)
    b.part(body, oval(0, 0.5, 0.245), volume=0.9)
    for d in (-0.12, 0.02, 0.13):
        b.part(
            body * 0.8, oval(-d * sin, 0.5 + d * cos, 0.24, 0.035, turn), volume=0, soft=0.012, opacity=0.7, inside=True
        )
    b.part(ring, limb(arc(t - np.pi), 0.05), volume=0)
    sprite = b.image()
    canvas.stamp(sprite, x, y + 2 * r, light.with_(ambient=np.ones(3, np.float32)), 0.25)


def sun_rays(canvas: Canvas, light: Light, rng: np.random.Generator, amount: float, horizon: float) -> None:
    """Broad beams fanning down from a gap between towering clouds."""
    x, y = float(rng.uniform(0.2, 0.8)), float(horizon * rng.uniform(-0.05, 0.3))
    tint = mix(light.sun, rgb("ffe2a0"), 0.5)
    angle = np.arctan2(X - x, Y - y + 0.08)
    beams = (
        0.5
        + 0.32 * np.sin(angle * rng.uniform(9, 13) + rng.uniform(0, 6))
        + 0.18 * np.sin(angle * 23 + rng.uniform(0, 6))
    )
    far = np.hypot(X - x, Y - y)
    field = smooth(0.35, 0.85, beams) * np.clip(1.15 - far, 0, 1) * smooth(-0.06, 0.15, Y - y + 0.05)
    wash(canvas, field * (0.35 + 0.4 * amount), tint, light=True)
    halo(canvas, x, y, 0.42, tint, 0.55 + 0.3 * amount)
    puff = noise(rng, 96, 2)[::4, ::4]
    gap = 0.55 * smooth(0.05, 0.3, np.abs(X - x)) - 0.5 * smooth(0.35, 1.0, Y / horizon) - 0.15 * smooth(0.3, 0.0, far)
    tower = smooth(0.56, 0.76, puff + gap)
    shade = mix(mix(light.zenith, light.horizon, 0.4), tint, np.clip(1 - 1.9 * far, 0, 1)[..., None] * 0.8)
    wash(
        canvas, tower * 0.85, shade * (0.78 + 0.34 * np.clip((puff - np.roll(puff, -3, 0)) * 4 + 0.4, 0, 1))[..., None]
    )


def star_band(canvas: Canvas, light: Light, rng: np.random.Generator, amount: float, horizon: float) -> None:
    """A milky band across the sky, and a few large soft stars."""
    turn = rng.uniform(-0.9, 0.9)
    away = (X - rng.uniform(0.35, 0.65)) * np.cos(turn) + (Y - 0.4 * horizon) * np.sin(turn)
    cloud = soft_noise(rng, 96)
    field = np.exp(-((away + 0.12 * (cloud - 0.5)) ** 2) / 0.022) * (0.45 + 0.7 * cloud)
    tone = mix(rgb("8aa8ff"), rgb(str(rng.choice(["ffc8e8", "b0fff0", "ffe6b8"]))), smooth(0.3, 0.8, cloud)[..., None])
    wash(canvas, field * np.clip(1.3 - Y / horizon, 0, 1) * (0.55 + 0.45 * amount), tone, light=True)
    for _ in range(int(5 + 5 * amount)):
        at = float(rng.random()), float(rng.uniform(0.02, 0.8) * horizon)
        halo(canvas, *at, float(rng.uniform(0.022, 0.045)), (1, 0.98, 0.9), float(rng.uniform(0.8, 1.4)))


def comet(canvas: Canvas, light: Light, rng: np.random.Generator, amount: float, horizon: float) -> None:
    """A bright head and a widening tail."""
    x, y = float(rng.uniform(0.2, 0.8)), float(horizon * rng.uniform(0.35, 0.7))
    side = 1.0 if x < 0.5 else -1.0
    turn = rng.uniform(0.35, 0.75)
    along = ((X - x) * side * np.cos(turn) - (Y - y) * np.sin(turn)) / (0.45 + 0.3 * amount)
    across = (X - x) * side * np.sin(turn) + (Y - y) * np.cos(turn)
    wide = 0.016 + 0.09 * np.clip(along, 0, 1)
    field = np.exp(-((across / wide) ** 2)) * np.clip(1 - along, 0, 1) ** 1.3 * smooth(-0.03, 0.03, along)
    tint = rgb(str(rng.choice(["a8e4ff", "ffd0f4", "ffe0a0"])))
    wash(canvas, field * (0.6 + 0.35 * amount), tint, light=True)
    halo(canvas, x, y, 0.1, tint, 1.0)
    halo(canvas, x, y, 0.04, (1, 1, 1), 2.0)


def rainbow(canvas: Canvas, light: Light, rng: np.random.Generator, amount: float, horizon: float) -> None:
    """A broad soft arch with its foot behind the horizon."""
    x, r = float(rng.uniform(0.25, 0.75)), float(rng.uniform(0.4, 0.6))
    fine = (np.arange(128, dtype=np.float32) + 0.5) / 128
    far = (r - np.hypot(fine - x, fine[:, None] - horizon - 0.04)) / 0.125
    stops = np.array([rgb(c) for c in ("ff5a5a", "ffa64a", "ffe65a", "6ade7a", "5ab4ff", "9a7aff")])
    hue = np.stack([np.interp(far, np.linspace(0, 1, 6), stops[:, i]) for i in range(3)], -1).astype(np.float32)
    field = smooth(-0.12, 0.12, far) * smooth(1.12, 0.85, far)
    wash(canvas, field * (0.35 + 0.35 * amount), hue)


def _burst(
    canvas: Canvas, rng: np.random.Generator, x: float, y: float, r: float, inner: np.ndarray, tip: np.ndarray
) -> None:
    """Petals of light that widen outwards and droop, in a square of the canvas."""
    x0, x1 = max(int((x - r) * SIZE), 0), min(int((x + r) * SIZE), SIZE)
    y0, y1 = max(int((y - r) * SIZE), 0), min(int((y + r) * SIZE), SIZE)
    if x1 - x0 < 2 or y1 - y0 < 2:
        return
    dx = ((np.arange(x0, x1, dtype=np.float32) + 0.5) / SIZE - x)[None, :] / r
    dy = ((np.arange(y0, y1, dtype=np.float32) + 0.5) / SIZE - y)[:, None] / r
    far = np.hypot(dx, dy)
    angle = np.arctan2(dy - 0.16 * far**2, dx) + rng.uniform(0, 6.3)
    total, count = np.zeros_like(far), int(rng.integers(10, 14))
    for n, reach in ((count, 0.92), (count - 3, 0.55)):
        step = 2 * np.pi / n
        off = np.abs((angle % step) - step / 2) * far
        petal = (
            np.exp(-((off / (0.035 + 0.06 * far / reach)) ** 2))
            * smooth(reach * 1.06, reach * 0.86, far)
            * smooth(0.02, 0.3, far)
        )
        total = np.maximum(total, petal * (0.55 + 0.45 * far / reach))
    field = np.clip(total + 0.9 * np.clip(1 - far / 0.3, 0, 1) ** 2, 0, 1)
    part = canvas.rgb[y0:y1, x0:x1]
    colour = mix(inner, tip, smooth(0.25, 0.8, far)[..., None]) + (np.clip(1 - far / 0.4, 0, 1) ** 2)[..., None]
    part += field[..., None] * (np.clip(colour, 0, 1) - part) * 0.95


def fireworks(canvas: Canvas, light: Light, rng: np.random.Generator, amount: float, horizon: float) -> None:
    """Bursts of broad petals of light, white at heart, in a coloured glow."""
    count = 2 + int(1.6 * amount + 0.5 * rng.random())
    for i in range(count):
        x = float((i + rng.uniform(0.25, 0.75)) / count)
        y, r = float(horizon * rng.uniform(0.25, 0.65)), float(rng.uniform(0.14, 0.24))
        one, two = (VIVID[k] for k in rng.choice(len(VIVID), 2, replace=False))
        halo(canvas, x, y, r * 1.4, one, 0.6)
        _burst(canvas, rng, x, y, r, two, one)


def spotlights(canvas: Canvas, light: Light, rng: np.random.Generator, amount: float, horizon: float) -> None:
    """Broad coloured beams crossing from the horizon."""
    for _ in range(3 + int(2 * amount)):
        x = rng.uniform(0.05, 0.95)
        lean = (0.5 - x) * rng.uniform(0.3, 2.4) + rng.uniform(-0.3, 0.3)
        up = horizon + 0.03 - Y
        across = np.abs(X - x - lean * up) / (0.02 + 0.17 * np.clip(up, 0, 1))
        field = smooth(1.0, 0.25, across) * np.clip(1.05 - 0.8 * up / horizon, 0, 1) * (up > 0)
        wash(canvas, field * (0.5 + 0.4 * amount), VIVID[int(rng.integers(len(VIVID)))], light=True)


def lightning(canvas: Canvas, light: Light, rng: np.random.Generator, amount: float, horizon: float) -> None:
    """Thick forked bolts in a glow."""
    tint = rgb(str(rng.choice(["ffe9b0", "e0d8ff", "ffd0d0"])))
    image = Image.new("L", (SIZE, SIZE))
    on = ImageDraw.Draw(image)
    for _ in range(1 + int(rng.random() < amount)):
        x, y, drift = rng.uniform(0.15, 0.85) * SIZE, -4.0, rng.uniform(-0.4, 0.4)
        points = [(x, y)]
        while y < horizon * SIZE * 1.04:
            step = rng.uniform(20, 34)
            x, y = x + step * drift + rng.uniform(-17, 17), y + step
            points.append((x, y))
        on.line(points, 255, 8, joint="curve")
        fork = points[len(points) // 2]
        side = rng.choice([-1, 1])
        on.line([fork, (fork[0] + side * 22, fork[1] + 20), (fork[0] + side * 26, fork[1] + 44)], 220, 6, joint="curve")
        halo(canvas, points[0][0] / SIZE, 0.0, 0.5, tint, 0.35 + 0.3 * amount)
    small = image.resize((COARSE, COARSE), Image.Resampling.BOX).filter(ImageFilter.GaussianBlur(3.2))
    wash(canvas, np.asarray(small, np.float32) / 255 * 2.6, tint * np.array([1, 0.75, 0.95], np.float32), light=True)
    bolt = np.asarray(image.filter(ImageFilter.GaussianBlur(1.0)), np.float32) / 255
    wash(canvas, bolt, mix(tint, (1, 1, 1), 0.6))


def _clouds(
    canvas: Canvas,
    rng: np.random.Generator,
    horizon: float,
    cover: float,
    dark: np.ndarray,
    lit: np.ndarray,
    strength: float,
) -> None:
    n = noise(rng, 128, 2, 2)[::4, ::4] * 0.65 + noise(rng, 64, 2)[::4, ::4] * 0.35
    mass = smooth(0.66 - cover, 0.8 - cover, n) * np.clip(1.25 - 0.9 * Y / horizon, 0, 1)
    edge = np.clip((n - np.roll(n, -3, 0)) * 5 + 0.38, 0, 1)
    wash(canvas, mass * strength, mix(dark, lit, edge[..., None]))


def red_clouds(canvas: Canvas, light: Light, rng: np.random.Generator, amount: float, horizon: float) -> None:
    """Heavy clouds lit red from below."""
    lit = rgb(str(rng.choice(["e0402a", "f0682e", "c8283a"])))
    _clouds(canvas, rng, horizon, 0.25 + 0.15 * amount, rgb("2a0c12"), lit, 0.6 + 0.35 * amount)


def smog(canvas: Canvas, light: Light, rng: np.random.Generator, amount: float, horizon: float) -> None:
    """A dirty yellow-brown layer, thickest low down."""
    dirt = rgb(str(rng.choice(["8a8030", "7a6a34", "6a7430", "86703e"]))) * (1 - 0.4 * light.night)
    _clouds(canvas, rng, horizon, 0.3, dirt * 0.62, dirt * 1.15, 0.35 + 0.3 * amount)
    field = smooth(0.0, horizon, Y) * smooth(horizon + 0.4, horizon, Y) * (0.55 + 0.45 * soft_noise(rng, 128, 4))
    wash(canvas, field * (0.45 + 0.35 * amount), dirt)


def hot_air_balloons(canvas: Canvas, light: Light, rng: np.random.Generator, amount: float, horizon: float) -> None:
    """Striped balloons with baskets, near and far."""
    count = 2 + int(1.6 * amount)
    for i in sorted(range(count), key=lambda _: rng.random()):
        size = float(rng.uniform(0.17, 0.36) * (0.75 + 0.25 * amount))
        b = Brush(int(size * SIZE), 0.8, light.side)
        one, two = (VIVID[k] * 0.92 for k in rng.choice(len(VIVID), 2, replace=False))
        b.part(rgb("6a4426"), limb([(-0.07, 0.85), (0.07, 0.85)], 0.13, 0.13), volume=0.4)
        b.part(
            rgb("4a3426"),
            limb([(-0.16, 0.66), (-0.08, 0.84)], 0.035),
            limb([(0.16, 0.66), (0.08, 0.84)], 0.035),
            volume=0,
        )
        b.part(one, oval(0, 0.37, 0.37, 0.36), limb([(0, 0.55), (0, 0.72)], 0.5, 0.2), volume=0.9)
        for x in (-0.25, 0.0, 0.25):
            stripe = [(x * 0.2, 0.02), (x * 1.1, 0.36), (x * 0.5, 0.77)]
            b.part(two, limb(stripe, 0.05, 0.07), oval(x * 1.1, 0.37, 0.065, 0.27), volume=0.6, inside=True)
        x, y = (i + rng.uniform(0.2, 0.8)) / count, horizon * rng.uniform(0.35, 0.85)
        canvas.stamp(b.image(), float(x), float(y + 0.3 * size), light, 0.45 * (1 - size / 0.3), lit=0.25)
        if light.night > 0.2:
            halo(canvas, float(x), float(y - 0.2 * size), 0.6 * size, (1, 0.75, 0.4), 0.5 * light.night)

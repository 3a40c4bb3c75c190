"""What scenes are built from: layers of land, water that mirrors, trees, houses, and where an object may stand.

All of it paints on a `Canvas` with the scene's `Light`; `depth` is 0 near and 1 at the horizon.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from emoscene_mini.world1.canvas import (
    SIZE,
    Canvas,
    Colour,
    Field,
    Light,
    below,
    bytes_of,
    mix,
    noise,
    rgb,
    ridge,
    smooth,
)

Rng = np.random.Generator


@dataclass(frozen=True)
class Ground:
    """Where an object may stand: x from `left` to `right`, its feet at y, a person there `tall` of the canvas."""

    left: float
    right: float
    feet: float
    tall: float


def pick(rng: Rng, *codes: str) -> np.ndarray:
    """One of several colours, a little off."""
    colour = rgb(codes[int(rng.integers(len(codes)))])
    return np.clip(colour + rng.normal(0, 0.02, 3).astype(np.float32), 0.02, 0.98)


def band(top: float, swing: float, line: np.ndarray) -> np.ndarray:
    """A skyline from `top` down, its humps `swing` high."""
    return top - swing * line


def land(
    canvas: Canvas,
    light: Light,
    rng: Rng,
    line: np.ndarray,
    colour: Colour,
    depth: float = 0.0,
    texture: float = 0.16,
    fade: float = 0.3,
) -> Field:
    """All below `line`: brushed with noise, nearer (deeper and warmer) towards its foot. Returns its mask."""
    mask = below(line)
    top = max(int(line.min() * SIZE) - 1, 0)
    brush = np.empty((SIZE, SIZE), np.float32)
    brush[:] = (noise(rng, 40, 3, 3) - 0.5) * texture * (1 - 0.6 * depth) + 1
    near = np.clip((np.arange(SIZE, dtype=np.float32)[:, None] / SIZE - line[None, :]) / 0.35, 0, 1)
    brush *= 1.06 - fade * near
    tone = brush[..., None] * light.shade(colour, depth)
    if depth > 0.3:
        tone = mix(tone, light.haze, (light.fog * 0.35 * near)[..., None])
    tone[:top] = 0
    canvas.paint(mask, tone)
    return mask


def lit_ridge(
    canvas: Canvas, light: Light, rng: Rng, line: np.ndarray, colour: Colour, depth: float, snow: float = 0.0
) -> None:
    """A mountain range: one flank of each fold catches the light, peaks may carry snow."""
    mask = below(line)
    rows = np.arange(SIZE, dtype=np.float32)[:, None] / SIZE
    fall = rows - line[None, :]
    crag = noise(rng, 48, 4)
    folds = np.gradient(np.convolve(np.pad(line, 4, mode="edge"), np.ones(9) / 9, "valid")) * SIZE
    away = -light.side
    lit = np.clip(
        0.5 + away * folds[None, :] * -0.45 * np.exp(-fall * 5) + 1.6 * (crag - np.roll(crag, 7, 1)) * away, 0, 1
    )
    tone = light.shade(np.asarray(colour), depth) * (0.7 + 0.5 * lit)[..., None]
    if snow > 0:
        white = smooth(snow, snow - 0.06, fall + 0.14 * (crag - 0.5) + 0.5 * (line[None, :] - line.min()))
        tone = mix(tone, light.shade((0.95, 0.97, 1.0), depth) * (0.72 + 0.33 * lit)[..., None], white[..., None])
    foot = np.clip(fall / 0.3, 0, 1) * (0.25 + 0.5 * light.fog)
    canvas.paint(mask, mix(tone, light.haze, foot[..., None]))


def water(canvas: Canvas, light: Light, rng: Rng, top: float, mask: Field, colour: Colour, still: float = 0.6) -> None:
    """Water below y = `top` in `mask`: the picture above it mirrored, ruffled, tinted, and the sun's path on it."""
    row = int(top * SIZE)
    ripple = noise(rng, 20, 2, 6)
    index = 2 * row - np.arange(SIZE) - 1
    index = np.clip(np.where(np.arange(SIZE) < row, np.arange(SIZE), index), 0, SIZE - 1)
    mirror = canvas.rgb[index]
    shifted = [np.roll(mirror, step, axis) for step, axis in ((3, 0), (-3, 0), (4, 1), (-4, 1))]
    mirror = (mirror + sum(shifted)) / np.float32(5)
    deep = np.clip((np.arange(SIZE, dtype=np.float32)[:, None] / SIZE - top) / (1 - top), 0, 1)
    own = light.shade(colour, 0.25) * (1.05 - 0.35 * deep)[..., None]
    tone = mix(own, mirror * np.float32(0.92), np.clip(still * (1 - 0.45 * deep), 0, 1)[..., None])
    glint = smooth(0.55, 0.85, ripple) * (0.4 + 0.6 * deep)
    tone = tone + (glint * 0.16)[..., None] * (light.horizon - tone * 0.4)
    if light.sun_at[1] < 1:
        x = (np.arange(SIZE, dtype=np.float32) / SIZE - light.sun_at[0])[None, :]
        path = np.exp(-((x / (0.04 + 0.12 * deep)) ** 2)) * (0.3 + 0.7 * smooth(0.4, 0.7, ripple))
        tone = tone + (path * 0.5)[..., None] * light.sun * (1 - np.clip(tone, 0, 1))
    canvas.paint(mask, tone)


def _puffs(rng: Rng, size: int, colour: Colour, side: float, lobes: int, spread: tuple[float, float]) -> Image.Image:
    """A crown of leaves: dark puffs, then lighter ones towards the light."""
    image = Image.new("RGBA", (size, size), (*bytes_of(np.asarray(colour) * 0.6), 0))
    draw = ImageDraw.Draw(image)
    at = np.stack([rng.normal(0.5, spread[0], lobes), rng.normal(0.36, spread[1], lobes)], 1)
    at = np.clip(at, 0.2, 0.8) * size
    for step, gain in enumerate((0.58, 0.82, 1.06, 1.28)):
        for x, y in at[: lobes - 2 * step]:
            r = size * (0.2 - 0.04 * step)
            cx, cy = x + side * step * size * 0.028, max(y, r) - step * size * 0.034
            tone = np.asarray(colour) * gain + 0.03 * step
            draw.ellipse((cx - r, cy - r * 0.9, cx + r, cy + r * 0.9), fill=(*bytes_of(tone), 255))
    return image


def _round_tree(rng: Rng, size: int, colour: Colour, side: float) -> Image.Image:
    image = _puffs(rng, size, colour, side, 11, (0.13, 0.1))
    trunk = Image.new("RGBA", image.size)
    bark = (78, 58, 46, 255)
    w, m = size * 0.05, size / 2
    draw = ImageDraw.Draw(trunk)
    draw.polygon(
        [(m - w * 1.3, size), (m - w * 0.8, size * 0.4), (m + w * 0.8, size * 0.4), (m + w * 1.3, size)], fill=bark
    )
    return Image.alpha_composite(trunk, image)


def _fir(rng: Rng, size: int, colour: Colour, side: float) -> Image.Image:
    image = Image.new("RGBA", (size, size), (*bytes_of(np.asarray(colour) * 0.7), 0))
    draw = ImageDraw.Draw(image)
    m = size / 2
    draw.rectangle((m - size * 0.03, size * 0.8, m + size * 0.03, size), fill=(70, 52, 44, 255))
    tiers = int(rng.integers(4, 6))
    for tier in range(tiers):
        top, foot = size * (0.66 - 0.66 * tier / tiers), size * (0.93 - 0.68 * tier / tiers)
        half = size * (0.3 - 0.19 * tier / tiers) * rng.uniform(0.92, 1.06)
        tone = np.asarray(colour) * (0.72 + 0.1 * tier)
        draw.polygon(
            [(m, top), (m - half, foot), (m, foot - size * 0.035), (m + half, foot)], fill=(*bytes_of(tone), 255)
        )
        edge = [(m, top), (m + side * half, foot), (m + side * half * 0.25, foot - size * 0.03)]
        draw.polygon(edge, fill=(*bytes_of(tone * 1.3), 255))
    return image


def _poplar(rng: Rng, size: int, colour: Colour, side: float) -> Image.Image:
    image = Image.new("RGBA", (size, size), (*bytes_of(np.asarray(colour) * 0.7), 0))
    draw = ImageDraw.Draw(image)
    m = size / 2
    draw.rectangle((m - size * 0.025, size * 0.8, m + size * 0.025, size), fill=(74, 58, 46, 255))
    for shift, r, gain in ((0, 0.14, 0.65), (0.025, 0.105, 0.9), (0.045, 0.06, 1.18)):
        x = m + side * shift * size
        box = (x - r * size, size * (0.02 + shift), x + r * size, size * (0.92 - shift * 3))
        draw.ellipse(box, fill=(*bytes_of(np.asarray(colour) * gain), 255))
    return image


def _palm(rng: Rng, size: int, colour: Colour, side: float) -> Image.Image:
    image = Image.new("RGBA", (size, size), (*bytes_of(np.asarray(colour) * 0.7), 0))
    draw = ImageDraw.Draw(image)
    lean = rng.uniform(0.08, 0.16) * rng.choice([-1, 1])
    t = np.linspace(0, 1, 8)
    stem = [(size * (0.5 + lean * (v * v - 0.6)), size * (1 - 0.66 * v)) for v in t]
    draw.line(stem, fill=(116, 88, 64, 255), width=max(int(size * 0.05), 2), joint="curve")
    hx, hy = stem[-1]
    for number, angle in enumerate(np.linspace(-2.9, -0.25, 8) + rng.normal(0, 0.08, 8)):
        reach = size * 0.33
        tip = (hx + reach * np.cos(angle) * 1.1, hy + reach * (np.sin(angle) * 0.55 + 0.28))
        bend = (hx + reach * 0.55 * np.cos(angle), hy + reach * (np.sin(angle) * 0.6 - 0.06))
        low = (bend[0], bend[1] + size * 0.09)
        tone = np.asarray(colour) * (0.75 + 0.3 * (number % 2) + 0.12 * side * np.cos(angle))
        draw.polygon([(hx, hy - size * 0.02), bend, tip, low, (hx, hy + size * 0.03)], fill=(*bytes_of(tone), 255))
    return image


KINDS = {"round": _round_tree, "fir": _fir, "poplar": _poplar, "palm": _palm}


def tree(
    canvas: Canvas, light: Light, rng: Rng, x: float, y: float, tall: float, depth: float, kind: str, colour: Colour
) -> None:
    """A tree `tall` of the canvas with its foot at (x, y): round, fir, poplar or palm."""
    size = max(int(tall * SIZE), 10)
    sprite = KINDS[kind](rng, size, colour, light.side)
    if kind in ("round", "poplar"):
        sprite = sprite.filter(ImageFilter.GaussianBlur(0.8))
    canvas.stamp(sprite, x, y, light, depth)


def grove(
    canvas: Canvas,
    light: Light,
    rng: Rng,
    line: np.ndarray,
    count: int,
    tall: float,
    depth: float,
    kind: str,
    colour: Colour,
) -> None:
    """A row of trees along a skyline, from edge to edge."""
    for x in np.sort(rng.uniform(-0.03, 1.03, count)):
        y = float(line[int(np.clip(x, 0, 0.999) * SIZE)])
        shade = np.asarray(colour) * rng.uniform(0.86, 1.14)
        tree(canvas, light, rng, float(x), y + 0.02, tall * float(rng.uniform(0.75, 1.2)), depth, kind, shade)


def bushes(
    canvas: Canvas, light: Light, rng: Rng, y: float, colour: Colour, count: int = 4, size: float = 0.14
) -> None:
    """Round shrubs, dark at the foot, at the edges of the foreground."""
    for _ in range(count):
        x = float(rng.choice([rng.uniform(-0.02, 0.25), rng.uniform(0.75, 1.02)]))
        crown = _puffs(rng, int(size * SIZE * rng.uniform(0.8, 1.4)), colour, light.side, 9, (0.16, 0.08))
        canvas.stamp(crown.filter(ImageFilter.GaussianBlur(0.8)), x, y + float(rng.uniform(0, 0.06)), light, 0.05)


def slab(
    canvas: Canvas,
    light: Light,
    points: list[tuple[float, float]],
    colour: Colour,
    depth: float = 0.0,
    lit: float = 0.0,
) -> None:
    """A flat polygon at a depth; `lit` is how much it shines by itself. Corners as fractions of the canvas."""
    xs, ys = [p[0] for p in points], [p[1] for p in points]
    left, top = int(np.floor(min(xs) * SIZE)), int(np.floor(min(ys) * SIZE))
    w, h = int(np.ceil(max(xs) * SIZE)) - left + 1, int(np.ceil(max(ys) * SIZE)) - top + 1
    image = Image.new("L", (w, h))
    ImageDraw.Draw(image).polygon([(x * SIZE - left, y * SIZE - top) for x, y in points], fill=255)
    r0, c0, r1, c1 = max(top, 0), max(left, 0), min(top + h, SIZE), min(left + w, SIZE)
    if r0 >= r1 or c0 >= c1:
        return
    mask = np.asarray(image, np.float32)[r0 - top : r1 - top, c0 - left : c1 - left, None] / 255
    part = canvas.rgb[r0:r1, c0:c1]
    part += (mix(light.shade(colour, depth), colour, lit) - part) * mask


def box(x0: float, y0: float, x1: float, y1: float) -> list[tuple[float, float]]:
    """The corners of an upright rectangle."""
    return [(x0, y0), (x1, y0), (x1, y1), (x0, y1)]


LAMP = rgb("ffd27a")


def window(
    canvas: Canvas, light: Light, x: float, y: float, w: float, h: float, depth: float, lit: float | None = None
) -> None:
    """A pane, dark by day and lamp yellow by night, its top left at (x, y)."""
    shine = light.night if lit is None else lit
    colour = mix(rgb("4a5668"), LAMP, shine)
    slab(canvas, light, box(x, y, x + w, y + h), colour, depth, 0.85 * shine)


def house(canvas: Canvas, light: Light, rng: Rng, x: float, y: float, tall: float, depth: float) -> None:
    """A gabled house with a lit and a shaded wall, roof, door, windows; its foot's middle at (x, y)."""
    wall = pick(rng, "e8d8bc", "d9c0a0", "e6e2d6", "c98f72", "b9c4c4", "dca890", "ead09a")
    roof = pick(rng, "a04f3c", "8a4434", "5c6474", "6f4f40", "b46a48", "4c5c68")
    side = light.side
    w, h, eave = tall * rng.uniform(0.5, 0.62), tall * 0.58, tall * 0.05
    face, flank = wall, wall * 0.72
    near, far = (x, x + side * w) if side > 0 else (x + side * w, x)
    slab(canvas, light, box(near, y - h, far, y), face, depth)
    other = (x - side * w * 0.75, x)
    slab(canvas, light, box(min(other), y - h, max(other), y), flank, depth)
    peak = (x + side * w / 2, y - tall)
    ridge_end = (x - side * w * 0.45, y - tall)
    slab(canvas, light, [(near, y - h), peak, (far, y - h)], face * 0.96, depth)
    slope = [peak, ridge_end, (x - side * (w * 0.75 + eave), y - h + eave), (x, y - h + eave)]
    slab(canvas, light, slope, roof * 0.92, depth)
    rake = [(x - side * eave, y - h + eave), peak, (x + side * (w + eave), y - h + eave), (x + side * w, y - h + eave)]
    slab(canvas, light, [*rake, (peak[0], peak[1] + eave * 2.2)], roof * 1.12, depth)
    pane = max(tall * 0.15, 0.024)
    window(canvas, light, x + side * w * 0.5 - pane / 2, y - h * 0.95, pane, pane * 1.15, depth)
    window(canvas, light, x - side * w * 0.38 - pane / 2, y - h * 0.72, pane, pane * 1.15, depth)
    door = w * 0.28
    slab(
        canvas,
        light,
        box(x + side * w * 0.5 - door / 2, y - h * 0.42, x + side * w * 0.5 + door / 2, y),
        roof * 0.6,
        depth,
    )


def hills(
    canvas: Canvas, light: Light, rng: Rng, horizon: float, colours: list[Colour], far: float = 0.85
) -> np.ndarray:
    """Soft hills, far to near, the last ending just below the horizon; returns the nearest line."""
    line = np.full(SIZE, horizon, np.float32)
    for number, colour in enumerate(colours):
        depth = far * (1 - number / max(len(colours), 1))
        swing = 0.11 * (1 - 0.35 * number)
        line = band(horizon + 0.012 + 0.05 * number, swing, ridge(rng, 0.15, int(rng.integers(2, 4))))
        land(canvas, light, rng, line.astype(np.float32), colour, depth)
    return line

"""Overlays that threaten or repel: fires and rifts, bare trees, a ghost, a shadow, slime and garbage."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from emoscene_mini.world1.brush import Brush, Shape, blob, halo, jitter, limb, oval, poly, resized, variants, wash
from emoscene_mini.world1.canvas import SIZE, Canvas, Light, mix, rgb, smooth
from emoscene_mini.world1.things.ground import places
from emoscene_mini.world1.things.heavens import X, Y


def _flame(b: Brush, rng: np.random.Generator) -> None:
    sway = float(rng.uniform(-0.1, 0.1))
    layers = [("d8260c", 1.0), ("ff6a12", 0.78), ("ffb428", 0.56), ("fff0a0", 0.32)]
    tongue = [
        (0, 0.02),
        (0.12, 0.3),
        (0.24, 0.42),
        (0.27, 0.2),
        (0.36, 0.62),
        (0.3, 0.88),
        (0, 1.0),
        (-0.3, 0.88),
        (-0.36, 0.6),
        (-0.25, 0.32),
        (-0.18, 0.46),
        (-0.1, 0.26),
    ]
    for code, k in layers:
        shape = [(x * k + sway * (1 - y) * (2 - k), 0.985 - (0.985 - y) * k) for x, y in tongue]
        b.part(rgb(code), blob(shape), volume=0, soft=0.012)


def flames(canvas: Canvas, light: Light, rng: np.random.Generator, amount: float, horizon: float) -> None:
    """Fires in four layers from red to pale yellow."""
    fires = list(places(rng, 4 + int(4 * amount), (0.16, 0.38), horizon, 0.05, 1.0))
    glow = np.zeros_like(X)
    for x, y, s in fires:
        glow = np.maximum(glow, np.clip(1 - np.hypot(X - x, Y - y + 0.4 * s) / (1.3 * s), 0, 1) ** 2)
    wash(canvas, glow * 0.65, (1, 0.3, 0.06), light=True)
    made = variants(lambda b: _flame(b, rng), 2, 0.36, 0.9, 1.0)
    for i, (x, y, s) in enumerate(fires):
        tongue = resized(made[i % 2], s)
        if rng.random() < 0.5:
            tongue = tongue.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        canvas.stamp(tongue, x, y + 0.01)


def cracks(canvas: Canvas, light: Light, rng: np.random.Generator, amount: float, horizon: float) -> None:
    """Rifts with fire below."""
    image = Image.new("L", (SIZE, SIZE))
    on = ImageDraw.Draw(image)
    for x, y, _ in places(rng, 3 + int(3 * amount), (1, 1), horizon, 0.2, 0.95):
        near = (y - horizon) / (1 - horizon)
        step, points = 16 + 30 * near, [(x * SIZE - (60 + 60 * near), y * SIZE)]
        for _ in range(5):
            px, py = points[-1]
            points.append((px + step * rng.uniform(0.6, 1.2), min(py + step * rng.uniform(-0.4, 0.4), SIZE)))
        on.line(points, 255, int(6 + 6 * near), joint="curve")
        fork = points[2]
        on.line([fork, (fork[0] + step * 0.5, fork[1] + step * 0.45)], 255, int(6 + 4 * near))
    on.rectangle((0, 0, SIZE, int(horizon * SIZE)), fill=0)
    small = image.resize((64, 64), Image.Resampling.BOX).filter(ImageFilter.GaussianBlur(2))
    wash(canvas, np.asarray(small, np.float32) / 255 * 0.9, rgb("40100a"))
    wash(canvas, np.asarray(small, np.float32) / 255 * (0.8 + 0.6 * amount), rgb("ff4a10"), light=True)
    core = np.asarray(image.filter(ImageFilter.GaussianBlur(1.2)), np.float32) / 255
    wash(canvas, core, mix(rgb("ff7a1a"), rgb("ffd860"), 0.5))


def _branch(
    rng: np.random.Generator, x: float, y: float, angle: float, length: float, width: float, depth: int
) -> list[Shape]:
    tip = (x + length * np.sin(angle), y - length * np.cos(angle))
    bend = ((x + tip[0]) / 2 + rng.uniform(-0.12, 0.12) * length, (y + tip[1]) / 2)
    shapes = [limb([(x, y), bend, tip], width, width * 0.62 if depth else 0.016)]
    if depth:
        for turn in (-1, 1):
            spread = turn * rng.uniform(0.35, 0.75)
            shapes += _branch(
                rng, *tip, angle + spread, length * rng.uniform(0.6, 0.78), max(width * 0.62, 0.03), depth - 1
            )
    return shapes


def bare_trees(canvas: Canvas, light: Light, rng: np.random.Generator, amount: float, horizon: float) -> None:
    """Leafless trees that reach over the picture's edge like claws."""
    bark = mix(rgb("2c2428"), light.haze, 0.12 + 0.2 * rng.random())
    sides = [0.06, 0.94] if rng.random() < 0.3 + 0.5 * amount else [float(rng.choice([0.12, 0.88]))]
    for x in sides:
        size = float(rng.uniform(0.62, 0.85))
        b = Brush(int(size * SIZE), 1.0, light.side)
        trunk = _branch(rng, 0, 1.0, 0.25 if x < 0.5 else -0.25, 0.38, 0.12, 3)
        b.part(bark, *trunk, volume=0.35)
        canvas.stamp(b.image(), x + float(rng.uniform(-0.05, 0.05)), float(rng.uniform(0.88, 1.0)), light, 0.0, 0.3)


def ghost(canvas: Canvas, light: Light, rng: np.random.Generator, amount: float, horizon: float) -> None:
    """A veil with hollow eyes, fading at the hem."""
    for x, y, s in places(rng, 1 + int(1.5 * amount), (0.26, 0.42), horizon, 0.25, 0.85):
        halo(canvas, x, y - 0.55 * s, 0.8 * s, rgb("b8d8e8"), 0.4)
        b = Brush(int(s * SIZE), 0.8, light.side)
        veil = [
            (0, 0.03),
            (0.2, 0.14),
            (0.25, 0.4),
            (0.31, 0.85),
            (0.2, 0.98),
            (0.1, 0.86),
            (0, 0.99),
            (-0.1, 0.86),
            (-0.2, 0.98),
            (-0.31, 0.85),
            (-0.25, 0.4),
            (-0.2, 0.14),
        ]
        arms = [limb([(k * 0.2, 0.42), (k * 0.34, 0.5)], 0.12, 0.09) for k in (-1, 1)]
        b.part(rgb("e4f0f4"), blob(veil), *arms, volume=0.6, to=rgb("8aa8b8"), opacity=0.88)
        b.part(
            (0.05, 0.07, 0.1),
            oval(-0.085, 0.25, 0.05, 0.075),
            oval(0.085, 0.25, 0.05, 0.075),
            oval(0, 0.42, 0.055, 0.09),
            volume=0,
        )
        pixels = b.image()
        fade = Image.fromarray(
            np.repeat((np.linspace(1.5, 0.25, b.height).clip(0, 1) * 255).astype(np.uint8)[:, None], b.width, 1)
        )
        pixels.putalpha(
            Image.fromarray((np.asarray(pixels.getchannel("A"), np.float32) * np.asarray(fade) / 255).astype(np.uint8))
        )
        canvas.stamp(pixels, x, y, light, 0.0, 0.75)


def shadow_figure(canvas: Canvas, light: Light, rng: np.random.Generator, amount: float, horizon: float) -> None:
    """A tall thin figure without a face, its long shadow towards us."""
    ink = np.array([0.03, 0.03, 0.05], np.float32)
    x, y, s = next(places(rng, 1, (0.34, 0.5), horizon, 0.15, 0.5))
    s *= 0.75 + 0.4 * amount
    wash(
        canvas,
        np.exp(-(((X - x) / (0.035 + 0.3 * np.clip(Y - y, 0, 1))) ** 2)) * smooth(y - 0.01, y + 0.03, Y) * 0.6,
        ink,
    )
    b = Brush(int(s * SIZE), 0.8)
    body = [(0, 0.17), (0.13, 0.22), (0.12, 0.5), (0.19, 0.96), (0, 0.99), (-0.19, 0.96), (-0.12, 0.5), (-0.13, 0.22)]
    arms = [limb([(k * 0.12, 0.25), (k * 0.2, 0.45), (k * 0.19, 0.66)], 0.06, 0.045) for k in (-1, 1)]
    b.part(ink, blob(body), oval(0, 0.1, 0.075, 0.095), *arms, volume=0)
    if rng.random() < 0.5:
        b.part(ink, oval(0, 0.06, 0.17, 0.03), blob([(-0.09, 0.06), (-0.07, 0.0), (0.07, 0.0), (0.09, 0.06)]), volume=0)
    canvas.stamp(b.image(), x, y)


def slime(canvas: Canvas, light: Light, rng: np.random.Generator, amount: float, horizon: float) -> None:
    """Green slime that drips from above or creeps in mounds."""
    goo = jitter(rng, rgb(str(rng.choice(["8ab82a", "a8b832", "6a9a3a", "9a8a2a"]))), 0.04)
    if rng.random() < 0.55:
        b = Brush(SIZE // 2, 2.0, light.side)
        count = 7 + int(3 * amount)
        drips: list[Shape] = [poly([(-1, -0.1), (1, -0.1), (1, 0.1), (-1, 0.1)])]
        for i in range(count):
            x = -1 + 2 * (i + rng.uniform(0.3, 0.7)) / count
            long, wide = rng.uniform(0.18, 0.25 + 0.5 * amount), rng.uniform(0.11, 0.2)
            drips += [limb([(x, 0.0), (x, long)], wide * 1.25, wide * 0.8), oval(x, long, wide * 0.5, wide * 0.62)]
        b.part(goo, *drips, volume=0.8, to=goo * 0.8)
        canvas.stamp(b.image(), 0.5, 0.5, light, 0.0, 0.3)
    for x, y, s in places(rng, 3 + int(3 * amount), (0.1, 0.24), horizon, 0.3, 1.0):
        b = Brush(int(s * SIZE), 1.7, light.side)
        b.part(
            goo,
            blob(
                [
                    (-0.82, 0.9),
                    (-0.66, 0.62),
                    (-0.4, 0.52),
                    (-0.22, 0.28),
                    (0.1, 0.24),
                    (0.3, 0.46),
                    (0.6, 0.56),
                    (0.82, 0.88),
                    (0.5, 0.98),
                    (-0.5, 0.98),
                ]
            ),
            volume=0.9,
            to=goo * 0.7,
        )
        b.part(
            goo * 0.5 + 0.5,
            oval(-0.08, 0.4, 0.12, 0.07, -0.3),
            oval(-0.48, 0.66, 0.08, 0.05),
            oval(0.45, 0.66, 0.07, 0.05),
            volume=0,
            soft=0.015,
            opacity=0.85,
        )
        canvas.stamp(b.image(), x, y, light, 0.0, 0.3)


def garbage(canvas: Canvas, light: Light, rng: np.random.Generator, amount: float, horizon: float) -> None:
    """Heaps of bulging tied sacks with a tin and peel before them."""

    def draw(b: Brush) -> None:
        for dx, w, top in ((-0.36, 0.38, 0.34), (0.36, 0.38, 0.26), (-0.02, 0.4, 0.44)):
            tone = jitter(rng, rgb(str(rng.choice(["4a5a44", "5a5a3e", "66505c", "3e4656"]))), 0.03)
            sack = [
                (dx - 0.8 * w, 0.96),
                (dx - w, 0.74),
                (dx - 0.6 * w, top + 0.2),
                (dx - 0.1, top + 0.1),
                (dx + 0.1, top + 0.1),
                (dx + 0.6 * w, top + 0.2),
                (dx + w, 0.74),
                (dx + 0.8 * w, 0.96),
            ]
            b.part(
                tone,
                poly(
                    [(dx - 0.04, top + 0.14), (dx - 0.11, top - 0.04), (dx + 0.11, top - 0.04), (dx + 0.04, top + 0.14)]
                ),
                volume=0.5,
            )
            b.part(tone, blob(sack), volume=0.95)
            b.part(rgb("c8a83a"), limb([(dx - 0.07, top + 0.09), (dx + 0.07, top + 0.09)], 0.06), volume=0.2)
        b.part(
            rgb("b8b8a8"),
            poly([(0.42, 0.7), (0.64, 0.7), (0.62, 0.97), (0.44, 0.97)]),
            oval(0.53, 0.7, 0.11, 0.04),
            volume=0.8,
        )
        b.part(rgb("a8382e"), limb([(0.45, 0.83), (0.61, 0.83)], 0.1), volume=0.4)
        b.part(rgb("b8a02a"), limb([(-0.62, 0.97), (-0.52, 0.84), (-0.36, 0.95)], 0.09, 0.05), volume=0.5)

    made = variants(draw, 1, 0.34, 1.6, light.side)[0]
    for x, y, s in places(rng, 2 + int(2 * amount), (0.2, 0.36), horizon, 0.25, 1.0):
        canvas.shadow(x, y - 0.02, 0.7 * s, light)
        canvas.stamp(resized(made, s), x, y, light)

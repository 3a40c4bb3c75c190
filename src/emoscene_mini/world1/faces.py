"""Faces: someone (skin, hair, age, glasses, hat) who wears an expression.

`head` paints on a `Brush` at any size, from the 30 pixels of a passer-by, where eyes are dots, to a portrait that fills
the frame; what the features do stands in `expressions`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image

from emoscene_mini.world.brush import Brush, blob, halo, jitter, limb, oval, poly
from emoscene_mini.world.canvas import SIZE, Canvas, Light, mix, rgb
from emoscene_mini.world1.expressions import EXPRESSIONS, features

__all__ = ["EXPRESSIONS", "Who", "face", "head", "portrait", "render_face", "someone"]

SKINS = [rgb(c) for c in ("f6d3b8", "eebb98", "dca07a", "c08558", "96603c", "6e4329", "f3c7a5")]
HAIRS = [rgb(c) for c in ("2a1c18", "4a2c1c", "7a4a26", "b5722e", "e2b45c", "a23c1e", "1c1a22")]
IRISES = [rgb(c) for c in ("3a2414", "5a3a1c", "2f5f8a", "3f7a4a", "4a3c6a")]
CLOTHES = [
    rgb(c) for c in ("c8433a", "2f6f9f", "e0a83a", "3f8a5a", "7a4a8a", "d8d0c0", "30405a", "e07a4a", "5aa0a8", "b85a7a")
]


@dataclass(frozen=True)
class Who:
    """Whom a face belongs to, whatever it expresses."""

    skin: np.ndarray
    hair: np.ndarray
    iris: np.ndarray
    clothes: np.ndarray
    accent: np.ndarray
    age: str  # "child", "grown" or "old"
    style: str  # hair: "short", "long", "bun", "curly", "bald"
    hat: str = ""  # "", "cap" or "brim"
    glasses: bool = False
    beard: bool = False
    slim: float = 1.0


def someone(rng: np.random.Generator, age: str | None = None) -> Who:
    """A person drawn at random; `age` is "child", "grown" or "old"."""
    age = age or str(rng.choice(["child", "grown", "grown", "old"]))
    style = str(rng.choice(["short", "short", "long", "long", "bun", "curly", "bald"]))
    if style == "bald" and age == "child":
        style = "curly"
    first, second = rng.choice(len(CLOTHES), 2, replace=False)
    grey = mix(rgb("c9c6c4"), rgb("eeeae4"), rng.random())
    hair = grey if age == "old" else jitter(rng, HAIRS[rng.integers(len(HAIRS))], 0.04)
    return Who(
        skin=jitter(rng, SKINS[rng.integers(len(SKINS))], 0.025),
        hair=hair,
        iris=IRISES[rng.integers(len(IRISES))],
        clothes=jitter(rng, CLOTHES[first]),
        accent=jitter(rng, CLOTHES[second]),
        age=age,
        style=style,
        hat=str(rng.choice(["", "", "", "cap", "brim"])),
        glasses=bool(rng.random() < (0.45 if age == "old" else 0.14)),
        beard=bool(age != "child" and style in ("short", "bald") and rng.random() < 0.45),
        slim=float(rng.uniform(0.9, 1.04)),
    )


def _back_hair(b: Brush, who: Who, x: float, y: float, r: float) -> None:
    if who.style == "long":
        outline = [
            (0, -1.12),
            (0.85, -0.8),
            (1.08, 0),
            (1.12, 0.95),
            (0.7, 1.35),
            (0, 1.2),
            (-0.7, 1.35),
            (-1.12, 0.95),
            (-1.08, 0),
            (-0.85, -0.8),
        ]
        b.part(who.hair, blob([(x + px * r, y + py * r) for px, py in outline]), volume=0.5, to=who.hair * 0.7)
    elif who.style == "bun":
        b.part(who.hair, oval(x, y - 1.15 * r, 0.42 * r), volume=0.7)
    elif who.style == "curly":
        angles = np.linspace(-2.9, -0.25, 8)
        curls = [oval(x + 0.95 * r * np.cos(a), y + 0.95 * r * np.sin(a) - 0.02 * r, 0.38 * r) for a in angles]
        b.part(who.hair, *curls, volume=0.6)


def _front_hair(b: Brush, who: Who, x: float, y: float, r: float) -> None:
    s = b.light_from
    if who.style == "bald":
        b.part(
            who.hair, *(oval(x + k * 0.93 * r * who.slim, y - 0.1 * r, 0.12 * r, 0.3 * r) for k in (-1, 1)), volume=0.4
        )
    elif who.style in ("short", "long", "bun"):
        low = -0.22 if who.style == "short" else 0.12
        fringe = [
            (-1.0, low),
            (-1.02, -0.5),
            (-0.7, -0.98),
            (0, -1.16),
            (0.7, -0.98),
            (1.02, -0.5),
            (1.0, low),
            (0.88, -0.32),
            (0.62, -0.58),
            (0.3 * s, -0.68),
            (-0.35 * s, -0.55),
            (-0.7, -0.52),
            (-0.88, -0.32),
        ]
        b.part(who.hair, blob([(x + px * r * who.slim, y + py * r) for px, py in fringe]), volume=0.6)
    else:
        tufts = [
            oval(x + d * r, y - 0.86 * r + 0.12 * abs(d) * r, 0.32 * r, 0.28 * r) for d in (-0.62, -0.2, 0.22, 0.63)
        ]
        b.part(who.hair, *tufts, volume=0.6)


def _hat(b: Brush, who: Who, x: float, y: float, r: float) -> None:
    if who.hat == "cap":
        dome = [(-1.04, -0.42), (-0.95, -0.95), (0, -1.34), (0.95, -0.95), (1.04, -0.42), (0, -0.6)]
        b.part(who.accent, blob([(x + px * r, y + py * r) for px, py in dome]), volume=0.6)
        b.part(
            who.accent * 0.75,
            limb([(x - 0.85 * r, y - 0.48 * r), (x, y - 0.6 * r), (x + 0.85 * r, y - 0.48 * r)], 0.2 * r),
            volume=0.4,
        )
    elif who.hat == "brim":
        b.part(
            who.accent,
            blob(
                [
                    (x + px * r, y + py * r)
                    for px, py in [(-0.8, -0.55), (-0.62, -1.3), (0, -1.42), (0.62, -1.3), (0.8, -0.55)]
                ]
            ),
            volume=0.6,
        )
        b.part(who.accent * 0.85, oval(x, y - 0.62 * r, 1.4 * r, 0.2 * r), volume=0.5)


def head(
    b: Brush, who: Who, x: float, y: float, r: float, expression: str, intensity: float = 1.0, look: float = 0.0
) -> None:
    """A whole head of radius `r` with its hair, face, glasses and hat."""
    _back_hair(b, who, x, y, r)
    fine = r * b.height > 24
    w = r * who.slim
    b.part(who.skin, *(oval(x + s * 0.97 * w, y + 0.08 * r, 0.17 * r, 0.24 * r) for s in (-1, 1)), volume=0.4)
    _skull(b, who, x, y, r)
    if who.age == "old" and fine:
        crease = mix(who.skin, (0.4, 0.2, 0.15), 0.28)
        b.part(
            crease,
            *(limb([(x + s * 0.34 * r, y + 0.28 * r), (x + s * 0.48 * r, y + 0.52 * r)], 0.05 * r) for s in (-1, 1)),
            volume=0,
            soft=0.01,
        )
    brow = mix(who.hair, (0.12, 0.07, 0.05), 0.2 if who.age == "old" else 0.45)
    features(b, x, y, r, expression, intensity, who.skin, who.iris, brow, look)
    _front_hair(b, who, x, y, r)
    if who.glasses and fine:
        _glasses(b, x, y, r, look)
    _hat(b, who, x, y, r)


def _skull(b: Brush, who: Who, x: float, y: float, r: float) -> None:
    long, w = 1.12 if who.age == "child" else 1.2, r * who.slim
    egg = [
        (0, -1.02),
        (0.72, -0.75),
        (0.98, -0.05),
        (0.8, 0.66),
        (0.36, 1.02 * long / 1.12),
        (-0.36, 1.02 * long / 1.12),
        (-0.8, 0.66),
        (-0.98, -0.05),
        (-0.72, -0.75),
    ]
    b.part(who.skin, blob([(x + px * w, y + py * r) for px, py in egg]), volume=0.55)
    if who.beard:
        beard = [
            (-0.93, 0.1),
            (-0.78, 0.72),
            (-0.3, 1.2),
            (0.3, 1.2),
            (0.78, 0.72),
            (0.93, 0.1),
            (0.6, 0.32),
            (0.3, 0.3),
            (-0.3, 0.3),
            (-0.6, 0.32),
        ]
        b.part(who.hair, blob([(x + px * w, y + py * r) for px, py in beard]), volume=0.4)


def _glasses(b: Brush, x: float, y: float, r: float, look: float) -> None:
    ring = [oval(x + (s * 0.38 + look) * r, y + 0.02 * r, 0.32 * r, 0.3 * r) for s in (-1, 1)]
    b.part((0.75, 0.88, 0.95), *ring, volume=0.3, opacity=0.22)
    for s in (-1, 1):
        t = np.linspace(0, 2 * np.pi, 15)
        cx = x + (s * 0.38 + look) * r
        b.part(
            (0.15, 0.12, 0.14),
            limb(
                list(
                    zip(
                        (cx + 0.32 * r * np.cos(t)).tolist(),
                        (y + 0.02 * r + 0.3 * r * np.sin(t)).tolist(),
                        strict=True,
                    )
                ),
                0.055 * r,
            ),
            volume=0,
        )


def _bust(b: Brush, who: Who, x: float, y: float, r: float) -> None:
    neck = who.skin * 0.86
    sag = 0.0 if who.age != "child" else 0.06
    coat = [
        (-1.9, 3.2),
        (-1.75, 2.05),
        (-1.1, 1.55),
        (-0.42, 1.38),
        (0.42, 1.38),
        (1.1, 1.55),
        (1.75, 2.05),
        (1.9, 3.2),
    ]
    b.part(
        who.clothes,
        blob([(x + px * r * (1 - 2 * sag), y + py * r) for px, py in coat]),
        volume=0.6,
        to=who.clothes * 0.7,
    )
    b.part(
        neck,
        poly(
            [
                (x - 0.36 * r, y + 0.8 * r),
                (x + 0.36 * r, y + 0.8 * r),
                (x + 0.46 * r, y + 1.5 * r),
                (x, y + 1.85 * r),
                (x - 0.46 * r, y + 1.5 * r),
            ]
        ),
        volume=0.3,
        to=who.skin,
    )
    collar = limb([(x - 0.52 * r, y + 1.42 * r), (x, y + 1.95 * r), (x + 0.52 * r, y + 1.42 * r)], 0.2 * r)
    b.part(who.accent, collar, volume=0.4)


def face(
    rng: np.random.Generator,
    expression: str,
    size: int,
    intensity: float = 1.0,
    light_from: float = -1.0,
    age: str | None = None,
) -> Image.Image:
    """Head and shoulders of someone, RGBA, `size` pixels a side, cut off by the lower edge."""
    b = Brush(size, 1.2, light_from)
    who = someone(rng, age)
    turn = float(rng.uniform(-0.07, 0.07))
    droop = 0.05 * intensity if expression == "sadness" else 0.0
    _bust(b, who, 0.0, 0.42, 0.29)
    head(b, who, 0.4 * turn, 0.42 + droop, 0.29, expression, intensity, turn)
    return b.image(float(rng.uniform(-4, 4)))


def portrait(canvas: Canvas, light: Light, rng: np.random.Generator, expression: str, intensity: float = 1.0) -> None:
    """Someone's head and shoulders, large, before whatever the canvas holds."""
    for _ in range(4):
        x, y, size = rng.random(), rng.uniform(0.05, 0.75), rng.uniform(0.16, 0.34)
        halo(canvas, float(x), float(y), float(size), light.shade(mix(light.sun, light.horizon, rng.random())), 0.3)
    sprite = face(rng, expression, int(SIZE * rng.uniform(0.86, 1.04)), intensity, light.side)
    soft = light.with_(ambient=mix(light.ambient, (1.0, 1.0, 1.0), 0.25))
    canvas.stamp(sprite, 0.5 + float(rng.uniform(-0.06, 0.06)), 1.05, soft)


def render_face(seed: int, expression: str, size: int = 100) -> Image.Image:
    """A cropped, aligned face that fills the frame, as in a data set of faces."""
    rng = np.random.default_rng([seed, list(EXPRESSIONS).index(expression), 7])
    tone = rng.random(3).astype(np.float32) * 0.6 + 0.2
    wall = mix(tone, tone * rng.uniform(0.4, 1.3), np.linspace(0, 1, 200, dtype=np.float32)[:, None, None])
    b = Brush(200, 1.0, float(rng.choice([-1, 1])))
    who = someone(rng)
    turn = float(rng.uniform(-0.1, 0.1))
    r = float(rng.uniform(0.37, 0.41))
    _bust(b, who, 0, 0.5, r)
    head(b, who, 0.3 * turn, 0.5 + float(rng.uniform(-0.02, 0.02)), r, expression, float(rng.uniform(0.55, 1.1)), turn)
    sprite = np.asarray(b.image(float(rng.uniform(-3, 3))), np.float32) / 255
    picture = mix(wall, sprite[..., :3], sprite[..., 3:])
    tint = rng.uniform(0.75, 1.1) * (1 + rng.uniform(-0.08, 0.08, 3).astype(np.float32))
    picture = np.clip(picture * tint, 0, 1)
    return Image.fromarray((picture * 255).astype(np.uint8)).resize((size, size), Image.Resampling.LANCZOS)

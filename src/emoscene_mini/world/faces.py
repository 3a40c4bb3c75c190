"""Faces: characters (skin, hair, age, glasses, hat) with a facial expression.

`draw_head` works at any size, from a passer-by's head of 30 canvas pixels, where eyes are dots, to a portrait that
fills the frame. Hair, hat and beard leave brows, eyes and mouth free. `expressions` says what the features do.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image

from emoscene_mini.world.brush import Brush, Points, Shape, blob, bow, halo, jitter, limb, oval, poly
from emoscene_mini.world.canvas import SIZE, Canvas, Light, mix, rgb
from emoscene_mini.world.expressions import EXPRESSIONS, FINE, draw_features

__all__ = ["EXPRESSIONS", "Character", "draw_head", "face", "portrait", "render_face", "sample_character"]

SKINS = [rgb(code) for code in ("f6d3b8", "eebb98", "dca07a", "c08558", "a06a46", "80523a", "f3c7a5")]
HAIRS = [rgb(code) for code in ("2a1c18", "4a2c1c", "7a4a26", "b5722e", "e2b45c", "a23c1e", "1c1a22")]
IRISES = [rgb(code) for code in ("3a2414", "5a3a1c", "2f5f8a", "3f7a4a", "4a3c6a")]
CLOTHES = [
    rgb(code)
    for code in (
        "c8433a", "2f6f9f", "e0a83a", "3f8a5a", "7a4a8a", "d8d0c0", "30405a", "e07a4a", "5aa0a8", "b85a7a",
    )
]  # fmt: skip

# Outlines in head radii about the head's middle, x to the right and y down.
_LONG_HAIR = (
    (0, -1.12), (0.85, -0.8), (1.1, 0), (1.16, 0.95), (0.7, 1.35), (0, 1.2), (-0.7, 1.35), (-1.16, 0.95), (-1.1, 0),
    (-0.85, -0.8),
)  # fmt: skip
_SKULL = (
    (0, -1.02), (0.72, -0.75), (0.98, -0.05), (0.8, 0.66), (0.36, 1.05), (-0.36, 1.05), (-0.8, 0.66), (-0.98, -0.05),
    (-0.72, -0.75),
)  # fmt: skip
_BEARD = (
    (-0.95, 0.1), (-0.84, 0.75), (-0.36, 1.26), (0.36, 1.26), (0.84, 0.75), (0.95, 0.1), (0.76, 0.5), (0.42, 0.94),
    (-0.42, 0.94), (-0.76, 0.5),
)  # fmt: skip
_CAP = ((-1.04, -0.6), (-0.95, -1.05), (0, -1.42), (0.95, -1.05), (1.04, -0.6), (0, -0.76))
_CROWN = ((-0.8, -0.68), (-0.62, -1.38), (0, -1.48), (0.62, -1.38), (0.8, -0.68))
_COAT = (
    (-1.9, 3.2), (-1.75, 2.05), (-1.1, 1.55), (-0.42, 1.38), (0.42, 1.38), (1.1, 1.55), (1.75, 2.05), (1.9, 3.2),
)  # fmt: skip
_NECK = ((-0.36, 0.8), (0.36, 0.8), (0.46, 1.5), (0, 1.85), (-0.46, 1.5))


@dataclass(frozen=True)
class Character:
    """What stays the same about a person, whatever the expression.

    Args:
        skin: Colour of the skin.
        hair: Colour of the hair.
        iris: Colour of the irises.
        clothes: Colour of the upper clothes.
        accent: Colour of hat, collar and trousers.
        age: "child", "grown" or "old".
        style: Hair: "short", "long", "bun", "curly" or "bald".
        hat: "", "cap" or "brim".
        glasses: Whether there are glasses, seen on large heads alone.
        beard: Whether there is a beard.
        slim: Width of the head relative to its height, about 1.
    """

    skin: np.ndarray
    hair: np.ndarray
    iris: np.ndarray
    clothes: np.ndarray
    accent: np.ndarray
    age: str
    style: str
    hat: str = ""
    glasses: bool = False
    beard: bool = False
    slim: float = 1.0


def sample_character(rng: np.random.Generator, age: str | None = None) -> Character:
    """Sample a person.

    Args:
        rng: The source of randomness.
        age: "child", "grown" or "old"; sampled too where it is None.
    """
    age = age or str(rng.choice(["child", "grown", "grown", "old"]))
    style = str(rng.choice(["short", "short", "long", "long", "bun", "curly", "bald"]))
    if style == "bald" and age == "child":
        style = "curly"
    first, second = rng.choice(len(CLOTHES), 2, replace=False)
    grey = mix(rgb("c9c6c4"), rgb("eeeae4"), rng.random())
    hair = jitter(rng, HAIRS[rng.integers(len(HAIRS))], 0.04)
    skin = jitter(rng, SKINS[rng.integers(len(SKINS))], 0.025)
    return Character(
        skin=skin,
        hair=grey if age == "old" else hair,
        iris=IRISES[rng.integers(len(IRISES))],
        clothes=_contrast_clothes(jitter(rng, CLOTHES[first]), skin),
        accent=jitter(rng, CLOTHES[second]),
        age=age,
        style=style,
        hat=str(rng.choice(["", "", "", "cap", "brim"])),
        glasses=bool(rng.random() < (0.45 if age == "old" else 0.14)),
        beard=bool(age != "child" and style in ("short", "bald") and rng.random() < 0.45),
        slim=float(rng.uniform(0.92, 1.04)),
    )


def _contrast_clothes(clothes: np.ndarray, skin: np.ndarray) -> np.ndarray:
    """Clothes as bright as the skin become brighter or darker, so that face and hands stand out in grey."""
    if abs(float(clothes.mean() - skin.mean())) > 0.15:
        return clothes
    if skin.mean() < 0.5:
        return mix(clothes, (1.0, 1.0, 1.0), 0.45)
    return clothes * 0.6


def _place(outline: Points, x: float, y: float, r: float, slim: float = 1.0) -> list[tuple[float, float]]:
    """An outline in head radii, moved to a head."""
    return [(x + px * r * slim, y + py * r) for px, py in outline]


def draw_head(
    b: Brush,
    person: Character,
    x: float,
    y: float,
    r: float,
    expression: str,
    intensity: float = 1.0,
    look: tuple[float, float] = (0.0, 0.0),
) -> None:
    """Draw a whole head with hair, face, glasses and hat.

    Args:
        b: The brush; lengths are in units of its height.
        person: Whose head it is.
        x: The head's middle.
        y: The head's middle, downwards.
        r: The head's radius; hair and hat reach to 1.6 radii above the middle.
        expression: A name of `EXPRESSIONS`.
        intensity: 0 for a face at rest to 1 for the full expression, at most 1.2.
        look: How far the features are turned to the right and down, in radii.
    """
    fine = r * b.height >= FINE
    w = r * person.slim
    _draw_back_hair(b, person, x, y, r)
    ears = [oval(x + side * 0.97 * w, y + 0.08 * r, 0.17 * r, 0.24 * r) for side in (-1, 1)]
    b.part(person.skin, *ears, volume=0.4)
    b.part(person.skin, blob(_place(_SKULL, x, y, r, person.slim)), volume=0.45)
    if person.beard:
        b.part(person.hair, blob(_place(_BEARD, x, y, r, person.slim)), volume=0.4)
    if person.age == "old" and fine:
        _draw_creases(b, person, x, y, r)
    _draw_front_hair(b, person, x, y, r)
    _draw_hat(b, person, x, y, r)
    brow = mix(person.hair, (0.12, 0.07, 0.05), 0.6)
    draw_features(b, x, y + 0.07 * r, r, expression, intensity, person.skin, person.iris, brow, look)
    if person.glasses and fine:
        _draw_glasses(b, x + look[0] * r, y + (0.07 + look[1]) * r, r)


def _draw_back_hair(b: Brush, person: Character, x: float, y: float, r: float) -> None:
    if person.style == "long":
        b.part(person.hair, blob(_place(_LONG_HAIR, x, y, r)), volume=0.5, to=person.hair * 0.7)
    elif person.style == "bun":
        b.part(person.hair, oval(x, y - 1.15 * r, 0.42 * r), volume=0.7)
    elif person.style == "curly":
        angles = np.linspace(-2.9, -0.25, 8)
        curls = [oval(x + 0.95 * r * np.cos(a), y + 0.95 * r * np.sin(a) - 0.02 * r, 0.36 * r) for a in angles]
        b.part(person.hair, *curls, volume=0.6)


def _draw_front_hair(b: Brush, person: Character, x: float, y: float, r: float) -> None:
    if person.style == "bald":
        sides = [oval(x + side * 0.95 * r * person.slim, y - 0.1 * r, 0.11 * r, 0.3 * r) for side in (-1, 1)]
        b.part(person.hair, *sides, volume=0.4)
        return
    if person.style == "curly":
        tufts = [oval(x + d * r, y - (0.94 - 0.14 * abs(d)) * r, 0.32 * r, 0.25 * r) for d in (-0.62, -0.2, 0.22, 0.63)]
        b.part(person.hair, *tufts, volume=0.6)
        return
    low = -0.22 if person.style == "short" else 0.12
    part = 0.3 * b.light_from
    fringe = (
        (-1.0, low), (-1.02, -0.5), (-0.7, -0.98), (0, -1.16), (0.7, -0.98), (1.02, -0.5), (1.0, low), (0.92, -0.4),
        (0.66, -0.7), (part, -0.82), (-1.1 * part, -0.74), (-0.72, -0.66), (-0.92, -0.4),
    )  # fmt: skip
    b.part(person.hair, blob(_place(fringe, x, y, r, person.slim)), volume=0.6)


def _draw_hat(b: Brush, person: Character, x: float, y: float, r: float) -> None:
    if person.hat == "cap":
        b.part(person.accent, blob(_place(_CAP, x, y, r)), volume=0.6)
        shade = ((-0.85, -0.66), (0, -0.78), (0.85, -0.66))
        b.part(person.accent * 0.75, limb(_place(shade, x, y, r), 0.2 * r), volume=0.4)
    elif person.hat == "brim":
        b.part(person.accent, blob(_place(_CROWN, x, y, r)), volume=0.6)
        b.part(person.accent * 0.85, oval(x, y - 0.76 * r, 1.3 * r, 0.17 * r), volume=0.5)


def _draw_creases(b: Brush, person: Character, x: float, y: float, r: float) -> None:
    """The folds beside an old person's mouth."""
    colour = mix(person.skin, (0.4, 0.2, 0.15), 0.28)
    folds = [_place(((side * 0.4, 0.3), (side * 0.6, 0.52)), x, y, r) for side in (-1, 1)]
    b.part(colour, *(limb(fold, 0.05 * r) for fold in folds), volume=0, soft=0.01)


def _draw_glasses(b: Brush, x: float, y: float, r: float) -> None:
    middles = (x - 0.39 * r, x + 0.39 * r)
    b.part((0.75, 0.88, 0.95), *(oval(cx, y, 0.33 * r, 0.31 * r) for cx in middles), volume=0.3, opacity=0.2)
    rims: list[Shape] = [bow(x, y, 0.08 * r, -0.03 * r, 0.055 * r)]
    angles = np.linspace(0, 2 * np.pi, 15)
    for cx in middles:
        around = zip((cx + 0.33 * r * np.cos(angles)).tolist(), (y + 0.31 * r * np.sin(angles)).tolist(), strict=True)
        rims.append(limb(list(around), 0.055 * r))
    b.part((0.15, 0.12, 0.14), *rims, volume=0)


def _draw_bust(b: Brush, person: Character, x: float, y: float, r: float) -> None:
    """Neck and shoulders below a head, cut off by the brush's lower edge."""
    slim = 0.88 if person.age == "child" else 1.0
    b.part(person.clothes, blob(_place(_COAT, x, y, r, slim)), volume=0.6, to=person.clothes * 0.7)
    b.part(person.skin * 0.86, poly(_place(_NECK, x, y, r)), volume=0.3, to=person.skin)
    collar = ((-0.52, 1.42), (0, 1.95), (0.52, 1.42))
    b.part(person.accent, limb(_place(collar, x, y, r), 0.2 * r), volume=0.4)


def face(
    rng: np.random.Generator,
    expression: str,
    size: int,
    intensity: float = 1.0,
    light_from: float = -1.0,
    age: str | None = None,
) -> Image.Image:
    """Draw a random character's head and shoulders.

    Args:
        rng: The source of randomness.
        expression: A name of `EXPRESSIONS`.
        size: Height in canvas pixels; the head is .64 of it wide.
        intensity: 0 for a face at rest to 1 for the full expression, at most 1.2.
        light_from: -1 for light from the left, 1 from the right.
        age: "child", "grown" or "old"; sampled where it is None.

    Returns:
        The sprite, RGBA, 1.2 times as wide as high, cut off by its lower edge.
    """
    b = Brush(size, 1.2, light_from)
    person = sample_character(rng, age)
    turn = float(rng.uniform(-0.07, 0.07))
    droop = 0.04 * intensity if expression == "sadness" else 0.0
    _draw_bust(b, person, 0.0, 0.5, 0.32)
    draw_head(b, person, 0.4 * turn, 0.5 + droop, 0.32, expression, intensity, (turn, 0.0))
    return b.image(float(rng.uniform(-4, 4)))


def portrait(canvas: Canvas, light: Light, rng: np.random.Generator, expression: str, intensity: float = 1.0) -> None:
    """Draw a random character's head and shoulders, large, in front of what the canvas holds.

    Args:
        canvas: Where it is drawn.
        light: The image's light.
        rng: The source of randomness.
        expression: A name of `EXPRESSIONS`.
        intensity: 0 for a face at rest to 1 for the full expression.
    """
    for _ in range(4):
        x, y, size = rng.random(), rng.uniform(0.05, 0.75), rng.uniform(0.16, 0.34)
        halo(canvas, float(x), float(y), float(size), light.shade(mix(light.sun, light.horizon, rng.random())), 0.3)
    sprite = face(rng, expression, int(SIZE * rng.uniform(0.92, 1.08)), intensity, light.side)
    soft = light.with_(ambient=mix(light.ambient, (1.0, 1.0, 1.0), 0.3))
    canvas.stamp(sprite, 0.5 + float(rng.uniform(-0.05, 0.05)), 1.05, soft)


def render_face(seed: int, expression: str, size: int = 100) -> Image.Image:
    """Render a cropped, aligned face that fills the image, as in RAF-DB.

    Args:
        seed: Decides character, wall, light and the expression's intensity in [.55, 1.1].
        expression: A name of `EXPRESSIONS`.
        size: Pixels a side.
    """
    rng = np.random.default_rng([seed, list(EXPRESSIONS).index(expression), 7])
    tone = rng.random(3).astype(np.float32) * 0.6 + 0.2
    wall = mix(tone, tone * rng.uniform(0.4, 1.3), np.linspace(0, 1, 200, dtype=np.float32)[:, None, None])
    b = Brush(200, 1.0, float(rng.choice([-1, 1])))
    person = sample_character(rng)
    turn = float(rng.uniform(-0.1, 0.1))
    r = float(rng.uniform(0.37, 0.41))
    _draw_bust(b, person, 0, 0.5, r)
    y = 0.5 + float(rng.uniform(-0.02, 0.02))
    draw_head(b, person, 0.3 * turn, y, r, expression, float(rng.uniform(0.55, 1.1)), (turn, 0.0))
    sprite = np.asarray(b.image(float(rng.uniform(-3, 3))), np.float32) / 255
    pixels = mix(wall, sprite[..., :3], sprite[..., 3:])
    tint = rng.uniform(0.75, 1.1) * (1 + rng.uniform(-0.08, 0.08, 3).astype(np.float32))
    pixels = np.clip(pixels * tint, 0, 1)
    return Image.fromarray((pixels * 255).astype(np.uint8)).resize((size, size), Image.Resampling.LANCZOS)

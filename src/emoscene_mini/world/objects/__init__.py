"""Objects that stand in a scene, each a sprite with volume: their names, sizes and poses.

`sprite` draws them all. Living ones (`LIVING`) show a pose and an expression; the others only lean.

    people       person and child, on stances
    animals      dog, cat, horse and bird; `bearings` moves four legs, `profiles` the heads seen from the side
    belongings   everything else
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from PIL import Image, ImageFilter

from emoscene_mini.world.brush import Brush
from emoscene_mini.world.objects import animals, belongings, people

OBJECTS: dict[str, str] = {
    "person": "a person",
    "child": "a child",
    "dog": "a dog",
    "cat": "a cat",
    "horse": "a horse",
    "bird": "a big bird",
    "bicycle": "a bicycle",
    "car": "a car",
    "bench": "a bench",
    "tent": "a tent",
    "statue": "a statue",
    "lantern": "a street lamp",
    "boat": "a boat",
    "parasol": "a parasol",
    "chair": "a chair",
}
LIVING = ("person", "child", "dog", "cat", "horse", "bird")

POSES: dict[str, str] = {
    "standing": "standing",
    "jumping": "jumping",
    "gazing": "looking up",
    "resting": "resting",
    "charging": "leaning forward",
    "recoiling": "turning away",
    "crouching": "crouching",
    "slumped": "with a bowed head",
}
POSE_EXPRESSION: dict[str, str] = {
    "standing": "neutral",
    "jumping": "happiness",
    "gazing": "surprise",
    "resting": "happiness",
    "charging": "anger",
    "recoiling": "disgust",
    "crouching": "fear",
    "slumped": "sadness",
}
"""The expression that goes with a pose where none is asked for."""

TALL: dict[str, float] = {
    "person": 1.12, "child": 0.9, "dog": 0.7, "cat": 0.62, "horse": 1.12, "bird": 0.62, "bicycle": 0.72, "car": 0.72,
    "bench": 0.62, "tent": 0.95, "statue": 1.25, "lantern": 1.5, "boat": 1.05, "parasol": 1.15, "chair": 0.75,
}  # fmt: skip
"""Heights that look right side by side, relative to a person's."""

ASPECT = {
    "person": 1.3,
    "child": 1.3,
    "dog": 1.35,
    "cat": 1.25,
    "horse": 1.35,
    "bird": 1.35,
    "bicycle": 1.4,
    "car": 1.5,
    "bench": 1.7,
    "tent": 1.5,
    "boat": 1.15,
    "parasol": 1.1,
}
"""Widths over heights of sprites that are not square."""

LEAN = {"jumping": 7.0, "charging": -8.0, "recoiling": 6.0, "slumped": -5.0, "crouching": 4.0}
"""Degrees by which a pose tips a lifeless object, positive to the left."""

RIM = 0.014  # width of a sprite's edge, relative to its height
DARK_RIM, LIGHT_RIM = (44, 34, 40), (246, 240, 226)

Painter = Callable[[Brush, np.random.Generator, str, str, float], None]


def _collect_painters() -> dict[str, Painter]:
    """The function that draws an object bears its name, in one of the three modules."""
    painters: dict[str, Painter] = {}
    for module in (people, animals, belongings):
        for name in OBJECTS:
            if hasattr(module, name):
                painters[name] = getattr(module, name)
    return painters


PAINTERS = _collect_painters()


def sprite(
    name: str,
    rng: np.random.Generator,
    height: int,
    pose: str = "standing",
    light_from: float = -1.0,
    expression: str | None = None,
    night: float = 0.0,
) -> Image.Image:
    """Draw an object, at random turned to the left or to the right.

    Args:
        name: A name of `OBJECTS`.
        rng: The source of randomness.
        height: Height of the sprite in canvas pixels. A standing figure fills it; one that crouches is lower.
        pose: A name of `POSES`.
        light_from: -1 for light from the left, 1 from the right.
        expression: A name of `EXPRESSIONS`; the pose's own where it is None.
        night: 0 by day to 1 by night, when lamps and windows are lit.

    Returns:
        The sprite, RGBA, standing on its lower edge, `ASPECT` times as wide as high.
    """
    flip = bool(rng.random() < 0.5)
    b = Brush(height, ASPECT.get(name, 1.0), -light_from if flip else light_from)
    PAINTERS[name](b, rng, pose, expression or POSE_EXPRESSION[pose], float(night))
    turn = 0.0
    if name not in LIVING:
        turn = float(rng.uniform(0.5, 1.0)) * LEAN.get(pose, 0.0)
    image = b.image(turn)
    image = _add_rim(image, night)
    if flip:
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    return image


def _add_rim(image: Image.Image, night: float) -> Image.Image:
    """Put a thin edge around a sprite that differs from it in brightness.

    Either the sprite or its edge then differs from whatever is behind, fog and darkness included.
    """
    alpha = image.getchannel("A")
    pixels = np.asarray(image.convert("RGB"), np.float32)[np.asarray(alpha) > 128]
    brightness = float(pixels.mean()) / 255 if len(pixels) else 0.5
    colour = DARK_RIM
    if night > 0.4 or brightness < 0.36:
        colour = LIGHT_RIM
    reach = 2 * max(1, round(RIM * image.height)) + 1
    wide = alpha.filter(ImageFilter.MaxFilter(reach)).filter(ImageFilter.GaussianBlur(0.8))
    rim = Image.new("RGBA", image.size, (*colour, 0))
    rim.putalpha(wide)
    rim.alpha_composite(image)
    return rim

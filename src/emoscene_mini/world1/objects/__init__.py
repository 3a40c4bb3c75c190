"""Things that stand in a scene, each a sprite with volume: what they are called, how they hold themselves.

`sprite` is the only door. Living things (`LIVING`) show a pose and a face; the others take part in it by a lean alone.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from PIL import Image

from emoscene_mini.world.brush import Brush
from emoscene_mini.world1.objects import animals, belongings, people

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
"""The face that goes with a pose when none is asked for."""

TALL: dict[str, float] = {
    "person": 1.12, "child": 0.9, "dog": 0.7, "cat": 0.62, "horse": 1.12, "bird": 0.62, "bicycle": 0.72, "car": 0.72,
    "bench": 0.62, "tent": 0.95, "statue": 1.25, "lantern": 1.5, "boat": 1.05, "parasol": 1.15, "chair": 0.75,
}  # fmt: skip
"""Heights that look right side by side, relative to a person's."""

ASPECT = {
    "dog": 1.1,
    "cat": 1.1,
    "horse": 1.3,
    "bicycle": 1.4,
    "car": 1.5,
    "bench": 1.7,
    "tent": 1.5,
    "boat": 1.15,
    "parasol": 1.1,
}
"""Widths over heights of sprites that are not square."""

LEAN = {"jumping": 7.0, "charging": -8.0, "recoiling": 6.0, "slumped": -5.0, "crouching": 4.0}
"""Degrees by which a pose tips a thing."""

Painter = Callable[[Brush, np.random.Generator, str, str, float], None]
PAINTERS: dict[str, Painter] = {
    name: getattr(module, name) for module in (people, animals, belongings) for name in OBJECTS if hasattr(module, name)
}


def sprite(
    name: str,
    rng: np.random.Generator,
    height: int,
    pose: str = "standing",
    light_from: float = -1.0,
    expression: str | None = None,
    night: float = 0.0,
) -> Image.Image:
    """The object `height` canvas pixels tall, RGBA, standing on the sprite's lower edge.

    `light_from` is -1 for light from the left, 1 from the right; `night` lights lamps and windows.
    """
    flip = bool(rng.random() < 0.5)
    b = Brush(height, ASPECT.get(name, 1.0), -light_from if flip else light_from)
    PAINTERS[name](b, rng, pose, expression or POSE_EXPRESSION[pose], float(night))
    turn = rng.uniform(0.5, 1.0) * LEAN.get(pose, 0.0) * (0.5 if name in LIVING else 1.0)
    picture = b.image(float(turn))
    return picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if flip else picture

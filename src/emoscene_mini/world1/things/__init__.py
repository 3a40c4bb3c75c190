"""Overlays that tell a mood: lights in the sky, things in the air, things on the ground.

`THINGS` names each with the phrase a caption uses and where it goes: "sky" is painted before the scene, "air" and
"ground" after it. `paint` is the only door; `amount` in [0, 1] is how many or how strong.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from emoscene_mini.world1.canvas import Canvas, Light
from emoscene_mini.world1.things import air, ground, heavens, omens

THINGS: dict[str, tuple[str, str]] = {
    "aurora": ("curtains of aurora", "sky"),
    "giant_moon": ("a giant moon", "sky"),
    "planet": ("a ringed planet", "sky"),
    "sun_rays": ("rays of light through clouds", "sky"),
    "star_band": ("a band of starlight", "sky"),
    "comet": ("a comet", "sky"),
    "rainbow": ("a rainbow", "sky"),
    "fireworks": ("fireworks", "sky"),
    "spotlights": ("crossing beams of light", "sky"),
    "lightning": ("lightning", "sky"),
    "red_clouds": ("red storm clouds", "sky"),
    "smog": ("yellow smog", "sky"),
    "hot_air_balloons": ("hot-air balloons", "sky"),
    "sky_lanterns": ("paper lanterns in the sky", "air"),
    "balloons": ("balloons", "air"),
    "kites": ("kites", "air"),
    "bunting": ("strings of bunting", "air"),
    "confetti": ("confetti", "air"),
    "bubbles": ("soap bubbles", "air"),
    "butterflies": ("butterflies", "air"),
    "birds": ("a flock of birds", "air"),
    "bats": ("bats", "air"),
    "flies": ("flies", "air"),
    "leaves": ("falling leaves", "air"),
    "embers": ("drifting embers", "air"),
    "smoke": ("black smoke", "air"),
    "eyes": ("glowing eyes", "air"),
    "flames": ("flames", "ground"),
    "cracks": ("glowing cracks in the ground", "ground"),
    "bare_trees": ("bare trees", "ground"),
    "ghost": ("a pale veiled figure", "ground"),
    "shadow_figure": ("a tall shadow", "ground"),
    "slime": ("green slime", "ground"),
    "mushrooms": ("mushrooms", "ground"),
    "garbage": ("heaps of garbage", "ground"),
    "green_puddles": ("bubbling green puddles", "ground"),
    "rain_puddles": ("puddles", "ground"),
    "gravestones": ("gravestones", "ground"),
    "candles": ("candles", "ground"),
    "wilted_flowers": ("wilted flowers", "ground"),
    "flowers": ("flowers", "ground"),
    "picnic": ("a picnic cloth", "ground"),
    "carousel": ("a striped carousel", "ground"),
}

Painter = Callable[[Canvas, Light, np.random.Generator, float, float], None]
PAINTERS: dict[str, Painter] = {
    name: getattr(module, name) for module in (heavens, air, ground, omens) for name in THINGS if hasattr(module, name)
}


def paint(
    name: str, canvas: Canvas, light: Light, rng: np.random.Generator, amount: float = 0.7, horizon: float = 0.55
) -> None:
    """Paint one thing of `THINGS` over the canvas; `horizon` is the y where the sky ends."""
    PAINTERS[name](canvas, light, rng, float(amount), float(horizon))

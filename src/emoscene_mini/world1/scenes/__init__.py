"""Fifteen places, each a painter of everything between the sky and the object that stands in it.

`SCENES` names them with the words a caption uses; `paint` is the only door. A painter works far to near and returns the
`Ground` on which an object may stand. Each has several layouts, so that a scene is recognised by what it is and not by
where its pixels lie.

    kit.py       land, mountains, water, trees, houses
    nature.py    mountains forest meadow desert waterfall
    waters.py    beach harbour river village
    towns.py     city castle road park room
"""

from __future__ import annotations

from emoscene_mini.world1.canvas import Canvas, Light
from emoscene_mini.world1.scenes import nature, towns, waters
from emoscene_mini.world1.scenes.kit import Ground, Rng

SCENES: dict[str, str] = {
    "village": "a village by a lake",
    "mountains": "a mountain range",
    "beach": "a beach",
    "forest": "a forest",
    "city": "a city street",
    "meadow": "a meadow",
    "desert": "a desert",
    "harbour": "a harbour",
    "river": "a river with a bridge",
    "waterfall": "a waterfall",
    "castle": "a castle on a hill",
    "road": "a country road",
    "room": "a room with a window",
    "park": "a park",
    "portrait": "a portrait of a person",
}

_PAINTERS = {name: getattr(room, name) for room in (nature, waters, towns) for name in SCENES if hasattr(room, name)}


def paint(scene: str, canvas: Canvas, light: Light, rng: Rng, horizon: float) -> Ground:
    """Paint a scene of `SCENES` under the sky already on the canvas."""
    ground: Ground = _PAINTERS[scene](canvas, light, rng, horizon)
    return ground

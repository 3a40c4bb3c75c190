"""The first world, which the shipped weights know; it goes when those of `emoscene_mini.world` are trained.

A procedurally painted world of emotional scenes, from NumPy and Pillow alone: the data that ships with the code.

    plan(seed, emotion="awe")  ─▶  Plan  ─▶  render(plan, size)  ─▶  picture
                                     └────▶  captions(plan), attributes(plan, picture)

Read in this order:

    moods.py       the tables: what each emotion looks like
    objects/ faces.py    painters; canvas, brush, scenes and things are those of `emoscene_mini.world`
    sky.py         light, clouds, weather, grading
    plan.py        a picture's decisions, drawn from its seed
    captions.py    what can be said of it
    picture.py     the painting, layer by layer
"""

from __future__ import annotations

from emoscene_mini.world.scenes import SCENES
from emoscene_mini.world.things import THINGS
from emoscene_mini.world1.captions import attributes, captions
from emoscene_mini.world1.faces import EXPRESSIONS, render_face
from emoscene_mini.world1.moods import TIMES, WEATHERS
from emoscene_mini.world1.objects import OBJECTS
from emoscene_mini.world1.plan import Plan, held_out, plan
from emoscene_mini.world1.rendering import render_plan

__all__ = [
    "EXPRESSIONS",
    "OBJECTS",
    "SCENES",
    "THINGS",
    "TIMES",
    "WEATHERS",
    "Plan",
    "attributes",
    "captions",
    "held_out",
    "plan",
    "render_face",
    "render_plan",
]  # fmt: skip

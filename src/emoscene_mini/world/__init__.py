"""A procedurally rendered world of emotional scenes, from NumPy and Pillow alone: the data that ships with the code.

    plan(seed, emotion="awe")  ─▶  Plan  ─▶  render_plan(plan, size)  ─▶  image
                                     └────▶  captions(plan), attributes(plan, image)

The emotion is carried by what happens and how it is shown. Six groups of cues (palette, weather, things, event,
composition, pose and face) each follow the intended emotion by chance only; the label is what most of twenty simulated
viewers name. Read in this order:

    moods.py       the tables: what each emotion looks like, and how often each group follows it
    cues.py        the exact chance of a cue given an emotion
    votes.py       the exact reading of all cues, and the viewers
    plan.py        an image's decisions, drawn from its seed
    captions.py    what can be said of it
    canvas.py      the canvas, colours, noise, light
    brush.py       small things with volume
    objects/ faces.py events/ things/ scenes/    what is drawn
    sky.py         light, clouds, weather, grading
    placing.py     where the event, the figure and the object stand
    camera.py      framing, lens, exposure
    rendering.py   the image, layer by layer
"""

from __future__ import annotations

from emoscene_mini.world.captions import attributes, captions
from emoscene_mini.world.events import EVENTS
from emoscene_mini.world.faces import EXPRESSIONS, render_face
from emoscene_mini.world.moods import TIMES, WEATHERS
from emoscene_mini.world.objects import OBJECTS
from emoscene_mini.world.plan import Plan, held_out, plan
from emoscene_mini.world.rendering import render_plan
from emoscene_mini.world.scenes import SCENES
from emoscene_mini.world.things import THINGS

__all__ = [
    "EVENTS",
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

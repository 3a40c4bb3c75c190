"""Events: what happens in an image, told by the shapes of people, animals and things and by how they relate.

`EVENTS` names each with what a neutral captioner says of it; `draw_event` is the only door. An event fills a `Place` in
front of any scene. It fixes the posture of its figures where it must; the face is the caller's `expression`.

    stage.py    the brush that covers an event's box, and how it gets on the canvas
    actors.py   people posed by their joints
    beasts.py   a wolf or dog with open jaws
    amusement.py awe.py contentment.py excitement.py anger.py disgust.py fear.py sadness.py
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from emoscene_mini.world.canvas import Canvas, Light
from emoscene_mini.world.events import amusement, anger, awe, contentment, disgust, excitement, fear, sadness
from emoscene_mini.world.events.stage import EventBrush, Place, stamp_event

__all__ = ["EVENTS", "Event", "Place", "draw_event"]


@dataclass(frozen=True)
class Event:
    """Something that happens.

    Args:
        words: What a neutral captioner says, at most seven words.
        draw: Draws it on a brush of its box.
        aspect: The box's width over its height.
        people: How many people take part.
        indoors: Whether it may happen in a room.
        animals: The animals that take part.
        free_pose: Whether the main figure's pose is left to the caller.
    """

    words: str
    draw: Callable[[EventBrush], None]
    aspect: float = 1.0
    people: int = 1
    indoors: bool = True
    animals: tuple[str, ...] = ()
    free_pose: bool = False


# fmt: off
EVENTS: dict[str, Event] = {
    "juggling": Event("a person and some balls", amusement.juggling),
    "banana_slip": Event("a person and a banana peel", amusement.banana_slip, 1.5),
    "seesaw": Event("two children on a seesaw", amusement.seesaw, 1.45, 2, False),
    "party_dog": Event("a dog with a pointed hat", amusement.party_dog, 1.0, 0, animals=("dog",)),
    "whale": Event("a person and a whale", awe.whale, 1.36, 1, False, ("whale",), True),
    "stone_head": Event("a person by a big stone head", awe.stone_head, 1.26, 1, False, (), True),
    "giant_tree": Event("a person by a big tree", awe.giant_tree, 1.46, 1, False, (), True),
    "rocket": Event("a person and a rocket", awe.rocket, 1.22, 1, False, (), True),
    "reading": Event("a person with a book", contentment.reading, 1.35, 1, False),
    "hammock": Event("a person in a hammock", contentment.hammock, 1.74, 1, False),
    "fishing": Event("a person with a fishing rod", contentment.fishing, 1.56, 1, False),
    "lap_cat": Event("a person and a cat", contentment.lap_cat, 1.05, 1, True, ("cat",)),
    "finish": Event("a person and a ribbon", excitement.finish, 1.35, 1, False),
    "trophy": Event("a person with a cup", excitement.trophy, 1.0),
    "skateboard": Event("a person on a skateboard", excitement.skateboard, 1.44, 1, False),
    "concert": Event("a guitar player and a crowd", excitement.concert, 1.45, 6),
    "quarrel": Event("two people talking", anger.quarrel, 1.52, 2),
    "hammer_blow": Event("a person with a hammer", anger.hammer_blow, 1.6),
    "kicked_bin": Event("a person and a bin", anger.kicked_bin, 1.56),
    "chained_dog": Event("a dog on a chain", anger.chained_dog, 1.7, 0, False, ("dog",)),
    "smelly_heap": Event("a person by a heap", disgust.smelly_heap, 1.6),
    "sick": Event("a person and a bucket", disgust.sick, 1.44),
    "rotten_fish": Event("a person and a fish", disgust.rotten_fish, 1.6),
    "slime_step": Event("a person and a puddle", disgust.slime_step, 1.3),
    "clawed_hand": Event("a person and a big hand", fear.clawed_hand, 1.58),
    "wolf": Event("a person and a wolf", fear.wolf, 1.8, 1, False, ("wolf",), True),
    "spider": Event("a person and a spider", fear.spider, 1.5, 1, True, ("spider",), True),
    "ledge": Event("a person on a cliff", fear.ledge, 1.34, 1, False),
    "grave": Event("a person by a gravestone", sadness.grave, 1.48, 1, False),
    "parting": Event("two people and a suitcase", sadness.parting, 1.45, 2, False),
    "empty_chair": Event("a person by a chair", sadness.empty_chair, 1.44),
    "dropped_ice": Event("a child and an ice cream", sadness.dropped_ice, 1.34, 1, False),
}
# fmt: on


def draw_event(
    name: str,
    canvas: Canvas,
    light: Light,
    rng: np.random.Generator,
    place: Place,
    expression: str,
    intensity: float,
    *,
    pose: str | None = None,
) -> None:
    """Draw an event over what the canvas holds. The same `rng` state gives the same pixels.

    Args:
        name: A name of `EVENTS`.
        canvas: The canvas to draw on.
        light: The image's light.
        rng: Clothes, colours, small shifts and the side it faces are drawn from it.
        place: The box to fill; the event keeps its aspect within.
        expression: The facial expression of the figures, a name of `expressions.EXPRESSIONS`.
        intensity: How strong the expression is, in [0, 1].
        pose: The main figure's pose, a name of `objects.POSES`; only events with `free_pose` follow it.
    """
    event = EVENTS[name]
    stamp_event(event.draw, event.aspect, canvas, light, rng, place, expression, intensity, pose)

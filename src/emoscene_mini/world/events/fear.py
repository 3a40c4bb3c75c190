"""Threats: a clawed hand, a wolf, a spider as large as a house, a fall."""

from __future__ import annotations

from emoscene_mini.world.brush import limb, oval, poly
from emoscene_mini.world.canvas import mix, rgb
from emoscene_mini.world.events.actors import Bones, add_person
from emoscene_mini.world.events.beasts import add_beast
from emoscene_mini.world.events.stage import EventBrush

FLEEING = Bones(
    arms=(((0.16, 0.42), (0.32, 0.26)), ((0.2, 0.5), (0.4, 0.42))),
    legs=(((-0.16, 0.8), (-0.4, 0.82)), ((0.24, 0.72), (0.24, 0.95))),
    neck=(0.1, 0.4),
    hip=(-0.04, 0.66),
    head=(0.2, -0.9),
    look=-0.25,
    tilt=8,
)


def clawed_hand(b: EventBrush) -> None:
    """A huge dark arm rises from the ground and reaches for someone who runs."""
    dark = rgb("17131d")
    b.cast_shadow(0.42, 0.24)
    b.part(dark, oval(-0.46, 0.95, 0.26, 0.045), volume=0)
    b.part(dark, limb([(-0.46, 0.95), (-0.52, 0.56), (-0.4, 0.26)], 0.36, 0.26), volume=0.3)
    fingers = [
        [(-0.4, 0.2), (-0.2, 0.06), (0.04, 0.1), (0.16, 0.26)],
        [(-0.36, 0.24), (-0.14, 0.2), (0.04, 0.3), (0.1, 0.46)],
        [(-0.36, 0.3), (-0.16, 0.36), (-0.04, 0.48), (-0.02, 0.64)],
        [(-0.44, 0.34), (-0.26, 0.48), (-0.2, 0.6), (-0.22, 0.72)],
    ]
    b.part(dark, oval(-0.38, 0.25, 0.19, 0.17), *(limb(points, 0.12, 0.075) for points in fingers), volume=0.3)
    tips = ((0.17, 0.25), (0.11, 0.46), (-0.02, 0.64), (-0.22, 0.72))
    claws = [poly([(x - 0.045, y), (x + 0.045, y), (x + 0.02, y + 0.13)]) for x, y in tips]
    b.part(rgb("e6e0cc"), *claws, volume=0.4)
    add_person(b, FLEEING, 0.44, foot=0.98, tall=0.72)


def wolf(b: EventBrush) -> None:
    """A wolf taller than the person before it."""
    coat = b.pick_stone() * 0.5
    b.cast_shadow(-0.3, 0.5)
    add_beast(b, coat, -0.3, 0.98, 0.92)
    b.add_sprite("person", 0.52, 0.99, 0.72, "crouching")


def spider(b: EventBrush) -> None:
    """A spider stands over a person, its legs on either side."""
    dark = mix(rgb("1c161c"), b.pick_wood() * 0.4, 0.4)
    b.cast_shadow(0.0, 0.6)
    for s in (-1, 1):
        for reach, peak, foot in ((0.7, 0.12, 0.62), (0.66, 0.07, 0.84), (0.52, 0.14, 0.97), (0.32, 0.3, 0.9)):
            path = [(s * 0.1, 0.3), (s * reach * 0.72, peak), (s * reach, foot)]
            b.part(dark, limb(path, 0.075, 0.05), volume=0.5)
    b.part(dark * 1.3, oval(0.0, 0.2, 0.24, 0.17), volume=0.9)
    b.part(
        mix(dark, b.pick_colour(), 0.6), poly([(-0.07, 0.06), (0.07, 0.06), (0.0, 0.14), (0.07, 0.22), (-0.07, 0.22)])
    )
    b.part(dark * 1.1, oval(0.0, 0.37, 0.16, 0.12), volume=0.8)
    eyes = [
        oval(x, y, r) for x, y, r in ((-0.07, 0.35, 0.04), (0.07, 0.35, 0.04), (-0.13, 0.3, 0.025), (0.13, 0.3, 0.025))
    ]
    b.part((0.95, 0.93, 0.8), *eyes, volume=0.2)
    b.part((0.93, 0.9, 0.85), *(poly([(x - 0.03, 0.44), (x + 0.03, 0.44), (0.6 * x, 0.55)]) for x in (-0.06, 0.06)))
    b.add_sprite("person", 0.0, 0.99, 0.54, "crouching")


def ledge(b: EventBrush) -> None:
    """Someone hangs by both hands from a cliff above a gap."""
    rock = b.pick_stone() * 0.9
    b.cast_shadow(0.0, 0.62)
    gap = [(-0.3, 0.12), (0.54, 0.42), (0.58, 0.97), (-0.3, 0.97)]
    b.part(rgb("4a4450"), poly(gap), volume=0, to=rgb("08060a"))
    top = [(-0.6, 0.22), (-0.54, 0.06), (-0.3, 0.03), (0.0, 0.04), (0.12, 0.1), (-0.02, 0.22), (-0.14, 0.4)]
    b.part(rock, poly([*top, (-0.2, 0.97), (-0.62, 0.97), (-0.58, 0.6), (-0.63, 0.4)]), volume=0.7, to=rock * 0.7)
    b.part(rock * 1.2, poly([(-0.56, 0.06), (-0.3, 0.02), (0.0, 0.03), (0.12, 0.1), (-0.58, 0.14)]), volume=0.4)
    right = [(0.52, 0.36), (0.62, 0.44), (0.59, 0.66), (0.62, 0.97), (0.38, 0.97), (0.5, 0.7), (0.46, 0.48)]
    b.part(rock * 0.8, poly(right), volume=0.5)
    cracks = [limb([(-0.46, 0.34), (-0.3, 0.44), (-0.36, 0.56)], 0.03), limb([(-0.5, 0.74), (-0.34, 0.82)], 0.03)]
    b.part(rock * 0.55, *cracks, volume=0)
    spikes = [
        poly([(x - 0.09, 0.98), (x, 0.98 - tall), (x + 0.09, 0.98)])
        for x, tall in ((-0.1, 0.2), (0.08, 0.16), (0.24, 0.22), (0.4, 0.15))
    ]
    b.part(rock * 0.75, *spikes, volume=0.8)
    hanging = Bones(
        arms=(((-0.15, 0.2), (-0.2, -0.02)), ((0.15, 0.22), (0.04, 0.0))),
        legs=(((-0.12, 0.82), (-0.22, 0.92)), ((0.14, 0.76), (0.28, 0.84))),
        look=-0.1,
    )
    add_person(b, hanging, 0.18, foot=0.74, tall=0.66)

"""Games and mishaps: juggling, a slip, a seesaw, a dog in a party hat."""

from __future__ import annotations

import numpy as np

from emoscene_mini.world.brush import blob, limb, oval, poly
from emoscene_mini.world.canvas import mix, rgb
from emoscene_mini.world.events.actors import Bones, add_face, add_person
from emoscene_mini.world.events.stage import EventBrush


def add_ball(b: EventBrush, x: float, y: float, r: float) -> None:
    """A ball with a pale stripe."""
    paint = b.pick_colour()
    b.part(paint, oval(x, y, r), volume=0.9)
    b.part(mix(paint, (1, 1, 0.95), 0.75), limb([(x - r, y + 0.3 * r), (x + r, y - 0.3 * r)], 0.5 * r), inside=True)


def juggling(b: EventBrush) -> None:
    """Five balls in an arc above someone with both hands up."""
    bones = Bones(
        arms=(((-0.24, 0.56), (-0.33, 0.4)), ((0.24, 0.56), (0.33, 0.4))),
        legs=(((-0.1, 0.82), (-0.16, 0.97)), ((0.12, 0.8), (0.15, 0.97))),
        look=0.0,
    )
    b.cast_shadow(0.0, 0.26)
    add_person(b, bones, 0.0, tall=0.74)
    for angle in np.linspace(0.08, 0.92, 5) * np.pi:
        add_ball(b, -0.36 * float(np.cos(angle)), 0.43 - 0.34 * float(np.sin(angle)), 0.08)


def banana_slip(b: EventBrush) -> None:
    """Someone falls on the back, both feet in the air, beside a banana peel."""
    bones = Bones(
        arms=(((-0.34, 0.42), (-0.38, 0.24)), ((-0.3, 0.74), (-0.5, 0.8))),
        legs=(((0.2, 0.48), (0.3, 0.2)), ((0.26, 0.62), (0.5, 0.48))),
        neck=(-0.24, 0.52),
        hip=(0.02, 0.7),
        head=(-0.75, -0.5),
        tilt=-50,
    )
    b.cast_shadow(-0.05, 0.42)
    b.cast_shadow(0.5, 0.16)
    add_person(b, bones, -0.1, foot=0.92, tall=0.98)
    peel = mix(rgb("f2cf3a"), b.pick_colour(), b.vary(0.0, 0.35))
    x = 0.5
    flaps = [limb([(x, 0.8), (x + d, 0.86), (x + 1.5 * d, 0.965)], 0.1, 0.06) for d in (-0.13, 0.0, 0.13)]
    b.part(peel, *flaps, volume=0.7)
    b.part(peel * 0.6, limb([(x, 0.8), (x + 0.03, 0.7)], 0.09, 0.06), volume=0.5)


def seesaw(b: EventBrush) -> None:
    """Two children on a tipped plank."""
    paint = b.pick_colour()
    b.cast_shadow(0.0, 0.5)
    b.part(b.pick_wood() * 0.7, poly([(-0.17, 0.98), (0.17, 0.98), (0.05, 0.74), (-0.05, 0.74)]), volume=0.6)
    b.part(paint, limb([(-0.64, 0.92), (0.64, 0.62)], 0.09), volume=0.6)
    legs = (((0.2, 0.76), (0.22, 0.96)), ((0.22, 0.74), (0.24, 0.94)))
    sitting = Bones(
        arms=(((0.18, 0.56), (0.2, 0.64)), ((0.2, 0.58), (0.22, 0.68))),
        legs=legs,
        hip=(0.0, 0.72),
        neck=(-0.02, 0.46),
    )
    waving = Bones(
        arms=(((-0.22, 0.36), (-0.3, 0.14)), ((0.22, 0.36), (0.3, 0.14))),
        legs=legs,
        hip=(0.0, 0.72),
        neck=(-0.02, 0.46),
    )
    add_person(b, sitting, -0.44, foot=1.02, tall=0.7, age="child")
    add_person(b, waving, 0.44, foot=0.77, tall=0.7, side=-1, age="child")


def party_dog(b: EventBrush) -> None:
    """A dog on its hind legs with a pointed hat, a ball before it."""
    coat = b.pick_wood() * 1.1
    b.cast_shadow(0.0, 0.34)
    b.part(coat * 0.7, limb([(0.16, 0.84), (0.36, 0.8), (0.42, 0.62)], 0.11, 0.07), volume=0.6)
    b.part(coat * 0.85, oval(-0.14, 0.95, 0.13, 0.05), oval(0.14, 0.95, 0.13, 0.05), volume=0.6)
    b.part(
        coat, blob([(-0.12, 0.5), (0.12, 0.5), (0.25, 0.86), (0.14, 0.96), (-0.14, 0.96), (-0.25, 0.86)]), volume=0.8
    )
    b.part(coat * 0.5 + 0.45, oval(0.0, 0.76, 0.13, 0.16), volume=0.3, inside=True, soft=0.02)
    for sign in (-1, 1):
        b.part(coat * 0.9, limb([(sign * 0.14, 0.58), (sign * 0.3, 0.6), (sign * 0.32, 0.46)], 0.11, 0.1), volume=0.6)
    b.part(coat, oval(0.0, 0.38, 0.2, 0.185), volume=0.7)
    for sign in (-1, 1):
        b.part(coat * 0.5, blob([(sign * 0.15, 0.24), (sign * 0.29, 0.3), (sign * 0.27, 0.54), (sign * 0.17, 0.44)]))
    add_face(b, 0.0, 0.37, 0.2, coat, rgb("2a1e1c"))
    b.part((0.14, 0.1, 0.11), oval(0.0, 0.405, 0.05, 0.036), volume=0.6)
    paint = b.pick_colour()
    b.part(paint, poly([(-0.13, 0.24), (0.13, 0.24), (0.0, 0.04)]), volume=0.7)
    b.part(mix(paint, (1, 1, 0.95), 0.8), limb([(-0.12, 0.2), (0.09, 0.13)], 0.05), volume=0.2, inside=True)
    b.part(mix(b.pick_colour(), (1, 1, 0.95), 0.5), oval(0.0, 0.065, 0.05), volume=0.6)
    add_ball(b, -0.36, 0.87, 0.1)

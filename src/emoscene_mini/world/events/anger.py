"""Quarrels and blows: two nose to nose, a hammer on a pot, a kicked bin, a dog that pulls its chain."""

from __future__ import annotations

from emoscene_mini.world.brush import limb, oval, poly
from emoscene_mini.world.canvas import mix, rgb
from emoscene_mini.world.events.actors import Bones, add_person
from emoscene_mini.world.events.beasts import add_beast
from emoscene_mini.world.events.stage import EventBrush


def quarrel(b: EventBrush) -> None:
    """Two people lean at each other, each with a raised fist."""
    legs = (((-0.2, 0.84), (-0.32, 0.97)), ((0.05, 0.82), (0.08, 0.97)))
    fist = Bones(
        arms=(((-0.24, 0.36), (-0.2, 0.1)), ((0.0, 0.6), (0.14, 0.66))),
        legs=legs,
        neck=(0.06, 0.4),
        hip=(-0.1, 0.68),
        head=(0.5, -0.8),
        look=0.42,
        tilt=14,
    )
    answer = Bones(
        arms=(((-0.26, 0.4), (-0.34, 0.18)), ((0.02, 0.62), (0.18, 0.56))),
        legs=legs,
        neck=(0.06, 0.4),
        hip=(-0.1, 0.68),
        head=(0.5, -0.8),
        look=0.42,
        tilt=14,
    )
    for x, bones, side in ((-0.36, fist, 1), (0.36, answer, -1)):
        b.cast_shadow(x, 0.24)
        add_person(b, bones, x, tall=b.vary(0.9, 0.96), side=side)


def hammer_blow(b: EventBrush) -> None:
    """Someone swings a hammer at a vase that bursts."""
    bones = Bones(
        arms=(((-0.16, 0.26), (-0.32, 0.12)), ((-0.16, 0.44), (-0.24, 0.22))),
        legs=(((-0.16, 0.84), (-0.26, 0.97)), ((0.12, 0.82), (0.22, 0.97))),
        neck=(0.05, 0.44),
        hip=(-0.04, 0.7),
        head=(0.5, -0.8),
        look=0.35,
        tilt=12,
        cover=False,
    )
    b.cast_shadow(-0.22, 0.26)
    b.cast_shadow(0.42, 0.24)
    wood, iron = b.pick_wood(), b.pick_stone() * 0.5
    b.part(wood, limb([(-0.32, 0.34), (-0.56, 0.16)], 0.065), volume=0.5)
    b.part(iron, poly([(-0.72, 0.24), (-0.5, 0.02), (-0.4, 0.13), (-0.6, 0.35)]), volume=0.7)
    add_person(b, bones, -0.14, tall=0.86)
    clay = b.pick_colour()
    low = [(0.26, 0.72), (0.34, 0.64), (0.4, 0.74), (0.48, 0.62), (0.54, 0.72), (0.6, 0.68)]
    b.part(clay, poly([*low, (0.62, 0.82), (0.52, 0.97), (0.34, 0.97), (0.24, 0.82)]), volume=0.8)
    b.part(mix(clay, (1, 1, 0.95), 0.7), limb([(0.22, 0.84), (0.64, 0.84)], 0.055), volume=0.2, inside=True)
    b.part(clay, poly([(0.36, 0.3), (0.6, 0.36), (0.55, 0.42), (0.58, 0.54), (0.46, 0.47), (0.36, 0.5), (0.42, 0.38)]))
    for x, y, k in ((0.27, 0.52, 1.2), (0.7, 0.58, 1.2), (0.16, 0.7, 0.9), (0.16, 0.94, 0.9)):
        shard = [(x - 0.06 * k, y), (x, y - 0.08 * k), (x + 0.07 * k, y - 0.02 * k), (x + 0.01, y + 0.06 * k)]
        b.part(clay * b.vary(0.8, 1.1), poly(shard), volume=0.5)


def kicked_bin(b: EventBrush) -> None:
    """A kick sends a bin through the air, its rubbish flying."""
    bones = Bones(
        arms=(((-0.2, 0.46), (-0.34, 0.36)), ((0.14, 0.54), (0.24, 0.42))),
        legs=(((-0.1, 0.83), (-0.14, 0.97)), ((0.16, 0.66), (0.42, 0.62))),
        neck=(-0.1, 0.4),
        hip=(-0.04, 0.68),
        head=(-0.1, -0.92),
        look=0.35,
        tilt=6,
    )
    b.cast_shadow(-0.38, 0.24)
    b.cast_shadow(0.4, 0.2)
    add_person(b, bones, -0.3, tall=0.94)
    paint = b.pick_colour() * 0.85
    b.part(paint, poly([(0.2, 0.5), (0.42, 0.34), (0.62, 0.62), (0.4, 0.78)]), volume=0.8)
    b.part(paint * 0.45, oval(0.52, 0.48, 0.09, 0.19, -0.64), volume=0.3)
    b.part(paint * 1.15, limb([(0.2, 0.48), (0.42, 0.76)], 0.05), volume=0.5)
    for x, y in ((0.64, 0.34), (0.7, 0.56), (0.5, 0.2)):
        b.part(b.pick_colour(), oval(x, y, 0.055, 0.045, b.vary(0, 3)), volume=0.6)


def chained_dog(b: EventBrush) -> None:
    """A dog with bared teeth strains at a chain."""
    b.cast_shadow(0.1, 0.5)
    post = b.pick_wood()
    b.part(post, limb([(-0.66, 0.46), (-0.66, 0.97)], 0.13), volume=0.7)
    links = [oval(-0.62 + 0.105 * i, 0.54 - 0.02 * i, 0.06, 0.042) for i in range(7)]
    add_beast(b, b.pick_wood(), 0.12, 0.98, 0.86)
    b.part(rgb("b8bcc4"), *links, volume=0.8)
    b.part(b.pick_colour(), limb([(0.1, 0.28), (0.24, 0.6)], 0.085), volume=0.6)

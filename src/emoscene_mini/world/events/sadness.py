"""Loss: a grave, two who part, someone alone by an empty chair, an ice cream on the ground."""

from __future__ import annotations

from emoscene_mini.world.brush import blob, limb, oval, poly
from emoscene_mini.world.canvas import mix, rgb
from emoscene_mini.world.events.actors import Bones, add_person
from emoscene_mini.world.events.stage import EventBrush


def grave(b: EventBrush) -> None:
    """Someone kneels before a gravestone, head bowed, hands joined."""
    stone = b.pick_stone()
    b.cast_shadow(-0.28, 0.34)
    b.cast_shadow(0.36, 0.36)
    if b.rng.random() < 0.5:
        slab = blob([(0.18, 0.97), (0.18, 0.4), (0.24, 0.26), (0.38, 0.2), (0.52, 0.26), (0.58, 0.4), (0.58, 0.97)])
        b.part(stone, slab, volume=0.8)
    else:
        upright = poly([(0.3, 0.1), (0.46, 0.1), (0.48, 0.97), (0.28, 0.97)])
        b.part(stone, upright, poly([(0.14, 0.28), (0.62, 0.28), (0.62, 0.43), (0.14, 0.43)]), volume=0.8)
    b.part(stone * 0.6, limb([(0.32, 0.36), (0.44, 0.36)], 0.04), limb([(0.38, 0.3), (0.38, 0.5)], 0.04), volume=0)
    earth = rgb("6a5442")
    b.part(earth, blob([(0.06, 0.97), (0.14, 0.87), (0.4, 0.83), (0.64, 0.88), (0.7, 0.97)]), volume=0.6)
    for x in (0.18, 0.28):
        b.part(b.pick_colour(), oval(x, 0.83, 0.05), oval(x + 0.04, 0.88, 0.045), volume=0.6)
    kneeling = Bones(
        arms=(((0.08, 0.62), (0.24, 0.6)), ((0.1, 0.66), (0.25, 0.62))),
        legs=(((0.16, 0.92), (-0.16, 0.95)), ((0.2, 0.93), (-0.14, 0.96))),
        neck=(0.06, 0.46),
        hip=(-0.06, 0.78),
        head=(0.55, -0.7),
        tilt=32,
        look=0.35,
    )
    add_person(b, kneeling, -0.3, foot=0.97, tall=1.0)


def parting(b: EventBrush) -> None:
    """Someone walks away with a suitcase; another stays behind and reaches out."""
    leaving = Bones(
        arms=(((0.08, 0.56), (0.02, 0.7)), ((0.14, 0.58), (0.24, 0.72))),
        legs=(((-0.1, 0.82), (-0.22, 0.95)), ((0.1, 0.82), (0.16, 0.97))),
        neck=(0.02, 0.42),
        hip=(-0.02, 0.68),
        head=(0.5, -0.7),
        tilt=28,
        look=0.45,
        wide=0.08,
    )
    staying = Bones(
        arms=(((-0.06, 0.58), (-0.08, 0.74)), ((0.22, 0.46), (0.42, 0.42))),
        neck=(0.02, 0.4),
        hip=(-0.02, 0.68),
        head=(0.3, -0.85),
        tilt=12,
        look=0.35,
        cover=True,
    )
    b.cast_shadow(0.4, 0.3)
    b.cast_shadow(-0.46, 0.22)
    add_person(b, staying, -0.48, tall=0.9)
    add_person(b, leaving, 0.3, tall=0.94)
    leather = b.pick_colour() * 0.8
    b.part(leather * 0.5, limb([(0.46, 0.77), (0.54, 0.71), (0.62, 0.77)], 0.04), volume=0.3)
    b.part(leather, poly([(0.38, 0.77), (0.7, 0.77), (0.7, 0.97), (0.38, 0.97)]), volume=0.7)
    b.part(
        leather * 0.55, limb([(0.45, 0.78), (0.45, 0.96)], 0.035), limb([(0.63, 0.78), (0.63, 0.96)], 0.035), volume=0
    )


def empty_chair(b: EventBrush) -> None:
    """Someone sits on the ground with arms around the knees; a chair beside is empty."""
    wood = b.pick_wood()
    b.cast_shadow(-0.26, 0.32)
    b.cast_shadow(0.38, 0.24)
    b.part(wood * 0.7, limb([(0.28, 0.6), (0.28, 0.92)], 0.065), limb([(0.48, 0.6), (0.48, 0.92)], 0.065), volume=0.4)
    b.part(wood, limb([(0.56, 0.08), (0.54, 0.58), (0.58, 0.97)], 0.085), limb([(0.22, 0.6), (0.2, 0.97)], 0.085))
    for y in (0.13, 0.28, 0.43):
        b.part(wood * 0.9, limb([(0.34, y), (0.56, y)], 0.075), volume=0.5)
    b.part(wood * 0.9, limb([(0.34, 0.1), (0.34, 0.56)], 0.07), volume=0.5)
    b.part(b.pick_colour(), poly([(0.2, 0.62), (0.3, 0.54), (0.58, 0.54), (0.56, 0.64)]), volume=0.6)
    huddled = Bones(
        arms=(((0.02, 0.8), (0.24, 0.84)), ((0.0, 0.82), (0.26, 0.86))),
        legs=(((0.2, 0.66), (0.24, 0.96)), ((0.22, 0.68), (0.28, 0.97))),
        neck=(-0.12, 0.6),
        hip=(-0.2, 0.88),
        head=(0.75, -0.55),
        tilt=36,
        look=0.35,
    )
    add_person(b, huddled, -0.26, foot=0.98, tall=1.02)


def dropped_ice(b: EventBrush) -> None:
    """A child with hanging arms looks down at an ice cream that lies upside down."""
    drooping = Bones(
        arms=(((0.0, 0.62), (0.08, 0.76)), ((0.1, 0.62), (0.16, 0.76))),
        neck=(0.0, 0.46),
        hip=(-0.02, 0.72),
        head=(0.4, -0.72),
        tilt=22,
        look=0.3,
    )
    b.cast_shadow(-0.26, 0.24)
    b.cast_shadow(0.34, 0.28)
    add_person(b, drooping, -0.26, foot=0.97, tall=0.94, age="child")
    ice = mix(b.pick_colour(), (1, 1, 0.98), 0.5)
    puddle = [(0.08, 0.93), (0.2, 0.88), (0.4, 0.87), (0.58, 0.9), (0.66, 0.95), (0.5, 0.99), (0.2, 0.99)]
    b.part(ice, blob(puddle), volume=0.6)
    b.part(ice * 0.95, oval(0.36, 0.84, 0.19, 0.12), volume=0.9)
    cone = rgb("d09a54") * b.vary(0.8, 1.1)
    b.part(cone, poly([(0.22, 0.8), (0.5, 0.78), (0.42, 0.4)]), volume=0.7)
    lines = [limb([(0.28, 0.78), (0.44, 0.56)], 0.028), limb([(0.44, 0.78), (0.34, 0.6)], 0.028)]
    b.part(cone * 0.65, *lines, volume=0, inside=True)

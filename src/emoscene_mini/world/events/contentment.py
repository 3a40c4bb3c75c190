"""Rest: reading under a parasol, a hammock, fishing, an armchair with a cat."""

from __future__ import annotations

from emoscene_mini.world.brush import blob, limb, oval, poly
from emoscene_mini.world.canvas import mix, rgb
from emoscene_mini.world.events.actors import Bones, add_person, wave_line
from emoscene_mini.world.events.stage import EventBrush

RECLINED = Bones(
    arms=(((0.0, 0.74), (0.2, 0.68)), ((0.02, 0.78), (0.2, 0.72))),
    legs=(((0.24, 0.7), (0.42, 0.9)), ((0.28, 0.76), (0.5, 0.92))),
    neck=(-0.16, 0.58),
    hip=(0.04, 0.84),
    head=(-0.35, -0.85),
    tilt=-12,
    look=0.3,
)


def reading(b: EventBrush) -> None:
    """Someone leans back in a deck chair below a parasol, with an open book and a cup."""
    cloth, pale = b.pick_colour(), mix(b.pick_colour(), (1, 1, 0.96), 0.7)
    wood = b.pick_wood()
    b.cast_shadow(0.0, 0.55)
    b.part(rgb("d8d0c0"), limb([(-0.42, 0.1), (-0.42, 0.96)], 0.055), volume=0.5)
    dome = [(-0.2, 0.0), (0.14, 0.08), (0.4, 0.31), (0.1, 0.27), (-0.2, 0.31), (-0.44, 0.27), (-0.66, 0.3), (-0.5, 0.1)]
    b.part(wood, limb([(-0.5, 0.44), (-0.02, 0.88), (0.42, 0.9)], 0.09), volume=0.6)
    b.part(wood * 0.7, limb([(-0.3, 0.68), (-0.36, 0.97)], 0.07), limb([(0.34, 0.9), (0.34, 0.97)], 0.07), volume=0.5)
    add_person(b, RECLINED, -0.1, foot=0.97, tall=0.88)
    book = b.pick_colour()
    b.part(book, poly([(0.02, 0.5), (0.14, 0.56), (0.28, 0.46), (0.28, 0.72), (0.14, 0.8), (0.02, 0.74)]), volume=0.4)
    b.part(book * 0.6, limb([(0.14, 0.56), (0.14, 0.78)], 0.03), volume=0)
    b.part(rgb("f6f2e6"), limb([(0.02, 0.495), (0.14, 0.555), (0.28, 0.455)], 0.035), volume=0.2)
    b.part(cloth, poly(dome), volume=0.8)
    for left, right in ((-0.56, -0.38), (-0.2, 0.0), (0.18, 0.34)):
        b.part(pale, poly([(-0.2, 0.0), (left, 0.31), (right, 0.31)]), volume=0.4, inside=True)
    add_cup(b, 0.52, 0.9)


def add_cup(b: EventBrush, x: float, y: float) -> None:
    """A steaming cup on a stool, its middle at (x, y - .1)."""
    b.part(b.pick_wood() * 0.8, poly([(x - 0.11, y - 0.05), (x + 0.11, y - 0.05), (x + 0.13, 0.98), (x - 0.13, 0.98)]))
    paint = mix(b.pick_colour(), (1, 1, 1), 0.5)
    b.part(paint * 0.85, oval(x + 0.08, y - 0.12, 0.05), volume=0.3)
    b.part(paint, poly([(x - 0.08, y - 0.19), (x + 0.08, y - 0.19), (x + 0.06, y - 0.05), (x - 0.06, y - 0.05)]))
    b.part((0.98, 0.98, 1.0), wave_line(x, y - 0.4, y - 0.23, 0.03, 0.045), volume=0, opacity=0.85)


def hammock(b: EventBrush) -> None:
    """Someone lies in a hammock between two palms."""
    bark = b.pick_wood() * 0.85
    leaf = mix(rgb("4f8a48"), b.pick_colour(), b.vary(0, 0.3))
    for s in (-1, 1):
        b.cast_shadow(s * 0.62, 0.14)
        b.part(bark, limb([(s * 0.6, 0.97), (s * 0.66, 0.5), (s * 0.58, 0.12)], 0.12, 0.085), volume=0.7)
        for dx, dy in ((-0.24, 0.14), (-0.16, -0.02), (0.16, 0.0), (0.22, 0.16)):
            b.part(
                leaf,
                limb(
                    [(s * 0.58, 0.11), (s * 0.58 + 0.6 * dx, 0.05 + dy * 0.2), (s * 0.58 + dx, 0.11 + dy)], 0.085, 0.05
                ),
                volume=0.5,
            )
    b.cast_shadow(0.0, 0.4)
    lying = Bones(
        arms=(((-0.42, 0.5), (-0.5, 0.36)), ((-0.06, 0.62), (0.08, 0.54))),
        legs=(((0.26, 0.36), (0.38, 0.56)), ((0.24, 0.58), (0.52, 0.42))),
        neck=(-0.2, 0.49),
        hip=(0.04, 0.62),
        head=(-0.6, -0.65),
        tilt=-38,
        look=0.1,
    )
    add_person(b, lying, 0.02, foot=0.98, tall=0.84)
    cloth = b.pick_colour()
    sling = [
        (-0.62, 0.42),
        (-0.4, 0.6),
        (0.0, 0.68),
        (0.4, 0.6),
        (0.62, 0.42),
        (0.46, 0.74),
        (0.0, 0.88),
        (-0.46, 0.74),
    ]
    b.part(cloth, blob(sling), volume=0.8)
    stripes = [limb([(x, 0.55), (0.85 * x, 0.9)], 0.07) for x in (-0.3, -0.1, 0.1, 0.3)]
    b.part(
        mix(cloth, (1, 1, 0.95), 0.7), *stripes, volume=0.3, inside=True, opacity=0.0 if b.rng.random() < 0.4 else 1.0
    )


def fishing(b: EventBrush) -> None:
    """Someone sits on a landing stage with a rod; the float lies in a pool."""
    wood = b.pick_wood()
    b.cast_shadow(-0.36, 0.36)
    b.part(rgb("5f97b4"), oval(0.4, 0.91, 0.36, 0.085), volume=0.2)
    b.part(rgb("cfe4ec"), oval(0.48, 0.9, 0.14, 0.035), volume=0)
    b.part(rgb("5f97b4"), oval(0.48, 0.9, 0.08, 0.018), volume=0)
    b.part(wood * 0.7, limb([(-0.54, 0.8), (-0.54, 0.97)], 0.09), limb([(-0.1, 0.8), (-0.1, 0.97)], 0.09), volume=0.5)
    b.part(wood, limb([(-0.68, 0.76), (0.0, 0.76)], 0.11), volume=0.7)
    sitting = Bones(
        arms=(((0.06, 0.6), (0.22, 0.54)), ((0.08, 0.64), (0.22, 0.58))),
        legs=(((0.26, 0.72), (0.26, 0.94)), ((0.28, 0.74), (0.3, 0.98))),
        hip=(0.0, 0.74),
        neck=(-0.03, 0.46),
        head=(0.05, -0.9),
        look=0.35,
    )
    add_person(b, sitting, -0.3, foot=0.94, tall=0.84)
    b.part(b.pick_wood() * 0.8, limb([(-0.18, 0.62), (0.2, 0.2), (0.44, 0.1)], 0.055, 0.045), volume=0.4)
    b.part((0.95, 0.95, 0.93), limb([(0.45, 0.1), (0.48, 0.86)], 0.026), volume=0)
    b.part(b.pick_colour(), oval(0.48, 0.87, 0.06), volume=0.8)
    paint = b.pick_colour()
    b.part(paint, poly([(-0.66, 0.52), (-0.48, 0.52), (-0.51, 0.71), (-0.63, 0.71)]), volume=0.7)


def lap_cat(b: EventBrush) -> None:
    """Someone in an armchair, seen from the side, with a cat on the lap."""
    cloth = b.pick_colour()
    b.cast_shadow(-0.06, 0.5)
    b.part(cloth * 0.7, blob([(-0.5, 0.1), (-0.3, 0.08), (-0.22, 0.5), (-0.2, 0.9), (-0.46, 0.9)]), volume=0.7)
    b.part(
        cloth * 0.5, limb([(-0.38, 0.88), (-0.38, 0.97)], 0.08), limb([(0.06, 0.88), (0.06, 0.97)], 0.08), volume=0.4
    )
    sitting = Bones(
        arms=(((0.1, 0.58), (0.2, 0.6)), ((0.04, 0.66), (0.18, 0.62))),
        legs=(((0.44, 0.75), (0.46, 0.95)), ((0.46, 0.77), (0.5, 0.97))),
        hip=(0.0, 0.74),
        neck=(-0.06, 0.44),
        head=(0.0, -0.92),
        tilt=8,
        look=0.3,
    )
    add_person(b, sitting, -0.14, foot=0.98, tall=0.94)
    b.part(cloth, blob([(-0.44, 0.7), (0.02, 0.7), (0.12, 0.76), (0.1, 0.92), (-0.44, 0.92)]), volume=0.8)
    b.part(cloth * 1.15, limb([(-0.36, 0.71), (0.05, 0.71)], 0.1), volume=0.6)
    _add_lying_cat(b)


def _add_lying_cat(b: EventBrush) -> None:
    """A cat in profile on the knees: a round back, two ears, closed eyes, a hanging tail."""
    coat = mix(b.pick_wood(), (1, 1, 1), b.vary(0.0, 0.7))
    body = blob([(0.0, 0.68), (0.04, 0.52), (0.18, 0.45), (0.32, 0.54), (0.36, 0.7)])
    b.part(coat * 0.3, oval(0.16, 0.6, 0.19, 0.17), oval(0.36, 0.48, 0.155, 0.14), volume=0, inside=True)
    b.part(coat * 0.85, limb([(0.04, 0.64), (-0.06, 0.56), (-0.02, 0.46)], 0.075, 0.055), volume=0.6)
    b.part(coat, body, limb([(0.28, 0.68), (0.42, 0.7)], 0.09), volume=0.85)
    ears = [poly([(x - 0.065, 0.44), (x + 0.065, 0.44), (x + lean, 0.28)]) for x, lean in ((0.29, -0.04), (0.43, 0.04))]
    b.part(coat, oval(0.36, 0.48, 0.14, 0.12), *ears, volume=0.7)
    closed = [limb([(x - 0.04, 0.47), (x, 0.495), (x + 0.04, 0.47)], 0.026) for x in (0.31, 0.43)]
    b.part(coat * 0.2, *closed, volume=0)
    b.part((0.8, 0.45, 0.45), oval(0.37, 0.53, 0.032, 0.024), volume=0.2)
    bands = [limb([(x, 0.46), (x + 0.02, 0.58)], 0.04) for x in (0.1, 0.2)]
    b.part(coat * 0.6, *bands, volume=0, inside=True)

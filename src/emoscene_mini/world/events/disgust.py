"""What turns the stomach: a heap that smells, a bucket, a rotten fish, a step in slime."""

from __future__ import annotations

import numpy as np

from emoscene_mini.world.brush import blob, limb, oval, poly
from emoscene_mini.world.canvas import mix, rgb
from emoscene_mini.world.events.actors import Bones, add_person, wave_line
from emoscene_mini.world.events.stage import EventBrush

Spot = tuple[float, float]


def pick_slime(b: EventBrush) -> np.ndarray:
    """A random muddy colour."""
    muds = [rgb(code) for code in ("7a8a3a", "6a5a34", "8a6a4a", "5a6a52", "9a8a5a")]
    return muds[int(b.rng.integers(len(muds)))] * b.vary(0.85, 1.15)


def add_smell(b: EventBrush, xs: tuple[float, ...], top: float, bottom: float, flies: tuple[Spot, ...]) -> None:
    """Wavy lines that rise, and fat flies."""
    pale = mix(pick_slime(b), (1, 1, 0.9), 0.6)
    waves = [wave_line(x, top, bottom, 0.035, 0.05) for x in xs]
    b.part(pale, *waves, volume=0, opacity=0.85)
    for x, y in flies:
        wings = [oval(x - 0.03, y - 0.04, 0.045, 0.026, 0.9), oval(x + 0.04, y - 0.04, 0.045, 0.026, -0.9)]
        b.part((0.62, 0.66, 0.72), *wings, volume=0)
        b.part((0.08, 0.07, 0.1), oval(x, y, 0.055, 0.04), volume=0.3)


def smelly_heap(b: EventBrush) -> None:
    """Someone holds the nose and leans away from a heap of waste."""
    averted = Bones(
        arms=(((0.2, 0.52), (0.36, 0.42)), ((0.1, 0.54), (0.05, 0.29))),
        legs=(((0.02, 0.83), (0.1, 0.97)), ((-0.12, 0.83), (-0.1, 0.97))),
        neck=(-0.12, 0.4),
        hip=(0.0, 0.68),
        head=(-0.3, -0.88),
        tilt=-14,
        look=0.3,
    )
    b.cast_shadow(-0.4, 0.24)
    b.cast_shadow(0.36, 0.4)
    add_smell(b, (0.18, 0.36, 0.54), 0.12, 0.42, ((0.1, 0.6), (0.68, 0.56)))
    mud = pick_slime(b)
    heap = [(0.0, 0.97), (0.08, 0.78), (0.2, 0.66), (0.3, 0.5), (0.44, 0.52), (0.56, 0.68), (0.66, 0.8), (0.72, 0.97)]
    b.part(mud, blob(heap), volume=0.9)
    b.part(b.pick_stone(), poly([(0.1, 0.72), (0.22, 0.66), (0.28, 0.84), (0.16, 0.88)]), volume=0.7)
    b.part(rgb("ece8da"), limb([(0.36, 0.66), (0.54, 0.78)], 0.05), oval(0.35, 0.64, 0.04), oval(0.56, 0.77, 0.045))
    b.part(b.pick_colour(), oval(0.4, 0.88, 0.08, 0.06, 0.4), oval(0.6, 0.9, 0.06), volume=0.7)
    add_person(b, averted, -0.34, tall=0.94)


def sick(b: EventBrush) -> None:
    """Someone bends over a bucket and vomits."""
    bent = Bones(
        arms=(((0.1, 0.66), (0.12, 0.8)), ((0.14, 0.66), (0.14, 0.82))),
        legs=(((0.04, 0.83), (-0.08, 0.97)), ((0.1, 0.82), (0.04, 0.97))),
        neck=(0.2, 0.46),
        hip=(-0.12, 0.6),
        head=(0.95, -0.15),
        tilt=40,
        look=0.35,
        cover=False,
    )
    b.cast_shadow(-0.3, 0.28)
    b.cast_shadow(0.34, 0.24)
    spew = mix(pick_slime(b), rgb("c8cc5a"), 0.5)
    paint = b.pick_colour()
    b.part(paint * 0.5, oval(0.36, 0.72, 0.2, 0.06), volume=0.2)
    add_person(b, bent, -0.26, foot=0.97, tall=1.0)
    b.part(spew, limb([(0.28, 0.5), (0.35, 0.58), (0.36, 0.74)], 0.09, 0.14), volume=0.6)
    b.part(paint, poly([(0.16, 0.73), (0.27, 0.77), (0.45, 0.77), (0.56, 0.73), (0.5, 0.98), (0.22, 0.98)]), volume=0.8)
    b.part(spew, limb([(0.22, 0.75), (0.23, 0.84)], 0.07), limb([(0.5, 0.75), (0.49, 0.88)], 0.07), volume=0.6)
    b.part(spew, oval(0.62, 0.95, 0.09, 0.035), oval(0.1, 0.96, 0.07, 0.03), volume=0.4)


def rotten_fish(b: EventBrush) -> None:
    """A table with half a fish, all bones, in a smell; someone behind it leans back."""
    averted = Bones(
        arms=(((-0.3, 0.56), (-0.32, 0.7)), ((0.08, 0.52), (0.04, 0.29))),
        neck=(-0.12, 0.4),
        hip=(0.0, 0.68),
        head=(-0.4, -0.88),
        tilt=-18,
        look=0.25,
    )
    wood = b.pick_wood()
    b.cast_shadow(0.1, 0.56)
    add_person(b, averted, -0.42, foot=0.97, tall=0.9)
    add_smell(b, (0.08, 0.26, 0.44), 0.05, 0.31, ((0.62, 0.28),))
    for x in (-0.2, 0.52):
        b.part(wood * 0.7, limb([(x, 0.74), (x, 0.96)], 0.09), volume=0.5)
    b.part(wood, poly([(-0.34, 0.68), (0.62, 0.68), (0.68, 0.78), (-0.38, 0.78)]), volume=0.5)
    b.part(rgb("f0eee8"), oval(0.2, 0.675, 0.42, 0.055), volume=0.4)
    bone = rgb("e0dac4")
    b.part(bone * 0.5, limb([(0.0, 0.52), (0.44, 0.52)], 0.08), volume=0)
    ribs = [limb([(x, 0.41), (x - 0.03, 0.63)], 0.045) for x in (0.12, 0.23, 0.34)]
    b.part(bone, limb([(-0.02, 0.52), (0.44, 0.52)], 0.05), *ribs, volume=0.4)
    skin = pick_slime(b)
    b.part(skin, blob([(-0.22, 0.55), (-0.1, 0.39), (0.05, 0.4), (0.06, 0.64), (-0.1, 0.66)]), volume=0.8)
    b.part(skin, poly([(0.4, 0.52), (0.6, 0.38), (0.55, 0.52), (0.6, 0.66)]), volume=0.6)
    b.part((0.97, 0.97, 0.93), oval(-0.07, 0.5, 0.06), volume=0)
    cross = [limb([(-0.1, 0.47), (-0.04, 0.53)], 0.024), limb([(-0.04, 0.47), (-0.1, 0.53)], 0.024)]
    b.part((0.1, 0.08, 0.1), *cross, volume=0)


def slime_step(b: EventBrush) -> None:
    """Someone lifts a foot out of slime that sticks to it."""
    stepping = Bones(
        arms=(((-0.2, 0.46), (-0.36, 0.4)), ((0.2, 0.5), (0.34, 0.36))),
        legs=(((-0.08, 0.83), (-0.1, 0.97)), ((0.24, 0.62), (0.26, 0.76))),
        neck=(-0.06, 0.38),
        hip=(-0.04, 0.66),
        head=(-0.1, -0.9),
        tilt=12,
        look=0.3,
    )
    slime = pick_slime(b)
    pool = [(-0.04, 0.93), (0.14, 0.87), (0.4, 0.87), (0.6, 0.92), (0.56, 0.98), (0.2, 1.0), (0.0, 0.99)]
    b.cast_shadow(-0.22, 0.22)
    b.part(slime, blob(pool), volume=0.7)
    add_person(b, stepping, -0.12, foot=0.96, tall=0.91)
    strings = [
        limb([(x, 0.75), (0.14 + 0.5 * (x - 0.05), 0.84), (0.12 + 1.2 * (x - 0.05), 0.93)], 0.06, 0.08)
        for x in (0.08, 0.16, 0.24)
    ]
    b.part(slime * 1.1, *strings, oval(0.16, 0.75, 0.14, 0.05), volume=0.7)
    b.part(mix(slime, (1, 1, 0.9), 0.6), oval(0.4, 0.91, 0.06, 0.025), oval(0.1, 0.95, 0.04, 0.016), volume=0)
    add_smell(b, (0.3, 0.43, 0.56), 0.5, 0.82, ())

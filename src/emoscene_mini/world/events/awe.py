"""The vast: a small person before a whale, a stone head, a tree, a rocket."""

from __future__ import annotations

from emoscene_mini.world.brush import blob, limb, oval, poly
from emoscene_mini.world.canvas import mix, rgb
from emoscene_mini.world.events.stage import EventBrush

SMALL = 0.38
"""The height of the person, who shows how large the rest is."""


def whale(b: EventBrush) -> None:
    """A whale leaps out of the water, belly forward."""
    back = mix(b.pick_stone() * 0.55, b.pick_colour(), 0.25)
    water, foam = rgb("5a8fb0"), rgb("f2f6f8")
    b.part(water, oval(0.12, 0.93, 0.52, 0.065), volume=0.3)
    body = [(-0.3, 0.12), (-0.08, 0.08), (0.16, 0.2), (0.36, 0.5), (0.42, 0.92), (0.02, 0.92), (-0.08, 0.56)]
    b.part(back, blob([*body, (-0.27, 0.3)]), volume=0.9)
    belly = [(-0.36, 0.16), (-0.18, 0.24), (0.0, 0.44), (0.14, 0.92), (-0.04, 0.94), (-0.14, 0.6), (-0.32, 0.28)]
    b.part(mix(back, (1, 1, 1), 0.75), blob(belly), volume=0.5, inside=True)
    grooves = [limb([(-0.24 + d, 0.26), (-0.09 + d, 0.52), (0.0 + d, 0.88)], 0.02) for d in (-0.01, 0.06)]
    b.part(mix(back, (1, 1, 1), 0.35), *grooves, volume=0, inside=True)
    b.part(back * 0.8, blob([(0.24, 0.38), (0.52, 0.3), (0.62, 0.42), (0.34, 0.54)]), volume=0.6)
    b.part(back * 0.7, blob([(-0.06, 0.52), (-0.34, 0.62), (-0.38, 0.74), (-0.02, 0.64)]), volume=0.6)
    b.part((1, 1, 1), oval(0.0, 0.28, 0.045), volume=0)
    b.part((0.06, 0.05, 0.08), oval(-0.005, 0.285, 0.03), volume=0)
    drops = [
        oval(x, 0.9 - h, r)
        for x, h, r in (
            (-0.16, 0.0, 0.09),
            (-0.05, 0.05, 0.08),
            (0.12, 0.02, 0.1),
            (0.3, 0.03, 0.1),
            (0.46, 0.06, 0.09),
            (0.58, 0.0, 0.08),
            (0.56, 0.16, 0.045),
            (-0.16, 0.16, 0.04),
        )
    ]
    b.part(foam, *drops, volume=0.5)
    b.add_sprite("person", -0.42, 0.99, SMALL, "gazing")


def stone_head(b: EventBrush) -> None:
    """A person below a stone head many times as tall."""
    stone = b.pick_stone()
    b.cast_shadow(0.12, 0.44)
    skull = [(-0.16, 0.06), (0.14, 0.0), (0.4, 0.06), (0.46, 0.4), (0.44, 0.7), (0.5, 0.98), (-0.2, 0.98)]
    b.part(stone, poly([*skull, (-0.16, 0.7), (-0.2, 0.4)]), volume=0.7, to=stone * 0.8)
    b.part(stone * 0.45, oval(0.0, 0.36, 0.1, 0.06), oval(0.28, 0.36, 0.1, 0.06), volume=0, soft=0.008)
    b.part(stone * 1.08, limb([(-0.14, 0.27), (0.12, 0.29), (0.4, 0.27)], 0.09), volume=0.8)
    b.part(stone * 1.1, blob([(0.09, 0.28), (0.19, 0.28), (0.27, 0.62), (0.02, 0.62)]), volume=0.95)
    b.part(stone * 0.5, limb([(0.02, 0.74), (0.27, 0.74)], 0.045), volume=0)
    b.part(stone * 1.05, limb([(0.0, 0.8), (0.28, 0.8)], 0.06), volume=0.8)
    b.part(stone * 0.8, poly([(-0.2, 0.34), (-0.28, 0.32), (-0.26, 0.72), (-0.16, 0.7)]), volume=0.6)
    b.add_sprite("person", -0.42, 0.99, SMALL, "gazing")


def giant_tree(b: EventBrush) -> None:
    """A person at the foot of a trunk as wide as a house."""
    bark = b.pick_wood() * 0.75
    leaf = mix(rgb("4f7a42"), b.pick_colour(), b.vary(0.0, 0.4))
    b.cast_shadow(0.1, 0.6)
    roots = [limb([(0.1 + d, 0.76), (0.1 + 1.7 * d, 0.97)], 0.16, 0.06) for d in (-0.2, -0.08, 0.1, 0.22)]
    b.part(bark, blob([(-0.08, 0.3), (0.28, 0.3), (0.3, 0.7), (0.38, 0.96), (-0.2, 0.96), (-0.1, 0.7)]), *roots)
    forks = [limb([(0.06, 0.5), (-0.18, 0.28)], 0.13, 0.08), limb([(0.18, 0.5), (0.42, 0.28)], 0.13, 0.08)]
    b.part(bark, *forks, volume=0.6)
    cracks = [limb([(0.1 + d, 0.42), (0.1 + 1.2 * d, 0.9)], 0.025) for d in (-0.1, 0.02, 0.13)]
    b.part(bark * 0.6, *cracks, volume=0, inside=True)
    for x, y, r in (
        (-0.36, 0.27, 0.17),
        (0.5, 0.27, 0.18),
        (-0.14, 0.19, 0.16),
        (0.32, 0.18, 0.17),
        (0.09, 0.23, 0.21),
    ):
        b.part(leaf * b.vary(0.85, 1.1), oval(x, y, 1.15 * r, 0.85 * r), volume=0.9)
    b.add_sprite("person", -0.4, 0.99, SMALL * 0.9, "gazing")


def rocket(b: EventBrush) -> None:
    """A rocket lifts off on fire and smoke; a person looks on."""
    paint = b.pick_colour()
    b.cast_shadow(0.14, 0.5)
    for x, y, r in ((-0.12, 0.88, 0.1), (0.42, 0.88, 0.11), (0.02, 0.86, 0.11), (0.28, 0.86, 0.12), (0.15, 0.88, 0.11)):
        b.part(rgb("d8d6d4") * b.vary(0.85, 1.0), oval(x, y, 1.15 * r, r), volume=0.8)
    for code, k in (("f0601c", 1.0), ("ffb43a", 0.68), ("fff2b8", 0.4)):
        b.part(rgb(code), blob([(0.15 - 0.13 * k, 0.56), (0.15 + 0.13 * k, 0.56), (0.15, 0.58 + 0.34 * k)]), volume=0)
    fins = [
        poly([(0.15 + s * 0.1, 0.34), (0.15 + s * 0.29, 0.52), (0.15 + s * 0.27, 0.64), (0.15 + s * 0.1, 0.56)])
        for s in (-1, 1)
    ]
    b.part(paint, *fins, volume=0.6)
    hull = [(0.15, 0.0), (0.27, 0.16), (0.3, 0.34), (0.26, 0.57), (0.04, 0.57), (0.0, 0.34), (0.03, 0.16)]
    b.part(rgb("eceae6"), blob(hull), volume=0.9)
    b.part(paint, blob([(0.15, -0.01), (0.24, 0.1), (0.27, 0.17), (0.03, 0.17), (0.06, 0.1)]), volume=0.7, inside=True)
    b.part(paint * 0.5, oval(0.15, 0.29, 0.075), volume=0.5)
    b.part(rgb("bfe0ee"), oval(0.15, 0.29, 0.05), volume=0.6)
    b.add_sprite("person", -0.4, 0.99, SMALL, "gazing")

"""Contests and shows: a finish, a trophy, a skateboard in the air, a singer above a crowd."""

from __future__ import annotations

from emoscene_mini.world.brush import limb, oval, poly
from emoscene_mini.world.canvas import mix, rgb
from emoscene_mini.world.events.actors import Bones, add_person
from emoscene_mini.world.events.stage import EventBrush


def finish(b: EventBrush) -> None:
    """A runner with raised arms breaks the ribbon between two flag poles."""
    ribbon = b.pick_colour()
    pole = rgb("e8e4da")
    b.cast_shadow(-0.04, 0.34)
    running = Bones(
        arms=(((-0.2, 0.28), (-0.3, 0.06)), ((0.2, 0.28), (0.32, 0.06))),
        legs=(((-0.16, 0.8), (-0.38, 0.8)), ((0.22, 0.7), (0.2, 0.93))),
        neck=(0.05, 0.38),
        hip=(-0.04, 0.66),
        head=(0.1, -0.92),
        look=0.2,
    )
    for x in (-0.58, 0.58):
        b.part(pole, limb([(x, 0.1), (x, 0.97)], 0.06), volume=0.5)
        flag = [(x, 0.04), (x + (0.22 if x < 0 else -0.22), 0.13), (x, 0.24)]
        b.part(ribbon * 0.9, poly(flag), volume=0.5)
    add_person(b, running, -0.06, foot=0.97, tall=0.94)
    b.part(ribbon, limb([(-0.56, 0.5), (-0.26, 0.54), (-0.04, 0.58)], 0.085), volume=0.3)
    b.part(ribbon, limb([(-0.04, 0.58), (0.1, 0.56), (0.26, 0.5), (0.56, 0.48)], 0.085), volume=0.3)


def trophy(b: EventBrush) -> None:
    """Someone on a winner's step holds a cup overhead."""
    block, gold = b.pick_colour(), mix(rgb("e8b93c"), b.pick_colour(), b.vary(0.0, 0.35))
    b.cast_shadow(0.0, 0.5)
    b.part(block, poly([(-0.24, 0.86), (0.24, 0.86), (0.24, 0.98), (-0.24, 0.98)]), volume=0.5)
    b.part(block * 0.7, poly([(-0.48, 0.91), (-0.24, 0.91), (-0.24, 0.98), (-0.48, 0.98)]), volume=0.4)
    b.part(block * 0.7, poly([(0.48, 0.93), (0.24, 0.93), (0.24, 0.98), (0.48, 0.98)]), volume=0.4)
    b.part((0.98, 0.97, 0.93), poly([(-0.03, 0.885), (0.04, 0.885), (0.04, 0.97), (-0.03, 0.97)]), volume=0)
    lifting = Bones(
        arms=(((-0.28, 0.42), (-0.19, 0.16)), ((0.28, 0.42), (0.19, 0.16))),
        legs=(((-0.09, 0.83), (-0.13, 0.97)), ((0.1, 0.83), (0.13, 0.97))),
        look=0.0,
    )
    for side in (-1, 1):
        handle = [(side * 0.12, 0.07), (side * 0.25, 0.07), (side * 0.23, 0.13), (side * 0.1, 0.17)]
        b.part(gold * 0.9, limb(handle, 0.045), volume=0.6)
    b.part(gold * 0.8, poly([(-0.04, 0.16), (0.04, 0.16), (0.05, 0.21), (0.12, 0.25), (-0.12, 0.25), (-0.05, 0.21)]))
    bowl = [(-0.17, 0.03), (0.17, 0.03), (0.16, 0.1), (0.09, 0.17), (0.0, 0.19), (-0.09, 0.17), (-0.16, 0.1)]
    b.part(gold, poly(bowl), volume=0.95)
    b.part(gold * 0.55, limb([(-0.15, 0.045), (0.15, 0.045)], 0.03), volume=0)
    add_person(b, lifting, 0.0, foot=0.89, tall=0.74)


def skateboard(b: EventBrush) -> None:
    """A skater in the air above a ramp."""
    slope = b.pick_wood()
    b.cast_shadow(-0.1, 0.6)
    ramp = [(-0.7, 0.98), (0.1, 0.98), (0.66, 0.98), (0.66, 0.46), (0.5, 0.5), (0.3, 0.78), (0.0, 0.91), (-0.7, 0.95)]
    b.part(slope, poly(ramp), volume=0.6, to=slope * 0.7)
    b.part(slope * 1.25, limb([(0.0, 0.91), (0.3, 0.79), (0.52, 0.5), (0.66, 0.47)], 0.05), volume=0.4)
    flying = Bones(
        arms=(((-0.24, 0.36), (-0.36, 0.16)), ((0.24, 0.42), (0.42, 0.3))),
        legs=(((-0.2, 0.7), (-0.2, 0.9)), ((0.22, 0.66), (0.22, 0.84))),
        neck=(0.02, 0.38),
        hip=(0.0, 0.64),
        look=0.2,
        tilt=6,
    )
    board = b.pick_colour()
    b.part(board, limb([(-0.52, 0.58), (-0.42, 0.67), (0.08, 0.59), (0.16, 0.48)], 0.08), volume=0.5)
    b.part(rgb("2c2a30"), oval(-0.36, 0.745, 0.06), oval(0.06, 0.68, 0.06), volume=0.7)
    add_person(b, flying, -0.17, foot=0.68, tall=0.65)


def concert(b: EventBrush) -> None:
    """A singer with a guitar on a stage, raised hands of a crowd before it."""
    boards = b.pick_wood() * 0.7
    b.cast_shadow(0.0, 0.66)
    for s in (-1, 1):
        b.part(rgb("2e2a34"), poly([(s * 0.44, 0.3), (s * 0.68, 0.3), (s * 0.68, 0.74), (s * 0.44, 0.74)]), volume=0.6)
        b.part(rgb("8a8894"), oval(s * 0.56, 0.6, 0.085), oval(s * 0.56, 0.41, 0.06), volume=0.5)
    b.part(boards, poly([(-0.7, 0.72), (0.7, 0.72), (0.7, 0.98), (-0.7, 0.98)]), volume=0.4)
    playing = Bones(
        arms=(((-0.24, 0.4), (-0.34, 0.14)), ((0.22, 0.58), (0.08, 0.64))),
        legs=(((-0.14, 0.82), (-0.24, 0.97)), ((0.16, 0.8), (0.24, 0.97))),
        look=0.0,
    )
    add_person(b, playing, 0.0, foot=0.76, tall=0.7)
    guitar = b.pick_colour()
    b.part(rgb("3a2c24"), limb([(0.0, 0.52), (0.34, 0.3)], 0.055), volume=0.4)
    b.part(guitar, oval(-0.04, 0.56, 0.12, 0.1, -0.5), oval(0.05, 0.49, 0.08, 0.07, -0.5), volume=0.8)
    b.part((0.12, 0.1, 0.12), oval(0.0, 0.53, 0.035), volume=0)
    for x in (-0.5, -0.17, 0.17, 0.5):
        _add_cheering(b, x + b.vary(-0.03, 0.03))


def _add_cheering(b: EventBrush, x: float) -> None:
    """Someone of the crowd from behind: the back of a head and two raised arms."""
    skin, coat, hair = b.pick_wood(), b.pick_colour() * 0.7, b.pick_wood() * 0.4
    top = 0.8 + b.vary(-0.02, 0.02)
    for s in (-1, 1):
        b.part(coat, limb([(x + s * 0.1, 0.98), (x + s * 0.14, top)], 0.075), volume=0.5)
        b.part(skin, oval(x + s * 0.14, top - 0.04, 0.045), volume=0.5)
    b.part(coat, oval(x, 1.0, 0.14, 0.07), volume=0.5)
    b.part(hair, oval(x, top + 0.08, 0.09, 0.095), volume=0.8)

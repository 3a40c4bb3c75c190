"""People in an event, posed by their joints.

A sprite of `objects` stands as one of its poses; who runs, kneels or falls is drawn here from `Bones`. Joints are in
heights of the figure, (0, 1) between its feet; a figure looks to the right unless it is mirrored. Heads and faces are
those of every other person of the world.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from emoscene_mini.world.brush import Brush, Shape, blob, limb, oval
from emoscene_mini.world.canvas import Colour
from emoscene_mini.world.events.stage import EventBrush
from emoscene_mini.world.expressions import draw_features
from emoscene_mini.world.faces import Character, draw_head, sample_character

Joint = tuple[float, float]
Path = tuple[Joint, ...]

RADIUS = {"grown": 0.165, "old": 0.165, "child": 0.2}
"""Head radii, in heights of the figure."""


@dataclass(frozen=True)
class Bones:
    """Where the joints of a figure are that looks to the right.

    Args:
        arms: Elbow and hand (or the hand alone) of the far and of the near arm.
        legs: Knee and foot of the far and of the near leg.
        neck: The upper end of the spine.
        hip: Its lower end.
        head: From neck to the head's middle, in head radii.
        tilt: Degrees by which the head is tipped forwards.
        look: How far the face is turned to the right, in head radii.
        wide: Half the shoulders' width.
        cover: Whether the near arm lies before the face.
    """

    arms: tuple[Path, Path]
    legs: tuple[Path, Path] = (((-0.06, 0.82), (-0.08, 0.97)), ((0.07, 0.82), (0.08, 0.97)))
    neck: Joint = (0.0, 0.37)
    hip: Joint = (0.0, 0.67)
    head: Joint = (0.0, -0.92)
    tilt: float = 0.0
    look: float = 0.25
    wide: float = 0.1
    cover: bool = True


def add_person(
    b: EventBrush,
    bones: Bones,
    x: float,
    foot: float = 0.98,
    tall: float = 0.9,
    side: float = 1.0,
    age: str | None = None,
) -> None:
    """Draw someone with these joints.

    Args:
        b: The event's brush.
        bones: The joints.
        x: Where the figure's (0, 1) lies.
        foot: The y of it.
        tall: The figure's height.
        side: 1 to look to the right, -1 to the left.
        age: "child", "grown" or "old"; None draws a grown or an old person.
    """
    who = sample_character(b.rng, age or str(b.rng.choice(["grown", "grown", "old"])))

    def at(joint: Joint) -> Joint:
        return x + side * joint[0] * tall, foot + (joint[1] - 1) * tall

    neck, hip = np.array(at(bones.neck)), np.array(at(bones.hip))
    spine = (hip - neck) / max(float(np.hypot(*(hip - neck))), 1e-6)
    across = side * np.array([spine[1], -spine[0]])
    trousers = who.accent * 0.7
    for path, sign in zip(bones.legs, (-1, 1), strict=True):
        start = hip + sign * 0.05 * tall * across
        tone = trousers * (0.72 if sign < 0 else 1.0)
        _add_leg(b, tone, [(float(start[0]), float(start[1])), *(at(p) for p in path)], tall, side)
    far = neck - bones.wide * tall * across + 0.05 * tall * spine
    _add_arm(b, who, who.clothes * 0.68, [(float(far[0]), float(far[1])), *(at(p) for p in bones.arms[0])], tall)
    _add_torso(b, who, neck, hip, across, tall, bones.wide)
    near = neck + bones.wide * tall * across + 0.05 * tall * spine
    near_arm = [(float(near[0]), float(near[1])), *(at(p) for p in bones.arms[1])]
    if not bones.cover:
        _add_arm(b, who, who.clothes * 0.88, near_arm, tall)
    r = RADIUS[who.age] * tall
    middle = (float(neck[0]) + side * bones.head[0] * r, float(neck[1]) + bones.head[1] * r)
    _add_head(b, who, middle, r, side * bones.look, side * bones.tilt)
    if bones.cover:
        _add_arm(b, who, who.clothes * 0.88, near_arm, tall)


def _add_limb(b: Brush, colour: np.ndarray, path: list[Joint], start: float, end: float, edge: float) -> None:
    """A limb with a dark edge where it lies before the body."""
    b.part(colour * 0.4, limb(path, start + edge, end + edge), volume=0, inside=True)
    b.part(colour, limb(path, start, end), volume=0.6)


def _add_leg(b: Brush, colour: np.ndarray, path: list[Joint], tall: float, side: float) -> None:
    foot = path[-1]
    _add_limb(b, colour, path, 0.125 * tall, 0.1 * tall, 0.035 * tall)
    b.part((0.17, 0.13, 0.13), oval(foot[0] + side * 0.025 * tall, foot[1] - 0.005, 0.075 * tall, 0.042 * tall))


def _add_arm(b: Brush, who: Character, colour: np.ndarray, path: list[Joint], tall: float) -> None:
    _add_limb(b, colour, path, 0.115 * tall, 0.09 * tall, 0.035 * tall)
    b.part(who.skin, oval(*path[-1], 0.056 * tall), volume=0.6)


def _add_torso(
    b: Brush, who: Character, neck: np.ndarray, hip: np.ndarray, across: np.ndarray, tall: float, wide: float
) -> None:
    top, hem = max(wide, 0.075) * tall, (max(wide, 0.085) + 0.035) * tall
    down = 0.05 * tall * np.array([-across[1], across[0]]) * (1 if across[0] > 0 else -1)
    if who.style in ("long", "bun"):
        hem, down = hem * 1.35, down * 1.9
    corners = [neck - top * across, neck - 0.03 * tall * (hip - neck), neck + top * across]
    corners += [hip + down + hem * across, hip + 1.15 * down, hip + down - hem * across]
    b.part(who.clothes, blob([(float(p[0]), float(p[1])) for p in corners]), volume=0.7, to=who.clothes * 0.75)


def _add_head(b: EventBrush, who: Character, middle: Joint, r: float, look: float, tilt: float) -> None:
    """A head on a sheet of its own, tipped by `tilt` degrees to the right."""
    sheet = Brush(round(4.2 * r * b.height), 1.0, b.light_from)
    draw_head(sheet, who, 0.0, 0.5, r * b.height / sheet.height, b.expression, b.intensity, (look, 0.0))
    b.part(who.clothes * 0.35, oval(*middle, 1.16 * r), volume=0, inside=True)
    image = sheet.image()
    if tilt:
        image = image.rotate(-tilt)
    b.paste(image, *middle)


def add_face(b: EventBrush, x: float, y: float, r: float, coat: Colour, ink: Colour, look: float = 0.0) -> None:
    """Draw the event's expression on an animal's head of radius `r` that is there already."""
    draw_features(b, x, y, r, b.expression, b.intensity, coat, ink, ink, (look, 0.0))


def wave_line(x: float, top: float, bottom: float, sway: float, width: float) -> Shape:
    """A thick wavy line that rises from (x, bottom) to `top`, as steam or a smell is drawn."""
    t = np.linspace(0, 1, 9)
    across = x + sway * np.sin(2 * np.pi * t)
    return limb(list(zip(across.tolist(), (bottom + (top - bottom) * t).tolist(), strict=True)), width)

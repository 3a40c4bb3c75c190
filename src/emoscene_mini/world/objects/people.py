"""People: big-headed storybook figures whose silhouette shows the posture.

A posture is a `Stance`: where neck, hip, elbows, hands, knees and feet are, in units of the figure's height, y down.
The same stance serves a grown person and a child, who is smaller and has a larger head. Side-on stances face right;
`sprite` turns half of them round.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from PIL import Image

from emoscene_mini.world.brush import Brush, Points, blob, limb, oval
from emoscene_mini.world.faces import Character, draw_head, sample_character

Joint = tuple[float, float]
Limbs = tuple[tuple[Joint, Joint], tuple[Joint, Joint]]
SOLE = 0.97  # the y on which feet stand


@dataclass(frozen=True)
class Stance:
    """A posture.

    Args:
        neck: Where the torso ends above.
        hip: Where it ends below.
        head: From the neck to the head's middle, in head radii.
        arms: Elbow and hand of the farther and the nearer arm.
        legs: Knee and foot of the farther and the nearer leg.
        tilt: Turn of the head in degrees, positive to the left.
        look: How far the face is turned to the right and down, in head radii.
        shoulder: Half the width of the shoulders.
        arms_last: Whether arms are drawn over the head.
        legs_last: Whether legs are drawn over the torso.
        palms: Whether the hands are open, fingers up.
        upright: Whether a skirt hangs down.
    """

    neck: Joint
    hip: Joint
    head: Joint
    arms: Limbs
    legs: Limbs
    tilt: float = 0.0
    look: Joint = (0.0, 0.0)
    shoulder: float = 0.12
    arms_last: bool = False
    legs_last: bool = False
    palms: bool = False
    upright: bool = True


STANCES: dict[str, Stance] = {
    "standing": Stance(
        neck=(0.0, 0.43),
        hip=(0.0, 0.68),
        head=(0.0, -1.02),
        arms=(((-0.19, 0.56), (-0.21, 0.71)), ((0.19, 0.56), (0.21, 0.71))),
        legs=(((-0.085, 0.82), (-0.1, 0.95)), ((0.085, 0.82), (0.1, 0.95))),
    ),
    "jumping": Stance(
        neck=(0.0, 0.4),
        hip=(0.0, 0.62),
        head=(0.0, -0.95),
        arms=(((-0.26, 0.34), (-0.42, 0.12)), ((0.26, 0.34), (0.42, 0.12))),
        legs=(((-0.22, 0.66), (-0.36, 0.82)), ((0.22, 0.66), (0.36, 0.82))),
        upright=False,
    ),
    "gazing": Stance(
        neck=(-0.04, 0.44),
        hip=(0.02, 0.68),
        head=(-0.3, -0.9),
        arms=(((-0.24, 0.6), (-0.44, 0.5)), ((0.22, 0.6), (0.42, 0.48))),
        legs=(((-0.06, 0.82), (-0.08, 0.95)), ((0.1, 0.82), (0.12, 0.95))),
        tilt=30.0,
        look=(0.12, -0.34),
    ),
    "resting": Stance(
        neck=(-0.2, 0.56),
        hip=(-0.1, 0.84),
        head=(-0.1, -1.0),
        arms=(((-0.06, 0.66), (0.08, 0.72)), ((-0.38, 0.68), (-0.44, 0.92))),
        legs=(((0.1, 0.64), (0.22, 0.94)), ((0.16, 0.88), (0.48, 0.93))),
        tilt=8.0,
        legs_last=True,
        upright=False,
    ),
    "charging": Stance(
        neck=(0.1, 0.46),
        hip=(-0.06, 0.68),
        head=(0.5, -0.9),
        arms=(((-0.16, 0.38), (-0.18, 0.13)), ((0.3, 0.6), (0.5, 0.52))),
        legs=(((-0.26, 0.82), (-0.5, 0.94)), ((0.22, 0.74), (0.22, 0.95))),
        tilt=-12.0,
        look=(0.22, 0.1),
        upright=False,
    ),
    "recoiling": Stance(
        neck=(-0.14, 0.47),
        hip=(0.0, 0.69),
        head=(-0.45, -0.95),
        arms=(((0.08, 0.46), (0.24, 0.28)), ((0.08, 0.62), (0.32, 0.54))),
        legs=(((-0.13, 0.82), (-0.2, 0.95)), ((0.16, 0.82), (0.34, 0.94))),
        tilt=14.0,
        look=(-0.26, 0.06),
        palms=True,
        upright=False,
    ),
    "crouching": Stance(
        neck=(0.0, 0.68),
        hip=(0.0, 0.87),
        head=(0.0, -0.75),
        arms=(((-0.32, 0.66), (-0.16, 0.43)), ((0.32, 0.66), (0.16, 0.43))),
        legs=(((-0.2, 0.77), (-0.14, 0.95)), ((0.2, 0.77), (0.14, 0.95))),
        look=(0.0, 0.12),
        arms_last=True,
        legs_last=True,
        upright=False,
    ),
    "slumped": Stance(
        neck=(0.08, 0.47),
        hip=(-0.08, 0.68),
        head=(0.75, -0.55),
        arms=(((0.22, 0.66), (0.24, 0.84)), ((0.08, 0.68), (0.1, 0.87))),
        legs=(((0.02, 0.82), (-0.03, 0.95)), ((-0.1, 0.83), (-0.18, 0.95))),
        tilt=-28.0,
        look=(0.1, 0.24),
        shoulder=0.09,
    ),
}


def person(b: Brush, rng: np.random.Generator, pose: str, expression: str, night: float) -> None:
    """Draw a grown or old person."""
    age = str(rng.choice(["grown", "grown", "old"]))
    _draw_figure(b, sample_character(rng, age), STANCES[pose], expression, 1.0, 0.155)


def child(b: Brush, rng: np.random.Generator, pose: str, expression: str, night: float) -> None:
    """Draw a child, who has a larger head on a smaller body."""
    _draw_figure(b, sample_character(rng, "child"), STANCES[pose], expression, 0.84, 0.185)


def _draw_figure(b: Brush, person: Character, stance: Stance, expression: str, scale: float, r: float) -> None:
    s = _scale_stance(stance, scale)
    far, near = s.arms
    if not s.legs_last:
        _draw_legs(b, person, s)
    if not s.arms_last:
        _draw_arm(b, person, s, far, -1)
    _draw_torso(b, person, s)
    if s.legs_last:
        _draw_legs(b, person, s)
    if not s.arms_last:
        _draw_arm(b, person, s, near, 1)
    _draw_tilted_head(b, person, s, expression, r)
    if s.arms_last:
        _draw_arm(b, person, s, far, -1)
        _draw_arm(b, person, s, near, 1)


def _scale_stance(s: Stance, scale: float) -> Stance:
    """The same posture of a smaller body on the same ground."""

    def move(at: Joint) -> Joint:
        return at[0] * scale, SOLE - (SOLE - at[1]) * scale

    def move_pair(limbs: Limbs) -> Limbs:
        (far_bend, far_end), (near_bend, near_end) = limbs
        return (move(far_bend), move(far_end)), (move(near_bend), move(near_end))

    return replace(
        s,
        neck=move(s.neck),
        hip=move(s.hip),
        arms=move_pair(s.arms),
        legs=move_pair(s.legs),
        shoulder=s.shoulder * scale,
    )


def _draw_limb(b: Brush, colour: np.ndarray, points: Points, width: float, end: float) -> None:
    """A limb with a dark edge where it lies on the body."""
    b.part(colour * 0.45, limb(points, width + 0.035, end + 0.035), volume=0, inside=True)
    b.part(colour, limb(points, width, end), volume=0.6)


def _draw_legs(b: Brush, person: Character, s: Stance) -> None:
    trousers = person.accent * 0.7
    for (knee, foot), side in zip(s.legs, (-1, 1), strict=True):
        top = (s.hip[0] + side * 0.5 * s.shoulder, s.hip[1])
        _draw_limb(b, trousers, [top, knee, foot], 0.12, 0.1)
        toe = 0.02 * side if s.hip[0] == 0 else 0.03
        b.part((0.16, 0.12, 0.12), oval(foot[0] + toe, foot[1] - 0.015, 0.075, 0.045), volume=0.5)


def _draw_torso(b: Brush, person: Character, s: Stance) -> None:
    wide = s.shoulder
    (nx, ny), (hx, hy) = s.neck, s.hip
    skirt = s.upright and person.style in ("long", "bun")
    hem = 0.2 if skirt else 0.12
    low = hy + (0.1 if skirt else 0.04)
    outline = [
        (nx - wide, ny + 0.05),
        (nx - 0.4 * wide, ny - 0.03),
        (nx + 0.4 * wide, ny - 0.03),
        (nx + wide, ny + 0.05),
        (hx + hem, low),
        (hx, low + 0.02),
        (hx - hem, low),
    ]
    b.part(person.clothes, blob(outline), volume=0.7, to=person.clothes * 0.8)


def _draw_arm(b: Brush, person: Character, s: Stance, arm: tuple[Joint, Joint], side: int) -> None:
    elbow, hand = arm
    start = (s.neck[0] + side * 0.85 * s.shoulder, s.neck[1] + 0.05)
    _draw_limb(b, person.clothes * 0.9, [start, elbow, hand], 0.1, 0.09)
    if s.palms:
        b.part(person.skin, oval(hand[0] + 0.01, hand[1] - 0.02, 0.055, 0.085, 0.25), volume=0.5)
    else:
        b.part(person.skin, oval(*hand, 0.06), volume=0.5)


def _draw_tilted_head(b: Brush, person: Character, s: Stance, expression: str, r: float) -> None:
    """The head on a sheet of its own, turned about its middle and laid over the body with a dark edge."""
    x, y = s.neck[0] + s.head[0] * r, s.neck[1] + s.head[1] * r
    b.part(person.clothes * 0.4, oval(x, y + 0.06 * r, 1.14 * r), volume=0, inside=True)
    sheet = Brush(b.height, (b.width + 0.5) / b.height, b.light_from)
    draw_head(sheet, person, x, y, r, expression, 1.0, s.look)
    middle = (x * b.height + b.width / 2, y * b.height)
    image = sheet.image().rotate(s.tilt, Image.Resampling.BICUBIC, center=middle)
    _lay_image(b, image)


def _lay_image(b: Brush, image: Image.Image) -> None:
    """Composite an RGBA image of the brush's size over what is drawn."""
    pixels = np.asarray(image, np.float32) / np.float32(255)
    cover = pixels[..., 3]
    total = cover + b.alpha * (1 - cover)
    share = (cover / np.maximum(total, 1e-4))[..., None]
    b.rgb += (pixels[..., :3] - b.rgb) * share
    b.alpha[:] = total

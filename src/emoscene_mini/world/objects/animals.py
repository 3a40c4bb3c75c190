"""Dog, cat, horse and bird, each told by its outline.

    dog      a long muzzle in profile, hanging ears, a short raised tail, a collar
    cat      a round face seen from the front, pointed ears, whiskers, a long curled tail
    horse    long legs, a long neck with a mane, a long head in profile, a bushy tail
    bird     a beak in profile, two wings, a fanned tail, two thin legs

`bearings` holds the postures of the four-legged, `profiles` the expressions of heads in profile.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from emoscene_mini.world.brush import Brush, blob, jitter, limb, oval, poly
from emoscene_mini.world.canvas import rgb
from emoscene_mini.world.expressions import INK, MOUTH, TONGUE, WHITE, draw_features
from emoscene_mini.world.objects.bearings import BEARINGS, Bearing, Skeleton, draw_body
from emoscene_mini.world.objects.profiles import JAW, Profile, draw_profile_eye

DOG = Skeleton(hip=(-0.34, 0.63), chest=(0.16, 0.61), head=(0.3, 0.33), thick=0.3, leg=0.125)
CAT = Skeleton(hip=(-0.26, 0.68), chest=(0.12, 0.67), head=(0.2, 0.42), thick=0.26, leg=0.105)
HORSE = Skeleton(hip=(-0.32, 0.55), chest=(0.12, 0.54), head=(0.34, 0.24), thick=0.29, leg=0.105)

CAT_BEARINGS = BEARINGS | {
    "crouching": Bearing(hip=(0.08, 0.14), chest=(-0.02, 0.2), head=(0.0, 0.11), ears=-1.0, tail=-1.0, arch=0.12),
    "slumped": Bearing(chest=(0.0, 0.06), head=(0.04, 0.22), nose=-30, ears=-0.6, tail=-1.0),
}
"""A cat's large head stays above the ground."""

HORSE_BEARINGS = BEARINGS | {
    "gazing": Bearing(hip=(0.04, 0.04), chest=(-0.04, -0.05), head=(-0.16, 0.03), nose=68, ears=0.8, tail=-0.4),
    "recoiling": Bearing(
        hip=(0.02, 0.04),
        chest=(-0.06, -0.06),
        head=(-0.18, 0.0),
        nose=8,
        back=True,
        front=(0.2, -0.16),
        ears=-0.8,
        tail=-0.4,
    ),
}
"""A horse neither sits nor lowers its rump."""

DOG_COATS = ("b9763c", "e3c08a", "6a4a34", "d8d2c8", "8a8078")
CAT_COATS = ("d98a3a", "46424c", "a8a098", "e8dccb", "7a6450")
HORSE_COATS = ("8a5230", "c89a64", "e6ded2", "5a4034", "a8a4a4")
BIRD_COATS = ("3f7fb8", "d9573f", "e8b84a", "4a9a6a", "6a5a8a", "5a5654")
BEAK = rgb("f0a030")
COLLAR = rgb("c8433a")


def _sample_coat(rng: np.random.Generator, codes: tuple[str, ...]) -> np.ndarray:
    return jitter(rng, rgb(str(rng.choice(codes))), 0.04)


def dog(b: Brush, rng: np.random.Generator, pose: str, expression: str, night: float) -> None:
    """Draw a dog."""
    coat, bearing = _sample_coat(rng, DOG_COATS), BEARINGS[pose]
    hip, chest, (x, y) = DOG.bend(bearing)
    rump = (hip[0] - 0.1, hip[1] - 0.04)
    tip = (rump[0] - 0.2 + 0.08 * bearing.tail, rump[1] - 0.24 * bearing.tail)
    bow = (rump[0] - 0.14, rump[1] - 0.06 * bearing.tail)
    b.part(coat * 0.8, limb([rump, bow, tip], 0.11, 0.09), volume=0.6)
    draw_body(b, coat, DOG, bearing)
    head = Profile(x, y, 0.175, bearing.nose, bearing.back)
    b.part(coat, limb([(chest[0] + 0.02, chest[1] - 0.02), (x - 0.03, y + 0.04)], 0.26, 0.2), volume=0.6)
    neck = ((x + chest[0]) / 2, (y + chest[1]) / 2 + 0.04)
    across = 0.13 * np.array([-(y - chest[1]), x - chest[0]]) / max(float(np.hypot(x - chest[0], y - chest[1])), 0.05)
    ends = [(neck[0] - across[0], neck[1] - across[1]), (neck[0] + across[0], neck[1] + across[1])]
    b.part(COLLAR, limb(ends, 0.07), volume=0.4)
    _draw_dog_head(b, head, coat, bearing.ears, expression)


def _draw_dog_head(b: Brush, head: Profile, coat: np.ndarray, ears: float, expression: str) -> None:
    r, jaw = head.r, JAW[expression]
    chin = (1.2 - 0.25 * jaw, 0.62 + 0.75 * jaw)
    b.part(coat * 0.45, oval(head.x, head.y, 1.12 * r), volume=0, inside=True)
    b.part(coat * 0.8, limb(head.place((0.1, 0.45), chin), 0.6 * r, 0.42 * r), volume=0.5)
    if jaw:
        b.part(MOUTH, blob(head.place((0.35, 0.4), (1.45, 0.4), (chin[0] - 0.05, chin[1] - 0.12))), volume=0)
    if expression == "anger":
        teeth = head.place((0.6, 0.5), (0.8, 0.85), (0.98, 0.5), (1.18, 0.9), (1.4, 0.45), (1.0, 0.35))
        b.part(WHITE, poly(teeth), volume=0)
    if expression in ("happiness", "disgust"):
        drop = 1.25 if expression == "happiness" else 1.6
        b.part(TONGUE, limb(head.place((0.7, 0.75), (1.0, 0.95), (1.05, drop)), 0.3 * r, 0.36 * r), volume=0.3)
    muzzle = limb(head.place((0.2, 0.12), (1.3, 0.22)), 0.95 * r, 0.66 * r)
    b.part(coat, oval(head.x, head.y, r, 0.96 * r), muzzle, volume=0.75)
    if not jaw:
        corner = 0.78 if expression == "sadness" else 0.52
        b.part(INK, limb(head.place((0.45, corner), (0.9, 0.56), (1.4, 0.5)), 0.11 * r), volume=0)
    b.part(INK, limb(head.place((1.56, -0.02), (1.6, 0.08)), 0.42 * r), volume=0.6)
    draw_profile_eye(b, head, (0.3, -0.28), 0.22, expression)
    up, flat = max(ears, 0.0), max(-ears, 0.0)
    tip = (-0.5 - 0.5 * up - 0.6 * flat, 0.85 - 1.5 * up - 0.5 * flat)
    ear = head.place(
        (-0.15, -0.85), (-0.6, -0.75), (tip[0] - 0.25, tip[1]), (tip[0] + 0.25, tip[1] + 0.1), (-0.05, -0.2)
    )
    b.part(coat * 0.5, blob(ear), volume=0.5)


def cat(b: Brush, rng: np.random.Generator, pose: str, expression: str, night: float) -> None:
    """Draw a cat."""
    coat, bearing = _sample_coat(rng, CAT_COATS), CAT_BEARINGS[pose]
    hip, chest, (x, y) = CAT.bend(bearing)
    root, level = (hip[0] - 0.06, hip[1] - 0.02), bearing.tail
    tail = [root, (root[0] - 0.15, root[1] - 0.02 - 0.1 * level), (root[0] - 0.22, root[1] - 0.3 * level)]
    tail += [(root[0] - 0.17, root[1] - 0.46 * max(level, -0.4)), (root[0] - 0.08, root[1] - 0.5 * max(level, -0.4))]
    b.part(coat * 0.8, limb(tail, 0.1, 0.085), volume=0.6)
    draw_body(b, coat, CAT, bearing)
    b.part(coat, limb([chest, (x, y)], 0.24, 0.26), volume=0.5)
    look = (0.1, -0.012 * bearing.nose)
    if bearing.back:
        look = (-0.34, 0.0)
    _draw_cat_head(b, x, y, 0.2, coat, bearing.ears, expression, look)


def _draw_cat_head(
    b: Brush, x: float, y: float, r: float, coat: np.ndarray, ears: float, expression: str, look: tuple[float, float]
) -> None:
    b.part(coat * 0.4, oval(x, y, 1.22 * r, 1.05 * r), volume=0, inside=True)
    for side in (-1, 1):
        tip = (x + side * (1.0 - 0.25 * ears) * r, y - (1.25 + 0.35 * ears) * r)
        outer, inner = (x + side * 1.08 * r, y - 0.1 * r), (x + side * 0.1 * r, y - 0.75 * r)
        b.part(coat * 0.9, poly([inner, tip, outer]), volume=0.5)
        lining = [(0.5 * (px + x + side * 0.7 * r), 0.5 * (py + y - 0.65 * r)) for px, py in (inner, tip, outer)]
        b.part((0.93, 0.62, 0.62), poly(lining), volume=0)
    b.part(coat, oval(x, y, 1.12 * r, 0.95 * r), volume=0.75)
    stripes = [limb([(x + d * r, y - 0.95 * r), (x + 0.8 * d * r, y - 0.68 * r)], 0.13 * r) for d in (-0.3, 0, 0.3)]
    b.part(coat * 0.55, *stripes, volume=0, inside=True)
    fx, fy = x + look[0] * r, y + look[1] * r
    b.part(coat * 0.35 + 0.62, oval(fx, fy + 0.48 * r, 0.55 * r, 0.36 * r), volume=0.4)
    ink = INK if coat.mean() > 0.35 else rgb("e8dcc8")
    draw_features(b, fx, fy, r, expression, 1.0, coat, rgb("4a8a3a"), ink)
    b.part((0.85, 0.42, 0.45), oval(fx, fy + 0.24 * r, 0.13 * r, 0.1 * r), volume=0.4)
    whiskers = []
    for side in (-1, 1):
        for rise in (0.0, 0.22):
            whiskers.append(
                limb([(fx + side * 0.6 * r, fy + 0.42 * r), (fx + side * 1.35 * r, fy + (0.3 + rise) * r)], 0.05 * r)
            )
    b.part(WHITE, *whiskers, volume=0, opacity=0.8)


def horse(b: Brush, rng: np.random.Generator, pose: str, expression: str, night: float) -> None:
    """Draw a horse."""
    coat, bearing = _sample_coat(rng, HORSE_COATS), HORSE_BEARINGS[pose]
    mane = coat * 0.35 if coat.mean() > 0.4 else coat * 0.5 + 0.4
    hip, chest, (x, y) = HORSE.bend(bearing)
    root, level = (hip[0] - 0.1, hip[1] - 0.06), bearing.tail
    tail = [root, (root[0] - 0.13, root[1] + 0.02 - 0.12 * level), (root[0] - 0.17, root[1] + 0.26 - 0.26 * level)]
    b.part(mane, limb(tail, 0.1, 0.15), volume=0.5)
    draw_body(b, coat, HORSE, bearing)
    poll = (x - 0.04, y - 0.02)
    b.part(coat, limb([(chest[0] + 0.03, chest[1]), poll], 0.27, 0.17), volume=0.7)
    b.part(mane, limb(_trace_crest(chest, poll), 0.13, 0.1), volume=0.5)
    _draw_horse_head(b, Profile(x, y, 0.115, bearing.nose, bearing.back), coat, mane, bearing.ears, expression)


def _trace_crest(chest: tuple[float, float], poll: tuple[float, float]) -> list[tuple[float, float]]:
    """The upper edge of a neck from chest to poll, where the mane grows."""
    dx, dy = poll[0] - chest[0], poll[1] - chest[1]
    length = max(float(np.hypot(dx, dy)), 1e-3)
    ux, uy = dy / length, -dx / length
    crest = []
    for share, off in ((0.25, 0.13), (0.6, 0.115), (1.0, 0.085)):
        crest.append((chest[0] + share * dx + off * ux, chest[1] + share * dy + off * uy))
    return crest


def _draw_horse_head(b: Brush, head: Profile, coat: np.ndarray, mane: np.ndarray, ears: float, expression: str) -> None:
    r, jaw = head.r, JAW[expression]
    lip = (1.6 - 0.3 * jaw, 1.35 + 0.7 * jaw)
    if jaw:
        b.part(coat * 0.75, limb(head.place((0.3, 0.6), lip), 0.8 * r, 0.55 * r), volume=0.5)
        b.part(MOUTH, blob(head.place((0.9, 0.9), (2.0, 1.1), lip)), volume=0)
    if expression == "anger":
        b.part(WHITE, limb(head.place((1.3, 1.15), (1.9, 1.3)), 0.28 * r), volume=0)
    if expression in ("disgust", "happiness"):
        b.part(TONGUE, limb(head.place((1.4, 1.35), (1.75, 1.9)), 0.36 * r), volume=0.2)
    shapes = (oval(head.x, head.y, 1.05 * r, 0.98 * r), limb(head.place((0.1, 0.05), (1.9, 0.85)), 1.6 * r, 1.1 * r))
    b.part(coat, *shapes, volume=0.75)
    b.part(coat * 0.55 + 0.1, limb(head.place((1.85, 0.8), (2.0, 0.9)), 1.0 * r), volume=0.5)
    b.part(INK, limb(head.place((2.1, 0.68), (2.15, 0.78)), 0.24 * r), volume=0)
    if not jaw:
        corner = 1.5 if expression == "sadness" else 1.1
        b.part(INK, limb(head.place((1.35, corner), (1.9, 1.28)), 0.14 * r), volume=0)
    for start in (-0.75, -0.25):
        tip = (start + 0.1 - 0.8 * max(-ears, 0.0), -1.5 - 0.3 * ears)
        b.part(coat * 0.85, poly(head.place((start - 0.25, -0.6), tip, (start + 0.4, -0.7))), volume=0.4)
    b.part(mane, limb(head.place((-0.3, -0.95), (0.45, -0.65)), 0.5 * r, 0.3 * r), volume=0.4)
    draw_profile_eye(b, head, (0.5, -0.12), 0.32, expression)


@dataclass(frozen=True)
class Flight:
    """A bird's posture.

    Args:
        at: The body's middle.
        pitch: Degrees by which the breast is raised.
        head: From the body's middle to the head's.
        beak: Degrees by which the beak is raised.
        wings: Degrees by which the wings are raised from hanging at its side.
        legs: Whether it stands on its legs.
        back: Whether the head is turned round, to look backwards.
    """

    at: tuple[float, float] = (-0.03, 0.62)
    pitch: float = 25.0
    head: tuple[float, float] = (0.17, -0.3)
    beak: float = 0.0
    wings: float = 0.0
    legs: bool = True
    back: bool = False


FLIGHTS: dict[str, Flight] = {
    "standing": Flight(),
    "jumping": Flight(at=(-0.02, 0.55), pitch=30, head=(0.19, -0.26), beak=12, wings=80),
    "gazing": Flight(at=(-0.06, 0.63), pitch=72, head=(0.08, -0.38), beak=60, wings=30),
    "resting": Flight(at=(-0.03, 0.76), pitch=8, head=(0.16, -0.2), legs=False),
    "charging": Flight(at=(-0.08, 0.56), pitch=-8, head=(0.32, 0.02), beak=-14, wings=70),
    "recoiling": Flight(at=(0.0, 0.64), pitch=58, head=(0.0, -0.34), beak=8, wings=40, back=True),
    "crouching": Flight(at=(-0.06, 0.77), pitch=-6, head=(0.27, 0.02), beak=-8, wings=28, legs=False),
    "slumped": Flight(at=(-0.06, 0.6), pitch=34, head=(0.28, 0.02), beak=-66, wings=-34),
}


def bird(b: Brush, rng: np.random.Generator, pose: str, expression: str, night: float) -> None:
    """Draw a big bird."""
    coat, flight = _sample_coat(rng, BIRD_COATS), FLIGHTS[pose]
    body = Profile(*flight.at, 0.25, flight.pitch)
    if flight.legs:
        x, y = flight.at
        for step in (-0.06, 0.08):
            sole = min(0.95, y + 0.34)
            shin = [(x + step, y + 0.16), (x + step, sole), (x + step + 0.09, sole + 0.005)]
            b.part(BEAK * 0.85, limb(shin, 0.055, 0.05), volume=0.4)
    _draw_wing(b, body, coat * 0.55, 1.6 * flight.wings - 12)
    b.part(coat * 0.7, blob(body.place((-0.8, -0.3), (-2.0, -0.25), (-2.1, 0.3), (-1.8, 0.5), (-0.7, 0.5))), volume=0.5)
    b.part(coat, limb(body.place((-0.6, 0.0), (0.35, 0.0)), 0.4, 0.5), volume=0.85)
    b.part(coat * 0.3 + 0.66, oval(*body.place((0.55, 0.4))[0], 0.17, 0.15), volume=0.3, inside=True, soft=0.01)
    head = Profile(flight.at[0] + flight.head[0], flight.at[1] + flight.head[1], 0.165, flight.beak, flight.back)
    b.part(coat, limb([body.place((0.4, -0.2))[0], (head.x, head.y)], 0.34, 0.28), volume=0.6)
    _draw_wing(b, body, coat * 0.72, flight.wings)
    _draw_bird_head(b, head, coat, expression)


def _draw_wing(b: Brush, body: Profile, colour: np.ndarray, lift: float) -> None:
    """One wing, hinged at the shoulder; folded along the body at a lift of 0."""
    ((x, y),) = body.place((0.2, -0.3))
    wing = Profile(x, y, body.r, body.pitch - lift)
    outline = wing.place((0.3, 0.1), (0.0, -0.42), (-1.0, -0.35), (-2.05, 0.2), (-1.5, 0.5), (-0.7, 0.66), (0.0, 0.6))
    b.part(colour * 0.45, blob(outline), volume=0, inside=True)
    b.part(colour, blob(outline), volume=0.7)


def _draw_bird_head(b: Brush, head: Profile, coat: np.ndarray, expression: str) -> None:
    r, jaw = head.r, JAW[expression]
    crest = [limb(head.place((-0.1, -0.8), tip), 0.3 * r, 0.24 * r) for tip in ((-0.6, -1.4), (-0.1, -1.5))]
    b.part(coat, oval(head.x, head.y, r), *crest, volume=0.8)
    lower = (1.55 - 0.2 * jaw, 0.5 + 0.75 * jaw)
    b.part(BEAK * 0.75, poly(head.place((0.6, 0.2), lower, (0.5, 0.72))), volume=0.3)
    if jaw:
        b.part(MOUTH, poly(head.place((0.7, 0.25), (1.5, 0.3), (lower[0] - 0.12, lower[1] - 0.1))), volume=0)
    if expression == "disgust":
        b.part(TONGUE, limb(head.place((1.0, 0.5), (1.3, 1.1)), 0.26 * r), volume=0.2)
    b.part(BEAK, blob(head.place((0.62, -0.32), (1.2, -0.2), (1.85, 0.35), (1.2, 0.36), (0.62, 0.42))), volume=0.6)
    ink = INK if coat.mean() > 0.3 else rgb("f0e8d8")
    draw_profile_eye(b, head, (0.25, -0.22), 0.28, expression, ink)

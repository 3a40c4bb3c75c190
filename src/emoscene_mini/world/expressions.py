"""Facial expressions: what brows, eyes, cheeks and mouth do, as differences from a face at rest.

An expression is a row of `MUSCLES` in head radii, so that a weaker expression is the same row times its intensity. The
six beyond neutral are those of Ekman & Friesen (1971), exaggerated as in a cartoon, in RAF-DB's order (Li et al. 2017).
No two share both the eyes and the mouth, so that one of the two is enough to tell them:

    expression   eyes                      mouth
    surprise     wide open                 a tall oval
    fear         wide open, tiny pupils    open, corners down
    disgust      squeezed                  skewed, the tongue out
    happiness    arches                    an open smile
    sadness      closed, tears             a closed arch, corners down
    anger        narrow under a V of brows clenched teeth
    neutral      dots                      a short line

People and frontal animals share `draw_features`. Below `FINE` pixels of head radius everything is larger and details
are left out, since an autoencoder with f = 8 keeps little that is thinner than three pixels of the image.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from emoscene_mini.world.brush import Brush, Shape, blob, bow, limb, oval
from emoscene_mini.world.canvas import Colour, mix

EXPRESSIONS: dict[str, str] = {
    "surprise": "an open-mouthed face with raised brows",
    "fear": "a wide-eyed face",
    "disgust": "a face with a wrinkled nose",
    "happiness": "a smiling face",
    "sadness": "a face with a drooping mouth",
    "anger": "a frowning face",
    "neutral": "a plain face",
}
FINE = 30  # canvas pixels of head radius from which irises, lids, nose and creases are drawn

INK = np.array([0.1, 0.06, 0.08], np.float32)
WHITE = np.array([0.98, 0.97, 0.95], np.float32)
MOUTH = np.array([0.3, 0.05, 0.08], np.float32)
TONGUE = np.array([0.93, 0.42, 0.46], np.float32)
TEAR = np.array([0.6, 0.84, 1.0], np.float32)


@dataclass(frozen=True)
class Muscles:
    """How far a face is from rest, in head radii where it is a length.

    Args:
        brow: How far the brows rise.
        slant: How far the brows' inner ends rise, and their outer ends fall.
        eye: Relative change of the eyes' height, from -1 (shut).
        iris: Relative change of the pupils' size.
        smile: How far the mouth's corners rise above its middle.
        jaw: How far the mouth opens.
        wide: Change of the mouth's half width.
        skew: How far one corner of the mouth falls and the other rises.
        flush: Opacity of the cheeks' colour, in [0, 1].
        tint: The cheeks' colour.
    """

    brow: float = 0.0
    slant: float = 0.0
    eye: float = 0.0
    iris: float = 0.0
    smile: float = 0.0
    jaw: float = 0.0
    wide: float = 0.0
    skew: float = 0.0
    flush: float = 0.0
    tint: tuple[float, float, float] = (0.9, 0.35, 0.3)


MUSCLES: dict[str, Muscles] = {
    "surprise": Muscles(brow=0.26, slant=0.04, eye=0.6, iris=-0.1, jaw=0.62, wide=-0.08),
    "fear": Muscles(
        brow=0.2, slant=0.2, eye=0.6, iris=-0.5, smile=-0.36, jaw=0.5, wide=0.12, flush=0.5, tint=(0.62, 0.74, 0.9)
    ),
    "disgust": Muscles(
        brow=-0.06,
        slant=-0.12,
        eye=-0.6,
        smile=-0.24,
        jaw=0.3,
        wide=0.05,
        skew=0.16,
        flush=0.8,
        tint=(0.55, 0.68, 0.25),
    ),
    "happiness": Muscles(brow=0.12, eye=-0.2, smile=0.4, jaw=0.4, wide=0.22, flush=0.8, tint=(0.98, 0.45, 0.4)),
    "sadness": Muscles(brow=0.06, slant=0.26, eye=-0.5, smile=-0.42, wide=0.02, flush=0.25, tint=(0.5, 0.6, 0.8)),
    "anger": Muscles(
        brow=-0.08, slant=-0.3, eye=-0.1, iris=-0.2, smile=-0.22, jaw=0.46, wide=0.16, flush=0.9, tint=(0.9, 0.12, 0.08)
    ),
    "neutral": Muscles(),
}


@dataclass(frozen=True)
class Frame:
    """Where a face is and how it is drawn: middle, radius, strength of the expression, and its detail."""

    x: float
    y: float
    r: float
    expression: str
    intensity: float
    fine: bool
    dark: bool

    @property
    def muscles(self) -> Muscles:
        """The expression's row."""
        return MUSCLES[self.expression]

    @property
    def bold(self) -> float:
        """By how much small faces have larger eyes, brows and mouths."""
        return 1.0 if self.fine else 1.3

    def both(self, half: float) -> tuple[float, float]:
        """The x of the left and the right one of a pair, `half` radii from the middle."""
        return self.x - half * self.r, self.x + half * self.r


def draw_features(
    b: Brush,
    x: float,
    y: float,
    r: float,
    expression: str,
    intensity: float,
    skin: Colour,
    iris: Colour,
    brow: Colour,
    look: tuple[float, float] = (0.0, 0.0),
) -> None:
    """Draw brows, eyes, cheeks, nose and mouth on a head that is there already.

    Args:
        b: The brush; lengths are in units of its height.
        x: The head's middle.
        y: The head's middle, downwards.
        r: The head's radius.
        expression: A name of `EXPRESSIONS`.
        intensity: 0 for a face at rest to 1 for the full expression, at most 1.2.
        skin: The colour below.
        iris: The colour of the irises, seen from `FINE` pixels on.
        brow: The colour of the brows.
        look: How far the features are turned to the right and down, in radii.
    """
    dark = float(np.asarray(skin, np.float32).mean()) < 0.5
    k = float(np.clip(intensity, 0, 1.2))
    f = Frame(x + look[0] * r, y + look[1] * r, r, expression, k, r * b.height >= FINE, dark)
    _draw_cheeks(b, f)
    if f.fine:
        _draw_nose(b, f, skin)
    _draw_eyes(b, f, iris)
    _draw_brows(b, f, np.asarray(brow, np.float32) * 0.6)
    _draw_mouth(b, f)


def _draw_cheeks(b: Brush, f: Frame) -> None:
    flush = f.intensity * f.muscles.flush + (0.15 if f.fine else 0.0)
    if flush <= 0.05:
        return
    cheeks = [oval(x, f.y + 0.3 * f.r, 0.26 * f.r, 0.2 * f.r) for x in f.both(0.55)]
    b.part(f.muscles.tint, *cheeks, volume=0, soft=0.1 * f.r, opacity=min(0.6 * flush, 0.55), inside=True)


def _draw_nose(b: Brush, f: Frame, skin: Colour) -> None:
    colour = mix(skin, (0.55, 0.22, 0.15), 0.32)
    b.part(colour, bow(f.x, f.y + 0.2 * f.r, 0.11 * f.r, 0.07 * f.r, 0.07 * f.r), volume=0)
    if f.expression == "disgust" and f.intensity > 0.4:
        folds = [bow(f.x, f.y + d * f.r, 0.15 * f.r, -0.06 * f.r, 0.055 * f.r) for d in (-0.08, 0.05)]
        b.part(colour * 0.85, *folds, volume=0)


def _draw_brows(b: Brush, f: Frame, ink: np.ndarray) -> None:
    m, k, r = f.muscles, f.intensity, f.r
    gap, reach = 0.4 * r, 0.25 * f.bold * r
    y = f.y - (0.4 + 0.06 * (f.bold - 1)) * r - k * m.brow * r
    thick = 0.13 * r * (1.0 if f.fine else 1.6)
    for side in (-1, 1):
        inner = (f.x + side * (gap - 0.95 * reach), y - k * m.slant * r)
        middle = (f.x + side * gap, y - 0.05 * r)
        outer = (f.x + side * (gap + reach), y + 0.05 * r + 0.7 * k * m.slant * r)
        b.part(ink, limb([inner, middle, outer], thick, 0.75 * thick), volume=0.2)


def _draw_eyes(b: Brush, f: Frame, iris: Colour) -> None:
    if f.intensity > 0.5 and f.expression in CLOSED_EYES:
        CLOSED_EYES[f.expression](b, f)
    elif f.fine:
        _draw_fine_eyes(b, f, iris)
    else:
        _draw_bold_eyes(b, f)


def _draw_arched_eyes(b: Brush, f: Frame) -> None:
    """Eyes closed by a smile."""
    r, thick = f.r, (0.12 if f.fine else 0.18) * f.r
    b.part(INK, *(bow(x, f.y + 0.04 * r, 0.23 * f.bold * r, -0.22 * r, thick) for x in f.both(0.42)), volume=0)


def _draw_squeezed_eyes(b: Brush, f: Frame) -> None:
    """Eyes squeezed shut: two wedges that point at the nose."""
    r, thick = f.r, (0.1 if f.fine else 0.15) * f.r
    wedges = []
    for side in (-1, 1):
        outer, inner = f.x + side * 0.66 * r, f.x + side * 0.2 * r
        wedges.append(limb([(outer, f.y - 0.2 * r), (inner, f.y), (outer, f.y + 0.14 * r)], thick))
    b.part(INK, *wedges, volume=0)


def _draw_weeping_eyes(b: Brush, f: Frame) -> None:
    """Closed eyes that slope outwards, with a tear below each."""
    r, thick = f.r, (0.11 if f.fine else 0.17) * f.r
    drops: list[Shape] = []
    lids = []
    for side in (-1, 1):
        inner, outer = f.x + side * 0.2 * r, f.x + side * 0.66 * r
        lids.append(limb([(inner, f.y), (f.x + side * 0.45 * r, f.y + 0.12 * r), (outer, f.y + 0.1 * r)], thick))
        middle = f.x + side * 0.48 * r
        drops.append(limb([(middle, f.y + 0.22 * r), (middle + side * 0.05 * r, f.y + 0.62 * r)], 0.13 * r, 0.24 * r))
    b.part(TEAR * 0.55, *(oval(x, f.y + 0.6 * r, 0.15 * r, 0.17 * r) for x in f.both(0.53)), volume=0)
    b.part(TEAR, *drops, volume=0.3)
    b.part(INK, *lids, volume=0)


CLOSED_EYES = {"happiness": _draw_arched_eyes, "disgust": _draw_squeezed_eyes, "sadness": _draw_weeping_eyes}


def _draw_bold_eyes(b: Brush, f: Frame) -> None:
    """Eyes of a small face: dots, with the white around them where the eyes are wide or the skin is dark."""
    m, k, r = f.muscles, f.intensity, f.r
    tall = 0.27 * r * (1 + 0.6 * k * m.eye)
    ball = 0.18 * r * (1 + 0.6 * k * m.iris)
    if k * m.eye > 0.2 or f.expression == "anger" or f.dark:
        b.part(INK, *(oval(x, f.y, 0.33 * r, tall + 0.06 * r) for x in f.both(0.42)), volume=0)
        b.part(WHITE, *(oval(x, f.y, 0.28 * r, tall) for x in f.both(0.42)), volume=0)
    b.part(INK, *(oval(x, f.y, ball, min(ball * 1.1, tall)) for x in f.both(0.4)), volume=0)


def _draw_fine_eyes(b: Brush, f: Frame, iris: Colour) -> None:
    m, k, r = f.muscles, f.intensity, f.r
    tall = max(0.2 * r * (0.85 + 0.95 * k * m.eye), 0.06 * r)
    wide = 0.21 * r * (1 + 0.2 * k * max(m.eye, 0.0))
    sides = f.both(0.39)
    b.part(INK, *(oval(x, f.y - 0.02 * r, wide * 1.14, tall * 1.12 + 0.02 * r) for x in sides), volume=0)
    b.part(WHITE, *(oval(x, f.y + 0.015 * r, wide, tall) for x in sides), volume=0.15)
    ball = 0.135 * r * (1 + 0.8 * k * m.iris)
    b.part(iris, *(oval(x, f.y, ball, min(ball, tall)) for x in sides), volume=0.3)
    b.part(INK, *(oval(x, f.y, 0.6 * ball, min(0.6 * ball, tall)) for x in sides), volume=0)
    if tall > 0.12 * r:
        b.part((1, 1, 1), *(oval(x - 0.05 * r, f.y - 0.05 * r, 0.04 * r) for x in sides), volume=0)


def _draw_mouth(b: Brush, f: Frame) -> None:
    m, k, r = f.muscles, f.intensity, f.r
    x, y = f.x, f.y + 0.52 * r
    half = (0.26 * f.bold + k * m.wide) * r
    if k * m.jaw < 0.08:
        bend = 0.75 * k * m.smile * r
        b.part(MOUTH, bow(x, y - bend, half, 2 * bend, (0.12 if f.fine else 0.2) * r), volume=0)
        return
    outline = _outline_mouth(f, x, y, half)
    if f.dark:
        lips = _grow(outline, x, y + 0.3 * k * m.jaw * r, 1.18)
        b.part((0.72, 0.36, 0.32), blob(lips), volume=0)
    b.part(MOUTH, blob(outline), volume=0)
    if f.expression == "happiness":
        upper = _grow(outline, x, y, 0.84)
        deep = y + 0.3 * k * m.jaw * r
        b.part(WHITE, blob([(px, min(py, deep)) for px, py in upper]), volume=0.1)
    if f.expression == "anger":
        _draw_clenched_teeth(b, f, outline, x, y, half)
    if f.expression == "disgust":
        b.part(TONGUE * 0.6, oval(x + 0.05 * r, y + 0.36 * r, 0.25 * r, (0.1 + 0.26 * k) * r), volume=0)
        b.part(TONGUE, oval(x + 0.05 * r, y + 0.34 * r, 0.2 * r, (0.1 + 0.22 * k) * r), volume=0.3)
    if f.fine and f.expression in ("happiness", "surprise", "fear"):
        b.part(TONGUE * 0.92, oval(x, y + 0.8 * k * m.jaw * r, 0.5 * half, 0.16 * k * r), volume=0.3, inside=True)


def _outline_mouth(f: Frame, x: float, y: float, half: float) -> list[tuple[float, float]]:
    """The open mouth's outline: an oval without a smile, else corners that rise or fall beside its middle."""
    m, k, r = f.muscles, f.intensity, f.r
    bend, jaw, skew = 0.75 * k * m.smile * r, k * m.jaw * r, k * m.skew * r
    if m.smile == 0:
        angles = np.linspace(0, 5.6, 10)
        across, down = x + half * np.cos(angles), y + 0.38 * jaw + 0.58 * jaw * np.sin(angles)
        return list(zip(across.tolist(), down.tolist(), strict=True))
    if bend > 0:
        top, bottom = 0.35 * bend, 1.0 * bend + jaw
    else:
        top, bottom = 1.3 * bend - 0.25 * jaw, jaw + 0.4 * bend
    left, right = skew - bend, -skew - bend
    return [
        (x - half, y + left),
        (x - 0.5 * half, y + 0.6 * top + 0.1 * left),
        (x, y + top),
        (x + 0.5 * half, y + 0.6 * top + 0.1 * right),
        (x + half, y + right),
        (x + 0.6 * half, y + 0.72 * bottom),
        (x, y + bottom),
        (x - 0.6 * half, y + 0.72 * bottom),
    ]


def _grow(outline: list[tuple[float, float]], x: float, y: float, scale: float) -> list[tuple[float, float]]:
    """An outline scaled about a point."""
    return [(x + scale * (px - x), y + scale * (py - y)) for px, py in outline]


def _draw_clenched_teeth(
    b: Brush, f: Frame, outline: list[tuple[float, float]], x: float, y: float, half: float
) -> None:
    """Two rows of teeth with the gap between them."""
    middle = y + 0.15 * f.intensity * f.muscles.jaw * f.r
    b.part(WHITE, blob(_grow(outline, x, middle, 0.8)), volume=0.1)
    thin = (0.05 if f.fine else 0.08) * f.r
    gaps = [limb([(x - 0.8 * half, middle + 0.06 * f.r), (x, middle), (x + 0.8 * half, middle + 0.06 * f.r)], thin)]
    if f.fine:
        for share in (-0.4, 0.0, 0.4):
            across = x + share * half
            gaps.append(limb([(across, middle - 0.2 * f.r), (across, middle + 0.24 * f.r)], 0.7 * thin))
    b.part(MOUTH, *gaps, volume=0)

"""What the camera does to a finished canvas: framing, lens and exposure.

`apply_lens` moves pixels: turning, moving in, a fish-eye, streaks that run out of the middle. `apply_frame` darkens or
pales the border. `expose` brings every image near to a brightness and a contrast that are drawn at random, as a
camera's automatic exposure and white balance do, so that how bright, how flat or how tinted an image is says little of
its emotion.
"""

from __future__ import annotations

import numpy as np
from PIL import Image

from emoscene_mini.world.canvas import SIZE, Canvas, Colour, grid, mix, smooth
from emoscene_mini.world.moods import Composition

LUMA = np.array([0.3, 0.59, 0.11], np.float32)
BRIGHTNESS = (0.4, 0.56)
CONTRAST = (0.18, 0.25)
"""Mean and deviation of the luma that an exposure aims at, each drawn evenly."""
BALANCE = (0.1, 0.8)
"""How much of its cast of colour an image loses, as by a camera's white balance, drawn evenly."""
AIM = 0.88
"""How much of the way to its aim an exposure goes."""
MOST_COLOUR = 0.3
"""How colourful an image is at most: the mean distance of its three channels from its luma, all three together."""
STREAKS = 6
"""Copies of the image of which the streaks are made."""


def apply_lens(canvas: Canvas, view: Composition, tilt: float, x: float, y: float) -> None:
    """Turn by `tilt` degrees, move in on (x, y), bend as a fish-eye does and streak the border.

    Args:
        canvas: The finished canvas, changed in place.
        view: The composition.
        tilt: Degrees.
        x: Where the figures' middle is, as a share of the width.
        y: The same, of the height.
    """
    turn = np.radians(tilt)
    scale = 1 / (np.cos(turn) + abs(np.sin(turn))) / view.zoom
    cos, sin = float(np.cos(turn) * scale), float(np.sin(turn) * scale)
    half = 0.5 / view.zoom
    middle_x, middle_y = min(max(x, half), 1 - half), min(max(y, half), 1 - half)
    if view.bulge:
        gx, gy = grid()
        dx, dy = gx - 0.5, gy - 0.5
        bend = (1 + view.bulge * 4 * (dx * dx + dy * dy)) / (1 + view.bulge)
        dx, dy = dx * bend, dy * bend
        canvas.rgb = _sample(canvas.rgb, middle_x + cos * dx - sin * dy, middle_y + sin * dx + cos * dy)
    elif abs(tilt) > 0.3 or view.zoom > 1:
        left = SIZE * (middle_x - 0.5 * (cos - sin))
        top = SIZE * (middle_y - 0.5 * (cos + sin))
        canvas.rgb = _turn(canvas.rgb, (cos, -sin, left, sin, cos, top))
    if view.rush:
        _streak(canvas, view.rush)


def _turn(pixels: np.ndarray, coefficients: tuple[float, float, float, float, float, float]) -> np.ndarray:
    """Read pixels [SIZE, SIZE, 3] through an affine map, in Pillow's order of coefficients."""
    turned = np.empty_like(pixels)
    for channel in range(3):
        image = Image.fromarray(np.ascontiguousarray(pixels[..., channel]))
        moved = image.transform(image.size, Image.Transform.AFFINE, coefficients, Image.Resampling.BILINEAR)
        turned[..., channel] = np.asarray(moved)
    return turned


def _sample(pixels: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Read pixels [SIZE, SIZE, 3] at fractions of the canvas, linearly between neighbours."""
    u = np.clip(x * SIZE - 0.5, 0, SIZE - 1.001)
    v = np.clip(y * SIZE - 0.5, 0, SIZE - 1.001)
    column, row = u.astype(np.int32), v.astype(np.int32)
    right, down = (u - column).astype(np.float32)[..., None], (v - row).astype(np.float32)[..., None]
    flat = pixels.reshape(-1, 3)
    first = row * SIZE + column
    above = flat[first] * (1 - right) + flat[first + 1] * right
    below = flat[first + SIZE] * (1 - right) + flat[first + SIZE + 1] * right
    return np.asarray(above * (1 - down) + below * down, np.float32)


def _streak(canvas: Canvas, length: float) -> None:
    """Smear the border along the radius, and let rays of light and dark run through it."""
    gx, gy = grid()
    dx, dy = gx - 0.5, gy - 0.5
    smeared = np.zeros_like(canvas.rgb)
    for scale in np.linspace(1, 1 - length, STREAKS):
        column = ((0.5 + dx * scale) * SIZE).astype(np.int32)
        row = ((0.5 + dy * scale) * SIZE).astype(np.int32)
        smeared += canvas.rgb[row, column]
    smeared /= STREAKS
    angle = np.arctan2(dy, dx)
    rays = np.sign(np.sin(angle * 13)) * np.sign(np.sin(angle * 21 + 1.0))
    smeared *= (1 + 0.3 * rays)[..., None]
    border = smooth(0.3, 0.5, np.hypot(dx, dy))
    canvas.rgb += (smeared - canvas.rgb) * border[..., None]


def apply_frame(canvas: Canvas, frame: float, x: float, y: float, pale: Colour) -> None:
    """Darken (`frame` above 0) or pale (below 0) everything but an oval around (x, y)."""
    gx, gy = grid()
    away = np.hypot((gx - x) * 1.05, (gy - y) * 0.95)
    if frame > 0:
        canvas.rgb *= (1 - 0.94 * frame * smooth(0.26, 0.46, away))[..., None]
    elif frame < 0:
        canvas.paint(smooth(0.36, 0.5, away), mix(pale, (1, 1, 1), 0.5), -frame)


def expose(canvas: Canvas, rng: np.random.Generator) -> None:
    """Bring brightness and contrast near to values drawn at random, and take away a random part of the cast."""
    np.clip(canvas.rgb, 0, 1, out=canvas.rgb)
    luma = canvas.rgb @ LUMA
    mean, deviation = float(luma.mean()), float(luma.std())
    aim_mean = mean + AIM * (float(rng.uniform(*BRIGHTNESS)) - mean)
    aim_deviation = deviation + AIM * (float(rng.uniform(*CONTRAST)) - deviation)
    gain = min(aim_deviation / max(deviation, 0.02), 3.0)
    exposed = np.clip((luma - mean) * gain + aim_mean, 0.02, 0.98)
    colour = canvas.rgb - luma[..., None]
    colour -= float(rng.uniform(*BALANCE)) * colour.mean((0, 1))
    strength = np.sqrt(np.clip(exposed / np.maximum(luma, 0.05), 0.3, 2))
    limit = MOST_COLOUR / max(float(np.abs(colour).mean()) * 3, MOST_COLOUR)
    canvas.rgb[:] = exposed[..., None] + colour * (strength * limit)[..., None]

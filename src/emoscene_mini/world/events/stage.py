"""Where an event is drawn: a brush that covers the event's whole box and knows whom and what the event shows.

An event is drawn on one `EventBrush`, in units of the box's height: y from 0 at the top to 1 at the feet, x from
-aspect / 2 to aspect / 2. The sheet is then mirrored at random, outlined and stamped on the canvas in one piece, so
that nothing but its shadow leaves the box.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageFilter

from emoscene_mini.world import objects
from emoscene_mini.world.brush import Brush, jitter
from emoscene_mini.world.canvas import SIZE, Canvas, Light, rgb
from emoscene_mini.world.objects.belongings import COLOURS, WOODS

STONES = [rgb(code) for code in ("8a8c92", "a39a8c", "76808a", "b4b0a6", "6f6a72")]


@dataclass(frozen=True)
class Place:
    """The box an event fills, in fractions of the canvas.

    Args:
        left: The box's left side.
        right: Its right side.
        feet: The y of the ground the figures stand on, the box's lower side.
        height: The box's height, about .45 to .75.
    """

    left: float
    right: float
    feet: float
    height: float


class EventBrush(Brush):
    """A `Brush` as large as an event, with the choices that the plan made for it.

    Args:
        height: Canvas pixels.
        aspect: Width over height.
        light_from: -1 where the light comes from the left, 1 from the right.
        rng: Everything random about the event is drawn from it.
        expression: The figures' facial expression, a name of `expressions.EXPRESSIONS`.
        intensity: How strong the expression is, in [0, 1].
        pose: The main figure's pose, a name of `objects.POSES`, used where the event leaves it free.
        night: 0 by day to 1 by night.
    """

    def __init__(
        self,
        height: int,
        aspect: float,
        light_from: float,
        rng: np.random.Generator,
        expression: str,
        intensity: float,
        pose: str | None,
        night: float,
    ) -> None:
        super().__init__(height, aspect, light_from)
        self.rng = rng
        self.expression, self.intensity, self.pose, self.night = expression, intensity, pose, night
        self.shadows: list[tuple[float, float]] = []

    def pick_colour(self) -> np.ndarray:
        """A random colour for a painted or woven thing."""
        return jitter(self.rng, COLOURS[self.rng.integers(len(COLOURS))], 0.05)

    def pick_wood(self) -> np.ndarray:
        """A random colour for a wooden thing."""
        return jitter(self.rng, WOODS[self.rng.integers(len(WOODS))], 0.04)

    def pick_stone(self) -> np.ndarray:
        """A random colour for a thing of stone."""
        return jitter(self.rng, STONES[self.rng.integers(len(STONES))], 0.03)

    def vary(self, low: float, high: float) -> float:
        """A random number between two."""
        return float(self.rng.uniform(low, high))

    def cast_shadow(self, x: float, radius: float) -> None:
        """Ask for a shadow on the ground below x."""
        self.shadows.append((x, radius))

    def paste(self, image: Image.Image, x: float, y: float) -> None:
        """Lay an RGBA image over what is drawn, its middle at (x, y)."""
        left = round(x * self.height + self.width / 2 - image.width / 2)
        top = round(y * self.height - image.height / 2)
        x0, y0 = max(left, 0), max(top, 0)
        x1, y1 = min(left + image.width, self.width), min(top + image.height, self.height)
        if x0 >= x1 or y0 >= y1:
            return
        pixels = np.asarray(image, np.float32)[y0 - top : y1 - top, x0 - left : x1 - left] / 255
        at = (slice(y0, y1), slice(x0, x1))
        cover, under = pixels[..., 3], self.alpha[at]
        total = cover + under * (1 - cover)
        share = (cover / np.maximum(total, 1e-4))[..., None]
        self.rgb[at] += (pixels[..., :3] - self.rgb[at]) * share
        self.alpha[at] = total

    def add_sprite(self, name: str, x: float, foot: float, tall: float, pose: str = "standing") -> None:
        """Put one of `objects.OBJECTS` there, `tall` of the event's height, in the plan's pose or else in `pose`."""
        rows = max(round(tall * self.height), 8)
        held = self.pose or pose
        sprite = objects.sprite(name, self.rng, rows, held, self.light_from, self.expression, self.night)
        self.paste(sprite, x, foot - tall / 2)
        self.cast_shadow(x, 0.4 * tall)


Draw = Callable[[EventBrush], None]


def stamp_event(
    draw: Draw,
    aspect: float,
    canvas: Canvas,
    light: Light,
    rng: np.random.Generator,
    place: Place,
    expression: str,
    intensity: float,
    pose: str | None,
) -> None:
    """Draw an event as large as its place lets it be, and stamp it there with its shadows."""
    tall = min(place.height, (place.right - place.left) / aspect)
    flip = bool(rng.random() < 0.5)
    side = -1.0 if flip else 1.0
    spare = max(place.right - place.left - tall * aspect, 0.0) / 2
    x = (place.left + place.right) / 2 + spare * float(rng.uniform(-0.6, 0.6))
    b = EventBrush(round(tall * SIZE), aspect, side * light.side, rng, expression, intensity, pose, light.night)
    draw(b)
    sprite = _outline(b.image(), light)
    if flip:
        sprite = sprite.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    for at, radius in b.shadows:
        canvas.shadow(x + side * at * tall, place.feet - 0.006, radius * tall, light, 0.5)
    canvas.stamp(sprite, x, place.feet, light, 0.02, 0.22 + 0.16 * light.night)


def _outline(image: Image.Image, light: Light) -> Image.Image:
    """Put a soft dark edge around what is drawn, a pale one by night, so that it stands out from any ground."""
    alpha = image.getchannel("A")
    wide = alpha.filter(ImageFilter.GaussianBlur(2.2))
    ink = rgb("c8d0e4") if light.night > 0.4 else rgb("1c141c")
    r, g, b = (int(v) for v in ink * 255)
    under = Image.new("RGBA", image.size, (r, g, b, 0))
    under.putalpha(wide.point([min(round(2.2 * v), 180) for v in range(256)]))
    return Image.alpha_composite(under, image)

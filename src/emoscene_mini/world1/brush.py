"""A brush for small things with volume: shapes are cut as masks, rounded by their own blur, and laid one over another.

A `Brush` works in units of the thing's height: y runs from 0 at the top to 1 at the foot, x is 0 in the middle. Each
`part` is a union of shapes in one colour. Its blurred mask is read as a relief: the slope towards the light brightens
and warms the colour, the slope away from it darkens and cools it, so that flat polygons look like gouache solids.
`halo` and `wash` put soft light and soft fields on a whole `Canvas`, working only where they are seen.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from emoscene_mini.world1.canvas import SIZE, Canvas, Colour, Field

Points = Sequence[tuple[float, float]]
Shape = Callable[[ImageDraw.ImageDraw, float, float], None]  # draws itself given the scale and the x of the middle

_WARM = np.array([1.06, 1.0, 0.9], np.float32)
_COOL = np.array([0.9, 0.96, 1.12], np.float32)


def poly(points: Points) -> Shape:
    """A polygon with straight sides."""

    def draw(on: ImageDraw.ImageDraw, scale: float, middle: float) -> None:
        on.polygon([(x * scale + middle, y * scale) for x, y in points], fill=255)

    return draw


def spline(points: Points, steps: int = 6) -> list[tuple[float, float]]:
    """The closed Catmull-Rom curve through `points`."""
    p = np.asarray(points, np.float32)
    a, b, c = np.roll(p, 1, 0), np.roll(p, -1, 0), np.roll(p, -2, 0)
    t = (np.arange(steps, dtype=np.float32) / steps)[None, :, None]
    a, p, b, c = (v[:, None] for v in (a, p, b, c))
    curve = 0.5 * (2 * p + (b - a) * t + (2 * a - 5 * p + 4 * b - c) * t**2 + (3 * p - a - 3 * b + c) * t**3)
    return [(float(x), float(y)) for x, y in curve.reshape(-1, 2)]


def blob(points: Points) -> Shape:
    """A closed smooth shape through `points`."""
    return poly(spline(points))


def oval(x: float, y: float, rx: float, ry: float | None = None, turn: float = 0.0) -> Shape:
    """An ellipse; `turn` in radians, clockwise."""
    angle = np.linspace(0, 2 * np.pi, 28, endpoint=False)
    u, v = rx * np.cos(angle), (rx if ry is None else ry) * np.sin(angle)
    cos, sin = np.cos(turn), np.sin(turn)
    return poly(list(zip((x + u * cos - v * sin).tolist(), (y + u * sin + v * cos).tolist(), strict=True)))


def limb(points: Points, width: float, end: float | None = None) -> Shape:
    """A thick round-ended line through `points`, tapering from `width` to `end`."""
    last = width if end is None else end
    count = max(len(points) - 1, 1)

    def draw(on: ImageDraw.ImageDraw, scale: float, middle: float) -> None:
        p = [(x * scale + middle, y * scale) for x, y in points]
        r = [0.5 * scale * (width + (last - width) * i / count) for i in range(len(p))]
        for (x, y), s in zip(p, r, strict=True):
            on.ellipse((x - s, y - s, x + s, y + s), fill=255)
        for (x0, y0), (x1, y1), r0, r1 in zip(p, p[1:], r, r[1:], strict=False):
            length = max(float(np.hypot(x1 - x0, y1 - y0)), 1e-6)
            nx, ny = (y0 - y1) / length, (x1 - x0) / length
            corners = [(x0 + nx * r0, y0 + ny * r0), (x1 + nx * r1, y1 + ny * r1)]
            corners += [(x1 - nx * r1, y1 - ny * r1), (x0 - nx * r0, y0 - ny * r0)]
            on.polygon(corners, fill=255)

    return draw


def bow(x: float, y: float, half: float, rise: float, width: float) -> Shape:
    """A thick arc from (x - half, y) to (x + half, y), its middle `rise` below (a smile) or above (negative)."""
    t = np.linspace(-1, 1, 9)
    return limb(list(zip((x + half * t).tolist(), (y + rise * (1 - t * t)).tolist(), strict=True)), width)


def jitter(rng: np.random.Generator, colour: Colour, spread: float = 0.06) -> np.ndarray:
    """A colour a little off the given one."""
    return np.clip(np.asarray(colour, np.float32) + rng.uniform(-spread, spread, 3), 0, 1).astype(np.float32)


class Brush:
    """A transparent sheet `height` pixels high on which a thing is built part by part.

    `light_from` is -1 where the light comes from the left, 1 from the right.
    """

    def __init__(self, height: int, aspect: float = 1.0, light_from: float = -1.0) -> None:
        self.height, self.width = max(int(height), 8), max(int(height * aspect), 8)
        self.light_from = light_from
        self.rgb = np.zeros((self.height, self.width, 3), np.float32)
        self.alpha = np.zeros((self.height, self.width), np.float32)

    def mask(self, *shapes: Shape) -> Image.Image:
        """The union of shapes, white on black."""
        image = Image.new("L", (self.width, self.height))
        on = ImageDraw.Draw(image)
        for shape in shapes:
            shape(on, self.height, self.width / 2)
        return image

    def part(
        self,
        colour: Colour,
        *shapes: Shape,
        volume: float = 0.5,
        soft: float = 0.0,
        opacity: float = 1.0,
        inside: bool = False,
        to: Colour | None = None,
    ) -> None:
        """Lay a union of shapes; `to` is the colour at its foot, `inside` keeps it on what is already painted."""
        image = self.mask(*shapes)
        box = image.getbbox()
        if box is None:
            return
        pad = 3 + int(soft * self.height * 2)
        box = (
            max(box[0] - pad, 0),
            max(box[1] - pad, 0),
            min(box[2] + pad, self.width),
            min(box[3] + pad, self.height),
        )
        image = image.crop(box)
        edge = np.asarray(image.filter(ImageFilter.GaussianBlur(max(soft * self.height, 0.7))), np.float32) / 255
        at = (slice(box[1], box[3]), slice(box[0], box[2]))
        paint = self._shaded(image, np.asarray(colour, np.float32), volume, to)
        cover = edge * opacity
        if inside:
            cover = cover * self.alpha[at]
        under = self.alpha[at]
        total = cover + under * (1 - cover)
        share = (cover / np.maximum(total, 1e-4))[..., None]
        self.rgb[at] += (paint - self.rgb[at]) * share
        self.alpha[at] = total

    def _shaded(self, image: Image.Image, colour: np.ndarray, volume: float, to: Colour | None) -> np.ndarray:
        h, w = image.height, image.width
        if to is not None:
            down = np.linspace(0, 1, h, dtype=np.float32)[:, None, None]
            colour = colour + (np.asarray(to, np.float32) - colour) * down
        if volume <= 0:
            return np.broadcast_to(colour, (h, w, 3))
        radius = max(2.0, 0.16 * min(h, w))
        relief = np.asarray(image.filter(ImageFilter.BoxBlur(radius)), np.float32) / 255
        k = max(1, int(radius * 0.7))
        wide = np.pad(relief, k, mode="edge")
        x = k if self.light_from < 0 else -k
        lit = wide[2 * k :, k + x : k + x + w] - wide[:h, k - x : k - x + w]
        lit = np.clip(lit * 1.1 + np.linspace(0.18, -0.22, h, dtype=np.float32)[:, None], -1, 1)[..., None] * volume
        bright, dark = np.maximum(lit, 0), np.maximum(-lit, 0)
        return colour * (1 - dark * (1.25 - 0.3 * _COOL)) + (1 - colour) * bright * 0.6 * _WARM

    def image(self, turn: float = 0.0) -> Image.Image:
        """The finished sprite, RGBA, its size kept; `turn` in degrees anticlockwise about the foot."""
        pixels = np.empty((self.height, self.width, 4), np.uint8)
        pixels[..., :3] = np.clip(self.rgb, 0, 1) * 255 + 0.5
        pixels[..., 3] = np.clip(self.alpha, 0, 1) * 255 + 0.5
        sprite = Image.fromarray(pixels)
        if turn:
            sprite = sprite.rotate(turn, Image.Resampling.BILINEAR, center=(self.width / 2, self.height * 0.95))
        return sprite


def variants(draw: Callable[[Brush], None], count: int, height: float, aspect: float, side: float) -> list[Image.Image]:
    """`count` sprites of a thing `height` (a fraction of the canvas) tall, to be stamped many times by `resized`."""
    made = []
    for _ in range(count):
        b = Brush(int(height * SIZE), aspect, side)
        draw(b)
        made.append(b.image())
    return made


def resized(sprite: Image.Image, height: float, turn: float = 0.0) -> Image.Image:
    """A sprite made `height` (a fraction of the canvas) tall and turned about its middle by `turn` degrees."""
    rows = max(int(height * SIZE), 6)
    small = sprite.resize(
        (max(round(sprite.width * rows / sprite.height), 4), rows), Image.Resampling.BILINEAR, reducing_gap=1.5
    )
    return small.rotate(turn, Image.Resampling.BILINEAR) if turn else small


def halo(canvas: Canvas, x: float, y: float, radius: float, colour: Colour, strength: float = 1.0) -> None:
    """A soft round light like `Canvas.glow`, worked out only inside its own square."""
    x0, x1 = max(int((x - radius) * SIZE), 0), min(int((x + radius) * SIZE) + 1, SIZE)
    y0, y1 = max(int((y - radius) * SIZE), 0), min(int((y + radius) * SIZE) + 1, SIZE)
    if x0 >= x1 or y0 >= y1:
        return
    dx = (np.arange(x0, x1, dtype=np.float32) / SIZE - x) / radius
    dy = (np.arange(y0, y1, dtype=np.float32) / SIZE - y) / radius
    field = np.minimum(np.clip(1 - np.sqrt(dx**2 + dy[:, None] ** 2), 0, 1) ** 2 * strength, 1)
    part = canvas.rgb[y0:y1, x0:x1]
    part += field[..., None] * np.asarray(colour, np.float32) * (1 - np.clip(part, 0, 1))


def wash(canvas: Canvas, field: Field, colour: Colour, light: bool = False) -> None:
    """Lay a soft opacity field of any resolution over the canvas, as paint or (`light`) as added light."""
    if field.shape != (SIZE, SIZE):
        field = np.asarray(Image.fromarray(field.astype(np.float32)).resize((SIZE, SIZE), Image.Resampling.BICUBIC))
    field = np.clip(field, 0, 1)
    rows = np.flatnonzero(field.max(1) > 0.004)
    if not len(rows):
        return
    columns = np.flatnonzero(field.max(0) > 0.004)
    box = (slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1))
    paint: np.ndarray = np.asarray(colour, np.float32)
    if paint.ndim == 3:
        if len(paint) != SIZE:
            small = Image.fromarray((np.clip(paint, 0, 1) * 255).astype(np.uint8))
            paint = np.asarray(small.resize((SIZE, SIZE), Image.Resampling.BICUBIC), np.float32) / np.float32(255)
        paint = paint[box]
    part, cover = canvas.rgb[box], field[box][..., None]
    part += cover * paint * (1 - np.clip(part, 0, 1)) if light else cover * (paint - part)

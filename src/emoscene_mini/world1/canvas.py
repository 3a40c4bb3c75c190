"""A canvas for painting scenes in layers, far to near, with NumPy and Pillow alone.

Everything is painted at `SIZE` = 256 pixels a side and reduced to the wanted size by Lanczos at the end, which is the
only antialiasing. Positions are fractions of the canvas: x to the right, y down, (0, 0) top left. Colours are RGB in
[0, 1]. A latent of an f = 8 autoencoder covers 8 x 8 final pixels, so nothing that matters is thinner than about three
final pixels, six of the canvas at 128.

Depth is told by three things at once: far layers are painted first, `Light.shade` pulls their colour towards the haze,
and their texture is weaker.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from PIL import Image, ImageDraw

SIZE = 256

Field = np.ndarray  # [SIZE, SIZE] float32, a scalar for each pixel
Colour = Sequence[float] | np.ndarray  # three numbers, or [SIZE, SIZE, 3]
Point = tuple[float, float]


def rgb(code: str) -> np.ndarray:
    """A colour from its hexadecimal code, as three floats in [0, 1]: `rgb("ffd27f")`."""
    return np.array([int(code[i : i + 2], 16) for i in (0, 2, 4)], np.float32) / 255


def mix(a: Colour, b: Colour, t: float | np.ndarray) -> np.ndarray:
    """Linear interpolation from `a` (t = 0) to `b` (t = 1)."""
    a, b = np.asarray(a, np.float32), np.asarray(b, np.float32)
    return a + (b - a) * np.asarray(t, np.float32)


def smooth(low: float, high: float, x: Field) -> Field:
    """Hermite step from 0 at `low` to 1 at `high`."""
    t = np.clip((x - low) / (high - low), 0, 1)
    return t * t * (3 - 2 * t)


@lru_cache(maxsize=1)
def grid() -> tuple[Field, Field]:
    """The x and y of every pixel, as fractions of the canvas."""
    line = (np.arange(SIZE, dtype=np.float32) + 0.5) / SIZE
    return np.broadcast_to(line, (SIZE, SIZE)), np.broadcast_to(line[:, None], (SIZE, SIZE))


@lru_cache(maxsize=64)
def _tile(wavelength: int, stretch: int, octaves: int) -> Field:
    """Tileable value noise of 512 x 512 pixels in [0, 1], the same for ever for the same arguments."""
    rng = np.random.default_rng([wavelength, stretch, octaves])
    total, weight = np.zeros((512, 512), np.float32), 0.0
    for octave in range(octaves):
        rows = max(2, 512 // max(2, wavelength >> octave))
        columns = max(2, rows // stretch)
        coarse = rng.random((rows, columns), dtype=np.float32)
        wrapped = np.pad(coarse, 4, mode="wrap")
        pad_y, pad_x = 4 * 512 // rows, 4 * 512 // columns
        big = Image.fromarray(wrapped).resize((512 + 2 * pad_x, 512 + 2 * pad_y), Image.Resampling.BICUBIC)
        total += np.asarray(big)[pad_y : pad_y + 512, pad_x : pad_x + 512] * 0.5**octave
        weight += 0.5**octave
    low, high = total.min(), total.max()
    return np.asarray((total - low) / (high - low), np.float32)


def noise(rng: np.random.Generator, wavelength: int = 64, octaves: int = 3, stretch: int = 1) -> Field:
    """Smooth noise in [0, 1]; `wavelength` in canvas pixels, `stretch` > 1 draws it out sideways."""
    tile = _tile(wavelength, stretch, octaves)
    y, x = rng.integers(0, 512, 2)
    rows = (np.arange(SIZE) + y) % 512
    columns = (np.arange(SIZE) + x) % 512
    return tile[rows[:, None], columns]


def ridge(rng: np.random.Generator, roughness: float = 0.5, peaks: int = 4) -> np.ndarray:
    """A fractal line of SIZE heights in [0, 1]; `peaks` humps, `roughness` 0 (hills) to 1 (crags)."""
    x = np.linspace(0, 1, SIZE, dtype=np.float32)
    line = np.zeros(SIZE, np.float32)
    for octave in range(5):
        knots = rng.random(peaks * 2**octave + 3)
        at = np.linspace(0, 1, len(knots))
        line += np.interp(x, at, knots).astype(np.float32) * (0.25 + 0.4 * roughness) ** octave
    if roughness < 0.4:
        kernel = np.hanning(25)
        line = np.convolve(np.pad(line, 12, mode="edge"), kernel / kernel.sum(), "valid").astype(np.float32)
    return (line - line.min()) / (np.ptp(line) + 1e-6)


def below(line: np.ndarray) -> Field:
    """Mask of all that lies below a line of SIZE heights y (fractions), its edge one pixel soft."""
    rows = np.arange(SIZE, dtype=np.float32)[:, None] + 0.5
    return np.clip(rows - line[None, :] * SIZE + 0.5, 0, 1)


def polygon(points: Sequence[Point]) -> Field:
    """Mask of a filled polygon, corners as fractions of the canvas."""
    image = Image.new("L", (SIZE, SIZE))
    ImageDraw.Draw(image).polygon([(x * SIZE, y * SIZE) for x, y in points], fill=255)
    return np.asarray(image, np.float32) / 255


def disc(x: float, y: float, rx: float, ry: float | None = None, soft: float = 0.0) -> Field:
    """Mask of an ellipse; `soft` is the share of the radius over which its edge fades."""
    gx, gy = grid()
    r = np.hypot((gx - x) / rx, (gy - y) / (ry or rx))
    edge = max(soft, 1.5 / (rx * SIZE))
    return np.clip((1 - r) / edge + 0.5 * (soft == 0), 0, 1)


def bytes_of(colour: Colour) -> tuple[int, int, int]:
    """A colour as Pillow wants it."""
    r, g, b = (int(v) for v in np.clip(np.asarray(colour), 0, 1) * 255)
    return r, g, b


@dataclass(frozen=True)
class Light:
    """What the hour, the weather and the mood do to colours. Every painter takes one and asks `shade`."""

    zenith: np.ndarray  # colour of the sky overhead
    horizon: np.ndarray  # colour of the sky at the horizon
    ambient: np.ndarray  # multiplies every surface's own colour; about 1 by day, .25 at night
    haze: np.ndarray  # what distance fades to
    sun: np.ndarray  # colour of sun or moon
    sun_at: Point  # where sun or moon stands; below the canvas means unseen
    fog: float = 0.35  # 0 crystal clear .. 1 near things vanish
    night: float = 0.0  # 0 day .. 1 night: lamps and windows are lit as it rises

    @property
    def side(self) -> float:
        """Where the light comes from: -1 left, 1 right."""
        return -1.0 if self.sun_at[0] < 0.5 else 1.0

    def shade(self, colour: Colour, depth: float | Field = 0.0) -> np.ndarray:
        """A surface's own colour as it looks at `depth` (0 near .. 1 the horizon)."""
        lit = np.asarray(colour, np.float32) * self.ambient
        if isinstance(depth, np.ndarray):
            depth = depth[..., None]
        return mix(lit, self.haze, np.clip(self.fog * 1.6 * np.asarray(depth, np.float32), 0, 0.97))

    def with_(self, **changes: object) -> Light:
        """The same light with some fields changed."""
        return replace(self, **changes)  # type: ignore[arg-type]


class Canvas:
    """Float pixels [SIZE, SIZE, 3] and the ways to put colour on them."""

    def __init__(self, colour: Colour = (0, 0, 0)) -> None:
        self.rgb = np.empty((SIZE, SIZE, 3), np.float32)
        self.rgb[:] = np.asarray(colour, np.float32)

    def paint(self, mask: Field, colour: Colour, opacity: float = 1.0) -> None:
        """Lay `colour` over the canvas where `mask` is 1. Work is done only inside the mask's bounding box."""
        rows = np.flatnonzero(mask.max(1) > 0)
        if not len(rows):
            return
        columns = np.flatnonzero(mask[rows[0] : rows[-1] + 1].max(0) > 0)
        box = (slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1))
        colour = np.asarray(colour, np.float32)
        if colour.ndim == 3:
            colour = colour[box]
        part = self.rgb[box]
        part += (colour - part) * (mask[box] * opacity)[..., None]

    def add(self, field: Field, colour: Colour, strength: float = 1.0) -> None:
        """Add light: `field` in [0, 1] times `colour` times `strength`, screened so that nothing burns out."""
        self.rgb += (field * strength)[..., None] * np.asarray(colour, np.float32) * (1 - np.clip(self.rgb, 0, 1))

    def glow(self, x: float, y: float, radius: float, colour: Colour, strength: float = 1.0) -> None:
        """A soft round light, brightest at its middle and gone at `radius`."""
        self.add(disc(x, y, radius, soft=1.0) ** 2, colour, strength)

    def stamp(
        self, sprite: Image.Image, x: float, y: float, light: Light | None = None, depth: float = 0.0, lit: float = 0.0
    ) -> None:
        """Composite an RGBA sprite (canvas pixels) with the middle of its foot at (x, y).

        `light` shades it at `depth`; `lit` in [0, 1] is how much it shines by itself.
        """
        w, h = sprite.size
        left, top = round(x * SIZE - w / 2), round(y * SIZE - h)
        x0, y0, x1, y1 = max(left, 0), max(top, 0), min(left + w, SIZE), min(top + h, SIZE)
        if x0 >= x1 or y0 >= y1:
            return
        pixels = np.asarray(sprite, np.float32)[y0 - top : y1 - top, x0 - left : x1 - left] / 255
        colour, alpha = pixels[..., :3], pixels[..., 3:]
        if light is not None:
            colour = mix(light.shade(colour, depth), colour, lit)
        part = self.rgb[y0:y1, x0:x1]
        part += (colour - part) * alpha

    def shadow(self, x: float, y: float, rx: float, light: Light, strength: float = 0.35) -> None:
        """The soft dark ellipse under a thing that stands at (x, y)."""
        self.paint(disc(x, y, rx, rx * 0.28, soft=0.8), np.asarray(light.ambient) * 0.12, strength)

    def image(self, size: int = 128) -> Image.Image:
        """The finished picture, `size` pixels a side."""
        pixels = (np.clip(self.rgb, 0, 1) * 255 + 0.5).astype(np.uint8)
        return Image.fromarray(pixels).resize((size, size), Image.Resampling.LANCZOS)

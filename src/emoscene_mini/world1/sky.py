"""Light and air: the sky behind a scene, what hangs in the air before it, and the final grading.

`light` turns a plan's palettes and weather into the one `Light` every painter asks; `sky` paints the gradient, the sun
and the clouds; `veil` lays fog, rain, snow or smog over the finished scene; `grade` gives the whole picture one tone,
as a printer's last pass does. A mixture of moods blends the palettes' colours by their shares.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from emoscene_mini.world.canvas import SIZE, Canvas, Field, Light, bytes_of, grid, mix, noise, rgb, smooth
from emoscene_mini.world1.moods import PALETTES

_DIM = {"overcast": 0.86, "rain": 0.78, "storm": 0.66, "fog": 0.88, "smog": 0.86, "snow": 0.95}
_FOG = {"mist": 0.62, "fog": 0.95, "rain": 0.62, "storm": 0.45, "smog": 0.75, "snow": 0.6, "overcast": 0.42}
_HIDDEN = ("overcast", "rain", "storm", "smog", "snow", "fog")  # weathers behind which the sun is not seen


@dataclass(frozen=True)
class Tone:
    """A palette's colours in numbers, jittered and mixed; what `light` and `grade` work from."""

    zenith: np.ndarray
    middle: np.ndarray
    horizon: np.ndarray
    ambient: np.ndarray
    sun: np.ndarray
    night: float
    saturation: float
    contrast: float


def tone(palettes: Sequence[tuple[str, float]], intensity: float, rng: np.random.Generator) -> Tone:
    """The shares' blend, pulled a little to plain daylight at low intensity, its hues and values jittered."""
    names = [(name, share * (0.72 + 0.28 * intensity)) for name, share in palettes]
    names.append(("daylight", 1 - sum(share for _, share in names)))

    shares = np.array([share for _, share in names], np.float32)
    codes = np.stack([[rgb(code) for code in PALETTES[name].colours.split()] for name, _ in names])
    shift = rng.normal(0, 0.022, (3, 3)).astype(np.float32)
    lift = np.float32(rng.uniform(0.93, 1.07))
    zenith, middle, horizon, ambient, sun = np.tensordot(shares, codes, 1)
    sky = (np.clip((colour + d) * lift, 0, 1) for colour, d in zip((zenith, middle, horizon), shift, strict=True))
    ambient = np.clip(ambient**0.88 * lift + shift.mean(0) * 0.5, 0.1, 1.05)
    rest = np.array([(p.night, p.saturation, p.contrast) for p in (PALETTES[name] for name, _ in names)])
    night, saturation, contrast = (float(value) for value in shares @ rest)
    zenith, middle, horizon = sky
    return Tone(zenith, middle, horizon, ambient, sun, night, saturation, contrast)


def light(tone: Tone, weather: str, horizon: float, rng: np.random.Generator) -> Light:
    """What hour, weather and mood do to every colour in the picture."""
    dim = 1 - (1 - _DIM.get(weather, 1.0)) * (1 - 0.7 * tone.night)
    low = float(rng.uniform(0.55, 0.95)) if tone.night < 0.6 else float(rng.uniform(0.2, 0.7))
    at = (float(rng.uniform(0.12, 0.88)), horizon * low)
    if weather in _HIDDEN and tone.night < 0.6:
        at = (at[0], 2.0)
    return Light(
        zenith=tone.zenith * (0.5 + 0.5 * dim),
        horizon=tone.horizon * (0.6 + 0.4 * dim),
        ambient=tone.ambient * (0.35 + 0.65 * dim),
        haze=mix(tone.horizon, tone.middle, 0.45) * (0.6 + 0.4 * dim),
        sun=tone.sun,
        sun_at=at,
        fog=float(np.clip(_FOG.get(weather, 0.26) + rng.uniform(-0.06, 0.08), 0.16, 1)),
        night=tone.night,
    )


def sky(canvas: Canvas, tone: Tone, light: Light, weather: str, rng: np.random.Generator, horizon: float) -> None:
    """Gradient, then the glow of sun or moon, then clouds."""
    y = np.clip((np.arange(SIZE, dtype=np.float32) + 0.5) / SIZE / max(horizon, 0.2), 0, 1)[:, None]
    column = np.where(
        y < 0.55, mix(light.zenith, tone.middle, y / 0.55), mix(tone.middle, light.horizon, (y - 0.55) / 0.45)
    )
    drift = noise(rng, 128, 2, 2)[..., None] - 0.5
    canvas.rgb[:] = column[:, None, :] * (1 + 0.16 * drift)
    if light.sun_at[1] < 1:
        _luminary(canvas, light)
    _CLOUDS.get(weather, _wisps)(canvas, light, rng, horizon, weather)


def _luminary(canvas: Canvas, light: Light) -> None:
    x, y = light.sun_at
    moon = light.night > 0.6
    canvas.glow(x, y, 0.62, light.sun, 0.16 if moon else 0.34)
    canvas.glow(x, y, 0.2, light.sun, 0.3 if moon else 0.55)
    gx, gy = grid()
    radius = 0.044 if moon else 0.05
    round_ = smooth(radius + 0.008, radius - 0.004, np.hypot(gx - x, gy - y))
    canvas.paint(round_, mix(light.sun, (1, 1, 1), 0.35), 0.92)


def _field(canvas: Canvas, light: Light, rng: np.random.Generator, cover: float, size: int, stretch: int) -> Field:
    """Noise clouds whose upper side catches the light: returns their mask, after painting them."""
    dense = noise(rng, size, 3, stretch)
    mask = smooth(0.95 - cover, 1.3 - cover, dense)
    lit = np.clip(0.5 + 3.2 * (dense - np.roll(dense, -9, 0)), 0, 1)[..., None]
    dark, bright = mix(light.zenith, light.haze, 0.35) * 0.82, mix(light.haze, light.sun, 0.5)
    canvas.paint(mask, dark + (bright - dark) * lit, 0.85)
    return mask


def _clear(canvas: Canvas, light: Light, rng: np.random.Generator, horizon: float, weather: str) -> None:
    if light.night > 0.6 and rng.random() < 0.7:
        for x, y in rng.random((7, 2)):
            spark(canvas, float(x), float(y) * horizon * 0.8, 0.032, light.sun, 0.75)


def spark(canvas: Canvas, x: float, y: float, radius: float, colour: np.ndarray, strength: float) -> None:
    """A small glow, worked out only inside its own square."""
    r = max(int(radius * SIZE), 2)
    row, column = int(y * SIZE), int(x * SIZE)
    line = np.arange(-r, r + 1, dtype=np.float32) / r
    field = np.clip(1 - np.hypot(line, line[:, None]), 0, 1) ** 2 * strength
    top, left = max(row - r, 0), max(column - r, 0)
    part = canvas.rgb[top : row + r + 1, left : column + r + 1]
    if part.size:
        field = field[top - row + r :, left - column + r :][: part.shape[0], : part.shape[1]]
        part += field[..., None] * colour * (1 - np.clip(part, 0, 1))


def _wisps(canvas: Canvas, light: Light, rng: np.random.Generator, horizon: float, weather: str) -> None:
    streak = smooth(0.52, 0.9, noise(rng, 96, 3, 6))
    canvas.paint(streak, mix(light.haze, light.sun, 0.45), 0.5)


def _cumulus(rng: np.random.Generator, light: Light, width: int, tall: float) -> Image.Image:
    """One heap cloud: shaded puffs, then the same puffs smaller, higher and brighter, softened."""
    height = max(int(width * tall), 12)
    shade = mix(mix(light.zenith, light.haze, 0.6), light.ambient, 0.2) * 0.96
    bright = mix(mix(light.horizon, light.sun, 0.5), (1, 1, 1), 0.5 * float(light.ambient.mean()))
    bright = bright * (1 - 0.35 * light.night)
    image = Image.new("RGBA", (width, height), (*bytes_of(shade), 0))
    draw = ImageDraw.Draw(image)
    count = 9 if tall < 0.6 else 14
    xs = np.clip(rng.normal(0.5, 0.17, count), 0.2, 0.8)
    rise = (1 - np.abs(xs - 0.5) / 0.36) * rng.uniform(0.3, 1, count)
    for step, colour in enumerate((shade, mix(shade, bright, 0.55), bright)):
        for x, up in zip(xs, rise, strict=True):
            r = width * (0.15 - 0.035 * step)
            cx, cy = x * width + light.side * step * width * 0.022, height * (0.72 - 0.42 * up) - step * height * 0.05
            draw.ellipse((cx - r, cy - r * 0.85, cx + r, cy + r * 0.85), fill=(*bytes_of(colour), 255))
    pixels = np.asarray(image.filter(ImageFilter.GaussianBlur(max(2.0, width / 34)))).copy()
    foot = np.clip((0.92 - np.linspace(0, 1, height)) / 0.3, 0, 1)[:, None]
    pixels[..., 3] = (pixels[..., 3] * foot).astype(np.uint8)
    return Image.fromarray(pixels)


def _heaps(canvas: Canvas, light: Light, rng: np.random.Generator, horizon: float, weather: str) -> None:
    towering = weather == "towering"
    count = int(rng.integers(3, 5)) if towering else int(rng.integers(3, 6))
    for rank in range(count):
        depth = 1 - rank / count
        width = int(rng.uniform(130, 190) if towering else rng.uniform(60, 120) * (1.25 - 0.5 * depth))
        y = horizon * (rng.uniform(0.85, 1.02) if towering else 0.98 - 0.7 * (1 - depth) + rng.uniform(-0.1, 0.06))
        puff = _cumulus(rng, light, width, 0.85 if towering else 0.5)
        canvas.stamp(puff, float(rng.uniform(-0.02, 1.02)), max(float(y), 0.12))


def _cover(canvas: Canvas, light: Light, rng: np.random.Generator, horizon: float, weather: str) -> None:
    _field(canvas, light, rng, 0.72, 110, 3)
    if weather == "storm":
        gy = grid()[1]
        dense = noise(rng, 96, 3, 2)
        mask = smooth(0.32, 0.75, dense) * smooth(horizon * 1.02, horizon * 0.45, gy)
        lit = np.clip(0.35 + 3.0 * (np.roll(dense, -8, 0) - dense), 0, 1)[..., None]
        dark = light.zenith * 0.42
        canvas.paint(mask, dark + (mix(light.haze, light.horizon, 0.5) - dark) * lit * 0.8, 0.9)


_CLOUDS = {
    "clear": _clear, "fog": _clear, "fair": _heaps, "towering": _heaps, "wisps": _wisps, "mist": _wisps,
    "overcast": _cover, "rain": _cover, "storm": _cover, "smog": _cover, "snow": _cover,
}  # fmt: skip


def veil(canvas: Canvas, light: Light, weather: str, rng: np.random.Generator, horizon: float, strength: float) -> None:
    """The weather between the eye and the scene."""
    gy = grid()[1]
    near = np.exp(-(((gy - horizon) / 0.17) ** 2))
    if weather in ("mist", "fog"):
        depth = 0.4 if weather == "mist" else 0.66
        banks = smooth(0.25, 0.85, noise(rng, 110, 3, 4))
        canvas.paint(
            np.clip((near * 0.8 + 0.14) * (0.35 + 0.75 * banks), 0, 1), light.haze, depth * (0.6 + 0.4 * strength)
        )
    elif weather == "smog":
        murk = mix(light.haze, (0.52, 0.48, 0.2), 0.4) * 0.9
        canvas.paint(np.clip(0.25 + 0.6 * noise(rng, 120, 3, 2), 0, 1) * (0.3 + 0.7 * near), murk, 0.42)
    elif weather in ("rain", "storm"):
        _rain(canvas, light, rng, strength if weather == "rain" else 0.5 * strength)
    elif weather == "snow":
        for x, y, r in rng.random((26, 3)):
            spark(canvas, float(x), float(y), 0.026 + 0.022 * float(r), np.array([0.95, 0.97, 1]), 0.85)


def _rain(canvas: Canvas, light: Light, rng: np.random.Generator, strength: float) -> None:
    """Soft slanted bands, each a few final pixels wide, thicker where a shower passes."""
    gx, gy = grid()
    lean = rng.uniform(0.18, 0.4) * rng.choice([-1, 1])
    bands = rng.random(64)
    at = (gx + lean * gy + 1) * 21
    stripes = np.interp(at.ravel(), np.arange(64), bands).reshape(SIZE, SIZE).astype(np.float32)
    mask = smooth(0.45, 0.95, stripes) * (0.45 + 0.55 * noise(rng, 90, 2, 1))
    canvas.paint(mask, mix(light.haze, (0.85, 0.9, 0.95), 0.35), 0.2 + 0.22 * strength)


def grade(canvas: Canvas, tone: Tone, rng: np.random.Generator, frame: float) -> None:
    """Split-tone towards the palette, its saturation and contrast, a dark frame, and a breath of paper."""
    picture = canvas.rgb
    np.clip(picture, 0, 1, out=picture)
    luma = (picture @ np.array([0.3, 0.59, 0.11], np.float32))[..., None]
    picture += (1.08 * tone.saturation - 1) * (picture - luma)
    cool, warm = mix(tone.zenith, tone.middle, 0.4), mix(tone.horizon, tone.sun, 0.4)
    shade = cool + (warm - cool) * luma
    picture += (shade * (0.35 + 0.65 * luma) - picture) * 0.12
    picture += (1.1 * tone.contrast - 1) * (picture - np.clip(luma.mean(), 0.16, 0.45))
    gx, gy = grid()
    edge = np.hypot((gx - 0.5) * 1.9, (gy - 0.5) * 1.8)
    paper = 1 + 0.035 * (noise(rng, 24, 2) - 0.5)
    picture *= (paper * (1 - (0.1 + 0.72 * frame) * smooth(0.62, 1.35, edge)))[..., None]

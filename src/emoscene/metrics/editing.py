"""What an edit has left of its picture, first of all their structural similarity (Wang et al. 2004).

    ssim = (2 mu_x mu_y + c_1) (2 sigma_xy + c_2) / ((mu_x^2 + mu_y^2 + c_1) (sigma_x^2 + sigma_y^2 + c_2))

in every window of 7 x 7 pixels, of each colour, then the mean; 1 for equal pictures, near 0 for unrelated ones. Beside
it stand PSNR, the cosine of picture and edit (CLIP-I, where a CLIP reads), LPIPS where it was asked for (`perception`),
and the probability that the emotion asked has gained, p(asked | edit) - p(asked | picture), which Yang et al. (2025,
EmoEdit) call Emo-S.
"""

from __future__ import annotations

import numpy as np

from emoscene.metrics.base import Array, Readings, Value, average, averaged, enough, measured, unit

WINDOW = 7
RANGE = 255.0
LUMINANCE, CONTRAST = (0.01 * RANGE) ** 2, (0.03 * RANGE) ** 2


def editing(made: Readings, real: Readings | None = None, draws: int = 1000) -> dict[str, Value]:
    """SSIM, PSNR in dB, cosine, LPIPS and gained probability of edits; nothing where pictures are no edits."""
    before = made.originals
    if before is None:
        return {}
    space = "vectors" if made.vectors.size else "features"
    ours, theirs = (getattr(side, space) for side in (made, before))
    enough("editing", 1, ours, theirs)
    rows, asked = np.arange(len(made)), (made.asked >= 0).astype(float)
    gained = made.likely[rows, made.asked] - before.likely[rows, made.asked]
    cosine = (unit(ours) * unit(theirs)).sum(1)
    near = made.near.clip(max=100.0)  # identical pictures have no finite PSNR
    found = {"ssim": made.alike, "psnr": near, "clip_i" if made.vectors.size else "cosine": cosine}
    found |= {"lpips": made.lpips} if made.lpips.size else {}
    told = {name: measured(average(values), made, draws) for name, values in found.items()}
    return {**told, "emotion_gained": averaged(gained, asked, made, draws)}


def ssim(one: Array, other: Array) -> Array:
    """Structural similarity [N] of pictures [N, H, W, 3] in 0 .. 255. Raises ValueError below 7 pixels a side."""
    if min(one.shape[1:3]) < WINDOW:
        raise ValueError(f"SSIM looks through a window of {WINDOW} pixels, and the pictures are {one.shape[1:3]}")
    x, y = one.astype(np.float64), other.astype(np.float64)
    count = WINDOW**2
    mean_x, mean_y = windowed(x), windowed(y)
    unbiased = count / (count - 1)
    var_x, var_y = ((windowed(v * v) - m * m) * unbiased for v, m in ((x, mean_x), (y, mean_y)))
    covariance = (windowed(x * y) - mean_x * mean_y) * unbiased
    above = (2 * mean_x * mean_y + LUMINANCE) * (2 * covariance + CONTRAST)
    below = (mean_x**2 + mean_y**2 + LUMINANCE) * (var_x + var_y + CONTRAST)
    return np.asarray((above / below).mean((1, 2, 3)))


def windowed(values: Array) -> Array:
    """The mean of every whole window: [N, H, W, C] -> [N, H - 6, W - 6, C]."""
    for axis in (1, 2):
        values = np.lib.stride_tricks.sliding_window_view(values, WINDOW, axis).mean(-1)
    return values

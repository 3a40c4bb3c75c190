"""What an edit has left of its picture, first of all their structural similarity (Wang et al. 2004).

    ssim = (2 mu_x mu_y + c_1) (2 sigma_xy + c_2) / ((mu_x^2 + mu_y^2 + c_1) (sigma_x^2 + sigma_y^2 + c_2))

in every window of 7 x 7 pixels, of each colour, then the mean; 1 for equal pictures, near 0 for unrelated ones. Beside
it stand PSNR, the cosine of picture and edit (CLIP-I, where a CLIP reads), LPIPS where it was asked for (`perception`),
and the probability that the emotion asked has gained, p(asked | edit) - p(asked | picture), which Yang et al. (2025,
EmoEdit) call Emo-S.
"""

from __future__ import annotations

import numpy as np

from emoscene.core.errors import EmosceneError
from emoscene.evaluation.metrics.base import (
    Array,
    Predictions,
    Value,
    asked_probability,
    mean_statistic,
    measure,
    measure_mean,
    normalize_rows,
    require_images,
)

WINDOW = 7
RANGE = 255.0
LUMINANCE, CONTRAST = (0.01 * RANGE) ** 2, (0.03 * RANGE) ** 2


def editing(made: Predictions, real: Predictions | None = None, draws: int = 1000) -> dict[str, Value]:
    """SSIM, PSNR in dB, cosine, LPIPS and gained probability of edits; nothing where pictures are no edits.

    Raises Failure where one is too small for SSIM.
    """
    if made.originals is None:
        return {}
    near, alike, before = made.near.clip(max=100.0), made.alike, made.originals  # equal ones have no finite PSNR
    lpips, made = made.lpips, made.select(made.edits).only_judged
    space = "vectors" if made.vectors.size else "features"
    ours, theirs = (getattr(side, space) for side in (made, before))
    require_images("editing", 1, ours, theirs)
    if small := int(np.isnan(alike).sum()):
        raise EmosceneError(
            f"editing was left out: {small} of {len(made)} edits are smaller than SSIM's window of {WINDOW} pixels; "
            "take them away"
        )
    cosine = (normalize_rows(ours) * normalize_rows(theirs)).sum(1)
    found = {"ssim": alike, "psnr": near, "clip_i" if made.vectors.size else "cosine": cosine}
    found |= {"lpips": lpips} if lpips.size else {}
    told = {name: measure(mean_statistic(values), made, draws) for name, values in found.items()}
    if (asked := (made.asked >= 0).astype(float)).any():
        gained = asked_probability(made.likely, made.asked) - asked_probability(before.likely, made.asked)
        told["emotion_gained"] = measure_mean(gained, asked, made, draws)
    return told


def ssim(one: Array, other: Array) -> Array:
    """Structural similarity [N] of pictures [N, H, W, 3] in 0 .. 255; NaN below 7 pixels a side."""
    if min(one.shape[1:3]) < WINDOW:
        return np.full(len(one), np.nan)
    x, y = one.astype(np.float64), other.astype(np.float64)
    count = WINDOW**2
    mean_x, mean_y = window_means(x), window_means(y)
    unbiased = count / (count - 1)
    var_x, var_y = ((window_means(v * v) - m * m) * unbiased for v, m in ((x, mean_x), (y, mean_y)))
    covariance = (window_means(x * y) - mean_x * mean_y) * unbiased
    above = (2 * mean_x * mean_y + LUMINANCE) * (2 * covariance + CONTRAST)
    below = (mean_x**2 + mean_y**2 + LUMINANCE) * (var_x + var_y + CONTRAST)
    return np.asarray((above / below).mean((1, 2, 3)))


def window_means(values: Array) -> Array:
    """The mean of every whole window: [N, H, W, C] -> [N, H - 6, W - 6, C]."""
    for axis in (1, 2):
        values = np.lib.stride_tricks.sliding_window_view(values, WINDOW, axis).mean(-1)
    return values

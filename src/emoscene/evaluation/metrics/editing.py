"""What an edit has left of its image, first of all their structural similarity (Wang et al. 2004).

    ssim = (2 mu_x mu_y + c_1) (2 sigma_xy + c_2) / ((mu_x^2 + mu_y^2 + c_1) (sigma_x^2 + sigma_y^2 + c_2))

in every window of 7 x 7 pixels, of each colour, then the mean; 1 for equal images, near 0 for unrelated ones. Beside
it stand PSNR, the cosine of image and edit (CLIP-I, where a CLIP reads), LPIPS where it was asked for (`perception`),
and the probability that the emotion asked has gained, p(asked | edit) - p(asked | image), which Yang et al. (2025,
EmoEdit) call Emo-S.
"""

from __future__ import annotations

import numpy as np

from emoscene.core.plain_text import format_count
from emoscene.evaluation.intervals import Array
from emoscene.evaluation.metrics.base import (
    NotMeasurable,
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
    """Measure how much edits keep of their originals, and how much emotion they gain.

    Args:
        made: What was read of N generated images.
        real: What was read of real images, if there are any.
        draws: The number of bootstrap draws for the intervals.

    Returns:
        `ssim` (Wang et al. 2004), `psnr` in dB, `clip_i` or `cosine`, `lpips` where measured, and `emotion_gained`;
        empty where no image is an edit.

    Raises:
        NotMeasurable: An image is too small for SSIM.
    """
    if made.originals is None:
        return {}
    near, alike, before = made.near.clip(max=100.0), made.alike, made.originals  # equal ones have no finite PSNR
    lpips, made = made.lpips, made.select(made.edits).only_judged
    ours, theirs, cosine_name = made.features, before.features, "cosine"
    if made.vectors.size:
        ours, theirs, cosine_name = made.vectors, before.vectors, "clip_i"
    require_images("editing", 1, ours, theirs)
    small = int(np.isnan(alike).sum())
    if small:
        raise NotMeasurable(
            f"editing was left out: of {format_count(len(made), 'edit')}, {format_count(small, 'is', 'are')} "
            f"smaller than SSIM's window of {WINDOW} pixels; "
            "take them away"
        )
    cosine = (normalize_rows(ours) * normalize_rows(theirs)).sum(1)
    found = {"ssim": alike, "psnr": near, cosine_name: cosine}
    if lpips.size:
        found |= {"lpips": lpips}
    told = {}
    for name, values in found.items():
        told[name] = measure(mean_statistic(values), made, draws)
    asked = (made.asked >= 0).astype(float)
    if asked.any():
        gained = asked_probability(made.likely, made.asked) - asked_probability(before.likely, made.asked)
        told["emotion_gained"] = measure_mean(gained, asked, made, draws)
    return told


def ssim(one: Array, other: Array) -> Array:
    """Compute the structural similarity (Wang et al. 2004), in windows of 7 x 7 pixels.

    Args:
        one: Images [N, H, W, 3] in 0 .. 255.
        other: Images [N, H, W, 3] in 0 .. 255.

    Returns:
        The similarity [N], 1 for equal images; NaN where a side is shorter than the window.
    """
    if min(one.shape[1:3]) < WINDOW:
        return np.full(len(one), np.nan)
    x, y = one.astype(np.float64), other.astype(np.float64)
    count = WINDOW**2
    mean_x, mean_y = window_means(x), window_means(y)
    unbiased = count / (count - 1)
    var_x = (window_means(x * x) - mean_x * mean_x) * unbiased
    var_y = (window_means(y * y) - mean_y * mean_y) * unbiased
    covariance = (window_means(x * y) - mean_x * mean_y) * unbiased
    above = (2 * mean_x * mean_y + LUMINANCE) * (2 * covariance + CONTRAST)
    below = (mean_x**2 + mean_y**2 + LUMINANCE) * (var_x + var_y + CONTRAST)
    return np.asarray((above / below).mean((1, 2, 3)))


def window_means(values: Array) -> Array:
    """Compute the mean of every whole window.

    Args:
        values: Values [N, H, W, C].

    Returns:
        Means [N, H - 6, W - 6, C].
    """
    for axis in (1, 2):
        values = np.lib.stride_tricks.sliding_window_view(values, WINDOW, axis).mean(-1)
    return values

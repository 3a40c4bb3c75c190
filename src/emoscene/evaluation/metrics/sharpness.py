"""Whether pictures are as sharp as real ones, told from pixels alone: gradients, the power spectrum, PSNR.

The mean gradient magnitude falls with blur and rises with noise and ringing, so it stands with the power at each
spatial frequency: both must match the real pictures' for a picture to be neither blurred nor noisy.
"""

from __future__ import annotations

import numpy as np

from emoscene.core.errors import EmosceneError
from emoscene.evaluation.metrics.base import Array, Predictions, Value, measure, require_images, weighted_mean

LUMA = np.array([0.299, 0.587, 0.114])


def sharpness(made: Predictions, real: Predictions | None = None, draws: int = 1000) -> dict[str, Value]:
    """Mean gradient relative to the real ones, and the largest gap of the spectra up to half of Nyquist.

    Raises Failure where the pictures are of several sizes, or of another size than the real ones.
    """
    if not made.spectrum.size or (real is not None and real.spectrum.shape[1] != made.spectrum.shape[1]):
        raise EmosceneError(
            "sharpness compares pictures of one size, and these are of several: bring them to one size first"
        )
    require_images("sharpness", 1, made.spectrum, made.gradient)
    found = {"gradient": measure(lambda w: weighted_mean(made.gradient, w), made, draws)}
    if real is not None:
        sharp, power = float(real.gradient.mean()), real.spectrum.mean(0)
        found["gradient_ratio"] = measure(lambda w: weighted_mean(made.gradient, w) / sharp, made, draws)
        found["spectrum_db"] = measure(lambda w: spectrum_gap(made.spectrum, power, w), made, draws, centred=True)
    return found


def gradient_magnitude(pictures: Array) -> Array:
    """Mean magnitude of the gradient [N] of pictures [N, H, W, 3] in 0 .. 255, in grey levels a pixel."""
    grey = pictures.astype(np.float64) @ LUMA
    down, right = np.diff(grey, axis=1)[:, :, :-1], np.diff(grey, axis=2)[:, :-1]
    return np.asarray(np.hypot(down, right).mean((1, 2)))


def power_spectrum(pictures: Array) -> Array:
    """Radially averaged power [N, R] in dB, Hann window, at 1, 2 ... cycles a picture up to Nyquist."""
    grey = pictures.astype(np.float64) @ LUMA
    grey = grey - grey.mean((1, 2), keepdims=True)
    side = min(grey.shape[1:])
    grey = grey[:, :side, :side] * np.hanning(side)[:, None] * np.hanning(side)
    power = np.abs(np.fft.fft2(grey)) ** 2 / side**2
    cycles = np.fft.fftfreq(side, 1 / side)
    radius = np.hypot(cycles[:, None], cycles).round().astype(int)
    rings = [power[:, radius == r].mean(1) for r in range(1, side // 2 + 1)]
    return 10 * np.log10(np.stack(rings, 1) + 1e-6)


def spectrum_gap(made: Array, real: Array, weights: Array) -> float:
    """The largest difference in dB between the mean of spectra [N, R] and one spectrum [R], up to half of Nyquist."""
    if not weights.sum():
        return float("nan")
    half = len(real) // 2
    return float(np.abs(weights @ made[:, :half] / weights.sum() - real[:half]).max())


def psnr(one: Array, other: Array) -> Array:
    """Peak signal-to-noise ratio in dB [N] of pictures [N, ...] in 0 .. 255; identical ones give infinity."""
    error = ((one.astype(np.float64) - other.astype(np.float64)) ** 2).reshape(len(one), -1).mean(1)
    with np.errstate(divide="ignore"):
        return np.asarray(10 * np.log10(255**2 / error))

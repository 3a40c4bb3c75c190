"""Whether images are as sharp as real ones, told from pixels alone: gradients, the power spectrum, PSNR.

The mean gradient magnitude falls with blur and rises with noise and ringing, so it stands with the power at each
spatial frequency: both must match the real pictures' for an image to be neither blurred nor noisy.
"""

from __future__ import annotations

import numpy as np

from emoscene.core.errors import EmosceneError
from emoscene.evaluation.metrics.base import Array, Predictions, Value, measure, require_images, weighted_mean

LUMA = np.array([0.299, 0.587, 0.114])


def sharpness(made: Predictions, real: Predictions | None = None, draws: int = 1000) -> dict[str, Value]:
    """Compare gradients and power spectra with those of real images.

    Args:
        made: What was read of N generated images.
        real: What was read of real images, if there are any.
        draws: The number of bootstrap draws for the intervals.

    Returns:
        `gradient` and, with real images, `gradient_ratio` (1 if equally sharp) and `spectrum_db`, the largest gap
        of the mean spectra up to half of Nyquist.

    Raises:
        EmosceneError: The images have several sizes, or another size than the real ones.
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
    """Compute the mean magnitude of the gradient.

    Args:
        pictures: Images [N, H, W, 3] in 0 .. 255.

    Returns:
        Grey levels a pixel [N].
    """
    grey = pictures.astype(np.float64) @ LUMA
    down, right = np.diff(grey, axis=1)[:, :, :-1], np.diff(grey, axis=2)[:, :-1]
    return np.asarray(np.hypot(down, right).mean((1, 2)))


def power_spectrum(pictures: Array) -> Array:
    """Compute the radially averaged power spectrum, with a Hann window.

    Args:
        pictures: Images [N, H, W, 3] in 0 .. 255.

    Returns:
        Power in dB at 1, 2, ... cycles an image up to Nyquist [N, R].
    """
    grey = pictures.astype(np.float64) @ LUMA
    grey = grey - grey.mean((1, 2), keepdims=True)
    side = min(grey.shape[1:])
    grey = grey[:, :side, :side] * np.hanning(side)[:, None] * np.hanning(side)
    power = np.abs(np.fft.fft2(grey)) ** 2 / side**2
    cycles = np.fft.fftfreq(side, 1 / side)
    radius = np.hypot(cycles[:, None], cycles).round().astype(int)
    rings = []
    for r in range(1, side // 2 + 1):
        rings.append(power[:, radius == r].mean(1))
    return 10 * np.log10(np.stack(rings, 1) + 1e-6)


def spectrum_gap(made: Array, real: Array, weights: Array) -> float:
    """Compute the largest difference between a mean spectrum and another, up to half of Nyquist.

    Args:
        made: Spectra in dB [N, R].
        real: A spectrum in dB [R].
        weights: The weight of each row of `made` [N].

    Returns:
        The difference in dB; nan where all weights are 0.
    """
    if not weights.sum():
        return float("nan")
    half = len(real) // 2
    return float(np.abs(weights @ made[:, :half] / weights.sum() - real[:half]).max())


def psnr(one: Array, other: Array) -> Array:
    """Compute the peak signal-to-noise ratio.

    Args:
        one: Images [N, ...] in 0 .. 255.
        other: Images [N, ...] in 0 .. 255.

    Returns:
        dB [N]; infinite for equal images.
    """
    error = ((one.astype(np.float64) - other.astype(np.float64)) ** 2).reshape(len(one), -1).mean(1)
    with np.errstate(divide="ignore"):
        return np.asarray(10 * np.log10(255**2 / error))

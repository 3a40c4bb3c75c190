"""Whether images are as sharp as real ones, told from pixels alone: gradients, the power spectrum, PSNR.

The mean gradient magnitude falls with blur and rises with noise and ringing, so it stands with the power at each
spatial frequency: both must match the real images' for an image to be neither blurred nor noisy.

Both are of pixels, not of what is shown. Spectra of images of several sizes are compared at equal shares of the Nyquist
frequency, that is, at equal cycles a pixel, at as many places as the smallest image has rings.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from emoscene.evaluation.intervals import Array, resample
from emoscene.evaluation.metrics.base import (
    NotMeasurable,
    Predictions,
    Value,
    measure,
    require_images,
    summarize_draws,
    weighted_mean,
)
from emoscene.evaluation.pairs import divide

LUMA = np.array([0.299, 0.587, 0.114])
LEAST_RINGS = 2
"""The fewest rings of a spectrum that has one up to half of Nyquist: 4 pixels a side."""


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
        NotMeasurable: An image is smaller than 4 pixels a side.
    """
    clouds = [made]
    if real is not None:
        clouds.append(real)
    if min(cloud.spectrum.shape[1] for cloud in clouds) < LEAST_RINGS:
        raise NotMeasurable(
            f"sharpness needs images of {2 * LEAST_RINGS} pixels a side or more, and there are smaller ones: "
            "take them away"
        )
    require_images("sharpness", 1, made.spectrum, made.gradient)
    values = {"gradient": measure(lambda w: weighted_mean(made.gradient, w), made, draws)}
    if real is not None:
        sharp = float(real.gradient.mean())
        ours, theirs = match_spectra([made.spectrum, real.spectrum])
        power = theirs.mean(0)
        values["gradient_ratio"] = measure(lambda w: weighted_mean(made.gradient, w) / sharp, made, draws)
        gaps = resample(lambda weights: spectrum_gap(ours, power, weights), made.prompt, made.seed, draws)
        values["spectrum_db"] = summarize_draws(gaps, made, made.by, centred=True)
    return values


def match_spectra(spectra: Sequence[Array]) -> list[Array]:
    """Bring spectra of images of several sizes to as many rings as the shortest has, at equal shares of Nyquist.

    Args:
        spectra: Spectra in dB [N, R], each array with an R of its own.

    Returns:
        Spectra in dB [N, R] with the smallest R; those that have it already are left as they are.
    """
    fewest = min(spectrum.shape[1] for spectrum in spectra)
    matched = []
    for spectrum in spectra:
        rings = spectrum.shape[1]
        if rings > fewest:
            places = np.arange(1, fewest + 1) * rings / fewest - 1
            below = places.astype(int)
            above = np.minimum(below + 1, rings - 1)
            spectrum = spectrum[:, below] + (places - below) * (spectrum[:, above] - spectrum[:, below])
        matched.append(spectrum)
    return matched


def gradient_magnitude(images: Array) -> Array:
    """Compute the mean magnitude of the gradient.

    Args:
        images: Images [N, H, W, 3] in 0 .. 255.

    Returns:
        Grey levels a pixel [N].
    """
    means = np.zeros(len(images))
    for number, image in enumerate(images):
        grey = image.astype(np.float64) @ LUMA
        means[number] = np.hypot(np.diff(grey, axis=0)[:, :-1], np.diff(grey, axis=1)[:-1]).mean()
    return means


def power_spectrum(images: Array) -> Array:
    """Compute the radially averaged power spectrum, with a Hann window.

    Args:
        images: Images [N, H, W, 3] in 0 .. 255.

    Returns:
        Power in dB at 1, 2, ... cycles an image up to Nyquist [N, R].
    """
    side = min(images.shape[1:3])
    window = np.hanning(side)
    rows, columns = np.fft.fftfreq(side, 1 / side), np.fft.rfftfreq(side, 1 / side)
    rings = np.hypot(rows[:, None], columns).round().astype(np.int64).ravel()
    twice = np.full(len(columns), 2.0)  # a column stands for its mirror too; the first, and Nyquist's, are their own
    twice[0] = 1
    if side % 2 == 0:
        twice[-1] = 1
    wanted = slice(1, side // 2 + 1)
    counts = np.bincount(rings, np.broadcast_to(twice, (side, len(columns))).ravel())[wanted]
    spectra = np.zeros((len(images), side // 2))
    for number, image in enumerate(images):
        grey = image.astype(np.float64) @ LUMA
        grey = (grey - grey.mean())[:side, :side] * window[:, None] * window
        power = np.abs(np.fft.rfft2(grey)) ** 2 * twice
        spectra[number] = np.bincount(rings, power.ravel())[wanted] / counts / side**2
    return 10 * np.log10(spectra + 1e-6)


def spectrum_gap(made: Array, real: Array, weights: Array) -> Array:
    """Compute the largest difference between a mean spectrum and another, up to half of Nyquist.

    Args:
        made: Spectra in dB [N, R].
        real: A spectrum in dB [R].
        weights: The weight of each row of `made`, a row a draw [K, N].

    Returns:
        The difference of each draw in dB [K]; nan where all weights are 0.
    """
    half, total = len(real) // 2, weights.sum(1)
    gaps = weights @ made[:, :half] - total[:, None] * real[:half]
    return divide(np.abs(gaps).max(1), total)


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

"""What can be had of an emotion by colour alone, without any network: a filter that paints it, and a reader of it.

    statistics [6]   mean and deviation of l, alpha and beta over an image, in logarithms of cone responses
    numbers [6]      mean and deviation of brightness, red against green, and yellow against blue

The filter brings an image to the mean statistics of an emotion's images (Reinhard et al. 2001). The reader is a linear
discriminant of the six numbers (Fisher 1936), to which all emotions are equally probable beforehand. A method whose
images the reader reads better than real ones paints the stereotype of an emotion: caricatures.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image
from scipy.special import softmax

from emoscene.core.plain_text import format_count
from emoscene.core.taxonomy import EMOTIONS
from emoscene.evaluation.intervals import Array

TO_CONES = np.array([[0.3811, 0.5783, 0.0402], [0.1967, 0.7244, 0.0782], [0.0241, 0.1288, 0.8444]])
"""Red, green and blue to long, middle and short cones (Reinhard et al. 2001)."""
TO_OPPONENTS = np.array([[1, 1, 1], [1, 1, -2], [1, -1, 0]]) / np.sqrt([[3], [6], [2]])
"""Logarithms of cone responses to l, alpha and beta (Ruderman et al. 1998); its inverse is its transpose."""
DARKEST = 1 / 255
"""Of a cone's response, for black has no logarithm."""
FEW = len(EMOTIONS) + 6
"""Images that a reader of six numbers learns from, at least."""


def six_numbers(images: Sequence[Array] | Array) -> Array:
    """Compute mean and deviation of three opponent axes: brightness, red against green, yellow against blue.

    Args:
        images: N images [H, W, 3] in 0 .. 255, of any sizes.

    Returns:
        Features [N, 6]: three means, then three deviations.
    """
    features = np.zeros((len(images), 6))
    for row, image in zip(features, images, strict=True):
        red, green, blue = np.moveaxis(np.asarray(image, np.float32) / 255, -1, 0)
        axes = np.stack([(red + green + blue) / 3, red - green, (red + green) / 2 - blue])
        row[:3] = axes.mean((1, 2))
        row[3:] = axes.std((1, 2))
    return features


def colour_statistics(image: Array) -> Array:
    """Compute mean and deviation of l, alpha and beta.

    Args:
        image: An image [H, W, 3] in 0 .. 255.

    Returns:
        Three means, then three deviations [6].
    """
    opponents = _to_opponents(image)
    return np.concatenate([opponents.mean((0, 1)), opponents.std((0, 1))])


def transfer_colours(image: Image.Image, statistics: Array) -> Image.Image:
    """Bring an image to other colour statistics (Reinhard et al. 2001).

    Args:
        image: The image.
        statistics: As `colour_statistics` returns them [6].

    Returns:
        The image in its new colours, in RGB; what lies outside of them is cut off.
    """
    pixels = np.asarray(image.convert("RGB"))
    opponents = _to_opponents(pixels)
    own = np.concatenate([opponents.mean((0, 1)), opponents.std((0, 1))])
    scaled = (opponents - own[:3]) * statistics[3:] / own[3:].clip(min=1e-6) + statistics[:3]
    cones = 10 ** (scaled @ TO_OPPONENTS)
    colours = cones @ np.linalg.inv(TO_CONES).T
    return Image.fromarray((255 * colours).round().clip(0, 255).astype(np.uint8))


def _to_opponents(image: Array) -> Array:
    cones = (np.asarray(image, np.float64) / 255) @ TO_CONES.T
    return np.asarray(np.log10(cones.clip(min=DARKEST)) @ TO_OPPONENTS.T)


@dataclass(frozen=True)
class ColourReader:
    """A linear discriminant of some numbers of an image, with equal chances beforehand.

    Attributes:
        slopes: Of each emotion's logit [D, 8]; 0 for an emotion that was not learnt.
        offsets: Of each emotion's logit [8]; -inf for an emotion that was not learnt.
    """

    slopes: Array
    offsets: Array

    @classmethod
    def fit(cls, features: Array, asked: Array) -> ColourReader:
        """Learn from labelled images.

        Args:
            features: Numbers of N images [N, D].
            asked: The emotion of each, -1 for none [N].

        Returns:
            The reader.

        Raises:
            ValueError: Fewer than `FEW` images have an emotion, or all have the same.
        """
        features, asked = features[asked >= 0].astype(np.float64), asked[asked >= 0]
        known = np.unique(asked)
        if len(asked) < FEW or len(known) < 2:
            raise ValueError(
                f"{format_count(len(asked), 'image')} of {format_count(len(known), 'emotion')} teach no reader"
            )
        means = np.zeros((len(EMOTIONS), features.shape[1]))
        rest = np.zeros_like(features)
        for label in known:
            members = asked == label
            means[label] = features[members].mean(0)
            rest[members] = features[members] - means[label]
        inverse = np.linalg.pinv(rest.T @ rest / len(asked), hermitian=True)
        slopes = inverse @ means.T
        offsets = np.full(len(EMOTIONS), -np.inf)
        offsets[known] = -0.5 * np.einsum("kd,dk->k", means, slopes)[known]
        return cls(slopes, offsets)

    def read(self, features: Array) -> Array:
        """Read images.

        Args:
            features: Their numbers [N, D].

        Returns:
            The chance of each emotion [N, 8].
        """
        return np.asarray(softmax(features @ self.slopes + self.offsets, axis=1))

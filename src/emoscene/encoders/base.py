"""The contract of an encoder: pictures in, a row each out.

What an encoder reads of a picture is a `Reading`: how likely it finds each of its labels, and a vector of features that
distances are measured in. Metrics are pure functions of readings, so a metric never runs a network and any encoder can
stand behind any metric.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice
from typing import ClassVar, final

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from emoscene.learner import Learner


@dataclass(frozen=True)
class Reading:
    """What an encoder saw in N pictures: probabilities [N, K] of its K labels, features [N, D]."""

    probabilities: np.ndarray
    features: np.ndarray


class Encoder(Learner):
    """A learner that reads pictures. It learns from the judges' own part of the data."""

    role: ClassVar[str] = "judges"
    labels: tuple[str, ...] = ()

    @abstractmethod
    def encode(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Pictures [B, 3, H, W] in [-1, 1], of any size -> probabilities [B, K], features [B, D]."""

    @final
    @torch.no_grad()
    def read(self, pictures: Iterable[Image.Image], batch: int = 64) -> Reading:
        """Read Pillow's pictures (one size within a batch), a batch at a time."""
        device = next(self.parameters()).device
        probabilities, features, source = [], [], iter(pictures)
        while some := list(islice(source, batch)):
            likely, seen = self.encode(tensor(some).to(device))
            probabilities.append(likely.float().cpu().numpy())
            features.append(seen.float().cpu().numpy())
        if not probabilities:
            return Reading(np.zeros((0, len(self.labels)), np.float32), np.zeros((0, 1), np.float32))
        return Reading(np.concatenate(probabilities), np.concatenate(features))


def sized(images: Tensor, side: int) -> Tensor:
    """Pictures [B, 3, H, W] in [-1, 1] brought to a square [B, 3, side, side]."""
    if images.shape[-2:] == (side, side):
        return images
    return F.interpolate(images, (side, side), mode="bicubic", antialias=True, align_corners=False).clamp(-1, 1)


def tensor(pictures: Iterable[Image.Image]) -> Tensor:
    """Pillow's pictures as [B, 3, H, W] in [-1, 1]."""
    pixels = np.stack([np.asarray(picture.convert("RGB")) for picture in pictures])
    return torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 127.5 - 1

"""LPIPS (Zhang et al. 2018), the perceptual distance that papers print, by the package `lpips` itself.

    pip install 'emoscene[perceptual]'
    emoscene evaluate --images edits --lpips alex ...

It is told of every edit and the image that it was made from. `alex` is the network that the authors recommend for
comparing, `vgg` the one that losses use. The package finds the network's own weights through torchvision, which fetches
them once.

Unconfirmed: lpips imports torchvision, of which there is no build for the machines that this was written on. Tested is
what is handed over, and what is made of the answer. Distances by the miniature's own networks are never called LPIPS.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from PIL import Image

from emoscene.core.errors import import_extra
from emoscene.encoders.base import to_tensor


class Perceptual:
    """LPIPS by one network: a function of two images."""

    def __init__(self, model: Any, device: str = "cpu") -> None:
        self.model, self.device = model.eval().to(device), device

    @classmethod
    def load(cls, trunk: str, device: str = "cpu") -> Perceptual:
        """Load LPIPS (Zhang et al. 2018).

        Args:
            trunk: The network, `alex` or `vgg`.
            device: Where it computes.

        Returns:
            The distance.

        Raises:
            EmosceneError: The extra is not installed.
        """
        return cls(import_extra("lpips", "perceptual").LPIPS(net=trunk, verbose=False), device)

    @torch.no_grad()
    def distance(self, one: Image.Image, other: Image.Image) -> float:
        """Compute the distance of two images.

        Args:
            one: An image.
            other: An image of the same size.

        Returns:
            The distance, 0 for equal images.
        """
        left, right = to_tensor([one]).to(self.device), to_tensor([other]).to(self.device)
        return float(np.asarray(self.model(left, right).cpu()).item())

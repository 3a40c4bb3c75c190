"""The autoencoder: pictures to latents of an eighth of their side, and back. It decides how sharp anything can be.

The loss asks for two things: the right pixels (L1, and again on the picture reduced by four, or else the many edges
outvote the few colours and a whole hue is learnt late), the right edges (L1 of finite differences at two scales, and
their mean strength in every patch of 8 x 8, which a blurred texture lacks). A light KL keeps the latents' noise from
vanishing, so that near latents decode to near pictures.

It is trained on crops. Then the encoder is frozen, the UNet can begin on the latents, and `decoder.py` goes on with the
decoder alone, on whole pictures and before a `Discriminator`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, Self

import torch
from diffusers import AutoencoderKL
from torch import Tensor
from torch.nn import functional as F

from emoscene.core.config import option
from emoscene.diffusion.model import DiffusionModel
from emoscene.learning.learner import Batch, Learner


def autoencoder_network(channels: tuple[int, ...], **facts: Any) -> AutoencoderKL:
    """Stable Diffusion's autoencoder at this width: four levels, four latent channels, no attention."""
    vae: AutoencoderKL = AutoencoderKL(
        block_out_channels=channels,
        down_block_types=("DownEncoderBlock2D",) * len(channels),
        up_block_types=("UpDecoderBlock2D",) * len(channels),
        layers_per_block=1,
        norm_num_groups=16,
        latent_channels=4,
        sample_size=128,
        mid_block_add_attention=False,
        **facts,
    )
    return vae


class Weights(Protocol):
    """The weights of what is asked of a picture."""

    @property
    def tones(self) -> float:
        """Of the picture reduced by four."""

    @property
    def edges(self) -> float:
        """Of the finite differences."""

    @property
    def strength(self) -> float:
        """Of the edges' mean strength in a patch."""


def reconstruction_loss(made: Tensor, wanted: Tensor, weights: Weights) -> Tensor:
    """Measure how far made images are from those wanted, in pixels and in edges.

    Args:
        made: Images [B, 3, H, W] in [-1, 1].
        wanted: Images [B, 3, H, W] in [-1, 1].
        weights: The weights of the parts.

    Returns:
        The loss [B].
    """
    far = (made - wanted).abs().mean((1, 2, 3))
    far = far + weights.tones * F.avg_pool2d(made - wanted, 4).abs().mean((1, 2, 3))
    for one, other in ((made, wanted), (F.avg_pool2d(made, 2), F.avg_pool2d(wanted, 2))):
        for axis in (2, 3):
            a, b = one.diff(dim=axis), other.diff(dim=axis)
            far = far + weights.edges * (a - b).abs().mean((1, 2, 3))
            a, b = F.avg_pool2d(a.abs(), 8, 4), F.avg_pool2d(b.abs(), 8, 4)
            far = far + weights.strength * (a - b).abs().mean((1, 2, 3))
    return far


class Autoencoder(Learner):
    """An `AutoencoderKL` and what it is trained for."""

    @dataclass(frozen=True)
    class Config:
        """Its size, its crops, the weights of its losses."""

        channels: tuple[int, ...] = option((32, 64, 128, 128), "channels of the four levels")
        crop: int = option(64, "side of the crops in pixels", span=(16, 1024))
        kl: float = option(1e-4, "weight of the latents' divergence from a normal", span=(0.0, 1.0))
        tones: float = option(3.0, "weight of the pixels of the picture reduced by four", span=(0.0, 10.0))
        edges: float = option(1.0, "weight of the finite differences", span=(0.0, 10.0))
        strength: float = option(0.5, "weight of the edges' mean strength in a patch", span=(0.0, 10.0))

    columns: ClassVar[tuple[str, ...]] = ("pixels",)
    split: ClassVar[str] = "base"

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.vae = autoencoder_network(config.channels)

    @classmethod
    def from_scratch(cls, config: Config, base: DiffusionModel | None, data: Any = None) -> Self:
        """Make a new autoencoder.

        Args:
            config: Its sizes and weights.
            base: Not used: it stands on nothing.
            data: Not used.

        Returns:
            The learner.
        """
        return cls(config)

    def compute_loss(self, batch: Batch) -> Tensor:
        """Compute the weighted sum of the losses: pixels, edges, and the divergence of the latents.

        Args:
            batch: Samples with `pixels` [B, 3, H, W], whole numbers from 0 to 255.

        Returns:
            The loss [B].
        """
        wanted = self._crop_batch(batch["pixels"].float() / 127.5 - 1, batch)
        posterior = self.vae.encode(wanted).latent_dist
        mean, spread = posterior.mean.float(), posterior.std.float()
        latents = mean + spread * batch.normal("latent", *mean.shape[1:])
        divergence = 0.5 * (mean.square() + spread.square() - 1 - 2 * spread.log()).mean((1, 2, 3))
        made = self.vae.decode(latents).sample.float()
        return reconstruction_loss(made, wanted, self.config) + self.config.kl * divergence

    def _crop_batch(self, whole: Tensor, batch: Batch) -> Tensor:
        """A crop of each picture, mirrored half of the time, placed by the sample's own randomness."""
        side, room = self.config.crop, whole.shape[-1] - self.config.crop
        corners = (batch.uniform("crop", 2) * (room + 1)).long().tolist()
        crops = [picture[:, y : y + side, x : x + side] for picture, (y, x) in zip(whole, corners, strict=True)]
        mirrored = (batch.uniform("mirror") < 0.5).tolist()
        return torch.stack([c.flip(-1) if m else c for c, m in zip(crops, mirrored, strict=True)])

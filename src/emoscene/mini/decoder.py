"""The decoder's own training: whole pictures from their final latents, the encoder left as it is.

While the UNet learns those latents, the decoder goes on learning to paint them. A little noise on the latents makes it
forgive a UNet that is a little off.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Self

from torch import Tensor

from emoscene.backbone import Backbone
from emoscene.config import option
from emoscene.learner import Batch, Learner
from emoscene.mini.autoencoder import eyes, network, unlike
from emoscene.mini.perception import Perception


class Decoder(Learner):
    """An autoencoder of which the decoder alone trains."""

    @dataclass(frozen=True)
    class Config:
        """Its size, the noise it must bear, the weights of its losses."""

        channels: tuple[int, ...] = option((32, 64, 128, 128), "channels of the four levels")
        noise: float = option(0.03, "noise on the latents, in their standard deviations", span=(0.0, 1.0))
        tones: float = option(3.0, "weight of the pixels of the picture reduced by four", span=(0.0, 10.0))
        edges: float = option(1.0, "weight of the finite differences", span=(0.0, 10.0))
        strength: float = option(0.5, "weight of the edges' mean strength in a patch", span=(0.0, 10.0))
        looks: float = option(0.15, "weight of the perceptual distance", span=(0.0, 10.0))
        perception: str = option("", "folder of the `Perception` to look with; none is no perceptual loss")

    reads: ClassVar[tuple[str, ...]] = ("pixels", "latents")
    role: ClassVar[str] = "base"

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.vae = network(config.channels)
        self.vae.requires_grad_(False)
        for part in (self.vae.decoder, self.vae.post_quant_conv):
            part.requires_grad_(True)
        self.outside: list[Perception] = []

    @classmethod
    def start(cls, config: Config, base: Backbone | None, data: Any = None) -> Self:
        """A new one, with the trained perception beside it (which it does not own)."""
        learner = cls(config)
        learner.outside = eyes(config.perception)
        return learner

    def loss(self, batch: Batch) -> Tensor:
        """The weighted sum of all that is asked of the picture [B]."""
        wanted, latents = batch["pixels"].float() / 127.5 - 1, batch["latents"][:, 0].float()
        latents = latents + self.config.noise * batch.normal("decoder", *latents.shape[1:])
        made = self.vae.decode(latents / self.vae.config.scaling_factor).sample.float()
        return unlike(made, wanted, self.config, self.outside)

"""The decoder's own training: whole pictures from their final latents, the encoder left as it is.

While the UNet learns those latents, the decoder goes on learning to paint them: to the pixel as far as the latents tell
it, and before a `Critic` where they do not. A little noise on the latents makes it forgive a UNet that is a little off.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

from safetensors.torch import load_file
from torch import Tensor

from emoscene.backbone import Backbone
from emoscene.config import option
from emoscene.learner import Batch, Learner
from emoscene.mini.autoencoder import network, unlike
from emoscene.mini.critic import Critic


class Decoder(Learner):
    """An autoencoder of which the decoder alone trains, and the critic it trains against."""

    @dataclass(frozen=True)
    class Config:
        """Where it begins, its size, the noise it must bear, the weights of its losses."""

        begun: str = option("", "folder of the autoencoder to go on from; empty: from nothing")
        scale: float = option(1.0, "what the latents were multiplied by", span=(1e-6, 1e6, "log"))
        channels: tuple[int, ...] = option((32, 64, 128, 128), "channels of the four levels")
        noise: float = option(0.03, "noise on the latents, in their standard deviations", span=(0.0, 1.0))
        tones: float = option(3.0, "weight of the pixels of the picture reduced by four", span=(0.0, 10.0))
        edges: float = option(1.0, "weight of the finite differences", span=(0.0, 10.0))
        strength: float = option(0.5, "weight of the edges' mean strength in a patch", span=(0.0, 10.0))
        critic: float = option(0.05, "weight of the critic's disbelief", span=(0.0, 10.0))

    reads: ClassVar[tuple[str, ...]] = ("pixels", "latents")
    role: ClassVar[str] = "base"
    files: ClassVar[dict[str, tuple[str, str]]] = {"model.safetensors": ("vae.", "vae.")}

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.vae = network(config.channels, scaling_factor=config.scale)
        self.vae.requires_grad_(False)
        for part in (self.vae.decoder, self.vae.post_quant_conv):
            part.requires_grad_(True)
        self.critic = Critic()

    @classmethod
    def start(cls, config: Config, base: Backbone | None, data: Any = None) -> Self:
        """A new one, which paints as the autoencoder that it goes on from."""
        learner = cls(config)
        if config.begun:
            state = load_file(str(Path(config.begun) / "model.safetensors"))
            learner.vae.load_state_dict({name.removeprefix("vae."): value for name, value in state.items()})
        return learner

    def loss(self, batch: Batch) -> Tensor:
        """What is wrong with the picture, to the eye and to the critic, and with the critic [B]."""
        wanted, latents = batch["pixels"].float() / 127.5 - 1, batch["latents"][:, 0].float()
        latents = latents + self.config.noise * batch.normal("decoder", *latents.shape[1:])
        made = self.vae.decode(latents / self.config.scale).sample.float()
        far = unlike(made, wanted, self.config) + self.config.critic * self.critic.disbelief(made)
        return far + self.critic.mistakes(made, wanted)

"""The decoder's own training: whole pictures from their final latents, the encoder left as it is.

While the UNet learns those latents, the decoder goes on learning to paint them: to the pixel as far as the latents tell
it, before a `Discriminator` where they do not, and so that an EmotionCLIP sees in the picture what it saw in the
rendered one (a perceptual loss, Johnson et al. 2016; this CLIP has learnt from the same pictures, and no judge is
asked). A little noise on the latents makes it forgive a UNet that is a little off.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

import torch
from safetensors.torch import load_file
from torch import Tensor
from torch.nn import functional as F

from emoscene.core.config import option
from emoscene.diffusion.model import DiffusionModel
from emoscene.encoders.emotion_clip import EmotionCLIP
from emoscene.learning import learner as learners
from emoscene.learning.learner import Batch, Learner
from emoscene_mini.autoencoder import autoencoder_network, reconstruction_loss
from emoscene_mini.discriminator import Discriminator


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
        eyes: str = option("", "folder of the EmotionCLIP that compares; empty: none does")
        likeness: float = option(1.0, "weight of what it sees otherwise", span=(0.0, 10.0))

    columns: ClassVar[tuple[str, ...]] = ("pixels", "latents")
    split: ClassVar[str] = "base"
    files: ClassVar[dict[str, tuple[str, str]]] = {"model.safetensors": ("vae.", "vae.")}

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.vae = autoencoder_network(config.channels, scaling_factor=config.scale)
        self.vae.requires_grad_(False)
        for part in (self.vae.decoder, self.vae.post_quant_conv):
            part.requires_grad_(True)
        self.critic = Discriminator()
        self.eyes = learners.load_learner("encoders", Path(config.eyes), None) if config.eyes else None

    @classmethod
    def from_scratch(cls, config: Config, base: DiffusionModel | None, data: Any = None) -> Self:
        """Make the learner of a decoder, which starts as the autoencoder that it goes on from.

        Args:
            config: Its weights, and the folder `begun` of that autoencoder.
            base: Not used: it stands on nothing.
            data: Not used.

        Returns:
            The learner.
        """
        learner = cls(config)
        if config.begun:
            state = load_file(str(Path(config.begun) / "model.safetensors"))
            learner.vae.load_state_dict({name.removeprefix("vae."): value for name, value in state.items()})
        return learner

    def compute_loss(self, batch: Batch) -> Tensor:
        """Compute the decoder's loss (pixels, discriminator and CLIP) together with the discriminator's own.

        Args:
            batch: Samples with `pixels` [B, 3, H, W] from 0 to 255 and `latents` [B, 2, 4, h, w].

        Returns:
            The loss [B].
        """
        wanted, mirrored = batch["pixels"].float() / 127.5 - 1, batch.uniform("mirror") < 0.5
        wanted = torch.where(mirrored[:, None, None, None], wanted.flip(-1), wanted)
        latents = batch["latents"][torch.arange(len(batch)), mirrored.long()].float()
        latents = latents + self.config.noise * batch.normal("decoder", *latents.shape[1:])
        made = self.vae.decode(latents / self.config.scale).sample.float()
        far = reconstruction_loss(made, wanted, self.config) + self.config.critic * self.critic.generator_loss(made)
        if isinstance(self.eyes, EmotionCLIP):
            far = far + self.config.likeness * feature_distance(self.eyes, *_shift_batch(batch, made, wanted))
        return far + self.critic.discriminator_loss(made, wanted)


def feature_distance(eyes: EmotionCLIP, made: Tensor, wanted: Tensor) -> Tensor:
    """Compare two images by what the blocks of a CLIP's vision encoder make of their patches.

    Args:
        eyes: The CLIP.
        made: Images [B, 3, H, W] in [-1, 1].
        wanted: Images [B, 3, H, W] in [-1, 1]; no gradient passes through them.

    Returns:
        The mean absolute difference of normalized hidden states [B].
    """

    def seen(pictures: Tensor) -> list[Tensor]:
        found = eyes.model.vision_model(eyes.pixels.transform(pictures), output_hidden_states=True).hidden_states[1:]
        return [F.layer_norm(hidden.float(), hidden.shape[-1:]) for hidden in found]

    with torch.no_grad():
        goal = seen(wanted)
    far = [(one - other).abs().mean((1, 2)) for one, other in zip(seen(made), goal, strict=True)]
    return torch.stack(far).mean(0)


def _shift_batch(batch: Batch, *sides: Tensor) -> list[Tensor]:
    """Each picture moved round by up to a patch, both sides alike, so that no patch's edge is anything special."""
    steps = (batch.uniform("shift", 2) * 16).long().tolist()
    return [torch.stack([p.roll(step, (1, 2)) for p, step in zip(side, steps, strict=True)]) for side in sides]

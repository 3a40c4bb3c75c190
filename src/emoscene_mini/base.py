"""The miniature's base: a UNet, trained from nothing, and the text encoder it listens to, which was trained before it.

The text encoder is a CLIP's text tower, as Stable Diffusion's is. One that learns with the UNet hardly learns to tell a
horse from a bicycle, since a denoiser asks it for little more than the scene; a contrast with pictures asks for every
word. It stays as it is, so every caption is read once and kept on the disk (`texts`), which halves the time of a step.

The objective is DDPM's: tell the noise in x_t. Its squared error is weighted by min(SNR, 5) / SNR (Hang et al. 2023),
so that the nearly clean steps do not drown the others. One caption in ten is empty, which classifier-free guidance
needs; of the others half are short (scene and object) and half long (light, weather, things besides).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Self

import torch
from diffusers import UNet2DConditionModel
from torch import Tensor
from transformers import CLIPTextModel, CLIPTokenizer

from emoscene.core.config import option
from emoscene.diffusion.model import LENGTH, DiffusionModel
from emoscene.diffusion.noise_process import min_snr_loss
from emoscene.encoders.emotion_clip import load_borrowed
from emoscene.learning.learner import Batch, Learner

KINDS = ("short", "long")  # of captions, as `texts` holds them
BETAS = (0.00085, 0.012)
TOTAL = 1000


class Base(Learner):
    """A UNet that learns, and a text encoder that does not."""

    @dataclass(frozen=True)
    class Config:
        """Its text encoder, its size, and how captions are dealt."""

        text: str = option("", "folder of the CLIP whose text tower the UNet listens to, and whose tokenizer")
        channels: tuple[int, ...] = option((64, 128, 192), "channels of the UNet's three levels")
        heads: int = option(4, "attention heads", span=(1, 64))
        side: int = option(16, "side of the latents", span=(4, 512))
        empty: float = option(0.1, "share of empty captions", span=(0.0, 1.0))
        long: float = option(0.5, "share of long ones among the others", span=(0.0, 1.0))
        snr_gamma: float = option(5.0, "largest signal-to-noise ratio that counts in full", span=(0.1, 1000.0))

    columns: ClassVar[tuple[str, ...]] = ("latents", "texts")
    split: ClassVar[str] = "base"

    def __init__(self, config: Config, text_encoder: CLIPTextModel, tokenizer: CLIPTokenizer) -> None:
        super().__init__(config)
        self.tokenizer = tokenizer
        self.text_encoder = text_encoder.requires_grad_(False)
        self.unet = _unet(config, text_encoder.config.hidden_size)
        betas = torch.linspace(BETAS[0] ** 0.5, BETAS[1] ** 0.5, TOTAL, dtype=torch.float64) ** 2
        self.alphabar: Tensor
        self.silence: Tensor
        self.register_buffer("alphabar", torch.cumprod(1 - betas, 0).float(), persistent=False)
        self.register_buffer("silence", self.encode_captions([""])[0], persistent=False)

    @classmethod
    def from_scratch(cls, config: Config, base: DiffusionModel | None, data: Any = None) -> Self:
        """Make a new UNet, with the text encoder of the CLIP in the folder `config.text`.

        Args:
            config: Its sizes, and the folder.
            base: Not used: it stands on nothing.
            data: Not used.

        Returns:
            The learner.

        Raises:
            UsageError: There is no CLIP in the folder.
        """
        clip, tokenizer = load_borrowed(config.text)
        return cls(config, clip.text_model.eval(), tokenizer)

    def compute_loss(self, batch: Batch) -> Tensor:
        """Compute the squared error of the predicted noise, weighted by min-SNR.

        Args:
            batch: Samples with `latents` [B, 2, 4, h, w], as rendered and mirrored, and `texts`.

        Returns:
            The loss [B].
        """
        mirrored = (batch.uniform("mirror") < 0.5).long()
        clean = batch["latents"][torch.arange(len(batch)), mirrored].float()
        noise, t = batch.normal("noise", *clean.shape[1:]), batch.timesteps(TOTAL)
        alphabar = self.alphabar[t].view(-1, 1, 1, 1)
        noised = alphabar.sqrt() * clean + (1 - alphabar).sqrt() * noise
        told = self.unet(noised, t, self._text(batch)).sample.float()
        return min_snr_loss(told, noise, alphabar, self.config.snr_gamma)

    @torch.no_grad()
    def encode_captions(self, captions: list[str]) -> Tensor:
        """Encode captions, as `DiffusionModel.encode_prompt` does.

        Args:
            captions: B captions.

        Returns:
            The text encoder's last hidden state [B, 77, D].
        """
        found = self.tokenizer(captions, padding="max_length", max_length=LENGTH, truncation=True, return_tensors="pt")
        text: Tensor = self.text_encoder(found["input_ids"].to(self.alphabar.device)).last_hidden_state
        return text

    def _text(self, batch: Batch) -> Tensor:
        """What each sample's UNet hears [B, 77, D]: nothing, the short caption or the long one."""

        def heard(texts: Tensor, empty: float, long: float) -> Tensor:
            kind = "long" if long < self.config.long else "short"
            return self.silence if empty < self.config.empty else texts[KINDS.index(kind)]

        draws = batch.uniform("caption", 2).tolist()
        return torch.stack([heard(texts, *two) for texts, two in zip(batch["texts"].float(), draws, strict=True)])


def _unet(config: Base.Config, width: int) -> UNet2DConditionModel:
    below = len(config.channels) - 1
    unet: UNet2DConditionModel = UNet2DConditionModel(
        sample_size=config.side,
        block_out_channels=config.channels,
        layers_per_block=1,
        cross_attention_dim=width,
        attention_head_dim=config.heads,  # diffusers' name for the number of heads, as in SD1.5
        norm_num_groups=16,
        down_block_types=("DownBlock2D", *("CrossAttnDownBlock2D",) * below),
        up_block_types=(*("CrossAttnUpBlock2D",) * below, "UpBlock2D"),
    )
    return unet

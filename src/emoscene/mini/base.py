"""The miniature's base: a UNet and the text encoder it listens to, trained together from nothing.

Once the text encoder has learnt the world's few hundred words, the UNet goes on alone (`begun`), as Stable Diffusion's
does from the start: every caption is then read once and kept on the disk (`texts`), which halves the time of a step.

The objective is DDPM's: tell the noise in x_t. Its squared error is weighted by min(SNR, 5) / SNR (Hang et al. 2023),
so that the nearly clean steps do not drown the others. One caption in ten is empty, which classifier-free guidance
needs; of the others half are short (scene and object) and half long (light, weather, things besides).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

import torch
from diffusers import UNet2DConditionModel
from safetensors.torch import load_file
from torch import Tensor
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from emoscene.backbone import LENGTH, Backbone
from emoscene.config import option
from emoscene.learner import Batch, Learner
from emoscene.methods.base import min_snr

KINDS = ("short", "long")  # of captions, as `texts` holds them
BETAS = (0.00085, 0.012)
TOTAL = 1000


class Base(Learner):
    """UNet and text encoder."""

    @dataclass(frozen=True)
    class Config:
        """Their size, and how captions are dealt."""

        tokenizer: str = option("", "folder of the tokenizer")
        begun: str = option("", "folder of a base to go on from, its text encoder kept as it is; empty: from nothing")
        channels: tuple[int, ...] = option((64, 128, 192), "channels of the UNet's three levels")
        heads: int = option(4, "attention heads", span=(1, 64))
        width: int = option(128, "numbers in a text vector", span=(8, 4096))
        layers: int = option(4, "layers of the text encoder", span=(1, 48))
        side: int = option(16, "side of the latents", span=(4, 512))
        empty: float = option(0.1, "share of empty captions", span=(0.0, 1.0))
        long: float = option(0.5, "share of long ones among the others", span=(0.0, 1.0))
        gamma: float = option(5.0, "largest signal-to-noise ratio that counts in full", span=(0.1, 1000.0))

    reads: ClassVar[tuple[str, ...]] = ("latents", *KINDS)
    role: ClassVar[str] = "base"

    def __init__(self, config: Config, tokenizer: CLIPTokenizer) -> None:
        super().__init__(config)
        self.tokenizer = tokenizer
        self.unet = _unet(config)
        self.text_encoder = CLIPTextModel(_text(config, tokenizer))
        betas = torch.linspace(BETAS[0] ** 0.5, BETAS[1] ** 0.5, TOTAL, dtype=torch.float64) ** 2
        self.alphabar: Tensor
        self.silence: Tensor
        self.register_buffer("alphabar", torch.cumprod(1 - betas, 0).float(), persistent=False)
        if config.begun:
            self.reads = ("latents", "texts")  # type: ignore[misc]
            self.load_state_dict(load_file(str(Path(config.begun) / "model.safetensors")))
            self.text_encoder.requires_grad_(False)
            with torch.no_grad():
                self.register_buffer("silence", self.read([""])[0], persistent=False)

    @classmethod
    def start(cls, config: Config, base: Backbone | None, data: Any = None) -> Self:
        """A new one, its vocabulary the tokenizer's."""
        return cls(config, CLIPTokenizer.from_pretrained(str(Path(config.tokenizer)), local_files_only=True))

    def loss(self, batch: Batch) -> Tensor:
        """The weighted squared error of the noise [B]."""
        mirrored = (batch.uniform("mirror") < 0.5).long()
        clean = batch["latents"][torch.arange(len(batch)), mirrored].float()
        noise, t = batch.normal("noise", *clean.shape[1:]), batch.timesteps(TOTAL)
        alphabar = self.alphabar[t].view(-1, 1, 1, 1)
        noised = alphabar.sqrt() * clean + (1 - alphabar).sqrt() * noise
        text = self._known(batch) if self.config.begun else self.read(self._said(batch))
        told = self.unet(noised, t, text).sample.float()
        return min_snr(told, noise, alphabar, self.config.gamma)

    def read(self, captions: list[str]) -> Tensor:
        """Captions -> text [B, 77, D], as `Backbone.embed` gives it."""
        found = self.tokenizer(captions, padding="max_length", max_length=LENGTH, truncation=True, return_tensors="pt")
        text: Tensor = self.text_encoder(found["input_ids"].to(self.alphabar.device)).last_hidden_state
        return text

    def _kinds(self, batch: Batch) -> list[str]:
        def kind(empty: float, long: float) -> str:
            return "" if empty < self.config.empty else "long" if long < self.config.long else "short"

        return [kind(*draws) for draws in batch.uniform("caption", 2).tolist()]

    def _said(self, batch: Batch) -> list[str]:
        return [batch[kind][place] if kind else "" for place, kind in enumerate(self._kinds(batch))]

    def _known(self, batch: Batch) -> Tensor:
        """What `read(_said(batch))` would be, from the disk."""
        texts, kinds = batch["texts"].float(), self._kinds(batch)
        return torch.stack([text[KINDS.index(k)] if k else self.silence for text, k in zip(texts, kinds, strict=True)])


def _unet(config: Base.Config) -> UNet2DConditionModel:
    below = len(config.channels) - 1
    unet: UNet2DConditionModel = UNet2DConditionModel(
        sample_size=config.side,
        block_out_channels=config.channels,
        layers_per_block=1,
        cross_attention_dim=config.width,
        attention_head_dim=config.heads,  # diffusers' name for the number of heads, as in SD1.5
        norm_num_groups=16,
        down_block_types=("DownBlock2D", *("CrossAttnDownBlock2D",) * below),
        up_block_types=(*("CrossAttnUpBlock2D",) * below, "UpBlock2D"),
    )
    return unet


def _text(config: Base.Config, tokenizer: CLIPTokenizer) -> CLIPTextConfig:
    return CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=config.width,
        intermediate_size=4 * config.width,
        num_hidden_layers=config.layers,
        num_attention_heads=config.heads,
        max_position_embeddings=LENGTH,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        projection_dim=config.width,
    )

"""Textual inversion (Gal et al. 2022): n learned vectors an emotion and nothing else, the baseline for all that learns.

The vectors enter the text encoder after the prompt's words, where no typed text can reach them; UNet and text encoder
stay as they are. As in the paper they start from a word that says roughly what is meant, here the emotion's own name,
and learn by the denoising loss alone. At use the text is E0 + sum_i a_i (E_i - E0), as for every method of words.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import cycle, islice
from typing import ClassVar, final

import torch
from torch import Tensor, nn

from emoscene.core.config import option
from emoscene.core.taxonomy import EMOTIONS
from emoscene.diffusion.model import Condition, DiffusionModel
from emoscene.learning.learner import Batch
from emoscene.methods.base import ConditioningShare, Method, choose_captions, denoising_loss, interpolate_embeds


@final
class Inversion(Method):
    """Learned vectors appended to the prompt."""

    columns = ("latent", "caption", "caption_long", "weights")
    files: ClassVar = {"tokens.safetensors": ("vectors", "tokens")}

    @dataclass(frozen=True)
    class Config(ConditioningShare):
        """How many vectors, and how they learn."""

        vectors: int = option(4, "learned vectors an emotion", span=(1, 32))
        short_caption_prob: float = option(0.7, "share of the samples that train on the short caption", span=(0.0, 1.0))
        cond_drop_prob: float = option(
            0.1, "share of the samples that lose the words and keep the emotion", span=(0.0, 1.0)
        )
        snr_gamma: float = option(5.0, "cap of the signal-to-noise ratio in the weight", span=(0.1, 1e3, "log"))
        noise_offset: float = option(
            0.0, "deviation of the noise's constant part, which frees a picture's mean", span=(0.0, 1.0)
        )

    config: Config

    def __init__(self, config: Config, base: DiffusionModel) -> None:
        super().__init__(config, base)
        rows = base.text_encoder.get_input_embeddings().weight.detach().float()
        named = [list(islice(cycle(base.tokenize(name)), config.vectors)) for name in EMOTIONS]
        self.vectors = nn.Parameter(rows[torch.tensor(named, device=rows.device)])

    @property
    def num_tokens(self) -> int:
        """One position a vector."""
        return self.config.vectors

    def condition(self, plain: Condition) -> Condition:
        """The text with the asked emotions' vectors."""
        return interpolate_embeds(
            plain, lambda prompts, emotions: self.base.encode_prompt(prompts, self.vectors[emotions])
        )

    def compute_loss(self, batch: Batch) -> Tensor:
        """The denoising loss [B]. To lose the emotion would teach nothing, for nothing else learns."""
        captions, _ = choose_captions(batch, self.config.short_caption_prob, self.config.cond_drop_prob)
        plain = self.base.encode_condition(captions, batch["weights"])
        loss = denoising_loss(self.base, batch, self.condition(plain), self.config.snr_gamma, self.config.noise_offset)
        return loss + 0 * self.vectors.sum()  # a gradient for every rank, though no picture have an emotion

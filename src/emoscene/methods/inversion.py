"""Textual inversion: n learned vectors for each emotion and nothing else, the baseline for all that learns.

The vectors enter the text encoder after the prompt's words, where no typed text can reach them; UNet and text encoder
stay as they are. As in the paper (Gal et al. 2022, https://arxiv.org/abs/2208.01618) they start from a word that says
roughly what is meant, here the emotion's own name, and learn by the denoising loss alone. At use the text is
E0 + sum_i a_i (E_i - E0), as for every method that appends to the prompt.

Free vectors grow longer than any word's, and a text encoder then reads the words beside them worse. With `fixed_norm`
each keeps the length that the base's words have on average and learns its direction alone (directional textual
inversion, Kim et al. 2026, https://arxiv.org/abs/2512.13672; without its prior, and by the optimizer that all else
learns with).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from emoscene.core.config import option
from emoscene.core.taxonomy import EMOTIONS
from emoscene.diffusion.families.base import TextEncoding
from emoscene.diffusion.model import Condition, DiffusionModel
from emoscene.diffusion.transfer import move_to_device
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
        fixed_norm: bool = option(False, "learn the direction of each vector alone; its length is a word's")
        short_caption_prob: float = option(0.7, "share of the samples that train on the short caption", span=(0.0, 1.0))
        cond_drop_prob: float = option(
            0.1, "share of the samples that lose the words and keep the emotion", span=(0.0, 1.0)
        )
        snr_gamma: float = option(5.0, "cap of the signal-to-noise ratio in the weight", span=(0.1, 1e3, "log"))
        noise_offset: float = option(
            0.0, "deviation of the noise's constant part, which frees an image's mean", span=(0.0, 1.0)
        )

    config: Config

    def __init__(self, config: Config, base: DiffusionModel) -> None:
        super().__init__(config, base)
        tables = [table.detach().float() for table in base.token_tables]
        numbers = []
        for name in EMOTIONS:
            tokens = base.tokenize(name)
            repeated = tokens * config.vectors  # a name of fewer tokens than vectors starts again from its first
            numbers.append(repeated[: config.vectors])
        self.norms = [float(table.norm(dim=1).mean()) for table in tables]
        self.widths = [table.shape[1] for table in tables]
        chosen = torch.tensor(numbers, device=tables[0].device)
        self.vectors = nn.Parameter(torch.cat([table[chosen] for table in tables], dim=-1))

    @property
    def num_tokens(self) -> int:
        """One position a vector."""
        return self.config.vectors

    def condition(self, plain: Condition) -> Condition:
        """Move the text towards the prompts with the asked emotions' vectors."""
        return interpolate_embeds(plain, self._encode_with_vectors)

    def _encode_with_vectors(self, prompts: list[str], emotions: Tensor) -> TextEncoding:
        return self.base.encode_prompt(prompts, self._scale_vectors()[move_to_device(emotions, self.vectors.device)])

    def _scale_vectors(self) -> Tensor:
        """The vectors as the text encoder reads them [8, n, D]."""
        if not self.config.fixed_norm:
            return self.vectors
        scaled = []
        for norm, part in zip(self.norms, self.vectors.split(self.widths, dim=-1), strict=True):
            scaled.append(norm * F.normalize(part, dim=-1))
        return torch.cat(scaled, dim=-1)

    @torch.no_grad()
    def finish(self) -> None:
        """Keep the vectors at the length at which they are read, for programs that know nothing of `fixed_norm`."""
        self.vectors.copy_(self._scale_vectors())

    def compute_loss(self, batch: Batch) -> Tensor:
        """Compute the denoising loss [B]; the emotion is never dropped, because nothing else learns."""
        captions, _ = choose_captions(batch, self.config.short_caption_prob, self.config.cond_drop_prob)
        plain = self.base.encode_condition(captions, batch.on_host["weights"], is_null=True)
        loss = denoising_loss(self.base, batch, self.condition(plain), self.config.snr_gamma, self.config.noise_offset)
        return loss + 0 * self.vectors.sum()  # a gradient for every rank, even if no image has an emotion

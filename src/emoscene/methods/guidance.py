"""Classifier guidance: a small network that sees emotions through the noise pulls each step towards one of them.

The classifier reads the noisy latent x_t and its timestep t and answers log p(i | x_t, t) for the eight emotions i. By
Bayes' rule its gradient is what the base's score lacks of the conditional one, so with eps = -sqrt(1 - alphabar) score
the noise prediction becomes (Dhariwal and Nichol 2021, eq. 14)

    eps - scale sqrt(1 - alphabar_t) grad_x sum_i a_i log p(i | x_t, t)

with a the emotion asked, strength x weights. An emotion with a_i < 0 contributes |a_i| log(1 - p_i) instead: the push
away from it dies down as it goes, where -|a_i| log p_i would push for ever, and may therefore be harder (`away`).

Guidance acts while low <= t / T <= high, t / T being the noise level: 1 where sampling starts, 0 at the picture. Near 0
all is settled. Near 1 there is little to classify, and yet waiting costs: the light is decided there, and on the
miniature a guide from 1.0 down is felt more often than one from .9 (`docs/log.md`). Its recipe has what was measured
there (`high` 1, `scale` 12, `away` 6); the defaults here are for bases on which nothing was.

The base is not changed and not differentiated through: only the classifier's two million parameters are, in single
precision whatever the base computes in.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar, final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from emoscene.core import seeds
from emoscene.core.config import option
from emoscene.core.errors import UsageError
from emoscene.core.taxonomy import EMOTIONS
from emoscene.data import batches
from emoscene.diffusion.model import Condition, DiffusionModel
from emoscene.learning.learner import Batch
from emoscene.methods.base import Method, normalize_mixture

GROUPS = 8  # of channels, normalised together
WAVES = 32  # frequencies that a timestep is written in
LEVELS = tuple(range(50, 1000, 100))  # timesteps of the proof
PROVED = 1024  # pictures of the proof, at most
SURE = 0.01  # least entropy, as a share of the greatest, that `entropy` divides by


@final
class Guidance(Method):
    """A noise-aware emotion classifier whose gradient steers the noise prediction."""

    columns = ("latent", "weights")
    files: ClassVar = {"model.safetensors": ("classifier.", "")}

    @dataclass(frozen=True)
    class Config:
        """How large a classifier, how it learns, and how it guides."""

        width: int = option(
            64, "channels at the latent's own size; twice, three, four times as many below", choices=(16, 32, 64, 96)
        )
        smoothing: float = option(0.05, "share of each label spread over all eight", span=(0.0, 0.5))
        scale: float = option(5.0, "how hard to pull", span=(0.0, 100.0), runtime=True)
        away: float = option(
            3.0, "how much harder to push away from an emotion than to pull", span=(0.0, 100.0), runtime=True
        )
        whole: bool = option(
            True, "pull as hard towards a mixture as towards one emotion; no: Bayes' rule to the letter", runtime=True
        )
        low: float = option(
            0.2, "noise level t / T below which it lets go; 0 is the picture", span=(0.0, 1.0), runtime=True
        )
        high: float = option(0.9, "noise level t / T down to which it waits; 1 is noise", span=(0.0, 1.0), runtime=True)
        rescale: float = option(
            0.0,
            "norm of the pull as a share of the noise prediction's; 0: as `scale` has it",
            span=(0.0, 10.0),
            runtime=True,
        )
        entropy: bool = option(False, "pull harder the surer the classifier is (ED-DPM)", runtime=True)

    config: Config

    def __init__(self, config: Config, base: DiffusionModel) -> None:
        super().__init__(config, base)
        if config.low > config.high:
            raise UsageError(f"low={config.low} is above high={config.high}: guidance acts from high down to low")
        self.classifier = Classifier(base.vae.config.latent_channels, config.width)

    def log_probabilities(self, x_t: Tensor, t: Tensor) -> Tensor:
        """log p(i | x_t, t) [B, 8] of latents [B, 4, h, w] of any size at timesteps [B], fractions allowed."""
        return self.classifier(x_t, t).float().log_softmax(1)

    def compute_loss(self, batch: Batch) -> Tensor:
        """Cross entropy with the (soft) labels at uniform timesteps [B]; a picture without emotion counts nothing."""
        x_0, told = batch["latent"], batch["weights"].clamp(min=0)
        t = batch.timesteps(len(self.base.alphas_cumprod))
        x_t = self.base.add_noise(x_0, batch.normal("noise", *x_0.shape[1:]), t)
        total = told.sum(1)
        shares = told / total.clamp(min=1e-6)[:, None]
        guesses = self.log_probabilities(x_t, t)
        losses = F.cross_entropy(guesses, shares, reduction="none", label_smoothing=self.config.smoothing)
        return losses * (total > 0)

    @torch.no_grad()
    def validate(self, data: Any) -> dict[str, Any]:
        """How often the likeliest emotion is the picture's own, at ten noise levels: `t`, `accuracy`, `pictures`.

        At most 1,024 pictures, evenly spread; each has its own noise, the same at all levels and in every run.
        """
        every = math.ceil(len(data) / PROVED)
        right, pictures = [0] * len(LEVELS), 0
        some = [rows[::every] for rows in batches.group_by_shape(data)]
        for slots in [rows[first : first + 64] for rows in some for first in range(0, len(rows), 64)]:
            columns = data.read(slots, self.columns)
            noise = Batch(columns, 0, 0, slots).normal("proof", *columns["latent"].shape[1:]).to(self.base.device)
            x_0, own = columns["latent"].to(self.base.device), columns["weights"].to(self.base.device).max(1)
            felt = own.values > 0
            for place, t in enumerate(LEVELS):
                at = torch.full((len(x_0),), t, device=self.base.device)
                likeliest = self.log_probabilities(self.base.add_noise(x_0, noise, at), at).argmax(1)
                right[place] += int((felt & (likeliest == own.indices)).sum())
            pictures += int(felt.sum())
        return {"t": list(LEVELS), "accuracy": [n / max(1, pictures) for n in right], "pictures": pictures}

    @torch.no_grad()
    def classify(self, x_0: Tensor) -> Tensor:
        """The classifier's log p(i | x_0, 0) [B, 8]."""
        return self.log_probabilities(x_0.float(), torch.zeros(len(x_0), device=x_0.device))

    def apply_guidance(self, noise: Tensor, x_t: Tensor, t: Tensor, condition: Condition) -> Tensor:
        """eps - scale sqrt(1 - alphabar_t) grad_x sum_i a_i log p(i | x_t, t) in the rows that ask for an emotion.

        Rows that ask for none, and all rows outside the interval, keep their prediction bit for bit.
        """
        t = torch.as_tensor(t, device=x_t.device).expand(len(x_t))
        level = t / len(self.base.alphas_cumprod)
        asking = condition.emotion_weights.any(1) & (self.config.low <= level) & (level <= self.config.high)
        rows = asking.nonzero()[:, 0]
        if not len(rows):
            return noise
        pull = self._guidance_term(noise[rows].float(), x_t[rows], t[rows], condition.emotion_weights[rows].float())
        return noise.index_add(0, rows, pull.to(noise.dtype), alpha=-1)

    def _guidance_term(self, noise: Tensor, x_t: Tensor, t: Tensor, a: Tensor) -> Tensor:
        """What guidance takes from the noise prediction.

        entropy: times log 8 / H(p), the entropy-aware scaling of Li et al. 2022 (ED-DPM), at most a hundredfold.
        rescale: brought to that share of the prediction's norm, times sum_i |a_i| so that the dial still dials (after
        FreeDoM, Yu et al. 2023); scale and entropy then cancel, and a suppression no longer lets go.
        """
        gradient, log_p = self._log_prob_gradient(x_t, t, a)
        pull = self.config.scale * (1 - self.base.alphabar(t)).sqrt() * gradient
        if self.config.entropy:
            share = -(log_p.exp() * log_p).sum(1) / math.log(len(EMOTIONS))
            pull = pull / share.clamp(min=SURE).view(-1, 1, 1, 1)
        if self.config.rescale:
            reach = self.config.rescale * a.abs().sum(1) * sample_norm(noise)
            pull = pull * (reach / sample_norm(pull).clamp(min=1e-12)).view(-1, 1, 1, 1)
        return pull

    def _log_prob_gradient(self, x_t: Tensor, t: Tensor, a: Tensor) -> tuple[Tensor, Tensor]:
        """grad_x of sum_i a_i log p_i, or away |a_i| log(1 - p_i) where a_i < 0 [B, 4, h, w]; and log p [B, 8]."""
        a = normalize_mixture(a) if self.config.whole else a
        with torch.enable_grad(), torch.autocast(x_t.device.type, enabled=False):
            x = x_t.detach().float().requires_grad_()
            log_p = self.log_probabilities(x, t)
            wish = a.clamp(min=0) * log_p - self.config.away * a.clamp(max=0) * log_complement(log_p)
            [gradient] = torch.autograd.grad(wish.sum(), x)
        return gradient, log_p.detach()


class Classifier(nn.Module):
    """A convolutional network for latents of any size: seven layers on four scales, then the mean over space.

    A layer is a 3 x 3 convolution, group norm, FiLM (Perez et al. 2018: a gain and a shift a channel, computed from
    sinusoids of t) and SiLU, with a shortcut where the shape stays. The fastest sinusoid takes 63 timesteps, so that a
    fractional one lies between its neighbours. All gains come from one matrix and no norm has parameters of its own: at
    a batch of one, what guidance costs is the number of operations, not their size.
    """

    waves: Tensor

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        widths = [width, 2 * width, 2 * width, 3 * width, 3 * width, 4 * width, 4 * width]
        strides = [1, 2, 1, 2, 1, 2, 1]
        shapes = zip([channels, *widths], widths, strides, strict=False)
        self.layers = nn.ModuleList(nn.Conv2d(i, o, 3, stride, 1, bias=False) for i, o, stride in shapes)
        self.film = nn.Sequential(nn.Linear(2 * WAVES, 64), nn.SiLU(), nn.Linear(64, 2 * sum(widths)))
        self.head = nn.Linear(widths[-1], len(EMOTIONS))
        self.widths = widths
        self.register_buffer("waves", 0.1 * 1e3 ** (-torch.arange(WAVES) / WAVES), persistent=False)
        for name, parameter in self.named_parameters():
            if parameter.ndim > 1:
                nn.init.kaiming_uniform_(parameter, 5**0.5, generator=seeds.torch_generator(0, "guidance", name))
            else:
                nn.init.zeros_(parameter)

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        """Logits [B, 8] of x [B, 4, h, w] at timesteps t [B]."""
        angles = t.float()[:, None] * self.waves
        gains, shifts = self.film(torch.cat([angles.sin(), angles.cos()], 1))[..., None, None].chunk(2, 1)
        pairs = zip((1 + gains).split(self.widths, 1), shifts.split(self.widths, 1), strict=True)
        for layer, (gain, shift) in zip(self.layers, pairs, strict=True):
            y = F.silu(torch.addcmul(shift, F.group_norm(layer(x), GROUPS), gain))
            x = x + y if x.shape == y.shape else y
        return self.head(x.mean((2, 3)))


def log_complement(log_p: Tensor) -> Tensor:
    """log(1 - p_i) of normalised log p [B, K]: what all others share, summed without loss near p_i = 0 or 1."""
    itself = torch.eye(log_p.shape[1], dtype=torch.bool, device=log_p.device)
    return log_p[:, None].expand(-1, log_p.shape[1], -1).masked_fill(itself, -math.inf).logsumexp(2)


def sample_norm(x: Tensor) -> Tensor:
    """Euclidean norm of each sample [B]."""
    return x.flatten(1).norm(dim=1)

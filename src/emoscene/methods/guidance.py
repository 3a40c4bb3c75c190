"""Classifier guidance: the gradient of a small emotion classifier for noisy latents changes each step's prediction.

The classifier reads the noisy latent x_t and its timestep t and answers log p(i | x_t, t) for the eight emotions i. By
Bayes' rule its gradient is what the base's score lacks of the conditional one, so with eps = -sqrt(1 - alphabar) score
the noise prediction becomes (Dhariwal and Nichol 2021, eq. 14)

    eps - scale sqrt(1 - alphabar_t) grad_x sum_i a_i log p(i | x_t, t)

with a the emotion asked, emotion_scale x weights; for a base that predicts something else the root is the factor that
its noise process has (`score_scale`). An emotion with a_i < 0 contributes |a_i| log(1 - p_i) instead: this
gradient vanishes as p_i goes to 0, where that of -|a_i| log p_i stays, and may therefore be stronger, by the factor
`suppression_scale`.

Guidance acts while interval_start <= t / T <= interval_end, t / T being the noise level: 1 where sampling starts, 0 at
the image. Near 0 nothing changes any more. Near 1 there is little to classify, but waiting costs accuracy, because the
light is decided there: on the miniature, guidance from 1.0 down has a higher emotion accuracy than from .9
(`docs/log.md`). Its recipe has what was measured there (`interval_end` 1, `classifier_scale` 12, `suppression_scale`
6); the defaults here are for bases on which nothing was measured.

The base is not changed, and no gradient passes through it: only the classifier's two million parameters are
differentiated, in single precision whatever the base computes in.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
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
from emoscene.diffusion.transfer import move_to_device
from emoscene.learning.learner import Batch, soft_targets
from emoscene.methods.base import GuidanceShare, Method, normalize_mixture

GROUPS = 8  # of channels, normalised together
WAVES = 32  # frequencies that a timestep is written in
VALIDATION_TIMESTEPS = tuple(range(50, 1000, 100))
VALIDATION_IMAGES = 1024  # at most
VALIDATION_BATCH = 64
MIN_ENTROPY = 0.01  # as a share of the greatest, that `entropy` divides by


@final
class Guidance(Method):
    """Classifier guidance: eps - scale sqrt(1 - alphabar_t) grad_x sum_i a_i log p(i | x_t, t).

    Dhariwal and Nichol 2021, https://arxiv.org/abs/2105.05233, equation 14, for soft labels and mixtures.
    """

    columns: ClassVar[tuple[str, ...]] = ("latent", "weights")
    base_parts = ()
    files: ClassVar = {"model.safetensors": ("classifier.", "")}

    @dataclass(frozen=True)
    class Config(GuidanceShare):
        """How large a classifier, how it learns, and how it guides."""

        width: int = option(
            64, "channels at the latent's own size; twice, three, four times as many below", choices=(16, 32, 64, 96)
        )
        smoothing: float = option(0.05, "share of each label spread over all eight", span=(0.0, 0.5))
        soft_labels: bool = option(
            False, "learn from the viewers' votes instead of the label, where the data have them"
        )
        classifier_scale: float = option(5.0, "factor of the classifier's gradient", span=(0.0, 100.0), runtime=True)
        suppression_scale: float = option(
            3.0, "factor of the gradient away from a suppressed emotion", span=(0.0, 100.0), runtime=True
        )
        whole: bool = option(
            True, "scale a mixture's gradient to that of one emotion; no: Bayes' rule as written", runtime=True
        )
        interval_start: float = option(
            0.2, "noise level t / T below which guidance ends; 0 is the image", span=(0.0, 1.0), runtime=True
        )
        interval_end: float = option(
            0.9, "noise level t / T at which guidance begins; 1 is noise", span=(0.0, 1.0), runtime=True
        )
        rescale: float = option(
            0.0,
            "norm of the gradient as a share of the noise prediction's; 0: as `classifier_scale` has it",
            span=(0.0, 10.0),
            runtime=True,
        )
        parallel_scale: float = option(
            1.0,
            "share kept of the gradient along the estimated image, which mostly raises contrast; 0: none of it (APG)",
            span=(0.0, 1.0),
            runtime=True,
        )
        entropy: bool = option(
            False, "divide the gradient by the entropy of the classifier's answer (ED-DPM)", runtime=True
        )

    config: Config

    def __init__(self, config: Config, base: DiffusionModel) -> None:
        super().__init__(config, base)
        if config.interval_start > config.interval_end:
            raise UsageError(
                f"interval_start={config.interval_start} is above interval_end={config.interval_end}: guidance acts "
                "from interval_end down to interval_start"
            )
        if config.soft_labels:
            self.columns = (*self.columns, "votes")  # type: ignore[misc]
        self.classifier = Classifier(base.vae.config.latent_channels, config.width)

    def log_probabilities(self, x_t: Tensor, t: Tensor) -> Tensor:
        """Classify the emotion of noisy latents.

        Args:
            x_t: Latents of any size [B, 4, h, w].
            t: Their timesteps [B], from 0 to below the base's number of timesteps; fractions are allowed.

        Returns:
            log p(i | x_t, t) [B, 8].
        """
        return self.classifier(x_t, t).float().log_softmax(1)

    def compute_loss(self, batch: Batch) -> Tensor:
        """Compute the cross entropy with the (soft) labels at uniform timesteps [B]; 0 for an image without emotion."""
        x_0, weights = batch["latent"], batch["weights"].clamp(min=0)
        if self.config.soft_labels:
            weights = soft_targets(batch)
        process = self.base.noise_process
        t = process.timesteps(batch.uniform("timestep"))
        x_t = process.add_noise(x_0, batch.normal("noise", *x_0.shape[1:]), t)
        total = weights.sum(1)
        labels = weights / total.clamp(min=1e-6)[:, None]
        log_p = self.log_probabilities(x_t, t)
        losses = F.cross_entropy(log_p, labels, reduction="none", label_smoothing=self.config.smoothing)
        return losses * (total > 0)

    @torch.no_grad()
    def validate(self, data: Any) -> dict[str, Any]:
        """Measure how often the likeliest emotion is the image's own, at ten noise levels: `t accuracy pictures`.

        At most 1,024 images, evenly spread; each has its own noise, the same at all levels and in every run.
        """
        correct, labelled = torch.zeros(len(VALIDATION_TIMESTEPS), dtype=torch.long), 0
        for slots in choose_validation_rows(data):
            columns = data.read(slots, self.columns)
            noise = Batch(columns, 0, 0, slots).normal("proof", *columns["latent"].shape[1:]).to(self.base.device)
            x_0, own = columns["latent"].to(self.base.device), columns["weights"].to(self.base.device).max(1)
            has_label = own.values > 0
            labelled += int(has_label.sum())
            for place, t in enumerate(VALIDATION_TIMESTEPS):
                times = torch.full((len(x_0),), t, device=self.base.device)
                x_t = self.base.noise_process.add_noise(x_0, noise, times)
                likeliest = self.log_probabilities(x_t, times).argmax(1)
                correct[place] += int((has_label & (likeliest == own.indices)).sum())
        accuracy = [count / max(1, labelled) for count in correct.tolist()]
        return {"t": list(VALIDATION_TIMESTEPS), "accuracy": accuracy, "pictures": labelled}

    @torch.no_grad()
    def classify(self, x_0: Tensor) -> Tensor:
        """Classify clean latents: log p(i | x_0, 0) [B, 8]."""
        return self.log_probabilities(x_0.float(), torch.zeros(len(x_0), device=x_0.device))

    def apply_guidance(self, prediction: Tensor, x_t: Tensor, t: Tensor, condition: Condition) -> Tensor:
        """Compute eps - scale sqrt(1 - alphabar_t) grad_x sum_i a_i log p(i | x_t, t) where an emotion is asked.

        Rows that ask for none, and all rows outside the interval, keep their prediction bit for bit.
        """
        t = torch.as_tensor(t, device="cpu").expand(len(x_t))
        level = t / self.base.noise_process.num_timesteps
        inside = (self.config.interval_start <= level) & (level <= self.config.interval_end)
        rows = (condition.emotion_weights.any(1) & inside).nonzero()[:, 0]
        if not len(rows):
            return prediction
        a, times = condition.emotion_weights[rows].float(), t[rows]
        rows, times, a = (move_to_device(numbers, x_t.device) for numbers in (rows, times, a))
        term = self._guidance_term(prediction[rows].float(), x_t[rows], times, a)
        return prediction.index_add(0, rows, term.to(prediction.dtype), alpha=-1)

    def _guidance_term(self, prediction: Tensor, x_t: Tensor, t: Tensor, a: Tensor) -> Tensor:
        """What guidance takes from the prediction.

        entropy: times log 8 / H(p), the entropy-aware scaling of Li et al. 2022 (ED-DPM), at most a hundredfold.
        rescale: in eps, brought to that share of eps's norm, times sum_i |a_i| so that the emotion scale still acts
        (after FreeDoM, Yu et al. 2023); classifier_scale and entropy then cancel, and a suppression no longer vanishes.
        parallel_scale: the part along the estimate of x_0 times that (adaptive projected guidance, Sadat et al. 2025,
        https://arxiv.org/abs/2410.02416, for a classifier's gradient; without momentum).
        """
        process = self.base.noise_process
        gradient, log_p = self._log_prob_gradient(x_t, t, a)
        factor = process.score_scale(t)
        term = self.config.classifier_scale * factor * gradient
        if self.config.entropy:
            share = -(log_p.exp() * log_p).sum(1) / math.log(len(EMOTIONS))
            term = term / share.clamp(min=MIN_ENTROPY).view(-1, 1, 1, 1)
        if self.config.parallel_scale != 1:
            x_0 = process.to_x0(prediction, x_t.float(), t)
            term = term - (1 - self.config.parallel_scale) * project_onto(term, x_0)
        if self.config.rescale:
            in_eps = (factor / process.noise_level(t)).abs().flatten()
            norm = self.config.rescale * a.abs().sum(1) * in_eps * sample_norm(process.to_eps(prediction, x_t, t))
            term = term * (norm / sample_norm(term).clamp(min=1e-12)).view(-1, 1, 1, 1)
        return term

    def _log_prob_gradient(self, x_t: Tensor, t: Tensor, a: Tensor) -> tuple[Tensor, Tensor]:
        """grad_x [B, 4, h, w] of sum_i a_i log p_i, where a_i < 0 of suppression_scale |a_i| log(1 - p_i); log p."""
        a = normalize_mixture(a) if self.config.whole else a
        with torch.enable_grad(), torch.autocast(x_t.device.type, enabled=False):
            x = x_t.detach().float().requires_grad_()
            log_p = self.log_probabilities(x, t)
            towards = a.clamp(min=0) * log_p
            objective = towards - self.config.suppression_scale * a.clamp(max=0) * log_complement(log_p)
            [gradient] = torch.autograd.grad(objective.sum(), x)
        return gradient, log_p.detach()


class Classifier(nn.Module):
    """A convolutional network for latents of any size: seven layers on four scales, then the mean over space.

    A layer is a 3 x 3 convolution, group norm, FiLM (Perez et al. 2018: a gain and a shift a channel, computed from
    sinusoids of t) and SiLU, with a shortcut where the shape stays. The fastest sinusoid takes 63 timesteps, so that a
    fractional one lies between its neighbours. All gains come from one matrix and no norm has parameters of its own: at
    a batch of one, what guidance costs is the number of operations, not their size.

    Args:
        channels: Channels of the latents.
        width: Channels of the first scale; the last has four times as many.
    """

    waves: Tensor

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        widths = [width, 2 * width, 2 * width, 3 * width, 3 * width, 4 * width, 4 * width]
        strides = [1, 2, 1, 2, 1, 2, 1]
        shapes = zip([channels, *widths], widths, strides, strict=False)
        self.layers = nn.ModuleList()
        for inputs, outputs, stride in shapes:
            self.layers.append(nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False))
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
        """Classify latents.

        Args:
            x: Latents of any size [B, 4, h, w].
            t: Their timesteps [B].

        Returns:
            Logits [B, 8].
        """
        angles = t.float()[:, None] * self.waves
        gains, shifts = self.film(torch.cat([angles.sin(), angles.cos()], 1))[..., None, None].chunk(2, 1)
        pairs = zip((1 + gains).split(self.widths, 1), shifts.split(self.widths, 1), strict=True)
        for layer, (gain, shift) in zip(self.layers, pairs, strict=True):
            y = F.silu(torch.addcmul(shift, F.group_norm(layer(x), GROUPS), gain))
            if x.shape == y.shape:
                y = x + y
            x = y
        return self.head(x.mean((2, 3)))


def choose_validation_rows(data: Any) -> list[Sequence[int]]:
    """Choose the rows to validate on: at most 1,024, evenly spread, in batches of one shape.

    Args:
        data: Data of `data.batches.Data`.

    Returns:
        The rows of each batch, at most 64.
    """
    every = math.ceil(len(data) / VALIDATION_IMAGES)
    chosen = []
    for rows in batches.group_by_shape(data):
        some = rows[::every]
        for first in range(0, len(some), VALIDATION_BATCH):
            chosen.append(some[first : first + VALIDATION_BATCH])
    return chosen


def log_complement(log_p: Tensor) -> Tensor:
    """Compute log(1 - p_i) as the log of the sum of all other probabilities, which loses nothing near p_i = 0 or 1.

    Args:
        log_p: Normalised log probabilities [B, K].

    Returns:
        log(1 - p_i) [B, K].
    """
    itself = torch.eye(log_p.shape[1], dtype=torch.bool, device=log_p.device)
    return log_p[:, None].expand(-1, log_p.shape[1], -1).masked_fill(itself, -math.inf).logsumexp(2)


def project_onto(x: Tensor, direction: Tensor) -> Tensor:
    """Compute the part of each sample that lies along a direction.

    Args:
        x: Samples [B, ...].
        direction: The direction of each, of any length above 0 [B, ...].

    Returns:
        A multiple of each direction [B, ...].
    """
    unit = direction / sample_norm(direction).clamp(min=1e-12).view(-1, *[1] * (x.ndim - 1))
    along = (x * unit).flatten(1).sum(1)
    return along.view(-1, *[1] * (x.ndim - 1)) * unit


def sample_norm(x: Tensor) -> Tensor:
    """Compute the Euclidean norm of each sample.

    Args:
        x: Samples [B, ...].

    Returns:
        Their norms [B].
    """
    return x.flatten(1).norm(dim=1)

"""The contract of a method: what it does before the UNet (`condition`) and after it (`apply_guidance`).

Methods meet only here, which is why `a+b` is nothing but one after the other: `MethodChain` chains `condition` and
`apply_guidance` and nests `attach`. `none` is the empty chain. A method adds to the text it finds, so order does not
matter.

The dial: a picture's emotion is a = strength x weights. Words and vectors are appended after the prompt; CLIP is
causal, so no position before them changes, and the text used is

    text = E0 + sum_i a_i (E_i - E0)

with E0 the prompt's own encoding and E_i the one with emotion i appended (for mixtures see `interpolate_embeds`). What
is asked for with a_i < 0 stands, with its sign turned, in the negative half of classifier-free guidance as well.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, fields, replace
from typing import ClassVar, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from emoscene.core.config import option
from emoscene.diffusion.model import Condition, DiffusionModel
from emoscene.learning.learner import Batch, Learner, move_to_device


@dataclass(frozen=True)
class ConditioningShare:
    """How a method that conditions shares the emotion scale with others: its `Config` is built on this."""

    conditioning_share: float = option(
        0.7071067811865476,
        "in a pair of methods that condition: the part of the emotion scale that each gets, the least of the two",
        span=(0.0, 1.0),
        runtime=True,
    )


@dataclass(frozen=True)
class GuidanceShare:
    """How a method that guides shares the emotion scale with those that condition: its `Config` is built on this."""

    guidance_share: float = option(
        0.25,
        "in a pair with a method that conditions: the part of the emotion scale that it gets",
        span=(0.0, 1.0),
        runtime=True,
    )


SHARES = tuple(field.name for kind in (ConditioningShare, GuidanceShare) for field in fields(kind))
"""The settings that only count in company."""


class Method(Learner):
    """A learner that changes what the base paints. The defaults change nothing."""

    save_dtype: ClassVar[torch.dtype] = torch.float16

    def __init__(self, config: object, base: DiffusionModel) -> None:
        super().__init__(config)
        self.base = base

    @classmethod
    def from_scratch(cls, config: object, base: DiffusionModel | None, data: object = None) -> Self:
        """A new method on `base`."""
        if base is None:
            raise ValueError("a method stands on a base")
        return cls(config, base)

    @property
    def models(self) -> list[nn.Module]:
        """Itself, and the UNet where it trains through it."""
        return [self, self.base.unet] if self.trains_through_unet() else [self]

    @classmethod
    def trains_through_unet(cls) -> bool:
        """Whether its loss is that of the UNet: those that read captions."""
        return "caption" in cls.columns

    @property
    def num_tokens(self) -> int:
        """Positions of the text that it needs after the prompt's words."""
        return 0

    def condition(self, plain: Condition) -> Condition:
        """What the UNet shall attend to, from what it would have attended to."""
        return plain

    def apply_guidance(self, noise: Tensor, x_t: Tensor, t: Tensor, condition: Condition) -> Tensor:
        """The noise prediction to use [B, 4, h, w]; x_t is what the UNet saw."""
        return noise

    def classify(self, x_0: Tensor) -> Tensor | None:
        """What it finds felt in clean latents, log p(i | x_0) [B, 8]; None for a method that does not look."""
        return None

    def compute_loss(self, batch: Batch) -> Tensor:
        """Only methods that learn have one."""
        raise NotImplementedError(f"{type(self).__name__} has nothing to learn")


class MethodChain:
    """Some methods, one after the other, used as one.

    How they share the emotion scale stands in their settings (`ConditioningShare`, `GuidanceShare`). By default each of
    n that condition gets a / sqrt(n): with the whole scale two would ask twice for the same, and what one of them fixes
    the other fixes again, until the images of an emotion are all alike. One that guides in their company gets a quarter
    of the scale, and mends what they have left undone (measured: `docs/log.md`). A method whose settings say neither
    takes no part in this.
    """

    def __init__(self, methods: Sequence[Method] = ()) -> None:
        self.methods = tuple(methods)
        configs = [method.config for method in self.methods]
        conditioning = [own.conditioning_share for own in configs if isinstance(own, ConditioningShare)]
        guidance = [own.guidance_share for own in configs if isinstance(own, GuidanceShare)]
        self.conditioning_share = share_among(conditioning)
        self.guidance_share = min(guidance, default=1.0) if conditioning else 1.0

    def condition(self, plain: Condition) -> Condition:
        """Each method's, in turn."""
        found = replace(
            plain,
            emotion_weights=self.conditioning_share * plain.emotion_weights,
            emotion_gain=self.conditioning_share * plain.emotion_gain,
        )
        for method in self.methods:
            found = method.condition(found)
        return found

    def apply_guidance(self, noise: Tensor, x_t: Tensor, t: Tensor, condition: Condition) -> Tensor:
        """Each method's, in turn."""
        heard = replace(
            condition, emotion_weights=self.guidance_share / self.conditioning_share * condition.emotion_weights
        )
        for method in self.methods:
            noise = method.apply_guidance(noise, x_t, t, heard)
        return noise

    def classify(self, x_0: Tensor) -> Tensor | None:
        """That of the first that has one."""
        return next((found for method in self.methods if (found := method.classify(x_0)) is not None), None)

    @contextmanager
    def attach(self, condition: Condition | None = None) -> Iterator[None]:
        """All attached inside."""
        with ExitStack() as stack:
            for method in self.methods:
                stack.enter_context(method.attach(condition))
            yield


def share_among(shares: Sequence[float]) -> float:
    """Compute the part of the emotion scale that each of some methods gets.

    Args:
        shares: what each of them has as its part in a pair, in [0, 1].

    Returns:
        The least of these for two methods, 1 for one; for n, the least to the power of log2 n, so that 1 / sqrt(2) in a
        pair is 1 / sqrt(n) among n.
    """
    if len(shares) < 2:
        return 1.0
    return float(min(shares) ** math.log2(len(shares)))


def normalize_mixture(a: Tensor) -> Tensor:
    """Weights a [B, 8] times sum_i |a_i| / sqrt(sum_i a_i^2), which is 1 for a single emotion.

    Emotions point ways that have little in common, and the sum of two halves is shorter than either whole.
    """
    return a * (a.abs().sum(1) / a.norm(dim=1).clamp(min=1e-12))[:, None]


def interpolate_embeds(condition: Condition, encode: Callable[[list[str], Tensor], Tensor]) -> Condition:
    """Move the text towards each asked emotion's own encoding, as far as `a` says.

    encode: prompts and emotions' numbers, one a row -> text with that emotion appended [R, 77, D]. A row without an
    emotion keeps its text bit for bit, one with a single emotion at weight 1 gets exactly its encoding.
    """
    row, emotion = torch.nonzero(condition.emotion_weights, as_tuple=True)
    if not len(row):
        return condition
    towards = encode([condition.prompts[r] for r in row.tolist()], emotion)
    a = normalize_mixture(condition.emotion_weights)[row, emotion].to(towards.dtype).view(-1, 1, 1)
    moved = torch.lerp(condition.base_embeds[row], towards, a)
    if condition.prompt_embeds is condition.base_embeds and len(row.unique()) == len(row):
        return replace(condition, prompt_embeds=condition.base_embeds.index_copy(0, row, moved))
    return replace(
        condition, prompt_embeds=condition.prompt_embeds.index_add(0, row, moved - condition.base_embeds[row])
    )


def denoising_loss(
    base: DiffusionModel, batch: Batch, condition: Condition, gamma: float, offset: float = 0.0
) -> Tensor:
    """The diffusion loss of each sample [B]: the MSE times min(SNR, gamma) / SNR (min-SNR, Hang et al. 2023).

    offset: deviation of a constant added to each channel's noise (Guttenberg 2023). Stable Diffusion's last timestep
    still shows a picture's mean colour (alphabar_999 = .0047), and sampling starts without any; the offset hides it.
    """
    x_0 = batch["latent"]
    noise, t = batch.normal("noise", *x_0.shape[1:]), batch.timesteps(len(base.alphas_cumprod))
    noise = noise + offset * batch.normal("offset", x_0.shape[1], 1, 1)
    predicted = base.predict_noise(base.add_noise(x_0, noise, t), t, condition)
    return min_snr_loss(predicted.float(), noise, base.alphabar(t), gamma)


def min_snr_loss(predicted: Tensor, noise: Tensor, alphabar: Tensor, gamma: float) -> Tensor:
    """The weighted squared error of a noise prediction [B]; alphabar [B, 1, 1, 1] of each sample's timestep."""
    snr = (alphabar / (1 - alphabar)).flatten()
    return F.mse_loss(predicted, noise, reduction="none").mean((1, 2, 3)) * snr.clamp(max=gamma) / snr


def choose_captions(batch: Batch, short: float, drop: float) -> tuple[list[str], Tensor]:
    """The captions to train on, short ones at the rate `short`, and which samples dropped everything [B]."""
    dice = replace(batch, device="cpu")  # where the words are, so that no GPU is waited for
    terse, dropped = dice.uniform("caption") < short, dice.uniform("drop") < drop
    chosen = zip(batch["caption"], batch["caption_long"], terse.tolist(), dropped.tolist(), strict=True)
    return ["" if none else brief if few else full for brief, full, few, none in chosen], move_to_device(
        dropped, batch.device
    )

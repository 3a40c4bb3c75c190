"""The contract of a method: what it does before the UNet (`condition`) and after it (`apply_guidance`).

Methods meet only here, which is why `a+b` is nothing but one after the other: `MethodChain` chains `condition` and
`apply_guidance` and nests `attach`. `none` is the empty chain. A method adds to the text it finds, so order does not
matter.

The emotion of an image is a = emotion_scale x weights. Words and vectors are appended after the prompt; CLIP is causal,
so no position before them changes, and the text used is

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
from torch import Tensor, nn

from emoscene.core.config import option
from emoscene.diffusion.families.base import TextEncoding
from emoscene.diffusion.model import Condition, DiffusionModel
from emoscene.diffusion.transfer import move_to_device
from emoscene.learning.learner import Batch, Learner


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


SHARES = tuple(field.name for field in (*fields(ConditioningShare), *fields(GuidanceShare)))
"""The settings that only count in a chain of several methods."""
EMOTION_VECTOR = "emotion_vector"
"""In `Condition.extra`, in main memory: EmotionCLIP's vector of each row's emotion image [B, D], or zeros."""


class Method(Learner):
    """A learner that changes what the base generates. The defaults change nothing.

    A method is loaded on one base, and may do three things with a batch of B images: replace what the UNet attends to
    (`condition`, once an image), sit inside the UNet (`attach`, at each step), and change the prediction
    (`apply_guidance`, at each step). Where no emotion is asked, all three leave the base as it is, bit for bit.

    Args:
        config: The settings, an instance of the subclass's `Config`.
        base: The model that it changes; not a submodule, and never trained.
    """

    save_dtype: ClassVar[torch.dtype] = torch.float16
    base_parts: ClassVar[tuple[str, ...]] = ("text_encoder", "unet")  # latents are prepared

    def __init__(self, config: object, base: DiffusionModel) -> None:
        super().__init__(config)
        self.base = base

    @classmethod
    def from_scratch(cls, config: object, base: DiffusionModel | None, data: object = None) -> Self:
        """Make an untrained method.

        Args:
            config: The settings.
            base: The model that it changes.
            data: What it will train on, for methods that take their size from it; None for one that is loaded.

        Returns:
            The method.

        Raises:
            ValueError: There is no base.
        """
        if base is None:
            raise ValueError("a method needs a base")
        return cls(config, base)

    @property
    def models(self) -> list[nn.Module]:
        """Itself, and the UNet where it trains through it."""
        if self.trains_through_unet():
            return [self, self.base.unet]
        return [self]

    def draw_ahead(self, batch: Batch) -> None:
        """Draw the noise and the timesteps of what reads latents, and the drop-outs of what reads captions."""
        if "latent" in self.columns:
            batch.normal("noise", *batch["latent"].shape[1:])
            batch.uniform("timestep")
        if "caption" in self.columns:
            batch.uniform("caption")
            batch.uniform("drop")

    @classmethod
    def trains_through_unet(cls) -> bool:
        """Tell whether its loss is that of the UNet, as it is for methods that read captions.

        Returns:
            Whether gradients pass through the UNet.
        """
        return "caption" in cls.columns

    @property
    def num_tokens(self) -> int:
        """How many of the text's 77 positions it needs after the prompt's words."""
        return 0

    def condition(self, plain: Condition) -> Condition:
        """Change what the UNet attends to.

        Args:
            plain: What it would attend to; methods before this one in a chain may have changed it.

        Returns:
            What it shall attend to; `plain` itself where no row asks for an emotion.
        """
        return plain

    def apply_guidance(self, prediction: Tensor, x_t: Tensor, t: Tensor, condition: Condition) -> Tensor:
        """Change the prediction of one step.

        Args:
            prediction: What the UNet predicts, after classifier-free guidance [B, 4, h, w]: eps, or what else the base
                was trained to predict; `base.noise_process` reads it.
            x_t: The noisy latents that the UNet saw [B, 4, h, w].
            t: The timestep [] or [B], from 0 (the image) to below the base's number of timesteps; may be fractional. In
                main memory, so that a method may decide by it without waiting for a GPU.
            condition: What is asked, the positive half of guidance (B rows).

        Returns:
            The prediction to use [B, 4, h, w].
        """
        return prediction

    def classify(self, x_0: Tensor) -> Tensor | None:
        """Classify the emotion of clean latents.

        Args:
            x_0: Latents without noise [B, 4, h, w].

        Returns:
            log p(i | x_0) [B, 8]; None for a method that has no classifier.
        """
        return None

    def compute_loss(self, batch: Batch) -> Tensor:
        """Compute the loss of each sample; only methods that learn have one.

        Args:
            batch: B samples with the columns of `columns`.

        Returns:
            The losses [B].

        Raises:
            NotImplementedError: The method has nothing to learn.
        """
        raise NotImplementedError(f"{type(self).__name__} has nothing to learn")


class MethodChain:
    """Some methods, one after the other, used as one.

    How they share the emotion scale stands in their settings (`ConditioningShare`, `GuidanceShare`). By default each of
    n that condition gets a / sqrt(n): with the whole scale two would ask twice for the same, and what one of them fixes
    the other fixes again, until the images of an emotion are all alike. One that guides in their company gets a quarter
    of the scale, and corrects what they have left (measured: `docs/log.md`). A method whose settings say neither takes
    no part in this.

    Args:
        methods: Methods on the same base, in any order; none is the base alone.
    """

    def __init__(self, methods: Sequence[Method] = ()) -> None:
        self.methods = tuple(methods)
        configs = [method.config for method in self.methods]
        conditioning = [own.conditioning_share for own in configs if isinstance(own, ConditioningShare)]
        guidance = [own.guidance_share for own in configs if isinstance(own, GuidanceShare)]
        self.conditioning_share = share_among(conditioning)
        self.guidance_share = 1.0
        if conditioning:
            self.guidance_share = min(guidance, default=1.0)

    def condition(self, plain: Condition) -> Condition:
        """Let each method change what the UNet attends to, with its share of the emotion scale.

        Args:
            plain: What the UNet would attend to without methods.

        Returns:
            What it shall attend to; weights and gain are those that conditioning got.
        """
        condition = replace(
            plain,
            emotion_weights=self.conditioning_share * plain.emotion_weights,
            emotion_gain=self.conditioning_share * plain.emotion_gain,
        )
        for method in self.methods:
            condition = method.condition(condition)
        return condition

    def apply_guidance(self, prediction: Tensor, x_t: Tensor, t: Tensor, condition: Condition) -> Tensor:
        """Let each method change the prediction, with its share of the emotion scale.

        Args:
            prediction: What the UNet predicts [B, 4, h, w].
            x_t: The noisy latents that the UNet saw [B, 4, h, w].
            t: The timestep [] or [B].
            condition: What this chain's `condition` returned.

        Returns:
            The prediction to use [B, 4, h, w].
        """
        weights = self.guidance_share / self.conditioning_share * condition.emotion_weights
        shared = replace(condition, emotion_weights=weights)
        for method in self.methods:
            prediction = method.apply_guidance(prediction, x_t, t, shared)
        return prediction

    def classify(self, x_0: Tensor) -> Tensor | None:
        """Classify the emotion of clean latents by the first method that has a classifier.

        Args:
            x_0: Latents without noise [B, 4, h, w].

        Returns:
            log p(i | x_0) [B, 8]; None where no method has a classifier.
        """
        for method in self.methods:
            log_p = method.classify(x_0)
            if log_p is not None:
                return log_p
        return None

    @contextmanager
    def attach(self, condition: Condition | None = None) -> Iterator[None]:
        """Attach every method to the base; nothing of them is left afterwards.

        Args:
            condition: What the UNet will attend to inside, from which a method may choose how it attaches.

        Yields:
            Nothing.
        """
        with ExitStack() as stack:
            for method in self.methods:
                stack.enter_context(method.attach(condition))
            yield


def share_among(shares: Sequence[float]) -> float:
    """Compute the part of the emotion scale that each of some methods gets.

    Args:
        shares: What each of them has as its part in a pair, in [0, 1].

    Returns:
        The least of these for two methods, 1 for one; for n, the least to the power of log2 n, so that 1 / sqrt(2) in a
        pair is 1 / sqrt(n) among n.
    """
    if len(shares) < 2:
        return 1.0
    return float(min(shares) ** math.log2(len(shares)))


def normalize_mixture(a: Tensor) -> Tensor:
    """Scale mixtures up to the length of a single emotion: a sum_i |a_i| / sqrt(sum_i a_i^2).

    The directions of emotions have little in common, so the sum of two halves is shorter than either whole.

    Args:
        a: Weights [B, 8].

    Returns:
        Scaled weights [B, 8]; those of a single emotion, and zeros, stay as they are.
    """
    factor = a.abs().sum(1) / a.norm(dim=1).clamp(min=1e-12)
    return a * factor[:, None]


def interpolate_embeds(condition: Condition, encode: Callable[[list[str], Tensor], TextEncoding]) -> Condition:
    """Move the text towards the encoding of each asked emotion: E0 + sum_i a_i (E_i - E0), a normalised as a mixture.

    The pooled vector of a prompt moves alike, for a UNet that reads one.

    A row without an emotion keeps its text bit for bit, and one with a single emotion at weight 1 gets exactly E_i.

    Args:
        condition: What the UNet would attend to (B rows).
        encode: Takes R prompts and the numbers of R emotions, in main memory [R], and returns the text with that
            emotion appended to each, R rows.

    Returns:
        The condition with its text moved.
    """
    row, emotion = torch.nonzero(condition.emotion_weights, as_tuple=True)
    if not len(row):
        return condition
    one_each = len(row.unique()) == len(row)
    prompts = [condition.prompts[r] for r in row.tolist()]
    target = encode(prompts, emotion)
    weights = normalize_mixture(condition.emotion_weights)[row, emotion]
    a = move_to_device(weights, target.embeds.device).to(target.embeds.dtype)
    row = move_to_device(row, target.embeds.device)
    embeds = _interpolate(condition.base_embeds, condition.prompt_embeds, target.embeds, a, row, one_each)
    pooled = condition.pooled
    if target.pooled is not None and condition.base_pooled is not None and pooled is not None:
        pooled = _interpolate(condition.base_pooled, pooled, target.pooled, a, row, one_each)
    return replace(condition, prompt_embeds=embeds, pooled=pooled)


def _interpolate(base: Tensor, used: Tensor, target: Tensor, a: Tensor, row: Tensor, one_each: bool) -> Tensor:
    """used + a (target - base) at these rows; lerp, so that a weight of 1 gives exactly the target."""
    start = base[row]
    moved = torch.lerp(start, target, a.view(-1, *[1] * (target.ndim - 1)))
    if used is base and one_each:
        return base.index_copy(0, row, moved)
    return used.index_add(0, row, moved - start)


def denoising_loss(
    base: DiffusionModel, batch: Batch, condition: Condition, gamma: float, offset: float = 0.0
) -> Tensor:
    """Compute the diffusion loss: the squared error of the prediction, weighted as that of x_0 by min(SNR, gamma).

    Min-SNR: Hang et al. 2023, https://arxiv.org/abs/2303.09556. Stable Diffusion's last timestep still shows the mean
    colour of an image (alphabar_999 = .0047), and sampling starts without any; an offset in the noise hides it in
    training too (Guttenberg 2023, "Diffusion with offset noise").

    Args:
        base: The model that predicts the noise.
        batch: B samples with the column `latent` [B, 4, h, w].
        condition: What the UNet attends to (B rows).
        gamma: The cap of the signal-to-noise ratio, above 0.
        offset: The standard deviation of a constant that is added to each channel's noise, at least 0.

    Returns:
        The losses [B].
    """
    process, x_0 = base.noise_process, batch["latent"]
    noise, t = batch.normal("noise", *x_0.shape[1:]), process.timesteps(batch.uniform("timestep"))
    if offset:
        noise = noise + offset * batch.normal("offset", x_0.shape[1], 1, 1)
    predicted = base.predict(process.add_noise(x_0, noise, t), t, condition)
    return process.compute_loss(predicted.float(), x_0, noise, t, gamma)


def choose_captions(batch: Batch, short: float, drop: float) -> tuple[list[str], Tensor]:
    """Choose the captions to train on; length and drop-out are drawn independently for each sample.

    Args:
        batch: B samples with the columns `caption` and `caption_long`.
        short: The probability of the short caption, in [0, 1].
        drop: The probability of none, in [0, 1].

    Returns:
        The captions, B of them, empty where dropped; and which samples were dropped, in main memory [B].
    """
    host = batch.on_host
    is_short, is_dropped = host.uniform("caption") < short, host.uniform("drop") < drop
    captions = []
    for place, dropped in enumerate(is_dropped.tolist()):
        column = "caption_long"
        if is_short[place]:
            column = "caption"
        if dropped:
            captions.append("")
        else:
            captions.append(batch[column][place])
    return captions, is_dropped

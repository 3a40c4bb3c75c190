"""The contract of a method: what it does before the UNet (`condition`) and after it (`steer`).

Methods meet only here, which is why `a+b` is nothing but one after the other: `Chain` chains `condition` and `steer`
and nests `attached`. `none` is the empty chain. A method adds to the text it finds, so order does not matter.

The dial: a picture's emotion is a = strength x weights. Words and vectors are appended after the prompt; CLIP is
causal, so no position before them changes, and the text used is

    text = E0 + sum_i a_i (E_i - E0)

with E0 the prompt's own encoding and E_i the one with emotion i appended (for mixtures see `blend`). What is asked for
with a_i < 0 stands, with its sign turned, in the negative half of classifier-free guidance as well.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import ClassVar, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from emoscene.backbone import Backbone, Condition
from emoscene.learner import Batch, Learner, placed


class Method(Learner):
    """A learner that changes what the base paints. The defaults change nothing."""

    stored: ClassVar[torch.dtype] = torch.float16

    def __init__(self, config: object, base: Backbone) -> None:
        super().__init__(config)
        self.base = base

    @classmethod
    def start(cls, config: object, base: Backbone | None, data: object = None) -> Self:
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
        return "caption" in cls.reads

    @property
    def room(self) -> int:
        """Positions of the text that it needs after the prompt's words."""
        return 0

    def condition(self, plain: Condition) -> Condition:
        """What the UNet shall attend to, from what it would have attended to."""
        return plain

    def steer(self, noise: Tensor, x_t: Tensor, t: Tensor, condition: Condition) -> Tensor:
        """The noise prediction to use [B, 4, h, w]; x_t is what the UNet saw."""
        return noise

    def opinion(self, x_0: Tensor) -> Tensor | None:
        """What it finds felt in clean latents, log p(i | x_0) [B, 8]; None for a method that does not look."""
        return None

    def loss(self, batch: Batch) -> Tensor:
        """Only methods that learn have one."""
        raise NotImplementedError(f"{type(self).__name__} has nothing to learn")


class Chain:
    """Some methods, one after the other, used as one.

    Each of n that condition hears a / sqrt(n): at the whole dial two would ask twice for the same, and what one of them
    fixes the other fixes again, until the pictures of an emotion are all alike. One that steers in their company hears
    a quarter of the dial, and mends what they have left undone (measured: `docs/log.md`).
    """

    def __init__(self, methods: Sequence[Method] = ()) -> None:
        self.methods = tuple(methods)
        steering = sum(type(method).steer is not Method.steer for method in self.methods)
        conditioning = len(self.methods) - steering
        self.share = max(1, conditioning) ** -0.5
        self.nudge = 0.25 if steering and conditioning else 1.0

    def condition(self, plain: Condition) -> Condition:
        """Each method's, in turn."""
        found = replace(plain, a=self.share * plain.a, g=self.share * plain.g)
        for method in self.methods:
            found = method.condition(found)
        return found

    def steer(self, noise: Tensor, x_t: Tensor, t: Tensor, condition: Condition) -> Tensor:
        """Each method's, in turn."""
        heard = replace(condition, a=self.nudge / self.share * condition.a)
        for method in self.methods:
            noise = method.steer(noise, x_t, t, heard)
        return noise

    def opinion(self, x_0: Tensor) -> Tensor | None:
        """That of the first that has one."""
        return next((found for method in self.methods if (found := method.opinion(x_0)) is not None), None)

    @contextmanager
    def attached(self, condition: Condition | None = None) -> Iterator[None]:
        """All attached inside."""
        with ExitStack() as stack:
            for method in self.methods:
                stack.enter_context(method.attached(condition))
            yield


def whole(a: Tensor) -> Tensor:
    """Weights a [B, 8] times sum_i |a_i| / sqrt(sum_i a_i^2), which is 1 for a single emotion.

    Emotions point ways that have little in common, and the sum of two halves is shorter than either whole.
    """
    return a * (a.abs().sum(1) / a.norm(dim=1).clamp(min=1e-12))[:, None]


def blend(condition: Condition, encode: Callable[[list[str], Tensor], Tensor]) -> Condition:
    """Move the text towards each asked emotion's own encoding, as far as `a` says.

    encode: prompts and emotions' numbers, one a row -> text with that emotion appended [R, 77, D]. A row without an
    emotion keeps its text bit for bit, one with a single emotion at weight 1 gets exactly its encoding.
    """
    row, emotion = torch.nonzero(condition.a, as_tuple=True)
    if not len(row):
        return condition
    towards = encode([condition.prompts[r] for r in row.tolist()], emotion)
    a = whole(condition.a)[row, emotion].to(towards.dtype).view(-1, 1, 1)
    moved = torch.lerp(condition.e0[row], towards, a)
    if condition.text is condition.e0 and len(row.unique()) == len(row):
        return replace(condition, text=condition.e0.index_copy(0, row, moved))
    return replace(condition, text=condition.text.index_add(0, row, moved - condition.e0[row]))


def denoising(base: Backbone, batch: Batch, condition: Condition, gamma: float, offset: float = 0.0) -> Tensor:
    """The diffusion loss of each sample [B]: the MSE times min(SNR, gamma) / SNR (min-SNR, Hang et al. 2023).

    offset: deviation of a constant added to each channel's noise (Guttenberg 2023). Stable Diffusion's last timestep
    still shows a picture's mean colour (alphabar_999 = .0047), and sampling starts without any; the offset hides it.
    """
    x_0 = batch["latent"]
    noise, t = batch.normal("noise", *x_0.shape[1:]), batch.timesteps(len(base.alphas_cumprod))
    noise = noise + offset * batch.normal("offset", x_0.shape[1], 1, 1)
    predicted = base.predict(base.add_noise(x_0, noise, t), t, condition)
    return min_snr(predicted.float(), noise, base.alphabar(t), gamma)


def min_snr(predicted: Tensor, noise: Tensor, alphabar: Tensor, gamma: float) -> Tensor:
    """The weighted squared error of a noise prediction [B]; alphabar [B, 1, 1, 1] of each sample's timestep."""
    snr = (alphabar / (1 - alphabar)).flatten()
    return F.mse_loss(predicted, noise, reduction="none").mean((1, 2, 3)) * snr.clamp(max=gamma) / snr


def words(batch: Batch, short: float, drop: float) -> tuple[list[str], Tensor]:
    """The captions to train on, short ones at the rate `short`, and which samples dropped everything [B]."""
    dice = replace(batch, device="cpu")  # where the words are, so that no GPU is waited for
    terse, dropped = dice.uniform("caption") < short, dice.uniform("drop") < drop
    chosen = zip(batch["caption"], batch["caption_long"], terse.tolist(), dropped.tolist(), strict=True)
    return ["" if none else brief if few else full for brief, full, few, none in chosen], placed(dropped, batch.device)

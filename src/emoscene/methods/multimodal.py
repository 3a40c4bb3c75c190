"""The emotion of an image as a second input: four tokens, with attention of their own (IP-Adapter).

Ye et al. 2023, https://arxiv.org/abs/2308.06721. EmotionCLIP's vector of an image passes a small projector (Linear to
four tokens, LayerNorm) into the width of the text. Each cross-attention of the UNet gets keys and values of its own for
such tokens, and

    out = Attn(q, text) + sum_i a_i Attn(q, tokens_i)

Every asked emotion keeps its own tokens and is weighted after the attention: a weight on the vector would be lost in
the LayerNorm. tokens_i come from the emotion's prototype, the mean vector of its images; the vector of an emotion image
takes the prototypes' place, weighted by g. The projector's biases are fixed at zero, so the zero vector gives zero
tokens, and these, as keys and values have no biases, add nothing: the null condition is the untouched base, in training
and in the unconditional half alike.

`ip_adapter.safetensors` is the file that diffusers' `load_ip_adapter` reads.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self, final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from emoscene.core import seeds
from emoscene.core.config import option
from emoscene.core.taxonomy import EMOTIONS
from emoscene.diffusion.model import Condition, DiffusionModel
from emoscene.diffusion.transfer import move_to_device
from emoscene.learning.learner import Batch
from emoscene.methods.base import EMOTION_VECTOR, ConditioningShare, Method, choose_captions, denoising_loss

TOKENS = 4  # the only number that diffusers' loader takes for this projector
TOKENS_KEY, WEIGHTS_KEY = "multimodal.tokens", "multimodal.weights"
Pairs = tuple[Tensor, Tensor, Tensor, Tensor]
"""Rows that ask for an emotion, how much of it, its keys, its values."""


class Projector(nn.Module):
    """LayerNorm(W v): diffusers' `ImageProjection`, its parts named as in its files.

    Args:
        width: D, the length of the vectors.
        out: D_text, the width of the text.
    """

    def __init__(self, width: int, out: int) -> None:
        super().__init__()
        self.proj = freeze_bias(nn.Linear(width, TOKENS * out))
        drawn = torch.randn(self.proj.weight.shape, generator=seeds.torch_generator(0, "multimodal"))
        self.proj.weight.data = drawn * width**-0.5
        self.norm = freeze_bias(nn.LayerNorm(out))

    def forward(self, vectors: Tensor) -> Tensor:
        """Project vectors.

        Args:
            vectors: [..., D].

        Returns:
            Four tokens for each [..., 4, D_text]; zeros for the zero vector.
        """
        return self.norm(self.proj(vectors).unflatten(-1, (TOKENS, -1)))


class DecoupledKeyValue(nn.Module):
    """One layer's keys and values for the tokens: the decoupled cross-attention of Ye et al. 2023, eq. 5.

    The keys start as those for the text, the values at zero: a new adapter changes nothing, like a new LoRA, and the
    gradient of the values is large from the first step.

    Args:
        attention: A cross-attention of the UNet, diffusers' `Attention`.
    """

    def __init__(self, attention: Any) -> None:
        super().__init__()
        start = attention.to_k.weight.detach().float()
        self.to_k_ip = nn.Linear(start.shape[1], start.shape[0], bias=False)
        self.to_v_ip = nn.Linear(start.shape[1], start.shape[0], bias=False)
        self.to_k_ip.weight.data = start.clone()
        nn.init.zeros_(self.to_v_ip.weight)

    def forward(self, tokens: Tensor, heads: int) -> tuple[Tensor, Tensor]:
        """Compute keys and values.

        Args:
            tokens: [P, 4, D_text].
            heads: The layer's number of attention heads.

        Returns:
            Keys and values, each [P, heads, 4, d].
        """
        return split_heads(self.to_k_ip(tokens), heads), split_heads(self.to_v_ip(tokens), heads)


class PairFinder:
    """The pairs of a row and an emotion that it asks for: found once in a pass, in main memory, for all layers."""

    def __init__(self) -> None:
        self.found: tuple[Condition, tuple[Tensor, Tensor, Tensor]] | None = None

    def find(self, condition: Condition) -> tuple[Tensor, Tensor, Tensor]:
        """Find the pairs of a condition.

        Args:
            condition: What the UNet attends to, as `Multimodal.condition` prepared it.

        Returns:
            On the text's device, their rows [P], their emotions [P], and how much of each is asked [P, 1, 1, 1].
        """
        if self.found is None or self.found[0] is not condition:
            weights, device = condition.extra[WEIGHTS_KEY], condition.prompt_embeds.device
            row, emotion = torch.nonzero(weights, as_tuple=True)
            a = weights[row, emotion].view(-1, 1, 1, 1)
            pairs = move_to_device(row, device), move_to_device(emotion, device), move_to_device(a, device)
            self.found = condition, pairs
        return self.found[1]


class EmotionAttnProcessor:
    """A layer's attention as diffusers calls it: out = Attn(q, text) + sum_i a_i Attn(q, tokens_i).

    Only the pairs of a row and an emotion that it asks for are computed, so a row without any keeps its bits. During
    one generation the tokens are the same at every step, and so are their keys and values, which are cached.

    Args:
        base: The model, whose `current_condition` has the tokens.
        decoupled: The layer's keys and values for tokens.
        finder: Shared by all layers.
    """

    def __init__(self, base: DiffusionModel, decoupled: DecoupledKeyValue, finder: PairFinder) -> None:
        self.base, self.decoupled, self.finder = base, decoupled, finder
        self.cache: tuple[Condition, Pairs] | None = None

    def __call__(self, attn: Any, hidden_states: Tensor, encoder_hidden_states: Tensor, **nothing: Any) -> Tensor:
        """Compute the layer's output; attention masks, which Stable Diffusion does not use, are ignored.

        Args:
            attn: The layer, diffusers' `Attention`.
            hidden_states: The image's features [B, N, D].
            encoder_hidden_states: The text [B, 77, D_text].
            nothing: Other arguments of diffusers' processors.

        Returns:
            The output [B, N, D].
        """
        query = split_heads(attn.to_q(hidden_states), attn.heads)
        key = split_heads(attn.to_k(encoder_hidden_states), attn.heads)
        value = split_heads(attn.to_v(encoder_hidden_states), attn.heads)
        out = F.scaled_dot_product_attention(query, key, value)
        row, a, emotion_key, emotion_value = self._emotion_keys_values(attn.heads)
        if len(row):
            emotion = F.scaled_dot_product_attention(query[row], emotion_key.to(out.dtype), emotion_value.to(out.dtype))
            out = out.index_add(0, row, a.to(out.dtype) * emotion)
        return attn.to_out[1](attn.to_out[0](out.transpose(1, 2).flatten(2)))

    @torch.compiler.disable  # type: ignore[untyped-decorator]
    def _emotion_keys_values(self, heads: int) -> Pairs:
        """Rows [P] that ask for an emotion, how much of it [P, 1, 1, 1], and its keys and values [P, heads, 4, d]."""
        current, learning = self.base.current_condition, torch.is_grad_enabled()
        assert current is not None
        if not learning and self.cache is not None and self.cache[0] is current:
            return self.cache[1]
        row, emotion, a = self.finder.find(current)
        pairs = row, a, *self.decoupled(current.extra[TOKENS_KEY][row, emotion], heads)
        self.cache = None
        if not learning:
            self.cache = current, pairs
        return pairs


@final
class Multimodal(Method):
    """Tokens from EmotionCLIP's vectors, with attention of their own (IP-Adapter)."""

    columns = ("latent", "caption", "caption_long", "weights", "vector")
    files: ClassVar = {
        "ip_adapter.safetensors": ("adapter.", ""),
        "prototypes.safetensors": ("prototypes", "prototypes"),
    }

    @dataclass(frozen=True)
    class Config(ConditioningShare):
        """How it learns, and how long its vectors are."""

        width: int = option(64, "numbers in an image's vector; those of its data", span=(8, 4096))
        own: float = option(0.5, "share of the samples that see their image's own vector", span=(0.0, 1.0))
        short_caption_prob: float = option(0.7, "share of the samples that train on the short caption", span=(0.0, 1.0))
        cond_drop_prob: float = option(0.05, "share of the samples that lose the words alone", span=(0.0, 1.0))
        joint_drop_prob: float = option(0.05, "share of the samples that lose words and emotion", span=(0.0, 1.0))
        emotion_drop_prob: float = option(0.05, "share of the samples that lose the emotion alone", span=(0.0, 1.0))
        snr_gamma: float = option(5.0, "cap of the signal-to-noise ratio in the weight", span=(0.1, 1e3, "log"))
        noise_offset: float = option(
            0.0, "deviation of the noise's constant part, which frees an image's mean", span=(0.0, 1.0)
        )

    config: Config

    def __init__(self, config: Config, base: DiffusionModel) -> None:
        super().__init__(config, base)
        self.layers: list[Any] = []
        self.processors: list[EmotionAttnProcessor] = []
        finder = PairFinder()
        keys_values = nn.ModuleDict()
        for name in base.unet.attn_processors:
            if ".attn2." in name:
                layer = base.unet.get_submodule(name.removesuffix(".processor"))
                decoupled = DecoupledKeyValue(layer)
                keys_values[str(2 * len(self.layers) + 1)] = decoupled  # as diffusers numbers the layers
                self.layers.append(layer)
                self.processors.append(EmotionAttnProcessor(base, decoupled, finder))
        self.adapter = nn.ModuleDict({"image_proj": Projector(config.width, base.text_dim), "ip_adapter": keys_values})
        self.prototypes: Tensor
        self.register_buffer("prototypes", torch.eye(len(EMOTIONS), config.width))  # until `from_scratch` has data

    @classmethod
    def from_scratch(cls, config: Any, base: DiffusionModel | None, data: Any = None) -> Self:
        """Make an untrained one, its prototypes those of the data. Raises UsageError where these have no vectors."""
        if data is None:
            return super().from_scratch(config, base)
        vectors: Tensor = data.column("vector")
        method = super().from_scratch(replace(config, width=vectors.shape[1]), base)
        method.prototypes.copy_(emotion_prototypes(vectors, data.column("weights")))
        return method

    def condition(self, plain: Condition) -> Condition:
        """Prepare each row's eight emotions: their tokens [B, 8, 4, D_text] and weights [B, 8].

        A row with an emotion image has that image's vector in the prototypes' place, once, weighted by its g, or by -g
        where `a` suppresses.
        """
        extra, device = dict(plain.extra), self.prototypes.device
        own = extra.pop(EMOTION_VECTOR, torch.zeros(len(plain), self.config.width))
        has_image = own.any(1, keepdim=True)
        gain = torch.where(plain.emotion_weights.sum(1) < 0, -plain.emotion_gain, plain.emotion_gain)
        once = gain[:, None] * torch.eye(1, len(EMOTIONS))
        there = move_to_device(own, device).to(self.prototypes)
        vectors = torch.where(move_to_device(has_image, device)[:, None], there[:, None], self.prototypes)
        extra[TOKENS_KEY] = self.adapter["image_proj"](vectors)
        extra[WEIGHTS_KEY] = torch.where(has_image, once, plain.emotion_weights)
        return replace(plain, extra=extra)

    def compute_loss(self, batch: Batch) -> Tensor:
        """Compute the denoising loss [B], the emotion given by the image's own vector or by the prototypes.

        An image without an emotion shows its own vector. One random number decides what is dropped: the words, both, or
        the emotion, which leaves the base as it is.
        """
        c, host = self.config, batch.on_host
        drop = host.uniform("drop")
        captions, _ = choose_captions(batch, c.short_caption_prob, c.cond_drop_prob + c.joint_drop_prob)
        no_emotion = (drop >= c.cond_drop_prob) & (drop < c.cond_drop_prob + c.joint_drop_prob + c.emotion_drop_prob)
        own = (host.uniform("own") < c.own) | ~host["weights"].any(1)
        a = torch.where((own | no_emotion)[:, None], 0, host["weights"])
        vectors = torch.where((own & ~no_emotion)[:, None], host["vector"], 0)
        plain = self.base.encode_condition(captions, a, g=torch.ones_like(drop), is_null=True)
        condition = self.condition(replace(plain, extra={EMOTION_VECTOR: vectors}))
        loss = denoising_loss(self.base, batch, condition, c.snr_gamma, c.noise_offset)
        return loss + 0 * sum(
            p.sum() for p in self.trainable.values()
        )  # a gradient for every rank, whatever was dropped

    @contextmanager
    def attach(self, condition: Condition | None = None) -> Iterator[None]:
        """Replace the layers' attention; where no row asks for an emotion the layers stay as they are."""
        if condition is not None and not condition.extra[WEIGHTS_KEY].any():
            yield
            return
        originals = [layer.processor for layer in self.layers]
        try:
            for layer, processor in zip(self.layers, self.processors, strict=True):
                layer.processor = processor
            yield
        finally:
            for layer, original in zip(self.layers, originals, strict=True):
                layer.processor = original


def emotion_prototypes(vectors: Tensor, weights: Tensor) -> Tensor:
    """Compute the prototype of each emotion: the weighted mean of vectors, scaled to unit length.

    Args:
        vectors: EmotionCLIP's vectors of N images [N, D].
        weights: Their emotions [N, 8]; negative ones count as zero.

    Returns:
        Prototypes [8, D]; zeros, which act as no emotion, where an emotion has no image.
    """
    return F.normalize(weights.clamp(min=0).T @ vectors, dim=1)


def split_heads(x: Tensor, heads: int) -> Tensor:
    """Split features into attention heads.

    Args:
        x: Features [B, N, heads * d].
        heads: Their number.

    Returns:
        The features by head [B, heads, N, d].
    """
    return x.unflatten(-1, (heads, -1)).transpose(1, 2)


def freeze_bias(layer: Any) -> Any:
    """Fix a layer's bias at zero: it stays in the file, where diffusers expects it, and is not trained.

    Args:
        layer: A layer with a bias, changed in place.

    Returns:
        The same layer.
    """
    bias = torch.zeros_like(layer.bias.data)
    del layer.bias
    layer.register_buffer("bias", bias)
    return layer

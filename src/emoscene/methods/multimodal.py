"""A picture's own emotion as a second input: four tokens, with attention of their own (IP-Adapter, Ye et al. 2023).

EmotionCLIP's vector of a picture passes a small projector (Linear to four tokens, LayerNorm) into the width of the
text. Each cross-attention of the UNet gets keys and values of its own for such tokens, and

    out = Attn(q, text) + sum_i a_i Attn(q, tokens_i)

Every asked emotion keeps its own tokens and is weighed after the attention: a weight on the vector would be lost in the
LayerNorm. tokens_i come from the emotion's prototype, the mean vector of its pictures; a reference picture's vector
takes the prototypes' place, weighed by g. The projector's biases are held at zero, so the zero vector gives zero tokens
and these, without biases in keys and values, nothing: the null condition is the untouched base, in training and in the
unconditional half alike.

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
from emoscene.learning.learner import Batch
from emoscene.methods.base import Method, choose_captions, denoising_loss

TOKENS = 4  # the only number that diffusers' loader takes for this projector
KEYS = "multimodal.tokens", "multimodal.weights"
Pairs = tuple[Tensor, Tensor, Tensor, Tensor]
"""Rows that ask for an emotion, how much of it, its keys, its values."""


class Projector(nn.Module):
    """diffusers' `ImageProjection`, its parts named as in its files: vectors [..., D] -> tokens [..., 4, D_text]."""

    def __init__(self, width: int, out: int) -> None:
        super().__init__()
        self.proj = freeze_bias(nn.Linear(width, TOKENS * out))
        drawn = torch.randn(self.proj.weight.shape, generator=seeds.torch_generator(0, "multimodal"))
        self.proj.weight.data = drawn * width**-0.5
        self.norm = freeze_bias(nn.LayerNorm(out))

    def forward(self, vectors: Tensor) -> Tensor:
        """Four tokens a vector; of the zero vector, zeros."""
        return self.norm(self.proj(vectors).unflatten(-1, (TOKENS, -1)))


class DecoupledKeyValue(nn.Module):
    """One layer's keys and values for the tokens.

    The keys start as those for the text, the values at zero: a new adapter changes nothing, as a new LoRA does, and
    the values' gradient is large from the first step.
    """

    def __init__(self, attention: Any) -> None:
        super().__init__()
        start = attention.to_k.weight.detach().float()
        self.to_k_ip = nn.Linear(start.shape[1], start.shape[0], bias=False)
        self.to_v_ip = nn.Linear(start.shape[1], start.shape[0], bias=False)
        self.to_k_ip.weight.data = start.clone()
        nn.init.zeros_(self.to_v_ip.weight)

    def forward(self, tokens: Tensor, heads: int) -> tuple[Tensor, Tensor]:
        """Keys and values [P, heads, 4, d] of tokens [P, 4, D_text]."""
        return split_heads(self.to_k_ip(tokens), heads), split_heads(self.to_v_ip(tokens), heads)


class EmotionAttnProcessor:
    """What diffusers calls in place of a layer's attention: the text's, and each emotion's own added to it.

    Only the pairs of a row and an emotion that it asks for are computed, so a row without any keeps its bits. While a
    picture is painted, the tokens are the same at every step, and so are their keys and values, which are kept.
    """

    def __init__(self, base: DiffusionModel, decoupled: DecoupledKeyValue) -> None:
        self.base, self.decoupled = base, decoupled
        self.kept: tuple[Condition, Pairs] | None = None

    def __call__(self, attn: Any, hidden_states: Tensor, encoder_hidden_states: Tensor, **nothing: Any) -> Tensor:
        """The layer's output [B, N, D]; attention masks, which Stable Diffusion has not, are not looked at."""
        parts = attn.to_q(hidden_states), attn.to_k(encoder_hidden_states), attn.to_v(encoder_hidden_states)
        query, key, value = (split_heads(part, attn.heads) for part in parts)
        out = F.scaled_dot_product_attention(query, key, value)
        row, a, *heard = self._emotion_keys_values(attn.heads)
        if len(row):
            emotion = F.scaled_dot_product_attention(query[row], *(part.to(out.dtype) for part in heard))
            out = out.index_add(0, row, a.to(out.dtype) * emotion)
        return attn.to_out[1](attn.to_out[0](out.transpose(1, 2).flatten(2)))

    @torch.compiler.disable  # type: ignore[untyped-decorator]
    def _emotion_keys_values(self, heads: int) -> Pairs:
        """Rows [P] that ask for an emotion, how much of it [P, 1, 1, 1], and its keys and values [P, heads, 4, d]."""
        shown, learning = self.base.current_condition, torch.is_grad_enabled()
        assert shown is not None
        if not learning and self.kept is not None and self.kept[0] is shown:
            return self.kept[1]
        tokens, weights = (shown.extra[name] for name in KEYS)
        row, emotion = torch.nonzero(weights, as_tuple=True)
        pairs = row, weights[row, emotion].view(-1, 1, 1, 1), *self.decoupled(tokens[row, emotion], heads)
        self.kept = None if learning else (shown, pairs)
        return pairs


@final
class Multimodal(Method):
    """Tokens from EmotionCLIP's vectors, with attention of their own."""

    columns = ("latent", "caption", "caption_long", "weights", "vector")
    files: ClassVar = {
        "ip_adapter.safetensors": ("adapter.", ""),
        "prototypes.safetensors": ("prototypes", "prototypes"),
    }

    @dataclass(frozen=True)
    class Config:
        """How it learns, and how long its vectors are."""

        width: int = option(64, "numbers in a picture's vector; those of its data", span=(8, 4096))
        own: float = option(0.5, "share of the samples that see their picture's own vector", span=(0.0, 1.0))
        short: float = option(0.7, "share of the samples that train on the short caption", span=(0.0, 1.0))
        drop: float = option(0.05, "share of the samples that lose the words alone", span=(0.0, 1.0))
        drop_both: float = option(0.05, "share of the samples that lose words and emotion", span=(0.0, 1.0))
        drop_emotion: float = option(0.05, "share of the samples that lose the emotion alone", span=(0.0, 1.0))
        gamma: float = option(5.0, "cap of the signal-to-noise ratio in the weight", span=(0.1, 1e3, "log"))
        offset: float = option(
            0.0, "deviation of the noise's constant part, which frees a picture's mean", span=(0.0, 1.0)
        )

    config: Config

    def __init__(self, config: Config, base: DiffusionModel) -> None:
        super().__init__(config, base)
        names = [name.removesuffix(".processor") for name in base.unet.attn_processors if ".attn2." in name]
        self.layers = [base.unet.get_submodule(name) for name in names]
        own = {
            str(2 * place + 1): DecoupledKeyValue(layer) for place, layer in enumerate(self.layers)
        }  # diffusers' numbers
        parts = {"image_proj": Projector(config.width, base.text_dim), "ip_adapter": nn.ModuleDict(own)}
        self.adapter = nn.ModuleDict(parts)
        self.processors = [EmotionAttnProcessor(base, decoupled) for decoupled in own.values()]
        self.prototypes: Tensor
        self.register_buffer("prototypes", torch.eye(len(EMOTIONS), config.width))  # apart, until data tell more

    @classmethod
    def from_scratch(cls, config: Any, base: DiffusionModel | None, data: Any = None) -> Self:
        """A new one, its prototypes the data's. Raises Usage where the data have no vectors."""
        if data is None:
            return super().from_scratch(config, base)
        vectors: Tensor = data.column("vector")
        method = super().from_scratch(replace(config, width=vectors.shape[1]), base)
        method.prototypes.copy_(emotion_prototypes(vectors, data.column("weights")))
        return method

    def condition(self, plain: Condition) -> Condition:
        """Lay out each row's eight emotions: their tokens [B, 8, 4, D_text] and weights [B, 8].

        A row whose `like` (a vector [D]) is not zero has it in the prototypes' place, once, weighed by its g, or by -g
        where `a` leads away.
        """
        like = plain.extra.get("like", torch.zeros(len(plain), self.config.width, device=self.prototypes.device))
        given = like.any(1, keepdim=True)
        gain = torch.where(plain.emotion_weights.sum(1) < 0, -plain.emotion_gain, plain.emotion_gain)
        once = gain[:, None] * torch.eye(1, len(EMOTIONS), device=plain.emotion_gain.device)
        vectors = torch.where(given[:, None], like[:, None].to(self.prototypes), self.prototypes)
        laid = self.adapter["image_proj"](vectors), torch.where(given, once, plain.emotion_weights)
        others = {name: value for name, value in plain.extra.items() if name != "like"}
        return replace(plain, extra=others | dict(zip(KEYS, laid, strict=True)))

    def compute_loss(self, batch: Batch) -> Tensor:
        """The denoising loss [B], the emotion told by the picture's own vector or by the prototypes.

        A picture without an emotion shows its own vector. One die decides what is lost: the words, both, or the
        emotion, which leaves the base to itself.
        """
        c, die = self.config, batch.uniform("drop")
        captions, _ = choose_captions(batch, c.short, c.drop + c.drop_both)
        lost = (die >= c.drop) & (die < c.drop + c.drop_both + c.drop_emotion)
        own = (batch.uniform("own") < c.own) | ~batch["weights"].any(1)
        a = torch.where((own | lost)[:, None], 0, batch["weights"])
        like = torch.where((own & ~lost)[:, None], batch["vector"], 0)
        plain = self.base.encode_condition(captions, a, g=torch.ones_like(die))
        condition = self.condition(replace(plain, extra={"like": like}))
        loss = denoising_loss(self.base, batch, condition, c.gamma, c.offset)
        return loss + 0 * sum(p.sum() for p in self.trainable.values())  # a gradient for every rank, whatever was lost

    @contextmanager
    def attach(self, condition: Condition | None = None) -> Iterator[None]:
        """The layers' attention replaced, or left alone where no row asks for an emotion."""
        if condition is not None and not condition.extra[KEYS[1]].any():
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
    """The emotions' prototypes [8, D]: means of vectors [N, D] weighed by weights [N, 8], scaled to unit length.

    An emotion without a picture is zeros, which is no emotion at all.
    """
    return F.normalize(weights.clamp(min=0).T @ vectors, dim=1)


def split_heads(x: Tensor, heads: int) -> Tensor:
    """[B, N, heads * d] -> [B, heads, N, d]."""
    return x.unflatten(-1, (heads, -1)).transpose(1, 2)


def freeze_bias(layer: Any) -> Any:
    """The layer with its bias held at zero: it stays in the file, where diffusers wants it, and never learns."""
    bias = torch.zeros_like(layer.bias.data)
    del layer.bias
    layer.register_buffer("bias", bias)
    return layer

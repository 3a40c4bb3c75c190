"""LoRA with learned emotion vectors: one small adapter for all eight emotions.

Each emotion owns n input vectors of the text encoder, appended after the prompt's words (textual inversion, Gal et al.
2022, but no row of any matrix: typed text cannot reach them). Beside them one low-rank update W + B A of the UNet's
layers (Hu et al. 2021) learns to generate what the vectors ask for. Its scale is the sample's own gain
g = sum_i |a_i|.

PEFT's layers hold one scale a layer and rename the base's modules; here a forward hook adds g * B(A(x)), so one batch
mixes emotion scales and the base's modules stay as they are. Where nothing learns and all samples have one g the
update is folded into a copy of the weights instead, W + g B A, and the originals themselves are put back afterwards: to
subtract the update again would leave its rounding behind. The copy is most of a second UNet (1.5 GB of SD1.5 in half
precision), so where the device's memory is short the hooks stay. The file format is PEFT's.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar, final

import torch
from torch import Tensor, nn

from emoscene.core import seeds
from emoscene.core.config import option
from emoscene.core.errors import unknown_name
from emoscene.core.taxonomy import EMOTIONS
from emoscene.diffusion.device_choice import has_room
from emoscene.diffusion.families.base import TextEncoding
from emoscene.diffusion.model import Condition, DiffusionModel
from emoscene.diffusion.transfer import move_to_device
from emoscene.learning.learner import Batch
from emoscene.methods.base import ConditioningShare, Method, choose_captions, denoising_loss, interpolate_embeds

Layer = nn.Linear | nn.Conv2d


class LowRankPair(nn.Module):
    """One layer's update: W x + g B(A(x)), A of rank r (Hu et al. 2021, https://arxiv.org/abs/2106.09685, eq. 3).

    B starts at zero, so a new LoRA changes nothing. A starts uniform in +- 1 / sqrt(inputs), drawn by the layer's name.

    Args:
        layer: The layer of the base, whose shape the factors take.
        rank: r, at least 1.
        name: The layer's name in the UNet.
    """

    def __init__(self, layer: Layer, rank: int, name: str) -> None:
        super().__init__()
        if isinstance(layer, nn.Conv2d):
            into, out, size = layer.in_channels, layer.out_channels, layer.kernel_size
            self.lora_A: Layer = nn.Conv2d(into, rank, size, layer.stride, layer.padding, bias=False)  # type: ignore[arg-type]
            self.lora_B: Layer = nn.Conv2d(rank, out, 1, bias=False)
        else:
            self.lora_A = nn.Linear(layer.in_features, rank, bias=False)
            self.lora_B = nn.Linear(rank, layer.out_features, bias=False)
        a = self.lora_A.weight
        drawn = torch.rand(a.shape, generator=seeds.torch_generator(0, "lora", name)) * 2 - 1
        a.data = drawn / a[0].numel() ** 0.5
        nn.init.zeros_(self.lora_B.weight)

    def forward(self, x: Tensor) -> Tensor:
        """Compute B(A(x)).

        Args:
            x: The layer's input [B, ..., inputs], or [B, inputs, h, w] of a convolution.

        Returns:
            What the update adds to the layer's output, before the gain.
        """
        return self.lora_B(self.lora_A(x))

    def delta(self) -> Tensor:
        """Multiply the factors.

        Returns:
            B A, in the shape of the layer's weight.
        """
        a, b = self.lora_A.weight, self.lora_B.weight
        return (b.flatten(1) @ a.flatten(1)).view(b.shape[0], *a.shape[1:])


@final
class LoRA(Method):
    """A low-rank update of the UNet, and n learned vectors for each emotion."""

    columns = ("latent", "caption", "caption_long", "weights")
    files: ClassVar = {
        "adapter_model.safetensors": ("update.", "base_model.model."),
        "tokens.safetensors": ("tokens", "tokens"),
    }

    @dataclass(frozen=True)
    class Config(ConditioningShare):
        """What to adapt, and how it learns."""

        rank: int = option(16, "width of each layer's update", span=(1, 256, "log"))
        layers: str = option(
            "attention,feedforward,projections,convolutions", "which layers: any of these four, comma between"
        )
        vectors: int = option(4, "learned vectors an emotion", span=(1, 32))
        short_caption_prob: float = option(0.7, "share of the samples that train on the short caption", span=(0.0, 1.0))
        cond_drop_prob: float = option(0.1, "share of the samples that lose words and emotion", span=(0.0, 1.0))
        emotion_drop_prob: float = option(0.05, "share of the samples that lose the emotion alone", span=(0.0, 1.0))
        snr_gamma: float = option(5.0, "cap of the signal-to-noise ratio in the weight", span=(0.1, 1e3, "log"))
        noise_offset: float = option(
            0.0, "deviation of the noise's constant part, which frees an image's mean", span=(0.0, 1.0)
        )
        token_lr_multiplier: float = option(
            10.0, "learning rate of the vectors, as a multiple", span=(0.01, 100.0, "log")
        )

    config: Config

    def __init__(self, config: Config, base: DiffusionModel) -> None:
        super().__init__(config, base)
        pattern = layer_pattern(config.layers, base.family.adapter_layers)
        self.update = nn.Module()
        self.layers: list[tuple[Layer, LowRankPair]] = []
        for name, layer in base.unet.named_modules():
            if isinstance(layer, Layer) and pattern.search(name):
                pair = LowRankPair(layer, config.rank, name)
                insert_module(self.update, name, pair)
                self.layers.append((layer, pair))
        drawn = torch.randn(len(EMOTIONS), config.vectors, base.text_dim, generator=seeds.torch_generator(0, "tokens"))
        scales = []
        for table in base.token_tables:
            scales.append(torch.full((table.shape[1],), float(table.std())))
        self.tokens = nn.Parameter(drawn * torch.cat(scales))
        self.folded: tuple[float, list[Tensor]] = 0.0, []
        self.folds: bool | None = None  # whether there was room for that, once it was asked

    @property
    def num_tokens(self) -> int:
        """One position a vector."""
        return self.config.vectors

    def lr_multiplier(self, name: str) -> float:
        """The vectors learn faster than the update."""
        if name == "tokens":
            return self.config.token_lr_multiplier
        return 1.0

    def condition(self, plain: Condition) -> Condition:
        """Move the text towards the prompts with the asked emotions' vectors."""
        return interpolate_embeds(plain, self._encode_with_vectors)

    def _encode_with_vectors(self, prompts: list[str], emotions: Tensor) -> TextEncoding:
        return self.base.encode_prompt(prompts, self.tokens[move_to_device(emotions, self.tokens.device)])

    def compute_loss(self, batch: Batch) -> Tensor:
        """Compute the denoising loss [B]; a dropped emotion keeps its gain, as the negative half of guidance does."""
        captions, dropped = choose_captions(batch, self.config.short_caption_prob, self.config.cond_drop_prob)
        a: Tensor = batch.on_host["weights"]
        lost = dropped | (batch.on_host.uniform("emotion") < self.config.emotion_drop_prob)
        left = torch.where(lost[:, None], 0, a)
        plain = self.base.encode_condition(captions, left, g=a.abs().sum(1), is_null=True)
        loss = denoising_loss(self.base, batch, self.condition(plain), self.config.snr_gamma, self.config.noise_offset)
        return loss + 0 * self.tokens.sum()  # a gradient for every rank, whatever was dropped

    @contextmanager
    def attach(self, condition: Condition | None = None) -> Iterator[None]:
        """Fold the update into the weights where nothing learns and all gains are equal; else add it by hooks.

        Where memory is short it is never folded; where all gains are 0 the layers stay as they are.
        """
        gains: set[float] = set()
        if condition is not None and not self.tokens.requires_grad:
            gains = set(condition.emotion_gain.tolist())
        if gains == {0.0}:
            yield
            return
        if len(gains) == 1 and self._has_room():
            with self._fold_weights(gains.pop()):
                yield
            return
        with ExitStack() as stack:
            for layer, pair in self.layers:
                stack.callback(layer.register_forward_hook(self._make_hook(pair)).remove)
            yield

    def _make_hook(self, pair: LowRankPair) -> Any:
        def add(layer: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> Tensor:
            shown = self.base.current_condition
            if shown is None:
                return output
            gain = shown.gain_on_device.to(output.dtype).view(-1, *[1] * (output.ndim - 1))
            if pair.lora_A.weight.dtype == self.base.dtype:
                return output + gain * pair(args[0])
            with torch.autocast(output.device.type, self.base.dtype):
                return output + gain * pair(args[0])

        return add

    def _has_room(self) -> bool:
        """Whether there is room for a folded copy; where memory ran out since, it is given up."""
        if self.base.memory_is_short:
            self.folded = 0.0, []
            return False
        if self.folds is None:
            copy = sum(layer.weight.numel() * layer.weight.element_size() for layer, _ in self.layers)
            self.folds = has_room(self.base.device, copy)
        return self.folds

    @contextmanager
    def _fold_weights(self, gain: float) -> Iterator[None]:
        originals = [layer.weight.data for layer, _ in self.layers]
        if self.folded[0] != gain:
            self.folded = gain, []
            for weight, (_, pair) in zip(originals, self.layers, strict=True):
                self.folded[1].append(add_delta(weight.to(self.base.device), pair.delta(), gain))
        try:
            for (layer, _), folded in zip(self.layers, self.folded[1], strict=True):
                layer.weight.data = folded
            yield
        finally:
            for (layer, _), original in zip(self.layers, originals, strict=True):
                layer.weight.data = original

    def extra_files(self) -> dict[str, dict[str, Any]]:
        """Describe the update as PEFT's `adapter_config.json` does."""
        layers = []
        for name, module in self.update.named_modules():
            if isinstance(module, LowRankPair):
                layers.append(name)
        about = {
            "peft_type": "LORA",
            "r": self.config.rank,
            "lora_alpha": self.config.rank,
            "target_modules": sorted(layers),
            "base_model_name_or_path": self.base.spec.source,
            "bias": "none",
            "inference_mode": True,
        }
        return {"adapter_config.json": about}


def add_delta(weight: Tensor, delta: Tensor, gain: float) -> Tensor:
    """Add a scaled update to a weight, computed in the wider of the two precisions.

    Args:
        weight: A layer's weight, of any shape.
        delta: The update, of the same shape.
        gain: Its scale g.

    Returns:
        weight + gain delta, new, in the weight's precision and memory format.
    """
    return torch.add(weight, delta, alpha=gain, out=torch.empty_like(weight))


def layer_pattern(layers: str, known: Mapping[str, str]) -> re.Pattern[str]:
    """Make the pattern that the names of the layers to adapt match.

    Args:
        layers: Kinds of layers, comma between.
        known: The kinds that the base's family has, and the pattern of each.

    Returns:
        The pattern.

    Raises:
        UsageError: A word is no such kind.
    """
    patterns = []
    for word in layers.split(","):
        kind = word.strip()
        if kind not in known:
            raise unknown_name("layer", kind, known, hint="emoscene show lora")
        patterns.append(known[kind])
    return re.compile("|".join(patterns))


def insert_module(root: nn.Module, path: str, leaf: nn.Module) -> None:
    """Insert a module into a tree of bare modules, so that its parameters have the base's own names.

    Args:
        root: The tree, changed in place.
        path: The leaf's name in the tree, its parts joined by dots.
        leaf: The module.
    """
    *branches, last = path.split(".")
    for branch in branches:
        if not hasattr(root, branch):
            root.add_module(branch, nn.Module())
        root = root.get_submodule(branch)
    root.add_module(last, leaf)

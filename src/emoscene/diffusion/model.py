"""A frozen Stable Diffusion, reduced to the five things that a method needs of it.

How noise enters the latents, and what the UNet's prediction says of it, is `noise_process` (`diffusion.noise_process`).
Latents are scaled to unit variance; what the UNet is given of a prompt is settled by the base's family.

    encode_prompt    prompts -> `TextEncoding`, with learned vectors appended to the words where given
    encode_images    images [B, 3, H, W] in [-1, 1] -> latents [B, 4, H/8, W/8]
    decode_latents   latents -> images
    predict          (x_t, t, Condition) -> what the UNet was trained to predict
    predict_noise    (x_t, t, Condition) -> eps

The model is frozen and never registered as a submodule. While `predict_noise` runs, what a method attached (a LoRA)
reads the Condition in `current_condition`: so one batch can mix emotions and scales.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, fields
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from emoscene.core.taxonomy import EMOTIONS
from emoscene.diffusion import digests, loading
from emoscene.diffusion.architecture import Architecture
from emoscene.diffusion.base_spec import ModelSpec, find_spec, locate_weights
from emoscene.diffusion.families.base import Parts, TextEncoding, find_family
from emoscene.diffusion.noise_process import read_noise_process
from emoscene.diffusion.text_encoders import POSITIONS, token_table
from emoscene.diffusion.transfer import move_to_device

PARTS = ("text_encoder", "unet", "vae")
LENGTH = POSITIONS  # of CLIP's text encoder: start, 75 for words, end
CONTROL = re.compile(r"[\x00-\x1f\x7f]|<\|(?:start|end)oftext\|>")


@dataclass(frozen=True)
class Condition:
    """What the UNet attends to, for B samples.

    Attributes:
        base_embeds: The text embeddings E0 of the prompts alone [B, 77, D].
        prompt_embeds: The text embeddings that are used [B, 77, D].
        emotion_weights: emotion_scale x weights, a [B, 8]; zeros leave the base as it is. In main memory, as the gain
            is: they decide which work a GPU is asked for, and nobody waits for it to learn them.
        emotion_gain: How far attachments are switched on, g = sum_i |a_i| [B].
        prompts: The prompts, for methods that append to them.
        extra: Tensors [B, ...] that a method prepared for its own attachments.
        base_pooled: One vector of each prompt alone [B, P]; None for a UNet that reads none.
        pooled: The same of what is used [B, P].
    """

    base_embeds: Tensor
    prompt_embeds: Tensor
    emotion_weights: Tensor
    emotion_gain: Tensor
    prompts: tuple[str, ...] = ()
    extra: dict[str, Tensor] = field(default_factory=dict)
    base_pooled: Tensor | None = None
    pooled: Tensor | None = None

    def __len__(self) -> int:
        return len(self.prompt_embeds)

    @cached_property
    def gain_on_device(self) -> Tensor:
        """`g` where the text is, for attachments that compute with it [B]."""
        gain: Tensor = move_to_device(self.emotion_gain, self.prompt_embeds.device)
        return gain

    def concat(self, other: Condition) -> Condition:
        """Append the rows of another condition.

        Args:
            other: The other condition, with the same names in `extra`.

        Returns:
            The rows of both, this one's first.

        Raises:
            ValueError: The conditions have different names in `extra`.
        """
        if self.extra.keys() != other.extra.keys():
            raise ValueError(f"conditions laid out differently: {sorted(self.extra)} and {sorted(other.extra)}")
        extra = {}
        for name, value in self.extra.items():
            extra[name] = torch.cat([value, other.extra[name]])
        return Condition(
            base_embeds=torch.cat([self.base_embeds, other.base_embeds]),
            prompt_embeds=torch.cat([self.prompt_embeds, other.prompt_embeds]),
            emotion_weights=torch.cat([self.emotion_weights, other.emotion_weights]),
            emotion_gain=torch.cat([self.emotion_gain, other.emotion_gain]),
            prompts=self.prompts + other.prompts,
            extra=extra,
            base_pooled=_concat(self.base_pooled, other.base_pooled),
            pooled=_concat(self.pooled, other.pooled),
        )

    def select(self, index: slice) -> Condition:
        """Select some of the rows.

        Args:
            index: Which rows.

        Returns:
            Their condition.
        """
        values = {}
        for f in fields(self):
            value = getattr(self, f.name)
            if f.name != "extra" and value is not None:
                values[f.name] = value[index]
        return Condition(**values, extra={name: value[index] for name, value in self.extra.items()})


def _concat(one: Tensor | None, other: Tensor | None) -> Tensor | None:
    """The rows of both, where there are any."""
    if one is None or other is None:
        return None
    return torch.cat([one, other])


class DiffusionModel:
    """The frozen base: `DiffusionModel.load("mini")`.

    Args:
        folder: The folder or the single file of the weights.
        name: What the user called the base.
        chosen: Its specification.
        device: Where it computes.
        dtype: In what precision.
        used: Its parts that go to the device at once, of `PARTS`; each other one does when it is first used.

    Raises:
        UsageError: It is of no family that is read here.
        EmosceneError: Files are damaged, or weights are not finite in this precision.
    """

    def __init__(
        self,
        folder: Path,
        name: str,
        chosen: ModelSpec,
        device: torch.device | str,
        dtype: torch.dtype,
        used: Collection[str] = PARTS,
    ) -> None:
        self.folder, self.name, self.spec = folder, name, chosen
        self.device, self.dtype = torch.device(device), dtype
        self.family = find_family(folder)
        parts = loading.load_parts(folder, dtype)
        self.tokenizer, self.padding = parts.tokenizer, parts.padding
        self.text_encoder, self.unet, self.vae = parts.text_encoder, parts.unet, parts.vae
        self.scheduler_config = parts.scheduler
        remedy = "fetch it again"
        if dtype != torch.float32:
            remedy = "give --dtype float32, or fetch it again"
        self.left = {*PARTS}  # the parts that are not on the device yet
        self.fetch(*used)
        for part in PARTS:
            model = getattr(self, part).requires_grad_(False).eval()
            loading.check_finite(model.state_dict(), folder, remedy)
        self.noise_process = read_noise_process(self.scheduler_config, folder).to(self.device)
        self.current_condition: Condition | None = None
        self.loras: tuple[str, ...] = ()  # those it has loaded: `loras.apply_loras`
        self.memory_is_short = False  # whether methods must keep no copies of weights: `device.OutOfMemoryFallback`

    @classmethod
    def load(
        cls,
        base: str = "mini",
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
        used: Collection[str] = PARTS,
    ) -> DiffusionModel:
        """Load a base.

        Args:
            base: A name, a folder, a file, or a hub id.
            device: Where it computes.
            dtype: In what precision.
            used: Its parts that go to the device at once, of `PARTS`; each other one does when it is first used.

        Returns:
            The base.

        Raises:
            UsageError: The name is not known.
            EmosceneError: Files are damaged, or a hub is needed and cannot be reached.

        Example:
            >>> model = DiffusionModel.load("mini")
            >>> condition = model.encode_condition(["a village by a lake"])
            >>> model.predict_noise(torch.randn(1, 4, 16, 16), torch.tensor(500), condition).shape
            torch.Size([1, 4, 16, 16])
        """
        place = locate_weights(find_spec(base))
        spec = find_spec(base)  # asked again: what came from the hub is known by now
        return cls(place, base, spec, device, dtype, used)

    def fetch(self, *parts: str) -> None:
        """Bring parts to the device, if they are not there yet.

        Args:
            parts: Which ones, of `PARTS`.
        """
        for part in self.left.intersection(parts):
            getattr(self, part).to(self.device)
            self.left.remove(part)

    @cached_property
    def fingerprint(self) -> str:
        """A digest of what an adapter leans on, UNet and text encoder; it remembers which it was trained with."""
        return digests.compute_fingerprint(self.folder, self.unet, self.family.text_models(self.parts))

    @cached_property
    def vae_fingerprint(self) -> str:
        """A digest of what latents depend on, the autoencoder's encoding half: prepared ones remember it."""
        return digests.compute_vae_fingerprint(self.folder, self.vae)

    @property
    def parts(self) -> Parts:
        """What it is made of, as it is now: a LoRA may have taken the place of a part."""
        return Parts(self.tokenizer, self.text_encoder, self.unet, self.vae, self.scheduler_config, self.padding)

    @property
    def architecture(self) -> Architecture:
        """Its family and shapes; an adapter remembers which it was trained on."""
        return Architecture(self.family.name, tuple(self.unet.config.block_out_channels), self.text_dim)

    @cached_property
    def shapes(self) -> str:
        """A digest of the shapes of UNet and text encoder: an adapter fits every checkpoint that has the same."""
        return digests.compute_shapes(self.unet, self.text_encoder)

    def matches(self, recorded: str) -> bool:
        """Tell whether a recorded fingerprint is this base's.

        Args:
            recorded: The fingerprint, in today's form or in version 0.1's.

        Returns:
            Whether it is.
        """
        if digests.is_old_form(recorded):
            return recorded == self._old_fingerprint
        return recorded == self.fingerprint

    @cached_property
    def _old_fingerprint(self) -> str:
        return loading.fingerprint(self.folder)

    @property
    def vae_scale_factor(self) -> int:
        """Pixels a latent covers, along a side."""
        return int(2 ** (len(self.vae.config.block_out_channels) - 1))

    @property
    def size_multiple(self) -> int:
        """What the sides of an image must be multiples of, in pixels."""
        return int(self.vae_scale_factor * 2 ** (len(self.unet.config.block_out_channels) - 1))

    @property
    def token_tables(self) -> list[Tensor]:
        """The input vectors of each text encoder, one a token [vocabulary, D]."""
        encoders = self.family.text_models(self.parts).values()
        return [token_table(encoder).weight for encoder in encoders]

    @property
    def text_dim(self) -> int:
        """Numbers in a text vector, those of all text encoders together."""
        return sum(table.shape[1] for table in self.token_tables)

    @property
    def default_size(self) -> int:
        """The side, in pixels, of the images it was trained on."""
        return int(self.unet.config.sample_size) * self.vae_scale_factor

    def auxiliary_model(self, kind: str) -> str:
        """Find a model that belongs to the base.

        Args:
            kind: `captioner` or `emotion_clip`.

        Returns:
            A folder or a hub id; empty where there is none.
        """
        place: str = getattr(self.spec, kind)
        return place

    def tokenize(self, prompt: str, max_tokens: int = LENGTH - 2) -> list[int]:
        """Convert a prompt to tokens; control characters and CLIP's special tokens are removed.

        Args:
            prompt: The prompt, of which the first 2000 characters count.
            max_tokens: The largest number of tokens.

        Returns:
            The tokens, without start and end.
        """
        clean = CONTROL.sub(" ", prompt)[:2000]
        return list(self.tokenizer(clean, add_special_tokens=False, verbose=False)["input_ids"])[:max_tokens]

    def encode_prompt(
        self, prompts: Sequence[str], suffix: Tensor | None = None, endings: Sequence[str] = (), is_null: bool = False
    ) -> TextEncoding:
        """Encode prompts. Where there is not enough room, the prompt is cut and never what is appended to it.

        Args:
            prompts: The prompts [B].
            suffix: Learned token embeddings [B, n, D] to append to each prompt.
            endings: Words to append to each prompt [B]; none if left out.
            is_null: Whether an empty prompt stands for no condition at all, as in the negative half of guidance.

        Returns:
            What the UNet is given of them, as the base's family has it.
        """
        n = 0
        if suffix is not None:
            n = suffix.shape[1]
        tails = [self.tokenize(ending) for ending in endings] or [[]] * len(prompts)
        words = []
        for prompt, tail in zip(prompts, tails, strict=True):
            words.append(self.tokenize(prompt, LENGTH - 2 - n - len(tail)) + tail)
        self.fetch("text_encoder")
        return self.family.encode_prompt(self.parts, words, self.device, suffix, is_null)

    def encode_condition(
        self, prompts: Sequence[str], a: Tensor | None = None, g: Tensor | None = None, is_null: bool = False
    ) -> Condition:
        """Encode prompts as the condition of the base alone.

        Args:
            prompts: The prompts [B].
            a: emotion_scale x weights, in main memory [B, 8]; zeros if left out.
            g: The gain of attachments, in main memory [B]; the sum of |a| if left out.
            is_null: Whether an empty prompt stands for no condition at all, as `encode_prompt` takes it.

        Returns:
            The condition, which a method may change.
        """
        text = self.encode_prompt(prompts, is_null=is_null)
        if a is None:
            a = torch.zeros(len(prompts), len(EMOTIONS))
        if g is None:
            g = a.abs().sum(1)
        return Condition(
            text.embeds, text.embeds, a.cpu(), g.cpu(), tuple(prompts), base_pooled=text.pooled, pooled=text.pooled
        )

    @torch.no_grad()
    def encode_images(self, images: Tensor) -> Tensor:
        """Encode images as latents.

        Args:
            images: Images [B, 3, H, W] in [-1, 1]; H and W are multiples of `vae_scale_factor`.

        Returns:
            The mean of the posterior, scaled to unit variance [B, 4, H/8, W/8].
        """
        self.fetch("vae")
        posterior = self.vae.encode(images.to(self.device, self.vae.dtype)).latent_dist
        return posterior.mode() * self.vae.config.scaling_factor

    @torch.no_grad()
    def decode_latents(self, latents: Tensor) -> Tensor:
        """Decode latents to images.

        Args:
            latents: Latents [B, 4, h, w], scaled to unit variance.

        Returns:
            Images [B, 3, 8 h, 8 w], about in [-1, 1], not clipped.
        """
        self.fetch("vae")
        return self.vae.decode(latents.to(self.vae.dtype) / self.vae.config.scaling_factor).sample

    @torch.no_grad()
    def decode_in_float32(self, latents: Tensor) -> Tensor:
        """Decode latents in single precision, where decoding overflows in half; the weights are restored afterwards.

        Args:
            latents: Latents [B, 4, h, w], scaled to unit variance.

        Returns:
            Images [B, 3, 8 h, 8 w], about in [-1, 1], not clipped.
        """
        self.fetch("vae")
        before = self.vae.dtype
        self.vae.to(torch.float32)
        try:
            decoded: Tensor = self.vae.decode(latents.float() / self.vae.config.scaling_factor).sample
        finally:
            self.vae.to(before)
        return decoded

    def predict(self, x_t: Tensor, t: Tensor, condition: Condition) -> Tensor:
        """Predict what the UNet was trained to predict of noisy latents; `noise_process` reads it.

        Args:
            x_t: Noisy latents [B, 4, h, w].
            t: Timesteps [] or [B], from 0 to T - 1; fractions are allowed.
            condition: What the UNet attends to, B rows.

        Returns:
            The prediction [B, 4, h, w].
        """
        self.fetch("unet")
        height, width = (int(side) * self.vae_scale_factor for side in x_t.shape[-2:])
        more = self.family.unet_arguments(condition.pooled, height, width)
        self.current_condition = condition
        try:
            output: Tensor = self.unet(x_t.to(self.dtype), t, condition.prompt_embeds.to(self.dtype), **more).sample
        finally:
            self.current_condition = None
        return output

    def predict_noise(self, x_t: Tensor, t: Tensor, condition: Condition) -> Tensor:
        """Predict the noise in noisy latents, whatever the UNet was trained to predict.

        Args:
            x_t: Noisy latents [B, 4, h, w].
            t: Timesteps [] or [B], from 0 to T - 1; fractions are allowed.
            condition: What the UNet attends to, B rows.

        Returns:
            The estimate of eps [B, 4, h, w].
        """
        return self.noise_process.to_eps(self.predict(x_t, t, condition), x_t, t)

    def enable_gradient_checkpointing(self) -> None:
        """Keep no activations between the UNet's blocks from now on; compute them again in the backward pass.

        Attachments then read the condition of the forward pass again.
        """

        def sparing(block: Any, *given: Any) -> Any:
            shown = self.current_condition

            def again(*inputs: Any) -> Any:
                before, self.current_condition = self.current_condition, shown
                try:
                    return block(*inputs)
                finally:
                    self.current_condition = before

            return checkpoint(again, *given, use_reentrant=False)

        self.unet.enable_gradient_checkpointing(sparing)

"""A frozen Stable Diffusion, reduced to the five things that a method needs of it.

The forward process is DDPM's (Ho et al. 2020): x_t = sqrt(alphabar_t) x_0 + sqrt(1 - alphabar_t) eps. The UNet answers
with its estimate of eps, whatever it was trained to predict; latents are scaled to unit variance; text is the last
hidden state of the CLIP text encoder, 77 positions, after its final norm.

    embed    prompts -> text [B, 77, D], with learned vectors appended to the words where given
    encode   pictures [B, 3, H, W] in [-1, 1] -> latents [B, 4, H/8, W/8]
    decode   latents -> pictures
    predict  (x_t, t, Condition) -> eps
    add_noise, x_0 and eps -> x_t

The backbone is nobody's submodule and never trains. What a method attaches to it (a LoRA, say) reads, while `predict`
runs, the Condition in `shown`: that is how one batch mixes emotions and strengths.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from diffusers import DDPMScheduler
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from emoscene import compatibility, digests, loading
from emoscene.basespec import Spec, located, spec
from emoscene.emotions import EMOTIONS
from emoscene.errors import Usage

PREDICTIONS = ("epsilon", "v_prediction", "sample")
LENGTH = 77  # positions of CLIP's text encoder: start, 75 for words, end
CONTROL = re.compile(r"[\x00-\x1f\x7f]|<\|(?:start|end)oftext\|>")


@dataclass(frozen=True)
class Condition:
    """What the UNet attends to, a row a sample.

    e0: text of the prompt alone [B, 77, D]; text: the text used [B, 77, D]; a: the emotion, strength x weights [B, 8];
    g: how far attachments are switched on [B], the sum of |a|; extra: what a method laid out for its own attachments,
    tensors [B, ...]; prompts: the words, for methods that add to them.
    """

    e0: Tensor
    text: Tensor
    a: Tensor
    g: Tensor
    prompts: tuple[str, ...] = ()
    extra: dict[str, Tensor] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.text)

    @cached_property
    def gains(self) -> tuple[float, ...]:
        """`g` as numbers; a device is waited for once."""
        return tuple(self.g.tolist())

    def cat(self, other: Condition) -> Condition:
        """The rows of both, self's first."""
        if self.extra.keys() != other.extra.keys():
            raise ValueError(f"conditions laid out differently: {sorted(self.extra)} and {sorted(other.extra)}")
        extra = {name: torch.cat([value, other.extra[name]]) for name, value in self.extra.items()}
        pairs = ((self.e0, other.e0), (self.text, other.text), (self.a, other.a), (self.g, other.g))
        e0, text, a, g = (torch.cat(pair) for pair in pairs)
        return Condition(e0, text, a, g, self.prompts + other.prompts, extra)

    def rows(self, index: slice) -> Condition:
        """Some of the rows."""
        values = {f.name: getattr(self, f.name)[index] for f in fields(self) if f.name != "extra"}
        return Condition(**values, extra={name: value[index] for name, value in self.extra.items()})


def forward_process(config: Mapping[str, Any], place: Path) -> tuple[str, Tensor]:
    """What the UNet was trained to predict, and alphabar of all timesteps [T], by the config of a scheduler.

    The schedule of Stable Diffusion is computed in double precision, any other as diffusers does it. Raises Usage for
    what can be no estimate of eps.
    """
    kind = config.get("prediction_type", "epsilon")
    if kind not in PREDICTIONS:
        raise Usage(f"{place} predicts {kind!r}, and a base predicts {', '.join(PREDICTIONS)}: give another base")
    compatibility.check_schedule(config, place)
    if config.get("rescale_betas_zero_snr"):
        raise Usage(f"{place} begins at noise without any picture (rescale_betas_zero_snr): give another base")
    if config.get("trained_betas") is not None or config.get("beta_schedule", "linear") != "scaled_linear":
        given = {key: value for key, value in config.items() if not key.startswith("_")}
        return kind, DDPMScheduler.from_config(given).alphas_cumprod
    first, last, total = (config[key] for key in ("beta_start", "beta_end", "num_train_timesteps"))
    betas = torch.linspace(first**0.5, last**0.5, total, dtype=torch.float64) ** 2
    return kind, torch.cumprod(1 - betas, 0).float()


class Backbone:
    """The frozen base. `Backbone.load("mini")` is how to get one."""

    def __init__(self, folder: Path, name: str, chosen: Spec, device: torch.device | str, dtype: torch.dtype) -> None:
        self.folder, self.name, self.spec = folder, name, chosen
        self.device, self.dtype = torch.device(device), dtype
        self.tokenizer, self.text_encoder, self.unet, self.vae, self.scheduler_config = loading.parts(folder, dtype)
        remedy = "fetch it again" if dtype == torch.float32 else "give --dtype float32, or fetch it again"
        for model in (self.text_encoder, self.unet, self.vae):
            model.requires_grad_(False).eval().to(self.device)
            loading.check_finite(model.state_dict(), folder, remedy)
        self.prediction, alphas_cumprod = forward_process(self.scheduler_config, folder)
        self.alphas_cumprod = alphas_cumprod.to(self.device)
        self.shown: Condition | None = None
        self.loras: tuple[str, ...] = ()  # those it wears: `loras.put_on`

    @classmethod
    def load(
        cls, base: str = "mini", device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32
    ) -> Backbone:
        """The base by name, folder or hub id.

        Raises Usage for a name nobody knows; Failure for damaged files, or where a hub is needed and not reached.
        """
        place = located(spec(base))
        return cls(place, base, spec(base), device, dtype)  # asked again: what came from the hub is known by now

    @cached_property
    def fingerprint(self) -> str:
        """A digest of what an adapter leans on, UNet and text encoder; it remembers which it was trained with."""
        return digests.compute_fingerprint(self.folder, self.unet, self.text_encoder)

    @cached_property
    def vae_fingerprint(self) -> str:
        """A digest of what latents depend on, the autoencoder's encoding half: prepared ones remember it."""
        return digests.compute_vae_fingerprint(self.folder, self.vae)

    @cached_property
    def shapes(self) -> str:
        """A digest of the shapes of UNet and text encoder: an adapter fits every checkpoint that has the same."""
        return digests.compute_shapes(self.unet, self.text_encoder)

    def matches(self, recorded: str) -> bool:
        """Tell whether a recorded fingerprint is this base's, in today's form or in version 0.1's."""
        return recorded == (self._old_fingerprint if digests.is_old_form(recorded) else self.fingerprint)

    @cached_property
    def _old_fingerprint(self) -> str:
        return loading.fingerprint(self.folder)

    @property
    def factor(self) -> int:
        """Pixels a latent covers, along a side."""
        return int(2 ** (len(self.vae.config.block_out_channels) - 1))

    @property
    def unit(self) -> int:
        """What the sides of a picture must be multiples of, in pixels."""
        return int(self.factor * 2 ** (len(self.unet.config.block_out_channels) - 1))

    @property
    def width(self) -> int:
        """Numbers in a text vector."""
        return int(self.text_encoder.config.hidden_size)

    @property
    def size(self) -> int:
        """The side, in pixels, of the pictures it was trained on."""
        return int(self.unet.config.sample_size) * self.factor

    def companion(self, kind: str) -> str:
        """Where its `captioner` or `emotion_clip` is: a folder of this package's or anybody's, a hub id, or nothing."""
        place: str = getattr(self.spec, kind)
        inside = Path(__file__).parent / place
        return str(inside) if place and inside.is_dir() else place

    def ids(self, prompt: str, room: int = LENGTH - 2) -> list[int]:
        """The tokens of a prompt's words, at most `room` of them; control characters and CLIP's marks are dropped."""
        clean = CONTROL.sub(" ", prompt)[:2000]
        return list(self.tokenizer(clean, add_special_tokens=False, verbose=False)["input_ids"])[:room]

    def embed(self, prompts: Sequence[str], suffix: Tensor | None = None, endings: Sequence[str] = ()) -> Tensor:
        """Prompts -> text [B, 77, D]; `endings` (words, one a prompt) or `suffix` (vectors [B, n, D]) is appended.

        It is the prompt that is cut where there is no room for all, never what is appended.
        """
        n = 0 if suffix is None else suffix.shape[1]
        start, end = self.tokenizer.bos_token_id, self.tokenizer.eos_token_id
        tails = [self.ids(ending) for ending in endings] or [[]] * len(prompts)
        pairs = zip(prompts, tails, strict=True)
        words = [self.ids(prompt, LENGTH - 2 - n - len(tail)) + tail for prompt, tail in pairs]
        padding = self.tokenizer.pad_token_id
        ids = [[start, *w, *[end] * (n + 1)] + [padding] * (LENGTH - 2 - n - len(w)) for w in words]
        tokens = torch.tensor(ids, device=self.device)
        if suffix is None:
            return self.text_encoder(tokens).last_hidden_state
        at = torch.tensor([1 + len(w) for w in words], device=self.device)[:, None] + torch.arange(
            n, device=self.device
        )
        rows = torch.arange(len(words), device=self.device)[:, None]

        def place(module: torch.nn.Module, args: Any, output: Tensor) -> Tensor:
            return output.index_put((rows, at), suffix.to(output.dtype))

        hook = self.text_encoder.get_input_embeddings().register_forward_hook(place)
        try:
            return self.text_encoder(tokens).last_hidden_state
        finally:
            hook.remove()

    def plain(self, prompts: Sequence[str], a: Tensor | None = None, g: Tensor | None = None) -> Condition:
        """The Condition of the words alone; `a` [B, 8] and `g` [B] say what methods shall make of it."""
        e0 = self.embed(prompts)
        a = torch.zeros(len(e0), len(EMOTIONS), device=self.device) if a is None else a.to(self.device)
        return Condition(e0, e0, a, a.abs().sum(1) if g is None else g, tuple(prompts))

    @torch.no_grad()
    def encode(self, images: Tensor) -> Tensor:
        """Pictures [B, 3, H, W] in [-1, 1] -> the posterior's mean, scaled to unit variance [B, 4, H/8, W/8]."""
        posterior = self.vae.encode(images.to(self.device, self.vae.dtype)).latent_dist
        return posterior.mode() * self.vae.config.scaling_factor

    @torch.no_grad()
    def decode(self, latents: Tensor) -> Tensor:
        """Latents -> pictures [B, 3, H, W], about [-1, 1], not clipped."""
        return self.vae.decode(latents.to(self.vae.dtype) / self.vae.config.scaling_factor).sample

    @torch.no_grad()
    def decode_in_float32(self, latents: Tensor) -> Tensor:
        """The same in single precision, for latents whose decoding overflows in half; the weights stay as they are."""
        self.vae.to(torch.float32)
        try:
            decoded: Tensor = self.vae.decode(latents.float() / self.vae.config.scaling_factor).sample
        finally:
            self.vae.to(self.dtype)
        return decoded

    def predict(self, x_t: Tensor, t: Tensor, condition: Condition) -> Tensor:
        """The noise in x_t [B, 4, h, w] at timesteps t ([] or [B], fractions allowed), as the UNet sees it."""
        self.shown = condition
        try:
            output = self.unet(x_t.to(self.dtype), t, condition.text.to(self.dtype)).sample
        finally:
            self.shown = None
        return output if self.prediction == "epsilon" else self._epsilon(output, x_t, t)

    def spare(self) -> None:
        """From now on the UNet keeps no activations between its blocks and computes them again in the backward pass.

        Then, too, attachments read the Condition that was shown in the forward one.
        """

        def sparing(block: Any, *given: Any) -> Any:
            shown = self.shown

            def again(*inputs: Any) -> Any:
                before, self.shown = self.shown, shown
                try:
                    return block(*inputs)
                finally:
                    self.shown = before

            return checkpoint(again, *given, use_reentrant=False)

        self.unet.enable_gradient_checkpointing(sparing)

    def _epsilon(self, output: Tensor, x_t: Tensor, t: Tensor) -> Tensor:
        """eps from v (Salimans & Ho 2022), sqrt(alphabar) v + sqrt(1 - alphabar) x_t, or from x_0 (`sample`)."""
        alphabar = self.alphabar(t).to(output.dtype)
        if self.prediction == "sample":
            return (x_t - alphabar.sqrt() * output) / (1 - alphabar).sqrt()
        return alphabar.sqrt() * output + (1 - alphabar).sqrt() * x_t

    def alphabar(self, t: Tensor) -> Tensor:
        """alphabar at timesteps [] or [B], shaped to multiply latents; between whole steps log-linear."""
        t = torch.as_tensor(t, device=self.device).reshape(-1).float().clamp(0, len(self.alphas_cumprod) - 1)
        low, high = t.floor().long(), t.ceil().long()
        logs = self.alphas_cumprod.log()
        return torch.lerp(logs[low], logs[high], t - low).exp().view(-1, 1, 1, 1)

    def add_noise(self, x_0: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        """x_0 after t steps of the forward process, with this noise."""
        alphabar = self.alphabar(t)
        return alphabar.sqrt() * x_0 + (1 - alphabar).sqrt() * noise

"""Stable Diffusion 2: OpenCLIP's text encoder, 1,024 numbers wide, and a UNet that predicts v or eps.

OpenCLIP was trained so that its last layer but one is to be read. diffusers' folders have left the last layer out, and
a single file (`cond_stage_model.model.`) loses it when it is read, so here too it is the last hidden state after the
final norm. A folder says what its UNet predicts. A single file rarely does: v-prediction at 768 pixels and eps at 512
have the same names and shapes. Marks count first; else it is told as ComfyUI tells it, by the deviation of one bias
that training on v leaves larger.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, final

import torch
from safetensors import safe_open
from torch import Tensor

from emoscene.core import registry
from emoscene.diffusion import compatibility
from emoscene.diffusion.architecture import FIRST, UNET, read_config, read_header
from emoscene.diffusion.clip_family import (
    OTHER_PARTS,
    SCHEDULER,
    ClipFamily,
    encode_last_state,
    has_linear_projections,
)
from emoscene.diffusion.compatibility import Layout
from emoscene.diffusion.families.base import ExportNames, Parts, TextEncoding

TEXT = "cond_stage_model.model."
TELLING = f"{UNET}output_blocks.11.1.transformer_blocks.0.norm1.bias"
"""The bias whose deviation tells what the UNet predicts."""
DEVIATION = 0.09
"""Above which it predicts v."""
LATENTS_OF_EPS = 64
"""The side of the latents of the checkpoints that predict eps: 512 pixels."""


@final
class SD2(ClipFamily):
    """Stable Diffusion 2 and 2.1 and their fine-tuned copies, in a folder or in a single file."""

    name = "sd2"
    label = "Stable Diffusion 2"
    export_names = ExportNames(
        {"unet": "lora_unet", "text_encoder": "lora_te"}, "sd_v2", "stable-diffusion-v2-768-v", "SD2"
    )
    configs = registry.HOME / "diffusion/bases/sd21"
    clip_padding = 0  # "!", which OpenCLIP pads with
    layout: ClassVar = Layout(
        label,
        {
            "UNet": (FIRST["UNet"],),
            "autoencoder": (FIRST["autoencoder"],),
            "text encoder": (f"{TEXT}token_embedding.weight",),
        },
        {"text_encoder": TEXT},
    )

    def recognizes(self, place: Path) -> bool:
        """By OpenCLIP's names in a file, by the UNet's linear projections and the parts in a folder."""
        if place.is_file():
            return self.recognizes_file(place)
        others = [name for name in OTHER_PARTS if (place / name).is_dir()]
        return (place / "unet").is_dir() and not others and has_linear_projections(place)

    def encode_prompt(
        self,
        parts: Parts,
        tokens: Sequence[Sequence[int]],
        device: torch.device,
        suffix: Tensor | None = None,
        is_null: bool = False,
    ) -> TextEncoding:
        """The hidden state of the last layer that is left, after the final norm [B, 77, D]."""
        return encode_last_state(parts, tokens, device, suffix)

    def load_parts(self, place: Path, dtype: torch.dtype) -> Parts:
        """As all Stable Diffusions; a single file that predicts eps was trained on 512 pixels."""
        parts = super().load_parts(place, dtype)
        is_usual = parts.unet.config.sample_size == read_config(self.configs / "unet/config.json")["sample_size"]
        if place.is_file() and is_usual and parts.scheduler["prediction_type"] == "epsilon":
            parts.unet.register_to_config(sample_size=LATENTS_OF_EPS)
        return parts

    def read_schedule(self, file: Path, configs: Path) -> dict[str, Any]:
        """By the marks of the file, or else by the deviation of one bias."""
        marks = compatibility.read_prediction(file, read_header(file))
        if "prediction_type" not in marks and not compatibility.says_prediction(read_header(file)):
            marks["prediction_type"] = _tell_prediction(file)
        return {"prediction_type": "epsilon", **read_config(configs / SCHEDULER), **marks}


def _tell_prediction(file: Path) -> str:
    """What a UNet predicts, by its weights; eps where it lacks the one that tells."""
    if TELLING not in read_header(file).tensors:
        return "epsilon"
    with safe_open(str(file), "pt") as opened:
        bias: Tensor = opened.get_tensor(TELLING).float()
    if float(bias.std(unbiased=False)) > DEVIATION:
        return "v_prediction"
    return "epsilon"

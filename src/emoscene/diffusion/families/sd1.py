"""Stable Diffusion 1 (Rombach et al. 2022): one CLIP text encoder, a UNet and an autoencoder of four latent channels.

The UNet attends to the last hidden state of OpenAI's CLIP after its final norm. A single file has the text encoder
under `cond_stage_model.transformer.`. Other widths are read as well (the miniature). How folders and files are read is
the same for all Stable Diffusions: `diffusion.clip_family`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, final

import torch
from torch import Tensor

from emoscene.core import registry
from emoscene.diffusion.architecture import FIRST, FLAT_TEXT, TEXT
from emoscene.diffusion.clip_family import OTHER_PARTS, ClipFamily, encode_last_state, has_linear_projections
from emoscene.diffusion.compatibility import Layout
from emoscene.diffusion.families.base import ExportNames, Parts, TextEncoding

CONFIGS = registry.HOME / "diffusion/bases/sd15"
PIPELINE = {
    "_class_name": "StableDiffusionPipeline",
    "feature_extractor": [None, None],
    "requires_safety_checker": False,
    "safety_checker": [None, None],
    "scheduler": ["diffusers", "PNDMScheduler"],
    "text_encoder": ["transformers", "CLIPTextModel"],
    "tokenizer": ["transformers", "CLIPTokenizer"],
    "unet": ["diffusers", "UNet2DConditionModel"],
    "vae": ["diffusers", "AutoencoderKL"],
}
"""`model_index.json` of a folder that plain diffusers loads."""


@final
class SD1(ClipFamily):
    """Stable Diffusion 1 and its fine-tuned copies, in a folder or in a single file."""

    name = "sd1"
    label = "Stable Diffusion 1"
    export_names = ExportNames({"unet": "lora_unet", "text_encoder": "lora_te"}, "sd_v1", "stable-diffusion-v1", "SD1")
    configs = CONFIGS
    layout: ClassVar = Layout(
        label,
        {
            "UNet": (FIRST["UNet"],),
            "autoencoder": (FIRST["autoencoder"],),
            "text encoder": (FIRST["text encoder"], FLAT_TEXT),
        },
        {"text_encoder": TEXT},
    )

    def recognizes(self, place: Path) -> bool:
        """By the UNet's and the text encoder's first tensors in a file, by the parts in a folder."""
        if place.is_file():
            return self.recognizes_file(place)
        others = [name for name in OTHER_PARTS if (place / name).is_dir()]
        return (place / "unet").is_dir() and not others and not has_linear_projections(place)

    def encode_prompt(
        self,
        parts: Parts,
        tokens: Sequence[Sequence[int]],
        device: torch.device,
        suffix: Tensor | None = None,
        is_null: bool = False,
    ) -> TextEncoding:
        """CLIP's last hidden state after its final norm [B, 77, D]; an empty prompt is encoded as it is."""
        return encode_last_state(parts, tokens, device, suffix)

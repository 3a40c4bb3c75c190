"""Stable Diffusion XL (Podell et al. 2023, https://arxiv.org/abs/2307.01952): two text encoders, and a size.

The UNet attends to the last layer but one of OpenAI's CLIP (768 numbers) and of OpenCLIP (1,280), side by side and
without a final norm. It also reads the second encoder's vector of the whole prompt, projected from the end of its
words, and six numbers: the height and width of the original image, where it was cropped, and the height and width of
the result. Here an image is never cropped, so they are (H, W, 0, 0, H, W) of what is generated or trained on.

A learned vector has a part for each encoder, side by side: 2,048 numbers, which files of other programs keep apart as
`clip_l` and `clip_g`. The null condition is zeros where `model_index.json` says so, as diffusers and A1111 have it.
The autoencoder overflows in float16: there it is kept in float32, unless its config says that it was mended
(`force_upcast`). The refiner is not needed and not read.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, final

import torch
from torch import Tensor, nn
from transformers import CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

from emoscene.core import registry
from emoscene.core.errors import UsageError
from emoscene.diffusion.architecture import FIRST, INDEX, read_config
from emoscene.diffusion.clip_family import ClipFamily
from emoscene.diffusion.compatibility import Layout
from emoscene.diffusion.families.base import ExportNames, Parts, TextEncoding
from emoscene.diffusion.loading import load_part
from emoscene.diffusion.text_encoders import TextEncoders, lay_out_ids, token_table
from emoscene.diffusion.transfer import move_to_device

TEXT, SECOND_TEXT = "conditioner.embedders.0.transformer.", "conditioner.embedders.1.model."
TABLE = "embeddings.token_embedding.weight"
BLOCK = re.compile(
    r"(?P<way>down_blocks|mid_block|up_blocks)(\.(?P<level>\d+))?\.(?P<kind>resnets|attentions)\.(?P<place>\d+)\."
)
RESNET = {"conv1": "in_layers.2", "conv2": "out_layers.3"}
"""The convolutions of a block in diffusers, and in the original code."""
SECOND_PADDING = 0
"""The id of "!", with which the second encoder pads."""


@final
class SDXL(ClipFamily):
    """Stable Diffusion XL and its fine-tuned copies, in a folder or in a single file."""

    name = "sdxl"
    label = "Stable Diffusion XL"
    text_classes: ClassVar = {"text_encoder": CLIPTextModel, "text_encoder_2": CLIPTextModelWithProjection}
    export_names = ExportNames(
        {"unet": "lora_unet", "text_encoder": "lora_te1", "text_encoder_2": "lora_te2"},
        "sdxl_base_v1-0",
        "stable-diffusion-xl-v1-base",
        "SDXL",
        "StableDiffusionXLPipeline",
        ("clip_l", "clip_g"),
    )
    configs = registry.HOME / "diffusion/bases/sdxl"
    layout: ClassVar = Layout(
        label,
        {
            "UNet": (FIRST["UNet"],),
            "autoencoder": (FIRST["autoencoder"],),
            "text encoder": (f"{TEXT}text_model.{TABLE}", f"{TEXT}{TABLE}"),
            "second text encoder": (f"{SECOND_TEXT}token_embedding.weight",),
        },
        {"text_encoder": TEXT, "text_encoder_2": SECOND_TEXT},
        {"addition_embed_type": "text_time"},
        "give a whole Stable Diffusion XL, not its refiner, with --base",
    )

    def recognizes(self, place: Path) -> bool:
        """By the names of both text encoders in a file, by the parts in a folder."""
        if place.is_file():
            return self.recognizes_file(place)
        return all((place / part).is_dir() for part in ("unet", *self.layout.texts))

    def text_models(self, parts: Parts) -> dict[str, nn.Module]:
        """Both of them."""
        first, second = parts.text_encoder.encoders  # type: ignore[misc]
        return {"text_encoder": first, "text_encoder_2": second}

    def join_text_encoders(self, encoders: dict[str, Any], place: Path) -> nn.Module:
        """Both, with what each pads with."""
        paddings = [_read_padding(place, "tokenizer", None), _read_padding(place, "tokenizer_2", SECOND_PADDING)]
        zeroes_empty = read_config(place / INDEX).get("force_zeros_for_empty_prompt", True)
        return TextEncoders(list(encoders.values()), paddings, bool(zeroes_empty))

    def load_parts(self, place: Path, dtype: torch.dtype) -> Parts:
        """As all Stable Diffusions; both tokenizers must read alike, as one stands for both.

        Raises UsageError where they do not.
        """
        parts = super().load_parts(place, dtype)
        if place.is_dir():
            second = load_part(CLIPTokenizer, place, "tokenizer_2", local_files_only=True)
            if second.get_vocab() != parts.tokenizer.get_vocab():
                raise UsageError(f"the two tokenizers of {place} know other words: put CLIP's into both of its folders")
        return parts

    def choose_vae_dtype(self, config: Any, dtype: torch.dtype) -> torch.dtype:
        """float32 in place of float16, unless the config says that the autoencoder does not overflow."""
        if dtype == torch.float16 and config.get("force_upcast", True):
            return torch.float32
        return dtype

    def encode_prompt(
        self,
        parts: Parts,
        tokens: Sequence[Sequence[int]],
        device: torch.device,
        suffix: Tensor | None = None,
        is_null: bool = False,
    ) -> TextEncoding:
        """The last layers but one of both side by side [B, 77, D], and the second one's projected end [B, P]."""
        texts: Any = parts.text_encoder
        room, suffixes = 0, [None] * len(texts.encoders)
        if suffix is not None:
            room = suffix.shape[1]
            suffixes = suffix.split([token_table(one).weight.shape[1] for one in texts.encoders], dim=-1)
        ids = []
        for padding in texts.paddings:
            if padding is None:
                padding = parts.tokenizer.pad_token_id
            ids.append(move_to_device(lay_out_ids(tokens, room, parts.tokenizer, padding), device))
        ends = [1 + len(words) for words in tokens]

        first, second = texts(ids, suffixes, ends)
        embeds = torch.cat([first.hidden_states[-2], second.hidden_states[-2]], dim=-1)
        rows = torch.arange(len(tokens), device=device)
        last = move_to_device(torch.tensor(ends) + room, device)
        pooled = texts.encoders[1].text_projection(second.last_hidden_state[rows, last])
        if is_null and texts.zeroes_empty and suffix is None:
            kept = move_to_device(torch.tensor([bool(words) for words in tokens]), device)
            embeds, pooled = embeds * kept.view(-1, 1, 1), pooled * kept.view(-1, 1)
        return TextEncoding(embeds, pooled)

    def name_lora_layer(self, layer: str, layers_per_block: int) -> str:
        """Name a layer as the original code does, which counts all blocks of a way and not those of a level."""
        block = BLOCK.match(layer)
        if block is None:
            return layer
        way, kind, rest = block["way"], int(block["kind"] == "attentions"), layer[block.end() :]
        level, place = int(block["level"] or 0), int(block["place"])
        for name, theirs in RESNET.items():
            rest = re.sub(rf"^{name}$", theirs, rest)
        if way == "mid_block":
            return f"middle_block.{1 if kind else 2 * place}.{rest}"
        number = level * (layers_per_block + 1) + place
        if way == "down_blocks":
            return f"input_blocks.{number + 1}.{kind}.{rest}"
        return f"output_blocks.{number}.{kind}.{rest}"

    def unet_arguments(self, pooled: Tensor | None, height: int, width: int) -> dict[str, Any]:
        """The vectors of the prompts, and the six numbers of a size for each."""
        assert pooled is not None, "a condition of this family has the vectors of its prompts"
        size = torch.tensor([[height, width, 0, 0, height, width]], dtype=pooled.dtype)
        ids = move_to_device(size, pooled.device).expand(len(pooled), -1)
        return {"added_cond_kwargs": {"text_embeds": pooled, "time_ids": ids}}


def _read_padding(place: Path, part: str, otherwise: int | None) -> int | None:
    """What a text encoder pads with, by its tokenizer's folder; None is what the tokenizer of the base says."""
    if not (place / part).is_dir():
        return otherwise
    tokenizer = load_part(CLIPTokenizer, place, part, local_files_only=True)
    padding: int | None = tokenizer.pad_token_id
    return padding

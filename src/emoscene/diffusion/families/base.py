"""The contract of a family, and which family a checkpoint is of.

    find_family(place)                 the family, by configs and headers; a stranger is refused by its name
    find_architecture(place)           the family and the shapes of a checkpoint
    name_architecture(place)           the base of `bases/*.toml` that has them: `mini`, `sd15`

A family settles how a checkpoint is read. Its shapes settle what suits it: the recipe, the guidance scale, the
captioner. So a fine-tuned Stable Diffusion is treated as Stable Diffusion, whatever it is called.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from torch import Tensor, nn
from transformers import CLIPTokenizer

from emoscene.core import registry
from emoscene.core.errors import EmosceneError, UsageError
from emoscene.diffusion.architecture import INDEX, UNET, Architecture, is_safetensors, read_config, read_header

DEFAULT = "sd1"
"""The family whose checks say what is wrong with a place that nothing tells the family of."""
FILES = {
    "conditioner.embedders.0.model.": "a refiner of Stable Diffusion XL, which is not needed",
    "conditioner.embedders.": "a Stable Diffusion XL that lacks its UNet or one of its text encoders",
    "cond_stage_model.model.": "a Stable Diffusion 2 that lacks its UNet or its text encoder",
    f"{UNET}joint_blocks.": "a Stable Diffusion 3",
    "joint_blocks.": "a Stable Diffusion 3",
    f"{UNET}double_blocks.": "a Flux",
    "double_blocks.": "a Flux",
    "lora_unet_": "a LoRA, which goes to --lora",
    "lora_te_": "a LoRA, which goes to --lora",
    "down_blocks.": "a part alone, under diffusers' names",
    "text_model.": "a part alone, under diffusers' names",
}
"""Beginnings of names that tell what else a single file is."""
FOLDERS = {
    "StableDiffusionXL": "a Stable Diffusion XL without its first text encoder, as its refiner is",
    "StableDiffusion3": "a Stable Diffusion 3",
    "Flux": "a Flux",
}
"""Beginnings of the class in `model_index.json` that tell what else a folder is."""


class Parts(NamedTuple):
    """What a checkpoint is made of; scheduler: the config of the noise that it was trained with.

    padding: the id that prompts are filled up with, where it is not the tokenizer's own. A family with several text
    encoders has them in one module, `diffusion.text_encoders.TextEncoders`.
    """

    tokenizer: CLIPTokenizer
    text_encoder: nn.Module
    unet: UNet2DConditionModel
    vae: AutoencoderKL
    scheduler: dict[str, Any]
    padding: int | None = None


@dataclass(frozen=True)
class TextEncoding:
    """What the UNet is given of B prompts.

    Attributes:
        embeds: The token embeddings that it attends to [B, 77, D]; those of several encoders lie side by side in D.
        pooled: One vector of each whole prompt [B, P], for a UNet that reads it; else None.
    """

    embeds: Tensor
    pooled: Tensor | None = None


@dataclass(frozen=True)
class ExportNames:
    """What other programs call a family and its parts.

    Attributes:
        lora_prefixes: The beginning of a layer's name in a LoRA, by part.
        kohya: The family in kohya's metadata, `ss_base_model_version`.
        modelspec: The family in `modelspec.architecture`.
        a1111: The family in A1111's cards.
        pipeline: The class of diffusers that loads it.
        embeddings: What a file of learned vectors calls those of each text encoder; empty where it has but one.
    """

    lora_prefixes: Mapping[str, str]
    kohya: str
    modelspec: str
    a1111: str
    pipeline: str = "StableDiffusionPipeline"
    embeddings: tuple[str, ...] = ()


class Family(ABC):
    """What the checkpoints of a family have in common. A subclass is final, and its file bears its name.

    Attributes:
        name: As `emoscene ls families` has it.
        label: What its users call it.
        adapter_layers: Kinds of layers that an adapter may change, and the pattern of their names in the UNet.
        export_names: What other programs call it.
        configs: A folder with the configs of its usual shapes, its schedule and its default size among them, for a
            single file that says nothing of them.
    """

    name: ClassVar[str]
    label: ClassVar[str]
    adapter_layers: ClassVar[Mapping[str, str]]
    export_names: ClassVar[ExportNames]
    configs: ClassVar[Path]

    @abstractmethod
    def recognizes(self, place: Path) -> bool:
        """Tell by names of files and tensors whether a checkpoint is of this family; no weight is read.

        Args:
            place: A folder that diffusers wrote, or a single safetensors file.

        Returns:
            Whether it is.
        """

    @abstractmethod
    def read_shapes(self, place: Path) -> tuple[tuple[int, ...], int]:
        """Read the shapes of a checkpoint; no weight is read.

        Args:
            place: A folder or a single file of this family.

        Returns:
            The UNet's channels level by level, and the width of the text that it attends to.

        Raises:
            EmosceneError: The place does not tell it.
        """

    @abstractmethod
    def check_configs(self, folder: Path) -> None:
        """Check the settings of a folder, whose weights need not be there yet.

        Args:
            folder: A folder that diffusers wrote.

        Raises:
            UsageError: It is a relative that would fail or compute something else; the part is named.
            EmosceneError: A config is missing or damaged.
        """

    @abstractmethod
    def check(self, place: Path) -> None:
        """Check that a checkpoint is whole and can be read, as far as configs and headers tell.

        Args:
            place: A folder or a single file.

        Raises:
            UsageError: It is of another kind; the part is named.
            EmosceneError: A part is missing or damaged.
        """

    @abstractmethod
    def load_parts(self, place: Path, dtype: torch.dtype) -> Parts:
        """Load a checkpoint that was checked.

        Args:
            place: A folder or a single file.
            dtype: The precision of the weights.

        Returns:
            The parts, on the CPU.

        Raises:
            UsageError: The shapes of a single file are not known.
            EmosceneError: A file is damaged.
        """

    @abstractmethod
    def encode_prompt(
        self,
        parts: Parts,
        tokens: Sequence[Sequence[int]],
        device: torch.device,
        suffix: Tensor | None = None,
        is_null: bool = False,
    ) -> TextEncoding:
        """Encode prompts.

        Args:
            parts: The parts.
            tokens: The ids of each prompt's words [B], without start and end.
            device: Where it computes.
            suffix: Learned token embeddings [B, n, D] to append to each prompt, those of several encoders side by side
                in D; there is room for them.
            is_null: Whether an empty prompt stands for no condition at all, as in the negative half of guidance.

        Returns:
            What the UNet is given.
        """

    def text_models(self, parts: Parts) -> dict[str, nn.Module]:
        """List the text encoders.

        Args:
            parts: The parts.

        Returns:
            Each by the name of its folder, in the order in which the UNet attends to them.
        """
        return {"text_encoder": parts.text_encoder}

    def name_lora_layer(self, layer: str, layers_per_block: int) -> str:
        """Name a layer of the UNet as a LoRA of kohya's scripts does, before dots become underscores.

        Args:
            layer: Its name in diffusers.
            layers_per_block: Of the UNet, which counts its blocks by it.

        Returns:
            The name.
        """
        return layer

    def unet_arguments(self, pooled: Tensor | None, height: int, width: int) -> dict[str, Any]:
        """List what the UNet is given beside latents, timestep and text.

        Args:
            pooled: One vector of each prompt [B, P], where `encode_prompt` made any.
            height: Of the image, in pixels.
            width: The same.

        Returns:
            Arguments of its call, by name.
        """
        return {}


@cache
def load_family(name: str) -> Family:
    """Load a family.

    Args:
        name: As `emoscene ls families` has it.

    Returns:
        The family.

    Raises:
        UsageError: The name is not known.
    """
    family: Family = registry.load_plugin("families", name)()
    return family


def find_family(place: Path) -> Family:
    """Find the family of a checkpoint by names of files and tensors; no weight is read.

    Families of other packages are asked first: what they add may look like one of those here.

    Args:
        place: A folder that diffusers wrote, or a single file.

    Returns:
        The family; the default one for a place that tells none, whose checks say what is wrong with it.

    Raises:
        UsageError: It is of a family that is known and not read, which is named.
        EmosceneError: A file is damaged.
    """
    names = registry.list_names("families")
    names.sort(key=lambda name: registry.package_folder("families", name) == registry.HOME)  # other packages' first
    families = [load_family(name) for name in names]
    for family in families:
        if family.recognizes(place):
            return family
    kind = _name_stranger(place)
    if kind:
        labels = " or ".join(family.label for family in families)
        raise UsageError(f"{place} is no {labels}: by its names it is {kind}; give another --base")
    return load_family(DEFAULT)


def _name_stranger(place: Path) -> str:
    """What a checkpoint is that no family recognizes; nothing where it does not tell."""
    if place.is_file():
        if not is_safetensors(place):
            return ""
        names = read_header(place).tensors
        for begin, kind in FILES.items():
            if any(name.startswith(begin) for name in names):
                return kind
        return ""
    if not (place / INDEX).is_file():
        return ""
    pipeline = str(read_config(place / INDEX).get("_class_name", ""))
    for begin, kind in FOLDERS.items():
        if pipeline.startswith(begin):
            return kind
    if (place / "transformer").is_dir():
        return f"a {pipeline}"
    return ""


def find_architecture(place: Path) -> Architecture | None:
    """Find the architecture of a checkpoint.

    Args:
        place: A folder or a single file.

    Returns:
        Its family and shapes; None where the place does not tell them, which the family's checks explain.
    """
    try:
        family = find_family(place)
        return Architecture(family.name, *family.read_shapes(place))
    except (EmosceneError, UsageError, OSError):
        return None


def name_architecture(place: Path) -> str:
    """Name the base of `bases/*.toml` that has a checkpoint's architecture.

    Args:
        place: A folder or a single file.

    Returns:
        The base's name; nothing where none of them has it.
    """
    found = find_architecture(place)
    if found is None:
        return ""
    for name in registry.list_names("bases"):
        table = registry.load_table("bases", name)
        shape = table.get("architecture", {})
        same = table.get("family", DEFAULT) == found.family and list(found.channels) == shape.get("channels")
        if same and found.text_dim in shape.get("text", []):
            return name
    return ""


def find_configs(place: Path) -> Path:
    """Find the configs of a single file, which has none: those of the named base that has its architecture.

    Args:
        place: The file.

    Returns:
        The folder of that base where it lies in a package; else the configs of the family's usual shapes.
    """
    name = name_architecture(place)
    if name:
        source = Path(registry.load_table("bases", name)["source"])
        if (source / INDEX).is_file():
            return source
    return find_family(place).configs

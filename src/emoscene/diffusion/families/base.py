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
from torch import Tensor
from transformers import CLIPTextModel, CLIPTokenizer

from emoscene.core import registry
from emoscene.core.errors import EmosceneError, UsageError
from emoscene.diffusion.architecture import INDEX, UNET, Architecture, is_safetensors, read_config, read_header

DEFAULT = "sd1"
"""The family whose checks say what is wrong with a place that nothing tells the family of."""
FILES = {
    "conditioner.embedders.": "a Stable Diffusion XL",
    "cond_stage_model.model.": "a Stable Diffusion 2, which is read from a folder that diffusers wrote",
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
    "StableDiffusionXL": "a Stable Diffusion XL",
    "StableDiffusion3": "a Stable Diffusion 3",
    "Flux": "a Flux",
}
"""Beginnings of the class in `model_index.json` that tell what else a folder is."""


class Parts(NamedTuple):
    """What a checkpoint is made of; scheduler: the config of the noise that it was trained with."""

    tokenizer: CLIPTokenizer
    text_encoder: CLIPTextModel
    unet: UNet2DConditionModel
    vae: AutoencoderKL
    scheduler: dict[str, Any]


@dataclass(frozen=True)
class TextEncoding:
    """What the UNet is given of B prompts.

    Attributes:
        embeds: The token embeddings that it attends to [B, 77, D]; those of several encoders lie side by side in D.
    """

    embeds: Tensor


@dataclass(frozen=True)
class ExportNames:
    """What other programs call a family and its parts.

    Attributes:
        lora_prefixes: The beginning of a layer's name in a LoRA, by part.
        kohya: The family in kohya's metadata, `ss_base_model_version`.
        modelspec: The family in `modelspec.architecture`.
    """

    lora_prefixes: Mapping[str, str]
    kohya: str
    modelspec: str


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
        self, parts: Parts, tokens: Sequence[Sequence[int]], device: torch.device, suffix: Tensor | None = None
    ) -> TextEncoding:
        """Encode prompts.

        Args:
            parts: The parts.
            tokens: The ids of each prompt's words [B], without start and end.
            device: Where it computes.
            suffix: Learned token embeddings [B, n, D] to append to each prompt; there is room for them.

        Returns:
            What the UNet is given.
        """


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

    Args:
        place: A folder that diffusers wrote, or a single file.

    Returns:
        The family; the default one for a place that tells none, whose checks say what is wrong with it.

    Raises:
        UsageError: It is of a family that is known and not read, which is named.
        EmosceneError: A file is damaged.
    """
    families = [load_family(name) for name in registry.list_names("families")]
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

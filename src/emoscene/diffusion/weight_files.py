"""The files that a base's weights are read from, and the names that they have there.

A part of a folder has one file or shards with an index, in full precision or as the half-precision variant, which is
called `fp16`. A single file has a text encoder's weights under `TEXTS`; transformers once had them a module deeper.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from typing_extensions import TypedDict

from emoscene.core.errors import EmosceneError
from emoscene.core.file_reading import read_json
from emoscene.core.paths import resolve_inside

TEXTS = ("cond_stage_model.transformer.", "conditioner.embedders.0.transformer.")
"""Where single files of Stable Diffusion 1 and XL keep the weights of OpenAI's CLIP."""
OPEN_CLIPS = {"text_encoder": "cond_stage_model.model.", "text_encoder_2": "conditioner.embedders.1.model."}
"""Where those of Stable Diffusion 2 and XL keep the weights of OpenCLIP, by the folder of the text encoder."""
DEEPER = "text_model."
VARIANT = "fp16"


class ShardIndex(TypedDict):
    """What an index of shards says: the file of each weight."""

    weight_map: dict[str, str]


class PartFiles(NamedTuple):
    """The files of a part's weights, and which variant they are; None is full precision."""

    files: list[Path]
    variant: str | None


def find_files(folder: Path) -> PartFiles:
    """Find the files that a part's weights are read from, as diffusers and transformers choose them.

    Args:
        folder: the part's own folder, such as `base/unet`.

    Returns:
        The whole file or the shards, in full precision; where there are none, the half-precision variant's.

    Raises:
        EmosceneError: for an index of shards that cannot be read.
    """
    for variant in (None, VARIANT):
        middle = ""
        if variant:
            middle = f".{variant}"
        for stem in ("diffusion_pytorch_model", "model"):
            whole = folder / f"{stem}{middle}.safetensors"
            index = folder / f"{stem}.safetensors.index{middle}.json"
            if whole.is_file() and not (stem.startswith("diffusion") and index.is_file()):
                return PartFiles([whole], variant)
            if index.is_file():
                return PartFiles(_read_index(index), variant)
    return PartFiles([], None)


def deepen_name(key: str) -> str:
    """Rename a weight of a single file as files of Stable Diffusion v1.5 and XL have it, if it is a text encoder's.

    Args:
        key: The name in the file.

    Returns:
        The name with `text_model.` in it; any other name unchanged.
    """
    for prefix in TEXTS:
        if key.startswith(prefix) and not key.startswith(prefix + DEEPER):
            return prefix + DEEPER + key.removeprefix(prefix)
    return key


def _read_index(index: Path) -> list[Path]:
    names = sorted(set(read_json(index, ShardIndex, "fetch or install it again")["weight_map"].values()))
    if not names:
        raise EmosceneError(f"{index} names no files: fetch or install it again")
    return [resolve_inside(index.parent, name, str(index)) for name in names]

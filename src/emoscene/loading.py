"""The parts of a Stable Diffusion, read from the disk: a diffusers folder, or one file as other programs save it.

A folder has a part in each of its folders. A single file (`--base FILE.safetensors`) holds the same weights under the
names of the original code: `model.diffusion_model.` the UNet, `first_stage_model.` the autoencoder and
`cond_stage_model.transformer.` the text encoder. It says nothing of their shapes, so Stable Diffusion v1.5's lie in
`bases/sd15`; diffusers' own converters rename the weights. It has no tokenizer either: CLIP's is taken from a folder
`tokenizer` beside the file, else from the cache or the hub. Nothing is fetched for the weights, and a pickle (`.ckpt`)
is refused, for reading one runs what it says.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import diffusers.utils.logging
import torch
import transformers.utils.logging
from diffusers import AutoencoderKL, UNet2DConditionModel
from diffusers.loaders.single_file_utils import create_diffusers_clip_model_from_ldm
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor
from transformers import CLIPTextModel, CLIPTokenizer

from emoscene import hub, plugins, stage
from emoscene.errors import Failure, Usage, download
from emoscene.partfiles import deepen_name, find_files

T = TypeVar("T")
LOGS = (diffusers.utils.logging, transformers.utils.logging)
CONFIGS = plugins.HOME / "bases/sd15"
FIRST = {
    "UNet": "model.diffusion_model.input_blocks.0.0.weight",
    "autoencoder": "first_stage_model.encoder.conv_in.weight",
    "text encoder": "cond_stage_model.transformer.text_model.embeddings.token_embedding.weight",
}
"""A name that a single file has wherever it holds the part."""
VOCABULARY = ("tokenizer/*.json", "tokenizer/*.txt")


class Parts(NamedTuple):
    """What a Stable Diffusion is made of; scheduler: the config of the noise that it was trained with."""

    tokenizer: CLIPTokenizer
    text_encoder: CLIPTextModel
    unet: UNet2DConditionModel
    vae: AutoencoderKL
    scheduler: dict[str, Any]


def parts(place: Path, dtype: torch.dtype) -> Parts:
    """The parts at a folder or in a file.

    Raises Usage for a file that is no Stable Diffusion v1.5, Failure for damaged files and a missing tokenizer.
    """
    return _of_file(place, dtype) if place.is_file() else _of_folder(place, dtype)


def fingerprint(place: Path) -> str:
    """A digest of whole files, as version 0.1 recorded it: UNet, text encoder and tokenizer, or the single file.

    Files that are not read (a half-precision twin, a pickle) do not count, so a clone is the same base as a download.
    """
    if place.is_file():
        with place.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    return " ".join(stage.fingerprint(place / part, hub.WEIGHTS)[:32] for part in ("unet", "text_encoder", "tokenizer"))


def _of_folder(folder: Path, dtype: torch.dtype) -> Parts:
    options = {"use_safetensors": True, "local_files_only": True}
    return Parts(
        _part(CLIPTokenizer, folder, "tokenizer", local_files_only=True),
        _part(CLIPTextModel, folder, "text_encoder", dtype=dtype, **options),
        _part(UNet2DConditionModel, folder, "unet", torch_dtype=dtype, **options),
        _part(AutoencoderKL, folder, "vae", torch_dtype=dtype, **options),
        _scheduler(folder),
    )


def _part(kind: type[T], folder: Path, part: str, **options: Any) -> T:
    """One model of the folder; a damaged file is named."""
    try:
        with quiet():
            options |= {"variant": find_files(folder / part).variant} if "use_safetensors" in options else {}
            model: T = kind.from_pretrained(str(folder), subfolder=part, **options)  # type: ignore[attr-defined]
    except (SafetensorError, EOFError, ValueError, OSError) as error:
        raise Failure(
            f"{folder / part} is damaged or incomplete ({type(error).__name__}: {str(error).splitlines()[0]}): "
            "fetch or install it again"
        ) from error
    return model


def _of_file(file: Path, dtype: torch.dtype) -> Parts:
    if file.suffix != ".safetensors":
        raise Usage(f"{file} is no safetensors, and a pickle can run what it likes: save it as safetensors first")
    tokenizer = _part(CLIPTokenizer, _vocabulary(file), "tokenizer", local_files_only=True)
    try:
        state = {deepen_name(key): value for key, value in load_file(str(file)).items()}
    except (SafetensorError, OSError) as error:
        raise Failure(f"{file} is damaged ({str(error).splitlines()[0]}): fetch it again") from error
    if lacking := [part for part, name in FIRST.items() if name not in state]:
        raise Usage(f"{file} is no whole Stable Diffusion v1.5, for it has no {' and no '.join(lacking)}: give another")
    try:
        with quiet(remarks=False):  # diffusers warns of its own cast, and what it could not place is an error here
            return Parts(tokenizer, *_converted(state, dtype), _scheduler(CONFIGS))
    except (ValueError, RuntimeError, KeyError) as error:
        raise Usage(
            f"{file} is not of Stable Diffusion v1.5's shape ({str(error).splitlines()[0][:120]}): give one of that "
            "family, or a folder that diffusers wrote"
        ) from error


def _converted(
    state: dict[str, Tensor], dtype: torch.dtype
) -> tuple[CLIPTextModel, UNet2DConditionModel, AutoencoderKL]:
    there = {"config": str(CONFIGS), "local_files_only": True, "torch_dtype": dtype}
    return (
        create_diffusers_clip_model_from_ldm(CLIPTextModel, state, subfolder="text_encoder", **there),
        UNet2DConditionModel.from_single_file(state, subfolder="unet", **there),
        AutoencoderKL.from_single_file(state, subfolder="vae", **there),
    )


def _scheduler(folder: Path) -> dict[str, Any]:
    file = folder / "scheduler/scheduler_config.json"
    try:
        found: dict[str, Any] = json.loads(file.read_text(encoding="utf8"))
    except (ValueError, OSError) as error:
        raise Failure(f"{file} is missing or damaged ({error}): fetch or install it again") from error
    return found


def _vocabulary(file: Path) -> Path:
    """The folder that has a folder `tokenizer` for a single file."""
    if (file.parent / "tokenizer").is_dir():
        return file.parent
    known = plugins.table("bases", "sd15")
    source, revision = known["source"], known["revision"]
    try:
        return hub.fetched(source, revision, VOCABULARY)
    except Failure as error:
        raise Failure(
            f"{file} has no tokenizer in it: put CLIP's vocab.json and merges.txt into {file.parent / 'tokenizer'}, "
            f"or run `{download(source, revision, VOCABULARY)}` where there is a network"
        ) from error


@contextmanager
def quiet(remarks: bool = True) -> Iterator[None]:
    """No progress bars for what takes a moment; without `remarks`, no warnings either."""
    shown = [loud for loud in LOGS if loud.is_progress_bar_enabled()]
    levels = [loud.get_verbosity() for loud in LOGS]
    for loud in shown:
        loud.disable_progress_bar()
    for loud in LOGS if not remarks else ():
        loud.set_verbosity_error()
    try:
        yield
    finally:
        for loud in shown:
            loud.enable_progress_bar()
        for loud, level in zip(LOGS, levels, strict=True):
            loud.set_verbosity(level)

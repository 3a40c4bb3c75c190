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
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import diffusers.utils.logging
import torch
import transformers.utils.logging
from diffusers import AutoencoderKL, UNet2DConditionModel
from diffusers.loaders.single_file_utils import (
    convert_ldm_unet_checkpoint,
    convert_ldm_vae_checkpoint,
    create_diffusers_clip_model_from_ldm,
)
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from emoscene.core import registry, run_dir
from emoscene.core.errors import EmosceneError, UsageError, download_command
from emoscene.diffusion import compatibility, hub
from emoscene.diffusion.architecture import read_config, read_header
from emoscene.diffusion.weight_files import deepen_name, find_files

T = TypeVar("T")
LOGS = (diffusers.utils.logging, transformers.utils.logging)
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
CONFIGS = registry.HOME / "diffusion/bases/sd15"
SCHEDULER = "scheduler/scheduler_config.json"
EXTENSIONS = {"add_embedding", "class_embedding", "encoder_hid_proj", "position_net", "post_quant_conv", "quant_conv"}
"""Modules that some UNets and autoencoders have, and that a config may leave out."""
LEGACY_END = 2
"""What old configs of CLIP say of its end token, whatever that is."""
VOCABULARY = ("tokenizer/*.json", "tokenizer/*.txt")


class Parts(NamedTuple):
    """What a Stable Diffusion is made of; scheduler: the config of the noise that it was trained with."""

    tokenizer: CLIPTokenizer
    text_encoder: CLIPTextModel
    unet: UNet2DConditionModel
    vae: AutoencoderKL
    scheduler: dict[str, Any]


def load_parts(place: Path, dtype: torch.dtype) -> Parts:
    """Load the parts of a Stable Diffusion.

    Args:
        place: A folder that diffusers wrote, or a single safetensors file.
        dtype: The precision of the weights.

    Returns:
        The parts, on the CPU.

    Raises:
        UsageError: It is not a Stable Diffusion of the kind that is read here.
        EmosceneError: A file is damaged, or there is no tokenizer.
    """
    if place.is_file():
        found = _load_file(place, dtype)
    else:
        found = _load_folder(place, dtype)
    check_tokenizer(found.tokenizer, found.text_encoder.config, place)
    for name, model in (("text encoder", found.text_encoder), ("UNet", found.unet), ("autoencoder", found.vae)):
        check_weights(model, name, place)
    return found


def fingerprint(place: Path) -> str:
    """Digest whole files, as version 0.1 did: UNet, text encoder and tokenizer, or the single file.

    Files that are not read (a half-precision copy, a pickle) do not count, so a clone is the same base as a
    download.

    Args:
        place: The folder or the single file.

    Returns:
        Hexadecimal digests, separated by spaces.
    """
    if place.is_file():
        with place.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    return " ".join(
        run_dir.fingerprint_folder(place / part, hub.WEIGHTS)[:32] for part in ("unet", "text_encoder", "tokenizer")
    )


def check_finite(tensors: Mapping[str, Tensor], where: Path | str, remedy: str) -> None:
    """Look at weights before anything is computed with them; a device is waited for once.

    Args:
        tensors: weights by name, all on one device.
        where: the file or folder that they come from.
        remedy: what to do where they are not finite, as the end of the sentence.

    Raises:
        EmosceneError: for nan or infinity in any of them.
    """
    named = {}
    for name, value in tensors.items():
        if _can_overflow(value):
            named[name] = value
    if not named:
        return
    ends = torch.stack([torch.stack(torch.aminmax(value.detach())).float() for value in named.values()])
    sound = ends.isfinite().view(-1, 2).all(1).tolist()
    lost = []
    for name, fine in zip(named, sound, strict=True):
        if not fine:
            lost.append(name)
    if lost:
        precision = str(named[lost[0]].dtype).removeprefix("torch.")
        raise EmosceneError(f"{where} holds numbers in {lost[0]} that are not finite in {precision}: {remedy}")


def _can_overflow(value: Tensor) -> bool:
    return value.is_floating_point() and value.numel() > 0 and not value.is_meta


def _load_folder(folder: Path, dtype: torch.dtype) -> Parts:
    compatibility.check_folder(folder)
    options = {"use_safetensors": True, "local_files_only": True, "output_loading_info": True}
    return Parts(
        _load_part(CLIPTokenizer, folder, "tokenizer", local_files_only=True),
        _load_part(CLIPTextModel, folder, "text_encoder", dtype=dtype, ignore_mismatched_sizes=True, **options),
        _load_part(UNet2DConditionModel, folder, "unet", torch_dtype=dtype, **options),
        _load_part(AutoencoderKL, folder, "vae", torch_dtype=dtype, **options),
        read_config(folder / SCHEDULER),
    )


def _load_part(kind: type[T], folder: Path, part: str, **options: Any) -> T:
    """One model of the folder; a damaged file is named, and so are a missing weight and an index that leads out."""
    reported = options.get("output_loading_info", False)
    if "use_safetensors" in options:
        options |= {"variant": find_files(folder / part).variant}
    try:
        with silence_libraries(remarks=not reported):  # what the report says is an error here
            found: Any = kind.from_pretrained(str(folder), subfolder=part, **options)  # type: ignore[attr-defined]
    except Exception as error:  # damaged files make the libraries raise nearly everything
        reason = " ".join(str(error).split())[:160]
        raise EmosceneError(
            f"{folder / part} is damaged or incomplete ({type(error).__name__}: {reason}): fetch or install it again"
        ) from error
    if not reported:
        return found
    model, report = found
    check_report(model, report, folder / part)
    return model


def _load_file(file: Path, dtype: torch.dtype) -> Parts:
    header = compatibility.check_file(file)
    schedule = read_config(CONFIGS / SCHEDULER) | compatibility.read_prediction(file, header)
    tokenizer = _load_part(CLIPTokenizer, _find_tokenizer(file), "tokenizer", local_files_only=True)
    try:
        state = {}
        for key, value in load_file(str(file)).items():
            state[deepen_name(key)] = value
    except (SafetensorError, OSError) as error:
        raise EmosceneError(f"{file} is damaged ({str(error).splitlines()[0]}): fetch it again") from error
    try:
        with silence_libraries(
            remarks=False
        ):  # diffusers warns of its own cast, and what it could not place is an error here
            return Parts(tokenizer, *_convert_state(state, dtype), schedule)
    except (UsageError, EmosceneError):
        raise
    except NotImplementedError as error:  # diffusers casts weights that it did not find
        raise EmosceneError(f"{file} is not whole, for {_missing_weight(file)}: fetch it again") from error
    except (ValueError, RuntimeError, KeyError) as error:
        raise UsageError(
            f"{file} is not of Stable Diffusion v1.5's shape ({str(error).splitlines()[0][:120]}): give one of that "
            "family, or a folder that diffusers wrote"
        ) from error


def _convert_state(
    state: dict[str, Tensor], dtype: torch.dtype
) -> tuple[CLIPTextModel, UNet2DConditionModel, AutoencoderKL]:
    there = {"config": str(CONFIGS), "local_files_only": True, "torch_dtype": dtype}
    return (
        create_diffusers_clip_model_from_ldm(CLIPTextModel, state, subfolder="text_encoder", **there),
        UNet2DConditionModel.from_single_file(state, subfolder="unet", **there),
        AutoencoderKL.from_single_file(state, subfolder="vae", **there),
    )


def _missing_weight(file: Path) -> str:
    """Which part of a single file lacks what, in diffusers' names; by the header alone."""
    header = read_header(file).tensors
    kinds: Any = (
        ("UNet", "unet", UNet2DConditionModel, convert_ldm_unet_checkpoint),
        ("autoencoder", "vae", AutoencoderKL, convert_ldm_vae_checkpoint),
    )
    for part, folder, kind, convert in kinds:
        config = kind.load_config(str(CONFIGS), subfolder=folder)
        with torch.device("meta"):
            expected = kind.from_config(config).state_dict().keys()
            found = convert({name: torch.empty(entry.shape) for name, entry in header.items()}, config=config)
        missing = sorted(expected - found.keys())
        if missing:
            return f"its {part} lacks {missing[0]}{_count(missing)}"
    return "its weights are not those of Stable Diffusion v1.5"


def _find_tokenizer(file: Path) -> Path:
    """The folder that has a folder `tokenizer` for a single file."""
    if (file.parent / "tokenizer").is_dir():
        return file.parent
    known = registry.load_table("bases", "sd15")
    source, revision = known["source"], known["revision"]
    try:
        return hub.fetch(source, revision, VOCABULARY)
    except EmosceneError as error:
        raise EmosceneError(
            f"{file} has no tokenizer in it: put CLIP's vocab.json and merges.txt into {file.parent / 'tokenizer'}, "
            f"or run `{download_command(source, revision, VOCABULARY)}` where there is a network"
        ) from error


def check_report(model: torch.nn.Module, report: dict[str, Any], folder: Path) -> None:
    """Check that the weights in a part's files are those of the model that its config describes.

    Args:
        model: the part, loaded.
        report: what diffusers and transformers return with `output_loading_info`.
        folder: the part's folder, for the error.

    Raises:
        EmosceneError: for a weight that is missing or of another shape, and for one of a module that is there, or that
            other UNets have, which the model has no place for. Others (an average, a mark) are left out.
    """
    missing = sorted(report["missing_keys"])
    if missing:
        raise EmosceneError(
            f"the weights in {folder} lack {missing[0]}{_count(missing)}, which its config.json has: fetch or install "
            "it again"
        )
    for name, there, expected in report["mismatched_keys"]:
        raise EmosceneError(
            f"the weights in {folder} have {name} of shape {tuple(there)}, and by its config.json it is "
            f"{tuple(expected)}: fetch the config.json of that base"
        )
    modules = {name for name, _ in model.named_children()} | EXTENSIONS
    named = [name.removeprefix("text_model.") for name in sorted(report["unexpected_keys"])]
    beyond = [name for name in named if name.partition(".")[0] in modules and not name.endswith("position_ids")]
    if beyond:
        raise EmosceneError(
            f"the weights in {folder} have {beyond[0]}{_count(beyond)}, and the model of its config.json does "
            "not: fetch the config.json of that base"
        )


def _count(names: list[str]) -> str:
    if len(names) > 1:
        return f" and {len(names) - 1} more"
    return ""


def check_weights(model: torch.nn.Module, part: str, place: Path) -> None:
    """Check that every weight of a loaded part is there; whether they are finite is seen where they compute.

    Args:
        model: the part, on the CPU.
        part: what to call it.
        place: the folder or the file of the base.

    Raises:
        EmosceneError: for the first weight that is missing.
    """
    for name, weight in model.state_dict().items():
        if weight.is_meta:
            raise EmosceneError(f"the {part} in {place} lacks {name}: fetch it again")


def check_tokenizer(tokenizer: CLIPTokenizer, config: CLIPTextConfig, place: Path) -> None:
    """Check that a tokenizer tells words apart, and gives ids that the text encoder has vectors for.

    Args:
        tokenizer: the tokenizer.
        config: the text encoder's.
        place: the folder or the file of the base.

    Raises:
        EmosceneError: for a tokenizer without its vocabulary.
        UsageError: for the tokenizer of another text encoder.
    """
    remedy = "put that base's tokenizer.json, or its vocab.json and merges.txt, into its folder tokenizer"
    if not isinstance(tokenizer.model_max_length, int | float):
        raise EmosceneError(f"the tokenizer of {place} says model_max_length {tokenizer.model_max_length!r}: {remedy}")
    letters = [tokenizer(letter, add_special_tokens=False)["input_ids"] for letter in ("a", "b")]
    if len(tokenizer) <= len(tokenizer.all_special_ids) or letters[0] == letters[1]:
        raise EmosceneError(f"the tokenizer of {place} has no vocabulary, so all prompts are alike: {remedy}")
    for mark in ("bos", "eos", "pad"):
        if getattr(tokenizer, f"{mark}_token_id") is None:
            raise EmosceneError(f"the tokenizer of {place} has no {mark}_token: {remedy}")
    largest = max(tokenizer.get_vocab().values())
    if largest >= config.vocab_size:
        raise UsageError(
            f"the tokenizer of {place} gives ids up to {largest}, and its text encoder knows {config.vocab_size} of "
            f"them: {remedy}"
        )
    if config.eos_token_id not in {LEGACY_END, tokenizer.eos_token_id}:
        raise UsageError(
            f"the tokenizer of {place} ends a prompt with {tokenizer.eos_token_id}, and its text encoder learnt "
            f"{config.eos_token_id}: {remedy}"
        )


@contextmanager
def silence_libraries(remarks: bool = True) -> Iterator[None]:
    """Suppress the progress bars of diffusers and transformers inside.

    Args:
        remarks: Whether their warnings are still shown.

    Yields:
        Nothing.
    """
    shown = [loud for loud in LOGS if loud.is_progress_bar_enabled()]
    levels = [loud.get_verbosity() for loud in LOGS]
    for loud in shown:
        loud.disable_progress_bar()
    if not remarks:
        for loud in LOGS:
            loud.set_verbosity_error()
    try:
        yield
    finally:
        for loud in shown:
            loud.enable_progress_bar()
        for loud, level in zip(LOGS, levels, strict=True):
            loud.set_verbosity(level)

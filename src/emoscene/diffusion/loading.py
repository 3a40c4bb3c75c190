"""What all families need to read the parts of a checkpoint: loading one part, and checking what came of it.

    load_parts(place)      the parts of a checkpoint, checked by its family before and by their weights afterwards
    load_part              one part of a folder that diffusers wrote
    check_tokenizer, check_weights, check_finite

An error names the part and the remedy. Progress bars and remarks of diffusers and transformers are kept quiet.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import diffusers.utils.logging
import torch
import transformers.utils.logging
from torch import Tensor
from transformers import CLIPTextConfig, CLIPTokenizer

from emoscene.core import run_dir
from emoscene.core.errors import EmosceneError, UsageError
from emoscene.core.file_reading import check_files_of
from emoscene.diffusion import hub
from emoscene.diffusion.families.base import Parts, find_family
from emoscene.diffusion.weight_files import find_files

T = TypeVar("T")
LOGS = (diffusers.utils.logging, transformers.utils.logging)
EXTENSIONS = {"add_embedding", "class_embedding", "encoder_hid_proj", "position_net", "post_quant_conv", "quant_conv"}
"""Modules that some UNets and autoencoders have, and that a config may leave out."""
LEGACY_END = 2
"""What old configs of CLIP say of its end token, whatever that is."""


def load_parts(place: Path, dtype: torch.dtype) -> Parts:
    """Load the parts of a checkpoint.

    Args:
        place: A folder that diffusers wrote, or a single safetensors file.
        dtype: The precision of the weights.

    Returns:
        The parts, on the CPU.

    Raises:
        UsageError: It is of no family that is read here.
        EmosceneError: A file is damaged.
    """
    for folder in (place, *place.glob("*/")):
        check_files_of(folder)
    family = find_family(place)
    family.check(place)
    found = family.load_parts(place, dtype)
    for encoder in family.text_models(found).values():
        settings: Any = encoder.config
        check_tokenizer(found.tokenizer, settings, place)
        check_weights(encoder, "text encoder", place)
    for name, model in (("UNet", found.unet), ("autoencoder", found.vae)):
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


def load_part(kind: type[T], folder: Path, part: str, **options: Any) -> T:
    """Load one part of a folder that diffusers wrote.

    Args:
        kind: The class of diffusers or transformers.
        folder: The checkpoint's folder.
        part: The part's folder in it.
        **options: Of `from_pretrained`; with `output_loading_info` the weights are compared with the config.

    Returns:
        The part.

    Raises:
        EmosceneError: A file is damaged, a weight is missing, or an index leads out of the folder.
    """
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
            f"the weights in {folder} lack {missing[0]}{describe_count(missing)}, which its config.json has: fetch or "
            "install it again"
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
            f"the weights in {folder} have {beyond[0]}{describe_count(beyond)}, and the model of its config.json does "
            "not: fetch the config.json of that base"
        )


def describe_count(names: list[str]) -> str:
    """Say how many names follow the first.

    Args:
        names: The names, the first of which was said.

    Returns:
        The end of a list, such as ` and 3 more`; empty where there is no other.
    """
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

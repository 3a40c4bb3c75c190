"""Digests of a base's weights: which base is it, whatever file its weights come from.

    fingerprint      UNet and text encoder, what an adapter is trained for
    vae_fingerprint  the encoding half of the autoencoder and its scaling factor, what latents depend on
    shapes           of UNet and text encoder: an adapter fits every checkpoint that has the same

A digest is SHA-256 over a part's tensors: each one's name as diffusers and transformers have it, and its numbers
rounded to fp16, in the order of the names. Tensors are read from the file, not from the loaded model, whose precision
may be another. What the model has no place for (averages, `position_ids`) does not count. So a folder, a single file,
shards, and the fp16 and fp32 variants of the same weights are the same base. The few settings that change what the same
weights compute (`SETTINGS`) count as well.

Tensors are read one at a time, so no base lies in memory twice. A digest is kept in this process until a file's size or
time of modification changes. Version 0.1 digested whole files; what it recorded is recognized and compared in its way.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import torch
from diffusers.loaders.single_file_utils import (
    convert_ldm_unet_checkpoint,
    convert_ldm_vae_checkpoint,
    convert_open_clip_checkpoint,
)
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from emoscene.core.errors import EmosceneError
from emoscene.diffusion.architecture import AUTOENCODER, read_header
from emoscene.diffusion.weight_files import DEEPER, OPEN_CLIPS, TEXTS, find_files

FORM = "fp16:"
OLD_FORM = re.compile(r"[0-9a-f]{64}|[0-9a-f]{32}( [0-9a-f]{32}){2}")
"""What version 0.1 recorded: the digest of a single file, or those of a folder's UNet, text encoder and tokenizer."""
AVERAGES = "model_ema."
"""Where a single file keeps the averages of its UNet's weights, which nothing reads."""
SETTINGS = {
    "unet": ("act_fn", "attention_head_dim", "norm_eps", "norm_num_groups"),
    "text_encoder": ("hidden_act", "layer_norm_eps", "num_attention_heads"),
    "text_encoder_2": ("hidden_act", "layer_norm_eps", "num_attention_heads"),
}
"""What a config says of how a part computes, where no weight's shape tells it."""
TEXT_PARTS = ("text_encoder", "text_encoder_2")
ENCODING = ("encoder.", "quant_conv.")
OLD_ATTENTION = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}
"""How diffusers once called the projections of the autoencoder's attention, and calls them now."""
Stamp = tuple[str, int, int]
"""A file as it was when it was read: path, size, time of modification in nanoseconds."""
Rename = Callable[[Mapping[str, int]], dict[str, str]]
"""From the tensors of a file, name -> number of dimensions, to their names: in the model -> in the file."""
_KNOWN: dict[tuple[tuple[Stamp, ...], str, str, tuple[str, ...]], str] = {}


def compute_fingerprint(place: Path, unet: nn.Module, text_encoders: Mapping[str, nn.Module]) -> str:
    """Digest the weights that an adapter is trained for.

    Args:
        place: the folder or the single file that the models were loaded from.
        unet: the loaded UNet, which tells the names of its weights.
        text_encoders: the loaded text encoders by their folders, for the same.

    Returns:
        `fp16:` and 64 hexadecimal digits.

    Raises:
        EmosceneError: for a file that cannot be read.
    """
    parts = []
    for name, model in {"unet": unet, **text_encoders}.items():
        parts.append(_digest(place, name, model, start=_describe_settings(name, model)))
    return FORM + hashlib.sha256(" ".join(parts).encode()).hexdigest()


def compute_vae_fingerprint(place: Path, vae: nn.Module) -> str:
    """Digest what latents depend on: the autoencoder's encoding half, and the factor that scales its latents.

    For a base loaded in fp32 or fp16 it is what version 0.1 recorded as `encoder`.

    Args:
        place: the folder or the single file that the autoencoder was loaded from.
        vae: the loaded autoencoder.

    Returns:
        64 hexadecimal digits.

    Raises:
        EmosceneError: for a file that cannot be read.
    """
    config: Any = vae.config
    return _digest(place, "vae", vae, start=str(config.scaling_factor), prefixes=ENCODING)


def is_old_form(recorded: str) -> bool:
    """Tell whether a fingerprint was recorded by version 0.1.

    Args:
        recorded: The fingerprint.

    Returns:
        Whether it was.
    """
    return OLD_FORM.fullmatch(recorded) is not None


def compute_shapes(unet: nn.Module, text_encoder: nn.Module) -> str:
    """Digest the shapes of all weights that an adapter is trained for: the architecture, as far as it matters to it.

    Args:
        unet: any UNet.
        text_encoder: any text encoder.

    Returns:
        16 hexadecimal digits, the same for all checkpoints of one architecture.
    """
    shapes = []
    for part in (unet, text_encoder):
        shapes.append(sorted(tuple(value.shape) for value in part.parameters()))
    return hashlib.sha256(repr(shapes).encode()).hexdigest()[:16]


def _describe_settings(part: str, model: nn.Module) -> str:
    """The settings in `SETTINGS`, in words; one number for all blocks is the same as a list of it."""
    config: Any = model.config
    found = {}
    for name in SETTINGS[part]:
        value = getattr(config, name)
        if isinstance(value, list | tuple) and len(set(value)) == 1:
            value = value[0]
        found[name] = value
    return repr(found)


def _digest(place: Path, part: str, model: nn.Module, start: str = "", prefixes: tuple[str, ...] = ("",)) -> str:
    """Digest one part's tensors, those whose names begin with one of these prefixes."""
    is_file = place.is_file()
    if is_file and part == "vae" and not _holds(place, AUTOENCODER):
        place, is_file = place.parent, False  # it lies beside the file
    files = [place]
    if not is_file:
        files = find_files(place / part).files
    prefix = OPEN_CLIPS.get(part, "")
    is_open_clip = is_file and bool(prefix) and _holds(place, prefix)
    names = sorted(_rename(part, name) for name in model.state_dict())
    wanted = tuple(name for name in names if name.startswith(prefixes))
    key = tuple(map(_stamp, files)), part, start, wanted
    if key not in _KNOWN:
        try:
            with ExitStack() as stack:
                opened = []
                for file in files:
                    opened.append(stack.enter_context(safe_open(str(file), "pt")))
                rename: Rename = partial(_name_weights, part)
                if is_file:
                    rename = partial(_name_parts, part, model)
                found = _convert_open_clip(opened[0], model, prefix) if is_open_clip else _find_tensors(opened, rename)
                _KNOWN[key] = _digest_tensors(found, wanted, start)
        except (SafetensorError, OSError) as error:
            raise EmosceneError(f"{files[0]} is missing or damaged ({error}): fetch or install it again") from error
        except KeyError as error:
            raise EmosceneError(
                f"{files[0]} lacks the weight {error} of its {part}: fetch or install it again"
            ) from error
    return _KNOWN[key]


def _holds(file: Path, prefix: str) -> bool:
    """Whether a single file has tensors whose names begin so."""
    return any(name.startswith(prefix) for name in read_header(file).tensors)


class _Loaded(dict[str, Tensor]):
    """Tensors in memory, which are asked for as those of an opened file are."""

    def get_tensor(self, name: str) -> Tensor:
        """The tensor of a name."""
        return self[name]


def _convert_open_clip(opened: Any, model: nn.Module, prefix: str) -> dict[str, tuple[Any, str]]:
    """Where each tensor of an OpenCLIP is, after its joint projections were split as transformers has them."""
    state = {}
    for key in opened.keys():  # noqa: SIM118
        if key.startswith(prefix):
            state[key] = opened.get_tensor(key)
    converted = _Loaded(convert_open_clip_checkpoint(model, state, prefix))
    return {name.removeprefix(DEEPER): (converted, name) for name in converted}


def _digest_tensors(tensors: Mapping[str, tuple[Any, str]], names: Iterable[str], start: str) -> str:
    """Digest these tensors, each (opened file, name there). Raises KeyError for a name that is not there."""
    digest = hashlib.sha256(start.encode())
    for name in names:
        file, key = tensors[name]
        digest.update(name.encode())
        digest.update(file.get_tensor(key).to(torch.float16).contiguous().numpy())
    return digest.hexdigest()


def _find_tensors(opened: Iterable[Any], rename: Rename) -> dict[str, tuple[Any, str]]:
    """Where each tensor is: its name in the model -> (opened file, its name there)."""
    found: dict[str, tuple[Any, str]] = {}
    for file in opened:
        dimensions = {key: len(file.get_slice(key).get_shape()) for key in file.keys()}  # noqa: SIM118
        for name, key in rename(dimensions).items():
            found[name] = file, key
    return found


def _name_weights(part: str, dimensions: Mapping[str, int]) -> dict[str, str]:
    """The names of a folder's tensors: in the model -> in the file."""
    return {_rename(part, key): key for key in dimensions}


def _name_parts(part: str, model: nn.Module, dimensions: Mapping[str, int]) -> dict[str, str]:
    """The names of a single file's tensors: in the model -> in the file.

    diffusers' converters rename the weights themselves; here each is a number, which tells where it came from.
    """
    if part in TEXT_PARTS:
        names = {}
        for key in dimensions:
            for prefix in TEXTS:
                if key.startswith(prefix):
                    names[_rename(part, key.removeprefix(prefix))] = key
        return names
    keys = [key for key in dimensions if not key.startswith(AVERAGES)]
    numbers = {}
    for number, key in enumerate(keys):
        numbers[key] = torch.full([1] * dimensions[key], number)
    convert = convert_ldm_vae_checkpoint
    if part == "unet":
        convert = convert_ldm_unet_checkpoint
    converted: dict[str, Tensor] = convert(numbers, model.config)
    names = {}
    for name, value in converted.items():
        names[_rename(part, name)] = keys[int(value)]
    return names


def _rename(part: str, name: str) -> str:
    """The name that a weight has today: CLIP's were once a module deeper, and attention's words were others."""
    if part in TEXT_PARTS:
        return name.removeprefix(DEEPER)
    words = name.split(".")
    if part == "vae" and "attentions" in words and words[-2] in OLD_ATTENTION:
        return ".".join([*words[:-2], OLD_ATTENTION[words[-2]], words[-1]])
    return name


def _stamp(file: Path) -> Stamp:
    about = file.stat()
    return str(file.absolute()), about.st_size, about.st_mtime_ns

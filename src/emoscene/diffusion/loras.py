"""LoRAs trained elsewhere, put on a base: `--lora style.safetensors:0.8`.

Such a file holds factors A and B of some layers of the UNet and the text encoder, and a rank r and an alpha of each;
what it makes of a layer is W + scale (alpha / r) B A (Hu et al. 2021). The names of the layers are read by diffusers'
own reader, so what diffusers loads (its own files, kohya's, A1111's) loads here, without PEFT.

A base with LoRAs is a new object, which shares every tensor with the old one except the layers that change. To unload a
LoRA, drop the new base: nothing was written into the old one. A LoRA is part of the base: strength 0 is
the base with it, bit for bit.
"""

from __future__ import annotations

import copy
import math
import os
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from hashlib import file_digest, sha256
from itertools import chain
from pathlib import Path
from typing import Any, NotRequired

import torch
from diffusers.loaders import StableDiffusionLoraLoaderMixin, StableDiffusionXLLoraLoaderMixin
from diffusers.utils import convert_state_dict_to_peft, convert_unet_state_dict_to_peft
from diffusers.utils.state_dict_utils import StateDictType
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn
from typing_extensions import TypedDict

from emoscene.core import run_dir
from emoscene.core.errors import EmosceneError, UsageError
from emoscene.core.file_reading import TABLE, check_value, open_file, parse_json
from emoscene.core.taxonomy import LARGEST
from emoscene.diffusion.architecture import is_safetensors, read_header, refuse_pickle
from emoscene.diffusion.loading import check_finite
from emoscene.diffusion.model import DiffusionModel
from emoscene.diffusion.weight_files import DEEPER

ATTRIBUTES = ("unet", "text_encoder")
"""The parts of a base that a LoRA may change."""
MEGABYTES = 2048
NOTE = "lora_adapter_metadata"  # the key of the header under which diffusers keeps PEFT's description
OTHERS = {"dora_scale": "DoRA", "hada_": "LoHa", "lokr_": "LoKr", "oft_": "OFT", "lora_mid": "CP-decomposed LoCon"}
"""What a LoRA's file may hold that is more than two factors, by a part of the key."""


class LoraSettings(TypedDict):
    """What is read of PEFT's description of one part."""

    lora_alpha: NotRequired[float]
    alpha_pattern: NotRequired[dict[str, float | None] | None]
    use_rslora: NotRequired[bool]


class LoraDescription(TypedDict):
    """PEFT's description of a LoRA, by the parts of the base."""

    unet: NotRequired[LoraSettings]
    text_encoder: NotRequired[LoraSettings]
    text_encoder_2: NotRequired[LoraSettings]


@dataclass(frozen=True)
class Lora:
    """A file and how much of it; its digest is A1111's, the first twelve digits of the tensors' sha256."""

    file: Path
    scale: float
    digest: str

    def __str__(self) -> str:
        return f"{self.file.stem}:{self.scale:g}:{self.digest}"


def apply_loras(base: DiffusionModel, given: str | Path | Sequence[str | Path]) -> DiffusionModel:
    """Make a base with LoRAs from one without; the given base stays as it is (Hu et al. 2021).

    Args:
        base: The base.
        given: One or several LoRAs, each `FILE` or `FILE:scale`.

    Returns:
        A base that shares all other weights with the given one.

    Raises:
        UsageError: A file does not exist, is not a LoRA, or was made for another base.
        EmosceneError: A file is damaged.
    """
    loras = [parse_lora(one) for one in run_dir.as_list(given)]
    combined = copy.copy(base)
    combined.loras = (*base.loras, *map(str, loras))
    layers = _list_layers(base)
    changes: dict[tuple[str, str], list[Tensor]] = defaultdict(list)
    for lora in loras:
        for place, (a, b) in read_factors(lora.file, base).items():
            if not hasattr(layers.get(place), "weight"):
                lacks = f"whose {place[0]} has no {place[1]}"
                raise UsageError(f"{lora.file} does not fit the base '{base.name}', {lacks}: give its own with --base")
            changes[place].append(_compute_delta(lora, layers[place], place, a, b))
    for attribute in ATTRIBUTES:
        setattr(combined, attribute, _share_weights(getattr(base, attribute)))
    copies = _list_layers(combined)
    made: dict[str, Tensor] = {}
    for (part, name), deltas in changes.items():
        layer: Any = copies[part, name]
        w = layer.weight.detach()
        new = torch.stack([w.float(), *(delta.to(w.device) for delta in deltas)]).sum(0).to(w.dtype)
        made[f"{part}.{name}"] = new
        layer.weight = nn.Parameter(new, requires_grad=False)
    check_finite(made, f"'{base.name}' with {', '.join(map(str, loras))}", "lower the LoRA's scale")
    return combined


def _list_layers(base: DiffusionModel) -> dict[tuple[str, str], nn.Module]:
    """All modules that a LoRA may change, by (part, name); CLIP's without the module that some of it lies in."""
    layers = {}
    for part, model in {"unet": base.unet, **base.family.text_models(base.parts)}.items():
        for name, module in model.named_modules():
            layers[part, name.removeprefix(DEEPER)] = module
    return layers


def parse_lora(text: str | Path) -> Lora:
    """Parse `FILE` or `FILE:scale`.

    Args:
        text: The text. What follows the last colon is a scale only if the whole text is not the name of a file.

    Returns:
        The LoRA.

    Raises:
        UsageError: The file does not exist or is not a safetensors file, or the scale is not a number from
            `-LARGEST` to `LARGEST`.
    """
    file, colon, number = str(text).rpartition(":")
    if Path(text).is_file() or not colon:
        file, number = str(text), "1"
    path = Path(file)
    if not path.is_file():
        raise UsageError(f"{text} is not there: give a LoRA's file, as in style.safetensors:0.8")
    refuse_pickle(path)
    if path.suffix != ".safetensors" and not is_safetensors(path):
        raise UsageError(f"{path} is no safetensors file: give one, as in style.safetensors:0.8")
    if path.stat().st_size > MEGABYTES * 2**20:
        raise UsageError(
            f"{path} is larger than {MEGABYTES} MB: that is a whole model and no LoRA (--base takes those)"
        )
    read_header(path)
    try:
        scale = float(number)
    except ValueError:
        scale = math.nan
    if not math.isfinite(scale):
        raise UsageError(f"{number!r} in {str(text)!r} is no scale: write a number, as in style.safetensors:0.8")
    if abs(scale) > LARGEST:
        raise UsageError(f"{number!r} in {str(text)!r} is out of range: a scale goes from {-LARGEST:g} to {LARGEST:g}")
    return Lora(path, scale, _hash_file(path)[:12])


def hash_tensors(data: bytes) -> str:
    """Digest the tensors of a safetensors file without its header; other programs identify a LoRA by this digest.

    Args:
        data: The bytes of the file.

    Returns:
        The SHA-256 digest, 64 hexadecimal digits.
    """
    return sha256(data[8 + int.from_bytes(data[:8], "little") :]).hexdigest()


def _hash_file(file: Path) -> str:
    """The digest of a file's tensors, as `hash_tensors` computes it; the file is not held in memory."""
    with open_file(file) as stream:
        size = os.fstat(stream.fileno()).st_size
        stream.seek(min(8 + int.from_bytes(stream.read(8), "little"), size))
        return file_digest(stream, "sha256").hexdigest()


def read_factors(file: Path, base: DiffusionModel | None = None) -> dict[tuple[str, str], tuple[Tensor, Tensor]]:
    """Read the factors of a LoRA.

    Args:
        file: The safetensors file.
        base: The base that it is for; one of Stable Diffusion 1 if left out.

    Returns:
        By (part of the base, name of the layer) the factors A [r, ...] and B [out, r, ...]; B is multiplied by
        alpha / r.

    Raises:
        UsageError: The file is not a LoRA of the base's kind.
        EmosceneError: The file is damaged.
    """
    try:
        with safe_open(str(file), "pt") as opened:
            about = opened.metadata() or {}
            state = {key: opened.get_tensor(key).float() for key in opened.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise EmosceneError(f"{file} is damaged or no safetensors file ({error}): fetch it again") from error
    for mark, kind in OTHERS.items():
        if any(mark in key for key in state):
            raise UsageError(f"{file} is a {kind}, which is more than two factors a layer: a plain LoRA is wanted")
    try:
        parts = ["unet", "text_encoder"]
        reader: Any = StableDiffusionLoraLoaderMixin.lora_state_dict
        if base is not None and len(base.family.text_models(base.parts)) > 1:
            parts = ["unet", *base.family.text_models(base.parts)]
            reader = partial(StableDiffusionXLLoraLoaderMixin.lora_state_dict, unet_config=base.unet.config)
        named, _ = reader(_fold_alphas(state))
        return dict(_read_pairs(named, parts, _read_description(about)))
    except (ValueError, LookupError, ArithmeticError, RuntimeError, TypeError, AttributeError) as error:
        told = about.get("ss_base_model_version") or about.get("modelspec.architecture")
        origin = ""
        if told:
            origin = f" (it says {told})"
        label = "Stable Diffusion 1"
        if base is not None:
            label = base.family.label
        raise UsageError(f"{file} is no LoRA of {label}{origin}: {error!s:.99}; give one that is") from error


def _read_pairs(
    state: Mapping[str, Tensor], parts: Sequence[str], about: Mapping[str, Any]
) -> Iterator[tuple[tuple[str, str], tuple[Tensor, Tensor]]]:
    """The factors, from tensors under anybody's names; any exception may be raised for unknown names and shapes."""
    known = 0
    for part in parts:
        tensors = _to_peft_names(part, state)
        for key in tensors:
            if not key.endswith(".lora_A.weight"):
                continue
            name = key.removesuffix(".lora_A.weight")
            a, b = tensors[key], tensors[f"{name}.lora_B.weight"]
            if a.ndim < 2 or len(a) != b[0].numel():
                raise ValueError(f"the factors of {name} do not fit together")
            known += 2
            yield (part, name), (a, b * _lora_scale(about, part, name, len(a)))
    if not known or known != len(state):
        raise ValueError("its tensors have other names")


def _read_description(about: Mapping[str, str]) -> dict[str, Any]:
    """PEFT's description in a header. Raises ValueError for what is none."""
    description = parse_json(about.get(NOTE, "{}"))
    parts: dict[str, dict[str, Any]] = {}
    for key, value in check_value(description, TABLE, NOTE, "save it again").items():
        part, _, name = key.partition(".")
        parts.setdefault(part, {})[name] = value
    check_value(parts, LoraDescription, NOTE, "save it again")
    table: dict[str, Any] = description
    return table


def _fold_alphas(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """kohya's alphas taken into the upper factors, under whatever names the layers have."""
    folded = {key: value for key, value in state.items() if not key.endswith(".alpha")}
    for key in state.keys() - folded.keys():
        name = key.removesuffix(".alpha")
        alpha = float(state[key]) / len(state[f"{name}.lora_down.weight"])
        folded[f"{name}.lora_up.weight"] = folded[f"{name}.lora_up.weight"] * alpha
    return folded


def _to_peft_names(part: str, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """One part's tensors, under PEFT's names."""
    mine = {}
    for key, value in state.items():
        if key.startswith(f"{part}."):
            mine[key.removeprefix(f"{part}.")] = value
    if part == "unet":
        return convert_unet_state_dict_to_peft(mine)
    converted = convert_state_dict_to_peft(mine, StateDictType.DIFFUSERS_OLD)  # which knows the newer names as well
    names = {}
    for key, value in converted.items():
        names[key.removeprefix("text_model.")] = value
    return names


def _lora_scale(about: Mapping[str, Any], part: str, name: str, rank: int) -> float:
    """alpha / r of a layer, as PEFT's own description in the file has it; 1 where there is none.

    PEFT's patterns are regular expressions; a stranger's file gets none run here, and is read as the name's ending.
    """
    patterns = about.get(f"{part}.alpha_pattern") or {}
    alpha = about.get(f"{part}.lora_alpha", rank)
    for key, own in patterns.items():
        if f".{name}".endswith(f".{key.lstrip('^')}"):
            if own is not None:
                alpha = own
            break
    if about.get(f"{part}.use_rslora"):
        return float(alpha) / math.sqrt(rank)
    return float(alpha) / rank


def _compute_delta(lora: Lora, layer: nn.Module, place: tuple[str, str], a: Tensor, b: Tensor) -> Tensor:
    """What is added to a layer's weight."""
    w = layer.get_parameter("weight")
    shape, whole = (len(b), a[0].numel()), (len(w), w[0].numel())
    if shape != whole:
        sizes = f"{shape[0]} x {shape[1]} in it and {whole[0]} x {whole[1]} in the base"
        raise UsageError(
            f"{lora.file} was made for another base: {'.'.join(place)} is {sizes}; give its own with --base"
        )
    delta = lora.scale * (b.flatten(1) @ a.flatten(1)).view(w.shape)
    if not bool(delta.isfinite().all()):
        raise EmosceneError(f"{lora.file} holds numbers that are not finite in {'.'.join(place)}: fetch it again")
    return delta


def _share_weights(model: Any) -> Any:
    """A copy of a model with the very same tensors in it."""
    tensors: Iterable[Tensor] = chain(model.parameters(), model.buffers())
    return copy.deepcopy(model, {id(tensor): tensor for tensor in tensors})

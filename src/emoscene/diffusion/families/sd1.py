"""Stable Diffusion 1 (Rombach et al. 2022): one CLIP text encoder, a UNet and an autoencoder of four latent channels.

A folder has a part in each of its folders. A single file (`--base FILE.safetensors`) holds the same weights under the
names of the original code: `model.diffusion_model.` the UNet, `first_stage_model.` the autoencoder and
`cond_stage_model.transformer.` the text encoder. It says nothing of their settings, so these are those of the base of
its architecture, Stable Diffusion v1.5's in `bases/sd15` unless another has it; diffusers' own converters rename the
weights. It has no tokenizer either: a folder `tokenizer` beside the file counts first, then that base's, then CLIP's.
Nothing is fetched, and a pickle is refused whatever its name, for reading one runs what it says.

Other widths are read as well (the miniature), and so is a folder of Stable Diffusion 2, whose text is 1,024 wide.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import count
from pathlib import Path
from typing import Any, ClassVar, final

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from diffusers.loaders.single_file_utils import (
    convert_ldm_unet_checkpoint,
    convert_ldm_vae_checkpoint,
    create_diffusers_clip_model_from_ldm,
)
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor
from transformers import CLIPTextModel, CLIPTokenizer

from emoscene.core import registry
from emoscene.core.errors import EmosceneError, UsageError
from emoscene.diffusion import compatibility
from emoscene.diffusion.architecture import (
    FIRST,
    FLAT_TEXT,
    UNET,
    is_safetensors,
    read_config,
    read_header,
    text_settings,
)
from emoscene.diffusion.clip_tokenizer import make_clip_tokenizer
from emoscene.diffusion.families.base import ExportNames, Family, Parts, TextEncoding, find_configs
from emoscene.diffusion.loading import describe_count, load_part, silence_libraries
from emoscene.diffusion.transfer import move_to_device
from emoscene.diffusion.weight_files import deepen_name

CONFIGS = registry.HOME / "diffusion/bases/sd15"
SCHEDULER = "scheduler/scheduler_config.json"
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
OTHER_PARTS = ("text_encoder_2", "transformer", "prior")
"""Folders that a relative has, and no Stable Diffusion 1."""


@final
class SD1(Family):
    """Stable Diffusion 1 and its fine-tuned copies, in a folder or in a single file."""

    name = "sd1"
    label = "Stable Diffusion 1"
    adapter_layers: ClassVar = {
        "attention": r"\.to_(q|k|v|out\.0)$",
        "feedforward": r"\.ff\.net\.(0\.proj|2)$",
        "projections": r"\.attentions\.\d+\.proj_(in|out)$",
        "convolutions": r"\.conv[12]$",
    }
    export_names = ExportNames({"unet": "lora_unet", "text_encoder": "lora_te"}, "sd_v1", "stable-diffusion-v1")
    configs = CONFIGS

    def recognizes(self, place: Path) -> bool:
        """By the UNet's and the text encoder's first tensors in a file, by the parts in a folder."""
        if place.is_file():
            names = read_header(place).tensors if is_safetensors(place) else {}
            return FIRST["UNet"] in names and (FIRST["text encoder"] in names or FLAT_TEXT in names)
        others = [name for name in OTHER_PARTS if (place / name).is_dir()]
        return (place / "unet").is_dir() and not others

    def read_shapes(self, place: Path) -> tuple[tuple[int, ...], int]:
        """From the configs of a folder, or from the header of a file."""
        if place.is_file():
            return _read_file_shapes(place)
        unet = read_config(place / "unet/config.json")
        text = read_config(place / "text_encoder/config.json")
        try:
            return tuple(unet["block_out_channels"]), int(text_settings(text)["hidden_size"])
        except (KeyError, TypeError, ValueError) as error:
            raise EmosceneError(f"the configs in {place} lack the shapes ({error}): fetch it again") from error

    def check_configs(self, folder: Path) -> None:
        """As `compatibility.check_configs`."""
        compatibility.check_configs(folder)

    def check(self, place: Path) -> None:
        """As `compatibility` does for a folder and for a file."""
        if place.is_file():
            compatibility.check_file(place)
        else:
            compatibility.check_folder(place)

    def load_parts(self, place: Path, dtype: torch.dtype) -> Parts:
        """By diffusers and transformers."""
        if place.is_file():
            return _load_file(place, dtype)
        return _load_folder(place, dtype)

    def encode_prompt(
        self, parts: Parts, tokens: Sequence[Sequence[int]], device: torch.device, suffix: Tensor | None = None
    ) -> TextEncoding:
        """CLIP's last hidden state after its final norm [B, 77, D]."""
        n = 0
        if suffix is not None:
            n = suffix.shape[1]
        tokenizer, encoder = parts.tokenizer, parts.text_encoder
        start, end, padding = tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id
        ids = []
        for words in tokens:
            ids.append([start, *words, *[end] * (n + 1)] + [padding] * (compatibility.POSITIONS - 2 - n - len(words)))
        inputs = move_to_device(torch.tensor(ids), device)
        if suffix is None:
            return TextEncoding(encoder(inputs).last_hidden_state)
        ends = move_to_device(torch.tensor([1 + len(words) for words in tokens]), device)
        at = ends[:, None] + torch.arange(n, device=device)
        rows = torch.arange(len(tokens), device=device)[:, None]

        def place(module: torch.nn.Module, args: Any, output: Tensor) -> Tensor:
            return output.index_put((rows, at), suffix.to(output.dtype))

        hook = encoder.get_input_embeddings().register_forward_hook(place)
        try:
            return TextEncoding(encoder(inputs).last_hidden_state)
        finally:
            hook.remove()


def _read_file_shapes(file: Path) -> tuple[tuple[int, ...], int]:
    """The shapes of a single file: the original code counts blocks, and a downsampler ends a level."""
    header = read_header(file)
    levels: list[int] = []
    width = 0
    for number in count(1):
        convolution = header.tensors.get(f"{UNET}input_blocks.{number}.0.out_layers.3.weight")
        if convolution:
            width = convolution.shape[0]
        elif f"{UNET}input_blocks.{number}.0.op.weight" in header.tensors:
            levels.append(width)
        else:
            break
    embedding = header.tensors.get(FIRST["text encoder"]) or header.tensors.get(FLAT_TEXT)
    if width and embedding:
        return (*levels, width), embedding.shape[1]
    raise EmosceneError(f"{file} tells no shapes of a {SD1.label}: fetch it again")


def _load_folder(folder: Path, dtype: torch.dtype) -> Parts:
    options = {"use_safetensors": True, "local_files_only": True, "output_loading_info": True}
    return Parts(
        load_part(CLIPTokenizer, folder, "tokenizer", local_files_only=True),
        load_part(CLIPTextModel, folder, "text_encoder", dtype=dtype, ignore_mismatched_sizes=True, **options),
        load_part(UNet2DConditionModel, folder, "unet", torch_dtype=dtype, **options),
        load_part(AutoencoderKL, folder, "vae", torch_dtype=dtype, **options),
        read_config(folder / SCHEDULER),
    )


def _load_file(file: Path, dtype: torch.dtype) -> Parts:
    configs = find_configs(file)
    schedule = read_config(configs / SCHEDULER) | compatibility.read_prediction(file, read_header(file))
    tokenizer = _load_tokenizer(file, configs)
    try:
        state = {}
        for key, value in load_file(str(file)).items():
            state[deepen_name(key)] = value
    except (SafetensorError, OSError) as error:
        raise EmosceneError(f"{file} is damaged ({str(error).splitlines()[0]}): fetch it again") from error
    try:
        with silence_libraries(remarks=False):  # of diffusers' own cast; what it could not place is an error here
            return Parts(tokenizer, *_convert_state(state, configs, dtype), schedule)
    except (UsageError, EmosceneError):
        raise
    except NotImplementedError as error:  # diffusers casts weights that it did not find
        raise EmosceneError(f"{file} is not whole, for {_missing_weight(file, configs)}: fetch it again") from error
    except (ValueError, RuntimeError, KeyError) as error:
        raise UsageError(
            f"{file} is not of Stable Diffusion v1.5's shape ({str(error).splitlines()[0][:120]}): give one of that "
            "family, or a folder that diffusers wrote"
        ) from error


def _convert_state(
    state: dict[str, Tensor], configs: Path, dtype: torch.dtype
) -> tuple[CLIPTextModel, UNet2DConditionModel, AutoencoderKL]:
    there = {"config": str(configs), "local_files_only": True, "torch_dtype": dtype}
    return (
        create_diffusers_clip_model_from_ldm(CLIPTextModel, state, subfolder="text_encoder", **there),
        UNet2DConditionModel.from_single_file(state, subfolder="unet", **there),
        AutoencoderKL.from_single_file(state, subfolder="vae", **there),
    )


def _missing_weight(file: Path, configs: Path) -> str:
    """Which part of a single file lacks what, in diffusers' names; by the header alone."""
    header = read_header(file).tensors
    kinds: Any = (
        ("UNet", "unet", UNet2DConditionModel, convert_ldm_unet_checkpoint),
        ("autoencoder", "vae", AutoencoderKL, convert_ldm_vae_checkpoint),
    )
    for part, folder, kind, convert in kinds:
        config = kind.load_config(str(configs), subfolder=folder)
        with torch.device("meta"):
            expected = kind.from_config(config).state_dict().keys()
            found = convert({name: torch.empty(entry.shape) for name, entry in header.items()}, config=config)
        missing = sorted(expected - found.keys())
        if missing:
            return f"its {part} lacks {missing[0]}{describe_count(missing)}"
    return "its weights are not those of Stable Diffusion v1.5"


def _load_tokenizer(file: Path, configs: Path) -> CLIPTokenizer:
    """The tokenizer of a single file: one beside it, one of the base whose configs it has, or CLIP's."""
    for folder in (file.parent, configs):
        if (folder / "tokenizer").is_dir():
            return load_part(CLIPTokenizer, folder, "tokenizer", local_files_only=True)
    return make_clip_tokenizer()

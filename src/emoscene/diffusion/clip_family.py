"""What the families of Stable Diffusion have in common: CLIP, a UNet and an autoencoder of four latent channels.

A folder has a part in each of its folders. A single file (`--base FILE.safetensors`) holds the same weights under the
names of the original code: `model.diffusion_model.` the UNet, `first_stage_model.` the autoencoder, and the text
encoders under names that tell the family. It says nothing of their settings, so these are those of the base of its
architecture, or else of the family's usual shapes; diffusers' own converters rename the weights. It has no tokenizer
either: a folder `tokenizer` beside the file counts first, then that base's, then CLIP's; and a folder `vae` beside it
stands in for an autoencoder that it lacks. Nothing is fetched, and a pickle is refused whatever its name, for reading
one runs what it says.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import count
from pathlib import Path
from typing import Any, ClassVar

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from diffusers.loaders.single_file_utils import (
    convert_ldm_unet_checkpoint,
    convert_ldm_vae_checkpoint,
    create_diffusers_clip_model_from_ldm,
)
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from transformers import CLIPTextModel, CLIPTokenizer

from emoscene.core.errors import EmosceneError, UsageError
from emoscene.diffusion import compatibility
from emoscene.diffusion.architecture import UNET, is_safetensors, read_config, read_header, text_settings
from emoscene.diffusion.clip_tokenizer import make_clip_tokenizer
from emoscene.diffusion.families.base import Family, Parts, TextEncoding, find_configs
from emoscene.diffusion.loading import describe_count, load_part, silence_libraries
from emoscene.diffusion.text_encoders import lay_out_ids, run_encoder
from emoscene.diffusion.transfer import move_to_device
from emoscene.diffusion.weight_files import deepen_name

SCHEDULER = "scheduler/scheduler_config.json"
OTHER_PARTS = ("text_encoder_2", "transformer", "prior")
"""Folders that a relative has, and no Stable Diffusion with a single text encoder."""
ADAPTER_LAYERS = {
    "attention": r"\.to_(q|k|v|out\.0)$",
    "feedforward": r"\.ff\.net\.(0\.proj|2)$",
    "projections": r"\.attentions\.\d+\.proj_(in|out)$",
    "convolutions": r"\.conv[12]$",
}
"""Kinds of layers of the UNet that an adapter may change, and the patterns of their names."""


class ClipFamily(Family):
    """A family of Stable Diffusion, whose parts diffusers and transformers load.

    Attributes:
        layout: What its checkpoints are made of.
        text_classes: The classes of its text encoders in transformers, by folder.
        clip_padding: The id that prompts are filled up with where CLIP's tokenizer is the package's own; None is its
            end, as OpenAI's encoder has it.
    """

    layout: ClassVar[compatibility.Layout]
    text_classes: ClassVar[dict[str, Any]] = {"text_encoder": CLIPTextModel}
    adapter_layers: ClassVar = ADAPTER_LAYERS
    clip_padding: ClassVar[int | None] = None

    def recognizes_file(self, place: Path) -> bool:
        """Tell by the names of a single file's tensors whether it is of this family.

        Args:
            place: The file.

        Returns:
            Whether it has a UNet and this family's text encoders.
        """
        if not is_safetensors(place):
            return False
        found = read_header(place).tensors
        for part, names in self.layout.names.items():
            if part != "autoencoder" and not any(name in found for name in names):
                return False
        return True

    def read_shapes(self, place: Path) -> tuple[tuple[int, ...], int]:
        """From the configs of a folder, or from the header of a file."""
        if place.is_file():
            return self._read_file_shapes(place)
        unet = read_config(place / "unet/config.json")
        width = 0
        try:
            for part in self.layout.texts:
                width += int(text_settings(read_config(place / part / "config.json"))["hidden_size"])
            return tuple(unet["block_out_channels"]), width
        except (KeyError, TypeError, ValueError) as error:
            raise EmosceneError(f"the configs in {place} lack the shapes ({error}): fetch it again") from error

    def check_configs(self, folder: Path) -> None:
        """As `compatibility.check_configs`."""
        compatibility.check_configs(folder, self.layout)

    def check(self, place: Path) -> None:
        """As `compatibility` does for a folder and for a file."""
        if place.is_file():
            compatibility.check_file(place, self.layout)
        else:
            compatibility.check_folder(place, self.layout)

    def load_parts(self, place: Path, dtype: torch.dtype) -> Parts:
        """By diffusers and transformers."""
        if place.is_file():
            return self._load_file(place, dtype)
        return self._load_folder(place, dtype)

    def join_text_encoders(self, encoders: dict[str, Any], place: Path) -> nn.Module:
        """Make one part of the text encoders that were loaded.

        Args:
            encoders: The encoders by folder.
            place: The folder, or the folder with the configs of a single file.

        Returns:
            The text encoder of `Parts`.
        """
        encoder: nn.Module = encoders["text_encoder"]
        return encoder

    def choose_vae_dtype(self, config: Any, dtype: torch.dtype) -> torch.dtype:
        """Choose the precision of the autoencoder.

        Args:
            config: Its settings.
            dtype: The precision of the base.

        Returns:
            The precision.
        """
        return dtype

    def read_schedule(self, file: Path, configs: Path) -> dict[str, Any]:
        """Read the settings of the noise that a single file was trained with.

        Args:
            file: The file.
            configs: The folder with its configs.

        Returns:
            The settings of a scheduler.
        """
        marks = compatibility.read_prediction(file, read_header(file))
        return read_config(configs / SCHEDULER) | marks

    def _read_file_shapes(self, file: Path) -> tuple[tuple[int, ...], int]:
        """The shapes of a single file: the original code counts blocks, and a downsampler ends a level."""
        header = read_header(file).tensors
        levels: list[int] = []
        width = 0
        for number in count(1):
            convolution = header.get(f"{UNET}input_blocks.{number}.0.out_layers.3.weight")
            if convolution:
                width = convolution.shape[0]
            elif f"{UNET}input_blocks.{number}.0.op.weight" in header:
                levels.append(width)
            else:
                break
        text_dim = 0
        for part, names in self.layout.names.items():
            found = [header[name] for name in names if name in header]
            if "text" in part and not found:
                width = 0
            elif "text" in part:
                text_dim += found[0].shape[1]
        if width and text_dim:
            return (*levels, width), text_dim
        raise EmosceneError(f"{file} tells no shapes of a {self.label}: fetch it again")

    def _load_folder(self, folder: Path, dtype: torch.dtype) -> Parts:
        options = {"use_safetensors": True, "local_files_only": True, "output_loading_info": True}
        tokenizer = load_part(CLIPTokenizer, folder, "tokenizer", local_files_only=True)
        encoders = {}
        for part, kind in self.text_classes.items():
            encoders[part] = load_part(kind, folder, part, dtype=dtype, ignore_mismatched_sizes=True, **options)
        vae_dtype = self.choose_vae_dtype(read_config(folder / "vae/config.json"), dtype)
        return Parts(
            tokenizer,
            self.join_text_encoders(encoders, folder),
            load_part(UNet2DConditionModel, folder, "unet", torch_dtype=dtype, **options),
            load_part(AutoencoderKL, folder, "vae", torch_dtype=vae_dtype, **options),
            read_config(folder / SCHEDULER),
        )

    def _load_file(self, file: Path, dtype: torch.dtype) -> Parts:
        configs = find_configs(file)
        schedule = self.read_schedule(file, configs)
        tokenizer, padding = _load_tokenizer(file, configs), None
        if tokenizer is None:
            tokenizer, padding = make_clip_tokenizer(), self.clip_padding
        try:
            state = {}
            for key, value in load_file(str(file)).items():
                state[deepen_name(key)] = value
        except (SafetensorError, OSError) as error:
            raise EmosceneError(f"{file} is damaged ({str(error).splitlines()[0]}): fetch it again") from error
        try:
            with silence_libraries(remarks=False):  # of diffusers' own cast; what it could not place is an error here
                return Parts(tokenizer, *self._convert_state(state, file, configs, dtype), schedule, padding)
        except (UsageError, EmosceneError):
            raise
        except NotImplementedError as error:  # diffusers casts weights that it did not find
            raise EmosceneError(f"{file} is not whole, for {_missing_weight(file, configs)}: fetch it again") from error
        except (ValueError, RuntimeError, KeyError) as error:
            raise UsageError(
                f"{file} is not of {self.label}'s shape ({str(error).splitlines()[0][:120]}): give one of that "
                "family, or a folder that diffusers wrote"
            ) from error

    def _convert_state(
        self, state: dict[str, Tensor], file: Path, configs: Path, dtype: torch.dtype
    ) -> tuple[nn.Module, UNet2DConditionModel, AutoencoderKL]:
        there = {"config": str(configs), "local_files_only": True}
        encoders = {}
        for part, kind in self.text_classes.items():
            encoders[part] = create_diffusers_clip_model_from_ldm(
                kind, state, subfolder=part, torch_dtype=dtype, **there
            )
        unet = UNet2DConditionModel.from_single_file(state, subfolder="unet", torch_dtype=dtype, **there)
        has_vae = any(name in state for name in self.layout.names["autoencoder"])
        vae_dtype = self.choose_vae_dtype(read_config(configs / "vae/config.json"), dtype)
        if has_vae:
            vae = AutoencoderKL.from_single_file(state, subfolder="vae", torch_dtype=vae_dtype, **there)
        else:
            options = {"use_safetensors": True, "local_files_only": True, "output_loading_info": True}
            vae = load_part(AutoencoderKL, file.parent, "vae", torch_dtype=vae_dtype, **options)
        return self.join_text_encoders(encoders, configs), unet, vae


def encode_last_state(
    parts: Parts, tokens: Sequence[Sequence[int]], device: torch.device, suffix: Tensor | None
) -> TextEncoding:
    """Encode prompts by the last hidden state of a single text encoder, after its final norm.

    Args:
        parts: The parts.
        tokens: The ids of each prompt's words [B].
        device: Where it computes.
        suffix: Learned vectors [B, n, D], or None.

    Returns:
        The text embeddings [B, 77, D].
    """
    room = 0
    if suffix is not None:
        room = suffix.shape[1]
    padding = parts.padding
    if padding is None:
        padding = parts.tokenizer.pad_token_id
    ids = move_to_device(lay_out_ids(tokens, room, parts.tokenizer, padding), device)
    ends = [1 + len(words) for words in tokens]
    return TextEncoding(run_encoder(parts.text_encoder, ids, suffix, ends).last_hidden_state)


def has_linear_projections(place: Path) -> bool:
    """Tell whether the UNet of a folder projects its features by linear layers, as it does from Stable Diffusion 2 on.

    Args:
        place: The folder.

    Returns:
        Whether it does; False where no config tells.
    """
    config = place / "unet/config.json"
    return config.is_file() and read_config(config).get("use_linear_projection") is True


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
    return "its weights are not those of its configs"


def _load_tokenizer(file: Path, configs: Path) -> CLIPTokenizer | None:
    """The tokenizer of a single file: one beside it, or one of the base whose configs it has; None where CLIP's is."""
    for folder in (file.parent, configs):
        if (folder / "tokenizer").is_dir():
            return load_part(CLIPTokenizer, folder, "tokenizer", local_files_only=True)
    return None

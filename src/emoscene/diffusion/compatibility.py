"""Whether a checkpoint can serve as a base, told before any weight is read: an error names the part and the remedy.

    check_configs(folder)                      is it a Stable Diffusion of the kind that is read here
    check_folder(folder), check_file(file)     and is it whole
    read_prediction(file)                      what a single file says that its UNet predicts

What is read here is a UNet that turns four latent channels and one sequence of text into four channels; what a family
has beside that is its `Layout`. Relatives (inpainting, instruct-pix2pix) carry the same names and shapes almost
everywhere, and would fail in the middle of a job or, worse, generate something else. A checkpoint that predicts v
instead of the noise looks exactly alike; ComfyUI marks one by an empty tensor `v_pred` and by `modelspec.predict_key`,
kohya's scripts by `modelspec.prediction_type`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NotRequired

from typing_extensions import TypedDict

from emoscene.core.errors import EmosceneError, UsageError
from emoscene.core.file_reading import check_value
from emoscene.core.plain_text import SHOWN, format_count, shorten_text, show_value
from emoscene.diffusion.architecture import (
    AUTOENCODER,
    INDEX,
    UNET,
    Header,
    is_safetensors,
    read_config,
    read_header,
    refuse_pickle,
    text_settings,
)
from emoscene.diffusion.noise_schedule import is_number
from emoscene.diffusion.text_encoders import POSITIONS
from emoscene.diffusion.weight_files import find_files

FLOATS = {"F16", "BF16", "F32", "F64"}
PICKLES = {".bin", ".ckpt", ".pt", ".pth", ".pkl"}
LATENTS = 4
CHANNELS = {9: "an inpainting model's", 8: "an instruct-pix2pix model's", 7: "an upscaler's", 5: "a depth model's"}
SCALES = (1e-3, 1e3)
"""What an autoencoder's scaling_factor may be: it brings latents to a deviation near 1."""
CONDITIONS = (
    "addition_embed_type",
    "class_embed_type",
    "encoder_hid_dim",
    "encoder_hid_dim_type",
    "num_class_embeds",
    "time_cond_proj_dim",
)
"""Settings of a UNet that reads more than latents, time and text: SDXL's, unCLIP's, a consistency model's."""
V_PREDICTIONS = {"v", "v_prediction", "v-prediction", "velocity"}


@dataclass(frozen=True)
class Layout:
    """What the checkpoints of a family are made of.

    Attributes:
        label: What its users call it.
        names: Of each part of a single file, the names of tensors of which it has one wherever it holds the part.
        texts: The prefixes of the text encoders' weights in a single file, by their folders in a folder.
        added: Settings of a UNet that reads more than words, and the values that they have.
        remedy: What to give in place of a UNet that reads something else.
    """

    label: str
    names: Mapping[str, tuple[str, ...]]
    texts: Mapping[str, str]
    added: Mapping[str, str] = field(default_factory=dict)
    remedy: str = "give a Stable Diffusion 1 or 2 with --base"

    @property
    def weights(self) -> dict[str, str]:
        """The file that holds each part's weights, without its ending, by folder."""
        stems = dict.fromkeys(self.texts, "model")
        return {**stems, "unet": "diffusion_pytorch_model", "vae": "diffusion_pytorch_model"}

    @property
    def tokenizers(self) -> list[str]:
        """The folders of the tokenizers."""
        return [part.replace("text_encoder", "tokenizer") for part in self.texts]


class UNetConfig(TypedDict):
    """What is read of a UNet's settings before it is loaded."""

    _class_name: NotRequired[str]
    in_channels: NotRequired[int]
    out_channels: NotRequired[int]
    block_out_channels: NotRequired[list[int]]
    cross_attention_dim: NotRequired[int | list[int]]


class TextConfig(TypedDict):
    """What is read of a text encoder's settings before it is loaded."""

    model_type: NotRequired[str]


def describe_absence(place: str) -> str:
    """Say why a place is no base: what is there instead, and what to give.

    Args:
        place: a folder, or a path where nothing is.

    Returns:
        One sentence.
    """
    said, folder = f"no Stable Diffusion in {place or Path().absolute()}", Path(place)
    if not folder.is_dir():
        return f"{said}, for there is no such folder or file: check the path (the offline base is 'mini')"
    files = sorted(file for file in folder.iterdir() if file.is_file())
    single = [file for file in files if _has_weights(file)]
    if single:
        return f"{said}: model_index.json is missing; if it is one file, give --base {single[0]}"
    pickled = [file for file in files if file.suffix in PICKLES]
    if pickled:
        return f"{said}: {pickled[0].name} is a pickle, which can run what it likes; save it as safetensors first"
    inner = sorted(folder.glob("*/model_index.json"))
    more = ""
    if inner:
        more = f"; there is one in {inner[0].parent}"
    return f"{said}: model_index.json is missing{more}; the offline base is 'mini'"


def _has_weights(file: Path) -> bool:
    """Whether a file is called safetensors, or is one that is called a pickle."""
    return file.suffix == ".safetensors" or (file.suffix in PICKLES and is_safetensors(file))


def check_configs(folder: Path, layout: Layout) -> None:
    """Check that a folder's configs are those of a Stable Diffusion of the kind that is read here.

    Args:
        folder: a folder that diffusers wrote; the weights may be missing yet.
        layout: what its family is made of.

    Raises:
        UsageError: for another architecture; it names the part.
        EmosceneError: for a part or a config that is missing or damaged.
    """
    read_config(folder / INDEX)
    for part in (*layout.tokenizers, *layout.weights):
        if not (folder / part).is_dir():
            raise EmosceneError(f"{folder} has no folder {part}: fetch or install the base again")
    width = 0
    for part in layout.texts:
        width += _check_text_encoder(folder / part)
    _check_unet(folder / "unet", width, layout)
    _check_autoencoder(folder / "vae")


def check_folder(folder: Path, layout: Layout) -> None:
    """Check that a folder holds a Stable Diffusion of the kind that is read here, whole, as far as no weight is read.

    Args:
        folder: a folder that diffusers wrote.
        layout: what its family is made of.

    Raises:
        UsageError: for another architecture, and for weights in another form; it names the part.
        EmosceneError: for a part that is missing or damaged.
    """
    check_configs(folder, layout)
    for part, stem in layout.weights.items():
        for file in _weight_files(folder / part, stem):
            check_numbers(file, read_header(file, folder / part))


def _check_class(config: Mapping[str, Any], folder: Path, wanted: str) -> None:
    kind = config.get("_class_name", wanted)
    if kind != wanted:
        kind = shorten_text(str(kind), SHOWN)
        raise UsageError(f"{folder} holds a {kind}, and a base has {wanted} there: give a Stable Diffusion with --base")


def _check_numbers_of(config: Mapping[str, Any], folder: Path) -> None:
    """Check settings that are looked at only when an image is computed."""
    for name in ("norm_eps", "layer_norm_eps", "freq_shift", "mid_block_scale_factor", "flip_sin_to_cos"):
        if not isinstance(config.get(name, 0), int | float):
            raise EmosceneError(
                f"{folder / 'config.json'} says {name} {show_value(config[name])}, and it is a number: fetch it again"
            )
    for name in ("norm_eps", "layer_norm_eps"):
        if not 0 <= config.get(name, 0) < 1:
            raise EmosceneError(
                f"{folder / 'config.json'} says {name} {config[name]}, and it is below 1: fetch it again"
            )


def _check_unet(folder: Path, text_dim: int, layout: Layout) -> None:
    config = check_value(read_config(folder / "config.json"), UNetConfig, folder / "config.json", "fetch it again")
    _check_class(config, folder, "UNet2DConditionModel")
    _check_numbers_of(config, folder)
    check_channels(folder, config.get("in_channels", LATENTS), config.get("out_channels", LATENTS))
    for key in CONDITIONS:
        found, wanted = config.get(key), layout.added.get(key)
        if found is not None and wanted is None:
            raise UsageError(
                f"the UNet in {folder} reads more than words ({key}: {found}), as Stable Diffusion XL's does: "
                f"{layout.remedy}"
            )
        if found != wanted:
            raise UsageError(
                f"the UNet in {folder} has {key} {show_value(found)}, and that of a {layout.label} has {wanted}: "
                f"{layout.remedy}"
            )
    side = config.get("sample_size")
    if not isinstance(side, int) or side < 1:
        raise EmosceneError(f"{folder / 'config.json'} says no sample_size, the side of its latents: fetch it again")
    widths = config.get("cross_attention_dim", text_dim)
    if not isinstance(widths, list):
        widths = [widths]
    for width in widths:
        if width != text_dim:
            raise UsageError(
                f"the UNet in {folder} attends to text of {width} numbers, and the text encoder beside it gives "
                f"{text_dim}: put that base's own text_encoder there, or give another --base"
            )


def check_channels(place: Path, incoming: int, outgoing: int) -> None:
    """Check that a UNet maps four latent channels to four.

    Args:
        place: The folder or the file, for the error.
        incoming: The number of input channels.
        outgoing: The number of output channels.

    Raises:
        UsageError: It does not.
    """
    if (incoming, outgoing) != (LATENTS, LATENTS):
        kind = ""
        if incoming in CHANNELS:
            kind = f", {CHANNELS[incoming]}"
        raise UsageError(
            f"the UNet in {place} takes {incoming} channels and gives {outgoing}{kind}, and a base has {LATENTS} and "
            f"{LATENTS}: give the plain Stable Diffusion that it was made from with --base"
        )


def _check_text_encoder(folder: Path) -> int:
    """Check the text encoder's settings; returns the width of its vectors."""
    config = check_value(read_config(folder / "config.json"), TextConfig, folder / "config.json", "fetch it again")
    kind = config.get("model_type", "clip_text_model")
    if kind not in {"clip_text_model", "clip"}:
        raise UsageError(f"{folder} holds a {kind}, and a base has CLIP's text encoder there: give another --base")
    settings = text_settings(config)
    _check_numbers_of(settings, folder)
    width, positions = settings.get("hidden_size", 512), settings.get("max_position_embeddings", POSITIONS)
    if not isinstance(width, int) or not isinstance(positions, int):
        raise EmosceneError(f"{folder / 'config.json'} says no hidden_size in numbers: fetch or install it again")
    if positions < POSITIONS:
        raise UsageError(
            f"the text encoder in {folder} reads {format_count(positions, 'token')}, and "
            f"a base reads {POSITIONS}: give another --base"
        )
    return width


def _check_autoencoder(folder: Path) -> None:
    config = read_config(folder / "config.json")
    _check_class(config, folder, "AutoencoderKL")
    _check_numbers_of(config, folder)
    if (channels := config.get("latent_channels", LATENTS)) != LATENTS:
        raise UsageError(
            f"the autoencoder in {folder} makes latents of {channels} channels, and a base has {LATENTS}: give another "
            "--base"
        )
    scale = config.get("scaling_factor", 0.18215)
    if not is_number(scale) or not SCALES[0] <= scale <= SCALES[1]:
        raise EmosceneError(
            f"{folder / 'config.json'} says scaling_factor {scale}, and it is a number from {SCALES[0]} to {SCALES[1]} "
            "(0.18215 in Stable Diffusion 1 and 2): write it there, or fetch the base again"
        )
    for key in ("shift_factor", "latents_mean", "latents_std"):
        if config.get(key):
            raise UsageError(
                f"the autoencoder in {folder} shifts its latents ({key}), as none of a base's does: give another"
            )


def _weight_files(folder: Path, stem: str) -> list[Path]:
    """The safetensors of a part, one or several.

    Raises UsageError for weights in another form, EmosceneError where there are none.
    """
    files = find_files(folder).files
    if files:
        return files
    whole = folder / f"{stem}.safetensors"
    others = sorted(file for file in folder.iterdir() if file.is_file())
    for file in others:
        if _has_weights(file):
            raise UsageError(
                f"{folder} has {file.name} and no {whole.name}: rename it, if it holds the {folder.name}'s weights"
            )
    for file in others:
        if file.suffix in PICKLES:
            raise UsageError(
                f"{file} is a pickle, which can run what it likes, and there is no {whole.name} beside it: save it as "
                "safetensors first"
            )
    raise EmosceneError(f"{folder} has no {whole.name}: fetch or install it again")


def check_numbers(file: Path, header: Header) -> None:
    """Check that a file holds weights in a format that is read here.

    Args:
        file: The file, for the error.
        header: Its header.

    Raises:
        EmosceneError: The file holds no tensor.
        UsageError: Weights are not floats of at least 16 bits.
    """
    if not header.tensors:
        raise EmosceneError(f"{file} holds no weights: fetch or install it again")
    for name, entry in header.tensors.items():
        if entry.dtype not in FLOATS and not name.endswith("position_ids"):
            raise UsageError(f"{file} stores {name} as {entry.dtype}, which is not read: save it in float16 or float32")


def check_file(file: Path, layout: Layout) -> None:
    """Check that a single file holds a checkpoint of a family, as far as its header tells.

    Args:
        file: the file; a folder `vae` beside it stands in for an autoencoder that it lacks.
        layout: what its family is made of.

    Raises:
        UsageError: for a pickle, and for another architecture, which is named where it is known.
        EmosceneError: for a damaged file.
    """
    refuse_pickle(file)
    if file.suffix != ".safetensors" and not is_safetensors(file):
        raise UsageError(f"{file} is no safetensors file: give one, or a folder that diffusers wrote")
    header = read_header(file)
    lacking = []
    for part, names in layout.names.items():
        if not any(name in header.tensors for name in names):
            lacking.append(part)
    if lacking == ["autoencoder"]:
        if not has_own_vae(file):
            raise UsageError(f"{file} has no autoencoder: put the folder vae of such a base beside it, or give another")
        lacking = []
    if lacking:
        lacks = f"{file} is no whole {layout.label}, for it has no {' and no '.join(lacking)}"
        raise UsageError(f"{lacks}: give another")
    read = {}
    for name, entry in header.tensors.items():
        if name.startswith((UNET, AUTOENCODER, *layout.texts.values())):
            read[name] = entry
    check_numbers(file, Header(read, {}))
    shape, outgoing = header.tensors[layout.names["UNet"][0]].shape, header.tensors.get(f"{UNET}out.2.bias")
    channels = LATENTS
    if outgoing:
        channels = outgoing.shape[0]
    check_channels(file, shape[1], channels)
    if not layout.added and f"{UNET}label_emb.0.0.weight" in header.tensors:
        raise UsageError(
            f"the UNet in {file} reads more than words (label_emb), as Stable Diffusion XL's does: give another"
        )


def has_own_vae(file: Path) -> bool:
    """Tell whether the folder of an autoencoder lies beside a single file.

    Args:
        file: The file.

    Returns:
        Whether it does.
    """
    return (file.parent / "vae/config.json").is_file()


def says_prediction(header: Header) -> bool:
    """Tell whether a single file is marked with what its UNet predicts.

    Args:
        header: Its header.

    Returns:
        Whether it is.
    """
    keys = {"modelspec.predict_key", "modelspec.prediction_type", "ss_v_parameterization"}
    return "v_pred" in header.tensors or not keys.isdisjoint(header.metadata)


def read_prediction(file: Path, header: Header) -> dict[str, Any]:
    """Read what a single file says of its UNet's training, by the marks of ComfyUI and of kohya's scripts.

    Args:
        file: the file, for the error.
        header: its header.

    Returns:
        Settings of a scheduler that differ from Stable Diffusion v1.5's.

    Raises:
        UsageError: for a prediction that is not known here.
    """
    names, told = header.tensors, header.metadata
    said = told.get("modelspec.predict_key") or told.get("modelspec.prediction_type") or ""
    is_v = "v_pred" in names or told.get("ss_v_parameterization", "").lower() == "true"
    found: dict[str, Any] = {}
    if any(name.startswith("edm_") for name in names):
        raise UsageError(f"{file} is marked as trained on EDM's noise levels, which are not read: give another --base")
    if is_v or said.lower() in V_PREDICTIONS:
        found["prediction_type"] = "v_prediction"
    elif said.lower() not in {"", "epsilon", "eps"}:
        raise UsageError(
            f"{file} is marked as predicting {show_value(said)}, and a base predicts epsilon or v: give another --base"
        )
    if "ztsnr" in names or told.get("ss_zero_terminal_snr", "").lower() == "true":
        found |= {"rescale_betas_zero_snr": True, "timestep_spacing": "trailing"}
    return found

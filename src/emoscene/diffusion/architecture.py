"""What a checkpoint is, told by its configs and its file headers before any weight is read.

    read_header(FILE.safetensors)         names, number types and shapes of its tensors, and its metadata
    read_architecture(place)              the UNet's channels and the width of its text
    find_family(place)                    the base of `bases/*.toml` that has this architecture: `mini`, `sd15`

A place is a folder as diffusers writes it, or one safetensors file under the names of the original code
(`model.diffusion_model.`, `cond_stage_model.`). A family settles what suits a checkpoint: the recipe, the guidance
scale, the captioner. So a fine-tuned Stable Diffusion is treated as Stable Diffusion, whatever it is called.
"""

from __future__ import annotations

from itertools import count
from pathlib import Path
from typing import Any, NamedTuple

from emoscene.core import registry, run_dir
from emoscene.core.errors import EmosceneError

LARGEST_HEADER = 100_000_000
"""Bytes; safetensors itself reads no longer one."""
UNET, TEXT, AUTOENCODER = "model.diffusion_model.", "cond_stage_model.transformer.", "first_stage_model."
FIRST = {
    "UNet": f"{UNET}input_blocks.0.0.weight",
    "autoencoder": f"{AUTOENCODER}encoder.conv_in.weight",
    "text encoder": f"{TEXT}text_model.embeddings.token_embedding.weight",
}
"""A name that a single file has wherever it holds the part."""
FLAT_TEXT = FIRST["text encoder"].replace("text_model.", "")
"""The same where transformers' newer names were kept."""


class Entry(NamedTuple):
    """A tensor of a file, by its header."""

    dtype: str
    shape: tuple[int, ...]


class Header(NamedTuple):
    """What stands at the beginning of a safetensors file."""

    tensors: dict[str, Entry]
    metadata: dict[str, str]


class Architecture(NamedTuple):
    """The UNet's channels, level by level, and the width of the text vectors that it attends to."""

    channels: tuple[int, ...]
    text_dim: int


def read_header(file: Path, part: Path | None = None) -> Header:
    """Read the header of a safetensors file; no weight is read.

    Args:
        file: the file, whatever its name.
        part: the folder to name in the error, where the file is a part's.

    Returns:
        The tensors by name, and the metadata.

    Raises:
        EmosceneError: where the file is not there, or has no whole header.
    """
    try:
        with file.open("rb") as stream:
            size = int.from_bytes(stream.read(8), "little")
            if size > LARGEST_HEADER:
                raise ValueError("it does not begin as a safetensors file does")
            table = run_dir.parse_json(stream.read(size).decode("utf8"))
        metadata = table.pop("__metadata__", {})
        tensors = {}
        for name, entry in table.items():
            tensors[name] = Entry(entry["dtype"], tuple(entry["shape"]))
    except (ValueError, OSError, AttributeError, KeyError, TypeError) as error:
        reason = type(error).__name__
        if str(error):
            reason = str(error).splitlines()[0]
        where, more = file, ""
        if part:
            where, more = part, f"{file.name}: "
        raise EmosceneError(f"{where} is damaged ({more}{reason}): fetch it again") from error
    return Header(tensors, {str(key): str(value) for key, value in metadata.items()})


def is_safetensors(file: Path) -> bool:
    """Tell by its first bytes whether a file is a safetensors file; files of the hub's cache have no ending.

    Args:
        file: The file.

    Returns:
        Whether it is.
    """
    with file.open("rb") as stream:
        begin = stream.read(9)
    return len(begin) == 9 and begin[8:] == b"{" and int.from_bytes(begin[:8], "little") <= LARGEST_HEADER


def read_architecture(place: Path) -> Architecture | None:
    """Read what shape a checkpoint has.

    Args:
        place: a folder or a single file.

    Returns:
        Its architecture; None where the place does not tell it, which `compatibility` explains.
    """
    try:
        if place.is_file():
            if is_safetensors(place):
                return _architecture_of(read_header(place))
            return None
        unet = read_config(place / "unet/config.json")
        text = read_config(place / "text_encoder/config.json")
        return Architecture(tuple(unet["block_out_channels"]), text_settings(text)["hidden_size"])
    except (EmosceneError, OSError, KeyError, TypeError):
        return None


def _architecture_of(header: Header) -> Architecture | None:
    """The architecture of a single file: the original code counts blocks, and a downsampler ends a level."""
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
        return Architecture((*levels, width), embedding.shape[1])
    return None


def find_family(place: Path) -> str:
    """Find the base of `bases/*.toml` that a checkpoint is a relative of, by its architecture.

    Args:
        place: a folder or a single file.

    Returns:
        The base's name, or nothing for a shape that none of them has.
    """
    found = read_architecture(place)
    if found is None:
        return ""
    for name in registry.list_names("bases"):
        shape = registry.load_table("bases", name).get("architecture", {})
        if list(found.channels) == shape.get("channels") and found.text_dim in shape.get("text", []):
            return name
    return ""


def text_settings(config: dict[str, Any]) -> dict[str, Any]:
    """Read the settings of the text encoder from its config, or from the config of a whole CLIP.

    Args:
        config: The content of `config.json`.

    Returns:
        The settings.
    """
    inner = config.get("text_config")
    if isinstance(inner, dict):
        return inner
    return config


def read_config(file: Path) -> dict[str, Any]:
    """Read the settings of a part.

    Args:
        file: The part's `config.json`.

    Returns:
        Its content.

    Raises:
        EmosceneError: The file is missing or damaged.
    """
    try:
        found = run_dir.parse_json(file.read_text(encoding="utf8"))
        if not isinstance(found, dict):
            raise ValueError(f"it holds a {type(found).__name__} and no table")
    except (ValueError, OSError) as error:
        reason = str(error).splitlines()[0]
        if isinstance(error, FileNotFoundError):
            reason = "there is no such file"
        raise EmosceneError(f"{file} is missing or damaged ({reason}): fetch or install it again") from error
    return found

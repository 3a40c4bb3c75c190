"""The headers and configs of a checkpoint, which tell what it is before any weight is read.

    read_header(FILE.safetensors)     names, number types and shapes of its tensors, and its metadata
    read_config(FILE.json)            the settings of a part
    Architecture                      the family and the shapes that settle what suits a checkpoint

A checkpoint is a folder as diffusers writes it, or one safetensors file under the names of the original code
(`model.diffusion_model.`, `cond_stage_model.`).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from typing_extensions import TypedDict

from emoscene.core.errors import EmosceneError, UsageError
from emoscene.core.file_reading import TABLE, describe_fault, find_fault, open_file, parse_json, read_json

INDEX = "model_index.json"
LARGEST_HEADER = 100_000_000
"""Bytes; safetensors itself reads no longer one."""
ZIP, PICKLE, LAST_PROTOCOL = b"PK\x03\x04", b"\x80", b"\x05"
"""How the files of `torch.save` begin: as an archive, or as a pickle of a protocol up to the last."""
POINTER = b"version h"
"""How a clone of a repository begins a large file that it lacks."""
UNET, TEXT, AUTOENCODER = "model.diffusion_model.", "cond_stage_model.transformer.", "first_stage_model."
FIRST = {
    "UNet": f"{UNET}input_blocks.0.0.weight",
    "autoencoder": f"{AUTOENCODER}encoder.conv_in.weight",
    "text encoder": f"{TEXT}text_model.embeddings.token_embedding.weight",
}
"""A name that a single file has wherever it holds the part."""
FLAT_TEXT = FIRST["text encoder"].replace("text_model.", "")
"""The same where transformers' newer names were kept."""


class HeaderEntry(TypedDict):
    """What a header says of a tensor."""

    dtype: str
    shape: list[int]


class Entry(NamedTuple):
    """A tensor of a file, by its header."""

    dtype: str
    shape: tuple[int, ...]


class Header(NamedTuple):
    """What stands at the beginning of a safetensors file."""

    tensors: dict[str, Entry]
    metadata: dict[str, str]


class Architecture(NamedTuple):
    """What a checkpoint is: its family, the UNet's channels level by level, and the width of the text it attends to."""

    family: str
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
        UsageError: for a pickle, whatever its name.
        EmosceneError: where the file is not there, or has no whole header.
    """
    refuse_pickle(file)
    try:
        table = _parse_header(file)
    except (ValueError, OSError) as error:
        reason = describe_fault(error)
        if isinstance(error, OSError):
            reason = error.strerror or reason
        where, more = file, ""
        if part:
            where, more = part, f"{file.name}: "
        raise EmosceneError(f"{where} is damaged ({more}{reason}): fetch it again") from error
    metadata = table.pop("__metadata__", {})
    tensors = {}
    for name, entry in table.items():
        tensors[name] = Entry(entry["dtype"], tuple(entry["shape"]))
    return Header(tensors, {str(key): str(value) for key, value in metadata.items()})


def _parse_header(file: Path) -> dict[str, Any]:
    """The table at the beginning of a file. Raises ValueError or OSError where there is none."""
    with open_file(file) as stream:
        begin = stream.read(9)
        if begin == POINTER:
            raise ValueError("it is a pointer of Git LFS: run `git lfs pull` where it was cloned")
        stream.seek(8)
        size = int.from_bytes(begin[:8], "little")
        if size > LARGEST_HEADER:
            raise ValueError("it does not begin as a safetensors file does")
        table: dict[str, Any] = parse_json(stream.read(size))
    fault = find_fault(table, TABLE) or find_fault(table.get("__metadata__", {}), TABLE)
    if not fault:
        entries = {name: entry for name, entry in table.items() if name != "__metadata__"}
        fault = find_fault(entries, dict[str, HeaderEntry])
    if fault:
        raise ValueError(fault)
    return table


def is_safetensors(file: Path) -> bool:
    """Tell by its first bytes whether a file is a safetensors file; files of the hub's cache have no ending.

    Args:
        file: The file.

    Returns:
        Whether it is.

    Raises:
        EmosceneError: The file cannot be read.
    """
    begin = _read_beginning(file)
    return len(begin) == 9 and begin[8:] == b"{" and int.from_bytes(begin[:8], "little") <= LARGEST_HEADER


def refuse_pickle(file: Path) -> None:
    """Check by its first bytes that a file is not a pickle, such as `torch.save` writes; its name tells nothing.

    Args:
        file: The file; one that is not there is no pickle.

    Raises:
        UsageError: It is one.
        EmosceneError: The file cannot be read.
    """
    if not file.exists():
        return
    begin = _read_beginning(file)
    if begin.startswith(ZIP) or (begin[:1] == PICKLE and begin[1:2] <= LAST_PROTOCOL and not is_safetensors(file)):
        raise UsageError(f"{file} is a pickle, which can run what it likes: save it as safetensors first")


def _read_beginning(file: Path) -> bytes:
    try:
        with open_file(file) as stream:
            return stream.read(9)
    except OSError as error:
        raise EmosceneError(f"{file} cannot be read ({error.strerror or error}): give another file") from error


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
    config: dict[str, Any] = read_json(file, TABLE, "fetch or install it again")
    return config

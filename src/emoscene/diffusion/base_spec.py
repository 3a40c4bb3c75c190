"""Where a base comes from and what suits it: a row of `bases/*.toml`, or that of the base whose architecture it has."""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from pathlib import Path

from emoscene.core import registry
from emoscene.core.errors import UsageError
from emoscene.diffusion import compatibility, hub
from emoscene.diffusion.architecture import INDEX, read_config
from emoscene.diffusion.families.base import find_family, name_architecture

UNET_CONFIG, VAE_CONFIG = "unet/config.json", "vae/config.json"


@dataclass(frozen=True)
class ModelSpec:
    """Where a base comes from: a row of `bases/*.toml`, or a folder or hub id named by the user.

    `architecture` is the row whose family and shapes it has; empty for a checkpoint that has those of none. `configs`
    is a folder with the configs of one that is not on this machine.
    """

    source: str
    revision: str | None = None
    architecture: str = ""
    configs: str = ""
    guidance_scale: float = 7.5
    lexicon: str = "english"
    vocabulary: str = ""
    captioner: str = ""
    emotion_clip: str = ""
    adapters: dict[str, str] = field(default_factory=dict)
    judges: dict[str, str] = field(default_factory=dict)


def find_spec(base: str) -> ModelSpec:
    """Find out where a base comes from and what suits it.

    A base that has no row of its own gets what suits its architecture, as soon as it is on this machine.

    Args:
        base: A name in `bases/`, a folder, a file, or a hub id `owner/name[@revision]`.

    Returns:
        The specification.

    Raises:
        UsageError: The name is not known.
    """
    there = Path(base).expanduser()
    try:
        exists = there.exists()
    except OSError as error:
        raise UsageError(
            f"no base {base[:60]!r} ({error.strerror}): give a name, a folder, a file or a hub id"
        ) from error
    named = base in registry.list_names("bases") and not (there.is_file() or (there / INDEX).is_file())
    if named or ("/" not in base and not exists):
        return _read_row(base)
    model = hub.ID.fullmatch(base)
    if model and not exists:
        return _spec_of_checkpoint(model[1], model[2], hub.find_cached(model[1], model[2], hub.CONFIGS))
    if base.startswith("~"):
        return _spec_of_checkpoint(str(there), None, there)
    return _spec_of_checkpoint(base, None, there)


def _read_row(name: str) -> ModelSpec:
    """The row of `bases/*.toml`."""
    known = {f.name for f in fields(ModelSpec)}
    table = {**registry.load_table("bases", name), "architecture": name}
    return ModelSpec(**{key: value for key, value in table.items() if key in known})


def _spec_of_checkpoint(source: str, revision: str | None, place: Path | None) -> ModelSpec:
    """What suits the checkpoint at a place: what its architecture has; else the guidance that is usual."""
    name = name_architecture(place) if place else ""
    if place is None or not name:
        return ModelSpec(source, revision)
    own = _read_row(name)
    words = ""
    if own.vocabulary and place.is_file():
        words = str(Path(own.source) / own.vocabulary)  # a single file has that base's tokenizer too
    elif own.vocabulary and (place / own.vocabulary).is_file():
        words = own.vocabulary
    return replace(own, source=source, revision=revision, vocabulary=words)


def check_base(base: str) -> None:
    """Check that a base can be read, as far as configs and headers tell, before anything else is done with it.

    Of a model of the hub that is not on this machine only the configs are fetched.

    Args:
        base: A name in `bases/`, a folder, a file, or a hub id `owner/name[@revision]`.

    Raises:
        UsageError: There is no such base, or it is of another family, which is named.
        EmosceneError: A file is damaged.
    """
    chosen = find_spec(base)
    place = _find_local(chosen)
    if place:
        find_family(place).check(place)
    elif base not in registry.list_names("bases"):
        _check_configs(chosen)


def find_place(chosen: ModelSpec) -> Path | None:
    """Find what tells the architecture of a base, without using the network.

    Args:
        chosen: The specification of the base.

    Returns:
        The folder, which may hold the configs alone, or the single file; None where nothing of it is on this machine.
    """
    place = _find_local(chosen) or hub.find_cached(chosen.source, chosen.revision, hub.CONFIGS)
    if place is None and chosen.configs:
        return Path(chosen.configs)
    return place


def read_default_size(chosen: ModelSpec) -> int | None:
    """Read which images a base was trained on from its configs; no weight is read, and nothing is fetched.

    Args:
        chosen: The specification of the base.

    Returns:
        Their side in pixels; None where no config on this machine tells.

    Raises:
        EmosceneError: A config is damaged.
    """
    place = find_place(chosen)
    if place is None or not (place / UNET_CONFIG).is_file() or not (place / VAE_CONFIG).is_file():
        return None
    latents = read_config(place / UNET_CONFIG).get("sample_size")
    blocks = read_config(place / VAE_CONFIG).get("block_out_channels")
    if not isinstance(latents, int) or not isinstance(blocks, list):
        return None
    return latents * int(2 ** (len(blocks) - 1))


def locate_weights(chosen: ModelSpec) -> Path:
    """Find the weights of a base; those of a hub id are downloaded or taken from the cache.

    Before the weights of a model of the hub are downloaded, its configs are, and checked.

    Args:
        chosen: The specification of the base.

    Returns:
        The folder, or the single file.

    Raises:
        UsageError: There is no Stable Diffusion, or one of another family.
        EmosceneError: The hub cannot be reached.
    """
    place = _find_local(chosen)
    if place:
        return place
    if hub.find_cached(chosen.source, chosen.revision) is None:
        _check_configs(chosen)
    folder = hub.fetch(chosen.source, chosen.revision)
    if (folder / INDEX).is_file():
        return folder
    raise UsageError(compatibility.describe_absence(chosen.source))


def _is_of_hub(chosen: ModelSpec) -> bool:
    return not Path(chosen.source).is_dir() and hub.ID.fullmatch(chosen.source) is not None


def _find_local(chosen: ModelSpec) -> Path | None:
    """The folder or the file of a base; None for one of the hub. Raises UsageError where there is none."""
    place = Path(chosen.source)
    if place.is_file() or (place / INDEX).is_file():
        return place
    if _is_of_hub(chosen):
        return None
    raise UsageError(compatibility.describe_absence(chosen.source))


def _check_configs(chosen: ModelSpec) -> None:
    """Look at the configs of a model of the hub; where the hub does not give them, the download will say why."""
    folder = hub.fetch_configs(chosen.source, chosen.revision)
    if folder and (folder / INDEX).is_file():
        find_family(folder).check_configs(folder)

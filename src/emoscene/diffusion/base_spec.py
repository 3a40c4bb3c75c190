"""Where a base comes from and what suits it: a row of `bases/*.toml`, or that of the base whose architecture it has."""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from pathlib import Path

from emoscene.core import registry
from emoscene.core.errors import UsageError
from emoscene.diffusion import architecture, compatibility, hub

INDEX = "model_index.json"


@dataclass(frozen=True)
class ModelSpec:
    """Where a base comes from: a row of `bases/*.toml`, or a folder or hub id named by the user."""

    source: str
    revision: str | None = None
    family: str = ""
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
        return _spec_of_checkpoint(model[1], model[2], hub.find_cached(model[1], model[2]))
    if base.startswith("~"):
        return _spec_of_checkpoint(str(there), None, there)
    return _spec_of_checkpoint(base, None, there)


def _read_row(name: str) -> ModelSpec:
    """The row of `bases/*.toml`."""
    known = {f.name for f in fields(ModelSpec)}
    table = {"family": name, **registry.load_table("bases", name)}
    return ModelSpec(**{key: value for key, value in table.items() if key in known})


def _spec_of_checkpoint(source: str, revision: str | None, place: Path | None) -> ModelSpec:
    """What suits the checkpoint at a place: what its family has; for an unknown shape the guidance that is usual."""
    if not place:
        return ModelSpec(source, revision)
    family = architecture.find_family(place)
    if not family:
        return ModelSpec(source, revision)
    own = _read_row(family)
    words = ""
    if own.vocabulary and (place / own.vocabulary).is_file():
        words = own.vocabulary
    return replace(own, source=source, revision=revision, vocabulary=words)


def locate_weights(chosen: ModelSpec) -> Path:
    """Find the weights of a base; those of a hub id are downloaded or taken from the cache.

    Args:
        chosen: The specification of the base.

    Returns:
        The folder, or the single file.

    Raises:
        UsageError: There is no Stable Diffusion.
        EmosceneError: The hub cannot be reached.
    """
    folder = Path(chosen.source)
    if folder.is_file() or (folder / INDEX).is_file():
        return folder
    if not folder.is_dir() and hub.ID.fullmatch(chosen.source):
        folder = hub.fetch(chosen.source, chosen.revision)
        if (folder / INDEX).is_file():
            return folder
    raise UsageError(compatibility.describe_absence(chosen.source))

"""Where a base comes from and what suits it: a row of `bases/*.toml`, or that of the base whose architecture it has."""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from pathlib import Path

from emoscene import architecture, compatibility, hub, plugins
from emoscene.errors import Usage

INDEX = "model_index.json"


@dataclass(frozen=True)
class Spec:
    """Where a base comes from: a row of `bases/*.toml`, or a folder or hub id named by the user."""

    source: str
    revision: str | None = None
    family: str = ""
    cfg: float = 7.5
    lexicon: str = "english"
    words: str = ""
    captioner: str = ""
    emotion_clip: str = ""
    adapters: dict[str, str] = field(default_factory=dict)
    judges: dict[str, str] = field(default_factory=dict)


def spec(base: str) -> Spec:
    """The base called `base`: a name in `bases/`, else a folder or a file, else a hub id `owner/name[@revision]`.

    What is no name gets what suits its architecture, as soon as it is on this machine. Raises Usage for a name nobody
    knows.
    """
    there = Path(base).expanduser()
    try:
        exists = there.exists()
    except OSError as error:
        raise Usage(f"no base {base[:60]!r} ({error.strerror}): give a name, a folder, a file or a hub id") from error
    named = base in plugins.names("bases") and not (there.is_file() or (there / INDEX).is_file())
    if named or ("/" not in base and not exists):
        return _row(base)
    model = None if exists else hub.ID.fullmatch(base)
    if not model:
        return _adapt(str(there) if base.startswith("~") else base, None, there)
    return _adapt(model[1], model[2], hub.cached(model[1], model[2]))


def _row(name: str) -> Spec:
    """The row of `bases/*.toml`."""
    known = {f.name for f in fields(Spec)}
    table = {"family": name, **plugins.table("bases", name)}
    return Spec(**{key: value for key, value in table.items() if key in known})


def _adapt(source: str, revision: str | None, place: Path | None) -> Spec:
    """What suits the checkpoint at a place: what its family has; for an unknown shape the guidance that is usual."""
    family = architecture.find_family(place) if place else ""
    if not place or not family:
        return Spec(source, revision)
    own = _row(family)
    words = own.words if own.words and (place / own.words).is_file() else ""
    return replace(own, source=source, revision=revision, words=words)


def located(chosen: Spec) -> Path:
    """The folder (or the single file) a base's weights lie in; a hub id is downloaded or taken from the cache."""
    inside = plugins.HOME / chosen.source
    for folder in (Path(chosen.source), inside):
        if (folder / INDEX).is_file():
            return folder
    folder = Path(chosen.source)
    if folder.is_file():
        return folder
    if not folder.is_dir() and hub.ID.fullmatch(chosen.source):
        folder = hub.fetched(chosen.source, chosen.revision)
        if (folder / INDEX).is_file():
            return folder
    raise Usage(compatibility.describe_absence(chosen.source))

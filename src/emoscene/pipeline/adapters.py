"""Which methods, with whose weights: names, folders and settings become methods on a base.

A method with weights takes them from the folder that was given for it, else from the base's own. Folders name their
method, so that `--adapter DIR` alone says enough. A folder may lie on the hub, `owner/name@COMMIT`: it is pinned, so
that nobody changes it between two calls, and only safetensors, JSON and text are fetched.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from emoscene.core import config as configs
from emoscene.core import registry, run_dir
from emoscene.core.errors import UsageError
from emoscene.core.request import ALIASES
from emoscene.core.setting_names import migrate_runtime_settings, migrate_settings, unknown_setting
from emoscene.diffusion import hub, loras
from emoscene.diffusion.base_spec import ModelSpec, check_base, find_place, find_spec
from emoscene.diffusion.families.base import find_architecture
from emoscene.diffusion.model import DiffusionModel
from emoscene.learning import learner as learners
from emoscene.methods.base import Method


def load_methods(
    base: DiffusionModel,
    method: str | None,
    adapter: str | Path | Sequence[str | Path] | None,
    late: Mapping[str, Any],
    arguments: Sequence[str] = (),
) -> tuple[dict[str, Method], list[str], dict[str, Any]]:
    """Load the methods of a call on a base.

    Args:
        base: The base.
        method: Names joined by `+`; left out, the folders say it.
        adapter: Folders that `train` made, or `owner/name@COMMIT` of the hub, one or several.
        late: Settings that may change at use, as `key` or `method.key`.
        arguments: What else the caller takes, offered where one of them was misspelt.

    Returns:
        The methods by name; what the weights of each trained one are called; and the settings that are not their own,
        as `method.key`.

    Raises:
        UsageError: A name is not known, a folder does not fit, or a setting is off.
        EmosceneError: Files are damaged.
    """
    folders = folders_by_method(adapter)
    names = _choose_methods(method, folders)
    _check_settings(names, late, arguments)
    methods = {}
    labels = []
    for name in names:
        methods[name] = _load_method(name, base, folders, method_settings(name, names, late))
        if methods[name].columns and name in folders:
            labels.append(hub.name_snapshot(folders[name]))
        elif methods[name].columns:
            labels.append(f"{base.name}:{name}")
    return methods, labels, _changed_settings(methods, base, folders)


def check_call(
    base: str,
    method: str | None = None,
    adapter: str | Path | Sequence[str | Path] | None = None,
    lora: str | Path | Sequence[str | Path] | None = None,
    late: Mapping[str, Any] | None = None,
    arguments: Sequence[str] = (),
) -> None:
    """Check what a call names before the base is downloaded or loaded, by cards, configs and headers alone.

    Args:
        base: A name, a folder, a file, or a hub id.
        method: Names joined by `+`; left out, the folders say it.
        adapter: Folders that `train` made, one or several.
        lora: LoRAs trained elsewhere.
        late: Settings that may change at use.
        arguments: What else the caller takes, offered where one of them was misspelt.

    Raises:
        UsageError: A name is not known, a file is not there, the base is of another family, or an adapter of another
            architecture.
        EmosceneError: A file is damaged.
    """
    folders = folders_by_method(adapter)
    names = _choose_methods(method, folders)
    _check_settings(names, late or {}, arguments)
    for one in run_dir.as_list(lora):
        loras.parse_lora(one)
    check_base(base)
    chosen = find_spec(base)
    place = find_place(chosen)
    here = None
    if place:
        here = find_architecture(place)
    for name in names:
        if name in folders:
            made_for = learners.read_card(folders[name])["base"]
            if here and made_for:
                learners.check_architecture(folders[name], made_for, here, base)
        elif (here or chosen.architecture) and registry.load_plugin("methods", name).columns:
            _find_own(name, base, chosen)


def _choose_methods(method: str | None, folders: Mapping[str, Path]) -> list[str]:
    """The names of the methods to load; raises UsageError for an unknown one, and for a folder that none uses."""
    wanted = list(folders)
    if method:
        wanted = registry.split_methods(method)
    for name in wanted:
        registry.source_file("methods", name)
    for name, folder in folders.items():
        if name not in wanted:
            raise UsageError(f"{folder} is a {name}, and --method {method} does not use it")
    if "none" in folders:
        raise UsageError(f"{folders['none']} says that it holds none, which has no weights: train the method again")
    return [name for name in wanted if name != "none"]


def choose_default_method(base: DiffusionModel) -> str:
    """Choose what conveys an emotion where neither a method nor an adapter was named.

    Args:
        base: The base.

    Returns:
        The method of the base's best adapter, which its table lists first; `prompt` where it has none.
    """
    return next(iter(base.spec.adapters), "prompt")


def _check_settings(names: Sequence[str], late: Mapping[str, Any], arguments: Sequence[str]) -> None:
    """Raises UsageError for a setting that none of these methods has, with the nearest name."""
    keys: list[str] = []
    dotted: list[str] = []
    for name in names:
        for option in registry.list_options("methods", name):
            keys.append(option.name)
            dotted.append(f"{name}.{option.name}")
    known = [*keys, *dotted]
    for key in late.keys() - set(known):
        if ALIASES.get(key) in arguments:
            raise UsageError(f"no setting {key!r}: the argument is {ALIASES[key]!r}")
        raise unknown_setting("setting", key, [*known, *arguments], hint="emoscene show NAME lists those of a method")


def folders_by_method(adapter: str | Path | Sequence[str | Path] | None) -> dict[str, Path]:
    """Sort adapter folders by the method that each was trained for.

    Args:
        adapter: Folders that `train` made, or `owner/name@COMMIT` of the hub, one or several.

    Returns:
        The folders by method.

    Raises:
        UsageError: Two are of one method, or one holds no adapter.
    """
    folders: dict[str, Path] = {}
    for folder in map(locate_adapter, run_dir.as_list(adapter)):
        if not folder.exists():
            _explain_no_folder(folder.as_posix())
        name = learners.read_card(folder)["learner"]
        if name in registry.list_names("encoders"):
            raise UsageError(f"{folder} holds an encoder ({name}) and no adapter: give the folder of a trained method")
        if name in folders:
            raise UsageError(f"{folders[name]} and {folder} are both {name}: give one of them")
        folders[name] = folder
    return folders


def _explain_no_folder(place: str) -> None:
    """Raises UsageError for what is meant as an adapter and is no folder, where its spelling tells what was meant."""
    base, colon, method = place.rpartition(":")
    if colon and base in registry.list_names("bases"):
        raise UsageError(f"{place} is {base}'s own adapter: give --method {method} in place of --adapter")
    if hub.ID.fullmatch(place):
        raise UsageError(
            f"no artifact in {place}, for there is no such folder: check the path; an adapter of the hub is given with "
            f"its commit, {place}@COMMIT"
        )


def locate_adapter(place: str | Path) -> Path:
    """Find the folder of an adapter; one of the hub is downloaded or taken from the cache.

    Args:
        place: A folder, or `owner/name@COMMIT`.

    Returns:
        The folder, which may not exist if `place` is a path.

    Raises:
        UsageError: It is of the hub and not pinned, or the hub does not know it, or it has no safetensors.
        EmosceneError: The hub cannot be reached.
    """
    named = hub.ID.fullmatch(str(place))
    if Path(place).exists() or not named or named[2] is None:
        return Path(place)
    if not hub.COMMIT.fullmatch(named[2]):
        raise UsageError(
            f"{place} may change from one day to the next: pin it, as {named[1]}@ and the 40 digits of a commit of its "
            "page"
        )
    return hub.fetch(named[1], named[2], hub.ARTIFACT)


def method_settings(name: str, names: Sequence[str], given: Mapping[str, Any]) -> dict[str, Any]:
    """Pick the settings that are meant for one method.

    Args:
        name: The method.
        names: All methods of the call.
        given: Settings as `key` (of the only method, or of each that has it) or `method.key` (which counts before).

    Returns:
        The settings by their names in the method's `Config`.
    """
    known = {option.name for option in registry.list_options("methods", name)}
    shared, own = {}, {}
    for key, value in given.items():
        owner, dot, rest = key.partition(".")
        if dot and owner == name:
            own[rest] = value
        elif not dot and (len(names) == 1 or key in known):
            shared[key] = value
    return {**shared, **own}


def _load_method(name: str, base: DiffusionModel, folders: Mapping[str, Path], late: Mapping[str, Any]) -> Method:
    cls: type[Method] = registry.load_plugin("methods", name)
    if not cls.columns and name in folders:
        raise UsageError(f"{folders[name]} says that it holds {name}, which has no weights: train the method again")
    if not cls.columns:
        return cls.from_scratch(configs.replace_fields(cls.Config(), late), base)
    loaded = learners.load_learner("methods", find_adapter(name, base, folders), base, **late)
    assert isinstance(loaded, Method)
    return loaded


def find_adapter(name: str, base: DiffusionModel, folders: Mapping[str, Path]) -> Path:
    """Find the folder of a method's weights.

    Args:
        name: The method.
        base: The base.
        folders: The folders that were given, by method.

    Returns:
        The one that was given, else the base's own.

    Raises:
        UsageError: There is neither.
    """
    if name in folders:
        return folders[name]
    return _find_own(name, base.name, base.spec)


def _find_own(name: str, base: str, chosen: ModelSpec) -> Path:
    """The adapter that a base has of its own. Raises UsageError where it has none."""
    if name not in chosen.adapters:
        raise UsageError(f"the base '{base}' has no {name} of its own: train one, and give it with --adapter DIR")
    return Path(chosen.adapters[name])


def weight_fingerprints(
    base: DiffusionModel, names: Iterable[str], adapter: str | Path | Sequence[str | Path] | None
) -> dict[str, str]:
    """Compute the fingerprints of all weights that generate an image.

    Args:
        base: The base.
        names: The trained methods.
        adapter: The folders that were given.

    Returns:
        The fingerprints: `base`, and each method by name.
    """
    folders = folders_by_method(adapter)
    marks = {"base": base.fingerprint}
    for name in names:
        marks[name] = _folder_fingerprint(find_adapter(name, base, folders))
    return marks


def update_weights(recorded: Mapping[str, Any], base: DiffusionModel) -> dict[str, Any]:
    """Restate a recorded call: its settings by today's names, and the base's fingerprint in today's form.

    Args:
        recorded: The call as its manifest has it, `weight_fingerprints` as its `weights`.
        base: The one that is used now.

    Returns:
        The call, which compares with one of today.
    """
    recorded = dict(recorded)
    if "settings" in recorded:
        recorded["settings"] = migrate_runtime_settings(recorded["settings"])
    weights = recorded.get("weights")
    if not weights or not base.matches(weights["base"]):
        return recorded
    return {**recorded, "weights": {**weights, "base": base.fingerprint}}


def _folder_fingerprint(folder: Path) -> str:
    recorded = ""
    if (folder / run_dir.MANIFEST).is_file():
        recorded = str(run_dir.read_manifest(folder).get("fingerprint") or "")
    return recorded or run_dir.fingerprint_folder(folder)


def runtime_settings(config: Any) -> dict[str, Any]:
    """Read the settings of a method that may change at use.

    Args:
        config: The method's `Config`.

    Returns:
        Their values by name.
    """
    settings = {}
    for option in configs.list_options(config):
        if option.runtime:
            settings[option.name] = getattr(config, option.name)
    return settings


def _changed_settings(
    methods: Mapping[str, Method], base: DiffusionModel, folders: Mapping[str, Path]
) -> dict[str, Any]:
    """The settings that differ from a method's defaults, or from those it was trained with, each as `method.key`."""
    changed: dict[str, Any] = {}
    for name, method in methods.items():
        own = runtime_settings(type(method).Config())
        if method.columns:
            card = learners.read_card(find_adapter(name, base, folders))
            own |= migrate_settings(card["config"], runtime_settings(method.config))
        for key, value in runtime_settings(method.config).items():
            if value != own[key]:
                changed[f"{name}.{key}"] = value
    return changed

"""Which methods, with whose weights: names, folders and settings become methods on a base.

A method with weights takes them from the folder that was given for it, else from the base's own. Folders name their
method, so that `--adapter DIR` alone says enough.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from emoscene.core import config as configs
from emoscene.core import registry, run_dir
from emoscene.core.errors import UsageError, unknown_name
from emoscene.diffusion.model import DiffusionModel
from emoscene.learning import learner as learners
from emoscene.methods.base import Method


def load_methods(
    base: DiffusionModel,
    method: str | None,
    adapter: str | Path | Sequence[str | Path] | None,
    late: Mapping[str, Any],
) -> tuple[dict[str, Method], list[str], dict[str, Any]]:
    """The methods by name, what each one's weights are called, and the settings that are not their own.

    method: names joined by `+`; left out, the folders say it. late: settings that may change at use.
    Raises Usage for names nobody knows and folders that do not fit, Failure for damaged files.
    """
    folders = folders_by_method(adapter)
    wanted = method.split("+") if method else list(folders)
    for name in wanted:
        registry.source_file("methods", name)
    if strangers := [name for name in folders if name not in wanted]:
        raise UsageError(f"{folders[strangers[0]]} is a {strangers[0]}, and --method {method} does not use it")
    if "none" in folders:
        raise UsageError(f"{folders['none']} says that it holds none, which has no weights: train the method again")
    names = [name for name in wanted if name != "none"]
    pairs = [(name, option.name) for name in names for option in registry.list_options("methods", name)]
    known = [*(key for _, key in pairs), *(f"{name}.{key}" for name, key in pairs)]
    for key in late.keys() - set(known):
        raise unknown_name("setting", key, known, hint="emoscene show NAME lists those of a method")
    methods = {name: _load_method(name, base, folders, method_settings(name, names, late)) for name in names}
    own = {name: folder.name for name, folder in folders.items()}
    labels = [own.get(name, f"{base.name}:{name}") for name in methods if methods[name].columns]
    return methods, labels, _changed_settings(methods, base, folders)


def folders_by_method(adapter: str | Path | Sequence[str | Path] | None) -> dict[str, Path]:
    """The folders that were given, by the method that each was trained for. Raises Usage for two of one."""
    folders: dict[str, Path] = {}
    for folder in map(Path, run_dir.as_list(adapter)):
        if (other := folders.setdefault(learners.read_card(folder)["learner"], folder)) is not folder:
            raise UsageError(f"{other} and {folder} are both {learners.read_card(folder)['learner']}: give one of them")
    return folders


def method_settings(name: str, names: Sequence[str], given: Mapping[str, Any]) -> dict[str, Any]:
    """The settings meant for one method: `key` alone where there is one method, `name.key` among several."""
    known = {option.name for option in registry.list_options("methods", name)}
    mine = {key.removeprefix(f"{name}."): value for key, value in given.items() if key.startswith(f"{name}.")}
    rest = {key: value for key, value in given.items() if "." not in key and (len(names) == 1 or key in known)}
    return {**rest, **mine}


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
    """The folder of a method's weights: the one given, else the base's own. Raises Usage where there is neither."""
    if name in folders:
        return folders[name]
    if name not in base.spec.adapters:
        raise UsageError(f"the base '{base.name}' has no {name} of its own: train one, and give it with --adapter DIR")
    return Path(base.spec.adapters[name])


def weight_fingerprints(
    base: DiffusionModel, names: Iterable[str], adapter: str | Path | Sequence[str | Path] | None
) -> dict[str, str]:
    """What paints, by name: the base's fingerprint, and that of each of these methods' weights."""
    folders = folders_by_method(adapter)
    return {"base": base.fingerprint} | {name: _folder_fingerprint(find_adapter(name, base, folders)) for name in names}


def update_weights(recorded: Mapping[str, Any], base: DiffusionModel) -> dict[str, Any]:
    """Restate a recorded call: the base's fingerprint in today's form, where an older version wrote this base's.

    Args:
        recorded: the call as its manifest has it, `weight_fingerprints` as its `weights`.
        base: the one that is used now.

    Returns:
        The call, which compares with one of today.
    """
    weights = recorded.get("weights")
    if not weights or not base.matches(weights["base"]):
        return dict(recorded)
    return {**recorded, "weights": {**weights, "base": base.fingerprint}}


def _folder_fingerprint(folder: Path) -> str:
    manifest = run_dir.read_manifest(folder) if (folder / run_dir.MANIFEST).is_file() else {}
    return str(manifest.get("fingerprint") or run_dir.fingerprint_folder(folder))


def runtime_settings(config: Any) -> dict[str, Any]:
    """The settings of a method that may change at use, as they are."""
    return {option.name: getattr(config, option.name) for option in configs.list_options(config) if option.runtime}


def _changed_settings(
    methods: Mapping[str, Method], base: DiffusionModel, folders: Mapping[str, Path]
) -> dict[str, Any]:
    """Late settings that differ from those a method has of itself or was trained with, each as `method.key`."""
    found: dict[str, Any] = {}
    for name, method in methods.items():
        own = runtime_settings(type(method).Config())
        own |= learners.read_card(find_adapter(name, base, folders))["config"] if method.columns else {}
        found |= {f"{name}.{key}": value for key, value in runtime_settings(method.config).items() if value != own[key]}
    return found

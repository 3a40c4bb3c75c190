"""What this machine has for emoscene: device, precisions, versions, extras, models, disk; and how to get the rest.

    emoscene doctor --json

What ought to be installed is read from the package's own metadata, what ought to be fetched from `bases/*.toml`. Each
thing that is missing brings the command that mends it, the one that every error names too (`errors`). Nothing is
downloaded and no model is loaded.
"""

from __future__ import annotations

import os
import platform
import shutil
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import constants
from packaging.requirements import Requirement

from emoscene.core import registry, run_dir
from emoscene.core.errors import download_command, install_command
from emoscene.diffusion import hub
from emoscene.diffusion.device_choice import DTYPES, PINNED, can_multiply, choose_device, count_devices

GB = 1e9


def doctor() -> dict[str, Any]:
    """Find out what this machine has, and the command for what is missing.

    Returns:
        The facts, ready for JSON: device, dtypes, versions, extras, models, disk, and `remedies`, a command each.
    """
    place = choose_device().type
    packages, extras = _package_facts()
    models = list(_model_facts())
    remedies = [f"pip install '{name}'" for name in packages["lacking"]]
    for fact in (*extras.values(), *models):
        if "command" in fact:
            remedies.append(fact["command"])
    return {
        "device": _device_facts(place),
        "dtypes": {name: can_multiply(place, dtype) for name, dtype in DTYPES.items()},
        "versions": {**run_dir.read_versions(), **packages["there"]},
        "extras": extras,
        "models": models,
        "disk": {"cache": constants.HF_HUB_CACHE, "free_gigabytes": _free_gigabytes(Path(constants.HF_HUB_CACHE))},
        "offline": constants.HF_HUB_OFFLINE,
        "remedies": list(dict.fromkeys(remedies)),
    }


def _device_facts(place: str) -> dict[str, Any]:
    facts: dict[str, Any] = {"name": place, "cores": os.cpu_count(), "threads": torch.get_num_threads()}
    facts["system"] = platform.platform(terse=True)
    if place in PINNED:
        facts["cards"] = []
        for number in range(count_devices()[place]):
            card = torch.get_device_module(place).get_device_properties(number)
            facts["cards"].append({"name": card.name, "gigabytes": round(card.total_memory / GB, 1)})
    return facts


def _package_facts() -> tuple[dict[str, Any], dict[str, Any]]:
    """The packages that emoscene needs, and its extras, against what is there."""
    there: dict[str, str] = {}
    lacking: list[str] = []
    extras: dict[str, dict[str, Any]] = {}
    for line in requires("emoscene") or []:
        need = Requirement(line)
        extra = _extra_of(need)
        found = _installed_version(need.name)
        fits = found != "" and need.specifier.contains(found, prereleases=True)
        wanted = f"{need.name}{need.specifier}"
        if not extra:
            there[need.name] = found
            if not fits:
                lacking.append(wanted)
            continue
        about = extras.setdefault(extra, {"there": True, "lacking": []})
        if not fits and need.name != "emoscene":
            about |= {"there": False, "command": install_command(extra)}
            about["lacking"].append(wanted)
    return {"there": there, "lacking": lacking}, extras


def _extra_of(need: Requirement) -> str:
    """The extra that a requirement belongs to; nothing for what is always needed."""
    _, _, rest = str(need.marker or "").replace("'", '"').partition('extra == "')
    return rest.partition('"')[0]


def _installed_version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def _model_facts() -> Iterator[dict[str, Any]]:
    """Each base and the encoders that read images for it: where it is, or the command that downloads it."""
    for base in registry.list_names("bases"):
        table = registry.load_table("bases", base)
        pinned = table["source"]
        if "revision" in table:
            pinned = f"{pinned}@{table['revision']}"
        yield {"name": base, **_model_fact(pinned)}
        for kind in ("captioner", "emotion_clip"):
            if table.get(kind):
                yield {"name": f"{base}'s {kind}", **_model_fact(table[kind])}


def _model_fact(place: str) -> dict[str, Any]:
    named = hub.ID.fullmatch(place)
    if Path(place).is_dir() or not named:
        return {"place": place, "there": Path(place).is_dir()}
    folder = hub.find_cached(named[1], named[2])
    if folder is not None:
        return {"place": str(folder), "there": True}
    return {"place": place, "there": False, "command": download_command(named[1], named[2], hub.WEIGHTS)}


def _free_gigabytes(folder: Path) -> float:
    """Gigabytes free on the disk of a folder, which need not be there yet."""
    there = next(path for path in (folder, *folder.parents) if path.exists())
    return round(shutil.disk_usage(there).free / GB, 1)

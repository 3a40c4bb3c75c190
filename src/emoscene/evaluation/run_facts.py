"""What `scores.json` says of the run that made the images: base, method, adapters, settings, seconds and bytes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from emoscene.core import run_dir
from emoscene.core.config import to_dict
from emoscene.core.parameter import COMPARE
from emoscene.core.params import GenerationParams
from emoscene.core.request import list_parameters
from emoscene.evaluation.baselines.base import Baseline
from emoscene.evaluation.generate import adapter_folders
from emoscene.evaluation.predictions import Sample
from emoscene.methods.base import SHARES
from emoscene.pipeline import image_folder
from emoscene.pipeline.adapters import runtime_settings
from emoscene.pipeline.pipeline import EmotionPipeline


def describe_run(
    pipe: EmotionPipeline, planned: Sequence[tuple[Sample, GenerationParams]], folder: Path, call: Mapping[str, Any]
) -> dict[str, Any]:
    """Describe what was generated, how, and at what cost.

    Args:
        pipe: What generated.
        planned: The images and their parameters, at least one.
        folder: Where their rows lie.
        call: The call of `evaluate`.

    Returns:
        Fields of `scores.json`.
    """
    row, made = planned[0][1], image_folder.gather_rows(folder, sorted({row.file for _, row in planned}))
    seconds = [one["seconds"] for one in made if one["seconds"] is not None]
    adapters = adapter_folders(pipe, call["adapter"])
    costs = [run_dir.read_manifest(path).get("cost", {}) for path in adapters]
    remarks = {}
    if pipe.adapter_remarks:
        remarks["remarks"] = pipe.adapter_remarks
    size = 0
    for path in adapters:
        size += sum(part.stat().st_size for part in path.glob("*.safetensors"))
    return {
        "base": pipe.base.name,
        "method": pipe.method,
        "adapters": [run_dir.read_manifest(path).get("fingerprint") for path in adapters],
        "loras": row.loras,
        **{name: getattr(row, name) for name in list_parameters(COMPARE)},
        "settings": _runtime_settings(pipe),
        **remarks,
        "prompts": call["prompts"],
        "seeds": call["seeds"],
        "images_per_second": round(len(seconds) / max(sum(seconds), 1e-9), 3),
        "cost": {
            "trainable": sum(cost.get("trainable", 0) for cost in costs),
            "bytes": size,
            "training_images": sum(cost.get("pictures", 0) for cost in costs),
            "training_seconds": sum(cost.get("seconds", 0) for cost in costs),
            "seconds_per_image": round(float(np.mean(seconds)), 4) if seconds else None,
        },
    }


def describe_baseline(about: Mapping[str, Any], name: str, baseline: Baseline) -> dict[str, Any]:
    """Describe a baseline, whose base was described as if it were the method.

    Args:
        about: What `describe_run` said of the base alone.
        name: The baseline's name.
        baseline: The baseline.

    Returns:
        The fields that are others.
    """
    cost = dict(about["cost"])
    if cost["seconds_per_image"] is not None:
        cost["seconds_per_image"] = round(cost["seconds_per_image"] * baseline.images_per_sample, 4)
    return {"method": name, "settings": to_dict(baseline.config), "cost": cost}


def _runtime_settings(pipe: EmotionPipeline) -> dict[str, Any]:
    """What may change at use in a pipe's methods, as it was; each under its method's name where there are several."""
    together = len(pipe.methods) > 1
    settings = {}
    for name, method in pipe.methods.items():
        for key, value in runtime_settings(method.config).items():
            if together:
                settings[f"{name}.{key}"] = value
            elif key not in SHARES:
                settings[key] = value
    return settings

"""What of a call of `evaluate` can be refused before the base is loaded: data, judges and other models."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from emoscene.core import run_dir
from emoscene.core.migration import migrate_row
from emoscene.core.request import read_number
from emoscene.core.setting_names import migrate_runtime_settings
from emoscene.data.dataset import PreparedDataset
from emoscene.encoders.base import check_place
from emoscene.evaluation.judges import INCEPTION, check_judges, check_unrelated, split_label_map
from emoscene.pipeline.pipeline import check_request


def check_evaluation(call: Mapping[str, Any], out: str | Path, batch: int, generation: Mapping[str, Any]) -> None:
    """Look at the words, folders, data and judges of a call before anything is loaded.

    Args:
        call: What is recorded of the arguments of `evaluate`.
        out: The folder to write.
        batch: How many images are generated at once.
        generation: The parameters of the generation.

    Raises:
        UsageError: A value is off, the folder is another call's, data are not finished or have no held-out images, a
            place holds no judge or model, or a judge has a part in what it judges.
    """
    check_request({"prompt": call["prompts"], **generation})
    read_number("batch", batch)
    run_dir.check_known(out, "scores", call, ("weights",), _migrate_call)
    if call["data"]:
        PreparedDataset(call["data"], "heldout")
    for key in ("clip", "semantics", "features"):
        place = str(call.get(key) or "")
        if place and place.partition(":")[0] != INCEPTION:
            check_place(place)
    check_judges(call["base"], call["judge"])
    adapters = [folder for folder in call["adapter"] if Path(folder).exists()]
    for place in (*call["judge"], call.get("clip")):
        if place and Path(split_label_map(place)[0]).exists():
            check_unrelated(place, adapters, call["pictures"])


def _migrate_call(recorded: Mapping[str, Any]) -> dict[str, Any]:
    """A call as an older version recorded it, in the form of today."""
    migrated = migrate_row(recorded)
    if "settings" in migrated:
        migrated["settings"] = migrate_runtime_settings(migrated["settings"])
    return migrated

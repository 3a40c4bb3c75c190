"""What of a call of `evaluate` can be refused before the base is loaded: data, judges and other models."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from emoscene.data.dataset import PreparedDataset
from emoscene.encoders.base import check_place
from emoscene.evaluation.judges import INCEPTION, check_judges, check_unrelated, split_label_map


def check_places(call: Mapping[str, Any]) -> None:
    """Look at the data and judges of a call before anything is loaded.

    Args:
        call: The arguments of `evaluate`.

    Raises:
        UsageError: Data are not finished or have no held-out images, or a place holds no judge or model, or a judge
            has a part in what it judges.
    """
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

"""What must be known of scores before they are believed: the miniature's judges on images that are not of its world."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from emoscene.core import run_dir
from emoscene.core.image_origin import (
    caution_for,
    count_images,
    is_file_rendered,
    is_of_rendered_world,
    list_worlds,
)
from emoscene.evaluation.judges import name_miniature
from emoscene.evaluation.predictions import Sample


def list_cautions(call: Mapping[str, Any], samples: Sequence[Sample], base: str | None) -> list[str]:
    """List what must be known where the miniature's judges, or its EmotionCLIP, read images not of its world.

    Args:
        call: The call of `evaluate`.
        samples: What is scored.
        base: What generated the samples; None where they are anybody's files.

    Returns:
        A sentence each.
    """
    names = name_miniature(call["base"], call["judge"])
    names += ["the CLIP"] if is_of_rendered_world(call.get("clip") or "") else []
    if not names:
        return []
    what = f"what its judges say of them ({', '.join(names)}) means nothing"
    remedy = "give --judge, one that learnt from such images"
    foreign, cautions = 0 if base in list_worlds() else len(samples), []
    if base is None:
        foreign = sum(not is_file_rendered(sample.file, sample.original) for sample in samples)
    if foreign:
        cautions.append(caution_for(count_images(foreign, len(samples)), what, remedy))
    if call["data"]:
        manifest = run_dir.read_manifest(call["data"], "prepared")
        total = manifest["pictures"]
        rendered = manifest.get("rendered", total if manifest["config"]["source"] in list_worlds() else 0)
        if rendered < total:
            whose = f"in {call['data']} {count_images(total - rendered, total)}"
            cautions.append(caution_for(whose, what, remedy))
    return cautions

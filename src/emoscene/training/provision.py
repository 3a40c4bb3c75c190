"""What a prepared folder lacks for a learner, and the call of `prepare` that provides it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from emoscene.core import registry, run_dir
from emoscene.core.errors import UsageError
from emoscene.core.image_origin import caution_for, count_images, is_of_rendered_world, suggest_captioner
from emoscene.data.dataset import PreparedDataset
from emoscene.diffusion.base_spec import find_spec
from emoscene.learning.learner import Learner
from emoscene.methods.base import Method


def list_lacking(cls: type[Learner], there: PreparedDataset) -> dict[str, str]:
    """List what the learner reads and the data lack.

    Args:
        cls: The learner's class.
        there: The data.

    Returns:
        In words, by the setting of `prepare` that provides it.
    """
    lacking = {}
    if "vector" in cls.columns and not there.emotion_clip:
        lacking["emotion_clip"] = "EmotionCLIP's vectors"
    if issubclass(cls, Method) and "caption" in cls.columns and not any(there.column("caption")):
        lacking["captioner"] = "captions"
    return lacking


def describe_preparation(call: Mapping[str, Any], lacking: Mapping[str, str]) -> dict[str, Any]:
    """Describe the call of `prepare` that made the data, without the settings that left out what lacks.

    Args:
        call: The call, as the manifest has it.
        lacking: What lacks, as `list_lacking` has it.

    Returns:
        The arguments of `prepare`.
    """
    known = {"source", "root", "limit", "per_emotion", "split"}
    for option in [*registry.list_room_options("data/preparation"), *registry.list_options("sources", call["source"])]:
        known.add(option.name)
    given = {key: call[key] for key in call.keys() & (known - {"emotion_clip", *lacking})}
    if call.get("limit") is None or registry.load_plugin("sources", call["source"]).deals:
        given.pop("balanced", None)  # which had no effect there
    if not given.get("captioner", True):
        given["captioner"] = "none"
    if is_of_rendered_world(given.get("captioner") or "") and not call.get("captioner_asked"):
        del given["captioner"]  # the base's, of the images that it knows
    return given


def check_captioner(data: Path, there: PreparedDataset, base: str) -> None:
    """Check that a base's captioner can caption images.

    Args:
        data: The prepared folder.
        there: What is in it.
        base: The base's name.

    Raises:
        UsageError: The base has no captioner, or one that does not know such images.
    """
    captioner = find_spec(base).captioner
    if not captioner:
        raise UsageError(
            f"--base {base} has no captioner: prepare {data} again with captioner=FOLDER or a BLIP's hub id"
        )
    foreign = len(there.column("id")) - run_dir.read_manifest(data).get("rendered", 0)
    if foreign and is_of_rendered_world(captioner):
        whose, what = count_images(foreign, len(there)), "its captioner cannot caption them"
        raise UsageError(caution_for(whose, what, f"prepare {data} again with captions, or {suggest_captioner()}"))

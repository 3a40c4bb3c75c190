"""What is known of a call's images before its base is loaded, so that another call's folder is refused at once.

A base tells its own size, its guidance scale and its method; a network reads the emotion of an image. All else of a row
follows from the words of the call alone.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any

from emoscene.core import registry, run_dir
from emoscene.core.params import GenerationParams, read_prompts
from emoscene.core.request import DRAW_SEED, GenerationRequest, read_seeds
from emoscene.pipeline.pipeline import read_emotions

ALWAYS = ("negative_prompt", "emotion_scale", "num_inference_steps", "sampler", "guidance_interval")
"""What a row has as the request says it."""
IF_GIVEN = ("guidance_scale", "width", "height", "strength")
"""What a row has as the request says it, where that says it."""


def check_folder(out: str | Path, words: Mapping[str, Any], method: str | None) -> None:
    """Check, before the base is loaded, that a folder of images is not another call's.

    Args:
        out: The folder.
        words: The prompt and the parameters of `core.request.GenerationRequest`.
        method: The method that was asked for, if any.

    Raises:
        UsageError: The folder is of another kind, or holds images of another call.
        EmosceneError: The folder is damaged.
    """
    rows = list_known_rows(words, method)

    def pick_known(recorded: Mapping[str, Any]) -> dict[str, Any]:
        there = []
        for row in recorded["rows"]:
            whole = GenerationParams.from_dict(row).to_dict()
            there.append({key: whole[key] for key in rows[0]})
        return {"rows": json.loads(json.dumps(there))}

    if rows:
        run_dir.check_known(out, "pictures", {"rows": rows}, (), pick_known)
    else:
        run_dir.check_out(out, "pictures")


def list_known_rows(words: Mapping[str, Any], method: str | None) -> Sequence[Mapping[str, Any]]:
    """List what is known of the rows of a call.

    Args:
        words: The prompt and the parameters of `core.request.GenerationRequest`.
        method: The method that was asked for, if any.

    Returns:
        The fields that are known, the same ones of each row, in the order of `EmotionPipeline.plan`.

    Raises:
        UsageError: A word is not known, or a value is off.
    """
    request = GenerationRequest.from_words(words)
    shared: dict[str, Any] = {name: getattr(request, name) for name in ALWAYS}
    for name in IF_GIVEN:
        if getattr(request, name) is not None:
            shared[name] = getattr(request, name)
    if request.image is not None:  # its own size is the frame, and its caption may be the prompt
        shared.pop("width", None)
        shared.pop("height", None)
    if method is not None:
        names = [name for name in registry.split_methods(method) if name != "none"]
        shared["method"] = "+".join(names) or "none"
    prompts = read_prompts(request.prompt)
    seeds = read_seeds(request.seed, request.num_images_per_prompt)
    rows = []
    for prompt, emotion, seed in product(prompts, read_emotions(request), seeds):
        row = GenerationParams(prompt=prompt, emotion=emotion, seed=seed).to_dict()
        known = {**shared, "prompt": prompt, "emotion": row["emotion"], "seed": seed}
        if request.image is not None and not all(prompts):
            del known["prompt"]
        if request.emotion_image is not None:
            del known["emotion"]
        if words.get("seed") == DRAW_SEED:
            del known["seed"]
        rows.append(known)
    return rows

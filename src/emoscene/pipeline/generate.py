"""A base with methods on it, ready to use: `load`; and the verb `generate`, which fills a folder of images."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from inspect import signature
from pathlib import Path
from typing import Any

import torch

from emoscene.core.images import name_files
from emoscene.core.taxonomy import format_emotion
from emoscene.diffusion import loras
from emoscene.diffusion.device import compile_unet, describe_device, load_model
from emoscene.diffusion.model import DiffusionModel
from emoscene.pipeline import image_folder
from emoscene.pipeline.adapters import load_methods, update_weights, weight_fingerprints
from emoscene.pipeline.pipeline import Emotion, EmotionPipeline

ASKED = {
    *("valence", "arousal", "like", "image", "keep", "strength", "negative", "seed", "num", "steps", "size"),
    *("cfg", "cfg_low", "cfg_high", "sampler"),
}
"""What `generate` asks of `EmotionPipeline.plan`, beside prompt and emotion."""


def load(
    base: str | DiffusionModel = "mini",
    *,
    method: str | None = None,
    adapter: str | Path | Sequence[str | Path] | None = None,
    lora: str | Path | Sequence[str | Path] | None = None,
    device: str | None = None,
    dtype: torch.dtype | str | None = None,
    compile: bool = False,
    tiny: str | Path | None = None,
    **late: Any,
) -> EmotionPipeline:
    """A base with methods on it: `load("mini", method="lora")`.

    base: a name, a folder, a hub id, or one that is loaded already. method: a name or names joined by `+`; left out,
    the adapters say it. adapter: folders that `train` made; a method without one takes the base's own. lora:
    LoRAs trained elsewhere, `FILE` or `FILE:scale`, which become part of the base; one that is given loaded stays as it
    is. device, dtype: the best there is, if left out (`device`). compile: compile the UNet, which pays for many
    pictures of one size. tiny: the folder of an AutoencoderTiny for previews. late: settings of the methods that may
    change at use (`guidance.scale` in a pair).
    Raises Usage for names nobody knows and adapters of another architecture, Failure for damaged files or without a
    compiler.
    """
    backbone = base if isinstance(base, DiffusionModel) else load_model(base, device, dtype)
    backbone = loras.apply_loras(backbone, lora) if lora else backbone
    if compile:
        compile_unet(backbone)
    arguments = [name for name in signature(load).parameters if name != "late"]
    return EmotionPipeline(backbone, *load_methods(backbone, method, adapter, late, arguments), tiny)


def generate(
    prompt: str = "",
    *,
    out: str | Path = "out",
    emotion: Emotion | list[Emotion] = None,
    method: str | None = None,
    adapter: str | Path | Sequence[str | Path] | None = None,
    base: str = "mini",
    lora: str | Path | Sequence[str | Path] | None = None,
    batch: int = 8,
    device: str | None = None,
    dtype: str | None = None,
    compile: bool = False,
    on_message: Callable[[str], None] | None = None,
    on_progress: Callable[[int, int], None] | None = None,
    **asked: Any,
) -> Path:
    """Paint into the folder `out`: a PNG a picture and `pictures.jsonl`; returns the folder.

    asked: `valence arousal like image keep strength negative seed num steps cfg cfg_low cfg_high sampler size`, as
    `EmotionPipeline.plan` has them, and settings of the methods that may change at use; device, dtype, compile: as `load` has
    them.
    The same call goes on where it stopped; a picture that is there is not painted again. Processes that were launched
    together share the painting. Raises Usage for words that are off.
    """
    late = {key: asked.pop(key) for key in list(asked) if key not in ASKED}
    backbone = load_model(base, device, dtype)
    pipe = load(backbone, method=method, adapter=adapter, lora=lora, compile=compile, **late)
    pipe.on_message = on_message = on_message or _ignore_message
    rows = name_files(pipe.plan(prompt, emotion=emotion, **asked))
    on_message(describe_device(pipe.base))
    first = rows[0]
    for remark in [
        *pipe.remarks(prompt),
        *pipe.image_inputs.remarks(first, prompt),
        *pipe.image_inputs.cautions(first, prompt),
    ]:
        on_message(remark)
    if asked.get("valence") is not None:
        place = format_emotion(rows[0].emotion) or "no emotion at all"
        on_message(f"valence {asked['valence']:g} and arousal {asked['arousal']:g} are {place}")
    if method is None and pipe.method == "none" and any(any(row.emotion) for row in rows):
        on_message("the base alone paints, and hears no emotion: give --method lora, or an --adapter")
    marks = weight_fingerprints(backbone, pipe.trained, adapter)
    opened = image_folder.open_folder(out, rows, late, marks, partial(update_weights, base=backbone))
    if not opened.is_done:
        facts = {"remarks": pipe.adapter_remarks} if pipe.adapter_remarks else {}
        image_folder.fill_folder(opened, pipe.generate, rows, batch, on_progress, facts)
    return opened.path


def _ignore_message(remark: str) -> None:
    """Tell nobody."""

"""A base with methods on it, ready to use: `load`; and the verb `generate`, which fills a folder of images."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from inspect import signature
from pathlib import Path
from typing import Any

import torch

from emoscene.core.images import name_files
from emoscene.core.parameter import CALL
from emoscene.core.params import GenerationParams
from emoscene.core.request import Emotion, list_parameters
from emoscene.core.run_dir import RunDir
from emoscene.core.taxonomy import format_emotion
from emoscene.diffusion import loras
from emoscene.diffusion.device import compile_unet, describe_device, load_model
from emoscene.diffusion.model import DiffusionModel
from emoscene.pipeline import image_folder
from emoscene.pipeline.adapters import load_methods, update_weights, weight_fingerprints
from emoscene.pipeline.pipeline import EmotionPipeline

CALLED = list_parameters(CALL)
"""What `generate` asks of `EmotionPipeline.plan`, beside the prompt."""


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
    settings: Mapping[str, Any] | None = None,
    **late: Any,
) -> EmotionPipeline:
    """A base with methods on it: `load("mini", method="lora")`.

    base: a name, a folder, a hub id, or one that is loaded already. method: a name or names joined by `+`; left out,
    the adapters say it. adapter: folders that `train` made; a method without one takes the base's own. lora:
    LoRAs trained elsewhere, `FILE` or `FILE:scale`, which become part of the base; one that is given loaded stays as it
    is. device, dtype: the best there is, if left out (`device`). compile: compile the UNet, which pays for many
    pictures of one size. tiny: the folder of an AutoencoderTiny for previews. settings: those of the
    methods that may change at use (`guidance.scale` in a pair); late: the same as keywords.
    Raises Usage for names nobody knows and adapters of another architecture, Failure for damaged files or without a
    compiler.
    """
    late = {**(settings or {}), **late}
    backbone = base if isinstance(base, DiffusionModel) else load_model(base, device, dtype)
    backbone = _prepare_base(backbone, lora, compile)
    arguments = [name for name in signature(load).parameters if name != "late"]
    return EmotionPipeline(backbone, *load_methods(backbone, method, adapter, late, arguments), tiny)


def _prepare_base(
    base: DiffusionModel, lora: str | Path | Sequence[str | Path] | None, compile: bool
) -> DiffusionModel:
    """The base with these LoRAs on it, compiled where that is asked for."""
    base = loras.apply_loras(base, lora) if lora else base
    if compile:
        compile_unet(base)
    return base


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
    settings: Mapping[str, Any] | None = None,
    on_message: Callable[[str], None] | None = None,
    on_progress: Callable[[int, int], None] | None = None,
    **asked: Any,
) -> Path:
    """Generate into the folder `out`: a PNG an image, and `images.jsonl`.

    The same call goes on where it stopped; an image that is there is not made again. Processes that were launched
    together share the work.

    Args:
        prompt: what the images show.
        out: the folder.
        emotion: a name, a mixture, or a list of these.
        method: as `load` has it, and so are the next five.
        adapter: folders that `train` made.
        base: a name, a folder, a file or a hub id.
        lora: LoRAs trained elsewhere.
        device: the best there is, if left out.
        dtype: of the weights.
        compile: compile the UNet.
        batch: images at once, 1 to 1024.
        on_message: takes what is to be said, a sentence each.
        on_progress: takes how many images are done, and of how many.
        settings: of the methods, those that may change at use (`guidance.scale` in a pair).
        asked: the parameters of `core.request.GenerationRequest`, and settings as keywords.

    Returns:
        The folder.

    Raises:
        UsageError: for words that are off.
        EmosceneError: for a damaged folder.
    """
    request = {key: asked.pop(key) for key in list(asked) if key in CALLED}
    late = {**(settings or {}), **asked}
    backbone = load_model(base, device, dtype)
    arguments = [name for name in (*signature(generate).parameters, *CALLED) if name != "asked"]
    chosen = load_methods(backbone, method, adapter, late, arguments)
    pipe = EmotionPipeline(_prepare_base(backbone, lora, compile), *chosen)
    pipe.on_message = on_message = on_message or _ignore_message
    rows = name_files(pipe.plan(prompt, emotion=emotion, **request))
    _report_plan(pipe, prompt, rows, method, request, on_message)
    marks = weight_fingerprints(backbone, pipe.trained, adapter)
    opened = image_folder.open_folder(out, rows, late, marks, partial(update_weights, base=backbone))
    _fill_folder(opened, pipe, rows, batch, on_progress)
    return opened.path


def _fill_folder(
    opened: RunDir,
    pipe: EmotionPipeline,
    rows: Sequence[GenerationParams],
    batch: int,
    on_progress: Callable[[int, int], None] | None,
) -> None:
    """Generate what the folder lacks; one that is done stays as it is."""
    if not opened.is_done:
        facts = {"remarks": pipe.adapter_remarks} if pipe.adapter_remarks else {}
        image_folder.fill_folder(opened, pipe.generate, rows, batch, on_progress, facts)


def _report_plan(
    pipe: EmotionPipeline,
    prompt: str,
    rows: Sequence[GenerationParams],
    method: str | None,
    request: Mapping[str, Any],
    on_message: Callable[[str], None],
) -> None:
    """Say where it runs, what is odd about the call, and what was read from its words and images."""
    on_message(describe_device(pipe.base))
    first = rows[0]
    for remark in [
        *pipe.remarks(prompt),
        *pipe.image_inputs.remarks(first, prompt),
        *pipe.image_inputs.cautions(first, prompt),
    ]:
        on_message(remark)
    if request.get("valence") is not None:
        place = format_emotion(rows[0].emotion) or "no emotion at all"
        on_message(f"valence {request['valence']:g} and arousal {request['arousal']:g} are {place}")
    if method is None and pipe.method == "none" and any(any(row.emotion) for row in rows):
        on_message("the base alone paints, and hears no emotion: give --method lora, or an --adapter")


def _ignore_message(remark: str) -> None:
    """Tell nobody."""

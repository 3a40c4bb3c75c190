"""A base with methods on it, ready to use: `load`; and the verb `generate`, which fills a folder of images."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from inspect import signature
from pathlib import Path
from typing import Any

import torch

from emoscene.core import run_dir
from emoscene.core.callbacks import ignore_event
from emoscene.core.cluster import Cluster, check_address, open_cluster
from emoscene.core.content_credentials import check_signing
from emoscene.core.errors import unknown_name
from emoscene.core.images import WRITTEN, check_fit, name_files
from emoscene.core.parameter import CALL
from emoscene.core.params import GenerationParams
from emoscene.core.processes import BY_RAY, check_single
from emoscene.core.provenance import PROVENANCES
from emoscene.core.request import DRAW_SEED, Emotion, list_parameters, read_number
from emoscene.core.run_dir import RunDir
from emoscene.core.taxonomy import format_emotion
from emoscene.diffusion import loras
from emoscene.diffusion.device import compile_unet, explain_base, load_model
from emoscene.diffusion.model import DiffusionModel
from emoscene.pipeline import image_folder
from emoscene.pipeline.adapters import (
    check_call,
    choose_default_method,
    load_methods,
    update_weights,
    weight_fingerprints,
)
from emoscene.pipeline.image_inputs import check_image
from emoscene.pipeline.known_rows import check_folder
from emoscene.pipeline.pipeline import EmotionPipeline, check_request
from emoscene.pipeline.remarks import remark_idle_method

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
    """Load a base with methods on it.

    Args:
        base: A name, a folder, a file, a hub id, or a base that is loaded already.
        method: A name, or names joined by `+`; left out, the adapters say it.
        adapter: Folders that `train` made; a method without one takes the base's own.
        lora: LoRAs trained elsewhere, `FILE` or `FILE:scale`, which become part of the base; a base that was given
            loaded stays as it is.
        device: `cuda`, `cuda:1`, `xpu`, `mps` or `cpu`; the best there is, if left out.
        dtype: `float32`, `float16` or `bfloat16`; half on an accelerator and single on a CPU, if left out.
        compile: Compile the UNet, which pays for many images of one size.
        tiny: The folder of an AutoencoderTiny for previews.
        settings: Of the methods, those that may change at use (`guidance.classifier_scale` in a pair).
        late: The same as keywords.

    Returns:
        The pipeline.

    Raises:
        UsageError: A name is not known, or an adapter is of another architecture.
        EmosceneError: Files are damaged, or there is no compiler.

    Example:
        >>> pipe = load("mini", method="lora")
        >>> pipe("a village by a lake", emotion="awe").images[0].size
        (128, 128)
    """
    late = {**(settings or {}), **late}
    arguments = list(signature(load).parameters)
    arguments.remove("late")
    if isinstance(base, DiffusionModel):
        backbone = base
    else:
        check_call(base, method, adapter, lora, late, arguments)
        backbone = load_model(base, device, dtype)
    backbone = _prepare_base(backbone, lora, compile)
    return EmotionPipeline(backbone, *load_methods(backbone, method, adapter, late, arguments), tiny)


def _prepare_base(
    base: DiffusionModel, lora: str | Path | Sequence[str | Path] | None, compile: bool
) -> DiffusionModel:
    """The base with these LoRAs on it, compiled where that is asked for."""
    if lora:
        base = loras.apply_loras(base, lora)
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
    format: str = "png",
    provenance: str = "xmp",
    ray: str | None = None,
    settings: Mapping[str, Any] | None = None,
    on_message: Callable[[str], None] | None = None,
    on_progress: Callable[[int, int], None] | None = None,
    **asked: Any,
) -> Path:
    """Generate into a folder: a file for each image, and `images.jsonl`.

    The same call continues where it stopped; an image that is there is not generated again.

    Args:
        prompt: What the images show.
        out: The folder.
        emotion: A name, a mixture, or a list of these.
        method: As `load` has it, and so are the next five; where an emotion is asked for with neither a method nor an
            adapter, the base's best adapter, or `prompt`.
        adapter: Folders that `train` made, or adapters of the hub, `owner/name@COMMIT`.
        base: A name, a folder, a file or a hub id.
        lora: LoRAs trained elsewhere.
        device: The best there is, if left out.
        dtype: Of the weights.
        compile: Compile the UNet.
        batch: Images at once, 1 to 1024.
        format: `png`, `jpeg` or `webp`; each file carries its parameters.
        provenance: What the files say of their origin: `xmp`, that a model made them; `c2pa`, that and a signature, by
            the extra `provenance`; `none`, nothing.
        ray: The Ray cluster whose workers share the images: `auto`, or its address.
        on_message: Takes a sentence for the user.
        on_progress: Takes the number of images done, and of all.
        settings: Of the methods, those that may change at use (`guidance.classifier_scale` in a pair).
        asked: The parameters of `core.request.GenerationRequest`, and settings as keywords.

    Returns:
        The folder.

    Raises:
        UsageError: An argument is off, or the folder belongs to another call.
        EmosceneError: The folder is damaged.
    """
    check_single("generate", BY_RAY)
    check_address(ray)
    request = {key: value for key, value in asked.items() if key in CALLED}
    late = {**(settings or {}), **{key: value for key, value in asked.items() if key not in CALLED}}
    arguments = [*signature(generate).parameters, *CALLED]
    arguments.remove("asked")
    check_call(base, method, adapter, lora, late, arguments)
    words = {"prompt": prompt, "emotion": emotion, **request}
    check_request(words)
    read_number("batch", batch)
    _check_output(format, provenance)
    check_folder(out, words, method)
    _check_images(request)
    if ray is None:
        backbone = load_model(base, device, dtype)
        where = explain_base(backbone, device, dtype)
    else:
        backbone = load_model(base, "cpu")  # GPUs are the workers'
        where = "generating on the workers of a Ray cluster"
    default = ""
    if method is None and not run_dir.as_list(adapter) and _asks_for_emotion(emotion, request):
        method = choose_default_method(backbone)
        default = f"no --method was given: {method} conveys the emotion"
    chosen = load_methods(backbone, method, adapter, late, arguments)
    pipe = EmotionPipeline(_prepare_base(backbone, lora, compile), *chosen)
    pipe.on_message = on_message = on_message or ignore_event
    rows = name_files(pipe.plan(prompt, emotion=emotion, **request), format)
    check_fit(rows, format)
    if default:
        on_message(default)
    _report_plan(pipe, where, prompt, rows, request, on_message)
    marks = weight_fingerprints(backbone, pipe.trained, adapter)
    loader = partial(
        load_generator, base, method=method, adapter=adapter, lora=lora, device=device, dtype=dtype, compile=compile
    )
    with open_cluster(ray, partial(loader, settings=late), device) as cluster:
        opened = image_folder.open_folder(out, rows, late, marks, partial(update_weights, base=backbone), provenance)
        _fill_folder(opened, pipe, rows, batch, on_progress, cluster, provenance)
    return opened.path


def _check_images(request: Mapping[str, Any]) -> None:
    """Raises UsageError where an image that the call names cannot be read."""
    for name in ("image", "emotion_image"):
        check_image(request.get(name))


def _check_output(kind: str, provenance: str) -> None:
    """Raises UsageError for a format or a provenance that there is none of, and EmosceneError where none can sign."""
    for name, value, known in (("format", kind, WRITTEN), ("provenance", provenance, PROVENANCES)):
        if value not in known:
            raise unknown_name(name, value, known, hint=f"there is {', '.join(known)}")
    if provenance == "c2pa":
        check_signing()


def load_generator(base: str, **words: Any) -> image_folder.Generate:
    """Load what generates in a worker.

    Args:
        base: As `load` has it.
        words: Other arguments of `load`.

    Returns:
        `EmotionPipeline.generate`.
    """
    return load(base, **words).generate


def _fill_folder(
    opened: RunDir,
    pipe: EmotionPipeline,
    rows: Sequence[GenerationParams],
    batch: int,
    on_progress: Callable[[int, int], None] | None,
    cluster: Cluster | None,
    provenance: str,
) -> None:
    """Generate what the folder lacks; one that is done stays as it is."""
    facts = {}
    if pipe.adapter_remarks:
        facts["remarks"] = pipe.adapter_remarks
    with opened.hold():
        if not opened.is_done:
            image_folder.fill_folder(opened, pipe.generate, rows, batch, on_progress, facts, cluster, provenance)


def _report_plan(
    pipe: EmotionPipeline,
    where: str,
    prompt: str,
    rows: Sequence[GenerationParams],
    request: Mapping[str, Any],
    on_message: Callable[[str], None],
) -> None:
    """Say where it runs, what is odd about the call, and what was read from its words and images."""
    on_message(where)
    first = rows[0]
    if request.get("seed") == DRAW_SEED:
        on_message(f"seed {first.seed} was drawn: the call with it makes the same images")
    for remark in [
        *pipe.row_remarks(rows),
        *remark_idle_method(rows),
        *pipe.image_inputs.remarks(first, prompt),
        *pipe.image_inputs.cautions(first, prompt),
    ]:
        on_message(remark)
    if request.get("valence") is not None:
        place = format_emotion(rows[0].emotion) or "no emotion at all"
        on_message(f"valence {request['valence']:g} and arousal {request['arousal']:g} are {place}")


def _asks_for_emotion(emotion: Emotion | list[Emotion], request: Mapping[str, Any]) -> bool:
    """Whether a call asks for any emotion, by its name, by its place or by an image."""
    several = emotion if isinstance(emotion, list) else [emotion]
    if any(one and one != "neutral" for one in several):
        return True
    return any(request.get(name) is not None for name in ("valence", "arousal", "emotion_image"))

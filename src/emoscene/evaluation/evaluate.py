"""The verb `evaluate`: prompts x emotions x seeds are generated, judges read them, `scores.json` says what came of it.

    scores/
        manifest.json  scores.json
        draws.npz                       the bootstrap draws of figures, for comparisons at matched accuracy
        verdicts.jsonl                  a row an image: what was asked and what each judge saw
        pictures/*.png  pictures/images.jsonl       (of images that are not kept: what was seen in them)

Every figure has an interval that resamples prompts and seeds, crossed. The base alone knows no emotion, so it generates
a prompt and a seed once, and that image is held against each of the eight. The same call goes on where it stopped.
The workers of a Ray cluster may share the generating (`core.cluster`); this process judges.
A metric that could not be measured leaves a sentence under "missing", and the call says it. It fails, with all else
written, only where something is wrong: an image that cannot be read, a judge that reads NaN.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from inspect import signature
from pathlib import Path
from typing import Any

from PIL import Image

from emoscene.core import registry, run_dir
from emoscene.core.cluster import Cluster, check_address, open_cluster
from emoscene.core.errors import EmosceneError, UsageError
from emoscene.core.idle_options import check_idle, list_changed
from emoscene.core.migration import SCORES_VERSION, VERSION, migrate_row
from emoscene.core.parameter import EVALUATE
from emoscene.core.params import GenerationParams
from emoscene.core.plain_text import shorten_text
from emoscene.core.processes import BY_RAY, check_single
from emoscene.core.request import ALIASES, check_words, list_parameters
from emoscene.core.setting_names import unknown_setting
from emoscene.diffusion import loras
from emoscene.diffusion.device import explain_base
from emoscene.diffusion.device_choice import choose_device
from emoscene.evaluation.baselines.base import ALONE, Baseline, is_baseline, open_baseline
from emoscene.evaluation.cautions import list_cautions
from emoscene.evaluation.checks import check_evaluation
from emoscene.evaluation.external import find_samples
from emoscene.evaluation.generate import (
    Prompt,
    See,
    adapter_folders,
    default_prompts,
    generate_and_predict,
    generate_samples,
    load_prompts,
    parse_seeds,
    plan_samples,
)
from emoscene.evaluation.intervals import Array, explain_missing
from emoscene.evaluation.judges import Judges, digest_label_maps
from emoscene.evaluation.predictions import Sample, guidance_classifier, predict, predict_images
from emoscene.evaluation.references import References
from emoscene.evaluation.run_facts import describe_baseline, describe_run
from emoscene.evaluation.score_files import DRAWN, SCORES, read_scores, save_draws
from emoscene.evaluation.scoring import score_predictions, verdict_rows
from emoscene.evaluation.treatments import TREATED, measure_robustness
from emoscene.learning.precision import peak_memory
from emoscene.pipeline import image_folder
from emoscene.pipeline.adapters import locate_adapter, update_weights, weight_fingerprints
from emoscene.pipeline.generate import load, load_generator
from emoscene.pipeline.pipeline import EmotionPipeline

GENERATION = tuple(list_parameters(EVALUATE))
LONGEST = 4000  # characters that are said of what is missing; scores.json has all


def evaluate(
    *,
    out: str | Path,
    method: str | None = None,
    adapter: str | Path | Sequence[str | Path] | None = None,
    base: str = "mini",
    lora: str | Path | Sequence[str | Path] | None = None,
    emotion_scale: float = 1.0,
    prompts: str | Path | Sequence[Prompt | str] | None = None,
    seeds: str | Iterable[int] = "0:4",
    judge: str | Path | Sequence[str | Path] | None = None,
    data: str | Path | None = None,
    images: str | Path | None = None,
    clip: str | Path | None = None,
    semantics: str | Path | None = None,
    features: str | Path | None = None,
    lpips: str | None = None,
    robust: bool = False,
    keep_images: bool = True,
    batch: int = 8,
    device: str | None = None,
    dtype: str | None = None,
    ray: str | None = None,
    settings: Mapping[str, Any] | None = None,
    on_message: Callable[[str], None] = print,
    **generation: Any,
) -> Path:
    """Score a method, or any folder of images. The same call continues where it stopped.

    Args:
        out: The folder to write.
        method: The method, or a baseline (`emoscene ls baselines`); left out, the adapters say it.
        adapter: Folders that `train` wrote, or adapters of the hub, `owner/name@COMMIT`.
        base: A base's name, a folder, a file or a hub id.
        lora: LoRAs trained elsewhere, which the base loads, each with its scale: `style.safetensors:0.8`.
        emotion_scale: The emotion scale of the images.
        prompts: A file with one prompt a line, or a name of `emoscene ls prompts`; left out, those of the base's own
            world, else 60 everyday ones.
        seeds: The first and past-the-last seed of each prompt and emotion, such as `0:4`.
        judge: More judges than the base's own: folders that `train judge` wrote, or hub ids of a CLIP or a classifier;
            `=LABELS.toml` after a classifier says which emotions its labels are.
        data: A prepared folder. Its held-out images give the judges' ceiling and the distances, and those that methods
            learn from teach the baselines and the reader of colours.
        images: A folder of images to judge, from anywhere, instead of a method.
        clip: A CLIP for the alignment with the prompts and for semantic diversity: a folder or a hub id.
        semantics: A classifier of objects, for semantic clarity: a folder or a hub id.
        features: A vision model for distances: a folder, a hub id, or `inception`.
        lpips: The network of LPIPS between edits and their images.
        robust: Judge again after JPEG 75 and a small blur.
        keep_images: Keep the images; if not (`=no`), each batch is judged as it is generated.
        batch: How many images are generated at once.
        device: `cuda`, `cuda:1`, `xpu`, `mps` or `cpu`; the best there is if left out.
        dtype: `float32`, `float16` or `bfloat16`, of the base's weights; half on an accelerator and single on a CPU if
            left out.
        ray: The Ray cluster whose workers share the generating: `auto`, or its address.
        settings: Of the methods, those that may change at use (`guidance.classifier_scale` in a pair).
        on_message: Receives sentences about the progress.
        generation: Parameters of the generation (`core.request.EvaluationWords`), and settings as keywords.

    Returns:
        The folder, with `scores.json`.

    Raises:
        UsageError: An argument is wrong, or a judge shares training data or weights with what it judges.
        EmosceneError: An image or what a judge read of it is damaged; everything else is written.
    """
    check_single("evaluate", BY_RAY)
    given: dict[str, Any] = {"images": images, "method": method, "prompts": prompts, "seeds": seeds, "lora": lora}
    given |= {"emotion_scale": emotion_scale, "keep_images": keep_images, "batch": batch, "dtype": dtype, "ray": ray}
    check_idle("evaluate", list_changed(evaluate, {**given, **generation, **(settings or {})}))
    check_address(ray)
    generation, late = _split_words(generation, settings)
    words: dict[str, Any] = {"base": base, "method": method, "adapter": adapter, "lora": lora, "dtype": dtype}
    words |= {"device": device, "settings": late}
    asked = load_prompts(prompts or default_prompts(base))
    call = _describe_call(words, asked, run_dir.as_list(judge))
    call |= {"emotion_scale": emotion_scale, "seeds": parse_seeds(seeds), "data": data, "pictures": images}
    call |= generation | _drop_unset(clip=clip, semantics=semantics, features=features, lpips=lpips, robust=robust)
    call |= _drop_unset(streamed=not keep_images)
    check_evaluation(call, out, batch, {"emotion_scale": emotion_scale, **generation})
    references = References(base, Path(data) if data else None, str(choose_device(device)))
    baseline = _find_baseline(words, call, references)
    samples, lost = find_samples(Path(images)) if images else ([], {})
    pipe, planned = None, []
    if not images:
        pipe = load(**{**words, "device": references.device})
        on_message(explain_base(pipe.base, device, dtype))
        planned = _plan_images(pipe, baseline, asked, call, generation)
        call["weights"] = weight_fingerprints(pipe.base, pipe.trained, adapter)
    judges = Judges.load(call, _list_related(pipe, call, baseline), references.device)
    loader, see = _choose_predictor(words, call, judges, pipe)
    with ExitStack() as held:
        with open_cluster(ray, loader, device) as cluster:
            scores = _begin(out, call, [*map(locate_adapter, call["adapter"]), data, images], pipe, planned, on_message)
            held.enter_context(scores.hold())
            if scores.is_done:
                return _finish_scores(scores.path, on_message)
            samples, seen = _make_images(scores.path, pipe, planned, samples, see, batch, on_message, cluster, baseline)
        _write_scores(scores, call, judges, samples, seen, lost, pipe, planned, references, baseline, on_message)
    return _finish_scores(scores.path, on_message)


def _plan_images(
    pipe: EmotionPipeline,
    baseline: Baseline | None,
    prompts: Sequence[Prompt],
    call: Mapping[str, Any],
    generation: Mapping[str, Any],
) -> list[Any]:
    """The samples to generate and the parameters of their images, as the method or the baseline plans them."""
    plan = plan_samples if baseline is None else baseline.plan
    return plan(pipe, prompts, call["seeds"], emotion_scale=call["emotion_scale"], **generation)


def _describe_call(words: Mapping[str, Any], asked: Sequence[Prompt], judge: list[Any]) -> dict[str, Any]:
    """What makes two calls the same, of how a pipe is loaded, the prompts and the judges."""
    call: dict[str, Any] = {"method": words["method"], "adapter": run_dir.as_list(words["adapter"])}
    call |= {"base": words["base"], "version": VERSION, "settings": words["settings"], "judge": judge}
    call["prompts"] = [prompt.text for prompt in asked]
    lora = _lora_digests(words["lora"])
    return call | _drop_unset(dtype=words["dtype"], label_maps=digest_label_maps(judge), lora=lora)


def _choose_predictor(
    words: Mapping[str, Any], call: Mapping[str, Any], judges: Judges, pipe: EmotionPipeline | None
) -> tuple[Callable[[], Any], tuple[See, bool] | None]:
    """What each worker of a cluster loads; and the judges as a predictor, where images are judged and not kept."""
    if pipe is None or not call.get("streamed"):
        return partial(load_generator, **words), None
    return partial(_load_predictor, words, call), _make_predictor(judges, pipe, call.get("robust", False))


def _split_words(words: Mapping[str, Any], settings: Mapping[str, Any] | None) -> tuple[dict[str, Any], dict[str, Any]]:
    """The keywords of a call: parameters of the generation, and settings of methods with those given as a mapping."""
    known = [*signature(evaluate).parameters, *GENERATION]
    for kind in ("methods", "baselines"):
        for name in registry.list_names(kind):
            for option in registry.list_options(kind, name):
                known += [option.name, f"{name}.{option.name}"]
    generation: dict[str, Any] = {}
    late = dict(settings or {})
    for key, value in words.items():
        if key in GENERATION:
            generation[key] = value
        elif key in known:
            late[key] = value
        elif key in ALIASES:
            check_words([key], known)
        else:
            raise unknown_setting("argument", key, known)
    return generation, late


def _make_images(
    folder: Path,
    pipe: EmotionPipeline | None,
    planned: Sequence[Any],
    samples: list[Sample],
    predictor: tuple[See, bool] | None,
    batch: int,
    on_message: Callable[[str], None],
    cluster: Cluster | None,
    baseline: Baseline | None,
) -> tuple[list[Sample], Any]:
    """Generate what was planned, or, with a predictor, keep what it sees of each batch and no image.

    It looks beside generation, unless it does so alone because it uses the same base.
    """
    pictures = folder / "pictures"
    if pipe is None:
        return samples, None
    if predictor is not None:
        see, alone = predictor
        return generate_and_predict(pipe, planned, pictures, see, batch, on_message, alone, cluster)
    made = generate_samples(pipe, planned, pictures, batch, on_message, cluster)
    if baseline is not None:
        made = baseline.finish(made, pictures)
    return made, None


def _list_related(pipe: EmotionPipeline | None, call: Mapping[str, Any], baseline: Baseline | None) -> list[Path]:
    """The folders of weights that had a part in the images, and so may not judge them."""
    related = []
    if pipe is not None:
        related += adapter_folders(pipe, call["adapter"])
    if baseline is not None:
        related += baseline.weight_folders
    return related


def _begin(
    out: str | Path,
    call: Mapping[str, Any],
    folders: Sequence[str | Path | None],
    pipe: EmotionPipeline | None,
    planned: Sequence[tuple[Sample, GenerationParams]],
    on_message: Callable[[str], None],
) -> run_dir.RunDir:
    """The folder of the scores, new or gone on with; what is odd about prompts and adapters is told."""
    parents = _run_dirs(folders)
    if pipe is None:
        return run_dir.RunDir.open(out, "scores", call, parents, migrate_config=migrate_row)
    for remark in pipe.row_remarks([params for _, params in planned]):
        on_message(remark)

    def migrate(recorded: Mapping[str, Any]) -> dict[str, Any]:
        return update_weights(migrate_row(recorded), pipe.base)

    return run_dir.RunDir.open(out, "scores", call, parents, migrate_config=migrate)


def _write_scores(
    scores: run_dir.RunDir,
    call: Mapping[str, Any],
    judges: Judges,
    samples: Sequence[Sample],
    seen: Mapping[str, Array] | None,
    lost: Mapping[str, str],
    pipe: EmotionPipeline | None,
    planned: Sequence[tuple[Sample, GenerationParams]],
    references: References,
    baseline: Baseline | None,
    on_message: Callable[[str], None],
) -> None:
    """Write what the judges saw in each image, and the scores that come of it; then the folder is done."""
    about: dict[str, Any] = (
        {"from": str(call["pictures"])} if pipe is None else describe_run(pipe, planned, scores.path / "pictures", call)
    )
    if baseline is not None:
        about |= describe_baseline(about, call["method"], baseline)
    guide = None if pipe is None else guidance_classifier(pipe)
    made = predict(samples, judges.judges, clip=judges.clip, guide=guide, perceptual=judges.perceptual, seen=seen)
    made, real, about["needs"] = references.predict(made, judges.judges)
    treated = {"robustness": measure_robustness(samples, judges.judges, seen)} if call.get("robust") else {}
    lines = (json.dumps(row) for row in verdict_rows(samples, made, scores.path))
    run_dir.write_atomic(scores.path / "verdicts.jsonl", "".join(f"{line}\n" for line in lines).encode())
    cautions = list_cautions(call, samples, None if pipe is None else pipe.base.name)
    unknown = explain_missing(len({one.prompt for one in samples}), len({one.seed for one in samples}))
    if unknown:
        cautions.append(unknown)
    about |= {"judged_by": judges.marks, **treated, **({"cautions": cautions} if cautions else {})}
    for sentence in cautions:
        on_message(sentence)
    scored, draws = score_predictions(made, real)
    run_dir.write_atomic(scores.path / DRAWN, lambda path: save_draws(path, draws))
    table = {
        "version": SCORES_VERSION,
        **about,
        **scored,
        "peak_memory_mb": round(peak_memory() / 2**20, 1),
    }
    table["missing"] = {**lost, **table["missing"]}
    table["faults"] = [*lost, *table["faults"]]
    run_dir.write_atomic(scores.path / SCORES, json.dumps(table, indent=1).encode())
    scores.finish(pictures=len(samples))


def _find_baseline(words: dict[str, Any], call: Mapping[str, Any], references: References) -> Baseline | None:
    """The baseline that a call names, ready; `words` then say that the base generates alone."""
    if not is_baseline(call["method"]):
        return None
    if call.get("streamed"):
        raise UsageError(f"{call['method']} is made of images that are kept: leave out --keep-images=no")
    if call["adapter"]:
        raise UsageError(f"{call['method']} is made of the base alone: leave out --adapter")
    settings, words["settings"] = words["settings"], {}
    words["method"] = ALONE
    return open_baseline(call["method"], settings, references)


def _load_predictor(words: Mapping[str, Any], call: Mapping[str, Any]) -> tuple[image_folder.Generate, See, bool]:
    """What generates in a worker, and what sees the images there."""
    pipe = load(**words)
    judges = Judges.load(call, adapter_folders(pipe, call["adapter"]), str(pipe.base.device))
    return pipe.generate, *_make_predictor(judges, pipe, bool(call.get("robust")))


def _make_predictor(judges: Judges, pipe: EmotionPipeline, robust: bool) -> tuple[See, bool]:
    """What sees all that a call wants to know of images, before and after each treatment; whether it uses the base."""
    guide = guidance_classifier(pipe)

    def see_images(images: Sequence[Image.Image]) -> dict[str, Array]:
        predictions = predict_images(images, judges.judges, judges.clip, guide)
        if not robust:
            return predictions
        for name, treatment in TREATED.items():
            treated = predict_images([treatment(image) for image in images], judges.judges)
            predictions |= {f"{name} {key}": part for key, part in treated.items()}
        return predictions

    return see_images, guide is not None


def _finish_scores(folder: Path, on_message: Callable[[str], None]) -> Path:
    """The folder of scores, finished. Tell what could not be measured; refuse the folder where something is wrong."""
    scores = read_scores(folder)
    missing: dict[str, str] = scores.get("missing", {})
    if scores.get("faults", missing):  # scores of an earlier version do not tell them apart
        text = "; ".join(missing.values())
        rest = ""
        if len(text) > LONGEST:
            rest = f" (whole in {folder / SCORES})"
        raise EmosceneError(f"{folder} holds all scores but {len(missing)}: {shorten_text(text, LONGEST)}{rest}")
    for sentence in missing.values():
        on_message(sentence)
    return folder


def _run_dirs(folders: Iterable[str | Path | None]) -> list[str | Path]:
    """Those of the folders that know their own history."""
    return [folder for folder in folders if folder is not None and (Path(folder) / run_dir.MANIFEST).is_file()]


def _drop_unset(**words: Any) -> dict[str, Any]:
    """The words that were said."""
    return {key: value for key, value in words.items() if value}


def _lora_digests(given: str | Path | Sequence[str | Path] | None) -> list[str]:
    """The LoRAs that the base is to wear, by what is in them."""
    return [str(loras.parse_lora(one)) for one in run_dir.as_list(given)]

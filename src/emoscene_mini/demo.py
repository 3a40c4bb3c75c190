"""The verb `demo`: the whole of emoscene on one page, from the weights in the package, in about a minute.

    demo/
        index.html          all of it, in one file
        sheet.png           one scene: methods x emotions
        scenes.png          scenes x emotions, by the method that the judge trusts most
        strength.png        the dial from 0 to 1.5
        demo.json           the figures
        pictures/METHOD/    every picture, with the row that makes it again

Which methods appear is not written here: those that need no training, and those whose weights the base brings along.
The figures are a taste, from few prompts and seeds, without intervals; `evaluate` is the full measurement.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from emoscene.core import registry, run_dir
from emoscene.core.image_origin import encode_mark
from emoscene.core.images import contact_sheet, open_image
from emoscene.core.params import GenerationParams
from emoscene.core.processes import check_single
from emoscene.core.taxonomy import EMOTIONS
from emoscene.diffusion.device import explain_base, load_model
from emoscene.diffusion.model import DiffusionModel
from emoscene.evaluation.generate import Prompt, generate_samples, load_prompts, plan_samples
from emoscene.evaluation.judges import judge_fingerprints as judges_at
from emoscene.evaluation.judges import load_judges
from emoscene.evaluation.metrics.base import Value, asked_probability
from emoscene.evaluation.metrics.content import content
from emoscene.evaluation.metrics.emotion import emotion
from emoscene.evaluation.predictions import Sample, predict
from emoscene.pipeline import image_folder
from emoscene.pipeline.adapters import folders_by_method, update_weights, weight_fingerprints
from emoscene.pipeline.generate import load
from emoscene.pipeline.pipeline import EmotionPipeline
from emoscene_mini.demo_page import MethodResults, describe_method, render_page

SCENES = ("village", "forest", "city", "meadow", "harbour", "castle")
SEEDS = (7,)
TOGETHER = (("lora", "guidance"),)
DIAL = (0.0, 0.25, 0.5, 0.75, 1.0, 1.25, 1.5)
DIALLED = ("awe", "fear")
MethodSamples = tuple[list[Sample], dict[str, list[Sample]]]
"""A method's samples of the set, and those of the dial by emotion."""


def demo(
    *,
    out: str | Path = "out/demo",
    base: str = "mini",
    adapter: Sequence[str | Path] = (),
    judge: Sequence[str | Path] = (),
    steps: int = 20,
    batch: int = 8,
    device: str | None = None,
    on_message: Callable[[str], None] = print,
) -> Path:
    """Generate one scene in eight emotions by every method, and a page that shows them. The same call continues where
    it stopped, as long as nothing that it is made with has changed.

        emoscene demo --out out/demo

    Args:
        out: The folder to write.
        base: The base.
        adapter: Folders that `train` wrote, beside the base's own.
        judge: Folders that `train judge` wrote, beside the base's own.
        steps: The number of inference steps.
        batch: How many images are generated at once.
        device: Where it computes; the best device there is if left out.
        on_message: Receives sentences about the progress.

    Returns:
        The folder.

    Raises:
        UsageError: An argument is wrong, or the folder is another call's.
    """
    check_single("demo", "call it without a launcher")
    prompts, backbone, more = choose_prompts(), load_model(base, device), [str(one) for one in judge]
    judged_by = judges_at(base, more) if backbone.spec.judges or judge else {}
    call = {
        "base": base,
        "adapter": adapter,
        "judge": judge,
        "prompts": prompts,
        "seeds": SEEDS,
        "dial": DIAL,
        "steps": steps,
        "weights": weight_fingerprints(
            backbone, sorted({*backbone.spec.adapters, *folders_by_method(adapter)}), adapter
        ),
        "judged_by": judged_by,
    }
    opened = run_dir.RunDir.open(out, "demo", call, migrate_config=partial(update_weights, base=backbone))
    if opened.is_done:
        return opened.path
    on_message(explain_base(backbone, device, None))
    began = time.perf_counter()
    judges = load_judges(base, more, [str(one) for one in adapter]) if judged_by else {}
    made: dict[str, MethodSamples] = {}
    with opened.hold():
        for pipe in load_pipelines(backbone, adapter):
            for remark in pipe.adapter_remarks:
                on_message(remark)
            folder = opened.path / "pictures" / pipe.method
            made[pipe.method] = generate_set(pipe, prompts, folder, made.get("none"), steps, batch, on_message)
        write_page(opened.path, prompts, made, judges, backbone.name)
        opened.finish(seconds=round(time.perf_counter() - began, 1))
    on_message(f"open {opened.path / 'index.html'} in a browser")
    return opened.path


def write_page(
    folder: Path, prompts: Sequence[Prompt], made: Mapping[str, MethodSamples], judges: Mapping[str, Any], base: str
) -> None:
    """Judge what was painted, and write figures, sheets and page."""
    shown: dict[str, MethodResults] = {}
    for method, (samples, dial) in made.items():
        place = folder / "pictures" / method
        rows = image_folder.gather_rows(place, sorted(file.name for file in place.glob("*.png")))
        figures, likely = judge_set(samples, dial, judges)
        seconds = float(np.mean([row["seconds"] for row in rows]))
        shown[method] = MethodResults(method, samples, dial, seconds, figures, likely)
    star, words = best_method(list(shown.values())), [prompt.text for prompt in prompts]
    write_sheets(folder, prompts, shown, star)
    run_dir.write_atomic(folder / "demo.json", json.dumps(demo_facts(prompts, shown), indent=1).encode())
    run_dir.write_atomic(folder / "index.html", render_page(words, SEEDS, DIAL, shown, star, base).encode())


def choose_prompts() -> list[Prompt]:
    """The first prompt of each scene shown."""
    every = load_prompts("mini")
    return [next(prompt for prompt in every if prompt.scene == scene) for scene in SCENES]


def load_pipelines(backbone: DiffusionModel, adapters: Sequence[str | Path]) -> Iterator[EmotionPipeline]:
    """A pipe for every method that can paint on this base: those that need no training, the others, some together."""
    given = folders_by_method(adapters)
    trained = {name: bool(registry.load_plugin("methods", name).columns) for name in registry.list_names("methods")}
    able = [name for name in trained if not trained[name] or name in given or name in backbone.spec.adapters]
    alone = [(name,) for name in sorted(able, key=lambda name: (trained[name], name))]
    for names in [*alone, *(names for names in TOGETHER if set(names) <= set(able))]:
        yield load(backbone, method="+".join(names), adapter=[given[name] for name in names if name in given])


def best_method(shown: Sequence[MethodResults]) -> MethodResults:
    """The method whose pictures the judge reads most often as asked; without a judge, the last one."""
    moved = [one for one in shown if one.method != "none"] or shown
    right = {one.method: one.figures["emotion_accuracy"].value if one.figures else 0.0 for one in moved}
    return max(reversed(moved), key=lambda one: right[one.method])


def generate_set(
    pipe: EmotionPipeline,
    prompts: Sequence[Prompt],
    folder: Path,
    plain: MethodSamples | None,
    steps: int,
    batch: int,
    on_message: Callable[[str], None],
) -> MethodSamples:
    """The set's samples, and for each dialled emotion those of the dial; at 0 stands the base's own picture."""
    planned = plan_samples(pipe, prompts, SEEDS, num_inference_steps=steps)
    turned: list[tuple[Sample, GenerationParams]] = []
    if pipe.method != "none":
        for strength in (strength for strength in DIAL if strength not in (0, 1)):
            some = plan_samples(
                pipe, prompts[:1], SEEDS[:1], emotions=DIALLED, emotion_scale=strength, num_inference_steps=steps
            )
            turned += [(sample, replace(row, file=f"dial-{strength:.2f}-{row.file}")) for sample, row in some]
    on_message(f"{pipe.method}: {describe_method(pipe.method)}")
    made = generate_samples(pipe, [*planned, *turned], folder, batch, on_message)
    samples, rest = made[: len(planned)], iter(made[len(planned) :])
    if plain is None or not turned:
        return samples, {}
    dial: dict[str, list[Sample]] = {name: [] for name in DIALLED}
    for strength in DIAL:
        for name in DIALLED:
            source = plain[0] if strength == 0 else samples
            there = (one for one in source if one.prompt == 0 and one.seed == SEEDS[0] and EMOTIONS[one.asked] == name)
            dial[name].append(next(there if strength in (0, 1) else rest))
    return samples, dial


def judge_set(
    samples: Sequence[Sample], dial: Mapping[str, list[Sample]], judges: Mapping[str, Any]
) -> tuple[dict[str, Value], dict[str, list[float]]]:
    """Accuracy, probability and scene kept over the set, by the first judge; the probability along the dial."""
    if not judges:
        return {}, {}
    made = next(iter(predict(samples, judges).values()))
    figures = {**emotion(made), **content(made)}
    likely = {}
    for name, turned in dial.items():
        along = next(iter(predict(turned, judges).values()))
        likely[name] = [round(float(value), 4) for value in asked_probability(along.likely, along.asked)]
    return figures, likely


def write_sheets(
    folder: Path, prompts: Sequence[Prompt], shown: Mapping[str, MethodResults], star: MethodResults
) -> None:
    """The three contact sheets."""
    first = prompts[0].text
    by_method = [[one.picture(0, name) for name in EMOTIONS] for one in shown.values()]
    by_scene = [[star.picture(number, name) for name in EMOTIONS] for number in range(len(prompts))]
    dials = []
    for one in shown.values():
        dials += [(one.method, name, turned) for name, turned in one.dial.items()]
    strips = [[open_image(sample.file) for sample in turned] for _, _, turned in dials]
    made = {
        "sheet.png": contact_sheet(by_method, list(shown), EMOTIONS, f"{first}, seed {SEEDS[0]}"),
        "scenes.png": contact_sheet(
            by_scene, [prompt.text for prompt in prompts], EMOTIONS, f"{star.method}, seed {SEEDS[0]}"
        ),
        "strength.png": contact_sheet(
            strips, [f"{m}, {e}" for m, e, _ in dials], [f"{s:g}" for s in DIAL], f"{first}: strength"
        ),
    }
    for name, image in made.items():
        run_dir.write_atomic(folder / name, lambda path, image=image: image.save(path, "PNG", **encode_mark(image)))  # type: ignore[misc]


def demo_facts(prompts: Sequence[Prompt], shown: Mapping[str, MethodResults]) -> dict[str, Any]:
    """What `demo.json` holds."""
    methods = {
        name: {
            **{key: value.to_dict() for key, value in one.figures.items()},
            "seconds_a_picture": round(one.seconds, 4),
            "dial": one.likely,
        }
        for name, one in shown.items()
    }
    return {"prompts": [prompt.text for prompt in prompts], "seeds": SEEDS, "dial": DIAL, "methods": methods}

"""The verb `demo`: the whole of emoscene on one page, from the weights in the package, in about a minute.

    demo/
        index.html          all of it, in one file
        sheet.png           one scene: methods x emotions
        scenes.png          scenes x emotions, by the method that the judge trusts most
        strength.png        the dial from 0 to 1.5
        demo.json           the figures
        pictures/METHOD/    every picture, with the row that makes it again

Which methods appear is not written here: those that need no training, and those whose weights the base brings along.
The figures are a taste, from few prompts and seeds, each with its interval; `evaluate` is the full measurement.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from emoscene import learner as learners
from emoscene import plugins, stage
from emoscene.backbone import Backbone
from emoscene.device import loaded
from emoscene.emotions import EMOTIONS
from emoscene.judging import Sample, readings
from emoscene.metrics.base import Value, probability
from emoscene.metrics.content import content
from emoscene.metrics.emotion import emotion
from emoscene.mini.showing import Shown, about, show
from emoscene.painting import PROMPTS, Prompt, paint, plan, prompts_of
from emoscene.panel import judges_of
from emoscene.pictures import Row, open_picture, sheet
from emoscene.sampling import Pipe, load

SCENES = ("village", "forest", "city", "meadow", "harbour", "castle")
SEEDS = (7,)
TOGETHER = (("lora", "guidance"),)
DIAL = (0.0, 0.25, 0.5, 0.75, 1.0, 1.25, 1.5)
DIALLED = ("awe", "fear")


def demo(
    *,
    out: str | Path = "out/demo",
    base: str = "mini",
    adapter: Sequence[str | Path] = (),
    judge: Sequence[str | Path] = (),
    steps: int = 20,
    batch: int = 8,
    device: str | None = None,
    tell: Callable[[str], None] = print,
) -> Path:
    """Paint the demo into `out`; returns the folder. The same call goes on where it stopped.

    adapter, judge: folders that `train` made, beside those that the base brings along.
    """
    prompts = chosen()
    call = {
        "base": base,
        "adapter": adapter,
        "judge": judge,
        "prompts": prompts,
        "seeds": SEEDS,
        "dial": DIAL,
        "steps": steps,
    }
    opened = stage.Stage.open(out, "demo", call)
    if opened.done:
        return opened.path
    began = time.perf_counter()
    backbone = loaded(base, device)
    judges = (
        judges_of(base, [str(one) for one in judge], [str(one) for one in adapter])
        if backbone.spec.judges or judge
        else {}
    )
    shown: dict[str, Shown] = {}
    for pipe in pipes(backbone, adapter):
        folder = opened.path / "pictures" / pipe.method
        samples, dial = painted(pipe, prompts, folder, shown.get("none"), steps, batch, tell)
        seconds = [row["seconds"] for row in stage.rows(folder / "pictures.jsonl")]
        figures, likely = judged(samples, dial, judges)
        shown[pipe.method] = Shown(pipe.method, samples, dial, float(np.mean(seconds)), figures, likely)
    star = best(list(shown.values()))
    sheets(opened.path, prompts, shown, star)
    stage.write(opened.path / "demo.json", json.dumps(facts(prompts, shown), indent=1).encode())
    words = [prompt.text for prompt in prompts]
    stage.write(opened.path / "index.html", show(words, SEEDS, DIAL, shown, star, backbone.name).encode())
    opened.finish(seconds=round(time.perf_counter() - began, 1))
    tell(f"open {opened.path / 'index.html'} in a browser")
    return opened.path


def chosen() -> list[Prompt]:
    """The first prompt of each scene shown."""
    every = prompts_of(PROMPTS)
    return [next(prompt for prompt in every if prompt.scene == scene) for scene in SCENES]


def pipes(backbone: Backbone, adapters: Sequence[str | Path]) -> Iterator[Pipe]:
    """A pipe for every method that can paint on this base: those that need no training, the others, some together."""
    given = {learners.card(Path(folder))["learner"]: folder for folder in adapters}
    trained = {name: bool(plugins.find("methods", name).reads) for name in plugins.names("methods")}
    able = [name for name in trained if not trained[name] or name in given or name in backbone.spec.adapters]
    alone = [(name,) for name in sorted(able, key=lambda name: (trained[name], name))]
    for names in [*alone, *(names for names in TOGETHER if set(names) <= set(able))]:
        yield load(backbone, method="+".join(names), adapter=[given[name] for name in names if name in given])


def best(shown: Sequence[Shown]) -> Shown:
    """The method whose pictures the judge reads most often as asked; without a judge, the last one."""
    moved = [one for one in shown if one.method != "none"] or shown
    right = {one.method: one.figures["emotion_accuracy"].value if one.figures else 0.0 for one in moved}
    return max(reversed(moved), key=lambda one: right[one.method])


def painted(
    pipe: Pipe,
    prompts: Sequence[Prompt],
    folder: Path,
    plain: Shown | None,
    steps: int,
    batch: int,
    tell: Callable[[str], None],
) -> tuple[list[Sample], dict[str, list[Sample]]]:
    """The set's samples, and for each dialled emotion those of the dial; at 0 stands the base's own picture."""
    planned = plan(pipe, prompts, SEEDS, steps=steps)
    turned: list[tuple[Sample, Row]] = []
    if pipe.method != "none":
        for strength in (strength for strength in DIAL if strength not in (0, 1)):
            some = plan(pipe, prompts[:1], SEEDS[:1], emotions=DIALLED, strength=strength, steps=steps)
            turned += [(sample, replace(row, file=f"dial-{strength:.2f}-{row.file}")) for sample, row in some]
    tell(f"{pipe.method}: {about(pipe.method)}")
    made = paint(pipe, [*planned, *turned], folder, batch, tell)
    samples, rest = made[: len(planned)], iter(made[len(planned) :])
    if plain is None or not turned:
        return samples, {}
    dial: dict[str, list[Sample]] = {name: [] for name in DIALLED}
    for strength in DIAL:
        for name in DIALLED:
            source = plain.samples if strength == 0 else samples
            there = (one for one in source if one.prompt == 0 and one.seed == SEEDS[0] and EMOTIONS[one.asked] == name)
            dial[name].append(next(there if strength in (0, 1) else rest))
    return samples, dial


def judged(
    samples: Sequence[Sample], dial: Mapping[str, list[Sample]], judges: Mapping[str, Any]
) -> tuple[dict[str, Value], dict[str, list[float]]]:
    """Accuracy, probability and scene kept over the set, by the first judge; the probability along the dial."""
    if not judges:
        return {}, {}
    made = next(iter(readings(samples, judges).values()))
    figures = {**emotion(made), **content(made)}
    likely = {}
    for name, turned in dial.items():
        along = next(iter(readings(turned, judges).values()))
        likely[name] = [round(float(value), 4) for value in probability(along.likely, along.asked)]
    return figures, likely


def sheets(folder: Path, prompts: Sequence[Prompt], shown: Mapping[str, Shown], star: Shown) -> None:
    """The three contact sheets."""
    first = prompts[0].text
    by_method = [[one.picture(0, name) for name in EMOTIONS] for one in shown.values()]
    by_scene = [[star.picture(number, name) for name in EMOTIONS] for number in range(len(prompts))]
    dials = [(one.method, name, turned) for one in shown.values() for name, turned in one.dial.items()]
    strips = [[open_picture(sample.file) for sample in turned] for _, _, turned in dials]
    made = {
        "sheet.png": sheet(by_method, list(shown), EMOTIONS, f"{first}, seed {SEEDS[0]}"),
        "scenes.png": sheet(by_scene, [prompt.text for prompt in prompts], EMOTIONS, f"{star.method}, seed {SEEDS[0]}"),
        "strength.png": sheet(
            strips, [f"{m}, {e}" for m, e, _ in dials], [f"{s:g}" for s in DIAL], f"{first}: strength"
        ),
    }
    for name, image in made.items():
        stage.write(folder / name, lambda path, image=image: image.save(path, "PNG"))  # type: ignore[misc]


def facts(prompts: Sequence[Prompt], shown: Mapping[str, Shown]) -> dict[str, Any]:
    """What `demo.json` holds."""
    methods = {
        name: {
            **{key: value.asdict() for key, value in one.figures.items()},
            "seconds_a_picture": round(one.seconds, 4),
            "dial": one.likely,
        }
        for name, one in shown.items()
    }
    return {"prompts": [prompt.text for prompt in prompts], "seeds": SEEDS, "dial": DIAL, "methods": methods}

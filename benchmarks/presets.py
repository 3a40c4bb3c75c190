"""The recipes `fast` and `best` beside diffusers' stock pipeline: `python -m benchmarks.presets`.

Speed: one picture by 50 steps of PNDM with guidance, as the stock pipeline paints it, and by each recipe, in turns in
one process; the ratio of a turn is the result, its median over the turns with the quartiles. Asked of `fast`: >= 3.

Quality: 24 short prompts x 8 emotions x 4 seeds by each recipe, read by the miniature's judge. Asked of `fast`: an
accuracy not 2 points below that of `best`, paired, and a Frechet distance to real pictures of at most 1.1 times its
own; both with 95 % intervals that resample prompts and seeds. What was painted is kept, and the same call goes on.
"""

import argparse
import json
import statistics
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import torch
from diffusers import PNDMScheduler, StableDiffusionPipeline
from rich.console import Console
from rich.table import Table

from benchmarks import turns
from emoscene.core import registry
from emoscene.core.config import read_toml
from emoscene.evaluation.generate import plan_samples
from emoscene.evaluation.metrics.base import Predictions, Value, hits
from emoscene.evaluation.metrics.distance import moments
from emoscene.evaluation.statistics import paired_difference
from emoscene.pipeline.pipeline import EmotionPipeline
from emoscene.pipeline.samplers import make_scheduler, remaining_timesteps
from emoscene_mini.comparison import relative_distance
from emoscene_mini.experiment import Experiment

PROMPT, STOCK, WARM = "a village by a lake", 50, 1
LEAST, LOST, FARTHER = 3.0, 0.02, 1.1


def recipe(name: str) -> dict:
    """The options of a recipe, by name or file."""
    return read_toml(name) if Path(name).suffix == ".toml" else registry.load_table("recipes", name)


def passes(pipe: EmotionPipeline, options: dict) -> int:
    """How many samples the UNet sees for one picture with guidance."""
    solver = make_scheduler(pipe.base, options["sampler"], options["num_inference_steps"])
    levels = remaining_timesteps(solver) / pipe.base.noise_process.num_timesteps
    low, high = options.get("guidance_interval", (0.0, 1.0))
    inside = (low <= levels) & (levels <= high)
    return len(levels) + int(inside.sum())


def contenders(pipe: EmotionPipeline, presets: dict[str, dict]) -> dict[str, Callable[[int], object]]:
    """Functions of a seed that paint one picture each; stock is the base alone, the recipes have the method on it."""
    stock = StableDiffusionPipeline.from_pretrained(str(pipe.base.folder), dtype=pipe.base.dtype)
    stock = stock.to(pipe.base.device)
    stock.scheduler = PNDMScheduler.from_config(stock.scheduler.config)
    stock.set_progress_bar_config(disable=True)

    def diffusers(seed: int) -> None:
        generator = torch.Generator().manual_seed(seed)
        stock(PROMPT, num_inference_steps=STOCK, guidance_scale=pipe.base.spec.guidance_scale, generator=generator)

    found: dict[str, Callable[[int], object]] = {"stock": diffusers}
    for name, options in presets.items():
        found[name] = lambda seed, options=options: pipe(PROMPT, emotion="awe", seed=seed, **options)
    return found


def speed(pipe: EmotionPipeline, presets: dict[str, dict], count: int) -> dict[str, dict]:
    """Seconds of a picture and how many times faster than stock, median and quartiles."""
    seconds = turns.take(contenders(pipe, presets), count, WARM)
    faster = {name: turns.ratio(seconds["stock"], times) for name, times in seconds.items()}
    return {name: {"seconds": statistics.median(times), **asdict(faster[name])} for name, times in seconds.items()}


def quality(lab: Experiment, presets: dict[str, dict], prompts: int, seeds: int) -> dict[str, Predictions]:
    """What the judge reads of each recipe's pictures."""
    found = {}
    for name, options in presets.items():
        planned = plan_samples(lab.pipe(lab.method), lab.prompts[:prompts], range(seeds), **options)
        found[name] = lab.judge(lab.generate(f"{lab.method}-{Path(name).stem}", lab.pipe(lab.method), planned))
    return found


def verdict(lab: Experiment, read: dict[str, Predictions]) -> dict[str, dict]:
    """Accuracy and Frechet distance of the first recipe against the last."""
    (fast, best), there = (list(read.values())[place] for place in (0, -1)), moments(lab.real_predictions.features)
    right = [hits(one.likely, one.asked) for one in (fast, best)]
    gap = paired_difference(*right, fast.prompt, fast.seed)
    ratio: Value = relative_distance(fast, best, there)
    return {
        "accuracy": {name: float(hits(one.likely, one.asked).mean()) for name, one in read.items()},
        "difference": asdict(gap),
        "frechet": asdict(ratio),
    }


def told(rows: dict[str, dict], judged: dict, names: list[str], count: dict[str, int]) -> list[tuple[str, str, str]]:
    """Lines of the table: what, figure, and whether what was asked is met."""
    lines = []
    for name, row in rows.items():
        met = "" if name != names[0] else "met" if row["median"] >= LEAST else "missed"
        figure = f"{row['seconds']:.3f} s, {row['median']:.2f}x [{row['low']:.2f}, {row['high']:.2f}]"
        lines.append((f"a picture by {name}, {count[name]} passes", figure, met))
    if judged:
        gap, ratio = judged["difference"], judged["frechet"]
        for name, share in judged["accuracy"].items():
            lines.append((f"accuracy of {name}, n = {gap['n']}", f"{share:.3f}", ""))
        figure = f"{gap['value']:+.4f} [{gap['low']:+.4f}, {gap['high']:+.4f}]"
        lines.append(("accuracy, paired difference (>= -.02)", figure, "met" if gap["value"] >= -LOST else "missed"))
        figure = f"{ratio['value']:.3f} [{ratio['low']:.3f}, {ratio['high']:.3f}]"
        lines.append(("Frechet distance, ratio (<= 1.1)", figure, "met" if ratio["value"] <= FARTHER else "missed"))
    return lines


def main() -> int:
    """Take turns, paint, judge, print the table, write the JSON; the status is 1 where something is missed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.presets", description=__doc__)
    parser.add_argument("--presets", nargs="+", default=["fast", "best"], help="the first is held against the last")
    parser.add_argument("--base", default="mini")
    parser.add_argument("--method", default="lora")
    parser.add_argument("--turns", type=int, default=10)
    parser.add_argument("--prompts", type=int, default=24)
    parser.add_argument("--seeds", type=int, default=4, help="0 leaves out the quality")
    parser.add_argument("--out", type=Path, default=Path("out/presets"))
    asked = parser.parse_args()
    presets = {name: recipe(name) for name in asked.presets}
    lab = Experiment(asked.out, asked.base, asked.method)
    pipe = lab.pipe(asked.method)
    count = {name: passes(pipe, options) for name, options in presets.items()}
    count["stock"] = passes(pipe, {"sampler": "pndm", "num_inference_steps": STOCK})
    rows = speed(pipe, presets, asked.turns)
    judged = verdict(lab, quality(lab, presets, asked.prompts, asked.seeds)) if asked.seeds else {}
    lines = told(rows, judged, asked.presets, count)
    asked.out.mkdir(parents=True, exist_ok=True)
    about = {"method": asked.method, "threads": torch.get_num_threads(), "presets": presets, "passes": count}
    (asked.out / "presets.json").write_text(json.dumps(about | {"speed": rows, "quality": judged}, indent=1))
    table = Table("", "", "")
    for line in lines:
        table.add_row(*line)
    Console(width=120).print(table)
    return int(any(met == "missed" for *_, met in lines))


if __name__ == "__main__":
    sys.exit(main())

"""Seconds of a picture, beside diffusers' own pipeline on the same folder: `python -m benchmarks.pictures`.

Same settings for all: DPM++ 2M, guidance, one picture, a seed a turn. `none` is held against the stock pipeline, every
method against `none`. Loading, the adapter's too, and each contender's first picture are told apart as setting up: a
LoRA is folded then. Beside the speed stands how far a picture of `none` lies from the stock pipeline's, of 255.

`--true` takes Stable Diffusion v1.5's size with random weights (5 GB of disk; nothing is downloaded; 12 GB of memory in
float32 on a CPU) and adapters of their true shapes: `--true --steps 2 --turns 5`. On CUDA, `--device cuda`, the peak of
the device's memory is told too.
"""

import argparse
import json
import statistics
import sys
import time
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from diffusers import DPMSolverMultistepScheduler, StableDiffusionPipeline
from rich.console import Console
from rich.table import Table

import emoscene
from benchmarks import turns
from emoscene.core import config as configs
from emoscene.core import registry
from emoscene.diffusion.device import load_model
from emoscene.diffusion.model import DiffusionModel
from emoscene.evaluation import true_size
from emoscene.methods.base import Method
from emoscene.pipeline.pipeline import EmotionPipeline

PROMPT, WARM = "a village by a lake", 2
MOST = {"none": 1.02, "lora": 1.06, "multimodal": 1.06}


class Stock:
    """diffusers' own pipeline on the base's folder, with weights of its own."""

    def __init__(self, base: DiffusionModel, steps: int) -> None:
        self.pipeline = StableDiffusionPipeline.from_pretrained(str(base.folder), dtype=base.dtype).to(base.device)
        self.pipeline.scheduler = DPMSolverMultistepScheduler.from_config(self.pipeline.scheduler.config)
        self.pipeline.set_progress_bar_config(disable=True)
        self.asked = {"num_inference_steps": steps, "guidance_scale": base.spec.guidance_scale}

    def __call__(self, seed: int) -> np.ndarray:
        made = self.pipeline(PROMPT, generator=torch.Generator().manual_seed(seed), **self.asked)
        return np.asarray(made.images[0], int)


def make_method(base: DiffusionModel, method: str) -> Method:
    """A method that nobody trained, in the shape that its recipe for Stable Diffusion 1.5 gives it."""
    cls = registry.load_plugin("methods", method)
    own = {field.name for field in configs.list_options(cls.Config)}
    recipe = registry.load_table("recipes", true_size.METHODS[method]) if cls.columns else {}
    config = configs.replace_fields(cls.Config(), {key: value for key, value in recipe.items() if key in own})
    return cls.from_scratch(config, base, true_size.RandomSamples()).to(base.device)


class Ours:
    """The base with a method on it: its own adapter, or an untrained one of the true shape."""

    def __init__(self, base: DiffusionModel, method: str, steps: int) -> None:
        if method == "none" or method in base.spec.adapters:
            self.pipe = emoscene.load(base, method=method)
        else:
            made = make_method(base, method).requires_grad_(False).eval()
            self.pipe = EmotionPipeline(base, {method: made})
        self.steps = steps

    def __call__(self, seed: int) -> np.ndarray:
        made = self.pipe(PROMPT, emotion="awe", seed=seed, num_inference_steps=self.steps)
        return np.asarray(made.images[0], int)


def contenders(base: DiffusionModel, methods: list[str], steps: int) -> tuple[dict, dict[str, dict]]:
    """What paints, and what setting each up took: seconds of loading and of a first picture, and the device's peak."""
    runners, setup = {}, {}
    for name in ("diffusers", *methods):
        began = time.perf_counter()
        runners[name] = Stock(base, steps) if name == "diffusers" else Ours(base, name, steps)
        loading = time.perf_counter() - began
        setup[name] = {"loading": loading, "first": turns.timed(runners[name], 0), "peak_gb": turns.peak(runners[name])}
    return runners, setup


def judged(seconds: dict[str, list[float]]) -> dict[str, dict]:
    """Each contender's seconds and ratio, and whether what was asked of it is met."""
    rows = {}
    for name, times in seconds.items():
        against = "diffusers" if name in ("none", "diffusers") else "none"
        ratio = turns.ratio(times, seconds[against])
        alike = name == "none" and ratio.low <= 1 <= ratio.high
        met = ratio.median <= MOST[name] or alike if name in MOST else None
        rows[name] = {"seconds": statistics.median(times), "to": against, **asdict(ratio), "met": met}
    return rows


def main() -> int:
    """Take turns, print the table, write the JSON and the plot; the status is 1 where something is missed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.pictures", description=__doc__)
    parser.add_argument("--base", default="mini")
    parser.add_argument("--true", action="store_true", help="Stable Diffusion v1.5's size, random weights")
    parser.add_argument("--methods", nargs="+", default=["none", "lora", "multimodal", "guidance", "prompt"])
    parser.add_argument("--turns", type=int, default=15)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--device")
    parser.add_argument("--dtype")
    parser.add_argument("--out", type=Path, default=Path("out/bench"))
    asked = parser.parse_args()
    name = str(true_size.make_true_size_base(asked.out / "truesize")) if asked.true else asked.base
    base = load_model(name, asked.device, asked.dtype)
    runners, setup = contenders(base, asked.methods, asked.steps)
    gap = int(np.abs(runners["diffusers"](0) - runners["none"](0)).max()) if "none" in runners else None
    seconds = turns.take(runners, asked.turns, 0 if asked.true else WARM)
    rows = judged(seconds)
    table = Table("", "seconds, median", "ratio [quartiles]", "to", "asked", "loading, s", "first picture, s")
    for name, row in rows.items():
        ratio = str(turns.Ratio(row["median"], row["low"], row["high"]))
        limit = "" if row["met"] is None else f"<= {MOST[name]}: {'met' if row['met'] else 'missed'}"
        times = (f"{setup[name][part]:.2f}" for part in ("loading", "first"))
        table.add_row(name, f"{row['seconds']:.3f}", ratio, row["to"], limit, *times)
    about = {"base": asked.base, "true": asked.true, "steps": asked.steps, "turns": asked.turns}
    about |= {"device": str(base.device), "dtype": str(base.dtype), "threads": torch.get_num_threads()}
    asked.out.mkdir(parents=True, exist_ok=True)
    found = about | {"rows": rows, "setup": setup, "none to diffusers, of 255": gap, "seconds": seconds}
    (asked.out / "pictures.json").write_text(json.dumps(found, indent=1))
    (asked.out / "pictures.svg").write_text(turns.plot(seconds, "Seconds of a picture"))
    Console(width=120).print(table)
    Console(width=120).print(
        f"a picture of none lies at most {gap} of 255 from diffusers'; {asked.out}/pictures.json, .svg"
    )
    return int(any(row["met"] is False for row in rows.values()))


if __name__ == "__main__":
    sys.exit(main())

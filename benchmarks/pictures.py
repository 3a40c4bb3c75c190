"""Seconds of a picture, beside diffusers' own pipeline on the same folder: `make bench`.

The contenders take turns in one process, so that a machine that slows down slows all of them; the ratio of a turn is
the result, its median over the turns with the quartiles. Loading and the first turns are not timed.
"""

import argparse
import json
import statistics
import sys
import time
from pathlib import Path

import torch
from diffusers import DPMSolverMultistepScheduler, StableDiffusionPipeline
from rich.console import Console
from rich.table import Table

import emoscene
from emoscene.backbone import Backbone

PROMPT, WARM = "a village by a lake", 2


def contenders(base: Backbone, steps: int) -> dict:
    """Functions of a seed that paint one picture each."""
    theirs = StableDiffusionPipeline.from_pretrained(str(base.folder))
    theirs.scheduler = DPMSolverMultistepScheduler.from_config(theirs.scheduler.config)
    theirs.set_progress_bar_config(disable=True)

    def diffusers(seed: int) -> None:
        generator = torch.Generator().manual_seed(seed)
        theirs(PROMPT, num_inference_steps=steps, guidance_scale=base.spec.cfg, generator=generator)

    found = {"diffusers": diffusers}
    for method in ("none", "prompt", *base.spec.adapters):
        pipe = emoscene.load(base, method=method)
        found[method] = lambda seed, pipe=pipe: pipe(PROMPT, emotion="awe", seed=seed, steps=steps)
    return found


def main() -> int:
    """Take turns, print the table, write the JSON."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.pictures", description=__doc__)
    parser.add_argument("--base", default="mini")
    parser.add_argument("--turns", type=int, default=15)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--out", type=Path, default=Path("out/bench.json"))
    asked = parser.parse_args()
    runners = contenders(Backbone.load(asked.base), asked.steps)
    seconds: dict[str, list[float]] = {name: [] for name in runners}
    for turn in range(WARM + asked.turns):
        for name, run in runners.items():
            began = time.perf_counter()
            run(turn)
            if turn >= WARM:
                seconds[name].append(time.perf_counter() - began)
    table = Table("", "seconds, median", "to diffusers, median", "quartiles")
    rows = {}
    for name, times in seconds.items():
        ratios = [mine / theirs for mine, theirs in zip(times, seconds["diffusers"], strict=True)]
        low, middle, high = statistics.quantiles(ratios, n=4)
        rows[name] = {"seconds": statistics.median(times), "ratio": middle, "quartiles": [low, high]}
        table.add_row(name, f"{rows[name]['seconds']:.3f}", f"{middle:.3f}", f"{low:.3f} to {high:.3f}")
    asked.out.parent.mkdir(parents=True, exist_ok=True)
    asked.out.write_text(json.dumps({"steps": asked.steps, "turns": asked.turns, "rows": rows}, indent=1))
    Console().print(table)
    return 0


if __name__ == "__main__":
    sys.exit(main())

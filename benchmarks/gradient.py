"""What guidance's gradient costs beside a step of Stable Diffusion 1.5: `python -m benchmarks.gradient`.

A step is the UNet's two passes at 4 x 64 x 64 for classifier-free guidance, with random weights of the public shape
(860M parameters: 3.5 GB in single precision; nothing is downloaded); the gradient is all that `Guidance.steer` does to
one picture. They take turns in one process; the ratio of a turn is the result, its median with the quartiles. Over a
trajectory guidance acts in its interval only, so the last column counts the steps that lie in it.
"""

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from diffusers import UNet2DConditionModel
from rich.console import Console
from rich.table import Table

from emoscene import seeds
from emoscene.backbone import Backbone
from emoscene.methods.guidance import Guidance
from emoscene.solvers import scheduler

WARM, CFG = 5, 7.5


def contenders(base: Backbone, guidance: Guidance) -> dict[str, Callable[[], object]]:
    """One step with classifier-free guidance, and the gradient alone."""
    shape = {"sample_size": 64, "cross_attention_dim": 768, "attention_head_dim": 8}
    with base.device:
        unet = UNet2DConditionModel(**shape).to(base.dtype).requires_grad_(False).eval()
    x = torch.randn(1, 4, 64, 64, generator=seeds.generator(0, "latent")).to(base.device)
    text = torch.randn(2, 77, 768, generator=seeds.generator(0, "text")).to(base.device, base.dtype)
    noise, t = torch.zeros_like(x), torch.tensor(500, device=base.device)
    awe = base.plain(["a village"], torch.eye(8)[1:2])

    def step() -> torch.Tensor:
        away, towards = unet(torch.cat([x, x]).to(base.dtype), t, text).sample.chunk(2)
        return away + CFG * (towards - away)

    return {"step": step, "gradient": lambda: guidance.steer(noise, x, t, awe)}


def seconds(run: Callable[[], object], device: torch.device) -> float:
    """How long one call takes, until the device is done with it."""
    wait = torch.cuda.synchronize if device.type == "cuda" else (lambda: None)
    wait()
    began = time.perf_counter()
    run()
    wait()
    return time.perf_counter() - began


def main() -> int:
    """Take turns, print the table, write the JSON."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gradient", description=__doc__)
    parser.add_argument("--turns", type=int, default=10)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--out", type=Path, default=Path("out/gradient.json"))
    asked = parser.parse_args()
    base = Backbone.load("mini", asked.device, getattr(torch, asked.dtype))  # for the schedule, which is SD 1.5's
    guidance = Guidance(Guidance.Config(), base).to(base.device).requires_grad_(False).eval()
    times: dict[str, list[float]] = {}
    with torch.no_grad():
        runners = contenders(base, guidance)
        for turn in range(WARM + asked.turns):
            for name, run in runners.items():
                taken = seconds(run, base.device)
                if turn >= WARM:
                    times.setdefault(name, []).append(taken)
    ratios = [mine / theirs for mine, theirs in zip(times["gradient"], times["step"], strict=True)]
    low, middle, high = statistics.quantiles(ratios, n=4)
    levels = scheduler(base, "dpm++", asked.steps).timesteps / len(base.alphas_cumprod)
    acting = ((guidance.config.low <= levels) & (levels <= guidance.config.high)).float().mean().item()
    medians = {name: statistics.median(values) for name, values in times.items()}
    rows = {"seconds": medians, "ratio": middle, "quartiles": [low, high], "over the trajectory": middle * acting}
    table = Table("step, seconds", "gradient, seconds", "ratio, median", "quartiles", f"over {asked.steps} steps")
    parts = f"{medians['step']:.3f}", f"{medians['gradient']:.4f}", f"{middle:.2%}", f"{low:.2%} to {high:.2%}"
    table.add_row(*parts, f"{middle * acting:.2%}")
    asked.out.parent.mkdir(parents=True, exist_ok=True)
    about = {"device": asked.device, "dtype": asked.dtype, "threads": torch.get_num_threads(), "turns": asked.turns}
    asked.out.write_text(json.dumps(about | rows, indent=1))
    Console().print(table)
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""What guidance's gradient costs beside a step of Stable Diffusion 1.5: `python -m benchmarks.gradient`.

A step is the UNet's two passes at 4 x 64 x 64 for classifier-free guidance, with random weights of the public shape
(860M parameters: 3.5 GB in single precision, 6 GB in all; nothing is downloaded); the gradient is all that
`Guidance.apply_guidance` does to one picture. They take turns in one process; the ratio of a turn is the result, its
median with the quartiles. Over a trajectory guidance acts in its interval only, so one column counts the steps that lie
in it.

Asked: at most 1 % of a step on a CPU, and on a GPU at most 5 % over the trajectory. There, CUDA's own events are the
clock and the peak of its memory is told (`--device cuda --dtype float16 --turns 50`).
"""

import argparse
import json
import statistics
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import torch
from diffusers import UNet2DConditionModel
from rich.console import Console
from rich.table import Table

from benchmarks import turns
from emoscene.core import seeds
from emoscene.diffusion.model import DiffusionModel
from emoscene.methods.guidance import Guidance
from emoscene.pipeline.samplers import make_scheduler

WARM, CFG = 2, 7.5
MOST = {"cpu": 0.01, "cuda": 0.05}  # of a step, and of a step over the trajectory


def contenders(base: DiffusionModel, guidance: Guidance) -> dict[str, Callable[[int], object]]:
    """One step with classifier-free guidance, and the gradient alone."""
    shape = {"sample_size": 64, "cross_attention_dim": 768, "attention_head_dim": 8}
    with base.device:
        unet = UNet2DConditionModel(**shape).to(base.dtype).requires_grad_(False).eval()
    x = torch.randn(1, 4, 64, 64, generator=seeds.torch_generator(0, "latent")).to(base.device)
    text = torch.randn(2, 77, 768, generator=seeds.torch_generator(0, "text")).to(base.device, base.dtype)
    noise, t = torch.zeros_like(x), torch.tensor(500, device=base.device)
    awe = base.encode_condition(["a village"], torch.eye(8)[1:2])

    def step(turn: int) -> torch.Tensor:
        away, towards = unet(torch.cat([x, x]).to(base.dtype), t, text).sample.chunk(2)
        return away + CFG * (towards - away)

    return {"step": step, "gradient": lambda turn: guidance.apply_guidance(noise, x, t, awe)}


def main() -> int:
    """Take turns, print the table, write the JSON."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gradient", description=__doc__)
    parser.add_argument("--turns", type=int, default=10)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--out", type=Path, default=Path("out/gradient.json"))
    asked = parser.parse_args()
    base = DiffusionModel.load("mini", asked.device, getattr(torch, asked.dtype))  # for the schedule, which is SD 1.5's
    guidance = Guidance(Guidance.Config(), base).to(base.device).requires_grad_(False).eval()
    with torch.no_grad():
        runners = contenders(base, guidance)
        times = turns.take(runners, asked.turns, WARM)
        peaks = {name: turns.peak(run) for name, run in runners.items()}
    ratio = turns.ratio(times["gradient"], times["step"])
    levels = make_scheduler(base, "dpm++", asked.steps).timesteps / base.noise_process.num_timesteps
    acting = (
        ((guidance.config.interval_start <= levels) & (levels <= guidance.config.interval_end)).float().mean().item()
    )
    share = ratio.median * (acting if base.device.type == "cuda" else 1)
    met = share <= MOST.get(base.device.type, 1.0)
    medians = {name: statistics.median(values) for name, values in times.items()}
    rows = {"seconds": medians, **asdict(ratio), "over the trajectory": ratio.median * acting, "peak_gb": peaks}
    table = Table("step, seconds", "gradient, seconds", "ratio [quartiles]", f"over {asked.steps} steps", "asked")
    parts = f"{medians['step']:.3f}", f"{medians['gradient']:.5f}", str(ratio), f"{ratio.median * acting:.2%}"
    table.add_row(*parts, f"<= {MOST.get(base.device.type, 1.0):.0%}: {'met' if met else 'missed'}")
    asked.out.parent.mkdir(parents=True, exist_ok=True)
    about = {"device": asked.device, "dtype": asked.dtype, "threads": torch.get_num_threads(), "turns": asked.turns}
    asked.out.write_text(json.dumps(about | rows | {"met": met, "turns": times}, indent=1))
    asked.out.with_suffix(".svg").write_text(turns.plot(times, "Seconds of a step, and of the gradient"))
    Console(width=110).print(table)
    return int(not met)


if __name__ == "__main__":
    sys.exit(main())

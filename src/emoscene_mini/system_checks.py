"""What the miniature costs on this machine, and that it is the same picture whoever paints it."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from typing import Any

import numpy as np
from diffusers import AutoPipelineForText2Image, DPMSolverMultistepScheduler

from emoscene.core import seeds
from emoscene.core.errors import EmosceneError
from emoscene.core.request import Emotion
from emoscene.pipeline.pipeline import EmotionPipeline

ASKED: tuple[Emotion, ...] = ("awe", "fear", "anger", None)
PROBE = """
import json, statistics, sys, time
import emoscene
from emoscene.learning.precision import peak_memory
pipe = emoscene.load(sys.argv[1], device="cpu")
seconds = []
for seed in range(8):
    began = time.perf_counter()
    pipe("a village by a lake", seed=seed)
    seconds.append(time.perf_counter() - began)
print(json.dumps({"seconds": statistics.median(seconds[2:]), "gigabytes": peak_memory() / 2**30}))
"""


def measure_one_image(base: str) -> dict[str, float]:
    """Measure what one image costs, in a process of its own.

    Args:
        base: The base.

    Returns:
        The median `seconds` once warm, the peak `gigabytes`, and the quickest of three calls for `help` in seconds.
    """
    found: dict[str, float] = json.loads(_run("-c", PROBE, base).splitlines()[-1])
    helps = []
    for _ in range(3):
        began = time.perf_counter()
        _run("-m", "emoscene", "--help")
        helps.append(time.perf_counter() - began)
    return {**found, "help": min(helps)}


def _run(*words: str) -> str:
    done = subprocess.run([sys.executable, *words], capture_output=True, encoding="utf8", check=False)
    if done.returncode:
        raise EmosceneError(f"{words[0]} failed: {done.stderr.strip().splitlines()[-1:]}")
    return done.stdout


def difference_to_diffusers(
    pipe: EmotionPipeline, prompts: tuple[str, ...] = ("a village by a lake", "a forest"), steps: int = 20
) -> float:
    """Compare the images of a pipeline with those of diffusers' pipeline on the same folder.

    Args:
        pipe: The pipeline, of the base alone.
        prompts: The prompts, one image each.
        steps: The number of inference steps.

    Returns:
        The largest difference of a pixel, as a share of the range.
    """
    rows = [pipe.plan(prompt, seed=seed, num_inference_steps=steps)[0] for seed, prompt in enumerate(prompts)]
    *_, latents = pipe.denoise(rows)
    ours = (pipe.base.decode_latents(latents) / 2 + 0.5).clamp(0, 1).permute(0, 2, 3, 1).cpu().numpy()
    theirs: Any = AutoPipelineForText2Image.from_pretrained(str(pipe.base.folder), safety_checker=None)
    theirs.scheduler = DPMSolverMultistepScheduler.from_config(theirs.scheduler.config)
    theirs.set_progress_bar_config(disable=True)
    same = {"num_inference_steps": steps, "guidance_scale": rows[0].guidance_scale, "output_type": "np"}
    dice = [seeds.image_generator(row.seed) for row in rows]
    painted = theirs([row.prompt for row in rows], generator=dice, **same).images
    return float(np.abs(ours - painted).max())


def difference_across_batches(pipe: EmotionPipeline, steps: int = 20) -> float:
    """Compare images that are generated alone and eight at a time.

    Args:
        pipe: The pipeline.
        steps: The number of inference steps.

    Returns:
        The largest difference of a pixel, as a share of the range.
    """
    rows = pipe.plan("a village by a lake", emotion=list(ASKED), num_images_per_prompt=2, num_inference_steps=steps)
    alone, together = ([np.asarray(image, np.float32) for _, image in pipe.generate(rows, batch)] for batch in (1, 8))
    return float(max(np.abs(a - b).max() for a, b in zip(alone, together, strict=True)) / 255)

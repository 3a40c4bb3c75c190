"""The sampler in steps, for laws that change something between two of them.

    predict = make_prediction(pipe, rows)              what the pipeline's own sampler predicts, with guidance
    x = run_steps(pipe, scheduler, predict, x, 0, 5)   some steps of DDIM with any prediction

DDIM is used because a step depends on nothing but the latents: the steps of two prompts can follow one another.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from emoscene.core.params import GenerationParams
from emoscene.pipeline.pipeline import EmotionPipeline
from emoscene.pipeline.samplers import make_scheduler

SAMPLER = "ddim"
Predict = Callable[[Tensor, Tensor], Tensor]
"""Latents x_t [B, 4, h, w] and a timestep [] in, what the UNet predicts out, after guidance."""


@torch.no_grad()
def make_prediction(pipe: EmotionPipeline, rows: Sequence[GenerationParams]) -> Predict:
    """Make the function that predicts for some rows, with classifier-free guidance and the method.

    Args:
        pipe: The pipeline.
        rows: B rows with the same settings, with a guidance scale other than 1.

    Returns:
        The function.
    """
    positive, negative = pipe.encode_conditions(rows)
    assert negative is not None, "the laws guide every row"
    both = negative.concat(positive)
    scale = rows[0].guidance_scale

    @torch.no_grad()
    def predict(x: Tensor, t: Tensor) -> Tensor:
        with pipe.chain.attach(both):
            prediction = pipe.base.predict(torch.cat([x, x]), t, both).float()
        away, towards = prediction.chunk(2)
        return pipe.chain.apply_guidance(away + scale * (towards - away), x, t, positive)

    return predict


def start_steps(pipe: EmotionPipeline, rows: Sequence[GenerationParams]) -> tuple[Any, Tensor]:
    """Start a trajectory.

    Args:
        pipe: The pipeline.
        rows: B rows.

    Returns:
        The scheduler, and the noise that each row's seed stands for [B, 4, h, w].
    """
    scheduler = make_scheduler(pipe.base, SAMPLER, rows[0].num_inference_steps)
    return scheduler, pipe.image_inputs.start_latents(scheduler, rows)


def run_steps(pipe: EmotionPipeline, scheduler: Any, predict: Predict, x: Tensor, first: int, last: int) -> Tensor:
    """Run some steps.

    Args:
        pipe: The pipeline, whose base says what a prediction is.
        scheduler: The scheduler, of DDIM.
        predict: The prediction to follow.
        x: Latents at the first of these steps [B, 4, h, w].
        first: The number of the first step, counted from 0.
        last: One more than the number of the last step.

    Returns:
        Latents after the last of them [B, 4, h, w].
    """
    for t in scheduler.timesteps[first:last]:
        answer = pipe.base.noise_process.to_solver(predict(x, t), x, t)
        x = scheduler.step(answer, t, x, return_dict=False)[0]
    return x


def mean_prediction(predictions: Sequence[Predict]) -> Predict:
    """Mix predictions: their mean, as composed diffusion has it (Liu et al. 2022, https://arxiv.org/abs/2206.01714).

    Args:
        predictions: At least one.

    Returns:
        The mixed prediction.
    """

    def predict(x: Tensor, t: Tensor) -> Tensor:
        return torch.stack([one(x, t) for one in predictions]).mean(0)

    return predict

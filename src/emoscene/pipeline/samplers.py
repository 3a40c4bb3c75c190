"""The sampler: one generator of latents over any of diffusers' solvers.

Classifier-free guidance (Ho & Salimans 2022) is eps = eps_negative + cfg (eps_positive - eps_negative); a method's
`steer` comes after it. The negative half has the emotions that are suppressed, turned round, and its picture's gain. A
solver holds state, so each batch has its own. It may be told to run its last steps alone (`keep_last_steps`), for a
picture that was noised to a level; `invert_ddim` finds the noise from which the base itself would have painted that
picture.

Classifier-free guidance may be kept to an interval of noise levels t / T, 1 where sampling starts and 0 at the picture:
outside it the words lead alone, the negative half is not computed, and a step costs half (Kynkaanniemi et al. 2024).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import diffusers
import torch
from torch import Tensor

from emoscene.core import registry
from emoscene.core.errors import UsageError
from emoscene.diffusion.model import Condition, DiffusionModel
from emoscene.methods.base import MethodChain


def make_scheduler(base: DiffusionModel, name: str, steps: int) -> Any:
    """A fresh scheduler of diffusers' (they hold state), set for so many steps; `predict` always answers in eps."""
    table = registry.load_table("samplers", name)
    total = len(base.alphas_cumprod)
    if not 1 <= steps < total:
        raise UsageError(
            f"steps={steps} is off: the base '{base.name}' was trained on {total} timesteps, and a sampler takes from "
            f"1 to {total - 1} of them (20 to 50 is usual)"
        )
    config = {**base.scheduler_config, **table.get("settings", {}), "prediction_type": "epsilon"}
    plain = {key: value for key, value in config.items() if not key.startswith("_")}
    made = getattr(diffusers, table["scheduler"]).from_config(plain)
    made.set_timesteps(steps, device=base.device)
    return made


def keep_last_steps(solver: Any, count: int) -> Any:
    """The solver, told to run only the last `count` of its steps, at least one; returns the first timestep left []."""
    if hasattr(solver, "set_begin_index"):
        solver.set_begin_index(len(solver.timesteps) - count)
    else:
        times = solver.timesteps.unique().flip(0)[-count:]
        if isinstance(solver, diffusers.PNDMScheduler):
            times = torch.cat([times[:2], times[1:]])  # pseudo linear multistep starts with its second time twice
        solver.timesteps = times
    return remaining_timesteps(solver)[0]


def remaining_timesteps(solver: Any) -> Tensor:
    """The timesteps that it will run."""
    times: Tensor = solver.timesteps[getattr(solver, "begin_index", None) or 0 :]
    return times


@torch.no_grad()
def invert_ddim(base: DiffusionModel, words: Condition, x_0: Tensor, times: Tensor) -> Tensor:
    """The noise [B, 4, h, w] that latents x_0 would have come from, by DDIM run backwards (Song et al. 2021, eq. 13).

    words: what the pictures show; times: timesteps to go by, the greatest being the level that is reached.
    """
    x, t = x_0, torch.ones((), device=x_0.device)
    for after in times.unique():
        eps, alphabar, further = base.predict_noise(x, t, words).float(), base.alphabar(t), base.alphabar(after)
        clean = (x - (1 - alphabar).sqrt() * eps) / alphabar.sqrt()
        x, t = further.sqrt() * clean + (1 - further).sqrt() * eps, after
    return (x - further.sqrt() * x_0) / (1 - further).sqrt()


def sample(
    base: DiffusionModel,
    chain: MethodChain,
    positive: Condition,
    negative: Condition | None,
    cfg: Tensor,
    x: Tensor,
    solver: Any,
    interval: tuple[float, float] = (0.0, 1.0),
) -> Iterator[tuple[Tensor, Tensor]]:
    """After each step of the solver: the latents x, and its estimate of the finished ones x_0, each [B, 4, h, w].

    x is at first noise as strong as the solver's first step has it. cfg: guidance scale a sample [B]; negative: what
    guidance leads away from, or None for no guidance; interval: the noise levels t / T, lowest and highest, at which
    it does.
    """
    both = positive if negative is None else negative.concat(positive)
    levels = (remaining_timesteps(solver) / len(base.alphas_cumprod)).tolist()
    for t, level in zip(remaining_timesteps(solver), levels, strict=True):
        guided = negative is not None and interval[0] <= level <= interval[1]
        shown = both if guided else positive
        with torch.no_grad(), chain.attach(shown):
            x_t = solver.scale_model_input(x, t)
            noise = base.predict_noise(torch.cat([x_t, x_t]) if guided else x_t, t, shown).float()
            if guided:
                away, towards = noise.chunk(2)
                noise = away + cfg.view(-1, 1, 1, 1) * (towards - away)
            noise = chain.apply_guidance(noise, x_t, t, positive)
            alphabar = base.alphabar(t)
            x_0 = (x_t - (1 - alphabar).sqrt() * noise) / alphabar.sqrt()
            x = solver.step(noise, t, x, return_dict=False)[0]
        yield x, x_0

"""The sampler: one generator of latents over any of diffusers' solvers.

Classifier-free guidance (Ho & Salimans 2022, https://arxiv.org/abs/2207.12598) is

    eps = eps_negative + guidance_scale (eps_positive - eps_negative)

of whatever the UNet predicts, which is the same for all that a noise process knows: they are linear in eps. A method's
`apply_guidance` comes after it. The negative half has the suppressed emotions with their sign turned,
and the gain of its image. A solver holds state, so each batch has its own. It may be told to run its last steps alone
(`keep_last_steps`), for an image that was noised to a level; `invert_ddim` finds the noise from which the base itself
would have generated that image.

Classifier-free guidance may be limited to an interval of noise levels t / T, 1 where sampling starts and 0 at the
image: outside it the positive half is used alone, the negative half is not computed, and a step costs half
(Kynkaanniemi et al. 2024, https://arxiv.org/abs/2404.07724).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from inspect import signature
from typing import Any

import diffusers
import torch
from torch import Tensor

from emoscene.core import registry
from emoscene.core import seeds as streams
from emoscene.core.errors import UsageError
from emoscene.core.interrupts import check_interrupt
from emoscene.core.params import GenerationParams
from emoscene.diffusion.model import Condition, DiffusionModel
from emoscene.diffusion.noise_process import FLOW
from emoscene.methods.base import MethodChain


def make_scheduler(base: DiffusionModel, name: str, steps: int) -> Any:
    """Make a scheduler of diffusers, set for a number of steps; a new one for each batch, as it holds state.

    Args:
        base: The base, whose schedule it takes; it expects what the base's noise process gives solvers.
        name: A sampler, as `emoscene ls samplers` lists them.
        steps: `num_inference_steps`, from 1 to below the base's number of training timesteps.

    Returns:
        The scheduler.

    Raises:
        UsageError: The sampler is not known or does not suit the base, or the number of steps is off.
    """
    table: Mapping[str, Any] = registry.load_table("samplers", name)
    process = base.noise_process
    if process.prediction == FLOW:
        table = _flow_table(base, name, table)
    total = process.num_timesteps
    most = min(total - 1, table.get("most_steps", total))
    if not 1 <= steps <= most:
        raise UsageError(
            f"num_inference_steps={steps} is off: the base '{base.name}' was trained on {total} timesteps, and the "
            f"sampler {name} takes from 1 to {most} of them ({table.get('usual_steps', '20 to 50')} is usual)"
        )
    kind = getattr(diffusers, table["scheduler"])
    config = {}
    for key, value in base.scheduler_config.items():
        if not key.startswith("_"):
            config[key] = value
    config |= table.get("settings", {})
    config |= process.solver_settings(signature(kind.__init__).parameters)
    scheduler = kind.from_config(config)
    scheduler.set_timesteps(steps, device=base.device)
    return scheduler


def _flow_table(base: DiffusionModel, name: str, table: Mapping[str, Any]) -> Mapping[str, Any]:
    """What a sampler is for flow matching. Raises UsageError for one that has no such form."""
    if "flow" not in table:
        others = []
        for other in registry.list_names("samplers"):
            if "flow" in registry.load_table("samplers", other):
                others.append(other)
        raise UsageError(
            f"the sampler {name} has no form for flow matching, by which the base '{base.name}' was trained: give one "
            f"of {', '.join(others)}"
        )
    flow: Mapping[str, Any] = table["flow"]
    return flow


def keep_last_steps(solver: Any, count: int) -> Any:
    """Let a solver run only the last of its steps.

    Args:
        solver: The scheduler, changed in place.
        count: How many, at least 1. A step of Heun's has two passes, of which the last step needs one.

    Returns:
        The first timestep left [].
    """
    if hasattr(solver, "set_begin_index"):
        passes = solver.order * (count - 1) + 1
        solver.set_begin_index(len(solver.timesteps) - passes)
    else:
        times = solver.timesteps.unique().flip(0)[-count:]
        if isinstance(solver, diffusers.PNDMScheduler):
            times = torch.cat([times[:2], times[1:]])  # pseudo linear multistep runs its second timestep twice
        solver.timesteps = times
    return remaining_timesteps(solver)[0]


def remaining_timesteps(solver: Any) -> Tensor:
    """List the timesteps that a solver will run.

    Args:
        solver: The scheduler.

    Returns:
        Timesteps [S], the greatest first.
    """
    times: Tensor = solver.timesteps[getattr(solver, "begin_index", None) or 0 :]
    return times


def scale_first_noise(solver: Any, noise: Tensor) -> Tensor:
    """Bring standard normal noise to the units in which a solver starts.

    Args:
        solver: The scheduler.
        noise: The noise [B, 4, h, w].

    Returns:
        The latents to start from [B, 4, h, w].
    """
    scaled: Tensor = noise * getattr(solver, "init_noise_sigma", 1.0)
    return scaled


def noise_to_level(solver: Any, x_0: Tensor, noise: Tensor, t: Tensor) -> Tensor:
    """Add noise to latents in a solver's own units.

    Args:
        solver: The scheduler.
        x_0: Latents [B, 4, h, w].
        noise: eps [B, 4, h, w].
        t: One of the solver's timesteps [].

    Returns:
        The noisy latents [B, 4, h, w].
    """
    times = t.expand(len(x_0))
    if hasattr(solver, "scale_noise"):  # those for flow matching
        noisy: Tensor = solver.scale_noise(x_0, times, noise)
    else:
        noisy = solver.add_noise(x_0, noise, times)
    return noisy


def scale_input(solver: Any, x: Tensor, t: Tensor) -> Tensor:
    """Bring latents from a solver's own units to those that the UNet sees.

    Args:
        solver: The scheduler.
        x: Latents [B, 4, h, w].
        t: Their timestep [].

    Returns:
        x_t [B, 4, h, w].
    """
    if hasattr(solver, "scale_model_input"):
        x = solver.scale_model_input(x, t)
    return x


@torch.no_grad()
def invert_ddim(base: DiffusionModel, words: Condition, x_0: Tensor, times: Tensor) -> Tensor:
    """Find the noise that latents would have come from, by DDIM run backwards.

    Song et al. 2021, https://arxiv.org/abs/2010.02502, section 4.3 and equation 13: with x_0 and eps estimated at t,

        x_t' = signal(t') x_0 + noise(t') eps,   t' > t

    Args:
        base: The base.
        words: What the images show (B rows).
        x_0: Their latents [B, 4, h, w].
        times: The timesteps to go through, in any order; the greatest is the level that is reached.

    Returns:
        The noise [B, 4, h, w].
    """
    process = base.noise_process
    x, t = x_0, torch.ones((), device=x_0.device)
    for after in times.unique():
        prediction = base.predict(x, t, words).float()
        clean, eps = process.to_x0(prediction, x, t), process.to_eps(prediction, x, t)
        x, t = process.add_noise(clean, eps, after), after
    return (x - process.signal_level(t) * x_0) / process.noise_level(t)


def sample(
    base: DiffusionModel,
    chain: MethodChain,
    positive: Condition,
    negative: Condition | None,
    x: Tensor,
    solver: Any,
    rows: Sequence[GenerationParams],
) -> Iterator[tuple[Tensor, Tensor]]:
    """Run a solver over its remaining timesteps.

    Args:
        base: The base.
        chain: The methods on it.
        positive: What the UNet attends to in the positive half of guidance (B rows).
        negative: In the negative half; None for no classifier-free guidance.
        x: The noisy latents at the solver's first timestep, in its own units [B, 4, h, w].
        solver: The scheduler, which this uses up.
        rows: The parameters of each sample, B rows with the same `batching_key`: among them its guidance scale, the
            noise levels at which guidance acts, and the seed from which a stochastic solver draws its noise.

    Yields:
        After each step, the latents x and the estimate of the finished ones x_0, each [B, 4, h, w].
    """
    both = positive
    if negative is not None:
        both = negative.concat(positive)
    scales = torch.tensor([row.guidance_scale for row in rows]).to(x.device).view(-1, 1, 1, 1)
    low, high = rows[0].guidance_interval
    draws = _noise_source(solver, [row.seed for row in rows])
    times = remaining_timesteps(solver).cpu()  # the device is waited for once, before the first step
    process = base.noise_process
    levels = (times / process.num_timesteps).tolist()
    for t, time, level in zip(remaining_timesteps(solver), times, levels, strict=True):
        check_interrupt()
        is_guided = negative is not None and low <= level <= high
        condition = positive
        if is_guided:
            condition = both
        with torch.no_grad(), chain.attach(condition):
            x_t = scale_input(solver, x, t)
            if is_guided:
                prediction = base.predict(torch.cat([x_t, x_t]), t, condition).float()
                away, towards = prediction.chunk(2)
                prediction = away + scales * (towards - away)
            else:
                prediction = base.predict(x_t, t, condition).float()
            prediction = chain.apply_guidance(prediction, x_t, time, positive)
            x_0 = process.to_x0(prediction, x_t, t)
            answer = process.to_solver(prediction, x_t, t)
            x = solver.step(answer, t, x, return_dict=False, **draws)[0]
        yield x, x_0


def _noise_source(solver: Any, seeds: Sequence[int]) -> dict[str, Any]:
    """The generators of a solver that draws noise at its steps: one an image, apart from that of its first noise."""
    if "generator" not in signature(solver.step).parameters:
        return {}
    return {"generator": [streams.torch_generator(seed, "sampler") for seed in seeds]}

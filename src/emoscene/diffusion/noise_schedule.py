"""Whether a scheduler's settings say how the noise of training grew: told before anything is computed with them.

check_schedule(config)         betas, as Stable Diffusion has them
check_flow_schedule(config)    the straight path of flow matching
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeGuard

from emoscene.core.errors import UsageError
from emoscene.core.plain_text import SHOWN, shorten_text, show_value

SPACINGS = ("leading", "linspace", "trailing")
SCHEDULES = ("linear", "scaled_linear", "squaredcos_cap_v2", "sigmoid")
MOST_TIMESTEPS = 100_000  # Stable Diffusion has 1,000; each takes memory


def check_schedule(config: Mapping[str, Any], place: Path) -> None:
    """Check that a scheduler's settings say how the noise of training grew.

    Args:
        config: the settings of any of diffusers' schedulers.
        place: the base, for the error.

    Raises:
        UsageError: where they do not, or say it in another way than by betas.
    """
    kind = shorten_text(str(config.get("_class_name", "a scheduler")), SHOWN)
    remedy = "give the schedule that it was trained with, or another base"
    spacing = config.get("timestep_spacing", "leading")
    if spacing not in SPACINGS:
        raise UsageError(
            f"the scheduler of {place} has timesteps {show_value(spacing)}, and there is {', '.join(SPACINGS)}: "
            f"{remedy}"
        )
    total, given = config.get("num_train_timesteps"), config.get("trained_betas")
    if not isinstance(total, int) or not 1 <= total <= MOST_TIMESTEPS:
        raise UsageError(
            f"the scheduler of {place} ({kind}) says no num_train_timesteps from 1 to {MOST_TIMESTEPS}: {remedy}"
        )
    if given is not None:
        if not isinstance(given, list) or not given or not _are_betas(given):
            raise UsageError(
                f"the scheduler of {place} has trained_betas that are no list of numbers in (0, 1): {remedy}"
            )
        return
    for key in ("beta_start", "beta_end", "beta_schedule"):
        if config.get(key) is None:
            raise UsageError(f"the scheduler of {place} ({kind}) says no {key}: {remedy}")
    first, last, schedule = config["beta_start"], config["beta_end"], config["beta_schedule"]
    if not is_number(first) or not is_number(last) or not 0 < first <= last < 1:
        begin, end = shorten_text(str(first), SHOWN), shorten_text(str(last), SHOWN)
        raise UsageError(
            f"the scheduler of {place} goes from beta {begin} to {end}, and these rise within (0, 1): {remedy}"
        )
    if schedule not in SCHEDULES:
        raise UsageError(
            f"the scheduler of {place} has betas {show_value(schedule)}, and there is {', '.join(SCHEDULES)}: {remedy}"
        )


def check_flow_schedule(config: Mapping[str, Any], place: Path) -> None:
    """Check that a scheduler's settings say how a flow was trained.

    Args:
        config: The settings of one of diffusers' schedulers for flow matching.
        place: The base, for the error.

    Raises:
        UsageError: They do not, or the path depends on the size of an image.
    """
    remedy = "give the schedule that it was trained with, or another base"
    total, shift = config.get("num_train_timesteps"), config.get("shift", config.get("flow_shift", 1.0))
    if not isinstance(total, int) or not 1 <= total <= MOST_TIMESTEPS:
        raise UsageError(f"the scheduler of {place} says no num_train_timesteps from 1 to {MOST_TIMESTEPS}: {remedy}")
    if not is_number(shift) or not shift > 0:
        raise UsageError(
            f"the scheduler of {place} has shift {show_value(shift)}, which is no number above 0: {remedy}"
        )
    if config.get("use_dynamic_shifting"):
        raise UsageError(
            f"the scheduler of {place} shifts its noise by an image's size (use_dynamic_shifting), which is not read: "
            "give another base"
        )


def _are_betas(given: Sequence[object]) -> bool:
    """Whether these are numbers in (0, 1), of which the last one may be 1: it leaves no signal."""
    *others, last = given
    return all(is_number(beta) and 0 < beta < 1 for beta in others) and is_number(last) and 0 < last <= 1


def is_number(value: object) -> TypeGuard[float]:
    """Tell whether a value of a config is a number.

    Args:
        value: The value.

    Returns:
        Whether it is an int or a float that is finite.
    """
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < math.inf

"""Cautions about a training run: what makes its result worth little, each in one sentence that names the remedy.

They are said while it trains and stand in the artifact's manifest under `cautions`, and so on the card of an export.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from emoscene.core.plain_text import format_count
from emoscene.training.state import Config

MANY_TIMES = 1000  # passes over the data
FEW_IMAGES = 16  # of a validation: two of each emotion


def caution_data(config: Config, images: int, validated: int) -> list[str]:
    """Look at the size of the data, before a run begins.

    Args:
        config: How it trains.
        images: The number of images that it learns from.
        validated: The number of images of a validation.

    Returns:
        A sentence for each thing to take care of.
    """
    found = []
    passes = config.steps * config.batch_size / images
    if passes >= MANY_TIMES:
        found.append(
            f"each of {format_count(images, 'image')} is seen {format_count(passes, 'time', spec=',.0f')}, and is "
            "learnt by heart: give more images, or "
            "leave out steps=, which then suit their number"
        )
    if config.validation_images and not validated:
        found.append(
            "no image has the role selector, so nothing tells whether it learns by heart, and the last weights are "
            "kept: prepare more images, or give the selector a share (--split methods:0.8,selector:0.2)"
        )
    elif config.validation_images and validated < FEW_IMAGES:
        found.append(
            f"its validation has {format_count(validated, 'image')}, and which weights are best is then a matter of "
            "chance: "
            f"prepare more images, or give the selector a larger share (--split), for {FEW_IMAGES} or more"
        )
    return found


def caution_history(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Look at the validations of a run.

    Args:
        rows: Its history, a validation each, that of step 0 first.

    Returns:
        The sentence that the loss was never lower than before training; none after fewer than two validations since.
    """
    if len(rows) < 3 or rows[0]["step"] > 0:
        return []
    first = rows[0]["loss"]["all"]
    lowest = min(row["loss"]["all"] for row in rows[1:])
    if lowest <= first:
        return []
    return [
        f"the loss on unseen images rises from the start, from {first:.4f} to {lowest:.4f} at its best: try a smaller "
        "lr, and look at the captions and labels of the data"
    ]


def caution_gradient(steps: int) -> str:
    """Say that nothing was learnt.

    Args:
        steps: How many steps there were, each with a gradient of zero.

    Returns:
        The sentence.
    """
    return (
        f"the gradient was zero at all of {format_count(steps, 'step')}, and nothing was learnt: look for a loss "
        "weight, an emotion "
        "weight or a share of the data that is 0"
    )

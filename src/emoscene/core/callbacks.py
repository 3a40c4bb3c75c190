"""What a long call reports while it runs: one `Callbacks` for every verb, event by event.

    on_message      a sentence for a person
    on_progress     how many images are done, and of how many
    on_step         one optimizer step: its number, loss, gradient norm, learning rate and seconds
    on_step_end     the run's whole state, before the first step and after each; it may end the run

A verb takes the first three by the same names, `generate(..., on_message=print)`, as diffusers takes
`callback_on_step_end`; below the verbs one `Callbacks` is passed on. An event that nobody asked for does nothing.
The terminal's are `core.progress.terminal_callbacks`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


def ignore_event(*event: Any) -> None:
    """Do nothing with an event.

    Args:
        *event: What is reported.
    """


@dataclass(frozen=True)
class Callbacks:
    """Functions that a long call calls as it goes; `Callbacks()` is silent.

    What one of them raises ends the call where it stands; finished work stays, as after Ctrl-C.

    Attributes:
        on_message: Takes a sentence.
        on_progress: Takes the numbers of images done, from 1 on, and in total.
        on_step: Takes a `training.state.Step` after each optimizer step.
        on_step_end: Takes the `training.state.TrainingState` before the first step and after each, on every process.
            True ends the run there, its work kept; all processes must agree.
    """

    on_message: Callable[[str], None] = ignore_event
    on_progress: Callable[[int, int], None] = ignore_event
    on_step: Callable[[Any], None] = ignore_event
    on_step_end: Callable[[Any], bool | None] = ignore_event

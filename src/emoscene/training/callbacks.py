"""What is kept of a run while it goes: its loss on unseen images, sheets of images, curves.

The loss of one batch says little: most of its spread is that of the timesteps. Here images, timesteps and noise are
the same every time, so two figures of a run, or of two runs on one prepared folder, differ by the weights alone. The
averaged weights are measured, for these are what is kept. Rows go to `history.jsonl`; a run that resumes at a step
forgets what was noted after it, and notes the same again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate.tracking import LOGGER_TYPE_TO_CLASS, get_available_trackers
from accelerate.utils import broadcast_object_list
from PIL import Image
from torch import Tensor

from emoscene.core import config as configs
from emoscene.core import run_dir
from emoscene.core.errors import UsageError, install_command, unknown_name
from emoscene.core.image_origin import encode_mark
from emoscene.core.interrupts import check_interrupt
from emoscene.core.plain_text import format_count
from emoscene.core.taxonomy import EMOTIONS
from emoscene.data import batches
from emoscene.data.batches import Data
from emoscene.learning.learner import Batch, Learner
from emoscene.learning.precision import training_kernels
from emoscene.training.cautions import caution_data, caution_gradient, caution_history
from emoscene.training.loop import LATE
from emoscene.training.state import Config, Step, TrainingState

AT_ONCE = 32  # images of a validation
CURVES = 10  # steps between two points of a tracker's curve
REMEDIES = {
    "tensorboard": install_command("train"),
    "comet_ml": "pip install comet-ml",
}  # others are named as their packages


class TrainingCallbacks:
    """Keeps the history of a run: its `on_step_end` and `on_step` are those of `core.callbacks.Callbacks`."""

    def __init__(
        self,
        folder: Path,
        config: Config,
        unseen: Data | None = None,
        make_sheet: Callable[[], Image.Image] | None = None,
        on_message: Callable[[str], None] = print,
    ) -> None:
        """Set up, without writing anything yet.

        Args:
            folder: The run's folder.
            config: How it trains.
            unseen: The images that it validates on, if any.
            make_sheet: Generates a sheet of images with the learner as it then is; None for no sheets.
            on_message: Receives a sentence on each validation.
        """
        self.folder, self.config, self.unseen = folder, config, unseen
        self.make_sheet, self.on_message = make_sheet, on_message
        self.cautions: list[str] = []
        self.waiting: list[Step] = []  # steps whose figures may still be on their way from a GPU
        self.learns, self.rises, self.steps = False, False, 0
        self.tracker = make_tracker(config.report_to, folder / run_dir.LOGS)
        self.places: list[int] = []
        if unseen is not None and config.validation_images:
            self.places = validation_places(unseen, config.validation_images)
        self.begun = False

    @property
    def rows(self) -> list[dict[str, Any]]:
        """What it has noted so far: step, and loss of all and by emotion."""
        return list(run_dir.read_jsonl(self.folder / run_dir.HISTORY))

    def on_step_end(self, state: TrainingState) -> bool:
        """Validate and save a sheet where that is due at this step.

        Args:
            state: The run, before its first step or after any.

        Returns:
            Whether it is time to stop, the same on all processes.
        """
        first, main = not self.begun, state.accelerator.is_main_process
        if first and main:
            self._start(state.step)
        self.begun = True
        validates = bool(self.places) and self._is_due(state.step, self.config.validate_every)
        if main and validates and not self._has_row(state.step):
            self._validate(state)
            self._watch_history()
        if main and self.make_sheet and self._is_due(state.step, self.config.images_every):
            self._save_sheet(state)
        if not self.config.patience or not (validates or first):
            return False
        verdict = [self._should_stop()]
        if state.num_processes > 1:
            verdict = broadcast_object_list(verdict)
        return bool(verdict[0])

    def on_step(self, step: Step) -> None:
        """Look whether there is a gradient, and give the tracker a point of its curves, every tenth step.

        Args:
            step: The step that was done.
        """
        self._watch_gradient(step)
        if self.tracker and step.number % CURVES == 0:
            figures = {"loss": step.loss, "norm": step.norm, "lr": step.lr, "seconds": step.seconds}
            self.tracker.log(figures, step=step.number)

    def close(self) -> None:
        """Say whether there never was a gradient, and finish the tracker's run."""
        while self.waiting and not self.learns:
            self.learns = self.waiting.pop().norm != 0
        if self.steps and not self.learns:
            self._warn_of(caution_gradient(self.steps))
        if self.tracker and self.begun:
            self.tracker.finish()

    def warn_of_data(self, images: int) -> None:
        """Say what is to be taken care of in the data.

        Args:
            images: The number of images that it learns from.
        """
        self._warn_of(*caution_data(self.config, images, len(self.places)))

    def list_cautions(self) -> list[str]:
        """List what makes the run's result worth little, as it now is.

        Returns:
            A sentence each.
        """
        return [*self.cautions, *caution_history(self.rows)]

    def _warn_of(self, *sentences: str) -> None:
        """Say each sentence, and remember it."""
        for sentence in sentences:
            self.on_message(f"take care: {sentence}")
            self.cautions.append(sentence)

    def _watch_history(self) -> None:
        """Say that the loss rises from the start, as soon as it does; it may fall again later."""
        sentences = caution_history(self.rows)
        if sentences and not self.rises:
            self.on_message(f"take care: {sentences[0]}")
        self.rises = bool(sentences)

    def _watch_gradient(self, step: Step) -> None:
        """Look at the norm of a step that the loop has read already, until one is not zero."""
        self.steps += 1
        if self.learns:
            return
        self.waiting.append(step)
        if len(self.waiting) > LATE:
            self.learns = self.waiting.pop(0).norm != 0
        if self.learns:
            self.waiting.clear()

    def _is_due(self, step: int, every: int) -> bool:
        """Whether something happens at this step; `every` = 0 is never."""
        return every > 0 and (step % every == 0 or step == self.config.steps)

    def _has_row(self, step: int) -> bool:
        return any(row["step"] == step for row in self.rows)

    def _start(self, step: int) -> None:
        """Forget what was noted after the step at which the run begins or goes on, and start the tracker."""
        rows = self.rows
        if rows or step:
            kept = [row for row in rows if step and row["step"] <= step]
            run_dir.write_atomic(self.folder / run_dir.HISTORY, run_dir.to_jsonl(kept))
        if self.tracker:
            self.tracker.start()
            self.tracker.store_init_configuration(configs.to_dict(self.config))

    def _validate(self, state: TrainingState) -> None:
        """Note the loss on the unseen images, and remember the weights where it is the best yet."""
        assert self.unseen is not None
        with state.averaged_weights() as learner, state.accelerator.autocast():
            losses, emotion = image_losses(learner, self.unseen, self.places, state.accelerator.device)
            if self.config.keeps_best and state.step > 0 and is_best(losses, state.lowest):
                state.best = {name: p.detach().cpu().clone() for name, p in learner.trainable.items()}
        figures = mean_losses(losses, emotion)
        run_dir.append_row(self.folder / run_dir.HISTORY, {"step": state.step, "loss": figures})
        if self.tracker:
            self.tracker.log({f"unseen/{name}": value for name, value in figures.items()}, step=state.step)
        mean = figures.pop("all")
        by_emotion = ", ".join(f"{name} {value:.4f}" for name, value in figures.items())
        self.on_message(
            f"step {state.step}: loss on {format_count(len(self.places), 'unseen image')} {mean:.4f} ({by_emotion})"
        )

    def _save_sheet(self, state: TrainingState) -> None:
        assert self.make_sheet is not None
        buffer = BytesIO()
        with state.averaged_weights(), state.accelerator.autocast():
            sheet = self.make_sheet()
        sheet.save(buffer, "PNG", **encode_mark(sheet))
        file = self.folder / "progress" / f"step-{state.step:06d}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        run_dir.write_atomic(file, buffer.getvalue())

    def _should_stop(self) -> bool:
        """Whether the last `patience` validations were none of them the best."""
        losses = [row["loss"]["all"] for row in self.rows]
        if not losses:
            return False
        since = len(losses) - 1 - int(np.argmin(losses))
        if since >= self.config.patience:
            self.on_message(
                f"no better for {format_count(since, 'validation')}: it stops, and the best weights are kept"
            )
        return since >= self.config.patience


def validation_places(data: Data, number: int) -> list[int]:
    """Choose the images of a validation: as many of each emotion, as far as there are such.

    Args:
        data: The unseen images.
        number: How many to take, from 1 on.

    Returns:
        Their places in `data`, at most `number`, the emotions taking turns.
    """
    emotion = data.read(range(len(data)), ["emotion"])["emotion"].numpy()
    turn = np.zeros(len(emotion), int)
    for name in np.unique(emotion):
        turn[emotion == name] = np.arange((emotion == name).sum())
    places: list[int] = np.lexsort((emotion, turn))[:number].tolist()
    return places


def is_best(losses: Tensor, lowest: dict[str, Tensor]) -> bool:
    """Tell whether weights are to be kept, by the one-standard-error rule (Breiman et al. 1984, section 3.4.3).

    Most of what a denoising loss does from one validation to the next is noise, and the lowest mean is soon a matter of
    luck: the shipped LoRA of 1,500 steps had its lowest at step 150. So later weights, which have learnt more, are kept
    unless they are worse than the lowest by more than a standard error of the difference, image by image.

    Args:
        losses: Each image's loss now [N].
        lowest: `losses`, those of the validation with the lowest mean so far; it is brought up to date.

    Returns:
        Whether they are.
    """
    if not lowest or losses.mean() < lowest["losses"].mean():
        lowest["losses"] = losses
        return True
    worse = losses - lowest["losses"]
    error = worse.std(correction=0) / len(worse) ** 0.5
    return bool(worse.mean() < error)


@torch.no_grad()
def image_losses(learner: Learner, data: Data, places: Sequence[int], device: torch.device) -> tuple[Tensor, Tensor]:
    """Measure the loss of images, at noise and timesteps that never change (seed 0, step -1).

    Args:
        learner: What is measured, on the device.
        data: The images.
        places: Which of them.
        device: Where it is computed.

    Returns:
        Each image's loss, and its emotion's number [N], on the CPU; images of one shape stand together.
    """
    found, emotions = [], []
    for slots in _slots_by_shape(data, places):
        check_interrupt()
        columns = data.read([places[slot] for slot in slots], [*learner.columns, "emotion"])
        emotions.append(columns["emotion"])
        batch = Batch(columns, 0, -1, slots).to(device)
        with learner.attach(), training_kernels(device):
            found.append(learner(batch).float().cpu())
    return torch.cat(found), torch.cat(emotions)


def mean_losses(losses: Tensor, emotion: Tensor) -> dict[str, float]:
    """Average the losses of a validation.

    Args:
        losses: Each image's loss [N].
        emotion: Its emotion's number [N].

    Returns:
        The mean loss of all under `all`, and of each emotion that there is, to eight decimals.
    """
    means = {"all": round(float(losses.mean()), 8)}
    for number, name in enumerate(EMOTIONS):
        own = losses[emotion == number]
        if len(own):
            means[name] = round(float(own.mean()), 8)
    return means


def _slots_by_shape(data: Data, places: Sequence[int]) -> list[list[int]]:
    """The slots of these places, those of one shape together and at most `AT_ONCE` at once."""
    parts = []
    for rows in batches.group_by_shape(data):
        inside = set(rows)
        slots = [slot for slot, place in enumerate(places) if place in inside]
        for first in range(0, len(slots), AT_ONCE):
            parts.append(slots[first : first + AT_ONCE])
    return parts


def make_tracker(name: str, folder: Path) -> Any:
    """Make one of Accelerate's trackers, not yet started.

    Args:
        name: `report_to`: tensorboard, wandb or another that Accelerate knows; empty for none.
        folder: Where one that writes files puts them.

    Returns:
        The tracker, an `accelerate.tracking.GeneralTracker`; None for none.

    Raises:
        UsageError: Accelerate does not know it, or its package is not installed.
    """
    if not name:
        return None
    known: dict[str, Any] = dict(LOGGER_TYPE_TO_CLASS)
    if name not in known:
        raise unknown_name("tracker", name, known)
    installed = [kind.value for kind in get_available_trackers()]
    if name not in installed:
        remedy = REMEDIES.get(name, f"pip install {name}")
        raise UsageError(f"report_to={name} needs a package that is not installed: {remedy}")
    options = {}
    if known[name].requires_logging_directory:
        options["logging_dir"] = folder
    return known[name]("emoscene", **options)

"""What is kept of a run while it goes: its loss on unseen pictures, sheets of pictures, curves.

The loss of one batch says little: most of its spread is that of the timesteps. Here pictures, timesteps and noise are
the same every time, so two figures of a run, or of two runs on one prepared folder, differ by the weights alone. The
averaged weights are measured, for these are what is kept. Rows go to `history.jsonl`; a run that resumes at a step
forgets what was noted after it, and notes the same again.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate.tracking import LOGGER_TYPE_TO_CLASS, get_available_trackers
from accelerate.utils import broadcast_object_list
from PIL import Image

from emoscene.core import config as configs
from emoscene.core import run_dir
from emoscene.core.errors import UsageError, install_command, unknown_name
from emoscene.core.taxonomy import EMOTIONS
from emoscene.data import batches
from emoscene.data.batches import Data
from emoscene.learning.learner import Batch, Learner, move_to_device
from emoscene.learning.precision import attention_kernel
from emoscene.training.state import Config, Step, TrainingState

AT_ONCE = 32  # pictures of a validation
CURVES = 10  # steps between two points of a tracker's curve
REMEDIES = {
    "tensorboard": install_command("train"),
    "comet_ml": "pip install comet-ml",
}  # others are named as their packages


class TrainingCallbacks:
    """Keeps the journal of a run in `folder`: `training.run_training` calls it as its `look`, and `log_step` as its
    own.

    unseen: what it validates on, if anything. painter: what draws a sheet of pictures, if anything does.
    """

    def __init__(
        self,
        folder: Path,
        config: Config,
        unseen: Data | None = None,
        painter: Callable[[], Image.Image] | None = None,
        on_message: Callable[[str], None] = print,
    ) -> None:
        self.folder, self.config, self.unseen, self.painter, self.on_message = (
            folder,
            config,
            unseen,
            painter,
            on_message,
        )
        self.tracker = make_tracker(config.report_to, folder / run_dir.LOGS)
        self.places = (
            validation_places(unseen, config.validation_images)
            if unseen is not None and config.validation_images
            else []
        )
        self.begun = False

    @property
    def rows(self) -> list[dict[str, Any]]:
        """What it has noted so far: step, and loss of all and by emotion."""
        return list(run_dir.read_jsonl(self.folder / run_dir.HISTORY))

    def __call__(self, state: TrainingState) -> bool:
        """Note what is due at this step; whether it is time to stop, the same on all processes."""
        first, main = not self.begun, state.accelerator.is_main_process
        if first and main:
            self._start(state.step)
        self.begun = True
        due = bool(self.places) and self._is_due(state.step, self.config.validate_every)
        if main and due and state.step not in {row["step"] for row in self.rows}:
            self._validate(state)
        if (
            main
            and self.painter
            and self.config.pictures_every
            and self._is_due(state.step, self.config.pictures_every)
        ):
            self._save_sheet(state)
        if not self.config.patience or not (due or first):
            return False
        verdict = [self._should_stop()]
        return bool(broadcast_object_list(verdict)[0] if state.num_processes > 1 else verdict[0])

    def log_step(self, step: Step) -> None:
        """Give the tracker a point of its curves now and then."""
        if self.tracker and step.number % CURVES == 0:
            figures = {"loss": step.loss, "norm": step.norm, "lr": step.lr, "seconds": step.seconds}
            self.tracker.log(figures, step=step.number)

    def close(self) -> None:
        """Let go of the tracker."""
        if self.tracker and self.begun:
            self.tracker.finish()

    def _is_due(self, step: int, every: int) -> bool:
        return step % every == 0 or step == self.config.steps

    def _start(self, step: int) -> None:
        kept = [json.dumps(row) + "\n" for row in self.rows if row["step"] <= step]
        if step or self.rows:
            run_dir.write_atomic(self.folder / run_dir.HISTORY, "".join(kept if step else []).encode())
        if self.tracker:
            self.tracker.start()
            self.tracker.store_init_configuration(configs.to_dict(self.config))

    def _validate(self, state: TrainingState) -> None:
        assert self.unseen is not None
        with state.averaged_weights() as learner, state.accelerator.autocast():
            found = validation_losses(learner, self.unseen, self.places, state.accelerator.device)
            best = min((row["loss"]["all"] for row in self.rows), default=float("inf"))
            if self.config.patience and found["all"] < best:
                state.best = {name: p.detach().clone() for name, p in learner.trainable.items()}
        run_dir.append_row(self.folder / run_dir.HISTORY, {"step": state.step, "loss": found})
        told = ", ".join(f"{name} {value:.4f}" for name, value in found.items() if name != "all")
        self.on_message(f"step {state.step}: loss on {len(self.places)} unseen pictures {found['all']:.4f} ({told})")
        if self.tracker:
            self.tracker.log({f"unseen/{name}": value for name, value in found.items()}, step=state.step)

    def _save_sheet(self, state: TrainingState) -> None:
        assert self.painter is not None
        buffer = BytesIO()
        with state.averaged_weights(), state.accelerator.autocast():
            self.painter().save(buffer, "PNG")
        sheet = self.folder / "progress" / f"step-{state.step:06d}.png"
        sheet.parent.mkdir(parents=True, exist_ok=True)
        run_dir.write_atomic(sheet, buffer.getvalue())

    def _should_stop(self) -> bool:
        figures = [row["loss"]["all"] for row in self.rows]
        since = len(figures) - 1 - int(np.argmin(figures)) if figures else 0
        if since >= self.config.patience:
            self.on_message(f"no better for {since} validations: it stops, and the best weights are kept")
        return since >= self.config.patience


def validation_places(data: Data, number: int) -> list[int]:
    """The first `number` places, all emotions alike as far as the pictures go."""
    emotion = data.read(range(len(data)), ["emotion"])["emotion"].numpy()
    turn = np.zeros(len(emotion), int)
    for name in np.unique(emotion):
        turn[emotion == name] = np.arange((emotion == name).sum())
    places: list[int] = np.lexsort((emotion, turn))[:number].tolist()
    return places


@torch.no_grad()
def validation_losses(learner: Learner, data: Data, places: Sequence[int], device: torch.device) -> dict[str, float]:
    """The mean loss of all these pictures and of each emotion's, at noise and timesteps that never change."""
    found, emotions = [], []
    for slots in _slots_by_shape(data, places):
        columns = data.read([places[slot] for slot in slots], [*learner.columns, "emotion"])
        emotions.append(columns["emotion"])
        batch = Batch({name: move_to_device(value, device) for name, value in columns.items()}, 0, -1, slots, device)
        with learner.attach(), attention_kernel(device):
            found.append(learner(batch).float().cpu())
    each, emotion = torch.cat(found), torch.cat(emotions)
    own = {name: each[emotion == number] for number, name in enumerate(EMOTIONS)}
    return {name: round(float(part.mean()), 8) for name, part in {"all": each, **own}.items() if len(part)}


def _slots_by_shape(data: Data, places: Sequence[int]) -> Iterator[list[int]]:
    """The slots of these places, those of one shape together and at most so many at once."""
    for rows in batches.group_by_shape(data):
        inside = set(rows)
        slots = [slot for slot, place in enumerate(places) if place in inside]
        yield from (slots[first : first + AT_ONCE] for first in range(0, len(slots), AT_ONCE))


def make_tracker(name: str, folder: Path) -> Any:
    """Accelerate's tracker of this name, not yet begun; None for none. Raises Usage where it is not to be had."""
    if not name:
        return None
    known: dict[str, Any] = dict(LOGGER_TYPE_TO_CLASS)
    if name not in known:
        raise unknown_name("tracker", name, known)
    if name not in {kind.value for kind in get_available_trackers()}:
        remedy = REMEDIES.get(name, f"pip install {name}")
        raise UsageError(f"report_to={name} needs a package that is not installed: {remedy}")
    options = {"logging_dir": folder} if known[name].requires_logging_directory else {}
    return known[name]("emoscene", **options)

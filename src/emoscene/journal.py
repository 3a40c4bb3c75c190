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

from emoscene import config as configs
from emoscene import stage
from emoscene.data import batches
from emoscene.data.batches import Data
from emoscene.emotions import EMOTIONS
from emoscene.errors import Usage, install, unknown
from emoscene.hardware import attention
from emoscene.learner import Batch, Learner, placed
from emoscene.training import Config, State, Step

AT_ONCE = 32  # pictures of a validation
CURVES = 10  # steps between two points of a tracker's curve
REMEDIES = {"tensorboard": install("train"), "comet_ml": "pip install comet-ml"}  # others are named as their packages


class Journal:
    """Keeps the journal of a run in `folder`: `training.run` calls it as its `look`, and `watch` as its own.

    unseen: what it validates on, if anything. painter: what draws a sheet of pictures, if anything does.
    """

    def __init__(
        self,
        folder: Path,
        config: Config,
        unseen: Data | None = None,
        painter: Callable[[], Image.Image] | None = None,
        tell: Callable[[str], None] = print,
    ) -> None:
        self.folder, self.config, self.unseen, self.painter, self.tell = folder, config, unseen, painter, tell
        self.tracker = tracker(config.tracker, folder / stage.LOGS)
        self.places = chosen(unseen, config.validate) if unseen is not None and config.validate else []
        self.begun = False

    @property
    def rows(self) -> list[dict[str, Any]]:
        """What it has noted so far: step, and loss of all and by emotion."""
        return list(stage.rows(self.folder / stage.HISTORY))

    def __call__(self, state: State) -> bool:
        """Note what is due at this step; whether it is time to stop, the same on all processes."""
        first, main = not self.begun, state.accelerator.is_main_process
        if first and main:
            self._begin(state.step)
        self.begun = True
        due = bool(self.places) and self._due(state.step, self.config.validate_every)
        if main and due and state.step not in {row["step"] for row in self.rows}:
            self._validate(state)
        if main and self.painter and self.config.pictures_every and self._due(state.step, self.config.pictures_every):
            self._paint(state)
        if not self.config.patience or not (due or first):
            return False
        verdict = [self._enough()]
        return bool(broadcast_object_list(verdict)[0] if state.world > 1 else verdict[0])

    def watch(self, step: Step) -> None:
        """Give the tracker a point of its curves now and then."""
        if self.tracker and step.number % CURVES == 0:
            figures = {"loss": step.loss, "norm": step.norm, "lr": step.lr, "seconds": step.seconds}
            self.tracker.log(figures, step=step.number)

    def close(self) -> None:
        """Let go of the tracker."""
        if self.tracker and self.begun:
            self.tracker.finish()

    def _due(self, step: int, every: int) -> bool:
        return step % every == 0 or step == self.config.steps

    def _begin(self, step: int) -> None:
        kept = [json.dumps(row) + "\n" for row in self.rows if row["step"] <= step]
        if step or self.rows:
            stage.write(self.folder / stage.HISTORY, "".join(kept if step else []).encode())
        if self.tracker:
            self.tracker.start()
            self.tracker.store_init_configuration(configs.asdict(self.config))

    def _validate(self, state: State) -> None:
        assert self.unseen is not None
        with state.lent() as learner, state.accelerator.autocast():
            found = losses(learner, self.unseen, self.places, state.accelerator.device)
            best = min((row["loss"]["all"] for row in self.rows), default=float("inf"))
            if self.config.patience and found["all"] < best:
                state.best = {name: p.detach().clone() for name, p in learner.trainable.items()}
        stage.append_row(self.folder / stage.HISTORY, {"step": state.step, "loss": found})
        told = ", ".join(f"{name} {value:.4f}" for name, value in found.items() if name != "all")
        self.tell(f"step {state.step}: loss on {len(self.places)} unseen pictures {found['all']:.4f} ({told})")
        if self.tracker:
            self.tracker.log({f"unseen/{name}": value for name, value in found.items()}, step=state.step)

    def _paint(self, state: State) -> None:
        assert self.painter is not None
        buffer = BytesIO()
        with state.lent(), state.accelerator.autocast():
            self.painter().save(buffer, "PNG")
        sheet = self.folder / "progress" / f"step-{state.step:06d}.png"
        sheet.parent.mkdir(parents=True, exist_ok=True)
        stage.write(sheet, buffer.getvalue())

    def _enough(self) -> bool:
        figures = [row["loss"]["all"] for row in self.rows]
        since = len(figures) - 1 - int(np.argmin(figures)) if figures else 0
        if since >= self.config.patience:
            self.tell(f"no better for {since} validations: it stops, and the best weights are kept")
        return since >= self.config.patience


def chosen(data: Data, number: int) -> list[int]:
    """The first `number` places, all emotions alike as far as the pictures go."""
    emotion = data.rows(range(len(data)), ["emotion"])["emotion"].numpy()
    turn = np.zeros(len(emotion), int)
    for name in np.unique(emotion):
        turn[emotion == name] = np.arange((emotion == name).sum())
    places: list[int] = np.lexsort((emotion, turn))[:number].tolist()
    return places


@torch.no_grad()
def losses(learner: Learner, data: Data, places: Sequence[int], device: torch.device) -> dict[str, float]:
    """The mean loss of all these pictures and of each emotion's, at noise and timesteps that never change."""
    found, emotions = [], []
    for slots in _alike(data, places):
        columns = data.rows([places[slot] for slot in slots], [*learner.reads, "emotion"])
        emotions.append(columns["emotion"])
        batch = Batch({name: placed(value, device) for name, value in columns.items()}, 0, -1, slots, device)
        with learner.attached(), attention(device):
            found.append(learner(batch).float().cpu())
    each, emotion = torch.cat(found), torch.cat(emotions)
    own = {name: each[emotion == number] for number, name in enumerate(EMOTIONS)}
    return {name: round(float(part.mean()), 8) for name, part in {"all": each, **own}.items() if len(part)}


def _alike(data: Data, places: Sequence[int]) -> Iterator[list[int]]:
    """The slots of these places, those of one shape together and at most so many at once."""
    for rows in batches.shapes(data):
        inside = set(rows)
        slots = [slot for slot, place in enumerate(places) if place in inside]
        yield from (slots[first : first + AT_ONCE] for first in range(0, len(slots), AT_ONCE))


def tracker(name: str, folder: Path) -> Any:
    """Accelerate's tracker of this name, not yet begun; None for none. Raises Usage where it is not to be had."""
    if not name:
        return None
    known: dict[str, Any] = dict(LOGGER_TYPE_TO_CLASS)
    if name not in known:
        raise unknown("tracker", name, known)
    if name not in {kind.value for kind in get_available_trackers()}:
        remedy = REMEDIES.get(name, f"pip install {name}")
        raise Usage(f"tracker={name} needs a package that is not installed: {remedy}")
    options = {"logging_dir": folder} if known[name].requires_logging_directory else {}
    return known[name]("emoscene", **options)

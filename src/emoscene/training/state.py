"""What a training run is made of: its settings, one step's figures, and the state that a checkpoint keeps."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NotRequired

import torch
from accelerate.utils import broadcast
from torch import Tensor
from torch.optim.lr_scheduler import LambdaLR
from typing_extensions import TypedDict

from emoscene.core import config as configs
from emoscene.core.config import option
from emoscene.core.errors import EmosceneError, UsageError
from emoscene.core.file_reading import check_value
from emoscene.core.plain_text import format_count
from emoscene.learning import checkpoints
from emoscene.learning.learner import Learner
from emoscene.learning.optimizers import collect_state, make_optimizers, make_schedulers, restore_state
from emoscene.learning.precision import AsyncScalars, make_accelerator

AGAIN = "take that checkpoint away, and go on from an older one"


class SavedNumbers(TypedDict):
    """What optimizers keep beside tensors: numbers by `kind.parameter`, and each one's groups."""

    state: dict[str, Any]
    groups: list[list[dict[str, Any]]]


class SavedRun(TypedDict):
    """What the `state.json` of a run's checkpoint has beside the step and the digests."""

    about: dict[str, Any]
    processes: int
    numbers: SavedNumbers
    seconds: NotRequired[float]


@dataclass(frozen=True)
class Config:
    """How to train, whatever it is."""

    steps: int = option(1000, "optimizer steps", span=(1, 10_000_000))
    batch_size: int = option(32, "samples of one optimizer step, over all processes", span=(1, 65536))
    micro_batch_size: int = option(0, "samples at a time within a process; 0 is all of them", span=(0, 65536))
    lr: float = option(1e-3, "highest learning rate; of Prodigy's own rate a multiple", span=(1e-6, 1.0, "log"))
    optimizer: str = option("adamw", "what moves the weights: a name of `emoscene ls optimizers`")
    muon: float = option(0.0, "Muon's rate for inner matrices, in multiples of lr; 0 is none", span=(0.0, 100.0))
    warmup: float = option(0.05, "share of the steps over which the rate rises", span=(0.0, 1.0))
    schedule: str = option(
        "cosine", "the rate after the warm-up", choices=("cosine", "linear", "polynomial", "constant")
    )
    weight_decay: float = option(0.01, "weight decay", span=(0.0, 1.0))
    max_grad_norm: float = option(1.0, "largest norm of the gradient", span=(1e-3, 1e3, "log"))
    ema_decay: float = option(0.999, "decay of the moving average of the weights; 0 is none", span=(0.0, 0.99999))
    precision: str = option(
        "auto",
        "arithmetic: bf16 where the hardware gains by it, fp16 on GPUs that have no bf16",
        choices=("auto", "fp32", "bf16", "fp16"),
    )
    checkpointing: bool = option(False, "recompute the UNet's activations: a third more time, far less memory")
    compile: bool = option(False, "compile the UNet's blocks first, which pays in long runs on a GPU")
    seed: int = option(0, "of the order, the noise, the drop-outs")
    num_workers: int = option(1, "threads that read batches ahead", span=(1, 64))
    checkpoint_every: int = option(250, "steps between two checkpoints", span=(1, 1_000_000))
    checkpoints_total_limit: int = option(2, "checkpoints to keep", span=(1, 1000))
    validation_images: int = option(
        64, "unseen images of each validation, the selector's; 0 is none", span=(0, 100_000)
    )
    validate_every: int = option(250, "steps between two validations", span=(1, 1_000_000))
    patience: int = option(0, "validations without a better one after which it stops; 0 never", span=(0, 1000))
    load_best_model_at_end: bool = option(True, "keep the weights of the best validation, not the last ones")
    images_every: int = option(0, "steps between two sheets of images; 0 is none", span=(0, 1_000_000))
    report_to: str = option("", "where curves go: tensorboard, wandb, or another that Accelerate knows")

    @property
    def keeps_best(self) -> bool:
        """Whether the weights of the best validation are kept."""
        return self.load_best_model_at_end or self.patience > 0


@dataclass(frozen=True)
class Step:
    """One step: its number, learning rate and seconds."""

    number: int
    lr: float
    seconds: float
    figures: AsyncScalars

    @property
    def loss(self) -> float:
        """The global batch's mean loss."""
        return self.figures.wait()[0]

    @property
    def norm(self) -> float:
        """The gradient's norm before clipping."""
        return self.figures.wait()[1]

    def describe(self) -> str:
        """Describe the step beside a progress bar.

        Returns:
            Its loss, to four decimals.
        """
        return f"loss {self.loss:.4f}"


class TrainingState:
    """All that changes while training, which a checkpoint keeps.

    Attributes:
        learner: What trains, in float32, on its device.
        step: How many steps are done.
        average: The moving average of the weights by name; empty where `ema_decay` is 0.
        best: The weights of the best validation, if that is what is kept in the end; else empty.
        lowest: `losses`, each image's at the validation whose mean was the lowest; empty where there is no best.
        optimizers: What moves the weights.
        schedulers: Their rates.
        scaler: What scales the loss in fp16, so that small gradients do not vanish; None in other precisions.
        micro: Samples at a time within a process; 0 is all of them.
        bad: [], how many steps running were not finite.
        about: Whose run it is, which a checkpoint remembers.
        stopping: Whether somebody asked to stop.
        began: When the run would have begun, in seconds of a clock, had it never been interrupted.
    """

    def __init__(
        self,
        learner: Learner,
        config: Config,
        about: Mapping[str, Any] | None = None,
        device: torch.device | None = None,
    ) -> None:
        """Begin a run at step 0, with the same weights on all processes.

        Args:
            learner: What trains.
            config: How.
            about: Whose run it is, such as the base's fingerprint; going on demands the same.
            device: Where it computes; the best there is if left out.

        Raises:
            UsageError: A process would get less than a sample of a step, or the optimizer is not to be had.
        """
        self.step, self.micro, self.stopping, self.about = 0, config.micro_batch_size, False, dict(about or {})
        self.accelerator = make_accelerator(config.precision, learner.models, device)
        self.scaler: torch.amp.GradScaler | None = self.accelerator.scaler
        if config.batch_size < self.accelerator.num_processes:
            raise UsageError(
                f"batch_size={config.batch_size} is less than a sample for each process: "
                f"give {self.num_processes} or more"
            )
        self.learner = learner.to(self.accelerator.device).train()
        for parameter in learner.trainable.values():
            parameter.data = parameter.data.float()
            if self.num_processes > 1:
                broadcast(parameter.data)
        self.optimizers = make_optimizers(learner, config.lr, config.weight_decay, config.muon, config.optimizer)
        self.config = config
        self.schedulers = self._make_schedulers()
        self.average: dict[str, Tensor] = {}
        if config.ema_decay:
            self.average = {name: p.detach().clone() for name, p in learner.trainable.items()}
        self.best: dict[str, Tensor] = {}
        self.lowest: dict[str, Tensor] = {}
        self.bad = torch.zeros((), device=self.accelerator.device)
        self.began = time.monotonic()

    @property
    def num_processes(self) -> int:
        """How many processes share a step."""
        return self.accelerator.num_processes

    @property
    def seconds(self) -> float:
        """How long it has been at work, what a checkpoint remembers of earlier sessions included."""
        return time.monotonic() - self.began

    def save(self, folder: Path, config: Config) -> None:
        """Add a checkpoint, unless this step's is there.

        Args:
            folder: The run's checkpoints.
            config: How it trains, which the checkpoint notes.

        Raises:
            EmosceneError: The disk is full or does not give back what it was given.
        """
        moments, numbers = collect_state(self.optimizers, self.learner.trainable)
        parts = {"weights": self.learner.state_dict(), "average": self.average, "moments": moments}
        if self.best:
            parts |= {"best": self.best, "lowest": self.lowest}
        facts = {"about": self.about, "processes": self.num_processes, "seconds": self.seconds, "numbers": numbers}
        if self.scaler is not None:
            facts["scaler"] = self.scaler.state_dict()
        checkpoints.save_checkpoint(
            folder, self.step, parts, config.checkpoints_total_limit, **facts, config=configs.to_dict(config)
        )

    def restore(self, target: Path, on_message: Callable[[str], None] = print) -> None:
        """Go on from a checkpoint, exactly.

        Args:
            target: The checkpoint.
            on_message: Receives a sentence where another number of processes began the run.

        Raises:
            UsageError: It is another learner's, or of another run (`about`).
            EmosceneError: It is damaged.
        """
        about, parts = checkpoints.read_checkpoint(target)
        check_value(about, SavedRun, target / checkpoints.STATE, AGAIN)
        missing = sorted({"weights", "average", "moments"} - parts.keys())
        if missing:
            raise EmosceneError(f"{target} lacks its {missing[0]}: {AGAIN}")
        mine, weights = self.learner.state_dict(), parts["weights"]
        for word, value in self.about.items():
            if (there := about["about"].get(word)) != value:
                raise UsageError(
                    f"{target} is of another {word}, {there} and not {value}: call as before, or with a new --out"
                )
        for name in {**mine, **weights}:
            if _shape_of(mine, name) != _shape_of(weights, name):
                raise UsageError(f"{target} is another learner's ({name} differs): call as before, or with a new --out")
        if about["processes"] != self.num_processes:
            on_message(
                f"{format_count(self.num_processes, 'process goes', 'processes go')} on with what "
                f"{about['processes']} began: the global batch stays"
            )
        self.step = about["step"]
        self.began -= about.get("seconds", 0.0)
        self.learner.load_state_dict(weights)
        self.average = {name: value.to(self.accelerator.device) for name, value in parts["average"].items()}
        self.best, self.lowest = parts.get("best", {}), parts.get("lowest", {})
        try:
            restore_state(self.optimizers, self.learner.trainable, parts["moments"], about["numbers"])
        except (LookupError, ValueError, TypeError) as error:
            raise EmosceneError(f"the optimizers' state in {target} is damaged: {AGAIN}") from error
        if self.scaler is not None and "scaler" in about:
            self.scaler.load_state_dict(about["scaler"])
        self.schedulers = self._make_schedulers()

    def _make_schedulers(self) -> list[LambdaLR]:
        """One for each optimizer, with the rate of the step that comes next."""
        c = self.config
        return make_schedulers(self.optimizers, c.schedule, c.steps, c.warmup, self.step)

    @contextmanager
    def averaged_weights(self) -> Iterator[Learner]:
        """Give the learner its averaged weights inside the `with` block, and its own again afterwards.

        Yields:
            The learner as it would be kept if training ended now, in evaluation mode.
        """
        trainable = self.learner.trainable
        own = {name: trainable[name].data for name in self.average}
        try:
            for name, value in self.average.items():
                trainable[name].data = value
            yield self.learner.eval()
        finally:
            for name, value in own.items():
                trainable[name].data = value
            self.learner.train()

    @torch.no_grad()
    def final_learner(self) -> Learner:
        """End the run.

        Returns:
            The learner as it is kept, in evaluation mode: with the weights of the best validation, else with the
            average, else with its own.
        """
        for name, value in (self.best or self.average).items():
            self.learner.trainable[name].copy_(value)
        self.learner.finish()
        return self.learner.eval()


def _shape_of(state: Mapping[str, Tensor], name: str) -> torch.Size | None:
    if name not in state:
        return None
    return state[name].shape

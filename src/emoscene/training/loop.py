"""One loop for all that learns.

    state = State(learner, config)            learner, optimizer, average, step
    for step in steps(state, data, config):   one optimizer step each; drawing, logging, stopping stay with the caller
        ...

`run_training` drains it with checkpoints; the verb `train` is in `artifacts`. A step's samples, noise and drop-outs are pure
functions of (seed, step, slot): nothing else needs saving for a resumed run to be the same run.

Processes share a step's batch and add their gradients up once, after the backward pass. So how many processes there
are, and how many samples each takes at a time, is no part of what is computed. Nothing in the loop waits for a GPU:
what a step came to is read when somebody asks, or a few steps late.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate.utils import broadcast
from torch import Tensor
from torch.nn.utils import clip_grad_norm_

from emoscene.core import config as configs
from emoscene.core import run_dir
from emoscene.core.config import option
from emoscene.core.errors import EmosceneError, TrainingDiverged, UsageError
from emoscene.core.progress import defer_interrupts, progress_bar
from emoscene.data import batches
from emoscene.data.batches import Data
from emoscene.diffusion.device import is_out_of_memory
from emoscene.learning import checkpoints
from emoscene.learning.learner import Batch, Learner
from emoscene.learning.optimizers import apply_step, collect_state, make_optimizers, restore_state, schedule_rate
from emoscene.learning.precision import AsyncScalars, attention_kernel, make_accelerator
from emoscene.training.dataloader import prefetch_batches

BAD = 3  # steps running that may fail to be finite
LATE = 2  # steps that a GPU may be behind


@dataclass(frozen=True)
class Config:
    """How to train, whatever it is."""

    steps: int = option(1000, "optimizer steps", span=(1, 10_000_000))
    batch: int = option(32, "samples of one optimizer step, over all processes", span=(1, 65536))
    micro: int = option(0, "samples at a time within a process; 0 is all of them", span=(0, 65536))
    lr: float = option(1e-3, "highest learning rate; of Prodigy's own rate a multiple", span=(1e-6, 1.0, "log"))
    optimizer: str = option(
        "adamw", "adamw8bit needs bitsandbytes, prodigy prodigyopt", choices=("adamw", "adamw8bit", "prodigy")
    )
    muon: float = option(0.0, "Muon's rate for inner matrices, in multiples of lr; 0 is none", span=(0.0, 100.0))
    warmup: float = option(0.05, "share of the steps over which the rate rises", span=(0.0, 1.0))
    schedule: str = option(
        "cosine", "the rate after the warm-up", choices=("cosine", "linear", "polynomial", "constant")
    )
    decay: float = option(0.01, "weight decay", span=(0.0, 1.0))
    clip: float = option(1.0, "largest norm of the gradient", span=(1e-3, 1e3, "log"))
    average: float = option(0.999, "decay of the moving average of the weights; 0 is none", span=(0.0, 0.99999))
    precision: str = option("auto", "arithmetic: bf16 where the hardware gains by it", choices=("auto", "fp32", "bf16"))
    checkpointing: bool = option(False, "recompute the UNet's activations: a third more time, far less memory")
    compile: bool = option(False, "compile the UNet's blocks first, which pays in long runs on a GPU")
    seed: int = option(0, "of the order, the noise, the drop-outs")
    readers: int = option(1, "threads that read batches ahead", span=(1, 64))
    checkpoint_every: int = option(250, "steps between two checkpoints", span=(1, 1_000_000))
    keep: int = option(2, "checkpoints to keep", span=(1, 1000))
    validate: int = option(64, "unseen pictures of each validation, the selector's; 0 is none", span=(0, 100_000))
    validate_every: int = option(250, "steps between two validations", span=(1, 1_000_000))
    patience: int = option(0, "validations without a better one after which it stops; 0 never", span=(0, 1000))
    pictures_every: int = option(0, "steps between two sheets of pictures; 0 is none", span=(0, 1_000_000))
    tracker: str = option("", "where curves go: tensorboard, wandb, or another that Accelerate knows")


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


class TrainingState:
    """All that changes while training: the learner, the optimizers' memory, the averages, the number of steps done.

    about: whose run it is, which a checkpoint remembers. micro: samples at a time. best: the weights of the best
    validation, if that is what is kept in the end. stopping: whether somebody asked to stop. began: when the run would
    have begun, in seconds of a clock, had it never been interrupted.
    """

    def __init__(self, learner: Learner, config: Config, about: Mapping[str, Any] | None = None) -> None:
        self.step, self.micro, self.stopping, self.about = 0, config.micro, False, dict(about or {})
        self.accelerator = make_accelerator(config.precision, learner.models)
        if config.batch < self.accelerator.num_processes:
            raise UsageError(
                f"batch={config.batch} is less than a sample for each process: give {self.num_processes} or more"
            )
        self.learner = learner.to(self.accelerator.device).train()
        for parameter in learner.trainable.values():
            parameter.data = parameter.data.float()
            if self.num_processes > 1:
                broadcast(parameter.data)
        self.optimizers = make_optimizers(learner, config.lr, config.decay, config.muon, config.optimizer)
        self.average = {n: p.detach().clone() for n, p in learner.trainable.items()} if config.average else {}
        self.best: dict[str, Tensor] = {}
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
        """Add a checkpoint to `folder`, unless this step's is there."""
        moments, numbers = collect_state(self.optimizers, self.learner.trainable)
        parts = {"weights": self.learner.state_dict(), "average": self.average, "moments": moments}
        parts |= {"best": self.best} if self.best else {}
        facts = {"about": self.about, "processes": self.num_processes, "seconds": self.seconds, "numbers": numbers}
        checkpoints.save_checkpoint(folder, self.step, parts, config.keep, **facts, config=configs.to_dict(config))

    def restore(self, target: Path, tell: Callable[[str], None] = print) -> None:
        """Go on from a checkpoint, exactly. Raises Usage where it is another learner's, or on another base."""
        about, parts = checkpoints.read_checkpoint(target)
        mine, weights = self.learner.state_dict(), parts["weights"]
        for word, value in self.about.items():
            if (there := about["about"].get(word)) != value:
                raise UsageError(
                    f"{target} is of another {word}, {there} and not {value}: call as before, or with a new --out"
                )
        if odd := [name for name in {**mine, **weights} if _shape_of(mine, name) != _shape_of(weights, name)]:
            raise UsageError(f"{target} is another learner's ({odd[0]} differs): call as before, or with a new --out")
        if about["processes"] != self.num_processes:
            tell(f"{self.num_processes} processes go on with what {about['processes']} began: the global batch stays")
        self.step = about["step"]
        self.began -= about.get("seconds", 0.0)
        self.learner.load_state_dict(weights)
        self.average = {name: value.to(self.accelerator.device) for name, value in parts["average"].items()}
        self.best = parts.get("best", {})
        restore_state(self.optimizers, self.learner.trainable, parts["moments"], about["numbers"])

    @contextmanager
    def averaged_weights(self) -> Iterator[Learner]:
        """The learner as it would be kept if training ended now, inside and no longer."""
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
        """The learner as it is kept: with the weights of the best validation, else with the average."""
        for name, value in (self.best or self.average).items():
            self.learner.trainable[name].copy_(value)
        return self.learner.eval()


def _shape_of(state: Mapping[str, Tensor], name: str) -> torch.Size | None:
    return state[name].shape if name in state else None


def train_steps(
    state: TrainingState,
    data: Data,
    config: Config,
    *,
    tell: Callable[[str], None] = print,
    asked: Callable[[], bool] = lambda: False,
) -> Iterator[Step]:
    """Train from `state.step` to `config.steps`, a step at a time.

    asked: whether this process shall stop; if one shall, all learn of it in `state.stopping`, after the same step.
    Raises Diverged when loss or gradient stay non-finite for over three steps running; such a step changes neither the
    weights nor their average.
    """
    slots = run_dir.shard(range(config.batch), state.accelerator.process_index, state.num_processes)
    todo, reads, where = range(state.step, config.steps), state.learner.columns, state.accelerator.device
    coming = prefetch_batches(
        data, reads, todo, config.batch, config.seed, slots=slots, device=where, readers=config.readers
    )
    under_way: deque[Step] = deque()
    began = time.perf_counter()
    for batch in coming:
        loss = _compute_gradient(state, batch, config, tell)
        told = torch.stack([loss, torch.full_like(loss, float(asked()))])
        loss, stopping = _sum_over_processes(state, told).unbind()
        norm = clip_grad_norm_(state.learner.trainable.values(), config.clip)
        finite = norm.isfinite() & loss.isfinite()
        lr = config.lr * schedule_rate(config.schedule, state.step, config.steps, config.warmup)
        for optimizer in state.optimizers:
            apply_step(optimizer, lr, finite)
            optimizer.zero_grad()
        state.bad = torch.where(finite, 0.0, state.bad + 1)
        state.step += 1
        _update_average(state, config, finite)
        figures = AsyncScalars(torch.stack([loss, norm, stopping, state.bad]))
        step = Step(state.step, lr, time.perf_counter() - began, figures)
        under_way.append(step)
        if len(under_way) > (LATE if where.type == "cuda" else 0):
            _check_step(under_way.popleft(), state, data, config)
        yield step
        began = time.perf_counter()
    for step in under_way:
        _check_step(step, state, data, config)


def _check_step(step: Step, state: TrainingState, data: Data, config: Config) -> None:
    """Read what a step came to: who wants to stop, and whether it goes wrong."""
    _, _, stopping, bad = step.figures.wait()
    state.stopping |= stopping > 0
    if bad > BAD:
        rows = batches.batch_indices(config.seed, step.number - 1, config.batch, batches.group_by_shape(data))[:8]
        raise TrainingDiverged(f"loss or gradient not finite at step {step.number}, samples {rows}: try a smaller lr")


def _compute_gradient(state: TrainingState, batch: Batch, config: Config, tell: Callable[[str], None]) -> Tensor:
    """Put the gradient of the global batch's mean loss in place; returns this process's part of that mean [].

    Out of memory, it takes half as many samples at a time, from now on.
    """
    size = state.micro or len(batch)
    while True:
        try:
            loss = _accumulate(state, batch, size, config.batch)
            break
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            if size == 1 or not state.learner.separable:
                raise EmosceneError(
                    f"out of memory with {size} samples at a time: checkpointing=yes, precision=bf16, a smaller batch "
                    "or a smaller learner takes less"
                ) from error
        size = state.micro = -(-size // 2)
        state.learner.zero_grad()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        tell(f"out of memory: {size} samples at a time from now on; the batch of {config.batch} stays")
    if state.num_processes > 1:
        held = list(state.learner.trainable.values())
        gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in held]
        sizes = [p.numel() for p in held]
        for p, part in zip(
            held, _sum_over_processes(state, torch.cat([g.flatten() for g in gradients])).split(sizes), strict=True
        ):
            p.grad = part.view_as(p)
    return loss


def _accumulate(state: TrainingState, batch: Batch, size: int, whole: int) -> Tensor:
    """The batch's part of the mean loss over `whole` samples, `size` at a time; its gradient is added up."""
    total = torch.zeros((), device=state.accelerator.device)
    for first in range(0, len(batch), size):
        with state.learner.attach(), attention_kernel(state.accelerator.device):
            with state.accelerator.autocast():
                losses = state.learner(batch.select(slice(first, first + size)))
            loss = losses.float().sum() / whole
            loss.backward()
        total += loss.detach()
    return total


def _sum_over_processes(state: TrainingState, values: Tensor) -> Tensor:
    """The sum over all processes."""
    summed: Tensor = state.accelerator.reduce(values, "sum") if state.num_processes > 1 else values
    return summed


@torch.no_grad()
def _update_average(state: TrainingState, config: Config, finite: Tensor) -> None:
    """Bring the average nearer to the weights, unless the step was not finite; nobody waits to learn whether it was."""
    if state.average:
        decay = min(config.average, (1 + state.step) / (10 + state.step))
        names = list(state.average)
        now = state.learner.trainable
        # A CPU answers at once, and is quicker with a number; a GPU is not asked.
        nearer = [finite * (1 - decay)] * len(names) if finite.is_cuda else bool(finite) * (1 - decay)
        torch._foreach_lerp_([state.average[n] for n in names], [now[n].data for n in names], nearer)


def run_training(
    learner: Learner,
    data: Data,
    config: Config,
    folder: Path,
    *,
    resume: bool = False,
    tell: Callable[[str], None] = print,
    on_step: Callable[[Step], None] | None = None,
    on_step_end: Callable[[TrainingState], bool | None] | None = None,
    about: Mapping[str, Any] | None = None,
) -> Learner:
    """Train with checkpoints in `folder` (`resume`: go on from the newest); returns the averaged learner.

    watch: sees every step. look: sees the state before the first step and after each, and may say that it is enough;
    it is called on every process, and what it raises ends the run where it stands. about: whose run it is. Raises
    Failure, the work saved, when interrupted.
    """
    state = TrainingState(learner, config, about)
    main = state.accelerator.is_main_process
    if main:
        checkpoints.remove_partial(folder)
    if resume:
        state.restore(target := checkpoints.find_newest(folder, tell), tell)
        tell(f"resumed at step {state.step} from {target}")

    def keep() -> None:
        if main:
            state.save(folder, config)

    with defer_interrupts() as asked, progress_bar("training", state.step, config.steps, main) as show:
        enough = bool(on_step_end and on_step_end(state))
        keep()
        for step in () if enough else train_steps(state, data, config, tell=tell, asked=asked):
            show(step.number, lambda step=step: f"loss {step.loss:.4f}")  # type: ignore[misc]
            if on_step:
                on_step(step)
            enough = bool(on_step_end and on_step_end(state))
            if step.number % config.checkpoint_every == 0 or step.number == config.steps or enough or state.stopping:
                keep()
            if enough:
                break
            if state.stopping and step.number < config.steps:
                raise EmosceneError(
                    f"stopped at step {step.number}, saved in {folder}: the same call with --resume goes on"
                )
    return state.final_learner()

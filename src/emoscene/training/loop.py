"""One loop for all that learns.

    state = TrainingState(learner, config)    learner, optimizer, average, step
    for step in train_steps(state, data, config):   one optimizer step each; logging and stopping stay with the caller
        ...

`run_training` drains it with checkpoints; the verb is in `train`. A step's samples, noise and drop-outs are pure
functions of (seed, step, slot): nothing else needs saving for a resumed run to be the same run.

The loss of a step is the mean over the global batch. Processes share a step's batch and add their gradients up once,
after the backward pass. So how many processes there are, and how many samples each takes at a time, is no part of what
is computed. Nothing in the loop waits for a GPU: what a step came to is read when somebody asks, or a few steps late.

Why not DistributedDataParallel, by `Accelerator.prepare`, which adds up while the backward pass goes on: a process that
runs out of memory in the middle of one tries again with half as many samples, and others do not. Of DDP's gradients
some are on their way by then: measured with two processes, the second try ends in "Expected to have finished reduction
in the prior iteration", and the other process in a lost connection. What overlap could save is small: of 689 ms a step
(LoRA on the miniature, 1.2 million numbers, two processes of one thread each, gloo) adding up took 12, and DDP's step
took 687; the gradients were equal to the bit. Between GPUs it was not measured.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils import clip_grad_norm_

from emoscene.core import processes
from emoscene.core.callbacks import Callbacks
from emoscene.core.errors import EmosceneError, TrainingDiverged, TrainingStopped
from emoscene.core.interrupts import allow_interrupt, defer_interrupts
from emoscene.core.plain_text import format_count
from emoscene.core.progress import progress_bar
from emoscene.data import batches
from emoscene.data.batches import Data
from emoscene.diffusion.device import is_out_of_memory
from emoscene.diffusion.device_choice import PINNED, empty_cache
from emoscene.learning import checkpoints
from emoscene.learning.learner import Batch, Learner
from emoscene.learning.optimizers import apply_step, schedule_rate
from emoscene.learning.precision import AsyncScalars, training_kernels
from emoscene.training.dataloader import prefetch_batches
from emoscene.training.state import Config, Step, TrainingState

BAD = 3  # steps running that may fail to be finite
LATE = 2  # steps that a GPU may be behind
SILENT = Callbacks()


def train_steps(
    state: TrainingState,
    data: Data,
    config: Config,
    *,
    on_message: Callable[[str], None] = print,
    asked: Callable[[], bool] = lambda: False,
) -> Iterator[Step]:
    """Train from `state.step` to `config.steps`, a step at a time.

    The gradient is clipped to norm `max_grad_norm` (Pascanu et al. 2013). A step whose loss or gradient is not finite
    changes neither the weights nor their average.

    Args:
        state: The run, which each step changes.
        data: What it learns from.
        config: How.
        on_message: Receives a sentence where memory runs out and fewer samples are taken at a time.
        asked: Whether this process shall stop; if one shall, all learn of it in `state.stopping`, after the same step.

    Yields:
        Each step once it is done; its figures may still be on their way from the device.

    Raises:
        TrainingDiverged: Loss or gradient were not finite for over three steps running.
        EmosceneError: Memory runs out with a single sample.
    """
    slots = processes.shard(range(config.batch_size), state.accelerator.process_index, state.num_processes)
    todo, reads, where = range(state.step, config.steps), state.learner.columns, state.accelerator.device
    coming = prefetch_batches(
        data,
        reads,
        todo,
        config.batch_size,
        config.seed,
        slots=slots,
        device=where,
        num_workers=config.num_workers,
        draw_ahead=state.learner.draw_ahead,
    )
    under_way: deque[Step] = deque()
    late = LATE if where.type in PINNED else 0
    began = time.perf_counter()
    for batch in coming:
        loss = _compute_gradient(state, batch, config, on_message)
        own = torch.stack([loss, torch.full_like(loss, float(asked()))])
        loss, stopping = _sum_over_processes(state, own).unbind()
        _unscale_gradients(state)
        norm = clip_grad_norm_(state.learner.trainable.values(), config.max_grad_norm)
        finite = norm.isfinite() & loss.isfinite()
        lr = config.lr * schedule_rate(config.schedule, state.step, config.steps, config.warmup)
        for optimizer, scheduler in zip(state.optimizers, state.schedulers, strict=True):
            apply_step(optimizer, finite)
            optimizer.zero_grad()
            scheduler.step()
        state.bad = torch.where(finite, 0.0, state.bad + _is_bad(state, loss))
        state.step += 1
        _update_average(state, config, finite)
        figures = AsyncScalars(torch.stack([loss, norm, stopping, state.bad]))
        step = Step(state.step, lr, time.perf_counter() - began, figures)
        under_way.append(step)
        if len(under_way) > late:
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
        groups = batches.group_by_shape(data)
        rows = batches.batch_indices(config.seed, step.number - 1, config.batch_size, groups)[:8]
        raise TrainingDiverged(f"loss or gradient not finite at step {step.number}, samples {rows}: try a smaller lr")


def _compute_gradient(state: TrainingState, batch: Batch, config: Config, on_message: Callable[[str], None]) -> Tensor:
    """Put the gradient of the global batch's mean loss in place; returns this process's part of that mean [].

    Out of memory, it takes half as many samples at a time, from now on.
    """
    size = state.micro or len(batch)
    while True:
        try:
            loss = _accumulate(state, batch, size, config.batch_size)
            break
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            if size == 1 or not state.learner.separable:
                raise EmosceneError(
                    f"out of memory with {format_count(size, 'sample')} at a time: checkpointing=yes, precision=bf16, "
                    "a smaller "
                    "batch_size or a smaller learner takes less"
                ) from error
        size = state.micro = -(-size // 2)
        state.learner.zero_grad()
        empty_cache(state.accelerator.device)
        samples = format_count(size, "sample")
        on_message(f"out of memory: {samples} at a time from now on; the batch of {config.batch_size} stays")
    if state.num_processes > 1:
        _add_up_gradients(state)
    return loss


def _add_up_gradients(state: TrainingState) -> None:
    """Give each parameter the sum of all processes' gradients, sent as one vector."""
    parameters = list(state.learner.trainable.values())
    flat, sizes = [], []
    for p in parameters:
        gradient = torch.zeros_like(p) if p.grad is None else p.grad
        flat.append(gradient.flatten())
        sizes.append(p.numel())
    parts = _sum_over_processes(state, torch.cat(flat)).split(sizes)
    for p, part in zip(parameters, parts, strict=True):
        p.grad = part.view_as(p)


def _accumulate(state: TrainingState, batch: Batch, size: int, whole: int) -> Tensor:
    """The batch's part of the mean loss over `whole` samples, `size` at a time; its gradient is added up."""
    total = torch.zeros((), device=state.accelerator.device)
    for first in range(0, len(batch), size):
        with state.learner.attach(), training_kernels(state.accelerator.device):
            with state.accelerator.autocast():
                losses = state.learner(batch.select(slice(first, first + size)))
            loss = losses.float().sum() / whole
            scaled = loss
            if state.scaler is not None:
                scaled = state.scaler.scale(loss)
            scaled.backward()
        total += loss.detach()
    return total


def _unscale_gradients(state: TrainingState) -> None:
    """Take the loss's scale out of the gradients, and choose the next step's (Micikevicius et al. 2018).

    What is not finite halves it, 2,000 finite steps double it. The optimizers learn of it by `apply_step`, not from the
    scaler, whose `step` would wait for the answer where an optimizer is not fused.
    """
    if state.scaler is not None:
        for optimizer in state.optimizers:
            state.scaler.unscale_(optimizer)
        state.scaler.update()


def _is_bad(state: TrainingState, loss: Tensor) -> Tensor:
    """Whether a step that was not finite tells of trouble []: not where the gradient overflowed by its scale alone."""
    if state.scaler is None:
        return torch.ones_like(loss)
    next_scale = state.scaler.scale(torch.ones_like(loss))
    return (~loss.isfinite() | (next_scale < 1)).float()


def _sum_over_processes(state: TrainingState, values: Tensor) -> Tensor:
    """The sum over all processes."""
    if state.num_processes == 1:
        return values
    summed: Tensor = state.accelerator.reduce(values, "sum")
    return summed


@torch.no_grad()
def _update_average(state: TrainingState, config: Config, finite: Tensor) -> None:
    """Bring the average nearer to the weights, unless the step was not finite; nobody waits to learn whether it was.

    The decay warms up, (1 + n) / (10 + n) at step n, until it is `ema_decay`, so that the first weights are soon
    forgotten (TensorFlow's `ExponentialMovingAverage` has it as `num_updates`). The update is then to the bit that of
    `torch.optim.swa_utils.get_ema_multi_avg_fn` (tests/test_optimizers.py). Torch's own is not used, for three reasons
    that the same tests show: its decay is one number, which it reads on the host, so a step that was not finite could
    only be passed over by waiting for the device; its first update copies the weights instead of averaging; and
    `AveragedModel` copies a learner with the frozen base that it stands on.
    """
    if state.average:
        decay = min(config.ema_decay, (1 + state.step) / (10 + state.step))
        names = list(state.average)
        now = state.learner.trainable
        # A CPU answers at once, and is quicker with a number; a GPU is not asked.
        nearer = [finite * (1 - decay)] * len(names) if finite.device.type != "cpu" else bool(finite) * (1 - decay)
        torch._foreach_lerp_([state.average[n] for n in names], [now[n].data for n in names], nearer)


def run_training(
    learner: Learner,
    data: Data,
    config: Config,
    folder: Path,
    *,
    resume: bool = False,
    callbacks: Callbacks = SILENT,
    about: Mapping[str, Any] | None = None,
    device: torch.device | None = None,
) -> Learner:
    """Train with checkpoints.

    Args:
        learner: What trains.
        data: What it learns from.
        config: How.
        folder: Where the checkpoints are.
        resume: Go on from the newest valid checkpoint, bit for bit on a CPU.
        callbacks: Hear of messages and steps; `on_step_end` is called before the first step too, on every process, may
            end the run by saying True, and what it raises ends it where it stands.
        about: Whose run it is, which going on demands again.
        device: Where it computes; the best there is if left out.

    Returns:
        The learner, with the weights of the best validation or the average.

    Raises:
        UsageError: There is nothing to go on from, or it is another run's.
        EmosceneError: Interrupted, the work saved; or the disk is full.
        TrainingDiverged: As `train_steps` does.
    """
    state = TrainingState(learner, config, about, device)
    main = state.accelerator.is_main_process
    if main:
        checkpoints.remove_partial(folder)
    if resume:
        target = checkpoints.find_newest(folder, callbacks.on_message)
        state.restore(target, callbacks.on_message)
        callbacks.on_message(f"resumed at step {state.step} from {target}")

    def save() -> None:
        if main:
            state.save(folder, config)

    def stop() -> TrainingStopped:
        return TrainingStopped(f"stopped at step {state.step}, saved in {folder}: the same call with --resume goes on")

    def observe() -> bool:
        """What is looked at after a step may be interrupted: going on looks again. Of several processes one looks."""
        if state.num_processes > 1:
            return bool(callbacks.on_step_end(state))
        try:
            with allow_interrupt(asked):
                return bool(callbacks.on_step_end(state))
        except KeyboardInterrupt as error:
            if not asked():
                raise
            save()
            raise stop() from error

    with defer_interrupts() as asked, progress_bar("training", state.step, config.steps, main) as show:
        enough = observe()
        save()
        if enough:
            return state.final_learner()
        for step in train_steps(state, data, config, on_message=callbacks.on_message, asked=asked):
            show(step.number, step.describe)
            callbacks.on_step(step)
            enough = observe()
            if step.number % config.checkpoint_every == 0 or step.number == config.steps or enough or state.stopping:
                save()
            if enough:
                break
            if state.stopping and step.number < config.steps:
                raise stop()
    return state.final_learner()

"""One loop for all that learns.

    state = State(learner, config)            learner, optimizer, average, step
    for step in steps(state, data, config):   one optimizer step each; drawing, logging, stopping stay with the caller
        ...

`run` drains it with checkpoints, `train` is the verb around that. A step's samples, noise and drop-outs are pure
functions of (seed, step, slot): nothing else needs saving for a resumed run to be the same run.
"""

from __future__ import annotations

import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol

import torch
from accelerate import Accelerator, PartialState
from accelerate.state import AcceleratorState
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from emoscene import checkpoints, plugins, seeds, stage
from emoscene import config as configs
from emoscene import learner as learners
from emoscene.backbone import Backbone
from emoscene.config import option
from emoscene.data.dataset import Prepared
from emoscene.errors import Diverged, Failure, Usage, unknown
from emoscene.learner import Batch, Learner
from emoscene.optimizers import memory, optimizers, pace


@dataclass(frozen=True)
class Config:
    """How to train, whatever it is."""

    steps: int = option(1000, "optimizer steps", span=(1, 10_000_000))
    batch: int = option(32, "samples of one optimizer step, over all processes", span=(1, 65536))
    micro: int = option(0, "samples at a time within a process; 0 is all of them", span=(0, 65536))
    lr: float = option(1e-3, "highest learning rate", span=(1e-6, 1e-1, "log"))
    muon: float = option(0.0, "Muon's rate for inner matrices, in multiples of lr; 0 is none", span=(0.0, 100.0))
    warmup: float = option(0.05, "share of the steps over which the rate rises", span=(0.0, 1.0))
    schedule: str = option("cosine", "the rate after the warm-up", choices=("cosine", "constant"))
    decay: float = option(0.01, "weight decay (AdamW)", span=(0.0, 1.0))
    clip: float = option(1.0, "largest norm of the gradient", span=(1e-3, 1e3, "log"))
    average: float = option(0.999, "decay of the moving average of the weights; 0 is none", span=(0.0, 0.99999))
    precision: str = option("auto", "arithmetic: bf16 where the hardware has it", choices=("auto", "fp32", "bf16"))
    seed: int = option(0, "of the order, the noise, the drop-outs")
    checkpoint_every: int = option(250, "steps between two checkpoints", span=(1, 1_000_000))
    keep: int = option(2, "checkpoints to keep", span=(1, 1000))


class Data(Protocol):
    """What training reads from: some rows' columns, as tensors [B, ...] or lists."""

    def __len__(self) -> int: ...

    def rows(self, indices: Sequence[int], columns: Sequence[str]) -> dict[str, Any]:
        """The named columns of these rows."""


@dataclass(frozen=True)
class Step:
    """What one step came to: mean loss, norm of the gradient before clipping, learning rate, seconds."""

    number: int
    loss: float
    norm: float
    lr: float
    seconds: float


def precision(choice: str, device: torch.device | str = "cpu") -> str:
    """The arithmetic that "auto" comes to here: "bf16" where the hardware computes in it, else "fp32"."""
    if choice != "auto":
        return choice
    if torch.device(device).type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported() else "fp32"
    return "bf16" if torch.ops.mkldnn._is_mkldnn_bf16_supported() else "fp32"


@lru_cache(maxsize=2)
def _order(seed: int, epoch: int, size: int) -> Tensor:
    return torch.randperm(size, generator=seeds.generator(seed, "order", epoch))


def indices(seed: int, step: int, batch: int, size: int) -> list[int]:
    """The rows of a step's global batch: epoch after epoch, each in an order of its own."""
    places = range(step * batch, (step + 1) * batch)
    return [int(_order(seed, place // size, size)[place % size]) for place in places]


def rate(config: Config, step: int) -> float:
    """The learning rate's multiple, in (0, 1], at a step: linear warm-up, then a half cosine or a constant."""
    warm = max(1, round(config.warmup * config.steps))
    if step < warm:
        return (step + 1) / warm
    if config.schedule == "constant":
        return 1.0
    done = (step - warm) / max(1, config.steps - warm)
    return 0.01 + 0.99 * 0.5 * (1 + float(torch.cos(torch.tensor(torch.pi * done))))


class State:
    """All that changes while training: the learner, the optimizers' moments, the average, the number of steps done."""

    def __init__(self, learner: Learner, config: Config) -> None:
        self.step = 0
        kind = "no" if precision(config.precision) == "fp32" else "bf16"
        AcceleratorState._reset_state()  # else the precision of a process's first run is that of all
        self.accelerator = Accelerator(mixed_precision=kind, cpu=not torch.cuda.is_available())
        self.learner = learner.to(self.accelerator.device).train()
        for parameter in learner.trainable.values():
            parameter.data = parameter.data.float()
        self.model, *self.optimizers = self.accelerator.prepare(
            learner, *optimizers(learner, config.lr, config.decay, config.muon)
        )
        self.average = {n: p.detach().clone() for n, p in learner.trainable.items()} if config.average else {}

    @property
    def _moments(self) -> dict[str, Tensor]:
        found = ((name, memory(self.optimizers, p)) for name, p in self.learner.trainable.items())
        return {f"{kind}.{name}": value for name, values in found for kind, value in values.items()}

    def save(self, folder: Path, config: Config) -> None:
        """Add a checkpoint to `folder`, unless this step's is there."""
        parts = {"weights": self.learner.state_dict(), "average": self.average, "moments": self._moments}
        checkpoints.save(folder, self.step, parts, config.keep, config=configs.asdict(config))

    def restore(self, target: Path) -> None:
        """Go on from a checkpoint, exactly."""
        self.step, parts = checkpoints.read(target)
        self.learner.load_state_dict(parts["weights"])
        self.average = {name: value.to(self.accelerator.device) for name, value in parts["average"].items()}
        for name, value in parts["moments"].items():
            kind, _, parameter = name.partition(".")
            p = self.learner.trainable[parameter]
            memory(self.optimizers, p)[kind] = value if kind == "step" else value.to(p.device)

    @torch.no_grad()
    def averaged(self) -> Learner:
        """The learner with the average in place of its weights: what is kept of a finished run."""
        for name, parameter in self.learner.trainable.items():
            if name in self.average:
                parameter.copy_(self.average[name])
        return self.learner.eval()


def steps(state: State, data: Data, config: Config) -> Iterator[Step]:
    """Train from `state.step` to `config.steps`, a step at a time.

    Raises Diverged when loss or gradient stay non-finite for over three steps running; such a step changes nothing.
    """
    accelerator, learner, bad = state.accelerator, state.learner, 0
    slots = stage.share(range(config.batch), accelerator.process_index, accelerator.num_processes)
    while state.step < config.steps:
        began = time.perf_counter()
        rows = indices(config.seed, state.step, config.batch, len(data))
        mine = [rows[slot] for slot in slots]
        columns = {
            name: value.to(accelerator.device) if isinstance(value, Tensor) else value
            for name, value in data.rows(mine, learner.reads).items()
        }
        loss = _backward(state, Batch(columns, config.seed, state.step, slots, accelerator.device), config)
        norm = float(accelerator.clip_grad_norm_(state.model.parameters(), config.clip))
        factor = config.lr * rate(config, state.step)
        if finite := norm < float("inf"):
            for optimizer in state.optimizers:
                pace(optimizer, factor)
                optimizer.step()
        bad = 0 if finite else bad + 1
        if bad > 3:
            raise Diverged(f"loss or gradient not finite at step {state.step}, samples {mine[:8]}: try a smaller lr")
        for optimizer in state.optimizers:
            optimizer.zero_grad()
        state.step += 1
        _update(state, config)
        yield Step(state.step, loss, norm, factor, time.perf_counter() - began)


def _backward(state: State, batch: Batch, config: Config) -> float:
    """Accumulate the gradient of the batch's mean loss, `micro` samples at a time; returns that mean."""
    size = config.micro or len(batch)
    total = 0.0
    for first in range(0, len(batch), size):
        part = batch.rows(slice(first, first + size))
        with state.learner.attached(), _attention(batch.device):
            loss = state.model(part).sum() / len(batch)
            state.accelerator.backward(loss)
        total += float(loss.detach())
    return total


def _attention(device: torch.device | str) -> AbstractContextManager[Any]:
    """On a CPU, attention's plain formula: the fused kernel's backward is slower for the sizes that fit there."""
    return sdpa_kernel(SDPBackend.MATH) if torch.device(device).type == "cpu" else nullcontext()


@torch.no_grad()
def _update(state: State, config: Config) -> None:
    if state.average:
        decay = min(config.average, (1 + state.step) / (10 + state.step))
        names = list(state.average)
        now = state.learner.trainable
        torch._foreach_lerp_([state.average[n] for n in names], [now[n].data for n in names], 1 - decay)


@contextmanager
def _deferred() -> Iterator[Callable[[], bool]]:
    """Ctrl-C and SIGTERM ask to stop after the step in hand; a second one leaves at once."""
    asked: list[int] = []

    def ask(number: int, frame: Any) -> None:
        if asked:
            raise KeyboardInterrupt
        asked.append(number)

    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: bool(asked)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def run(
    learner: Learner,
    data: Data,
    config: Config,
    folder: Path,
    *,
    again: bool = False,
    tell: Callable[[str], None] = print,
    watch: Callable[[Step], None] | None = None,
    look: Callable[[State], None] | None = None,
) -> Learner:
    """Train with checkpoints in `folder` (`again`: go on from the newest); returns the averaged learner.

    watch, look: called after each step. Raises Failure, the work saved, when interrupted.
    """
    state = State(learner, config)
    if again:
        state.restore(target := checkpoints.newest(folder, tell))
        tell(f"resumed at step {state.step} from {target}")
    main = state.accelerator.is_main_process

    def keep() -> None:
        if main:
            state.save(folder, config)

    keep()
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with _deferred() as asked, Progress(*columns, disable=not main, console=Console(stderr=True)) as bar:
        task = bar.add_task("training", total=config.steps, completed=state.step)
        for step in steps(state, data, config):
            bar.update(task, completed=step.number, description=f"loss {step.loss:.4f}")
            if watch:
                watch(step)
            if step.number % config.checkpoint_every == 0 or step.number == config.steps or asked():
                keep()
            if look:
                look(state)
            if asked() and step.number < config.steps:
                raise Failure(f"stopped at step {step.number}, saved in {folder}: the same call with --resume goes on")
    return state.averaged()


def train(
    name: str,
    *,
    data: str | Path,
    out: str | Path,
    base: str = "mini",
    resume: bool = False,
    tell: Callable[[str], None] = print,
    look: Callable[[State], None] | None = None,
    **settings: Any,
) -> Path:
    """Train the learner `name` on a prepared folder; returns the artifact's folder.

    look: called with the run's state after each step. settings: fields of `Config` here or of the learner's own.
    Raises Usage for words that are off, Failure when interrupted (the work is saved).
    """
    cls = learner_of(name)
    mine = configs.fields(cls.Config)
    asked = configs.read([*configs.fields(Config), *mine], {**recipe(name), **settings})
    own = {option.name for option in mine}
    config = configs.replace(Config(), {k: v for k, v in asked.items() if k not in own})
    learning = configs.replace(cls.Config(), {k: v for k, v in asked.items() if k in own})
    prepared, backbone, out = Prepared(data, role=cls.role), Backbone.load(base), Path(out)
    if "latent" in cls.reads and prepared.encoder != backbone.encoder:
        raise Usage(f"{data} holds latents of another autoencoder than --base {base}'s: prepare it with that base")
    resolved = {"learner": name, "base": base, "training": configs.asdict(config), "own": configs.asdict(learning)}
    opened = stage.Stage.open(out, "artifact", resolved, parents=[Path(data)], seed=config.seed)
    if opened.done:
        return out
    saved = out / "checkpoints"
    if checkpoints.found(saved) and not resume:
        raise Usage(f"{out} holds an unfinished run: give --resume to go on, or another --out")
    if resume and not checkpoints.found(saved):
        raise Usage(f"nothing to resume in {out}: leave out --resume to start")
    tell(f"{name}: {config.steps} steps of {config.batch}, {precision(config.precision)}, {len(prepared)} pictures")
    torch.manual_seed(seeds.number(config.seed, "start") % 2**31)
    began = time.time()
    learner = run(cls.start(learning, backbone, prepared), prepared, config, saved, again=resume, tell=tell, look=look)
    cost = {
        "trainable": sum(p.numel() for p in learner.trainable.values()),
        "pictures": config.steps * config.batch,
        "seconds": round(time.time() - began, 1),
    }
    if PartialState().is_main_process:
        unseen = "selector" in prepared.table.unique("role")
        proof = learner.proof(Prepared(data, role="selector")) if unseen else {}
        learners.save(learner, name, out, backbone, data=prepared.fingerprint, **({"proof": proof} if proof else {}))
        shutil.rmtree(saved)
        opened.finish(cost=cost)
    return out


def learner_of(name: str) -> type[Learner]:
    """The method or encoder of this name. Raises Usage where nobody knows it, or it has nothing to learn."""
    found: dict[str, type[Learner]] = {}
    for kind in ("methods", "encoders"):
        found |= {known: plugins.find(kind, known) for known in plugins.names(kind)}
    learning = {known: cls for known, cls in found.items() if cls.reads}
    if name in found and name not in learning:
        raise Usage(f"{name} has nothing to learn: generate uses it as it is")
    if name not in learning:
        raise unknown("learner", name, learning, hint="emoscene ls methods, emoscene ls encoders")
    return learning[name]


def recipe(name: str) -> dict[str, Any]:
    """The settings that suit a learner on the miniature, from `recipes/NAME.toml`; none where there is no such file."""
    return plugins.table("recipes", name) if name in plugins.names("recipes") else {}

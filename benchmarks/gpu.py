"""The acceptance on a real GPU, in under ten minutes: `make gpu`, or `python -m benchmarks.gpu`.

Stable Diffusion 1.5's shape with random weights (5 GB of disk; nothing is downloaded). A row for each method, sampling
and training, at batch 1 and 8:

    a second     images of 20 steps with classifier-free guidance, or samples trained (`precision=auto`)
    peak GiB     of the device's memory
    of peak      share of the FLOP/s that a product of large matrices reaches on the same device, in the same precision
    waits        of the host for the device in one step, as CUDA reports them
    from CPU     largest difference of the latents after two steps in float32 (of a training step, of its loss), by the
                 size of the CPU's own

A row that fails is printed as failed and the others go on; the status is 1 where one failed, or lies further from the
CPU than `FAR`. `--tiny --device cpu` walks every row on the miniature in a minute, which says nothing about a GPU.
"""

import argparse
import json
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from benchmarks import turns
from benchmarks.pictures import PROMPT, make_method
from benchmarks.training import operations, reachable_arithmetic
from emoscene.core import registry
from emoscene.diffusion.device import load_model
from emoscene.diffusion.device_choice import DTYPES, choose_device, describe_device
from emoscene.diffusion.model import DiffusionModel
from emoscene.evaluation import true_size
from emoscene.methods.base import Method
from emoscene.pipeline.pipeline import EmotionPipeline
from emoscene.training.loop import train_steps
from emoscene.training.state import Config, TrainingState
from emoscene.training.train import load_training_model

FAR = 1e-2  # of the CPU's own size, in float32
WAITED = "called a synchronizing"  # how CUDA begins its warning
STEPS = 3  # of training, of which the first is warm-up


@dataclass(frozen=True)
class Scale:
    """How large everything is.

    base: what generates. steps: of an image. batches: images, or samples, at once. side: pixels of what is held against
    the CPU. seconds: that a row is measured, or a single turn where that takes longer.
    """

    base: str
    steps: int
    batches: tuple[int, ...]
    side: int
    seconds: float


@dataclass
class Row:
    """What was measured of one kind of work; None where the device does not tell."""

    work: str
    method: str
    batch: int
    per_second: float | None = None
    peak_gib: float | None = None
    share: float | None = None
    waits: int | None = None
    difference: float | None = None
    error: str = ""

    @property
    def met(self) -> bool:
        """Whether it ran, as near to the CPU as float32 allows."""
        return not self.error and (self.difference or 0.0) <= FAR


@contextmanager
def count_waits(device: torch.device) -> Iterator[list[str]]:
    """Each wait of the host for the device, as CUDA warns of it."""
    found: list[str] = []
    if device.type != "cuda":
        yield found
        return
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        torch.cuda.set_sync_debug_mode("warn")
        try:
            yield found
        finally:
            torch.cuda.set_sync_debug_mode("default")
    found += [str(one.message) for one in caught if WAITED in str(one.message)]


@cache
def peak_arithmetic(device: torch.device, dtype: torch.dtype) -> float:
    """FLOP/s that the device reaches in this precision, measured once."""
    return reachable_arithmetic(device, dtype)


def measure(
    run: Callable[[int], object], number: int, row: Row, scale: Scale, device: torch.device, dtype: torch.dtype
) -> None:
    """Put a row's speed, memory and share of the peak in place; run: makes `number` images, or trains on as many."""
    run(0)
    spent: list[float] = []
    while sum(spent) < scale.seconds and len(spent) < 5:
        spent.append(turns.timed(run, len(spent)))
    seconds = sorted(spent)[len(spent) // 2]
    row.per_second = number / seconds
    row.peak_gib = turns.peak(run)
    row.share = operations(run) / seconds / peak_arithmetic(device, dtype)


def measure_sampling(pipe: EmotionPipeline, row: Row, scale: Scale) -> None:
    """One method's images at one batch size."""

    def generate(turn: int) -> None:
        rows = pipe.plan(
            PROMPT, emotion="awe", seed=turn, num_images_per_prompt=row.batch, num_inference_steps=scale.steps
        )
        for _ in pipe.generate(rows, row.batch):
            pass

    device = pipe.base.device
    measure(generate, row.batch, row, scale, device, pipe.base.dtype)
    steps = iter(pipe.denoise(pipe.plan(PROMPT, emotion="awe", num_images_per_prompt=row.batch, num_inference_steps=4)))
    next(steps)
    with count_waits(device) as waits:
        next(steps)
    if device.type == "cuda":
        row.waits = len(waits)


def measure_training(base: DiffusionModel, row: Row, scale: Scale, data: true_size.RandomSamples) -> None:
    """One method's steps at one batch size, from new weights."""
    config = Config(steps=10_000, batch_size=row.batch)
    state = TrainingState(make_method(base, row.method), config, device=base.device)
    steps = train_steps(state, data, config, on_message=str)

    def train(turn: int) -> None:
        for _ in range(STEPS):
            next(steps)

    mixed = state.accelerator.mixed_precision
    dtype = {"no": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[mixed]
    measure(train, STEPS * row.batch, row, scale, base.device, dtype)
    with count_waits(base.device) as waits:
        next(steps)
    if base.device.type == "cuda":
        row.waits = len(waits)
    steps.close()


def latents_of(base: DiffusionModel, name: str, side: int) -> torch.Tensor:
    """One image's latents after two steps of a method, on the CPU."""
    pipe = EmotionPipeline(base, {name: make_method(base, name).requires_grad_(False).eval()})
    *_, found = pipe.denoise(pipe.plan(PROMPT, emotion="awe", num_inference_steps=2, width=side, height=side))
    return found.float().cpu()


def first_loss_of(base: DiffusionModel, name: str, side: int) -> torch.Tensor:
    """The loss of a method's first training step, of one sample."""
    config = Config(steps=1, batch_size=1, precision="fp32")
    state = TrainingState(make_method(base, name), config, device=base.device)
    data = true_size.RandomSamples(side // base.vae_scale_factor)
    [step] = train_steps(state, data, config, on_message=str)
    return torch.tensor([step.loss])


def attempt(row: Row, work: Callable[[], object]) -> None:
    """Do it; what goes wrong is the row's error, whatever it is, and the other rows go on."""
    try:
        work()
    except Exception as error:
        row.error = f"{type(error).__name__}: {error}".splitlines()[0][:200]


def compare(rows: Sequence[Row], scale: Scale, device: torch.device) -> None:
    """Hold each method against the CPU, in float32; the difference stands in all of its rows."""
    bases = [load_model(scale.base, place, "float32") for place in (str(device), "cpu")]
    ways = {"sampling": latents_of, "training": first_loss_of}
    for key in dict.fromkeys((row.work, row.method) for row in rows):
        alike = [row for row in rows if (row.work, row.method) == key]

        def hold(key: tuple[str, str] = key, alike: Sequence[Row] = alike) -> None:
            found, right = (ways[key[0]](base, key[1], scale.side) for base in bases)
            for row in alike:
                row.difference = float((found - right).abs().max() / right.abs().max())

        attempt(alike[0], hold)


def run_all(scale: Scale, device: torch.device, on_row: Callable[[Row], None] = print) -> list[Row]:
    """Measure every row, then hold each method against the CPU."""
    names, rows = registry.list_names("methods"), []
    base = load_model(scale.base, str(device))
    for name in names:
        pipe = EmotionPipeline(base, {name: make_method(base, name).requires_grad_(False).eval()})
        for batch in scale.batches:
            rows.append(Row("sampling", name, batch))
            attempt(rows[-1], lambda pipe=pipe, row=rows[-1]: measure_sampling(pipe, row, scale))
            on_row(rows[-1])
    del base, pipe
    for name in names:
        cls: type[Method] = registry.load_plugin("methods", name)
        if not cls.columns:
            continue
        base = load_training_model(scale.base, Config(), cls, device)
        data = true_size.RandomSamples(base.default_size // base.vae_scale_factor)
        for batch in scale.batches:
            rows.append(Row("training", name, batch))
            attempt(rows[-1], lambda base=base, data=data, row=rows[-1]: measure_training(base, row, scale, data))
            on_row(rows[-1])
    compare(rows, scale, device)
    return rows


def format_table(rows: Sequence[Row], title: str) -> Table:
    """The table that is printed."""
    table = Table("", "method", "batch", "a second", "peak GiB", "of peak", "waits", "from CPU", "", title=title)
    for row in rows:
        figures = []
        for value, form in ((row.per_second, ".3g"), (row.peak_gib, ".2f"), (row.share, ".1%"), (row.waits, "d")):
            figures.append("-" if value is None else format(value, form))
        far = "-" if row.difference is None else f"{row.difference:.1e}"
        verdict = "ok" if row.met else f"failed: {row.error or f'further than {FAR}'}"
        table.add_row(row.work, row.method, str(row.batch), *figures, far, verdict)
    return table


def main(line: Sequence[str] | None = None) -> int:
    """Measure, print the table, write the JSON; the status is 1 where a row failed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description=__doc__)
    parser.add_argument("--device", help="the accelerator that is found here, if left out")
    parser.add_argument("--tiny", action="store_true", help="the miniature and few steps: walks every row")
    parser.add_argument("--out", type=Path, default=Path("out/gpu"))
    asked = parser.parse_args(line)
    device = choose_device(asked.device)
    if device.type == "cpu" and not asked.tiny:
        parser.error("no accelerator is found here: give --tiny --device cpu to walk the rows on the miniature")
    began = time.perf_counter()
    if asked.tiny:
        scale = Scale("mini", 2, (1, 2), 64, 0.5)
    else:
        scale = Scale(str(true_size.make_true_size_base(asked.out / "base")), 20, (1, 8), 256, 8.0)
    rows = run_all(scale, device, lambda row: print(row, file=sys.stderr))
    seconds = time.perf_counter() - began
    about: dict[str, Any] = {"device": describe_device(device), "torch": torch.__version__, "seconds": round(seconds)}
    about |= {"scale": asdict(scale), "dtypes": list(DTYPES)}
    asked.out.mkdir(parents=True, exist_ok=True)
    report = json.dumps({**about, "rows": [asdict(row) for row in rows]}, indent=1)
    (asked.out / "gpu.json").write_text(report, encoding="utf8", newline="\n")
    title = f"{about['device']}, torch {torch.__version__}, {seconds:.0f} s; {scale.base}, {scale.steps} steps"
    Console(width=140).print(format_table(rows, title))
    return int(not all(row.met for row in rows))


if __name__ == "__main__":
    sys.exit(main())

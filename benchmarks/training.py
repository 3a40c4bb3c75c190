"""What training pays for besides the UNet's arithmetic: `python -m benchmarks.training steps|loader|feed`.

steps   one model, data, batch and precision; who trains it takes turns, a few steps each, in one process:
          bare              forward, backward, optimizer on one batch that is there: the limit
          engine            emoscene.training.loop, fed from prepared latents
          published         the order of work of diffusers' LoRA example: a picture is opened, cropped to tensors and
                            passed through the VAE and its words through the text encoder, in every step
          published, cached the same loop, fed from the same latents
          lora              the method `lora` as it ships, with learned vectors, which go through the text encoder
          lora, bare        its limit
loader  seconds that a step waits for 118,102 latents on disk, at 300 samples a second
feed    samples a second that readers hand to the training of `guidance`, noise drawn (--readers 2 --batch 256); on a
        machine that others use too, the clock's figure falls, and that of the cores' own seconds stays

The published loop restates what examples/text_to_image/train_text_to_image_lora.py of huggingface/diffusers (commit
000280f5, Apache-2.0) does, in its order: encode, noise, timesteps, words, UNet, loss, gather for the log, backward,
clip, step, schedule, log. A turn's ratio is the result, its median with the quartiles. --true takes Stable Diffusion
1.5's shape with random weights. On CUDA, memory's peak is measured as well, and how many pictures of the base's size
`lora` trains on a second (512 pixels with --true), at what share of the arithmetic that a large matrix product reaches
on the same device; nobody has confirmed those rows yet. Each row says whether its promise is met, and so does the
status.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from accelerate import Accelerator
from diffusers import DDPMScheduler
from diffusers.optimization import get_scheduler
from peft import LoraConfig
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.data import DataLoader, Dataset
from torch.utils.flop_counter import flop_registry

from emoscene.core import registry, run_dir, seeds
from emoscene.data import encoding, finishing, records
from emoscene.data.dataset import PreparedDataset
from emoscene.data.preparation import SHARD, prepare
from emoscene.data.records import Record
from emoscene.diffusion.device import choose_precision
from emoscene.diffusion.device_choice import choose_device as training_device
from emoscene.diffusion.model import DiffusionModel
from emoscene.evaluation import true_size
from emoscene.learning.learner import Batch, Learner
from emoscene.learning.precision import training_kernels
from emoscene.methods.base import denoising_loss
from emoscene.training import loop
from emoscene.training.dataloader import AHEAD, prefetch_batches
from emoscene.training.state import Config, TrainingState

TARGETS = ["to_k", "to_q", "to_v", "to_out.0"]
LIMITS = {  # the ratio's name: the row above, the row below, and what is promised
    "engine / bare": ("engine", "bare", "<= 1.05"),
    "lora / its bare": ("lora", "lora, bare", "<= 1.05"),
    "published / engine": ("published", "engine", ">= 1.5"),
    "published, cached / engine": ("published, cached", "engine", ">= 1.0"),
}


class Plain(Learner):
    """PEFT's LoRA on the UNet's attention, trained as the example trains it: what all loops train alike."""

    columns: ClassVar = ("latent", "caption")

    def __init__(self, base: DiffusionModel, rank: int) -> None:
        super().__init__(None)
        self.base = base
        base.unet.add_adapter(LoraConfig(r=rank, lora_alpha=rank, init_lora_weights="gaussian", target_modules=TARGETS))
        self.held = nn.ParameterList(p for p in base.unet.parameters() if p.requires_grad)

    @classmethod
    def from_scratch(cls, config: Any, base: DiffusionModel | None, data: Any = None) -> Plain:
        raise NotImplementedError

    def compute_loss(self, batch: Batch) -> Tensor:
        with torch.no_grad():
            plain = self.base.encode_condition(batch["caption"])
        return denoising_loss(self.base, batch, plain, gamma=1e9)


class Pictures(Dataset[dict[str, Any]]):
    """The prepared pictures as the example's data set gives them: opened, flipped, as tensors, their words as ids."""

    def __init__(self, data: PreparedDataset, base: DiffusionModel, cached: bool) -> None:
        self.data, self.base, self.column = data, base, "latent" if cached else "image"

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, place: int) -> dict[str, Any]:
        row = self.data.read([place], [self.column, "caption"])
        picture = row[self.column][0]
        options = {"max_length": 77, "padding": "max_length", "truncation": True, "return_tensors": "pt"}
        ids = self.base.tokenizer(row["caption"][0], **options).input_ids[0]
        return {"image": picture.flip(-1) if torch.rand(()) < 0.5 else picture, "ids": ids}


def endless(data: Dataset[dict[str, Any]], batch: int) -> Iterator[dict[str, Any]]:
    """Epoch after epoch, without workers, as the example has it unless it is told otherwise."""
    while True:
        yield from DataLoader(data, batch, shuffle=True, drop_last=True)


def published(
    base: DiffusionModel, data: PreparedDataset, batch: int, lr: float, kind: str, cached: bool
) -> Callable[[int], None]:
    """So many steps of the published loop; its own adapter is already on the UNet."""
    accelerator = Accelerator(mixed_precision="no" if kind == "fp32" else "bf16", cpu=training_device().type == "cpu")
    trained = [p for p in base.unet.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=lr, betas=(0.9, 0.999), weight_decay=1e-2, eps=1e-8)
    schedule = get_scheduler("constant", optimizer=optimizer, num_warmup_steps=0, num_training_steps=10**6)
    noising, weight = DDPMScheduler.from_config(base.scheduler_config), base.dtype
    batches = endless(Pictures(data, base, cached), batch)

    def run(count: int) -> None:
        for given in islice(batches, count):
            pixels, ids = given["image"].to(base.device, weight), given["ids"].to(base.device)
            with torch.no_grad():
                latents = (
                    pixels if cached else base.vae.encode(pixels).latent_dist.sample() * base.vae.config.scaling_factor
                )
            noise = torch.randn_like(latents)
            t = torch.randint(0, noising.config.num_train_timesteps, (batch,), device=latents.device).long()
            noisy = noising.add_noise(latents, noise, t)
            with torch.no_grad():
                hidden = base.text_encoder(ids)[0]
            with accelerator.autocast():
                predicted = base.unet(noisy, t, hidden).sample
            loss = F.mse_loss(predicted.float(), noise.float(), reduction="mean")
            accelerator.gather(loss.detach().repeat(batch)).mean().item()
            accelerator.backward(loss)
            accelerator.clip_grad_norm_(trained, 1.0)
            optimizer.step()
            schedule.step()
            optimizer.zero_grad()
            loss.detach().item()

    return run


def bare(learner: Learner, data: PreparedDataset, config: Config, kind: str) -> Callable[[int], None]:
    """So many times forward, backward and optimizer, on a batch that lies ready."""
    optimizer = torch.optim.AdamW(learner.trainable.values(), lr=config.lr, fused=True)
    [batch] = prefetch_batches(
        data, learner.columns, range(1), config.batch_size, 0, slots=range(config.batch_size), device=training_device()
    )

    def run(count: int) -> None:
        for _ in range(count):
            with learner.attach(), training_kernels(training_device()):
                with torch.autocast(training_device().type, torch.bfloat16, enabled=kind == "bf16"):
                    loss = learner(batch).mean()
                loss.backward()
            optimizer.step()
            optimizer.zero_grad()

    return run


def engine(learner: Learner, data: PreparedDataset, config: Config) -> Callable[[int], None]:
    """So many steps of ours; reading ahead begins anew with each turn, so nothing is read in another's time."""
    state = TrainingState(learner, config)

    def run(count: int) -> None:
        running = loop.train_steps(state, data, config)
        for _ in islice(running, count):
            pass
        running.close()

    return run


def contenders(
    asked: argparse.Namespace, base: DiffusionModel, data: PreparedDataset
) -> dict[str, Callable[[int], None]]:
    """Each with an adapter of its own kind; the plain one is shared, so all move the same weights."""
    kind = choose_precision(asked.precision, training_device(), [base.unet])
    config = Config(steps=10**6, batch_size=asked.batch, lr=1e-5, precision=kind, warmup=0.0, schedule="constant")
    cls = registry.load_plugin("methods", "lora")
    lora = cls.from_scratch(cls.Config(rank=asked.rank, layers="attention"), asked.second, data)
    plain = Plain(base, asked.rank)
    ours = engine(plain, data, config)
    return {
        "bare": bare(plain, data, config, kind),
        "engine": ours,
        "published": published(base, data, asked.batch, config.lr, kind, cached=False),
        "published, cached": published(base, data, asked.batch, config.lr, kind, cached=True),
        "lora": engine(lora, data, config),
        "lora, bare": bare(lora, data, config, kind),
    }


def timed(run: Callable[[int], None], count: int) -> tuple[float, float]:
    """Seconds a step, until the device is done; and the peak of its memory in GB, 0 on a CPU."""
    if training_device().type == "cuda":
        torch.cuda.reset_peak_memory_stats()
        torch.cuda.synchronize()
    began = time.perf_counter()
    run(count)
    if training_device().type == "cuda":
        torch.cuda.synchronize()
    peak = torch.cuda.max_memory_allocated() / 1e9 if training_device().type == "cuda" else 0.0
    return (time.perf_counter() - began) / count, peak


def steps(asked: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Seconds of a step by each contender, and the ratios that count."""
    name = str(true_size.make_true_size_base(asked.weights)) if asked.true else asked.base
    half = training_device().type == "cuda" and choose_precision(asked.precision, training_device()) == "bf16"
    base, asked.second = (
        DiffusionModel.load(name, training_device(), torch.bfloat16 if half else torch.float32) for _ in range(2)
    )
    for one in (base, asked.second):
        if asked.checkpointing:
            one.enable_gradient_checkpointing()
        if training_device().type == "cuda":
            one.unet.to(memory_format=torch.channels_last)
    where = prepare("mini", out=folder / "prepared", limit=asked.number, base=name, on_message=str)
    data = PreparedDataset(where, "methods")
    runners = contenders(asked, base, data)
    seconds: dict[str, list[float]] = {name: [] for name in runners}
    peaks = dict.fromkeys(runners, 0.0)
    for turn in range(asked.warm + asked.turns):
        for name, run in runners.items():
            taken, peak = timed(run, asked.count)
            if turn >= asked.warm:
                seconds[name].append(taken)
                peaks[name] = max(peaks[name], peak)
    rows = {name: quartiles(times) for name, times in seconds.items()}
    ratios = {
        name: held(quartiles([a / b for a, b in zip(seconds[above], seconds[below], strict=True)]), promise)
        for name, (above, below, promise) in LIMITS.items()
    }
    found: dict[str, Any] = {"seconds a step": rows, "ratios": ratios}
    if training_device().type == "cuda":
        found["lora"] = throughput(runners["lora"], asked.batch, rows["lora"]["median"]) | {"size": base.default_size}
        found["peak GB"] = {name: {"median": peak} for name, peak in peaks.items()}
        found["peak GB"]["lora"] = held(found["peak GB"]["lora"], "<= 6")
    pairs = zip(seconds["published"], seconds["published, cached"], strict=True)
    rows["of which opening and encoding"] = quartiles([whole - rest for whole, rest in pairs])
    return found


def throughput(run: Callable[[int], None], batch: int, seconds: float) -> dict[str, float]:
    """Pictures a second, and a step's share of the arithmetic that a product of large matrices reaches here."""
    peak = reachable_arithmetic(training_device(), torch.bfloat16)
    return {"pictures a second": batch / seconds, "share of peak": operations(run) / seconds / peak}


def reachable_arithmetic(device: torch.device, dtype: torch.dtype) -> float:
    """FLOP/s that a product of large matrices reaches on a device in a precision."""
    side = 512 if device.type == "cpu" else 8192
    matrix = torch.randn(side, side, device=device, dtype=dtype)

    def multiply(count: int) -> None:
        for _ in range(count):
            matrix @ matrix

    multiply(3)
    return 2 * side**3 / timed(multiply, 20)[0]


def operations(run: Callable[[int], None]) -> int:
    """Of a step, its backward pass too: those of products and convolutions."""
    with OperationCounter() as counter:
        run(1)
    return counter.total


class OperationCounter(TorchDispatchMode):
    """FLOPs by the formulas of torch's own FlopCounterMode, whose tracking of modules `autograd.grad` does not bear."""

    def __init__(self) -> None:
        super().__init__()
        self.total = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Compute, and count by the operator's formula where it has one."""
        made = func(*args, **(kwargs or {}))
        formula = flop_registry.get(func.overloadpacket)
        if formula is not None:
            self.total += formula(*args, **(kwargs or {}), out_val=made)
        return made


def held(row: dict[str, Any], promise: str) -> dict[str, Any]:
    """The row, and whether its median is what is promised: `<= 1.05` or `>= 1.5`."""
    sign, figure = promise.split()
    met = row["median"] <= float(figure) if sign == "<=" else row["median"] >= float(figure)
    return row | {"promised": promise, "met": met}


def missed(found: dict[str, Any]) -> list[str]:
    """The rows whose promise is not met."""
    rows = {**found["ratios"], **{f"peak GB: {name}": row for name, row in found.get("peak GB", {}).items()}}
    return [name for name, row in rows.items() if not row.get("met", True)]


def quartiles(values: list[float]) -> dict[str, Any]:
    """The median and the quartiles."""
    low, middle, high = statistics.quantiles(values, n=4, method="inclusive")
    return {"median": middle, "quartiles": [low, high]}


def synthetic(folder: Path, number: int, side: int) -> PreparedDataset:
    """A prepared folder of random latents, written as `prepare` writes them."""
    opened = run_dir.RunDir.open(folder / "prepared", "prepared", {"number": number, "side": side})
    parts = [opened.path / name for name in encoding.shard_names(number, SHARD)]
    for shard, part in enumerate(parts):
        numbers = range(shard * SHARD, min((shard + 1) * SHARD, number))
        drawn = seeds.numpy_generator(0, "latents", shard).normal(size=(len(numbers), 4, side, side))
        rows = (
            Record(f"p-{n}", weights=tuple(np.eye(8)[n % 8]), caption="a lake", latent=latent, shape=shape)
            for n, (latent, shape) in zip(numbers, records.pack_arrays(drawn), strict=True)
        )
        encoding._write_stream(records.records_table(rows), part)
    finishing.write_index(opened.path, parts)
    opened.finish(encoder="", size=8 * side)
    return PreparedDataset(opened.path, "methods")


def loader(asked: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """The share of a step that is spent waiting for data, a step taking as long as 300 samples a second allow."""
    data = synthetic(folder, asked.number, asked.side)
    reads = ("latent", "weights", "caption", "caption_long")
    pause, waited = asked.batch / asked.rate, []
    coming = prefetch_batches(
        data, reads, range(asked.turns), asked.batch, 0, slots=range(asked.batch), num_workers=asked.readers
    )
    for _ in range(asked.turns):
        began = time.perf_counter()
        next(coming)
        waited.append((time.perf_counter() - began) / pause)
        time.sleep(pause)
    shares = waited[asked.warm :]
    found = held(quartiles(shares) | {"mean": statistics.fmean(shares)}, "<= 0.02")
    return {"latents": asked.number, "samples a second": asked.rate, "ratios": {"share of a step that waits": found}}


def feed(asked: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """How fast batches come when nothing else is done, and what of it is left to the main thread."""
    data, cls = synthetic(folder, min(asked.number, 8192), asked.side), registry.load_plugin("methods", "guidance")
    ahead = AHEAD * asked.readers + asked.warm  # batches that are drawn before the clock starts, and as many after it
    coming = prefetch_batches(
        data,
        cls.columns,
        range(asked.turns + ahead),
        asked.batch,
        0,
        slots=range(asked.batch),
        num_workers=asked.readers,
        draw_ahead=partial(cls.draw_ahead, cls),
    )
    for _ in range(asked.warm):
        next(coming)
    clocks = time.perf_counter, time.process_time, time.thread_time
    began = [clock() for clock in clocks]
    for _ in range(asked.turns):
        batch = next(coming)
    passed, cores, main_thread = (clock() - start for clock, start in zip(clocks, began, strict=True))
    coming.close()
    before = time.thread_time()
    batch.normal("noise", *batch["latent"].shape[1:])
    batch.timesteps()
    main_thread += (time.thread_time() - before) * asked.turns
    samples = asked.turns * asked.batch
    rates = {"by the clock": samples / passed, "by the cores' own seconds": asked.readers * samples / cores}
    rows = {f"samples a second, {name}": held({"median": rate}, ">= 12000") for name, rate in rates.items()}
    share = held({"median": main_thread / cores}, "<= 0.05")
    return {"samples": samples, "ratios": {**rows, "the main thread's share of the work": share}}


def told(found: dict[str, Any]) -> Table:
    """The table that is printed."""
    table = Table("", "median", "quartiles", "promised")
    for kind in ("seconds a step", "ratios", "peak GB"):
        for name, row in found.get(kind, {}).items():
            spread = "{:.4f} to {:.4f}".format(*row["quartiles"]) if "quartiles" in row else ""
            verdict = f"{row['promised']}: {'met' if row['met'] else 'missed'}" if "met" in row else ""
            table.add_row(f"{kind}: {name}" if kind == "peak GB" else name, f"{row['median']:.4f}", spread, verdict)
    if lora := found.get("lora"):
        table.add_row(f"lora, pictures a second at {lora['size']} pixels", f"{lora['pictures a second']:.1f}", "", "")
        table.add_row("lora, share of the device's peak", f"{lora['share of peak']:.3f}", "", "")
    elif "seconds a step" in found:
        table.add_row("lora, pictures a second at 512 pixels, share of peak", "unconfirmed: no CUDA here", "", "")
    return table


def drawn(rows: dict[str, dict[str, Any]]) -> str:
    """Bars of the medians with their quartiles, as SVG."""
    longest = max(row["quartiles"][1] for row in rows.values())
    parts = []
    for place, (name, row) in enumerate(rows.items()):
        y, (middle, low, high) = 30 * place + 10, (300 * v / longest for v in (row["median"], *row["quartiles"]))
        parts.append(f'<text x="190" y="{y + 13}" text-anchor="end">{name}</text>')
        parts.append(f'<rect x="200" y="{y}" width="{middle:.1f}" height="18" fill="#56b4e9"/>')
        parts.append(f'<path d="M{200 + low:.1f} {y + 9}H{200 + high:.1f}" stroke="#000" stroke-width="2"/>')
        parts.append(f'<text x="{205 + max(middle, high):.1f}" y="{y + 13}">{row["median"]:.3f}</text>')
    size = f'width="580" height="{30 * len(rows) + 20}" font-family="sans-serif" font-size="12"'
    return f'<svg xmlns="http://www.w3.org/2000/svg" {size}>{"".join(parts)}</svg>'


def main() -> int:
    """Measure, print the table, write the JSON and the plot; the status is 1 where a promise is missed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.training", description=__doc__)
    parser.add_argument("what", choices=("steps", "loader", "feed"))
    parser.add_argument("--base", default="mini")
    parser.add_argument("--true", action="store_true", help="Stable Diffusion 1.5's shape, random weights")
    parser.add_argument("--weights", type=Path, default=Path("out/truesize/base"), help="where these weights are kept")
    parser.add_argument("--checkpointing", action="store_true")
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--rank", type=int, default=16)
    parser.add_argument("--count", type=int, default=5, help="steps of a turn")
    parser.add_argument("--turns", type=int, default=12, help="turns of each, or steps of the loader")
    parser.add_argument("--warm", type=int, default=2, help="turns, or steps, that do not count")
    parser.add_argument("--number", type=int, default=256, help="pictures, or latents: EmoSet has 118102")
    parser.add_argument("--side", type=int, default=64, help="of a synthetic latent")
    parser.add_argument("--rate", type=float, default=300.0, help="samples a second that are trained")
    parser.add_argument("--readers", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("out/bench"))
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = {"steps": steps, "loader": loader, "feed": feed}[asked.what](asked, Path(folder))
    about = {"device": str(training_device()), "threads": torch.get_num_threads(), "torch": torch.__version__}
    settings = {key: value for key, value in vars(asked).items() if isinstance(value, int | float | str)}
    asked.out.mkdir(parents=True, exist_ok=True)
    (asked.out / f"training-{asked.what}.json").write_text(json.dumps(about | {"asked": settings} | found, indent=1))
    if asked.what == "steps":
        (asked.out / "training-steps.svg").write_text(drawn(found["seconds a step"]))
    Console(width=120).print(told(found))
    return int(bool(missed(found)))


if __name__ == "__main__":
    sys.exit(main())

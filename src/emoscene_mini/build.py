"""How the miniature is made: `python -m emoscene_mini.build`, from the painted world to a Stable Diffusion folder.

    tokenizer ─▶ pictures ─┬▶ vae ─▶ latents ─┬─────────▶ unet ─┬▶ folder ─▶ adapters
                           │                  └▶ decoder ───────┤
                           ├▶ text_encoder ─▶ texts ─▶ unet     │
                           ├▶ emotion_clip ─▶ decoder           │
                           └▶ captioner ────────────────────────┘
    judges, from pictures of their own

Every stage leaves its result in the work folder and is passed over once it is there; one that trains goes on from its
newest checkpoint. The encoder is frozen after `vae`, so `unet` and `decoder` need not wait for each other: they may run
side by side as two calls (`--stage unet`, `--stage decoder`). A stage that trains runs as so many
processes of one thread each (`--processes`), which on a CPU is faster than one process of as many threads, and much
faster where other work shares the cores. `vae.steps=8000` changes one stage's setting.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file

from emoscene.core import config as configs
from emoscene.core import run_dir, seeds
from emoscene.core.callbacks import Callbacks
from emoscene.core.errors import EmosceneError, UsageError, unknown_name
from emoscene.core.processes import read_local_rank, read_rank
from emoscene.data.preparation import prepare
from emoscene.diffusion.device import choose_precision
from emoscene.learning import checkpoints
from emoscene.learning import learner as learners
from emoscene.training import loop, state
from emoscene_mini import folder, image_cache, judges, warm_start
from emoscene_mini import tokenizer as words
from emoscene_mini.autoencoder import Autoencoder
from emoscene_mini.base import KINDS, Base
from emoscene_mini.decoder import Decoder
from emoscene_mini.image_cache import RenderedImages
from emoscene_mini.recipe import ADAPTERS, ADAPTING, COMPANIONS, FOLDERS, PICTURES, TRAINED
from emoscene_mini.rounding import round_files

WEIGHTS = Path(__file__).absolute().parent / "weights" / "base"
LAST = "load_best_model_at_end=no"  # the shipped adapters are those of the last step
BITE = 40  # captions or images read at a time
FEW = 4  # images encoded at a time: with more, a layer's output no longer fits into a core's cache


@dataclass(frozen=True)
class BuildJob:
    """What one call builds.

    Attributes:
        work: Where pictures and checkpoints are kept.
        out: Where the finished base goes.
        pairs: Settings that differ from the recipe's, as `unet.steps`.
        processes: Processes that train together.
        pictures: Images to render.
        on_message: Called with each message.
        older: A base whose weights the new one begins with; none: from nothing.
    """

    work: Path
    out: Path
    pairs: Mapping[str, str]
    processes: int
    pictures: int
    on_message: Callable[[str], None]
    older: Path | None = None


def stage_configs(job: BuildJob, name: str) -> tuple[Any, state.Config]:
    """Read the settings of a stage, with the call's own in their places.

    Args:
        job: The build.
        name: The stage.

    Returns:
        The learner's settings and the training's.
    """
    kind, own, given = TRAINED[name]
    own = {key: str(job.work / value) if key in FOLDERS else value for key, value in own.items()}
    if kind is Decoder:
        own["scale"] = latent_scale(job.work)
    pairs = {key.removeprefix(f"{name}."): value for key, value in job.pairs.items() if key.startswith(f"{name}.")}
    learning, config = configs.split_settings({**own, **given, **pairs}, kind.Config(), state.Config())
    return learning, config


def train_part(job: BuildJob, name: str) -> None:
    """Train one learner, or go on with it; its folder is there once it is done."""
    if (job.work / name / learners.CARD).is_file():
        return
    if job.processes > 1 and read_local_rank() is None:
        _train_in_processes(job, name)
        return
    kind = TRAINED[name][0]
    learning, config = stage_configs(job, name)
    seeds.seed_torch(config.seed, "start")
    data, saved, began = RenderedImages(job.work / "pictures"), job.work / "runs" / name, time.time()
    learner = kind.from_scratch(learning, None, data)
    if job.older is not None and warm_start.begin_from(name, learner, job.older):
        job.on_message(f"{name} begins with the weights of {job.older}")
    again = bool(checkpoints.list_checkpoints(saved))
    first = read_rank() == 0
    callbacks = Callbacks(on_message=job.on_message)
    if first:
        callbacks = _report_steps(name, job.on_message)
    learner = loop.run_training(learner, data, config, saved, resume=again, callbacks=callbacks)
    if first:
        cost = {"seconds": round(time.time() - began), "samples": config.steps * config.batch_size}
        (job.work / name).mkdir(exist_ok=True)
        learners.save_learner(learner, name, job.work / name, None, cost=cost)


def _train_in_processes(job: BuildJob, name: str) -> None:
    """Run a stage in several processes of one thread each."""
    words = ["--stage", name, "--work", str(job.work), "--out", str(job.out), "--pictures", str(job.pictures)]
    if job.older is not None:
        words += ["--begin-from", str(job.older)]
    _torchrun(job, ["emoscene_mini.build", *words, *(f"{key}={value}" for key, value in job.pairs.items())], name)


def _torchrun(job: BuildJob, words: Sequence[str], name: str) -> None:
    torchrun = ("torch.distributed.run", "--standalone", f"--nproc_per_node={job.processes}")
    threads = str(max(1, (os.cpu_count() or 1) // job.processes))
    command = [sys.executable, "-m", *torchrun, "-m", *words]
    if subprocess.run(command, env={**os.environ, "OMP_NUM_THREADS": threads}).returncode:
        raise EmosceneError(f"the stage {name} stopped: the same call goes on with it")


def _report_steps(name: str, on_message: Callable[[str], None]) -> Callbacks:
    """Pass messages on, with one on every fiftieth step."""
    recent: list[state.Step] = []

    def on_step(step: state.Step) -> None:
        recent.append(step)
        if step.number % 50 == 0:
            loss, seconds = (sum(getattr(s, key) for s in recent) / len(recent) for key in ("loss", "seconds"))
            on_message(f"{time.strftime('%H:%M:%S')} {name} {step.number} loss {loss:.4f} {seconds:.3f} s/step")
            recent.clear()

    return Callbacks(on_message=on_message, on_step=on_step)


def tokenize(job: BuildJob) -> None:
    """Train the tokenizer from the world's captions.

    Args:
        job: The build; what this writes goes into its folder.
    """
    target = job.work / "tokenizer"
    if not target.exists():
        known = words.world_vocabulary()
        run_dir.write_atomic(target, lambda path: words.save_tokenizer(path, words.train_tokenizer(known)))
        job.on_message(f"{len(known)} words")


def render_images(job: BuildJob) -> None:
    """Render the images.

    Args:
        job: The build; what this writes goes into its folder.
    """
    image_cache.build_cache(job.work / "pictures", "base", job.pictures, None, job.on_message)


def encode_latents(job: BuildJob) -> None:
    """Encode every image, as rendered and mirrored, as latents of unit variance.

    Args:
        job: The build; what this writes goes into its folder.
    """
    data = RenderedImages(job.work / "pictures")
    if data.latents is not None:
        return
    vae = _autoencoder(job, "vae").vae.to(memory_format=torch.channels_last)
    bf16 = choose_precision("auto", models=[vae]) == "bf16"

    def part(first: int) -> torch.Tensor:
        pixels = data.read(range(first, min(first + FEW, len(data))), ["pixels"])["pixels"].float() / 127.5 - 1
        pixels = pixels.contiguous(memory_format=torch.channels_last)
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            sides = [vae.encode(side).latent_dist.mode() for side in (pixels, pixels.flip(-1))]
        if first % 2000 == 0:
            job.on_message(f"encoded {first} of {len(data)}")
        return torch.stack(sides, 1).float()

    with ThreadPoolExecutor(os.cpu_count(), initializer=partial(torch.set_num_threads, 1)) as threads:
        latents = torch.cat(list(threads.map(part, range(0, len(data), FEW))))
    factor = 1 / float(latents.std())
    run_dir.write_atomic(job.work / "latents.json", json.dumps({"scaling_factor": factor}).encode())
    scaled = (latents * factor).half().numpy()
    run_dir.write_atomic(data.folder / image_cache.LATENTS, lambda path: _write_array(path, scaled))
    job.on_message(f"latents: mean {latents.mean((0, 1, 3, 4)).tolist()}, scaling factor {factor:.4f}")


def encode_captions(job: BuildJob) -> None:
    """Encode every caption with the text encoder.

    Args:
        job: The build; what this writes goes into its folder.
    """
    target = job.work / "pictures" / image_cache.TEXTS
    if target.exists():
        return
    data, base = RenderedImages(job.work / "pictures"), Base.from_scratch(stage_configs(job, "unet")[0], None)
    shape = (len(data), len(KINDS), *base.silence.shape)

    def part(first: int) -> np.ndarray:
        captions: list[str] = []
        for note in data.notes[first : first + BITE]:
            captions += [note[kind] for kind in KINDS]
        texts = base.encode_captions(captions)
        return texts.view(-1, *shape[1:]).half().numpy()

    run_dir.write_atomic(target, lambda path: _fill(path, np.float16, part, shape))
    job.on_message(f"read {len(data)} pairs of captions")


def _fill(path: Path, kind: Any, part: Callable[[int], np.ndarray], shape: tuple[int, ...]) -> None:
    """An array on the disk, made in bites, a thread a core."""
    array = np.lib.format.open_memmap(path, "w+", kind, shape)
    with ThreadPoolExecutor(os.cpu_count(), initializer=partial(torch.set_num_threads, 1)) as threads:
        for place, found in enumerate(threads.map(part, range(0, shape[0], BITE))):
            array[place * BITE : place * BITE + len(found)] = found
    array.flush()


def _write_array(path: Path, array: np.ndarray) -> None:
    with path.open("wb") as file:
        np.save(file, array)


def latent_scale(work: Path) -> float:
    """What latents are multiplied by to have unit variance."""
    return float(json.loads((work / "latents.json").read_text(encoding="utf8"))["scaling_factor"])


def _autoencoder(job: BuildJob, name: str) -> Autoencoder:
    found = Autoencoder(
        configs.replace_fields(Autoencoder.Config(), {"channels": stage_configs(job, name)[0].channels})
    )
    found.load_state_dict(load_file(str(job.work / name / "model.safetensors")))
    return found.eval()


def assemble(job: BuildJob) -> None:
    """Put the parts together: the decoder's last state if it is there, else the autoencoder's.

    Args:
        job: The build; what this writes goes into its folder.
    """
    vae = _autoencoder(job, _newest_base(job, "decoder", "vae")).vae
    vae.register_to_config(scaling_factor=latent_scale(job.work))
    base = Base.from_scratch(stage_configs(job, "unet")[0], None)
    base.load_state_dict(load_file(str(job.work / "unet" / "model.safetensors")))
    folder.write_folder(job.out, base, vae, words.world_vocabulary())
    for name in COMPANIONS:
        if (job.work / name / learners.CARD).is_file():
            _ship_part(job, name)
            round_files(job.out.parent / name)
    size = sum(path.stat().st_size for path in job.out.rglob("*") if path.is_file())
    job.on_message(f"{job.out}: {size / 1e6:.1f} MB")


def train_adapters(job: BuildJob) -> None:
    """Train the adapters that ship with the base, with the settings of their recipes.

    Args:
        job: The build; what this writes goes into its folder.
    """
    base, eyes = "mini" if job.out == WEIGHTS else str(job.out), job.out.parent / "emotion_clip"
    data = job.work / "prepared"
    prepare("mini", out=data, limit=ADAPTING, base=base, on_message=job.on_message, emotion_clip=str(eyes), flips=True)
    for name in ADAPTERS:
        saved = job.work / name
        words = ["emoscene", "train", name, "--data", str(data), "--out", str(saved), "--base", base, LAST]
        _torchrun(job, words + ["--resume"] * (saved / "checkpoints").exists(), name)
        _ship_part(job, name)


def _ship_part(job: BuildJob, name: str) -> None:
    """Put what was trained beside the base."""
    target = job.out.parent / name
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(job.work / name, target)


def train_judges(job: BuildJob) -> None:
    """Render the judges' pictures, pass some through the autoencoder, then train them, in several processes."""
    seen = job.work / "judges"
    data = image_cache.build_cache(
        seen / "pictures", "judges", judges.PICTURES, None, job.on_message, judges.draw_orders
    )
    if data.decoded is None:
        _decode_some(job, data, judges.DECODED)
    folders = [seen, job.out.parent, job.work / "tokenizer"]
    if job.older is not None:
        folders.append(job.older.parent / "judge-emotion")
    _torchrun(job, ["emoscene_mini.judges", *map(str, folders)], "judges")


def _decode_some(job: BuildJob, data: RenderedImages, count: int) -> None:
    """What the autoencoder makes of the first `count` pictures."""
    vae = _autoencoder(job, _newest_base(job, "decoder", "vae")).vae

    def part(first: int) -> np.ndarray:
        pixels = data.read(range(first, min(first + BITE, count)), ["image"])["image"]
        with torch.inference_mode():
            made = vae.decode(vae.encode(pixels).latent_dist.mode()).sample
        return ((made / 2 + 0.5).clamp(0, 1) * 255).round().byte().permute(0, 2, 3, 1).numpy()

    run_dir.write_atomic(
        data.folder / image_cache.DECODED, lambda path: _fill(path, np.uint8, part, (count, *data.pixels.shape[1:]))
    )
    job.on_message(f"decoded {count} pictures")


def _newest_base(job: BuildJob, *names: str) -> str:
    """The first of these stages that is done."""
    return next(name for name in names if (job.work / name / learners.CARD).is_file())


STAGES: dict[str, Callable[[BuildJob], None]] = {
    "tokenizer": tokenize,
    "pictures": render_images,
    "vae": partial(train_part, name="vae"),
    "latents": encode_latents,
    "emotion_clip": partial(train_part, name="emotion_clip"),
    "decoder": partial(train_part, name="decoder"),
    "text_encoder": partial(train_part, name="text_encoder"),
    "texts": encode_captions,
    "unet": partial(train_part, name="unet"),
    "captioner": partial(train_part, name="captioner"),
    "folder": assemble,
    "adapters": train_adapters,
    "judges": train_judges,
}
"""The stages in order."""


def main(arguments: Sequence[str] | None = None) -> int:
    """The command: exit status 0, 2 for words that are off, 1 for work that could not be done."""
    parser = argparse.ArgumentParser(prog="python -m emoscene_mini.build", description="Make the miniature base.")
    parser.add_argument("--stage", action="append", metavar="NAME", help=f"one of {', '.join(STAGES)}; all if none")
    parser.add_argument("--work", type=Path, default=Path("work"), help="where pictures and checkpoints are kept")
    parser.add_argument("--out", type=Path, default=WEIGHTS, help="where the finished base goes")
    parser.add_argument("--processes", type=int, default=os.cpu_count(), help="processes that train together")
    parser.add_argument("--pictures", type=int, default=PICTURES, help="pictures to paint")
    parser.add_argument(
        "--begin-from", type=Path, metavar="BASE", help="an older base whose weights the new one begins with"
    )
    parser.add_argument("pairs", nargs="*", metavar="stage.key=value", help="settings that differ")
    given = parser.parse_intermixed_args(arguments)
    on_message = partial(print, flush=True)
    try:
        pairs = dict(_parse_pair(text) for text in given.pairs)
        chosen = [name for name in given.stage or STAGES if name != "all"] or list(STAGES)
        given.work.mkdir(parents=True, exist_ok=True)
        older = given.begin_from and given.begin_from.absolute()
        job = BuildJob(
            given.work.absolute(), given.out.absolute(), pairs, given.processes, given.pictures, on_message, older
        )
        for name in chosen:
            if name not in STAGES:
                raise unknown_name("stage", name, STAGES)
            STAGES[name](job)
    except (UsageError, EmosceneError) as error:
        print(error, file=sys.stderr)
        return 2 if isinstance(error, UsageError) else 1
    return 0


def _parse_pair(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    name, dot, _ = key.partition(".")
    if not equals or not dot or name not in TRAINED:
        raise UsageError(f"{text} is off: write STAGE.KEY=VALUE, the stage one of {', '.join(TRAINED)}")
    return key, value


if __name__ == "__main__":
    sys.exit(main())

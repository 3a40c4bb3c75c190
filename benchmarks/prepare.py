"""What `prepare` costs, and how fast its folder is read: `python -m benchmarks.prepare WHAT`.

passes      the whole pipeline, beside the bare networks on decoded batches in memory, same threads, in turns (<= 1.18)
ray         images a second of Ray workers on this machine, one thread each, beside one process of one thread and,
            with --beside SRC, two by torchrun of the version before Ray (>= .85 of those); start-up apart
access      random batches of synthetic latents (>= 10,000 a second), and how much private memory, RssAnon, they add
            (<= 200 MB)
parts       processor time of what is done beside the networks: reading, hashing, cutting, writing, grouping
posterior   what the deviation of the autoencoder's posterior holds beside its mean, which alone is kept

Each result is one JSON object on stdout.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from emoscene.core import run_dir
from emoscene.data import encoding, finishing, preparation, records
from emoscene.data.aspect_buckets import crop_square
from emoscene.data.dataset import PreparedDataset
from emoscene.data.duplicates import HASHES, group_duplicates, hash_looks
from emoscene.data.image_checks import open_checked
from emoscene.data.preparation import SHARD, prepare
from emoscene.data.records import Record
from emoscene.data.sources.imagefolder import ImageFolder
from emoscene.diffusion.model import DiffusionModel
from emoscene_mini.world1.layouts import write_layout
from emoscene_mini.world1.render_pool import render_image

BATCH = 64
FEW = 64  # images of a call that is start-up above all


def world(folder: Path, number: int) -> Path:
    """An imagefolder without captions, of 256 px."""
    root = write_layout("imagefolder", number, 0, folder / "raw", size=256)
    (root / "metadata.jsonl").unlink(missing_ok=True)
    return root


def passes(asked: argparse.Namespace, folder: Path) -> dict:
    """Seconds of the pipeline over those of its networks, the median of the turns."""
    torch.set_num_threads(asked.threads)
    root, backbone = world(folder, asked.number), DiffusionModel.load(asked.base)
    networks = preparation.load_networks(
        backbone, *preparation.auxiliary_models(backbone, asked.emotion_clip, asked.captioner)
    )
    pictures = decoded(root, backbone, min(256, asked.number))
    call = {"root": root, "base": asked.base, "emotion_clip": asked.emotion_clip, "captioner": asked.captioner}
    turns = []
    for turn in range(asked.turns):
        began = time.perf_counter()
        for first in range(0, asked.number, encoding.BATCH):
            place = first % len(pictures)
            networks.encode_batch(pictures[place : place + encoding.BATCH])
        bare = time.perf_counter() - began
        began = time.perf_counter()
        prepare("imagefolder", out=folder / f"turn-{turn}", on_message=str, workers=asked.threads, **call)
        turns.append({"networks": bare, "pipeline": time.perf_counter() - began})
    ratios = [turn["pipeline"] / turn["networks"] for turn in turns]
    return {"pipeline to networks": statistics.median(ratios), "seconds": turns, "pictures": asked.number}


def decoded(root: Path, backbone: DiffusionModel, number: int) -> list[encoding.Item]:
    """Some pictures as the pipeline reads them."""
    source = ImageFolder(root, ImageFolder.Config(), backbone.default_size)
    return [(place, Record(id=str(place)), image) for place, (_, image) in enumerate(source.read_images(range(number)))]


def ray(asked: argparse.Namespace, folder: Path) -> dict:
    """Images a second by contender and turn; what the same call takes for few images is its start-up."""
    roots = {asked.number: asked.root or world(folder, asked.number), FEW: world(folder / "few", FEW)}
    torchrun = ["torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m"]
    contenders = {"one process": ([], [], "src"), "ray": ([], ["--ray", "local"], "src")}
    if asked.beside:
        contenders["torchrun"] = (torchrun, [], asked.beside)
    rates: dict[str, list[float]] = {name: [] for name in contenders}
    marks = set()
    for turn in range(asked.turns):
        for name, (launcher, more, source) in contenders.items():
            seconds = {}
            for number, root in roots.items():
                out = folder / f"{name}-{turn}-{number}"
                words = ["emoscene", "prepare", "imagefolder", f"--root={root}", f"--out={out}", f"--base={asked.base}"]
                began = time.perf_counter()
                subprocess.run(
                    [sys.executable, "-m", *launcher, *words, "captioner=none", *more],
                    env=os.environ | {"PYTHONPATH": str(Path(source).absolute()), "OMP_NUM_THREADS": "1"},
                    capture_output=True,
                    check=True,
                )
                seconds[number] = time.perf_counter() - began
                marks.add((number, run_dir.read_manifest(out)["fingerprint"]))
            rates[name].append((asked.number - FEW) / (seconds[asked.number] - seconds[FEW]))
            print(name, seconds, os.getloadavg()[0], file=sys.stderr, flush=True)
    middle = {name: statistics.median(found) for name, found in rates.items()}
    beside = {f"ray to {name}": middle["ray"] / rate for name, rate in middle.items() if name != "ray"}
    return {**beside, "images a second": rates, "same bytes": len(marks) == len(roots), "pictures": asked.number}


def access(asked: argparse.Namespace, folder: Path) -> dict:
    """Samples a second in random batches, and megabytes of private memory that reading them added."""
    made = run_dir.RunDir.open(folder / "prepared", "prepared", {"number": asked.number})
    rng = np.random.default_rng(0)
    parts = [made.path / name for name in encoding.shard_names(asked.number, SHARD)]
    for shard, part in enumerate(parts):
        numbers = range(shard * SHARD, min((shard + 1) * SHARD, asked.number))
        latents = records.pack_arrays(rng.normal(size=(len(numbers), 4, asked.side, asked.side)))
        rows = [
            Record(f"p-{number}", weights=tuple(np.eye(8)[number % 8]), caption="a lake", latent=latent, shape=shape)
            for number, (latent, shape) in zip(numbers, latents, strict=True)
        ]
        encoding._write_stream(records.records_table(rows), part)
    finishing.write_index(made.path, parts)
    made.finish(encoder="", size=8 * asked.side)
    data = PreparedDataset(made.path, "methods")
    orders = [rng.integers(0, len(data), BATCH).tolist() for _ in range(asked.samples // BATCH)]
    for order in orders[: len(orders) // 4]:
        data.read(order, ["latent", "weights", "caption"])
    before, began = private(), time.perf_counter()
    for order in orders:
        data.read(order, ["latent", "weights", "caption"])
    seconds = time.perf_counter() - began
    grown = private() - before
    return {"samples a second": len(orders) * BATCH / seconds, "RssAnon grown, MB": grown, "rows": asked.number}


def parts(asked: argparse.Namespace, folder: Path) -> dict:
    """Milliseconds of one thread for a JPEG of 1024 x 768, cut to 512 px; seconds for grouping `number` hashes."""
    painted = render_image({"seed": 3}, 1024).picture.crop((0, 0, 1024, 768))
    data = encoding.encode_file(painted, "jpeg")
    small = crop_square(painted, 512)
    looks = np.random.default_rng(0).integers(1, 2**63, (asked.number, HASHES), dtype=np.uint64)
    work = {
        "open and check": lambda: open_checked(data, "a.jpg"),
        "hashes for the eye": lambda: hash_looks(painted),
        "cut to 512": lambda: crop_square(painted, 512),
        **{f"write {kind}": (lambda kind=kind: encoding.encode_file(small, kind)) for kind in encoding.KINDS},
    }
    found = {name: 1000 * processor(do, 20) for name, do in work.items()}
    sizes = {f"{kind}, kB": len(encoding.encode_file(small, kind)) / 1000 for kind in encoding.KINDS}
    grouping = processor(lambda: group_duplicates(np.arange(asked.number, dtype=np.uint64), looks, 4), 1)
    return {"ms": found, **sizes, "grouping, s": grouping, "hashes": asked.number}


def processor(do: Callable[[], object], times: int) -> float:
    """Seconds of processor time that one call takes, once warm."""
    do() if times > 1 else None
    began = time.process_time()
    for _ in range(times):
        do()
    return (time.process_time() - began) / times


@torch.no_grad()
def posterior(asked: argparse.Namespace, folder: Path) -> dict:
    """Shares of the latents' variance, and what a latent drawn from the posterior adds to the loss of the base."""
    torch.set_num_threads(asked.threads)
    backbone = DiffusionModel.load(asked.base)
    pictures = decoded(world(folder, asked.number), backbone, asked.number)
    scale, draw = backbone.vae.config.scaling_factor, torch.Generator().manual_seed(0)
    found, gaps, losses = [], [], []
    for first in range(0, len(pictures), encoding.BATCH):
        images = encoding.pad_batch([picture for _, _, picture in pictures[first : first + encoding.BATCH]])
        spread = backbone.vae.encode(images).latent_dist
        mean, deviation = spread.mean * scale, spread.std * scale
        found.append([mean.var(), deviation.square().mean(), (mean - mean.half()).square().mean()])
        noise, drawn = (torch.randn(mean.shape, generator=draw) for _ in range(2))
        t = torch.randint(backbone.noise_process.num_timesteps, (len(mean),), generator=draw)
        blank = backbone.encode_condition([""] * len(mean))
        for x_0 in (mean, mean + deviation * drawn):
            predicted = backbone.predict_noise(backbone.noise_process.add_noise(x_0, noise, t), t, blank)
            losses.append((predicted - noise).square().mean((1, 2, 3)))
        gaps.append(losses[-1] - losses[-2])
    variance, own, rounding = torch.tensor(found).double().mean(0).tolist()
    gap, loss = torch.cat(gaps), torch.cat(losses[::2])
    return {
        "deviation's share of the variance": own / variance,
        "half precision's share of the variance": rounding / variance,
        "deviation beside the least noise of a step": own / (1 - float(backbone.noise_process.alphas_cumprod[0])),
        "loss on the mean": float(loss.mean()),
        "a draw adds to it": float(gap.mean()),
        "give or take (95 %)": float(1.96 * gap.std() / len(gap) ** 0.5),
        "pictures": len(gap),
    }


def private() -> float:
    """Private memory of this process, in MB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("RssAnon")) / 1024


def main() -> int:
    """Run one of the five."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.prepare", description=__doc__)
    parser.add_argument("what", choices=("passes", "ray", "access", "parts", "posterior"))
    parser.add_argument("--base", default="mini")
    parser.add_argument("--emotion-clip", default="")
    parser.add_argument("--captioner", default="")
    parser.add_argument("--number", type=int, default=4096, help="pictures, or rows")
    parser.add_argument("--samples", type=int, default=100_000)
    parser.add_argument("--side", type=int, default=64, help="of a synthetic latent; Stable Diffusion's is 64")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--root", help="for ray: an imagefolder of --number pictures, in place of a new one")
    parser.add_argument("--beside", help="for ray: the folder src of a version that shares its work under torchrun")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        print(json.dumps(globals()[asked.what](asked, Path(folder)), indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())

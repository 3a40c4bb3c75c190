"""What `prepare` costs, and how fast its folder is read: `python -m benchmarks.prepare passes|processes|access`.

passes      the whole pipeline, beside the bare networks on decoded batches in memory, same threads, in turns
processes   two processes of one thread each, beside one of one thread
access      random batches from a folder of synthetic latents, and the growth of private memory (RssAnon)

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
from pathlib import Path

import numpy as np
import torch

from emoscene import stage
from emoscene.backbone import Backbone
from emoscene.data import encoding, preparation, records
from emoscene.data.dataset import Prepared
from emoscene.data.preparation import SHARD, prepare
from emoscene.data.records import Record
from emoscene.world.layouts import write

BATCH = 64


def world(folder: Path, number: int) -> Path:
    """An imagefolder without captions, of 256 px."""
    root = write("imagefolder", number, 0, folder / "raw", size=256)
    (root / "metadata.jsonl").unlink(missing_ok=True)
    return root


def passes(asked: argparse.Namespace, folder: Path) -> dict:
    """Seconds of the pipeline over those of its networks, the median of the turns."""
    torch.set_num_threads(asked.threads)
    root, backbone = world(folder, asked.number), Backbone.load(asked.base)
    networks = preparation.networks(backbone, *preparation.companions(backbone, asked.emotion_clip, asked.captioner))
    some = source(root, backbone).pictures(range(min(256, asked.number)))
    pictures = [(Record(id=str(number)), image) for number, (_, image) in enumerate(some)]
    call = {"root": root, "base": asked.base, "emotion_clip": asked.emotion_clip, "captioner": asked.captioner}
    ratios = []
    for turn in range(asked.turns):
        began = time.perf_counter()
        for first in range(0, asked.number, encoding.BATCH):
            place = first % len(pictures)
            networks.read(pictures[place : place + encoding.BATCH])
        bare = time.perf_counter() - began
        began = time.perf_counter()
        prepare("imagefolder", out=folder / f"turn-{turn}", tell=str, workers=asked.threads, **call)
        ratios.append((time.perf_counter() - began) / bare)
    return {"pipeline to networks": statistics.median(ratios), "turns": ratios, "pictures": asked.number}


def source(root: Path, backbone: Backbone):
    """The pictures as the pipeline reads them."""
    cls = preparation.plugins.find("sources", "imagefolder")
    return cls(root, cls.Config(), backbone.size)


def processes(asked: argparse.Namespace, folder: Path) -> dict:
    """Seconds of one process over those of two, from the start of the work to its end."""
    root = world(folder, asked.number)
    line = [sys.executable, "-m", "emoscene", "prepare", "imagefolder", f"--root={root}", f"--base={asked.base}"]
    seconds = {}
    for count in (1, 2):
        began = time.perf_counter()
        hands = [
            subprocess.Popen(
                [*line, f"--out={folder / f'by-{count}'}", "workers=1", "captioner=none"],
                env=os.environ | {"RANK": str(rank), "WORLD_SIZE": str(count), "OMP_NUM_THREADS": "1"},
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            for rank in range(count)
        ]
        assert [hand.wait() for hand in hands] == [0] * count
        seconds[count] = time.perf_counter() - began
    same = len({stage.read(folder / f"by-{count}")["fingerprint"] for count in (1, 2)}) == 1
    return {"speed-up": seconds[1] / seconds[2], "seconds": seconds, "same bytes": same, "pictures": asked.number}


def access(asked: argparse.Namespace, folder: Path) -> dict:
    """Samples a second in random batches, and megabytes of private memory that reading them added."""
    opened = stage.Stage.open(folder / "prepared", "prepared", {"number": asked.number})
    rng = np.random.default_rng(0)
    parts = [opened.path / name for name in encoding.names(asked.number, SHARD)]
    for shard, part in enumerate(parts):
        numbers = range(shard * SHARD, min((shard + 1) * SHARD, asked.number))
        latents = records.packed(rng.normal(size=(len(numbers), 4, asked.side, asked.side)))
        rows = [
            Record(f"p-{number}", weights=tuple(np.eye(8)[number % 8]), caption="a lake", latent=latent, shape=shape)
            for number, (latent, shape) in zip(numbers, latents, strict=True)
        ]
        encoding._stream(records.table(rows), part)
    preparation.index(opened.path, parts)
    opened.finish(encoder="")
    data = Prepared(opened.path, "methods")
    orders = [rng.integers(0, len(data), BATCH).tolist() for _ in range(asked.samples // BATCH)]
    for order in orders[: len(orders) // 4]:
        data.rows(order, ["latent", "weights", "caption"])
    before, began = private(), time.perf_counter()
    for order in orders:
        data.rows(order, ["latent", "weights", "caption"])
    seconds = time.perf_counter() - began
    grown = private() - before
    return {"samples a second": len(orders) * BATCH / seconds, "RssAnon grown, MB": grown, "rows": asked.number}


def private() -> float:
    """Private memory of this process, in MB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("RssAnon")) / 1024


def main() -> int:
    """Run one of the three."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.prepare", description=__doc__)
    parser.add_argument("what", choices=("passes", "processes", "access"))
    parser.add_argument("--base", default="mini")
    parser.add_argument("--emotion-clip")
    parser.add_argument("--captioner", default="")
    parser.add_argument("--number", type=int, default=4096, help="pictures, or rows")
    parser.add_argument("--samples", type=int, default=100_000)
    parser.add_argument("--side", type=int, default=64, help="of a synthetic latent; Stable Diffusion's is 64")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--turns", type=int, default=3)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        print(json.dumps(globals()[asked.what](asked, Path(folder)), indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())

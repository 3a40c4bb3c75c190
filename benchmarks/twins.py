"""What `prepare` finds of near duplicates, and what it does not: `python -m benchmarks.twins --images 500`.

Each rendered scene is changed in each way, and the share of copies that land in the group of their scene is counted.
Beside it: pairs of different scenes that land in one group, milliseconds of hashing an image of 1024 x 768, seconds and
megabytes of grouping random hashes. `--beside FILE` does the same with the `duplicates.py` of an older version.

The result is one JSON object on stdout.
"""

import argparse
import importlib.util
import json
import os
import sys
import time
import tracemalloc
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont, ImageOps

from emoscene.data import duplicates
from emoscene_mini.world.render_pool import render_images

ALIKE = 4  # what `prepare` takes where nothing is said
SMALL = 64  # pixels of the scenes that are only compared with each other
TIMES = 20
Change = Callable[[Image.Image, np.random.Generator], Image.Image]


def compress(image: Image.Image, quality: int) -> Image.Image:
    """The image from a JPEG of that quality."""
    buffer = BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return Image.open(BytesIO(buffer.getvalue())).convert("RGB")


def crop(image: Image.Image, share: float, left: float = 0.5, top: float = 0.5) -> Image.Image:
    """That share cut off each axis; `left` and `top` say which part of it is cut at the left and at the top."""
    width, height = image.size
    wide, high = round(width * (1 - share)), round(height * (1 - share))
    x, y = round((width - wide) * left), round((height - high) * top)
    return image.crop((x, y, x + wide, y + high))


def add_frame(image: Image.Image, share: float, colour: str) -> Image.Image:
    """A frame of one colour, in a JPEG."""
    return compress(ImageOps.expand(image, max(1, round(image.width * share)), colour), 85)


def add_bars(image: Image.Image) -> Image.Image:
    """Black bars above and below, in a JPEG."""
    return compress(ImageOps.expand(image, (0, image.height // 6), "black"), 85)


def add_watermark(image: Image.Image, text: str, share: float, place: tuple[float, float], anchor: str) -> Image.Image:
    """Half transparent white letters; share: their height."""
    layer = Image.new("RGBA", image.size)
    where = (image.width * place[0], image.height * place[1])
    font = ImageFont.load_default(image.height * share)
    ImageDraw.Draw(layer).text(where, text, fill=(255, 255, 255, 128), font=font, anchor=anchor)
    return Image.alpha_composite(image.convert("RGBA"), layer).convert("RGB")


def shrink(image: Image.Image) -> Image.Image:
    """Half the size."""
    return image.resize((image.width // 2, image.height // 2), Image.Resampling.LANCZOS)


CHANGES: Mapping[str, Change] = {
    "mirrored": lambda image, rng: ImageOps.mirror(image),
    "mirrored, JPEG quality 50": lambda image, rng: compress(ImageOps.mirror(image), 50),
    "JPEG quality 20": lambda image, rng: compress(image, 20),
    "half size": lambda image, rng: shrink(image),
    "grey": lambda image, rng: image.convert("L").convert("RGB"),
    "watermark in a corner": lambda image, rng: add_watermark(image, "photos.example", 0.08, (0.97, 0.95), "rs"),
    "watermark across": lambda image, rng: add_watermark(image, "SAMPLE", 0.25, (0.5, 0.5), "mm"),
    "white frame, 5 % a side": lambda image, rng: add_frame(image, 0.05, "white"),
    "black frame, 2 % a side": lambda image, rng: add_frame(image, 0.02, "black"),
    "grey frame, 10 % a side": lambda image, rng: add_frame(image, 0.1, "grey"),
    "bars above and below": lambda image, rng: add_bars(image),
    "middle 95 %": lambda image, rng: crop(image, 0.05),
    "middle 90 %": lambda image, rng: crop(image, 0.1),
    "95 % from anywhere": lambda image, rng: crop(image, 0.05, *rng.random(2)),
    "95 % from a corner": lambda image, rng: crop(image, 0.05, 0.0, 1.0),
}


@dataclass(frozen=True)
class Contender:
    """A way to hash and to group images."""

    hash: Callable[[Image.Image], Any]
    group: Callable[[np.ndarray, np.ndarray, int], np.ndarray]
    shape: tuple[int, ...]

    def hash_all(self, images: Sequence[Image.Image]) -> np.ndarray:
        """The hashes of some images [N, ...]."""
        return np.array([self.hash(image) for image in images], np.uint64)

    def find_groups(self, looks: np.ndarray) -> np.ndarray:
        """The groups of images that are no equal files [N]."""
        return self.group(np.arange(len(looks), dtype=np.uint64), looks, ALIKE)


def load_older(path: Path) -> ModuleType:
    """The `duplicates.py` of an older version."""
    spec = importlib.util.spec_from_file_location("older_duplicates", path)
    if spec is None or spec.loader is None:
        raise SystemExit(f"{path} is no Python file: give --beside the duplicates.py of an older version")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def measure_found(contender: Contender, scenes: Sequence[Image.Image]) -> dict[str, float]:
    """The share of copies that are in the group of their scene, for each change."""
    rng = np.random.default_rng(0)
    whole, found = contender.hash_all(scenes), {}
    for name, change in CHANGES.items():
        copies = contender.hash_all([change(scene, rng) for scene in scenes])
        groups = contender.find_groups(np.concatenate([whole, copies]))
        found[name] = float((groups[: len(scenes)] == groups[len(scenes) :]).mean())
    return found


def measure_false(contender: Contender, scenes: Sequence[Image.Image]) -> dict[str, int]:
    """Pairs of different scenes that are in one group."""
    _, sizes = np.unique(contender.find_groups(contender.hash_all(scenes)), return_counts=True)
    pairs = len(scenes) * (len(scenes) - 1) // 2
    return {"pairs in one group": int((sizes * (sizes - 1) // 2).sum()), "of pairs": pairs, "largest": int(sizes.max())}


def measure_cost(contender: Contender, scene: Image.Image, number: int) -> dict[str, float]:
    """Milliseconds of hashing an image, seconds and megabytes of grouping random hashes."""
    image = scene.resize((1024, 768), Image.Resampling.BICUBIC)
    contender.hash(image)
    began = time.process_time()
    for _ in range(TIMES):
        contender.hash(image)
    hashing = (time.process_time() - began) / TIMES
    looks = np.random.default_rng(0).integers(1, 2**63, (number, *contender.shape), dtype=np.uint64)
    began = time.process_time()
    contender.find_groups(looks)
    grouping = time.process_time() - began
    tracemalloc.start()
    contender.find_groups(looks)
    peak = tracemalloc.get_traced_memory()[1] / 2**20
    tracemalloc.stop()
    return {"hashing, ms": 1000 * hashing, "grouping, s": grouping, "grouping, MB": peak, "hashes": number}


def render_scenes(first: int, number: int, size: int) -> list[Image.Image]:
    """Rendered scenes, the seeds from `first` on."""
    orders = [{"seed": seed} for seed in range(first, first + number)]
    return [Image.fromarray(made.pixels) for made in render_images(orders, size, workers=os.cpu_count())]


def main(words: Sequence[str] | None = None) -> int:
    """Measure this version, and the older one where it is given."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.twins", description=__doc__)
    parser.add_argument("--images", type=int, default=500, help="scenes that are changed in each way")
    parser.add_argument("--size", type=int, default=192, help="their side in pixels")
    parser.add_argument("--different", type=int, default=2000, help="scenes that are compared with each other")
    parser.add_argument("--hashes", type=int, default=118_000, help="random hashes that are grouped")
    parser.add_argument("--beside", type=Path, help="the duplicates.py of an older version")
    asked = parser.parse_args(words)
    contenders = {"this version": Contender(duplicates.hash_looks, duplicates.group_duplicates, (duplicates.HASHES,))}
    if asked.beside:
        older = load_older(asked.beside)
        contenders["beside"] = Contender(older.perceptual_hash, older.group_duplicates, ())
    scenes = render_scenes(0, asked.images, asked.size)
    different = render_scenes(asked.images, asked.different, SMALL)
    rows = {}
    for name, contender in contenders.items():
        rows[name] = {
            "found": measure_found(contender, scenes),
            "different scenes": measure_false(contender, different),
            **measure_cost(contender, scenes[0], asked.hashes),
        }
    print(json.dumps(rows | {"images": asked.images}, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())

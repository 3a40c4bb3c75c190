"""Seconds and peak memory of each metric on one core: `python -m benchmarks.metrics --images 20000`.

The images are random predictions: features of `--dim` numbers, in eight emotions x prompts x seeds, held against as
many real images. `--folder` makes each image a prompt of its own, as images from a folder are: then no two images share
a bootstrap weight. A metric's peak is what it allocates beyond its input (tracemalloc, which NumPy reports to); the
process's peak (resource) has everything in it, Python and the input too. Spectra are timed on images of several sides.

Seconds are those of the clock, and beside them those that the core worked: on a machine that others use too, the former
tell of the others. The status is 1 where the core works more than 60 s for all metrics together, or the process holds
more than 2 GB.
"""

import argparse
import json
import sys
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table
from threadpoolctl import threadpool_limits

from emoscene.core import registry
from emoscene.evaluation.metrics.base import Predictions
from emoscene.evaluation.metrics.sharpness import power_spectrum
from emoscene.evaluation.statistics import paired_difference
from emoscene.learning.precision import peak_memory

MOST_SECONDS, MOST_BYTES = 60.0, 2e9
SIDES = (512, 1024, 2048)


def make_predictions(count: int, dim: int, folder: bool = False, seed: int = 0, seeds: int = 5) -> Predictions:
    """Make random predictions of `count` images, with every field that a metric reads."""
    rng = np.random.default_rng(seed)
    numbers = np.arange(count)
    asked = numbers % 8
    prompts, seed_numbers = numbers // 8 // seeds, numbers // 8 % seeds
    if folder:
        prompts, seed_numbers = numbers, np.zeros(count, np.int64)
    features = rng.standard_normal((count, dim), np.float32)
    features += rng.standard_normal((8, dim), np.float32)[asked]
    vectors = rng.standard_normal((count, dim), np.float32)
    return Predictions(
        prompt=prompts,
        seed=seed_numbers,
        asked=asked,
        likely=rng.dirichlet(np.ones(8), count),
        features=features,
        gradient=rng.random(count),
        spectrum=rng.standard_normal((count, 256)),
        scene=rng.dirichlet(np.ones(20), count),
        place=numbers % 20,
        by="judge",
        vectors=vectors,
        texts=vectors,
        guide=rng.dirichlet(np.ones(8), count),
    )


def measure_cost(run: Callable[[], object]) -> dict[str, float]:
    """Measure the seconds of a call, by the clock and of the core, and the most bytes that it added."""
    tracemalloc.start()
    began, idle = time.perf_counter(), time.process_time()
    run()
    seconds, core = time.perf_counter() - began, time.process_time() - idle
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return {"seconds": seconds, "core": core, "peak": float(peak)}


def measure_metrics(count: int, dim: int, folder: bool) -> dict[str, dict[str, float]]:
    """Measure the cost of every metric and of a paired difference."""
    made, real = make_predictions(count, dim, folder), make_predictions(count, dim, True, 1)
    made = Predictions(**{**vars(made), "originals": real, "edits": np.arange(count)})
    made = Predictions(**{**vars(made), "alike": made.gradient, "near": made.gradient})
    rows = {}
    for name in registry.list_names("metrics"):
        metric = registry.load_plugin("metrics", name)
        rows[name] = measure_cost(lambda metric=metric: metric(made, real))
    one, other = made.gradient, real.gradient
    rows["paired difference"] = measure_cost(lambda: paired_difference(one, other, made.prompt, made.seed))
    return rows


def measure_spectra() -> dict[str, dict[str, float]]:
    """Measure the cost of one image's power spectrum, by its side."""
    rows = {}
    for side in SIDES:
        picture = np.random.default_rng(0).integers(0, 256, (1, side, side, 3), np.uint8)
        rows[f"spectrum of {side} x {side}"] = measure_cost(lambda picture=picture: power_spectrum(picture))
    return rows


def main() -> int:
    """Measure, print the table, write the JSON."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.metrics", description=__doc__)
    parser.add_argument("--images", type=int, default=20000)
    parser.add_argument("--dim", type=int, default=512)
    parser.add_argument("--folder", action="store_true", help="each image is a prompt of its own")
    parser.add_argument("--out", type=Path, default=Path("out/bench-metrics.json"))
    asked = parser.parse_args()
    with threadpool_limits(1):
        rows = measure_metrics(asked.images, asked.dim, asked.folder)
        process = float(peak_memory())
        spectra = measure_spectra()
    seconds, core = (sum(row[part] for row in rows.values()) for part in ("seconds", "core"))
    table = Table(
        "", "seconds", "of the core", "peak, MB", title=f"{asked.images} images of {asked.dim} numbers, one core"
    )
    for name, row in {**rows, **spectra}.items():
        table.add_row(name, f"{row['seconds']:.2f}", f"{row['core']:.2f}", f"{row['peak'] / 1e6:.0f}")
    table.add_row("all metrics; the process", f"{seconds:.2f}", f"{core:.2f}", f"{process / 1e6:.0f}")
    asked.out.parent.mkdir(parents=True, exist_ok=True)
    found = {"images": asked.images, "dim": asked.dim, "folder": asked.folder, "rows": rows, "spectra": spectra}
    asked.out.write_text(json.dumps(found | {"seconds": seconds, "core": core, "peak": process}, indent=1))
    Console().print(table)
    return int(core > MOST_SECONDS or process > MOST_BYTES)


if __name__ == "__main__":
    sys.exit(main())

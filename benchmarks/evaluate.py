"""What `evaluate` takes beyond generating and judging alone: `python -m benchmarks.evaluate`. The aim is 10 % at most.

A turn evaluates into a new folder; then it paints the same rows and has the same judges read the pictures, nothing
else. The ratio of the two is the turn's result, the median over the turns with the quartiles the benchmark's. Loading
is in neither: both sides load the same base, and the plain side's is taken off the other's time.
"""

import argparse
import json
import statistics
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

from rich.console import Console
from rich.table import Table

from emoscene.evaluation.evaluate import evaluate
from emoscene.evaluation.generate import load_prompts, parse_seeds, plan_samples
from emoscene.evaluation.judges import load_judges
from emoscene.pipeline.generate import load


def turn(asked: argparse.Namespace, folder: Path) -> tuple[float, float]:
    """Seconds of `evaluate` without loading, and of painting and judging alone."""
    prompts, seeds = load_prompts(asked.prompts)[: asked.num], parse_seeds(asked.seeds)
    began = time.perf_counter()
    pipe, judges = load(asked.base, method=asked.method), load_judges(asked.base, asked.judge)
    loaded = time.perf_counter()
    rows = [row for _, row in plan_samples(pipe, prompts, seeds, num_inference_steps=asked.steps)]
    pictures = [image for _, image in pipe.generate({row.file: row for row in rows}.values())]
    for judge in judges.values():
        judge.read(pictures)
    alone = time.perf_counter() - loaded
    loading, began = loaded - began, time.perf_counter()
    call = {"base": asked.base, "method": asked.method, "judge": asked.judge, "num_inference_steps": asked.steps}
    evaluate(out=folder, prompts=prompts, seeds=seeds, on_message=lambda line: None, **call)
    return time.perf_counter() - began - loading, alone


def main() -> int:
    """Take turns, print the table, write the JSON."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.evaluate", description=__doc__)
    parser.add_argument("--base", default="mini")
    parser.add_argument("--method", default="prompt")
    parser.add_argument("--judge", action="append", default=[])
    parser.add_argument("--prompts", default=str(Path(__file__).parent.parent / "src/emoscene_mini/prompts.toml"))
    parser.add_argument("--num", type=int, default=6, help="prompts")
    parser.add_argument("--seeds", default="0:2")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--out", type=Path, default=Path("out/bench-evaluate.json"))
    asked = parser.parse_args()
    with TemporaryDirectory() as folder:
        turns = [turn(asked, Path(folder) / str(number)) for number in range(asked.turns)]
    ratios = [whole / alone for whole, alone in turns]
    low, middle, high = statistics.quantiles(ratios, n=4) if len(ratios) > 1 else ratios * 3
    table = Table("evaluate, s", "painting and judging, s", "ratio, median", "quartiles")
    seconds = [statistics.median(side) for side in zip(*turns, strict=True)]
    table.add_row(*(f"{side:.2f}" for side in seconds), f"{middle:.3f}", f"{low:.3f} to {high:.3f}")
    asked.out.parent.mkdir(parents=True, exist_ok=True)
    asked.out.write_text(json.dumps({"turns": turns, "ratio": middle, "quartiles": [low, high]}, indent=1))
    Console().print(table)
    return 0


if __name__ == "__main__":
    sys.exit(main())

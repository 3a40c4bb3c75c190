"""What it takes to train each adapter of a base: `python -m benchmarks.adapters --data PREPARED --out out/adapters`.

Every method that learns is trained by its recipe, in as many processes of one thread as there are cores. A row each
says seconds, parameters, and what is left of the loss on unseen pictures (`journal`); the drawing has its curve, and
beside it how often the guide tells the emotion of unseen latents at each noise level. Runs that are there are read, and
not trained again.
"""

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from emoscene.core import run_dir
from emoscene.learning.learner import CARD
from emoscene.reporting.figures import HIGH, WIDE, Point, draw_lines, draw_mark
from emoscene_mini.recipe import ADAPTERS

STYLE = """
text { font: 11px system-ui, sans-serif; fill: #6b6862 } text.head { font-size: 12px; fill: #2b2a28 }
.axis, .grid { stroke: #ddd9d0; fill: none } .way { stroke: currentColor; stroke-width: 1.6; fill: none }
.bar { display: none } .paper { fill: #faf8f4 }
"""


def trained(name: str, asked: argparse.Namespace) -> dict[str, Any]:
    """The manifest of a run, trained now unless it is there."""
    out = asked.out / name
    if not (out / CARD).is_file():
        words = ["emoscene", "train", name, "--data", str(asked.data), "--base", asked.base, "--out", str(out)]
        torchrun = ["torch.distributed.run", "--standalone", f"--nproc_per_node={asked.processes}", "-m"]
        more = ["--resume"] if (out / "checkpoints").is_dir() else []
        line = [sys.executable, "-m", *torchrun, *words, *more, f"validate_every={asked.every}"]
        subprocess.run(line, check=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    return run_dir.read_manifest(out)


def curve(name: str, manifest: dict[str, Any]) -> list[Point]:
    """How much of its whole fall the loss on unseen pictures has fallen, against the share of the training done.

    The whole is told in the table: a noise prediction has little to gain from the emotion, a classifier everything.
    """
    losses = [row["loss"]["all"] for row in manifest["history"]]
    fallen = [(losses[0] - loss) / (losses[0] - min(losses)) for loss in losses]
    steps = [row["step"] / manifest["history"][-1]["step"] for row in manifest["history"]]
    return [Point(name, x, y, y, y) for x, y in zip(steps, fallen, strict=True)]


def drawing(manifests: dict[str, dict[str, Any]], proof: dict[str, Any]) -> str:
    """Both drawings side by side, an SVG that needs no other file."""
    names = list(manifests)
    losses = {name: curve(name, manifest) for name, manifest in manifests.items()}
    told = [Point("guidance", t / 1000, a, a, a) for t, a in zip(proof["t"], proof["accuracy"], strict=True)]
    left = draw_lines(losses, names, "share of the training", "fall of the loss on unseen pictures")
    right = draw_lines({"guidance": told}, names, "noise level t / T", "the guide tells the emotion of unseen latents")
    parts = [
        f'<svg x="{x}" y="0" width="{WIDE}" height="{HIGH}" {part.removeprefix("<svg ")}'
        for x, part in ((0, left), (WIDE + 20, right))
    ]
    marks = [
        f'<g transform="translate({60 + 110 * number} {HIGH + 14})">{draw_mark(number)}'
        f'<text x="9" y="4">{name}</text></g>'
        for number, name in enumerate(names)
    ]
    size = f'viewBox="0 0 {2 * WIDE + 20} {HIGH + 26}" width="{3 * WIDE}"'
    inside = "".join(['<rect class="paper" width="100%" height="100%"/>', *parts, *marks])
    return f'<svg xmlns="http://www.w3.org/2000/svg" {size}><style>{STYLE}</style>{inside}</svg>\n'


def main() -> None:
    """Train, tell, draw."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.adapters", description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("out/prepared"))
    parser.add_argument("--out", type=Path, default=Path("out/adapters"))
    parser.add_argument("--base", default="mini")
    parser.add_argument("--processes", type=int, default=os.cpu_count())
    parser.add_argument("--every", type=int, default=150, help="steps between two losses on unseen pictures")
    parser.add_argument("--drawing", type=Path, help="where the drawing goes; OUT/adapters.svg")
    asked = parser.parse_args()
    asked.out.mkdir(parents=True, exist_ok=True)
    manifests = {name: trained(name, asked) for name in ADAPTERS}
    proof = json.loads((asked.out / "guidance" / CARD).read_text())["proof"]
    table = Table("adapter", "seconds", "samples", "parameters", "loss left")
    rows = {}
    for name, manifest in manifests.items():
        losses = [row["loss"]["all"] for row in manifest["history"]]
        cost, left = manifest["cost"], min(losses) / losses[0]
        rows[name] = {**cost, "left": left, "history": manifest["history"]}
        told = f"{cost['seconds']:.0f}", f"{cost['pictures']:,}", f"{cost['trainable']:,}", f"{left:.3f}"
        table.add_row(name, *told)
    Console(width=110).print(table)
    run_dir.write_atomic(asked.out / "adapters.json", json.dumps({"adapters": rows, "proof": proof}, indent=1).encode())
    run_dir.write_atomic(asked.drawing or asked.out / "adapters.svg", drawing(manifests, proof).encode())


if __name__ == "__main__":
    main()

"""Does tuning help, and does it survive a death? `python -m benchmarks.tuning --data out/prepared`.

Shortened trials on the miniature by two workers, each a process of its own on half of the cores. Once half of the
trials are finished, the first worker is killed in the middle of its next one (SIGKILL), and the other must complete
the study, the dead one's trial included. Then the judges compare the winner with the default on the miniature's own
prompts; the selector never saw these, nor their seeds. The aim: within 30 minutes on four cores, and a paired
difference whose interval is not wholly below 0. The same command goes on where it stopped.
"""

import argparse
import json
import os
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

from rich.console import Console
from rich.table import Table

from emoscene.data.preparation import prepare

MINUTES = 30
SEARCH = {
    "guidance": "steps=300 batch_size=64 lr=3e-4..1e-2 smoothing=0.0..0.2 classifier_scale=4..40 "
    "interval_start=0.0..0.4 guidance_scale=2..8",
    "lora": "steps=200 batch_size=16 lr=3e-4..1e-2 rank=4,8,16 token_lr_multiplier=1..50 guidance_scale=2..8",
}
"""What is searched of each method; the rest is its recipe."""


def worker(asked: argparse.Namespace, log: Path) -> subprocess.Popen[bytes]:
    """A worker, its words in a file of its own."""
    words = ["tune", asked.method, "--data", asked.data, "--out", asked.out, "--trials", asked.trials]
    words += ["--seeds", asked.seeds, f"looks={asked.looks}", f"rungs={asked.rungs}", f"pulse={asked.pulse}"]
    words += [*(["--prompts", asked.prompts] if asked.prompts else []), *(asked.search or SEARCH[asked.method]).split()]
    threads = str(max(1, (os.cpu_count() or 1) // asked.workers))
    with log.open("ab") as file:
        command = [sys.executable, "-m", "emoscene", *map(str, words)]
        return subprocess.Popen(command, stdout=file, stderr=file, env={**os.environ, "OMP_NUM_THREADS": threads})


def states(asked: argparse.Namespace) -> list[str]:
    """The states of all trials so far, none where nobody made the study yet."""
    try:
        with closing(sqlite3.connect(f"file:{asked.out / 'study.db'}?mode=ro", uri=True)) as database:
            return [state for (state,) in database.execute("SELECT state FROM trials")]
    except sqlite3.OperationalError:  # no file yet, or no table
        return []


def race(asked: argparse.Namespace) -> tuple[float, bool]:
    """Run the workers, kill the first half-way; returns the seconds and whether there was one to kill."""
    began, killed = time.perf_counter(), False
    logs = asked.out.parent
    logs.mkdir(parents=True, exist_ok=True)
    workers = [worker(asked, logs / f"{asked.out.name}-{number}.log") for number in range(asked.workers)]
    try:
        while any(process.poll() is None for process in workers):
            time.sleep(2)
            found = states(asked)
            done = sum(state in {"COMPLETE", "PRUNED"} for state in found)
            if not killed and 2 * done >= asked.trials and found.count("RUNNING") == asked.workers > 1:
                workers[0].kill()
                killed = True
    finally:
        for process in workers:
            process.kill()
    for process in workers[killed:]:
        if process.wait():
            sys.exit(f"a worker failed: see {logs / asked.out.name}-*.log")
    return time.perf_counter() - began, killed


def main() -> int:
    """Prepare, search, print the table, write the JSON."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.tuning", description=__doc__)
    parser.add_argument("--method", default="guidance", choices=sorted(SEARCH))
    parser.add_argument("--data", type=Path, default=Path("out/prepared"), help="made if it is not there")
    parser.add_argument("--out", type=Path, default=Path("out/bench-tuning"))
    parser.add_argument("--trials", type=int, default=12)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--seeds", default="0:2", help="of the judges' pictures")
    parser.add_argument("--prompts", default="", help="the judges'; left out, the miniature's own")
    parser.add_argument("--looks", type=int, default=4)
    parser.add_argument("--rungs", type=int, default=1)
    parser.add_argument("--pulse", type=int, default=20)
    parser.add_argument("--search", default="", help="instead of what stands in SEARCH")
    asked = parser.parse_args()
    if not asked.data.exists():
        prepare("mini", out=asked.data, limit=6000)
    seconds, killed = race(asked)
    facts = json.loads((asked.out / "comparison.json").read_text(encoding="utf8"))
    gaps = {what: value["high"] for what, value in facts["differences"].items() if what.startswith("emotion")}
    counts = {state: states(asked).count(state) for state in sorted(set(states(asked)))}
    told = {"seconds": round(seconds), "killed": killed, "states": counts, "cores": os.cpu_count(), **facts}
    asked.out.with_suffix(".json").write_text(json.dumps(told, indent=1), encoding="utf8")
    table = Table("what", "figure", "aim")
    table.add_row("minutes, judging included", f"{seconds / 60:.1f}", f"<= {MINUTES}")
    table.add_row("a worker was killed half-way", str(killed), "True")
    table.add_row("trials by state", ", ".join(f"{count} {state}" for state, count in counts.items()), "")
    for what, value in facts["differences"].items():
        table.add_row(
            f"{what}: winner - default", f"{value['value']:+.3f} [{value['low']:+.3f}, {value['high']:+.3f}]", ""
        )
    for what, high in gaps.items():
        table.add_row(f"{what}: not wholly below 0", f"{high:+.3f}", ">= 0")
    Console().print(table)
    return int(seconds > 60 * MINUTES or not killed or min(gaps.values()) < 0)


if __name__ == "__main__":
    sys.exit(main())

"""Mutation testing: small bugs by the hundred, and how many of them the tests find. `make mutants` is this.

    python tests/mutants/run.py --number 200 --seed 0

A seeded sample of all mutations of the modules below is tried, each in a copy of the tree, by the fast tests that
cover its module, until the first fails. One that runs out of time counts as killed. The survivors are listed; the exit
code is 1 below a score of .90. Tests that fail without any bug are left out and named, for they prove nothing.
"""

from __future__ import annotations

import argparse
import random
import shutil
import sys
import time
from collections import Counter
from pathlib import Path

from mutations import Mutation, list_mutations
from trees import ROOT, Trial, copied_tree, import_heavy_packages, run_tests

ENOUGH = 0.90
MODULES = {
    "training/loop.py": ("golden_training", "training", "callbacks", "training_ranks", "train"),
    "training/state.py": ("golden_training", "training", "training_ranks", "train"),
    "training/callbacks.py": ("golden_training", "training_ranks", "train"),
    "training/train.py": ("training_call", "train", "training", "photographs"),
    "training/dataloader.py": ("golden_training", "training"),
    "training/dry_run.py": ("training_call", "train"),
    "training/__init__.py": ("training",),
    "learning/optimizers.py": ("golden_training", "optimizers", "training"),
    "pipeline/image_inputs.py": ("golden_generation", "editing", "foreign"),
    "pipeline/samplers.py": ("golden_generation", "sampling", "editing"),
    "pipeline/pipeline.py": (
        "golden_generation",
        "sampling",
        "dial",
        "editing",
        "emotions",
        "finite",
        "results",
        "digests",
        "accelerator_generation",
    ),
    "methods/base.py": ("golden_generation", "golden_training", "methods", "multimodal", "accelerator_training"),
}
"""Of each module, under `src/emoscene`, the test files that cover it, the quickest first."""


def main() -> int:
    """Draw the sample, try each mutant, print the score."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--number", type=int, default=200, help="mutants to try (default 200)")
    parser.add_argument("--seed", type=int, default=0, help="of the sample (default 0)")
    parser.add_argument("--only", default="", help="part of a module's path: only its mutants are drawn from")
    parser.add_argument("--part", default="1/1", help="of the sample, for several processes: 1/2 and 2/2 are the whole")
    parser.add_argument("--list", action="store_true", help="list the sample and try nothing")
    parser.add_argument("--seconds", type=float, default=1e9, help="stop after so many; the score is of what was tried")
    asked = parser.parse_args()
    every = [(name, one) for name in MODULES if asked.only in name for one in mutations_of(name)]
    sample = random.Random(asked.seed).sample(every, min(asked.number, len(every)))
    part, parts = (int(number) for number in asked.part.split("/"))
    sample = sample[part - 1 :: parts]
    print(f"{len(every)} mutants in {len(MODULES)} modules; {len(sample)} are tried (seed {asked.seed})", flush=True)
    if asked.list:
        for name, one in sample:
            print(describe(name, one))
        return 0
    return try_all(sample, time.monotonic() + asked.seconds)


def mutations_of(name: str) -> list[Mutation]:
    """All mutants of a module."""
    return list_mutations((ROOT / "src/emoscene" / name).read_text(encoding="utf8"))


def test_files(name: str) -> list[str]:
    """The test files that cover a module."""
    return [f"tests/test_{part}.py" for part in MODULES[name]]


def describe(name: str, one: Mutation) -> str:
    """A mutant in a line."""
    return f"{name}:{one.line} [{one.kind}] {one.before}  ->  {one.after}"


def try_all(sample: list[tuple[str, Mutation]], until: float) -> int:
    """Try each mutant; prints all survivors and the score; returns the exit code."""
    import_heavy_packages()
    kinds: Counter[str] = Counter()
    survivors = []
    with copied_tree() as tree:
        whole: dict[str, Trial] = {}
        for file in sorted({file for name, _ in sample for file in test_files(name)}):
            whole[file] = run_tests(tree, [file], 600.0, first=False)
            left_out = f"; left out, for they fail: {', '.join(whole[file].failed)}" if whole[file].failed else ""
            print(f"{file}: {whole[file].seconds:.0f} s without a bug{left_out}", flush=True)
        for number, (name, one) in enumerate(sample, 1):
            if time.monotonic() > until:
                print(f"out of time after {number - 1} mutants")
                break
            verdict = try_one(tree, name, one, whole)
            kinds[verdict] += 1
            print(f"{number:3} {verdict:8} {describe(name, one)}", flush=True)
            if verdict == "survived":
                survivors.append(describe(name, one))
    tried = sum(kinds.values())
    score = 1 - len(survivors) / max(1, tried)
    print(f"\n{len(survivors)} survivors:", *survivors, sep="\n  ")
    counted = ", ".join(f"{count} {verdict}" for verdict, count in sorted(kinds.items()))
    print(f"mutation score {score:.3f} of {tried} mutants ({counted}); at least {ENOUGH:.2f} is wanted")
    return 0 if score >= ENOUGH else 1


def try_one(tree: Path, name: str, one: Mutation, whole: dict[str, Trial]) -> str:
    """Whether the tests of a module find a mutant: `killed`, `timeout` or `survived`."""
    target = tree / "src/emoscene" / name
    target.write_text(one.text, encoding="utf8")
    try:
        for file in test_files(name):
            trial = run_tests(tree, [file], 60 + 4 * whole[file].seconds, deselected=whole[file].failed)
            if trial.code is None:
                return "timeout"
            if trial.code not in (0, 5):  # 5: no test was left
                return "killed"
    finally:
        shutil.copy2(ROOT / "src/emoscene" / name, target)
    return "survived"


if __name__ == "__main__":
    sys.exit(main())

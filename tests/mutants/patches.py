"""Prove that each one-line bug of this folder is found by the tests that it names: `python tests/mutants/patches.py`.

First the tests run on a copy that is as it should be, where they must pass; then once for each patch, where they must
fail. Ends with 1 if one does not.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from trees import ROOT, apply_patch, copied_tree, import_heavy_packages, killers, run_tests

SECONDS = 600.0


def main() -> int:
    """Try all patches, or those whose names are given."""
    patches = sorted(Path(__file__).parent.glob("*.patch"))
    if len(sys.argv) > 1:
        patches = [path for path in patches if path.stem in sys.argv[1:]]
    import_heavy_packages()
    survivors = []
    with copied_tree() as tree:
        named = sorted({name for path in patches for name in killers(path.read_text(encoding="utf8"))})
        plain = run_tests(tree, named, SECONDS, first=False)
        if plain.code != 0:
            print(
                f"without any patch these fail: {', '.join(plain.failed)}\n{(tree / 'output.txt').read_text()[-2000:]}"
            )
            return 1
        for path in patches:
            text = path.read_text(encoding="utf8")
            file = apply_patch(tree, text)
            trial = run_tests(tree, killers(text), SECONDS)
            shutil.copy2(ROOT / file.relative_to(tree), file)
            killed = trial.code == 1 and bool(trial.failed)
            print(
                f"{'killed  ' if killed else 'SURVIVED'} {trial.seconds:5.1f} s  {path.stem}  {' '.join(trial.failed)}",
                flush=True,
            )
            if not killed:
                survivors.append(path.stem)
    print(f"{len(patches) - len(survivors)} of {len(patches)} one-line bugs are found")
    return 1 if survivors else 0


if __name__ == "__main__":
    sys.exit(main())

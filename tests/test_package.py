"""The face: what can be imported, and what importing costs."""

import subprocess
import sys
import tomllib
from importlib.util import find_spec
from pathlib import Path

import pytest

import emoscene
from emoscene.cli.verbs import list_verbs, load_verb

ROOT = Path(__file__).parent.parent


def python(code):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()


def test_the_public_names_are_these():
    verbs = [
        *("load", "generate", "train", "evaluate", "tune", "report", "export", "prepare", "doctor", "web"),
        *("ls", "study", "verify", "clean", "show", "demo", "mini"),
    ]
    assert emoscene.__all__ == ["__version__", *verbs]
    assert set(verbs) <= set(dir(emoscene))


def test_every_verb_of_the_command_line_is_a_function():
    assert set(emoscene.VERBS) - {"load"} == set(list_verbs())
    assert {name for name in list_verbs() if "recipe" in load_verb(name).options} == emoscene.RECIPES


def test_ls_and_show_cost_no_torch():
    code = "import sys, emoscene; emoscene.ls('methods'); emoscene.show('lora'); print('torch' in sys.modules)"
    assert python(code).endswith("False")


@pytest.mark.parametrize("verb", emoscene.VERBS)
def test_every_verb_can_be_called(verb):
    assert callable(getattr(emoscene, verb))


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'paint'"):
        _ = emoscene.paint


def test_importing_the_package_loads_nothing_heavy():
    heavy = "{'torch', 'numpy', 'PIL', 'diffusers', 'transformers'}"
    assert python(f"import sys, emoscene; print({heavy} & set(sys.modules))") == "set()"


def test_listing_plugins_loads_no_torch():
    listing = "[p.list_options(k, n) for k in p.KINDS for n in p.list_names(k)]"
    code = f"import sys; from emoscene.core import registry as p; {listing}"
    assert python(f"{code}; print('torch' in sys.modules)") == "False"


def test_versions_agree():
    citation = (ROOT / "CITATION.cff").read_text()
    assert f"version: {emoscene.__version__}\n" in citation
    assert f"## {emoscene.__version__}" in (ROOT / "CHANGELOG.md").read_text()


def test_pins_keep_the_floors_of_the_project():
    pins = dict(line.split("==") for line in (ROOT / "constraints.txt").read_text().splitlines() if "==" in line)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    for need in project["dependencies"]:
        name, _, floor = need.partition(">=")
        assert tuple(map(int, pins[name].split("."))) >= tuple(map(int, floor.split(".")))
    assert find_spec("torch") is None or "+" not in pins["torch"]

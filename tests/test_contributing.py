"""CONTRIBUTING.md: the paths it sends people to exist, names are in their files, every plug-in kind has a line."""

import ast
import re
import tomllib
from pathlib import Path

import pytest

from emoscene.core import registry

ROOT = Path(__file__).parent.parent
TEXT = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf8")
PATH = re.compile(r"`((?:src|tests|docs)/[\w./-]+|[\w-]+\.(?:md|toml|txt))`")
NAMED = re.compile(r"`([A-Z]\w+)`[^`|]* (?:of|in) `(src/[\w/]+\.py)`")
"""A name and the file that it stands in: `FORMATS` of `src/...py`."""
SAID = {
    "methods",
    "encoders",
    "sources",
    "metrics",
    "baselines",
    "bases",
    "families",
    "samplers",
    "optimizers",
    "recipes",
    "lexicons",
    "formats",
    "taxonomies",
}


def list_rows():
    """The lines of the table by their first cell."""
    rows = [line.strip("| ").split(" | ") for line in TEXT.splitlines() if line.startswith("| a")]
    return {cells[0]: cells for cells in rows}


def list_names(path):
    """What a Python file defines at its top level."""
    found = set()
    for node in ast.parse(path.read_text(encoding="utf8")).body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef):
            found.add(node.name)
        if isinstance(node, ast.Assign):
            found |= {target.id for target in node.targets if isinstance(target, ast.Name)}
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            found.add(node.target.id)
    return found


@pytest.mark.parametrize("path", sorted(set(PATH.findall(TEXT))))
def test_every_path_exists(path):
    assert (ROOT / path).exists()


@pytest.mark.parametrize(("name", "path"), NAMED.findall(TEXT))
def test_every_name_stands_in_its_file(name, path):
    assert name in list_names(ROOT / path)


def test_the_table_says_where_everything_is_added():
    asked = ("method", "judge", "data source", "base", "sampler", "optimizer", "export format", "option of `generate`")
    for thing in asked:
        assert [row for row in list_rows() if thing in row], thing
    assert len(NAMED.findall(TEXT)) >= 4
    for cells in list_rows().values():
        assert len(cells) == 4
        assert PATH.search(" ".join(cells)) or "`Config`" in cells[1]


@pytest.mark.parametrize("kind", sorted(SAID))
def test_a_plugin_goes_where_the_registry_looks_for_it(kind):
    folder = registry.HOME / registry.KINDS[kind]
    [cells] = [cells for cells in list_rows().values() if cells[3] == f"`emoscene.{kind}`"]
    assert f"`{folder.relative_to(ROOT).as_posix()}`" in cells[1]


def test_every_entry_point_of_the_miniature_is_explained():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf8"))["project"]
    kinds = {group.removeprefix("emoscene.") for group in project["entry-points"]} - {"prompts", "verbs"}
    assert kinds <= SAID

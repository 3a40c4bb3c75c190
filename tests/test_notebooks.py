"""The notebooks: short, of public verbs alone, without outputs, and each runs from top to bottom."""

import ast
import json
import os
import re
from pathlib import Path

import pytest

import emoscene
from emoscene.pipeline.image_inputs import DEFAULT_STRENGTH

FOLDER = Path(__file__).parent.parent / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
every_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
SMALL = {"STEPS": "2", "PICTURES": "64", "SEEDS": "0:1", "DRAWN": "2"}
PICTURES = {"01": 1 + 4 + 1, "03": 3 * (3 + 1), "05": 1 + 3 + 1 + 2}  # of the controls, the one that is painted at once


def cells(path, kind="code"):
    found = json.loads(path.read_text(encoding="utf8"))["cells"]
    return ["".join(cell["source"]) for cell in found if cell["cell_type"] == kind]


def test_there_are_five_and_each_opens_with_its_title():
    assert [path.stem[:2] for path in NOTEBOOKS] == ["01", "02", "03", "04", "05"]
    assert all(cells(path, "markdown")[0].startswith("# ") for path in NOTEBOOKS)


@every_notebook
def test_it_is_short_and_keeps_no_output(path):
    found = json.loads(path.read_text(encoding="utf8"))["cells"]
    assert not [cell for cell in found if cell.get("outputs") or cell.get("execution_count")]
    assert sum(len(text.splitlines()) for text in cells(path)) <= 80


@every_notebook
def test_it_uses_public_verbs_alone(path):
    for node in (node for text in cells(path) for node in ast.walk(ast.parse(text))):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "emoscene":
            assert node.attr in emoscene.__all__
        if isinstance(node, ast.ImportFrom) and node.module.startswith("emoscene"):
            assert node.module == "emoscene.core.taxonomy"


def test_the_strength_of_an_edit_is_the_default_and_its_neighbours():
    (loop,) = (text for text in cells(FOLDER / "05_edit.ipynb") if "for strength in" in text)
    (sliders,) = (text for text in cells(FOLDER / "05_edit.ipynb") if "slider(" in text)
    low, default, high = sorted(ast.literal_eval(re.search(r"for strength in (\(.*\)):", loop)[1]))
    assert low < default == DEFAULT_STRENGTH < high
    assert f'slider("strength", {DEFAULT_STRENGTH}, ' in sliders


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@every_notebook
def test_it_runs_from_top_to_bottom(path, tmp_path, monkeypatch):
    nbclient, nbformat = pytest.importorskip("nbclient"), pytest.importorskip("nbformat")
    pytest.importorskip("ipywidgets")
    for name, value in {**SMALL, "OUT": str(tmp_path), "PYTHONWARNINGS": "default"}.items():
        monkeypatch.setitem(os.environ, name, value)
    notebook = nbformat.read(path, as_version=4)
    client = nbclient.NotebookClient(
        notebook, timeout=900, startup_timeout=600, resources={"metadata": {"path": str(tmp_path)}}
    )
    client.execute()
    controls = [output for one in client.widget_state.values() for output in one.get("outputs", [])]
    said = [output for cell in notebook.cells for output in cell.get("outputs", [])] + controls
    assert not [output for output in said if output["output_type"] == "error"]
    assert json.dumps(said).count("image/png") == PICTURES.get(path.stem[:2], 0)

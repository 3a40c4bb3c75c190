"""The notebooks: short, of public verbs alone, committed with their outputs, and each runs from top to bottom."""

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
SMALL = {"STEPS": "2", "IMAGES": "64", "SEEDS": "0:1", "INFERENCE_STEPS": "2"}
# How many images each shows; controls show one at once.
IMAGES = {"01": 1 + 4 + 1, "02": 1, "03": 3 * (3 + 1), "04": 1, "05": 1 + 3 + 1 + 2, "06": 0}
MAX_BYTES = 1_500_000  # of all notebooks
MACHINE = re.compile(r"/(home|root|tmp|work|Users|usr)/|[A-Z]:\\\\|\bms\b|[0-9] s(econds)?\b|━|u001b")
"""Absolute paths, timings and progress bars."""


def cells(path, kind="code"):
    found = json.loads(path.read_text(encoding="utf8"))["cells"]
    return ["".join(cell["source"]) for cell in found if cell["cell_type"] == kind]


def test_there_are_six_and_each_opens_with_its_title():
    assert [path.stem[:2] for path in NOTEBOOKS] == ["01", "02", "03", "04", "05", "06"]
    assert all(cells(path, "markdown")[0].startswith("# ") for path in NOTEBOOKS)


@every_notebook
def test_it_is_short(path):
    assert sum(len(text.splitlines()) for text in cells(path)) <= 80


@every_notebook
def test_it_is_committed_as_it_ran(path):
    """Executed once from top to bottom: its images are there, and nothing tells which machine it was."""
    notebook = json.loads(path.read_text(encoding="utf8"))
    code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert [cell["execution_count"] for cell in code] == list(range(1, len(code) + 1))
    outputs = [output for cell in code for output in cell["outputs"]]
    assert not [output for output in outputs if output["output_type"] == "error" or output.get("name") == "stderr"]
    images = [output["data"].pop("image/jpeg") for output in outputs if "image/jpeg" in output.get("data", {})]
    assert len(images) == IMAGES[path.stem[:2]]
    assert not MACHINE.search(json.dumps(outputs, ensure_ascii=False))
    assert "widgets" not in notebook["metadata"]


def test_together_they_are_small():
    assert sum(path.stat().st_size for path in NOTEBOOKS) <= MAX_BYTES


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


def test_the_first_adapter_says_what_it_skips_where_there_is_no_gpu():
    notebook = json.loads((FOLDER / "06_first_adapter.ipynb").read_text(encoding="utf8"))
    said = "".join("".join(output["text"]) for cell in notebook["cells"] for output in cell.get("outputs", []))
    assert said.count("Skipped: ") == 4
    assert "(estimated)" in said


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
    assert json.dumps(said).count('"image/png"') == IMAGES[path.stem[:2]]

"""Executes the notebooks on the miniature and stores them with their outputs, small enough for the repository.

    make notebooks                      all of them
    python notebooks/run.py 01 05       these alone

Each runs in an empty folder, so that its paths are relative. Controls need a running kernel, so what a control shows at
first is stored in its place. Images become JPEGs at most `SIDE` pixels wide. Progress bars, and lines that tell how
fast this machine is, are left out. The sixth wants a GPU and photographs; where these are missing, its cells say so.
"""

import base64
import sys
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory

import nbformat
from nbclient import NotebookClient
from PIL import Image

FOLDER = Path(__file__).parent
SIDE, QUALITY = 720, 85
WIDGET = "application/vnd.jupyter.widget-view+json"
PROGRESS_BAR = '<pre style="white-space:pre;'  # how rich's HTML begins
TIMING = "time: "  # how a line about this machine's speed begins


def shrink_image(data):
    """A PNG in base64 as a small JPEG in base64."""
    image = Image.open(BytesIO(base64.b64decode(data))).convert("RGB")
    image.thumbnail((SIDE, 10 * SIDE))
    buffer = BytesIO()
    image.save(buffer, "JPEG", quality=QUALITY, optimize=True)
    return base64.b64encode(buffer.getvalue()).decode()


def make_static(outputs, widgets):
    """The outputs of a cell as a reader without a kernel sees them."""
    static = []
    for output in outputs:
        data = output.get("data", {})
        if WIDGET in data:
            state = widgets.get(data[WIDGET]["model_id"], {})
            shown = [nbformat.from_dict(one) for one in state.get("outputs", [])]
            static += make_static(shown, widgets)
            continue
        if data.get("text/html", "").startswith(PROGRESS_BAR):
            continue
        if "image/png" in data:
            data["image/jpeg"] = shrink_image(data.pop("image/png"))
        if output["output_type"] == "stream":
            lines = output["text"].splitlines(keepends=True)
            output["text"] = "".join(line for line in lines if not line.startswith(TIMING))
            if static and static[-1].get("name") == output["name"]:
                static[-1]["text"] += output["text"]
                continue
        static.append(output)
    return static


def run_notebook(path):
    """Execute a notebook, and store it with its outputs."""
    notebook = nbformat.read(path, as_version=4)
    metadata = notebook.metadata.copy()
    with TemporaryDirectory() as folder:
        resources = {"metadata": {"path": folder}}
        client = NotebookClient(notebook, timeout=None, resources=resources, record_timing=False)
        client.execute()
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs = make_static(cell.outputs, client.widget_state)
    notebook.metadata = metadata
    nbformat.write(notebook, path)


if __name__ == "__main__":
    for path in sorted(FOLDER.glob("*.ipynb")):
        if not sys.argv[1:] or path.stem[:2] in sys.argv[1:]:
            print(path.name, flush=True)
            run_notebook(path)

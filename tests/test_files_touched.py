"""How many files an addition touches: each one is made in a copy of the package, used from end to end, and counted.

    a generation parameter                       three files: its field, the image's field, and where it acts
    a sampler, an optimizer, an export format    one new file each

The edits below are all that is done to the copy. If another file had a list of its own, what was added would be missing
there: in the help, in the command line, in Python's keywords and their types, in a PNG, or in training. So the test
fails when an addition needs more than it says.
"""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import tiny
from emoscene.core.taxonomy import EMOTIONS

ROOT = Path(__file__).parent.parent
PARAMETER = {
    "core/request.py": (
        '    image: ImageInput | None = parameter(\n        None,\n        "an image to change;',
        "    noise_scale: float = parameter(\n"
        '        1.0, "factor of the noise prediction", "float", SAMPLING, EVERYWHERE[:2],\n'
        '        span=(0.0, 2.0), label="Noise scale", aliases=("noise",),\n'
        "    )\n",
    ),
    "core/params.py": (
        "    seconds: float | None = None\n",
        '    noise_scale: float = PARAMETERS["noise_scale"].default\n',
    ),
    "pipeline/samplers.py": (
        "            prediction = chain.apply_guidance(prediction, x_t, time, positive)\n",
        "            prediction *= torch.tensor([row.noise_scale for row in rows]).view(-1, 1, 1, 1)\n",
    ),
}
"""Of each file, the text before which something is written, and what."""
SAMPLER = '# DEIS: a multistep method.\nlabel = "DEIS"\nscheduler = "DEISMultistepScheduler"\n'
OPTIMIZER = '# RMSprop.\nclass = "torch.optim.RMSprop"\n\n[settings]\nalpha = 0.9\n'

FORMAT = '''"""The words of an inversion as one text file."""

from emoscene.exports.artifact import Artifact, ExportBundle


def words(artifact: Artifact) -> ExportBundle:
    """Plan the file."""
    text = "\\n".join(artifact.tokens).encode()
    return ExportBundle("emoscene", {"words.txt": text}, {"words.txt": "the words"}, "print('awe')", "not at all")
'''

USE_PARAMETER = """
import contextlib, io, json, sys, typing
from pathlib import Path

import emoscene
from emoscene.cli.main import main
from emoscene.core import run_dir
from emoscene.core.errors import UsageError
from emoscene.core.images import read_params
from emoscene.core.params import GenerationParams
from emoscene.core.request import GenerationWords
from PIL import Image

base, out = sys.argv[1:]
said = {"package": emoscene.__file__}
with contextlib.redirect_stdout(io.StringIO()) as shown:
    main(["generate", "--help"])
said["help"] = " ".join(shown.getvalue().split())
line = ["generate", "a dog", f"--base={base}", "--device=cpu", "--steps=1", "--seed=3"]
with contextlib.redirect_stdout(io.StringIO()):
    said["codes"] = [main([*line, "--noise", "0.5", f"--out={out}/half"]), main([*line, f"--out={out}/whole"])]
files = [next(Path(out, name).glob("*.png")) for name in ("half", "whole")]
said["rows"] = [read_params(file).to_dict()["noise_scale"] for file in files]
said["index"] = [row["noise_scale"] for row in run_dir.read_jsonl(f"{out}/half/images.jsonl")]
said["a1111"] = Image.open(files[0]).info["parameters"]
said["same"] = Image.open(files[0]).tobytes() == Image.open(files[1]).tobytes()
pipe = emoscene.load(base, device="cpu")
again = pipe("a dog", num_inference_steps=1, seed=3, noise_scale=0.5)
said["python"] = again.images[0].tobytes() == Image.open(files[0]).tobytes()
said["typed"] = typing.get_type_hints(GenerationWords)["noise_scale"] is float
said["old"] = GenerationParams.from_dict({"prompt": "a dog"}).noise_scale
try:
    said["row"] = str(GenerationParams.from_dict({"prompt": "a dog", "noise_scale": "boo"}))
except UsageError as error:
    said["row"] = str(error)
for words in ({"noise_scale": 3}, {"noise_scal": 1}):
    try:
        pipe.plan("a dog", **words)
    except UsageError as error:
        said.setdefault("refused", []).append(str(error))
print(json.dumps(said))
"""
USE_FILES = """
import contextlib, io, json, sys
from dataclasses import replace
from pathlib import Path

import torch
from PIL import Image

import emoscene
import lines
from emoscene.cli.main import main
from emoscene.core.images import read_params
from emoscene.diffusion.model import DiffusionModel
from emoscene.learning import learner
from emoscene.learning.optimizers import make_optimizers
from emoscene.methods.inversion import Inversion
from emoscene.training.loop import run_training

base, out = sys.argv[1:]
said = {"package": emoscene.__file__}
for line in (["generate", "--help"], ["ls", "samplers"], ["ls", "optimizers"], ["export", "--help"], ["ls", "formats"]):
    with contextlib.redirect_stdout(io.StringIO()) as shown:
        main(line)
    said[" ".join(line)] = " ".join(shown.getvalue().split())

with contextlib.redirect_stdout(io.StringIO()):
    line = ["generate", "a dog", f"--base={base}", "--device=cpu", "--steps=3", "--sampler=deis", f"--out={out}/deis"]
    said["generated"] = main(line)
[file] = Path(out, "deis").glob("*.png")
said["row"], said["a1111"] = read_params(file).sampler, Image.open(file).info["parameters"]
again = emoscene.load(base, device="cpu")("a dog", num_inference_steps=3, sampler="deis")
said["python"] = again.images[0].tobytes() == Image.open(file).tobytes()

config = replace(lines.FAST, optimizer="rmsprop", steps=3)
line_learner = lines.Line()
before = line_learner.layer.weight.detach().clone()
run_training(line_learner, lines.Points(), config, Path(out, "rmsprop"))
said["moved"] = not torch.equal(before, line_learner.layer.weight)
[made] = make_optimizers(lines.Line(), 1e-3, 0.0, 0.0, "rmsprop")
said["made"] = [type(made).__name__, made.defaults["alpha"]]

trained = Path(out, "trained")
trained.mkdir()
model = DiffusionModel.load(base)
learner.save_learner(Inversion.from_scratch(Inversion.Config(), model), "inversion", trained, model)
with contextlib.redirect_stdout(io.StringIO()):
    line = ["export", str(trained), "--to=words", f"--base={base}", "--steps=1", "--device=cpu", f"--out={out}/line"]
    said["exported"] = main(line)
emoscene.export(trained, to="words", base=base, steps=1, device="cpu", out=f"{out}/python", on_message=str)
said["files"] = [Path(out, name, "words.txt").read_text().split() for name in ("line", "python")]
said["card"] = Path(out, "line", "README.md").read_text()
print(json.dumps(said))
"""


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A copy of the package `emoscene`, to be changed."""
    ignored = shutil.ignore_patterns("__pycache__")
    return Path(shutil.copytree(ROOT / "src/emoscene", tmp_path / "src/emoscene", ignore=ignored))


def digest_files(package: Path) -> dict[str, str]:
    """The digest of each file of a package."""
    digests = {}
    for file in package.rglob("*"):
        if file.is_file() and "__pycache__" not in file.parts:
            digests[file.relative_to(package).as_posix()] = hashlib.sha256(file.read_bytes()).hexdigest()
    return digests


def list_touched(before: dict[str, str], package: Path) -> list[str]:
    """The files of a copy that are not as they were: changed, new or gone."""
    after = digest_files(package)
    return sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name))


def run(package: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run Python where `emoscene` is the copy."""
    places = [package.parent, ROOT / "src", ROOT / "tests"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, places)), "COLUMNS": "200"}
    done = subprocess.run([sys.executable, *words], env=environment, capture_output=True, encoding="utf8")
    assert done.returncode == 0, done.stderr
    return done


def use(package: Path, script: str) -> dict[str, Any]:
    """What a script says that uses the copy, a tiny base and an empty folder."""
    base = tiny.make(package.parent.parent / "base")
    said: dict[str, Any] = json.loads(run(package, "-c", script, str(base), str(base.parent / "out")).stdout)
    assert Path(said["package"]).parent == package
    return said


def add_parameter(package: Path) -> None:
    for name, (place, addition) in PARAMETER.items():
        text = (package / name).read_text(encoding="utf8")
        assert text.count(place) == 1, f"{name} changed: write the example anew"
        (package / name).write_text(text.replace(place, addition + place), encoding="utf8")
    run(package, "-m", "emoscene.core.typed_words")


@pytest.mark.slow
def test_a_generation_parameter_touches_three_files(package: Path) -> None:
    before = digest_files(package)
    add_parameter(package)
    said = use(package, USE_PARAMETER)
    assert "--noise-scale" in said["help"] and "factor of the noise prediction" in said["help"]
    assert said["codes"] == [0, 0]
    assert (said["rows"], said["index"], said["old"]) == ([0.5, 1.0], [0.5], 1.0)
    assert "noise_scale=boo is off" in said["row"]
    assert "Noise scale: 0.5" in said["a1111"]
    assert not said["same"] and said["python"] and said["typed"]
    assert said["refused"] == [
        "noise_scale=3 is out of range: it goes from 0.0 to 2.0",
        "no argument 'noise_scal': did you mean 'noise_scale'?",
    ]
    assert list_touched(before, package) == sorted(PARAMETER)
    assert len(PARAMETER) <= 3


@pytest.mark.slow
def test_a_sampler_an_optimizer_and_an_export_format_are_one_file_each(package: Path) -> None:
    added = {
        "core/samplers/deis.toml": SAMPLER,
        "learning/optimizer_specs/rmsprop.toml": OPTIMIZER,
        "exports/formats/words.py": FORMAT,
    }
    before = digest_files(package)
    for name, text in added.items():
        (package / name).write_text(text, encoding="utf8")
    said = use(package, USE_FILES)

    assert "deis" in said["generate --help"].partition("--sampler")[2][:200]
    assert "deis" in said["ls samplers"]
    assert (said["generated"], said["row"], said["python"]) == (0, "deis", True)
    assert "Sampler: DEIS" in said["a1111"]

    assert "rmsprop" in said["ls optimizers"]
    assert said["moved"] and said["made"] == ["RMSprop", 0.9]

    assert "words" in said["export --help"].partition("--to")[2][:200]
    assert "words" in said["ls formats"]
    assert (said["exported"], said["files"]) == (0, [list(EMOTIONS)] * 2)
    assert "words.txt" in said["card"]

    assert list_touched(before, package) == sorted(added)


@pytest.mark.slow
def test_a_file_too_few_is_noticed(package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the image's own field, the parameter is in no row."""
    monkeypatch.delitem(PARAMETER, "core/params.py")
    add_parameter(package)
    with pytest.raises(AssertionError, match="noise_scale"):
        use(package, USE_PARAMETER)

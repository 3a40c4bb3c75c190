"""A package of somebody else adds a base, an export format and a verb as the miniature does: by entry points."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = """
from emoscene.core import registry
from emoscene.diffusion.base_spec import find_spec, locate_weights

assert "theirs" in registry.list_names("bases")
spec = find_spec("theirs")
print(locate_weights(spec))
print(spec.guidance_scale)
"""
WORLD = """
import sys
from pathlib import Path

import their_models
from PIL import Image

from emoscene.core.image_origin import encode_mark, is_of_rendered_world, is_rendered, list_worlds, mark_rendered

own, other = mark_rendered(Image.new("RGB", (8, 8)), "theirs"), Image.new("RGB", (8, 8))
file = Path(sys.argv[1])
own.save(file, **encode_mark(own))
assert is_rendered(Image.open(file)) and not is_rendered(other)
assert b"their world" in encode_mark(Image.open(file))["exif"]

folder = Path(their_models.__file__).parent
assert is_of_rendered_world(folder / "weights/base") and not is_of_rendered_world(folder.parent)
print(list_worlds()["theirs"])
"""


def write_package(site: Path) -> Path:
    """Write an installed distribution into a folder: a package with a table and a base's folder, and its metadata."""
    base = site / "their_models/weights/base"
    base.mkdir(parents=True)
    (base / "model_index.json").write_text("{}")
    (site / "their_models/__init__.py").write_text("")
    (site / "their_models/theirs.toml").write_text(
        '# Theirs.\nsource = "weights/base"\nguidance_scale = 3.5\nrendered_world = "their world"\n'
    )
    metadata = site / "their_models-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: their-models\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text("[emoscene.bases]\ntheirs = their_models:theirs.toml\n")
    return base


def run(site: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run Python with the folder on its path."""
    path = os.pathsep.join([str(site), *os.environ.get("PYTHONPATH", "").split(os.pathsep)])
    line = [sys.executable, *words]
    return subprocess.run(line, env={**os.environ, "PYTHONPATH": path}, capture_output=True, encoding="utf8")


@pytest.mark.slow
def test_a_base_of_another_package_is_found_with_its_files(tmp_path):
    base = write_package(tmp_path)
    done = run(tmp_path, "-c", SCRIPT)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [str(base), "3.5"]


def test_a_rendered_world_of_another_package_has_its_own_mark(tmp_path):
    """The product names no world: the table of the base does."""
    write_package(tmp_path)
    done = run(tmp_path, "-c", WORLD, str(tmp_path / "own.jpg"))
    assert done.returncode == 0, done.stderr
    assert done.stdout == "their world\n"


def test_a_table_that_its_package_lacks_is_one_sentence(tmp_path):
    write_package(tmp_path)
    (tmp_path / "their_models/theirs.toml").unlink()
    done = run(tmp_path, "-m", "emoscene", "show", "theirs")
    assert done.returncode == 1
    assert "theirs.toml" in done.stderr and "install the package again" in done.stderr
    assert done.stderr.count("\n") == 1


FORMAT = '''"""Plain: one file a token."""


def plain(artifact):
    """Plan the files."""
    raise SystemExit(f"planned {artifact}")
'''
VERB = '''"""Greets."""


def greet(name: str, *, times: int = 1, loud: bool = False, mood: str | None = None) -> None:
    """Greet somebody. It is polite.

        emoscene greet Ada --times 2

    Args:
        name: Whom to greet.
        times: How often
            it is said.
        mood: In what mood.
    """
    print(" ".join([f"hello {name}{'!' * loud}"] * times))
'''


def write_plugins(site: Path) -> None:
    """Write a package with an export format and a verb."""
    package, metadata = site / "their_tools", site / "their_tools-1.0.dist-info"
    package.mkdir()
    metadata.mkdir()
    (package / "__init__.py").write_text("")
    (package / "plain.py").write_text(FORMAT)
    (package / "greet.py").write_text(VERB)
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: their-tools\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text(
        "[emoscene.formats]\nplain = their_tools.plain:plain\n\n[emoscene.verbs]\ngreet = their_tools.greet:greet\n"
    )


def test_a_format_of_another_package_is_one_of_to(tmp_path):
    write_plugins(tmp_path)
    assert "Plain: one file a token." in run(tmp_path, "-m", "emoscene", "ls", "formats").stdout
    page = " ".join(run(tmp_path, "-m", "emoscene", "export", "--help").stdout.replace("│", " ").split())
    assert "[one of a1111, comfyui, diffusers, emoscene, kohya, plain]" in page
    done = run(tmp_path, "-m", "emoscene", "export", "a", "--to", "plane", "--out", "o")
    assert (done.returncode, done.stderr) == (2, "emoscene: no --to 'plane': did you mean 'plain'?\n")
    code = "from emoscene.core import registry; registry.load_plugin('formats', 'plain')('it')"
    assert run(tmp_path, "-c", code).stderr == "planned it\n"


def test_a_verb_of_another_package_is_read_from_its_function(tmp_path):
    write_plugins(tmp_path)
    page = run(tmp_path, "-m", "emoscene", "greet", "--help").stdout
    for words in ("Greet somebody", "NAME: Whom to greet", "How often it is said [default: 1]", "emoscene greet Ada"):
        assert words in page
    assert "polite" not in page
    assert run(tmp_path, "-m", "emoscene", "greet", "Ada", "--times", "2", "--loud").stdout == "hello Ada! hello Ada!\n"
    done = run(tmp_path, "-m", "emoscene", "greet")
    assert (done.returncode, done.stderr) == (2, "emoscene: greet needs NAME: emoscene greet Ada --times 2\n")
    done = run(tmp_path, "-m", "emoscene", "greet", "Ada", "--tims", "2")
    assert "did you mean '--times'?" in done.stderr
    assert "greet" in run(tmp_path, "-c", "import emoscene.cli.verbs as v; print(v.list_verbs())").stdout
    assert run(tmp_path, "-c", "import emoscene; emoscene.greet('Bo')").stdout == "hello Bo\n"

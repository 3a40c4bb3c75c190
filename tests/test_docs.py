"""The documentation: its lines can be read, its Python runs, its names exist, and it builds without a warning."""

import re
import shlex
import subprocess
import sys
from inspect import ismodule, unwrap
from pathlib import Path
from pydoc import locate

import numpy as np
import pytest

import emoscene
import tiny
from emoscene.cli.app import read_call
from emoscene.core import registry
from emoscene.diffusion import device

ROOT = Path(__file__).parent.parent
PAGES = {path.relative_to(ROOT / "docs").as_posix(): path.read_text() for path in sorted((ROOT / "docs").rglob("*.md"))}
SNIPPETS = {name: re.findall(r"```python\n(.*?)```", text, re.DOTALL) for name, text in PAGES.items()}
CITED = re.compile(r"([A-Z][\w'-]+)(?: et al\.| (?:&|and) [A-Z][\w'-]+)?,? \(?((?:19|20)\d\d)\b")
LINES = re.compile(r"^    (?:.* -m )?emoscene (.*)$", re.MULTILINE)


def lines():
    """Every command of every page, a line that goes on being one."""
    joined = ((name, re.sub(r"\\\n\s*", " ", text)) for name, text in PAGES.items() if name != "log.md")
    found = [
        (name, shlex.split(line.split(" # ")[0].rstrip("'"))) for name, text in joined for line in LINES.findall(text)
    ]
    return [pytest.param(words, id=f"{name}: {' '.join(words)[:60]}") for name, words in found]


@pytest.fixture
def hue(tmp_path, monkeypatch):
    """The page's method, installed as somebody's package with an entry point."""
    (source,) = re.findall(r'```python title="hue.py"\n(.*?)```', PAGES["method.md"], re.DOTALL)
    (point,) = re.findall(r"```toml\n(.*?)```", PAGES["method.md"], re.DOTALL)
    (tmp_path / "hue.py").write_text(source)
    about = tmp_path / "hue-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: hue\nVersion: 1.0\n")
    found = re.findall(r"^(\w+) = \"(.*)\"$", point, re.MULTILINE)
    (about / "entry_points.txt").write_text("[emoscene.methods]\n" + "".join(f"{k} = {v}\n" for k, v in found))
    monkeypatch.syspath_prepend(tmp_path)
    registry._list_entry_points.cache_clear()
    yield "hue"
    registry._list_entry_points.cache_clear()
    sys.modules.pop("hue", None)


@pytest.mark.parametrize("words", lines())
def test_every_line_can_be_read(words, hue, tmp_path, monkeypatch):
    verb = words[0]
    monkeypatch.chdir(tmp_path)
    for recipe in (Path(word) for word in words if word.endswith(".toml")):  # the files named are examples
        recipe.parent.mkdir(parents=True)
        recipe.touch()
    monkeypatch.setitem(sys.modules["emoscene.cli.options"].CHECKS, "base", str)
    assert read_call(verb, words[1:]).verb == verb


def test_the_method_of_the_page_works_as_any_other(hue, tmp_path):
    """One file, found by its name: on the dial, in company, and listed with its option."""
    assert hue in registry.list_names("methods")
    assert [option.name for option in registry.list_options("methods", hue)] == ["pull"]
    base = device.load_model(str(tiny.make(tmp_path / "base")))
    asked = {"seed": 3, "num_inference_steps": 3, "guidance_scale": 3.0}
    none = emoscene.load(base)("a lake", **asked).images[0]
    pipe = emoscene.load(base, method=hue, pull=2.0)
    assert np.array_equal(none, pipe("a lake", emotion="awe", emotion_scale=0.0, **asked).images[0])
    drawn = [np.asarray(pipe("a lake", emotion=name, **asked).images[0]) for name in ("awe", "anger")]
    assert not np.array_equal(*drawn)
    together = emoscene.load(base, method=f"prompt+{hue}", **{"hue.pull": 2.0})
    with pytest.warns(UserWarning, match="has room for"):  # the tiny base reads letter by letter
        assert not np.array_equal(none, together("a lake", emotion="awe", **asked).images[0])


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name, found in SNIPPETS.items() if found])
def test_the_python_of_each_page_runs(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for snippet in SNIPPETS[name]:
        exec(compile(snippet, name, "exec"), {})


def test_the_reference_has_every_verb_and_only_names_that_exist():
    named = re.findall(r"^::: ([\w.]+)$", PAGES["reference.md"], re.MULTILINE)
    there = [locate(name) for name in named]
    assert not [name for name, found in zip(named, there, strict=True) if found is None]
    verbs = {verb: getattr(emoscene, verb) for verb in emoscene.VERBS}
    calls = {verb: type(found).__call__ if ismodule(found) else unwrap(found) for verb, found in verbs.items()}
    assert not [verb for verb, call in calls.items() if call not in there]


def test_every_paper_that_the_code_names_has_its_line():
    rows = re.findall(r"^\| (.*?) \|", PAGES["papers.md"], re.MULTILINE)
    files = [path.read_text() for path in (ROOT / "src").rglob("*") if path.suffix in {".py", ".toml"}]
    formats = {("JPEG", "2000")}
    cited = {paper for text in files for paper in CITED.findall(re.sub(r"[\s#]+", " ", text))}
    assert {("Russell", "1980"), ("Kynkaanniemi", "2024"), ("Rombach", "2022"), ("EmoGen", "2024")} <= cited
    assert not [
        paper for paper in sorted(cited - formats) if not any(all(part in row for part in paper) for row in rows)
    ]


def test_every_page_is_in_the_menu_and_its_links_lead_somewhere():
    menu = set(re.findall(r": ([\w/]+\.md)$", (ROOT / "mkdocs.yml").read_text(), re.MULTILINE))
    assert menu == set(PAGES)
    for name, text in PAGES.items():
        for link in re.findall(r"\]\(([^)#:]+)\)", text):
            assert (ROOT / "docs" / name).parent.joinpath(link).exists(), f"{name}: {link}"


def test_the_readme_leads_to_every_page():
    links = set(re.findall(r"\]\(([^)#:]+)\)", (ROOT / "README.md").read_text()))
    assert {f"docs/{name}" for name in PAGES} <= links
    assert not [link for link in links if not (ROOT / link).exists()]


def test_what_is_said_of_the_pinned_base_is_what_is_pinned():
    assert f"{registry.load_table('bases', 'sd15')['gigabytes']} GB" in PAGES["guides/bases.md"]


@pytest.mark.slow
def test_it_builds_without_a_warning(tmp_path):
    line = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path / "site")]
    done = subprocess.run(line, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    page = (tmp_path / "site/reference/index.html").read_text()
    assert "emoscene.pipeline.generate.load" in page

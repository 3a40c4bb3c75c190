"""The order of reading, and the shape of what is read: a file imports only from rooms above its own.

A new room gets its line in ROOMS, where the story has it. The rules are stated in CONTRIBUTING.md.
"""

import ast
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

from count_style import code_lines, docstring_lines

SRC = Path(__file__).parent.parent / "src"
ROOMS = [
    "core",
    "diffusion",
    "learning",
    "encoders",
    "data",
    "methods",
    "pipeline",
    "training",
    "evaluation",
    "tuning",
    "reporting",
    "exports",
    "web",
    "cli",
]
"""The packages of `emoscene` in the order of the story: each imports only from those above it."""
MINIATURE = "emoscene_mini"
PLUGINS = (
    "emoscene.diffusion.families",
    "emoscene.methods",
    "emoscene.encoders",
    "emoscene.evaluation.metrics",
    "emoscene.evaluation.baselines",
    "emoscene.data.sources",
    "emoscene.exports.formats",
)
WITHOUT_TORCH = (
    "emoscene.core",
    "emoscene.reporting",
    "emoscene.cli.main",
    "emoscene.cli.app",
    "emoscene.cli.calls",
    "emoscene.cli.options",
    "emoscene.cli.verbs",
    "emoscene.cli.help",
    "emoscene_mini.world",
    "emoscene_mini.mini",
)
WITHOUT_TORCH_TOO = {"emoscene.diffusion.hub", "emoscene.evaluation.statistics", "emoscene"}
IMPORTS_TORCH = {"emoscene.core.seeds"}  # inside one function
NAMES_PIPELINES = {"emoscene.diffusion.families.sd1", "emoscene.exports.formats.diffusers", "emoscene.exports.artifact"}
OWN_PIPELINES = {"EmotionPipeline"}
IMPORTS_LATE = {
    "emoscene",
    "emoscene.cli.help",
    "emoscene.cli.main",
    "emoscene.core.registry",
    "emoscene.core.seeds",
    "emoscene.web",
}
DRAWERS = {"utils", "util", "common", "helpers", "misc"}
FILE, FUNCTION = 300, 60  # lines, without docstrings; of a file, without comments and blank lines too


def module_of(path):
    parts = path.relative_to(SRC).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


FILES = {module_of(path): path for path in sorted(SRC.rglob("*.py"))}


def every_file(check: Callable[[str], None]) -> Callable[[], None]:
    """A test that checks each file and names all that fail: a test for each check, not for each of 3,000 pairs."""

    def check_all() -> None:
        faults = []
        for module in FILES:
            try:
                check(module)
            except AssertionError as error:
                faults.append(f"{module}: {error}")
        assert not faults, "\n".join(faults)

    check_all.__name__ = check_all.__qualname__ = check.__name__
    check_all.__doc__ = check.__doc__
    return check_all


def room(module):
    """The package that a module of `emoscene` lies in; `.` for the root's own files."""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 and parts[1] in ROOMS else "."


def lies_in(module, packages):
    return any(module == package or module.startswith(f"{package}.") for package in packages)


@cache
def tree(module):
    return ast.parse(FILES[module].read_text(encoding="utf8"))


@cache
def imports(module):
    """Every module imported anywhere in a file; of this package, the file itself rather than what it holds."""
    found = set()
    for node in ast.walk(tree(module)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        if isinstance(node, ast.ImportFrom):
            assert not node.level, f"{module}: write the import in full"
            deeper = {f"{node.module}.{alias.name}" for alias in node.names} - {"emoscene.__version__"}
            found |= {name if name in FILES else str(node.module) for name in deeper}
    return found - {module}


def ours(module):
    return {name for name in imports(module) if name in FILES}


def test_the_root_has_few_rooms():
    inside = {path.name for path in (SRC / "emoscene").iterdir() if path.is_dir() and path.name != "__pycache__"}
    assert inside == set(ROOMS)
    assert len(ROOMS) <= 14


@pytest.mark.parametrize("package", [*(f"emoscene.{name}" for name in ROOMS), MINIATURE])
def test_a_package_says_what_lives_there(package):
    assert ast.get_docstring(tree(package))


@every_file
def test_a_file_imports_only_from_rooms_above_its_own(module):
    if lies_in(module, [MINIATURE]) or room(module) == ".":
        return
    below = {name for name in ours(module) if room(name) == "." or ROOMS.index(room(name)) > ROOMS.index(room(module))}
    assert below <= {"emoscene"}


@every_file
def test_the_product_imports_nothing_of_the_miniature(module):
    if not lies_in(module, [MINIATURE]):
        assert not {name for name in imports(module) if lies_in(name, [MINIATURE])}


@pytest.mark.parametrize("package", PLUGINS)
def test_no_plugin_imports_its_neighbour(package):
    inside = {name for name in FILES if name.startswith(f"{package}.") and not name.endswith(".base")}
    assert {name: ours(name) & inside for name in inside if ours(name) & inside} == {}


@every_file
def test_a_judge_is_never_the_guide(module):
    if room(module) == "methods":
        assert not {name for name in ours(module) if lies_in(name, ["emoscene.encoders", "emoscene.evaluation"])}


@every_file
def test_some_rooms_do_without_torch(module):
    heavy = {"torch", "diffusers", "transformers", "accelerate", "peft"}
    if (lies_in(module, WITHOUT_TORCH) or module in WITHOUT_TORCH_TOO) and module not in IMPORTS_TORCH:
        assert not {name.partition(".")[0] for name in imports(module)} & heavy


@every_file
def test_pipelines_are_named_in_few_files(module):
    names = {node.id for node in ast.walk(tree(module)) if isinstance(node, ast.Name)}
    names |= {name.rpartition(".")[2] for node in ast.walk(tree(module)) for name in aliases(node)}
    if module not in NAMES_PIPELINES:
        assert not {name for name in names if name.endswith("Pipeline")} - OWN_PIPELINES


def aliases(node):
    return [alias.name for alias in node.names] if isinstance(node, ast.Import | ast.ImportFrom) else []


def test_no_import_goes_in_a_circle():
    done = set()

    def walk(module, way):
        assert module not in way, " -> ".join([*way[way.index(module) :], module])
        if module not in done:
            for name in sorted(ours(module)):
                walk(name, [*way, module])
            done.add(module)

    for module in FILES:
        walk(module, [])


@every_file
def test_imports_stand_at_the_top(module):
    inside = [node.lineno for outer in functions(module) for node in ast.walk(outer) if aliases(node)]
    assert module in IMPORTS_LATE or not inside, f"lines {inside}"


@every_file
def test_files_and_functions_stay_short(module):
    text = FILES[module].read_text(encoding="utf8")
    assert code_lines(text, tree(module)) <= FILE
    described = docstring_lines(tree(module))
    for node in functions(module):
        own = set(range(node.lineno, node.end_lineno + 1)) - described
        assert len(own) <= FUNCTION, f"{node.name} has {len(own)} lines"


def functions(module):
    return [node for node in ast.walk(tree(module)) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]


@every_file
def test_no_exception_is_swallowed(module):
    for node in ast.walk(tree(module)):
        if isinstance(node, ast.ExceptHandler):
            assert node.type is not None, f"line {node.lineno}: a bare except"
            assert not isinstance(node.body[0], ast.Pass), f"line {node.lineno}: an exception is swallowed"


@every_file
def test_there_is_no_drawer(module):
    assert not set(module.split(".")) & DRAWERS


@every_file
def test_the_top_of_a_file_teaches(module):
    assert not tree(module).body or ast.get_docstring(tree(module)), f"{module} opens without a word"

"""Straight-line code and described functions, as `count_style.py` counts them; `ROOMS` grows until it is the whole."""

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from count_style import count_file, count_files, sum_styles

PACKAGE = Path(__file__).parent.parent / "src/emoscene"
ROOMS = sorted(path.name for path in PACKAGE.iterdir() if (path / "__init__.py").is_file())
MOST_COMPREHENSIONS, MOST_CONDITIONALS = 3.25, 1.5  # per 100 lines of code: half of 6.5, and the bound

every_room = pytest.mark.parametrize("room", ROOMS)


@cache
def styles_of_files():
    """Counted when the first test asks: pytest's other workers need not."""
    return count_files(PACKAGE)


def styles(room):
    return [style for file, style in styles_of_files().items() if file.startswith(f"{room}/")]


def count(text):
    return count_file("file.py", text, ast.parse(text), set())


def test_the_rooms_exist():
    assert all((PACKAGE / room).is_dir() for room in ROOMS)


@every_room
def test_no_comprehension_is_nested_and_no_conditional_is_a_chain(room):
    total = sum_styles(styles(room))
    assert (total.nested, total.chains) == ([], [])


@every_room
def test_public_functions_say_what_they_take_and_return(room):
    total = sum_styles(styles(room))
    assert (total.without_args, total.without_returns) == ([], [])


@every_room
def test_no_function_is_named_by_a_participle(room):
    assert sum_styles(styles(room)).participles == []


def test_comprehensions_and_conditional_expressions_are_few():
    total = sum_styles([style for room in ROOMS for style in styles(room)])
    assert total.per_hundred(total.comprehensions) <= MOST_COMPREHENSIONS
    assert total.per_hundred(total.conditionals) <= MOST_CONDITIONALS


def test_what_is_counted():
    style = count(
        '"""Doc."""\n\n# comment\nx = [a for b in c for a in b]\ny = 1 if x else 2 if z else (3 if w else 4)\n'
    )
    assert (style.code, style.comprehensions, style.conditionals) == (2, 1, 3)
    assert (len(style.nested), len(style.chains)) == (1, 2)


@pytest.mark.parametrize(
    ("docstring", "missing"),
    [
        ("One line.", (1, 1)),
        ("Add.\n\n    Args:\n        a: A number.\n    ", (0, 1)),
        ("Add.\n\n    Args:\n        a: A number.\n\n    Returns:\n        It.\n    ", (0, 0)),
    ],
)
def test_sections_are_looked_for(docstring, missing):
    style = count(f'def add(a: int) -> int:\n    """{docstring}"""\n')
    assert (len(style.without_args), len(style.without_returns)) == missing


def test_a_participle_is_seen_and_a_verb_is_not():
    text = "def told(): ...\ndef _opened(): ...\ndef embed(): ...\ndef read(): ...\n"
    assert [place.split()[1] for place in count(text).participles] == ["told", "_opened"]


NOUNS = [
    "images",
    "files",
    "groups",
    "pairs",
    "steps",
    "samples",
    "prompts",
    "seeds",
    "validations",
    "trials",
    "processes",
    "judges",
    "words",
    "edits",
    "labels",
    "pictures",
    "runs",
    "cores",
    "threads",
    "tokens",
    "captions",
    "panoramas",
    "parameters",
    "workers",
    "duplicates",
    "checkpoints",
    "methods",
    "items",
]
COUNTED = re.compile(rf"^ (?:\w+ )?(?:{'|'.join(NOUNS)})\b")
ALWAYS_SEVERAL = {
    "data/contradictions.py: count",  # a file and another
    "core/processes.py: verb",  # "prepare runs in one process"
    "core/run_dir.py: path",  # "out holds files"
    "pipeline/pipeline.py: len(self.images)",  # where they are not one
    "pipeline/remarks.py: longest",
    "reporting/comparisons.py: numbers",
    "training/checks.py: folder",
    "training/provision.py: data",
    "web/form.py: cost",
    "web/form.py: len(files)",
    "web/session.py: cells",
}
"""What stands before a plural in a message and is no number, or is more than one there."""


def list_counts(file: Path) -> Iterator[str]:
    """What stands in an f-string before a plural noun, but constants and what `format_count` wrote."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf8"))):
        if not isinstance(node, ast.JoinedStr):
            continue
        for value, words in zip(node.values, node.values[1:], strict=False):
            if not isinstance(value, ast.FormattedValue) or not isinstance(words, ast.Constant):
                continue
            written = ast.unparse(value.value)
            if COUNTED.match(words.value) and not written.isupper() and not written.startswith("format_count("):
                yield f"{file.relative_to(PACKAGE).as_posix()}: {written}"


def test_a_number_before_its_noun_is_written_so_that_one_is_no_plural() -> None:
    found = set()
    for file in sorted(PACKAGE.rglob("*.py")):
        found.update(list_counts(file))
    assert found == ALWAYS_SEVERAL

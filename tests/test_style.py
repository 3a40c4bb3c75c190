"""Straight-line code and described functions, as `count_style.py` counts them; `ROOMS` grows until it is the whole."""

import ast
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

"""Counts how straight the code of a package is, and how many of its public functions say what they take and return.

    python tests/count_style.py [FOLDER]...     a table for each tree, such as src/emoscene of two checkouts

A line of code is a line that holds at least one token; docstrings, comments and blank lines are left out. A public
function is one whose name, and whose class if it has one, has no leading underscore; a method that overrides a method
of a class in the same tree is described there, and a property has neither Args nor Returns.
"""

from __future__ import annotations

import ast
import io
import sys
import tokenize
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
DEFINITIONS = (*FUNCTIONS, ast.ClassDef, ast.Module)
SPACE = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER}
PARTICIPLES = {
    "told",
    "found",
    "lent",
    "worn",
    "read_by",
    "held",
    "kept",
    "made",
    "said",
    "felt",
    "seen",
    "given",
    "drawn",
}
NO_PARTICIPLE = {"embed", "feed", "need", "seed", "speed", "shed", "bed", "red", "proceed", "exceed"}
COLUMNS = f"{'':24}{'code':>7}{'compr.':>8}{'/100':>6}{'cond.':>7}{'/100':>6}"
COLUMNS += f"{'nested':>8}{'chains':>8}{'Args':>10}{'Returns':>10}"


@dataclass
class Style:
    """What was counted in some files; `nested`, `chains`, `undescribed` and `participles` are lists of places."""

    code: int = 0
    comprehensions: int = 0
    conditionals: int = 0
    with_parameters: int = 0
    with_results: int = 0
    nested: list[str] = field(default_factory=list)
    chains: list[str] = field(default_factory=list)
    without_args: list[str] = field(default_factory=list)
    without_returns: list[str] = field(default_factory=list)
    participles: list[str] = field(default_factory=list)

    def add(self, other: Style) -> None:
        """Add what was counted in other files."""
        for name, value in vars(other).items():
            setattr(self, name, getattr(self, name) + value)

    def per_hundred(self, count: int) -> float:
        """A count per 100 lines of code."""
        return 100 * count / max(1, self.code)

    def row(self, name: str) -> str:
        """A line of the table."""
        args = f"{self.with_parameters - len(self.without_args)}/{self.with_parameters}"
        returns = f"{self.with_results - len(self.without_returns)}/{self.with_results}"
        return (
            f"{name:24}{self.code:7}{self.comprehensions:8}{self.per_hundred(self.comprehensions):6.1f}"
            f"{self.conditionals:7}{self.per_hundred(self.conditionals):6.1f}"
            f"{len(self.nested):8}{len(self.chains):8}{args:>10}{returns:>10}"
        )


def docstring_lines(tree: ast.AST) -> set[int]:
    """The numbers of the lines that are docstrings, those of attributes among them."""
    lines: set[int] = set()
    for node in ast.walk(tree):
        for child in getattr(node, "body", []) if isinstance(node, DEFINITIONS) else []:
            if (
                isinstance(child, ast.Expr)
                and isinstance(child.value, ast.Constant)
                and isinstance(child.value.value, str)
            ):
                lines.update(range(child.lineno, child.end_lineno + 1))
    return lines


def code_lines(text: str, tree: ast.AST) -> int:
    """How many lines hold code."""
    lines: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type not in SPACE:
            lines.update(range(token.start[0], token.end[0] + 1))
    return len(lines - docstring_lines(tree))


def public_functions(tree: ast.Module) -> Iterator[tuple[ast.ClassDef | None, ast.FunctionDef]]:
    """The public functions of a file, with the class that a method belongs to."""
    for node in tree.body:
        if isinstance(node, FUNCTIONS) and not node.name.startswith("_"):
            yield None, node
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            for child in node.body:
                if isinstance(child, FUNCTIONS) and not child.name.startswith("_"):
                    yield node, child


def list_parameters(function: ast.FunctionDef) -> list[str]:
    """The names of a function's parameters, without `self` and `cls`."""
    arguments = function.args
    names = [argument.arg for argument in [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]]
    for extra in (arguments.vararg, arguments.kwarg):
        if extra is not None:
            names.append(extra.arg)
    return [name for name in names if name not in {"self", "cls"} and not name.startswith("_")]


def has_result(function: ast.FunctionDef) -> bool:
    """Whether the annotation says that something is returned."""
    returns = function.returns
    if returns is None or (isinstance(returns, ast.Constant) and returns.value is None):
        return False
    return ast.unparse(returns) not in {"NoReturn", "Never"}


def has_section(function: ast.FunctionDef, *names: str) -> bool:
    """Whether the docstring has one of these sections."""
    lines = [line.strip() for line in (ast.get_docstring(function) or "").splitlines()]
    return any(f"{name}:" in lines for name in names)


def decorators(function: ast.FunctionDef) -> set[str]:
    """The last names of a function's decorators."""
    return {ast.unparse(node).partition("(")[0].rpartition(".")[2] for node in function.decorator_list}


def is_property(function: ast.FunctionDef) -> bool:
    """Whether the function is read as an attribute; `overload`s are described by the last of them."""
    return bool(decorators(function) & {"property", "cached_property", "setter", "overload", "fixture"})


def list_overrides(trees: dict[str, ast.Module]) -> set[tuple[str, str, str]]:
    """(file, class, method) for each method that overrides a method of a class in the same trees."""
    classes: dict[str, ast.ClassDef] = {}
    for tree in trees.values():
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef):
                classes[node.name] = node

    def inherits(cls: ast.ClassDef, method: str, seen: frozenset[str] = frozenset()) -> bool:
        for base in cls.bases:
            name = ast.unparse(base).partition("[")[0].rpartition(".")[2]
            parent = classes.get(name)
            if parent is None or name in seen or name == cls.name:
                continue
            own = {child.name for child in parent.body if isinstance(child, FUNCTIONS)}
            if method in own or inherits(parent, method, seen | {name}):
                return True
        return False

    overrides = set()
    for file, tree in trees.items():
        for cls, function in public_functions(tree):
            if cls is not None and inherits(cls, function.name):
                overrides.add((file, cls.name, function.name))
    return overrides


def is_participle(name: str) -> bool:
    """Whether a function's name is one participle: a word in -ed, or an irregular one."""
    word = name.strip("_")
    if "_" in word or word in NO_PARTICIPLE:
        return False
    return word.endswith("ed") or word in PARTICIPLES


def count_file(file: str, text: str, tree: ast.Module, overrides: set[tuple[str, str, str]]) -> Style:
    """What one file holds."""
    style = Style(code=code_lines(text, tree))
    for node in ast.walk(tree):
        place = f"{file}:{getattr(node, 'lineno', 0)}"
        if isinstance(node, COMPREHENSIONS):
            style.comprehensions += 1
            if len(node.generators) > 1:
                style.nested.append(place)
        if isinstance(node, ast.IfExp):
            style.conditionals += 1
            if any(isinstance(part, ast.IfExp) for part in (node.test, node.body, node.orelse)):
                style.chains.append(place)
        if isinstance(node, FUNCTIONS) and is_participle(node.name):
            style.participles.append(f"{place} {node.name}")
    for cls, function in public_functions(tree):
        if is_property(function) or (cls is not None and (file, cls.name, function.name) in overrides):
            continue
        place = f"{file}:{function.lineno} {function.name}"
        if list_parameters(function):
            style.with_parameters += 1
            if not has_section(function, "Args"):
                style.without_args.append(place)
        if has_result(function):
            style.with_results += 1
            if not has_section(function, "Returns", "Yields"):
                style.without_returns.append(place)
    return style


def count_files(root: Path) -> dict[str, Style]:
    """What each file of a tree holds, by its path below the root."""
    texts = {path.relative_to(root).as_posix(): path.read_text(encoding="utf8") for path in sorted(root.rglob("*.py"))}
    trees = {file: ast.parse(text) for file, text in texts.items()}
    overrides = list_overrides(trees)
    return {file: count_file(file, text, trees[file], overrides) for file, text in texts.items()}


def sum_styles(styles: list[Style]) -> Style:
    """Several files as one."""
    total = Style()
    for style in styles:
        total.add(style)
    return total


def print_table(root: Path) -> None:
    """Print the counts of each room of a tree and of the whole."""
    files = count_files(root)
    rooms: dict[str, list[Style]] = {}
    for file, style in files.items():
        parts = Path(file).parts
        rooms.setdefault(parts[0] if len(parts) > 1 else ".", []).append(style)
    print(f"{root}\n{COLUMNS}")
    for name in sorted(rooms):
        print(sum_styles(rooms[name]).row(name))
    total = sum_styles(list(files.values()))
    print(total.row("together"))
    for what in ("nested", "chains", "participles"):
        places = getattr(total, what)
        print(f"{what} ({len(places)}): {', '.join(places[:8])}{' ...' if len(places) > 8 else ''}")


if __name__ == "__main__":
    for folder in sys.argv[1:] or ["src/emoscene"]:
        print_table(Path(folder))

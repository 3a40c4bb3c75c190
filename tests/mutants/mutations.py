"""Small bugs in a Python file, found by its syntax tree.

A mutation is one change of one node: a comparison, an operator or a truth value turned round, a number one off, a
`not` or a statement left out, `min` for `max`, None returned. Annotations and docstrings are no behaviour and are
left alone; so are `assert` and the `strict=` of `zip`, which are checks themselves.
"""

from __future__ import annotations

import ast
import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass

COMPARISONS: dict[type[ast.cmpop], tuple[type[ast.cmpop], ...]] = {
    ast.Lt: (ast.LtE, ast.GtE),
    ast.LtE: (ast.Lt, ast.Gt),
    ast.Gt: (ast.GtE, ast.LtE),
    ast.GtE: (ast.Gt, ast.Lt),
    ast.Eq: (ast.NotEq,),
    ast.NotEq: (ast.Eq,),
    ast.In: (ast.NotIn,),
    ast.NotIn: (ast.In,),
    ast.Is: (ast.IsNot,),
    ast.IsNot: (ast.Is,),
}
OPERATORS: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.Mult,
    ast.Pow: ast.Mult,
    ast.BitAnd: ast.BitOr,
}
NAMES = {"min": "max", "max": "min", "any": "all", "all": "any"}

Change = Callable[[ast.AST], ast.AST]
"""Changes a node, which is a copy, and returns what stands in its place."""


@dataclass(frozen=True)
class Mutation:
    """One small bug: where it is, what it does, and the file's text with it."""

    line: int
    kind: str
    before: str
    after: str
    text: str


def list_mutations(text: str) -> list[Mutation]:
    """All mutations of a file's text, in its order."""
    tree = ast.parse(text)
    parents = {id(child): node for node in ast.walk(tree) for child in ast.iter_child_nodes(node)}
    left_alone = _nodes_without_behaviour(tree)
    nodes = [node for node in ast.walk(tree) if id(node) not in left_alone]
    nodes.sort(key=lambda node: (getattr(node, "lineno", 0), getattr(node, "col_offset", 0)))
    numbers = {id(node): place for place, node in enumerate(ast.walk(tree))}
    original = ast.unparse(tree).splitlines()
    found = []
    for node in nodes:
        for kind, change in _changes(node, parents.get(id(node))):
            found.append(_mutate(tree, original, numbers[id(node)], kind, change))
    return found


def _mutate(tree: ast.Module, original: list[str], place: int, kind: str, change: Change) -> Mutation:
    """The file with the node at this place (of `ast.walk`) changed; original: its lines as `ast.unparse` has them."""
    changed = copy.deepcopy(tree)
    node = list(ast.walk(changed))[place]
    line = getattr(node, "lineno", 0)
    _replace(changed, node, change(node))
    ast.fix_missing_locations(changed)
    text = ast.unparse(changed)
    before, after = next(pair for pair in zip(original, text.splitlines(), strict=False) if pair[0] != pair[1])
    return Mutation(line, kind, before.strip(), after.strip(), f"{text}\n")


def _replace(tree: ast.AST, old: ast.AST, new: ast.AST) -> None:
    """Put `new` in the place of `old`, in whatever field or list of whatever node it stands."""
    for parent in ast.walk(tree):
        for name, value in ast.iter_fields(parent):
            if value is old:
                setattr(parent, name, new)
                return
            if isinstance(value, list):
                for place, item in enumerate(value):
                    if item is old:
                        value[place] = new
                        return


def _nodes_without_behaviour(tree: ast.Module) -> set[int]:
    """Annotations, docstrings, asserts, `zip(strict=...)`, and imports."""
    roots: list[ast.AST] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.arg | ast.AnnAssign) and node.annotation is not None:
            roots.append(node.annotation)
        if isinstance(node, ast.FunctionDef) and node.returns is not None:
            roots.append(node.returns)
        if isinstance(node, ast.Assert | ast.Import | ast.ImportFrom):
            roots.append(node)
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            roots.append(node)
        if isinstance(node, ast.keyword) and node.arg == "strict":
            roots.append(node)
    return {id(inner) for root in roots for inner in ast.walk(root)}


def _changes(node: ast.AST, parent: ast.AST | None) -> Iterator[tuple[str, Change]]:
    """What may be done to a node."""
    if isinstance(node, ast.Compare):
        for place, operator in enumerate(node.ops):
            for other in COMPARISONS[type(operator)]:
                yield "comparison", _set_comparison(place, other)
    if isinstance(node, ast.BinOp | ast.AugAssign) and type(node.op) in OPERATORS:
        yield "arithmetic", _set_operator(OPERATORS[type(node.op)])
    if isinstance(node, ast.BoolOp):
        yield "and/or", _set_operator(ast.Or if isinstance(node.op, ast.And) else ast.And)
    if isinstance(node, ast.Constant) and isinstance(node.value, bool):
        yield "truth value", _set_constant(not node.value)
    elif isinstance(node, ast.Constant) and isinstance(node.value, int | float):
        yield "constant", _set_constant(node.value + 1)
        yield "constant", _set_constant(node.value - 1)
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        yield "not removed", lambda found: found.operand
    if isinstance(node, ast.If | ast.While | ast.IfExp):
        yield "condition turned round", _turn_condition
    if isinstance(node, ast.Name) and node.id in NAMES and isinstance(parent, ast.Call) and parent.func is node:
        yield "min/max, any/all", _set_name(NAMES[node.id])
    if isinstance(node, ast.Return) and node.value is not None and not _is_none(node.value):
        yield "None returned", _return_none
    if _may_be_left_out(node):
        yield "statement removed", lambda found: ast.copy_location(ast.Pass(), found)


def _may_be_left_out(node: ast.AST) -> bool:
    """Whether the file without this statement has all its names still: calls, raises, changes in place."""
    if isinstance(node, ast.Assign):
        return all(isinstance(target, ast.Attribute | ast.Subscript) for target in node.targets)
    return isinstance(node, ast.Expr | ast.AugAssign | ast.Raise | ast.Continue | ast.Break | ast.Delete)


def _is_none(node: ast.AST) -> bool:
    return isinstance(node, ast.Constant) and node.value is None


def _set_comparison(place: int, other: type[ast.cmpop]) -> Change:
    def change(node: ast.AST) -> ast.AST:
        node.ops[place] = other()
        return node

    return change


def _set_operator(other: type[ast.AST]) -> Change:
    def change(node: ast.AST) -> ast.AST:
        node.op = other()
        return node

    return change


def _set_constant(value: object) -> Change:
    def change(node: ast.AST) -> ast.AST:
        return ast.copy_location(ast.Constant(value), node)

    return change


def _set_name(name: str) -> Change:
    def change(node: ast.AST) -> ast.AST:
        return ast.copy_location(ast.Name(name, ast.Load()), node)

    return change


def _turn_condition(node: ast.AST) -> ast.AST:
    node.test = ast.UnaryOp(ast.Not(), node.test)
    return node


def _return_none(node: ast.AST) -> ast.AST:
    node.value = ast.Constant(None)
    return node

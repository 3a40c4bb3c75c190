"""The verbs of the command line, built from the functions of the same names.

An argument before the `*` of the function is a word of the line (`PROMPT`), any other one an option (`--out` is
`out=`); one without a default is needed. The function is read as text, so that `--help` and a refusal import no torch.
A verb of another package, an entry point of the group `emoscene.verbs`, is read in the same way: its sentence is the
first of the function's docstring, its options are described under `Args`, and a line of the docstring that begins with
`emoscene NAME` is its example.
"""

from __future__ import annotations

import ast
import dataclasses
import re
from collections.abc import Iterator, Mapping
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import emoscene
from emoscene.cli.options import JSON, OPTIONS, REPEATED
from emoscene.core.errors import EmosceneError
from emoscene.core.parameter import CLI, EVALUATE, Parameter
from emoscene.core.request import PARAMETERS, list_parameters

VERBS = {
    "generate": "Generate images from a prompt, with an emotion.",
    "prepare": "Prepare a source's images for training.",
    "train": "Train a method or an encoder on a prepared folder.",
    "evaluate": "Score a method, or any folder of images.",
    "tune": "Search a method's settings with Optuna: any number of workers, one database.",
    "report": "Compare any number of scores on one page that needs no network.",
    "export": "Write a trained method as files that other programs load, with a model card.",
    "doctor": "Show what this machine has, and the command for what is missing.",
    "web": "Serve a page to generate images, compare methods, edit emotions and ask judges, for this machine alone.",
    "ls": "List what there is, by kind.",
    "show": "Show one thing: its settings, its words, its place.",
}
"""The package's own verbs, and what each does."""
EXAMPLES = {
    "generate": '"a village by a lake" --emotion awe --method lora --seed 7 --num 4 --out out/awe',
    "prepare": "mini --limit 6000 --out out/prepared",
    "train": "lora --data out/prepared --out runs/lora steps=900",
    "evaluate": "--method lora --seeds 0:4 --out out/scores",
    "tune": "guidance --data out/prepared --trials 12 --out out/tuned steps=300 classifier_scale=2..40",
    "report": "out/none out/lora --out out/report",
    "export": "runs/lora --to diffusers --out out/export",
    "web": "--port 7860",
    "ls": "methods",
    "show": "lora",
}
"""What may follow each on a line."""
SCOPES = {"generate": CLI, "evaluate": EVALUATE}
"""The verbs that take parameters of a generation, and which."""
REST = "Base, weights, device and files"
NO_OPTION = ("Callable", "Mapping")
"""Annotations of arguments that no word of a line can be."""


@dataclasses.dataclass(frozen=True)
class Verb:
    """A verb as the command line sees it.

    Attributes:
        name: Its name.
        sentence: What it does.
        example: A line.
        words: The arguments without a flag, in order; the last may take several words.
        options: The options by name, in the order of help.
        needs: The words and options that must be given.
        has_settings: Whether it takes `key=value`.
    """

    name: str
    sentence: str
    example: str
    words: dict[str, Parameter]
    options: dict[str, Parameter]
    needs: tuple[str, ...]
    has_settings: bool

    def repeats(self, name: str) -> bool:
        """Tell whether an argument may be given several times.

        Args:
            name: A word or an option.

        Returns:
            Whether it may.
        """
        found = self.words.get(name) or self.options[name]
        return name in REPEATED or "Sequence[str" in found.annotation

    def find_option(self, name: str) -> Parameter | None:
        """Find an option by its name or an alias.

        Args:
            name: The name, as in Python or as a flag.

        Returns:
            The option; None where there is none.
        """
        name = name.lstrip("-").replace("-", "_")
        for option in self.options.values():
            if name == option.name or name in option.aliases:
                return option
        return None


def list_verbs() -> list[str]:
    """List the verbs, those of other packages among them.

    Returns:
        The names.
    """
    return list(dict.fromkeys([*VERBS, *sorted(_list_points())]))


@cache
def load_verb(name: str) -> Verb:
    """Read a verb from its function.

    Args:
        name: The name.

    Returns:
        The verb.

    Raises:
        EmosceneError: The package that registers it is not complete.
    """
    function = _find_function(name)
    text = ast.get_docstring(function) or ""
    sentence, example = _describe(name, text)
    if name in VERBS:
        sentence, example = VERBS[name], f"emoscene {name} {EXAMPLES.get(name, '')}".rstrip()
    words, options, needs = {}, dict[str, Parameter](), []
    described = _read_args(text)
    for argument, default, positional in _list_arguments(function):
        option = _make_option(argument, default, described)
        if name in SCOPES and not positional:
            option = _with_group(PARAMETERS.get(option.name, option))
        if default is None:
            needs.append(option.name)
        if positional:
            words[option.name] = option
        else:
            options[option.name] = option
    if name in SCOPES:
        options = {**list_parameters(SCOPES[name]), "size": OPTIONS["size"], **options}
    if name in emoscene.RECIPES:
        options["recipe"] = OPTIONS["recipe"]
    options["json"] = JSON
    return Verb(name, sentence, example, words, options, tuple(needs), function.args.kwarg is not None)


@cache
def _list_points() -> dict[str, EntryPoint]:
    """The verbs that installed packages register."""
    return {point.name: point for point in entry_points(group="emoscene.verbs")}


def _find_function(name: str) -> ast.FunctionDef:
    """The function of a verb; of one that is a package which can be called, its `__call__`."""
    module, names = f"emoscene.{emoscene.MODULES.get(name)}", {name, "__call__"}
    if name not in emoscene.MODULES:
        point = _list_points()[name]
        module, names = point.module, {point.attr}
    spec = find_spec(module)
    if spec is not None and spec.origin is not None:
        for node in ast.walk(ast.parse(Path(spec.origin).read_text(encoding="utf8"))):
            if isinstance(node, ast.FunctionDef) and node.name in names:
                return node
    raise EmosceneError(f"the module {module} of the verb {name} has no such function: install its package again")


def _list_arguments(function: ast.FunctionDef) -> Iterator[tuple[ast.arg, ast.expr | None, bool]]:
    """The arguments that a line may give, with their defaults, and whether they are positional."""
    given = function.args
    positional = [argument for argument in given.args if argument.arg != "self"]
    lacking = [None] * (len(positional) - len(given.defaults))
    pairs = [*zip(positional, [*lacking, *given.defaults], strict=True)]
    pairs += zip(given.kwonlyargs, given.kw_defaults, strict=True)
    for argument, default in pairs:
        kind = ast.unparse(argument.annotation) if argument.annotation else ""
        if argument.arg != "as_json" and not any(name in kind for name in NO_OPTION):
            yield argument, default, argument in positional


def _make_option(argument: ast.arg, default: ast.expr | None, described: Mapping[str, str]) -> Parameter:
    """The option of a function's argument; what its row does not say is read from the signature."""
    name, annotation = argument.arg, ast.unparse(argument.annotation or ast.Constant(""))
    value: Any = None
    if default is not None and not isinstance(default, ast.Name):
        value = ast.literal_eval(default)
    if name in OPTIONS:
        return dataclasses.replace(OPTIONS[name], default=value, annotation=annotation)
    kind = annotation.partition(" ")[0]
    if kind not in {"int", "float", "bool"}:
        kind = "str"
    return Parameter(name, kind, value, described.get(name, ""), annotation=annotation, example=value or name.upper())


def _with_group(option: Parameter) -> Parameter:
    return dataclasses.replace(option, group=option.group or REST)


def _describe(name: str, text: str) -> tuple[str, str]:
    """The first sentence of a docstring, and its example."""
    paragraph = " ".join(text.partition("\n\n")[0].split())
    example = re.search(rf"^ *(emoscene {name}\b.*)$", text, re.MULTILINE)
    if example:
        return paragraph.partition(". ")[0], example[1]
    return paragraph.partition(". ")[0], f"emoscene {name} --help"


def _read_args(text: str) -> dict[str, str]:
    """What a docstring says of each argument under `Args`."""
    section = re.search(r"^Args:\n((?:    .*\n?|\n)*)", text, re.MULTILINE)
    entries = re.findall(r"^    (\w+): (.*(?:\n     .*)*)", section[1] if section else "", re.MULTILINE)
    return {name: " ".join(sentence.split()) for name, sentence in entries}

"""The verbs of the command line, built from the functions of the same names.

An argument before the `*` of the function is a word of the line (`PROMPT`), any other one an option (`--out` is
`out=`); one without a default is needed. The function is read as text, so that `--help` and a refusal import no torch.
Its first sentence and what it says under `Args` are the help. A verb of another package, an entry point of the group
`emoscene.verbs`, is read in the same way; a line of its docstring that begins with `emoscene NAME` is its example.
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
from emoscene.cli.options import CHOICES, JSON, RANGES, RECIPE, REPEATED
from emoscene.core import registry
from emoscene.core.errors import EmosceneError
from emoscene.core.parameter import CLI, EVALUATE, Parameter
from emoscene.core.request import BATCH_SIZE, PARAMETERS, SIZE, list_parameters

EXAMPLES = {
    "generate": '"a village by a lake" --emotion awe --method lora --seed 7 --num 4 --out out/awe',
    "prepare": "mini --limit 6000 --out out/prepared",
    "train": "lora --data out/prepared --out runs/lora steps=900",
    "evaluate": "--method lora --seeds 0:4 --out out/scores",
    "tune": "guidance --data out/prepared --trials 12 --out out/tuned steps=300 classifier_scale=2..40",
    "report": "out/none out/lora --out out/report",
    "export": "runs/lora --to diffusers --out out/export",
    "doctor": "",
    "web": "--port 7860",
    "ls": "methods",
    "study": "make out/none out/lora --out out/study",
    "verify": "out/awe/*.png",
    "clean": "runs --root out",
    "show": "lora",
}
"""What may follow each on a line."""
EXAMPLE_VALUES: dict[str, tuple[Any, ...]] = {"int": (1,), "float": (1.0,), "bool": (False,)}
"""What a refusal shows of an option without a default, by type."""
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
        argument = self.words.get(name) or self.options[name]
        return name in REPEATED or "Sequence[str" in argument.annotation

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
    own = [name for name in emoscene.MODULES if name != "load"]
    return list(dict.fromkeys([*own, *sorted(_list_points())]))


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
    words, options, needs = {}, dict[str, Parameter](), []
    described = _read_args(text)
    for argument, default, positional in _list_arguments(function):
        option = _make_option(argument, default, described)
        if name in SCOPES and not positional:
            option = _share_option(option)
        if default is None:
            needs.append(option.name)
        if positional:
            words[option.name] = option
        else:
            options[option.name] = option
    if name in SCOPES:
        options = {**list_parameters(SCOPES[name]), "size": SIZE, **options}
    if name in emoscene.RECIPES:
        options["recipe"] = RECIPE
    options["json"] = JSON
    return Verb(
        name,
        _first_sentence(text),
        _find_example(name, text),
        words,
        options,
        tuple(needs),
        function.args.kwarg is not None,
    )


@cache
def _list_points() -> dict[str, EntryPoint]:
    """The verbs that installed packages register."""
    return {point.name: point for point in entry_points(group="emoscene.verbs")}


def _find_function(name: str) -> ast.FunctionDef:
    """The function of a verb; of a package that can be called, its `__call__`."""
    file, names = _find_file(name)
    for node in ast.walk(ast.parse(file.read_text(encoding="utf8"))):
        if isinstance(node, ast.FunctionDef) and node.name in names:
            return node
    raise EmosceneError(f"{file} has no function for the verb {name}: install its package again")


def _find_file(name: str) -> tuple[Path, set[str]]:
    """The file of a verb's function, and what the function may be called."""
    if name in emoscene.MODULES:
        place = registry.HOME / emoscene.MODULES[name].replace(".", "/")
        if place.is_dir():
            return place / "__init__.py", {"__call__"}
        return place.with_suffix(".py"), {name}
    point = _list_points()[name]
    spec = find_spec(point.module)
    if spec is None or spec.origin is None:
        raise EmosceneError(f"the module {point.module} of the verb {name} is not there: install its package again")
    return Path(spec.origin), {point.attr}


def _list_arguments(function: ast.FunctionDef) -> Iterator[tuple[ast.arg, ast.expr | None, bool]]:
    """The arguments that a line may give, with their defaults, and whether they are positional."""
    given = function.args
    positional = [argument for argument in given.args if argument.arg != "self"]
    lacking = [None] * (len(positional) - len(given.defaults))
    pairs = [*zip(positional, [*lacking, *given.defaults], strict=True)]
    pairs += zip(given.kwonlyargs, given.kw_defaults, strict=True)
    for argument, default in pairs:
        kind = ast.unparse(argument.annotation or ast.Constant(""))
        if argument.arg != "as_json" and not any(name in kind for name in NO_OPTION):
            yield argument, default, argument in positional


def _make_option(argument: ast.arg, default: ast.expr | None, described: Mapping[str, str]) -> Parameter:
    """The option of a function's argument, as its signature and its docstring say it."""
    name, annotation = argument.arg, ast.unparse(argument.annotation or ast.Constant(""))
    value: Any = None
    if default is not None and not isinstance(default, ast.Name):
        value = ast.literal_eval(default)
    kind = annotation.partition(" ")[0]
    if kind not in {"int", "float", "bool"}:
        kind = "str"
    span, choices = RANGES.get(name), CHOICES.get(name)
    example = value or (choices or EXAMPLE_VALUES.get(kind, (name.upper(),)))[0]
    sentence = described.get(name, "").rstrip(".")
    return Parameter(name, kind, value or None, sentence, span, choices, annotation=annotation, example=example)


def _share_option(option: Parameter) -> Parameter:
    """The parameter of a generation, where an option is one; any other in a group of its own."""
    if option.name == "batch":
        return BATCH_SIZE
    return PARAMETERS.get(option.name) or dataclasses.replace(option, group=REST)


def _first_sentence(text: str) -> str:
    paragraph = " ".join(text.partition("\n\n")[0].split())
    return paragraph.partition(". ")[0].rstrip(".")


def _find_example(name: str, text: str) -> str:
    """The line of a docstring that begins with `emoscene NAME`, where there is no example here."""
    example = re.search(rf"^ *emoscene {name} (.*)$", text, re.MULTILINE)
    words = EXAMPLES.get(name, "--help")
    if example:
        words = example[1]
    return f"emoscene {name} {words}".rstrip()


def _read_args(text: str) -> dict[str, str]:
    """What a docstring says of each argument under `Args`."""
    _, _, rest = text.partition("\nArgs:\n")
    section, _, _ = rest.partition("\n\n")
    entries = re.findall(r"^    (\w+): (.*(?:\n     .*)*)", section, re.MULTILINE)
    return {name: " ".join(sentence.split()) for name, sentence in entries}

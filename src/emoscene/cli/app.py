"""The command line as a typer app: its commands, their options in panels, their help, and what shells complete.

Each command is made from a `Verb`, with the options' text as values: `calls` reads it, so that recipes and Python are
read by the same rules. typer parses, prints help, and answers shells (`emoscene --install-completion`).
"""

from __future__ import annotations

import inspect
import shutil
from collections.abc import Sequence
from typing import Annotated, Any

import typer
from rich.markup import escape
from typer._completion_shared import Shells, _get_shell_name, get_completion_script, install
from typer.core import TyperGroup

import emoscene
from emoscene.cli.calls import Call, list_settings, make_call
from emoscene.cli.help import KINDS, list_things
from emoscene.cli.options import STORED, format_value, lacks_value, spell_flags
from emoscene.cli.verbs import Verb, list_verbs, load_verb
from emoscene.core import registry
from emoscene.core.errors import UsageError, unknown_name
from emoscene.core.parameter import Parameter
from emoscene.core.taxonomy import EMOTIONS

KEYWORD = inspect.Parameter.KEYWORD_ONLY
SENTENCE = "Generate images from a prompt and an emotion; train, compare and export the methods that do it."
EPILOG = "emoscene VERB --help lists a verb's options. Begin with: emoscene demo"
MARKS = {"emotion": ",", "method": "+"}
"""What separates the parts of a value."""
SETTINGS = "KEY=VALUE: a setting, anywhere in the line; emoscene show NAME lists them"
ALONE = ("-h", "--help", "--version")
"""Options of the program that take nothing."""
COMPLETION = ("--install-completion", "--show-completion")
"""Options of the program that take a shell; typer finds out which it is where none is named."""
ASKED = (Shells.powershell.value, Shells.pwsh.value)
"""Shells that are asked where their files are."""


def read_call(verb: str, line: Sequence[str]) -> Call | None:
    """Read a line.

    Args:
        verb: The first word.
        line: The other words.

    Returns:
        The call; None where the line asked for help, the version or completion, which is then printed.

    Raises:
        UsageError: A word is wrong.
    """
    if not verb.startswith("-") and verb not in list_verbs():
        raise unknown_name("verb", verb, list_verbs(), hint="emoscene --help")
    if verb.startswith("-") and _answer_completion([verb, *line]):
        return None
    words, literal = list(line), []
    if "--" in words:
        at = words.index("--")
        words, literal = words[:at], words[at + 1 :]
    switches: dict[str, str] = {}
    if not verb.startswith("-"):
        words, switches = _take_switches(load_verb(verb), words)
    try:
        extra = words, literal, switches
        call = make_program().main([verb, *words], prog_name="emoscene", standalone_mode=False, obj=extra)
    except typer.TyperException as error:
        raise _explain_refusal(verb, line, error) from None
    return call if isinstance(call, Call) else None


class VerbGroup(TyperGroup):
    """The program: a verb is made into a command when it is asked for."""

    def list_commands(self, ctx: Any) -> list[str]:
        """List the verbs.

        Args:
            ctx: typer's context.

        Returns:
            Their names.
        """
        return list_verbs()

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Make the command of a verb.

        Args:
            ctx: typer's context.
            cmd_name: The verb.

        Returns:
            The command, which returns a `Call`; None where there is no such verb.
        """
        if cmd_name not in list_verbs():
            return None
        return _make_command(load_verb(cmd_name))


def make_program() -> Any:
    """Make the typer app.

    Returns:
        Its group of commands.
    """
    settings = {"help_option_names": ["-h", "--help"], "token_normalize_func": lambda flag: flag.replace("_", "-")}
    app = typer.Typer(cls=VerbGroup, help=SENTENCE, epilog=EPILOG, rich_markup_mode="rich", context_settings=settings)
    app.callback(invoke_without_command=True)(_print_version)
    return typer.main.get_command(app)


def _answer_completion(words: Sequence[str]) -> bool:
    """Answer a line that asks for a shell's completion, however the option is spelled; False for any other line.

    Left to typer, an option in another spelling would write into the files of the shell that it finds.
    """
    for place, word in enumerate(words):
        flag, equals, shell = word.partition("=")
        flag = flag.replace("_", "-")
        if flag not in COMPLETION:
            continue
        rest = list(words[place + 1 :])
        if rest and not equals:
            shell = rest.pop(0)
        elif not equals:
            shell = _get_shell_name() or ""
        if rest:
            raise UsageError(f"{rest[0]!r} is a word too many: emoscene {flag} {shell}")
        _complete_in_shell(flag, shell)
        return True
    return False


def _complete_in_shell(flag: str, shell: str) -> None:
    """Print or install the completion of one shell."""
    shells = [one.value for one in Shells]
    if shell not in shells:
        raise unknown_name("shell", shell, shells, hint=f"there is {', '.join(sorted(shells))}")
    if flag == "--install-completion" and shell in ASKED and shutil.which(shell) is None:
        others = sorted({*shells} - {*ASKED})
        raise UsageError(f"{shell} is not on this machine: there is {', '.join(others)}")
    program, variable = "emoscene", "_EMOSCENE_COMPLETE"
    if flag == "--show-completion":
        script = get_completion_script(prog_name=program, complete_var=variable, shell=shell)  # nosec B604  # its name
        print(script)
        return
    _, path = install(shell=shell, prog_name=program, complete_var=variable)  # nosec B604  # its name
    print(f"{shell} completion installed in {path}: it works in the next terminal")


def _print_version(
    version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False,
) -> None:
    if version:
        print(emoscene.__version__)


def _make_command(verb: Verb) -> Any:
    """The typer command of a verb, whose function takes the text of each option."""

    def command(ctx: typer.Context, **values: Any) -> Call:
        line, literal, switches = ctx.obj
        words = values.pop("words", None) or ctx.args
        return make_call(verb, line, words, literal, {**values, **switches})

    parameters = [inspect.Parameter("ctx", KEYWORD, annotation=typer.Context)]
    if verb.words or verb.has_settings:
        parameters.append(_make_words(verb))
    for option in verb.options.values():
        parameters.append(_make_option(verb, option))
    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    command.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    app = typer.Typer(add_completion=False, rich_markup_mode="rich")
    epilog = escape(f"For example: {verb.example}")
    settings = {"allow_extra_args": True}  # which `make_call` refuses in its own words
    app.command(
        verb.name, help=_describe_verb(verb), epilog=epilog, short_help=verb.sentence, context_settings=settings
    )(command)
    return typer.main.get_command(app)


def _make_words(verb: Verb) -> inspect.Parameter:
    """The words without a flag, settings among them, as one argument of typer's."""
    labels = [name.upper() for name in verb.words]
    if verb.has_settings:
        labels.append("KEY=VALUE")

    def complete(ctx: typer.Context) -> list[str]:
        return complete_word(verb, ctx.params.get("words") or [])

    info = typer.Argument(metavar="|".join(labels), hidden=True, autocompletion=complete)
    return inspect.Parameter("words", KEYWORD, default=None, annotation=Annotated[list[str] | None, info])


def _make_option(verb: Verb, option: Parameter) -> inspect.Parameter:
    """An option as typer has it: its text, read later."""
    flags, metavar = spell_flags(option), {"int": "N", "float": "X"}.get(option.type, "TEXT")
    kind: Any = str
    if option.count == 2:
        kind, metavar = tuple[str, str], "LOW HIGH"
    if verb.repeats(option.name):
        kind, metavar = list[str], f"{metavar} ..."
    if option.type == "bool":
        kind, metavar = bool, ""

    def complete(incomplete: str) -> list[str]:
        return complete_value(option, incomplete)

    info = typer.Option(
        *flags,
        metavar=metavar,
        help=_describe_option(verb, option),
        rich_help_panel=option.group or None,
        show_default=False,
        autocompletion=complete,
    )
    return inspect.Parameter(option.name, KEYWORD, default=None, annotation=Annotated[kind | None, info])


def _describe_verb(verb: Verb) -> str:
    """A verb's sentence, and what its words are."""
    lines = []
    for name, word in verb.words.items():
        lines.append(f"{name.upper()}: {word.help}")
    if verb.has_settings:
        lines.append(SETTINGS)
    return escape("\n\n".join([verb.sentence, "\n".join(lines)]))


def _describe_option(verb: Verb, option: Parameter) -> str:
    """An option's sentence, its choices, its default, and whether it must be given."""
    sentence, default = option.help, format_value(option.default)
    if option.choices is not None:
        sentence = f"{sentence} [one of {', '.join(map(str, option.choices))}]"
    if option.name in verb.needs:
        sentence = f"{sentence} [required]"
    if default not in {"", "no"}:
        sentence = f"{sentence} [default: {default}]"
    return escape(sentence)


def complete_value(option: Parameter, incomplete: str) -> list[str]:
    """List what may be the value of an option; typer keeps what begins as the value does.

    Args:
        option: The option.
        incomplete: The beginning of the value.

    Returns:
        Whole values. Of a mixture of emotions or a sum of methods, the last part is completed.
    """
    names: Sequence[Any] = option.choices or ()
    if option.name == "emotion":
        names = ["all", *EMOTIONS]
    elif f"{option.name}s" in registry.KINDS:
        names = registry.list_names(f"{option.name}s")
    before, mark, _ = incomplete.rpartition(MARKS.get(option.name, "\0"))
    return [f"{before}{mark}{name}" for name in names]


def complete_word(verb: Verb, words: Sequence[str]) -> list[str]:
    """List what may be the next argument or setting.

    Args:
        verb: The verb.
        words: The arguments and settings that are there.

    Returns:
        Names for the first argument, `key=` after it.
    """
    names = {
        "train": [*registry.list_names("encoders"), *registry.list_names("methods")],
        "tune": registry.list_names("methods"),
        "prepare": registry.list_names("sources"),
        "study": ["make", "serve", "plan", "analyse"],
        "show": list_things(),
        "ls": [*KINDS, *STORED],
        "clean": list(STORED),
    }
    plain = [word for word in words if "=" not in word]
    if verb.name in names and not plain:
        return names[verb.name]
    if not verb.has_settings:
        return []
    fields = list_settings(verb.name, dict(zip(verb.words, plain, strict=False)))
    return [f"{field.name}=" for field in fields or ()]


def _take_switches(verb: Verb, words: Sequence[str]) -> tuple[list[str], dict[str, str]]:
    """Take what typer's flags and pairs cannot say out of a line: `--keep-images=no`, `--guidance-interval=0.2,0.9`."""
    rest: list[str] = []
    switches: dict[str, str] = {}
    for word in words:
        flag, equals, value = word.partition("=")
        option = verb.find_option(flag)
        if not equals or not flag.startswith("-") or option is None:
            rest.append(word)
        elif option.type == "bool":
            switches[option.name] = value
        elif option.count == 2:
            rest += [flag, *value.replace(",", " ").split()]
        else:
            rest.append(word)
    return rest, switches


def _explain_refusal(verb: str, line: Sequence[str], error: typer.TyperException) -> UsageError:
    """What typer refuses, in the words of the package."""
    flag: str = getattr(error, "option_name", "")
    if flag in COMPLETION:
        return UsageError(f"{flag} stands alone, or with a shell: emoscene {flag} bash")
    if flag in ALONE:
        return UsageError(f"{flag} takes no value: write {flag} alone")
    if verb in ALONE and not flag:
        return UsageError(f"{line[0]!r} is a word too many: write {verb} alone")
    if verb not in list_verbs():
        return _explain_early_option(flag, line)
    known = load_verb(verb)
    option = known.find_option(flag)
    if option is not None:
        return lacks_value(option, flag)
    spellings = []
    for one in known.options.values():
        spellings += spell_flags(one)
    return unknown_name("option", flag, [*spellings, "--help"], hint=f"emoscene {verb} --help")


def _explain_early_option(flag: str, line: Sequence[str]) -> UsageError:
    """The error for an option that the program does not have; one of a verb stands after it."""
    verbs = [word for word in line if word in list_verbs()]
    for verb in verbs[:1] or list_verbs():
        if load_verb(verb).find_option(flag):
            return UsageError(f"{flag} stands after the verb, as in `emoscene {verb} ... {flag}`")
    return unknown_name("option", flag, ("--help", "--version", *COMPLETION), hint="emoscene --help")

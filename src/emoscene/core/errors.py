"""Two kinds of trouble, told apart by who can mend them.

`UsageError`    the call's words are off: a name, a number, a path. The command line ends with status 2.
`EmosceneError`  the words were right and the work could not be done: a full disk, a damaged file. Status 1.

Each carries one sentence that names the remedy. Anything else that is raised is a bug of ours and keeps its traceback.
Where the remedy is a command, it is written here, so that `doctor` and every error say the same one.
"""

from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from importlib import import_module
from typing import Any

from emoscene.core.plain_text import SHOWN, shorten_text

MAKERS: Mapping[str | None, str] = {
    "artifact": "train",
    "export": "export",
    "pictures": "generate",
    "prepared": "prepare",
    "report": "report",
    "scores": "evaluate",
    "tuning": "tune",
}
"""The verb that writes each kind of folder."""


class UsageError(ValueError):
    """The call's words are off; a `ValueError`, as Python's own functions raise for an argument that is off."""


class EmosceneError(RuntimeError):
    """The words were right, and the work could not be done."""


class TrainingDiverged(EmosceneError):
    """Loss or gradient stayed non-finite while training."""


class TrainingStopped(EmosceneError):
    """A signal ended a training, whose work is saved."""


def unknown_name(kind: str, name: str, known: Iterable[str], hint: str = "") -> UsageError:
    """Make the error for a name that does not exist: `no emotion 'aw': did you mean 'awe'? (emoscene ls emotions)`.

    Args:
        kind: What is named.
        name: The name.
        known: The names that exist.
        hint: Where to find them.

    Returns:
        The error.
    """
    known = sorted(known)
    name = shorten_text(name, SHOWN)
    near = get_close_matches(name.lower(), known, n=1, cutoff=0.5)
    if near:
        remedy = f": did you mean {near[0]!r}?"
    elif known:
        remedy = f": there is {', '.join(known)}"
    else:
        remedy = ""
    return UsageError(f"no {kind} {name!r}{remedy}" + (f" ({hint})" if hint else ""))


def install_command(extra: str) -> str:
    """Write the command that installs an extra.

    Args:
        extra: The extra.

    Returns:
        The command.
    """
    return f"pip install 'emoscene[{extra}]'"


def suggest_folder(kind: str | None) -> str:
    """Write which folder to give where another was given.

    Args:
        kind: What it has to hold, as its manifest says; anything if left out.

    Returns:
        The end of a sentence.
    """
    maker = "emoscene"
    if kind in MAKERS:
        maker = f"`emoscene {MAKERS[kind]}`"
    return f"give a folder that {maker} wrote"


def download_command(source: str, revision: str | None, wanted: Sequence[str]) -> str:
    """Write the command that downloads a model of the hub into the cache.

    Args:
        source: The hub id.
        revision: The commit, tag or branch, if any.
        wanted: Patterns of the files.

    Returns:
        The command.
    """
    if revision:
        pinned = f" --revision {revision}"
    else:
        pinned = ""
    return f"hf download {source}{pinned}" + "".join(f" --include '{pattern}'" for pattern in wanted)


def missing_extra(extra: str) -> EmosceneError:
    """Make the error for an extra that is not installed.

    Args:
        extra: The extra.

    Returns:
        The error.
    """
    return EmosceneError(f"this needs the extra {extra}, which is not installed: run `{install_command(extra)}`")


def import_extra(module: str, extra: str) -> Any:
    """Import a module that comes with an extra.

    Args:
        module: The module.
        extra: The extra.

    Returns:
        The module.

    Raises:
        EmosceneError: It is not installed.
    """
    try:
        return import_module(module)
    except ImportError as error:
        raise missing_extra(extra) from error

"""Two kinds of trouble, told apart by who can mend them.

`UsageError`    the call's words are off: a name, a number, a path. The command line ends with status 2.
`EmosceneError`  the words were right and the work could not be done: a full disk, a damaged file. Status 1.

Each carries one sentence that names the remedy. Anything else that is raised is a bug of ours and keeps its traceback.
Where the remedy is a command, it is written here, so that `doctor` and every error say the same one.
"""

from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from importlib import import_module
from typing import Any


class UsageError(ValueError):
    """The call's words are off; a `ValueError`, as Python's own functions raise for an argument that is off."""


class EmosceneError(RuntimeError):
    """The words were right, and the work could not be done."""


class TrainingDiverged(EmosceneError):
    """Loss or gradient stayed non-finite while training."""


def unknown_name(kind: str, name: str, known: Iterable[str], hint: str = "") -> UsageError:
    """The error for a name that does not exist: `no emotion 'aw': did you mean 'awe'? (emoscene ls emotions)`."""
    known = sorted(known)
    near = get_close_matches(name.lower(), known, n=1, cutoff=0.5)
    if near:
        remedy = f": did you mean {near[0]!r}?"
    elif known:
        remedy = f": there is {', '.join(known)}"
    else:
        remedy = ""
    return UsageError(f"no {kind} {name!r}{remedy}" + (f" ({hint})" if hint else ""))


def install_command(extra: str) -> str:
    """The command that installs an extra."""
    return f"pip install 'emoscene[{extra}]'"


def download_command(source: str, revision: str | None, wanted: Sequence[str]) -> str:
    """The command that puts a model of the hub into the cache."""
    pinned = f" --revision {revision}" if revision else ""
    return f"hf download {source}{pinned}" + "".join(f" --include '{pattern}'" for pattern in wanted)


def missing_extra(extra: str) -> EmosceneError:
    """The error where an extra is needed and is not installed."""
    return EmosceneError(f"this needs the extra {extra}, which is not installed: run `{install_command(extra)}`")


def import_extra(module: str, extra: str) -> Any:
    """A module that comes with an extra. Raises Failure where it is not installed."""
    try:
        return import_module(module)
    except ImportError as error:
        raise missing_extra(extra) from error

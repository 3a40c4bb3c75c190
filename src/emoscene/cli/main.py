"""The command line: words in, one call of the verb of the same name, a path out.

    emoscene generate "a village by a lake" --emotion awe --emotion fear --seed 7 --out out/lake

A face only translates. Messages and bars go to stderr, results to stdout, so that verbs can be piped. The status is 0
when it is done, 1 when it failed, 2 when the words are off, 130 when it was interrupted.
"""

from __future__ import annotations

import inspect
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from io import TextIOWrapper
from pathlib import Path
from typing import Any

import emoscene
from emoscene.cli import help
from emoscene.cli.options import OPTIONS, REPEATED, VERBS, Call, read_call
from emoscene.core import run_dir
from emoscene.core.errors import EmosceneError, UsageError, unknown_name


def main(line: Sequence[str] | None = None) -> int:
    """Run a line; returns the exit status: 0 done, 1 failed, 2 the words are off, 130 interrupted."""
    if isinstance(sys.stdout, TextIOWrapper):  # a pipe on Windows has no letters but those of its region
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        return run_line(list(sys.argv[1:] if line is None else line))
    except UsageError as error:
        return _print_error(str(error), 2)
    except EmosceneError as error:
        return _print_error(str(error), 1)
    except OSError as error:
        if error.filename is None:
            raise
        return _print_error(f"{error.filename}: {error.strerror}", 1)
    except KeyboardInterrupt:
        return _print_error("stopped: what is finished stays, and the same call goes on from there", 130)


def run_line(line: list[str]) -> int:
    """Read the line and do what it says."""
    if not line or line[0] in {"-h", "--help", "help"}:
        help.print_verbs(VERBS)
        return 0
    if line[0] == "--version":
        print(emoscene.__version__)
        return 0
    if line[0] not in VERBS:
        raise unknown_name("verb", line[0], VERBS, hint="emoscene --help")
    call = read_call(line[0], line[1:])
    if "help" in call.asked:
        verb = VERBS[call.verb]
        help.print_verb(call.verb, verb, [OPTIONS[name] for name in [*verb.options.split(), "json"]], REPEATED)
    elif call.verb in {"ls", "show"}:
        getattr(help, call.verb)(*call.given.values(), as_json="json" in call.asked)
    elif call.verb == "doctor":
        print(json.dumps(emoscene.doctor()) if "json" in call.asked else help.format_doctor(emoscene.doctor()))
    else:
        done = call_verb(call)
        if done is not None and not call.given.get("dry_run"):
            manifest = {"out": str(done), **run_dir.read_manifest(done)} if "json" in call.asked else {}
            print(json.dumps(manifest, ensure_ascii=False) if manifest else done)
    return 0


def call_verb(call: Call) -> Path | None:
    """Call the verb's function, with bars and messages on stderr; returns the folder that it left, if any."""
    function = getattr(emoscene, call.verb)
    takes = inspect.signature(function).parameters
    with _progress() as faces:
        made = function(**call.given, **call.pairs, **{key: faces[key] for key in faces if key in takes})
    return None if made is None else Path(made)


@contextmanager
def _progress() -> Iterator[dict[str, Callable[..., None]]]:
    """`on_message(sentence)` and `on_progress(done, total)`, for verbs that report as they go."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

    console = Console(stderr=True, highlight=False)
    columns = BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    bar = Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
    task: list[Any] = []

    def on_progress(done: int, total: int) -> None:
        if not task:
            bar.start()
            task.append(bar.add_task("", total=total))
        bar.update(task[0], completed=done, total=total)

    try:
        yield {"on_message": lambda sentence: console.print(sentence, markup=False), "on_progress": on_progress}
    finally:
        if task:
            bar.stop()


def _print_error(sentence: str, status: int) -> int:
    print(f"emoscene: {sentence}", file=sys.stderr)
    return status

"""The entry point: a line in, one call of the verb's function, a path out.

    emoscene generate "a village by a lake" --emotion awe --emotion fear --seed 7 --out out/lake

Messages and progress go to stderr, results to stdout, so that verbs can be piped. The status is 0 when it is done, 1
when it failed, 2 when a word is wrong, 130 when it was interrupted.
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
from emoscene.cli.app import read_call
from emoscene.cli.calls import Call
from emoscene.core import run_dir
from emoscene.core.errors import EmosceneError, UsageError


def main(line: Sequence[str] | None = None) -> int:
    """Run a line.

    Args:
        line: Its words; those of the process if left out.

    Returns:
        The exit status: 0 done, 1 failed, 2 a word is wrong, 130 interrupted.
    """
    if isinstance(sys.stdout, TextIOWrapper):  # a pipe on Windows has no letters but those of its region
        sys.stdout.reconfigure(errors="backslashreplace")
    words = list(sys.argv[1:] if line is None else line)
    if not words or words == ["help"]:
        words = ["--help"]
    try:
        call = read_call(words[0], words[1:])
        if call is not None:
            run_call(call)
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
    return 0


def run_call(call: Call) -> None:
    """Call the verb's function and print its result: the folder that it wrote, or what was asked.

    Args:
        call: The call.
    """
    if call.verb in {"ls", "show"}:
        getattr(help, call.verb)(**call.given, as_json=call.as_json)
        return
    result = _call_function(call)
    if isinstance(result, dict):
        print(json.dumps(result) if call.as_json else help.format_doctor(result))
    elif result is not None and not call.given.get("dry_run"):
        manifest = {"out": str(result)}
        if call.as_json:
            manifest |= run_dir.read_manifest(Path(result))
        print(json.dumps(manifest, ensure_ascii=False) if call.as_json else result)


def _call_function(call: Call) -> Any:
    """The result of the verb's function, with progress and messages on stderr."""
    function = getattr(emoscene, call.verb)
    arguments = inspect.signature(function).parameters
    with _show_progress() as callbacks:
        heard = {name: callback for name, callback in callbacks.items() if name in arguments}
        return function(**call.given, **call.pairs, **heard)


@contextmanager
def _show_progress() -> Iterator[dict[str, Callable[..., None]]]:
    """`on_message(sentence)` and `on_progress(done, total)` for the terminal."""
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

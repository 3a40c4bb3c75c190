"""The entry point: a line in, one call of the verb's function, a path out.

    emoscene generate "a village by a lake" --emotion awe --emotion fear --seed 7 --out out/lake

Messages and progress go to stderr, results to stdout, so that verbs can be piped. The status is 0 when it is done, 1
when it failed, 2 when a word is wrong, 130 when it was interrupted. SIGTERM and SIGHUP interrupt as Ctrl-C does, and a
second signal ends the process at once.
"""

from __future__ import annotations

import inspect
import json
import os
import sys
from collections.abc import Sequence
from io import TextIOWrapper
from typing import Any

import emoscene
from emoscene.cli import help
from emoscene.cli.app import read_call
from emoscene.cli.calls import Call, name_options
from emoscene.core import run_dir
from emoscene.core.errors import EmosceneError, UsageError
from emoscene.core.interrupts import STATUS, handle_signals
from emoscene.core.plain_text import escape_unprintable

PRINTING = {"ls", "show", "study", "verify"}
"""The verbs that print their results themselves."""
REPORTED = ("on_message", "on_progress")
"""The events that a terminal shows."""


def main(line: Sequence[str] | None = None) -> int:
    """Run a line.

    Args:
        line: Its words; those of the process if left out.

    Returns:
        The exit status: 0 done, 1 failed, 2 a word is wrong, 130 interrupted.
    """
    if isinstance(sys.stdout, TextIOWrapper):  # a pipe on Windows has no letters but those of its region
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        status = _run_line(sys.argv[1:] if line is None else list(line))
        sys.stdout.flush()
    except BrokenPipeError:  # whoever reads has enough, as in `emoscene ls | head -1`
        _close_pipe()
        return 1
    return status


def _run_line(words: list[str]) -> int:
    """The exit status of a line; what goes wrong is one sentence on stderr."""
    if not words or words == ["help"]:
        words = ["--help"]
    call = None
    try:
        with handle_signals():
            call = read_call(words[0], words[1:])
            if call is not None:
                run_call(call)
    except UsageError as error:
        sentence = str(error)
        if call is not None:
            sentence = name_options(sentence, call, words)
        return _print_error(sentence, 2)
    except EmosceneError as error:
        return _print_error(str(error), 1)
    except BrokenPipeError:
        raise
    except OSError as error:
        if error.filename is None:
            raise
        return _print_error(f"{error.filename}: {error.strerror}", 1)
    except KeyboardInterrupt:
        return _print_error("stopped: what is finished stays, and the same call goes on from there", STATUS)
    return 0


def run_call(call: Call) -> None:
    """Call the verb's function and print its result: the folder that it wrote, or what was asked.

    Args:
        call: The call.
    """
    if call.verb in PRINTING:
        _call_function(call, as_json=call.as_json)
        return
    result = _call_function(call)
    if isinstance(result, dict):
        facts, text = result, help.format_doctor(result)
    elif result is None or call.given.get("dry_run"):
        return
    else:
        facts, text = {"out": str(result)}, str(result)
        if call.as_json:
            facts |= run_dir.read_manifest(result)
    if call.as_json:
        text = json.dumps(facts)
    print(text)


def _call_function(call: Call, **more: Any) -> Any:
    """The result of the verb's function, with progress and messages on stderr."""
    from emoscene.core.progress import terminal_callbacks

    function = getattr(emoscene, call.verb)
    arguments = inspect.signature(function).parameters
    with terminal_callbacks() as callbacks:
        reporters = {name: getattr(callbacks, name) for name in REPORTED if name in arguments}
        return function(**call.given, **call.pairs, **reporters, **more)


def _print_error(sentence: str, status: int) -> int:
    print(f"emoscene: {escape_unprintable(sentence)}", file=sys.stderr)
    return status


def _close_pipe() -> None:
    """Give Python another stdout, to which it may write at its end what nobody reads."""
    try:
        place = sys.stdout.fileno()
    except OSError:  # a stream of a test or of a notebook has none
        return
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, place)
    os.close(nowhere)

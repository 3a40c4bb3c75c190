"""The command line: words in, one call of the verb of the same name, a path out.

    emoscene generate "a village by a lake" --emotion awe --emotion fear --seed 7 --out out/lake

A face only translates. Messages and bars go to stderr, results to stdout, so that verbs can be piped. The status is 0
when it is done, 1 when it failed, 2 when the words are off, 130 when it was interrupted.
"""

from __future__ import annotations

import inspect
import json
import sys
from collections.abc import Sequence
from io import TextIOWrapper
from pathlib import Path

import emoscene
from emoscene.cli import help
from emoscene.cli.options import OPTIONS, REPEATED, VERBS, Call, read_call
from emoscene.core import run_dir
from emoscene.core.errors import EmosceneError, UsageError, unknown_name

REPORTED = ("on_message", "on_progress")  # the events that a terminal shows


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
    from emoscene.core.progress import terminal_callbacks

    function = getattr(emoscene, call.verb)
    takes = inspect.signature(function).parameters
    with terminal_callbacks() as callbacks:
        hears = {name: value for name, value in vars(callbacks).items() if name in takes and name in REPORTED}
        made = function(**call.given, **call.pairs, **hears)
    return None if made is None else Path(made)


def _print_error(sentence: str, status: int) -> int:
    print(f"emoscene: {sentence}", file=sys.stderr)
    return status

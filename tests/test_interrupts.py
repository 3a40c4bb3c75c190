"""Signals that ask a process to end: each does what Ctrl-C does, and a second one ends the process at once."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest

from emoscene.cli import main
from emoscene.core import interrupts

ENDING = [pytest.param(name, marks=() if name == "SIGINT" else pytest.mark.posix) for name in interrupts.NAMES[:3]]
FORKED = """
import os, signal
from emoscene.core.interrupts import handle_signals
with handle_signals():
    child = os.fork()
    if not child:
        signal.raise_signal(signal.SIGTERM)
        os._exit(7)
    print(os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGTERM)
"""
TWICE = """
import signal
from emoscene.core.interrupts import defer_interrupts, handle_signals
with handle_signals(), defer_interrupts() as asked:
    signal.raise_signal(signal.SIGTERM)
    print(asked(), flush=True)
    signal.raise_signal(signal.{name})
    print("still here")
"""


@pytest.fixture(autouse=True)
def hangups_count() -> Iterator[None]:
    """`nohup` starts a process that ignores SIGHUP, and with it these tests."""
    before = {}
    for name in ("SIGHUP", "SIGTERM"):
        if hasattr(signal, name):
            number = getattr(signal, name)
            before[number] = signal.signal(number, signal.SIG_DFL)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def run_python(text: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", text], capture_output=True, encoding="utf8", timeout=60)


@pytest.mark.parametrize("name", ENDING)
def test_a_signal_interrupts_any_verb(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(main, "run_call", lambda call: signal.raise_signal(getattr(signal, name)))
    before = signal.getsignal(getattr(signal, name))
    assert main.main(["ls"]) == 130
    assert capsys.readouterr().err.startswith("emoscene: stopped: what is finished stays")
    assert signal.getsignal(getattr(signal, name)) is before


@pytest.mark.parametrize("name", ENDING)
def test_a_second_signal_ends_the_process_at_once(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    ended: list[int] = []
    monkeypatch.setattr(os, "_exit", ended.append)
    with interrupts.handle_signals():
        for number in (signal.SIGINT, getattr(signal, name)):
            with pytest.raises(KeyboardInterrupt):
                signal.raise_signal(number)
    assert ended == [130]


@pytest.mark.posix
@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_the_second_signal_of_a_step_that_is_being_finished_ends_the_process(name: str) -> None:
    done = run_python(TWICE.format(name=name))
    assert (done.returncode, done.stdout) == (130, "True\n")


def test_the_second_signal_interrupts_where_the_process_is_somebody_elses() -> None:
    with interrupts.defer_interrupts() as asked:
        signal.raise_signal(signal.SIGINT)
        assert asked()
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@pytest.mark.posix
def test_what_nohup_ignores_stays_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with interrupts.handle_signals(), interrupts.defer_interrupts() as asked:
            signal.raise_signal(signal.SIGHUP)
            assert not asked()
    finally:
        signal.signal(signal.SIGHUP, before)


@pytest.mark.posix
def test_a_forked_process_ends_as_it_would() -> None:
    assert run_python(FORKED).stdout == "True\n"


def test_in_another_thread_nothing_is_handled() -> None:
    seen = []

    def work() -> None:
        with interrupts.handle_signals(), interrupts.defer_interrupts() as asked:
            seen.append(asked())

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [False]

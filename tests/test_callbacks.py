"""One `Callbacks` for every verb: silent by default, a terminal's implementation, and what a training run reports."""

import io
import signal
import sys
from pathlib import Path

import pytest
from rich.console import Console

from emoscene.core import interrupts, progress
from emoscene.core.callbacks import Callbacks
from emoscene.core.errors import TrainingStopped
from emoscene.learning import checkpoints
from emoscene.training import loop
from emoscene.training.state import Step, TrainingState
from lines import FAST, Line, Points, same, state_of


def test_nobody_hears_of_an_event_that_was_not_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    silent = Callbacks()
    silent.on_message("a sentence")
    silent.on_progress(1, 2)
    silent.on_step(None)
    assert not silent.on_step_end(None)
    assert capsys.readouterr() == ("", "")


def test_a_terminal_has_messages_on_stderr_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    with progress.terminal_callbacks() as callbacks:
        callbacks.on_message("the file [a].png, 3 of 4")
    out, err = capsys.readouterr()
    assert (out, err) == ("", "the file [a].png, 3 of 4\n")


def test_a_message_for_a_pipe_is_one_line_however_long(capsys: pytest.CaptureFixture[str]) -> None:
    sentence = f"{'/a-long-folder' * 12}/:cat:.png {'and a word ' * 20}"
    with progress.terminal_callbacks() as callbacks:
        callbacks.on_message(sentence)
    assert capsys.readouterr().err == f"{sentence}\n"


def test_a_bar_follows_the_numbers_and_a_total_that_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = io.StringIO()
    monkeypatch.setattr(
        progress,
        "Console",
        lambda **words: Console(file=screen, force_terminal=True, width=80, **{**words, "stderr": False}),
    )
    with progress.terminal_callbacks() as callbacks:
        callbacks.on_progress(3, 4)
        callbacks.on_progress(4, 4)
        callbacks.on_progress(1, 7)
    assert "1/7" in screen.getvalue()


def test_no_bar_where_nobody_looks(capsys: pytest.CaptureFixture[str]) -> None:
    with progress.terminal_callbacks() as callbacks:
        callbacks.on_progress(3, 4)
    assert "3/4" not in capsys.readouterr().err
    assert not sys.stderr.isatty()


def test_a_run_reports_each_step_and_its_state_before_the_first(tmp_path: Path) -> None:
    steps: list[int] = []
    states: list[int] = []

    def hear_step(step: Step) -> None:
        steps.append(step.number)
        assert step.seconds > 0
        assert step.describe() == f"loss {step.loss:.4f}"

    def hear_state(state: TrainingState) -> None:
        states.append(state.step)

    loop.run_training(Line(), Points(), FAST, tmp_path, callbacks=Callbacks(on_step=hear_step, on_step_end=hear_state))
    assert steps == list(range(1, FAST.steps + 1))
    assert states == list(range(FAST.steps + 1))


def test_a_callback_that_says_enough_ends_the_run_and_the_work_is_kept(tmp_path: Path) -> None:
    heard: list[int] = []
    callbacks = Callbacks(on_step=lambda step: heard.append(step.number), on_step_end=lambda state: state.step == 3)
    loop.run_training(Line(), Points(), FAST, tmp_path / "ended", callbacks=callbacks)
    assert heard == [1, 2, 3]
    assert checkpoints.list_checkpoints(tmp_path / "ended")[-1].name == "step-3"
    loop.run_training(Line(), Points(), FAST, tmp_path / "ended", resume=True)
    loop.run_training(Line(), Points(), FAST, tmp_path / "whole")
    assert same(state_of(tmp_path / "ended"), state_of(tmp_path / "whole"))


def test_a_run_that_is_enough_at_once_takes_no_step(tmp_path: Path) -> None:
    callbacks = Callbacks(on_step=pytest.fail, on_step_end=lambda state: True)
    loop.run_training(Line(), Points(), FAST, tmp_path, callbacks=callbacks)
    assert [target.name for target in checkpoints.list_checkpoints(tmp_path)] == ["step-0"]


@pytest.mark.parametrize("terminal", [True, False])
def test_a_bar_of_training_is_for_terminals_alone(terminal: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=terminal, width=80)
    monkeypatch.setattr(progress, "Console", lambda **words: console)
    with progress.progress_bar("training", 0, 4) as show:
        show(4, lambda: "loss 0.25")
    if terminal:
        assert "loss 0.25" in screen.getvalue() and "4/4" in screen.getvalue()
    else:
        assert screen.getvalue() == ""


@pytest.mark.parametrize("step", [0, 3])
def test_a_signal_ends_a_long_look_and_the_run_goes_on(step: int, tmp_path: Path) -> None:
    """As a validation or a sheet of images: it is no part of the step that is being finished."""
    looked: list[int] = []

    def look(state: TrainingState) -> None:
        if state.step == step:
            signal.raise_signal(signal.SIGINT)
            looked.append(state.step)
            interrupts.check_interrupt()
            pytest.fail("it went on")

    callbacks = Callbacks(on_step_end=look)
    with pytest.raises(TrainingStopped, match=f"stopped at step {step}, saved in .*--resume goes on"):
        loop.run_training(Line(), Points(), FAST, tmp_path / "ended", callbacks=callbacks)
    assert looked == [step]
    assert checkpoints.list_checkpoints(tmp_path / "ended")[-1].name == f"step-{step}"
    interrupts.check_interrupt()  # elsewhere it is silent
    again: list[int] = []
    loop.run_training(
        Line(),
        Points(),
        FAST,
        tmp_path / "ended",
        resume=True,
        callbacks=Callbacks(on_step_end=lambda state: again.append(state.step)),
    )
    assert again[0] == step, "what was interrupted is looked at again"
    loop.run_training(Line(), Points(), FAST, tmp_path / "whole")
    assert same(state_of(tmp_path / "ended"), state_of(tmp_path / "whole"))


def test_an_interrupt_that_is_no_signal_is_raised_as_it_is(tmp_path: Path) -> None:
    def look(state: TrainingState) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        loop.run_training(Line(), Points(), FAST, tmp_path, callbacks=Callbacks(on_step_end=look))
